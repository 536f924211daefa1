//! The invariants that every plan must keep, judged from the snapshot and the plan alone.
//!
//! A second opinion, written independently of the planner: [`check`] runs before every execution and in every test. A
//! plan that it objects to is not carried out.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use crate::{
    fit,
    plan::{Plan, PlannedRemoval, PodVerdict},
    resources::Resources,
    snapshot::{BudgetSize, GroupId, Machine, MachinePhase, NodeId, PodId, Snapshot},
    template::Template,
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
    moves(snapshot, plan, &mut report);
    assignments(snapshot, plan, &mut report);
    needless_creations(snapshot, plan, &mut report);
    growing_groups(snapshot, plan, &mut report);
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
        let nodes = || snapshot.node_ids().filter(|node| snapshot.node(*node).group == Some(id));
        let removals = nodes().filter(|node| removed.contains(node)).count();
        let staying = nodes().filter(|node| snapshot.node(*node).is_ready() && !leaves(snapshot, *node) && !removed.contains(node)).count();
        let ready_removed = nodes().filter(|node| removed.contains(node) && snapshot.node(*node).is_ready()).count();
        let min = group.min_nodes as usize;
        if 0 < ready_removed && staying < min {
            report(1, format!("{removals} removals leave {name} with {staying} Ready nodes, minNodes is {min}"));
        }
        let failed = |machine: &Machine| machine.phase == MachinePhase::Failed;
        let living = nodes().filter(|node| !machine_of(snapshot, *node).is_some_and(failed)).count();
        let coming = snapshot
            .machines
            .iter()
            .filter(|machine| machine.group == Some(id) && machine.node.is_none() && !failed(machine))
            .count();
        let created = plan.creations.iter().filter(|creation| creation.group == id).count();
        let max = group.max_nodes as usize;
        if 0 < created && max < living + coming + created {
            report(1, format!("{created} creations bring {name} to {}, maxNodes is {max}", living + coming + created));
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
        report(1, format!("{created} creations bring the cluster to {}, maxClusterWorkers is {max}", managed + created));
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
            (node.allowed_hours.as_ref().is_some_and(|hours| !hours.contains(plan.now)), 2, "must not be removed at this hour"),
            (node.group.is_some_and(|group| !snapshot.group(group).scale_down.enabled), 2, "belongs to a group whose scale-down is disabled"),
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
        plan.removals.iter().filter(|removal| !removal.moves.is_empty() && of(removal.node)).count()
    };
    let total = drains(&|_| true);
    let managed = snapshot.nodes.iter().filter(|node| node.group.is_some_and(|group| snapshot.group(group).managed)).count();
    let allowed = snapshot.settings.drain_budget.of(managed);
    if allowed < total {
        report(3, format!("{total} drains, the cluster's budget is {allowed}"));
    }
    for id in snapshot.group_ids() {
        let nodes = snapshot.nodes.iter().filter(|node| node.group == Some(id)).count();
        let allowed = snapshot.group(id).scale_down.drain_budget.unwrap_or(BudgetSize::Percent(10)).of(nodes);
        let of_group = drains(&|node| snapshot.node(node).group == Some(id));
        if allowed < of_group {
            report(3, format!("{of_group} drains in {}, its budget is {allowed}", snapshot.group_name(id)));
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
            report(3, format!("{moved} pods of PodDisruptionBudget {name} move, it allows {allowed}"));
        }
    }
}

/// 4: every pod that moves has a node that stays, and fits it after all earlier moves.
fn moves(snapshot: &Snapshot, plan: &Plan, report: &mut Report<'_>) {
    let removed: BTreeSet<NodeId> = plan.removals.iter().map(|removal| removal.node).collect();
    let mut used: BTreeMap<NodeId, Resources> =
        snapshot.node_ids().map(|node| (node, used_by(snapshot, snapshot.pods_on(node).iter().copied()))).collect();
    for report_of_pod in &plan.pods {
        if let PodVerdict::FitsExisting(crate::plan::Destination::Node(node)) = report_of_pod.verdict {
            used.entry(node).or_default().add(&snapshot.class_of(snapshot.pod(report_of_pod.pod)).requests);
        }
    }
    for PlannedRemoval { node: from, moves, .. } in &plan.removals {
        let mut moved = BTreeSet::new();
        for step in moves {
            let (pod, to) = (snapshot.pod_name(step.pod), snapshot.node(step.to));
            let name = snapshot.text(to.name);
            if !moved.insert(step.pod) || snapshot.pod(step.pod).node != Some(*from) {
                report(4, format!("{pod} moves twice, or is not on the node that is removed"));
            }
            if removed.contains(&step.to) || !to.is_ready() || leaves(snapshot, step.to) {
                report(4, format!("{pod} moves to {name}, which does not stay Ready"));
            }
            let class = snapshot.class_of(snapshot.pod(step.pod));
            let used = used.entry(step.to).or_default();
            let view = fit::NodeView {
                name: to.name,
                labels: &to.labels,
                taints: &to.taints,
                unschedulable: to.unschedulable,
                allocatable: &to.allocatable,
                used,
            };
            if let Some(misfit) = fit::misfit(class, &view, &snapshot.well_known, &snapshot.symbols) {
                report(4, format!("{pod} moves to {name} and does not fit: {}", misfit.text(&snapshot.symbols)));
            }
            used.add(&class.requests);
        }
    }
}

