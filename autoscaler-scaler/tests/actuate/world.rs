//! A cluster, a cloud, and an actuator that can be killed and started again.

use std::sync::Arc;
use std::time::Duration;

use autoscaler_core::{
    plan::{Creation, Move, Plan, PlannedRemoval, RemovalKind},
    provider::{DatacenterId, Instance, InstanceState, OfferingId},
    quantity::HourlyPrice,
    snapshot::{GroupId, NodeId},
};
use autoscaler_scaler::{
    actuate::{Actuator, ActuatorSettings, Fact, Problem, TickReport},
    api::{self, NodeGroup, Phase, VPSieNode},
    clients::Clients,
    embedded::{
        Background, Cluster,
        kubelet::{KubeletOptions, Kubelets, NodeSpec},
        scheduler::Scheduler,
    },
    events::Events,
    index::Index,
    watch::Watches,
};
use k8s_openapi::api::core::v1::{Node, Pod, Taint};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{Api, ResourceExt as _, api::PostParams};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use crate::provider::FakeCloud;

pub(crate) struct World {
    pub(crate) cluster: Cluster,
    pub(crate) cloud: Arc<FakeCloud>,
    pub(crate) kubelets: Kubelets,
    pub(crate) index: Index,
    pub(crate) actuator: Actuator,
    pub(crate) facts: Vec<Fact>,
    pub(crate) problems: Vec<Problem>,
    pub(crate) replans: usize,
    seed: u64,
    _watches: AbortOnDropHandle<()>,
    _controllers: Background,
    _scheduler: Scheduler,
}

pub(crate) fn object<K: DeserializeOwned>(value: Value) -> K {
    serde_json::from_value(value).unwrap()
}

impl World {
    /// A cluster with a NodeGroup `g`; `spec` is laid over a group of 0 to 5 nodes.
    pub(crate) async fn new(spec: Value) -> Self {
        let cluster = Cluster::new();
        let client = cluster.client();
        let crds: Api<CustomResourceDefinition> = Api::all(client.clone());
        for crd in api::crds() {
            crds.create(&PostParams::default(), &crd).await.unwrap();
        }
        let mut full = json!({
            "minNodes": 0, "maxNodes": 5, "datacenterID": "dc1", "resourceIdentifier": "k8s-1", "project": "p",
            "offeringIDs": ["small"], "kubernetesVersion": "v1.34.1", "labels": { "team": "a" },
            "taints": [{ "key": "dedicated", "value": "a", "effect": "NoSchedule" }],
        });
        full.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        let group: NodeGroup = object(json!({
            "apiVersion": api::API_VERSION, "kind": "NodeGroup",
            "metadata": { "name": "g", "namespace": "default", "labels": { "autoscaler.vpsie.com/managed": "true" } },
            "spec": full,
        }));
        let groups: Api<NodeGroup> = Api::namespaced(client.clone(), "default");
        groups.create(&PostParams::default(), &group).await.unwrap();

        let options = KubeletOptions {
            wall_clock: Some(cluster.now()),
            ..KubeletOptions::default()
        };
        let kubelets = Kubelets::new(client.clone(), options);
        let index = Index::default();
        let watches = Arc::new(Watches::new(index.clone()));
        let running = {
            let (watches, client) = (Arc::clone(&watches), client.clone());
            tokio::spawn(async move { watches.run(&client, &|_| {}, &CancellationToken::new()).await })
        };
        watches.synced().await;
        let cloud = Arc::new(FakeCloud::default());
        let actuator = actuator(&cluster, &cloud, &index, 1);
        Self {
            _controllers: cluster.start_controllers(),
            _scheduler: Scheduler::start(&cluster),
            _watches: AbortOnDropHandle::new(running),
            cluster,
            cloud,
            kubelets,
            index,
            actuator,
            facts: Vec::new(),
            problems: Vec::new(),
            replans: 0,
            seed: 1,
        }
    }

    /// Kills the actuator and starts another one, which knows nothing but what the API server has.
    pub(crate) fn restart(&mut self) {
        self.seed += 1;
        self.actuator = actuator(&self.cluster, &self.cloud, &self.index, self.seed);
    }

    pub(crate) fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
    {
        Api::namespaced(self.cluster.client(), "default")
    }

    pub(crate) fn nodes(&self) -> Api<Node> {
        Api::all(self.cluster.client())
    }

