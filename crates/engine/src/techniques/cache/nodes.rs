//! The tier that nodes share, behind the memory: what another node has fetched need not be fetched again, and what is purged on
//! one is purged on all. It never makes a request wait for long: it is asked only where that is likely to be worth it, its
//! answer races the origin's after a short head start, and what is written to it is written behind everybody's back.

use super::envelope::{self, Letter, Shared};
use super::fetch::Asking;
use super::freshness::{Freshness, Received};
use super::object::{Content, Notes, Stored};
use super::purge::Purge;
use super::stamps::{Doom, Number, Origin};
use super::store::Store;
use super::vary::Selected;
use super::{Cache, policy, same, storable, tags, vary};
use crate::clock;
use crate::exchange::Exchange;
use crate::http::{Name, ResponseHead, date as wall};
use bytes::Bytes;
use http::Method;
use std::pin::Pin;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Weak};
use std::time::Duration;
use unlag_tier::{Address, Answer, Heard, LIFETIME_MAX, Settings, Tier};

/// A lookup under way.
pub type Lookup = Pin<Box<dyn Future<Output = Option<Arc<Stored>>>>>;

/// What was found there, and how much is left of its time there.
type Found = (Box<Letter>, Duration);

/// Nobody waits longer than this for the tier.
const ANSWER_MAX: Duration = Duration::from_millis(50);
/// What lives shorter is not worth writing down.
const LIFETIME_MIN_NS: u64 = 2_000_000_000;
/// How long what is written down of a key that goes on is kept, where this writes no variant: others may be there for longer.
const VARIES_LIFETIME: Duration = Duration::from_secs(24 * 3600);
/// Before its first answers, the tier is taken to need so long.
const UNKNOWN_NS: u64 = 1_000_000;

/// The tier in use.
pub struct Nodes {
    address: Address,
    /// By what numbers of this one are told from those of others.
    id: u64,
    tier: Arc<Tier>,
}

impl Store {
    /// Shares with the nodes that use this tier from now on, or with none.
    pub fn share_through(self: &Arc<Store>, address: Option<&Address>) {
        let current = self.nodes.load();
        if current.as_ref().map(|nodes| &nodes.address) == address {
            return;
        }
        // Before it is opened: what it says first counts.
        let id = self.purges.change_tier(address.is_some());
        let opened = address.and_then(|address| self.open(address, id));
        let opened = opened.map(Arc::new);
        self.nodes.store(opened.clone());
        match opened {
            Some(nodes) => self.purges.announce_rest(&*nodes.tier),
            None => _ = self.purges.change_tier(false),
        }
    }

    fn open(self: &Arc<Store>, address: &Address, id: u64) -> Option<Nodes> {
        let store: Weak<Store> = Arc::downgrade(self);
        let hears = move |heard| {
            if let Some(store) = store.upgrade() {
                store.hear(heard, id);
            }
        };
        match Tier::open(address, Settings::default(), hears) {
            Ok(tier) => Some(Nodes { address: address.clone(), id, tier }),
            Err(error) => {
                tracing::error!(%address, %error, "the shared cache cannot be used");
                None
            }
        }
    }

    /// Takes leave of the other nodes: what has been announced gets a moment to get out.
    pub fn leave(&self) {
        if let Some(nodes) = self.nodes.swap(None) {
            nodes.tier.close();
        }
    }

    /// Where it is shared, and what is known of that.
    pub fn shared(&self) -> Option<(String, unlag_tier::Figures)> {
        self.nodes.load().as_ref().map(|nodes| (nodes.address.to_string(), nodes.tier.figures()))
    }

    /// The last purge that is known here, by its number; 0 without a shared tier.
    pub fn seq(&self) -> Number {
        let nodes = self.nodes.load();
        nodes.as_ref().map(|nodes| Number { tier: nodes.id, seq: nodes.tier.seq() }).unwrap_or_default()
    }

    /// Tells all nodes of a purge, if there are any.
    pub fn announce(&self, purge: &Purge) {
        if let Some(nodes) = &*self.nodes.load() {
            self.purges.announce(purge, &*nodes.tier, nodes.id);
        }
    }

    /// Whether changes are told to others.
    pub fn is_shared(&self) -> bool {
        self.nodes.load().is_some()
    }

    pub(super) fn hear(&self, heard: Heard, tier: u64) {
        let now = clock::now();
        match heard {
            Heard::Purge { seq, message } => match Purge::decode(&message) {
                Some(purge) => self.purge(&purge, now, Some(Number { tier, seq })),
                None => tracing::warn!("a purge of another node cannot be read; is it of another version?"),
            },
            Heard::Announced { ticket, seq } => self.purges.is_in_log(ticket, Number { tier, seq }),
            Heard::Joined { floor } => self.purges.begin_at(Number { tier, seq: floor }),
            // What is here is asked about before it is served again: hard purges may be among those that were missed.
            Heard::Lost => self.purges.lose(now),
        }
    }
}

