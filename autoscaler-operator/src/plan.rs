//! `plan`: decides about a dump of Kubernetes objects, without a cluster.

use autoscaler_core::{
    check::check,
    document::PlanDocument,
    planner::{self, Options},
};
use jiff::Timestamp;

use crate::{
    args::PlanArgs,
    command::{self, Failure},
    input,
};

/// Reads the dump, decides and prints.
///
/// # Errors
/// [`Failure::Input`] for files that cannot be read or understood and for settings that do not exist;
/// [`Failure::Failed`] when the plan breaks an invariant, which is a defect of the planner.
pub fn run(args: &PlanArgs) -> Result<(), Failure> {
    let snapshot = input::read(&args.files, &args.dump)?;
    let options = Options {
        ignore_timers: args.dump.ignore_timers,
    };
    let plan = planner::plan(&snapshot, &options, args.dump.now.unwrap_or_else(Timestamp::now));
    let violations = check(&snapshot, &plan);
    if !violations.is_empty() {
        let lines: Vec<_> = violations.iter().map(ToString::to_string).collect();
        return Err(Failure::Failed(format!(
            "the plan breaks its invariants:\n{}",
            lines.join("\n")
        )));
    }
    command::print_document(&PlanDocument::new(&snapshot, &plan), args.output)
}
