//! Tells people, on their pending pods, what was decided about them and why.
//!
//! A pod has one event for a decision, with a summary over all groups in it. The same news is not told again for a while,
//! news that changes all the time is told from time to time, and one decision writes only so many events: the next ones go
//! on with the rest.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use autoscaler_core::{
    plan::{Plan, PodReason, PodReport, PodVerdict},
    snapshot::{GroupId, MachinePhase, Pod, Snapshot, Uid},
};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::ObjectReference;

use crate::{
    events::{Events, NOTE_LIMIT},
    news::{News, Teller, Told, hash},
};

/// Events that wait for later decisions at the most.
const BACKLOG: usize = 1000;

/// Reason of the event on a pod that nodes are created for.
const TRIGGERED: &str = "ScaleUpTriggered";

/// Reason of the event on a pod that no new node would help.
const NOT_TRIGGERED: &str = "NotTriggerScaleUp";

/// How long the same news about the same pod is not repeated.
const REPEAT_AFTER: SignedDuration = SignedDuration::from_mins(10);

/// How long news of the same kind about the same pod are not told, even if something about them is different.
const UPDATE_AFTER: SignedDuration = SignedDuration::from_mins(1);

/// Groups that a summary names for each reason.
const NAMED_GROUPS: usize = 3;

/// Different explanations that a summary gives for each reason.
const MESSAGES: usize = 3;

/// Writes events on pending pods and remembers what was told.
#[derive(Debug)]
pub struct PodEvents {
    teller: Teller,
    /// What there was no room for.
    backlog: Vec<News>,
}

// === impl PodEvents ===

impl PodEvents {
    /// A writer that has told nothing yet.
    #[must_use]
    pub const fn new(events: Events) -> Self {
        Self {
            teller: Teller::new(events, "ScaleUp"),
            backlog: Vec::new(),
        }
    }

    /// Tells what is new about the pending pods of a plan.
    pub async fn report(&mut self, snapshot: &Snapshot, plan: &Plan, now: Timestamp) {
        let mut still_pending = Vec::with_capacity(plan.pods.len());
        // What waited comes first. A pod that got its node meanwhile may still hear why; one that is gone does not.
        let mut news: Vec<News> = std::mem::take(&mut self.backlog);
        let mut waiting: BTreeSet<Uid> = news.iter().map(|news| news.uid.clone()).collect();
        if !waiting.is_empty() {
            let pods = snapshot.pods.iter().map(|pod| &pod.uid);
            waiting = pods.filter(|uid| waiting.contains(*uid)).cloned().collect();
            news.retain(|news| waiting.contains(&news.uid));
        }
        // Pods of one kind share their reasons, and a group that grows has one sentence for all its pods.
        let mut notes = Notes::new(snapshot, plan);
        for report in &plan.pods {
            let pod = snapshot.pod(report.pod);
            let uid = &pod.uid;
            let last = self.teller.last(uid);
            still_pending.extend(last.map(|_| uid.clone()));
            let Some((reason, note)) = notes.of(report).filter(|_| !waiting.contains(uid)) else {
                continue;
            };
            let told = Told {
                reason,
                said: hash(&note),
                at: now,
            };
            if last.is_none_or(|last| is_due(told, last)) {
                news.push(News {
                    uid: uid.clone(),
                    regarding: regarding(snapshot, pod),
                    told,
                    note,
                });
            }
        }
        self.teller.retain(still_pending);
        let unwritten = self.teller.tell(news).await;
        self.put_off(unwritten);
    }

    /// Keeps what the next decision would not find out again by itself: that nodes are created for a pod. Why there are
    /// none, every decision says.
    fn put_off(&mut self, mut news: Vec<News>) {
        let left_out = news.len();
        news.retain(|news| news.told.reason == TRIGGERED);
        news.truncate(BACKLOG);
        if 0 < left_out {
            let waiting = news.len();
            tracing::info!(
                left_out,
                waiting,
                "not all events on pods are written with this decision"
            );
        }
        self.backlog = news;
    }
}

/// A Pod as events refer to it.
fn regarding(snapshot: &Snapshot, pod: &Pod) -> ObjectReference {
    ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Pod".to_owned()),
        namespace: Some(snapshot.text(pod.namespace).to_owned()),
        name: Some(pod.name.to_string()),
        uid: Some(pod.uid.to_string()),
        ..ObjectReference::default()
    }
}

