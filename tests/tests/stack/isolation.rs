//! What gateways and users cannot do, where policies are enforced and security groups filter packets.

use std::time::Duration;

use serde_json::Value;
use skyhaul_tests::cloud::{Cloud, Machine};
use skyhaul_tests::eventually;
use skyhaul_tests::oracle::{Bucket, ObjectSpec};

use super::{MIB, nothing_left};

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
    let objects: Vec<_> = (0..4)
        .map(|n| ObjectSpec::new(format!("{n}"), n, 12 * MIB))
        .collect();
    from.put(&objects);
    third.put(&[ObjectSpec::new("secret", 1, 10)]);
    Buckets { from, to, third }
}

/// Submits a copy that goes on for as long as it is looked at.
fn submitted(cloud: &Cloud, buckets: &Buckets, to: &str) -> String {
    let (source, destination) = (buckets.from.uri(""), buckets.to.uri(to));
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
        "--detach",
        "--json",
    ];
    let ended = cloud.cli.run(&copy);
    let event = ended.assert_code(0).events().remove(0);
    event["transfer"].as_str().unwrap().to_owned()
}

fn is_refused(told: &str) -> bool {
    ["AccessDenied", "AccessDeniedException", "403"].contains(&told)
}

#[test]
#[ignore = "needs root: makes network namespaces"]
fn heavy_stack_keeps_transfers_apart() {
    let cloud = Cloud::enforced(&["mine", "mine-too"]).acting_as(&["SubmitPolicy"]);
    let buckets = buckets(&cloud);
    // Who may submit may not deploy, or end machines.
    let id = submitted(&cloud, &buckets, "one/");
    let other = submitted(&cloud, &buckets, "two/");
    let gateways = eventually("four machines that listen", Duration::from_mins(2), || {
        let machines = cloud.running();
        let listen = |machine: &&Machine| {
            let own = machines
                .iter()
                .find(|one| one.dataplane == machine.dataplane && one.id != machine.id);
            own.is_some_and(|own| connects(&cloud, own, machine))
        };
        let ready = machines.len() == 4 && machines.iter().filter(listen).count() >= 2;
        ready.then_some(machines)
    });
    let of = |dataplane: &str| -> Vec<&Machine> {
        let own = gateways.iter().filter(|one| one.dataplane == dataplane);
        own.collect()
    };
    let first = of(&gateways[0].dataplane);
    let mut others = gateways.iter();
    let stranger = others
        .find(|one| one.dataplane != first[0].dataplane)
        .unwrap();
    for own in &first {
        assert!(
            !connects(&cloud, stranger, own),
            "a stranger reaches {own:?}"
        );
    }
    // Its own row is its own, and those of other machines, secrets and submissions are not.
    let table = cloud.output("ControlTable");
    let row = |partition: &str| {
        format!(
            "query(TableName='{table}', KeyConditionExpression='pk = :pk', \
             ExpressionAttributeValues={{':pk': {{'S': '{partition}'}}}})"
        )
    };
    let submission = format!("submission#{id}");
    for partition in ["secrets", "live", "regions", &submission] {
        let told = calls(&cloud, stranger, "dynamodb", &row(partition));
        assert!(is_refused(&told), "{partition}: {told}");
    }
    // No other bucket, no key, no machine.
    let third = buckets.third.name.clone();
    for (client, call) in [
        ("s3", format!("get_object(Bucket='{third}', Key='secret')")),
        (
            "s3",
            format!("put_object(Bucket='{third}', Key='x', Body=b'')"),
        ),
        ("s3", "delete_object(Bucket='mine', Key='0')".to_owned()),
        (
            "kms",
            format!(
                "encrypt(KeyId='{}', Plaintext=b'x', EncryptionContext={{'skyhaul:transfer': '{id}'}})",
                cloud.output("KeyArn")
            ),
        ),
        ("ec2", "describe_instances()".to_owned()),
    ] {
        let told = calls(&cloud, stranger, client, &call);
        assert!(
            is_refused(&told) || told == "UnauthorizedOperation",
            "{call}: {told}"
        );
    }
    let allowed = calls(&cloud, stranger, "s3", "get_object(Bucket='mine', Key='0')");
    assert_eq!(allowed, "allowed");
    // Secrets are nowhere but wrapped, and sealed to the machines of their transfer.
    let secrets = cloud.secrets();
    assert_eq!(secrets.len(), 2);
    for secret in secrets.iter().filter_map(Value::as_object) {
        for text in secret.values().filter_map(Value::as_str) {
            assert!(text.len() >= 32);
            assert_eq!(cloud.grep(text), [""; 0]);
        }
    }
    for transfer in [&id, &other] {
        cloud.cli.run(&["cancel", transfer]).assert_code(0);
    }
    nothing_left(&cloud);
    // A bucket that the deployment may not touch is refused before a machine is launched, and what it may is copied.
    let (source, destination) = (buckets.third.uri(""), buckets.to.uri("third/"));
    let refused = cloud.cli.run(&["cp", "-r", &source, &destination]);
    refused.assert_code(3);
    let (source, destination) = (buckets.from.uri(""), buckets.to.uri("whole/"));
    let copy = ["cp", "-r", &source, &destination, "--stream"];
    let machines = ["--gateways", "1"];
    cloud
        .cli
        .run(&[&copy[..], &machines].concat())
        .assert_code(0);
    let arrived = buckets.to.digests("whole/");
    let arrived = arrived
        .into_iter()
        .map(|(key, digest)| (key.trim_start_matches("whole/").to_owned(), digest));
    assert_eq!(buckets.from.digests(""), arrived.collect());
    nothing_left(&cloud);
}
