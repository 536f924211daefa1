//! Failpoints: named places in a removal where a test ends the operator as SIGKILL would. May hold: their names, and how
//! one of them is armed and reached.
//!
//! They exist with the feature `failpoints` only. Without it the macro `failpoint` stands for nothing, and neither the
//! names nor the variable that arms them are in the binary.
//!
//! A point is a moment and a step, for example `after-cordon`: between two points stands one write of the record or one
//! effect outside of it. `after-evict#2` is the second time that a process comes to `after-evict`.
//!
//! In a process of its own the operator is armed by the environment variable [`VARIABLE`], and at the point it aborts.
//! For what comes after that is SIGKILL: no destructor runs, nothing is flushed, and connections end in the middle of
//! whatever is on them. It needs neither `unsafe` nor a further dependency, and what started the process can tell it from
//! every other end. An operator that shares the process of a test is armed by [`arm`]; the task that comes to the point
//! unwinds from there, and nothing of it goes on.

#[cfg(feature = "failpoints")]
use std::{
    cell::RefCell,
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
};

#[cfg(feature = "failpoints")]
use autoscaler_core::lifecycle::{Record, RemovalPhase};
#[cfg(feature = "failpoints")]
use autoscaler_core::snapshot::MachinePhase;

/// A failpoint: its moment, `before` or `after`, and its step. Nothing without the feature `failpoints`.
#[cfg(feature = "failpoints")]
macro_rules! failpoint {
    ($moment:ident $step:expr) => {
        $crate::failpoint::reached(stringify!($moment), ($step).into())
    };
}
#[cfg(not(feature = "failpoints"))]
macro_rules! failpoint {
    ($($nothing:tt)*) => {};
}
pub(crate) use failpoint;

/// The environment variable that names the point at which a process is to end.
#[cfg(feature = "failpoints")]
pub const VARIABLE: &str = "VPSIE_AUTOSCALER_FAILPOINT";

/// Every point of a removal that succeeds and moves two pods under one budget, in the order in which they are reached.
#[cfg(feature = "failpoints")]
pub const REMOVAL: &[&str] = &[
    "before-write-Planned",
    "after-write-Planned",
    "after-announce",
    "before-write-Terminating",
    "after-write-Terminating",
    "before-cordon",
    "after-cordon",
    "before-write-Cordoned",
    "after-write-Cordoned",
    "before-write-Draining",
    "after-write-Draining",
    "before-evict",
    "after-evict",
    "before-evict#2",
    "after-evict#2",
    "before-write-Drained",
    "after-write-Drained",
    "before-evict-daemon",
    "after-evict-daemon",
    "before-write-ProviderDeleting",
    "after-write-ProviderDeleting",
    "before-delete-vm",
    "after-delete-vm",
    "before-write-ProviderGone",
    "after-write-ProviderGone",
    "before-delete-node",
    "after-delete-node",
    "before-write-NodeDeleted",
    "after-write-NodeDeleted",
    "before-delete-record",
    "before-release-record",
    "after-delete-record",
];

/// Every point of the way back, from the first objection to a removal, in the order in which they are reached.
#[cfg(feature = "failpoints")]
pub const ROLLBACK: &[&str] = &[
    "before-write-RollingBack",
    "after-write-RollingBack",
    "before-uncordon",
    "after-uncordon",
    "before-write-Failed",
    "after-write-Failed",
];

/// A point at which to end.
#[cfg(feature = "failpoints")]
#[derive(Debug)]
struct Armed {
    name: String,
    /// How often it is to be reached.
    count: u32,
    reached: AtomicU32,
}

#[cfg(feature = "failpoints")]
thread_local! {
    static ARMED: RefCell<Option<Armed>> = const { RefCell::new(None) };
}

/// Arms a point for what runs on this thread, or with `None` no point any more. Whatever comes to it ends by unwinding.
#[cfg(feature = "failpoints")]
pub fn arm(point: Option<&str>) {
    ARMED.with_borrow_mut(|armed| *armed = point.map(Armed::parse));
}

/// The step that writes what `after` has and `before` has not, if it is one of a removal.
#[cfg(feature = "failpoints")]
pub(crate) fn write(before: &Record, after: &Record) -> Option<&'static str> {
    let phase = after.removal.as_ref()?.phase;
    if before.removal.as_ref().map(|removal| removal.phase) != Some(phase) {
        return Some(match phase {
            RemovalPhase::Planned => "write-Planned",
            RemovalPhase::Cordoned => "write-Cordoned",
            RemovalPhase::Draining => "write-Draining",
            RemovalPhase::Drained => "write-Drained",
            RemovalPhase::ProviderDeleting => "write-ProviderDeleting",
            RemovalPhase::ProviderGone => "write-ProviderGone",
            RemovalPhase::NodeDeleted => "write-NodeDeleted",
            RemovalPhase::RollingBack => "write-RollingBack",
            RemovalPhase::Failed => "write-Failed",
        });
    }
    let terminates = after.phase == MachinePhase::Terminating && before.phase != after.phase;
    terminates.then_some("write-Terminating")
}

/// Ends this process, or this task, if this is the point that is armed.
#[cfg(feature = "failpoints")]
pub(crate) fn reached(moment: &str, step: Option<&str>) {
    static PROCESS: OnceLock<Option<Armed>> = OnceLock::new();
    let Some(step) = step else { return };
    let process = PROCESS.get_or_init(|| std::env::var(VARIABLE).ok().map(|point| Armed::parse(&point)));
    if process.as_ref().is_some_and(|armed| armed.is_met(moment, step)) {
        std::process::abort();
    }
    let ends = ARMED.with_borrow(|armed| armed.as_ref().is_some_and(|armed| armed.is_met(moment, step)));
    if ends {
        // Not a panic: that would print a message for something that is meant to be.
        std::panic::resume_unwind(Box::new("a failpoint was reached"));
    }
}

#[cfg(feature = "failpoints")]
impl Armed {
    fn parse(point: &str) -> Self {
        let (name, count) = point.split_once('#').unwrap_or((point, "1"));
        Self {
            name: name.to_owned(),
            // A count that is no number is never met, and the test that waits for it says so.
            count: count.parse().unwrap_or(0),
            reached: AtomicU32::new(0),
        }
    }

    fn is_met(&self, moment: &str, step: &str) -> bool {
        let is_here = self
            .name
            .strip_prefix(moment)
            .and_then(|rest| rest.strip_prefix('-'))
            .is_some_and(|name| name == step);
        is_here && self.reached.fetch_add(1, Ordering::Relaxed).saturating_add(1) == self.count
    }
}

#[cfg(all(test, feature = "failpoints"))]
mod tests {
    use super::*;

    #[test]
    fn the_armed_point_ends_its_task_the_given_time_that_it_is_reached() {
        arm(Some("after-evict#2"));
        failpoint!(before "evict");
        failpoint!(after "evict");
        failpoint!(before "evict");
        failpoint!(after "evict-daemon");
        let end = std::panic::catch_unwind(|| failpoint!(after "evict"));
        assert!(end.is_err());
        arm(None);
        failpoint!(after "evict");
        failpoint!(after None);
    }
}
