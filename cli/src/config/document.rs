//! The configuration file: read, validated, changed with its comments kept.

use std::path::{Path, PathBuf};

use skyhaul_model::{Error, Result};
use toml_edit::{DocumentMut, Item, Table};

use super::endpoints::{self, Endpoints, FIELDS, NamedEndpoint};
use super::value::Value;
use super::{absent, keys};
use crate::{files, values};

/// A configuration file, there or not yet there.
#[derive(Debug)]
pub(crate) struct Document {
    path: PathBuf,
    toml: DocumentMut,
}

/// What a dotted name in `config get` and `config set` names.
enum Target<'a> {
    Key(&'static keys::Key),
    Endpoint {
        name: &'a str,
        field: &'static str,
        switch: bool,
    },
    Bucket(&'a str),
}

impl Document {
    /// Reads a file; one that is not there is empty.
    pub(crate) fn load(path: PathBuf) -> Result<Self> {
        let text = files::read_if_there(&path)?.unwrap_or_default();
        Self::parse(path, &text)
    }

    fn parse(path: PathBuf, text: &str) -> Result<Self> {
        let toml = text.parse().map_err(|cause: toml_edit::TomlError| {
            Error::invalid(format!("not valid TOML: {}", cause.to_string().trim_end()))
                .object(path.display().to_string())
        })?;
        Ok(Self { path, toml })
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The values that are set.
    pub(crate) fn values(&self) -> Result<Vec<(keys::Name, Value)>> {
        let mut found = Vec::new();
        for (name, item) in self.toml.iter() {
            if ["endpoints", "buckets"].contains(&name) {
                continue;
            }
            let key = keys::find(name).ok_or_else(|| self.blame(unknown(name)))?;
            let value = item
                .as_value()
                .ok_or_else(|| "a single value is wanted".to_owned())
                .and_then(|value| key.kind.parse_toml(value))
                .map_err(|message| self.blame(Error::invalid(format!("`{name}`: {message}"))))?;
            found.push((key.id, value));
        }
        Ok(found)
    }

    /// The named endpoints and the buckets behind them.
    pub(crate) fn endpoints(&self) -> Result<Endpoints> {
        let wrong = |name: &str, message: &str| {
            self.blame(Error::invalid(format!("`{name}`: {}", message.trim_end())))
        };
        let mut found = Endpoints::default();
        for (name, item) in self.table("endpoints")? {
            let label = format!("endpoints.{name}");
            let table = item
                .as_table_like()
                .ok_or_else(|| wrong(&label, "a table is wanted"))?;
            let mut copy = DocumentMut::new();
            for (field, value) in table.iter() {
                copy.insert(field, value.clone());
            }
            let endpoint: NamedEndpoint = toml_edit::de::from_document(copy)
                .map_err(|error| wrong(&label, error.message()))?;
            for (field, text) in endpoint.texts() {
                if let Some(text) = text {
                    endpoints::value(field, text).map_err(|message| wrong(&label, &message))?;
                }
            }
            found.named.insert(name.to_owned(), endpoint);
        }
        for (bucket, item) in self.table("buckets")? {
            let label = format!("buckets.{bucket}");
            let name = item
                .as_str()
                .ok_or_else(|| wrong(&label, "an endpoint's name is wanted"))?;
            found.buckets.insert(bucket.to_owned(), name.to_owned());
        }
        Ok(found)
    }

    fn table(&self, name: &str) -> Result<impl Iterator<Item = (&str, &Item)>> {
        let table = match self.toml.get(name) {
            None => None,
            Some(item) => Some(item.as_table_like().ok_or_else(|| {
                self.blame(Error::invalid(format!("`{name}`: a table is wanted")))
            })?),
        };
        Ok(table.into_iter().flat_map(toml_edit::TableLike::iter))
    }

    /// Sets one value, after checking that it can be one.
    pub(crate) fn set(&mut self, name: &str, text: &str) -> Result<()> {
        let invalid = |message: String| Error::invalid(format!("`{name}`: {message}"));
        match target(name)? {
            Target::Key(key) => {
                let value = key.kind.parse(text).map_err(invalid)?;
                put(self.toml.as_table_mut(), key.name, value.to_toml());
            }
            Target::Endpoint {
                name,
                field,
                switch,
            } => {
                let value: toml_edit::Value = if switch {
                    values::switch(text).map_err(invalid)?.into()
                } else {
                    endpoints::value(field, text).map_err(invalid)?.into()
                };
                put(
                    sub(sub(self.toml.as_table_mut(), "endpoints")?, name)?,
                    field,
                    value,
                );
            }
            Target::Bucket(bucket) => {
                self.endpoints()?.get(text)?;
                put(
                    sub(self.toml.as_table_mut(), "buckets")?,
                    bucket,
                    text.into(),
                );
            }
        }
        Ok(())
    }

    /// The text of a value that is set in the file and is not one of the keys.
    pub(crate) fn get(&self, name: &str) -> Result<Option<String>> {
        let item = match target(name)? {
            Target::Key(key) => self.toml.get(key.name),
            Target::Endpoint { name, field, .. } => {
                let table = self.toml.get("endpoints").and_then(|table| table.get(name));
                table.and_then(|table| table.get(field))
            }
            Target::Bucket(bucket) => self.toml.get("buckets").and_then(|table| table.get(bucket)),
        };
        Ok(item
            .and_then(Item::as_value)
            .map(|value| match value.as_str() {
                Some(text) => text.to_owned(),
                None => value.clone().decorated("", "").to_string(),
            }))
    }

    /// The dotted names of everything that is set and is not a key.
    pub(crate) fn dotted(&self) -> Result<Vec<String>> {
        let mut names = Vec::new();
        for (name, item) in self.table("endpoints")? {
            let fields = item
                .as_table_like()
                .into_iter()
                .flat_map(toml_edit::TableLike::iter);
            names.extend(fields.map(|(field, _)| format!("endpoints.{name}.{field}")));
        }
        names.extend(
            self.table("buckets")?
                .map(|(bucket, _)| format!("buckets.{bucket}")),
        );
        Ok(names)
    }

    /// Takes an endpoint in under a name, replacing what was there.
    pub(crate) fn put_endpoint(&mut self, name: &str, endpoint: &NamedEndpoint) -> Result<()> {
        let table = sub(sub(self.toml.as_table_mut(), "endpoints")?, name)?;
        for (field, text) in endpoint.texts() {
            match text {
                Some(text) => put(table, field, text.as_str().into()),
                None => drop(table.remove(field)),
            }
        }
        for (field, switch) in [
            ("path_style", endpoint.path_style),
            ("no_sign_request", endpoint.no_sign_request),
            ("requester_pays", endpoint.requester_pays),
        ] {
            match switch {
                Some(switch) => put(table, field, switch.into()),
                None => drop(table.remove(field)),
            }
        }
        Ok(())
    }

    /// Writes the file.
    pub(crate) fn save(&self) -> Result<()> {
        files::replace(&self.path, &self.toml.to_string(), false)
    }

    fn blame(&self, error: Error) -> Error {
        error.object(self.path.display().to_string())
    }
}

/// Puts a value in place of another, whose comments stay.
fn put(table: &mut Table, name: &str, mut value: toml_edit::Value) {
    match table.get_mut(name).and_then(Item::as_value_mut) {
        Some(old) => {
            *value.decor_mut() = old.decor().clone();
            *old = value;
        }
        None => drop(table.insert(name, toml_edit::value(value))),
    }
}

fn sub<'t>(table: &'t mut Table, name: &str) -> Result<&'t mut Table> {
    let implicit = || {
        let mut table = Table::new();
        table.set_implicit(true);
        Item::Table(table)
    };
    table
        .entry(name)
        .or_insert_with(implicit)
        .as_table_mut()
        .ok_or_else(|| {
            Error::invalid(format!(
                "`{name}` is not written as a `[table]`: change it by hand"
            ))
        })
}

