//! What the steps of a decision say of one node in the cluster as it stands, as if nothing else was planned.
//!
//! Nothing is judged here: the rules about the node are those of `eligibility`, the steps after them those of the
//! planner. Here they are all asked, also after one that says no, and where each pod could go is listed.

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;

use crate::{
    drain::{self, DrainRule, Drainability},
    explain::node::{DestinationAnswer, PodOnNode, PodOutcome, RuleVerdict},
    fit::Misfit,
    pdb::{self, Charge, Ledger},
    plan::{BlockReason, KeepReason, Why},
    planner::Options,
    scale_up,
    snapshot::{ClassId, NodeId, PodId, Snapshot},
    world::World,
};

use super::{
    Candidate, Demand, Kept, Planner, candidates, destinations,
    eligibility::Rules,
    facts::Facts,
    judge_nodes,
    utilization::{Share, Usage, Usages},
};

/// Judges nodes one by one.
#[derive(Debug)]
pub(crate) struct Alone<'w, 's> {
    snapshot: &'s Snapshot,
    now: Timestamp,
    usages: Usages<'s>,
    rules: Rules<'s>,
    planner: Planner<'w, 's>,
    /// How many more destinations may be listed.
    room: usize,
}

/// What is said of one node.
#[derive(Debug)]
pub(crate) struct Judgement {
    /// Every reason to stay, in the order of a plan.
    pub(crate) rules: Vec<RuleVerdict>,
    /// Every pod of the node, by namespace and name.
    pub(crate) pods: Vec<PodOnNode>,
}

/// The answers of all other nodes to pods of one class.
type Destinations = BTreeMap<ClassId, Arc<[DestinationAnswer]>>;

// === impl Alone ===

impl<'w, 's> Alone<'w, 's> {
    /// The world holds what is bound to nodes. At most `room` destinations are listed in all: a pod has all of its own, or
    /// none.
    pub(crate) fn new(
        world: &'w mut World<'s>,
        demand: &Demand<'s>,
        options: &Options,
        now: Timestamp,
        room: usize,
    ) -> Self {
        let snapshot = world.snapshot();
        let leaving = snapshot.node_ids().filter(|node| snapshot.is_leaving(*node));
        let ledger = Ledger::new(snapshot, leaving, now);
        let usages = Usages::new(snapshot, now);
        let rules = Rules::new(snapshot, demand, options, now);
        // Pods are to go where a plan would put them that has nothing else to do.
        let (states, open) = judge_nodes(snapshot, &rules, &usages);
        let destinations = destinations(snapshot, &states, &candidates(&ledger, &open, now));
        Self {
            snapshot,
            now,
            usages,
            rules,
            planner: Planner::new(world, ledger, destinations, snapshot.pod_ids(), now),
            room,
        }
    }

    /// What is said of a node.
    pub(crate) fn judge(&mut self, node: NodeId) -> Judgement {
        let usage = self.usages.of(node);
        let mut rules = self.rules.explain(node, usage);
        let of_node = self.snapshot.pods_on(node).iter().copied();
        let moving: Vec<_> = of_node
            .filter(|pod| drain::must_move(self.snapshot, *pod, self.now))
            .collect();
        let charge = self.planner.ledger.charge(&moving);

        let mark = self.planner.world.mark();
        self.planner.empty(node);
        let pods = self.pods(node, &charge);
        rules.extend(self.after_the_node(node, usage));
        self.planner.world.rollback(mark);
        Judgement {
            rules: one_for_each_reason(rules),
            pods,
        }
    }

    /// What the planner asks when no rule about the node itself keeps it. The node must be empty in the world.
    fn after_the_node(&mut self, node: NodeId, usage: Option<Usage>) -> Vec<RuleVerdict> {
        let Some(group) = self.snapshot.node(node).group else {
            // Reasons are in the order of the rules.
            let rules = KeepReason::ALL
                .iter()
                .filter(|rule| KeepReason::RecentlyFailed < **rule);
            let message = "does not apply: the node belongs to no NodeGroup";
            return rules.map(|rule| verdict(*rule, None, message)).collect();
        };
        let size = usage.map_or_else(Share::nothing, |usage| usage.larger());
        let planner = &mut self.planner;
        let candidate = Candidate::new(&planner.ledger, node, group, size, self.now);
        let (moves, no_place) = match planner.place(&candidate) {
            Ok(moves) => (Some(moves), None),
            Err(kept) => (None, Some(kept)),
        };
        let places = match candidate.pods.len() {
            0 => "no pod needs another place".to_owned(),
            1 => "1 pod finds another place".to_owned(),
            count => format!("{count} pods find other places"),
        };
        let mut minimum = Facts::wanted();
        let below_minimum = planner.limits.below_minimum(node, group, &mut minimum);
        let mut budget = Facts::wanted();
        let over_budget = planner.limits.over_budget(group, candidate.kind(), &mut budget);
        let headroom = match &moves {
            Some(moves) => verdict(
                KeepReason::Headroom,
                planner.headroom.judge(planner.world, node, moves).err(),
                "every group keeps the head-room that it is to keep",
            ),
            None => verdict(
                KeepReason::Headroom,
                None,
                "does not apply: its pods find no other places",
            ),
        };
        vec![
            verdict(
                KeepReason::MoveTarget,
                planner.target(node),
                "no pods of a removal in progress move to it",
            ),
            verdict(
                KeepReason::BlockedByPod,
                candidate.blocks.clone(),
                "every pod may be evicted",
            ),
            verdict(
                KeepReason::BlockedByOnCompletionPod,
                candidate.waits.clone(),
                "no pod wants to end by itself",
            ),
            verdict(
                KeepReason::BlockedByPod,
                planner.over_disruptions(&candidate),
                "PodDisruptionBudgets let every pod go",
            ),
            verdict(KeepReason::NoPlaceToMovePods, no_place, &places),
            minimum.verdict(KeepReason::NodeGroupMinSizeReached, below_minimum),
            budget.verdict(KeepReason::DisruptionBudgetReached, over_budget),
            headroom,
        ]
    }

