//! Trace context: whatever came, one well-formed context and one harmless request id go upstream.
#![no_main]

#[path = "../../crates/engine/tests/properties/trace_context.rs"]
mod law;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| law::holds(bytes));
