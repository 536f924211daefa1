//! What a client can do with objects.

use std::collections::BTreeMap;

use autoscaler_scaler::embedded::Cluster;
use futures::TryStreamExt;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::api::core::v1::Event;
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;
use kube::ResourceExt;
use kube::api::ApiResource;
use kube::api::DeleteParams;
use kube::api::DynamicObject;
use kube::api::GroupVersionKind;
use kube::api::ListParams;
use kube::api::PartialObjectMeta;
use kube::api::Patch;
use kube::api::PatchParams;
use kube::api::PostParams;
use kube::runtime::WatchStreamExt;
use kube::runtime::conditions;
use kube::runtime::wait;
use kube::runtime::watcher;
use serde_json::Value;
use serde_json::json;

use crate::{code, config, eventually, node, object};

#[tokio::test(start_paused = true)]
async fn objects_are_created_read_replaced_and_deleted_with_optimistic_concurrency() {
    let cluster = Cluster::new();
    let maps: Api<ConfigMap> = Api::default_namespaced(cluster.client());
    let created = maps
        .create(&PostParams::default(), &config("a", json!({ "k": "1" })))
        .await
        .unwrap();
    assert!(created.uid().is_some() && created.creation_timestamp().is_some());
    let again = maps
        .create(&PostParams::default(), &config("a", json!({})))
        .await
        .unwrap_err();
    assert_eq!(code(again), (409, "AlreadyExists".to_owned()));

    let mut newer = created.clone();
    newer.data = Some(BTreeMap::from([("k".to_owned(), "2".to_owned())]));
    let newer = maps.replace("a", &PostParams::default(), &newer).await.unwrap();
    let stale = maps.replace("a", &PostParams::default(), &created).await.unwrap_err();
    assert_eq!(code(stale), (409, "Conflict".to_owned()));
    let unchanged = maps.replace("a", &PostParams::default(), &newer).await.unwrap();
    assert_eq!(
        unchanged.resource_version(),
        newer.resource_version(),
        "a write that changes nothing is none"
    );

    let generated: ConfigMap = object(json!({ "metadata": { "generateName": "g-", "labels": { "x": "y" } } }));
    let generated = maps.create(&PostParams::default(), &generated).await.unwrap();
    assert!(generated.name_any().starts_with("g-") && generated.name_any().len() == 7);
    let listed = maps.list(&ListParams::default().labels("x in (y,z),!q")).await.unwrap();
    assert_eq!(listed.items.len(), 1);
    let listed = maps
        .list(&ListParams::default().fields("metadata.name=a"))
        .await
        .unwrap();
    assert_eq!(listed.items.len(), 1);
    let unknown = maps.list(&ListParams::default().fields("data.k=2")).await.unwrap_err();
    assert_eq!(code(unknown).0, 400);

    let stale = DeleteParams::default().preconditions(kube::api::Preconditions {
        uid: Some("other".to_owned()),
        resource_version: None,
    });
    assert_eq!(code(maps.delete("a", &stale).await.unwrap_err()).0, 409);
    assert!(maps.delete("a", &DeleteParams::default()).await.unwrap().is_right());
    assert_eq!(code(maps.get("a").await.unwrap_err()), (404, "NotFound".to_owned()));
    let elsewhere: Api<ConfigMap> = Api::namespaced(cluster.client(), "missing");
    assert_eq!(
        code(
            elsewhere
                .create(&PostParams::default(), &config("a", json!({})))
                .await
                .unwrap_err()
        )
        .0,
        404
    );
}

#[tokio::test(start_paused = true)]
async fn dry_run_changes_nothing() {
    let cluster = Cluster::new();
    let maps: Api<ConfigMap> = Api::default_namespaced(cluster.client());
    let dry = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    maps.create(&dry, &config("a", json!({}))).await.unwrap();
    assert!(maps.get_opt("a").await.unwrap().is_none());
}

