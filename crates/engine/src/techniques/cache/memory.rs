//! The memory tier: responses by URL, bounded in bytes, shared by all cores. Which to give up is the engine's decision; the first
//! engine is `quick_cache` (S3-FIFO), a lookup locks one of its shards.

use super::object::Stored;
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use std::sync::Arc;

/// What an object is taken to weigh when places are counted; they grow as needed.
const TYPICAL_BYTES: u64 = 16 * 1024;

/// All that is stored for a URL, the newest first.
#[derive(Debug, Default)]
pub struct Variants(pub Vec<Arc<Stored>>);

impl Variants {
    /// Those of a route.
    pub fn of(&self, route: u32) -> impl Iterator<Item = &Arc<Stored>> {
        self.0.iter().filter(move |stored| stored.route == route)
    }
}

/// An engine that decides what is kept.
pub trait Memory: Send + Sync {
    /// What is stored for a URL; it counts as used.
    fn get(&self, url: &[u8]) -> Option<Arc<Variants>>;
    /// The same, without counting.
    fn peek(&self, url: &[u8]) -> Option<Arc<Variants>>;
    /// Stores in place of what was there.
    fn put(&self, url: &[u8], variants: Arc<Variants>);
    /// Forgets.
    fn remove(&self, url: &[u8]);
    /// Another bound, in bytes.
    fn resize(&self, bytes: u64);
    /// Bytes in use.
    fn bytes(&self) -> u64;
    /// URLs for which something is stored.
    fn urls(&self) -> usize;
    /// Shows everything that is stored, for counting. Not for the request path.
    fn visit(&self, see: &mut dyn FnMut(&[u8], &Variants));
}

#[derive(Clone)]
struct Bytes;

impl Weighter<Box<[u8]>, Arc<Variants>> for Bytes {
    fn weight(&self, key: &Box<[u8]>, variants: &Arc<Variants>) -> u64 {
        key.len() as u64 + variants.0.iter().map(|stored| stored.bytes()).sum::<u64>().max(1)
    }
}

/// S3-FIFO, by `quick_cache`.
pub struct QuickCache(Cache<Box<[u8]>, Arc<Variants>, Bytes>);

impl QuickCache {
    /// Room for so many bytes.
    pub fn new(bytes: u64) -> QuickCache {
        let items = usize::try_from(bytes / TYPICAL_BYTES).unwrap_or(usize::MAX).max(64);
        QuickCache(Cache::with_weighter(items, bytes, Bytes))
    }
}

impl Memory for QuickCache {
    fn get(&self, url: &[u8]) -> Option<Arc<Variants>> {
        self.0.get(url)
    }

    fn peek(&self, url: &[u8]) -> Option<Arc<Variants>> {
        self.0.peek(url)
    }

    fn put(&self, url: &[u8], variants: Arc<Variants>) {
        self.0.insert(url.into(), variants);
    }

    fn remove(&self, url: &[u8]) {
        self.0.remove(url);
    }

    fn resize(&self, bytes: u64) {
        self.0.set_capacity(bytes);
    }

    fn bytes(&self) -> u64 {
        self.0.weight()
    }

    fn urls(&self) -> usize {
        self.0.len()
    }

    fn visit(&self, see: &mut dyn FnMut(&[u8], &Variants)) {
        self.0.iter().for_each(|(url, variants)| see(&url, &variants));
    }
}
