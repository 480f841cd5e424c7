//! Whole files: the one that `init` writes, the one that the product promises, and the files that they name.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a set-up that fails has to fail the test")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use unlag_config::{
    AccessLog, Action, Address, Attempts, Balance, Criticality, Encoding, HashKey, Hedge, HostHeader, Limit,
    Limits, Part, Problem, Queue, Rate, RateBy, Retry, Scheme, Segment, Severity, Source, Spill, Timeout,
    parse, starter,
};

#[test]
fn the_starter_file_is_valid_without_a_warning() {
    let parsed = parse(starter(), "unlag.toml").unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(parsed.warnings, []);
    assert_eq!(parsed.config.limits, Limits::default());
}

#[test]
fn every_example_in_the_starter_file_is_valid() {
    // `# key = …` and `# [table]` are examples, `# Sentence.` is not. Those that replace another line come
    // one by one.
    let example = |line: &str| {
        line.strip_prefix("# ").is_some_and(|rest| {
            rest.starts_with('[') || rest.split_once(" = ").is_some_and(|(key, _)| !key.contains(' '))
        })
    };
    let lines: Vec<&str> = starter().lines().collect();
    let examples: Vec<usize> = (0..lines.len()).filter(|number| example(lines[*number])).collect();
    assert!(examples.len() > 20, "{examples:?}");
    let alternatives = ["# endpoints", "# discover"];
    let file = |with: &str| -> String {
        let kept = lines.iter().enumerate().filter_map(|(number, line)| match line {
            line if with.is_empty() || !line.starts_with(with) => {
                let alternative = alternatives.iter().any(|start| line.starts_with(start));
                let replaced = !with.is_empty() && line.starts_with("endpoints");
                let uncomment = examples.contains(&number) && !alternative;
                (!replaced).then(|| if uncomment { line[2..].to_owned() } else { (*line).to_owned() })
            }
            line => Some(line[2..].to_owned()),
        });
        kept.collect::<Vec<_>>().join("\n")
    };
    for with in ["", alternatives[0], alternatives[1]] {
        let parsed = parse(&file(with), "unlag.toml").unwrap_or_else(|problems| panic!("{with}: {problems}"));
        // As it stands, the file has one endpoint.
        let warnings: Vec<&str> = parsed.warnings.iter().map(|warning| warning.message.as_str()).collect();
        let expected: &[&str] = match with {
            "" => &["`hedge` has no effect: the upstream has one endpoint"],
            _ => &[],
        };
        assert_eq!(warnings, expected, "{with}");
        assert_eq!((parsed.config.listen.len(), parsed.config.routes.len()), (2, 4));
    }
}

#[test]
fn what_the_product_promises_for_this_version_is_valid() {
    let parsed =
        parse(include_str!("product.toml"), "unlag.toml").unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(parsed.warnings, []);
    let config = parsed.config;
    assert!(matches!(config.listen[0].address, Address::Tcp(address) if address.port() == 8080));
    assert_eq!(config.listen[1].tls.as_ref().unwrap().certificates.len(), 1);
    assert_eq!([0, 1].map(|listener: usize| config.listen[listener].report_load), [false, true]);
    assert_eq!(config.upstreams[1].tls.client.as_ref().unwrap().key, Path::new("tls/node.key"));
    assert!(!config.admin.token.as_ref().unwrap().is_resolved());
    let names: Vec<&str> = config.upstreams.iter().map(|upstream| upstream.name.as_str()).collect();
    assert_eq!(names, ["catalog", "orders", "reports", "search"]);
    let Source::Endpoints(endpoints) = &config.upstreams[0].source else { panic!("listed") };
    assert_eq!((endpoints[1].weight, endpoints[1].zone.as_deref()), (2, Some("b")));
    assert_eq!(config.upstreams[0].health.as_ref().unwrap().timeout, Duration::from_secs(1));
    assert_eq!(config.upstreams[0].host, HostHeader::Keep);
    let region = config.region.as_ref().unwrap();
    assert_eq!((region.name.as_str(), region.zone.as_deref()), ("eu-west", Some("b")));
    let Source::Endpoints(endpoints) = &config.upstreams[1].source else { panic!("listed by region") };
    let places: Vec<_> =
        endpoints.iter().map(|at| (at.region.as_deref().unwrap(), at.zone.as_deref())).collect();
    assert_eq!(places, [("eu-west", None), ("eu-west", Some("a")), ("us-east", None)]);
    assert_eq!(config.upstreams[1].primary.as_deref(), Some("us-east"));
    let spill = Spill { max: 0.3, cost: vec![("us-east".into(), Duration::from_millis(5))] };
    assert_eq!((&config.upstreams[1].spill, &config.upstreams[0].spill), (&spill, &Spill::default()));
    assert_eq!(config.upstreams[1].read_your_writes, Some(Duration::from_secs(5)));
    assert_eq!(config.upstreams[1].balance, Balance::Hash(HashKey::Header("x-user".into())));
    assert_eq!(config.upstreams[2].source, Source::File("reports.txt".into()));
    let balanced = config.upstreams.iter().map(|upstream| (upstream.limit, upstream.slow_start));
    let seconds = |seconds| Some(Duration::from_secs(seconds));
    assert_eq!(
        balanced.collect::<Vec<_>>(),
        [
            (Limit::Observe, seconds(10)),
            (Limit::Adaptive, None),
            (Limit::Fixed(64), seconds(30)),
            (Limit::Observe, seconds(10)),
        ]
    );
    let queues: Vec<_> = config.upstreams.iter().map(|upstream| upstream.queue.clone()).collect();
    let queue = Queue { wait_max: Duration::from_millis(500), length_max: 1024 };
    assert_eq!(queues, [None, None, Some(queue), None]);
    let name = "_http._tcp.search.internal".to_owned();
    assert_eq!(config.upstreams[3].source, Source::Srv { scheme: Scheme::Https, name });
    let servers: Vec<String> = config.upstreams[3].resolver.iter().map(ToString::to_string).collect();
    assert_eq!(servers, ["127.0.0.1:8600", "10.0.0.2:53"]);
    assert_eq!(config.upstreams[2].balance, Balance::RoundRobin);
}

