//! EC2 against the suite, on an emulator: `MiniStack` with what it leaves out (`scripts/ministack/ec2.py`).
#![allow(clippy::unwrap_used)] // helpers of tests

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use aws_config::{BehaviorVersion, SdkConfig};
use aws_sdk_ec2::Client;
use aws_sdk_ec2::types::Filter;
use futures::FutureExt as _;
use skyhaul_compute::conformance::{Fixture, check};
use skyhaul_compute::ec2::Ec2;
use skyhaul_compute::region::{Architecture, DATAPLANE_TAG, Region, STACK_TAG, newest_image};
use skyhaul_compute::simulated::{Faults, Simulated};
use skyhaul_compute::{Compute as _, Launch, Launched};
use skyhaul_model::ErrorKind;
use skyhaul_model::machine::{DataplaneId, IntentId, Market, Offer};
use skyhaul_tests::servers::tables;

/// Of its own for each test, so that what others launch is not counted.
async fn config(region: &'static str) -> SdkConfig {
    let service = &tables().ministack;
    let (access, secret) = (&service.access_key, &service.secret_key);
    aws_config::defaults(BehaviorVersion::latest())
        .region(region)
        .endpoint_url(&service.url)
        .credentials_provider(aws_credential_types::Credentials::new(
            access, secret, None, None, "test",
        ))
        .load()
        .await
}

/// A network with a subnet in each of two zones.
async fn region(config: &SdkConfig, public: bool) -> Region {
    let client = Client::new(config);
    let vpc = client.create_vpc().cidr_block("10.1.0.0/16").send().await;
    let vpc = vpc.unwrap().vpc.unwrap().vpc_id.unwrap();
    let name = config.region().unwrap();
    let mut subnets = BTreeMap::new();
    for (zone, block) in [("a", "10.1.1.0/24"), ("b", "10.1.2.0/24")] {
        let zone = format!("{name}{zone}");
        let subnet = client
            .create_subnet()
            .vpc_id(&vpc)
            .availability_zone(&zone)
            .cidr_block(block)
            .send()
            .await
            .unwrap();
        subnets.insert(zone, subnet.subnet.unwrap().subnet_id.unwrap());
    }
    Region {
        stack: skyhaul_tests::unique_name("stack"),
        vpc,
        subnets,
        public,
        profile: "arn:aws:iam::000000000000:instance-profile/gateway".to_owned(),
        identity: format!("arn:aws:ec2:{name}:000000000000:instance/"),
        images: BTreeMap::from([(Architecture::X86, newest_image(Architecture::X86))]),
        volume_key: None,
        port: 8443,
        tags: BTreeMap::from([("team".to_owned(), "data".to_owned())]),
    }
}

fn offer(zone: &str, instance_type: &str, market: Market) -> Offer {
    Offer {
        market,
        instance_type: instance_type.to_owned(),
        zone: zone.to_owned(),
    }
}

/// From where the security group of a dataplane lets connections in, whatever the port.
async fn rules(config: &SdkConfig, dataplane: &DataplaneId) -> Option<BTreeSet<IpAddr>> {
    let filter = Filter::builder()
        .name(format!("tag:{DATAPLANE_TAG}"))
        .values(dataplane.as_str());
    let groups = Client::new(config)
        .describe_security_groups()
        .filters(filter.build())
        .send()
        .await
        .unwrap();
    let [group] = groups.security_groups() else {
        assert!(groups.security_groups().is_empty(), "{groups:?}");
        return None;
    };
    let ranges = group.ip_permissions().iter().flat_map(|one| {
        assert_eq!((one.from_port(), one.to_port()), (Some(8443), Some(8443)));
        one.ip_ranges()
    });
    let address = |text: &str| text.strip_suffix("/32").unwrap().parse().unwrap();
    Some(
        ranges
            .map(|range| address(range.cidr_ip().unwrap()))
            .collect(),
    )
}

#[tokio::test]
async fn ec2_keeps_the_promises_of_the_trait() {
    let config = config("eu-west-1").await;
    for market in [Market::Spot, Market::OnDemand] {
        let compute = Ec2::new(&config, region(&config, true).await);
        check(&Fixture {
            compute: &compute,
            offer: offer("eu-west-1a", "c5.large", market),
            boot: "#!/bin/bash\necho 'äöü'".to_owned(),
            missing: Some(offer("eu-west-1a", "u-24tb1.metal", market)),
            rules: Box::new(|dataplane| {
                let config = &config;
                async move { rules(config, &dataplane).await }.boxed()
            }),
        })
        .await
        .unwrap();
    }
}

