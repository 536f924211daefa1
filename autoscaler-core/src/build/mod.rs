//! Makes a [`Snapshot`] out of Kubernetes objects: the one place that knows what labels, annotations and fields mean.
//!
//! Nothing here fails. What cannot be understood is read in the way that does least harm, and is reported in
//! [`Snapshot::problems`].

mod groups;
mod nodes;
mod pods;

use std::collections::BTreeMap;

use jiff::SignedDuration;

use self::pods::Priorities;
use crate::{
    constraint::{Rules, claims::Storage, volumes::ZoneKeys},
    hours::AllowedHours,
    manifest::{
        Objects, autoscaler as crd,
        meta::{ObjectMeta, ResourceList},
        node as node_manifest,
        pod::{self as pod_manifest},
        storage::{CsiNode, PersistentVolume, PersistentVolumeClaim, StorageClass},
        workload,
    },
    provider::Offering,
    quantity::Quantity,
    resources::{Resource, Resources},
    selector::Labels,
    snapshot::{ClassId, GroupId, MachineId, NodeId, PodClass, Problem, Snapshot, WellKnown},
    symbol::{Symbol, Symbols},
    taint::{Effect, Taint, Toleration},
};

/// Label of a NodeGroup that this autoscaler acts on, and of its nodes; the value is `true`.
pub const MANAGED_LABEL: &str = "autoscaler.vpsie.com/managed";
/// Label of a node: the name of its NodeGroup.
pub const NODE_GROUP_LABEL: &str = "autoscaler.vpsie.com/nodegroup";
/// Label of a node: the namespace of its NodeGroup.
pub const NODE_GROUP_NAMESPACE_LABEL: &str = "autoscaler.vpsie.com/nodegroup-namespace";
/// Label of a node: its datacenter.
pub const DATACENTER_LABEL: &str = "autoscaler.vpsie.com/datacenter";
/// Label of a node: its offering.
pub const OFFERING_LABEL: &str = "autoscaler.vpsie.com/offering";
/// Taint of a node that is starting; removed last, when its labels and taints are right.
pub const STARTUP_TAINT: &str = "autoscaler.vpsie.com/startup";

const INSTANCE_TYPE_LABEL: &str = "node.kubernetes.io/instance-type";
const ZONE_LABEL: &str = "topology.kubernetes.io/zone";
const HOSTNAME_LABEL: &str = "kubernetes.io/hostname";
const UNSCHEDULABLE_TAINT: &str = "node.kubernetes.io/unschedulable";
const ALLOWED_HOURS_ANNOTATION: &str = "autoscaler.vpsie.com/scale-down-allowed-hours";
const TIME_ZONE_ANNOTATION: &str = "autoscaler.vpsie.com/time-zone";
const SAFE_TO_EVICT_ANNOTATION: &str = "cluster-autoscaler.kubernetes.io/safe-to-evict";
const SAFE_LOCAL_VOLUMES_ANNOTATION: &str = "cluster-autoscaler.kubernetes.io/safe-to-evict-local-volumes";
const DAEMON_SET_POD_ANNOTATION: &str = "cluster-autoscaler.kubernetes.io/daemonset-pod";
const DO_NOT_DISRUPT_ANNOTATION: &str = "karpenter.sh/do-not-disrupt";
const MIRROR_ANNOTATION: &str = "kubernetes.io/config.mirror";
const DEFAULT_GRACE_SECONDS: i64 = 30;

/// Keys, as annotation or label of a node, that forbid its removal when they have this value.
const OPT_OUTS: [(&str, &str); 5] = [
    ("autoscaler.vpsie.com/protected", "true"),
    ("autoscaler.vpsie.com/scale-down", "disabled"),
    ("autoscaler.vpsie.com/scale-down-disabled", "true"),
    ("cluster-autoscaler.kubernetes.io/scale-down-disabled", "true"),
    (DO_NOT_DISRUPT_ANNOTATION, "true"),
];

