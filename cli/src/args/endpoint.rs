//! Where the two sides are and how they are reached.

use clap::Args;
use skyhaul_model::spec::Endpoint;
use skyhaul_model::{Error, Location, Result, Scheme, Side};

use crate::config::endpoints::{NamedEndpoint, account, url};
use crate::config::{Config, Name};
use crate::values;

pub(super) fn location(text: &str) -> Result<Location, String> {
    text.parse().map_err(values::message)
}

/// The flags of one side, or of both: the same names under another prefix.
macro_rules! side {
    ($type:ident, $prefix:literal, $of:literal) => {
        #[doc = concat!("How ", $of, " reached.")]
        #[derive(Debug, Clone, Default, Args)]
        #[command(next_help_heading = "Source and destination")]
        pub(crate) struct $type {
            #[arg(
                id = concat!($prefix, "endpoint"), long = concat!($prefix, "endpoint"),
                value_name = "NAME", help = concat!("Named endpoint of ", $of)
            )]
            endpoint: Option<String>,
            #[arg(
                id = concat!($prefix, "endpoint-url"), long = concat!($prefix, "endpoint-url"),
                value_name = "URL", value_parser = url, help = concat!("Endpoint URL of ", $of)
            )]
            endpoint_url: Option<String>,
            #[arg(
                id = concat!($prefix, "region"), long = concat!($prefix, "region"),
                value_name = "REGION", help = concat!("Region of ", $of)
            )]
            region: Option<String>,
            #[arg(
                id = concat!($prefix, "profile"), long = concat!($prefix, "profile"),
                value_name = "NAME", help = concat!("AWS profile of ", $of)
            )]
            profile: Option<String>,
            #[arg(
                id = concat!($prefix, "path-style"), long = concat!($prefix, "path-style"),
                value_name = "BOOL", value_parser = values::switch,
                num_args = 0..=1, require_equals = true, default_missing_value = "true",
                help = concat!("Path-style addressing (bucket in the path) at ", $of)
            )]
            path_style: Option<bool>,
            #[arg(
                id = concat!($prefix, "no-sign-request"), long = concat!($prefix, "no-sign-request"),
                help = concat!("No signature in requests to ", $of)
            )]
            no_sign_request: bool,
            #[arg(
                id = concat!($prefix, "secret"), long = concat!($prefix, "secret"),
                // Checked where it is used: whoever gives the secret itself must not read it again.
                value_name = "ARN", conflicts_with_all = [
                    concat!($prefix, "profile"), concat!($prefix, "no-sign-request"),
                ],
                help = concat!("Secret of Secrets Manager that holds the keys of ", $of)
            )]
            secret: Option<String>,
            #[arg(
                id = concat!($prefix, "role-arn"), long = concat!($prefix, "role-arn"),
                value_name = "ARN", help = concat!("Role to assume at ", $of)
            )]
            role_arn: Option<String>,
            #[arg(
                id = concat!($prefix, "external-id"), long = concat!($prefix, "external-id"),
                value_name = "ID", help = concat!("External id of the role of ", $of)
            )]
            external_id: Option<String>,
            #[arg(
                id = concat!($prefix, "bucket-owner"), long = concat!($prefix, "bucket-owner"),
                value_name = "ACCOUNT", value_parser = account,
                help = concat!("Account that must own the bucket of ", $of)
            )]
            bucket_owner: Option<String>,
        }

        impl $type {
            fn split(&self) -> (Option<&str>, NamedEndpoint) {
                let flags = NamedEndpoint {
                    endpoint_url: self.endpoint_url.clone(),
                    region: self.region.clone(),
                    profile: self.profile.clone(),
                    path_style: self.path_style,
                    no_sign_request: self.no_sign_request.then_some(true),
                    requester_pays: None,
                    secret: self.secret.clone(),
                    role_arn: self.role_arn.clone(),
                    external_id: self.external_id.clone(),
                    bucket_owner: self.bucket_owner.clone(),
                };
                (self.endpoint.as_deref(), flags)
            }
        }
    };
}

side!(SourceFlags, "src-", "the source");
side!(DestinationFlags, "dst-", "the destination");
side!(BothFlags, "", "both sides");
side!(OnlyFlags, "", "the service");

/// Agreement to pay.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Source and destination")]
pub(crate) struct PayArgs {
    /// Agree to pay for requests to requester-pays buckets
    #[arg(
        long, value_name = "BOOL", value_parser = values::switch,
        num_args = 0..=1, require_equals = true, default_missing_value = "true"
    )]
    pub(crate) requester_pays: Option<bool>,
}

