//! One connection on one thread. Calls are closures in a queue: writes of one process never wait
//! for each other's locks, and a call that its caller gave up still ends.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rusqlite::{Connection, ErrorCode, OpenFlags, Transaction, TransactionBehavior};
use skyhaul_model::{Error, ErrorKind, Result};
use tokio::sync::oneshot;

use super::failure::{Failure, Outcome};
use crate::fault;

/// Marks a database as ours ("skyh"); see `PRAGMA application_id`.
const APPLICATION: i32 = 0x736b_7968;

/// What takes a database from one version to the next; the first starts from an empty file.
const MIGRATIONS: [&str; 3] = [
    include_str!("schema.sql"),
    include_str!("gateways.sql"),
    include_str!("first.sql"),
];

/// How long a transaction waits for another process.
const BUSY: Duration = Duration::from_secs(20);

/// Pages of the log before it is copied back: 16 MiB, one flush of the disk.
const CHECKPOINT_PAGES: u32 = 4096;

type Job = Box<dyn FnOnce(&mut Connection) + Send>;

/// The connection's thread.
pub(super) struct Worker {
    path: PathBuf,
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl Worker {
    /// Opens or makes the database. Blocking.
    pub(super) fn open(path: &Path) -> Result<Self> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)
                .map_err(|error| fault::io(error, "cannot make the folder", folder))?;
        }
        let mut connection = connect(path).map_err(|failure| failure.at(path))?;
        let (jobs, queue) = mpsc::channel::<Job>();
        let thread = std::thread::Builder::new()
            .name("skyhaul-state".to_owned())
            .spawn(move || {
                for job in queue {
                    job(&mut connection);
                }
            })
            .map_err(|error| fault::io(error, "cannot start a thread", path))?;
        Ok(Self {
            path: path.to_owned(),
            jobs: Some(jobs),
            thread: Some(thread),
        })
    }

    /// Runs a transaction that reads: one consistent view.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> Outcome<T> + Send + 'static,
    ) -> Result<T> {
        self.run(TransactionBehavior::Deferred, work).await
    }

    /// Runs a transaction that writes: all of it or, on any error, nothing.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> Outcome<T> + Send + 'static,
    ) -> Result<T> {
        // Taking the write lock first: upgrading a view that became old would fail.
        self.run(TransactionBehavior::Immediate, work).await
    }

    async fn run<T: Send + 'static>(
        &self,
        behavior: TransactionBehavior,
        work: impl FnOnce(&Transaction<'_>) -> Outcome<T> + Send + 'static,
    ) -> Result<T> {
        let (reply, answer) = oneshot::channel();
        let job: Job = Box::new(move |connection| {
            let result = transact(connection, behavior, work);
            // Nobody waits if the caller was cancelled; what was written stays.
            let _ = reply.send(result);
        });
        let gone = |_| fault::internal("a state transaction", "its thread is gone");
        if let Some(jobs) = &self.jobs {
            jobs.send(job)
                .map_err(|_| fault::internal("a state transaction", "no thread"))?;
        }
        answer
            .await
            .map_err(gone)?
            .map_err(|failure| failure.at(&self.path))
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        drop(self.jobs.take());
        if let Some(thread) = self.thread.take() {
            // Closing copies the log back; a panicked thread has said so by itself.
            let _ = thread.join();
        }
    }
}

fn transact<T>(
    connection: &mut Connection,
    behavior: TransactionBehavior,
    work: impl FnOnce(&Transaction<'_>) -> Outcome<T>,
) -> Outcome<T> {
    let transaction = connection.transaction_with_behavior(behavior)?;
    let value = work(&transaction)?;
    transaction.commit()?;
    Ok(value)
}

fn connect(path: &Path) -> Outcome<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY)?;
    connection.set_prepared_statement_cache_capacity(64);
    own(&connection, path)?;
    write_ahead(&connection)?;
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
    connection.pragma_update(None, "foreign_keys", true)?;
    migrate(&mut connection, path)?;
    Ok(connection)
}

/// Refuses a database of another program before anything in it is changed.
fn own(connection: &Connection, path: &Path) -> Outcome<()> {
    // In one view: another process may be making the tables at this moment.
    let view = connection.unchecked_transaction()?;
    let application: i32 = view.pragma_query_value(None, "application_id", |row| row.get(0))?;
    let tables: i64 = view.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    view.commit()?;
    if application == APPLICATION || (application == 0 && tables == 0) {
        return Ok(());
    }
    Err(Error::invalid("a database of another program")
        .object(path.display().to_string())
        .hint("choose another state directory")
        .into())
}

/// Turns on the write-ahead log. The busy timeout does not cover this step, so two processes that
/// make the database at once are kept apart here.
fn write_ahead(connection: &Connection) -> Outcome<()> {
    let started = Instant::now();
    loop {
        let set = connection
            .pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get::<_, String>(0));
        match set {
            Ok(mode) => {
                if mode != "wal" {
                    tracing::debug!(mode, "no write-ahead log on this file system");
                }
                return Ok(());
            }
            Err(error)
                if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy)
                    && started.elapsed() < BUSY =>
            {
                std::thread::sleep(Duration::from_millis(5));
            }
            Err(error) => return Err(error.into()),
        }
    }
}

fn migrate(connection: &mut Connection, path: &Path) -> Outcome<()> {
    let newest = MIGRATIONS.len() as u32;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let version: i64 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let version = u32::try_from(version).unwrap_or(u32::MAX);
    if version > newest {
        return Err(Failure::Refused(
            Error::control(
                ErrorKind::Unsupported,
                format!("state of version {version}, this build knows up to {newest}"),
            )
            .object(path.display().to_string())
            .hint("use the newer skyhaul that wrote it"),
        ));
    }
    if version < newest {
        for migration in &MIGRATIONS[version as usize..] {
            transaction.execute_batch(migration)?;
        }
        transaction.pragma_update(None, "application_id", APPLICATION)?;
        transaction.pragma_update(None, "user_version", newest)?;
    }
    transaction.commit()?;
    Ok(())
}
