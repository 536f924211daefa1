//! The invariants that every plan must keep, judged from the snapshot and the plan alone.
//!
//! A second opinion, written independently of the planner: [`check`] runs before every execution and in every test. A
//! plan that it objects to is not carried out.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use crate::{
    plan::{Destination, Plan, PlannedRemoval, PodVerdict},
    snapshot::{BudgetSize, ClassId, GroupId, Machine, MachineId, MachinePhase, NodeId, PodId, Snapshot},
    template::Template,
    world::{BinId, World},
};

/// A broken invariant, in words, with its number in the list of the architecture document.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Violation {
    /// Number of the invariant.
    pub invariant: u8,
    /// What is wrong, with names and numbers.
    pub message: String,
}

/// Every invariant that the plan breaks; empty for a plan that may be carried out.
#[must_use]
pub fn check(snapshot: &Snapshot, plan: &Plan) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut report = |invariant, message| violations.push(Violation { invariant, message });
    sizes(snapshot, plan, &mut report);
    protected_nodes(snapshot, plan, &mut report);
    removal_budgets(snapshot, plan, &mut report);
    disruption_budgets(snapshot, plan, &mut report);
    placements(snapshot, plan, &mut report);
    needless_creations(snapshot, plan, &mut report);
    growing_groups(snapshot, plan, &mut report);
    for message in crate::headroom::lost(snapshot, plan) {
        report(2, message);
    }
    violations.sort();
    violations
}

type Report<'a> = dyn FnMut(u8, String) + 'a;

/// 1: no group below its minimum of Ready nodes by removals, none above its maximum or the cluster's by creations.
fn sizes(snapshot: &Snapshot, plan: &Plan, report: &mut Report<'_>) {
    let removed: BTreeSet<NodeId> = plan.removals.iter().map(|removal| removal.node).collect();
    let mut managed = 0;
    for id in snapshot.group_ids() {
        let group = snapshot.group(id);
        let name = snapshot.group_name(id);
        let nodes = || {
            snapshot
                .node_ids()
                .filter(|node| snapshot.node(*node).group == Some(id))
        };
        let removals = nodes().filter(|node| removed.contains(node)).count();
        let staying = nodes()
            .filter(|node| snapshot.node(*node).is_ready() && !leaves(snapshot, *node) && !removed.contains(node))
            .count();
        let ready_removed = nodes()
            .filter(|node| removed.contains(node) && snapshot.node(*node).is_ready())
            .count();
        let min = group.min_nodes as usize;
        if 0 < ready_removed && staying < min {
            report(
                1,
                format!("{removals} removals leave {name} with {staying} Ready nodes, minNodes is {min}"),
            );
        }
        let failed = |machine: &Machine| machine.phase == MachinePhase::Failed;
        let living = nodes()
            .filter(|node| !machine_of(snapshot, *node).is_some_and(failed))
            .count();
        let coming = snapshot
            .machines
            .iter()
            .filter(|machine| machine.group == Some(id) && machine.node.is_none() && !failed(machine))
            .count();
        let created = plan.creations.iter().filter(|creation| creation.group == id).count();
        let max = group.max_nodes as usize;
        if 0 < created && max < living + coming + created {
            report(
                1,
                format!(
                    "{created} creations bring {name} to {}, maxNodes is {max}",
                    living + coming + created
                ),
            );
        }
        if group.managed {
            managed += living + coming;
        }
    }
    let created = plan.creations.len();
    if let Some(max) = snapshot.settings.max_cluster_workers.map(|max| max as usize)
        && 0 < created
        && max < managed + created
    {
        report(
            1,
            format!(
                "{created} creations bring the cluster to {}, maxClusterWorkers is {max}",
                managed + created
            ),
        );
    }
}

/// 9: the own node, control-plane nodes and nodes of nobody stay; 2: so do nodes that opted out or already leave.
fn protected_nodes(snapshot: &Snapshot, plan: &Plan, report: &mut Report<'_>) {
    let mut seen = BTreeSet::new();
    for removal in &plan.removals {
        let node = snapshot.node(removal.node);
        let name = snapshot.text(node.name);
        let managed = node.group.is_some_and(|group| snapshot.group(group).managed);
        for (broken, invariant, what) in [
            (!managed, 9, "belongs to no managed NodeGroup"),
            (node.control_plane, 9, "is a control-plane node"),
            (node.own, 9, "runs this operator"),
            (node.opt_out.is_some(), 2, "opted out of removal"),
            (leaves(snapshot, removal.node), 2, "is being removed already"),
            (
                node.allowed_hours
                    .as_ref()
                    .is_some_and(|hours| !hours.contains(plan.now)),
                2,
                "must not be removed at this hour",
            ),
            (
                node.group
                    .is_some_and(|group| !snapshot.group(group).scale_down.enabled),
                2,
                "belongs to a group whose scale-down is disabled",
            ),
            (!seen.insert(removal.node), 2, "is removed twice"),
        ] {
            if broken {
                report(invariant, format!("{name} {what}, and is to be removed"));
            }
        }
    }
}

