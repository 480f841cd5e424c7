//! The tables themselves, in the order in which the reference shows them. `[limits]` is written beside its
//! struct.

use std::time::Duration;

use super::{Choice, Key, Kind, Table};
use crate::limits;
use crate::value::{DURATION_MAX, SIZE_MAX};

const MS: Duration = Duration::from_millis(1);
const DURATION: Kind = Kind::Duration { min: MS, max: DURATION_MAX };
const ADDRESS: Kind =
    Kind::Text(r#"an IP address and a port, "127.0.0.1:8080", or a socket, "unix:/run/unlag.sock""#);
const ENCODINGS: Kind = Kind::Any(&[
    Kind::Choice(&[
        Choice::new("auto", "all that there are, the best first; `unlag check` says what that is"),
        Choice::new("off", "none"),
    ]),
    Kind::List(&Kind::Choice(&[
        Choice::new("zstd", "Zstandard (RFC 8878)"),
        Choice::new("br", "Brotli (RFC 7932)"),
        Choice::new("gzip", "gzip (RFC 1952)"),
    ])),
]);
const PREFIX: Kind = Kind::Text(r#"a path that starts with a slash and ends with none: "/api""#);

/// The file itself.
pub(crate) static ROOT: Table = Table {
    header: "the top level",
    meaning: "The file as a whole. It needs at least one `[[listen]]`.",
    keys: &[
        Key::new("listen", Kind::Tables(&LISTEN), "Where callers are accepted.").required(),
        Key::new("admin", Kind::Table(&ADMIN), "The console: its API, and the metrics."),
        Key::new("state", Kind::Table(&STATE), "What is kept on disk."),
        Key::new("limits", Kind::Table(&LIMITS), "Every bound."),
        Key::new("trust", Kind::Table(&TRUST), "Whose forwarding headers are believed."),
        Key::new("upstream", Kind::Named(&UPSTREAM), "The services behind."),
        Key::new("cache", Kind::Table(&CACHE), "What routes share of caching."),
        Key::new("monitor", Kind::Table(&MONITOR), "Logs and measures."),
        Key::new("route", Kind::Tables(&ROUTE), "What is done with which request."),
        Key::not_yet("region", "Where this node is."),
        Key::not_yet("queue", "Queues for work that is finished later."),
    ],
};

/// `[[listen]]`
pub(crate) static LISTEN: Table = Table {
    header: "[[listen]]",
    meaning: "One listener. HTTP/1.1 and HTTP/2 with prior knowledge share it; with `tls`, ALPN chooses between them.",
    keys: &[
        Key::new("address", ADDRESS, "Where to accept. Port 0 lets the kernel choose.").required(),
        Key::new(
            "tls",
            Kind::Any(&[Kind::Table(&LISTEN_TLS), Kind::List(&Kind::Table(&LISTEN_TLS))]),
            "One certificate or a list of them, chosen by the name that the caller asks for; the first is the default.",
        ),
    ],
};

/// `tls` of a listener
pub(crate) static LISTEN_TLS: Table = Table {
    header: "listen.tls",
    meaning: "A certificate that callers are shown.",
    keys: &[
        Key::new("certificate", Kind::Path, "The certificate chain, PEM, leaf first.").required(),
        Key::new("key", Kind::Path, "The private key of the leaf, PEM.").required(),
        Key::new(
            "client_ca",
            Kind::Path,
            "Authorities, PEM. Callers must then show a certificate that one of them signed; holds for the whole listener.",
        ),
    ],
};

/// `[admin]`
pub(crate) static ADMIN: Table = Table {
    header: "[admin]",
    meaning: "The console's API and `/metrics`, on a listener of their own.",
    keys: &[
        Key::new("address", ADDRESS, "Where to accept.")
            .default("\"127.0.0.1:9900\"", "loopback only, because it can change the configuration"),
        Key::new(
            "token",
            Kind::Secret,
            "Needed for every write, and for reads from anywhere but loopback. When it is not set, one is generated into \
             the state directory.",
        ),
    ],
};

/// `[state]`
pub(crate) static STATE: Table = Table {
    header: "[state]",
    meaning: "What is kept on disk between two runs.",
    keys: &[Key::new("directory", Kind::Path, "Where it is kept; made when it is not there.")
        .default("\"unlag-data\"", "beside the config file, where it is seen and moved along")],
};

/// `[limits]`
pub(crate) static LIMITS: Table = Table {
    header: "[limits]",
    meaning: "Every bound on what a peer can make unlag hold or wait for.",
    keys: limits::KEYS,
};

/// `[trust]`
pub(crate) static TRUST: Table = Table {
    header: "[trust]",
    meaning: "Peers whose word is taken about whom they forward for.",
    keys: &[Key::new(
        "proxies",
        Kind::List(&Kind::Text(r#"a network: "10.0.0.0/8", "192.0.2.7", "fd00::/8""#)),
        "Networks from which `Forwarded`, `X-Forwarded-*`, `x-criticality` and `x-attempt` are believed.",
    )
    .default("[]", "a caller can write any such header it likes")],
};

/// `[upstream.NAME]`
pub(crate) static UPSTREAM: Table = Table {
    header: "[upstream.NAME]",
    meaning: "A service with one or more endpoints that answer alike. It needs either `endpoints` or `discover`.",
    keys: &[
        Key::new(
            "endpoints",
            Kind::List(&Kind::Any(&[
                Kind::Text(r#"a URL: "http://10.0.0.11:8000", "https://…" or "unix:/path""#),
                Kind::Table(&ENDPOINT),
            ])),
            "Where it is.",
        ),
        Key::new(
            "discover",
            Kind::Text(r#"a file with one endpoint a line: "file://endpoints.txt""#),
            "Where its endpoints are listed. The file is watched; `#` starts a comment; `weight=2` and `zone=b` may follow \
             a URL.",
        ),
        Key::new(
            "host",
            Kind::Any(&[
                Kind::Choice(&[
                    Choice::new("keep", "what the caller sent"),
                    Choice::new("upstream", "the authority of the endpoint's URL"),
                ]),
                Kind::Text(r#"a host, perhaps with a port: "shop.example""#),
            ]),
            "The `Host` that it sees.",
        )
        .default("\"keep\"", "the service then builds links to what the caller asked for"),
        Key::new(
            "protocol",
            Kind::Choice(&[
                Choice::new("auto", "what ALPN agrees on over TLS, HTTP/1.1 in clear text"),
                Choice::new("http1", "HTTP/1.1"),
                Choice::new("http2", "HTTP/2, in clear text with prior knowledge"),
            ]),
            "What is spoken to it.",
        )
        .default("\"auto\"", "the only choice that works with every service"),
        Key::new(
            "connect_timeout",
            Kind::Duration { min: MS, max: Duration::from_secs(300) },
            "Bound on opening a connection.",
        )
        .default("\"1s\"", "one lost packet is forgiven, a second is not"),
        Key::new("health", Kind::Table(&HEALTH), "Active checks of every endpoint."),
        Key::new(
            "balance",
            Kind::Choice(&[
                Choice::new("adaptive", "the best that this version has; `unlag check` says what that is"),
                Choice::new(
                    "least-request",
                    "the endpoint with the fewest requests in flight for its weight",
                ),
                Choice::new("hash", "the same one for the same request, as `hash` says"),
                Choice::not_yet("round-robin", "one after the other"),
            ]),
            "How an endpoint is chosen.",
        )
        .default("\"adaptive\"", "endpoints are never equally fast for long"),
        Key::new(
            "hash",
            Kind::Any(&[
                Kind::Choice(&[Choice::new(
                    "path",
                    "the path and the query, as the endpoint is asked for them",
                )]),
                Kind::Text(r#""header:NAME" or "cookie:NAME""#),
            ]),
            "What of a request `balance = \"hash\"` looks at. A request without it goes to the endpoint with the fewest in flight. \
             `header:host` is the host.",
        ),
        Key::new("tls", Kind::Table(&UPSTREAM_TLS), "TLS towards it, used by endpoints with `https`."),
        Key::not_yet("regions", "Endpoints by region."),
        Key::not_yet("primary", "The region that takes writes."),
        Key::not_yet("limit", "Bound on requests in flight to one endpoint."),
        Key::not_yet("compress", "Compression towards it."),
    ],
};

/// An entry of `endpoints`
pub(crate) static ENDPOINT: Table = Table {
    header: "upstream.NAME.endpoints",
    meaning: "One instance of a service, when its URL is not all there is to say.",
    keys: &[
        Key::new(
            "url",
            Kind::Text(r#"a URL: "http://10.0.0.11:8000", "https://…" or "unix:/path""#),
            "Where it is.",
        )
        .required(),
        Key::new("weight", Kind::Count { min: 1, max: 1_000 }, "Its share of the load beside the others.")
            .default("1", "instances are alike unless somebody knows better"),
        Key::new("zone", Kind::Text("a name of letters, digits, `-`, `_` and dots"), "The zone it runs in."),
    ],
};

/// `health` of an upstream
pub(crate) static HEALTH: Table = Table {
    header: "upstream.NAME.health",
    meaning: "Active checks. Without them, consecutive failures of real requests eject an endpoint.",
    keys: &[
        Key::new(
            "path",
            Kind::Text(r#"a path: "/healthz""#),
            "What is asked for; any 2xx answer is healthy.",
        )
        .required(),
        Key::new(
            "interval",
            Kind::Duration { min: Duration::from_millis(100), max: Duration::from_secs(3600) },
            "Time between two checks of an endpoint.",
        )
        .default("\"5s\"", "two failures are noticed within ten seconds, at a load that nobody notices"),
        Key::new(
            "timeout",
            Kind::Duration { min: MS, max: Duration::from_secs(3600) },
            "Bound on one check; not above `interval`.",
        )
        .default(
            "\"1s\"",
            "a check that takes longer than connecting may is a failed one; less when `interval` is shorter",
        ),
    ],
};

/// `tls` of an upstream
pub(crate) static UPSTREAM_TLS: Table = Table {
    header: "upstream.NAME.tls",
    meaning: "How the certificate of the service is checked. It always is.",
    keys: &[
        Key::new(
            "ca",
            Kind::Path,
            "Authorities that it may come from, PEM. Without it: those of the system.",
        ),
        Key::new(
            "name",
            Kind::Text(r#"a host name: "orders.internal""#),
            "The name that it must carry, also sent as SNI. Without it: the host of the endpoint.",
        ),
    ],
};

/// `[monitor]`
pub(crate) static MONITOR: Table = Table {
    header: "[monitor]",
    meaning: "What is written down about requests.",
    keys: &[
        Key::new(
            "access_log",
            Kind::Any(&[
                Kind::Choice(&[
                    Choice::new("stderr", "the standard error stream"),
                    Choice::new("off", "nowhere"),
                ]),
                Kind::Text("a file with a slash or a dot in its path: \"./access.log\""),
            ]),
            "Where the access log goes: JSON lines with every phase. A file is opened anew on SIGUSR1.",
        )
        .default("\"stderr\"", "service managers collect it there"),
        Key::new(
            "access_log_sample",
            Kind::Any(&[
                Kind::Choice(&[
                    Choice::new("all", "every request"),
                    Choice::new("slow", "requests that took a second or more, and server errors"),
                ]),
                Kind::Share,
            ]),
            "Which requests get a line.",
        )
        .default("\"all\"", "a log with holes surprises"),
        Key::not_yet("history", "Measures kept on disk."),
        Key::not_yet("otlp", "Where metrics and traces are sent."),
        Key::not_yet("webhook", "Where alarms are sent."),
    ],
};

/// `[[route]]`
pub(crate) static ROUTE: Table = Table {
    header: "[[route]]",
    meaning: "What is done with the requests that match. The most specific route wins: by host, then literal segments, then \
              method, then number of header conditions, and last by having no `{name...}`; a tie is an error. A route needs \
              one of `upstream`, `respond` and `static`.",
    keys: &[
        Key::new(
            "name",
            Kind::Text("a text of up to 256 characters, unique among routes"),
            "Its name in the API, metrics and logs. Without it: the match as written.",
        ),
        Key::new(
            "match",
            Kind::Text(r#""METHOD host/path", method and host optional: "GET /products/{id}", "shop.example/{path...}""#),
            "Which requests: `{name}` is one segment, `{name...}` the rest, also an empty one. GET also matches HEAD.",
        )
        .required(),
        Key::new("upstream", Kind::Text("the name of an upstream"), "Forward to this upstream."),
        Key::new("respond", Kind::Table(&RESPOND), "Answer without asking anyone."),
        Key::new("static", Kind::Table(&STATIC), "Serve the files of a directory."),
        Key::new(
            "headers",
            Kind::Headers,
            "Conditions: only requests that have all of these headers with exactly these values match.",
        ),
        Key::new(
            "timeout",
            Kind::Any(&[
                Kind::Choice(&[Choice::new("auto", "the best that this version has; `unlag check` says what that is")]),
                DURATION,
            ]),
            "A duration bounds the head of the response and, with its body, the whole exchange; `auto` bounds the head only, \
             by `limits.response_head_timeout`.",
        )
        .default("\"auto\"", "a route's own tail is the only good bound, and a stream may last"),
        Key::new(
            "idle_timeout",
            DURATION,
            "Bound on silence within the body of a response; that of a request is bounded by `limits.body_rate_min`.",
        )
            .default("\"60s\"", "longer than any sane pause of a stream"),
        Key::new(
            "strip_prefix",
            PREFIX,
            "Taken off the front of the path, at a segment border, before it is forwarded; other paths stay as they are.",
        ),
        Key::new("add_prefix", PREFIX, "Put in front of the path, after stripping."),
        Key::new("request_headers", Kind::Table(&HEADER_EDITS), "Edits of the request on its way to the upstream."),
        Key::new("response_headers", Kind::Table(&HEADER_EDITS), "Edits of the response on its way to the caller."),
        Key::new("server_timing", Kind::Boolean, "Whether responses carry `Server-Timing`.")
            .default("false", "it tells callers about the inside"),
        Key::new("body_max", Kind::Size { min: 0, max: SIZE_MAX }, "Bound on the request body. Without it: none, since bodies are streamed and never held whole."),
        Key::not_yet("retry", "Retries with a budget."),
        Key::not_yet("hedge", "A second request when the first is slow."),
        Key::new(
            "cache",
            Kind::Any(&[Kind::Choice(&[Choice::new("off", "nothing is stored or looked up")]), Kind::Table(&ROUTE_CACHE)]),
            "How answers are cached. Without it: what the origin declares cacheable, for as long as it declares. Whatever stands here, \
answers that are about one caller are never stored: `private`, `no-store`, `Set-Cookie`, and answers to `Authorization` that are not declared public.",
        ),
        Key::new(
            "coalesce",
            Kind::Any(&[Kind::Choice(&[Choice::new("off", "every request goes its own way")]), Kind::Boolean]),
            "Whether requests for the same that come at the same time share one fetch. Without it: those without `Authorization` and \
             `Cookie` do. With `true` those that carry the same credentials do as well.",
        ),
        Key::not_yet("holdout", "Share of requests that pass a technique by, to measure its gain."),
        Key::not_yet("batch", "Many single calls in one."),
        Key::not_yet("compose", "One answer out of several calls."),
        Key::not_yet("offload", "An answer at once, the work later."),
        Key::not_yet("slo", "An objective for latency."),
        Key::not_yet("limit", "Bound on requests in flight."),
        Key::new(
            "compress",
            ENCODINGS,
            "In which encodings answers of the upstream leave, the preferred first, to callers who take them. The upstream is then asked \
for answers as they are, so that one stored answer serves every encoding. A `static` route has `encodings` of its own.",
        )
        .default("\"off\"", "between services on a fast network encoding takes longer than sending; towards browsers it pays"),
    ],
};

/// `static` of a route
pub(crate) static STATIC: Table = Table {
    header: "route.static",
    meaning: "Files of a directory. The path of a file is what `{name...}` of the match stands for; in a match without it, what follows \
              its leading literal segments, or its last segment if all of them are literal. Names that begin with a dot are not served, \
              `.well-known` excepted, and no link leads out of the directory.",
    keys: &[
        Key::new("directory", Kind::Path, "Where the files are.").required(),
        Key::new(
            "index",
            Kind::Any(&[
                Kind::Choice(&[Choice::new("off", "a directory has no answer")]),
                Kind::Text(r#"the name of a file: "index.html""#),
            ]),
            "The file that stands for a directory. Nothing is ever listed.",
        )
        .default("\"index.html\"", "what every tool that makes sites writes"),
        Key::new(
            "precompressed",
            Kind::Boolean,
            "Whether `file.br`, `file.zst` or `file.gz` is served in place of `file` to callers who take it, if it is not older.",
        )
        .default("false", "a sibling that is no compressed form of its file would be served as if it were"),
        Key::new(
            "immutable",
            Kind::Text(r"a regular expression on the path of the request: '\.[0-9a-f]{8,}\.'"),
            "Paths whose content never changes, because a change gives them another name: cached for a year and not asked for again.",
        ),
        Key::new(
            "encodings",
            ENCODINGS,
            "In which encodings files may leave, the preferred first. What has no sibling is encoded once, beside, and kept.",
        )
        .default("\"auto\"", "a file is encoded once, whoever asks for it"),
    ],
};

/// `[cache]`
pub(crate) static CACHE: Table = Table {
    header: "[cache]",
    meaning: "What routes share of caching (RFC 9111).",
    keys: &[
        Key::new("memory", Kind::Size { min: 4 << 20, max: SIZE_MAX }, "Bound on stored answers in memory, bytes.")
            .default("\"256MiB\"", "some ten thousand answers of usual size; a small machine wants less"),
        Key::new(
            "name",
            Kind::Text("a token of letters, digits and `-_.:/`, a letter first, at most 64"),
            "How this cache calls itself in `Cache-Status` (RFC 9211). Where one stands behind another, each wants a name of its own.",
        )
        .default("\"unlag\"", "a cache that stands alone needs no telling apart"),
        Key::new(
            "heuristic",
            Kind::Boolean,
            "Whether answers that declare no lifetime get a tenth of the time for which they have not changed, a day at most.",
        )
        .default("false", "right for pages and pictures, a surprise between services"),
        Key::new(
            "set_cookie",
            Kind::Boolean,
            "Whether answers with `Set-Cookie` are stored where the origin declares them cacheable, as RFC 9111 allows; everybody \
             then gets the same cookie.",
        )
        .default("false", "one forgotten directive hands one caller's session to all others"),
        Key::new(
            "shared",
            Kind::Secret,
            "A second tier behind the memory that nodes share, as a URL, through which purges reach all of them: `redis://HOST:PORT`, \
             `rediss://` (TLS), `redis-cluster://HOST:PORT,HOST:PORT`, `rediss-cluster://`, `memcached://HOST:PORT,HOST:PORT`; Redis 6.2, Valkey or \
             Memcached 1.6. A server that is slow or gone costs nothing but hits.",
        ),
    ],
};

/// `cache` of a route
pub(crate) static ROUTE_CACHE: Table = Table {
    header: "route.cache",
    meaning: "Lifetimes in place of the origin's.",
    keys: &[
        Key::new(
            "ttl",
            DURATION,
            "How long answers of this route are fresh, in place of what the origin declares.",
        ),
        Key::new(
            "stale_while_revalidate",
            DURATION,
            "How long after that they are served while they are fetched again (RFC 5861), in place of what the origin declares.",
        ),
        Key::new(
            "stale_if_error",
            DURATION,
            "How long after that they are served when the origin fails (RFC 5861), in place of what the origin declares.",
        ),
        Key::new(
            "body",
            Kind::Choice(&[
                Choice::new("exact", "the content as it is"),
                Choice::new("json", "JSON with sorted names and without white space, anything else as it is"),
                Choice::new(
                    "graphql",
                    "GraphQL over POST: queries only, without what means nothing; answers with errors are not stored",
                ),
                Choice::new("grpc", "gRPC calls with one message each way that succeed"),
            ]),
            "Declares that POSTs to this route only read: content of up to 64 KiB is part of the key, in this form. They need a \
             lifetime, from `ttl` or from the origin. QUERY (RFC 10008) is cached without this.",
        ),
        Key::new(
            "tags",
            Kind::List(&Kind::Text(
                "a text without spaces, with parameters of `match` in it: \"product-{id}\"",
            )),
            "Names by which answers are purged together, beside those that the origin gives them in `Surrogate-Key`, `xkey` or \
             `Cache-Tag`.",
        ),
    ],
};

/// `request_headers` and `response_headers` of a route
pub(crate) static HEADER_EDITS: Table = Table {
    header: "route.request_headers, route.response_headers",
    meaning: "Changes to headers: first `remove`, then `set`. Headers that frame a message or belong to one connection cannot \
              be changed.",
    keys: &[
        Key::new("set", Kind::Headers, "Put in place of whatever is there."),
        Key::new("remove", Kind::List(&Kind::Text("a header name")), "Taken out."),
    ],
};

/// `respond` of a route
pub(crate) static RESPOND: Table = Table {
    header: "route.respond",
    meaning: "A fixed answer.",
    keys: &[
        Key::new("status", Kind::Count { min: 200, max: 599 }, "The status.").required(),
        Key::new(
            "location",
            Kind::Text(r#"a URL or path, with parameters of the match: "/new/{rest}""#),
            "Where to go instead; needed by 301, 302, 303, 307 and 308.",
        ),
        Key::new("body", Kind::Text("a text of up to 64 KiB"), "What is sent.")
            .default("\"\"", "a status says enough"),
        Key::new("content_type", Kind::Text("a media type"), "What `body` is.")
            .default("\"text/plain; charset=utf-8\"", "a TOML string is UTF-8 text"),
    ],
};
