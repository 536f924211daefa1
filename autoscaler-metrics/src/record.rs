//! One function per thing that happens. Nothing here decides or keeps time; the caller measures with its own clock.
//!
//! All functions may be called from any thread, at any rate. Without a recorder they do nothing.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use metrics::{Label, counter, gauge, histogram};

use crate::names::{self, Metric};

/// A node group, as labels name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NodeGroup<'a> {
    /// Its namespace.
    pub namespace: &'a str,
    /// Its name.
    pub name: &'a str,
}

/// How large a node group is, in nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NodeGroupSize {
    /// Nodes that it is to have: existing and coming, less those being removed.
    pub desired: u32,
    /// Nodes that it has, ready or not, leaving ones too.
    pub current: u32,
    /// Nodes that are Ready.
    pub ready: u32,
    /// Its lower limit.
    pub min: u32,
    /// Its upper limit.
    pub max: u32,
}

/// The node groups that exist. It remembers those that it has seen, so that the series of one that is gone disappear.
#[derive(Debug, Default)]
pub struct NodeGroups {
    seen: BTreeSet<(String, String)>,
}

/// A gauge with one series per reason. It remembers the reasons that it has seen, so that one that no longer occurs goes
/// to zero rather than staying at its last value.
#[derive(Debug)]
pub struct ByReason {
    metric: Metric,
    seen: BTreeSet<&'static str>,
}

/// One request to the VPSie API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ApiRequest {
    /// What was asked for, such as `create_vm`: an operation, never a path with ids in it.
    pub method: &'static str,
    /// The HTTP status; `None` when no answer came.
    pub status: Option<u16>,
    /// The kind of error; `None` when the request succeeded. The reason of a provider error of `autoscaler-core`.
    pub error_type: Option<&'static str>,
    /// Time until the answer was read.
    pub duration: Duration,
}

macro_rules! label_values {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)*
        }

        impl $name {
            /// Every value.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The value of the label.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)*
                }
            }
        }
    };
}

label_values! {
    /// How a pass of the planning loop ended.
    LoopResult {
        /// The plan was carried out, or there was nothing to do.
        Completed = "Completed",
        /// There was no snapshot, or the plan could not be carried out.
        Failed = "Failed",
        /// The plan broke an invariant and was not carried out.
        Rejected = "Rejected",
    }
}

label_values! {
    /// Whether a removal moved pods.
    RemovalKind {
        /// No pod had to move.
        Empty = "Empty",
        /// Pods were evicted.
        Drain = "Drain",
    }
}

label_values! {
    /// How a drain ended.
    DrainResult {
        /// No pod is left that has to move.
        Success = "success",
        /// The deadline passed first.
        Timeout = "timeout",
        /// It could not go on.
        Error = "error",
    }
}

label_values! {
    /// How an eviction call ended.
    EvictionResult {
        /// The API server took it.
        Evicted = "Evicted",
        /// A PodDisruptionBudget does not allow it now.
        Blocked = "Blocked",
        /// Any other error.
        Failed = "Failed",
    }
}

label_values! {
    /// How a reading of `metrics.k8s.io` ended.
    NodeMetricsReading {
        /// The API answered.
        Completed = "Completed",
        /// The API is not served.
        Missing = "Missing",
        /// There was no answer, or none that can be used.
        Failed = "Failed",
    }
}

// === The planning loop ===

/// A pass of the planning loop ended, from the snapshot to the end of the execution.
pub fn planning_loop(result: LoopResult, duration: Duration) {
    counter!(names::PLANNING_LOOPS_TOTAL.name, "result" => result.as_str()).increment(1);
    histogram!(names::PLANNING_LOOP_DURATION_SECONDS.name).record(duration);
}

/// A plan was computed.
pub fn plan_duration(duration: Duration) {
    histogram!(names::PLAN_DURATION_SECONDS.name).record(duration);
}

/// A plan broke an invariant.
pub fn invariant_violation(invariant: &'static str) {
    counter!(names::INVARIANT_VIOLATIONS_TOTAL.name, "invariant" => invariant).increment(1);
}

