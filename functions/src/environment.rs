//! What the environment of a function says. No secret is in it.

use std::env;

use skyhaul_model::spec::{Connection, Endpoint};
use skyhaul_model::{Error, Result};

/// Which function this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Function {
    Plan,
    List,
    Provision,
    Watch,
    Complete,
    Verify,
    Teardown,
    Reap,
    Trigger,
}

impl Function {
    const ALL: [(&str, Self); 9] = [
        ("plan", Self::Plan),
        ("list", Self::List),
        ("provision", Self::Provision),
        ("watch", Self::Watch),
        ("complete", Self::Complete),
        ("verify", Self::Verify),
        ("teardown", Self::Teardown),
        ("reap", Self::Reap),
        ("trigger", Self::Trigger),
    ];

    fn parse(name: &str) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|(known, _)| *known == name);
        found.map(|(_, function)| function).ok_or_else(|| {
            let known = Self::ALL.map(|(known, _)| known).join(", ");
            Error::invalid("SKYHAUL_FUNCTION names no function")
                .object(name)
                .hint(format!("one of {known}"))
        })
    }
}

/// See the module documentation.
#[derive(Debug, Clone)]
pub(crate) struct Environment {
    pub(crate) function: Function,
    /// The deployment's name.
    pub(crate) stack: String,
    /// The region of the deployment.
    pub(crate) region: String,
    /// The table of transfers.
    pub(crate) state_table: String,
    /// The table of what outlives them.
    pub(crate) control_table: String,
    /// Where segments are.
    pub(crate) staging: Endpoint,
    /// The key that secrets are wrapped with.
    pub(crate) key: String,
    /// What carries out attempts: told to who begins some.
    pub(crate) state_machine: Option<String>,
    /// Days for which what failed or was paused can be gone on with: told to who removes it afterwards.
    pub(crate) keep_partial_days: Option<u32>,
    /// The services' address, where it is not AWS's own: for functions and for gateways.
    pub(crate) endpoint_url: Option<String>,
}

fn need(name: &str) -> Result<String> {
    let value = env::var(name).ok().filter(|value| !value.is_empty());
    value.ok_or_else(|| {
        Error::invalid(format!("{name} is not set"))
            .hint("the template of the deployment sets it for each function")
    })
}

impl Environment {
    /// Reads it; refused (`Invalid`) if something is missing or malformed.
    pub(crate) fn read() -> Result<Self> {
        let staging = Endpoint {
            location: need("SKYHAUL_STAGING")?.parse()?,
            connection: Connection::default(),
        };
        Ok(Self {
            function: Function::parse(&need("SKYHAUL_FUNCTION")?)?,
            stack: need("SKYHAUL_STACK")?,
            region: need("AWS_REGION")?,
            state_table: need("SKYHAUL_STATE_TABLE")?,
            control_table: need("SKYHAUL_CONTROL_TABLE")?,
            staging,
            key: need("SKYHAUL_KEY")?,
            state_machine: env::var("SKYHAUL_STATE_MACHINE").ok(),
            keep_partial_days: match env::var("SKYHAUL_KEEP_PARTIAL_DAYS") {
                Ok(days) => Some(days.parse().map_err(|error| {
                    Error::invalid("SKYHAUL_KEEP_PARTIAL_DAYS is no number of days").cause(error)
                })?),
                Err(_) => None,
            },
            endpoint_url: env::var("AWS_ENDPOINT_URL").ok(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_that_is_not_there_is_told_with_those_that_are() {
        assert_eq!(Function::parse("reap").unwrap(), Function::Reap);
        let refused = Function::parse("rep").unwrap_err().to_string();
        assert!(
            refused.contains("rep") && refused.contains("teardown"),
            "{refused}"
        );
    }
}
