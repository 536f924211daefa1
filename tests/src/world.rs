//! A cluster with a VPSie account, machines that join it, and an operator, on either kind of Kubernetes API.
//!
//! On the real control plane time is real, and windows are set short. On the embedded cluster everything runs in this
//! process under tokio's paused clock, and hours pass in milliseconds.

use std::{collections::BTreeMap, future::Future, sync::Arc, time::Duration};

use autoscaler_core::{provider::CloudProvider, usage::WindowShape};
use autoscaler_operator::{
    demo::machines::Machines,
    explain::answer::Explainer,
    operate::{Settings, operate},
    serve::Health,
};
use autoscaler_scaler::{
    api,
    clients::Clients,
    embedded::{
        Background, Cluster,
        kubelet::{KubeletOptions, Kubelets},
        scheduler::Scheduler,
    },
    run::Clock,
};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{
    NamespaceResourceScope,
    api::{
        apps::v1::Deployment,
        core::v1::{Node, Pod, Secret},
        events::v1::Event,
        policy::v1::PodDisruptionBudget,
    },
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    task::{JoinError, JoinHandle},
};
use tokio_util::sync::CancellationToken;
use vpsie_client::{
    VmProvider,
    mock::{MockConfig, MockServer, MockVpsie},
};

use crate::control_plane::{ControlPlane, Options};

/// The namespace that everything is in.
pub const NAMESPACE: &str = "default";

/// Everything that a scenario acts on.
pub struct World {
    /// A client of the cluster.
    pub client: Client,
    /// The VPSie account.
    pub mock: MockVpsie,
    /// The kubelets of the machines.
    pub kubelets: Arc<Kubelets>,
    /// How patient this world is.
    pub pace: Pace,
    clients: Clients,
    clock: Clock,
    operator: Option<Operator>,
    _machines: Machines,
    parts: Parts,
}

/// How long things take.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Window and cooldown of a NodeGroup's scale-down, in seconds.
    pub window: i32,
    /// How long a condition may take to come true.
    pub patience: Duration,
    /// How often a condition is looked at.
    pub look: Duration,
    /// The window of measured use.
    pub usage: WindowShape,
    /// The longest grace period that kubelets wait for.
    pub grace: Duration,
}

struct Operator {
    stop: CancellationToken,
    task: JoinHandle<Result<(), autoscaler_operator::command::Failure>>,
}

/// What must live as long as the world.
enum Parts {
    Embedded {
        _controllers: Background,
        _scheduler: Scheduler,
    },
    Real {
        plane: Box<ControlPlane>,
        vpsie: MockServer,
        /// Given back when the control plane has ended.
        _turn: SemaphorePermit<'static>,
    },
}

/// As many real worlds at a time keep the two cores of a small machine busy: a scenario spends most of its time waiting.
static REAL_AT_A_TIME: Semaphore = Semaphore::const_new(3);

// === impl World ===

impl World {
    /// A world on the in-memory cluster, for tests under paused time.
    pub async fn embedded() -> Self {
        let cluster = Cluster::new();
        let clock: Clock = {
            let cluster = cluster.clone();
            Arc::new(move || cluster.now())
        };
        let client = cluster.client();
        let config = MockConfig {
            provision_delay: Duration::from_secs(60),
            delete_delay: Duration::from_secs(30),
            ..MockConfig::default()
        };
        let catalogue = config.offerings.clone();
        let mock = MockVpsie::new(config);
        let options = KubeletOptions {
            ready_delay: Duration::from_secs(20),
            wall_clock: Some(cluster.now()),
            ..KubeletOptions::default()
        };
        let kubelets = Arc::new(Kubelets::new(client.clone(), options.clone()));
        let parts = Parts::Embedded {
            _controllers: cluster.start_controllers(),
            _scheduler: Scheduler::start(&cluster),
        };
        let world = Self {
            clients: Clients::in_process(client.clone()),
            pace: Pace {
                window: 600,
                patience: Duration::from_secs(4 * 3600),
                look: Duration::from_secs(5),
                usage: WindowShape::DEFAULT,
                grace: options.max_grace,
            },
            _machines: Machines::start(mock.clone(), Arc::clone(&kubelets), catalogue),
            client,
            mock,
            kubelets,
            clock,
            operator: None,
            parts,
        };
        world.install_crds().await;
        world
    }

