//! A small kube-scheduler. May hold: the queue, the choice of a node and what is written about a pod that fits nowhere;
//! the rules themselves are in `fit`.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::apply::Writer;
use super::eviction::bind;
use super::fit::{World, tolerates_taints};
use super::lifecycle::update;
use super::object::{integer, is_terminal_pod, is_terminating, items, name, set_condition, text};
use super::store::{ObjectKey, State};
use super::{Background, Cluster};

/// Changes of these may let a pod be scheduled.
const INPUTS: &[(&str, &str)] = &[("", "pods"), ("", "nodes"), ("", "namespaces")];

/// Binds pending pods of the profile `default-scheduler` to nodes, until it is dropped.
///
/// Pods are taken by priority, then age, then name. Among the nodes that fit, those without a `PreferNoSchedule` taint
/// that the pod does not tolerate win, then the one with the most cpu and memory left, then the first by name. A pod that fits nowhere gets the condition `PodScheduled=False`, reason
/// `Unschedulable`, with the scheduler's message, and is tried again when pods, nodes or namespaces change. There is no
/// preemption, and no back-off: every change is judged at once.
#[derive(Debug)]
#[must_use = "the scheduler stops when this is dropped"]
pub struct Scheduler {
    _task: Background,
}

impl Scheduler {
    /// Starts a scheduler.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn start(cluster: &Cluster) -> Self {
        Self {
            _task: Background::spawn(run(cluster.clone())),
        }
    }
}

async fn run(cluster: Cluster) {
    let (mut changed, _) = cluster.subscribe();
    let mut judged = 0;
    loop {
        changed.mark_unchanged();
        if cluster.read(|state| state.changed_at(INPUTS)) > judged {
            cluster.write(schedule);
            judged = cluster.read(|state| state.changed_at(INPUTS));
        }
        if changed.changed().await.is_err() {
            return;
        }
    }
}

/// Judges every pending pod once.
fn schedule(state: &mut State) {
    let mut pending = state.all("", "pods");
    pending.retain(|pod| {
        text(pod, &["spec", "nodeName"]).is_empty()
            && text(pod, &["spec", "schedulerName"]) == "default-scheduler"
            && items(pod, &["spec", "schedulingGates"]).is_empty()
            && !is_terminating(pod)
            && !is_terminal_pod(pod)
    });
    if pending.is_empty() {
        return;
    }
    let order = |pod: &Arc<Value>| {
        let priority = Reverse(integer(pod, &["spec", "priority"]).unwrap_or_default());
        (
            priority,
            text(pod, &["metadata", "creationTimestamp"]).to_owned(),
            ObjectKey::of(pod),
        )
    };
    pending.sort_by_cached_key(order);
    let mut world = World::of(state);
    for pod in pending {
        place(state, &mut world, &pod);
    }
}

/// Binds a pod to the best node, or says why there is none.
fn place(state: &mut State, world: &mut World, pod: &Arc<Value>) {
    let Some(pods) = state.resource_type("", "pods") else {
        return;
    };
    let key = ObjectKey::of(pod);
    let mut reasons: BTreeMap<String, usize> = BTreeMap::new();
    // Whether no taint asks for another node, which counts most, and what would be left free.
    let mut best: Option<((bool, i128), usize)> = None;
    for (index, info) in world.nodes.iter().enumerate() {
        let rejections = world.rejections(pod, info);
        if rejections.is_empty() {
            let score = (
                tolerates_taints(pod, &info.node, &["PreferNoSchedule"]),
                info.free_share(pod),
            );
            // Nodes are in order of their names, so that the first of equals stays.
            if best.is_none_or(|(most, _)| score > most) {
                best = Some((score, index));
            }
        }
        for rejection in rejections {
            *reasons.entry(rejection).or_default() += 1;
        }
    }
    let Some(info) = best.and_then(|(_, index)| world.nodes.get_mut(index)) else {
        report(state, pod, &message(&reasons, world.nodes.len()));
        return;
    };
    let binding = json!({
        "apiVersion": "v1", "kind": "Binding", "metadata": { "name": key.name, "namespace": key.namespace },
        "target": { "kind": "Node", "name": name(&info.node) },
    });
    match bind(state, &pods, &key, &binding) {
        Ok(()) => info.add(Arc::clone(pod)),
        Err(error) => tracing::error!(%error, pod = %key.name, "binding failed"),
    }
}

/// `0/3 nodes are available: 1 node(s) had untolerated taint(s), 2 Insufficient cpu.`
fn message(reasons: &BTreeMap<String, usize>, nodes: usize) -> String {
    if nodes == 0 {
        return "no nodes available to schedule pods".to_owned();
    }
    let mut listed: Vec<String> = reasons
        .iter()
        .map(|(reason, count)| format!("{count} {reason}"))
        .collect();
    listed.sort();
    format!("0/{nodes} nodes are available: {}.", listed.join(", "))
}

fn report(state: &mut State, pod: &Value, message: &str) {
    let Some(pods) = state.resource_type("", "pods") else {
        return;
    };
    let mut new = pod.clone();
    if !set_condition(&mut new, "PodScheduled", "False", "Unschedulable", message, state.now) {
        return;
    }
    let writer = Writer {
        manager: "kube-scheduler".to_owned(),
        subresource: "status",
    };
    if let Err(error) = update(state, &pods, "v1", &ObjectKey::of(pod), new, &writer, false) {
        tracing::error!(%error, pod = name(pod), "the verdict on a pod was refused");
    }
}
