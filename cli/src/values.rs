//! Values as users write them: sizes, times, limits, switches. Shared by flags, environment and
//! configuration file, so that a value means the same in all three.

use std::time::Duration;

use bytesize::ByteSize;
use skyhaul_model::Error;
use skyhaul_model::spec::ChecksumPolicy;

/// A size in bytes: `4096`, `16M` or `16MiB` (binary), `16MB` (decimal).
pub(crate) fn size(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let mut last = text.chars().rev();
    // A lone letter is binary, as with other copying tools; `MB` is decimal, as the standard says.
    let lone = last.next().is_some_and(|unit| "kKmMgGtTpP".contains(unit))
        && last
            .next()
            .is_some_and(|before| before.is_ascii_digit() || before == ' ');
    let full = if lone {
        format!("{text}iB")
    } else {
        text.to_owned()
    };
    full.parse::<ByteSize>()
        .map(|size| size.as_u64())
        .map_err(|_| "not a size: write bytes, or 16M, 1GiB, 500MB".to_owned())
}

/// A size of at least one byte.
pub(crate) fn positive_size(text: &str) -> Result<u64, String> {
    match size(text)? {
        0 => Err("must be more than nothing".to_owned()),
        bytes => Ok(bytes),
    }
}

/// Memory for object data, in bytes.
pub(crate) fn memory(text: &str) -> Result<u64, String> {
    const LEAST: u64 = 16 << 20;
    match size(text)? {
        bytes if bytes < LEAST => Err("at least 16M are needed".to_owned()),
        bytes => Ok(bytes),
    }
}

/// A rate in bytes a second, or `off`.
pub(crate) fn rate(text: &str) -> Result<Option<u64>, String> {
    if text == "off" {
        return Ok(None);
    }
    positive_size(text.strip_suffix("/s").unwrap_or(text)).map(Some)
}

/// A length of time: `90s`, `24h`, `7d`, `1d 12h`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text.trim())
        .map_err(|_| "not a length of time: write 90s, 24h, 7d".to_owned())
}

/// A count from 1 to 1,024: more at once than that only costs memory.
pub(crate) fn parallelism(text: &str) -> Result<u64, String> {
    match text.trim().parse() {
        Ok(count @ 1..=1024) => Ok(count),
        _ => Err("a number from 1 to 1024 is wanted".to_owned()),
    }
}

/// `true`, `yes`, `on`, `1` or their opposites.
pub(crate) fn switch(text: &str) -> Result<bool, String> {
    match text.trim().to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "1" => Ok(true),
        "false" | "no" | "off" | "0" => Ok(false),
        _ => Err("true or false is wanted".to_owned()),
    }
}

/// A checksum policy: `auto`, `none` or an algorithm.
pub(crate) fn checksum(text: &str) -> Result<ChecksumPolicy, String> {
    match text.to_ascii_lowercase().as_str() {
        "auto" => Ok(ChecksumPolicy::Auto),
        "none" => Ok(ChecksumPolicy::Off),
        name => name
            .parse()
            .map(ChecksumPolicy::Always)
            .map_err(|_| "auto, none, crc64nvme, crc32c, crc32, sha1, sha256 or md5".to_owned()),
    }
}

/// What an error of a value says, where the flag is named anyway.
#[allow(clippy::needless_pass_by_value)] // the form that `map_err` asks for
pub(crate) fn message(error: Error) -> String {
    match &error.hint {
        Some(hint) => format!("{} ({hint})", error.message),
        None => error.message.clone(),
    }
}

/// `KEY=VALUE`.
pub(crate) fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("the form is KEY=VALUE, or `off`".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_mean_what_they_say() {
        for (text, bytes) in [
            ("0", 0),
            ("4096", 4096),
            ("16M", 16 << 20),
            ("16 m", 16 << 20),
            ("16MiB", 16 << 20),
            ("16MB", 16_000_000),
            ("1.5G", 3 << 29),
            ("2k", 2048),
        ] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in ["", "M", "16X", "-1", "1 000", "all"] {
            assert!(size(text).is_err(), "{text}");
        }
        assert!(positive_size("0").is_err());
        assert!(memory("15M").is_err());
        assert_eq!(memory("16M"), Ok(16 << 20));
    }

    #[test]
    fn rates_and_times() {
        assert_eq!(rate("50M"), Ok(Some(50 << 20)));
        assert_eq!(rate("50MB/s"), Ok(Some(50_000_000)));
        assert_eq!(rate("off"), Ok(None));
        assert!(rate("0").is_err());
        assert_eq!(duration("7d"), Ok(Duration::from_hours(7 * 24)));
        assert_eq!(duration("24h"), Ok(Duration::from_hours(24)));
        assert!(duration("7").is_err());
        assert!(duration("soon").is_err());
    }

    #[test]
    fn switches_counts_and_checksums() {
        assert_eq!((switch("Yes"), switch("off")), (Ok(true), Ok(false)));
        assert!(switch("maybe").is_err());
        assert!(parallelism("0").is_err() && parallelism("1025").is_err());
        assert_eq!(parallelism("64"), Ok(64));
        assert_eq!(checksum("none"), Ok(ChecksumPolicy::Off));
        assert_eq!(checksum("auto"), Ok(ChecksumPolicy::Auto));
        assert!(matches!(checksum("SHA-256"), Ok(ChecksumPolicy::Always(_))));
        assert!(checksum("crc16").is_err());
        assert_eq!(pair("a=b=c"), Ok(("a".to_owned(), "b=c".to_owned())));
        assert!(pair("=b").is_err() && pair("b").is_err());
    }
}