impl Cache {
    /// Asks the tier for what is missing here, and says for how long the origin is not asked meanwhile.
    pub(super) fn look_up(&self, exchange: &Exchange, asking: &Asking) -> Option<(Lookup, Duration)> {
        let nodes = self.store.nodes.load_full()?;
        let draw = self.store.hash(&clock::now().to_le_bytes());
        let (route, mean_ns) = (&self.learned, clock::ns(nodes.tier.mean()));
        if !route.is_shareable() || !policy::asks_nodes(route.tier_share(), route.fetch_ns(), mean_ns, draw) {
            return None;
        }
        let tail_ns = nodes.tier.p95().map_or(UNKNOWN_NS, clock::ns);
        let head_start = policy::head_start(tail_ns, route.fetch_ns());
        let asked = exchange.replica()?;
        let (this, url) = (self.clone(), asking.url.clone());
        // Not later than the origin, whose answer knows better.
        let asked_ns = asking.asked_ns;
        let lookup = async move {
            let name = nodes_key(&asked.route.config.name, &url);
            // That nobody answers says nothing about what there is.
            let found = this.read(&nodes.tier, &name, &asked).await?;
            this.learned.tier_answered(found.is_some());
            let (letter, left) = found?;
            this.admitted(*letter, left, &url, &asked, asked_ns, nodes.id)
        };
        Some((Box::pin(lookup), head_start))
    }

    /// What stands under a name, or under the name that its variant has; none if nobody answers.
    async fn read(&self, tier: &Tier, name: &[u8], asked: &Exchange) -> Option<Option<Found>> {
        let names = match value(tier.get(name, ANSWER_MAX).await)? {
            Some((Shared::Varies(names), _)) => names,
            Some((Shared::Response(letter), left)) => return Some(Some((letter, left))),
            None => return Some(None),
        };
        let mut name = name.to_vec();
        vary::write_values(names.iter().map(Vec::as_slice), &asked.head.fields, &mut name);
        match value(tier.get(&name, ANSWER_MAX).await)? {
            Some((Shared::Response(letter), left)) => Some(Some((letter, left))),
            _ => Some(None),
        }
    }

    /// What another node wrote down, as an object of this one, if no purge has taken it and this request selects it.
    fn admitted(
        &self,
        letter: Letter,
        left: Duration,
        url: &[u8],
        asked: &Exchange,
        asked_ns: u64,
        tier: u64,
    ) -> Option<Arc<Stored>> {
        let now = clock::now();
        let since_ms = letter.since_ms(wall::unix_ms(now), left);
        let Letter { seq, written_unix_ms, age_ms, head, whole, selected, .. } = letter;
        let tags = tags::of(&self.store.purges, url, &head.fields, asked)?;
        let doom = self.store.purges.dooms(url, &tags, Origin::Shared(Number { tier, seq }));
        if doom == Doom::Gone || !vary::matches(&selected, &head.fields, &asked.head.fields) {
            return None;
        }
        if self.has_newer(url, asked, now.checked_sub(since_ms.saturating_mul(1_000_000))) {
            return None;
        }
        let age_ns = since_ms.saturating_add(age_ms).saturating_mul(1_000_000);
        // When it was new, by the clock of whoever wrote it.
        let came_unix_s = written_unix_ms.saturating_sub(age_ms) / 1_000;
        let directives = super::directives::Directives::of_response(&head.fields);
        // The rules of this node's route, whatever the other one's are.
        let request = storable::Asked::of(asked, false);
        let received = Received { asked_ns, came_ns: now, came_unix_s };
        storable::may_store(request, &head, false, &directives, received, &self.overrides).ok()?;
        let freshness =
            Freshness::aged(head.status, &head.fields, &directives, received, &self.overrides, age_ns);
        let stored = Stored {
            route: self.learned.route,
            head,
            content: Content::Whole(whole.content),
            part: None,
            trailers: whole.trailers.map(Box::new),
            freshness,
            received,
            // Whoever it was, it was somebody else.
            asker: 1,
            selected,
            tags,
            notes: Notes::default(),
        };
        stored.notes.is_stale.store(doom == Doom::Stale, Relaxed);
        let stored = Arc::new(stored);
        self.store.put(url, Arc::clone(&stored));
        self.learned.stores.store(true, Relaxed);
        Some(stored)
    }

    /// Whether there is something here for a request that came after this moment; none is one before this process.
    fn has_newer(&self, url: &[u8], asked: &Exchange, written_ns: Option<u64>) -> bool {
        let variants = self.store.get(url);
        let here = variants.as_ref().and_then(|variants| self.selected(variants, &asked.head));
        here.is_some_and(|here| written_ns.is_none_or(|written_ns| here.received.came_ns > written_ns))
    }

