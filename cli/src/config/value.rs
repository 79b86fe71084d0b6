//! One configuration value and the kinds there are.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use skyhaul_model::spec::ChecksumPolicy;

use crate::values;

/// What a key takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// true or false.
    Switch,
    /// A number of things at the same time.
    Parallelism,
    /// Minutes, up to a week.
    Minutes,
    /// A size in MiB, without a unit: the seed's `..._mb` keys.
    Mebibytes,
    /// A size with a unit.
    Memory,
    /// Bytes a second, or `off`.
    Rate,
    /// A length of time.
    Time,
    /// A checksum policy.
    Checksum,
    /// A folder.
    Folder,
    /// A name at a service; may be empty.
    Name,
}

/// One value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    /// [`Kind::Switch`].
    Switch(bool),
    /// [`Kind::Parallelism`], [`Kind::Minutes`].
    Count(u64),
    /// [`Kind::Mebibytes`], in bytes.
    Mebibytes(u64),
    /// [`Kind::Memory`], in bytes.
    Bytes(u64),
    /// [`Kind::Rate`], in bytes a second.
    Rate(Option<u64>),
    /// [`Kind::Time`].
    Time(Duration),
    /// [`Kind::Checksum`].
    Checksum(ChecksumPolicy),
    /// [`Kind::Folder`]; empty is the platform's own.
    Folder(PathBuf),
    /// [`Kind::Name`]; empty is none.
    Name(String),
}

impl Kind {
    /// The value that this text means.
    pub(crate) fn parse(self, text: &str) -> Result<Value, String> {
        Ok(match self {
            Self::Switch => Value::Switch(values::switch(text)?),
            Self::Parallelism => Value::Count(values::parallelism(text)?),
            Self::Minutes => match text.trim().parse::<u64>() {
                Ok(count @ 1..=10_080) => Value::Count(count),
                _ => return Err("a number of minutes from 1 to 10080 is wanted".to_owned()),
            },
            Self::Mebibytes => match text.trim().parse::<u64>() {
                Ok(count @ 1..=5120) => Value::Mebibytes(count << 20),
                _ => return Err("a number of MiB from 1 to 5120 is wanted".to_owned()),
            },
            Self::Memory => Value::Bytes(values::memory(text)?),
            Self::Rate => Value::Rate(values::rate(text)?),
            Self::Time => Value::Time(values::duration(text)?),
            Self::Checksum => Value::Checksum(values::checksum(text)?),
            Self::Folder => Value::Folder(PathBuf::from(text)),
            Self::Name => Value::Name(text.trim().to_owned()),
        })
    }

    /// The value in a TOML file: of its natural type, or as text.
    pub(crate) fn parse_toml(self, item: &toml_edit::Value) -> Result<Value, String> {
        match item {
            toml_edit::Value::String(text) => self.parse(text.value()),
            toml_edit::Value::Integer(number) => self.parse(&number.value().to_string()),
            toml_edit::Value::Boolean(switch) => self.parse(&switch.value().to_string()),
            _ => Err("text, a number or true/false is wanted".to_owned()),
        }
    }
}

impl Value {
    /// As it is written to a file: of its natural TOML type.
    pub(crate) fn to_toml(&self) -> toml_edit::Value {
        match self {
            Self::Switch(on) => (*on).into(),
            Self::Count(count) => i64::try_from(*count).unwrap_or(i64::MAX).into(),
            Self::Mebibytes(bytes) => i64::try_from(bytes >> 20).unwrap_or(i64::MAX).into(),
            _ => self.to_string().into(),
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Switch(on) => write!(f, "{on}"),
            Self::Count(count) => write!(f, "{count}"),
            Self::Mebibytes(bytes) => write!(f, "{}", bytes >> 20),
            Self::Bytes(bytes) | Self::Rate(Some(bytes)) => f.write_str(&exact(*bytes)),
            Self::Rate(None) => f.write_str("off"),
            Self::Time(time) => write!(f, "{}", humantime::format_duration(*time)),
            Self::Checksum(ChecksumPolicy::Auto) => f.write_str("auto"),
            Self::Checksum(ChecksumPolicy::Off) => f.write_str("none"),
            Self::Checksum(ChecksumPolicy::Always(algorithm)) => write!(f, "{algorithm}"),
            Self::Folder(path) => write!(f, "{}", path.display()),
            Self::Name(name) => f.write_str(name),
        }
    }
}

/// The shortest text that means exactly this many bytes.
fn exact(bytes: u64) -> String {
    [(30, "GiB"), (20, "MiB"), (10, "KiB")]
        .into_iter()
        .find(|(shift, _)| bytes > 0 && bytes.is_multiple_of(1 << shift))
        .map_or_else(
            || bytes.to_string(),
            |(shift, unit)| format!("{}{unit}", bytes >> shift),
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        for (kind, text) in [
            (Kind::Switch, "true"),
            (Kind::Parallelism, "7"),
            (Kind::Minutes, "10080"),
            (Kind::Mebibytes, "16"),
            (Kind::Memory, "512MiB"),
            (Kind::Memory, "16777217"),
            (Kind::Rate, "off"),
            (Kind::Rate, "1GiB"),
            (Kind::Time, "7days"),
            (Kind::Checksum, "crc32c"),
            (Kind::Checksum, "none"),
            (Kind::Folder, "/var/lib/x"),
            (Kind::Name, "nightly"),
        ] {
            let value = kind.parse(text).unwrap();
            assert_eq!(value.to_string(), text);
            assert_eq!(kind.parse_toml(&value.to_toml()), Ok(value));
        }
        assert!(Kind::Mebibytes.parse("16M").is_err());
        assert!(
            Kind::Switch
                .parse_toml(&toml_edit::Array::new().into())
                .is_err()
        );
    }
}
