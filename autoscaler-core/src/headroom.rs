//! Head-room: how much room a group is to keep free for pods to come, and how much it has.
//!
//! Only the counting lives here. Scale-up buys what is missing, scale-down leaves alone what is needed, and
//! [`check`](crate::check) has [`lost`] and [`needs_empty_nodes`] for a second opinion.

use std::{borrow::Cow, collections::BTreeMap};

use jiff::Timestamp;

use crate::{
    drain,
    plan::{Destination, Plan, PodVerdict},
    resources::{Resource, Resources},
    snapshot::{GroupId, Headroom, Machine, NodeId, PodId, Snapshot},
    template::Template,
};

/// What nodes of a group have that counts for its head-room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Room {
    /// Nodes without a pod that would need another place.
    pub empty: u64,
    /// Nodes with such pods.
    pub busy: u64,
    /// Pods of the head-room that fit beside what is there; counted only for [`Headroom::Pods`].
    pub pods: u64,
}

// === impl Headroom ===

impl Headroom {
    /// The room of one node: what it offers, what all pods on it request, and how many of them would need another place.
    pub(crate) fn room_of(&self, allocatable: &Resources, used: &Resources, movable: u64) -> Room {
        Room {
            empty: u64::from(movable == 0),
            busy: u64::from(movable != 0),
            pods: match self {
                Self::Pods { requests, .. } => fitting(requests, allocatable, used),
                Self::Nodes(_) | Self::Percent(_) => 0,
            },
        }
    }

    /// How much is wanted of a group with this room: empty nodes or, for [`Headroom::Pods`], pods.
    pub(crate) fn wanted(&self, room: &Room) -> u64 {
        match self {
            Self::Nodes(count) | Self::Pods { count, .. } => u64::from(*count),
            Self::Percent(percent) => room.busy.saturating_mul(u64::from(*percent)).div_ceil(100),
        }
    }

    /// How much there is of what is wanted.
    pub(crate) const fn available(&self, room: &Room) -> u64 {
        match self {
            Self::Nodes(_) | Self::Percent(_) => room.empty,
            Self::Pods { .. } => room.pods,
        }
    }

    /// How much is missing, in empty nodes or pods.
    pub(crate) fn shortfall(&self, room: &Room) -> u64 {
        self.wanted(room).saturating_sub(self.available(room))
    }

    /// The state of the head-room in words.
    pub(crate) fn text(&self, room: &Room) -> String {
        let (available, wanted) = (self.available(room), self.wanted(room));
        match self {
            Self::Nodes(_) | Self::Percent(_) => format!("{available} empty nodes of {wanted}"),
            Self::Pods { .. } => format!("room for {available} pods of {wanted}"),
        }
    }
}

// === impl Room ===

impl Room {
    /// Counts the room of one more node.
    pub(crate) const fn add(&mut self, other: &Self) {
        self.empty = self.empty.saturating_add(other.empty);
        self.busy = self.busy.saturating_add(other.busy);
        self.pods = self.pods.saturating_add(other.pods);
    }

    /// Takes the room of a node back that was counted.
    pub(crate) const fn subtract(&mut self, other: &Self) {
        self.empty = self.empty.saturating_sub(other.empty);
        self.busy = self.busy.saturating_sub(other.busy);
        self.pods = self.pods.saturating_sub(other.pods);
    }
}

/// How many more pods with these requests fit.
pub(crate) fn fitting(requests: &Resources, allocatable: &Resources, used: &Resources) -> u64 {
    let extended = requests
        .extended_entries()
        .iter()
        .map(|(symbol, _)| Resource::Extended(*symbol));
    let named = [
        Resource::Cpu,
        Resource::Memory,
        Resource::EphemeralStorage,
        Resource::Pods,
    ];
    let fits = |resource| {
        let request = u64::try_from(requests.get(resource))
            .ok()
            .filter(|request| 0 < *request)?;
        let free = allocatable.get(resource).saturating_sub(used.get(resource));
        Some(u64::try_from(free).unwrap_or(0) / request)
    };
    // A pod takes a pod slot at least, so there is a smallest number.
    named.into_iter().chain(extended).filter_map(fits).min().unwrap_or(0)
}