#[test]
fn what_the_product_promises_of_routes_is_valid() {
    let config = parse(include_str!("product.toml"), "unlag.toml").unwrap().config;
    assert_eq!(config.monitor.access_log, AccessLog::Stderr);
    let [product, home, reports, assets, _, old, shop] = &config.routes[..] else { panic!("seven routes") };
    assert_eq!((product.name.as_str(), product.attempts.timeout), ("product", Timeout::Learned));
    assert_eq!(product.attempts.hedge, Some(Hedge { budget: 0.05 }));
    assert_eq!(product.attempts.retry, Some(Retry { budget: 0.2, attempts: 1 }));
    assert_eq!((product.holdout, home.holdout), (0.01, 0.0));
    assert_eq!(home.attempts, Attempts::default());
    let (timeout, idempotency_key) =
        (Timeout::Fixed(Duration::from_secs(120)), Some(Duration::from_secs(86_400)));
    assert_eq!(reports.attempts, Attempts { timeout, retry: None, idempotency_key, ..Attempts::default() });
    assert_eq!(product.pattern.segments[1], Segment::One("id".into()));
    assert_eq!(home.headers, [("x-beta".to_owned(), "1".to_owned())]);
    assert_eq!((reports.name.as_str(), &reports.action), ("POST /reports", &Action::Proxy(2)));
    let Action::Static(files) = &assets.action else { panic!("files") };
    assert_eq!((files.index.as_deref(), files.precompressed), (Some("index.html"), true));
    assert_eq!(files.encodings, [Encoding::Brotli, Encoding::Zstd, Encoding::Gzip]);
    let immutable = files.immutable.as_ref().unwrap();
    assert!(immutable.is_match(b"/assets/app.0123abcd.js") && !immutable.is_match(b"/assets/app.js"));
    assert_eq!(shop.compress, [Encoding::Zstd, Encoding::Brotli, Encoding::Gzip]);
    assert!(home.compress.is_empty());
    let Action::Respond(respond) = &old.action else { panic!("an answer") };
    assert_eq!(
        respond.location.as_ref().unwrap().0,
        [Part::Text("/new/".into()), Part::Param("rest".into())]
    );
    assert_eq!(shop.pattern.host.as_deref(), Some("shop.example"));
    assert_eq!(shop.request_headers.remove, ["x-debug"]);
    let by = RateBy::Header("x-tenant".into());
    assert_eq!(shop.rate, Some(Rate { requests: 100, per: Duration::from_secs(1), burst: 50, by }));
    let by = RateBy::Route;
    assert_eq!(reports.rate, Some(Rate { requests: 90, per: Duration::from_secs(60), burst: 2, by }));
    let criticality = [shop, reports, home].map(|route| route.criticality);
    assert_eq!(criticality, [Criticality::CriticalPlus, Criticality::Sheddable, Criticality::Default]);
    assert_eq!((shop.primary, home.primary), (Some(false), None));
    assert!(shop.server_timing && !home.server_timing);
}

