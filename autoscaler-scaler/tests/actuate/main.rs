//! The actuator against the embedded cluster and a cloud in memory, under paused time.
#![cfg(feature = "embedded-cluster")]
#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

mod backoff;
mod bugs;
mod candidates;
mod provider;
mod removals;
mod world;

use autoscaler_core::provider::{InstanceState, ProviderErrorKind};
use autoscaler_scaler::{
    actuate::Fact,
    api::{NodeGroup, Phase, RemovalPhase, VPSieNode},
    embedded::{ApiError, Verb},
};
use k8s_openapi::api::core::v1::{Event, Pod, Secret};
use kube::{
    Api, ResourceExt as _,
    api::{Patch, PatchParams},
};
use serde_json::json;

use provider::{CreateFault, ListFault};
use world::World;

#[tokio::test(start_paused = true)]
async fn a_node_comes_up_with_labels_and_taints_before_it_is_schedulable() {
    let mut world = World::new(json!({})).await;
    world.begin_creations(1).await;
    let intent = world.machine().await;
    assert_eq!(intent.spec.instance_type, "small");
    assert_eq!(intent.finalizers(), ["vpsienode.autoscaler.vpsie.com/finalizer"]);
    assert_eq!(intent.owner_references()[0].name, "g");
    assert!(
        world.cloud.lock().creates.is_empty(),
        "the intent comes before the effect"
    );

    world.tick().await;
    let request = world.cloud.lock().creates[0].clone();
    assert_eq!(Some(request.token.as_str()), intent.spec.client_token.as_deref());
    let user_data = request.user_data.as_ref().unwrap().expose();
    assert!(
        user_data.contains("--register-with-taints=autoscaler.vpsie.com/startup:NoSchedule,dedicated=a:NoSchedule")
    );
    assert!(user_data.contains("team=a"));
    let machine = world.machine().await;
    assert_eq!(
        (machine.phase(), machine.spec.vpsie_instance_id),
        (Phase::Provisioning, 1)
    );

    world.boot().await;
    for _ in 0..60 {
        let node = world.node(&intent.name_any()).await;
        let taints = node
            .spec
            .as_ref()
            .and_then(|spec| spec.taints.clone())
            .unwrap_or_default();
        if !taints.iter().any(|taint| taint.key == "autoscaler.vpsie.com/startup") {
            let labels = node.labels();
            assert_eq!(labels.get("team").map(String::as_str), Some("a"));
            assert_eq!(
                labels.get("autoscaler.vpsie.com/nodegroup").map(String::as_str),
                Some("g")
            );
            assert_eq!(
                labels.get("topology.kubernetes.io/zone").map(String::as_str),
                Some("dc1")
            );
            assert!(taints.iter().any(|taint| taint.key == "dedicated"));
        }
        world.tick().await;
    }
    let machine = world.machine().await;
    assert_eq!(machine.phase(), Phase::Ready);
    let status = world.group().await.status.unwrap();
    assert_eq!(
        (status.current_nodes, status.ready_nodes, status.nodes.len()),
        (1, 1, 1)
    );
    assert!(status.last_scale_up_time.is_some());
    assert!(world.facts.iter().any(|fact| matches!(fact, Fact::NodeReady { .. })));
    assert_eq!(world.problems, []);

    // At rest nothing is written.
    let versions = (
        world.machine().await.resource_version(),
        world.group().await.resource_version(),
    );
    world.pass(120).await;
    assert_eq!(
        versions,
        (
            world.machine().await.resource_version(),
            world.group().await.resource_version()
        )
    );
}

