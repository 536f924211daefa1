//! What the state machine needs to see of a VPSieNode: VM, Node, pods, and what speaks against its removal.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, OnceLock},
};

use autoscaler_core::{
    build::{DAEMON_SET_POD_ANNOTATION, is_mirror},
    lifecycle::{CreateReply, NodeSeen, Observation, Record, RemovalPhase},
    manifest::{node::Node, pod::Pod},
    provider::Instance,
    scale_down::standing_objection,
    snapshot::{MachinePhase, NodeId, PodId, Snapshot, Uid},
    world::World,
};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::storage::v1::VolumeAttachment;
use kube::{
    Api, Client, ResourceExt as _,
    api::{ApiResource, ListParams, NotUsed, Object},
};
use serde::Deserialize;
use tokio::sync::OnceCell;

use super::{
    Actuator, Tick,
    drain::{self, Load},
    join::{self, Dress},
    vms::{Identity, Vms, hostname},
};
use crate::{
    api::{self, NodeGroup, VPSieNode, labels},
    index::{Cluster, Index},
    view::{Slim as _, SlimNode, SlimPod},
};

const UNSCHEDULABLE_TAINT: &str = "node.kubernetes.io/unschedulable";
/// The cluster and the provider as one tick sees them.
pub(super) struct Sight<'a> {
    cluster: &'a Cluster,
    pub vms: Vms,
    nodes: Nodes<'a>,
    index: Index,
    /// Volumes by the node that they are attached to; read when the first node is drained. `None` when that failed.
    attachments: OnceCell<Option<BTreeMap<String, u32>>>,
    /// For drains; made when the first one is looked at. Nodes that we have cordoned are not cordoned in it.
    snapshot: OnceLock<Snapshot>,
}

/// Nodes, by name in lower case.
struct Nodes<'a>(BTreeMap<String, &'a Node>);

/// What is seen of one VPSieNode.
#[derive(Debug)]
pub(super) struct Seen {
    pub observation: Observation,
    pub node: Option<Node>,
    pub instance: Option<Instance>,
    pub load: Load,
    /// What the Node has to carry.
    pub dress: Dress,
}

/// Where to look for the Node: our own writes are newer than the index.
#[derive(Clone, Debug, Default)]
pub(super) enum NodeSource {
    /// In the index.
    #[default]
    Index,
    /// This is it.
    Written(Box<Node>),
    /// At the API server.
    Server,
}

// === impl Sight ===

impl<'a> Sight<'a> {
    /// Looks at the cluster.
    pub(super) fn new(cluster: &'a Cluster, index: Index, vms: Vms) -> Self {
        Self {
            cluster,
            vms,
            nodes: Nodes::of(cluster),
            index,
            attachments: OnceCell::new(),
            snapshot: OnceLock::new(),
        }
    }

    /// The NodeGroup of a VPSieNode.
    pub(super) fn group(&self, machine: &VPSieNode) -> Option<&'a NodeGroup> {
        let key = (
            machine.namespace().unwrap_or_default(),
            machine.spec.node_group_name.clone(),
        );
        self.cluster.groups.get(&key).map(Arc::as_ref)
    }

    /// What drains are judged by, if there was any to judge.
    pub(super) fn judged_by(&self) -> Option<&Snapshot> {
        self.snapshot.get()
    }

    fn snapshot(&self) -> &Snapshot {
        self.snapshot.get_or_init(|| self.index.snapshot_with(lifted))
    }
}

/// The nodes that we have cordoned, without their cordon: what a node could host is judged as if there were none.
fn lifted(cluster: &Cluster) -> Vec<Node> {
    let nodes = Nodes::of(cluster);
    let leaving = cluster.machines.values().filter(|machine| is_leaving(machine));
    let cordoned = leaving.filter_map(|machine| {
        let node = nodes.belonging_to(machine)?;
        let state = join::state(node, machine, &Dress::of(machine, None));
        state.cordoned_by_us.then(|| node.clone())
    });
    let lifted = cordoned.map(|mut node| {
        node.spec.unschedulable = false;
        node.spec.taints.retain(|taint| taint.key != UNSCHEDULABLE_TAINT);
        node
    });
    lifted.collect()
}

