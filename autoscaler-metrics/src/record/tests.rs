//! Every recorder moves its metric.

use metrics_util::{
    MetricKind,
    debugging::{DebugValue, DebuggingRecorder},
};

use super::*;
use crate::names::Kind;

const GROUP: NodeGroup<'_> = NodeGroup::new("kube-system", "workers");
const SIZE: NodeGroupSize = NodeGroupSize {
    desired: 3,
    current: 2,
    ready: 1,
    min: 0,
    max: 5,
};

/// What the closure records: kind, label names and last value (of a histogram: all values) by name and label values.
fn recorded(closure: impl FnOnce()) -> BTreeMap<String, (MetricKind, Vec<String>, Vec<f64>)> {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    metrics::with_local_recorder(&recorder, closure);
    let mut found = BTreeMap::new();
    for (key, _, _, value) in snapshotter.snapshot().into_vec() {
        let (kind, key) = key.into_parts();
        let values = match value {
            DebugValue::Counter(count) => vec![f64::from(u32::try_from(count).unwrap())],
            DebugValue::Gauge(value) => vec![value.into_inner()],
            DebugValue::Histogram(values) => values.iter().map(|value| value.0).collect(),
        };
        let labels = key.labels().map(|label| label.key().to_owned()).collect();
        let series: Vec<_> = std::iter::once(key.name().trim_start_matches(names::PREFIX))
            .chain(key.labels().map(Label::value))
            .collect();
        found.insert(series.join(" "), (kind, labels, values));
    }
    found
}

/// The values that the closure leaves behind, by name and label values.
fn values(closure: impl FnOnce()) -> BTreeMap<String, Vec<f64>> {
    recorded(closure)
        .into_iter()
        .map(|(series, (_, _, values))| (series, values))
        .collect()
}

fn expected<const N: usize>(series: [(&str, &[f64]); N]) -> BTreeMap<String, Vec<f64>> {
    series
        .into_iter()
        .map(|(series, values)| (series.to_owned(), values.to_vec()))
        .collect()
}

fn everything() {
    let second = Duration::from_secs(1);
    planning_loop(LoopResult::Completed, second);
    plan_duration(second);
    invariant_violation("MinNodes");
    pending_pods(4);
    unneeded_nodes(2);
    ByReason::unschedulable_pods().set([("AtMaxNodes", 1)]);
    ByReason::unremovable_nodes().set([("NotUnderutilized", 1)]);
    NodeGroups::default().set([(GROUP, SIZE)]);
    vpsienodes(GROUP, [("Ready", 2)]);
    scale_up(GROUP, 2);
    scale_up_error(GROUP, "CapacityLimitReached");
    scale_down(GROUP, RemovalKind::Empty, 1);
    scale_down_error(GROUP, "DrainTimeout");
    node_provisioning_duration(GROUP, second);
    node_termination_duration(GROUP, second);
    node_drain(GROUP, DrainResult::Success, second, 3);
    pod_eviction(EvictionResult::Evicted);
    vpsienode_ttl_deletion(GROUP);
    vpsie_api_request(ApiRequest {
        method: "create_vm",
        status: Some(429),
        error_type: Some("RateLimited"),
        duration: second,
    });
    provider_healthy(true);
    watch_error("Pod");
    invalid_object("NodeGroup");
    node_metrics_reading(NodeMetricsReading::Completed, true);
    leader(true);
    build_info("1.0.0");
}

#[test]
fn every_metric_of_the_table_has_a_writer_with_its_kind_and_labels() {
    let found = recorded(everything);
    let mut written = BTreeSet::new();
    for (series, (kind, labels, values)) in &found {
        let name = format!("{}{}", names::PREFIX, series.split(' ').next().unwrap());
        let metric = names::ALL.iter().find(|metric| metric.name == name).expect(&name);
        let table_kind = match metric.kind {
            Kind::Counter => MetricKind::Counter,
            Kind::Gauge => MetricKind::Gauge,
            Kind::Histogram { .. } => MetricKind::Histogram,
        };
        assert_eq!(*kind, table_kind, "{name}");
        assert_eq!(labels, metric.labels, "{name}");
        if values.iter().any(|value| *value != 0.0) {
            written.insert(metric.name);
        }
    }
    for metric in names::ALL {
        // A minimum of 0 is recorded as such.
        assert!(
            written.contains(metric.name) || *metric == names::NODEGROUP_MIN_NODES,
            "{} moves",
            metric.name
        );
    }
}

