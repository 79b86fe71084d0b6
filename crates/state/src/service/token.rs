//! The secret that a caller shows, of the state service and of a gateway's control API.

use std::fmt;
use std::path::Path;

use skyhaul_model::{Error, ErrorKind, Result};
use subtle::ConstantTimeEq as _;

/// Bytes of chance in a token that was made here.
const BYTES: usize = 32;

/// Fewest characters of a token that came from elsewhere.
const FEWEST: usize = 32;

/// A shared secret; never printed.
#[derive(Clone)]
pub struct Token(String);

impl Token {
    /// A token never used before, from the system's source of chance.
    #[must_use]
    pub fn generate() -> Self {
        let bytes: [u8; BYTES] = rand::random();
        Self(hex::encode(bytes))
    }

    /// A token that somebody else made: letters, digits, `-`, `_`, and at least 32 of them.
    pub fn parse(text: &str) -> Result<Self> {
        let text = text.trim();
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        if text.len() < FEWEST || !text.chars().all(fits) {
            let message = "a token has at least 32 letters, digits, `-` or `_`";
            return Err(Error::invalid(message));
        }
        Ok(Self(text.to_owned()))
    }

    /// Reads a token from a file, which keeps it out of command lines and environments.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| crate::fault::io(error, "cannot read the token", path))?;
        Self::parse(&text).map_err(|error| error.object(path.display().to_string()))
    }

    /// Its text, for whoever starts a caller. Not to be shown.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// The value of the header that shows it.
    #[must_use]
    pub fn header(&self) -> String {
        format!("Bearer {}", self.0)
    }

    /// Whether a header shows this token. Takes as long for any that has its length.
    #[must_use]
    pub fn is_shown_by(&self, header: Option<&[u8]>) -> bool {
        header.is_some_and(|header| header.ct_eq(self.header().as_bytes()).into())
    }

    pub(super) fn denied() -> Error {
        Error::control(
            ErrorKind::AccessDenied,
            "the state service does not accept this token",
        )
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_token_is_accepted_and_none_is_printed() {
        let token = Token::generate();
        assert!(token.is_shown_by(Some(token.header().as_bytes())));
        let mut other = token.header().into_bytes();
        other.pop();
        for wrong in [None, Some(&other[..]), Some(b""), Some(token.0.as_bytes())] {
            assert!(!token.is_shown_by(wrong));
        }
        other.push(b'x');
        assert!(!token.is_shown_by(Some(&other)));
        assert_eq!(format!("{token:?}"), "Token(…)");
    }

    #[test]
    fn short_and_odd_tokens_are_refused() {
        let token = Token::generate();
        assert!(Token::parse(&format!(" {}\n", token.0)).is_ok());
        for wrong in [
            "",
            "short",
            &"a".repeat(31),
            &"ä".repeat(32),
            &"a b".repeat(20),
        ] {
            assert_eq!(Token::parse(wrong).unwrap_err().kind, ErrorKind::Invalid);
        }
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "secret").unwrap();
        let error = Token::read(file.path()).unwrap_err().to_string();
        assert!(!error.contains("secret"), "{error}");
    }
}
