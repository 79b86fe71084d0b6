//! The folder that holds the state of this machine's transfers, and the lock that proves that no
//! other process works on one of them.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

use skyhaul_model::{Error, ErrorKind, Result, TransferId};
use skyhaul_state::{Segments, SqliteState};

/// How often a lock is tried again that another process has, and what is between: longer than a look.
const TRIES: u32 = 5;
const MOMENT: Duration = Duration::from_millis(10);

/// The state folder: `skyhaul.db`, and `transfers/ID/` with `lock`, `log` and `segments/`.
#[derive(Debug, Clone)]
pub(crate) struct Home {
    dir: PathBuf,
}

/// Held while a process works on a transfer; the system frees it however the process ends.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

fn failed(path: &Path, what: &str, error: std::io::Error) -> Error {
    let kind = match error.kind() {
        std::io::ErrorKind::StorageFull => ErrorKind::Full,
        _ => ErrorKind::Unreachable,
    };
    Error::control(kind, what)
        .object(path.display().to_string())
        .cause(error)
        .retryable(false)
        .hint("SKYHAUL_STATE_DIR names another state folder")
}

impl Home {
    pub(crate) fn open(dir: &Path) -> Result<Self> {
        std::fs::create_dir_all(dir)
            .map_err(|error| failed(dir, "cannot create the state folder", error))?;
        Ok(Self {
            dir: dir.to_owned(),
        })
    }

    pub(crate) fn state(&self) -> Result<SqliteState> {
        SqliteState::open(self.dir.join("skyhaul.db"))
    }

    pub(crate) fn transfer_dir(&self, id: &TransferId) -> PathBuf {
        self.dir.join("transfers").join(id.as_str())
    }

    pub(crate) fn log(&self, id: &TransferId) -> PathBuf {
        self.transfer_dir(id).join("log")
    }

    pub(crate) fn segments(&self, id: &TransferId) -> Result<Segments> {
        Segments::open(self.transfer_dir(id).join("segments"))
    }

    /// Takes the lock of a transfer, or tells that another process has it.
    pub(crate) fn lock(&self, id: &TransferId) -> Result<Lock> {
        let mut tries = 0;
        loop {
            match self.try_lock(id) {
                // Whoever looks whether it is held holds it for a moment.
                Err(error) if error.kind == ErrorKind::LeaseLost && tries < TRIES => {
                    tries += 1;
                    std::thread::sleep(MOMENT);
                }
                locked => return locked,
            }
        }
    }

    fn try_lock(&self, id: &TransferId) -> Result<Lock> {
        let dir = self.transfer_dir(id);
        std::fs::create_dir_all(&dir)
            .map_err(|error| failed(&dir, "cannot create the transfer's folder", error))?;
        let path = dir.join("lock");
        let file = File::options()
            .create(true)
            .write(true)
            .truncate(false)
            .open(&path)
            .map_err(|error| failed(&path, "cannot open the lock", error))?;
        match file.try_lock() {
            Ok(()) => Ok(Lock { _file: file }),
            Err(TryLockError::WouldBlock) => Err(Error::control(
                ErrorKind::LeaseLost,
                format!("another process works on transfer {id}"),
            )
            .hint("wait for it, or use --fresh for a second transfer")),
            Err(TryLockError::Error(error)) => Err(failed(&path, "cannot lock", error)),
        }
    }

    /// Whether a process works on a transfer now.
    pub(crate) fn is_active(&self, id: &TransferId) -> bool {
        self.transfer_dir(id).join("lock").exists() && self.try_lock(id).is_err()
    }

    /// When a transfer last wrote anything here, as far as its files tell: rows change only with
    /// its phases.
    pub(crate) fn last_written(&self, id: &TransferId) -> Option<std::time::SystemTime> {
        let dir = self.transfer_dir(id);
        ["log", "segments/manifest", "segments/receipts"]
            .iter()
            .filter_map(|name| std::fs::metadata(dir.join(name)).ok()?.modified().ok())
            .max()
    }

    /// Removes what a transfer left on this machine.
    pub(crate) fn remove(&self, id: &TransferId) -> Result<()> {
        let dir = self.transfer_dir(id);
        match std::fs::remove_dir_all(&dir) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(failed(&dir, "cannot remove the transfer's folder", error))
            }
            _ => Ok(()),
        }
    }
}
