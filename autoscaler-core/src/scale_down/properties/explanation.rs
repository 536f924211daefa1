//! What is explained of a node is what a plan decides by: the same rules, in the same order, with the same words.

use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use super::{
    super::testing::NOW,
    cases::{Case, cases},
};
use crate::{
    drain::must_move,
    explain::node::{NodeExplanation, PodOutcome, explain_nodes},
    plan::{KeepReason, NodeVerdict, Plan},
    planner::{self, Options},
    snapshot::{NodeId, Snapshot},
};

/// How many clusters are made.
const CASES: u32 = 500;

fn judge(snapshot: &Snapshot, plan: &Plan, explained: &NodeExplanation) {
    let report = &plan.nodes[explained.report.node.index()];
    assert_eq!(&explained.report, report);
    let refusal = explained.rules.iter().find(|rule| !rule.passed);
    match report.verdict {
        NodeVerdict::Remove => assert_eq!(refusal, None, "{report:?}"),
        // The rules about the node itself know nothing of the rest of the plan.
        NodeVerdict::Keep { reason, .. } if reason <= KeepReason::RecentlyFailed => {
            let refusal = refusal.map(|rule| (rule.rule, &rule.message));
            assert_eq!(refusal, Some((reason, &report.message)));
        }
        NodeVerdict::Keep { .. } => {
            let rule = refusal.map(|rule| rule.rule);
            assert!(rule.is_none_or(|rule| KeepReason::RecentlyFailed < rule), "{report:?}");
        }
    }
    let pods: Vec<_> = explained.pods.iter().map(|pod| pod.pod).collect();
    assert_eq!(pods, snapshot.pods_on(report.node));
    for pod in &explained.pods {
        let needs_place = must_move(snapshot, pod.pod, plan.now);
        let others = if needs_place { snapshot.nodes.len() - 1 } else { 0 };
        assert_eq!(pod.destinations.len(), others);
        let stays = matches!(pod.outcome, PodOutcome::Block | PodOutcome::Wait);
        assert_eq!(pod.remedy.is_some(), stays);
        assert_eq!(pod.outcome == PodOutcome::Move, needs_place && !stays);
    }
}

/// A pod of the first removal goes where the explanation says that it could go: nothing was moved before.
fn first_moves(plan: &Plan, explained: &[NodeExplanation]) {
    let Some(removal) = plan.removals.first() else { return };
    for step in &removal.moves {
        let of_node = &explained[removal.node.index()].pods;
        let pod = of_node.iter().find(|pod| pod.pod == step.pod).unwrap();
        let to = pod.destinations.iter().find(|answer| answer.node == step.to).unwrap();
        assert_eq!(to.refusal, None, "{removal:?}");
    }
}

#[test]
fn an_explanation_and_a_plan_ask_the_same_rules() {
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[11; 32]);
    let config = Config {
        cases: CASES,
        failure_persistence: None,
        ..Config::default()
    };
    let now = NOW.parse().unwrap();
    let reasons = std::cell::RefCell::new(std::collections::BTreeSet::new());
    let run = |case: Case| {
        let snapshot = case.cluster().snapshot();
        let options = Options {
            ignore_timers: !case.timers,
        };
        let plan = planner::plan(&snapshot, &options, now);
        let nodes: Vec<NodeId> = snapshot.node_ids().collect();
        let explained = explain_nodes(&snapshot, &nodes, &options, now).nodes;
        assert_eq!(explained.len(), plan.nodes.len());
        for node in &explained {
            judge(&snapshot, &plan, node);
            let refusals = node.rules.iter().filter(|rule| !rule.passed);
            reasons.borrow_mut().extend(refusals.map(|rule| rule.rule));
        }
        first_moves(&plan, &explained);
        Ok(())
    };
    TestRunner::new_with_rng(config, rng).run(&cases(), run).unwrap();
    assert!(14 <= reasons.borrow().len(), "the cases are too dull: {reasons:?}");
}
