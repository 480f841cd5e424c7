//! A well-formed HTTP/2 origin on the `h2` crate that does per request what the test planned.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use h2::server::{Builder, SendResponse};
use h2::{Reason, RecvStream};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio_rustls::TlsAcceptor;

use crate::wait::wait_until;

/// A free port of this machine.
const LOCAL: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// What the origin does with one request.
#[derive(Clone, Debug)]
pub enum Plan {
    /// Reads the body and answers; trailers when there are any.
    Answer {
        /// The status.
        status: u16,
        /// The fields.
        fields: Vec<(&'static str, String)>,
        /// The body; without body and trailers the stream ends with the head.
        body: String,
        /// The trailers.
        trailers: Vec<(&'static str, String)>,
    },
    /// Resets the stream at once.
    Reset(Reason),
    /// Never answers.
    Hang,
    /// Sends a graceful GOAWAY and answers 200 with this body after it.
    GoAway(String),
}

impl Plan {
    /// 200 with this body.
    pub fn ok(body: &str) -> Plan {
        Plan::Answer { status: 200, fields: Vec::new(), body: body.to_owned(), trailers: Vec::new() }
    }
}

/// A request as the origin saw it.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The connection, from 0.
    pub connection: usize,
    /// Method, URI and fields.
    pub head: Arc<Request<()>>,
    /// The body, when it was read to its end.
    pub body: Option<Vec<u8>>,
    /// The trailers of the request.
    pub trailers: HeaderMap,
    /// Whether the proxy reset the stream.
    pub cancelled: bool,
}

#[derive(Default)]
struct State {
    connections: usize,
    requests: Vec<Seen>,
}

type Shared = Arc<Mutex<State>>;
type PlanOf = Arc<dyn Fn(usize, &Request<()>) -> Plan + Send + Sync>;

/// An HTTP/2 origin with prior knowledge on a port of its own.
pub struct H2Origin {
    address: SocketAddr,
    scheme: &'static str,
    state: Shared,
    stop: Arc<Notify>,
}

impl H2Origin {
    /// Does `plan(n, request)` with the n-th request of all connections, from 0.
    pub fn start(plan: impl Fn(usize, &Request<()>) -> Plan + Send + Sync + 'static) -> H2Origin {
        H2Origin::start_at(LOCAL, plan)
    }

    /// The same at this address.
    pub fn start_at(
        address: SocketAddr,
        plan: impl Fn(usize, &Request<()>) -> Plan + Send + Sync + 'static,
    ) -> H2Origin {
        H2Origin::listen(address, Builder::new(), None, Arc::new(plan))
    }

    /// The same under these settings.
    pub fn with_settings(
        settings: Builder,
        plan: impl Fn(usize, &Request<()>) -> Plan + Send + Sync + 'static,
    ) -> H2Origin {
        H2Origin::listen(LOCAL, settings, None, Arc::new(plan))
    }

    /// The same over TLS; it is called by the name `localhost`. A connection on which ALPN did not choose `h2` is an HTTP/1.1
    /// origin that accepts any upgrade and then echoes.
    pub fn over_tls(
        tls: Arc<rustls::ServerConfig>,
        plan: impl Fn(usize, &Request<()>) -> Plan + Send + Sync + 'static,
    ) -> H2Origin {
        H2Origin::listen(LOCAL, Builder::new(), Some(TlsAcceptor::from(tls)), Arc::new(plan))
    }

    fn listen(address: SocketAddr, settings: Builder, tls: Option<TlsAcceptor>, plan: PlanOf) -> H2Origin {
        let listener = std::net::TcpListener::bind(address).expect("a free port");
        listener.set_nonblocking(true).expect("nonblocking");
        let address = listener.local_addr().expect("bound");
        let (state, stop) = (Shared::default(), Arc::new(Notify::new()));
        let (shared, stopped) = (state.clone(), stop.clone());
        let scheme = if tls.is_some() { "https" } else { "http" };
        std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                tokio::select! {
                    () = accept(listener, tls, settings, shared, plan) => {}
                    () = stopped.notified() => {}
                }
            });
            runtime.shutdown_timeout(Duration::ZERO);
        });
        H2Origin { address, scheme, state, stop }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// As an endpoint in the config.
    pub fn url(&self) -> String {
        match self.scheme {
            "http" => format!("http://{}", self.address),
            scheme => format!("{scheme}://localhost:{}", self.address.port()),
        }
    }

    fn with<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// How many connections were accepted.
    pub fn connections(&self) -> usize {
        self.with(|state| state.connections)
    }

    /// Every request until now.
    pub fn requests(&self) -> Vec<Seen> {
        self.with(|state| state.requests.clone())
    }

    /// Waits until `count` requests have come.
    pub fn wait_for_requests(&self, count: usize) {
        wait_until(&format!("{count} requests at the origin"), || {
            self.with(|state| state.requests.len() >= count)
        });
    }

    /// Waits until the proxy has reset the n-th request.
    pub fn wait_until_cancelled(&self, number: usize) {
        let cancelled = || self.with(|state| state.requests.get(number).is_some_and(|seen| seen.cancelled));
        wait_until(&format!("request {number} is cancelled"), cancelled);
    }
}

