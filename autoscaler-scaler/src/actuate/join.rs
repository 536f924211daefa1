//! The Node of a VPSieNode: finding it, labels and taints on it, cordon, and its deletion.
//!
//! Every write is a merge patch of what it is about with the resource version that was read, so that nothing that is not
//! ours is touched and a conflict is noticed.

use std::collections::{BTreeMap, BTreeSet};

use autoscaler_core::{
    lifecycle::{DRAIN_TIMEOUT, NodeState},
    manifest::node::{Node, Taint},
};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::{
    Api, Client, ResourceExt as _,
    api::{DeleteParams, Patch, PatchParams, Preconditions},
};
use serde_json::{Value, json};

use crate::{
    api::{self, VPSieNode, labels},
    events::REPORTER,
    view::{Slim as _, SlimNode},
};

/// How often a write is tried again with a fresh Node when another writer was faster.
const CONFLICT_RETRIES: usize = 5;

/// What a Node of a VPSieNode has to carry before it becomes schedulable.
#[derive(Clone, Debug)]
pub(super) struct Dress {
    /// Labels with the values that they must have.
    pub labels: BTreeMap<String, String>,
    /// Labels that must be there, and the value they get when they are not: others may set them too.
    pub defaults: BTreeMap<String, String>,
    /// Taints of the group.
    pub taints: Vec<Taint>,
}

// === impl Dress ===

impl Dress {
    /// What a VPSieNode of a group wants on its Node; without the group, only what the VPSieNode itself knows.
    pub(super) fn of(machine: &VPSieNode, group: Option<&api::NodeGroup>) -> Self {
        let namespace = machine.namespace().unwrap_or_default();
        let mut wanted: BTreeMap<String, String> = group.map(|group| group.spec.labels.clone()).unwrap_or_default();
        let spec = &machine.spec;
        let ours = [
            (labels::MANAGED, labels::MANAGED_TRUE),
            (labels::NODE_GROUP, spec.node_group_name.as_str()),
            (labels::NODE_GROUP_NAMESPACE, namespace.as_str()),
            (labels::DATACENTER, spec.datacenter_id.as_str()),
            (labels::OFFERING, spec.instance_type.as_str()),
        ];
        wanted.extend(ours.map(|(key, value)| (key.to_owned(), value.to_owned())));
        let name = machine.name_any();
        // A label value has at most 63 characters; names that we make are shorter.
        if name.len() <= 63 {
            wanted.insert(labels::VPSIE_NODE.to_owned(), name);
        }
        let defaults = [
            (labels::INSTANCE_TYPE, &spec.instance_type),
            (labels::ZONE, &spec.datacenter_id),
        ];
        let taints = group
            .map(|group| group.spec.taints.iter().map(taint).collect())
            .unwrap_or_default();
        Self {
            labels: wanted,
            defaults: defaults.map(|(key, value)| (key.to_owned(), value.clone())).into(),
            taints,
        }
    }

    /// Every label that the kubelet may register with.
    pub(super) fn all_labels(&self) -> BTreeMap<String, String> {
        let mut all = self.defaults.clone();
        all.extend(self.labels.clone());
        all
    }

    fn fits(&self, node: &Node) -> bool {
        self.missing_labels(node).is_empty() && self.taints.iter().all(|taint| has_taint(node, taint))
    }

    fn missing_labels(&self, node: &Node) -> BTreeMap<&str, &str> {
        let found = &node.metadata.labels;
        let wrong = self.labels.iter().filter(|(key, value)| found.get(*key) != Some(value));
        let absent = self
            .defaults
            .iter()
            .filter(|(key, _)| !self.labels.contains_key(*key) && !found.contains_key(*key));
        wrong
            .chain(absent)
            .map(|(key, value)| (key.as_str(), value.as_str()))
            .collect()
    }
}

/// What is seen of a Node.
pub(super) fn state(node: &Node, machine: &VPSieNode, dress: &Dress) -> NodeState {
    NodeState {
        ready: is_ready(node),
        unready_since: unready_since(node),
        cordoned: node.spec.unschedulable,
        cordoned_by_us: node.spec.unschedulable && is_our_cordon(node, machine),
        startup_taint: node.spec.taints.iter().any(|taint| taint.key == labels::STARTUP_TAINT),
        prepared: dress.fits(node),
    }
}

