//! Defects and incidents of the Go autoscaler's removals, by bug number or by the commit that mended them.

use std::collections::BTreeMap;

use autoscaler_core::provider::InstanceState;
use autoscaler_scaler::{
    actuate::Fact,
    api::{NodeGroup, Phase, VPSieNode},
};
use k8s_openapi::api::{apps::v1::Deployment, policy::v1::PodDisruptionBudget};
use kube::{Api, ResourceExt as _, api::DeleteParams};
use serde_json::json;

use crate::world::World;

async fn add_group(world: &World, name: &str) {
    let _group: NodeGroup = world
        .create(json!({
            "apiVersion": "autoscaler.vpsie.com/v1alpha1", "kind": "NodeGroup",
            "metadata": { "name": name, "labels": { "autoscaler.vpsie.com/managed": "true" } },
            "spec": {
                "minNodes": 0, "maxNodes": 5, "datacenterID": "dc1", "resourceIdentifier": "k8s-1", "project": "p",
                "offeringIDs": ["small"], "kubernetesVersion": "v1.34.1",
            },
        }))
        .await;
}

/// The VPSieNodes of a group by name, with their phases.
async fn phases(world: &World, group: &str) -> BTreeMap<String, Phase> {
    let machines = world.machines().await.into_iter();
    let of_group = machines.filter(|machine| machine.spec.node_group_name == group);
    of_group.map(|machine| (machine.name_any(), machine.phase())).collect()
}

/// A Ready node of a group, with a pod of a Deployment on it that stays apart from others of its kind.
async fn busy_node(world: &mut World, group: &str) -> String {
    world.begin_creations_of(group, 1).await;
    world.tick().await;
    world.boot().await;
    let name = wait_for(world, group, Phase::Ready).await;
    let _deployment: Deployment = world
        .create(json!({
            "metadata": { "name": group },
            "spec": {
                "replicas": 1,
                "selector": { "matchLabels": { "of": group } },
                "template": {
                    "metadata": { "labels": { "of": group, "tier": "held" } },
                    "spec": {
                        "affinity": { "podAntiAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": [{
                            "topologyKey": "kubernetes.io/hostname",
                            "labelSelector": { "matchLabels": { "tier": "held" } },
                        }] } },
                        "tolerations": [{ "key": "dedicated", "operator": "Exists" }],
                        "containers": [{ "name": "c", "image": "i" }],
                    },
                },
            },
        }))
        .await;
    world.pass(3).await;
    name
}

/// Ticks until a VPSieNode of a group is in this phase: its name.
async fn wait_for(world: &mut World, group: &str, phase: Phase) -> String {
    for _ in 0..2000 {
        let found = phases(world, group).await.into_iter().find(|(_, is)| *is == phase);
        if let Some((name, _)) = found {
            return name;
        }
        world.tick().await;
    }
    panic!("no VPSieNode of {group} became {phase:?}: {:#?}", world.problems);
}

/// How many pods were evicted from each node.
fn evictions(world: &World) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for fact in &world.facts {
        if let Fact::PodEvicted { node, .. } = fact {
            *counts.entry(node.clone()).or_default() += 1;
        }
    }
    counts
}

#[tokio::test(start_paused = true)]
async fn b7_drains_that_wait_hold_up_neither_each_other_nor_a_scale_up() {
    let mut world = World::new(json!({})).await;
    for group in ["h", "i"] {
        add_group(&world, group).await;
    }
    let (first, second) = (busy_node(&mut world, "g").await, busy_node(&mut world, "h").await);
    let _budget: PodDisruptionBudget = world
        .create(json!({
            "metadata": { "name": "held" },
            "spec": { "minAvailable": 2, "selector": { "matchLabels": { "tier": "held" } } },
        }))
        .await;
    world.foreign_node("other").await;
    world.pass(2).await;
    world.begin_removal(&first, "other").await;
    world.begin_removal(&second, "other").await;
    world.pass(5).await;
    assert!(world.is_cordoned(&first).await && world.is_cordoned(&second).await);

    // Both wait for the budget. The order for a node of the third group leaves with the next tick, and the node joins.
    let orders = world.cloud.lock().creates.len();
    world.begin_creations_of("i", 1).await;
    world.tick().await;
    assert_eq!(world.cloud.lock().creates.len(), orders + 1);
    world.boot().await;
    wait_for(&mut world, "i", Phase::Ready).await;
    for (group, node) in [("g", &first), ("h", &second)] {
        assert_eq!(phases(&world, group).await[node], Phase::Terminating);
    }
    assert_eq!(evictions(&world), BTreeMap::new());

    let budgets: Api<PodDisruptionBudget> = world.api();
    budgets.delete("held", &DeleteParams::default()).await.unwrap();
    wait_for(&mut world, "g", Phase::Deleting).await;
    wait_for(&mut world, "h", Phase::Deleting).await;
    // One drain of each node, not two.
    let once: BTreeMap<String, usize> = [(first, 1), (second, 1)].into();
    assert_eq!(evictions(&world), once);
}