#[tokio::test(start_paused = true)]
async fn a_scale_up_that_an_operator_did_not_live_to_note_is_noted_by_its_successor() {
    let mut world = World::new(json!({})).await;
    let earlier = json!({ "status": { "lastScaleUpTime": "2000-01-01T00:00:00Z", "lastScaleTime": null } });
    world.begin_creations(1).await;
    let noted = world.group().await.status.unwrap().last_scale_up_time;
    let groups: Api<NodeGroup> = world.api();
    let patch = Patch::Merge(earlier);
    groups.patch_status("g", &PatchParams::default(), &patch).await.unwrap();
    world.restart();
    world.tick().await;
    let status = world.group().await.status.unwrap();
    assert!(noted.is_some());
    assert_eq!(
        (status.last_scale_up_time, status.last_scale_time),
        (noted.clone(), noted)
    );
}

#[tokio::test(start_paused = true)]
async fn a_lost_reply_and_a_crash_make_one_vm() {
    let mut world = World::new(json!({})).await;
    world.cloud.lock().create_faults = vec![CreateFault::LoseReply];
    world.begin_creations(1).await;
    world.tick().await;
    assert_eq!(world.machine().await.instance_id(), None);
    world.restart();
    world.pass(90).await;
    assert_eq!(world.machine().await.instance_id().as_deref(), Some("1"));
    let state = world.cloud.lock();
    assert_eq!((state.vms.len(), state.creates.len()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_lost_request_is_repeated_with_the_same_token_once_the_list_is_clear() {
    let mut world = World::new(json!({})).await;
    world.cloud.lock().create_faults = vec![CreateFault::LoseRequest];
    world.begin_creations(1).await;
    world.tick().await;
    world.restart();
    world.cloud.lock().list_fault = ListFault::Malformed;
    world.pass(120).await;
    assert_eq!(world.cloud.lock().creates.len(), 1, "without a list nothing is known");
    world.cloud.lock().list_fault = ListFault::None;
    world.pass(60).await;
    let state = world.cloud.lock();
    assert_eq!((state.vms.len(), state.creates.len()), (1, 2));
    assert_eq!(state.creates[0].token, state.creates[1].token);
}

#[tokio::test(start_paused = true)]
async fn an_api_server_that_fails_and_loses_replies_only_delays() {
    let mut world = World::new(json!({})).await;
    world.begin_creations(2).await;
    let faults = world.cluster.faults();
    for resource in ["vpsienodes", "vpsienodes/status", "nodes"] {
        faults.lose_replies(Verb::Patch, resource, 2);
        faults.fail(Verb::Patch, resource, 2, ApiError::new(500, "InternalError", "down"));
        faults.lose_replies(Verb::Patch, resource, 1);
    }
    for second in 0..180 {
        if second % 20 == 10 {
            world.restart();
            world.boot().await;
        }
        world.tick().await;
    }
    let phases: Vec<Phase> = world.machines().await.iter().map(VPSieNode::phase).collect();
    assert_eq!(phases, [Phase::Ready, Phase::Ready]);
    assert_eq!(world.cloud.lock().vms.len(), 2);
    assert!(!world.problems.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_refused_order_backs_off_and_leaves_nothing() {
    let mut world = World::new(json!({})).await;
    world.cloud.lock().create_faults = vec![CreateFault::Refuse(ProviderErrorKind::Capacity { limit: Some(3) }); 2];
    world.begin_creations(2).await;
    world.tick().await;
    assert!(world.machines().await.is_empty());
    assert_eq!(world.replans, 1);
    let status = world.group().await.status.unwrap();
    let [backoff] = status.scale_up_backoffs.as_slice() else {
        panic!("{:?}", status.scale_up_backoffs)
    };
    assert_eq!((backoff.offering.as_str(), backoff.failures), ("small", 1));
    let wait = backoff
        .until
        .as_ref()
        .unwrap()
        .0
        .duration_since(backoff.last_failure.as_ref().unwrap().0);
    assert_eq!(wait.as_secs(), 300);
    let events: Api<Event> = world.api();
    let events = events.list(&Default::default()).await.unwrap().items;
    assert!(
        events
            .iter()
            .any(|event| event.reason.as_deref() == Some("CapacityLimitReached"))
    );
}

#[tokio::test(start_paused = true)]
async fn user_data_that_cannot_be_filled_in_makes_no_vm() {
    let reference = json!({ "userDataSecretRef": { "name": "join" } });
    let mut world = World::new(reference).await;
    let _secret: Secret = world
        .create(json!({ "metadata": { "name": "join" }, "stringData": {}, "data": { "userData": base64("x {{ token }}") } }))
        .await;
    world.begin_creations(1).await;
    world.tick().await;
    let machine = world.machine().await;
    assert!(machine.status.unwrap().last_error.unwrap().contains("{{ token }}"));
    assert!(world.cloud.lock().creates.is_empty());

    let secrets: Api<Secret> = world.api();
    let patch = json!({ "data": { "userData": base64("host {{ hostname }}") } });
    secrets
        .patch("join", &PatchParams::default(), &Patch::Merge(patch))
        .await
        .unwrap();
    world.pass(2).await;
    let state = world.cloud.lock();
    assert_eq!(
        state.creates[0].user_data.as_ref().unwrap().expose(),
        format!("host {}", state.creates[0].hostname)
    );
}

#[tokio::test(start_paused = true)]
async fn a_drain_that_a_budget_blocks_is_rolled_back() {
    let mut world = World::new(json!({ "scaleDownPolicy": { "drainTimeoutSeconds": 60 } })).await;
    let node = world.hanging_drain().await;
    // A restart in the middle goes on, and knows that the cordon is ours.
    world.restart();
    world.pass(70).await;
    assert!(!world.is_cordoned(&node).await);
    let machine = world.machine().await;
    let removal = machine.status.as_ref().unwrap().removal.clone().unwrap();
    assert_eq!(
        (machine.phase(), removal.phase),
        (Phase::Ready, Some(RemovalPhase::Failed))
    );
    let message = removal.message.unwrap();
    assert!(
        message.contains("default/web-") && message.contains("disruption budget web"),
        "{message}"
    );
    assert!(removal.failed_at.is_some());
    assert_eq!(world.cloud.lock().deletes, []);
    assert!(
        world
            .facts
            .iter()
            .any(|fact| matches!(fact, Fact::EvictionRefused { .. }))
    );
    // Asked for again after a while that doubles, not all the time: 2, 4, 8, 16, 30 s.
    let asked = world
        .facts
        .iter()
        .filter(|fact| matches!(fact, Fact::EvictionRefused { .. }))
        .count();
    assert!(asked < 12, "{asked}");
}

#[tokio::test(start_paused = true)]
async fn a_pending_pod_that_needs_the_node_ends_the_removal() {
    let mut world = World::new(json!({})).await;
    let node = world.ready_node().await;
    world.deployment("web", 1).await;
    world.pass(3).await;
    world.foreign_node("other").await;
    world.budget_of_web().await;
    world.pass(2).await;
    world.begin_removal(&node, "other").await;
    world.pass(5).await;
    assert!(world.is_cordoned(&node).await);
    let _pending: Pod = world
        .create(json!({
            "metadata": { "name": "late" },
            "spec": {
                "nodeSelector": { "team": "a" },
                "tolerations": [{ "key": "dedicated", "operator": "Exists" }],
                "containers": [{ "name": "c", "image": "i" }],
            },
        }))
        .await;
    world.pass(5).await;
    let removal = world.machine().await.status.unwrap().removal.unwrap();
    assert_eq!(
        removal.message.as_deref(),
        Some("PendingPods: the pending pod default/late needs the node")
    );
    assert!(!world.is_cordoned(&node).await);
    let late: Pod = world.api().get("late").await.unwrap();
    assert_eq!(late.spec.unwrap().node_name.as_deref(), Some(node.as_str()));
}

#[tokio::test(start_paused = true)]
async fn a_deletion_by_hand_does_not_evict_what_nobody_would_replace() {
    let mut world = World::new(json!({ "scaleDownPolicy": { "drainTimeoutSeconds": 30 } })).await;
    let node = world.ready_node().await;
    world.deployment("web", 1).await;
    world.bare_pod().await;
    world.foreign_node("other").await;
    world.pass(3).await;
    let machines: Api<VPSieNode> = world.api();
    machines.delete(&node, &Default::default()).await.unwrap();
    world.pass(60).await;
    let status = world.machine().await.status.unwrap();
    assert_eq!(status.phase, Phase::Terminating);
    assert!(status.last_error.unwrap().contains("NotReplicated: pod default/bare"));
    let pods: Api<Pod> = world.api();
    let on_node: Vec<String> = pods
        .list(&Default::default())
        .await
        .unwrap()
        .into_iter()
        .filter(|pod| pod.spec.as_ref().unwrap().node_name.as_deref() == Some(&node))
        .map(|pod| pod.name_any())
        .collect();
    assert_eq!(on_node, ["bare"], "the pod of the Deployment has gone");
    pods.delete("bare", &Default::default()).await.unwrap();
    world.pass(40).await;
    assert_eq!(world.machine().await.phase(), Phase::Deleting);
}

#[tokio::test(start_paused = true)]
async fn incident_5d367ae_86f697e_1bd24cb_a_removal_deletes_the_vm_and_ends_when_the_list_shows_it_gone() {
    let mut world = World::new(json!({})).await;
    let node = world.ready_node().await;
    world.deployment("web", 2).await;
    world.pass(3).await;
    world.foreign_node("other").await;
    world.pass(2).await;
    world.begin_removal(&node, "other").await;
    world.until(Phase::Deleting).await;
    let pods: Api<Pod> = world.api();
    let pods = pods.list(&Default::default()).await.unwrap().items;
    assert!(
        pods.iter()
            .all(|pod| pod.spec.as_ref().unwrap().node_name.as_deref() != Some(&node))
    );
    assert_eq!(world.cloud.lock().deletes.len(), 1);

    for fault in [ListFault::None, ListFault::Malformed, ListFault::Empty] {
        world.cloud.lock().list_fault = fault;
        world.pass(30).await;
        assert_eq!(world.machine().await.phase(), Phase::Deleting, "{fault:?}");
        assert!(world.nodes().get_opt(&node).await.unwrap().is_some());
    }
    world.cloud.lock().list_fault = ListFault::None;
    world.pass(10).await;
    world.restart();
    world.finish_deletions().await;
    world.pass(10).await;
    assert!(world.machines().await.is_empty());
    assert!(world.nodes().get_opt(&node).await.unwrap().is_none());
    assert!(world.group().await.status.unwrap().last_scale_down_time.is_some());
    assert!(world.facts.iter().any(|fact| matches!(fact, Fact::NodeRemoved { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_foreign_cordon_outlives_a_failed_removal() {
    let mut world = World::new(json!({ "minNodes": 1 })).await;
    let node = world.ready_node().await;
    let cordon = json!({ "spec": { "unschedulable": true } });
    world
        .nodes()
        .patch(&node, &PatchParams::default(), &Patch::Merge(cordon))
        .await
        .unwrap();
    world.pass(2).await;
    // The group is at its minimum: the removal is refused when it is looked at again.
    world.begin_removal(&node, &node).await;
    world.pass(5).await;
    let removal = world.machine().await.status.unwrap().removal.unwrap();
    assert_eq!(removal.phase, Some(RemovalPhase::Failed));
    assert!(removal.message.unwrap().starts_with("NodeGroupMinSizeReached"));
    assert!(world.is_cordoned(&node).await);
    assert_eq!(world.cloud.lock().deletes, []);
}

#[tokio::test(start_paused = true)]
async fn incident_8b4c086_a_deletion_by_hand_while_the_outcome_is_unknown_leaks_nothing() {
    let mut world = World::new(json!({})).await;
    world.cloud.lock().create_faults = vec![CreateFault::LoseReply];
    world.cloud.lock().list_fault = ListFault::Malformed;
    world.begin_creations(1).await;
    world.tick().await;
    let machines: Api<VPSieNode> = world.api();
    machines
        .delete(&world.machine().await.name_any(), &Default::default())
        .await
        .unwrap();
    world.pass(120).await;
    assert_eq!(world.machine().await.phase(), Phase::Deleting);
    world.cloud.lock().list_fault = ListFault::None;
    world.pass(10).await;
    assert_eq!(
        world.cloud.turn(InstanceState::Deleting, InstanceState::Deleting).len(),
        1
    );
    world.finish_deletions().await;
    world.pass(60).await;
    assert!(world.machines().await.is_empty() && world.cloud.lock().vms.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_group_that_is_deleted_takes_its_nodes_along() {
    let mut world = World::new(json!({})).await;
    let node = world.ready_node().await;
    assert_eq!(
        world.group().await.finalizers(),
        ["nodegroup.autoscaler.vpsie.com/finalizer"]
    );
    let groups: Api<NodeGroup> = world.api();
    groups.delete("g", &Default::default()).await.unwrap();
    world.until(Phase::Deleting).await;
    assert!(
        groups.get_opt("g").await.unwrap().is_some(),
        "the finalizer holds while a VPSieNode is left"
    );
    world.finish_deletions().await;
    // A list must be younger than the create call by the settle time before it shows a VM gone.
    world.pass(40).await;
    assert!(groups.get_opt("g").await.unwrap().is_none());
    assert!(world.nodes().get_opt(&node).await.unwrap().is_none() && world.cloud.lock().vms.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_vm_that_vanishes_fails_its_node_and_is_collected() {
    let mut world = World::new(json!({})).await;
    let node = world.ready_node().await;
    world.cloud.lock().vms.clear();
    world.pass(150).await;
    assert_eq!(
        world.machine().await.phase(),
        Phase::Ready,
        "a Node that is Ready contradicts the list"
    );
    world.kubelets.fail(&node).await.unwrap();
    world.until(Phase::Failed).await;
    world.pass(5).await;
    assert!(world.nodes().get_opt(&node).await.unwrap().is_none());
    let status = world.group().await.status.unwrap();
    assert_eq!((status.current_nodes, status.ready_nodes), (0, 0));
    world.pass(1810).await;
    assert!(world.machines().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn orphans_are_reported_and_foreign_vms_left_alone() {
    let mut world = World::new(json!({})).await;
    world.cloud.add("lost", &["vpsie-autoscaler-cluster=c1".to_owned()]);
    world.cloud.add("theirs", &["vpsie-autoscaler-cluster=c2".to_owned()]);
    world.cloud.add("plain", &[]);
    world.pass(2).await;
    assert!(world.facts.contains(&Fact::Orphans { count: 1 }));
    let _config: autoscaler_scaler::api::AutoscalerConfig = {
        let configs = Api::all(world.cluster.client());
        let config = world::object(json!({
            "apiVersion": "autoscaler.vpsie.com/v1alpha1", "kind": "AutoscalerConfig", "metadata": { "name": "default" },
            "spec": { "globalSettings": { "orphanPolicy": "Delete", "orphanGracePeriodSeconds": 100 } },
        }));
        configs.create(&Default::default(), &config).await.unwrap()
    };
    world.pass(60).await;
    assert_eq!(world.cloud.lock().deletes, []);
    world.pass(120).await;
    let deletes = world.cloud.lock().deletes.clone();
    assert!(
        !deletes.is_empty() && deletes.iter().all(|id| id.as_str() == "1"),
        "{deletes:?}"
    );
}

fn base64(text: &str) -> serde_json::Value {
    serde_json::to_value(k8s_openapi::ByteString(text.as_bytes().to_vec())).unwrap()
}
