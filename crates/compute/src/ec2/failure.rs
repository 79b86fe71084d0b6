//! What the service's refusals mean, and which of them are answers that no repetition changes.

use aws_sdk_ec2::config::http::HttpResponse;
use aws_sdk_ec2::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use aws_sdk_ec2::operation::run_instances::RunInstancesError;
use aws_smithy_runtime_api::client::interceptors::context::InterceptorContext;
use aws_smithy_runtime_api::client::retries::classifiers::{ClassifyRetry, RetryAction};
use skyhaul_model::{Error, ErrorKind};

/// Has the SDK take for an answer what it would ask for again because of its status (500).
#[derive(Debug)]
pub(super) struct NoCapacityIsAnAnswer;

impl ClassifyRetry for NoCapacityIsAnAnswer {
    fn classify_retry(&self, context: &InterceptorContext) -> RetryAction {
        let refusal = context
            .output_or_error()
            .and_then(Result::err)
            .and_then(|error| error.as_operation_error())
            .and_then(|error| error.downcast_ref::<RunInstancesError>());
        let code = refusal.and_then(ProvideErrorMetadata::code);
        if code.is_some_and(|code| is_no_capacity(code) || is_over_quota(code)) {
            RetryAction::RetryForbidden
        } else {
            RetryAction::NoActionIndicated
        }
    }

    fn name(&self) -> &'static str {
        "no capacity is an answer"
    }
}

/// The service's code of a refusal; empty if it did not refuse.
pub(super) fn code<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> &str {
    error.code().unwrap_or_default()
}

/// Whether a type cannot be had in a zone now: <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html>.
pub(super) fn is_no_capacity(code: &str) -> bool {
    matches!(
        code,
        "InsufficientInstanceCapacity"
            | "InsufficientHostCapacity"
            | "InsufficientCapacity"
            | "InsufficientFreeAddressesInSubnet"
            | "SpotMaxPriceTooLow"
            | "Unsupported"
    )
}

/// Whether the account may have no more.
pub(super) fn is_over_quota(code: &str) -> bool {
    matches!(
        code,
        "VcpuLimitExceeded"
            | "InstanceLimitExceeded"
            | "MaxSpotInstanceCountExceeded"
            | "SpotInstanceCountLimitExceeded"
    )
}

/// Whether what was named is not there (any more).
pub(super) fn is_gone(code: &str) -> bool {
    code.ends_with(".NotFound") || code.ends_with(".Malformed") || code == "InvalidInstanceType"
}

/// The error of a call that failed for good.
pub(super) fn of<E>(error: &SdkError<E, HttpResponse>, what: &str, object: &str) -> Error
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    let (kind, hint) = match error {
        SdkError::TimeoutError(_) => (ErrorKind::Timeout, None),
        SdkError::DispatchFailure(failure) if failure.is_user() => (
            ErrorKind::AccessDenied,
            Some("are there credentials for this account?"),
        ),
        SdkError::DispatchFailure(_) | SdkError::ResponseError(_) => (ErrorKind::Unreachable, None),
        SdkError::ServiceError(refusal) => classify(
            refusal.err().code().unwrap_or_default(),
            refusal.raw().status().as_u16(),
        ),
        _ => (ErrorKind::Internal, None),
    };
    let text = DisplayErrorContext(error).to_string();
    let failure = Error::control(kind, what).object(object).cause(text);
    match hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

fn classify(code: &str, status: u16) -> (ErrorKind, Option<&'static str>) {
    match code {
        "UnauthorizedOperation"
        | "AuthFailure"
        | "InvalidClientTokenId"
        | "OptInRequired"
        | "Blocked"
        | "PendingVerification" => (
            ErrorKind::AccessDenied,
            Some("docs/IAM.md says which action each role needs"),
        ),
        "RequestLimitExceeded" | "Throttling" | "EC2ThrottledException" => {
            (ErrorKind::Throttled, None)
        }
        // What is to be removed is still used: it can be removed later. And a group that was made a moment
        // ago may not be known everywhere yet.
        "DependencyViolation" | "IncorrectInstanceState" | "InvalidGroup.NotFound" => {
            (ErrorKind::Service, None)
        }
        "RulesPerSecurityGroupLimitExceeded" => (
            ErrorKind::Full,
            Some("quota L-0EA8095F, rules of a security group: fewer gateways, or have it raised"),
        ),
        "SecurityGroupLimitExceeded" => (
            ErrorKind::Full,
            Some("quota L-E79EC296, security groups of a region: have it raised"),
        ),
        _ if is_over_quota(code) => (ErrorKind::Full, None),
        _ if is_gone(code) => (ErrorKind::NotFound, None),
        _ if status >= 500 => (ErrorKind::Service, None),
        _ => (ErrorKind::Invalid, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_told_apart() {
        let kind = |code, status| classify(code, status).0;
        assert_eq!(kind("UnauthorizedOperation", 403), ErrorKind::AccessDenied);
        assert_eq!(kind("RequestLimitExceeded", 503), ErrorKind::Throttled);
        assert_eq!(kind("DependencyViolation", 400), ErrorKind::Service);
        assert_eq!(kind("InvalidGroup.NotFound", 400), ErrorKind::Service);
        assert_eq!(kind("InvalidSubnetID.NotFound", 400), ErrorKind::NotFound);
        assert_eq!(kind("InvalidParameterValue", 400), ErrorKind::Invalid);
        assert_eq!(kind("InternalError", 500), ErrorKind::Service);
        assert!(is_no_capacity("InsufficientInstanceCapacity"));
        assert!(is_over_quota("VcpuLimitExceeded") && !is_no_capacity("VcpuLimitExceeded"));
    }
}
