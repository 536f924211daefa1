//! Scale-up against an exhaustive search over small clusters, and what must hold on larger ones.
//!
//! A cluster is drawn from the seed of its case. It is written as Kubernetes objects for the planner, and read as numbers by
//! a model with its own rules of who may be where; an exhaustive search over the model says what can be done at best. The
//! model and the search know nothing of the planner: they judge its printed plan. A failure shows a small cluster as text
//! for `plan -f`, and the seed: `BRUTE_FORCE_SEED=N` runs one case, `BRUTE_FORCE_CASES=N` more or fewer.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a helper of a test fails by panicking, and figures are there to be read"
)]

mod cluster;
mod large;
mod manifests;
mod model;
mod outcome;
mod runner;
mod search;
mod small;
