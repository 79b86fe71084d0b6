//! Schedules of `EventBridge` Scheduler: when what is submitted again and again is submitted.

use aws_sdk_scheduler::Client;
use aws_sdk_scheduler::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_scheduler::types::{
    FlexibleTimeWindow, FlexibleTimeWindowMode, RetryPolicy, ScheduleState, Target,
};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use skyhaul_model::{Error, ErrorKind, Result};

use crate::Outputs;
use crate::said::said;

/// What stands for the time at which a schedule fires, in what its target is told.
const TIME: &str = "<aws.scheduler.scheduled-time>";

/// Seconds after which a time is given up at which the target could not be called.
const LATEST: i32 = 3600;

/// When a schedule fires.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Times {
    /// `rate(1 hour)` or `cron(0 3 * * ? *)`, as the service takes it.
    pub expression: String,
    /// The time zone of a `cron`, by its IANA name; UTC where none is said.
    pub timezone: Option<String>,
}

/// What the service tells of a schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scheduled {
    /// When it fires.
    pub times: Times,
    /// Whether it does.
    pub enabled: bool,
}

/// The schedules of a deployment.
#[derive(Debug, Clone)]
pub struct Schedules {
    client: Client,
    group: String,
    function: String,
    role: String,
}

fn failed<E>(error: &SdkError<E, HttpResponse>, name: &str) -> Error
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    let kind = match error.code() {
        Some("ValidationException") => ErrorKind::Invalid,
        Some("ResourceNotFoundException") => ErrorKind::NotFound,
        Some("AccessDeniedException") => ErrorKind::AccessDenied,
        Some("ThrottlingException") => ErrorKind::Throttled,
        Some("ServiceQuotaExceededException") => ErrorKind::Full,
        Some(_) => ErrorKind::Service,
        None => ErrorKind::Unreachable,
    };
    let what = match (kind, error.message()) {
        (ErrorKind::Invalid, Some(why)) => why.to_owned(),
        _ => said(error),
    };
    Error::control(kind, format!("the schedule cannot be kept: {what}")).object(name)
}

fn told<T, E>(reply: Result<T, SdkError<E, HttpResponse>>, name: &str) -> Result<Option<T>>
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    match reply {
        Ok(reply) => Ok(Some(reply)),
        Err(error) if error.code() == Some("ResourceNotFoundException") => Ok(None),
        Err(error) => Err(failed(&error, name)),
    }
}

impl Schedules {
    /// Those of a deployment.
    pub fn of(outputs: &Outputs) -> Result<Self> {
        Ok(Self {
            client: Client::new(outputs.config()),
            group: outputs.get("ScheduleGroup")?.to_owned(),
            function: outputs.get("TriggerFunction")?.to_owned(),
            role: outputs.get("ScheduleRole")?.to_owned(),
        })
    }

    fn target(&self, name: &str) -> Result<Target> {
        let input = serde_json::json!({ "schedule": name, "time": TIME });
        let retries = RetryPolicy::builder().maximum_event_age_in_seconds(LATEST);
        let target = Target::builder()
            .arn(&self.function)
            .role_arn(&self.role)
            .input(input.to_string())
            .retry_policy(retries.build());
        target.build().map_err(|error| {
            Error::control(ErrorKind::Internal, "a schedule's target cannot be made").cause(error)
        })
    }

    /// Makes a schedule, or gives the one of this name other times; it fires if `enabled`.
    pub async fn set(&self, name: &str, times: &Times, enabled: bool) -> Result<()> {
        let exactly = FlexibleTimeWindow::builder().mode(FlexibleTimeWindowMode::Off);
        let exactly = exactly.build().map_err(|error| {
            Error::control(ErrorKind::Internal, "a schedule cannot be made").cause(error)
        })?;
        let state = if enabled {
            ScheduleState::Enabled
        } else {
            ScheduleState::Disabled
        };
        let target = self.target(name)?;
        let zone = times.timezone.clone();
        let update = self
            .client
            .update_schedule()
            .group_name(&self.group)
            .name(name)
            .schedule_expression(&times.expression)
            .set_schedule_expression_timezone(zone.clone())
            .flexible_time_window(exactly.clone())
            .state(state.clone())
            .target(target.clone());
        if told(update.send().await, name)?.is_some() {
            return Ok(());
        }
        let create = self
            .client
            .create_schedule()
            .group_name(&self.group)
            .name(name)
            .schedule_expression(&times.expression)
            .set_schedule_expression_timezone(zone)
            .flexible_time_window(exactly)
            .state(state)
            .target(target);
        let created = create.send().await;
        created.map(drop).map_err(|error| failed(&error, name))
    }

    /// When a schedule fires; `None` if there is none.
    pub async fn get(&self, name: &str) -> Result<Option<Scheduled>> {
        let request = self
            .client
            .get_schedule()
            .group_name(&self.group)
            .name(name);
        let found = told(request.send().await, name)?;
        Ok(found.map(|found| Scheduled {
            enabled: found.state != Some(ScheduleState::Disabled),
            times: Times {
                expression: found.schedule_expression.unwrap_or_default(),
                timezone: found.schedule_expression_timezone,
            },
        }))
    }

    /// Removes a schedule, if there is one.
    pub async fn remove(&self, name: &str) -> Result<()> {
        let request = self.client.delete_schedule();
        let removed = request.group_name(&self.group).name(name).send().await;
        told(removed, name).map(drop)
    }
}
