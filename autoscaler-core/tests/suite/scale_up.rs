//! Which nodes are created, for which pods, and why not.

use crate::case::{Case, bought, pod};

/// The reasons of a pod for a group.
fn reasons(case: &Case, name: &str) -> Vec<String> {
    pod(&case.plan(), name)
        .reasons
        .iter()
        .map(|reason| reason.reason.clone())
        .collect()
}

#[test]
fn b20_two_groups_one_pod_one_node() {
    let plan = Case::new()
        .group("a", 0, 5, "small", &[])
        .group("b", 0, 5, "small", &[])
        .pending("web", 1, "cpu: 500m", &[])
        .plan();
    assert_eq!(bought(&plan), [("default/a", "small", 1)]);
    assert_eq!(pod(&plan, "web-0").verdict, "TriggersScaleUp");
}

#[test]
fn b21_an_oversized_pod_buys_nothing_and_hears_why() {
    let case = Case::new()
        .group("a", 0, 5, "small, medium", &[])
        .pending("huge", 1, "cpu: \"64\"", &[]);
    let plan = case.plan();
    assert_eq!(bought(&plan), []);
    let report = pod(&plan, "huge-0");
    assert_eq!(report.verdict, "Unschedulable");
    assert_eq!(reasons(&case, "huge-0"), ["InsufficientCpu", "InsufficientCpu"]);
    assert_eq!(report.reasons[0].message, "cpu: needs 64000m, a new node has 900m");
}

#[test]
fn a_byte_too_much_can_be_seen_in_the_reason() {
    let message = |memory: &str| {
        let case = Case::new()
            .group("a", 0, 5, "small", &["reserved: {memory: \"0\"}"])
            .pending("web", 1, &format!("memory: {memory}"), &[]);
        pod(&case.plan(), "web-0").reasons[0].message.clone()
    };
    assert_eq!(
        message("\"2147483649\""),
        "memory: needs 2147483649, a new node has 2147483648"
    );
    assert_eq!(message("2049Mi"), "memory: needs 2049Mi, a new node has 2Gi");
}

#[test]
fn b23_what_fits_an_existing_node_buys_nothing() {
    let plan = Case::new()
        .group("a", 0, 5, "small", &[])
        .node("n1", "a", 4, 8)
        .pending("web", 4, "cpu: 900m", &[])
        .plan();
    assert_eq!(bought(&plan), []);
    assert_eq!(pod(&plan, "web-3").node.as_deref(), Some("n1"));
}

#[test]
fn b23_what_is_not_unschedulable_is_ignored_with_a_reason() {
    let pending = |name: &str, metadata: &str, spec: &str, status: &str| {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: default{metadata}}}\nspec: {{containers: [{{name: c}}]{spec}}}\nstatus: {{phase: Pending{status}}}"
        )
    };
    let said = ", conditions: [{type: PodScheduled, status: \"False\", reason: Unschedulable}]";
    let plan = Case::new()
        .group("a", 0, 5, "small", &[])
        .with(&pending("young", "", "", ""))
        .with(&pending(
            "gated",
            "",
            ", schedulingGates: [{name: quota}]",
            ", conditions: [{type: PodScheduled, status: \"False\", reason: SchedulingGated}]",
        ))
        .with(&pending(
            "daemon",
            ", ownerReferences: [{apiVersion: apps/v1, kind: DaemonSet, name: ds, uid: u, controller: true}]",
            "",
            said,
        ))
        .with(&pending("low", "", ", priority: -11", said))
        .with(&pending(
            "going",
            ", deletionTimestamp: \"2026-01-01T00:00:00Z\", finalizers: [x/y]",
            "",
            said,
        ))
        .with(&pending("nominated", "", "", &format!("{said}, nominatedNodeName: n1")))
        .plan();
    assert_eq!(bought(&plan), []);
    let ignored = |name| (pod(&plan, name).verdict, pod(&plan, name).reasons[0].reason.clone());
    for (name, reason) in [
        ("young", "NotUnschedulable"),
        ("gated", "SchedulingGated"),
        ("daemon", "DaemonSetPod"),
        ("low", "PriorityBelowCutoff"),
        ("going", "Terminating"),
        ("nominated", "Nominated"),
    ] {
        assert_eq!(ignored(name), ("Ignored", reason.to_owned()), "{name}");
    }
}