#[tokio::test(start_paused = true)]
async fn metadata_requests_get_metadata_only() {
    let cluster = Cluster::new();
    let maps: Api<ConfigMap> = Api::default_namespaced(cluster.client());
    maps.create(&PostParams::default(), &config("a", json!({ "k": "v" })))
        .await
        .unwrap();
    let listed = maps.list_metadata(&ListParams::default()).await.unwrap();
    assert_eq!(listed.items[0].name_any(), "a");
    let slim: Api<PartialObjectMeta<ConfigMap>> = Api::default_namespaced(cluster.client());
    let event = std::pin::pin!(watcher(slim, watcher::Config::default()).applied_objects())
        .try_next()
        .await
        .unwrap();
    assert_eq!(event.unwrap().name_any(), "a");
}

#[tokio::test(start_paused = true)]
async fn every_kind_of_patch_merges_as_documented() {
    let cluster = Cluster::new();
    let nodes: Api<Node> = Api::all(cluster.client());
    nodes
        .create(&PostParams::default(), &node("n", "4", true))
        .await
        .unwrap();
    let none = PatchParams::default();
    let labels = json!({ "metadata": { "labels": { "a": "1", "kubernetes.io/hostname": null } } });
    let merged = nodes.patch("n", &none, &Patch::Merge(labels)).await.unwrap();
    assert_eq!(merged.labels(), &BTreeMap::from([("a".to_owned(), "1".to_owned())]));

    let conditions = json!({ "status": { "conditions": [{ "type": "MemoryPressure", "status": "False" }] } });
    let patched = nodes
        .patch_status("n", &none, &Patch::Strategic(conditions))
        .await
        .unwrap();
    assert_eq!(
        patched.status.unwrap().conditions.unwrap().len(),
        2,
        "conditions merge by type"
    );
    let taints = json!({ "spec": { "taints": [{ "key": "only", "effect": "NoSchedule" }] } });
    let patched = nodes.patch("n", &none, &Patch::Strategic(taints)).await.unwrap();
    assert_eq!(patched.spec.unwrap().taints.unwrap().len(), 1, "taints are one value");

    let operations = |value: Value| Patch::Json::<()>(serde_json::from_value(value).unwrap());
    let operation = operations(json!([
        { "op": "test", "path": "/metadata/labels/a", "value": "1" },
        { "op": "add", "path": "/metadata/labels/b~1c", "value": "2" },
    ]));
    assert_eq!(nodes.patch("n", &none, &operation).await.unwrap().labels()["b/c"], "2");
    let failing = operations(json!([{ "op": "test", "path": "/metadata/labels/a", "value": "9" }]));
    assert_eq!(code(nodes.patch("n", &none, &failing).await.unwrap_err()).0, 422);
    let status = json!({ "spec": { "unschedulable": true } });
    let ignored = nodes.patch_status("n", &none, &Patch::Merge(status)).await.unwrap();
    assert_eq!(
        ignored.spec.unwrap().unschedulable,
        None,
        "the status endpoint changes status only"
    );
}

#[tokio::test(start_paused = true)]
async fn finalizers_hold_a_deleted_object() {
    let cluster = Cluster::new();
    let maps: Api<ConfigMap> = Api::default_namespaced(cluster.client());
    let held: ConfigMap = object(json!({ "metadata": { "name": "a", "finalizers": ["x/y"] } }));
    maps.create(&PostParams::default(), &held).await.unwrap();
    assert!(maps.delete("a", &DeleteParams::default()).await.unwrap().is_left());
    assert!(maps.get("a").await.unwrap().metadata.deletion_timestamp.is_some());
    let more = Patch::Merge(json!({ "metadata": { "finalizers": ["x/y", "z/z"] } }));
    assert_eq!(
        code(maps.patch("a", &PatchParams::default(), &more).await.unwrap_err()).0,
        422
    );
    let none = Patch::Merge(json!({ "metadata": { "finalizers": null } }));
    maps.patch("a", &PatchParams::default(), &none).await.unwrap();
    assert!(maps.get_opt("a").await.unwrap().is_none());
}

