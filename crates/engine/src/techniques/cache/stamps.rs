//! The memory of purges: what was stored before now does not count any more, by URL, by tag, by prefix, or all of it; at once or
//! by becoming stale (soft). A purge writes one stamp, whatever the number of objects: an object is compared with the stamps when
//! it is next looked at, and only if there was a purge since it was compared last.

use super::expected::{Expected, Log};
use super::object::Stored;
use super::purge::{Purge, What, begins, without_scheme};
use super::url;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::{PoisonError, RwLock};

/// Tags (URLs among them) whose last purge is remembered. When there are more, the older half is forgotten, and with it all that
/// was stored before the newest of that half.
const TAGS_MAX: usize = 65_536;
/// The same for prefixes, each of which is compared with every URL.
const PREFIXES_MAX: usize = 256;

/// What a purge has made of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Doom {
    /// Nothing.
    None,
    /// It is stale.
    Stale,
    /// It may be any of these: the origin is asked before it is served.
    Unsure,
    /// It is not there.
    Gone,
}

/// When something was last purged: on this node's clock, and by the number that the shared tier gave the purge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Moment {
    ns: u64,
    seq: u64,
}

impl Moment {
    fn later(self, other: Moment) -> Moment {
        Moment { ns: self.ns.max(other.ns), seq: self.seq.max(other.seq) }
    }

    fn is_after(self, origin: Origin) -> bool {
        match origin {
            Origin::Here { asked_ns } => self.ns > 0 && self.ns >= asked_ns,
            Origin::Shared(number) => self.seq > number.seq,
        }
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Stamp {
    hard: Moment,
    soft: Moment,
}

impl Stamp {
    fn add(&mut self, soft: bool, moment: Moment) {
        let stamp = if soft { &mut self.soft } else { &mut self.hard };
        *stamp = stamp.later(moment);
    }

    fn forget_number(&mut self) {
        (self.hard.seq, self.soft.seq) = (0, 0);
    }

    fn latest(&self) -> Moment {
        self.hard.later(self.soft)
    }

    fn dooms(&self, origin: Origin) -> Doom {
        match (self.hard.is_after(origin), self.soft.is_after(origin)) {
            (true, _) => Doom::Gone,
            (false, true) => Doom::Stale,
            (false, false) => Doom::None,
        }
    }
}

/// By what an object is compared with purges.
#[derive(Clone, Copy, Debug)]
pub enum Origin {
    /// It was asked for here.
    Here {
        /// When.
        asked_ns: u64,
    },
    /// Whoever stored it in the shared tier knew of all purges up to this one.
    Shared(Number),
}

/// The number of a purge, and which shared tier it is of: numbers of one say nothing of another's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Number {
    /// Tiers that were used until then.
    pub tier: u64,
    /// As the tier counts.
    pub seq: u64,
}

#[derive(Debug, Default)]
struct Stamps {
    tags: HashMap<u64, Stamp>,
    prefixes: Vec<(Box<[u8]>, Stamp)>,
    all: Stamp,
    /// When purges were last missed, soft ones or hard.
    lost_ns: u64,
    /// Those of this node whose number it does not know: what is shared may be of before them.
    expected: Expected,
    /// Shared tiers that were used, with the one in use: all numbers are of that.
    tier: u64,
    /// What is shared under a lower number cannot be judged: the purges of then are not known.
    floor: u64,
}

/// All purges that still matter.
#[derive(Debug)]
pub struct Purges {
    generation: AtomicU64,
    hasher: RandomState,
    stamps: RwLock<Stamps>,
    /// The number of the last purge of a URL, by places that URLs share: every change is one, and there may be any number of URLs.
    urls: Box<[AtomicU64]>,
}

/// Places for URLs, 128 KiB. Two that share one cost a lookup in the shared tier, never a wrong answer.
const URLS: usize = 16_384;

impl Default for Purges {
    fn default() -> Purges {
        Purges {
            generation: AtomicU64::default(),
            hasher: RandomState::new(),
            stamps: RwLock::default(),
            urls: (0..URLS).map(|_| AtomicU64::default()).collect(),
        }
    }
}

impl Purges {
    /// The form in which an object keeps a tag.
    pub fn tag(&self, tag: &[u8]) -> u64 {
        self.hasher.hash_one((b't', tag))
    }

    /// The tag that every object has by its URL.
    pub fn url_tag(&self, url: &[u8]) -> u64 {
        self.hasher.hash_one((b'u', without_scheme(url::plain(url))))
    }

