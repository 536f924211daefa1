//! Which nodes may go as far as the node itself says: a list of rules in order, of which the first that says no is the
//! reason.
//!
//! The list is there once: a plan stops at the first no and puts nothing else into words, an explanation asks every rule
//! and has what it looked at in words too. What pods of the node say, where they could go, and how many nodes may go at
//! once is decided after this.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp, tz::TimeZone};

use crate::{
    build::MANAGED_LABEL,
    explain::node::RuleVerdict,
    fit::{self, amount_text},
    hours::AllowedHours,
    lifecycle::delay_after_failures,
    plan::KeepReason,
    planner::Options,
    resources::Resource,
    snapshot::{ClassId, GroupId, Machine, MachinePhase, Node, NodeGroup, NodeId, PodId, Readiness, Snapshot},
    usage::ENOUGH_PERCENT,
    world::World,
};

use super::{
    Demand, Kept,
    facts::{At, Facts, Span, hours_text},
    shapes::Shapes,
    utilization::{Basis, Measured, Usage},
};

/// The rules, with what they need to know of the whole cluster.
#[derive(Debug)]
pub(super) struct Rules<'a> {
    snapshot: &'a Snapshot,
    growing: &'a BTreeSet<GroupId>,
    ignore_timers: bool,
    now: Timestamp,
    /// Whether VPSieNodes stand for nodes that stay, so that a node without one is not ours.
    has_machines: bool,
    health: Health,
    /// The cluster before pending pods were placed; `None` when there are none, so that nobody asks.
    before: Option<World<'a>>,
    /// One pending pod of each shape.
    pending: Vec<(ClassId, PodId)>,
    /// A pending pod that a new node of the group could host, by group.
    wanted_new: BTreeMap<GroupId, PodId>,
    /// A pending pod that preemption makes room for, by node.
    nominated: BTreeMap<NodeId, PodId>,
}

/// What the rules say of a node.
#[derive(Debug)]
pub(super) struct Judged {
    /// What the first rule says that keeps it.
    pub(super) kept: Option<Kept>,
    /// Whether nothing but time keeps it.
    pub(super) unneeded: bool,
}

/// A rule, by the reason that a node stays for when the rule says no.
struct Rule<'a> {
    reason: KeepReason,
    /// Whether it is about time alone: when all others agree, the node is unneeded.
    is_timer: bool,
    judge: fn(&Rules<'a>, &Subject<'a>, &mut Facts) -> Option<Kept>,
}

/// The node that is judged.
struct Subject<'a> {
    id: NodeId,
    node: &'a Node,
    machine: Option<&'a Machine>,
    group: Option<(GroupId, &'a NodeGroup)>,
    usage: Option<Usage>,
}

/// How many nodes of the cluster are not Ready, and how many may be before nothing is removed any more.
#[derive(Clone, Copy, Debug)]
struct Health {
    unready: usize,
    all: usize,
    ok: u32,
    percent: u32,
}

// === impl Rules ===

