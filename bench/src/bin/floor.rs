//! `skyhaul-bench-floor`: what moving the bytes costs by itself. A blocking socket or a file on
//! either side and one small buffer: take each object from one place, put it into another. No
//! listing, no checksum, no retry, no state, no concurrency, no flush. Not a tool to compare with,
//! but the limit of all of them: the kernel's price of taking and giving on this machine.

use std::fs::File;
use std::io::{Error, Read, Result, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

/// Bytes moved at a time: small enough to stay in a core's cache.
const BUFFER: usize = 128 << 10;

/// Copies generated objects between benchmark servers and directories.
#[derive(Debug, Parser)]
#[command(name = "skyhaul-bench-floor", version)]
struct Args {
    /// Where objects come from: ADDRESS/BUCKET, e.g. 127.0.0.1:9000/data, or a directory.
    source: String,
    /// Where they go: the same.
    target: String,
    /// Number of objects, named obj-0000000 and so on.
    count: u64,
}

/// One side of the copy.
enum Place {
    Server {
        connection: Connection,
        bucket: String,
    },
    Directory(PathBuf),
}

impl Place {
    /// A path that is a directory is one; everything else is a server.
    fn open(text: &str) -> Result<Self> {
        let path = PathBuf::from(text);
        if path.is_dir() {
            return Ok(Self::Directory(path));
        }
        let (address, bucket) = text.split_once('/').ok_or_else(|| {
            Error::other(format!("{text}: neither ADDRESS/BUCKET nor a directory"))
        })?;
        Ok(Self::Server {
            connection: Connection::open(address)?,
            bucket: bucket.to_owned(),
        })
    }
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

/// Copies what is left of a body, a buffer at a time.
fn pour(
    source: &mut dyn Read,
    target: &mut dyn Write,
    mut left: u64,
    buffer: &mut [u8],
) -> Result<()> {
    while left > 0 {
        let got = source.read(buffer)?;
        if got == 0 {
            return Err(Error::other("the source ended early"));
        }
        target.write_all(&buffer[..got])?;
        left = left.saturating_sub(got as u64);
    }
    Ok(())
}

fn copy(args: &Args) -> Result<()> {
    let mut source = Place::open(&args.source)?;
    let mut target = Place::open(&args.target)?;
    let mut buffer = vec![0; BUFFER];
    for index in 0..args.count {
        let key = format!("obj-{index:07}");
        let mut file;
        let (reader, first, length): (&mut dyn Read, &[u8], u64) = match &mut source {
            Place::Server { connection, bucket } => {
                let get = format!("GET /{bucket}/{key} HTTP/1.1\r\nhost: floor\r\n\r\n");
                connection.stream.write_all(get.as_bytes())?;
                let length = connection.head()?;
                let first = &connection.buffer[connection.start..connection.end];
                (&mut connection.stream, first, length)
            }
            Place::Directory(path) => {
                file = File::open(path.join(&key))?;
                let length = file.metadata()?.len();
                (&mut file, &[], length)
            }
        };
        let left = length - first.len() as u64;
        match &mut target {
            Place::Server { connection, bucket } => {
                let put = format!(
                    "PUT /{bucket}/{key} HTTP/1.1\r\nhost: floor\r\ncontent-length: {length}\r\n\r\n"
                );
                connection.stream.write_all(put.as_bytes())?;
                connection.stream.write_all(first)?;
                pour(reader, &mut connection.stream, left, &mut buffer)?;
                connection.head()?;
            }
            Place::Directory(path) => {
                let mut file = File::create(path.join(&key))?;
                file.write_all(first)?;
                pour(reader, &mut file, left, &mut buffer)?;
            }
        }
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
