//! `skyhaul completions`.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap_complete::Shell;
use directories::BaseDirs;
use skyhaul_model::{Error, Result};

use crate::args::{self, CompletionsArgs};
use crate::context::Context;
use crate::{exit, files};

/// Runs it.
pub(crate) fn run(context: &Context, args: &CompletionsArgs) -> Result<u8> {
    let script = script(args.shell);
    if !args.install {
        // A reader that goes away has what it wanted.
        let _ = std::io::stdout().lock().write_all(&script);
        return Ok(exit::DONE);
    }
    let dirs = BaseDirs::new().ok_or_else(|| Error::invalid("this user has no home directory"))?;
    let place = place(args.shell, dirs.data_dir(), dirs.config_dir())?;
    files::replace(&place.path, &String::from_utf8_lossy(&script), false)?;
    if !context.global.quiet {
        context
            .screen
            .warn(&format!("written to {}", place.path.display()));
        if let Some(line) = place.line {
            context
                .screen
                .warn(&format!("add to {}: {line}", place.file));
        }
    }
    Ok(exit::DONE)
}

fn script(shell: Shell) -> Vec<u8> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut args::command(), "skyhaul", &mut script);
    script
}

/// Where a shell finds completions.
struct Place {
    path: PathBuf,
    /// What the user must add where the shell does not look by itself, and to which file.
    line: Option<String>,
    file: &'static str,
}

fn place(shell: Shell, data: &Path, config: &Path) -> Result<Place> {
    let found = |path: PathBuf| Place {
        path,
        line: None,
        file: "",
    };
    Ok(match shell {
        Shell::Bash => found(data.join("bash-completion/completions/skyhaul")),
        Shell::Fish => found(config.join("fish/completions/skyhaul.fish")),
        Shell::Zsh => {
            let folder = data.join("zsh/site-functions");
            let line = format!("fpath=({} $fpath), before compinit", folder.display());
            Place {
                path: folder.join("_skyhaul"),
                line: Some(line),
                file: "~/.zshrc",
            }
        }
        Shell::Elvish => Place {
            path: config.join("elvish/lib/skyhaul.elv"),
            line: Some("use skyhaul".to_owned()),
            file: "rc.elv",
        },
        Shell::PowerShell => {
            let path = config.join("powershell/skyhaul.ps1");
            let line = Some(format!(". {}", path.display()));
            Place {
                path,
                line,
                file: "$PROFILE",
            }
        }
        other => return Err(Error::invalid(format!("no place is known for {other}"))),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::ValueEnum as _;

    #[test]
    fn every_shell_gets_a_script_that_knows_the_commands_and_a_place() {
        let shells = Shell::value_variants();
        assert_eq!(shells.len(), 5);
        for shell in shells {
            let script = String::from_utf8(script(*shell)).unwrap();
            for word in ["sync", "resume", "src-endpoint-url", "max-delete"] {
                assert!(script.contains(word), "{shell}: {word}");
            }
            let place = place(*shell, Path::new("/d"), Path::new("/c")).unwrap();
            assert!(
                place.path.starts_with("/d") || place.path.starts_with("/c"),
                "{shell}"
            );
        }
    }
}
