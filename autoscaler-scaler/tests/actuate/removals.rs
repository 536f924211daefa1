//! What ends a removal, what it waits for, and what is never touched.

use autoscaler_core::provider::{InstanceId, InstanceState};
use autoscaler_scaler::{
    api::{NodeGroup, Phase, RemovalPhase, VPSieNode},
    embedded::{ApiError, Verb},
};
use k8s_openapi::api::{
    core::v1::{Event, Node, Pod},
    policy::v1::PodDisruptionBudget,
    storage::v1::VolumeAttachment,
};
use kube::{
    Api, ResourceExt as _,
    api::{DeleteParams, Patch, PatchParams},
};
use serde_json::{Value, json};

use crate::world::World;

const PROTECTED: &str = "autoscaler.vpsie.com/protected";
const CORDONED_BY: &str = "autoscaler.vpsie.com/cordoned-by";

async fn patch_node(world: &World, name: &str, patch: Value) {
    let params = PatchParams::default();
    world.nodes().patch(name, &params, &Patch::Merge(patch)).await.unwrap();
}

async fn patch_group(world: &World, patch: Value) {
    let groups: Api<NodeGroup> = world.api();
    let params = PatchParams::default();
    groups.patch("g", &params, &Patch::Merge(patch)).await.unwrap();
}

fn annotation(node: &Node, key: &str) -> Option<String> {
    node.annotations().get(key).cloned()
}

async fn reasons_of_events(world: &World) -> Vec<String> {
    let events: Api<Event> = Api::all(world.cluster.client());
    let events = events.list(&Default::default()).await.unwrap().items;
    events
        .into_iter()
        .map(|event| {
            format!(
                "{}: {}",
                event.reason.unwrap_or_default(),
                event.message.unwrap_or_default()
            )
        })
        .collect()
}

async fn why_it_was_rolled_back(world: &mut World, node: &str) -> String {
    world.pass(5).await;
    assert!(!world.is_cordoned(node).await);
    assert_eq!(annotation(&world.node(node).await, CORDONED_BY), None);
    let status = world.machine().await.status.unwrap();
    let removal = status.removal.unwrap();
    assert_eq!(
        (status.phase, removal.phase),
        (Phase::Ready, Some(RemovalPhase::Failed))
    );
    assert_eq!(world.cloud.lock().deletes, []);
    removal.message.unwrap()
}

