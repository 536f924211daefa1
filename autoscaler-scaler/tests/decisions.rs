//! What decisions leave on VPSieNodes and Nodes, against the embedded cluster.
#![cfg(feature = "embedded-cluster")]
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::{sync::Arc, time::Duration};

use autoscaler_core::planner::{Options, plan};
use autoscaler_scaler::{
    api::{self, Decision, NodeGroup, VPSieNode},
    embedded::{ApiError, Cluster, Verb},
    events::Events,
    index::{Index, Reading},
    nodes::NodeEvents,
    status::Decisions,
    watch::Watches,
};
use k8s_openapi::{
    api::{
        core::v1::{Node, Pod},
        events::v1::Event,
    },
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

/// A cluster with a NodeGroup `default/g` of nodes with 4 cores.
struct World {
    cluster: Cluster,
    index: Index,
    decisions: Decisions,
    told: NodeEvents,
    _watches: AbortOnDropHandle<()>,
}

fn object<K: DeserializeOwned>(value: Value) -> K {
    serde_json::from_value(value).unwrap()
}

impl World {
    async fn new() -> Self {
        let cluster = Cluster::new();
        let client = cluster.client();
        let crds: Api<CustomResourceDefinition> = Api::all(client.clone());
        for crd in api::crds() {
            crds.create(&PostParams::default(), &crd).await.unwrap();
        }
        let group: NodeGroup = object(json!({
            "apiVersion": api::API_VERSION, "kind": "NodeGroup",
            "metadata": { "name": "g", "namespace": "default", "labels": { "autoscaler.vpsie.com/managed": "true" } },
            "spec": {
                "minNodes": 0, "maxNodes": 1000, "datacenterID": "dc1", "resourceIdentifier": "k", "project": "p",
                "offeringIDs": ["small"], "kubernetesVersion": "v1.34.1",
            },
        }));
        let groups: Api<NodeGroup> = Api::namespaced(client.clone(), "default");
        groups.create(&PostParams::default(), &group).await.unwrap();
        let index = Index::default();
        let watches = Arc::new(Watches::new(index.clone()));
        let running = {
            let (watches, client) = (Arc::clone(&watches), client.clone());
            tokio::spawn(async move { watches.run(&client, &|_| {}, &CancellationToken::new()).await })
        };
        watches.synced().await;
        Self {
            decisions: Decisions::default(),
            told: NodeEvents::new(Events::new(client, "test")),
            _watches: AbortOnDropHandle::new(running),
            cluster,
            index,
        }
    }

    fn machines(&self) -> Api<VPSieNode> {
        Api::namespaced(self.cluster.client(), "default")
    }

    fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.cluster.client(), "default")
    }

    /// A Ready node of the group, with its VPSieNode.
    async fn node(&self, name: &str) {
        let nodes: Api<Node> = Api::all(self.cluster.client());
        let node = json!({
            "metadata": { "name": name },
            "status": {
                "allocatable": { "cpu": "4", "memory": "8Gi", "pods": "110" },
                "conditions": [{ "type": "Ready", "status": "True" }],
            },
        });
        nodes.create(&PostParams::default(), &object(node)).await.unwrap();
        let machine = json!({
            "apiVersion": api::API_VERSION, "kind": "VPSieNode",
            "metadata": { "name": name, "namespace": "default" },
            "spec": {
                "vpsieInstanceID": 1, "instanceType": "small", "nodeGroupName": "g", "datacenterID": "dc1",
                "nodeName": name, "resourceIdentifier": "k", "project": "p", "kubernetesVersion": "v1.34.1",
            },
        });
        let machine = object(machine);
        self.machines().create(&PostParams::default(), &machine).await.unwrap();
        self.patch_status(name, json!({ "phase": "Ready", "nodeName": name }))
            .await;
    }

    async fn patch_status(&self, name: &str, status: Value) {
        let patch = Patch::Merge(json!({ "status": status }));
        self.machines()
            .patch_status(name, &PatchParams::default(), &patch)
            .await
            .unwrap();
    }

    /// A pod that nobody would make anew.
    async fn bare_pod(&self, name: &str, node: &str, cpu: &str) {
        let pod = json!({
            "metadata": { "name": name },
            "spec": {
                "nodeName": node,
                "containers": [{ "name": "c", "image": "i", "resources": { "requests": { "cpu": cpu } } }],
            },
        });
        self.pods().create(&PostParams::default(), &object(pod)).await.unwrap();
    }

    async fn delete_pod(&self, name: &str) {
        let now = DeleteParams {
            grace_period_seconds: Some(0),
            ..DeleteParams::default()
        };
        self.pods().delete(name, &now).await.unwrap();
    }

    /// Time passes, a decision is made, recorded and told. Returns how many writes that took.
    async fn decide_after(&mut self, seconds: u64) -> Result<u64, kube::Error> {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        self.cluster.faults().reset_requests();
        let Reading { cluster, snapshot } = self.index.reading().unwrap();
        let now = self.cluster.now();
        let plan = plan(&snapshot, &Options::default(), now);
        let client = self.cluster.client();
        self.decisions
            .record(&client, &self.index, &cluster, &snapshot, &plan)
            .await?;
        self.told.report(&cluster, &snapshot, &plan, now).await;
        Ok(self.cluster.faults().count(Verb::Patch, "vpsienodes/status"))
    }

    async fn decision(&self, name: &str) -> Decision {
        let machine = self.machines().get(name).await.unwrap();
        machine.status.unwrap().last_decision.unwrap()
    }

    async fn is_unneeded(&self, name: &str) -> bool {
        let machine = self.machines().get(name).await.unwrap();
        machine.status.unwrap().unneeded_since.is_some()
    }

    /// The notes of the events on a Node.
    async fn told(&self, name: &str) -> Vec<String> {
        let events: Api<Event> = Api::all(self.cluster.client());
        let events = events.list(&Default::default()).await.unwrap().items;
        let of_node = events.into_iter().filter(|event| {
            let regarding = event.regarding.as_ref().unwrap();
            assert_eq!(event.reason.as_deref(), Some("ScaleDownBlocked"));
            assert_eq!(regarding.kind.as_deref(), Some("Node"));
            regarding.name.as_deref() == Some(name)
        });
        of_node.map(|event| event.note.unwrap()).collect()
    }
}

