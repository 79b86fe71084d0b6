//! Rules that keep buckets alike as objects come and go, through the service's own events, queue and functions.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::json;
use skyhaul_tests::cloud::Cloud;
use skyhaul_tests::eventually;
use skyhaul_tests::oracle::{Bucket, ObjectSpec};

use super::{EVENTFUL, MIB, nothing_left};

/// The other bucket that tells of what happens to its objects.
const EVENTFUL_TOO: &str = "eventful-too";

/// A rule is added.
fn mirrors(cloud: &Cloud, name: &str, from: &Bucket, to: &Bucket) {
    let (source, destination) = (from.uri(""), to.uri(""));
    let add = ["trigger", "add", name, &source, &destination, "--delete"];
    cloud.cli.run(&add).assert_code(0);
}

fn removed(cloud: &Cloud, name: &str) {
    let removed = cloud.cli.run(&["trigger", "remove", name]);
    removed.assert_code(0);
}

/// Both become alike. What is listed may be deleted before it is read: it is looked at again.
fn become_alike(from: &Bucket, to: &Bucket, within: Duration) {
    let mut before = Vec::new();
    eventually("two buckets alike", within, || {
        let (from, to) = (from.try_digests("").ok()?, to.try_digests("").ok()?);
        let keys = from.keys().chain(to.keys());
        let differs = |key: &&String| from.get(*key) != to.get(*key);
        let differ: Vec<_> = keys.filter(differs).cloned().collect();
        if differ != before {
            // What does not come to be alike is told.
            eprintln!("{} differ: {:?}", differ.len(), differ.iter().take(5));
            before = differ;
        }
        before.is_empty().then_some(())
    });
}

/// A rule keeps a bucket up with another, without a machine.
pub(super) fn keeps_up_with_objects(cloud: &Cloud) {
    let from = Bucket::named(&cloud.own, EVENTFUL);
    let to = Bucket::named(&cloud.own, "kept-up");
    from.make();
    to.make();
    cloud.tells(EVENTFUL);
    mirrors(cloud, "mirror", &from, &to);
    let mut put: Vec<_> = (0..40)
        .map(|n| ObjectSpec::new(format!("k/{}", n % 25), n, 1_000 + n))
        .collect();
    put.push(ObjectSpec::new("large", 1, 70 * MIB));
    for object in &put {
        from.put(std::slice::from_ref(object));
        if object.key() == "k/7" {
            from.delete(&["k/7", "k/3"]);
        }
    }
    become_alike(&from, &to, Duration::from_mins(3));
    from.delete(&["k/1", "large"]);
    become_alike(&from, &to, Duration::from_mins(1));
    nothing_left(cloud);
    removed(cloud, "mirror");
}

/// What happens to objects of a bucket, one after the other.
struct Changes<'a> {
    cloud: &'a Cloud,
    random: StdRng,
    bucket: Bucket,
    prefix: &'a str,
    /// Keys that events told of.
    known: Vec<String>,
}

impl Changes<'_> {
    fn next(&mut self) {
        // Some are changed on both sides: the newer counts.
        let key = if self.random.random_ratio(1, 6) {
            format!("both/{}", self.random.random_range(0..40))
        } else {
            format!("{}/{}", self.prefix, self.random.random_range(0..200))
        };
        match self.random.random_range(0..100) {
            0..65 => {
                let (seed, size) = (self.random.random(), self.random.random_range(0..20_000));
                self.bucket.put(&[ObjectSpec::new(&key, seed, size)]);
                self.known.push(key);
            }
            65..85 => self.bucket.delete(&[&key]),
            _ if self.known.is_empty() => {}
            _ => {
                // An event that was told before is told again, late.
                let which = self.random.random_range(0..self.known.len());
                self.cloud.told_again(&self.bucket.name, &self.known[which]);
            }
        }
    }
}

/// Two buckets that mirror each other while objects are put, overwritten and deleted in both, events come twice and
/// late, functions stand still in the midst of what they do, and a large object changes while its transfer runs.
#[test]
#[ignore = "needs root: makes network namespaces"]
fn soak_stack_keeps_up_with_a_thousand_objects() {
    let cloud = Cloud::deployed(&[EVENTFUL, EVENTFUL_TOO]);
    let (one, two) = (
        Bucket::named(&cloud.own, EVENTFUL),
        Bucket::named(&cloud.own, EVENTFUL_TOO),
    );
    for (bucket, name) in [(&one, EVENTFUL), (&two, EVENTFUL_TOO)] {
        bucket.make();
        cloud.tells(name);
    }
    mirrors(&cloud, "there", &one, &two);
    mirrors(&cloud, "back", &two, &one);
    let seed = skyhaul_tests::seed();
    let stands = json!({ "function": "Trigger", "fault": "pause", "times": 100 });
    cloud.trouble(&json!({ "functions": [stands], "seed": seed }));
    let changes = |bucket: &Bucket, prefix, seed| Changes {
        cloud: &cloud,
        random: StdRng::seed_from_u64(seed),
        bucket: bucket.clone(),
        prefix,
        known: Vec::new(),
    };
    let mut here = changes(&one, "here", seed);
    let mut there = changes(&two, "there", seed.wrapping_add(1));
    let large = |seed| ObjectSpec::new("large", seed, 70 * MIB);
    for number in 0..1_000 {
        let changes = if number % 2 == 0 {
            &mut here
        } else {
            &mut there
        };
        changes.next();
        match number {
            // Its transfer takes seconds: it runs when these follow.
            100 | 160 | 400 => one.put(&[large(number)]),
            200 => one.delete(&["large"]),
            _ => {}
        }
    }
    // Small objects arrive without any machine.
    assert!(cloud.left().instances.is_empty());
    become_alike(&one, &two, Duration::from_mins(15));
    assert!(cloud.troubles()["pause"] >= 50);
    eventually("the end of all events", Duration::from_mins(15), || {
        let queued = cloud.queued();
        (queued["Events"] == 0).then_some(())
    });
    assert_eq!(cloud.queued()["DeadEvents"], 0);
    become_alike(&one, &two, Duration::from_secs(1));
    let objects = one.list("").len();
    println!("{objects} objects alike; {:?}", cloud.troubles());
    assert!(objects > 100);
    nothing_left(&cloud);
    removed(&cloud, "there");
    removed(&cloud, "back");
}
