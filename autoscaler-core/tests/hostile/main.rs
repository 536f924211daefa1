//! Input that nobody means well with: there is a plan with a reason, or an error that names file, line, object and
//! field. Nothing overflows, and nothing panics.
//!
//! How a text is read, whatever it means, is tested beside the reader. Here are helpers and what is decided; `fields` goes
//! through the fields that have a rule.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a helper of a test fails by panicking")]

mod fields;

use std::fmt::Write as _;

use autoscaler_core::{
    build::Input,
    check::check,
    document::{PlanDocument, PodDocument},
    manifest::{Objects, ReadErrors, Source, read, read_offerings},
    planner::{self, Options},
    provider::Offering,
    snapshot::Snapshot,
};
use jiff::Timestamp;

const NOW: &str = "2026-01-01T12:00:00Z";

/// The ends of time as jiff has them, in year -9999 and in year 9999.
const EXTREMES: [Timestamp; 2] = [Timestamp::MIN, Timestamp::MAX];

fn source<'a>(name: &str, text: &'a str) -> Source<'a> {
    Source {
        name: name.to_owned(),
        text,
    }
}

fn objects(text: &str) -> Objects {
    let mut objects = Objects::default();
    read(&source("dump.yaml", text), &mut objects).unwrap_or_else(|errors| panic!("{errors}\n{text:.2000}"));
    objects
}

fn offerings(text: &str) -> Result<Vec<Offering>, ReadErrors> {
    read_offerings(&source("offerings.json", text))
}

fn catalogue() -> Vec<Offering> {
    offerings(r#"[{"id": "small", "cpu": 4, "ram": 8192, "disk": 80, "hourly_price": 0.03}]"#).unwrap()
}

/// The messages about a text that is refused.
fn refused(text: &str) -> String {
    match read(&source("dump.yaml", text), &mut Objects::default()) {
        Ok(()) => panic!("this was read: {text:.2000}"),
        Err(errors) => errors.to_string(),
    }
}

/// The decision on objects, which breaks no invariant and is the same when it is made again.
fn decide_at(objects: &Objects, offerings: &[Offering], now: Timestamp) -> PlanDocument {
    let snapshot = Snapshot::build(&Input::new(objects, offerings));
    let options = Options::default();
    let plan = planner::plan(&snapshot, &options, now);
    let violations = check(&snapshot, &plan);
    assert!(violations.is_empty(), "{violations:#?}");
    assert_eq!(plan, planner::plan(&snapshot, &options, now));
    let document = PlanDocument::new(&snapshot, &plan);
    assert!(!serde_json::to_string(&document).unwrap().is_empty());
    document
}

fn decide(text: &str) -> PlanDocument {
    decide_at(&objects(text), &catalogue(), NOW.parse().unwrap())
}

/// The report on the only pod that is pending, which has no place and is told why.
fn unplaced(plan: &PlanDocument) -> &PodDocument {
    let [pod] = plan.pods.as_slice() else {
        panic!("one report is expected: {plan:#?}")
    };
    assert_eq!(pod.verdict, "Unschedulable", "{plan:#?}");
    assert!(!pod.reasons.is_empty(), "{pod:#?}");
    pod
}

/// How many pods get a new node.
fn bought_for(plan: &PlanDocument) -> usize {
    plan.pods.iter().filter(|pod| pod.verdict == "TriggersScaleUp").count()
}

fn group(spec: &str) -> String {
    format!(
        "apiVersion: autoscaler.vpsie.com/v1alpha1\nkind: NodeGroup\nmetadata: {{name: g, namespace: default, labels: {{autoscaler.vpsie.com/managed: \"true\"}}}}\nspec: {{datacenterID: dc-1, offeringIDs: [small], {spec}}}\n---\n"
    )
}

/// A Ready node of the group `g`; `more` are lines of YAML below `metadata`.
fn node(name: &str, allocatable: &str, more: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Node\nmetadata:\n  name: {name}\n  labels: {{autoscaler.vpsie.com/managed: \"true\", autoscaler.vpsie.com/nodegroup: g, kubernetes.io/hostname: {name}, topology.kubernetes.io/zone: dc-1}}\n{more}status:\n  allocatable: {{{allocatable}}}\n  conditions: [{{type: Ready, status: \"True\"}}]\n---\n"
    )
}

/// A pod that the scheduler has no place for; `more` are lines of YAML below `spec`.
fn pending(name: &str, requests: &str, more: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: default, labels: {{app: {name}, all: \"yes\"}}}}\nspec:\n  containers: [{{name: c, resources: {{requests: {{{requests}}}}}}}]\n{more}status: {{phase: Pending, conditions: [{{type: PodScheduled, status: \"False\", reason: Unschedulable}}]}}\n---\n"
    )
}

/// A running pod of a ReplicaSet; `metadata` and `spec` are more fields of both.
fn running(name: &str, node: &str, metadata: &str, spec: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: default, ownerReferences: [{{apiVersion: apps/v1, kind: ReplicaSet, name: rs, uid: u, controller: true}}], {metadata}}}\nspec: {{nodeName: {node}, containers: [{{name: c, resources: {{requests: {{cpu: 100m}}}}}}], {spec}}}\nstatus: {{phase: Running}}\n---\n"
    )
}

