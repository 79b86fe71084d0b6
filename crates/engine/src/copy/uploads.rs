//! Multipart uploads of this run: opened once whoever needs them first, with an intent in the state
//! before and the token after, so that none is ever lost.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use backon::Retryable as _;
use jiff::Timestamp;
use skyhaul_model::outcome::PartReceipt;
use skyhaul_model::segment::ObjectTask;
use skyhaul_model::{Algorithm, Checksum, Error, ErrorKind, Result, Side};
use skyhaul_state::{NewUpload, UploadKey, UploadRow};
use skyhaul_stores::{OpenUpload, UploadRequest, UploadToken};
use tokio::sync::{Mutex, OnceCell};
use tokio::time::Instant;

use super::{attributes, read};
use crate::engine::Engine;

/// How often another process's upload is asked for.
const ASK_AGAIN: Duration = Duration::from_millis(200);

/// A creation that was sent is answered or given up within this time, so an upload of ours begins
/// within it after the intent.
const CREATION: Duration = Duration::from_mins(15);

/// An upload that this run works on.
#[derive(Debug)]
pub(crate) struct Upload {
    pub task: ObjectTask,
    pub token: UploadToken,
    /// Algorithm of the parts' checksums.
    pub algorithm: Option<Algorithm>,
    /// The checksum of the full object that the source keeps.
    pub kept: Option<Checksum>,
    /// Receipts of the parts written by this run.
    pub parts: Mutex<BTreeMap<u32, PartReceipt>>,
}

/// What a chunk finds when it asks for its object's upload.
#[derive(Debug, Clone)]
pub(crate) enum Found {
    /// Parts may be written.
    Open(Arc<Upload>),
    /// The object ended: completed, failed, or begun anew under another attempt.
    Ended,
}

/// The uploads of a run, by key.
#[derive(Debug, Default)]
pub(crate) struct Uploads {
    cells: Mutex<HashMap<UploadKey, Arc<OnceCell<Found>>>>,
    ended: Mutex<HashSet<UploadKey>>,
}

/// Stands in [`UploadRow::strangers`] where the open uploads could not be listed.
const UNKNOWN: &str = "*";

impl Uploads {
    /// The upload of an object, opened if need be.
    pub(crate) async fn find(&self, engine: &Engine, task: &ObjectTask) -> Result<Found> {
        let cell = {
            let mut cells = self.cells.lock().await;
            Arc::clone(cells.entry(UploadKey::of(task)).or_default())
        };
        cell.get_or_try_init(|| open(engine, task)).await.cloned()
    }

    /// Marks an object's attempt as ended, once the state says so: parts that see this are recorded
    /// as done without a receipt. True for the first caller only.
    pub(crate) async fn end(&self, key: &UploadKey) -> bool {
        self.ended.lock().await.insert(key.clone())
    }

    /// Whether an object's attempt ended in this run.
    pub(crate) async fn is_ended(&self, key: &UploadKey) -> bool {
        self.ended.lock().await.contains(key)
    }

    /// Forgets the upload of an attempt that ended.
    pub(crate) async fn forget(&self, key: &UploadKey) {
        self.cells.lock().await.remove(key);
    }
}

async fn open(engine: &Engine, task: &ObjectTask) -> Result<Found> {
    let key = UploadKey::of(task);
    let mut row = engine.state.upload(&engine.id, &key).await?;
    loop {
        row = match row {
            Some(row) if row.token.is_none() => Some(await_token(engine, row).await?),
            row => row,
        };
        if row.as_ref().is_some_and(|row| !row.status.is_under_way()) {
            return Ok(Found::Ended);
        }
        // From here on the object has a row, so that whatever happens to it is recorded once.
        let turn = if let Some(row) = row {
            go_on(engine, task, row).await?
        } else {
            let intent = intend(engine, task, key.clone(), None).await?;
            begin(engine, task, intent).await?
        };
        match turn {
            Turn::Ours(found) => return Ok(found),
            Turn::Anothers(now) => row = Some(*now),
        }
    }
}

/// What came of what only one process may do at a time.
enum Turn<T> {
    /// It was done here.
    Ours(T),
    /// Another process is about to create the upload, and is to be waited for: its row.
    Anothers(Box<UploadRow>),
}