#[test]
fn the_planning_loop_is_counted_and_timed() {
    let found = values(|| {
        planning_loop(LoopResult::Completed, Duration::from_millis(20));
        planning_loop(LoopResult::Completed, Duration::from_millis(30));
        planning_loop(LoopResult::Rejected, Duration::from_millis(10));
        plan_duration(Duration::from_micros(1_500));
        invariant_violation("MaxNodes");
        invariant_violation("MaxNodes");
        pending_pods(9);
        pending_pods(4);
        unneeded_nodes(3);
    });
    let wanted = expected([
        ("planning_loops_total Completed", &[2.0]),
        ("planning_loops_total Rejected", &[1.0]),
        ("planning_loop_duration_seconds", &[0.02, 0.03, 0.01]),
        ("plan_duration_seconds", &[0.0015]),
        ("invariant_violations_total MaxNodes", &[2.0]),
        ("pending_pods_current", &[4.0]),
        ("unneeded_nodes", &[3.0]),
    ]);
    assert_eq!(found, wanted);
}

#[test]
fn a_reason_that_vanishes_goes_to_zero() {
    let found = values(|| {
        let mut nodes = ByReason::unremovable_nodes();
        nodes.set([("NotUnderutilized", 5), ("BlockedByPod", 1), ("NotUnderutilized", 1)]);
        nodes.set([("BlockedByPod", 2), ("InCooldown", 3)]);
        let mut pods = ByReason::unschedulable_pods();
        pods.set([
            (unschedulable_reason("Insufficientexample.com/gpu"), 1),
            (unschedulable_reason("AtMaxNodes"), 2),
        ]);
        pods.set([]);
    });
    let wanted = expected([
        ("unremovable_nodes NotUnderutilized", &[0.0]),
        ("unremovable_nodes BlockedByPod", &[2.0]),
        ("unremovable_nodes InCooldown", &[3.0]),
        ("unschedulable_pods InsufficientExtendedResource", &[0.0]),
        ("unschedulable_pods AtMaxNodes", &[0.0]),
    ]);
    assert_eq!(found, wanted);
}

#[test]
fn reasons_of_pods_are_bounded() {
    assert_eq!(unschedulable_reason("InsufficientCpu"), "InsufficientCpu");
    assert_eq!(
        unschedulable_reason("Insufficientnvidia.com/gpu"),
        "InsufficientExtendedResource"
    );
    assert_eq!(unschedulable_reason("PodTopologySpread"), "PodTopologySpread");
    assert_eq!(unschedulable_reason("something new"), "Other");
}

#[test]
fn a_group_is_recorded_with_its_counters_at_zero() {
    let found = values(|| nodegroup(GROUP, SIZE));
    let wanted = expected([
        ("nodegroup_desired_nodes kube-system workers", &[3.0]),
        ("nodegroup_current_nodes kube-system workers", &[2.0]),
        ("nodegroup_ready_nodes kube-system workers", &[1.0]),
        ("nodegroup_min_nodes kube-system workers", &[0.0]),
        ("nodegroup_max_nodes kube-system workers", &[5.0]),
        ("scale_up_total kube-system workers", &[0.0]),
        ("scale_down_total kube-system workers Empty", &[0.0]),
        ("scale_down_total kube-system workers Drain", &[0.0]),
    ]);
    assert_eq!(found, wanted);
}

#[test]
fn a_group_that_vanishes_is_forgotten() {
    let other = NodeGroup::new("kube-system", "batch");
    let found = values(|| {
        let mut groups = NodeGroups::default();
        groups.set([(GROUP, SIZE), (other, SIZE)]);
        groups.set([(other, SIZE)]);
    });
    assert!(found["nodegroup_max_nodes kube-system workers"][0].is_nan());
    assert!(found["nodegroup_desired_nodes kube-system workers"][0].is_nan());
    assert_eq!(found["nodegroup_max_nodes kube-system batch"], [5.0]);
}

