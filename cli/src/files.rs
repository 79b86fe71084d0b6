//! Small files of the user's: read with a clear error, replaced in one step.

use std::io::{Read as _, Write as _};
use std::path::Path;

use skyhaul_model::{Error, Result};

fn failed(action: &str, path: &Path, cause: std::io::Error) -> Error {
    Error::invalid(format!("cannot {action}"))
        .object(path.display().to_string())
        .cause(cause)
}

/// The text of a file; `-` is stdin.
pub(crate) fn read(path: &Path) -> Result<String> {
    if path.as_os_str() == "-" {
        let mut text = String::new();
        let read = std::io::stdin().lock().read_to_string(&mut text);
        return read
            .map(|_| text)
            .map_err(|cause| failed("read stdin", path, cause));
    }
    std::fs::read_to_string(path).map_err(|cause| failed("read the file", path, cause))
}

/// The text of a file, if there is one.
pub(crate) fn read_if_there(path: &Path) -> Result<Option<String>> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(cause) => Err(failed("read the file", path, cause)),
    }
}

/// Writes a file under a temporary name and renames it; makes its directory. Links are followed,
/// so that a file kept elsewhere stays there. `private` files are for the owner's eyes alone;
/// others keep the permissions that they have.
pub(crate) fn replace(path: &Path, text: &str, private: bool) -> Result<()> {
    let real = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let folder = real
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    let write = || {
        std::fs::create_dir_all(folder)?;
        // Temporary files are made readable by their owner only.
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(text.as_bytes())?;
        file.as_file().sync_all()?;
        #[cfg(unix)]
        if !private {
            file.as_file().set_permissions(permissions(&real))?;
        }
        #[cfg(not(unix))]
        let _ = private;
        file.persist(&real).map_err(|error| error.error)?;
        Ok(())
    };
    write().map_err(|cause| failed("write the file", path, cause))
}

/// Those of the file that is there, or of an ordinary new one.
#[cfg(unix)]
fn permissions(path: &Path) -> std::fs::Permissions {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::metadata(path).map_or_else(
        |_| std::fs::Permissions::from_mode(0o644),
        |metadata| metadata.permissions(),
    )
}

/// The lines of a list file that carry something: blank lines and comments (`#`, `;`) do not.
pub(crate) fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .map(|line| line.strip_suffix('\r').unwrap_or(line))
        .filter(|line| !line.trim().is_empty() && !line.starts_with(['#', ';']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaces_and_keeps_links() {
        let folder = tempfile::tempdir().unwrap();
        let real = folder.path().join("real");
        replace(&real, "a", true).unwrap();
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = std::fs::metadata(&real).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
            let link = folder.path().join("link");
            std::os::unix::fs::symlink(&real, &link).unwrap();
            replace(&link, "b", false).unwrap();
            assert!(link.is_symlink());
            assert_eq!(
                std::fs::metadata(&real).unwrap().permissions().mode() & 0o777,
                0o600
            );
        }
        assert_eq!(read(&real).unwrap(), "b");
        assert_eq!(read_if_there(&folder.path().join("none")).unwrap(), None);
        assert!(read(&folder.path().join("none")).is_err());
    }

    #[test]
    fn comments_and_blank_lines_carry_nothing() {
        let found: Vec<_> = lines("# a\n\n; b\n x \r\n#\ny#z\n").collect();
        assert_eq!(found, [" x ", "y#z"]);
    }
}
