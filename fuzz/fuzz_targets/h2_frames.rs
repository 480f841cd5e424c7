//! HTTP/2 frames: the same count of glitches for every cut of the reads.
#![no_main]

#[path = "../../crates/engine/tests/properties/cuts.rs"]
mod cuts;
#[path = "../../crates/engine/tests/properties/h2_frames.rs"]
mod law;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| law::holds(bytes));
