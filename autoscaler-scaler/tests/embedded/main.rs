//! The embedded cluster through a real kube client, under paused time.
//!
//! `objects`, `apply` and `pods` ask for nothing that a real kube-apiserver with its controllers does not do; they were
//! run against one. `watches`, `workloads` and `cluster` also use what only this cluster can do.
#![cfg(feature = "embedded-cluster")]
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests"
)]

mod apply;
mod cluster;
mod objects;
mod pods;
mod watches;
mod workloads;

use std::future::Future;
use std::time::Duration;

use autoscaler_scaler::embedded::Cluster;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::Patch;
use kube::api::PatchParams;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::json;

fn object<K: DeserializeOwned>(value: Value) -> K {
    serde_json::from_value(value).unwrap()
}

fn config(name: &str, data: Value) -> ConfigMap {
    let mut map = json!({ "metadata": { "name": name } });
    map["data"] = data;
    object(map)
}

fn pod(name: &str, labels: Value, cpu: &str) -> Pod {
    let container = json!({ "name": "c", "image": "i", "resources": { "requests": { "cpu": cpu } } });
    let mut pod = json!({ "metadata": { "name": name }, "spec": { "containers": [container] } });
    pod["metadata"]["labels"] = labels;
    object(pod)
}

fn node(name: &str, cpu: &str, ready: bool) -> Node {
    object(json!({
        "metadata": { "name": name, "labels": { "kubernetes.io/hostname": name } },
        "status": {
            "allocatable": { "cpu": cpu, "memory": "8Gi", "pods": "110" },
            "conditions": [{ "type": "Ready", "status": if ready { "True" } else { "False" } }],
        },
    }))
}

fn code(error: kube::Error) -> (u16, String) {
    match error {
        kube::Error::Api(status) => (status.code, status.reason.clone()),
        other => panic!("not an answer of the server: {other:?}"),
    }
}

/// Waits for a condition of the cluster; virtual time makes the wait free.
async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, mut check: impl FnMut() -> F) -> T {
    for _ in 0..200 {
        if let Some(found) = check().await {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("never happened: {what}");
}

async fn set_running(pods: &Api<Pod>, name: &str) {
    let status = json!({ "status": { "phase": "Running", "conditions": [{ "type": "Ready", "status": "True" }] } });
    pods.patch_status(name, &PatchParams::default(), &Patch::Strategic(status))
        .await
        .unwrap();
}

fn apply_as(manager: &str) -> PatchParams {
    PatchParams::apply(manager)
}

async fn bind(cluster: &Cluster, pod: &str, node: &str) -> Result<Value, kube::Error> {
    let binding = json!({
        "apiVersion": "v1", "kind": "Binding", "metadata": { "name": pod }, "target": { "kind": "Node", "name": node },
    });
    let uri = format!("/api/v1/namespaces/default/pods/{pod}/binding");
    let request = http::Request::post(uri).header("content-type", "application/json");
    cluster
        .client()
        .request(request.body(binding.to_string().into_bytes()).unwrap())
        .await
}

/// A pod that no scheduler takes.
fn unscheduled(name: &str) -> Pod {
    let mut pod = pod(name, json!({ "app": "a" }), "1");
    if let Some(spec) = &mut pod.spec {
        spec.scheduler_name = Some("none".to_owned());
    }
    pod
}

fn deployment(replicas: i32) -> Deployment {
    object(json!({
        "metadata": { "name": "web" },
        "spec": {
            "replicas": replicas, "selector": { "matchLabels": { "app": "web" } },
            "template": {
                "metadata": { "labels": { "app": "web" } },
                "spec": { "containers": [{ "name": "c", "image": "i", "resources": { "limits": { "cpu": "1500m" } } }] },
            },
        },
    }))
}