    /// A world on a real control plane of its own. Waits while three others are there.
    pub async fn real() -> Self {
        let turn = REAL_AT_A_TIME.acquire().await.expect("it is never closed");
        let plane = ControlPlane::start_with(&Options::default())
            .await
            .unwrap_or_else(|error| panic!("{error}"));
        // The API server may be too busy to answer, as any is at times.
        let mut access = plane.config();
        access.default_retry = true;
        let client = Client::try_from(access.clone()).unwrap();
        let config = MockConfig {
            provision_delay: Duration::from_millis(500),
            delete_delay: Duration::from_millis(500),
            ..MockConfig::default()
        };
        let catalogue = config.offerings.clone();
        let mock = MockVpsie::new(config);
        let vpsie = mock.serve("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let options = KubeletOptions {
            ready_delay: Duration::from_millis(300),
            max_grace: Duration::from_secs(1),
            ..KubeletOptions::default()
        };
        let kubelets = Arc::new(Kubelets::new(client.clone(), options.clone()));
        let world = Self {
            clients: Clients::new(access).unwrap(),
            pace: Pace {
                window: 2,
                // An eviction whose caller ends while the API server works on it may have been counted in the budget and not
                // have deleted the pod. The disruption controller takes that back after two minutes.
                patience: Duration::from_secs(240),
                look: Duration::from_millis(100),
                usage: WindowShape::new(SignedDuration::from_secs(10), SignedDuration::from_secs(2)).unwrap(),
                grace: options.max_grace,
            },
            _machines: Machines::start(mock.clone(), Arc::clone(&kubelets), catalogue),
            client,
            mock,
            kubelets,
            clock: Arc::new(Timestamp::now),
            operator: None,
            parts: Parts::Real {
                plane: Box::new(plane),
                vpsie,
                _turn: turn,
            },
        };
        world.install_crds().await;
        world
    }

    /// Where an operator in a process of its own finds this world: the kubeconfig and the URL of the VPSie API. Only a
    /// real one can be found.
    pub fn addresses(&self) -> (&std::path::Path, String) {
        match &self.parts {
            Parts::Real { plane, vpsie, .. } => (plane.kubeconfig_path(), vpsie.base_url()),
            Parts::Embedded { .. } => panic!("an embedded world has no addresses"),
        }
    }

    /// Tells the time of this world.
    pub fn clock(&self) -> Clock {
        Arc::clone(&self.clock)
    }

    async fn install_crds(&self) {
        let crds: Api<CustomResourceDefinition> = Api::all(self.client.clone());
        for crd in api::crds() {
            crds.create(&PostParams::default(), &crd).await.unwrap();
        }
        // A new resource is established before its storage answers.
        self.until("the new resources can be listed", async || {
            let all = ListParams::default();
            Api::<api::NodeGroup>::all(self.client.clone()).list(&all).await.is_ok()
                && Api::<api::VPSieNode>::all(self.client.clone()).list(&all).await.is_ok()
                && Api::<api::AutoscalerConfig>::all(self.client.clone())
                    .list(&all)
                    .await
                    .is_ok()
        })
        .await;
    }

    /// Starts an operator in this process.
    pub fn start_operator(&mut self) {
        assert!(self.operator.is_none(), "one operator at a time");
        let real = matches!(self.parts, Parts::Real { .. });
        let client = match &self.parts {
            Parts::Real { vpsie, .. } => vpsie_client::Client::new(self.mock.client_config(vpsie.base_url())),
            Parts::Embedded { .. } => self.mock.client(),
        };
        let provider: Arc<dyn CloudProvider> = Arc::new(VmProvider::new(client.unwrap()));
        let quick = |real_ms: u64, virtual_s: u64| {
            if real {
                Duration::from_millis(real_ms)
            } else {
                Duration::from_secs(virtual_s)
            }
        };
        let settings = Settings {
            cluster: "test".to_owned(),
            identity: "test".to_owned(),
            own_node: None,
            dry_run: false,
            lease: None,
            scan_interval: quick(1000, 10),
            batch_idle: quick(100, 1),
            batch_max: quick(1000, 10),
            list_interval: if real {
                SignedDuration::from_millis(200)
            } else {
                SignedDuration::from_secs(5)
            },
            usage_window: self.pace.usage,
            usage_pause: Duration::try_from(self.pace.usage.interval()).unwrap(),
            clock: Arc::clone(&self.clock),
            observer: None,
            explainer: Explainer::default(),
        };
        let stop = CancellationToken::new();
        let (clients, token) = (self.clients.clone(), stop.clone());
        let task = tokio::spawn(async move {
            operate(
                clients,
                provider,
                settings,
                &Health::new(Duration::from_secs(3600)),
                token,
            )
            .await
        });
        self.operator = Some(Operator { stop, task });
    }

