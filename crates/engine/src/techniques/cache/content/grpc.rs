//! gRPC calls with one message each way. A message has no canonical form (Protocol Buffers promise none), so equal bytes are the
//! same question and nothing else is.

use crate::http::Fields;

/// The one message of a call with its frame, if there is exactly one.
pub fn message(content: &[u8]) -> Option<&[u8]> {
    let (&[_, a, b, c, d], message) = content.split_first_chunk::<5>()?;
    let length = u32::from_be_bytes([a, b, c, d]) as usize;
    (message.len() == length).then_some(content)
}

/// Whether the call has succeeded: what stands in trailers, or in the head of an answer without content.
pub fn is_ok(fields: &Fields) -> bool {
    fields.get_named("grpc-status") == Some(b"0")
}

#[cfg(test)]
mod tests {
    use super::message;

    #[test]
    fn one_whole_message_is_a_call_that_can_be_compared() {
        assert!(message(b"\0\0\0\0\x02ab").is_some() && message(b"\0\0\0\0\0").is_some());
        for other in [&b""[..], b"\0\0\0\0", b"\0\0\0\0\x02a", b"\0\0\0\0\x01ab", b"\0\0\0\0\0\0\0\0\0\0"] {
            assert_eq!(message(other), None);
        }
    }
}
