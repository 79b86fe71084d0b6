//! Ending machines of a deployment before their time: those that wait for the next transfer, or all.

use std::time::Duration;

use skyhaul_model::{ErrorKind, Result, TransferId};
use skyhaul_state::control::{DataplaneChange, DataplaneRow, DataplaneStatus, Stage};

use crate::deployed::Deployed;

/// Which machines end.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Deprovision {
    /// Also those that transfers use: these are paused before.
    pub all: bool,
    /// Only what this user asked for.
    pub owner: Option<String>,
}

/// What became of it.
#[derive(Debug, Default)]
pub struct Deprovisioned {
    /// Transfers that were paused.
    pub paused: Vec<TransferId>,
    /// Dataplanes that end: their machines go within minutes.
    pub ending: Vec<DataplaneRow>,
    /// Dataplanes that stay, for transfers use them.
    pub used: Vec<DataplaneRow>,
}

impl Deprovision {
    fn concerns(&self, owner: &str) -> bool {
        self.owner.as_ref().is_none_or(|wanted| wanted == owner)
    }
}

impl Deployed {
    /// Ends what is wanted; looks so often whether transfers that are paused have let go of their machines.
    pub async fn deprovision(&self, what: &Deprovision, every: Duration) -> Result<Deprovisioned> {
        let mut done = Deprovisioned::default();
        if what.all {
            for id in self.control.live().await? {
                let found = self.control.submission(&id).await?;
                if found.is_some_and(|found| what.concerns(&found.owner)) {
                    self.pause(&id).await?;
                    done.paused.push(id);
                }
            }
            // All are asked before the first is waited for.
            for id in &done.paused {
                self.until_over(id, every).await?;
            }
        }
        for row in self.control.dataplanes().await? {
            if row.status != DataplaneStatus::Active || !what.concerns(&row.owner) {
                continue;
            }
            match self
                .control
                .change(&row.id, &DataplaneChange::EndIdle)
                .await
            {
                Ok(row) => done.ending.push(row),
                Err(error) if error.kind == ErrorKind::LeaseLost => done.used.push(row),
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    async fn until_over(&self, id: &TransferId, every: Duration) -> Result<()> {
        loop {
            let found = self.control.submission(id).await?;
            if found.is_none_or(|found| found.stage == Stage::Over) {
                return Ok(());
            }
            tokio::time::sleep(every).await;
        }
    }
}
