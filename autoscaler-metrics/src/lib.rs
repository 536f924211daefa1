//! What the VPSie node autoscaler counts and measures: metric names, typed recorders and the Prometheus exporter.
//!
//! - [`names`] is the table of every metric: name, kind, unit, labels, buckets and meaning. Alert rules and dashboards
//!   can be checked against [`names::ALL`].
//! - [`record`] holds one function per thing that happens. It writes to whatever recorder of the [`metrics`] crate is
//!   installed, and to none when none is: a library that records costs next to nothing where nobody listens.
//! - [`Exporter`] installs a recorder and renders the Prometheus text format. It opens no port; the program that embeds
//!   it serves the text.
//!
//! Every name starts with `vpsie_autoscaler_`. Names, labels and buckets are those of the Go autoscaler for VPSie where
//! the meaning is the same, so that a dashboard can show both.
//!
//! Label values are bounded: they are values of an enum, `&'static str` of one elsewhere, or an HTTP status. The two
//! exceptions are `namespace` and `nodegroup`, and their series leave the output when the node group is forgotten (see
//! [`record::forget_nodegroup`]).
//!
//! ```
//! use autoscaler_metrics::{Exporter, record, record::NodeGroup};
//!
//! # fn main() -> Result<(), autoscaler_metrics::Error> {
//! // A program calls `Exporter::install()`; a test keeps its metrics to itself.
//! let local = Exporter::local()?;
//! local.record(|| record::scale_up(NodeGroup::new("kube-system", "workers"), 2));
//!
//! let text = local.exporter().render();
//! assert!(text.contains(r#"vpsie_autoscaler_scale_up_total{namespace="kube-system",nodegroup="workers"} 2"#));
//! # Ok(())
//! # }
//! ```

mod exporter;
pub mod names;
pub mod record;

pub use exporter::{Error, Exporter, Local};
