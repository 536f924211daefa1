//! Which nodes may go as far as the node itself says: one rule after the other, the first that says no is the reason.
//!
//! What pods of the node say, where they could go, and how many nodes may go at once is decided after this.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp, tz::TimeZone};

use crate::{
    build::MANAGED_LABEL,
    fit,
    hours::AllowedHours,
    lifecycle::delay_after_failures,
    plan::KeepReason,
    planner::Options,
    snapshot::{ClassId, GroupId, MachinePhase, Node, NodeGroup, NodeId, PodId, Readiness, Snapshot},
    usage::ENOUGH_PERCENT,
    world::World,
};

use super::{
    Demand, Kept,
    shapes::Shapes,
    utilization::{Basis, Measured, Usage},
};

/// How long a node has to be unready before it is removed.
const UNREADY_TIME: SignedDuration = SignedDuration::from_mins(20);

/// More unready nodes than this, and a larger share than [`UNREADY_PERCENT`], and nothing is removed.
const UNREADY_NODES: usize = 3;

/// In percent of all nodes of the cluster.
const UNREADY_PERCENT: usize = 45;

/// The rules, with what they need to know of the whole cluster.
#[derive(Debug)]
pub(super) struct Rules<'a> {
    snapshot: &'a Snapshot,
    growing: &'a BTreeSet<GroupId>,
    ignore_timers: bool,
    now: Timestamp,
    /// Whether VPSieNodes stand for nodes that stay, so that a node without one is not ours.
    has_machines: bool,
    /// When each group grew last: its status is written after the VPSieNodes, which may be the last thing that happens.
    grown: Vec<Option<Timestamp>>,
    /// Why the cluster is too sick for any removal.
    sick: Option<String>,
    /// The cluster before pending pods were placed; `None` when there are none, so that nobody asks.
    before: Option<World<'a>>,
    /// One pending pod of each shape.
    pending: Vec<(ClassId, PodId)>,
    /// A pending pod that a new node of the group could host, by group.
    wanted_new: BTreeMap<GroupId, PodId>,
    /// A pending pod that preemption makes room for, by node.
    nominated: BTreeMap<NodeId, PodId>,
}

// === impl Rules ===

impl<'a> Rules<'a> {
    pub(super) fn new(snapshot: &'a Snapshot, demand: &Demand<'a>, options: &Options, now: Timestamp) -> Self {
        let pending = one_of_each_shape(snapshot, demand.pending);
        let mut wanted_new = BTreeMap::new();
        for template in demand.templates {
            let view = template.view(&template.daemons);
            let fits =
                |class| fit::misfit(snapshot.class(class), &view, &snapshot.well_known, &snapshot.symbols).is_none();
            if let Some((_, pod)) = pending.iter().find(|(class, _)| fits(*class)) {
                wanted_new.entry(template.group).or_insert(*pod);
            }
        }
        let nominated = snapshot.nominated.iter().copied().filter_map(|id| {
            let pod = snapshot.pod(id);
            let waits = !pod.is_terminal() && pod.deletion.is_none();
            pod.nominated.filter(|_| waits).map(|node| (node, id))
        });
        Self {
            snapshot,
            growing: demand.growing,
            ignore_timers: options.ignore_timers,
            now,
            has_machines: snapshot
                .machines
                .iter()
                .any(|machine| machine.node.is_some() && !machine.is_leaving()),
            grown: last_growth(snapshot),
            sick: sickness(snapshot),
            before: (!pending.is_empty()).then(|| World::new(snapshot)),
            pending,
            wanted_new,
            nominated: nominated.collect(),
        }
    }

