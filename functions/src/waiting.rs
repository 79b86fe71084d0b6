//! Executions of Step Functions that wait with a token.

use async_trait::async_trait;
use aws_sdk_sfn::Client;
use aws_sdk_sfn::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use skyhaul_model::{Error, ErrorKind, Result};
use skyhaul_workflow::steps::{Answer, Waiting};

/// The service's bound of a cause, in characters.
const LONGEST_CAUSE: usize = 32_768;

/// See the module documentation.
#[derive(Debug)]
pub(crate) struct StepFunctions(pub(crate) Client);

/// False if the service says that nobody waits; its other errors.
fn told<T, E>(reply: Result<T, SdkError<E, HttpResponse>>) -> Result<bool>
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    let Err(error) = reply else {
        return Ok(true);
    };
    let kind = match error.code() {
        Some("TaskDoesNotExist" | "TaskTimedOut" | "InvalidToken") => return Ok(false),
        Some("AccessDeniedException") => ErrorKind::AccessDenied,
        Some("ThrottlingException") => ErrorKind::Throttled,
        Some(_) => ErrorKind::Service,
        None => ErrorKind::Unreachable,
    };
    let what = DisplayErrorContext(&error);
    let message = format!("an execution that waits cannot be answered: {what}");
    Err(Error::control(kind, message))
}

#[async_trait]
impl Waiting for StepFunctions {
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
