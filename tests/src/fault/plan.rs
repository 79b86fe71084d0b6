//! What goes wrong, when, and for which requests. The first rule that fires decides.

use super::gate::Gate;
use super::op::{Op, Request};
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hasher as _};
use std::sync::{Mutex, PoisonError};

/// One thing that goes wrong. Offsets and amounts are bytes of the payload; an offset past the
/// end of a body is taken modulo its length, and bodies too short to be harmed pass unharmed.
#[derive(Clone, Debug)]
pub enum Fault {
    /// 503 SlowDown, not forwarded.
    SlowDown {
        /// Seconds, for a Retry-After header.
        retry_after_s: Option<u32>,
    },
    /// 500 InternalError, not forwarded.
    InternalError,
    /// Any refusal, not forwarded.
    Refuse {
        /// HTTP status.
        status: u16,
        /// S3's error code.
        code: &'static str,
    },
    /// The connection is reset after this much of the request's body; nothing is forwarded.
    ResetRequest {
        /// Bytes read before.
        after: u64,
    },
    /// The connection is reset after this much of the answer's body.
    ResetResponse {
        /// Bytes sent before.
        after: u64,
    },
    /// The connection is closed in good order after this much of the answer's body, less than
    /// Content-Length says.
    ShortResponse {
        /// Bytes sent before.
        after: u64,
    },
    /// As above, but answers that are not longer pass unharmed.
    ShortLongResponse {
        /// Bytes sent before.
        after: u64,
    },
    /// The answer lacks its last bytes, and Content-Length agrees with what is sent.
    TruncateResponse {
        /// Bytes left out.
        by: u64,
    },
    /// One bit of the answer's body is flipped.
    FlipResponse {
        /// In which byte.
        at: u64,
    },
    /// One bit of the request's body is flipped before it reaches the server.
    FlipRequest {
        /// In which byte, modulo 8 KiB (a chunk of aws-chunked has at least that).
        at: u64,
    },
    /// The answer's body comes slowly.
    Throttle {
        /// Bytes a second.
        bytes_per_s: u64,
    },
    /// The server does its work; its answer is dropped and the connection reset.
    LoseReply,
    /// 200 with an `<Error>` body, as CompleteMultipartUpload and CopyObject may answer.
    ErrorIn200 {
        /// Whether the server does the work all the same.
        forward: bool,
    },
    /// A listing's page with its first and last key exchanged.
    Misorder,
    /// The request waits at the gate before it is forwarded.
    HoldRequest(Gate),
    /// The server does its work; its answer waits at the gate before the first byte of it.
    HoldReply(Gate),
    /// The answer waits at the gate when this much of its body has been sent.
    HoldResponse {
        /// Bytes sent before.
        after: u64,
        /// Where.
        gate: Gate,
    },
}

impl Fault {
    /// Its name, for the log.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::SlowDown { .. } => "slow-down",
            Self::InternalError => "internal-error",
            Self::Refuse { .. } => "refuse",
            Self::ResetRequest { .. } => "reset-request",
            Self::ResetResponse { .. } => "reset-response",
            Self::ShortLongResponse { .. } => "short-long-response",
            Self::ShortResponse { .. } => "short-response",
            Self::TruncateResponse { .. } => "truncate-response",
            Self::FlipResponse { .. } => "flip-response",
            Self::FlipRequest { .. } => "flip-request",
            Self::Throttle { .. } => "throttle",
            Self::LoseReply => "lose-reply",
            Self::ErrorIn200 { .. } => "error-in-200",
            Self::Misorder => "misorder",
            Self::HoldRequest(_) => "hold-request",
            Self::HoldReply(_) => "hold-reply",
            Self::HoldResponse { .. } => "hold-response",
        }
    }
}

/// When a rule fires, among the requests that it is about.
#[derive(Clone, Copy, Debug)]
enum When {
    Always,
    Nth(u32),
    First(u32),
    From(u32),
    Chance(f64),
}

/// Which requests meet which fault, and when. Without a `fault` a rule spares what it matches
/// from the rules after it.
#[derive(Clone, Debug)]
pub struct Rule {
    ops: Vec<Op>,
    key: Option<String>,
    when: When,
    at_most: u32,
    fault: Option<Fault>,
}

impl Rule {
    /// About one operation.
    #[must_use]
    pub fn on(op: Op) -> Self {
        Self::on_any(&[op])
    }

    /// About any of these operations; none named: about all.
    #[must_use]
    pub fn on_any(ops: &[Op]) -> Self {
        let ops = ops.to_vec();
        Self {
            ops,
            key: None,
            when: When::Always,
            at_most: u32::MAX,
            fault: None,
        }
    }

    /// Only keys that contain this (for listings: whose prefix parameter does).
    #[must_use]
    pub fn key(mut self, part: impl Into<String>) -> Self {
        self.key = Some(part.into());
        self
    }

    /// Only the `n`-th request, from 1.
    #[must_use]
    pub fn nth(mut self, n: u32) -> Self {
        self.when = When::Nth(n);
        self
    }