    /// Stops the operator and waits until it has ended.
    pub async fn stop_operator(&mut self) {
        let operator = self.operator.take().expect("an operator runs");
        operator.stop.cancel();
        operator.task.await.unwrap().unwrap();
    }

    /// Ends the operator in the middle of whatever it does, and waits until it has ended.
    pub async fn abort_operator(&mut self) {
        let task = self.operator.take().expect("an operator runs").task;
        task.abort();
        let ended = task.await;
        assert!(
            ended.as_ref().is_err_and(JoinError::is_cancelled),
            "the operator had ended with {ended:?}"
        );
    }

    /// Waits until the operator has come to a failpoint and ended there.
    pub async fn until_operator_fails(&mut self, what: &str) {
        self.until(what, async || {
            self.operator
                .as_ref()
                .is_none_or(|operator| operator.task.is_finished())
        })
        .await;
        let ended = self.operator.take().expect("an operator runs").task.await;
        assert!(
            ended.as_ref().is_err_and(|error| error.is_panic()),
            "{what}: it ended with {ended:?}"
        );
    }

    /// Waits until the condition holds, and fails with a picture of the world when it does not come true.
    pub async fn until<F, T>(&self, what: &str, condition: F)
    where
        F: Fn() -> T,
        T: Future<Output = bool>,
    {
        let wait = async {
            while !condition().await {
                tokio::time::sleep(self.pace.look).await;
            }
        };
        if tokio::time::timeout(self.pace.patience, wait).await.is_err() {
            panic!("in vain: {what}\n{}", self.picture().await);
        }
    }

    /// Checks that the condition keeps holding for so many of the world's windows.
    pub async fn stays<F, T>(&self, what: &str, windows: u32, condition: F)
    where
        F: Fn() -> T,
        T: Future<Output = bool>,
    {
        let until = tokio::time::Instant::now() + Duration::from_secs(self.pace.window.unsigned_abs().into()) * windows;
        while tokio::time::Instant::now() < until {
            if !condition().await {
                panic!("no longer: {what}\n{}", self.picture().await);
            }
            tokio::time::sleep(self.pace.look).await;
        }
    }

    /// What is there, for the message of a failed test.
    pub async fn picture(&self) -> String {
        use std::fmt::Write;
        let mut text = String::new();
        match &self.operator {
            Some(operator) if operator.task.is_finished() => text.push_str("the operator has ended by itself\n"),
            Some(_) => text.push_str("the operator runs\n"),
            None => text.push_str("no operator runs in this process\n"),
        }
        for vm in self.mock.vms() {
            writeln!(text, "VM {} {} {} {:?}", vm.id, vm.hostname, vm.status, vm.tags).unwrap();
        }
        for node in self.list::<Node>("").await {
            let spec = node.spec.clone().unwrap_or_default();
            writeln!(
                text,
                "Node {} unschedulable {:?} taints {:?}",
                node.name_any(),
                spec.unschedulable,
                spec.taints
            )
            .unwrap();
        }
        for machine in self.list::<api::VPSieNode>("").await {
            writeln!(
                text,
                "VPSieNode {} {}",
                machine.name_any(),
                serde_json::to_string(&machine.status).unwrap()
            )
            .unwrap();
        }
        for group in self.list::<api::NodeGroup>("").await {
            writeln!(
                text,
                "NodeGroup {} {}",
                group.name_any(),
                serde_json::to_string(&group.status).unwrap()
            )
            .unwrap();
        }
        for budget in self.list::<PodDisruptionBudget>("").await {
            writeln!(
                text,
                "PodDisruptionBudget {} {}",
                budget.name_any(),
                serde_json::to_string(&budget.status).unwrap()
            )
            .unwrap();
        }
        for pod in self.list::<Pod>("").await {
            let node = pod.spec.as_ref().and_then(|spec| spec.node_name.clone());
            let phase = pod.status.as_ref().and_then(|status| status.phase.clone());
            writeln!(
                text,
                "Pod {} {phase:?} on {node:?} deleted {}",
                pod.name_any(),
                pod.metadata.deletion_timestamp.is_some()
            )
            .unwrap();
        }
        for event in self.list::<Event>("").await {
            let of = event.regarding.and_then(|object| object.name).unwrap_or_default();
            writeln!(text, "Event {:?} on {of}: {:?}", event.reason, event.note).unwrap();
        }
        text
    }

