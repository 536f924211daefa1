//! Random small clusters, and a naive count of what the removals of a plan do to them.
//!
//! The check works on the numbers that the cluster was made from, not on the snapshot, and shares no code with the
//! planner. [`check`](crate::check), which the operator asks before every execution, has to agree.

mod cases;
mod explanation;
mod passes;
mod simulated;

use std::collections::{BTreeMap, BTreeSet};

use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use self::cases::{APPS, Case, GROUPS, Hours, Leaving, PodKind, SIZE, cases};
use super::testing::NOW;
use crate::{
    check::check,
    plan::{Plan, PodVerdict, RemovalKind},
    planner::{self, Options},
    snapshot::{NodeId, Snapshot},
};

/// How many clusters are made, unless `SCALE_DOWN_CASES` says otherwise when the test is built, as it does before a change
/// lands.
const CASES: u32 = 1000;

/// What a new node offers at least, in milli-cores.
const NEW_SIZE: i64 = 3900;

/// A plan, with nodes and pods as the case numbers them.
struct Removed {
    node: usize,
    kind: RemovalKind,
    /// Pods and where they go.
    moves: Vec<(usize, usize)>,
}

fn removals(case: &Case, snapshot: &Snapshot, plan: &Plan) -> Vec<Removed> {
    let number = |id: NodeId| {
        let name = snapshot.text(snapshot.node(id).name);
        name.trim_start_matches('n').parse::<usize>().unwrap()
    };
    let pods: BTreeMap<String, usize> = (0..case.pods.len())
        .map(|index| (case.pod_name(index), index))
        .collect();
    let removed = plan.removals.iter().map(|removal| Removed {
        node: number(removal.node),
        kind: removal.kind,
        moves: removal
            .moves
            .iter()
            .map(|step| (pods[&*snapshot.pod(step.pod).name], number(step.to)))
            .collect(),
    });
    removed.collect()
}

/// The invariants 1 to 4, 7 and 9 of a plan, counted by hand.
fn judge(case: &Case, snapshot: &Snapshot, plan: &Plan) {
    let removed = removals(case, snapshot, plan);
    let set: BTreeSet<usize> = removed.iter().map(|removal| removal.node).collect();
    assert_eq!(set.len(), removed.len(), "a node is removed twice");
    if set.is_empty() {
        return;
    }
    minimum(case, &set);
    eligibility(case, &set);
    removal_budgets(case, &removed);
    disruption_budgets(case, &removed);
    places(case, &removed, &set, snapshot, plan);

    // 7. Nothing goes while it could be needed.
    let could_run_on_a_new_node = |cpu: &i64| *cpu <= NEW_SIZE;
    assert!(!case.pending.iter().any(could_run_on_a_new_node), "a pod is pending");
    let bought: BTreeSet<&str> = plan
        .creations
        .iter()
        .map(|creation| snapshot.text(snapshot.group(creation.group).name))
        .collect();
    for node in set {
        let group = case.nodes[node].group;
        assert!(!bought.contains(GROUPS[group]), "n{node} goes while its group grows");
        assert!(
            !(case.machines && case.groups[group].coming),
            "n{node} goes while a node is to come"
        );
    }
}

/// 1.
fn minimum(case: &Case, set: &BTreeSet<usize>) {
    for (group, spec) in case.groups.iter().enumerate() {
        let members = || (0..case.nodes.len()).filter(|index| case.nodes[*index].group == group);
        let is_ready = |index: &usize| case.nodes[*index].unready.is_none();
        let staying = members()
            .filter(|index| is_ready(index) && !case.is_leaving(*index) && !set.contains(index))
            .count();
        // A node that is not Ready is no loss.
        let loses = members().any(|index| is_ready(&index) && set.contains(&index));
        assert!(spec.min <= staying || !loses, "group {group} falls below {}", spec.min);
    }
}

