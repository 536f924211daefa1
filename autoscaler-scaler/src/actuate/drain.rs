//! Draining a node: which of its pods go now, and asking the eviction API for it.
//!
//! The order: pods that are not critical, by ascending priority; when they are gone, critical ones; at last, when volumes
//! are detached, pods of DaemonSets. An eviction that a disruption budget refuses is asked for again after a while that doubles; when to give
//! up is not decided here, but by the deadline in the record.

use std::collections::{BTreeMap, BTreeSet};

use autoscaler_core::{
    drain::{self, Drainability},
    lifecycle::PodsLeft,
    snapshot::{NodeId, PodId, Snapshot, Uid},
};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{
    api::{core::v1::Pod, policy::v1::Eviction},
    apimachinery::pkg::apis::meta::v1::{DeleteOptions, ObjectMeta, Preconditions, Status},
};
use kube::{
    Api, Client,
    api::{DeleteParams, PostParams},
};

use crate::index::Key;

/// Pods from this priority on are critical, as `system-cluster-critical` is.
const CRITICAL: i32 = 2_000_000_000;

/// How long to wait after the first refusal; each further one doubles it.
const FIRST_WAIT: SignedDuration = SignedDuration::from_secs(2);

/// The longest wait between two attempts.
const LONGEST_WAIT: SignedDuration = SignedDuration::from_secs(30);

/// What is remembered of evictions. It is only about timing and words: losing it costs nothing but an attempt.
#[derive(Debug, Default)]
pub(super) struct Attempts {
    refused: BTreeMap<Uid, Refused>,
    /// Uids of DaemonSet pods that were asked to go: that is done once.
    daemons: BTreeSet<Uid>,
}

#[derive(Debug)]
struct Refused {
    times: u32,
    not_before: Timestamp,
    message: String,
}

/// The pods of a node, sorted by what a drain has to do with them.
#[derive(Debug, Default)]
pub(super) struct Load {
    /// What the state machine sees.
    pub left: PodsLeft,
    /// Pods to evict now, in this order.
    pub due: Vec<Victim>,
    /// When a pod that was refused may be asked for again.
    pub next: Option<Timestamp>,
}

/// A pod to evict.
#[derive(Clone, Debug)]
pub(super) struct Victim {
    /// Namespace and name.
    pub key: Key,
    /// This very pod.
    pub uid: Uid,
    /// The state that was judged; 0 when its version is no number.
    pub resource_version: u64,
    /// Whether it belongs to a DaemonSet.
    pub daemon: bool,
}

/// What became of an eviction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Evicted {
    /// It is on its way out, or gone.
    Yes,
    /// A budget refuses, or the API server is busy.
    Refused(String),
    /// It is not the pod that was judged: look again.
    Changed,
    /// Something else went wrong.
    Failed(String),
}

