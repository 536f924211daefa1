//! The index as the watches fill it: malformed objects, relists, and our own writes.

#![cfg(feature = "embedded-cluster")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::future_not_send,
    reason = "a helper of a test fails by panicking"
)]

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use autoscaler_scaler::{
    api,
    embedded::Cluster,
    index::Index,
    watch::{WatchReport, Watches},
};
use k8s_openapi::{
    api::core::v1::Node, apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde_json::json;
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

/// A cluster with its watches running.
struct World {
    cluster: Cluster,
    index: Index,
    reports: Arc<Mutex<Vec<WatchReport>>>,
    _watching: AbortOnDropHandle<()>,
}

impl World {
    async fn start() -> Self {
        let cluster = Cluster::new();
        let crds: Api<CustomResourceDefinition> = Api::all(cluster.client());
        for crd in api::crds() {
            crds.create(&PostParams::default(), &crd).await.unwrap();
        }
        let index = Index::default();
        let watches = Watches::new(index.clone());
        let reports = Arc::new(Mutex::new(Vec::new()));
        let watching = tokio::spawn({
            let (watches, client, reports) = (watches.clone(), cluster.client(), Arc::clone(&reports));
            async move {
                let report = |report| reports.lock().unwrap().push(report);
                watches.run(&client, &report, &CancellationToken::new()).await;
            }
        });
        watches.synced().await;
        assert!(watches.missing().is_empty());
        Self {
            cluster,
            index,
            reports,
            _watching: AbortOnDropHandle::new(watching),
        }
    }

    async fn create_node(&self, name: &str, cpu: &str) {
        let node: Node = serde_json::from_value(json!({
            "metadata": { "name": name },
            "status": { "allocatable": { "cpu": cpu } },
        }))
        .unwrap();
        let nodes: Api<Node> = Api::all(self.cluster.client());
        nodes.create(&PostParams::default(), &node).await.unwrap();
    }

    fn names(&self) -> Vec<String> {
        self.index.cluster().nodes.into_keys().collect()
    }

    async fn until(&self, what: &str, condition: impl Fn() -> bool) {
        let mut changes = self.index.changes();
        let wait = async {
            while !condition() {
                changes.changed().await.unwrap();
            }
        };
        tokio::time::timeout(Duration::from_secs(3600), wait).await.expect(what);
    }
}

#[tokio::test(start_paused = true)]
async fn t8_a_malformed_object_is_reported_and_does_not_stop_the_watch() {
    let world = World::start().await;
    world.create_node("good-1", "1").await;
    world.create_node("bad", "10x").await;
    world.create_node("good-2", "2").await;
    world
        .until("both good nodes are there", || world.names() == ["good-1", "good-2"])
        .await;
    let reported = world.reports.lock().unwrap().clone();
    let unreadable: Vec<_> = reported
        .iter()
        .filter_map(|report| match report {
            WatchReport::Unreadable { kind, object, message } => Some((*kind, object.as_str(), message.as_str())),
            WatchReport::Failed { .. } => None,
        })
        .collect();
    assert_eq!(unreadable.len(), 1, "{reported:?}");
    assert_eq!((unreadable[0].0, unreadable[0].1), ("Node", "/bad"));
    assert!(
        unreadable[0].2.contains("\"10x\" is not a quantity"),
        "{}",
        unreadable[0].2
    );

    // Mended, it appears; broken again, what was known of it is no longer used.
    let nodes: Api<Node> = Api::all(world.cluster.client());
    for (cpu, expected) in [("3", 3), ("zzz", 2)] {
        let patch = Patch::Merge(json!({ "status": { "allocatable": { "cpu": cpu } } }));
        nodes
            .patch_status("bad", &PatchParams::default(), &patch)
            .await
            .unwrap();
        world
            .until("the change is there", || world.names().len() == expected)
            .await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_relist_after_lost_history_shows_what_was_deleted_meanwhile() {
    let world = World::start().await;
    world.create_node("stays", "1").await;
    world.create_node("goes", "1").await;
    world.until("both nodes are there", || world.names().len() == 2).await;
    let nodes: Api<Node> = Api::all(world.cluster.client());
    world.cluster.close_watches();
    nodes.delete("goes", &DeleteParams::default()).await.unwrap();
    world.cluster.compact();
    world.until("the deletion is seen", || world.names() == ["stays"]).await;
}

#[tokio::test(start_paused = true)]
async fn our_own_write_is_seen_at_once_and_not_undone_by_an_older_event() {
    let world = World::start().await;
    let group = json!({
        "apiVersion": api::API_VERSION, "kind": "NodeGroup", "metadata": { "name": "general", "namespace": "default" },
        "spec": {
            "minNodes": 0, "maxNodes": 1, "datacenterID": "dc-1", "offeringIDs": ["small"],
            "resourceIdentifier": "r", "project": "p", "kubernetesVersion": "v1.36.3",
        },
    });
    let groups: Api<api::NodeGroup> = Api::namespaced(world.cluster.client(), "default");
    let group: api::NodeGroup = serde_json::from_value(group).unwrap();
    let created = groups.create(&PostParams::default(), &group).await.unwrap();
    let patch = Patch::Merge(json!({ "spec": { "maxNodes": 7 } }));
    let patched = groups.patch("general", &PatchParams::default(), &patch).await.unwrap();
    // The newer reading comes first, as the result of the write; the watch and the older reading follow.
    world.index.put_group(patched);
    let max_nodes = || {
        let cluster = world.index.cluster();
        let found = cluster.groups.get(&("default".to_owned(), "general".to_owned()));
        found.map(|group| group.object.spec.max_nodes)
    };
    assert_eq!(max_nodes(), Some(7));
    world.index.put_group(created);
    assert_eq!(max_nodes(), Some(7));
    // Everything that the watch had to say about Nodes and NodeGroups has been said once this node is there.
    world.create_node("later", "1").await;
    world
        .until("the watches have caught up", || !world.names().is_empty())
        .await;
    assert_eq!(max_nodes(), Some(7));
}
