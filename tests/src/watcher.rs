//! An independent witness of what disruptions do to pods: it has a client of its own, shares no code with the operator,
//! and sees every state that the API server shows, so that nothing slips through between two looks.
//!
//! It notes as a violation
//! - a PodDisruptionBudget with fewer healthy pods than it wants, by its own status and by counting pods at the moment
//!   of an eviction. A budget counts from when it was first whole, and anew when it wants more pods than before;
//! - a pod that was lost with its node: deleted by the garbage collector or for a taint instead of being evicted;
//! - a Node that was deleted while pods were on it, DaemonSet pods aside;
//! - a watch that was interrupted, because then the witness knows nothing.
//!
//! May hold: the public types, the watches, and the state that they fill. What a scenario makes of a report is its own.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Debug,
    time::Duration,
};

use futures::StreamExt;
use jiff::Timestamp;
use k8s_openapi::api::{
    core::v1::{Node, Pod},
    policy::v1::PodDisruptionBudget,
};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::ListParams,
    core::{Selector, SelectorExt},
    runtime::{WatchStreamExt, watcher},
};
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

/// How long the watches may be behind the API server when the witness is asked for its report.
const CATCH_UP: Duration = Duration::from_secs(120);

/// The witness. It watches until it is [stopped](Self::stop) or dropped.
#[must_use = "the witness stops when this is dropped"]
pub struct Watcher {
    client: Client,
    seen: watch::Sender<Seen>,
    _watches: [AbortOnDropHandle<()>; 3],
}

/// What the witness saw.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// What must not happen, in the order in which it was seen.
    pub violations: Vec<String>,
    /// The pods that went by the eviction API, by their uid.
    pub evictions: BTreeMap<String, Eviction>,
}

/// One pod that was evicted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Eviction {
    /// Namespace and name of the pod.
    pub pod: String,
    /// The node that it was on; empty when it was on none.
    pub node: String,
    /// When the pod was created.
    pub created: Timestamp,
    /// The resource version of the state in which it was first seen evicted: the order of evictions.
    pub version: u64,
    /// The resource version of the state in which it was first seen: pods of a higher one came later.
    pub first_version: u64,
    /// Whether it belongs to a DaemonSet.
    pub daemon: bool,
}

/// What is known, and what is wrong with it.
#[derive(Debug, Default)]
struct Seen {
    /// Kinds whose first list has been taken in.
    synced: BTreeSet<&'static str>,
    /// The newest version of each object, by uid.
    versions: BTreeMap<String, Version>,
    pods: BTreeMap<String, PodSeen>,
    budgets: BTreeMap<String, Budget>,
    nodes_gone: Vec<(String, u64)>,
    report: Report,
}

#[derive(Clone, Copy, Debug)]
struct Version {
    kind: &'static str,
    number: u64,
    gone: bool,
}

/// A pod, also one that is no more.
#[derive(Debug)]
struct PodSeen {
    name: String,
    namespace: String,
    labels: BTreeMap<String, String>,
    node: String,
    daemon: bool,
    terminal: bool,
    healthy: bool,
    leaving: bool,
    first_version: u64,
    gone: Option<u64>,
}

#[derive(Debug)]
struct Budget {
    namespace: String,
    selector: Option<Selector>,
    desired: i32,
    /// Whether it has had as many healthy pods as it wants now, and has not been found short of them since.
    whole: bool,
}

// === impl Watcher ===

impl Watcher {
    /// Starts to watch pods, budgets and Nodes in all namespaces; returns when what is there is known.
    pub async fn start(client: Client) -> Self {
        let seen = watch::Sender::new(Seen::default());
        let watches = [
            AbortOnDropHandle::new(follow::<Pod>(&client, &seen, Seen::pod)),
            AbortOnDropHandle::new(follow::<PodDisruptionBudget>(&client, &seen, Seen::budget)),
            AbortOnDropHandle::new(follow::<Node>(&client, &seen, Seen::node)),
        ];
        let all = watches.len();
        seen.subscribe()
            .wait_for(|seen| seen.synced.len() == all)
            .await
            .expect("the sender lives");
        Self {
            client,
            seen,
            _watches: watches,
        }
    }

    /// The evictions that were seen so far.
    pub fn evictions(&self) -> BTreeMap<String, Eviction> {
        self.seen.borrow().report.evictions.clone()
    }

    /// What was seen until now, with all that the API server has shown by now taken in. The watch goes on.
    ///
    /// # Panics
    /// When the watches do not catch up with the API server.
    pub async fn report(&self) -> Report {
        self.catch_up::<Pod>().await;
        self.catch_up::<PodDisruptionBudget>().await;
        self.catch_up::<Node>().await;
        let seen = self.seen.borrow();
        let mut report = seen.report.clone();
        report.violations.extend(seen.deleted_under_pods());
        report
    }

