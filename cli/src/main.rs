//! The `skyhaul` command: reads the command line and runs it.

use std::process::ExitCode;

mod args;
mod commands;
mod config;
mod confirm;
mod context;
mod exit;
mod files;
mod interrupt;
mod log;
mod output;
mod values;

fn main() -> ExitCode {
    exit::code(commands::main(args::parse()))
}
