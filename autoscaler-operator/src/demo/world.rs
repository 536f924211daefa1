//! The parts of the demo: an embedded cluster with its scheduler and kubelets, and a mock VPSie account, both served
//! over HTTP on this machine.

use std::{
    fmt::Debug,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use autoscaler_core::{provider::CloudProvider, usage::WindowShape};
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
    },
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, Client, Config,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinHandle, time::Instant};
use vpsie_client::mock::{MockConfig, MockServer, MockVpsie};

use super::machines::Machines;
use crate::{
    command::Failure,
    explain::answer::Explainer,
    operate::Settings,
    serve::Health,
    vpsie::{self, VpsieAccess},
};

/// Everything that runs. It ends when this is dropped.
pub(super) struct World {
    pub(super) kubernetes_url: String,
    pub(super) vpsie_url: String,
    pub(super) mock: MockVpsie,
    pub(super) clock: Clock,
    pub(super) client: Client,
    time_scale: u32,
    _controllers: Background,
    _scheduler: Scheduler,
    _machines: Machines,
    _vpsie_server: MockServer,
    _kubernetes_server: Server,
}

/// A task that ends with its owner.
struct Server(JoinHandle<()>);

impl Drop for Server {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl World {
    pub(super) async fn start(time_scale: u32) -> Result<Self, Failure> {
        let clock = fast_clock(time_scale);
        let cluster = Cluster::with_clock(Arc::clone(&clock));
        let (kubernetes_url, kubernetes_server) = serve(&cluster).await?;
        let scaled = |seconds: u64| Duration::from_secs(seconds) / time_scale;
        let config = MockConfig {
            provision_delay: scaled(60),
            delete_delay: scaled(30),
            ..MockConfig::default()
        };
        let catalogue = config.offerings.clone();
        let mock = MockVpsie::new(config);
        let vpsie_server = mock.serve(loopback()).await.map_err(|error| Failure::failed(&error))?;
        let client = cluster.client();
        let options = KubeletOptions {
            ready_delay: scaled(20),
            max_grace: scaled(30),
            wall_clock: Some(clock()),
            ..KubeletOptions::default()
        };
        let world = Self {
            kubernetes_url,
            vpsie_url: vpsie_server.base_url(),
            _machines: Machines::start(
                mock.clone(),
                Arc::new(Kubelets::new(client.clone(), options)),
                catalogue,
            ),
            mock,
            clock,
            time_scale,
            _controllers: cluster.start_controllers(),
            _scheduler: Scheduler::start(&cluster),
            _vpsie_server: vpsie_server,
            _kubernetes_server: kubernetes_server,
            client,
        };
        world.install().await?;
        Ok(world)
    }

    /// What an operator would find in a real cluster: the CustomResourceDefinitions, the credentials, two node groups.
    async fn install(&self) -> Result<(), Failure> {
        let crds: Api<CustomResourceDefinition> = Api::all(self.client.clone());
        for crd in api::crds() {
            crds.create(&PostParams::default(), &crd)
                .await
                .map_err(|error| Failure::failed(&error))?;
        }
        let credentials = MockConfig::default();
        // A real API server would take `stringData` and encode it itself.
        let encoded = |text: &str| json!(k8s_openapi::ByteString(text.as_bytes().to_vec()));
        let secret = json!({
            "metadata": { "name": "vpsie-secret", "namespace": "kube-system" },
            "data": {
                "clientId": encoded(&credentials.client_id),
                "clientSecret": encoded(&credentials.client_secret),
                "url": encoded(&self.vpsie_url),
            },
        });
        self.create::<Secret>("kube-system", secret).await?;
        for (name, offerings) in [("general", ["medium-4"]), ("large", ["medium-8"])] {
            let group = json!({
                "apiVersion": api::API_VERSION,
                "kind": "NodeGroup",
                "metadata": { "name": name, "namespace": "default", "labels": { api::labels::MANAGED: "true" } },
                "spec": {
                    "minNodes": 0, "maxNodes": 10, "datacenterID": "dc-1", "offeringIDs": offerings,
                    "resourceIdentifier": "demo", "project": "demo", "kubernetesVersion": "v1.36.3",
                },
            });
            self.create::<api::NodeGroup>("default", group).await?;
        }
        Ok(())
    }

    /// The operator's clients, provider and settings, all of them over HTTP.
    pub(super) async fn operator(
        &self,
        _health: &Health,
    ) -> Result<(Clients, Arc<dyn CloudProvider>, Settings), Failure> {
        let url = self
            .kubernetes_url
            .parse()
            .map_err(|error: http::uri::InvalidUri| Failure::failed(&error))?;
        let clients = Clients::new(Config::new(url)).map_err(|error| Failure::failed(&error))?;
        let access = VpsieAccess {
            namespace: "kube-system".to_owned(),
            name: "vpsie-secret".to_owned(),
            default_url: String::new(),
            allow_plain_http: false,
        };
        let provider = vpsie::connect(&clients.read, &access).await?;
        let scaled = |seconds: u64| Duration::from_secs(seconds) / self.time_scale;
        let settings = Settings {
            cluster: "demo".to_owned(),
            identity: "demo".to_owned(),
            own_node: None,
            dry_run: false,
            lease: Some(("kube-system".to_owned(), "vpsie-autoscaler-leader".to_owned())),
            scan_interval: scaled(10),
            batch_idle: scaled(1),
            batch_max: scaled(10),
            list_interval: SignedDuration::from_secs(5),
            usage_window: WindowShape::DEFAULT,
            usage_pause: scaled(60),
            clock: Arc::clone(&self.clock),
            observer: None,
            explainer: Explainer::default(),
        };
        Ok((clients, provider, settings))
    }

