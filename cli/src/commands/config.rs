//! `skyhaul config`.

use std::path::PathBuf;

use skyhaul_model::{Error, Result};

use crate::args::{ConfigCommand, ImportSource};
use crate::config::{Origin, keys, rclone};
use crate::context::Context;
use crate::output::schema::{Body, Line};
use crate::{exit, files};

/// Runs it.
pub(crate) fn run(context: &Context, command: &ConfigCommand) -> Result<u8> {
    match command {
        ConfigCommand::Get { key } => get(context, key),
        ConfigCommand::Set { key, value } => set(context, key, value),
        ConfigCommand::List => list(context),
        ConfigCommand::Path => {
            let mut lines = context.lines();
            lines.line(format_args!("{}", context.document()?.path().display()));
            lines.end().map(|()| exit::DONE)
        }
        ConfigCommand::Import(ImportSource::Rclone {
            file,
            with_credentials,
            force,
        }) => import(context, file.clone(), *with_credentials, *force),
    }
}

fn get(context: &Context, name: &str) -> Result<u8> {
    let config = context.config(Vec::new())?;
    let (value, origin) = match config.list().find(|(key, ..)| key.name == name) {
        Some((_, value, origin)) => (value.to_string(), origin),
        None => match context.document()?.get(name)? {
            Some(value) => (value, Origin::File),
            None => return Err(Error::invalid(format!("`{name}` is not set"))),
        },
    };
    let mut lines = context.lines();
    if context.global.json {
        let body = Body::Config {
            key: name,
            value: &value,
            origin,
        };
        lines.json(&Line::new(None, body));
    } else {
        lines.line(format_args!("{value}"));
    }
    lines.end().map(|()| exit::DONE)
}

fn set(context: &Context, name: &str, value: &str) -> Result<u8> {
    let mut document = context.document()?;
    document.set(name, value)?;
    document.save()?;
    let variable = keys::find(name).map(keys::Key::variable);
    if let Some(variable) = variable.filter(|name| std::env::var_os(name).is_some()) {
        context
            .screen
            .warn(&format!("note: {variable} is set and wins over the file"));
    }
    Ok(exit::DONE)
}

fn list(context: &Context) -> Result<u8> {
    let config = context.config(Vec::new())?;
    let mut all: Vec<_> = config
        .list()
        .map(|(key, value, origin)| {
            let meaning = format!("{} [{}]", key.meaning, key.flag);
            (
                key.name.to_owned(),
                value.to_string(),
                origin,
                Some(meaning),
            )
        })
        .collect();
    let document = context.document()?;
    for key in document.dotted()? {
        if let Some(value) = document.get(&key)? {
            all.push((key, value, Origin::File, None));
        }
    }
    let longest = |lengths: &mut dyn Iterator<Item = usize>| lengths.max().unwrap_or(0);
    let keys = longest(&mut all.iter().map(|row| row.0.chars().count()));
    let values = longest(&mut all.iter().map(|row| row.1.chars().count()));
    let mut lines = context.lines();
    for (key, value, origin, meaning) in &all {
        if context.global.json {
            let body = Body::Config {
                key,
                value,
                origin: *origin,
            };
            lines.json(&Line::new(None, body));
            continue;
        }
        lines.line(format_args!("{key:keys$}  {value:values$}  {origin}"));
        if let (Some(meaning), true) = (meaning, context.global.verbose > 0) {
            lines.line(format_args!("    {meaning}"));
        }
    }
    lines.end().map(|()| exit::DONE)
}

fn import(
    context: &Context,
    file: Option<PathBuf>,
    with_credentials: bool,
    force: bool,
) -> Result<u8> {
    let path = file.map_or_else(rclone::default_file, Ok)?;
    let remotes = rclone::remotes(&files::read(&path)?)
        .map_err(|error| error.object(path.display().to_string()))?;
    let mut document = context.document()?;
    let known = document.endpoints()?.named;
    let credentials = rclone::credentials_file()?;
    let mut imported = 0_u32;
    let mut said = Vec::new();
    for remote in remotes {
        let name = remote.name.clone();
        if known.contains_key(&name) && !force {
            said.push(format!(
                "{name}: kept, an endpoint has this name (--force replaces it)"
            ));
            continue;
        }
        let (endpoint, keys) = remote.into_endpoint(with_credentials);
        // The profile first: an endpoint never names one that is not there.
        let note = match keys {
            None => "",
            Some(keys) if with_credentials => {
                keys.write(&credentials)?;
                "; access key written as a profile"
            }
            Some(_) => {
                "; its access key was left where it is: --with-credentials writes it as a profile, \
                 or name one with `config set`"
            }
        };
        document.put_endpoint(&name, &endpoint)?;
        imported += 1;
        said.push(format!("{name}: imported{note}"));
    }
    if imported > 0 {
        document.save()?;
    }
    if !context.global.quiet {
        for line in said {
            context.screen.warn(&line);
        }
        let target = document.path().display();
        context
            .screen
            .warn(&format!("endpoints imported to {target}: {imported}"));
    }
    Ok(exit::DONE)
}