fn target(name: &str) -> Result<Target<'_>> {
    if let Some(rest) = name.strip_prefix("endpoints.") {
        let (endpoint, field) = rest.rsplit_once('.').unwrap_or((rest, ""));
        let known = FIELDS.iter().find(|(known, ..)| *known == field);
        return match known {
            Some((field, switch, _)) if !endpoint.is_empty() => Ok(Target::Endpoint {
                name: endpoint,
                field,
                switch: *switch,
            }),
            _ => {
                let fields: Vec<_> = FIELDS.iter().map(|(field, ..)| *field).collect();
                Err(
                    Error::invalid(format!("`{name}` names no field of an endpoint")).hint(
                        format!("endpoints.NAME.FIELD, FIELD being {}", fields.join(", ")),
                    ),
                )
            }
        };
    }
    match name.strip_prefix("buckets.") {
        Some(bucket) if !bucket.is_empty() => Ok(Target::Bucket(bucket)),
        _ => keys::find(name)
            .map(Target::Key)
            .ok_or_else(|| unknown(name)),
    }
}

/// The error for a key that is not there.
pub(crate) fn unknown(name: &str) -> Error {
    match absent::reason(name) {
        Some(reason) => Error::invalid(format!("`{name}` is not in this version: {reason}")),
        None => Error::invalid(format!("there is no key `{name}`"))
            .hint("`skyhaul config list` shows all"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(text: &str) -> Document {
        Document::parse("c.toml".into(), text).unwrap()
    }

    #[test]
    fn setting_keeps_comments() {
        let mut file =
            document("# mine\ntransfers = 4 # few\n\n[endpoints.a] # first\nregion = \"x\"\n");
        file.set("transfers", "8").unwrap();
        file.set("bwlimit", "50M").unwrap();
        file.set("endpoints.a.region", "y").unwrap();
        file.set("endpoints.b.endpoint_url", "http://b:1").unwrap();
        file.set("endpoints.b.path_style", "yes").unwrap();
        file.set("buckets.my.bucket", "b").unwrap();
        let text = file.toml.to_string();
        assert!(
            text.starts_with("# mine\ntransfers = 8 # few\nbwlimit = \"50MiB\"\n"),
            "{text}"
        );
        assert!(
            text.contains("[endpoints.a] # first\nregion = \"y\"\n"),
            "{text}"
        );
        let again = document(&text);
        assert_eq!(again.values().unwrap().len(), 2);
        let endpoints = again.endpoints().unwrap();
        assert_eq!(
            endpoints.choose(None, "my.bucket").unwrap().path_style,
            Some(true)
        );
        assert_eq!(
            again.get("endpoints.b.path_style").unwrap().as_deref(),
            Some("true")
        );
        assert_eq!(
            again.get("buckets.my.bucket").unwrap().as_deref(),
            Some("b")
        );
        assert_eq!(again.get("transfers").unwrap().as_deref(), Some("8"));
    }

    #[test]
    fn refuses_what_it_does_not_know_or_understand() {
        let mut file = document("");
        for (name, value, said) in [
            ("compress", "true", "not in this version"),
            ("encrypt_e2e", "true", "not in this version"),
            ("transferz", "3", "no key"),
            ("transfers", "many", "1 to 1024"),
            ("endpoints.a.password", "x", "no field"),
            ("endpoints.a.secret", "x", "ARN"),
            ("endpoints.a.bucket_owner", "me", "12 digits"),
            ("endpoints.a.endpoint_url", "nowhere", "URL"),
            ("endpoints.region", "x", "no field"),
            ("buckets.b", "nobody", "no endpoint"),
        ] {
            let error = file.set(name, value).unwrap_err().to_string();
            assert!(error.contains(said), "{name}: {error}");
        }
        assert_eq!(file.toml.to_string(), "");
        for text in [
            "transfers = []",
            "transfers = 0",
            "compress = true",
            "x = 1",
        ] {
            let error = document(text).values().unwrap_err();
            assert_eq!(error.object.as_deref(), Some("c.toml"), "{text}");
        }
        for text in [
            "endpoints = 1",
            "[endpoints.a]\nsecret = 1",
            "[buckets]\nb = 1",
        ] {
            assert!(document(text).endpoints().is_err(), "{text}");
        }
        assert!(Document::parse("c".into(), "=").is_err());
    }
}
