//! Taking in a request's body: decoded, counted, checked, dropped.

use bytes::Bytes;
use crc_fast::{CrcAlgorithm, Digest};
use http::{HeaderMap, header};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;

use crate::checksum::{self, Algorithm, Checksum, Verifier};
use crate::chunked::Decoder;
use crate::error::S3Error;
use crate::server::Server;
use crate::sink::{Part, content_md5, single_etag};

/// Longest XML request body, in bytes: 10,000 parts with checksums fit.
const MAX_XML: usize = 4 << 20;

fn is_aws_chunked(headers: &HeaderMap) -> bool {
    let holds = |name: &str, what: &str| {
        headers
            .get(name)
            .and_then(|v| v.to_str().ok())
            .is_some_and(|v| v.contains(what))
    };
    holds("x-amz-content-sha256", "STREAMING-")
        || holds(header::CONTENT_ENCODING.as_str(), "aws-chunked")
}

/// Calls `sink` with the payload; returns the trailers.
async fn payload(
    headers: &HeaderMap,
    mut body: Incoming,
    mut sink: impl FnMut(&Bytes),
) -> Result<Vec<(String, String)>, S3Error> {
    let mut decoder = is_aws_chunked(headers).then(Decoder::new);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|e| S3Error::incomplete(format!("body broke off: {e}")))?;
        let Ok(mut data) = frame.into_data() else {
            continue;
        };
        match &mut decoder {
            None => sink(&data),
            Some(decoder) => {
                while let Some(piece) = decoder.next(&mut data)? {
                    sink(&piece);
                }
            }
        }
    }
    decoder.map_or(Ok(Vec::new()), Decoder::finish)
}

/// Takes in a body and drops it; what is left is its description.
pub(crate) async fn discard(
    server: &Server,
    headers: &HeaderMap,
    body: Incoming,
) -> Result<Part, S3Error> {
    let md5 = content_md5(headers)?;
    let mut verifier = server.verify_checksums.then(|| Verifier::new(headers));
    let mut crc = server.verify.then(|| Digest::new(CrcAlgorithm::Crc64Nvme));
    let mut size = 0;
    let trailers = payload(headers, body, |data| {
        size += data.len() as u64;
        server.stats.received(data.len() as u64);
        if let Some(verifier) = &mut verifier {
            verifier.update(data);
        }
        if let Some(crc) = &mut crc {
            crc.update(data);
        }
    })
    .await?;
    let announced = headers
        .get("x-amz-decoded-content-length")
        .and_then(|v| v.to_str().ok());
    if let Some(announced) = announced
        && announced.parse() != Ok(size)
    {
        return Err(S3Error::incomplete(format!(
            "{size} bytes came, {announced} were announced"
        )));
    }
    let checksum = checksum::from_headers(headers).or_else(|| {
        trailers.into_iter().find_map(|(name, value)| {
            Some(Checksum {
                algorithm: Algorithm::of_header(&name)?,
                value,
            })
        })
    });
    if let Some(verifier) = verifier {
        verifier.finish(checksum.as_ref(), md5)?;
    }
    Ok(Part {
        size,
        etag: single_etag(md5, server.next_id()),
        md5,
        checksum,
        crc: crc.map(|d| d.finalize()),
        modified: now(),
    })
}

/// Takes in a short XML body.
pub(crate) async fn xml(headers: &HeaderMap, body: Incoming) -> Result<String, S3Error> {
    let mut bytes = Vec::new();
    payload(headers, body, |data| {
        // One byte more than allowed is enough to refuse it below.
        let room = (MAX_XML + 1).saturating_sub(bytes.len());
        bytes.extend_from_slice(&data[..data.len().min(room)]);
    })
    .await?;
    if bytes.len() > MAX_XML {
        return Err(S3Error::malformed_xml(format!(
            "longer than {MAX_XML} bytes"
        )));
    }
    String::from_utf8(bytes).map_err(|_| S3Error::malformed_xml("not UTF-8"))
}

/// Now, in Unix seconds.
pub(crate) fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}
