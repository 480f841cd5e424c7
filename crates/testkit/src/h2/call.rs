//! One well-formed HTTP/2 call on the `h2` crate, from a test that knows nothing of async.

use bytes::Bytes;
use h2::{Reason, client};
use http::{HeaderMap, Request};
use tokio::net::TcpStream;

use crate::wait::DEADLINE;

/// A call to make.
#[derive(Clone, Debug)]
pub struct Call {
    method: &'static str,
    path: String,
    fields: Vec<(String, String)>,
    body: Vec<u8>,
}

/// What came back.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// The status; 0 when the stream was reset before one.
    pub status: u16,
    /// The fields.
    pub fields: HeaderMap,
    /// The body until its end or the reset.
    pub body: Vec<u8>,
    /// The trailers.
    pub trailers: HeaderMap,
    /// Why the stream was reset, if it was.
    pub reset: Option<Reason>,
}

impl Answer {
    /// A field, or the trailer of this name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.fields.get(name).or_else(|| self.trailers.get(name))?.to_str().ok()
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl Call {
    /// A `GET` of this path.
    pub fn get(path: &str) -> Call {
        Call { method: "GET", path: path.to_owned(), fields: Vec::new(), body: Vec::new() }
    }

    /// A `POST` of this body.
    pub fn post(path: &str, body: &[u8]) -> Call {
        Call { method: "POST", body: body.to_vec(), ..Call::get(path) }
    }

    /// A unary gRPC call with one empty message.
    pub fn grpc(path: &str) -> Call {
        Call::post(path, &[0; 5]).field("content-type", "application/grpc").field("te", "trailers")
    }

    /// Adds a field.
    pub fn field(mut self, name: &str, value: &str) -> Call {
        self.fields.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Makes the call on a connection of its own; panics when that takes longer than [`DEADLINE`].
    pub fn send(&self, address: &str) -> Answer {
        Call::send_all(address, std::slice::from_ref(self)).remove(0)
    }

    /// Makes all calls at once on one connection.
    pub fn send_all(address: &str, calls: &[Call]) -> Vec<Answer> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            tokio::time::timeout(DEADLINE, exchange_all(address, calls)).await.expect("answers in time")
        })
    }
}

async fn exchange_all(address: &str, calls: &[Call]) -> Vec<Answer> {
    let tcp = TcpStream::connect(address).await.expect("connect");
    let (sender, connection) = client::handshake(tcp).await.expect("an HTTP/2 handshake");
    tokio::spawn(connection);
    let tasks: Vec<_> =
        calls.iter().map(|call| tokio::spawn(exchange(sender.clone(), call.clone()))).collect();
    let mut answers = Vec::new();
    for task in tasks {
        answers.push(task.await.expect("a call"));
    }
    answers
}

async fn exchange(sender: client::SendRequest<Bytes>, call: Call) -> Answer {
    let mut answer = Answer::default();
    if let Err(error) = try_exchange(sender, &call, &mut answer).await {
        answer.reset = error.reason().or(Some(Reason::INTERNAL_ERROR));
    }
    answer
}

async fn try_exchange(
    sender: client::SendRequest<Bytes>,
    call: &Call,
    answer: &mut Answer,
) -> Result<(), h2::Error> {
    let mut sender = sender.ready().await?;
    let uri = format!("http://unlag.test{}", call.path);
    let mut request = Request::builder().method(call.method).uri(uri);
    for (name, value) in &call.fields {
        request = request.header(name, value);
    }
    let request = request.body(()).expect("a request");
    let (response, mut stream) = sender.send_request(request, call.body.is_empty())?;
    if !call.body.is_empty() {
        // An early answer may have ended the stream already; the answer tells.
        let _ = stream.send_data(Bytes::from(call.body.clone()), true);
    }
    let (head, mut body) = response.await?.into_parts();
    answer.status = head.status.as_u16();
    answer.fields = head.headers;
    while let Some(chunk) = body.data().await {
        let chunk = chunk?;
        let _ = body.flow_control().release_capacity(chunk.len());
        answer.body.extend_from_slice(&chunk);
    }
    answer.trailers = body.trailers().await?.unwrap_or_default();
    Ok(())
}
