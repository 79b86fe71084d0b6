//! What every command needs: configuration, screen, log, and whether to stop.

use skyhaul_model::{Error, Result};
use skyhaul_workflow::{Embedded, Settings};
use tokio_util::sync::CancellationToken;

use crate::args::{GlobalArgs, SpeedArgs};
use crate::config::{Config, Document, Name, Value, paths};
use crate::exit;
use crate::log::Log;
use crate::output::{Lines, Screen};

/// See the module.
pub(crate) struct Context {
    /// Flags of every command.
    pub(crate) global: GlobalArgs,
    /// What the user sees.
    pub(crate) screen: Screen,
    /// Where messages go.
    pub(crate) log: Log,
    /// Set when the user asks to stop.
    pub(crate) cancel: CancellationToken,
}

impl Context {
    /// The configuration file.
    pub(crate) fn document(&self) -> Result<Document> {
        Document::load(paths::config_file(self.global.config.clone())?)
    }

    /// What holds for this command.
    pub(crate) fn config(&self, mut flags: Vec<(Name, Value)>) -> Result<Config> {
        if let Some(path) = &self.global.state_dir {
            flags.push((Name::StateDir, Value::Folder(path.clone())));
        }
        let environment = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        Config::resolve(&self.document()?, environment, &flags)
    }

    /// Stdout for many lines.
    pub(crate) fn lines(&self) -> Lines {
        Lines::new(self.cancel.clone())
    }

    /// Waits for what cannot be told to stop; asking to stop ends it.
    pub(crate) async fn unless_cancelled<T>(
        &self,
        work: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        tokio::select! {
            result = work => result,
            () = self.cancel.cancelled() => Err(exit::interrupted()),
        }
    }
}

/// The driver with this configuration.
pub(crate) fn driver(config: &Config) -> Result<Embedded> {
    Embedded::open(config.settings()?)
}

/// The same for transfers: with gateways, and with the flags that only tests use.
pub(crate) fn sliced_driver(config: &Config, speed: &SpeedArgs) -> Result<Embedded> {
    Embedded::open(Settings {
        slice_pages: speed.slice_pages,
        slice_chunks: speed.slice_chunks,
        fleet: speed.gateways.fleet()?,
        ..config.settings()?
    })
}

/// The error of a runtime that cannot be made.
pub(crate) fn no_runtime(cause: std::io::Error) -> Error {
    Error::invalid("cannot start the runtime").cause(cause)
}
