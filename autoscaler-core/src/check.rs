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
fn placements(snapshot: &Snapshot, plan: &Plan, report: &mut Report<'_>) {
    let (mut world, mut placings) = placed(snapshot, plan, true, report);
    if !placings.is_empty() {
        // Reported the first time.
        (world, placings) = placed(snapshot, plan, false, &mut |_, _| {});
    }
    for (placing, misfit) in misfits(&world, &placings) {
        report(
            5,
            format!("{} does not fit {}: {misfit}", placing.pod(snapshot), placing.target),
        );
    }
    moves(snapshot, plan, &mut world, report);
}

/// The cluster with the pods that are pending now where the plan puts them, and those that find no place there. New nodes
/// appear one by one, each being filled as far as it goes, or all at once.
fn placed<'s>(
    snapshot: &'s Snapshot,
    plan: &Plan,
    one_by_one: bool,
    report: &mut Report<'_>,
) -> (World<'s>, Vec<Placing>) {
    let mut world = World::new(snapshot);
    let mut placings = fitting(snapshot, plan, &mut world, report);
    // What is there takes pods before new nodes appear, which are empty domains to spread over.
    place_all(&mut world, &mut placings);
    let mut assigned = BTreeSet::new();
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
        for pod in creation.pods.iter().filter(|pod| !assigned.insert(**pod)) {
            report(5, format!("{} is assigned to two new nodes", snapshot.pod_name(*pod)));
        }
        let pods = creation.pods.iter().map(|pod| (*pod, bin));
        placings.extend(gather(snapshot, pods, |_| "its new node".to_owned()));
        if one_by_one {
            place_all(&mut world, &mut placings);
        }
    }
    place_all(&mut world, &mut placings);
    // Room that preemption keeps for other pods may be what a constraint waits for.
    for pod in snapshot
        .pods
        .iter()
        .filter(|pod| !pod.bound && !pod.is_terminal() && pod.deletion.is_none())
    {
        if let Some(node) = pod.nominated {
            world.place(pod.class, node.into());
        }
    }
    place_all(&mut world, &mut placings);
    (world, placings)
}

/// Pods of one class that go to one node.
struct Placing {
    class: ClassId,
    to: BinId,
    pods: Vec<PodId>,
    target: String,
}

impl Placing {
    fn pod(&self, snapshot: &Snapshot) -> String {
        self.pods.last().map_or_else(String::new, |pod| snapshot.pod_name(*pod))
    }
}

/// How many orders are tried before pods are said not to fit.
const ORDERS: usize = 16;

/// How many kinds of pods are tried again after every pod that is placed, once some order has failed.
const EAGER: usize = 8;

/// Places pods as far as there is an order in which each fits. What is left after an order goes first in the next one, and
/// as soon as it fits: a pod may be the first of its kind only while there is no other, and may need another one before.
fn place_all(world: &mut World<'_>, placings: &mut Vec<Placing>) {
    placings.retain(|placing| !placing.pods.is_empty());
    let mut eager = 0;
    for order in 1..=ORDERS {
        let mark = world.mark();
        let left = place_in_turns(world, placings, eager);
        if left.iter().all(|count| *count == 0) || order == ORDERS {
            for (placing, left) in placings.iter_mut().zip(left) {
                placing.pods.truncate(left);
            }
            placings.retain(|placing| !placing.pods.is_empty());
            return;
        }
        world.rollback(mark);
        eager = left.iter().filter(|count| 0 < **count).count().min(EAGER);
        let mut by_success: Vec<_> = std::mem::take(placings).into_iter().zip(left).collect();
        // The others begin somewhere else each time.
        let start = by_success.len() * order / ORDERS;
        by_success.rotate_left(start);
        by_success.sort_by_key(|(_, left)| *left == 0);
        *placings = by_success.into_iter().map(|(placing, _)| placing).collect();
    }
}

