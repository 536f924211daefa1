//! What one pod sees in the cluster as it stands. The command of the operator tests the words; this, how answers relate.

use std::collections::BTreeSet;

use autoscaler_core::{
    explain::{
        Answers, OfferAnswer, PodExplanation, document::ExplanationDocument, explain_pods, find_pods, pending_pods,
    },
    planner::Options,
    snapshot::{PodId, Snapshot},
};

use crate::case::{Case, NOW, pod};

const HOST: &str = "kubernetes.io/hostname";
const ZONE: &str = "topology.kubernetes.io/zone";

/// A cluster of two zones in which every kind of rule between pods has something to say.
fn mixed() -> Case {
    let spread = format!(
        "topologySpreadConstraints: [{{maxSkew: 1, topologyKey: {ZONE}, whenUnsatisfiable: DoNotSchedule, labelSelector: {{}}}}, {{maxSkew: 1, topologyKey: {HOST}, whenUnsatisfiable: DoNotSchedule, labelSelector: {{matchLabels: {{app: web}}}}}}]"
    );
    let away = format!(
        "affinity: {{podAntiAffinity: {{requiredDuringSchedulingIgnoredDuringExecution: [{{topologyKey: {HOST}, labelSelector: {{matchLabels: {{app: web}}}}}}]}}}}"
    );
    let near = format!(
        "affinity: {{podAffinity: {{requiredDuringSchedulingIgnoredDuringExecution: [{{topologyKey: {ZONE}, labelSelector: {{matchLabels: {{app: db}}}}}}]}}}}"
    );
    let port = "ports: [{containerPort: 80, hostPort: 80, protocol: TCP}]";
    let pod = |name: &str, app: &str, spec: &str, status: &str| {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: default, labels: {{app: {app}}}}}\nspec: {{{spec}}}\nstatus: {{{status}}}"
        )
    };
    let one = |cpu: &str| format!("containers: [{{name: c, resources: {{requests: {{cpu: {cpu}}}}}}}]");
    let node = |name: &str, zone: &str, spec: &str| {
        format!(
            "apiVersion: v1\nkind: Node\nmetadata: {{name: {name}, labels: {{{HOST}: {name}, {ZONE}: {zone}}}}}\nspec: {{{spec}}}\nstatus:\n  allocatable: {{cpu: \"2\", memory: 4Gi, pods: \"5\"}}\n  conditions: [{{type: Ready, status: \"True\"}}]"
        )
    };
    let mut case = Case::new()
        .group("a", 0, 2, "small, medium", &[])
        .group("b", 0, 0, "large", &[])
        .with(&node("n1", "dc-1", ""))
        .with(&node("n2", "dc-1", ""))
        .with(&node("n3", "dc-2", ""))
        .with(&node("n4", "dc-2", "unschedulable: true"));
    let running = "phase: Running";
    let pending = "phase: Pending";
    for (name, app, node, spec) in [
        ("db", "db", "n3", one("1")),
        ("web-1", "web", "n1", format!("{}, {spread}", one("100m"))),
        ("web-2", "web", "n1", format!("{}, {spread}", one("100m"))),
        ("lone", "lone", "n2", format!("{}, {away}", one("100m"))),
        (
            "edge",
            "edge",
            "n2",
            format!("containers: [{{name: c, {port}, resources: {{requests: {{cpu: 1800m}}}}}}]"),
        ),
    ] {
        case = case.with(&pod(name, app, &format!("{spec}, nodeName: {node}"), running));
    }
    case = case.with(&pod("gone", "web", &format!("{}, nodeName: n9", one("100m")), running));
    for index in 0..2 {
        for (name, app, spec, status) in [
            ("plain", "plain", one("500m"), pending),
            ("spread", "web", format!("{}, {spread}", one("200m")), pending),
            ("away", "web", format!("{}, {away}", one("200m")), pending),
            ("near", "near", format!("{}, {near}", one("200m")), pending),
            (
                "port",
                "port",
                format!("containers: [{{name: c, {port}, resources: {{requests: {{cpu: 1}}}}}}]"),
                pending,
            ),
            ("nominee", "web", one("1500m"), "phase: Pending, nominatedNodeName: n1"),
        ] {
            case = case.with(&pod(&format!("{name}-{index}"), app, &spec, status));
        }
    }
    case
}

fn explain(snapshot: &Snapshot, pods: &[PodId]) -> Vec<Answers> {
    let explanation = explain_pods(snapshot, pods, &Options::default(), NOW.parse().unwrap());
    assert!(explanation.pods.iter().map(|pod| &pod.pod).eq(pods));
    explanation
        .pods
        .iter()
        .map(|pod| Answers::clone(&pod.answers))
        .collect()
}

#[test]
fn a_pod_gets_the_same_answers_whatever_else_is_asked() {
    let snapshot = mixed().snapshot();
    let all: Vec<_> = snapshot.pod_ids().collect();
    let together = explain(&snapshot, &all);
    let backwards: Vec<_> = all.iter().rev().copied().collect();
    let mut turned = explain(&snapshot, &backwards);
    turned.reverse();
    assert_eq!(together, turned);
    let mut distinct = BTreeSet::new();
    for (id, answers) in all.iter().zip(&together) {
        assert_eq!(&explain(&snapshot, &[*id])[0], answers, "{}", snapshot.pod_name(*id));
        distinct.insert(format!("{answers:?}"));
    }
    assert!(
        8 < distinct.len(),
        "the case has to tell pods apart: {}",
        distinct.len()
    );
}