    /// Why the node is needed, or must not be touched, or `None` when it is unneeded. Timers of its removal come after
    /// this, in [`Self::not_yet`].
    pub(super) fn needed(&self, id: NodeId, usage: Option<&Usage>) -> Option<Kept> {
        let node = self.snapshot.node(id);
        let group = match self.group(node) {
            Ok(group) => group,
            Err(kept) => return Some(kept),
        };
        let spec = self.snapshot.group(group);
        self.off_limits(id, node)
            .or_else(|| Self::disabled(spec))
            .or_else(|| self.outside_allowed_hours(id))
            .or_else(|| self.unready(node))
            .or_else(|| self.utilized(id, spec, usage))
            .or_else(|| {
                self.sick
                    .clone()
                    .map(|message| Kept::new(KeepReason::ClusterUnhealthy, message))
            })
            .or_else(|| self.wanted(id, node, group))
    }

    /// Why it is too early for a node that is unneeded.
    pub(super) fn not_yet(&self, id: NodeId) -> Option<Kept> {
        if self.ignore_timers {
            return None;
        }
        let node = self.snapshot.node(id);
        let machine = node.machine.map(|machine| self.snapshot.machine(machine));
        let policy = &self.snapshot.group(node.group?).scale_down;

        // Nothing says that the node is needed, so this is a matter of time: what is recorded of the node stays.
        if let Some(Measured::TooLittle(coverage)) = Measured::of(self.snapshot, id) {
            let message = format!(
                "its use is measured, not yet for long enough: {coverage}, {ENOUGH_PERCENT}% of both are needed"
            );
            return Some(Kept::new(KeepReason::NotUnderutilized, message));
        }
        let window = policy.stabilization_window;
        let since = machine.and_then(|machine| machine.unneeded_since).unwrap_or(self.now);
        let unneeded = self.now.duration_since(since);
        if unneeded <= window {
            let message = format!("unneeded for {}, must be longer than {}", text(unneeded), text(window));
            return Some(Kept::new(KeepReason::NotUnneededLongEnough, message));
        }
        if let Some(grown) = self.grown.get(node.group?.index()).copied().flatten() {
            let elapsed = self.now.duration_since(grown);
            if elapsed < policy.cooldown {
                let message = format!(
                    "the group grew {} ago, the cooldown is {}",
                    text(elapsed),
                    text(policy.cooldown)
                );
                return Some(Kept::new(KeepReason::InCooldown, message));
            }
        }
        let failed = machine
            .and_then(|machine| machine.removal.as_ref())
            .and_then(|removal| Some((removal.failed_at?, removal.failures)));
        let group = self.snapshot.group(node.group?);
        let of_group = group
            .last_scale_down_failure
            .map(|failed| (failed, group.scale_down_failures));
        self.recently_failed(failed, "its removal")
            .or_else(|| self.recently_failed(of_group, "the removal of a node of its group"))
    }

    /// Whether the delay after the last of so many failures is not over yet.
    fn recently_failed(&self, failed: Option<(Timestamp, u32)>, what: &str) -> Option<Kept> {
        let (at, failures) = failed?;
        let (elapsed, delay) = (self.now.duration_since(at), delay_after_failures(failures));
        (elapsed < delay).then(|| {
            let message = format!("{what} failed {} ago, the delay is {}", text(elapsed), text(delay));
            Kept::new(KeepReason::RecentlyFailed, message)
        })
    }

    fn group(&self, node: &Node) -> Result<GroupId, Kept> {
        let Some(group) = node.group else {
            return Err(Kept::new(KeepReason::NotAutoscaled, "belongs to no NodeGroup"));
        };
        if self.has_machines && node.machine.is_none() {
            return Err(Kept::new(
                KeepReason::NotAutoscaled,
                "no VPSieNode stands for it, only its labels name a NodeGroup",
            ));
        }
        Self::unmanaged(self.snapshot, group).map_or(Ok(group), Err)
    }

    pub(super) fn unmanaged(snapshot: &Snapshot, group: GroupId) -> Option<Kept> {
        (!snapshot.group(group).managed).then(|| {
            let group = snapshot.group_name(group);
            let message = format!("NodeGroup {group} is not labelled {MANAGED_LABEL}=true");
            Kept::new(KeepReason::NotAutoscaled, message)
        })
    }