#[test]
fn what_is_no_quantity_is_refused_with_its_place() {
    let digits = "9".repeat(100_000) + "x";
    for text in [
        "NaN", "nan", "inf", "Infinity", "-inf", "", " 1", "1 ", "1_000", "1,5", "\u{661}", "\u{bd}", "1\u{a0}",
        "0x10", "1e", "1e+", "1e1e1", "1.2.3", ".", "-", "+", "--1", "9E18Ei", "1KiB", "1ki", "1Kii", "1mm", "1\\0",
        &digits,
    ] {
        let message = refused(&pending("p", &format!("cpu: \"{text}\""), ""));
        let place = "dump.yaml:5: Pod default/p: spec.containers[0].resources.requests.cpu: ";
        assert!(message.starts_with(place), "{text:?}: {message}");
        assert!(message.len() < 1000, "{text:?}: {message}");
    }
    for number in [".nan", ".inf", "-.inf", "-1e400", "true", "[1]", "{a: 1}"] {
        let message = refused(&pending("p", &format!("memory: {number}"), ""));
        assert!(
            message.starts_with("dump.yaml:5: Pod default/p: spec.containers[0]."),
            "{number}: {message}"
        );
    }
}

#[test]
fn a_negative_request_or_capacity_is_refused() {
    for amount in ["-5", "-1n", "-9223372036854775809", "-1e400"] {
        let message = refused(&pending("p", &format!("cpu: \"{amount}\""), ""));
        assert!(
            message.contains("Pod default/p: spec.containers[0].resources.requests.cpu: "),
            "{message}"
        );
        let message = refused(&node("n", &format!("memory: \"{amount}\""), ""));
        assert!(message.contains("Node n: status.allocatable.memory: "), "{message}");
    }
    let overhead = refused(&pending("p", "cpu: 1", "  overhead: {cpu: -1}\n"));
    assert!(overhead.contains("Pod default/p: spec.overhead.cpu: "), "{overhead}");
    // Of many, the first are shown and the rest is counted.
    let many: Vec<_> = (0..20_000).map(|n| format!("a.example/r{n}: -1")).collect();
    assert!(refused(&pending("p", &many.join(", "), "")).ends_with("... and 19980 more"));
}

#[test]
fn an_amount_beyond_every_node_is_a_reason() {
    let digits = "9".repeat(100_000);
    for amount in [
        "9223372036854775807",
        "9223372036854775808",
        "1e400",
        "1e2147483648",
        "1e99999999999999999999",
        "9E",
        "9000000000000000000Ei",
        digits.as_str(),
    ] {
        for (resource, reason) in [
            ("cpu", "InsufficientCpu"),
            ("memory", "InsufficientMemory"),
            ("ephemeral-storage", "InsufficientEphemeralStorage"),
            ("a.example/gpu", "Insufficienta.example/gpu"),
        ] {
            let requests = format!("{resource}: \"{amount}\"");
            let text = group("minNodes: 0, maxNodes: 9") + &pending("p", &requests, "");
            let plan = decide(&text);
            assert_eq!(unplaced(&plan).reasons[0].reason, reason, "{resource}: {amount:.40}");
            assert!(plan.scale_up.is_empty());
        }
    }
}

