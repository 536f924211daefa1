//! Larger clusters: what must hold without knowing the best plan.

use crate::{
    cluster::{Cluster, Node, Rules, Shape},
    manifests::Decision,
    model::Model,
    outcome::{self, placed},
    runner::{self, Broken, Findings},
};

/// How far a search goes before it says nothing.
const MOST_STEPS: u64 = 3_000;

const fn shape(rules: Rules) -> Shape {
    Shape {
        groups: 4,
        nodes: 8,
        classes: 8,
        pods: 60,
        max: 20,
        rules,
    }
}

/// The cluster with one more Ready node that has no pods.
fn with_empty_node(cluster: &Cluster) -> Cluster {
    let mut more = cluster.clone();
    more.nodes.push(Node {
        group: None,
        offering: cluster.nodes.len(),
        zone: Some(cluster.classes.len() % 2),
        pool: None,
        tainted: false,
        ready: true,
        cordoned: false,
        running: Vec::new(),
    });
    more
}

fn look(cluster: &Cluster, rules: Rules) -> Vec<Broken> {
    let model = Model::new(cluster);
    let decision = Decision::of(cluster);
    let mut broken = outcome::judge(&model, &decision, MOST_STEPS);
    if let Some(other) = decision.in_another_order(cluster) {
        broken.push(("the order of objects shows", other));
    }
    if rules < Rules::All {
        let more = with_empty_node(cluster);
        let with_node = Decision::of(&more);
        let (before, after) = (placed(&model, &decision), placed(&Model::new(&more), &with_node));
        if after < before {
            let details = format!(
                "{before:?} pods have a place, and {after:?} with the node: {}",
                with_node.summary()
            );
            broken.push(("an empty node leaves pods without a place", details));
        }
        // Packing is not monotone: what goes to the new node may leave a rest that packs a little worse.
        if rules == Rules::None && before == after && decision.price * 105 < with_node.price * 100 {
            let details = format!("{} without, {}", decision.price, with_node.summary());
            broken.push(("an empty node makes the plan dearer by more than 5 %", details));
        }
    }
    broken
}

fn hold(rules: Rules, count: u64) {
    let shape = shape(rules);
    let mut findings = Findings::default();
    for case in runner::cases(count) {
        findings.add(case, &look(&runner::draw(shape, case), rules));
    }
    println!("{rules:?}: {findings:?}");
    findings.assert_none(shape, |cluster| look(cluster, rules));
}

#[test]
fn large_plans_hold_without_rules_between_pods() {
    hold(Rules::None, 60);
}

#[test]
fn large_plans_hold_with_affinity() {
    hold(Rules::Affinity, 60);
}

#[test]
fn large_plans_hold_with_topology_spread() {
    hold(Rules::All, 60);
}
