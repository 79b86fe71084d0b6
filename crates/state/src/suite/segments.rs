//! What every place of segments must do, asked of any. A check stops by panicking.
#![allow(clippy::missing_panics_doc)]

use jiff::Timestamp;
use skyhaul_model::outcome::{Action, Outcome, PartReceipt, ReceiptRecord};
use skyhaul_model::segment::{Chunk, ObjectTask, SEGMENT_VERSION, Segment};
use skyhaul_model::{Error, ErrorKind, Pin, Result};

use crate::segments::write;
use crate::{SegmentKind, SegmentStore};

/// Keys that say whether lines are kept apart.
const KEYS: [&str; 3] = ["a", "b\nc", ""];

fn outcome(number: u32) -> Outcome {
    Outcome {
        action: Action::Skipped,
        source_key: Some(format!("from/ä\n\"{number}")),
        destination_key: format!("to/ä\n\"{number}"),
        destination: 0,
        size: u64::MAX - u64::from(number),
        checksum: None,
        verified: None,
        etag: Some("e".to_owned()),
        version: None,
        attempts: 1,
        server_side: false,
        reason: None,
        error: None,
    }
}

fn manifest(objects: u32) -> Segment {
    let task = |number: u32| ObjectTask {
        source_key: format!("s/{number}"),
        destination_key: format!("d/{number}"),
        size: 1,
        pin: Pin {
            etag: Some("e".to_owned()),
            ..Pin::default()
        },
        mtime: Timestamp::UNIX_EPOCH,
        storage_class: None,
        part_size: None,
        reason: None,
        attempt: 1,
    };
    Segment {
        version: SEGMENT_VERSION,
        objects: (0..objects).map(task).collect(),
        chunks: vec![Chunk::Bundle {
            first: 0,
            count: objects,
        }],
    }
}

/// All checks, one after the other.
pub async fn check(place: &dyn SegmentStore) -> Result<()> {
    what_is_written_is_read(place).await?;
    damage_is_told_and_never_read_as_less(place).await?;
    pointers_lead_to_their_kind_and_nowhere_else(place).await?;
    what_two_keep_at_one_pointer_is_one_of_them(place).await?;
    a_manifest_is_checked_before_it_is_used(place).await
}

/// Records of every kind come back as they were, none and many of them.
pub async fn what_is_written_is_read(place: &dyn SegmentStore) -> Result<()> {
    let written = manifest(700);
    let pointer = place.write_manifest(&written).await?;
    assert_eq!(place.read_manifest(&pointer).await?, written);

    let receipts = vec![
        ReceiptRecord::Object(outcome(1)),
        ReceiptRecord::Part {
            destination_key: "k".to_owned(),
            destination: 0,
            attempt: 2,
            receipt: PartReceipt {
                number: 3,
                size: 4,
                etag: None,
                checksum: None,
                verified: true,
            },
        },
    ];
    let pointer = place.write_receipts(&receipts).await?;
    assert_eq!(place.read_receipts(&pointer).await?, receipts);

    let outcomes: Vec<_> = (0..1000).map(outcome).collect();
    let pointer = place.write_outcomes(&outcomes).await?;
    assert_eq!(place.read_outcomes(&pointer).await?, outcomes);

    let keys = KEYS.map(ToOwned::to_owned);
    let pointer = place.write_deletes(&keys).await?;
    assert_eq!(place.read_deletes(&pointer).await?, keys);
    let none = place.write_deletes(&[]).await?;
    assert!(none != pointer && place.read_deletes(&none).await?.is_empty());
    Ok(())
}

