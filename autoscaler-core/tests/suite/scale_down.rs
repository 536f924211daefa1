//! Which nodes go: what constraints between pods decide, and one test for each defect and incident of the Go autoscaler.

mod bugs;
mod incidents;

use autoscaler_core::document::{NodeDocument, PlanDocument};

use crate::case::Case;

/// A policy without timers and budgets.
const AT_ONCE: &str =
    "scaleDownPolicy: {stabilizationWindowSeconds: 0, cooldownSeconds: 0, budgets: {drain: \"100%\"}}";

/// A node with its VPSieNode. Texts are YAML in flow style, each a part of a mapping.
#[derive(Clone, Copy, Debug)]
struct Member<'a> {
    group: &'a str,
    labels: &'a str,
    annotations: &'a str,
    spec: &'a str,
    ready: bool,
    /// Status of the VPSieNode.
    status: &'a str,
}

/// A Ready node of the group `a` that has been unneeded for hours.
const MEMBER: Member<'static> = Member {
    group: "a",
    labels: "",
    annotations: "",
    spec: "",
    ready: true,
    status: "phase: Ready, unneededSince: \"2026-01-01T00:00:00Z\"",
};

impl Member<'_> {
    /// Adds the node `nINDEX` of 4 cores, in a zone of its own.
    fn add(&self, case: Case, index: u32) -> Case {
        let Self {
            group,
            labels,
            annotations,
            spec,
            ready,
            status,
        } = self;
        let ready = if *ready { "True" } else { "False" };
        case.with(&format!(
            "apiVersion: v1\nkind: Node\nmetadata: {{name: n{index}, annotations: {{{annotations}}}, labels: {{autoscaler.vpsie.com/managed: \"true\", autoscaler.vpsie.com/nodegroup: {group}, kubernetes.io/hostname: n{index}, topology.kubernetes.io/zone: z{index}, {labels}}}}}\nspec: {{{spec}}}\nstatus: {{allocatable: {{cpu: \"4\", memory: 8Gi, pods: \"110\"}}, conditions: [{{type: Ready, status: \"{ready}\", lastTransitionTime: \"2026-01-01T11:59:00Z\"}}]}}\n---\napiVersion: autoscaler.vpsie.com/v1alpha1\nkind: VPSieNode\nmetadata: {{name: n{index}, namespace: default}}\nspec: {{nodeGroupName: {group}, instanceType: medium, datacenterID: dc-1}}\nstatus: {{{status}}}"
        ))
    }
}

/// A group whose timers are nothing, and so many nodes of 4 cores in it, each in a zone of its own.
fn cluster(nodes: u32) -> Case {
    let config = "apiVersion: autoscaler.vpsie.com/v1alpha1\nkind: AutoscalerConfig\nmetadata: {name: default}\nspec: {globalSettings: {maxClusterWorkers: 0, budgets: {drain: \"100%\"}}}";
    let case = Case::new().with(config).group("a", 0, 9, "medium", &[AT_ONCE]);
    (0..nodes).fold(case, |case, index| MEMBER.add(case, index))
}

/// A pod of a ReplicaSet that requests this much CPU, with this below `spec`.
fn pod_on(case: Case, name: &str, node: &str, cpu: &str, spec: &str) -> Case {
    case.with(&format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: default, ownerReferences: [{{apiVersion: apps/v1, kind: ReplicaSet, name: rs, uid: u, controller: true}}]}}\nspec:\n  nodeName: {node}\n  containers: [{{name: c, resources: {{requests: {{cpu: {cpu}, memory: 100Mi}}}}}}]\n  {spec}\nstatus: {{phase: Running, conditions: [{{type: Ready, status: \"True\"}}]}}"
    ))
}

/// Pods that keep these nodes, and leave a core free on each.
fn fill(case: Case, nodes: std::ops::Range<u32>) -> Case {
    nodes.fold(case, |case, index| {
        pod_on(case, &format!("full-{index}"), &format!("n{index}"), "3", "")
    })
}

fn report<'a>(plan: &'a PlanDocument, node: &str) -> &'a NodeDocument {
    plan.nodes.iter().find(|report| report.node == node).unwrap()
}

