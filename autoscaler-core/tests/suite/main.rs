//! Decisions from text: every case is a cluster in YAML and what must be decided about it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a helper of a test fails by panicking")]

mod case;
mod constraints;
mod explain;
mod in_flight;
mod limits;
mod purity;
mod scale_down;
mod scale_up;
mod search;