    fn off_limits(&self, id: NodeId, node: &Node) -> Option<Kept> {
        if let Some(kept) = Self::special(node) {
            return Some(kept);
        }
        let machine = node.machine.map(|machine| self.snapshot.machine(machine));
        if self.snapshot.is_leaving(id) {
            let message = match machine {
                Some(machine) if machine.is_leaving() => {
                    let name = self.snapshot.text(machine.name);
                    if machine.phase == MachinePhase::Failed {
                        format!("VPSieNode {name} has failed and is given up")
                    } else {
                        format!("VPSieNode {name} is being removed, phase {}", machine.phase.as_str())
                    }
                }
                _ => "the Node is being deleted".to_owned(),
            };
            return Some(Kept::new(KeepReason::CurrentlyBeingDeleted, message));
        }
        Self::opted_out(self.snapshot, node)
    }

    pub(super) fn special(node: &Node) -> Option<Kept> {
        if node.control_plane {
            return Some(Kept::new(KeepReason::ControlPlane, "is a control-plane node"));
        }
        node.own
            .then(|| Kept::new(KeepReason::OwnNode, "this autoscaler runs on it"))
    }

    pub(super) fn opted_out(snapshot: &Snapshot, node: &Node) -> Option<Kept> {
        let machine = node.machine.map(|machine| snapshot.machine(machine));
        let group = node.group.map(|group| snapshot.group(group));
        let opt_outs = [
            (node.opt_out, "node"),
            (machine.and_then(|machine| machine.opt_out), "VPSieNode"),
            (group.and_then(|group| group.opt_out), "NodeGroup"),
        ];
        let (opt_out, object) = opt_outs
            .iter()
            .find_map(|(opt_out, object)| Some(((*opt_out)?, object)))?;
        let opt_out = snapshot.text(opt_out);
        Some(Kept::new(
            KeepReason::ScaleDownDisabledAnnotation,
            format!("{opt_out} is set on the {object}"),
        ))
    }

    pub(super) fn disabled(spec: &NodeGroup) -> Option<Kept> {
        let message = "spec.scaleDownPolicy.enabled of its NodeGroup is false";
        (!spec.scale_down.enabled).then(|| Kept::new(KeepReason::ScaleDownDisabled, message))
    }

    fn outside_allowed_hours(&self, id: NodeId) -> Option<Kept> {
        let hours = self.snapshot.allowed_hours(id)?;
        if hours.contains(self.now) {
            return None;
        }
        let message = match hours {
            AllowedHours::Never(why) => format!("never allowed: {why}"),
            AllowedHours::Daily { start, end, zone } => format!(
                "allowed hours {:02}:{:02}-{:02}:{:02} {}",
                start.hour(),
                start.minute(),
                end.hour(),
                end.minute(),
                zone.as_ref().and_then(TimeZone::iana_name).unwrap_or("UTC")
            ),
        };
        Some(Kept::new(KeepReason::OutsideAllowedHours, message))
    }

    fn unready(&self, node: &Node) -> Option<Kept> {
        let Readiness::NotReady { since } = node.readiness else {
            return None;
        };
        let unready = since.map_or(SignedDuration::ZERO, |since| self.now.duration_since(since));
        if unready < UNREADY_TIME && !self.ignore_timers {
            let message = format!("not Ready for {}, must be {}", text(unready), text(UNREADY_TIME));
            return Some(Kept::new(KeepReason::NotUnreadyLongEnough, message));
        }
        let message = "not Ready, and globalSettings.scaleDownUnreadyEnabled is false";
        let enabled = self.snapshot.settings.scale_down_unready_enabled;
        (!enabled).then(|| Kept::new(KeepReason::ScaleDownUnreadyDisabled, message))
    }

