//! The end of a run, for people.

use std::fmt::Write as _;

use skyhaul_state::TransferStatus;
use skyhaul_workflow::Summary;

use super::text;

/// A few lines.
pub(crate) fn lines(summary: &Summary) -> String {
    let numbers = &summary.progress;
    let seconds = summary.elapsed.as_secs_f64();
    let moved = numbers.bytes_done.saturating_sub(numbers.bytes_resumed);
    let a_second = |count: f64| if seconds > 0.0 { count / seconds } else { 0.0 };
    let head = match (summary.transfer.is_some(), summary.status) {
        (false, _) => "dry run",
        (_, _) if summary.verification_failed => "verification failed",
        (_, TransferStatus::Succeeded) => "done",
        (_, TransferStatus::Incomplete) => "incomplete",
        (_, TransferStatus::Failed) => "failed",
        (_, TransferStatus::Cancelled) => "cancelled",
        (_, TransferStatus::Running) => "interrupted",
    };
    let mut out = String::new();
    // Writing to a String cannot fail.
    if summary.transfer.is_none() {
        let _ = writeln!(
            out,
            "{head}: {}, {} would be copied; {} skipped, {} deleted, {} refused",
            text::objects(numbers.objects_total),
            text::size(numbers.bytes_total),
            numbers.skipped,
            numbers.deleted,
            numbers.failed,
        );
        return out;
    }
    let _ = writeln!(
        out,
        "{head}: {}, {} copied in {} ({}, {})",
        text::objects(numbers.objects_done),
        text::size(numbers.bytes_done),
        text::time(seconds),
        text::speed(a_second(moved as f64)),
        text::pace(a_second(numbers.objects_done as f64)),
    );
    let _ = writeln!(
        out,
        "      {} skipped, {} deleted, {} failed, {} retries",
        numbers.skipped, numbers.deleted, numbers.failed, summary.retries,
    );
    if numbers.bytes_resumed > 0 {
        let resumed = text::size(numbers.bytes_resumed);
        let _ = writeln!(out, "      {resumed} of this was copied by earlier runs");
    }
    if numbers.objects_done > 0 {
        let _ = writeln!(
            out,
            "      verified by the source's checksum {}, by the destination's {}",
            summary.source_verified, summary.transport_verified,
        );
    }
    if let Some(sent) = &summary.sent {
        let _ = writeln!(
            out,
            "      {} went over the network as {} ({:.0} % saved)",
            text::size(sent.logical),
            text::size(sent.wire),
            sent.saved(),
        );
    }
    for note in &summary.notes {
        let _ = writeln!(out, "note: {}", text::printable(note));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use skyhaul_model::TransferId;
    use skyhaul_workflow::summary::ProgressEvent;

    #[test]
    fn says_what_was_done() {
        let mut summary = Summary {
            transfer: Some(TransferId::generate()),
            resumed: true,
            status: TransferStatus::Incomplete,
            progress: ProgressEvent {
                objects_done: 3,
                bytes_done: 3 << 20,
                bytes_resumed: 1 << 20,
                skipped: 1,
                failed: 2,
                ..ProgressEvent::default()
            },
            retries: 4,
            source_verified: 2,
            transport_verified: 1,
            elapsed: std::time::Duration::from_secs(2),
            failures: Vec::new(),
            verification_failed: false,
            sent: None,
            notes: vec!["tags were left out".to_owned()],
        };
        assert_eq!(
            lines(&summary),
            "incomplete: 3 objects, 3.0 MiB copied in 2.0s (1.0 MiB/s, 1.5 objects/s)\n      \
             1 skipped, 0 deleted, 2 failed, 4 retries\n      \
             1.0 MiB of this was copied by earlier runs\n      \
             verified by the source's checksum 2, by the destination's 1\n\
             note: tags were left out\n"
        );
        summary.verification_failed = true;
        assert!(lines(&summary).starts_with("verification failed: "));
        summary.transfer = None;
        assert!(lines(&summary).starts_with("dry run: 0 objects"));
    }
}
