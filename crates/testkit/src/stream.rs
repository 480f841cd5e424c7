//! One blocking byte stream over TCP, a unix socket or TLS, with the rude ways to end it.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustls::{ClientConnection, ServerConnection, StreamOwned};

/// A connected stream of either side.
pub enum Stream {
    /// Plain TCP.
    Tcp(TcpStream),
    /// A unix socket.
    Unix(UnixStream),
    /// The calling side of TLS over TCP.
    TlsClient(Box<StreamOwned<ClientConnection, TcpStream>>),
    /// The answering side of TLS over TCP.
    TlsServer(Box<StreamOwned<ServerConnection, TcpStream>>),
}

impl Stream {
    /// Connects to `127.0.0.1:PORT` or `unix:/path`.
    pub fn connect(address: &str) -> io::Result<Stream> {
        match address.strip_prefix("unix:") {
            Some(path) => Ok(Stream::Unix(UnixStream::connect(path)?)),
            None => {
                let stream = TcpStream::connect(address)?;
                stream.set_nodelay(true)?;
                Ok(Stream::Tcp(stream))
            }
        }
    }

    fn tcp(&self) -> Option<&TcpStream> {
        match self {
            Stream::Tcp(tcp) => Some(tcp),
            Stream::Unix(_) => None,
            Stream::TlsClient(tls) => Some(tls.get_ref()),
            Stream::TlsServer(tls) => Some(tls.get_ref()),
        }
    }

    /// Bounds every later read and write.
    pub fn set_timeouts(&self, read: Duration, write: Duration) -> io::Result<()> {
        match (self, self.tcp()) {
            (_, Some(tcp)) => tcp.set_read_timeout(Some(read)).and(tcp.set_write_timeout(Some(write))),
            (Stream::Unix(unix), _) => {
                unix.set_read_timeout(Some(read)).and(unix.set_write_timeout(Some(write)))
            }
            _ => Ok(()),
        }
    }

    /// Ends our direction: FIN, after a close_notify under TLS. Reading goes on.
    pub fn close_write(&mut self) {
        match self {
            Stream::TlsClient(tls) => tls.conn.send_close_notify(),
            Stream::TlsServer(tls) => tls.conn.send_close_notify(),
            _ => {}
        }
        let _ = self.flush();
        self.close_write_without_notify();
    }

    /// Sends FIN only: under TLS this is the truncation that a receiver must notice.
    pub fn close_write_without_notify(&mut self) {
        let _ = match (&*self, self.tcp()) {
            (_, Some(tcp)) => tcp.shutdown(Shutdown::Write),
            (Stream::Unix(unix), _) => unix.shutdown(Shutdown::Write),
            _ => Ok(()),
        };
    }

    /// Ends both directions with RST (a plain close on a unix socket).
    pub fn reset(self) {
        if let Some(tcp) = self.tcp() {
            let _ = socket2::SockRef::from(tcp).set_linger(Some(Duration::ZERO));
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.read(buffer),
            Stream::Unix(stream) => stream.read(buffer),
            Stream::TlsClient(stream) => stream.read(buffer),
            Stream::TlsServer(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.write(bytes),
            Stream::Unix(stream) => stream.write(bytes),
            Stream::TlsClient(stream) => stream.write(bytes),
            Stream::TlsServer(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Stream::Tcp(stream) => stream.flush(),
            Stream::Unix(stream) => stream.flush(),
            Stream::TlsClient(stream) => stream.flush(),
            Stream::TlsServer(stream) => stream.flush(),
        }
    }
}

/// Whether an error of a read means that the time of [`Stream::set_timeouts`] passed.
pub fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}
