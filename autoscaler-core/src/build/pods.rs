//! Pods and DaemonSets: what the scheduler looks at, and what the drain rules look at.

use std::collections::BTreeMap;

use jiff::SignedDuration;

use super::{
    DAEMON_SET_POD_ANNOTATION, DEFAULT_GRACE_SECONDS, DO_NOT_DISRUPT_ANNOTATION, POD_GROUP_KEY, Reader,
    SAFE_LOCAL_VOLUMES_ANNOTATION, SAFE_TO_EVICT_ANNOTATION, SCHEDULING_POD_GROUP_LABEL, amount, is_mirror,
};
use crate::{
    constraint::{claims::claim_name, read, storage::Storage},
    manifest::{
        meta::{ObjectMeta, ResourceList},
        pod as pod_manifest,
        pod::{Container, Volume},
        workload,
    },
    quantity::Quantity,
    resources::{Resource, Resources},
    snapshot::{ClassId, Controller, Deletion, DoNotDisrupt, Pod, PodClass, PodPhase, SafeToEvict, Uid, Unschedulable},
    symbol::Symbol,
    taint::{Effect, Toleration},
};

/// Values of PriorityClasses.
#[derive(Clone, Debug)]
pub(crate) struct Priorities {
    classes: BTreeMap<String, i32>,
}

/// What a pod has in common with others of its template, beyond its class: all that is read of its manifest but its own
/// name, place and state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Traits {
    pub(crate) own: bool,
    namespace: Symbol,
    controller: Option<Controller>,
    local_storage: Option<Symbol>,
    pod_group: Option<Symbol>,
    do_not_disrupt: Option<DoNotDisrupt>,
    safe_to_evict: Option<SafeToEvict>,
    gated: bool,
    mirror: bool,
    daemon_set: bool,
}

impl Default for Priorities {
    /// The classes that every cluster has.
    fn default() -> Self {
        Self::new([])
    }
}

impl Priorities {
    pub(crate) fn new<'c>(given: impl IntoIterator<Item = (&'c str, i32)>) -> Self {
        let system = [
            ("system-cluster-critical", 2_000_000_000),
            ("system-node-critical", 2_000_001_000),
        ];
        let classes = system.into_iter().chain(given);
        Self {
            classes: classes.map(|(name, value)| (name.to_owned(), value)).collect(),
        }
    }

    /// The priority of a pod, by its number or else by the name of its class.
    pub(crate) fn of(&self, priority: Option<i32>, class_name: &str) -> i32 {
        priority.or_else(|| self.classes.get(class_name).copied()).unwrap_or(0)
    }
}

