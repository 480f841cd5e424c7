//! Plays a script on one connection and writes down what the proxy did.

use std::io::{Read, Write};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::request::fields_of;
use super::script::{Script, Step};
use super::{Connection, Request};
use crate::client::find;
use crate::stream::Stream;
use crate::wait::{DEADLINE, pause};

/// How many bytes a flood has before it gives up.
const FLOOD_MAX: usize = 1 << 30;

struct Player<'a> {
    stream: Stream,
    buffer: Vec<u8>,
    seen: &'a Mutex<Vec<Connection>>,
    number: usize,
}

/// Plays `script` on the `number`-th connection until its end, or until the proxy closes under it.
pub(super) fn play(stream: Stream, seen: &Mutex<Vec<Connection>>, number: usize, script: Script) {
    let _ = stream.set_timeouts(DEADLINE * 2, DEADLINE * 2);
    let mut player = Player { stream, buffer: Vec::new(), seen, number };
    for step in script.0 {
        match step {
            Step::Reset => return player.stream.reset(),
            Step::CloseWithoutNotify => return player.stream.close_write_without_notify(),
            Step::Close => break,
            step => {
                if !player.step(step) {
                    break;
                }
            }
        }
    }
    player.stream.close_write();
}

impl Player<'_> {
    /// Does one step; `false` ends the script.
    fn step(&mut self, step: Step) -> bool {
        match step {
            Step::Head => self.read_head(),
            Step::Body => self.read_body(),
            Step::Send(bytes) => self.send(&bytes),
            Step::Flood(bytes) => {
                let times = FLOOD_MAX / bytes.len().max(1);
                (0..times).all(|_| self.send(&bytes))
            }
            Step::Drip(bytes, every) => self.drip(&bytes, every),
            Step::Wait(gate) => gate.pass(),
            Step::Open(gate) => {
                gate.open();
                true
            }
            Step::Silence => {
                while self.fill() {}
                false
            }
            Step::Echo => self.echo(),
            Step::HalfClose => {
                self.stream.close_write();
                true
            }
            Step::Answer(answer) => {
                while self.read_head() && self.read_body() {
                    let request = self.note(|seen| seen.requests.last().cloned()).unwrap_or_default();
                    if !self.send(&answer(&request)) {
                        break;
                    }
                }
                false
            }
            Step::Reset | Step::Close | Step::CloseWithoutNotify => false,
        }
    }

    fn note<T>(&self, write: impl FnOnce(&mut Connection) -> T) -> T {
        write(&mut self.seen.lock().unwrap_or_else(PoisonError::into_inner)[self.number])
    }

    fn send(&mut self, bytes: &[u8]) -> bool {
        let sent = self.stream.write_all(bytes).and_then(|()| self.stream.flush()).is_ok();
        if !sent {
            self.note(|seen| seen.write_failed = true);
        }
        sent
    }

    fn drip(&mut self, bytes: &[u8], every: Duration) -> bool {
        for byte in bytes {
            if !self.send(std::slice::from_ref(byte)) {
                return false;
            }
            pause(every);
        }
        true
    }

    fn echo(&mut self) -> bool {
        loop {
            let bytes = std::mem::take(&mut self.buffer);
            if !bytes.is_empty() && !self.send(&bytes) {
                return false;
            }
            if !self.fill() {
                return false;
            }
        }
    }

    fn fill(&mut self) -> bool {
        let mut chunk = [0; 32 * 1024];
        match self.stream.read(&mut chunk) {
            Ok(read) if read > 0 => {
                self.buffer.extend_from_slice(&chunk[..read]);
                self.note(|seen| seen.received.extend_from_slice(&chunk[..read]));
                true
            }
            _ => {
                self.note(|seen| seen.peer_closed = true);
                false
            }
        }
    }

    fn read_head(&mut self) -> bool {
        loop {
            if let Some(end) = find(&self.buffer, b"\r\n\r\n") {
                let head = self.buffer.drain(..end + 4).collect();
                self.note(|seen| seen.requests.push(Request { head, ..Request::default() }));
                return true;
            }
            if !self.fill() {
                return false;
            }
        }
    }

    fn read_body(&mut self) -> bool {
        let Some(request) = self.note(|seen| seen.requests.last().cloned()) else { return false };
        if request.is_chunked() { self.read_chunked() } else { self.read_exact(request.content_length()) }
    }

    fn read_exact(&mut self, mut left: usize) -> bool {
        loop {
            let taken = left.min(self.buffer.len());
            let bytes: Vec<u8> = self.buffer.drain(..taken).collect();
            self.note(|seen| seen.requests.last_mut().expect("a request").body.extend(bytes));
            left -= taken;
            if left == 0 {
                return true;
            }
            if !self.fill() {
                return false;
            }
        }
    }

    fn read_line(&mut self) -> Option<Vec<u8>> {
        loop {
            if let Some(end) = find(&self.buffer, b"\r\n") {
                let line = self.buffer[..end].to_vec();
                self.buffer.drain(..end + 2);
                return Some(line);
            }
            if !self.fill() {
                return None;
            }
        }
    }

    fn read_chunked(&mut self) -> bool {
        loop {
            let Some(line) = self.read_line() else { return false };
            let text = String::from_utf8_lossy(&line).into_owned();
            let digits = text.split(';').next().unwrap_or_default().trim();
            let Ok(size) = usize::from_str_radix(digits, 16) else { return false };
            if size == 0 {
                return self.read_trailers();
            }
            if !self.read_exact(size) || self.read_line().is_none() {
                return false;
            }
        }
    }

    fn read_trailers(&mut self) -> bool {
        let mut block = b"\r\n".to_vec();
        loop {
            let Some(line) = self.read_line() else { return false };
            if line.is_empty() {
                break;
            }
            block.extend_from_slice(&line);
            block.extend_from_slice(b"\r\n");
        }
        self.note(|seen| seen.requests.last_mut().expect("a request").trailers = fields_of(&block));
        true
    }
}
