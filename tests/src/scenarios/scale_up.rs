//! Scale-up beyond the first node: demand of many shapes, head-room, pod groups, and what cannot be had in time.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use autoscaler_scaler::api;
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{Node, Pod},
    events::v1::Event,
};
use kube::ResourceExt;
use serde_json::{Value, json};
use vpsie_client::mock::Route;

use crate::world::{NAMESPACE, World, is_candidate, is_running, node_of};

/// 100 pods of five shapes are pending: one decision buys all nodes, all pods run, and nothing is bought after it.
///
/// The scheduler fills nodes in the order in which they come up and not as the plan does. Shapes of different sizes have
/// groups of their own here; in [`shapes_that_share_nodes_run_after_one_round`] they mix.
pub async fn a_hundred_pods_of_five_shapes_run_after_one_round(mut world: World) {
    let pool = |name: &str| {
        json!({
            "labels": { "pool": name },
            "taints": [{ "key": "pool", "value": name, "effect": "NoSchedule" }],
            "scaleDownPolicy": { "enabled": false },
        })
    };
    let on = |name: &str, more: Value| {
        let mut spec = json!({
            "nodeSelector": { "pool": name },
            "tolerations": [{ "key": "pool", "value": name, "effect": "NoSchedule" }],
        });
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        spec
    };
    let of_size = |cpu: &str, memory: &str| json!({ "containers": [container(cpu, Some(memory))] });
    let apart = json!({ "affinity": { "podAntiAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": [
            { "labelSelector": { "matchLabels": { "app": "apart" } }, "topologyKey": "kubernetes.io/hostname" },
        ],
    } } });
    for (name, offerings) in [
        ("web", &["small-2", "medium-4", "medium-8"][..]),
        ("batch", &["medium-4", "medium-8"]),
        ("cache", &["medium-4", "large-8"]),
        ("apart", &["small-1", "small-2"]),
    ] {
        world.group(name, 0, 50, offerings, pool(name)).await;
    }
    let shapes = [
        ("web", 40, on("web", of_size("500m", "128Mi"))),
        ("api", 20, on("web", of_size("500m", "512Mi"))),
        ("batch", 15, on("batch", of_size("2500m", "1Gi"))),
        ("cache", 20, on("cache", of_size("250m", "3Gi"))),
        ("apart", 5, on("apart", apart)),
    ];
    one_round(&mut world, shapes, &["apart", "batch", "cache", "web"]).await;
    world.stop_operator().await;
}

/// 100 pods of five shapes that share the nodes of two groups: one decision buys all nodes, with room for not one pod
/// more, all pods run, and nothing is bought after it.
///
/// All ask for half a core, and every size runs out of cores before it runs out of anything else. So a node holds as many
/// pods whichever they are, and the scheduler may mix them as it likes.
pub async fn shapes_that_share_nodes_run_after_one_round(mut world: World) {
    for (name, offerings) in [
        ("general", &["medium-4", "medium-8", "large-8"][..]),
        ("small", &["small-2"]),
    ] {
        let spec = json!({ "scaleDownPolicy": { "enabled": false } });
        world.group(name, 0, 50, offerings, spec).await;
    }
    let of_memory = |memory: &str, more: Value| {
        let mut spec = json!({ "containers": [container("500m", Some(memory))] });
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        spec
    };
    let linux = json!({ "nodeSelector": { "kubernetes.io/os": "linux" } });
    let anywhere = json!({ "tolerations": [{ "key": "gpu", "operator": "Exists" }] });
    let spread = json!({ "topologySpreadConstraints": [{
        "maxSkew": 1, "topologyKey": "topology.kubernetes.io/zone", "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": { "matchLabels": { "app": "cache" } },
    }] });
    let shapes = [
        ("web", 30, of_memory("128Mi", json!({}))),
        ("api", 20, of_memory("256Mi", linux)),
        ("batch", 20, of_memory("512Mi", anywhere)),
        ("cache", 15, of_memory("768Mi", spread)),
        ("store", 15, of_memory("1000Mi", json!({}))),
    ];
    one_round(&mut world, shapes, &["general", "small"]).await;
    let mut bought: BTreeMap<String, usize> = BTreeMap::new();
    for vm in world.mock.vms() {
        *bought.entry(vm.offering_id).or_default() += 1;
    }
    // 6 x 15 + 7 + 3 halves of a core, at 0.81 an hour.
    let cheapest = [("medium-4", 1), ("medium-8", 6), ("small-2", 1)];
    assert_eq!(bought, cheapest.map(|(size, count)| (size.to_owned(), count)).into());
    let mut shapes_of: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for pod in world.list::<Pod>("").await {
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.clone());
        let shape = pod.labels().get("app").cloned();
        shapes_of.entry(node.unwrap()).or_default().insert(shape.unwrap());
    }
    assert!(shapes_of.values().any(|shapes| 1 < shapes.len()), "{shapes_of:?}");
    world.stop_operator().await;
}