    /// Creates an object in the namespace `default`.
    pub(crate) async fn create<K>(&self, value: Value) -> K
    where
        K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
            + Clone
            + std::fmt::Debug
            + serde::Serialize
            + DeserializeOwned
            + Send
            + Sync,
    {
        self.api().create(&PostParams::default(), &object(value)).await.unwrap()
    }

    /// One second passes, and one tick is made.
    pub(crate) async fn tick(&mut self) {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let TickReport {
            facts,
            problems,
            replan,
            ..
        } = self.actuator.tick(&self.index.cluster(), self.cluster.now()).await;
        self.facts.extend(facts);
        self.problems.extend(problems);
        self.replans += usize::from(replan);
    }

    pub(crate) async fn pass(&mut self, seconds: u32) {
        for _ in 0..seconds {
            self.tick().await;
        }
    }

    /// Ticks until there is a VPSieNode in this phase.
    pub(crate) async fn until(&mut self, phase: Phase) -> VPSieNode {
        for _ in 0..2000 {
            if let Some(machine) = self
                .machines()
                .await
                .into_iter()
                .find(|machine| machine.phase() == phase)
            {
                return machine;
            }
            self.tick().await;
        }
        panic!(
            "no VPSieNode became {phase:?}: {:#?}; {:#?}",
            self.machines().await,
            self.problems
        );
    }

    pub(crate) async fn machines(&self) -> Vec<VPSieNode> {
        self.api().list(&Default::default()).await.unwrap().items
    }

    pub(crate) async fn machine(&self) -> VPSieNode {
        let machines = self.machines().await;
        assert_eq!(machines.len(), 1, "{machines:#?}");
        machines.into_iter().next().unwrap()
    }

    pub(crate) async fn group(&self) -> NodeGroup {
        self.api().get("g").await.unwrap()
    }

    /// Plans so many new nodes of the group `g`, and has the actuator begin.
    pub(crate) async fn begin_creations(&self, count: usize) {
        self.begin_creations_of("g", count).await;
    }

    pub(crate) async fn begin_creations_of(&self, group: &str, count: usize) {
        let cluster = self.index.cluster();
        let snapshot = self.index.snapshot();
        let is_named = |id: &GroupId| snapshot.text(snapshot.group(*id).name) == group;
        let creation = Creation {
            group: snapshot.group_ids().find(is_named).unwrap(),
            offering: OfferingId::new("small"),
            datacenter: DatacenterId::new("dc1"),
            hourly_price: HourlyPrice::ZERO,
            pods: Vec::new(),
        };
        let plan = Plan {
            creations: vec![creation; count],
            ..self.empty_plan()
        };
        self.actuator
            .begin_creations(&cluster, &snapshot, &plan, self.cluster.now())
            .await
            .unwrap();
    }

    /// Plans the removal of a node, its pods moving to `to`, and has the actuator begin.
    pub(crate) async fn begin_removal(&self, node: &str, to: &str) {
        let cluster = self.index.cluster();
        let snapshot = self.index.snapshot();
        let id = |name: &str| -> NodeId {
            snapshot
                .node_ids()
                .find(|id| snapshot.text(snapshot.node(*id).name) == name)
                .unwrap()
        };
        let moves: Vec<Move> = snapshot
            .pods_on(id(node))
            .iter()
            .map(|pod| Move { pod: *pod, to: id(to) })
            .collect();
        let removal = PlannedRemoval {
            node: id(node),
            group: snapshot.node(id(node)).group.unwrap(),
            kind: if moves.is_empty() {
                RemovalKind::Empty
            } else {
                RemovalKind::Drain
            },
            moves,
        };
        let plan = Plan {
            removals: vec![removal],
            ..self.empty_plan()
        };
        self.actuator
            .begin_removals(&cluster, &snapshot, &plan, self.cluster.now())
            .await
            .unwrap();
    }

    fn empty_plan(&self) -> Plan {
        Plan {
            now: self.cluster.now(),
            creations: vec![],
            least_price: HourlyPrice::ZERO,
            removals: vec![],
            pods: vec![],
            nodes: vec![],
            binding_order: vec![],
        }
    }

    /// Every VM that is provisioning runs from now on, and its kubelet registers, with the startup taint only.
    pub(crate) async fn boot(&self) {
        for vm in self.cloud.turn(InstanceState::Provisioning, InstanceState::Running) {
            self.join(&vm).await;
        }
    }

