//! Pure decisions of a Kubernetes node autoscaler: one snapshot in, one plan with reasons out.
//!
//! The crate has no clock, no runtime, no I/O and no environment. The same input always gives the same plan, to the
//! byte, so that a decision can be made again from a dump, explained, simulated and tested.
//!
//! ```
//! use autoscaler_core::{
//!     build::Input,
//!     check::check,
//!     manifest::{Objects, Source, read, read_offerings},
//!     planner::{Options, plan},
//!     snapshot::Snapshot,
//! };
//!
//! let offerings = r#"{"data": [{"id": "small", "name": "Small", "cpu": 2, "ram": 4096, "disk": 80, "hourly_price": 0.03}]}"#;
//! let offerings = read_offerings(&Source { name: "offerings.json".into(), text: offerings })?;
//!
//! let text = r#"
//! apiVersion: autoscaler.vpsie.com/v1alpha1
//! kind: NodeGroup
//! metadata: {name: general, namespace: default, labels: {autoscaler.vpsie.com/managed: "true"}}
//! spec: {minNodes: 0, maxNodes: 5, datacenterID: dc-1, offeringIDs: [small]}
//! ---
//! apiVersion: v1
//! kind: Pod
//! metadata: {name: web, namespace: default}
//! spec: {containers: [{name: main, resources: {requests: {cpu: 500m}}}]}
//! status:
//!   phase: Pending
//!   conditions: [{type: PodScheduled, status: "False", reason: Unschedulable}]
//! "#;
//! let mut objects = Objects::default();
//! read(&Source { name: "dump.yaml".into(), text }, &mut objects)?;
//!
//! let snapshot = Snapshot::build(&Input::new(&objects, &offerings));
//! let decided = plan(&snapshot, &Options::default(), "2026-01-01T12:00:00Z".parse()?);
//! assert_eq!(check(&snapshot, &decided), []);
//! assert_eq!(decided.creations.len(), 1);
//! assert_eq!(decided.hourly_price().to_string(), "0.03");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Reading order
//!
//! - [`manifest`] reads Kubernetes objects, [`build`] makes a [`snapshot`] out of them.
//! - [`planner`] decides. Scale-up places pods in a simulated [`world`], on nodes that look like a [`template`];
//!   [`scale_down`] moves them, by the rules of [`drain`] and [`pdb`]. [`fit`] and [`constraint`] answer as the Filter
//!   plugins of kube-scheduler do.
//! - The result is a [`plan`](mod@plan), [`check`](mod@check) judges it, [`document`] turns it into JSON. [`explain`] says
//!   what one pod sees before anything is moved, and why a node stays.
//! - [`usage`] keeps what nodes are measured to use, which scale-down looks at beside the requests of their pods.
//! - [`lifecycle`] is the life of one node as a state machine, [`provider`] is the port to the cloud.
//!
//! Names of resources, labels and reasons are those of Kubernetes and, where it has one, of the Cluster Autoscaler.

pub mod build;
pub mod check;
pub mod constraint;
pub mod document;
pub mod drain;
pub mod explain;
pub mod fit;
mod hash;
mod headroom;
pub mod hours;
pub mod index;
pub mod lifecycle;
pub mod manifest;
mod options;
pub mod pdb;
pub mod plan;
pub mod planner;
pub mod provider;
pub mod quantity;
pub mod resources;
pub mod scale_down;
mod scale_up;
pub mod selector;
pub mod snapshot;
pub mod symbol;
pub mod taint;
pub mod template;
pub mod usage;
pub mod world;
