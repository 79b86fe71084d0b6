//! Keys are kept byte for byte, or refused by name.

use skyhaul_model::{ErrorKind, Pin};

use super::fixture::Fixture;
use super::{Checked, Verdict, ensure};

/// Names that some layer on the way might rewrite.
const ODD: [&str; 32] = [
    " lead",
    "a b+c/d e+f",
    "trail ",
    "a b",
    "a+b",
    "a%20b",
    "%",
    "%2F",
    "a?b=c&d",
    "a#b",
    "a\\b",
    "a:b",
    "a*b",
    "'\"<>|",
    "{}[]^`",
    "a;b,c=d",
    "~",
    "$HOME",
    "-rf",
    "@!()",
    "\u{e9}",
    "e\u{301}",
    "\u{65e5}\u{672c}",
    "\u{1f600}",
    "tab\there",
    "...",
    "a..b",
    "a//b",
    "//a",
    "./a",
    "a/../b",
    "a/./b",
];

/// Those that no path of a file system can be.
fn is_no_path(name: &str) -> bool {
    name.split('/').any(|part| matches!(part, "" | "." | ".."))
}

/// Those that test servers are known to rewrite.
fn is_very_odd(name: &str) -> bool {
    is_no_path(name) || name.contains('\\')
}

pub(super) async fn keys_survive_unchanged(fixture: &Fixture) -> Checked {
    // What S3 takes in all: 1,024 bytes.
    let longest = 1_024 - fixture.prefix.len();
    let mut names: Vec<String> = ODD.map(str::to_owned).into();
    let long: String = (0..longest)
        .map(|at| if at % 200 == 199 { '/' } else { 'k' })
        .collect();
    names.push(long.trim_end_matches('/').to_owned());
    let mut expected = Vec::new();
    for name in names {
        if fixture.quirks.rewrites_odd_keys && is_very_odd(&name) {
            continue;
        }
        let key = fixture.key(&name);
        match fixture.put(&key, name.clone()).await {
            Ok(_) => {}
            // Refused by its name: not rewritten, nothing written.
            Err(error) if error.kind == ErrorKind::Refused && is_no_path(&name) => continue,
            Err(error) => return Err(error.into()),
        }
        let read = fixture.whole(&key).await?;
        ensure!(read == name.as_bytes(), "{key:?} reads as another object");
        let info = fixture.store.stat(&key, &Pin::default(), false).await?;
        ensure!(info.is_some(), "{key:?} is not described");
        expected.push(key);
    }
    expected.sort();
    let found = fixture.keys().await?;
    ensure!(found == expected, "listed as {found:?}");
    for outcome in fixture.store.delete(&expected).await {
        outcome.result?;
    }
    let left = fixture.keys().await?;
    ensure!(left.is_empty(), "not deleted: {left:?}");
    Ok(Verdict::Holds)
}

pub(super) async fn keys_beside_keys_below_them(fixture: &Fixture) -> Checked {
    if fixture.quirks.no_keys_below_keys {
        return Ok(Verdict::NotApplicable("the server has no keys below keys"));
    }
    let (above, below) = (fixture.key("foo"), fixture.key("foo/bar"));
    let beside = fixture.key("foobar");
    fixture.put(&above, "above").await?;
    fixture.put(&beside, "beside").await?;
    match fixture.put(&below, "below").await {
        Ok(_) => {
            ensure!(
                fixture.keys().await? == [above.clone(), below, beside],
                "not all listed"
            );
        }
        Err(error) if error.kind == ErrorKind::Refused => {
            ensure!(error.object.is_some(), "refused without a name: {error}");
            ensure!(
                fixture.keys().await? == [above.clone(), beside],
                "not as before"
            );
        }
        Err(error) => return Err(error.into()),
    }
    ensure!(
        fixture.whole(&above).await? == b"above",
        "the object above has changed"
    );
    Ok(Verdict::Holds)
}