#[test]
fn what_the_product_promises_for_later_is_refused_by_name_and_nothing_else() {
    let problems = parse(include_str!("printed.toml"), "unlag.toml").unwrap_err();
    let mut refused: Vec<String> = Vec::new();
    for problem in &problems.0 {
        assert!(problem.message.ends_with("is not in this version"), "{problem}");
        refused.extend(problem.message.split('`').nth(1).map(str::to_owned));
    }
    refused.sort();
    refused.dedup();
    let expected = ["batch", "compose", "compress", "history", "offload", "otlp", "queue", "slo", "webhook"];
    assert_eq!(refused, expected);
}

#[test]
fn what_a_key_stands_for_is_explained_where_it_is_used() {
    let text = "[[listen]]\naddress = \"127.0.0.1:0\"\n[monitor]\naccess_log_sample = \"slow\"\n[upstream.a]\n\
                endpoints = [\"http://a\"]\n[[route]]\nmatch = \"/\"\nupstream = \"a\"\ntimeout = \"2s\"\n";
    let explained = unlag_config::explain(&parse(text, "unlag.toml").unwrap().config);
    assert!(explained.contains("a second or more, and server errors"), "{explained}");
    assert!(
        explained.contains("a timeout that is a duration: the head of a response, and the whole"),
        "{explained}"
    );
    assert!(!explained.contains("timeout = \"auto\""), "{explained}");
}

#[test]
fn a_configuration_explains_itself() {
    let text = include_str!("product.toml");
    let explained = unlag_config::explain(&parse(text, "unlag.toml").unwrap().config);
    for part in [
        "will probably answer first",
        "balance of reports: one after the other, by weight",
        "limit = \"observe\": ",
        "limit = \"adaptive\": ",
        "limit of reports: 64 requests in flight to one endpoint",
        "region  eu-west, zone b",
        "upstream search: the endpoints of _http._tcp.search.internal (SRV)",
        "upstream orders: 3 endpoints in eu-west, us-east",
        "regions: requests go to the nearest healthy region",
        "spill of orders: at most 30% leave the nearest region",
        "spill of orders: us-east counts as 5ms farther than it is",
        "primary of orders: us-east",
        "read_your_writes of orders: who wrote reads from the primary for 5s",
        "primary of shop.example/{path...}: its requests go to the nearest region",
        "slow_start of orders: off",
        "slow_start of reports: 30s",
        "queue of orders: off; what is above the limit is refused at once",
        "queue of reports: at most 1024 requests wait, at most 500ms",
        "rate of POST /reports: 90 in 1m, 2 at once, by route; more are refused with 429",
        "criticality of POST /reports: sheddable; its requests are refused first",
        "balance of orders: by header:x-user, the same endpoint on every node",
        "within 30s until enough is known of its route",
        "ALPN",
        "listen  127.0.0.1:8443: HTTP/1.1 and HTTP/2 over TLS; answers carry x-lb-rif",
        "x-request-timeout-ms, grpc-timeout",
        "GET /products/{id}",
        "-> catalog",
        "= 308 /new/{rest}",
        "[x-beta: 1]",
        "= files of public",
        "files of GET /assets/{path...}: siblings, else encoded once and kept: br, zstd, gzip",
        "compress of shop.example/{path...}: zstd, br, gzip, while answers pass",
        "cache: 256MiB in memory",
        "cache of product: off",
        "retry: 2 more attempts at most, on another endpoint, of what did no harm; 10% of the requests",
        "retry of product: 1 more attempt at most",
        "20% of the requests",
        "hedge of product: at most 5% of the upstream's work for it",
        "holdout of product: 1% of its requests pass each technique by",
        "retry of POST /reports: off",
        "idempotency_key of POST /reports: answers are kept for 1d and replayed",
    ] {
        assert!(explained.contains(part), "{part} is missing in\n{explained}");
    }
    let first = explained.lines().skip_while(|line| !line.starts_with("MATCH")).nth(1).unwrap();
    assert!(first.starts_with("shop.example/"), "the most specific comes first:\n{explained}");
}

