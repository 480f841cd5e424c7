//! The token that opens the admin API.

use std::fmt;
use std::hint::black_box;

/// A secret: never shown, compared in a time that does not depend on where the difference is.
#[derive(Clone)]
pub struct Token(Box<str>);

impl Token {
    /// Wraps a secret. `None` for an empty one, which would let everybody in.
    pub fn new(secret: &str) -> Option<Token> {
        let secret = secret.trim();
        (!secret.is_empty()).then(|| Token(secret.into()))
    }

    /// Whether `candidate` is the secret. Looks at every byte of the candidate either way.
    pub(crate) fn matches(&self, candidate: &[u8]) -> bool {
        let mut difference = u8::from(candidate.len() != self.0.len());
        for (candidate, secret) in candidate.iter().zip(self.0.bytes().cycle()) {
            difference = black_box(difference | (candidate ^ secret));
        }
        difference == 0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(masked)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_very_secret_matches() {
        let token = Token::new("s3cret\n").unwrap();
        assert!(token.matches(b"s3cret"));
        for wrong in ["", "s3cre", "s3cret ", "s3crets3cret", "S3cret", "x3cret"] {
            assert!(!token.matches(wrong.as_bytes()), "{wrong}");
        }
    }

    #[test]
    fn an_empty_secret_is_no_token_and_a_token_is_never_shown() {
        assert!(Token::new(" \n").is_none());
        assert_eq!(format!("{:?}", Token::new("s3cret")), "Some(Token(masked))");
    }
}
