//! The demo shop: five services, seven replicas, each with a capacity of its own.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Result;
use tokio::sync::watch;

use super::fault::{Fault, Faults, Switch};
use super::replica::{Character, Replica};
use super::serve::{ANYWHERE, Thread, listen, serve};
use crate::load::Request;

/// Replicas and character of each service. Mean times are 5 to 30 ms, as in-house services have; four workers
/// each, so that one replica ten times slower is overloaded by its equal share of 100 requests/s.
const SERVICES: [(usize, Character); 5] = [
    (3, character("catalog", 4, 8, 0.5, 2_048)),
    (1, character("cart", 4, 5, 0.4, 700)),
    (1, character("users", 4, 4, 0.4, 500)),
    (1, character("recommend", 8, 20, 0.6, 1_500)),
    (1, character("orders", 6, 25, 0.5, 400)),
];

/// Distinct requests of each kind, so that neighbours rarely ask for the same thing.
const IDS: u32 = 16;

const BEST_SELLERS: u32 = 6;

const fn character(
    service: &'static str,
    workers: usize,
    median_ms: u64,
    sigma: f64,
    answer_bytes: usize,
) -> Character {
    Character { service, workers, median: Duration::from_millis(median_ms), sigma, answer_bytes }
}

/// One service of the shop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Its name, which is also the first segment of its paths: `/catalog/7`.
    pub name: &'static str,
    /// Where its replicas listen.
    pub replicas: Vec<SocketAddr>,
}

/// The running shop: every replica on a loopback port of its own, all on one thread. Ends when dropped.
#[derive(Debug)]
pub struct Shop {
    /// The services with their addresses.
    pub services: Vec<Service>,
    /// Switches faults while the shop runs.
    pub faults: Faults,
    requests: Arc<AtomicU64>,
    _thread: Thread,
}

impl Shop {
    /// Opens the shop. Service times follow from the seed 1.
    pub fn start() -> Result<Self> {
        Self::start_seeded(1)
    }

    /// Opens the shop with service times that follow from `seed`.
    pub fn start_seeded(seed: u64) -> Result<Self> {
        let (mut switches, mut plans) = (Vec::new(), Vec::new());
        for (replicas, character) in SERVICES {
            for number in 0..replicas {
                let (sender, receiver) = watch::channel(Fault::default());
                switches.push(Switch { service: character.service, replica: number, sender });
                plans.push((character, number, receiver));
            }
        }
        let requests = Arc::<AtomicU64>::default();
        let counted = Arc::clone(&requests);
        let (addresses, thread) = Thread::start("shop", move || {
            let mut addresses = Vec::new();
            for (index, (character, number, fault)) in plans.into_iter().enumerate() {
                let (listener, address) = listen(ANYWHERE)?;
                addresses.push(address);
                let seed = seed.wrapping_mul(1_000) + index as u64;
                let replica = Replica::new(character, number, seed, fault, Arc::clone(&counted));
                tokio::task::spawn_local(serve(replica, listener));
            }
            Ok((addresses, std::future::pending()))
        })?;
        let mut addresses = addresses.into_iter();
        let services = SERVICES.map(|(replicas, character)| Service {
            name: character.service,
            replicas: addresses.by_ref().take(replicas).collect(),
        });
        Ok(Self { services: services.into(), faults: Faults::new(switches), requests, _thread: thread })
    }

    /// Where the replicas of a service listen; empty for a name the shop does not have.
    pub fn addresses(&self, service: &str) -> &[SocketAddr] {
        self.services.iter().find(|s| s.name == service).map_or(&[], |s| s.replicas.as_slice())
    }

    /// Requests that the replicas have answered so far, health checks left out.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Product pages of the catalogue, the same for everybody: a few best sellers. `shelf` is the second segment of their
    /// paths, `products` or `cached`: the shop makes no difference between the two, so that a proxy can.
    pub fn products(shelf: &str) -> Vec<Request> {
        let page = |id: u32| Request::typical_get(&format!("/catalog/{shelf}/{id}")).called("products");
        (1..=BEST_SELLERS).map(page).collect()
    }

    /// Pictures and scripts, 40 ms each, the same for everybody for a second. `shelf` is `assets` or `edge`.
    pub fn assets(shelf: &str) -> Vec<Request> {
        let asset = |name| Request::typical_get(&format!("/catalog/{shelf}/{name}")).called("assets");
        ["shop.js", "shop.css", "logo.svg", "hero.webp"].map(asset).into()
    }

    /// What customers ask for: mostly the catalogue, an order now and then. Paths start with the service's name.
    pub fn mix() -> Vec<Request> {
        let mut mix = Vec::new();
        for id in 1..=IDS {
            let get =
                |name: &str, path: String, weight| Request::typical_get(&path).called(name).weighing(weight);
            mix.push(get("catalog", format!("/catalog/{id}"), 50));
            mix.push(get("cart", format!("/cart/{id}"), 18));
            mix.push(get("users", format!("/users/{id}"), 16));
            mix.push(get("recommend", format!("/recommend/{id}?n=8"), 11));
            mix.push(Request::typical_post("/orders", 256 + id as usize).called("orders").weighing(5));
        }
        mix
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        self.faults.clear();
    }
}
