//! The `skyhaul-gateway` command.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use skyhaul_gateway::config::{Boot, Config};
use skyhaul_gateway::orders::Orders;
use skyhaul_gateway::shipping::{self, Said};
use skyhaul_gateway::{host, run};
use skyhaul_model::{Error, ErrorKind, Result};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::writer::MakeWriterExt as _;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// A machine of a transfer: reads, seals, stripes, passes on, opens and writes. Started by `skyhaul`
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Its configuration, one line of JSON; `-` is standard input, whose end stops the gateway
    #[arg(
        long,
        value_name = "FILE",
        requires = "name",
        required_unless_present = "boot"
    )]
    config: Option<PathBuf>,
    /// The name in that configuration, for whoever looks at the system's processes
    #[arg(long)]
    name: Option<String>,
    /// What a machine of a dataplane is started with, one line of JSON: it waits to be assigned to transfers
    #[arg(long, value_name = "FILE", conflicts_with = "config")]
    boot: Option<PathBuf>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let filter = EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| EnvFilter::new("warn,skyhaul_gateway=info"));
    let said = Said::default();
    let fmt = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(false);
    if arguments.boot.is_some() {
        fmt.with_writer(std::io::stderr.and(said.clone())).init();
    } else {
        fmt.with_writer(std::io::stderr).init();
    }
    match start(&arguments, said) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// What this process is for.
enum Purpose {
    /// One transfer.
    Gateway(Box<Config>),
    /// Whatever it is assigned to.
    Machine(Box<Boot>),
}

fn open(path: &Path) -> Result<BufReader<File>> {
    let file = File::open(path).map_err(|error| {
        Error::invalid("the configuration cannot be opened")
            .object(path.display().to_string())
            .cause(error)
    })?;
    Ok(BufReader::new(file))
}

fn purpose(arguments: &Arguments, orders: &Orders) -> Result<Purpose> {
    let config = match (&arguments.config, &arguments.boot) {
        (_, Some(path)) => return Ok(Purpose::Machine(Box::new(Boot::read(open(path)?)?))),
        (Some(path), None) if path.as_os_str() != "-" => Config::read(open(path)?)?,
        _ => {
            let config = Config::read(std::io::stdin().lock())?;
            let stop = orders.stop.clone();
            // Whoever started it is gone when its input ends.
            std::thread::spawn(move || {
                let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
                stop.cancel();
            });
            config
        }
    };
    if arguments.name.as_ref() != Some(&config.name) {
        let message = format!("the configuration is of gateway {}", config.name);
        return Err(Error::invalid(message));
    }
    Ok(Purpose::Gateway(Box::new(config)))
}

fn start(arguments: &Arguments, said: Said) -> Result<()> {
    let orders = Orders::default();
    let purpose = purpose(arguments, &orders)?;
    run::raise_descriptors();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| {
            Error::control(ErrorKind::Internal, "no threads can be started").cause(error)
        })?;
    let ended = runtime.block_on(async {
        watch_signals(&orders)?;
        match purpose {
            Purpose::Gateway(config) => Box::pin(run::run(*config, orders)).await,
            Purpose::Machine(boot) => Box::pin(machine(*boot, orders, said)).await,
        }
    });
    runtime.shutdown_background();
    ended
}

/// Runs a machine, and keeps what it says where it was told to.
async fn machine(boot: Boot, orders: Orders, said: Said) -> Result<()> {
    let Some(at) = boot.logs.clone() else {
        return host::boot(boot, orders).await;
    };
    let over = CancellationToken::new();
    let shipped = tokio::spawn(shipping::ship(said, at, over.clone()));
    let ended = host::boot(boot, orders).await;
    // Said here, to be among what is kept.
    if let Err(error) = &ended {
        tracing::error!("{error}");
    }
    over.cancel();
    let _ = shipped.await;
    ended
}

/// SIGTERM drains the gateway, a second one and SIGINT stop it.
fn watch_signals(orders: &Orders) -> Result<()> {
    let watch = |kind| {
        signal(kind).map_err(|error| {
            Error::control(ErrorKind::Internal, "signals cannot be watched").cause(error)
        })
    };
    let mut terminate = watch(SignalKind::terminate())?;
    let mut interrupt = watch(SignalKind::interrupt())?;
    let orders = orders.clone();
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => orders.terminate(),
                _ = interrupt.recv() => orders.stop.cancel(),
            }
        }
    });
    Ok(())
}
