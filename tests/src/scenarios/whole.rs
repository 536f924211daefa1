//! Scaling as a whole: clusters that shrink, and groups of which some grow while others shrink.

use std::collections::BTreeSet;

use autoscaler_scaler::api;
use k8s_openapi::api::{core::v1::Node, events::v1::Event};
use kube::Api;
use serde_json::json;
use vpsie_client::mock::Route;

use crate::{
    watcher::{Report, Watcher},
    world::{NAMESPACE, World, is_cordoned, node_of},
};

/// Thirty pods on five nodes under a budget that lets one be away shrink to five pods: the fewest nodes that hold them are
/// left, the budget is never broken, and no pod is driven from the same node twice.
pub async fn thirty_pods_that_shrink_to_five_end_on_one_node(mut world: World) {
    world.group("general", 0, 10, &["medium-4"], json!({})).await;
    world.start_operator();
    world.deploy("web", 30, "500m", json!({})).await;
    world.until_running("web", 30).await;
    world.until_ready(5).await;
    world.budget("web", 1).await;
    let watcher = Watcher::start(world.client.clone()).await;
    world.scale("web", 5).await;
    // medium-4 has room for seven.
    world.until_vms(1).await;
    world.until_running("web", 5).await;
    expect_calm(&watcher.stop().await);
    let left = world.mock.vms().remove(0).hostname;
    let pods = world.pods("web").await;
    assert!(pods.iter().all(|pod| node_of(pod) == left), "{}", world.picture().await);
    let node = Api::<Node>::all(world.client.clone()).get(&left).await.unwrap();
    assert!(!is_cordoned(&node), "{}", world.picture().await);
    assert_eq!(world.mock.requests(Route::CreateVm), 5);
    world.stop_operator().await;
}

/// `TestScaleDown_EndToEnd` of the Go autoscaler, which was a placeholder: from maxNodes to minNodes, with every call to the
/// provider accounted for.
pub async fn test_scale_down_end_to_end(mut world: World) {
    world.group("general", 1, 4, &["medium-4"], json!({})).await;
    world.start_operator();
    world.deploy("web", 28, "500m", json!({})).await;
    world.until_running("web", 28).await;
    world.until_ready(4).await;
    world.budget("web", 2).await;
    let watcher = Watcher::start(world.client.clone()).await;
    let bought = world.mock.vms();
    world.scale("web", 2).await;
    world.until_ready(1).await;
    world.until_running("web", 2).await;
    world.undeploy("web").await;
    world
        .until("the minimum keeps the last node", async || {
            let decisions = world.decisions().await;
            let reasons: Vec<_> = decisions
                .values()
                .filter_map(|decision| decision.reason.as_deref())
                .collect();
            reasons == ["NodeGroupMinSizeReached"]
        })
        .await;
    expect_calm(&watcher.stop().await);
    // Three VMs were ordered to be deleted, those that are gone, and none was bought on the way.
    let left = world.mock.vms();
    let gone: BTreeSet<String> = bought
        .into_iter()
        .filter(|vm| left.iter().all(|left| left.id != vm.id))
        .map(|vm| vm.id)
        .collect();
    assert_eq!((gone.len(), left.len()), (3, 1));
    assert_eq!(deleted(&world), gone);
    assert_eq!(world.mock.requests(Route::CreateVm), 4);
    let told = world.list::<Event>("").await.into_iter();
    let removals = told.filter(|event| matches!(event.reason.as_deref(), Some("ScaleDown" | "ScaleDownEmpty")));
    // A removal that was rolled back is told of once more.
    let removed: BTreeSet<_> = removals.filter_map(|event| event.regarding?.name).collect();
    assert_eq!(removed.len(), 3, "{removed:?}");
    world
        .until("the NodeGroup tells of it", async || {
            let group = world.list::<api::NodeGroup>("").await.remove(0);
            let status = group.status.unwrap_or_default();
            (status.current_nodes, status.ready_nodes, status.desired_nodes) == (1, 1, 1)
                && status.last_scale_down_time.is_some()
        })
        .await;
    world.stop_operator().await;
}

/// `TestMixedScaling_EndToEnd` of the Go autoscaler, which was a placeholder: one group grows while the other shrinks, and
/// then the other way round. No node is bought that is not needed, and no pod is disturbed in the group that grows.
pub async fn test_mixed_scaling_end_to_end(mut world: World) {
    // medium-4 has room for seven.
    let (few, many) = (3, 20);
    for (name, pods) in [("red", few), ("blue", many)] {
        let spec = json!({
            "labels": { "pool": name },
            "taints": [{ "key": "pool", "value": name, "effect": "NoSchedule" }],
        });
        world.group(name, 0, 5, &["medium-4"], spec).await;
        let spec = json!({
            "nodeSelector": { "pool": name },
            "tolerations": [{ "key": "pool", "value": name, "effect": "NoSchedule" }],
        });
        world.deploy(name, pods, "500m", spec).await;
        world.budget(name, 1).await;
    }
    world.start_operator();
    until_shared(&world, ["blue", "red"], [many, few]).await;
    for (grows, shrinks) in [("red", "blue"), ("blue", "red")] {
        let watcher = Watcher::start(world.client.clone()).await;
        world.scale(shrinks, few).await;
        world.scale(grows, many).await;
        until_shared(&world, [grows, shrinks], [many, few]).await;
        let report = watcher.stop().await;
        expect_calm(&report);
        let grown = format!("{NAMESPACE}/{grows}-");
        let disturbed = report
            .evictions
            .values()
            .any(|eviction| eviction.pod.starts_with(&grown));
        assert!(!disturbed, "{:#?}", report.evictions);
    }
    // One and three nodes, and two more in each half.
    assert_eq!(world.mock.requests(Route::CreateVm), 8);
    assert_eq!(deleted(&world).len(), 4);
    world.stop_operator().await;
}

/// Waits until two groups have three VMs and one, and the Deployments of their names so many pods, all of which run.
async fn until_shared(world: &World, groups: [&str; 2], pods: [u32; 2]) {
    world
        .until(
            &format!("three VMs of {} and one of {}", groups[0], groups[1]),
            async || {
                let vms = world.mock.vms();
                let of = |group: &str| {
                    vms.iter()
                        .filter(|vm| vm.hostname.starts_with(&format!("{group}-")))
                        .count()
                };
                groups.map(of) == [3, 1]
            },
        )
        .await;
    for (group, pods) in groups.into_iter().zip(pods) {
        world.until_running(group, pods as usize).await;
    }
}

/// Asserts that no budget was broken and no pod was driven from the same node twice.
fn expect_calm(report: &Report) {
    report.assert_clean();
    assert!(report.repeated().is_empty(), "{:#?}", report.evictions);
}

/// The ids of the VMs that were ordered to be deleted.
fn deleted(world: &World) -> BTreeSet<String> {
    let orders = world
        .mock
        .log()
        .into_iter()
        .filter(|request| request.route == Route::DeleteVm);
    orders
        .filter_map(|order| Some(order.path.rsplit_once('/')?.1.to_owned()))
        .collect()
}
