//! An index that followed a cluster says what one says that is made of the same objects.

mod absurd;
mod cluster;
mod objects;

use std::{collections::BTreeMap, fmt::Write};

use self::{
    cluster::Cluster,
    objects::{NOW, Random, churn, churning_pod, offerings, plain_node},
};
use super::Index;
use crate::{
    document::PlanDocument,
    planner::{Options, plan},
    snapshot::{ClassId, PodId, Snapshot},
    world::World,
};

/// Sequences of changes that every run tries.
const SEQUENCES: u64 = 250;

/// Batches of changes in a sequence; the snapshot is looked at after each.
const BATCHES: usize = 12;

/// What snapshots have to say often enough.
const WORDS: [&str; 19] = [
    "TriggersScaleUp",
    "FitsExisting",
    "Unschedulable\"",
    "\"Remove\"",
    "BlockedByPod",
    "PendingPods",
    "NotEnoughPdb",
    "OwnNode",
    "NodeUnschedulable: ",
    "TaintToleration: ",
    "NodeAffinity: ",
    "NodePorts: ",
    "NodeResourcesFit: ",
    "VolumeRestrictions: ",
    "NodeVolumeLimits: ",
    "VolumeBinding: ",
    "VolumeZone: ",
    "PodTopologySpread: ",
    "InterPodAffinity: ",
];

/// Everything that a snapshot says, without a word about ids and symbols.
fn describe(snapshot: &Snapshot, ignore_timers: bool) -> String {
    let mut text = String::new();
    let mut say = |line: std::fmt::Arguments<'_>| writeln!(text, "{line}").unwrap();
    let decided = plan(snapshot, &Options { ignore_timers }, NOW.parse().unwrap());
    let document = PlanDocument::new(snapshot, &decided);
    say(format_args!("{}", serde_json::to_string_pretty(&document).unwrap()));
    say(format_args!("{:#?}", snapshot.problems));
    let world = World::new(snapshot);
    for id in snapshot.node_ids() {
        let node = snapshot.node(id);
        let names: Vec<_> = snapshot.pods_on(id).iter().map(|pod| snapshot.pod_name(*pod)).collect();
        let view = world.view(id.into());
        let extended = view.used.extended_entries().iter();
        let mut extended: Vec<_> = extended.map(|(name, amount)| (snapshot.text(*name), *amount)).collect();
        extended.sort_unstable();
        say(format_args!(
            "node {}: {names:?}, used {:?} {extended:?}, own {}, group {:?}, machine {:?}, offering {:?}, {:?}",
            snapshot.text(node.name),
            (
                view.used.cpu,
                view.used.memory,
                view.used.ephemeral_storage,
                view.used.pods
            ),
            node.own,
            node.group.map(|group| snapshot.group_name(group)),
            node.machine
                .map(|machine| snapshot.text(snapshot.machine(machine).name)),
            node.offering,
            node.readiness,
        ));
    }
    for machine in &snapshot.machines {
        let node = machine.node.map(|node| snapshot.text(snapshot.node(node).name));
        let group = machine.group.map(|group| snapshot.group_name(group));
        say(format_args!(
            "machine {}: {node:?} {group:?}",
            snapshot.text(machine.name)
        ));
    }
    let mut pods: Vec<PodId> = snapshot.pod_ids().collect();
    pods.sort_by(|one, other| snapshot.compare_pods(*one, *other));
    for id in pods {
        let pod = snapshot.pod(id);
        let name_of = |node: crate::snapshot::NodeId| snapshot.text(snapshot.node(node).name);
        say(format_args!(
            "pod {} {} {} {:?} {:?} {} {:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?}",
            snapshot.pod_name(id),
            pod.uid,
            pod.resource_version,
            pod.phase,
            pod.node.map(name_of),
            snapshot.class_of(pod).priority,
            pod.nominated.map(name_of),
            pod.local_storage.map(|volume| snapshot.text(volume)),
            pod.pod_group.map(|group| snapshot.text(group)),
            pod.controller
                .map(|controller| { (snapshot.text(controller.kind), snapshot.text(controller.name)) }),
            (pod.bound, pod.gated, pod.ready, pod.mirror, pod.own, pod.daemon_set),
            pod.safe_to_evict,
            pod.do_not_disrupt,
            pod.deletion,
            pod.unschedulable,
            (pod.started_at(), pod.created_at()),
        ));
    }
    for id in snapshot.unbound_pods().iter().copied() {
        say(format_args!("{}:", snapshot.pod_name(id)));
        verdicts(snapshot, &world, snapshot.pod(id).class, &mut say);
    }
    for daemon_set in &snapshot.daemon_sets {
        say(format_args!("{}:", snapshot.text(daemon_set.name)));
        verdicts(snapshot, &world, daemon_set.class, &mut say);
    }
    text
}

