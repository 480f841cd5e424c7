//! A file of endpoints: a bounded list that reads back the same, or problems that point into the text.
#![no_main]

#[path = "../../crates/config/tests/total/endpoints.rs"]
mod law;

libfuzzer_sys::fuzz_target!(|text: &str| law::holds(text));