// === impl Nodes ===

impl<'a> Nodes<'a> {
    fn of(cluster: &'a Cluster) -> Self {
        let nodes = cluster.nodes.iter();
        Self(nodes.map(|(name, node)| (name.to_ascii_lowercase(), &**node)).collect())
    }

    /// The Node of a VPSieNode.
    fn belonging_to(&self, machine: &VPSieNode) -> Option<&'a Node> {
        let status = machine.status.as_ref();
        let names = [
            status.and_then(|status| status.node_name.clone()),
            status.and_then(|status| status.hostname.clone()),
            Some(hostname(machine)),
        ];
        let mut found = names.into_iter().flatten();
        let found = found.find_map(|name| self.0.get(&name.to_ascii_lowercase()).copied());
        found.filter(|node| join::belongs(node, machine))
    }
}

// === impl Actuator ===

impl Actuator {
    /// Looks at one VPSieNode.
    pub(super) async fn observe(
        &self,
        tick: &Tick<'_>,
        machine: &VPSieNode,
        record: &Record,
        source: &NodeSource,
        reply: Option<CreateReply>,
    ) -> Seen {
        let group = tick.sight.group(machine);
        let dress = Dress::of(machine, group);
        let (node_seen, node) = self.look_for_node(tick, machine, record, source, &dress).await;
        let identity = Identity::of(machine);
        let uid = machine.uid().unwrap_or_default();
        let mut seen = Seen {
            observation: Observation {
                vm: tick.sight.vms.see(&identity),
                node: node_seen,
                create: reply,
                // After a restart the provider's own word, as the last list had it, is what is left of an order.
                delete_accepted: self.memory().delete_accepted.contains(&uid) || was_being_deleted(machine),
                force_drain: group.is_some_and(|group| group.spec.scale_down_policy.force_drain),
                ..Observation::default()
            },
            node,
            instance: tick.sight.vms.find(&identity).cloned(),
            load: Load::default(),
            dress,
        };
        if record.phase == MachinePhase::Terminating {
            self.look_at_drain(tick, machine, record, &mut seen);
            if is_drained(record) {
                self.look_for_newcomers(tick, machine, &mut seen).await;
                self.look_for_attachments(tick, &mut seen).await;
            }
        }
        seen
    }

    /// The Node. Where its absence would have consequences the API server itself is asked.
    async fn look_for_node(
        &self,
        tick: &Tick<'_>,
        machine: &VPSieNode,
        record: &Record,
        source: &NodeSource,
        dress: &Dress,
    ) -> (NodeSeen, Option<Node>) {
        let found = match source {
            // What cannot be undone is decided on what the API server says now; and so is whether a cordon is left to
            // undo, because a reply that was lost may be all that was seen of it.
            NodeSource::Index if is_drained(record) || is_rolling_back(record) => None,
            NodeSource::Index => tick.sight.nodes.belonging_to(machine).cloned(),
            NodeSource::Written(node) => Some(Node::clone(node)),
            NodeSource::Server => None,
        };
        let present = |node: Node| (NodeSeen::Present(join::state(&node, machine, dress)), Some(node));
        if let Some(node) = found {
            return present(node);
        }
        let coming = matches!(
            record.phase,
            MachinePhase::Pending | MachinePhase::Provisioning | MachinePhase::Provisioned | MachinePhase::Joining
        );
        if coming && !record.deletion_requested && !record.is_in_removal() {
            return (NodeSeen::Absent, None);
        }
        let known = machine.status.as_ref().and_then(|status| status.node_name.clone());
        let name = known.unwrap_or_else(|| hostname(machine));
        let nodes: Api<SlimNode> = Api::all(self.clients.write.clone());
        match nodes.get_opt(&name).await {
            Ok(Some(node)) => {
                let node = node.into_view();
                if join::belongs(&node, machine) {
                    present(node)
                } else if is_relabelled(tick.sight.cluster, &node, machine) {
                    let label = labels::VPSIE_NODE;
                    let message = format!("label {label} of Node {name} names a VPSieNode that does not exist");
                    tick.problem(super::describe(machine), "find Node", message);
                    (NodeSeen::Unknown, None)
                } else {
                    (NodeSeen::Absent, None)
                }
            }
            Ok(None) => (NodeSeen::Absent, None),
            Err(error) => {
                tick.problem(super::describe(machine), "get Node", error.to_string());
                (NodeSeen::Unknown, None)
            }
        }
    }