impl Reader<'_> {
    /// What the scheduler looks at of a pod.
    pub(crate) fn class_of_pod(
        &mut self,
        manifest: &pod_manifest::Pod,
        priorities: &Priorities,
        storage: &Storage,
    ) -> PodClass {
        let (metadata, spec, status) = (&manifest.metadata, &manifest.spec, &manifest.status);
        let mut class = self.pod_class(metadata, spec, Some(status), priorities);
        class.terminating = metadata.deletion_timestamp.is_some();
        class.volumes = storage.needs(metadata, &spec.volumes, self.symbols);
        class.devices = spec.resource_claims.first().map(|claim| self.intern(&claim.name));
        class
    }

    /// What a pod has in common with others of its template, beyond its class.
    pub(crate) fn traits(&mut self, manifest: &pod_manifest::Pod, storage: &Storage) -> Traits {
        let (metadata, spec) = (&manifest.metadata, &manifest.spec);
        let annotation = |key: &str| metadata.annotations.get(key).map(String::as_str);
        Traits {
            namespace: self.intern(&metadata.namespace),
            controller: metadata.controller().map(|owner| Controller {
                kind: self.symbols.intern(&owner.kind),
                name: self.symbols.intern(&owner.name),
            }),
            daemon_set: metadata.controller().is_some_and(|owner| owner.kind == "DaemonSet")
                || annotation(DAEMON_SET_POD_ANNOTATION) == Some("true"),
            gated: !spec.scheduling_gates.is_empty(),
            mirror: is_mirror(metadata),
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
                // Only a duration that can pass protects, as Karpenter has it.
                other => go_duration(other)
                    .filter(SignedDuration::is_positive)
                    .map(DoNotDisrupt::For),
            }),
            local_storage: local_storage(storage, metadata, &spec.volumes).map(|volume| self.intern(volume)),
            pod_group: pod_group(metadata).map(|group| self.intern(group)),
        }
    }

    /// What a pod of a DaemonSet looks like to the scheduler, or `None` when there is going to be none on a new node: the
    /// DaemonSet is being deleted, or names the node that it is for.
    pub(crate) fn daemon_set(&mut self, manifest: &workload::DaemonSet, priorities: &Priorities) -> Option<PodClass> {
        let template = &manifest.spec.template;
        if manifest.metadata.deletion_timestamp.is_some() || !template.spec.node_name.is_empty() {
            return None;
        }
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
        Some(class)
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
            key: Some(self.symbols.intern(&key)),
            value: None,
            effect: Some(effect),
        };
        wanted.into_iter().map(toleration).collect()
    }

    pub(super) fn pod_class(
        &mut self,
        metadata: &ObjectMeta,
        spec: &pod_manifest::PodSpec,
        status: Option<&pod_manifest::PodStatus>,
        priorities: &Priorities,
    ) -> PodClass {
        let affinity = spec.affinity.as_ref();
        let of_node = affinity.and_then(|affinity| affinity.node_affinity.as_ref());
        let required =
            of_node.and_then(|affinity| affinity.required_during_scheduling_ignored_during_execution.as_ref());
        let near = affinity.and_then(|affinity| affinity.pod_affinity.as_ref());
        let away = affinity.and_then(|affinity| affinity.pod_anti_affinity.as_ref());
        PodClass {
            namespace: self.intern(&metadata.namespace),
            labels: self.labels_of(&metadata.labels),
            requests: self.pod_requests(spec, status),
            node_selector: self.labels_of(&spec.node_selector),
            node_affinity: required.map(|required| read::node_selector(self.symbols, required)),
            tolerations: spec
                .tolerations
                .iter()
                .filter_map(|toleration| self.toleration(toleration))
                .collect(),
            priority: priorities.of(spec.priority, &spec.priority_class_name),
            terminating: false,
            affinity: read::affinity_terms(self.symbols, metadata, near),
            anti_affinity: read::affinity_terms(self.symbols, metadata, away),
            spread: read::spread_constraints(self.symbols, metadata, spec),
            // What is no pod yet is a template, whose pods get their defaults when they are created.
            ports: read::host_ports(self.symbols, spec, status.is_none()),
            volumes: None,
            // Pods of a DaemonSet take room on a new node whatever devices they look after.
            devices: None,
        }
    }

    /// `PodRequests` of `k8s.io/component-helpers/resource`: containers and sidecars run together; an init container
    /// runs beside the sidecars that were started before it; pod-level requests replace the sum; overhead comes on top.
    pub(super) fn pod_requests(
        &mut self,
        spec: &pod_manifest::PodSpec,
        status: Option<&pod_manifest::PodStatus>,
    ) -> Resources {
        let may_grow = status.is_none_or(|status| !is_resize_infeasible(status));
        let statuses = status.map_or(&[][..], |status| &status.container_statuses);
        let held = HeldByContainers::new(statuses, may_grow);
        let mut running = Resources::default();
        for container in &spec.containers {
            running.add(&self.effective(&container.resources, held.by(container)));
        }
        let statuses = status.map_or(&[][..], |status| &status.init_container_statuses);
        let held = HeldByContainers::new(statuses, may_grow);
        let mut sidecars = Resources::default();
        let mut starting = Resources::default();
        for container in &spec.init_containers {
            if container.restart_policy == "Always" {
                let requests = self.effective(&container.resources, held.by(container));
                running.add(&requests);
                sidecars.add(&requests);
                starting.raise_to(&sidecars);
            } else {
                let mut requests = self.effective(&container.resources, None);
                requests.add(&sidecars);
                starting.raise_to(&requests);
            }
        }
        running.raise_to(&starting);
        if let Some(of_pod) = &spec.resources {
            let requests = self.effective(of_pod, status.and_then(|status| Held::by_pod(status, may_grow)));
            for (name, _) in effective_requests(of_pod) {
                // Only these can be requested for the pod as a whole.
                if name == "cpu" || name == "memory" || name.starts_with("hugepages-") {
                    let resource = Resource::intern(name, self.symbols);
                    running.set(resource, requests.get(resource));
                }
            }
        }
        let overhead = self.resources(&spec.overhead);
        running.add(&overhead);
        running.pods = 1;
        running
    }

    /// What counts of a container or a pod: what it requests and, while a resize in place is under way, what it holds if
    /// that is more. A resize that the node cannot do does not count.
    fn effective(&mut self, asked: &pod_manifest::ResourceRequirements, held: Option<Held<'_>>) -> Resources {
        let mut requests = Resources::default();
        if held.as_ref().is_none_or(|held| held.may_grow) {
            for (name, quantity) in effective_requests(asked) {
                let resource = Resource::intern(name, self.symbols);
                requests.set(resource, amount(resource, quantity));
            }
        }
        if let Some(held) = held {
            requests.raise_to(&self.resources(&held.actuated.requests));
            requests.raise_to(&self.resources(held.allocated));
        }
        requests
    }
}

