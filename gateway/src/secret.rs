//! The two secrets of a transfer. Neither is ever printed; both are wiped when they are dropped.

use std::fmt;

use hkdf::Hkdf;
use sha2::Sha256;
use skyhaul_model::{Error, Result};
use zeroize::{Zeroize as _, ZeroizeOnDrop, Zeroizing};

/// Bytes of a secret, and of every key derived from one.
pub const KEY: usize = 32;

/// What all gateways of a dataplane share, relays too: who does not know it completes no handshake.
#[derive(Clone, ZeroizeOnDrop)]
pub struct MembershipSecret([u8; KEY]);

/// What a transfer's source and destination gateways share, relays not: chunks and their
/// acknowledgements are sealed under keys derived from it.
#[derive(Clone, ZeroizeOnDrop)]
pub struct DataSecret([u8; KEY]);

macro_rules! secret {
    ($name:ident) => {
        impl $name {
            /// A new secret, from the system's source of chance.
            #[must_use]
            pub fn generate() -> Self {
                Self(rand::random())
            }

            /// A secret written as 64 hexadecimal digits. The error does not show it.
            pub fn parse(text: &str) -> Result<Self> {
                let mut secret = Self([0; KEY]);
                hex::decode_to_slice(text.trim(), &mut secret.0)
                    .map_err(|_| Error::invalid("a secret has 64 hexadecimal digits"))?;
                Ok(secret)
            }

            /// Its hexadecimal digits, for whoever starts a gateway. Not to be shown.
            #[must_use]
            pub fn reveal(&self) -> Zeroizing<String> {
                Zeroizing::new(hex::encode(self.0))
            }

            /// The key for one purpose: HKDF-SHA-256 (RFC 5869) without salt.
            pub(crate) fn derive(&self, purpose: &[&[u8]]) -> Zeroizing<[u8; KEY]> {
                let mut key = Zeroizing::new([0; KEY]);
                let expanded = Hkdf::<Sha256>::new(None, &self.0)
                    .expand_multi_info(purpose, key.as_mut_slice());
                if expanded.is_err() {
                    // Never: a key is shorter than 255 hashes. A wrong key opens nothing.
                    key.zeroize();
                }
                key
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(…)"))
            }
        }
    };
}

secret!(MembershipSecret);
secret!(DataSecret);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_read_and_never_shown() {
        let text = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
        let secret = DataSecret::parse(&format!("{text}\n")).unwrap();
        assert_eq!(hex::encode(secret.0), text);
        assert_eq!(format!("{secret:?}"), "DataSecret(…)");
        for wrong in ["", "0011", &text[1..], &text.replace('0', "g")] {
            let error = DataSecret::parse(wrong).unwrap_err().to_string();
            assert!(wrong.is_empty() || !error.contains(wrong), "{error}");
        }
    }

    #[test]
    fn each_purpose_has_a_key_of_its_own() {
        let secret = MembershipSecret::generate();
        let key = |purpose: &[&[u8]]| *secret.derive(purpose);
        assert_eq!(key(&[b"a", b"b"]), key(&[b"a", b"b"]));
        assert_ne!(key(&[b"a"]), key(&[b"b"]));
        assert_ne!(key(&[b"a"]), *MembershipSecret::generate().derive(&[b"a"]));
    }
}