#[tokio::test]
async fn what_is_simulated_keeps_them_too() {
    let compute = Simulated::new(Faults::default());
    compute.offer("none", false);
    check(&Fixture {
        compute: &compute,
        offer: offer("a", "one", Market::OnDemand),
        boot: String::new(),
        missing: Some(offer("a", "none", Market::OnDemand)),
        rules: Box::new(|dataplane| {
            let rules = compute.rules(&dataplane);
            async move { rules }.boxed()
        }),
    })
    .await
    .unwrap();
}

fn launch(zone: &str, boot: &str) -> Launch {
    Launch {
        intent: IntentId {
            dataplane: DataplaneId::generate(),
            member: "src-1".parse().unwrap(),
            generation: 1,
        },
        number: 1,
        offer: offer(zone, "c5.large", Market::Spot),
        boot: boot.to_owned(),
    }
}

#[tokio::test]
async fn a_machine_is_where_and_what_was_asked_for() {
    let config = config("eu-west-2").await;
    let region = region(&config, false).await;
    let compute = Ec2::new(&config, region.clone());
    let asked = launch("eu-west-2b", "boot");
    let Launched::Machine(machine) = compute.launch(&asked).await.unwrap() else {
        panic!("no machine");
    };
    assert_eq!(machine.public_address, None);
    let client = Client::new(&config);
    let told = client.describe_instances().instance_ids(&machine.id.0);
    let told = told.send().await.unwrap();
    let told = &told.reservations()[0].instances()[0];
    assert_eq!(
        told.subnet_id(),
        region.subnets.get("eu-west-2b").map(String::as_str)
    );
    let tag = |name: &str| {
        let tags = told.tags();
        let tag = tags.iter().find(|tag| tag.key() == Some(name));
        tag.and_then(|tag| tag.value()).map(ToOwned::to_owned)
    };
    assert_eq!(tag(STACK_TAG), Some(region.stack.clone()));
    assert_eq!(tag(DATAPLANE_TAG), Some(asked.intent.dataplane.to_string()));
    assert_eq!(tag("team").as_deref(), Some("data"));
    let shutdown = client
        .describe_instance_attribute()
        .instance_id(&machine.id.0)
        .attribute("instanceInitiatedShutdownBehavior".into())
        .send()
        .await
        .unwrap();
    let shutdown = shutdown.instance_initiated_shutdown_behavior.unwrap();
    assert_eq!(shutdown.value(), Some("terminate"));
    compute.terminate(&[machine.id]).await.unwrap();
}

#[tokio::test]
async fn what_cannot_be_is_refused_before_it_is_asked_for() {
    let config = config("eu-west-3").await;
    let compute = Ec2::new(&config, region(&config, true).await);
    let told = compute.launch(&launch("eu-west-3z", "")).await.unwrap();
    assert!(matches!(told, Launched::NoCapacity(_)), "{told:?}");
    let graviton = Launch {
        offer: offer("eu-west-3a", "c7gn.large", Market::Spot),
        ..launch("eu-west-3a", "")
    };
    let told = compute.launch(&graviton).await.unwrap();
    assert!(matches!(told, Launched::NoCapacity(_)), "{told:?}");
    let long = "x".repeat(17 << 10);
    let error = compute
        .launch(&launch("eu-west-3a", &long))
        .await
        .unwrap_err();
    assert_eq!(error.kind, ErrorKind::Invalid, "{error}");
    assert!(compute.describe(None).await.unwrap().is_empty());
}

#[test]
fn architectures_are_told_by_the_names_of_types() {
    for name in [
        "a1.large",
        "c7gn.large",
        "m7gd.metal",
        "t4g.micro",
        "im4gn.large",
        "hpc7g.4xlarge",
    ] {
        assert_eq!(Architecture::of(name), Architecture::Arm, "{name}");
    }
    for name in [
        "c5.large",
        "g5.xlarge",
        "m6i.metal",
        "t3.micro",
        "c6in.large",
        "u-6tb1.metal",
        "",
    ] {
        assert_eq!(Architecture::of(name), Architecture::X86, "{name}");
    }
}

#[tokio::test]
async fn a_service_that_is_not_there_is_told() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = nobody.local_addr().unwrap();
    drop(nobody);
    let here = config("eu-west-1").await;
    let there = here
        .to_builder()
        .endpoint_url(format!("http://{address}"))
        .build();
    let compute = Ec2::new(&there, region(&here, true).await);
    let error = compute.describe(None).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unreachable, "{error}");
    assert!(error.retryable);
}
