//! What an attempt at a transfer may take at most: hours, and dollars as far as they can be told from its machines
//! and bytes. An estimate that stops what went wrong at night, not a bill.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use skyhaul_state::control::{Base, DataplaneRow, Failure};

use crate::machines::is_guest;
use crate::order::Order;
use crate::steps::failure;

/// Gateways of one dataplane at most.
pub const MOST_GATEWAYS: usize = 128;

/// Cents an hour of one vCPU: of an `m6in` on demand in us-east-1, the dearest of the types that are asked for where
/// none is said (<https://aws.amazon.com/ec2/pricing/on-demand/>). Spot machines cost less.
const CENTS_A_VCPU_HOUR: f64 = 6.97;

/// Cents a GB (10⁹ bytes) from a region into another, of us-east-1; and out of AWS, of the first 10 TB of a month
/// (<https://aws.amazon.com/ec2/pricing/on-demand/#Data_Transfer>).
const CENTS_A_GB_TO_A_REGION: f64 = 2.0;
const CENTS_A_GB_OUT: f64 = 9.0;

/// vCPUs that a type of an unknown size counts for: those of the largest.
const METAL: u32 = 192;

/// See the module documentation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Ceiling {
    /// Hours.
    pub hours: u32,
    /// Dollars of the United States.
    pub dollars: u32,
}

impl Default for Ceiling {
    fn default() -> Self {
        Self {
            hours: 24 * 30,
            dollars: 1_000,
        }
    }
}

/// vCPUs of a type, by the size in its name.
fn vcpus(instance_type: &str) -> u32 {
    let size = instance_type.rsplit('.').next().unwrap_or_default();
    match size {
        "nano" | "micro" | "small" | "medium" | "large" => 2,
        "xlarge" => 4,
        _ => match size.strip_suffix("xlarge").map(str::parse::<u32>) {
            Some(Ok(times)) => times.saturating_mul(4),
            _ => METAL,
        },
    }
}

/// Cents for each GB that is copied.
fn cents_a_gb(order: &Order, base: &Base) -> f64 {
    let wanted = order.request.destinations.iter();
    let out = wanted.filter(|place| place.connection.endpoint_url.is_some());
    f64::from(base.far) * CENTS_A_GB_TO_A_REGION + out.count() as f64 * CENTS_A_GB_OUT
}

/// Why an attempt may not go on, if it may not: `bytes` were copied by all attempts, `base` is what it began from.
pub(crate) fn reached(
    order: &Order,
    dataplane: Option<&DataplaneRow>,
    (base, bytes): (&Base, u64),
    now: Timestamp,
) -> Option<Failure> {
    let ceiling = order.fleet.ceiling;
    let taken = now.duration_since(base.since).max(SignedDuration::ZERO);
    let hours = taken.as_secs_f64() / 3600.0;
    let members = dataplane.into_iter().flat_map(|row| &row.members);
    let members = members.filter(|member| !is_guest(member));
    let machines: u32 = members
        .filter_map(|member| Some(vcpus(&member.offer()?.instance_type)))
        .sum();
    let gigabytes = bytes.saturating_sub(base.bytes) as f64 / 1e9;
    let cents =
        f64::from(machines) * hours * CENTS_A_VCPU_HOUR + gigabytes * cents_a_gb(order, base);
    let cause = if hours >= f64::from(ceiling.hours) {
        format!(
            "it has taken {hours:.0} hours, and may take {}",
            ceiling.hours
        )
    } else if cents >= f64::from(ceiling.dollars) * 100.0 {
        let dollars = cents / 100.0;
        format!(
            "it has cost about ${dollars:.0}, and may cost ${}",
            ceiling.dollars
        )
    } else {
        return None;
    };
    Some(Failure {
        name: failure::CEILING.to_owned(),
        cause: format!("{cause}; `skyhaul resume` goes on for as much again"),
    })
}

#[cfg(test)]
mod tests {
    use skyhaul_model::Location;
    use skyhaul_model::machine::{DataplaneId, Market, Offer};
    use skyhaul_state::suite::control::plan;

    use super::*;

    #[test]
    fn sizes_are_read_from_names() {
        for (name, wanted) in [
            ("t3.medium", 2),
            ("c6in.large", 2),
            ("c6in.xlarge", 4),
            ("c6in.32xlarge", 128),
            ("c6in.metal", METAL),
            ("odd", METAL),
        ] {
            assert_eq!(vcpus(name), wanted, "{name}");
        }
    }

    fn order(ceiling: Ceiling, endpoint_url: Option<&str>) -> Order {
        let order = serde_json::json!({
            "request": {
                "mode": "copy",
                "source": { "location": "s3://a/".parse::<Location>().unwrap() },
                "destinations": [{
                    "location": "s3://b/".parse::<Location>().unwrap(),
                    "connection": { "endpoint_url": endpoint_url },
                }],
            },
            "fleet": { "ceiling": ceiling },
        });
        serde_json::from_value(order).unwrap()
    }

    /// Two machines of 4 vCPUs: 55.76 cents an hour.
    fn dataplane() -> DataplaneRow {
        let mut new = plan(DataplaneId::generate(), &["a", "b"], 1);
        for member in &mut new.members {
            member.offers = vec![Offer {
                market: Market::OnDemand,
                instance_type: "c6in.xlarge".to_owned(),
                zone: "z".to_owned(),
            }];
        }
        let mut row = DataplaneRow::new(new).unwrap();
        for member in &mut row.members {
            member.tried = 1;
        }
        row
    }

    #[test]
    fn an_attempt_ends_at_its_hours_and_at_its_dollars() {
        let began: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let base = Base {
            since: began,
            bytes: 5_000_000_000_000,
            far: 0,
        };
        let after = |hours: i64, gigabytes: u64, order: &Order| {
            let bytes = base.bytes + gigabytes * 1_000_000_000;
            let now = began + SignedDuration::from_hours(hours);
            reached(order, Some(&dataplane()), (&base, bytes), now).map(|failure| failure.cause)
        };
        let (hours, dollars) = (10, 4);
        let out = order(Ceiling { hours, dollars }, Some("https://other"));
        assert_eq!(after(6, 0, &out), None);
        let cause = after(8, 0, &out).unwrap();
        assert!(cause.contains("about $4, and may cost $4"), "{cause}");
        // 4 dollars for what leaves AWS.
        assert_eq!(after(0, 40, &out), None);
        assert!(after(0, 45, &out).is_some());
        let cheap = order(
            Ceiling {
                hours,
                dollars: 1_000,
            },
            None,
        );
        assert_eq!(after(9, 1, &cheap), None);
        let cause = after(10, 1, &cheap).unwrap();
        assert!(cause.contains("10 hours, and may take 10"), "{cause}");
        // Who looks has an earlier clock.
        assert_eq!(after(-1, 0, &cheap), None);
        // Without a machine the service copies, into two other regions: 4 cents a GB.
        let far = Base {
            bytes: 0,
            far: 2,
            ..base
        };
        let copied = |gigabytes: u64, order: &Order| {
            let taken = (&far, gigabytes * 1_000_000_000);
            reached(order, None, taken, began).is_some()
        };
        let order = order(Ceiling { hours, dollars }, None);
        assert!(!copied(99, &order) && copied(101, &order));
    }
}
