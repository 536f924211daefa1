//! Server-side apply.

use std::collections::BTreeMap;

use autoscaler_scaler::embedded::Cluster;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::api::core::v1::Node;
use kube::Api;
use kube::ResourceExt;
use kube::api::Patch;
use kube::api::PatchParams;
use kube::api::PostParams;
use serde_json::Value;
use serde_json::json;

use crate::{apply_as, code, node};

#[tokio::test(start_paused = true)]
async fn two_managers_share_an_object_by_server_side_apply() {
    let cluster = Cluster::new();
    let maps: Api<ConfigMap> = Api::default_namespaced(cluster.client());
    let fields =
        |data: Value| json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "a" }, "data": data });
    maps.patch(
        "a",
        &apply_as("one"),
        &Patch::Apply(fields(json!({ "x": "1", "y": "1" }))),
    )
    .await
    .unwrap();
    let both = maps
        .patch("a", &apply_as("two"), &Patch::Apply(fields(json!({ "z": "2" }))))
        .await
        .unwrap();
    assert_eq!(both.data.unwrap().len(), 3);

    let stolen = maps
        .patch("a", &apply_as("two"), &Patch::Apply(fields(json!({ "x": "2" }))))
        .await;
    let kube::Error::Api(status) = stolen.unwrap_err() else {
        panic!("no answer")
    };
    assert_eq!((status.code, status.reason.as_str()), (409, "Conflict"));
    assert_eq!(status.details.unwrap().causes[0].field, ".data.x");

    let forced = maps
        .patch(
            "a",
            &apply_as("two").force(),
            &Patch::Apply(fields(json!({ "x": "2" }))),
        )
        .await
        .unwrap();
    let data = forced.data.unwrap();
    assert_eq!(
        (data["x"].as_str(), data.get("z")),
        ("2", None),
        "z is no longer applied by anybody"
    );
    // The first manager lost x, so that it does not remove it by dropping it; y goes, as nobody else has it.
    let last = maps
        .patch("a", &apply_as("one"), &Patch::Apply(fields(json!({}))))
        .await
        .unwrap();
    assert_eq!(last.data.unwrap(), BTreeMap::from([("x".to_owned(), "2".to_owned())]));
    let repeated = maps
        .patch("a", &apply_as("one"), &Patch::Apply(fields(json!({}))))
        .await
        .unwrap();
    assert_eq!(repeated.resource_version(), last.metadata.resource_version);

    maps.patch(
        "a",
        &PatchParams::default(),
        &Patch::Merge(json!({ "data": { "x": "3" } })),
    )
    .await
    .unwrap();
    let conflict = maps
        .patch("a", &apply_as("two"), &Patch::Apply(fields(json!({ "x": "2" }))))
        .await
        .unwrap_err();
    assert_eq!(code(conflict).0, 409, "an update takes ownership too");
}

#[tokio::test(start_paused = true)]
async fn applied_conditions_merge_by_type() {
    let cluster = Cluster::new();
    let nodes: Api<Node> = Api::all(cluster.client());
    nodes
        .create(&PostParams::default(), &node("n", "4", true))
        .await
        .unwrap();
    let status = |kind: &str| {
        let condition = json!({ "type": kind, "status": "True" });
        Patch::Apply(json!({ "apiVersion": "v1", "kind": "Node", "status": { "conditions": [condition] } }))
    };
    nodes.patch_status("n", &apply_as("one"), &status("A")).await.unwrap();
    nodes.patch_status("n", &apply_as("two"), &status("B")).await.unwrap();
    let last = nodes.patch_status("n", &apply_as("one"), &status("C")).await.unwrap();
    let kinds: Vec<String> = last
        .status
        .unwrap()
        .conditions
        .unwrap()
        .into_iter()
        .map(|c| c.type_)
        .collect();
    assert_eq!(kinds, ["Ready", "B", "C"]);
}
