//! A core as a worker has it, with what the tests put around it: exchanges to run, an end of the pipeline that takes its
//! time (on a paused clock), and an upstream on a real socket.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use unlag_engine::clock;
use unlag_engine::core::Core;
use unlag_engine::error::Error;
use unlag_engine::exchange::{Exchange, Interim, Outcome, Response, Trace};
use unlag_engine::fleet::Endpoint;
use unlag_engine::http::h1::parse::{self, HeadLimits};
use unlag_engine::http::{Body, Chunk, RequestHead, ResponseHead, Scheme};
use unlag_engine::local;
use unlag_engine::net::alarm::Timer;
use unlag_engine::pipeline::Next;
use unlag_engine::plan::{Plan, Registry, Upstream};
use unlag_engine::server::answer::{self, Incoming};
use unlag_engine::server::caller::Caller;
use unlag_engine::server::recording::Recording;
use unlag_engine::shared::Shared;

/// Longer than any of these tests takes where it runs at all.
const PATIENCE: Duration = Duration::from_secs(20);

/// Runs a test on the runtime of a worker.
pub(crate) fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build_local(Default::default());
    runtime.expect("a runtime").block_on(async {
        tokio::time::timeout(PATIENCE, test).await.expect("it comes to an end");
    });
    local::forget();
}

/// Runs a test whose time passes as fast as it is waited for.
pub(crate) fn run_paused(test: impl Future<Output = ()>) {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_all().start_paused(true).build_local(Default::default());
    runtime.expect("a runtime").block_on(test);
    local::forget();
}

/// One core with one route to one upstream.
pub(crate) struct Bench {
    pub(crate) core: Rc<Core>,
}

/// What a caller got, and what was noted about it.
pub(crate) struct Answered {
    pub(crate) status: u16,
    pub(crate) content: Vec<u8>,
    pub(crate) error: Option<Error>,
}

impl Bench {
    /// Endpoints that nobody listens on, for pipelines that end in an [`Origin`].
    pub(crate) fn with_endpoints(count: u16) -> Bench {
        let urls: Vec<String> = (1..=count).map(|port| format!("http://127.0.0.1:{port}")).collect();
        Bench::new(&urls)
    }

    /// One endpoint that answers over HTTP/1.1.
    pub(crate) async fn with_upstream() -> Bench {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address");
        tokio::task::spawn_local(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::task::spawn_local(answer_all(stream));
            }
        });
        Bench::new(&[format!("http://{address}")])
    }

    fn new(urls: &[String]) -> Bench {
        let toml = format!(
            "[[listen]]\naddress = \"127.0.0.1:0\"\n[limits]\nwarm_connections = 0\n[upstream.shop]\nendpoints = {urls:?}\n\
             [[route]]\nmatch = \"/{{path...}}\"\nupstream = \"shop\"\n"
        );
        let parsed = unlag_config::parse(&toml, "unlag.toml");
        let config = parsed.unwrap_or_else(|problems| panic!("{problems}")).config;
        let record = unlag_record::Registry::new(unlag_record::Bounds::default(), None);
        let endpoints = Registry::new(Arc::clone(&record));
        let plan = Plan::build(&config, &endpoints, 1).expect("a plan");
        let bounds = plan.bounds.clone();
        let (shared, _) = Shared::new(record, endpoints, plan, 1, "unlag-test".into());
        let core = Core::new(0, shared, bounds, 1);
        Bench { core }
    }

    pub(crate) fn upstream(&self) -> Arc<Upstream> {
        Arc::clone(self.core.shared.current().upstreams.first().expect("one upstream"))
    }

    pub(crate) fn endpoint(&self, index: usize) -> Arc<Endpoint> {
        Arc::clone(self.upstream().fleet().get(index).expect("so many endpoints"))
    }

    /// Requests in flight to each endpoint.
    pub(crate) fn in_flight(&self) -> Vec<u32> {
        self.upstream().fleet().iter().map(|endpoint| endpoint.in_flight()).collect()
    }

    /// An exchange without a deadline, as it enters a pipeline; `line` is method and path.
    pub(crate) fn exchange(&self, line: &str, body: Body) -> Box<Exchange> {
        let head = head(line);
        let route = Arc::clone(self.core.shared.current().routes.first().expect("one route"));
        let trace = Trace::new(clock::now(), &head, None, &Timer::default());
        Exchange::new(head, body, route, Scheme::Http, trace)
    }

    /// The trace of a request whose caller has left, and that goes on without it.
    pub(crate) fn left_alone(&self) -> Rc<Trace> {
        let head = head("GET /");
        let caller = Caller::new(None, Scheme::Http, None, Default::default());
        let trace = Trace::new(clock::now(), &head, None, &Timer::default());
        drop(Recording::new(&self.core, &caller, Rc::clone(&trace), head.version));
        trace
    }

    /// Has a request answered as a connection does.
    pub(crate) async fn ask(&self, line: &str, body: Body, interim: Option<Rc<dyn Interim>>) -> Answered {
        let head = head(line);
        let caller = Caller::new(None, Scheme::Http, None, Default::default());
        let version = head.version;
        let recording = Recording::new(
            &self.core,
            &caller,
            Trace::new(clock::now(), &head, None, &Timer::default()),
            version,
        );
        let incoming = Incoming { head, body, interim, content_has_begun: false };
        let admitted = answer::admit(&self.core, &caller, &recording, incoming);
        let prepared = admitted.unwrap_or_else(|error| panic!("{line}: {error}"));
        let mut response = answer::answer(&self.core, &recording, prepared).await;
        let content = content(&mut response.body).await;
        recording.complete();
        Answered { status: response.head.status, content, error: recording.trace.error.get() }
    }
}