/// 3: removals stay inside the budgets of the groups and of the cluster.
fn removal_budgets(snapshot: &Snapshot, plan: &Plan, report: &mut Report<'_>) {
    let drains = |of: &dyn Fn(NodeId) -> bool| {
        plan.removals
            .iter()
            .filter(|removal| !removal.moves.is_empty() && of(removal.node))
            .count()
    };
    let total = drains(&|_| true);
    let managed = snapshot
        .nodes
        .iter()
        .filter(|node| node.group.is_some_and(|group| snapshot.group(group).managed))
        .count();
    let allowed = snapshot.settings.drain_budget.of(managed);
    if allowed < total {
        report(3, format!("{total} drains, the cluster's budget is {allowed}"));
    }
    for id in snapshot.group_ids() {
        let nodes = snapshot.nodes.iter().filter(|node| node.group == Some(id)).count();
        let allowed = snapshot
            .group(id)
            .scale_down
            .drain_budget
            .unwrap_or(BudgetSize::Percent(10))
            .of(nodes);
        let of_group = drains(&|node| snapshot.node(node).group == Some(id));
        if allowed < of_group {
            report(
                3,
                format!(
                    "{of_group} drains in {}, its budget is {allowed}",
                    snapshot.group_name(id)
                ),
            );
        }
    }
    let empty = plan.removals.len() - total;
    let allowed = snapshot.settings.empty_budget as usize;
    if allowed < empty {
        report(3, format!("{empty} empty removals, the budget is {allowed}"));
    }
}

/// 3: what the plan moves of a PodDisruptionBudget's pods is at most what it allows, or all on one node.
fn disruption_budgets(snapshot: &Snapshot, plan: &Plan, report: &mut Report<'_>) {
    for budget in &snapshot.budgets {
        let Some(selector) = &budget.selector else { continue };
        let charged = |pod: PodId| {
            let pod = snapshot.pod(pod);
            let pending = pod.phase == crate::snapshot::PodPhase::Pending;
            pod.namespace == budget.namespace
                && !pending
                && pod.deletion.is_none()
                && (pod.ready || !budget.always_allow_unhealthy)
                && selector.matches(&snapshot.class_of(pod).labels, &snapshot.symbols)
        };
        let mut nodes = BTreeMap::new();
        for removal in &plan.removals {
            let count = removal.moves.iter().filter(|step| charged(step.pod)).count();
            if 0 < count {
                nodes.insert(removal.node, count);
            }
        }
        let moved: usize = nodes.values().sum();
        let allowed = budget.disruptions_allowed as usize;
        if allowed < moved && (1 < nodes.len() || allowed == 0) {
            let name = format!("{}/{}", snapshot.text(budget.namespace), snapshot.text(budget.name));
            report(
                3,
                format!("{moved} pods of PodDisruptionBudget {name} move, it allows {allowed}"),
            );
        }
    }
}

