//! The table of configuration keys: the one place for name, default, flag and meaning.
//! `docs/CONFIGURATION.md` is tested against it.

use super::value::{Kind, Value};

/// A key, as code names it. In the order of [`KEYS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Name {
    /// `autoconfirm`
    Autoconfirm,
    /// `verify_checksums`
    VerifyChecksums,
    /// `checksum_algorithm`
    ChecksumAlgorithm,
    /// `multipart_enabled`
    MultipartEnabled,
    /// `multipart_chunk_size_mb`
    MultipartChunkSize,
    /// `multipart_min_threshold_mb`
    MultipartThreshold,
    /// `requester_pays`
    RequesterPays,
    /// `transfers`
    Transfers,
    /// `checkers`
    Checkers,
    /// `max_memory`
    MaxMemory,
    /// `bwlimit`
    Bwlimit,
    /// `stream`
    Stream,
    /// `follow_symlinks`
    FollowSymlinks,
    /// `fsync`
    Fsync,
    /// `keep_partial`
    KeepPartial,
    /// `state_dir`
    StateDir,
    /// `stack`
    Stack,
    /// `stack_region`
    StackRegion,
    /// `stack_profile`
    StackProfile,
    /// `aws_instance_class`
    AwsInstanceClass,
    /// `aws_use_spot_instances`
    AwsUseSpotInstances,
    /// `autoshutdown_minutes`
    AutoshutdownMinutes,
}

/// One key.
#[derive(Debug)]
pub(crate) struct Key {
    /// As code names it.
    pub(crate) id: Name,
    /// As the file names it; in upper case after `SKYHAUL_` as the environment names it.
    pub(crate) name: &'static str,
    /// What it takes.
    pub(crate) kind: Kind,
    /// What it is if nobody says otherwise.
    pub(crate) default: &'static str,
    /// The flag that overrides it.
    pub(crate) flag: &'static str,
    /// One line.
    pub(crate) meaning: &'static str,
}

impl Key {
    /// The environment variable.
    pub(crate) fn variable(&self) -> String {
        format!("SKYHAUL_{}", self.name.to_ascii_uppercase())
    }

    /// The default as a value.
    pub(crate) fn default_value(&self) -> Value {
        // Every default is parsed by a test.
        self.kind
            .parse(self.default)
            .unwrap_or(Value::Switch(false))
    }
}

/// The key of this name in a file.
pub(crate) fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

macro_rules! keys {
    ($($id:ident, $name:literal, $kind:ident, $default:literal, $flag:literal, $meaning:literal;)*) => {
        /// All keys.
        pub(crate) const KEYS: &[Key] = &[$(Key {
            id: Name::$id,
            name: $name,
            kind: Kind::$kind,
            default: $default,
            flag: $flag,
            meaning: $meaning,
        }),*];
    };
}

