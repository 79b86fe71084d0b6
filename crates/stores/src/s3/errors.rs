//! From the SDK's errors to ours: the class that callers act on, and what the user can do.

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use skyhaul_model::{Error, ErrorKind};

use super::context::Context;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A refusal by the service.
#[derive(Debug, Default)]
pub(super) struct Refusal {
    /// HTTP status.
    pub(super) status: u16,
    /// S3 error code; HEAD replies carry none.
    pub(super) code: Option<String>,
    /// The service's own words.
    pub(super) message: Option<String>,
    /// `x-amz-bucket-region`.
    pub(super) region: Option<String>,
}

impl Refusal {
    /// Whether what was asked for may have been done: a 5xx or a 200 with an error inside may
    /// follow the work. Not where the service says by a code of its own that it is too busy; one
    /// without a code may be of something in between.
    pub(super) fn is_ambiguous(&self) -> bool {
        let put_off = self.code.is_some() && kind(self) == ErrorKind::Throttled;
        (self.status >= 500 || self.status < 300) && !put_off
    }
}

/// An error of a call, and whether the request may have taken effect all the same.
#[derive(Debug)]
pub(super) struct Failed {
    /// What went wrong.
    pub(super) error: Error,
    /// An attempt may have taken effect although its reply was lost.
    pub(super) ambiguous: bool,
}

impl From<Failed> for Error {
    fn from(failed: Failed) -> Self {
        failed.error
    }
}

/// Classifies an error of the SDK. `key` is the object concerned; without one it is the bucket.
pub(super) fn from_sdk<E>(
    context: &Context,
    key: Option<&str>,
    error: SdkError<E, HttpResponse>,
) -> Failed
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    // A reply that was understood as success and could not be read has no code.
    if let SdkError::ServiceError(service) = &error
        && (service.err().code().is_some() || service.raw().status().as_u16() >= 300)
    {
        let raw = service.raw();
        let refusal = Refusal {
            status: raw.status().as_u16(),
            code: service.err().code().map(ToOwned::to_owned),
            message: service.err().message().map(ToOwned::to_owned),
            region: raw
                .headers()
                .get("x-amz-bucket-region")
                .map(ToOwned::to_owned),
        };
        return Failed {
            error: refused(context, key, &refusal),
            ambiguous: refusal.is_ambiguous(),
        };
    }
    let failure = Failure::of(&error);
    let cause = error
        .into_source()
        .unwrap_or_else(|_| "unknown cause".into());
    transport(context, key, failure, cause)
}

/// What kept a call from getting a reply.
#[derive(Debug, Clone, Copy)]
pub(super) enum Failure {
    /// The request could not be made.
    Construction,
    /// No answer in time.
    Timeout,
    /// The connection failed.
    Io,
    /// Something else on the way.
    Other,
    /// A reply that cannot be read.
    Reply,
}

impl Failure {
    fn of<E, R>(error: &SdkError<E, R>) -> Self {
        match error {
            SdkError::ConstructionFailure(_) => Self::Construction,
            SdkError::TimeoutError(_) => Self::Timeout,
            SdkError::DispatchFailure(failure) if failure.is_timeout() => Self::Timeout,
            SdkError::DispatchFailure(failure) if failure.is_io() => Self::Io,
            SdkError::DispatchFailure(_) => Self::Other,
            _ => Self::Reply,
        }
    }
}

