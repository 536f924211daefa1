//! Drains that something gets in the way of: budgets, restarts, pods that take their time or must not go. Each is named
//! after the bug of the Go autoscaler that must not come back.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use autoscaler_scaler::api::{self, RemovalPhase};
use futures::StreamExt;
use jiff::Timestamp;
use k8s_openapi::api::{
    apps::v1::StatefulSet,
    core::v1::{Node, Pod},
    policy::v1::PodDisruptionBudget,
};
use kube::{
    Api, Resource, ResourceExt,
    api::DeleteParams,
    runtime::{WatchStreamExt, watcher},
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio_util::task::AbortOnDropHandle;
use vpsie_client::mock::Route;

use crate::{
    watcher::Watcher,
    world::{NAMESPACE, World, is_candidate, is_cordoned, is_running, node_of},
};

/// After a refused eviction the Go autoscaler left the node cordoned for ever, without a word in its annotations.
///
/// The first of two pods is evicted and its replacement never starts, so that the eviction API answers 429 for the second
/// until the drain has to be over.
pub async fn b2_a_refused_eviction_ends_with_the_node_schedulable_again(mut world: World) {
    let policy = short_drain(&world);
    idle_nodes(&mut world, 3, 2, json!({}), policy).await;
    world.budget("web", 1).await;
    until_allowed(&world, "web", 1).await;
    let watcher = Watcher::start(world.client.clone()).await;
    world.kubelets.hold_pods();
    world.change_group("general", json!({ "minNodes": 2 })).await;
    let (machine, removal) = until_rolled_back(&world).await;
    let message = removal.message.unwrap_or_default();
    for part in ["DrainTimeout", "default/web-", "disruption budget"] {
        assert!(message.contains(part), "{message} lacks {part:?}");
    }
    let node = Api::<Node>::all(world.client.clone()).get(&machine).await.unwrap();
    let annotations = node.annotations();
    assert_eq!(
        annotations.get(api::labels::DRAIN_STATUS).map(String::as_str),
        Some("timeout")
    );
    assert!(!annotations.contains_key(api::labels::CORDONED_BY), "{annotations:?}");
    world
        .stays("no node is cordoned", 1, async || {
            !world.list::<Node>("").await.iter().any(is_cordoned)
        })
        .await;
    assert_eq!(world.mock.requests(Route::DeleteVm), 0);
    expect_evictions(watcher, 1).await;
    world.kubelets.release_pods();
    world.until_running("web", 6).await;
    world.stop_operator().await;
}

/// A node that was cordoned when the Go autoscaler ended stayed cordoned, and no later pass looked at it. Here the next
/// operator goes on with the drain.
pub async fn b3_a_drain_that_was_cut_short_is_resumed(mut world: World) {
    let (node, watcher) = half_drained(&mut world).await;
    world.abort_operator().await;
    world.kubelets.release_pods();
    world.start_operator();
    world.until_vms(2).await;
    world.until_running("web", 6).await;
    assert!(
        world.mock.vms().iter().all(|vm| vm.hostname != node),
        "{}",
        world.picture().await
    );
    let stay = world.list::<Node>("").await;
    assert!(
        !stay.iter().any(|stays| stays.name_any() != node && is_cordoned(stays)),
        "{}",
        world.picture().await
    );
    expect_evictions(watcher, 2).await;
    world.stop_operator().await;
}

/// A drain of the Go autoscaler that waited did not notice that the process was to end. Here the operator ends while a
/// budget refuses, and the next one goes on.
pub async fn incident_6f30490_a_drain_that_waits_does_not_keep_the_operator_from_ending(mut world: World) {
    let (node, watcher) = half_drained(&mut world).await;
    let patience = world.pace.patience;
    let ended = tokio::time::timeout(patience, world.stop_operator()).await;
    assert!(ended.is_ok(), "the operator does not end while {node} is being drained");
    world.kubelets.release_pods();
    world.start_operator();
    world.until_vms(2).await;
    expect_evictions(watcher, 2).await;
    world.stop_operator().await;
}

/// As [`b3_a_drain_that_was_cut_short_is_resumed`], with a budget that never recovers: the next operator takes its
/// predecessor's cordon off.
pub async fn b3_a_drain_that_was_cut_short_is_rolled_back(mut world: World) {
    let (node, watcher) = half_drained(&mut world).await;
    world.abort_operator().await;
    let soon = json!({ "scaleDownPolicy": short_drain(&world) });
    world.change_group("general", soon).await;
    world.start_operator();
    assert_eq!(until_rolled_back(&world).await.0, node);
    world
        .stays("all nodes are there and none is cordoned", 1, async || {
            let nodes = world.list::<Node>("").await;
            nodes.len() == 3 && !nodes.iter().any(is_cordoned)
        })
        .await;
    assert_eq!(world.mock.requests(Route::DeleteVm), 0);
    expect_evictions(watcher, 1).await;
    world.stop_operator().await;
}

/// When a drain failed, the Go autoscaler took the next node seconds later, until all idle nodes were cordoned.
pub async fn b4_after_a_failed_drain_no_other_node_is_cordoned(mut world: World) {
    let policy = short_drain(&world);
    idle_nodes(&mut world, 3, 2, json!({}), policy).await;
    world.budget("web", 1).await;
    until_allowed(&world, "web", 1).await;
    let cordoned: Arc<Mutex<BTreeSet<String>>> = Arc::default();
    let seen = Arc::clone(&cordoned);
    let _watching = follow(&world, move |node: Node| {
        if is_cordoned(&node) {
            seen.lock().unwrap().insert(node.name_any());
        }
    })
    .await;
    world.kubelets.hold_pods();
    world.change_group("general", json!({ "minNodes": 0 })).await;
    let (machine, _) = until_rolled_back(&world).await;
    world
        .until("the other two nodes are left alone for a while", async || {
            let decisions = world.decisions().await;
            let others = decisions.iter().filter(|(name, _)| **name != machine);
            let reasons: Vec<_> = others.filter_map(|(_, decision)| decision.reason.as_deref()).collect();
            reasons == ["RecentlyFailed"; 2]
        })
        .await;
    assert_eq!(*cordoned.lock().unwrap(), BTreeSet::from([machine]));
    world.stop_operator().await;
}

/// The Go autoscaler waited ten minutes for a budget, and deleted the VM then with the pods on it. Here that takes
/// `forceDrain`, also where somebody deletes the VPSieNode by hand.
pub async fn b5_a_budget_that_blocks_keeps_the_vm_unless_force_is_allowed(mut world: World) {
    let policy = short_drain(&world);
    idle_nodes(&mut world, 1, 2, json!({}), policy).await;
    world.budget("web", 0).await;
    until_allowed(&world, "web", 0).await;
    let node = world.list::<Node>("").await.remove(0).name_any();
    let machines: Api<api::VPSieNode> = Api::namespaced(world.client.clone(), NAMESPACE);
    machines.delete(&node, &DeleteParams::default()).await.unwrap();
    world
        .until("the VPSieNode says what holds it", async || {
            let machine = machines.get(&node).await.unwrap();
            let error = machine.status.and_then(|status| status.last_error).unwrap_or_default();
            error.contains("disruption budget")
        })
        .await;
    world
        .stays("both pods run where they were", 1, async || {
            let pods = world.pods("web").await;
            pods.len() == 2 && pods.iter().all(|pod| is_running(pod) && node_of(pod) == node)
        })
        .await;
    assert_eq!(world.mock.requests(Route::DeleteVm), 0);
    world
        .change_group("general", json!({ "scaleDownPolicy": { "forceDrain": true } }))
        .await;
    world
        .until("its VM is gone", async || {
            world.mock.vms().iter().all(|vm| vm.hostname != node)
        })
        .await;
    // The group has a node at the least.
    world.until_vms(1).await;
    world.until_running("web", 2).await;
    world.stop_operator().await;
}

/// The Go autoscaler waited for pods by their names, and a pod of a StatefulSet comes back under its name: the drain
/// lasted its full ten minutes. Nor did it ask again for a pod that a budget refused once.
pub async fn b6_a_stateful_set_that_comes_back_elsewhere_does_not_hold_the_drain(mut world: World) {
    world.group("general", 2, 10, &["medium-4"], json!({})).await;
    world.start_operator();
    world.until_ready(2).await;
    until_alike(&world, true).await;
    let set = json!({
        "apiVersion": "apps/v1", "kind": "StatefulSet",
        "metadata": { "name": "db", "namespace": NAMESPACE },
        "spec": {
            "replicas": 4, "serviceName": "db", "podManagementPolicy": "Parallel",
            "selector": { "matchLabels": { "app": "db" } },
            "template": {
                "metadata": { "labels": { "app": "db" } },
                "spec": { "containers": [{
                    "name": "main", "image": "example/app", "resources": { "requests": { "cpu": "400m" } },
                }] },
            },
        },
    });
    world.create::<StatefulSet>(set).await;
    until_spread(&world, "db", 2, 2).await;
    world.budget("db", 1).await;
    until_allowed(&world, "db", 1).await;
    let uids = async || -> BTreeMap<String, String> {
        let pods = world.pods("db").await.into_iter();
        pods.map(|pod| (pod.name_any(), pod.uid().unwrap_or_default()))
            .collect()
    };
    let before = uids().await;
    let watcher = Watcher::start(world.client.clone()).await;
    world.change_group("general", json!({ "minNodes": 1 })).await;
    let start = until_removal(&world).await;
    world.until_vms(1).await;
    let took = world.clock()().duration_since(start);
    world.until_running("db", 4).await;
    expect_evictions(watcher, 2).await;
    let after = uids().await;
    assert!(before.keys().eq(after.keys()), "{before:?} {after:?}");
    let moved = before
        .iter()
        .filter(|(name, uid)| after.get(*name) != Some(uid))
        .count();
    assert_eq!(moved, 2, "{before:?} {after:?}");
    // Twice the grace period of 30 s and a few refusals; the drain deadline is 15 minutes.
    assert!(took.as_secs() < 300, "{took:#}");
    world.stop_operator().await;
}

/// The Go autoscaler gave every pod 30 s, however long it had asked for. Here nothing is shorter than the pod's own grace
/// period, and a drain deadline that passes meanwhile undoes nothing.
pub async fn b8_a_pod_keeps_its_grace_period(mut world: World) {
    let patient = json!({ "terminationGracePeriodSeconds": 120 });
    idle_nodes(&mut world, 2, 1, patient, json!({ "drainTimeoutSeconds": 60 })).await;
    // A kubelet ends its pod with a grace period of 0.
    let graces = Arc::<Mutex<Vec<_>>>::default();
    let seen = Arc::clone(&graces);
    let _watching = follow(&world, move |pod: Pod| {
        if pod.metadata.deletion_timestamp.is_some() {
            let grace = pod.metadata.deletion_grace_period_seconds;
            seen.lock().unwrap().push((pod.name_any(), grace));
        }
    })
    .await;
    world.change_group("general", json!({ "minNodes": 1 })).await;
    let start = until_removal(&world).await;
    world.until_vms(1).await;
    let took = Duration::try_from(world.clock()().duration_since(start)).unwrap();
    world.until_running("web", 2).await;
    let mut graces = graces.lock().unwrap().clone();
    graces.dedup();
    let evicted = graces.first().cloned().unwrap_or_default().0;
    let whole = (evicted.clone(), Some(120));
    let ended = (evicted, Some(0));
    assert!(graces == [whole.clone()] || graces == [whole, ended], "{graces:?}");
    let grace = Duration::from_secs(120).min(world.pace.grace);
    assert!(grace <= took, "{took:?}");
    assert_eq!(world.notes("", "ScaleDownFailed").await, Vec::<String>::new());
    world.stop_operator().await;
}

/// The Go autoscaler counted VPSieNodes that had failed as nodes of the minimum, and removed one that worked.
pub async fn b12_a_failed_node_does_not_count_toward_the_minimum(mut world: World) {
    idle_nodes(&mut world, 2, 1, json!({}), json!({ "enabled": false })).await;
    world
        .phase_timeouts(json!({ "provisionSeconds": world.pace.window }))
        .await;
    world
        .mock
        .configure(|config| config.provision_delay = Duration::from_secs(86_400));
    world.change_group("general", json!({ "minNodes": 3 })).await;
    world.until_vms(3).await;
    world.change_group("general", json!({ "minNodes": 2 })).await;
    let phases = async || {
        let mut phases: Vec<_> = world
            .list::<api::VPSieNode>("")
            .await
            .iter()
            .map(api::VPSieNode::phase)
            .collect();
        phases.sort_unstable();
        phases
    };
    let two_and_a_failed = [api::Phase::Ready, api::Phase::Ready, api::Phase::Failed];
    world
        .until("one VPSieNode has failed", async || phases().await == two_and_a_failed)
        .await;
    world
        .change_group("general", json!({ "scaleDownPolicy": { "enabled": true } }))
        .await;
    world
        .until("the minimum is what keeps both nodes", async || {
            let decisions = world.decisions().await;
            let reasons: Vec<_> = decisions
                .values()
                .filter_map(|decision| decision.reason.as_deref())
                .collect();
            reasons == ["NodeGroupMinSizeReached"; 2]
        })
        .await;
    assert_eq!(phases().await, two_and_a_failed);
    assert!(
        !world.list::<Node>("").await.iter().any(is_cordoned),
        "{}",
        world.picture().await
    );
    // The VM that did not come up is deleted.
    world.until_vms(2).await;
    world.stop_operator().await;
}

/// The Go autoscaler evicted pods that no controller makes anew.
pub async fn b15_a_bare_pod_keeps_its_node(mut world: World) {
    idle_nodes(&mut world, 1, 1, json!({}), json!({})).await;
    let bare = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": "bare", "namespace": NAMESPACE, "labels": { "app": "bare" } },
        "spec": { "containers": [{ "name": "main", "image": "example/app" }] },
    });
    world.create::<Pod>(bare).await;
    world.until_running("bare", 1).await;
    let uid = world.pods("bare").await.remove(0).uid();
    world.undeploy("web").await;
    world.change_group("general", json!({ "minNodes": 0 })).await;
    world
        .until("the VPSieNode says that the pod keeps it", async || {
            world.decisions().await.values().any(|decision| {
                let pod = (decision.pod.as_deref(), decision.pod_reason.as_deref());
                decision.reason.as_deref() == Some("BlockedByPod")
                    && pod == (Some("default/bare"), Some("NotReplicated"))
            })
        })
        .await;
    world
        .stays("node and pod are there, and the node is not cordoned", 1, async || {
            let nodes = world.list::<Node>("").await;
            let pods = world.pods("bare").await;
            nodes.len() == 1
                && !nodes.iter().any(is_cordoned)
                && pods.iter().all(|pod| is_running(pod) && pod.uid() == uid)
                && pods.len() == 1
        })
        .await;
    world.stop_operator().await;
}

