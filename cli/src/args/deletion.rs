//! Deleting at the destination.

use clap::Args;
use skyhaul_model::guard::{DeleteLimit, DeletePolicy};

use crate::config::{Name, Value};
use crate::values;

/// Whether and how much a sync deletes.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Deletion")]
pub(crate) struct DeleteArgs {
    /// Delete what the source does not have
    #[arg(long)]
    delete: bool,
    /// Delete nothing if it would be more than this
    #[arg(long, value_name = "N|N%", value_parser = limit, requires = "delete")]
    max_delete: Option<DeleteLimit>,
    /// Also delete what filters leave out
    #[arg(long, requires = "delete")]
    delete_excluded: bool,
    /// Delete even though the source is empty or partly unreadable, or a copy failed
    #[arg(long, requires = "delete")]
    force: bool,
}

impl DeleteArgs {
    /// What was said.
    pub(crate) fn policy(&self) -> Option<DeletePolicy> {
        self.delete.then_some(DeletePolicy {
            max: self.max_delete,
            excluded: self.delete_excluded,
            force: self.force,
        })
    }
}

/// Consent.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Deletion")]
pub(crate) struct YesArgs {
    /// Delete without asking
    #[arg(short, long)]
    pub(crate) yes: bool,
}

impl YesArgs {
    /// What this overrides.
    pub(crate) fn overrides(&self) -> Vec<(Name, Value)> {
        self.yes
            .then_some((Name::Autoconfirm, Value::Switch(true)))
            .into_iter()
            .collect()
    }
}

fn limit(text: &str) -> Result<DeleteLimit, String> {
    text.parse().map_err(values::message)
}
