//! Ports that misbehave before a byte is spoken.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use socket2::{Domain, Socket, Type};

/// An address of loopback where nobody listens. The socket stays bound but does not listen, so that no other test gets the port.
pub struct RefusedPort(#[expect(dead_code, reason = "holds the port")] Socket, SocketAddr);

impl RefusedPort {
    /// Binds a free port without listening.
    pub fn new() -> RefusedPort {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("a free port");
        let address = socket.local_addr().expect("bound").as_socket().expect("an IP address");
        RefusedPort(socket, address)
    }

    /// As an endpoint in the config.
    pub fn url(&self) -> String {
        format!("http://{}", self.1)
    }
}

impl Default for RefusedPort {
    fn default() -> Self {
        RefusedPort::new()
    }
}

/// A listener whose backlog is full: a SYN to it is never answered.
pub struct FullBacklog {
    listener: TcpListener,
    _fillers: Vec<Socket>,
}

impl FullBacklog {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.listener.local_addr().expect("bound")
    }

    /// Listens with a backlog of one and fills it.
    pub fn new() -> FullBacklog {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("a free port");
        socket.listen(0).expect("listen");
        let listener: TcpListener = socket.into();
        let address = listener.local_addr().expect("bound");
        let fillers = (0..8).map(|_| {
            let filler = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
            filler.set_nonblocking(true).expect("nonblocking");
            let _ = filler.connect(&address.into());
            filler
        });
        let full = FullBacklog { _fillers: fillers.collect(), listener };
        crate::wait::wait_until("the backlog is full", || {
            TcpStream::connect_timeout(&address, Duration::from_millis(50)).is_err()
        });
        full
    }

    /// As an endpoint in the config.
    pub fn url(&self) -> String {
        format!("http://{}", self.address())
    }
}

impl Default for FullBacklog {
    fn default() -> Self {
        FullBacklog::new()
    }
}
