//! The per-object report: a file with one JSON line an object.

use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

use skyhaul_engine::Engine;
use skyhaul_model::outcome::Outcome;
use skyhaul_model::{Error, ErrorKind, Result};
use tempfile::NamedTempFile;

use crate::records::{self, Records};

/// A report that is being written. It appears under its name only when it is complete.
#[derive(Debug)]
pub struct Report {
    path: PathBuf,
    file: BufWriter<NamedTempFile>,
}

fn failed(path: &Path, error: std::io::Error) -> Error {
    Error::control(ErrorKind::Refused, "cannot write the report")
        .object(path.display().to_string())
        .cause(error)
}

impl Report {
    /// Begins one that will be at `path`.
    pub fn create(path: &Path) -> Result<Self> {
        let dir = path
            .parent()
            .filter(|dir| !dir.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        let file = NamedTempFile::new_in(dir).map_err(|error| failed(path, error))?;
        Ok(Self {
            path: path.to_owned(),
            file: BufWriter::new(file),
        })
    }

    /// Adds the line of an object.
    pub fn add(&mut self, outcome: &Outcome) -> Result<()> {
        let written = serde_json::to_writer(&mut self.file, outcome);
        written
            .map_err(std::io::Error::from)
            .and_then(|()| self.file.write_all(b"\n"))
            .map_err(|error| failed(&self.path, error))
    }

    /// Gives it its name.
    pub fn finish(self) -> Result<()> {
        let Self { path, file } = self;
        let file = file.into_inner();
        let file = file.map_err(|error| failed(&path, error.into_error()))?;
        let kept = file.persist(&path);
        kept.map_err(|error| failed(&path, error.error))?;
        Ok(())
    }
}

/// Writes the report of a transfer that has ended here.
pub(crate) async fn write(engine: &Engine, deletions: &[String], path: &Path) -> Result<()> {
    let mut report = Report::create(path)?;
    let mut add = |outcome: Outcome| report.add(&outcome);
    records::outcomes(Records::of(engine), deletions, &mut add).await?;
    report.finish()
}