    /// Every pod of a node. The node must be empty in the world.
    fn pods(&mut self, node: NodeId, charge: &Charge) -> Vec<PodOnNode> {
        let snapshot = self.snapshot;
        let mut destinations = Destinations::new();
        let mut pods = Vec::new();
        for id in snapshot.pods_on(node).iter().copied() {
            let mut rule = drain::deciding_rule(snapshot, id, self.now);
            let mut message = rule.message(snapshot, id);
            let mut outcome = match rule.drainability() {
                Drainability::Skip => PodOutcome::Skip,
                Drainability::Daemon | Drainability::OkNoPlace => PodOutcome::Ok,
                Drainability::Ok => PodOutcome::Move,
                Drainability::Wait => PodOutcome::Wait,
                Drainability::Block(_) => PodOutcome::Block,
            };
            if outcome == PodOutcome::Move
                && let Some(refusal) = self.planner.ledger.pod_refusal(charge, id)
            {
                rule = DrainRule::Blocks(BlockReason::NotEnoughPdb);
                (outcome, message) = (PodOutcome::Block, refusal.message);
            }
            let must_move = drain::must_move(snapshot, id, self.now);
            let asks_budgets = must_move && pdb::is_charged(snapshot.pod(id));
            let budgets = self.planner.ledger.standings(charge, id);
            let others = if must_move {
                snapshot.nodes.len().saturating_sub(1)
            } else {
                0
            };
            let is_listed = others <= self.room;
            let destinations = if must_move && is_listed {
                self.room -= others;
                self.destinations(&mut destinations, node, id)
            } else {
                Arc::default()
            };
            pods.push(PodOnNode {
                pod: id,
                rule,
                outcome,
                message,
                remedy: rule.remedy(snapshot, id),
                budgets: budgets.filter(|_| asks_budgets).collect(),
                destinations,
                destinations_left_out: if is_listed { 0 } else { others },
            });
        }
        pods
    }

    /// The answer of every other node, shared by pods of one class.
    fn destinations(&self, known: &mut Destinations, victim: NodeId, pod: PodId) -> Arc<[DestinationAnswer]> {
        let (snapshot, world) = (self.snapshot, &*self.planner.world);
        let class = snapshot.pod(pod).class;
        let answer = |node: NodeId| {
            let unusable = scale_up::unusable(snapshot, node);
            let refusal = unusable
                .map(|(reason, message)| Why::Rule(reason, message.into()))
                .or_else(|| self.planner.closed.contains(&node).then(kept_room))
                .or_else(|| world.misfit(class, node.into()).map(Why::Node))
                .or_else(|| {
                    // Whoever cordoned the node wants it to be left alone, also by pods that tolerate it.
                    let is_cordoned = snapshot.node(node).unschedulable;
                    is_cordoned.then_some(Why::Node(Misfit::Unschedulable))
                });
            DestinationAnswer { node, refusal }
        };
        let others = || snapshot.node_ids().filter(|node| *node != victim);
        let answers = known.entry(class).or_insert_with(|| others().map(answer).collect());
        Arc::clone(answers)
    }
}

/// Why no pod goes to a node that is closed.
fn kept_room() -> Why {
    let message = "its room is kept for pods of a removal in progress that are not there yet";
    Why::Rule("NodeResourcesFit", message.into())
}

/// What a rule says that compares no numbers; `otherwise` when it does not say no.
fn verdict(rule: KeepReason, kept: Option<Kept>, otherwise: &str) -> RuleVerdict {
    let mut facts = Facts::wanted();
    facts.say(|| otherwise.to_owned());
    facts.verdict(rule, kept)
}

/// Some reasons have several rules, which a plan asks at different places. Here they count together at the first of them,
/// and those that say no have the word.
fn one_for_each_reason(verdicts: Vec<RuleVerdict>) -> Vec<RuleVerdict> {
    let mut reasons: Vec<RuleVerdict> = Vec::with_capacity(verdicts.len());
    for verdict in verdicts {
        let known = reasons.iter_mut().find(|known| known.rule == verdict.rule);
        match known {
            None => reasons.push(verdict),
            Some(known) if known.passed && !verdict.passed => *known = verdict,
            Some(known) if !known.passed && verdict.passed => {}
            Some(known) if known.message.contains(&verdict.message) => {}
            Some(known) => {
                known.message = format!("{}; {}", known.message, verdict.message);
                known.value = known.value.take().or(verdict.value);
                known.threshold = known.threshold.take().or(verdict.threshold);
            }
        }
    }
    reasons
}
