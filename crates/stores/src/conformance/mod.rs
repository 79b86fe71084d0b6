//! The conformance suite: what the engine relies on, asked of any store. A backend's tests name a
//! fixture and get one test for each check:
//!
//! ```ignore
//! skyhaul_stores::conformance_tests!(fixture); // fn fixture() -> impl Future<Output = Fixture>
//! ```
//!
//! Checks depend on nothing but the trait and the capabilities that the store states. What a test
//! server is known to get wrong is declared in [`Quirks`], never in the checks.

mod copying;
mod deleting;
mod fixture;
mod keys;
mod listing;
mod multipart;
mod reading;
mod streaming;
mod together;
mod writing;

use futures::future::BoxFuture;

pub use self::fixture::{Fixture, Quirks};

/// What a check found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The store keeps its promise.
    Holds,
    /// The store does not offer what is checked, or the server is known not to.
    NotApplicable(&'static str),
}

/// A promise that is not kept.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The store did something else than the trait says.
    #[error("{0}")]
    Broken(String),
    /// A call failed that should not have.
    #[error(transparent)]
    Call(#[from] skyhaul_model::Error),
}

/// The result of a check.
pub type Checked = Result<Verdict, Failure>;

/// Breaks off a check unless the condition holds.
macro_rules! ensure {
    ($holds:expr, $($message:tt)+) => {
        if !$holds {
            return Err($crate::conformance::Failure::Broken(format!($($message)+)));
        }
    };
}
pub(crate) use ensure;

/// Breaks off a check unless the call failed with this kind of error.
macro_rules! ensure_kind {
    ($result:expr, $($kind:path)|+, $what:expr) => {
        match $result {
            Err(error) if matches!(error.kind, $($kind)|+) => {}
            Err(error) => {
                let message = format!("{}: failed as {:?}: {error}", $what, error.kind);
                return Err($crate::conformance::Failure::Broken(message));
            }
            Ok(_) => {
                let message = format!("{}: succeeded", $what);
                return Err($crate::conformance::Failure::Broken(message));
            }
        }
    };
}
pub(crate) use ensure_kind;

/// Every check by its name, as a function and as a test of whoever names a fixture.
macro_rules! checks {
    ($d:tt $($module:ident::$name:ident),+ $(,)?) => {
        /// The names of all checks.
        pub const CHECKS: &[&str] = &[$(stringify!($name)),+];

        /// Runs one check by its name; `None` if there is none of that name.
        #[must_use]
        pub fn run<'a>(name: &str, fixture: &'a Fixture) -> Option<BoxFuture<'a, Checked>> {
            match name {
                $(stringify!($name) => Some(Box::pin($module::$name(fixture))),)+
                _ => None,
            }
        }

        /// One test for each check over `fn fixture() -> impl Future<Output = Fixture>`.
        #[macro_export]
        macro_rules! conformance_tests {
            ($d fixture:path) => {
                $(
                    #[tokio::test]
                    async fn $name() {
                        let fixture = $d fixture().await;
                        let check = $crate::conformance::run(stringify!($name), &fixture);
                        match check.expect("the check exists").await {
                            Ok(verdict) => println!("{verdict:?}"),
                            Err(failure) => panic!("{failure}"),
                        }
                    }
                )+
            };
        }
    };
}

checks! { $
    listing::listing_pages_in_order,
    listing::listing_within_bounds,
    listing::listing_of_a_prefix,
    listing::listing_describes_objects,
    listing::listing_of_nothing,
    reading::reading_what_is_absent,
    reading::reading_whole_objects,
    reading::reading_ranges,
    reading::reading_is_pinned_to_one_version,
    writing::writing_replaces_objects,
    writing::writing_under_conditions,
    writing::writing_keeps_attributes,
    writing::writing_keeps_tags,
    writing::writing_keeps_modification_times,
    writing::writing_verifies_checksums,
    writing::writing_empty_objects,
    writing::writing_appears_at_commit,
    writing::writing_folder_markers,
    together::together_each_is_written,
    together::together_one_fails_alone,
    keys::keys_survive_unchanged,
    keys::keys_beside_keys_below_them,
    multipart::upload_across_processes,
    multipart::upload_replaces_a_part,
    multipart::upload_with_a_missing_part_fails,
    multipart::upload_verifies_checksums,
    multipart::upload_finishes_twice,
    multipart::upload_under_conditions,
    multipart::upload_is_aborted,
    multipart::uploads_are_found_by_their_key,
    multipart::upload_keeps_what_it_was_opened_with,
    streaming::upload_streams_parts,
    streaming::upload_streams_no_broken_part,
    streaming::objects_are_streamed,
    streaming::objects_are_streamed_whole_or_not_at_all,
    deleting::deleting_takes_what_is_named,
    deleting::deleting_leaves_what_is_another_by_now,
    copying::copying_inside_the_service,
    copying::copying_parts_inside_the_service,
}
