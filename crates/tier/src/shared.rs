//! What the handle and the tasks of a tier share.

use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::Notify;

use crate::address::{Address, Server};
use crate::figures::Counters;
use crate::lock;
use crate::log::Journal;
use crate::node::Node;
use crate::settings::Settings;
use crate::tasks::keep_running;
use crate::topology::Topology;
use crate::wire::{Lookups, Speaks, Target};
use crate::write::Writer;

pub(crate) struct Shared {
    pub(crate) settings: Settings,
    pub(crate) speaks: Speaks,
    pub(crate) lookups: Lookups,
    pub(crate) topology: ArcSwap<Topology>,
    pub(crate) journal: Journal,
    pub(crate) counters: Arc<Counters>,
    /// A server has said that it does not have a key.
    pub(crate) moved: Arc<Notify>,
}

impl Shared {
    /// What the keys of the log begin with; the braces keep them on one server of a cluster.
    pub(crate) fn log_name(&self) -> String {
        format!("{}:{{log}}", self.settings.namespace)
    }

    pub(crate) fn target(&self, server: Server) -> Target {
        Target { server, speaks: self.speaks.clone(), lookups: self.lookups.clone() }
    }

    pub(crate) fn new_node(&self, server: Server) -> Arc<Node> {
        let settings = &self.settings;
        Arc::new(Node::new(self.target(server), settings.connections, settings.queue_bytes, crate::random()))
    }

    /// Uses these servers from here on. None may take more than its part of the queue: one that hangs leaves the others theirs.
    pub(crate) fn use_topology(&self, topology: Topology) {
        for node in &topology.nodes {
            lock(&node.puts).set_room(self.settings.queue_bytes / topology.nodes.len());
        }
        self.topology.store(Arc::new(topology));
    }

    /// Starts the tasks of a server.
    pub(crate) fn start(&self, node: &Arc<Node>) {
        node.keep(self.settings.connect_timeout);
        let item_bytes = match self.speaks {
            Speaks::Redis { .. } => self.settings.value_bytes,
            // The server's limit is on the item, which has a head and a name besides the value.
            Speaks::Memcached => self.settings.item_bytes.saturating_sub(512),
        };
        let writer = Arc::new(Writer {
            node: node.clone(),
            counters: self.counters.clone(),
            namespace: self.settings.namespace.clone(),
            item_bytes,
            timeout: self.settings.write_timeout,
            moved: self.moved.clone(),
        });
        keep_running("writes", move || writer.clone().run());
    }
}

/// The servers that an address names, and whether they are only those to ask for others.
pub(crate) fn servers(address: &Address) -> (Vec<Server>, bool) {
    match address {
        Address::Redis { server, .. } => (vec![server.clone()], false),
        Address::RedisCluster { seeds, .. } => (seeds.clone(), true),
        Address::Memcached { nodes } => (nodes.clone(), false),
    }
}
