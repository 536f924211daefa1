//! The taint of nodes that nothing needs.

use autoscaler_core::planner::{Options, plan};
use autoscaler_scaler::{
    api::{NodeGroup, VPSieNode},
    embedded::{ApiError, Verb},
    index::Reading,
};
use k8s_openapi::api::core::v1::{Pod, Taint};
use kube::{
    Api, ResourceExt as _,
    api::{Patch, PatchParams},
};
use serde_json::json;

use crate::world::World;

const TAINT: &str = "autoscaler.vpsie.com/deletion-candidate:PreferNoSchedule";

/// A decision is made, and its candidates are marked. Returns how many Nodes were written.
async fn decide(world: &World) -> Result<u64, kube::Error> {
    let Reading { cluster, snapshot } = world.index.reading().unwrap();
    let plan = plan(&snapshot, &Options::default(), world.cluster.now());
    world.cluster.faults().reset_requests();
    world.actuator.mark_candidates(&cluster, &snapshot, &plan).await?;
    Ok(world.cluster.faults().count(Verb::Patch, "nodes"))
}

async fn taints(world: &World, node: &str) -> Vec<String> {
    let taints = world.node(node).await.spec.unwrap().taints.unwrap_or_default();
    let text = |taint: &Taint| format!("{}:{}", taint.key, taint.effect);
    taints.iter().map(text).collect()
}

/// As many Ready nodes, by name.
async fn ready_nodes(world: &mut World, count: usize) -> Vec<String> {
    world.begin_creations(count).await;
    world.tick().await;
    world.boot().await;
    world.pass(30).await;
    let mut names: Vec<_> = world.machines().await.iter().map(VPSieNode::name_any).collect();
    names.sort();
    assert_eq!(names.len(), count);
    names
}

/// A pod that takes most of a node.
async fn busy_pod(world: &World, node: &str) {
    let _pod: Pod = world
        .create(json!({
            "metadata": { "name": format!("busy-{node}") },
            "spec": {
                "nodeName": node, "tolerations": [{ "operator": "Exists" }],
                "containers": [{ "name": "c", "image": "i", "resources": { "requests": { "cpu": "3" } } }],
            },
        }))
        .await;
}

async fn is_marked(world: &World, node: &str) -> bool {
    taints(world, node).await.iter().any(|taint| taint == TAINT)
}

#[tokio::test(start_paused = true)]
async fn an_unneeded_node_is_marked_until_it_is_needed_again() {
    let mut world = World::new(json!({})).await;
    let name = world.ready_node().await;
    world.foreign_node("foreign").await;
    world.tick().await;
    assert_eq!(decide(&world).await.unwrap(), 1);
    assert_eq!(taints(&world, &name).await, ["dedicated:NoSchedule", TAINT]);
    assert_eq!(
        taints(&world, "foreign").await,
        Vec::<String>::new(),
        "a node of others is left alone"
    );
    assert_eq!(decide(&world).await.unwrap(), 0, "nothing has changed");

    // A taint that somebody else sets stays where it is.
    let theirs = json!({ "spec": { "taints": [
        { "key": "mine", "effect": "NoExecute" },
        { "key": "dedicated", "value": "a", "effect": "NoSchedule" },
        { "key": "autoscaler.vpsie.com/deletion-candidate", "effect": "PreferNoSchedule" },
    ] } });
    let nodes = world.nodes();
    nodes
        .patch(&name, &PatchParams::default(), &Patch::Merge(theirs))
        .await
        .unwrap();
    busy_pod(&world, &name).await;
    world.tick().await;
    assert_eq!(decide(&world).await.unwrap(), 1);
    assert_eq!(taints(&world, &name).await, ["mine:NoExecute", "dedicated:NoSchedule"]);
    assert_eq!(decide(&world).await.unwrap(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_goes_is_not_written_and_one_that_is_not_managed_any_more_is_freed() {
    let mut world = World::new(json!({})).await;
    let names = ready_nodes(&mut world, 2).await;
    world.begin_removal(&names[0], &names[1]).await;
    world.tick().await;
    assert_eq!(decide(&world).await.unwrap(), 1);
    assert!(!is_marked(&world, &names[0]).await);
    assert!(is_marked(&world, &names[1]).await);

    let groups: Api<NodeGroup> = world.api();
    let unmanaged = json!({ "metadata": { "labels": { "autoscaler.vpsie.com/managed": "false" } } });
    groups
        .patch("g", &PatchParams::default(), &Patch::Merge(unmanaged))
        .await
        .unwrap();
    world.tick().await;
    assert_eq!(decide(&world).await.unwrap(), 1);
    assert!(!is_marked(&world, &names[1]).await);
}

#[tokio::test(start_paused = true)]
async fn a_decision_writes_50_nodes_and_those_first_that_are_needed_again() {
    let mut world = World::new(json!({ "maxNodes": 200 })).await;
    let names = ready_nodes(&mut world, 110).await;
    let error = ApiError::new(500, "InternalError", "test");
    world.cluster.faults().fail(Verb::Patch, "nodes", 1, error);
    decide(&world).await.unwrap_err();
    world.tick().await;
    let mut marked = Vec::new();
    for name in &names {
        if is_marked(&world, name).await {
            marked.push(name);
        }
    }
    assert_eq!(marked.len(), 49, "one of 50 writes failed");
    let needed = &marked[47..];
    for name in needed {
        busy_pod(&world, name).await;
    }
    world.tick().await;
    assert_eq!(decide(&world).await.unwrap(), 50);
    for name in needed {
        assert!(!is_marked(&world, name).await, "{name}");
    }
    world.tick().await;
    assert_eq!(decide(&world).await.unwrap(), 108 - 47 - 48, "what was left");
    assert_eq!(decide(&world).await.unwrap(), 0);
}