/// The error for a call that got no reply.
pub(super) fn transport(
    context: &Context,
    key: Option<&str>,
    failure: Failure,
    cause: BoxError,
) -> Failed {
    let service = context.service();
    let endpoint = context.flag("endpoint-url");
    if let Some(credentials) = credentials(&*cause) {
        // They were there when the store was opened: who gives them does not answer, or not well.
        let passes = matches!(
            credentials,
            CredentialsError::ProviderTimedOut(_) | CredentialsError::ProviderError(_)
        );
        if passes {
            let message = "credentials cannot be renewed";
            let error = Error::new(context.side, ErrorKind::Unreachable, message);
            return Failed {
                error: name(context, key, error).cause(cause),
                ambiguous: false,
            };
        }
        let error = Error::new(
            context.side,
            ErrorKind::AccessDenied,
            "no usable credentials",
        )
        .hint(format!(
            "name a profile with {}, set AWS_ACCESS_KEY_ID, or use {} for public buckets",
            context.flag("profile"),
            context.flag("no-sign-request")
        ));
        return Failed {
            error: name(context, key, error).cause(cause),
            ambiguous: false,
        };
    }
    let (kind, message, hint, ambiguous) = match failure {
        Failure::Construction => (
            ErrorKind::Refused,
            "the request cannot be made".to_owned(),
            None,
            false,
        ),
        Failure::Timeout => (
            ErrorKind::Timeout,
            format!("no answer in time from {service}"),
            None,
            true,
        ),
        Failure::Io | Failure::Other => (
            ErrorKind::Unreachable,
            format!("no connection to {service}"),
            Some(format!("check {endpoint} and the network")),
            true,
        ),
        Failure::Reply => (
            ErrorKind::Service,
            format!("a reply of {service} that makes no sense"),
            Some(format!("does {endpoint} name an S3 service?")),
            true,
        ),
    };
    let mut error = Error::new(context.side, kind, message);
    if let Some(hint) = hint {
        error = error.hint(hint);
    }
    Failed {
        error: name(context, key, error).cause(cause),
        ambiguous,
    }
}

/// A timeout that we measured ourselves.
pub(super) fn timed_out(context: &Context, key: Option<&str>, seconds: u64) -> Failed {
    let message = format!("no progress for {seconds} s from {}", context.service());
    let error = name(
        context,
        key,
        Error::new(context.side, ErrorKind::Timeout, message),
    );
    Failed {
        error,
        ambiguous: true,
    }
}

fn credentials<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a CredentialsError> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        next = error.source();
    }
    None
}

fn name(context: &Context, key: Option<&str>, error: Error) -> Error {
    match key {
        Some(key) => error.object(context.uri(key)),
        None => error.object(format!("s3://{}", context.bucket)),
    }
}

/// The class of a refusal.
fn kind(refusal: &Refusal) -> ErrorKind {
    let by_code = match refusal.code.as_deref().unwrap_or_default() {
        "NoSuchKey" | "NoSuchVersion" | "NoSuchBucket" | "NotFound" | "NoSuchTagSet"
        | "NoSuchTagSetError" => Some(ErrorKind::NotFound),
        "NoSuchUpload" | "InvalidPart" => Some(ErrorKind::UploadGone),
        "InvalidObjectState" => Some(ErrorKind::Archived),
        "PreconditionFailed" | "ConditionalRequestConflict" => Some(ErrorKind::PreconditionFailed),
        "SlowDown"
        | "Throttling"
        | "ThrottlingException"
        | "RequestLimitExceeded"
        | "TooManyRequests"
        | "RequestThrottled"
        | "BandwidthLimitExceeded"
        | "ServiceUnavailable"
        | "Busy"
        | "ServerBusy" => Some(ErrorKind::Throttled),
        "RequestTimeout" => Some(ErrorKind::Timeout),
        "InternalError" | "OperationAborted" => Some(ErrorKind::Service),
        "BadDigest"
        | "XAmzContentSHA256Mismatch"
        | "XAmzContentChecksumMismatch"
        | "InvalidDigest"
        | "IncompleteBody" => Some(ErrorKind::Corrupt),
        "PermanentRedirect"
        | "TemporaryRedirect"
        | "AuthorizationHeaderMalformed"
        | "IllegalLocationConstraintException" => Some(ErrorKind::WrongRegion),
        "AccessDenied"
        | "AllAccessDisabled"
        | "InvalidAccessKeyId"
        | "SignatureDoesNotMatch"
        | "ExpiredToken"
        | "InvalidToken"
        | "TokenRefreshRequired"
        | "RequestTimeTooSkewed"
        | "AccountProblem"
        | "NotSignedUp"
        | "UnauthorizedAccess"
        | "InvalidSecurity" => Some(ErrorKind::AccessDenied),
        "InvalidRange" => Some(ErrorKind::Changed),
        "QuotaExceeded" | "XMinioStorageFull" | "InsufficientStorage" => Some(ErrorKind::Full),
        "NotImplemented" | "MethodNotAllowed" => Some(ErrorKind::Unsupported),
        _ => None,
    };
    by_code.unwrap_or(match refusal.status {
        301 | 307 | 308 => ErrorKind::WrongRegion,
        400 if refusal.code.is_none() && refusal.region.is_some() => ErrorKind::WrongRegion,
        401 | 403 => ErrorKind::AccessDenied,
        404 => ErrorKind::NotFound,
        405 | 501 => ErrorKind::Unsupported,
        408 => ErrorKind::Timeout,
        412 => ErrorKind::PreconditionFailed,
        416 => ErrorKind::Changed,
        429 | 503 => ErrorKind::Throttled,
        507 => ErrorKind::Full,
        500.. => ErrorKind::Service,
        _ => ErrorKind::Refused,
    })
}

