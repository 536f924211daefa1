//! The pods of all fake nodes: one watch, and one short task per pod that has to start or to end.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::DeleteParams;
use kube::api::Patch;
use kube::api::PatchParams;
use kube::api::Preconditions;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher;
use kube::runtime::watcher::Event;
use serde_json::json;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::KubeletError;
use super::Shared;
use super::call;
use super::is_status;
use super::objects;

/// Pause after a call for a pod that failed.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// How often a call for a pod is tried. The next event of the pod starts over.
const ATTEMPTS: usize = 30;

/// Serves the pods until it is aborted. `starts` names the nodes whose kubelet has just started.
pub(super) async fn run(shared: Arc<Shared>, mut starts: mpsc::UnboundedReceiver<String>) {
    let pods: Api<Pod> = Api::all(shared.client.clone());
    let mut events = pin!(watcher(pods, watcher::Config::default()).default_backoff());
    let mut keeper = Keeper::new(shared);
    loop {
        tokio::select! {
            biased;
            Some(work) = keeper.tasks.join_next() => match work {
                Ok(work) => keeper.finish(&work),
                Err(error) => tracing::error!(%error, "the task of a pod failed"),
            },
            Some(node) = starts.recv() => keeper.node_started(&node),
            event = events.next() => match event {
                Some(Ok(event)) => keeper.observe(event),
                // The stream lists anew, after a pause.
                Some(Err(error)) => tracing::warn!(%error, "the watch of the pods failed"),
                None => return,
            },
        }
    }
}

/// What has to be done for a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Task {
    Start,
    End,
}

/// A task for one pod.
#[derive(Debug)]
struct Work {
    shared: Arc<Shared>,
    task: Task,
    pod: Arc<Pod>,
    uid: String,
    node: String,
    /// The address that the pod gets.
    address: Ipv4Addr,
}

/// A task that is over.
#[derive(Debug)]
struct Finished {
    uid: String,
    task: Task,
    /// The pod as the task knew it.
    pod: Arc<Pod>,
    /// False when the node stopped, or too many attempts failed.
    done: bool,
}

/// Knows the pods that are bound to a node, and what is being done for them.
#[derive(Debug)]
struct Keeper {
    shared: Arc<Shared>,
    /// By UID.
    pods: BTreeMap<String, Arc<Pod>>,
    /// UIDs that the list in progress holds.
    listed: BTreeSet<String>,
    starting: BTreeSet<String>,
    /// A pod stays here after its deletion until it is gone: finalizers can hold it.
    ending: BTreeSet<String>,
    tasks: JoinSet<Finished>,
}

impl Keeper {
    fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            pods: BTreeMap::new(),
            listed: BTreeSet::new(),
            starting: BTreeSet::new(),
            ending: BTreeSet::new(),
            tasks: JoinSet::new(),
        }
    }

    fn observe(&mut self, event: Event<Pod>) {
        match event {
            Event::Apply(pod) => self.apply(pod),
            Event::Delete(pod) => {
                if let Some(uid) = pod.metadata.uid {
                    self.forget(&uid);
                }
            }
            Event::Init => self.listed.clear(),
            Event::InitApply(pod) => {
                self.listed.extend(pod.metadata.uid.clone());
                self.apply(pod);
            }
            Event::InitDone => {
                let gone: Vec<String> = self
                    .pods
                    .keys()
                    .filter(|uid| !self.listed.contains(*uid))
                    .cloned()
                    .collect();
                for uid in gone {
                    self.forget(&uid);
                }
            }
        }
    }

    fn node_started(&mut self, node: &str) {
        let pods: Vec<_> = self
            .pods
            .values()
            .filter(|pod| node_of(pod) == Some(node))
            .cloned()
            .collect();
        for pod in pods {
            self.serve(&pod);
        }
    }

    fn finish(&mut self, finished: &Finished) {
        match finished.task {
            Task::Start => {
                self.starting.remove(&finished.uid);
                // It may have been made not Ready while this task was under way.
                let pod = self.pods.get(&finished.uid).cloned();
                let is_news = |pod: &Arc<Pod>| finished.done && !Arc::ptr_eq(pod, &finished.pod);
                if let Some(pod) = pod.filter(|pod| is_news(pod) && is_wronged(pod)) {
                    self.serve(&pod);
                }
            }
            Task::End if !finished.done => {
                self.ending.remove(&finished.uid);
            }
            Task::End => {}
        }
    }

    fn apply(&mut self, pod: Pod) {
        let Some(uid) = pod.metadata.uid.clone() else {
            return;
        };
        if node_of(&pod).is_none() {
            return;
        }
        let pod = Arc::new(pod);
        self.pods.insert(uid, Arc::clone(&pod));
        self.serve(&pod);
    }

    fn forget(&mut self, uid: &str) {
        self.pods.remove(uid);
        self.ending.remove(uid);
    }

    /// Starts the task that `pod` needs, if its node is at work.
    fn serve(&mut self, pod: &Arc<Pod>) {
        let (Some(uid), Some(node)) = (&pod.metadata.uid, node_of(pod)) else {
            return;
        };
        if !self.shared.is_running(node) {
            return;
        }
        let task = if pod.metadata.deletion_timestamp.is_some() {
            Task::End
        } else if is_pending(pod) || is_wronged(pod) {
            Task::Start
        } else {
            return;
        };
        let busy = match task {
            Task::Start => &mut self.starting,
            Task::End => &mut self.ending,
        };
        if busy.insert(uid.clone()) {
            let work = Work {
                task,
                pod: Arc::clone(pod),
                uid: uid.clone(),
                node: node.to_owned(),
                address: self.shared.next_address(&self.shared.next_pod_address),
                shared: Arc::clone(&self.shared),
            };
            self.tasks.spawn(work.run());
        }
    }
}

