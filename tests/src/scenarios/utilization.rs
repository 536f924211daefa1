//! What nodes are measured to use, beside what their pods request.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use k8s_openapi::api::core::v1::Node;
use kube::{Api, ResourceExt, api::ListParams};
use serde_json::json;
use tokio_util::task::AbortOnDropHandle;

use crate::{control_plane::metrics::NodeMetrics, world::World};

/// What nodes use, in milli-cores; nodes that are not in it use nothing.
type Uses = Arc<Mutex<BTreeMap<String, u32>>>;

/// Of two nodes without pods one computes something that no pod accounts for: it stays as long as that is measured.
pub async fn a_node_that_is_measured_busy_stays_until_it_is_idle(mut world: World) {
    let metrics = NodeMetrics::install(&world.client).await.unwrap();
    let uses = Uses::default();
    let _measuring = measure(&world, metrics, Arc::clone(&uses));
    let busy = two_empty_nodes(&mut world, &uses).await;
    world.until_size(1).await;
    world
        .stays("the busy node is there, and not cordoned", 3, async || {
            let nodes = world.list::<Node>("").await;
            let cordoned = |node: &Node| node.spec.as_ref().and_then(|spec| spec.unschedulable) == Some(true);
            nodes.len() == 1 && nodes.iter().all(|node| node.name_any() == busy && !cordoned(node))
        })
        .await;
    uses.lock().unwrap().clear();
    world.until_size(0).await;
    world.stop_operator().await;
}

/// The API is served and says nothing of the nodes: an operator that has just been started has not seen that they are idle.
/// When the API goes away, requests alone count.
pub async fn b9_nodes_without_samples_stay_until_nobody_measures(mut world: World) {
    let metrics = NodeMetrics::install(&world.client).await.unwrap();
    two_empty_nodes(&mut world, &Uses::default()).await;
    world
        .stays("both nodes are there", 3, async || {
            world.list::<Node>("").await.len() == 2
        })
        .await;
    metrics.uninstall(&world.client).await.unwrap();
    world.until_size(0).await;
    world.stop_operator().await;
}

/// Two nodes whose pods have just gone, of which one is busy: its name.
async fn two_empty_nodes(world: &mut World, uses: &Uses) -> String {
    world.group("general", 0, 10, &["medium-4"], json!({})).await;
    world.start_operator();
    world.deploy("web", 10, "500m", json!({})).await;
    world.until_running("web", 10).await;
    world.until_size(2).await;
    let busy = world.list::<Node>("").await.remove(0).name_any();
    uses.lock().unwrap().insert(busy.clone(), 3000);
    world.undeploy("web").await;
    busy
}

/// Measures every node again and again, as metrics-server does.
fn measure(world: &World, metrics: NodeMetrics, uses: Uses) -> AbortOnDropHandle<()> {
    let pause = Duration::try_from(world.pace.usage.interval()).unwrap() / 2;
    let (nodes, clock) = (Api::<Node>::all(world.client.clone()), world.clock());
    let measuring = async move {
        loop {
            // Between two attempts anything may fail; what is not measured shows in the scenario.
            for node in nodes.list(&ListParams::default()).await.into_iter().flatten() {
                let name = node.name_any();
                let milli = uses.lock().unwrap().get(&name).copied().unwrap_or(0);
                drop(metrics.set(&name, clock(), &format!("{milli}m"), "100Mi").await);
            }
            tokio::time::sleep(pause).await;
        }
    };
    AbortOnDropHandle::new(tokio::spawn(measuring))
}
