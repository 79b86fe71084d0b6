//! The plan step: looks at both sides and turns a request into a specification.

use std::sync::Arc;

use jiff::Timestamp;
use skyhaul_model::compare::IfExists;
use skyhaul_model::filter::Filters;
use skyhaul_model::first::First;
use skyhaul_model::mapping::{self, CopyPlan, Seen, SourceKind, plan_copy};
use skyhaul_model::spec::{Endpoint, Mode};
use skyhaul_model::{Error, ErrorKind, Location, Pin, Result, Scheme, Side, TransferSpec};
use skyhaul_state::Progress;
use skyhaul_stores::{Access, ListRequest, Store, several};

use crate::request::CopyRequest;
use skyhaul_stores::open::{Ambient, Opens, Use};

/// What is at a source on this machine, whose path is made absolute, and that it can be read: for who plans elsewhere.
pub async fn here(request: &mut CopyRequest) -> Result<SourceKind> {
    request.source = absolute(&request.source)?;
    let source = &request.source;
    let opened = Ambient.open(source, Side::Source, with(request)).await?;
    let (kind, _) = look_at_source(&Ambient, request, source).await?;
    match kind {
        SourceKind::Absent => {
            let message = "there is nothing of this name";
            Err(Error::new(Side::Source, ErrorKind::NotFound, message)
                .object(source.location.to_string()))
        }
        SourceKind::Folder { .. } => opened.check(Access::Read, "").await.map(|()| kind),
        SourceKind::Object => Ok(kind),
    }
}

/// See [`crate::Embedded::plan`]. `access` is what the destinations must permit; `seen` is what is at the source, if
/// it is on another machine ([`here`]).
pub(crate) async fn plan(
    opens: &dyn Opens,
    request: CopyRequest,
    access: Access,
    seen: Option<SourceKind>,
) -> Result<TransferSpec> {
    let now = Timestamp::now();
    // Filters are compiled only to refuse bad ones before anything is asked of a store.
    Filters::compile(&request.filters, now)?;
    First::compile(&request.first)?;
    refuse_several(&request)?;
    let source = absolute(&request.source)?;
    let (kind, place) = match seen {
        Some(kind) => (kind, None),
        None => look_at_source(opens, &request, &source).await?,
    };
    let mut planned = Vec::new();
    for destination in &request.destinations {
        let destination = absolute(destination)?;
        refuse_source(&request, &source, &destination).await?;
        let seen = look_at_destination(opens, &request, &destination, access).await?;
        planned.push(one(&request, &source, (kind, &place), destination, seen).await?);
    }
    refuse_shared(&planned)?;
    if request.mode == Mode::Copy
        && matches!(
            kind,
            SourceKind::Folder {
                objects: 0,
                more: false
            }
        )
    {
        return Err(Error::new(
            Side::Source,
            ErrorKind::NotFound,
            "there is nothing to copy",
        )
        .object(source.location.to_string())
        .hint("the folder is empty"));
    }
    let plans: Vec<CopyPlan> = planned.iter().map(|one| one.plan.clone()).collect();
    let (keys, renames) =
        mapping::renames(&plans).ok_or_else(|| Error::invalid("no destination is given"))?;
    let source = Endpoint {
        location: plans[0].source.clone(),
        ..source
    };
    let destination = |one: Planned| Endpoint {
        location: one.plan.destination,
        ..one.destination
    };
    let destinations: Vec<Endpoint> = planned.into_iter().map(destination).collect();
    let near = Some((&source, Side::Source, Access::Read)).filter(|_| seen.is_none());
    let far = destinations.iter();
    let sides = near
        .into_iter()
        .chain(far.map(|endpoint| (endpoint, Side::Destination, access)));
    for (endpoint, side, access) in sides {
        if endpoint.location.scheme == Scheme::Local {
            opens
                .open(endpoint, side, with(&request))
                .await?
                .check(access, "")
                .await?;
        }
    }
    Ok(TransferSpec {
        mode: request.mode,
        source,
        destinations,
        keys,
        renames,
        filters: request.filters,
        first: request.first,
        compare: request.compare,
        if_exists: request.if_exists,
        delete: request.delete,
        attributes: request.attributes,
        parts: request.parts,
        checksum: request.checksum,
        encryption: request.encryption,
        stream: request.stream,
        follow_symlinks: request.follow_symlinks,
        durability: request.durability,
        now,
    })
}

/// A copy to one of the destinations.
struct Planned {
    destination: Endpoint,
    plan: CopyPlan,
    /// The same where the paths are what they really are: it finds what links hide.
    real: CopyPlan,
    place: Option<String>,
}

/// Refuses what cannot be done at several destinations at once.
fn refuse_several(request: &CopyRequest) -> Result<()> {
    let count = request.destinations.len();
    let refuse = |what: &str, hint: &str| Err(Error::invalid(what).hint(hint));
    if count < 2 {
        return Ok(());
    }
    if count > several::MOST {
        let message = format!("{count} destinations are too many");
        return refuse(&message, &format!("at most {} at once", several::MOST));
    }
    if request.mode == Mode::Sync {
        return refuse("a sync has one destination", "run one for each destination");
    }
    if request.if_exists != IfExists::Overwrite {
        return refuse(
            "copies to several destinations overwrite",
            "run one copy for each destination, or leave out --if-exists",
        );
    }
    Ok(())
}

