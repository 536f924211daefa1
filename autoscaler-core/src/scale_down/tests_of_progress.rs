//! Removals in progress: their pods find the room that was meant for them.

use serde_json::{Value, json};

use super::testing::{Cluster, NOW, ago};
use crate::{
    check::check,
    plan::{NodeVerdict, Plan},
    planner::{self, Options},
    snapshot::Snapshot,
};

/// `n0` is being drained, and its pod is to go to `n1`, which is nearly empty. Nodes without a budget that binds.
fn draining(moves: &Value) -> Cluster {
    let removal = json!({"removal": {"phase": "Draining", "kind": "Drain", "moves": moves}});
    Cluster::new()
        .settings(json!({"budgets": {"drain": "100%"}}))
        .node("n0", json!({}))
        .pod("moving", "n0", "1", json!({}))
        .machine("n0", removal)
        .node("n1", json!({}))
        .pod("small", "n1", "100m", json!({}))
        .machine("n1", json!({}))
}

fn plan(cluster: &Cluster) -> (Snapshot, Plan) {
    let snapshot = cluster.snapshot();
    let plan = planner::plan(&snapshot, &Options { ignore_timers: true }, NOW.parse().unwrap());
    assert_eq!(check(&snapshot, &plan), []);
    (snapshot, plan)
}

/// The verdict on a node, and the message.
fn said(cluster: &Cluster, name: &str) -> String {
    let (snapshot, plan) = plan(cluster);
    let is_named = |node| snapshot.text(snapshot.node(node).name) == name;
    let report = plan.nodes.iter().find(|report| is_named(report.node)).unwrap();
    let verdict = match &report.verdict {
        NodeVerdict::Remove => "Remove".to_owned(),
        NodeVerdict::Keep { reason, .. } => reason.to_string(),
    };
    format!("{verdict}: {}", report.message)
}

#[test]
fn a_node_that_pods_of_a_removal_in_progress_move_to_stays() {
    let others = |cluster: Cluster| cluster.node("n9", json!({})).anchor("n9").machine("n9", json!({}));
    let expecting = others(draining(&json!([{"pod": "default/moving", "to": "n1"}])));
    assert_eq!(
        said(&expecting, "n1"),
        "MoveTarget: pods of the removal of n0 move to it"
    );
    // Also when the pod has left n0 and its successor is not there yet.
    let gone = others(draining(&json!([{"pod": "default/gone", "to": "n1"}])));
    assert_eq!(said(&gone, "n1"), "MoveTarget: pods of the removal of n0 move to it");
    let elsewhere = others(draining(&json!([{"pod": "default/moving", "to": "no-such-node"}])));
    assert!(said(&elsewhere, "n1").starts_with("Remove"));
}

#[test]
fn a_removal_that_failed_binds_nobody() {
    let removal = json!({"removal": {
        "phase": "Failed", "kind": "Drain", "moves": [{"pod": "default/moving", "to": "n1"}],
    }});
    let cluster = Cluster::new()
        .node("n0", json!({}))
        .anchor("n0")
        .machine("n0", removal)
        .node("n1", json!({}))
        .machine("n1", json!({}));
    assert!(said(&cluster, "n1").starts_with("Remove"));
}

#[test]
fn room_for_pods_of_a_removal_in_progress_is_given_to_nobody_else() {
    // n9 has one core left, which is meant for the pod of n0.
    let cluster = |to: &str| {
        let removal = json!({"removal": {
            "phase": "Draining", "kind": "Drain", "moves": [{"pod": "default/moving", "to": to}],
        }});
        Cluster::new()
            .settings(json!({"budgets": {"drain": "100%"}}))
            .node("n0", json!({}))
            .pod("moving", "n0", "1", json!({}))
            .machine("n0", removal)
            .node("n1", json!({}))
            .pod("other", "n1", "500m", json!({}))
            .machine("n1", json!({}))
            .node("n9", json!({}))
            .anchor("n9")
            .machine("n9", json!({}))
    };
    assert_eq!(
        said(&cluster("n9"), "n1"),
        "NoPlaceToMovePods: pod default/other finds no other place: n9: NodeResourcesFit: cpu: needs 500m, 0m free"
    );
    assert!(said(&cluster("gone"), "n1").starts_with("Remove"));
    // What no longer fits is not kept room for.
    let full = cluster("n9").pod("filler", "n9", "600m", json!({}));
    assert!(
        said(&full, "n1").ends_with("needs 500m, 400m free"),
        "{}",
        said(&full, "n1")
    );
}

/// `n0` is being drained since 100 s, and its pod, which was to go to `n9`, has left. `n1` could be emptied onto `n9`, where
/// one core is free. `gone` is what the VPSieNode says beside that.
fn evicted(pod: &str, gone: &Value) -> Cluster {
    let mut status = json!({"removal": {
        "phase": "Draining", "kind": "Drain", "startedAt": ago(100), "moves": [{"pod": format!("default/{pod}"), "to": "n9"}],
    }});
    for (key, value) in gone.as_object().unwrap() {
        status[key] = value.clone();
    }
    Cluster::new()
        .settings(json!({"budgets": {"drain": "100%"}}))
        .node("n0", json!({}))
        .machine("n0", status)
        .node("n1", json!({}))
        .pod("other", "n1", "500m", json!({}))
        .machine("n1", json!({}))
        .node("n9", json!({}))
        .anchor("n9")
        .machine("n9", json!({}))
}

