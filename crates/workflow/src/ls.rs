//! Listing for people: all of a prefix with many calls at once, or one level of it.

use skyhaul_engine::listing::parallel;
use skyhaul_model::spec::Endpoint;
use skyhaul_model::{Error, ErrorKind, Pin, Result, Scheme, Side};
use skyhaul_stores::{Access, ListRequest, Store};
use std::sync::Arc;

use crate::embedded::LsEntry;
use skyhaul_stores::open::{self, Use};

/// See [`crate::Embedded::ls`].
pub(crate) async fn ls(
    endpoint: &Endpoint,
    recursive: bool,
    ordered: bool,
    width: usize,
    show: &mut (dyn FnMut(LsEntry) + Send),
) -> Result<()> {
    let location = &endpoint.location;
    let mut endpoint = endpoint.clone();
    let mut prefix = location.path.clone();
    if location.scheme == Scheme::Local {
        prefix = String::new();
        let path = std::path::Path::new(&location.path);
        if path.is_file() {
            let name = path
                .file_name()
                .and_then(|name| name.to_str())
                .unwrap_or_default();
            let parent = path
                .parent()
                .and_then(|parent| parent.to_str())
                .unwrap_or_default();
            let parent = if parent.is_empty() { "." } else { parent };
            endpoint.location = location.with_path(parent);
            name.clone_into(&mut prefix);
        }
    }
    let store = open::store(&endpoint, Side::Source, Use::default()).await?;
    store.check(Access::Read, &prefix).await?;
    let mut found = 0_u64;
    if !prefix.is_empty() && !prefix.ends_with('/') {
        // One object, or a folder without its slash.
        if store.stat(&prefix, &Pin::default(), false).await?.is_some() && !recursive {
            let request = ListRequest {
                prefix: prefix.clone(),
                upto: Some(prefix.clone()),
                ..ListRequest::default()
            };
            let mut listing = store.list(request);
            while let Some(page) = listing.next_page().await? {
                page.entries
                    .into_iter()
                    .map(LsEntry::Object)
                    .for_each(&mut *show);
            }
            return Ok(());
        }
        prefix.push('/');
    }
    if recursive && !ordered {
        parallel::list_unordered(Arc::clone(&store), &prefix, width, &mut |page| {
            found += page.entries.len() as u64;
            page.entries
                .into_iter()
                .map(LsEntry::Object)
                .for_each(&mut *show);
        })
        .await?;
    } else {
        found = serial(&store, &prefix, recursive, show).await?;
    }
    if found == 0 && !prefix.is_empty() {
        return Err(
            Error::new(Side::Source, ErrorKind::NotFound, "nothing is there")
                .object(store.uri(&prefix)),
        );
    }
    Ok(())
}

/// In key order; one level jumps over what is inside a folder.
async fn serial(
    store: &Arc<dyn Store>,
    prefix: &str,
    recursive: bool,
    show: &mut (dyn FnMut(LsEntry) + Send),
) -> Result<u64> {
    let mut found = 0;
    let mut after = None;
    'folders: loop {
        let request = ListRequest {
            prefix: prefix.to_owned(),
            after: after.take(),
            ..ListRequest::default()
        };
        let mut listing = store.list(request);
        while let Some(page) = listing.next_page().await? {
            let mut entries = page.entries.into_iter().peekable();
            while let Some(entry) = entries.next() {
                found += 1;
                let inner = &entry.key[prefix.len()..];
                let Some(slash) = inner.find('/').filter(|_| !recursive) else {
                    show(LsEntry::Object(entry));
                    continue;
                };
                let folder = entry.key[..=prefix.len() + slash].to_owned();
                while entries
                    .next_if(|next| next.key.starts_with(&folder))
                    .is_some()
                {}
                let jump = entries.peek().is_none();
                // `0` follows `/`, so this is the last name that the folder can hold.
                let end = format!("{folder}\u{10ffff}");
                show(LsEntry::Folder(folder));
                if jump {
                    after = Some(end);
                    continue 'folders;
                }
            }
        }
        return Ok(found);
    }
}
