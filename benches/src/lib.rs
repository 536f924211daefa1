//! What the benchmarks share: generators of clusters, made from numbers and a seed so that every run sees the same ones,
//! and a judgement of what was decided about them that does not rely on the core.
//!
//! A benchmark prints the decision beside the time and stops when it is wrong, so that a faster wrong answer shows.

pub mod bound;
pub mod cluster;
pub mod cluster_autoscaler;
pub mod drain;
pub mod fit;
pub mod judge;
pub mod karpenter;
pub mod measure;
mod objects;
pub mod random;
pub mod utilization;

use autoscaler_core::{
    build::Input,
    plan::Plan,
    planner::{Options, plan},
    snapshot::Snapshot,
};

use self::judge::Problem;

/// The time that clusters are decided for.
pub const NOW: &str = "2026-01-01T12:00:00Z";

/// The snapshot of a problem.
pub fn snapshot(problem: &Problem) -> Snapshot {
    Snapshot::build(&Input::new(&problem.objects, &problem.offerings))
}

/// The plan for [`NOW`], in full and with all reasons.
pub fn decide(snapshot: &Snapshot) -> Plan {
    let now = NOW.parse().expect("a time that is written here");
    plan(snapshot, &Options::default(), now)
}
