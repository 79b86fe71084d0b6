//! Tokens of gateways' control APIs: each in a file that only its owner reads, as long as the gateways
//! run.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use skyhaul_model::{Error, ErrorKind, Result};
use skyhaul_state::service::Token;

/// A folder of tokens that were made here; they are gone when it is dropped.
pub(crate) struct Folder {
    folder: PathBuf,
    made: Vec<PathBuf>,
}

fn file(folder: &Path, gateway: &str) -> PathBuf {
    folder.join(format!("{gateway}.token"))
}

/// The token of a gateway, if there is one that this user may read.
pub(crate) fn read(folder: &Path, gateway: &str) -> Option<Token> {
    Token::read(&file(folder, gateway)).ok()
}

impl Folder {
    /// A folder that is there.
    pub(crate) fn new(folder: PathBuf) -> Self {
        Self {
            folder,
            made: Vec::new(),
        }
    }

    /// Makes the token of a gateway.
    pub(crate) fn make(&mut self, gateway: &str) -> Result<Token> {
        let (token, path) = (Token::generate(), file(&self.folder, gateway));
        let write = || {
            // Temporary files are made readable by their owner only.
            let mut temporary = tempfile::NamedTempFile::new_in(&self.folder)?;
            temporary.write_all(token.reveal().as_bytes())?;
            temporary.persist(&path).map_err(|error| error.error)?;
            Ok::<_, std::io::Error>(())
        };
        write().map_err(|error| {
            Error::control(ErrorKind::Unreachable, "cannot write a gateway's token")
                .object(path.display().to_string())
                .cause(error)
        })?;
        self.made.push(path);
        Ok(token)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        for path in self.made.drain(..) {
            if let Err(error) = std::fs::remove_file(&path) {
                tracing::warn!("{} is left: {error}", path.display());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_their_owners_and_gone_with_the_gateways() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let mut tokens = Folder::new(folder.path().to_owned());
        let made = tokens.make("src-1").unwrap();
        let path = file(folder.path(), "src-1");
        let permissions = std::fs::metadata(&path).unwrap().permissions();
        assert_eq!(permissions.mode() & 0o777, 0o600);
        let found = read(folder.path(), "src-1").unwrap();
        assert_eq!(found.reveal(), made.reveal());
        assert_ne!(tokens.make("dst-1").unwrap().reveal(), made.reveal());
        drop(tokens);
        assert!(read(folder.path(), "src-1").is_none());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