/// Bytes that are cut off, changed anywhere or too many are told, with the segment's full name.
pub async fn damage_is_told_and_never_read_as_less(place: &dyn SegmentStore) -> Result<()> {
    let keys: Vec<_> = (0..12).map(|number| format!("key-{number}")).collect();
    let pointer = place.write_deletes(&keys).await?;
    let whole = place.get(SegmentKind::Deletes, &pointer).await?;
    let cut = (0..whole.len()).map(|length| whole[..length].to_vec());
    let flipped = (0..whole.len()).map(|index| {
        let mut bytes = whole.clone();
        bytes[index] ^= 0x10;
        bytes
    });
    let longer = [whole.as_slice(), &[0]].concat();
    let damaged: Vec<_> = cut.chain(flipped).chain([longer]).collect();
    let (mut told, total) = (0, damaged.len());
    for bytes in damaged {
        let length = bytes.len();
        let pointer = place.put(SegmentKind::Deletes, bytes).await?;
        match place.read_deletes(&pointer).await {
            // A frame has a few bits that change nothing.
            Ok(read) => assert_eq!(read, keys, "{length} of {} bytes", whole.len()),
            Err(error) => {
                told += 1;
                is_corrupt(&error, &place.full_name(&pointer));
            }
        }
    }
    assert!(told + 4 >= total, "{told} of {total} damages were told");
    assert_eq!(place.read_deletes(&pointer).await?, keys);
    Ok(())
}

fn is_corrupt(error: &Error, named: &str) {
    assert_eq!(
        (error.kind, error.retryable),
        (ErrorKind::Corrupt, false),
        "{error}"
    );
    assert!(error.to_string().contains(named), "{error}");
}

/// A pointer comes from a row, which may be wrong.
pub async fn pointers_lead_to_their_kind_and_nowhere_else(place: &dyn SegmentStore) -> Result<()> {
    let outcomes = place.write_outcomes(&[outcome(1)]).await?;
    for pointer in [
        outcomes.as_str(),
        "",
        "deletes",
        "deletes/",
        "deletes/..",
        "deletes/../../../secret",
        "../secret",
        "/etc/hostname",
        "deletes/a/b",
        "deletes/a\0",
        "deletesx",
    ] {
        let Err(error) = place.read_deletes(pointer).await else {
            panic!("{pointer:?} was read");
        };
        is_corrupt(&error, pointer);
    }
    // The header names the kind too.
    let bytes = place.get(SegmentKind::Outcomes, &outcomes).await?;
    let moved = place.put(SegmentKind::Deletes, bytes).await?;
    let Err(error) = place.read_deletes(&moved).await else {
        panic!("outcomes were read as deletions");
    };
    is_corrupt(&error, "outcomes");

    let Err(gone) = place.read_deletes("deletes/none.zst").await else {
        panic!("a segment was read that nobody wrote");
    };
    assert_eq!(gone.kind, ErrorKind::NotFound, "{gone}");
    assert!(gone.to_string().contains("--fresh"), "{gone}");
    Ok(())
}

/// A pointer that the caller made leads to what one of those kept who kept something there, and leads
/// nowhere else.
pub async fn what_two_keep_at_one_pointer_is_one_of_them(place: &dyn SegmentStore) -> Result<()> {
    let pointer = format!("outcomes/deleted-{}.zst", ulid::Ulid::generate());
    let both = [vec![outcome(1)], (2..900).map(outcome).collect()];
    let keeping = both
        .each_ref()
        .map(|one| place.keep_outcomes(&pointer, one));
    for kept in futures::future::join_all(keeping).await {
        kept?;
    }
    let read = place.read_outcomes(&pointer).await?;
    assert!(both.contains(&read), "{} records", read.len());
    for wrong in ["deletes/x.zst", "outcomes/../x.zst", "x"] {
        let Err(error) = place.keep_outcomes(wrong, &both[0]).await else {
            panic!("{wrong} was written");
        };
        is_corrupt(&error, wrong);
    }
    Ok(())
}

/// What would have its methods panic is refused.
pub async fn a_manifest_is_checked_before_it_is_used(place: &dyn SegmentStore) -> Result<()> {
    let mut wrong = manifest(3);
    wrong.chunks = vec![Chunk::Bundle { first: 1, count: 3 }];
    let pointer = place.write_manifest(&wrong).await?;
    let read = place.read_manifest(&pointer).await;
    assert!(
        matches!(&read, Err(error) if error.kind == ErrorKind::Invalid),
        "{read:?}"
    );
    let two = [manifest(1), manifest(1)];
    let pointer = write(place, SegmentKind::Manifest, &two).await?;
    let read = place.read_manifest(&pointer).await;
    assert!(
        matches!(&read, Err(error) if error.kind == ErrorKind::Corrupt),
        "{read:?}"
    );
    Ok(())
}
