//! What a caller says to this hop: none of it goes further, and nothing else is lost by it.
#![no_main]

#[path = "../../crates/engine/tests/properties/hop.rs"]
mod law;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| law::holds(bytes));
