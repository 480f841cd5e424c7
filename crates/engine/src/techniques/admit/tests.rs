//! What is admitted, what waits and what is refused: the decisions, each alone and together in front of simulated services.

mod breaker;
mod limit;
mod queue;
mod rate;
mod room;
mod simulation;