/// The group whose head-room this node counts for: it is Ready or about to be for the first time, takes pods and stays.
pub(crate) fn group_of(snapshot: &Snapshot, id: NodeId, now: Timestamp) -> Option<GroupId> {
    let node = snapshot.node(id);
    let group = node.group.filter(|group| snapshot.group(*group).headroom.is_some())?;
    let machine = node.machine.map(|machine| snapshot.machine(machine));
    let stays = !node.unschedulable && !snapshot.is_leaving(id);
    let well_known = &snapshot.well_known;
    let tainted = |key| node.taints.iter().any(|taint| taint.key == key);
    let works = match machine {
        // A node that is starting counts until it is late, and when it is known what it is going to be.
        Some(machine) if !node.is_ready() || tainted(well_known.startup) || tainted(well_known.not_ready) => {
            let known = |group| Template::of_machine(snapshot, machine, group).is_some();
            (node.is_ready() || machine.is_coming())
                && !snapshot.settings.phase_timeouts.are_over(machine, now)
                && machine.group.is_some_and(known)
        }
        _ => node.is_ready(),
    };
    (works && stays).then_some(group)
}

/// How many pods on a node hold room there and need no other place when it goes.
pub(crate) fn stationary(snapshot: &Snapshot, node: NodeId, now: Timestamp) -> u64 {
    let stays = |pod: &&PodId| !snapshot.pod(**pod).is_terminal() && !drain::must_move(snapshot, **pod, now);
    let count = snapshot.pods_on(node).iter().filter(stays).count();
    u64::try_from(count).unwrap_or(u64::MAX)
}

/// How many pods on a node need another place when it goes.
pub(crate) fn movable(snapshot: &Snapshot, node: NodeId, now: Timestamp) -> u64 {
    let pods = snapshot.pods_on(node).iter();
    let count = pods.filter(|pod| drain::must_move(snapshot, **pod, now)).count();
    u64::try_from(count).unwrap_or(u64::MAX)
}

/// The groups whose head-room the removals of a plan make smaller than it is to be, with the numbers.
pub(crate) fn lost(snapshot: &Snapshot, plan: &Plan) -> Vec<String> {
    if plan.removals.is_empty() || snapshot.groups.iter().all(|group| group.headroom.is_none()) {
        return Vec::new();
    }
    let mut arriving = arriving(snapshot, plan);
    let none = &|_| Resources::default();
    let before = rooms(snapshot, plan, &arriving, &|_| false, none);
    for step in plan.removals.iter().flat_map(|removal| &removal.moves) {
        arriving.entry(step.to).or_default().push(step.pod);
    }
    let removed = |node| plan.removals.iter().any(|removal| removal.node == node);
    let after = rooms(snapshot, plan, &arriving, &removed, none);
    let judge = |(id, (before, after)): (GroupId, (Room, Room))| {
        let headroom = snapshot.group(id).headroom.as_ref()?;
        (headroom.shortfall(&before) < headroom.shortfall(&after)).then(|| {
            let (name, had, left) = (snapshot.group_name(id), headroom.text(&before), headroom.text(&after));
            format!("removals take the head-room of {name}: it had {had}, and is left with {left}")
        })
    };
    let pairs = before.into_iter().zip(after);
    snapshot.group_ids().zip(pairs).filter_map(judge).collect()
}

