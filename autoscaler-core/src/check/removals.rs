//! What is judged of removals: the nodes that go, the pods that they take along, and the budgets.
//!
//! One function for each rule, from facts of the snapshot; nothing of the planner is used.

use std::collections::{BTreeMap, BTreeSet};

use super::{Report, place};
use crate::{
    drain::{self, Drainability},
    fit,
    pdb::{self, is_charged},
    plan::{Plan, PlannedRemoval, PodReport, PodVerdict, RemovalKind},
    snapshot::{BudgetId, ClassId, GroupId, NodeId, PodId, Snapshot},
    template::Template,
    world::World,
};

/// Every invariant that the removals of a plan break, but for [`moves`], which needs the world with all new nodes.
pub(super) fn check(snapshot: &Snapshot, plan: &Plan, report: &mut Report<'_>) {
    protected_nodes(snapshot, plan, report);
    health(snapshot, report);
    utilization(snapshot, plan, report);
    pods(snapshot, plan, report);
    removal_budgets(snapshot, plan, report);
    disruption_budgets(snapshot, plan, report);
    growing_groups(snapshot, plan, report);
    wanted_nodes(snapshot, plan, report);
}

/// 4: removals in their order: each node is emptied and stays as a node that takes no pods, then its pods are placed.
pub(super) fn moves(snapshot: &Snapshot, plan: &Plan, world: &mut World<'_>, report: &mut Report<'_>) {
    let removed: BTreeSet<NodeId> = plan.removals.iter().map(|removal| removal.node).collect();
    let running = snapshot
        .machines
        .iter()
        .filter(|machine| machine.node.is_some())
        .filter_map(|machine| machine.removal.as_ref().filter(|removal| removal.active));
    let expecting: BTreeSet<&str> = running
        .flat_map(|removal| &removal.moves)
        .map(|step| &*step.to)
        .collect();
    for name in removed.iter().map(|node| name_of(snapshot, *node)) {
        if expecting.contains(name) {
            report(
                4,
                format!("{name} is to be removed while pods of a removal in progress move to it"),
            );
        }
    }
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
            let (pod, target) = (snapshot.pod_name(step.pod), name_of(snapshot, step.to));
            if !moved.insert(step.pod) || snapshot.pod(step.pod).node != Some(*from) {
                report(4, format!("{pod} moves twice, or is not on the node that is removed"));
            }
            let to = snapshot.node(step.to);
            if removed.contains(&step.to) || !to.is_ready() || snapshot.is_leaving(step.to) {
                report(4, format!("{pod} moves to {target}, which does not stay Ready"));
            }
            if to.unschedulable {
                report(4, format!("{pod} moves to {target}, which is cordoned"));
            }
            let class = snapshot.pod(step.pod).class;
            if let Some(misfit) = place(world, class, step.to.into(), &[]) {
                report(4, format!("{pod} moves to {target} and does not fit: {misfit}"));
            }
        }
    }
}

/// 9: the own node, control-plane nodes and nodes of nobody stay; 2: so do nodes that opted out or already leave.
fn protected_nodes(snapshot: &Snapshot, plan: &Plan, report: &mut Report<'_>) {
    let mut seen = BTreeSet::new();
    let mut machines = snapshot.machines.iter();
    let has_machines = machines.any(|machine| machine.node.is_some() && !machine.is_leaving());
    for removal in &plan.removals {
        let node = snapshot.node(removal.node);
        let group = node.group.map(|group| snapshot.group(group));
        let machine = node.machine.map(|machine| snapshot.machine(machine));
        let opted_out = node.opt_out.is_some()
            || machine.is_some_and(|machine| machine.opt_out.is_some())
            || group.is_some_and(|group| group.opt_out.is_some());
        let hours = snapshot.allowed_hours(removal.node);
        let unready_stays = !node.is_ready() && !snapshot.settings.scale_down_unready_enabled;
        for (broken, invariant, what) in [
            (
                !group.is_some_and(|group| group.managed),
                9,
                "belongs to no managed NodeGroup",
            ),
            (
                has_machines && machine.is_none(),
                9,
                "has no VPSieNode, as other nodes have",
            ),
            (node.control_plane, 9, "is a control-plane node"),
            (node.own, 9, "runs this operator"),
            (opted_out, 2, "opted out of removal"),
            (snapshot.is_leaving(removal.node), 2, "is being removed already"),
            (
                hours.is_some_and(|hours| !hours.contains(plan.now)),
                2,
                "must not be removed at this hour",
            ),
            (
                group.is_some_and(|group| !group.scale_down.enabled),
                2,
                "belongs to a group whose scale-down is disabled",
            ),
            (unready_stays, 2, "is not Ready, and such nodes are not removed"),
            (!seen.insert(removal.node), 2, "is removed twice"),
            (node.group != Some(removal.group), 2, "belongs to another group"),
        ] {
            if broken {
                let name = name_of(snapshot, removal.node);
                report(invariant, format!("{name} {what}, and is to be removed"));
            }
        }
    }
}