/// Pods from a tenth of a core to a core and a half share nodes. The scheduler puts each on the emptiest node, so that
/// the largest may find room nowhere although there is enough in total. They get nodes, no node is bought in vain, and
/// then it is over.
pub async fn pods_that_the_scheduler_leaves_over_get_nodes(mut world: World) {
    let spec = json!({ "scaleDownPolicy": { "enabled": false } });
    world.group("general", 0, 50, &["medium-4"], spec).await;
    let shapes = [("a", "100m"), ("b", "250m"), ("c", "500m"), ("d", "1"), ("e", "1500m")];
    for (name, cpu) in shapes {
        world.deploy(name, 20, cpu, json!({})).await;
    }
    until_unschedulable(&world, 100).await;
    world.start_operator();
    for (name, _) in shapes {
        world.until_running(name, 20).await;
    }
    let bought = world.mock.vms().len();
    world.until_size(bought).await;
    world
        .stays("no further node", 2, async || world.mock.vms().len() == bought)
        .await;
    // 67 cores are at least 18 nodes. Half a node is wasted at worst on each: what is left over needs 1.5 of 3.9 cores.
    assert!((18..=27).contains(&bought), "{bought}");
    assert_eq!(empty_nodes(&world).await, 0, "{}", world.picture().await);
    world.stop_operator().await;
}

/// One empty node is kept: it is there beside the first pod, it takes pods at once, and it goes last.
pub async fn headroom_keeps_an_empty_node(mut world: World) {
    world
        .group("general", 0, 10, &["medium-4"], json!({ "headroom": { "nodes": 1 } }))
        .await;
    world.start_operator();
    world.until_size(1).await;
    world.deploy("web", 1, "500m", json!({})).await;
    world.until_running("web", 1).await;
    world.until_size(2).await;
    world
        .stays("one node is empty", 3, async || {
            world.mock.vms().len() == 2 && empty_nodes(&world).await == 1
        })
        .await;
    // medium-4 has room for seven.
    world.scale("web", 12).await;
    world.until_running("web", 12).await;
    world.until_size(3).await;
    world.undeploy("web").await;
    world.until_size(1).await;
    world
        .stays("the empty node is there", 3, async || world.mock.vms().len() == 1)
        .await;
    world.stop_operator().await;
}

/// kube-scheduler likes the empty node best, but the pods of a drained node go to the other one: nothing is bought anew.
pub async fn headroom_is_not_used_up_by_a_drain(mut world: World) {
    world
        .group("general", 0, 10, &["medium-4"], json!({ "headroom": { "nodes": 1 } }))
        .await;
    // The pods are on their node long before the next one is there.
    world.mock.configure(|config| config.provision_delay *= 5);
    world.start_operator();
    // medium-4 has room for seven.
    for (full, app) in ["a", "b"].into_iter().enumerate() {
        world.until_ready(full + 1).await;
        world.deploy(app, 7, "500m", json!({})).await;
        world.until_running(app, 7).await;
    }
    world.until_size(3).await;
    for app in ["a", "b"] {
        world.scale(app, 3).await;
    }
    world.until_size(2).await;
    world
        .stays("one node is empty, and the pods are on the other", 3, async || {
            world.mock.vms().len() == 2 && empty_nodes(&world).await == 1
        })
        .await;
    assert_eq!(world.mock.requests(Route::CreateVm), 3, "{}", world.picture().await);
    let nodes = world.list::<Node>("").await;
    let candidates: Vec<_> = nodes
        .iter()
        .filter(|node| is_candidate(node))
        .map(Node::name_any)
        .collect();
    let pods = [world.pods("a").await, world.pods("b").await].concat();
    assert_eq!(candidates.len(), 1, "{}", world.picture().await);
    assert!(pods.iter().all(|pod| node_of(pod) != candidates[0]));
    world.stop_operator().await;
}

/// Twenty pods that belong together, and room for fourteen: nothing is bought until there is room for all.
pub async fn a_pod_group_waits_as_a_whole(mut world: World) {
    world.group("general", 0, 2, &["medium-4"], json!({})).await;
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": { "name": "train", "namespace": NAMESPACE },
        "spec": {
            "replicas": 20,
            "selector": { "matchLabels": { "app": "train" } },
            "template": {
                "metadata": { "labels": { "app": "train", "scheduling.x-k8s.io/pod-group": "train" } },
                "spec": { "containers": [container("500m", None)] },
            },
        },
    });
    world.create::<Deployment>(deployment).await;
    // Nobody knows how large a group is going to be: it is complete before anybody looks.
    world
        .until("the scheduler has said no to all of them", async || {
            let pods = world.pods("train").await;
            pods.len() == 20 && pods.iter().all(is_unschedulable)
        })
        .await;
    world.start_operator();
    world
        .until("the pods hear that there is not room for all", async || {
            !world.notes("train", "NotTriggerScaleUp").await.is_empty()
        })
        .await;
    world
        .stays("no VM", 2, async || {
            world.mock.vms().is_empty() && world.pods("train").await.len() == 20
        })
        .await;
    world.change_group("general", json!({ "maxNodes": 3 })).await;
    world.until_running("train", 20).await;
    world.until_size(3).await;
    world.stop_operator().await;
}