    pub(crate) async fn join(&self, vm: &Instance) {
        let startup = Taint {
            key: "autoscaler.vpsie.com/startup".into(),
            effect: "NoSchedule".into(),
            ..Taint::default()
        };
        self.kubelets
            .join(NodeSpec {
                taints: vec![startup],
                ..node_spec(&vm.hostname)
            })
            .await
            .unwrap();
    }

    /// A node that is not ours, with room for everything.
    pub(crate) async fn foreign_node(&self, name: &str) {
        self.kubelets.join(node_spec(name)).await.unwrap();
    }

    /// A Ready node of the group, made by the actuator; its name.
    pub(crate) async fn ready_node(&mut self) -> String {
        self.begin_creations(1).await;
        self.tick().await;
        self.boot().await;
        let machine = self.until(Phase::Ready).await;
        machine.name_any()
    }

    /// Ends deletions at the cloud, and with them the kubelets.
    pub(crate) async fn finish_deletions(&self) {
        let leaving: Vec<String> = self
            .cloud
            .lock()
            .vms
            .iter()
            .filter(|vm| vm.state == InstanceState::Deleting)
            .map(|vm| vm.hostname.clone())
            .collect();
        for name in leaving {
            self.kubelets.leave(&name).await;
        }
        self.cloud.finish_deletions();
    }

    /// A Deployment of one pod that runs on the nodes of the group, and also on others.
    pub(crate) async fn deployment(&self, name: &str, replicas: u32) {
        let _created: k8s_openapi::api::apps::v1::Deployment = self
            .create(json!({
                "metadata": { "name": name },
                "spec": {
                    "replicas": replicas,
                    "selector": { "matchLabels": { "app": name } },
                    "template": {
                        "metadata": { "labels": { "app": name } },
                        "spec": {
                            "tolerations": [{ "key": "dedicated", "operator": "Exists" }],
                            "containers": [{ "name": "c", "image": "i", "resources": { "requests": { "cpu": "100m" } } }],
                        },
                    },
                },
            }))
            .await;
    }

    /// A pod of no controller, on a node of the group.
    pub(crate) async fn bare_pod(&self) {
        let _created: Pod = self
            .create(json!({
                "metadata": { "name": "bare" },
                "spec": {
                    "nodeSelector": { "team": "a" },
                    "tolerations": [{ "key": "dedicated", "operator": "Exists" }],
                    "containers": [{ "name": "c", "image": "i" }],
                },
            }))
            .await;
    }

    /// A budget that lets no pod of the deployment `web` go.
    pub(crate) async fn budget_of_web(&self) {
        let _created: PodDisruptionBudget = self
            .create(json!({
                "metadata": { "name": "web" },
                "spec": { "minAvailable": 1, "selector": { "matchLabels": { "app": "web" } } },
            }))
            .await;
    }

    /// A node whose drain hangs at a disruption budget: its name.
    pub(crate) async fn hanging_drain(&mut self) -> String {
        let node = self.ready_node().await;
        self.deployment("web", 1).await;
        self.pass(3).await;
        self.foreign_node("other").await;
        self.budget_of_web().await;
        self.pass(2).await;
        self.begin_removal(&node, "other").await;
        self.pass(5).await;
        assert!(self.is_cordoned(&node).await);
        assert_eq!(self.machine().await.phase(), Phase::Terminating);
        node
    }

    pub(crate) async fn node(&self, name: &str) -> Node {
        self.nodes().get(name).await.unwrap()
    }

    pub(crate) async fn is_cordoned(&self, name: &str) -> bool {
        self.node(name).await.spec.and_then(|spec| spec.unschedulable) == Some(true)
    }
}

fn node_spec(name: &str) -> NodeSpec {
    let capacity = [("cpu", "4"), ("memory", "8Gi")].map(|(name, amount)| (name.to_owned(), amount.to_owned()));
    NodeSpec {
        name: name.to_owned(),
        capacity: capacity.into(),
        ..NodeSpec::default()
    }
}

fn actuator(cluster: &Cluster, cloud: &Arc<FakeCloud>, index: &Index, seed: u64) -> Actuator {
    let client = cluster.client();
    let events = Events::new(client.clone(), "test");
    let settings = ActuatorSettings::new("c1", seed);
    let provider: Arc<FakeCloud> = Arc::clone(cloud);
    Actuator::new(Clients::in_process(client), provider, index.clone(), events, settings)
}