/// Whether this is worth an event after the last one.
fn is_due(told: Told, last: Told) -> bool {
    let passed = told.at.duration_since(last.at);
    if told.reason != last.reason {
        return true;
    }
    let wait = if told.said == last.said {
        REPEAT_AFTER
    } else {
        UPDATE_AFTER
    };
    wait <= passed
}

/// Makes the notes of one plan. What many pods share is made once.
struct Notes<'a> {
    snapshot: &'a Snapshot,
    plan: &'a Plan,
    /// By the address of shared reasons, which live as long as the plan.
    summaries: BTreeMap<usize, String>,
    growth: BTreeMap<GroupId, String>,
}

impl<'a> Notes<'a> {
    const fn new(snapshot: &'a Snapshot, plan: &'a Plan) -> Self {
        Self {
            snapshot,
            plan,
            summaries: BTreeMap::new(),
            growth: BTreeMap::new(),
        }
    }

    /// The reason and the note of the event that a report is worth.
    fn of(&mut self, report: &PodReport) -> Option<(&'static str, String)> {
        let (snapshot, plan) = (self.snapshot, self.plan);
        match report.verdict {
            PodVerdict::TriggersScaleUp(index) => {
                let creation = plan.creations.get(index)?;
                let growth = self
                    .growth
                    .entry(creation.group)
                    .or_insert_with(|| growth(snapshot, plan, creation.group));
                let others = match creation.pods.len() {
                    0 | 1 => String::new(),
                    2 => ", with 1 other pod".to_owned(),
                    count => format!(", with {} other pods", count - 1),
                };
                let (offering, price) = (&creation.offering, creation.hourly_price);
                let note = format!("pod triggered scale-up: [{growth}]; a {offering} node at {price} per hour{others}");
                Some((TRIGGERED, note))
            }
            PodVerdict::Unschedulable => {
                let summary = self
                    .summaries
                    .entry(report.reasons.as_ptr().addr())
                    .or_insert_with(|| summary(snapshot, &report.reasons));
                Some((NOT_TRIGGERED, format!("pod didn't trigger scale-up: {summary}")))
            }
            PodVerdict::FitsExisting(_) | PodVerdict::Ignored => None,
        }
    }
}

/// How a group grows, as the Cluster Autoscaler writes it: `default/web 1->3 (max: 10)`.
fn growth(snapshot: &Snapshot, plan: &Plan, id: GroupId) -> String {
    let living = |phase: MachinePhase| phase != MachinePhase::Failed;
    let nodes = snapshot.nodes.iter().filter(|node| node.group == Some(id));
    let nodes = nodes.filter(|node| {
        node.machine
            .is_none_or(|machine| living(snapshot.machine(machine).phase))
    });
    let machines = snapshot.machines.iter();
    let coming =
        machines.filter(|machine| machine.group == Some(id) && machine.node.is_none() && living(machine.phase));
    let before = nodes.count() + coming.count();
    let created = plan.creations.iter().filter(|creation| creation.group == id).count();
    let (name, max) = (snapshot.group_name(id), snapshot.group(id).max_nodes);
    format!("{name} {before}->{} (max: {max})", before + created)
}

/// Why no group has a new node for a pod: each reason with the number of options that it rules out, some of their groups,
/// and what it says about them. An option is an offering of a group, or a group where the offering does not matter.
fn summary(snapshot: &Snapshot, reasons: &[PodReason]) -> String {
    #[derive(Default)]
    struct Of {
        options: usize,
        groups: Vec<GroupId>,
        messages: Vec<String>,
    }
    let mut by_reason: BTreeMap<String, Of> = BTreeMap::new();
    for reason in reasons {
        let Some(group) = reason.group else { continue };
        let of = by_reason.entry(reason.reason(snapshot).into_owned()).or_default();
        of.options += 1;
        if !of.groups.contains(&group) {
            of.groups.push(group);
        }
        let message = reason.message(snapshot);
        let message = match &reason.offering {
            Some(offering) if !message.contains(offering.as_str()) => format!("{offering}: {message}"),
            _ => message,
        };
        if !of.messages.contains(&message) {
            of.messages.push(message);
        }
    }
    // What holds for the pod as a whole comes before what is said of groups and nodes.
    let whole = reasons
        .iter()
        .take_while(|reason| reason.group.is_none() && reason.node.is_none());
    let whole = whole.map(|reason| format!("{}: {}", reason.reason(snapshot), reason.message(snapshot)));
    let mut text = whole.collect::<Vec<_>>().join("; ");
    if by_reason.is_empty() && text.is_empty() {
        return "there is no NodeGroup".to_owned();
    }
    let mut ordered: Vec<_> = by_reason.into_iter().collect();
    // What rules out most comes first; names decide among equals.
    ordered.sort_by_key(|(_, of)| std::cmp::Reverse(of.options));
    for (index, (reason, of)) in ordered.iter().enumerate() {
        let names = of.groups.iter().map(|group| snapshot.group_name(*group));
        let names = listed(names, of.groups.len(), NAMED_GROUPS, ", ");
        let messages = listed(of.messages.iter().cloned(), of.messages.len(), MESSAGES, " | ");
        let part = format!("{} {reason} ({names}): {messages}", of.options);
        if NOTE_LIMIT * 3 / 4 < text.len() + part.len() && !text.is_empty() {
            let others = ordered.iter().skip(index);
            for (reason, of) in others {
                // Cannot fail: this is a String.
                let _ = write!(text, "; {} {reason}", of.options);
            }
            return text;
        }
        if !text.is_empty() {
            text.push_str("; ");
        }
        text.push_str(&part);
    }
    text
}

