//! One plan after the other: what a plan begins is carried out while others are made, until nothing changes any more.

use proptest::{
    prelude::*,
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};

use super::simulated::{App, Group, Origin, State, World, group_of, name_of};
use crate::{plan::Plan, snapshot::Snapshot};

/// Of so many cases of the other property one is made here, because each takes as many plans.
const SHARE: u32 = 40;

/// Passes within which a cluster that nobody changes comes to rest.
const LIMIT: usize = 400;

#[derive(Clone, Debug)]
struct Case {
    groups: [Group; 2],
    drain_percent: usize,
    /// Group, and whether the node works.
    nodes: Vec<(usize, bool)>,
    apps: [App; 3],
    /// App and node of pods that are there from the beginning.
    pods: Vec<(usize, usize)>,
    /// What happens before which pass.
    events: Vec<(usize, Event)>,
    evictions: usize,
    obedient: bool,
    /// Seconds from pass to pass while something is under way.
    step: i64,
}

/// What nobody decides.
#[derive(Clone, Copy, Debug)]
enum Event {
    /// An app gets another pod.
    Grows(usize),
    Shrinks(usize),
    /// A node stops working.
    Fails(usize),
}

fn cases() -> impl Strategy<Value = Case> {
    let group = || {
        let threshold = prop_oneof![4 => Just(50_i64), 1 => Just(30), 1 => Just(80)];
        let min = prop_oneof![3 => Just(0_usize), 1 => Just(1), 1 => Just(2)];
        let headroom = prop_oneof![6 => Just(0_usize), 1 => Just(1), 1 => Just(2)];
        (min, 3..8_usize, threshold, headroom)
            .prop_map(|(min, max, threshold, headroom)| Group::new(min, max, threshold, headroom))
    };
    let app = || {
        let budget = prop_oneof![3 => Just(None), 2 => Just(Some(1_usize)), 1 => Just(Some(0))];
        let rarely = |weight| prop::bool::weighted(weight);
        (2..13_i64, budget, rarely(0.2), rarely(0.4)).prop_map(|(tenths, may_miss, apart, stateful)| App {
            cpu: tenths * 100,
            may_miss,
            apart,
            stateful,
            replicas: 0,
        })
    };
    let event = prop_oneof![
        6 => (0..3_usize).prop_map(Event::Grows),
        4 => (0..3_usize).prop_map(Event::Shrinks),
        1 => (0..8_usize).prop_map(Event::Fails),
    ];
    (
        [group(), group()],
        prop_oneof![Just(10_usize), Just(50), Just(100)],
        prop::collection::vec((0..2_usize, prop::bool::weighted(0.93)), 1..8),
        [app(), app(), app()],
        prop::collection::vec((0..3_usize, 0..8_usize), 0..14),
        prop::collection::vec((0..40_usize, event), 0..6),
        1..4_usize,
        prop::bool::weighted(0.75),
        prop_oneof![Just(10_i64), Just(20), Just(30)],
    )
        .prop_map(
            |(groups, drain_percent, nodes, apps, pods, events, evictions, obedient, step)| Case {
                groups,
                drain_percent,
                nodes,
                apps,
                pods,
                events,
                evictions,
                obedient,
                step,
            },
        )
}

fn begin(case: &Case) -> World {
    let mut world = World::new(
        &case.groups,
        &case.apps,
        case.drain_percent,
        case.evictions,
        case.obedient,
    );
    for (group, ready) in case.nodes.iter().copied() {
        world.add_node(group, ready);
    }
    let names: Vec<String> = world.nodes.keys().cloned().collect();
    for (app, node) in case.pods.iter().copied() {
        world.apps[app].replicas += 1;
        world.add_pod(app, Some(&names[node % names.len()]));
    }
    world
}

/// 7: nothing goes that is needed, or from a group that grows.
fn nothing_goes_that_is_needed(world: &World, snapshot: &Snapshot, plan: &Plan) {
    if plan.removals.is_empty() {
        return;
    }
    // All of them fit a new node of any group.
    assert_eq!(world.unschedulable().count(), 0, "a node goes while pods wait");
    for removal in &plan.removals {
        let group = group_of(&snapshot.group_name(removal.group));
        let mut members = world.members(group);
        assert!(
            members.all(|(_, node)| !matches!(node.state, State::Coming { .. })),
            "{} goes while a node of its group comes",
            name_of(snapshot, removal.node)
        );
        let bought = plan.creations.iter().any(|creation| creation.group == removal.group);
        assert!(
            !bought,
            "{} goes while its group grows",
            name_of(snapshot, removal.node)
        );
    }
}

