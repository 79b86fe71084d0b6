//! What gateways and users cannot do, where policies are enforced and security groups filter packets.

use std::time::Duration;

use serde_json::Value;
use skyhaul_tests::cloud::{Cloud, Machine};
use skyhaul_tests::eventually;
use skyhaul_tests::oracle::{Bucket, ObjectSpec};

use super::{EVENTFUL, MIB, nothing_left, triggers};

/// The port that gateways listen on.
const PORT: u16 = 47_113;

/// What a machine is answered, by calls that its own credentials sign: `allowed`, or the name of the error.
fn calls(cloud: &Cloud, machine: &Machine, client: &str, call: &str) -> String {
    let script = format!(
        "import boto3, botocore.exceptions\n\
         try:\n    boto3.client('{client}').{call}\n    print('allowed')\n\
         except botocore.exceptions.ClientError as error:\n    print(error.response['Error']['Code'])\n"
    );
    cloud.probe(&machine.id, &script).trim().to_owned()
}

/// Whether a machine can connect to another's gateway.
fn connects(cloud: &Cloud, from: &Machine, to: &Machine) -> bool {
    let script = format!(
        "import socket\n\
         try:\n    socket.create_connection(('{}', {PORT}), 2).close()\n    print('connected')\n\
         except OSError as error:\n    print(error)\n",
        to.address
    );
    cloud.probe(&from.id, &script).trim() == "connected"
}

struct Buckets {
    from: Bucket,
    to: Bucket,
    /// Not among those that the deployment may touch.
    third: Bucket,
}

fn buckets(cloud: &Cloud) -> Buckets {
    let [from, to, third] = ["mine", "mine-too", "third"].map(|name| {
        let bucket = Bucket::named(&cloud.own, name);
        bucket.make();
        bucket
    });
    let few = (0..4).map(|n| ObjectSpec::new(format!("few/{n}"), n, 3 * MIB));
    // Minutes, as slowly as they are copied.
    let many = (0..20).map(|n| ObjectSpec::new(format!("many/{n}"), n, 12 * MIB));
    from.put(&few.chain(many).collect::<Vec<_>>());
    third.put(&[ObjectSpec::new("secret", 1, 10)]);
    Buckets { from, to, third }
}

/// Submits a copy that goes on for as long as it is looked at.
fn submitted(cloud: &Cloud, buckets: &Buckets, to: &str) -> String {
    let (source, destination) = (buckets.from.uri("many/"), buckets.to.uri(to));
    let copy = [
        "cp",
        "-r",
        &source,
        &destination,
        "--stream",
        "--gateways",
        "1",
        "--bwlimit",
        "1M",
    ];
    cloud.submit(&copy.map(str::to_owned))
}

fn is_refused(told: &str) -> bool {
    [
        "AccessDenied",
        "AccessDeniedException",
        "UnauthorizedOperation",
        "403",
    ]
    .contains(&told)
}

/// A gateway of each of two transfers, once all gateways listen; they do not reach each other.
fn strangers(cloud: &Cloud) -> (Machine, Machine) {
    let gateways = eventually("four machines that listen", Duration::from_mins(2), || {
        let machines = cloud.running();
        let listen = |machine: &&Machine| {
            let own = machines
                .iter()
                .find(|one| one.dataplane == machine.dataplane && one.id != machine.id);
            own.is_some_and(|own| connects(cloud, own, machine))
        };
        let ready = machines.len() == 4 && machines.iter().filter(listen).count() >= 2;
        ready.then_some(machines)
    });
    let dataplane = gateways[0].dataplane.clone();
    let (first, others): (Vec<_>, Vec<_>) = gateways
        .into_iter()
        .partition(|one| one.dataplane == dataplane);
    for own in &first {
        for stranger in &others {
            assert!(
                !connects(cloud, stranger, own),
                "{stranger:?} reaches {own:?}"
            );
        }
    }
    (first[0].clone(), others[0].clone())
}

