//! Opening what lies below a directory, and nothing else: no link leads out of it, nothing that is no file is read.

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// What changes when a file does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// The device that it is on.
    pub device: u64,
    /// Its number there.
    pub inode: u64,
    /// How long it is.
    pub length: u64,
    /// When its content was last changed, as its owner says.
    pub modified_ns: i128,
    /// When anything of it was last changed, as the kernel says.
    pub changed_ns: i128,
}

/// Something that was opened.
#[derive(Debug)]
pub enum Opened {
    /// A regular file.
    File(OwnedFd, Stamp),
    /// A directory.
    Directory,
}

/// Attempts while names are being changed below the directory: the kernel gives up then (`openat2(2)`, `EAGAIN`).
const ATTEMPTS_MAX: usize = 8;

/// Opens `path` below `root`; `None` if there is no file or directory of that name.
pub fn open(root: &Path, path: &[u8]) -> Result<Option<Opened>, Errno> {
    let path = if path.is_empty() { b"." } else { path };
    let opened =
        rustix::fs::openat(CWD, root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .and_then(|root| beneath(root.as_fd(), path))
            .and_then(|file| Ok((stat(&file)?, file)));
    match opened {
        Ok(((kind, stamp), file)) => Ok(match kind {
            Kind::File => Some(Opened::File(file, stamp)),
            Kind::Directory => Some(Opened::Directory),
            Kind::Other => None,
        }),
        // ENXIO: a socket, or a pipe. EXDEV: it leads out.
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV | Errno::NAMETOOLONG | Errno::NXIO) => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// A pipe must not make anybody wait for its other end, and a terminal is not to become ours.
const FLAGS: OFlags = OFlags::RDONLY.union(OFlags::NONBLOCK).union(OFlags::NOCTTY).union(OFlags::CLOEXEC);

fn beneath(root: BorrowedFd<'_>, path: &[u8]) -> Result<OwnedFd, Errno> {
    static IS_MISSING: AtomicBool = AtomicBool::new(false);
    if IS_MISSING.load(Relaxed) {
        return step_by_step(root, path);
    }
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    for _ in 0..ATTEMPTS_MAX {
        match rustix::fs::openat2(root, path, FLAGS, Mode::empty(), resolve) {
            Err(Errno::AGAIN) => {}
            // An older kernel, or a sandbox that does not know it and says so in its way.
            Err(Errno::NOSYS) => {
                IS_MISSING.store(true, Relaxed);
                return step_by_step(root, path);
            }
            Err(Errno::PERM) => return step_by_step(root, path),
            other => return other,
        }
    }
    Err(Errno::AGAIN)
}

/// Where the kernel cannot look after links, none is followed.
fn step_by_step(root: BorrowedFd<'_>, path: &[u8]) -> Result<OwnedFd, Errno> {
    let mut names = path.split(|&byte| byte == b'/').peekable();
    let mut directory: Option<OwnedFd> = None;
    while let Some(name) = names.next() {
        let at = directory.as_ref().map_or(root, |directory| directory.as_fd());
        if names.peek().is_none() {
            return rustix::fs::openat(at, name, FLAGS | OFlags::NOFOLLOW, Mode::empty());
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        directory = Some(rustix::fs::openat(at, name, flags, Mode::empty())?);
    }
    Err(Errno::NOENT)
}

enum Kind {
    File,
    Directory,
    Other,
}

fn stat(file: &OwnedFd) -> Result<(Kind, Stamp), Errno> {
    let stat = rustix::fs::fstat(file)?;
    let kind = match rustix::fs::FileType::from_raw_mode(stat.st_mode) {
        rustix::fs::FileType::RegularFile => Kind::File,
        rustix::fs::FileType::Directory => Kind::Directory,
        _ => Kind::Other,
    };
    let ns = |seconds: i64, ns: u64| i128::from(seconds) * 1_000_000_000 + i128::from(ns);
    let stamp = Stamp {
        device: stat.st_dev,
        inode: stat.st_ino,
        length: stat.st_size.unsigned_abs(),
        modified_ns: ns(stat.st_mtime, stat.st_mtime_nsec),
        changed_ns: ns(stat.st_ctime, stat.st_ctime_nsec),
    };
    Ok((kind, stamp))
}

/// What a file that is open looks like now.
pub fn stamp(file: &OwnedFd) -> Result<Stamp, Errno> {
    stat(file).map(|(_, stamp)| stamp)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn without_openat2_files_are_found_and_no_link_is_followed() {
        let directory = std::env::temp_dir().join(format!("unlag-open-{}", std::process::id()));
        fs::create_dir_all(directory.join("a/b")).unwrap();
        fs::write(directory.join("a/b/c"), "x").unwrap();
        symlink("c", directory.join("a/b/link")).unwrap();
        symlink("b", directory.join("a/link")).unwrap();
        let root = rustix::fs::open(&directory, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).unwrap();
        assert!(step_by_step(root.as_fd(), b"a/b/c").is_ok());
        for link in [&b"a/b/link"[..], b"a/link/c", b"a/b/c/d", b"nothing"] {
            assert!(step_by_step(root.as_fd(), link).is_err());
        }
        fs::remove_dir_all(&directory).unwrap();
    }
}
