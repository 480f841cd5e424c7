//! A chunked body: the same content and end for every cut of the reads, never more than came in, never stuck.
#![no_main]

#[path = "../../crates/engine/tests/properties/cuts.rs"]
mod cuts;
#[path = "../../crates/engine/tests/properties/chunked_body.rs"]
mod law;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| law::holds(bytes));
