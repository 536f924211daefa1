//! What keeps groups from growing, and what makes them grow without a pod: back-off, waiting times, deadlines of nodes to
//! come, head-room and pod groups.

use autoscaler_core::{
    document::PlanDocument,
    planner::Options,
    snapshot::{Headroom, Snapshot},
};

use crate::case::{Case, NOW, bought, pod};

/// The reasons that a pod was given for a group, with what they say.
fn reasons(plan: &PlanDocument, name: &str) -> Vec<(String, String)> {
    let of_group = pod(plan, name)
        .reasons
        .iter()
        .filter(|reason| reason.node_group.is_some());
    of_group
        .map(|reason| (reason.reason.clone(), reason.message.clone()))
        .collect()
}

/// A pod that has been unschedulable since this time of the day.
fn since(case: Case, name: &str, time: &str) -> Case {
    case.with(&format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: default}}\nspec:\n  containers: [{{name: c, resources: {{requests: {{cpu: 500m}}}}}}]\nstatus:\n  phase: Pending\n  conditions: [{{type: PodScheduled, status: \"False\", reason: Unschedulable, lastTransitionTime: \"2026-01-01T{time}Z\"}}]"
    ))
}

/// A VPSieNode of `default/g` that has been in this phase since then.
fn coming(case: Case, phase: &str, time: &str) -> Case {
    case.with(&format!(
        "apiVersion: autoscaler.vpsie.com/v1alpha1\nkind: VPSieNode\nmetadata: {{name: g-1, namespace: default}}\nspec: {{nodeGroupName: g, instanceType: medium, datacenterID: dc-1}}\nstatus: {{phase: {phase}, phaseSince: \"2026-01-01T{time}Z\"}}"
    ))
}

fn settings(case: Case, settings: &str) -> Case {
    case.with(&format!(
        "apiVersion: autoscaler.vpsie.com/v1alpha1\nkind: AutoscalerConfig\nmetadata: {{name: default}}\nspec: {{globalSettings: {{unschedulablePodGracePeriodSeconds: 0, {settings}}}}}"
    ))
}

#[test]
fn an_offering_that_is_backed_off_says_until_when_and_why() {
    let case = Case::new()
        .with(
            "apiVersion: autoscaler.vpsie.com/v1alpha1\nkind: NodeGroup\nmetadata: {name: g, namespace: default, labels: {autoscaler.vpsie.com/managed: \"true\"}}\nspec: {minNodes: 0, maxNodes: 5, datacenterID: dc-1, offeringIDs: [medium]}\nstatus:\n  scaleUpBackoffs: [{offering: medium, until: \"2026-01-01T12:05:00Z\", failures: 1, reason: CapacityLimitReached, message: worker limit 5}]",
        )
        .pending("p", 1, "cpu: 500m", &[]);
    let reasons = reasons(&case.plan(), "p-0");
    assert_eq!(reasons.len(), 1, "{reasons:?}");
    assert_eq!(reasons[0].0, "BackedOff");
    assert!(
        reasons[0]
            .1
            .contains("backed off until 2026-01-01T12:05:00Z: worker limit 5"),
        "{reasons:?}"
    );
    // Over at the very end.
    let plan = case.plan_with(&Options::default(), "2026-01-01T12:05:00Z");
    assert_eq!(bought(&plan), [("default/g", "medium", 1)]);
}

#[test]
fn a_group_grows_only_for_pods_that_have_waited_for_its_window() {
    let case = |window: &str, time: &str| {
        let case = Case::new().group("g", 0, 5, "medium", &[window]);
        since(case, "p", time).plan()
    };
    let window = "scaleUpPolicy: {stabilizationWindowSeconds: 90}";
    assert_eq!(bought(&case(window, "11:58:30")), [("default/g", "medium", 1)]);
    let plan = case(window, "11:58:31");
    assert_eq!(bought(&plan), []);
    assert_eq!(reasons(&plan, "p")[0].0, "StabilizationWindow");
    // A policy that leaves the window out waits for a minute, a group without a policy does not wait.
    assert_eq!(bought(&case("scaleUpPolicy: {}", "11:59:30")), []);
    assert_eq!(bought(&case("", "11:59:59")), [("default/g", "medium", 1)]);
    // Who does not say since when has waited long enough.
    let case = Case::new().group("g", 0, 5, "medium", &[window]);
    assert_eq!(
        bought(&case.pending("p", 1, "cpu: 500m", &[]).plan()),
        [("default/g", "medium", 1)]
    );
}