#[test]
fn phases_that_are_not_named_have_no_nodes() {
    let found = values(|| {
        vpsienodes(GROUP, [("Joining", 2), ("Ready", 1)]);
        vpsienodes(GROUP, [("Ready", 3)]);
    });
    assert_eq!(found["vpsienode_phase kube-system workers Ready"], [3.0]);
    assert_eq!(found["vpsienode_phase kube-system workers Joining"], [0.0]);
    assert_eq!(found.len(), names::PHASES.len());
}

#[test]
fn scaling_is_counted_by_group() {
    let found = values(|| {
        scale_up(GROUP, 2);
        scale_up(GROUP, 3);
        scale_up_error(GROUP, "QuotaExceeded");
        scale_down(GROUP, RemovalKind::Drain, 1);
        scale_down_error(GROUP, "DrainTimeout");
        node_provisioning_duration(GROUP, Duration::from_secs(95));
        node_termination_duration(GROUP, Duration::from_secs(41));
        node_drain(GROUP, DrainResult::Error, Duration::from_secs(7), 12);
        pod_eviction(EvictionResult::Blocked);
        pod_eviction(EvictionResult::Blocked);
        vpsienode_ttl_deletion(GROUP);
    });
    let wanted = expected([
        ("scale_up_total kube-system workers", &[5.0]),
        ("scale_up_errors_total kube-system workers QuotaExceeded", &[1.0]),
        ("scale_down_total kube-system workers Drain", &[1.0]),
        ("scale_down_errors_total kube-system workers DrainTimeout", &[1.0]),
        ("node_provisioning_duration_seconds kube-system workers", &[95.0]),
        ("node_termination_duration_seconds kube-system workers", &[41.0]),
        ("node_drain_duration_seconds kube-system workers error", &[7.0]),
        ("node_drain_pods_evicted kube-system workers", &[12.0]),
        ("pod_evictions_total Blocked", &[2.0]),
        ("vpsienode_ttl_deletions_total kube-system workers", &[1.0]),
    ]);
    assert_eq!(found, wanted);
}

#[test]
fn requests_to_the_provider_are_counted_by_status_and_error() {
    let request = |status, error_type| ApiRequest {
        method: "list_vms",
        status,
        error_type,
        duration: Duration::from_millis(250),
    };
    let found = values(|| {
        vpsie_api_request(request(Some(200), None));
        vpsie_api_request(request(Some(200), Some("MalformedAnswer")));
        vpsie_api_request(request(Some(429), Some("RateLimited")));
        vpsie_api_request(request(None, Some("Timeout")));
    });
    let wanted = expected([
        ("vpsie_api_requests_total list_vms 200", &[2.0]),
        ("vpsie_api_requests_total list_vms 429", &[1.0]),
        ("vpsie_api_requests_total list_vms none", &[1.0]),
        ("vpsie_api_request_duration_seconds list_vms", &[0.25; 4]),
        ("vpsie_api_errors_total list_vms MalformedAnswer", &[1.0]),
        ("vpsie_api_errors_total list_vms RateLimited", &[1.0]),
        ("vpsie_api_errors_total list_vms Timeout", &[1.0]),
        ("vpsie_api_rate_limited_total list_vms", &[1.0]),
    ]);
    assert_eq!(found, wanted);
}

#[test]
fn the_state_of_the_process_is_recorded() {
    let found = values(|| {
        leader(false);
        leader(true);
        provider_healthy(true);
        provider_healthy(false);
        watch_error("Pod");
        invalid_object("NodeGroup");
        build_info("1.0.0");
    });
    let wanted = expected([
        ("leader", &[1.0]),
        ("provider_healthy", &[0.0]),
        ("watch_errors_total Pod", &[1.0]),
        ("invalid_objects_total NodeGroup", &[1.0]),
        ("build_info 1.0.0", &[1.0]),
    ]);
    assert_eq!(found, wanted);
}