/// Verdict, reason, pod and reason of the pod.
fn text(decision: &Decision) -> String {
    let Decision {
        verdict,
        reason,
        pod,
        pod_reason,
        ..
    } = decision;
    let rest = [reason, pod, pod_reason].map(|part| part.as_deref().unwrap_or("-"));
    format!("{verdict} {}", rest.join(" "))
}

#[tokio::test(start_paused = true)]
async fn a_decision_is_written_once_and_again_when_it_is_another_one() {
    let mut world = World::new().await;
    world.node("n1").await;
    world.bare_pod("bare", "n1", "100m").await;

    assert_eq!(
        world.decide_after(1).await.unwrap(),
        1,
        "since when, and what was decided"
    );
    assert!(world.is_unneeded("n1").await);
    let first = world.decision("n1").await;
    assert_eq!(text(&first), "Keep NotUnneededLongEnough - -");
    for _ in 0..59 {
        assert_eq!(world.decide_after(10).await.unwrap(), 0, "nothing is new");
    }
    assert_eq!(world.decision("n1").await, first);
    assert!(world.told("n1").await.is_empty());

    assert_eq!(world.decide_after(20).await.unwrap(), 1);
    assert_eq!(
        text(&world.decision("n1").await),
        "Keep BlockedByPod default/bare NotReplicated"
    );
    for _ in 0..100 {
        assert_eq!(world.decide_after(10).await.unwrap(), 0);
    }

    world.delete_pod("bare").await;
    assert_eq!(world.decide_after(1).await.unwrap(), 1);
    assert_eq!(
        text(&world.decision("n1").await),
        "Remove - - -",
        "what does not hold any more is gone"
    );
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_needed_again_takes_one_write() {
    let mut world = World::new().await;
    world.node("n1").await;
    assert_eq!(world.decide_after(1).await.unwrap(), 1);
    world.bare_pod("busy", "n1", "3").await;
    assert_eq!(world.decide_after(1).await.unwrap(), 1);
    assert!(!world.is_unneeded("n1").await);
    assert_eq!(text(&world.decision("n1").await), "Keep NotUnderutilized - -");
}

#[tokio::test(start_paused = true)]
async fn a_message_alone_is_written_after_ten_minutes() {
    let mut world = World::new().await;
    world.node("n1").await;
    world.bare_pod("busy", "n1", "3").await;
    assert_eq!(world.decide_after(1).await.unwrap(), 1);
    let before = world.decision("n1").await;
    world.bare_pod("more", "n1", "500m").await;
    assert_eq!(world.decide_after(599).await.unwrap(), 0);
    assert_eq!(world.decision("n1").await, before);
    assert_eq!(world.decide_after(1).await.unwrap(), 1);
    let after = world.decision("n1").await;
    assert_eq!(text(&after), text(&before));
    assert!(after.message.unwrap().contains("cpu 87.5%"));
    // A new process does not write all messages at once.
    world.decisions = Decisions::default();
    world.delete_pod("more").await;
    assert_eq!(world.decide_after(1).await.unwrap(), 0);
    assert_eq!(world.decide_after(600).await.unwrap(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_decision_that_led_to_a_removal_stays_during_it() {
    let mut world = World::new().await;
    world.node("n1").await;
    assert_eq!(world.decide_after(1).await.unwrap(), 1);
    assert_eq!(world.decide_after(601).await.unwrap(), 1);
    assert_eq!(text(&world.decision("n1").await), "Remove - - -");
    world.patch_status("n1", json!({ "phase": "Terminating" })).await;
    // Time is not kept for a node that is going; the decision is.
    assert_eq!(world.decide_after(1).await.unwrap(), 1);
    assert_eq!(text(&world.decision("n1").await), "Remove - - -");
    assert_eq!(world.decide_after(1).await.unwrap(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_write_that_fails_is_made_with_the_next_decision() {
    let mut world = World::new().await;
    world.node("n1").await;
    world.node("n2").await;
    let error = ApiError::new(500, "InternalError", "test");
    world.cluster.faults().fail(Verb::Patch, "vpsienodes/status", 1, error);
    world.decide_after(1).await.unwrap_err();
    assert_eq!(world.decide_after(1).await.unwrap(), 1, "the other one was written");
    for name in ["n1", "n2"] {
        assert_eq!(text(&world.decision(name).await), "Keep NotUnneededLongEnough - -");
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_hears_once_what_keeps_it_and_again_when_that_is_something_else() {
    let mut world = World::new().await;
    world.node("n1").await;
    world.bare_pod("web", "n1", "100m").await;
    world.decide_after(1).await.unwrap();
    for _ in 0..200 {
        world.decide_after(20).await.unwrap();
    }
    assert_eq!(
        world.told("n1").await,
        [
            "not needed, and stays: BlockedByPod NotReplicated: pod default/web has no controller that would replace it; \
             what would change it: annotate the pod cluster-autoscaler.kubernetes.io/safe-to-evict=true, or delete it"
        ]
    );
    // The first pod that blocks is another one, twice in a short time.
    world.bare_pod("api", "n1", "100m").await;
    world.decide_after(1).await.unwrap();
    assert_eq!(world.told("n1").await.len(), 2);
    world.delete_pod("api").await;
    for _ in 0..59 {
        world.decide_after(10).await.unwrap();
        assert_eq!(world.told("n1").await.len(), 2);
    }
    world.decide_after(20).await.unwrap();
    assert_eq!(world.told("n1").await.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_needed_or_waits_hears_nothing() {
    let mut world = World::new().await;
    world.node("busy").await;
    world.bare_pod("busy", "busy", "3").await;
    world.node("idle").await;
    world.bare_pod("idle", "idle", "1").await;
    for _ in 0..60 {
        world.decide_after(10).await.unwrap();
    }
    for name in ["busy", "idle"] {
        assert!(world.told(name).await.is_empty(), "{name}");
    }
    world.decide_after(20).await.unwrap();
    assert!(world.told("busy").await.is_empty());
    assert_eq!(world.told("idle").await.len(), 1);
}
