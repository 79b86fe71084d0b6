//! The plan step: looks at both sides and turns a request into a specification.

use std::sync::Arc;

use jiff::Timestamp;
use skyhaul_model::filter::Filters;
use skyhaul_model::mapping::{Seen, SourceKind, plan_copy};
use skyhaul_model::spec::{Endpoint, Mode};
use skyhaul_model::{Error, ErrorKind, Location, Pin, Result, Scheme, Side, TransferSpec};
use skyhaul_state::Progress;
use skyhaul_stores::{Access, ListRequest, Store};

use crate::request::CopyRequest;
use skyhaul_stores::open::{self, Use};

/// See [`crate::Embedded::plan`]. `access` is what the destination must permit.
pub(crate) async fn plan(request: CopyRequest, access: Access) -> Result<TransferSpec> {
    let now = Timestamp::now();
    // Filters are compiled only to refuse bad ones before anything is asked of a store.
    Filters::compile(&request.filters, now)?;
    let source = absolute(&request.source)?;
    let destination = absolute(&request.destination)?;
    let recursive = request.recursive || request.mode == Mode::Sync;
    let seen = look(&request, &source, &destination, access).await?;
    if (source.location.scheme, destination.location.scheme) == (Scheme::Local, Scheme::Local) {
        // The plan of what the paths really are finds what links hide.
        let real = [
            resolved(&source.location).await,
            resolved(&destination.location).await,
        ];
        plan_copy(request.mode, &real[0], &real[1], recursive, &seen)?;
    }
    let plan = plan_copy(
        request.mode,
        &source.location,
        &destination.location,
        recursive,
        &seen,
    )?;
    if request.mode == Mode::Copy
        && matches!(
            seen.source,
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
    let source = Endpoint {
        location: plan.source,
        ..source
    };
    let destination = Endpoint {
        location: plan.destination,
        ..destination
    };
    for (endpoint, side, access) in [
        (&source, Side::Source, Access::Read),
        (&destination, Side::Destination, access),
    ] {
        if endpoint.location.scheme == Scheme::Local {
            open::store(endpoint, side, with(&request))
                .await?
                .check(access, "")
                .await?;
        }
    }
    Ok(TransferSpec {
        mode: request.mode,
        source,
        destinations: vec![destination],
        keys: plan.keys,
        filters: request.filters,
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

fn with(request: &CopyRequest) -> Use {
    Use {
        follow_symlinks: request.follow_symlinks,
        ..Use::default()
    }
}

/// Looks at both sides: what is there, and whether it can be used.
async fn look(
    request: &CopyRequest,
    source: &Endpoint,
    destination: &Endpoint,
    access: Access,
) -> Result<Seen> {
    let recursive = request.recursive || request.mode == Mode::Sync;
    let may_be_empty = request.delete.as_ref().is_some_and(|delete| delete.force);
    let (source_kind, source_place) = match source.location.scheme {
        Scheme::Local => {
            let mut kind = local_kind(&source.location).await?;
            if !recursive && let SourceKind::Folder { objects, more } = &mut kind {
                // It is refused: with the number of objects, not of its entries.
                let store = open::store(source, Side::Source, with(request)).await?;
                (*objects, *more) = count(&store, String::new()).await?;
            }
            (kind, None)
        }
        Scheme::S3 => {
            let store = open::store(source, Side::Source, with(request)).await?;
            store.check(Access::Read, &source.location.path).await?;
            let kind = s3_kind(&store, &source.location, recursive, may_be_empty).await?;
            (kind, store.place())
        }
    };
    let destination_is_folder = destination.location.scheme == Scheme::Local
        && is_directory(&destination.location.path).await;
    let opened = open::store(destination, Side::Destination, with(request)).await?;
    if destination.location.scheme == Scheme::S3 {
        opened.check(access, &destination.location.path).await?;
    }
    let same_service = match source.location.scheme {
        Scheme::Local => destination.location.scheme == Scheme::Local,
        // Whatever the identities: one who reads beside one who writes is an ordinary thing.
        Scheme::S3 => source_place.is_some() && source_place == opened.place(),
    };
    Ok(Seen {
        source: source_kind,
        destination_is_folder,
        same_service,
    })
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
    let path = location.path.clone();
    let real = tokio::task::spawn_blocking(move || {
        let path = std::path::Path::new(&path);
        path.ancestors().find_map(|ancestor| {
            let real = ancestor.canonicalize().ok()?;
            let rest = path.strip_prefix(ancestor).ok()?;
            real.join(rest).into_os_string().into_string().ok()
        })
    });
    match real.await {
        Ok(Some(path)) => location.with_path(path),
        _ => location.clone(),
    }
}