    /// Ends the watch and says what was seen.
    ///
    /// # Panics
    /// As [`report`](Self::report).
    pub async fn stop(self) -> Report {
        self.report().await
    }

    /// Waits until a list that is asked for now holds nothing that the watch has not shown.
    async fn catch_up<K>(&self)
    where
        K: k8s_openapi::Resource + Resource<DynamicType = ()> + DeserializeOwned + Clone + Debug,
    {
        let listed = Api::<K>::all(self.client.clone())
            .list(&ListParams::default())
            .await
            .unwrap();
        let as_of = number(listed.metadata.resource_version.as_deref());
        let listed: BTreeMap<String, u64> = listed
            .items
            .iter()
            .map(|object| (object.uid().unwrap_or_default(), version(object)))
            .collect();
        let mut changes = self.seen.subscribe();
        let known = changes.wait_for(|seen| {
            let is_known = |(uid, listed): (&String, &u64)| {
                let known = seen.versions.get(uid);
                known.is_some_and(|known| *listed <= known.number)
            };
            let is_alive = |(uid, known): (&String, &Version)| {
                let other = known.kind != K::KIND || known.gone;
                other || as_of < known.number || listed.contains_key(uid)
            };
            listed.iter().all(is_known) && seen.versions.iter().all(is_alive)
        });
        let in_time = tokio::time::timeout(CATCH_UP, known).await.is_ok();
        assert!(in_time, "the watch of {} does not catch up", K::KIND);
    }
}

// === impl Report ===

impl Report {
    /// Fails when there is any violation.
    ///
    /// # Panics
    /// When there is one; it prints all of them.
    pub fn assert_clean(&self) {
        assert!(self.violations.is_empty(), "{:#?}", self.violations);
    }

    /// Evictions from a node that came after another pod had been evicted from it and before: pods that were put on a
    /// node that was being drained, and driven away once more.
    pub fn repeated(&self) -> Vec<&Eviction> {
        let workload = || self.evictions.values().filter(|eviction| !eviction.daemon);
        let came_late =
            |late: &&Eviction| workload().any(|other| other.node == late.node && other.version < late.first_version);
        workload().filter(came_late).collect()
    }
}

// === impl Seen ===

impl Seen {
    fn pod(&mut self, pod: Pod, gone: bool) {
        let (uid, number) = (pod.uid().unwrap_or_default(), version(&pod));
        let status = pod.status.as_ref();
        let conditions = || status.into_iter().flat_map(|status| status.conditions.iter().flatten());
        let is_true = |kind: &str| {
            conditions()
                .find(|condition| condition.type_ == kind && condition.status == "True")
                .map(|condition| condition.reason.clone().unwrap_or_default())
        };
        let phase = status.and_then(|status| status.phase.as_deref());
        let leaving = gone || pod.metadata.deletion_timestamp.is_some();
        let terminal = matches!(phase, Some("Succeeded" | "Failed"));
        let known = self.pods.get(&uid);
        let now = PodSeen {
            name: pod.name_any(),
            namespace: pod.namespace().unwrap_or_default(),
            labels: pod.labels().clone(),
            node: pod
                .spec
                .as_ref()
                .and_then(|spec| spec.node_name.clone())
                .unwrap_or_default(),
            daemon: pod.owner_references().iter().any(|owner| owner.kind == "DaemonSet"),
            terminal,
            healthy: is_true("Ready").is_some() && !terminal && !leaving,
            leaving,
            first_version: known.map_or(number, |known| known.first_version),
            gone: gone.then_some(number),
        };
        // A pod that is there when the watch begins and on its way out left before it.
        let begins_to_leave = leaving && known.is_some_and(|known| !known.leaving);
        let reason = is_true("DisruptionTarget").filter(|_| begins_to_leave);
        let (name, daemon) = (format!("{}/{}", now.namespace, now.name), now.daemon);
        let (node, first_version) = (now.node.clone(), now.first_version);
        self.pods.insert(uid.clone(), now);
        match reason.as_deref() {
            Some("EvictionByEvictionAPI") => {
                let created = pod.creation_timestamp().map_or(Timestamp::UNIX_EPOCH, |time| time.0);
                let eviction = Eviction {
                    pod: name,
                    node,
                    created,
                    version: number,
                    first_version,
                    daemon,
                };
                self.count_healthy(&uid, &eviction);
                self.report.evictions.insert(uid, eviction);
            }
            Some(reason @ ("DeletionByPodGC" | "DeletionByTaintManager")) if !daemon => {
                self.violation(format!("pod {name} was lost with node {node}: {reason}"));
            }
            _ => {}
        }
    }

