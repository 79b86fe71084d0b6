//! The values that hold for one command, each with its origin.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;
use skyhaul_model::parts::PartPolicy;
use skyhaul_model::spec::{ChecksumPolicy, Durability};
use skyhaul_model::{Error, Result};
use skyhaul_stack::Place;
use skyhaul_workflow::Settings;

use super::document::Document;
use super::endpoints::Endpoints;
use super::keys::{KEYS, Key, Name};
use super::paths;
use super::value::Value;

/// Where a value comes from. The later wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Origin {
    /// Nobody said anything.
    Default,
    /// The configuration file.
    File,
    /// A `SKYHAUL_*` variable.
    Environment,
    /// A flag.
    Flag,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Default => "default",
            Self::File => "file",
            Self::Environment => "environment",
            Self::Flag => "flag",
        })
    }
}

/// All values.
#[derive(Debug)]
pub(crate) struct Config {
    values: Vec<(Value, Origin)>,
    /// Named endpoints.
    pub(crate) endpoints: Endpoints,
}

impl Config {
    /// Defaults, then the file, then the environment, then flags.
    pub(crate) fn resolve(
        document: &Document,
        environment: impl Fn(&str) -> Option<String>,
        flags: &[(Name, Value)],
    ) -> Result<Self> {
        let mut values: Vec<_> = KEYS
            .iter()
            .map(|key| (key.default_value(), Origin::Default))
            .collect();
        for (name, value) in document.values()? {
            values[name as usize] = (value, Origin::File);
        }
        for key in KEYS {
            let variable = key.variable();
            if let Some(text) = environment(&variable) {
                let value = key
                    .kind
                    .parse(&text)
                    .map_err(|message| Error::invalid(format!("`{variable}`: {message}")))?;
                values[key.id as usize] = (value, Origin::Environment);
            }
        }
        for (name, value) in flags {
            values[*name as usize] = (value.clone(), Origin::Flag);
        }
        Ok(Self {
            values,
            endpoints: document.endpoints()?,
        })
    }

    /// One value.
    pub(crate) fn value(&self, name: Name) -> &Value {
        &self.values[name as usize].0
    }

    /// Every key with its value and origin.
    pub(crate) fn list(&self) -> impl Iterator<Item = (&'static Key, &Value, Origin)> {
        KEYS.iter()
            .zip(&self.values)
            .map(|(key, (value, origin))| (key, value, *origin))
    }

    /// A switch.
    pub(crate) fn switch(&self, name: Name) -> bool {
        *self.value(name) == Value::Switch(true)
    }

    fn number(&self, name: Name) -> u64 {
        match self.value(name) {
            Value::Count(number) | Value::Mebibytes(number) | Value::Bytes(number) => *number,
            _ => 0,
        }
    }

    /// Folder of transfer state.
    pub(crate) fn state_dir(&self) -> Result<PathBuf> {
        match self.value(Name::StateDir) {
            Value::Folder(path) if !path.as_os_str().is_empty() => Ok(path.clone()),
            _ => paths::state_dir(),
        }
    }

    fn name(&self, name: Name) -> Option<String> {
        match self.value(name) {
            Value::Name(text) if !text.is_empty() => Some(text.clone()),
            _ => None,
        }
    }

    /// The deployment that is used; `None`: this machine.
    pub(crate) fn stack(&self) -> Option<Place> {
        Some(Place {
            stack: self.name(Name::Stack)?,
            region: self.name(Name::StackRegion),
            profile: self.name(Name::StackProfile),
        })
    }

    /// The machines that it asks for.
    pub(crate) fn machines(&self) -> Machines {
        let types = self.name(Name::AwsInstanceClass).unwrap_or_default();
        let types = types.split(',').map(str::trim);
        Machines {
            types: types
                .filter(|name| !name.is_empty())
                .map(str::to_owned)
                .collect(),
            spot: self.switch(Name::AwsUseSpotInstances),
            minutes: u32::try_from(self.number(Name::AutoshutdownMinutes)).unwrap_or(u32::MAX),
        }
    }

    /// How fast and with what resources.
    pub(crate) fn settings(&self) -> Result<Settings> {
        let base = Settings::default();
        Ok(Settings {
            state_dir: self.state_dir()?,
            transfers: self.number(Name::Transfers) as usize,
            checkers: self.number(Name::Checkers) as usize,
            max_memory: self.number(Name::MaxMemory),
            bwlimit: match self.value(Name::Bwlimit) {
                Value::Rate(rate) => *rate,
                _ => None,
            },
            keep_partial: match self.value(Name::KeepPartial) {
                Value::Time(time) => *time,
                _ => Duration::ZERO,
            },
            ..base
        })
    }

