//! Secrets wrapped under a key of KMS, with the transfer as encryption context: what was wrapped for one cannot be
//! unwrapped for another, and the trail says for which it was.

use async_trait::async_trait;
use aws_sdk_kms::Client;
use aws_sdk_kms::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_kms::primitives::Blob;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use bytes::Bytes;
use skyhaul_model::{Error, ErrorKind, Result, TransferId};
use skyhaul_stack::said;
use skyhaul_workflow::machines::Vault;
use zeroize::Zeroizing;

/// The encryption context's one name.
const CONTEXT: &str = "skyhaul:transfer";

/// See the module documentation.
#[derive(Debug)]
pub(crate) struct Kms {
    client: Client,
    key: String,
}

impl Kms {
    pub(crate) fn new(client: Client, key: String) -> Self {
        Self { client, key }
    }
}

fn failed<E>(error: &SdkError<E, HttpResponse>, message: &str, transfer: &TransferId) -> Error
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    let kind = match error.code() {
        Some("AccessDeniedException" | "IncorrectKeyException") => ErrorKind::AccessDenied,
        // Of another transfer, or damaged.
        Some("InvalidCiphertextException") => ErrorKind::Refused,
        Some("NotFoundException" | "DisabledException" | "KMSInvalidStateException") => {
            ErrorKind::NotFound
        }
        Some("ThrottlingException") => ErrorKind::Throttled,
        Some(_) => ErrorKind::Service,
        None => ErrorKind::Unreachable,
    };
    let what = said(error);
    Error::control(kind, format!("{message}: {what}")).object(transfer.as_str())
}

#[async_trait]
impl Vault for Kms {
    async fn wrap(&self, transfer: &TransferId, bytes: &[u8]) -> Result<Bytes> {
        let request = self
            .client
            .encrypt()
            .key_id(&self.key)
            .encryption_context(CONTEXT, transfer.as_str())
            .plaintext(Blob::new(bytes));
        let reply = request.send().await;
        let reply = reply.map_err(|error| failed(&error, "secrets cannot be wrapped", transfer))?;
        let wrapped = reply.ciphertext_blob.ok_or_else(|| empty(transfer))?;
        Ok(wrapped.into_inner().into())
    }

    async fn unwrap(&self, transfer: &TransferId, wrapped: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
        let request = self
            .client
            .decrypt()
            .key_id(&self.key)
            .encryption_context(CONTEXT, transfer.as_str())
            .ciphertext_blob(Blob::new(wrapped));
        let reply = request.send().await;
        let reply =
            reply.map_err(|error| failed(&error, "secrets cannot be unwrapped", transfer))?;
        let plain = reply.plaintext.ok_or_else(|| empty(transfer))?;
        Ok(Zeroizing::new(plain.into_inner()))
    }
}

fn empty(transfer: &TransferId) -> Error {
    let message = "the key's service answered without anything";
    Error::control(ErrorKind::Corrupt, message).object(transfer.as_str())
}