#[test]
fn twins_get_the_same_answers() {
    let snapshot = mixed().snapshot();
    for name in ["plain", "spread", "away", "near", "port", "nominee"] {
        let names = [format!("default/{name}-0"), format!("default/{name}-1")];
        let twins = find_pods(&snapshot, &[&names[0], &names[1]]).unwrap();
        let answers = explain(&snapshot, &twins);
        assert_eq!(answers[0], answers[1], "{name}");
    }
}

#[test]
fn a_lone_pod_hears_of_groups_what_the_plan_says() {
    let group = |case: Case, name: &str, more: &[&str]| case.group(name, 0, 5, "small, medium", more);
    let spread = format!(
        "topologySpreadConstraints: [{{maxSkew: 1, topologyKey: {ZONE}, whenUnsatisfiable: DoNotSchedule, labelSelector: {{}}, minDomains: 3}}]"
    );
    for (requests, spec) in [
        ("cpu: 2", ""),
        ("cpu: 500m, memory: 3Gi", ""),
        ("cpu: 64", ""),
        ("cpu: 100m", "nodeSelector: {disk: fast}"),
        ("cpu: 100m", "tolerations: [{operator: Exists}]"),
        ("cpu: 100m, example.com/gpu: 1", ""),
        ("cpu: 100m", spread.as_str()),
    ] {
        let case = group(Case::new(), "a", &[]);
        let case = group(case, "b", &["taints: [{key: k, value: v, effect: NoSchedule}]"]);
        let case = case
            .group("c", 0, 0, "small", &[])
            .group("d", 0, 5, "unknown", &[])
            .pending("web", 1, requests, &[spec]);
        let plan = case.plan();
        let report = pod(&plan, "web-0");
        let snapshot = case.snapshot();
        let pods = pending_pods(&snapshot);
        let answers = explain(&snapshot, &pods);
        // A plan gives one reason for each group that cannot take the pod at all, or one for each of its offerings.
        for group in ["default/a", "default/b", "default/c", "default/d"] {
            let planned: BTreeSet<_> = report
                .reasons
                .iter()
                .filter(|reason| reason.node_group.as_deref() == Some(group))
                .map(|reason| reason.reason.clone())
                .collect();
            let of_group = |offer: &&OfferAnswer| snapshot.group_name(offer.group) == group;
            let reason = |offer: &OfferAnswer| Some(offer.refusal.as_ref()?.reason(&snapshot).into_owned());
            let explained: Option<BTreeSet<_>> = answers[0].offers.iter().filter(of_group).map(reason).collect();
            match explained {
                None => assert_eq!(
                    planned,
                    BTreeSet::new(),
                    "{group}, which could take it: {requests} {spec}"
                ),
                Some(reasons) if report.verdict == "TriggersScaleUp" => {
                    assert!(
                        planned.is_subset(&reasons) && !planned.is_empty(),
                        "{group}: {requests} {spec}"
                    );
                }
                Some(reasons) => assert_eq!(planned, reasons, "{group}: {requests} {spec}"),
            }
        }
        let buys = answers[0].offers.iter().any(|offer| offer.refusal.is_none());
        assert_eq!(buys, report.verdict == "TriggersScaleUp", "{requests} {spec}");
    }
}

#[test]
fn a_pod_that_has_not_waited_long_enough_hears_so_until_timers_are_ignored() {
    let waiting = |name: &str, since: &str| {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: default}}\nspec: {{containers: [{{name: c}}]}}\nstatus: {{phase: Pending, conditions: [{{type: PodScheduled, status: \"False\", reason: Unschedulable, lastTransitionTime: \"{since}\"}}]}}"
        )
    };
    let snapshot = Case::new()
        .group(
            "slow",
            0,
            5,
            "small",
            &["scaleUpPolicy: {stabilizationWindowSeconds: 60}"],
        )
        .with(&waiting("old", "2026-01-01T11:59:00Z"))
        .with(&waiting("young", "2026-01-01T11:59:01Z"))
        .snapshot();
    let pods = pending_pods(&snapshot);
    let reasons = |ignore_timers: bool| {
        let explanation = explain_pods(&snapshot, &pods, &Options { ignore_timers }, NOW.parse().unwrap());
        let reason = |pod: &PodExplanation| {
            let refusal = pod.answers.offers[0].refusal.as_ref();
            refusal.map(|why| why.reason(&snapshot).into_owned())
        };
        explanation.pods.iter().map(reason).collect::<Vec<_>>()
    };
    assert_eq!(reasons(false), [None, Some("StabilizationWindow".to_owned())]);
    assert_eq!(reasons(true), [None, None]);
}

#[test]
fn the_document_is_the_same_for_the_same_cluster() {
    let print = || {
        let snapshot = mixed().snapshot();
        let explanation = explain_pods(
            &snapshot,
            &pending_pods(&snapshot),
            &Options::default(),
            NOW.parse().unwrap(),
        );
        let document = ExplanationDocument::new(&snapshot, &explanation);
        (serde_json::to_string(&document).unwrap(), document.to_string())
    };
    let (json, text) = print();
    assert_eq!(print(), (json.clone(), text));
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["pods"].as_array().unwrap().len(), 12);
    assert_eq!(json["pods"][0]["nodes"].as_array().unwrap().len(), 4);
}

#[test]
fn an_unknown_name_is_named() {
    let snapshot = mixed().snapshot();
    assert_eq!(
        find_pods(&snapshot, &["default/db", "default/x", "y/db"]),
        Err("default/x")
    );
    assert_eq!(find_pods(&snapshot, &[]), Ok(Vec::new()));
}