/// The upload of an object that has a row: the one that was opened, or another where nobody seems
/// to be about to open one any more.
async fn go_on(engine: &Engine, task: &ObjectTask, row: UploadRow) -> Result<Turn<Found>> {
    let Some(token) = row.token else {
        // A run died between intent and token: there may be an upload of ours at the store.
        let intent = intend_anew(engine, task, &row).await?;
        return begin(engine, task, intent).await;
    };
    // Should the source have changed since, a part that is still to be read meets the change;
    // if all are written, they are one version and make a whole object.
    let kept = match engine.source.stat(&task.source_key, &task.pin, false).await {
        Ok(info) => info.and_then(|info| info.checksum),
        Err(error) if error.kind == ErrorKind::Changed => None,
        Err(error) => return Err(error),
    };
    Ok(Turn::Ours(opened(engine, task, UploadToken(token), kept)))
}

fn opened(engine: &Engine, task: &ObjectTask, token: UploadToken, kept: Option<Checksum>) -> Found {
    Found::Open(Arc::new(Upload {
        task: task.clone(),
        token,
        algorithm: engine.algorithm(kept.as_ref().map(|sum| sum.algorithm)),
        kept,
        parts: Mutex::default(),
    }))
}

/// Opens the upload that is intended, if the intent is this process's.
async fn begin(
    engine: &Engine,
    task: &ObjectTask,
    intent: Turn<Box<UploadRow>>,
) -> Result<Turn<Found>> {
    let row = match intent {
        Turn::Ours(row) => row,
        Turn::Anothers(row) => return Ok(Turn::Anothers(row)),
    };
    // The head of the pinned version: its attributes go with the upload's creation.
    let info = engine
        .source
        .stat(&task.source_key, &task.pin, engine.wants_tags())
        .await?
        .ok_or_else(|| {
            Error::new(
                Side::Source,
                ErrorKind::Changed,
                "it was deleted during the transfer",
            )
            .object(engine.source.uri(&task.source_key))
        })?;
    let kept = info.checksum.clone();
    let algorithm = engine.algorithm(kept.as_ref().map(|sum| sum.algorithm));
    let (attributes, mtime) = attributes::for_destination(engine, &task.source_key, &info);
    let request = UploadRequest {
        size: task.size,
        part_size: task.part_size.unwrap_or(task.size),
        attributes,
        mtime,
        algorithm,
    };
    let key = row.key.clone();
    let token = match create(engine, task, row, &request).await? {
        Turn::Ours(token) => token,
        Turn::Anothers(row) => return Ok(Turn::Anothers(row)),
    };
    let row = engine
        .state
        .upload_opened(&engine.id, &key, &token.0)
        .await?;
    if !row.status.is_under_way() {
        // The object was given up meanwhile, and nobody looks for an upload of it any more.
        engine
            .destination
            .abort_upload(&task.destination_key, &token)
            .await?;
        return Ok(Turn::Ours(Found::Ended));
    }
    match row.token {
        Some(counts) if counts != token.0 => {
            // Another process was faster: its upload counts, ours goes.
            engine
                .destination
                .abort_upload(&task.destination_key, &token)
                .await?;
            Ok(Turn::Ours(opened(engine, task, UploadToken(counts), kept)))
        }
        _ => Ok(Turn::Ours(opened(engine, task, token, kept))),
    }
}

/// Waits while another process may be about to create the upload that it intends. Whoever did not
/// in a lease's term is taken for dead.
async fn await_token(engine: &Engine, mut row: UploadRow) -> Result<UploadRow> {
    let Some(term) = engine.limits.term else {
        return Ok(row);
    };
    let deadline = Instant::now() + term;
    while row.token.is_none() && row.status.is_under_way() && Instant::now() < deadline {
        engine.check_cancelled()?;
        tokio::time::sleep(ASK_AGAIN).await;
        let intended = row.intended;
        match engine.state.upload(&engine.id, &row.key).await? {
            Some(now) => row = now,
            None => break,
        }
        if row.intended != intended {
            // Somebody else tries anew, and has all the time for it.
            return Box::pin(await_token(engine, row)).await;
        }
    }
    Ok(row)
}

/// Creates the upload. A creation whose reply was lost may have been made: it is looked for and
/// aborted before the next try.
async fn create(
    engine: &Engine,
    task: &ObjectTask,
    row: Box<UploadRow>,
    request: &UploadRequest,
) -> Result<Turn<UploadToken>> {
    let mut again = false;
    let latest = &Mutex::new(row);
    let attempt = || {
        let is_retry = std::mem::replace(&mut again, true);
        async move {
            let mut row = latest.lock().await;
            if is_retry {
                match intend_anew(engine, task, &row).await? {
                    Turn::Ours(now) => *row = now,
                    Turn::Anothers(now) => return Ok(Turn::Anothers(now)),
                }
            }
            engine
                .destination
                .open_upload(&row.key.key, request.clone())
                .await
                .map(Turn::Ours)
        }
    };
    attempt
        .retry(read::backoff())
        .when(|error: &Error| error.retryable && !engine.cancel.is_cancelled())
        .await
}

