//! One test for each defect of the Go autoscaler's scale-down that a decision can repeat, by its number.

use autoscaler_core::document::PlanDocument;

use super::{AT_ONCE, MEMBER, Member, cluster, fill, pod_on, removed_names, report, verdict};
use crate::case::Case;

#[test]
fn b7_two_groups_shrink_while_a_third_grows_in_one_plan() {
    let mut case = cluster(4)
        .group("b", 0, 9, "medium", &[AT_ONCE])
        .group("c", 0, 9, "medium", &["labels: {tier: gold}"])
        .pending("wants", 1, "cpu: \"2\", memory: 1Gi", &["nodeSelector: {tier: gold}"]);
    for index in 4..8 {
        case = Member { group: "b", ..MEMBER }.add(case, index);
    }
    // In each of the two groups one node can be emptied onto others that stay.
    case = pod_on(case, "small-a", "n0", "200m", "");
    case = pod_on(case, "small-b", "n4", "200m", "");
    let plan = fill(fill(case, 1..4), 5..8).plan();
    assert_eq!(removed_names(&plan), ["n0", "n4"]);
    assert!(plan.scale_down.iter().all(|removal| removal.kind == "Drain"));
    let grown: Vec<_> = plan.scale_up.iter().map(|up| up.node_group.as_str()).collect();
    assert_eq!(grown, ["default/c"]);
}

#[test]
fn b10_a_pod_moves_to_one_node_that_has_room_for_it_and_lets_it_in() {
    // Four nodes with a core each do not make room for a pod of two, and its own node, which has room, goes.
    let plan = fill(pod_on(cluster(5), "big", "n0", "2", ""), 1..5).plan();
    assert_eq!(verdict(&plan, "n0"), "NoPlaceToMovePods default/big");
    let message = &report(&plan, "n0").message;
    assert!(message.contains("needs 2000m, 1000m free"), "{message}");

    let beside = |pod: &str, other: Member<'_>| {
        let case = other.add(pod_on(cluster(1), "picky", "n0", "500m", pod), 1);
        fill(case, 1..2).plan()
    };
    let tainted = Member {
        spec: "taints: [{key: dedicated, value: db, effect: NoSchedule}]",
        ..MEMBER
    };
    let control_plane = Member {
        labels: "node-role.kubernetes.io/control-plane: \"\"",
        spec: "taints: [{key: node-role.kubernetes.io/control-plane, effect: NoSchedule}]",
        ..MEMBER
    };
    let ssd = Member {
        labels: "disk: ssd",
        ..MEMBER
    };
    let selector = "nodeSelector: {disk: ssd}";
    let affinity = "affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: disk, operator: In, values: [ssd]}]}]}}}";
    for (pod, other, rule) in [
        ("", tainted, "TaintToleration"),
        ("", control_plane, "TaintToleration"),
        (selector, MEMBER, "NodeAffinity"),
        (affinity, MEMBER, "NodeAffinity"),
    ] {
        let plan = beside(pod, other);
        assert_eq!(
            verdict(&plan, "n0"),
            "NoPlaceToMovePods default/picky",
            "{pod} {other:?}"
        );
        let message = &report(&plan, "n0").message;
        assert!(message.contains(rule), "{message}");
    }
    for (pod, other) in [("", MEMBER), (selector, ssd), (affinity, ssd)] {
        assert_eq!(verdict(&beside(pod, other), "n0"), "Remove", "{pod}");
    }
}

#[test]
fn b11_only_room_that_pods_can_use_counts_and_all_of_it() {
    // Two pods, and a core on the other node, which is filled to the last milli-core. The larger pod is placed first.
    let packed = |second: &str| {
        let case = pod_on(pod_on(cluster(2), "a", "n0", "500m", ""), "b", "n0", second, "");
        fill(case, 1..2)
    };
    assert_eq!(verdict(&packed("500m").plan(), "n0"), "Remove");
    let too_much = packed("501m");
    assert_eq!(verdict(&too_much.plan(), "n0"), "NoPlaceToMovePods default/a");
    // Room on nodes that take no pods changes nothing.
    let cordoned = Member {
        spec: "unschedulable: true",
        ..MEMBER
    };
    let not_ready = Member { ready: false, ..MEMBER };
    for closed in [cordoned, not_ready] {
        let case = pod_on(closed.add(too_much.clone(), 2), "keeps", "n2", "2100m", "");
        assert_eq!(verdict(&case.plan(), "n0"), "NoPlaceToMovePods default/a", "{closed:?}");
    }
    let open = pod_on(MEMBER.add(too_much, 2), "keeps", "n2", "2100m", "");
    assert_eq!(verdict(&open.plan(), "n0"), "Remove");
}

