//! A scripted origin: real sockets, one thread per connection, each playing the steps that the test wrote for it.

mod play;
mod request;
mod script;

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

pub use request::Request;
pub use script::{AnswerOf, Script, Step};

use crate::stream::Stream;
use crate::wait::wait_until;

/// What one connection saw.
#[derive(Debug, Clone, Default)]
pub struct Connection {
    /// Every byte received.
    pub received: Vec<u8>,
    /// The requests whose head came whole, with as much body as a step has read.
    pub requests: Vec<Request>,
    /// Whether the proxy ended the connection, seen by a step that reads.
    pub peer_closed: bool,
    /// Whether a write failed because the proxy had ended the connection.
    pub write_failed: bool,
}

type Connections = Arc<Mutex<Vec<Connection>>>;
type ScriptOf = Arc<dyn Fn(usize) -> Script + Send + Sync>;

enum Place {
    Tcp(SocketAddr),
    Tls(SocketAddr),
    Unix(PathBuf),
}

/// An origin on a port (or path) of its own; it stops accepting when dropped.
pub struct RawOrigin {
    place: Place,
    connections: Connections,
    stopped: Arc<AtomicBool>,
}

impl RawOrigin {
    /// Plays `script(n)` on the n-th connection, from 0.
    pub fn scripted(script: impl Fn(usize) -> Script + Send + Sync + 'static) -> RawOrigin {
        RawOrigin::scripted_at(([127, 0, 0, 1], 0).into(), script)
    }

    /// The same on this address.
    pub fn scripted_at(
        address: SocketAddr,
        script: impl Fn(usize) -> Script + Send + Sync + 'static,
    ) -> RawOrigin {
        RawOrigin::listen_tcp(address, None, Arc::new(script))
    }

    /// The same over TLS.
    pub fn scripted_tls(
        tls: Arc<rustls::ServerConfig>,
        script: impl Fn(usize) -> Script + Send + Sync + 'static,
    ) -> RawOrigin {
        RawOrigin::listen_tcp(([127, 0, 0, 1], 0).into(), Some(tls), Arc::new(script))
    }

    /// The same on a unix socket at `path`.
    pub fn scripted_unix(
        path: PathBuf,
        script: impl Fn(usize) -> Script + Send + Sync + 'static,
    ) -> RawOrigin {
        let listener = UnixListener::bind(&path).expect("bind the unix socket");
        let origin = RawOrigin::new(Place::Unix(path));
        origin.accept(
            move || listener.accept().map(|(stream, _)| Some(Stream::Unix(stream))),
            Arc::new(script),
        );
        origin
    }

    /// Plays the same script on every connection.
    pub fn always(script: Script) -> RawOrigin {
        RawOrigin::scripted(move |_| script.clone())
    }

    /// Answers every request on every connection with these bytes of `answer`, and keeps connections open.
    pub fn answering(answer: impl Fn(&Request) -> Vec<u8> + Send + Sync + 'static) -> RawOrigin {
        RawOrigin::always(Script::new().answer(answer))
    }

    /// Answers every request with 200 and this body.
    pub fn ok(body: &str) -> RawOrigin {
        let bytes = ok(body);
        RawOrigin::answering(move |_| bytes.clone())
    }

    fn new(place: Place) -> RawOrigin {
        RawOrigin { place, connections: Connections::default(), stopped: Arc::default() }
    }

    fn listen_tcp(
        address: SocketAddr,
        tls: Option<Arc<rustls::ServerConfig>>,
        script: ScriptOf,
    ) -> RawOrigin {
        let listener = TcpListener::bind(address).expect("bind the address");
        let address = listener.local_addr().expect("a bound listener has an address");
        let origin = RawOrigin::new(if tls.is_some() { Place::Tls(address) } else { Place::Tcp(address) });
        let accept = move || {
            let (tcp, _) = listener.accept()?;
            tcp.set_nodelay(true)?;
            let Some(config) = &tls else { return Ok(Some(Stream::Tcp(tcp))) };
            let connection = rustls::ServerConnection::new(config.clone()).expect("a TLS server");
            Ok(Some(Stream::TlsServer(Box::new(rustls::StreamOwned::new(connection, tcp)))))
        };
        origin.accept(accept, script);
        origin
    }

    fn accept(
        &self,
        accept: impl Fn() -> std::io::Result<Option<Stream>> + Send + 'static,
        script: ScriptOf,
    ) {
        let (connections, stopped) = (self.connections.clone(), self.stopped.clone());
        std::thread::spawn(move || {
            while let Ok(stream) = accept() {
                if stopped.load(Ordering::Acquire) {
                    return;
                }
                let Some(stream) = stream else { continue };
                let number = {
                    let mut all = connections.lock().unwrap_or_else(PoisonError::into_inner);
                    all.push(Connection::default());
                    all.len() - 1
                };
                let (connections, script) = (connections.clone(), script(number));
                let builder = std::thread::Builder::new().stack_size(256 * 1024);
                builder.spawn(move || play::play(stream, &connections, number, script)).expect("a thread");
            }
        });
    }

    /// What the config names as endpoint; TLS origins are called by the name `localhost`.
    pub fn url(&self) -> String {
        match &self.place {
            Place::Tcp(address) => format!("http://{address}"),
            Place::Tls(address) => format!("https://localhost:{}", address.port()),
            Place::Unix(path) => format!("unix:{}", path.display()),
        }
    }

    /// `127.0.0.1:PORT`, or `unix:/path`.
    pub fn address(&self) -> String {
        match &self.place {
            Place::Tcp(address) | Place::Tls(address) => address.to_string(),
            Place::Unix(path) => format!("unix:{}", path.display()),
        }
    }

    fn with<T>(&self, look: impl FnOnce(&[Connection]) -> T) -> T {
        look(&self.connections.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// How many connections were accepted.
    pub fn connections(&self) -> usize {
        self.with(<[Connection]>::len)
    }

    /// What the n-th connection saw until now.
    pub fn connection(&self, number: usize) -> Connection {
        self.with(|all| all.get(number).cloned()).unwrap_or_else(|| panic!("no connection {number}"))
    }

    /// Every request of every connection, in the order of connections.
    pub fn requests(&self) -> Vec<Request> {
        self.with(|all| all.iter().flat_map(|connection| connection.requests.clone()).collect())
    }

    /// How many requests came.
    pub fn request_count(&self) -> usize {
        self.with(|all| all.iter().map(|connection| connection.requests.len()).sum())
    }

    /// The only request that came; panics when there are more or none.
    pub fn only_request(&self) -> Request {
        let mut requests = self.requests();
        assert_eq!(requests.len(), 1, "exactly one request: {requests:?}");
        requests.remove(0)
    }

    /// Waits until `count` requests have come.
    pub fn wait_for_requests(&self, count: usize) {
        wait_until(&format!("{count} requests at the origin"), || self.request_count() >= count);
    }

    /// Waits until the proxy has ended the n-th connection.
    pub fn wait_until_closed(&self, number: usize) {
        wait_until(&format!("the proxy ends connection {number}"), || self.is_closed(number));
    }

    /// Whether the proxy has ended the n-th connection.
    pub fn is_closed(&self, number: usize) -> bool {
        self.with(|all| all.get(number).is_some_and(|seen| seen.peer_closed || seen.write_failed))
    }
}

impl Drop for RawOrigin {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Release);
        match &self.place {
            Place::Tcp(address) | Place::Tls(address) => drop(TcpStream::connect(address)),
            Place::Unix(path) => drop(UnixStream::connect(path)),
        }
    }
}

/// A 200 response with a Content-Length.
pub fn ok(body: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}