    /// By what its pods request, and then by what it is measured to use.
    fn utilized(&self, id: NodeId, spec: &NodeGroup, usage: Option<&Usage>) -> Option<Kept> {
        let Some(usage) = usage else {
            return Some(Kept::new(
                KeepReason::UnexpectedError,
                "its allocatable cpu or memory is zero or missing",
            ));
        };
        let policy = &spec.scale_down;
        let above = |usage: &Usage, basis: Basis| {
            let limits = [
                (usage.cpu, policy.cpu_threshold_percent),
                (usage.memory, policy.memory_threshold_percent),
            ];
            let above: Vec<_> = limits
                .iter()
                .filter(|(share, threshold)| !share.is_at_most(*threshold))
                .map(|(share, threshold)| share.against(*threshold, basis))
                .collect();
            (!above.is_empty()).then(|| Kept::new(KeepReason::NotUnderutilized, above.join("; ")))
        };
        above(usage, Basis::Requested).or_else(|| match Measured::of(self.snapshot, id)? {
            Measured::Known(used, coverage) => above(&used, Basis::Used(coverage)),
            Measured::TooLittle(_) => None,
        })
    }

    fn wanted(&self, id: NodeId, node: &Node, group: GroupId) -> Option<Kept> {
        if self.growing.contains(&group) {
            let message = format!("a node of {} is being created", self.snapshot.group_name(group));
            return Some(Kept::new(KeepReason::ScaleUpInProgress, message));
        }
        let fits = |before: &World<'_>, class: ClassId| before.misfit(class, id.into()).is_none();
        let hosts = |class: ClassId| node.is_ready() && self.before.as_ref().is_some_and(|before| fits(before, class));
        let here = || {
            self.pending
                .iter()
                .find(|(class, _)| hosts(*class))
                .map(|(_, pod)| *pod)
        };
        let (pod, place) = if let Some(pod) = self.nominated.get(&id) {
            (*pod, "is nominated to it")
        } else if let Some(pod) = self.wanted_new.get(&group) {
            (*pod, "could run on a new node of its group")
        } else {
            (here()?, "could run on it")
        };
        let message = format!("pending pod {} {place}", self.snapshot.pod_name(pod));
        Some(Kept {
            pod: Some(pod),
            ..Kept::new(KeepReason::PendingPods, message)
        })
    }
}

/// When each group grew last: as its status says, or when the youngest of its VPSieNodes was created.
fn last_growth(snapshot: &Snapshot) -> Vec<Option<Timestamp>> {
    let mut grown: Vec<_> = snapshot.groups.iter().map(|group| group.last_scale_up).collect();
    for machine in &snapshot.machines {
        if let Some(of_group) = machine.group.and_then(|group| grown.get_mut(group.index())) {
            *of_group = (*of_group).max(machine.created_at);
        }
    }
    grown
}

/// One of these pods for each shape: the first.
fn one_of_each_shape(snapshot: &Snapshot, pods: &[PodId]) -> Vec<(ClassId, PodId)> {
    if pods.is_empty() {
        return Vec::new();
    }
    let shapes = Shapes::new(snapshot);
    let mut seen = vec![false; shapes.len()];
    let mut first = Vec::new();
    for pod in pods.iter().copied() {
        let class = snapshot.pod(pod).class;
        if let Some(seen) = seen.get_mut(shapes.of(class))
            && !std::mem::replace(seen, true)
        {
            first.push((class, pod));
        }
    }
    first
}

/// The health gate: too many nodes of the cluster are not Ready, so that the fault is not with the nodes.
pub(super) fn sickness(snapshot: &Snapshot) -> Option<String> {
    let all = snapshot.nodes.len();
    let unready = snapshot.nodes.iter().filter(|node| !node.is_ready()).count();
    let sick = UNREADY_NODES < unready && all.saturating_mul(UNREADY_PERCENT) < unready.saturating_mul(100);
    sick.then(|| {
        format!(
            "{unready} of {all} nodes of the cluster are not Ready; more than {UNREADY_NODES} and {UNREADY_PERCENT}% are too many"
        )
    })
}

/// A duration to whole seconds, as people write it: `3m`.
fn text(duration: SignedDuration) -> String {
    format!("{:#}", SignedDuration::from_secs(duration.as_secs()))
}