#[tokio::test(start_paused = true)]
async fn leases_need_the_version_that_was_read() {
    let cluster = Cluster::new();
    let leases: Api<Lease> = Api::default_namespaced(cluster.client());
    let lease: Lease = object(json!({ "metadata": { "name": "l" }, "spec": { "holderIdentity": "a" } }));
    let created = leases.create(&PostParams::default(), &lease).await.unwrap();
    let blind = leases.replace("l", &PostParams::default(), &lease).await.unwrap_err();
    assert_eq!(code(blind).0, 422);
    let mut taken = created.clone();
    taken.spec.as_mut().unwrap().holder_identity = Some("b".to_owned());
    leases.replace("l", &PostParams::default(), &taken).await.unwrap();
    let mut late = created;
    late.spec.as_mut().unwrap().lease_transitions = Some(3);
    assert_eq!(
        code(leases.replace("l", &PostParams::default(), &late).await.unwrap_err()).0,
        409
    );
}

#[tokio::test(start_paused = true)]
async fn both_event_apis_show_the_same_events() {
    let cluster = Cluster::new();
    let new: Api<k8s_openapi::api::events::v1::Event> = Api::default_namespaced(cluster.client());
    let event = json!({
        "metadata": { "name": "e.1" }, "eventTime": "2026-01-01T00:00:00.000000Z", "note": "why", "reason": "Because",
        "regarding": { "kind": "Pod", "name": "p" }, "reportingController": "example.com/me", "reportingInstance": "me-1", "type": "Normal", "action": "Act",
    });
    new.create(&PostParams::default(), &object(event)).await.unwrap();
    let old: Api<Event> = Api::default_namespaced(cluster.client());
    let found = old
        .list(&ListParams::default().fields("involvedObject.name=p"))
        .await
        .unwrap()
        .items;
    assert_eq!(found[0].message.as_deref(), Some("why"));
    assert_eq!(new.get("e.1").await.unwrap().note.as_deref(), Some("why"));
}

#[tokio::test(start_paused = true)]
async fn custom_resources_are_served_defaulted_pruned_and_validated() {
    let cluster = Cluster::new();
    let client = cluster.client();
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    definitions
        .create(&PostParams::default(), &object(definition()))
        .await
        .unwrap();
    let established = wait::await_condition(
        definitions.clone(),
        "things.example.com",
        conditions::is_crd_established(),
    );
    established.await.unwrap();

    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("example.com", "v1", "Thing"));
    let things: Api<DynamicObject> = Api::default_namespaced_with(client, &resource);
    let thing = |spec: Value| -> DynamicObject {
        object(
            json!({ "apiVersion": "example.com/v1", "kind": "Thing", "metadata": { "name": "t" }, "spec": spec, "status": { "phase": "no" } }),
        )
    };
    for (spec, field) in [
        (json!({}), "spec.size: Required value"),
        (json!({ "size": "1" }), "spec.size in body must be of type integer"),
        (
            json!({ "size": 0 }),
            "spec.size in body should be greater than or equal to 1",
        ),
        (json!({ "size": 1, "mode": "C" }), "spec.mode: Unsupported value"),
        (
            json!({ "size": 1, "names": ["UPPER"] }),
            "spec.names[0] in body should match",
        ),
    ] {
        let kube::Error::Api(refused) = things.create(&PostParams::default(), &thing(spec)).await.unwrap_err() else {
            panic!()
        };
        assert_eq!(refused.code, 422);
        assert!(refused.message.contains(field), "{}", refused.message);
    }
    let created = things
        .create(&PostParams::default(), &thing(json!({ "size": 2, "unknown": 1 })))
        .await
        .unwrap();
    assert_eq!(
        created.data["spec"],
        json!({ "size": 2, "mode": "A", "policy": { "enabled": true } })
    );
    assert!(
        created.data.get("status").is_none(),
        "status is written through its own endpoint"
    );
    assert_eq!(created.metadata.generation, Some(1));

    let status = Patch::Merge(json!({ "status": { "phase": "Ready" }, "spec": { "size": 9 } }));
    let patched = things
        .patch_status("t", &PatchParams::default(), &status)
        .await
        .unwrap();
    assert_eq!(
        (patched.metadata.generation, &patched.data["spec"]["size"]),
        (Some(1), &json!(2))
    );
    let patched = things
        .patch(
            "t",
            &PatchParams::default(),
            &Patch::Merge(json!({ "spec": { "size": 3 } })),
        )
        .await
        .unwrap();
    assert_eq!(
        (patched.metadata.generation, &patched.data["status"]["phase"]),
        (Some(2), &json!("Ready"))
    );
    let strategic = things
        .patch("t", &PatchParams::default(), &Patch::Strategic(json!({})))
        .await
        .unwrap_err();
    assert_eq!(code(strategic).0, 415);
    let mut blind = patched.clone();
    blind.metadata.resource_version = None;
    assert_eq!(
        code(things.replace("t", &PostParams::default(), &blind).await.unwrap_err()).0,
        422
    );

    definitions
        .delete("things.example.com", &DeleteParams::default())
        .await
        .unwrap();
    eventually("the definition is gone", async || {
        definitions
            .get_opt("things.example.com")
            .await
            .unwrap()
            .is_none()
            .then_some(())
    })
    .await;
    eventually("its resource is not served", async || {
        let refused = things.list(&ListParams::default()).await.err()?;
        (code(refused).0 == 404).then_some(())
    })
    .await;
}

