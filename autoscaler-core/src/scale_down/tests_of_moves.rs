//! Where pods go, in which order nodes go, and how many at once.

use serde_json::{Value, json};

use super::testing::{Cluster, Run, ago};
use crate::plan::RemovalKind;

/// All removal budgets out of the way.
fn unlimited() -> Cluster {
    Cluster::new().settings(json!({"budgets": {"empty": 10000, "drain": "100%"}}))
}

fn of_group(group: &str) -> Value {
    json!({"metadata": {"labels": {"autoscaler.vpsie.com/nodegroup": group}}})
}

fn unready(seconds: i64) -> Value {
    json!({"status": {"conditions": [{"type": "Ready", "status": "False", "lastTransitionTime": ago(seconds)}]}})
}

#[test]
fn pods_move_to_a_named_node_and_that_node_stays() {
    let run = unlimited()
        .node("n1", json!({}))
        .pod("a", "n1", "1", json!({}))
        .node("n2", json!({}))
        .pod("b", "n2", "1500m", json!({}))
        .run();
    assert_eq!(run.removed(), ["n1"]);
    assert_eq!(run.moves("n1"), ["a>n2"]);
    assert_eq!(run.down.removals[0].kind, RemovalKind::Drain);
    assert_eq!(run.verdict("n2"), "MoveTarget");
    assert_eq!([run.is_candidate("n1"), run.is_candidate("n2")], [true, false]);
    assert_eq!(run.message("n1"), "1 pod moves to another node");
}

#[test]
fn move_target_comes_before_what_pods_say() {
    let naked = json!({"metadata": {"ownerReferences": null}});
    let run = unlimited()
        .node("n1", json!({}))
        .pod("a", "n1", "1", json!({}))
        .node("n2", json!({}))
        .pod("b", "n2", "1500m", naked)
        .run();
    assert_eq!(run.verdict("n2"), "MoveTarget");
}

#[test]
fn pods_that_need_no_place_are_not_moved() {
    let daemon = json!({"metadata": {"ownerReferences": [
        {"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "ds", "uid": "u", "controller": true},
    ]}});
    let mirror = json!({"metadata": {"annotations": {"kubernetes.io/config.mirror": "x"}}});
    let run = Cluster::new()
        .node("n1", json!({}))
        .pod("ds", "n1", "100m", daemon)
        .pod("mirror", "n1", "100m", mirror)
        .pod("ended", "n1", "100m", json!({"status": {"phase": "Succeeded"}}))
        .pod(
            "stuck",
            "n1",
            "100m",
            json!({"metadata": {"deletionTimestamp": ago(3600)}}),
        )
        .run();
    assert_eq!(run.verdict("n1"), "Remove");
    assert_eq!(run.down.removals[0].kind, RemovalKind::Empty);
    assert!(run.moves("n1").is_empty());
}

#[test]
fn a_destination_is_ready_and_stays_and_lets_the_pod_in() {
    let cordoned = json!({"spec": {"unschedulable": true}});
    let tainted = json!({"spec": {"taints": [{"key": "dedicated", "value": "db", "effect": "NoSchedule"}]}});
    let run = Cluster::new()
        .with_timers()
        .node("n1", json!({}))
        .machine("n1", json!({}))
        .pod("a", "n1", "1500m", json!({}))
        .node("cordoned", cordoned)
        .node("leaving", json!({}))
        .machine("leaving", json!({"phase": "Terminating"}))
        .node("tainted", tainted)
        .node("unready", unready(60))
        .node("full", json!({}))
        .anchor("full")
        .run();
    assert_eq!(run.verdict("n1"), "NoPlaceToMovePods default/a");
    assert_eq!(
        run.message("n1"),
        "pod default/a finds no other place: \
         full: NodeResourcesFit: cpu: needs 1500m, 1000m free; \
         cordoned: NodeUnschedulable: the node is cordoned; \
         tainted: TaintToleration: does not tolerate the taint dedicated=db:NoSchedule"
    );
}

#[test]
fn a_cordon_keeps_pods_that_tolerate_it_from_moving_there() {
    let labels = json!({"metadata": {"labels": {"app": "a", "zone": "z"}}});
    let tolerating = json!({"spec": {"tolerations": [{"operator": "Exists"}]}});
    // With and without a rule between pods.
    let spread = json!({"spec": {
        "tolerations": [{"operator": "Exists"}],
        "affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
            {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": "nobody"}}},
        ]}},
    }});
    for patch in [tolerating, spread] {
        let cluster = |cordoned: bool| {
            Cluster::new()
                .node("n1", labels.clone())
                .pod("a", "n1", "1", patch.clone())
                .node("n2", json!({"spec": {"unschedulable": cordoned}}))
                .anchor("n2")
                .run()
        };
        assert_eq!(cluster(false).moves("n1"), ["a>n2"]);
        let run = cluster(true);
        assert_eq!(run.verdict("n1"), "NoPlaceToMovePods default/a");
        assert_eq!(
            run.message("n1"),
            "pod default/a finds no other place: n2: NodeUnschedulable: the node is cordoned"
        );
    }
}

