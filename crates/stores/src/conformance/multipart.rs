//! Multipart uploads, as several processes share them.

use std::collections::BTreeSet;

use bytes::Bytes;
use jiff::Timestamp;
use skyhaul_model::capabilities::MtimeSupport;
use skyhaul_model::outcome::PartReceipt;
use skyhaul_model::{Algorithm, Checksum, ErrorKind, Pin};

use super::fixture::{Fixture, bytes};
use super::{Checked, Failure, Verdict, ensure, ensure_kind};
use crate::payload::Payload;
use crate::store::{Condition, PartWrite, PutReceipt, Store, UploadRequest, UploadToken};

/// Breaks off a check unless the call found no upload.
macro_rules! ensure_gone {
    ($fixture:expr, $result:expr, $what:expr) => {
        if $fixture.quirks.fails_on_uploads_gone {
            ensure!($result.is_err(), "{}: succeeded", $what);
        } else {
            ensure_kind!($result, ErrorKind::UploadGone, $what);
        }
    };
}

/// An upload of two full parts and a short one.
pub(super) struct Upload<'a> {
    pub(super) fixture: &'a Fixture,
    pub(super) key: String,
    pub(super) token: UploadToken,
    content: Bytes,
    part_size: usize,
    pub(super) algorithm: Option<Algorithm>,
}

impl<'a> Upload<'a> {
    pub(super) async fn open(fixture: &'a Fixture, name: &str) -> Result<Self, Failure> {
        let part_size = fixture.store.capabilities().parts.min_part.max(64 << 10) as usize;
        let content = bytes(42, 2 * part_size + 999);
        let combining = fixture.store.capabilities().full_object_checksum;
        let algorithm = (combining && !fixture.quirks.no_upload_checksums)
            .then(|| {
                let offered = &fixture.store.capabilities().checksums;
                offered
                    .iter()
                    .copied()
                    .find(|algorithm| algorithm.combines())
            })
            .flatten();
        let key = fixture.key(name);
        let request = UploadRequest {
            size: content.len() as u64,
            part_size: part_size as u64,
            algorithm,
            ..UploadRequest::default()
        };
        let token = fixture.store.open_upload(&key, request).await?;
        Ok(Self {
            fixture,
            key,
            token,
            content,
            part_size,
            algorithm,
        })
    }

    pub(super) fn checksum(&self, content: &Bytes) -> Option<Checksum> {
        self.algorithm
            .map(|algorithm| Payload::from(content.clone()).checksum(algorithm))
    }

    /// The bytes of part 1, 2 or 3.
    pub(super) fn slice(&self, number: u32) -> Bytes {
        let start = (number as usize - 1) * self.part_size;
        self.content
            .slice(start..self.content.len().min(start + self.part_size))
    }

    /// Where part `number` begins.
    pub(super) fn offset(&self, number: u32) -> u64 {
        u64::from(number - 1) * self.part_size as u64
    }

    fn part(&self, number: u32, content: Bytes) -> PartWrite {
        let checksum = self.checksum(&content);
        PartWrite {
            number,
            offset: self.offset(number),
            payload: Payload::from(content),
            checksum,
        }
    }

    pub(super) async fn write(
        &self,
        store: &dyn Store,
        number: u32,
    ) -> Result<PartReceipt, skyhaul_model::Error> {
        store
            .put_part(
                &self.key,
                &self.token,
                self.part(number, self.slice(number)),
            )
            .await
    }

    pub(super) async fn write_all(&self) -> Result<Vec<PartReceipt>, Failure> {
        let mut parts = Vec::new();
        for number in [1, 2, 3] {
            parts.push(self.write(&*self.fixture.store, number).await?);
        }
        Ok(parts)
    }

    pub(super) async fn finish(
        &self,
        store: &dyn Store,
        parts: &[PartReceipt],
        condition: &Condition,
    ) -> Result<PutReceipt, skyhaul_model::Error> {
        let checksum = self.checksum(&self.content);
        store
            .finish_upload(&self.key, &self.token, parts, checksum.as_ref(), condition)
            .await
    }

    pub(super) async fn ensure_whole(&self) -> Result<(), Failure> {
        let read = self.fixture.whole(&self.key).await?;
        ensure!(
            read == self.content,
            "the object has {} bytes, or others",
            read.len()
        );
        Ok(())
    }
}

