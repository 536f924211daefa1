//! The table of every metric. Only names, labels, buckets and their meaning belong here; [`record`](crate::record)
//! writes the values.
//!
//! Where a name or label is that of the Go autoscaler, its meaning is too, with these exceptions: `scale_down_total` has
//! a `kind` as well, `error_type` holds the reasons of this autoscaler rather than snake case words, and `namespace` and
//! `nodegroup` stand in this order. Its `scale_down_blocked_total` counts the same blocked node in every pass;
//! [`UNREMOVABLE_NODES`] says how many there are instead.

use metrics::Unit;

/// What every name starts with.
pub const PREFIX: &str = "vpsie_autoscaler_";

/// One metric.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Metric {
    /// The full name.
    pub name: &'static str,
    /// How its value moves.
    pub kind: Kind,
    /// The unit of its value.
    pub unit: Unit,
    /// The names of its labels, in the order in which they are written.
    pub labels: &'static [&'static str],
    /// What it means.
    pub help: &'static str,
}

/// How the value of a metric moves.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// It only grows, from zero at the start of the process.
    Counter,
    /// It goes up and down.
    Gauge,
    /// It counts observations in buckets.
    Histogram {
        /// The upper bounds of the buckets, in the unit of the metric, ascending. The bucket without a bound is implied.
        buckets: &'static [f64],
    },
}

/// From 100 microseconds to half a minute: computing on memory.
const COMPUTE_SECONDS: &[f64] = &[
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
];

/// From a millisecond to ten minutes: a pass of the loop waits for calls to the Kubernetes API.
const LOOP_SECONDS: &[f64] = &[
    0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0,
];

/// From 10 milliseconds to 20 seconds, as the Go autoscaler: a call to the VPSie API.
const CALL_SECONDS: &[f64] = &[0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48];

/// From 1 to 2048 seconds, as the Go autoscaler: past a drain of 30 minutes, and past the 25 minutes that draining and
/// deleting may take by default.
const REMOVAL_SECONDS: &[f64] = &[
    1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0,
];

/// From 10 to 5120 seconds, as the Go autoscaler: past the 45 minutes that provisioning, joining and initializing may
/// take by default.
const PROVISIONING_SECONDS: &[f64] = &[10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 640.0, 1280.0, 2560.0, 5120.0];

/// From 0 to 95 by fives, as the Go autoscaler, and on to the most pods that nodes are commonly allowed: the pods of
/// one node.
const POD_COUNTS: &[f64] = &[
    0.0, 5.0, 10.0, 15.0, 20.0, 25.0, 30.0, 35.0, 40.0, 45.0, 50.0, 55.0, 60.0, 65.0, 70.0, 75.0, 80.0, 85.0, 90.0,
    95.0, 110.0, 250.0,
];

