//! The simulated cluster: what is undone, nodes that come and go, and the order of the plugins.

use std::{fmt::Write, sync::Arc};

use autoscaler_core::{
    snapshot::{ClassId, GroupId, NodeId, PodId},
    template::Template,
    world::{BinId, World},
};
use proptest::prelude::{ProptestConfig, any, prop, proptest};

use super::{AFFINITY, Case, FITS, HOST, SPREAD, ZONE, find, near, port, spread, template, volume};

/// A cluster with every kind of constraint, two groups and a DaemonSet that takes part.
fn busy() -> Case {
    let case = Case::new()
        .zones()
        .datacenter("dc-a", "medium")
        .datacenter("dc-b", "medium")
        .with("apiVersion: apps/v1\nkind: DaemonSet\nmetadata: {name: agent, namespace: default}\nspec: {selector: {matchLabels: {app: agent}}, template: {metadata: {labels: {app: agent}}, spec: {containers: [{name: c, ports: [{containerPort: 1, hostPort: 99}]}]}}}")
        .object("storage.k8s.io/v1", "CSINode", "name: a", "spec: {drivers: [{name: csi, nodeID: x, allocatable: {count: 2}}]}")
        .claim("one", "ReadWriteOncePod", "", "csi: {driver: csi, volumeHandle: h1}")
        .claim("two", "ReadWriteOnce", "", "csi: {driver: csi, volumeHandle: h2}");
    let specs = [
        ("web", spread(ZONE, "")),
        ("web", spread(HOST, "nodeTaintsPolicy: Honor, minDomains: 2")),
        ("db", near("podAntiAffinity", HOST, "web", "")),
        ("cache", near("podAffinity", ZONE, "web", "")),
        ("self", near("podAffinity", HOST, "self", "")),
        ("agent-like", near("podAntiAffinity", HOST, "agent", "")),
        ("port", port(99, "")),
        ("port", port(80, "hostIP: 10.0.0.1")),
        ("vol", volume("one")),
        ("vol", volume("two")),
        ("web", "volumes: [{name: v, gcePersistentDisk: {pdName: d}}]".to_owned()),
        ("web", String::new()),
    ];
    specs.iter().enumerate().fold(case, |case, (index, (app, spec))| {
        let case = case.pod(&format!("n{index}"), "", &format!("app: {app}"), spec);
        if index % 2 == 0 {
            case.pod(
                &format!("o{index}"),
                ["a", "b", "c"][index % 3],
                &format!("app: {app}"),
                spec,
            )
        } else {
            case
        }
    })
}

/// What every class hears of every node.
fn all_verdicts(world: &World<'_>, bins: &[BinId]) -> String {
    let snapshot = world.snapshot();
    let mut text = String::new();
    for class in (0..snapshot.classes.len()).map(|index| ClassId(u32::try_from(index).unwrap())) {
        for bin in bins {
            let misfit = world.misfit(class, *bin);
            let said = misfit.as_ref().map(|misfit| misfit.text(&snapshot.symbols).to_string());
            writeln!(text, "{class:?} {bin:?} {said:?} {:?}", world.view(*bin).used).unwrap();
        }
    }
    text
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Place(ClassId, BinId),
    Unplace(ClassId, BinId),
    Add(usize),
    Domains(usize),
    Ghost(BinId),
    Remove(BinId),
}

