//! What must happen, told once for both kinds of Kubernetes API: each scenario takes a fresh [`World`].

mod kills;
mod scale_down;
mod scale_up;
mod utilization;
mod whole;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use autoscaler_scaler::api;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::{
    Api, ResourceExt,
    api::{Patch, PatchParams},
};
use serde_json::json;
use tokio_util::task::AbortOnDropHandle;
use vpsie_client::mock::{Fault, Route, Times};

pub use self::{kills::*, scale_down::*, scale_up::*, utilization::*, whole::*};
use crate::world::{NAMESPACE, World, is_running};

/// Hands a macro the list of all tests: a name, the scenario it runs, and the arguments behind the world.
#[macro_export]
macro_rules! every_scenario {
    ($run:ident) => {
        $run! {
            scale_up_from_zero_for_1_pod: scale_up_from_zero(1, 1);
            scale_up_from_zero_for_5_pods: scale_up_from_zero(5, 1);
            scale_up_from_zero_for_30_pods: scale_up_from_zero(30, 5);
            scale_up_from_one_for_1_pod: scale_up_from_one(1, 1);
            scale_up_from_one_for_5_pods: scale_up_from_one(5, 1);
            scale_up_from_one_for_30_pods: scale_up_from_one(30, 5);
            b20_two_groups_one_pod_one_vm: b20_two_groups_one_pod_one_vm();
            b21_an_oversized_pod_buys_nothing_and_hears_why: b21_an_oversized_pod_buys_nothing_and_hears_why();
            b22_labels_and_taints_before_schedulable: b22_labels_and_taints_before_schedulable();
            scale_down_of_an_idle_node: scale_down_of_an_idle_node();
            a_node_that_is_measured_busy_stays_until_it_is_idle: a_node_that_is_measured_busy_stays_until_it_is_idle();
            b9_nodes_without_samples_stay_until_nobody_measures: b9_nodes_without_samples_stay_until_nobody_measures();
            b1_a_node_with_an_empty_dir_pod_stays: b1_a_node_with_an_empty_dir_pod_stays();
            b32_a_lost_reply_to_a_create_buys_one_vm: b32_a_lost_reply_to_a_create_buys_one_vm();
            b32e_an_operator_that_ends_during_a_create_buys_one_vm: b32e_an_operator_that_ends_during_a_create_buys_one_vm();
            capacity_errors_back_off: capacity_errors_back_off_and_the_next_best_offering_is_bought();
            a_provisioning_timeout_backs_off: a_provisioning_timeout_backs_off_and_the_next_best_offering_is_bought();
            a_hundred_pods_of_five_shapes_run_after_one_round: a_hundred_pods_of_five_shapes_run_after_one_round();
            shapes_that_share_nodes_run_after_one_round: shapes_that_share_nodes_run_after_one_round();
            pods_that_the_scheduler_leaves_over_get_nodes: pods_that_the_scheduler_leaves_over_get_nodes();
            headroom_keeps_an_empty_node: headroom_keeps_an_empty_node();
            headroom_is_not_used_up_by_a_drain: headroom_is_not_used_up_by_a_drain();
            a_pod_group_waits_as_a_whole: a_pod_group_waits_as_a_whole();
            b4_b5_a_budget_that_allows_nothing_keeps_every_node: b4_b5_a_budget_that_allows_nothing_keeps_every_node();
            b2_a_refused_eviction_ends_with_the_node_schedulable_again: b2_a_refused_eviction_ends_with_the_node_schedulable_again();
            b3_a_drain_that_was_cut_short_is_resumed: b3_a_drain_that_was_cut_short_is_resumed();
            b3_a_drain_that_was_cut_short_is_rolled_back: b3_a_drain_that_was_cut_short_is_rolled_back();
            incident_6f30490_a_drain_that_waits_does_not_keep_the_operator_from_ending: incident_6f30490_a_drain_that_waits_does_not_keep_the_operator_from_ending();
            b4_after_a_failed_drain_no_other_node_is_cordoned: b4_after_a_failed_drain_no_other_node_is_cordoned();
            b5_a_budget_that_blocks_keeps_the_vm_unless_force_is_allowed: b5_a_budget_that_blocks_keeps_the_vm_unless_force_is_allowed();
            b6_a_stateful_set_that_comes_back_elsewhere_does_not_hold_the_drain: b6_a_stateful_set_that_comes_back_elsewhere_does_not_hold_the_drain();
            b8_a_pod_keeps_its_grace_period: b8_a_pod_keeps_its_grace_period();
            b12_a_failed_node_does_not_count_toward_the_minimum: b12_a_failed_node_does_not_count_toward_the_minimum();
            b15_a_bare_pod_keeps_its_node: b15_a_bare_pod_keeps_its_node();
            b17_two_pods_of_a_budget_go_one_after_the_other: b17_two_pods_of_a_budget_go_one_after_the_other();
            thirty_pods_that_shrink_to_five_end_on_one_node: thirty_pods_that_shrink_to_five_end_on_one_node();
            test_scale_down_end_to_end: test_scale_down_end_to_end();
            test_mixed_scaling_end_to_end: test_mixed_scaling_end_to_end();
            b39_a_deleted_node_group_takes_its_vms_along: b39_a_deleted_node_group_takes_its_vms_along();
            a_foreign_cordon_is_left_alone: a_foreign_cordon_is_left_alone();
        }
    };
}