/// So many pods ask for capacity.
pub fn pending_pods(pods: usize) {
    gauge!(names::PENDING_PODS_CURRENT.name).set(value(pods));
}

/// So many nodes are kept by nothing but time.
pub fn unneeded_nodes(nodes: usize) {
    gauge!(names::UNNEEDED_NODES.name).set(value(nodes));
}

/// The label value for why a pod has no place.
///
/// Reasons are few, but for `Insufficient` followed by the name of an extended resource, which users choose: all of
/// these become `InsufficientExtendedResource`. A reason that this function does not know becomes `Other`.
#[must_use]
pub fn unschedulable_reason(reason: &str) -> &'static str {
    const KNOWN: &[&str] = &[
        // Of node groups
        "NotManaged",
        "GroupDeleting",
        "ScaleUpDisabled",
        "AtMaxNodes",
        "AtClusterLimit",
        "BackedOff",
        "OfferingUnavailable",
        "InsufficientCpu",
        "InsufficientMemory",
        "InsufficientEphemeralStorage",
        "InsufficientPods",
        // Of kube-scheduler plugins
        "NodeUnschedulable",
        "NodeName",
        "TaintToleration",
        "NodeAffinity",
        "NodePorts",
        "NodeResourcesFit",
        "VolumeRestrictions",
        "NodeVolumeLimits",
        "VolumeBinding",
        "VolumeZone",
        "PodTopologySpread",
        "InterPodAffinity",
        "DynamicResources",
        // Of nodes
        "NodeNotReady",
    ];
    match KNOWN.iter().find(|known| **known == reason) {
        Some(known) => known,
        None if reason.starts_with("Insufficient") => "InsufficientExtendedResource",
        None => "Other",
    }
}

// === Node groups ===

/// A node group exists and is this large. Its counters start at zero with the first call.
pub fn nodegroup(group: NodeGroup<'_>, size: NodeGroupSize) {
    set_size(
        group,
        [size.desired, size.current, size.ready, size.min, size.max].map(f64::from),
    );
    // From nothing to 1 is no increase to Prometheus; from 0 to 1 is.
    scale_up(group, 0);
    for kind in RemovalKind::ALL {
        scale_down(group, *kind, 0);
    }
}

/// A node group does not exist any more: all of its series disappear from what
/// [`Exporter::render`](crate::Exporter::render) returns, until [`nodegroup`] is called for it again.
///
/// The metrics facade has no way to delete. The mark that the exporter looks for is a size that is not a number, which
/// other exporters show as what it is: no value.
pub fn forget_nodegroup(group: NodeGroup<'_>) {
    set_size(group, [f64::NAN; 5]);
}

/// How many VPSieNodes of the node group are in each phase. Phases that are not named have none.
pub fn vpsienodes(group: NodeGroup<'_>, phases: impl IntoIterator<Item = (&'static str, usize)>) {
    let mut counts: BTreeMap<_, _> = names::PHASES.iter().map(|phase| (*phase, 0)).collect();
    counts.extend(phases);
    for (phase, count) in counts {
        gauge!(names::VPSIENODE_PHASE.name, labels(group, Some(("phase", phase)))).set(value(count));
    }
}

// === Scaling ===

/// So many nodes of the group were asked for.
pub fn scale_up(group: NodeGroup<'_>, nodes: u32) {
    counter!(names::SCALE_UP_TOTAL.name, labels(group, None)).increment(nodes.into());
}

/// A node that was asked for did not come.
pub fn scale_up_error(group: NodeGroup<'_>, error_type: &'static str) {
    counter!(
        names::SCALE_UP_ERRORS_TOTAL.name,
        labels(group, Some(("error_type", error_type)))
    )
    .increment(1);
}

/// So many nodes of the group were removed; VM and Node are gone.
pub fn scale_down(group: NodeGroup<'_>, kind: RemovalKind, nodes: u32) {
    counter!(
        names::SCALE_DOWN_TOTAL.name,
        labels(group, Some(("kind", kind.as_str())))
    )
    .increment(nodes.into());
}

