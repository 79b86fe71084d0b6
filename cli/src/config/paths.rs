//! Where configuration and state are kept.

use std::path::PathBuf;

use directories::ProjectDirs;
use skyhaul_model::{Error, Result};

fn platform() -> Result<ProjectDirs> {
    ProjectDirs::from("", "", "skyhaul").ok_or_else(|| {
        Error::invalid("this user has no home directory")
            .hint("set SKYHAUL_CONFIG and SKYHAUL_STATE_DIR")
    })
}

/// The configuration file: the flag, else `SKYHAUL_CONFIG`, else the platform's place.
pub(crate) fn config_file(flag: Option<PathBuf>) -> Result<PathBuf> {
    let named = std::env::var_os("SKYHAUL_CONFIG").filter(|path| !path.is_empty());
    match flag.or_else(|| named.map(PathBuf::from)) {
        Some(path) => Ok(path),
        None => Ok(platform()?.config_dir().join("config.toml")),
    }
}

/// The platform's place for transfer state.
pub(crate) fn state_dir() -> Result<PathBuf> {
    let platform = platform()?;
    Ok(platform
        .state_dir()
        .unwrap_or_else(|| platform.data_local_dir())
        .to_owned())
}