#[test]
fn an_amount_below_every_unit_is_rounded_up_and_fits() {
    for amount in [
        "1e-400",
        "1n",
        "0",
        "-0",
        "0e99999999999",
        "1e-99999999999999999999",
        "0.0000000000000000000001",
    ] {
        let requests = format!("cpu: \"{amount}\", memory: \"{amount}\"");
        let plan = decide(&(group("minNodes: 0, maxNodes: 9") + &pending("p", &requests, "")));
        assert_eq!(bought_for(&plan), 1, "{amount}: {plan:#?}");
    }
}

#[test]
fn sums_beyond_64_bits_saturate() {
    let huge = "cpu: 9E, memory: 9E, ephemeral-storage: 9E, a.example/gpu: 9E";
    let containers = format!("{{name: c, resources: {{requests: {{{huge}}}}}}}, ").repeat(50);
    let sidecars = format!("{{name: s, restartPolicy: Always, resources: {{requests: {{{huge}}}}}}}, ").repeat(50);
    let spec = format!("  overhead: {{{huge}}}\n  initContainers: [{sidecars}]\n");
    let mut text = group("minNodes: 0, maxNodes: 9, reserved: {cpu: 9E, memory: 9E, a.example/gpu: 9E}");
    text += &pending("p", huge, &spec).replace("containers: [", &format!("containers: [{containers}"));
    for name in ["full", "huge"] {
        let allocatable = if name == "huge" {
            huge
        } else {
            "cpu: 4, memory: 8Gi, pods: 110"
        };
        text += &node(name, allocatable, "");
        for index in 0..40 {
            text += &running(&format!("{name}-{index}"), name, "", "").replace("cpu: 100m", huge);
        }
    }
    let plan = decide(&text);
    unplaced(&plan);
    assert_eq!(plan.nodes.len(), 2);
}

#[test]
fn a_node_that_offers_nothing_is_kept_and_gets_nothing() {
    for allocatable in ["", "cpu: 0, memory: 0, pods: 0", "pods: 110", "cpu: 1n, memory: 1n"] {
        let text = group("minNodes: 0, maxNodes: 0") + &node("n", allocatable, "") + &pending("p", "cpu: 100m", "");
        let plan = decide(&text);
        assert_eq!(unplaced(&plan).reasons[0].reason, "AtMaxNodes", "{allocatable}");
        assert_eq!(plan.nodes[0].verdict, "Keep", "{allocatable}: {plan:#?}");
    }
}

#[test]
fn a_million_labels_are_labels() {
    let many = |objects: &mut autoscaler_core::manifest::meta::ObjectMeta| {
        for number in 0..1_000_000 {
            objects.labels.insert(format!("k{number}"), String::new());
        }
    };
    let text = group("minNodes: 0, maxNodes: 9")
        + &node("n", "cpu: 4, memory: 8Gi, pods: 110", "")
        + &pending("p", "cpu: 1", "  nodeSelector: {k999999: \"\"}\n");
    let mut objects = objects(&text);
    many(&mut objects.nodes[0].metadata);
    many(&mut objects.pods[0].metadata);
    let snapshot = Snapshot::build(&Input::new(&objects, &[]));
    let plan = planner::plan(&snapshot, &Options::default(), NOW.parse().unwrap());
    assert_eq!(PlanDocument::new(&snapshot, &plan).pods[0].verdict, "FitsExisting");
}