#[test]
fn b14_neither_a_quota_nor_a_removal_that_failed_changes_what_is_judged() {
    // The cluster is full, and a pod waits for a node of another group: the idle node of this one goes all the same.
    let full = "apiVersion: autoscaler.vpsie.com/v1alpha1\nkind: AutoscalerConfig\nmetadata: {name: default}\nspec: {globalSettings: {maxClusterWorkers: 1}}";
    let case = Case::new()
        .with(full)
        .group("a", 0, 9, "medium", &[AT_ONCE])
        .group("c", 0, 9, "medium", &["labels: {tier: gold}"])
        .pending("wants", 1, "cpu: \"2\", memory: 1Gi", &["nodeSelector: {tier: gold}"]);
    let plan = MEMBER.add(case, 0).plan();
    assert_eq!(plan.pods[0].verdict, "Unschedulable");
    assert_eq!(verdict(&plan, "n0"), "Remove");

    // After a failure the cooldown of the group counts as before.
    let failed = |grown: &str, failed_at: &str| {
        let case = Case::new().with(&format!(
            "apiVersion: autoscaler.vpsie.com/v1alpha1\nkind: NodeGroup\nmetadata: {{name: a, namespace: default, labels: {{autoscaler.vpsie.com/managed: \"true\"}}}}\nspec: {{minNodes: 0, maxNodes: 9, datacenterID: dc-1, offeringIDs: [medium]}}\nstatus: {{lastScaleUpTime: \"2026-01-01T{grown}Z\"}}"
        ));
        let status = format!(
            "{}, removal: {{phase: Failed, failedAt: \"2026-01-01T{failed_at}Z\"}}",
            MEMBER.status
        );
        let node = Member {
            status: &status,
            ..MEMBER
        };
        verdict(&node.add(case, 0).plan(), "n0")
    };
    assert_eq!(failed("11:50:01", "11:55:00"), "InCooldown");
    assert_eq!(failed("11:50:00", "11:57:01"), "RecentlyFailed");
    assert_eq!(failed("11:50:00", "11:57:00"), "Remove");
}

#[test]
fn b19_the_cooldown_of_a_group_is_not_that_of_its_namesake() {
    let group = |case: Case, namespace: &str, grown: &str| {
        case.with(&format!(
            "apiVersion: autoscaler.vpsie.com/v1alpha1\nkind: NodeGroup\nmetadata: {{name: a, namespace: {namespace}, labels: {{autoscaler.vpsie.com/managed: \"true\"}}}}\nspec: {{minNodes: 0, maxNodes: 9, datacenterID: dc-1, offeringIDs: [medium]}}\nstatus: {{lastScaleUpTime: \"{grown}\"}}"
        ))
    };
    let case = group(Case::new(), "default", "2026-01-01T00:00:00Z");
    let case = group(case, "other", "2026-01-01T11:59:00Z");
    let of = |case: Case, namespace: &str, index: u32| {
        let labels = format!("autoscaler.vpsie.com/nodegroup-namespace: {namespace}");
        let text = Member {
            labels: &labels,
            ..MEMBER
        };
        text.add(case, index)
    };
    let other = "apiVersion: autoscaler.vpsie.com/v1alpha1\nkind: VPSieNode\nmetadata: {name: n1, namespace: other}\nspec: {nodeGroupName: a, instanceType: medium, datacenterID: dc-1}\nstatus: {phase: Ready, unneededSince: \"2026-01-01T00:00:00Z\"}";
    let plan = of(case, "default", 0).with(other).with(
        "apiVersion: v1\nkind: Node\nmetadata: {name: n1, labels: {autoscaler.vpsie.com/managed: \"true\", autoscaler.vpsie.com/nodegroup: a, autoscaler.vpsie.com/nodegroup-namespace: other}}\nstatus: {allocatable: {cpu: \"4\", memory: 8Gi, pods: \"110\"}, conditions: [{type: Ready, status: \"True\"}]}",
    );
    let plan = plan.plan();
    assert_eq!(verdict(&plan, "n0"), "Remove");
    assert_eq!(verdict(&plan, "n1"), "InCooldown");
}

/// The one place for it is the status, and whoever writes VPSieNodes writes it, too.
#[test]
fn b19_the_cooldown_counts_from_what_the_status_of_the_group_says() {
    let young = "apiVersion: autoscaler.vpsie.com/v1alpha1\nkind: VPSieNode\nmetadata: {name: n1, namespace: default, creationTimestamp: \"2026-01-01T11:59:00Z\"}\nspec: {nodeGroupName: a, instanceType: medium, datacenterID: dc-1}\nstatus: {phase: Failed}";
    let of = |grown: &str| {
        let group = format!(
            "apiVersion: autoscaler.vpsie.com/v1alpha1\nkind: NodeGroup\nmetadata: {{name: a, namespace: default, labels: {{autoscaler.vpsie.com/managed: \"true\"}}}}\nspec: {{minNodes: 0, maxNodes: 9, datacenterID: dc-1, offeringIDs: [medium]}}\nstatus: {{lastScaleUpTime: \"{grown}\"}}"
        );
        let case = Case::new().with(&group).with(young);
        verdict(&MEMBER.add(case, 0).plan(), "n0")
    };
    assert_eq!(of("2026-01-01T11:50:00Z"), "Remove");
    assert_eq!(of("2026-01-01T11:50:01Z"), "InCooldown");
}