/// A pod that a controller made so many seconds ago, and of which the scheduler has said nothing.
fn made(age: i64, controller: &str) -> Value {
    json!({
        "metadata": {"creationTimestamp": ago(age), "ownerReferences": [
            {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": controller, "uid": controller, "controller": true},
        ]},
        "status": {"conditions": []},
    })
}

#[test]
fn room_is_kept_for_a_pod_that_was_evicted_until_its_successor_is_bound() {
    let gone = evicted("web-7d-a1", &json!({}));
    // Nobody knows how large it will be.
    assert_eq!(
        said(&gone, "n1"),
        "NoPlaceToMovePods: pod default/other finds no other place: 1 more: pods of a removal in progress are waited for"
    );
    let waits = gone.clone().pod("web-7d-b2", "", "600m", made(99, "web-7d"));
    assert!(
        said(&waits, "n1").ends_with("n9: NodeResourcesFit: cpu: needs 500m, 400m free"),
        "{}",
        said(&waits, "n1")
    );
    let bound = |node| gone.clone().pod("web-7d-b2", node, "400m", made(99, "web-7d"));
    assert!(said(&bound("n9"), "n1").starts_with("Remove"));
    assert!(
        said(&bound("n1"), "n1").starts_with("Remove"),
        "where the scheduler put it"
    );
    // Pods of others, and those that were there before, take nobody's place.
    for (age, controller) in [(99, "web"), (99, "web-7d-a1"), (101, "web-7d")] {
        let other = gone.clone().pod("web-7d-b2", "n9", "100m", made(age, controller));
        assert!(
            said(&other, "n1").starts_with("NoPlaceToMovePods"),
            "{age} {controller}"
        );
    }
}

#[test]
fn a_pod_without_a_node_comes_before_one_that_may_have_taken_another_place() {
    // Of two pods of one controller that came since, one is bound; the other one is waited for.
    let cluster = evicted("web-7d-a1", &json!({}))
        .pod("web-7d-b2", "n9", "100m", made(99, "web-7d"))
        .pod("web-7d-c3", "", "600m", made(2, "web-7d"));
    assert!(
        said(&cluster, "n1").ends_with("n9: NodeResourcesFit: cpu: needs 500m, 300m free"),
        "{}",
        said(&cluster, "n1")
    );
}

#[test]
fn the_successor_of_a_pod_with_a_number_has_its_name() {
    let gone = evicted("db-0", &json!({}));
    let other = gone.clone().pod("db-1", "n9", "100m", made(50, "db"));
    assert!(said(&other, "n1").starts_with("NoPlaceToMovePods"));
    assert!(said(&gone.pod("db-0", "n9", "100m", made(50, "db")), "n1").starts_with("Remove"));
}

#[test]
fn a_successor_that_nobody_makes_is_not_waited_for_longer_than_a_minute() {
    let deleting = |seconds: i64| evicted("web-7d-a1", &json!({"phase": "Deleting", "phaseSince": ago(seconds)}));
    assert!(said(&deleting(60), "n1").starts_with("NoPlaceToMovePods"));
    assert!(said(&deleting(61), "n1").starts_with("Remove"));
}

#[test]
fn room_is_not_kept_twice_while_a_pod_ends_and_its_successor_is_there() {
    let terminating = json!({
        "metadata": {"deletionTimestamp": ago(-20), "ownerReferences": made(0, "web-7d")["metadata"]["ownerReferences"]},
    });
    let ending = evicted("web-7d-a1", &json!({})).pod("web-7d-a1", "n0", "600m", terminating);
    assert!(
        said(&ending, "n1").ends_with("needs 500m, 400m free"),
        "{}",
        said(&ending, "n1")
    );
    let both = ending.pod("web-7d-b2", "n9", "400m", made(10, "web-7d"));
    assert!(said(&both, "n1").starts_with("Remove"), "{}", said(&both, "n1"));
}

#[test]
fn the_check_notices_the_removal_of_a_node_that_pods_move_to() {
    let cluster = draining(&json!([{"pod": "default/moving", "to": "n2"}])).node("n2", json!({}));
    let (snapshot, mut plan) = plan(&cluster.machine("n2", json!({})));
    assert_eq!(plan.removals.len(), 1, "n1, whose pod fits n2 too");
    let n2 = snapshot.node_ids().last().unwrap();
    plan.removals[0].node = n2;
    plan.removals[0].kind = crate::plan::RemovalKind::Empty;
    plan.removals[0].moves.clear();
    let said: Vec<_> = check(&snapshot, &plan).iter().map(ToString::to_string).collect();
    assert_eq!(
        said,
        ["invariant 4: n2 is to be removed while pods of a removal in progress move to it"]
    );
}
