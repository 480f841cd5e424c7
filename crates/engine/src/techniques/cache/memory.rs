//! The memory tier: responses by URL, bounded in bytes, shared by all cores. Which to give up is the engine's decision; the first
//! engine is `quick_cache` (S3-FIFO), a lookup locks one of its shards.

use super::object::Stored;
use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{DefaultHashBuilder, OptionsBuilder, Weighter};
use std::sync::Arc;

/// What an object is taken to weigh when places are counted; they grow as needed.
const TYPICAL_BYTES: u64 = 16 * 1024;
/// A shard keeps nothing that is larger than itself, and one object should not push out all the others in it.
const SHARD_BYTES_MIN: u64 = 4 * super::arrival::OBJECT_BYTES_MAX;
/// More of them would part nothing: a lookup only reads.
const SHARDS_MAX: u64 = 32;
/// The engine's own part of an entry: its place of 48 bytes, in a list that doubles and so is three quarters full on average, and
/// that in the table.
const ENTRY_BYTES: u64 = 76;

/// All that is stored for a URL, the newest first. One is the rule, and takes nothing beside itself.
#[derive(Clone, Debug)]
pub enum Variants {
    /// One.
    One(Arc<Stored>),
    /// Several.
    More(Arc<[Arc<Stored>]>),
}

impl Variants {
    /// These, if there are any.
    pub fn new(mut all: Vec<Arc<Stored>>) -> Option<Variants> {
        match all.len() {
            0 | 1 => all.pop().map(Variants::One),
            _ => Some(Variants::More(all.into())),
        }
    }

    /// All of them.
    pub fn all(&self) -> &[Arc<Stored>] {
        match self {
            Variants::One(stored) => std::slice::from_ref(stored),
            Variants::More(all) => all,
        }
    }

    /// Those of a route.
    pub fn of(&self, route: u32) -> impl Iterator<Item = &Arc<Stored>> {
        self.all().iter().filter(move |stored| stored.route == route)
    }

    /// What they take, under their URL.
    fn bytes(&self, url: &[u8]) -> u64 {
        let own = match self {
            Variants::One(_) => 0,
            Variants::More(all) => allocated(16 + size_of_val(&**all)),
        };
        ENTRY_BYTES + allocated(url.len()) + own + self.all().iter().map(|stored| stored.bytes()).sum::<u64>()
    }
}

/// What mimalloc takes for so many bytes: a block of the next larger of its sizes, of which there are four for each power of two,
/// and its share of what is left over in the page that is cut into such blocks.
pub fn allocated(bytes: usize) -> u64 {
    const WORD: u64 = 8;
    const SYSTEM_PAGE: u64 = 4 * 1_024;
    const SLICE: u64 = 64 * 1_024;
    let bytes = bytes as u64;
    let block = match bytes.div_ceil(WORD) {
        0 => return 0,
        1 => WORD,
        2..=8 => bytes.next_multiple_of(2 * WORD),
        words => words.next_multiple_of(1 << ((words - 1).ilog2() - 2)) * WORD,
    };
    let page = match block {
        0..=10_240 => SLICE,
        10_241..=86_698 => 8 * SLICE,
        86_699..=524_288 => 64 * SLICE,
        // A page of its own.
        _ => return (bytes + SYSTEM_PAGE).next_multiple_of(SLICE),
    };
    let head = if block.is_multiple_of(SYSTEM_PAGE) { SYSTEM_PAGE } else { 256 };
    page / ((page - head) / block)
}

/// An engine that decides what is kept.
pub trait Memory: Send + Sync {
    /// What is stored for a URL; it counts as used.
    fn get(&self, url: &[u8]) -> Option<Variants>;
    /// The same, without counting.
    fn peek(&self, url: &[u8]) -> Option<Variants>;
    /// Stores in place of what was there.
    fn put(&self, url: &[u8], variants: Variants);
    /// Forgets.
    fn remove(&self, url: &[u8]);
    /// What stands under one URL must not take more: an engine keeps nothing that pushes out too much else.
    fn entry_bytes_max(&self) -> u64;
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

impl Weighter<Box<[u8]>, Variants> for Bytes {
    fn weight(&self, url: &Box<[u8]>, variants: &Variants) -> u64 {
        variants.bytes(url)
    }
}

/// S3-FIFO, by `quick_cache`.
pub struct QuickCache {
    cache: Cache<Box<[u8]>, Variants, Bytes>,
    shards: u64,
}

impl QuickCache {
    /// Room for so many bytes.
    pub fn new(bytes: u64) -> QuickCache {
        let items = usize::try_from(bytes / TYPICAL_BYTES).unwrap_or(usize::MAX).max(64);
        let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
        let (mut options, shards) = (OptionsBuilder::new(), shards(bytes, cores));
        options.estimated_items_capacity(items).weight_capacity(bytes).shards(shards);
        let cache = match options.build() {
            Ok(options) => Cache::with_options(
                options,
                Bytes,
                DefaultHashBuilder::default(),
                DefaultLifecycle::default(),
            ),
            Err(_) => Cache::with_weighter(items, bytes, Bytes),
        };
        QuickCache { cache, shards: shards as u64 }
    }
}

/// Into how many parts so many bytes are divided, as a power of two.
fn shards(bytes: u64, cores: usize) -> usize {
    let most = (cores as u64 * 4).min(SHARDS_MAX).min(bytes / SHARD_BYTES_MIN).max(1);
    1 << most.ilog2()
}

impl Memory for QuickCache {
    fn get(&self, url: &[u8]) -> Option<Variants> {
        self.cache.get(url)
    }

    fn peek(&self, url: &[u8]) -> Option<Variants> {
        self.cache.peek(url)
    }

    fn put(&self, url: &[u8], variants: Variants) {
        self.cache.insert(url.into(), variants);
    }

    fn remove(&self, url: &[u8]) {
        self.cache.remove(url);
    }

    fn entry_bytes_max(&self) -> u64 {
        self.cache.capacity() / self.shards / 16 * 15
    }

    fn resize(&self, bytes: u64) {
        self.cache.set_capacity(bytes);
    }

    fn bytes(&self) -> u64 {
        self.cache.weight()
    }

    fn urls(&self) -> usize {
        self.cache.len()
    }

    fn visit(&self, see: &mut dyn FnMut(&[u8], &Variants)) {
        self.cache.iter().for_each(|(url, variants)| see(&url, &variants));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_has_room_for_the_largest_object_however_many_cores_there_are() {
        for (mib, cores, expected) in
            [(256, 2, 8), (256, 64, 32), (16, 2, 4), (16, 64, 4), (64, 64, 16), (1, 64, 1), (0, 1, 1)]
        {
            assert_eq!(shards(mib << 20, cores), expected, "{mib} MiB, {cores} cores");
        }
    }

    #[test]
    fn sizes_are_those_of_the_classes_of_the_allocator() {
        for (asked, taken) in [
            (0, 0),
            (1, 8),
            (9, 16),
            (64, 64),
            (65, 80),
            (100, 112),
            (129, 160),
            (257, 321),
            (1_024, 1_040),
            // Six of them to 64 KiB.
            (10_240, 10_922),
            (10_241, 12_483),
            (65_536, 74_898),
            (1_048_576, 1_114_112),
        ] {
            assert_eq!(allocated(asked), taken, "{asked}");
        }
    }
}
