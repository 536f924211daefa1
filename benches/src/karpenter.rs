//! The scheduling benchmark of Karpenter: an empty cluster, 400 sizes, five kinds of pod in equal parts.
//!
//! The shape is that of `scheduling_benchmark_test.go` in `sigs.k8s.io/karpenter`, state of August 2026:
//!
//! - Size `i` of 400, counted from 0, has `i + 1` cores, `2 (i + 1)` GiB and `10 (i + 1)` pod slots; 100m of CPU and
//!   10 MiB are kept from pods. It costs 0.1 per core and 0.1 per 10^9 bytes, in every zone the same.
//! - A fifth of the pods each is: plain; spread over zones with skew 1; spread over hosts with skew 1; attracted to the
//!   zone of the pods with its own label; alone on its host among all pods of this fifth. What is left of a number that
//!   five does not divide is plain.
//! - A pod of the first three fifths has one of seven values of a label, and a spread rule selects one of these values,
//!   drawn by itself. A pod of the fourth fifth has one of seven values of another label.
//! - Requests are one of five amounts of CPU and one of six amounts of memory.
//!
//! Its zones are NodeGroups here, one datacenter each. The seed is the same number, the generator is another one, so
//! that single pods differ while the distribution does not.

use autoscaler_core::{
    manifest::{Objects, pod::Pod},
    provider::{Offering, OfferingId},
    quantity::{Bytes, HourlyPrice, MilliCpu, Quantity},
};

use crate::{
    bound::Size,
    judge::Problem,
    objects::{HOSTNAME, ZONE, away, milli, near, node_group, pending, spread},
    random::Random,
};

/// Sizes that can be bought.
pub const SIZES: usize = 400;

/// Numbers of pods that Karpenter measures.
pub const PODS: [usize; 9] = [1, 50, 100, 500, 1000, 2000, 5000, 10_000, 20_000];

const SEED: u64 = 42;
const RESERVED_CPU: i64 = 100;
const RESERVED_MEMORY: i64 = 10 * Bytes::MIB;
const CPU: [i64; 5] = [100, 250, 500, 1000, 1500];
const MEMORY: [i64; 6] = [100, 256, 512, 1024, 2048, 4096];
const LABELS: [&str; 7] = ["a", "b", "c", "d", "e", "f", "g"];

/// So many pods that wait, and nothing else.
pub fn problem(pods: usize) -> Problem {
    let offerings: Vec<_> = (1..=SIZES as i64).map(offering).collect();
    let ids: Vec<_> = offerings.iter().map(|offering| offering.id.to_string()).collect();
    let reserved = [
        ("cpu", milli(RESERVED_CPU)),
        ("memory", Quantity::from_units(RESERVED_MEMORY)),
        ("ephemeral-storage", Quantity::from_units(0)),
    ];
    let groups = ["zone-1", "zone-2", "zone-3"].map(|zone| node_group(zone, zone, ids.clone(), &reserved));
    let left_for_pods = |offering: &Offering| Size {
        cpu: offering.cpu.0 - RESERVED_CPU,
        memory: offering.memory.0 - RESERVED_MEMORY,
        pods: offering.max_pods.map_or(0, i64::from),
        price: offering.hourly_price.nanos(),
    };
    let sizes = offerings
        .iter()
        .map(|offering| (offering.id.to_string(), left_for_pods(offering)));
    Problem {
        sizes: sizes.collect(),
        objects: Objects {
            node_groups: groups.into(),
            pods: mix(pods),
            ..Objects::default()
        },
        offerings,
    }
}

fn offering(cores: i64) -> Offering {
    let memory = 2 * cores * Bytes::GIB;
    // 0.1 per core and 0.1 per 10^9 bytes are 10^8 and a tenth of a thousand-millionth per byte.
    let price = cores * 100_000_000 + memory / 10;
    Offering {
        id: OfferingId::new(format!("fake-it-{:03}", cores - 1)),
        name: format!("{cores} cores"),
        cpu: MilliCpu(cores * 1000),
        memory: Bytes(memory),
        disk: Bytes(100 * Bytes::GIB),
        max_pods: u32::try_from(10 * cores).ok(),
        hourly_price: HourlyPrice::from_nanos(price),
        available: true,
        datacenter: None,
    }
}

