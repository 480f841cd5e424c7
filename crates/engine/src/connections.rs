//! The callers' connections that a core has open: who waits for a request, who is asked to go, how many come from one address.

use crate::core::Core;
use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Waker};

/// What the accept loop and the core know of an open connection.
#[derive(Debug, Default)]
pub struct Slot {
    idle_since: Cell<Option<u64>>,
    closing: Cell<bool>,
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

    /// Asks the connection that has been idle longest to go; `false` when none is idle.
    pub fn close_oldest_idle(&self) -> bool {
        let open = self.open.borrow();
        let idle = open.iter().filter(|(_, slot)| !slot.closing.get());
        let oldest =
            idle.filter_map(|(_, slot)| slot.idle_since.get().map(|since| (since, slot))).min_by_key(|x| x.0);
        oldest.inspect(|(_, slot)| slot.close()).is_some()
    }
}

/// An open connection's entry, for as long as it is open.
pub struct Entry {
    core: Rc<Core>,
    key: usize,
    /// Counted against the share of its address.
    peer: Option<IpAddr>,
}

impl Entry {
    /// Counts one more connection, from `peer`. `None` when the peer's address has its share of connections already.
    pub fn new(core: &Rc<Core>, peer: Option<IpAddr>) -> Option<(Entry, Rc<Slot>)> {
        let per_peer = core.limits().connections_per_peer;
        let peer = peer.filter(|_| per_peer > 0);
        if peer.is_some_and(|peer| !core.shared.peers.enter(peer, per_peer)) {
            core.shared.refused_connections.fetch_add(1, Relaxed);
            return None;
        }
        let slot = Rc::new(Slot::default());
        let key = core.connections.open.borrow_mut().insert(Rc::clone(&slot));
        core.shared.load(core.index).connections.fetch_add(1, Relaxed);
        core.shared.connections.fetch_add(1, Relaxed);
        Some((Entry { core: Rc::clone(core), key, peer }, slot))
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.core.connections.open.borrow_mut().try_remove(self.key);
        if let Some(peer) = self.peer {
            self.core.shared.peers.leave(peer);
        }
        self.core.shared.load(self.core.index).connections.fetch_sub(1, Relaxed);
        self.core.shared.connections.fetch_sub(1, Relaxed);
    }
}
