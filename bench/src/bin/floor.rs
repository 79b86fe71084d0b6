//! `skyhaul-bench-floor`: what moving the bytes costs by itself. Two blocking sockets and one small
//! buffer: GET each object from one server, PUT it to another. No listing, no checksum, no retry,
//! no state, no concurrency. Not a tool to compare with, but the limit of all of them: the kernel's
//! price of receiving and sending on this machine.

use std::io::{Error, Read as _, Result, Write as _};
use std::net::TcpStream;
use std::process::ExitCode;

use clap::Parser;

/// Bytes moved at a time: small enough to stay in a core's cache.
const BUFFER: usize = 128 << 10;

/// Copies generated objects between two benchmark servers over plain sockets.
#[derive(Debug, Parser)]
#[command(name = "skyhaul-bench-floor", version)]
struct Args {
    /// Address of the source, e.g. 127.0.0.1:9000.
    source: String,
    /// Its bucket.
    source_bucket: String,
    /// Address of the target.
    target: String,
    /// Its bucket.
    target_bucket: String,
    /// Number of objects, named obj-0000000 and so on.
    count: u64,
}

/// A connection whose replies are read up to the end of their head.
struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
    /// What of a body came with its head: from here to `end` in the buffer.
    start: usize,
    end: usize,
}

impl Connection {
    fn open(address: &str) -> Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            buffer: vec![0; BUFFER],
            start: 0,
            end: 0,
        })
    }

    /// Reads a reply's head; returns the length of its body.
    fn head(&mut self) -> Result<u64> {
        (self.start, self.end) = (0, 0);
        loop {
            let got = self.stream.read(&mut self.buffer[self.end..])?;
            self.end += got;
            let read = &self.buffer[..self.end];
            if let Some(at) = read.windows(4).position(|four| four == b"\r\n\r\n") {
                self.start = at + 4;
                let text = String::from_utf8_lossy(&read[..at]).to_ascii_lowercase();
                if !text.starts_with("http/1.1 2") {
                    return Err(Error::other(text));
                }
                let length = text
                    .lines()
                    .find_map(|line| line.strip_prefix("content-length:"));
                return length
                    .and_then(|length| length.trim().parse().ok())
                    .ok_or_else(|| Error::other("a reply without a length"));
            }
            if got == 0 || self.end == self.buffer.len() {
                return Err(Error::other("not a reply"));
            }
        }
    }
}

fn copy(args: &Args) -> Result<()> {
    let mut source = Connection::open(&args.source)?;
    let mut target = Connection::open(&args.target)?;
    for index in 0..args.count {
        let key = format!("obj-{index:07}");
        let get = format!(
            "GET /{}/{key} HTTP/1.1\r\nhost: floor\r\n\r\n",
            args.source_bucket
        );
        source.stream.write_all(get.as_bytes())?;
        let length = source.head()?;
        let put = format!(
            "PUT /{}/{key} HTTP/1.1\r\nhost: floor\r\ncontent-length: {length}\r\n\r\n",
            args.target_bucket
        );
        target.stream.write_all(put.as_bytes())?;
        let first = &source.buffer[source.start..source.end];
        target.stream.write_all(first)?;
        let mut left = length - first.len() as u64;
        while left > 0 {
            let got = source.stream.read(&mut source.buffer)?;
            if got == 0 {
                return Err(Error::other("the source ended early"));
            }
            target.stream.write_all(&source.buffer[..got])?;
            left -= got as u64;
        }
        target.head()?;
    }
    Ok(())
}

fn main() -> ExitCode {
    match copy(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nothing is left to do when standard error itself is gone.
            let _ = writeln!(std::io::stderr(), "skyhaul-bench-floor: {error}");
            ExitCode::FAILURE
        }
    }
}
