//! What carries out the transfer that a command asks about: this machine, or a deployment.

use skyhaul_model::{Result, TransferId};
use skyhaul_workflow::inspect::logs::{self, Which};
use skyhaul_workflow::inspect::top::Snapshot;
use skyhaul_workflow::{Deployed, Embedded, records};
use tokio_util::sync::CancellationToken;

use super::deployment;
use crate::args::StackArgs;
use crate::context::{Context, driver};

/// See the module documentation.
pub(super) enum Carrier {
    /// This machine.
    Here(Embedded),
    /// A deployment.
    There(Deployed),
}

impl Carrier {
    /// The one that is meant, and the transfer that `id` names there: of this machine, the beginning of one will do.
    pub(super) async fn find(
        context: &Context,
        place: &StackArgs,
        id: &str,
    ) -> Result<(Self, TransferId)> {
        let config = context.config(place.overrides())?;
        if let Some(place) = config.stack() {
            let deployed = deployment::open(context, &place).await?;
            return Ok((Self::There(deployed), id.parse()?));
        }
        let embedded = driver(&config)?;
        let id = embedded.find(id).await?;
        Ok((Self::Here(embedded), id))
    }

    /// The transfer as it is now; `None` before it has been planned.
    pub(super) async fn snapshot(&self, id: &TransferId) -> Result<Option<Snapshot>> {
        match self {
            Self::Here(embedded) => embedded.snapshot(id).await.map(Some),
            Self::There(deployed) => deployed.snapshot(id).await,
        }
    }

    /// What became of every object.
    pub(super) async fn outcomes(
        &self,
        id: &TransferId,
        show: &mut records::Show<'_>,
    ) -> Result<()> {
        match self {
            Self::Here(embedded) => embedded.outcomes(id, show).await,
            Self::There(deployed) => deployed.outcomes(id, show).await,
        }
    }

    /// Its logs.
    pub(super) async fn logs(
        &self,
        id: &TransferId,
        which: &Which,
        show: &mut logs::Show<'_>,
        cancel: &CancellationToken,
    ) -> Result<()> {
        match self {
            Self::Here(embedded) => embedded.logs(id, which, show, cancel).await,
            Self::There(deployed) => deployed.logs(id, which, show, cancel).await,
        }
    }
}
