//! Content that was encoded once and is kept, for all cores. What is asked for and not there is made by a thread of its own,
//! quickly at first; what is asked for again and again is made anew with all effort, by another one that has what is left of a core.
//!
//! ```text
//! ask ─▶ kept? ── yes ─▶ count ── fifth time ─▶ queue (heavy) ─▶ thread ─┐
//!          └─ no ─▶ queue (quick) ─▶ thread ─────────────────────────────┴─▶ kept
//! ```

use super::encoder::{self, Effort};
use super::jobs::{Job, Jobs};
use bytes::Bytes;
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use unlag_config::Encoding;

/// Smaller content does not become smaller by enough to pay for the fields that say so.
pub const CONTENT_BYTES_MIN: u64 = 256;
/// Larger content is not made into something to keep: it would push out everything else.
pub const CONTENT_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// Larger content is not made anew with all effort: Brotli 11 takes a second and more for each MiB.
const HEAVY_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// What was served so often is worth all effort.
const HEAVY_AFTER: u32 = 5;
/// What is kept in all, with what it was made of: the text of a large site several times over.
const KEPT_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// At least how many that is. The table has a shard for each 32 of them, which may hold 16 MiB: enough for anything that is made.
const KEPT_EXPECTED: usize = 128;
/// What an entry takes beside its bytes.
const OVERHEAD_BYTES: u64 = 256;

/// What was encoded how.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    content: Id,
    encoding: Encoding,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Id {
    /// By what it is.
    Hash([u8; 16]),
    /// By where it lies: an entry holds on to what it was made of, so nothing else can come to lie there.
    Place(usize, usize),
}

impl Key {
    /// Content with this hash.
    pub fn of_hash(hash: [u8; 16], encoding: Encoding) -> Key {
        Key { content: Id::Hash(hash), encoding }
    }

    /// Exactly these bytes, where they lie. Only for what is kept by whoever asks: else it is made and never asked for again.
    pub fn of_place(content: &Bytes, encoding: Encoding) -> Key {
        Key { content: Id::Place(content.as_ptr() as usize, content.len()), encoding }
    }
}

/// Content in an encoding.
#[derive(Clone, Debug)]
pub struct Variant {
    /// The encoded content.
    pub content: Bytes,
    /// How much work was put into it: more of it gives other bytes.
    pub effort: Effort,
}

/// What there is for a key.
#[derive(Clone, Debug)]
pub enum Asked {
    /// This.
    Made(Variant),
    /// Nothing so far.
    Coming,
    /// Nothing that would be worth sending.
    Futile,
}

/// Brings the content to encode, on the thread that encodes.
pub type Bring = Box<dyn FnOnce() -> Option<Bytes> + Send>;

/// What is kept for a key.
struct Kept {
    /// None if it does not pay.
    variant: Option<Variant>,
    asked: AtomicU32,
    /// What it was made of, where that is what identifies it.
    made_of: Option<Bytes>,
}

impl Kept {
    fn bytes(&self) -> u64 {
        let variant = self.variant.as_ref().map_or(0, |variant| variant.content.len());
        OVERHEAD_BYTES + (variant + self.made_of.as_ref().map_or(0, Bytes::len)) as u64
    }
}

#[derive(Clone)]
struct ByBytes;

impl Weighter<Key, Arc<Kept>> for ByBytes {
    fn weight(&self, _: &Key, kept: &Arc<Kept>) -> u64 {
        kept.bytes()
    }
}

/// What the threads and those who ask share.
struct Store {
    cache: Cache<Key, Arc<Kept>, ByBytes>,
    jobs: Jobs,
}

/// The store.
pub struct Variants {
    store: Arc<Store>,
    /// Whether the threads run. Started when something is to be made for the first time.
    is_running: OnceLock<bool>,
}

impl Default for Variants {
    fn default() -> Variants {
        let cache = Cache::with_weighter(KEPT_EXPECTED, KEPT_BYTES_MAX, ByBytes);
        Variants { store: Arc::new(Store { cache, jobs: Jobs::default() }), is_running: OnceLock::new() }
    }
}

