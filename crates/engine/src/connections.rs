//! The callers' connections that a core has open: who waits for a request, who is asked to go, how many come from one address.

use crate::clock;
use crate::core::Core;
use crate::limits::ROOM_WAIT;
use crate::shared::{Handed, Shared};
use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Waker};

/// What the accept loop and the core know of an open connection.
#[derive(Debug, Default)]
pub struct Slot {
    idle_since: Cell<Option<u64>>,
    closing: Cell<bool>,
    evicted: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Slot {
    /// It waits for a request.
    pub fn idle_from(&self, now: u64) {
        self.idle_since.set(Some(now));
    }

    /// It has one.
    pub fn busy(&self) {
        self.idle_since.set(None);
    }

    /// Whether an idle connection is asked to go; otherwise the task is woken when it is.
    pub fn should_close(&self, cx: &mut Context<'_>) -> bool {
        if self.closing.get() {
            return true;
        }
        let mut waker = self.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|known| known.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
        false
    }

    /// Whether another connection waits for its place: it goes at once then, even if it has not asked for anything yet.
    pub fn is_evicted(&self) -> bool {
        self.evicted.get()
    }

    /// Asks it to go as soon as it has nothing to do.
    pub fn close(&self) {
        self.closing.set(true);
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }
}

/// The open connections of a core.
#[derive(Default)]
pub struct Connections {
    open: RefCell<slab::Slab<Rc<Slot>>>,
}

impl Connections {
    /// Asks every connection to go.
    pub fn close_all(&self) {
        self.open.borrow().iter().for_each(|(_, slot)| slot.close());
    }

    /// The connection that has been idle longest, and since when.
    fn oldest_idle(&self) -> Option<(u64, Rc<Slot>)> {
        let open = self.open.borrow();
        let idle = open.iter().filter(|(_, slot)| !slot.closing.get());
        let since = idle.filter_map(|(_, slot)| Some((slot.idle_since.get()?, slot)));
        since.min_by_key(|(since, _)| *since).map(|(since, slot)| (since, Rc::clone(slot)))
    }
}

/// What a core says of its oldest idle connection: that it has not looked, or that there is none.
const NOT_LOOKED: u64 = 0;
const NONE_IDLE: u64 = u64::MAX;

/// Tells the other cores since when this one's oldest idle connection is idle. Looking costs a walk over all connections, so it
/// is only done near the bound; one below it is near, for there the count is while one connection makes room for another.
pub fn publish_oldest_idle(core: &Core) {
    let bound = core.limits().connections;
    let near = core.shared.connections.load(Relaxed) + 1 + bound / 8 >= bound;
    let since = match near {
        true => core.connections.oldest_idle().map_or(NONE_IDLE, |(since, _)| since),
        false => NOT_LOOKED,
    };
    core.shared.load(core.index).idle_since_ns.store(since, Relaxed);
}

/// Closes the connection of this core that has been idle longest; `false` when none is.
pub fn evict_oldest_idle(core: &Core) -> bool {
    let oldest = core.connections.oldest_idle();
    if let Some((_, slot)) = &oldest {
        slot.evicted.set(true);
        slot.close();
    }
    publish_oldest_idle(core);
    oldest.is_some()
}

/// Which core has the connection that is idle longest, by what they last said; `own` is the exact answer of core `index`.
/// A core that has not looked is asked when nobody is known to have one.
pub fn where_idle_longest(index: usize, own: Option<u64>, said: &[u64]) -> Option<usize> {
    let others = said.iter().copied().enumerate().filter(|(other, _)| *other != index);
    let known = others.clone().filter(|(_, since)| !matches!(*since, NOT_LOOKED | NONE_IDLE));
    let all = known.chain(own.map(|since| (index, since)));
    let oldest = all.min_by_key(|(_, since)| *since).map(|(core, _)| core);
    oldest.or_else(|| others.clone().find(|(_, since)| *since == NOT_LOOKED).map(|(core, _)| core))
}

/// One of the connections that may be open in all, over all cores: taken before a connection is served, given back when it ends.
/// It counts on a core from the start: two cores that hand a burst to each other see what is on its way.
pub struct Place {
    shared: Arc<Shared>,
    core: usize,
}

impl Place {
    /// Takes one on `core`, unless `max` are taken.
    pub fn take(shared: &Arc<Shared>, core: usize, max: usize) -> Option<Place> {
        let more = |taken: usize| (taken < max).then_some(taken + 1);
        shared.connections.fetch_update(Relaxed, Relaxed, more).ok()?;
        shared.load(core).connections.fetch_add(1, Relaxed);
        Some(Place { shared: Arc::clone(shared), core })
    }

