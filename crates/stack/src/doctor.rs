//! Looking at a deployment before anything is spent: that it is there and of this version, that its rows can be read,
//! what each region has, and how many machines fit.

use jiff::Timestamp;
use skyhaul_model::filter::{Decision, FilterRule, FilterSpec, Filters};
use skyhaul_model::{Error, ErrorKind, Pin, Result, Side};
use skyhaul_state::control::check_open;
use skyhaul_stores::open::{Ambient, Opens as _, Use};
use skyhaul_workflow::machines::choose;
use skyhaul_workflow::order::FleetOrder;

use crate::{Outputs, Place, region};

/// Outputs without which nothing can be submitted or followed.
const NEEDED: [&str; 4] = [
    "StateTable",
    "ControlTable",
    "StagingBucket",
    "StateMachine",
];

/// One thing that was looked at.
#[derive(Debug)]
pub struct Check {
    /// What it is.
    pub what: String,
    /// What was found, in a line.
    pub found: Result<String>,
}

impl Check {
    /// What was found.
    pub fn new(what: impl Into<String>, found: Result<String>) -> Self {
        Self {
            what: what.into(),
            found,
        }
    }
}

/// Looks at everything that does not rest on what was found wanting before.
pub async fn doctor(place: &Place, version: &str, told: &mut (dyn FnMut(Check) + Send)) {
    let outputs = match place.outputs().await {
        Ok(outputs) => outputs,
        Err(error) => return told(Check::new("deployment", Err(error))),
    };
    told(Check::new("deployment", complete(&outputs)));
    told(Check::new("version", same(&outputs, version)));
    let deployed = match outputs.deployed() {
        Ok(deployed) => deployed,
        Err(error) => return told(Check::new("tables", Err(error))),
    };
    let live = deployed.control.live().await;
    told(Check::new(
        "transfers",
        live.map(|live| format!("{} go on", live.len())),
    ));
    let open = check_open(&*deployed.control).await;
    told(Check::new(
        "open",
        open.map(|()| "transfers may begin".to_owned()),
    ));
    let regions = match deployed.control.regions().await {
        Ok(regions) => regions,
        Err(error) => return told(Check::new("regions", Err(error))),
    };
    if regions.is_empty() {
        let message = "there is no region in which gateways can run";
        let none = Error::control(ErrorKind::NotFound, message)
            .hint("`skyhaul deploy --only-regions --region R` makes one");
        told(Check::new("regions", Err(none)));
    }
    for (name, settings) in &regions {
        match region::Deployed::parse(name, settings) {
            Ok(there) => {
                let gateway = gateway(place, name, &there).await;
                told(Check::new(format!("gateway in {name}"), gateway));
                told(Check::new(
                    format!("room in {name}"),
                    room(&outputs, name, there).await,
                ));
            }
            Err(error) => told(Check::new(format!("region {name}"), Err(error))),
        }
    }
}

/// Whether a bucket is one of those that transfers of a deployment may reach by its own role.
pub async fn reaches(place: &Place, bucket: &str) -> Result<String> {
    let outputs = place.outputs().await?;
    let all = outputs.get("ReachedBuckets")?;
    if is_one_of(bucket, all)? {
        return Ok("one of the deployment's buckets".to_owned());
    }
    Err(Error::control(
        ErrorKind::AccessDenied,
        "transfers of the deployment may not reach this bucket",
    )
    .object(bucket)
    .hint("`skyhaul deploy --bucket` names each bucket that they may; `--src-role-arn` and `--dst-role-arn` name roles"))
}

/// Whether a bucket is meant by one of these ARNs, whose names may have wildcards.
fn is_one_of(bucket: &str, arns: &str) -> Result<bool> {
    let names = arns.split(',').filter_map(|arn| arn.rsplit(':').next());
    let taken = names.map(|name| FilterRule::include(format!("/{name}")));
    let spec = FilterSpec {
        rules: taken.chain([FilterRule::exclude("*")]).collect(),
        ..FilterSpec::default()
    };
    let now = Timestamp::now();
    let filters = Filters::compile(&spec, now)?;
    Ok(filters.decide(bucket, 0, now) == Decision::Take)
}

fn complete(outputs: &Outputs) -> Result<String> {
    for name in NEEDED {
        outputs.get(name)?;
    }
    let region = outputs.config().region().map(ToString::to_string);
    Ok(format!("in {}", region.unwrap_or_default()))
}

fn same(outputs: &Outputs, version: &str) -> Result<String> {
    let there = outputs.get("Version")?;
    if there == version {
        return Ok(version.to_owned());
    }
    let message = format!("the deployment is of version {there}, this command of {version}");
    Err(Error::invalid(message).hint("`skyhaul deploy` brings the deployment up to date"))
}

/// Whether the gateway that machines fetch is there.
async fn gateway(place: &Place, name: &str, there: &region::Deployed) -> Result<String> {
    let outputs = place.gateways_in(name).outputs().await?;
    let artifacts = outputs.artifacts()?;
    let store = Ambient
        .open(&artifacts, Side::Control, Use::default())
        .await?;
    let key = crate::deploy::artifact(&there.gateway.sha256);
    match store.stat(&key, &Pin::default(), false).await? {
        Some(found) => Ok(format!("{key}, {} bytes", found.size)),
        None => Err(Error::control(
            ErrorKind::NotFound,
            "the gateway that machines fetch is not there",
        )
        .object(store.uri(&key))
        .hint("`skyhaul deploy --only-regions --region` puts it there again")),
    }
}

/// How many machines fit, of the first of those types that the region has.
async fn room(outputs: &Outputs, name: &str, there: region::Deployed) -> Result<String> {
    let ec2 = outputs.machines_in(name, there.ec2);
    let fleet = FleetOrder::default();
    let (kind, room) = choose::room(&ec2, &fleet, name).await?;
    let quota = match (room.machines(), room.quota) {
        (Some(0), Some(quota)) => {
            let (each, used, code) = (room.each, room.used, &room.code);
            let message = format!(
                "no machine of type {kind} fits: it needs {each} vCPUs, the account may have {quota} and uses {used}"
            );
            return Err(Error::control(ErrorKind::Full, message)
                .object(name)
                .hint(format!("have the quota {code} raised")));
        }
        (Some(machines), Some(quota)) => {
            format!(
                "{machines} machines of type {kind} ({} of {quota} vCPUs are used)",
                room.used
            )
        }
        _ => format!("machines of type {kind}; no quota is known"),
    };
    Ok(quota)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_meant_by_name_or_by_wildcard() {
        let arns = "arn:aws:s3:::photos,arn:aws:s3:::logs-*";
        for (bucket, wanted) in [
            ("photos", true),
            ("photos-copy", false),
            ("my-photos", false),
            ("logs-2026", true),
            ("logs", false),
        ] {
            assert_eq!(is_one_of(bucket, arns).unwrap(), wanted, "{bucket}");
        }
        assert!(is_one_of("any", "arn:aws:s3:::*").unwrap());
    }
}
