//! Gateways instead of this process.

use std::path::PathBuf;

use clap::Args;
use skyhaul_gateway::Compress;
use skyhaul_gateway::wire::header::Cipher;
use skyhaul_model::{Error, Result};
use skyhaul_workflow::fleet::Fleet;
use skyhaul_workflow::order::FleetOrder;

use crate::values;

/// The name of the program, beside this one.
const PROGRAM: &str = "skyhaul-gateway";

/// With how many gateways, and what they do with the bytes.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Gateways")]
pub(crate) struct GatewayArgs {
    /// Copy with N source and N destination gateways, processes of this machine or
    /// machines of the deployment
    #[arg(long, visible_alias = "gateways", value_name = "N", value_parser = instances)]
    max_instances: Option<usize>,
    /// Put a relay between them, which cannot read what it passes on
    #[arg(long, requires = "max_instances")]
    relay: bool,
    /// Compression on the way: lz4 [default], zstd, auto (what is fastest), none
    #[arg(long, value_name = "NAME", value_parser = compress, requires = "max_instances")]
    compress: Option<Compress>,
    /// Encryption on the way: auto [default], aes-256-gcm, chacha20-poly1305, none
    #[arg(long, value_name = "NAME", value_parser = cipher, requires = "max_instances")]
    cipher: Option<Cipher>,
    /// Do not encrypt objects on the way (what is done with them is sealed all the same)
    #[arg(long, conflicts_with = "cipher", requires = "max_instances")]
    no_encrypt: bool,
    /// Wrap connections between gateways in TLS, too
    #[arg(long, requires = "max_instances")]
    socket_tls: bool,
    /// Connections of a gateway to its neighbours [default: 32]
    #[arg(long, value_name = "N", value_parser = values::parallelism, requires = "max_instances")]
    max_connections: Option<u64>,
}

fn instances(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(count) if (1..=64).contains(&count) => Ok(count),
        _ => Err("a number from 1 to 64".to_owned()),
    }
}

fn compress(text: &str) -> Result<Compress, String> {
    match text {
        "lz4" => Ok(Compress::Lz4),
        "zstd" => Ok(Compress::Zstd),
        "auto" => Ok(Compress::Auto),
        "none" => Ok(Compress::None),
        _ => Err("one of lz4, zstd, auto, none".to_owned()),
    }
}

fn cipher(text: &str) -> Result<Cipher, String> {
    match text {
        "auto" => Ok(Cipher::suited()),
        "aes-256-gcm" => Ok(Cipher::Aes256Gcm),
        "chacha20-poly1305" => Ok(Cipher::ChaCha20Poly1305),
        "none" => Ok(Cipher::None),
        _ => Err("one of auto, aes-256-gcm, chacha20-poly1305, none".to_owned()),
    }
}

impl GatewayArgs {
    /// What the machines of a deployment do; refused (`Invalid`) where it places them otherwise.
    pub(crate) fn order(&self) -> Result<FleetOrder> {
        if self.relay {
            let message = "a deployment says by itself where machines are: --relay is for this one";
            return Err(Error::invalid(message));
        }
        let base = FleetOrder::default();
        let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        Ok(FleetOrder {
            alone: self.max_instances.is_none(),
            per_region: self.max_instances.map_or(base.per_region, count),
            cipher: match self.cipher {
                _ if self.no_encrypt => Some(Cipher::None),
                cipher => cipher,
            },
            compress: self.compress.unwrap_or_default(),
            socket_tls: self.socket_tls,
            connections: self.max_connections.map_or(base.connections, |count| {
                usize::try_from(count).unwrap_or(usize::MAX)
            }),
            ..base
        })
    }

    /// The gateways that are asked for.
    pub(crate) fn fleet(&self) -> Result<Option<Fleet>> {
        let Some(pairs) = self.max_instances else {
            return Ok(None);
        };
        Ok(Some(Fleet {
            program: program()?,
            pairs,
            relay: self.relay,
            cipher: match self.cipher {
                _ if self.no_encrypt => Cipher::None,
                cipher => cipher.unwrap_or_else(Cipher::suited),
            },
            compress: self.compress.unwrap_or_default(),
            socket_tls: self.socket_tls,
            connections: self
                .max_connections
                .map_or(32, |count| usize::try_from(count).unwrap_or(usize::MAX)),
        }))
    }
}

/// The gateway's program: beside this one.
fn program() -> Result<PathBuf> {
    let own = std::env::current_exe()
        .map_err(|error| Error::invalid("this program's place is unknown").cause(error))?;
    let program = own.with_file_name(PROGRAM);
    if program.is_file() {
        return Ok(program);
    }
    Err(Error::invalid("the gateways' program is missing")
        .object(program.display().to_string())
        .hint("install skyhaul-gateway beside skyhaul"))
}