/// 2: nothing is removed from a cluster of which too much is not Ready.
fn health(snapshot: &Snapshot, report: &mut Report<'_>) {
    let all = snapshot.nodes.len();
    let unready = snapshot.nodes.iter().filter(|node| !node.is_ready()).count();
    let (ok, percent) = (
        snapshot.settings.ok_unready_count as usize,
        snapshot.settings.max_unready_percent as usize,
    );
    if ok < unready && all.saturating_mul(percent) < unready.saturating_mul(100) {
        report(
            2,
            format!("nodes are to be removed while {unready} of {all} are not Ready"),
        );
    }
}

/// 2: what pods request of a removed node is at most the threshold of its group.
fn utilization(snapshot: &Snapshot, plan: &Plan, report: &mut Report<'_>) {
    let settings = &snapshot.settings;
    for removal in &plan.removals {
        let allocatable = &snapshot.node(removal.node).allocatable;
        let mut total = [i128::from(allocatable.cpu), i128::from(allocatable.memory)];
        let mut used = [0_i128; 2];
        for pod in snapshot.pods_on(removal.node).iter().map(|pod| snapshot.pod(*pod)) {
            if pod.is_terminal() || drain::is_long_terminating(pod, plan.now) {
                continue;
            }
            let requests = &snapshot.class_of(pod).requests;
            let left_out = (pod.is_daemon() && settings.ignore_daemon_sets_utilization)
                || (pod.mirror && settings.ignore_mirror_pods_utilization);
            let both = used.iter_mut().zip(&mut total);
            for ((used, total), requested) in both.zip([requests.cpu, requests.memory]) {
                if left_out {
                    *total -= i128::from(requested);
                } else {
                    *used += i128::from(requested);
                }
            }
        }
        let policy = &snapshot.group(removal.group).scale_down;
        let thresholds = [policy.cpu_threshold_percent, policy.memory_threshold_percent];
        let shares = used.iter().zip(&total).zip(thresholds).zip(["cpu", "memory"]);
        for (((used, total), threshold), resource) in shares {
            if (*total).max(0) * i128::from(threshold) < used * 100 {
                let name = name_of(snapshot, removal.node);
                report(
                    2,
                    format!(
                        "{name} is to be removed and {used} of its {total} {resource} are requested, the threshold is {threshold}%"
                    ),
                );
            }
        }
    }
}

/// 4: every pod that needs another place is told one; 2: no pod of the node keeps it.
fn pods(snapshot: &Snapshot, plan: &Plan, report: &mut Report<'_>) {
    for removal in &plan.removals {
        let node = name_of(snapshot, removal.node);
        let moved: BTreeSet<PodId> = removal.moves.iter().map(|step| step.pod).collect();
        for pod in snapshot.pods_on(removal.node).iter().copied() {
            let (needs_place, name) = (drain::must_move(snapshot, pod, plan.now), snapshot.pod_name(pod));
            if needs_place != moved.contains(&pod) {
                let what = if needs_place { "has no" } else { "needs no, and has a" };
                report(4, format!("{name} {what} destination, and {node} is to be removed"));
            }
            match drain::drainability(snapshot, pod, plan.now) {
                Drainability::Block(reason) => {
                    report(2, format!("{name} blocks the removal of {node}: {reason}"));
                }
                Drainability::Wait => report(2, format!("{node} is to be removed before {name} has ended")),
                Drainability::Skip | Drainability::Daemon | Drainability::Ok | Drainability::OkNoPlace => {}
            }
        }
        if (removal.kind == RemovalKind::Empty) != moved.is_empty() {
            let (kind, moves) = (removal.kind.as_str(), moved.len());
            report(4, format!("the removal of {node} is {kind}, and moves {moves} pods"));
        }
    }
}

