//! An in-memory Kubernetes cluster for demos and tests: an API server as an axum [`Router`], the few controllers that a
//! workload needs, and a scheduler. Needs the feature `embedded-cluster`.
//!
//! # What it is faithful to
//!
//! Everything that this project uses of a kube-apiserver: optimistic concurrency, generations, finalizers, grace
//! periods, field ownership, watches with bookmarks and expiry, evictions under disruption budgets, bindings,
//! CustomResourceDefinitions with their defaults and structural validation. See the modules for what each leaves out.
//! Left out altogether: authentication, authorization, admission webhooks, CEL rules of CustomResourceDefinitions,
//! strict field validation, the Table format, YAML and protobuf bodies, pages of lists (`limit` is answered with
//! everything), preemption, and a controller for Jobs.
//!
//! # Time
//!
//! Nothing reads the wall clock. The cluster's clock starts where it is told to and follows tokio's time, so that under
//! `#[tokio::test(start_paused = true)]` hours pass in milliseconds, and two runs are the same.
//!
//! # Example
//!
//! ```
//! use autoscaler_scaler::embedded::Cluster;
//! use k8s_openapi::api::core::v1::Namespace;
//! use kube::Api;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), kube::Error> {
//! let cluster = Cluster::new();
//! let namespaces: Api<Namespace> = Api::all(cluster.client());
//! assert!(namespaces.get("kube-system").await?.metadata.uid.is_some());
//! # Ok(())
//! # }
//! ```

mod apply;
mod controllers;
mod defaults;
mod discovery;
mod error;
mod events;
mod eviction;
mod faults;
mod fields;
mod fit;
pub mod kubelet;
mod lifecycle;
mod lists;
mod object;
mod patch;
mod pattern;
mod resource;
mod routes;
pub mod scheduler;
mod schema;
mod selectors;
mod store;
mod view;
mod watch;

use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tokio::sync::watch as channel;
use tokio::task::JoinHandle;
use tokio::time::Instant;

pub use error::ApiError;
pub use faults::{Faults, RequestRecord, Verb};

use apply::Writer;
use object::rfc3339;
use store::{ObjectKey, State};

/// Changes that watches can still start from.
const HISTORY_LIMIT: usize = 20_000;

/// Where the clock of [`Cluster::new`] starts: 2026-01-01T00:00:00Z, in seconds.
const DEFAULT_START: i64 = 1_767_225_600;

/// Reads the time.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// Handle to an in-memory cluster. Clones share one cluster, which lives until the last handle is gone.
#[derive(Clone)]
pub struct Cluster {
    inner: Arc<Inner>,
}

struct Inner {
    state: Mutex<State>,
    clock: Clock,
    faults: Faults,
    /// Carries the revision of the last change.
    changed: channel::Sender<u64>,
    /// Moves when every open watch shall end.
    closed: channel::Sender<u64>,
}

/// A task of the cluster. It ends when this is dropped.
#[derive(Debug)]
#[must_use = "the task ends when this is dropped"]
pub struct Background {
    task: JoinHandle<()>,
}

impl Drop for Background {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Background {
    pub(self) fn spawn(task: impl Future<Output = ()> + Send + 'static) -> Self {
        Self {
            task: tokio::spawn(task),
        }
    }
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster")
            .field("revision", &self.lock().revision())
            .finish_non_exhaustive()
    }
}

impl Default for Cluster {
    fn default() -> Self {
        Self::new()
    }
}

impl Cluster {
    /// A cluster whose clock starts at 2026-01-01T00:00:00Z and follows tokio's time.
    ///
    /// It has the namespaces `default`, `kube-system`, `kube-public` and `kube-node-lease`, and the two system
    /// PriorityClasses.
    #[must_use]
    pub fn new() -> Self {
        Self::starting_at(Timestamp::from_second(DEFAULT_START).unwrap_or(Timestamp::UNIX_EPOCH))
    }

    /// A cluster whose clock starts at `start` and follows tokio's time.
    #[must_use]
    pub fn starting_at(start: Timestamp) -> Self {
        let origin = Instant::now();
        Self::with_clock(Arc::new(move || {
            let elapsed = SignedDuration::try_from(origin.elapsed()).unwrap_or(SignedDuration::MAX);
            start.checked_add(elapsed).unwrap_or(Timestamp::MAX)
        }))
    }

