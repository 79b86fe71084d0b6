//! What a source gateway asks of a destination gateway: the calls of a store's writer, and what
//! they give. JSON, because what is in them is defined once, by the crates that use it.

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use skyhaul_model::capabilities::Capabilities;
use skyhaul_model::keymap::Rename;
use skyhaul_model::outcome::PartReceipt;
use skyhaul_model::{Algorithm, Attributes, Checksum, Fault, ObjectInfo, Pin, TransferId};
use skyhaul_stores::payload::Payload;
use skyhaul_stores::{
    Condition, OpenUpload, PartStream, PartWrite, PutReceipt, PutRequest, Store, UploadToken,
};

use crate::GatewayId;

/// Segment 0 of a request.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Request {
    /// Which transfer it is for.
    pub(crate) transfer: TransferId,
    /// Who is asked; nobody else may do it.
    pub(crate) ends: Vec<End>,
    /// What is to be done.
    pub(crate) call: Call,
}

/// A gateway that is asked.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct End {
    /// Who.
    pub(crate) gateway: GatewayId,
    /// The number of its reply's stream.
    pub(crate) number: u64,
    /// The way of its reply: who is to be passed after it, the last being who asks.
    pub(crate) back: Vec<GatewayId>,
    /// At which destinations it is to be done. Its reply is a list of one reply for each.
    pub(crate) targets: Vec<Target>,
}

/// A destination at which a call is made, and how its own call differs from that of all.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Target {
    /// Which of the transfer's destinations, from 0.
    pub(crate) destination: u32,
    /// What it calls the keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) rename: Option<Rename>,
    /// Its upload.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) token: Option<UploadToken>,
    /// Whether it gets no modification time but that in the metadata.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) timeless: bool,
}

impl Target {
    /// A destination whose call is that which is sent.
    pub(crate) fn only(destination: u32) -> Self {
        Self {
            destination,
            rename: None,
            token: None,
            timeless: false,
        }
    }
}

/// What is to be done. Where bytes follow, they are the request's body.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Call {
    /// What the store is and can do.
    Describe,
    /// See [`skyhaul_stores::Store::check`], for writing.
    Check { prefix: String },
    /// See [`skyhaul_stores::Store::stat`].
    Stat { key: String, pin: Pin, tags: bool },
    /// See [`skyhaul_stores::Store::put`]. Followed by the object.
    Put {
        key: String,
        attributes: Box<Attributes>,
        mtime: Option<Timestamp>,
        checksum: Option<Checksum>,
        condition: Condition,
        len: u64,
    },
    /// See [`skyhaul_stores::Store::put_many`]. Followed by the objects, one after another. What is
    /// to be done with them is here and not there, where it might be sent in clear.
    PutMany { heads: Vec<PutHead> },
    /// See [`skyhaul_stores::Store::commit`]. Followed by a JSON list of [`skyhaul_stores::Staged`].
    Commit,
    /// See [`skyhaul_stores::Store::open_upload`].
    OpenUpload {
        key: String,
        size: u64,
        part_size: u64,
        attributes: Box<Attributes>,
        mtime: Option<Timestamp>,
        algorithm: Option<Algorithm>,
    },
    /// See [`skyhaul_stores::Store::put_part`]. Followed by the part.
    PutPart {
        key: String,
        token: UploadToken,
        number: u32,
        offset: u64,
        len: u64,
        checksum: Option<Checksum>,
    },
    /// See [`skyhaul_stores::Store::stream_part`]. Followed by the part.
    StreamPart {
        key: String,
        token: UploadToken,
        number: u32,
        offset: u64,
        len: u64,
        algorithm: Option<Algorithm>,
    },
    /// See [`skyhaul_stores::Store::finish_upload`]. Followed by a JSON list of [`PartReceipt`].
    FinishUpload {
        key: String,
        token: UploadToken,
        checksum: Option<Checksum>,
        condition: Condition,
    },
    /// See [`skyhaul_stores::Store::list_parts`].
    ListParts { key: String, token: UploadToken },
    /// See [`skyhaul_stores::Store::abort_upload`].
    AbortUpload { key: String, token: UploadToken },
    /// See [`skyhaul_stores::Store::uploads`].
    Uploads { key: String },
    /// See [`skyhaul_stores::Store::delete`]. Followed by a JSON list of keys.
    Delete,
}

impl Call {
    /// Puts an object, and the object.
    pub(crate) fn put(key: &str, request: PutRequest) -> (Self, Payload) {
        let call = Self::Put {
            key: key.to_owned(),
            attributes: Box::new(request.attributes),
            mtime: request.mtime,
            checksum: request.checksum,
            condition: request.condition,
            len: request.payload.len(),
        };
        (call, request.payload)
    }

    /// Writes a part, and the part.
    pub(crate) fn put_part(key: &str, token: &UploadToken, part: PartWrite) -> (Self, Payload) {
        let call = Self::PutPart {
            key: key.to_owned(),
            token: token.clone(),
            number: part.number,
            offset: part.offset,
            len: part.payload.len(),
            checksum: part.checksum,
        };
        (call, part.payload)
    }