/// Refuses a place that looks as if it was meant as one more source, since it would be overwritten.
async fn refuse_source(
    request: &CopyRequest,
    source: &Endpoint,
    destination: &Endpoint,
) -> Result<()> {
    if request.destinations.len() < 2 || destination.location.scheme != Scheme::Local {
        return Ok(());
    }
    let path = &destination.location.path;
    let Ok(meta) = tokio::fs::metadata(path).await else {
        return Ok(());
    };
    let from_here = source.location.scheme == Scheme::Local;
    let refuse = |hint: &str| {
        let what = "it exists, and would be written to: a copy has one source";
        Err(Error::invalid(what).object(path.clone()).hint(hint))
    };
    if !meta.is_dir() {
        return refuse("what follows the source are destinations; remove the file if it is meant");
    }
    if from_here && request.recursive && !destination.location.is_folder() {
        return refuse(
            "what follows the source are destinations; end it with a slash if it is meant",
        );
    }
    Ok(())
}

/// The plan for one destination.
async fn one(
    request: &CopyRequest,
    source: &Endpoint,
    (kind, source_place): (SourceKind, &Option<String>),
    destination: Endpoint,
    (destination_is_folder, place): (bool, Option<String>),
) -> Result<Planned> {
    let local = |endpoint: &Endpoint| endpoint.location.scheme == Scheme::Local;
    let seen = Seen {
        source: kind,
        destination_is_folder,
        same_service: if local(source) {
            local(&destination)
        } else {
            // Whatever the identities: one who reads beside one who writes is an ordinary thing.
            source_place.is_some() && *source_place == place
        },
    };
    let plan = |from: &Location, to: &Location| {
        plan_copy(request.mode, from, to, request.recursive, &seen)
    };
    // The plan of what the paths really are finds what links hide.
    let real = plan(
        &resolved(&source.location).await,
        &resolved(&destination.location).await,
    )?;
    Ok(Planned {
        plan: plan(&source.location, &destination.location)?,
        real,
        destination,
        place,
    })
}

/// Refuses destinations that would overwrite each other's objects.
fn refuse_shared(planned: &[Planned]) -> Result<()> {
    for (count, one) in planned.iter().enumerate() {
        let of_one_place = planned[..count]
            .iter()
            .filter(|other| other.place == one.place);
        for other in of_one_place {
            mapping::refuse_shared(&other.real, &one.real)?;
        }
    }
    Ok(())
}

fn with(request: &CopyRequest) -> Use {
    Use {
        follow_symlinks: request.follow_symlinks,
        ..Use::default()
    }
}

/// What is at the source, whether it can be read, and where it is.
async fn look_at_source(
    opens: &dyn Opens,
    request: &CopyRequest,
    source: &Endpoint,
) -> Result<(SourceKind, Option<String>)> {
    let recursive = request.recursive || request.mode == Mode::Sync;
    let may_be_empty = request.delete.as_ref().is_some_and(|delete| delete.force);
    match source.location.scheme {
        Scheme::Local => {
            let mut kind = local_kind(&source.location).await?;
            if !recursive && let SourceKind::Folder { objects, more } = &mut kind {
                // It is refused: with the number of objects, not of its entries.
                let store = opens.open(source, Side::Source, with(request)).await?;
                (*objects, *more) = count(&store, String::new()).await?;
            }
            Ok((kind, None))
        }
        Scheme::S3 => {
            let store = opens.open(source, Side::Source, with(request)).await?;
            store.check(Access::Read, &source.location.path).await?;
            let kind = s3_kind(&store, &source.location, recursive, may_be_empty).await?;
            Ok((kind, store.place()))
        }
    }
}

/// Whether a destination is a local folder that exists, and where it is. Fails if it cannot be used.
async fn look_at_destination(
    opens: &dyn Opens,
    request: &CopyRequest,
    destination: &Endpoint,
    access: Access,
) -> Result<(bool, Option<String>)> {
    let is_folder = destination.location.scheme == Scheme::Local
        && is_directory(&destination.location.path).await;
    let opened = opens
        .open(destination, Side::Destination, with(request))
        .await?;
    if destination.location.scheme == Scheme::S3 {
        opened.check(access, &destination.location.path).await?;
    }
    Ok((is_folder, opened.place()))
}

/// A copy of nothing is not what was meant.
pub(crate) fn something_matched(spec: &TransferSpec, progress: &Progress) -> Result<()> {
    let listed = &progress.listed;
    if spec.mode == Mode::Sync || listed.source_objects > 0 || listed.failed > 0 {
        return Ok(());
    }
    let error = Error::new(Side::Source, ErrorKind::NotFound, "nothing matched")
        .object(spec.source.location.to_string());
    Err(error.hint(if spec.filters.is_empty() {
        "there is no object any more"
    } else {
        "the filters leave out every object"
    }))
}

