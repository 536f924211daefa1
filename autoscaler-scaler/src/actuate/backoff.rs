//! Back-off: an offering that cannot be had for a group is left alone for a while, and the next best one is bought.
//!
//! What failed is in the status of the NodeGroup (`scaleUpBackoffs`), so that it survives a restart. Failures that a
//! VPSieNode records are read from there and not from memory: they count once, whoever sees them first.

use std::collections::BTreeMap;

use autoscaler_core::snapshot::MachinePhase;
use jiff::{SignedDuration, Timestamp};
use kube::{Resource as _, ResourceExt as _};

use super::{Actuator, TickReport, group, record};
use crate::{
    api::{self, NodeGroup, ScaleUpBackoff, VPSieNode},
    index::{Cluster, Key},
};

/// How long an offering is left alone after its first failure; each further one doubles it.
const FIRST: SignedDuration = SignedDuration::from_mins(5);

/// The longest time that an offering is left alone.
const LONGEST: SignedDuration = SignedDuration::from_mins(30);

/// How long a failure is remembered.
const MEMORY: SignedDuration = SignedDuration::from_hours(3);

/// The longest message that a status takes, in bytes.
const MESSAGE_LIMIT: usize = 1024;

/// Something that keeps an offering from being had: a refused order, or a node that did not come up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Setback {
    pub group: Key,
    pub offering: String,
    /// One word in CamelCase.
    pub reason: String,
    /// What the provider said, or which deadline passed.
    pub message: String,
    pub at: Timestamp,
}

// === impl Actuator ===

impl Actuator {
    /// Records refused orders, and nodes that failed on their way, so that the next decision leaves those offerings
    /// alone. Returns whether anything is new.
    pub(super) async fn record_setbacks(
        &self,
        refusals: Vec<Setback>,
        now: Timestamp,
        report: &mut TickReport,
    ) -> bool {
        let cluster = self.index.cluster();
        let mut by_group: BTreeMap<Key, BTreeMap<String, Setback>> = BTreeMap::new();
        for setback in refusals.into_iter().chain(failed_nodes(&cluster, now)) {
            // Several failures of one offering in one tick are one failure: the last of them.
            let of_group = by_group.entry(setback.group.clone()).or_default();
            let latest = of_group
                .entry(setback.offering.clone())
                .or_insert_with(|| setback.clone());
            if latest.at < setback.at {
                *latest = setback;
            }
        }
        let anything = !by_group.is_empty();
        for (key, setbacks) in by_group {
            if let Some(group) = cluster.groups.get(&key) {
                self.record_of_group(group, &key, setbacks.into_values().collect(), report)
                    .await;
            }
        }
        anything
    }

    async fn record_of_group(&self, group: &NodeGroup, key: &Key, setbacks: Vec<Setback>, report: &mut TickReport) {
        let mut backoffs = group
            .status
            .as_ref()
            .map(|status| status.scale_up_backoffs.clone())
            .unwrap_or_default();
        for setback in &setbacks {
            back_off(&mut backoffs, setback);
        }
        let result = self
            .write_group_status(group, |status| status.scale_up_backoffs.clone_from(&backoffs))
            .await;
        if let Err(error) = result {
            report.problem(group::describe(key), "record a back-off", error.to_string());
        }
        for setback in &setbacks {
            let entry = backoffs.iter().find(|backoff| backoff.offering == setback.offering);
            let until = entry.and_then(|backoff| backoff.until.as_ref()).map(|time| time.0);
            let note = sentence(&setback.offering, until, &setback.message);
            self.events
                .warning_anew(&group.object_ref(&()), "ScaleUp", &setback.reason, note)
                .await;
        }
    }
}

/// VPSieNodes that failed on their way to a Ready node and whose failure no back-off counts yet.
fn failed_nodes(cluster: &Cluster, now: Timestamp) -> impl Iterator<Item = Setback> {
    cluster.machines.values().filter_map(move |machine| {
        let failure = failure(machine).filter(|failure| now.duration_since(failure.at) <= MEMORY)?;
        let group = cluster.groups.get(&failure.group)?;
        let known = |backoff: &ScaleUpBackoff| {
            backoff.offering == failure.offering
                && backoff.last_failure.as_ref().is_some_and(|time| failure.at <= time.0)
        };
        let is_known = group
            .status
            .as_ref()
            .is_some_and(|status| status.scale_up_backoffs.iter().any(known));
        (group.is_managed() && !is_known).then_some(failure)
    })
}

/// The failure of a VPSieNode that never became Ready.
fn failure(machine: &VPSieNode) -> Option<Setback> {
    let since = machine.status.as_ref()?.phase_since.as_ref()?.0;
    let record = record::read(machine, since);
    let was_ready = machine.status.as_ref().is_some_and(|status| status.ready_at.is_some());
    if record.phase != MachinePhase::Failed || was_ready {
        return None;
    }
    let failure = record.failure?;
    Some(Setback {
        group: (
            machine.namespace().unwrap_or_default(),
            machine.spec.node_group_name.clone(),
        ),
        offering: machine.spec.instance_type.clone(),
        reason: failure.reason,
        message: failure.message,
        at: since,
    })
}

