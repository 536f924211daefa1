//! Objects that no cluster has, with tens of thousands of parts: what they cost grows with their size and not with its
//! square, which would take minutes here.

use serde_json::{Value, json};

use super::objects::plain_node;
use crate::{
    fit::Misfit,
    index::Index,
    manifest::pod::Pod,
    snapshot::{ClassId, NodeId, Snapshot},
    world::World,
};

fn read<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

fn pod(name: &str, spec: &Value, status: &Value) -> Pod {
    read(json!({"metadata": {"name": name, "namespace": "default"}, "spec": spec, "status": status}))
}

fn class_of(snapshot: &Snapshot, name: &str) -> ClassId {
    let id = snapshot.pod_ids().find(|id| *snapshot.pod(*id).name == *name).unwrap();
    snapshot.pod(id).class
}

#[test]
fn a_pod_of_thirty_thousand_containers_holds_what_their_statuses_say() {
    const CONTAINERS: usize = 30_000;
    let name = |index: usize| format!("c{index}");
    let containers: Vec<Value> = (0..CONTAINERS)
        .map(|index| json!({"name": name(index), "resources": {"requests": {"cpu": "1m"}}}))
        .collect();
    // In another order, and every third holds more than it asks for.
    let statuses: Vec<Value> = (0..CONTAINERS)
        .rev()
        .map(|index| {
            let held = if index % 3 == 0 { "3m" } else { "1m" };
            json!({"name": name(index), "resources": {"requests": {"cpu": held}}, "allocatedResources": {"cpu": held}})
        })
        .collect();
    let condition = json!({"type": "PodResizePending", "status": "True", "reason": "Deferred"});
    let conditions: Vec<Value> = (0..CONTAINERS)
        .map(|index| json!({"type": format!("t{index}"), "status": "True"}))
        .chain([condition])
        .collect();
    let mut index = Index::new();
    index.put_pod(&pod(
        "large",
        &json!({"containers": containers}),
        &json!({"containerStatuses": statuses, "conditions": conditions}),
    ));
    let snapshot = index.snapshot();
    let class = snapshot.class(class_of(snapshot, "large"));
    assert_eq!(class.requests.cpu, 5 * i64::try_from(CONTAINERS).unwrap() / 3);
}

#[test]
fn thousands_of_claims_find_thousands_of_volumes() {
    const CLAIMS: usize = 3000;
    let mut index = Index::new();
    index.put_node(&plain_node("n0"));
    index.put_storage_class(&read(json!({
        "metadata": {"name": "local"},
        "provisioner": "kubernetes.io/no-provisioner",
        "volumeBindingMode": "WaitForFirstConsumer",
    })));
    let volume = |index: usize, class: &str, claim: &Value| {
        json!({
            "metadata": {"name": format!("v{index}")},
            "spec": {
                "capacity": {"storage": format!("{}Gi", 1 + index % 5)},
                "accessModes": ["ReadWriteOnce"],
                "storageClassName": class,
                "claimRef": claim,
            },
            "status": {"phase": if claim.is_null() { "Available" } else { "Bound" }},
        })
    };
    // As many volumes as claims, and others that none of them can have.
    for number in 0..CLAIMS {
        index.put_volume(&read(volume(number, "local", &Value::Null)));
        let other = json!({"namespace": "default", "name": format!("other{number}")});
        index.put_volume(&read(volume(CLAIMS + number, "local", &other)));
        index.put_volume(&read(volume(2 * CLAIMS + number, "remote", &Value::Null)));
    }
    let mut volumes = Vec::new();
    for number in 0..=CLAIMS {
        index.put_claim(&read(json!({
            "metadata": {"name": format!("c{number}"), "namespace": "default"},
            "spec": {
                "accessModes": ["ReadWriteOnce"],
                "storageClassName": "local",
                "resources": {"requests": {"storage": "1Gi"}},
            },
            "status": {"phase": "Pending"},
        })));
        volumes
            .push(json!({"name": format!("d{number}"), "persistentVolumeClaim": {"claimName": format!("c{number}")}}));
    }
    index.put_pod(&pod("greedy", &json!({"volumes": volumes}), &json!({})));
    volumes.pop();
    index.put_pod(&pod("modest", &json!({"volumes": volumes}), &json!({})));
    let snapshot = index.snapshot();
    let world = World::new(snapshot);
    let misfit = |name: &str| world.misfit(class_of(snapshot, name), NodeId(0).into());
    assert_eq!(misfit("modest"), None);
    let Some(Misfit::Claim { claim, .. }) = misfit("greedy") else {
        panic!("one claim is left without a volume: {:?}", misfit("greedy"));
    };
    assert!(snapshot.text(claim).starts_with("default/c"), "{claim:?}");
}
