//! Listing a whole prefix with many ranges at once, for `ls`: ranges cut themselves while others
//! are idle. Nothing is stored; a transfer's listing is in [`super::slice`].

use std::sync::Arc;

use skyhaul_model::{Error, ErrorKind, Result};
use skyhaul_stores::{ListPage, ListRequest, Store};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::scan::{Scan, Shared};
use super::split;

/// Lists everything under a prefix with up to `width` list calls under way, and hands each page to
/// `show`: pages are ordered inside but arrive in any order. Returns the number of list calls.
pub async fn list_unordered(
    store: Arc<dyn Store>,
    prefix: &str,
    width: usize,
    show: &mut (dyn FnMut(ListPage) + Send),
) -> Result<u64> {
    let shared = Arc::new(Shared::default());
    let request = ListRequest {
        prefix: prefix.to_owned(),
        ..ListRequest::default()
    };
    let first = Scan::new(Arc::clone(&store), Arc::clone(&shared), request);
    let (pages, mut arrived) = mpsc::channel::<ListPage>(width * 2);
    let (cuts, mut new_scans) = mpsc::unbounded_channel::<Scan>();
    let mut tasks = JoinSet::new();
    // A permit is a list call under way; a scan holds one for its life, a cut takes a free one.
    let permits = Arc::new(tokio::sync::Semaphore::new(width.max(1)));
    let spawn = |tasks: &mut JoinSet<Result<()>>, mut scan: Scan| {
        let (pages, cuts, permits) = (pages.clone(), cuts.clone(), Arc::clone(&permits));
        tasks.spawn(async move {
            loop {
                let free = split::take_permits(&permits, width);
                let (page, rights) = scan.next(free.len()).await?;
                for (right, permit) in rights.into_iter().zip(free) {
                    permit.forget();
                    let _ = cuts.send(right);
                }
                let Some(page) = page else { break };
                if pages.send(page).await.is_err() {
                    break;
                }
            }
            permits.add_permits(1);
            Ok(())
        });
    };
    if let Ok(permit) = permits.try_acquire() {
        permit.forget();
    }
    spawn(&mut tasks, first);
    loop {
        tokio::select! {
            biased;
            Some(scan) = new_scans.recv() => spawn(&mut tasks, scan),
            Some(page) = arrived.recv() => show(page),
            Some(ended) = tasks.join_next() => {
                ended.map_err(|error| {
                    Error::control(ErrorKind::Internal, "a listing task ended").cause(error)
                })??;
                while let Ok(scan) = new_scans.try_recv() {
                    spawn(&mut tasks, scan);
                }
                if tasks.is_empty() {
                    break;
                }
            }
        }
    }
    while let Ok(page) = arrived.try_recv() {
        show(page);
    }
    Ok(shared.pages())
}