    /// The pods that are left, and what speaks against the removal.
    fn look_at_drain(&self, tick: &Tick<'_>, machine: &VPSieNode, record: &Record, seen: &mut Seen) {
        let Some(node) = &seen.node else { return };
        let snapshot = tick.sight.snapshot();
        let Some(id) = find_node(snapshot, &node.metadata.name) else {
            // The Node is newer than this tick's reading of the cluster: nothing is known of its pods.
            seen.observation.node = NodeSeen::Unknown;
            return;
        };
        let by_hand = record.deletion_requested;
        if is_drained(record) && !by_hand && has_changed(tick.sight.cluster, node) {
            // The last look is at the Node as it is, and at what its labels and annotations mean.
            self.index.put_node(node.clone());
            seen.observation.node = NodeSeen::Unknown;
            tick.come_back(SignedDuration::from_secs(1));
            return;
        }
        let planned = planned_moves(machine).filter(|_| !by_hand);
        let now = tick.now();
        seen.load = drain::load(snapshot, id, planned.as_ref(), &self.memory().attempts, now);
        seen.observation.pods = seen.load.left.clone();
        seen.observation.own_node = snapshot.node(id).own;
        seen.observation.below_minimum = is_below_minimum(snapshot, id);
        let undrained = record
            .removal
            .as_ref()
            .is_some_and(|removal| removal.phase < RemovalPhase::Drained);
        if by_hand {
            return;
        }
        seen.observation.opposed = standing_objection(snapshot, id, undrained);
        if undrained {
            seen.observation.needed_by = pending_pod_for(snapshot, id).map(|pod| snapshot.pod_name(pod));
        }
    }

    /// Counts the volumes that are attached to the node, with one list for all nodes of a tick.
    async fn look_for_attachments(&self, tick: &Tick<'_>, seen: &mut Seen) {
        let Some(node) = &seen.node else { return };
        let read = || async {
            match read_attachments(self.clients.write.clone()).await {
                Ok(by_node) => Some(by_node),
                Err(error) => {
                    tick.problem("VolumeAttachments".to_owned(), "list", error.to_string());
                    None
                }
            }
        };
        let by_node = tick.sight.attachments.get_or_init(read).await;
        let count = by_node
            .as_ref()
            .map(|by_node| by_node.get(&node.metadata.name).copied().unwrap_or(0));
        seen.observation.attachments = count;
        if count != Some(0) {
            tick.come_back(SignedDuration::from_secs(5));
        }
    }

    /// Counts pods of the node that the index does not have yet: one that was bound while the cordon was on its way.
    async fn look_for_newcomers(&self, tick: &Tick<'_>, machine: &VPSieNode, seen: &mut Seen) {
        let Some(name) = seen.node.as_ref().map(|node| node.metadata.name.clone()) else {
            return;
        };
        let pods: Api<SlimPod> = Api::all(self.clients.write.clone());
        match pods
            .list(&ListParams::default().fields(&format!("spec.nodeName={name}")))
            .await
        {
            Ok(list) => {
                let snapshot = tick.sight.snapshot();
                let known = find_node(snapshot, &name).map_or(&[][..], |id| snapshot.pods_on(id));
                let known: BTreeSet<&Uid> = known.iter().map(|id| &snapshot.pod(*id).uid).collect();
                let known = |pod: &Pod| known.contains(&Uid::new(&pod.metadata.uid));
                let new = list
                    .items
                    .into_iter()
                    .map(SlimPod::into_view)
                    .filter(|pod| matters(pod) && !known(pod))
                    .count();
                let workload = &mut seen.observation.pods.workload;
                *workload = workload.saturating_add(u32::try_from(new).unwrap_or(u32::MAX));
            }
            Err(error) => {
                tick.problem(super::describe(machine), "list pods", error.to_string());
                seen.observation.node = NodeSeen::Unknown;
            }
        }
    }
}