#[test]
fn thousands_of_annotations_taints_and_tolerations_are_compared() {
    let mut annotations = "  annotations:\n".to_owned();
    let mut taints = "spec:\n  taints:\n".to_owned();
    let mut tolerations = "  tolerations:\n".to_owned();
    for number in 0..5_000 {
        writeln!(annotations, "    k{number}: v").unwrap();
        writeln!(taints, "  - {{key: k{number}, effect: NoSchedule}}").unwrap();
        if number != 4_321 {
            writeln!(tolerations, "  - {{key: k{number}, operator: Exists}}").unwrap();
        }
    }
    let text =
        node("n", "cpu: 4, memory: 8Gi, pods: 110", &(annotations + &taints)) + &pending("p", "cpu: 1", &tolerations);
    let plan = decide(&text);
    let reason = &unplaced(&plan).reasons[0];
    assert_eq!(reason.reason, "TaintToleration");
    assert!(reason.message.contains("k4321"), "{reason:#?}");
}

#[test]
fn selectors_that_contradict_themselves_select_nothing() {
    let affinity = |terms: &str| {
        format!(
            "  affinity: {{nodeAffinity: {{requiredDuringSchedulingIgnoredDuringExecution: {{nodeSelectorTerms: [{terms}]}}}}}}\n"
        )
    };
    let zone = "key: topology.kubernetes.io/zone, operator";
    for contradiction in [
        affinity(&format!(
            "{{matchExpressions: [{{{zone}: In, values: [dc-1]}}, {{{zone}: NotIn, values: [dc-1]}}]}}"
        )),
        affinity(&format!(
            "{{matchExpressions: [{{{zone}: Exists}}, {{{zone}: DoesNotExist}}]}}"
        )),
        affinity(
            "{matchExpressions: [{key: size, operator: Gt, values: [\"5\"]}, {key: size, operator: Lt, values: [\"6\"]}]}",
        ),
        affinity(&format!(
            "{{matchExpressions: [{{{zone}: Gt, values: [\"9223372036854775807\"]}}]}}"
        )),
        affinity(&format!(
            "{{matchExpressions: [{{{zone}: Lt, values: [\"-9223372036854775808\"]}}]}}"
        )),
        affinity("{}"),
        affinity(""),
        "  nodeSelector: {\"\": \"\"}\n".to_owned(),
        "  nodeSelector: {topology.kubernetes.io/zone: dc-1, autoscaler.vpsie.com/nodegroup: h}\n".to_owned(),
    ] {
        let text = group("minNodes: 0, maxNodes: 9, labels: {size: \"5.5\"}")
            + &node("n", "cpu: 4, memory: 8Gi, pods: 110", "")
            + &pending("p", "cpu: 1", &contradiction);
        let plan = decide(&text);
        let reasons = &unplaced(&plan).reasons;
        assert!(
            reasons.iter().all(|reason| reason.reason == "NodeAffinity"),
            "{contradiction}: {reasons:#?}"
        );
        assert_eq!(
            reasons.len(),
            2,
            "one of the group and one of the node: {contradiction}: {reasons:#?}"
        );
    }
}

#[test]
fn requirements_that_mean_nothing_are_refused() {
    for (requirement, field) in [
        ("key: a, operator: in, values: [b]", "operator"),
        ("key: a, operator: Near, values: [b]", "operator"),
        ("key: a, operator: \"\"", "operator"),
        ("operator: Exists", "key"),
        ("key: a, operator: In, values: []", "values"),
        ("key: a, operator: Exists, values: [b]", "values"),
        ("key: a, operator: Gt, values: [\"1.5\"]", "values"),
        ("key: a, operator: Gt, values: [NaN]", "values"),
        ("key: a, operator: Lt, values: [\"9223372036854775808\"]", "values"),
        ("key: a, operator: Lt, values: [\"1\", \"2\"]", "values"),
        ("key: a, operator: Gt, values: [1]", "values[0]"),
    ] {
        let affinity = format!(
            "  affinity: {{nodeAffinity: {{requiredDuringSchedulingIgnoredDuringExecution: {{nodeSelectorTerms: [{{matchExpressions: [{{{requirement}}}]}}]}}}}}}\n"
        );
        let message = refused(&pending("p", "cpu: 1", &affinity));
        let path = format!(
            "Pod default/p: spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchExpressions[0].{field}: "
        );
        assert!(
            message.starts_with("dump.yaml:6: ") && message.contains(&path),
            "{requirement}: {message}"
        );
    }
    let gt_of_pods = "  affinity: {podAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{topologyKey: a, labelSelector: {matchExpressions: [{key: a, operator: Gt, values: [\"1\"]}]}}]}}\n";
    assert!(refused(&pending("p", "cpu: 1", gt_of_pods)).contains("labelSelector.matchExpressions[0].operator: "));
}

