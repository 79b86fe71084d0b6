//! The commands: one file each.

mod carrier;
mod chunks;
mod cleanup;
mod completions;
mod config;
mod cp;
pub(crate) mod dataplane;
mod deploy;
mod deployment;
mod deprovision;
mod doctor;
mod guest;
mod logs;
mod ls;
mod report;
mod resume;
mod schedule;
mod ssh;
mod status;
mod sync;
mod top;
mod transfer;
mod trigger;
mod undeploy;
mod verify;

use skyhaul_model::Result;
use tokio_util::sync::CancellationToken;

use crate::args::{Cli, Command};
use crate::context::{self, Context};
use crate::log::Log;
use crate::output::Screen;
use crate::{exit, interrupt};

/// Runs a command line; gives the exit code.
pub(crate) fn main(cli: Cli) -> u8 {
    let context = Context {
        screen: Screen::new(&cli.global),
        log: Log::install(cli.global.verbose),
        cancel: CancellationToken::new(),
        global: cli.global,
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(cause) => return report(&context, Err(context::no_runtime(cause))),
    };
    let result = runtime.block_on(async {
        interrupt::watch(context.cancel.clone(), context.screen.clone());
        Box::pin(run(&context, cli.command)).await
    });
    let code = report(&context, result);
    // Threads that still wait for a disk or a terminal are not waited for.
    runtime.shutdown_background();
    code
}

fn report(context: &Context, result: Result<u8>) -> u8 {
    result.unwrap_or_else(|error| {
        let code = exit::of_error(&error);
        tracing::error!(code, "{error}");
        context.screen.error(&error, code);
        code
    })
}

async fn run(context: &Context, command: Command) -> Result<u8> {
    match command {
        Command::Cp(args) => cp::run(context, &args).await,
        Command::Sync(args) => sync::run(context, &args).await,
        Command::Ls(args) => ls::run(context, &args).await,
        Command::Resume(args) => resume::run(context, args).await,
        Command::Status(args) => status::run(context, &args).await,
        Command::Wait(args) => deployment::wait(context, &args).await,
        Command::Pause(args) => deployment::pause(context, &args).await,
        Command::Cancel(args) => deployment::cancel(context, &args).await,
        Command::Top(args) => top::run(context, &args).await,
        Command::Chunks(args) => chunks::run(context, &args).await,
        Command::Report(args) => report::run(context, &args).await,
        Command::Logs(args) => logs::run(context, &args).await,
        Command::Verify(args) => verify::run(context, &args).await,
        Command::Trigger(args) => Box::pin(trigger::run(context, &args)).await,
        Command::Schedule(args) => schedule::run(context, &args).await,
        Command::Dataplane(args) => dataplane::run(context, &args).await,
        Command::Deprovision(args) => deprovision::run(context, &args).await,
        Command::Doctor(args) => doctor::run(context, &args).await,
        Command::Ssh(args) => ssh::run(context, &args).await,
        Command::Deploy(args) => deploy::run(context, &args).await,
        Command::Undeploy(args) => undeploy::run(context, &args).await,
        Command::Config(args) => config::run(context, &args.command),
        Command::Cleanup(args) => cleanup::run(context, &args).await,
        Command::Completions(args) => completions::run(context, &args),
    }
}
