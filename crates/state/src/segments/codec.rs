//! The bytes of a segment: one zstd frame with a content checksum; in it a header line that names
//! kind and version, then one JSON record a line. Truncation, damage, an empty file and a file of
//! another kind are all told apart from a segment without records.

use std::io::{self, BufRead, BufReader, Read, Write};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::SegmentKind;

/// Version of the layout that this build writes.
const FORMAT_VERSION: u32 = 1;

/// Fast; keys of one listing share prefixes, so it still gives a ratio of 5 to 10.
const LEVEL: i32 = 1;

/// Bytes of a segment's text at most: far more than the longest keys of the most objects make.
const MOST: u64 = 1 << 30;

/// Records encoded or decoded before the task yields: some 100 microseconds of work.
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

/// Decodes a whole segment. Yields between batches, as [`encode`] does.
pub(super) async fn decode<T: DeserializeOwned + Send>(
    kind: SegmentKind,
    bytes: &[u8],
) -> io::Result<Vec<T>> {
    let mut lines = Lines::new(bytes)?;
    let Some(header) = lines.next()? else {
        return Err(damaged("it is empty"));
    };
    let header: Header = serde_json::from_slice(header)?;
    if header.skyhaul_segment != kind.name() {
        return Err(damaged(format!("it holds {}", header.skyhaul_segment)));
    }
    if header.version != FORMAT_VERSION {
        let found = header.version;
        return Err(damaged(format!(
            "it is of version {found}, this build reads {FORMAT_VERSION}"
        )));
    }
    let mut records = Vec::new();
    while let Some(line) = lines.next()? {
        records.push(serde_json::from_slice(line)?);
        if records.len().is_multiple_of(RECORDS_A_TURN) {
            tokio::task::yield_now().await;
        }
    }
    Ok(records)
}

/// The lines of a frame. Its checksum is proved when the last was read.
struct Lines<'a> {
    text: io::Take<BufReader<zstd::Decoder<'static, &'a [u8]>>>,
    line: Vec<u8>,
}

impl<'a> Lines<'a> {
    fn new(bytes: &'a [u8]) -> io::Result<Self> {
        let text = BufReader::with_capacity(32 * 1024, zstd::Decoder::with_buffer(bytes)?);
        Ok(Self {
            text: text.take(MOST),
            line: Vec::new(),
        })
    }

    fn next(&mut self) -> io::Result<Option<&[u8]>> {
        self.line.clear();
        let read = self.text.read_until(b'\n', &mut self.line)?;
        if self.text.limit() == 0 {
            return Err(damaged(format!("it is longer than {MOST} bytes")));
        }
        if read == 0 {
            return Ok(None);
        }
        if self.line.pop() == Some(b'\n') {
            Ok(Some(&self.line))
        } else {
            Err(damaged("its last line is cut off"))
        }
    }
}

fn damaged(message: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message.into())
}
