//! Deletions: what is named, nothing else, and absent keys are no errors.

use super::fixture::Fixture;
use super::{Checked, Verdict, ensure};

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
