//! What a machine is to do for a transfer: a gateway's configuration, sealed by who provisions to the key that
//! the machine made when it started (HPKE, RFC 9180, base mode; X25519, HKDF-SHA256, AES-256-GCM). It can be
//! opened by that process alone: the private key is in its memory and nowhere else.

use std::fmt;

use bytes::Bytes;
use rustls::crypto::aws_lc_rs::hpke::DH_KEM_X25519_HKDF_SHA256_AES_256 as SUITE;
use rustls::crypto::hpke::{EncapsulatedSecret, Hpke as _, HpkePrivateKey, HpkePublicKey};
use skyhaul_model::machine::IntentId;
use skyhaul_model::{Error, ErrorKind, Result, TransferId};
use zeroize::Zeroizing;

use crate::config::Config;

/// What is sealed here is opened as nothing else.
const PURPOSE: &[u8] = b"skyhaul assignment 1";
/// Bytes of a public key, and of what a sealed message begins with.
const PUBLIC: usize = 32;

/// The key that a machine made when it started.
pub struct BootKey {
    public: Bytes,
    private: HpkePrivateKey,
}

impl fmt::Debug for BootKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BootKey(…)")
    }
}

/// What an assignment is bound to: opened for another machine or transfer, it is refused.
fn bound(intent: &IntentId, transfer: &TransferId) -> String {
    format!("{intent}\n{transfer}")
}

fn wrong(what: &str, transfer: &TransferId) -> Error {
    Error::control(ErrorKind::Corrupt, what)
        .object(transfer.as_str())
        .retryable(false)
}

impl BootKey {
    /// A new one, from the system's source of chance.
    pub fn generate() -> Result<Self> {
        let (public, private) = SUITE.generate_key_pair().map_err(|error| {
            Error::control(ErrorKind::Internal, "no key can be made").cause(error)
        })?;
        let public = public.0.into();
        Ok(Self { public, private })
    }

    /// The half that others may see.
    #[must_use]
    pub fn public(&self) -> Bytes {
        self.public.clone()
    }

    /// Opens what was sealed for this machine and transfer.
    pub fn open(&self, intent: &IntentId, transfer: &TransferId, sealed: &[u8]) -> Result<Config> {
        let Some((secret, sealed)) = sealed.split_at_checked(PUBLIC) else {
            return Err(wrong("an assignment is cut off", transfer));
        };
        let (secret, bound) = (EncapsulatedSecret(secret.to_vec()), bound(intent, transfer));
        let opened = SUITE.open(&secret, PURPOSE, bound.as_bytes(), sealed, &self.private);
        let text = Zeroizing::new(opened.map_err(|_| {
            let what = "an assignment was sealed for another machine, start or transfer";
            wrong(what, transfer)
        })?);
        let config = Config::read(text.as_slice())?;
        if config.transfer != *transfer || config.name != intent.member.as_str() {
            return Err(wrong("an assignment is of another gateway", transfer));
        }
        Ok(config)
    }
}

/// Seals an assignment to a machine's public key.
pub fn seal(
    public_key: &[u8],
    intent: &IntentId,
    transfer: &TransferId,
    config: &Config,
) -> Result<Bytes> {
    let failed = |error: Box<dyn std::error::Error + Send + Sync>| {
        let what = "an assignment cannot be sealed to the machine's key";
        wrong(what, transfer).cause(error)
    };
    let text = serde_json::to_vec(config).map_err(|error| failed(error.into()))?;
    let text = Zeroizing::new(text);
    let key = HpkePublicKey(public_key.to_vec());
    let bound = bound(intent, transfer);
    let sealed = SUITE.seal(PURPOSE, bound.as_bytes(), &text, &key);
    let (secret, sealed) = sealed.map_err(|error| failed(error.into()))?;
    Ok([secret.0, sealed].concat().into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{LimitsConfig, StateConfig, TableConfig};
    use skyhaul_model::machine::DataplaneId;

    fn intent(member: &str) -> IntentId {
        IntentId {
            dataplane: DataplaneId::generate(),
            member: member.parse().unwrap(),
            generation: 1,
        }
    }

    fn config(name: &str, transfer: &TransferId) -> Config {
        let state = StateConfig::Table(TableConfig {
            name: "state".to_owned(),
            region: None,
            endpoint_url: None,
        });
        let limits = LimitsConfig {
            transfers: 1,
            max_memory: 1,
            bwlimit: None,
            attempts: 1,
            term: 1,
            drain: 1,
        };
        Config {
            name: name.to_owned(),
            ..Config::new(transfer.clone(), state, limits)
        }
    }

    #[test]
    fn only_the_machine_that_it_is_for_opens_it() {
        let (key, other) = (BootKey::generate().unwrap(), BootKey::generate().unwrap());
        let (intent, transfer) = (intent("src-1"), TransferId::generate());
        let config = config("src-1", &transfer);
        let sealed = seal(&key.public(), &intent, &transfer, &config).unwrap();
        let opened = key.open(&intent, &transfer, &sealed).unwrap();
        assert_eq!(opened.data, config.data);
        let secret = config.data.as_ref().unwrap().as_bytes();
        let shows = |bytes: &[u8]| bytes.windows(secret.len()).any(|window| window == secret);
        assert!(!shows(&sealed));

        // Another machine, another start, another transfer, another generation.
        other.open(&intent, &transfer, &sealed).unwrap_err();
        let next = IntentId {
            generation: 2,
            ..intent.clone()
        };
        key.open(&next, &transfer, &sealed).unwrap_err();
        key.open(&intent, &TransferId::generate(), &sealed)
            .unwrap_err();
        for length in [0, 1, 31, 32, 33, sealed.len() - 1] {
            key.open(&intent, &transfer, &sealed[..length]).unwrap_err();
        }
        for index in 0..sealed.len() {
            let mut flipped = sealed.to_vec();
            flipped[index] ^= 1;
            let error = key.open(&intent, &transfer, &flipped).unwrap_err();
            assert_eq!((error.kind, error.retryable), (ErrorKind::Corrupt, false));
        }
    }

    #[test]
    fn what_is_sealed_is_of_the_gateway_that_opens_it() {
        let key = BootKey::generate().unwrap();
        let (intent, transfer) = (intent("src-1"), TransferId::generate());
        for wrong in [
            config("src-2", &transfer),
            config("src-1", &TransferId::generate()),
        ] {
            let sealed = seal(&key.public(), &intent, &transfer, &wrong).unwrap();
            let error = key.open(&intent, &transfer, &sealed).unwrap_err();
            assert_eq!(error.kind, ErrorKind::Corrupt, "{error}");
        }
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let (intent, transfer) = (intent("src-1"), TransferId::generate());
        let config = config("src-1", &transfer);
        for key in [&[][..], &[1; 31], &[0; 32], &[1; 33]] {
            assert!(seal(key, &intent, &transfer, &config).is_err(), "{key:?}");
        }
    }
}
