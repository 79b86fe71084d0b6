//! A pair of stores whose S3 sides stand behind fault proxies: what goes wrong, and when, is
//! decided by a plan for each side, and what passes is counted.

use crate::fault::{FaultProxy, Log, Op, Plan};
use crate::pair::{Kind, Pair, Place};

/// See the module.
pub struct Proxied {
    /// The pair; its commands go through the proxies, its places do not.
    pub pair: Pair,
    source: Option<FaultProxy>,
    destination: Option<FaultProxy>,
}

impl Proxied {
    /// A new pair of empty stores, nothing going wrong yet.
    #[must_use]
    pub fn new(kind: Kind) -> Self {
        Self::of(Pair::new(kind))
    }

    /// Puts proxies between a pair's stores and its commands. Where both sides are one server it
    /// stays one: there is one proxy then.
    #[must_use]
    pub fn of(pair: Pair) -> Self {
        let proxy = |place: &Place| match place {
            Place::Disk(_) => None,
            Place::S3(bucket) => Some(FaultProxy::start(&bucket.endpoint, Plan::new(0))),
        };
        let one_server = match (&pair.source, &pair.destination) {
            (Place::S3(from), Place::S3(to)) => from.endpoint == to.endpoint,
            _ => false,
        };
        let destination = proxy(&pair.destination);
        let source = if one_server {
            None
        } else {
            proxy(&pair.source)
        };
        let pair = if one_server {
            pair.through(destination.as_ref(), destination.as_ref())
        } else {
            pair.through(source.as_ref(), destination.as_ref())
        };
        Self {
            pair,
            source,
            destination,
        }
    }

    /// The proxy before the source; where both sides are one server, the only one.
    ///
    /// Panics where the source is a disk.
    #[must_use]
    pub fn source(&self) -> &FaultProxy {
        self.source.as_ref().unwrap_or_else(|| self.destination())
    }

    /// The proxy before the destination.
    ///
    /// Panics where the destination is a disk.
    #[must_use]
    pub fn destination(&self) -> &FaultProxy {
        self.destination.as_ref().expect("a destination on S3")
    }

    /// From now on nothing goes wrong, and the logs are empty.
    pub fn heal(&self) {
        for proxy in self.source.iter().chain(&self.destination) {
            proxy.set_plan(Plan::new(0));
            proxy.clear_log();
        }
    }

    /// Bytes of objects that went to the destination, or, where that is a disk, came from the
    /// source, since the logs were cleared. Between disks there is nobody to count.
    #[must_use]
    pub fn moved(&self) -> u64 {
        let log = |proxy: &Option<FaultProxy>| proxy.as_ref().map(FaultProxy::log);
        let written = |log: Log| log.sent(Op::Put) + log.sent(Op::UploadPart);
        log(&self.destination)
            .map(written)
            .or_else(|| log(&self.source).map(|log| log.received(Op::Get)))
            .unwrap_or(0)
    }
}