/// The first of some texts, and how many more there are.
fn listed(texts: impl Iterator<Item = String>, count: usize, limit: usize, separator: &str) -> String {
    let mut text = texts.take(limit).collect::<Vec<_>>().join(separator);
    if limit < count {
        let _ = write!(text, "{separator}{} more", count - limit);
    }
    text
}

#[cfg(test)]
mod tests {
    use autoscaler_core::{
        build::Input,
        manifest::{Objects, Source, read},
        planner::{Options, plan},
        provider::{Offering, OfferingId},
        quantity::{Bytes, HourlyPrice, MilliCpu},
    };
    use serde_json::{Value, json};

    use super::*;

    const NOW: &str = "2026-01-01T12:00:00Z";

    /// One offering per number of cores, at a cent per core.
    fn offerings(cores: &[i64]) -> Vec<Offering> {
        let offering = |cores: &i64| Offering {
            id: OfferingId::new(format!("c{cores}")),
            name: format!("c{cores}"),
            cpu: MilliCpu(cores * 1000),
            memory: Bytes(cores * 4 * Bytes::GIB),
            disk: Bytes(cores * 40 * Bytes::GIB),
            max_pods: None,
            hourly_price: HourlyPrice::from_nanos(cores * 10_000_000),
            available: true,
            datacenter: None,
        };
        cores.iter().map(offering).collect()
    }

    fn group(name: &str, max: u32, offerings: &[&str]) -> Value {
        json!({
            "apiVersion": "autoscaler.vpsie.com/v1alpha1", "kind": "NodeGroup",
            "metadata": {
                "name": name, "namespace": "default", "labels": { "autoscaler.vpsie.com/managed": "true" },
            },
            "spec": { "minNodes": 0, "maxNodes": max, "datacenterID": "dc", "offeringIDs": offerings },
        })
    }