/// Notes one more failure of an offering.
///
/// As in the Cluster Autoscaler, a failure while the offering is backed off is of the same attempt: it changes what is
/// said and moves the end, and the length stays. One after the end doubles the length.
fn back_off(backoffs: &mut Vec<ScaleUpBackoff>, setback: &Setback) {
    forget_old(backoffs, setback.at);
    let earlier = backoffs.iter().find(|backoff| backoff.offering == setback.offering);
    let failures = earlier.map_or(1, |backoff| {
        let lasts = backoff.until.as_ref().is_some_and(|until| setback.at < until.0);
        backoff.failures.max(1).saturating_add(i32::from(!lasts))
    });
    let doublings = u32::try_from(failures.saturating_sub(1)).unwrap_or(0).min(10);
    let wait = FIRST.saturating_mul(1 << doublings).min(LONGEST);
    let mut message = setback.message.clone();
    let end = (0..=MESSAGE_LIMIT).rev().find(|end| message.is_char_boundary(*end));
    message.truncate(end.unwrap_or(0));
    backoffs.retain(|backoff| backoff.offering != setback.offering);
    backoffs.push(ScaleUpBackoff {
        offering: setback.offering.clone(),
        until: setback.at.checked_add(wait).ok().map(api::time),
        failures,
        last_failure: Some(api::time(setback.at)),
        reason: Some(setback.reason.clone()),
        message: Some(message),
    });
    backoffs.sort_by(|a, b| a.offering.cmp(&b.offering));
}

/// Drops what failed so long ago that it counts no more.
pub(super) fn forget_old(backoffs: &mut Vec<ScaleUpBackoff>, now: Timestamp) {
    backoffs.retain(|backoff| {
        let last = backoff.last_failure.as_ref();
        last.is_some_and(|time| now.duration_since(time.0) <= MEMORY)
    });
}

/// A back-off in words.
pub(super) fn sentence(offering: &str, until: Option<Timestamp>, message: &str) -> String {
    match until {
        Some(until) => format!("offering {offering} is backed off until {until}: {message}"),
        None => format!("offering {offering} is backed off: {message}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minutes(minutes: i64) -> Timestamp {
        let start: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        start + SignedDuration::from_mins(minutes)
    }

    fn setback(at: i64) -> Setback {
        Setback {
            group: ("ns".into(), "g".into()),
            offering: "small".into(),
            reason: "QuotaExceeded".into(),
            message: format!("at {at}"),
            at: minutes(at),
        }
    }

    /// Failures and the length of the wait in minutes after each of the failures at these minutes.
    fn after(failures: &[i64]) -> Vec<(i32, i64)> {
        let mut list = Vec::new();
        let mut seen = Vec::new();
        for at in failures {
            back_off(&mut list, &setback(*at));
            assert_eq!(list.len(), 1);
            let wait = list[0].until.as_ref().unwrap().0.duration_since(minutes(*at));
            assert_eq!(list[0].message.as_deref(), Some(format!("at {at}").as_str()));
            seen.push((list[0].failures, wait.as_mins()));
        }
        seen
    }

    #[test]
    fn back_offs_double_up_to_half_an_hour() {
        assert_eq!(
            after(&[0, 40, 80, 120, 160]),
            [(1, 5), (2, 10), (3, 20), (4, 30), (5, 30)]
        );
    }

    #[test]
    fn a_failure_during_a_back_off_moves_its_end_and_not_its_length() {
        assert_eq!(after(&[0, 2, 6]), [(1, 5), (1, 5), (1, 5)]);
        // The end is no longer part of it.
        assert_eq!(after(&[0, 5, 14, 25]), [(1, 5), (2, 10), (2, 10), (3, 20)]);
    }

    #[test]
    fn a_back_off_is_forgotten_after_three_hours_without_a_failure() {
        assert_eq!(after(&[0, 60, 60 + 180]), [(1, 5), (2, 10), (3, 20)]);
        assert_eq!(after(&[0, 60, 60 + 181]), [(1, 5), (2, 10), (1, 5)]);
        let mut list = Vec::new();
        back_off(&mut list, &setback(0));
        forget_old(&mut list, minutes(180));
        assert_eq!(list.len(), 1);
        forget_old(&mut list, minutes(181));
        assert_eq!(list, []);
    }

    #[test]
    fn offerings_are_backed_off_one_by_one() {
        let mut list = Vec::new();
        back_off(&mut list, &setback(0));
        back_off(
            &mut list,
            &Setback {
                offering: "large".into(),
                ..setback(1)
            },
        );
        let named: Vec<_> = list.iter().map(|b| (b.offering.as_str(), b.failures)).collect();
        assert_eq!(named, [("large", 1), ("small", 1)]);
    }

    #[test]
    fn a_long_message_is_cut_between_characters() {
        let mut list = Vec::new();
        back_off(
            &mut list,
            &Setback {
                message: "ä".repeat(600) + "b",
                ..setback(0)
            },
        );
        assert_eq!(list[0].message.as_deref(), Some("ä".repeat(512).as_str()));
    }
}