    /// Takes note of a purge: at `now`, under the number that a shared tier gave it.
    pub fn apply(&self, purge: &Purge, now: u64, heard: Option<Number>) {
        let mut stamps = self.stamps.write().unwrap_or_else(PoisonError::into_inner);
        // One that comes late from a tier that is not used any more is one, and its number is none.
        let seq = heard.filter(|heard| heard.tier == stamps.tier).map_or(0, |heard| heard.seq.max(1));
        let moment = Moment { ns: now.max(1), seq };
        match &purge.what {
            // What is stored here is taken out by itself, and what is on its way is stamped.
            What::Url(url) if !purge.soft => {
                if let Some(last) = self.url(url) {
                    last.fetch_max(seq, Relaxed);
                }
                return stamps.expected.heard(seq);
            }
            What::All => stamps.all.add(purge.soft, moment),
            What::Tag(tag) => stamps.tags.entry(self.tag(tag)).or_default().add(purge.soft, moment),
            What::Url(url) => stamps.tags.entry(self.url_tag(url)).or_default().add(purge.soft, moment),
            What::Prefix(prefix) => match stamps.prefixes.iter_mut().find(|(known, _)| **known == **prefix) {
                Some((_, stamp)) => stamp.add(purge.soft, moment),
                None => {
                    let mut stamp = Stamp::default();
                    stamp.add(purge.soft, moment);
                    stamps.prefixes.push((prefix.as_slice().into(), stamp));
                }
            },
        }
        stamps.expected.heard(seq);
        stamps.bound();
        self.generation.fetch_add(1, Release);
    }

    /// Tells all nodes of a purge: until it is heard of, what is shared may be of before it.
    pub fn announce(&self, purge: &Purge, log: &dyn Log, tier: u64) {
        let mut stamps = self.stamps.write().unwrap_or_else(PoisonError::into_inner);
        // Between two tiers it is kept for the next.
        let log = (stamps.tier == tier).then_some(log);
        stamps.expected.announce(purge, log);
    }

    /// Tells a tier, now that it is in use, what the one before has not been told.
    pub fn announce_rest(&self, log: &dyn Log) {
        self.stamps.write().unwrap_or_else(PoisonError::into_inner).expected.announce_rest(log);
    }

    /// A purge of this node is in the log, under this number.
    pub fn is_in_log(&self, ticket: u64, number: Number) {
        let mut stamps = self.stamps.write().unwrap_or_else(PoisonError::into_inner);
        if number.tier == stamps.tier {
            stamps.expected.is_in_log(ticket, number.seq);
        }
    }

    /// Purges may have been missed: any of what is stored here now may have been meant.
    pub fn lose(&self, now: u64) {
        self.stamps.write().unwrap_or_else(PoisonError::into_inner).lost_ns = now.max(1);
        self.generation.fetch_add(1, Release);
    }

    /// From now on the purges from this number on are known.
    pub fn begin_at(&self, floor: Number) {
        let mut stamps = self.stamps.write().unwrap_or_else(PoisonError::into_inner);
        if floor.tier == stamps.tier {
            stamps.floor = floor.seq;
            stamps.expected.has_joined();
        }
    }

    /// Another tier is used from now on, or none: numbers of before are forgotten, and those that come late do not count. What is
    /// told of the new one is to be told with this.
    pub fn change_tier(&self, is_shared: bool) -> u64 {
        let mut stamps = self.stamps.write().unwrap_or_else(PoisonError::into_inner);
        let Stamps { tags, prefixes, all, .. } = &mut *stamps;
        let known = tags.values_mut().chain(prefixes.iter_mut().map(|(_, stamp)| stamp));
        known.chain([all]).for_each(Stamp::forget_number);
        self.urls.iter().for_each(|last| last.store(0, Relaxed));
        stamps.floor = 0;
        stamps.expected.change_log();
        if !is_shared {
            stamps.expected.clear();
        }
        stamps.tier += 1;
        stamps.tier
    }

    fn url(&self, url: &[u8]) -> Option<&AtomicU64> {
        self.urls.get(self.url_tag(url) as usize % URLS)
    }

    /// What came of an object that is stored here, under this URL.
    pub fn judge(&self, url: &[u8], stored: &Stored) -> Doom {
        let generation = self.generation.load(Acquire);
        // Who sees that it was compared sees what came of it too, whichever core that was on.
        let is_compared = stored.notes.compared.load(Acquire) == generation;
        let known = match (stored.notes.is_unsure.load(Relaxed), stored.notes.is_stale.load(Relaxed)) {
            (true, _) => Doom::Unsure,
            (false, true) => Doom::Stale,
            (false, false) => Doom::None,
        };
        if is_compared {
            return known;
        }
        let origin = Origin::Here { asked_ns: stored.received.asked_ns };
        let doom = self.dooms(url, &stored.tags, origin).max(known);
        match doom {
            Doom::Unsure => stored.notes.is_unsure.store(true, Relaxed),
            Doom::Stale => stored.notes.is_stale.store(true, Relaxed),
            Doom::None | Doom::Gone => {}
        }
        if doom != Doom::Gone {
            stored.notes.compared.store(generation, Release);
        }
        doom
    }

