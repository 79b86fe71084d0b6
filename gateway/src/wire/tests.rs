//! Connections as a whole: members agree, strangers and forgeries get nothing.

use bytes::BytesMut;
use proptest::prelude::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

use super::fault::WireError;
use super::frame::FrameReader;
use super::handshake::{Agreed, Hello, Member};
use super::header::{Cipher, Header, SegmentHead, StreamId, Way};
use super::tree::Tree;
use super::{SEGMENT, TAG};
use crate::GatewayId;
use crate::secret::MembershipSecret;

fn member(secret: &MembershipSecret) -> Member {
    let hello = Hello {
        gateway: GatewayId::generate(),
        credit: 4 << 20,
    };
    Member::new(secret.clone(), "dataplane".to_owned(), hello)
}

type Made = (Result<Agreed, WireError>, Result<Agreed, WireError>);

/// A handshake; whoever gives up closes its end.
async fn shake(connects: &Member, accepts: &Member) -> Made {
    let (mut near, mut far) = duplex(4_096);
    tokio::join!(
        async move { connects.connect(&mut near).await },
        async move { accepts.accept(&mut far).await }
    )
}

async fn pair() -> (Agreed, Agreed) {
    let secret = MembershipSecret::generate();
    let (near, far) = shake(&member(&secret), &member(&secret)).await;
    (near.unwrap(), far.unwrap())
}

fn segment(len: usize) -> (Header, Vec<u8>) {
    let head = SegmentHead {
        tree: Tree::along(&[GatewayId::generate()]),
        stream: StreamId {
            from: GatewayId::generate(),
            number: 1,
        },
        way: Way::Request,
        cipher: Cipher::Aes256Gcm,
        index: 3,
        last: false,
        len: len as u32,
    };
    (Header::Segment(head), vec![7; len])
}

/// What a side sends, as bytes: one slice a frame.
async fn sent(by: &Agreed, frames: &[(Header, Vec<u8>)]) -> Vec<Vec<u8>> {
    let (end, mut other) = duplex(4 << 20);
    let (_, mut writer) = by.frames(tokio::io::empty(), end);
    let mut all = Vec::new();
    for (header, payload) in frames {
        writer.write(header, payload).await.unwrap();
        let mut bytes = vec![0; 2];
        other.read_exact(&mut bytes).await.unwrap();
        let rest = usize::from(bytes[0]) * 256 + usize::from(bytes[1]) + payload.len();
        let mut rest = vec![0; rest];
        other.read_exact(&mut rest).await.unwrap();
        bytes.extend(rest);
        all.push(bytes);
    }
    all
}

/// What the other side makes of bytes.
async fn read(by: &Agreed, bytes: &[u8]) -> Result<Vec<(Header, BytesMut)>, WireError> {
    let (mut reader, _) = by.frames(bytes, tokio::io::sink());
    let mut frames = Vec::new();
    while let Some(frame) = reader.read().await? {
        frames.push(frame);
    }
    Ok(frames)
}

#[tokio::test]
async fn members_agree_and_hear_each_other() {
    let secret = MembershipSecret::generate();
    let (connects, accepts) = (member(&secret), member(&secret));
    let (near, far) = shake(&connects, &accepts).await;
    let (near, far) = (near.unwrap(), far.unwrap());
    assert_eq!((near.peer, far.peer), (accepts.hello, connects.hello));
    let frames = [
        segment(0),
        segment(SEGMENT + TAG),
        (Header::Credit(5), Vec::new()),
        (Header::Bye, Vec::new()),
    ];
    for (from, to) in [(&near, &far), (&far, &near)] {
        let bytes = sent(from, &frames).await.concat();
        let found = read(to, &bytes).await.unwrap();
        let found: Vec<_> = found.into_iter().map(|(h, p)| (h, p.to_vec())).collect();
        assert!(found == frames);
        // Nobody else, nor the sender itself.
        assert!(matches!(read(from, &bytes).await, Err(WireError::Header)));
        assert!(matches!(
            read(&pair().await.0, &bytes).await,
            Err(WireError::Header)
        ));
    }
}