fn apply(world: &mut World<'_>, templates: &[Arc<Template>], step: Step) -> Option<BinId> {
    match step {
        Step::Place(class, bin) => world.place(class, bin),
        Step::Unplace(class, bin) => world.unplace(class, bin),
        Step::Add(index) => return Some(world.add(&templates[index])),
        Step::Domains(index) => world.add_possible_domains(&[&templates[index]]),
        Step::Ghost(bin) => world.make_ghost(bin),
        Step::Remove(bin) => world.remove(bin),
    }
    None
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]
    #[test]
    fn what_is_undone_leaves_the_world_as_it_was(
        choices in prop::collection::vec((0u8..24, any::<u16>(), any::<u16>()), 1..60),
        cut in any::<u16>(),
    ) {
        let snapshot = busy().snapshot();
        let templates = [template(&snapshot, 0), template(&snapshot, 1)];
        let mut world = World::new(&snapshot);
        let mut bins: Vec<BinId> = snapshot.node_ids().map(BinId::from).collect();
        let mut open = bins.clone();
        let mut placed: Vec<(ClassId, BinId)> = Vec::new();
        let mut steps = Vec::new();
        for (kind, one, other) in choices {
            let class = ClassId(u32::from(one) % u32::try_from(snapshot.classes.len()).unwrap());
            let empty = |bin: &BinId| bin.node(&snapshot).is_none() && placed.iter().all(|(_, at)| at != bin);
            let victim = open.iter().copied().find(empty);
            let step = match (kind, victim) {
                (0..4, _) => Step::Add(usize::from(one) % 2),
                (4..6, _) => Step::Domains(usize::from(one) % 2),
                (6, Some(bin)) => Step::Ghost(bin),
                (7, Some(bin)) => Step::Remove(bin),
                (8..12, _) if !placed.is_empty() => {
                    let (class, bin) = placed.swap_remove(usize::from(one) % placed.len());
                    Step::Unplace(class, bin)
                }
                _ => Step::Place(class, open[usize::from(other) % open.len()]),
            };
            match step {
                Step::Place(class, bin) => placed.push((class, bin)),
                Step::Ghost(bin) | Step::Remove(bin) => open.retain(|other| *other != bin),
                _ => {}
            }
            if let Some(bin) = apply(&mut world, &templates, step) {
                bins.push(bin);
                open.push(bin);
            }
            steps.push(step);
        }
        // Everything up to the cut, made anew, is what a rollback to the cut has to give.
        let cut = usize::from(cut) % (steps.len() + 1);
        let mut again = World::new(&snapshot);
        let mut kept: Vec<BinId> = snapshot.node_ids().map(BinId::from).collect();
        for step in &steps[..cut] {
            kept.extend(apply(&mut again, &templates, *step));
        }
        let expected = all_verdicts(&again, &kept);
        let mark = again.mark();
        for step in &steps[cut..] {
            apply(&mut again, &templates, *step);
        }
        assert_eq!(all_verdicts(&again, &bins), all_verdicts(&world, &bins));
        again.rollback(mark);
        assert_eq!(all_verdicts(&again, &kept), expected);
    }

    #[test]
    fn pods_placed_one_by_one_count_like_pods_that_were_there(order in any::<u64>()) {
        let snapshot = busy().snapshot();
        let built = World::new(&snapshot);
        let mut world = World::new(&snapshot);
        let bins: Vec<BinId> = snapshot.node_ids().map(BinId::from).collect();
        let mut bound: Vec<PodId> = snapshot.pod_ids().filter(|id| snapshot.pod(*id).node.is_some()).collect();
        let turn = usize::try_from(order % 97).unwrap() % bound.len();
        bound.rotate_left(turn);
        for id in &bound {
            let pod = snapshot.pod(*id);
            world.unplace(pod.class, pod.node.unwrap().into());
        }
        for id in bound.iter().rev() {
            let pod = snapshot.pod(*id);
            world.place(pod.class, pod.node.unwrap().into());
        }
        assert_eq!(all_verdicts(&world, &bins), all_verdicts(&built, &bins));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]
    #[test]
    fn what_is_planned_keeps_every_constraint(workloads in prop::collection::vec((0usize..7, 1usize..6, 0usize..3), 1..6)) {
        let case = Case::new().zones().datacenter("dc-a", "small, medium").datacenter("dc-b", "small, medium");
        let case = workloads.iter().enumerate().fold(case, |case, (index, (kind, count, size))| {
            let app = ["x", "y", "web"][index % 3];
            let rule = [
                spread(ZONE, "").replace("web", app),
                spread(HOST, "").replace("web", app),
                near("podAntiAffinity", HOST, app, ""),
                near("podAntiAffinity", ZONE, app, ""),
                near("podAffinity", ZONE, app, ""),
                near("podAffinity", HOST, "web", ""),
                "tolerations: []".to_owned(),
            ][*kind].clone();
            let cpu = ["300m", "900m", "3"][*size];
            let spec = format!("{rule}, containers: [{{name: c, resources: {{requests: {{cpu: \"{cpu}\"}}}}}}]");
            (0..*count).fold(case, |case, pod| case.pod(&format!("w{index}-{pod}"), "", &format!("app: {app}"), &spec))
        });
        // Checks the plan by another way of placing its pods.
        let plan = case.plan();
        assert_eq!(plan.pods.len(), workloads.iter().map(|(_, count, _)| count).sum::<usize>());
    }
}

#[test]
fn a_ghost_takes_no_pods_and_is_still_a_domain() {
    let case = |more: &str| {
        Case::new()
            .zones()
            .pod("w0", "a", "app: web", "")
            .pod("w1", "b", "app: web", "")
            .pod("new", "", "app: web", &spread(ZONE, more))
    };
    let verdicts = |more: &str, act: &dyn Fn(&mut World<'_>, BinId)| {
        let snapshot = case(more).snapshot();
        let mut world = World::new(&snapshot);
        let (before, class) = (world.mark(), find(&snapshot, "new").class);
        let said = |world: &World<'_>| {
            snapshot
                .node_ids()
                .map(|node| world.misfit(class, node.into()).map_or(FITS, |misfit| misfit.plugin()))
                .collect::<Vec<_>>()
        };
        let fresh = said(&world);
        act(&mut world, NodeId(2).into());
        let after = said(&world);
        world.rollback(before);
        assert_eq!(said(&world), fresh);
        after
    };
    assert_eq!(
        verdicts("", &|world, bin| world.make_ghost(bin)),
        [SPREAD, SPREAD, "NodeUnschedulable"]
    );
    assert_eq!(
        verdicts("nodeTaintsPolicy: Honor", &|world, bin| world.make_ghost(bin)),
        [FITS, FITS, "NodeUnschedulable"]
    );
    assert_eq!(
        verdicts("", &|world, bin| world.remove(bin)),
        [FITS, FITS, "NodeUnschedulable"]
    );
}