#[test]
fn a_dead_node_goes_also_when_its_group_is_at_its_minimum() {
    // One that is not Ready is no loss. The next pass buys another in its place, because a node that leaves is not counted.
    let cluster =
        empty_nodes(2, Cluster::new().group("workers", json!({"spec": {"minNodes": 3}}))).node("dead", unready(7200));
    let run = cluster.run();
    assert_eq!(run.removed(), ["dead"]);
    assert_eq!(run.verdict("n00"), "NodeGroupMinSizeReached");
    let next = cluster
        .machine("n00", json!({}))
        .machine("n01", json!({}))
        .machine("dead", json!({"removal": {"phase": "Planned"}}));
    let snapshot = next.snapshot();
    let options = crate::planner::Options { ignore_timers: true };
    let plan = crate::planner::plan(&snapshot, &options, super::testing::NOW.parse().unwrap());
    assert_eq!((plan.creations.len(), plan.removals.len()), (1, 0));
}

#[test]
fn a_node_of_a_failed_vpsienode_is_no_destination() {
    let cluster = |phase: &str| {
        let cluster = Cluster::new().node("n1", json!({})).pod("a", "n1", "1", json!({}));
        let cluster = cluster.node("n2", json!({})).anchor("n2").machine("n1", json!({}));
        cluster.machine("n2", json!({"phase": phase})).run()
    };
    assert_eq!(cluster("Ready").moves("n1"), ["a>n2"]);
    assert_eq!(cluster("Failed").verdict("n1"), "NoPlaceToMovePods default/a");
}

#[test]
fn a_message_names_five_destinations_and_counts_the_rest() {
    let mut cluster = Cluster::new().node("n1", json!({})).pod("a", "n1", "2", json!({}));
    for index in 0..8 {
        let name = format!("full-{index}");
        cluster = cluster.node(&name, json!({})).anchor(&name);
    }
    let run = cluster.run();
    let message = run.message("n1");
    assert_eq!(message.matches("needs 2000m, 1000m free").count(), 5, "{message}");
    assert!(message.ends_with("; 3 more: NodeResourcesFit"), "{message}");
    let alone = Cluster::new()
        .node("n1", json!({}))
        .pod("a", "n1", "1", json!({}))
        .run();
    assert_eq!(
        alone.message("n1"),
        "pod default/a finds no other place: there is no other Ready node that stays"
    );
}

/// Pods of `app` on `n1` that have to be near those of `target`.
fn near(target: &str) -> Value {
    json!({"spec": {"affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
        {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": target}}},
    ]}}}})
}

#[test]
fn a_pod_that_needs_another_of_its_node_moves_after_it() {
    let hosts = |name: &str| json!({"metadata": {"labels": {"kubernetes.io/hostname": name}}});
    let cluster = || unlimited().node("n1", hosts("n1")).node("n2", hosts("n2")).anchor("n2");
    // Larger pods are tried first, and these cannot be.
    let run = cluster()
        .pod("web-1", "n1", "300m", near("cache"))
        .pod("web-2", "n1", "300m", near("cache"))
        .pod("cache-1", "n1", "200m", near("db"))
        .pod("db-1", "n1", "100m", json!({}))
        .run();
    assert_eq!(run.moves("n1"), ["db-1>n2", "cache-1>n2", "web-1>n2", "web-2>n2"]);
    // What needs each other can never start: the scheduler would not bind either.
    let run = cluster()
        .pod("web-1", "n1", "300m", near("db"))
        .pod("db-1", "n1", "100m", near("web"))
        .run();
    assert_eq!(run.verdict("n1"), "NoPlaceToMovePods default/web-1");
    assert_eq!(
        run.message("n1"),
        "pod default/web-1 finds no other place: n2: InterPodAffinity: \
         no pod in its kubernetes.io/hostname matches the pod affinity"
    );
}

