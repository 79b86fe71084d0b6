//! What a stack says of itself: its outputs, by which everything else of a deployment is found.

use std::collections::BTreeMap;
use std::sync::Arc;

use aws_config::{BehaviorVersion, Region};
use aws_sdk_cloudformation::Client;
use aws_sdk_cloudformation::error::ProvideErrorMetadata as _;
use aws_types::SdkConfig;
use skyhaul_compute::ec2::Ec2;
use skyhaul_compute::region as compute;
use skyhaul_model::spec::{Connection, Endpoint};
use skyhaul_model::{Error, ErrorKind, Result};
use skyhaul_state::{DynamoDbControl, DynamoDbState};
use skyhaul_stores::open::Ambient;
use skyhaul_workflow::Deployed;

use crate::said::said;
use crate::{Launches, StateMachine};

/// Where a deployment is, and who asks for it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Place {
    /// The stack's name.
    pub stack: String,
    /// Its region; `None`: what the environment and the profile say.
    pub region: Option<String>,
    /// The profile of this machine that is used; `None`: the environment's.
    pub profile: Option<String>,
}

/// See the module documentation.
#[derive(Debug, Clone)]
pub struct Outputs {
    stack: String,
    profile: Option<String>,
    config: SdkConfig,
    values: BTreeMap<String, String>,
}

impl Place {
    /// Where the stack is that gateways of a region need.
    #[must_use]
    pub fn gateways_in(&self, region: impl Into<String>) -> Self {
        Self {
            stack: format!("{}-gateways", self.stack),
            region: Some(region.into()),
            profile: self.profile.clone(),
        }
    }

    /// How the services are reached.
    async fn config(&self) -> SdkConfig {
        let mut loader = aws_config::defaults(BehaviorVersion::latest());
        if let Some(region) = &self.region {
            loader = loader.region(Region::new(region.clone()));
        }
        if let Some(profile) = &self.profile {
            loader = loader.profile_name(profile);
        }
        // The SDK's configuration makes a large future.
        Box::pin(loader.load()).await
    }

    /// Asks for the outputs. `NotFound` if there is no such stack, or it is not to be used yet.
    pub async fn outputs(&self) -> Result<Outputs> {
        let config = self.config().await;
        if config.region().is_none() {
            return Err(Error::invalid("the region of the deployment is not known")
                .object(&*self.stack)
                .hint("say --stack-region, or set AWS_REGION"));
        }
        let request = Client::new(&config).describe_stacks();
        let found = match request.stack_name(&self.stack).send().await {
            Ok(reply) => reply.stacks.unwrap_or_default().into_iter().next(),
            // The service's words for a stack that is not there.
            Err(error) if error.code() == Some("ValidationError") => None,
            Err(error) => {
                let kind = match error.code() {
                    Some("AccessDenied" | "InvalidClientTokenId" | "SignatureDoesNotMatch") => {
                        ErrorKind::AccessDenied
                    }
                    Some(_) => ErrorKind::Service,
                    None => ErrorKind::Unreachable,
                };
                let what = said(&error);
                let message = format!("the deployment cannot be asked for: {what}");
                return Err(Error::control(kind, message).object(&*self.stack));
            }
        };
        let Some(found) = found else {
            let place = config.region().map_or("", |region| region.as_ref());
            let message = format!("there is no such stack in {place}");
            return Err(Error::control(ErrorKind::NotFound, message)
                .object(&*self.stack)
                .hint("`skyhaul deploy` makes one; --stack-region and --stack-profile say where"));
        };
        let outputs = found.outputs.unwrap_or_default().into_iter();
        let values = outputs.filter_map(|output| Some((output.output_key?, output.output_value?)));
        Ok(Outputs {
            stack: self.stack.clone(),
            profile: self.profile.clone(),
            config,
            values: values.collect(),
        })
    }
}

impl Outputs {
    /// One output. `NotFound` if the stack has none of this name, for it is of something else or of another
    /// version.
    pub fn get(&self, name: &str) -> Result<&str> {
        self.values.get(name).map(String::as_str).ok_or_else(|| {
            let message = format!("the stack has no output {name}");
            Error::control(ErrorKind::NotFound, message)
                .object(&*self.stack)
                .hint("is it one of Skyhaul? `skyhaul deploy` brings an older one up to date")
        })
    }

    /// How the deployment's services are reached.
    #[must_use]
    pub fn config(&self) -> &SdkConfig {
        &self.config
    }

    /// What launches machines that are kept.
    pub fn launches(&self) -> Result<Launches> {
        Ok(Launches::new(&self.config, self.get("DataplaneMachine")?))
    }

    /// The machines of a region, by what is deployed there.
    pub(crate) fn machines_in(&self, region: &str, there: compute::Region) -> Ec2 {
        let config = self.config.to_builder();
        let config = config.region(Region::new(region.to_owned())).build();
        Ec2::new(&config, there)
    }

    /// The bucket that holds the gateways which machines fetch, of a stack by [`Place::gateways_in`].
    pub(crate) fn artifacts(&self) -> Result<Endpoint> {
        let bucket = self.get("ArtifactBucket")?;
        self.bucket(&format!("s3://{bucket}/"))
    }

    /// Where segments are, as functions know it too (`SKYHAUL_STAGING` of the template).
    fn staging(&self) -> Result<Endpoint> {
        let bucket = self.get("StagingBucket")?;
        self.bucket(&format!("s3://{bucket}/transfers/"))
    }

    /// A place in a bucket that the stack made.
    fn bucket(&self, location: &str) -> Result<Endpoint> {
        let region = self.config.region();
        Ok(Endpoint {
            location: location.parse()?,
            connection: Connection {
                region: region.map(ToString::to_string),
                profile: self.profile.clone(),
                ..Connection::default()
            },
        })
    }

    /// The deployment, to submit to.
    pub fn deployed(&self) -> Result<Deployed> {
        Ok(Deployed {
            stack: self.stack.clone(),
            state: Arc::new(DynamoDbState::new(&self.config, self.get("StateTable")?)),
            control: Arc::new(DynamoDbControl::new(
                &self.config,
                self.get("ControlTable")?,
            )),
            executions: Arc::new(StateMachine::new(&self.config, self.get("StateMachine")?)),
            staging: self.staging()?,
            opens: Arc::new(Ambient),
        })
    }
}
