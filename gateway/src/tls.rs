//! TLS of a gateway: its certificate is made at the start of the process, and the key never leaves it. A
//! control API is known by the certificate's fingerprint, a peer by what it shows inside.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, ServerConfig, SignatureScheme};
use sha2::{Digest as _, Sha256};
use skyhaul_model::{Error, ErrorKind, Result};
use subtle::ConstantTimeEq as _;
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// The versions that are spoken.
const VERSIONS: &[&rustls::SupportedProtocolVersion] = &[&rustls::version::TLS13];

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

fn failed(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::control(ErrorKind::Internal, "TLS cannot be set up").cause(cause)
}

/// SHA-256 of a certificate, in hexadecimal digits.
fn fingerprint(certificate: &CertificateDer<'_>) -> String {
    hex::encode(Sha256::digest(certificate))
}

/// What accepts connections under a new certificate, and that one's fingerprint.
pub(crate) fn acceptor() -> Result<(TlsAcceptor, String)> {
    let made = rcgen::generate_simple_self_signed(["skyhaul-gateway".to_owned()]);
    let made = made.map_err(failed)?;
    let certificate = made.cert.der().clone();
    let fingerprint = fingerprint(&certificate);
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(VERSIONS)
        .map_err(failed)?
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key.into())
        .map_err(failed)?;
    Ok((TlsAcceptor::from(Arc::new(config)), fingerprint))
}

/// What connects to whoever has the certificate of this fingerprint. `None`: to anybody, for callers
/// that find out inside who it is.
pub(crate) fn connector(fingerprint: Option<&str>) -> Result<TlsConnector> {
    let provider = provider();
    let pinned = Pinned {
        fingerprint: fingerprint.map(str::to_owned),
        algorithms: provider.signature_verification_algorithms,
    };
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(VERSIONS)
        .map_err(failed)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(pinned))
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

/// Accepts one certificate, or any, whatever names and times it carries.
#[derive(Debug)]
struct Pinned {
    fingerprint: Option<String>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let Some(wanted) = &self.fingerprint else {
            return Ok(ServerCertVerified::assertion());
        };
        let found = fingerprint(end_entity);
        if found.as_bytes().ct_eq(wanted.as_bytes()).into() {
            return Ok(ServerCertVerified::assertion());
        }
        let why = rustls::CertificateError::ApplicationVerificationFailure;
        Err(rustls::Error::InvalidCertificate(why))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