impl Drop for Variants {
    fn drop(&mut self) {
        self.store.jobs.close();
    }
}

impl Variants {
    /// The content of `key`, if it is there; else, and where it is asked for often, it is made of what `bring` brings.
    pub fn ask(&self, key: Key, length: u64, bring: impl FnOnce() -> Bring) -> Asked {
        let Some(kept) = self.store.cache.get(&key) else {
            if !(CONTENT_BYTES_MIN..=CONTENT_BYTES_MAX).contains(&length) {
                return Asked::Futile;
            }
            self.make(key, Effort::Quick, bring);
            return Asked::Coming;
        };
        let Some(variant) = &kept.variant else { return Asked::Futile };
        let is_often = kept.asked.fetch_add(1, Relaxed) + 1 >= HEAVY_AFTER;
        if is_often && variant.effort == Effort::Quick && length <= HEAVY_BYTES_MAX {
            self.make(key, Effort::Heavy, bring);
        }
        Asked::Made(variant.clone())
    }

    fn make(&self, key: Key, effort: Effort, bring: impl FnOnce() -> Bring) {
        if *self.is_running.get_or_init(|| start(&self.store)) {
            self.store.jobs.add(key, effort, bring);
        }
    }
}

impl Store {
    fn work(&self, effort: Effort) {
        while let Some(Job { key, effort, bring }) = self.jobs.next(effort) {
            // An encoder that stumbles over some content costs that content its encoding.
            let made = std::panic::catch_unwind(AssertUnwindSafe(|| made(key, effort, bring)));
            match made {
                Ok(Some(kept)) => self.keep(key, effort, kept),
                Ok(None) => {}
                Err(_) => tracing::error!(encoding = key.encoding.name(), "an encoder panicked"),
            }
            self.jobs.done(key, effort);
        }
    }

    /// Keeps the smaller one: more effort is not always less. Either way it was made, and is not made again with less of it.
    fn keep(&self, key: Key, effort: Effort, mut kept: Kept) {
        let before = self.cache.peek(&key);
        if effort == Effort::Quick && before.is_some() {
            return;
        }
        let before = before.and_then(|before| before.variant.clone());
        let length = |variant: &Variant| variant.content.len();
        if let Some(before) = before
            && kept.variant.as_ref().is_none_or(|variant| length(variant) > length(&before))
        {
            kept.variant = Some(Variant { effort, ..before });
        }
        self.cache.insert(key, Arc::new(kept));
    }
}

/// Behind everything that a caller waits for: on a busy machine a tenth of what a core gets, which ends some day. All effort gets
/// a tenth of that, where anything else is to be done.
fn start(store: &Arc<Store>) -> bool {
    let threads = [("unlag-encode", Effort::Quick, 10), ("unlag-squeeze", Effort::Heavy, 19)];
    let mut started = threads.iter().map(|&(name, effort, nice)| {
        let store = Arc::clone(store);
        let work = move || {
            let _ = rustix::process::setpriority_process(None, nice);
            store.work(effort);
        };
        std::thread::Builder::new().name(name.into()).spawn(work)
    });
    let failed = started.find_map(Result::err);
    failed.inspect(|error| tracing::error!(%error, "cannot start a thread that encodes")).is_none()
}

fn made(key: Key, effort: Effort, bring: Bring) -> Option<Kept> {
    let content = bring()?;
    let encoded = encoder::whole(key.encoding, effort, &content).ok()?;
    // Less than a twentieth is not worth the decoding.
    let pays = encoded.len() < content.len() - content.len() / 20;
    let variant = pays.then(|| Variant { content: encoded, effort });
    let made_of = matches!(key.content, Id::Place(..)).then_some(content);
    Some(Kept { variant, asked: AtomicU32::new(0), made_of })
}

#[cfg(test)]
mod tests {
    use super::super::encoder::tests::decoded;
    use super::*;
    use crate::clock;
    use std::sync::mpsc::channel;
    use std::time::Duration;