impl Drop for H2Origin {
    fn drop(&mut self) {
        self.stop.notify_one();
    }
}

async fn accept(
    listener: std::net::TcpListener,
    tls: Option<TlsAcceptor>,
    settings: Builder,
    state: Shared,
    plan: PlanOf,
) {
    let listener = TcpListener::from_std(listener).expect("a listener");
    while let Ok((tcp, _)) = listener.accept().await {
        let connection = {
            let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
            state.connections += 1;
            state.connections - 1
        };
        let _ = tcp.set_nodelay(true);
        let (settings, state, plan) = (settings.clone(), state.clone(), plan.clone());
        match tls.clone() {
            None => drop(tokio::spawn(serve(tcp, settings, connection, state, plan))),
            Some(tls) => drop(tokio::spawn(serve_tls(tls, tcp, settings, connection, state, plan))),
        }
    }
}

async fn serve_tls(
    tls: TlsAcceptor,
    tcp: TcpStream,
    settings: Builder,
    connection: usize,
    state: Shared,
    plan: PlanOf,
) {
    let Ok(stream) = tls.accept(tcp).await else { return };
    match stream.get_ref().1.alpn_protocol() {
        Some(b"h2") => serve(stream, settings, connection, state, plan).await,
        _ => drop(switch_and_echo(stream).await),
    }
}

/// Reads the head of one upgrade request over HTTP/1.1, agrees, and sends back what comes.
async fn switch_and_echo(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let answer = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    stream.write_all(answer).await?;
    stream.flush().await?;
    let (mut reading, mut writing) = tokio::io::split(stream);
    tokio::io::copy(&mut reading, &mut writing).await.map(drop)
}

async fn serve(
    io: impl AsyncRead + AsyncWrite + Unpin,
    settings: Builder,
    connection: usize,
    state: Shared,
    plan: PlanOf,
) {
    let Ok(mut h2) = settings.handshake::<_, Bytes>(io).await else { return };
    while let Some(Ok((request, respond))) = h2.accept().await {
        let (head, body) = request.into_parts();
        let head = Arc::new(Request::from_parts(head, ()));
        let number = {
            let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
            let (head, trailers) = (head.clone(), HeaderMap::new());
            state.requests.push(Seen { connection, head, body: None, trailers, cancelled: false });
            state.requests.len() - 1
        };
        let planned = plan(number, &head);
        if matches!(planned, Plan::GoAway(_)) {
            h2.graceful_shutdown();
        }
        tokio::spawn(exchange(planned, number, body, respond, state.clone()));
    }
}

async fn exchange(
    plan: Plan,
    number: usize,
    body: RecvStream,
    mut respond: SendResponse<Bytes>,
    state: Shared,
) {
    let note = |write: &dyn Fn(&mut Seen)| {
        write(&mut state.lock().unwrap_or_else(PoisonError::into_inner).requests[number]);
    };
    let (status, fields, text, trailers) = match plan {
        Plan::Reset(reason) => return respond.send_reset(reason),
        Plan::Hang => {
            let _body = body;
            let _ = std::future::poll_fn(|context| respond.poll_reset(context)).await;
            return note(&|seen| seen.cancelled = true);
        }
        Plan::GoAway(text) => (200, Vec::new(), text, Vec::new()),
        Plan::Answer { status, fields, body, trailers } => (status, fields, body, trailers),
    };
    match read_body(body).await {
        Some((bytes, request_trailers)) => note(&|seen| {
            seen.body = Some(bytes.clone());
            seen.trailers = request_trailers.clone();
        }),
        None => return note(&|seen| seen.cancelled = true),
    }
    let mut response = Response::builder().status(status).body(()).expect("a status");
    response.headers_mut().extend(map_of(&fields));
    let bare = text.is_empty() && trailers.is_empty();
    let Ok(mut stream) = respond.send_response(response, bare) else { return };
    if !bare {
        let _ = stream.send_data(Bytes::from(text), trailers.is_empty());
        if !trailers.is_empty() {
            let _ = stream.send_trailers(map_of(&trailers));
        }
    }
}

async fn read_body(mut body: RecvStream) -> Option<(Vec<u8>, HeaderMap)> {
    let mut bytes = Vec::new();
    while let Some(chunk) = body.data().await {
        let chunk = chunk.ok()?;
        let _ = body.flow_control().release_capacity(chunk.len());
        bytes.extend_from_slice(&chunk);
    }
    let trailers = body.trailers().await.ok()?;
    Some((bytes, trailers.unwrap_or_default()))
}

fn map_of(fields: &[(&'static str, String)]) -> HeaderMap {
    let pair = |(name, value): &(&'static str, String)| {
        (HeaderName::from_static(name), HeaderValue::from_str(value).expect("a field value"))
    };
    fields.iter().map(pair).collect()
}
