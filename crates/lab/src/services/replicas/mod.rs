//! Replicas with a capacity of their own, for measuring how proxies spread load over them: so many workers each, a queue,
//! a service time that is slept and follows from the request's id, and faults by the clock. All run on one thread, in a
//! process of their own (`lab replicas`), so that neither the generator nor the proxy shares their time.
//!
//! Were they to burn CPU instead, on the two cores that everything shares, every balancer would look like every other.

mod asked;
mod connection;
mod control;
mod counts;
mod draw;
mod relay;
mod replica;
mod schedule;
mod spec;
mod store;

use std::rc::Rc;

use anyhow::{Context, Result, ensure};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

pub use asked::SENT_FIELD;
pub(crate) use control::ask;
pub use counts::{ReplicaCounts, ReplicasReport, STRETCH};
pub use spec::{Addresses, Outage, RelaySpec, ReplicaSpec, ReplicasSpec, Role, Timed, When, Work, Wrong};

use super::serve::{ANYWHERE, Thread, listen};
use control::Control;
use replica::{Replica, Service};

/// Replicas of one service at most.
const REPLICAS_MAX: usize = 64;

/// Running replicas; they end when dropped.
#[derive(Debug)]
pub struct Replicas {
    /// Where they are.
    pub addresses: Addresses,
    _thread: Thread,
}

impl Replicas {
    /// Starts them on loopback ports.
    pub fn start(spec: ReplicasSpec) -> Result<Self> {
        ensure!((1..=REPLICAS_MAX).contains(&spec.replicas.len()), "replicas: 1 to {REPLICAS_MAX}");
        ensure!(spec.workers > 0, "replicas: a replica needs a worker");
        let (addresses, thread) = Thread::start("replicas", move || open(spec))?;
        Ok(Self { addresses, _thread: thread })
    }
}

fn open(spec: ReplicasSpec) -> Result<(Addresses, impl Future<Output = ()>)> {
    let service = Rc::new(Service::new(spec));
    let (control, control_address) = listen(ANYWHERE)?;
    let mut replicas = Vec::new();
    let mut listeners: Vec<(Rc<Replica>, TcpListener)> = Vec::new();
    let mut relays = Vec::new();
    for (number, spec) in service.spec.replicas.iter().enumerate() {
        let (listener, mut address) = listen(ANYWHERE).with_context(|| format!("replica {number}"))?;
        if let Some(relay) = &spec.relay {
            let relay = relay::Relay::open(relay, address, &service)?;
            address = relay.address;
            relays.push(relay);
        }
        replicas.push(address);
        listeners.push((Rc::new(Replica::new(number, &service)), listener));
    }
    let addresses = Addresses { replicas, control: control_address };
    let run = async move {
        let mut running = JoinSet::new();
        running.spawn_local(super::serve::serve(Control(service), control));
        for (replica, listener) in listeners {
            running.spawn_local(connection::serve(replica, listener));
        }
        for relay in relays {
            running.spawn_local(relay.run());
        }
        while running.join_next().await.is_some() {}
    };
    Ok((addresses, run))
}

#[cfg(test)]
mod tests;
