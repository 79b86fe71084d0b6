//! Ending machines of a deployment before their time: those that wait for the next transfer, or all.

use std::time::Duration;

use skyhaul_model::{ErrorKind, Result, TransferId};
use skyhaul_state::control::{
    DataplaneChange, DataplaneRow, DataplaneStatus, Stage, Submission, Wish,
};

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
    /// Ends what is wanted, telling of each transfer that is asked to pause; looks so often whether these have let go of
    /// their machines.
    pub async fn deprovision(
        &self,
        what: &Deprovision,
        every: Duration,
        told: &mut (dyn FnMut(&TransferId) + Send),
    ) -> Result<Deprovisioned> {
        let mut done = Deprovisioned::default();
        if what.all {
            let mut asked = Vec::new();
            for id in self.control.live().await? {
                let found = self.control.submission(&id).await?;
                if !found.is_some_and(|found| what.concerns(&found.owner)) {
                    continue;
                }
                match self.pause(&id).await {
                    Ok(paused) => {
                        told(&id);
                        asked.push(paused);
                    }
                    // It has ended meanwhile.
                    Err(error) if error.kind == ErrorKind::Invalid => {}
                    Err(error) => return Err(error),
                }
            }
            // All are asked before the first is waited for.
            for paused in asked {
                let is_paused = self.until_over(&paused, every).await?;
                done.paused.extend(is_paused.then_some(paused.transfer));
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

    /// Waits until an attempt is over; whether there is something left of its transfer to go on with.
    async fn until_over(&self, attempt: &Submission, every: Duration) -> Result<bool> {
        loop {
            let standing = self.standing(&attempt.transfer).await?;
            if standing.submission.attempt != attempt.attempt {
                // Somebody goes on with it.
                return Ok(false);
            }
            if standing.submission.stage == Stage::Over {
                let is_paused = standing.submission.wish == Some(Wish::Pause);
                return Ok(is_paused && !standing.has_ended());
            }
            tokio::time::sleep(every).await;
        }
    }
}
