//! The cache as the console sees it: the engine's figures in the console's words, and purges the other way round.

use unlag_console::{CacheRoute, CacheServer, CacheShared, CacheStatus, PurgeCount, PurgeOrder, PurgeWhat};
use unlag_engine::Engine;
use unlag_engine::techniques::cache::figures::{Miss, Sums};
use unlag_engine::techniques::cache::named;
use unlag_engine::techniques::cache::purge::{Purge, What};
use unlag_engine::techniques::cache::storable::Refusal;
use unlag_tier::BreakerState;

/// What it holds and has done.
pub(super) fn status(engine: &Engine) -> CacheStatus {
    let store = &engine.shared().cache;
    let counted = store.sums().into_iter().filter(|(_, sums)| *sums != Sums::default());
    CacheStatus {
        bytes: store.bytes(),
        capacity_bytes: store.capacity(),
        urls: store.len() as u64,
        shared: store.shared().map(|(address, figures)| shared(address, figures)),
        routes: counted.map(|(route, sums)| figures(route, &sums)).collect(),
    }
}

fn shared(address: String, figures: unlag_tier::Figures) -> CacheShared {
    let events = vec![
        ("asks", figures.gets),
        ("hits", figures.hits),
        ("misses", figures.misses),
        ("odd", figures.odd),
        ("passed_by", figures.passed_by),
        ("late", figures.late),
        ("timeouts", figures.timeouts),
        ("given_up", figures.given_up),
        ("failures", figures.failures),
        ("writes", figures.puts_written),
        ("writes_dropped", figures.puts_dropped),
        ("writes_failed", figures.puts_failed),
        ("purges_sent", figures.announced),
        ("purges_replaced", figures.announcements_replaced),
        ("purges_heard", figures.purges_heard),
        ("losses", figures.losses),
    ];
    let servers = figures.nodes.into_iter().map(|node| CacheServer {
        server: node.server,
        breaker: match node.breaker {
            BreakerState::Closed => "closed",
            BreakerState::Open => "open",
            BreakerState::HalfOpen => "half-open",
        },
        connections: node.connections as u64,
        p95_us: node.p95.map(|p95| p95.as_micros() as u64),
        queue_bytes: node.queue_bytes as u64,
    });
    let (listening, refused) = (figures.listening, figures.refused);
    CacheShared { address, listening, refused, events, servers: servers.collect() }
}

fn figures(route: String, sums: &Sums) -> CacheRoute {
    CacheRoute {
        route,
        hits: sums.hits,
        stale_hits: sums.stale,
        collapsed: sums.collapsed,
        revalidated: sums.revalidated,
        stored: sums.stored,
        hit_bytes: sums.hit_bytes,
        saved_ns: sums.saved_ns,
        misses: Miss::ALL.iter().map(|miss| miss.word()).zip(sums.misses).collect(),
        not_stored: Refusal::ALL.iter().map(|refusal| refusal.word()).zip(sums.refused).collect(),
    }
}

/// Purges, or counts what would be purged, or says what is wrong with the name.
pub(super) fn purge(engine: &Engine, order: &PurgeOrder) -> Result<Option<PurgeCount>, String> {
    let (text, what) = match &order.what {
        PurgeWhat::Url(text) => (text.as_str(), named::url(text)),
        PurgeWhat::Tag(text) => (text.as_str(), named::tag(text)),
        PurgeWhat::Prefix(text) => (text.as_str(), named::prefix(text)),
        PurgeWhat::All => ("", Ok(What::All)),
    };
    let what = what.map_err(|error| format!("`{}` cannot be purged: {error}", shortened(text)))?;
    let purge = Purge { what, soft: order.soft };
    if order.dry_run {
        let (objects, bytes) = engine.shared().cache.count(&purge);
        return Ok(Some(PurgeCount { objects, bytes }));
    }
    engine.purge(&purge);
    Ok(None)
}

/// As much of a name as is needed to recognise it in an error.
fn shortened(text: &str) -> String {
    const SHOWN: usize = 80;
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}
