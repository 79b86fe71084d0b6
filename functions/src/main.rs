//! The functions of a control plane in one binary: which one it is, its environment says
//! (`SKYHAUL_FUNCTION`). Each takes a step of `skyhaul-workflow` and knows nothing else.

mod account;
mod boot;
mod environment;
mod failed;
mod handler;
mod metrics;
mod trigger;
mod vault;

use std::process::ExitCode;

use lambda_runtime::{LambdaEvent, run, service_fn};
use serde_json::Value;
use tracing_subscriber::EnvFilter;

use crate::account::Services;
use crate::environment::Environment;

#[tokio::main]
async fn main() -> ExitCode {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .json()
        .with_env_filter(filter)
        .with_ansi(false)
        .with_current_span(true)
        .init();
    let environment = match Environment::read() {
        Ok(environment) => environment,
        Err(error) => {
            tracing::error!("{error}");
            return ExitCode::FAILURE;
        }
    };
    let services = Services::open(environment).await;
    let handle = |event: LambdaEvent<Value>| handler::handle(&services, event);
    match run(service_fn(handle)).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}
