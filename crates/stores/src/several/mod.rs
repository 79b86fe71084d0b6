//! Several stores as one: what is written is written to each of them, under a key of its own, and
//! is there when all have confirmed it. Read and listed it is not.

mod fanout;
mod joined;
mod tee;

use std::sync::Arc;

use async_trait::async_trait;
use futures::future::{join_all, try_join_all};
use skyhaul_model::capabilities::Capabilities;
use skyhaul_model::keymap::Rename;
use skyhaul_model::outcome::PartReceipt;
use skyhaul_model::{Algorithm, Checksum, Error, ErrorKind, ObjectInfo, Pin, Result, Side};

pub use self::fanout::{Each, Fanout, Key, is_timeless};
pub use self::tee::{Stop, fed, tee};
use crate::retag;
use crate::store::{
    Access, Condition, CopyRequest, CopySource, DeleteOutcome, ListRequest, Lister, ObjectReader,
    OpenUpload, PartStream, PartWrite, PutReceipt, PutRequest, ReadRequest, Staged, Store,
    UploadRequest, UploadToken, no_listing,
};

/// Most stores that are written at once.
pub const MOST: usize = 8;

/// One of several stores.
#[derive(Debug, Clone)]
pub struct Member {
    /// The store.
    pub store: Arc<dyn Store>,
    /// What it calls the keys that all are asked to write.
    pub rename: Rename,
}

impl Member {
    fn key(&self, key: &str) -> String {
        self.rename.key(key)
    }
}

/// See the module documentation. At least two stores.
#[derive(Debug)]
pub struct Several {
    members: Vec<Member>,
    fanout: Arc<dyn Fanout>,
    capabilities: Capabilities,
}

impl Several {
    /// These stores as one, all in this process.
    #[must_use]
    pub fn new(members: Vec<Member>) -> Self {
        Self::over(members, Arc::new(Each))
    }

    /// These stores as one, whose bytes `fanout` brings to all.
    #[must_use]
    pub fn over(members: Vec<Member>, fanout: Arc<dyn Fanout>) -> Self {
        let each = members.iter().map(|member| member.store.capabilities());
        let capabilities = joined::capabilities(each);
        Self {
            members,
            fanout,
            capabilities,
        }
    }

    /// Looks at what was written where nothing but that was confirmed, if others have it staged: whoever
    /// commits those looks at no other.
    async fn seen(
        &self,
        key: &str,
        len: u64,
        each: Vec<Result<PutReceipt>>,
    ) -> Vec<Result<PutReceipt>> {
        let is_staged = |one: &Result<PutReceipt>| matches!(one, Ok(one) if one.staged.is_some());
        if !each.iter().any(is_staged) {
            return each;
        }
        let looks = each
            .into_iter()
            .zip(&self.members)
            .map(|(one, member)| async move {
                let receipt = one?;
                if receipt.verified || receipt.staged.is_some() {
                    return Ok(receipt);
                }
                let key = member.key(key);
                match member.store.stat(&key, &Pin::default(), false).await? {
                    Some(found) if found.size == len => Ok(receipt),
                    _ => {
                        let message = "the written object is not there, or has another size";
                        let error = Error::new(self.side(), ErrorKind::Corrupt, message);
                        Err(error.object(member.store.uri(&key)))
                    }
                }
            });
        join_all(looks).await
    }

    /// The stores that have an upload, with its token there.
    fn open(&self, token: &UploadToken) -> Result<impl Iterator<Item = (&Member, UploadToken)>> {
        let tokens = joined::some_tokens(token, self.members.len())?;
        let open = self.members.iter().zip(tokens);
        Ok(open.filter_map(|(member, token)| Some((member, token?))))
    }

    fn unsupported(&self, what: &str, key: &str) -> Error {
        let message = format!("several destinations are not {what}");
        Error::new(self.side(), ErrorKind::Unsupported, message).object(self.uri(key))
    }
}

#[async_trait]
impl Store for Several {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn side(&self) -> Side {
        Side::Destination
    }

    /// At the first of them.
    fn uri(&self, key: &str) -> String {
        let first = self.members.first();
        first.map_or_else(String::new, |first| first.store.uri(&first.key(key)))
    }

    async fn check(&self, access: Access, prefix: &str) -> Result<()> {
        let checks = self.members.iter().map(|member| async move {
            let prefix = member.key(prefix);
            member.store.check(access, &prefix).await
        });
        try_join_all(checks).await.map(drop)
    }

    fn list(&self, request: ListRequest) -> Box<dyn Lister> {
        no_listing(self.unsupported("listed", &request.prefix))
    }