#[test]
fn pods_that_want_and_shun_each_other_get_a_reason() {
    let term =
        |label: &str| format!("[{{topologyKey: kubernetes.io/hostname, labelSelector: {{matchLabels: {{{label}}}}}}}]");
    let rule = |near: &str, away: &str| {
        format!(
            "  affinity: {{podAffinity: {{requiredDuringSchedulingIgnoredDuringExecution: {near}}}, podAntiAffinity: {{requiredDuringSchedulingIgnoredDuringExecution: {away}}}}}\n"
        )
    };
    // Each waits for the other: neither is first.
    let cycle =
        pending("a", "cpu: 1", &rule(&term("app: b"), "[]")) + &pending("b", "cpu: 1", &rule(&term("app: a"), "[]"));
    // The first may come alone, the second may neither join it nor be elsewhere.
    let both = rule(&term("all: \"yes\""), &term("all: \"yes\""));
    let hermits = pending("a", "cpu: 1", &both) + &pending("b", "cpu: 1", &both);
    for (pods, placed) in [(cycle, 0), (hermits, 1)] {
        let plan = decide(&(group("minNodes: 0, maxNodes: 9") + &pods));
        assert_eq!(bought_for(&plan), placed, "{plan:#?}");
        for pod in plan.pods.iter().filter(|pod| pod.verdict == "Unschedulable") {
            assert_eq!(pod.reasons[0].reason, "InterPodAffinity", "{pod:#?}");
        }
    }
}

#[test]
fn impossible_spreads_are_refused_and_extreme_ones_obeyed() {
    let spread = |more: &str| {
        format!(
            "  topologySpreadConstraints: [{{topologyKey: topology.kubernetes.io/zone, whenUnsatisfiable: DoNotSchedule, labelSelector: {{matchLabels: {{all: \"yes\"}}}}, {more}}}]\n"
        )
    };
    for (more, field) in [
        ("maxSkew: 0", "maxSkew"),
        ("maxSkew: -2147483648", "maxSkew"),
        ("maxSkew: 2147483648", "maxSkew"),
        ("maxSkew: 1, minDomains: 0", "minDomains"),
        ("maxSkew: 1, minDomains: -1", "minDomains"),
        ("maxSkew: 1.5", "maxSkew"),
    ] {
        let message = refused(&pending("p", "cpu: 1", &spread(more)));
        let path = format!("dump.yaml:6: Pod default/p: spec.topologySpreadConstraints[0].{field}: ");
        assert!(message.starts_with(&path), "{more}: {message}");
    }
    for (more, placed) in [
        ("maxSkew: 2147483647", 3),
        ("maxSkew: 2147483647, minDomains: 2147483647", 3),
        // Of the many domains that there must be all but one are missing, hence empty: one pod is skew enough.
        ("maxSkew: 1, minDomains: 2147483647", 1),
    ] {
        let pods: String = ["a", "b", "c"]
            .iter()
            .map(|name| pending(name, "cpu: 1", &spread(more)))
            .collect();
        let plan = decide(&(group("minNodes: 0, maxNodes: 9") + &pods));
        assert_eq!(bought_for(&plan), placed, "{more}: {plan:#?}");
    }
}

#[test]
fn the_same_object_twice_is_refused() {
    let pod = pending("p", "cpu: 1", "");
    let message = refused(&(pod.clone() + &pod));
    assert_eq!(
        message,
        "dump.yaml:8: Pod default/p: it was read before, at dump.yaml:1"
    );
}