    /// Counts the pods of the budgets of a pod that has just been evicted.
    fn count_healthy(&mut self, uid: &str, eviction: &Eviction) {
        let Some(evicted) = self.pods.get(uid) else { return };
        let mut short = Vec::new();
        for (key, budget) in &self.budgets {
            let covers = |pod: &PodSeen| {
                let selector = budget.selector.as_ref();
                pod.namespace == budget.namespace && selector.is_some_and(|selector| selector.matches(&pod.labels))
            };
            if !budget.whole || !covers(evicted) {
                continue;
            }
            let healthy = self.pods.values().filter(|pod| covers(pod) && pod.healthy).count();
            if i32::try_from(healthy).unwrap_or(i32::MAX) < budget.desired {
                short.push(format!(
                    "after the eviction of pod {} from node {} {healthy} pods of budget {key} are healthy, which wants {}",
                    eviction.pod, eviction.node, budget.desired
                ));
            }
        }
        for message in short {
            self.violation(message);
        }
    }

    fn budget(&mut self, object: PodDisruptionBudget, gone: bool) {
        let namespace = object.namespace().unwrap_or_default();
        let key = format!("{namespace}/{}", object.name_any());
        if gone {
            self.budgets.remove(&key);
            return;
        }
        let Some(status) = &object.status else { return };
        if status.observed_generation < object.metadata.generation {
            return;
        }
        let selector = object.spec.as_ref().and_then(|spec| spec.selector.clone());
        let (healthy, desired) = (
            status.current_healthy.unwrap_or_default(),
            status.desired_healthy.unwrap_or_default(),
        );
        let is_short = healthy < desired;
        let known = self.budgets.get(&key);
        let was_whole = known.is_some_and(|known| known.whole && desired <= known.desired);
        let budget = Budget {
            namespace,
            selector: selector.map(|selector| selector.try_into().expect("a selector that the API server takes")),
            desired,
            whole: !is_short,
        };
        self.budgets.insert(key.clone(), budget);
        if was_whole && is_short {
            self.violation(format!("budget {key} has {healthy} healthy pods and wants {desired}"));
        }
    }

    fn node(&mut self, node: Node, gone: bool) {
        if gone {
            self.nodes_gone.push((node.name_any(), version(&node)));
        }
    }

    /// Pods that were on a Node when it was deleted. The versions of all kinds are of one sequence, so that the order in
    /// which the watches show them does not matter.
    fn deleted_under_pods(&self) -> Vec<String> {
        let mut found = Vec::new();
        for (name, deleted) in &self.nodes_gone {
            let there = |pod: &&PodSeen| {
                let came_before = pod.first_version < *deleted;
                let stayed = pod.gone.is_none_or(|gone| *deleted < gone);
                pod.node == *name && !pod.daemon && !pod.terminal && came_before && stayed
            };
            for pod in self.pods.values().filter(there) {
                let (namespace, pod) = (&pod.namespace, &pod.name);
                found.push(format!("Node {name} was deleted while pod {namespace}/{pod} was on it"));
            }
        }
        found
    }

    fn violation(&mut self, message: String) {
        self.report.violations.push(message);
    }
}

/// Has `take_in` hear of every state of every object of a kind; the flag says whether the object is gone.
fn follow<K>(
    client: &Client,
    seen: &watch::Sender<Seen>,
    take_in: fn(&mut Seen, K, bool),
) -> tokio::task::JoinHandle<()>
where
    K: k8s_openapi::Resource + Resource<DynamicType = ()> + DeserializeOwned + Clone + Debug + Send + Sync + 'static,
{
    let (api, seen, kind) = (Api::<K>::all(client.clone()), seen.clone(), K::KIND);
    let note = move |seen: &mut Seen, object: K, gone: bool| {
        let (uid, number) = (object.uid().unwrap_or_default(), version(&object));
        seen.versions.insert(uid, Version { kind, number, gone });
        take_in(seen, object, gone);
    };
    tokio::spawn(async move {
        let mut events = watcher(api, watcher::Config::default()).default_backoff().boxed();
        while let Some(event) = events.next().await {
            seen.send_modify(|seen| match event {
                Ok(watcher::Event::Init) if seen.synced.contains(kind) => {
                    seen.violation(format!(
                        "the watch of {kind} was interrupted: what happened meanwhile is not known"
                    ));
                }
                Ok(watcher::Event::Init) => {}
                Ok(watcher::Event::InitApply(object) | watcher::Event::Apply(object)) => note(seen, object, false),
                Ok(watcher::Event::InitDone) => drop(seen.synced.insert(kind)),
                Ok(watcher::Event::Delete(object)) => note(seen, object, true),
                // It goes on from where it was, or begins anew, which is noted above.
                Err(error) => tracing::warn!(%error, kind, "a watch of the witness failed"),
            });
        }
    })
}

fn version(object: &impl Resource) -> u64 {
    number(object.meta().resource_version.as_deref())
}

fn number(version: Option<&str>) -> u64 {
    let version = version.unwrap_or_default();
    version.parse().expect("resource versions are numbers")
}
