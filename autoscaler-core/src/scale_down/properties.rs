//! Random small clusters, and a naive count of what the removals of a plan do to them.
//!
//! The check works on the numbers that the cluster was made from, not on the snapshot, and shares no code with the
//! planner.

use std::collections::{BTreeMap, BTreeSet};

use proptest::{
    prelude::*,
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};
use serde_json::json;

use super::testing::{Cluster, Run, ago};
use crate::plan::RemovalKind;

const GROUPS: [&str; 2] = ["alpha", "beta"];
const APPS: [&str; 3] = ["web", "api", "job"];
/// What every node offers, in milli-cores.
const SIZE: i64 = 4000;

#[derive(Clone, Debug)]
struct Case {
    nodes: Vec<NodeCase>,
    pods: Vec<PodCase>,
    /// Minimum of each group.
    mins: [usize; 2],
    /// Evictions that the budget of each app allows; `None` has no budget.
    budgets: [Option<usize>; 3],
    empty_budget: usize,
    drain_percent: usize,
}

#[derive(Clone, Debug)]
struct NodeCase {
    group: usize,
    ready: bool,
    cordoned: bool,
    leaving: bool,
    dedicated: bool,
}

#[derive(Clone, Debug)]
struct PodCase {
    node: usize,
    app: usize,
    cpu: i64,
    kind: PodKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PodKind {
    Replicated,
    Naked,
    Daemon,
    Ended,
    Scratch,
    Waiting,
    Terminating,
    Tolerating,
}

fn cases() -> impl Strategy<Value = Case> {
    let node = (
        0..2_usize,
        prop::bool::weighted(0.85),
        prop::bool::weighted(0.1),
        prop::bool::weighted(0.1),
        prop::bool::weighted(0.15),
    )
        .prop_map(|(group, ready, cordoned, leaving, dedicated)| NodeCase {
            group,
            ready,
            cordoned,
            leaving,
            dedicated,
        });
    let kind = prop_oneof![
        14 => Just(PodKind::Replicated),
        1 => Just(PodKind::Naked),
        2 => Just(PodKind::Daemon),
        1 => Just(PodKind::Ended),
        1 => Just(PodKind::Scratch),
        1 => Just(PodKind::Waiting),
        1 => Just(PodKind::Terminating),
        3 => Just(PodKind::Tolerating),
    ];
    let pod = (0..8_usize, 0..3_usize, 1..16_i64, kind).prop_map(|(node, app, tenths, kind)| PodCase {
        node,
        app,
        cpu: tenths * 100,
        kind,
    });
    let budget = prop::option::weighted(0.6, 0..4_usize);
    (
        prop::collection::vec(node, 1..=8),
        prop::collection::vec(pod, 0..24),
        [0..3_usize, 0..3_usize],
        [budget.clone(), budget.clone(), budget],
        0..4_usize,
        prop_oneof![Just(10_usize), Just(50), Just(100)],
    )
        .prop_map(|(nodes, mut pods, mins, budgets, empty_budget, drain_percent)| {
            for pod in &mut pods {
                pod.node %= nodes.len();
            }
            Case {
                nodes,
                pods,
                mins,
                budgets,
                empty_budget,
                drain_percent,
            }
        })
}

fn node_name(index: usize) -> String {
    format!("n{index}")
}

fn pod_name(case: &Case, index: usize) -> String {
    format!("{}-{index:02}", APPS[case.pods[index].app])
}

fn cluster(case: &Case) -> Cluster {
    let mut cluster = Cluster::new().settings(json!({
        "budgets": {"empty": case.empty_budget, "drain": format!("{}%", case.drain_percent)},
    }));
    for (name, min) in GROUPS.iter().zip(case.mins) {
        cluster = cluster.group(name, json!({"spec": {"minNodes": min}}));
    }
    for (app, allowed) in APPS.iter().zip(case.budgets) {
        if let Some(allowed) = allowed {
            cluster = cluster.budget(app, app, i32::try_from(allowed).unwrap(), json!({}));
        }
    }
    for (index, node) in case.nodes.iter().enumerate() {
        let mut patch = json!({
            "metadata": {"labels": {"autoscaler.vpsie.com/nodegroup": GROUPS[node.group]}},
            "spec": {"unschedulable": node.cordoned},
        });
        if !node.ready {
            patch["status"]["conditions"] =
                json!([{"type": "Ready", "status": "False", "lastTransitionTime": ago(7200)}]);
        }
        if node.dedicated {
            patch["spec"]["taints"] = json!([{"key": "dedicated", "value": "x", "effect": "NoSchedule"}]);
        }
        if node.leaving {
            patch["metadata"]["deletionTimestamp"] = json!(ago(5));
        }
        cluster = cluster.node(&node_name(index), patch);
    }
    for (index, pod) in case.pods.iter().enumerate() {
        let patch = match pod.kind {
            PodKind::Replicated => json!({}),
            PodKind::Naked => json!({"metadata": {"ownerReferences": null}}),
            PodKind::Daemon => json!({"metadata": {"ownerReferences": [
                {"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "ds", "uid": "u", "controller": true},
            ]}}),
            PodKind::Ended => json!({"status": {"phase": "Succeeded"}}),
            PodKind::Scratch => json!({"spec": {"volumes": [{"name": "v", "emptyDir": {}}]}}),
            PodKind::Waiting => json!({"metadata": {"annotations": {
                "cluster-autoscaler.kubernetes.io/safe-to-evict": "on-completion",
            }}}),
            PodKind::Terminating => json!({"metadata": {"deletionTimestamp": ago(5)}}),
            PodKind::Tolerating => json!({"spec": {"tolerations": [{"key": "dedicated", "operator": "Exists"}]}}),
        };
        cluster = cluster.pod(
            &pod_name(case, index),
            &node_name(pod.node),
            &format!("{}m", pod.cpu),
            patch,
        );
    }
    cluster
}

/// The invariants 1 to 4 of a plan, counted by hand.
fn check(case: &Case, run: &Run) {
    let index_of = |name: &str| name.trim_start_matches('n').parse::<usize>().unwrap();
    let removed: Vec<usize> = run.removed().iter().map(|name| index_of(name)).collect();
    let set: BTreeSet<usize> = removed.iter().copied().collect();
    assert_eq!(set.len(), removed.len(), "a node is removed twice");
    let of_node = |node: usize| case.pods.iter().enumerate().filter(move |(_, pod)| pod.node == node);
    let must_move = |pod: &PodCase| !matches!(pod.kind, PodKind::Daemon | PodKind::Ended);

    // 1. The minimum.
    for (group, min) in case.mins.iter().enumerate() {
        let members = || case.nodes.iter().enumerate().filter(|(_, node)| node.group == group);
        let ready = members()
            .filter(|(index, node)| node.ready && !node.leaving && !set.contains(index))
            .count();
        assert!(
            ready >= *min || !members().any(|(index, _)| set.contains(&index)),
            "group {group} falls below {min}"
        );
    }

    // 2. Every removed node passes every check.
    let unready = case.nodes.iter().filter(|node| !node.ready).count();
    assert!(
        set.is_empty() || unready <= 3 || unready * 100 <= case.nodes.len() * 45,
        "the cluster is sick"
    );
    for node in set.iter().copied() {
        assert!(!case.nodes[node].leaving);
        let used: i64 = of_node(node)
            .filter(|(_, pod)| pod.kind != PodKind::Ended)
            .map(|(_, pod)| pod.cpu)
            .sum();
        assert!(used * 2 <= SIZE, "n{node} is used to {used}");
        for (_, pod) in of_node(node) {
            assert!(
                !matches!(pod.kind, PodKind::Naked | PodKind::Scratch | PodKind::Waiting),
                "{pod:?} blocks"
            );
        }
    }

    // 3. Budgets.
    let leaving = |group: Option<usize>, with_pods: bool| {
        let of_group = case
            .nodes
            .iter()
            .enumerate()
            .filter(move |(_, node)| group.is_none_or(|group| node.group == group));
        of_group
            .filter(|(index, node)| node.leaving && of_node(*index).any(|(_, pod)| must_move(pod)) == with_pods)
            .count()
    };
    let planned = |group: Option<usize>, kind: RemovalKind| {
        let of_kind = run
            .down
            .removals
            .iter()
            .zip(&removed)
            .filter(move |(removal, _)| removal.kind == kind);
        of_kind
            .filter(|(_, node)| group.is_none_or(|group| case.nodes[**node].group == group))
            .count()
    };
    let share = |total: usize| (total * case.drain_percent / 100).max(1);
    let empties = planned(None, RemovalKind::Empty);
    assert!(
        empties == 0 || empties + leaving(None, false) <= case.empty_budget,
        "{empties} empty removals"
    );
    for group in [None, Some(0), Some(1)] {
        let total = case
            .nodes
            .iter()
            .filter(|node| group.is_none_or(|group| node.group == group))
            .count();
        let drains = planned(group, RemovalKind::Drain);
        assert!(
            drains == 0 || drains + leaving(group, true) <= share(total),
            "{drains} drains in {group:?}"
        );
    }
    for (app, allowed) in case.budgets.iter().enumerate() {
        let Some(allowed) = *allowed else { continue };
        let charged = |node: usize| {
            let charged =
                of_node(node).filter(|(_, pod)| pod.app == app && must_move(pod) && pod.kind != PodKind::Terminating);
            charged.count()
        };
        let in_progress: usize = (0..case.nodes.len())
            .filter(|node| case.nodes[*node].leaving)
            .map(charged)
            .sum();
        let nodes: Vec<usize> = removed.iter().copied().filter(|node| charged(*node) > 0).collect();
        let pods: usize = nodes.iter().copied().map(charged).sum();
        let headroom = allowed.saturating_sub(in_progress);
        assert!(pods == 0 || headroom > 0, "{} has no headroom", APPS[app]);
        assert!(
            pods <= headroom || (nodes.len() == 1 && in_progress == 0),
            "{pods} pods of {} from {nodes:?}",
            APPS[app]
        );
    }

    // 4. Every pod that must move has a place that it fits.
    let mut used = BTreeMap::new();
    for pod in case.pods.iter().filter(|pod| pod.kind != PodKind::Ended) {
        *used.entry(pod.node).or_insert(0) += pod.cpu;
    }
    let numbers: BTreeMap<String, usize> = (0..case.pods.len())
        .map(|index| (pod_name(case, index), index))
        .collect();
    for (removal, node) in run.down.removals.iter().zip(removed.iter().copied()) {
        let mut moved = BTreeSet::new();
        for step in run.moves(&node_name(node)) {
            let (pod, to) = step.split_once('>').unwrap();
            let (pod, to) = (numbers[pod], index_of(to));
            let destination = &case.nodes[to];
            assert!(
                destination.ready && !destination.cordoned && !destination.leaving,
                "{step}"
            );
            assert!(!set.contains(&to), "{step} goes to a node that is removed");
            assert!(
                !destination.dedicated || case.pods[pod].kind == PodKind::Tolerating,
                "{step} is not tolerated"
            );
            *used.entry(to).or_insert(0) += case.pods[pod].cpu;
            assert!(used[&to] <= SIZE, "{step} does not fit");
            assert!(moved.insert(pod), "{step} twice");
        }
        let expected: BTreeSet<usize> = of_node(node)
            .filter(|(_, pod)| must_move(pod))
            .map(|(index, _)| index)
            .collect();
        assert_eq!(moved, expected, "moves of n{node}");
        assert_eq!(removal.kind == RemovalKind::Empty, expected.is_empty());
    }
}

#[test]
fn plans_keep_the_invariants() {
    let config = Config {
        cases: 400,
        failure_persistence: None,
        ..Config::default()
    };
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]);
    let mut runner = TestRunner::new_with_rng(config, rng);
    let removals = std::cell::Cell::new(0);
    runner
        .run(&cases(), |case| {
            let cluster = cluster(&case);
            let run = cluster.run();
            check(&case, &run);
            assert_eq!(run.down, cluster.run().down, "the same input gives the same plan");
            removals.set(removals.get() + run.down.removals.len());
            Ok(())
        })
        .unwrap();
    assert!(
        removals.get() > 200,
        "the cases are too dull to show anything: {} removals",
        removals.get()
    );
}
