//! Scale-down of a cluster that is too large: a third of its nodes are nearly idle, a fifth of the controllers have rules
//! about other pods, one in ten has a PodDisruptionBudget, and all timers have passed.

use autoscaler_benches::{cluster::Shape, measure::Measure};
use criterion::Criterion;

pub(crate) fn scale_down(criterion: &mut Criterion) {
    let mut measure = Measure::new(criterion, "scale_down");
    for nodes in [1000, 5000, 15_000] {
        measure.plan(
            &nodes.to_string(),
            || Shape::shrinking(nodes).problem(),
            |decision| {
                assert_eq!(decision.nodes, 0, "nothing waits");
                assert!(
                    nodes / 10 < decision.removed,
                    "{decision}: a third of the nodes are nearly idle"
                );
            },
        );
    }
    measure.finish();
}