/// The error for a refusal by the service.
pub(super) fn refused(context: &Context, key: Option<&str>, refusal: &Refusal) -> Error {
    let kind = kind(refusal);
    let code = refusal.code.as_deref().unwrap_or_default();
    let what = match kind {
        ErrorKind::NotFound if code == "NoSuchBucket" => "the bucket does not exist".to_owned(),
        ErrorKind::NotFound if key.is_none() => "does not exist".to_owned(),
        ErrorKind::NotFound => "no such object".to_owned(),
        ErrorKind::UploadGone if code == "InvalidPart" => "parts of the upload are gone".to_owned(),
        ErrorKind::UploadGone => "the multipart upload is gone".to_owned(),
        ErrorKind::Archived => "is in an archive tier".to_owned(),
        ErrorKind::PreconditionFailed => "another version is there than expected".to_owned(),
        ErrorKind::Throttled => "the service asks to slow down".to_owned(),
        ErrorKind::WrongRegion => "the bucket is in another region".to_owned(),
        ErrorKind::AccessDenied => "access denied".to_owned(),
        ErrorKind::Changed => "the object changed".to_owned(),
        ErrorKind::Corrupt => "the service received other bytes than were sent".to_owned(),
        ErrorKind::Service => "the service failed".to_owned(),
        ErrorKind::Timeout => "the service gave up waiting".to_owned(),
        ErrorKind::Full => "no space or quota left".to_owned(),
        ErrorKind::Unsupported => "the service cannot do this".to_owned(),
        _ => "the service refused".to_owned(),
    };
    let mut message = what;
    let words: Vec<&str> = [refusal.code.as_deref(), refusal.message.as_deref()]
        .into_iter()
        .flatten()
        .filter(|text| !text.is_empty())
        .collect();
    if words.is_empty() {
        message = format!("{message} [HTTP {}]", refusal.status);
    } else {
        message = format!("{message} [{}]", words.join(": ").trim_end_matches('.'));
    }
    let mut error = Error::new(context.side, kind, message);
    if let Some(hint) = hint(context, kind, refusal) {
        error = error.hint(hint);
    }
    if code == "ConditionalRequestConflict" {
        // Two conditional writes met; nothing is decided yet.
        error = error.retryable(true);
    }
    let key = key.filter(|_| code != "NoSuchBucket");
    name(context, key, error)
}