/// What is of interest of a VolumeAttachment.
#[derive(Clone, Debug, Deserialize)]
struct AttachmentSpec {
    #[serde(rename = "nodeName")]
    node_name: String,
}

/// Volumes by the node that they are attached to. There is no field selector for the node, so that all are read.
async fn read_attachments(client: Client) -> Result<BTreeMap<String, u32>, kube::Error> {
    type Attachment = Object<AttachmentSpec, NotUsed>;
    let attachments: Api<Attachment> = Api::all_with(client, &ApiResource::erase::<VolumeAttachment>(&()));
    let mut by_node = BTreeMap::new();
    for attachment in attachments.list(&ListParams::default()).await? {
        *by_node.entry(attachment.spec.node_name).or_default() += 1;
    }
    Ok(by_node)
}

fn find_node(snapshot: &Snapshot, name: &str) -> Option<NodeId> {
    snapshot
        .node_ids()
        .find(|id| snapshot.text(snapshot.node(*id).name) == name)
}

/// Whether a pod holds its node back as long as nobody has judged it.
fn matters(pod: &Pod) -> bool {
    let daemon = pod.metadata.controller().is_some_and(|owner| owner.kind == "DaemonSet")
        || pod
            .metadata
            .annotations
            .get(DAEMON_SET_POD_ANNOTATION)
            .is_some_and(|value| value == "true");
    !daemon && !is_mirror(&pod.metadata) && !matches!(pod.status.phase.as_str(), "Succeeded" | "Failed")
}

/// Whether the provider has said that it is deleting the VM.
fn was_being_deleted(machine: &VPSieNode) -> bool {
    machine
        .status
        .as_ref()
        .and_then(|status| status.vpsie_status.as_deref())
        == Some("deleting")
}

/// Whether the next step is the point of no return.
fn is_drained(record: &Record) -> bool {
    record
        .removal
        .as_ref()
        .is_some_and(|removal| removal.phase == RemovalPhase::Drained)
}

/// Whether our own changes to the Node are being undone.
fn is_rolling_back(record: &Record) -> bool {
    record
        .removal
        .as_ref()
        .is_some_and(|removal| removal.phase == RemovalPhase::RollingBack)
}

/// Whether the Node that a VPSieNode has known carries a label that leads nowhere: somebody has edited it. The Node of
/// another VPSieNode, which got the same name later, is no such one.
fn is_relabelled(cluster: &Cluster, node: &Node, machine: &VPSieNode) -> bool {
    let known = machine.status.as_ref().and_then(|status| status.node_name.as_deref()) == Some(&node.metadata.name);
    let label = node.metadata.labels.get(labels::VPSIE_NODE);
    let is_other = |name: &String| cluster.machines.values().any(|other| other.name_any() == *name);
    known && label.is_some_and(|name| *name != machine.name_any() && !is_other(name))
}

/// Whether somebody has changed labels or annotations of a Node since this tick's reading of the cluster.
fn has_changed(cluster: &Cluster, node: &Node) -> bool {
    let ours = [labels::CORDONED_BY, labels::DRAIN_START_TIME, labels::DRAIN_STATUS];
    let annotations = |node: &Node| {
        let mut annotations = node.metadata.annotations.clone();
        annotations.retain(|key, _| !ours.contains(&key.as_str()));
        annotations
    };
    cluster
        .nodes
        .get(&node.metadata.name)
        .is_some_and(|known| known.metadata.labels != node.metadata.labels || annotations(known) != annotations(node))
}

