//! Nodes that are on their way: what was bought for pods is not bought for them again.

use std::fmt::Write as _;

use autoscaler_core::{
    build::Input,
    check::check,
    document::PlanDocument,
    manifest::{Objects, Source, read, read_offerings},
    planner::{self, Options},
    provider::Offering,
    snapshot::Snapshot,
};
use proptest::prelude::{ProptestConfig, any, prop, proptest};

use crate::case::{Case, NOW, bought};

const OFFERINGS: &str = r#"[
    {"id":"small-1","cpu":1,"ram":1024,"disk":25,"hourly_price":0.0075},
    {"id":"small-2","cpu":2,"ram":4096,"disk":80,"hourly_price":0.03},
    {"id":"medium-4","cpu":4,"ram":8192,"disk":160,"hourly_price":0.06},
    {"id":"medium-8","cpu":8,"ram":16384,"disk":320,"hourly_price":0.12},
    {"id":"large-8","cpu":8,"ram":32768,"disk":320,"hourly_price":0.18},
    {"id":"large-16","cpu":16,"ram":65536,"disk":640,"hourly_price":0.36}]"#;

const GROUP: &str = "apiVersion: autoscaler.vpsie.com/v1alpha1\nkind: NodeGroup\nmetadata: {name: g, namespace: default, labels: {autoscaler.vpsie.com/managed: \"true\"}}\nspec: {datacenterID: dc-1, minNodes: 0, maxNodes: 1000, offeringIDs: [small-1, small-2, medium-4, medium-8, large-8, large-16]}\n";

/// Five shapes with this many pods each.
const PODS: usize = 20;

/// CPU in milli-cores, memory in MiB, and whether the pods are spread over hosts.
type Shape = (u32, u32, bool);

/// What the VPSieNode of a node that was bought says.
#[derive(Clone, Copy, Debug)]
enum Stage {
    /// Its VM is being made.
    Provisioning,
    /// Its Node is there, and not Ready yet.
    Starting,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn what_is_on_its_way_is_not_bought_again(
        shapes in prop::collection::vec(
            (prop::sample::select(vec![100, 250, 500, 750, 1000, 1500, 2000, 2500]),
             prop::sample::select(vec![64, 128, 256, 512, 1024, 2048, 3072, 4096]),
             prop::bool::weighted(0.3)),
            5),
        starting in any::<bool>(),
    ) {
        let offerings = read_offerings(&Source { name: "offerings.json".into(), text: OFFERINGS }).unwrap();
        let mut cluster = format!("{GROUP}---\n{}", pods(&shapes));
        let first = plan(&cluster, &offerings);
        assert!(!first.scale_up.is_empty());
        let stage = if starting && shapes.iter().all(|shape| !shape.2) { Stage::Starting } else { Stage::Provisioning };
        add_nodes(&mut cluster, &first, stage);
        let second = plan(&cluster, &offerings);
        assert!(
            second.scale_up.is_empty(),
            "bought again: {:?} after {:?} for {shapes:?} while {stage:?}",
            second.scale_up,
            first.scale_up
        );
    }
}

fn plan(cluster: &str, offerings: &[Offering]) -> PlanDocument {
    let mut objects = Objects::default();
    let source = Source {
        name: "cluster.yaml".into(),
        text: cluster,
    };
    read(&source, &mut objects).unwrap();
    let snapshot = Snapshot::build(&Input::new(&objects, offerings));
    let plan = planner::plan(&snapshot, &Options::default(), NOW.parse().unwrap());
    let violations = check(&snapshot, &plan);
    assert!(violations.is_empty(), "{violations:#?}");
    PlanDocument::new(&snapshot, &plan)
}

fn pods(shapes: &[Shape]) -> String {
    let mut text = String::new();
    for (shape, (cpu, memory, spread)) in shapes.iter().enumerate() {
        let constraint = format!(
            "  topologySpreadConstraints: [{{maxSkew: 1, topologyKey: kubernetes.io/hostname, whenUnsatisfiable: DoNotSchedule, labelSelector: {{matchLabels: {{app: s{shape}}}}}}}]\n"
        );
        let constraint = if *spread { constraint } else { String::new() };
        for pod in 0..PODS {
            write!(
                text,
                "apiVersion: v1\nkind: Pod\nmetadata: {{name: s{shape}-{pod}, namespace: default, labels: {{app: s{shape}}}}}\nspec:\n  containers: [{{name: c, resources: {{requests: {{cpu: {cpu}m, memory: {memory}Mi}}}}}}]\n{constraint}status: {{phase: Pending, conditions: [{{type: PodScheduled, status: \"False\", reason: Unschedulable}}]}}\n---\n"
            )
            .unwrap();
        }
    }
    text
}