/// Source and destination.
#[derive(Debug, Clone, Args)]
pub(crate) struct SidesArgs {
    /// The source
    #[arg(value_name = "SRC", value_parser = location)]
    pub(crate) source: Location,
    /// The destination
    #[arg(value_name = "DST", value_parser = location)]
    pub(crate) destination: Location,
    #[command(flatten)]
    src: SourceFlags,
    #[command(flatten)]
    dst: DestinationFlags,
    #[command(flatten)]
    both: BothFlags,
    #[command(flatten)]
    pub(crate) pay: PayArgs,
}

impl SidesArgs {
    /// The source with its connection.
    pub(crate) fn source(&self, config: &Config) -> Result<Endpoint> {
        endpoint(
            &self.source,
            &[self.src.split(), self.both.split()],
            &self.pay,
            config,
        )
    }

    /// The destination with its connection.
    pub(crate) fn destination(&self, config: &Config) -> Result<Endpoint> {
        self.as_destination(&self.destination, config)
    }

    /// A place with the destination's connection.
    pub(crate) fn as_destination(&self, place: &Location, config: &Config) -> Result<Endpoint> {
        endpoint(
            place,
            &[self.dst.split(), self.both.split()],
            &self.pay,
            config,
        )
    }
}

/// What is to be looked at: both sides, the source, or neither.
#[derive(Debug, Clone, Args)]
pub(crate) struct MaybeSidesArgs {
    /// A source to look at
    #[arg(value_name = "SRC", value_parser = location)]
    source: Option<Location>,
    /// A destination to look at
    #[arg(value_name = "DST", value_parser = location)]
    destination: Option<Location>,
    #[command(flatten)]
    src: SourceFlags,
    #[command(flatten)]
    dst: DestinationFlags,
    #[command(flatten)]
    both: BothFlags,
    #[command(flatten)]
    pay: PayArgs,
}

impl MaybeSidesArgs {
    /// The source and the destination with their connections, as far as they are said.
    pub(crate) fn endpoints(&self, config: &Config) -> Result<Vec<(Side, Endpoint)>> {
        let sides = [
            (Side::Source, &self.source, self.src.split()),
            (Side::Destination, &self.destination, self.dst.split()),
        ];
        let said = sides.into_iter();
        let said = said.filter_map(|(side, place, flags)| Some((side, place.as_ref()?, flags)));
        said.map(|(side, place, flags)| {
            let endpoint = endpoint(place, &[flags, self.both.split()], &self.pay, config)?;
            Ok((side, endpoint))
        })
        .collect()
    }
}

/// One place only.
#[derive(Debug, Clone, Args)]
pub(crate) struct OneSideArgs {
    /// What to list
    #[arg(value_name = "PLACE", value_parser = location)]
    pub(crate) place: Location,
    #[command(flatten)]
    flags: OnlyFlags,
    #[command(flatten)]
    pub(crate) pay: PayArgs,
}

impl OneSideArgs {
    /// The place with its connection.
    pub(crate) fn endpoint(&self, config: &Config) -> Result<Endpoint> {
        endpoint(&self.place, &[self.flags.split()], &self.pay, config)
    }
}

/// Flags of the side, then flags of both, then the named endpoint, then nothing: field by field.
fn endpoint(
    location: &Location,
    flags: &[(Option<&str>, NamedEndpoint)],
    pay: &PayArgs,
    config: &Config,
) -> Result<Endpoint> {
    let location = location.clone();
    if location.scheme != Scheme::S3 {
        return Ok(Endpoint {
            location,
            connection: skyhaul_model::spec::Connection::default(),
        });
    }
    let name = flags.iter().find_map(|(name, _)| *name);
    let named = config.endpoints.choose(name, &location.container)?;
    let given = flags
        .iter()
        .fold(NamedEndpoint::default(), |chosen, (_, next)| {
            chosen.or(next.clone())
        });
    // The flag is said for this command, a named endpoint for all: it wins.
    let given = NamedEndpoint {
        requester_pays: pay.requester_pays,
        ..given
    };
    let connection = given
        .or(named)
        .connection(config.switch(Name::RequesterPays))?;
    let own = flags
        .first()
        .and_then(|(_, side)| side.external_id.as_ref());
    if own.is_some() && connection.role.is_none() {
        let message = "an external id is of a role, and no role is named";
        return Err(Error::invalid(message).object(location.to_string()));
    }
    Ok(Endpoint {
        location,
        connection,
    })
}
