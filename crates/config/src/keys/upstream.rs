//! The tables of `[upstream.NAME]` (tidy: table).

use std::time::Duration;

use super::tables::{MS, OFF, PLACE};
use super::{Choice, Key, Kind, Table};

const ENDPOINTS: Kind = Kind::List(&Kind::Any(&[
    Kind::Text(r#"a URL: "http://10.0.0.11:8000", "https://…" or "unix:/path""#),
    Kind::Table(&ENDPOINT),
]));

const RESOLVER: Kind = Kind::Text(r#"an address of a name server: "127.0.0.1:8600" or "10.0.0.2""#);

/// `[upstream.NAME]`
pub(crate) static UPSTREAM: Table = Table {
    header: "[upstream.NAME]",
    meaning: "A service with one or more endpoints that answer alike. It needs one of `endpoints`, \
              `regions` and `discover`.",
    keys: &[
        Key::new(
            "endpoints",
            ENDPOINTS,
            "Where it is.",
        ),
        Key::new(
            "regions",
            Kind::ByName(&ENDPOINTS),
            "Where it is, by region: `regions.eu-west = [\"http://10.0.1.11:8000\"]`. In place of `endpoints`; the same as a `region` \
             with each.",
        ),
        Key::new(
            "discover",
            Kind::Text(
                r#""dns://HOST:PORT", "dns+https://HOST:PORT", "srv://_SERVICE._tcp.NAME", "srv+https://_SERVICE._tcp.NAME" or "file://PATH""#,
            ),
            "Where its endpoints are listed. Every address of a name is one (A and AAAA), or every name of a service is (SRV, with \
             ports, weights and priorities); they are looked up again when their time to live ends, and kept when that fails. A file \
             with one endpoint a line is watched: `#` starts a comment; `weight=2`, `region=eu-west` and \
             `zone=b` may follow a URL.",
        ),
        Key::new(
            "resolver",
            Kind::Any(&[RESOLVER, Kind::List(&RESOLVER)]),
            "The name server that its names are looked up at, or up to three, the next of which is asked when one does not answer; port \
             53 when none is given. Names are then looked up as they stand: no search list, no hosts file. Without it: as the system is \
             configured.",
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
                Choice::new(
                    "adaptive",
                    "the endpoint that will probably answer first, by its requests in flight, speed, distance and errors",
                ),
                Choice::new(
                    "least-request",
                    "the endpoint with the fewest requests in flight for its weight",
                ),
                Choice::new("hash", "the same one for the same request, as `hash` says"),
                Choice::new("round-robin", "one after the other, as often as their weights say"),
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
        Key::new(
            "limit",
            Kind::Any(&[
                Kind::Choice(&[
                    Choice::new("observe", "what `adaptive` would do is learned and shown, and nothing is refused"),
                    Choice::new("adaptive", "learned from how latency grows with the requests in flight"),
                    Choice::new("off", "none"),
                ]),
                Kind::Count { min: 1, max: 100_000 },
            ]),
            "Bound on requests in flight to one endpoint.",
        )
        .default("\"observe\"", "a limit that refuses what an endpoint could have done is worse than none; figures come first"),
        Key::new(
            "queue",
            Kind::Any(&[Kind::Choice(&[Choice::new("off", "refused at once")]), Kind::Table(&QUEUE)]),
            "Where requests wait while every endpoint is at its `limit`; only beside a limit that is enforced. Without it: as the \
             defaults of its table say.",
        ),
        Key::new(
            "slow_start",
            Kind::Any(&[OFF, Kind::Duration { min: MS, max: Duration::from_secs(3_600) }]),
            "How long an endpoint that joins or comes back is given less than its share, from little to all of it; over early once it \
             has given 100 answers.",
        )
        .default("\"10s\"", "caches and compilers have warmed up by then"),
        Key::new(
            "primary",
            PLACE,
            "The region that requests go to which change something, by their method or as `primary` of a route says; the others go to \
             the nearest. An endpoint elsewhere that asks for the primary, by `x-replay: role=primary` or the same in `fly-replay`, is \
             answered by sending the request there.",
        ),
        Key::new(
            "spill",
            Kind::Any(&[Kind::Choice(&[Choice::new("off", "never")]), Kind::Table(&SPILL)]),
            "When requests leave the nearest healthy region because it is busy: one by one, as soon as the way to the next is shorter than \
             the queue here. Without it: as the defaults of its table say.",
        ),
        Key::new(
            "read_your_writes",
            Kind::Any(&[OFF, Kind::Duration { min: MS, max: Duration::from_secs(3_600) }]),
            "How long, after a write, the reads of the same caller go to the primary: by a signed marker that the answer to the write \
             hands out, in the header `x-ryw` and the cookie `x-ryw-NAME`, and reads bring back in either. A caller that keeps no \
             cookies sends the header `x-ryw` itself. It needs `primary`.",
        )
        .default("\"off\"", "how far replicas lag behind, and whether it matters, only the service knows"),
        Key::new("tls", Kind::Table(&UPSTREAM_TLS), "TLS towards it, used by endpoints with `https`."),
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
        Key::new(
            "region",
            PLACE,
            "The region that it runs in. Beside `regions`, which says it, there is none.",
        ),
        Key::new("zone", PLACE, "The zone that it runs in, within its region."),
    ],
};

/// `queue` of an upstream
pub(crate) static QUEUE: Table = Table {
    header: "upstream.NAME.queue",
    meaning: "How long and how many requests wait for an endpoint below its limit. The more critical go first; once waiting lasts, the \
              newest go before the oldest, and who has waited too long is refused early, with 503 and `Retry-After`.",
    keys: &[
        Key::new("wait_max", Kind::Duration { min: MS, max: Duration::from_secs(60) }, "Longest wait; a deadline may be shorter.")
            .default("\"1s\"", "who waits longer has often left, and an answer to nobody is work for nothing"),
        Key::new("length_max", Kind::Count { min: 1, max: 100_000 }, "Most requests that wait: for any endpoint, and for those of a region that they have to go to.")
            .default("1024", "at a thousand answers a second they are served within the longest wait; each holds the memory of a request"),
    ],
};

/// `spill` of an upstream
pub(crate) static SPILL: Table = Table {
    header: "upstream.NAME.spill",
    meaning: "How many requests may leave the nearest healthy region while it is busy, and what that costs. Regions that are lost are \
              no spill: all requests leave them.",
    keys: &[
        Key::new(
            "max",
            Kind::Share { zero: true, max_percent: 100 },
            "Bound on the share of requests that leave it.",
        )
        .default("\"50%\"", "more would carry the queue elsewhere instead of sharing it"),
        Key::new(
            "cost",
            Kind::ByName(&Kind::Duration { min: Duration::ZERO, max: Duration::from_secs(10) }),
            "Added to the measured distance of a region when endpoints are compared, for money that has no other way to be heard: \
             `{ us-east = \"5ms\" }`. Regions only, no zones. Without it: nothing, only time counts.",
        ),
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
    meaning: "How the certificate of the service is checked, which it always is, and what is shown to it.",
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
        Key::new(
            "certificate",
            Kind::Path,
            "The certificate chain that it is shown when it asks for one, PEM, leaf first; with `key`. Two nodes that each ask for one \
             carry requests from region to region.",
        ),
        Key::new("key", Kind::Path, "The private key of `certificate`, PEM."),
    ],
};