/// `n1`, which offers 8 cores, and empty nodes that offer so many milli-cores and stay.
fn with_free(free: &[i64]) -> Cluster {
    let node = |name: &str, cpu: &str| {
        json!({
            "metadata": {"labels": {"kubernetes.io/hostname": name}},
            "status": {"allocatable": {"cpu": cpu}},
        })
    };
    let mut cluster = unlimited().node("n1", node("n1", "8"));
    for (index, free) in free.iter().enumerate() {
        let name = format!("stays-{index}");
        let mut stays = node(&name, &format!("{free}m"));
        stays["metadata"]["annotations"] = json!({"autoscaler.vpsie.com/protected": "true"});
        cluster = cluster.node(&name, stays);
    }
    cluster
}

#[test]
fn in_a_small_cluster_a_place_is_found_when_there_is_one() {
    let mut cluster = with_free(&[900, 700, 1100]);
    for cpu in [800, 600, 500, 400, 300] {
        cluster = cluster.pod(&format!("p-{cpu}"), "n1", &format!("{cpu}m"), json!({}));
    }
    let run = cluster.run();
    let expected = [
        "p-800>stays-0",
        "p-600>stays-2",
        "p-500>stays-2",
        "p-400>stays-1",
        "p-300>stays-1",
    ];
    assert_eq!(run.moves("n1"), expected);
    // These have to share a node, and the fullest one has room for one of them.
    let run = with_free(&[600, 1000])
        .pod("web-1", "n1", "500m", near("web"))
        .pod("web-2", "n1", "500m", near("web"))
        .run();
    assert_eq!(run.moves("n1"), ["web-1>stays-1", "web-2>stays-1"]);
    // Enough room in all, but there is no way.
    let mut cluster = with_free(&[900, 900]);
    for index in 0..3 {
        cluster = cluster.pod(&format!("p-{index}"), "n1", "500m", json!({}));
    }
    assert_eq!(cluster.run().verdict("n1"), "NoPlaceToMovePods default/p-2");
}

#[test]
fn a_message_counts_nodes_that_go_in_this_plan() {
    let run = unlimited()
        .node("n1", json!({}))
        .pod("a", "n1", "1", json!({}))
        .node("n2", json!({}))
        .node("n3", json!({}))
        .run();
    assert_eq!(run.removed(), ["n2", "n3"]);
    assert_eq!(
        run.message("n1"),
        "pod default/a finds no other place: 2 other: removed by this plan"
    );
}

#[test]
fn nodes_that_stay_anyway_are_filled_first_the_fullest_first() {
    let run = unlimited()
        .node("n1", json!({}))
        .pod("a", "n1", "500m", json!({}))
        .node("n2", json!({}))
        .pod("b", "n2", "1", json!({}))
        .node("half", json!({}))
        .pod("half", "half", "2500m", json!({}))
        .node("most", json!({}))
        .anchor("most")
        .run();
    assert_eq!(run.removed(), ["n1", "n2"]);
    assert_eq!(run.moves("n1"), ["a>most"]);
    assert_eq!(run.moves("n2"), ["b>half"]);
}

#[test]
fn of_nodes_that_could_go_the_last_in_line_takes_the_pods() {
    let run = unlimited()
        .node("n1", json!({}))
        .pod("a", "n1", "500m", json!({}))
        .node("n2", json!({}))
        .pod("b", "n2", "1", json!({}))
        .node("n3", json!({}))
        .pod("c", "n3", "1500m", json!({}))
        .run();
    assert_eq!(run.removed(), ["n1", "n2"]);
    assert_eq!(run.moves("n1"), ["a>n3"]);
    assert_eq!(run.moves("n2"), ["b>n3"]);
}

#[test]
fn a_node_that_a_pod_keeps_takes_pods_before_one_that_could_go() {
    let naked = json!({"metadata": {"ownerReferences": null}});
    let run = unlimited()
        .node("n1", json!({}))
        .pod("a", "n1", "500m", json!({}))
        .node("n2", json!({}))
        .pod("b", "n2", "400m", naked)
        .node("n3", json!({}))
        .pod("c", "n3", "1500m", json!({}))
        .run();
    assert_eq!(run.removed(), ["n1", "n3"]);
    assert_eq!(run.verdict("n2"), "BlockedByPod default/b NotReplicated");
}

