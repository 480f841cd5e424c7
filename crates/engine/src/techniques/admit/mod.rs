//! Admit: what an upstream is spared, so that it answers the rest.

pub mod breaker;
pub mod criticality;
pub mod limit;
pub mod queue;
pub mod rate;
pub mod shed;
#[cfg(test)]
mod tests;