    pub(super) async fn deploy(&self, name: &str, replicas: u32, cpu: &str, memory: &str) -> Result<(), Failure> {
        let deployment = json!({
            "metadata": { "name": name, "namespace": "default" },
            "spec": {
                "replicas": replicas,
                "selector": { "matchLabels": { "app": name } },
                "template": {
                    "metadata": { "labels": { "app": name } },
                    "spec": { "containers": [{ "name": "main", "image": "example/app", "resources": { "requests": { "cpu": cpu, "memory": memory } } }] },
                },
            },
        });
        self.create::<Deployment>("default", deployment).await
    }

    pub(super) async fn scale(&self, name: &str, replicas: u32) -> Result<(), Failure> {
        let deployments: Api<Deployment> = Api::namespaced(self.client.clone(), "default");
        let patch = Patch::Merge(json!({ "spec": { "replicas": replicas } }));
        let patched = deployments.patch(name, &PatchParams::default(), &patch).await;
        patched.map(drop).map_err(|error| Failure::failed(&error))
    }

    pub(super) async fn delete(&self, name: &str) -> Result<(), Failure> {
        let deployments: Api<Deployment> = Api::namespaced(self.client.clone(), "default");
        let deleted = deployments.delete(name, &DeleteParams::background()).await;
        deleted.map(drop).map_err(|error| Failure::failed(&error))
    }

    /// Whether exactly so many pods of a Deployment run and none else is left.
    pub(super) async fn running(&self, name: &str, count: usize) -> Result<bool, Failure> {
        let pods: Vec<Pod> = list(Api::namespaced(self.client.clone(), "default"), &format!("app={name}")).await?;
        let running = |pod: &&Pod| {
            let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
            phase == Some("Running") && pod.metadata.deletion_timestamp.is_none()
        };
        Ok(pods.len() == count && pods.iter().filter(running).count() == count)
    }

    pub(super) async fn has_event(&self, pod_prefix: &str, reason: &str) -> Result<bool, Failure> {
        let events: Vec<Event> = list(Api::namespaced(self.client.clone(), "default"), "").await?;
        Ok(events.iter().any(|event| {
            let name = event
                .regarding
                .as_ref()
                .and_then(|object| object.name.as_deref())
                .unwrap_or_default();
            event.reason.as_deref() == Some(reason) && name.starts_with(pod_prefix)
        }))
    }

    pub(super) async fn nodes(&self) -> Result<usize, Failure> {
        Ok(list::<Node>(Api::all(self.client.clone()), "").await?.len())
    }

    pub(super) async fn machines(&self) -> Result<usize, Failure> {
        Ok(list::<api::VPSieNode>(Api::all(self.client.clone()), "").await?.len())
    }

    pub(super) fn vms(&self) -> usize {
        self.mock.vms().len()
    }

    async fn create<K>(&self, namespace: &str, object: Value) -> Result<(), Failure>
    where
        K: kube::Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + DeserializeOwned
            + Serialize
            + Clone
            + Debug
            + Send
            + Sync,
    {
        let object: K = serde_json::from_value(object).map_err(|error| Failure::failed(&error))?;
        let api: Api<K> = Api::namespaced(self.client.clone(), namespace);
        api.create(&PostParams::default(), &object)
            .await
            .map(drop)
            .map_err(|error| Failure::failed(&error))
    }
}

/// Lists the objects that a label selector matches.
pub(super) async fn list<K>(api: Api<K>, labels: &str) -> Result<Vec<K>, Failure>
where
    K: kube::Resource + DeserializeOwned + Clone + Debug,
{
    let listed = api.list(&ListParams::default().labels(labels)).await;
    listed.map(|list| list.items).map_err(|error| Failure::failed(&error))
}

async fn serve(cluster: &Cluster) -> Result<(String, Server), Failure> {
    let listener = TcpListener::bind(loopback())
        .await
        .map_err(|error| Failure::failed(&error))?;
    let address = listener.local_addr().map_err(|error| Failure::failed(&error))?;
    let router = cluster.router();
    let task = tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, router).await {
            tracing::error!(%error, "the embedded API server ended");
        }
    });
    Ok((format!("http://{address}"), Server(task)))
}

const fn loopback() -> SocketAddr {
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0)
}

/// A clock that starts now and runs faster.
fn fast_clock(time_scale: u32) -> Clock {
    let (start, origin) = (Timestamp::now(), Instant::now());
    Arc::new(move || {
        let elapsed = origin.elapsed().saturating_mul(time_scale);
        let elapsed = SignedDuration::try_from(elapsed).unwrap_or(SignedDuration::MAX);
        start.checked_add(elapsed).unwrap_or(Timestamp::MAX)
    })
}
