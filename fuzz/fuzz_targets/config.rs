//! Any text at all is read as a config: it gives a config or problems that can be shown, never a panic.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Err(problems) = unlag_config::parse(text, "unlag.toml") {
        // Pointing at the place in the text is where spans go wrong.
        assert!(!problems.to_string().is_empty(), "a refusal says why");
    }
});
