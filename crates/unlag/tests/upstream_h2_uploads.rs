//! Content on its way to an origin that speaks HTTP/2: what is waited for, and for how long.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test reports by panicking"
)]

use std::time::Duration;

use unlag_testkit::h2::frame::{ACK, END_HEADERS, END_STREAM};
use unlag_testkit::h2::{Frame, kind};
use unlag_testkit::{Gate, RawClient, RawOrigin, Script, Setup, Unlag};

const UNLAG: &str = env!("CARGO_BIN_EXE_unlag");
/// What may be sent before a window is opened further (RFC 9113 §6.9.2).
const WINDOW: usize = 65_535;
/// What each further opening has room for.
const DRIP: usize = 1_000;
/// How many there are, and how long each takes: longer together than the write timeout of [`start`], each for itself much less.
const DRIPS: usize = 15;
const EVERY: Duration = Duration::from_millis(200);

fn start(origin: &RawOrigin) -> Setup {
    let setup = Setup::of(UNLAG).to([origin.url()]).upstream("protocol", "\"http2\"").workers(1);
    setup.limit("write_timeout", "\"1s\"")
}

/// Opens a window by so many bytes.
fn opening(stream: u32, bytes: usize) -> Vec<u8> {
    let bytes = u32::try_from(bytes).expect("a small window").to_be_bytes();
    Frame::new(kind::WINDOW_UPDATE, 0, stream, bytes).bytes()
}

/// Reads the preface, which has two empty lines, and greets; the connection has room for everything, its streams have not.
fn greeting() -> Script {
    let settings = [Frame::new(kind::SETTINGS, 0, 0, []), Frame::new(kind::SETTINGS, ACK, 0, [])];
    let mut bytes = settings.map(|frame| frame.bytes()).concat();
    bytes.extend(opening(0, 1 << 20));
    Script::new().head().head().send(bytes)
}

/// A 200 with or without content.
fn ok(flags: u8) -> Vec<u8> {
    Frame::new(kind::HEADERS, END_HEADERS | flags, 1, [0x88]).bytes()
}

/// The end of an answer's content.
fn end() -> Vec<u8> {
    Frame::new(kind::DATA, END_STREAM, 1, *b"done").bytes()
}

/// What a caller of HTTP/1.1 gets of it.
const CHUNKED: &[u8] = b"4\r\ndone\r\n0\r\n\r\n";

/// Openings in drips, until the window has had room for everything that [`upload`] sends.
fn drips(script: Script) -> Script {
    let frames = opening(1, DRIP).repeat(DRIPS);
    let per_byte = EVERY * u32::try_from(DRIPS).expect("few") / u32::try_from(frames.len()).expect("few");
    script.drip(frames, per_byte)
}

/// Sends content for a window and all drips: it begins with what ends a head, so that an origin can wait for it with
/// [`Script::head`]. All of it but the last `held` bytes, which are returned.
fn upload(unlag: &Unlag, held: usize) -> (RawClient, Vec<u8>) {
    let mut content = vec![b'x'; WINDOW + DRIP * DRIPS];
    content[..4].copy_from_slice(b"\r\n\r\n");
    let last = content.len() - 4;
    content[last..].copy_from_slice(b"\r\n\r\n");
    let rest = content.split_off(content.len() - held);
    let length = content.len() + rest.len();
    let mut client = unlag.connect();
    client.send(format!("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n"));
    client.send(content);
    (client, rest)
}

#[test]
fn an_upload_that_moves_may_take_longer_than_the_write_timeout() {
    let origin = RawOrigin::always(drips(greeting().head()).send(ok(END_STREAM)).silence());
    let unlag = start(&origin).start();
    let (mut client, _) = upload(&unlag, 0);
    assert_eq!(client.read_response("PUT").status(), 200);
}

#[test]
fn an_upload_that_moves_after_an_early_head_may_take_longer_than_the_write_timeout() {
    let script = drips(greeting().head().send(ok(0)));
    let origin = RawOrigin::always(script.send(end()).silence());
    let unlag = start(&origin).start();
    let (mut client, _) = upload(&unlag, 0);
    assert_eq!(client.read_response("PUT").text(), "done");
}

#[test]
fn an_upload_that_was_blocked_after_an_early_head_may_wait_for_its_caller_afterwards() {
    let begun = Gate::new();
    let script = greeting().head().send(ok(0)).wait(&begun).send(opening(1, DRIP * DRIPS));
    let origin = RawOrigin::always(script.head().send(end()).silence());
    let unlag = start(&origin).start();
    let (mut client, rest) = upload(&unlag, DRIP);
    assert_eq!(client.read_head().expect("an early head").status, 200);
    begun.open();
    client.send_pieces(&[b"", &rest], Duration::from_millis(2_500));
    assert_eq!(client.read_exact(CHUNKED.len()).expect("the content"), CHUNKED);
}

#[test]
fn an_answer_that_stalls_after_its_upload_has_ended_is_cut_at_the_idle_timeout() {
    let (begun, ended) = (Gate::new(), Gate::new());
    let script = greeting().head().send(opening(1, DRIP * DRIPS)).send(ok(0)).wait(&begun);
    let origin = RawOrigin::always(script.head().open(&ended).silence());
    let setup = start(&origin).route("timeout", "\"1m\"");
    let unlag = setup.route("idle_timeout", "\"500ms\"").start();
    // The caller's turn it is, and never the window's.
    let (mut client, rest) = upload(&unlag, WINDOW + DRIP * DRIPS - 4);
    assert_eq!(client.read_head().expect("an early head").status, 200);
    begun.open();
    client.send(rest);
    assert!(ended.pass(), "the upload has ended");
    client.expect_closed();
}