/// Whether a group is to have head-room and would have too little of it without any one of its planned nodes that carry
/// no pod.
pub(crate) fn needs_empty_nodes(snapshot: &Snapshot, plan: &Plan, id: GroupId) -> bool {
    let Some(headroom) = &snapshot.group(id).headroom else {
        return false;
    };
    let daemons = |node| daemons_to_come(snapshot, node);
    let rooms = rooms(snapshot, plan, &arriving(snapshot, plan), &|_| false, &daemons);
    let mut room = rooms.get(id.index()).copied().unwrap_or_default();
    let mut add = |template: &Template, pods: &mut dyn Iterator<Item = PodId>| {
        let (mut used, mut count) = (template.daemons.clone(), 0);
        for pod in pods {
            used.add(&snapshot.class_of(snapshot.pod(pod)).requests);
            count += 1;
        }
        let of_node = headroom.room_of(&template.allocatable, &used, count);
        room.add(&of_node);
        of_node
    };
    for machine in snapshot.machine_ids() {
        let known = snapshot.machine(machine);
        let late = snapshot.settings.phase_timeouts.are_over(known, plan.now);
        if known.group != Some(id) || known.node.is_some() || !known.is_coming() || late {
            continue;
        }
        let coming = PodVerdict::FitsExisting(Destination::Machine(machine));
        let reports = plan.pods.iter().filter(|report| report.verdict == coming);
        if let Some(template) = Template::of_machine(snapshot, known, id) {
            add(&template, &mut reports.map(|report| report.pod));
        }
    }
    let mut empty = Vec::new();
    for creation in plan.creations.iter().filter(|creation| creation.group == id) {
        let offering = snapshot.offering(&creation.offering, &creation.datacenter);
        let Some(offering) = offering else { continue };
        let of_node = add(
            &Template::new(snapshot, id, offering),
            &mut creation.pods.iter().copied(),
        );
        if creation.pods.is_empty() {
            empty.push(of_node);
        }
    }
    empty.iter().all(|of_node| {
        let mut without = room;
        without.subtract(of_node);
        0 < headroom.shortfall(&without)
    })
}

/// Pods that the plan finds room for on nodes that exist, and those that preemption keeps room for.
fn arriving(snapshot: &Snapshot, plan: &Plan) -> BTreeMap<NodeId, Vec<PodId>> {
    let mut arriving: BTreeMap<NodeId, Vec<PodId>> = BTreeMap::new();
    for report in &plan.pods {
        if let PodVerdict::FitsExisting(Destination::Node(node)) = report.verdict {
            arriving.entry(node).or_default().push(report.pod);
        }
    }
    for id in snapshot.pod_ids() {
        let pod = snapshot.pod(id);
        if let Some(node) = pod.nominated
            && !pod.bound
            && !pod.is_terminal()
            && pod.deletion.is_none()
        {
            arriving.entry(node).or_default().push(id);
        }
    }
    arriving
}

/// The room of every group, with pods on their way to nodes. `daemons` is what the pods of DaemonSets are going to hold on a
/// node at the least.
fn rooms(
    snapshot: &Snapshot,
    plan: &Plan,
    arriving: &BTreeMap<NodeId, Vec<PodId>>,
    removed: &dyn Fn(NodeId) -> bool,
    daemons: &dyn Fn(NodeId) -> Resources,
) -> Vec<Room> {
    let mut rooms = vec![Room::default(); snapshot.groups.len()];
    for node in snapshot.node_ids().filter(|node| !removed(*node)) {
        let Some(group) = group_of(snapshot, node, plan.now) else {
            continue;
        };
        let (Some(headroom), Some(room)) = (&snapshot.group(group).headroom, rooms.get_mut(group.index())) else {
            continue;
        };
        let mut used = Resources::default();
        let on_node = snapshot.pods_on(node).iter().map(|pod| snapshot.pod(*pod));
        for pod in on_node.filter(|pod| !pod.is_terminal()) {
            used.add(&snapshot.class_of(pod).requests);
        }
        used.raise_to(&daemons(node));
        let mut movable = movable(snapshot, node, plan.now);
        let arriving = arriving.get(&node).into_iter().flatten();
        for pod in arriving.map(|pod| snapshot.pod(*pod)).filter(|pod| !pod.is_terminal()) {
            used.add(&snapshot.class_of(pod).requests);
            movable = movable.saturating_add(1);
        }
        room.add(&headroom.room_of(&allocatable(snapshot, node), &used, movable));
    }
    rooms
}

/// What the pods of DaemonSets are going to hold on a node that is starting; nothing on any other.
fn daemons_to_come(snapshot: &Snapshot, id: NodeId) -> Resources {
    let node = snapshot.node(id);
    let well_known = &snapshot.well_known;
    let starts = |machine: &&Machine| {
        let tainted = |key| node.taints.iter().any(|taint| taint.key == key);
        if node.is_ready() {
            tainted(well_known.startup) || tainted(well_known.not_ready)
        } else {
            machine.is_coming()
        }
    };
    let machine = node.machine.map(|machine| snapshot.machine(machine)).filter(starts);
    let template = machine.and_then(|machine| Template::of_machine(snapshot, machine, machine.group?));
    template.map_or_else(Resources::default, |template| template.daemons)
}

