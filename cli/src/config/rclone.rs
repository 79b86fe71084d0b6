//! What can be taken over from rclone: its S3 remotes, as named endpoints; their access keys only
//! on demand, as profiles of the AWS credentials file.

use std::fmt::{self, Write as _};
use std::path::{Path, PathBuf};

use directories::BaseDirs;
use ini::{Ini, ParseOption};
use skyhaul_model::{Error, Result};

use super::endpoints::{self, NamedEndpoint};
use crate::{files, values};

/// An S3 remote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Remote {
    /// Its name in rclone, made fit for `NAME` here.
    pub(crate) name: String,
    endpoint: NamedEndpoint,
    keys: Option<Keys>,
}

/// An access key, to be written as a profile.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Keys {
    profile: String,
    id: String,
    secret: String,
    token: Option<String>,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys")
            .field("profile", &self.profile)
            .finish_non_exhaustive()
    }
}

impl Remote {
    /// The endpoint to write, and the access key that the remote has. The endpoint names a profile
    /// for that key if `with_profile`.
    pub(crate) fn into_endpoint(self, with_profile: bool) -> (NamedEndpoint, Option<Keys>) {
        let Self {
            mut endpoint, keys, ..
        } = self;
        if let (Some(keys), true) = (&keys, with_profile) {
            endpoint.profile = Some(keys.profile.clone());
        }
        (endpoint, keys)
    }
}

impl Keys {
    /// Adds a profile with this key to a credentials file; one that is there stays as it is.
    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        let mut text = files::read_if_there(path)?.unwrap_or_default();
        let known = parse(&text).map_err(|error| error.object(path.display().to_string()))?;
        if let Some(section) = known.section(Some(self.profile.as_str())) {
            let same = |name: &str, value: &str| section.get(name) == Some(value);
            if same("aws_access_key_id", &self.id) && same("aws_secret_access_key", &self.secret) {
                return Ok(());
            }
            return Err(Error::invalid(format!(
                "the profile `{}` exists with another access key",
                self.profile
            ))
            .object(path.display().to_string())
            .hint("rename it, or import without --with-credentials"));
        }
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "[{}]\naws_access_key_id = {}\naws_secret_access_key = {}\n",
            self.profile, self.id, self.secret
        );
        if let Some(token) = &self.token {
            let _ = writeln!(text, "aws_session_token = {token}");
        }
        files::replace(path, &text, true)
    }
}

/// Where rclone keeps its configuration.
pub(crate) fn default_file() -> Result<PathBuf> {
    match std::env::var_os("RCLONE_CONFIG").filter(|path| !path.is_empty()) {
        Some(path) => Ok(path.into()),
        None => Ok(home()?.config_dir().join("rclone/rclone.conf")),
    }
}

/// The shared credentials file of the AWS tools.
pub(crate) fn credentials_file() -> Result<PathBuf> {
    match std::env::var_os("AWS_SHARED_CREDENTIALS_FILE").filter(|path| !path.is_empty()) {
        Some(path) => Ok(path.into()),
        None => Ok(home()?.home_dir().join(".aws/credentials")),
    }
}

fn home() -> Result<BaseDirs> {
    BaseDirs::new().ok_or_else(|| Error::invalid("this user has no home directory"))
}

fn parse(text: &str) -> Result<Ini> {
    let plain = ParseOption {
        enabled_quote: false,
        enabled_escape: false,
        ..ParseOption::default()
    };
    // The message is left out: it may quote a line, and lines hold keys.
    Ini::load_from_str_opt(text, plain)
        .map_err(|error| Error::invalid(format!("not an INI file (line {})", error.line)))
}

