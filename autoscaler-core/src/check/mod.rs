//! The invariants that every plan must keep, judged from the snapshot and the plan alone.
//!
//! A second opinion, written independently of the planner: [`check`] runs before every execution and in every test. A
//! plan that it objects to is not carried out. What pods and budgets say is read by the functions that everybody uses
//! ([`drain`](crate::drain), [`pdb`](crate::pdb)); what follows from it is counted here, the plain way.
//!
//! Whether a plan may be *carried out* is judged, not whether it is the best one, and not the timers of scale-down, which
//! [`Options`](crate::planner::Options) may take as elapsed.
//!
//! Sizes, creations and places of pods are here; removals have their file.

mod removals;

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use crate::{
    plan::{Destination, Plan, PodVerdict},
    snapshot::{ClassId, GroupId, Machine, MachineId, MachinePhase, NodeId, PodId, Snapshot},
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
    placements(snapshot, plan, &mut report);
    needless_creations(snapshot, plan, &mut report);
    if !plan.removals.is_empty() {
        removals::check(snapshot, plan, &mut report);
    }
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
            .filter(|node| snapshot.node(*node).is_ready() && !snapshot.is_leaving(*node) && !removed.contains(node))
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

/// 5: every pod is on at most one planned node, and all pods of a planned node fit it together; 4: then every pod that moves
/// fits its destination. Pods are placed in one world, because constraints between pods reach over nodes.
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
    removals::moves(snapshot, plan, &mut world, report);
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

/// 6: a new node without pods is for the group's minimum and nothing else.
fn needless_creations(snapshot: &Snapshot, plan: &Plan, report: &mut Report<'_>) {
    for id in snapshot.group_ids() {
        let of_group = || plan.creations.iter().filter(|creation| creation.group == id);
        let empty = of_group().filter(|creation| creation.pods.is_empty()).count();
        if empty == 0 {
            continue;
        }
        let staying = snapshot
            .node_ids()
            .filter(|node| snapshot.node(*node).group == Some(id) && !snapshot.is_leaving(*node));
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

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "invariant {}: {}", self.invariant, self.message)
    }
}
