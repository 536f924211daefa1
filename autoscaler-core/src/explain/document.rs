//! An explanation as the JSON object that `explain pod -o json` prints, and as text. The shape of the JSON is a stable
//! contract.
//!
//! Only the shape belongs here. Nothing is copied: for many pods and nodes the output is far larger than what it is made
//! of, and it is written piece by piece.

use std::{borrow::Cow, cmp::Reverse, collections::BTreeMap, fmt, iter};

use serde::{
    Serialize, Serializer,
    ser::{SerializeSeq as _, SerializeStruct as _},
};

use super::{Answers, Explanation, NodeAnswer, OfferAnswer, PodExplanation};
use crate::{
    document::API_VERSION,
    fit::{Misfit, MisfitText},
    snapshot::Snapshot,
};

/// Most names in one line of text. The JSON has all of them.
const NAMES_PER_LINE: usize = 10;

/// Most lines of text for one reason. The JSON has all of them.
const LINES_PER_REASON: usize = 10;

/// An explanation with the names of everything it refers to. Serialised it is the JSON document, displayed the text.
#[derive(Clone, Copy, Debug)]
pub struct ExplanationDocument<'a> {
    snapshot: &'a Snapshot,
    explanation: &'a Explanation,
}

/// Serialises a list whose items are made on the way.
pub(super) struct List<'a, T, F> {
    pub(super) items: &'a [T],
    pub(super) entry: F,
}

/// One entry of `nodes`.
#[derive(Serialize)]
struct NodeEntry<'a> {
    node: &'a str,
    fits: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "as_text")]
    message: Option<MisfitText<'a>>,
}

/// One entry of `nodeGroups`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct OfferEntry<'a> {
    node_group: String,
    offering: &'a str,
    fits: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
}

/// One entry of `pods`.
struct PodEntry<'a> {
    snapshot: &'a Snapshot,
    explanation: &'a PodExplanation,
}

/// Places that give the same reason: by reason, then by message.
pub(super) struct Refusals<'a> {
    /// Columns of white space before each line.
    indent: usize,
    by_reason: BTreeMap<Cow<'a, str>, BTreeMap<String, Vec<String>>>,
}

// === impl ExplanationDocument ===

impl<'a> ExplanationDocument<'a> {
    /// Names what the explanation, which was made of this snapshot, refers to.
    #[must_use]
    pub const fn new(snapshot: &'a Snapshot, explanation: &'a Explanation) -> Self {
        Self { snapshot, explanation }
    }
}

impl Serialize for ExplanationDocument<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { snapshot, explanation } = *self;
        let mut document = serializer.serialize_struct("Explanation", 4)?;
        document.serialize_field("apiVersion", API_VERSION)?;
        document.serialize_field("kind", "Explanation")?;
        document.serialize_field("now", &explanation.now)?;
        let entry = |explanation| PodEntry { snapshot, explanation };
        let pods = List {
            items: &explanation.pods,
            entry,
        };
        document.serialize_field("pods", &pods)?;
        document.end()
    }
}

impl fmt::Display for ExplanationDocument<'_> {
    /// The explanation for people: a block for each pod, with places that give the same reason together.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.explanation.pods.is_empty() {
            return writeln!(f, "No pod is pending.");
        }
        for (index, explanation) in self.explanation.pods.iter().enumerate() {
            if 0 < index {
                writeln!(f)?;
            }
            let entry = PodEntry {
                snapshot: self.snapshot,
                explanation,
            };
            entry.write(f)?;
        }
        Ok(())
    }
}

// === impl PodEntry ===

impl<'a> Serialize for PodEntry<'a> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { snapshot, explanation } = *self;
        let Answers { nodes, offers } = &*explanation.answers;
        let mut pod = serializer.serialize_struct("Pod", 3)?;
        pod.serialize_field("pod", &snapshot.pod_name(explanation.pod))?;
        let node = |answer: &'a NodeAnswer| NodeEntry {
            node: snapshot.text(snapshot.node(answer.node).name),
            fits: answer.misfit.is_none(),
            reason: answer.misfit.as_ref().map(Misfit::plugin),
            message: answer.misfit.as_ref().map(|misfit| misfit.text(&snapshot.symbols)),
        };
        pod.serialize_field(
            "nodes",
            &List {
                items: nodes,
                entry: node,
            },
        )?;
        let offer = |answer: &'a OfferAnswer| OfferEntry {
            node_group: snapshot.group_name(answer.group),
            offering: answer.offering.as_str(),
            fits: answer.refusal.is_none(),
            reason: answer.refusal.as_ref().map(|why| why.reason(snapshot)),
            message: answer.refusal.as_ref().map(|why| why.message(snapshot)),
        };
        pod.serialize_field(
            "nodeGroups",
            &List {
                items: offers,
                entry: offer,
            },
        )?;
        pod.end()
    }
}

