//! The rules about the node itself: every row of the table, and their order.

use serde_json::{Value, json};

use super::testing::{Cluster, ago};

fn unready(seconds: i64) -> Value {
    json!({"status": {"conditions": [{"type": "Ready", "status": "Unknown", "lastTransitionTime": ago(seconds)}]}})
}

fn annotated(key: &str, value: &str) -> Value {
    json!({"metadata": {"annotations": {key: value}}})
}

fn verdict(cluster: &Cluster) -> String {
    cluster.run().verdict("n1")
}

#[test]
fn an_empty_node_goes() {
    let run = Cluster::new().node("n1", json!({})).run();
    assert_eq!(run.removed(), ["n1"]);
    assert_eq!(run.verdict("n1"), "Remove");
    assert!(run.report("n1").unneeded);
    assert!(run.moves("n1").is_empty());
}

#[test]
fn incident_c978c0c_a_node_without_managed_group_stays() {
    let without_label = json!({"metadata": {"labels": {"autoscaler.vpsie.com/managed": null}}});
    assert_eq!(verdict(&Cluster::new().node("n1", without_label)), "NotAutoscaled");
    let unmanaged = json!({"metadata": {"labels": {"autoscaler.vpsie.com/managed": "false"}}});
    assert_eq!(
        verdict(&Cluster::new().group("workers", unmanaged).node("n1", json!({}))),
        "NotAutoscaled"
    );
}

#[test]
fn incident_24e761d_8478b7a_control_plane_and_own_node_stay() {
    let labels = json!({"metadata": {"labels": {"node-role.kubernetes.io/control-plane": ""}}});
    assert_eq!(verdict(&Cluster::new().node("n1", labels)), "ControlPlane");
    assert_eq!(verdict(&Cluster::new().own_node("n1").node("n1", json!({}))), "OwnNode");
    let own = json!({"metadata": {"labels": {"app.kubernetes.io/name": "vpsie-autoscaler"}}});
    assert_eq!(
        verdict(&Cluster::new().node("n1", json!({})).pod("p", "n1", "1m", own)),
        "OwnNode"
    );
}

#[test]
fn a_node_that_is_leaving_is_not_removed_again() {
    let deleted = json!({"metadata": {"deletionTimestamp": ago(1)}});
    assert_eq!(verdict(&Cluster::new().node("n1", deleted)), "CurrentlyBeingDeleted");
    for status in [
        json!({"phase": "Terminating"}),
        json!({"phase": "Deleting"}),
        json!({"removal": {"phase": "Draining"}}),
    ] {
        let cluster = Cluster::new().node("n1", json!({})).machine("n1", status.clone());
        assert_eq!(verdict(&cluster), "CurrentlyBeingDeleted", "{status}");
    }
    // The taint of the Cluster Autoscaler is none of ours.
    let taint = json!({"spec": {"taints": [{"key": "ToBeDeletedByClusterAutoscaler", "effect": "NoSchedule"}]}});
    assert_eq!(verdict(&Cluster::new().node("n1", taint)), "Remove");
}

#[test]
fn an_opt_out_keeps_a_node_and_a_cordon_does_not() {
    for key in [
        "cluster-autoscaler.kubernetes.io/scale-down-disabled",
        "karpenter.sh/do-not-disrupt",
    ] {
        let run = Cluster::new().node("n1", annotated(key, "true")).run();
        assert_eq!(run.verdict("n1"), "ScaleDownDisabledAnnotation");
        assert!(run.message("n1").contains(key));
        assert_eq!(verdict(&Cluster::new().node("n1", annotated(key, "false"))), "Remove");
    }
    assert_eq!(
        verdict(&Cluster::new().node("n1", json!({"spec": {"unschedulable": true}}))),
        "Remove"
    );
}

#[test]
fn a_policy_may_forbid_removal() {
    let disabled = json!({"spec": {"scaleDownPolicy": {"enabled": false}}});
    assert_eq!(
        verdict(&Cluster::new().group("workers", disabled).node("n1", json!({}))),
        "ScaleDownDisabled"
    );
}

