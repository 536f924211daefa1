//! Makes a [`Snapshot`] out of Kubernetes objects: the one place that knows what labels, annotations and fields mean.
//!
//! Nothing here fails. What cannot be understood is read in the way that does least harm, and is reported in
//! [`Snapshot::problems`].

mod groups;
mod nodes;
mod pods;
mod signature;

use std::collections::BTreeMap;

use jiff::{SignedDuration, tz::TimeZone};

pub(crate) use self::{
    nodes::Owners,
    pods::{Priorities, Traits, local_storage},
    signature::{is_plain, write_signature},
};
use crate::{
    constraint::volumes::ZoneKeys,
    hours::{AllowedHours, parse_zone},
    index::Index,
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
    snapshot::{Problem, Snapshot, WellKnown},
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
/// Label or annotation of a pod: the name of its pod group, within its namespace. Pods of one group are placed all
/// together or not at all.
pub const POD_GROUP_KEY: &str = "autoscaler.vpsie.com/pod-group";
/// Taint of a node that is starting; removed last, when its labels and taints are right.
pub const STARTUP_TAINT: &str = "autoscaler.vpsie.com/startup";

/// The name that the AutoscalerConfig has in a cluster.
const AUTOSCALER_CONFIG_NAME: &str = "default";
const INSTANCE_TYPE_LABEL: &str = "node.kubernetes.io/instance-type";
const ZONE_LABEL: &str = "topology.kubernetes.io/zone";
const HOSTNAME_LABEL: &str = "kubernetes.io/hostname";
const UNSCHEDULABLE_TAINT: &str = "node.kubernetes.io/unschedulable";
const ALLOWED_HOURS_ANNOTATION: &str = "autoscaler.vpsie.com/scale-down-allowed-hours";
const TIME_ZONE_ANNOTATION: &str = "autoscaler.vpsie.com/time-zone";
pub(crate) const SAFE_TO_EVICT_ANNOTATION: &str = "cluster-autoscaler.kubernetes.io/safe-to-evict";
pub(crate) const SAFE_LOCAL_VOLUMES_ANNOTATION: &str = "cluster-autoscaler.kubernetes.io/safe-to-evict-local-volumes";
/// With the value `true` the pod is treated as one of a DaemonSet.
pub const DAEMON_SET_POD_ANNOTATION: &str = "cluster-autoscaler.kubernetes.io/daemonset-pod";
pub(crate) const DO_NOT_DISRUPT_ANNOTATION: &str = "karpenter.sh/do-not-disrupt";
const SCHEDULING_POD_GROUP_LABEL: &str = "scheduling.x-k8s.io/pod-group";
/// On the mirror pod that a kubelet makes for each of its static pods.
const MIRROR_ANNOTATION: &str = "kubernetes.io/config.mirror";
const DEFAULT_GRACE_SECONDS: i64 = 30;

/// Keys, as annotation or label, that forbid the removal of a node: the value that does, and the one that does not. A value
/// that is neither forbids it too: a wish for fewer removals must not turn into more.
const OPT_OUTS: [(&str, &str, &str); 3] = [
    ("autoscaler.vpsie.com/protected", "true", "false"),
    ("autoscaler.vpsie.com/scale-down", "disabled", "enabled"),
    ("autoscaler.vpsie.com/scale-down-disabled", "true", "false"),
];

/// Annotations of other autoscalers that forbid the removal of a node when they are `true`, as there.
const FOREIGN_OPT_OUTS: [&str; 2] = [
    "cluster-autoscaler.kubernetes.io/scale-down-disabled",
    DO_NOT_DISRUPT_ANNOTATION,
];

/// So many characters of a value that nobody understands are shown.
const SHOWN_CHARACTERS: usize = 40;

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
        // The API server allows no other name; whatever a file has, its order does not matter.
        let preference = |config: &&'a crd::AutoscalerConfig| {
            let name = config.metadata.name.as_str();
            (name != AUTOSCALER_CONFIG_NAME, name)
        };
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
            config: objects.autoscaler_configs.iter().min_by_key(preference),
            offerings,
            own_node: None,
        }
    }
}

impl Snapshot {
    /// Makes a snapshot. The order of the objects does not matter; of two objects of one name the later counts.
    #[must_use]
    pub fn build(input: &Input<'_>) -> Self {
        Index::from_input(input).into_snapshot()
    }
}

/// Reads objects into parts of a snapshot.
pub(crate) struct Reader<'a> {
    pub(crate) symbols: &'a mut Symbols,
    /// What could not be understood.
    pub(crate) problems: &'a mut Vec<Problem>,
}

/// Whether this is the mirror pod of a static pod, which the API server cannot evict: the kubelet annotates it and makes
/// its Node the owner.
#[must_use]
pub fn is_mirror(metadata: &ObjectMeta) -> bool {
    metadata.annotations.contains_key(MIRROR_ANNOTATION)
        || metadata.controller().is_some_and(|owner| owner.kind == "Node")
}

