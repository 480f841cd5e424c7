//! A path has one form: bringing it there twice changes nothing, and nothing in it leads elsewhere or hides anything.

use unlag_engine::http::target;

/// Panics when the law does not hold for `bytes`.
pub(crate) fn holds(bytes: &[u8]) {
    if let Ok(once) = target::normalise(bytes) {
        let again = target::normalise(&once);
        assert_eq!(again.as_deref(), Ok(&*once), "twice: {}", bytes.escape_ascii());
        leads_nowhere_else(&once);
    }
    // Bytes of a head reach the paths only through `split`, which refuses what may not stand in any target.
    if let Ok(parts) = target::split(bytes)
        && parts.path != b"*"
        && let Ok(path) = target::normalise(parts.path)
    {
        hides_nothing(&path);
    }
}

fn leads_nowhere_else(path: &[u8]) {
    assert_eq!(path.first(), Some(&b'/'), "{}", path.escape_ascii());
    for segment in path.split(|&byte| byte == b'/') {
        let decoded = decoded(segment);
        let is_dots = matches!(segment, b"." | b"..") || matches!(decoded.as_slice(), b"." | b"..");
        assert!(!is_dots, "a dot segment: {}", path.escape_ascii());
    }
}

fn hides_nothing(path: &[u8]) {
    let is_plain = |byte: &u8| byte.is_ascii_graphic() && !matches!(byte, b'\\' | b'#' | b'?');
    assert!(path.iter().all(is_plain), "{}", path.escape_ascii());
    let decoded = decoded(path);
    assert!(!decoded.iter().any(u8::is_ascii_control), "an escaped control: {}", path.escape_ascii());
    let escapes = path.iter().filter(|&&byte| byte == b'%').count();
    assert_eq!(path.len() - decoded.len(), escapes * 2, "a broken escape: {}", path.escape_ascii());
}

/// The bytes with their escapes undone once; what is no escape stays.
fn decoded(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = bytes;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        let escape = tail.split_first_chunk::<2>().and_then(|(&[high, low], tail)| {
            Some((target::hex_digit(high)? << 4 | target::hex_digit(low)?, tail))
        });
        match escape {
            Some((value, tail)) if byte == b'%' => {
                out.push(value);
                rest = tail;
            }
            _ => out.push(byte),
        }
    }
    out
}