/// `Remove`, or the reason followed by the pod and its reason.
fn verdict(plan: &PlanDocument, node: &str) -> String {
    let report = report(plan, node);
    let words = [
        Some(report.reason.unwrap_or(report.verdict)),
        report.pod.as_deref(),
        report.pod_reason,
    ];
    words.into_iter().flatten().collect::<Vec<_>>().join(" ")
}

fn removed_names(plan: &PlanDocument) -> Vec<&str> {
    plan.scale_down.iter().map(|removal| removal.node.as_str()).collect()
}

/// A replica of `app: web` on a node, with this below `spec`.
fn replica(case: Case, index: u32, constraint: &str) -> Case {
    case.with(&format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: web-{index}, namespace: default, labels: {{app: web}}, ownerReferences: [{{apiVersion: apps/v1, kind: ReplicaSet, name: web, uid: u, controller: true}}]}}\nspec:\n  nodeName: n{index}\n  containers: [{{name: c, resources: {{requests: {{cpu: 100m, memory: 100Mi}}}}}}]\n  {constraint}\nstatus: {{phase: Running, conditions: [{{type: Ready, status: \"True\"}}]}}"
    ))
}

fn removed(plan: &PlanDocument) -> usize {
    plan.scale_down.len()
}

#[test]
fn without_constraints_idle_nodes_are_merged_into_one() {
    let mut case = cluster(4);
    for index in 0..4 {
        case = replica(case, index, "");
    }
    assert_eq!(removed(&case.plan()), 3);
}

#[test]
fn incident_c21c92d_anti_affine_replicas_keep_their_nodes() {
    let apart = "affinity: {podAntiAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{topologyKey: kubernetes.io/hostname, labelSelector: {matchLabels: {app: web}}}]}}";
    let mut case = cluster(4);
    for index in 0..4 {
        case = replica(case, index, apart);
    }
    let plan = case.plan();
    assert_eq!(removed(&plan), 0);
    assert!(
        plan.nodes.iter().all(|node| node.reason == Some("NoPlaceToMovePods")),
        "{:#?}",
        plan.nodes
    );
    assert!(
        plan.nodes[0].message.contains("InterPodAffinity"),
        "{}",
        plan.nodes[0].message
    );
}

#[test]
fn b16_zone_anti_affinity_counts_zones_and_not_nodes() {
    let apart = "affinity: {podAntiAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{topologyKey: topology.kubernetes.io/zone, labelSelector: {matchLabels: {app: web}}}]}}";
    // Three replicas in three of four zones: the node without one is empty and goes, the others stay.
    let mut case = cluster(4);
    for index in 0..3 {
        case = replica(case, index, apart);
    }
    let plan = case.plan();
    let gone: Vec<_> = plan.scale_down.iter().map(|removal| removal.node.as_str()).collect();
    assert_eq!(gone, ["n3"]);
}

#[test]
fn spread_replicas_see_the_node_that_leaves_as_a_domain() {
    let spread = "topologySpreadConstraints: [{maxSkew: 1, topologyKey: topology.kubernetes.io/zone, whenUnsatisfiable: DoNotSchedule, labelSelector: {matchLabels: {app: web}}}]";
    let mut case = cluster(3);
    for index in 0..3 {
        case = replica(case, index, spread);
    }
    // Until the node is gone its zone is a domain with no replica, and one more elsewhere would be a skew of 2.
    assert_eq!(removed(&case.plan()), 0);
}

#[test]
fn a_cordon_hides_a_node_from_spread_replicas_that_honor_taints_unless_they_tolerate_it() {
    let spread = "topologySpreadConstraints: [{maxSkew: 1, topologyKey: topology.kubernetes.io/zone, whenUnsatisfiable: DoNotSchedule, nodeTaintsPolicy: Honor, labelSelector: {matchLabels: {app: web}}}]";
    let cordon = "{key: node.kubernetes.io/unschedulable, operator: Exists, effect: NoSchedule}";
    for (tolerations, expected) in [
        (String::new(), 2),
        ("tolerations: [{key: dedicated, operator: Exists}]".to_owned(), 2),
        (format!("tolerations: [{cordon}]"), 0),
        ("tolerations: [{operator: Exists}]".to_owned(), 0),
    ] {
        let mut case = cluster(3);
        for index in 0..3 {
            case = replica(case, index, &format!("{spread}\n  {tolerations}"));
        }
        assert_eq!(removed(&case.plan()), expected, "{tolerations}");
    }
}