/// The Go autoscaler did not count how many pods of a budget are on a node, and evicted all of them at once.
pub async fn b17_two_pods_of_a_budget_go_one_after_the_other(mut world: World) {
    idle_nodes(&mut world, 2, 2, json!({}), json!({})).await;
    world.budget("web", 1).await;
    until_allowed(&world, "web", 1).await;
    let watcher = Watcher::start(world.client.clone()).await;
    world.kubelets.hold_pods();
    world.change_group("general", json!({ "minNodes": 1 })).await;
    until_half_drained(&world).await;
    world
        .stays("three pods run", 1, async || {
            world.pods("web").await.iter().filter(|pod| is_running(pod)).count() == 3
        })
        .await;
    world.kubelets.release_pods();
    world.until_vms(1).await;
    world.until_running("web", 4).await;
    expect_evictions(watcher, 2).await;
    world.stop_operator().await;
}

/// A policy of scale-down under which a drain is rolled back soon, and not tried again for a while.
fn short_drain(world: &World) -> Value {
    json!({ "drainTimeoutSeconds": world.pace.window, "delayAfterFailureSeconds": 600 })
}

/// A group `general` with so many nodes, all Ready and for its minimum, and on each of them so many pods of the Deployment
/// `web`. `pod` is merged into the spec of the pods and `policy` into the group's policy of scale-down. A smaller minimum
/// lets nodes go.
async fn idle_nodes(world: &mut World, nodes: u32, pods: u32, pod: Value, policy: Value) {
    let candidates = policy["enabled"] != false;
    let spec = json!({ "scaleDownPolicy": policy });
    world.group("general", nodes, 10, &["medium-4"], spec).await;
    world.start_operator();
    world.until_ready(nodes as usize).await;
    until_alike(world, candidates).await;
    world.deploy("web", nodes * pods, "500m", pod).await;
    until_spread(world, "web", nodes as usize, pods as usize).await;
}