/// From no node at all: as few nodes as hold the pods are bought at once, and every pod runs.
///
/// medium-4 has 3.9 cores for pods, so seven pods of half a core.
pub async fn scale_up_from_zero(mut world: World, pods: u32, nodes: usize) {
    world.group("general", 0, 10, &["medium-4"], json!({})).await;
    world.start_operator();
    world.deploy("web", pods, "500m", json!({})).await;
    world.until_running("web", pods as usize).await;
    world.until_size(nodes).await;
    world
        .stays("no further node", 2, async || world.mock.vms().len() == nodes)
        .await;
    world.stop_operator().await;
}

/// With one node that is there for the minimum: it is filled first.
pub async fn scale_up_from_one(mut world: World, pods: u32, nodes: usize) {
    world.group("general", 1, 10, &["medium-4"], json!({})).await;
    world.start_operator();
    world.until_size(1).await;
    world.deploy("web", pods, "500m", json!({})).await;
    world.until_running("web", pods as usize).await;
    world.until_size(nodes).await;
    world
        .stays("no further node", 2, async || world.mock.vms().len() == nodes)
        .await;
    world.stop_operator().await;
}

/// Two groups could take the pod: exactly one VM is bought, ever.
pub async fn b20_two_groups_one_pod_one_vm(mut world: World) {
    world.group("alpha", 0, 5, &["small-2"], json!({})).await;
    world.group("beta", 0, 5, &["small-2"], json!({})).await;
    world.start_operator();
    world.deploy("web", 1, "500m", json!({})).await;
    world.until_running("web", 1).await;
    world.until_size(1).await;
    world.stays("one VM", 2, async || world.mock.vms().len() == 1).await;
    assert_eq!(world.mock.requests(Route::CreateVm), 1);
    world.stop_operator().await;
}

/// A pod larger than any offering: no VM, and the pod hears which group has how much.
pub async fn b21_an_oversized_pod_buys_nothing_and_hears_why(mut world: World) {
    world.group("general", 0, 5, &["small-2", "medium-4"], json!({})).await;
    world.start_operator();
    world.deploy("giant", 1, "64", json!({})).await;
    world
        .until("the pod has an event", async || {
            !world.notes("giant", "NotTriggerScaleUp").await.is_empty()
        })
        .await;
    let note = world.notes("giant", "NotTriggerScaleUp").await.remove(0);
    for part in [
        "2 InsufficientCpu (default/general)",
        "medium-4: cpu: needs 64000m, a new node has 3900m",
    ] {
        assert!(note.contains(part), "{note} lacks {part:?}");
    }
    world.stays("no VM", 2, async || world.mock.vms().is_empty()).await;
    assert_eq!(world.mock.requests(Route::CreateVm), 0);
    world.stop_operator().await;
}

/// Labels and taints of the group are on the Node before anything can be scheduled to it.
pub async fn b22_labels_and_taints_before_schedulable(mut world: World) {
    let more = json!({
        "labels": { "pool": "gpu" },
        "taints": [{ "key": "gpu", "value": "yes", "effect": "NoSchedule" }],
    });
    world.group("gpu", 0, 5, &["small-2"], more).await;
    let (states, _watching) = watch_nodes(&world).await;
    world.start_operator();
    let selector =
        json!({ "nodeSelector": { "pool": "gpu" }, "tolerations": [{ "key": "gpu", "operator": "Exists" }] });
    world.deploy("train", 1, "500m", selector).await;
    world.until_running("train", 1).await;
    let node = world.list::<Node>("pool=gpu").await.remove(0);
    let spec = node.spec.clone().unwrap_or_default();
    assert!(spec.taints.iter().flatten().any(|taint| taint.key == "gpu"), "{spec:?}");
    assert_eq!(
        node.labels().get(api::labels::NODE_GROUP).map(String::as_str),
        Some("gpu")
    );
    let states = states.lock().unwrap().clone();
    assert!(!states.is_empty());
    for state in states.iter().filter(|state| state.schedulable) {
        assert!(
            state.complete,
            "the node could be scheduled to without the labels and taints of its group: {states:?}"
        );
    }
    assert!(
        states.iter().any(|state| !state.schedulable),
        "the node was never seen starting: {states:?}"
    );
    world.stop_operator().await;
}

