//! The stages of the way of a byte through two gateways, each alone on one core.

use std::io::{Read as _, Write as _};
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use skyhaul_gateway::secret::DataSecret;
use skyhaul_gateway::wire::header::{Cipher, StreamId};
use skyhaul_gateway::wire::seal::{Direction, Opener, Sealer};
use skyhaul_gateway::{Compress, GatewayId};
use skyhaul_model::Hasher;

use crate::places::{Content, FRAME, POOL};
use crate::{GB, Suite, cpu_now};

/// Bytes of a piece, as a segment has room for.
const PIECE: usize = FRAME - 64;

type Stages = Vec<(&'static str, f64)>;

/// Seconds a GB of what went in.
fn of(seconds: f64) -> f64 {
    seconds * GB / POOL as f64
}

/// Processor time of each stage, in seconds a GB of an object.
pub(crate) fn measure(suite: &Suite, content: Content) -> Stages {
    let pool = content.pool();
    let pieces: Vec<&[u8]> = pool.chunks(PIECE).collect();
    let mut stages = vec![("gather", of(gather(&pieces)))];
    if let Some(algorithm) = suite.algorithm {
        let hash = || {
            let began = Instant::now();
            let mut hasher = Hasher::new(algorithm);
            pool.chunks(FRAME).for_each(|frame| hasher.update(frame));
            std::hint::black_box(hasher.finish());
            began.elapsed().as_secs_f64()
        };
        stages.push(("sums", of(hash() + hash())));
    }
    let (written, compress, read) = compress(suite.compress, &pieces);
    stages.push(("compress", of(compress)));
    stages.push(("decompress", of(read)));
    let (sealed, seal, open) = seal(suite.cipher, &written);
    stages.push(("seal", of(seal)));
    stages.push(("open", of(open)));
    stages.push(("loopback", of(loopback(&sealed))));
    stages
}

/// Frames are gathered to pieces: one copy.
fn gather(pieces: &[&[u8]]) -> f64 {
    let mut plain = BytesMut::with_capacity(PIECE);
    let began = Instant::now();
    for piece in pieces {
        plain.clear();
        plain.extend_from_slice(piece);
        std::hint::black_box(&plain);
    }
    began.elapsed().as_secs_f64()
}

/// What the pieces become, and the seconds of writing and reading them. `auto` is what it comes to on a link
/// that takes all: nothing.
fn compress(compress: Compress, pieces: &[&[u8]]) -> (Vec<Bytes>, f64, f64) {
    let plain = |pieces: &[&[u8]]| {
        pieces
            .iter()
            .map(|piece| Bytes::copy_from_slice(piece))
            .collect()
    };
    let level = 1;
    let write = |piece: &[u8]| match compress {
        Compress::Lz4 => Some(lz4_flex::block::compress(piece)),
        Compress::Zstd => zstd::bulk::compress(piece, level).ok(),
        Compress::None | Compress::Auto => None,
    };
    let is_worth = |short: &Vec<u8>, long: &[u8]| short.len() < long.len() - long.len() / 16;
    let began = Instant::now();
    let mut written = Vec::new();
    let mut resting = 0;
    for piece in pieces {
        if resting > 0 {
            resting -= 1;
            continue;
        }
        match write(piece) {
            Some(short) if is_worth(&short, piece) => written.push(Bytes::from(short)),
            Some(_) => resting = 8,
            None => {}
        }
    }
    let write = began.elapsed().as_secs_f64();
    if written.len() < pieces.len() {
        return (plain(pieces), write, 0.0);
    }
    let began = Instant::now();
    for (short, long) in written.iter().zip(pieces) {
        let mut bytes = vec![0; long.len()];
        if compress == Compress::Lz4 {
            lz4_flex::block::decompress_into(short, &mut bytes).unwrap();
        } else {
            zstd::bulk::decompress_to_buffer(short, &mut bytes).unwrap();
        }
        std::hint::black_box(bytes);
    }
    (written, write, began.elapsed().as_secs_f64())
}

/// Segments as they are on the wire, and the seconds of sealing and opening them.
fn seal(cipher: Cipher, pieces: &[Bytes]) -> (Vec<Bytes>, f64, f64) {
    let secret = DataSecret::generate();
    let stream = StreamId {
        from: GatewayId::generate(),
        number: 0,
    };
    let direction = Direction::request(stream, cipher);
    let mut sealer = Sealer::new(&secret, direction).unwrap();
    let mut segments: Vec<BytesMut> = Vec::new();
    let mut segment = BytesMut::with_capacity(FRAME + 64);
    let mut seal = 0.0;
    for piece in pieces {
        // What is sealed was gathered or compressed in its place, each a stage of its own.
        segment.clear();
        segment.extend_from_slice(piece);
        let began = Instant::now();
        sealer.seal(&mut segment, false).unwrap();
        seal += began.elapsed().as_secs_f64();
        segments.push(segment.clone());
    }
    let on_the_wire = segments
        .iter()
        .map(|segment| segment.clone().freeze())
        .collect();
    let mut opener = Opener::new(&secret, direction).unwrap();
    let began = Instant::now();
    for (index, segment) in (0..).zip(&mut segments) {
        opener.open(index, false, segment).unwrap();
    }
    (on_the_wire, seal, began.elapsed().as_secs_f64())
}

/// Processor time of both ends of a connection, writing and reading.
fn loopback(segments: &[Bytes]) -> f64 {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let at = listener.local_addr().unwrap();
    let began = cpu_now();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut buffer = vec![0; FRAME];
            while stream.read(&mut buffer).unwrap() > 0 {}
        });
        let mut stream = std::net::TcpStream::connect(at).unwrap();
        for segment in segments {
            stream.write_all(segment).unwrap();
        }
    });
    cpu_now() - began
}
