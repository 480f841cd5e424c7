//! A file as it is known: what it is called towards callers, and its content if it is small. Everything here may wait for a disk.

use super::open::{Stamp, stamp};
use aws_lc_rs::digest::{Context, SHA256};
use bytes::Bytes;
use rustix::io::Errno;
use std::os::fd::OwnedFd;
use std::time::{Duration, SystemTime};

/// Files up to this size are kept in memory: nearly all that a page is made of, and little each.
pub const SMALL_BYTES_MAX: u64 = 64 * 1024;
/// Of files up to this size the ETag is their content's hash, so that every node has the same. Reading more would hold up the
/// first caller; of larger files it tells the inode, its times and its length, which change with the content.
const HASHED_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// Within the time in which a file system cannot tell two changes apart, equal times prove nothing. Some count in seconds.
const SETTLED_NS: i128 = 2_000_000_000;
/// What is read at a time.
const PIECE_BYTES: usize = 64 * 1024;

/// A file, or a form of it.
#[derive(Debug)]
pub struct File {
    /// What it looked like when it was read.
    pub stamp: Stamp,
    /// Whether it was so young that it may have been changed since without looking different.
    pub is_young: bool,
    /// What identifies its content.
    pub hash: [u8; 16],
    /// Its strong ETag, quotes included.
    pub etag: Box<[u8]>,
    /// `Last-Modified`, and the same in Unix time.
    pub last_modified: String,
    /// In seconds.
    pub modified_s: u64,
    /// Its media type.
    pub content_type: Box<str>,
    /// Its content.
    pub content: Content,
}

/// Where the content is.
#[derive(Debug)]
pub enum Content {
    /// Here.
    Small(Bytes),
    /// On disk.
    Large,
}

impl File {
    /// Reads what is to be known of a file that was just opened.
    pub fn read(file: &OwnedFd, before: Stamp, path: &[u8], wall: SystemTime) -> Result<File, Errno> {
        let (hash, content) = match before.length {
            length if length <= SMALL_BYTES_MAX => {
                let content = read_whole(file, before.length)?;
                (hash_of(&content), Content::Small(content.into()))
            }
            length if length <= HASHED_BYTES_MAX => (hash_of_file(file, before.length)?, Content::Large),
            _ => (hash_of_stamp(before), Content::Large),
        };
        let mut seen = stamp(file)?;
        if let Content::Small(content) = &content {
            // What was read is what is told of, even if there is more by now.
            seen.length = content.len() as u64;
        }
        let since_epoch = wall.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let is_young = since_epoch.as_nanos() as i128 - before.changed_ns < SETTLED_NS || seen != before;
        let modified_s = u64::try_from(before.modified_ns / 1_000_000_000).unwrap_or(0);
        // A file from the future is dated by now (RFC 9110 §8.8.2.1).
        let modified_s = modified_s.min(since_epoch.as_secs());
        let modified = SystemTime::UNIX_EPOCH + Duration::from_secs(modified_s.min(YEAR_9999_S));
        Ok(File {
            stamp: seen,
            is_young,
            hash,
            etag: etag(&hash),
            last_modified: httpdate::fmt_http_date(modified),
            modified_s,
            content_type: content_type(path),
            content,
        })
    }

    /// What it takes in memory.
    pub fn bytes(&self) -> u64 {
        let content = match &self.content {
            Content::Small(content) => content.len(),
            Content::Large => 0,
        };
        (size_of::<File>() + content + 128) as u64
    }
}

/// The last year that an HTTP date can tell.
const YEAR_9999_S: u64 = 253_402_300_799;

/// The content of a file that is to be encoded.
pub fn read_whole(file: &OwnedFd, length: u64) -> Result<Vec<u8>, Errno> {
    let mut content = vec![0; usize::try_from(length).map_err(|_| Errno::FBIG)?];
    let mut filled = 0;
    while let Some(room) = content.get_mut(filled..).filter(|room| !room.is_empty()) {
        match rustix::io::pread(file, room, filled as u64)? {
            0 => break,
            read => filled += read,
        }
    }
    content.truncate(filled);
    Ok(content)
}

fn hash_of(content: &[u8]) -> [u8; 16] {
    let mut context = Context::new(&SHA256);
    context.update(content);
    shortened(context)
}

fn hash_of_file(file: &OwnedFd, length: u64) -> Result<[u8; 16], Errno> {
    let (mut context, mut piece, mut at) = (Context::new(&SHA256), vec![0; PIECE_BYTES], 0);
    while at < length {
        let read = rustix::io::pread(file, piece.as_mut_slice(), at)?;
        if read == 0 {
            break;
        }
        context.update(piece.get(..read).unwrap_or_default());
        at += read as u64;
    }
    Ok(shortened(context))
}

fn hash_of_stamp(stamp: Stamp) -> [u8; 16] {
    hash_of(format!("{stamp:?}").as_bytes())
}

/// Half of the hash identifies as well as all of it: nobody can make two files for it.
fn shortened(context: Context) -> [u8; 16] {
    let digest = context.finish();
    digest.as_ref().first_chunk::<16>().copied().unwrap_or_default()
}

fn etag(hash: &[u8; 16]) -> Box<[u8]> {
    format!("\"{:032x}\"", u128::from_be_bytes(*hash)).into_bytes().into()
}

/// The media type by the name of a file. Text is UTF-8 for as long as anybody has not said otherwise.
pub fn content_type(path: &[u8]) -> Box<str> {
    let name = String::from_utf8_lossy(path.rsplit(|&byte| byte == b'/').next().unwrap_or_default());
    let known = mime_guess::from_path(&*name).first_raw().unwrap_or("application/octet-stream");
    match known.starts_with("text/") && !known.contains(';') {
        true => format!("{known}; charset=utf-8").into(),
        false => known.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::content_type;

    #[test]
    fn the_ending_of_a_name_tells_the_type() {
        for (name, expected) in [
            ("a/index.html", "text/html; charset=utf-8"),
            ("app.1f3a.js", "text/javascript; charset=utf-8"),
            ("A.CSS", "text/css; charset=utf-8"),
            ("data.json", "application/json"),
            ("logo.svg", "image/svg+xml"),
            ("x.png", "image/png"),
            ("font.woff2", "font/woff2"),
            ("module.wasm", "application/wasm"),
            ("a.b/README", "application/octet-stream"),
        ] {
            assert_eq!(&*content_type(name.as_bytes()), expected, "{name}");
        }
    }
}
