//! Putting a deployment into an account: the stack of its control plane, then, region by region, a network for its
//! gateways and the gateway itself. Each step may be made again, and brings what is there up to date.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use skyhaul_compute::region::{Architecture, Region, newest_image};
use skyhaul_model::{Algorithm, Error, ErrorKind, Result, Side};
use skyhaul_stores::open::{Ambient, Opens as _, Use};
use skyhaul_stores::{Payload, PutRequest};
use tokio::process::Command;

use crate::region::{Artifact, Deployed};
use crate::{Outputs, Place};

/// The port that gateways listen on.
const PORT: u16 = 47_113;

/// The program that makes stacks of templates.
const SAM: &str = "sam";

/// A network that is there already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    /// The network.
    pub vpc: String,
    /// A subnet of each zone.
    pub subnets: BTreeMap<String, String>,
    /// Whether gateways get an address outside.
    pub public: bool,
}

/// See the module documentation.
#[derive(Debug, Clone)]
pub struct Deploy {
    /// Where it goes.
    pub place: Place,
    /// The folder that holds the templates, and what was built in `dist/`.
    pub from: PathBuf,
    /// Buckets that transfers may read and write.
    pub buckets: Vec<String>,
    /// Roles that transfers may assume.
    pub roles: Vec<String>,
    /// Secrets that hold the keys of other services.
    pub secrets: Vec<String>,
    /// More parameters of the template.
    pub parameters: Vec<(String, String)>,
    /// Tags of all that is made.
    pub tags: Vec<(String, String)>,
}

fn tool(error: std::io::Error) -> Error {
    let missing = error.kind() == std::io::ErrorKind::NotFound;
    let failed = Error::invalid("the AWS SAM CLI cannot be run")
        .object(SAM)
        .cause(error);
    if missing {
        return failed.hint("install it: pip install aws-sam-cli");
    }
    failed
}

impl Deploy {
    /// `sam deploy` of a template, without a question; its output goes to this process's stderr.
    async fn sam(
        &self,
        template: &str,
        stack: &str,
        region: Option<&str>,
        parameters: &[(String, String)],
    ) -> Result<()> {
        let mut command = Command::new(SAM);
        command
            .current_dir(&self.from)
            .args(["deploy", "--template-file", template, "--stack-name", stack])
            .args(["--resolve-s3", "--capabilities", "CAPABILITY_IAM"])
            .args(["--no-confirm-changeset", "--no-fail-on-empty-changeset"])
            .arg("--no-progressbar")
            .env("SAM_CLI_TELEMETRY", "0")
            .stdin(Stdio::null())
            .stdout(std::io::stderr());
        if let Some(region) = region {
            command.args(["--region", region]);
        }
        if let Some(profile) = &self.place.profile {
            command.args(["--profile", profile]);
        }
        let pairs = |pairs: &[(String, String)]| -> Vec<String> {
            let each = pairs.iter();
            // What is not given stays as it is; what is empty has to be said so.
            each.map(|(name, value)| match value.as_str() {
                "" => format!("{name}=\"\""),
                value => format!("{name}={value}"),
            })
            .collect()
        };
        if !parameters.is_empty() {
            command.arg("--parameter-overrides").args(pairs(parameters));
        }
        if !self.tags.is_empty() {
            command.arg("--tags").args(pairs(&self.tags));
        }
        let status = command.kill_on_drop(true).status().await.map_err(tool)?;
        if status.success() {
            return Ok(());
        }
        let message = format!("`sam deploy` of {template} ended with {status}");
        Err(Error::control(ErrorKind::Service, message)
            .object(stack)
            .hint("its output above says why"))
    }

    fn dist(&self, name: &str) -> Result<PathBuf> {
        let path = self.from.join("dist").join(name);
        if path.is_file() {
            return Ok(path);
        }
        Err(Error::invalid("what is to be deployed is not there")
            .object(path.display().to_string())
            .hint("`make dist` builds it; --from says where it is"))
    }

    /// The control plane: its tables, functions and state machine.
    pub async fn control(&self) -> Result<()> {
        self.dist("functions/bootstrap")?;
        self.dist("skyhaul-gateway")?;
        let buckets = |suffix: &str| {
            let each = self.buckets.iter();
            let all: Vec<_> = each
                .map(|name| format!("arn:aws:s3:::{name}{suffix}"))
                .collect();
            all.join(",")
        };
        let mut parameters = vec![
            ("DataBuckets".to_owned(), buckets("")),
            ("DataObjects".to_owned(), buckets("/*")),
            // Also none: what was permitted before ends.
            ("Roles".to_owned(), self.roles.join(",")),
            ("Secrets".to_owned(), self.secrets.join(",")),
        ];
        parameters.extend(self.parameters.iter().cloned());
        let region = self.place.region.as_deref();
        self.sam("template.yaml", &self.place.stack, region, &parameters)
            .await
    }

