//! Headers of every request to a bucket: whose it must be, and who pays.

use aws_sdk_s3::config::interceptors::BeforeTransmitInterceptorContextMut;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use skyhaul_model::spec::Connection;

/// The service refuses the request if the bucket is of another account:
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucket-owner-condition.html>.
const OWNER: &str = "x-amz-expected-bucket-owner";

/// See the module documentation.
#[derive(Debug, Clone, Default)]
pub(super) struct Standing {
    headers: Vec<(&'static str, String)>,
}

impl Standing {
    pub(super) fn of(connection: &Connection) -> Self {
        let owner = connection.bucket_owner.clone();
        let payer = connection.requester_pays.then(|| "requester".to_owned());
        let headers = [(OWNER, owner), ("x-amz-request-payer", payer)].into_iter();
        Self {
            headers: headers
                .filter_map(|(name, value)| Some((name, value?)))
                .collect(),
        }
    }

    /// Adds them.
    pub(super) fn add(&self, request: http::request::Builder) -> http::request::Builder {
        let headers = self.headers.iter();
        headers.fold(request, |request, (name, value)| {
            request.header(*name, value)
        })
    }
}

/// Makes a request one to a bucket of another owner than that of the client's.
pub(super) fn of_owner(owner: Option<String>) -> impl Fn(&mut HttpRequest) + Send + Sync + 'static {
    move |request| {
        match &owner {
            Some(owner) => request.headers_mut().insert(OWNER, owner.clone()),
            None => request.headers_mut().remove(OWNER),
        };
    }
}

// Requests that the SDK makes.
#[aws_smithy_runtime_api::client::interceptors::dyn_dispatch_hint]
impl Intercept for Standing {
    fn name(&self) -> &'static str {
        "Standing"
    }

    fn modify_before_signing(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let headers = context.request_mut().headers_mut();
        for (name, value) in &self.headers {
            headers.insert(*name, value.clone());
        }
        Ok(())
    }
}
