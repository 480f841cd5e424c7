//! Faults of the shop's replicas, switched while they run.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::sync::watch;

/// How a replica misbehaves. The default is not at all.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Fault {
    /// Service times are multiplied by this. Default 1.
    pub slow: f64,
    /// Nothing is finished while this is set; what arrives waits. Default false.
    pub frozen: bool,
    /// Share of requests answered at once with 500, 0 to 1. Default 0.
    pub errors: f64,
}

impl Default for Fault {
    fn default() -> Self {
        Self { slow: 1.0, frozen: false, errors: 0.0 }
    }
}

impl Fault {
    /// Slower by a factor.
    pub fn slow(factor: f64) -> Self {
        Self { slow: factor, ..Self::default() }
    }

    /// Not finishing anything.
    pub fn frozen() -> Self {
        Self { frozen: true, ..Self::default() }
    }

    /// Answering a share with 500 at once.
    pub fn failing(share: f64) -> Self {
        Self { errors: share, ..Self::default() }
    }
}

/// Switches the faults of a shop, from any thread.
#[derive(Debug, Clone)]
pub struct Faults {
    switches: Arc<Vec<Switch>>,
}

#[derive(Debug)]
pub(super) struct Switch {
    pub(super) service: &'static str,
    pub(super) replica: usize,
    pub(super) sender: watch::Sender<Fault>,
}

impl Faults {
    pub(super) fn new(switches: Vec<Switch>) -> Self {
        Self { switches: Arc::new(switches) }
    }

    /// Sets the fault of one replica; replicas count from 0.
    pub fn set(&self, service: &str, replica: usize, fault: Fault) -> Result<()> {
        let found = self.switches.iter().find(|s| s.service == service && s.replica == replica);
        let switch = found.with_context(|| format!("the shop has no replica {replica} of `{service}`"))?;
        switch.sender.send_replace(fault);
        Ok(())
    }

    /// Freezes one replica for a time; blocks the caller's task, not its thread.
    pub async fn freeze_for(&self, service: &str, replica: usize, duration: Duration) -> Result<()> {
        self.set(service, replica, Fault::frozen())?;
        tokio::time::sleep(duration).await;
        self.set(service, replica, Fault::default())
    }

    /// Heals every replica.
    pub fn clear(&self) {
        self.switches.iter().for_each(|switch| {
            switch.sender.send_replace(Fault::default());
        });
    }
}