    /// Writes an object down for other nodes, in the place of what stands there; what is not worth that only takes that out, or
    /// it would be found again when this has had its day.
    pub(super) fn write_down(&self, stored: &Stored, url: &[u8], route: &str, known: Number) {
        // What was asked for under the numbers of another tier could not be judged by those of this one.
        let nodes = self.store.nodes.load();
        let Some(nodes) = nodes.as_ref().filter(|nodes| nodes.id == known.tier) else { return };
        // A part is for whoever reads on, and takes nobody's place.
        if stored.part.is_some() {
            return;
        }
        let mut name = nodes_key(route, url);
        let letter = self.letter(stored, known.seq);
        if !stored.selected.is_empty() {
            let lifetime = letter.as_ref().map_or(VARIES_LIFETIME, |(_, lifetime)| *lifetime);
            nodes.tier.put(&name, envelope::varies(&stored.selected), lifetime);
            vary::write(&stored.selected, &mut name);
        }
        match letter {
            Some((letter, lifetime)) => nodes.tier.put(&name, letter, lifetime),
            None => nodes.tier.remove(&name),
        }
    }

    /// An object as other nodes may read it and for how long, if that is worth it.
    fn letter(&self, stored: &Stored, seq: u64) -> Option<(Bytes, Duration)> {
        let now = clock::now();
        let age_ns = stored.freshness.age_ns(now);
        let fresh_ns = stored.freshness.lifetime_ns.saturating_sub(age_ns);
        let stale_ns = stored.freshness.stale_while_revalidate_ns.max(stored.freshness.stale_if_error_ns);
        if fresh_ns < LIFETIME_MIN_NS || !is_for_others(stored) {
            return None;
        }
        // Up to a tenth less, so that what was written together does not end together.
        let lifetime_ns = fresh_ns.saturating_add(stale_ns);
        let lifetime_ns = lifetime_ns - self.store.hash(&now.to_le_bytes()) % (lifetime_ns / 10).max(1);
        let lifetime = Duration::from_nanos(lifetime_ns).min(LIFETIME_MAX);
        let kept_ms = clock::ns(lifetime) / 1_000_000;
        let letter = envelope::response(stored, seq, wall::unix_ms(now), age_ns / 1_000_000, kept_ms)?;
        Some((letter, lifetime))
    }

    /// Has what other nodes find under a URL removed, for requests that select the same: it is not what the origin says any more.
    pub(super) fn take_out_of_tier(&self, url: &[u8], route: &str, selected: &Selected) {
        if let Some(nodes) = &*self.store.nodes.load() {
            let mut name = nodes_key(route, url);
            if !selected.is_empty() {
                vary::write(selected, &mut name);
            }
            nodes.tier.remove(&name);
        }
    }

    /// Takes out what is stored for a request whose answer says something else now and may not be stored: it would be served
    /// again after that. Only an answer that says what there is for all who ask like this.
    pub(super) fn supersede(&self, asking: &Asking, request: &Exchange, response: &ResponseHead) {
        let (url, asked) = (&*asking.url, &request.head.fields);
        let says_what_there_is = matches!(response.status, 200 | 203 | 204 | 300 | 301 | 308 | 404 | 410)
            && request.head.method == Method::GET
            && !asked.has(Name::Range)
            && !same::has_credentials(asked);
        if !says_what_there_is || !self.learned.stores.load(Relaxed) {
            return;
        }
        let variants = self.store.get(url).and_then(|variants| self.store.left(url, variants));
        let known = variants.as_ref().and_then(|variants| self.selected(variants, &request.head));
        // Only what it takes the place of, and not if that was asked for later.
        if let Some(known) = known.filter(|known| known.received.asked_ns <= asking.asked_ns)
            && self.store.replace(url, known, None)
        {
            self.take_out_of_tier(url, &request.route.config.name, &known.selected);
        }
    }
}

/// Whether an object may be worth writing down: errors are for one node and a moment.
pub fn is_for_others(stored: &Stored) -> bool {
    stored.freshness.lifetime_ns >= LIFETIME_MIN_NS && stored.head.status < 400
}

/// Under what nodes share the answer to a key: numbers of routes are each node's own, their names are not.
fn nodes_key(route: &str, key: &[u8]) -> Vec<u8> {
    [route.as_bytes(), &[0], key].concat()
}

/// What an answer holds, if there was one.
fn value(answer: Answer) -> Option<Option<(Shared, Duration)>> {
    match answer {
        Answer::Value(value, left) => Some(envelope::read(&value).map(|shared| (shared, left))),
        Answer::Absent => Some(None),
        Answer::Unavailable => None,
    }
}
