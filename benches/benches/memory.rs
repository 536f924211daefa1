//! Live heap of what a plan is made from: 5,000 nodes and 150,000 pods, with the objects that go with them.

use autoscaler_benches::{cluster::Shape, decide, measure::table};
use autoscaler_core::{build::Input, index::Index};
use peak_alloc::PeakAlloc;

#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;

const MIB: f64 = 1_048_576.0;

fn main() {
    // Cargo asks benches without a harness to do nothing when it tests or lists them.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let problem = Shape::LARGE.problem();
    let before = HEAP.current_usage();
    HEAP.reset_peak_usage();
    let mut index = Index::from_input(&Input::new(&problem.objects, &problem.offerings));
    index.snapshot();
    let live = HEAP.current_usage() - before;
    let peak = HEAP.peak_usage() - before;
    let snapshot = index.snapshot();
    let (nodes, pods) = (snapshot.nodes.len(), snapshot.pods.len());
    assert_eq!((nodes, pods), (5000, 150_000));

    HEAP.reset_peak_usage();
    let held = HEAP.current_usage();
    let plan = decide(snapshot);
    let of_plan = HEAP.current_usage() - held;
    let while_planning = HEAP.peak_usage() - held;
    drop(plan);

    let objects = problem.objects.clone();
    let before = HEAP.current_usage();
    drop(objects);
    let of_objects = before - HEAP.current_usage();

    let row = |what: &str, bytes: usize| {
        let of_pods = bytes / pods;
        format!("| {what} | {:.1} | {of_pods} | {} |", bytes as f64 / MIB, bytes / nodes)
    };
    let title = format!("{nodes} nodes, {pods} pods of {} classes", snapshot.classes.len());
    let rows = [
        row("index with its snapshot, live", live),
        row("index, at most while it is made", peak),
        row("plan of an idle cluster, live", of_plan),
        row("plan of an idle cluster, at most while it is made", while_planning),
        row("the objects as they were read, for comparison", of_objects),
    ];
    table(&[&title, "MiB", "bytes per pod", "bytes per node"], &rows);
}
