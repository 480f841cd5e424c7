//! The tables of the file as a whole, in the order in which the reference shows them. Those of upstreams and routes stand in
//! files of their own, `[limits]` beside its struct.

use std::time::Duration;

use super::{Choice, Key, Kind, Table};
use super::{ROUTE, UPSTREAM};
use crate::limits;
use crate::value::{DURATION_MAX, SIZE_MAX};

pub(super) const MS: Duration = Duration::from_millis(1);
pub(super) const DURATION: Kind = Kind::Duration { min: MS, max: DURATION_MAX };
pub(super) const OFF: Kind = Kind::Choice(&[Choice::new("off", "not at all")]);
pub(super) const PLACE: Kind = Kind::Text("a name of letters, digits, `-`, `_` and dots, at most 64");
const ADDRESS: Kind =
    Kind::Text(r#"an IP address and a port, "127.0.0.1:8080", or a socket, "unix:/run/unlag.sock""#);

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
        Key::new("region", Kind::Table(&REGION), "Where this node is."),
        Key::new("upstream", Kind::Named(&UPSTREAM), "The services behind."),
        Key::new("cache", Kind::Table(&CACHE), "What routes share of caching."),
        Key::new("monitor", Kind::Table(&MONITOR), "Logs and measures."),
        Key::new("route", Kind::Tables(&ROUTE), "What is done with which request."),
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
        Key::new(
            "report_load",
            Kind::Boolean,
            "Whether answers carry `x-lb-rif`: how many requests are in flight from here to the service that answered, or here in all where \
             none stands behind. Balancers in front choose by it; unlag does, and passes no such field on.",
        )
        .default("false", "it tells callers about the inside, and only a balancer in front makes use of it"),
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

/// `[region]`
pub(crate) static REGION: Table = Table {
    header: "[region]",
    meaning: "Where this node is. Distances between regions are measured; until they are, endpoints of the same region count as the \
              nearest. Another zone of the same region costs 0.2 ms more than the own one, for good.",
    keys: &[
        Key::new("name", PLACE, "The region.").required(),
        Key::new("zone", PLACE, "The zone within the region."),
        Key::new(
            "secret",
            Kind::Secret,
            "What the markers of `read_your_writes` are signed with, at least 16 characters, the same on all nodes that share \
             callers. When it is not set, each process has a key of its own: another node does not know who has written.",
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
                Kind::Share { zero: false, max_percent: 100 },
            ]),
            "Which requests get a line.",
        )
        .default("\"all\"", "a log with holes surprises"),
        Key::not_yet("history", "Measures kept on disk."),
        Key::not_yet("otlp", "Where metrics and traces are sent."),
        Key::not_yet("webhook", "Where alarms are sent."),
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