    fn variant(asked: Asked) -> Option<Variant> {
        if let Asked::Made(variant) = asked { Some(variant) } else { None }
    }

    fn until<T>(mut ask: impl FnMut() -> Option<T>) -> T {
        let deadline = clock::now() + 30_000_000_000;
        loop {
            if let Some(found) = ask() {
                return found;
            }
            assert!(clock::now() < deadline, "not within 30 s");
            std::thread::yield_now();
        }
    }

    #[test]
    fn what_is_asked_for_is_made_beside_and_made_better_once_it_was_asked_for_often() {
        let variants = Variants::default();
        let content = Bytes::from("the same again ".repeat(1000).into_bytes());
        let key = Key::of_place(&content, Encoding::Brotli);
        let length = content.len() as u64;
        let ask = || {
            variant(variants.ask(key, length, || {
                let own = content.clone();
                Box::new(move || Some(own))
            }))
        };
        assert!(ask().is_none(), "nobody waits for it");
        let quick = until(ask);
        assert_eq!(decoded(Encoding::Brotli, &quick.content), content);
        let heavy = until(|| ask().filter(|variant| variant.effort == Effort::Heavy));
        assert_eq!(decoded(Encoding::Brotli, &heavy.content), content);
        assert!(heavy.content.len() < quick.content.len());
        let late = Kept { variant: Some(quick), asked: AtomicU32::new(0), made_of: None };
        variants.store.keep(key, Effort::Quick, late);
        assert_eq!(ask().unwrap().effort, Effort::Heavy);
    }

    #[test]
    fn what_does_not_become_smaller_is_tried_once() {
        let variants = Variants::default();
        let mut state = 1u64;
        let noise = std::iter::repeat_with(|| {
            state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
            (state >> 56) as u8
        });
        let content = Bytes::from(noise.take(5000).collect::<Vec<u8>>());
        let key = Key::of_hash([0; 16], Encoding::Gzip);
        let tries = Arc::new(AtomicU32::new(0));
        let ask = || {
            let (own, tries) = (content.clone(), Arc::clone(&tries));
            variants.ask(key, 5000, || {
                Box::new(move || {
                    tries.fetch_add(1, Relaxed);
                    Some(own)
                })
            })
        };
        assert!(matches!(ask(), Asked::Coming));
        until(|| (variants.store.cache.len() == 1).then_some(()));
        assert!((0..100).all(|_| matches!(ask(), Asked::Futile)));
        assert_eq!(tries.load(Relaxed), 1);
    }

    #[test]
    fn what_is_new_does_not_wait_for_what_is_only_made_smaller() {
        let variants = Variants::default();
        let (hold, held) = channel::<()>();
        let (note, order) = channel();
        let key = |n| Key::of_hash([n; 16], Encoding::Gzip);
        let bring = |n: u8| {
            let note = note.clone();
            move || Box::new(move || note.send(n).ok().and(None)) as Bring
        };
        let wait = || order.recv_timeout(Duration::from_secs(30)).unwrap();
        // It is being made, for as long as it takes.
        let long = note.clone();
        variants.make(key(0), Effort::Heavy, || {
            Box::new(move || long.send(0).ok().and(held.recv().ok()).and(None))
        });
        assert_eq!(wait(), 0);
        (1..=100).for_each(|n| variants.make(key(n), Effort::Heavy, bring(n)));
        assert!(matches!(variants.ask(key(200), 300, bring(200)), Asked::Coming));
        assert_eq!(wait(), 200);
        drop(hold);
        assert_eq!([wait(), wait()], [1, 2]);
    }

    #[test]
    fn what_is_too_small_or_too_large_is_not_made() {
        let variants = Variants::default();
        for length in [0, 255, CONTENT_BYTES_MAX + 1] {
            let key = Key::of_hash([9; 16], Encoding::Gzip);
            assert!(matches!(variants.ask(key, length, || panic!("nothing is made")), Asked::Futile));
        }
    }
}
