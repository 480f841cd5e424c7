//! A caller of HTTP/2 that sends any frames in any order. A thread reads meanwhile, so that a flood never waits for
//! what comes back.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex, PoisonError};

use super::frame::{ACK, END_HEADERS, END_STREAM, Frame, PREFACE, kind, request_block};
use crate::wait::{DEADLINE, holds_within, wait_until};

/// A connection with prior knowledge.
pub struct RawH2 {
    stream: TcpStream,
    seen: Arc<Mutex<Seen>>,
}

#[derive(Default)]
struct Seen {
    frames: Vec<Frame>,
    ended: bool,
}

impl RawH2 {
    /// Connects, sends the preface and these settings, and reads on a thread of its own.
    pub fn connect(address: &str, settings: &[(u16, u32)]) -> RawH2 {
        let mut connection = RawH2::deaf(address, settings);
        connection.listen();
        connection
    }

    /// The same, but reads nothing until [`RawH2::listen`].
    pub fn deaf(address: &str, settings: &[(u16, u32)]) -> RawH2 {
        let stream =
            TcpStream::connect(address).unwrap_or_else(|error| panic!("connect to {address}: {error}"));
        stream.set_nodelay(true).and(stream.set_write_timeout(Some(DEADLINE))).expect("socket options");
        let mut connection = RawH2 { stream, seen: Arc::default() };
        let mut payload = Vec::new();
        for (id, value) in settings {
            payload.extend(id.to_be_bytes());
            payload.extend(value.to_be_bytes());
        }
        let mut first = PREFACE.to_vec();
        first.extend(Frame::new(kind::SETTINGS, 0, 0, payload).bytes());
        first.extend(Frame::new(kind::SETTINGS, ACK, 0, []).bytes());
        connection.send_bytes(&first);
        connection
    }

    /// Begins to read, on a thread of its own.
    pub fn listen(&mut self) {
        let (mut reading, seen) = (self.stream.try_clone().expect("a second handle"), self.seen.clone());
        std::thread::spawn(move || read_frames(&mut reading, &seen));
    }

    /// Sends bytes as they are; `false` when the connection has ended.
    pub fn send_bytes(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    /// Sends one frame; `false` when the connection has ended.
    pub fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: impl Into<Vec<u8>>) -> bool {
        self.send_bytes(&Frame::new(kind, flags, stream, payload).bytes())
    }

    /// Sends a whole `GET` on a stream.
    pub fn get(&mut self, stream: u32, path: &str) -> bool {
        self.send(kind::HEADERS, END_HEADERS | END_STREAM, stream, request_block("GET", path))
    }

    /// Sends the frames of `next(n)`, n from 0, until the connection ends or `count` are sent; returns how many were.
    pub fn flood(&mut self, count: usize, mut next: impl FnMut(usize) -> Vec<Frame>) -> usize {
        for n in 0..count {
            let bytes: Vec<u8> = next(n).iter().flat_map(Frame::bytes).collect();
            if self.is_ended() || self.goaway().is_some() || !self.send_bytes(&bytes) {
                return n;
            }
        }
        count
    }

    /// Acknowledges every PING that came until now, as a live peer does.
    pub fn answer_pings(&mut self) {
        for ping in self.frames().iter().filter(|frame| frame.kind == kind::PING && frame.flags & ACK == 0) {
            self.send(kind::PING, ACK, 0, ping.payload.clone());
        }
    }

    fn with<T>(&self, look: impl FnOnce(&Seen) -> T) -> T {
        look(&self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Every frame until now.
    pub fn frames(&self) -> Vec<Frame> {
        self.with(|seen| seen.frames.clone())
    }

    /// How many frames of this type came until now.
    pub fn count(&self, kind: u8) -> usize {
        self.with(|seen| seen.frames.iter().filter(|frame| frame.kind == kind).count())
    }

    /// Whether the peer has ended the connection.
    pub fn is_ended(&self) -> bool {
        self.with(|seen| seen.ended)
    }

    /// The error code of a GOAWAY that tells an error.
    pub fn goaway(&self) -> Option<u32> {
        let code = |frame: &Frame| (frame.kind == kind::GOAWAY).then(|| frame.error_code()).flatten();
        self.with(|seen| seen.frames.iter().filter_map(code).find(|code| *code != 0))
    }

    /// The status on this stream, once it came.
    pub fn status(&self, stream: u32) -> Option<u16> {
        self.with(|seen| seen.frames.iter().filter(|frame| frame.stream == stream).find_map(Frame::status))
    }

    /// The code with which the peer reset this stream.
    pub fn reset_code(&self, stream: u32) -> Option<u32> {
        let of = |frame: &&Frame| frame.stream == stream && frame.kind == kind::RST_STREAM;
        self.with(|seen| seen.frames.iter().filter(of).find_map(Frame::error_code))
    }

    /// How many bytes of content came on this stream.
    pub fn body_bytes(&self, stream: u32) -> usize {
        let of = |frame: &&Frame| frame.stream == stream && frame.kind == kind::DATA;
        self.with(|seen| seen.frames.iter().filter(of).map(|frame| frame.payload.len()).sum())
    }

    /// Waits for a status on this stream.
    pub fn wait_for_status(&self, stream: u32) -> u16 {
        wait_until(&format!("a status on stream {stream}"), || self.status(stream).is_some());
        self.status(stream).expect("just seen")
    }

    /// Waits until the peer ends the connection or announces an error; the error code, if one was announced.
    pub fn wait_for_end(&self) -> Option<u32> {
        let ended = holds_within(DEADLINE, || self.is_ended() || self.goaway().is_some());
        assert!(ended, "neither GOAWAY nor an end; {} frames came", self.frames().len());
        self.goaway()
    }
}

impl Drop for RawH2 {
    fn drop(&mut self) {
        let _ = self.stream.shutdown(std::net::Shutdown::Both);
    }
}

fn read_frames(stream: &mut TcpStream, seen: &Mutex<Seen>) {
    let (mut buffer, mut chunk) = (Vec::new(), vec![0; 64 * 1024]);
    while let Ok(read @ 1..) = stream.read(&mut chunk) {
        buffer.extend_from_slice(&chunk[..read]);
        while let Some(frame) = Frame::take(&mut buffer) {
            seen.lock().unwrap_or_else(PoisonError::into_inner).frames.push(frame);
        }
    }
    seen.lock().unwrap_or_else(PoisonError::into_inner).ended = true;
}
