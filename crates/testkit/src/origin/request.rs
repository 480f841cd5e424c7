//! A request as an origin received it, split just far enough for a test to look at.

use crate::client::find;

/// The bytes of one request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Request {
    /// Request line and fields, with the empty line.
    pub head: Vec<u8>,
    /// The body, chunked coding removed.
    pub body: Vec<u8>,
    /// Trailer fields, names in lower case.
    pub trailers: Vec<(String, String)>,
}

impl Request {
    /// The request line.
    pub fn line(&self) -> String {
        let end = find(&self.head, b"\r\n").unwrap_or(self.head.len());
        String::from_utf8_lossy(&self.head[..end]).into_owned()
    }

    /// The method.
    pub fn method(&self) -> String {
        self.line().split(' ').next().unwrap_or_default().to_owned()
    }

    /// The request target.
    pub fn target(&self) -> String {
        self.line().split(' ').nth(1).unwrap_or_default().to_owned()
    }

    /// Field names in lower case with their values, in order.
    pub fn fields(&self) -> Vec<(String, String)> {
        fields_of(&self.head)
    }

    /// The first value of a field.
    pub fn header(&self, name: &str) -> Option<String> {
        self.fields().into_iter().find(|(field, _)| field == name).map(|(_, value)| value)
    }

    /// Every value of a field.
    pub fn headers(&self, name: &str) -> Vec<String> {
        self.fields().into_iter().filter(|(field, _)| field == name).map(|(_, value)| value).collect()
    }

    /// Whether the body is chunked.
    pub fn is_chunked(&self) -> bool {
        self.header("transfer-encoding").is_some_and(|value| value.to_ascii_lowercase().contains("chunked"))
    }

    /// The declared length; 0 without one.
    pub fn content_length(&self) -> usize {
        self.header("content-length").and_then(|value| value.trim().parse().ok()).unwrap_or(0)
    }
}

/// The fields between the first line and the empty line.
pub(super) fn fields_of(head: &[u8]) -> Vec<(String, String)> {
    let text = String::from_utf8_lossy(head);
    let pairs = text.split("\r\n").skip(1).filter_map(|line| line.split_once(':'));
    pairs.map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned())).collect()
}
