//! A caller that sends exactly the bytes it is given, in exactly the pieces it is given, and reads strictly.

use std::io::{Read, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::ClientConfig;
use rustls::pki_types::ServerName;

use crate::response::{
    Framing, Head, ReadError, Response, framing_of, parse_chunk_size, parse_fields, parse_head,
};
use crate::stream::{Stream, is_timeout};
use crate::wait::{DEADLINE, pause};

/// How many 1xx heads a response may have before this reader gives up.
const INTERIM_MAX: usize = 1_000;

/// A blocking connection to a proxy or an origin.
pub struct RawClient {
    stream: Stream,
    buffer: Vec<u8>,
    ended: Option<End>,
    deadline: Duration,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Fin,
    Reset,
}

impl RawClient {
    /// Connects to `127.0.0.1:PORT` or `unix:/path`.
    pub fn connect(address: &str) -> RawClient {
        RawClient::try_connect(address).unwrap_or_else(|error| panic!("connect to {address}: {error}"))
    }

    /// Connects, or says why not.
    pub fn try_connect(address: &str) -> std::io::Result<RawClient> {
        RawClient::over(Stream::connect(address)?)
    }

    /// Speaks TLS under `config`, asking for `server_name`; the handshake runs at the first write or read.
    pub fn tls(address: &str, config: Arc<ClientConfig>, server_name: &str) -> RawClient {
        let Ok(Stream::Tcp(tcp)) = Stream::connect(address) else { panic!("connect to {address}") };
        let name = ServerName::try_from(server_name.to_owned()).expect("a server name");
        let connection = rustls::ClientConnection::new(config, name).expect("a TLS client");
        let stream = Stream::TlsClient(Box::new(rustls::StreamOwned::new(connection, tcp)));
        RawClient::over(stream).expect("socket options")
    }

    fn over(stream: Stream) -> std::io::Result<RawClient> {
        stream.set_timeouts(DEADLINE, DEADLINE)?;
        Ok(RawClient { stream, buffer: Vec::new(), ended: None, deadline: DEADLINE })
    }

    /// Bounds later reads and writes to `deadline` instead of [`DEADLINE`].
    pub fn with_deadline(mut self, deadline: Duration) -> RawClient {
        self.deadline = deadline;
        self.stream.set_timeouts(deadline, deadline).expect("socket options");
        self
    }

    /// The stream below, for what TLS negotiated.
    pub fn stream(&mut self) -> &mut Stream {
        &mut self.stream
    }

    /// Sends these bytes; a peer that has closed already is no error here, the read will tell.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut RawClient {
        let _ = self.try_send(bytes.as_ref());
        self
    }

    /// Sends these bytes, or says why not.
    pub fn try_send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.write_all(bytes).and_then(|()| self.stream.flush())
    }

    /// Sends pieces with `gap` between them, so that each arrives as a read of its own.
    pub fn send_pieces(&mut self, pieces: &[&[u8]], gap: Duration) -> &mut RawClient {
        for (index, piece) in pieces.iter().enumerate() {
            if index > 0 {
                pause(gap);
            }
            self.send(piece);
        }
        self
    }

    /// Sends a plain `GET` of `target` on this connection and reads the response.
    pub fn get(&mut self, target: &str) -> Response {
        self.send(format!("GET {target} HTTP/1.1\r\nHost: unlag.test\r\n\r\n")).read_response("GET")
    }

    /// Reads the response to a request with `method`; panics when none comes whole.
    pub fn read_response(&mut self, method: &str) -> Response {
        self.try_read_response(method).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Reads the response to a request with `method`, 1xx heads included.
    pub fn try_read_response(&mut self, method: &str) -> Result<Response, ReadError> {
        let mut response = Response::default();
        loop {
            let head = self.read_head_within(&response)?;
            if head.status >= 200 || head.status == 101 {
                response.head = head;
                break;
            }
            response.interim.push(head);
            if response.interim.len() > INTERIM_MAX {
                return Err(ReadError::Malformed(format!("more than {INTERIM_MAX} interim responses")));
            }
        }
        response.framing = framing_of(method, &response.head)?;
        match response.framing {
            Framing::None => {}
            Framing::Length(length) => self.take_into(length, &mut response)?,
            Framing::Chunked => self.read_chunked(&mut response)?,
            Framing::Close => self.read_close_delimited(&mut response)?,
        }
        Ok(response)
    }

    /// Reads one head, 1xx or final, and leaves what follows unread.
    pub fn read_head(&mut self) -> Result<Head, ReadError> {
        self.read_head_within(&Response::default())
    }

    fn read_head_within(&mut self, so_far: &Response) -> Result<Head, ReadError> {
        let end = loop {
            if let Some(end) = find(&self.buffer, b"\r\n\r\n") {
                break end;
            }
            if self.ended.is_some() && self.buffer.is_empty() && so_far.interim.is_empty() {
                return Err(ReadError::Closed);
            }
            if !self.fill()? {
                if self.buffer.is_empty() && so_far.interim.is_empty() {
                    return Err(ReadError::Closed);
                }
                return Err(ReadError::Cut(Box::new(so_far.clone())));
            }
        };
        let head = parse_head(&self.buffer[..end]);
        self.buffer.drain(..end + 4);
        head
    }

    fn read_chunked(&mut self, response: &mut Response) -> Result<(), ReadError> {
        loop {
            let line = self.read_line(response)?;
            let size = parse_chunk_size(&line)?;
            if size == 0 {
                break;
            }
            self.take_into(size, response)?;
            if !self.read_line(response)?.is_empty() {
                return Err(ReadError::Malformed("chunk data runs past its size".into()));
            }
        }
        loop {
            let line = self.read_line(response)?;
            if line.is_empty() {
                return Ok(());
            }
            response.trailers.extend(parse_fields(std::iter::once(line.as_slice()))?);
        }
    }

    fn read_line(&mut self, so_far: &Response) -> Result<Vec<u8>, ReadError> {
        loop {
            if let Some(end) = find(&self.buffer, b"\r\n") {
                let line = self.buffer[..end].to_vec();
                self.buffer.drain(..end + 2);
                return Ok(line);
            }
            if !self.fill()? {
                return Err(ReadError::Cut(Box::new(so_far.clone())));
            }
        }
    }

    fn take_into(&mut self, length: u64, response: &mut Response) -> Result<(), ReadError> {
        let mut left = usize::try_from(length).expect("a length that fits memory");
        loop {
            let taken = left.min(self.buffer.len());
            response.body.extend(self.buffer.drain(..taken));
            left -= taken;
            if left == 0 {
                return Ok(());
            }
            if !self.fill()? {
                return Err(ReadError::Cut(Box::new(response.clone())));
            }
        }
    }

    fn read_close_delimited(&mut self, response: &mut Response) -> Result<(), ReadError> {
        while self.fill()? {}
        response.body.append(&mut self.buffer);
        match self.ended {
            Some(End::Fin) => Ok(()),
            _ => Err(ReadError::Cut(Box::new(response.clone()))),
        }
    }

    /// Reads more; `false` at the end of the connection.
    fn fill(&mut self) -> Result<bool, ReadError> {
        if self.ended.is_some() {
            return Ok(false);
        }
        let mut chunk = [0; 64 * 1024];
        match self.stream.read(&mut chunk) {
            Ok(0) => self.ended = Some(End::Fin),
            Ok(read) => {
                self.buffer.extend_from_slice(&chunk[..read]);
                return Ok(true);
            }
            Err(error) if is_timeout(&error) => return Err(ReadError::Timeout),
            Err(_) => self.ended = Some(End::Reset),
        }
        Ok(false)
    }

    /// Reads exactly `length` raw bytes, as of a tunnel.
    pub fn read_exact(&mut self, length: usize) -> Result<Vec<u8>, ReadError> {
        while self.buffer.len() < length {
            if !self.fill()? {
                return Err(ReadError::Closed);
            }
        }
        Ok(self.buffer.drain(..length).collect())
    }

    /// Reads until the end of the connection, however it ends.
    pub fn read_to_end(&mut self) -> Result<Vec<u8>, ReadError> {
        while self.fill()? {}
        Ok(std::mem::take(&mut self.buffer))
    }

    /// Waits for the end of the connection; panics when bytes come instead, or nothing happens.
    pub fn expect_closed(&mut self) {
        match self.read_to_end() {
            Ok(rest) if rest.is_empty() => {}
            Ok(rest) => panic!("bytes before the close: {:?}", String::from_utf8_lossy(&rest)),
            Err(error) => panic!("not closed: {error}"),
        }
    }

    /// Whether the peer has closed by now; does not wait.
    pub fn is_closed_now(&mut self) -> bool {
        self.stream.set_timeouts(Duration::from_millis(1), self.deadline).expect("socket options");
        let open = matches!(self.fill(), Ok(true) | Err(_));
        self.stream.set_timeouts(self.deadline, self.deadline).expect("socket options");
        !open
    }

    /// Ends the sending direction only.
    pub fn half_close(&mut self) {
        self.stream.close_write();
    }

    /// Ends the connection with RST.
    pub fn reset(self) {
        self.stream.reset();
    }
}

/// One `GET` on a connection of its own, and how long it took.
pub fn get_once(address: &str, target: &str) -> (Response, Duration) {
    let started = Instant::now();
    let response = RawClient::connect(address).get(target);
    (response, started.elapsed())
}

/// Where `needle` begins in `bytes`.
pub fn find(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    bytes.windows(needle.len()).position(|window| window == needle)
}