/// Gives a pod the labels and constraints of its kind.
type Constrain = fn(&mut Pod, &mut Random);

fn mix(count: usize) -> Vec<Pod> {
    let mut random = Random::new(SEED);
    let part = count / 5;
    let kinds: [(&str, usize, Constrain); 6] = [
        ("plain", part, plain),
        ("zone-spread", part, |pod, random| {
            plain(pod, random);
            let rule = spread(ZONE, &[("my-label", random.one_of(&LABELS))]);
            pod.spec.topology_spread_constraints.push(rule);
        }),
        ("host-spread", part, |pod, random| {
            plain(pod, random);
            let rule = spread(HOSTNAME, &[("my-label", random.one_of(&LABELS))]);
            pod.spec.topology_spread_constraints.push(rule);
        }),
        ("zone-affinity", part, |pod, random| {
            let label = ("my-affinity", random.one_of(&LABELS));
            pod.metadata.labels.insert(label.0.to_owned(), label.1.to_owned());
            pod.spec.affinity = Some(near(ZONE, &[label]));
        }),
        ("host-exclusive", part, |pod, _| {
            let label = ("app", "nginx");
            pod.metadata.labels.insert(label.0.to_owned(), label.1.to_owned());
            pod.spec.affinity = Some(away(HOSTNAME, &[label]));
        }),
        ("rest", count - 5 * part, plain),
    ];
    let mut pods = Vec::with_capacity(count);
    for (name, count, shape) in kinds {
        for index in 0..count {
            let cpu = random.one_of(&CPU);
            let memory = random.one_of(&MEMORY) * Bytes::MIB;
            let mut pod = pending(format!("{name}-{index}"), cpu, memory);
            shape(&mut pod, &mut random);
            pods.push(pod);
        }
    }
    pods
}

fn plain(pod: &mut Pod, random: &mut Random) {
    let value = random.one_of(&LABELS);
    pod.metadata.labels.insert("my-label".to_owned(), value.to_owned());
}

#[cfg(test)]
mod tests {
    use autoscaler_core::{resources::Resources, snapshot::GroupId, template::Template};

    use super::*;
    use crate::snapshot;

    #[test]
    fn the_mix_has_five_equal_parts_and_a_plain_rest() {
        let problem = problem(1003);
        let pods = &problem.objects.pods;
        let count = |kind: &dyn Fn(&Pod) -> bool| pods.iter().filter(|pod| kind(pod)).count();
        assert_eq!(pods.len(), 1003);
        assert_eq!(
            count(&|pod| pod.spec.affinity.is_none() && pod.spec.topology_spread_constraints.is_empty()),
            203
        );
        assert_eq!(count(&|pod| !pod.spec.topology_spread_constraints.is_empty()), 400);
        let near = |pod: &Pod| {
            pod.spec
                .affinity
                .as_ref()
                .is_some_and(|affinity| affinity.pod_affinity.is_some())
        };
        assert_eq!(count(&near), 200);
        assert_eq!(problem.needs().hosts, 200);
        assert_eq!(problem.needs().pods, 1003);
    }

    #[test]
    fn sizes_are_those_of_the_peer() {
        let problem = problem(1);
        let size = problem.sizes["fake-it-399"];
        assert_eq!(problem.sizes.len(), 400);
        assert_eq!(
            (size.cpu, size.memory, size.pods),
            (399_900, 800 * Bytes::GIB - 10 * Bytes::MIB, 4000)
        );
        // 400 x 0.1 + 800 GiB x 0.1 per 10^9 bytes.
        assert_eq!(size.price, 125_899_345_920);
    }

    #[test]
    fn new_nodes_are_expected_to_have_what_the_peer_says() {
        let problem = problem(1);
        let snapshot = snapshot(&problem);
        for offering in &problem.offerings {
            let expected = problem.sizes[offering.id.as_str()];
            let template = Template::new(&snapshot, GroupId(0), offering);
            let Resources { cpu, memory, pods, .. } = template.allocatable;
            let found = Size {
                cpu,
                memory,
                pods,
                price: template.hourly_price.nanos(),
            };
            assert_eq!(found, expected, "{}", offering.id);
        }
    }
}
