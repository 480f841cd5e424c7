//! A request head: the same verdict for every cut of the reads, the same meaning when it is written again.
#![no_main]

#[path = "../../crates/engine/tests/properties/cuts.rs"]
mod cuts;
#[path = "../../crates/engine/tests/properties/h1_request_head.rs"]
mod law;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| law::holds(bytes));