/// The objects that a snapshot is made of, by reference, in any order.
#[derive(Clone, Debug, Default)]
pub struct Input<'a> {
    /// Nodes.
    pub nodes: Vec<&'a node_manifest::Node>,
    /// Pods.
    pub pods: Vec<&'a pod_manifest::Pod>,
    /// PodDisruptionBudgets.
    pub budgets: Vec<&'a workload::PodDisruptionBudget>,
    /// DaemonSets.
    pub daemon_sets: Vec<&'a workload::DaemonSet>,
    /// PriorityClasses.
    pub priority_classes: Vec<&'a workload::PriorityClass>,
    /// PersistentVolumes.
    pub volumes: Vec<&'a PersistentVolume>,
    /// PersistentVolumeClaims.
    pub claims: Vec<&'a PersistentVolumeClaim>,
    /// StorageClasses.
    pub storage_classes: Vec<&'a StorageClass>,
    /// CSINodes.
    pub csi_nodes: Vec<&'a CsiNode>,
    /// Namespaces. The labels of one that is missing count as none.
    pub namespaces: Vec<&'a workload::Namespace>,
    /// NodeGroups.
    pub groups: Vec<&'a crd::NodeGroup>,
    /// VPSieNodes.
    pub machines: Vec<&'a crd::VPSieNode>,
    /// The AutoscalerConfig.
    pub config: Option<&'a crd::AutoscalerConfig>,
    /// Offerings of the provider.
    pub offerings: &'a [Offering],
    /// The node that this operator runs on.
    pub own_node: Option<&'a str>,
}

impl<'a> Input<'a> {
    /// All objects of a dump.
    #[must_use]
    pub fn new(objects: &'a Objects, offerings: &'a [Offering]) -> Self {
        Self {
            nodes: objects.nodes.iter().collect(),
            pods: objects.pods.iter().collect(),
            budgets: objects.pod_disruption_budgets.iter().collect(),
            daemon_sets: objects.daemon_sets.iter().collect(),
            priority_classes: objects.priority_classes.iter().collect(),
            volumes: objects.persistent_volumes.iter().collect(),
            claims: objects.persistent_volume_claims.iter().collect(),
            storage_classes: objects.storage_classes.iter().collect(),
            csi_nodes: objects.csi_nodes.iter().collect(),
            namespaces: objects.namespaces.iter().collect(),
            groups: objects.node_groups.iter().collect(),
            machines: objects.vpsie_nodes.iter().collect(),
            config: objects.autoscaler_configs.first(),
            offerings,
            own_node: None,
        }
    }
}

impl Snapshot {
    /// Makes a snapshot. The order of the objects does not matter.
    #[must_use]
    pub fn build(input: &Input<'_>) -> Self {
        let mut builder = Builder::new();
        builder.settings(input.config);
        builder.offerings(input.offerings);
        builder.groups(&input.groups);
        builder.machines(&input.machines);
        let storage = Storage::new(&input.volumes, &input.claims, &input.storage_classes, &input.csi_nodes);
        builder.nodes(&input.nodes, &storage);
        builder.namespaces(&input.namespaces);
        builder.budgets(&input.budgets);
        let priorities = Priorities::new(&input.priority_classes);
        builder.pods(input, &priorities, &storage);
        builder.daemon_sets(&input.daemon_sets, &priorities);
        if let Some(own) = input.own_node {
            builder.mark_own_node(own);
        }
        builder.rules(&storage);
        builder.snapshot
    }
}

/// A snapshot in the making, with the look-up tables that only making it needs.
struct Builder {
    snapshot: Snapshot,
    classes: BTreeMap<PodClass, ClassId>,
    groups_by_name: BTreeMap<(Symbol, Symbol), GroupId>,
    /// Node names in lower case: providers may change the case of a host name.
    machines_by_node: BTreeMap<String, MachineId>,
    nodes_by_name: BTreeMap<Symbol, NodeId>,
}

impl Builder {
    fn new() -> Self {
        let mut symbols = Symbols::default();
        let well_known = WellKnown {
            hostname: symbols.intern(HOSTNAME_LABEL),
            zone: symbols.intern(ZONE_LABEL),
            unschedulable: symbols.intern(UNSCHEDULABLE_TAINT),
            offering: symbols.intern(OFFERING_LABEL),
            instance_type: symbols.intern(INSTANCE_TYPE_LABEL),
            startup: symbols.intern(STARTUP_TAINT),
            not_ready: symbols.intern("node.kubernetes.io/not-ready"),
            kube_system: symbols.intern("kube-system"),
            new_node: symbols.intern("<new node>"),
        };
        Self {
            snapshot: Snapshot {
                symbols,
                well_known,
                ..Snapshot::default()
            },
            classes: BTreeMap::new(),
            groups_by_name: BTreeMap::new(),
            machines_by_node: BTreeMap::new(),
            nodes_by_name: BTreeMap::new(),
        }
    }