#[test]
fn allowed_hours_of_the_node_come_before_those_of_the_group() {
    let hours = |value: &str| annotated("autoscaler.vpsie.com/scale-down-allowed-hours", value);
    let cluster = |group: &str, node: &str| {
        let cluster = Cluster::new().group("workers", hours(group));
        cluster.node("n1", if node.is_empty() { json!({}) } else { hours(node) })
    };
    let run = cluster("22:00-06:00", "").run();
    assert_eq!(run.verdict("n1"), "OutsideAllowedHours");
    assert_eq!(run.message("n1"), "allowed hours 22:00-06:00 UTC");
    assert_eq!(verdict(&cluster("22:00-06:00", "12:00-13:00")), "Remove");
    assert_eq!(verdict(&cluster("12:00-13:00", "13:00-14:00")), "OutsideAllowedHours");
    let run = cluster("always", "").run();
    assert_eq!(run.verdict("n1"), "OutsideAllowedHours");
    assert_eq!(
        run.message("n1"),
        "never allowed: \"always\" is not of the form HH:MM-HH:MM with times from 00:00 to 23:59"
    );
}

#[test]
fn an_unready_node_goes_after_20_minutes() {
    let cluster = |seconds| {
        Cluster::new()
            .with_timers()
            .node("n1", unready(seconds))
            .machine("n1", json!({}))
    };
    let run = cluster(1199).run();
    assert_eq!(run.verdict("n1"), "NotUnreadyLongEnough");
    assert_eq!(
        run.message("n1"),
        "not Ready since 2026-03-02T11:40:01Z; it must have been for 20m"
    );
    assert_eq!(verdict(&cluster(1200)), "Remove");
    assert_eq!(
        verdict(&Cluster::new().node("n1", unready(1))),
        "Remove",
        "the timer is ignored"
    );
    let disabled = cluster(1200).settings(json!({"scaleDownUnreadyEnabled": false}));
    assert_eq!(verdict(&disabled), "ScaleDownUnreadyDisabled");
    let both = cluster(1).settings(json!({"scaleDownUnreadyEnabled": false}));
    assert_eq!(verdict(&both), "NotUnreadyLongEnough");
}

#[test]
fn a_node_that_offers_nothing_is_an_error() {
    for patch in [json!({"memory": "0"}), json!({"cpu": null}), json!(null)] {
        let run = Cluster::new()
            .node("n1", json!({"status": {"allocatable": patch}}))
            .run();
        assert_eq!(run.verdict("n1"), "UnexpectedError");
        assert_eq!(run.report("n1").utilization, None);
    }
}

#[test]
fn utilization_is_at_most_the_threshold_for_cpu_and_memory() {
    let cluster = |cpu: &str, memory: &str| {
        let requests =
            json!({"spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": cpu, "memory": memory}}}]}});
        Cluster::new()
            .node("n1", json!({}))
            .node("n2", json!({}))
            .anchor("n2")
            .pod("p", "n1", "0", requests)
    };
    let run = cluster("2", "4Gi").run();
    // A full half on both sides is underutilized, but does not fit beside the anchor.
    assert_eq!(run.verdict("n1"), "NoPlaceToMovePods default/p");
    let utilization = run.report("n1").utilization.unwrap();
    assert!((utilization.cpu - 0.5).abs() < 1e-9 && (utilization.memory - 0.5).abs() < 1e-9);
    let run = cluster("2001m", "1Gi").run();
    assert_eq!(run.verdict("n1"), "NotUnderutilized");
    assert_eq!(run.message("n1"), "cpu 50.1% of 4000m requested, threshold 50%");
    assert!(!run.report("n1").unneeded);
    let run = cluster("100m", "4097Mi").run();
    assert_eq!(run.message("n1"), "memory 50.1% of 8Gi requested, threshold 50%");
}

