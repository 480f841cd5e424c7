//! The answers of Memcached's meta protocol, parsed by a strict reader that never holds more than its bounds.
//!
//! ```text
//! HD <flags>*\r\n         done                   EN\r\n   a miss             NF\r\n  no such item
//! VA <size> <flags>*\r\n<bytes>\r\n  a value     NS\r\n   not stored         EX\r\n  it has changed
//! MN\r\n                  no-op                  ERROR, CLIENT_ERROR, SERVER_ERROR <text>
//! ```

use bytes::{Buf, Bytes, BytesMut};

/// The longest line: flags echo at most a key, which has at most 250 bytes.
const LINE_MAX: usize = 2048;

/// The largest value that is read; larger ones cannot be ours.
const VALUE_MAX: usize = crate::envelope::PLAIN_MAX;

/// One answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reply {
    /// `HD`: it is done.
    Done,
    /// `VA`: a value.
    Value {
        /// It.
        value: Bytes,
        /// The seconds until it expires, if that was asked for (flag `t`) and it does.
        left_s: Option<u32>,
    },
    /// `EN` or `NF`: there is no such item.
    Absent,
    /// `NS` or `EX`: not stored, because of what is there already.
    Kept,
    /// `MN`: the answer to a no-op.
    Nothing,
    /// An error, in the server's words.
    Error(String),
}

/// What came is no answer; the connection cannot be used any further.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("not an answer of memcached's meta protocol: {0}")]
pub struct Malformed(pub &'static str);

/// The next answer, taken off the front; `None` while it is not complete.
pub fn parse(buffer: &mut BytesMut) -> Result<Option<Reply>, Malformed> {
    let within = buffer.get(..LINE_MAX).unwrap_or(buffer);
    let Some(end) = within.iter().position(|byte| *byte == b'\n') else {
        return if buffer.len() >= LINE_MAX { Err(Malformed("the line has no end")) } else { Ok(None) };
    };
    let line = buffer.get(..end).and_then(|line| line.strip_suffix(b"\r"));
    let line = line.ok_or(Malformed("a line ends without a carriage return"))?;
    let mut words = line.split(|byte| *byte == b' ');
    let code = words.next().unwrap_or_default();
    let reply = match code {
        b"VA" => {
            let size = size(words.next().unwrap_or_default())?;
            let left_s = words.find_map(|word| word.strip_prefix(b"t")).and_then(seconds);
            return value(size, left_s, end + 1, buffer);
        }
        b"HD" => Reply::Done,
        b"EN" | b"NF" => Reply::Absent,
        b"NS" | b"EX" => Reply::Kept,
        b"MN" => Reply::Nothing,
        b"ERROR" | b"CLIENT_ERROR" | b"SERVER_ERROR" => {
            Reply::Error(String::from_utf8_lossy(line).into_owned())
        }
        _ => return Err(Malformed("an unknown code")),
    };
    buffer.advance(end + 1);
    Ok(Some(reply))
}

fn size(size: &[u8]) -> Result<usize, Malformed> {
    let digits = !size.is_empty() && size.len() <= 9 && size.iter().all(u8::is_ascii_digit);
    let size = std::str::from_utf8(size).ok().filter(|_| digits).and_then(|size| size.parse::<usize>().ok());
    let size = size.ok_or(Malformed("the size of a value is no number"))?;
    if size > VALUE_MAX {
        return Err(Malformed("a value larger than any of ours"));
    }
    Ok(size)
}

fn seconds(digits: &[u8]) -> Option<u32> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

fn value(
    size: usize,
    left_s: Option<u32>,
    start: usize,
    buffer: &mut BytesMut,
) -> Result<Option<Reply>, Malformed> {
    let Some(rest) = buffer.get(start..) else { return Ok(None) };
    let Some(end) = rest.get(size..size + 2) else {
        // No more room than what has come asks for, however large the server says that it will be.
        return Ok(None);
    };
    if end != b"\r\n" {
        return Err(Malformed("a value does not end where it says"));
    }
    buffer.advance(start);
    let value = buffer.split_to(size).freeze();
    buffer.advance(2);
    Ok(Some(Reply::Value { value, left_s }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(bytes: &[u8]) -> Result<(Vec<Reply>, usize), Malformed> {
        let mut buffer = BytesMut::from(bytes);
        let mut replies = Vec::new();
        while let Some(reply) = parse(&mut buffer)? {
            replies.push(reply);
        }
        Ok((replies, buffer.len()))
    }

    #[test]
    fn answers_are_told_apart() {
        let text = b"HD\r\nHD f1 t30\r\nVA 3 f0\r\na\r\n\r\nVA 0 t30\r\n\r\nVA 0 f1 t-1\r\n\r\nEN\r\nNF\r\nNS\r\nEX\r\nMN\r\nSERVER_ERROR out of memory\r\nVA 4\r\nab";
        let (replies, rest) = all(text).unwrap();
        use Reply::{Absent, Done, Error, Kept, Nothing, Value};
        let three = Value { value: Bytes::from_static(b"a\r\n"), left_s: None };
        let none = |left_s| Value { value: Bytes::new(), left_s };
        let error = Error("SERVER_ERROR out of memory".into());
        assert_eq!(
            replies,
            [Done, Done, three, none(Some(30)), none(None), Absent, Absent, Kept, Kept, Nothing, error]
        );
        assert_eq!(rest, "VA 4\r\nab".len());
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        for text in [
            "HELLO\r\n",
            "HD\n",
            "VA\r\n",
            "VA x\r\n",
            "VA -1\r\n",
            "VA 2\r\nabc\r\n",
            "VA 999999999\r\n",
            "\r\n",
        ] {
            assert!(all(text.as_bytes()).is_err(), "{text:?}");
        }
        assert!(all(&[b'A'; LINE_MAX]).is_err());
        assert_eq!(all(&[b'A'; LINE_MAX - 1]), Ok((vec![], LINE_MAX - 1)));
    }
}