/// Waits until all nodes are deletion candidates, or none is, so that the scheduler likes no node better than another.
async fn until_alike(world: &World, candidates: bool) {
    world
        .until("all nodes are candidates, or none", async || {
            let nodes = world.list::<Node>("").await;
            nodes.iter().all(|node| is_candidate(node) == candidates)
        })
        .await;
}

/// Waits until so many pods of an app run on each of so many nodes. The scheduler takes the emptiest node for each.
async fn until_spread(world: &World, app: &str, nodes: usize, pods: usize) {
    world
        .until(
            &format!("{pods} pods of {app} run on each of {nodes} nodes"),
            async || {
                let all = world.pods(app).await;
                let mut by_node: BTreeMap<&str, usize> = BTreeMap::new();
                for pod in all.iter().filter(|pod| is_running(pod)) {
                    *by_node.entry(node_of(pod)).or_default() += 1;
                }
                all.len() == nodes * pods && by_node.len() == nodes && by_node.values().all(|count| *count == pods)
            },
        )
        .await;
}

/// Waits until the budget of an app allows exactly so many disruptions.
pub(super) async fn until_allowed(world: &World, app: &str, count: i32) {
    let budgets: Api<PodDisruptionBudget> = Api::namespaced(world.client.clone(), NAMESPACE);
    world
        .until(&format!("the budget of {app} allows {count}"), async || {
            let budget = budgets.get(app).await.unwrap();
            let generation = budget.metadata.generation;
            budget.status.is_some_and(|status| {
                status.observed_generation == generation && status.disruptions_allowed == Some(count)
            })
        })
        .await;
}

