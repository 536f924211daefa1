//! Plans with one fault each: the check names the invariant that is broken.

use serde_json::{Value, json};

use super::check;
use crate::{
    plan::{Move, PlannedRemoval, RemovalKind},
    planner::{self, Options},
    scale_down::testing::{Cluster, NOW, ago},
    snapshot::{GroupId, NodeId, PodId, Snapshot},
};

const OPTIONS: Options = Options { ignore_timers: true };

/// A node `n1` with a small pod `web-1`, and a busy node `n9` with room for it.
fn cluster() -> Cluster {
    cluster_with("100m", json!({}))
}

/// The same with a pod that requests this, and is patched so.
fn cluster_with(cpu: &str, patch: Value) -> Cluster {
    Cluster::new()
        .node("n1", json!({}))
        .pod("web-1", "n1", cpu, patch)
        .node("n9", json!({}))
        .anchor("n9")
}

fn node(snapshot: &Snapshot, name: &str) -> NodeId {
    let is_named = |id: &NodeId| snapshot.text(snapshot.node(*id).name) == name;
    snapshot.node_ids().find(is_named).unwrap()
}

fn pod(snapshot: &Snapshot, name: &str) -> PodId {
    snapshot.pod_ids().find(|id| *snapshot.pod(*id).name == *name).unwrap()
}

/// What the check says to these removals in place of those that were decided: nodes, each with moves `pod>node`.
fn forced(cluster: &Cluster, removals: &[(&str, &[&str])]) -> Vec<String> {
    let snapshot = cluster.snapshot();
    let mut plan = planner::plan(&snapshot, &OPTIONS, NOW.parse().unwrap());
    assert_eq!(check(&snapshot, &plan), [], "what was decided");
    let removal = |(name, moves): &(&str, &[&str])| {
        let id = node(&snapshot, name);
        let step = |text: &&str| {
            let (name, to) = text.split_once('>').unwrap();
            Move {
                pod: pod(&snapshot, name),
                to: node(&snapshot, to),
            }
        };
        PlannedRemoval {
            node: id,
            group: snapshot.node(id).group.unwrap_or(GroupId(0)),
            kind: if moves.is_empty() {
                RemovalKind::Empty
            } else {
                RemovalKind::Drain
            },
            moves: moves.iter().map(step).collect(),
        }
    };
    plan.removals = removals.iter().map(removal).collect();
    check(&snapshot, &plan).iter().map(ToString::to_string).collect()
}

/// The check has exactly one objection to these removals, which contains this text.
#[track_caller]
fn assert_objects(cluster: &Cluster, removals: &[(&str, &[&str])], to: &str) {
    let said = forced(cluster, removals);
    assert!(said.len() == 1 && said[0].contains(to), "expected {to:?}: {said:#?}");
}

const DRAIN: &[(&str, &[&str])] = &[("n1", &["web-1>n9"])];

#[test]
fn a_right_removal_passes() {
    assert!(forced(&cluster(), DRAIN).is_empty());
}

#[test]
fn the_drain_budget_of_a_group_without_one_is_that_of_the_settings() {
    let mut many = Cluster::new().settings(json!({"budgets": {"drain": "50%"}}));
    for index in 0..10 {
        let (node, pod) = (format!("n{index}"), format!("web-{index}"));
        many = many.node(&node, json!({})).pod(&pod, &node, "100m", json!({}));
    }
    let snapshot = many.snapshot();
    let plan = planner::plan(&snapshot, &OPTIONS, NOW.parse().unwrap());
    assert_eq!(plan.removals.len(), 5);
    assert_eq!(check(&snapshot, &plan), []);
    let said = forced(&cluster().settings(json!({"budgets": {"drain": 0}})), DRAIN);
    assert_eq!(
        said,
        [
            "invariant 3: 1 drains are planned and 0 in progress in default/workers, its budget is 0",
            "invariant 3: 1 drains are planned and 0 in progress in the cluster, its budget is 0",
        ]
    );
}

