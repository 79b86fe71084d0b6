//! What a service of AWS said, in one line for people.

use std::error::Error as StdError;

use aws_sdk_cloudformation::error::ProvideErrorMetadata;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;

/// The service's code and words; of a call that did not reach it, what stood in its way.
pub fn said<E>(error: &SdkError<E, HttpResponse>) -> String
where
    E: ProvideErrorMetadata + StdError + Send + Sync + 'static,
{
    match (error.code(), error.message()) {
        (Some(code), Some(message)) => format!("{code}: {message}"),
        (Some(code), None) => code.to_owned(),
        _ => {
            let mut texts = vec![error.to_string()];
            let mut next = error.source();
            while let Some(source) = next {
                texts.push(source.to_string());
                next = source.source();
            }
            texts.join(": ")
        }
    }
}
