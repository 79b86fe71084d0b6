//! Deletions: what is named, nothing else, and absent keys are no errors.

use skyhaul_model::{Error, ErrorKind, Pin};

use super::fixture::Fixture;
use super::{Checked, Verdict, ensure, ensure_kind};

pub(super) async fn deleting_takes_what_is_named(fixture: &Fixture) -> Checked {
    let mut named = Vec::new();
    let mut kept = Vec::new();
    for at in 0..40 {
        let key = fixture.key(&format!("d{}/e/{at}", at % 4));
        fixture.put(&key, "x").await?;
        if at % 4 == 3 || at > 35 {
            kept.push(key);
        } else {
            named.push(key);
        }
    }
    for name in ["absent", "d0/absent", "d0/e", "d", "absent/absent"] {
        named.push(fixture.key(name));
    }
    kept.sort();
    // Twice: a call whose reply was lost is made again.
    for _ in 0..2 {
        let outcomes = fixture.store.delete(&named).await;
        let answered: Vec<&String> = outcomes.iter().map(|outcome| &outcome.key).collect();
        let all = answered.len() == named.len() && named.iter().all(|key| answered.contains(&key));
        ensure!(all, "answers for {answered:?}");
        for outcome in outcomes {
            outcome.result?;
        }
        let found = fixture.keys().await?;
        ensure!(found == kept, "left: {found:?}");
    }
    let outcomes = fixture.store.delete(&[]).await;
    ensure!(outcomes.is_empty(), "answers for nothing: {outcomes:?}");
    Ok(Verdict::Holds)
}

pub(super) async fn deleting_leaves_what_is_another_by_now(fixture: &Fixture) -> Checked {
    let (store, key) = (&fixture.store, fixture.key("changes"));
    let seen = async || {
        let found = store.stat(&key, &Pin::default(), false).await?;
        found.ok_or_else(|| Error::control(ErrorKind::NotFound, "what was written is gone"))
    };
    fixture.put(&key, "one").await?;
    let before = seen().await?;
    fixture.put(&key, "another").await?;
    let refused = store.delete_if(&key, &before.pin).await;
    ensure_kind!(refused, ErrorKind::PreconditionFailed, "what changed");
    let now = seen().await?;
    // Twice: what is gone is gone.
    for _ in 0..2 {
        store.delete_if(&key, &now.pin).await?;
        ensure!(fixture.keys().await?.is_empty(), "it is still there");
    }
    Ok(Verdict::Holds)
}
