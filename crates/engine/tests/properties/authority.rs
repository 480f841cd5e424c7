//! An authority that is accepted names one host and at most one port, for us and for every other reader.

use unlag_engine::http::target;

/// Panics when the law does not hold for `bytes`.
pub(crate) fn holds(bytes: &[u8]) {
    let (host, port) = target::split_port(bytes);
    let length = host.len() + port.map_or(0, |port| port.len() + 1);
    assert_eq!(length, bytes.len(), "no byte is lost: {}", bytes.escape_ascii());
    if target::check_authority(bytes).is_err() {
        return;
    }
    let shown = bytes.escape_ascii();
    let is_foreign = |byte: &u8| !byte.is_ascii_graphic() || b"@/\\?#%<>\"{}|^`".contains(byte);
    assert!(!bytes.iter().any(is_foreign), "{shown}");
    assert!(!host.is_empty(), "{shown}");
    let number = port.map(|port| std::str::from_utf8(port).ok().and_then(|port| port.parse::<u16>().ok()));
    assert_ne!(number, Some(None), "the port is no number: {shown}");
    assert_eq!(target::check_authority(&bytes.to_ascii_lowercase()), Ok(()), "in lower case: {shown}");
    // The reader behind the HTTP/2 half must find the same two parts in it.
    let other = http::uri::Authority::try_from(bytes);
    let other = other.unwrap_or_else(|error| panic!("not an authority to others: {error}: {shown}"));
    assert_eq!(other.host().as_bytes(), host, "{shown}");
    assert_eq!(other.port_u16(), number.flatten(), "{shown}");
}