#[test]
fn b13_thresholds_are_those_of_the_group() {
    let policy = json!({"spec": {"scaleDownPolicy": {"cpuThreshold": 75, "memoryThreshold": 10}}});
    let cluster = Cluster::new()
        .group("workers", policy)
        .node("n1", json!({}))
        .pod("p", "n1", "3", json!({}));
    assert_eq!(verdict(&cluster), "NoPlaceToMovePods default/p");
    // And lower ones keep what the defaults would let go.
    let policy = json!({"spec": {"scaleDownPolicy": {"cpuThreshold": 20}}});
    let cluster = Cluster::new()
        .group("workers", policy)
        .node("n1", json!({}))
        .pod("p", "n1", "1", json!({}));
    assert_eq!(verdict(&cluster), "NotUnderutilized");
}

#[test]
fn pods_that_ended_or_hang_do_not_count() {
    let cluster = Cluster::new().node("n1", json!({}));
    let ended = cluster
        .clone()
        .pod("p", "n1", "4", json!({"status": {"phase": "Succeeded"}}));
    assert_eq!(verdict(&ended), "Remove");
    let dying = |seconds| json!({"metadata": {"deletionTimestamp": ago(seconds)}, "spec": {"terminationGracePeriodSeconds": 60}});
    assert_eq!(verdict(&cluster.clone().pod("p", "n1", "4", dying(91))), "Remove");
    assert_eq!(verdict(&cluster.pod("p", "n1", "4", dying(90))), "NotUnderutilized");
}

