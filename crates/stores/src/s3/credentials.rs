//! Credentials given to us rather than found by the SDK's chain (a named endpoint of the
//! configuration file, a test).

use std::fmt;

/// An access key. Shown without its secrets.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// Access key id.
    pub access_key_id: String,
    /// Secret access key.
    pub secret_access_key: String,
    /// Session token of temporary credentials.
    pub session_token: Option<String>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("access_key_id", &self.access_key_id)
            .finish_non_exhaustive()
    }
}

impl From<Credentials> for aws_credential_types::Credentials {
    fn from(given: Credentials) -> Self {
        Self::new(
            given.access_key_id,
            given.secret_access_key,
            given.session_token,
            None,
            "configuration",
        )
    }
}

/// Whether a service that gives credentials has refused for good, by the codes that say so: it is not asked again.
pub(super) fn is_final(code: Option<&str>, refusals: &[&str]) -> bool {
    code.is_some_and(|code| refusals.contains(&code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_shown() {
        let credentials = Credentials {
            access_key_id: "id".into(),
            secret_access_key: "geheim".into(),
            session_token: Some("token-geheim".into()),
        };
        let shown = format!("{credentials:?}");
        assert!(shown.contains("id") && !shown.contains("geheim"), "{shown}");
    }
}
