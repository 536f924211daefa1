//! What planning leaves in the status of our objects: since when a node is not needed, so that it survives a restart, and
//! what was decided about the node last, for people.

use std::collections::BTreeMap;

use autoscaler_core::{
    plan::{KeepReason, NodeReport, NodeVerdict, Plan},
    snapshot::Snapshot,
};
use futures::{FutureExt as _, StreamExt as _, future::BoxFuture};
use jiff::{SignedDuration, Timestamp};
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
};
use serde_json::{Map, json};

use crate::{
    api,
    index::{Cluster, Index, Key},
};

/// Writes at the same time.
const CONCURRENCY: usize = 16;

/// The most nodes that become unneeded with one decision, and the most about which something else is decided; the next one
/// goes on. Thousands of nodes may turn unneeded at once, and pods that come to be pending must not wait for as many
/// writes. For the nodes that are left time begins to count with the next decision, which is safe.
const NEW_PER_DECISION: usize = 500;

/// The most nodes of which nothing but the message is written with one decision.
const MESSAGES_PER_DECISION: usize = 50;

/// How long a decision that stays the same keeps its message, although numbers in it change.
const MESSAGE_STAYS: SignedDuration = SignedDuration::from_mins(10);

/// The longest message that a status takes, in characters.
const MESSAGE_LIMIT: usize = 4096;

/// Records what is decided about the node of each VPSieNode.
#[derive(Debug, Default)]
pub struct Decisions {
    /// When the decision of each was written; of those that an earlier process wrote, when they were first seen.
    written: BTreeMap<Key, Timestamp>,
}

/// What changes in the status of one VPSieNode.
#[derive(Debug)]
struct Change {
    key: Key,
    /// Since when its node is unneeded, if that changes.
    unneeded_since: Option<Option<Timestamp>>,
    /// What is decided about its node, if that changes.
    decision: Option<api::Decision>,
}

/// All changes of one decision, the most urgent first.
#[derive(Debug, Default)]
struct Changes {
    needed: Vec<Change>,
    unneeded: Vec<Change>,
    decided: Vec<Change>,
    messages: Vec<Change>,
}

/// How a decision differs from the last one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Difference {
    None,
    /// The same in other words, which are mostly other numbers.
    Message,
    /// Another verdict, reason or pod.
    Decision,
}

// === impl Decisions ===

impl Decisions {
    /// Records since when the node of each VPSieNode is unneeded, and forgets it where the node is needed again: that first,
    /// and without a limit, because a time that is kept too long would let a node go too early. In the same write, or in one
    /// of its own, goes what is decided about the node when verdict, reason or pod are others than the status has, and when
    /// the message is another one than ten minutes ago. Nothing is written about a node that stays as it is.
    ///
    /// While a node is being removed its VPSieNode keeps the decision that led to it.
    ///
    /// # Errors
    /// The first failed write; the others are still made. The next decision tries again.
    pub async fn record(
        &mut self,
        client: &Client,
        index: &Index,
        cluster: &Cluster,
        snapshot: &Snapshot,
        plan: &Plan,
    ) -> Result<(), kube::Error> {
        let Changes {
            needed,
            unneeded,
            decided,
            messages,
        } = self.changes(cluster, snapshot, plan);
        let changes = needed.into_iter().chain(unneeded).chain(decided).chain(messages);
        // Boxed, so that the compiler can see that the whole is `Send`.
        let writes: Vec<BoxFuture<'_, Result<Option<Key>, kube::Error>>> =
            changes.map(|change| change.write(client, index).boxed()).collect();
        let results: Vec<_> = futures::stream::iter(writes).buffered(CONCURRENCY).collect().await;
        let mut outcome = Ok(());
        for result in results {
            match result {
                Ok(decided) => self.written.extend(decided.map(|key| (key, plan.now))),
                Err(error) => outcome = outcome.and(Err(error)),
            }
        }
        outcome
    }