/// 4: every pod that moves has a node that stays, and fits it; 5: every pod is on at most one planned node, and all pods of
/// a planned node fit it together. Pods are placed in one world, because constraints between pods reach over nodes.
///
/// All nodes are there from the start: the scheduler sees all of them at once, whichever appears first, and an empty one is
/// a domain to spread over.
fn placements(snapshot: &Snapshot, plan: &Plan, report: &mut Report<'_>) {
    let mut world = World::new(snapshot);
    let mut nominees: BTreeMap<BinId, Vec<ClassId>> = BTreeMap::new();
    for pod in snapshot.unbound_pods().iter().map(|id| snapshot.pod(*id)) {
        if let Some(node) = pod.nominated.filter(|_| !pod.is_terminal() && pod.deletion.is_none()) {
            nominees.entry(node.into()).or_default().push(pod.class);
        }
    }
    let mut places = fitting(snapshot, plan, &mut world, report);
    let mut templates = BTreeMap::new();
    for creation in &plan.creations {
        let known = templates.entry((creation.group, &creation.offering));
        let template = known.or_insert_with(|| template_of(snapshot, creation.group, creation).map(Template::shared));
        let Some(template) = template else {
            let group = snapshot.group_name(creation.group);
            report(5, format!("{} is not for sale for {group}", creation.offering));
            continue;
        };
        let bin = world.add(template);
        for pod in &creation.pods {
            if places.insert(*pod, (bin, "its new node".to_owned())).is_some() {
                report(5, format!("{} is assigned to two nodes", snapshot.pod_name(*pod)));
            }
        }
    }
    let ordered: BTreeSet<PodId> = plan.binding_order.iter().copied().collect();
    let others: Vec<PodId> = places.keys().copied().filter(|pod| !ordered.contains(pod)).collect();
    for pod in others.iter().chain(&plan.binding_order) {
        match places.remove(pod) {
            Some((bin, target)) => {
                let class = snapshot.pod(*pod).class;
                let nominees = nominees.get(&bin).map_or(&[][..], Vec::as_slice);
                if let Some(misfit) = place(&mut world, class, bin, nominees) {
                    report(
                        5,
                        format!("{} does not fit {target}: {misfit}", snapshot.pod_name(*pod)),
                    );
                }
            }
            None => report(
                5,
                format!("{} is to be bound twice or nowhere", snapshot.pod_name(*pod)),
            ),
        }
    }
    moves(snapshot, plan, &mut world, report);
}

/// Puts a pod on a node and says in words why it does not fit there, beside pods of at least its priority for which
/// preemption keeps room. It counts as placed all the same, so that what comes after it is judged by what is left.
fn place(world: &mut World<'_>, class: ClassId, bin: BinId, nominees: &[ClassId]) -> Option<String> {
    let snapshot = world.snapshot();
    let mark = world.mark();
    let priority = snapshot.class(class).priority;
    for nominee in nominees {
        if priority <= snapshot.class(*nominee).priority {
            world.reserve(*nominee, bin);
        }
    }
    let misfit = world.misfit(class, bin);
    world.rollback(mark);
    world.place(class, bin);
    misfit.map(|misfit| misfit.text(&snapshot.symbols).to_string())
}

/// Pods that are said to fit nodes that exist or are to come. Every node to come is added to the world.
fn fitting(
    snapshot: &Snapshot,
    plan: &Plan,
    world: &mut World<'_>,
    report: &mut Report<'_>,
) -> BTreeMap<PodId, (BinId, String)> {
    let timeouts = &snapshot.settings.phase_timeouts;
    let to_come: BTreeMap<MachineId, BinId> = snapshot
        .machine_ids()
        .filter_map(|id| {
            let machine = snapshot.machine(id);
            let comes = match machine.node {
                Some(node) => starts(snapshot, node),
                None => machine.is_coming(),
            };
            if !comes || machine.is_leaving() || timeouts.are_over(machine, plan.now) {
                return None;
            }
            let template = Template::of_machine(snapshot, machine, machine.group?)?;
            Some((id, world.add_with(&template.shared(), machine.node)))
        })
        .collect();
    let mut pods = BTreeMap::new();
    for report_of_pod in &plan.pods {
        let PodVerdict::FitsExisting(destination) = report_of_pod.verdict else {
            continue;
        };
        let starting = match destination {
            Destination::Machine(machine) => Some(machine),
            Destination::Node(node) => snapshot.node(node).machine.filter(|_| starts(snapshot, node)),
        };
        let bin = match (starting, destination) {
            (Some(machine), _) => to_come.get(&machine).copied(),
            (None, Destination::Node(node)) => Some(node.into()),
            (None, Destination::Machine(_)) => None,
        };
        let Some(bin) = bin else {
            let (pod, name) = (snapshot.pod_name(report_of_pod.pod), destination.name(snapshot));
            report(5, format!("{pod} is to go to {name}, of which nothing is known"));
            continue;
        };
        pods.insert(report_of_pod.pod, (bin, destination.name(snapshot).to_owned()));
    }
    pods
}