/// Places pods in this order, and gives how many of each kind find no place. Kinds take turns, one pod at a time: a spread
/// Deployment fits in no other way. The first `eager` kinds get a turn after every other one.
fn place_in_turns(world: &mut World<'_>, placings: &[Placing], eager: usize) -> Vec<usize> {
    let mut left: Vec<usize> = placings.iter().map(|placing| placing.pods.len()).collect();
    let mut place = |placing: &Placing, left: &mut usize| {
        let fits = 0 < *left && world.misfit(placing.class, placing.to).is_none();
        if fits {
            world.place(placing.class, placing.to);
            *left -= 1;
        }
        fits
    };
    let mut placed = true;
    while placed {
        placed = false;
        for index in 0..placings.len() {
            let (Some(placing), Some(of_placing)) = (placings.get(index), left.get_mut(index)) else {
                continue;
            };
            if place(placing, of_placing) {
                placed = true;
                for (placing, left) in placings.iter().zip(&mut left).take(eager) {
                    place(placing, left);
                }
            }
        }
    }
    left
}

/// What could not be placed, and why.
fn misfits<'p>(world: &World<'_>, placings: &'p [Placing]) -> Vec<(&'p Placing, String)> {
    let symbols = &world.snapshot().symbols;
    let left = placings.iter().filter(|placing| !placing.pods.is_empty());
    let misfit = |placing: &'p Placing| {
        let misfit = world.misfit(placing.class, placing.to)?;
        Some((placing, misfit.text(symbols).to_string()))
    };
    left.filter_map(misfit).collect()
}

/// Pods by class and node. `name` is the node in words.
fn gather(
    snapshot: &Snapshot,
    pods: impl Iterator<Item = (PodId, BinId)>,
    name: impl Fn(BinId) -> String,
) -> Vec<Placing> {
    let mut gathered: BTreeMap<(BinId, ClassId), Vec<PodId>> = BTreeMap::new();
    for (pod, to) in pods {
        gathered.entry((to, snapshot.pod(pod).class)).or_default().push(pod);
    }
    let placing = |((to, class), pods)| Placing {
        class,
        to,
        pods,
        target: name(to),
    };
    gathered.into_iter().map(placing).collect()
}

/// Pods that are said to fit nodes that exist or are to come. Nodes to come are added to the world.
fn fitting(snapshot: &Snapshot, plan: &Plan, world: &mut World<'_>, report: &mut Report<'_>) -> Vec<Placing> {
    let mut to_come: BTreeMap<MachineId, BinId> = BTreeMap::new();
    let mut names = BTreeMap::new();
    let mut pods = Vec::new();
    for report_of_pod in &plan.pods {
        let PodVerdict::FitsExisting(destination) = report_of_pod.verdict else {
            continue;
        };
        let starting = match destination {
            Destination::Machine(machine) => Some(machine),
            Destination::Node(node) => snapshot.node(node).machine.filter(|_| starts(snapshot, node)),
        };
        let bin = match (starting, destination) {
            (Some(machine), _) => to_come.get(&machine).copied().or_else(|| {
                let of = snapshot.machine(machine);
                let template = Template::of_machine(snapshot, of, of.group?)?;
                let bin = world.add_with(&template.shared(), of.node);
                to_come.insert(machine, bin);
                Some(bin)
            }),
            (None, Destination::Node(node)) => Some(node.into()),
            (None, Destination::Machine(_)) => None,
        };
        let Some(bin) = bin else {
            let (pod, name) = (snapshot.pod_name(report_of_pod.pod), destination.name(snapshot));
            report(5, format!("{pod} is to go to {name}, of which nothing is known"));
            continue;
        };
        names.insert(bin, destination.name(snapshot).to_owned());
        pods.push((report_of_pod.pod, bin));
    }
    gather(snapshot, pods.into_iter(), |bin| {
        names.get(&bin).cloned().unwrap_or_default()
    })
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
        let mut targets = BTreeMap::new();
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
            targets.insert(BinId::from(step.to), name(step.to).to_owned());
        }
        let pods = moves.iter().map(|step| (step.pod, BinId::from(step.to)));
        let mut placings = gather(snapshot, pods, |bin| targets.get(&bin).cloned().unwrap_or_default());
        place_all(world, &mut placings);
        for (placing, misfit) in misfits(world, &placings) {
            let (pod, target) = (placing.pod(snapshot), &placing.target);
            report(4, format!("{pod} moves to {target} and does not fit: {misfit}"));
        }
        // What was said to move counts as moved, so that the removals after this one are judged by what is left.
        for placing in placings {
            for _ in placing.pods {
                world.place(placing.class, placing.to);
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
