//! One room per technique, all with the same furniture: `mod.rs` says what it is and holds the stage, `policy.rs` decides
//! (pure: state and `now` in, verdict out), `tests.rs` proves both. A technique knows neither its neighbours nor the
//! transport: it answers, or calls `next`.

pub mod admit;
pub mod attempt;
pub mod balance;
pub mod cache;
pub mod compress;
pub mod edge;
pub mod region;
