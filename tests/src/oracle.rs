//! kube-scheduler's own Filter plugins, asked about random clusters, against the answers of the planner.
//!
//! [`process`] runs the program that holds the plugins, [`cluster`] makes clusters in which every predicate decides
//! somewhere, [`verdicts`] puts both answers side by side, [`shrink`] makes a disagreement small enough to read, and
//! [`plans`] asks whether a plan can be carried out. What the tests assert is in `tests/oracle`.

pub mod cluster;
pub mod plans;
pub mod pods;
pub mod problems;
pub mod process;
pub mod random;
pub mod shrink;
pub mod verdicts;
pub mod volumes;
