//! What it takes to have a snapshot of 5,000 nodes and 150,000 pods, and to try something in it.

use autoscaler_benches::{
    cluster::Shape,
    measure::{Measure, timed},
    snapshot,
};
use autoscaler_core::{
    build::Input,
    index::Index,
    manifest::pod::Pod,
    snapshot::{ClassId, NodeId},
    world::{BinId, World},
};
use criterion::Criterion;

/// Pods that change one after the other, so that it is not always the same one.
const CHANGED: usize = 1000;

/// Pods that a what-if moves.
const MOVED: u32 = 100;

pub(crate) fn snapshots(criterion: &mut Criterion) {
    let mut measure = Measure::new(criterion, "snapshot");
    build(&mut measure);
    apply_delta(&mut measure);
    fork_revert(&mut measure);
    measure.finish();
}

fn build(measure: &mut Measure<'_>) {
    let mut prepared = None;
    measure.run("build", |runs, found| {
        let problem = prepared.get_or_insert_with(|| Shape::LARGE.problem());
        let took = timed(runs, || snapshot(problem));
        let built = snapshot(problem);
        let (nodes, pods, classes) = (built.nodes.len(), built.pods.len(), built.classes.len());
        assert_eq!((nodes, pods), (5000, 150_000));
        found.note = format!("{nodes} nodes, {pods} pods of {classes} classes");
        took
    });
}

/// One pod changes, and the snapshot is there again: a pod stops being Ready and is Ready again, or it goes, and another
/// one of its controller comes on another node.
fn apply_delta(measure: &mut Measure<'_>) {
    let unready = |pod: &Pod| {
        let mut pod = pod.clone();
        "False".clone_into(&mut pod.status.conditions[0].status);
        pod
    };
    let elsewhere = |pod: &Pod| {
        let mut pod = pod.clone();
        pod.metadata.name.push_str("-next");
        "node-00000".clone_into(&mut pod.spec.node_name);
        pod
    };
    delta(measure, "apply_delta/ready", unready);
    delta(measure, "apply_delta/replaced", elsewhere);
}

fn delta(measure: &mut Measure<'_>, name: &str, change: impl Fn(&Pod) -> Pod) {
    let mut prepared = None;
    measure.run(name, |runs, found| {
        let (index, pods, turn) = prepared.get_or_insert_with(|| {
            let problem = Shape::LARGE.problem();
            let index = Index::from_input(&Input::new(&problem.objects, &problem.offerings));
            // As far apart as a prime takes them.
            let chosen = (0..CHANGED).map(|index| &problem.objects.pods[index * 7919 % problem.objects.pods.len()]);
            let pods: Vec<[Pod; 2]> = chosen.map(|pod| [pod.clone(), change(pod)]).collect();
            (index, pods, 0)
        });
        let mut last = None;
        let took = timed(runs, || {
            let [before, after] = &pods[*turn % CHANGED];
            // All of them change, then all of them change back.
            let (old, new) = if (*turn / CHANGED).is_multiple_of(2) {
                (before, after)
            } else {
                (after, before)
            };
            *turn += 1;
            if old.metadata.name != new.metadata.name {
                index.remove_pod(&old.metadata.namespace, &old.metadata.name);
            }
            index.put_pod(new);
            last = Some(new);
            index.snapshot().pods.len()
        });
        let snapshot = index.snapshot();
        assert_eq!(snapshot.pods.len(), Shape::LARGE.running());
        if let Some(last) = last {
            let is_last = |id: &_| snapshot.pod_name(*id) == last.metadata.full_name();
            let id = snapshot
                .pod_ids()
                .find(is_last)
                .expect("the pod that came last is there");
            let pod = snapshot.pod(id);
            let node = pod.node.map(|node| snapshot.text(snapshot.node(node).name));
            let ready = last.status.conditions[0].status == "True";
            assert_eq!((node, pod.ready), (Some(last.spec.node_name.as_str()), ready));
        }
        found.note = format!("one of {} pods; {CHANGED} of them in turn", snapshot.pods.len());
        took
    });
}

/// 100 pods of as many nodes move to another node, one after the other, with the question whether they fit; then
/// everything is taken back.
fn fork_revert(measure: &mut Measure<'_>) {
    let mut prepared = None;
    measure.run("fork_revert", |runs, found| {
        let snapshot = prepared.get_or_insert_with(|| snapshot(&Shape::LARGE.problem()));
        let mut world = World::new(snapshot);
        let moves: Vec<(ClassId, BinId, BinId)> = (0..MOVED)
            .map(|index| {
                let (from, to) = (NodeId(index * 49), NodeId(index * 49 + 7));
                let last = snapshot.pods_on(from).last().expect("every node has pods");
                (snapshot.pod(*last).class, from.into(), to.into())
            })
            .collect();
        let used = |world: &World<'_>| {
            let of_bin = |bin: BinId| world.view(bin).used.clone();
            let both = moves.iter().map(|(_, from, to)| (of_bin(*from), of_bin(*to)));
            both.collect::<Vec<_>>()
        };
        let before = used(&world);
        let mut fitting = 0;
        let took = timed(runs, || {
            let mark = world.mark();
            fitting = 0;
            for (class, from, to) in moves.iter().copied() {
                world.unplace(class, from);
                fitting += usize::from(world.misfit(class, to).is_none());
                world.place(class, to);
            }
            world.rollback(mark);
        });
        assert!(before == used(&world), "something is left of what was tried");
        found.note = format!("{MOVED} pods move, {fitting} of them fit where they are put");
        took
    });
}