/// Whether a drain, or a decision about one, may be near.
pub(super) fn is_leaving(machine: &VPSieNode) -> bool {
    let removal = machine.status.as_ref().and_then(|status| status.removal.as_ref());
    let active = removal.is_some_and(|removal| removal.phase.is_some_and(|phase| phase != api::RemovalPhase::Failed));
    machine.is_deleting() || active || machine.phase() == api::Phase::Terminating
}

/// The pods that the plan of this removal has a place for; `None` when there is no such plan.
fn planned_moves(machine: &VPSieNode) -> Option<BTreeSet<String>> {
    let removal = machine.status.as_ref()?.removal.as_ref()?;
    let by_plan = removal.kind == Some(api::RemovalKind::Drain) && !removal.moves.is_empty();
    by_plan.then(|| removal.moves.iter().map(|planned| planned.pod.clone()).collect())
}

/// Whether without this node the group would have fewer Ready nodes than its minimum. A node that is not Ready is no
/// loss.
fn is_below_minimum(snapshot: &Snapshot, id: NodeId) -> bool {
    let node = snapshot.node(id);
    let Some(group) = node.group else { return false };
    let stays = |other: &NodeId| {
        let node = snapshot.node(*other);
        let leaving = node
            .machine
            .is_some_and(|machine| snapshot.machine(machine).is_leaving());
        *other != id && node.group == Some(group) && node.is_ready() && !node.deleting && !leaving
    };
    let others = snapshot.node_ids().filter(stays).count();
    node.is_ready() && others < usize::try_from(snapshot.group(group).min_nodes).unwrap_or(usize::MAX)
}

/// A pod that the scheduler finds no place for and that this node could host.
fn pending_pod_for(snapshot: &Snapshot, node: NodeId) -> Option<PodId> {
    let cutoff = snapshot.settings.priority_cutoff;
    let asks = |id: &PodId| {
        let pod = snapshot.pod(*id);
        pod.unschedulable.is_some()
            && !pod.bound
            && !pod.has_nomination
            && !pod.gated
            && !pod.is_daemon()
            && !pod.is_terminal()
            && pod.deletion.is_none()
            && cutoff <= snapshot.class_of(pod).priority
    };
    let mut asking = snapshot.pod_ids().filter(asks).peekable();
    asking.peek()?;
    let world = World::new(snapshot);
    // Pods of one class are alike.
    let mut judged = BTreeSet::new();
    asking
        .filter(|pod| judged.insert(snapshot.pod(*pod).class))
        .find(|pod| world.misfit(snapshot.pod(*pod).class, node.into()).is_none())
}

/// When a phase of a VPSieNode is over at the latest.
pub(super) fn deadlines(
    actuator: &Actuator,
    tick: &Tick<'_>,
    group: Option<&NodeGroup>,
) -> autoscaler_core::lifecycle::Deadlines {
    let seconds = |seconds: i32| SignedDuration::from_secs(i64::from(seconds));
    let mut deadlines = actuator.settings.deadlines;
    if tick.has_config {
        let timeouts = &tick.config.phase_timeouts;
        deadlines.provision = seconds(timeouts.provision_seconds);
        deadlines.join = seconds(timeouts.join_seconds);
        deadlines.initialize = seconds(timeouts.initialize_seconds);
        deadlines.drain = seconds(timeouts.drain_seconds);
        deadlines.delete = seconds(timeouts.delete_seconds);
        deadlines.detach = seconds(timeouts.detach_seconds);
        deadlines.unready = seconds(tick.config.scale_down_unready_time_seconds);
    }
    if let Some(group) = group {
        let policy = &group.spec.scale_down_policy;
        deadlines.drain = seconds(policy.drain_timeout_seconds);
        deadlines.unready = policy.unready_time_seconds.map_or(deadlines.unready, seconds);
    }
    deadlines
}

/// The time a VPSieNode's VM was first asked for, else that of the object.
pub(super) fn began(machine: &VPSieNode, now: Timestamp) -> Timestamp {
    let asked = machine
        .status
        .as_ref()
        .and_then(|status| status.created_at.as_ref())
        .map(|time| time.0);
    asked
        .or_else(|| machine.creation_timestamp().map(|time| time.0))
        .unwrap_or(now)
}
