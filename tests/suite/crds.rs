//! The CustomResourceDefinitions on the real API server: it takes them, and refuses what they forbid.

use harness::world::World;
use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject, PostParams},
    core::GroupVersionKind,
};
use serde_json::json;

/// The documents of a fixture.
fn documents(file: &str) -> Vec<DynamicObject> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fixtures")
        .join(file);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_saphyr::from_multiple(&text).unwrap()
}

fn api_of(client: &Client, object: &DynamicObject) -> Api<DynamicObject> {
    let kind = object.types.as_ref().unwrap().kind.clone();
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("autoscaler.vpsie.com", "v1alpha1", &kind));
    match kind.as_str() {
        "AutoscalerConfig" => Api::all_with(client.clone(), &resource),
        _ => Api::namespaced_with(client.clone(), "default", &resource),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_api_server_refuses_the_13_bad_configurations_and_names_the_field() {
    let world = World::real().await;
    let bad = documents("invalid-configs.yaml");
    assert_eq!(bad.len(), 13);
    for object in bad {
        let annotations = object.metadata.annotations.clone().unwrap_or_default();
        let field = &annotations["test.autoscaler.vpsie.com/expect-field"];
        let name = object.metadata.name.clone().unwrap();
        let error = api_of(&world.client, &object)
            .create(&PostParams::default(), &object)
            .await
            .expect_err(&name);
        let kube::Error::Api(status) = error else {
            panic!("{name}: {error}")
        };
        assert_eq!(status.code, 422, "{name}: {status:?}");
        assert!(
            status.message.contains(field.as_str()),
            "{name}: {} does not name {field}",
            status.message
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_api_server_wants_exactly_one_form_of_headroom() {
    let world = World::real().await;
    let group = documents("valid-configs.yaml").remove(2);
    let requests = json!({ "requests": { "cpu": "500m", "memory": "1Gi" } });
    for (index, (headroom, complaint)) in [
        (json!({ "nodes": 1 }), None),
        (json!({ "percent": 10 }), None),
        (json!({ "pods": { "replicas": 3, "resources": requests } }), None),
        (json!({}), Some("exactly one of nodes, percent and pods")),
        (
            json!({ "nodes": 1, "percent": 10 }),
            Some("exactly one of nodes, percent and pods"),
        ),
        (json!({ "nodes": -1 }), Some("spec.headroom.nodes")),
        (json!({ "percent": 101 }), Some("spec.headroom.percent")),
        (
            json!({ "pods": { "replicas": 3 } }),
            Some("spec.headroom.pods.resources"),
        ),
        (
            json!({ "pods": { "replicas": 3, "resources": { "requests": {} } } }),
            Some("requests"),
        ),
        (
            json!({ "pods": { "replicas": 3, "resources": { "requests": { "cpu": "-1" } } } }),
            Some("requests.cpu"),
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let mut object = group.clone();
        object.metadata.name = Some(format!("headroom-{index}"));
        object.data["spec"]["headroom"] = headroom.clone();
        let created = api_of(&world.client, &object)
            .create(&PostParams::default(), &object)
            .await;
        match (created, complaint) {
            (Ok(_), None) => {}
            (Err(kube::Error::Api(status)), Some(complaint)) if status.code == 422 => {
                assert!(status.message.contains(complaint), "{headroom}: {}", status.message);
            }
            (outcome, _) => panic!("{headroom}: {outcome:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_api_server_takes_the_good_configurations_and_fills_in_defaults() {
    let world = World::real().await;
    let good = documents("valid-configs.yaml");
    assert_eq!(good.len(), 9);
    for object in good {
        let name = object.metadata.name.clone().unwrap();
        let created = api_of(&world.client, &object)
            .create(&PostParams::default(), &object)
            .await;
        let created = created.unwrap_or_else(|error| panic!("{name}: {error}"));
        if created.types.as_ref().unwrap().kind == "NodeGroup" {
            assert!(
                created.data["spec"]["scaleDownPolicy"]["cooldownSeconds"].is_number(),
                "{name}"
            );
            assert!(created.data["spec"]["scaleUpPolicy"]["enabled"].is_boolean(), "{name}");
        }
    }
}
