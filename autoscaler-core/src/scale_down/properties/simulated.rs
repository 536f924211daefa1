//! A small cluster that lives: pods come and are bound, nodes are bought and join, removals are carried out step by step.
//!
//! It does what kube-scheduler, the controllers of workloads and the executor do, in their simplest form, on numbers of its
//! own. Nothing of the planner is used but its plan, and [`standing_objection`], which the executor asks too.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::json;

use super::cases::{GROUPS, SIZE, machine};
use crate::{
    check::check,
    plan::{Plan, RemovalKind},
    planner::{self, Options},
    scale_down::{
        standing_objection,
        testing::{Cluster, NOW, ago},
    },
    snapshot::{NodeId, Snapshot},
};

/// Seconds from the order to buy a node until it is Ready.
const BOOT: i64 = 60;

/// Seconds from the last eviction until the Node is gone.
const DELETION: i64 = 40;

#[derive(Clone, Debug)]
pub(super) struct World {
    /// Seconds since the beginning.
    pub(super) now: i64,
    pub(super) nodes: BTreeMap<String, Node>,
    /// By the order in which they came.
    pub(super) pods: Vec<Pod>,
    pub(super) apps: Vec<App>,
    pub(super) groups: Vec<Group>,
    pub(super) drain_percent: usize,
    /// Most evictions of one node between two passes.
    pub(super) evictions: usize,
    /// Whether the scheduler binds evicted pods to the nodes where plans want them, as long as they have room.
    pub(super) obedient: bool,
    /// How many nodes and pods were ever named.
    named: usize,
    /// Evicted pods that their controllers have not made again yet, by name.
    owed: Vec<(String, usize, Origin)>,
}

#[derive(Clone, Debug)]
pub(super) struct Group {
    pub(super) min: usize,
    pub(super) max: usize,
    pub(super) threshold: i64,
    /// Empty nodes that are to be there.
    pub(super) headroom: usize,
    grown: Option<i64>,
    failed: Option<i64>,
    failures: u32,
}

/// Pods that are alike.
#[derive(Clone, Debug)]
pub(super) struct App {
    pub(super) cpu: i64,
    /// Pods that may be missing at a time; `None` is no budget.
    pub(super) may_miss: Option<usize>,
    /// Whether no two of its pods may be on one node.
    pub(super) apart: bool,
    /// Whether it is a StatefulSet: a pod is made again under its old name once the old one is gone, and not at once.
    pub(super) stateful: bool,
    pub(super) replicas: usize,
}