/// A removal failed and was undone.
pub fn scale_down_error(group: NodeGroup<'_>, error_type: &'static str) {
    counter!(
        names::SCALE_DOWN_ERRORS_TOTAL.name,
        labels(group, Some(("error_type", error_type)))
    )
    .increment(1);
}

/// A node became Ready, this long after its VPSieNode was recorded.
pub fn node_provisioning_duration(group: NodeGroup<'_>, duration: Duration) {
    histogram!(names::NODE_PROVISIONING_DURATION_SECONDS.name, labels(group, None)).record(duration);
}

/// VM and Node are gone, this long after the removal began.
pub fn node_termination_duration(group: NodeGroup<'_>, duration: Duration) {
    histogram!(names::NODE_TERMINATION_DURATION_SECONDS.name, labels(group, None)).record(duration);
}

/// A drain ended, this long after the cordon, with so many pods evicted.
pub fn node_drain(group: NodeGroup<'_>, result: DrainResult, duration: Duration, evicted: usize) {
    histogram!(
        names::NODE_DRAIN_DURATION_SECONDS.name,
        labels(group, Some(("result", result.as_str())))
    )
    .record(duration);
    histogram!(names::NODE_DRAIN_PODS_EVICTED.name, labels(group, None)).record(value(evicted));
}

/// An eviction call was answered.
pub fn pod_eviction(result: EvictionResult) {
    counter!(names::POD_EVICTIONS_TOTAL.name, "result" => result.as_str()).increment(1);
}

/// A failed VPSieNode was collected after its time to live.
pub fn vpsienode_ttl_deletion(group: NodeGroup<'_>) {
    counter!(names::VPSIENODE_TTL_DELETIONS_TOTAL.name, labels(group, None)).increment(1);
}

// === The VPSie API ===

/// A request to the VPSie API ended, one way or the other. A request that is repeated counts each time.
pub fn vpsie_api_request(request: ApiRequest) {
    let ApiRequest {
        method,
        status,
        error_type,
        duration,
    } = request;
    let status_label = status.map_or_else(|| "none".to_owned(), |status| status.to_string());
    counter!(names::VPSIE_API_REQUESTS_TOTAL.name, "method" => method, "status" => status_label).increment(1);
    histogram!(names::VPSIE_API_REQUEST_DURATION_SECONDS.name, "method" => method).record(duration);
    if let Some(error_type) = error_type {
        counter!(names::VPSIE_API_ERRORS_TOTAL.name, "method" => method, "error_type" => error_type).increment(1);
    }
    if status == Some(429) || error_type == Some("RateLimited") {
        counter!(names::VPSIE_API_RATE_LIMITED_TOTAL.name, "method" => method).increment(1);
    }
}

/// The provider listed its VMs, or did not.
pub fn provider_healthy(healthy: bool) {
    gauge!(names::PROVIDER_HEALTHY.name).set(f64::from(u8::from(healthy)));
}

// === The process ===

/// A watch of objects of this kind failed, and is attempted again.
pub fn watch_error(kind: &'static str) {
    counter!(names::WATCH_ERRORS_TOTAL.name, "kind" => kind).increment(1);
}

/// An object of this kind could not be understood, and was left out.
pub fn invalid_object(kind: &'static str) {
    counter!(names::INVALID_OBJECTS_TOTAL.name, "kind" => kind).increment(1);
}

/// `metrics.k8s.io` was read, after which what nodes are measured to use counts beside requests, or does not.
pub fn node_metrics_reading(result: NodeMetricsReading, served: bool) {
    counter!(names::NODE_METRICS_READINGS_TOTAL.name, "result" => result.as_str()).increment(1);
    gauge!(names::NODE_METRICS_SERVED.name).set(f64::from(u8::from(served)));
}

/// This replica holds the lease, or does not.
pub fn leader(leader: bool) {
    gauge!(names::LEADER.name).set(f64::from(u8::from(leader)));
}

