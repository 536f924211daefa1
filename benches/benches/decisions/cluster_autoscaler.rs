//! The benchmarks of the Cluster Autoscaler.

use autoscaler_benches::{
    cluster_autoscaler::{binpacking, run_once_scale_down, run_once_scale_up},
    measure::Measure,
};
use criterion::Criterion;

pub(crate) fn scale_up(criterion: &mut Criterion) {
    let mut measure = Measure::new(criterion, "ca_run_once_scale_up");
    measure.plan("50000", run_once_scale_up, |decision| {
        assert_eq!((decision.nodes, decision.placed), (1000, 50_000));
    });
    measure.finish();

    let mut measure = Measure::new(criterion, "ca_binpacking");
    measure.plan("51000", binpacking, |decision| {
        assert_eq!(decision.placed, 51_000);
        assert!(decision.nodes <= 2595, "{decision}: the peer needs 2595 nodes");
    });
    measure.finish();
}

pub(crate) fn scale_down(criterion: &mut Criterion) {
    let mut measure = Measure::new(criterion, "ca_run_once_scale_down");
    measure.plan("2000", run_once_scale_down, |decision| {
        assert_eq!((decision.removed, decision.nodes), (1200, 0), "800 nodes hold all pods");
    });
    measure.finish();
}
