//! What only the embedded cluster can do: faults, metrics on demand, virtual time, repeatable names.

use std::time::Duration;

use autoscaler_scaler::embedded::ApiError;
use autoscaler_scaler::embedded::Cluster;
use autoscaler_scaler::embedded::Verb;
use autoscaler_scaler::embedded::scheduler::Scheduler;
use futures::StreamExt;
use futures::TryStreamExt;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::ResourceExt;
use kube::api::ApiResource;
use kube::api::DynamicObject;
use kube::api::ListParams;
use kube::api::ObjectMeta;
use kube::api::PostParams;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher;
use serde_json::json;

use crate::{code, config, deployment};

#[tokio::test(start_paused = true)]
async fn faults_strike_as_often_as_told() {
    let cluster = Cluster::new();
    let maps: Api<ConfigMap> = Api::default_namespaced(cluster.client());
    cluster.faults().fail(
        Verb::Create,
        "configmaps",
        1,
        ApiError::new(503, "ServiceUnavailable", "on purpose"),
    );
    let refused = maps
        .create(&PostParams::default(), &config("a", json!({})))
        .await
        .unwrap_err();
    assert_eq!(code(refused).0, 503);
    cluster.faults().lose_replies(Verb::Create, "configmaps", 1);
    let lost = maps
        .create(&PostParams::default(), &config("a", json!({})))
        .await
        .unwrap_err();
    assert!(!matches!(lost, kube::Error::Api(_)), "{lost:?}");
    assert!(maps.get_opt("a").await.unwrap().is_some(), "the effect took place");
    cluster
        .faults()
        .delay(Verb::Get, "configmaps", 1, Duration::from_secs(5));
    let before = cluster.now();
    maps.get("a").await.unwrap();
    assert_eq!(cluster.now().duration_since(before).as_secs(), 5);
    assert_eq!(cluster.faults().count(Verb::Create, "configmaps"), 2);
    assert_eq!(cluster.faults().requests().last().unwrap().name, "a");
}

#[tokio::test(start_paused = true)]
async fn node_metrics_are_served_once_they_are_set() {
    let cluster = Cluster::new();
    let resource = ApiResource {
        group: "metrics.k8s.io".to_owned(),
        version: "v1beta1".to_owned(),
        api_version: "metrics.k8s.io/v1beta1".to_owned(),
        kind: "NodeMetrics".to_owned(),
        plural: "nodes".to_owned(),
    };
    let metrics: Api<DynamicObject> = Api::all_with(cluster.client(), &resource);
    assert_eq!(code(metrics.list(&ListParams::default()).await.unwrap_err()).0, 404);
    cluster.set_node_metrics("n", "250m", "1Gi");
    assert_eq!(
        metrics.get("n").await.unwrap().data["usage"],
        json!({ "cpu": "250m", "memory": "1Gi" })
    );
}

#[tokio::test(start_paused = true)]
async fn three_hours_pass_without_spinning() {
    let cluster = Cluster::new();
    let _controllers = cluster.start_controllers();
    let _scheduler = Scheduler::start(&cluster);
    let client = cluster.client();
    let deployments: Api<Deployment> = Api::default_namespaced(client.clone());
    deployments
        .create(&PostParams::default(), &deployment(3))
        .await
        .unwrap();
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    let watching = tokio::spawn(async move {
        let mut events = watcher(pods, watcher::Config::default())
            .default_backoff()
            .applied_objects()
            .boxed();
        let mut seen = 0_usize;
        while let Ok(Ok(Some(_))) = tokio::time::timeout(Duration::from_hours(3), events.try_next()).await {
            seen += 1;
        }
        seen
    });
    let start = cluster.now();
    let seen = watching.await.unwrap();
    assert!(cluster.now().duration_since(start).as_hours() >= 3);
    assert!(
        (3..=6).contains(&seen),
        "three pods, each created and judged once: {seen}"
    );
    let watches = cluster.faults().count(Verb::Watch, "pods");
    assert!((30..=45).contains(&watches), "a watch lasts 290 s: {watches}");
}

#[tokio::test]
async fn the_same_requests_give_the_same_names_and_uids() {
    let run = async || {
        let cluster = Cluster::new();
        let maps: Api<ConfigMap> = Api::default_namespaced(cluster.client());
        let generated: ConfigMap = ConfigMap {
            metadata: ObjectMeta {
                generate_name: Some("g-".to_owned()),
                ..ObjectMeta::default()
            },
            ..ConfigMap::default()
        };
        let created = maps.create(&PostParams::default(), &generated).await.unwrap();
        (created.name_any(), created.uid())
    };
    assert_eq!(run().await, run().await);
}
