//! What the service's refusals and failures mean.

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_dynamodb::config::http::HttpResponse;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::operation::batch_write_item::BatchWriteItemError;
use aws_sdk_dynamodb::operation::create_table::CreateTableError;
use aws_sdk_dynamodb::operation::delete_item::DeleteItemError;
use aws_sdk_dynamodb::operation::describe_time_to_live::DescribeTimeToLiveError;
use aws_sdk_dynamodb::operation::get_item::GetItemError;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::operation::query::QueryError;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::operation::update_time_to_live::UpdateTimeToLiveError;
use skyhaul_model::{Error, ErrorKind};

use super::item::Item;
use crate::fault;

/// Why a request changed nothing, or may not have.
#[derive(Debug)]
pub(super) enum Failure {
    /// A condition did not hold. With the row that was there, where the service tells it.
    Refused(Option<Item>),
    /// What went wrong.
    Failed(Error),
}

impl Failure {
    /// Whether the same request may succeed if it is sent again.
    pub(super) fn is_passing(&self) -> bool {
        matches!(self, Self::Failed(error) if error.retryable)
    }

    pub(super) fn is_throttled(&self) -> bool {
        matches!(self, Self::Failed(error) if error.kind == ErrorKind::Throttled)
    }

    /// The error, for requests without a condition.
    pub(super) fn error(self) -> Error {
        match self {
            Self::Failed(error) => error,
            Self::Refused(_) => fault::internal(
                "a request without a condition",
                "the service says that its condition does not hold",
            ),
        }
    }
}

/// Errors of the operations that are used, which may be a condition's.
pub(super) trait Refusal:
    ProvideErrorMetadata + std::error::Error + Send + Sync + 'static
{
    /// The refusal, if it is one.
    fn refused(&self) -> Option<Failure> {
        None
    }
}

impl Refusal for GetItemError {}
impl Refusal for QueryError {}
impl Refusal for BatchWriteItemError {}
impl Refusal for CreateTableError {}
impl Refusal for DeleteItemError {}
impl Refusal for UpdateTimeToLiveError {}
impl Refusal for DescribeTimeToLiveError {}

impl Refusal for PutItemError {
    fn refused(&self) -> Option<Failure> {
        match self {
            Self::ConditionalCheckFailedException(refusal) => {
                Some(Failure::Refused(refusal.item().cloned().map(Item)))
            }
            _ => None,
        }
    }
}

impl Refusal for UpdateItemError {
    fn refused(&self) -> Option<Failure> {
        match self {
            Self::ConditionalCheckFailedException(refusal) => {
                Some(Failure::Refused(refusal.item().cloned().map(Item)))
            }
            _ => None,
        }
    }
}

impl Refusal for TransactWriteItemsError {
    /// A transaction is refused by its conditions; others may be in the way of one whose conditions
    /// hold.
    fn refused(&self) -> Option<Failure> {
        let Self::TransactionCanceledException(cancelled) = self else {
            return None;
        };
        let codes: Vec<_> = cancelled
            .cancellation_reasons()
            .iter()
            .filter_map(|reason| reason.code())
            .collect();
        if codes.contains(&"ConditionalCheckFailed") {
            return Some(Failure::Refused(None));
        }
        let passing = |kind, message: &str| Some(Failure::Failed(Error::control(kind, message)));
        if codes.contains(&"ThrottlingError") || codes.contains(&"ProvisionedThroughputExceeded") {
            return passing(ErrorKind::Throttled, SLOW_DOWN);
        }
        if codes.contains(&"TransactionConflict") {
            return passing(ErrorKind::Service, "another transaction is in the way");
        }
        None
    }
}

const SLOW_DOWN: &str = "the state table asks to slow down";

/// What a failed request means; `table` names it to the user.
pub(super) fn of<E: Refusal>(error: SdkError<E, HttpResponse>, table: &str) -> Failure {
    if let Some(refused) = error.as_service_error().and_then(Refusal::refused) {
        return refused;
    }
    let tell = |kind, message: &str| {
        Error::control(kind, message.to_owned()).object(format!("table {table}"))
    };
    let failure = match &error {
        SdkError::ServiceError(refusal) => {
            let is_ours = refusal.raw().status().is_client_error();
            of_code(refusal.err(), is_ours, &tell)
        }
        SdkError::TimeoutError(_) => tell(ErrorKind::Timeout, "no answer in time from the state"),
        SdkError::DispatchFailure(failure) if failure.is_timeout() => {
            tell(ErrorKind::Timeout, "no answer in time from the state")
        }
        _ if is_credentials(&error) => tell(
            ErrorKind::AccessDenied,
            "no usable credentials for the state",
        )
        .hint(CREDENTIALS),
        // Also a connection that ended before the reply.
        SdkError::DispatchFailure(_) => tell(
            ErrorKind::Unreachable,
            "no connection to the service that holds the state",
        )
        .hint("check the network and the region"),
        SdkError::ConstructionFailure(_) => tell(
            ErrorKind::Invalid,
            "the request to the state cannot be made",
        )
        .hint("check the region and the table's name"),
        _ => tell(
            ErrorKind::Service,
            "a reply of the state's service that makes no sense",
        ),
    };
    Failure::Failed(failure.cause(error))
}

/// Whether a request was not sent for want of credentials. A provider that does not answer now may
/// answer later.
fn is_credentials(error: &(dyn std::error::Error + 'static)) -> bool {
    std::iter::successors(Some(error), |error| error.source())
        .filter_map(|error| error.downcast_ref::<CredentialsError>())
        .any(|error| {
            matches!(
                error,
                CredentialsError::CredentialsNotLoaded(_)
                    | CredentialsError::InvalidConfiguration(_)
            )
        })
}

const CREDENTIALS: &str = "check the credentials and what they permit";

/// By the refusal's code; `is_ours`: the service says that the request is to blame.
fn of_code<E: ProvideErrorMetadata>(
    error: &E,
    is_ours: bool,
    tell: &dyn Fn(ErrorKind, &str) -> Error,
) -> Error {
    let message = error.message().unwrap_or_default();
    match error.code().unwrap_or_default() {
        "ProvisionedThroughputExceededException"
        | "ThrottlingException"
        | "RequestLimitExceeded"
        | "LimitExceededException" => tell(ErrorKind::Throttled, SLOW_DOWN),
        "TransactionConflictException" | "TransactionInProgressException" => {
            tell(ErrorKind::Service, "another transaction is in the way")
        }
        "ResourceNotFoundException" => tell(ErrorKind::Invalid, "there is no such state table")
            .hint("check the region and the table's name, or deploy it"),
        "AccessDeniedException"
        | "UnrecognizedClientException"
        | "InvalidSignatureException"
        | "IncompleteSignatureException"
        | "MissingAuthenticationTokenException"
        | "ExpiredTokenException"
        | "InvalidClientTokenId" => {
            tell(ErrorKind::AccessDenied, "access to the state is denied").hint(CREDENTIALS)
        }
        "ItemCollectionSizeLimitExceededException" => {
            tell(ErrorKind::Full, "a partition of the state table is full")
        }
        "ValidationException" if message.contains("size has exceeded") => {
            tell(ErrorKind::Refused, "a row does not fit in the state table")
        }
        _ if is_ours => tell(ErrorKind::Internal, "the state's service refuses a request"),
        _ => tell(ErrorKind::Service, "the state's service failed"),
    }
}