/// What a gateway's credentials are good for: its own row and the buckets of the deployment, and nothing of the
/// transfer `id`, which another machine works for.
fn touches_nothing_of_others(cloud: &Cloud, stranger: &Machine, other: &Machine, id: &str) {
    let table = cloud.output("ControlTable");
    let row = |partition: &str, sort: &str| {
        format!(
            "get_item(TableName='{table}', Key={{'pk': {{'S': '{partition}'}}, 'sk': {{'S': '{sort}'}}}})"
        )
    };
    let (key, wrapped) = (cloud.output("KeyArn"), cloud.wrapped(id));
    let place: Vec<_> = key.split(':').collect();
    let machine =
        |one: &Machine| format!("arn:aws:ec2:{}:{}:instance/{}", place[3], place[4], one.id);
    let allowed = [
        ("dynamodb", row(&machine(stranger), "enrolment")),
        ("s3", "get_object(Bucket='mine', Key='few/0')".to_owned()),
    ];
    for (client, call) in &allowed {
        assert_eq!(calls(cloud, stranger, client, call), "allowed", "{call}");
    }
    let refused = [
        ("dynamodb", row(&machine(other), "enrolment")),
        ("dynamodb", row("secrets", id)),
        ("dynamodb", row("live", id)),
        ("dynamodb", row(&format!("submission#{id}"), "submission")),
        ("s3", "get_object(Bucket='third', Key='secret')".to_owned()),
        (
            "s3",
            "put_object(Bucket='third', Key='x', Body=b'')".to_owned(),
        ),
        ("s3", "delete_object(Bucket='mine', Key='few/0')".to_owned()),
        (
            "kms",
            format!(
                "decrypt(KeyId='{key}', CiphertextBlob=__import__('base64').b64decode('{wrapped}'), \
                 EncryptionContext={{'skyhaul:transfer': '{id}'}})"
            ),
        ),
        ("ec2", "describe_instances()".to_owned()),
    ];
    for (client, call) in &refused {
        let told = calls(cloud, stranger, client, call);
        assert!(is_refused(&told), "{call}: {told}");
    }
}

/// Secrets of transfers are nowhere but wrapped, and sealed to the machines that work for them.
fn secrets_are_nowhere(cloud: &Cloud, count: usize) {
    // What is packed is looked into: an order names its bucket.
    let known = cloud.grep("mine-too");
    assert!(
        known.iter().any(|place| place.contains("submission#")),
        "{known:?}"
    );
    let secrets = cloud.secrets();
    assert_eq!(secrets.len(), count);
    for secret in secrets.iter().filter_map(Value::as_object) {
        for text in secret.values().filter_map(Value::as_str) {
            assert!(text.len() >= 32);
            assert_eq!(cloud.grep(text), [""; 0]);
        }
    }
}

#[test]
#[ignore = "needs root: makes network namespaces"]
fn soak_stack_keeps_transfers_apart() {
    let cloud = Cloud::enforced(&["mine", "mine-too", EVENTFUL, "kept-up"]);
    // Functions do nothing for events and for large objects that their policies do not permit.
    triggers::keeps_up_with_objects(&cloud);
    let cloud = cloud.acting_as(&["SubmitPolicy"], &[]);
    let buckets = buckets(&cloud);
    let both = ["one/", "two/"].map(|to| submitted(&cloud, &buckets, to));
    let (one, two) = strangers(&cloud);
    for id in &both {
        touches_nothing_of_others(&cloud, &one, &two, id);
    }
    secrets_are_nowhere(&cloud, both.len());
    for transfer in &both {
        cloud.cli.run(&["cancel", transfer]).assert_code(0);
    }
    nothing_left(&cloud);
    // A bucket that the deployment may not touch is refused before a machine is launched, and what it may is copied.
    let (source, destination) = (buckets.third.uri(""), buckets.to.uri("third/"));
    let refused = cloud.cli.run(&["cp", "-r", &source, &destination]);
    refused.assert_code(3);
    let (source, destination) = (buckets.from.uri("few/"), buckets.to.uri("few/"));
    let copy = ["cp", "-r", &source, &destination, "--stream"];
    let machines = ["--gateways", "1", "--json"];
    let copied = cloud.cli.run(&[&copy[..], &machines].concat());
    let events = copied.assert_code(0).events();
    assert_eq!(buckets.from.digests("few/"), buckets.to.digests("few/"));
    // Who may submit may read what became of it, and what was said.
    let id = events[0]["transfer"].as_str().unwrap();
    let report = cloud.cli.run(&["report", id, "--json"]);
    assert_eq!(report.assert_code(0).events().len(), 4);
    let logs = cloud.cli.run(&["logs", id]);
    let logs = &logs.assert_code(0).stdout;
    for from in ["workflow", "-src-1", "-dst-1"] {
        assert!(logs.contains(from), "{from}: {logs}");
    }
    nothing_left(&cloud);
}