/// What a node offers: what it reports itself, also before it is Ready for the first time. A node that has been
/// registered and has not reported yet is going to have what its offering has.
fn allocatable(snapshot: &Snapshot, id: NodeId) -> Cow<'_, Resources> {
    let node = snapshot.node(id);
    let machine = node.machine.map(|machine| snapshot.machine(machine));
    let to_come = machine
        .filter(|machine| node.allocatable.pods <= 0 && !node.is_ready() && machine.is_coming())
        .and_then(|machine| Template::of_machine(snapshot, machine, machine.group?));
    to_come.map_or(Cow::Borrowed(&node.allocatable), |template| {
        Cow::Owned(template.allocatable)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resources(cpu: i64, memory: i64, pods: i64) -> Resources {
        Resources {
            cpu,
            memory,
            pods,
            ..Resources::default()
        }
    }

    #[test]
    fn percent_is_of_the_nodes_that_are_not_empty_and_is_rounded_up() {
        let wanted = |percent, busy, empty| Headroom::Percent(percent).wanted(&Room { empty, busy, pods: 0 });
        assert_eq!(
            [wanted(10, 0, 3), wanted(10, 1, 0), wanted(10, 10, 1), wanted(10, 11, 0)],
            [0, 1, 1, 2]
        );
        assert_eq!(wanted(100, 7, 0), 7);
    }

    #[test]
    fn room_for_pods_counts_the_scarcest_resource() {
        let allocatable = resources(4000, 8000, 110);
        let fits = |requests, used| fitting(&requests, &allocatable, &used);
        assert_eq!(fits(resources(500, 0, 1), resources(1000, 0, 3)), 6);
        assert_eq!(fits(resources(500, 3000, 1), resources(1000, 1000, 3)), 2);
        assert_eq!(fits(resources(0, 0, 1), resources(0, 0, 100)), 10);
        assert_eq!(fits(resources(500, 0, 1), resources(9000, 0, 1)), 0);
    }

    #[test]
    fn an_extended_resource_that_no_node_has_leaves_no_room() {
        let mut symbols = crate::symbol::Symbols::default();
        let mut requests = resources(100, 0, 1);
        requests.set_extended(symbols.intern("example.com/gpu"), 1);
        assert_eq!(fitting(&requests, &resources(4000, 0, 10), &Resources::default()), 0);
    }

    /// A group with one VPSieNode that is joining, and what scale-up and the check say about its head-room of pods of one
    /// core: how many nodes are bought, and how many pods the nodes that are there have room for.
    fn bought_and_room(pods: u32, node: &str) -> (usize, u64) {
        decided(
            &format!("pods: {{replicas: {pods}, resources: {{requests: {{cpu: 1}}}}}}"),
            node,
        )
    }

    /// As [`bought_and_room`], for any head-room.
    fn decided(headroom: &str, node: &str) -> (usize, u64) {
        use crate::{
            build::Input,
            manifest::{Objects, Source, read, read_offerings},
            planner::{self, Options},
        };
        let text = format!(
            r#"
apiVersion: autoscaler.vpsie.com/v1alpha1
kind: NodeGroup
metadata: {{name: g, namespace: default, labels: {{autoscaler.vpsie.com/managed: "true"}}}}
spec:
  minNodes: 0
  maxNodes: 9
  datacenterID: dc-1
  offeringIDs: [medium]
  headroom: {{{headroom}}}
---
apiVersion: autoscaler.vpsie.com/v1alpha1
kind: VPSieNode
metadata: {{name: m, namespace: default}}
spec: {{nodeGroupName: g, instanceType: medium, datacenterID: dc-1}}
status: {{phase: Joining, phaseSince: "2026-01-01T11:59:00Z", nodeName: m}}
{node}"#
        );
        let source = |name: &str, text| Source {
            name: name.to_owned(),
            text,
        };
        let mut objects = Objects::default();
        read(&source("dump", &text), &mut objects).unwrap();
        let catalogue = r#"[{"id": "medium", "cpu": 4, "ram": 8192, "disk": 80, "hourly_price": 0.06}]"#;
        let offerings = read_offerings(&source("offerings", catalogue)).unwrap();
        let snapshot = Snapshot::build(&Input::new(&objects, &offerings));
        let plan = planner::plan(&snapshot, &Options::default(), "2026-01-01T12:00:00Z".parse().unwrap());
        assert_eq!(crate::check::check(&snapshot, &plan), []);
        let room = rooms(&snapshot, &plan, &BTreeMap::new(), &|_| false, &|_| {
            Resources::default()
        });
        (plan.creations.len(), room[0].pods)
    }

    #[test]
    fn a_starting_node_has_the_room_that_it_reports_and_before_that_the_room_of_its_offering() {
        let node = |allocatable: &str, taint: &str, ready: &str| {
            format!(
                "---\napiVersion: v1\nkind: Node\nmetadata: {{name: m, labels: {{autoscaler.vpsie.com/managed: \"true\", autoscaler.vpsie.com/nodegroup: g}}}}\nspec: {{taints: [{{key: {taint}, effect: NoSchedule}}]}}\nstatus: {{allocatable: {{{allocatable}}}, conditions: [{{type: Ready, status: \"{ready}\"}}]}}\n"
            )
        };
        let smaller = "cpu: 1900m, memory: 7Gi, pods: 110";
        let (startup, not_ready) = ("autoscaler.vpsie.com/startup", "node.kubernetes.io/not-ready");
        // Three of one core fit the 3.9 cores that the offering has after reserves.
        assert_eq!(
            [bought_and_room(3, "").0, bought_and_room(4, "").0],
            [0, 1],
            "no Node yet"
        );
        for (what, text, pods) in [
            ("a Node that reports nothing yet", node("", not_ready, "False"), 3),
            ("a Node that is not Ready", node(smaller, not_ready, "False"), 1),
            (
                "a Node that is Ready and has its startup taint",
                node(smaller, startup, "True"),
                1,
            ),
        ] {
            assert_eq!(
                bought_and_room(u32::try_from(pods).unwrap(), &text),
                (0, pods),
                "{what}"
            );
            assert_eq!(
                bought_and_room(u32::try_from(pods).unwrap() + 1, &text),
                (1, pods),
                "{what}"
            );
        }
    }

    #[test]
    fn pods_of_daemon_sets_that_are_not_on_a_starting_node_yet_hold_their_room_and_leave_it_empty() {
        let text = |bound: &str| {
            format!(
                r#"---
apiVersion: v1
kind: Node
metadata: {{name: m, labels: {{autoscaler.vpsie.com/managed: "true", autoscaler.vpsie.com/nodegroup: g}}}}
spec: {{taints: [{{key: node.kubernetes.io/not-ready, effect: NoSchedule}}]}}
status: {{allocatable: {{cpu: 2900m, memory: 7Gi, pods: 110}}, conditions: [{{type: Ready, status: "False"}}]}}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {{name: agent, namespace: default}}
spec: {{template: {{spec: {{containers: [{{name: c, resources: {{requests: {{cpu: 600m}}}}}}]}}}}}}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {{name: proxy, namespace: default}}
spec: {{template: {{spec: {{containers: [{{name: c, resources: {{requests: {{cpu: 600m}}}}}}]}}}}}}
{bound}"#
            )
        };
        let bound = r"---
apiVersion: v1
kind: Pod
metadata: {name: agent-m, namespace: default, ownerReferences: [{apiVersion: apps/v1, kind: DaemonSet, name: agent, uid: u, controller: true}]}
spec: {nodeName: m, containers: [{name: c, resources: {requests: {cpu: 600m}}}]}
status: {phase: Pending}
";
        for bound in ["", bound] {
            let node = text(bound);
            assert_eq!(decided("nodes: 1", &node).0, 0, "{bound}");
            assert_eq!(decided("nodes: 2", &node).0, 1, "{bound}");
            // 1.7 cores are going to be left of 2.9.
            assert_eq!(bought_and_room(1, &node).0, 0, "{bound}");
            assert_eq!(bought_and_room(2, &node).0, 1, "{bound}");
        }
    }
}