/// Symbols of the label keys that rules look for, in a table that has no other symbols yet.
pub(crate) fn well_known(symbols: &mut Symbols) -> WellKnown {
    WellKnown {
        hostname: symbols.intern(HOSTNAME_LABEL),
        zone: symbols.intern(ZONE_LABEL),
        unschedulable: symbols.intern(UNSCHEDULABLE_TAINT),
        offering: symbols.intern(OFFERING_LABEL),
        instance_type: symbols.intern(INSTANCE_TYPE_LABEL),
        startup: symbols.intern(STARTUP_TAINT),
        not_ready: symbols.intern("node.kubernetes.io/not-ready"),
        kube_system: symbols.intern("kube-system"),
        new_node: symbols.intern("<new node>"),
    }
}

/// The labels that say in which zone and region a node is.
pub(crate) fn zone_keys(symbols: &mut Symbols) -> ZoneKeys {
    ZoneKeys {
        zone: symbols.intern(ZONE_LABEL),
        region: symbols.intern("topology.kubernetes.io/region"),
        beta_zone: symbols.intern("failure-domain.beta.kubernetes.io/zone"),
        beta_region: symbols.intern("failure-domain.beta.kubernetes.io/region"),
    }
}

impl Reader<'_> {
    pub(crate) fn intern(&mut self, text: &str) -> Symbol {
        self.symbols.intern(text)
    }

    fn problem(&mut self, object: String, field: &str, message: String) {
        self.problems.push(Problem {
            object,
            field: field.to_owned(),
            message,
        });
    }

    fn resources(&mut self, list: &ResourceList) -> Resources {
        let mut resources = Resources::default();
        for (name, quantity) in list {
            let resource = Resource::intern(name, self.symbols);
            resources.set(resource, amount(resource, *quantity));
        }
        resources
    }

    /// Labels as an object has them.
    pub(crate) fn labels_of(&mut self, map: &BTreeMap<String, String>) -> Labels {
        self.labels(map.iter().map(|(key, value)| (key.as_str(), value.as_str())))
    }

    fn labels<'t>(&mut self, pairs: impl Iterator<Item = (&'t str, &'t str)>) -> Labels {
        let symbols = &mut *self.symbols;
        Labels::new(pairs.map(|(key, value)| (symbols.intern(key), symbols.intern(value))))
    }

    fn taints(&mut self, taints: &[node_manifest::Taint]) -> Box<[Taint]> {
        let read = |taint: &node_manifest::Taint| Taint {
            key: self.symbols.intern(&taint.key),
            value: self.symbols.intern(&taint.value),
            // An effect that is not known here might keep pods away; the strictest known one does.
            effect: Effect::parse(&taint.effect).unwrap_or(Effect::NoExecute),
        };
        taints.iter().map(read).collect()
    }

    /// A toleration, or `None` for one with an operator that never matches: `Gt` and `Lt` do not while their feature gate
    /// is off, as it is by default.
    fn toleration(&mut self, manifest: &pod_manifest::Toleration) -> Option<Toleration> {
        if !matches!(manifest.operator.as_str(), "" | "Equal" | "Exists") {
            return None;
        }
        Some(Toleration {
            key: non_empty(&manifest.key).map(|key| self.intern(key)),
            value: (manifest.operator != "Exists").then(|| self.intern(&manifest.value)),
            effect: Effect::parse(&manifest.effect),
        })
    }

    /// What forbids the removal of a node, or of the nodes of a group, as `KEY=VALUE`.
    fn opt_out(&mut self, metadata: &ObjectMeta, object: &dyn Fn() -> String) -> Option<Symbol> {
        let ObjectMeta {
            annotations, labels, ..
        } = metadata;
        let mut found = None;
        for (key, yes, no) in OPT_OUTS {
            for (map, field) in [(annotations, "annotations"), (labels, "labels")] {
                let Some(value) = map.get(key).filter(|value| *value != no) else {
                    continue;
                };
                let shown: String = value.chars().take(SHOWN_CHARACTERS).collect();
                if value != yes {
                    let message = format!("{shown:?} is neither {yes} nor {no}; removal is not allowed");
                    self.problem(object(), &format!("metadata.{field}[{key}]"), message);
                }
                found.get_or_insert_with(|| format!("{key}={shown}"));
            }
        }
        for key in FOREIGN_OPT_OUTS {
            if annotations.get(key).is_some_and(|value| value == "true") {
                found.get_or_insert_with(|| format!("{key}=true"));
            }
        }
        found.map(|found| self.intern(&found))
    }

    /// The time zone that a NodeGroup names.
    fn time_zone(&mut self, metadata: &ObjectMeta, object: &dyn Fn() -> String) -> Option<Result<TimeZone, String>> {
        let zone = parse_zone(metadata.annotations.get(TIME_ZONE_ANNOTATION)?);
        if let Err(why) = &zone {
            let message = format!("{why}; hours that need it are never allowed");
            self.problem(
                object(),
                &format!("metadata.annotations[{TIME_ZONE_ANNOTATION}]"),
                message,
            );
        }
        Some(zone)
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
