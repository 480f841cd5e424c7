//! The binary that ships. It is built twice: once so that it counts what everyday traffic has it do, and again by what it
//! counted, so that what every request passes through is laid out and inlined for that (profile-guided optimization).
//!
//! The counts are kept beside the build. `dist` always takes them anew; `bench` keeps them until the compiler or a dependency is
//! another: functions that have changed since are compiled without, so its figures are those of the binary that ships, or worse.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::process::{self, cargo, command, root, run, run_quietly, succeeds, target_directory};
use crate::setup;
use crate::tools;

/// How old the counts may be.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Counts {
    /// Of exactly this source.
    New,
    /// Of this compiler and these dependencies.
    Kept,
}

/// Builds it and says where it is. Without the tool that sums counts up, it is built without them.
pub(crate) fn build(counts: Counts) -> Result<PathBuf> {
    let Some(profdata) = profdata()? else {
        println!("    no llvm-profdata for this compiler: built without counts, and some 10 % slower");
        return compile(None);
    };
    let kept = if counts == Counts::Kept { kept()? } else { None };
    let counted = match kept {
        Some(counted) => counted,
        None => process::step("counting what everyday traffic has it do", || count(&profdata))?,
    };
    compile(Some(&format!("-Cprofile-use={}", counted.display())))
}

/// Counts that were taken with this compiler and these dependencies.
fn kept() -> Result<Option<PathBuf>> {
    let stamp = fs::read_to_string(directory().join("stamp")).unwrap_or_default();
    let counted = stamp.strip_prefix(&fingerprint()?).map(|name| directory().join(name));
    Ok(counted.filter(|counted| counted.is_file()))
}

/// Where what was counted is.
fn directory() -> PathBuf {
    built().join("counts")
}

/// Where it is built, apart from what is built with other flags.
fn built() -> PathBuf {
    target_directory().join("trained")
}

/// Lets a binary that counts serve for a while, and sums up. What was counted before is gone then.
fn count(profdata: &Path) -> Result<PathBuf> {
    let place = directory();
    let [raw, sum, certificate, key] =
        ["raw", "sum", "certificate.pem", "key.pem"].map(|name| place.join(name));
    let _ = fs::remove_dir_all(&place);
    fs::create_dir_all(&place)?;
    let unlag = compile(Some("-Cprofile-generate"))?;
    let mut openssl = command("openssl");
    openssl.args(CERTIFICATE.split(' ')).arg("-out").arg(&certificate).arg("-keyout").arg(&key);
    run_quietly(&mut openssl)?;
    let mut lab = cargo();
    lab.env("LLVM_PROFILE_FILE", raw.join("%m-%p.profraw"));
    lab.args(LAB.split(' ')).args(["--", "train", "--unlag"]).arg(&unlag);
    run(lab.arg("--certificate").arg(&certificate).arg("--key").arg(&key))?;
    run_quietly(command(profdata).args(["merge", "-o"]).arg(&sum).arg(&raw))?;
    // cargo builds anew when a flag is another, and does not look into the file that it names.
    let name = format!("unlag-{:016x}.profdata", setup::fingerprint(&fs::read(&sum)?));
    let counted = place.join(&name);
    fs::rename(&sum, &counted).with_context(|| format!("cannot write {}", counted.display()))?;
    fs::write(place.join("stamp"), fingerprint()? + &name)?;
    Ok(counted)
}

/// What one node takes the other for.
const CERTIFICATE: &str = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost \
                           -addext basicConstraints=CA:FALSE -addext subjectAltName=DNS:localhost";
const LAB: &str = "run --quiet --profile dist --package unlag-lab --bin lab";

/// Builds with the `dist` profile. The target is named, so that flags are for what ships and not for what helps to build it.
fn compile(flags: Option<&str>) -> Result<PathBuf> {
    let host = host()?;
    let mut build = cargo();
    build.args(["build", "--profile", "dist", "--package", "unlag", "--bins", "--locked", "--target", &host]);
    if let Some(flags) = flags {
        build.env("RUSTFLAGS", flags);
    }
    run(build.arg("--target-dir").arg(built()))?;
    Ok(built().join(host).join("dist").join("unlag"))
}

/// The tool for counts of this compiler's LLVM: the toolchain's own, or Debian's of the same number, which is installed where
/// packages may be.
fn profdata() -> Result<Option<PathBuf>> {
    let sysroot = run_quietly(command("rustc").args(["--print", "sysroot"]))?;
    let own = Path::new(sysroot.trim()).join("lib/rustlib").join(host()?).join("bin/llvm-profdata");
    if own.is_file() {
        return Ok(Some(own));
    }
    let version = compiler("LLVM version: ")?;
    let major = version.split('.').next().unwrap_or_default();
    let name = format!("llvm-profdata-{major}");
    if !tools::found(&name)
        && let Err(error) = setup::install_packages(&[&format!("llvm-{major}")])
    {
        println!("    {error:#}");
    }
    Ok(succeeds(command(&name).arg("--version")).then(|| name.into()))
}

/// What the counts depend on, beside our own source.
fn fingerprint() -> Result<String> {
    let lock = fs::read_to_string(root().join("Cargo.lock")).context("cannot read Cargo.lock")?;
    let compiler = run_quietly(command("rustc").arg("-vV"))?;
    Ok(format!("{:016x}\n", setup::fingerprint((lock + &compiler).as_bytes())))
}

/// The compiler's name for this machine, such as `x86_64-unknown-linux-gnu`.
pub(crate) fn host() -> Result<String> {
    compiler("host: ")
}

fn compiler(what: &str) -> Result<String> {
    let version = run_quietly(command("rustc").arg("-vV"))?;
    let line = version.lines().find_map(|line| line.strip_prefix(what));
    line.map(str::to_owned).with_context(|| format!("`rustc -vV` has no `{what}`"))
}