#[test]
fn a_pod_that_claims_devices_stays_where_they_are() {
    let claims = json!({"spec": {"resourceClaims": [{"name": "gpu", "resourceClaimName": "c"}]}});
    let run = Cluster::new()
        .node("n1", json!({}))
        .pod("a", "n1", "1", claims)
        .node("n2", json!({}))
        .anchor("n2")
        .run();
    assert_eq!(
        run.message("n1"),
        "pod default/a finds no other place: \
         n2: DynamicResources: claims devices (gpu), and which node has them is not known here"
    );
}

#[test]
fn larger_pods_are_placed_first() {
    let run = unlimited()
        .node("n1", json!({}))
        .pod("a", "n1", "100m", json!({}))
        .pod("b", "n1", "700m", json!({}))
        .pod("c", "n1", "900m", json!({}))
        .node("most", json!({}))
        .anchor("most")
        .node("next", json!({}))
        .pod("next", "next", "2900m", json!({}))
        .run();
    assert_eq!(run.moves("n1"), ["c>most", "b>next", "a>most"]);
}

#[test]
fn a_pod_with_one_place_only_gets_it_before_a_larger_one() {
    let only_most = json!({"spec": {"nodeSelector": {"disk": "ssd"}}});
    let run = unlimited()
        .node("n1", json!({}))
        .pod("large", "n1", "900m", json!({}))
        .pod("picky", "n1", "500m", only_most)
        .node("most", json!({"metadata": {"labels": {"disk": "ssd"}}}))
        .anchor("most")
        .node("next", json!({}))
        .pod("next", "next", "2900m", json!({}))
        .run();
    assert_eq!(run.moves("n1"), ["picky>most", "large>next"]);
}

#[test]
fn what_fits_nowhere_even_alone_is_named() {
    let run = Cluster::new()
        .node("n1", json!({}))
        .pod("large", "n1", "900m", json!({}))
        .pod("medium", "n1", "300m", json!({}))
        .pod(
            "picky",
            "n1",
            "100m",
            json!({"spec": {"nodeSelector": {"disk": "ssd"}}}),
        )
        .node("full", json!({}))
        .anchor("full")
        .run();
    // Together they do not fit, and the first that did not is named; the picky one is looked at first after that.
    assert_eq!(run.verdict("n1"), "NoPlaceToMovePods default/medium");
    let run = Cluster::new()
        .node("n1", json!({}))
        .pod("large", "n1", "900m", json!({}))
        .pod(
            "picky",
            "n1",
            "100m",
            json!({"spec": {"nodeSelector": {"disk": "ssd"}}}),
        )
        .node("full", json!({}))
        .anchor("full")
        .run();
    assert_eq!(run.verdict("n1"), "NoPlaceToMovePods default/picky");
    assert!(run.message("n1").contains("the node selector asks for disk=ssd"));
}

#[test]
fn empty_nodes_go_first_then_the_least_used_then_by_name() {
    let mut cluster = unlimited();
    for (node, cpu) in [("d", "400m"), ("c", "300m"), ("b", "400m")] {
        cluster = cluster
            .node(node, json!({}))
            .pod(&format!("web-{node}"), node, cpu, json!({}));
    }
    // Memory counts as well: half of it is more than a tenth of the CPU.
    let large =
        json!({"spec": {"containers": [{"name": "c", "resources": {"requests": {"memory": "4Gi", "cpu": "1m"}}}]}});
    let run = cluster
        .node("a", json!({}))
        .pod("web-a", "a", "0", large)
        .node("e", json!({}))
        .node("stays", json!({}))
        .pod("stays", "stays", "2001m", json!({}))
        .run();
    assert_eq!(run.removed(), ["e", "c", "b", "d", "a"]);
}