/// 5: every pod is on at most one planned node, and all pods of a planned node fit it together.
fn assignments(snapshot: &Snapshot, plan: &Plan, report: &mut Report<'_>) {
    let mut assigned = BTreeSet::new();
    for creation in &plan.creations {
        let Some(template) = template_of(snapshot, creation.group, creation) else {
            report(5, format!("{} is not for sale for {}", creation.offering, snapshot.group_name(creation.group)));
            continue;
        };
        let mut used = template.daemons.clone();
        for pod in &creation.pods {
            if !assigned.insert(*pod) {
                report(5, format!("{} is assigned to two new nodes", snapshot.pod_name(*pod)));
            }
            let class = snapshot.class_of(snapshot.pod(*pod));
            let misfit = fit::misfit(class, &template.view(&used), &snapshot.well_known, &snapshot.symbols);
            if let Some(misfit) = misfit {
                let pod = snapshot.pod_name(*pod);
                report(5, format!("{pod} does not fit its new node: {}", misfit.text(&snapshot.symbols)));
            }
            used.add(&class.requests);
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
        let staying = snapshot.node_ids().filter(|node| snapshot.node(*node).group == Some(id) && !leaves(snapshot, *node));
        let coming = snapshot.machines.iter().filter(|machine| machine.group == Some(id) && machine.node.is_none() && machine.is_coming());
        let failed = snapshot.machines.iter().filter(|machine| machine.group == Some(id) && machine.node.is_some() && machine.phase == MachinePhase::Failed);
        let with_pods = of_group().count() - empty;
        let size = (staying.count() + coming.count() + with_pods + empty).saturating_sub(failed.count());
        let min = snapshot.group(id).min_nodes as usize;
        if min < size {
            report(6, format!("{empty} new nodes of {} carry no pod, and bring it to {size} with minNodes {min}", snapshot.group_name(id)));
        }
    }
}

/// 7: nothing is removed from a group that grows.
fn growing_groups(snapshot: &Snapshot, plan: &Plan, report: &mut Report<'_>) {
    let coming = snapshot.machines.iter().filter(|machine| machine.is_coming()).filter_map(|machine| machine.group);
    let growing: BTreeSet<GroupId> = coming.chain(plan.creations.iter().map(|creation| creation.group)).collect();
    for removal in &plan.removals {
        if growing.contains(&removal.group) {
            let name = snapshot.text(snapshot.node(removal.node).name);
            report(7, format!("{name} is to be removed while {} grows", snapshot.group_name(removal.group)));
        }
    }
}

fn template_of(snapshot: &Snapshot, group: GroupId, creation: &crate::plan::Creation) -> Option<Template> {
    let sold = snapshot.group(group).offerings.contains(&creation.offering);
    let offering = snapshot.offering(&creation.offering, &creation.datacenter).filter(|offering| sold && offering.available)?;
    Some(Template::new(snapshot, group, offering))
}

fn machine_of(snapshot: &Snapshot, node: NodeId) -> Option<&Machine> {
    snapshot.node(node).machine.map(|machine| snapshot.machine(machine))
}

fn leaves(snapshot: &Snapshot, node: NodeId) -> bool {
    snapshot.node(node).deleting || machine_of(snapshot, node).is_some_and(Machine::is_leaving)
}

fn used_by(snapshot: &Snapshot, pods: impl Iterator<Item = PodId>) -> Resources {
    let mut used = Resources::default();
    for pod in pods.map(|pod| snapshot.pod(pod)).filter(|pod| !pod.is_terminal()) {
        used.add(&snapshot.class_of(pod).requests);
    }
    used
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "invariant {}: {}", self.invariant, self.message)
    }
}