#[test]
fn owners_in_a_circle_are_owners() {
    let owned = |name: &str, owner: &str| {
        let kind = "kind: ReplicaSet, name: rs, uid: u";
        running(name, "n", "", "").replace(kind, &format!("kind: Pod, name: {owner}, uid: {owner}"))
    };
    let text = group("minNodes: 0, maxNodes: 9")
        + &node("n", "cpu: 4, memory: 8Gi, pods: 110", "")
        + &node("m", "cpu: 4, memory: 8Gi, pods: 110", "")
        + &owned("a", "b")
        + &owned("b", "a")
        + &owned("c", "c");
    let plan = decide(&text);
    assert!(
        plan.nodes.iter().all(|node| node.reason != Some("BlockedByPod")),
        "{plan:#?}"
    );
}

#[test]
fn vpsie_nodes_that_claim_each_others_nodes_lose_none() {
    let machine = |name: &str, spec: &str, status: &str| {
        format!(
            "apiVersion: autoscaler.vpsie.com/v1alpha1\nkind: VPSieNode\nmetadata: {{name: {name}, namespace: default}}\nspec: {{nodeGroupName: g, instanceType: small, datacenterID: dc-1, nodeName: {spec}}}\nstatus: {{phase: Ready, nodeName: {status}}}\n---\n"
        )
    };
    let mut text = group("minNodes: 2, maxNodes: 3");
    for (name, spec, status) in [("a", "b", "c"), ("b", "c", "a"), ("c", "a", "a"), ("d", "nowhere", "A")] {
        text += &machine(name, spec, status);
    }
    for name in ["a", "b", "c"] {
        text += &node(name, "cpu: 4, memory: 8Gi, pods: 110", "");
    }
    let plan = decide(&(text + &pending("p", "cpu: 100", "")));
    let names: Vec<_> = plan.nodes.iter().map(|node| node.node.as_str()).collect();
    assert_eq!(names, ["a", "b", "c"]);
    unplaced(&plan);
}

#[test]
fn a_failed_vpsie_node_of_a_group_that_is_gone_is_replaced_in_the_group_of_its_node() {
    let machine = "apiVersion: autoscaler.vpsie.com/v1alpha1\nkind: VPSieNode\nmetadata: {name: m, namespace: default}\nspec: {nodeGroupName: gone, instanceType: small, datacenterID: dc-1}\nstatus: {phase: Failed, nodeName: n}\n---\n";
    let plan =
        decide(&(group("minNodes: 1, maxNodes: 3") + machine + &node("n", "cpu: 4, memory: 8Gi, pods: 110", "")));
    assert_eq!(plan.scale_up[0].count, 1, "{plan:#?}");
}

#[test]
fn a_node_that_never_gets_ready_is_no_headroom() {
    // The VPSieNode is late, or belongs to no group that is known.
    for (owner, since) in [("g", "2026-01-01T02:00:00Z"), ("gone", "2026-01-01T11:59:00Z")] {
        let machine = format!(
            "apiVersion: autoscaler.vpsie.com/v1alpha1\nkind: VPSieNode\nmetadata: {{name: m, namespace: default}}\nspec: {{nodeGroupName: {owner}, instanceType: small, datacenterID: dc-1}}\nstatus: {{phase: Provisioning, phaseSince: \"{since}\", nodeName: n}}\n---\n"
        );
        let sick = node("n", "cpu: 4, memory: 8Gi, pods: 110", "").replace("\"True\"}", "Unknown}");
        let plan = decide(&(group("minNodes: 2, maxNodes: 9, headroom: {nodes: 3}") + &machine + &sick));
        assert_eq!(plan.scale_up[0].count, 3, "{owner}: {plan:#?}");
    }
}

