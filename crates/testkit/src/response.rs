//! A strict reader of HTTP/1.1 responses that shares no code with the proxy: what it accepts is well-formed, and a
//! body that ends early is a cut, never a short success.

use std::fmt;

/// The head of a response, interim or final.
#[derive(Debug, Clone, Default)]
pub struct Head {
    /// The status code.
    pub status: u16,
    /// Field names in lower case with their values, in order.
    pub fields: Vec<(String, String)>,
}

impl Head {
    /// The first value of a field.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(field, _)| field == name).map(|(_, value)| value.as_str())
    }

    /// Every value of a field.
    pub fn headers(&self, name: &str) -> Vec<&str> {
        self.fields.iter().filter(|(field, _)| field == name).map(|(_, value)| value.as_str()).collect()
    }
}

/// A whole response: nothing of it is missing.
#[derive(Debug, Clone, Default)]
pub struct Response {
    /// The 1xx heads that came first.
    pub interim: Vec<Head>,
    /// The final head.
    pub head: Head,
    /// The decoded body.
    pub body: Vec<u8>,
    /// The trailer fields, names in lower case.
    pub trailers: Vec<(String, String)>,
    /// How the end of the body was found.
    pub framing: Framing,
}

impl Response {
    /// The status code.
    pub fn status(&self) -> u16 {
        self.head.status
    }

    /// The first value of a field.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.header(name)
    }

    /// The body without its encoding.
    pub fn decoded(&self) -> Vec<u8> {
        crate::encoding::decoded(self.header("content-encoding"), &self.body)
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Whether the connection ends with this response.
    pub fn closes(&self) -> bool {
        self.framing == Framing::Close
            || self.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }
}

/// How a body ends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Framing {
    /// There is none.
    #[default]
    None,
    /// Content-Length.
    Length(u64),
    /// Transfer-Encoding: chunked.
    Chunked,
    /// The end of the connection.
    Close,
}

/// Why no whole response came.
#[derive(Debug, Clone)]
pub enum ReadError {
    /// The connection ended before a byte of a response.
    Closed,
    /// The connection ended within a response; what had come until then.
    Cut(Box<Response>),
    /// Bytes that no strict reader accepts.
    Malformed(String),
    /// Nothing more came in time.
    Timeout,
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReadError::Closed => f.write_str("closed without a response"),
            ReadError::Cut(seen) => {
                write!(f, "cut after status {} and {} bytes", seen.status(), seen.body.len())
            }
            ReadError::Malformed(what) => write!(f, "malformed response: {what}"),
            ReadError::Timeout => f.write_str("no response in time"),
        }
    }
}

fn malformed<T>(what: impl Into<String>) -> Result<T, ReadError> {
    Err(ReadError::Malformed(what.into()))
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Parses field lines, each without its CRLF.
pub fn parse_fields<'a>(lines: impl Iterator<Item = &'a [u8]>) -> Result<Vec<(String, String)>, ReadError> {
    let mut fields = Vec::new();
    for line in lines {
        let shown = String::from_utf8_lossy(line).into_owned();
        let Some(colon) = line.iter().position(|byte| *byte == b':') else {
            return malformed(format!("a field without a colon: {shown:?}"));
        };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if name.is_empty() || !name.iter().copied().all(is_token) {
            return malformed(format!("a field name: {shown:?}"));
        }
        if value.iter().any(|byte| (*byte < 0x20 && *byte != b'\t') || *byte == 0x7f) {
            return malformed(format!("a field value: {shown:?}"));
        }
        fields.push((
            String::from_utf8_lossy(name).to_ascii_lowercase(),
            String::from_utf8_lossy(value).into_owned(),
        ));
    }
    Ok(fields)
}

/// Parses a head whose bytes end before the empty line.
pub fn parse_head(bytes: &[u8]) -> Result<Head, ReadError> {
    let mut lines = split_crlf(bytes)?.into_iter();
    let line = lines.next().unwrap_or_default();
    let shown = String::from_utf8_lossy(line).into_owned();
    let Some(rest) = line.strip_prefix(b"HTTP/1.1 ") else {
        return malformed(format!("a status line: {shown:?}"));
    };
    let digits = rest.get(..3).filter(|digits| digits.iter().all(u8::is_ascii_digit));
    let (Some(digits), Some(b' ')) = (digits, rest.get(3)) else {
        return malformed(format!("a status line: {shown:?}"));
    };
    let status = digits.iter().fold(0, |sum, digit| sum * 10 + u16::from(digit - b'0'));
    Ok(Head { status, fields: parse_fields(lines)? })
}

fn split_crlf(bytes: &[u8]) -> Result<Vec<&[u8]>, ReadError> {
    let mut lines = Vec::new();
    for (index, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        let last = bytes.len() == lines.iter().map(|line: &&[u8]| line.len() + 2).sum::<usize>() + line.len();
        let line = match (last, line.strip_suffix(b"\r")) {
            (false, Some(line)) => line,
            (true, None) => line,
            _ => return malformed(format!("line {index} does not end in CRLF")),
        };
        lines.push(line);
    }
    Ok(lines)
}

/// Which framing a final head declares for the answer to `method`.
pub fn framing_of(method: &str, head: &Head) -> Result<Framing, ReadError> {
    let (lengths, encodings) = (head.headers("content-length"), head.headers("transfer-encoding"));
    if !lengths.is_empty() && !encodings.is_empty() {
        return malformed("Content-Length beside Transfer-Encoding");
    }
    if method == "HEAD" || head.status < 200 || head.status == 204 || head.status == 304 {
        return match head.status {
            204 | 100..=199 if !(lengths.is_empty() && encodings.is_empty()) => {
                malformed(format!("a body declared on {}", head.status))
            }
            _ => Ok(Framing::None),
        };
    }
    match (lengths.as_slice(), encodings.as_slice()) {
        ([], []) => Ok(Framing::Close),
        ([length], []) if !length.is_empty() && length.bytes().all(|byte| byte.is_ascii_digit()) => {
            length.parse().map(Framing::Length).or_else(|_| malformed("a Content-Length beyond 64 bits"))
        }
        ([], ["chunked"]) => Ok(Framing::Chunked),
        _ => malformed(format!("lengths {lengths:?}, encodings {encodings:?}")),
    }
}

/// Parses the size line of a chunk, without its CRLF.
pub fn parse_chunk_size(line: &[u8]) -> Result<u64, ReadError> {
    let digits = line.split(|byte| *byte == b';').next().unwrap_or_default();
    let text = std::str::from_utf8(digits).unwrap_or("");
    if text.is_empty() || text.len() > 15 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return malformed(format!("a chunk size: {:?}", String::from_utf8_lossy(line)));
    }
    u64::from_str_radix(text, 16).or_else(|_| malformed("a chunk size"))
}