    fn intern(&mut self, text: &str) -> Symbol {
        self.snapshot.symbols.intern(text)
    }

    fn problem(&mut self, object: String, field: &str, message: String) {
        self.snapshot.problems.push(Problem {
            object,
            field: field.to_owned(),
            message,
        });
    }

    /// What has to be counted for constraints between pods, when all pods are known.
    fn rules(&mut self, storage: &Storage<'_>) {
        let zone_keys = ZoneKeys {
            zone: self.snapshot.well_known.zone,
            region: self.intern("topology.kubernetes.io/region"),
            beta_zone: self.intern("failure-domain.beta.kubernetes.io/zone"),
            beta_region: self.intern("failure-domain.beta.kubernetes.io/region"),
        };
        self.snapshot.rules = Rules::new(&self.snapshot, zone_keys, storage.exclusive_claims());
    }

    fn resources(&mut self, list: &ResourceList) -> Resources {
        let mut resources = Resources::default();
        for (name, quantity) in list {
            let resource = Resource::intern(name, &mut self.snapshot.symbols);
            resources.set(resource, amount(resource, *quantity));
        }
        resources
    }

    fn labels<'a>(&mut self, pairs: impl Iterator<Item = (&'a str, &'a str)>) -> Labels {
        let symbols = &mut self.snapshot.symbols;
        Labels::new(pairs.map(|(key, value)| (symbols.intern(key), symbols.intern(value))))
    }

    fn taints(&mut self, taints: &[node_manifest::Taint]) -> Box<[Taint]> {
        let read = |taint: &node_manifest::Taint| Taint {
            key: self.snapshot.symbols.intern(&taint.key),
            value: self.snapshot.symbols.intern(&taint.value),
            // An effect that is not known here might keep pods away; the strictest known one does.
            effect: Effect::parse(&taint.effect).unwrap_or(Effect::NoExecute),
        };
        taints.iter().map(read).collect()
    }

    fn toleration(&mut self, manifest: &pod_manifest::Toleration) -> Toleration {
        Toleration {
            key: non_empty(&manifest.key).map(|key| self.intern(key)),
            value: (manifest.operator != "Exists").then(|| self.intern(&manifest.value)),
            effect: Effect::parse(&manifest.effect),
        }
    }

    fn allowed_hours(&mut self, metadata: &ObjectMeta, object: &dyn Fn() -> String) -> Option<AllowedHours> {
        let hours = metadata.annotations.get(ALLOWED_HOURS_ANNOTATION)?;
        let zone = metadata.annotations.get(TIME_ZONE_ANNOTATION).map(String::as_str);
        let parsed = AllowedHours::parse(hours, zone);
        if let AllowedHours::Never(why) = &parsed {
            let message = format!("{why}; removal is never allowed");
            self.problem(
                object(),
                &format!("metadata.annotations[{ALLOWED_HOURS_ANNOTATION}]"),
                message,
            );
        }
        Some(parsed)
    }
}

/// Objects ordered by namespace and name.
fn sorted<'a, T>(objects: &[&'a T], metadata: impl Fn(&T) -> &ObjectMeta) -> Vec<&'a T> {
    let mut sorted = objects.to_vec();
    let key = |object: &&'a T| {
        let metadata = metadata(object);
        (metadata.namespace.clone(), metadata.name.clone())
    };
    sorted.sort_by_cached_key(key);
    sorted
}

/// An amount in the unit of the resource. Below zero counts as nothing: no request gives room.
fn amount(resource: Resource, quantity: Quantity) -> i64 {
    let amount = match resource {
        Resource::Cpu => quantity.milli(),
        _ => quantity.units(),
    };
    amount.max(0)
}

fn count(number: i32) -> u32 {
    u32::try_from(number).unwrap_or(0)
}

fn seconds(number: i32) -> SignedDuration {
    SignedDuration::from_secs(i64::from(number.max(0)))
}

fn non_empty(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty())
}
