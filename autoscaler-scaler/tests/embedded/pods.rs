//! Bindings, graceful deletion and evictions.

use autoscaler_scaler::embedded::Cluster;
use autoscaler_scaler::embedded::Verb;
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::Api;
use kube::api::DeleteParams;
use kube::api::EvictParams;
use kube::api::PostParams;
use serde_json::json;

use crate::{bind, code, eventually, node, object, set_running, unscheduled};

#[tokio::test(start_paused = true)]
async fn a_bound_pod_stays_until_its_end_is_confirmed() {
    let cluster = Cluster::new();
    let pods: Api<Pod> = Api::default_namespaced(cluster.client());
    pods.create(&PostParams::default(), &unscheduled("p")).await.unwrap();
    bind(&cluster, "p", "n").await.unwrap();
    let bound = pods.get("p").await.unwrap();
    assert_eq!(bound.spec.unwrap().node_name.as_deref(), Some("n"));
    assert_eq!(code(bind(&cluster, "p", "m").await.unwrap_err()).0, 409);
    set_running(&pods, "p").await;

    let deleted = pods
        .delete("p", &DeleteParams::default())
        .await
        .unwrap()
        .left()
        .unwrap();
    assert_eq!(deleted.metadata.deletion_grace_period_seconds, Some(30));
    let since = deleted
        .metadata
        .deletion_timestamp
        .unwrap()
        .0
        .duration_since(cluster.now());
    // A real clock has moved on, and the timestamp is in whole seconds.
    assert!((29..=30).contains(&since.as_secs()));
    pods.delete("p", &DeleteParams::default().grace_period(0))
        .await
        .unwrap();
    assert!(pods.get_opt("p").await.unwrap().is_none());
}

#[tokio::test(start_paused = true)]
async fn an_eviction_is_granted_as_far_as_the_budget_allows() {
    let cluster = Cluster::new();
    let _controllers = cluster.start_controllers();
    let pods: Api<Pod> = Api::default_namespaced(cluster.client());
    let budgets: Api<PodDisruptionBudget> = Api::default_namespaced(cluster.client());
    let nodes: Api<Node> = Api::all(cluster.client());
    nodes
        .create(&PostParams::default(), &node("n", "4", true))
        .await
        .unwrap();
    let budget = |name: &str| -> PodDisruptionBudget {
        object(json!({
            "metadata": { "name": name },
            "spec": { "minAvailable": 1, "selector": { "matchLabels": { "app": "a" } } },
        }))
    };
    budgets.create(&PostParams::default(), &budget("b")).await.unwrap();
    for name in ["p1", "p2"] {
        pods.create(&PostParams::default(), &unscheduled(name)).await.unwrap();
        bind(&cluster, name, "n").await.unwrap();
        set_running(&pods, name).await;
    }
    let allowed = async |wanted: i32| {
        let found = budgets
            .get("b")
            .await
            .unwrap()
            .status
            .filter(|s| s.disruptions_allowed == Some(wanted));
        found.filter(|s| s.observed_generation == Some(1) && s.expected_pods == Some(2))
    };
    eventually("one disruption allowed", || allowed(1)).await;
    pods.evict("p1", &EvictParams::default()).await.unwrap();
    assert!(pods.get("p1").await.unwrap().metadata.deletion_timestamp.is_some());
    let kube::Error::Api(refused) = pods.evict("p2", &EvictParams::default()).await.unwrap_err() else {
        panic!()
    };
    assert_eq!((refused.code, refused.reason.as_str()), (429, "TooManyRequests"));
    assert_eq!(refused.details.unwrap().causes[0].reason, "DisruptionBudget");
    assert_eq!(cluster.faults().count(Verb::Create, "pods/eviction"), 2);

    pods.delete("p1", &DeleteParams::default().grace_period(0))
        .await
        .unwrap();
    pods.create(&PostParams::default(), &unscheduled("p3")).await.unwrap();
    bind(&cluster, "p3", "n").await.unwrap();
    set_running(&pods, "p3").await;
    eventually("the budget recovered", || allowed(1)).await;
    pods.evict("p2", &EvictParams::default()).await.unwrap();

    // Two budgets over one pod: the server does not choose.
    budgets.create(&PostParams::default(), &budget("b2")).await.unwrap();
    let refused = pods.evict("p3", &EvictParams::default()).await.unwrap_err();
    assert_eq!(code(refused), (500, String::new()));
    assert!(pods.get("p3").await.unwrap().metadata.deletion_timestamp.is_none());
}