#[test]
fn a_group_keeps_its_minimum_of_ready_nodes() {
    let min = |min: i32| json!({"spec": {"minNodes": min}});
    let cluster = Cluster::new()
        .node("n1", json!({}))
        .node("n2", json!({}))
        .node("n3", json!({}));
    let run = cluster.clone().group("workers", min(2)).run();
    assert_eq!(run.removed(), ["n1"]);
    assert_eq!(run.verdict("n2"), "NodeGroupMinSizeReached");
    assert_eq!(
        run.message("n2"),
        "2 nodes of the group are Ready and stay, minNodes is 2"
    );
    // Neither an unready node nor one that is leaving counts.
    let mixed = cluster
        .clone()
        .group("workers", min(2))
        .node("u", unready(60))
        .with_timers();
    let mixed = mixed
        .machine("n1", json!({"phase": "Deleting"}))
        .machine("n2", json!({}))
        .machine("u", json!({}));
    assert_eq!(mixed.run().verdict("n2"), "NodeGroupMinSizeReached");
    // An unready node goes when enough others are Ready.
    let run = cluster.group("workers", min(3)).node("u", unready(1800)).run();
    assert_eq!(run.removed(), ["u"]);
}

#[test]
fn another_group_does_not_help_the_minimum() {
    let run = Cluster::new()
        .group("workers", json!({"spec": {"minNodes": 1}}))
        .group("other", json!({}))
        .node("n1", json!({}))
        .node("n2", of_group("other"))
        .run();
    assert_eq!(run.removed(), ["n2"]);
}

fn empty_nodes(count: usize, cluster: Cluster) -> Cluster {
    (0..count).fold(cluster, |cluster, index| {
        cluster.node(&format!("n{index:02}"), json!({}))
    })
}

#[test]
fn ten_empty_nodes_go_at_once() {
    let run = empty_nodes(12, Cluster::new()).run();
    assert_eq!(run.removed().len(), 10);
    assert_eq!(run.verdict("n10"), "DisruptionBudgetReached");
    assert_eq!(
        run.message("n11"),
        "empty removals over all groups: 10 in progress or planned, the budget is 10"
    );
}

#[test]
fn removals_in_progress_count() {
    let leaving = empty_nodes(12, Cluster::new()).machine("n00", json!({"phase": "Terminating"}));
    assert_eq!(leaving.run().removed().len(), 9);
    // It still holds a pod that must move, and is a drain.
    let draining = leaving.pod("a", "n00", "1", json!({}));
    assert_eq!(draining.run().removed().len(), 10);
    // One drain of the group is what 10 % of 13 nodes allow, and it is in progress.
    let run = draining.node("p", json!({})).pod("b", "p", "1", json!({})).run();
    assert_eq!(run.verdict("p"), "DisruptionBudgetReached");
    assert_eq!(
        run.message("p"),
        "drains of the group: 1 in progress or planned, the budget is 1"
    );
}

#[test]
fn empty_removals_have_a_budget_of_the_group_and_one_of_all() {
    let group = json!({"spec": {"scaleDownPolicy": {"budgets": {"empty": 2}}}});
    assert_eq!(
        empty_nodes(5, Cluster::new().group("workers", group))
            .run()
            .removed()
            .len(),
        2
    );
    let all = Cluster::new().settings(json!({"budgets": {"empty": 3}}));
    assert_eq!(empty_nodes(5, all).run().removed().len(), 3);
    let none = Cluster::new().settings(json!({"budgets": {"empty": 0}}));
    assert_eq!(empty_nodes(5, none).run().removed().len(), 0);
}

/// So many nodes of `workers` with one small pod each, and busy nodes with room for all of them.
fn drains(count: usize, busy: usize, mut cluster: Cluster) -> Run {
    for index in 0..count {
        let name = format!("n{index:02}");
        cluster = cluster
            .node(&name, json!({}))
            .pod(&format!("web-{index:02}"), &name, "10m", json!({}));
    }
    for index in 0..busy {
        let name = format!("busy-{index:02}");
        cluster = cluster.node(&name, json!({})).anchor(&name);
    }
    cluster.run()
}

#[test]
fn a_tenth_of_the_nodes_is_drained_at_once_and_at_least_one() {
    assert_eq!(drains(3, 1, Cluster::new()).removed().len(), 1);
    assert_eq!(drains(18, 1, Cluster::new()).removed().len(), 1);
    assert_eq!(drains(19, 1, Cluster::new()).removed().len(), 2);
    let group = json!({"spec": {"scaleDownPolicy": {"budgets": {"drain": "50%"}}}});
    assert_eq!(
        drains(19, 1, Cluster::new().group("workers", group.clone()))
            .removed()
            .len(),
        2,
        "over all groups"
    );
    let lifted = Cluster::new()
        .group("workers", group)
        .settings(json!({"budgets": {"drain": "100%"}}));
    assert_eq!(drains(19, 1, lifted).removed().len(), 10);
    let two = json!({"spec": {"scaleDownPolicy": {"budgets": {"drain": 2}}}});
    assert_eq!(drains(29, 1, Cluster::new().group("workers", two)).removed().len(), 2);
    let none = Cluster::new().settings(json!({"budgets": {"drain": "0%"}}));
    assert_eq!(drains(5, 1, none).removed().len(), 0);
}

