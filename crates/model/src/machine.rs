//! Machines of a dataplane: what a dataplane, its members and their launches are called, what kind of
//! machine is asked for, and what is known of one that was launched.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::id::text_through;

pub use crate::id::DataplaneId;

/// What a gateway is called in its dataplane, whichever machine it is on: `us-east-1-src-1`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MemberName(String);

impl MemberName {
    /// Longest name, in bytes: it is part of a client token of at most 64.
    pub const LONGEST: usize = 24;

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for MemberName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for MemberName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if text.is_empty() || text.len() > Self::LONGEST || !text.bytes().all(plain) {
            let message = format!("`{}` is no name of a gateway", text.escape_debug());
            return Err(Error::invalid(message).hint("up to 24 small letters, digits and hyphens"));
        }
        Ok(Self(text.to_owned()))
    }
}

text_through!(MemberName);
text_through!(IntentId);

/// What names a launch before it happens: which member of which dataplane, and the how-many-th machine of
/// that member. Machines carry it as a tag.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct IntentId {
    /// The dataplane.
    pub dataplane: DataplaneId,
    /// The member.
    pub member: MemberName,
    /// From 1; the machine that replaces a lost one is the next.
    pub generation: u32,
}

impl IntentId {
    /// The client token of try `number`: sent again, it gives the same machine or none. At most 64
    /// characters of ASCII, which is what EC2 allows.
    #[must_use]
    pub fn token(&self, number: u32) -> String {
        let Self {
            dataplane,
            member,
            generation,
        } = self;
        format!("{dataplane}-{member}-{generation}-{number}")
    }
}

impl fmt::Display for IntentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            dataplane,
            member,
            generation,
        } = self;
        write!(f, "{dataplane}/{member}/{generation}")
    }
}

impl FromStr for IntentId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut parts = text.split('/');
        let (Some(dataplane), Some(member), Some(generation), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            let message = format!("`{}` names no launch", text.escape_debug());
            return Err(Error::invalid(message));
        };
        Ok(Self {
            dataplane: dataplane.parse()?,
            member: member.parse()?,
            generation: generation.parse().map_err(|_| {
                Error::invalid(format!("`{}` names no launch", text.escape_debug()))
            })?,
        })
    }
}

/// How a machine is paid for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Market {
    /// Until it is given back.
    OnDemand,
    /// Cheaper, and taken away at two minutes' notice.
    Spot,
}

/// A kind of machine that may be asked for, and where.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Offer {
    /// How it is paid for.
    pub market: Market,
    /// The provider's name of its type (`c7gn.xlarge`).
    pub instance_type: String,
    /// The zone of the region.
    pub zone: String,
}

impl fmt::Display for Offer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let market = match self.market {
            Market::OnDemand => "on demand",
            Market::Spot => "spot",
        };
        write!(f, "{} ({market}) in {}", self.instance_type, self.zone)
    }
}

/// The provider's name of a machine.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct MachineId(pub String);

impl fmt::Display for MachineId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How far a machine's life is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MachineState {
    /// It is being made.
    Pending,
    /// It runs.
    Running,
    /// It was told to end, or stands still and can only end.
    Ending,
    /// It is no more, and costs nothing.
    Ended,
}

/// A machine as its provider tells.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// Its name there.
    pub id: MachineId,
    /// What it was launched for, by its tag; `None` if it has none that can be read.
    pub intent: Option<IntentId>,
    /// How far its life is.
    pub state: MachineState,
    /// Its address inside its network.
    pub private_address: Option<IpAddr>,
    /// Its address outside, if it has one.
    pub public_address: Option<IpAddr>,
    /// When it was launched, by the provider's clock.
    pub launched: Option<Timestamp>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn intent(member: &str, generation: u32) -> IntentId {
        IntentId {
            dataplane: DataplaneId::generate(),
            member: member.parse().unwrap(),
            generation,
        }
    }

    #[test]
    fn a_launch_is_read_as_it_is_written() {
        let id = intent("ap-southeast-2-src-12", u32::MAX);
        assert_eq!(id.to_string().parse::<IntentId>().unwrap(), id);
        let json = serde_json::to_string(&id).unwrap();
        assert_eq!(serde_json::from_str::<IntentId>(&json).unwrap(), id);
        for wrong in [
            "",
            "a/b/1",
            "//",
            "x",
            &format!("{id}/1"),
            &format!("{id}x"),
        ] {
            assert!(wrong.parse::<IntentId>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn tokens_are_short_enough_and_tell_tries_apart() {
        let id = intent(&"m".repeat(MemberName::LONGEST), 99_999);
        assert!(id.token(999).len() <= 64, "{}", id.token(999));
        // `x-1` of generation 2 is not `x` of generation 1, try 2.
        let dataplane = DataplaneId::generate();
        let token = |member: &str, generation, number| {
            let member = member.parse().unwrap();
            let dataplane = dataplane.clone();
            IntentId {
                dataplane,
                member,
                generation,
            }
            .token(number)
        };
        assert_ne!(token("x-1", 2, 3), token("x", 1, 2));
        assert_ne!(token("x", 1, 1), token("x", 1, 2));
        assert_ne!(token("x", 1, 1), token("x", 2, 1));
    }

    #[test]
    fn names_of_gateways_are_plain() {
        assert!("us-east-1-src-1".parse::<MemberName>().is_ok());
        for wrong in ["", "A", "a b", "a/b", "ä", &"x".repeat(25)] {
            assert!(wrong.parse::<MemberName>().is_err(), "{wrong}");
        }
    }
}