/// A VM that does not come up in time is given up: its size is left alone for a while, and the next best is bought.
pub async fn a_provisioning_timeout_backs_off_and_the_next_best_offering_is_bought(mut world: World) {
    // The deadline is for the second VM, too.
    world
        .phase_timeouts(json!({ "provisionSeconds": 10 * world.pace.window }))
        .await;
    world.group("general", 0, 5, &["small-2", "medium-4"], json!({})).await;
    let mut usual = Duration::ZERO;
    world.mock.configure(|config| {
        usual = std::mem::replace(&mut config.provision_delay, Duration::from_secs(86_400));
    });
    world.start_operator();
    world.deploy("web", 1, "500m", json!({})).await;
    world
        .until("a VM is on its way that will not come", async || {
            world.mock.vms().len() == 1
        })
        .await;
    world.mock.configure(|config| config.provision_delay = usual);
    world.until_running("web", 1).await;
    let node = world.list::<Node>("").await.remove(0);
    assert_eq!(
        node.labels().get(api::labels::OFFERING).map(String::as_str),
        Some("medium-4")
    );
    let group = world.list::<api::NodeGroup>("").await.remove(0);
    let backoffs = group.status.unwrap_or_default().scale_up_backoffs;
    let [backoff] = backoffs.as_slice() else {
        panic!("{backoffs:?}")
    };
    assert_eq!(
        (backoff.offering.as_str(), backoff.failures, backoff.reason.as_deref()),
        ("small-2", 1, Some("ProvisioningTimeout"))
    );
    world.stop_operator().await;
}

/// Deploys 100 pods of these shapes before the operator starts, and waits until they run: one decision bought all nodes,
/// of exactly these groups, and nothing is bought after it.
async fn one_round<const N: usize>(world: &mut World, shapes: [(&str, u32, Value); N], groups: &[&str]) {
    for (name, replicas, spec) in shapes.clone() {
        world.deploy(name, replicas, "250m", spec).await;
    }
    until_unschedulable(world, 100).await;
    world.start_operator();
    for (name, replicas, _) in shapes {
        world.until_running(name, replicas as usize).await;
    }
    let bought = world.mock.vms().len();
    world.until_size(bought).await;
    world
        .stays("no further node", 2, async || world.mock.vms().len() == bought)
        .await;
    // Every round tells of itself on each group, and what is told again is counted.
    let mut rounds = world.list::<Event>("").await;
    rounds.retain(|event| event.reason.as_deref() == Some("ScaledUpGroup"));
    let mut grown: Vec<_> = rounds
        .iter()
        .filter_map(|event| event.regarding.as_ref().and_then(|group| group.name.as_deref()))
        .collect();
    grown.sort_unstable();
    assert_eq!(grown, groups);
    assert!(rounds.iter().all(|event| event.series.is_none()), "{rounds:#?}");
    world
        .until("every pod has heard of it", async || {
            let events = world.list::<Event>("").await.into_iter();
            let told = events.filter(|event| event.reason.as_deref() == Some("ScaleUpTriggered"));
            // What may not have arrived is told again.
            let pods: BTreeSet<_> = told.filter_map(|event| event.regarding?.name).collect();
            pods.len() == 100
        })
        .await;
}

/// Waits until there are so many pods and the scheduler has found no place for any.
async fn until_unschedulable(world: &World, count: usize) {
    world
        .until("the scheduler has said no to all pods", async || {
            let pods = world.list::<Pod>("").await;
            pods.len() == count && pods.iter().all(is_unschedulable)
        })
        .await;
}

fn container(cpu: &str, memory: Option<&str>) -> Value {
    let mut requests = json!({ "cpu": cpu });
    if let Some(memory) = memory {
        requests["memory"] = json!(memory);
    }
    json!({ "name": "main", "image": "example/app", "resources": { "requests": requests } })
}

/// Whether the scheduler has found no place for a pod.
fn is_unschedulable(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.into_iter().flatten().any(|condition| {
        condition.type_ == "PodScheduled"
            && condition.status == "False"
            && condition.reason.as_deref() == Some("Unschedulable")
    })
}

/// Nodes without a running pod.
async fn empty_nodes(world: &World) -> usize {
    let pods = world.list::<Pod>("").await;
    let nodes = world.list::<Node>("").await;
    let holds = |node: &Node| {
        pods.iter().filter(|pod| is_running(pod)).any(|pod| {
            let on = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
            on == Some(node.name_any().as_str())
        })
    };
    nodes.iter().filter(|node| !holds(node)).count()
}
