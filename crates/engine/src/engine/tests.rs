//! The running engine with something broken in it on purpose, called over real sockets: rows L9, R3 and R4.

use super::*;
use crate::fault::Fault;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use tracing_subscriber::fmt::MakeWriter;

/// How long something may take that must happen.
const DEADLINE: Duration = Duration::from_secs(15);

/// The log's lines of all tests of this process.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Log {
    type Writer = Log;

    fn make_writer(&self) -> Log {
        self.clone()
    }
}

fn log() -> &'static Log {
    static LOG: std::sync::OnceLock<Log> = std::sync::OnceLock::new();
    LOG.get_or_init(|| {
        let log = Log::default();
        tracing_subscriber::fmt().with_writer(log.clone()).with_ansi(false).init();
        log
    })
}

fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let until = clock::now() + clock::ns(DEADLINE);
    while !condition() {
        assert!(clock::now() < until, "not within {DEADLINE:?}: {what}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

/// An engine in front of an origin that says `fine`.
struct Bed {
    engine: Engine,
    config: Config,
    address: SocketAddr,
}

impl Bed {
    fn new(workers: usize) -> Bed {
        Bed::with(workers, "")
    }

    /// With more of a config.
    fn with(workers: usize, toml: &str) -> Bed {
        log();
        let origin = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", origin.local_addr().unwrap());
        std::thread::spawn(move || {
            origin.incoming().for_each(|stream| drop(std::thread::spawn(move || answer_all(stream.unwrap()))))
        });
        let toml = format!(
            "[[listen]]\naddress = \"127.0.0.1:0\"\n[upstream.shop]\nendpoints = [\"{url}\"]\n\
             health = {{ path = \"/health\" }}\n[[route]]\nmatch = \"/{{path...}}\"\nupstream = \"shop\"\n{toml}"
        );
        let config = unlag_config::parse(&toml, "unlag.toml").unwrap_or_else(|bad| panic!("{bad}")).config;
        let registry = unlag_record::Registry::new(unlag_record::Bounds::default(), None);
        let engine = Engine::start(&config, workers, registry).unwrap();
        let Address::Tcp(address) = engine.addresses().remove(0) else { panic!("not TCP") };
        let bed = Bed { engine, config, address };
        wait_until("it answers", || bed.ask("/").contains("200 OK"));
        bed
    }

    fn fault(&self, place: &'static str, fault: Fault) {
        self.engine.shared.faults.add(place, fault);
    }

    fn panics(&self) -> u64 {
        self.engine.shared.panics.count()
    }

    /// One request on a connection of its own; what came back, as text.
    fn ask(&self, target: &str) -> String {
        let Ok(mut stream) = TcpStream::connect(self.address) else { return String::new() };
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let _ = write!(stream, "GET {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        let mut answer = Vec::new();
        let ended = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned() + if ended.is_err() { "<reset>" } else { "" }
    }

    /// What is said of a panic, and that everything works afterwards.
    fn expect_survived(&self, what: &str) {
        wait_until(&format!("a panic is counted: {what}"), || self.panics() == 1);
        wait_until("it answers again", || self.ask("/").contains("200 OK"));
        wait_until("it is said", || logged(&format!("{what} is broken on purpose")));
        assert!(self.engine.drain(DEADLINE, || false), "it still drains");
    }
}

fn logged(text: &str) -> bool {
    String::from_utf8_lossy(&log().0.lock().unwrap()).contains(text)
}

/// Answers with `fine`, or changes the protocol and says nothing more.
fn answer_all(mut stream: TcpStream) {
    let (mut seen, mut chunk) = (Vec::new(), [0; 4096]);
    while let Ok(n @ 1..) = stream.read(&mut chunk) {
        seen.extend_from_slice(&chunk[..n]);
        while let Some(end) = seen.windows(4).position(|window| window == b"\r\n\r\n") {
            let upgrade =
                String::from_utf8_lossy(&seen[..end]).to_ascii_lowercase().contains("upgrade: chat");
            seen.drain(..end + 4);
            let answer: &[u8] = match upgrade {
                true => b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: chat\r\n\r\nhi",
                false => b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine",
            };
            stream.write_all(answer).unwrap();
        }
    }
}

#[test]
fn l9_the_accept_loop_is_started_again_after_a_panic() {
    let bed = Bed::new(1);
    bed.fault("accept", Fault::Panic);
    // It comes by with the next connection.
    bed.ask("/");
    bed.expect_survived("accept");
}

#[test]
fn l9_a_worker_outlives_a_panic_while_it_takes_something_over() {
    let bed = Bed::new(1);
    bed.fault("handover", Fault::Panic);
    assert!(bed.engine.shared.hand(0, Handed::MakeRoom).is_ok());
    bed.expect_survived("handover");
}

#[test]
fn l9_the_sweep_is_started_again_after_a_panic() {
    let bed = Bed::new(1);
    bed.fault("sweep", Fault::Panic);
    bed.expect_survived("sweep");
}

#[test]
fn l9_the_heartbeat_is_started_again_after_a_panic() {
    let bed = Bed::new(1);
    bed.fault("heartbeat", Fault::Panic);
    bed.expect_survived("heartbeat");
    assert!(logged("a task of a worker is started again"));
}

#[test]
fn l9_the_control_thread_goes_on_after_a_panic() {
    let bed = Bed::new(1);
    bed.fault("control", Fault::Panic);
    bed.expect_survived("control");
    assert_eq!(bed.engine.shared.control_restarts.load(Relaxed), 1);
    assert!(logged("a task of the control thread panicked, it is started again"));
}

#[test]
fn l9_a_health_check_that_panics_again_and_again_is_started_less_and_less_often() {
    let bed = Bed::new(1);
    for _ in 0..3 {
        bed.fault("watch", Fault::Panic);
    }
    let began = clock::now();
    bed.engine.apply(&bed.config).unwrap();
    let restarts = || bed.engine.shared.control_restarts.load(Relaxed);
    wait_until("the third panic", || restarts() == 3);
    assert!(clock::now() - began >= 300_000_000, "100 ms and 200 ms between them");
    let checked = || bed.engine.shared.current().upstreams[0].fleet()[0].status(clock::now());
    wait_until("the endpoint is in use", || !checked().unhealthy && bed.ask("/").contains("200 OK"));
    assert!(bed.engine.drain(DEADLINE, || false));
}

#[test]
fn r3_a_stage_that_panics_costs_its_caller_a_500_and_nobody_else_anything() {
    let bed = Bed::new(1);
    let mut other = TcpStream::connect(bed.address).unwrap();
    write!(other, "GET / HTTP/1.1\r\nHost: a\r\n").unwrap();
    bed.fault("stage", Fault::Panic);
    let broken = bed.ask("/broken");
    assert!(broken.starts_with("HTTP/1.1 500 ") && broken.contains("unlag: an internal error"), "{broken}");
    write!(other, "Connection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    other.read_to_string(&mut answer).unwrap();
    assert!(answer.contains("200 OK") && answer.ends_with("fine"), "{answer}");
    assert_eq!(cause_of(&bed, "/broken"), Some("internal"));
    bed.expect_survived("stage");
}

#[test]
fn r3_a_panic_while_an_answer_is_sent_cuts_it_and_is_our_fault() {
    let bed = Bed::new(1);
    bed.fault("content", Fault::Panic);
    let broken = bed.ask("/broken");
    assert_eq!(broken, "<reset>", "nobody takes the end for the end of an answer");
    assert_eq!(cause_of(&bed, "/broken"), Some("internal"));
    bed.expect_survived("content");
}

#[test]
fn r3_a_panic_before_the_pipeline_is_our_fault_too() {
    let bed = Bed::new(1);
    bed.fault("admit", Fault::Panic);
    assert_eq!(bed.ask("/broken"), "<reset>");
    assert_eq!(cause_of(&bed, "/broken"), Some("internal"));
    bed.expect_survived("admit");
}

#[test]
fn r3_a_panic_in_a_tunnel_ends_the_tunnel() {
    let bed = Bed::new(1);
    let mut tunnel = TcpStream::connect(bed.address).unwrap();
    tunnel.set_read_timeout(Some(DEADLINE)).unwrap();
    bed.fault("tunnel", Fault::Panic);
    write!(tunnel, "GET /broken HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: chat\r\n\r\n")
        .unwrap();
    let _ = tunnel.read_to_end(&mut Vec::new());
    assert_eq!(cause_of(&bed, "/broken"), None, "the request was over with its 101");
    bed.expect_survived("tunnel");
}

#[test]
fn r3_many_panics_within_a_minute_make_the_process_unready() {
    let bed = Bed::new(1);
    for number in 1..=crate::panics::UNREADY_AT {
        assert_eq!(bed.engine.shared.unready(clock::now()), None, "before number {number}");
        bed.fault("stage", Fault::Panic);
        assert!(bed.ask("/broken").starts_with("HTTP/1.1 500 "));
    }
    let unready = bed.engine.shared.unready(clock::now());
    assert!(unready.is_some_and(|reason| reason.contains("panics")));
}

#[test]
fn r4_a_worker_that_blocks_is_named_counted_once_and_makes_the_process_unready_until_it_is_back() {
    let bed = Bed::new(2);
    let shared = &bed.engine.shared;
    bed.fault("heartbeat", Fault::Block(Duration::from_secs(2)));
    wait_until("the process is not ready", || {
        shared.unready(clock::now()).is_some_and(|reason| {
            reason.starts_with("worker 0 has not come round") || reason.starts_with("worker 1 has not")
        })
    });
    wait_until("the process is ready again", || shared.unready(clock::now()).is_none());
    wait_until("its end is said", || logged("a worker comes round again"));
    assert_eq!(shared.stalls.load(Relaxed), 1);
    assert!(logged("a worker is stalled: something computes or blocks on it worker="));
}

#[test]
fn l1_a_connection_that_is_handed_over_to_a_worker_at_its_very_end_is_served() {
    let bed = Bed::new(1);
    let (shared, bound) = (&bed.engine.shared, Arc::clone(&bed.engine.bound()[0]));
    let accepting = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut late = TcpStream::connect(accepting.local_addr().unwrap()).unwrap();
    late.set_read_timeout(Some(DEADLINE)).unwrap();
    write!(late, "GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let (accepted, _) = accepting.accept().unwrap();
    accepted.set_nonblocking(true).unwrap();
    bed.fault("end", Fault::Block(Duration::from_secs(2)));
    std::thread::scope(|scope| {
        let drain = scope.spawn(|| bed.engine.drain(DEADLINE, || false));
        wait_until("the worker sees nobody any more", || !shared.faults.is_ahead("end"));
        let place = crate::connections::Place::take(shared, 0, 1).expect("nobody is there");
        assert!(shared.hand(0, Handed::Tcp(accepted, bound, place)).is_ok());
        let mut answer = String::new();
        late.read_to_string(&mut answer).unwrap();
        assert!(answer.contains("200 OK") && answer.ends_with("fine"), "{answer}");
        drop(late);
        assert!(drain.join().unwrap(), "it still drains");
    });
}

/// A caller that has had an answer and keeps its connection.
fn kept_open(bed: &Bed) -> TcpStream {
    let mut caller = TcpStream::connect(bed.address).unwrap();
    caller.set_read_timeout(Some(DEADLINE)).unwrap();
    write!(caller, "GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let (mut answer, mut chunk) = (Vec::new(), [0; 4096]);
    while !answer.ends_with(b"fine") {
        let n = caller.read(&mut chunk).unwrap();
        assert!(n > 0, "{}", String::from_utf8_lossy(&answer));
        answer.extend_from_slice(&chunk[..n]);
    }
    // The answer is here before the connection counts as idle, and the next caller must not overtake it.
    let loads = bed.engine.shared.loads();
    wait_until("it is idle", || loads.iter().all(|load| load.streams.load(Relaxed) == 0));
    caller
}

#[test]
fn r1_at_the_bound_the_connection_that_is_idle_longest_on_any_core_makes_room() {
    let bed = Bed::with(2, "[limits]\nconnections = 6\n");
    let shared = &bed.engine.shared;
    wait_until("nobody is there", || shared.connections.load(Relaxed) == 0);
    let mut callers: Vec<TcpStream> = (0..6).map(|_| kept_open(&bed)).collect();
    let open: Vec<_> = shared.loads().iter().map(|load| load.connections.load(Relaxed)).collect();
    assert!(open.iter().all(|open| *open > 0), "{open:?}");
    wait_until("each core has said since when its oldest is idle", || {
        shared.loads().iter().all(|load| !matches!(load.idle_since_ns.load(Relaxed), 0 | u64::MAX))
    });
    let mut new = Vec::new();
    for oldest in 0..4 {
        new.push(kept_open(&bed));
        assert_eq!(callers[oldest].read(&mut [0]).unwrap(), 0, "number {oldest} is closed");
        for (number, caller) in callers.iter().enumerate().skip(oldest + 1) {
            caller.set_nonblocking(true).unwrap();
            let seen = caller.peek(&mut [0]).map_err(|error| error.kind());
            assert_eq!(seen, Err(io::ErrorKind::WouldBlock), "number {number} was closed before its turn");
            caller.set_nonblocking(false).unwrap();
        }
    }
}

/// What a recorded request ended by.
fn cause_of(bed: &Bed, target: &str) -> Option<&'static str> {
    let mut cause = None;
    wait_until("it is recorded", || {
        let query = unlag_record::RecentQuery::default();
        let recent = bed.engine.shared.registry.recent(&query);
        let found = recent.iter().find(|entry| entry.target == target);
        cause = found.and_then(|entry| entry.cause);
        found.is_some()
    });
    cause
}
