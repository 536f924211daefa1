//! Makes a [`Snapshot`] out of Kubernetes objects: the one place that knows what labels, annotations and fields mean.
//!
//! Nothing here fails. What cannot be understood is read in the way that does least harm, and is reported in
//! [`Snapshot::problems`].

use std::collections::BTreeMap;

use jiff::SignedDuration;

use crate::{
    constraint::{Rules, claims::Storage, read, volumes::ZoneKeys},
    hours::AllowedHours,
    manifest::{
        Objects, autoscaler as crd,
        meta::{IntOrString, ObjectMeta, ResourceList},
        node as node_manifest,
        pod::{self as pod_manifest, Container},
        storage::{CsiNode, PersistentVolume, PersistentVolumeClaim, StorageClass},
        workload,
    },
    provider::{DatacenterId, Offering, OfferingId},
    quantity::Quantity,
    resources::{Resource, Resources},
    selector::Labels,
    snapshot::{
        Backoff, Budget, BudgetSize, ClassId, Controller, DaemonSet, Deletion, DoNotDisrupt, Expander, GroupId,
        Machine, MachineId, MachinePhase, Node, NodeGroup, NodeId, Pod, PodClass, PodId, PodPhase, Problem, Readiness,
        Removal, SafeToEvict, ScaleDownPolicy, Settings, Snapshot, Unschedulable, WellKnown,
    },
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

    fn settings(&mut self, config: Option<&crd::AutoscalerConfig>) {
        let Some(config) = config else { return };
        let global = &config.spec.global_settings;
        let mut settings = Settings {
            max_cluster_workers: u32::try_from(global.max_cluster_workers)
                .ok()
                .filter(|limit| 0 < *limit),
            scale_down_unready_enabled: global.scale_down_unready_enabled,
            ignore_daemon_sets_utilization: global.ignore_daemon_sets_utilization,
            ignore_mirror_pods_utilization: global.ignore_mirror_pods_utilization,
            unschedulable_pod_grace: seconds(global.unschedulable_pod_grace_period_seconds),
            ..Settings::default()
        };
        match Expander::parse_chain(&global.expander) {
            Ok(chain) if !chain.is_empty() => settings.expanders = chain,
            Ok(_) => {}
            Err(word) => self.problem(
                format!("AutoscalerConfig {}", config.metadata.full_name()),
                "spec.globalSettings.expander",
                format!("{word:?} names no expander; price,least-waste is used"),
            ),
        }
        if let Some(empty) = global.budgets.empty.and_then(|empty| u32::try_from(empty).ok()) {
            settings.empty_budget = empty;
        }
        if let Some(drain) = global.budgets.drain.as_ref().and_then(budget_size) {
            settings.drain_budget = drain;
        }
        self.snapshot.settings = settings;
    }

    fn offerings(&mut self, offerings: &[Offering]) {
        let mut offerings = offerings.to_vec();
        offerings.sort_by(|a, b| (&a.id, &a.datacenter).cmp(&(&b.id, &b.datacenter)));
        self.snapshot.offerings = offerings;
    }

    fn groups(&mut self, groups: &[&crd::NodeGroup]) {
        for manifest in sorted(groups, |group| &group.metadata) {
            let group = self.group(manifest);
            let id = GroupId::from_index(self.snapshot.groups.len());
            self.groups_by_name.insert((group.namespace, group.name), id);
            self.snapshot.groups.push(group);
        }
    }

    fn group(&mut self, manifest: &crd::NodeGroup) -> NodeGroup {
        let (metadata, spec) = (&manifest.metadata, &manifest.spec);
        let object = || format!("NodeGroup {}", metadata.full_name());
        for offering in &spec.offering_ids {
            // Templates carry the offering as a label.
            self.intern(offering);
        }
        let fixed = [
            (MANAGED_LABEL, "true"),
            (NODE_GROUP_LABEL, metadata.name.as_str()),
            (NODE_GROUP_NAMESPACE_LABEL, metadata.namespace.as_str()),
            (DATACENTER_LABEL, spec.datacenter_id.as_str()),
            (ZONE_LABEL, spec.datacenter_id.as_str()),
            ("kubernetes.io/os", "linux"),
            ("kubernetes.io/arch", "amd64"),
        ];
        let of_spec = spec.labels.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        let labels = self.labels(of_spec.chain(fixed));
        let taints = self.taints(&spec.taints);
        let reserved = spec.reserved.iter().map(|(name, quantity)| {
            let resource = Resource::intern(name, &mut self.snapshot.symbols);
            (resource, amount(resource, *quantity))
        });
        let reserved = reserved.collect();
        let allowed_hours = self.allowed_hours(metadata, &object);
        let backoffs = manifest.status.scale_up_backoffs.iter().filter_map(|backoff| {
            Some(Backoff {
                offering: OfferingId::new(backoff.offering.as_str()),
                until: backoff.until?,
                message: backoff.message.clone(),
            })
        });
        let down = &spec.scale_down_policy;
        NodeGroup {
            namespace: self.snapshot.symbols.intern(&metadata.namespace),
            name: self.snapshot.symbols.intern(&metadata.name),
            managed: metadata.labels.get(MANAGED_LABEL).is_some_and(|value| value == "true"),
            deleting: metadata.deletion_timestamp.is_some(),
            min_nodes: count(spec.min_nodes),
            max_nodes: count(spec.max_nodes),
            datacenter: DatacenterId::new(spec.datacenter_id.as_str()),
            offerings: spec
                .offering_ids
                .iter()
                .map(|id| OfferingId::new(id.as_str()))
                .collect(),
            preferred: non_empty(&spec.preferred_instance_type).map(OfferingId::new),
            priority: spec.priority,
            labels,
            taints,
            reserved,
            scale_up_enabled: spec.scale_up_policy.enabled,
            scale_down: ScaleDownPolicy {
                enabled: down.enabled,
                cpu_threshold_percent: count(down.cpu_threshold),
                memory_threshold_percent: count(down.memory_threshold),
                stabilization_window: seconds(down.stabilization_window_seconds),
                cooldown: seconds(down.cooldown_seconds),
                drain_timeout: seconds(down.drain_timeout_seconds),
                drain_budget: down.budgets.drain.as_ref().and_then(budget_size),
                empty_budget: down.budgets.empty.and_then(|empty| u32::try_from(empty).ok()),
            },
            allowed_hours,
            last_scale_up: manifest.status.last_scale_up_time,
            backoffs: backoffs.collect(),
        }
    }

    fn machines(&mut self, machines: &[&crd::VPSieNode]) {
        for manifest in sorted(machines, |machine| &machine.metadata) {
            let (metadata, spec, status) = (&manifest.metadata, &manifest.spec, &manifest.status);
            let namespace = self.intern(&metadata.namespace);
            let group_name = self.intern(&spec.node_group_name);
            self.intern(&spec.instance_type);
            let id = MachineId::from_index(self.snapshot.machines.len());
            // The host name of a VM is the name of its VPSieNode until status or spec say otherwise.
            let node_name = [&status.node_name, &spec.node_name, &metadata.name]
                .into_iter()
                .find(|name| !name.is_empty());
            if let Some(name) = node_name {
                self.machines_by_node.insert(name.to_ascii_lowercase(), id);
            }
            let phase = match status.phase.as_str() {
                "" => MachinePhase::Pending,
                text => MachinePhase::parse(text).unwrap_or_else(|| {
                    let object = format!("VPSieNode {}", metadata.full_name());
                    self.problem(
                        object,
                        "status.phase",
                        format!("{text:?} is no phase; Pending is assumed"),
                    );
                    MachinePhase::Pending
                }),
            };
            let removal = status.removal.as_ref().map(|removal| Removal {
                active: !matches!(removal.phase.as_str(), "" | "Failed"),
                failed_at: removal.failed_at,
            });
            self.snapshot.machines.push(Machine {
                namespace,
                name: self.snapshot.symbols.intern(&metadata.name),
                group: self.groups_by_name.get(&(namespace, group_name)).copied(),
                offering: OfferingId::new(spec.instance_type.as_str()),
                datacenter: DatacenterId::new(spec.datacenter_id.as_str()),
                phase,
                phase_since: status.phase_since.or(metadata.creation_timestamp),
                deleting: metadata.deletion_timestamp.is_some(),
                node: None,
                unneeded_since: status.unneeded_since,
                removal,
            });
        }
    }

    fn namespaces(&mut self, namespaces: &[&workload::Namespace]) {
        for metadata in namespaces.iter().map(|namespace| &namespace.metadata) {
            let name = self.intern(&metadata.name);
            let labels = self.labels(
                metadata
                    .labels
                    .iter()
                    .map(|(key, value)| (key.as_str(), value.as_str())),
            );
            self.snapshot.namespaces.insert(name, labels);
        }
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

    fn nodes(&mut self, nodes: &[&node_manifest::Node], storage: &Storage<'_>) {
        for manifest in sorted(nodes, |node| &node.metadata) {
            let id = NodeId::from_index(self.snapshot.nodes.len());
            let volume_limits = storage.limits(&manifest.metadata.name, &mut self.snapshot.symbols);
            let node = Node {
                volume_limits,
                ..self.node(manifest)
            };
            if let Some(machine) = node
                .machine
                .and_then(|machine| self.snapshot.machines.get_mut(machine.index()))
            {
                machine.node = Some(id);
            }
            self.nodes_by_name.insert(node.name, id);
            self.snapshot.nodes.push(node);
        }
        self.snapshot.pods_by_node = vec![Vec::new(); self.snapshot.nodes.len()];
    }

    fn node(&mut self, manifest: &node_manifest::Node) -> Node {
        let metadata = &manifest.metadata;
        let machine = self.machines_by_node.get(&metadata.name.to_ascii_lowercase()).copied();
        let of_machine = machine.and_then(|machine| self.snapshot.machines.get(machine.index()));
        let machine_group = of_machine.and_then(|machine| machine.group);
        let machine_offering = of_machine
            .map(|machine| machine.offering.clone())
            .filter(|id| !id.as_str().is_empty());
        let label = |key: &str| metadata.labels.get(key).map(String::as_str).and_then(non_empty);
        let offering = label(OFFERING_LABEL)
            .or_else(|| label(INSTANCE_TYPE_LABEL))
            .map(OfferingId::new);
        let ready = manifest
            .status
            .conditions
            .iter()
            .find(|condition| condition.type_ == "Ready");
        let readiness = match ready {
            Some(condition) if condition.status == "True" => Readiness::Ready,
            Some(condition) => Readiness::NotReady {
                since: condition.last_transition_time,
            },
            None => Readiness::NotReady {
                since: metadata.creation_timestamp,
            },
        };
        let opt_out = OPT_OUTS.iter().find(|(key, value)| {
            let set = |map: &BTreeMap<String, String>| map.get(*key).is_some_and(|text| text == value);
            set(&metadata.annotations) || (key.starts_with("autoscaler.vpsie.com/") && set(&metadata.labels))
        });
        let opt_out = opt_out.map(|(key, _)| *key);
        let group = machine_group.or_else(|| self.group_of_labels(metadata));
        Node {
            name: self.intern(&metadata.name),
            labels: self.labels(
                metadata
                    .labels
                    .iter()
                    .map(|(key, value)| (key.as_str(), value.as_str())),
            ),
            taints: self.taints(&manifest.spec.taints),
            unschedulable: manifest.spec.unschedulable,
            allocatable: self.resources(&manifest.status.allocatable),
            readiness,
            created_at: metadata.creation_timestamp,
            deleting: metadata.deletion_timestamp.is_some(),
            control_plane: [
                "node-role.kubernetes.io/control-plane",
                "node-role.kubernetes.io/master",
            ]
            .iter()
            .any(|key| metadata.labels.contains_key(*key)),
            opt_out: opt_out.map(|key| self.intern(key)),
            allowed_hours: self.allowed_hours(metadata, &|| format!("Node {}", metadata.name)),
            group,
            machine,
            offering: offering.or(machine_offering),
            volume_limits: Box::default(),
            own: false,
        }
    }

    fn group_of_labels(&mut self, metadata: &ObjectMeta) -> Option<GroupId> {
        let label = |key: &str| metadata.labels.get(key).map(String::as_str);
        if label(MANAGED_LABEL) != Some("true") {
            return None;
        }
        let name = self.intern(label(NODE_GROUP_LABEL)?);
        match label(NODE_GROUP_NAMESPACE_LABEL) {
            Some(namespace) => {
                let namespace = self.intern(namespace);
                self.groups_by_name.get(&(namespace, name)).copied()
            }
            None => {
                let mut same_name = self.groups_by_name.iter().filter(|((_, group), _)| *group == name);
                match (same_name.next(), same_name.next()) {
                    (Some((_, id)), None) => Some(*id),
                    (Some(_), Some(_)) => {
                        self.problem(
                            format!("Node {}", metadata.name),
                            "metadata.labels",
                            format!("{NODE_GROUP_LABEL} names several NodeGroups and {NODE_GROUP_NAMESPACE_LABEL} is missing; the node is taken as unmanaged"),
                        );
                        None
                    }
                    (None, _) => None,
                }
            }
        }
    }

    fn mark_own_node(&mut self, name: &str) {
        let id = self
            .snapshot
            .symbols
            .get(name)
            .and_then(|name| self.nodes_by_name.get(&name));
        if let Some(node) = id.and_then(|id| self.snapshot.nodes.get_mut(id.index())) {
            node.own = true;
        }
    }

    fn budgets(&mut self, budgets: &[&workload::PodDisruptionBudget]) {
        for manifest in sorted(budgets, |budget| &budget.metadata) {
            let fresh = manifest
                .status
                .as_ref()
                .filter(|status| manifest.metadata.generation <= status.observed_generation);
            let symbols = &mut self.snapshot.symbols;
            let selector = manifest
                .spec
                .selector
                .as_ref()
                .map(|selector| read::selector(symbols, selector));
            let budget = Budget {
                namespace: self.intern(&manifest.metadata.namespace),
                name: self.intern(&manifest.metadata.name),
                selector,
                disruptions_allowed: fresh.map_or(0, |status| count(status.disruptions_allowed)),
                always_allow_unhealthy: manifest.spec.unhealthy_pod_eviction_policy == "AlwaysAllow",
            };
            self.snapshot.budgets.push(budget);
        }
    }

    fn pods(&mut self, input: &Input<'_>, priorities: &Priorities<'_>, storage: &Storage<'_>) {
        let local = LocalVolumes::new(&input.volumes, &input.claims);
        for manifest in sorted(&input.pods, |pod| &pod.metadata) {
            let id = PodId::from_index(self.snapshot.pods.len());
            let pod = self.pod(manifest, priorities, &local, storage);
            if let Some(node) = pod.node {
                if let Some(pods) = self.snapshot.pods_by_node.get_mut(node.index()) {
                    pods.push(id);
                }
                // The operator's own pod pins its node, wherever it runs.
                if pod.own
                    && !pod.is_terminal()
                    && let Some(node) = self.snapshot.nodes.get_mut(node.index())
                {
                    node.own = true;
                }
            }
            self.snapshot.pods.push(pod);
        }
    }

    fn pod(
        &mut self,
        manifest: &pod_manifest::Pod,
        priorities: &Priorities<'_>,
        local: &LocalVolumes<'_>,
        storage: &Storage<'_>,
    ) -> Pod {
        let (metadata, spec, status) = (&manifest.metadata, &manifest.spec, &manifest.status);
        let mut class = self.pod_class(metadata, spec, Some(status), priorities);
        class.terminating = metadata.deletion_timestamp.is_some();
        class.volumes = storage.needs(metadata, spec, &mut self.snapshot.symbols);
        let class = self.intern_class(class);
        let condition = |kind: &str| status.conditions.iter().find(move |condition| condition.type_ == kind);
        let unschedulable = condition("PodScheduled")
            .filter(|condition| condition.status == "False" && condition.reason == "Unschedulable")
            .map(|condition| Unschedulable {
                since: condition.last_transition_time,
            });
        let annotation = |key: &str| metadata.annotations.get(key).map(String::as_str);
        let grace = spec.termination_grace_period_seconds.unwrap_or(DEFAULT_GRACE_SECONDS);
        let controller = metadata.controller().map(|owner| Controller {
            kind: self.snapshot.symbols.intern(&owner.kind),
            name: self.snapshot.symbols.intern(&owner.name),
            daemon_set: owner.kind == "DaemonSet" || annotation(DAEMON_SET_POD_ANNOTATION) == Some("true"),
        });
        let node_symbol = self.intern(&spec.node_name);
        let nominated_symbol = self.intern(&status.nominated_node_name);
        Pod {
            namespace: self.intern(&metadata.namespace),
            name: self.intern(&metadata.name),
            class,
            node: self.nodes_by_name.get(&node_symbol).copied(),
            bound: !spec.node_name.is_empty(),
            nominated: self.nodes_by_name.get(&nominated_symbol).copied(),
            has_nomination: !status.nominated_node_name.is_empty(),
            phase: match status.phase.as_str() {
                "Running" => PodPhase::Running,
                "Succeeded" => PodPhase::Succeeded,
                "Failed" => PodPhase::Failed,
                "" | "Pending" => PodPhase::Pending,
                _ => PodPhase::Unknown,
            },
            unschedulable,
            gated: !spec.scheduling_gates.is_empty(),
            ready: condition("Ready").is_some_and(|condition| condition.status == "True"),
            deletion: metadata.deletion_timestamp.map(|at| Deletion {
                at,
                grace: SignedDuration::from_secs(grace.max(0)),
            }),
            started_at: status.start_time,
            created_at: metadata.creation_timestamp,
            controller,
            mirror: annotation(MIRROR_ANNOTATION).is_some(),
            own: metadata
                .labels
                .get("app.kubernetes.io/name")
                .is_some_and(|name| name == "vpsie-autoscaler"),
            safe_to_evict: match annotation(SAFE_TO_EVICT_ANNOTATION) {
                Some("true") => Some(SafeToEvict::Yes),
                Some("false") => Some(SafeToEvict::No),
                Some("on-completion") => Some(SafeToEvict::OnCompletion),
                _ => None,
            },
            do_not_disrupt: annotation(DO_NOT_DISRUPT_ANNOTATION).and_then(|text| match text {
                "true" => Some(DoNotDisrupt::Always),
                other => go_duration(other).map(DoNotDisrupt::For),
            }),
            local_storage: local.of_pod(manifest).map(|volume| self.intern(volume)),
        }
    }

    fn daemon_sets(&mut self, daemon_sets: &[&workload::DaemonSet], priorities: &Priorities<'_>) {
        for manifest in sorted(daemon_sets, |daemon_set| &daemon_set.metadata) {
            if manifest.metadata.deletion_timestamp.is_some() {
                continue;
            }
            let template = &manifest.spec.template;
            let metadata = ObjectMeta {
                namespace: manifest.metadata.namespace.clone(),
                ..template.metadata.clone()
            };
            let mut class = self.pod_class(&metadata, &template.spec, None, priorities);
            class.tolerations = class
                .tolerations
                .iter()
                .copied()
                .chain(self.daemon_tolerations(template.spec.host_network))
                .collect();
            let daemon_set = DaemonSet {
                namespace: self.intern(&manifest.metadata.namespace),
                name: self.intern(&manifest.metadata.name),
                class: self.intern_class(class),
            };
            self.snapshot.daemon_sets.push(daemon_set);
        }
    }

    /// The tolerations that the DaemonSet controller adds to its pods.
    fn daemon_tolerations(&mut self, host_network: bool) -> Vec<Toleration> {
        let node = |name: &str| format!("node.kubernetes.io/{name}");
        let mut wanted = vec![
            (node("not-ready"), Effect::NoExecute),
            (node("unreachable"), Effect::NoExecute),
            (node("disk-pressure"), Effect::NoSchedule),
            (node("memory-pressure"), Effect::NoSchedule),
            (node("pid-pressure"), Effect::NoSchedule),
            (node("unschedulable"), Effect::NoSchedule),
        ];
        if host_network {
            wanted.push((node("network-unavailable"), Effect::NoSchedule));
        }
        let toleration = |(key, effect): (String, Effect)| Toleration {
            key: Some(self.snapshot.symbols.intern(&key)),
            value: None,
            effect: Some(effect),
        };
        wanted.into_iter().map(toleration).collect()
    }

    fn intern_class(&mut self, class: PodClass) -> ClassId {
        if let Some(id) = self.classes.get(&class) {
            return *id;
        }
        let id = ClassId::from_index(self.snapshot.classes.len());
        self.snapshot.classes.push(class.clone());
        self.classes.insert(class, id);
        id
    }

    fn pod_class(
        &mut self,
        metadata: &ObjectMeta,
        spec: &pod_manifest::PodSpec,
        status: Option<&pod_manifest::PodStatus>,
        priorities: &Priorities<'_>,
    ) -> PodClass {
        let pairs = |map: &'_ BTreeMap<String, String>| {
            map.iter()
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect::<Vec<_>>()
        };
        let affinity = spec.affinity.as_ref();
        let of_node = affinity.and_then(|affinity| affinity.node_affinity.as_ref());
        let required =
            of_node.and_then(|affinity| affinity.required_during_scheduling_ignored_during_execution.as_ref());
        let near = affinity.and_then(|affinity| affinity.pod_affinity.as_ref());
        let away = affinity.and_then(|affinity| affinity.pod_anti_affinity.as_ref());
        PodClass {
            namespace: self.intern(&metadata.namespace),
            labels: self.labels(
                pairs(&metadata.labels)
                    .iter()
                    .map(|(key, value)| (key.as_str(), value.as_str())),
            ),
            requests: self.pod_requests(spec, status),
            node_selector: self.labels(
                pairs(&spec.node_selector)
                    .iter()
                    .map(|(key, value)| (key.as_str(), value.as_str())),
            ),
            node_affinity: required.map(|required| read::node_selector(&mut self.snapshot.symbols, required)),
            tolerations: spec
                .tolerations
                .iter()
                .map(|toleration| self.toleration(toleration))
                .collect(),
            priority: priorities.of(spec),
            terminating: false,
            affinity: read::affinity_terms(&mut self.snapshot.symbols, metadata, near),
            anti_affinity: read::affinity_terms(&mut self.snapshot.symbols, metadata, away),
            spread: read::spread_constraints(&mut self.snapshot.symbols, metadata, spec),
            // What is no pod yet is a template, whose pods get their defaults when they are created.
            ports: read::host_ports(&mut self.snapshot.symbols, spec, status.is_none()),
            volumes: None,
        }
    }

    /// `PodRequests` of `k8s.io/component-helpers/resource`: containers and sidecars run together; an init container
    /// runs beside the sidecars that were started before it; pod-level requests replace the sum; overhead comes on top.
    fn pod_requests(&mut self, spec: &pod_manifest::PodSpec, status: Option<&pod_manifest::PodStatus>) -> Resources {
        let statuses = status.map_or(&[][..], |status| status.container_statuses.as_slice());
        let init_statuses = status.map_or(&[][..], |status| status.init_container_statuses.as_slice());
        let mut running = Resources::default();
        for container in &spec.containers {
            running.add(&self.container_requests(container, statuses));
        }
        let mut sidecars = Resources::default();
        let mut starting = Resources::default();
        for container in &spec.init_containers {
            let mut requests = self.container_requests(container, init_statuses);
            if container.restart_policy == "Always" {
                running.add(&requests);
                sidecars.add(&requests);
                requests = sidecars.clone();
            } else {
                requests.add(&sidecars);
            }
            starting.raise_to(&requests);
        }
        running.raise_to(&starting);
        for (name, quantity) in spec.resources.iter().flat_map(effective_requests) {
            // Only these can be requested for the pod as a whole.
            if name == "cpu" || name == "memory" || name.starts_with("hugepages-") {
                let resource = Resource::intern(name, &mut self.snapshot.symbols);
                running.set(resource, amount(resource, quantity));
            }
        }
        let overhead = self.resources(&spec.overhead);
        running.add(&overhead);
        running.pods = 1;
        running
    }

    fn container_requests(&mut self, container: &Container, statuses: &[pod_manifest::ContainerStatus]) -> Resources {
        let mut requests = Resources::default();
        for (name, quantity) in effective_requests(&container.resources) {
            let resource = Resource::intern(name, &mut self.snapshot.symbols);
            requests.set(resource, amount(resource, quantity));
        }
        // While a resize is under way, the larger of what is asked for and what is held counts.
        if let Some(status) = statuses.iter().find(|status| status.name == container.name) {
            let held = status
                .resources
                .as_ref()
                .map(|resources| self.resources(&resources.requests));
            let allocated = self.resources(&status.allocated_resources);
            requests.raise_to(&allocated);
            if let Some(held) = held {
                requests.raise_to(&held);
            }
        }
        requests
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

/// Values of PriorityClasses.
struct Priorities<'a> {
    classes: BTreeMap<&'a str, i32>,
}

impl<'a> Priorities<'a> {
    fn new(classes: &[&'a workload::PriorityClass]) -> Self {
        let system = [
            ("system-cluster-critical", 2_000_000_000),
            ("system-node-critical", 2_000_001_000),
        ];
        let given = classes.iter().map(|class| (class.metadata.name.as_str(), class.value));
        Self {
            classes: system.into_iter().chain(given).collect(),
        }
    }

    fn of(&self, spec: &pod_manifest::PodSpec) -> i32 {
        spec.priority
            .or_else(|| self.classes.get(spec.priority_class_name.as_str()).copied())
            .unwrap_or(0)
    }
}

/// Volumes whose data stays on the node.
struct LocalVolumes<'a> {
    /// Namespace and name of claims that are bound to a volume of type local or hostPath.
    claims: BTreeMap<(&'a str, &'a str), ()>,
}

impl<'a> LocalVolumes<'a> {
    fn new(volumes: &[&'a PersistentVolume], claims: &[&'a PersistentVolumeClaim]) -> Self {
        let local: BTreeMap<&str, ()> = volumes
            .iter()
            .filter(|volume| volume.spec.local.is_some() || volume.spec.host_path.is_some())
            .map(|volume| (volume.metadata.name.as_str(), ()))
            .collect();
        let claims = claims
            .iter()
            .filter(|claim| local.contains_key(claim.spec.volume_name.as_str()))
            .map(|claim| ((claim.metadata.namespace.as_str(), claim.metadata.name.as_str()), ()));
        Self {
            claims: claims.collect(),
        }
    }

    /// The first volume of a pod that ties it to its node and is not listed as safe to lose.
    fn of_pod<'p>(&self, pod: &'p pod_manifest::Pod) -> Option<&'p str> {
        let metadata = &pod.metadata;
        let safe = metadata
            .annotations
            .get(SAFE_LOCAL_VOLUMES_ANNOTATION)
            .map_or("", String::as_str);
        let ties = |volume: &&pod_manifest::Volume| {
            let listed = || safe.split(',').any(|name| name.trim() == volume.name);
            let scratch = volume.host_path.is_some()
                || volume
                    .empty_dir
                    .as_ref()
                    .is_some_and(|empty_dir| empty_dir.medium != "Memory");
            let claim = match (&volume.persistent_volume_claim, &volume.ephemeral) {
                (Some(claim), _) => Some(claim.claim_name.clone()),
                (None, Some(_)) => Some(format!("{}-{}", metadata.name, volume.name)),
                (None, None) => None,
            };
            let local_claim =
                claim.is_some_and(|claim| self.claims.contains_key(&(metadata.namespace.as_str(), claim.as_str())));
            // A persistent volume is never listed: the annotation of the Cluster Autoscaler covers only the other two.
            (scratch && !listed()) || local_claim
        };
        pod.spec.volumes.iter().find(ties).map(|volume| volume.name.as_str())
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

/// Requests, with a limit in the place of a request that is missing, as the API server fills in.
fn effective_requests(resources: &pod_manifest::ResourceRequirements) -> impl Iterator<Item = (&str, Quantity)> {
    let given = resources.requests.iter();
    let from_limits = resources
        .limits
        .iter()
        .filter(|(name, _)| !resources.requests.contains_key(*name));
    given
        .chain(from_limits)
        .map(|(name, quantity)| (name.as_str(), *quantity))
}

/// An amount in the unit of the resource. Below zero counts as nothing: no request gives room.
fn amount(resource: Resource, quantity: Quantity) -> i64 {
    let amount = match resource {
        Resource::Cpu => quantity.milli(),
        _ => quantity.units(),
    };
    amount.max(0)
}

fn budget_size(manifest: &IntOrString) -> Option<BudgetSize> {
    BudgetSize::parse(&manifest.to_string())
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

/// A duration as Go writes it: `1h30m`, `90s`, `1.5h`.
fn go_duration(text: &str) -> Option<SignedDuration> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(SignedDuration::ZERO);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total = SignedDuration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at(digits);
        let unit_end = tail
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_end);
        let nanos_per_unit: i64 = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return None,
        };
        // Quantities read the same decimal numbers, exactly.
        let number: Quantity = Some(number)
            .filter(|number| number.bytes().any(|b| b.is_ascii_digit()))?
            .parse()
            .ok()?;
        let nanos = i64::try_from(i128::from(number.milli()) * i128::from(nanos_per_unit) / 1000).ok()?;
        total = total.checked_add(SignedDuration::from_nanos(nanos))?;
        rest = tail;
    }
    Some(if negative { -total } else { total })
}