/// 4: removals in their order: each node is emptied and stays as a node that takes no pods, then its pods are placed.
fn moves(snapshot: &Snapshot, plan: &Plan, world: &mut World<'_>, report: &mut Report<'_>) {
    let removed: BTreeSet<NodeId> = plan.removals.iter().map(|removal| removal.node).collect();
    let name = |node: NodeId| snapshot.text(snapshot.node(node).name);
    for PlannedRemoval { node: from, moves, .. } in &plan.removals {
        for pod in snapshot
            .pods_on(*from)
            .iter()
            .map(|pod| snapshot.pod(*pod))
            .filter(|pod| !pod.is_terminal())
        {
            world.unplace(pod.class, (*from).into());
        }
        world.make_ghost((*from).into());
        let mut moved = BTreeSet::new();
        for step in moves {
            let pod = snapshot.pod_name(step.pod);
            if !moved.insert(step.pod) || snapshot.pod(step.pod).node != Some(*from) {
                report(4, format!("{pod} moves twice, or is not on the node that is removed"));
            }
            if removed.contains(&step.to) || !snapshot.node(step.to).is_ready() || leaves(snapshot, step.to) {
                report(
                    4,
                    format!("{pod} moves to {}, which does not stay Ready", name(step.to)),
                );
            }
            let class = snapshot.pod(step.pod).class;
            if let Some(misfit) = place(world, class, step.to.into(), &[]) {
                let target = name(step.to);
                report(4, format!("{pod} moves to {target} and does not fit: {misfit}"));
            }
        }
    }
}

/// 6: a new node without pods is for the group's minimum and nothing else.
fn needless_creations(snapshot: &Snapshot, plan: &Plan, report: &mut Report<'_>) {
    for id in snapshot.group_ids() {
        let of_group = || plan.creations.iter().filter(|creation| creation.group == id);
        let empty = of_group().filter(|creation| creation.pods.is_empty()).count();
        if empty == 0 {
            continue;
        }
        let failed = |node| machine_of(snapshot, node).is_some_and(|machine| machine.phase == MachinePhase::Failed);
        let staying = snapshot
            .node_ids()
            .filter(|node| snapshot.node(*node).group == Some(id) && !leaves(snapshot, *node) && !failed(*node));
        let coming = snapshot
            .machines
            .iter()
            .filter(|machine| machine.group == Some(id) && machine.node.is_none() && machine.is_coming());
        let size = staying.count() + coming.count() + of_group().count();
        let min = snapshot.group(id).min_nodes as usize;
        if min < size && !crate::headroom::needs_empty_nodes(snapshot, plan, id) {
            report(
                6,
                format!(
                    "{empty} new nodes of {} carry no pod, and bring it to {size} with minNodes {min}",
                    snapshot.group_name(id)
                ),
            );
        }
    }
}

/// 7: nothing is removed from a group that grows.
fn growing_groups(snapshot: &Snapshot, plan: &Plan, report: &mut Report<'_>) {
    let coming = snapshot
        .machines
        .iter()
        .filter(|machine| machine.is_coming())
        .filter_map(|machine| machine.group);
    let growing: BTreeSet<GroupId> = coming
        .chain(plan.creations.iter().map(|creation| creation.group))
        .collect();
    for removal in &plan.removals {
        if growing.contains(&removal.group) {
            let name = snapshot.text(snapshot.node(removal.node).name);
            report(
                7,
                format!(
                    "{name} is to be removed while {} grows",
                    snapshot.group_name(removal.group)
                ),
            );
        }
    }
}

fn template_of(snapshot: &Snapshot, group: GroupId, creation: &crate::plan::Creation) -> Option<Template> {
    let sold = snapshot.group(group).offerings.contains(&creation.offering);
    let offering = snapshot
        .offering(&creation.offering, &creation.datacenter)
        .filter(|offering| sold && offering.available)?;
    Some(Template::new(snapshot, group, offering))
}

fn machine_of(snapshot: &Snapshot, node: NodeId) -> Option<&Machine> {
    snapshot.node(node).machine.map(|machine| snapshot.machine(machine))
}

/// Whether a Node is not what it is going to be: not Ready, or with a taint that it only has while it starts.
fn starts(snapshot: &Snapshot, node: NodeId) -> bool {
    let (node, well_known) = (snapshot.node(node), &snapshot.well_known);
    !node.is_ready()
        || node
            .taints
            .iter()
            .any(|taint| [well_known.startup, well_known.not_ready].contains(&taint.key))
}

fn leaves(snapshot: &Snapshot, node: NodeId) -> bool {
    snapshot.node(node).deleting || machine_of(snapshot, node).is_some_and(Machine::is_leaving)
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "invariant {}: {}", self.invariant, self.message)
    }
}