#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) group: usize,
    pub(super) ready: bool,
    pub(super) state: State,
    unready_since: i64,
    unneeded_since: Option<i64>,
    /// Whether the scheduler prefers other nodes.
    avoided: bool,
    failed: Option<i64>,
    failures: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum State {
    Coming { ready_at: i64 },
    Stays,
    Leaving(Leaving),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Leaving {
    kind: RemovalKind,
    moves: BTreeMap<String, String>,
    planned_at: i64,
    cordoned: bool,
    gone_at: Option<i64>,
}

#[derive(Clone, Debug)]
pub(super) struct Pod {
    pub(super) name: String,
    pub(super) app: usize,
    pub(super) node: Option<String>,
    created: i64,
    pub(super) unschedulable_since: Option<i64>,
    /// The removal that evicted the pod whose place it takes.
    pub(super) origin: Option<Origin>,
}

#[derive(Clone, Debug)]
pub(super) struct Origin {
    pub(super) from: String,
    pub(super) to: String,
    pub(super) planned_at: i64,
}

// === impl Group ===

impl Group {
    pub(super) fn new(min: usize, max: usize, threshold: i64, headroom: usize) -> Self {
        Self {
            min,
            max,
            threshold,
            headroom,
            grown: None,
            failed: None,
            failures: 0,
        }
    }
}

// === impl World ===

impl World {
    pub(super) fn new(groups: &[Group], apps: &[App], drain_percent: usize, evictions: usize, obedient: bool) -> Self {
        Self {
            now: 0,
            nodes: BTreeMap::new(),
            pods: Vec::new(),
            apps: apps.to_vec(),
            groups: groups.to_vec(),
            drain_percent,
            evictions,
            obedient,
            named: 0,
            owed: Vec::new(),
        }
    }

    /// A node that works, or one that has been dead for an hour.
    pub(super) fn add_node(&mut self, group: usize, ready: bool) {
        let node = Node {
            group,
            ready,
            state: State::Stays,
            unready_since: self.now - 3600,
            unneeded_since: None,
            avoided: false,
            failed: None,
            failures: 0,
        };
        let name = self.name("n");
        self.nodes.insert(name, node);
    }

    /// Another pod of an app, on this node if it has room for it.
    pub(super) fn add_pod(&mut self, app: usize, node: Option<&str>) {
        let kind = if self.apps[app].stateful { "" } else { "x" };
        let name = self.name(&format!("app{app}-{kind}"));
        let node = node.filter(|node| self.has_room(app, node)).map(ToOwned::to_owned);
        self.pods.push(Pod {
            name,
            app,
            node,
            created: self.now,
            unschedulable_since: None,
            origin: None,
        });
    }

    /// Lets one more pod of an app run, or one less: the youngest.
    pub(super) fn scale(&mut self, app: usize, up: bool) {
        if up {
            self.apps[app].replicas += 1;
            self.add_pod(app, None);
        } else if let Some(index) = self.pods.iter().rposition(|pod| pod.app == app) {
            self.apps[app].replicas -= 1;
            self.pods.remove(index);
        }
    }

    /// A node stops working, and its pods are made again elsewhere.
    pub(super) fn fail(&mut self, number: usize) {
        let working = self
            .nodes
            .iter()
            .filter(|(_, node)| node.ready && node.state == State::Stays);
        let Some(name) = working.map(|(name, _)| name.clone()).nth(number) else {
            return;
        };
        if let Some(node) = self.nodes.get_mut(&name) {
            (node.ready, node.unready_since) = (false, self.now);
        }
        for pod in self.pods.iter_mut().filter(|pod| pod.node.as_ref() == Some(&name)) {
            (pod.node, pod.created, pod.origin) = (None, self.now, None);
        }
    }

    /// Whether something is under way, so that the next pass comes soon.
    pub(super) fn is_in_motion(&self) -> bool {
        let coming_or_going = self.nodes.values().any(|node| node.state != State::Stays);
        let unseen = |pod: &Pod| pod.node.is_none() && pod.unschedulable_since.is_none();
        coming_or_going || !self.owed.is_empty() || self.pods.iter().any(unseen)
    }

    /// Pods for which the scheduler finds no place.
    pub(super) fn unschedulable(&self) -> impl Iterator<Item = &Pod> {
        let left = |pod: &&Pod| pod.node.is_none() && pod.unschedulable_since.is_some();
        self.pods.iter().filter(left)
    }

    pub(super) fn members(&self, group: usize) -> impl Iterator<Item = (&String, &Node)> {
        self.nodes.iter().filter(move |(_, node)| node.group == group)
    }

    pub(super) fn pods_on(&self, node: &str) -> impl Iterator<Item = &Pod> {
        self.pods.iter().filter(move |pod| pod.node.as_deref() == Some(node))
    }

    /// Whether the scheduler would bind one more pod of an app to a node.
    pub(super) fn has_room(&self, app: usize, name: &str) -> bool {
        let open = self.nodes.get(name).is_some_and(|node| {
            let cordoned = matches!(&node.state, State::Leaving(leaving) if leaving.cordoned);
            node.ready && !cordoned && !matches!(node.state, State::Coming { .. })
        });
        open && self.would_fit(app, name)
    }

    /// The same for a node that is cordoned.
    fn would_fit(&self, app: usize, name: &str) -> bool {
        let used: i64 = self.pods_on(name).map(|pod| self.apps[pod.app].cpu).sum();
        let alone = !self.apps[app].apart || self.pods_on(name).all(|pod| pod.app != app);
        alone && used + self.apps[app].cpu <= SIZE
    }

    /// What happens between two passes.
    pub(super) fn pass(&mut self, seconds: i64) {
        self.now += seconds;
        self.boot();
        for (name, app, origin) in std::mem::take(&mut self.owed) {
            self.replace(name, app, origin);
        }
        self.schedule();
        self.carry_on();
    }

    /// Plans, has the plan checked, and records since when nodes are unneeded.
    pub(super) fn plan(&mut self) -> (Snapshot, Plan) {
        let snapshot = self.cluster().snapshot();
        let plan = planner::plan(&snapshot, &Options::default(), now());
        assert_eq!(check(&snapshot, &plan), []);
        for report in &plan.nodes {
            if let Some(node) = self.nodes.get_mut(&name_of(&snapshot, report.node)) {
                node.unneeded_since = report.unneeded.then(|| node.unneeded_since.unwrap_or(self.now));
                if node.state == State::Stays {
                    node.avoided = report.is_deletion_candidate(&snapshot, plan.now);
                }
            }
        }
        (snapshot, plan)
    }

    /// Begins what a plan says.
    pub(super) fn begin(&mut self, snapshot: &Snapshot, plan: &Plan) {
        for creation in &plan.creations {
            let group = group_of(&snapshot.group_name(creation.group));
            self.groups[group].grown = Some(self.now);
            let node = Node {
                group,
                ready: true,
                state: State::Coming {
                    ready_at: self.now + BOOT,
                },
                unready_since: 0,
                unneeded_since: None,
                avoided: false,
                failed: None,
                failures: 0,
            };
            let name = self.name("n");
            self.nodes.insert(name, node);
        }
        for removal in &plan.removals {
            let moves = removal.moves.iter().map(|step| {
                let pod = snapshot.pod(step.pod).name.to_string();
                (pod, name_of(snapshot, step.to))
            });
            let leaving = Leaving {
                kind: removal.kind,
                moves: moves.collect(),
                planned_at: self.now,
                cordoned: false,
                gone_at: None,
            };
            if let Some(node) = self.nodes.get_mut(&name_of(snapshot, removal.node)) {
                node.state = State::Leaving(leaving);
            }
        }
    }

    fn name(&mut self, prefix: &str) -> String {
        self.named += 1;
        format!("{prefix}{:03}", self.named)
    }

    fn boot(&mut self) {
        for node in self.nodes.values_mut() {
            if matches!(node.state, State::Coming { ready_at } if ready_at <= self.now) {
                node.state = State::Stays;
            }
        }
    }

    /// A pod in the place of one that was evicted, unless the app was made smaller in the meantime.
    fn replace(&mut self, name: String, app: usize, origin: Origin) {
        let there = self.pods.iter().filter(|pod| pod.app == app).count();
        if there < self.apps[app].replicas {
            self.pods.push(Pod {
                name,
                app,
                node: None,
                created: self.now,
                unschedulable_since: None,
                origin: Some(origin),
            });
        }
    }

    /// Binds pods one after the other. What was made just now waits until next time.
    fn schedule(&mut self) {
        for index in 0..self.pods.len() {
            let pod = &self.pods[index];
            if pod.node.is_some() || pod.created == self.now {
                continue;
            }
            let has_room = |name: &&String| self.has_room(pod.app, name);
            let wanted = pod.origin.as_ref().map(|origin| &origin.to);
            let wanted = wanted.filter(|_| self.obedient).filter(has_room);
            // Otherwise the emptiest one, as kube-scheduler has it by default, which minds a PreferNoSchedule more.
            let emptiest = || {
                let members = self.nodes.iter().filter(|(name, _)| has_room(name));
                members
                    .min_by_key(|(name, node)| (node.avoided, self.pods_on(name).count()))
                    .map(|(name, _)| name)
            };
            let found = wanted.or_else(emptiest).cloned();
            let now = self.now;
            let pod = &mut self.pods[index];
            match found {
                Some(node) => (pod.node, pod.unschedulable_since) = (Some(node), None),
                None => _ = pod.unschedulable_since.get_or_insert(now),
            }
        }
    }

    /// Carries every removal on by one step.
    fn carry_on(&mut self) {
        let leaving = self.nodes.iter().filter_map(|(name, node)| match &node.state {
            State::Leaving(leaving) => Some((name.clone(), leaving.clone())),
            State::Coming { .. } | State::Stays => None,
        });
        let leaving: Vec<_> = leaving.collect();
        if leaving.is_empty() {
            return;
        }
        let snapshot = self.cluster().snapshot();
        for (name, leaving) in leaving {
            if leaving.gone_at.is_some_and(|at| at <= self.now) {
                self.nodes.remove(&name);
            } else if leaving.gone_at.is_none() {
                if self.objects(&snapshot, &name, &leaving) {
                    self.roll_back(&name);
                } else {
                    self.drain(&name, leaving);
                }
            }
        }
    }

    fn objects(&self, snapshot: &Snapshot, name: &str, leaving: &Leaving) -> bool {
        let id = snapshot.node_ids().find(|id| name_of(snapshot, *id) == name).unwrap();
        let node = &self.nodes[name];
        let undrained = self.pods_on(name).next().is_some();
        let stay = self
            .members(node.group)
            .filter(|(_, node)| node.ready && node.state == State::Stays)
            .count();
        let needed = undrained && node.ready && self.unschedulable().any(|pod| self.would_fit(pod.app, name));
        let unplanned = self.pods_on(name).any(|pod| !leaving.moves.contains_key(&pod.name));
        standing_objection(snapshot, id, undrained).is_some()
            || needed
            || unplanned
            || (node.ready && stay < self.groups[node.group].min)
    }

    fn roll_back(&mut self, name: &str) {
        let now = self.now;
        let Some(node) = self.nodes.get_mut(name) else { return };
        node.state = State::Stays;
        node.failed = Some(now);
        node.failures += 1;
        let group = &mut self.groups[node.group];
        group.failed = Some(now);
        group.failures += 1;
    }

    fn drain(&mut self, name: &str, mut leaving: Leaving) {
        if leaving.cordoned {
            for _ in 0..self.evictions {
                let may_go = |pod: &Pod| pod.node.as_deref() == Some(name) && self.may_evict(pod.app);
                let Some(index) = self.pods.iter().position(may_go) else {
                    break;
                };
                let pod = self.pods.remove(index);
                let origin = Origin {
                    from: name.to_owned(),
                    to: leaving.moves[&pod.name].clone(),
                    planned_at: leaving.planned_at,
                };
                if self.apps[pod.app].stateful {
                    self.owed.push((pod.name, pod.app, origin));
                } else {
                    // A suffix that is no number, as that of a ReplicaSet is none.
                    let name = self.name(&format!("app{}-x", pod.app));
                    self.replace(name, pod.app, origin);
                }
            }
            if self.pods_on(name).next().is_none() {
                leaving.gone_at = Some(self.now + DELETION);
                let group = self.nodes[name].group;
                self.groups[group].failures = 0;
                self.groups[group].failed = None;
            }
        }
        leaving.cordoned = true;
        if let Some(node) = self.nodes.get_mut(name) {
            node.state = State::Leaving(leaving);
        }
    }

    fn may_evict(&self, app: usize) -> bool {
        self.allowed(app).is_none_or(|allowed| 0 < allowed)
    }

    /// Evictions that the budget of an app allows.
    fn allowed(&self, app: usize) -> Option<usize> {
        let healthy = |pod: &&Pod| {
            let on = pod.node.as_ref().and_then(|name| self.nodes.get(name));
            pod.app == app && on.is_some_and(|node| node.ready)
        };
        let healthy = self.pods.iter().filter(healthy).count();
        let may_miss = self.apps[app].may_miss?;
        Some((healthy + may_miss).saturating_sub(self.apps[app].replicas))
    }

    /// The cluster as the API server has it. The clock of tests stands still: the past moves away from it.
    fn cluster(&self) -> Cluster {
        let at = |second: i64| ago(self.now - second);
        let not_ours = json!({"metadata": {"labels": {"autoscaler.vpsie.com/managed": "false"}}});
        let mut cluster = Cluster::new().with_timers().group("workers", not_ours).settings(json!({
            "budgets": {"empty": 3, "drain": format!("{}%", self.drain_percent)},
        }));
        for (name, group) in GROUPS.iter().zip(&self.groups) {
            cluster = cluster.group(
                name,
                json!({
                    "spec": {
                        "minNodes": group.min, "maxNodes": group.max, "headroom": {"nodes": group.headroom},
                        "scaleDownPolicy": {"cpuThreshold": group.threshold, "memoryThreshold": group.threshold},
                    },
                    "status": {
                        "lastScaleUpTime": group.grown.map(at),
                        "lastScaleDownFailureTime": group.failed.map(at),
                        "scaleDownFailures": group.failures,
                    },
                }),
            );
        }
        for (index, app) in self.apps.iter().enumerate() {
            if let Some(allowed) = self.allowed(index) {
                let name = format!("app{index}");
                cluster = cluster.budget(&name, &name, i32::try_from(allowed).unwrap(), json!({}));
            }
            assert!(app.cpu <= SIZE, "what never fits says nothing");
        }
        for (name, node) in &self.nodes {
            let mut status = json!({"phase": "Ready", "nodeName": name, "unneededSince": node.unneeded_since.map(at)});
            if let Some(failed) = node.failed {
                status["removal"] = json!({"phase": "Failed", "failedAt": at(failed), "failures": node.failures});
            }
            match &node.state {
                State::Coming { .. } => {
                    let coming = json!({"phase": "Provisioning", "phaseSince": at(self.now)});
                    cluster = cluster.object(machine(name, GROUPS[node.group], &coming));
                    continue;
                }
                State::Stays => {}
                State::Leaving(leaving) => {
                    let phase = match (leaving.cordoned, leaving.gone_at) {
                        (_, Some(_)) => "ProviderDeleting",
                        (true, None) => "Draining",
                        (false, None) => "Planned",
                    };
                    let moves = leaving.moves.iter();
                    let moves: Vec<_> = moves
                        .map(|(pod, to)| json!({"pod": format!("default/{pod}"), "to": to}))
                        .collect();
                    if let Some(gone_at) = leaving.gone_at {
                        status["phase"] = json!("Deleting");
                        status["phaseSince"] = json!(at(gone_at - DELETION));
                    }
                    status["removal"] = json!({
                        "phase": phase, "kind": leaving.kind.as_str(), "startedAt": at(leaving.planned_at), "moves": moves,
                    });
                }
            }
            cluster = cluster.object(machine(name, GROUPS[node.group], &status));
            let cordoned = matches!(&node.state, State::Leaving(leaving) if leaving.cordoned);
            let mut patch = json!({
                "metadata": {"labels": {
                    "autoscaler.vpsie.com/nodegroup": GROUPS[node.group], "kubernetes.io/hostname": name,
                }},
                "spec": {"unschedulable": cordoned},
            });
            if !node.ready {
                let since = at(node.unready_since);
                patch["status"]["conditions"] =
                    json!([{"type": "Ready", "status": "False", "lastTransitionTime": since}]);
            }
            cluster = cluster.node(name, patch);
        }
        for pod in &self.pods {
            cluster = cluster.pod(&pod.name, pod.node.as_deref().unwrap_or(""), "0", self.pod_patch(pod));
        }
        cluster
    }

    fn pod_patch(&self, pod: &Pod) -> serde_json::Value {
        let at = |second: i64| ago(self.now - second);
        let app = &self.apps[pod.app];
        let owner = format!("app{}", pod.app);
        let mut patch = json!({
            "metadata": {"creationTimestamp": at(pod.created), "ownerReferences": [
                {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": owner, "uid": owner, "controller": true},
            ]},
            "spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": format!("{}m", app.cpu)}}}]},
        });
        if app.apart {
            patch["spec"]["affinity"] = json!({"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
                {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": owner}}},
            ]}});
        }
        if pod.node.is_none() {
            patch["status"]["conditions"] = match pod.unschedulable_since {
                Some(since) => json!([{
                    "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "lastTransitionTime": at(since),
                }]),
                None => json!([]),
            };
        }
        patch
    }
}

pub(super) fn name_of(snapshot: &Snapshot, node: NodeId) -> String {
    snapshot.text(snapshot.node(node).name).to_owned()
}

pub(super) fn group_of(name: &str) -> usize {
    GROUPS.iter().position(|group| name.ends_with(group)).unwrap()
}

fn now() -> Timestamp {
    NOW.parse().unwrap()
}
