//! What a gateway's machine is started with: a script, the same for the same member whenever it is asked for.

use skyhaul_gateway::config::{Boot, TableConfig};
use skyhaul_model::spec::Endpoint;
use skyhaul_stack::region::Artifact;
use skyhaul_state::control::{DataplaneRow, MemberRow};

/// What all machines do.
const SCRIPT: &str = include_str!("../../infra/boot.sh");

/// What stands for the name that the provider gives the machine.
const MACHINE: &str = "@MACHINE@";

/// A word of the shell, whatever is in it.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// Where a member's machines keep what they say, in the place of their dataplane.
fn logs_of(logs: &Endpoint, member: &MemberRow) -> Endpoint {
    let location = &logs.location;
    let (folder, name) = (&location.path, &member.plan.name);
    Endpoint {
        location: location.with_path(format!("{folder}{name}/")),
        ..logs.clone()
    }
}

/// The script of a member's machine; `logs` is where the machines of its dataplane keep what they say. Holds no
/// secret.
pub(crate) fn script(
    (row, member): (&DataplaneRow, &MemberRow),
    control: &TableConfig,
    artifact: &Artifact,
    (identity, logs): (&str, &Endpoint),
) -> String {
    let boot = Boot {
        control: control.clone(),
        machine: MACHINE.to_owned(),
        intent: member.intent(&row.id),
        logs: Some(logs_of(logs, member)),
    };
    let boot = serde_json::to_string(&boot).unwrap_or_default();
    let lines = [
        ("SKYHAUL_REGION", member.plan.region.as_str()),
        ("SKYHAUL_GATEWAY_URL", &artifact.url),
        ("SKYHAUL_GATEWAY_SHA256", &artifact.sha256),
        ("SKYHAUL_IDENTITY", identity),
        ("SKYHAUL_BOOT", &boot),
    ];
    let mut text = "#!/bin/bash\n".to_owned();
    for (name, value) in lines {
        text.extend([name, "=", &quoted(value), "\n"]);
    }
    text.push_str(SCRIPT);
    text
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use skyhaul_model::machine::DataplaneId;
    use skyhaul_model::spec::Connection;
    use skyhaul_state::suite::control::plan;

    use super::*;

    fn row() -> DataplaneRow {
        DataplaneRow::new(plan(DataplaneId::generate(), &["a"], 1)).unwrap()
    }

    fn of(row: &DataplaneRow) -> String {
        let control = TableConfig {
            name: "it's a \"table\"".to_owned(),
            region: Some("eu-west-1".to_owned()),
            endpoint_url: None,
        };
        let artifact = Artifact {
            url: "https://bucket/$(touch x)".to_owned(),
            sha256: "00".to_owned(),
        };
        let identity = "arn:aws:ec2:eu-west-1:1:instance/";
        let logs = Endpoint {
            location: "s3://bucket/logs/d/".parse().unwrap(),
            connection: Connection::default(),
        };
        let of = (row, &row.members[0]);
        script(of, &control, &artifact, (identity, &logs))
    }

    #[test]
    fn a_machine_is_started_with_the_same_whenever_it_is_asked_for() {
        let row = row();
        assert_eq!(of(&row), of(&row));
        assert!(of(&row).len() < 16 << 10, "more than user data may have");
    }

    #[test]
    fn the_shell_reads_it_and_finds_what_was_written() {
        let row = row();
        let text = of(&row);
        let (head, _) = text.split_once("set -euo pipefail").unwrap();
        let shown = format!(
            "{head}\nprintf '%s\\n%s' \"$SKYHAUL_GATEWAY_URL\" \
             \"${{SKYHAUL_BOOT//@MACHINE@/${{SKYHAUL_IDENTITY}}i-1}}\""
        );
        let output = Command::new("bash").args(["-c", &shown]).output().unwrap();
        let shown = String::from_utf8(output.stdout).unwrap();
        let (url, boot) = shown.split_once('\n').unwrap();
        assert_eq!(url, "https://bucket/$(touch x)");
        let boot: Boot = serde_json::from_str(boot).unwrap();
        assert_eq!(boot.machine, "arn:aws:ec2:eu-west-1:1:instance/i-1");
        assert_eq!(boot.intent, row.members[0].intent(&row.id));
        assert_eq!(boot.control.name, "it's a \"table\"");
        let logs = format!("s3://bucket/logs/d/{}/", row.members[0].plan.name);
        assert_eq!(boot.logs.unwrap().location.to_string(), logs);
        let checked = Command::new("bash").args(["-n", "-c", &text]).status();
        assert!(checked.unwrap().success());
    }
}
