//! Services to put behind a proxy: a lean one that costs little beside what is measured, and a shop of slow
//! ones whose replicas have a capacity of their own and faults that can be switched on.

mod backend;
mod date;
mod fault;
mod receive;
mod replica;
mod shop;

pub use backend::Backend;
pub use fault::{Fault, Faults};
pub use shop::{Service, Shop};
