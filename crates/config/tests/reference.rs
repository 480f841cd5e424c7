//! docs/config.md is what the table of keys says, word for word.

use std::path::Path;

#[test]
fn the_reference_in_docs_is_the_one_that_the_keys_give() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/config.md");
    let expected = unlag_config::reference();
    if std::env::var_os("UNLAG_UPDATE").is_some() {
        std::fs::write(&file, &expected).expect("docs/config.md is writable");
    }
    let written = std::fs::read_to_string(&file).expect("docs/config.md");
    assert!(written == expected, "docs/config.md is out of date: run this test once with UNLAG_UPDATE=1");
}
