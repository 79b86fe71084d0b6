//! Making the table, which transfers never do: the deployment does, and tests do.

use std::time::Duration;

use aws_sdk_dynamodb::client::Waiters as _;
use aws_sdk_dynamodb::operation::create_table::CreateTableError;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType,
    TimeToLiveSpecification, TimeToLiveStatus,
};
use skyhaul_model::{Error, ErrorKind, Result};

use super::failure::{self, Failure};
use super::item::{EXPIRES, PARTITION, SORT};
use super::table::Table;
use crate::fault;

const PATIENCE: Duration = Duration::from_mins(3);

/// Makes the table if there is none, paid by request, with a time to live; returns when it can be
/// used.
pub(super) async fn create(table: &Table) -> Result<()> {
    let failed = |error| fault::internal("making the state table", error);
    let mut request = table
        .client
        .create_table()
        .table_name(&table.name)
        .billing_mode(BillingMode::PayPerRequest);
    for (name, kind) in [(PARTITION, KeyType::Hash), (SORT, KeyType::Range)] {
        let attribute = AttributeDefinition::builder()
            .attribute_name(name)
            .attribute_type(ScalarAttributeType::S);
        let element = KeySchemaElement::builder()
            .attribute_name(name)
            .key_type(kind);
        request = request
            .attribute_definitions(attribute.build().map_err(failed)?)
            .key_schema(element.build().map_err(failed)?);
    }
    let made = request.send().await;
    if let Err(error) = made
        && !error
            .as_service_error()
            .is_some_and(CreateTableError::is_resource_in_use_exception)
    {
        return Err(failure::of(error, &table.name).error());
    }
    let waited = table
        .client
        .wait_until_table_exists()
        .table_name(&table.name)
        .wait(PATIENCE)
        .await;
    waited.map_err(|error| {
        Error::control(ErrorKind::Timeout, "the state table did not come to be")
            .object(format!("table {}", table.name))
            .cause(error)
    })?;
    expire(table).await
}

async fn expire(table: &Table) -> Result<()> {
    let request = table.client.describe_time_to_live().table_name(&table.name);
    let reply = table.call(|| request.clone().send()).await;
    let status = reply
        .map_err(Failure::error)?
        .time_to_live_description
        .and_then(|description| description.time_to_live_status);
    if matches!(
        status,
        Some(TimeToLiveStatus::Enabled | TimeToLiveStatus::Enabling)
    ) {
        return Ok(());
    }
    let specification = TimeToLiveSpecification::builder()
        .enabled(true)
        .attribute_name(EXPIRES)
        .build()
        .map_err(|error| fault::internal("making the state table", error))?;
    let request = table
        .client
        .update_time_to_live()
        .table_name(&table.name)
        .time_to_live_specification(specification);
    let reply = table.call(|| request.clone().send()).await;
    reply.map(drop).map_err(Failure::error)
}