#[test]
fn a_group_that_does_not_wait_serves_the_pod_first() {
    let case = Case::new()
        .group("a", 0, 5, "small", &["scaleUpPolicy: {stabilizationWindowSeconds: 90}"])
        .group("b", 0, 5, "medium", &[]);
    assert_eq!(
        bought(&since(case.clone(), "p", "11:59:00").plan()),
        [("default/b", "medium", 1)]
    );
    assert_eq!(
        bought(&since(case, "p", "11:58:00").plan()),
        [("default/a", "small", 1)]
    );
}

#[test]
fn timers_that_count_as_elapsed_include_the_window() {
    let case = Case::new().group(
        "g",
        0,
        5,
        "medium",
        &["scaleUpPolicy: {stabilizationWindowSeconds: 90}"],
    );
    let options = Options { ignore_timers: true };
    let plan = since(case, "p", "11:59:59").plan_with(&options, NOW);
    assert_eq!(bought(&plan), [("default/g", "medium", 1)]);
}

#[test]
fn a_node_to_come_counts_until_the_deadline_of_its_phase() {
    let verdict = |phase: &str, time: &str, timeouts: &str| {
        let case = Case::new()
            .group("g", 0, 5, "medium", &[])
            .pending("p", 1, "cpu: 500m", &[]);
        let plan = settings(coming(case, phase, time), timeouts).plan();
        pod(&plan, "p-0").verdict.to_owned()
    };
    let (defaults, short) = ("", "phaseTimeouts: {provisionSeconds: 60, joinSeconds: 120}");
    for (phase, time, timeouts, expected) in [
        ("Provisioning", "11:50:00", defaults, "FitsExisting"),
        ("Provisioning", "11:49:59", defaults, "TriggersScaleUp"),
        ("Provisioned", "11:45:00", defaults, "FitsExisting"),
        ("Provisioned", "11:44:59", defaults, "TriggersScaleUp"),
        ("Provisioning", "11:59:00", short, "FitsExisting"),
        ("Provisioning", "11:58:59", short, "TriggersScaleUp"),
        ("Provisioned", "11:58:00", short, "FitsExisting"),
        ("Provisioned", "11:57:59", short, "TriggersScaleUp"),
    ] {
        assert_eq!(
            verdict(phase, time, timeouts),
            expected,
            "{phase} since {time}, {timeouts:?}"
        );
    }
}

#[test]
fn headroom_is_read_in_each_of_its_forms() {
    let read = |headroom: &str| -> Option<Headroom> {
        let snapshot = Case::new().group("g", 0, 5, "medium", &[headroom]).snapshot();
        snapshot.groups[0].headroom.clone()
    };
    assert_eq!(read("headroom: {nodes: 2}"), Some(Headroom::Nodes(2)));
    assert_eq!(read("headroom: {percent: 15}"), Some(Headroom::Percent(15)));
    let Some(Headroom::Pods { count, requests }) =
        read("headroom: {pods: {replicas: 3, resources: {requests: {cpu: 500m, memory: 1Gi}}}}")
    else {
        panic!("no pods")
    };
    assert_eq!(
        (count, requests.cpu, requests.memory, requests.pods),
        (3, 500, 1 << 30, 1)
    );
    for nothing in ["", "headroom: {nodes: 0}", "headroom: {percent: 0}", "headroom: null"] {
        assert_eq!(read(nothing), None, "{nothing:?}");
    }
}