fn head(line: &str) -> RequestHead {
    let text = format!("{line} HTTP/1.1\r\nHost: shop\r\n\r\n");
    let limits = HeadLimits { head: 1024, fields: 8, uri: 256 };
    let parsed = parse::request(text.as_bytes(), &mut 0, &limits).expect("a good head");
    parsed.expect("a whole head").head
}

/// Everything that comes of a body.
pub(crate) async fn content(body: &mut Body) -> Vec<u8> {
    let mut content = Vec::new();
    while let Some(chunk) = body.chunk().await {
        if let Chunk::Data(data) = chunk.expect("content without an error") {
            content.extend_from_slice(&data);
        }
    }
    content
}

/// Answers the requests of a connection; those for `/early` begin with an interim answer and are never finished.
async fn answer_all(mut stream: TcpStream) {
    let mut input = Vec::new();
    while let Ok(1..) = stream.read_buf(&mut input).await {
        while let Some(end) = input.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            let request: Vec<u8> = input.drain(..end + 4).collect();
            let answer: &[u8] = match request.windows(6).any(|bytes| bytes == b"/early") {
                true => b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf",
                false => b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine",
            };
            if stream.write_all(answer).await.is_err() {
                return;
            }
        }
    }
}

/// The end of a pipeline that answers each request after a while of its own; the last one counts for all that follow.
pub(crate) struct Origin {
    delays: Vec<Duration>,
    asked: RefCell<Vec<u32>>,
    answered: Cell<usize>,
}

impl Origin {
    pub(crate) fn new(delays: impl Into<Vec<Duration>>) -> Origin {
        Origin { delays: delays.into(), asked: RefCell::default(), answered: Cell::new(0) }
    }

    /// The endpoints that were asked, in order.
    pub(crate) fn asked(&self) -> Vec<u32> {
        self.asked.borrow().clone()
    }

    /// How many answers were given.
    pub(crate) fn answered(&self) -> usize {
        self.answered.get()
    }
}

impl Next for Origin {
    async fn run(&self, mut exchange: Box<Exchange>) -> Outcome {
        let in_flight = exchange.chosen.take().expect("the balancer has chosen");
        let before = self.asked.borrow().len();
        self.asked.borrow_mut().push(in_flight.endpoint().index);
        let delay = self.delays.get(before).or(self.delays.last()).copied().unwrap_or_default();
        tokio::time::sleep(delay).await;
        self.answered.set(self.answered.get() + 1);
        let text = format!("answer {}", self.answered.get());
        let mut response = Response::new(ResponseHead::new(200), Body::Bytes(text.into()));
        response.in_flight = Some(in_flight);
        Ok(response)
    }
}
