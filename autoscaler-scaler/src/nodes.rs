//! Tells people, on the Nodes that are not needed and stay, what keeps them.
//!
//! Only what somebody may want to change is worth an event: pods that must not be evicted or find no other place, and
//! head-room. What the rest of the nodes stays for is in `status.lastDecision` of their VPSieNodes and in the metric
//! `vpsie_autoscaler_unremovable_nodes`. A Node hears of a reason once, and of another reason or pod after a while.

use autoscaler_core::{
    drain::DrainRule,
    plan::{KeepReason, NodeReport, NodeVerdict, Plan},
    snapshot::{Snapshot, Uid},
};
use jiff::{SignedDuration, Timestamp};

use crate::{
    actuate,
    events::Events,
    index::Cluster,
    news::{News, Teller, Told, hash},
};

/// Reason of the event.
const BLOCKED: &str = "ScaleDownBlocked";

/// How long a Node hears nothing, even if something else keeps it.
const QUIET: SignedDuration = SignedDuration::from_mins(10);

/// Writes events on Nodes that stay although nobody needs them, and remembers what was told.
#[derive(Debug)]
pub struct NodeEvents {
    teller: Teller,
}

// === impl NodeEvents ===

impl NodeEvents {
    /// A writer that has told nothing yet.
    #[must_use]
    pub const fn new(events: Events) -> Self {
        Self {
            teller: Teller::new(events, "ScaleDown"),
        }
    }

    /// Tells what is new about the nodes of a plan. What there is no room for the next decision finds out again.
    pub async fn report(&mut self, cluster: &Cluster, snapshot: &Snapshot, plan: &Plan, now: Timestamp) {
        let mut there = Vec::new();
        let mut news = Vec::new();
        for report in &plan.nodes {
            let Some(node) = cluster.nodes.get(snapshot.text(snapshot.node(report.node).name)) else {
                continue;
            };
            let uid = Uid::new(&node.metadata.uid);
            if let Some((said, note)) = blocked(snapshot, report) {
                let told = Told {
                    reason: BLOCKED,
                    said,
                    at: now,
                };
                if self.teller.last(&uid).is_none_or(|last| is_due(told, last)) {
                    news.push(News {
                        uid: uid.clone(),
                        regarding: actuate::node_reference(node),
                        told,
                        note,
                    });
                }
            }
            there.push(uid);
        }
        self.teller.retain(there);
        let left_out = self.teller.tell(news).await.len();
        if 0 < left_out {
            tracing::info!(left_out, "not all events on nodes are written with this decision");
        }
    }
}

/// What keeps a node that is not needed, when that is worth an event: what a difference of is news, and the note.
fn blocked(snapshot: &Snapshot, report: &NodeReport) -> Option<(u64, String)> {
    let NodeVerdict::Keep {
        reason,
        pod,
        pod_reason,
    } = report.verdict
    else {
        return None;
    };
    let is_news = matches!(
        reason,
        KeepReason::BlockedByPod
            | KeepReason::BlockedByOnCompletionPod
            | KeepReason::NoPlaceToMovePods
            | KeepReason::Headroom
    );
    if !is_news || !report.unneeded {
        return None;
    }
    let rule = match (reason, pod_reason) {
        (KeepReason::BlockedByOnCompletionPod, _) => Some(DrainRule::OnCompletion),
        (_, pod_reason) => pod_reason.map(DrainRule::Blocks),
    };
    let remedy = pod.and_then(|pod| rule?.remedy(snapshot, pod));
    let remedy = remedy.map(|remedy| format!("; what would change it: {remedy}"));
    let pod_reason = pod_reason.map_or("", |reason| reason.as_str());
    let separator = if pod_reason.is_empty() { "" } else { " " };
    let note = format!(
        "not needed, and stays: {reason}{separator}{pod_reason}: {}{}",
        report.message,
        remedy.unwrap_or_default()
    );
    let pod = pod.map(|pod| snapshot.pod_name(pod));
    Some((hash((reason.as_str(), pod_reason, pod)), note))
}

/// Whether this is worth an event after the last one.
fn is_due(told: Told, last: Told) -> bool {
    told.said != last.said && QUIET <= told.at.duration_since(last.at)
}