pub(super) async fn upload_across_processes(fixture: &Fixture) -> Checked {
    let upload = Upload::open(fixture, "d/object").await?;
    let (mine, other) = (&*fixture.store, &*fixture.other);
    let third = upload.write(other, 3).await?;
    let first = upload.write(mine, 1).await?;
    let second = upload.write(other, 2).await?;
    ensure!(
        fixture.keys().await?.is_empty(),
        "visible before it is finished"
    );
    let parts = [first, second, third];
    let listed = fixture.store.list_parts(&upload.key, &upload.token).await?;
    if !listed.is_empty() {
        let same = listed.len() == parts.len()
            && listed.iter().zip(&parts).all(|(listed, part)| {
                (listed.number, listed.size, &listed.etag) == (part.number, part.size, &part.etag)
            });
        ensure!(same, "listed parts {listed:?} for {parts:?}");
    }
    upload.finish(other, &parts, &Condition::None).await?;
    upload.ensure_whole().await?;
    ensure!(
        fixture.store.uploads(&upload.key).await?.is_empty(),
        "still open"
    );
    Ok(Verdict::Holds)
}

pub(super) async fn upload_replaces_a_part(fixture: &Fixture) -> Checked {
    let upload = Upload::open(fixture, "object").await?;
    let wrong = bytes(9, upload.part_size);
    fixture
        .store
        .put_part(&upload.key, &upload.token, upload.part(2, wrong))
        .await?;
    let parts = upload.write_all().await?;
    upload
        .finish(&*fixture.store, &parts, &Condition::None)
        .await?;
    upload.ensure_whole().await?;
    Ok(Verdict::Holds)
}

pub(super) async fn upload_with_a_missing_part_fails(fixture: &Fixture) -> Checked {
    let upload = Upload::open(fixture, "object").await?;
    let first = upload.write(&*fixture.store, 1).await?;
    let third = upload.write(&*fixture.store, 3).await?;
    // A receipt of a part that the store does not have.
    let invented = PartReceipt {
        number: 2,
        etag: Some("0".repeat(32)),
        ..first.clone()
    };
    let native = !fixture
        .store
        .list_parts(&upload.key, &upload.token)
        .await?
        .is_empty();
    let all = [first.clone(), invented, third];
    if native {
        let finished = upload.finish(&*fixture.store, &all, &Condition::None).await;
        ensure!(
            finished.is_err(),
            "finished with a part that was never written"
        );
    } else {
        let finished = upload
            .finish(&*fixture.store, &all[..1], &Condition::None)
            .await;
        ensure!(finished.is_err(), "finished with parts missing");
    }
    ensure!(fixture.keys().await?.is_empty(), "there, and not whole");
    Ok(Verdict::Holds)
}

pub(super) async fn upload_verifies_checksums(fixture: &Fixture) -> Checked {
    let upload = Upload::open(fixture, "object").await?;
    if upload.algorithm.is_none() || fixture.quirks.accepts_wrong_checksums {
        return Ok(Verdict::NotApplicable("no checksums of uploads"));
    }
    let wrong = PartWrite {
        payload: Payload::from(bytes(9, upload.part_size)),
        ..upload.part(1, upload.slice(1))
    };
    let written = fixture
        .store
        .put_part(&upload.key, &upload.token, wrong)
        .await;
    ensure_kind!(written, ErrorKind::Corrupt, "a part with another checksum");
    let parts = upload.write_all().await?;
    ensure!(
        parts.iter().all(|part| part.verified),
        "not confirmed: {parts:?}"
    );
    let receipt = upload
        .finish(&*fixture.store, &parts, &Condition::None)
        .await?;
    ensure!(receipt.verified, "not confirmed: {receipt:?}");
    upload.ensure_whole().await?;
    Ok(Verdict::Holds)
}

pub(super) async fn upload_finishes_twice(fixture: &Fixture) -> Checked {
    let upload = Upload::open(fixture, "object").await?;
    let parts = upload.write_all().await?;
    upload
        .finish(&*fixture.store, &parts, &Condition::None)
        .await?;
    // The reply was lost; another process asks again.
    upload
        .finish(&*fixture.other, &parts, &Condition::None)
        .await?;
    upload.ensure_whole().await?;
    fixture.put(&upload.key, "another object").await?;
    let late = upload
        .finish(&*fixture.other, &parts, &Condition::None)
        .await;
    ensure_gone!(fixture, late, "finished over another object");
    ensure!(
        fixture.whole(&upload.key).await? == b"another object",
        "the other object is gone"
    );
    Ok(Verdict::Holds)
}

