//! Executions of Step Functions: those that carry attempts out, and those that wait with a token.

use std::error::Error as StdError;

use async_trait::async_trait;
use aws_sdk_sfn::Client;
use aws_sdk_sfn::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_sfn::types::ExecutionStatus;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_types::SdkConfig;
use skyhaul_model::{Error, ErrorKind, Result};
use skyhaul_workflow::steps::{Answer, Attempt, Execution, Executions, Waiting};

use crate::said::said;

/// The service's bound of a cause, in characters.
const LONGEST_CAUSE: usize = 32_768;

/// The state machine that carries out attempts.
#[derive(Debug, Clone)]
pub struct StateMachine {
    client: Client,
    arn: String,
}

/// Tasks that wait with a token.
#[derive(Debug, Clone)]
pub struct Tasks(Client);

fn failed<E>(error: &SdkError<E, HttpResponse>, message: &str) -> Error
where
    E: ProvideErrorMetadata + StdError + Send + Sync + 'static,
{
    let kind = match error.code() {
        Some("AccessDeniedException") => ErrorKind::AccessDenied,
        Some("ThrottlingException" | "ExecutionLimitExceeded") => ErrorKind::Throttled,
        Some("StateMachineDoesNotExist" | "StateMachineDeleting" | "InvalidArn") => {
            ErrorKind::NotFound
        }
        Some(_) => ErrorKind::Service,
        None => ErrorKind::Unreachable,
    };
    Error::control(kind, format!("{message}: {}", said(error)))
}

impl StateMachine {
    /// The state machine of this ARN. Nothing is sent yet.
    #[must_use]
    pub fn new(config: &SdkConfig, arn: impl Into<String>) -> Self {
        Self {
            client: Client::new(config),
            arn: arn.into(),
        }
    }

    /// The ARN of the execution of an attempt.
    fn execution(&self, attempt: &Attempt) -> String {
        let arn = self.arn.replacen(":stateMachine:", ":execution:", 1);
        format!("{arn}:{}", attempt.name())
    }
}

#[async_trait]
impl Executions for StateMachine {
    async fn start(&self, attempt: &Attempt) -> Result<()> {
        let input = serde_json::to_string(attempt).map_err(|error| {
            Error::control(ErrorKind::Internal, "an attempt cannot be written").cause(error)
        })?;
        let request = self
            .client
            .start_execution()
            .state_machine_arn(&self.arn)
            .name(attempt.name())
            .input(input);
        match request.send().await {
            Ok(_) => Ok(()),
            // It was begun, and has ended.
            Err(error) if error.code() == Some("ExecutionAlreadyExists") => Ok(()),
            Err(error) => Err(failed(&error, "the transfer's execution cannot be begun")
                .object(attempt.transfer.as_str())),
        }
    }

    async fn look(&self, attempt: &Attempt) -> Result<Execution> {
        let request = self
            .client
            .describe_execution()
            .execution_arn(self.execution(attempt));
        match request.send().await {
            Ok(found) if *found.status() == ExecutionStatus::Running => Ok(Execution::Runs),
            // It waits until someone lets it go on.
            Ok(found) if *found.status() == ExecutionStatus::PendingRedrive => Ok(Execution::Runs),
            Ok(found) => Ok(Execution::Ended(found.status().as_str().to_owned())),
            Err(error) if error.code() == Some("ExecutionDoesNotExist") => Ok(Execution::Never),
            Err(error) => Err(failed(&error, "the transfer's execution cannot be asked")
                .object(attempt.transfer.as_str())),
        }
    }
}

impl Tasks {
    /// Nothing is sent yet.
    #[must_use]
    pub fn new(config: &SdkConfig) -> Self {
        Self(Client::new(config))
    }
}

/// False if the service says that nobody waits; its other errors.
fn told<T, E>(reply: Result<T, SdkError<E, HttpResponse>>) -> Result<bool>
where
    E: ProvideErrorMetadata + StdError + Send + Sync + 'static,
{
    match reply {
        Ok(_) => Ok(true),
        Err(error)
            if matches!(
                error.code(),
                Some("TaskDoesNotExist" | "TaskTimedOut" | "InvalidToken")
            ) =>
        {
            Ok(false)
        }
        Err(error) => Err(failed(&error, "an execution that waits cannot be answered")),
    }
}

#[async_trait]
impl Waiting for Tasks {
    async fn answer(&self, token: &str, answer: &Answer) -> Result<bool> {
        let client = &self.0;
        match answer {
            Answer::Beat => told(client.send_task_heartbeat().task_token(token).send().await),
            Answer::Copied => {
                let request = client.send_task_success().task_token(token).output("{}");
                told(request.send().await)
            }
            Answer::Failed(failure) => {
                let cause: String = failure.cause.chars().take(LONGEST_CAUSE).collect();
                let request = client
                    .send_task_failure()
                    .task_token(token)
                    .error(&failure.name)
                    .cause(cause);
                told(request.send().await)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use aws_config::{BehaviorVersion, Region};
    use skyhaul_model::TransferId;

    use super::*;

    #[test]
    fn an_execution_is_called_after_its_attempt() {
        let config = SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::from_static("eu-west-1"))
            .build();
        let arn = "arn:aws:states:eu-west-1:1:stateMachine:Transfer";
        let attempt = Attempt {
            transfer: TransferId::generate(),
            attempt: 2,
        };
        assert_eq!(
            StateMachine::new(&config, arn).execution(&attempt),
            format!(
                "arn:aws:states:eu-west-1:1:execution:Transfer:{}-2",
                attempt.transfer
            )
        );
    }
}
