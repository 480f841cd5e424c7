//! Every configured bound on what a peer can make unlag hold or wait for: one line each with its range, default
//! and reason.

use std::time::Duration;

use crate::keys::{Key, Kind};
use crate::reader::Cursor;
use crate::value::DURATION_MAX;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const MS: Duration = Duration::from_millis(1);

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Declares [`Limits`], its defaults, the keys of `[limits]` and the way from one to the other, so that none
/// can be forgotten.
macro_rules! limits {
    ($($field:ident: $type:ty, $kind:ident $min:expr, $max:expr; $default:expr, $written:literal, $meaning:literal, $reason:literal;)*) => {
        /// Every bound on what a peer can make unlag hold or wait for.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct Limits {
            $(
                #[doc = $meaning]
                #[doc = concat!("\n\nDefault `", $written, "`: ", $reason, ".")]
                pub $field: $type,
            )*
        }

        impl Default for Limits {
            fn default() -> Self {
                Self { $($field: $default,)* }
            }
        }

        /// The keys of `[limits]`.
        pub(crate) const KEYS: &[Key] = &[
            $(Key::new(stringify!($field), Kind::$kind { min: $min, max: $max }, $meaning).default($written, $reason),)*
        ];

        /// Reads `[limits]`; what is left out or refused keeps its default.
        pub(crate) fn read(table: &mut Cursor<'_>) -> Limits {
            let default = Limits::default();
            Limits { $($field: <$type as Bound>::read(table, stringify!($field)).unwrap_or(default.$field),)* }
        }
    };
}

limits! {
    head: usize, Size KIB, MIB; 32 << 10, "\"32KiB\"",
        "The head of a request or response, bytes.",
        "four times what browsers and gateways send; larger heads are mistakes or attacks";
    fields: usize, Count 1, 1_000; 100, "100",
        "Header fields of a request or response.",
        "twice what is seen in practice; bounds the work per head";
    uri: usize, Size 64, MIB; 8 << 10, "\"8KiB\"",
        "The target of a request, bytes; not above `head`.",
        "RFC 9110 asks for 8000 at least";
    header_timeout: Duration, Duration MS, secs(3_600); secs(10), "\"10s\"",
        "From the first byte of a head to its end.",
        "a head is one packet or two; whoever takes longer holds a connection hostage";
    tls_handshake_timeout: Duration, Duration MS, secs(3_600); secs(10), "\"10s\"",
        "A TLS handshake, either side.",
        "three round trips on the worst of links, with one loss";
    idle_timeout: Duration, Duration MS, DURATION_MAX; secs(60), "\"60s\"",
        "A caller's connection without a request.",
        "what most load balancers in front keep, so that they close first";
    body_rate_min: u64, Size 0, 1 << 40; 256, "\"256B\"",
        "Slowest request body after `body_rate_grace`, bytes per second; 0 switches the bound off.",
        "slower than any modem, faster than an attacker can afford to be on many connections";
    body_rate_grace: Duration, Duration Duration::ZERO, secs(3_600); secs(10), "\"10s\"",
        "How long a request body may be slow.",
        "a phone that changes cells is quiet for a few seconds";
    write_timeout: Duration, Duration MS, DURATION_MAX; secs(60), "\"60s\"",
        "Time without progress while writing to a peer.",
        "TCP has retransmitted many times by then";
    response_head_timeout: Duration, Duration MS, DURATION_MAX; secs(30), "\"30s\"",
        "The head of a response, where a route says `auto` and nothing is learned yet.",
        "callers rarely wait longer, and long polls fit below it";
    connections: usize, Count 1, 10_000_000; 10_000, "10000",
        "Connections of callers in all; less when the process may not open enough files.",
        "an idle one costs 3.3 KiB as measured, so this is 33 MiB";
    connections_per_peer: usize, Count 0, 10_000_000; 0, "0",
        "Connections of one IP address; 0 switches the bound off.",
        "behind a load balancer all callers share one address";
    pool_idle_per_endpoint: usize, Count 0, 1_000_000; 256, "256",
        "Idle connections to one endpoint, over all cores.",
        "bursts reuse them, and small services are not kept busy holding them";
    warm_connections: usize, Count 0, 1_000; 1, "1",
        "Connections that every core keeps ready, per endpoint at work, for the next request.",
        "one per core is enough to open the next ahead of need; 0 opens none before a request waits for it";
    upstream_idle_timeout: Duration, Duration MS, DURATION_MAX; secs(4), "\"4s\"",
        "An idle connection to an upstream, until its own limit is learned.",
        "below the 5 s after which the most impatient servers close, so that requests do not race with that";
    h2_streams: u32, Count 1, 1_000_000; 100, "100",
        "Concurrent streams of one HTTP/2 connection.",
        "the least that RFC 9113 recommends";
    h2_stream_window: u32, Size 1 << 14, (1 << 31) - 1; 64 << 10, "\"64KiB\"",
        "Flow control window of one HTTP/2 stream, bytes.",
        "what one slow reader makes unlag hold";
    h2_connection_window: u32, Size 65_535, (1 << 31) - 1; 1 << 20, "\"1MiB\"",
        "Flow control window of one HTTP/2 connection, bytes.",
        "sixteen streams at full speed";
    h2_glitches: u32, Count 1, 1_000_000_000; 1_000, "1000",
        "Control frames and resets of one HTTP/2 connection within 10 s.",
        "far above sane peers and far below the floods of rapid reset";
    interim_responses: usize, Count 0, 1_000; 16, "16",
        "1xx responses before the final one.",
        "a few hints are normal, an endless row is not";
    lame_duck: Duration, Duration Duration::ZERO, secs(3_600); Duration::ZERO, "\"0s\"",
        "How long everything is served as before after a stop signal, while `/readyz` says no.",
        "what takes callers away before it sends the signal needs none; give one that looks at `/readyz` two of its intervals";
    drain_timeout: Duration, Duration Duration::ZERO, secs(86_400); secs(30), "\"30s\"",
        "How long requests may finish after a stop signal.",
        "what orchestrators wait before they kill";
    label_series: usize, Count 1, 1_000_000; 2_000, "2000",
        "Series of metrics by route and by endpoint; what is beyond is counted as `other`.",
        "a scrape stays below a megabyte";
    tunnel_idle_timeout: Duration, Duration MS, DURATION_MAX; secs(86_400), "\"1d\"",
        "An upgraded connection without a byte, either way.",
        "WebSockets rest for hours, and a day without a ping is a dead peer";
    routes: usize, Count 1, 100_000; 10_000, "10000",
        "Routes of this file.",
        "a file beyond it was generated by mistake";
}

/// A type that a limit can have.
trait Bound: Sized {
    fn read(table: &mut Cursor<'_>, name: &'static str) -> Option<Self>;
}

impl Bound for Duration {
    fn read(table: &mut Cursor<'_>, name: &'static str) -> Option<Self> {
        table.take(name)?.duration()
    }
}

impl Bound for u64 {
    fn read(table: &mut Cursor<'_>, name: &'static str) -> Option<Self> {
        table.take(name)?.number()
    }
}

impl Bound for u32 {
    fn read(table: &mut Cursor<'_>, name: &'static str) -> Option<Self> {
        u64::read(table, name)?.try_into().ok()
    }
}

impl Bound for usize {
    fn read(table: &mut Cursor<'_>, name: &'static str) -> Option<Self> {
        u64::read(table, name)?.try_into().ok()
    }
}