    /// How objects are cut.
    pub(crate) fn parts(&self) -> PartPolicy {
        PartPolicy {
            threshold: self.number(Name::MultipartThreshold),
            part_size: self.number(Name::MultipartChunkSize),
            multipart: self.switch(Name::MultipartEnabled),
        }
    }

    /// Which checksum travels with the bytes.
    pub(crate) fn checksum(&self) -> ChecksumPolicy {
        match self.value(Name::ChecksumAlgorithm) {
            Value::Checksum(policy) if self.switch(Name::VerifyChecksums) => *policy,
            _ => ChecksumPolicy::Off,
        }
    }

    /// Flushing at a local destination.
    pub(crate) fn durability(&self) -> Durability {
        if self.switch(Name::Fsync) {
            Durability::Fsync
        } else {
            Durability::Off
        }
    }
}

/// Machines of a deployment, where no flag says otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Machines {
    /// Types, in the order in which they are asked for; none: the deployment's own choice.
    pub(crate) types: Vec<String>,
    /// Whether spot machines are asked for.
    pub(crate) spot: bool,
    /// Minutes without a transfer after which those that are kept go.
    pub(crate) minutes: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machines_are_those_of_the_file() {
        let machines = |text: &str| {
            let (_folder, file) = document(text);
            let config = Config::resolve(&file, |_| None, &[]).unwrap();
            config.machines()
        };
        let none = machines("");
        assert_eq!((none.types.len(), none.spot, none.minutes), (0, false, 15));
        let some = machines(
            "aws_instance_class = \"a.large, b.large\"\naws_use_spot_instances = true\nautoshutdown_minutes = 30\n",
        );
        assert_eq!(some.types, ["a.large", "b.large"]);
        assert!(some.spot && some.minutes == 30);
    }

    fn document(text: &str) -> (tempfile::TempDir, Document) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.toml");
        std::fs::write(&path, text).unwrap();
        (folder, Document::load(path).unwrap())
    }

    #[test]
    fn the_later_wins_and_the_origin_says_so() {
        let (_folder, file) = document("transfers = 2\ncheckers = 2\nbwlimit = \"1M\"\n");
        let environment = |name: &str| {
            ["SKYHAUL_CHECKERS", "SKYHAUL_BWLIMIT"]
                .contains(&name)
                .then(|| "3M".to_owned())
        };
        let error = Config::resolve(&file, environment, &[]).unwrap_err();
        assert!(error.to_string().contains("SKYHAUL_CHECKERS"), "{error}");
        let environment = |name: &str| match name {
            "SKYHAUL_CHECKERS" => Some("3".to_owned()),
            "SKYHAUL_BWLIMIT" => Some("3M".to_owned()),
            _ => None,
        };
        let flags = [(Name::Bwlimit, Value::Rate(None))];
        let config = Config::resolve(&file, environment, &flags).unwrap();
        let seen = |name: &str| {
            let (_, value, origin) = config.list().find(|(key, ..)| key.name == name).unwrap();
            (value.to_string(), origin)
        };
        assert_eq!(seen("max_memory"), ("512MiB".to_owned(), Origin::Default));
        assert_eq!(seen("transfers"), ("2".to_owned(), Origin::File));
        assert_eq!(seen("checkers"), ("3".to_owned(), Origin::Environment));
        assert_eq!(seen("bwlimit"), ("off".to_owned(), Origin::Flag));
        let settings = config.settings().unwrap();
        assert_eq!(
            (settings.transfers, settings.checkers, settings.bwlimit),
            (2, 3, None)
        );
    }

    #[test]
    fn verify_checksums_false_turns_them_off() {
        let (_folder, file) = document("verify_checksums = false\nchecksum_algorithm = \"md5\"\n");
        let config = Config::resolve(&file, |_| None, &[]).unwrap();
        assert_eq!(config.checksum(), ChecksumPolicy::Off);
        let (_folder, file) = document("multipart_chunk_size_mb = 8\nfsync = false\n");
        let config = Config::resolve(&file, |_| None, &[]).unwrap();
        assert_eq!(config.parts().part_size, 8 << 20);
        assert_eq!(config.durability(), Durability::Off);
        assert_eq!(config.checksum(), ChecksumPolicy::Auto);
    }
}
