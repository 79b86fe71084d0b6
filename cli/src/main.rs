//! The `skyhaul` command: reads the command line and runs it.
// What begins with a bracket in the help texts is no link.
#![allow(rustdoc::broken_intra_doc_links)]

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

/// Small objects make many small allocations on many threads; a transfer may run for weeks.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    exit::code(commands::main(args::parse()))
}
