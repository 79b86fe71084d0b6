//! Executions of Step Functions: those that carry attempts out, and those that wait with a token.

use std::error::Error as StdError;

use async_trait::async_trait;
use aws_sdk_sfn::Client;
use aws_sdk_sfn::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_sfn::types::{ExecutionStatus, HistoryEvent};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_types::SdkConfig;
use jiff::Timestamp;
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

pub(crate) fn failed<E>(error: &SdkError<E, HttpResponse>, message: &str) -> Error
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

    async fn told(&self, attempt: &Attempt) -> Result<Vec<String>> {
        let request = self
            .client
            .get_execution_history()
            .execution_arn(self.execution(attempt))
            .include_execution_data(false);
        let mut events = request.into_paginator().items().send();
        let mut lines = Vec::new();
        while let Some(event) = events.next().await {
            match event {
                Ok(event) => lines.extend(line(&event)),
                Err(error) if error.code() == Some("ExecutionDoesNotExist") => break,
                Err(error) => {
                    let what = "the history of the transfer's execution cannot be read";
                    return Err(failed(&error, what).object(attempt.transfer.as_str()));
                }
            }
        }
        Ok(lines)
    }
}

/// What an event of an execution's history says to people; `None` if it says no more than those around it.
fn line(event: &HistoryEvent) -> Option<String> {
    let at = event.timestamp();
    let at = Timestamp::new(at.secs(), at.subsec_nanos().cast_signed()).ok()?;
    let name = event.r#type().as_str();
    let (task, function) = (
        event.task_failed_event_details(),
        event.lambda_function_failed_event_details(),
    );
    let whole = event.execution_failed_event_details();
    let failure = task
        .map(|failed| (failed.error(), failed.cause()))
        .or_else(|| function.map(|failed| (failed.error(), failed.cause())))
        .or_else(|| whole.map(|failed| (failed.error(), failed.cause())));
    if let Some((error, cause)) = failure {
        let said = [error, cause].into_iter().flatten().collect::<Vec<_>>();
        // A cause may have lines.
        let said = said.join(": ").replace(['\n', '\r'], " ");
        return Some(format!("{at:.6}  WARN {name}: {said}"));
    }
    if let Some(entered) = event.state_entered_event_details() {
        return Some(format!("{at:.6}  INFO {}", entered.name()));
    }
    let tells =
        name.starts_with("Execution") || name.ends_with("TimedOut") || name.ends_with("Aborted");
    tells.then(|| format!("{at:.6}  INFO {name}"))
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
    use aws_sdk_sfn::primitives::DateTime;
    use aws_sdk_sfn::types::builders::HistoryEventBuilder;
    use aws_sdk_sfn::types::{HistoryEventType, StateEnteredEventDetails, TaskFailedEventDetails};
    use skyhaul_model::TransferId;

    use super::*;

    fn event(kind: HistoryEventType) -> HistoryEventBuilder {
        HistoryEvent::builder()
            .timestamp(DateTime::from_secs(1_767_225_600))
            .r#type(kind)
            .id(1)
    }

    #[test]
    fn an_event_is_a_line_with_its_time() {
        let entered = StateEnteredEventDetails::builder()
            .name("Copy")
            .build()
            .unwrap();
        let entered =
            event(HistoryEventType::TaskStateEntered).state_entered_event_details(entered);
        let told = line(&entered.build().unwrap()).unwrap();
        assert_eq!(told, "2026-01-01T00:00:00.000000Z  INFO Copy");
        let failed = TaskFailedEventDetails::builder()
            .resource_type("lambda")
            .resource("invoke")
            .error("Unreachable")
            .cause("a\nb")
            .build()
            .unwrap();
        let failed = event(HistoryEventType::TaskFailed).task_failed_event_details(failed);
        let told = line(&failed.build().unwrap()).unwrap();
        assert!(
            told.ends_with("WARN TaskFailed: Unreachable: a b"),
            "{told}"
        );
        let ended = line(&event(HistoryEventType::ExecutionSucceeded).build().unwrap());
        assert!(ended.unwrap().ends_with("INFO ExecutionSucceeded"));
        assert_eq!(
            line(&event(HistoryEventType::TaskScheduled).build().unwrap()),
            None
        );
    }

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
