//! The one loop around every request: a turn, a watch on progress, back-off with jitter.

use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use skyhaul_model::ErrorKind;

use super::body::Progress;
use super::bucket::Bucket;
use super::errors::{self, Failed};

/// Attempts for passing faults. Throttling has its own, longer patience.
const ATTEMPTS: u32 = 8;
/// Attempts while finding out whether the service is there at all: a second or two.
pub(super) const FEW_ATTEMPTS: u32 = 5;
/// Bytes that do not fit their checksum twice rarely do the third time.
const CORRUPT_ATTEMPTS: u32 = 3;
/// Throttling is waited out this long before the call gives up and leaves the rest to the caller.
const THROTTLE_PATIENCE: Duration = Duration::from_mins(15);
/// The user is told when one call was put off this often.
const THROTTLES_TOLD: u32 = 8;
const BASE_DELAY: Duration = Duration::from_millis(100);
const MAX_DELAY: Duration = Duration::from_secs(20);

/// How long a request may take without a sign of life.
pub(super) const QUICK: Duration = Duration::from_mins(1);
/// For requests that make the service work: completions and copies.
pub(super) const SLOW: Duration = Duration::from_mins(30);

/// What a call is about and how it is tried.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call<'a> {
    /// The object concerned, for messages.
    pub(super) key: Option<&'a str>,
    /// Give up an attempt after this long without progress.
    pub(super) patience: Duration,
    /// Most attempts.
    pub(super) attempts: u32,
    /// Bytes sent, if the request has a large body.
    pub(super) progress: Option<&'a Progress>,
}

impl<'a> Call<'a> {
    /// An ordinary request about an object.
    pub(super) fn object(key: &'a str) -> Self {
        Self {
            key: Some(key),
            ..Self::bucket()
        }
    }

    /// An ordinary request about the bucket.
    pub(super) fn bucket() -> Self {
        Self {
            key: None,
            patience: QUICK,
            attempts: ATTEMPTS,
            progress: None,
        }
    }

    /// With more patience.
    pub(super) fn slow(self) -> Self {
        Self {
            patience: SLOW,
            ..self
        }
    }

    /// With fewer attempts.
    pub(super) fn attempts(self, attempts: u32) -> Self {
        Self { attempts, ..self }
    }

    /// With a body whose progress counts as a sign of life.
    pub(super) fn progress(self, progress: &'a Progress) -> Self {
        Self {
            progress: Some(progress),
            ..self
        }
    }
}

impl Bucket {
    /// [`Self::run`] for a request through the SDK.
    pub(super) async fn call<T, E, F>(
        &self,
        call: Call<'_>,
        mut attempt: impl FnMut() -> F,
    ) -> Result<T, Failed>
    where
        F: Future<Output = Result<T, SdkError<E, HttpResponse>>>,
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        self.run(call, || {
            let attempt = attempt();
            async {
                let reply = attempt.await;
                reply.map_err(|error| errors::from_sdk(&self.context, call.key, error))
            }
        })
        .await
    }

    /// Makes a request until it succeeds or no retry can help. `ambiguous` in the failure says
    /// whether any attempt may have taken effect.
    pub(super) async fn run<T, F>(
        &self,
        call: Call<'_>,
        mut attempt: impl FnMut() -> F,
    ) -> Result<T, Failed>
    where
        F: Future<Output = Result<T, Failed>>,
    {
        let mut faults = 0;
        let mut throttles = 0;
        let mut ambiguous = false;
        let mut throttled_since: Option<Instant> = None;
        loop {
            let mut failed = match self.once(call, Box::pin(attempt())).await {
                Ok(reply) => return Ok(reply),
                Err(failed) => failed,
            };
            ambiguous |= failed.ambiguous;
            failed.ambiguous = ambiguous;
            // What may have taken effect and must not be done twice is the caller's to look for.
            if !failed.error.retryable || (call.attempts == 1 && ambiguous) {
                return Err(failed);
            }
            let nth = if failed.error.kind == ErrorKind::Throttled {
                let since = *throttled_since.get_or_insert_with(Instant::now);
                throttles += 1;
                if since.elapsed() > THROTTLE_PATIENCE {
                    return Err(failed);
                }
                if throttles == THROTTLES_TOLD {
                    tracing::warn!(
                        service = self.context.service(),
                        "the service asks to slow down, again and again: waiting for up to {} \
                         minutes",
                        THROTTLE_PATIENCE.as_secs() / 60
                    );
                }
                throttles
            } else {
                throttled_since = None;
                faults += 1;
                let most = match failed.error.kind {
                    ErrorKind::Corrupt => call.attempts.min(CORRUPT_ATTEMPTS),
                    _ => call.attempts,
                };
                if faults >= most {
                    return Err(failed);
                }
                faults
            };
            tracing::debug!(attempt = nth, error = %failed.error, "trying again");
            self.retries.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(delay(nth)).await;
        }
    }

    /// One attempt, in its turn.
    pub(super) async fn once<T>(
        &self,
        call: Call<'_>,
        attempt: Pin<Box<impl Future<Output = Result<T, Failed>>>>,
    ) -> Result<T, Failed> {
        let _turn = self.pace.turn().await;
        match self.watch(call, attempt).await {
            Ok(Ok(reply)) => {
                self.pace.succeeded();
                Ok(reply)
            }
            Ok(Err(failed)) | Err(failed) => {
                if failed.error.kind == ErrorKind::Throttled {
                    self.pace.throttled();
                }
                Err(failed)
            }
        }
    }

    /// Waits for an attempt as long as there are signs of life.
    async fn watch<T>(
        &self,
        call: Call<'_>,
        mut attempt: Pin<Box<impl Future<Output = T>>>,
    ) -> Result<T, Failed> {
        let bytes = || call.progress.map(|bytes| bytes.load(Ordering::Relaxed));
        let mut before = bytes();
        loop {
            if let Ok(reply) = tokio::time::timeout(call.patience, &mut attempt).await {
                return Ok(reply);
            }
            let now = bytes();
            if now == before {
                let seconds = call.patience.as_secs();
                return Err(errors::timed_out(&self.context, call.key, seconds));
            }
            before = now;
        }
    }
}

/// Full jitter under an exponential ceiling.
pub(super) fn delay(nth: u32) -> Duration {
    let ceiling = (BASE_DELAY * 2_u32.saturating_pow(nth - 1).min(1 << 16)).min(MAX_DELAY);
    ceiling.mul_f64(rand::random_range(0.1..=1.0))
}
