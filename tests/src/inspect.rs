//! What commands that look at a transfer say of it.

use serde_json::Value;

use crate::cli::Cli;

/// The id of the only transfer there is.
#[must_use]
pub fn id(cli: &Cli) -> String {
    let status = cli.run(&["status", "--json"]);
    let id = status.assert_code(0).events()[0]["transfer"].clone();
    id.as_str().expect("an id").to_owned()
}

/// What `top` says of it now.
#[must_use]
pub fn top(cli: &Cli, id: &str) -> Value {
    let top = cli.run(&["top", id, "--json"]);
    top.assert_code(0).events().pop().expect("a snapshot")
}

/// Its chunks; `further` are flags that say which.
#[must_use]
pub fn chunks(cli: &Cli, id: &str, further: &[&str]) -> Vec<Value> {
    let arguments = [&["chunks", id, "--json"], further].concat();
    cli.run(&arguments).assert_code(0).events()
}
