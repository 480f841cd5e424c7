//! The simulator: where balancing and hedging are designed. A seeded world of replicas, faults and requests, in which the
//! policies of others and our own meet the same load, faster than any clock.
//!
//! [`scenario`] says what a world is made of, [`catalogue`] names the worlds, [`policy`] the policies; [`world`] runs one,
//! [`table`] compares them.
#![allow(
    clippy::indexing_slicing,
    reason = "every index is the simulator's own; a wrong one must stop the run"
)]

mod agenda;
pub mod balancer;
pub mod catalogue;
mod copies;
mod faults;
mod hedge;
mod knee;
mod learned;
pub mod outcome;
pub mod pace;
pub mod policy;
pub mod scenario;
mod server;
pub mod table;
#[cfg(test)]
mod tests;
mod unlag;
pub mod world;

pub use outcome::Outcome;
pub use policy::Policy;
pub use scenario::Scenario;

/// Runs a policy in a scenario once for each seed and puts the figures together.
pub fn run(scenario: &Scenario, policy: &Policy, seeds: u64, requests: usize) -> Outcome {
    let mut all = world::World::new(scenario, policy, 1, requests).run();
    for seed in 2..=seeds {
        all.merge(&world::World::new(scenario, policy, seed, requests).run());
    }
    all
}
