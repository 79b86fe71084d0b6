//! The command itself. That a test of this package needs it has it built together with all tests, for
//! those of `tests/` too.
#![allow(clippy::unwrap_used)]

use std::process::Command;

fn skyhaul(arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_skyhaul"))
        .args(arguments)
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (
        output.status.code(),
        text(output.stdout),
        text(output.stderr),
    )
}

#[test]
fn it_says_which_version_it_is() {
    let wanted = concat!("skyhaul ", env!("CARGO_PKG_VERSION"), "\n");
    assert_eq!(
        skyhaul(&["--version"]),
        (Some(0), wanted.to_owned(), String::new())
    );
}

#[test]
fn what_it_does_not_know_is_refused() {
    let (code, out, err) = skyhaul(&["teleport", "a", "b"]);
    assert_eq!((code, out.as_str()), (Some(2), ""));
    assert!(err.contains("teleport"), "{err}");
}
