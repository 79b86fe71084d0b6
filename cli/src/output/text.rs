//! Numbers, times and keys as people read them.

use std::path::Path;

use bytesize::ByteSize;
use jiff::Timestamp;
use skyhaul_model::outcome::{Action, Outcome};
use skyhaul_model::spec::Endpoint;
use skyhaul_model::{Location, Scheme};
use skyhaul_state::Progress;

/// `1.5 GiB`.
pub(crate) fn size(bytes: u64) -> String {
    ByteSize(bytes).display().iec().to_string()
}

/// `1.5 GiB/s`.
pub(crate) fn speed(bytes_a_second: f64) -> String {
    format!("{}/s", size(whole(bytes_a_second)))
}

/// `12 objects/s`, with a decimal where it is few.
pub(crate) fn pace(objects_a_second: f64) -> String {
    if objects_a_second < 10.0 {
        format!("{objects_a_second:.1} objects/s")
    } else {
        format!("{objects_a_second:.0} objects/s")
    }
}

/// `1 object`, `2 objects`.
pub(crate) fn objects(count: u64) -> String {
    if count == 1 {
        "1 object".to_owned()
    } else {
        format!("{count} objects")
    }
}

/// `FROM -> TO`, or several.
pub(crate) fn sides(source: &Endpoint, destinations: &[Endpoint]) -> String {
    let targets: Vec<_> = destinations
        .iter()
        .map(|side| side.location.to_string())
        .collect();
    let sides = format!("{} -> {}", source.location, targets.join(", "));
    printable(&sides).into_owned()
}

/// Bytes done of bytes to copy.
pub(crate) fn share(progress: &Progress) -> String {
    let more = if progress.listing_done { "" } else { "+" };
    let (done, total) = (progress.done.bytes, progress.listed.copy_bytes);
    format!("{} of {}{more}", size(done), size(total))
}

/// The same of objects, and what became of the others.
pub(crate) fn counts(progress: &Progress) -> String {
    let more = if progress.listing_done { "" } else { "+" };
    let (done, total) = (progress.done.objects, progress.listed.copy_objects);
    let skipped = progress.listed.skipped;
    let failed = progress.done.failed + progress.listed.failed;
    format!("{done} of {total}{more}, {skipped} skipped, {failed} failed")
}

/// `2h 5m 3s`, or `3.2s`, `0.04s` where it is short.
pub(crate) fn time(seconds: f64) -> String {
    match seconds {
        short if short < 1.0 => return format!("{short:.2}s"),
        short if short < 10.0 => return format!("{short:.1}s"),
        _ => {}
    }
    humantime::format_duration(std::time::Duration::from_secs(whole(seconds))).to_string()
}

#[allow(clippy::cast_sign_loss)] // casts saturate: less than nothing is nothing
fn whole(number: f64) -> u64 {
    number.round() as u64
}

/// `2026-01-31 12:00:00`, in UTC.
pub(crate) fn moment(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// Text that keeps to its line and cannot command a terminal: control characters are escaped.
pub(crate) fn printable(text: &str) -> std::borrow::Cow<'_, str> {
    // Most keys are plain ASCII, and all bytes at once are looked at faster than one by one.
    let is_plain = |plain, byte: &u8| plain & (b' '..0x7f).contains(byte);
    if text.as_bytes().iter().fold(true, is_plain) || !text.contains(char::is_control) {
        return text.into();
    }
    let escape = |c: char| {
        if c.is_control() {
            c.escape_default().to_string()
        } else {
            c.to_string()
        }
    };
    text.chars().map(escape).collect::<String>().into()
}

/// The place of a key in a store.
pub(crate) fn place(root: &Location, key: &str) -> String {
    match root.scheme {
        Scheme::S3 => printable(&root.with_path(key).to_string()).into_owned(),
        Scheme::Local => printable(&Path::new(&root.path).join(key).to_string_lossy()).into_owned(),
    }
}

/// One line of a dry run.
pub(crate) fn planned(outcome: &Outcome, source: &Location, destination: &Location) -> String {
    let to = place(destination, &outcome.destination_key);
    let from = outcome
        .source_key
        .as_deref()
        .map_or_else(|| to.clone(), |key| place(source, key));
    let because = match &outcome.reason {
        Some(reason) => format!(" ({reason})"),
        None => String::new(),
    };
    match outcome.action {
        Action::Copied => format!("copy {from} -> {to} ({} B)", outcome.size),
        Action::Skipped => format!("skip {from}{because}"),
        Action::Deleted => format!("delete {to}"),
        Action::Failed => {
            let why = outcome
                .error
                .as_ref()
                .map_or("", |error| error.message.as_str());
            format!("refuse {from}: {}", printable(why))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(action: Action, source: Option<&str>, destination: &str) -> Outcome {
        Outcome {
            action,
            source_key: source.map(str::to_owned),
            destination_key: destination.to_owned(),
            destination: 0,
            size: 123,
            checksum: None,
            verified: None,
            etag: None,
            version: None,
            attempts: 0,
            server_side: false,
            reason: None,
            error: None,
        }
    }

    #[test]
    fn a_dry_run_says_it_in_a_line() {
        let s3: Location = "s3://b/p/".parse().unwrap();
        let disk: Location = "/data".parse().unwrap();
        let line = |action, source, key| planned(&outcome(action, source, key), &s3, &disk);
        assert_eq!(
            line(Action::Copied, Some("p//x"), "y/z"),
            "copy s3://b/p//x -> /data/y/z (123 B)"
        );
        assert_eq!(line(Action::Skipped, Some("p/x"), "x"), "skip s3://b/p/x");
        assert_eq!(line(Action::Deleted, None, "a\nb"), "delete /data/a\\nb");
    }

    #[test]
    fn numbers_read_well() {
        assert_eq!(size(3 << 29), "1.5 GiB");
        assert_eq!(speed(-1.0), "0 B/s");
        assert_eq!(
            (objects(1), objects(0)),
            ("1 object".to_owned(), "0 objects".to_owned())
        );
        assert_eq!(
            [time(0.041), time(3.21), time(125.4)],
            ["0.04s", "3.2s", "2m 5s"]
        );
        assert_eq!(moment(Timestamp::UNIX_EPOCH), "1970-01-01 00:00:00");
        assert_eq!(printable("a\u{1b}[2J"), "a\\u{1b}[2J");
    }
}