    fn pod(name: &str, cpu: &str) -> Value {
        json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name, "namespace": "default" },
            "spec": { "containers": [{ "name": "c", "resources": { "requests": { "cpu": cpu } } }] },
            "status": {
                "phase": "Pending",
                "conditions": [{ "type": "PodScheduled", "status": "False", "reason": "Unschedulable" }],
            },
        })
    }

    /// The event of each pending pod, in their order.
    fn notes(objects: &[Value], offerings: &[Offering]) -> Vec<(&'static str, String)> {
        let text = json!({ "apiVersion": "v1", "kind": "List", "items": objects }).to_string();
        let source = Source {
            name: "test".to_owned(),
            text: &text,
        };
        let mut objects = Objects::default();
        read(&source, &mut objects).unwrap();
        let snapshot = Snapshot::build(&Input::new(&objects, offerings));
        let plan = plan(&snapshot, &Options::default(), NOW.parse().unwrap());
        let mut notes = Notes::new(&snapshot, &plan);
        plan.pods.iter().filter_map(|report| notes.of(report)).collect()
    }

    #[test]
    fn a_pod_that_triggers_a_scale_up_hears_how_the_group_grows() {
        let objects = [group("web", 9, &["c2"]), pod("a", "1"), pod("b", "1"), pod("c", "500m")];
        let notes = notes(&objects, &offerings(&[2]));
        let alone = "pod triggered scale-up: [default/web 0->2 (max: 9)]; a c2 node at 0.02 per hour";
        let text: Vec<_> = notes.iter().map(|(_, note)| note.as_str()).collect();
        assert!(
            notes.iter().all(|(reason, _)| *reason == "ScaleUpTriggered"),
            "{notes:?}"
        );
        assert_eq!(text.iter().filter(|note| **note == alone).count(), 1, "{text:?}");
        assert_eq!(
            text.iter()
                .filter(|note| **note == format!("{alone}, with 1 other pod"))
                .count(),
            2,
            "{text:?}"
        );
    }

    #[test]
    fn a_pod_that_triggers_nothing_hears_each_reason_once_with_its_number() {
        let mut objects = vec![pod("p", "9")];
        for name in ["a", "b", "c", "d"] {
            objects.push(group(name, 0, &["c2", "c4"]));
        }
        objects.push(group("e", 5, &["c2", "c4"]));
        let [(reason, note)] = notes(&objects, &offerings(&[2, 4])).try_into().unwrap();
        assert_eq!(reason, "NotTriggerScaleUp");
        for part in [
            "pod didn't trigger scale-up: 4 AtMaxNodes (default/a, default/b, default/c, 1 more): at maxNodes 0",
            "; 2 InsufficientCpu (default/e): c2: cpu: needs 9000m, a new node has 1900m | c4: cpu: needs 9000m, a new \
             node has 3900m",
        ] {
            assert!(note.contains(part), "{note:?} lacks {part:?}");
        }
    }

    #[test]
    fn a_pod_of_a_pod_group_hears_that_there_is_not_room_for_all() {
        let mut objects = vec![group("web", 1, &["c2"])];
        for name in ["a", "b", "c"] {
            let mut pod = pod(name, "1");
            pod["metadata"]["labels"] = json!({ "autoscaler.vpsie.com/pod-group": "train" });
            objects.push(pod);
        }
        let notes = notes(&objects, &offerings(&[2]));
        assert_eq!(notes.len(), 3, "{notes:?}");
        for (reason, note) in &notes {
            assert_eq!(*reason, "NotTriggerScaleUp");
            assert!(
                note.starts_with("pod didn't trigger scale-up: PodGroupIncomplete: "),
                "{note}"
            );
        }
    }

    #[test]
    fn without_any_group_that_is_the_reason() {
        let notes = notes(&[pod("p", "1")], &[]);
        assert_eq!(notes[0].1, "pod didn't trigger scale-up: there is no NodeGroup");
    }

    #[test]
    fn a_summary_of_many_reasons_names_the_rest_and_stays_below_the_limit() {
        let mut objects = vec![pod("p", "900m")];
        for index in 0..30 {
            let mut group = group(&format!("{}-{index}", "g".repeat(60)), 5, &["c1"]);
            let key = format!("{}-{index}", "k".repeat(50));
            group["spec"]["taints"] = json!([{ "key": key, "value": "x", "effect": "NoSchedule" }]);
            match index % 6 {
                0 => group["spec"]["maxNodes"] = json!(0),
                1 => group["metadata"]["labels"] = json!({}),
                2 => group["metadata"]["deletionTimestamp"] = json!(NOW),
                3 => group["spec"]["scaleUpPolicy"] = json!({ "enabled": false }),
                4 => group["spec"]["offeringIDs"] = json!(["unknown"]),
                _ => {}
            }
            objects.push(group);
        }
        let notes = notes(&objects, &offerings(&[1]));
        let note = &notes[0].1;
        assert!(note.len() <= NOTE_LIMIT, "{} bytes: {note}", note.len());
        for reason in [
            "AtMaxNodes",
            "NotManaged",
            "GroupDeleting",
            "ScaleUpDisabled",
            "OfferingUnavailable",
            "TaintToleration",
        ] {
            assert!(note.contains(&format!("5 {reason}")), "{note} lacks {reason}");
        }
    }

    #[test]
    fn the_same_news_are_repeated_after_a_while_and_other_news_sooner() {
        let told = |reason, said, minutes| Told {
            reason,
            said,
            at: NOW.parse::<Timestamp>().unwrap() + SignedDuration::from_mins(minutes),
        };
        let last = told(NOT_TRIGGERED, 1, 0);
        for (next, due) in [
            (told(NOT_TRIGGERED, 1, 9), false),
            (told(NOT_TRIGGERED, 1, 10), true),
            (told(NOT_TRIGGERED, 2, 0), false),
            (told(NOT_TRIGGERED, 2, 1), true),
            (told(TRIGGERED, 1, 0), true),
        ] {
            assert_eq!(is_due(next, last), due, "{next:?}");
        }
    }
}
