//! Figures for the alarms and the dashboard of a deployment: lines of a function's log that the service takes for
//! metrics ([embedded metric format][format]), in the namespace `Skyhaul` by stack.
//!
//! [format]: https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html

use std::io::Write as _;

use jiff::Timestamp;
use serde_json::{Value, json};
use skyhaul_state::control::{DataplaneRow, DataplaneStatus};

/// The line that says how many there are of each.
fn line(stack: &str, now: Timestamp, counts: &[(&str, usize)]) -> Value {
    let metrics: Vec<_> = counts
        .iter()
        .map(|(name, _)| json!({ "Name": name, "Unit": "Count" }))
        .collect();
    let mut line = json!({
        "_aws": {
            "Timestamp": now.as_millisecond(),
            "CloudWatchMetrics": [
                { "Namespace": "Skyhaul", "Dimensions": [["Stack"]], "Metrics": metrics },
            ],
        },
        "Stack": stack,
    });
    for (name, count) in counts {
        line[name] = (*count).into();
    }
    line
}

/// Says how many there are of each. A log that takes no more is no reason to fail.
pub(crate) fn tell(stack: &str, now: Timestamp, counts: &[(&str, usize)]) {
    let _ = writeln!(std::io::stdout().lock(), "{}", line(stack, now, counts));
}

/// The machines that a deployment has or is about to have, and those of them that no transfer uses.
pub(crate) fn machines(rows: &[DataplaneRow]) -> (usize, usize) {
    let alive = rows
        .iter()
        .filter(|row| row.status != DataplaneStatus::Ended);
    alive.fold((0, 0), |(all, idle), row| {
        let own = row.members.len();
        let unused = if row.transfers.is_empty() { own } else { 0 };
        (all + own, idle + unused)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_names_each_figure_once_and_gives_it() {
        let now = Timestamp::from_millisecond(1_700_000_000_123).unwrap();
        let line = line("haul", now, &[("Machines", 4), ("IdleMachines", 0)]);
        assert_eq!(line["_aws"]["Timestamp"], 1_700_000_000_123_i64);
        let told = &line["_aws"]["CloudWatchMetrics"][0];
        assert_eq!(told["Dimensions"], json!([["Stack"]]));
        assert_eq!(line["Stack"], "haul");
        for metric in told["Metrics"].as_array().unwrap() {
            assert!(line[metric["Name"].as_str().unwrap()].is_u64());
        }
        assert_eq!(told["Metrics"].as_array().unwrap().len(), 2);
        assert_eq!(line["Machines"], 4);
    }
}
