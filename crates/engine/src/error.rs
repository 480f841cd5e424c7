//! What went wrong with an exchange, whose fault it was, and whether it may be tried again; and the one table that turns it
//! into a status for the caller.

use crate::http::h1::chunked::ChunkError;
use crate::http::h1::framing::FramingError;
use crate::http::h1::parse::HeadError;
use crate::http::target::TargetError;

/// Who is to blame: decides what the metrics say and whether an endpoint is punished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The caller sent what may not be sent, or left.
    Caller,
    /// The upstream failed.
    Upstream,
    /// This proxy is full, draining or broken.
    Proxy,
}

/// Whether sending the same request again can do harm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// Nothing of it reached an application: any request may be sent again.
    Safe,
    /// It may have been acted on: only an idempotent request may be sent again.
    Idempotent,
    /// Part of the answer has been passed on, or the caller is at fault.
    Never,
}

/// Everything that can end an exchange early.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages are the documentation")]
pub enum Error {
    // The caller.
    #[error("bad request: {0}")]
    Head(#[from] HeadError),
    #[error("bad request: {0}")]
    Framing(#[from] FramingError),
    #[error("bad request: {0}")]
    CallerChunk(ChunkError),
    #[error("bad request: Connection names a field that it must not strip")]
    ProtectedField,
    #[error("bad request: a field name has an underscore or a byte that may not stand there")]
    FieldName,
    #[error("bad request: the content does not have the length that was declared")]
    LengthMismatch,
    #[error("the caller closed the connection before the answer was complete")]
    CallerGone,
    #[error("the caller did not send the head in time")]
    HeadTimeout,
    #[error("the caller sends its content too slowly")]
    CallerSlow,
    #[error("the caller does not read the answer")]
    CallerStalled,
    #[error("the content is larger than this route allows")]
    BodyTooLarge,
    #[error("the expectation is not one that can be met")]
    Expectation,
    #[error("CONNECT is not offered")]
    Connect,
    #[error("this protocol upgrade is not offered")]
    Upgrade,
    #[error("this authority is not served on this connection")]
    Misdirected,
    #[error("no route matches this request")]
    NoRoute,
    #[error("there is no such file")]
    NoFile,
    #[error("the route does not allow this method")]
    Method,
    #[error("there were more requests than this route allows; come again later")]
    TooMany { after_s: u16 },
    #[error("this request has passed here before")]
    Loop,
    #[error("the request may go no further (Max-Forwards) and is not answered here")]
    LastForward,
    #[error("an Idempotency-Key is one value of 1 to 255 characters")]
    BadKey,
    #[error("a request with this Idempotency-Key is under way; come again later")]
    KeyUnderWay,
    #[error("this Idempotency-Key was used for a request with other content")]
    KeyReused,
    #[error("the request with this Idempotency-Key was executed, and its answer was not kept")]
    KeyUnkept,

    // The upstream.
    #[error("the upstream refused the connection")]
    ConnectRefused,
    #[error("the upstream did not accept a connection in time")]
    ConnectTimeout,
    #[error("the upstream cannot be reached")]
    Unreachable,
    #[error("the name of the upstream does not resolve")]
    Unresolved,
    #[error("the TLS handshake with the upstream failed")]
    TlsHandshake,
    #[error("the upstream's certificate is not valid for it")]
    Certificate,
    #[error("the upstream does not speak the protocol that it was configured with")]
    Protocol,
    #[error("the upstream closed the connection before it answered")]
    ClosedEarly,
    #[error("the upstream reset the connection before it answered")]
    ResetEarly,
    #[error("the upstream reset the stream")]
    StreamReset,
    #[error("the upstream refused the stream without processing it")]
    RefusedStream,
    #[error("the upstream allows no more streams on its connections")]
    NoStream,
    #[error("the upstream sent an answer that is not valid HTTP: {0}")]
    BadAnswer(HeadError),
    #[error("the upstream framed its answer ambiguously: {0}")]
    BadAnswerFraming(FramingError),
    #[error("the upstream sent a broken chunk: {0}")]
    UpstreamChunk(ChunkError),
    #[error("the upstream sent more interim answers than allowed")]
    TooManyInterim,
    #[error("the upstream changed the protocol although nobody asked")]
    UnaskedUpgrade,
    #[error("the upstream did not answer in time")]
    AnswerTimeout,
    #[error("the endpoint answers nobody")]
    Silent,
    #[error("the upstream stopped sending in the middle of its answer")]
    BodyTimeout,
    #[error("the upstream's answer ended before it was complete")]
    Truncated,
    #[error("the upstream stopped reading the request")]
    UpstreamStalled,

    // This proxy.
    #[error("the upstream has more to do than it can; come again later")]
    Overloaded { after_s: u16 },
    #[error("no endpoint of the upstream can be reached; come again later")]
    UpstreamLost { after_s: u16 },
    #[error("too many requests with an Idempotency-Key are under way; come again later")]
    KeysFull,
    #[error("the request with this Idempotency-Key failed after it was sent, and may have been executed")]
    KeyFailed { status: u16 },
    #[error("all endpoints of the upstream are taken out by an operator")]
    Drained,
    #[error("the deadline of the request has passed")]
    Deadline,
    #[error("the deadline of the request leaves less time than an answer takes")]
    Doomed,
    #[error("no other endpoint of the upstream can be asked")]
    NoOther,
    #[error("no endpoint of the upstream is available")]
    NoEndpoint,
    #[error("the name that the upstream's endpoints are looked up by has not resolved yet")]
    Undiscovered,
    #[error("no local port is left to reach the upstream")]
    NoLocalPort,
    #[error("a file cannot be read")]
    File,
    #[error("a file was changed while it was sent")]
    FileChanged,
    #[error("an internal error")]
    Internal,
}

impl Error {
    /// The status that the caller sees when nothing of an answer was sent yet.
    pub fn status(self) -> u16 {
        match self {
            Error::Head(HeadError::UriTooLong) => 414,
            Error::Head(HeadError::TooManyFields | HeadError::TooLarge) => 431,
            Error::Head(HeadError::Version) => 505,
            Error::Head(HeadError::Connect) => 405,
            Error::Head(_) | Error::Framing(_) | Error::CallerChunk(_) | Error::ProtectedField => 400,
            Error::FieldName | Error::LengthMismatch | Error::BadKey => 400,
            Error::KeyUnderWay | Error::KeyUnkept => 409,
            Error::KeyReused => 422,
            Error::CallerGone | Error::CallerStalled => 499,
            Error::HeadTimeout | Error::CallerSlow => 408,
            Error::BodyTooLarge => 413,
            Error::TooMany { .. } => 429,
            Error::Expectation => 417,
            Error::Connect | Error::Method => 405,
            Error::Upgrade | Error::LastForward => 501,
            Error::Misdirected => 421,
            Error::NoRoute | Error::NoFile => 404,
            Error::Loop => 508,
            Error::ConnectTimeout
            | Error::AnswerTimeout
            | Error::Silent
            | Error::BodyTimeout
            | Error::Deadline
            | Error::Doomed => 504,
            Error::UpstreamStalled => 504,
            Error::NoEndpoint
            | Error::NoOther
            | Error::Undiscovered
            | Error::NoStream
            | Error::NoLocalPort => 503,
            Error::Overloaded { .. } | Error::UpstreamLost { .. } | Error::Drained => 503,
            Error::File | Error::FileChanged | Error::KeysFull => 503,
            Error::KeyFailed { status } => status,
            Error::Internal => 500,
            _ => 502,
        }
    }

    /// When to come again, of what may go better then.
    pub fn retry_after_s(self) -> Option<u16> {
        match self {
            Error::Overloaded { after_s } | Error::UpstreamLost { after_s } | Error::TooMany { after_s } => {
                Some(after_s)
            }
            Error::KeyUnderWay => Some(1),
            _ => (self.status() == 503).then_some(1),
        }
    }

    /// The gRPC status that goes with it, for callers who only look there.
    pub fn grpc_status(self) -> u8 {
        match self {
            Error::Deadline | Error::Doomed | Error::AnswerTimeout | Error::Silent | Error::BodyTimeout => 4,
            Error::CallerGone => 1,
            Error::NoRoute | Error::Method => 12,
            Error::BodyTooLarge | Error::TooMany { .. } => 8,
            Error::KeyUnderWay => 10,
            Error::Internal => 13,
            _ if self.fault() == Fault::Caller => 3,
            _ => 14,
        }
    }

    /// Whose fault it was.
    pub fn fault(self) -> Fault {
        use Error::*;
        match self {
            Head(_)
            | Framing(_)
            | CallerChunk(_)
            | ProtectedField
            | FieldName
            | LengthMismatch
            | CallerGone
            | HeadTimeout
            | CallerSlow
            | CallerStalled
            | BodyTooLarge
            | Expectation
            | Connect
            | Upgrade
            | Misdirected
            | NoRoute
            | NoFile
            | Method
            | TooMany { .. }
            | Loop
            | LastForward
            | BadKey
            | KeyUnderWay
            | KeyReused
            | KeyUnkept => Fault::Caller,
            Overloaded { .. }
            | UpstreamLost { .. }
            | Drained
            | Deadline
            | Doomed
            | NoEndpoint
            | NoOther
            | Undiscovered
            | NoLocalPort
            | KeysFull
            | KeyFailed { .. }
            | File
            | FileChanged
            | Internal => Fault::Proxy,
            _ => Fault::Upstream,
        }
    }

    /// Whether the request may be sent again, before anything was passed on to the caller.
    pub fn retry(self) -> Retry {
        use Error::*;
        match self {
            ConnectRefused | ConnectTimeout | Unreachable | Unresolved | TlsHandshake | Certificate
            | Protocol | NoStream | RefusedStream => Retry::Safe,
            ResetEarly | ClosedEarly | StreamReset | Silent => Retry::Idempotent,
            _ => Retry::Never,
        }
    }

    /// A short name for metrics and the access log.
    pub fn cause(self) -> &'static str {
        use Error::*;
        match self {
            Head(_) => "bad_head",
            Framing(_) => "bad_framing",
            CallerChunk(_) => "bad_chunk",
            ProtectedField => "protected_field",
            FieldName => "bad_field_name",
            LengthMismatch => "length_mismatch",
            CallerGone => "caller_gone",
            HeadTimeout => "head_timeout",
            CallerSlow => "caller_slow",
            CallerStalled => "caller_stalled",
            BodyTooLarge => "body_too_large",
            Expectation => "expectation",
            Connect => "connect_method",
            Upgrade => "upgrade_refused",
            Misdirected => "misdirected",
            NoRoute => "no_route",
            NoFile => "no_file",
            Method => "method",
            TooMany { .. } => "rate",
            Loop => "loop",
            LastForward => "last_forward",
            BadKey => "bad_idempotency_key",
            KeyUnderWay => "idempotency_key_under_way",
            KeyReused => "idempotency_key_reused",
            KeyUnkept => "idempotency_answer_not_kept",
            KeyFailed { .. } => "idempotent_request_failed",
            KeysFull => "idempotency_keys_full",
            ConnectRefused => "connect_refused",
            ConnectTimeout => "connect_timeout",
            Unreachable => "unreachable",
            Unresolved => "unresolved",
            TlsHandshake => "tls_handshake",
            Certificate => "certificate",
            Protocol => "protocol",
            ClosedEarly => "closed_early",
            ResetEarly => "reset_early",
            RefusedStream => "refused_stream",
            NoStream => "no_stream",
            StreamReset => "stream_reset",
            BadAnswer(HeadError::NotHttp) => "not_http",
            BadAnswer(_) => "bad_answer",
            BadAnswerFraming(_) => "bad_answer_framing",
            UpstreamChunk(_) => "bad_answer_chunk",
            TooManyInterim => "too_many_interim",
            UnaskedUpgrade => "unasked_upgrade",
            AnswerTimeout => "answer_timeout",
            Silent => "silent",
            BodyTimeout => "body_timeout",
            Truncated => "truncated",
            UpstreamStalled => "upstream_stalled",
            Deadline => "deadline",
            Doomed => "doomed",
            NoOther => "no_other_endpoint",
            Overloaded { .. } => "overloaded",
            UpstreamLost { .. } => "upstream_lost",
            Drained => "drained",
            NoEndpoint => "no_endpoint",
            Undiscovered => "undiscovered",
            NoLocalPort => "no_local_port",
            File => "file",
            FileChanged => "file_changed",
            Internal => "internal",
        }
    }
}

impl From<TargetError> for Error {
    fn from(error: TargetError) -> Error {
        Error::Head(error.into())
    }
}
