//! Finds the end of a head and refuses, before anything is interpreted, the two liberties on which parsers disagree and that
//! httparse would take: lines that end in a bare LF, and continued lines (RFC 9112 §2.2, §5.2). A bare CR, NUL and other
//! control bytes are refused by httparse itself.

/// Why a head is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages are the documentation")]
pub enum ScanError {
    #[error("a line of the head ends without a carriage return")]
    BareLf,
    #[error("the head has a continued line")]
    Fold,
    #[error("the head is larger than allowed")]
    TooLarge,
}

/// Looks for the end of the head at the start of `buf`, at most `max` bytes long. Returns its length with the empty line, or
/// `None` while it is incomplete. `seen` is how much an earlier call has already found harmless.
pub fn head_end(buf: &[u8], seen: &mut usize, max: usize) -> Result<Option<usize>, ScanError> {
    let window = buf.get(..buf.len().min(max)).unwrap_or_default();
    // The last byte is looked at again: whether a line is continued is seen in the one after it.
    let mut from = seen.saturating_sub(1);
    while let Some(found) = memchr::memchr(b'\n', window.get(from..).unwrap_or_default()) {
        let at = from + found;
        from = at + 1;
        if at == 0 || window.get(at - 1) != Some(&b'\r') {
            return Err(ScanError::BareLf);
        }
        if at >= 3 && window.get(at - 3..at - 1) == Some(b"\r\n") {
            return Ok(Some(at + 1));
        }
        if matches!(window.get(at + 1), Some(b' ' | b'\t')) {
            return Err(ScanError::Fold);
        }
    }
    if buf.len() >= max {
        return Err(ScanError::TooLarge);
    }
    *seen = window.len();
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scan(bytes: &[u8]) -> Result<Option<usize>, ScanError> {
        head_end(bytes, &mut 0, 100)
    }

    #[test]
    fn the_end_is_the_first_empty_line() {
        assert_eq!(scan(b"GET / HTTP/1.1\r\nA: b\r\n\r\nmore"), Ok(Some(24)));
        assert_eq!(scan(b"GET / HTTP/1.1\r\nA: b\r\n\r"), Ok(None));
    }

    #[test]
    fn doubtful_bytes_are_refused_wherever_the_reads_were_cut() {
        for (bytes, why) in [
            (&b"GET / HTTP/1.1\nA: b\r\n\r\n"[..], ScanError::BareLf),
            (b"GET / HTTP/1.1\r\nA: b\n\r\n", ScanError::BareLf),
            (b"GET / HTTP/1.1\r\nA: b\r\n\n", ScanError::BareLf),
            (b"GET / HTTP/1.1\r\nA: b\r\n c\r\n\r\n", ScanError::Fold),
            (b"\nGET", ScanError::BareLf),
        ] {
            for cut in 0..=bytes.len() {
                let mut seen = 0;
                let first = head_end(&bytes[..cut], &mut seen, 100);
                let result = first.and_then(|_| head_end(bytes, &mut seen, 100));
                assert_eq!(result, Err(why), "{} cut at {cut}", bytes.escape_ascii());
            }
        }
    }

    #[test]
    fn an_endless_head_is_refused_at_the_limit() {
        assert_eq!(scan(&[b'a'; 99]), Ok(None));
        assert_eq!(scan(&[b'a'; 100]), Err(ScanError::TooLarge));
    }
}