    /// What gateways need in a region: a network unless one is given, and the gateway itself.
    pub async fn region(&self, name: &str, network: Option<&Network>) -> Result<Deployed> {
        let stack = &self.place.stack;
        let there = self.place.gateways_in(name);
        let own = network.is_none();
        let parameters = [
            ("Stack".to_owned(), stack.clone()),
            ("Network".to_owned(), own.to_string()),
        ];
        self.sam("infra/region.yaml", &there.stack, Some(name), &parameters)
            .await?;
        let (control, there) = (self.place.outputs().await?, there.outputs().await?);
        let network = match network {
            Some(network) => network.clone(),
            None => Network {
                vpc: there.get("Vpc")?.to_owned(),
                subnets: subnets(there.get("Subnets")?)?,
                public: true,
            },
        };
        let gateway = self.upload(&there).await?;
        let deployed = Deployed {
            ec2: Region {
                stack: stack.clone(),
                vpc: network.vpc,
                subnets: network.subnets,
                public: network.public,
                profile: control.get("GatewayProfile")?.to_owned(),
                identity: there.get("Identity")?.to_owned(),
                images: BTreeMap::from([(Architecture::X86, newest_image(Architecture::X86))]),
                volume_key: None,
                port: PORT,
                tags: self.tags.iter().cloned().collect(),
            },
            gateway,
        };
        let control = control.deployed()?.control;
        // It may have been about to be removed.
        control.set_closing(false).await?;
        control.set_region(name, Some(&deployed.text()?)).await?;
        Ok(deployed)
    }

    /// Puts the gateway where machines of a region fetch it, under a name that says what is in it.
    async fn upload(&self, there: &Outputs) -> Result<Artifact> {
        let path = self.dist("skyhaul-gateway")?;
        let bytes = read(&path).await?;
        let sha256 = hex::encode(Sha256::digest(&bytes));
        let key = artifact(&sha256);
        let store = Ambient
            .open(&there.artifacts()?, Side::Control, Use::default())
            .await?;
        let payload = Payload::from(bytes);
        let checksum = Some(payload.checksum(Algorithm::Crc64Nvme));
        let put = PutRequest {
            payload,
            checksum,
            ..PutRequest::default()
        };
        store.put(&key, put).await?;
        let base = match there.config().endpoint_url() {
            // An emulator, or a service in the place of AWS.
            Some(endpoint) => {
                let bucket = there.get("ArtifactBucket")?;
                format!("{}/{bucket}", endpoint.trim_end_matches('/'))
            }
            None => there.get("ArtifactAddress")?.to_owned(),
        };
        Ok(Artifact {
            url: format!("{base}/{key}"),
            sha256,
        })
    }
}

/// The key of a gateway in the bucket of a region, by its SHA-256.
pub(crate) fn artifact(sha256: &str) -> String {
    format!("skyhaul-gateway-{sha256}")
}

async fn read(path: &Path) -> Result<Bytes> {
    let bytes = tokio::fs::read(path).await.map_err(|error| {
        Error::invalid("the gateway cannot be read")
            .object(path.display().to_string())
            .cause(error)
    })?;
    Ok(bytes.into())
}

/// `ZONE=SUBNET`, by commas.
fn subnets(text: &str) -> Result<BTreeMap<String, String>> {
    let pair = |pair: &str| {
        let (zone, subnet) = pair
            .split_once('=')
            .ok_or_else(|| Error::invalid(format!("`{pair}` is no zone with a subnet")))?;
        Ok((zone.to_owned(), subnet.to_owned()))
    };
    text.split(',').map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zones_have_their_subnets() {
        let known = subnets("z-1a=subnet-1,z-1b=subnet-2").unwrap();
        assert_eq!(known["z-1b"], "subnet-2");
        assert!(subnets("").is_err() && subnets("z-1a").is_err());
    }

    #[tokio::test]
    async fn what_was_not_built_is_named_before_anything_is_done() {
        let folder = PathBuf::from("/nowhere");
        let deploy = Deploy {
            place: Place::default(),
            from: folder,
            buckets: Vec::new(),
            roles: Vec::new(),
            secrets: Vec::new(),
            parameters: Vec::new(),
            tags: Vec::new(),
        };
        let refused = deploy.control().await.unwrap_err().to_string();
        assert!(refused.contains("dist/functions/bootstrap"), "{refused}");
    }
}