    /// From now on its connection is another core's.
    pub fn move_to(&mut self, core: usize) {
        self.shared.load(core).connections.fetch_add(1, Relaxed);
        self.shared.load(self.core).connections.fetch_sub(1, Relaxed);
        self.core = core;
    }

    /// Takes one; at the bound, the connection that has been idle longest on any core makes room. `None` when none is idle.
    pub async fn take_or_make(core: &Rc<Core>) -> Option<Place> {
        let (shared, max) = (&core.shared, core.limits().connections);
        if let Some(place) = Place::take(shared, core.index, max) {
            return Some(place);
        }
        let mut given_back = std::pin::pin!(shared.place_given_back.notified());
        given_back.as_mut().enable();
        let said: Vec<u64> = shared.loads().iter().map(|load| load.idle_since_ns.load(Relaxed)).collect();
        let own = core.connections.oldest_idle().map(|(since, _)| since);
        let asked = match where_idle_longest(core.index, own, &said)? {
            other if other != core.index => shared.hand(other, Handed::MakeRoom).is_ok(),
            _ => false,
        };
        if !asked && !evict_oldest_idle(core) {
            return None;
        }
        let waiting = async {
            loop {
                given_back.as_mut().await;
                given_back.set(shared.place_given_back.notified());
                given_back.as_mut().enable();
                if let Some(place) = Place::take(shared, core.index, max) {
                    return place;
                }
            }
        };
        tokio::time::timeout(ROOM_WAIT, waiting).await.ok()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.shared.load(self.core).connections.fetch_sub(1, Relaxed);
        self.shared.connections.fetch_sub(1, Relaxed);
        self.shared.place_given_back.notify_waiters();
    }
}

/// An open connection's entry, for as long as it is open.
pub struct Entry {
    core: Rc<Core>,
    key: usize,
    /// Counted against the share of its address.
    peer: Option<IpAddr>,
    _place: Place,
}

impl Entry {
    /// A connection from `peer` in its place. `None` when the peer's address has its share of connections already.
    pub fn new(core: &Rc<Core>, peer: Option<IpAddr>, place: Place) -> Option<(Entry, Rc<Slot>)> {
        let per_peer = core.limits().connections_per_peer;
        let peer = peer.filter(|_| per_peer > 0);
        if peer.is_some_and(|peer| !core.shared.peers.enter(peer, per_peer)) {
            return None;
        }
        let slot = Rc::new(Slot::default());
        slot.idle_from(clock::now());
        let key = core.connections.open.borrow_mut().insert(Rc::clone(&slot));
        Some((Entry { core: Rc::clone(core), key, peer, _place: place }, slot))
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.core.connections.open.borrow_mut().try_remove(self.key);
        if let Some(peer) = self.peer {
            self.core.shared.peers.leave(peer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_idle_connection_is_looked_for_on_every_core() {
        assert_eq!(where_idle_longest(0, Some(5), &[9, 7]), Some(0), "what a core knows of itself counts");
        assert_eq!(where_idle_longest(0, Some(8), &[1, 7]), Some(1));
        assert_eq!(where_idle_longest(0, None, &[1, 7]), Some(1));
        assert_eq!(where_idle_longest(0, None, &[1, NONE_IDLE]), None, "nobody has one");
        assert_eq!(where_idle_longest(0, None, &[1, NOT_LOOKED]), Some(1), "it may have one");
        assert_eq!(where_idle_longest(1, Some(3), &[NOT_LOOKED, 0]), Some(1), "better one that is known");
    }
}