/// Looks at the pods of a node. `planned` are the pods that the plan has a place for, as namespace/name; `None` when any
/// pod may be moved.
///
/// A pod that must not be evicted is a blocker whatever was ordered: force is for disruption budgets only, and a pod that
/// nobody would replace, or whose data would be lost, goes when its owner says `safe-to-evict=true`.
pub(super) fn load(
    snapshot: &Snapshot,
    node: NodeId,
    planned: Option<&BTreeSet<String>>,
    attempts: &Attempts,
    now: Timestamp,
) -> Load {
    let mut load = Load::default();
    let mut candidates = Vec::new();
    let mut daemons = Vec::new();
    for &id in snapshot.pods_on(node) {
        let pod = snapshot.pod(id);
        let leaving = pod.deletion.is_some();
        let daemon = drain::drainability(snapshot, id, now) == Drainability::Daemon;
        let victim = Victim {
            key: (snapshot.text(pod.namespace).to_owned(), pod.name.to_string()),
            uid: pod.uid.clone(),
            resource_version: pod.resource_version,
            daemon,
        };
        if daemon {
            if !leaving && !pod.is_terminal() && !attempts.daemons.contains(&victim.uid) {
                load.left.daemon += 1;
                daemons.push(victim);
            }
            continue;
        }
        if !drain::must_move(snapshot, id, now) {
            continue;
        }
        load.left.workload += 1;
        let priority = snapshot.class_of(pod).priority;
        let blocked = if leaving {
            None
        } else {
            blocker(snapshot, id, planned, now)
        };
        // Those that are leaving, or must not go, hold the later waves back.
        candidates.push((CRITICAL <= priority, priority, !leaving && blocked.is_none(), victim));
        load.left.blocked = load.left.blocked.take().or(blocked);
    }
    candidates.sort_by(|a, b| (a.0, a.1, &a.3.key).cmp(&(b.0, b.1, &b.3.key)));
    let wave = candidates.first().map(|(critical, ..)| *critical);
    // One that has gone on its way since it was refused holds nothing back.
    let refusal = candidates
        .iter()
        .filter(|(_, _, may_go, _)| *may_go)
        .find_map(|(.., victim)| attempts.refused.get(&victim.uid));
    load.left.refusal = refusal.map(|refused| refused.message.clone());
    let in_wave = candidates
        .into_iter()
        .filter(|(critical, _, may_go, _)| Some(*critical) == wave && *may_go);
    let mut due: Vec<Victim> = in_wave.map(|(.., victim)| victim).collect();
    if wave.is_none() {
        due = daemons;
    }
    due.retain(|victim| {
        let wait = attempts
            .refused
            .get(&victim.uid)
            .map(|refused| refused.not_before)
            .filter(|at| now < *at);
        load.next = [load.next, wait].into_iter().flatten().min();
        wait.is_none()
    });
    load.due = due;
    load
}

/// Asks the eviction API to let one pod go. The pod's own grace period applies.
///
/// The request is written out here, because kube's own spells `deleteOptions` in a way that the API server ignores, and
/// with it the precondition that this is the pod that was judged.
pub(super) async fn evict(client: &Client, victim: &Victim) -> Evicted {
    let (namespace, name) = &victim.key;
    let text = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
    let preconditions = Preconditions {
        uid: text(&victim.uid.to_string()),
        resource_version: (victim.resource_version != 0).then(|| victim.resource_version.to_string()),
    };
    let eviction = Eviction {
        metadata: ObjectMeta {
            name: text(name),
            namespace: text(namespace),
            ..ObjectMeta::default()
        },
        delete_options: Some(DeleteOptions {
            preconditions: Some(preconditions),
            ..DeleteOptions::default()
        }),
    };
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let reply: Result<Status, _> = pods
        .create_subresource("eviction", name, &PostParams::default(), &eviction)
        .await;
    match reply {
        // A pod under several budgets is answered with 201 and a Status that says Failure.
        Ok(status) if status.status.as_deref() == Some("Failure") => Evicted::Refused(
            status
                .message
                .unwrap_or_else(|| "the eviction failed without a message".to_owned()),
        ),
        Ok(_) => Evicted::Yes,
        Err(kube::Error::Api(status)) => match status.code {
            404 => Evicted::Yes,
            409 => Evicted::Changed,
            429 => {
                let causes = status
                    .details
                    .iter()
                    .flat_map(|details| &details.causes)
                    .map(|cause| cause.message.as_str());
                let message = std::iter::once(status.message.as_str())
                    .chain(causes)
                    .collect::<Vec<_>>()
                    .join(" ");
                Evicted::Refused(message)
            }
            // The API server's answer for a pod under several budgets in other versions.
            500 => Evicted::Refused(status.message.clone()),
            _ => Evicted::Failed(status.message.clone()),
        },
        Err(error) => Evicted::Failed(error.to_string()),
    }
}