    /// Creates a managed NodeGroup; `more` is merged into its spec.
    pub async fn group(&self, name: &str, min: u32, max: u32, offerings: &[&str], more: Value) {
        let mut spec = json!({
            "minNodes": min, "maxNodes": max, "datacenterID": "dc-1", "offeringIDs": offerings,
            "resourceIdentifier": "test", "project": "test", "kubernetesVersion": "v1.36.3",
            "scaleDownPolicy": {
                "stabilizationWindowSeconds": self.pace.window, "cooldownSeconds": self.pace.window,
                "delayAfterFailureSeconds": 5 * self.pace.window,
            },
        });
        merge(&mut spec, more);
        let group = json!({
            "apiVersion": api::API_VERSION, "kind": "NodeGroup",
            "metadata": { "name": name, "namespace": NAMESPACE, "labels": { api::labels::MANAGED: "true" } },
            "spec": spec,
        });
        self.create::<api::NodeGroup>(group).await;
    }

    /// Sets deadlines of the phases of VPSieNodes; what is not named keeps its default.
    pub async fn phase_timeouts(&self, timeouts: Value) {
        let config = json!({
            "apiVersion": api::API_VERSION, "kind": "AutoscalerConfig", "metadata": { "name": "default" },
            "spec": { "globalSettings": {
                "maxClusterWorkers": 0, "maxConcurrentScaleUps": 0, "unschedulablePodGracePeriodSeconds": 0,
                "phaseTimeouts": timeouts,
            } },
        });
        let configs: Api<api::AutoscalerConfig> = Api::all(self.client.clone());
        let config = serde_json::from_value(config).unwrap();
        configs.create(&PostParams::default(), &config).await.unwrap();
    }

    /// Merges `more` into the spec of a NodeGroup.
    pub async fn change_group(&self, name: &str, more: Value) {
        let groups: Api<api::NodeGroup> = Api::namespaced(self.client.clone(), NAMESPACE);
        let patch = Patch::Merge(json!({ "spec": more }));
        groups.patch(name, &PatchParams::default(), &patch).await.unwrap();
    }

