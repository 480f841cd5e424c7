//! One HTTP/2 connection of the load generator, shared by the streams on it.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Instant;

use bytes::Bytes;
use h2::client::{Builder, SendRequest};
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::time::timeout_at;

use super::report::Failure;
use super::request::Prepared;
use super::response::Complete;

/// Window of a stream and of the connection: 64 KiB answers never wait for an update.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 1 << 24;

/// A connection that is opened again when it was closed. Clones share it.
#[derive(Clone)]
pub(super) struct Http2 {
    address: SocketAddr,
    slot: Rc<Mutex<Slot>>,
}

#[derive(Default)]
struct Slot {
    sender: Option<SendRequest<Bytes>>,
    /// Connections opened so far; tells a stream whether the one that failed it is still the current one.
    opened: u64,
}

impl Http2 {
    pub(super) fn new(address: SocketAddr) -> Self {
        Self { address, slot: Rc::default() }
    }

    /// Connections opened so far, by all streams together.
    pub(super) async fn opened(&self) -> u64 {
        self.slot.lock().await.opened
    }

    /// No other stream's task shares this connection any more.
    pub(super) fn is_last(&self) -> bool {
        Rc::strong_count(&self.slot) == 1
    }

    /// Opens the connection if there is none.
    pub(super) async fn connect(&self, deadline: Instant) -> Result<(), Failure> {
        self.sender(deadline).await.map(|_| ())
    }

    async fn sender(&self, deadline: Instant) -> Result<(SendRequest<Bytes>, u64), Failure> {
        let open = async {
            let mut slot = self.slot.lock().await;
            if let Some(sender) = &slot.sender {
                return Ok((sender.clone(), slot.opened));
            }
            let stream = TcpStream::connect(self.address).await.map_err(|_| Failure::Connect)?;
            stream.set_nodelay(true).map_err(|_| Failure::Connect)?;
            let (sender, connection) = Builder::new()
                .initial_window_size(STREAM_WINDOW)
                .initial_connection_window_size(CONNECTION_WINDOW)
                .enable_push(false)
                .handshake::<_, Bytes>(stream)
                .await
                .map_err(|_| Failure::Malformed)?;
            // Ends with the last handle to the connection, or its error, which every stream sees too.
            tokio::task::spawn_local(async move { drop(connection.await) });
            slot.sender = Some(sender.clone());
            slot.opened += 1;
            Ok((sender, slot.opened))
        };
        timeout_at(deadline.into(), open).await.map_err(|_| Failure::Timeout)?
    }

    /// Sends a request on a stream of its own and reads the answer to the end.
    pub(super) async fn exchange(&self, request: &Prepared, deadline: Instant) -> Result<Complete, Failure> {
        let (sender, generation) = self.sender(deadline).await?;
        let answer = timeout_at(deadline.into(), attempt(sender, request)).await;
        match answer.map_err(|_| Failure::Timeout)? {
            Ok(complete) => Ok(complete),
            Err(error) => {
                // A reset stream leaves the connection good; anything else ends it.
                let mut slot = self.slot.lock().await;
                if !error.is_reset() && slot.opened == generation {
                    slot.sender = None;
                }
                Err(if error.is_remote() || error.is_io() { Failure::Closed } else { Failure::Malformed })
            }
        }
    }
}

async fn attempt(sender: SendRequest<Bytes>, request: &Prepared) -> Result<Complete, h2::Error> {
    let mut sender = sender.ready().await?;
    let (response, mut stream) = sender.send_request(request.head(), request.body.is_empty())?;
    if !request.body.is_empty() {
        stream.send_data(request.body.clone(), true)?;
    }
    let response = response.await?;
    let status = response.status().as_u16();
    let mut body = response.into_body();
    let mut body_bytes = 0;
    while let Some(piece) = body.data().await {
        let length = piece?.len();
        body_bytes += length as u64;
        body.flow_control().release_capacity(length)?;
    }
    Ok(Complete { status, body_bytes, reusable: true, consumed: 0 })
}