#[test]
fn what_is_harmless_but_odd_is_a_warning_with_its_place() {
    let text = "[[listen]]\naddress = \"127.0.0.1:1\"\n[admin]\naddress = \"0.0.0.0:9900\"\n\
                [upstream.a]\nendpoints = [\"http://a\"]\ntls = {}\nspill = \"off\"\n\
                [[route]]\nmatch = \"/x/{y}\"\nrespond = { status = 404 }\ntimeout = \"1s\"\nstrip_prefix = \"/z\"\n\
                [[route]]\nmatch = \"/f/{y}\"\ncompress = \"auto\"\n\
                static = { directory = \"f\", precompressed = true, encodings = \"off\" }\n\
                [[route]]\nmatch = \"/p/{y}\"\nupstream = \"a\"\nprimary = true\n";
    let warnings = parse(text, "unlag.toml").unwrap().warnings;
    let found: Vec<(usize, usize, &str)> = warnings
        .iter()
        .map(|problem| (problem.line, problem.column, problem.message.split('`').nth(1).unwrap_or("")))
        .collect();
    let expected = [
        (4, 11, "admin.address"),
        (7, 7, "tls"),
        (8, 1, "spill"),
        (12, 1, "timeout"),
        (13, 1, "strip_prefix"),
        (13, 1, "strip_prefix"),
        (16, 1, "compress"),
        (17, 29, "precompressed"),
        (21, 1, "primary"),
    ];
    assert_eq!(found, expected, "{warnings:#?}");
}

#[test]
fn keys_of_a_route_that_its_upstream_makes_useless_are_warned_of() {
    let of = |upstream: &str, route: &str| {
        let text = format!(
            "[[listen]]\naddress = \"127.0.0.1:1\"\n[upstream.a]\n{upstream}\n[[route]]\nmatch = \"/\"\nupstream = \"a\"\n{route}\n"
        );
        let warnings = parse(&text, "unlag.toml").unwrap().warnings;
        warnings.into_iter().map(|warning| warning.message).collect::<Vec<_>>().join("; ")
    };
    let (one, two) = ("endpoints = [\"http://a\"]", "endpoints = [\"http://a\", \"http://b\"]");
    let limited = format!("{two}\nlimit = 8");
    assert_eq!(of(one, "hedge = {}"), "`hedge` has no effect: the upstream has one endpoint");
    assert_eq!(of(two, "hedge = {}"), "");
    assert_eq!(of("discover = \"file://a\"", "hedge = {}"), "");
    assert_eq!(of(two, "criticality = \"sheddable\""), "", "it goes on to the service");
    let waits =
        |wait: &str| of(&format!("{limited}\nqueue = {{ wait_max = \"{wait}\" }}"), "timeout = \"2s\"");
    assert!(waits("3s").starts_with("the upstream's `queue.wait_max` of \"3s\" has no effect here"));
    assert_eq!(waits("2s"), "");
    assert_eq!(
        of(two, "idempotent = true\nidempotency_key = \"1h\""),
        "with `idempotent = true`, a request with a key may be sent to the service twice all the same"
    );
}

