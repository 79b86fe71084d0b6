//! Command line of the server and the grammar of its data set flags.

use std::net::SocketAddr;
use std::str::FromStr;

use bytesize::ByteSize;
use clap::Parser;

use crate::keyspace::{KeyPattern, Shape};

/// An S3 server for benchmarks: generates what is read, discards what is written.
#[derive(Debug, Parser)]
#[command(name = "skyhaul-bench-server", version)]
pub(crate) struct Args {
    /// Address to listen on; port 0 takes a free one. The address is the first line printed.
    #[arg(long, default_value = "127.0.0.1:0")]
    pub(crate) listen: SocketAddr,

    /// Data set: NAME=COUNTxSIZE[:KEY], KEY holding one %0Nd, e.g. big=16x128MiB:dir/obj-%07d.
    #[arg(long = "source", value_name = "SPEC")]
    pub(crate) sources: Vec<SourceSpec>,

    /// Data set for listing: NAME=SHAPE:COUNT[xSIZE]; uniform, deep, skew or longprefix.
    #[arg(long = "keyspace", value_name = "SPEC")]
    pub(crate) keyspaces: Vec<KeyspaceSpec>,

    /// Writable bucket. Without this flag every name that is no data set is one.
    #[arg(long = "sink", value_name = "NAME")]
    pub(crate) sinks: Vec<String>,

    /// Latency added to each listing page, in milliseconds. Concurrent pages overlap.
    #[arg(long, default_value_t = 0)]
    pub(crate) list_delay_ms: u64,

    /// Worker threads; 1 runs everything on the main thread.
    #[arg(long, default_value_t = 1)]
    pub(crate) threads: usize,

    /// Check each written body against the generator (keyed by the last part of the key) and
    /// refuse it where it differs. Verified objects can be read back.
    #[arg(long)]
    pub(crate) verify: bool,

    /// Check Content-MD5 and x-amz-checksum-* (not SHA1) of each written body.
    #[arg(long)]
    pub(crate) verify_checksums: bool,
}

/// `NAME=COUNTxSIZE[:KEY]`.
#[derive(Debug, Clone)]
pub(crate) struct SourceSpec {
    /// Bucket name.
    pub(crate) name: String,
    /// Number of objects.
    pub(crate) count: u64,
    /// Size of each object in bytes.
    pub(crate) size: u64,
    /// How a key is made from an index.
    pub(crate) pattern: KeyPattern,
}

/// `NAME=SHAPE:COUNT[xSIZE]`.
#[derive(Debug, Clone)]
pub(crate) struct KeyspaceSpec {
    /// Bucket name.
    pub(crate) name: String,
    /// Shape of the key space.
    pub(crate) shape: Shape,
    /// Number of keys.
    pub(crate) count: u64,
    /// Size of each object in bytes.
    pub(crate) size: u64,
}

fn count(text: &str) -> Result<u64, String> {
    text.parse()
        .map_err(|_| format!("{text:?} is not a number of objects"))
}

fn size(text: &str) -> Result<u64, String> {
    text.parse::<ByteSize>()
        .map(|s| s.as_u64())
        .map_err(|e| format!("{text:?} is no size: {e}"))
}

fn split<'a>(text: &'a str, at: char, grammar: &str) -> Result<(&'a str, &'a str), String> {
    text.split_once(at)
        .ok_or_else(|| format!("{text:?} is not {grammar}"))
}

impl FromStr for SourceSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const GRAMMAR: &str = "NAME=COUNTxSIZE[:KEY]";
        let (name, rest) = split(text, '=', GRAMMAR)?;
        let (shape, key) = rest.split_once(':').unwrap_or((rest, "obj-%07d"));
        let (n, bytes) = split(shape, 'x', GRAMMAR)?;
        let (count, size) = (count(n)?, size(bytes)?);
        let pattern = key.parse::<KeyPattern>()?;
        if count > pattern.capacity() {
            return Err(format!(
                "{key:?} has too few digits for {count} keys in order"
            ));
        }
        Ok(Self {
            name: name.to_owned(),
            count,
            size,
            pattern,
        })
    }
}

impl FromStr for KeyspaceSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const GRAMMAR: &str = "NAME=SHAPE:COUNT[xSIZE]";
        let (name, rest) = split(text, '=', GRAMMAR)?;
        let (shape, n) = split(rest, ':', GRAMMAR)?;
        let (n, bytes) = n.split_once('x').unwrap_or((n, "1KiB"));
        Ok(Self {
            name: name.to_owned(),
            shape: shape.parse()?,
            count: count(n)?,
            size: size(bytes)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn source_spec_with_and_without_key() {
        let spec: SourceSpec = "big=16x128MiB".parse().unwrap();
        assert_eq!(
            (spec.name.as_str(), spec.count, spec.size),
            ("big", 16, 128 << 20)
        );
        assert_eq!(spec.pattern.key(3), "obj-0000003");
        let spec: SourceSpec = "s=5x1KiB:a/%02d.bin".parse().unwrap();
        assert_eq!(spec.pattern.key(4), "a/04.bin");
    }

    #[test]
    fn bad_specs_are_refused() {
        for text in [
            "big",
            "big=3",
            "big=3xlots",
            "big=axb",
            "b=200x1:%02d",
            "b=2x1:none",
        ] {
            assert!(text.parse::<SourceSpec>().is_err(), "{text}");
        }
        for text in ["k=uniform", "k=odd:5", "k=deep:x"] {
            assert!(text.parse::<KeyspaceSpec>().is_err(), "{text}");
        }
    }
}
