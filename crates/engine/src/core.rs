//! What belongs to one core and is never shared: its pools, its recorder, its buffers, its view of the plan.

use crate::connections::Connections;
use crate::http::h1::parse::HeadLimits;
use crate::limits::Bounds;
use crate::upstream::pool::{PoolLimits, Pools};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use tokio::sync::Notify;
use unlag_record::Recorder;

/// One worker's state.
pub struct Core {
    /// Its number, from 0.
    pub index: usize,
    /// Idle upstream connections.
    pub pools: Pools,
    /// Where its exchanges are recorded.
    pub recorder: Recorder,
    /// Tells who waits for one that a stream to an upstream has ended.
    pub stream_ended: Rc<Notify>,
    /// Buffers between two uses.
    pub buffers: Buffers,
    /// The callers' open connections.
    pub connections: Connections,
    /// Its accept loops that have not come to their end.
    pub accepting: Cell<usize>,
    /// What all cores share.
    pub shared: Arc<crate::shared::Shared>,
    bounds: RefCell<Rc<Bounds>>,
    random: Cell<u64>,
}

impl Core {
    /// The state of core `index`.
    pub fn new(index: usize, shared: Arc<crate::shared::Shared>, bounds: Bounds, seed: u64) -> Rc<Core> {
        let pools = Pools::new(pool_limits(&bounds));
        let recorder = shared.registry.recorder();
        let bounds = RefCell::new(Rc::new(bounds));
        let buffers = Buffers::default();
        Rc::new(Core {
            index,
            connections: Connections::default(),
            accepting: Cell::new(0),
            pools,
            stream_ended: Rc::default(),
            recorder,
            buffers,
            shared,
            bounds,
            random: Cell::new(seed | 1),
        })
    }

    /// The bounds in force.
    pub fn limits(&self) -> Rc<Bounds> {
        Rc::clone(&self.bounds.borrow())
    }

    /// Replaces the bounds after a reload.
    pub fn set_limits(&self, bounds: Bounds) {
        self.pools.set_limits(pool_limits(&bounds));
        *self.bounds.borrow_mut() = Rc::new(bounds);
    }

    /// Bounds of heads.
    pub fn head_limits(&self) -> HeadLimits {
        self.bounds.borrow().head
    }

    /// 64 random bits, unpredictable enough for ids, not for secrets (splitmix64, seeded from the system).
    pub fn random(&self) -> u64 {
        let state = self.random.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.random.set(state);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

fn pool_limits(bounds: &Bounds) -> PoolLimits {
    PoolLimits {
        idle_per_endpoint: bounds.pool_idle_per_endpoint,
        idle_timeout: bounds.upstream_idle_timeout,
    }
}

/// Output buffers that wait for their next message, so that a request allocates none.
#[derive(Default)]
pub struct Buffers {
    spare: RefCell<Vec<Vec<u8>>>,
}

/// Spare buffers kept by a core: enough for the messages that are written at one time; what a burst needed beyond is given back.
const SPARE_MAX: usize = 64;
/// The largest worth keeping: a larger one is rare, and would be held for nothing.
const SPARE_BYTES_MAX: usize = 64 * 1024;

impl Buffers {
    /// An empty buffer.
    pub fn take(&self) -> Vec<u8> {
        self.spare.borrow_mut().pop().unwrap_or_else(|| Vec::with_capacity(2048))
    }

    /// Keeps a buffer for later.
    pub fn give(&self, mut buffer: Vec<u8>) {
        let mut spare = self.spare.borrow_mut();
        if spare.len() < SPARE_MAX && buffer.capacity() <= SPARE_BYTES_MAX {
            buffer.clear();
            spare.push(buffer);
        }
    }
}
