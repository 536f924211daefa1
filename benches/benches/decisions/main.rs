//! The benchmarks that are timed with samples, in one program so that there is one to build. `cargo bench --bench decisions
//! -- NAME` runs those whose name has `NAME` in it.

mod cluster_autoscaler;
mod drain_plan;
mod fit;
mod karpenter_scheduling;
mod plan;
mod scale_down;
mod snapshot;

use criterion::{criterion_group, criterion_main};

criterion_group!(
    benches,
    karpenter_scheduling::karpenter_scheduling,
    cluster_autoscaler::scale_up,
    cluster_autoscaler::scale_down,
    scale_down::scale_down,
    drain_plan::drain_plan,
    plan::plan,
    snapshot::snapshots,
    fit::fit,
);
criterion_main!(benches);