/// Intends to create an upload, in the place of the intent of the time `replaces`.
async fn intend(
    engine: &Engine,
    task: &ObjectTask,
    key: UploadKey,
    replaces: Option<Timestamp>,
) -> Result<Turn<Box<UploadRow>>> {
    let strangers = match engine.destination.uploads(&task.destination_key).await {
        Ok(uploads) => uploads.into_iter().map(|upload| upload.token.0).collect(),
        Err(error) => {
            tracing::warn!(
                key = task.destination_key,
                "open uploads are unknown: {error}"
            );
            vec![UNKNOWN.to_owned()]
        }
    };
    put_intent(engine, task, key, Timestamp::now(), strangers, replaces).await
}

async fn put_intent(
    engine: &Engine,
    task: &ObjectTask,
    key: UploadKey,
    at: Timestamp,
    strangers: Vec<String>,
    replaces: Option<Timestamp>,
) -> Result<Turn<Box<UploadRow>>> {
    let task_json = serde_json::to_string(task).map_err(|error| {
        Error::control(ErrorKind::Internal, "a task does not serialise").cause(error)
    })?;
    let intended = mark(at);
    let upload = NewUpload {
        key,
        intended,
        replaces,
        strangers,
        parts_total: task.part_count(),
        task: task_json,
    };
    let row = Box::new(engine.state.upload_intent(&engine.id, upload).await?);
    Ok(if row.intended == intended {
        Turn::Ours(row)
    } else {
        Turn::Anothers(row)
    })
}

/// A time within the second after `at` that no other process has: an intent is known by its time.
fn mark(at: Timestamp) -> Timestamp {
    at + Duration::from_nanos(rand::random_range(1..1_000_000_000))
}

/// The intent of another creation, after one that may have been made: what is created from now on
/// begins after now, and what is open now is not of it. Only who has the intent removes what the
/// earlier one left, or it would be what another is about to use.
async fn intend_anew(
    engine: &Engine,
    task: &ObjectTask,
    row: &UploadRow,
) -> Result<Turn<Box<UploadRow>>> {
    let (key, strangers) = (row.key.clone(), row.strangers.clone());
    let replaces = Some(row.intended);
    let claimed = put_intent(engine, task, key, row.intended, strangers, replaces).await?;
    let Turn::Ours(row) = claimed else {
        return Ok(claimed);
    };
    abort_unrecorded(engine, &row).await?;
    intend(engine, task, row.key.clone(), Some(row.intended)).await
}

/// Aborts the upload that a dead run may have created without recording its token: one that was
/// not there before the intent, began within a creation's time of it, and has no parts. Where more
/// than one fits at a store, none is touched there: it might be a stranger's.
pub(crate) async fn abort_unrecorded(engine: &Engine, row: &UploadRow) -> Result<()> {
    let key = &row.key.key;
    if row.strangers.iter().any(|token| token == UNKNOWN) {
        return Ok(());
    }
    let open = match engine.destination.uploads(key).await {
        Ok(open) => open,
        Err(error) if error.is_not_offered() => return Ok(()),
        Err(error) => return Err(error),
    };
    // The store's clock may be a little behind or ahead of ours.
    let skew = Duration::from_mins(1);
    let ours = |upload: &OpenUpload| {
        !row.strangers.contains(&upload.token.0)
            && upload.initiated.is_none_or(|begun| {
                begun >= row.intended - skew && begun <= row.intended + CREATION + skew
            })
    };
    let mut empty: BTreeMap<u32, Vec<UploadToken>> = BTreeMap::new();
    for upload in open.into_iter().filter(ours) {
        if engine
            .destination
            .list_parts(key, &upload.token)
            .await?
            .is_empty()
        {
            empty.entry(upload.store).or_default().push(upload.token);
        }
    }
    for tokens in empty.values() {
        if let [token] = tokens.as_slice() {
            engine.destination.abort_upload(key, token).await?;
        } else {
            tracing::warn!(
                key,
                uploads = tokens.len(),
                "several open uploads could be of an interrupted run; none is aborted"
            );
        }
    }
    Ok(())
}