    /// What all have: `None` if one lacks it, an error if they have different sizes.
    async fn stat(&self, key: &str, _pin: &Pin, tags: bool) -> Result<Option<ObjectInfo>> {
        let any = Pin::default();
        let stats = self.members.iter().map(|member| {
            let any = any.clone();
            async move { member.store.stat(&member.key(key), &any, tags).await }
        });
        let found: Option<Vec<_>> = try_join_all(stats).await?.into_iter().collect();
        let Some(mut found) = found else {
            return Ok(None);
        };
        let first = found.swap_remove(0);
        if let Some(other) = found.iter().find(|other| other.size != first.size) {
            let message = format!(
                "it has {} bytes at one destination and {} at another",
                first.size, other.size
            );
            return Err(Error::new(self.side(), ErrorKind::Corrupt, message).object(self.uri(key)));
        }
        Ok(Some(first))
    }

    async fn read(&self, key: &str, _request: ReadRequest) -> Result<ObjectReader> {
        Err(self.unsupported("read", key))
    }

    async fn put(&self, key: &str, request: PutRequest) -> Result<PutReceipt> {
        let len = request.payload.len();
        let each = self.fanout.put(&self.members, key, request).await;
        joined::put(self.seen(key, len, each).await)
    }

    fn writes_together(&self) -> bool {
        let mut members = self.members.iter();
        members.any(|member| member.store.writes_together())
    }

    async fn put_many(&self, puts: Vec<(String, PutRequest)>) -> Vec<Result<PutReceipt>> {
        let heads: Vec<_> = puts
            .iter()
            .map(|(key, put)| (key.clone(), put.payload.len()))
            .collect();
        let each = self.fanout.put_many(&self.members, puts).await;
        let mut each: Vec<_> = each.into_iter().map(Vec::into_iter).collect();
        let mut all = Vec::with_capacity(heads.len());
        for (key, len) in heads {
            let one = each.iter_mut().filter_map(Iterator::next).collect();
            all.push(joined::put(self.seen(&key, len, one).await));
        }
        all
    }

    async fn commit(&self, staged: Vec<Staged>) -> Vec<Result<PutReceipt>> {
        let mut all: Vec<Result<Vec<PutReceipt>>> = staged.iter().map(joined::staged).collect();
        for (place, member) in self.members.iter().enumerate() {
            let waiting: Vec<(usize, Staged)> = (all.iter().enumerate())
                .filter_map(|(object, receipts)| {
                    let staged = receipts.as_ref().ok()?.get(place)?.staged.clone();
                    Some((object, staged?))
                })
                .collect();
            let (objects, tokens): (Vec<_>, Vec<_>) = waiting.into_iter().unzip();
            if tokens.is_empty() {
                continue;
            }
            let mut committed = member.store.commit(tokens).await.into_iter();
            for object in objects {
                let committed = committed.next().unwrap_or_else(|| Err(joined::lacking()));
                match (committed, &mut all[object]) {
                    (Ok(receipt), Ok(receipts)) => receipts[place] = receipt,
                    (Err(error), receipts) => *receipts = Err(error),
                    (_, Err(_)) => {}
                }
            }
        }
        let put = |receipts: Result<Vec<PutReceipt>>| {
            joined::put(receipts?.into_iter().map(Ok).collect())
        };
        all.into_iter().map(put).collect()
    }

    /// Opens one at each. Where one cannot be opened, the others are aborted.
    async fn open_upload(&self, key: &str, request: UploadRequest) -> Result<UploadToken> {
        let opened = self.members.iter().map(|member| {
            let request = UploadRequest {
                mtime: fanout::mtime(&*member.store, request.mtime),
                ..request.clone()
            };
            async move { member.store.open_upload(&member.key(key), request).await }
        });
        let mut failed = None;
        let mut tokens = Vec::with_capacity(self.members.len());
        for opened in join_all(opened).await {
            match opened {
                Ok(token) => tokens.push(Some(token)),
                Err(error) => {
                    tokens.push(None);
                    failed.get_or_insert(error);
                }
            }
        }
        let token = joined::token(&tokens)?;
        let Some(failed) = failed else {
            return Ok(token);
        };
        if let Err(error) = self.abort_upload(key, &token).await {
            tracing::warn!(key, "an upload that others lack cannot be aborted: {error}");
        }
        Err(failed)
    }

    async fn put_part(
        &self,
        key: &str,
        token: &UploadToken,
        part: PartWrite,
    ) -> Result<PartReceipt> {
        let tokens = joined::tokens(token, self.members.len())?;
        let key = Key {
            key,
            tokens: &tokens,
        };
        let written = self.fanout.put_part(&self.members, key, part).await;
        joined::part(written)
    }

