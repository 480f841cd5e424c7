//! A console on a real socket over a small real registry, and a client that sends bytes and reads answers.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use unlag_console::*;
use unlag_record::{Bounds, Outcome, Phase, Protocol, Record, Registry, RequestId, Timeline, Trials};

pub(crate) const TOKEN: &str = "s3cret";
pub(crate) const MS: u64 = 1_000_000;

/// A data plane with one upstream, two routes and a configuration in memory.
pub(crate) struct TestPlane {
    pub(crate) registry: Arc<Registry>,
    pub(crate) readiness: Mutex<Readiness>,
    pub(crate) config: Mutex<ConfigView>,
    pub(crate) writes: AtomicUsize,
    pub(crate) cache: Mutex<CacheStatus>,
    pub(crate) purges: Mutex<Vec<PurgeOrder>>,
}

fn held<T: Clone>(mutex: &Mutex<T>) -> T {
    mutex.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

impl TestPlane {
    pub(crate) fn new() -> Arc<TestPlane> {
        TestPlane::with(Bounds::default())
    }

    pub(crate) fn with(bounds: Bounds) -> Arc<TestPlane> {
        Arc::new(TestPlane {
            registry: Registry::new(bounds, None),
            readiness: Mutex::new(Readiness::Ready),
            config: Mutex::new(ConfigView {
                text: "[[listen]]\n".into(),
                hash: "h1".into(),
                source: "unlag.toml".into(),
                last_error: None,
                writable: true,
            }),
            writes: AtomicUsize::new(0),
            cache: Mutex::default(),
            purges: Mutex::default(),
        })
    }

    /// Counts for a route of the cache.
    pub(crate) fn cached(&self, route: &str, hits: u64) {
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        cache.routes.push(CacheRoute {
            route: route.into(),
            hits,
            saved_ns: hits * 20 * MS,
            hit_bytes: hits * 100,
            stored: 1,
            misses: vec![("uri-miss", 1), ("stale", 0)],
            not_stored: vec![("private", 0), ("set-cookie", 2)],
            ..CacheRoute::default()
        });
    }

    /// Records a request of `route` that went to the one endpoint.
    pub(crate) fn request(&self, route: &str, request_id: &str, phases: &[(Phase, u64)]) {
        self.tried(route, request_id, phases, Trials::default());
    }

    /// The same, which took part in these trials.
    pub(crate) fn tried(&self, route: &str, request_id: &str, phases: &[(Phase, u64)], trials: Trials) {
        let mut now = 0;
        let mut timeline = Timeline::start(now);
        for &(phase, ns) in phases {
            timeline.enter(phase, now);
            now += ns;
        }
        timeline.finish(now);
        self.registry.recorder().record(&Record {
            id: RequestId(0xfeed),
            request_id: request_id.as_bytes(),
            route: self.registry.route(route),
            endpoint: Some(self.registry.endpoint("catalog", "10.0.0.1:80")),
            status: 200,
            outcome: Outcome::Ok,
            cause: None,
            cache: None,
            hedge: None,
            trials,
            why: &unlag_record::Why::NONE,
            method: "GET",
            target: b"/product/7",
            protocol: Protocol::Http11,
            caller: None,
            bytes_in: 0,
            bytes_out: 10,
            attempts: 1,
            reused: true,
            started_unix_ms: 1_790_000_000_000,
            timeline: &timeline,
        });
    }
}

impl Plane for TestPlane {
    fn registry(&self) -> &Arc<Registry> {
        &self.registry
    }
    fn upstreams(&self) -> Vec<UpstreamStatus> {
        vec![UpstreamStatus {
            name: "catalog".into(),
            protocol: "http1".into(),
            pinned: None,
            drained: UpstreamDrained { all: false, gone: vec!["10.0.0.7:80".into()] },
            admission: UpstreamAdmission { waiting: 2, waited: 30, refused: 4, refused_lost: 1, lost: false },
            rules: UpstreamRules {
                balance: "adaptive".into(),
                primary: Some("eu".into()),
                ..Default::default()
            },
            learned: UpstreamLearned { knee: 8.0, home: Some("eu".into()), ..Default::default() },
            regions: UpstreamRegions { spilled: 5, writes: 2, ..Default::default() },
            endpoints: vec![EndpointStatus {
                address: "10.0.0.1:80".into(),
                state: EndpointState::Ejected,
                in_flight: 3,
                connections_open: 5,
                connections_idle: 2,
                successes: 90,
                failures: 4,
                ejections: 1,
                last_error: Some("connection refused".into()),
                wait_us: Some(1_500),
                learned_idle_ms: Some(4_000),
                admission: EndpointAdmission { limit: Some(12), would_refuse: 7 },
                learned: EndpointLearned { region: Some("eu".into()), failing: 0.05, ..Default::default() },
            }],
        }]
    }
    fn routes(&self) -> Vec<RouteStatus> {
        let route = |name: &str, upstream: Option<&str>, respond| RouteStatus {
            name: name.into(),
            matches: name.into(),
            upstream: upstream.map(Into::into),
            respond,
            files: None,
            timeout_ms: Some(30_000),
            rules: upstream.map(|_| RouteRules::default()),
            attempts: None,
        };
        vec![route("GET /product/{id}", Some("catalog"), None), route("hello \"you\"\\\n", None, Some(204))]
    }
    fn matched(&self, method: &str, url: &str) -> Result<Match, String> {
        match (method, url.contains("/product/")) {
            ("GET", true) => Ok(Match::Route("GET /product/{id}".into())),
            (_, true) => Ok(Match::OtherMethods(vec!["GET".into()])),
            _ if url.starts_with("http") => Ok(Match::Nothing),
            _ => Err("it has no scheme".into()),
        }
    }
    fn own_region(&self) -> Option<String> {
        Some("eu".into())
    }
    fn workers(&self) -> Vec<WorkerStatus> {
        vec![
            WorkerStatus { connections: 30, requests: 100, streams: 2 },
            WorkerStatus { connections: 10, requests: 50, streams: 0 },
        ]
    }
    fn keys(&self) -> KeysStatus {
        KeysStatus { keys: 3, bytes: 1_000, under_way: 1 }
    }
    fn readiness(&self) -> Readiness {
        held(&self.readiness)
    }
    fn counters(&self) -> Vec<Counter> {
        let refused = |reason: &str, value| Counter {
            name: "unlag_refused_heads",
            help: "Request heads that were refused.",
            labels: vec![("reason", reason.into())],
            value,
        };
        let reloads =
            Counter { name: "unlag_reloads", help: "Configurations applied.", labels: vec![], value: 2 };
        vec![refused("bare_lf", 1), reloads, refused("too \"long\"", 2), refused("bare_lf", 4)]
    }
    fn cache(&self) -> CacheStatus {
        held(&self.cache)
    }
    fn switch(&self, upstream: &str, switch: &Switch) -> Result<(), SwitchError> {
        match (upstream, switch) {
            ("catalog", Switch::Drain(Some(address))) if address != "10.0.0.1:80" => {
                Err(SwitchError::Nothing(address.clone()))
            }
            ("catalog", _) => Ok(()),
            _ => Err(SwitchError::NoUpstream),
        }
    }
    fn purge(&self, order: &PurgeOrder) -> Result<Option<PurgeCount>, String> {
        if order.what == PurgeWhat::Url("nonsense".into()) {
            return Err("`nonsense` is no URL".into());
        }
        self.purges.lock().unwrap_or_else(PoisonError::into_inner).push(order.clone());
        Ok(order.dry_run.then_some(PurgeCount { objects: 3, bytes: 4_096 }))
    }
    fn config(&self) -> ConfigView {
        held(&self.config)
    }
    fn put_config(&self, text: &str, if_match: &str) -> Result<Applied, PutError> {
        let mut config = self.config.lock().unwrap_or_else(PoisonError::into_inner);
        if !config.writable {
            return Err(PutError::ReadOnly);
        }
        if config.hash != if_match {
            return Err(PutError::Conflict(config.hash.clone()));
        }
        if text.contains("wrong") {
            return Err(PutError::Invalid("unlag.toml:1:1: unknown key `wrong`".into()));
        }
        let number = self.writes.fetch_add(1, SeqCst) + 2;
        config.text = text.into();
        config.hash = format!("h{number}");
        Ok(Applied { hash: config.hash.clone(), warnings: vec![] })
    }
    fn reload(&self) -> Result<Applied, PutError> {
        self.writes.fetch_add(1, SeqCst);
        Ok(Applied { hash: held(&self.config).hash, warnings: vec!["threads: needs a restart".into()] })
    }
}

/// A console on a free port.
pub(crate) fn serve(plane: &Arc<TestPlane>) -> Console {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    Console::start(listener, Token::new(TOKEN), plane.clone()).expect("a console")
}

/// An answer, taken apart.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (field, value) = line.split_once(':')?;
            field.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
}