pub(super) async fn upload_under_conditions(fixture: &Fixture) -> Checked {
    let conditional = fixture.store.capabilities().conditional_write;
    if !conditional || fixture.quirks.ignores_conditions_on_completion {
        return Ok(Verdict::NotApplicable("no conditional completion"));
    }
    let upload = Upload::open(fixture, "object").await?;
    let parts = upload.write_all().await?;
    fixture.put(&upload.key, "theirs").await?;
    let pin = fixture.pin(&upload.key).await?;
    let refused = upload
        .finish(&*fixture.store, &parts, &Condition::Absent)
        .await;
    ensure_kind!(refused, ErrorKind::PreconditionFailed, "absent, and there");
    ensure!(
        fixture.whole(&upload.key).await? == b"theirs",
        "replaced all the same"
    );
    upload
        .finish(&*fixture.store, &parts, &Condition::Is(pin))
        .await?;
    upload.ensure_whole().await?;
    Ok(Verdict::Holds)
}

pub(super) async fn upload_is_aborted(fixture: &Fixture) -> Checked {
    let upload = Upload::open(fixture, "object").await?;
    let parts = upload.write_all().await?;
    fixture
        .other
        .abort_upload(&upload.key, &upload.token)
        .await?;
    fixture
        .store
        .abort_upload(&upload.key, &upload.token)
        .await?;
    let late = upload.write(&*fixture.store, 1).await;
    ensure_gone!(fixture, late, "a part after the abort");
    let late = upload
        .finish(&*fixture.store, &parts, &Condition::None)
        .await;
    ensure_gone!(fixture, late, "a completion after the abort");
    ensure!(fixture.keys().await?.is_empty(), "there after the abort");
    ensure!(
        fixture.store.uploads(&upload.key).await?.is_empty(),
        "open after the abort"
    );
    Ok(Verdict::Holds)
}

pub(super) async fn uploads_are_found_by_their_key(fixture: &Fixture) -> Checked {
    let upload = Upload::open(fixture, "d/object").await?;
    let longer = Upload::open(fixture, "d/object2").await?;
    upload.write(&*fixture.store, 1).await?;
    let found = fixture.other.uploads(&upload.key).await?;
    let stores: BTreeSet<u32> = found.iter().map(|open| open.store).collect();
    ensure!(
        !found.is_empty() && found.len() == stores.len(),
        "not one at each store: {found:?}"
    );
    ensure!(
        fixture.store.uploads(&fixture.key("d")).await?.is_empty(),
        "found by a prefix"
    );
    for open in found {
        ensure!(open.key == upload.key, "of another key: {open:?}");
        ensure!(open.initiated.is_some(), "without its time: {open:?}");
        fixture.store.abort_upload(&open.key, &open.token).await?;
    }
    let late = upload.write(&*fixture.store, 2).await;
    ensure_gone!(fixture, late, "a part after the abort by what was found");
    ensure!(
        fixture.store.uploads(&longer.key).await?.len() == stores.len(),
        "the neighbour is gone"
    );
    fixture
        .store
        .abort_upload(&longer.key, &longer.token)
        .await?;
    Ok(Verdict::Holds)
}

pub(super) async fn upload_keeps_what_it_was_opened_with(fixture: &Fixture) -> Checked {
    let key = fixture.key("object");
    let content = bytes(5, 1_000);
    let mtime = Timestamp::from_nanosecond(1_234_567_890_123_456_789)
        .map_err(|error| Failure::Broken(error.to_string()))?;
    let mut request = UploadRequest {
        size: 1_000,
        part_size: fixture.store.capabilities().parts.min_part.max(1_000),
        mtime: Some(mtime),
        ..UploadRequest::default()
    };
    request.attributes.content_type = Some("text/x-check".to_owned());
    request
        .attributes
        .metadata
        .insert("name".to_owned(), "value".to_owned());
    let token = fixture.store.open_upload(&key, request).await?;
    let payload = Payload::from(content.clone());
    let part = PartWrite {
        number: 1,
        offset: 0,
        payload,
        checksum: None,
    };
    let part = fixture.store.put_part(&key, &token, part).await?;
    fixture
        .other
        .finish_upload(&key, &token, &[part], None, &Condition::None)
        .await?;
    ensure!(fixture.whole(&key).await? == content, "other bytes");
    let info = fixture.store.stat(&key, &Pin::default(), false).await?;
    let info = info.ok_or_else(|| Failure::Broken("not there".into()))?;
    let capabilities = fixture.store.capabilities();
    if capabilities.mtime == MtimeSupport::Native {
        ensure!(info.mtime == mtime, "{} for {mtime}", info.mtime);
    } else {
        let kept = skyhaul_model::mtime::of(&info.attributes);
        ensure!(kept == Some(mtime), "{:?}", info.attributes);
    }
    if capabilities.attributes {
        let attributes = &info.attributes;
        ensure!(
            attributes.content_type.as_deref() == Some("text/x-check"),
            "{attributes:?}"
        );
        let kept = attributes.metadata.get("name").map(String::as_str);
        ensure!(kept == Some("value"), "{attributes:?}");
    }
    Ok(Verdict::Holds)
}
