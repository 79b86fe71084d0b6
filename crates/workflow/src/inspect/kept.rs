//! The logs of a deployment's transfer, line by line, in the order of their times: of its workflow, and of its
//! gateways as they keep them in the staging bucket (`gateway/src/shipping.rs`). An object of each is in memory
//! at a time.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::time::Duration;

use jiff::Timestamp;
use skyhaul_engine::staging::Staging;
use skyhaul_model::{Error, Result, TransferId};
use tokio_util::sync::CancellationToken;

use super::logs::{Show, Which, time_of};
use crate::deployed::Deployed;
use crate::staging;
use crate::steps::Attempt;

/// How the log of the workflow is called.
pub const WORKFLOW: &str = "workflow";

/// How often it is looked for new lines.
const LOOK: Duration = Duration::from_secs(5);

impl Deployed {
    /// Calls `show` with the lines of the logs of a transfer's last attempt and of its machines, until it says
    /// `false` or `cancel`. Machines that are kept may work for other transfers meanwhile, and tell of them too.
    pub async fn logs(
        &self,
        id: &TransferId,
        which: &Which,
        show: &mut Show<'_>,
        cancel: &CancellationToken,
    ) -> Result<()> {
        let mut logs = Logs::default();
        loop {
            // Asked before the last look, so that what was said until then is seen.
            let standing = self.standing(id).await?;
            let goes_on = which.follow && standing.is_live();
            let submission = &standing.submission;
            let wants = |name: &str| which.gateway.as_ref().is_none_or(|wanted| wanted == name);
            if wants(WORKFLOW) {
                let attempt = Attempt {
                    transfer: id.clone(),
                    attempt: submission.attempt,
                };
                let told = self.executions.told(&attempt).await?;
                logs.add_lines(WORKFLOW, &told);
            }
            if let Some(dataplane) = &submission.dataplane {
                let at = staging::logs(&self.staging, dataplane);
                let place = Staging::of_lines(&*self.opens, &at).await?;
                logs.add_objects(place.names().await?, &wants);
                logs.place = Some(place);
            }
            if let Some(name) = &which.gateway
                && logs.all.is_empty()
                && !goes_on
            {
                let message = format!("nothing is kept of `{name}`");
                let names: Vec<_> = submission.gateways.iter().map(String::as_str).collect();
                return Err(Error::invalid(message).object(id.as_str()).hint(format!(
                    "there are {WORKFLOW}{}{}",
                    if names.is_empty() { "" } else { ", " },
                    names.join(", ")
                )));
            }
            if !logs.show(submission.submitted, show).await? || !goes_on {
                return Ok(());
            }
            let slept = cancel.run_until_cancelled(tokio::time::sleep(LOOK));
            if slept.await.is_none() {
                return Ok(());
            }
        }
    }
}

/// One log.
#[derive(Debug, Default)]
struct Log {
    /// Names of objects that are not read yet.
    objects: VecDeque<String>,
    /// Lines that are not shown yet, with their times.
    lines: VecDeque<(String, String)>,
    /// The time of the last line that had one: what a line without one belongs to.
    time: String,
    /// Lines that were added.
    added: usize,
}

impl Log {
    fn add(&mut self, text: &str) {
        for line in text.lines() {
            if let Some(time) = time_of(line.as_bytes()) {
                time.clone_into(&mut self.time);
            }
            self.lines.push_back((self.time.clone(), line.to_owned()));
        }
    }
}

/// All logs that are read.
#[derive(Debug, Default)]
struct Logs {
    all: BTreeMap<String, Log>,
    /// Objects that were found.
    found: HashSet<String>,
    place: Option<Staging>,
}

impl Logs {
    /// All lines of a log, of which those that were added before are left out.
    fn add_lines(&mut self, name: &str, lines: &[String]) {
        let log = self.all.entry(name.to_owned()).or_default();
        for line in lines.iter().skip(log.added) {
            log.add(line);
        }
        log.added = log.added.max(lines.len());
    }

    /// Objects with lines, `NAME/…` each, in their order.
    fn add_objects(&mut self, names: Vec<String>, wants: &dyn Fn(&str) -> bool) {
        for name in names {
            let Some((of, _)) = name.split_once('/').filter(|(of, _)| wants(of)) else {
                continue;
            };
            if self.found.insert(name.clone()) {
                let log = self.all.entry(of.to_owned()).or_default();
                log.objects.push_back(name);
            }
        }
    }

    /// Reads on where a log has no line that is not shown.
    async fn fill(&mut self) -> Result<()> {
        for log in self.all.values_mut() {
            while log.lines.is_empty()
                && let (Some(place), Some(name)) = (&self.place, log.objects.pop_front())
            {
                let bytes = place.lines(&name).await?;
                log.add(&String::from_utf8_lossy(&bytes));
            }
        }
        Ok(())
    }

    /// Shows what there is since a moment, in the order of times. Whether to go on.
    async fn show(&mut self, since: Timestamp, show: &mut Show<'_>) -> Result<bool> {
        loop {
            self.fill().await?;
            let with_line = self.all.iter_mut().filter(|(_, log)| !log.lines.is_empty());
            let first =
                with_line.min_by(|(_, one), (_, other)| one.lines[0].0.cmp(&other.lines[0].0));
            let Some((name, log)) = first else {
                return Ok(true);
            };
            let Some((time, line)) = log.lines.pop_front() else {
                return Ok(true);
            };
            let before = time.parse().is_ok_and(|time: Timestamp| time < since);
            if !before && !show(name, &line) {
                return Ok(false);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn shown(logs: &mut Logs, since: &str) -> Vec<String> {
        let mut lines = Vec::new();
        let mut show = |from: &str, line: &str| {
            lines.push(format!("{from}: {line}"));
            true
        };
        let goes_on = logs.show(since.parse().unwrap(), &mut show).await;
        assert!(goes_on.unwrap());
        lines
    }

    #[tokio::test]
    async fn lines_come_once_in_the_order_of_their_times() {
        let mut logs = Logs::default();
        let at = |second: u32, text: &str| format!("2026-01-01T00:00:{second:02}Z {text}");
        let workflow = vec![at(0, "before"), at(1, "a"), at(4, "d")];
        logs.add_lines(WORKFLOW, &workflow);
        logs.add_lines("src-1", &[at(2, "b"), "more of b".to_owned(), at(3, "c")]);
        let wanted = [
            format!("workflow: {}", at(1, "a")),
            format!("src-1: {}", at(2, "b")),
            "src-1: more of b".to_owned(),
            format!("src-1: {}", at(3, "c")),
            format!("workflow: {}", at(4, "d")),
        ];
        assert_eq!(shown(&mut logs, "2026-01-01T00:00:01Z").await, wanted);
        let more = [workflow, vec![at(5, "e")]].concat();
        logs.add_lines(WORKFLOW, &more);
        let wanted = [format!("workflow: {}", at(5, "e"))];
        assert_eq!(shown(&mut logs, "2026-01-01T00:00:01Z").await, wanted);
    }

    #[test]
    fn objects_are_found_once() {
        let mut logs = Logs::default();
        let names = ["dst-1/1.log", "src-1/1.log", "src-1/2.log", "odd"].map(str::to_owned);
        logs.add_objects(names[..2].to_vec(), &|name| name == "src-1");
        logs.add_objects(names.to_vec(), &|name| name == "src-1");
        assert_eq!(logs.all.len(), 1);
        assert_eq!(logs.all["src-1"].objects, ["src-1/1.log", "src-1/2.log"]);
    }
}
