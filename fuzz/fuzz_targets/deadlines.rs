//! A deadline: passed on in the dialects that it came in, well formed, never longer than what is left.
#![no_main]

#[path = "../../crates/engine/tests/properties/deadlines.rs"]
mod law;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| law::holds(bytes));