    /// Creates a Deployment; `more` is merged into the spec of its pods.
    pub async fn deploy(&self, name: &str, replicas: u32, cpu: &str, more: Value) {
        let mut pod = json!({ "containers": [{ "name": "main", "image": "example/app", "resources": { "requests": { "cpu": cpu } } }] });
        merge(&mut pod, more);
        let deployment = json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": { "name": name, "namespace": NAMESPACE },
            "spec": {
                "replicas": replicas,
                "selector": { "matchLabels": { "app": name } },
                "template": { "metadata": { "labels": { "app": name } }, "spec": pod },
            },
        });
        self.create::<Deployment>(deployment).await;
    }

    /// Sets the replicas of a Deployment.
    pub async fn scale(&self, name: &str, replicas: u32) {
        let deployments: Api<Deployment> = Api::namespaced(self.client.clone(), NAMESPACE);
        let patch = Patch::Merge(json!({ "spec": { "replicas": replicas } }));
        deployments.patch(name, &PatchParams::default(), &patch).await.unwrap();
    }

    /// Deletes a Deployment with its pods.
    pub async fn undeploy(&self, name: &str) {
        let deployments: Api<Deployment> = Api::namespaced(self.client.clone(), NAMESPACE);
        deployments.delete(name, &DeleteParams::background()).await.unwrap();
    }

    /// Creates a PodDisruptionBudget for the pods of a Deployment.
    pub async fn budget(&self, app: &str, max_unavailable: u32) {
        let budget = json!({
            "apiVersion": "policy/v1", "kind": "PodDisruptionBudget",
            "metadata": { "name": app, "namespace": NAMESPACE },
            "spec": { "maxUnavailable": max_unavailable, "selector": { "matchLabels": { "app": app } } },
        });
        self.create::<PodDisruptionBudget>(budget).await;
    }

    /// Creates the Secret that an operator in a process of its own logs in with.
    pub async fn credentials(&self, url: &str) {
        let config = MockConfig::default();
        let secret = json!({
            "metadata": { "name": "vpsie-secret", "namespace": "kube-system" },
            "stringData": { "clientId": config.client_id, "clientSecret": config.client_secret, "url": url },
        });
        let secret: Secret = serde_json::from_value(secret).unwrap();
        Api::<Secret>::namespaced(self.client.clone(), "kube-system")
            .create(&PostParams::default(), &secret)
            .await
            .unwrap();
    }

    /// Creates an object in [`NAMESPACE`].
    pub async fn create<K>(&self, object: Value)
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + DeserializeOwned
            + Serialize
            + Clone
            + std::fmt::Debug,
    {
        let object: K = serde_json::from_value(object).unwrap();
        Api::<K>::namespaced(self.client.clone(), NAMESPACE)
            .create(&PostParams::default(), &object)
            .await
            .unwrap();
    }

    /// All objects that a label selector matches, in all namespaces.
    pub async fn list<K>(&self, labels: &str) -> Vec<K>
    where
        K: Resource<DynamicType = ()> + DeserializeOwned + Clone + std::fmt::Debug,
    {
        Api::<K>::all(self.client.clone())
            .list(&ListParams::default().labels(labels))
            .await
            .unwrap()
            .items
    }

    /// The pods of a Deployment.
    pub async fn pods(&self, app: &str) -> Vec<Pod> {
        self.list(&format!("app={app}")).await
    }

    /// What the operator's last decision said of each node, as its VPSieNode has it, by the name of both.
    pub async fn decisions(&self) -> BTreeMap<String, api::Decision> {
        let machines = self.list::<api::VPSieNode>("").await.into_iter();
        let decided = machines.filter_map(|machine| {
            let name = machine.name_any();
            Some((name, machine.status?.last_decision?))
        });
        decided.collect()
    }

    /// Waits until exactly so many pods of a Deployment run and none else is left.
    pub async fn until_running(&self, app: &str, count: usize) {
        self.until(&format!("{count} pods of {app} run"), async || {
            let pods = self.pods(app).await;
            pods.len() == count && pods.iter().all(is_running)
        })
        .await;
    }

    /// Waits until there are exactly so many nodes, VPSieNodes and VMs.
    pub async fn until_size(&self, count: usize) {
        self.until(&format!("{count} nodes, VPSieNodes and VMs"), async || {
            let nodes = self.list::<Node>("").await.len();
            let machines = self.list::<api::VPSieNode>("").await.len();
            nodes == count && machines == count && self.mock.vms().len() == count
        })
        .await;
    }

    /// Waits until the provider has exactly so many VMs.
    ///
    /// After a removal the VPSieNode and its Node are there a little longer: a list that lacks a VM is believed only some
    /// time after the create call, which on the real control plane was a moment ago. [`until_size`](Self::until_size)
    /// waits for that, too.
    pub async fn until_vms(&self, count: usize) {
        self.until(&format!("{count} VMs"), async || self.mock.vms().len() == count)
            .await;
    }

    /// Waits until there are exactly so many nodes, VPSieNodes and VMs, every VPSieNode is Ready, and nothing that comes with
    /// the start of a node keeps pods away: kube-controller-manager takes its taint off when it has seen that a node is Ready.
    pub async fn until_ready(&self, count: usize) {
        self.until_size(count).await;
        self.until(&format!("{count} VPSieNodes are Ready"), async || {
            let machines = self.list::<api::VPSieNode>("").await;
            machines.len() == count
                && machines.iter().all(|machine| machine.phase() == api::Phase::Ready)
                && !self.list::<Node>("").await.iter().any(is_starting)
        })
        .await;
    }

    /// The notes of the events with this reason on objects whose name starts so.
    pub async fn notes(&self, prefix: &str, reason: &str) -> Vec<String> {
        let of = |event: &Event| {
            event
                .regarding
                .as_ref()
                .and_then(|object| object.name.clone())
                .unwrap_or_default()
        };
        let events = self.list::<Event>("").await.into_iter();
        let matching = events.filter(|event| event.reason.as_deref() == Some(reason) && of(event).starts_with(prefix));
        matching.filter_map(|event| event.note).collect()
    }
}

/// Whether a pod runs and is not on its way out.
pub fn is_running(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    phase == Some("Running") && pod.metadata.deletion_timestamp.is_none()
}

/// The node that a pod is bound to; empty when it is to none.
pub fn node_of(pod: &Pod) -> &str {
    let spec = pod.spec.as_ref();
    spec.and_then(|spec| spec.node_name.as_deref()).unwrap_or_default()
}

/// Whether a node is cordoned, by whomever.
pub fn is_cordoned(node: &Node) -> bool {
    node.spec.as_ref().and_then(|spec| spec.unschedulable) == Some(true)
}

/// Whether a node has the taint of a deletion candidate.
pub fn is_candidate(node: &Node) -> bool {
    has_taint(node, api::labels::CANDIDATE_TAINT)
}

/// Whether a node is not open to pods yet, or is not Ready.
pub fn is_starting(node: &Node) -> bool {
    has_taint(node, api::labels::STARTUP_TAINT) || has_taint(node, "node.kubernetes.io/not-ready")
}

fn has_taint(node: &Node, key: &str) -> bool {
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_ref());
    taints.into_iter().flatten().any(|taint| taint.key == key)
}

/// Merges objects; what is not an object is replaced.
fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, from) => {
            if !from.is_null() {
                *into = from;
            }
        }
    }
}
