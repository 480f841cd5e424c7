//! The content of a large file, in pieces as the caller takes them: from the page cache at once, from the disk by a thread that
//! may wait. A file that does not last to its end, or is not the same at its end, is cut.

use super::open::{Stamp, stamp};
use super::readers::Readers;
use crate::clock;
use crate::error::Error;
use crate::http::body::Source;
use crate::http::{Body, Chunk, Size};
use crate::net::alarm::Alarm;
use bytes::Bytes;
use rustix::io::{Errno, IoSliceMut, ReadWriteFlags};
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::sync::oneshot;

/// What is read at a time: more would take longer to copy than others should wait (20 µs), less would cost more calls.
const PIECE_BYTES: usize = 64 * 1024;
/// What a caller who takes it as fast as it comes gets before others have their turn: 200 µs of reading and writing.
const TURN_BYTES: usize = 4 * PIECE_BYTES;
/// For how long a disk is waited for. Longer than any disk spins up, shorter than callers are willing to.
pub const DISK_PATIENCE_NS: u64 = 20_000_000_000;

/// A part of a file on its way to the caller.
pub struct FileStream {
    file: Arc<OwnedFd>,
    /// What it has to look like at the end.
    stamp: Stamp,
    left: Range<u64>,
    piece_bytes: usize,
    /// What was read in this turn.
    turn_bytes: usize,
    /// A piece that a thread reads.
    coming: Option<oneshot::Receiver<Result<Vec<u8>, Errno>>>,
    /// The file system cannot say whether it would have to wait.
    always_waits: bool,
    readers: Arc<Readers>,
    alarm: Alarm,
}

impl FileStream {
    /// A part of a file.
    pub fn body(file: OwnedFd, stamp: Stamp, part: Range<u64>, readers: &Arc<Readers>) -> Body {
        Body::Stream(Box::new(FileStream {
            file: Arc::new(file),
            stamp,
            left: part,
            piece_bytes: PIECE_BYTES,
            turn_bytes: 0,
            coming: None,
            always_waits: false,
            readers: Arc::clone(readers),
            alarm: Alarm::default(),
        }))
    }

    fn next_bytes(&self) -> usize {
        let left = self.left.end - self.left.start;
        usize::try_from(left).unwrap_or(usize::MAX).min(self.piece_bytes)
    }

    /// What of the next piece is in memory.
    fn read_now(&self) -> Result<Vec<u8>, Errno> {
        let mut piece = vec![0; self.next_bytes()];
        let mut into = [IoSliceMut::new(&mut piece)];
        let read = rustix::io::preadv2(&*self.file, &mut into, self.left.start, ReadWriteFlags::NOWAIT)?;
        piece.truncate(read);
        Ok(piece)
    }

    fn begin_reading(&self) -> Result<oneshot::Receiver<Result<Vec<u8>, Errno>>, Error> {
        let (file, at, length) = (Arc::clone(&self.file), self.left.start, self.next_bytes());
        self.readers.begin(move || {
            let mut piece = vec![0; length];
            let read = rustix::io::pread(&*file, piece.as_mut_slice(), at)?;
            piece.truncate(read);
            Ok(piece)
        })
    }

    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<Vec<u8>, Error>> {
        if self.coming.is_none() && !self.always_waits {
            match self.read_now() {
                Ok(piece) => return Poll::Ready(Ok(piece)),
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(_) => self.always_waits = true,
            }
        }
        if self.coming.is_none() {
            self.coming = Some(self.begin_reading()?);
            self.alarm.set(clock::now() + DISK_PATIENCE_NS);
        }
        let Some(coming) = &mut self.coming else { return Poll::Ready(Err(Error::File)) };
        match Pin::new(coming).poll(cx) {
            Poll::Ready(piece) => {
                self.coming = None;
                self.alarm.clear();
                Poll::Ready(piece.ok().and_then(Result::ok).ok_or(Error::File))
            }
            Poll::Pending => self.alarm.poll(cx).map(|()| Err(Error::File)),
        }
    }

    /// Whether the file is still the one whose fields were sent. Its other names may have come and gone.
    fn is_the_same(&self) -> bool {
        stamp(&self.file)
            .is_ok_and(|now| now.length == self.stamp.length && now.modified_ns == self.stamp.modified_ns)
    }
}

