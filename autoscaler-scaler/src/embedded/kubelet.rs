//! Fake kubelets: they do towards an API server what the kubelets of real nodes do, without running a container.
//!
//! [`Kubelets`] works through any [`Client`]: over a real kube-apiserver as well as over the in-memory one. A node that
//! [joins](Kubelets::join) registers its Node, becomes Ready after a delay and renews its Lease; pods that are bound to
//! it are Running at once, and pods that are being deleted end after their grace period.
//!
//! ```no_run
//! use std::collections::BTreeMap;
//! use autoscaler_scaler::embedded::kubelet::{KubeletOptions, Kubelets, NodeSpec};
//!
//! # async fn example(client: kube::Client) -> Result<(), Box<dyn std::error::Error>> {
//! let kubelets = Kubelets::new(client, KubeletOptions::default());
//! let capacity = [("cpu", "4"), ("memory", "8Gi")].map(|(name, amount)| (name.to_owned(), amount.to_owned()));
//! kubelets.join(NodeSpec { name: "n1".into(), capacity: capacity.into(), ..NodeSpec::default() }).await?;
//! kubelets.fail("n1").await?;
//! kubelets.recover("n1")?;
//! kubelets.leave("n1").await;
//! # Ok(())
//! # }
//! ```
//!
//! All waiting is on tokio's clock, so that under paused time it costs nothing. May hold: the public types and the life
//! of a node. The life of its pods is in `pods`, what is written to the API server in `objects`.

mod objects;
mod pods;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;
use std::time::Duration;

use jiff::SignedDuration;
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::api::core::v1::Taint;
use kube::Api;
use kube::Client;
use kube::api::Patch;
use kube::api::PatchParams;
use kube::api::PostParams;
use serde_json::json;
use tokio::sync::mpsc;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use objects::Readiness;

/// The namespace of the Leases of nodes.
const LEASE_NAMESPACE: &str = "kube-node-lease";

/// How often the status of a node is reported when nothing changed, as kubelet's `nodeStatusReportFrequency`.
const STATUS_INTERVAL: SignedDuration = SignedDuration::from_mins(5);

/// How long one call to the API server may take. A client has no limit of its own.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// Node addresses are 10.64.0.1 and up, pod addresses 10.128.0.1 and up.
const FIRST_NODE_ADDRESS: u32 = 0x0A40_0001;
const FIRST_POD_ADDRESS: u32 = 0x0A80_0001;

/// The kubelets of the fake nodes of one cluster. Dropping it stops them all; their objects stay.
#[derive(Debug)]
pub struct Kubelets {
    shared: Arc<Shared>,
    /// One watch of the pods for all nodes.
    _pods: AbortOnDropHandle<()>,
}

/// How fake kubelets behave.
#[derive(Debug, Clone)]
pub struct KubeletOptions {
    /// Time from the registration of a Node until it is Ready. Default: zero.
    pub ready_delay: Duration,
    /// A pod that is being deleted ends after its own grace period, but no later than this. Default: no limit.
    pub max_grace: Duration,
    /// Time between two renewals of a node's Lease. Default: 10 s, as kubelet. A node without a renewal for 40 to 50 s
    /// is made Unknown by kube-controller-manager.
    pub heartbeat: Duration,
    /// Whether a kubelet creates its Node again when someone deleted it. Default: false, because a real one does so only
    /// when it is restarted.
    pub reregister: bool,
    /// What the clock on the wall shows when the kubelets start; tokio's clock counts on from there. `None`, the
    /// default, is the time of this machine.
    pub wall_clock: Option<Timestamp>,
}

/// A machine that joins the cluster.
#[derive(Debug, Clone, Default)]
pub struct NodeSpec {
    /// Name of the Node, and its host name.
    pub name: String,
    /// Labels, besides `kubernetes.io/hostname`, `kubernetes.io/os` and `kubernetes.io/arch`, which have defaults.
    pub labels: BTreeMap<String, String>,
    /// Taints that the Node is registered with.
    pub taints: Vec<Taint>,
    /// Amounts by resource name, as Kubernetes quantities. `pods` is 110 where it is missing.
    pub capacity: BTreeMap<String, String>,
    /// What of the capacity pods may use. A resource that is missing here is allocatable in full.
    pub allocatable: BTreeMap<String, String>,
    /// `spec.providerID` of the Node.
    pub provider_id: Option<String>,
}