    /// A cluster that reads the time from `clock`.
    #[must_use]
    pub fn with_clock(clock: Clock) -> Self {
        let mut state = State::new(clock(), HISTORY_LIMIT);
        resource::built_in()
            .into_iter()
            .for_each(|resource| state.serve(resource));
        let inner = Inner {
            state: Mutex::new(state),
            clock,
            faults: Faults::default(),
            changed: channel::Sender::new(0),
            closed: channel::Sender::new(0),
        };
        let cluster = Self { inner: Arc::new(inner) };
        cluster.write(|state| {
            for namespace in ["default", "kube-node-lease", "kube-public", "kube-system"] {
                let metadata = json!({ "name": namespace });
                seed(
                    state,
                    "namespaces",
                    json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": metadata }),
                );
            }
            for (name, value) in [
                ("system-cluster-critical", 2_000_000_000),
                ("system-node-critical", 2_000_001_000),
            ] {
                seed(
                    state,
                    "priorityclasses",
                    json!({
                        "apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": { "name": name },
                        "value": value, "preemptionPolicy": "PreemptLowerPriority",
                    }),
                );
            }
        });
        cluster
    }

    /// The API as a router: serve it on a port, or hand it to [`kube::Client::new`].
    pub fn router(&self) -> Router {
        routes::router(self.clone())
    }

    /// A client of this cluster, in-process. Unlike a client made from a `Config` it never retries.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime, as every [`kube::Client`] does.
    pub fn client(&self) -> kube::Client {
        kube::Client::new(self.router(), "default")
    }

    /// The cluster's time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        (self.inner.clock)()
    }

    /// Faults to inject and the log of requests.
    #[must_use]
    pub fn faults(&self) -> &Faults {
        &self.inner.faults
    }

    /// Forgets the history of changes: a watch that has not kept up, or that starts from an older revision, ends with
    /// 410 Gone.
    pub fn compact(&self) {
        self.write(State::compact);
        // Watches that have kept up are not disturbed.
    }

    /// Ends every open watch, as a restart of the API server does.
    pub fn close_watches(&self) {
        self.inner.closed.send_modify(|count| *count += 1);
    }

    /// Starts the controllers: Deployments, ReplicaSets, DaemonSets, disruption budgets, node taints, pod and owner
    /// garbage collection, namespaces. One task, woken by changes.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn start_controllers(&self) -> Background {
        Background::spawn(controllers::run(self.clone()))
    }

    /// Sets what `metrics.k8s.io` reports for a node, `cpu` and `memory` being quantities. The API group is served
    /// from the first call on, as if metrics-server had been installed.
    pub fn set_node_metrics(&self, node: &str, cpu: &str, memory: &str) {
        self.write(|state| {
            let ty = resource::node_metrics();
            state.serve(ty.clone());
            let metrics = json!({
                "apiVersion": "metrics.k8s.io/v1beta1", "kind": "NodeMetrics",
                "metadata": { "name": node, "creationTimestamp": rfc3339(state.now) },
                "timestamp": rfc3339(state.now), "window": "20s", "usage": { "cpu": cpu, "memory": memory },
            });
            state.put(&ty.id, metrics);
        });
    }

    /// Stops reporting a node's metrics; `metrics.k8s.io` stays served.
    pub fn remove_node_metrics(&self, node: &str) {
        self.write(|state| state.remove(&resource::node_metrics().id, &ObjectKey::new("", node)));
    }

    /// Runs `read` on the state.
    fn read<T>(&self, read: impl FnOnce(&State) -> T) -> T {
        read(&self.lock())
    }

    /// Runs `write` on the state at the cluster's time, and wakes watches if it changed anything.
    fn write<T>(&self, write: impl FnOnce(&mut State) -> T) -> T {
        let now = self.now();
        let mut state = self.lock();
        let before = state.revision();
        state.now = now;
        let result = write(&mut state);
        let after = state.revision();
        drop(state);
        if after != before {
            self.inner.changed.send_replace(after);
        }
        result
    }

    /// Receivers that see every change from now on, and the end of all watches.
    fn subscribe(&self) -> (channel::Receiver<u64>, channel::Receiver<u64>) {
        (self.inner.changed.subscribe(), self.inner.closed.subscribe())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Puts one of the objects in that every cluster has.
fn seed(state: &mut State, resource: &str, object: Value) {
    let group = object
        .get("apiVersion")
        .and_then(Value::as_str)
        .and_then(|version| version.split_once('/'));
    let group = group.map_or("", |(group, _)| group);
    let Some(ty) = state.resource_type(group, resource) else {
        return;
    };
    let writer = Writer {
        manager: "kube-apiserver".to_owned(),
        subresource: "",
    };
    if let Err(error) = lifecycle::create(state, &ty, "v1", "", object, &writer, false) {
        tracing::error!(%error, "an object that every cluster has was refused");
    }
}
