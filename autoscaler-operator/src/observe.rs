//! What the loop tells, as metrics.

use std::{collections::BTreeMap, time::Duration};

use autoscaler_core::{
    plan::{self, KeepReason, NodeVerdict, Plan, PodVerdict},
    snapshot::{MachinePhase, Snapshot},
};
use autoscaler_metrics::record::{
    self, ByReason, DrainResult, EvictionResult, LoopResult, NodeGroup, NodeGroupSize, NodeGroups, RemovalKind,
};
use autoscaler_scaler::{
    actuate::{Fact, TickReport},
    run::Progress,
};
use jiff::SignedDuration;

/// Turns what the loop tells into metrics. It remembers which series exist, so that what is gone is not shown for ever.
#[derive(Debug)]
pub struct Recorder {
    unschedulable: ByReason,
    unremovable: ByReason,
    groups: NodeGroups,
    /// Pods evicted so far from each node whose drain has not ended.
    evicted: BTreeMap<String, usize>,
}

impl Default for Recorder {
    fn default() -> Self {
        Self {
            unschedulable: ByReason::unschedulable_pods(),
            unremovable: ByReason::unremovable_nodes(),
            groups: NodeGroups::default(),
            evicted: BTreeMap::new(),
        }
    }
}

impl Recorder {
    /// Records one thing that the loop did.
    pub fn record(&mut self, progress: &Progress<'_>) {
        match progress {
            Progress::Planned { snapshot, plan, took } => self.planned(snapshot, plan, *took),
            Progress::Rejected { violations } => {
                record::planning_loop(LoopResult::Rejected, Duration::ZERO);
                for violation in *violations {
                    record::invariant_violation(invariant(violation.invariant));
                }
            }
            Progress::Problem { .. } => record::planning_loop(LoopResult::Failed, Duration::ZERO),
            Progress::Acted(report) => self.acted(report),
            _ => {}
        }
    }

    fn planned(&mut self, snapshot: &Snapshot, plan: &Plan, took: Duration) {
        record::planning_loop(LoopResult::Completed, took);
        record::plan_duration(took);
        let waiting = plan
            .pods
            .iter()
            .filter(|pod| !matches!(pod.verdict, PodVerdict::Ignored))
            .count();
        record::pending_pods(waiting);
        record::unneeded_nodes(plan.nodes.iter().filter(|node| node.unneeded).count());
        let mut reasons: BTreeMap<&'static str, usize> = BTreeMap::new();
        for pod in plan.pods.iter().filter(|pod| pod.verdict == PodVerdict::Unschedulable) {
            let reason = pod.reasons.first().map(|reason| reason.reason(snapshot));
            let reason = record::unschedulable_reason(reason.as_deref().unwrap_or_default());
            *reasons.entry(reason).or_default() += 1;
        }
        self.unschedulable.set(reasons);
        let mut reasons: BTreeMap<&'static str, usize> = BTreeMap::new();
        for node in &plan.nodes {
            if let NodeVerdict::Keep { reason, .. } = &node.verdict {
                *reasons.entry(reason.as_str()).or_default() += 1;
            }
        }
        self.unremovable.set(reasons);
        self.sizes(snapshot, plan);
    }

    fn acted(&mut self, report: &TickReport) {
        for fact in &report.facts {
            match fact {
                Fact::VmCreated { group, .. } => record::scale_up(named(group), 1),
                Fact::VmCreateFailed { group, reason, .. } => record::scale_up_error(named(group), reason),
                Fact::NodeFailed { group, reason } => record::scale_up_error(named(group), bounded(reason)),
                Fact::NodeReady { group, took } => record::node_provisioning_duration(named(group), unsigned(*took)),
                Fact::PodEvicted { node, .. } => {
                    *self.evicted.entry(node.clone()).or_default() += 1;
                    record::pod_eviction(EvictionResult::Evicted);
                }
                Fact::EvictionRefused { .. } => record::pod_eviction(EvictionResult::Blocked),
                Fact::Drained {
                    group,
                    node,
                    kind,
                    took,
                } => {
                    let evicted = self.evicted.remove(node).unwrap_or(0);
                    let kind = match kind {
                        plan::RemovalKind::Empty => RemovalKind::Empty,
                        plan::RemovalKind::Drain => RemovalKind::Drain,
                    };
                    record::scale_down(named(group), kind, 1);
                    record::node_drain(named(group), DrainResult::Success, unsigned(*took), evicted);
                }
                Fact::RemovalFailed { group, node, reason } => {
                    self.evicted.remove(node);
                    record::scale_down_error(named(group), bounded(reason));
                }
                Fact::VmDeleted { group, took } => record::node_termination_duration(named(group), unsigned(*took)),
                _ => {}
            }
        }
    }

    fn sizes(&mut self, snapshot: &Snapshot, plan: &Plan) {
        let size = |id| {
            let group = snapshot.group(id);
            let machines = || {
                snapshot
                    .machines
                    .iter()
                    .filter(move |machine| machine.group == Some(id))
            };
            let living = machines()
                .filter(|machine| machine.phase != MachinePhase::Failed && !machine.is_leaving())
                .count();
            let created = plan.creations.iter().filter(|creation| creation.group == id).count();
            let nodes = snapshot.nodes.iter().filter(|node| node.group == Some(id));
            NodeGroupSize {
                desired: number(living + created),
                current: number(machines().count()),
                ready: number(nodes.filter(|node| node.is_ready()).count()),
                min: group.min_nodes,
                max: group.max_nodes,
            }
        };
        let name = |id| {
            let group = snapshot.group(id);
            NodeGroup::new(snapshot.text(group.namespace), snapshot.text(group.name))
        };
        self.groups.set(snapshot.group_ids().map(|id| (name(id), size(id))));
        for id in snapshot.group_ids() {
            let count = |phase| {
                let of_phase =
                    |machine: &&autoscaler_core::snapshot::Machine| machine.group == Some(id) && machine.phase == phase;
                snapshot.machines.iter().filter(of_phase).count()
            };
            record::vpsienodes(name(id), MachinePhase::ALL.map(|(phase, text)| (text, count(phase))));
        }
    }
}

/// A group out of `namespace/name`.
fn named(group: &str) -> NodeGroup<'_> {
    let (namespace, name) = group.split_once('/').unwrap_or(("", group));
    NodeGroup::new(namespace, name)
}

/// A reason of the life-cycle state machine as a label of bounded values.
fn bounded(reason: &str) -> &'static str {
    const KNOWN: [&str; 11] = [
        "Deleted",
        "DrainTimeout",
        "InitializingTimeout",
        "JoiningTimeout",
        "NodeNotFound",
        "NotEmpty",
        "ProvisioningFailed",
        "ProvisioningTimeout",
        "Uncordoned",
        "VMFailed",
        "VMNotFound",
    ];
    // What keeps a node from being removed may come up in the middle of its removal too.
    let of_nodes = KeepReason::ALL.iter().map(|known| known.as_str());
    let mut known = KNOWN.into_iter().chain(of_nodes);
    known.find(|known| *known == reason).unwrap_or("Other")
}

fn unsigned(took: SignedDuration) -> Duration {
    Duration::try_from(took).unwrap_or(Duration::ZERO)
}

/// The number of an invariant as a label of bounded values.
const fn invariant(number: u8) -> &'static str {
    match number {
        1 => "1",
        2 => "2",
        3 => "3",
        4 => "4",
        5 => "5",
        6 => "6",
        7 => "7",
        9 => "9",
        _ => "other",
    }
}

fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