/// What every node says to a pod of a class.
fn verdicts(snapshot: &Snapshot, world: &World<'_>, class: ClassId, say: &mut dyn FnMut(std::fmt::Arguments<'_>)) {
    for node in snapshot.node_ids() {
        let said = world.misfit(class, node.into());
        let said = said.map(|misfit| format!("{}: {}", misfit.plugin(), misfit.text(&snapshot.symbols)));
        let name = snapshot.text(snapshot.node(node).name);
        say(format_args!("  {name}: {}", said.as_deref().unwrap_or("fits")));
    }
}

fn assert_same(seed: u64, what: &str, expected: &str, found: &str, steps: &[String]) {
    if expected == found {
        return;
    }
    let lines = expected.lines().zip(found.lines());
    let first = lines.clone().position(|(one, other)| one != other).unwrap_or(0);
    let around = |text: &str| -> String {
        let lines = text.lines().skip(first.saturating_sub(3)).take(8);
        lines.map(|line| format!("    {line}\n")).collect()
    };
    panic!(
        "seed {seed}: {what}; to run it alone: INDEX_SEED={seed} cargo test -p autoscaler-core --lib index\nexpected:\n{}found:\n{}after {steps:#?}",
        around(expected),
        around(found)
    );
}

/// The seeds of this run: all, or the one that the environment names.
fn seeds() -> Vec<u64> {
    match option_env!("INDEX_SEED").map(str::parse) {
        Some(Ok(seed)) => vec![seed],
        _ => (0..SEQUENCES).collect(),
    }
}

#[test]
fn an_index_that_followed_a_cluster_says_what_a_new_one_says() {
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    for seed in seeds() {
        let mut random = Random::new(seed);
        let mut cluster = Cluster::default();
        let mut index = Index::new();
        index.set_offerings(offerings(0));
        let mut steps = Vec::new();
        // Some begin with a full cluster.
        if random.chance(75) {
            for _ in 0..random.below(250) {
                cluster.change(&mut random);
            }
            index = Index::from_input(&cluster.objects(&mut random).input());
        }
        for _ in 0..BATCHES {
            for _ in 0..=random.below(8) {
                steps.push(cluster.change_with(&mut random, &mut index));
            }
            let ignore_timers = random.chance(50);
            let objects = cluster.objects(&mut random);
            let expected = describe(&Snapshot::build(&objects.input()), ignore_timers);
            let found = describe(index.snapshot(), ignore_timers);
            assert_same(seed, "the index differs from a new one", &expected, &found, &steps);
            for word in WORDS {
                *seen.entry(word).or_default() += usize::from(found.contains(word));
            }
        }
    }
    // A test of clusters in which nothing happens could not fail.
    println!("snapshots that say each: {seen:?}");
    for (word, snapshots) in seen {
        assert!(
            option_env!("INDEX_SEED").is_some() || 5 <= snapshots,
            "{word}: {snapshots}"
        );
    }
}

#[test]
fn the_order_of_arrival_does_not_show() {
    for seed in seeds().into_iter().step_by(5) {
        let mut random = Random::new(seed);
        let mut cluster = Cluster::default();
        for _ in 0..100 {
            cluster.change(&mut random);
        }
        let expected = describe(&Snapshot::build(&cluster.objects(&mut random).input()), true);
        for _ in 0..2 {
            let mut index = Index::new();
            cluster.put_all(&mut random, &mut index);
            let found = describe(index.snapshot(), true);
            assert_same(seed, "another order of arrival shows", &expected, &found, &[]);
        }
    }
}

#[test]
fn pods_that_come_and_go_leave_nothing_behind() {
    const PODS: usize = 100_000;
    const ALIVE: usize = 500;
    let mut index = Index::new();
    for node in 0..10 {
        index.put_node(&plain_node(&format!("n{node}")));
    }
    let mut most = (0, 0, 0);
    let mut pod = churning_pod(0);
    for number in 0..PODS {
        churn(&mut pod, number);
        index.put_pod(&pod);
        if let Some(old) = number.checked_sub(ALIVE) {
            index.remove_pod("default", &format!("job-{old}"));
        }
        if number % 200 == 0 {
            let snapshot = index.snapshot();
            let rules = snapshot.rules.numbers();
            most = (
                most.0.max(snapshot.symbols.len()),
                most.1.max(snapshot.classes.len()),
                most.2.max(rules),
            );
        }
    }
    assert_eq!(index.snapshot().pods.len(), ALIVE);
    let (symbols, classes, rules) = most;
    assert!(symbols <= 10_000, "{symbols} symbols for {ALIVE} pods");
    assert!(classes <= ALIVE + 200, "{classes} classes for {ALIVE} pods");
    assert!(rules <= 5 * ALIVE, "{rules} numbers for {ALIVE} pods");
    let expected = Snapshot::build(&crate::build::Input {
        nodes: (0..10)
            .map(|node| plain_node(&format!("n{node}")))
            .collect::<Vec<_>>()
            .iter()
            .collect(),
        pods: (PODS - ALIVE..PODS)
            .map(churning_pod)
            .collect::<Vec<_>>()
            .iter()
            .collect(),
        ..crate::build::Input::default()
    });
    assert_eq!(describe(index.snapshot(), true), describe(&expected, true));
}