#[test]
fn a_pod_group_is_named_by_our_label_or_annotation_or_that_of_the_plugin() {
    let group = |metadata: &str| -> Option<String> {
        let yaml = format!("apiVersion: v1\nkind: Pod\nmetadata: {{name: p, namespace: default, {metadata}}}");
        let snapshot: Snapshot = Case::new().with(&yaml).snapshot();
        let pod = &snapshot.pods[0];
        pod.pod_group.map(|group| snapshot.text(group).to_owned())
    };
    let (ours, theirs) = ("autoscaler.vpsie.com/pod-group", "scheduling.x-k8s.io/pod-group");
    for (metadata, expected) in [
        (String::new(), None),
        (format!("labels: {{{ours}: a}}"), Some("a")),
        (format!("annotations: {{{ours}: a}}"), Some("a")),
        (format!("labels: {{{theirs}: a}}"), Some("a")),
        (format!("annotations: {{{theirs}: a}}"), None),
        (format!("labels: {{{theirs}: a, {ours}: b}}"), Some("b")),
        (format!("labels: {{{ours}: a}}, annotations: {{{ours}: b}}"), Some("a")),
        (format!("labels: {{{ours}: \"\", {theirs}: a}}"), Some("a")),
        (format!("labels: {{{ours}: \"\"}}"), None),
    ] {
        assert_eq!(group(&metadata).as_deref(), expected, "{metadata}");
    }
}

#[test]
fn headroom_buys_empty_nodes_beside_those_for_pods() {
    let case = |headroom: &str, max| Case::new().group("g", 0, max, "medium", &[headroom]);
    let one = |case: Case| case.pending("p", 1, "cpu: 500m", &[]).plan();
    let count = |plan: &PlanDocument| plan.scale_up.iter().map(|up| up.count).sum::<usize>();
    assert_eq!(count(&one(case("headroom: {nodes: 2}", 5))), 3);
    // The maximum binds head-room, and the pod comes first.
    let plan = one(case("headroom: {nodes: 2}", 2));
    assert_eq!((count(&plan), pod(&plan, "p-0").verdict), (2, "TriggersScaleUp"));
    assert_eq!(count(&one(case("headroom: {percent: 100}", 5))), 2);
    // Without a pod a share is nothing, a number is not.
    assert_eq!(count(&case("headroom: {percent: 100}", 5).plan()), 0);
    assert_eq!(count(&case("headroom: {nodes: 2}", 5).plan()), 2);
    assert_eq!(
        count(&case("scaleUpPolicy: {enabled: false}\n  headroom: {nodes: 2}", 5).plan()),
        0
    );
}

#[test]
fn headroom_that_is_there_is_not_bought() {
    let bought_for = |headroom: &str, busy: usize, empty: usize| {
        let mut case = Case::new().group("g", 0, 20, "medium", &[headroom]);
        for index in 0..busy {
            let name = format!("b{index}");
            case = case
                .node(&name, "g", 4, 8)
                .running(&format!("r{index}"), &name, "cpu: 2500m");
        }
        for index in 0..empty {
            case = case.node(&format!("e{index}"), "g", 4, 8);
        }
        case.plan().scale_up.iter().map(|up| up.count).sum::<usize>()
    };
    assert_eq!(
        [
            bought_for("headroom: {nodes: 2}", 3, 1),
            bought_for("headroom: {nodes: 2}", 3, 2)
        ],
        [1, 0]
    );
    assert_eq!(
        [
            bought_for("headroom: {percent: 33}", 3, 0),
            bought_for("headroom: {percent: 34}", 3, 0),
            bought_for("headroom: {percent: 34}", 3, 2),
        ],
        [1, 2, 0]
    );
    // Each busy node has 1.5 cores left, each new one 3.9.
    let pods = |count| format!("headroom: {{pods: {{replicas: {count}, resources: {{requests: {{cpu: 700m}}}}}}}}");
    assert_eq!(
        [
            bought_for(&pods(6), 3, 0),
            bought_for(&pods(7), 3, 0),
            bought_for(&pods(11), 3, 0),
            bought_for(&pods(12), 3, 1)
        ],
        [0, 1, 1, 1]
    );
}