impl Source for FileStream {
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Chunk, Error>>> {
        if self.left.is_empty() {
            return Poll::Ready(None);
        }
        if self.turn_bytes >= TURN_BYTES {
            self.turn_bytes = 0;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let piece = match std::task::ready!(self.poll_piece(cx)) {
            Ok(piece) => piece,
            Err(error) => return Poll::Ready(Some(Err(error))),
        };
        self.turn_bytes += piece.len();
        self.left.start += piece.len() as u64;
        if piece.is_empty() || self.left.is_empty() && !self.is_the_same() {
            return Poll::Ready(Some(Err(Error::FileChanged)));
        }
        Poll::Ready(Some(Ok(Chunk::Data(Bytes::from(piece)))))
    }

    fn size(&self) -> Size {
        Size::Exact(self.left.end - self.left.start)
    }

    fn take_at_most(&mut self, bytes: usize) {
        self.piece_bytes = bytes.clamp(1, PIECE_BYTES);
    }

    /// It is in the page cache now: reading it again costs some microseconds, and less than holding it for a caller who stalls.
    fn take_back(&mut self, bytes: usize) -> bool {
        self.left.start = self.left.start.saturating_sub(bytes as u64);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::path::PathBuf;

    /// A file of so many bytes that is gone with its owner.
    struct Scratch(PathBuf, Vec<u8>);

    impl Scratch {
        fn new(name: &str, bytes: usize) -> Scratch {
            let path = std::env::temp_dir().join(format!("unlag-stream-{name}-{}", std::process::id()));
            let content: Vec<u8> = (0..bytes).map(|at| (at / 3) as u8).collect();
            fs::write(&path, &content).unwrap();
            Scratch(path, content)
        }

        fn stream(&self, part: Range<u64>, always_waits: bool) -> FileStream {
            let file = OwnedFd::from(fs::File::open(&self.0).unwrap());
            FileStream {
                stamp: stamp(&file).unwrap(),
                file: Arc::new(file),
                left: part,
                piece_bytes: PIECE_BYTES,
                turn_bytes: 0,
                coming: None,
                always_waits,
                readers: Arc::default(),
                alarm: Alarm::default(),
            }
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_file(&self.0);
        }
    }

    async fn read(stream: FileStream) -> Result<Vec<u8>, Error> {
        let (mut body, mut all) = (Body::Stream(Box::new(stream)), Vec::new());
        while let Some(chunk) = body.chunk().await {
            if let Chunk::Data(data) = chunk? {
                all.extend_from_slice(&data);
            }
        }
        Ok(all)
    }

    #[tokio::test]
    async fn a_part_is_read_the_same_by_threads_as_at_once() {
        let file = Scratch::new("same", 300_000);
        for waits in [false, true] {
            for part in [0..300_000, 1..2, 65_535..200_001] {
                let expected = &file.1[part.start as usize..part.end as usize];
                assert_eq!(read(file.stream(part, waits)).await.unwrap(), expected, "{waits}");
            }
        }
    }

    #[tokio::test]
    async fn what_is_shorter_or_another_at_its_end_is_cut() {
        for waits in [false, true] {
            let file = Scratch::new("cut", 300_000);
            let (shorter, written) = (file.stream(0..300_000, waits), file.stream(0..1000, waits));
            fs::OpenOptions::new().write(true).open(&file.0).unwrap().set_len(100_000).unwrap();
            assert_eq!(read(shorter).await, Err(Error::FileChanged));
            assert_eq!(read(written).await, Err(Error::FileChanged), "of another length");
        }
    }

    #[test]
    fn others_have_their_turn_while_a_caller_takes_all_there_is() {
        let file = Scratch::new("turns", 1 << 20);
        let mut stream = file.stream(0..1 << 20, false);
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let (mut turns, mut read) = (0, 0);
        while read < 1 << 20 {
            match stream.poll_chunk(&mut cx) {
                Poll::Pending => turns += 1,
                Poll::Ready(Some(Ok(Chunk::Data(data)))) => read += data.len(),
                Poll::Ready(other) => panic!("{other:?}"),
            }
        }
        assert!(turns >= 3, "{turns}");
    }
}
