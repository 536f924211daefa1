//! Measured use beside requests: where nodes are measured, both must be low.

use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::testing::{Cluster, NOW, Run};
use crate::{
    quantity::{Bytes, MilliCpu},
    usage::{MeasuredUsage, Pushed, Sample, Usage, UsageWindow, WindowShape},
};

/// A window of so many samples, a minute apart, the last of them now; each by its number.
fn window(count: i64, usage: impl Fn(i64) -> (i64, i64)) -> UsageWindow {
    let now: Timestamp = NOW.parse().unwrap();
    let mut window = UsageWindow::new(WindowShape::DEFAULT);
    for index in 0..count {
        let (milli, mebibytes) = usage(index);
        let at = now - SignedDuration::from_mins(count - 1 - index);
        let usage = Usage {
            cpu: MilliCpu(milli),
            memory: Bytes(mebibytes << 20),
        };
        assert_eq!(window.push(Sample { at, usage }, at), Pushed::Taken);
    }
    window
}

/// An idle node of 4 cores and 8 GiB that is measured so.
fn idle(cluster: &Cluster, window: &UsageWindow) -> Run {
    let mut measured = MeasuredUsage::new(WindowShape::DEFAULT);
    measured.set("n1", window);
    cluster.clone().measured(measured).run()
}

fn cluster() -> Cluster {
    Cluster::new()
        .with_timers()
        .node("n1", json!({}))
        .machine("n1", json!({}))
}

#[test]
fn without_measurements_requests_alone_count() {
    assert_eq!(cluster().run().verdict("n1"), "Remove");
}

#[test]
fn a_node_that_is_measured_busy_stays() {
    let run = idle(&cluster(), &window(10, |_| (2001, 100)));
    assert_eq!(run.verdict("n1"), "NotUnderutilized");
    assert_eq!(
        run.message("n1"),
        "cpu 50.1% of 4000m used on average (10 of 10 samples, 10m of 10m), threshold 50%"
    );
    assert!(!run.report("n1").unneeded);
    let run = idle(&cluster(), &window(10, |_| (0, 4097)));
    assert_eq!(
        run.message("n1"),
        "memory 50.1% of 8Gi used on average (10 of 10 samples, 10m of 10m), threshold 50%"
    );
    // At the threshold it is underutilized, as by requests.
    assert_eq!(idle(&cluster(), &window(10, |_| (2000, 4096))).verdict("n1"), "Remove");
}

#[test]
fn the_mean_counts_and_not_a_peak() {
    let peak = |index| if index == 9 { (4000, 100) } else { (1000, 100) };
    assert_eq!(idle(&cluster(), &window(10, peak)).verdict("n1"), "Remove");
}

#[test]
fn requests_count_where_little_is_used() {
    let busy = cluster().anchor("n1");
    let run = idle(&busy, &window(10, |_| (0, 0)));
    assert_eq!(run.message("n1"), "cpu 75% of 4000m requested, threshold 50%");
}

/// One sample, a node that joined a minute ago, and an operator that has just been started: none has seen ten minutes.
#[test]
fn b9_a_node_that_was_not_measured_for_the_whole_window_stays() {
    for (count, numbers) in [
        (0, "0 of 10 samples, 0s of 10m"),
        (1, "1 of 10 samples, 1m of 10m"),
        (7, "7 of 10 samples, 7m of 10m"),
    ] {
        let run = idle(&cluster(), &window(count, |_| (0, 0)));
        assert_eq!(run.verdict("n1"), "NotUnderutilized");
        assert_eq!(
            run.message("n1"),
            format!("its use is measured, not yet for long enough: {numbers}, 80% of both are needed")
        );
        // Time is all that keeps it, so that since when it is unneeded is not forgotten when an operator is started.
        assert!(run.report("n1").unneeded);
    }
    assert_eq!(idle(&cluster(), &window(8, |_| (0, 0))).verdict("n1"), "Remove");
    // A node that no metrics came of, while others are measured.
    let run = cluster().measured(MeasuredUsage::new(WindowShape::DEFAULT)).run();
    assert_eq!(run.verdict("n1"), "NotUnderutilized");
}

#[test]
fn the_kubelet_of_a_node_that_is_not_ready_is_not_waited_for() {
    let unready = json!({"status": {"conditions": [
        {"type": "Ready", "status": "Unknown", "lastTransitionTime": "2026-03-02T11:00:00Z"},
    ]}});
    let cluster = Cluster::new()
        .with_timers()
        .node("n1", unready)
        .machine("n1", json!({}));
    assert_eq!(idle(&cluster, &window(0, |_| (0, 0))).verdict("n1"), "Remove");
}

#[test]
fn thresholds_of_the_group_hold_for_what_is_measured() {
    let policy = json!({"spec": {"scaleDownPolicy": {"cpuThreshold": 75}}});
    let cluster = cluster().group("workers", policy);
    assert_eq!(idle(&cluster, &window(10, |_| (3000, 0))).verdict("n1"), "Remove");
    assert_eq!(
        idle(&cluster, &window(10, |_| (3001, 0))).verdict("n1"),
        "NotUnderutilized"
    );
}