    fn changes(&mut self, cluster: &Cluster, snapshot: &Snapshot, plan: &Plan) -> Changes {
        let mut changes = Changes::default();
        let mut before = std::mem::take(&mut self.written);
        for report in &plan.nodes {
            let machine = snapshot.node(report.node).machine;
            let Some(machine) = machine.map(|machine| snapshot.machine(machine)) else {
                continue;
            };
            let key = (
                snapshot.text(machine.namespace).to_owned(),
                snapshot.text(machine.name).to_owned(),
            );
            // A VPSieNode without any status has no phase yet; its life starts first.
            let status = cluster.machines.get(&key).and_then(|machine| machine.status.as_ref());
            let Some(status) = status else { continue };
            let written = before.remove(&key).unwrap_or(plan.now);
            self.written.insert(key.clone(), written);

            let unneeded_since = match (report.unneeded, machine.unneeded_since) {
                (true, None) => Some(Some(plan.now)),
                (false, Some(_)) => Some(None),
                _ => None,
            };
            let decision = decision(snapshot, report);
            let difference = difference(decision.as_ref(), status.last_decision.as_ref());
            let is_old = MESSAGE_STAYS <= plan.now.duration_since(written);
            let (list, limit) = match (unneeded_since, difference) {
                (Some(None), _) => (&mut changes.needed, usize::MAX),
                (Some(Some(_)), _) => (&mut changes.unneeded, NEW_PER_DECISION),
                (None, Difference::Decision) => (&mut changes.decided, NEW_PER_DECISION),
                (None, Difference::Message) if is_old => (&mut changes.messages, MESSAGES_PER_DECISION),
                (None, Difference::Message | Difference::None) => continue,
            };
            if list.len() < limit {
                list.push(Change {
                    key,
                    unneeded_since,
                    decision: decision.filter(|_| difference != Difference::None),
                });
            }
        }
        changes
    }
}

// === impl Change ===

impl Change {
    /// Writes it, and returns the key when a decision was among what was written.
    async fn write(self, client: &Client, index: &Index) -> Result<Option<Key>, kube::Error> {
        let Self {
            key,
            unneeded_since,
            decision,
        } = self;
        let mut status = Map::new();
        if let Some(since) = unneeded_since {
            status.insert("unneededSince".to_owned(), json!(since.map(api::time)));
        }
        let decides = decision.is_some();
        if let Some(decision) = decision {
            let api::Decision {
                verdict,
                reason,
                pod,
                pod_reason,
                message,
            } = decision;
            // What is absent is written as null: a merge would leave what was there before.
            let decision = json!({
                "verdict": verdict, "reason": reason, "pod": pod, "podReason": pod_reason, "message": message,
            });
            status.insert("lastDecision".to_owned(), decision);
        }
        let machines: Api<api::VPSieNode> = Api::namespaced(client.clone(), &key.0);
        let patch = Patch::Merge(json!({ "status": status }));
        match machines.patch_status(&key.1, &PatchParams::default(), &patch).await {
            Ok(machine) => index.put_machine(machine),
            Err(kube::Error::Api(status)) if status.code == 404 => index.remove_machine(&key),
            Err(error) => return Err(error),
        }
        Ok(decides.then_some(key))
    }
}

/// What a report says, as the status has it. Nothing of a node that is being removed.
fn decision(snapshot: &Snapshot, report: &NodeReport) -> Option<api::Decision> {
    let mut message = report.message.clone();
    if let Some((end, _)) = message.char_indices().nth(MESSAGE_LIMIT) {
        message.truncate(end);
    }
    let message = Some(message);
    match report.verdict {
        NodeVerdict::Keep {
            reason: KeepReason::CurrentlyBeingDeleted,
            ..
        } => None,
        NodeVerdict::Keep {
            reason,
            pod,
            pod_reason,
        } => Some(api::Decision {
            verdict: "Keep".to_owned(),
            reason: Some(reason.to_string()),
            pod: pod.map(|pod| snapshot.pod_name(pod)),
            pod_reason: pod_reason.map(|reason| reason.to_string()),
            message,
        }),
        NodeVerdict::Remove => Some(api::Decision {
            verdict: "Remove".to_owned(),
            message,
            ..api::Decision::default()
        }),
    }
}

fn difference(decision: Option<&api::Decision>, known: Option<&api::Decision>) -> Difference {
    let without_message = |decision: &api::Decision| api::Decision {
        message: None,
        ..decision.clone()
    };
    match (decision, known) {
        (None, _) => Difference::None,
        (Some(decision), Some(known)) if decision == known => Difference::None,
        (Some(decision), Some(known)) if without_message(decision) == without_message(known) => Difference::Message,
        (Some(_), _) => Difference::Decision,
    }
}
