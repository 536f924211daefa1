//! Removals leave the head-room of groups alone.

use serde_json::{Value, json};

use super::testing::Cluster;

/// All removal budgets out of the way, and a group that is to keep head-room.
fn keeping(headroom: &Value) -> Cluster {
    Cluster::new()
        .settings(json!({"budgets": {"empty": 10000, "drain": "100%"}}))
        .group("workers", json!({"spec": {"headroom": headroom}}))
}

fn of_group(group: &str) -> Value {
    json!({"metadata": {"labels": {"autoscaler.vpsie.com/nodegroup": group}}})
}

fn cordoned() -> Value {
    json!({"spec": {"unschedulable": true}})
}

fn daemon() -> Value {
    json!({"metadata": {"ownerReferences": [
        {"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "ds", "uid": "u", "controller": true},
    ]}})
}

#[test]
fn as_many_empty_nodes_stay_as_are_asked_for() {
    let run = keeping(&json!({"nodes": 2}))
        .node("n1", json!({}))
        .node("n2", json!({}))
        // A node with nothing but pods of DaemonSets is empty.
        .pod("ds-1", "n2", "100m", daemon())
        .node("n3", json!({}))
        .run();
    assert_eq!(run.removed(), ["n1"]);
    assert_eq!([run.verdict("n2"), run.verdict("n3")], ["Headroom", "Headroom"]);
    assert_eq!(
        run.message("n3"),
        "without it the head-room of NodeGroup default/workers would be 1 empty nodes of 2"
    );
    assert!(run.report("n3").unneeded);
}

#[test]
fn of_head_room_the_empty_nodes_are_deletion_candidates() {
    let run = keeping(&json!({"nodes": 1}))
        .node("empty", json!({}))
        .node("busy", json!({}))
        .pod("p-1", "busy", "100m", json!({}))
        .run();
    assert_eq!([run.verdict("empty"), run.verdict("busy")], ["Headroom", "Headroom"]);
    assert_eq!(run.message("busy"), run.message("empty"));
    assert_eq!([run.is_candidate("empty"), run.is_candidate("busy")], [true, false]);
}

#[test]
fn a_percentage_is_of_the_nodes_with_pods() {
    let cluster = |percent: i64| {
        let mut cluster = keeping(&json!({"percent": percent}));
        for name in ["a1", "a2", "a3"] {
            cluster = cluster.node(name, json!({})).anchor(name);
        }
        for name in ["e1", "e2", "e3"] {
            cluster = cluster.node(name, json!({}));
        }
        cluster.run()
    };
    assert_eq!(cluster(0).removed(), ["e1", "e2", "e3"]);
    assert_eq!(cluster(33).removed(), ["e1", "e2"]);
    assert_eq!(cluster(34).removed(), ["e1"]);
    assert_eq!(cluster(100).removed(), Vec::<&str>::new());
}

#[test]
fn room_for_pods_may_be_on_nodes_with_other_pods() {
    let cluster = |replicas: i64| {
        let pods = json!({"replicas": replicas, "resources": {"requests": {"cpu": "1"}}});
        keeping(&json!({"pods": pods}))
            .node("a1", json!({}))
            .pod("busy", "a1", "2500m", json!({}))
            .node("e1", json!({}))
            .run()
    };
    assert_eq!(cluster(1).verdict("e1"), "Remove");
    assert_eq!(cluster(2).verdict("e1"), "Headroom");
    assert_eq!(
        cluster(2).message("e1"),
        "without it the head-room of NodeGroup default/workers would be room for 1 pods of 2"
    );
}

#[test]
fn pods_that_move_do_not_take_the_room_either() {
    // Either of the two could be emptied onto the other, but then no node would be empty.
    let run = keeping(&json!({"nodes": 1}))
        .node("n1", json!({}))
        .pod("a", "n1", "1", json!({}))
        .node("n2", json!({}))
        .run();
    assert_eq!(run.removed(), Vec::<&str>::new());
    assert_eq!([run.verdict("n1"), run.verdict("n2")], ["Headroom", "Headroom"]);

    // With one more node there is an empty one left.
    let run = keeping(&json!({"nodes": 1}))
        .node("n1", json!({}))
        .pod("a", "n1", "1", json!({}))
        .node("n2", json!({}))
        .pod("b", "n2", "1", json!({}))
        .node("n3", json!({}))
        .run();
    assert_eq!(run.removed(), ["n1"]);
    assert_eq!(run.moves("n1"), ["a>n2"]);
}

#[test]
fn head_room_of_another_group_is_not_used_up() {
    let run = Cluster::new()
        .settings(json!({"budgets": {"empty": 10000, "drain": "100%"}}))
        .group("spare", json!({"spec": {"headroom": {"nodes": 1}}}))
        .node("s1", of_group("spare"))
        .node("n1", json!({}))
        .pod("a", "n1", "1", json!({}))
        .run();
    assert_eq!([run.verdict("n1"), run.verdict("s1")], ["Headroom", "Headroom"]);
    assert_eq!(
        run.message("n1"),
        "without it the head-room of NodeGroup default/spare would be 0 empty nodes of 1"
    );
}

#[test]
fn what_adds_nothing_to_head_room_may_go_even_when_there_is_too_little() {
    let run = keeping(&json!({"nodes": 5}))
        .node("empty", json!({}))
        .node("closed", cordoned())
        .node("n1", json!({}))
        .pod("a", "n1", "1", json!({}))
        .node("n2", json!({}))
        .pod("b", "n2", "1500m", json!({}))
        .run();
    assert_eq!(run.removed(), ["closed", "n1"]);
    assert_eq!(run.moves("n1"), ["a>n2"]);
    assert_eq!(run.verdict("empty"), "Headroom");
}

#[test]
fn a_pending_pod_that_fits_makes_its_node_busy() {
    // The decision itself places it; here only its class is on the node.
    let nominated = json!({"status": {"nominatedNodeName": "n1", "conditions": []}});
    let snapshot = keeping(&json!({"nodes": 1}))
        .node("n1", json!({}))
        .node("n2", json!({}))
        .pod("p", "", "1", nominated)
        .snapshot();
    let now = super::testing::NOW.parse().unwrap();
    let options = crate::planner::Options { ignore_timers: true };
    let plan = crate::planner::plan(&snapshot, &options, now);
    assert_eq!(crate::check::check(&snapshot, &plan), []);
    let removed: Vec<_> = plan.removals.iter().map(|removal| removal.node).collect();
    assert_eq!(removed, []);
}

#[test]
fn the_check_finds_head_room_that_removals_take() {
    let snapshot = keeping(&json!({"nodes": 1}))
        .node("n1", json!({}))
        .node("n2", json!({}))
        .snapshot();
    let now = super::testing::NOW.parse().unwrap();
    let options = crate::planner::Options { ignore_timers: true };
    let mut plan = crate::planner::plan(&snapshot, &options, now);
    assert_eq!(plan.removals.len(), 1);
    assert_eq!(crate::check::check(&snapshot, &plan), []);
    let other = snapshot.node_ids().find(|node| *node != plan.removals[0].node).unwrap();
    plan.removals.push(crate::plan::PlannedRemoval {
        node: other,
        ..plan.removals[0].clone()
    });
    let violations = crate::check::check(&snapshot, &plan);
    let text: Vec<_> = violations.iter().map(ToString::to_string).collect();
    assert_eq!(
        text,
        [
            "invariant 2: removals take the head-room of default/workers: it had 2 empty nodes of 1, and is left with 0 \
             empty nodes of 1"
        ]
    );
}
