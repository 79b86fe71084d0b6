//! Taking a deployment out of an account. Refused while a transfer goes on; machines go first, then what each region
//! has, then the control plane. What it knows of transfers stays, and is named. Each step may be made again.

use std::time::Duration;

use aws_sdk_cloudformation::Client;
use aws_sdk_cloudformation::error::ProvideErrorMetadata as _;
use aws_sdk_cloudformation::types::StackStatus;
use skyhaul_compute::Compute as _;
use skyhaul_model::machine::MachineState;
use skyhaul_model::spec::Endpoint;
use skyhaul_model::{Error, ErrorKind, Result, Side};
use skyhaul_state::control::DataplaneStatus;
use skyhaul_stores::ListRequest;
use skyhaul_stores::open::{Ambient, Opens as _, Use};
use skyhaul_workflow::Deployed;
use skyhaul_workflow::deprovision::Deprovision;

use crate::said::said;
use crate::{Outputs, Place, region};

/// Transfers that a refusal names.
const NAMED: usize = 5;

/// What is true of a deployment that was not wholly removed.
pub const CLOSED: &str = "nothing begins in the deployment until `skyhaul deploy`; run undeploy again to go on with its removal";

/// Outputs that say what stays in the account: rows, manifests and the key that they are encrypted with.
const STAYS: [&str; 4] = ["StateTable", "ControlTable", "StagingBucket", "KeyArn"];

/// See the module documentation.
#[derive(Debug, Clone)]
pub struct Undeploy {
    /// Where it is.
    pub place: Place,
    /// How long between two looks at what is going.
    pub every: Duration,
}

impl Undeploy {
    /// Takes it out, telling of each step and of what stays.
    pub async fn run(&self, told: &mut (dyn FnMut(String) + Send)) -> Result<()> {
        let outputs = self.place.outputs().await?;
        let deployed = outputs.deployed()?;
        // Refused at once where it is used; from here on nothing begins, whoever or whatever asks for it.
        idle(&deployed).await?;
        deployed.control.set_closing(true).await?;
        let rules = deployed.control.rules().await?.len();
        if rules > 0 {
            told(format!(
                "{rules} triggers end: events that wait are lost, and a `sync` makes up for them"
            ));
        }
        let removed = self.remove(&outputs, &deployed, told).await;
        if removed.is_err() {
            told(CLOSED.to_owned());
        }
        removed
    }

    async fn remove(
        &self,
        outputs: &Outputs,
        deployed: &Deployed,
        told: &mut (dyn FnMut(String) + Send),
    ) -> Result<()> {
        self.empty_of_machines(outputs, deployed, told).await?;
        let regions = deployed.control.regions().await?;
        for region in regions.keys() {
            self.empty_of_machines(outputs, deployed, told).await?;
            self.region(region, told).await?;
            // Last, so that it is found again if this ends before.
            deployed.control.set_region(region, None).await?;
        }
        self.empty_of_machines(outputs, deployed, told).await?;
        // Before the last that can be asked for it is gone.
        for name in STAYS {
            told(format!("stays: {}", outputs.get(name)?));
        }
        self.stack(outputs, &self.place.stack, told).await
    }

    /// Ends all machines, and sees that there is none: neither in the rows nor in the account. Refused while transfers
    /// go on.
    async fn empty_of_machines(
        &self,
        outputs: &Outputs,
        deployed: &Deployed,
        told: &mut (dyn FnMut(String) + Send),
    ) -> Result<()> {
        idle(deployed).await?;
        self.machines(deployed, told).await?;
        for (name, settings) in deployed.control.regions().await? {
            let there = region::Deployed::parse(&name, &settings)?;
            let ec2 = outputs.machines_in(&name, there.ec2);
            let mut before = usize::MAX;
            loop {
                let machines = ec2.describe(None).await?.into_iter();
                let left = machines.filter(|machine| machine.state != MachineState::Ended);
                let left = left.count();
                if left == 0 {
                    break;
                }
                if left < before {
                    told(format!(
                        "{left} machines end in {name}; that takes some minutes"
                    ));
                    before = left;
                }
                tokio::time::sleep(self.every).await;
            }
        }
        idle(deployed).await
    }