/// 3: removals, with those in progress, stay inside the budgets of the groups and of the cluster.
fn removal_budgets(snapshot: &Snapshot, plan: &Plan, report: &mut Report<'_>) {
    let settings = &snapshot.settings;
    let is_managed = |group: GroupId| snapshot.group(group).managed;
    let all = snapshot.nodes.iter().filter_map(|node| node.group);
    let managed = all.filter(|group| is_managed(*group)).count();
    let in_progress = in_progress(snapshot, plan);
    let mut judge = |group: Option<GroupId>, drain: usize, empty: usize| {
        let is_here = |of: &Option<GroupId>| group.is_none() || group == *of;
        for (kind, allowed, what) in [
            (RemovalKind::Drain, drain, "drains"),
            (RemovalKind::Empty, empty, "empty removals"),
        ] {
            let planned = plan
                .removals
                .iter()
                .filter(|removal| removal.kind == kind && is_here(&Some(removal.group)))
                .count();
            let running = in_progress
                .iter()
                .filter(|(of, running)| *running == kind && is_here(of));
            let running = running.count();
            if 0 < planned && allowed < planned + running {
                let place = group.map_or_else(|| "the cluster".to_owned(), |group| snapshot.group_name(group));
                report(
                    3,
                    format!(
                        "{planned} {what} are planned and {running} in progress in {place}, its budget is {allowed}"
                    ),
                );
            }
        }
    };
    judge(None, settings.drain_budget.of(managed), settings.empty_budget as usize);
    for id in snapshot.group_ids() {
        let policy = &snapshot.group(id).scale_down;
        let nodes = snapshot.nodes.iter().filter(|node| node.group == Some(id)).count();
        let drain = policy.drain_budget.unwrap_or(settings.drain_budget).of(nodes);
        judge(
            Some(id),
            drain,
            policy.empty_budget.map_or(usize::MAX, |empty| empty as usize),
        );
    }
}

/// The group of every node that leaves already, and whether it still holds pods that need another place.
fn in_progress(snapshot: &Snapshot, plan: &Plan) -> Vec<(Option<GroupId>, RemovalKind)> {
    let leaving = snapshot.node_ids().filter(|node| snapshot.is_leaving(*node));
    let leaving = leaving.filter(|node| snapshot.node(*node).group.is_some());
    let kind = |node: NodeId| {
        let mut pods = snapshot.pods_on(node).iter();
        if pods.any(|pod| drain::must_move(snapshot, *pod, plan.now)) {
            RemovalKind::Drain
        } else {
            RemovalKind::Empty
        }
    };
    leaving.map(|node| (snapshot.node(node).group, kind(node))).collect()
}