#[test]
fn b50_daemon_sets_pods_without_requests_and_nodes_to_come_are_what_they_are() {
    let with = |pods: &[(&str, &str, &str)]| -> PlanDocument {
        let case = fill(cluster(2), 1..2);
        pods.iter()
            .fold(case, |case, (name, kind, volumes)| {
                case.with(&format!(
                    "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: default, ownerReferences: [{{apiVersion: apps/v1, kind: {kind}, name: o, uid: u, controller: true}}]}}\nspec: {{nodeName: n0, containers: [{{name: c}}], volumes: [{volumes}]}}\nstatus: {{phase: Running, conditions: [{{type: Ready, status: \"True\"}}]}}"
                ))
            })
            .plan()
    };
    let scratch = "{name: v, emptyDir: {}}";
    // A pod of a DaemonSet says nothing about those that are looked at after it, nor those about it.
    let agent = ("agent", "DaemonSet", scratch);
    let web = ("web", "ReplicaSet", scratch);
    assert_eq!(
        verdict(&with(&[agent, web]), "n0"),
        "BlockedByPod default/web LocalStorageRequested"
    );
    assert_eq!(verdict(&with(&[agent]), "n0"), "Remove");
    // Nothing is requested of the node, and the pod needs another place all the same.
    let plan = with(&[agent, ("idle", "ReplicaSet", "")]);
    assert_eq!(verdict(&plan, "n0"), "Remove");
    let moves: Vec<_> = plan.scale_down[0]
        .moves
        .iter()
        .map(|step| (step.pod.as_str(), step.to.as_str()))
        .collect();
    assert_eq!(moves, [("default/idle", "n1")]);
    let utilization = report(&plan, "n0").utilization.unwrap();
    assert!(utilization.cpu == 0.0 && utilization.memory == 0.0, "{utilization:?}");

    // No pod moves to a node that is not there yet.
    let coming = "apiVersion: autoscaler.vpsie.com/v1alpha1\nkind: VPSieNode\nmetadata: {name: soon, namespace: default}\nspec: {nodeGroupName: b, instanceType: large, datacenterID: dc-1}\nstatus: {phase: Provisioning, phaseSince: \"2026-01-01T11:59:00Z\"}";
    let case = pod_on(fill(cluster(2), 1..2), "big", "n0", "2", "");
    let plan = case.group("b", 0, 9, "large", &[AT_ONCE]).with(coming).plan();
    assert_eq!(verdict(&plan, "n0"), "NoPlaceToMovePods default/big");
}

#[test]
fn b51_what_cannot_be_understood_of_keys_of_a_group_or_of_hours_keeps_the_node() {
    let own = |key: &str, value: &str| format!("autoscaler.vpsie.com/{key}: \"{value}\"");
    let with = |node: Member<'_>, of_group: &str| {
        let case = Case::new().with(&format!(
            "apiVersion: autoscaler.vpsie.com/v1alpha1\nkind: NodeGroup\nmetadata: {{name: a, namespace: default, labels: {{autoscaler.vpsie.com/managed: \"true\"}}, annotations: {{{of_group}}}}}\nspec:\n  minNodes: 0\n  maxNodes: 9\n  datacenterID: dc-1\n  offeringIDs: [medium]\n  {AT_ONCE}"
        ));
        verdict(&node.add(case, 0).plan(), "n0")
    };
    assert_eq!(with(MEMBER, ""), "Remove");
    let opt_outs = [
        ("protected", ["maybe", "True", "", "no"]),
        ("scale-down", ["Disabled", "off", "", "false"]),
        ("scale-down-disabled", ["1", "yes", "", "FALSE"]),
    ];
    for (key, values) in opt_outs {
        for text in values.map(|value| own(key, value)) {
            assert_eq!(
                with(MEMBER, &text),
                "ScaleDownDisabledAnnotation",
                "{text} of the NodeGroup"
            );
        }
    }
    let hours = "scale-down-allowed-hours";
    for value in [
        "",
        "always",
        "9-17",
        "25:00-26:00",
        "09:00",
        "09:00-17:00 UTC",
        "09:00–17:00",
    ] {
        let text = own(hours, value);
        let annotated = Member {
            annotations: &text,
            ..MEMBER
        };
        assert_eq!(with(annotated, ""), "OutsideAllowedHours", "{text}");
        assert_eq!(with(MEMBER, &text), "OutsideAllowedHours", "{text} of the NodeGroup");
    }
    for zone in ["", "Mars", "utc+1", "Europe"] {
        let text = format!("{}, {}", own(hours, "00:00-00:00"), own("time-zone", zone));
        let annotated = Member {
            annotations: &text,
            ..MEMBER
        };
        assert_eq!(with(annotated, ""), "OutsideAllowedHours", "{text}");
        assert_eq!(with(MEMBER, &text), "OutsideAllowedHours", "{text} of the NodeGroup");
    }
}
