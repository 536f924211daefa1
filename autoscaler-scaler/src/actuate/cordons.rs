//! Cordons with our mark that no removal stands behind: whoever set them was killed at the wrong moment, lost its lease
//! while the write was on its way, or had its VPSieNode deleted under it. Nobody else would ever undo them.

use std::collections::BTreeSet;

use autoscaler_core::manifest::node::Node;
use jiff::SignedDuration;
use kube::{
    Api, ResourceExt as _,
    api::{ListParams, Patch, PatchParams},
};

use super::{Actuator, Tick, join, observe};
use crate::{
    api::{Phase, VPSieNode, labels},
    events::REPORTER,
    view::{Slim as _, SlimNode},
};

/// What removals stand behind: the marks of their cordons.
struct Marks(BTreeSet<String>);

// === impl Actuator ===

impl Actuator {
    /// Uncordons every Node with our mark that no removal stands behind, and takes the mark off one that somebody else
    /// has uncordoned already: a cordon of theirs must not be taken for ours later.
    ///
    /// The API server is asked for the Node first and for the VPSieNodes after it, and the write is for that version of
    /// the Node: a removal that cordons it in between is either seen or makes the write fail.
    pub(super) async fn sweep_cordons(&self, tick: &Tick<'_>) {
        let cluster = self.index.cluster();
        let marked = || cluster.nodes.values().filter(|node| mark_of(node).is_some());
        if marked().next().is_none() {
            return;
        }
        let marks = Marks::of(cluster.machines.values().map(|machine| &**machine));
        let nodes: Api<SlimNode> = Api::all(self.clients.write.clone());
        let mut left = Vec::new();
        for node in marked().filter(|node| !marks.explain(node)) {
            let name = &node.metadata.name;
            match nodes.get_opt(name).await {
                Ok(Some(node)) => left.push(node.into_view()),
                Ok(None) => {}
                Err(error) => tick.problem(format!("Node {name}"), "get", error.to_string()),
            }
        }
        left.retain(|node| !marks.explain(node));
        if left.is_empty() {
            return;
        }
        let machines: Api<VPSieNode> = Api::all(self.clients.write.clone());
        let marks = match machines.list(&ListParams::default()).await {
            Ok(list) => Marks::of(list.items.iter()),
            Err(error) => {
                tick.problem("VPSieNodes".to_owned(), "list", error.to_string());
                return;
            }
        };
        let params = PatchParams {
            field_manager: Some(REPORTER.to_owned()),
            ..PatchParams::default()
        };
        for node in left.iter().filter(|node| !marks.explain(node)) {
            let name = &node.metadata.name;
            let mut patch = join::lift("failed");
            join::pin(&mut patch, node);
            match nodes.patch(name, &params, &Patch::Merge(&patch)).await {
                Ok(written) => {
                    self.index.put_node(written.into_view());
                    tracing::warn!(node = name, "no removal stands behind our cordon: it is undone");
                    let message = "no removal stands behind the cordon of this autoscaler";
                    self.events
                        .normal(&join::reference(node), "Uncordon", "CordonRemoved", message.to_owned())
                        .await;
                }
                // It has changed, or is gone: looked at again soon.
                Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {
                    tick.come_back(SignedDuration::from_secs(1));
                }
                Err(error) => tick.problem(format!("Node {name}"), "uncordon", error.to_string()),
            }
        }
    }
}

fn mark_of(node: &Node) -> Option<&String> {
    node.metadata.annotations.get(labels::CORDONED_BY)
}

// === impl Marks ===

impl Marks {
    fn of<'a>(machines: impl Iterator<Item = &'a VPSieNode>) -> Self {
        let removing = |machine: &&VPSieNode| {
            observe::is_leaving(machine) || matches!(machine.phase(), Phase::Deleting | Phase::Failed)
        };
        let marks = machines
            .filter(removing)
            .flat_map(|machine| [join::mark(machine), machine.name_any()]);
        Self(marks.collect())
    }

    /// Whether the Node has no mark, or one of a removal.
    fn explain(&self, node: &Node) -> bool {
        mark_of(node).is_none_or(|mark| self.0.contains(mark))
    }
}