    /// Writes a part while it is read.
    pub(crate) fn stream_part(key: &str, token: &UploadToken, part: &PartStream) -> Self {
        Self::StreamPart {
            key: key.to_owned(),
            token: token.clone(),
            number: part.number,
            offset: part.offset,
            len: part.len,
            algorithm: part.algorithm,
        }
    }

    /// The call that is made at one of the destinations.
    pub(crate) fn at(mut self, target: &Target) -> Self {
        let own = |key: &mut String| {
            if let Some(rename) = &target.rename {
                *key = rename.key(key);
            }
        };
        match &mut self {
            Self::Put { key, mtime, .. } => {
                own(key);
                *mtime = mtime.filter(|_| !target.timeless);
            }
            Self::PutMany { heads } => {
                for head in heads {
                    own(&mut head.key);
                    head.mtime = head.mtime.filter(|_| !target.timeless);
                }
            }
            Self::PutPart { key, token, .. } | Self::StreamPart { key, token, .. } => {
                own(key);
                if let Some(its) = &target.token {
                    token.clone_from(its);
                }
            }
            // Not made at several at once.
            _ => {}
        }
        self
    }

    /// Bytes of an object that follow it.
    pub(crate) fn len(&self) -> u64 {
        match self {
            Self::Put { len, .. } | Self::PutPart { len, .. } | Self::StreamPart { len, .. } => {
                *len
            }
            Self::PutMany { heads } => {
                let lens = heads.iter().map(|head| head.len);
                lens.fold(0, u64::saturating_add)
            }
            _ => 0,
        }
    }

    /// Whether what follows it is held in memory at one of these stores.
    pub(crate) fn is_held<'a>(&self, mut at: impl Iterator<Item = &'a Arc<dyn Store>>) -> bool {
        match self {
            Self::StreamPart { algorithm, .. } => !at.all(|store| store.streams_parts(*algorithm)),
            _ => self.len() > 0,
        }
    }

    /// Bytes of each object that follows it.
    pub(crate) fn lens(&self) -> Vec<u64> {
        match self {
            Self::PutMany { heads } => heads.iter().map(|head| head.len).collect(),
            _ => vec![self.len()],
        }
    }

    /// Whether what follows says what is to be done, and so is sealed under any cipher.
    pub(crate) fn has_list(&self) -> bool {
        matches!(
            self,
            Self::Commit | Self::FinishUpload { .. } | Self::Delete
        )
    }
}

/// One of the objects of [`Call::PutMany`]: all but its bytes.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct PutHead {
    pub(crate) key: String,
    pub(crate) attributes: Attributes,
    pub(crate) mtime: Option<Timestamp>,
    pub(crate) checksum: Option<Checksum>,
    pub(crate) condition: Condition,
    pub(crate) len: u64,
}

/// What came of one of many.
pub(crate) type Each<T> = Vec<Result<T, Fault>>;

/// What a call gave.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Reply {
    /// The store: what it can do, and how the URI of a key begins.
    Described {
        capabilities: Box<Capabilities>,
        uri: String,
    },
    /// It was done.
    Done,
    Info(Option<Box<ObjectInfo>>),
    Put(Box<PutReceipt>),
    PutEach(Each<PutReceipt>),
    Committed(Each<PutReceipt>),
    Upload(UploadToken),
    Part(PartReceipt),
    Parts(Vec<PartReceipt>),
    Uploads(Vec<OpenUpload>),
    Deleted(Each<()>),
    /// It was not done, or not known to be.
    Failed(Fault),
}

impl Reply {
    /// Bytes that were written, of objects of these lengths.
    pub(crate) fn written(&self, lens: &[u64]) -> u64 {
        let done = |place: usize| match self {
            Self::PutEach(each) => each.get(place).is_some_and(Result::is_ok),
            Self::Failed(_) => false,
            _ => true,
        };
        let each = lens.iter().enumerate();
        let written = each.filter(|(place, _)| done(*place));
        written
            .map(|(_, len)| len)
            .fold(0, |all, len| all.saturating_add(*len))
    }
}

/// The body of a call that is followed by a list.
pub(crate) fn list<T: Serialize>(items: &[T]) -> skyhaul_model::Result<bytes::Bytes> {
    let json = serde_json::to_vec(items);
    json.map(Into::into)
        .map_err(|error| internal("a call cannot be written", error))
}

/// Reads such a body.
pub(crate) fn listed<T: for<'a> Deserialize<'a>>(body: &[u8]) -> skyhaul_model::Result<Vec<T>> {
    serde_json::from_slice(body)
        .map_err(|error| skyhaul_model::Error::invalid("a call's list cannot be read").cause(error))
}

/// The error of what cannot be.
pub(crate) fn internal(
    message: &str,
    cause: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> skyhaul_model::Error {
    skyhaul_model::Error::control(skyhaul_model::ErrorKind::Internal, message).cause(cause)
}

#[cfg(test)]
mod tests {
    use skyhaul_stores::Staged;

    use super::*;

    #[test]
    fn a_staged_object_survives_the_wire() {
        let staged = [Staged("a token".to_owned())];
        let body = list(&staged).unwrap();
        assert_eq!(listed::<Staged>(&body).unwrap(), staged);
        assert!(listed::<Staged>(b"{").is_err());
    }
}