/// Why a fake kubelet did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KubeletError {
    /// The API server refused, or could not be reached.
    #[error("the API server did not accept a call of a kubelet")]
    Api(#[source] Box<kube::Error>),
    /// The API server did not answer.
    #[error("the API server did not answer a kubelet within {} s", CALL_TIMEOUT.as_secs())]
    Timeout,
    /// The node has joined and not left.
    #[error("node {0} has joined already")]
    AlreadyJoined(String),
    /// The node has not joined, or has left.
    #[error("node {0} has not joined")]
    NotJoined(String),
}

/// What all tasks use.
struct Shared {
    client: Client,
    options: KubeletOptions,
    wall_start: Timestamp,
    start: Instant,
    machines: Mutex<BTreeMap<String, Machine>>,
    /// Names of nodes whose pods are to be looked at again, because their kubelet has just started.
    started: mpsc::UnboundedSender<String>,
    /// Whether pods that are not Running yet have to wait.
    held: watch::Sender<bool>,
    next_pod_address: AtomicU32,
    next_node_address: AtomicU32,
}

/// One node that has joined.
#[derive(Debug)]
struct Machine {
    spec: Arc<NodeSpec>,
    address: Ipv4Addr,
    /// Its running kubelet; `None` before the registration and after a failure.
    kubelet: Option<Kubelet>,
}

#[derive(Debug)]
struct Kubelet {
    stop: CancellationToken,
    task: AbortOnDropHandle<()>,
}

impl Default for KubeletOptions {
    fn default() -> Self {
        Self {
            ready_delay: Duration::ZERO,
            max_grace: Duration::MAX,
            heartbeat: Duration::from_secs(10),
            reregister: false,
            wall_clock: None,
        }
    }
}

impl Kubelets {
    /// Starts the watch of the pods, without any node. Call it inside a tokio runtime.
    pub fn new(client: Client, options: KubeletOptions) -> Self {
        let (started, starts) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared {
            client,
            wall_start: options.wall_clock.unwrap_or_else(Timestamp::now),
            start: Instant::now(),
            options,
            machines: Mutex::new(BTreeMap::new()),
            started,
            held: watch::Sender::new(false),
            next_pod_address: AtomicU32::new(FIRST_POD_ADDRESS),
            next_node_address: AtomicU32::new(FIRST_NODE_ADDRESS),
        });
        let pods = AbortOnDropHandle::new(tokio::spawn(pods::run(Arc::clone(&shared), starts)));
        Self { shared, _pods: pods }
    }

    /// Registers the Node, not Ready at first, and starts its kubelet. A Node of this name that exists already is taken
    /// over with its taints, as by a kubelet that was restarted.
    ///
    /// # Errors
    ///
    /// [`KubeletError::AlreadyJoined`] when a node of this name has joined and not left; [`KubeletError::Api`] and
    /// [`KubeletError::Timeout`] when the registration failed, and then the node has not joined.
    pub async fn join(&self, spec: NodeSpec) -> Result<(), KubeletError> {
        let shared = &self.shared;
        let name = spec.name.clone();
        let spec = Arc::new(spec);
        let address = shared.next_address(&shared.next_node_address);
        {
            let mut machines = shared.machines();
            if machines.contains_key(&name) {
                return Err(KubeletError::AlreadyJoined(name));
            }
            machines.insert(
                name.clone(),
                Machine {
                    spec: Arc::clone(&spec),
                    address,
                    kubelet: None,
                },
            );
        }
        if let Err(error) = shared.register(&spec, address).await {
            shared.machines().remove(&name);
            return Err(error);
        }
        self.start(&name, shared.options.ready_delay)
    }

    /// Stops the kubelet of a node as when its machine disappears: nothing is written for it any more, and its Node
    /// stays. Does nothing when there is no such node.
    pub async fn leave(&self, name: &str) {
        let machine = self.shared.machines().remove(name);
        if let Some(kubelet) = machine.and_then(|machine| machine.kubelet) {
            kubelet.end().await;
        }
    }

    /// Makes a node report once that it is not Ready, and then nothing more. Its pods are left as they are.
    ///
    /// # Errors
    ///
    /// [`KubeletError::NotJoined`]; [`KubeletError::Api`] and [`KubeletError::Timeout`] when the report failed, and the
    /// kubelet has stopped all the same. A Node that is gone is no error.
    pub async fn fail(&self, name: &str) -> Result<(), KubeletError> {
        let (spec, kubelet) = {
            let mut machines = self.shared.machines();
            let machine = machines
                .get_mut(name)
                .ok_or_else(|| KubeletError::NotJoined(name.to_owned()))?;
            (Arc::clone(&machine.spec), machine.kubelet.take())
        };
        if let Some(kubelet) = kubelet {
            kubelet.end().await;
        }
        match self.shared.node(&spec.name).await? {
            Some(node) => self.shared.report(&spec, &node, Readiness::Failed).await,
            None => Ok(()),
        }
    }

    /// Starts the kubelet of a node that [failed](Kubelets::fail) again. The node is Ready at once. Does nothing when
    /// the kubelet runs.
    ///
    /// # Errors
    ///
    /// [`KubeletError::NotJoined`].
    pub fn recover(&self, name: &str) -> Result<(), KubeletError> {
        if self.shared.is_running(name) {
            return Ok(());
        }
        self.start(name, Duration::ZERO)
    }

    /// Lets no further pod become Running, on any node, as when an image cannot be pulled: pods are bound and stay
    /// Pending until [`release_pods`](Kubelets::release_pods). Pods that run already go on.
    pub fn hold_pods(&self) {
        self.shared.held.send_replace(true);
    }

    /// Starts the pods that were [held](Kubelets::hold_pods), and those that come.
    pub fn release_pods(&self) {
        self.shared.held.send_replace(false);
    }

    /// The names of the nodes that have joined and not left, failed ones too.
    pub fn names(&self) -> Vec<String> {
        self.shared.machines().keys().cloned().collect()
    }

    fn start(&self, name: &str, ready_delay: Duration) -> Result<(), KubeletError> {
        let mut machines = self.shared.machines();
        let machine = machines
            .get_mut(name)
            .ok_or_else(|| KubeletError::NotJoined(name.to_owned()))?;
        let stop = CancellationToken::new();
        let run = run_node(
            Arc::clone(&self.shared),
            Arc::clone(&machine.spec),
            machine.address,
            ready_delay,
            stop.clone(),
        );
        machine.kubelet = Some(Kubelet {
            stop,
            task: AbortOnDropHandle::new(tokio::spawn(run)),
        });
        drop(machines);
        // Fails only when the watch of the pods has ended, which it does not before `self` is dropped.
        let _ = self.shared.started.send(name.to_owned());
        Ok(())
    }
}