/// Whether the Ready condition is True.
pub(super) fn is_ready(node: &Node) -> bool {
    node.status
        .conditions
        .iter()
        .any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// Since when the Ready condition is not True, if it says so.
fn unready_since(node: &Node) -> Option<Timestamp> {
    let condition = node
        .status
        .conditions
        .iter()
        .find(|condition| condition.type_ == "Ready");
    condition
        .filter(|condition| condition.status != "True")
        .and_then(|condition| condition.last_transition_time)
}

/// Whether this Node is that of the VPSieNode, by more than its name: no other VPSieNode has marked it, and it is not
/// older than the VPSieNode unless that knows it already.
pub(super) fn belongs(node: &Node, machine: &VPSieNode) -> bool {
    let marked = node
        .metadata
        .labels
        .get(labels::VPSIE_NODE)
        .is_none_or(|name| *name == machine.name_any());
    let known = machine.status.as_ref().and_then(|status| status.node_name.as_deref()) == Some(&node.metadata.name);
    let older = match (node.metadata.creation_timestamp, machine.creation_timestamp()) {
        (Some(node), Some(machine)) => node < machine.0,
        _ => false,
    };
    marked && (known || !older)
}

/// Puts labels and taints on the Node, in one patch.
pub(super) async fn prepare(client: &Client, name: &str, dress: &Dress, id: Option<&str>) -> Result<Node, kube::Error> {
    update(client, name, |node| {
        if dress.fits(node) {
            return None;
        }
        let keys: BTreeSet<_> = dress.taints.iter().map(|taint| (&taint.key, &taint.effect)).collect();
        let kept = node
            .spec
            .taints
            .iter()
            .filter(|taint| !keys.contains(&(&taint.key, &taint.effect)));
        let taints: Vec<Value> = kept.chain(&dress.taints).map(taint_json).collect();
        let annotations = id.map_or_else(|| json!({}), |id| json!({ (labels::VPS_ID): id }));
        Some(json!({
            "metadata": { "labels": dress.missing_labels(node), "annotations": annotations },
            "spec": { "taints": taints },
        }))
    })
    .await
}

/// Takes the startup taint off the Node, if the labels and taints of the group are on it.
pub(super) async fn remove_startup_taint(client: &Client, name: &str, dress: &Dress) -> Result<Node, kube::Error> {
    update(client, name, |node| {
        let kept: Vec<_> = node
            .spec
            .taints
            .iter()
            .filter(|taint| taint.key != labels::STARTUP_TAINT)
            .collect();
        let complete = dress.fits(node) && kept.len() < node.spec.taints.len();
        let taints: Vec<Value> = kept.into_iter().map(taint_json).collect();
        complete.then(|| json!({ "spec": { "taints": taints } }))
    })
    .await
}

/// Whether the Node has the taint of a deletion candidate.
pub(super) fn is_candidate(node: &Node) -> bool {
    node.spec.taints.iter().any(is_candidate_taint)
}

/// Puts the taint of a deletion candidate on the Node, or takes it off.
pub(super) async fn set_candidate(client: &Client, name: &str, candidate: bool) -> Result<Node, kube::Error> {
    update(client, name, |node| {
        let others = node.spec.taints.iter().filter(|taint| !is_candidate_taint(taint));
        let ours = Taint {
            key: labels::CANDIDATE_TAINT.to_owned(),
            effect: "PreferNoSchedule".to_owned(),
            ..Taint::default()
        };
        let taints: Vec<Value> = others.chain(candidate.then_some(&ours)).map(taint_json).collect();
        (is_candidate(node) != candidate).then(|| json!({ "spec": { "taints": taints } }))
    })
    .await
}

/// Cordons the Node with our mark, unless it is cordoned already.
pub(super) async fn cordon(client: &Client, name: &str, mark: &str, now: Timestamp) -> Result<Node, kube::Error> {
    update(client, name, |node| {
        (!node.spec.unschedulable).then(|| {
            let annotations = json!({
                (labels::CORDONED_BY): mark,
                (labels::DRAIN_START_TIME): api::time(now),
                (labels::DRAIN_STATUS): "draining",
            });
            json!({ "metadata": { "annotations": annotations }, "spec": { "unschedulable": true } })
        })
    })
    .await
}

/// Uncordons the Node, if the cordon carries our mark.
pub(super) async fn uncordon(client: &Client, name: &str, machine: &VPSieNode) -> Result<Node, kube::Error> {
    update(client, name, |node| {
        is_our_cordon(node, machine).then(|| {
            let removal = machine.status.as_ref().and_then(|status| status.removal.as_ref());
            let message = removal.and_then(|removal| removal.message.as_deref());
            let late = message.is_some_and(|message| message.starts_with(DRAIN_TIMEOUT));
            lift(if late { "timeout" } else { "failed" })
        })
    })
    .await
}

/// The patch that takes our cordon off a Node, and all that says that it is being drained.
pub(super) fn lift(status: &str) -> Value {
    let annotations = json!({
        (labels::CORDONED_BY): null,
        (labels::DRAIN_START_TIME): null,
        (labels::DRAIN_STATUS): status,
    });
    json!({ "metadata": { "annotations": annotations }, "spec": { "unschedulable": false } })
}

/// Deletes this very Node. One that is gone already is fine, and so is another one of the same name.
pub(super) async fn delete(client: &Client, node: &Node) -> Result<(), kube::Error> {
    let nodes: Api<SlimNode> = Api::all(client.clone());
    let uid = Some(node.metadata.uid.clone()).filter(|uid| !uid.is_empty());
    let params = DeleteParams::default().preconditions(Preconditions {
        uid,
        resource_version: None,
    });
    match nodes.delete(&node.metadata.name, &params).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
        Err(error) => Err(error),
    }
}