#[tokio::test(start_paused = true)]
async fn what_an_admin_changes_during_a_drain_ends_it() {
    let unmanaged = json!({ "metadata": { "labels": { "autoscaler.vpsie.com/managed": "false" } } });
    let disabled = json!({ "spec": { "scaleDownPolicy": { "enabled": false } } });
    let protected = json!({ "metadata": { "annotations": { (PROTECTED): "true" } } });
    let control_plane = json!({ "metadata": { "labels": { "node-role.kubernetes.io/control-plane": "" } } });
    for (of_group, patch, reason) in [
        (false, protected, "ScaleDownDisabledAnnotation"),
        (false, control_plane, "ControlPlane"),
        (true, disabled, "ScaleDownDisabled"),
        (true, unmanaged, "NotAutoscaled"),
    ] {
        let mut world = World::new(json!({})).await;
        let node = world.hanging_drain().await;
        if of_group {
            patch_group(&world, patch).await;
        } else {
            patch_node(&world, &node, patch).await;
        }
        let message = why_it_was_rolled_back(&mut world, &node).await;
        assert!(message.starts_with(&format!("{reason}: ")), "{message}");
        let told = format!("ScaleDownFailed: {message}");
        assert!(reasons_of_events(&world).await.contains(&told), "{told}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_scale_up_of_its_group_ends_a_drain_and_a_deletion_by_hand_goes_on() {
    let mut world = World::new(json!({})).await;
    let node = world.hanging_drain().await;
    world.begin_creations(1).await;
    world.pass(5).await;
    assert!(!world.is_cordoned(&node).await);
    let machines: Api<VPSieNode> = world.api();
    let removal = machines.get(&node).await.unwrap().status.unwrap().removal.unwrap();
    let message = removal.message.unwrap();
    assert!(message.starts_with("ScaleUpInProgress: "), "{message}");

    patch_node(
        &world,
        &node,
        json!({ "metadata": { "annotations": { (PROTECTED): "true" } } }),
    )
    .await;
    machines.delete(&node, &DeleteParams::default()).await.unwrap();
    let budgets: Api<PodDisruptionBudget> = world.api();
    budgets.delete("web", &DeleteParams::default()).await.unwrap();
    world.pass(60).await;
    assert_eq!(machines.get(&node).await.unwrap().phase(), Phase::Deleting);
}

#[tokio::test(start_paused = true)]
async fn b3_a_cordon_of_which_the_reply_was_lost_is_undone() {
    let mut world = World::new(json!({})).await;
    let node = world.ready_node().await;
    world.foreign_node("other").await;
    world.pass(2).await;
    world.begin_removal(&node, "other").await;
    let before = world.index.cluster();
    world.cluster.faults().lose_replies(Verb::Patch, "nodes", 1);
    world.tick().await;
    assert!(world.is_cordoned(&node).await, "the write had its effect");
    assert!(!world.problems.is_empty(), "its reply was lost");
    patch_group(&world, json!({ "spec": { "scaleDownPolicy": { "enabled": false } } })).await;
    for _ in 0..3 {
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        // The watch of Nodes lags behind: the cordon is not to be seen in the index.
        let mut lagging = world.index.cluster();
        lagging.nodes = before.nodes.clone();
        let _report = world.actuator.tick(&lagging, world.cluster.now()).await;
    }
    assert!(!world.is_cordoned(&node).await);
    assert!(
        reasons_of_events(&world)
            .await
            .iter()
            .all(|event| !event.starts_with("CordonRemoved"))
    );
    let removal = world.machine().await.status.unwrap().removal.unwrap();
    assert_eq!(removal.phase, Some(RemovalPhase::Failed));
}

#[tokio::test(start_paused = true)]
async fn b3_a_cordon_that_no_removal_stands_behind_is_undone() {
    let mut world = World::new(json!({})).await;
    let node = world.ready_node().await;
    let uid = world.machine().await.uid().unwrap();
    // A leader that was dropped: its write came in after the next leader had rolled the removal back.
    let cordon = |mark: &str| {
        json!({
            "metadata": { "annotations": { (CORDONED_BY): mark } },
            "spec": { "unschedulable": true },
        })
    };
    for mark in [uid.as_str(), "the-uid-of-a-vpsienode-that-is-gone"] {
        patch_node(&world, &node, cordon(mark)).await;
        world.pass(3).await;
        assert!(!world.is_cordoned(&node).await, "{mark}");
        assert_eq!(annotation(&world.node(&node).await, CORDONED_BY), None);
    }
    let undone = reasons_of_events(&world).await;
    assert!(undone.iter().any(|event| event.starts_with("CordonRemoved")));

    // A cordon of somebody else, and one of a removal, stay.
    patch_node(&world, &node, json!({ "spec": { "unschedulable": true } })).await;
    world.pass(3).await;
    assert!(world.is_cordoned(&node).await);
}

#[tokio::test(start_paused = true)]
async fn a_mark_that_outlived_its_cordon_is_not_taken_for_a_cordon_of_ours() {
    let mut world = World::new(json!({})).await;
    let node = world.hanging_drain().await;
    patch_node(&world, &node, json!({ "spec": { "unschedulable": null } })).await;
    let message = why_it_was_rolled_back(&mut world, &node).await;
    assert!(message.starts_with("Uncordoned: "), "{message}");
    patch_node(&world, &node, json!({ "spec": { "unschedulable": true } })).await;
    world.pass(10).await;
    assert!(world.is_cordoned(&node).await, "a person's cordon");
}

#[tokio::test(start_paused = true)]
async fn a_foreign_vm_under_the_old_name_is_never_deleted() {
    let mut world = World::new(json!({})).await;
    let node = world.ready_node().await;
    let machines: Api<VPSieNode> = world.api();
    // A VPSieNode of the Go autoscaler: its VM is known by its id, and carries no token.
    let patch = json!({
        "metadata": { "annotations": { "autoscaler.vpsie.com/creation-requested": "true" } },
        "spec": { "clientToken": null },
    });
    machines
        .patch(&node, &PatchParams::default(), &Patch::Merge(patch))
        .await
        .unwrap();
    world.pass(2).await;
    world.cloud.lock().vms.clear();
    let theirs = world.cloud.add(&node, &[]);
    world.cloud.turn(InstanceState::Provisioning, InstanceState::Running);
    world.kubelets.fail(&node).await.unwrap();
    world.pass(200).await;
    machines.delete(&node, &DeleteParams::default()).await.unwrap();
    world.pass(200).await;
    assert!(world.machines().await.is_empty(), "{:#?}", world.problems);
    let state = world.cloud.lock();
    assert!(!state.deletes.contains(&theirs), "{:?}", state.deletes);
    let left: Vec<&InstanceId> = state.vms.iter().map(|vm| &vm.id).collect();
    assert_eq!(left, [&theirs]);
}

#[tokio::test(start_paused = true)]
async fn an_edited_label_does_not_make_a_ready_node_vanish() {
    let mut world = World::new(json!({})).await;
    let node = world.ready_node().await;
    let label = |name: &str| json!({ "metadata": { "labels": { "autoscaler.vpsie.com/vpsienode": name } } });
    patch_node(&world, &node, label("typo")).await;
    world.pass(30).await;
    assert_eq!(world.machine().await.phase(), Phase::Ready);
    assert_eq!(world.cloud.lock().deletes, []);
    assert!(
        world
            .problems
            .iter()
            .any(|problem| problem.message.contains("names a VPSieNode that does not exist"))
    );
    patch_node(&world, &node, label(&node)).await;
    world.pass(2).await;
    world.problems.clear();
    world.pass(10).await;
    assert_eq!(world.problems, []);
}

#[tokio::test(start_paused = true)]
async fn b8_a_drain_waits_for_a_pod_within_its_own_grace_period() {
    let mut world = World::new(json!({ "scaleDownPolicy": { "drainTimeoutSeconds": 30 } })).await;
    let node = world.ready_node().await;
    let _slow: k8s_openapi::api::apps::v1::Deployment = world
        .create(json!({
            "metadata": { "name": "slow" },
            "spec": {
                "replicas": 1,
                "selector": { "matchLabels": { "app": "slow" } },
                "template": {
                    "metadata": { "labels": { "app": "slow" } },
                    "spec": {
                        "terminationGracePeriodSeconds": 120,
                        "tolerations": [{ "key": "dedicated", "operator": "Exists" }],
                        "containers": [{ "name": "c", "image": "i" }],
                    },
                },
            },
        }))
        .await;
    world.pass(3).await;
    world.foreign_node("other").await;
    world.pass(2).await;
    world.begin_removal(&node, "other").await;
    world.pass(100).await;
    let status = world.machine().await.status.unwrap();
    assert_eq!(
        status.removal.and_then(|removal| removal.phase),
        Some(RemovalPhase::Draining)
    );
    assert!(world.is_cordoned(&node).await);
    world.pass(30).await;
    assert_eq!(world.machine().await.phase(), Phase::Deleting);
    assert_eq!(world.cluster.faults().count(Verb::Create, "pods/eviction"), 1);
}

#[tokio::test(start_paused = true)]
async fn b15_force_is_for_budgets_and_only_when_the_drain_is_overdue() {
    let policy = json!({ "scaleDownPolicy": { "drainTimeoutSeconds": 60, "forceDrain": true } });
    let mut world = World::new(policy).await;
    let node = world.ready_node().await;
    world.deployment("web", 1).await;
    world.bare_pod().await;
    world.budget_of_web().await;
    world.pass(3).await;
    world.foreign_node("other").await;
    world.pass(2).await;
    let machines: Api<VPSieNode> = world.api();
    machines.delete(&node, &DeleteParams::default()).await.unwrap();
    world.pass(50).await;
    let on_node = |pods: Vec<Pod>| {
        let mut names: Vec<String> = pods
            .into_iter()
            .filter(|pod| pod.spec.as_ref().unwrap().node_name.as_deref() == Some(&node))
            .map(|pod| pod.name_any().split('-').next().unwrap().to_owned())
            .collect();
        names.sort();
        names
    };
    let pods: Api<Pod> = world.api();
    let list = pods.list(&Default::default()).await.unwrap().items;
    assert_eq!(on_node(list), ["bare", "web"], "the deadline has not passed");
    world.pass(120).await;
    let list = pods.list(&Default::default()).await.unwrap().items;
    assert_eq!(on_node(list), ["bare"], "nobody would replace it");
    assert_eq!(world.machine().await.phase(), Phase::Terminating);
}

#[tokio::test(start_paused = true)]
async fn b4_failures_are_counted_for_the_node_and_its_group_until_a_removal_succeeds() {
    let mut world = World::new(json!({ "scaleDownPolicy": { "drainTimeoutSeconds": 10 } })).await;
    let node = world.hanging_drain().await;
    for failures in 1..4 {
        world.pass(30).await;
        let removal = world.machine().await.status.unwrap().removal.unwrap();
        assert_eq!(
            (removal.phase, removal.failures),
            (Some(RemovalPhase::Failed), Some(failures))
        );
        let status = world.group().await.status.unwrap();
        assert_eq!(status.scale_down_failures, Some(failures));
        assert_eq!(
            status.last_scale_down_failure_time.map(|time| time.0.as_second()),
            removal.failed_at.map(|time| time.0.as_second())
        );
        if failures < 3 {
            world.begin_removal(&node, "other").await;
        }
    }
    let budgets: Api<PodDisruptionBudget> = world.api();
    budgets.delete("web", &DeleteParams::default()).await.unwrap();
    world.pass(2).await;
    world.begin_removal(&node, "other").await;
    world.until(Phase::Deleting).await;
    world.pass(1).await;
    assert_eq!(world.group().await.status.unwrap().scale_down_failures, None);
}

#[tokio::test(start_paused = true)]
async fn a_vm_is_not_deleted_under_volumes_that_are_being_detached() {
    let mut world = World::new(json!({})).await;
    let node = world.ready_node().await;
    world.foreign_node("other").await;
    world.pass(2).await;
    let attachments: Api<VolumeAttachment> = Api::all(world.cluster.client());
    for (name, node) in [("a1", node.as_str()), ("a2", "other")] {
        let attachment = crate::world::object(json!({
            "apiVersion": "storage.k8s.io/v1", "kind": "VolumeAttachment", "metadata": { "name": name },
            "spec": { "attacher": "csi.example.com", "nodeName": node, "source": { "persistentVolumeName": name } },
        }));
        attachments.create(&Default::default(), &attachment).await.unwrap();
    }
    world.begin_removal(&node, "other").await;
    world.pass(30).await;
    let phase = |machine: VPSieNode| machine.status.unwrap().removal.unwrap().phase;
    assert_eq!(phase(world.machine().await), Some(RemovalPhase::Drained));
    assert_eq!(world.cloud.lock().deletes, []);
    // A restart, and a server that does not answer, change nothing.
    world.restart();
    let down = ApiError::new(500, "InternalError", "down");
    world.cluster.faults().fail(Verb::List, "volumeattachments", 5, down);
    world.pass(5).await;
    assert_eq!(phase(world.machine().await), Some(RemovalPhase::Drained));
    attachments.delete("a1", &DeleteParams::default()).await.unwrap();
    world.until(Phase::Deleting).await;
    assert_eq!(world.cloud.lock().deletes.len(), 1);
}
