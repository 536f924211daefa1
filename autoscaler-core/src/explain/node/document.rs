//! The explanation of nodes as the JSON object that `explain node -o json` prints, and as text. The shape of the JSON is a
//! stable contract.
//!
//! Only the shape belongs here: every word in it comes from the explanation. Destinations, of which there may be very many,
//! are written one by one.

use std::{borrow::Cow, fmt};

use serde::{Serialize, Serializer, ser::SerializeStruct as _};

use super::{DestinationAnswer, NodeExplanation, NodesExplanation, PodOnNode, PodOutcome, RuleVerdict};
use crate::{
    document::{API_VERSION, NodeDocument},
    explain::document::{List, Refusals, counted, write_names},
    pdb::Standing,
    plan::Why,
    snapshot::Snapshot,
};

/// An explanation of nodes with the names of everything it refers to. Serialised it is the JSON document, displayed the
/// text.
#[derive(Clone, Copy, Debug)]
pub struct NodeExplanationDocument<'a> {
    snapshot: &'a Snapshot,
    explanation: &'a NodesExplanation,
}

/// One entry of `nodes`: what the plan says of the node, and why.
#[derive(Serialize)]
struct NodeEntry<'a> {
    #[serde(flatten)]
    plan: NodeDocument,
    rules: List<'a, RuleVerdict, fn(&'a RuleVerdict) -> RuleEntry<'a>>,
    pods: Vec<PodEntry<'a>>,
}

/// One entry of `rules`.
#[derive(Serialize)]
struct RuleEntry<'a> {
    rule: &'static str,
    passed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    threshold: Option<&'a str>,
    message: &'a str,
}

/// One entry of `pods`.
struct PodEntry<'a> {
    snapshot: &'a Snapshot,
    pod: &'a PodOnNode,
}

/// One entry of `podDisruptionBudgets`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct BudgetEntry {
    pod_disruption_budget: String,
    disruptions_allowed: u32,
    in_progress: u32,
    headroom: u32,
    pods_on_node: u32,
}

/// One entry of `destinations`.
#[derive(Serialize)]
struct DestinationEntry<'a> {
    node: &'a str,
    fits: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
}

// === impl NodeExplanationDocument ===

impl<'a> NodeExplanationDocument<'a> {
    /// Names what the explanation, which was made of this snapshot, refers to.
    #[must_use]
    pub const fn new(snapshot: &'a Snapshot, explanation: &'a NodesExplanation) -> Self {
        Self { snapshot, explanation }
    }
}

impl Serialize for NodeExplanationDocument<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { snapshot, explanation } = *self;
        let mut document = serializer.serialize_struct("Explanation", 4)?;
        document.serialize_field("apiVersion", API_VERSION)?;
        document.serialize_field("kind", "Explanation")?;
        document.serialize_field("now", &explanation.now)?;
        let nodes = List {
            items: &explanation.nodes,
            entry: |node| NodeEntry::new(snapshot, node),
        };
        document.serialize_field("nodes", &nodes)?;
        document.end()
    }
}

impl fmt::Display for NodeExplanationDocument<'_> {
    /// The explanation for people: a block for each node, with destinations that give the same reason together.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.explanation.nodes.is_empty() {
            return writeln!(f, "There is no node.");
        }
        for (index, explanation) in self.explanation.nodes.iter().enumerate() {
            if 0 < index {
                writeln!(f)?;
            }
            NodeEntry::new(self.snapshot, explanation).write(f, explanation)?;
        }
        Ok(())
    }
}

// === impl NodeEntry ===

impl<'a> NodeEntry<'a> {
    fn new(snapshot: &'a Snapshot, explanation: &'a NodeExplanation) -> Self {
        Self {
            plan: NodeDocument::new(snapshot, &explanation.report),
            rules: List {
                items: &explanation.rules,
                entry: RuleEntry::new,
            },
            pods: explanation.pods.iter().map(|pod| PodEntry { snapshot, pod }).collect(),
        }
    }

    fn write(&self, f: &mut fmt::Formatter<'_>, explanation: &NodeExplanation) -> fmt::Result {
        let NodeDocument {
            node,
            node_group,
            verdict,
            reason,
            message,
            ..
        } = &self.plan;
        let group = node_group.as_ref().map(|group| format!(" of {group}"));
        let reason = reason.map(|reason| format!(" ({reason})"));
        let (group, reason) = (group.unwrap_or_default(), reason.unwrap_or_default());
        writeln!(f, "{node}{group}: {verdict}{reason}: {message}")?;
        let refused = explanation.rules.iter().filter(|rule| !rule.passed).count();
        let says = if refused == 1 { "says" } else { "say" };
        writeln!(
            f,
            "  {refused} of {} {says} no",
            counted(explanation.rules.len(), "rule")
        )?;
        for rule in &explanation.rules {
            let mark = if rule.passed { "ok" } else { "NO" };
            writeln!(f, "    {mark} {}: {}", rule.rule, rule.message)?;
        }
        let count = |outcome| self.pods.iter().filter(|entry| entry.pod.outcome == outcome).count();
        let counts = [
            PodOutcome::Block,
            PodOutcome::Wait,
            PodOutcome::Move,
            PodOutcome::Ok,
            PodOutcome::Skip,
        ]
        .map(|outcome| (outcome, count(outcome)))
        .into_iter()
        .filter(|(_, count)| 0 < *count)
        .map(|(outcome, count)| format!("{count} {}", outcome.as_str()));
        let counts: Vec<_> = counts.collect();
        let separator = if counts.is_empty() { "" } else { ": " };
        writeln!(
            f,
            "  {}{separator}{}",
            counted(self.pods.len(), "pod"),
            counts.join(", ")
        )?;
        for pod in &self.pods {
            pod.write(f)?;
        }
        Ok(())
    }
}

