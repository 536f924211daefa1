//! Watches a cluster with `autoscaler-scaler` and takes a snapshot of it, as the operator does before each decision.
//!
//! Run with `cargo run -p autoscaler-examples --example snapshot_cluster`; it uses the embedded cluster. Give it a
//! kubeconfig's context by replacing `cluster.client()` with `kube::Client::try_default().await?`.

use std::error::Error;

use autoscaler_scaler::{api, embedded::Cluster, index::Index, watch::Watches};
use k8s_openapi::{
    api::core::v1::Node, apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{Api, api::PostParams};
use serde_json::json;
use tokio_util::sync::CancellationToken;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let cluster = Cluster::new();
    let client = cluster.client();
    for crd in api::crds() {
        Api::<CustomResourceDefinition>::all(client.clone())
            .create(&PostParams::default(), &crd)
            .await?;
    }
    let node: Node = serde_json::from_value(json!({
        "metadata": { "name": "worker-1", "labels": { "kubernetes.io/hostname": "worker-1" } },
        "status": {
            "allocatable": { "cpu": "3900m", "memory": "7Gi", "pods": "110" },
            "conditions": [{ "type": "Ready", "status": "True" }],
        },
    }))?;
    Api::<Node>::all(client.clone())
        .create(&PostParams::default(), &node)
        .await?;

    // The watches fill the index; a snapshot is taken once every kind has been listed.
    let index = Index::default();
    let watches = Watches::new(index.clone());
    let stop = CancellationToken::new();
    let report = |problem| eprintln!("{problem:?}");
    tokio::select! {
        () = watches.run(&client, &report, &stop) => {}
        () = watches.synced() => {}
    }

    let snapshot = index.snapshot();
    for node in &snapshot.nodes {
        println!(
            "{}: {} millicores, Ready: {}",
            snapshot.text(node.name),
            node.allocatable.cpu,
            node.is_ready()
        );
    }
    assert_eq!(snapshot.nodes.len(), 1);
    Ok(())
}
