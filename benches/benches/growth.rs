//! How cost grows: time and memory for ten times more of one thing, as a table in Markdown.
//!
//! The exponent of a row is the decimal logarithm of the factor between its two figures: 0 is cost that does not change,
//! 1 is cost in proportion, 2 is cost that grows with the square.

use std::time::{Duration, Instant};

use autoscaler_benches::{cluster::Shape, decide, measure::table, snapshot};
use peak_alloc::PeakAlloc;

#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;

/// Each figure is the best of so many runs: the one that others disturbed least.
const RUNS: usize = 3;

const BASE: Shape = Shape {
    nodes: 500,
    pods_per_node: 20,
    pending: 500,
    groups: 10,
    offerings: 10,
    shrinks: false,
};

struct Cost {
    build: Duration,
    plan: Duration,
    snapshot: usize,
    planning: usize,
}

fn main() {
    // Cargo asks benches without a harness to do nothing when it tests or lists them.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    // The running pods stay the same when there are more nodes, and the nodes when there are more pods.
    let rows = [
        (
            "nodes",
            Shape {
                nodes: 5000,
                pods_per_node: 4,
                ..BASE
            },
            Shape {
                pods_per_node: 40,
                ..BASE
            },
        ),
        (
            "pods on nodes",
            Shape {
                pods_per_node: 100,
                ..BASE
            },
            Shape {
                pods_per_node: 10,
                ..BASE
            },
        ),
        ("pending pods", Shape { pending: 5000, ..BASE }, BASE),
        ("groups", Shape { groups: 100, ..BASE }, BASE),
        ("offerings", Shape { offerings: 100, ..BASE }, BASE),
    ];
    let mut lines = Vec::new();
    for (what, large, small) in rows {
        let (small, large) = (cost(small), cost(large));
        let time = |one: Duration, other: Duration| {
            let exponent = (other.as_secs_f64() / one.as_secs_f64()).log10();
            format!(
                "{:.1} -> {:.1} ms, {exponent:.2}",
                one.as_secs_f64() * 1e3,
                other.as_secs_f64() * 1e3
            )
        };
        let heap = |one: usize, other: usize| {
            let exponent = (other as f64 / one as f64).log10();
            format!("{} -> {} KiB, {exponent:.2}", one / 1024, other / 1024)
        };
        lines.push(format!(
            "| {what} | {} | {} | {} | {} |",
            time(small.build, large.build),
            time(small.plan, large.plan),
            heap(small.snapshot, large.snapshot),
            heap(small.planning, large.planning)
        ));
    }
    let columns = [
        "10 x more",
        "snapshot is built",
        "plan is made",
        "heap of the snapshot",
        "heap while planning",
    ];
    table(&columns, &lines);
}

fn cost(shape: Shape) -> Cost {
    let problem = shape.problem();
    let mut best: Option<Cost> = None;
    for _ in 0..RUNS {
        let before = HEAP.current_usage();
        let start = Instant::now();
        let snapshot = snapshot(&problem);
        let build = start.elapsed();
        let live = HEAP.current_usage();
        HEAP.reset_peak_usage();
        let start = Instant::now();
        let plan = decide(&snapshot);
        let time = start.elapsed();
        let planning = HEAP.peak_usage() - live;
        let decision = problem.judge(&snapshot, &plan);
        assert_eq!(decision.left, 0, "{shape:?}: every pod has a place");
        best = Some(Cost {
            build: best.as_ref().map_or(build, |best| best.build.min(build)),
            plan: best.as_ref().map_or(time, |best| best.plan.min(time)),
            snapshot: live - before,
            planning,
        });
    }
    best.expect("there is at least one run")
}