#[test]
fn a_pod_that_is_left_behind_is_noticed() {
    let said = forced(&cluster(), &[("n1", &[])]);
    assert_eq!(
        said,
        ["invariant 4: default/web-1 has no destination, and n1 is to be removed"]
    );
    let two = cluster().pod("web-2", "n1", "100m", json!({}));
    assert_objects(&two, DRAIN, "invariant 4: default/web-2 has no destination");
    let ended = cluster().pod("web-2", "n1", "100m", json!({"status": {"phase": "Failed"}}));
    assert_objects(
        &ended,
        &[("n1", &["web-1>n9", "web-2>n9"])],
        "invariant 4: default/web-2 needs no, and has a destination",
    );
}

#[test]
fn a_pod_that_blocks_is_noticed() {
    for (patch, reason) in [
        (
            json!({"metadata": {"ownerReferences": null}}),
            "blocks the removal of n1: NotReplicated",
        ),
        (
            json!({"spec": {"volumes": [{"name": "v", "emptyDir": {}}]}}),
            "LocalStorageRequested",
        ),
        (
            json!({"metadata": {"annotations": {"cluster-autoscaler.kubernetes.io/safe-to-evict": "on-completion"}}}),
            "before default/web-2 has ended",
        ),
    ] {
        let cluster = cluster().pod("web-2", "n1", "100m", patch);
        assert_objects(&cluster, &[("n1", &["web-1>n9", "web-2>n9"])], reason);
    }
}

#[test]
fn a_destination_that_does_not_stay_or_takes_no_pods_is_noticed() {
    let tolerating = json!({"spec": {"tolerations": [{"operator": "Exists"}]}});
    let cluster = |patch: Value| {
        let cluster = cluster_with("100m", tolerating.clone());
        cluster.node("n2", patch).anchor("n2")
    };
    let to_n2: &[(&str, &[&str])] = &[("n1", &["web-1>n2"])];
    assert!(forced(&cluster(json!({})), to_n2).is_empty());
    let cordoned = cluster(json!({"spec": {"unschedulable": true}}));
    assert_objects(
        &cordoned,
        to_n2,
        "invariant 4: default/web-1 moves to n2, which is cordoned",
    );
    let given_up = cluster(json!({}))
        .machine("n1", json!({}))
        .machine("n2", json!({"phase": "Failed"}));
    let said = forced(&given_up, to_n2);
    assert!(
        said.iter().any(|said| said.contains("n2, which does not stay Ready")),
        "{said:#?}"
    );
}

#[test]
fn b12_a_node_of_a_failed_vpsienode_is_none_of_the_minimum() {
    let cluster = |phase: &str| {
        let cluster = Cluster::new().group("workers", json!({"spec": {"minNodes": 2}}));
        let cluster = cluster
            .node("n1", json!({}))
            .node("n2", json!({}))
            .node("n3", json!({}));
        let cluster = cluster.anchor("n2").anchor("n3");
        let cluster = cluster.machine("n1", json!({})).machine("n2", json!({}));
        cluster.machine("n3", json!({"phase": phase}))
    };
    assert!(forced(&cluster("Ready"), &[("n1", &[])]).is_empty());
    assert_objects(
        &cluster("Failed"),
        &[("n1", &[])],
        "invariant 1: 1 removals leave default/workers with 1 Ready nodes, minNodes is 2",
    );
}

#[test]
fn a_node_that_is_used_too_much_is_noticed() {
    let busy = cluster_with("2001m", json!({})).node("n2", json!({}));
    assert_objects(
        &busy,
        &[("n1", &["web-1>n2"])],
        "invariant 2: n1 is to be removed and 2001 of its 4000 cpu are requested, the threshold is 50%",
    );
    let half = cluster_with("2000m", json!({})).node("n2", json!({}));
    assert!(forced(&half, &[("n1", &["web-1>n2"])]).is_empty());
}

#[test]
fn a_sick_cluster_is_noticed() {
    let mut sick = cluster();
    let unready =
        json!({"status": {"conditions": [{"type": "Ready", "status": "False", "lastTransitionTime": ago(60)}]}});
    for index in 0..4 {
        sick = sick.node(&format!("sick-{index}"), unready.clone());
    }
    assert_objects(
        &sick,
        DRAIN,
        "invariant 2: nodes are to be removed while 4 of 6 are not Ready",
    );
}

