//! This core's connections that wait for their next request, last used first, so that the rest may grow old and go.

use super::h1::Conn;
use super::h2_shared::Shared;
use super::warm::{self, Stock};
use crate::clock;
use crate::fleet::Endpoint;
use crate::net::wire::Disturbance;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// Bounds of a pool.
#[derive(Clone, Copy, Debug)]
pub struct PoolLimits {
    /// Idle connections to one endpoint, over all cores.
    pub idle_per_endpoint: usize,
    /// How long a connection may be idle before the upstream's own limit is known.
    pub idle_timeout: Duration,
}

struct Idle {
    conn: Box<Conn>,
    since_ns: u64,
    /// Whether it has served a request.
    used: bool,
}

#[derive(Default)]
struct Pool {
    idle: Vec<Idle>,
    /// The HTTP/2 connections to the endpoint; requests share them.
    shared: Vec<Rc<Shared>>,
    turn: Arc<tokio::sync::Mutex<()>>,
    used_ns: Option<u64>,
    not_before_ns: u64,
    opening: Rc<Cell<usize>>,
}

/// A connection being opened ahead, for as long as it is.
pub struct Opening(Rc<Cell<usize>>);

impl Drop for Opening {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// Spreads small dense numbers of our own making: what an attacker cannot choose needs no keyed hash.
#[derive(Default)]
struct DenseHasher(u64);

impl Hasher for DenseHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|&byte| self.write_u32(u32::from(byte)));
    }

    fn write_u32(&mut self, number: u32) {
        // Fibonacci hashing: the table looks at the upper bits as well as at the lower.
        self.0 = (self.0.rotate_left(5) ^ u64::from(number)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

/// The pools of one core, by endpoint.
pub struct Pools {
    limits: Cell<PoolLimits>,
    by_endpoint: RefCell<HashMap<u32, Pool, BuildHasherDefault<DenseHasher>>>,
}

impl Pools {
    /// Empty pools.
    pub fn new(limits: PoolLimits) -> Pools {
        Pools { limits: Cell::new(limits), by_endpoint: RefCell::default() }
    }

    /// Replaces the bounds after a reload.
    pub fn set_limits(&self, limits: PoolLimits) {
        self.limits.set(limits);
    }

    /// Takes the connection that was used last and is still good.
    pub fn take(&self, endpoint: &Endpoint) -> Option<Box<Conn>> {
        let mut pools = self.by_endpoint.borrow_mut();
        let pool = pools.get_mut(&endpoint.index)?;
        if pool.idle.is_empty() {
            return None;
        }
        let now = clock::now();
        pool.used_ns = Some(now);
        let limit = endpoint.idle_limit_ns(self.limits.get().idle_timeout);
        while let Some(idle) = pool.idle.pop() {
            endpoint.count_idle(false);
            if now.saturating_sub(idle.since_ns) <= limit && idle.conn.disturbance().is_none() {
                return Some(idle.conn);
            }
        }
        None
    }

    /// Keeps a connection that has served a request for the next one, within the bound.
    pub fn put(&self, conn: Box<Conn>) {
        conn.endpoint().kept_alive();
        self.keep(conn, true);
    }

    /// Keeps a connection that was opened ahead.
    pub fn put_unused(&self, conn: Box<Conn>) {
        self.keep(conn, false);
    }

    fn keep(&self, mut conn: Box<Conn>, used: bool) {
        conn.rest();
        let (endpoint, since_ns) = (conn.endpoint(), clock::now());
        if conn.is_left(since_ns) {
            return;
        }
        if endpoint.count_idle(true) as usize > self.limits.get().idle_per_endpoint {
            endpoint.count_idle(false);
            if !used {
                self.back_off(endpoint, since_ns + warm::BACK_OFF_NS);
            }
            return;
        }
        let mut pools = self.by_endpoint.borrow_mut();
        let pool = pools.entry(endpoint.index).or_default();
        if used {
            pool.used_ns = Some(since_ns);
            pool.idle.push(Idle { conn, since_ns, used });
        } else {
            // Those that have served are taken first, while their caches are warm as well.
            pool.idle.insert(0, Idle { conn, since_ns, used });
        }
    }

    /// What there is for the next request.
    pub fn stock(&self, endpoint: &Endpoint) -> Stock {
        let pools = self.by_endpoint.borrow();
        let Some(pool) = pools.get(&endpoint.index) else { return Stock::default() };
        let shared = pool.shared.iter().filter(|shared| !shared.is_closed()).count();
        Stock {
            ready: pool.idle.len() + shared,
            opening: pool.opening.get(),
            used_ns: pool.used_ns,
            not_before_ns: pool.not_before_ns,
        }
    }

    /// Counts a connection that is being opened ahead.
    pub fn opening(&self, endpoint: &Endpoint) -> Opening {
        let mut pools = self.by_endpoint.borrow_mut();
        let opening = &pools.entry(endpoint.index).or_default().opening;
        opening.set(opening.get() + 1);
        Opening(Rc::clone(opening))
    }

    /// Opens nothing ahead to an endpoint before `not_before_ns`.
    pub fn back_off(&self, endpoint: &Endpoint, not_before_ns: u64) {
        self.by_endpoint.borrow_mut().entry(endpoint.index).or_default().not_before_ns = not_before_ns;
    }

    /// Whether this core has asked the endpoint for something lately.
    pub fn is_at_work(&self, endpoint: &Endpoint) -> bool {
        let used = self.by_endpoint.borrow().get(&endpoint.index).and_then(|pool| pool.used_ns);
        used.is_some_and(|used| clock::now().saturating_sub(used) < warm::AT_WORK_NS)
    }

    /// An HTTP/2 connection that takes another stream.
    pub fn shared_h2(&self, endpoint: &Endpoint) -> Option<Rc<Shared>> {
        let mut pools = self.by_endpoint.borrow_mut();
        let pool = pools.get_mut(&endpoint.index)?;
        if pool.shared.is_empty() {
            return None;
        }
        pool.used_ns = Some(clock::now());
        pool.shared.retain(|shared| !shared.is_closed());
        pool.shared.iter().filter(|shared| shared.has_room()).min_by_key(|shared| shared.streams()).cloned()
    }

    /// The HTTP/2 connections to the endpoint, with room or without.
    pub fn h2_connections(&self, endpoint: &Endpoint) -> Vec<Rc<Shared>> {
        let pools = self.by_endpoint.borrow();
        let shared = pools.get(&endpoint.index).into_iter().flat_map(|pool| &pool.shared);
        shared.filter(|shared| !shared.is_closed()).cloned().collect()
    }

    /// Offers an HTTP/2 connection to all requests of this core.
    pub fn share_h2(&self, endpoint: &Endpoint, shared: &Rc<Shared>) {
        endpoint.kept_alive();
        self.by_endpoint.borrow_mut().entry(endpoint.index).or_default().shared.push(Rc::clone(shared));
    }

    /// Drops what has died, grown old or leads where nobody is any more, and learns from it. Called twice a second.
    pub fn sweep(&self, endpoint: &Endpoint) {
        let mut pools = self.by_endpoint.borrow_mut();
        let Some(pool) = pools.get_mut(&endpoint.index) else { return };
        let now = clock::now();
        let limit = endpoint.idle_limit_ns(self.limits.get().idle_timeout);
        pool.idle.retain(|idle| {
            let age = now.saturating_sub(idle.since_ns);
            let disturbance = idle.conn.disturbance();
            let disturbed = disturbance.is_some();
            if disturbed && !idle.used {
                pool.not_before_ns = now + warm::BACK_OFF_NS;
            } else if disturbance == Some(Disturbance::Closed) && age > LEARNABLE_AGE_NS {
                endpoint.learn_idle_limit(age);
            }
            let keep = !disturbed && age <= limit && !idle.conn.is_left(now);
            if !keep {
                endpoint.count_idle(false);
            }
            keep
        });
        pool.shared.iter().for_each(|shared| shared.close_if_left(endpoint, now));
        pool.shared.retain(|shared| !shared.is_closed() && !shared.is_idle(now));
    }

    /// Whose turn it is to open an HTTP/2 connection: who waits finds the one that was opened meanwhile.
    pub fn turn(&self, endpoint: &Endpoint) -> Arc<tokio::sync::Mutex<()>> {
        Arc::clone(&self.by_endpoint.borrow_mut().entry(endpoint.index).or_default().turn)
    }

    /// Drops the pools of endpoints that are no longer part of the plan.
    pub fn keep_only(&self, is_known: impl Fn(u32) -> bool) {
        self.by_endpoint.borrow_mut().retain(|&index, pool| {
            let keep = is_known(index);
            if !keep {
                pool.idle.drain(..).for_each(|idle| _ = idle.conn.endpoint().count_idle(false));
            }
            keep
        });
    }
}

/// A close sooner than this says nothing about an idle limit: the upstream was restarted or had enough.
const LEARNABLE_AGE_NS: u64 = 900_000_000;