/// Deletes one pod past its budget. The pod's own grace period applies.
pub(super) async fn delete_past_budget(client: &Client, victim: &Victim) -> Evicted {
    let (namespace, name) = &victim.key;
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let uid = Some(victim.uid.to_string()).filter(|uid| !uid.is_empty());
    let params = DeleteParams::default().preconditions(kube::api::Preconditions {
        uid,
        resource_version: None,
    });
    match pods.delete(name, &params).await {
        Ok(_) => Evicted::Yes,
        Err(kube::Error::Api(status)) if status.code == 404 => Evicted::Yes,
        Err(kube::Error::Api(status)) if status.code == 409 => Evicted::Changed,
        Err(error) => Evicted::Failed(error.to_string()),
    }
}

fn blocker(snapshot: &Snapshot, id: PodId, planned: Option<&BTreeSet<String>>, now: Timestamp) -> Option<String> {
    let name = snapshot.pod_name(id);
    match drain::drainability(snapshot, id, now) {
        Drainability::Block(reason) => Some(format!("{reason}: {}", drain::block_message(snapshot, id, reason))),
        Drainability::Wait => Some(format!("pod {name} wants to end by itself")),
        _ if planned.is_some_and(|planned| !planned.contains(&name)) => {
            Some(format!("pod {name} came to the node after the removal was planned"))
        }
        _ => None,
    }
}

// === impl Attempts ===

impl Attempts {
    /// Remembers what became of an attempt. Returns when to try again, if it is to be tried again.
    pub(super) fn remember(&mut self, victim: &Victim, evicted: &Evicted, now: Timestamp) -> Option<Timestamp> {
        if victim.daemon {
            // Best effort: asked once, whatever the answer.
            self.daemons.insert(victim.uid.clone());
            return None;
        }
        let message = match evicted {
            Evicted::Yes => {
                self.refused.remove(&victim.uid);
                return None;
            }
            Evicted::Changed => "it has changed since it was judged",
            Evicted::Refused(message) | Evicted::Failed(message) => message.as_str(),
        };
        let times = self.refused.get(&victim.uid).map_or(0, |refused| refused.times);
        let factor = 1 << times.min(10);
        let wait = FIRST_WAIT.saturating_mul(factor).min(LONGEST_WAIT);
        let not_before = now.checked_add(wait).unwrap_or(now);
        let (namespace, name) = &victim.key;
        let message = format!("eviction of pod {namespace}/{name} refused: {message}");
        self.refused.insert(
            victim.uid.clone(),
            Refused {
                times: times.saturating_add(1),
                not_before,
                message,
            },
        );
        Some(not_before)
    }

    /// Forgets pods that are no more.
    pub(super) fn retain(&mut self, snapshot: &Snapshot) {
        let is_known = |uid: &&Uid| self.refused.contains_key(*uid) || self.daemons.contains(*uid);
        let alive: BTreeSet<&Uid> = snapshot.pods.iter().map(|pod| &pod.uid).filter(is_known).collect();
        self.refused.retain(|uid, _| alive.contains(uid));
        self.daemons.retain(|uid| alive.contains(uid));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_wait_longer_each_time_and_daemons_are_asked_once() {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let mut victim = Victim {
            key: ("a".into(), "b".into()),
            uid: Uid::new("u"),
            resource_version: 1,
            daemon: false,
        };
        let mut attempts = Attempts::default();
        let refused = Evicted::Refused("no".into());
        let waits: Vec<i64> = (0..7)
            .map(|_| {
                attempts
                    .remember(&victim, &refused, now)
                    .unwrap()
                    .duration_since(now)
                    .as_secs()
            })
            .collect();
        assert_eq!(waits, [2, 4, 8, 16, 30, 30, 30]);
        assert_eq!(
            attempts.refused[&Uid::new("u")].message,
            "eviction of pod a/b refused: no"
        );
        victim.daemon = true;
        victim.uid = Uid::new("d");
        assert_eq!(attempts.remember(&victim, &refused, now), None);
        assert!(attempts.daemons.contains(&Uid::new("d")));
        attempts.retain(&Snapshot::default());
        assert!(attempts.refused.is_empty() && attempts.daemons.is_empty());
    }
}
