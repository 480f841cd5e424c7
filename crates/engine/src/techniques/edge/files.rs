//! What is known of files, for all cores: bounded in bytes, looked at again when it was last looked at a second ago. A hit asks
//! the system for nothing.

use super::file::{self, File};
use super::flights::Flights;
use super::open::{self, Opened, Stamp};
use super::policy;
use super::readers::Readers;
use super::stream::DISK_PATIENCE_NS;
use crate::clock;
use crate::encoding::variants::Bring;
use crate::error::Error;
use crate::http::media;
use crate::seldom::Seldom;
use bytes::Bytes;
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use rustix::io::Errno;
use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;
use unlag_config::{Encoding, PathRegex};

/// For how long a file is taken to be as it was.
const CHECK_EVERY_NS: u64 = 1_000_000_000;
/// What is kept of files in memory: a thousand or so of those that are kept whole.
const KEPT_BYTES_MAX: u64 = 32 * 1024 * 1024;
/// At least how many that is. The table has a shard for each 32 of them, which may hold 2 MiB: enough for any file and its siblings.
const KEPT_EXPECTED: usize = 512;

/// The directory of a route.
#[derive(Debug)]
pub struct Directory {
    root: PathBuf,
    /// The name of the route, for whoever reads the log.
    route: String,
    /// What stands before every key: the same file is known in another way to a route that serves it differently.
    prefix: Vec<u8>,
    /// The file that stands for a directory.
    pub index: Option<String>,
    precompressed: bool,
    /// Paths whose content never changes.
    pub immutable: Option<PathRegex>,
    /// The encodings that are offered, the preferred first.
    pub encodings: Vec<Encoding>,
}

impl Directory {
    /// As it is configured for a route.
    pub fn new(config: &unlag_config::Files, route: &str) -> Directory {
        let precompressed = config.precompressed && !config.encodings.is_empty();
        Directory {
            root: config.directory.clone(),
            route: route.into(),
            prefix: format!("{:?} {precompressed} {:?} ", config.directory, config.encodings).into_bytes(),
            index: config.index.clone(),
            precompressed,
            immutable: config.immutable.clone(),
            encodings: config.encodings.clone(),
        }
    }

    fn key(&self, path: &[u8]) -> Vec<u8> {
        [&self.prefix, path].concat()
    }

    /// What the system says of a file that is there is for whoever runs this. To callers it is none of their fault, and nothing
    /// that they may take for the absence of a file: that is kept, and a wrong mode after a release is put right.
    fn unreadable(&self, path: &[u8], errno: Errno) -> Error {
        static LINES: Seldom = Seldom::new();
        if let Some(times) = LINES.due() {
            let file = self.root.join(OsStr::from_bytes(path));
            tracing::warn!(route = self.route, file = %file.display(), %errno, times, "a file of a static route cannot be read");
        }
        Error::File
    }

    fn siblings<'a>(&'a self, path: &'a [u8]) -> impl Iterator<Item = (Encoding, Vec<u8>)> + 'a {
        let encodings = if self.precompressed { self.encodings.as_slice() } else { &[] };
        encodings
            .iter()
            .map(move |&encoding| (encoding, [path, policy::suffix(encoding).as_bytes()].concat()))
    }
}

/// What is known of a file.
#[derive(Debug)]
pub struct Known {
    /// The file itself.
    pub file: File,
    /// What of it lies beside it in encodings.
    siblings: Vec<(Encoding, File)>,
    /// Whether what is sent of it depends on the encodings that a caller takes.
    pub varies: bool,
    path: Vec<u8>,
    checked_ns: AtomicU64,
}

impl Known {
    /// Its form in an encoding.
    pub fn sibling(&self, encoding: Encoding) -> Option<&File> {
        self.siblings.iter().find(|(known, _)| *known == encoding).map(|(_, file)| file)
    }

    /// Where it is below its directory, as it is or in an encoding.
    pub fn path_in(&self, encoding: Option<Encoding>) -> Vec<u8> {
        [&self.path, encoding.map_or("", policy::suffix).as_bytes()].concat()
    }

    fn bytes(&self) -> u64 {
        self.siblings.iter().map(|(_, file)| file.bytes()).sum::<u64>()
            + self.file.bytes()
            + self.path.len() as u64
    }

    /// Whether it is this one's turn to look at the file again.
    fn is_due(&self, now: u64) -> bool {
        let checked = self.checked_ns.load(Relaxed);
        now.saturating_sub(checked) >= CHECK_EVERY_NS
            && self.checked_ns.compare_exchange(checked, now, Relaxed, Relaxed).is_ok()
    }
}

/// What there is at a path.
#[derive(Clone, Debug)]
pub enum Found {
    /// A file.
    File(Arc<Known>),
    /// A directory.
    Directory,
}

#[derive(Clone)]
struct ByBytes;

impl Weighter<Vec<u8>, Arc<Known>> for ByBytes {
    fn weight(&self, key: &Vec<u8>, known: &Arc<Known>) -> u64 {
        known.bytes() + key.len() as u64 + 128
    }
}

/// What a look has found.
type Look = Result<Option<Found>, Errno>;

/// The table.
pub struct Files {
    known: Arc<Cache<Vec<u8>, Arc<Known>, ByBytes>>,
    looks: Arc<Flights<Look>>,
    readers: Arc<Readers>,
}

impl Default for Files {
    fn default() -> Files {
        let known = Cache::with_weighter(KEPT_EXPECTED, KEPT_BYTES_MAX, ByBytes);
        Files { known: Arc::new(known), looks: Arc::default(), readers: Arc::default() }
    }
}