#[test]
fn the_cheapest_nodes_that_fit_are_bought() {
    for (count, cpu, expected) in [
        (1, "500m", vec![("default/a", "small", 1)]),
        (1, "2", vec![("default/a", "medium", 1)]),
        (4, "900m", vec![("default/a", "medium", 1)]),
        (16, "900m", vec![("default/a", "large", 1)]),
        (1, "15", vec![("default/a", "large", 1)]),
    ] {
        let plan = Case::new()
            .group("a", 0, 50, "small, medium, large", &[])
            .pending("web", count, &format!("cpu: \"{cpu}\""), &[])
            .plan();
        assert_eq!(bought(&plan), expected, "{count} x {cpu}");
    }
}

#[test]
fn one_node_carries_many_pods_and_every_pod_has_one_node() {
    let plan = Case::new()
        .group("a", 0, 50, "medium", &[])
        .pending("web", 30, "cpu: 500m, memory: 512Mi", &[])
        .plan();
    // 3.9 cores hold 7 pods of half a core.
    assert_eq!(bought(&plan), [("default/a", "medium", 5)]);
    let pods: Vec<_> = plan
        .scale_up
        .iter()
        .flat_map(|up| &up.nodes)
        .flat_map(|node| &node.pods)
        .collect();
    assert_eq!(pods.len(), 30);
}

#[test]
fn groups_that_must_not_grow_say_why() {
    let group = |name: &str, labels: &str, extra: &str, spec: &str| {
        format!(
            "apiVersion: autoscaler.vpsie.com/v1alpha1\nkind: NodeGroup\nmetadata: {{name: {name}, namespace: default{labels}{extra}}}\nspec: {{minNodes: 0, maxNodes: 3, datacenterID: dc-1, offeringIDs: [small]{spec}}}"
        )
    };
    let managed = ", labels: {autoscaler.vpsie.com/managed: \"true\"}";
    let case = Case::new()
        .with(&group("a-foreign", "", "", ""))
        .with(&group("b-deleting", managed, ", deletionTimestamp: \"2026-01-01T00:00:00Z\"", ""))
        .with(&group("c-disabled", managed, "", ", scaleUpPolicy: {enabled: false}"))
        .with(&group("d-full", managed, "", ", maxNodes: 0").replace("maxNodes: 3, ", ""))
        .with(&format!("{}\nstatus: {{scaleUpBackoffs: [{{offering: small, until: \"2026-01-01T12:05:00Z\", message: worker limit 5}}]}}", group("e-backoff", managed, "", "")))
        .with(&group("f-unsold", managed, "", "").replace("[small]", "[tiny]"))
        .pending("web", 1, "cpu: 500m", &[]);
    let plan = case.plan();
    assert_eq!(bought(&plan), []);
    assert_eq!(
        reasons(&case, "web-0"),
        [
            "NotManaged",
            "GroupDeleting",
            "ScaleUpDisabled",
            "AtMaxNodes",
            "BackedOff",
            "OfferingUnavailable"
        ]
    );
    assert_eq!(
        pod(&plan, "web-0").reasons[4].message,
        "small is backed off until 2026-01-01T12:05:00Z: worker limit 5"
    );
}

#[test]
fn the_maximum_is_reached_and_not_passed() {
    let plan = Case::new()
        .group("a", 0, 2, "small", &[])
        .pending("web", 3, "cpu: 900m", &[])
        .plan();
    assert_eq!(bought(&plan), [("default/a", "small", 2)]);
    let left: Vec<_> = plan.pods.iter().filter(|pod| pod.verdict == "Unschedulable").collect();
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].reasons[0].reason, "AtMaxNodes");
}

#[test]
fn a_group_that_grows_for_a_pod_is_no_reason_against_it() {
    let plan = Case::new()
        .group("a", 0, 1, "small", &[])
        .group("b", 0, 1, "small", &[])
        .pending("web", 2, "cpu: 900m", &[])
        .plan();
    assert_eq!(plan.pods.len(), 2);
    for pod in &plan.pods {
        assert_eq!(pod.verdict, "TriggersScaleUp");
        let others: Vec<_> = pod.reasons.iter().map(|reason| reason.node_group.as_deref()).collect();
        let other = if pod.node_group.as_deref() == Some("default/a") {
            "default/b"
        } else {
            "default/a"
        };
        assert_eq!(others, [Some(other)], "{}", pod.pod);
    }
}

