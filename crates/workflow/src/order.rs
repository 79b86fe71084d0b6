//! What is submitted to a control plane: a request, and with what machines it is carried out.

use serde::{Deserialize, Serialize};
use skyhaul_gateway::Compress;
use skyhaul_gateway::wire::header::Cipher;
use skyhaul_model::machine::{DataplaneId, Market};
use skyhaul_model::mapping::SourceKind;
use skyhaul_model::spec::Endpoint;
use skyhaul_model::{Error, ErrorKind, Result, Scheme};

use crate::ceiling::Ceiling;
use crate::request::CopyRequest;

/// Types that are asked for where none is said, in this order: of x86-64, with more network than a core needs.
pub const INSTANCE_TYPES: [&str; 4] = ["c6in.xlarge", "c6in.2xlarge", "m6in.xlarge", "c6i.2xlarge"];

/// Connections of a gateway to all its neighbours together, where none are said.
const CONNECTIONS: usize = 32;

/// See the module documentation. Holds no secret.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    /// What is to be done.
    pub request: CopyRequest,
    /// With what machines.
    #[serde(default)]
    pub fleet: FleetOrder,
    /// What whoever submits saw at the source, if that is on its own machine, which joins ([`crate::guest`]).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub here: Option<Here>,
}

/// A source on the machine of whoever submits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Here {
    /// What the machine calls itself: another one has other files under the same names.
    pub host: String,
    /// What was there.
    pub seen: SourceKind,
}

/// With what machines a transfer is carried out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FleetOrder {
    /// Whether no machine is asked for where functions can copy all of it soon.
    pub alone: bool,
    /// Gateways of each role in a region, at most.
    pub per_region: u32,
    /// How they are paid for.
    pub market: Market,
    /// What is asked for, in this order.
    pub instance_types: Vec<String>,
    /// The dataplane that is used, instead of one that is made.
    pub dataplane: Option<DataplaneId>,
    /// Whether an idle dataplane between the same regions is used, if there is one.
    pub reuse: bool,
    /// Minutes that a dataplane that is made is kept without a transfer; `None`: it goes with its transfer.
    pub autoshutdown: Option<u32>,
    /// What is sealed with; `None`: whatever suits the machine that plans.
    pub cipher: Option<Cipher>,
    /// What is done to make fewer bytes.
    pub compress: Compress,
    /// Whether connections are encrypted by TLS, too.
    pub socket_tls: bool,
    /// Connections of a gateway to all its neighbours together.
    pub connections: usize,
    /// Bytes a second of each gateway at most.
    pub bwlimit: Option<u64>,
    /// What it may take at most.
    pub ceiling: Ceiling,
}

impl Default for FleetOrder {
    fn default() -> Self {
        Self {
            alone: false,
            per_region: 1,
            market: Market::OnDemand,
            instance_types: INSTANCE_TYPES.map(ToOwned::to_owned).to_vec(),
            dataplane: None,
            reuse: false,
            autoshutdown: None,
            cipher: None,
            compress: Compress::default(),
            socket_tls: false,
            connections: CONNECTIONS,
            bwlimit: None,
            ceiling: Ceiling::default(),
        }
    }
}

impl Order {
    /// Reads an order that was submitted.
    pub fn parse(text: &str) -> Result<Self> {
        let order: Self = serde_json::from_str(text).map_err(|error| {
            Error::invalid("what was submitted is no order of a transfer").cause(error)
        })?;
        order.check()?;
        Ok(order)
    }

    /// The order as it is submitted; refused (`Invalid`) as when it is read.
    pub fn text(&self) -> Result<String> {
        self.check()?;
        serde_json::to_string(self).map_err(|error| {
            Error::control(ErrorKind::Internal, "an order cannot be written").cause(error)
        })
    }

    /// Refuses what only the machine of who asks could do.
    fn check(&self) -> Result<()> {
        let request = &self.request;
        let is_here = self.here.is_some() && request.source.location.scheme == Scheme::Local;
        let source = Some(&request.source).filter(|_| !is_here);
        for endpoint in source.into_iter().chain(&request.destinations) {
            endpoint.check_remote()?;
        }
        if is_here && (self.fleet.reuse || self.fleet.dataplane.is_some()) {
            return Err(Error::invalid(
                "machines of other transfers know nothing of a source on this machine",
            )
            .hint("leave out --reuse-gateways and --dataplane"));
        }
        let by_role =
            |place: &Endpoint| place.connection.role.is_some() || place.connection.secret.is_some();
        if is_here && request.destinations.iter().any(by_role) {
            return Err(Error::invalid(
                "roles and secrets of a deployment are for its machines, and this one lists the destination, too",
            )
            .hint("leave out --dst-role-arn and --dst-secret, or copy to a bucket that both reach"));
        }
        if is_here && self.fleet.autoshutdown.is_some() {
            return Err(Error::invalid(
                "machines that this machine sends to go with their transfer",
            )
            .hint("leave out --autoshutdown-minutes"));
        }
        if self.fleet.per_region == 0 || self.fleet.instance_types.is_empty() {
            let message =
                "a fleet needs at least one gateway in each region, and a type to ask for";
            return Err(Error::invalid(message));
        }
        Ok(())
    }
}
