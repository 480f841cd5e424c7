//! Services to put behind a proxy: a lean one that costs little beside what is measured, one whose answers are as fresh
//! and as late as their path says, and a shop of slow ones whose replicas have a capacity of their own and faults that
//! can be switched on.

mod backend;
mod date;
mod fault;
mod origin;
mod receive;
mod replica;
mod replicas;
mod serve;
mod shop;

pub use backend::Backend;
pub use fault::{Fault, Faults};
pub use origin::{Origin, Policy, Resource};
pub(crate) use replicas::ask;
pub use replicas::{
    Addresses, Outage, RelaySpec, ReplicaCounts, ReplicaSpec, Replicas, ReplicasReport, ReplicasSpec, Role,
    SENT_FIELD, STRETCH, Timed, When, Work, Wrong,
};
pub use shop::{Service, Shop};