#[tokio::test(start_paused = true)]
async fn b14_a_removal_that_failed_leaves_the_size_of_its_group_alone() {
    let mut world = World::new(json!({ "scaleDownPolicy": { "drainTimeoutSeconds": 10 } })).await;
    let node = world.hanging_drain().await;
    let sizes = |group: NodeGroup| {
        let status = group.status.unwrap();
        (status.desired_nodes, status.current_nodes, status.ready_nodes)
    };
    world.pass(30).await;
    assert_eq!(phases(&world, "g").await[&node], Phase::Ready);
    assert_eq!(sizes(world.group().await), (1, 1, 1));
    // Nor does the group forget when it grew: its cooldown is that of before.
    let grown = world.group().await.status.unwrap().last_scale_up_time;
    world.restart();
    world.pass(30).await;
    assert!(grown.is_some());
    assert_eq!(world.group().await.status.unwrap().last_scale_up_time, grown);
    assert_eq!(sizes(world.group().await), (1, 1, 1));
}

#[tokio::test(start_paused = true)]
async fn incident_2cb8f18_a_drain_goes_on_where_the_operator_was_stopped() {
    let mut world = World::new(json!({})).await;
    let node = world.hanging_drain().await;
    let started = world.machine().await.status.unwrap().removal.unwrap().started_at;
    for _ in 0..3 {
        world.restart();
        world.pass(20).await;
        assert!(world.is_cordoned(&node).await, "neither given up nor forgotten");
    }
    let budgets: Api<PodDisruptionBudget> = world.api();
    budgets.delete("web", &DeleteParams::default()).await.unwrap();
    world.restart();
    let machine = world.until(Phase::Deleting).await;
    let removal = machine.status.unwrap().removal.unwrap();
    assert_eq!(
        (removal.started_at, removal.failures),
        (started, None),
        "the same removal"
    );
    assert_eq!(evictions(&world), [(node, 1)].into());
}

#[tokio::test(start_paused = true)]
async fn incident_b1fd0f6_e5a9803_a_node_goes_with_its_vm_whatever_they_are_called() {
    let mut world = World::new(json!({})).await;
    world.begin_creations(1).await;
    world.tick().await;
    // The provider calls the VM otherwise, in capitals, and the kubelet takes its name from there.
    world.cloud.lock().vms[0].hostname = "WORKER-7".to_owned();
    let [mut vm] = world
        .cloud
        .turn(InstanceState::Provisioning, InstanceState::Running)
        .try_into()
        .unwrap();
    vm.hostname = "worker-7".to_owned();
    world.join(&vm).await;
    let machine = world.until(Phase::Ready).await;
    assert_ne!(machine.name_any(), "worker-7");
    assert_eq!(machine.status.unwrap().node_name.as_deref(), Some("worker-7"));

    world.foreign_node("other").await;
    world.pass(2).await;
    world.begin_removal("worker-7", "other").await;
    world.until(Phase::Deleting).await;
    assert_eq!(world.cloud.lock().deletes, [vm.id]);
    world.kubelets.leave("worker-7").await;
    world.cloud.finish_deletions();
    world.pass(60).await;
    assert!(world.machines().await.is_empty(), "{:#?}", world.problems);
    assert!(world.nodes().get_opt("worker-7").await.unwrap().is_none());
    assert!(world.nodes().get_opt("other").await.unwrap().is_some());
}

#[tokio::test(start_paused = true)]
async fn incident_1d39ffd_a_vm_that_is_gone_already_holds_nothing_up() {
    let mut world = World::new(json!({})).await;
    let node = world.hanging_drain().await;
    // Somebody deletes the VM at the provider, under the drain, and no order of ours was ever taken.
    world.cloud.lock().vms.clear();
    world.kubelets.fail(&node).await.unwrap();
    world.restart();
    world.pass(200).await;
    let machines: Vec<VPSieNode> = world.machines().await;
    assert!(machines.is_empty(), "{machines:#?} {:#?}", world.problems);
    assert!(world.nodes().get_opt(&node).await.unwrap().is_none());
    assert_eq!(world.cloud.lock().deletes, []);
}
