//! The witness itself: it sees what is wrong, and nothing else.

use autoscaler_scaler::embedded::kubelet::{KubeletOptions, Kubelets, NodeSpec};
use harness::{
    watcher::{Report, Watcher},
    world::{NAMESPACE, World},
};
use k8s_openapi::api::{
    core::v1::{Node, Pod},
    policy::v1::PodDisruptionBudget,
};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, EvictParams},
};
use serde_json::json;

/// A world with two nodes, a Deployment of four pods on them, and a budget that lets one of them go at a time.
///
/// Its kubelets are not those of the world, which ends kubelets without a VM.
async fn four_pods_on_two_nodes() -> (World, Kubelets) {
    let world = World::embedded().await;
    let options = KubeletOptions {
        wall_clock: Some(world.clock()()),
        ..KubeletOptions::default()
    };
    let kubelets = Kubelets::new(world.client.clone(), options);
    for name in ["n1", "n2"] {
        let spec = NodeSpec {
            name: name.to_owned(),
            capacity: [("cpu", "2"), ("memory", "4Gi")]
                .map(|(name, amount)| (name.to_owned(), amount.to_owned()))
                .into(),
            ..NodeSpec::default()
        };
        kubelets.join(spec).await.unwrap();
    }
    world.budget("web", 1).await;
    world.deploy("web", 4, "500m", json!({})).await;
    world.until_running("web", 4).await;
    until_whole(&world).await;
    (world, kubelets)
}

async fn until_whole(world: &World) {
    world
        .until("the budget is whole", async || {
            let budgets = world.list::<PodDisruptionBudget>("").await;
            budgets.iter().all(|budget| {
                let status = budget.status.clone().unwrap_or_default();
                status.disruptions_allowed == Some(1)
            })
        })
        .await;
}

fn pods(world: &World) -> Api<Pod> {
    Api::namespaced(world.client.clone(), NAMESPACE)
}

#[tokio::test(start_paused = true)]
async fn an_eviction_within_its_budget_is_noted_and_no_violation() {
    let (world, _kubelets) = four_pods_on_two_nodes().await;
    let watcher = Watcher::start(world.client.clone()).await;
    let victim = world.pods("web").await.remove(0);
    pods(&world)
        .evict(&victim.name_any(), &EvictParams::default())
        .await
        .unwrap();
    world.until_running("web", 4).await;
    let report = watcher.stop().await;
    report.assert_clean();
    let eviction = &report.evictions[&victim.uid().unwrap()];
    assert_eq!(eviction.pod, format!("{NAMESPACE}/{}", victim.name_any()));
    assert_eq!(eviction.node, victim.spec.unwrap().node_name.unwrap());
    assert_eq!((report.evictions.len(), eviction.daemon), (1, false));
    assert!(report.repeated().is_empty(), "{report:#?}");
}

#[tokio::test(start_paused = true)]
async fn pods_that_go_past_their_budget_are_a_violation() {
    let (world, _kubelets) = four_pods_on_two_nodes().await;
    // Replacements that run at once would make the budget whole again before its status is written.
    let nodes: Api<Node> = Api::all(world.client.clone());
    for name in ["n1", "n2"] {
        nodes.cordon(name).await.unwrap();
    }
    let watcher = Watcher::start(world.client.clone()).await;
    for pod in world.pods("web").await.iter().take(2) {
        pods(&world)
            .delete(&pod.name_any(), &DeleteParams::default())
            .await
            .unwrap();
    }
    world
        .until("the budget knows", async || {
            let budgets = world.list::<PodDisruptionBudget>("").await;
            let status = budgets[0].status.clone().unwrap_or_default();
            status.current_healthy == Some(2)
        })
        .await;
    let report = watcher.stop().await;
    assert_violation(&report, "budget default/web has 2 healthy pods and wants 3");
    assert!(report.evictions.is_empty(), "{report:#?}");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_deleted_under_its_pods_is_a_violation() {
    let (world, _kubelets) = four_pods_on_two_nodes().await;
    let watcher = Watcher::start(world.client.clone()).await;
    let nodes: Api<Node> = Api::all(world.client.clone());
    nodes.delete("n1", &DeleteParams::default()).await.unwrap();
    world
        .until("the Node is gone", async || {
            nodes.get_opt("n1").await.unwrap().is_none()
        })
        .await;
    let report = watcher.stop().await;
    assert_violation(&report, "Node n1 was deleted while pod default/web-");
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_is_driven_from_the_same_node_again_is_a_repetition() {
    let (world, _kubelets) = four_pods_on_two_nodes().await;
    let watcher = Watcher::start(world.client.clone()).await;
    let first = world.pods("web").await.remove(0);
    let node = first.spec.clone().unwrap().node_name.unwrap();
    let on_node = async || {
        let pods = world.pods("web").await.into_iter();
        let there = pods.filter(|pod| pod.spec.as_ref().and_then(|spec| spec.node_name.as_ref()) == Some(&node));
        there.collect::<Vec<_>>()
    };
    let known: Vec<String> = on_node().await.iter().map(ResourceExt::name_any).collect();
    pods(&world)
        .evict(&first.name_any(), &EvictParams::default())
        .await
        .unwrap();
    world.until_running("web", 4).await;
    until_whole(&world).await;
    // The other node is full, so that the replacement came to the same.
    let newcomers: Vec<Pod> = on_node()
        .await
        .into_iter()
        .filter(|pod| !known.contains(&pod.name_any()))
        .collect();
    let [newcomer] = &newcomers[..] else {
        panic!("{newcomers:#?}")
    };
    pods(&world)
        .evict(&newcomer.name_any(), &EvictParams::default())
        .await
        .unwrap();
    world.until_running("web", 4).await;
    let report = watcher.stop().await;
    report.assert_clean();
    let repeated: Vec<&str> = report.repeated().iter().map(|eviction| &*eviction.pod).collect();
    assert_eq!(repeated, [format!("{NAMESPACE}/{}", newcomer.name_any())]);
}

fn assert_violation(report: &Report, start: &str) {
    assert!(
        report.violations.iter().any(|violation| violation.starts_with(start)),
        "{report:#?}"
    );
}
