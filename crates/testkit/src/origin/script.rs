//! The steps of a scripted connection, and the sentence-like way to write them down.

use std::sync::Arc;
use std::time::Duration;

use super::Request;
use crate::wait::Gate;

/// The bytes with which an origin answers a request.
pub type AnswerOf = Arc<dyn Fn(&Request) -> Vec<u8> + Send + Sync>;

/// One thing that an origin does on a connection.
#[derive(Clone)]
pub enum Step {
    /// Reads the head of the next request; the script ends when the proxy closes instead.
    Head,
    /// Reads the body that the last head declares.
    Body,
    /// Sends these bytes.
    Send(Vec<u8>),
    /// Sends these bytes again and again until the proxy ends the connection.
    Flood(Vec<u8>),
    /// Sends one byte, lets the time pass, sends the next.
    Drip(Vec<u8>, Duration),
    /// Does nothing, not even reading, until the gate opens.
    Wait(Gate),
    /// Opens a gate, to tell the test that the script came here.
    Open(Gate),
    /// Reads and says nothing until the proxy closes.
    Silence,
    /// Reads whatever comes and sends it back until the proxy closes.
    Echo,
    /// Ends the sending direction.
    HalfClose,
    /// Ends the connection with RST.
    Reset,
    /// Ends the connection; under TLS after a close_notify.
    Close,
    /// Ends a TLS connection without close_notify.
    CloseWithoutNotify,
    /// Reads requests and sends what the function says until the proxy closes.
    Answer(AnswerOf),
}

/// The steps of one connection; after the last one it is closed.
#[derive(Clone, Default)]
pub struct Script(pub Vec<Step>);

impl Script {
    /// A script that closes at once.
    pub fn new() -> Script {
        Script::default()
    }

    /// Answers every request with 200 and this body, but none before `gate` is open.
    pub fn held(gate: &Gate, body: &str) -> Script {
        let (gate, bytes) = (gate.clone(), super::ok(body));
        Script::new().answer(move |_| {
            gate.pass();
            bytes.clone()
        })
    }

    fn then(mut self, step: Step) -> Script {
        self.0.push(step);
        self
    }

    /// Reads one head.
    pub fn head(self) -> Script {
        self.then(Step::Head)
    }

    /// Reads the body of the last head.
    pub fn body(self) -> Script {
        self.then(Step::Body)
    }

    /// Reads one request, head and body.
    pub fn request(self) -> Script {
        self.then(Step::Head).then(Step::Body)
    }

    /// Sends bytes.
    pub fn send(self, bytes: impl AsRef<[u8]>) -> Script {
        self.then(Step::Send(bytes.as_ref().to_vec()))
    }

    /// Sends bytes until the proxy has enough.
    pub fn flood(self, bytes: impl AsRef<[u8]>) -> Script {
        self.then(Step::Flood(bytes.as_ref().to_vec()))
    }

    /// Sends bytes one by one.
    pub fn drip(self, bytes: impl AsRef<[u8]>, every: Duration) -> Script {
        self.then(Step::Drip(bytes.as_ref().to_vec(), every))
    }

    /// Waits for a gate.
    pub fn wait(self, gate: &Gate) -> Script {
        self.then(Step::Wait(gate.clone()))
    }

    /// Opens a gate.
    pub fn open(self, gate: &Gate) -> Script {
        self.then(Step::Open(gate.clone()))
    }

    /// Reads and says nothing.
    pub fn silence(self) -> Script {
        self.then(Step::Silence)
    }

    /// Sends back what comes.
    pub fn echo(self) -> Script {
        self.then(Step::Echo)
    }

    /// Ends the sending direction.
    pub fn half_close(self) -> Script {
        self.then(Step::HalfClose)
    }

    /// Ends with RST.
    pub fn reset(self) -> Script {
        self.then(Step::Reset)
    }

    /// Ends the connection.
    pub fn close(self) -> Script {
        self.then(Step::Close)
    }

    /// Ends a TLS connection as an attacker would.
    pub fn close_without_notify(self) -> Script {
        self.then(Step::CloseWithoutNotify)
    }

    /// Answers requests until the end.
    pub fn answer(self, answer: impl Fn(&Request) -> Vec<u8> + Send + Sync + 'static) -> Script {
        self.then(Step::Answer(Arc::new(answer)))
    }
}
