//! A whole plan for a cluster that is in operation: 5,000 nodes, 150,000 pods, 50 groups.

use autoscaler_benches::{cluster::Shape, measure::Measure};
use criterion::Criterion;

pub(crate) fn plan(criterion: &mut Criterion) {
    let mut measure = Measure::new(criterion, "plan");
    for (name, pending) in [("idle", 0), ("100_pending", 100), ("5000_pending", 5000)] {
        let shape = Shape {
            pending,
            ..Shape::LARGE
        };
        measure.plan(
            name,
            || shape.problem(),
            |decision| {
                let with_a_place = decision.placed + decision.on_existing;
                assert_eq!((with_a_place, decision.left), (pending, 0), "every pod has a place");
                assert_eq!(decision.removed, 0, "no timer has passed");
            },
        );
    }
    measure.finish();
}
