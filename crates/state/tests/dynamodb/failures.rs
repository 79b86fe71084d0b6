//! What goes wrong for good, and the limits of rows.

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;
use jiff::Timestamp;
use rand::RngExt as _;
use skyhaul_model::{ErrorKind, TransferId};
use skyhaul_state::{
    DynamoDbState, NewUpload, TransferChange, TransferState, UploadKey, UploadStatus, suite,
};

use super::{Fresh, config, emulators};

#[tokio::test]
async fn a_table_is_made_once_and_a_missing_one_is_told() {
    for endpoint in emulators() {
        let table = Fresh::at(endpoint).await;
        table.open().create_tables().await.unwrap();
        let missing = DynamoDbState::new(&config(endpoint), "no-such-table");
        let error = missing.transfers().await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Invalid, "{error}");
        assert!(
            !error.retryable && error.to_string().contains("no-such-table"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_row_that_does_not_fit_is_refused_and_damage_is_told() {
    for endpoint in emulators() {
        let table = Fresh::at(endpoint).await;
        let (state, id) = (table.open(), TransferId::generate());
        state.submit(&id, &suite::plain_spec()).await.unwrap();
        // Noise, so that packing does not make it fit.
        let noise = rand::rng()
            .sample_iter(rand::distr::Alphanumeric)
            .take(1 << 20);
        let change = |text: Option<String>| TransferChange {
            error: Some(text),
            ..TransferChange::default()
        };
        let long = change(Some(noise.map(char::from).collect()));
        let error = state.change(&id, 0, long).await.unwrap_err();
        assert_eq!(
            (error.kind, error.retryable),
            (ErrorKind::Refused, false),
            "{error}"
        );
        let kept = change(Some("x".repeat(1 << 20)));
        assert_eq!(state.change(&id, 0, kept).await.unwrap().revision, 1);

        Client::new(&config(endpoint))
            .put_item()
            .table_name(&table.table)
            .item("pk", AttributeValue::S(id.to_string()))
            .item("sk", AttributeValue::S("transfer".to_owned()))
            .item("body", AttributeValue::S("{".to_owned()))
            .send()
            .await
            .unwrap();
        let error = state.transfer(&id).await.unwrap_err();
        assert_eq!(
            (error.kind, error.retryable),
            (ErrorKind::Corrupt, false),
            "{error}"
        );
    }
}

/// Keys of every length and with any character are kept, and paged in their order.
#[tokio::test]
async fn uploads_of_odd_and_long_keys_are_paged() {
    for endpoint in emulators() {
        let table = Fresh::at(endpoint).await;
        let (state, id) = (table.open(), TransferId::generate());
        state.submit(&id, &suite::plain_spec()).await.unwrap();
        let mut keys = Vec::new();
        for key in [
            "\0",
            "\u{1}",
            "a",
            "a\0",
            "a//b",
            "a\u{2}",
            "é",
            "\u{10348}",
        ] {
            keys.push(key.to_owned());
        }
        keys.extend([1000, 1024, 4000].map(|length| "k".repeat(length)));
        for key in &keys {
            let new = NewUpload {
                key: UploadKey {
                    destination: 0,
                    key: key.clone(),
                    attempt: 1,
                },
                intended: Timestamp::UNIX_EPOCH,
                replaces: None,
                strangers: Vec::new(),
                parts_total: 2,
                task: "{}".to_owned(),
            };
            let row = state.upload_intent(&id, new.clone()).await.unwrap();
            assert_eq!(row.key, new.key);
            assert_eq!(state.upload(&id, &new.key).await.unwrap(), Some(row));
        }
        let (mut paged, mut after) = (Vec::new(), None);
        loop {
            let page = state.uploads(&id, &[UploadStatus::Intent], after.as_ref(), 3);
            let page = page.await.unwrap();
            let Some(last) = page.last() else { break };
            after = Some(last.key.clone());
            paged.extend(page.into_iter().map(|row| row.key.key));
        }
        keys.sort();
        let short = |keys: &[String]| {
            let short = keys.iter().filter(|key| key.len() <= 1000);
            short.cloned().collect::<Vec<_>>()
        };
        assert_eq!(short(&paged), short(&keys));
        // Of those that a sort key does not hold only the beginning is in order.
        paged.sort();
        assert_eq!(paged, keys);
    }
}
