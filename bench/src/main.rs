//! `skyhaul-bench-server`: an S3 server so cheap that the client is what a benchmark measures.
//!
//! It generates the objects of its data sets, discards what is written to its sinks and keeps
//! only names, sizes and metadata. It checks no signature: never expose it.
// What is in brackets in the help texts is no link.
#![allow(rustdoc::broken_intra_doc_links)]

mod body;
mod checksum;
mod chunked;
mod cli;
mod dataset;
mod error;
mod keyspace;
mod listing;
mod lists;
mod multipart;
mod pattern;
mod range;
mod read;
mod receive;
mod request;
mod server;
mod service;
mod sink;
mod stats;
mod write;
mod xml;

use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;

use crate::cli::Args;
use crate::server::Server;

fn main() -> ExitCode {
    let args = Args::parse();
    let threads = args.threads;
    let listen = args.listen;
    let runtime = if threads <= 1 {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
    } else {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(threads)
            .enable_all()
            .build()
    };
    let outcome = runtime
        .map_err(|e| format!("cannot start the runtime: {e}"))
        .and_then(|rt| rt.block_on(service::serve(Arc::new(Server::new(args)?), listen)));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            use std::io::Write as _;
            // Nothing is left to do when standard error itself is gone.
            let _ = writeln!(std::io::stderr(), "skyhaul-bench-server: {message}");
            ExitCode::from(2)
        }
    }
}