/// Asserts that no budget was broken, and that so many pods were evicted, each once.
async fn expect_evictions(watcher: Watcher, count: usize) {
    let report = watcher.stop().await;
    report.assert_clean();
    assert_eq!(report.evictions.len(), count, "{:#?}", report.evictions);
    assert!(report.repeated().is_empty(), "{:#?}", report.evictions);
}

/// Three nodes with two pods each under a budget of one, and a drain that waits in its middle: one pod of the cordoned node
/// has been evicted, and its replacement is not started. Returns the name of that node, and who has been watching.
async fn half_drained(world: &mut World) -> (String, Watcher) {
    idle_nodes(world, 3, 2, json!({}), json!({})).await;
    world.budget("web", 1).await;
    until_allowed(world, "web", 1).await;
    let watcher = Watcher::start(world.client.clone()).await;
    world.kubelets.hold_pods();
    world.change_group("general", json!({ "minNodes": 2 })).await;
    let node = until_half_drained(world).await;
    let cordoned = world.list::<Node>("").await;
    let cordoned: Vec<_> = cordoned
        .iter()
        .filter(|node| is_cordoned(node))
        .map(Node::name_any)
        .collect();
    assert_eq!(cordoned, [node.as_str()]);
    (node, watcher)
}

/// Waits until one pod of a node that is being drained has gone and its replacement is held. Returns the node's name.
async fn until_half_drained(world: &World) -> String {
    let held = |pod: &Pod| !node_of(pod).is_empty() && !is_running(pod) && pod.metadata.deletion_timestamp.is_none();
    let is_draining = |machine: &api::VPSieNode| {
        let removal = machine.status.as_ref().and_then(|status| status.removal.as_ref());
        removal.is_some_and(|removal| removal.phase == Some(RemovalPhase::Draining))
    };
    let draining = Mutex::new(None);
    world
        .until("a replacement is bound and does not start", async || {
            let is_held = world.pods("web").await.iter().any(held);
            let machines = world.list::<api::VPSieNode>("").await;
            let machine = machines.iter().find(|machine| is_draining(machine));
            *draining.lock().unwrap() = machine.map(ResourceExt::name_any);
            is_held && machine.is_some()
        })
        .await;
    draining.into_inner().unwrap().unwrap()
}

