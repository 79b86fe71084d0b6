//! Decoder of `aws-chunked` bodies. Signatures are skipped, trailers kept.

use bytes::{Buf as _, Bytes};

use crate::error::S3Error;

/// Longest chunk header or trailer line, in bytes.
const MAX_LINE: usize = 16 * 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Header,
    Data(u64),
    DataEnd,
    Trailer,
    Done,
}

/// Decodes frame by frame; payload is sliced out of the frames, never copied.
#[derive(Debug)]
pub(crate) struct Decoder {
    state: State,
    line: Vec<u8>,
    trailers: Vec<(String, String)>,
}

impl Decoder {
    /// At the beginning of a body.
    pub(crate) fn new() -> Self {
        Self {
            state: State::Header,
            line: Vec::new(),
            trailers: Vec::new(),
        }
    }

    /// Takes from `frame` up to and including the next piece of payload. `None`: the frame is
    /// used up.
    pub(crate) fn next(&mut self, frame: &mut Bytes) -> Result<Option<Bytes>, S3Error> {
        while !frame.is_empty() {
            match self.state {
                State::Data(left) => {
                    let take = left.min(frame.len() as u64);
                    self.state = if take == left {
                        State::DataEnd
                    } else {
                        State::Data(left - take)
                    };
                    return Ok(Some(frame.split_to(take as usize)));
                }
                State::Done => return Err(S3Error::incomplete("bytes after the last chunk")),
                State::Header | State::DataEnd | State::Trailer => self.line(frame)?,
            }
        }
        Ok(None)
    }

    /// Gathers a line; acts on it when it is whole.
    fn line(&mut self, frame: &mut Bytes) -> Result<(), S3Error> {
        let Some(end) = frame.iter().position(|b| *b == b'\n') else {
            self.line.extend_from_slice(frame);
            frame.clear();
            return if self.line.len() > MAX_LINE {
                Err(S3Error::incomplete("chunk header without end"))
            } else {
                Ok(())
            };
        };
        self.line.extend_from_slice(&frame[..end]);
        frame.advance(end + 1);
        let line = std::mem::take(&mut self.line);
        let line = std::str::from_utf8(&line)
            .map_err(|_| S3Error::incomplete("chunk header is not text"))?
            .trim_end_matches('\r');
        self.state = match self.state {
            State::DataEnd if line.is_empty() => State::Header,
            State::DataEnd => return Err(S3Error::incomplete("chunk is longer than announced")),
            State::Header => {
                let size = line.split(';').next().unwrap_or(line);
                let size = u64::from_str_radix(size.trim(), 16)
                    .map_err(|_| S3Error::incomplete(format!("no chunk size: {line:?}")))?;
                if size == 0 {
                    State::Trailer
                } else {
                    State::Data(size)
                }
            }
            State::Trailer if line.is_empty() => State::Done,
            _ => {
                if let Some((name, value)) = line.split_once(':') {
                    self.trailers
                        .push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
                }
                State::Trailer
            }
        };
        Ok(())
    }

    /// The trailers, lower-case names first; an error if the last chunk was not seen.
    pub(crate) fn finish(self) -> Result<Vec<(String, String)>, S3Error> {
        match self.state {
            // Some clients leave out the empty line after the last chunk.
            State::Done | State::Trailer => Ok(self.trailers),
            _ => Err(S3Error::incomplete("body ends inside a chunk")),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Decoded = (Vec<u8>, Vec<(String, String)>);

    fn decode(frames: Vec<Bytes>) -> Result<Decoded, S3Error> {
        let mut decoder = Decoder::new();
        let mut payload = Vec::new();
        for mut frame in frames {
            while let Some(piece) = decoder.next(&mut frame)? {
                payload.extend_from_slice(&piece);
            }
        }
        Ok((payload, decoder.finish()?))
    }

    fn encode(chunks: &[Vec<u8>], signed: bool) -> Vec<u8> {
        let signature = if signed {
            ";chunk-signature=0123abcd"
        } else {
            ""
        };
        let mut out = Vec::new();
        for chunk in chunks.iter().filter(|c| !c.is_empty()) {
            out.extend_from_slice(format!("{:x}{signature}\r\n", chunk.len()).as_bytes());
            out.extend_from_slice(chunk);
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(format!("0{signature}\r\n").as_bytes());
        out.extend_from_slice(b"x-amz-checksum-crc32: AAAAAA==\r\n\r\n");
        out
    }

    proptest! {
        #[test]
        fn any_split_decodes_to_the_payload(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..6),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
            signed in any::<bool>(),
        ) {
            let encoded = encode(&chunks, signed);
            let mut at: Vec<usize> = cuts.iter().map(|c| c.index(encoded.len())).collect();
            at.extend([0, encoded.len()]);
            at.sort_unstable();
            let frames = at.windows(2).map(|w| Bytes::copy_from_slice(&encoded[w[0]..w[1]])).collect();
            let (payload, trailers) = decode(frames).unwrap();
            prop_assert_eq!(payload, chunks.concat());
            prop_assert_eq!(trailers, vec![("x-amz-checksum-crc32".to_owned(), "AAAAAA==".to_owned())]);
        }

        #[test]
        fn truncation_inside_the_payload_is_noticed(
            chunk in prop::collection::vec(any::<u8>(), 1..300),
            cut in any::<prop::sample::Index>(),
        ) {
            let encoded = encode(&[chunk], true);
            let last_chunk = encoded.windows(4).rposition(|w| w == b"0;ch").unwrap();
            let end = cut.index(last_chunk);
            prop_assert!(decode(vec![Bytes::copy_from_slice(&encoded[..end])]).is_err());
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for body in ["xyz\r\n", "3\r\nabcd\r\n0\r\n\r\n", "0\r\n\r\nmore"] {
            assert!(
                decode(vec![Bytes::from_static(body.as_bytes())]).is_err(),
                "{body:?}"
            );
        }
    }
}
