//! The clusters that are drawn are worth planning for: among some thousands of them every outcome occurs.

use std::collections::BTreeMap;

use arbitrary::{Arbitrary, Unstructured};
use autoscaler_fuzz::{cluster::Cluster, plan_cluster};

/// What a change of the clusters must not lose sight of.
const WANTED: &[&str] = &[
    "pod FitsExisting",
    "pod TriggersScaleUp",
    "pod Unschedulable",
    "pod Ignored",
    "reason AtClusterLimit",
    "reason AtMaxNodes",
    "reason BackedOff",
    "reason GroupDeleting",
    "reason InsufficientCpu",
    "reason InsufficientMemory",
    "reason InterPodAffinity",
    "reason NodeAffinity",
    "reason NodePorts",
    "reason NodeResourcesFit",
    "reason OfferingUnavailable",
    "reason PodTopologySpread",
    "reason ScaleUpDisabled",
    "reason TaintToleration",
    "reason VolumeBinding",
    "reason VolumeRestrictions",
    "node Keep BlockedByPod",
    "node Keep DisruptionBudgetReached",
    "node Keep MoveTarget",
    "node Keep NoPlaceToMovePods",
    "node Keep NodeGroupMinSizeReached",
    "node Keep NotUnderutilized",
    "removal Drain with moves: true",
    "removal Empty with moves: false",
];

/// Bytes that look random and are always the same (xorshift64*).
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        state.wrapping_mul(0x2545_F491_4F6C_DD1D).to_be_bytes()[0]
    };
    (0..length).map(|_| next()).collect()
}

#[test]
fn drawn_clusters_reach_every_outcome() {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for seed in 0..20_000 {
        let bytes = noise(seed, 200 + usize::try_from(seed % 3000).unwrap());
        let cluster = Cluster::arbitrary(&mut Unstructured::new(&bytes)).unwrap();
        let document = plan_cluster(&cluster);
        let mut count = |what: String| *seen.entry(what).or_default() += 1;
        for pod in &document.pods {
            count(format!("pod {}", pod.verdict));
            for reason in &pod.reasons {
                count(format!("reason {}", reason.reason));
            }
        }
        for node in &document.nodes {
            count(format!("node {} {}", node.verdict, node.reason.unwrap_or_default()));
        }
        for removal in &document.scale_down {
            count(format!(
                "removal {} with moves: {}",
                removal.kind,
                !removal.moves.is_empty()
            ));
        }
    }
    for wanted in WANTED {
        assert!(seen.contains_key(*wanted), "no cluster has {wanted:?}: {seen:#?}");
    }
}