#[test]
fn the_drain_budget_of_all_groups_counts_managed_nodes() {
    // Two groups of 10 may drain one node each; together they may drain two of 20.
    let mut cluster = Cluster::new().group("other", json!({}));
    for index in 0..9 {
        let (a, b) = (format!("a{index}"), format!("b{index}"));
        cluster = cluster
            .node(&a, json!({}))
            .pod(&format!("web-{a}"), &a, "10m", json!({}));
        cluster = cluster
            .node(&b, of_group("other"))
            .pod(&format!("web-{b}"), &b, "10m", json!({}));
    }
    let whole = cluster
        .clone()
        .node("busy-a", json!({}))
        .anchor("busy-a")
        .node("busy-b", of_group("other"))
        .anchor("busy-b");
    assert_eq!(whole.run().removed(), ["a0", "b0"]);
    // Nodes that are not managed add nothing: of 19 managed nodes, one.
    let nobody = json!({"metadata": {"labels": {"autoscaler.vpsie.com/managed": null}}});
    let unmanaged = json!({"metadata": {"labels": {"autoscaler.vpsie.com/managed": "false"}}});
    let short = cluster
        .group("unmanaged", unmanaged)
        .node("busy-a", json!({}))
        .anchor("busy-a")
        .node("busy-b", of_group("unmanaged"))
        .anchor("busy-b")
        .node("nobody", nobody)
        .anchor("nobody");
    assert_eq!(short.run().removed(), ["a0"]);
}

#[test]
fn what_is_not_removed_takes_no_room() {
    // The budget allows one drain. The second candidate was placed for a moment; the third must not see that.
    let run = drains(3, 1, Cluster::new());
    assert_eq!(run.moves("n00"), ["web-00>busy-00"]);
    assert_eq!(run.verdict("n01"), "DisruptionBudgetReached");
    assert_eq!(run.verdict("n02"), "DisruptionBudgetReached");
}

#[test]
fn pods_move_beside_pending_pods_that_got_the_room() {
    // The same node has room for one pod of 1 core; the world of the planner arrives with it taken.
    let cluster = Cluster::new()
        .node("n1", json!({}))
        .pod("a", "n1", "1", json!({}))
        .node("full", json!({}))
        .anchor("full");
    assert_eq!(cluster.run().verdict("n1"), "Remove");
    let snapshot = cluster.snapshot();
    let mut world = crate::world::World::new(&snapshot);
    let (full, n1) = (snapshot.node_ids().next().unwrap(), snapshot.node_ids().nth(1).unwrap());
    world.place(snapshot.pod(snapshot.pods_on(n1)[0]).class, full.into());
    let demand = super::Demand {
        pending: &[],
        growing: &std::collections::BTreeSet::new(),
        templates: &[],
    };
    let options = crate::planner::Options { ignore_timers: true };
    let down = super::plan_removals(&mut world, &demand, &options, super::testing::NOW.parse().unwrap());
    assert!(down.removals.is_empty());
}

/// The scale-down benchmark of the Cluster Autoscaler: nodes with 40 pods of 1 % each, so that three nodes fill two
/// others.
#[test]
fn nodes_at_40_percent_are_packed_to_the_optimum() {
    const NODES: usize = 400;
    let mut cluster = unlimited();
    for node in 0..NODES {
        let name = format!("n{node:04}");
        cluster = cluster.node(&name, json!({}));
        for pod in 0..40 {
            cluster = cluster.pod(&format!("web-{node:04}-{pod:02}"), &name, "40m", json!({}));
        }
    }
    let run = cluster.run();
    assert_eq!(run.removed().len(), NODES * 3 / 5);
    let moves: usize = run.down.removals.iter().map(|removal| removal.moves.len()).sum();
    assert_eq!(moves, NODES * 3 / 5 * 40);
}