    /// Ends all machines, and waits until they have ended: the reaper sees to that, every five minutes.
    async fn machines(
        &self,
        deployed: &Deployed,
        told: &mut (dyn FnMut(String) + Send),
    ) -> Result<()> {
        let mut before = usize::MAX;
        loop {
            let done = deployed
                .deprovision(&Deprovision::default(), self.every, &mut |_| {})
                .await?;
            if let Some(used) = done.used.first() {
                return Err(refused("machines are in use", used.id.as_str()));
            }
            let rows = deployed.control.dataplanes().await?;
            let left = rows
                .iter()
                .filter(|row| row.status != DataplaneStatus::Ended);
            let left = left.count();
            if left == 0 {
                return Ok(());
            }
            if left < before {
                told(format!("{left} dataplanes end; that takes some minutes"));
                before = left;
            }
            tokio::time::sleep(self.every).await;
        }
    }

    /// Takes out what a region has.
    async fn region(&self, name: &str, told: &mut (dyn FnMut(String) + Send)) -> Result<()> {
        let there = self.place.gateways_in(name);
        let outputs = match there.outputs().await {
            Ok(outputs) => outputs,
            Err(error) if error.kind == ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        empty(&outputs.artifacts()?).await?;
        self.stack(&outputs, &there.stack, told).await
    }

    /// Removes a stack, and waits until it is gone.
    async fn stack(
        &self,
        outputs: &Outputs,
        stack: &str,
        told: &mut (dyn FnMut(String) + Send),
    ) -> Result<()> {
        let client = Client::new(outputs.config());
        told(format!("removing the stack {stack}"));
        let asked = client.delete_stack().stack_name(stack).send().await;
        asked.map_err(|error| failed("the stack cannot be removed", &said(&error), stack))?;
        loop {
            let found = match client.describe_stacks().stack_name(stack).send().await {
                Ok(reply) => reply.stacks.unwrap_or_default().into_iter().next(),
                // The service's words for a stack that is not there any more.
                Err(error) if error.code() == Some("ValidationError") => None,
                Err(error) => {
                    let message = "whether the stack is gone cannot be seen";
                    return Err(failed(message, &said(&error), stack));
                }
            };
            let Some(found) = found else { return Ok(()) };
            match found.stack_status {
                Some(StackStatus::DeleteComplete) => return Ok(()),
                Some(StackStatus::DeleteFailed) => {
                    let why = found.stack_status_reason.unwrap_or_default();
                    let failed = failed("the stack could not be removed", &why, stack);
                    return Err(failed.hint(
                        "its policies must be detached from users and roles first; then run it again",
                    ));
                }
                _ => tokio::time::sleep(self.every).await,
            }
        }
    }
}

/// Removes the gateways that machines fetched: a bucket goes only when nothing is in it.
async fn empty(artifacts: &Endpoint) -> Result<()> {
    let opened = Ambient.open(artifacts, Side::Control, Use::default());
    let store = opened.await?;
    let mut listing = store.list(ListRequest::default());
    loop {
        let page = match listing.next_page().await {
            Ok(Some(page)) => page,
            Ok(None) => return Ok(()),
            // It was removed the last time.
            Err(error) if error.kind == ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        let keys: Vec<_> = page.entries.into_iter().map(|entry| entry.key).collect();
        for outcome in store.delete(&keys).await {
            outcome.result?;
        }
    }
}

fn failed(message: &str, why: &str, stack: &str) -> Error {
    Error::control(ErrorKind::Service, format!("{message}: {why}"))
        .object(stack)
        .hint("run it again when that is put right")
}

fn refused(message: &str, object: &str) -> Error {
    Error::invalid(message)
        .object(object)
        .hint("let transfers end, or pause or cancel them: `skyhaul status` lists them")
}

/// Refuses while a transfer goes on.
async fn idle(deployed: &Deployed) -> Result<()> {
    let live = deployed.control.live().await?;
    if live.is_empty() {
        return Ok(());
    }
    let named: Vec<_> = live.iter().take(NAMED).map(ToString::to_string).collect();
    let message = format!("{} transfers go on in the deployment", live.len());
    Err(refused(&message, &named.join(", ")))
}
