//! Executions that launch machines before there is a transfer for them.

use std::time::Duration;

use aws_sdk_sfn::Client;
use aws_sdk_sfn::error::ProvideErrorMetadata as _;
use aws_sdk_sfn::types::ExecutionStatus;
use aws_types::SdkConfig;
use skyhaul_model::machine::DataplaneId;
use skyhaul_model::{Error, ErrorKind, Result};
use skyhaul_workflow::steps::dataplanes::DataplaneOrder;

use crate::executions::failed;

/// How often in a row a launch is not found before that is believed.
const MISSES: u32 = 20;

/// See the module documentation.
#[derive(Debug, Clone)]
pub struct Launches {
    client: Client,
    arn: String,
}

impl Launches {
    /// The state machine of this ARN. Nothing is sent yet.
    #[must_use]
    pub fn new(config: &SdkConfig, arn: impl Into<String>) -> Self {
        Self {
            client: Client::new(config),
            arn: arn.into(),
        }
    }

    /// Begins to launch; the same order again is the same execution.
    pub async fn start(&self, order: &DataplaneOrder) -> Result<()> {
        let input = serde_json::to_string(order).map_err(|error| {
            Error::control(ErrorKind::Internal, "an order cannot be written").cause(error)
        })?;
        let id = order.dataplane.as_str();
        let request = self.client.start_execution().state_machine_arn(&self.arn);
        match request.name(id).input(input).send().await {
            Ok(_) => Ok(()),
            Err(error) if error.code() == Some("ExecutionAlreadyExists") => {
                let message =
                    "there is a dataplane of this id, of another order or launched before";
                Err(Error::invalid(message).object(id))
            }
            Err(error) => Err(failed(&error, "machines cannot be launched").object(id)),
        }
    }

    /// Waits until all machines are there, looking so often; why they are not.
    pub async fn finished(&self, id: &DataplaneId, every: Duration) -> Result<()> {
        let arn = self.arn.replacen(":stateMachine:", ":execution:", 1);
        let arn = format!("{arn}:{id}");
        let mut missed = 0;
        loop {
            let request = self.client.describe_execution().execution_arn(&arn);
            let found = match request.send().await {
                Ok(found) => found,
                // The service may not know yet what it has begun, and may not answer: the launch goes on.
                Err(error) if missed < MISSES && error.code() != Some("AccessDeniedException") => {
                    missed += 1;
                    tokio::time::sleep(every).await;
                    continue;
                }
                Err(error) => {
                    let error = failed(&error, "the launch cannot be asked how it is");
                    return Err(error.object(id.as_str()).hint(going_on(id)));
                }
            };
            missed = 0;
            match found.status() {
                ExecutionStatus::Succeeded => return Ok(()),
                ExecutionStatus::Running | ExecutionStatus::PendingRedrive => {
                    tokio::time::sleep(every).await;
                }
                ended => {
                    let name = found.error().unwrap_or(ended.as_str());
                    let cause = thrown(
                        found
                            .cause()
                            .unwrap_or("the launch did not come to its end"),
                    );
                    return Err(Error::told(name, &cause).object(id.as_str()));
                }
            }
        }
    }
}

/// What is said to whoever does not see the end of a launch.
#[must_use]
pub fn going_on(id: &DataplaneId) -> String {
    format!(
        "the launch goes on: `skyhaul dataplane list` shows it, `dataplane delete {id}` ends it"
    )
}

/// The message in a cause, where that is what a function threw.
fn thrown(cause: &str) -> String {
    let parsed: Option<serde_json::Value> = serde_json::from_str(cause).ok();
    let message = parsed
        .as_ref()
        .and_then(|thrown| thrown.get("errorMessage"));
    let message = message.and_then(serde_json::Value::as_str);
    message.unwrap_or(cause).to_owned()
}