/// The same endpoint with an absolute local path, since a transfer may go on from elsewhere.
fn absolute(endpoint: &Endpoint) -> Result<Endpoint> {
    let location = &endpoint.location;
    if location.scheme != Scheme::Local {
        return Ok(endpoint.clone());
    }
    let path = std::path::absolute(&location.path)
        .map_err(|error| Error::invalid(format!("`{}` is no path", location.path)).cause(error))?;
    let mut path = path
        .into_os_string()
        .into_string()
        .map_err(|_| Error::invalid("the path of the present directory is not UTF-8"))?;
    if location.is_folder() && !path.ends_with('/') {
        path.push('/');
    }
    Ok(Endpoint {
        location: location.with_path(path),
        ..endpoint.clone()
    })
}

async fn is_directory(path: &str) -> bool {
    tokio::fs::metadata(path)
        .await
        .is_ok_and(|meta| meta.is_dir())
}

async fn local_kind(location: &Location) -> Result<SourceKind> {
    let failed = |error: std::io::Error| {
        let kind = match error.kind() {
            std::io::ErrorKind::PermissionDenied => ErrorKind::AccessDenied,
            _ => ErrorKind::NotFound,
        };
        Error::new(Side::Source, kind, "cannot be read")
            .object(location.to_string())
            .cause(error)
    };
    let meta = match tokio::fs::metadata(&location.path).await {
        Ok(meta) => meta,
        Err(error)
            if matches!(
                error.kind(),
                std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory
            ) =>
        {
            return Ok(SourceKind::Absent);
        }
        Err(error) => return Err(failed(error)),
    };
    if !meta.is_dir() {
        return Ok(SourceKind::Object);
    }
    // Whether there is anything: who wants their number counts the objects.
    let mut entries = tokio::fs::read_dir(&location.path).await.map_err(failed)?;
    let first = entries.next_entry().await.map_err(failed)?;
    Ok(SourceKind::Folder {
        objects: u64::from(first.is_some()),
        more: false,
    })
}

async fn s3_kind(
    store: &Arc<dyn Store>,
    location: &Location,
    recursive: bool,
    may_be_empty: bool,
) -> Result<SourceKind> {
    let path = location.path.as_str();
    // An object of exactly this key is the answer without -r.
    let is_object = match (location.is_folder(), recursive) {
        (true, true) => false,
        (true, false) => is_marker(store, path).await?,
        (false, _) => store.stat(path, &Pin::default(), false).await?.is_some(),
    };
    if is_object && !recursive {
        return Ok(SourceKind::Object);
    }
    let prefix = if location.is_folder() {
        path.to_owned()
    } else {
        format!("{path}/")
    };
    let (objects, more) = count(store, prefix).await?;
    Ok(match (objects, is_object) {
        (0, true) => SourceKind::Object,
        // An empty bucket can still be the source of a sync, and so can an empty prefix if that is
        // said to be meant; the guard on deletions decides what that may do.
        (0, false) if recursive && (path.is_empty() || may_be_empty) => SourceKind::Folder {
            objects: 0,
            more: false,
        },
        (0, false) => SourceKind::Absent,
        _ => SourceKind::Folder { objects, more },
    })
}

/// Objects under a prefix, on the first page that has some, and whether there are more.
pub(crate) async fn count(store: &Arc<dyn Store>, prefix: String) -> Result<(u64, bool)> {
    let mut listing = store.list(ListRequest {
        prefix,
        ..ListRequest::default()
    });
    let mut objects = 0;
    while let Some(page) = listing.next_page().await? {
        if objects > 0 {
            return Ok((objects, true));
        }
        objects += page.entries.len() as u64;
    }
    Ok((objects, false))
}

/// Whether there is a folder marker of exactly this key. Some services answer a stat of any folder,
/// so the listing decides.
async fn is_marker(store: &Arc<dyn Store>, key: &str) -> Result<bool> {
    let mut listing = store.list(ListRequest {
        prefix: key.to_owned(),
        upto: Some(key.to_owned()),
        ..ListRequest::default()
    });
    while let Some(page) = listing.next_page().await? {
        if page.entries.iter().any(|entry| entry.key == key) {
            return Ok(!key.is_empty());
        }
    }
    Ok(false)
}

/// Two local paths as the file system resolves them, for a plan that must see through links: what
/// does not exist yet is kept as it is.
async fn resolved(location: &Location) -> Location {
    if location.scheme != Scheme::Local {
        return location.clone();
    }
    let path = location.path.clone();
    let is_folder = location.is_folder();
    let real = tokio::task::spawn_blocking(move || {
        let path = std::path::Path::new(&path);
        path.ancestors().find_map(|ancestor| {
            let real = ancestor.canonicalize().ok()?;
            let rest = path.strip_prefix(ancestor).ok()?;
            // Joined with nothing, a file would be a folder.
            let real = if rest.as_os_str().is_empty() {
                real
            } else {
                real.join(rest)
            };
            let mut real = real.into_os_string().into_string().ok()?;
            if is_folder && !real.ends_with('/') {
                real.push('/');
            }
            Some(real)
        })
    });
    match real.await {
        Ok(Some(path)) => location.with_path(path),
        _ => location.clone(),
    }
}