impl<'a> Rules<'a> {
    /// Every rule, in the order in which they are asked. Timers are the last.
    const IN_ORDER: [Rule<'a>; 20] = [
        Rule::new(KeepReason::NotAutoscaled, Self::autoscaled),
        Rule::new(KeepReason::ControlPlane, Self::control_plane),
        Rule::new(KeepReason::OwnNode, Self::own_node),
        Rule::new(KeepReason::CurrentlyBeingDeleted, Self::leaving),
        Rule::new(KeepReason::ScaleDownDisabledAnnotation, Self::opt_outs),
        Rule::new(KeepReason::ScaleDownDisabled, Self::policy),
        Rule::new(KeepReason::OutsideAllowedHours, Self::allowed_hours),
        Rule::new(KeepReason::NotUnreadyLongEnough, Self::unready_time),
        Rule::new(KeepReason::ScaleDownUnreadyDisabled, Self::unready_enabled),
        Rule::new(KeepReason::UnexpectedError, Self::allocatable),
        Rule::new(KeepReason::NotUnderutilized, Self::requested),
        Rule::new(KeepReason::NotUnderutilized, Self::measured),
        Rule::new(KeepReason::ClusterUnhealthy, Self::cluster_health),
        Rule::new(KeepReason::ScaleUpInProgress, Self::growth),
        Rule::new(KeepReason::PendingPods, Self::pending_pods),
        Rule::timer(KeepReason::NodeTooYoung, Self::node_age),
        Rule::timer(KeepReason::NotUnderutilized, Self::measured_for_long_enough),
        Rule::timer(KeepReason::NotUnneededLongEnough, Self::unneeded_time),
        Rule::timer(KeepReason::InCooldown, Self::cooldown),
        Rule::timer(KeepReason::RecentlyFailed, Self::recent_failures),
    ];

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
            health: Health::of(snapshot),
            before: (!pending.is_empty()).then(|| World::new(snapshot)),
            pending,
            wanted_new,
            nominated: nominated.collect(),
        }
    }

    /// What becomes of a node as far as these rules say.
    pub(super) fn judge(&self, id: NodeId, usage: Option<Usage>) -> Judged {
        let on = self.subject(id, usage);
        let mut nothing = Facts::default();
        for rule in &Self::IN_ORDER {
            let kept = self.ask(rule, &on, &mut nothing);
            if kept.is_some() {
                let unneeded = rule.is_timer;
                return Judged { kept, unneeded };
            }
        }
        Judged {
            kept: None,
            unneeded: true,
        }
    }

    /// What each of these rules says of a node, in their order.
    pub(super) fn explain(&self, id: NodeId, usage: Option<Usage>) -> Vec<RuleVerdict> {
        let on = self.subject(id, usage);
        let explain = |rule| {
            let mut facts = Facts::wanted();
            let kept = self.ask(rule, &on, &mut facts);
            facts.verdict(rule.reason, kept)
        };
        Self::IN_ORDER.iter().map(explain).collect()
    }

    fn subject(&self, id: NodeId, usage: Option<Usage>) -> Subject<'a> {
        let node = self.snapshot.node(id);
        Subject {
            id,
            node,
            machine: node.machine.map(|machine| self.snapshot.machine(machine)),
            group: node.group.map(|group| (group, self.snapshot.group(group))),
            usage,
        }
    }

    fn ask(&self, rule: &Rule<'a>, on: &Subject<'a>, facts: &mut Facts) -> Option<Kept> {
        if rule.is_timer && self.ignore_timers {
            facts.say(|| "timers are taken as elapsed".to_owned());
            return None;
        }
        (rule.judge)(self, on, facts)
    }

    fn autoscaled(&self, on: &Subject<'a>, facts: &mut Facts) -> Option<Kept> {
        let Some((group, _)) = on.group else {
            return Some(Kept::new(KeepReason::NotAutoscaled, "belongs to no NodeGroup"));
        };
        if self.has_machines && on.machine.is_none() {
            return Some(Kept::new(
                KeepReason::NotAutoscaled,
                "no VPSieNode stands for it, only its labels name a NodeGroup",
            ));
        }
        facts.say(|| format!("belongs to NodeGroup {}", self.snapshot.group_name(group)));
        Self::unmanaged(self.snapshot, group)
    }

    pub(super) fn unmanaged(snapshot: &Snapshot, group: GroupId) -> Option<Kept> {
        (!snapshot.group(group).managed).then(|| {
            let group = snapshot.group_name(group);
            let message = format!("NodeGroup {group} is not labelled {MANAGED_LABEL}=true");
            Kept::new(KeepReason::NotAutoscaled, message)
        })
    }

    fn control_plane(&self, on: &Subject<'a>, facts: &mut Facts) -> Option<Kept> {
        facts.say(|| "is no control-plane node".to_owned());
        Self::of_control_plane(on.node)
    }

    pub(super) fn of_control_plane(node: &Node) -> Option<Kept> {
        node.control_plane
            .then(|| Kept::new(KeepReason::ControlPlane, "is a control-plane node"))
    }

    fn own_node(&self, on: &Subject<'a>, facts: &mut Facts) -> Option<Kept> {
        facts.say(|| "this autoscaler does not run on it".to_owned());
        Self::runs_this(on.node)
    }

    pub(super) fn runs_this(node: &Node) -> Option<Kept> {
        node.own
            .then(|| Kept::new(KeepReason::OwnNode, "this autoscaler runs on it"))
    }

    fn leaving(&self, on: &Subject<'a>, facts: &mut Facts) -> Option<Kept> {
        if !self.snapshot.is_leaving(on.id) {
            facts.say(|| "is not being removed".to_owned());
            return None;
        }
        let message = match on.machine {
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
        Some(Kept::new(KeepReason::CurrentlyBeingDeleted, message))
    }

    fn opt_outs(&self, on: &Subject<'a>, facts: &mut Facts) -> Option<Kept> {
        facts.say(|| "no annotation or label of the node, its VPSieNode or its NodeGroup forbids it".to_owned());
        Self::opted_out(self.snapshot, on.node)
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

    fn policy(&self, on: &Subject<'a>, facts: &mut Facts) -> Option<Kept> {
        let (_, group) = on.group(facts)?;
        facts.compare(|| group.scale_down.enabled.to_string(), || "true".to_owned());
        facts.say(|| "spec.scaleDownPolicy.enabled of its NodeGroup is true".to_owned());
        Self::disabled(group)
    }

    pub(super) fn disabled(spec: &NodeGroup) -> Option<Kept> {
        let message = "spec.scaleDownPolicy.enabled of its NodeGroup is false";
        (!spec.scale_down.enabled).then(|| Kept::new(KeepReason::ScaleDownDisabled, message))
    }

    fn allowed_hours(&self, on: &Subject<'a>, facts: &mut Facts) -> Option<Kept> {
        let Some(hours) = self.snapshot.allowed_hours(on.id) else {
            facts.say(|| "no hours are set for it".to_owned());
            return None;
        };
        let message = || match &hours {
            AllowedHours::Never(why) => format!("never allowed: {why}"),
            AllowedHours::Daily { .. } => format!("allowed hours {}", hours_text(&hours)),
        };
        if let AllowedHours::Daily { zone, .. } = &hours {
            let zone = || zone.clone().unwrap_or(TimeZone::UTC);
            let time = || self.now.to_zoned(zone()).strftime("%H:%M").to_string();
            facts.compare(time, || hours_text(&hours));
        }
        facts.say(message);
        (!hours.contains(self.now)).then(|| Kept::new(KeepReason::OutsideAllowedHours, message()))
    }

    fn unready_time(&self, on: &Subject<'a>, facts: &mut Facts) -> Option<Kept> {
        let Readiness::NotReady { since } = on.node.readiness else {
            facts.say(|| "is Ready".to_owned());
            return None;
        };
        let own = on.group.and_then(|(_, group)| group.scale_down.unready_time);
        let needed = own.unwrap_or(self.snapshot.settings.unready_time);
        let unready = since.map_or(SignedDuration::ZERO, |since| self.now.duration_since(since));
        let message = || match since {
            Some(since) => format!("not Ready since {}; it must have been for {}", At(since), Span(needed)),
            None => format!(
                "not Ready, nobody knows since when; it must have been for {}",
                Span(needed)
            ),
        };
        facts.compare(|| Span(unready).to_string(), || Span(needed).to_string());
        facts.say(message);
        (unready < needed && !self.ignore_timers).then(|| Kept::new(KeepReason::NotUnreadyLongEnough, message()))
    }

    fn unready_enabled(&self, on: &Subject<'a>, facts: &mut Facts) -> Option<Kept> {
        if on.node.is_ready() {
            facts.say(|| "is Ready".to_owned());
            return None;
        }
        let enabled = self.snapshot.settings.scale_down_unready_enabled;
        let message = || format!("not Ready, and globalSettings.scaleDownUnreadyEnabled is {enabled}");
        facts.compare(|| enabled.to_string(), || "true".to_owned());
        facts.say(message);
        (!enabled).then(|| Kept::new(KeepReason::ScaleDownUnreadyDisabled, message()))
    }

    fn allocatable(&self, on: &Subject<'a>, facts: &mut Facts) -> Option<Kept> {
        let offers = &on.node.allocatable;
        let cpu = || amount_text(Resource::Cpu, offers.cpu);
        facts.say(|| {
            format!(
                "offers {} cpu and {} memory",
                cpu(),
                amount_text(Resource::Memory, offers.memory)
            )
        });
        on.usage.is_none().then(|| {
            Kept::new(
                KeepReason::UnexpectedError,
                "its allocatable cpu or memory is zero or missing",
            )
        })
    }

    /// By what its pods request.
    fn requested(&self, on: &Subject<'a>, facts: &mut Facts) -> Option<Kept> {
        let (_, group) = on.group(facts)?;
        let Some(usage) = &on.usage else {
            facts.say(|| "it offers nothing that could be used".to_owned());
            return None;
        };
        Self::above_thresholds(group, usage, Basis::Requested, facts)
    }

    /// By what it is measured to use.
    fn measured(&self, on: &Subject<'a>, facts: &mut Facts) -> Option<Kept> {
        let (_, group) = on.group(facts)?;
        match Measured::of(self.snapshot, on.id) {
            Some(Measured::Known(used, coverage)) => Self::above_thresholds(group, &used, Basis::Used(coverage), facts),
            Some(Measured::TooLittle(_)) => {
                facts.say(|| "its use is measured, not yet for long enough".to_owned());
                None
            }
            None => {
                facts.say(|| "its use is not measured: requests alone count".to_owned());
                None
            }
        }
    }

    fn above_thresholds(group: &NodeGroup, usage: &Usage, basis: Basis, facts: &mut Facts) -> Option<Kept> {
        let policy = &group.scale_down;
        let (cpu, memory) = (policy.cpu_threshold_percent, policy.memory_threshold_percent);
        let limits = [(usage.cpu, cpu), (usage.memory, memory)];
        facts.compare(
            || format!("cpu {}, memory {}", usage.cpu.percent(), usage.memory.percent()),
            || format!("cpu {cpu}%, memory {memory}%"),
        );
        facts.say(|| {
            limits
                .map(|(share, threshold)| share.against(threshold, basis))
                .join("; ")
        });
        let above: Vec<_> = limits
            .iter()
            .filter(|(share, threshold)| !share.is_at_most(*threshold))
            .map(|(share, threshold)| share.against(*threshold, basis))
            .collect();
        (!above.is_empty()).then(|| Kept::new(KeepReason::NotUnderutilized, above.join("; ")))
    }

    fn cluster_health(&self, _: &Subject<'a>, facts: &mut Facts) -> Option<Kept> {
        let Health {
            unready,
            all,
            ok,
            percent,
        } = self.health;
        facts.compare(
            || format!("{unready} of {all} nodes"),
            || format!("{ok} nodes or {percent}%"),
        );
        facts.say(|| self.health.text());
        self.health.is_sick().then(|| self.health.kept())
    }

    fn growth(&self, on: &Subject<'a>, facts: &mut Facts) -> Option<Kept> {
        let (group, _) = on.group(facts)?;
        facts.say(|| format!("no node of {} is being created", self.snapshot.group_name(group)));
        self.growing.contains(&group).then(|| {
            let message = format!("a node of {} is being created", self.snapshot.group_name(group));
            Kept::new(KeepReason::ScaleUpInProgress, message)
        })
    }

    fn pending_pods(&self, on: &Subject<'a>, facts: &mut Facts) -> Option<Kept> {
        let (group, _) = on.group(facts)?;
        facts.say(|| "no pending pod could run on it or on a new node of its group".to_owned());
        let fits = |before: &World<'_>, class: ClassId| before.misfit(class, on.id.into()).is_none();
        let hosts =
            |class: ClassId| on.node.is_ready() && self.before.as_ref().is_some_and(|before| fits(before, class));
        let here = || {
            self.pending
                .iter()
                .find(|(class, _)| hosts(*class))
                .map(|(_, pod)| *pod)
        };
        let (pod, place) = if let Some(pod) = self.nominated.get(&on.id) {
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

    /// Nothing says that the node is needed, so this is a matter of time: what is recorded of the node stays.
    fn measured_for_long_enough(&self, on: &Subject<'a>, facts: &mut Facts) -> Option<Kept> {
        let (coverage, is_enough) = match Measured::of(self.snapshot, on.id) {
            Some(Measured::TooLittle(coverage)) => (coverage, false),
            Some(Measured::Known(_, coverage)) => (coverage, true),
            None => {
                facts.say(|| "its use is not measured: requests alone count".to_owned());
                return None;
            }
        };
        facts.compare(|| coverage.to_string(), || format!("{ENOUGH_PERCENT}% of both"));
        facts.say(|| format!("its use is measured for long enough: {coverage}"));
        (!is_enough).then(|| {
            let message = format!(
                "its use is measured, not yet for long enough: {coverage}, {ENOUGH_PERCENT}% of both are needed"
            );
            Kept::new(KeepReason::NotUnderutilized, message)
        })
    }

    fn node_age(&self, on: &Subject<'a>, facts: &mut Facts) -> Option<Kept> {
        let (_, group) = on.group(facts)?;
        let least = group
            .scale_down
            .min_node_age
            .unwrap_or(self.snapshot.settings.min_node_age);
        if !least.is_positive() {
            facts.say(|| "no least age is set".to_owned());
            return None;
        }
        let created = on.node.created_at;
        // An age that nobody knows is not enough.
        let age = created.map_or(SignedDuration::ZERO, |created| self.now.duration_since(created));
        let message = || match created {
            Some(created) => format!("created at {}; it must be {} old", At(created), Span(least)),
            None => format!("nobody knows when it was created; it must be {} old", Span(least)),
        };
        facts.compare(|| Span(age).to_string(), || Span(least).to_string());
        facts.say(message);
        (age < least).then(|| Kept::new(KeepReason::NodeTooYoung, message()))
    }

    fn unneeded_time(&self, on: &Subject<'a>, facts: &mut Facts) -> Option<Kept> {
        let (_, group) = on.group(facts)?;
        let window = group.scale_down.stabilization_window;
        let recorded = on.machine.and_then(|machine| machine.unneeded_since);
        let since = recorded.unwrap_or(self.now);
        let unneeded = self.now.duration_since(since);
        let message = || {
            format!(
                "unneeded since {}; it must have been for longer than {}",
                At(since),
                Span(window)
            )
        };
        facts.compare(|| Span(unneeded).to_string(), || Span(window).to_string());
        facts.say(message);
        (unneeded <= window).then(|| Kept::new(KeepReason::NotUnneededLongEnough, message()))
    }

    fn cooldown(&self, on: &Subject<'a>, facts: &mut Facts) -> Option<Kept> {
        let (_, group) = on.group(facts)?;
        let Some(grown) = group.last_scale_up else {
            facts.say(|| "nobody knows that its group ever grew".to_owned());
            return None;
        };
        let (elapsed, cooldown) = (self.now.duration_since(grown), group.scale_down.cooldown);
        let message = || format!("the group grew at {}, the cooldown is {}", At(grown), Span(cooldown));
        facts.compare(|| Span(elapsed).to_string(), || Span(cooldown).to_string());
        facts.say(message);
        (elapsed < cooldown).then(|| Kept::new(KeepReason::InCooldown, message()))
    }

    /// Of the node itself, then of its group.
    fn recent_failures(&self, on: &Subject<'a>, facts: &mut Facts) -> Option<Kept> {
        let (_, group) = on.group(facts)?;
        facts.say(|| "no removal of it or of a node of its group has failed since the last one succeeded".to_owned());
        let removal = on.machine.and_then(|machine| machine.removal.as_ref());
        let of_node = removal.and_then(|removal| Some((removal.failed_at?, removal.failures)));
        let of_group = group
            .last_scale_down_failure
            .map(|failed| (failed, group.scale_down_failures));
        let first = group
            .scale_down
            .delay_after_failure
            .unwrap_or(self.snapshot.settings.delay_after_failure);
        self.recently_failed(of_node, first, "its removal", facts)
            .or_else(|| self.recently_failed(of_group, first, "the removal of a node of its group", facts))
    }

    /// Whether the delay after the last of so many failures is not over yet.
    fn recently_failed(
        &self,
        failed: Option<(Timestamp, u32)>,
        first: SignedDuration,
        what: &str,
        facts: &mut Facts,
    ) -> Option<Kept> {
        let (at, failures) = failed?;
        let (elapsed, delay) = (self.now.duration_since(at), delay_after_failures(first, failures));
        let message = || format!("{what} failed at {}, the delay is {}", At(at), Span(delay));
        facts.compare(|| Span(elapsed).to_string(), || Span(delay).to_string());
        facts.say(message);
        (elapsed < delay).then(|| Kept::new(KeepReason::RecentlyFailed, message()))
    }
}

// === impl Rule ===

impl<'a> Rule<'a> {
    const fn new(reason: KeepReason, judge: fn(&Rules<'a>, &Subject<'a>, &mut Facts) -> Option<Kept>) -> Self {
        Self {
            reason,
            is_timer: false,
            judge,
        }
    }

    const fn timer(reason: KeepReason, judge: fn(&Rules<'a>, &Subject<'a>, &mut Facts) -> Option<Kept>) -> Self {
        Self {
            is_timer: true,
            ..Self::new(reason, judge)
        }
    }
}

// === impl Subject ===

impl<'a> Subject<'a> {
    /// The group, whose policy a rule asks. Without one there is nothing to ask, and another rule keeps the node.
    fn group(&self, facts: &mut Facts) -> Option<(GroupId, &'a NodeGroup)> {
        if self.group.is_none() {
            facts.say(|| "does not apply: the node belongs to no NodeGroup".to_owned());
        }
        self.group
    }
}

// === impl Health ===

impl Health {
    fn of(snapshot: &Snapshot) -> Self {
        Self {
            unready: snapshot.nodes.iter().filter(|node| !node.is_ready()).count(),
            all: snapshot.nodes.len(),
            ok: snapshot.settings.ok_unready_count,
            percent: snapshot.settings.max_unready_percent,
        }
    }

    /// Whether so much is not Ready that the fault is not with the nodes.
    fn is_sick(self) -> bool {
        let too_many = (self.ok as usize) < self.unready;
        too_many && self.all.saturating_mul(self.percent as usize) < self.unready.saturating_mul(100)
    }

    fn kept(self) -> Kept {
        Kept::new(KeepReason::ClusterUnhealthy, self.text())
    }

    fn text(self) -> String {
        let Self {
            unready,
            all,
            ok,
            percent,
        } = self;
        format!("{unready} of {all} nodes of the cluster are not Ready; more than {ok} and {percent}% are too many")
    }
}

/// The health gate: whether too many nodes of the cluster are not Ready.
pub(super) fn sickness(snapshot: &Snapshot) -> Option<Kept> {
    let health = Health::of(snapshot);
    health.is_sick().then(|| health.kept())
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