#[test]
fn the_cluster_limit_counts_nodes_of_all_groups() {
    let config = "apiVersion: autoscaler.vpsie.com/v1alpha1\nkind: AutoscalerConfig\nmetadata: {name: default}\nspec: {globalSettings: {maxClusterWorkers: 2, unschedulablePodGracePeriodSeconds: 0}}";
    let case = Case::new()
        .with(config)
        .group("a", 0, 9, "small", &[])
        .group("b", 0, 9, "small", &[])
        .node("n1", "b", 1, 1)
        .running("old", "n1", "cpu: \"1\"")
        .pending("web", 2, "cpu: 900m", &[]);
    let plan = case.plan();
    assert_eq!(bought(&plan), [("default/a", "small", 1)]);
    assert!(
        plan.pods
            .iter()
            .any(|pod| pod.reasons.iter().any(|reason| reason.reason == "AtClusterLimit"))
    );
}

#[test]
fn b27_a_group_below_its_minimum_grows_without_pods_unless_disabled() {
    let plan = Case::new()
        .group("a", 2, 5, "small, medium", &[])
        .group("b", 1, 5, "small", &["scaleUpPolicy: {enabled: false}"])
        .plan();
    assert_eq!(bought(&plan), [("default/a", "small", 2)]);
    assert!(plan.scale_up[0].nodes.iter().all(|node| node.pods.is_empty()));
}

#[test]
fn nodes_for_the_minimum_serve_pending_pods_first() {
    let plan = Case::new()
        .group("a", 0, 5, "small", &[])
        .group("b", 1, 5, "medium", &[])
        .pending("web", 2, "cpu: 900m", &[])
        .plan();
    assert_eq!(bought(&plan), [("default/b", "medium", 1)]);
}

#[test]
fn b26_a_failed_machine_is_replaced_and_does_not_block() {
    let plan = Case::new()
        .group("a", 1, 1, "small", &[])
        .with("apiVersion: autoscaler.vpsie.com/v1alpha1\nkind: VPSieNode\nmetadata: {name: a-1, namespace: default}\nspec: {nodeGroupName: a, instanceType: small, datacenterID: dc-1}\nstatus: {phase: Failed}")
        .plan();
    assert_eq!(bought(&plan), [("default/a", "small", 1)]);
}

#[test]
fn incident_d56a10a_a_node_to_come_counts_as_capacity() {
    let machine = |since: &str| {
        format!(
            "apiVersion: autoscaler.vpsie.com/v1alpha1\nkind: VPSieNode\nmetadata: {{name: a-1, namespace: default, creationTimestamp: \"{since}\"}}\nspec: {{nodeGroupName: a, instanceType: small, datacenterID: dc-1}}\nstatus: {{phase: Provisioning, phaseSince: \"{since}\"}}"
        )
    };
    let case = Case::new()
        .group("a", 0, 5, "small", &[])
        .pending("web", 1, "cpu: 500m", &[]);
    let plan = case.clone().with(&machine("2026-01-01T11:59:00Z")).plan();
    assert_eq!(bought(&plan), []);
    assert_eq!(pod(&plan, "web-0").node.as_deref(), Some("a-1"));
    let late = case.with(&machine("2026-01-01T11:00:00Z")).plan();
    assert_eq!(
        bought(&late),
        [("default/a", "small", 1)],
        "past its deadline it counts no more"
    );
}

#[test]
fn labels_taints_and_affinity_choose_the_group() {
    let plan = Case::new()
        .group("a", 0, 5, "small", &[])
        .group(
            "gpu",
            0,
            5,
            "medium",
            &[
                "labels: {pool: gpu}",
                "taints: [{key: gpu, value: \"yes\", effect: NoSchedule}]",
            ],
        )
        .pending(
            "train",
            1,
            "cpu: 500m",
            &[
                "nodeSelector: {pool: gpu}",
                "tolerations: [{key: gpu, operator: Exists}]",
            ],
        )
        .pending("web", 1, "cpu: 500m", &["nodeSelector: {kubernetes.io/os: linux}"])
        .plan();
    assert_eq!(bought(&plan), [("default/a", "small", 1), ("default/gpu", "medium", 1)]);
    assert_eq!(pod(&plan, "train-0").node_group.as_deref(), Some("default/gpu"));
}

