//! What objects carry besides their bytes. One scheme for all: a value sets, `off` leaves out,
//! `keep` (the default) takes the source's.

use std::collections::BTreeMap;
use std::convert::Infallible;

use clap::{Args, ValueEnum};
use skyhaul_model::attributes::{AttributePolicy, Keep};
use skyhaul_model::spec::Encryption;
use skyhaul_model::{Error, Result};

use crate::values;

/// Headers, metadata, tags, class, encryption.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Attributes (a value sets, `off` leaves out, `keep` is the default)")]
pub(crate) struct AttributeArgs {
    /// Content-Type
    #[arg(long, value_name = "VALUE", value_parser = keep)]
    content_type: Option<Keep<String>>,
    /// Content-Encoding
    #[arg(long, value_name = "VALUE", value_parser = keep)]
    content_encoding: Option<Keep<String>>,
    /// Content-Language
    #[arg(long, value_name = "VALUE", value_parser = keep)]
    content_language: Option<Keep<String>>,
    /// Content-Disposition
    #[arg(long, value_name = "VALUE", value_parser = keep)]
    content_disposition: Option<Keep<String>>,
    /// Cache-Control
    #[arg(long, value_name = "VALUE", value_parser = keep)]
    cache_control: Option<Keep<String>>,
    /// Expires, as it is sent in the header
    #[arg(long, value_name = "VALUE", value_parser = keep)]
    expires: Option<Keep<String>>,
    /// User metadata instead of the source's; once for each pair
    #[arg(long, value_name = "K=V|off|keep", value_parser = entry)]
    metadata: Vec<Entry>,
    /// Tags instead of the source's; once for each pair
    #[arg(long, value_name = "K=V|off|keep", value_parser = entry)]
    tags: Vec<Entry>,
    /// Storage class under the service's own name
    #[arg(long, value_name = "CLASS", value_parser = keep)]
    storage_class: Option<Keep<String>>,
    /// Encryption at rest: s3, kms
    #[arg(long, value_name = "KIND", hide_possible_values = true)]
    sse: Option<Sse>,
    /// KMS key; without it the bucket's default key
    #[arg(long, value_name = "KEY")]
    sse_kms_key_id: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Sse {
    #[value(aliases = ["AES256", "aes256"])]
    S3,
    #[value(alias = "aws:kms")]
    Kms,
}

/// One occurrence of a flag that takes pairs.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Entry {
    Pair(String, String),
    Off,
    Keep,
}

fn entry(text: &str) -> Result<Entry, String> {
    match text {
        "off" => Ok(Entry::Off),
        "keep" => Ok(Entry::Keep),
        pair => values::pair(pair).map(|(key, value)| Entry::Pair(key, value)),
    }
}

#[allow(clippy::unnecessary_wraps)] // the form of a value parser
fn keep(text: &str) -> Result<Keep<String>, Infallible> {
    Ok(match text {
        "off" => Keep::Off,
        "keep" => Keep::Source,
        value => Keep::Set(value.to_owned()),
    })
}

fn pairs(flag: &str, entries: &[Entry]) -> Result<Keep<BTreeMap<String, String>>> {
    match entries {
        [] | [Entry::Keep] => Ok(Keep::Source),
        [Entry::Off] => Ok(Keep::Off),
        entries => {
            let mut map = BTreeMap::new();
            for entry in entries {
                let Entry::Pair(key, value) = entry else {
                    return Err(Error::invalid(format!(
                        "{flag}: `off` and `keep` stand alone"
                    )));
                };
                if map.insert(key.clone(), value.clone()).is_some() {
                    return Err(Error::invalid(format!("{flag}: `{key}` is given twice")));
                }
            }
            Ok(Keep::Set(map))
        }
    }
}

impl AttributeArgs {
    /// What happens to each attribute.
    pub(crate) fn policy(&self) -> Result<AttributePolicy> {
        let single = |flag: &Option<Keep<String>>| flag.clone().unwrap_or_default();
        Ok(AttributePolicy {
            content_type: single(&self.content_type),
            content_encoding: single(&self.content_encoding),
            content_language: single(&self.content_language),
            content_disposition: single(&self.content_disposition),
            cache_control: single(&self.cache_control),
            expires: single(&self.expires),
            metadata: pairs("--metadata", &self.metadata)?,
            tags: pairs("--tags", &self.tags)?,
            storage_class: single(&self.storage_class),
        })
    }

    /// Encryption to ask for. A key alone means KMS.
    pub(crate) fn encryption(&self) -> Result<Option<Encryption>> {
        match (self.sse, &self.sse_kms_key_id) {
            (Some(Sse::S3), None) => Ok(Some(Encryption::S3)),
            (Some(Sse::S3), Some(_)) => Err(Error::invalid(
                "--sse-kms-key-id has no meaning with --sse s3",
            )),
            (None, None) => Ok(None),
            (Some(Sse::Kms) | None, key) => Ok(Some(Encryption::Kms {
                key_id: key.clone(),
            })),
        }
    }
}