/// 2 and 9: every removed node passes every check.
fn eligibility(case: &Case, set: &BTreeSet<usize>) {
    let unready = case.nodes.iter().filter(|node| node.unready.is_some()).count();
    assert!(
        unready <= 3 || unready * 100 <= case.nodes.len() * 45,
        "the cluster is sick"
    );
    let stands = |index: &usize| case.has_machine(*index) && !case.is_leaving(*index);
    let has_machines = (0..case.nodes.len()).any(|index| stands(&index));
    for index in set.iter().copied() {
        let node = &case.nodes[index];
        let group = &case.groups[node.group];
        assert!(!case.is_leaving(index), "n{index} leaves already");
        let heirs = (0..case.nodes.len()).filter(|from| {
            let drains = case.nodes[*from].leaving == Leaving::Draining && case.has_machine(*from);
            drains && case.pods_on(*from).any(|(_, pod)| pod.kind.must_move())
        });
        let is_expecting = heirs.map(|from| case.heir(from)).any(|heir| heir == index);
        assert!(!is_expecting, "pods of a removal in progress move to n{index}");
        assert!(!has_machines || case.has_machine(index), "n{index} has no VPSieNode");
        assert!(matches!(node.protected, None | Some("false")), "n{index} is protected");
        assert!(group.enabled, "scale-down of n{index} is disabled");
        assert!(
            matches!(group.hours, None | Some(Hours::Now)),
            "n{index} goes at a wrong hour"
        );
        if case.timers {
            assert!(
                node.unready.is_none_or(|seconds| 1200 <= seconds),
                "n{index} is not unready for long"
            );
            assert!(case.has_machine(index) && node.unneeded.is_some_and(|seconds| 600 < seconds));
            assert!(
                node.failed.is_none_or(|seconds| 180 <= seconds),
                "n{index} failed just now"
            );
            assert!(
                group.grown.is_none_or(|seconds| 600 <= seconds),
                "the group of n{index} is cooling down"
            );
        }
        let counted = case.pods_on(index).filter(|(_, pod)| pod.kind != PodKind::Ended);
        let used: i64 = counted.map(|(_, pod)| pod.cpu).sum();
        assert!(used * 100 <= SIZE * group.threshold, "n{index} is used to {used}");
        for (_, pod) in case.pods_on(index) {
            let blocks = matches!(pod.kind, PodKind::Naked | PodKind::Scratch | PodKind::Waiting);
            assert!(!blocks, "{pod:?} blocks");
        }
    }
}

/// 3: removals at one time.
fn removal_budgets(case: &Case, removed: &[Removed]) {
    let is_of = |node: usize, group: Option<usize>| group.is_none_or(|group| case.nodes[node].group == group);
    let total = |group| (0..case.nodes.len()).filter(|node| is_of(*node, group)).count();
    let leaving = |group, with_pods| {
        let holds_pods = |node| case.pods_on(node).any(|(_, pod)| pod.kind.must_move());
        let leaving = (0..case.nodes.len()).filter(|node| is_of(*node, group) && case.is_leaving(*node));
        leaving.filter(|node| holds_pods(*node) == with_pods).count()
    };
    let planned = |group, kind| {
        let of_group = removed.iter().filter(|removal| is_of(removal.node, group));
        of_group.filter(|removal| removal.kind == kind).count()
    };
    let empties = planned(None, RemovalKind::Empty);
    assert!(
        empties == 0 || empties + leaving(None, false) <= case.empty_budget,
        "{empties} empty removals"
    );
    for group in [None, Some(0), Some(1)] {
        let of_group = group.and_then(|group| case.groups[group].drain_percent);
        let percent = of_group.unwrap_or(case.drain_percent);
        let share = if percent == 0 {
            0
        } else {
            (total(group) * percent / 100).max(1)
        };
        let drains = planned(group, RemovalKind::Drain);
        assert!(
            drains == 0 || drains + leaving(group, true) <= share,
            "{drains} drains in {group:?}"
        );
    }
}

