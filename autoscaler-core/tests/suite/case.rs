//! How the tests write clusters: short YAML for what the case is about, and the rest by default.

use autoscaler_core::{
    build::Input,
    check::check,
    document::{PlanDocument, PodDocument},
    manifest::{Objects, Source, read, read_offerings},
    planner::{self, Options},
    provider::Offering,
    snapshot::Snapshot,
};

/// The time of every case that does not say otherwise.
pub(crate) const NOW: &str = "2026-01-01T12:00:00Z";

/// A cluster under test.
#[derive(Clone, Debug, Default)]
pub(crate) struct Case {
    yaml: String,
    offerings: Vec<Offering>,
}

impl Case {
    /// A cluster with the offerings of [`catalogue`].
    pub(crate) fn new() -> Self {
        Self {
            yaml: String::new(),
            offerings: catalogue(),
        }
    }

    /// Adds documents.
    pub(crate) fn with(mut self, yaml: &str) -> Self {
        self.yaml.push_str("---\n");
        self.yaml.push_str(yaml);
        self.yaml.push('\n');
        self
    }

    /// A managed NodeGroup `default/NAME` with these offerings; `more` is YAML below `spec`, one field a line.
    pub(crate) fn group(self, name: &str, min: u32, max: u32, offerings: &str, more: &[&str]) -> Self {
        let more: String = more.iter().map(|line| format!("  {line}\n")).collect();
        self.with(&format!(
            "apiVersion: autoscaler.vpsie.com/v1alpha1\nkind: NodeGroup\nmetadata:\n  name: {name}\n  namespace: default\n  labels: {{autoscaler.vpsie.com/managed: \"true\"}}\nspec:\n  minNodes: {min}\n  maxNodes: {max}\n  datacenterID: dc-1\n  offeringIDs: [{offerings}]\n{more}"
        ))
    }

    /// A Ready node of a group with this many allocatable cores and GiB.
    pub(crate) fn node(self, name: &str, group: &str, cores: u32, gib: u32) -> Self {
        self.with(&format!(
            "apiVersion: v1\nkind: Node\nmetadata:\n  name: {name}\n  creationTimestamp: \"2026-01-01T00:00:00Z\"\n  labels: {{autoscaler.vpsie.com/managed: \"true\", autoscaler.vpsie.com/nodegroup: {group}, autoscaler.vpsie.com/nodegroup-namespace: default, kubernetes.io/hostname: {name}}}\nstatus:\n  allocatable: {{cpu: \"{cores}\", memory: {gib}Gi, pods: \"110\"}}\n  conditions: [{{type: Ready, status: \"True\"}}]"
        ))
    }

    /// Pods `default/NAME-0..COUNT` that the scheduler finds no place for; `more` is YAML below `spec`.
    pub(crate) fn pending(mut self, name: &str, count: usize, requests: &str, more: &[&str]) -> Self {
        let more: String = more.iter().map(|line| format!("  {line}\n")).collect();
        for index in 0..count {
            self = self.with(&format!(
                "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}-{index}, namespace: default}}\nspec:\n  containers: [{{name: c, resources: {{requests: {{{requests}}}}}}}]\n{more}status:\n  phase: Pending\n  conditions: [{{type: PodScheduled, status: \"False\", reason: Unschedulable}}]"
            ));
        }
        self
    }

    /// A running pod of a ReplicaSet on a node.
    pub(crate) fn running(self, name: &str, node: &str, requests: &str) -> Self {
        self.with(&format!(
            "apiVersion: v1\nkind: Pod\nmetadata:\n  name: {name}\n  namespace: default\n  ownerReferences: [{{apiVersion: apps/v1, kind: ReplicaSet, name: rs, uid: u1, controller: true}}]\nspec:\n  nodeName: {node}\n  containers: [{{name: c, resources: {{requests: {{{requests}}}}}}}]\nstatus: {{phase: Running, conditions: [{{type: Ready, status: \"True\"}}]}}"
        ))
    }

    /// The snapshot of the cluster.
    pub(crate) fn snapshot(&self) -> Snapshot {
        let mut objects = Objects::default();
        read(
            &Source {
                name: "case.yaml".into(),
                text: &self.yaml,
            },
            &mut objects,
        )
        .unwrap();
        Snapshot::build(&Input::new(&objects, &self.offerings))
    }

    /// The decision, which has to keep every invariant.
    pub(crate) fn plan(&self) -> PlanDocument {
        self.plan_with(&Options::default(), NOW)
    }

    /// The decision with options at some time, which has to keep every invariant too.
    pub(crate) fn plan_with(&self, options: &Options, now: &str) -> PlanDocument {
        let snapshot = self.snapshot();
        let plan = planner::plan(&snapshot, options, now.parse().unwrap());
        let violations = check(&snapshot, &plan);
        assert!(violations.is_empty(), "{violations:#?}\n{plan:#?}");
        let again = planner::plan(&snapshot, options, now.parse().unwrap());
        assert_eq!(plan, again, "the same input gives the same plan");
        PlanDocument::new(&snapshot, &plan)
    }
}

/// small 1 core, medium 4 cores, large 16 cores, with 2 GiB per core and a price that falls with size.
pub(crate) fn catalogue() -> Vec<Offering> {
    let json = r#"{"data":[
        {"id":"small","name":"Small","cpu":1,"ram":2048,"disk":20,"hourly_price":0.01},
        {"id":"medium","name":"Medium","cpu":4,"ram":8192,"disk":80,"hourly_price":0.036},
        {"id":"large","name":"Large","cpu":16,"ram":32768,"disk":320,"hourly_price":0.128}]}"#;
    read_offerings(&Source {
        name: "catalogue".into(),
        text: json,
    })
    .unwrap()
}

/// The report on `default/NAME`.
pub(crate) fn pod<'a>(plan: &'a PlanDocument, name: &str) -> &'a PodDocument {
    let full = format!("default/{name}");
    plan.pods
        .iter()
        .find(|pod| pod.pod == full)
        .unwrap_or_else(|| panic!("no report on {full}: {plan:#?}"))
}

/// What is bought: group, offering and count.
pub(crate) fn bought(plan: &PlanDocument) -> Vec<(&str, &str, usize)> {
    plan.scale_up
        .iter()
        .map(|up| (up.node_group.as_str(), up.offering.as_str(), up.count))
        .collect()
}
