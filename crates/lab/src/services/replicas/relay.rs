//! The way to a far replica: bytes arrive a while after they were sent, and the way can be lost.
//!
//! What a relay cannot do is delay a connect: the loopback's kernel answers that at once. A proxy sees the distance in
//! every answer, not in the handshake.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::Result;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use super::replica::Service;
use super::schedule::Spans;
use super::spec::{Outage, RelaySpec};
use crate::services::serve::{ANYWHERE, listen};

/// Pieces on their way on one connection, in one direction; more are not read until some have arrived.
const UNDER_WAY_MAX: usize = 1_024;
const PIECE_BYTES: usize = 16 * 1024;

pub(super) struct Relay {
    pub(super) address: SocketAddr,
    listener: TcpListener,
    way: Rc<Way>,
}

struct Way {
    target: SocketAddr,
    one_way: Duration,
    outages: Vec<(Outage, Spans)>,
    service: Rc<Service>,
}

impl Relay {
    pub(super) fn open(spec: &RelaySpec, target: SocketAddr, service: &Rc<Service>) -> Result<Self> {
        let (listener, address) = listen(ANYWHERE)?;
        let seed = service.spec.seed;
        let outages = spec.outages.iter().map(|(outage, when)| (*outage, Spans::new(*when, seed))).collect();
        let one_way = Duration::try_from_secs_f64(spec.one_way_ms / 1e3)?;
        Ok(Self {
            address,
            listener,
            way: Rc::new(Way { target, one_way, outages, service: Rc::clone(service) }),
        })
    }

    /// Carries connections until dropped.
    pub(super) async fn run(self) {
        let Self { address, mut listener, way } = self;
        loop {
            let closed = way.lost(Outage::Close);
            tokio::select! {
                biased;
                () = closed => {
                    drop(listener);
                    way.found(Outage::Close).await;
                    match listen(address) {
                        Ok((again, _)) => listener = again,
                        Err(_) => return,
                    }
                }
                accepted = listener.accept() => {
                    if let Ok((stream, _)) = accepted {
                        tokio::task::spawn_local(carry(stream, Rc::clone(&way)));
                    } else {
                        tokio::time::sleep(Duration::from_millis(10)).await;
                    }
                }
            }
        }
    }
}

impl Way {
    fn until(&self, of: Outage) -> Option<Duration> {
        let now = self.service.now();
        self.outages.iter().filter(|(outage, _)| *outage == of).find_map(|(_, spans)| spans.until(now))
    }

    /// Returns when the way is lost in this manner. Looked for every few milliseconds: what happens once a minute needs
    /// no timer of its own.
    async fn lost(&self, how: Outage) {
        if !self.outages.iter().any(|(outage, _)| *outage == how) {
            std::future::pending().await
        }
        while self.until(how).is_none() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn found(&self, how: Outage) {
        while let Some(until) = self.until(how) {
            let left = until.saturating_sub(self.service.now().unwrap_or_default());
            tokio::time::sleep(left.min(Duration::from_secs(3_600))).await;
        }
    }
}

async fn carry(mut near: TcpStream, way: Rc<Way>) {
    if way.until(Outage::BlackHole).is_some() {
        return swallow(&mut near).await;
    }
    let Ok(mut far) = TcpStream::connect(way.target).await else { return };
    let _ = near.set_nodelay(true).and_then(|()| far.set_nodelay(true));
    let was_cut = {
        let (near_in, near_out) = near.split();
        let (far_in, far_out) = far.split();
        tokio::select! {
            biased;
            () = way.lost(Outage::Close) => true,
            carried = both(pump(near_in, far_out, &way), pump(far_in, near_out, &way)) => carried.is_err(),
        }
    };
    if was_cut {
        // What was cut is reset, at both ends.
        let _ = near.set_zero_linger().and_then(|()| far.set_zero_linger());
    }
}

/// Both directions: the connection is over when both are, or when one fails.
async fn both(
    there: impl Future<Output = io::Result<()>>,
    back: impl Future<Output = io::Result<()>>,
) -> io::Result<()> {
    tokio::try_join!(there, back).map(|_| ())
}

/// Takes what comes until there is no more, and gives nothing.
async fn swallow(near: &mut TcpStream) {
    let mut buffer = vec![0; PIECE_BYTES];
    while near.read(&mut buffer).await.is_ok_and(|length| length > 0) {}
}

/// Carries one direction until its sender has closed. What falls into a black hole takes all that follows with it.
async fn pump(mut from: ReadHalf<'_>, mut to: WriteHalf<'_>, way: &Way) -> io::Result<()> {
    let (sent, mut arriving) = mpsc::channel::<(Instant, Vec<u8>)>(UNDER_WAY_MAX);
    let reading = async move {
        let mut buffer = vec![0; PIECE_BYTES];
        loop {
            let length = from.read(&mut buffer).await?;
            way.found(Outage::Freeze).await;
            if length == 0 {
                return io::Result::Ok(());
            }
            let piece = buffer.get(..length).unwrap_or_default().to_vec();
            if sent.send((Instant::now() + way.one_way, piece)).await.is_err() {
                return Ok(());
            }
        }
    };
    let writing = async move {
        let mut swallowed = false;
        while let Some((due, piece)) = arriving.recv().await {
            way.service.timers.sleep(due.saturating_duration_since(Instant::now())).await?;
            way.found(Outage::Freeze).await;
            swallowed |= way.until(Outage::BlackHole).is_some();
            if !swallowed {
                to.write_all(&piece).await?;
            }
        }
        if swallowed {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        to.shutdown().await
    };
    tokio::try_join!(reading, writing).map(|_| ())
}