keys! {
    Autoconfirm, "autoconfirm", Switch, "false", "--yes",
        "Delete in a sync without asking.";
    VerifyChecksums, "verify_checksums", Switch, "true", "--checksum-algorithm",
        "`false` sends and checks no checksums, lengths only.";
    ChecksumAlgorithm, "checksum_algorithm", Checksum, "auto", "--checksum-algorithm",
        "`auto`, `none`, `crc64nvme`, `crc32c`, `crc32`, `sha1`, `sha256` or `md5`.";
    MultipartEnabled, "multipart_enabled", Switch, "true", "--no-multipart",
        "Cut large objects into parts.";
    MultipartChunkSize, "multipart_chunk_size_mb", Mebibytes, "16", "--part-size",
        "Part size in MiB; raised where an object would have too many parts.";
    MultipartThreshold, "multipart_min_threshold_mb", Mebibytes, "32", "--multipart-threshold",
        "Objects of at least this many MiB are cut into parts.";
    RequesterPays, "requester_pays", Switch, "false", "--requester-pays",
        "Agree to pay for requests to requester-pays buckets, on both sides.";
    Transfers, "transfers", Parallelism, "32", "--transfers",
        "Objects and parts moved at the same time.";
    Checkers, "checkers", Parallelism, "32", "--checkers",
        "Listings and stats at the same time.";
    MaxMemory, "max_memory", Memory, "512MiB", "--max-memory",
        "Object data held in memory at most; 16 MiB is the least.";
    Bwlimit, "bwlimit", Rate, "off", "--bwlimit",
        "Bytes a second at most, or `off`.";
    Stream, "stream", Switch, "false", "--stream",
        "Move bytes through this machine even where the service could copy by itself.";
    FollowSymlinks, "follow_symlinks", Switch, "false", "--follow-symlinks",
        "Follow symbolic links in a local source.";
    Fsync, "fsync", Switch, "true", "--fsync",
        "Flush files at a local destination before they are reported as done.";
    KeepPartial, "keep_partial", Time, "7days", "--keep-partial",
        "How long `cleanup` leaves interrupted transfers and their uploads alone.";
    StateDir, "state_dir", Folder, "", "--state-dir",
        "Folder of transfer state and logs; empty is the platform's own.";
    Stack, "stack", Name, "", "--stack",
        "The deployment that carries transfers out; empty is this machine.";
    StackRegion, "stack_region", Name, "", "--stack-region",
        "Its region; empty is what the AWS tools would take.";
    StackProfile, "stack_profile", Name, "", "--stack-profile",
        "The AWS profile to reach it with; empty is what the AWS tools would take.";
    AwsInstanceClass, "aws_instance_class", Name, "", "--instance-type",
        "Types of machines that it asks for, in this order, with commas between; empty is its own choice.";
    AwsUseSpotInstances, "aws_use_spot_instances", Switch, "false", "--spot",
        "Whether its machines are spot machines.";
    AutoshutdownMinutes, "autoshutdown_minutes", Minutes, "15", "--autoshutdown-minutes",
        "How long its machines that are kept are without a transfer before they go.";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_in_order_and_their_defaults_parse() {
        for (place, key) in KEYS.iter().enumerate() {
            assert_eq!(key.id as usize, place, "{}", key.name);
            assert_eq!(
                key.kind.parse(key.default).unwrap().to_string(),
                key.default
            );
            assert_eq!(find(key.name).unwrap().id, key.id);
        }
    }

    #[test]
    fn defaults_are_those_of_the_library() {
        let settings = skyhaul_workflow::Settings::default();
        let parts = skyhaul_model::parts::PartPolicy::default();
        let default = |name: Name| KEYS[name as usize].default_value();
        assert_eq!(
            default(Name::Transfers),
            Value::Count(settings.transfers as u64)
        );
        assert_eq!(
            default(Name::Checkers),
            Value::Count(settings.checkers as u64)
        );
        assert_eq!(default(Name::MaxMemory), Value::Bytes(settings.max_memory));
        assert_eq!(default(Name::Bwlimit), Value::Rate(settings.bwlimit));
        assert_eq!(
            default(Name::KeepPartial),
            Value::Time(settings.keep_partial)
        );
        assert_eq!(
            default(Name::MultipartChunkSize),
            Value::Mebibytes(parts.part_size)
        );
        assert_eq!(
            default(Name::MultipartThreshold),
            Value::Mebibytes(parts.threshold)
        );
        assert_eq!(
            default(Name::MultipartEnabled),
            Value::Switch(parts.multipart)
        );
    }
}

#[cfg(test)]
mod document {
    //! `docs/CONFIGURATION.md` against the tables in code.

    use super::KEYS;
    use crate::config::absent::ABSENT;
    use crate::config::endpoints::FIELDS;

    const DOCUMENT: &str = include_str!(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../docs/CONFIGURATION.md"
    ));

    /// The rows of a table whose first column has this heading.
    fn rows(heading: &str) -> Vec<&'static str> {
        DOCUMENT
            .lines()
            .skip_while(|line| !line.starts_with(&format!("| {heading} |")))
            .skip(2)
            .take_while(|line| line.starts_with('|'))
            .collect()
    }

    #[test]
    fn the_documented_keys_are_those_in_code() {
        let wanted: Vec<_> = KEYS
            .iter()
            .map(|key| {
                let default = match key.default {
                    "" => String::new(),
                    default => format!("`{default}`"),
                };
                format!(
                    "| `{}` | {default} | `{}` | `{}` | {} |",
                    key.name,
                    key.variable(),
                    key.flag,
                    key.meaning
                )
            })
            .collect();
        assert_eq!(
            rows("Key"),
            wanted,
            "the table should be:\n{}",
            wanted.join("\n")
        );
    }

    #[test]
    fn the_documented_fields_of_an_endpoint_are_those_in_code() {
        let wanted: Vec<_> = FIELDS
            .iter()
            .map(|(name, _, meaning)| format!("| `{name}` | {meaning} |"))
            .collect();
        assert_eq!(
            rows("Field"),
            wanted,
            "the table should be:\n{}",
            wanted.join("\n")
        );
    }

    #[test]
    fn the_documented_absent_keys_are_those_in_code() {
        let wanted: Vec<_> = ABSENT
            .iter()
            .map(|(name, reason)| format!("| `{name}` | {reason} |"))
            .collect();
        assert_eq!(
            rows("Not in this version"),
            wanted,
            "should be:\n{}",
            wanted.join("\n")
        );
    }

    #[test]
    fn every_flag_in_the_table_exists() {
        let command = crate::args::command();
        let flags: Vec<_> = command
            .get_subcommands()
            .chain(std::iter::once(&command))
            .flat_map(clap::Command::get_arguments)
            .filter_map(clap::Arg::get_long)
            .collect();
        for key in KEYS {
            let flag = key.flag.trim_start_matches('-');
            assert!(flags.contains(&flag), "{}", key.flag);
        }
    }
}
