//! The steps that concern machines: provision, assign, release, teardown, reap. Each is a slice that may be
//! run again at any time, by several at once, and after it was cut short anywhere: what holds is in the
//! dataplane's row, which is written before anything is asked of a provider.

mod addresses;
mod assign;
pub mod choose;
mod guests;
mod provision;
mod reap;
mod secrets;
mod teardown;

use std::collections::BTreeMap;
use std::sync::Arc;

use skyhaul_compute::Compute;
use skyhaul_model::{Error, ErrorKind, Result};

pub use assign::{Assignment, assign, release, working};
pub use guests::{GUEST, Guests, is_guest, name as guest_name};
pub use provision::{Boot, Provisioned, provision, replace, try_again};
pub use reap::{Action, Reaped, Transfers, reap};
pub use secrets::{Secrets, Vault, secrets};
pub use teardown::teardown;

/// The version of the gateways that this control plane deploys and works with.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Where machines can be had, by the name of the region.
#[derive(Debug, Clone, Default)]
pub struct Regions(pub BTreeMap<String, Arc<dyn Compute>>);

impl Regions {
    /// A region's machines; `NotFound` if nothing was deployed there.
    pub fn of(&self, region: &str) -> Result<&dyn Compute> {
        self.0.get(region).map(|compute| &**compute).ok_or_else(|| {
            Error::control(ErrorKind::NotFound, "nothing is deployed in this region")
                .object(region)
                .hint("`skyhaul deploy --region` makes what gateways need there")
        })
    }
}
