//! The cache as the console sees it: the engine's figures in the console's words, and purges the other way round.

use unlag_console::{CacheRoute, CacheStatus, PurgeCount, PurgeOrder, PurgeWhat};
use unlag_engine::Engine;
use unlag_engine::techniques::cache::figures::{Miss, Sums};
use unlag_engine::techniques::cache::named;
use unlag_engine::techniques::cache::purge::{Purge, What};
use unlag_engine::techniques::cache::storable::Refusal;

/// What it holds and has done.
pub(super) fn status(engine: &Engine) -> CacheStatus {
    let store = &engine.shared().cache;
    let counted = store.sums().into_iter().filter(|(_, sums)| *sums != Sums::default());
    CacheStatus {
        bytes: store.bytes(),
        capacity_bytes: store.capacity(),
        urls: store.len() as u64,
        routes: counted.map(|(route, sums)| figures(route, &sums)).collect(),
    }
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
    tracing::info!(target: "unlag::audit", what = ?order.what, soft = order.soft, "cache purge");
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
