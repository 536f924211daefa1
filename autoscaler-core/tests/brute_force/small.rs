//! Small clusters, against the best that can be done at all.

use crate::{
    cluster::{Cluster, Rules, Shape},
    manifests::Decision,
    model::Model,
    outcome,
    runner::{self, Broken, Findings},
    search,
};

/// How far the search goes before a case is left undecided.
const MOST_STEPS: u64 = 400_000;

/// All pods could have a place, with those on existing nodes as the plan has them.
const NEW_NODES: &str = "pods are left that new nodes could take";

/// All pods could have a place, if others of them were on the existing nodes.
const EXISTING_NODES: &str = "pods are left that could be placed if the existing nodes were filled otherwise";

/// What was seen of one case.
struct Seen {
    broken: Vec<Broken>,
    /// Whether the search came to an end.
    decided: bool,
    /// Whether all pods can be placed.
    complete: bool,
    /// Price of the plan and the best price for the same pods.
    prices: Option<(i64, i64)>,
    /// Price of the plan and the best price for the same pods on new nodes.
    prices_of_new: Option<(i64, i64)>,
}

/// Prices in parts of the best price.
#[derive(Default)]
struct Ratios {
    /// In ten thousandths, with the case.
    ratios: Vec<(i64, u64)>,
    /// Cases in which something is bought and nothing need be.
    needless: Vec<u64>,
}

const fn shape(rules: Rules) -> Shape {
    Shape {
        groups: 3,
        nodes: 3,
        classes: 3,
        pods: 7,
        max: 4,
        rules,
    }
}

fn look(cluster: &Cluster) -> Seen {
    let model = Model::new(cluster);
    let decision = Decision::of(cluster);
    let mut seen = Seen {
        broken: outcome::judge(&model, &decision, MOST_STEPS),
        decided: false,
        complete: false,
        prices: None,
        prices_of_new: None,
    };
    if let Some(other) = decision.in_another_order(cluster) {
        seen.broken.push(("the order of objects shows", other));
    }
    let of_plan = outcome::with_pods_of(&model, &decision);
    let mut compare = |model: &Model| {
        let best = search::optimum(model, MOST_STEPS)?;
        if !best.complete || decision.price < best.price {
            let details = format!("it knows nothing better than {best:?}");
            seen.broken.push(("the search is wrong", details));
        }
        Some((decision.price, best.price))
    };
    seen.prices = compare(&of_plan);
    seen.prices_of_new = compare(&outcome::with_existing_filled(&of_plan, &decision));
    if let Some(best) = search::optimum(&model, MOST_STEPS) {
        (seen.decided, seen.complete) = (true, best.complete);
        if best.complete && !decision.left.is_empty() {
            let rest = outcome::with_existing_filled(&model, &decision);
            let on_new = search::optimum(&rest, MOST_STEPS).filter(|best| best.complete);
            let rule = if on_new.is_some() { NEW_NODES } else { EXISTING_NODES };
            let details = format!(
                "left: {:?}, and this is possible: {:?}",
                decision.left,
                on_new.unwrap_or(best)
            );
            seen.broken.push((rule, details));
        }
    }
    seen
}

/// Plans for random clusters, and compares.
///
/// Existing nodes are filled by priority and size, as the scheduler would fill them without asking the planner. So what
/// must hold of every plan is that new nodes are used as well as can be, given who is on the existing ones; what a better
/// filling of these would give is counted, and limited.
fn compare(rules: Rules, count: u64) {
    let shape = shape(rules);
    let mut findings = Findings::default();
    let (mut ratios, mut of_new) = (Ratios::default(), Ratios::default());
    let (mut undecided, mut complete, mut misplaced) = (0, 0, Vec::new());
    let cases = runner::cases(count);
    let count = cases.len();
    for case in cases.iter().copied() {
        let mut seen = look(&runner::draw(shape, case));
        let broken = seen.broken.len();
        seen.broken.retain(|(rule, _)| *rule != EXISTING_NODES);
        if seen.broken.len() < broken {
            misplaced.push(case);
        }
        findings.add(case, &seen.broken);
        undecided += usize::from(!seen.decided);
        complete += usize::from(seen.complete);
        ratios.add(case, seen.prices);
        of_new.add(case, seen.prices_of_new);
    }
    println!(
        "{rules:?}: {count} cases, {complete} where all pods can be placed, {undecided} undecided\n  price: {}\n  price of \
         new nodes: {}\n  {EXISTING_NODES}: {misplaced:?}",
        ratios.summary(),
        of_new.summary(),
    );
    if let [case] = cases[..] {
        let best = search::optimum(&Model::new(&runner::draw(shape, case)), MOST_STEPS);
        println!("{}\n{best:?}", runner::show(shape, case));
        return findings.assert_none(shape, |cluster| look(cluster).broken);
    }
    findings.assert_none(shape, |cluster| look(cluster).broken);
    for mean in [ratios.mean(), of_new.mean()] {
        assert!(mean <= 10_500, "5 % above the best price on the mean are allowed");
    }
    assert!(misplaced.len() * 20 <= complete, "{EXISTING_NODES}: {misplaced:?}");
    assert!(
        undecided * 50 <= count,
        "the search gives up too often to show anything"
    );
    assert!(count <= complete * 2, "the cases are too hard to show anything");
}

// === impl Ratios ===

impl Ratios {
    fn add(&mut self, case: u64, prices: Option<(i64, i64)>) {
        match prices {
            Some((0, 0)) | None => {}
            Some((_, 0)) => self.needless.push(case),
            Some((price, best)) => self.ratios.push((price * 10_000 / best, case)),
        }
        self.ratios.sort_unstable();
    }

    fn mean(&self) -> i64 {
        let sum: i64 = self.ratios.iter().map(|(ratio, _)| ratio).sum();
        sum / i64::try_from(self.ratios.len().max(1)).unwrap()
    }

    fn summary(&self) -> String {
        let Self { ratios, needless } = self;
        let p95 = ratios.get(ratios.len() * 95 / 100).map_or(0, |(ratio, _)| *ratio);
        let worst: Vec<_> = ratios.iter().rev().take(5).collect();
        format!(
            "{} cases, mean {}, 95th percentile {p95}, worst {worst:?} (ten thousandths of the best price, and the seed); \
             bought without need: {needless:?}",
            ratios.len(),
            self.mean(),
        )
    }
}

#[test]
fn plans_are_as_good_as_an_exhaustive_search_without_rules_between_pods() {
    compare(Rules::None, 350);
}

#[test]
fn plans_are_as_good_as_an_exhaustive_search_with_ports_and_anti_affinity() {
    compare(Rules::Unordered, 350);
}

#[test]
fn plans_are_as_good_as_an_exhaustive_search_with_affinity() {
    compare(Rules::Affinity, 350);
}

#[test]
fn plans_are_as_good_as_an_exhaustive_search_with_topology_spread() {
    compare(Rules::All, 350);
}