fn definition() -> Value {
    json!({
        "metadata": { "name": "things.example.com" },
        "spec": {
            "group": "example.com", "scope": "Namespaced",
            "names": { "plural": "things", "kind": "Thing", "shortNames": ["th"] },
            "versions": [{
                "name": "v1", "served": true, "storage": true, "subresources": { "status": {} },
                "schema": { "openAPIV3Schema": {
                    "type": "object", "required": ["spec"],
                    "properties": {
                        "spec": {
                            "type": "object", "required": ["size"],
                            "properties": {
                                "size": { "type": "integer", "minimum": 1 },
                                "mode": { "type": "string", "enum": ["A", "B"], "default": "A" },
                                "names": { "type": "array", "items": { "type": "string", "pattern": "^[a-z]+$" } },
                                "policy": {
                                    "type": "object", "default": {},
                                    "properties": { "enabled": { "type": "boolean", "default": true } },
                                },
                            },
                        },
                        "status": { "type": "object", "x-kubernetes-preserve-unknown-fields": true },
                    },
                }},
            }],
        },
    })
}

#[tokio::test(start_paused = true)]
async fn an_owner_takes_its_dependents_along_or_leaves_them() {
    let cluster = Cluster::new();
    let _controllers = cluster.start_controllers();
    let maps: Api<ConfigMap> = Api::default_namespaced(cluster.client());
    for (policy, stays) in [
        (DeleteParams::background(), false),
        (DeleteParams::foreground(), false),
        (DeleteParams::orphan(), true),
    ] {
        let owner = maps
            .create(&PostParams::default(), &config("owner", json!({})))
            .await
            .unwrap();
        let mut child = config("child", json!({}));
        child.metadata.owner_references = Some(vec![object(json!({
            "apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner.uid(), "blockOwnerDeletion": true,
        }))]);
        maps.create(&PostParams::default(), &child).await.unwrap();
        maps.delete("owner", &policy).await.unwrap();
        eventually("the owner is gone", async || {
            maps.get_opt("owner").await.unwrap().is_none().then_some(())
        })
        .await;
        eventually("the child is gone or free", async || {
            match maps.get_opt("child").await.unwrap() {
                Some(child) => (stays && child.owner_references().is_empty()).then_some(()),
                None => (!stays).then_some(()),
            }
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_collection_is_deleted_by_selector() {
    let cluster = Cluster::new();
    let maps: Api<ConfigMap> = Api::default_namespaced(cluster.client());
    for (name, team) in [("a", "x"), ("b", "x"), ("c", "y")] {
        let map: ConfigMap = object(json!({ "metadata": { "name": name, "labels": { "team": team } } }));
        maps.create(&PostParams::default(), &map).await.unwrap();
    }
    maps.delete_collection(&DeleteParams::default(), &ListParams::default().labels("team=x"))
        .await
        .unwrap();
    let left = maps.list(&ListParams::default().labels("team")).await.unwrap();
    assert_eq!(left.items.iter().map(ResourceExt::name_any).collect::<Vec<_>>(), ["c"]);
}
