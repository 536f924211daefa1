//! Karpenter's scheduling benchmark: 1 to 20,000 pods of five kinds on an empty cluster, 400 sizes in three zones.

use autoscaler_benches::{karpenter, measure::Measure};
use criterion::Criterion;

pub(crate) fn karpenter_scheduling(criterion: &mut Criterion) {
    let mut measure = Measure::new(criterion, "karpenter_scheduling");
    for pods in karpenter::PODS {
        let problem = || karpenter::problem(pods);
        measure.plan(&pods.to_string(), problem, |decision| {
            assert_eq!((decision.placed, decision.left), (pods, 0), "every pod is placed");
            // The larger sizes have the same mix, the smaller ones leave much of their last node empty.
            assert!(
                pods != 5000 || decision.ratio() <= 1.10,
                "{decision}: above 1.10 times the bound"
            );
        });
    }
    measure.finish();
}
