//! Draws clusters from a seed, looks for those that break a rule, and makes them small.
//!
//! Every case has its own seed, so that a failure names what to run again: `BRUTE_FORCE_SEED=N` runs the one case, and
//! `BRUTE_FORCE_CASES=N` changes how many there are.

use std::{collections::BTreeMap, fmt::Write};

use proptest::{
    strategy::{Strategy, ValueTree},
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};

use crate::{
    cluster::{Cluster, Shape, clusters},
    manifests::{Decision, dump},
};

/// How many times a failing cluster is changed to make it smaller.
const MOST_CHANGES: usize = 600;

/// How many failing clusters of a rule are shown.
const SHOWN: usize = 3;

/// A rule that was broken, in one word or few, and the details.
pub(crate) type Broken = (&'static str, String);

/// Cases that break a rule, by rule.
#[derive(Clone, Debug, Default)]
pub(crate) struct Findings(BTreeMap<&'static str, Vec<u64>>);

/// The numbers of the cases to run.
pub(crate) fn cases(count: u64) -> Vec<u64> {
    match (number("BRUTE_FORCE_SEED"), number("BRUTE_FORCE_CASES")) {
        (Some(seed), _) => vec![seed],
        (None, count_of_user) => (0..count_of_user.unwrap_or(count)).collect(),
    }
}

/// The cluster of a case.
pub(crate) fn draw(shape: Shape, case: u64) -> Cluster {
    tree(shape, case).current()
}

/// A smaller cluster that breaks the same rule, as a text to read and to run again.
fn minimal(shape: Shape, case: u64, rule: &'static str, judge: impl Fn(&Cluster) -> Vec<Broken>) -> String {
    let mut tree = tree(shape, case);
    let breaks = |cluster: &Cluster| judge(cluster).into_iter().find(|(broken, _)| *broken == rule);
    let mut smallest = (tree.current(), breaks(&tree.current()));
    let mut go_on = tree.simplify();
    for _ in 0..MOST_CHANGES {
        if !go_on {
            break;
        }
        let current = tree.current();
        let broken = breaks(&current);
        go_on = if broken.is_some() {
            smallest = (current, broken);
            tree.simplify()
        } else {
            tree.complicate()
        };
    }
    let (cluster, broken) = smallest;
    let details = broken.map(|(_, details)| details).unwrap_or_default();
    format!(
        "{rule}: run again with BRUTE_FORCE_SEED={case}\n{details}\n{}",
        text(&cluster)
    )
}

/// The cluster of a case and its plan, to read and to run again.
pub(crate) fn show(shape: Shape, case: u64) -> String {
    text(&draw(shape, case))
}

fn text(cluster: &Cluster) -> String {
    let plan = Decision::of(cluster).summary();
    format!("{cluster:?}\n{}\nplan: {plan}\n", dump(cluster))
}

// === impl Findings ===

impl Findings {
    pub(crate) fn add(&mut self, case: u64, broken: &[Broken]) {
        for (rule, _) in broken {
            let cases = self.0.entry(rule).or_default();
            if cases.last() != Some(&case) {
                cases.push(case);
            }
        }
    }

    /// Panics with a small cluster for every rule that is broken.
    pub(crate) fn assert_none(&self, shape: Shape, judge: impl Fn(&Cluster) -> Vec<Broken>) {
        let mut text = String::new();
        for (rule, cases) in &self.0 {
            let _ = writeln!(text, "{rule}: cases {cases:?}");
            for case in cases.iter().take(SHOWN) {
                text.push_str(&minimal(shape, *case, rule, &judge));
            }
        }
        assert!(self.0.is_empty(), "{text}");
    }
}

fn tree(shape: Shape, case: u64) -> impl ValueTree<Value = Cluster> {
    let mut seed = [0; 32];
    seed[..8].copy_from_slice(&case.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &seed);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    clusters(shape).new_tree(&mut runner).unwrap()
}

#[expect(
    clippy::disallowed_methods,
    reason = "a test is told by its environment what to run again"
)]
fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}