/// A state of a Node as the API server showed it.
#[derive(Clone, Debug)]
struct NodeState {
    schedulable: bool,
    complete: bool,
}

/// Every state in which any Node is seen, until the handle is dropped.
async fn watch_nodes(world: &World) -> (Arc<Mutex<Vec<NodeState>>>, AbortOnDropHandle<()>) {
    let states = Arc::<Mutex<Vec<_>>>::default();
    let seen = Arc::clone(&states);
    let watching = follow(world, move |node: Node| {
        let taints = node
            .spec
            .as_ref()
            .and_then(|spec| spec.taints.clone())
            .unwrap_or_default();
        let starting = taints.iter().any(|taint| taint.key == api::labels::STARTUP_TAINT);
        let complete = node.labels().get("pool").is_some_and(|pool| pool == "gpu")
            && taints.iter().any(|taint| taint.key == "gpu");
        seen.lock().unwrap().push(NodeState {
            schedulable: !starting,
            complete,
        });
    });
    (states, watching.await)
}

/// An idle node goes: its VM, its Node and its VPSieNode, and nothing else.
pub async fn scale_down_of_an_idle_node(mut world: World) {
    world.group("general", 0, 10, &["medium-4"], json!({})).await;
    let foreign = world.mock.add_vm(vpsie_client::mock::MockVm::foreign("somebody-elses"));
    world.start_operator();
    world.deploy("web", 10, "500m", json!({})).await;
    world.until_running("web", 10).await;
    world.scale("web", 3).await;
    world
        .until(
            "one node, VPSieNode and VM of ours are left, with all pods",
            async || {
                let nodes = world.list::<Node>("").await.len();
                let machines = world.list::<api::VPSieNode>("").await.len();
                let pods = world.pods("web").await;
                nodes == 1
                    && machines == 1
                    && world.mock.vms().len() == 2
                    && pods.len() == 3
                    && pods.iter().all(is_running)
            },
        )
        .await;
    assert!(
        world.mock.vms().iter().any(|vm| vm.id == foreign),
        "the VM of somebody else is untouched"
    );
    let node = world.list::<Node>("").await.remove(0);
    assert_ne!(
        node.spec.and_then(|spec| spec.unschedulable),
        Some(true),
        "the node that stays is not cordoned"
    );
    world.undeploy("web").await;
    world
        .until("nothing of ours is left", async || {
            world.list::<Node>("").await.is_empty()
                && world.list::<api::VPSieNode>("").await.is_empty()
                && world.mock.vms().len() == 1
        })
        .await;
    world.stop_operator().await;
}

/// A node whose pod keeps data in an emptyDir stays, however idle, and is not even cordoned.
pub async fn b1_a_node_with_an_empty_dir_pod_stays(mut world: World) {
    world.group("general", 0, 10, &["medium-4"], json!({})).await;
    world.start_operator();
    world
        .deploy(
            "cache",
            1,
            "100m",
            json!({ "volumes": [{ "name": "data", "emptyDir": {} }] }),
        )
        .await;
    world.until_running("cache", 1).await;
    world.until_size(1).await;
    world
        .stays("the node and its pod are there, not cordoned", 4, async || {
            let nodes = world.list::<Node>("").await;
            let cordoned = nodes
                .iter()
                .any(|node| node.spec.as_ref().and_then(|spec| spec.unschedulable) == Some(true));
            nodes.len() == 1
                && !cordoned
                && world.mock.vms().len() == 1
                && world.pods("cache").await.iter().all(is_running)
        })
        .await;
    world.stop_operator().await;
}

/// The create call is carried out and its answer is lost: the VM is found again and no second one is bought.
pub async fn b32_a_lost_reply_to_a_create_buys_one_vm(mut world: World) {
    world.group("general", 0, 5, &["small-2"], json!({})).await;
    world.mock.inject(Route::CreateVm, Fault::LoseReply, Times::Next(1));
    world.start_operator();
    world.deploy("web", 1, "500m", json!({})).await;
    world.until_running("web", 1).await;
    world.until_size(1).await;
    assert_eq!(world.mock.requests(Route::CreateVm), 1);
    world.stop_operator().await;
}

