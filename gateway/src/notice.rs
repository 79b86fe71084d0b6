//! Notices that the machine is to be taken away: a spot instance of EC2 learns it two minutes before, from
//! its instance metadata. The gateway drains then.

use std::time::Duration;

use aws_config::imds::Client;
use aws_config::imds::client::error::ImdsError;
use aws_config::provider_config::ProviderConfig;
use serde::Deserialize;
use skyhaul_model::{Error, ErrorKind, Result};

use crate::orders::Orders;

/// Where a notice stands once there is one:
/// <https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-instance-termination-notices.html>
const PATH: &str = "/latest/meta-data/spot/instance-action";

/// How often it is looked for: what the service recommends.
const LOOK: Duration = Duration::from_secs(5);

/// How long the service may take for an answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// What is to happen to the machine, and when.
#[derive(Debug, Deserialize)]
struct Notice {
    action: String,
    time: String,
}

/// A client of the instance metadata service at this address.
pub(crate) fn client(service: &str) -> Result<Client> {
    let invalid = |cause| {
        Error::invalid("not the address of an instance metadata service")
            .object(service.to_owned())
            .cause(cause)
    };
    let client = Client::builder()
        .configure(&ProviderConfig::default())
        .endpoint(service)
        .map_err(invalid)?
        .operation_timeout(PATIENCE)
        .max_attempts(1)
        .build();
    Ok(client)
}

/// Looks for a notice until there is one, and has the gateway drain.
pub(crate) async fn watch(client: Client, orders: Orders) {
    let mut told = false;
    loop {
        match client.get(PATH).await {
            Ok(text) => {
                // Whatever it says: there is no notice for a machine that stays.
                match serde_json::from_str::<Notice>(text.as_ref()) {
                    Ok(Notice { action, time }) => {
                        tracing::warn!(action, time, "the machine is to be taken away");
                    }
                    Err(error) => {
                        tracing::warn!("the machine is to be taken away; the notice says: {error}");
                    }
                }
                return orders.drain.cancel();
            }
            Err(ImdsError::ErrorResponse(response))
                if response.response().status().as_u16() == 404 => {}
            Err(error) => {
                // Once: such a service is there or it is not.
                if !std::mem::replace(&mut told, true) {
                    let message = "notices that the machine is to go cannot be asked for";
                    let error = Error::control(ErrorKind::Unreachable, message).cause(error);
                    tracing::warn!("{error}");
                }
            }
        }
        tokio::time::sleep(LOOK).await;
    }
}
