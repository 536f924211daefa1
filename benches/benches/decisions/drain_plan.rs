//! What there is to know of one node before it is drained: which of its 110 pods have to move, which of 20
//! PodDisruptionBudgets that charges, and whether they allow it.

use autoscaler_benches::{
    NOW,
    drain::{BUDGETS, PODS, objects},
    measure::{Measure, timed},
};
use autoscaler_core::{
    build::Input,
    drain::must_move,
    pdb::{Ledger, budgets_of},
    snapshot::{PodId, Snapshot},
};
use criterion::Criterion;

pub(crate) fn drain_plan(criterion: &mut Criterion) {
    let mut measure = Measure::new(criterion, "drain_plan");
    let mut prepared = None;
    measure.run(&format!("{PODS}"), |runs, found| {
        let snapshot = prepared.get_or_insert_with(|| Snapshot::build(&Input::new(&objects(), &[])));
        let now = NOW.parse().expect("a time that is written here");
        let node = snapshot.node_ids().next().expect("the node");
        let ledger = Ledger::new(snapshot, std::iter::empty(), now);
        let judge = || {
            let pods = snapshot.pods_on(node).iter().copied();
            let pods: Vec<PodId> = pods.filter(|pod| must_move(snapshot, *pod, now)).collect();
            let charge = ledger.charge(&pods);
            (pods.len(), ledger.is_risky(&charge), ledger.refusal(&charge).is_some())
        };
        let (moved, risky, refused) = judge();
        let budgets: std::collections::BTreeSet<_> = snapshot
            .pods_on(node)
            .iter()
            .flat_map(|pod| budgets_of(snapshot, *pod))
            .collect();
        assert_eq!((moved, risky, budgets.len()), (PODS, true, BUDGETS));
        found.note = format!(
            "{moved} pods have to move, {} budgets are charged, the eviction of all is {}",
            budgets.len(),
            if refused { "refused" } else { "allowed over time" }
        );
        timed(runs, judge)
    });
    measure.finish();
}
