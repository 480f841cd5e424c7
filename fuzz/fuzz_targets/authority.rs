//! An authority: accepted, it is one host and at most one port, to other readers as well.
#![no_main]

#[path = "../../crates/engine/tests/properties/authority.rs"]
mod law;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| law::holds(bytes));