impl PodEntry<'_> {
    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { snapshot, explanation } = *self;
        let Answers { nodes, offers } = &*explanation.answers;
        let pod = snapshot.pod(explanation.pod);
        let name_of = |node| snapshot.text(snapshot.node(node).name);
        write!(f, "{}", snapshot.pod_name(explanation.pod))?;
        match (pod.node, pod.bound) {
            (Some(node), _) => writeln!(f, ", which is on {}:", name_of(node))?,
            (None, true) => writeln!(f, ", which is on a node that is not known:")?,
            (None, false) => writeln!(f, ":")?,
        }

        let mut fitting = Vec::new();
        let mut refusals = Refusals::new(2);
        for answer in nodes {
            let node = name_of(answer.node).to_owned();
            match &answer.misfit {
                None => fitting.push(node),
                Some(misfit) => {
                    let message = misfit.text(&snapshot.symbols).to_string();
                    refusals.add(misfit.plugin().into(), message, node);
                }
            }
        }
        writeln!(f, "  fits {} of {}", fitting.len(), counted(nodes.len(), "node"))?;
        write_names(f, 4, &fitting)?;
        refusals.write(f, "node")?;

        let mut fitting = Vec::new();
        let mut refusals = Refusals::new(2);
        for answer in offers {
            let offer = format!("{} {}", snapshot.group_name(answer.group), answer.offering);
            match &answer.refusal {
                None => fitting.push(offer),
                Some(why) => refusals.add(why.reason(snapshot), why.message(snapshot), offer),
            }
        }
        let all = counted(offers.len(), "offering");
        writeln!(f, "  new nodes: {} of {all} could be bought for it", fitting.len())?;
        write_names(f, 4, &fitting)?;
        refusals.write(f, "offering")
    }
}

// === impl Refusals ===

impl<'a> Refusals<'a> {
    pub(super) const fn new(indent: usize) -> Self {
        Self {
            indent,
            by_reason: BTreeMap::new(),
        }
    }

    pub(super) fn add(&mut self, reason: Cow<'a, str>, message: String, name: String) {
        let names = self.by_reason.entry(reason).or_default().entry(message).or_default();
        names.push(name);
    }

    /// The most frequent reason first.
    pub(super) fn write(self, f: &mut fmt::Formatter<'_>, noun: &str) -> fmt::Result {
        let (outer, inner) = (" ".repeat(self.indent + 2), " ".repeat(self.indent + 4));
        let count = |by_message: &BTreeMap<_, Vec<_>>| by_message.values().map(Vec::len).sum::<usize>();
        let mut reasons: Vec<_> = self.by_reason.into_iter().collect();
        reasons.sort_by_key(|(_, by_message)| Reverse(count(by_message)));
        for (reason, by_message) in reasons {
            writeln!(f, "{outer}{reason} ({}):", counted(count(&by_message), noun))?;
            let mut lines: Vec<_> = by_message.into_iter().collect();
            lines.sort_by(|(_, one), (_, other)| other.len().cmp(&one.len()).then_with(|| one.cmp(other)));
            let hidden = lines.split_off(lines.len().min(LINES_PER_REASON));
            for (message, names) in lines {
                writeln!(f, "{inner}{}: {message}", shortened(&names))?;
            }
            let hidden: usize = hidden.iter().map(|(_, names)| names.len()).sum();
            if 0 < hidden {
                writeln!(f, "{inner}and {} more", counted(hidden, noun))?;
            }
        }
        Ok(())
    }
}

// === impl List ===

impl<'a, T, E: Serialize, F: Fn(&'a T) -> E> Serialize for List<'a, T, F> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(Some(self.items.len()))?;
        for item in self.items {
            list.serialize_element(&(self.entry)(item))?;
        }
        list.end()
    }
}

fn as_text<S: Serializer>(message: &Option<MisfitText<'_>>, serializer: S) -> Result<S::Ok, S::Error> {
    match message {
        Some(message) => serializer.collect_str(message),
        None => serializer.serialize_none(),
    }
}

/// Nothing when there are none.
pub(super) fn write_names(f: &mut fmt::Formatter<'_>, indent: usize, names: &[String]) -> fmt::Result {
    if names.is_empty() {
        return Ok(());
    }
    writeln!(f, "{}{}", " ".repeat(indent), shortened(names))
}

/// A comma list of the names, the last of them as a number when they are many.
fn shortened(names: &[String]) -> String {
    let rest = names.len().saturating_sub(NAMES_PER_LINE);
    let more = (0 < rest).then(|| format!("{rest} more"));
    let shown = names.iter().take(NAMES_PER_LINE).map(String::as_str);
    let parts: Vec<_> = shown.chain(iter::once_with(|| more.as_deref()).flatten()).collect();
    parts.join(", ")
}

pub(super) fn counted(number: usize, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}
