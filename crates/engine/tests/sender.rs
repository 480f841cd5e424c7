//! A message is over when the socket has all of it, not when TLS has.

#![allow(clippy::expect_used, clippy::panic, reason = "a test reports by panicking")]

use bytes::{Bytes, BytesMut};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;
use unlag_engine::http::Body;
use unlag_engine::http::h1::Framing;
use unlag_engine::net::io::{Io, Socket};
use unlag_engine::net::sender::Sender;
use unlag_engine::net::wire::Wire;
use unlag_testkit::tls::Authority;

/// A wire under TLS, and the peer's end of it.
async fn pair() -> (Wire, tokio_rustls::server::TlsStream<UnixStream>) {
    let authority = Authority::new();
    let server = authority.certificate(&["origin.test"]).server_config();
    let (ours, theirs) = UnixStream::pair().expect("two sockets");
    let connector = tokio_rustls::TlsConnector::from(authority.client_config(&[]));
    let name = "origin.test".try_into().expect("a name");
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::clone(&server));
    let both = tokio::join!(connector.connect(name, Socket::Unix(ours)), acceptor.accept(theirs));
    let (ours, theirs) = (both.0.expect("a client"), both.1.expect("a server"));
    (Wire::new(Io::Tls(Box::new(ours.into())), BytesMut::new()), theirs)
}

#[tokio::test]
async fn a_message_is_not_over_while_tls_holds_the_end_of_it() {
    let mut held_back = 0;
    // Among the sizes are some that the socket does not take whole, but TLS does.
    for length in (1..40).map(|n| n * 16 * 1024) {
        let (wire, mut peer) = pair().await;
        let body = Body::Bytes(Bytes::from(vec![b'x'; length]));
        let mut sender = Sender::new(b"head".to_vec(), body, Framing::Length(length as u64));
        let _ = sender.poll(&wire, &mut Context::from_waker(Waker::noop()));
        let is_flushed = wire.poll_flush(&mut Context::from_waker(Waker::noop())).is_ready();
        assert!(is_flushed || !sender.is_over(), "{length} bytes are said to be sent");
        held_back += usize::from(!is_flushed);
        let reading = async {
            let mut all = vec![0; length + 4];
            peer.read_exact(&mut all).await.map(|_| all)
        };
        let sending = std::future::poll_fn(|cx| match sender.is_over() {
            true => Poll::Ready(Ok(())),
            false => sender.poll(&wire, cx),
        });
        let (sent, read) = tokio::join!(sending, reading);
        assert!(sent.is_ok() && read.is_ok_and(|read| read.ends_with(b"xxx")), "{length}");
    }
    assert!(held_back > 0, "the sockets took everything");
}
