//! One invocation: which step, of what, and how long it may take.

use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use lambda_runtime::LambdaEvent;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use skyhaul_engine::StepEnd;
use skyhaul_model::machine::DataplaneId;
use skyhaul_model::{Error, ErrorKind, Result, TransferId};
use skyhaul_state::control::{ControlState, Failure, Stage};
use skyhaul_state::{Phase, TransferState};
use skyhaul_workflow::Account;
use skyhaul_workflow::machines::{Transfers, reap};
use skyhaul_workflow::steps::dataplanes::{self, DataplaneOrder};
use skyhaul_workflow::steps::{self, Attempt, Ended};
use tokio::time::Instant;
use tracing::Instrument as _;

use crate::account::Services;
use crate::environment::Function;
use crate::failed::Failed;
use crate::{metrics, trigger};

/// What is left of a function's time when its slice ends: for what is under way.
const REST: Duration = Duration::from_secs(20);

/// How long it is looked how much there is, before machines are asked for all the same.
const SURVEY: Duration = Duration::from_secs(10);

/// Between two looks at machines that are starting or ending.
const AGAIN: Duration = Duration::from_secs(5);

/// What a step is told.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Told {
    transfer: TransferId,
    attempt: u32,
    /// An execution waits with this token.
    #[serde(default)]
    token: Option<String>,
    /// A step has failed.
    #[serde(default)]
    error: Option<Thrown>,
    /// Copy what was listed, for there are no machines.
    #[serde(default)]
    copy: bool,
    /// Look how much there is.
    #[serde(default)]
    survey: bool,
    /// How much there is needs machines.
    #[serde(default)]
    surveyed: bool,
}

/// An error as a state machine tells it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Thrown {
    error: String,
    #[serde(default)]
    cause: Option<String>,
}

/// What a function's error looks like in a cause.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Thrower {
    error_message: String,
}

impl From<Thrown> for Failure {
    fn from(thrown: Thrown) -> Self {
        let cause = thrown.cause.unwrap_or_default();
        let message = serde_json::from_str::<Thrower>(&cause);
        Self {
            name: thrown.error,
            cause: message.map_or(cause, |thrower| thrower.error_message),
        }
    }
}

/// Whether a step is over.
#[derive(Debug, Serialize)]
struct Step {
    done: bool,
}

fn step(end: StepEnd) -> Result<Value> {
    written(&Step {
        done: end == StepEnd::Done,
    })
}

pub(crate) fn written(reply: &impl Serialize) -> Result<Value> {
    serde_json::to_value(reply).map_err(|error| {
        Error::control(ErrorKind::Internal, "a reply cannot be written").cause(error)
    })
}

/// When a slice is to end, in a function that is stopped `deadline` milliseconds after 1970.
fn until(deadline: u64, now: SystemTime) -> Instant {
    let stopped = SystemTime::UNIX_EPOCH + Duration::from_millis(deadline);
    let left = stopped.duration_since(now).unwrap_or_default();
    // Of a short time most.
    let rest = REST.min(left / 4);
    Instant::now() + left.saturating_sub(rest)
}

/// Transfers have ended when no attempt at them goes on.
struct Submitted<'a> {
    control: &'a dyn ControlState,
    state: &'a dyn TransferState,
}

