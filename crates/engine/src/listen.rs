//! Listening sockets: opened before anything is changed, one per core for TCP so that the kernel spreads connections.

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use tokio::sync::watch;
use unlag_config::{Address, Listen};

use crate::EngineError;
use crate::server::tls;

/// Connections that the kernel may keep until they are accepted.
const BACKLOG: i32 = 4096;

/// A listening address and how it is spoken to.
#[derive(Debug)]
pub struct Bound {
    /// Where it was asked to listen.
    pub asked: Address,
    /// Where it listens: the port chosen by the system stands here.
    pub address: Address,
    /// TLS, replaced when certificates change.
    pub tls: Option<ArcSwap<ServerConfig>>,
    /// Whether answers say how much is in flight here; the connections that it accepted look as well.
    pub report_load: Arc<AtomicBool>,
    closed: watch::Sender<bool>,
}

impl Bound {
    /// Whether it is what `listen` asks for, apart from what can be changed while it is open.
    pub fn is_for(&self, listen: &Listen) -> bool {
        self.asked == listen.address && self.tls.is_some() == listen.tls.is_some()
    }

    /// Stops accepting. Connections that are open go on.
    pub fn close(&self) {
        self.closed.send_replace(true);
        if let Address::Unix(path) = &self.address {
            let _ = std::fs::remove_file(path);
        }
    }

    /// Ready once it is closed.
    pub fn closed(&self) -> impl Future<Output = ()> + use<> {
        let mut closed = self.closed.subscribe();
        async move {
            let _ = closed.wait_for(|closed| *closed).await;
        }
    }
}

/// A socket of one core, not yet known to its runtime.
#[derive(Debug)]
#[expect(missing_docs, reason = "the carriers name themselves")]
pub enum RawListener {
    Tcp(std::net::TcpListener),
    Unix(std::os::unix::net::UnixListener),
}

/// Opens the sockets for one address, one per worker.
pub fn bind(listen: &Listen, workers: usize) -> Result<(Arc<Bound>, Vec<RawListener>), EngineError> {
    let fail = |error| EngineError::Listen { address: listen.address.to_string(), error };
    let tls = listen.tls.as_ref().map(tls::server).transpose().map_err(EngineError::Tls)?;
    let (address, own) = match &listen.address {
        Address::Tcp(asked) => {
            let first = listen_tcp(*asked).map_err(fail)?;
            let address = first.local_addr().map_err(fail)?;
            let mut own = vec![RawListener::Tcp(first)];
            for _ in 1..workers {
                own.push(RawListener::Tcp(share_tcp(address.into()).map_err(fail)?));
            }
            (Address::Tcp(address), own)
        }
        Address::Unix(path) => {
            let listener = unix(path).map_err(fail)?;
            let own = (0..workers).map(|_| listener.try_clone().map(RawListener::Unix));
            (listen.address.clone(), own.collect::<io::Result<Vec<_>>>().map_err(fail)?)
        }
    };
    let tls = tls.map(ArcSwap::from_pointee);
    let bound = Bound {
        asked: listen.address.clone(),
        address,
        tls,
        report_load: Arc::new(listen.report_load.into()),
        closed: watch::Sender::new(false),
    };
    Ok((Arc::new(bound), own))
}

/// One of the sockets that share an address. The first bind is for itself alone: otherwise an address that another process
/// listens on would be shared with it unnoticed.
fn listen_tcp(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let alone = tcp_socket(address)?;
    alone.bind(&address.into())?;
    let address = alone.local_addr()?;
    drop(alone);
    share_tcp(address)
}

fn share_tcp(address: socket2::SockAddr) -> io::Result<std::net::TcpListener> {
    let socket = tcp_socket_for(address.domain())?;
    socket.set_reuse_port(true)?;
    socket.bind(&address)?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Has the kernel begin no more connections on a listening socket, while those begun go on: a filter that drops SYN.
///
/// Closing a listener resets every connection that it has not accepted yet, and those whose handshake is not complete. With
/// a socket for each core, all but the last to close do that to callers whom another core would have served. So the workers
/// first let nobody new in, then take whoever is there, then close. A caller who comes in between tries again after a second,
/// as after any lost packet, and finds the next process or nobody. `net.ipv4.tcp_migrate_req` would pass connections on to the
/// listeners that are left, but not those of the last one, and it is for root to set.
pub fn begin_no_more(listener: &tokio::net::TcpListener) -> io::Result<()> {
    use socket2::SockFilter;
    const LOAD_BYTE: u16 = (libc::BPF_LD | libc::BPF_B | libc::BPF_ABS) as u16;
    const AND: u16 = (libc::BPF_ALU | libc::BPF_AND | libc::BPF_K) as u16;
    const JUMP_IF_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
    // The packet begins with the TCP header, whose flags are byte 13.
    const FLAGS_AT: u32 = 13;
    const SYN: u32 = 0x02;
    const ACK: u32 = 0x10;
    socket2::SockRef::from(listener).attach_filter(&[
        SockFilter::new(LOAD_BYTE, 0, 0, FLAGS_AT),
        SockFilter::new(AND, 0, 0, SYN | ACK),
        SockFilter::new(JUMP_IF_EQUAL, 0, 1, SYN),
        SockFilter::new(RETURN, 0, 0, 0),
        SockFilter::new(RETURN, 0, 0, u32::MAX),
    ])
}

fn tcp_socket(address: SocketAddr) -> io::Result<socket2::Socket> {
    tcp_socket_for(socket2::Domain::for_address(address))
}

fn tcp_socket_for(domain: socket2::Domain) -> io::Result<socket2::Socket> {
    let socket = socket2::Socket::new(domain, socket2::Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Listens on a unix socket. One that a dead process left behind is replaced; a live one, and any other kind of file, is not.
pub fn unix(path: &Path) -> io::Result<std::os::unix::net::UnixListener> {
    use std::os::unix::fs::FileTypeExt;
    use std::os::unix::net::{UnixListener, UnixStream};
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|data| data.file_type().is_socket());
    let is_dead =
        || UnixStream::connect(path).is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused);
    if is_socket && is_dead() {
        std::fs::remove_file(path)?;
    }
    let listener = UnixListener::bind(path)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}