    fn streams_parts(&self, algorithm: Option<Algorithm>) -> bool {
        let mut members = self.members.iter();
        members.all(|member| member.store.streams_parts(algorithm))
    }

    async fn stream_part(
        &self,
        key: &str,
        token: &UploadToken,
        part: PartStream,
    ) -> Result<PartReceipt> {
        let tokens = joined::tokens(token, self.members.len())?;
        let key = Key {
            key,
            tokens: &tokens,
        };
        let written = self.fanout.stream_part(&self.members, key, part).await;
        joined::part(written)
    }

    async fn finish_upload(
        &self,
        key: &str,
        token: &UploadToken,
        parts: &[PartReceipt],
        checksum: Option<&Checksum>,
        condition: &Condition,
    ) -> Result<PutReceipt> {
        let tokens = joined::tokens(token, self.members.len())?;
        let own = joined::own_parts(parts, self.members.len())?;
        let each = self.members.iter().zip(tokens).zip(own);
        let finished = each.map(|((member, token), parts)| async move {
            let (store, key) = (&member.store, member.key(key));
            let finish = store.finish_upload(&key, &token, &parts, checksum, condition);
            match finish.await {
                // Others may be complete: it is put right here, or never.
                Err(error) if error.kind == ErrorKind::UploadGone => {
                    match retag::parts_now(&**store, &key, &token, &parts, checksum).await? {
                        Some(parts) => {
                            let finish =
                                store.finish_upload(&key, &token, &parts, checksum, condition);
                            finish.await
                        }
                        None => Err(error),
                    }
                }
                finished => finished,
            }
        });
        joined::put(join_all(finished).await)
    }

    /// The parts that all have.
    async fn list_parts(&self, key: &str, token: &UploadToken) -> Result<Vec<PartReceipt>> {
        let lists = self.open(token)?.map(|(member, token)| async move {
            let key = member.key(key);
            member.store.list_parts(&key, &token).await
        });
        joined::parts(try_join_all(lists).await?)
    }

    async fn abort_upload(&self, key: &str, token: &UploadToken) -> Result<()> {
        let aborts = self.open(token)?.map(|(member, token)| async move {
            let key = member.key(key);
            member.store.abort_upload(&key, &token).await
        });
        // All are tried before the first error is told.
        join_all(aborts).await.into_iter().collect()
    }

    /// What is open at each, as a token of that store alone.
    async fn uploads(&self, key: &str) -> Result<Vec<OpenUpload>> {
        let lists = self.members.iter().map(|member| async move {
            let key = member.key(key);
            member.store.uploads(&key).await
        });
        let (mut all, mut refused) = (Vec::new(), Vec::new());
        for (place, uploads) in join_all(lists).await.into_iter().enumerate() {
            let uploads = match uploads {
                Err(error) if error.is_not_offered() => {
                    refused.push(error);
                    continue;
                }
                uploads => uploads?,
            };
            for upload in uploads {
                let mut tokens = vec![None; self.members.len()];
                tokens[place] = Some(upload.token);
                all.push(OpenUpload {
                    key: key.to_owned(),
                    token: joined::token(&tokens)?,
                    initiated: upload.initiated,
                    store: place as u32,
                });
            }
        }
        // What one does not tell does not keep the others' from being found.
        match refused.pop() {
            Some(error) if refused.len() + 1 == self.members.len() => Err(error),
            _ => Ok(all),
        }
    }

    async fn delete(&self, keys: &[String]) -> Vec<DeleteOutcome> {
        let deleted = self.members.iter().map(|member| async move {
            let own: Vec<_> = keys.iter().map(|key| member.key(key)).collect();
            member.store.delete(&own).await
        });
        let mut each: Vec<_> = join_all(deleted)
            .await
            .into_iter()
            .map(Vec::into_iter)
            .collect();
        let outcome = |key: &String| DeleteOutcome {
            key: key.clone(),
            result: each
                .iter_mut()
                .map(|member| member.next().map_or(Err(joined::lacking()), |it| it.result))
                .fold(Ok(()), Result::and),
        };
        keys.iter().map(outcome).collect()
    }

    async fn copy(
        &self,
        key: &str,
        _source: &CopySource,
        _request: CopyRequest,
    ) -> Result<PutReceipt> {
        Err(self.unsupported("copied by a service", key))
    }

    async fn copy_part(
        &self,
        key: &str,
        _token: &UploadToken,
        _source: &CopySource,
        _number: u32,
        _range: (u64, u64),
    ) -> Result<PartReceipt> {
        Err(self.unsupported("copied by a service", key))
    }
}