impl Files {
    /// What there is at a path of a directory.
    pub async fn find(&self, directory: &Arc<Directory>, path: &[u8]) -> Result<Found, Error> {
        let key = directory.key(path);
        let before = self.known.get(&key);
        if let Some(known) = &before
            && !known.is_due(clock::now())
        {
            return Ok(Found::File(Arc::clone(known)));
        }
        let (waiting, flight) = self.looks.join(&key);
        if let Some(flight) = flight {
            let (of, path, known) = (Arc::clone(directory), path.to_vec(), Arc::clone(&self.known));
            let (wall, now) = (clock::wall(), clock::now());
            let work = move || {
                let found = match before {
                    Some(known) if is_as_it_was(&of, &known) => Ok(Some(Found::File(known))),
                    _ => look(&of, &path, wall, now),
                };
                match &found {
                    Ok(Some(Found::File(file))) => known.insert(key, Arc::clone(file)),
                    _ => drop(known.remove(&key)),
                }
                flight.land(found);
            };
            self.readers.run(work)?;
        }
        match patiently(waiting.found()).await {
            Ok(Some(found)) => Ok(found),
            Ok(None) => Err(Error::NoFile),
            Err(errno) => Err(directory.unreadable(path, errno)),
        }
    }

    /// Opens a large file, if it still looks the same.
    pub async fn open(
        &self,
        directory: &Arc<Directory>,
        path: &[u8],
        stamp: Stamp,
    ) -> Result<Option<OwnedFd>, Error> {
        let (of, owned) = (Arc::clone(directory), path.to_vec());
        let opened = self.readers.begin(move || open::open(&of.root, &owned))?;
        match patiently(async { opened.await.ok() }).await {
            Ok(Some(Opened::File(file, now))) => Ok((now == stamp).then_some(file)),
            Ok(_) => Ok(None),
            Err(errno) => Err(directory.unreadable(path, errno)),
        }
    }

    /// Has the next who asks look again.
    pub fn forget(&self, directory: &Directory, known: &Known) {
        self.known.remove(&directory.key(&known.path));
    }

    /// Brings the content of a file to whoever encodes it.
    pub fn bring(&self, directory: &Arc<Directory>, known: &Known) -> Bring {
        if let file::Content::Small(content) = &known.file.content {
            let content = content.clone();
            return Box::new(move || Some(content));
        }
        let (directory, path, stamp) = (Arc::clone(directory), known.path.clone(), known.file.stamp);
        Box::new(move || {
            let Ok(Some(Opened::File(file, now))) = open::open(&directory.root, &path) else { return None };
            let content = file::read_whole(&file, stamp.length).ok()?;
            let is_same = now == stamp && open::stamp(&file).is_ok_and(|after| after == stamp);
            is_same.then(|| Bytes::from(content))
        })
    }

    /// The threads that wait for disks.
    pub fn readers(&self) -> &Arc<Readers> {
        &self.readers
    }
}

/// What a thread is doing; not for longer than a disk is waited for.
async fn patiently<T>(done: impl Future<Output = Option<Result<T, Errno>>>) -> Result<T, Errno> {
    let patience = Duration::from_nanos(DISK_PATIENCE_NS);
    let done = tokio::time::timeout(patience, done).await.map_err(|_| Errno::TIMEDOUT)?;
    done.ok_or(Errno::CANCELED)?
}

/// What there is at a path, read anew.
fn look(directory: &Directory, path: &[u8], wall: std::time::SystemTime, now: u64) -> Look {
    let (file, stamp) = match open::open(&directory.root, path)? {
        Some(Opened::File(file, stamp)) => (file, stamp),
        Some(Opened::Directory) => return Ok(Some(Found::Directory)),
        None => return Ok(None),
    };
    let file = File::read(&file, stamp, path, wall)?;
    let mut siblings = Vec::new();
    for (encoding, beside) in directory.siblings(path) {
        let opened = open::open(&directory.root, &beside);
        // One that cannot be read is none.
        let opened = opened.inspect_err(|&errno| _ = directory.unreadable(&beside, errno));
        if let Ok(Some(Opened::File(opened, stamp))) = opened
            && stamp.modified_ns >= file.stamp.modified_ns
            && let Ok(mut sibling) = File::read(&opened, stamp, path, wall)
        {
            // Of its own even where its bytes are those of another file.
            sibling.etag = policy::etag_of_sibling(&sibling, encoding);
            siblings.push((encoding, sibling));
        }
    }
    let is_made = !directory.encodings.is_empty() && media::is_compressible(file.content_type.as_bytes());
    let varies = is_made || !siblings.is_empty();
    let checked_ns = AtomicU64::new(now);
    Ok(Some(Found::File(Arc::new(Known { file, siblings, varies, path: path.to_vec(), checked_ns }))))
}

/// Whether a file and its siblings look as they did.
fn is_as_it_was(directory: &Directory, known: &Known) -> bool {
    let stamp_at = |path: &[u8]| match open::open(&directory.root, path) {
        Ok(Some(Opened::File(_, stamp))) => Some(stamp),
        _ => None,
    };
    let is_settled = !known.file.is_young && known.siblings.iter().all(|(_, sibling)| !sibling.is_young);
    is_settled
        && stamp_at(&known.path) == Some(known.file.stamp)
        && directory.siblings(&known.path).all(|(encoding, beside)| {
            let now = stamp_at(&beside).filter(|stamp| stamp.modified_ns >= known.file.stamp.modified_ns);
            now == known.sibling(encoding).map(|sibling| sibling.stamp)
        })
}
