//! From a server's name to a socket.

use std::io;
use std::net::ToSocketAddrs;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use crate::address::Server;

/// Names that are looked up at a time. A resolver that hangs keeps a thread until the system gives up, whatever our time-out
/// is: without a bound, each attempt to connect would leave one behind.
pub(crate) const LOOKUPS: usize = 4;

/// Leave to look a name up.
#[derive(Clone)]
pub(crate) struct Lookups(Arc<Semaphore>);

impl Default for Lookups {
    fn default() -> Lookups {
        Lookups(Arc::new(Semaphore::new(LOOKUPS)))
    }
}

impl Lookups {
    async fn addresses(&self, server: &Server) -> io::Result<Vec<std::net::SocketAddr>> {
        if let Ok(address) = server.host.parse::<std::net::IpAddr>() {
            return Ok(vec![(address, server.port).into()]);
        }
        let leave = self.0.clone().acquire_owned().await.map_err(io::Error::other)?;
        let name = (server.host.clone(), server.port);
        let looked_up = tokio::task::spawn_blocking(move || {
            let addresses = name.to_socket_addrs().map(Iterator::collect);
            drop(leave);
            addresses
        });
        looked_up.await.map_err(io::Error::other)?
    }
}

/// Connects to the first address that accepts.
pub(super) async fn socket(server: &Server, lookups: &Lookups) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in lookups.addresses(server).await? {
        match TcpStream::connect(address).await {
            Ok(socket) => {
                socket.set_nodelay(true)?;
                // An idle connection that a middlebox has forgotten is noticed in a minute and not by the next five asks.
                let keepalive = socket2::TcpKeepalive::new()
                    .with_time(Duration::from_secs(30))
                    .with_interval(Duration::from_secs(10));
                socket2::SockRef::from(&socket).set_tcp_keepalive(&keepalive)?;
                return Ok(socket);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}
