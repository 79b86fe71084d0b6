//! The state as a gateway sees it: SQLite behind a way that is slow, loses replies, and can be cut.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use skyhaul_model::{Error, ErrorKind, Result};
use skyhaul_state::operation::{Operation, Reply};
use skyhaul_state::{Calls, SqliteState, TransferState};
use tokio::sync::{oneshot, watch};

use crate::dice::Dice;

/// See the module documentation.
#[derive(Debug, Clone)]
pub(crate) struct FarState {
    state: Arc<SqliteState>,
    dice: Dice,
    /// Whether the way is cut.
    cut: watch::Receiver<bool>,
}

impl FarState {
    pub(crate) fn new(state: Arc<SqliteState>, dice: Dice, cut: watch::Receiver<bool>) -> Self {
        Self { state, dice, cut }
    }

    async fn way(&self) {
        let _ = self.cut.clone().wait_for(|cut| !cut).await;
        tokio::time::sleep(Duration::from_millis(self.dice.below(20))).await;
    }

    /// Carries a call there and its reply back.
    async fn carry(&self, operation: Operation) -> Result<Reply> {
        self.way().await;
        let mut reply = self.perform(operation.clone());
        if self.dice.one_in(40) {
            // It arrives again, so late that whoever sent it may not live any more.
            let (far, operation) = (self.clone(), operation.clone());
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(far.dice.between(1, 60_000))).await;
                let _ = far.perform(operation);
            });
        }
        // The reply is lost: it is asked again, and the service knows what it has done, or, started
        // anew meanwhile, does it again.
        while self.dice.one_in(20) {
            tokio::time::sleep(Duration::from_millis(self.dice.between(20, 2_000))).await;
            if operation.is_repeatable() && self.dice.one_in(2) {
                reply = self.perform(operation.clone());
            }
        }
        self.way().await;
        reply
    }

    /// Takes no time here: the database has a thread of its own, and it is waited for.
    fn perform(&self, operation: Operation) -> Result<Reply> {
        futures::executor::block_on(operation.perform(&*self.state))
    }
}

#[async_trait]
impl Calls for FarState {
    fn shards(&self) -> u32 {
        TransferState::shards(&*self.state)
    }

    async fn call(&self, operation: Operation) -> Result<Reply> {
        let (reply, answer) = oneshot::channel();
        let far = self.clone();
        // On its way it is in nobody's hand: it arrives though who sent it may have given it up.
        tokio::spawn(async move {
            let _ = reply.send(far.carry(operation).await);
        });
        answer
            .await
            .unwrap_or_else(|_| Err(self.strange("the machine is down")))
    }

    fn strange(&self, what: &str) -> Error {
        Error::control(ErrorKind::Internal, what)
    }
}
