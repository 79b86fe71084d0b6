//! The bytes of a segment: one zstd frame with a content checksum; in it a header line that names
//! kind and version, then one JSON record a line. Truncation, damage, an empty file and a file of
//! another kind are all told apart from a segment without records.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::marker::PhantomData;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::SegmentKind;

/// Version of the layout that this build writes.
const FORMAT_VERSION: u32 = 1;

/// Fast; keys of one listing share prefixes, so it still gives a ratio of 5 to 10.
const LEVEL: i32 = 1;

/// Records encoded before the task yields: some 100 microseconds of work.
const RECORDS_A_TURN: usize = 256;

#[derive(Serialize, Deserialize)]
struct Header {
    skyhaul_segment: String,
    version: u32,
}

/// Encodes records into the segment's bytes. Yields between batches, so that a large manifest does
/// not hold up a worker's other tasks.
pub(super) async fn encode<T: Serialize + Sync>(
    kind: SegmentKind,
    records: &[T],
) -> io::Result<Vec<u8>> {
    let mut encoder = zstd::Encoder::new(Vec::new(), LEVEL)?;
    encoder.include_checksum(true)?;
    let mut line = Vec::with_capacity(1024);
    let header = Header {
        skyhaul_segment: kind.name().to_owned(),
        version: FORMAT_VERSION,
    };
    put_line(&mut encoder, &mut line, &header)?;
    for batch in records.chunks(RECORDS_A_TURN) {
        for record in batch {
            put_line(&mut encoder, &mut line, record)?;
        }
        if batch.len() == RECORDS_A_TURN {
            tokio::task::yield_now().await;
        }
    }
    encoder.finish()
}

fn put_line<T: Serialize>(
    encoder: &mut zstd::Encoder<'_, Vec<u8>>,
    line: &mut Vec<u8>,
    record: &T,
) -> io::Result<()> {
    line.clear();
    serde_json::to_writer(&mut *line, record)?;
    line.push(b'\n');
    encoder.write_all(line)
}

/// Decodes a segment record by record, holding one line at a time. The frame's checksum is proved
/// when the last line was read: records before that are only as good as their JSON.
pub(super) struct Decoder<R: Read, T> {
    lines: BufReader<zstd::Decoder<'static, BufReader<R>>>,
    line: Vec<u8>,
    ended: bool,
    record: PhantomData<fn() -> T>,
}

impl<R: Read, T: DeserializeOwned> Decoder<R, T> {
    /// Reads and checks the header.
    pub(super) fn new(reader: R, kind: SegmentKind) -> io::Result<Self> {
        let mut decoder = Self {
            lines: BufReader::with_capacity(32 * 1024, zstd::Decoder::new(reader)?),
            line: Vec::new(),
            ended: false,
            record: PhantomData,
        };
        if !decoder.next_line()? {
            return Err(damaged("it is empty"));
        }
        let header: Header = serde_json::from_slice(&decoder.line)?;
        if header.skyhaul_segment != kind.name() {
            return Err(damaged(format!("it holds {}", header.skyhaul_segment)));
        }
        if header.version != FORMAT_VERSION {
            let found = header.version;
            return Err(damaged(format!(
                "it is of version {found}, this build reads {FORMAT_VERSION}"
            )));
        }
        Ok(decoder)
    }

    fn next_line(&mut self) -> io::Result<bool> {
        self.line.clear();
        if self.lines.read_until(b'\n', &mut self.line)? == 0 {
            return Ok(false);
        }
        if self.line.pop() == Some(b'\n') {
            Ok(true)
        } else {
            Err(damaged("its last line is cut off"))
        }
    }
}

impl<R: Read, T: DeserializeOwned> Iterator for Decoder<R, T> {
    type Item = io::Result<T>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let record = match self.next_line() {
            Ok(true) => serde_json::from_slice(&self.line).map_err(io::Error::from),
            Ok(false) => {
                self.ended = true;
                return None;
            }
            Err(error) => Err(error),
        };
        self.ended = record.is_err();
        Some(record)
    }
}

fn damaged(message: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message.into())
}
