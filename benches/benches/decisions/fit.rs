//! Whether one more pod of a class fits a node: the time of one answer, which is one rule after the other until one says
//! no. How many fit is known from how the cluster is made.

use autoscaler_benches::{
    fit::{CLASSES, Kind, problem},
    measure::{Measure, timed},
    snapshot,
};
use autoscaler_core::{
    snapshot::{ClassId, NodeId},
    world::World,
};
use criterion::Criterion;

pub(crate) fn fit(criterion: &mut Criterion) {
    let mut measure = Measure::new(criterion, "fit");
    for kind in Kind::ALL {
        for nodes in [1000, 15_000] {
            let mut prepared = None;
            measure.run(&format!("{}/{nodes}", kind.name()), |runs, found| {
                let snapshot = prepared.get_or_insert_with(|| snapshot(&problem(kind, nodes)));
                let world = World::new(snapshot);
                let pending = snapshot.pods.iter().filter(|pod| !pod.bound);
                let classes: Vec<ClassId> = pending.map(|pod| pod.class).collect();
                let ids: Vec<NodeId> = snapshot.node_ids().collect();
                let judge = || {
                    let of_class = |class: &ClassId| {
                        let fits = |node: &&NodeId| world.misfit(*class, (**node).into()).is_none();
                        ids.iter().filter(fits).count()
                    };
                    classes.iter().map(of_class).sum::<usize>()
                };
                let (fitting, pairs) = (kind.fitting(nodes), nodes * CLASSES);
                assert_eq!(judge(), fitting, "pairs that fit");
                found.parts = Some((pairs, "class and node"));
                found.note = format!("{fitting} of {pairs} pairs fit");
                timed(runs, judge)
            });
        }
    }
    measure.finish();
}