#[test]
fn headroom_that_is_on_its_way_is_not_bought_again() {
    let case = Case::new().group("g", 0, 5, "medium", &["headroom: {nodes: 1}"]);
    assert_eq!(bought(&coming(case.clone(), "Provisioning", "11:59:00").plan()), []);
    // Beyond its deadline it is not on its way.
    assert_eq!(
        bought(&coming(case, "Provisioning", "11:00:00").plan()),
        [("default/g", "medium", 1)]
    );
}

#[test]
fn pending_pods_may_use_headroom_and_it_is_made_up_for() {
    let case = Case::new()
        .group("g", 0, 5, "medium", &["headroom: {nodes: 1}"])
        .node("n1", "g", 4, 8)
        .pending("p", 1, "cpu: 500m", &[]);
    let plan = case.plan();
    assert_eq!(pod(&plan, "p-0").node.as_deref(), Some("n1"));
    assert_eq!(bought(&plan), [("default/g", "medium", 1)]);
}

#[test]
fn a_pod_group_is_placed_as_a_whole_or_not_at_all() {
    let gang = |mut case: Case, namespace: &str, count: usize| {
        for index in 0..count {
            case = case.with(&format!(
                "apiVersion: v1\nkind: Pod\nmetadata: {{name: g-{index}, namespace: {namespace}, labels: {{scheduling.x-k8s.io/pod-group: gang}}}}\nspec:\n  containers: [{{name: c, resources: {{requests: {{cpu: 500m}}}}}}]\nstatus:\n  phase: Pending\n  conditions: [{{type: PodScheduled, status: \"False\", reason: Unschedulable}}]"
            ));
        }
        case
    };
    // medium has room for seven.
    let case = |max| Case::new().group("g", 0, max, "medium", &[]);
    let plan = gang(case(2), "default", 14).plan();
    assert_eq!(bought(&plan), [("default/g", "medium", 2)]);
    let plan = gang(case(2), "default", 15).plan();
    assert_eq!(bought(&plan), []);
    assert!(plan.pods.iter().all(|pod| pod.verdict == "Unschedulable"), "{plan:#?}");
    // Others take the room that the group cannot use.
    let plan = gang(case(2), "default", 15)
        .pending("single", 1, "cpu: 500m", &[])
        .plan();
    assert_eq!(bought(&plan), [("default/g", "medium", 1)]);
    assert_eq!(pod(&plan, "single-0").verdict, "TriggersScaleUp");
    // The same name in another namespace is another group.
    let both = gang(gang(case(2), "default", 15), "other", 7).plan();
    assert_eq!(bought(&both), [("default/g", "medium", 1)]);
    let served = both.pods.iter().filter(|pod| pod.verdict == "TriggersScaleUp");
    assert!(served.clone().all(|pod| pod.pod.starts_with("other/")) && served.count() == 7);
}

#[test]
fn of_several_configurations_the_one_that_a_cluster_can_have_counts() {
    let config = |name: &str, most: u32| {
        format!(
            "apiVersion: autoscaler.vpsie.com/v1alpha1\nkind: AutoscalerConfig\nmetadata: {{name: {name}}}\nspec: {{globalSettings: {{maxClusterWorkers: {most}, unschedulablePodGracePeriodSeconds: 0}}}}"
        )
    };
    let (right, wrong) = (config("default", 1), config("another", 2));
    for documents in [[&right, &wrong], [&wrong, &right]] {
        let case = Case::new()
            .group("a", 0, 5, "small", &[])
            .pending("web", 3, "cpu: 900m", &[]);
        let plan = documents
            .into_iter()
            .fold(case, |case, document| case.with(document))
            .plan();
        assert_eq!(bought(&plan), [("default/a", "small", 1)]);
    }
}