#[test]
fn a_group_without_a_bound_buys_what_is_needed_and_no_more() {
    let mut unbounded = objects(&group("minNodes: 0, maxNodes: 2147483647, headroom: {nodes: 1000}"));
    unbounded.pods = objects(&pending("p", "cpu: 3", "")).pods;
    let one = unbounded.pods[0].clone();
    unbounded.pods.extend((1..20_000).map(|number| {
        let mut pod = one.clone();
        pod.metadata.name = format!("p{number}");
        pod
    }));
    let snapshot = Snapshot::build(&Input::new(&unbounded, &catalogue()));
    let plan = planner::plan(&snapshot, &Options::default(), NOW.parse().unwrap());
    let of_pods = plan
        .creations
        .iter()
        .filter(|creation| creation.pods.len() == 1)
        .count();
    assert_eq!((of_pods, plan.creations.len()), (20_000, 21_000));
    // Not even the largest head-room is too much for arithmetic, but nobody means it.
    for (headroom, field) in [
        (
            "{pods: {replicas: 2147483647, resources: {requests: {cpu: 1n}}}}",
            "pods.replicas",
        ),
        (
            "{pods: {replicas: 4294967296, resources: {requests: {cpu: 1}}}}",
            "pods.replicas",
        ),
        ("{pods: {replicas: 1000000}}", "pods.replicas"),
        ("{pods: {replicas: -1}}", "pods.replicas"),
    ] {
        let message = refused(&group(&format!(
            "minNodes: 0, maxNodes: 2147483647, headroom: {headroom}"
        )));
        assert!(
            message.starts_with(&format!("dump.yaml:4: NodeGroup default/g: spec.headroom.{field}: ")),
            "{headroom}: {message}"
        );
    }
}

#[test]
fn ten_thousand_offerings_are_compared_and_a_price_of_zero_is_a_price() {
    let mut ids = Vec::new();
    let mut list = Vec::new();
    for number in 0..10_000 {
        // One has exactly the size and costs nothing.
        let price = if number == 7_777 {
            0.0
        } else {
            0.001 + f64::from(number)
        };
        ids.push(format!("o{number}"));
        list.push(format!(
            r#"{{"id": "o{number}", "cpu": 4, "ram": 8192, "disk": 80, "hourly_price": {price}}}"#
        ));
    }
    let offerings = offerings(&format!("[{}]", list.join(","))).unwrap();
    let text = group("minNodes: 0, maxNodes: 9").replace("small", &ids.join(", ")) + &pending("p", "cpu: 1", "");
    let plan = decide_at(&objects(&text), &offerings, NOW.parse().unwrap());
    assert_eq!(plan.scale_up[0].offering, "o7777");
}

