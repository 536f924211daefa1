//! The controllers and the scheduler.

use std::time::Duration;

use autoscaler_scaler::embedded::Cluster;
use autoscaler_scaler::embedded::scheduler::Scheduler;
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::Client;
use kube::ResourceExt;
use kube::api::DeleteParams;
use kube::api::ListParams;
use kube::api::Patch;
use kube::api::PatchParams;
use kube::api::PostParams;
use serde_json::Value;
use serde_json::json;

use crate::{code, config, deployment, eventually, node, object, pod};

async fn bound_pods(client: &Client) -> Vec<(String, Option<String>)> {
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    let pods = pods.list(&ListParams::default()).await.unwrap();
    pods.into_iter()
        .map(|pod| (pod.name_any(), pod.spec.and_then(|spec| spec.node_name)))
        .collect()
}

#[tokio::test(start_paused = true)]
async fn pods_of_a_deployment_are_bound_when_a_node_arrives_and_gone_with_it() {
    let cluster = Cluster::new();
    let _controllers = cluster.start_controllers();
    let _scheduler = Scheduler::start(&cluster);
    let client = cluster.client();
    let nodes: Api<Node> = Api::all(client.clone());
    let deployments: Api<Deployment> = Api::default_namespaced(client.clone());
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    nodes
        .create(&PostParams::default(), &node("small", "1", true))
        .await
        .unwrap();
    deployments
        .create(&PostParams::default(), &deployment(2))
        .await
        .unwrap();

    eventually("two unschedulable pods", async || {
        let waiting = ListParams::default().fields("spec.nodeName=,status.phase=Pending");
        let pods = pods.list(&waiting).await.unwrap().items;
        let verdict = |pod: &Pod| {
            let conditions = pod.status.as_ref()?.conditions.as_ref()?;
            let scheduled = conditions.iter().find(|c| c.type_ == "PodScheduled")?;
            let message = scheduled.message.as_deref()?;
            let expected = "0/1 nodes are available: 1 Insufficient cpu.";
            (scheduled.reason.as_deref() == Some("Unschedulable") && message.starts_with(expected)).then_some(())
        };
        (pods.len() == 2 && pods.iter().all(|pod| verdict(pod).is_some())).then_some(())
    })
    .await;

    // A node that is not Ready takes nothing; one that becomes Ready loses its taint and takes both.
    nodes
        .create(&PostParams::default(), &node("big", "4", false))
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(bound_pods(&client).await.iter().all(|(_, node)| node.is_none()));
    let ready = json!({ "status": { "conditions": [{ "type": "Ready", "status": "True" }] } });
    nodes
        .patch_status("big", &PatchParams::default(), &Patch::Strategic(ready))
        .await
        .unwrap();
    eventually("both pods bound", async || {
        bound_pods(&client)
            .await
            .iter()
            .all(|(_, node)| node.as_deref() == Some("big"))
            .then_some(())
    })
    .await;
    assert_eq!(nodes.get("big").await.unwrap().spec.unwrap_or_default().taints, None);

    // The node goes, and with it its pods, which the ReplicaSet makes anew.
    let before = bound_pods(&client).await;
    nodes.delete("big", &DeleteParams::default()).await.unwrap();
    eventually("new pending pods", async || {
        let now = bound_pods(&client).await;
        (now.len() == 2
            && now
                .iter()
                .all(|(name, node)| node.is_none() && before.iter().all(|(old, _)| old != name)))
        .then_some(())
    })
    .await;

    deployments
        .patch(
            "web",
            &PatchParams::default(),
            &Patch::Merge(json!({ "spec": { "replicas": 1 } })),
        )
        .await
        .unwrap();
    eventually("one pod", async || (bound_pods(&client).await.len() == 1).then_some(())).await;
    deployments.delete("web", &DeleteParams::background()).await.unwrap();
    let sets: Api<ReplicaSet> = Api::default_namespaced(client.clone());
    eventually("nothing left", async || {
        let sets = sets.list(&ListParams::default()).await.unwrap().items.len();
        (sets + bound_pods(&client).await.len() == 0).then_some(())
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn daemon_pods_run_on_every_node_and_cordons_become_taints() {
    let cluster = Cluster::new();
    let _controllers = cluster.start_controllers();
    let _scheduler = Scheduler::start(&cluster);
    let client = cluster.client();
    let nodes: Api<Node> = Api::all(client.clone());
    for name in ["a", "b"] {
        nodes
            .create(&PostParams::default(), &node(name, "4", true))
            .await
            .unwrap();
    }
    nodes.cordon("b").await.unwrap();
    let sets: Api<DaemonSet> = Api::default_namespaced(client.clone());
    let set = json!({
        "metadata": { "name": "agent" },
        "spec": {
            "selector": { "matchLabels": { "app": "agent" } },
            "template": {
                "metadata": { "labels": { "app": "agent" } },
                "spec": { "containers": [{ "name": "c", "image": "i" }] },
            },
        },
    });
    sets.create(&PostParams::default(), &object(set)).await.unwrap();
    let mut placed = eventually("a pod on each node", async || {
        let pods = bound_pods(&client).await;
        (pods.len() == 2 && pods.iter().all(|(_, node)| node.is_some())).then_some(pods)
    })
    .await;
    placed.sort_by(|a, b| a.1.cmp(&b.1));
    assert_eq!(
        placed
            .iter()
            .filter_map(|(_, node)| node.as_deref())
            .collect::<Vec<_>>(),
        ["a", "b"]
    );
    let taints = nodes.get("b").await.unwrap().spec.unwrap().taints.unwrap();
    assert_eq!(taints[0].key, "node.kubernetes.io/unschedulable");
    nodes.uncordon("b").await.unwrap();
    eventually("no taint", async || {
        nodes
            .get("b")
            .await
            .unwrap()
            .spec
            .unwrap_or_default()
            .taints
            .is_none()
            .then_some(())
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn pods_of_a_stateful_set_come_in_order_and_keep_their_names() {
    let cluster = Cluster::new();
    let _controllers = cluster.start_controllers();
    let client = cluster.client();
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    let sets: Api<StatefulSet> = Api::default_namespaced(client.clone());
    let set = |name: &str, policy: &str| {
        object(json!({
            "metadata": { "name": name },
            "spec": {
                "replicas": 3, "serviceName": "db", "podManagementPolicy": policy,
                "selector": { "matchLabels": { "app": name } },
                "template": {
                    "metadata": { "labels": { "app": name } },
                    "spec": { "containers": [{ "name": "c", "image": "i" }] },
                },
            },
        }))
    };
    let names = async |app: &str| -> Vec<String> {
        let of_app = ListParams::default().labels(&format!("app={app}"));
        pods.list(&of_app).await.unwrap().iter().map(Pod::name_any).collect()
    };
    let make_ready = async |name: &str| {
        let ready = json!({ "status": { "phase": "Running", "conditions": [{ "type": "Ready", "status": "True" }] } });
        pods.patch_status(name, &PatchParams::default(), &Patch::Strategic(ready))
            .await
            .unwrap();
    };
    sets.create(&PostParams::default(), &set("at-once", "Parallel"))
        .await
        .unwrap();
    sets.create(&PostParams::default(), &set("db", "OrderedReady"))
        .await
        .unwrap();
    eventually("three pods at once", async || {
        (names("at-once").await.len() == 3).then_some(())
    })
    .await;
    assert_eq!(names("db").await, ["db-0"]);
    make_ready("db-0").await;
    eventually("the second", async || {
        (names("db").await == ["db-0", "db-1"]).then_some(())
    })
    .await;
    make_ready("db-1").await;
    eventually("the third", async || (names("db").await.len() == 3).then_some(())).await;
    let first = pods.get("db-0").await.unwrap();
    assert_eq!(first.labels()["apps.kubernetes.io/pod-index"], "0");
    assert_eq!(first.spec.as_ref().unwrap().hostname.as_deref(), Some("db-0"));

    // Nobody starts it, so that it is gone at once, and its successor has its name.
    pods.delete("db-0", &DeleteParams::default().grace_period(0))
        .await
        .unwrap();
    eventually("another pod of this name", async || {
        let found = pods.get_opt("db-0").await.unwrap();
        found.filter(|pod| pod.uid() != first.uid())
    })
    .await;
    let scale = Patch::Merge(json!({ "spec": { "replicas": 1 } }));
    sets.patch("db", &PatchParams::default(), &scale).await.unwrap();
    eventually("the first is left", async || {
        (names("db").await == ["db-0"]).then_some(())
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn priority_gates_and_affinity_decide_who_is_placed_where() {
    let cluster = Cluster::new();
    let _controllers = cluster.start_controllers();
    let client = cluster.client();
    let (nodes, pods) = (
        Api::<Node>::all(client.clone()),
        Api::<Pod>::default_namespaced(client.clone()),
    );
    let special = |name: &str, spec: Value| -> Pod {
        let mut whole = serde_json::to_value(pod(name, json!({ "app": "x" }), "3")).unwrap();
        whole["spec"]
            .as_object_mut()
            .unwrap()
            .extend(spec.as_object().unwrap().clone());
        object(whole)
    };
    pods.create(&PostParams::default(), &special("a-low", json!({})))
        .await
        .unwrap();
    let high = special("z-high", json!({ "priorityClassName": "system-cluster-critical" }));
    pods.create(&PostParams::default(), &high).await.unwrap();
    let gated = special("gated", json!({ "schedulingGates": [{ "name": "wait" }] }));
    let gated = pods.create(&PostParams::default(), &gated).await.unwrap();
    assert_eq!(
        gated.status.unwrap().conditions.unwrap()[0].reason.as_deref(),
        Some("SchedulingGated")
    );
    let unknown = special("u", json!({ "priorityClassName": "none" }));
    assert_eq!(
        code(pods.create(&PostParams::default(), &unknown).await.unwrap_err()).0,
        403
    );

    nodes
        .create(&PostParams::default(), &node("n1", "4", true))
        .await
        .unwrap();
    let _scheduler = Scheduler::start(&cluster);
    let bound = async |name: &str| pods.get(name).await.unwrap().spec.unwrap().node_name;
    eventually("the critical pod is bound", || bound("z-high")).await;
    assert_eq!(bound("a-low").await, None);
    assert_eq!(bound("gated").await, None);

    let apart = json!({ "affinity": { "podAntiAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": [
        { "topologyKey": "kubernetes.io/hostname", "labelSelector": { "matchLabels": { "app": "x" } } },
    ] } } });
    let mut apart = special("apart", apart);
    apart.spec.as_mut().unwrap().containers[0].resources = None;
    pods.create(&PostParams::default(), &apart).await.unwrap();
    nodes
        .create(&PostParams::default(), &node("n2", "2", true))
        .await
        .unwrap();
    assert_eq!(eventually("the lonely pod is bound", || bound("apart")).await, "n2");
}

#[tokio::test(start_paused = true)]
async fn namespaces_empty_before_they_go() {
    let cluster = Cluster::new();
    let _controllers = cluster.start_controllers();
    let namespaces: Api<Namespace> = Api::all(cluster.client());
    let team: Namespace = object(json!({ "metadata": { "name": "team" } }));
    namespaces.create(&PostParams::default(), &team).await.unwrap();
    let maps: Api<ConfigMap> = Api::namespaced(cluster.client(), "team");
    maps.create(&PostParams::default(), &config("a", json!({})))
        .await
        .unwrap();
    namespaces.delete("team", &DeleteParams::default()).await.unwrap();
    eventually("the namespace is gone", async || {
        namespaces.get_opt("team").await.unwrap().is_none().then_some(())
    })
    .await;
    assert!(maps.get_opt("a").await.unwrap().is_none());
}