/// The mark on a cordon that a VPSieNode is responsible for.
pub(super) fn mark(machine: &VPSieNode) -> String {
    machine.uid().unwrap_or_else(|| machine.name_any())
}

fn is_our_cordon(node: &Node, machine: &VPSieNode) -> bool {
    let by = node.metadata.annotations.get(labels::CORDONED_BY);
    by.is_some_and(|by| *by == mark(machine) || *by == machine.name_any())
}

/// Reads the Node, patches it, and tries again when another writer was faster. `change` gives the patch, or `None` when
/// there is nothing to do.
async fn update(
    client: &Client,
    name: &str,
    change: impl Fn(&Node) -> Option<Value> + Send,
) -> Result<Node, kube::Error> {
    let nodes: Api<SlimNode> = Api::all(client.clone());
    let params = PatchParams {
        field_manager: Some(REPORTER.to_owned()),
        ..PatchParams::default()
    };
    let mut retries = 0;
    loop {
        let node = nodes.get(name).await?.into_view();
        let Some(mut patch) = change(&node) else {
            return Ok(node);
        };
        pin(&mut patch, &node);
        match nodes.patch(name, &params, &Patch::Merge(&patch)).await {
            Ok(node) => return Ok(node.into_view()),
            Err(kube::Error::Api(status)) if status.code == 409 && retries < CONFLICT_RETRIES => retries += 1,
            Err(error) => return Err(error),
        }
    }
}

/// A Node as events refer to it.
pub(crate) fn reference(node: &Node) -> ObjectReference {
    ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Node".to_owned()),
        name: Some(node.metadata.name.clone()),
        uid: Some(node.metadata.uid.clone()),
        ..ObjectReference::default()
    }
}

/// Makes a patch one of this very version of the Node.
pub(super) fn pin(patch: &mut Value, node: &Node) {
    if let Some(patch) = patch.as_object_mut() {
        let metadata = patch.entry("metadata").or_insert_with(|| json!({}));
        metadata["resourceVersion"] = json!(node.metadata.resource_version);
    }
}

fn taint(taint: &api::Taint) -> Taint {
    Taint {
        key: taint.key.clone(),
        value: taint.value.clone().unwrap_or_default(),
        effect: taint.effect.as_str().to_owned(),
        time_added: None,
    }
}

fn is_candidate_taint(taint: &Taint) -> bool {
    taint.key == labels::CANDIDATE_TAINT
}

fn has_taint(node: &Node, wanted: &Taint) -> bool {
    let same =
        |taint: &Taint| (&taint.key, &taint.value, &taint.effect) == (&wanted.key, &wanted.value, &wanted.effect);
    node.spec.taints.iter().any(same)
}

fn taint_json(taint: &Taint) -> Value {
    let value = Some(&taint.value).filter(|value| !value.is_empty());
    let fields = [
        ("key", Some(json!(taint.key))),
        ("value", value.map(|value| json!(value))),
        ("effect", Some(json!(taint.effect))),
        ("timeAdded", taint.time_added.map(|added| json!(api::time(added)))),
    ];
    fields
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?)))
        .collect()
}