impl Traits {
    /// The pod of this manifest, which has these traits. What depends on which nodes there are is not set yet.
    pub(crate) fn pod(&self, manifest: &pod_manifest::Pod, class: ClassId) -> Pod {
        let (metadata, spec, status) = (&manifest.metadata, &manifest.spec, &manifest.status);
        let condition = |kind: &str| status.conditions.iter().find(move |condition| condition.type_ == kind);
        let unschedulable = condition("PodScheduled")
            .filter(|condition| condition.status == "False" && condition.reason == "Unschedulable")
            .map(|condition| Unschedulable {
                since: condition.last_transition_time,
            });
        let grace = spec.termination_grace_period_seconds.unwrap_or(DEFAULT_GRACE_SECONDS);
        Pod {
            name: metadata.name.as_str().into(),
            uid: Uid::new(&metadata.uid),
            resource_version: metadata.resource_version.parse().unwrap_or(0),
            namespace: self.namespace,
            class,
            node: None,
            bound: !spec.node_name.is_empty(),
            nominated: None,
            has_nomination: !status.nominated_node_name.is_empty(),
            phase: match status.phase.as_str() {
                "Running" => PodPhase::Running,
                "Succeeded" => PodPhase::Succeeded,
                "Failed" => PodPhase::Failed,
                "" | "Pending" => PodPhase::Pending,
                _ => PodPhase::Unknown,
            },
            unschedulable,
            gated: self.gated,
            ready: condition("Ready").is_some_and(|condition| condition.status == "True"),
            deletion: metadata.deletion_timestamp.map(|at| {
                let grace = SignedDuration::from_secs(grace.max(0));
                Box::new(Deletion { at, grace })
            }),
            started: status.start_time.into(),
            created: metadata.creation_timestamp.into(),
            controller: self.controller,
            daemon_set: self.daemon_set,
            mirror: self.mirror,
            own: self.own,
            safe_to_evict: self.safe_to_evict,
            do_not_disrupt: self.do_not_disrupt.map(Box::new),
            local_storage: self.local_storage,
            pod_group: self.pod_group,
        }
    }
}

/// What the node has set aside for a container or a pod, as the kubelet reports it.
struct Held<'a> {
    actuated: &'a pod_manifest::ResourceRequirements,
    allocated: &'a ResourceList,
    /// Whether what the pod asks for can still come true: false for a resize that is infeasible.
    may_grow: bool,
}

/// What containers hold.
struct HeldByContainers<'a> {
    /// By name; of two of one name the first counts.
    statuses: Vec<&'a pod_manifest::ContainerStatus>,
    may_grow: bool,
}

impl<'a> HeldByContainers<'a> {
    fn new(statuses: &'a [pod_manifest::ContainerStatus], may_grow: bool) -> Self {
        let mut statuses: Vec<_> = statuses.iter().collect();
        statuses.sort_by_key(|status| &status.name);
        Self { statuses, may_grow }
    }

    fn by(&self, container: &Container) -> Option<Held<'a>> {
        let first = self.statuses.partition_point(|status| status.name < container.name);
        let of_container = self
            .statuses
            .get(first)
            .filter(|status| status.name == container.name)?;
        Some(Held {
            actuated: of_container.resources.as_ref()?,
            allocated: &of_container.allocated_resources,
            may_grow: self.may_grow,
        })
    }
}

impl<'a> Held<'a> {
    fn by_pod(status: &'a pod_manifest::PodStatus, may_grow: bool) -> Option<Self> {
        Some(Self {
            actuated: status.resources.as_ref()?,
            allocated: &status.allocated_resources,
            may_grow,
        })
    }
}

pub(super) fn is_resize_infeasible(status: &pod_manifest::PodStatus) -> bool {
    let pending = status
        .conditions
        .iter()
        .find(|condition| condition.type_ == "PodResizePending");
    pending.is_some_and(|condition| condition.reason == "Infeasible")
}

/// The pod group of a pod: our label, else our annotation, else the label of the co-scheduling plugin. An empty name is
/// none.
fn pod_group(metadata: &ObjectMeta) -> Option<&str> {
    let ours = [&metadata.labels, &metadata.annotations].map(|map| map.get(POD_GROUP_KEY));
    let found = ours
        .into_iter()
        .chain([metadata.labels.get(SCHEDULING_POD_GROUP_LABEL)]);
    found.flatten().map(String::as_str).find(|name| !name.is_empty())
}

/// The first volume of a pod that ties it to its node and is not listed as safe to lose.
pub(crate) fn local_storage<'p>(storage: &Storage, metadata: &ObjectMeta, volumes: &'p [Volume]) -> Option<&'p str> {
    let safe = metadata
        .annotations
        .get(SAFE_LOCAL_VOLUMES_ANNOTATION)
        .map_or("", String::as_str);
    let ties = |volume: &&Volume| {
        let listed = || safe.split(',').any(|name| name.trim() == volume.name);
        let scratch = volume.host_path.is_some()
            || volume
                .empty_dir
                .as_ref()
                .is_some_and(|empty_dir| empty_dir.medium != "Memory");
        let is_local = |claim: &str| storage.is_local(&metadata.namespace, claim);
        // A persistent volume is never listed: the annotation of the Cluster Autoscaler covers only the other two.
        (scratch && !listed()) || claim_name(metadata, volume).is_some_and(|claim| is_local(&claim))
    };
    volumes.iter().find(ties).map(|volume| volume.name.as_str())
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