#[tokio::test]
async fn strangers_are_refused() {
    let (ours, theirs) = (MembershipSecret::generate(), MembershipSecret::generate());
    let mut elsewhere = member(&ours);
    elsewhere.dataplane = "another".to_owned();
    // Somebody stands between, and speaks TLS with both.
    let between = member(&ours).bound(b"one connection");
    for stranger in [member(&theirs), elsewhere, between] {
        for (connects, accepts) in [(&stranger, &member(&ours)), (&member(&ours), &stranger)] {
            let (near, far) = shake(connects, accepts).await;
            assert!(matches!(far, Err(WireError::NoMember)));
            assert!(matches!(near, Err(WireError::Io(_))));
        }
    }
}

#[tokio::test]
async fn both_ends_of_an_encrypted_connection_agree() {
    let ours = MembershipSecret::generate();
    let [near, far] = [(); 2].map(|()| member(&ours).bound(b"one connection"));
    let (near_agreed, far_agreed) = shake(&near, &far).await;
    assert!(near_agreed.is_ok() && far_agreed.is_ok());
    let (near_agreed, far_agreed) = shake(&near, &far.bound(b"another")).await;
    assert!(near_agreed.is_err() && far_agreed.is_err());
}

async fn accept(bytes: &[u8]) -> (Result<Agreed, WireError>, Vec<u8>) {
    let (mut near, mut far): (DuplexStream, DuplexStream) = duplex(4_096);
    near.write_all(bytes).await.unwrap();
    let accepts = member(&MembershipSecret::generate());
    near.shutdown().await.unwrap();
    let made = accepts.accept(&mut far).await;
    drop(far);
    let mut answer = Vec::new();
    near.read_to_end(&mut answer).await.unwrap();
    (made, answer)
}

#[tokio::test]
async fn whoever_is_no_gateway_hears_nothing() {
    for text in ["GET / HTTP/1.1\r\n\r\n", "SSH-2.0-x\r\n", "SKYHAUX\x01"] {
        let (made, answer) = accept(text.as_bytes()).await;
        assert!(
            matches!(made, Err(WireError::NoGateway)),
            "{text}: {made:?}"
        );
        assert!(answer.is_empty());
    }
    let (made, answer) = accept(b"SKYHAUL\x02").await;
    assert!(matches!(made, Err(WireError::Version(2))));
    assert_eq!(answer, b"SKYHAUL\x01");
    let (made, answer) = accept(b"SKYHAUL\x01\xff\xff").await;
    assert!(matches!(made, Err(WireError::Malformed(_))) && answer.is_empty());
    let (made, _) = accept(b"SKYHAUL\x01\x00\x30short").await;
    assert!(matches!(made, Err(WireError::Io(_))));
    let forged = [&b"SKYHAUL\x01\x00\x60"[..], &[9; 0x60]].concat();
    let (made, answer) = accept(&forged).await;
    assert!(matches!(made, Err(WireError::NoMember)) && answer.is_empty());
}

#[tokio::test(start_paused = true)]
async fn whoever_says_nothing_is_let_go() {
    let (_near, mut far) = duplex(64);
    let made = member(&MembershipSecret::generate()).accept(&mut far).await;
    assert!(matches!(made, Err(WireError::TooSlow)));
    let (mut near, _far) = duplex(4_096);
    let made = member(&MembershipSecret::generate())
        .connect(&mut near)
        .await;
    assert!(matches!(made, Err(WireError::TooSlow)));
}

