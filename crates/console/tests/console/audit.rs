//! Every write leaves a line in the log, whatever became of it, and none that shows the token.

use crate::served::{TOKEN, TestPlane, get, send, serve};
use std::io;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

#[derive(Clone)]
struct Pipe(Sender<String>);

impl io::Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _ = self.0.send(String::from_utf8_lossy(bytes).into_owned());
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_write_is_logged_with_its_outcome_and_without_the_token() {
    let (sender, lines) = channel();
    let pipe = Pipe(sender);
    tracing_subscriber::fmt().json().with_writer(move || pipe.clone()).init();
    let console = serve(&TestPlane::new());
    get(&console, "/audited-read");
    for (authorization, status) in
        [("x-none: 1".to_owned(), 401), (format!("authorization: Bearer {TOKEN}"), 404)]
    {
        send(&console, "DELETE", "/audited-write", &["host: localhost", &authorization], "");
        // Other tests of this process write too.
        let line = loop {
            let line = lines.recv_timeout(Duration::from_secs(10)).expect("a line is logged");
            assert!(!line.contains(TOKEN) && !line.contains("/audited-read"), "{line}");
            if line.contains("/audited-write") {
                break serde_json::from_str::<serde_json::Value>(&line).unwrap();
            }
        };
        assert_eq!((&line["target"], &line["fields"]["status"]), (&"unlag::audit".into(), &status.into()));
        let field = |name: &str| line["fields"][name].as_str().unwrap_or_default().to_owned();
        assert_eq!((field("message"), field("method")), ("audit".into(), "DELETE".into()));
        assert!(field("caller").starts_with("127.0.0.1:") && !field("error").is_empty(), "{line}");
    }
}