/// 3: what removals take of the pods of a PodDisruptionBudget is at most what it allows beyond what those in progress still
/// have to evict; or it is all on one node, while none is in progress, and some eviction is allowed. A pod under several
/// budgets is evicted by nobody.
fn disruption_budgets(snapshot: &Snapshot, plan: &Plan, report: &mut Report<'_>) {
    let mut covering = BTreeMap::new();
    let mut charge = |node: NodeId| {
        let mut charges: BTreeMap<BudgetId, usize> = BTreeMap::new();
        let mut refused = None;
        for id in snapshot.pods_on(node).iter().copied() {
            let pod = snapshot.pod(id);
            if !drain::must_move(snapshot, id, plan.now) || !is_charged(pod) {
                continue;
            }
            let budgets = covering
                .entry(pod.class)
                .or_insert_with(|| pdb::budgets_of(snapshot, id).collect::<Vec<_>>());
            if 1 < budgets.len() {
                refused = Some(id);
            }
            for budget in budgets {
                if pod.ready || !snapshot.budget(*budget).always_allow_unhealthy {
                    *charges.entry(*budget).or_default() += 1;
                }
            }
        }
        (charges, refused)
    };
    let mut in_progress: BTreeMap<BudgetId, usize> = BTreeMap::new();
    for node in snapshot.node_ids().filter(|node| snapshot.is_leaving(*node)) {
        for (budget, pods) in charge(node).0 {
            *in_progress.entry(budget).or_default() += pods;
        }
    }
    // How many nodes, and how many pods.
    let mut planned: BTreeMap<BudgetId, (usize, usize)> = BTreeMap::new();
    for removal in &plan.removals {
        let (charges, refused) = charge(removal.node);
        if let Some(pod) = refused {
            let (pod, node) = (snapshot.pod_name(pod), name_of(snapshot, removal.node));
            report(
                3,
                format!("{pod} of {node} is under several PodDisruptionBudgets, so nobody can evict it"),
            );
        }
        for (budget, pods) in charges {
            let (nodes, sum) = planned.entry(budget).or_default();
            *nodes += 1;
            *sum += pods;
        }
    }
    for (id, (nodes, pods)) in planned {
        let budget = snapshot.budget(id);
        let running = in_progress.get(&id).copied().unwrap_or_default();
        let allowed = (budget.disruptions_allowed as usize).saturating_sub(running);
        let is_alone = nodes == 1 && running == 0;
        if allowed == 0 || (allowed < pods && !is_alone) {
            let name = format!("{}/{}", snapshot.text(budget.namespace), snapshot.text(budget.name));
            let all = budget.disruptions_allowed;
            report(
                3,
                format!(
                    "{pods} pods of PodDisruptionBudget {name} move from {nodes} nodes, it allows {all} and {running} are on nodes that leave"
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
            let (name, group) = (name_of(snapshot, removal.node), snapshot.group_name(removal.group));
            report(7, format!("{name} is to be removed while {group} grows"));
        }
    }
}

/// 7: no pod that asks for a node, or is going to when its grace period is over, could run on a node that goes, as things stand, or on a new one of its group.
fn wanted_nodes(snapshot: &Snapshot, plan: &Plan, report: &mut Report<'_>) {
    let in_grace = |pod: &PodReport| pod.reasons.iter().any(|reason| reason.why.rule() == "GracePeriod");
    let asks = |pod: &&PodReport| pod.verdict != PodVerdict::Ignored || in_grace(pod);
    let asking = plan.pods.iter().filter(asks);
    let asking: BTreeMap<ClassId, PodId> = asking.map(|pod| (snapshot.pod(pod.pod).class, pod.pod)).collect();
    let nominated = plan.pods.iter().map(|pod| snapshot.pod(pod.pod));
    let nominated = nominated.filter(|pod| !pod.is_terminal() && pod.deletion.is_none());
    let nominated: BTreeSet<NodeId> = nominated.filter_map(|pod| pod.nominated).collect();
    for removal in plan.removals.iter().filter(|removal| nominated.contains(&removal.node)) {
        let name = name_of(snapshot, removal.node);
        report(7, format!("{name} is to be removed while a pod is nominated to it"));
    }
    if asking.is_empty() {
        return;
    }
    let before = World::new(snapshot);
    let mut groups = BTreeSet::new();
    for removal in &plan.removals {
        let name = name_of(snapshot, removal.node);
        if snapshot.node(removal.node).is_ready() {
            let here = |class: ClassId| before.misfit(class, removal.node.into()).is_none();
            if let Some((_, pod)) = asking.iter().find(|(class, _)| here(**class)) {
                let pod = snapshot.pod_name(*pod);
                report(7, format!("{name} is to be removed while pending pod {pod} fits it"));
            }
        }
        if !groups.insert(removal.group) {
            continue;
        }
        let group = snapshot.group(removal.group);
        let sold = group.offerings.iter();
        for offering in sold.filter_map(|id| snapshot.offering(id, &group.datacenter)) {
            let template = Template::new(snapshot, removal.group, offering);
            let view = template.view(&template.daemons);
            let fits =
                |class| fit::misfit(snapshot.class(class), &view, &snapshot.well_known, &snapshot.symbols).is_none();
            if let Some((_, pod)) = asking.iter().find(|(class, _)| fits(**class)) {
                let (pod, offering) = (snapshot.pod_name(*pod), &template.offering);
                report(
                    7,
                    format!("{name} is to be removed while pending pod {pod} fits a new {offering} of its group"),
                );
            }
        }
    }
}

fn name_of(snapshot: &Snapshot, node: NodeId) -> &str {
    snapshot.text(snapshot.node(node).name)
}