#[test]
fn daemon_sets_take_their_room_on_new_nodes() {
    let daemon = "apiVersion: apps/v1\nkind: DaemonSet\nmetadata: {name: agent, namespace: kube-system}\nspec: {selector: {matchLabels: {app: agent}}, template: {metadata: {labels: {app: agent}}, spec: {containers: [{name: c, resources: {requests: {cpu: 500m}}}]}}}";
    let case = Case::new()
        .group("a", 0, 5, "small, medium", &[])
        .pending("web", 1, "cpu: 500m", &[]);
    assert_eq!(bought(&case.plan()), [("default/a", "small", 1)]);
    assert_eq!(bought(&case.with(daemon).plan()), [("default/a", "medium", 1)]);
}

#[test]
fn daemon_sets_that_match_take_their_room_even_where_they_leave_none() {
    let daemon = |name: &str, cpu: &str, more: &str| {
        format!(
            "apiVersion: apps/v1\nkind: DaemonSet\nmetadata: {{name: {name}, namespace: kube-system}}\nspec: {{selector: {{matchLabels: {{app: agent}}}}, template: {{metadata: {{labels: {{app: agent}}}}, spec: {{containers: [{{name: c, resources: {{requests: {{cpu: \"{cpu}\"}}}}}}]{more}}}}}}}"
        )
    };
    let case = Case::new()
        .group("a", 0, 5, "small, medium", &[])
        .pending("web", 1, "cpu: 500m", &[]);
    // 0.9 cores cannot hold the agent: it would wait there, or keep the pod out when it comes first.
    assert_eq!(
        bought(&case.clone().with(&daemon("agent", "2", "")).plan()),
        [("default/a", "medium", 1)]
    );
    let two = case
        .clone()
        .with(&daemon("agent", "2", ""))
        .with(&daemon("other", "1500m", ""));
    assert_eq!(bought(&two.plan()), []);
    assert_eq!(reasons(&two, "web-0"), ["InsufficientCpu", "InsufficientCpu"]);
    let messages = |case: &Case| {
        let report = pod(&case.plan(), "web-0").clone();
        report
            .reasons
            .iter()
            .map(|reason| reason.message.clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        messages(&two),
        [
            "cpu: needs 500m, a new node has 0m (900m less DaemonSets 3500m)",
            "cpu: needs 500m, a new node has 400m (3900m less DaemonSets 3500m)"
        ]
    );
    for place in ["nodeSelector: {pool: gpu}", "nodeName: n1"] {
        let elsewhere = daemon("agent", "64", &format!(", {place}"));
        let plan = case.clone().with(&elsewhere).plan();
        assert_eq!(bought(&plan), [("default/a", "small", 1)], "{place}");
    }
    let modest = Case::new()
        .group("a", 0, 5, "small", &[])
        .pending("web", 1, "cpu: \"0\"", &[])
        .with(&daemon("agent", "64", ""));
    assert_eq!(
        bought(&modest.plan()),
        [("default/a", "small", 1)],
        "a pod that asks for nothing of it fits an overcommitted node, as kube-scheduler has it"
    );
}

#[test]
fn a_new_node_offers_what_the_newest_live_one_of_its_size_does() {
    let node = "apiVersion: v1\nkind: Node\nmetadata: {name: n1, labels: {autoscaler.vpsie.com/managed: \"true\", autoscaler.vpsie.com/nodegroup: a, autoscaler.vpsie.com/offering: small}}\nspec: {unschedulable: true}\nstatus: {allocatable: {cpu: 700m, memory: 1Gi, pods: \"110\"}, conditions: [{type: Ready, status: \"True\"}]}";
    let case = Case::new()
        .group("a", 0, 5, "small", &[])
        .pending("web", 1, "cpu: 800m", &[]);
    assert_eq!(bought(&case.plan()), [("default/a", "small", 1)]);
    assert_eq!(bought(&case.with(node).plan()), []);
}

#[test]
fn expanders_choose_by_priority_and_by_nodes() {
    let config = |expander: &str| {
        format!(
            "apiVersion: autoscaler.vpsie.com/v1alpha1\nkind: AutoscalerConfig\nmetadata: {{name: default}}\nspec: {{globalSettings: {{maxClusterWorkers: 0, unschedulablePodGracePeriodSeconds: 0, expander: \"{expander}\"}}}}"
        )
    };
    let case = |expander: &str| {
        Case::new()
            .with(&config(expander))
            .group("cheap", 0, 5, "small", &[])
            .group("dear", 0, 2, "large", &["priority: 10"])
            .pending("web", 1, "cpu: 500m", &[])
    };
    assert_eq!(bought(&case("price").plan()), [("default/cheap", "small", 1)]);
    assert_eq!(bought(&case("priority,price").plan()), [("default/dear", "large", 1)]);
    let many = case("least-nodes").pending("more", 10, "cpu: 800m", &[]);
    assert_eq!(bought(&many.plan()), [("default/dear", "large", 1)]);
    assert_eq!(bought(&case("random").plan()), bought(&case("random").plan()));
}

#[test]
fn the_next_group_takes_what_the_first_cannot() {
    let plan = Case::new()
        .group("cheap", 0, 1, "small", &[])
        .group("dear", 0, 5, "medium", &[])
        .pending("web", 2, "cpu: 800m", &[])
        .plan();
    let total: usize = bought(&plan).iter().map(|(_, _, count)| count).sum();
    assert!(total <= 2, "{plan:#?}");
    assert!(
        plan.pods.iter().all(|pod| pod.verdict == "TriggersScaleUp"),
        "{plan:#?}"
    );
}

#[test]
fn a_nominated_pod_keeps_its_room_from_its_equals() {
    let nominated = "apiVersion: v1\nkind: Pod\nmetadata: {name: preemptor, namespace: default}\nspec: {priority: 5, containers: [{name: c, resources: {requests: {cpu: \"1\"}}}]}\nstatus: {phase: Pending, nominatedNodeName: n1}";
    let case = |priority: i32| {
        Case::new()
            .group("a", 0, 5, "small", &[])
            .node("n1", "a", 1, 4)
            .with(nominated)
            .pending("web", 1, "cpu: 500m", &[&format!("priority: {priority}")])
            .plan()
    };
    assert_eq!(pod(&case(5), "web-0").verdict, "TriggersScaleUp");
    assert_eq!(pod(&case(6), "web-0").node.as_deref(), Some("n1"));
}

#[test]
fn the_order_of_the_input_does_not_show() {
    let forward = Case::new()
        .group("a", 0, 9, "small", &[])
        .group("b", 0, 9, "medium", &[])
        .pending("x", 3, "cpu: 700m", &[])
        .pending("y", 2, "cpu: \"3\"", &[]);
    let backward = Case::new()
        .pending("y", 2, "cpu: \"3\"", &[])
        .pending("x", 3, "cpu: 700m", &[])
        .group("b", 0, 9, "medium", &[])
        .group("a", 0, 9, "small", &[]);
    assert_eq!(forward.plan(), backward.plan());
}

#[test]
fn incident_d56a10a_a_node_that_is_ready_and_still_starting_counts_as_capacity() {
    let machine = "apiVersion: autoscaler.vpsie.com/v1alpha1\nkind: VPSieNode\nmetadata: {name: a-1, namespace: default}\nspec: {nodeGroupName: a, instanceType: small, datacenterID: dc-1}\nstatus: {phase: PHASE, phaseSince: \"2026-01-01T11:59:00Z\"}";
    let node = "apiVersion: v1\nkind: Node\nmetadata: {name: a-1}\nspec: {taints: [{key: KEY, effect: NoSchedule}]}\nstatus: {allocatable: {cpu: 900m, memory: 1Gi, pods: \"110\"}, conditions: [{type: Ready, status: \"READY\"}]}";
    for (phase, ready, taint) in [
        ("Joining", "False", "node.kubernetes.io/not-ready"),
        ("Joining", "True", "autoscaler.vpsie.com/startup"),
        ("Joining", "True", "node.kubernetes.io/not-ready"),
        ("Ready", "True", "node.kubernetes.io/not-ready"),
    ] {
        let plan = Case::new()
            .group("a", 0, 5, "small", &[])
            .with(&machine.replace("PHASE", phase))
            .with(&node.replace("KEY", taint).replace("READY", ready))
            .pending("web", 1, "cpu: 500m", &[])
            .plan();
        assert_eq!(bought(&plan), [], "{phase} {ready} {taint}");
        assert_eq!(
            pod(&plan, "web-0").node.as_deref(),
            Some("a-1"),
            "{phase} {ready} {taint}"
        );
    }
    let broken = Case::new()
        .group("a", 0, 5, "small", &[])
        .with(&machine.replace("PHASE", "Ready"))
        .with(
            &node
                .replace("KEY", "node.kubernetes.io/unreachable")
                .replace("READY", "Unknown"),
        )
        .pending("web", 1, "cpu: 500m", &[])
        .plan();
    assert_eq!(
        bought(&broken),
        [("default/a", "small", 1)],
        "a node that was ready and is not any more is no capacity"
    );
}

#[test]
fn a_node_that_is_starting_has_the_devices_of_its_like_and_takes_nothing_while_it_is_cordoned() {
    let machine = "apiVersion: autoscaler.vpsie.com/v1alpha1\nkind: VPSieNode\nmetadata: {name: a-1, namespace: default}\nspec: {nodeGroupName: a, instanceType: small, datacenterID: dc-1}\nstatus: {phase: Joining, phaseSince: \"2026-01-01T11:59:00Z\"}";
    let node = |name: &str, labels: &str, ready: &str, gpus: &str, spec: &str| {
        format!(
            "apiVersion: v1\nkind: Node\nmetadata: {{name: {name}, labels: {{{labels}}}}}\nspec: {{{spec}}}\nstatus: {{allocatable: {{cpu: 900m, memory: 1Gi, pods: \"110\"{gpus}}}, conditions: [{{type: Ready, status: \"{ready}\"}}]}}"
        )
    };
    let of_group = "autoscaler.vpsie.com/managed: \"true\", autoscaler.vpsie.com/nodegroup: a, autoscaler.vpsie.com/offering: small";
    let like = node(
        "like",
        of_group,
        "True",
        ", example.com/gpu: \"2\"",
        "unschedulable: true",
    );
    let case = |starting: &str, pods: usize| {
        Case::new()
            .group("a", 0, 5, "small", &[])
            .with(&like)
            .with(machine)
            .with(starting)
            .pending("web", pods, "cpu: 100m, example.com/gpu: \"1\"", &[])
            .plan()
    };
    // A device plugin tells the kubelet what it has when the node is up.
    for gpus in ["", ", example.com/gpu: \"0\""] {
        let starting = node("a-1", "", "False", gpus, "");
        assert_eq!(bought(&case(&starting, 2)), [], "{gpus}");
        assert_eq!(bought(&case(&starting, 3)), [("default/a", "small", 1)], "{gpus}");
    }
    let fewer = node("a-1", "", "False", ", example.com/gpu: \"1\"", "");
    assert_eq!(
        bought(&case(&fewer, 2)),
        [("default/a", "small", 1)],
        "it has said how many it has"
    );
    let cordoned = node("a-1", "", "False", "", "unschedulable: true");
    assert_eq!(bought(&case(&cordoned, 2)), [("default/a", "small", 1)]);
}

#[test]
fn a_new_node_whose_daemon_set_pods_drive_a_pod_off_is_seen_before_the_pod_is_placed() {
    let daemon = "apiVersion: apps/v1\nkind: DaemonSet\nmetadata: {name: agent, namespace: default}\nspec: {selector: {matchLabels: {app: agent}}, template: {metadata: {labels: {app: agent}}, spec: {containers: [{name: c, resources: {requests: {cpu: 200m}}}]}}}";
    let zone = "topologyKey: topology.kubernetes.io/zone, labelSelector: {matchLabels: {app: agent}}";
    let away =
        format!("affinity: {{podAntiAffinity: {{requiredDuringSchedulingIgnoredDuringExecution: [{{{zone}}}]}}}}");
    let node = "apiVersion: v1\nkind: Node\nmetadata: {name: n1, labels: {topology.kubernetes.io/zone: dc-1}}\nstatus: {allocatable: {cpu: \"1\", memory: 4Gi, pods: \"110\"}, conditions: [{type: Ready, status: \"True\"}]}";
    // It has room on n1 as long as nobody buys a node in dc-1, on which there would be an agent.
    for priority in [0, 10] {
        let case = Case::new().group("a", 0, 5, "medium", &[]).with(node).with(daemon);
        let case = case.pending("alone", 1, "cpu: 500m", &[&away, &format!("priority: {priority}")]);
        assert_eq!(pod(&case.plan(), "alone-0").node.as_deref(), Some("n1"));
        // With such a node one of both waits, the less important one.
        let plan = case.pending("large", 1, "cpu: \"3\"", &[]).plan();
        let verdicts = ["alone-0", "large-0"].map(|name| pod(&plan, name).verdict);
        assert!(verdicts.contains(&"Unschedulable"), "{verdicts:?}");
        assert!(verdicts != ["Unschedulable"; 2], "{verdicts:?}");
        assert!(priority == 0 || verdicts[0] == "FitsExisting", "{verdicts:?}");
    }
}
