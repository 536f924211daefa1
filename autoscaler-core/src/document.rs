//! A plan as the JSON object that `plan -o json` prints. Its shape is a stable contract.
//!
//! Only the shape belongs here: every word in it comes from the plan.

use std::{collections::BTreeMap, fmt};

use jiff::Timestamp;
use serde::Serialize;

use crate::{
    plan::{Creation, NodeReport, NodeVerdict, Plan, PodReason, PodVerdict},
    snapshot::Snapshot,
};

/// `apiVersion` of the documents.
pub const API_VERSION: &str = "autoscaler.vpsie.com/v1alpha1";

/// A plan with the names of everything it refers to.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PlanDocument {
    /// [`API_VERSION`].
    pub api_version: &'static str,
    /// `Plan`.
    pub kind: &'static str,
    /// The time the decision was made for.
    pub now: Timestamp,
    /// Nodes to create, by group and offering.
    pub scale_up: Vec<ScaleUpDocument>,
    /// Nodes to remove.
    pub scale_down: Vec<ScaleDownDocument>,
    /// Every pod without a node that has not ended.
    pub pods: Vec<PodDocument>,
    /// Every node.
    pub nodes: Vec<NodeDocument>,
    /// What the new nodes cost; absent when there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub price: Option<PriceDocument>,
}

/// What the new nodes of a plan cost.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PriceDocument {
    /// All of them together, per hour.
    pub hourly: f64,
    /// No nodes for all pods that do not fit the nodes there are cost less per hour, whatever the limits: see [`Plan::least_price`].
    pub least_hourly: f64,
}

/// Nodes of one group and offering to create.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ScaleUpDocument {
    /// The NodeGroup, as `namespace/name`.
    pub node_group: String,
    /// The offering.
    pub offering: String,
    /// The datacenter.
    pub datacenter: String,
    /// How many nodes.
    pub count: usize,
    /// Price of one node per hour.
    pub hourly_price: f64,
    /// The nodes with the pods they are for.
    pub nodes: Vec<NewNodeDocument>,
}

/// One node to create.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct NewNodeDocument {
    /// Pods that it is for, as `namespace/name`.
    pub pods: Vec<String>,
}

/// A node to remove.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ScaleDownDocument {
    /// The node.
    pub node: String,
    /// Its NodeGroup.
    pub node_group: String,
    /// `Empty` or `Drain`.
    pub kind: &'static str,
    /// Where its pods go.
    pub moves: Vec<MoveDocument>,
}

/// A pod that moves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MoveDocument {
    /// The pod.
    pub pod: String,
    /// The node it has room on.
    pub to: String,
}

/// The verdict on a pending pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PodDocument {
    /// The pod.
    pub pod: String,
    /// `FitsExisting`, `TriggersScaleUp`, `Unschedulable` or `Ignored`.
    pub verdict: &'static str,
    /// The node with room, for `FitsExisting`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// The NodeGroup that grows, for `TriggersScaleUp`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_group: Option<String>,
    /// Why not somewhere else, or why nowhere.
    pub reasons: Vec<ReasonDocument>,
}

/// One reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReasonDocument {
    /// The NodeGroup that the reason is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_group: Option<String>,
    /// The offering that the reason is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offering: Option<String>,
    /// The node that the reason is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// The reason in one word.
    pub reason: String,
    /// The reason in words.
    pub message: String,
}

/// The verdict on a node.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeDocument {
    /// The node.
    pub node: String,
    /// Its NodeGroup.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_group: Option<String>,
    /// `Remove` or `Keep`.
    pub verdict: &'static str,
    /// The first rule that keeps it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
    /// The pod that the reason is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod: Option<String>,
    /// Why that pod blocks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod_reason: Option<&'static str>,
    /// Requests as a share of what the node offers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub utilization: Option<UtilizationDocument>,
    /// The verdict in words.
    pub message: String,
}

/// Requests as a share of what a node offers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct UtilizationDocument {
    /// Of its CPU.
    pub cpu: f64,
    /// Of its memory.
    pub memory: f64,
}

// === impl PlanDocument ===

impl PlanDocument {
    /// Names everything that the plan refers to.
    #[must_use]
    pub fn new(snapshot: &Snapshot, plan: &Plan) -> Self {
        Self {
            api_version: API_VERSION,
            kind: "Plan",
            now: plan.now,
            scale_up: scale_up(snapshot, &plan.creations),
            scale_down: plan
                .removals
                .iter()
                .map(|removal| ScaleDownDocument {
                    node: node_name(snapshot, removal.node),
                    node_group: snapshot.group_name(removal.group),
                    kind: removal.kind.as_str(),
                    moves: removal
                        .moves
                        .iter()
                        .map(|step| MoveDocument {
                            pod: snapshot.pod_name(step.pod),
                            to: node_name(snapshot, step.to),
                        })
                        .collect(),
                })
                .collect(),
            pods: plan.pods.iter().map(|report| pod(snapshot, plan, report)).collect(),
            nodes: plan
                .nodes
                .iter()
                .map(|report| NodeDocument::new(snapshot, report))
                .collect(),
            price: (!plan.creations.is_empty()).then(|| PriceDocument {
                hourly: plan.hourly_price().as_f64(),
                least_hourly: plan.least_price.as_f64(),
            }),
        }
    }
}