/// 3: PodDisruptionBudgets.
fn disruption_budgets(case: &Case, removed: &[Removed]) {
    for (app, budget) in case.budgets.iter().enumerate() {
        let Some(allowed) = budget.allowed else { continue };
        let leaving = (0..case.nodes.len()).filter(|node| case.is_leaving(*node));
        let in_progress: usize = leaving.map(|node| case.charged(node, app)).sum();
        let charges = removed.iter().map(|removal| case.charged(removal.node, app));
        let charges: Vec<usize> = charges.filter(|pods| 0 < *pods).collect();
        let pods: usize = charges.iter().sum();
        let headroom = allowed.saturating_sub(in_progress);
        assert!(pods == 0 || headroom > 0, "{} has no headroom", APPS[app]);
        assert!(
            pods <= headroom || (charges.len() == 1 && in_progress == 0),
            "{pods} pods of {}: {charges:?}",
            APPS[app]
        );
    }
}

/// 4: every pod that must move has a place that it fits.
fn places(case: &Case, removed: &[Removed], set: &BTreeSet<usize>, snapshot: &Snapshot, plan: &Plan) {
    let mut used = BTreeMap::new();
    for pod in case.pods.iter().filter(|pod| pod.kind != PodKind::Ended) {
        *used.entry(pod.node).or_insert(0) += pod.cpu;
    }
    let fits_existing = |verdict| matches!(verdict, PodVerdict::FitsExisting(_));
    let waiting = plan.pods.iter().filter(|report| fits_existing(report.verdict)).count();
    assert_eq!(
        waiting,
        0,
        "{} pods wait for nodes that are there",
        snapshot.unbound_pods().len()
    );
    for removal in removed {
        let mut moved = BTreeSet::new();
        for (pod, to) in removal.moves.iter().copied() {
            let destination = &case.nodes[to];
            let name = case.pod_name(pod);
            let takes_pods = destination.unready.is_none() && !destination.cordoned && !case.is_leaving(to);
            assert!(takes_pods, "{name} goes to {destination:?}");
            assert!(!set.contains(&to), "{name} goes to n{to}, which is removed");
            let tolerates = case.pods[pod].kind == PodKind::Tolerating;
            assert!(!destination.dedicated || tolerates, "n{to} does not let {name} in");
            *used.entry(to).or_insert(0) += case.pods[pod].cpu;
            assert!(used[&to] <= SIZE, "{name} does not fit n{to}");
            assert!(moved.insert(pod), "{name} moves twice");
        }
        let must_move = case.pods_on(removal.node).filter(|(_, pod)| pod.kind.must_move());
        let expected: BTreeSet<usize> = must_move.map(|(index, _)| index).collect();
        assert_eq!(moved, expected, "moves of n{}", removal.node);
        assert_eq!(removal.kind == RemovalKind::Empty, expected.is_empty());
    }
}

#[test]
fn plans_keep_the_invariants() {
    let cases_to_try = option_env!("SCALE_DOWN_CASES").and_then(|text| text.parse().ok());
    let config = Config {
        cases: cases_to_try.unwrap_or(CASES),
        failure_persistence: None,
        ..Config::default()
    };
    let least = config.cases / 4;
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]);
    let mut runner = TestRunner::new_with_rng(config, rng);
    let (tried, removed) = (std::cell::Cell::new(0_u32), std::cell::Cell::new(0));
    let now = NOW.parse().unwrap();
    runner
        .run(&cases(), |case| {
            let snapshot = case.cluster().snapshot();
            let options = Options {
                ignore_timers: !case.timers,
            };
            let plan = planner::plan(&snapshot, &options, now);
            judge(&case, &snapshot, &plan);
            assert_eq!(check(&snapshot, &plan), []);
            if tried.get() % 16 == 0 {
                let again = planner::plan(&case.cluster().snapshot(), &options, now);
                assert_eq!(plan, again, "the same input gives the same plan");
            }
            tried.set(tried.get() + 1);
            removed.set(removed.get() + plan.removals.len());
            Ok(())
        })
        .unwrap();
    assert!(
        least as usize <= removed.get(),
        "the cases are too dull to show anything: {} removals in {}",
        removed.get(),
        tried.get()
    );
}
