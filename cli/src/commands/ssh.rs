//! `skyhaul ssh`.

use std::process::Command;

use skyhaul_model::machine::DataplaneId;
use skyhaul_model::{Error, ErrorKind, Result, TransferId};
use skyhaul_state::control::{DataplaneRow, MemberRow, no_dataplane};
use skyhaul_workflow::Deployed;
use skyhaul_workflow::machines::is_guest;

use super::deployment;
use crate::args::SshArgs;
use crate::context::Context;

/// What opens sessions.
const AWS: &str = "aws";

/// Runs it; does not come back where processes can be replaced.
pub(crate) async fn run(context: &Context, args: &SshArgs) -> Result<u8> {
    let config = context.config(args.place.overrides())?;
    let place = deployment::place(&config)?;
    let deployed = deployment::open(context, &place).await?;
    let row = context
        .unless_cancelled(dataplane(&deployed, &args.id))
        .await?;
    let (member, machine) = machine(&row, args.gateway.as_deref())?;
    let mut command = Command::new(AWS);
    command.args(["ssm", "start-session", "--target", machine]);
    command.args(["--region", &member.plan.region]);
    if let Some(profile) = &place.profile {
        command.args(["--profile", profile]);
    }
    session(command).map_err(|error| {
        Error::invalid("the AWS CLI cannot be run")
            .object(AWS)
            .cause(error)
            .hint("install it with its Session Manager plugin")
    })
}

/// Becomes the session: Ctrl-C is for the shell at its other end, not for this command.
#[cfg(unix)]
fn session(mut command: Command) -> std::io::Result<u8> {
    use std::os::unix::process::CommandExt as _;
    Err(command.exec())
}

/// Runs the session; its exit code.
#[cfg(not(unix))]
fn session(mut command: Command) -> std::io::Result<u8> {
    let code = command.status()?.code();
    Ok(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
}

/// The dataplane of this identifier, or that a transfer of it uses.
async fn dataplane(deployed: &Deployed, text: &str) -> Result<DataplaneRow> {
    let id = match text.parse::<TransferId>() {
        Ok(transfer) => match deployed.control.submission(&transfer).await? {
            Some(found) => found.dataplane.ok_or_else(|| {
                let message = "the transfer has no machines";
                Error::control(ErrorKind::NotFound, message).object(text)
            })?,
            // Both kinds of identifiers may look alike.
            None => text.parse()?,
        },
        Err(_) => text.parse::<DataplaneId>()?,
    };
    let row = deployed.control.dataplane(&id).await?;
    row.ok_or_else(|| no_dataplane(&id))
}

/// The gateway that is meant, and its machine.
fn machine<'a>(row: &'a DataplaneRow, name: Option<&str>) -> Result<(&'a MemberRow, &'a str)> {
    let up = row
        .members
        .iter()
        .filter(|member| !is_guest(member))
        .filter_map(|member| Some((member, member.machine.as_ref()?)));
    let up: Vec<_> = up.map(|(member, id)| (member, id.0.as_str())).collect();
    let named = || {
        let names: Vec<_> = up
            .iter()
            .map(|(member, _)| member.plan.name.as_str())
            .collect();
        format!("it has {}", names.join(", "))
    };
    match (name, up.as_slice()) {
        (_, []) => Err(
            Error::control(ErrorKind::NotFound, "no machine of the dataplane runs")
                .object(row.id.as_str()),
        ),
        (None, [only]) => Ok(*only),
        (None, _) => Err(Error::invalid("which gateway?")
            .object(row.id.as_str())
            .hint(named())),
        (Some(name), all) => {
            let found = all
                .iter()
                .find(|(member, _)| member.plan.name.as_str() == name);
            found.copied().ok_or_else(|| {
                let message = "the dataplane has no such gateway with a machine";
                Error::control(ErrorKind::NotFound, message)
                    .object(name)
                    .hint(named())
            })
        }
    }
}