#[test]
fn every_new_node_is_a_host_of_its_own() {
    let case = Case::new().zones().group("a", 0, 9, "small", &[]).pod(
        "new",
        "",
        "app: web",
        &near("podAntiAffinity", HOST, "web", ""),
    );
    let snapshot = case.snapshot();
    let class = find(&snapshot, "new").class;
    let template = template(&snapshot, 0);
    let mut world = World::new(&snapshot);
    let (one, two) = (world.add(&template), world.add(&template));
    world.place(class, one);
    assert_eq!(world.misfit(class, one).unwrap().plugin(), AFFINITY);
    assert_eq!(world.misfit(class, two), None);
}

#[test]
fn a_starting_node_is_the_host_that_its_node_is() {
    let case = Case::new()
        .zones()
        .group("a", 0, 9, "small", &[])
        .pod("old", "b", "app: web", &port(80, ""))
        .pod("new", "", "app: web", &near("podAntiAffinity", HOST, "web", ""))
        .pod("port", "", "", &port(80, ""));
    let snapshot = case.snapshot();
    let template = template(&snapshot, 0);
    let mut world = World::new(&snapshot);
    let bin = world.add_with(&template, Some(NodeId(1)));
    assert_eq!(
        world.misfit(find(&snapshot, "new").class, bin).unwrap().plugin(),
        AFFINITY
    );
    assert_eq!(
        world.misfit(find(&snapshot, "port").class, bin).unwrap().plugin(),
        "NodePorts"
    );
}

#[test]
fn possible_domains_count_until_they_are_taken_back() {
    let case = Case::new().zones().datacenter("dc-x", "medium");
    let case = ["a", "b", "c"]
        .iter()
        .fold(case, |case, zone| case.pod(&format!("w-{zone}"), zone, "app: web", ""));
    let snapshot = case.pod("new", "", "app: web", &spread(ZONE, "")).snapshot();
    let class = find(&snapshot, "new").class;
    let mut world = World::new(&snapshot);
    assert_eq!(world.misfit(class, NodeId(0).into()), None);
    let mark = world.mark();
    world.add_possible_domains(&[&Template::new(&snapshot, GroupId(0), &snapshot.offerings[1])]);
    assert_eq!(world.misfit(class, NodeId(0).into()).unwrap().plugin(), SPREAD);
    world.rollback(mark);
    assert_eq!(world.misfit(class, NodeId(0).into()), None);
}

#[test]
fn plugins_answer_in_the_order_of_the_scheduler() {
    let everything = format!(
        "containers: [{{name: c, resources: {{requests: {{cpu: CPU}}}}, ports: [{{containerPort: 80, hostPort: PORT}}]}}], {}, {}, {}",
        volume("CLAIM"),
        spread(ZONE, ""),
        near("podAntiAffinity", ZONE, "web", "")
    );
    let say = |cpu: &str, host_port: &str, claim: &str, old: &str| {
        let spec = everything
            .replace("CPU", cpu)
            .replace("PORT", host_port)
            .replace("CLAIM", claim);
        Case::new()
            .zones()
            .claim("once", "ReadWriteOncePod", "", "")
            .claim("far", "ReadWriteOnce", &format!("{ZONE}: b"), &format!("nodeAffinity: {{required: {{nodeSelectorTerms: [{{matchExpressions: [{{key: {ZONE}, operator: In, values: [b]}}]}}]}}}}"))
            .claim("zone", "ReadWriteOnce", &format!("{ZONE}: b"), "")
            .claim("fine", "ReadWriteOnce", "", "")
            .pod("old", "a", old, &format!("{}, {}", port(80, ""), volume("once")))
            .pod("new", "", "app: web", &spec)
            .verdicts("new")[0]
            .clone()
    };
    assert_eq!(say("64", "80", "once", "app: web"), "NodePorts");
    assert_eq!(say("64", "81", "once", "app: web"), "NodeResourcesFit");
    assert_eq!(say("1", "81", "once", "app: web"), "VolumeRestrictions");
    assert_eq!(say("1", "81", "far", "app: web"), "VolumeBinding");
    assert_eq!(say("1", "81", "zone", "app: web"), "VolumeZone");
    assert_eq!(say("1", "81", "fine", "app: web"), SPREAD);
    assert_eq!(say("1", "81", "fine", "app: other"), FITS);
}
