//! What nodes are measured to use, beside what their pods request.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use k8s_openapi::api::core::v1::{Node, Pod};
use kube::{Api, ResourceExt, api::ListParams};
use serde_json::json;
use tokio_util::task::AbortOnDropHandle;

use crate::{control_plane::metrics::NodeMetrics, world::World};

/// Nodes that use nothing. Any other one uses most of its CPU, from the first time that it is measured: no window of samples
/// ever has less in it than it shall have.
type Idle = Arc<Mutex<BTreeSet<String>>>;

/// What a node uses that is not idle: three of the four cores of medium-4.
const BUSY: &str = "3000m";

/// Two nodes without pods compute something that no pod accounts for: each stays as long as that is measured of it.
pub async fn a_node_that_is_measured_busy_stays_until_it_is_idle(mut world: World) {
    let metrics = NodeMetrics::install(&world.client).await.unwrap();
    let idle = Idle::default();
    let _measuring = measure(&world, metrics, Arc::clone(&idle));
    two_empty_nodes(&mut world).await;
    world
        .stays("both nodes are busy", 3, async || untouched(&world).await.len() == 2)
        .await;
    let [first, busy] = <[String; 2]>::try_from(untouched(&world).await).unwrap();
    idle.lock().unwrap().insert(first);
    world.until_size(1).await;
    world
        .stays("the busy node is there, and not cordoned", 3, async || {
            untouched(&world).await == [busy.as_str()]
        })
        .await;
    idle.lock().unwrap().insert(busy);
    world.until_size(0).await;
    world.stop_operator().await;
}

/// The API is served and says nothing of the nodes: an operator that has just been started has not seen that they are idle.
/// When the API goes away, requests alone count.
pub async fn b9_nodes_without_samples_stay_until_nobody_measures(mut world: World) {
    let metrics = NodeMetrics::install(&world.client).await.unwrap();
    two_empty_nodes(&mut world).await;
    world
        .stays("both nodes are there", 3, async || {
            world.list::<Node>("").await.len() == 2
        })
        .await;
    metrics.uninstall(&world.client).await.unwrap();
    world.until_size(0).await;
    world.stop_operator().await;
}

/// Two nodes whose pods have just gone.
async fn two_empty_nodes(world: &mut World) {
    world.group("general", 0, 10, &["medium-4"], json!({})).await;
    world.start_operator();
    world.deploy("web", 10, "500m", json!({})).await;
    world.until_running("web", 10).await;
    world.until_size(2).await;
    world.undeploy("web").await;
    world
        .until("the pods are gone", async || world.list::<Pod>("").await.is_empty())
        .await;
}

/// The names of the nodes that are not cordoned.
async fn untouched(world: &World) -> Vec<String> {
    let nodes = world.list::<Node>("").await;
    let cordoned = |node: &Node| node.spec.as_ref().and_then(|spec| spec.unschedulable) == Some(true);
    let untouched = nodes.iter().filter(|node| !cordoned(node));
    untouched.map(ResourceExt::name_any).collect()
}

/// Measures every node again and again, as metrics-server does.
fn measure(world: &World, metrics: NodeMetrics, idle: Idle) -> AbortOnDropHandle<()> {
    let pause = Duration::try_from(world.pace.usage.interval()).unwrap() / 2;
    let (nodes, clock) = (Api::<Node>::all(world.client.clone()), world.clock());
    let measuring = async move {
        loop {
            // Between two attempts anything may fail; what is not measured shows in the scenario.
            for node in nodes.list(&ListParams::default()).await.into_iter().flatten() {
                let name = node.name_any();
                let cpu = if idle.lock().unwrap().contains(&name) {
                    "0"
                } else {
                    BUSY
                };
                drop(metrics.set(&name, clock(), cpu, "100Mi").await);
            }
            tokio::time::sleep(pause).await;
        }
    };
    AbortOnDropHandle::new(tokio::spawn(measuring))
}