/// Declares the metrics and the list of all of them, so that neither can lack one of the other.
macro_rules! metrics_table {
    ($($constant:ident = $kind:ident $(($buckets:ident))? $name:literal, $unit:ident, [$($label:literal),*], $help:literal;)*) => {
        $(
            #[doc = $help]
            #[doc = ""]
            #[doc = concat!("`vpsie_autoscaler_", $name, "`")]
            $(#[doc = concat!("Label `", $label, "`.")])*
            pub const $constant: Metric = Metric {
                name: concat!("vpsie_autoscaler_", $name),
                kind: Kind::$kind $({ buckets: $buckets })?,
                unit: Unit::$unit,
                labels: &[$($label),*],
                help: $help,
            };
        )*

        /// Every metric, in the order of this file.
        pub const ALL: &[Metric] = &[$($constant),*];
    };
}

metrics_table! {
    // The planning loop
    PLANNING_LOOPS_TOTAL = Counter "planning_loops_total", Count, ["result"],
        "Passes of the planning loop, by result: Completed, Failed (no snapshot, or the plan could not be carried out), \
         Rejected (the plan broke an invariant and was not carried out).";
    PLANNING_LOOP_DURATION_SECONDS = Histogram(LOOP_SECONDS) "planning_loop_duration_seconds", Seconds, [],
        "Time of one pass of the planning loop: snapshot, plan, check and execution.";
    PLAN_DURATION_SECONDS = Histogram(COMPUTE_SECONDS) "plan_duration_seconds", Seconds, [],
        "Time to compute one plan from one snapshot.";
    INVARIANT_VIOLATIONS_TOTAL = Counter "invariant_violations_total", Count, ["invariant"],
        "Broken invariants found in plans before their execution, by invariant. Anything but zero is a bug.";
    PENDING_PODS_CURRENT = Gauge "pending_pods_current", Count, [],
        "Pods that ask for capacity, as of the last plan.";
    UNSCHEDULABLE_PODS = Gauge "unschedulable_pods", Count, ["reason"],
        "Pending pods for which no node exists and none can be created, by reason, as of the last plan. A pod counts \
         once for every different reason that it has.";
    UNREMOVABLE_NODES = Gauge "unremovable_nodes", Count, ["reason"],
        "Nodes that stay, by the first rule that says so, as of the last plan.";
    UNNEEDED_NODES = Gauge "unneeded_nodes", Count, [],
        "Nodes that nothing but time keeps from being removed, as of the last plan.";

    // Node groups
    NODEGROUP_DESIRED_NODES = Gauge "nodegroup_desired_nodes", Count, ["namespace", "nodegroup"],
        "Nodes that the node group is to have: existing and coming, less those being removed.";
    NODEGROUP_CURRENT_NODES = Gauge "nodegroup_current_nodes", Count, ["namespace", "nodegroup"],
        "Nodes that the node group has, ready or not, leaving ones too.";
    NODEGROUP_READY_NODES = Gauge "nodegroup_ready_nodes", Count, ["namespace", "nodegroup"],
        "Nodes of the node group that are Ready.";
    NODEGROUP_MIN_NODES = Gauge "nodegroup_min_nodes", Count, ["namespace", "nodegroup"],
        "The lower limit of the node group.";
    NODEGROUP_MAX_NODES = Gauge "nodegroup_max_nodes", Count, ["namespace", "nodegroup"],
        "The upper limit of the node group.";
    VPSIENODE_PHASE = Gauge "vpsienode_phase", Count, ["namespace", "nodegroup", "phase"],
        "VPSieNodes of the node group, by phase.";

    // Scaling
    SCALE_UP_TOTAL = Counter "scale_up_total", Count, ["namespace", "nodegroup"],
        "Nodes asked for: VPSieNodes that were recorded in order to be created.";
    SCALE_UP_ERRORS_TOTAL = Counter "scale_up_errors_total", Count, ["namespace", "nodegroup", "error_type"],
        "Nodes that were asked for and did not come, by reason.";
    SCALE_DOWN_TOTAL = Counter "scale_down_total", Count, ["namespace", "nodegroup", "kind"],
        "Nodes removed, VM and Node gone, by kind: Empty (no pod had to move) or Drain.";
    SCALE_DOWN_ERRORS_TOTAL = Counter "scale_down_errors_total", Count, ["namespace", "nodegroup", "error_type"],
        "Removals that failed and were undone, by reason.";
    NODE_PROVISIONING_DURATION_SECONDS = Histogram(PROVISIONING_SECONDS) "node_provisioning_duration_seconds", Seconds,
        ["namespace", "nodegroup"], "Time from recording a VPSieNode until its Node is Ready.";
    NODE_TERMINATION_DURATION_SECONDS = Histogram(REMOVAL_SECONDS) "node_termination_duration_seconds", Seconds,
        ["namespace", "nodegroup"], "Time from the start of a removal until VM and Node are gone.";
    NODE_DRAIN_DURATION_SECONDS = Histogram(REMOVAL_SECONDS) "node_drain_duration_seconds", Seconds,
        ["namespace", "nodegroup", "result"],
        "Time of one drain, from the cordon until no pod is left that has to move, by result: success, timeout or \
         error.";
    NODE_DRAIN_PODS_EVICTED = Histogram(POD_COUNTS) "node_drain_pods_evicted", Count, ["namespace", "nodegroup"],
        "Pods evicted by one drain.";
    POD_EVICTIONS_TOTAL = Counter "pod_evictions_total", Count, ["result"],
        "Eviction calls, by result: Evicted, Blocked (by a PodDisruptionBudget; the call is repeated) or Failed.";
    VPSIENODE_TTL_DELETIONS_TOTAL = Counter "vpsienode_ttl_deletions_total", Count, ["namespace", "nodegroup"],
        "Failed VPSieNodes collected after their time to live.";

    // The VPSie API
    VPSIE_API_REQUESTS_TOTAL = Counter "vpsie_api_requests_total", Count, ["method", "status"],
        "Requests to the VPSie API, by operation and by HTTP status; the status is none when no answer came.";
    VPSIE_API_REQUEST_DURATION_SECONDS = Histogram(CALL_SECONDS) "vpsie_api_request_duration_seconds", Seconds,
        ["method"], "Time of one request to the VPSie API, by operation.";
    VPSIE_API_ERRORS_TOTAL = Counter "vpsie_api_errors_total", Count, ["method", "error_type"],
        "Failed requests to the VPSie API, by operation and kind of error. An error may come with HTTP status 200.";
    VPSIE_API_RATE_LIMITED_TOTAL = Counter "vpsie_api_rate_limited_total", Count, ["method"],
        "Requests that the VPSie API refused because there were too many.";
    PROVIDER_HEALTHY = Gauge "provider_healthy", Count, [],
        "1 when the last listing of VMs succeeded, 0 when it failed. Absent until the first.";

    // The process
    WATCH_ERRORS_TOTAL = Counter "watch_errors_total", Count, ["kind"],
        "Errors of Kubernetes watches, by kind of object. Each is followed by a new attempt.";
    INVALID_OBJECTS_TOTAL = Counter "invalid_objects_total", Count, ["kind"],
        "Versions of Kubernetes objects that could not be understood and were left out, by kind of object.";
    NODE_METRICS_READINGS_TOTAL = Counter "node_metrics_readings_total", Count, ["result"],
        "Readings of metrics.k8s.io, by result: Completed, Missing (the API is not served) or Failed.";
    NODE_METRICS_SERVED = Gauge "node_metrics_served", Count, [],
        "1 while what nodes are measured to use counts beside requests, 0 while requests alone do. Absent until the first \
         reading.";
    LEADER = Gauge "leader", Count, [],
        "1 while this replica holds the lease, else 0.";
    BUILD_INFO = Gauge "build_info", Count, ["version"],
        "Always 1; the label holds the version that runs.";
}

/// Phases of a VPSieNode, for [`VPSIENODE_PHASE`]: each is written for every node group, zeros too.
pub const PHASES: &[&str] = &[
    "Pending",
    "Provisioning",
    "Provisioned",
    "Joining",
    "Ready",
    "Terminating",
    "Deleting",
    "Failed",
];

/// Tells the installed recorder the kind, unit and meaning of every metric. [`Exporter`](crate::Exporter) has done so.
pub fn describe() {
    for metric in ALL {
        let Metric {
            name,
            kind,
            unit,
            help,
            labels: _,
        } = *metric;
        match kind {
            Kind::Counter => metrics::describe_counter!(name, unit, help),
            Kind::Gauge => metrics::describe_gauge!(name, unit, help),
            Kind::Histogram { .. } => metrics::describe_histogram!(name, unit, help),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_unique_and_say_kind_and_unit() {
        let unique: BTreeSet<_> = ALL.iter().map(|metric| metric.name).collect();
        assert_eq!(unique.len(), ALL.len());
        for metric in ALL {
            assert!(metric.name.starts_with(PREFIX), "{}", metric.name);
            assert_eq!(
                metric.name.ends_with("_total"),
                metric.kind == Kind::Counter,
                "{}",
                metric.name
            );
            assert_eq!(
                metric.name.ends_with("_seconds"),
                metric.unit == Unit::Seconds,
                "{}",
                metric.name
            );
            assert!(metric.help.ends_with('.'), "{}", metric.name);
        }
    }

    #[test]
    fn buckets_ascend_and_reach_past_the_longest_timeouts() {
        for metric in ALL {
            if let Kind::Histogram { buckets } = metric.kind {
                assert!(buckets.is_sorted_by(|a, b| a < b), "{}", metric.name);
            }
        }
        let last = |metric: Metric| match metric.kind {
            Kind::Histogram { buckets } => *buckets.last().unwrap(),
            Kind::Counter | Kind::Gauge => panic!("{} is no histogram", metric.name),
        };
        assert!(last(NODE_DRAIN_DURATION_SECONDS) >= 30.0 * 60.0);
        assert!(last(NODE_TERMINATION_DURATION_SECONDS) >= 30.0 * 60.0);
        assert!(last(NODE_PROVISIONING_DURATION_SECONDS) >= 45.0 * 60.0);
    }

    #[test]
    fn series_of_a_node_group_start_with_its_labels() {
        // The exporter finds the series of a node group by how their label sets start.
        for metric in ALL {
            if metric
                .labels
                .iter()
                .any(|label| ["namespace", "nodegroup"].contains(label))
            {
                assert_eq!(metric.labels[..2], ["namespace", "nodegroup"], "{}", metric.name);
            }
        }
    }
}
