//! `explain`: why something is as it is, from a dump or from the running operator.
//!
//! The answers are made in `autoscaler_core::explain`. [`answer`] has the endpoints of the operator, [`ask`] asks them.
//! What both share, the things that can be explained and how they are named, is here.

pub mod answer;
pub mod ask;

use std::io;

use autoscaler_core::{
    explain::{
        document::ExplanationDocument,
        explain_pods, find_pods,
        node::{document::NodeExplanationDocument, explain_nodes, find_nodes},
        pending_pods,
    },
    planner::Options,
    snapshot::{NodeId, PodId, Snapshot},
};
use jiff::Timestamp;

use crate::{
    args::{Explain, ExplainArgs, ExplainSource, Output},
    command::{self, Failure, write_document},
    input,
};

/// Explains and prints.
///
/// # Errors
/// [`Failure::Input`] for files that cannot be read or understood, and for names of what is not there;
/// [`Failure::Failed`] when the running operator cannot be asked.
pub fn run(args: &ExplainArgs) -> Result<(), Failure> {
    let (subject, names, source) = match &args.what {
        Explain::Pod(args) => (Subject::Pods, &args.names, &args.source),
        Explain::Node(args) => (Subject::Nodes, &args.names, &args.source),
    };
    for name in names {
        subject.check_name(name).map_err(Failure::Input)?;
    }
    if source.files.is_empty() {
        crate::block_on(ask::ask(subject, names, source))
    } else {
        offline(subject, names, source)
    }
}

/// What can be explained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    Pods,
    Nodes,
}

/// What is to be explained.
pub(crate) enum Selected {
    Pods(Vec<PodId>),
    Nodes(Vec<NodeId>),
}

fn offline(subject: Subject, names: &[String], source: &ExplainSource) -> Result<(), Failure> {
    let snapshot = input::read(&source.files, &source.dump)?;
    let selected = subject.select(&snapshot, names).map_err(Failure::Input)?;
    let options = Options {
        ignore_timers: source.dump.ignore_timers,
    };
    let now = source.dump.now.unwrap_or_else(Timestamp::now);
    command::print_with(|out| selected.explain(&snapshot, &options, now, source.output, out))
}

// === impl Subject ===

impl Subject {
    /// What has these names; without names, every pending pod or every node. The error is a sentence.
    pub(crate) fn select(self, snapshot: &Snapshot, names: &[String]) -> Result<Selected, String> {
        let texts: Vec<_> = names.iter().map(String::as_str).collect();
        match self {
            Self::Pods if names.is_empty() => Ok(Selected::Pods(pending_pods(snapshot))),
            Self::Pods => find_pods(snapshot, &texts)
                .map(Selected::Pods)
                .map_err(|name| format!("there is no pod {name}")),
            Self::Nodes if names.is_empty() => Ok(Selected::Nodes(snapshot.node_ids().collect())),
            Self::Nodes => find_nodes(snapshot, &texts)
                .map(Selected::Nodes)
                .map_err(|name| format!("there is no node {name}")),
        }
    }

    /// The path of the endpoint.
    pub(crate) const fn path(self) -> &'static str {
        match self {
            Self::Pods => "/explain/pod",
            Self::Nodes => "/explain/node",
        }
    }

    /// Whether a name has the form that it is asked for by; the error is a sentence.
    pub(crate) fn check_name(self, name: &str) -> Result<(), String> {
        let parts: Vec<_> = name.split('/').collect();
        match (self, parts.as_slice()) {
            (Self::Pods, [namespace, pod]) if !namespace.is_empty() && !pod.is_empty() => Ok(()),
            (Self::Nodes, [node]) if !node.is_empty() => Ok(()),
            (Self::Pods, _) => Err(format!("{name:?} names no pod: expected NAMESPACE/NAME")),
            (Self::Nodes, _) => Err(format!("{name:?} names no node: expected NAME")),
        }
    }
}

// === impl Selected ===

impl Selected {
    /// Explains and writes.
    pub(crate) fn explain(
        &self,
        snapshot: &Snapshot,
        options: &Options,
        now: Timestamp,
        output: Output,
        out: impl io::Write,
    ) -> io::Result<()> {
        match self {
            Self::Pods(pods) => {
                let explanation = explain_pods(snapshot, pods, options, now);
                write_document(out, &ExplanationDocument::new(snapshot, &explanation), output)
            }
            Self::Nodes(nodes) => {
                let explanation = explain_nodes(snapshot, nodes, options, now);
                write_document(out, &NodeExplanationDocument::new(snapshot, &explanation), output)
            }
        }
    }
}
