//! NodeGroups, VPSieNodes, settings, offerings and disruption budgets.

use super::{
    DATACENTER_LABEL, MANAGED_LABEL, NODE_GROUP_LABEL, NODE_GROUP_NAMESPACE_LABEL, Reader, ZONE_LABEL, amount, count,
    non_empty, seconds,
};
use crate::{
    constraint::read,
    manifest::{autoscaler as crd, meta::IntOrString, workload},
    provider::{DatacenterId, OfferingId},
    resources::Resource,
    snapshot::{
        Backoff, Budget, BudgetSize, Expander, Headroom, Machine, MachinePhase, NodeGroup, PhaseTimeouts, RecordedMove,
        Removal, ScaleDownPolicy, Settings,
    },
};

impl Reader<'_> {
    /// The settings; defaults without an AutoscalerConfig.
    pub(crate) fn settings(&mut self, config: Option<&crd::AutoscalerConfig>) -> Settings {
        let Some(config) = config else {
            return Settings::default();
        };
        let global = &config.spec.global_settings;
        let mut settings = Settings {
            max_cluster_workers: u32::try_from(global.max_cluster_workers)
                .ok()
                .filter(|limit| 0 < *limit),
            scale_down_unready_enabled: global.scale_down_unready_enabled,
            unready_time: seconds(global.scale_down_unready_time_seconds),
            delay_after_failure: seconds(global.scale_down_delay_after_failure_seconds),
            min_node_age: seconds(global.min_node_age_seconds),
            ok_unready_count: count(global.ok_total_unready_count),
            max_unready_percent: count(global.max_total_unready_percentage),
            ignore_daemon_sets_utilization: global.ignore_daemon_sets_utilization,
            ignore_mirror_pods_utilization: global.ignore_mirror_pods_utilization,
            unschedulable_pod_grace: seconds(global.unschedulable_pod_grace_period_seconds),
            phase_timeouts: PhaseTimeouts {
                provision: seconds(global.phase_timeouts.provision_seconds),
                join: seconds(global.phase_timeouts.join_seconds),
                initialize: seconds(global.phase_timeouts.initialize_seconds),
            },
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
        settings
    }

    pub(crate) fn group(&mut self, manifest: &crd::NodeGroup) -> NodeGroup {
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
            let resource = Resource::intern(name, self.symbols);
            (resource, amount(resource, *quantity))
        });
        let reserved = reserved.collect();
        let allowed_hours = self.allowed_hours(metadata, &object);
        let time_zone = self.time_zone(metadata, &object);
        let opt_out = self.opt_out(metadata, &object);
        let headroom = spec.headroom.as_ref().and_then(|headroom| self.headroom(headroom));
        let backoffs = manifest.status.scale_up_backoffs.iter().filter_map(|backoff| {
            Some(Backoff {
                offering: OfferingId::new(backoff.offering.as_str()),
                until: backoff.until?,
                reason: backoff.reason.clone(),
                message: backoff.message.clone(),
            })
        });
        let down = &spec.scale_down_policy;
        NodeGroup {
            namespace: self.symbols.intern(&metadata.namespace),
            name: self.symbols.intern(&metadata.name),
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
            scale_up_window: seconds(spec.scale_up_policy.stabilization_window_seconds),
            headroom,
            scale_down: ScaleDownPolicy {
                enabled: down.enabled,
                cpu_threshold_percent: count(down.cpu_threshold),
                memory_threshold_percent: count(down.memory_threshold),
                stabilization_window: seconds(down.stabilization_window_seconds),
                cooldown: seconds(down.cooldown_seconds),
                drain_timeout: seconds(down.drain_timeout_seconds),
                drain_budget: down.budgets.drain.as_ref().and_then(budget_size),
                empty_budget: down.budgets.empty.and_then(|empty| u32::try_from(empty).ok()),
                min_node_age: down.min_node_age_seconds.map(seconds),
                unready_time: down.unready_time_seconds.map(seconds),
                delay_after_failure: down.delay_after_failure_seconds.map(seconds),
            },
            opt_out,
            allowed_hours,
            time_zone,
            last_scale_up: manifest.status.last_scale_up_time,
            last_scale_down_failure: manifest.status.last_scale_down_failure_time,
            scale_down_failures: count(manifest.status.scale_down_failures),
            backoffs: backoffs.collect(),
        }
    }

    /// Head-room that asks for anything. Of several kinds the first counts: the API server stores only one.
    fn headroom(&mut self, manifest: &crd::Headroom) -> Option<Headroom> {
        let headroom = match (manifest.nodes, manifest.percent, &manifest.pods) {
            (Some(nodes), ..) => Headroom::Nodes(count(nodes)),
            (None, Some(percent), _) => Headroom::Percent(count(percent)),
            (None, None, Some(pods)) => {
                let mut requests = self.resources(&pods.resources.requests);
                requests.pods = 1;
                Headroom::Pods {
                    count: count(pods.replicas),
                    requests,
                }
            }
            (None, None, None) => return None,
        };
        let asks = match &headroom {
            Headroom::Nodes(count) | Headroom::Percent(count) | Headroom::Pods { count, .. } => 0 < *count,
        };
        asks.then_some(headroom)
    }

    /// A VPSieNode without its links to groups and nodes, and the name of the node that it is.
    pub(crate) fn machine(&mut self, manifest: &crd::VPSieNode) -> (Machine, String) {
        let (metadata, spec, status) = (&manifest.metadata, &manifest.spec, &manifest.status);
        // Templates carry the offering as a label.
        self.intern(&spec.instance_type);
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
            started_at: removal.started_at,
            failed_at: removal.failed_at,
            failures: count(removal.failures),
            moves: removal.moves.iter().map(recorded_move).collect(),
        });
        let opt_out = self.opt_out(metadata, &|| format!("VPSieNode {}", metadata.full_name()));
        let machine = Machine {
            namespace: self.intern(&metadata.namespace),
            name: self.intern(&metadata.name),
            group: None,
            offering: OfferingId::new(spec.instance_type.as_str()),
            datacenter: DatacenterId::new(spec.datacenter_id.as_str()),
            phase,
            phase_since: status.phase_since.or(metadata.creation_timestamp),
            deleting: metadata.deletion_timestamp.is_some(),
            opt_out,
            node: None,
            unneeded_since: status.unneeded_since,
            removal,
        };
        // The host name of a VM is the name of its VPSieNode until status or spec say otherwise.
        let node_name = [&status.node_name, &spec.node_name, &metadata.name]
            .into_iter()
            .find(|name| !name.is_empty());
        (machine, node_name.cloned().unwrap_or_default())
    }

    pub(crate) fn budget(&mut self, manifest: &workload::PodDisruptionBudget) -> Budget {
        let fresh = manifest
            .status
            .as_ref()
            .filter(|status| manifest.metadata.generation <= status.observed_generation);
        let selector = manifest.spec.selector.as_ref();
        Budget {
            namespace: self.intern(&manifest.metadata.namespace),
            name: self.intern(&manifest.metadata.name),
            selector: selector.map(|selector| read::selector(self.symbols, selector)),
            disruptions_allowed: fresh.map_or(0, |status| count(status.disruptions_allowed)),
            is_current: fresh.is_some(),
            always_allow_unhealthy: manifest.spec.unhealthy_pod_eviction_policy == "AlwaysAllow",
        }
    }
}

fn recorded_move(manifest: &crd::PodMove) -> RecordedMove {
    RecordedMove {
        pod: manifest.pod.clone(),
        to: manifest.to.clone(),
    }
}

pub(super) fn budget_size(manifest: &IntOrString) -> Option<BudgetSize> {
    BudgetSize::parse(&manifest.to_string())
}
