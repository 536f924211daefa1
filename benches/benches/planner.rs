//! How long decisions take, and what they are: a faster wrong answer would show.

use std::{hint::black_box, time::Duration};

use autoscaler_benches::{NOW, Shape, snapshot};
use autoscaler_core::{
    check::check,
    planner::{Options, plan},
};
use criterion::{Criterion, criterion_group, criterion_main};

fn decisions(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("plan");
    group
        .sample_size(10)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(3));
    let now = NOW.parse().expect("a time that is written here");
    for (name, shape) in [
        (
            "idle_500_nodes",
            Shape {
                nodes: 500,
                pods_per_node: 30,
                pending: 0,
                groups: 10,
            },
        ),
        (
            "100_pending_500_nodes",
            Shape {
                nodes: 500,
                pods_per_node: 30,
                pending: 100,
                groups: 10,
            },
        ),
        (
            "1000_pending_empty_cluster",
            Shape {
                nodes: 0,
                pods_per_node: 0,
                pending: 1000,
                groups: 2,
            },
        ),
    ] {
        let objects = shape.objects();
        let snapshot = snapshot(&objects);
        let decided = plan(&snapshot, &Options::default(), now);
        assert_eq!(check(&snapshot, &decided), []);
        println!(
            "{name}: {} nodes created at {} per hour, {} removed, {} pods judged",
            decided.creations.len(),
            decided.hourly_price(),
            decided.removals.len(),
            decided.pods.len()
        );
        group.bench_function(name, |bencher| {
            bencher.iter(|| plan(black_box(&snapshot), &Options::default(), now))
        });
    }
    group.finish();
}

fn building(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("snapshot");
    group
        .sample_size(10)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(3));
    let objects = Shape {
        nodes: 500,
        pods_per_node: 30,
        pending: 100,
        groups: 10,
    }
    .objects();
    let built = snapshot(&objects);
    println!(
        "build: {} nodes, {} pods of {} classes",
        built.nodes.len(),
        built.pods.len(),
        built.classes.len()
    );
    group.bench_function("build_500_nodes_15100_pods", |bencher| {
        bencher.iter(|| snapshot(black_box(&objects)))
    });
    group.finish();
}

criterion_group!(benches, decisions, building);
criterion_main!(benches);
