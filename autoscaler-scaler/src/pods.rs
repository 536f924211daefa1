//! Tells people, on their pending pods, what was decided about them and why.

use std::collections::BTreeMap;

use autoscaler_core::{
    plan::{Plan, PodReport, PodVerdict},
    snapshot::Snapshot,
};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::ObjectReference;

use crate::{events::Events, index::Cluster};

/// Events of one decision at the most; the next decision goes on with the rest.
const EVENTS_PER_DECISION: usize = 50;

/// How long the same news about the same pod is not repeated.
const REPEAT_AFTER: SignedDuration = SignedDuration::from_mins(5);

/// Writes events on pending pods and remembers what was told.
#[derive(Debug)]
pub struct PodEvents {
    events: Events,
    /// Uid of the pod, to the reason of the last event and its time.
    told: BTreeMap<String, (&'static str, Timestamp)>,
}

// === impl PodEvents ===

impl PodEvents {
    /// A writer that has told nothing yet.
    #[must_use]
    pub const fn new(events: Events) -> Self {
        Self {
            events,
            told: BTreeMap::new(),
        }
    }

    /// Tells what is new about the pending pods of a plan.
    pub async fn report(&mut self, cluster: &Cluster, snapshot: &Snapshot, plan: &Plan, now: Timestamp) {
        let mut still_pending = BTreeMap::new();
        let mut budget = EVENTS_PER_DECISION;
        for report in &plan.pods {
            let pod = snapshot.pod(report.pod);
            let key = (
                snapshot.text(pod.namespace).to_owned(),
                snapshot.text(pod.name).to_owned(),
            );
            let Some(manifest) = cluster.pods.get(&key) else {
                continue;
            };
            let uid = manifest.metadata.uid.clone();
            let last = self.told.get(&uid).copied();
            let Some((reason, note)) = news(snapshot, plan, report) else {
                still_pending.extend(last.map(|last| (uid, last)));
                continue;
            };
            let repeated = last.is_some_and(|(told, at)| told == reason && now.duration_since(at) < REPEAT_AFTER);
            if repeated || budget == 0 {
                still_pending.extend(last.map(|last| (uid, last)));
                continue;
            }
            budget -= 1;
            let regarding = ObjectReference {
                api_version: Some("v1".to_owned()),
                kind: Some("Pod".to_owned()),
                namespace: Some(key.0),
                name: Some(key.1),
                uid: Some(uid.clone()),
                ..ObjectReference::default()
            };
            self.events.normal(&regarding, "ScaleUp", reason, note).await;
            still_pending.insert(uid, (reason, now));
        }
        self.told = still_pending;
    }
}

/// The reason and the note of the event that a report is worth.
fn news(snapshot: &Snapshot, plan: &Plan, report: &PodReport) -> Option<(&'static str, String)> {
    match report.verdict {
        PodVerdict::TriggersScaleUp(index) => {
            let creation = plan.creations.get(index)?;
            let group = snapshot.group_name(creation.group);
            let with = creation.pods.len();
            let price = creation.hourly_price;
            let note = format!(
                "a {} node of {group} at {price} per hour is created for it ({with} pods share it)",
                creation.offering
            );
            Some(("ScaleUpTriggered", note))
        }
        PodVerdict::Unschedulable => Some((
            "NotTriggerScaleUp",
            format!("no new node would help: {}", summary(snapshot, report)),
        )),
        PodVerdict::FitsExisting(_) | PodVerdict::Ignored => None,
    }
}

/// The reasons per group and offering in one line. Groups without reasons do not exist: there are no groups.
fn summary(snapshot: &Snapshot, report: &PodReport) -> String {
    let of_groups = report.reasons.iter().filter_map(|reason| {
        let group = snapshot.group_name(reason.group?);
        Some(format!("{group}: {} ({})", reason.reason, reason.message))
    });
    let lines: Vec<_> = of_groups.collect();
    if lines.is_empty() {
        "there is no NodeGroup".to_owned()
    } else {
        lines.join("; ")
    }
}