impl fmt::Display for PlanDocument {
    /// The plan for people.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.scale_up.is_empty() && self.scale_down.is_empty() {
            writeln!(f, "Nothing to do.")?;
        }
        for group in &self.scale_up {
            let (count, price) = (group.count, group.hourly_price);
            writeln!(
                f,
                "Create {count} x {} for {} in {} at {price} per hour each:",
                group.offering, group.node_group, group.datacenter
            )?;
            for node in &group.nodes {
                let pods = if node.pods.is_empty() {
                    "no pods: the group's minimum".to_owned()
                } else {
                    node.pods.join(", ")
                };
                writeln!(f, "  a node for {pods}")?;
            }
        }
        if let Some(PriceDocument { hourly, least_hourly }) = self.price {
            writeln!(
                f,
                "In all {hourly} per hour; nodes for all pods that need one cost at least {least_hourly}."
            )?;
        }
        for removal in &self.scale_down {
            writeln!(
                f,
                "Remove {} of {} ({}):",
                removal.node, removal.node_group, removal.kind
            )?;
            for step in &removal.moves {
                writeln!(f, "  {} moves to {}", step.pod, step.to)?;
            }
        }
        if !self.pods.is_empty() {
            writeln!(f, "\nPending pods:")?;
        }
        for pod in &self.pods {
            let place = pod.node.as_ref().or(pod.node_group.as_ref());
            let place = place.map(|place| format!(" ({place})")).unwrap_or_default();
            writeln!(f, "  {}: {}{place}", pod.pod, pod.verdict)?;
            if pod.verdict == "Unschedulable" || pod.verdict == "Ignored" {
                for reason in &pod.reasons {
                    let of = reason.node_group.as_deref().or(reason.node.as_deref());
                    let of = of.map(|of| format!("{of}: ")).unwrap_or_default();
                    writeln!(f, "    {of}{}: {}", reason.reason, reason.message)?;
                }
            }
        }
        if !self.nodes.is_empty() {
            writeln!(f, "\nNodes:")?;
        }
        for node in &self.nodes {
            let reason = node.reason.map(|reason| format!(" ({reason})")).unwrap_or_default();
            writeln!(f, "  {}: {}{reason}: {}", node.node, node.verdict, node.message)?;
        }
        Ok(())
    }
}

// === impl NodeDocument ===

impl NodeDocument {
    /// Names everything that a report of this snapshot refers to.
    pub(crate) fn new(snapshot: &Snapshot, report: &NodeReport) -> Self {
        let (verdict, reason, pod, pod_reason) = match &report.verdict {
            NodeVerdict::Remove => ("Remove", None, None, None),
            NodeVerdict::Keep {
                reason,
                pod,
                pod_reason,
            } => ("Keep", Some(reason.as_str()), *pod, *pod_reason),
        };
        Self {
            node: node_name(snapshot, report.node),
            node_group: snapshot.node(report.node).group.map(|group| snapshot.group_name(group)),
            verdict,
            reason,
            pod: pod.map(|pod| snapshot.pod_name(pod)),
            pod_reason: pod_reason.map(crate::plan::BlockReason::as_str),
            utilization: report.utilization.map(|utilization| UtilizationDocument {
                cpu: utilization.cpu,
                memory: utilization.memory,
            }),
            message: report.message.clone(),
        }
    }
}

/// Creations of one group and offering together, in the order of groups and offerings.
fn scale_up(snapshot: &Snapshot, creations: &[Creation]) -> Vec<ScaleUpDocument> {
    let mut documents: BTreeMap<_, ScaleUpDocument> = BTreeMap::new();
    for creation in creations {
        let document = documents
            .entry((creation.group, &creation.offering))
            .or_insert_with(|| ScaleUpDocument {
                node_group: snapshot.group_name(creation.group),
                offering: creation.offering.to_string(),
                datacenter: creation.datacenter.to_string(),
                count: 0,
                hourly_price: creation.hourly_price.as_f64(),
                nodes: Vec::new(),
            });
        document.count += 1;
        let pods = creation.pods.iter().map(|pod| snapshot.pod_name(*pod)).collect();
        document.nodes.push(NewNodeDocument { pods });
    }
    let mut documents: Vec<_> = documents.into_values().collect();
    for document in &mut documents {
        document.nodes.sort();
    }
    documents
}

fn pod(snapshot: &Snapshot, plan: &Plan, report: &crate::plan::PodReport) -> PodDocument {
    let (verdict, node, node_group) = match report.verdict {
        PodVerdict::FitsExisting(destination) => ("FitsExisting", Some(destination.name(snapshot).to_owned()), None),
        PodVerdict::TriggersScaleUp(index) => {
            let group = plan
                .creations
                .get(index)
                .map(|creation| snapshot.group_name(creation.group));
            ("TriggersScaleUp", None, group)
        }
        PodVerdict::Unschedulable => ("Unschedulable", None, None),
        PodVerdict::Ignored => ("Ignored", None, None),
    };
    let reason = |reason: &PodReason| ReasonDocument {
        node_group: reason.group.map(|group| snapshot.group_name(group)),
        offering: reason.offering.as_ref().map(ToString::to_string),
        node: reason.node.map(|node| node_name(snapshot, node)),
        reason: reason.reason(snapshot).into_owned(),
        message: reason.message(snapshot),
    };
    let reasons = report.reasons.iter().map(reason).collect();
    PodDocument {
        pod: snapshot.pod_name(report.pod),
        verdict,
        node,
        node_group,
        reasons,
    }
}

fn node_name(snapshot: &Snapshot, id: crate::snapshot::NodeId) -> String {
    snapshot.text(snapshot.node(id).name).to_owned()
}