/// The S3 remotes in the text of an rclone configuration.
pub(crate) fn remotes(text: &str) -> Result<Vec<Remote>> {
    if text
        .lines()
        .any(|line| line.starts_with("RCLONE_ENCRYPT_V0"))
    {
        return Err(Error::invalid("this rclone configuration is encrypted")
            .hint("`rclone config show > FILE` writes it in clear: import that, then delete it"));
    }
    let file = parse(text)?;
    let mut found = Vec::new();
    for (section, fields) in &file {
        let field = |name: &str| {
            fields
                .get(name)
                .map(str::trim)
                .filter(|value| !value.is_empty())
        };
        let Some(section) = section.filter(|_| field("type") == Some("s3")) else {
            continue;
        };
        let name = fit(section);
        let invalid = |message: String| Error::invalid(format!("remote `{section}`: {message}"));
        let switch = |name: &str| field(name).map(values::switch).transpose().map_err(invalid);
        let url = field("endpoint").map(|url| {
            if url.contains("://") {
                url.to_owned()
            } else {
                format!("https://{url}")
            }
        });
        if let Some(url) = &url {
            endpoints::url(url).map_err(invalid)?;
        }
        let keys = match (field("access_key_id"), field("secret_access_key")) {
            (Some(id), Some(secret)) => Some(Keys {
                profile: name.clone(),
                id: id.to_owned(),
                secret: secret.to_owned(),
                token: field("session_token").map(str::to_owned),
            }),
            _ => None,
        };
        // Without keys and without leave to look for some, rclone does not sign.
        let anonymous = keys.is_none() && switch("env_auth")? != Some(true);
        let endpoint = NamedEndpoint {
            path_style: switch("force_path_style")?.filter(|_| url.is_some()),
            endpoint_url: url,
            region: field("region").map(str::to_owned),
            profile: field("profile")
                .filter(|_| keys.is_none() && !anonymous)
                .map(str::to_owned),
            no_sign_request: anonymous.then_some(true),
            requester_pays: switch("requester_pays")?,
            secret: None,
            role_arn: field("role_arn").map(str::to_owned),
            external_id: field("role_external_id").map(str::to_owned),
            bucket_owner: None,
        };
        found.push(Remote {
            name,
            endpoint,
            keys,
        });
    }
    if found.is_empty() {
        return Err(Error::invalid(
            "no S3 remote is in this rclone configuration",
        ));
    }
    Ok(found)
}

/// A name that needs no quotes in either file.
fn fit(name: &str) -> String {
    let plain = |c: char| {
        if c.is_ascii_alphanumeric() || "-_".contains(c) {
            c
        } else {
            '-'
        }
    };
    name.chars().map(plain).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONF: &str = "\
[minio store]
type = s3
provider = Minio
access_key_id = AKID
secret_access_key = top#secret\\x
endpoint = 127.0.0.1:9000
region = eu
force_path_style = false

[drive]
type = drive
token = {\"a\":1}

[open]
type = s3
provider = AWS
region = us-east-1

[env]
type = s3
env_auth = true
profile = work
requester_pays = true
";

    #[test]
    fn takes_s3_remotes_and_no_secret() {
        let found = remotes(CONF).unwrap();
        let names: Vec<_> = found.iter().map(|remote| remote.name.as_str()).collect();
        assert_eq!(names, ["minio-store", "open", "env"]);
        assert!(!format!("{found:?}").contains("secret\\x"));
        let (endpoint, keys) = found[0].clone().into_endpoint(false);
        assert_eq!(
            endpoint.endpoint_url.as_deref(),
            Some("https://127.0.0.1:9000")
        );
        assert_eq!((endpoint.path_style, endpoint.profile), (Some(false), None));
        assert_eq!(keys.unwrap().secret, "top#secret\\x");
        let (endpoint, keys) = found[0].clone().into_endpoint(true);
        assert_eq!(endpoint.profile.as_deref(), Some("minio-store"));
        assert!(keys.is_some());
        assert_eq!(found[1].endpoint.no_sign_request, Some(true));
        assert_eq!(found[2].endpoint.profile.as_deref(), Some("work"));
        assert_eq!(found[2].endpoint.no_sign_request, None);
        assert_eq!(found[2].endpoint.requester_pays, Some(true));
    }

    #[test]
    fn refuses_what_it_cannot_read() {
        assert!(
            remotes("RCLONE_ENCRYPT_V0:\nabc")
                .unwrap_err()
                .to_string()
                .contains("encrypted")
        );
        assert!(remotes("[a]\ntype = drive\n").is_err());
        let error = remotes("[a\nsecret_access_key = hidden\n")
            .unwrap_err()
            .to_string();
        assert!(!error.contains("hidden"), "{error}");
    }

    #[test]
    fn a_profile_is_added_once_and_never_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(".aws/credentials");
        let keys = remotes(CONF).unwrap()[0]
            .clone()
            .into_endpoint(true)
            .1
            .unwrap();
        keys.write(&path).unwrap();
        keys.write(&path).unwrap();
        let text = files::read(&path).unwrap();
        assert_eq!(text.matches("[minio-store]").count(), 1);
        assert!(text.contains("aws_secret_access_key = top#secret\\x\n"));
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            assert_eq!(
                std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
                0o600
            );
        }
        let other = Keys {
            secret: "else".to_owned(),
            ..keys
        };
        let error = other.write(&path).unwrap_err().to_string();
        assert!(
            error.contains("exists") && !error.contains("else"),
            "{error}"
        );
        assert_eq!(files::read(&path).unwrap(), text);
    }
}
