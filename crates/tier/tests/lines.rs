//! What an operator reads: one line when the shared cache is passed by and one when it is back, however many requests there are.

#![allow(clippy::unwrap_used, reason = "a test reports by panicking")]

mod kit;

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kit::{Node, block_on, patient};
use tracing_subscriber::fmt::MakeWriter;
use unlag_testkit::Redis;
use unlag_tier::{BreakerState, Settings};

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Lines;

    fn make_writer(&'a self) -> Lines {
        self.clone()
    }
}

impl Lines {
    fn with(&self, text: &str) -> usize {
        String::from_utf8_lossy(&self.0.lock().unwrap()).lines().filter(|line| line.contains(text)).count()
    }
}

#[test]
fn an_outage_is_one_line_and_so_is_its_end() {
    let Some(mut redis) = Redis::start("tier") else { return };
    let lines = Lines::default();
    tracing_subscriber::fmt().with_writer(lines.clone()).with_ansi(false).init();
    let node = Node::ready(&redis.url(), Settings { answer_timeout: Duration::from_millis(50), ..patient() });
    let by = "the shared cache is passed by";
    assert_eq!((lines.with("WARN"), lines.with("INFO")), (0, 1), "the start is one line");
    for round in 1..=3 {
        if round == 2 {
            redis.kill();
        } else {
            redis.pause();
        }
        block_on(async {
            for _ in 0..200 {
                node.tier.get(b"k", Duration::from_millis(50)).await;
            }
        });
        node.wait("it is passed by", |node| {
            node.breaker() == BreakerState::Open && !node.tier.is_listening()
        });
        if round == 2 {
            redis.restart();
        } else {
            redis.resume();
        }
        node.wait("it is back", |node| {
            node.get(b"k");
            node.breaker() == BreakerState::Closed && node.tier.is_listening()
        });
        // Of two things each: asks that are answered, and purges that are heard.
        assert_eq!(lines.with(&format!(" {by}")), 2 * round, "round {round}");
        assert_eq!(lines.with("answers again"), round);
    }
    assert_eq!(lines.with("heard again"), 2);
    assert_eq!(lines.with("judged anew"), 1, "the one that was killed came back empty");
    assert_eq!(lines.with("password"), 0);
}