/// Waits until a removal has begun, and says when.
async fn until_removal(world: &World) -> Timestamp {
    let begun = async || {
        let machines = world.list::<api::VPSieNode>("").await.into_iter();
        let mut removals = machines.filter_map(|machine| machine.status?.removal?.started_at);
        removals.next().map(|time| time.0)
    };
    world
        .until("a removal has begun", async || begun().await.is_some())
        .await;
    begun().await.unwrap()
}

/// Waits until a removal has failed and its VPSieNode is Ready again. Returns its name, which is that of its Node, and the
/// record of the removal.
async fn until_rolled_back(world: &World) -> (String, api::Removal) {
    let failed = async || {
        let machines = world.list::<api::VPSieNode>("").await.into_iter();
        let mut failed = machines
            .filter(|machine| machine.phase() == api::Phase::Ready)
            .filter_map(|machine| {
                let removal = machine.status.as_ref().and_then(|status| status.removal.clone())?;
                (removal.phase == Some(RemovalPhase::Failed)).then(|| (machine.name_any(), removal))
            });
        failed.next()
    };
    world
        .until("a removal has been rolled back", async || failed().await.is_some())
        .await;
    failed().await.unwrap()
}

/// Hands over every state in which any object of a kind is seen, until the handle is dropped. Returns when those that are
/// there have been handed over.
pub(super) async fn follow<K>(world: &World, mut see: impl FnMut(K) + Send + 'static) -> AbortOnDropHandle<()>
where
    K: Resource<DynamicType = ()> + DeserializeOwned + Clone + std::fmt::Debug + Send + 'static,
{
    let all: Api<K> = Api::all(world.client.clone());
    let (listed, is_listed) = oneshot::channel();
    let mut listed = Some(listed);
    let following = AbortOnDropHandle::new(tokio::spawn(async move {
        let mut events = watcher(all, watcher::Config::default()).default_backoff().boxed();
        while let Some(event) = events.next().await {
            match event {
                Ok(watcher::Event::InitApply(object) | watcher::Event::Apply(object)) => see(object),
                // Nobody waits for a further list.
                Ok(watcher::Event::InitDone) => drop(listed.take().map(|listed| listed.send(()))),
                // After a failure everything is listed anew.
                Ok(watcher::Event::Init | watcher::Event::Delete(_)) | Err(_) => {}
            }
        }
    }));
    is_listed.await.expect("the task follows until it is dropped");
    following
}
