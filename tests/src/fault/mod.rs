//! A reverse proxy in front of an S3 endpoint that does, by a seeded plan, what networks and
//! stores do: refuse, stall, cut, truncate, corrupt, lose answers. It keeps a log of every
//! request with the bytes that passed, so that a test can count what was sent again.
//!
//! ```no_run
//! use skyhaul_tests::fault::{Fault, FaultProxy, Op, Plan, Rule};
//! use skyhaul_tests::servers::servers;
//!
//! let plan = Plan::new(7)
//!     .rule(Rule::on(Op::Get).chance(0.1).fault(Fault::SlowDown { retry_after_s: Some(1) }))
//!     .rule(Rule::on(Op::Complete).first(1).fault(Fault::LoseReply));
//! let proxy = FaultProxy::start(&servers().src, plan);
//! let endpoint = proxy.endpoint(); // give this to the command under test
//! assert_eq!(proxy.log().count(Op::Get), 0);
//! ```
//!
//! The Host header passes unchanged, for the signature covers it.

mod body;
mod gate;
mod log;
mod op;
mod plan;
mod proxy;
mod stream;

pub use gate::Gate;
pub use log::{Entry, Log};
pub use op::{Op, Request};
pub use plan::{Fault, Plan, Rule};
pub use proxy::FaultProxy;
