//! NodeGroups, VPSieNodes, settings, offerings and disruption budgets.

use super::{
    Builder, DATACENTER_LABEL, MANAGED_LABEL, NODE_GROUP_LABEL, NODE_GROUP_NAMESPACE_LABEL, ZONE_LABEL, amount, count,
    non_empty, seconds, sorted,
};
use crate::{
    constraint::read,
    manifest::{autoscaler as crd, meta::IntOrString, workload},
    provider::{DatacenterId, Offering, OfferingId},
    resources::Resource,
    snapshot::{
        Backoff, Budget, BudgetSize, Expander, GroupId, Machine, MachineId, MachinePhase, NodeGroup, Removal,
        ScaleDownPolicy, Settings,
    },
};

impl Builder {
    pub(super) fn settings(&mut self, config: Option<&crd::AutoscalerConfig>) {
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

    pub(super) fn offerings(&mut self, offerings: &[Offering]) {
        let mut offerings = offerings.to_vec();
        offerings.sort_by(|a, b| (&a.id, &a.datacenter).cmp(&(&b.id, &b.datacenter)));
        self.snapshot.offerings = offerings;
    }

    pub(super) fn groups(&mut self, groups: &[&crd::NodeGroup]) {
        for manifest in sorted(groups, |group| &group.metadata) {
            let group = self.group(manifest);
            let id = GroupId::from_index(self.snapshot.groups.len());
            self.groups_by_name.insert((group.namespace, group.name), id);
            self.snapshot.groups.push(group);
        }
    }

    pub(super) fn group(&mut self, manifest: &crd::NodeGroup) -> NodeGroup {
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

    pub(super) fn machines(&mut self, machines: &[&crd::VPSieNode]) {
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

    pub(super) fn budgets(&mut self, budgets: &[&workload::PodDisruptionBudget]) {
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

    pub(super) fn namespaces(&mut self, namespaces: &[&workload::Namespace]) {
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
}

pub(super) fn budget_size(manifest: &IntOrString) -> Option<BudgetSize> {
    BudgetSize::parse(&manifest.to_string())
}
