//! How the same bytes come to several stores.

use std::fmt::Debug;

use async_trait::async_trait;
use futures::future::join_all;
use jiff::Timestamp;
use skyhaul_model::Result;
use skyhaul_model::capabilities::MtimeSupport;
use skyhaul_model::outcome::PartReceipt;

use super::Member;
use super::tee::{Stop, fed, tee};
use crate::store::{PartStream, PartWrite, PutReceipt, PutRequest, Store, UploadToken};

/// An object with an upload at each store.
#[derive(Debug, Clone, Copy)]
pub struct Key<'a> {
    /// What all are asked to write.
    pub key: &'a str,
    /// Each store's upload.
    pub tokens: &'a [UploadToken],
}

/// Calls that carry bytes, made at each of several stores, under its own key. One result for each
/// store, in their order.
#[async_trait]
pub trait Fanout: Debug + Send + Sync {
    /// See [`Store::put`].
    async fn put(
        &self,
        members: &[Member],
        key: &str,
        request: PutRequest,
    ) -> Vec<Result<PutReceipt>>;

    /// See [`Store::put_many`]: for each store one result for each object.
    async fn put_many(
        &self,
        members: &[Member],
        puts: Vec<(String, PutRequest)>,
    ) -> Vec<Vec<Result<PutReceipt>>>;

    /// See [`Store::put_part`].
    async fn put_part(
        &self,
        members: &[Member],
        key: Key<'_>,
        part: PartWrite,
    ) -> Vec<Result<PartReceipt>>;

    /// See [`Store::stream_part`].
    async fn stream_part(
        &self,
        members: &[Member],
        key: Key<'_>,
        part: PartStream,
    ) -> Vec<Result<PartReceipt>>;
}

/// Whether one of several stores is given no modification time: those that keep it as metadata get it
/// there.
pub fn is_timeless(store: &dyn Store) -> bool {
    store.capabilities().mtime == MtimeSupport::Metadata
}

/// The modification time to give to one of several stores.
pub(super) fn mtime(store: &dyn Store, mtime: Option<Timestamp>) -> Option<Timestamp> {
    mtime.filter(|_| !is_timeless(store))
}

/// Each store is asked by itself.
#[derive(Debug, Clone, Copy)]
pub struct Each;

#[async_trait]
impl Fanout for Each {
    async fn put(
        &self,
        members: &[Member],
        key: &str,
        request: PutRequest,
    ) -> Vec<Result<PutReceipt>> {
        let puts = members.iter().map(|member| {
            let request = own(member, &request);
            async move { member.store.put(&member.key(key), request).await }
        });
        join_all(puts).await
    }

    async fn put_many(
        &self,
        members: &[Member],
        puts: Vec<(String, PutRequest)>,
    ) -> Vec<Vec<Result<PutReceipt>>> {
        let calls = members.iter().map(|member| {
            let puts = puts.iter();
            let puts = puts.map(|(key, request)| (member.key(key), own(member, request)));
            member.store.put_many(puts.collect())
        });
        join_all(calls).await
    }

    async fn put_part(
        &self,
        members: &[Member],
        key: Key<'_>,
        part: PartWrite,
    ) -> Vec<Result<PartReceipt>> {
        let writes = members.iter().zip(key.tokens).map(|(member, token)| {
            let part = part.clone();
            async move {
                let key = member.key(key.key);
                member.store.put_part(&key, token, part).await
            }
        });
        join_all(writes).await
    }

    async fn stream_part(
        &self,
        members: &[Member],
        key: Key<'_>,
        part: PartStream,
    ) -> Vec<Result<PartReceipt>> {
        let stop = &Stop::default();
        let (bodies, feed) = tee(part.body, members.len(), stop);
        let each = members.iter().zip(key.tokens).zip(bodies);
        let writes = each.map(|((member, token), body)| async move {
            let part = PartStream {
                number: part.number,
                offset: part.offset,
                len: part.len,
                body,
                algorithm: part.algorithm,
            };
            let key = member.key(key.key);
            let written = member.store.stream_part(&key, token, part).await;
            if written.is_err() {
                stop.stop();
            }
            written
        });
        fed(join_all(writes), feed).await
    }
}

fn own(member: &Member, request: &PutRequest) -> PutRequest {
    PutRequest {
        mtime: mtime(&*member.store, request.mtime),
        ..request.clone()
    }
}
