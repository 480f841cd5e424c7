//! A path: normalised once it stays as it is, without dot segments, controls or broken escapes.
#![no_main]

#[path = "../../crates/engine/tests/properties/path.rs"]
mod law;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| law::holds(bytes));