// === impl RuleEntry ===

impl<'a> RuleEntry<'a> {
    fn new(verdict: &'a RuleVerdict) -> Self {
        Self {
            rule: verdict.rule.as_str(),
            passed: verdict.passed,
            value: verdict.value.as_deref(),
            threshold: verdict.threshold.as_deref(),
            message: &verdict.message,
        }
    }
}

// === impl PodEntry ===

impl PodEntry<'_> {
    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { snapshot, pod } = *self;
        let (outcome, rule) = (pod.outcome.as_str(), pod.rule.as_str());
        writeln!(f, "    {outcome} ({rule}): {}", pod.message)?;
        if let Some(remedy) = &pod.remedy {
            writeln!(f, "      what would change it: {remedy}")?;
        }
        for standing in &pod.budgets {
            let BudgetEntry {
                pod_disruption_budget: budget,
                disruptions_allowed,
                in_progress,
                pods_on_node,
                ..
            } = BudgetEntry::new(snapshot, standing);
            let allowed = counted(disruptions_allowed as usize, "disruption");
            let are = if pods_on_node == 1 { "is" } else { "are" };
            writeln!(
                f,
                "      PodDisruptionBudget {budget}: allows {allowed}, removals in progress need {in_progress}, and {pods_on_node} of its pods {are} on this node"
            )?;
        }
        if 0 < pod.destinations_left_out {
            let others = counted(pod.destinations_left_out, "other node");
            return writeln!(
                f,
                "      {others}: not looked at, because too much was asked for at once"
            );
        }
        if pod.destinations.is_empty() {
            return Ok(());
        }
        let mut fitting = Vec::new();
        let mut refusals = Refusals::new(6);
        for answer in &*pod.destinations {
            let node = snapshot.text(snapshot.node(answer.node).name).to_owned();
            match &answer.refusal {
                None => fitting.push(node),
                Some(why) => refusals.add(why.reason(snapshot), why.message(snapshot), node),
            }
        }
        let others = counted(pod.destinations.len(), "other node");
        writeln!(f, "      could move to {} of {others}", fitting.len())?;
        write_names(f, 8, &fitting)?;
        refusals.write(f, "node")
    }
}

impl<'a> Serialize for PodEntry<'a> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { snapshot, pod } = *self;
        let mut entry = serializer.serialize_struct("Pod", 8)?;
        entry.serialize_field("pod", &snapshot.pod_name(pod.pod))?;
        entry.serialize_field("rule", pod.rule.as_str())?;
        entry.serialize_field("outcome", pod.outcome.as_str())?;
        entry.serialize_field("message", &pod.message)?;
        if let Some(remedy) = &pod.remedy {
            entry.serialize_field("remedy", remedy)?;
        }
        if !pod.budgets.is_empty() {
            let budgets = List {
                items: &pod.budgets,
                entry: |standing: &'a Standing| BudgetEntry::new(snapshot, standing),
            };
            entry.serialize_field("podDisruptionBudgets", &budgets)?;
        }
        let destination = |answer: &'a DestinationAnswer| DestinationEntry {
            node: snapshot.text(snapshot.node(answer.node).name),
            fits: answer.refusal.is_none(),
            reason: answer.refusal.as_ref().map(|why: &Why| why.reason(snapshot)),
            message: answer.refusal.as_ref().map(|why| why.message(snapshot)),
        };
        let destinations = List {
            items: &pod.destinations,
            entry: destination,
        };
        entry.serialize_field("destinations", &destinations)?;
        if 0 < pod.destinations_left_out {
            entry.serialize_field("destinationsLeftOut", &pod.destinations_left_out)?;
        }
        entry.end()
    }
}

// === impl BudgetEntry ===

impl BudgetEntry {
    fn new(snapshot: &Snapshot, standing: &Standing) -> Self {
        Self {
            pod_disruption_budget: snapshot.budget_name(standing.budget),
            disruptions_allowed: snapshot.budget(standing.budget).disruptions_allowed,
            in_progress: standing.in_progress,
            headroom: standing.headroom,
            pods_on_node: standing.pods,
        }
    }
}
