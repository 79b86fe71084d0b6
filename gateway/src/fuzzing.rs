//! What others send, as bytes: every decoder that reads them before it is known who sent them, in one
//! function. Fuzzed by `gateway/fuzz`; the corpus that this found is read in every run of the tests.

use bytes::BytesMut;

use crate::body;
use crate::call::{Reply, Request};
use crate::wire::handshake::Hello;
use crate::wire::header::Header;

/// Reads `data` as what its first byte says. Whatever it is, it is read or refused: a panic is a fault.
pub fn decode(data: &[u8]) {
    let Some((kind, rest)) = data.split_first() else {
        return;
    };
    match kind % 5 {
        0 => {
            if let Ok(header) = Header::decode(rest) {
                // What was read is written as something that reads the same.
                let again = header.encode().and_then(|bytes| Header::decode(&bytes));
                assert!(again.is_ok_and(|again| again == header));
            }
        }
        1 => {
            if let Ok(Some(piece)) = body::read(BytesMut::from(rest)) {
                assert!(piece.len() <= body::MOST.max(rest.len()));
            }
        }
        2 => {
            if let Ok(request) = serde_json::from_slice::<Request>(rest) {
                for target in request.ends.iter().flat_map(|end| &end.targets) {
                    let _ = request.call.clone().at(target).lens();
                }
            }
        }
        3 => {
            if let Ok(replies) = serde_json::from_slice::<Vec<Reply>>(rest) {
                let _: Vec<u64> = replies.iter().map(|reply| reply.written(&[1, 2])).collect();
            }
        }
        _ => drop(postcard::from_bytes::<Hello>(rest)),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use proptest::prelude::*;

    use super::*;
    use crate::GatewayId;
    use crate::wire::header::{Cipher, SegmentHead, StreamId, Way};
    use crate::wire::tree::Tree;

    fn corpus() -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/decode")
    }

    #[test]
    fn the_corpus_is_read_or_refused() {
        let mut count = 0;
        for entry in std::fs::read_dir(corpus()).unwrap() {
            decode(&std::fs::read(entry.unwrap().path()).unwrap());
            count += 1;
        }
        assert!(count >= 5, "{count} inputs");
    }

    proptest! {
        /// What is right but for some bytes gets further than chance does.
        #[test]
        fn damaged_headers_are_read_or_refused(
            at in 0_usize..200, byte in any::<u8>(), hops in 0_usize..9
        ) {
            let hops: Vec<_> = (0..hops).map(|n| GatewayId([n as u8; 16])).collect();
            let head = SegmentHead {
                tree: Tree::along(&hops),
                stream: StreamId { from: GatewayId([7; 16]), number: 300 },
                way: Way::Request,
                cipher: Cipher::Aes256Gcm,
                index: 1,
                last: false,
                len: 1_000,
            };
            let mut bytes = Header::Segment(head).encode().unwrap();
            let at = at % bytes.len();
            bytes[at] = byte;
            bytes.insert(0, 0);
            decode(&bytes);
        }
    }
}