#[async_trait]
impl Transfers for Submitted<'_> {
    async fn has_ended(&self, id: &TransferId) -> Result<bool> {
        let found = self.control.submission(id).await?;
        Ok(found.is_none_or(|found| found.stage == Stage::Over))
    }

    async fn is_over(&self, id: &TransferId) -> Result<bool> {
        match self.control.submission(id).await? {
            None => return Ok(true),
            Some(found) if found.stage == Stage::Live => return Ok(false),
            Some(_) => {}
        }
        match self.state.transfer(id).await {
            Ok(row) => Ok(row.phase == Phase::Ended),
            // It failed before it was planned, and may be gone on with.
            Err(error) if error.kind == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// See the module documentation.
pub(crate) async fn handle(
    services: &Services,
    event: LambdaEvent<Value>,
) -> Result<Value, Failed> {
    let until = until(event.context.deadline, SystemTime::now());
    let function = services.environment.function;
    let named = |name: &str| event.payload.get(name).map(Value::to_string);
    let span = tracing::info_span!(
        "step",
        ?function,
        transfer = named("transfer"),
        attempt = named("attempt"),
        request = event.context.request_id,
    );
    let done = async {
        let done = match function {
            Function::Reap => reaped(services, Timestamp::now(), until).await,
            Function::Trigger => trigger::triggered(services, event.payload, until).await,
            _ => {
                let account = services.account().await?;
                let stack = &services.environment.stack;
                Box::pin(carried_out(&account, stack, function, event.payload, until)).await
            }
        };
        match &done {
            Ok(reply) => tracing::info!(%reply, "done"),
            Err(error) => tracing::error!("{error}"),
        }
        done
    };
    Ok(done.instrument(span).await?)
}

async fn carried_out(
    account: &Account,
    stack: &str,
    function: Function,
    payload: Value,
    until: Instant,
) -> Result<Value> {
    let now = Timestamp::now();
    match function {
        // Its schedule tells it nothing.
        Function::Watch if payload.get("transfer").is_none() => {
            return watched(account, stack, now).await;
        }
        Function::Teardown if payload.get("detail").is_some() => {
            return told_of_an_end(account, payload, until).await;
        }
        Function::Plan if payload.get("dataplane").is_some() => {
            let order: DataplaneOrder = serde_json::from_value(payload)
                .map_err(|error| Error::invalid("that is no order of machines").cause(error))?;
            dataplanes::order(account, &order, now).await?;
            return Ok(json!({}));
        }
        Function::Provision if payload.get("dataplane").is_some() => {
            return machines(account, payload, until).await;
        }
        _ => {}
    }
    let told: Told = serde_json::from_value(payload)
        .map_err(|error| Error::invalid("what the function was told is no step").cause(error))?;
    let attempt = Attempt {
        transfer: told.transfer,
        attempt: told.attempt,
    };
    let failure = told.error.map(Failure::from);
    let step = Box::pin(take(
        account,
        function,
        &attempt,
        until,
        Said {
            token: told.token,
            copy: told.copy,
            survey: told.survey,
            surveyed: told.surveyed,
            failure,
        },
    ));
    match step.await {
        // Two slices met, and one had to give way: the other goes on.
        Err(error)
            if error.kind == ErrorKind::LeaseLost && attempt.goes_on(&*account.control).await? =>
        {
            Err(error.retryable(true))
        }
        done => done,
    }
}

/// What is told of machines that are launched without a transfer.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ToldOfMachines {
    dataplane: DataplaneId,
    /// They cannot be had.
    #[serde(default)]
    give_up: bool,
}

/// Whether a step that looks at machines is taken once more: after a while, if it is not done and there is time.
async fn again(end: StepEnd, until: Instant) -> bool {
    if end == StepEnd::Done || Instant::now() + AGAIN >= until {
        return false;
    }
    tokio::time::sleep(AGAIN).await;
    true
}

async fn machines(account: &Account, payload: Value, until: Instant) -> Result<Value> {
    let told: ToldOfMachines = serde_json::from_value(payload)
        .map_err(|error| Error::invalid("that is no dataplane").cause(error))?;
    if told.give_up {
        dataplanes::give_up(account, &told.dataplane).await?;
        return step(StepEnd::Done);
    }
    loop {
        let end = dataplanes::launch(account, &told.dataplane, Timestamp::now()).await?;
        if !again(end, until).await {
            return step(end);
        }
    }
}

/// What else a step is told.
struct Said {
    token: Option<String>,
    copy: bool,
    survey: bool,
    surveyed: bool,
    failure: Option<Failure>,
}

async fn take(
    account: &Account,
    function: Function,
    attempt: &Attempt,
    until: Instant,
    said: Said,
) -> Result<Value> {
    let now = Timestamp::now();
    if matches!(
        function,
        Function::List | Function::Provision | Function::Complete | Function::Verify
    ) {
        attempt.within_ceiling(account, now).await?;
    }
    match function {
        Function::Plan => written(&steps::plan(account, attempt, said.surveyed, now).await?),
        Function::List if said.survey => {
            let soon = until.min(Instant::now() + SURVEY);
            let little = steps::survey(account, attempt, soon).await?;
            Ok(json!({ "little": little }))
        }
        Function::List if said.copy => step(steps::copy(account, attempt, until).await?),
        Function::List => step(steps::list(account, attempt, until).await?),
        Function::Provision => loop {
            let end = steps::provision(account, attempt, Timestamp::now()).await?;
            if !again(end, until).await {
                break step(end);
            }
        },
        Function::Complete => step(steps::complete(account, attempt, until).await?),
        Function::Verify => step(steps::verify(account, attempt, until).await?),
        Function::Teardown => {
            settled(&steps::settle(account, attempt, said.failure, now, until).await?)
        }
        Function::Watch => {
            if let Some(token) = said.token {
                steps::wait(account, attempt, &token).await?;
            }
            if let Some(failure) = said.failure {
                attempt.fail(account, failure).await?;
            }
            // What it waits for may have happened already.
            written(&steps::watch(account, &attempt.transfer, now).await?)
        }
        Function::Reap | Function::Trigger => Err(Error::control(
            ErrorKind::Internal,
            "this function takes no step of a transfer",
        )),
    }
}

fn settled(ended: &Ended) -> Result<Value> {
    let done = ended.end == StepEnd::Done;
    let (succeeded, failure) = (ended.succeeded, &ended.failure);
    written(&json!({ "done": done, "succeeded": succeeded, "failure": failure }))
}

/// The end of an execution, as the bus of events tells it.
#[derive(Debug, Deserialize)]
struct Event {
    detail: EventDetail,
}

#[derive(Debug, Deserialize)]
struct EventDetail {
    /// The execution's name.
    name: String,
    status: String,
    /// What the execution was started with.
    input: String,
}

/// An execution ended, perhaps before it could tear down: does so until all is gone, since nobody else will.
async fn told_of_an_end(account: &Account, payload: Value, until: Instant) -> Result<Value> {
    let not = |error| Error::invalid("not the end of an execution").cause(error);
    let event: Event = serde_json::from_value(payload).map_err(not)?;
    let attempt: Attempt = serde_json::from_str(&event.detail.input).map_err(not)?;
    if event.detail.name != attempt.name() {
        // One that nobody may have started says nothing of the one that goes on.
        return written(&Step { done: true });
    }
    let failure = Failure {
        name: event.detail.status,
        cause: "its execution was ended from outside".to_owned(),
    };
    loop {
        let now = Timestamp::now();
        let why = Some(failure.clone());
        let ended = steps::settle(account, &attempt, why, now, until).await?;
        if ended.end == StepEnd::Done {
            return settled(&ended);
        }
        if !again(ended.end, until).await {
            let message = "machines are still ending";
            return Err(
                Error::control(ErrorKind::Timeout, message).object(attempt.transfer.as_str())
            );
        }
    }
}

async fn watched(account: &Account, stack: &str, now: Timestamp) -> Result<Value> {
    let (watched, problems) = steps::watch_all(account, now).await?;
    for problem in &problems {
        tracing::error!("{problem}");
    }
    metrics::tell(stack, now, &[("Transfers", watched.len() + problems.len())]);
    Ok(json!({ "watched": watched, "problems": problems.len() }))
}

/// Whether a pass is the first of an hour, by the minutes between two: what all rows are read for is done then.
fn is_first_of_its_hour(now: Timestamp) -> bool {
    now.as_second().rem_euclid(3_600) < 300
}

async fn reaped(services: &Services, now: Timestamp, until: Instant) -> Result<Value> {
    let account = &services.account().await?;
    let transfers = Submitted {
        control: &*account.control,
        state: &*account.state,
    };
    let mut reaped = reap(&*account.control, &account.regions, &transfers, now).await?;
    for action in &reaped.actions {
        tracing::warn!(action = %written(action)?, "reaped");
    }
    let deployed = services.deployed()?;
    let strays = steps::strays(account, &*deployed.executions, now, until);
    let (strays, problems) = Box::pin(strays).await?;
    for stray in &strays {
        tracing::warn!(stray = %written(stray)?, "an attempt without its execution");
    }
    reaped.problems.extend(problems);
    let (begun, problems) = steps::queued(&deployed, now).await?;
    reaped.problems.extend(problems);
    let given_up = match services.environment.keep_partial_days {
        Some(days) if is_first_of_its_hour(now) => {
            let keep = SignedDuration::from_hours(24 * i64::from(days));
            let passed = Box::pin(steps::leftovers(account, keep, now, until)).await?;
            reaped.problems.extend(passed.1);
            passed.0
        }
        _ => Vec::new(),
    };
    for transfer in &given_up {
        tracing::warn!(%transfer, "nobody went on with it: what it left half done is removed");
    }
    for problem in &reaped.problems {
        tracing::error!("{problem}");
    }
    let (machines, idle) = metrics::machines(&account.control.dataplanes().await?);
    let counts = [
        ("Machines", machines),
        ("IdleMachines", idle),
        ("Reaped", reaped.actions.len()),
        ("ReapProblems", reaped.problems.len()),
    ];
    metrics::tell(&services.environment.stack, now, &counts);
    Ok(json!({
        "actions": reaped.actions,
        "strays": strays,
        "begun": begun,
        "given_up": given_up,
        "problems": reaped.problems.len(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slice_ends_before_its_function_is_stopped() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000);
        let left = |seconds: u64| {
            let begun = Instant::now();
            let until = until(1_000 * (1_000 + seconds), now);
            until.duration_since(begun).as_secs()
        };
        assert_eq!(left(60), 45);
        assert_eq!(left(120), 100);
        assert_eq!(left(900), 880);
        assert_eq!(until(0, now).duration_since(Instant::now()).as_secs(), 0);
    }

    #[test]
    fn a_cause_is_what_the_function_said() {
        let failure = |text: Value| Failure::from(serde_json::from_value::<Thrown>(text).unwrap());
        let cause = r#"{"errorType":"NoRoom","errorMessage":"no machine"}"#;
        let thrown = failure(json!({ "Error": "NoRoom", "Cause": cause }));
        assert_eq!(
            (thrown.name.as_str(), thrown.cause.as_str()),
            ("NoRoom", "no machine")
        );
        let other = failure(json!({ "Error": "States.Timeout" }));
        assert_eq!(other.cause, "");
    }

    #[test]
    fn what_is_no_step_is_refused() {
        for wrong in [
            json!({}),
            json!({ "transfer": "x", "attempt": 1 }),
            json!([]),
        ] {
            assert!(serde_json::from_value::<Told>(wrong).is_err());
        }
    }
}