#[test]
fn opt_outs_are_noticed_wherever_they_are() {
    let protected = json!({"metadata": {"annotations": {"autoscaler.vpsie.com/protected": "True"}}});
    let message = "invariant 2: n1 opted out of removal";
    let on_node = Cluster::new().node("n1", protected.clone());
    assert_objects(&on_node, &[("n1", &[])], message);
    let on_group = Cluster::new().group("workers", protected).node("n1", json!({}));
    assert_objects(&on_group, &[("n1", &[])], message);
}

#[test]
fn b18_a_node_that_only_its_labels_make_ours_is_noticed() {
    let mixed = Cluster::new()
        .node("n1", json!({}))
        .node("n2", json!({}))
        .machine("n2", json!({}));
    assert_objects(
        &mixed,
        &[("n1", &[])],
        "invariant 9: n1 has no VPSieNode, as other nodes have",
    );
}

#[test]
fn removals_in_progress_count_for_every_budget() {
    let leaving = |cluster: Cluster| {
        let cluster = cluster.node("n0", json!({"metadata": {"deletionTimestamp": ago(5)}}));
        cluster.pod("web-0", "n0", "100m", json!({}))
    };
    let said = forced(&leaving(cluster()), DRAIN);
    assert_eq!(
        said,
        [
            "invariant 3: 1 drains are planned and 1 in progress in default/workers, its budget is 1",
            "invariant 3: 1 drains are planned and 1 in progress in the cluster, its budget is 1",
        ]
    );
    let wide = json!({"budgets": {"drain": 5}});
    let budget = |allowed| leaving(cluster().settings(wide.clone())).budget("b", "web", allowed, json!({}));
    assert!(forced(&budget(2), DRAIN).is_empty());
    assert_objects(
        &budget(1),
        DRAIN,
        "invariant 3: 1 pods of PodDisruptionBudget default/b move",
    );
    let empty = |limit: u32| {
        let group = json!({"spec": {"scaleDownPolicy": {"budgets": {"empty": limit}}}});
        Cluster::new()
            .group("workers", group)
            .node("n1", json!({}))
            .node("n2", json!({}))
    };
    assert!(forced(&empty(2), &[("n1", &[]), ("n2", &[])]).is_empty());
    assert_objects(
        &empty(1),
        &[("n1", &[]), ("n2", &[])],
        "2 empty removals are planned and 0 in progress in default/workers, its budget is 1",
    );
}

#[test]
fn a_risky_node_has_its_budget_alone() {
    let cluster = |allowed| {
        let cluster = cluster().settings(json!({"budgets": {"drain": 5}}));
        let cluster = cluster.pod("web-2", "n1", "100m", json!({}));
        let cluster = cluster.node("n2", json!({})).pod("web-3", "n2", "100m", json!({}));
        cluster.budget("b", "web", allowed, json!({}))
    };
    let one: (&str, &[&str]) = ("n1", &["web-1>n9", "web-2>n9"]);
    let other: (&str, &[&str]) = ("n2", &["web-3>n9"]);
    assert!(forced(&cluster(3), &[other, one]).is_empty());
    assert!(forced(&cluster(1), &[one]).is_empty());
    assert_objects(
        &cluster(1),
        &[other, one],
        "3 pods of PodDisruptionBudget default/b move from 2 nodes",
    );
    assert_objects(&cluster(0), &[one], "it allows 0 and 0 are on nodes that leave");
    let twice = cluster(9).budget("c", "web", 9, json!({}));
    assert_objects(
        &twice,
        &[other],
        "default/web-3 of n2 is under several PodDisruptionBudgets",
    );
}

#[test]
fn a_pending_pod_that_could_use_the_node_is_noticed() {
    let unschedulable = json!({"status": {"conditions": [
        {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "lastTransitionTime": ago(600)},
    ]}});
    let pending = |cpu: &str| cluster().pod("job-1", "", cpu, unschedulable.clone());
    assert!(forced(&pending("64"), DRAIN).is_empty());
    let said = forced(&pending("3500m"), DRAIN);
    assert!(
        said.iter()
            .any(|said| said.contains("invariant 7: n1 is to be removed while pending pod default/job-1 fits it")),
        "{said:#?}"
    );
    let nominated = cluster().pod("job-1", "", "64", json!({"status": {"nominatedNodeName": "n1"}}));
    assert_objects(
        &nominated,
        DRAIN,
        "invariant 7: n1 is to be removed while a pod is nominated to it",
    );
}