    /// What came of an object with these tags.
    pub fn dooms(&self, url: &[u8], tags: &[u64], origin: Origin) -> Doom {
        let stamps = self.stamps.read().unwrap_or_else(PoisonError::into_inner);
        let by_tag = tags.iter().filter_map(|tag| stamps.tags.get(tag)).map(|stamp| stamp.dooms(origin));
        let prefixes = stamps.prefixes.iter().filter(|(prefix, _)| begins(url, prefix));
        let by_prefix = prefixes.map(|(_, stamp)| stamp.dooms(origin));
        if let Origin::Shared(number) = origin
            && (number.tier != stamps.tier
                || number.seq < stamps.floor
                || self.url(url).is_some_and(|last| last.load(Relaxed) > number.seq)
                || stamps.expected.any(|purge| purge.means(self, url, tags)))
        {
            return Doom::Gone;
        }
        let lost = match origin {
            Origin::Here { asked_ns } if stamps.lost_ns > 0 && stamps.lost_ns >= asked_ns => Doom::Unsure,
            Origin::Here { .. } | Origin::Shared(_) => Doom::None,
        };
        by_tag.chain(by_prefix).chain([lost]).fold(stamps.all.dooms(origin), Doom::max)
    }
}

impl Stamps {
    /// Forgets the older half where there are too many, and all objects that might have been meant.
    fn bound(&mut self) {
        if self.tags.len() > TAGS_MAX {
            let mut moments: Vec<Moment> = self.tags.values().map(Stamp::latest).collect();
            moments.sort_unstable_by_key(|moment| moment.ns);
            let Some(floor) = moments.get(TAGS_MAX / 2).copied() else { return };
            self.tags.retain(|_, stamp| stamp.latest().ns > floor.ns);
            let seq = moments.iter().take(TAGS_MAX / 2 + 1).map(|moment| moment.seq).max().unwrap_or(0);
            self.all.add(false, Moment { ns: floor.ns, seq });
        }
        if self.prefixes.len() > PREFIXES_MAX {
            let oldest = self.prefixes.drain(..PREFIXES_MAX / 2).map(|(_, stamp)| stamp.latest());
            let floor = oldest.fold(Moment::default(), Moment::later);
            self.all.add(false, floor);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn here(asked_ns: u64) -> Origin {
        Origin::Here { asked_ns }
    }

    fn purge(what: What, soft: bool) -> Purge {
        Purge { what, soft }
    }

    #[test]
    fn what_was_asked_for_before_a_purge_is_gone_and_what_came_after_is_not() {
        let purges = Purges::default();
        let tags = [purges.tag(b"product-1"), purges.url_tag(b"http://a/x")];
        purges.apply(&purge(What::Tag(b"product-1".to_vec()), false), 100, None);
        assert_eq!(purges.dooms(b"http://a/x", &tags, here(99)), Doom::Gone);
        assert_eq!(purges.dooms(b"http://a/x", &tags, here(101)), Doom::None);
        assert_eq!(purges.dooms(b"http://a/x", &tags[1..], here(99)), Doom::None);
        purges.apply(&purge(What::Url(b"https://a/x".to_vec()), true), 200, None);
        assert_eq!(purges.dooms(b"http://a/x", &tags, here(150)), Doom::Stale, "whatever the scheme");
    }

    /// Under a number of the tier in use, at first none.
    fn number(purges: &Purges, seq: u64) -> Number {
        Number { tier: purges.stamps.read().unwrap().tier, seq }
    }

    fn heard(purges: &Purges, what: What, seq: u64) {
        purges.apply(&purge(what, false), 1_000, Some(number(purges, seq)));
    }

    /// Keeps all, under the tickets 1, 2 and so on.
    #[derive(Default)]
    struct Room(AtomicU64);

    impl Log for Room {
        fn announce(&self, _: bytes::Bytes) -> unlag_tier::Announced {
            unlag_tier::Announced::Kept(self.0.fetch_add(1, Relaxed) + 1)
        }

        fn announce_instead(&self, _: bytes::Bytes) -> u64 {
            self.0.fetch_add(1, Relaxed) + 1
        }
    }

    #[test]
    fn what_others_have_stored_is_compared_by_the_number_of_the_purge_and_never_by_a_clock() {
        let purges = Purges::default();
        let of = |seq| purges.dooms(b"http://a/", &[], Origin::Shared(number(&purges, seq)));
        heard(&purges, What::All, 7);
        assert_eq!((of(6), of(7)), (Doom::Gone, Doom::None));
        heard(&purges, What::Url(b"http://a/".to_vec()), 12);
        assert_eq!((of(11), of(12)), (Doom::Gone, Doom::None), "a URL by its place");
        purges.begin_at(number(&purges, 20));
        assert_eq!((of(19), of(20)), (Doom::Gone, Doom::None), "what is older than the log cannot be judged");
    }

    #[test]
    fn what_is_shared_counts_as_purged_from_the_purge_until_it_is_heard_of_and_by_its_number_after_that() {
        let (purges, log) = (Purges::default(), Room::default());
        let tags = [purges.tag(b"t")];
        let of = |seq| purges.dooms(b"http://a/", &tags, Origin::Shared(number(&purges, seq)));
        let order = purge(What::Tag(b"t".to_vec()), false);
        purges.announce(&order, &log, 0);
        assert_eq!((of(1), of(1_000)), (Doom::Gone, Doom::Gone), "nobody knows its number yet");
        heard(&purges, order.what.clone(), 5);
        assert_eq!(of(5), Doom::Gone, "another node has purged the same, before");
        purges.begin_at(number(&purges, 7));
        assert_eq!(of(8), Doom::Gone, "it is still on its way");
        purges.is_in_log(1, number(&purges, 9));
        assert_eq!(of(9), Doom::Gone, "not heard yet");
        heard(&purges, order.what, 9);
        assert_eq!((of(8), of(9)), (Doom::Gone, Doom::None));
    }

    #[test]
    fn numbers_of_one_tier_say_nothing_of_what_another_holds() {
        let (purges, log, url) = (Purges::default(), Room::default(), b"http://a/x");
        let before = purges.change_tier(true);
        for what in
            [What::All, What::Tag(b"t".to_vec()), What::Prefix(b"a/".to_vec()), What::Url(url.to_vec())]
        {
            heard(&purges, what, 1 << 60);
        }
        purges.begin_at(number(&purges, 1 << 59));
        let order = purge(What::Tag(b"other".to_vec()), false);
        purges.announce(&order, &log, before);
        let after = purges.change_tier(true);
        let tags = [purges.tag(b"t")];
        let of = |tier, seq| purges.dooms(url, &tags, Origin::Shared(Number { tier, seq }));
        assert_eq!(of(after, 1), Doom::None);
        assert_eq!(of(before, u64::MAX), Doom::Gone, "an answer that has come late cannot be judged");
        purges.begin_at(Number { tier: before, seq: 1 << 61 });
        purges.apply(&purge(What::All, false), 2_000, Some(Number { tier: before, seq: 1 << 61 }));
        assert_eq!(of(after, 1), Doom::None, "nor do the numbers count that come late");
        assert_eq!(purges.dooms(url, &tags, here(1_999)), Doom::Gone, "the purge does");
        assert_eq!(
            purges.dooms(url, &[purges.tag(b"other")], Origin::Shared(Number { tier: after, seq: 1 })),
            Doom::Gone
        );
        purges.change_tier(false);
        let now = purges.change_tier(true);
        assert_eq!(
            purges.dooms(url, &[purges.tag(b"other")], Origin::Shared(Number { tier: now, seq: 1 })),
            Doom::None
        );
    }

    #[test]
    fn purges_beyond_the_bound_cost_objects_and_never_bring_back_what_was_purged() {
        let purges = Purges::default();
        for tag in 0..=TAGS_MAX as u64 {
            purges.apply(&purge(What::Tag(tag.to_string().into_bytes()), false), tag + 1, None);
        }
        assert!(purges.stamps.read().unwrap().tags.len() <= TAGS_MAX / 2 + 1);
        assert_eq!(purges.dooms(b"http://a/", &[purges.tag(b"0")], here(0)), Doom::Gone);
        let newest = TAGS_MAX as u64 + 1;
        assert_eq!(purges.dooms(b"http://a/", &[], here(newest)), Doom::None);
        for host in 0..=PREFIXES_MAX {
            purges.apply(&purge(What::Prefix(format!("{host}/").into_bytes()), true), newest + 1, None);
        }
        assert!(purges.stamps.read().unwrap().prefixes.len() <= PREFIXES_MAX);
        assert_eq!(purges.dooms(b"http://0/", &[], here(newest)), Doom::Gone);
    }

    #[test]
    fn any_number_of_changes_of_urls_takes_nothing_else_out() {
        let purges = Purges::default();
        for number in 0..=TAGS_MAX as u64 {
            purges.apply(&purge(What::Url(format!("a/{number}").into_bytes()), false), 100 + number, None);
        }
        assert_eq!(
            purges.dooms(b"http://a/other", &[purges.url_tag(b"http://a/other")], here(1)),
            Doom::None
        );
    }
}
