//! The question before something is deleted.

use std::io::{BufRead as _, IsTerminal as _};
use std::sync::mpsc;
use std::time::Duration;

use skyhaul_model::{Error, Result};
use skyhaul_workflow::summary::ConfirmDelete;
use tokio_util::sync::CancellationToken;

use crate::output::Screen;

/// Refuses, before anything is done, to start what would have to ask where nobody can answer.
pub(crate) fn possible(yes: bool) -> Result<()> {
    if yes || std::io::stdin().is_terminal() {
        return Ok(());
    }
    Err(
        Error::invalid("this sync may delete and there is no terminal to ask on")
            .hint("-y deletes without asking, --dry-run shows what would be deleted"),
    )
}

/// What asks; `None` where the user said yes beforehand.
pub(crate) fn closure(
    yes: bool,
    screen: Screen,
    cancel: CancellationToken,
) -> Option<ConfirmDelete> {
    if yes {
        return None;
    }
    Some(Box::new(move |deletes, total| {
        if !std::io::stdin().is_terminal() {
            screen.warn("not deleting: there is no terminal to ask on, and -y was not given");
            return false;
        }
        let objects = if deletes == 1 { "object" } else { "objects" };
        screen.ask(
            &format!("delete {deletes} {objects} of {total} at the destination? [y/N] "),
            || answer(&cancel),
        )
    }))
}

/// Asks whether something is to be done that nothing undoes; refused (`Invalid`) where nobody can answer.
pub(crate) fn agreed(
    yes: bool,
    question: &str,
    screen: &Screen,
    cancel: &CancellationToken,
) -> Result<bool> {
    if !yes && !std::io::stdin().is_terminal() {
        return Err(Error::invalid("there is no terminal to ask on").hint("-y says yes beforehand"));
    }
    Ok(yes || screen.ask(question, || answer(cancel)))
}

/// Whether the user's line says yes. Asking to stop is a no.
fn answer(cancel: &CancellationToken) -> bool {
    let (send, receive) = mpsc::channel();
    // A thread of its own: reading a terminal cannot be given up, waiting for it can.
    std::thread::spawn(move || {
        let mut line = String::new();
        let read = std::io::stdin().lock().read_line(&mut line);
        let _ = send.send(read.is_ok() && is_yes(&line));
    });
    while !cancel.is_cancelled() {
        match receive.recv_timeout(Duration::from_millis(100)) {
            Ok(yes) => return yes,
            Err(mpsc::RecvTimeoutError::Timeout) => {}
            Err(mpsc::RecvTimeoutError::Disconnected) => return false,
        }
    }
    false
}

fn is_yes(line: &str) -> bool {
    ["y", "yes"].contains(&line.trim().to_ascii_lowercase().as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_clear_yes_is_one() {
        assert!(is_yes("y\n") && is_yes(" YES\r\n"));
        assert!(!is_yes("\n") && !is_yes("") && !is_yes("yep\n") && !is_yes("no\n"));
    }
}