/// The operator ends between the create call and the write of its outcome; its successor finds the VM.
pub async fn b32e_an_operator_that_ends_during_a_create_buys_one_vm(mut world: World) {
    world.group("general", 0, 5, &["small-2"], json!({})).await;
    world
        .mock
        .inject(Route::CreateVm, Fault::Delay(world.pace.patience), Times::Next(1));
    world.start_operator();
    world.deploy("web", 1, "500m", json!({})).await;
    world
        .until("the VM is there, and its creator does not know", async || {
            world.mock.vms().len() == 1
        })
        .await;
    world.abort_operator().await;
    world.mock.clear_faults();
    world.start_operator();
    world.until_running("web", 1).await;
    world.until_size(1).await;
    assert_eq!(world.mock.requests(Route::CreateVm), 1);
    world.stop_operator().await;
}

/// The provider is full for one size: the next best is bought, and the full one is left alone for a while.
pub async fn capacity_errors_back_off_and_the_next_best_offering_is_bought(mut world: World) {
    world.group("general", 0, 5, &["small-2", "medium-4"], json!({})).await;
    let full = Fault::error(500, "Worker nodes count exceeds the allowed limit 5");
    world.mock.inject(Route::CreateVm, full, Times::Next(1));
    world.start_operator();
    world.deploy("web", 1, "500m", json!({})).await;
    world.until_running("web", 1).await;
    let vms: Vec<_> = world.mock.vms().into_iter().map(|vm| vm.offering_id).collect();
    assert_eq!(vms, ["medium-4"]);
    let group = world.list::<api::NodeGroup>("").await.remove(0);
    let backoffs = group.status.unwrap_or_default().scale_up_backoffs;
    assert!(
        backoffs.iter().any(|backoff| backoff.offering == "small-2"),
        "{backoffs:?}"
    );
    world.stop_operator().await;
}

/// A budget that allows nothing: the drain is not even begun, and the node keeps serving.
pub async fn b4_b5_a_budget_that_allows_nothing_keeps_every_node(mut world: World) {
    world.group("general", 0, 10, &["medium-4"], json!({})).await;
    world.start_operator();
    world.deploy("web", 8, "500m", json!({})).await;
    world.until_running("web", 8).await;
    world.budget("web", 0).await;
    until_allowed(&world, "web", 0).await;
    world.scale("web", 2).await;
    world
        .until("two pods are left", async || {
            let pods = world.pods("web").await;
            pods.len() == 2 && pods.iter().all(is_running)
        })
        .await;
    world
        .stays("pods stay where they are", 4, async || {
            let pods = world.pods("web").await;
            let nodes: BTreeMap<String, Node> = world
                .list::<Node>("")
                .await
                .into_iter()
                .map(|node| (node.name_any(), node))
                .collect();
            pods.len() == 2
                && pods.iter().all(|pod: &Pod| {
                    let on = pod
                        .spec
                        .as_ref()
                        .and_then(|spec| spec.node_name.clone())
                        .unwrap_or_default();
                    is_running(pod)
                        && nodes
                            .get(&on)
                            .is_some_and(|node| node.spec.as_ref().and_then(|spec| spec.unschedulable) != Some(true))
                })
        })
        .await;
    world.stop_operator().await;
}

/// The deletion of a NodeGroup waits for its nodes, and takes them along.
pub async fn b39_a_deleted_node_group_takes_its_vms_along(mut world: World) {
    world.group("general", 2, 5, &["small-2"], json!({})).await;
    world.start_operator();
    world.until_ready(2).await;
    let groups: Api<api::NodeGroup> = Api::namespaced(world.client.clone(), NAMESPACE);
    groups
        .delete("general", &kube::api::DeleteParams::default())
        .await
        .unwrap();
    world.until_size(0).await;
    world
        .until("the NodeGroup is gone", async || {
            world.list::<api::NodeGroup>("").await.is_empty()
        })
        .await;
    world.stop_operator().await;
}

/// A cordon of somebody else does not protect a node, and is not undone on nodes that stay.
pub async fn a_foreign_cordon_is_left_alone(mut world: World) {
    world.group("general", 1, 5, &["small-2"], json!({})).await;
    world.start_operator();
    world.until_size(1).await;
    let node = world.list::<Node>("").await.remove(0).name_any();
    let nodes: Api<Node> = Api::all(world.client.clone());
    let cordon = Patch::Merge(json!({ "spec": { "unschedulable": true } }));
    nodes.patch(&node, &PatchParams::default(), &cordon).await.unwrap();
    world
        .stays("the node is there and cordoned", 3, async || {
            let found = nodes.get_opt(&node).await.unwrap();
            found.is_some_and(|node| node.spec.and_then(|spec| spec.unschedulable) == Some(true))
        })
        .await;
    world.stop_operator().await;
}
