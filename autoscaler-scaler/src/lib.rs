//! The Kubernetes adapter of the VPSie autoscaler.
//!
//! [`watch`] fills the [`index`] from the API server, and [`utilization`] adds what nodes are measured to use; [`run`] turns the index into snapshots, lets the core decide, and
//! has [`actuate`] carry the decision out. [`lease`] says which replica may act. What is decided, and why, is the
//! business of `autoscaler-core`; nothing here chooses.
//!
//! With the feature `embedded-cluster`, [`embedded`] is a Kubernetes API server in memory, for demos and tests. With the
//! feature `failpoints`, which is for tests only, an operator can be ended in the middle of a removal.

pub mod actuate;
pub mod api;
pub mod clients;
#[cfg(feature = "embedded-cluster")]
pub mod embedded;
pub mod events;
#[cfg(feature = "failpoints")]
pub mod failpoint;
#[cfg(not(feature = "failpoints"))]
mod failpoint;
pub mod index;
pub mod lease;
mod news;
pub mod nodes;
pub mod pods;
pub mod run;
pub mod status;
pub mod utilization;
pub mod view;
pub mod watch;