impl Drop for Kubelets {
    fn drop(&mut self) {
        // The tasks hold what holds their handles, so that they must be ended by hand.
        self.shared.machines().clear();
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("options", &self.options)
            .field("machines", &self.machines)
            .finish_non_exhaustive()
    }
}

impl Kubelet {
    /// Ends the task between two calls to the API server, so that none is in flight afterwards.
    async fn end(self) {
        self.stop.cancel();
        if let Err(error) = self.task.await {
            tracing::error!(%error, "the task of a kubelet failed");
        }
    }
}

impl Shared {
    fn machines(&self) -> MutexGuard<'_, BTreeMap<String, Machine>> {
        self.machines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the kubelet of the node is at work.
    fn is_running(&self, node: &str) -> bool {
        self.machines()
            .get(node)
            .is_some_and(|machine| machine.kubelet.is_some())
    }

    /// Returns once pods may start.
    async fn until_released(&self) {
        // The sender lives as long as this does.
        drop(self.held.subscribe().wait_for(|held| !held).await);
    }

    fn address_of(&self, node: &str) -> Option<Ipv4Addr> {
        self.machines().get(node).map(|machine| machine.address)
    }

    fn next_address(&self, counter: &AtomicU32) -> Ipv4Addr {
        Ipv4Addr::from_bits(counter.fetch_add(1, Ordering::Relaxed))
    }

    fn now(&self) -> Timestamp {
        SignedDuration::try_from(self.start.elapsed())
            .and_then(|elapsed| self.wall_start.checked_add(elapsed))
            .unwrap_or(Timestamp::MAX)
    }

    fn nodes(&self) -> Api<Node> {
        Api::all(self.client.clone())
    }

    async fn node(&self, name: &str) -> Result<Option<Node>, KubeletError> {
        call(self.nodes().get_opt(name)).await
    }

    /// Creates the Node, or takes over one that exists.
    async fn register(&self, spec: &NodeSpec, address: Ipv4Addr) -> Result<(), KubeletError> {
        let node = objects::node(spec, address, self.now());
        let nodes = self.nodes();
        let name = &spec.name;
        let params = PatchParams::default();
        match call(nodes.create(&PostParams::default(), &node)).await {
            Ok(_) => {}
            Err(error) if is_status(&error, 409) => {
                let labels = json!({"metadata": {"labels": node.metadata.labels}});
                call(nodes.patch(name, &params, &Patch::Merge(labels))).await?;
            }
            Err(error) => return Err(error),
        }
        // kube-apiserver keeps the status of a Node that is created, others need not.
        let status = json!({"status": node.status});
        call(nodes.patch_status(name, &params, &Patch::Merge(status))).await?;
        Ok(())
    }