/// Adds a VPSieNode, and a Node where there is one already, for everything that a plan buys.
fn add_nodes(cluster: &mut String, plan: &PlanDocument, stage: Stage) {
    let bought = plan.scale_up.iter().flat_map(|step| vec![&step.offering; step.count]);
    for (index, offering) in bought.enumerate() {
        // The order of their names is not that in which they were planned.
        let name = format!("node-{}", index * 7919 % 1000);
        let (phase, status) = match stage {
            Stage::Provisioning => ("Provisioning", String::new()),
            Stage::Starting => ("Joining", format!(", nodeName: {name}")),
        };
        write!(
            cluster,
            "apiVersion: autoscaler.vpsie.com/v1alpha1\nkind: VPSieNode\nmetadata: {{name: {name}, namespace: default}}\nspec: {{nodeGroupName: g, instanceType: {offering}, datacenterID: dc-1}}\nstatus: {{phase: {phase}, phaseSince: \"2026-01-01T11:59:00Z\"{status}}}\n---\n"
        )
        .unwrap();
        if matches!(stage, Stage::Starting) {
            write!(
                cluster,
                "apiVersion: v1\nkind: Node\nmetadata:\n  name: {name}\n  labels: {{autoscaler.vpsie.com/managed: \"true\", autoscaler.vpsie.com/nodegroup: g, autoscaler.vpsie.com/nodegroup-namespace: default, autoscaler.vpsie.com/offering: {offering}, kubernetes.io/hostname: {name}}}\nspec: {{taints: [{{key: node.kubernetes.io/not-ready, effect: NoSchedule}}]}}\nstatus: {{conditions: [{{type: Ready, status: \"False\"}}]}}\n---\n"
            )
            .unwrap();
        }
    }
}

#[test]
fn pods_that_a_starting_node_has_and_a_new_one_would_not_have_take_their_room() {
    let starting = "apiVersion: autoscaler.vpsie.com/v1alpha1\nkind: VPSieNode\nmetadata: {name: v, namespace: default}\nspec: {nodeGroupName: a, instanceType: small, datacenterID: dc-1}\nstatus: {phase: Joining, phaseSince: \"2026-01-01T11:59:00Z\"}\n---\napiVersion: v1\nkind: Node\nmetadata: {name: v, labels: {kubernetes.io/hostname: v}}\nstatus: {allocatable: {cpu: 900m, memory: 1Gi, pods: \"110\"}, conditions: [{type: Ready, status: \"False\"}]}";
    let there = |metadata: &str, container: &str| {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: there, namespace: kube-system, labels: {{app: there}}, {metadata}}}\nspec: {{nodeName: v, containers: [{{name: c, {container}}}]}}\nstatus: {{phase: Running}}"
        )
    };
    let daemon = "ownerReferences: [{apiVersion: apps/v1, kind: DaemonSet, name: agent, uid: u, controller: true}]";
    let mirror = "annotations: {kubernetes.io/config.mirror: x}";
    let agent = "apiVersion: apps/v1\nkind: DaemonSet\nmetadata: {name: agent, namespace: kube-system}\nspec: {selector: {matchLabels: {app: there}}, template: {metadata: {labels: {app: there}}, spec: {containers: [{name: c, resources: {requests: {cpu: 100m}}}]}}}";
    let nothing = "apiVersion: v1\nkind: Namespace\nmetadata: {name: default}";
    let pending = |container: &str, spec: &str| {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: web, namespace: default}}\nspec: {{containers: [{{name: c, {container}}}]{spec}}}\nstatus: {{phase: Pending, conditions: [{{type: PodScheduled, status: \"False\", reason: Unschedulable}}]}}"
        )
    };
    let cpu = "resources: {requests: {cpu: 500m}}";
    let port = "ports: [{containerPort: 80, hostPort: 80}]";
    let away = ", affinity: {podAntiAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{topologyKey: kubernetes.io/hostname, namespaceSelector: {}, labelSelector: {matchLabels: {app: there}}}]}}";
    for (metadata, container, more, asks, spec) in [
        (daemon, cpu, nothing, cpu, ""),
        (mirror, cpu, nothing, cpu, ""),
        (daemon, cpu, agent, cpu, ""),
        (mirror, port, nothing, port, ""),
        (daemon, "image: x", nothing, "image: x", away),
    ] {
        let plan = Case::new()
            .group("a", 0, 5, "small", &[])
            .with(starting)
            .with(&there(metadata, container))
            .with(more)
            .with(&pending(asks, spec))
            .plan();
        assert_eq!(
            bought(&plan),
            [("default/a", "small", 1)],
            "{metadata} {container} {spec}"
        );
    }
}
