//! Where a message's content ends (RFC 9112 §6.3), and the refusal of every head that two parsers could frame differently.

use crate::http::fields::Fields;
use crate::http::head::Version;
use crate::http::name::Name;

/// How the content of a message is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// There is none.
    None,
    /// So many bytes follow.
    Length(u64),
    /// Chunks follow, then maybe trailers.
    Chunked,
    /// Everything until the peer closes; responses only.
    UntilClose,
}

/// Why the framing of a head is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages are the documentation")]
pub enum FramingError {
    #[error("Content-Length and Transfer-Encoding exclude each other")]
    Both,
    #[error("Content-Length is not one decimal number")]
    Length,
    #[error("there is more than one Content-Length")]
    Lengths,
    #[error("Transfer-Encoding is something other than \"chunked\"")]
    Coding,
    #[error("HTTP/1.0 has no Transfer-Encoding")]
    CodingInHttp10,
}

/// The framing of a request.
pub fn of_request(fields: &Fields, version: Version) -> Result<Framing, FramingError> {
    declared(fields, version).map(|framing| framing.unwrap_or(Framing::None))
}

/// The framing of a response; `bodiless` as [`crate::http::ResponseHead::is_bodiless`] says.
pub fn of_response(fields: &Fields, version: Version, bodiless: bool) -> Result<Framing, FramingError> {
    let framing = match declared(fields, version) {
        Err(FramingError::Coding) if is_unregistered(fields) => Framing::UntilClose,
        declared => declared?.unwrap_or(Framing::UntilClose),
    };
    Ok(if bodiless { Framing::None } else { framing })
}

/// Codings that have a meaning (IANA), and what could be taken for one by somebody else: content in one of them that is passed on
/// without saying so would be another content.
const REGISTERED: [&[u8]; 6] = [b"chunk", b"gzip", b"compress", b"deflate", b"identity", b"trailers"];
/// Content codings that are sent as transfer codings by mistake.
const MISPLACED: [&[u8]; 3] = [b"br", b"zstd", b"zlib"];

/// Whether the one coding of a response is a word that means nothing to anybody. Then everything until the close is its content
/// (RFC 9112 §6.3, item 4), and no second message can be read out of it.
fn is_unregistered(fields: &Fields) -> bool {
    let mut codings = fields.all(Name::TransferEncoding);
    let (Some(coding), None) = (codings.next(), codings.next()) else { return false };
    let coding = coding.to_ascii_lowercase();
    let is_word =
        !coding.is_empty() && coding.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-');
    let resembles = |known: &&[u8]| memchr::memmem::find(&coding, known).is_some();
    is_word && !REGISTERED.iter().any(resembles) && !MISPLACED.contains(&coding.as_slice())
}

fn declared(fields: &Fields, version: Version) -> Result<Option<Framing>, FramingError> {
    let mut codings = fields.all(Name::TransferEncoding);
    let mut lengths = fields.all(Name::ContentLength);
    let Some(coding) = codings.next() else {
        let Some(length) = lengths.next() else { return Ok(None) };
        if lengths.next().is_some() {
            return Err(FramingError::Lengths);
        }
        return parse_length(length).map(|length| Some(Framing::Length(length))).ok_or(FramingError::Length);
    };
    if version == Version::Http10 {
        return Err(FramingError::CodingInHttp10);
    }
    if lengths.next().is_some() {
        return Err(FramingError::Both);
    }
    if codings.next().is_some() || !coding.eq_ignore_ascii_case(b"chunked") {
        return Err(FramingError::Coding);
    }
    Ok(Some(Framing::Chunked))
}

/// A Content-Length: 1 to 19 digits and nothing else, so that it cannot overflow.
pub fn parse_length(value: &[u8]) -> Option<u64> {
    if value.is_empty() || value.len() > 19 {
        return None;
    }
    value
        .iter()
        .try_fold(0, |length, byte| byte.is_ascii_digit().then(|| length * 10 + u64::from(byte - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framing(fields: &[(&str, &str)]) -> Result<Framing, FramingError> {
        let mut list = Fields::default();
        for (name, value) in fields {
            list.push(name.as_bytes(), value.as_bytes());
        }
        of_request(&list, Version::Http11)
    }

    #[test]
    fn a_coding_that_means_nothing_leaves_the_close_as_the_end_of_a_response_and_nothing_else_does() {
        let of = |list: &[(&str, &str)]| {
            let mut fields = Fields::default();
            list.iter().for_each(|(name, value)| fields.push(name.as_bytes(), value.as_bytes()));
            of_response(&fields, Version::Http11, false)
        };
        assert_eq!(of(&[("Transfer-Encoding", "some-word")]), Ok(Framing::UntilClose));
        for bad in ["gzip", "xchunked", "chunked, word", "word, chunked", "word;q=1", "identity", ""] {
            assert_eq!(of(&[("Transfer-Encoding", bad)]), Err(FramingError::Coding), "{bad}");
        }
        let both = [("Transfer-Encoding", "word"), ("Content-Length", "5")];
        assert_eq!(of(&both), Err(FramingError::Both));
        assert_eq!(
            of(&[("Transfer-Encoding", "word"), ("Transfer-Encoding", "word")]),
            Err(FramingError::Coding)
        );
    }

    #[test]
    fn only_one_clear_statement_frames_a_message() {
        assert_eq!(framing(&[]), Ok(Framing::None));
        assert_eq!(framing(&[("Content-Length", "0")]), Ok(Framing::Length(0)));
        assert_eq!(framing(&[("transfer-encoding", "Chunked")]), Ok(Framing::Chunked));
        for bad in ["+5", "5,5", "0x5", "12345678901234567890", "", "5 5", "-1", "５"] {
            assert_eq!(framing(&[("Content-Length", bad)]), Err(FramingError::Length), "{bad}");
        }
        assert_eq!(framing(&[("Content-Length", "5"), ("content-length", "5")]), Err(FramingError::Lengths));
        assert_eq!(
            framing(&[("Content-Length", "5"), ("Transfer-Encoding", "chunked")]),
            Err(FramingError::Both)
        );
        for bad in ["gzip, chunked", "chunked, chunked", "identity", "xchunked", "chunked;a=b", ""] {
            assert_eq!(framing(&[("Transfer-Encoding", bad)]), Err(FramingError::Coding), "{bad}");
        }
    }
}
