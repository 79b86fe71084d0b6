//! What became of every object of a transfer, as far as it is recorded.

use skyhaul_model::{Result, TransferId};

use crate::delete;
use crate::deployed::Deployed;
use crate::embedded::Embedded;
use crate::records::{self, Records, Show};

/// Calls `show` with every outcome, until it fails.
async fn all(records: Records<'_>, show: &mut Show<'_>) -> Result<()> {
    let deletions = delete::deletions(records).await?;
    records::outcomes(records, &deletions.segments, show).await
}

impl Embedded {
    /// Calls `show` with the outcome of every object of a transfer of this machine, segment by segment, until it
    /// fails. Of one that goes on: of what it has recorded.
    pub async fn outcomes(&self, id: &TransferId, show: &mut Show<'_>) -> Result<()> {
        let (home, state) = self.home()?;
        state.transfer(id).await?;
        let segments = home.segments(id)?;
        let records = Records {
            id,
            state: &*state,
            segments: &segments,
        };
        all(records, show).await
    }
}

impl Deployed {
    /// The same of a transfer of a deployment.
    pub async fn outcomes(&self, id: &TransferId, show: &mut Show<'_>) -> Result<()> {
        self.state.transfer(id).await?;
        let segments = self.segments(id).await?;
        let records = Records {
            id,
            state: &*self.state,
            segments: &*segments,
        };
        all(records, show).await
    }
}