/// 11: what is bought is for a minimum, for head-room, or for pods that had no place before.
fn nothing_is_bought_for_nothing(world: &World, snapshot: &Snapshot, plan: &Plan) {
    for creation in plan.creations.iter().filter(|creation| creation.pods.is_empty()) {
        let group = group_of(&snapshot.group_name(creation.group));
        let members = world.members(group);
        let stay = members
            .filter(|(_, node)| !matches!(node.state, State::Leaving(_)))
            .count();
        let Group { min, headroom, .. } = world.groups[group];
        assert!(stay < min || 0 < headroom, "a node is bought for nothing");
    }
}

/// 4 and 11: a pod that was evicted has its place, if nothing else has changed since the removal was planned. So nothing
/// is bought for it either.
fn every_evicted_pod_finds_its_place(world: &World, changed_at: i64) {
    for pod in world.unschedulable() {
        if let Some(origin) = pod.origin.as_ref().filter(|origin| changed_at < origin.planned_at) {
            let Origin { from, to, .. } = origin;
            panic!(
                "{} has no place: it was evicted from {from} and was to have one on {to}",
                pod.name
            );
        }
    }
}

/// What happened to a cluster until it came to rest.
#[derive(Default)]
struct Seen {
    passes: usize,
    removals: usize,
    creations: usize,
    evicted: usize,
}

fn run(case: &Case) -> Seen {
    let mut world = begin(case);
    let mut seen = Seen::default();
    let (mut quiet, mut changed_at) = (0, -1);
    // A pass after quiet ones comes much later, when timers have run out.
    let rest = [601, 601, 3700, 3700];
    while quiet < rest.len() {
        assert!(seen.passes < LIMIT, "no rest after {LIMIT} passes: {world:#?}");
        let last_event = case.events.iter().map(|(pass, _)| *pass + 1).max().unwrap_or(0);
        for (_, event) in case.events.iter().filter(|(pass, _)| *pass == seen.passes) {
            match *event {
                Event::Grows(app) => world.scale(app, true),
                Event::Shrinks(app) => world.scale(app, false),
                Event::Fails(node) => world.fail(node),
            }
            changed_at = world.now;
        }
        // What is pending has its place from now on.
        if world.pods.iter().any(|pod| pod.node.is_none() && pod.origin.is_none()) {
            changed_at = world.now;
        }
        let (snapshot, plan) = world.plan();
        nothing_goes_that_is_needed(&world, &snapshot, &plan);
        nothing_is_bought_for_nothing(&world, &snapshot, &plan);
        // Another place may be one that a later pod needs.
        if world.obedient {
            every_evicted_pod_finds_its_place(&world, changed_at);
        }
        seen.removals += plan.removals.len();
        seen.creations += plan.creations.len();
        seen.evicted += plan.removals.iter().map(|removal| removal.moves.len()).sum::<usize>();
        world.begin(&snapshot, &plan);
        let in_motion = !plan.is_empty() || world.is_in_motion();
        quiet = if in_motion || seen.passes < last_event {
            0
        } else {
            quiet + 1
        };
        let wait = if in_motion {
            case.step
        } else {
            rest[quiet.saturating_sub(1).min(rest.len() - 1)]
        };
        world.pass(wait);
        seen.passes += 1;
    }
    seen
}

#[test]
fn plan_after_plan_the_cluster_comes_to_rest() {
    let cases_to_try: Option<u32> = option_env!("SCALE_DOWN_CASES").and_then(|text| text.parse().ok());
    let config = Config {
        cases: cases_to_try.unwrap_or(super::CASES) / SHARE,
        failure_persistence: None,
        ..Config::default()
    };
    let least = config.cases as usize;
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[11; 32]);
    let mut runner = TestRunner::new_with_rng(config, rng);
    let total = std::cell::RefCell::new(Seen::default());
    runner
        .run(&cases(), |case| {
            let seen = run(&case);
            let mut total = total.borrow_mut();
            total.passes += seen.passes;
            total.removals += seen.removals;
            total.creations += seen.creations;
            total.evicted += seen.evicted;
            Ok(())
        })
        .unwrap();
    let Seen {
        passes,
        removals,
        creations,
        evicted,
    } = total.into_inner();
    println!("{passes} passes, {removals} removals, {creations} creations, {evicted} pods moved");
    assert!(least <= removals, "the cases are too dull: {removals} removals");
    assert!(least / 4 <= creations, "the cases are too dull: {creations} creations");
    assert!(least <= evicted, "the cases are too dull: {evicted} pods moved");
}
