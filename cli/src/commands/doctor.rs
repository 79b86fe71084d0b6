//! `skyhaul doctor`.

use skyhaul_model::spec::Endpoint;
use skyhaul_model::{Result, Scheme, Side};
use skyhaul_stack::{Check, doctor, reaches};
use skyhaul_stores::Access;
use skyhaul_stores::open::{Ambient, Opens as _, Use};

use crate::args::DoctorArgs;
use crate::context::{Context, driver};
use crate::exit;
use crate::output::schema::{Body, Line};
use crate::output::{Lines, text};

/// Columns of what is looked at.
const WHAT: usize = 24;

/// What was looked at so far.
struct Shown {
    lines: Lines,
    json: bool,
    failed: bool,
}

impl Shown {
    fn add(&mut self, check: &Check) {
        let (ok, found, hint) = match &check.found {
            Ok(found) => (true, found.clone(), None),
            Err(error) => (false, error.to_string(), error.hint.as_deref()),
        };
        self.failed |= !ok;
        let what = &check.what;
        if self.json {
            let found = &found;
            self.lines.json(&Line::new(
                None,
                Body::Check {
                    what,
                    ok,
                    found,
                    hint,
                },
            ));
        } else {
            let (word, found) = (if ok { "ok" } else { "FAILED" }, text::printable(&found));
            self.lines
                .line(format_args!("{word:<6}  {what:<WHAT$}  {found}"));
        }
        self.lines.flush();
    }
}

/// Runs it.
pub(crate) async fn run(context: &Context, args: &DoctorArgs) -> Result<u8> {
    let config = context.config(args.place.overrides())?;
    let mut shown = Shown {
        lines: context.lines(),
        json: context.global.json,
        failed: false,
    };
    if let Some(place) = config.stack() {
        let mut told = |check: Check| shown.add(&check);
        let version = env!("CARGO_PKG_VERSION");
        let looked = Box::pin(doctor(&place, version, &mut told));
        let looked = async {
            looked.await;
            Ok(())
        };
        context.unless_cancelled(looked).await?;
    } else {
        let embedded = driver(&config)?;
        let transfers = embedded.transfers().await;
        let folder = config.state_dir()?.display().to_string();
        let found = transfers.map(|all| format!("{folder}, {} transfers", all.len()));
        shown.add(&Check::new("state", found));
    }
    for (side, endpoint) in args.sides.endpoints(&config)? {
        let looked = context.unless_cancelled(async { Ok(look(side, &endpoint).await) });
        shown.add(&Check::new(side.to_string(), looked.await?));
        if let Some(place) = config.stack()
            && is_of_deployment(&endpoint)
        {
            let bucket = &endpoint.location.container;
            let found = async { Ok(reaches(&place, bucket).await) };
            let found = context.unless_cancelled(found).await?;
            shown.add(&Check::new(format!("{side} for it"), found));
        }
    }
    let failed = shown.failed;
    shown.lines.end()?;
    Ok(if failed { exit::INCOMPLETE } else { exit::DONE })
}

/// Whether a deployment reaches a side by its own role.
fn is_of_deployment(endpoint: &Endpoint) -> bool {
    let connection = &endpoint.connection;
    endpoint.location.scheme == Scheme::S3
        && connection.role.is_none()
        && connection.secret.is_none()
}

/// Whether a side can be used, and where it is.
async fn look(side: Side, endpoint: &Endpoint) -> Result<String> {
    let opened = Ambient.open(endpoint, side, Use::default());
    let store = opened.await?;
    let access = if side == Side::Source {
        Access::Read
    } else {
        Access::Write
    };
    let prefix = &endpoint.location.path;
    store.check(access, prefix).await?;
    let region = store.region();
    let place = store.uri(prefix);
    Ok(region.map_or_else(|| place.clone(), |region| format!("{place} in {region}")))
}
