//! Offerings that cannot be had are left alone for a while.

use autoscaler_scaler::api::{Phase, ScaleUpBackoff};
use k8s_openapi::api::events::v1::Event;
use kube::{Api, ResourceExt as _};
use serde_json::json;

use crate::world::World;

/// Deadlines of one minute each.
async fn impatient(world: &World) {
    let config = json!({
        "apiVersion": "autoscaler.vpsie.com/v1alpha1", "kind": "AutoscalerConfig", "metadata": { "name": "default" },
        "spec": { "globalSettings": {
            "phaseTimeouts": { "provisionSeconds": 60, "joinSeconds": 60, "initializeSeconds": 60 },
        } },
    });
    let configs: Api<autoscaler_scaler::api::AutoscalerConfig> = Api::all(world.cluster.client());
    let config = serde_json::from_value(config).unwrap();
    configs.create(&Default::default(), &config).await.unwrap();
}

async fn backoffs(world: &World) -> Vec<ScaleUpBackoff> {
    world.group().await.status.unwrap_or_default().scale_up_backoffs
}

/// Length of the wait in seconds.
fn wait(backoff: &ScaleUpBackoff) -> i64 {
    let (until, failed) = (backoff.until.as_ref().unwrap(), backoff.last_failure.as_ref().unwrap());
    until.0.duration_since(failed.0).as_secs()
}

#[tokio::test(start_paused = true)]
async fn a_vm_that_does_not_run_in_time_backs_its_offering_off_once() {
    let mut world = World::new(json!({})).await;
    impatient(&world).await;
    world.begin_creations(3).await;
    let failed = world.until(Phase::Failed).await;
    world.pass(5).await;
    let [backoff] = backoffs(&world).await.try_into().unwrap();
    assert_eq!((backoff.offering.as_str(), backoff.failures), ("small", 1));
    assert_eq!(backoff.reason.as_deref(), Some("ProvisioningTimeout"));
    assert_eq!(backoff.message.as_deref(), Some("the VM did not run within 1m"));
    assert_eq!(wait(&backoff), 300);
    let status = failed.status.unwrap();
    assert_eq!(backoff.last_failure, status.phase_since, "it counts from the failure");
    assert!(world.replans >= 1, "the next best offering is decided upon at once");

    // Nobody who comes later counts the same failures again.
    let (replans, version) = (world.replans, world.group().await.resource_version());
    world.restart();
    world.pass(30).await;
    assert_eq!(
        (world.replans, world.group().await.resource_version()),
        (replans, version)
    );

    let events: Api<Event> = world.api();
    let events = events.list(&Default::default()).await.unwrap().items;
    let note = events
        .iter()
        .filter(|event| event.regarding.as_ref().and_then(|o| o.name.as_deref()) == Some("g"))
        .find(|event| event.reason.as_deref() == Some("ProvisioningTimeout"))
        .and_then(|event| event.note.clone())
        .unwrap();
    let until = backoff.until.unwrap().0;
    assert_eq!(
        note,
        format!("offering small is backed off until {until}: the VM did not run within 1m")
    );
}

#[tokio::test(start_paused = true)]
async fn a_node_that_does_not_join_in_time_backs_its_offering_off_and_the_next_failure_doubles_the_wait() {
    let mut world = World::new(json!({})).await;
    impatient(&world).await;
    for (failures, seconds) in [(1, 300), (2, 600)] {
        world.begin_creations(1).await;
        world.tick().await;
        world.cloud.turn(
            autoscaler_core::provider::InstanceState::Provisioning,
            autoscaler_core::provider::InstanceState::Running,
        );
        world.pass(90).await;
        let [backoff] = backoffs(&world).await.try_into().unwrap();
        assert_eq!(backoff.reason.as_deref(), Some("JoiningTimeout"));
        assert_eq!((backoff.failures, wait(&backoff)), (failures, seconds));
        world.pass(300).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_that_fails_after_it_was_ready_backs_nothing_off() {
    let mut world = World::new(json!({})).await;
    let node = world.ready_node().await;
    world.kubelets.leave(&node).await;
    world.nodes().delete(&node, &Default::default()).await.unwrap();
    world.until(Phase::Failed).await;
    world.pass(5).await;
    assert_eq!(backoffs(&world).await, []);
}

#[tokio::test(start_paused = true)]
async fn a_back_off_goes_three_hours_after_the_failure() {
    let mut world = World::new(json!({})).await;
    impatient(&world).await;
    world.begin_creations(1).await;
    world.until(Phase::Failed).await;
    world.tick().await;
    assert_eq!(backoffs(&world).await.len(), 1);
    tokio::time::sleep(std::time::Duration::from_secs(3 * 3600)).await;
    world.tick().await;
    assert_eq!(backoffs(&world).await, []);
}
