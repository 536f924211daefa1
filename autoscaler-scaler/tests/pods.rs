//! Events on pending pods, against the embedded cluster.
#![cfg(feature = "embedded-cluster")]
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use autoscaler_core::{
    planner::{Options, plan},
    provider::{Offering, OfferingId},
    quantity::{Bytes, HourlyPrice, MilliCpu},
};
use autoscaler_scaler::{
    api::{self, NodeGroup},
    embedded::{Background, Cluster, scheduler::Scheduler},
    events::Events,
    index::Index,
    pods::PodEvents,
    watch::Watches,
};
use k8s_openapi::{
    api::{core::v1::Pod, events::v1::Event},
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

struct World {
    cluster: Cluster,
    index: Index,
    told: PodEvents,
    _watches: AbortOnDropHandle<()>,
    _controllers: Background,
    _scheduler: Scheduler,
}

impl World {
    /// A cluster with a NodeGroup `default/g` with this policy.
    async fn new(scale_up_policy: Value) -> Self {
        let cluster = Cluster::new();
        let client = cluster.client();
        let crds: Api<CustomResourceDefinition> = Api::all(client.clone());
        for crd in api::crds() {
            crds.create(&PostParams::default(), &crd).await.unwrap();
        }
        let group = json!({
            "apiVersion": api::API_VERSION, "kind": "NodeGroup",
            "metadata": { "name": "g", "namespace": "default", "labels": { "autoscaler.vpsie.com/managed": "true" } },
            "spec": {
                "minNodes": 0, "maxNodes": 100, "scaleUpPolicy": scale_up_policy, "datacenterID": "dc1", "resourceIdentifier": "k", "project": "p",
                "offeringIDs": ["small"], "kubernetesVersion": "v1.34.1",
            },
        });
        let groups: Api<NodeGroup> = Api::namespaced(client.clone(), "default");
        let group = serde_json::from_value(group).unwrap();
        groups.create(&PostParams::default(), &group).await.unwrap();
        let index = Index::default();
        let watches = Arc::new(Watches::new(index.clone()));
        let running = {
            let (watches, client) = (Arc::clone(&watches), client.clone());
            tokio::spawn(async move { watches.run(&client, &|_| {}, &CancellationToken::new()).await })
        };
        watches.synced().await;
        Self {
            told: PodEvents::new(Events::new(client, "test")),
            _controllers: cluster.start_controllers(),
            _scheduler: Scheduler::start(&cluster),
            _watches: AbortOnDropHandle::new(running),
            cluster,
            index,
        }
    }

    async fn pods(&self, names: impl IntoIterator<Item = String>) {
        let pods: Api<Pod> = Api::namespaced(self.cluster.client(), "default");
        for name in names {
            let pod = json!({
                "metadata": { "name": name },
                "spec": { "containers": [{ "name": "c", "image": "i", "resources": { "requests": { "cpu": "500m" } } }] },
            });
            let pod = serde_json::from_value(pod).unwrap();
            pods.create(&PostParams::default(), &pod).await.unwrap();
        }
    }

    /// Time passes, a decision is made, and its news are told.
    async fn decide_after(&mut self, seconds: u64) {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        let offerings = [Offering {
            id: OfferingId::new("small"),
            name: "small".to_owned(),
            cpu: MilliCpu(4000),
            memory: Bytes(8 * Bytes::GIB),
            disk: Bytes(80 * Bytes::GIB),
            max_pods: None,
            hourly_price: HourlyPrice::ZERO,
            available: true,
            datacenter: None,
        }];
        self.index.set_offerings(offerings.into());
        let snapshot = self.index.snapshot();
        let now = self.cluster.now();
        let plan = plan(&snapshot, &Options::default(), now);
        self.told.report(&snapshot, &plan, now).await;
    }

    async fn events(&self) -> Vec<Event> {
        let events: Api<Event> = Api::namespaced(self.cluster.client(), "default");
        events.list(&ListParams::default()).await.unwrap().items
    }

    /// How many events of this reason each pod has.
    async fn counts(&self, reason: &str) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for event in self.events().await {
            if event.reason.as_deref() == Some(reason) {
                let name = event.regarding.and_then(|pod| pod.name).unwrap();
                *counts.entry(name).or_default() += 1;
            }
        }
        counts
    }
}

fn names(count: usize) -> impl Iterator<Item = String> {
    (0..count).map(|index| format!("p-{index:03}"))
}

#[tokio::test(start_paused = true)]
async fn each_pod_hears_once_and_again_after_a_while() {
    let mut world = World::new(json!({ "enabled": false })).await;
    world.pods(names(3)).await;
    for _ in 0..59 {
        world.decide_after(10).await;
    }
    assert_eq!(
        world
            .counts("NotTriggerScaleUp")
            .await
            .into_values()
            .collect::<Vec<_>>(),
        [1; 3]
    );
    world.decide_after(60).await;
    assert_eq!(
        world
            .counts("NotTriggerScaleUp")
            .await
            .into_values()
            .collect::<Vec<_>>(),
        [2; 3]
    );
}

#[tokio::test(start_paused = true)]
async fn other_news_are_a_new_event_with_a_note_of_its_own() {
    let mut world = World::new(json!({ "enabled": false })).await;
    world.pods(names(1)).await;
    world.decide_after(5).await;
    let groups: Api<NodeGroup> = Api::namespaced(world.cluster.client(), "default");
    let patch = Patch::Merge(json!({ "spec": { "scaleUpPolicy": { "enabled": true }, "offeringIDs": ["unknown"] } }));
    groups.patch("g", &PatchParams::default(), &patch).await.unwrap();
    world.decide_after(30).await;
    assert_eq!(world.events().await.len(), 1, "too soon after the last one");
    world.decide_after(30).await;
    let notes: Vec<_> = world
        .events()
        .await
        .into_iter()
        .filter_map(|event| event.note)
        .collect();
    assert_eq!(notes.len(), 2, "{notes:?}");
    for part in ["1 ScaleUpDisabled (default/g)", "1 OfferingUnavailable (default/g)"] {
        assert!(notes.iter().any(|note| note.contains(part)), "{notes:?} lack {part:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn one_decision_writes_fifty_events_and_the_next_ones_the_rest() {
    let mut world = World::new(json!({ "stabilizationWindowSeconds": 0 })).await;
    world.pods(names(120)).await;
    let told = async |world: &World| world.counts("ScaleUpTriggered").await.len();
    world.decide_after(5).await;
    assert_eq!(told(&world).await, 50);
    // Nodes have been ordered meanwhile, or pods have gone: what waits is told to those that are there.
    let pods: Api<Pod> = Api::namespaced(world.cluster.client(), "default");
    let waiting: Vec<_> = {
        let heard = world.counts("ScaleUpTriggered").await;
        names(120).filter(|name| !heard.contains_key(name)).collect()
    };
    for name in waiting.iter().take(10) {
        pods.delete(name, &DeleteParams::default().grace_period(0))
            .await
            .unwrap();
    }
    world.decide_after(10).await;
    assert_eq!(told(&world).await, 100);
    world.decide_after(10).await;
    assert_eq!(told(&world).await, 110);
    world.decide_after(10).await;
    let counts = world.counts("ScaleUpTriggered").await;
    assert!(counts.values().all(|count| *count == 1), "{counts:?}");
}
