//! Names of temporary files: whose they are can be read from the name, so that a sweep removes
//! only its own transfer's, and an open upload is found by its key.

use sha2::{Digest as _, Sha256};
use skyhaul_model::TransferId;

const START: &str = ".skyhaul-";
const END: &str = ".part";
const ID: usize = 26;
const HASH: usize = 16;
const RANDOM: usize = 16;
/// `.skyhaul-<id>-<kind><hash>-<random>.part`.
const LENGTH: usize = START.len() + ID + 2 + HASH + 1 + RANDOM + END.len();

/// What a temporary file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A whole object that waits for its commit.
    Staged,
    /// An open multipart upload.
    Upload,
}

impl Kind {
    fn letter(self) -> char {
        match self {
            Self::Staged => 's',
            Self::Upload => 'u',
        }
    }
}

/// The first 64 bits of the key's SHA-256 in hex.
fn hash(key: &str) -> String {
    hex::encode(&Sha256::digest(key.as_bytes())[..HASH / 2])
}

/// A name never used before.
pub(super) fn name(id: &TransferId, kind: Kind, key: &str) -> String {
    let random: u64 = rand::random();
    format!(
        "{START}{id}-{}{}-{random:016x}{END}",
        kind.letter(),
        hash(key)
    )
}

fn is_hex(bytes: &[u8]) -> bool {
    bytes
        .iter()
        .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Whether a file's name is one that [`name`] makes, for any transfer.
pub(super) fn is_temporary(name: &[u8]) -> bool {
    let Some(rest) = name.strip_prefix(START.as_bytes()) else {
        return false;
    };
    if name.len() != LENGTH || !rest.ends_with(END.as_bytes()) {
        return false;
    }
    let (id, rest) = rest.split_at(ID);
    id.iter()
        .all(|byte| byte.is_ascii_digit() || byte.is_ascii_uppercase())
        && rest[0] == b'-'
        && matches!(rest[1], b's' | b'u')
        && is_hex(&rest[2..2 + HASH])
        && rest[2 + HASH] == b'-'
        && is_hex(&rest[3 + HASH..3 + HASH + RANDOM])
}

/// Whether a temporary file's name is this transfer's.
pub(super) fn belongs_to(name: &[u8], id: &TransferId) -> bool {
    is_temporary(name) && name[START.len()..].starts_with(id.as_str().as_bytes())
}

/// Whether a temporary file's name is that of an open upload of `key`, of any transfer.
pub(super) fn is_upload_of(name: &[u8], key: &str) -> bool {
    let upload = format!("-{}{}-", Kind::Upload.letter(), hash(key));
    is_temporary(name) && name[START.len() + ID..].starts_with(upload.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_exact_names_are_ours() {
        let id = TransferId::generate();
        let ours = name(&id, Kind::Upload, "a/b");
        assert!(is_temporary(ours.as_bytes()), "{ours}");
        let strangers = [
            ".skyhaul-".to_owned(),
            ".skyhaul-notes.part".to_owned(),
            format!("{ours}x"),
            ours.replace(".part", ".tmpx"),
            ours.replace("-u", "-x"),
            ours.replace(id.as_str(), &id.as_str().to_lowercase()),
            ours[1..].to_owned(),
        ];
        for stranger in strangers {
            assert!(!is_temporary(stranger.as_bytes()), "{stranger}");
        }
    }

    #[test]
    fn owner_and_key_are_told_from_the_name() {
        let (id, other) = (TransferId::generate(), TransferId::generate());
        let upload = name(&id, Kind::Upload, "k");
        assert!(belongs_to(upload.as_bytes(), &id));
        assert!(!belongs_to(upload.as_bytes(), &other));
        assert!(is_upload_of(upload.as_bytes(), "k"));
        assert!(!is_upload_of(upload.as_bytes(), "l"));
        assert!(!is_upload_of(name(&id, Kind::Staged, "k").as_bytes(), "k"));
    }
}