/// A directory of its own for a test, gone with it.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        fs::write(self.0.join(name), text).unwrap();
    }

    fn set_mode(&self, name: &str, mode: u32) {
        fs::set_permissions(self.0.join(name), PermissionsExt::from_mode(mode)).unwrap();
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

const NAMES_FILES: &str = r#"
[[listen]]
address = "127.0.0.1:8443"
tls = { certificate = "site.pem", key = "site.key", client_ca = "callers.pem" }
[admin]
token = "file:token"
[upstream.a]
discover = "file://list.txt"
tls = { ca = "ca.pem", certificate = "node.pem", key = "node.key" }
[[route]]
match = "/"
upstream = "a"
"#;

/// Well-formed PEM; what is inside is for the TLS library to judge.
const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----\nMAAwADAA\n-----END CERTIFICATE-----\n";

/// The markers of a key, put together here so that no scanner takes this file for one.
fn key() -> String {
    let kind = "PRIVATE KEY";
    format!("-----BEGIN {kind}-----\nMAAwADAA\n-----END {kind}-----\n")
}

fn seen(base: &Path) -> Vec<Problem> {
    parse(NAMES_FILES, "unlag.toml").unwrap_or_else(|problems| panic!("{problems}")).look(base)
}

fn summary(problems: &[Problem]) -> Vec<(Severity, usize, usize)> {
    problems.iter().map(|problem| (problem.severity, problem.line, problem.column)).collect()
}

#[test]
fn absent_files_are_warnings_at_the_place_that_names_them() {
    let scratch = Scratch::new("absent");
    let problems = seen(&scratch.0);
    let warning = Severity::Warning;
    let expected = [
        (warning, 4, 23),
        (warning, 4, 41),
        (warning, 4, 65),
        (warning, 6, 9),
        (warning, 8, 12),
        (warning, 9, 14),
        (warning, 9, 38),
        (warning, 9, 56),
    ];
    assert_eq!(summary(&problems), expected, "{problems:#?}");
    assert!(problems[0].to_string().contains("does not exist"));
    let unlocated = unlag_config::look(&parse(NAMES_FILES, "f").unwrap().config, &scratch.0);
    assert_eq!(unlocated.len(), 8);
    assert!(unlocated[0].to_string().starts_with("listen[0].tls[0].certificate: warning: "));
    // A token is looked for where it is needed.
    let absent = parse(NAMES_FILES, "unlag.toml").unwrap().absent(&scratch.0);
    let errors = [(4, 23), (4, 41), (4, 65), (8, 12), (9, 14), (9, 38), (9, 56)];
    assert_eq!(summary(&absent), errors.map(|(line, column)| (Severity::Error, line, column)));
}

#[test]
fn good_files_are_fine_and_useless_ones_are_errors() {
    let scratch = Scratch::new("present");
    for name in ["site.pem", "callers.pem", "ca.pem", "node.pem"] {
        scratch.write(name, CERTIFICATE);
    }
    for name in ["site.key", "node.key"] {
        scratch.write(name, key());
        scratch.set_mode(name, 0o600);
    }
    scratch.write("token", "s3cret\n");
    scratch.write("list.txt", "http://10.0.0.1:80\n");
    scratch.set_mode("site.key", 0o640);
    assert_eq!(seen(&scratch.0), []);
    scratch.set_mode("site.key", 0o644);
    let problems = seen(&scratch.0);
    assert_eq!(summary(&problems), [(Severity::Warning, 4, 41)], "a key that everybody can read");
    assert!(problems[0].to_string().contains("chmod 600"), "{}", problems[0]);
    scratch.set_mode("site.key", 0o600);

    scratch.write("site.pem", "not PEM at all");
    scratch.write("site.key", CERTIFICATE);
    scratch.write("callers.pem", "-----BEGIN CERTIFICATE-----\nMAAw\n");
    scratch.write("ca.pem", [0xff; 64]);
    scratch.write("node.pem", "");
    scratch.write("node.key", "");
    scratch.write("token", "\n");
    scratch.write("list.txt", "http://10.0.0.1:80\n10.0.0.2\n");
    let problems = seen(&scratch.0);
    let error = Severity::Error;
    let expected = [(4, 23), (4, 41), (4, 65), (6, 9), (8, 12), (9, 14), (9, 38), (9, 56)]
        .map(|(line, column)| (error, line, column));
    assert_eq!(summary(&problems), expected, "{problems:#?}");
    assert!(problems[4].message.contains("list.txt:2: "), "{}", problems[4]);
}

#[test]
fn paths_start_at_the_directory_of_the_file_once_they_are_anchored() {
    let mut config = parse(NAMES_FILES, "unlag.toml").unwrap().config;
    config.anchor(Path::new("/etc/unlag"));
    let tls = config.listen[0].tls.as_ref().unwrap();
    assert_eq!(tls.certificates[0].key, Path::new("/etc/unlag/site.key"));
    assert_eq!(config.state.directory, Path::new("/etc/unlag/unlag-data"));
    let client = config.upstreams[0].tls.client.as_ref().unwrap();
    assert_eq!(client.certificate, Path::new("/etc/unlag/node.pem"));
    assert_eq!(client.key, Path::new("/etc/unlag/node.key"));
    assert_eq!(config.upstreams[0].source, Source::File("/etc/unlag/list.txt".into()));
    let once = config.clone();
    config.anchor(Path::new("/elsewhere"));
    assert_eq!(config, once);
}

#[test]
fn a_directory_of_files_that_is_not_there_is_a_warning_and_what_is_no_directory_an_error() {
    let scratch = Scratch::new("static");
    fs::create_dir_all(scratch.0.join("public")).unwrap();
    fs::write(scratch.0.join("file"), "").unwrap();
    let look = |directory: &str| {
        let text = format!(
            "[[listen]]\naddress = \"127.0.0.1:1\"\n[[route]]\nmatch = \"/\"\nstatic = {{ directory = {directory:?} }}\n"
        );
        let found = parse(&text, "unlag.toml").unwrap().look(&scratch.0);
        found.into_iter().map(|problem| (problem.severity, problem.line, problem.column)).collect::<Vec<_>>()
    };
    assert_eq!(look("public"), []);
    assert_eq!(look("absent"), [(Severity::Warning, 5, 24)]);
    assert_eq!(look("file"), [(Severity::Error, 5, 24)]);
}