/// This version runs.
pub fn build_info(version: &'static str) {
    gauge!(names::BUILD_INFO.name, "version" => version).set(1.0);
}

// === impl NodeGroup ===

impl<'a> NodeGroup<'a> {
    /// The node group of this namespace and name.
    #[must_use]
    pub const fn new(namespace: &'a str, name: &'a str) -> Self {
        Self { namespace, name }
    }
}

// === impl NodeGroups ===

impl NodeGroups {
    /// Records every node group that exists, and [forgets](forget_nodegroup) those of the last call that are not among
    /// them.
    pub fn set<'a>(&mut self, groups: impl IntoIterator<Item = (NodeGroup<'a>, NodeGroupSize)>) {
        let mut present = BTreeSet::new();
        for (group, size) in groups {
            nodegroup(group, size);
            present.insert((group.namespace.to_owned(), group.name.to_owned()));
        }
        for (namespace, name) in self.seen.difference(&present) {
            forget_nodegroup(NodeGroup::new(namespace, name));
        }
        self.seen = present;
    }
}

// === impl ByReason ===

impl ByReason {
    /// Pending pods without a place, by reason: see [`unschedulable_reason`].
    #[must_use]
    pub const fn unschedulable_pods() -> Self {
        Self {
            metric: names::UNSCHEDULABLE_PODS,
            seen: BTreeSet::new(),
        }
    }

    /// Nodes that stay, by the rule that keeps them.
    #[must_use]
    pub const fn unremovable_nodes() -> Self {
        Self {
            metric: names::UNREMOVABLE_NODES,
            seen: BTreeSet::new(),
        }
    }

    /// Sets the count of every reason; one that is given twice gets the sum, and one that is not given gets zero.
    pub fn set(&mut self, counts: impl IntoIterator<Item = (&'static str, usize)>) {
        let mut sums: BTreeMap<_, usize> = self.seen.iter().map(|reason| (*reason, 0)).collect();
        for (reason, count) in counts {
            let sum = sums.entry(reason).or_default();
            *sum = sum.saturating_add(count);
        }
        for (reason, sum) in sums {
            gauge!(self.metric.name, "reason" => reason).set(value(sum));
            self.seen.insert(reason);
        }
    }
}

/// Registers the counters whose labels are known beforehand: from nothing to 1 is no increase to Prometheus.
pub(crate) fn start_at_zero() {
    for result in LoopResult::ALL {
        counter!(names::PLANNING_LOOPS_TOTAL.name, "result" => result.as_str()).increment(0);
    }
    for result in NodeMetricsReading::ALL {
        counter!(names::NODE_METRICS_READINGS_TOTAL.name, "result" => result.as_str()).increment(0);
    }
    for result in EvictionResult::ALL {
        counter!(names::POD_EVICTIONS_TOTAL.name, "result" => result.as_str()).increment(0);
    }
    leader(false);
}

/// Desired, current, ready, least and most nodes of a group.
fn set_size(group: NodeGroup<'_>, values: [f64; 5]) {
    let metrics = [
        names::NODEGROUP_DESIRED_NODES,
        names::NODEGROUP_CURRENT_NODES,
        names::NODEGROUP_READY_NODES,
        names::NODEGROUP_MIN_NODES,
        names::NODEGROUP_MAX_NODES,
    ];
    for (metric, value) in metrics.into_iter().zip(values) {
        gauge!(metric.name, labels(group, None)).set(value);
    }
}

/// The labels of a series of a node group, with at most one of its own.
fn labels(group: NodeGroup<'_>, own: Option<(&'static str, &'static str)>) -> Vec<Label> {
    [
        Label::new("namespace", group.namespace.to_owned()),
        Label::new("nodegroup", group.name.to_owned()),
    ]
    .into_iter()
    .chain(own.map(|(name, value)| Label::from_static_parts(name, value)))
    .collect()
}

/// A count as the value of a metric. No cluster has four billion of anything.
fn value(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests;