pub(crate) fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("the console accepts");
    stream.set_read_timeout(Some(Duration::from_secs(15))).expect("a time-out can be set");
    stream
}

/// Reads all that comes and takes it apart.
pub(crate) fn read_answer(stream: &mut impl Read) -> io::Result<Answer> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    let text = String::from_utf8(bytes).map_err(io::Error::other)?;
    let (head, body) =
        text.split_once("\r\n\r\n").ok_or_else(|| io::Error::other(format!("no head: {text:?}")))?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.ok_or_else(|| io::Error::other("no status"))?;
    Ok(Answer { status, head: head.into(), body: body.into() })
}

/// Sends a request with these header lines and this body.
pub(crate) fn send(console: &Console, method: &str, target: &str, headers: &[&str], body: &str) -> Answer {
    let mut stream = connect(console.address().expect("a TCP listener"));
    let mut request = format!("{method} {target} HTTP/1.1\r\nconnection: close\r\n");
    headers.iter().for_each(|header| request.push_str(&format!("{header}\r\n")));
    request.push_str(&format!("content-length: {}\r\n\r\n{body}", body.len()));
    // The answer may come, and the connection end, before the whole body is written.
    let _ = stream.write_all(request.as_bytes());
    read_answer(&mut stream).unwrap_or_else(|error| panic!("{method} {target}: {error}"))
}

pub(crate) fn get(console: &Console, target: &str) -> Answer {
    send(console, "GET", target, &["host: localhost"], "")
}