impl Work {
    /// Does the work. It is over when it is done, when the pod is gone, when the node stops, and after too many
    /// attempts.
    async fn run(self) -> Finished {
        match self.task {
            Task::Start => self.shared.until_released().await,
            Task::End if !is_over(&self.pod) => tokio::time::sleep(self.grace()).await,
            Task::End => {}
        }
        let done = self.attempts().await;
        Finished {
            uid: self.uid,
            task: self.task,
            pod: self.pod,
            done,
        }
    }

    async fn attempts(&self) -> bool {
        let namespace = self.pod.metadata.namespace.as_deref().unwrap_or_default();
        let name = self.pod.metadata.name.as_deref().unwrap_or_default();
        let pods: Api<Pod> = Api::namespaced(self.shared.client.clone(), namespace);
        for _ in 0..ATTEMPTS {
            if !self.shared.is_running(&self.node) {
                return false;
            }
            let result = match self.task {
                Task::Start => self.start(&pods, name).await,
                Task::End => self.end(&pods, name).await,
            };
            match result {
                Ok(()) => return true,
                Err(error) if is_status(&error, 404) => return true,
                Err(error) => {
                    tracing::debug!(namespace, name, task = ?self.task, %error, "a pod has to wait");
                    tokio::time::sleep(RETRY_PAUSE).await;
                }
            }
        }
        tracing::warn!(namespace, name, task = ?self.task, "gave up on a pod");
        false
    }

    /// Makes the pod Running and Ready.
    async fn start(&self, pods: &Api<Pod>, name: &str) -> Result<(), KubeletError> {
        let Some(host) = self.shared.address_of(&self.node) else {
            return Ok(());
        };
        let status = objects::running_status(&self.pod, host, self.address, self.shared.now());
        // With the UID the patch is refused when another pod has the name by now.
        let patch = Patch::Merge(json!({"metadata": {"uid": self.uid}, "status": status}));
        call(pods.patch_status(name, &PatchParams::default(), &patch))
            .await
            .map(drop)
    }

    /// Takes the pod out of the API server, as kubelet does when the containers have ended.
    async fn end(&self, pods: &Api<Pod>, name: &str) -> Result<(), KubeletError> {
        let params = DeleteParams {
            grace_period_seconds: Some(0),
            preconditions: Some(Preconditions {
                uid: Some(self.uid.clone()),
                resource_version: None,
            }),
            ..DeleteParams::default()
        };
        match call(pods.delete(name, &params)).await {
            // Another pod has the name by now.
            Err(error) if is_status(&error, 409) => Ok(()),
            result => result.map(drop),
        }
    }

    fn grace(&self) -> Duration {
        let seconds = self.pod.metadata.deletion_grace_period_seconds.unwrap_or(0);
        Duration::from_secs(u64::try_from(seconds).unwrap_or(0)).min(self.shared.options.max_grace)
    }
}

fn node_of(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref()?.node_name.as_deref().filter(|node| !node.is_empty())
}

fn phase(pod: &Pod) -> &str {
    pod.status
        .as_ref()
        .and_then(|status| status.phase.as_deref())
        .unwrap_or_default()
}

fn is_pending(pod: &Pod) -> bool {
    matches!(phase(pod), "" | "Pending")
}

fn is_over(pod: &Pod) -> bool {
    matches!(phase(pod), "Succeeded" | "Failed")
}

/// Whether the API server has it that a pod runs and is not Ready. No fake kubelet says so: kube-controller-manager does when
/// it takes the node for not Ready, and it may do so on the word of a cache that lags behind. A kubelet sees that the status is
/// not what it reported, and reports again.
fn is_wronged(pod: &Pod) -> bool {
    phase(pod) == "Running" && !is_ready(pod)
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions
        .into_iter()
        .flatten()
        .any(|condition| condition.type_ == "Ready" && condition.status == "True")
}