#[tokio::test]
async fn a_captured_connection_says_nothing_to_another() {
    let secret = MembershipSecret::generate();
    let (connects, accepts) = (member(&secret), member(&secret));
    // What the one that connects sends, kept.
    let (mut near, mut middle) = duplex(4_096);
    let (mut relay, mut far) = duplex(4_096);
    let captured = async {
        let mut first = [0; 1_024];
        let len = middle.read(&mut first).await.unwrap();
        relay.write_all(&first[..len]).await.unwrap();
        let mut answer = [0; 1_024];
        let back = relay.read(&mut answer).await.unwrap();
        middle.write_all(&answer[..back]).await.unwrap();
        let mut confirmed = [0; 1_024];
        let more = middle.read(&mut confirmed).await.unwrap();
        relay.write_all(&confirmed[..more]).await.unwrap();
        [&first[..len], &confirmed[..more]].concat()
    };
    let (near, far, captured) = tokio::join!(
        connects.connect(&mut near),
        accepts.accept(&mut far),
        captured
    );
    near.unwrap();
    far.unwrap();
    // The same again: it looks like a member until it should know the new keys.
    let (mut again, mut end) = duplex(8_192);
    again.write_all(&captured).await.unwrap();
    let made = accepts.accept(&mut end).await;
    assert!(matches!(made, Err(WireError::Header)));
}

#[tokio::test]
async fn frames_are_neither_left_out_nor_repeated_nor_changed() {
    let (near, far) = pair().await;
    let frames = [segment(100), (Header::Ping(1), Vec::new()), segment(20)];
    let sent = sent(&near, &frames).await;
    let [a, b, c] = &sent[..] else { unreachable!() };
    assert_eq!(read(&far, &sent.concat()).await.unwrap().len(), 3);
    for wrong in [
        [&b[..], c].concat(),
        [&a[..], c].concat(),
        [&a[..], a].concat(),
        [&a[..], c, b].concat(),
    ] {
        assert!(matches!(read(&far, &wrong).await, Err(WireError::Header)));
    }
    let whole = sent.concat();
    let header = a.len() - 100;
    for at in 2..header {
        let mut flipped = whole.clone();
        flipped[at] ^= 1;
        assert!(
            matches!(read(&far, &flipped).await, Err(WireError::Header)),
            "{at}"
        );
    }
    for len in 0..whole.len() {
        let is_between = [0, a.len(), a.len() + b.len()].contains(&len);
        assert_eq!(read(&far, &whole[..len]).await.is_ok(), is_between, "{len}");
    }
    for len in [0_u16, 15, 529, u16::MAX] {
        let mut odd = whole.clone();
        odd[..2].copy_from_slice(&len.to_be_bytes());
        assert!(
            matches!(read(&far, &odd).await, Err(WireError::Malformed(_))),
            "{len}"
        );
    }
}

#[tokio::test]
async fn a_header_that_lies_about_its_length_is_not_sent() {
    let (near, _) = pair().await;
    let (_, mut writer) = near.frames(tokio::io::empty(), tokio::io::sink());
    let (header, payload) = segment(10);
    let written = writer.write(&header, &payload[1..]).await;
    assert!(matches!(written, Err(WireError::Malformed(_))));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_bytes_end_in_an_error(
        bytes in prop::collection::vec(any::<u8>(), 0..2_000),
        start in 0..600_usize,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (near, far) = pair().await;
            let good = sent(&near, &[segment(300)]).await.concat();
            let mixed = [&good[..start.min(good.len())], &bytes].concat();
            let read = read(&far, &mixed).await;
            if let Ok(frames) = read {
                // Only what was sent, if it was left alone.
                assert!(frames.len() <= 1);
            }
            let (made, _) = accept(&[&b"SKYHAUL\x01"[..], &bytes[..bytes.len().min(1_000)]].concat()).await;
            assert!(made.is_err());
        });
    }
}

#[test]
fn a_reader_is_small_until_it_is_told_more() {
    // What a thousand idle connections cost.
    assert!(size_of::<FrameReader<DuplexStream>>() < 256);
}
