//! The tables of `[[route]]` (tidy: table).

use std::time::Duration;

use super::tables::{DURATION, OFF};
use super::{Choice, Key, Kind, Table};
use crate::value::SIZE_MAX;

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
const RATE_LIMIT: Kind = Kind::Text(r#"a rate: "100/s", "600/m" or "1000/h""#);
const PREFIX: Kind = Kind::Text(r#"a path that starts with a slash and ends with none: "/api""#);

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
                Kind::Choice(&[Choice::new("auto", "learned from the route's own tail")]),
                DURATION,
            ]),
            "A duration bounds the head of the response and, with its body, the whole exchange; `auto` bounds the head only: by \
             `limits.response_head_timeout` until enough is known, then by what is learned.",
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
        Key::new(
            "hedge",
            Kind::Any(&[OFF, Kind::Table(&HEDGE)]),
            "A second request, to another endpoint, while the first is slow; the first good answer wins and the other request is \
             cancelled. When is learned: an endpoint that gives no sign of life, or a request in the tail of its route. Only GET, \
             HEAD and OPTIONS are sent twice, unless `idempotent` says that all may be.",
        )
        .default("\"off\"", "it costs load, and nothing that costs load is on by itself"),
        Key::new(
            "retry",
            Kind::Any(&[OFF, Kind::Table(&RETRY)]),
            "Another attempt, on another endpoint, when one has failed and did no harm: what was not sent, and what is idempotent. \
             Without it: on, with the defaults of its table.",
        ),
        Key::new(
            "idempotent",
            Kind::Boolean,
            "Declares that requests of this route may be sent twice whatever their method is: they are retried and hedged as those that read.",
        )
        .default("false", "only the service knows; the method is all that can be seen"),
        Key::new(
            "idempotency_key",
            Kind::Any(&[OFF, Kind::Duration { min: Duration::from_secs(1), max: Duration::from_secs(7 * 24 * 3_600) }]),
            "How long the answer to a request that changes something and carries an `Idempotency-Key` is kept, to be replayed when \
             the same request comes again. With the same key, another request is refused with 422, and one that comes while the \
             first is in flight with 409.",
        )
        .default("\"off\"", "answers take memory, and only who owns the service knows that callers use such keys"),
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
        Key::new(
            "rate",
            Kind::Any(&[OFF, RATE_LIMIT, Kind::Table(&RATE)]),
            "How often its requests are taken by this node; more are refused with 429 and `Retry-After`.",
        )
        .default("\"off\"", "how much is too much, only the service knows"),
        Key::new(
            "criticality",
            Kind::Choice(&[
                Choice::new("critical-plus", "without it nothing works"),
                Choice::new("critical", "somebody waits for it"),
                Choice::new("default", "what nothing is said of"),
                Choice::new("sheddable", "nobody waits for it, or it is tried again later anyway"),
            ]),
            "How much is lost when one of its requests is refused; under overload the lower are refused first. What a trusted peer \
             says by `x-criticality` (`critical_plus`, `critical`, `default`, `sheddable`) counts more. Where neither says anything, \
             `Priority: u=5` to `u=7` of a caller means `sheddable`.",
        )
        .default("\"default\"", "when everything is critical, nothing is"),
        Key::new(
            "primary",
            Kind::Boolean,
            "Whether its requests go to the `primary` region of the upstream. Without it: those do that change something, by their method.",
        ),
        Key::new(
            "holdout",
            Kind::Any(&[OFF, Kind::Share { zero: true, max_percent: 20 }]),
            "Share of the requests that pass a technique by, to measure what it gains; each technique draws for itself. Balancing is \
             held out by taking turns; the cache and shared fetches by one request more to the upstream for each hundred at most. \
             What both sides take is in `trials` of `/api/v1/route/NAME`, whose name is percent-encoded: `applied` are requests for \
             which the technique was on, whether or not it had to act.",
        )
        .default("\"0%\"", "who is held out waits longer, so somebody has to want the figures"),
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

/// `hedge` of a route
pub(crate) static HEDGE: Table = Table {
    header: "route.hedge",
    meaning: "How much second requests may cost.",
    keys: &[Key::new(
        "budget",
        Kind::Share { zero: false, max_percent: 20 },
        "Bound on the work that second requests cost the upstream, as a share of the time that it works for this route; four a \
             second are always allowed where an endpoint gives no sign of life.",
    )
    .default("\"5%\"", "the slowest of a hundred gain most, for about one request more in a hundred; the rest is for bad days")],
};

/// `retry` of a route
pub(crate) static RETRY: Table = Table {
    header: "route.retry",
    meaning: "How much retries may add.",
    keys: &[
        Key::new(
            "budget",
            Kind::Share { zero: false, max_percent: 100 },
            "Bound on retries, as a share of the requests that succeed; three a second are always allowed, to all routes of an upstream together.",
        )
        .default("\"10%\"", "when everything fails, the load grows by a tenth and not by a factor"),
        Key::new("attempts", Kind::Count { min: 1, max: 3 }, "Most attempts after the first.")
            .default("2", "what fails three times in a row does not fail by chance"),
    ],
};

/// `rate` of a route
pub(crate) static RATE: Table = Table {
    header: "route.rate",
    meaning: "How often requests are taken. `rate = \"100/s\"` is short for a table with `limit` alone.",
    keys: &[
        Key::new("limit", RATE_LIMIT, "So many, evenly spread.").required(),
        Key::new(
            "burst",
            Kind::Count { min: 1, max: 1_000_000 },
            "So many may come at once. Without it: as many as come in a second, and at least one.",
        ),
        Key::new(
            "by",
            Kind::Any(&[
                Kind::Choice(&[
                    Choice::new("route", "all requests together"),
                    Choice::new("client", "those of each client, by its address"),
                ]),
                Kind::Text("\"header:NAME\", for those with each value of a header"),
            ]),
            "What is counted by itself.",
        )
        .default("\"route\"", "it protects what is behind; telling clients apart takes an address or a header that can be believed"),
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