    /// Only the first `n` requests.
    #[must_use]
    pub fn first(mut self, n: u32) -> Self {
        self.when = When::First(n);
        self
    }

    /// The `n`-th request, from 1, and all after it.
    #[must_use]
    pub fn from(mut self, n: u32) -> Self {
        self.when = When::From(n);
        self
    }

    /// Each request with this probability, decided by the plan's seed, what the request asks for
    /// and its attempt, not by the order of arrival: a seed gives the same faults again.
    #[must_use]
    pub fn chance(mut self, probability: f64) -> Self {
        self.when = When::Chance(probability);
        self
    }

    /// Fires no more than this often.
    #[must_use]
    pub fn at_most(mut self, times: u32) -> Self {
        self.at_most = times;
        self
    }

    /// What goes wrong.
    #[must_use]
    pub fn fault(mut self, fault: Fault) -> Self {
        self.fault = Some(fault);
        self
    }

    fn is_about(&self, request: &Request) -> bool {
        let names_key = |part: &String| {
            request.key.contains(part.as_str())
                || request
                    .parameter("prefix")
                    .is_some_and(|prefix| prefix.contains(part.as_str()))
        };
        (self.ops.is_empty() || self.ops.contains(&request.op))
            && self.key.as_ref().is_none_or(names_key)
    }
}

#[derive(Debug, Default)]
struct Counts {
    /// Of each rule: requests that it is about, and firings.
    rules: Vec<(u32, u32)>,
    /// Attempts at each piece of work.
    attempts: HashMap<u64, u32>,
}

/// The rules of a proxy, with the seed of its chances.
#[derive(Debug, Default)]
pub struct Plan {
    seed: u64,
    rules: Vec<Rule>,
    counts: Mutex<Counts>,
}

impl Plan {
    /// No rules yet: everything passes.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            ..Self::default()
        }
    }

    /// Adds a rule after those that are there.
    #[must_use]
    pub fn rule(mut self, rule: Rule) -> Self {
        self.rules.push(rule);
        self
    }

    /// What happens to this request, which is thereby counted.
    #[must_use]
    pub fn decide(&self, request: &Request) -> Option<Fault> {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let counts = &mut *counts;
        counts.rules.resize(self.rules.len(), (0, 0));
        let identity = hash(&request.identity());
        let attempt = counts.attempts.entry(identity).or_default();
        *attempt += 1;
        for (place, (rule, count)) in self.rules.iter().zip(&mut counts.rules).enumerate() {
            if !rule.is_about(request) {
                continue;
            }
            count.0 += 1;
            let fires = match rule.when {
                When::Always => true,
                When::Nth(n) => count.0 == n,
                When::First(n) => count.0 <= n,
                When::From(n) => count.0 >= n,
                When::Chance(probability) => {
                    let drawn = hash(&(self.seed, place, identity, *attempt));
                    ((drawn >> 11) as f64) < probability * (1_u64 << 53) as f64
                }
            };
            if fires && count.1 < rule.at_most {
                count.1 += 1;
                return rule.fault.clone();
            }
        }
        None
    }
}

/// The same in every process: `DefaultHasher::new` has fixed keys.
fn hash(value: &impl std::hash::Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(key: &str) -> Request {
        Request {
            op: Op::Get,
            bucket: "b".into(),
            key: key.into(),
            query: String::new(),
            range: None,
            if_match: None,
        }
    }

    fn fired(plan: &Plan, keys: &[String]) -> Vec<bool> {
        keys.iter()
            .map(|key| plan.decide(&get(key)).is_some())
            .collect()
    }

    #[test]
    fn rules_count_the_requests_they_are_about() {
        let plan = Plan::new(1)
            .rule(
                Rule::on(Op::Get)
                    .key("x")
                    .nth(2)
                    .fault(Fault::InternalError),
            )
            .rule(Rule::on(Op::Put).fault(Fault::InternalError));
        let keys = ["x", "y", "x", "x"].map(String::from);
        assert_eq!(fired(&plan, &keys), [false, false, true, false]);
        let spared = Plan::new(1)
            .rule(Rule::on(Op::Get).key("keep"))
            .rule(Rule::on_any(&[]).at_most(1).fault(Fault::InternalError));
        let keys = ["keep", "a", "a"].map(String::from);
        assert_eq!(fired(&spared, &keys), [false, true, false]);
    }

    #[test]
    fn chance_depends_on_the_seed_and_not_on_the_order() {
        let plan =
            |seed| Plan::new(seed).rule(Rule::on(Op::Get).chance(0.3).fault(Fault::Misorder));
        let keys: Vec<_> = (0..1000).map(|n| format!("k{n}")).collect();
        let mut backwards = keys.clone();
        backwards.reverse();
        let forth = fired(&plan(5), &keys);
        let mut back = fired(&plan(5), &backwards);
        back.reverse();
        assert_eq!(forth, back);
        assert_ne!(forth, fired(&plan(6), &keys));
        let hits = forth.iter().filter(|hit| **hit).count();
        assert!((200..400).contains(&hits), "{hits}");
    }
}
