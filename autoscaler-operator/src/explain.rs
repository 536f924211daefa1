//! `explain`: why something is as it is, from a dump or from the running operator.
//!
//! The answer is made in `autoscaler_core::explain`. [`answer`] is the endpoint of the operator, [`ask`] asks it.

pub mod answer;
pub mod ask;

use autoscaler_core::{
    explain::{self, document::ExplanationDocument},
    planner::Options,
    snapshot::{PodId, Snapshot},
};
use jiff::Timestamp;

use crate::{
    args::{Explain, ExplainArgs, ExplainPodArgs},
    command::{self, Failure},
    input,
};

/// Explains and prints.
///
/// # Errors
/// [`Failure::Input`] for files that cannot be read or understood, and for names of pods that are not there;
/// [`Failure::Failed`] when the running operator cannot be asked.
pub fn run(args: &ExplainArgs) -> Result<(), Failure> {
    match &args.what {
        Explain::Pod(args) if args.files.is_empty() => {
            for name in &args.names {
                check_name(name)?;
            }
            crate::block_on(ask::pod(args))
        }
        Explain::Pod(args) => pod(args),
    }
}

fn pod(args: &ExplainPodArgs) -> Result<(), Failure> {
    for name in &args.names {
        check_name(name)?;
    }
    let snapshot = input::read(&args.files, &args.dump)?;
    let pods = select(&snapshot, &args.names).map_err(Failure::Input)?;
    let options = Options {
        ignore_timers: args.dump.ignore_timers,
    };
    let now = args.dump.now.unwrap_or_else(Timestamp::now);
    let explanation = explain::explain_pods(&snapshot, &pods, &options, now);
    command::print_document(&ExplanationDocument::new(&snapshot, &explanation), args.output)
}

/// The pods with these names, every pending one when there are none; the error is a sentence.
fn select(snapshot: &Snapshot, names: &[String]) -> Result<Vec<PodId>, String> {
    if names.is_empty() {
        return Ok(explain::pending_pods(snapshot));
    }
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    explain::find_pods(snapshot, &names).map_err(|name| format!("there is no pod {name}"))
}

/// Whether a name has the form that pods are asked for by.
fn check_name(name: &str) -> Result<(), Failure> {
    let parts: Vec<_> = name.split('/').collect();
    match parts.as_slice() {
        [namespace, pod] if !namespace.is_empty() && !pod.is_empty() => Ok(()),
        _ => Err(Failure::Input(format!(
            "{name:?} names no pod: expected NAMESPACE/NAME"
        ))),
    }
}