#[test]
fn any_two_times_are_apart_without_overflow() {
    for at in EXTREMES {
        let policy = "scaleUpPolicy: {stabilizationWindowSeconds: 2147483647}, scaleDownPolicy: {stabilizationWindowSeconds: 2147483647, cooldownSeconds: 2147483647, drainTimeoutSeconds: 2147483647}";
        let status = format!(
            "status: {{lastScaleUpTime: \"{at}\", scaleUpBackoffs: [{{offering: small, until: \"{at}\", lastFailure: \"{at}\", failures: 2147483647}}]}}\n---\n"
        );
        let mut text = group(&format!("minNodes: 0, maxNodes: 9, {policy}")).replace("---\n", &status);
        let _ = write!(
            text,
            "apiVersion: autoscaler.vpsie.com/v1alpha1\nkind: VPSieNode\nmetadata: {{name: n, namespace: default, creationTimestamp: \"{at}\"}}\nspec: {{nodeGroupName: g, instanceType: small}}\nstatus: {{phase: Ready, phaseSince: \"{at}\", unneededSince: \"{at}\", removal: {{phase: Failed, failedAt: \"{at}\"}}}}\n---\n\
             apiVersion: autoscaler.vpsie.com/v1alpha1\nkind: VPSieNode\nmetadata: {{name: coming, namespace: default, creationTimestamp: \"{at}\"}}\nspec: {{nodeGroupName: g, instanceType: small}}\nstatus: {{phase: Joining, phaseSince: \"{at}\"}}\n---\n"
        );
        for name in ["n", "sick"] {
            text += &node(
                name,
                "cpu: 4, memory: 8Gi, pods: 110",
                &format!("  creationTimestamp: \"{at}\"\n"),
            );
        }
        for (index, grace) in [0, i64::MAX, i64::MIN].iter().enumerate() {
            let metadata = format!(
                "creationTimestamp: \"{at}\", annotations: {{karpenter.sh/do-not-disrupt: 2562047h47m16.854775807s}}"
            );
            text += &running(
                &format!("old{index}"),
                "n",
                &metadata,
                &format!("terminationGracePeriodSeconds: {grace}"),
            )
            .replace("status: {", &format!("status: {{startTime: \"{at}\", "));
            let metadata = format!("deletionTimestamp: \"{at}\", deletionGracePeriodSeconds: {grace}");
            text += &running(
                &format!("going{index}"),
                "n",
                &metadata,
                &format!("terminationGracePeriodSeconds: {grace}"),
            );
        }
        text += &pending("p", "cpu: 1", "").replace(
            "reason: Unschedulable",
            &format!("reason: Unschedulable, lastTransitionTime: \"{at}\""),
        );
        let objects = objects(&text);
        for now in EXTREMES.into_iter().chain([NOW.parse().unwrap()]) {
            let plan = decide_at(&objects, &catalogue(), now);
            assert_eq!((plan.pods.len(), plan.nodes.len()), (1, 2), "{at} {now}");
        }
    }
    for time in [
        "10000-01-01T00:00:00Z",
        "-010000-01-01T00:00:00Z",
        "2026-13-01T00:00:00Z",
        "now",
        "0",
        "",
    ] {
        let message = refused(&node("n", "", &format!("  creationTimestamp: \"{time}\"\n")));
        assert!(
            message.starts_with("dump.yaml:6: Node n: metadata.creationTimestamp: "),
            "{time}: {message}"
        );
    }
}

#[test]
fn hours_that_cannot_be_understood_keep_the_node() {
    let long = "9".repeat(100_000);
    for (hours, zone) in [
        ("", "UTC"),
        ("25:00-26:00", "UTC"),
        ("00:00-24:00", "UTC"),
        ("-1:00-02:00", "UTC"),
        ("\u{661}\u{661}:00-12:00", "UTC"),
        ("00:00-00:00", "../../etc/passwd"),
        ("00:00-00:00", ""),
        (long.as_str(), "UTC"),
        ("00:00-00:00", long.as_str()),
    ] {
        let annotations = format!(
            "  annotations: {{autoscaler.vpsie.com/scale-down-allowed-hours: \"{hours}\", autoscaler.vpsie.com/time-zone: \"{zone}\"}}\n"
        );
        let plan = decide(&(group("minNodes: 0, maxNodes: 9") + &node("n", "cpu: 4, memory: 8Gi", &annotations)));
        assert_eq!(
            plan.nodes[0].reason,
            Some("OutsideAllowedHours"),
            "{hours:.40} {zone:.40}"
        );
    }
    // Zones at both ends of the day, at both ends of time.
    for zone in ["Pacific/Kiritimati", "Etc/GMT+12", "America/Sao_Paulo"] {
        let annotations = format!(
            "  annotations: {{autoscaler.vpsie.com/scale-down-allowed-hours: \"23:59-00:00\", autoscaler.vpsie.com/time-zone: {zone}}}\n"
        );
        let objects = objects(&(group("minNodes: 0, maxNodes: 9") + &node("n", "cpu: 4, memory: 8Gi", &annotations)));
        for now in EXTREMES {
            assert_eq!(decide_at(&objects, &catalogue(), now).nodes[0].verdict, "Keep");
        }
    }
}

#[test]
fn names_of_any_length_and_script_are_names() {
    let long = "x".repeat(1_000_000);
    for name in [
        long.as_str(),
        "\"\\u0000\"",
        "\"\u{202e}\u{1f4a5}\"",
        "\"a/b\"",
        "\"..\"",
    ] {
        let plan = decide(&(group("minNodes: 0, maxNodes: 9") + &pending(name, "cpu: 1", "")));
        assert_eq!(bought_for(&plan), 1, "{name:.40}");
    }
}
