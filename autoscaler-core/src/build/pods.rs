//! Pods and DaemonSets: what the scheduler looks at, and what the drain rules look at.

use std::collections::BTreeMap;

use jiff::SignedDuration;

use super::{
    Builder, DAEMON_SET_POD_ANNOTATION, DEFAULT_GRACE_SECONDS, DO_NOT_DISRUPT_ANNOTATION, Input, MIRROR_ANNOTATION,
    SAFE_LOCAL_VOLUMES_ANNOTATION, SAFE_TO_EVICT_ANNOTATION, amount, sorted,
};
use crate::{
    constraint::{claims::Storage, read},
    manifest::{
        meta::ObjectMeta,
        pod as pod_manifest,
        pod::Container,
        storage::{PersistentVolume, PersistentVolumeClaim},
        workload,
    },
    quantity::Quantity,
    resources::{Resource, Resources},
    snapshot::{
        ClassId, Controller, DaemonSet, Deletion, DoNotDisrupt, Pod, PodClass, PodId, PodPhase, SafeToEvict,
        Unschedulable,
    },
    taint::{Effect, Toleration},
};

/// Values of PriorityClasses.
pub(super) struct Priorities<'a> {
    classes: BTreeMap<&'a str, i32>,
}

impl<'a> Priorities<'a> {
    pub(super) fn new(classes: &[&'a workload::PriorityClass]) -> Self {
        let system = [
            ("system-cluster-critical", 2_000_000_000),
            ("system-node-critical", 2_000_001_000),
        ];
        let given = classes.iter().map(|class| (class.metadata.name.as_str(), class.value));
        Self {
            classes: system.into_iter().chain(given).collect(),
        }
    }

    pub(super) fn of(&self, spec: &pod_manifest::PodSpec) -> i32 {
        spec.priority
            .or_else(|| self.classes.get(spec.priority_class_name.as_str()).copied())
            .unwrap_or(0)
    }
}

impl Builder {
    pub(super) fn pods(&mut self, input: &Input<'_>, priorities: &Priorities<'_>, storage: &Storage<'_>) {
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

    pub(super) fn pod(
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

    pub(super) fn daemon_sets(&mut self, daemon_sets: &[&workload::DaemonSet], priorities: &Priorities<'_>) {
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
    pub(super) fn daemon_tolerations(&mut self, host_network: bool) -> Vec<Toleration> {
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

    pub(super) fn intern_class(&mut self, class: PodClass) -> ClassId {
        if let Some(id) = self.classes.get(&class) {
            return *id;
        }
        let id = ClassId::from_index(self.snapshot.classes.len());
        self.snapshot.classes.push(class.clone());
        self.classes.insert(class, id);
        id
    }

    pub(super) fn pod_class(
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
    pub(super) fn pod_requests(
        &mut self,
        spec: &pod_manifest::PodSpec,
        status: Option<&pod_manifest::PodStatus>,
    ) -> Resources {
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

    pub(super) fn container_requests(
        &mut self,
        container: &Container,
        statuses: &[pod_manifest::ContainerStatus],
    ) -> Resources {
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
}

/// Volumes whose data stays on the node.
pub(super) struct LocalVolumes<'a> {
    /// Namespace and name of claims that are bound to a volume of type local or hostPath.
    claims: BTreeMap<(&'a str, &'a str), ()>,
}

impl<'a> LocalVolumes<'a> {
    pub(super) fn new(volumes: &[&'a PersistentVolume], claims: &[&'a PersistentVolumeClaim]) -> Self {
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
    pub(super) fn of_pod<'p>(&self, pod: &'p pod_manifest::Pod) -> Option<&'p str> {
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

/// Requests, with a limit in the place of a request that is missing, as the API server fills in.
pub(super) fn effective_requests(
    resources: &pod_manifest::ResourceRequirements,
) -> impl Iterator<Item = (&str, Quantity)> {
    let given = resources.requests.iter();
    let from_limits = resources
        .limits
        .iter()
        .filter(|(name, _)| !resources.requests.contains_key(*name));
    given
        .chain(from_limits)
        .map(|(name, quantity)| (name.as_str(), *quantity))
}

/// A duration as Go writes it: `1h30m`, `90s`, `1.5h`.
pub(super) fn go_duration(text: &str) -> Option<SignedDuration> {
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
