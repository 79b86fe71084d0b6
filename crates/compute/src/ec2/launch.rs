//! Launching a machine, and ending machines.

use std::collections::BTreeMap;

use aws_sdk_ec2::types::{
    BlockDeviceMapping, EbsBlockDevice, HttpTokensState, IamInstanceProfileSpecification,
    InstanceInterruptionBehavior, InstanceMarketOptionsRequest, InstanceMetadataEndpointState,
    InstanceMetadataOptionsRequest, InstanceNetworkInterfaceSpecification, InstanceType,
    MarketType, ResourceType, ShutdownBehavior, SpotInstanceType, SpotMarketOptions, Tag,
    TagSpecification, VolumeType,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::future::join_all;
use skyhaul_model::machine::{MachineId, MachineState, Market};
use skyhaul_model::{Error, ErrorKind, Result};

use super::{Ec2, describe, failure, firewall};
use crate::region::{Architecture, INTENT_TAG};
use crate::{Launch, Launched};

/// The root volume, in GiB: a gateway keeps nothing on it but its log.
const VOLUME: i32 = 8;
/// The root volume's name in the image.
const ROOT: &str = "/dev/xvda";
/// User data has at most so many bytes, before it is encoded.
const LONGEST_BOOT: usize = 16 << 10;
/// Machines ended by one call.
const BATCH: usize = 100;

pub(super) fn specification(
    kind: ResourceType,
    tags: &BTreeMap<String, String>,
) -> TagSpecification {
    let tags = tags
        .iter()
        .map(|(key, value)| Tag::builder().key(key).value(value).build());
    TagSpecification::builder()
        .resource_type(kind)
        .set_tags(Some(tags.collect()))
        .build()
}

pub(super) async fn launch(ec2: &Ec2, launch: &Launch) -> Result<Launched> {
    let (region, intent, offer) = (&ec2.region, &launch.intent, &launch.offer);
    let object = intent.to_string();
    let Some(subnet) = region.subnets.get(&offer.zone) else {
        return Ok(Launched::NoCapacity(format!("no subnet in {}", offer.zone)));
    };
    let Some(image) = region.images.get(&Architecture::of(&offer.instance_type)) else {
        let message = format!("no image for {}", offer.instance_type);
        return Ok(Launched::NoCapacity(message));
    };
    if launch.boot.len() > LONGEST_BOOT {
        let message = format!(
            "what the machine is started with has {} bytes",
            launch.boot.len()
        );
        return Err(Error::invalid(message).object(object));
    }
    let group = firewall::group(ec2, &intent.dataplane).await?;
    let mut tags = ec2.tags(&intent.dataplane);
    tags.insert(INTENT_TAG.to_owned(), object.clone());
    tags.insert("Name".to_owned(), format!("skyhaul {}", intent.member));
    let interface = InstanceNetworkInterfaceSpecification::builder()
        .device_index(0)
        .subnet_id(subnet)
        .groups(group)
        .associate_public_ip_address(region.public)
        .delete_on_termination(true);
    let volume = EbsBlockDevice::builder()
        .volume_size(VOLUME)
        .volume_type(VolumeType::Gp3)
        .encrypted(true)
        .set_kms_key_id(region.volume_key.clone())
        .delete_on_termination(true);
    let metadata = InstanceMetadataOptionsRequest::builder()
        .http_endpoint(InstanceMetadataEndpointState::Enabled)
        .http_tokens(HttpTokensState::Required)
        .http_put_response_hop_limit(1);
    let request = ec2
        .client
        .run_instances()
        .client_token(intent.token(launch.number))
        .image_id(image)
        .instance_type(InstanceType::from(offer.instance_type.as_str()))
        .min_count(1)
        .max_count(1)
        .iam_instance_profile(
            IamInstanceProfileSpecification::builder()
                .arn(&region.profile)
                .build(),
        )
        .instance_initiated_shutdown_behavior(ShutdownBehavior::Terminate)
        .metadata_options(metadata.build())
        .network_interfaces(interface.build())
        .block_device_mappings(
            BlockDeviceMapping::builder()
                .device_name(ROOT)
                .ebs(volume.build())
                .build(),
        )
        .tag_specifications(specification(ResourceType::Instance, &tags))
        .tag_specifications(specification(ResourceType::Volume, &tags))
        .tag_specifications(specification(ResourceType::NetworkInterface, &tags))
        .user_data(STANDARD.encode(&launch.boot))
        .set_instance_market_options(match offer.market {
            Market::OnDemand => None,
            Market::Spot => Some(spot()),
        });
    let reply = match request.send().await {
        Ok(reply) => reply,
        Err(error) => {
            let code = failure::code(&error);
            return match code {
                "IdempotentInstanceTerminated" => Ok(Launched::Ended),
                _ if failure::is_no_capacity(code) => {
                    Ok(Launched::NoCapacity(format!("{offer}: {code}")))
                }
                _ if failure::is_over_quota(code) => {
                    Ok(Launched::OverQuota(format!("{offer}: {code}")))
                }
                _ => Err(failure::of(&error, "a machine cannot be launched", &object)),
            };
        }
    };
    let Some(machine) = reply.instances().first().and_then(describe::machine) else {
        let message = "a machine was launched and not told of";
        return Err(Error::control(ErrorKind::Corrupt, message).object(object));
    };
    // The service may answer a repetition with the machine as it is now.
    Ok(if machine.state < MachineState::Ending {
        Launched::Machine(machine)
    } else {
        Launched::Ended
    })
}

fn spot() -> InstanceMarketOptionsRequest {
    let options = SpotMarketOptions::builder()
        .spot_instance_type(SpotInstanceType::OneTime)
        .instance_interruption_behavior(InstanceInterruptionBehavior::Terminate);
    InstanceMarketOptionsRequest::builder()
        .market_type(MarketType::Spot)
        .spot_options(options.build())
        .build()
}

/// One unknown machine makes the service refuse all of a call: then each is told by itself.
pub(super) async fn terminate(ec2: &Ec2, machines: &[MachineId]) -> Result<()> {
    for batch in machines.chunks(BATCH) {
        if end(ec2, batch).await? {
            continue;
        }
        let each = batch.iter().map(|one| end(ec2, std::slice::from_ref(one)));
        for ended in join_all(each).await {
            ended?;
        }
    }
    Ok(())
}

/// False if one of them is not there.
async fn end(ec2: &Ec2, machines: &[MachineId]) -> Result<bool> {
    let ids = machines.iter().map(|machine| machine.0.clone());
    let request = ec2.client.terminate_instances();
    match request.set_instance_ids(Some(ids.collect())).send().await {
        Ok(_) => Ok(true),
        Err(error) if failure::is_gone(failure::code(&error)) => Ok(false),
        Err(error) => {
            let object = machines.first().map_or("", |machine| machine.0.as_str());
            Err(failure::of(&error, "a machine cannot be ended", object))
        }
    }
}