#[test]
fn daemon_sets_and_mirrors_leave_both_sides_when_the_settings_say_so() {
    let daemon = json!({"metadata": {"ownerReferences": [
        {"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "ds", "uid": "u", "controller": true},
    ]}});
    let mirror = annotated("kubernetes.io/config.mirror", "x");
    for (pod, setting) in [
        (daemon, "ignoreDaemonSetsUtilization"),
        (mirror, "ignoreMirrorPodsUtilization"),
    ] {
        let cluster = Cluster::new()
            .node("n1", json!({}))
            .pod("agent", "n1", "3", pod.clone());
        assert_eq!(verdict(&cluster), "NotUnderutilized", "{setting}");
        assert_eq!(
            verdict(&cluster.clone().settings(json!({setting: true}))),
            "Remove",
            "{setting}"
        );
        // Of the core that is left, 600m are more than half.
        let busy = cluster
            .settings(json!({setting: true}))
            .pod("web", "n1", "600m", json!({}));
        assert_eq!(verdict(&busy), "NotUnderutilized", "{setting}");
    }
}

#[test]
fn a_sick_cluster_is_left_alone() {
    let cluster = |sick: usize, well: usize| {
        let mut cluster = Cluster::new().node("n1", json!({}));
        for index in 0..sick {
            cluster = cluster.node(&format!("sick-{index}"), unready(60));
        }
        for index in 1..well {
            cluster = cluster
                .node(&format!("well-{index}"), json!({}))
                .anchor(&format!("well-{index}"));
        }
        cluster.with_timers().machine("n1", json!({}))
    };
    assert_eq!(verdict(&cluster(4, 4)), "ClusterUnhealthy");
    assert_eq!(verdict(&cluster(3, 1)), "Remove", "three are never too many");
    assert_eq!(verdict(&cluster(9, 11)), "Remove", "45 % are not more than 45 %");
    assert_eq!(verdict(&cluster(10, 12)), "ClusterUnhealthy");
}

#[test]
fn a_group_that_grows_does_not_shrink() {
    assert_eq!(
        verdict(&Cluster::new().growing("workers").node("n1", json!({}))),
        "ScaleUpInProgress"
    );
    let other = Cluster::new()
        .group("other", json!({}))
        .growing("other")
        .node("n1", json!({}));
    assert_eq!(verdict(&other), "Remove");
}

#[test]
fn a_node_that_a_pending_pod_could_use_stays() {
    let fits = Cluster::new().node("n1", json!({})).pod("p", "", "1", json!({}));
    assert_eq!(verdict(&fits), "PendingPods default/p");
    let huge = Cluster::new().node("n1", json!({})).pod("p", "", "64", json!({}));
    assert_eq!(verdict(&huge), "Remove");
    // Too large for what is left on the node, and right for a new one.
    let new_node = Cluster::new()
        .node("n1", json!({}))
        .pod("q", "n1", "1", json!({}))
        .pod("p", "", "3500m", json!({}));
    let run = new_node.run();
    assert_eq!(run.verdict("n1"), "PendingPods default/p");
    assert!(run.message("n1").contains("new node of its group"));
    // A pod that preemption makes room for.
    let nominated = json!({"status": {"nominatedNodeName": "n1"}});
    let run = Cluster::new().node("n1", json!({})).pod("p", "", "64", nominated).run();
    assert_eq!(run.verdict("n1"), "PendingPods default/p");
}

#[test]
fn an_unready_node_hosts_nobody() {
    let tainted = json!({"spec": {"taints": [{"key": "dedicated", "value": "x", "effect": "NoSchedule"}]}});
    let cluster = Cluster::new()
        .group("workers", tainted)
        .node("n1", unready(3600))
        .pod("p", "", "1", json!({}));
    assert_eq!(verdict(&cluster), "Remove");
}

#[test]
fn b9_a_node_must_have_been_unneeded_for_strictly_longer_than_the_window() {
    let cluster = |status| Cluster::new().with_timers().node("n1", json!({})).machine("n1", status);
    let run = cluster(json!({"unneededSince": ago(600)})).run();
    assert_eq!(run.verdict("n1"), "NotUnneededLongEnough");
    assert_eq!(
        run.message("n1"),
        "unneeded since 2026-03-02T11:50:00Z; it must have been for longer than 10m"
    );
    assert!(run.report("n1").unneeded);
    assert_eq!(verdict(&cluster(json!({"unneededSince": ago(601)}))), "Remove");
    assert_eq!(
        verdict(&cluster(json!({"unneededSince": null}))),
        "NotUnneededLongEnough"
    );
    // Without a VPSieNode nobody knows since when.
    assert_eq!(
        verdict(&Cluster::new().with_timers().node("n1", json!({}))),
        "NotUnneededLongEnough"
    );
    let policy = json!({"spec": {"scaleDownPolicy": {"stabilizationWindowSeconds": 60}}});
    assert_eq!(
        verdict(&cluster(json!({"unneededSince": ago(61)})).group("workers", policy)),
        "Remove"
    );
}

#[test]
fn numbers_of_the_rules_are_settings_of_the_cluster_and_of_the_group() {
    let verdict = |settings: Value, policy: Value, node: Value, machine: Value| {
        let run = Cluster::new()
            .with_timers()
            .settings(settings)
            .group("workers", json!({"spec": {"scaleDownPolicy": policy}}))
            .node("n1", node)
            .machine("n1", machine)
            .run();
        run.verdict("n1")
    };
    let (none, young) = (json!({}), json!({"metadata": {"creationTimestamp": ago(100)}}));
    let unready = json!({"status": {"conditions": [{
        "type": "Ready", "status": "Unknown", "lastTransitionTime": ago(100),
    }]}});
    let failed = json!({"unneededSince": ago(3600), "removal": {"phase": "Failed", "failedAt": ago(100)}});
    let none_failed = json!({"unneededSince": ago(3600)});
    for (global, of_group, node, machine, reason) in [
        (
            "minNodeAgeSeconds",
            "minNodeAgeSeconds",
            &young,
            &none_failed,
            "NodeTooYoung",
        ),
        (
            "scaleDownUnreadyTimeSeconds",
            "unreadyTimeSeconds",
            &unready,
            &none_failed,
            "NotUnreadyLongEnough",
        ),
        (
            "scaleDownDelayAfterFailureSeconds",
            "delayAfterFailureSeconds",
            &none,
            &failed,
            "RecentlyFailed",
        ),
    ] {
        for (of_cluster, own, expected) in [
            (101, None, reason),
            (100, None, "Remove"),
            (100, Some(101), reason),
            (101, Some(100), "Remove"),
        ] {
            let policy = own.map_or(json!({}), |own| json!({ (of_group): own }));
            let found = verdict(json!({ (global): of_cluster }), policy, node.clone(), machine.clone());
            assert_eq!(found, expected, "{global} {of_cluster}, {of_group} {own:?}");
        }
    }
}

#[test]
fn the_health_gate_is_a_setting() {
    let verdict = |settings: Value| {
        let mut cluster = Cluster::new().settings(settings).node("n1", json!({}));
        for index in 0..2 {
            let unready = json!({"status": {"conditions": [{"type": "Ready", "status": "False", "lastTransitionTime": ago(60)}]}});
            cluster = cluster.node(&format!("u{index}"), unready);
        }
        cluster.run().verdict("n1")
    };
    assert_eq!(verdict(json!({})), "Remove");
    assert_eq!(verdict(json!({"okTotalUnreadyCount": 1})), "ClusterUnhealthy");
    assert_eq!(verdict(json!({"okTotalUnreadyCount": 2})), "Remove");
    assert_eq!(
        verdict(json!({"okTotalUnreadyCount": 1, "maxTotalUnreadyPercentage": 67})),
        "Remove"
    );
}

#[test]
fn cooldown_and_delay_after_a_failure() {
    let cluster = |grown: i64, failed: i64| {
        let group = json!({"status": {"lastScaleUpTime": ago(grown)}});
        let removal = json!({"removal": {"phase": "Failed", "failedAt": ago(failed)}});
        Cluster::new()
            .with_timers()
            .group("workers", group)
            .node("n1", json!({}))
            .machine("n1", removal)
    };
    let run = cluster(599, 179).run();
    assert_eq!(run.verdict("n1"), "InCooldown");
    assert_eq!(
        run.message("n1"),
        "the group grew at 2026-03-02T11:50:01Z, the cooldown is 10m"
    );
    let run = cluster(600, 179).run();
    assert_eq!(run.verdict("n1"), "RecentlyFailed");
    assert_eq!(
        run.message("n1"),
        "its removal failed at 2026-03-02T11:57:01Z, the delay is 3m"
    );
    assert_eq!(verdict(&cluster(600, 180)), "Remove");
}

#[test]
fn the_delay_after_a_failure_grows_for_the_node_and_for_its_group() {
    let cluster = |of_node: &Value, of_group: &Value| {
        Cluster::new()
            .with_timers()
            .group("workers", json!({"status": of_group}))
            .node("n1", json!({}))
            .machine("n1", of_node.clone())
    };
    for (failures, delay) in [(0, 180), (1, 180), (2, 360), (5, 2880), (6, 3600), (1000, 3600)] {
        for (elapsed, expected) in [(delay - 1, "RecentlyFailed"), (delay, "Remove")] {
            let of_node = json!({"removal": {"phase": "Failed", "failedAt": ago(elapsed), "failures": failures}});
            assert_eq!(
                verdict(&cluster(&of_node, &json!({}))),
                expected,
                "{failures} of the node"
            );
            let of_group = json!({"lastScaleDownFailureTime": ago(elapsed), "scaleDownFailures": failures});
            assert_eq!(
                verdict(&cluster(&json!({}), &of_group)),
                expected,
                "{failures} of the group"
            );
        }
    }
}

#[test]
fn the_first_rule_that_says_no_is_the_reason() {
    // Everything is wrong with this node; one fault after the other is mended.
    let broken = |mended: usize| {
        let unmanaged = json!({"metadata": {"labels": {"autoscaler.vpsie.com/managed": if mended < 1 { "false" } else { "true" }}}});
        let mut cluster = Cluster::new();
        let mut group = unmanaged;
        if mended < 6 {
            group["spec"] = json!({"scaleDownPolicy": {"enabled": mended >= 5}});
            group["metadata"]["annotations"] = json!({"autoscaler.vpsie.com/scale-down-allowed-hours": "01:00-02:00"});
        }
        cluster = cluster.group("workers", group);
        let mut node = if mended < 7 { unready(60) } else { json!({}) };
        node["metadata"] = json!({"labels": {}, "annotations": {}});
        if mended < 2 {
            node["metadata"]["labels"]["node-role.kubernetes.io/control-plane"] = json!("");
        }
        if mended < 3 {
            cluster = cluster.own_node("n1");
        }
        if mended < 4 {
            node["metadata"]["deletionTimestamp"] = json!(ago(1));
        }
        // One more step than rules: the opt-out shares a step with the deletion.
        if mended < 8 {
            cluster = cluster.pod("p", "n1", "3", json!({}));
        }
        if mended < 9 {
            cluster = cluster.growing("workers");
        }
        cluster
            .with_timers()
            .node("n1", node)
            .machine("n1", json!({"unneededSince": ago(1)}))
    };
    let verdicts: Vec<_> = (0..10).map(|mended| verdict(&broken(mended))).collect();
    assert_eq!(
        verdicts,
        [
            "NotAutoscaled",
            "ControlPlane",
            "OwnNode",
            "CurrentlyBeingDeleted",
            "ScaleDownDisabled",
            "OutsideAllowedHours",
            "NotUnreadyLongEnough",
            "NotUnderutilized",
            "ScaleUpInProgress",
            "NotUnneededLongEnough",
        ]
    );
}

#[test]
fn every_node_has_a_report_in_the_order_of_ids() {
    let run = Cluster::new().node("b", json!({})).node("a", json!({})).run();
    let ids: Vec<_> = run.down.nodes.iter().map(|report| report.node).collect();
    assert_eq!(ids, run.snapshot.node_ids().collect::<Vec<_>>());
}

#[test]
fn b51_a_malformed_opt_out_keeps_a_node_and_the_message_shows_it() {
    let labelled = |key: &str, value: &str| json!({"metadata": {"labels": {key: value}}});
    for (key, yes, no) in [
        ("autoscaler.vpsie.com/protected", "true", "false"),
        ("autoscaler.vpsie.com/scale-down", "disabled", "enabled"),
        ("autoscaler.vpsie.com/scale-down-disabled", "true", "false"),
    ] {
        for patch in [annotated, labelled] {
            assert_eq!(
                verdict(&Cluster::new().node("n1", patch(key, no))),
                "Remove",
                "{key}={no}"
            );
            for value in [yes, "True", "yes", "1", "", "Disabled", " true"] {
                let run = Cluster::new().node("n1", patch(key, value)).run();
                assert_eq!(run.verdict("n1"), "ScaleDownDisabledAnnotation", "{key}={value}");
                assert_eq!(run.message("n1"), format!("{key}={value} is set on the node"));
                let problems: Vec<_> = run.snapshot.problems.iter().map(|problem| &problem.field).collect();
                assert_eq!(problems.len(), usize::from(value != yes), "{key}={value}: {problems:?}");
            }
        }
    }
    let long = "x".repeat(10_000);
    let run = Cluster::new()
        .node("n1", annotated("autoscaler.vpsie.com/protected", &long))
        .run();
    assert!(run.message("n1").len() < 100, "{}", run.message("n1"));
}

#[test]
fn an_opt_out_may_be_on_the_vpsienode_or_the_group() {
    let protected = annotated("autoscaler.vpsie.com/protected", "true");
    let run = Cluster::new()
        .group("workers", protected.clone())
        .node("n1", json!({}))
        .run();
    assert_eq!(run.verdict("n1"), "ScaleDownDisabledAnnotation");
    assert_eq!(
        run.message("n1"),
        "autoscaler.vpsie.com/protected=true is set on the NodeGroup"
    );
    let mut machine = json!({
        "apiVersion": "autoscaler.vpsie.com/v1alpha1", "kind": "VPSieNode",
        "spec": {"nodeGroupName": "workers", "instanceType": "small", "datacenterID": "dc1"},
        "status": {"phase": "Ready", "nodeName": "n1"},
    });
    machine["metadata"] = protected["metadata"].clone();
    machine["metadata"]["name"] = json!("n1");
    machine["metadata"]["namespace"] = json!("default");
    let run = Cluster::new().node("n1", json!({})).object(machine).run();
    assert_eq!(run.verdict("n1"), "ScaleDownDisabledAnnotation");
    assert_eq!(
        run.message("n1"),
        "autoscaler.vpsie.com/protected=true is set on the VPSieNode"
    );
}

#[test]
fn hours_of_a_node_without_a_zone_are_in_the_zone_of_its_group() {
    let cluster = |group: Value, node: Value| {
        let annotations = |patch| json!({"metadata": {"annotations": patch}});
        Cluster::new()
            .group("workers", annotations(group))
            .node("n1", annotations(node))
    };
    let (hours, zone) = (
        "autoscaler.vpsie.com/scale-down-allowed-hours",
        "autoscaler.vpsie.com/time-zone",
    );
    // It is 12:00 in UTC and 13:00 in Berlin.
    let berlin = json!({zone: "Europe/Berlin"});
    assert_eq!(
        verdict(&cluster(berlin.clone(), json!({hours: "13:00-14:00"}))),
        "Remove"
    );
    let run = cluster(berlin.clone(), json!({hours: "12:00-13:00"})).run();
    assert_eq!(run.verdict("n1"), "OutsideAllowedHours");
    assert_eq!(run.message("n1"), "allowed hours 12:00-13:00 Europe/Berlin");
    assert_eq!(
        verdict(&cluster(berlin, json!({hours: "12:00-13:00", zone: "UTC"}))),
        "Remove"
    );
    assert_eq!(verdict(&cluster(json!({}), json!({hours: "12:00-13:00"}))), "Remove");
    // What is not understood is reported where it is; who needs it is never removed.
    let mars = json!({zone: "Mars/Olympus"});
    let run = cluster(mars.clone(), json!({hours: "00:00-00:00"})).run();
    assert_eq!(run.verdict("n1"), "OutsideAllowedHours");
    assert_eq!(run.snapshot.problems[0].object, "NodeGroup default/workers");
    let run = cluster(mars, json!({})).run();
    assert_eq!(run.verdict("n1"), "Remove");
    assert_eq!(run.snapshot.problems.len(), 1);
    // A zone of a node says nothing without hours of the node.
    let run = cluster(json!({hours: "12:00-13:00"}), json!({zone: "Asia/Tokyo"})).run();
    assert_eq!(run.verdict("n1"), "Remove");
    assert_eq!(run.snapshot.problems[0].object, "Node n1");
}

#[test]
fn a_node_of_a_failed_vpsienode_is_given_up_already() {
    let failed = Cluster::new()
        .node("n1", json!({}))
        .pod("p", "n1", "1", json!({}))
        .machine("n1", json!({"phase": "Failed"}));
    let run = failed.node("n2", json!({})).anchor("n2").run();
    assert_eq!(run.verdict("n1"), "CurrentlyBeingDeleted");
    assert_eq!(run.message("n1"), "VPSieNode n1 has failed and is given up");
}

#[test]
fn b18_a_node_that_only_its_labels_make_ours_stays_where_others_have_vpsienodes() {
    let cluster = Cluster::new().node("n1", json!({})).node("n2", json!({}));
    assert_eq!(
        verdict(&cluster),
        "Remove",
        "without any VPSieNode nodes stand for themselves"
    );
    let run = cluster.machine("n2", json!({})).run();
    assert_eq!(run.verdict("n1"), "NotAutoscaled");
    assert!(run.message("n1").contains("no VPSieNode stands for it"));
    assert_eq!(run.verdict("n2"), "Remove");
}
