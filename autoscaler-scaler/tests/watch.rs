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

use autoscaler_core::{
    document::PlanDocument,
    planner::{Options, plan},
    provider::{Offering, OfferingId},
    quantity::{Bytes, HourlyPrice, MilliCpu},
};
use autoscaler_scaler::{
    api,
    embedded::Cluster,
    index::Index,
    watch::{WatchReport, Watches},
};
use k8s_openapi::{
    api::core::v1::{Node, Pod},
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
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
        let (index, reports, watching) = watch(&cluster).await;
        Self {
            cluster,
            index,
            reports,
            _watching: watching,
        }
    }

    /// A managed NodeGroup `default/general` of up to so many nodes.
    async fn create_group(&self, max_nodes: u32) -> api::NodeGroup {
        let group = json!({
            "apiVersion": api::API_VERSION, "kind": "NodeGroup",
            "metadata": { "name": "general", "namespace": "default", "labels": { api::labels::MANAGED: "true" } },
            "spec": {
                "minNodes": 0, "maxNodes": max_nodes, "datacenterID": "dc-1", "offeringIDs": ["small"],
                "resourceIdentifier": "r", "project": "p", "kubernetesVersion": "v1.36.3",
                "scaleUpPolicy": { "stabilizationWindowSeconds": 0 },
            },
        });
        let groups: Api<api::NodeGroup> = Api::namespaced(self.cluster.client(), "default");
        let group = serde_json::from_value(group).unwrap();
        groups.create(&PostParams::default(), &group).await.unwrap()
    }

    fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.cluster.client(), "default")
    }

    /// A pod that asks for so much; `node` is where it is bound.
    async fn create_pod(&self, name: &str, cpu: &str, node: Option<&str>) {
        let container = json!({ "name": "c", "image": "i", "resources": { "requests": { "cpu": cpu } } });
        let pod = json!({
            "metadata": { "name": name },
            "spec": { "nodeName": node, "containers": [container] },
        });
        let pod = serde_json::from_value(pod).unwrap();
        self.pods().create(&PostParams::default(), &pod).await.unwrap();
    }

    /// The scheduler says that a pod has no place.
    async fn refuse(&self, pod: &str) {
        let condition = json!({ "type": "PodScheduled", "status": "False", "reason": "Unschedulable" });
        self.patch_pod(pod, json!({ "conditions": [condition] })).await;
    }

    async fn patch_pod(&self, pod: &str, status: Value) {
        let patch = Patch::Merge(json!({ "status": status }));
        self.pods()
            .patch_status(pod, &PatchParams::default(), &patch)
            .await
            .unwrap();
    }

    /// Deletes a pod at once.
    async fn delete_pod(&self, pod: &str) {
        self.pods()
            .delete(pod, &DeleteParams::default().grace_period(0))
            .await
            .unwrap();
    }

    /// The names of all pods that are known, in order.
    fn pod_names(&self) -> Vec<String> {
        let mut names: Vec<String> = self
            .index
            .snapshot()
            .pods
            .iter()
            .map(|pod| pod.name.to_string())
            .collect();
        names.sort_unstable();
        names
    }

    /// The plan that an index leads to.
    fn plan(&self, index: &Index) -> Value {
        index.set_offerings(vec![small()]);
        let reading = index.reading().unwrap();
        let plan = plan(&reading.snapshot, &Options::default(), self.cluster.now());
        serde_json::to_value(PlanDocument::new(&reading.snapshot, &plan)).unwrap()
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

/// An index that follows a cluster, once every kind has been listed.
async fn watch(cluster: &Cluster) -> (Index, Arc<Mutex<Vec<WatchReport>>>, AbortOnDropHandle<()>) {
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
    (index, reports, AbortOnDropHandle::new(watching))
}

fn small() -> Offering {
    Offering {
        id: OfferingId::new("small"),
        name: "small".to_owned(),
        cpu: MilliCpu(4000),
        memory: Bytes(8 * Bytes::GIB),
        disk: Bytes(80 * Bytes::GIB),
        max_pods: None,
        hourly_price: HourlyPrice::ZERO,
        available: true,
        datacenter: None,
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
    let created = world.create_group(1).await;
    let groups: Api<api::NodeGroup> = Api::namespaced(world.cluster.client(), "default");
    let patch = Patch::Merge(json!({ "spec": { "maxNodes": 7 } }));
    let patched = groups.patch("general", &PatchParams::default(), &patch).await.unwrap();
    // The newer reading comes first, as the result of the write; the watch and the older reading follow.
    world.index.put_group(patched);
    let max_nodes = || {
        let cluster = world.index.cluster();
        let found = cluster.groups.get(&("default".to_owned(), "general".to_owned()));
        found.map(|group| group.spec.max_nodes)
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

#[tokio::test(start_paused = true)]
async fn a_malformed_pod_is_a_problem_as_long_as_it_is_there_and_hides_no_other() {
    let world = World::start().await;
    world.create_group(5).await;
    for (name, cpu) in [("bad", "1 core"), ("good", "500m")] {
        world.create_pod(name, cpu, None).await;
        world.refuse(name).await;
    }
    let problems = || world.index.snapshot().problems;
    let has_asked = || {
        let snapshot = world.index.snapshot();
        snapshot.pods.iter().any(|pod| pod.unschedulable.is_some())
    };
    world
        .until("both pods were seen", || has_asked() && !problems().is_empty())
        .await;
    let [problem] = problems().try_into().unwrap();
    assert_eq!(
        (problem.object.as_str(), problem.field.as_str()),
        ("Pod default/bad", "object")
    );
    assert!(
        problem.message.contains("\"1 core\" is not a quantity"),
        "{}",
        problem.message
    );
    assert!(problem.message.ends_with("; it is left out"), "{}", problem.message);
    let plan = world.plan(&world.index);
    assert_eq!(
        plan["scaleUp"][0]["nodes"][0]["pods"],
        json!(["default/good"]),
        "{plan:#}"
    );

    // A list finds it again, and it is one problem still.
    world.cluster.close_watches();
    world.cluster.compact();
    world.create_pod("later", "1", None).await;
    world
        .until("the list is through", || world.pod_names() == ["good", "later"])
        .await;
    assert_eq!(problems(), [problem]);
    world.delete_pod("bad").await;
    world.until("the problem is gone", || problems().is_empty()).await;
    assert_eq!(world.pod_names(), ["good", "later"]);
}

#[tokio::test(start_paused = true)]
async fn a_relist_removes_pods_that_are_gone_and_leaves_the_others() {
    let world = World::start().await;
    world.create_node("n1", "4").await;
    for name in ["bound", "gone", "replaced", "waits"] {
        let node = (name != "waits").then_some("n1");
        world.create_pod(name, "500m", node).await;
    }
    world.create_pod("bad", "1 core", None).await;
    let known = || (world.pod_names().len(), world.index.snapshot().problems.len());
    world.until("all pods are there", || known() == (4, 1)).await;
    let uid = |name: &str| {
        let snapshot = world.index.snapshot();
        let pod = snapshot.pods.iter().find(|pod| *pod.name == *name);
        pod.unwrap().uid.clone()
    };
    let before = ["bound", "replaced"].map(uid);

    world.cluster.close_watches();
    for name in ["gone", "replaced", "bad"] {
        world.delete_pod(name).await;
    }
    world.create_pod("replaced", "1", None).await;
    world.create_pod("new", "1", Some("n1")).await;
    world.cluster.compact();
    world
        .until("the list is through", || {
            world.pod_names() == ["bound", "new", "replaced", "waits"] && world.index.reading().is_some()
        })
        .await;
    let after = ["bound", "replaced"].map(uid);
    assert_eq!(before[0], after[0]);
    assert_ne!(before[1], after[1]);
    let snapshot = world.index.snapshot();
    assert_eq!(snapshot.problems, []);
    assert_eq!(snapshot.pods_on(snapshot.node_ids().next().unwrap()).len(), 2);
    assert_eq!(snapshot.unbound_pods().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn the_decision_after_a_thousand_changes_is_that_of_an_index_made_anew() {
    for seed in [1, 2] {
        let world = World::start().await;
        world.create_group(50).await;
        for node in 0..8 {
            world.create_node(&format!("n{node}"), "4").await;
        }
        world.until("all nodes are there", || world.names().len() == 8).await;
        let mut random = Random(seed);
        let mut alive: Vec<bool> = vec![false; 60];
        for _ in 0..1000 {
            let index = random.below(alive.len());
            let name = format!("p{index}");
            match (alive[index], random.below(5)) {
                (false, _) => {
                    let node = format!("n{}", random.below(10));
                    let node = (random.below(2) == 0).then_some(node.as_str());
                    world
                        .create_pod(&name, &format!("{}m", 100 * (1 + random.below(8))), node)
                        .await;
                    alive[index] = true;
                }
                (true, 0) => {
                    world.delete_pod(&name).await;
                    alive[index] = false;
                }
                (true, 1) => world.patch_pod(&name, json!({ "phase": "Running" })).await,
                (true, 2) => world.patch_pod(&name, json!({ "phase": "Succeeded" })).await,
                (true, _) => world.refuse(&name).await,
            }
        }
        // Everything that the watch of pods had to say has been said once this pod is there.
        world.create_pod("last", "1", None).await;
        world.refuse("last").await;
        let is_through = || {
            let snapshot = world.index.snapshot();
            let last = snapshot.pods.iter().find(|pod| &*pod.name == "last");
            last.is_some_and(|pod| pod.unschedulable.is_some())
        };
        world.until("the watch has caught up", is_through).await;
        let (fresh, _, _watching) = watch(&world.cluster).await;
        let (followed, listed) = (world.plan(&world.index), world.plan(&fresh));
        assert_eq!(followed, listed, "seed {seed}");
        let placed = |key: &str| followed[key].as_array().map_or(0, Vec::len);
        assert!(
            0 < placed("scaleUp") && 10 < placed("pods"),
            "seed {seed}: {followed:#}"
        );
    }
}

/// The sequence of SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((word ^ (word >> 31)) % limit as u64).unwrap()
    }
}