fn hint(context: &Context, kind: ErrorKind, refusal: &Refusal) -> Option<String> {
    let code = refusal.code.as_deref().unwrap_or_default();
    let profile = context.flag("profile");
    let credentials = format!("check the credentials, {profile}");
    Some(match kind {
        ErrorKind::NotFound if code == "NoSuchBucket" => {
            format!("check its name and {}", context.flag("endpoint-url"))
        }
        ErrorKind::Archived => {
            "restore it first, for example with `aws s3api restore-object`".into()
        }
        ErrorKind::WrongRegion => match actual_region(refusal) {
            Some(region) => format!("{} {region}", context.flag("region")),
            None => format!("name its region with {}", context.flag("region")),
        },
        ErrorKind::AccessDenied => match code {
            "RequestTimeTooSkewed" => "set this machine's clock".into(),
            "ExpiredToken" | "TokenRefreshRequired" => {
                format!("the credentials have expired: renew them, {profile}")
            }
            "InvalidAccessKeyId" | "SignatureDoesNotMatch" | "InvalidToken" => credentials,
            _ if context.anonymous => {
                format!(
                    "the bucket is not public: leave out {}",
                    context.flag("no-sign-request")
                )
            }
            _ if !context.requester_pays && context.aws => format!(
                "check the permissions of {profile}; if the requester pays for this bucket, add \
                 --requester-pays"
            ),
            _ => format!("check the permissions of {profile}"),
        },
        _ => return None,
    })
}

/// The region that the service says the bucket is in.
pub(super) fn actual_region(refusal: &Refusal) -> Option<String> {
    if let Some(region) = &refusal.region {
        return Some(region.clone());
    }
    let (_, rest) = refusal.message.as_deref()?.split_once("expecting '")?;
    rest.split_once('\'').map(|(region, _)| region.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use skyhaul_model::Side;

    fn context(side: Side) -> Context {
        Context {
            side,
            bucket: "b".into(),
            endpoint: None,
            region: "us-east-1".into(),
            aws: true,
            anonymous: false,
            requester_pays: false,
        }
    }

    fn refuse(status: u16, code: &str, message: &str) -> Error {
        let refusal = Refusal {
            status,
            code: (!code.is_empty()).then(|| code.into()),
            message: (!message.is_empty()).then(|| message.into()),
            region: None,
        };
        refused(&context(Side::Source), Some("k"), &refusal)
    }

    #[test]
    fn codes_decide_before_statuses() {
        for (status, code, kind, retryable) in [
            (404, "NoSuchKey", ErrorKind::NotFound, false),
            (404, "", ErrorKind::NotFound, false),
            (404, "NoSuchUpload", ErrorKind::UploadGone, false),
            (403, "InvalidObjectState", ErrorKind::Archived, false),
            (403, "", ErrorKind::AccessDenied, false),
            (412, "", ErrorKind::PreconditionFailed, false),
            (
                409,
                "ConditionalRequestConflict",
                ErrorKind::PreconditionFailed,
                true,
            ),
            (503, "SlowDown", ErrorKind::Throttled, true),
            (200, "SlowDown", ErrorKind::Throttled, true),
            (200, "InternalError", ErrorKind::Service, true),
            (500, "", ErrorKind::Service, true),
            (400, "RequestTimeout", ErrorKind::Timeout, true),
            (400, "BadDigest", ErrorKind::Corrupt, true),
            (400, "EntityTooLarge", ErrorKind::Refused, false),
            (501, "NotImplemented", ErrorKind::Unsupported, false),
        ] {
            let error = refuse(status, code, "");
            assert_eq!(
                (error.kind, error.retryable),
                (kind, retryable),
                "{status} {code}"
            );
        }
    }

    #[test]
    fn hints_name_the_flags_of_the_side() {
        let error = refuse(403, "AccessDenied", "Access Denied");
        let text = error.to_string();
        assert!(
            text.contains("--requester-pays") && text.contains("--src-profile"),
            "{text}"
        );
        assert!(
            text.starts_with("source: s3://b/k: access denied [AccessDenied"),
            "{text}"
        );
        let text = refuse(
            400,
            "AuthorizationHeaderMalformed",
            "the region 'us-east-1' is wrong; expecting 'eu-west-1'",
        )
        .to_string();
        assert!(text.contains("--src-region eu-west-1"), "{text}");
        assert_eq!(context(Side::Destination).flag("region"), "--dst-region");
    }
}