    /// What a kubelet does at each heartbeat.
    async fn heartbeat(&self, spec: &NodeSpec, address: Ipv4Addr, readiness: Readiness) -> Result<(), KubeletError> {
        let node = match self.node(&spec.name).await? {
            Some(node) => node,
            None if self.options.reregister => {
                self.register(spec, address).await?;
                match self.node(&spec.name).await? {
                    Some(node) => node,
                    None => return Ok(()),
                }
            }
            None => {
                tracing::debug!(node = spec.name, "the Node of a running kubelet is gone");
                return Ok(());
            }
        };
        self.renew_lease(&node).await?;
        let reported = objects::reported(&node);
        let is_due = reported.is_none_or(|(status, at)| {
            status != readiness.status() || self.now().duration_since(at) >= STATUS_INTERVAL
        });
        if is_due {
            self.report(spec, &node, readiness).await?;
        }
        Ok(())
    }

    /// Writes the status of the Node. A Node that is gone by now is no error.
    async fn report(&self, spec: &NodeSpec, node: &Node, readiness: Readiness) -> Result<(), KubeletError> {
        let conditions = objects::node_conditions(node, readiness, self.now());
        let status = json!({"status": {"conditions": conditions}});
        let patch = Patch::Merge(status);
        match call(self.nodes().patch_status(&spec.name, &PatchParams::default(), &patch)).await {
            Err(error) if !is_status(&error, 404) => Err(error),
            Ok(_) | Err(_) => Ok(()),
        }
    }

    async fn renew_lease(&self, node: &Node) -> Result<(), KubeletError> {
        let leases: Api<Lease> = Api::namespaced(self.client.clone(), LEASE_NAMESPACE);
        let Some(lease) = objects::lease(node, self.now()) else {
            return Ok(());
        };
        let name = lease.metadata.name.as_deref().unwrap_or_default();
        let renewal = json!({"spec": {"renewTime": lease.spec.as_ref().and_then(|spec| spec.renew_time.as_ref())}});
        let renewed = call(leases.patch(name, &PatchParams::default(), &Patch::Merge(renewal))).await;
        match renewed {
            Err(error) if is_status(&error, 404) => {}
            result => return result.map(drop),
        }
        call(leases.create(&PostParams::default(), &lease)).await.map(drop)
    }
}

/// The life of one kubelet after its registration, until `stop`.
async fn run_node(
    shared: Arc<Shared>,
    spec: Arc<NodeSpec>,
    address: Ipv4Addr,
    ready_delay: Duration,
    stop: CancellationToken,
) {
    let ready_at = Instant::now() + ready_delay;
    let mut is_ready = ready_delay.is_zero();
    // An interval of zero is a panic; the shortest that makes sense is far above a millisecond.
    let mut heartbeat = tokio::time::interval(shared.options.heartbeat.max(Duration::from_millis(1)));
    heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = tokio::time::sleep_until(ready_at), if !is_ready => is_ready = true,
            _ = heartbeat.tick() => {}
        }
        let readiness = if is_ready {
            Readiness::Ready
        } else {
            Readiness::Starting
        };
        if let Err(error) = shared.heartbeat(&spec, address, readiness).await {
            // The next heartbeat tries again.
            tracing::warn!(node = spec.name, %error, source = ?std::error::Error::source(&error), "heartbeat failed");
        }
    }
}

/// Makes one call to the API server, with a limit of time.
async fn call<T>(request: impl Future<Output = kube::Result<T>> + Send) -> Result<T, KubeletError> {
    match tokio::time::timeout(CALL_TIMEOUT, request).await {
        Ok(result) => result.map_err(|error| KubeletError::Api(Box::new(error))),
        Err(_) => Err(KubeletError::Timeout),
    }
}

/// Whether the API server answered with this HTTP status.
fn is_status(error: &KubeletError, code: u16) -> bool {
    match error {
        KubeletError::Api(error) => {
            matches!(&**error, kube::Error::Api(status) if status.code == code)
        }
        KubeletError::Timeout | KubeletError::AlreadyJoined(_) | KubeletError::NotJoined(_) => false,
    }
}
