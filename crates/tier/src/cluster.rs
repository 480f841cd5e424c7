//! Keeps up with a Redis cluster: which master has which slots. Asked of any server that answers, at the start, every few
//! seconds, and soon after a server has said that it does not have a key.

use std::sync::Arc;
use std::time::Duration;

use crate::address::Server;
use crate::shared::Shared;
use crate::topology::{Range, Topology, ranges};
use crate::wire::{self, Target, Wire};

/// Fail-over of a cluster takes seconds; a change that nobody ran into is noticed as fast.
const EVERY: Duration = Duration::from_secs(5);
/// While no server has answered.
const AGAIN: Duration = Duration::from_millis(500);
/// A cluster that moves slots sends many requests elsewhere: they are one reason to look, not many.
const APART: Duration = Duration::from_millis(100);

/// Runs for the life of the tier.
pub(crate) async fn keep(shared: Arc<Shared>, seeds: Vec<Target>) {
    let mut told = false;
    loop {
        let found = look(&shared, &seeds).await;
        match &found {
            Some(ranges) => shared.adopt(ranges),
            None if !told => {
                tracing::warn!("no server of the cluster of the shared cache says who has which slots")
            }
            None => {}
        }
        told = found.is_none();
        let wait = if found.is_some() { EVERY } else { AGAIN };
        tokio::time::sleep(APART).await;
        let _ = tokio::time::timeout(wait, shared.moved.notified()).await;
    }
}

/// Asks the servers that are known to have slots, then the seeds.
async fn look(shared: &Shared, seeds: &[Target]) -> Option<Vec<Range>> {
    let timeout = shared.settings.connect_timeout;
    let topology = shared.topology.load_full();
    for node in &topology.nodes {
        if let Some(lent) = node.lend()
            && let Some(ranges) = ask(&lent.wire, &node.target.server, timeout).await
        {
            return Some(ranges);
        }
    }
    for seed in seeds {
        let Ok((wire, driver)) = wire::connect(seed, timeout).await else { continue };
        tokio::select! {
            ranges = ask(&wire, &seed.server, timeout) => if ranges.is_some() { return ranges },
            () = driver => {}
        }
    }
    None
}

async fn ask(wire: &Wire, server: &Server, timeout: Duration) -> Option<Vec<Range>> {
    let Wire::Redis(wire) = wire else { return None };
    let mut command = redis::cmd("CLUSTER");
    command.arg("SLOTS");
    let answer = tokio::time::timeout(timeout, wire.run(&command)).await.ok()?.ok()?;
    ranges(&answer, server)
}

impl Shared {
    /// Takes over what the cluster says; nodes that stay keep their connections and what is known of them.
    fn adopt(self: &Arc<Self>, ranges: &[Range]) {
        let before = self.topology.load_full();
        let mut fresh = Vec::new();
        let topology = Topology::of_cluster(ranges, |server| {
            let known = before.nodes.iter().find(|node| node.target.server == *server);
            known.cloned().unwrap_or_else(|| {
                let node = self.new_node(server.clone());
                fresh.push(node.clone());
                node
            })
        });
        for node in &before.nodes {
            if !topology.nodes.iter().any(|kept| Arc::ptr_eq(kept, node)) {
                tracing::info!(server = %node.name, "a server has left the cluster of the shared cache");
                node.gone.send_replace(true);
            }
        }
        self.use_topology(topology);
        for node in fresh {
            self.start(&node);
        }
    }
}
