//! Whether a pod may run on a node. May hold: the Filter rules of kube-scheduler that this cluster knows, with its
//! messages.
//!
//! Known: cordon, taints, `nodeSelector` and required node affinity, host ports, resources and the number of pods,
//! `DoNotSchedule` topology spread, required pod affinity and anti-affinity. Not known: volumes, dynamic resources.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use autoscaler_core::quantity::Quantity;
use serde_json::Value;

use super::defaults::UNSCHEDULABLE_TAINT;
use super::object::{at, integer, is_terminal_pod, is_terminating, items, labels, name, namespace, string_map, text};
use super::selectors::LabelSelector;
use super::store::State;

/// Amounts per resource, in billionths.
pub(super) type Amounts = BTreeMap<String, i128>;

/// A node with what runs on it.
#[derive(Debug)]
pub(super) struct NodeInfo {
    pub(super) node: Arc<Value>,
    pub(super) pods: Vec<Arc<Value>>,
    pub(super) allocatable: Amounts,
    pub(super) used: Amounts,
}

/// The cluster as the scheduler sees it.
#[derive(Debug)]
pub(super) struct World {
    pub(super) nodes: Vec<NodeInfo>,
    namespaces: Vec<Arc<Value>>,
}

impl World {
    pub(super) fn of(state: &State) -> Self {
        let mut nodes: BTreeMap<String, NodeInfo> = state
            .all("", "nodes")
            .into_iter()
            .map(|node| (name(&node).to_owned(), NodeInfo::new(node)))
            .collect();
        for pod in state.all("", "pods") {
            if is_terminal_pod(&pod) {
                continue;
            }
            if let Some(info) = nodes.get_mut(text(&pod, &["spec", "nodeName"])) {
                info.add(pod);
            }
        }
        Self {
            nodes: nodes.into_values().collect(),
            namespaces: state.all("", "namespaces"),
        }
    }

    /// Why the pod may not run on this node, in the scheduler's words; empty when it may.
    pub(super) fn rejections(&self, pod: &Value, info: &NodeInfo) -> Vec<String> {
        let one = |reason: &str| vec![reason.to_owned()];
        let node = &*info.node;
        if is_cordoned(node) && !tolerates_cordon(pod) {
            return one("node(s) were unschedulable");
        }
        if !tolerates_taints(pod, node, &["NoSchedule", "NoExecute"]) {
            return one("node(s) had untolerated taint(s)");
        }
        if !matches_node_affinity(pod, node) {
            return one("node(s) didn't match Pod's node affinity/selector");
        }
        let wanted_ports = host_ports(pod);
        let collides = |taken: &HostPort| wanted_ports.iter().any(|wanted| wanted.collides(taken));
        if info.pods.iter().any(|other| host_ports(other).iter().any(collides)) {
            return one("node(s) didn't have free ports for the requested pod ports");
        }
        let short = info.shortages(pod);
        if !short.is_empty() {
            return short;
        }
        if let Some(reason) = self.spread_rejection(pod, node) {
            return one(reason);
        }
        self.pod_affinity_rejection(pod, node).map(one).unwrap_or_default()
    }

    fn spread_rejection(&self, pod: &Value, node: &Value) -> Option<&'static str> {
        let constraints = items(pod, &["spec", "topologySpreadConstraints"]);
        let hard: Vec<&Value> = constraints
            .iter()
            .filter(|c| text(c, &["whenUnsatisfiable"]) == "DoNotSchedule")
            .collect();
        let keys: Vec<&str> = hard
            .iter()
            .map(|constraint| text(constraint, &["topologyKey"]))
            .collect();
        for constraint in &hard {
            let key = text(constraint, &["topologyKey"]);
            let Some(own_domain) = labels(node).get(key).copied() else {
                return Some("node(s) didn't match pod topology spread constraints (missing required label)");
            };
            let selector = constraint.get("labelSelector").and_then(LabelSelector::from_object);
            let counts_pod = |other: &Value| {
                selector
                    .as_ref()
                    .is_some_and(|selector| selector.matches(&labels(other)))
            };
            let mut counts: BTreeMap<&str, i64> = BTreeMap::new();
            for info in &self.nodes {
                let node_labels = labels(&info.node);
                let honors_affinity = text(constraint, &["nodeAffinityPolicy"]) != "Ignore";
                let honors_taints = text(constraint, &["nodeTaintsPolicy"]) == "Honor";
                let eligible = keys.iter().all(|key| node_labels.contains_key(key))
                    && (!honors_affinity || matches_node_affinity(pod, &info.node))
                    && (!honors_taints || tolerates_taints(pod, &info.node, &["NoSchedule", "NoExecute"]));
                let (true, Some(domain)) = (eligible, node_labels.get(key)) else {
                    continue;
                };
                let here = info
                    .pods
                    .iter()
                    .filter(|other| namespace(other) == namespace(pod) && !is_terminating(other) && counts_pod(other));
                *counts.entry(domain).or_default() += i64::try_from(here.count()).unwrap_or(i64::MAX);
            }
            let domains = i64::try_from(counts.len()).unwrap_or(i64::MAX);
            let too_few = integer(constraint, &["minDomains"]).is_some_and(|minimum| domains < minimum);
            let least = if too_few {
                0
            } else {
                counts.values().min().copied().unwrap_or_default()
            };
            let skew = counts.get(own_domain).copied().unwrap_or_default() + i64::from(counts_pod(pod)) - least;
            if skew > integer(constraint, &["maxSkew"]).unwrap_or(1) {
                return Some("node(s) didn't match pod topology spread constraints");
            }
        }
        None
    }

    fn pod_affinity_rejection(&self, pod: &Value, node: &Value) -> Option<&'static str> {
        let node_labels = labels(node);
        let affinity = required_terms(pod, "podAffinity");
        let satisfied = affinity.iter().all(|term| self.matches_nearby(pod, term, &node_labels));
        if !satisfied {
            // The first of a group that wants to be together may go anywhere that has the topology.
            let is_first = !affinity.iter().any(|term| self.matches_anywhere(pod, term))
                && affinity.iter().all(|term| self.selects(pod, term, pod));
            let has_keys = affinity
                .iter()
                .all(|term| node_labels.contains_key(text(term, &["topologyKey"])));
            if !(is_first && has_keys) {
                return Some("node(s) didn't match pod affinity rules");
            }
        }
        if required_terms(pod, "podAntiAffinity")
            .iter()
            .any(|term| self.matches_nearby(pod, term, &node_labels))
        {
            return Some("node(s) didn't match pod anti-affinity rules");
        }
        let repelled = self.nodes.iter().any(|info| {
            let other_labels = labels(&info.node);
            let near = |term: &&Value| {
                let key = text(term, &["topologyKey"]);
                other_labels
                    .get(key)
                    .is_some_and(|value| node_labels.get(key) == Some(value))
            };
            info.pods.iter().any(|other| {
                required_terms(other, "podAntiAffinity")
                    .iter()
                    .filter(near)
                    .any(|term| self.selects(other, term, pod))
            })
        });
        repelled.then_some("node(s) didn't satisfy existing pods anti-affinity rules")
    }

    /// Whether a pod that the term of `owner` selects runs in the topology domain of these labels.
    fn matches_nearby(&self, owner: &Value, term: &Value, node_labels: &BTreeMap<&str, &str>) -> bool {
        let key = text(term, &["topologyKey"]);
        let Some(domain) = node_labels.get(key) else {
            return false;
        };
        self.nodes
            .iter()
            .filter(|info| labels(&info.node).get(key) == Some(domain))
            .any(|info| info.pods.iter().any(|other| self.selects(owner, term, other)))
    }

    fn matches_anywhere(&self, owner: &Value, term: &Value) -> bool {
        self.nodes
            .iter()
            .any(|info| info.pods.iter().any(|other| self.selects(owner, term, other)))
    }

    /// Whether an affinity term of `owner` selects `other`.
    fn selects(&self, owner: &Value, term: &Value, other: &Value) -> bool {
        let listed = items(term, &["namespaces"]);
        let selector = term.get("namespaceSelector");
        let in_namespace = if listed.is_empty() && selector.is_none() {
            namespace(owner) == namespace(other)
        } else {
            listed.iter().any(|one| one.as_str() == Some(namespace(other)))
                || selector.and_then(LabelSelector::from_object).is_some_and(|selector| {
                    let found = self.namespaces.iter().find(|one| name(one) == namespace(other));
                    found.is_some_and(|found| selector.matches(&labels(found)))
                })
        };
        in_namespace
            && term
                .get("labelSelector")
                .and_then(LabelSelector::from_object)
                .is_some_and(|selector| selector.matches(&labels(other)))
    }
}

impl NodeInfo {
    fn new(node: Arc<Value>) -> Self {
        let allocatable = at(&node, &["status", "allocatable"]).or_else(|| at(&node, &["status", "capacity"]));
        let allocatable = amounts(allocatable);
        Self {
            node,
            pods: Vec::new(),
            allocatable,
            used: Amounts::new(),
        }
    }

    /// Counts a pod as running here.
    pub(super) fn add(&mut self, pod: Arc<Value>) {
        for (resource, amount) in requests(&pod) {
            *self.used.entry(resource).or_default() += amount;
        }
        self.pods.push(pod);
    }

    fn shortages(&self, pod: &Value) -> Vec<String> {
        const ONE: i128 = 1_000_000_000;
        let mut short = Vec::new();
        let count = i128::try_from(self.pods.len()).unwrap_or(i128::MAX / ONE);
        let limit = self.allocatable.get("pods").copied().unwrap_or_default();
        if (count + 1) * ONE > limit {
            short.push("Too many pods".to_owned());
        }
        for (resource, amount) in requests(pod) {
            let has = self.allocatable.get(&resource).copied().unwrap_or_default();
            let used = self.used.get(&resource).copied().unwrap_or_default();
            if amount > 0 && used + amount > has {
                short.push(format!("Insufficient {resource}"));
            }
        }
        short
    }

    /// Free share of cpu and memory with this pod on board, in hundredths of a percent, as `LeastAllocated` scores.
    pub(super) fn free_share(&self, pod: &Value) -> i128 {
        let wanted = requests(pod);
        let share = |resource: &str| {
            let has = self.allocatable.get(resource).copied().unwrap_or_default();
            let used = self.used.get(resource).copied().unwrap_or_default();
            let left = has - used - wanted.get(resource).copied().unwrap_or_default();
            if has > 0 { left.max(0) * 10_000 / has } else { 0 }
        };
        i128::midpoint(share("cpu"), share("memory"))
    }
}

/// What a pod asks of its node: max(init, sum + sidecars) + overhead, pod-level requests before those of containers.
pub(super) fn requests(pod: &Value) -> Amounts {
    let of = |container: &Value| amounts(at(container, &["resources", "requests"]));
    let mut sidecars = Amounts::new();
    let mut peak = Amounts::new();
    for container in items(pod, &["spec", "initContainers"]) {
        let own = of(container);
        if text(container, &["restartPolicy"]) == "Always" {
            add(&mut sidecars, &own);
            raise(&mut peak, &sidecars);
        } else {
            let mut at_once = sidecars.clone();
            add(&mut at_once, &own);
            raise(&mut peak, &at_once);
        }
    }
    let mut total = sidecars;
    for container in items(pod, &["spec", "containers"]) {
        add(&mut total, &of(container));
    }
    raise(&mut total, &peak);
    total.extend(amounts(at(pod, &["spec", "resources", "requests"])));
    add(&mut total, &amounts(at(pod, &["spec", "overhead"])));
    total
}

pub(super) fn is_cordoned(node: &Value) -> bool {
    at(node, &["spec", "unschedulable"])
        .and_then(Value::as_bool)
        .unwrap_or_default()
}

/// Whether the pod tolerates every taint of the node that has one of these effects.
pub(super) fn tolerates_taints(pod: &Value, node: &Value, effects: &[&str]) -> bool {
    let tolerations = items(pod, &["spec", "tolerations"]);
    items(node, &["spec", "taints"])
        .iter()
        .filter(|taint| effects.contains(&text(taint, &["effect"])))
        .all(|taint| tolerations.iter().any(|toleration| tolerates(toleration, taint)))
}

/// `nodeSelector` and required node affinity.
pub(super) fn matches_node_affinity(pod: &Value, node: &Value) -> bool {
    let node_labels = labels(node);
    let wanted = string_map(at(pod, &["spec", "nodeSelector"]));
    if wanted.iter().any(|(key, value)| node_labels.get(key) != Some(value)) {
        return false;
    }
    let required = [
        "spec",
        "affinity",
        "nodeAffinity",
        "requiredDuringSchedulingIgnoredDuringExecution",
    ];
    let Some(required) = at(pod, &required) else {
        return true;
    };
    let fields = BTreeMap::from([("metadata.name", name(node))]);
    items(required, &["nodeSelectorTerms"]).iter().any(|term| {
        let (by_label, by_field) = (items(term, &["matchExpressions"]), items(term, &["matchFields"]));
        let holds = |expressions: &[Value], values: &BTreeMap<&str, &str>| {
            LabelSelector::from_expressions(expressions).is_some_and(|selector| selector.matches(values))
        };
        // A term without any expression matches nothing.
        !(by_label.is_empty() && by_field.is_empty()) && holds(by_label, &node_labels) && holds(by_field, &fields)
    })
}

fn tolerates_cordon(pod: &Value) -> bool {
    let taint = serde_json::json!({ "key": UNSCHEDULABLE_TAINT, "effect": "NoSchedule" });
    items(pod, &["spec", "tolerations"])
        .iter()
        .any(|toleration| tolerates(toleration, &taint))
}

fn tolerates(toleration: &Value, taint: &Value) -> bool {
    let effect = text(toleration, &["effect"]);
    let key = text(toleration, &["key"]);
    let exists = text(toleration, &["operator"]) == "Exists";
    (effect.is_empty() || effect == text(taint, &["effect"]))
        && (key == text(taint, &["key"]) || (key.is_empty() && exists))
        && (exists || text(toleration, &["value"]) == text(taint, &["value"]))
}

fn required_terms<'a>(pod: &'a Value, kind: &str) -> &'a [Value] {
    items(
        pod,
        &[
            "spec",
            "affinity",
            kind,
            "requiredDuringSchedulingIgnoredDuringExecution",
        ],
    )
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct HostPort {
    ip: String,
    protocol: String,
    port: i64,
}

impl HostPort {
    fn collides(&self, other: &Self) -> bool {
        let any = |ip: &str| matches!(ip, "" | "0.0.0.0");
        self.port == other.port
            && self.protocol == other.protocol
            && (self.ip == other.ip || any(&self.ip) || any(&other.ip))
    }
}

fn host_ports(pod: &Value) -> BTreeSet<HostPort> {
    let sidecars = items(pod, &["spec", "initContainers"])
        .iter()
        .filter(|c| text(c, &["restartPolicy"]) == "Always");
    items(pod, &["spec", "containers"])
        .iter()
        .chain(sidecars)
        .flat_map(|container| items(container, &["ports"]))
        .filter_map(|port| {
            let number = integer(port, &["hostPort"]).filter(|number| *number > 0)?;
            let protocol = text(port, &["protocol"]);
            Some(HostPort {
                ip: text(port, &["hostIP"]).to_owned(),
                protocol: if protocol.is_empty() { "TCP" } else { protocol }.to_owned(),
                port: number,
            })
        })
        .collect()
}

/// A map of quantities. Malformed ones count as nothing: the server stored them, and no rule can use them.
fn amounts(quantities: Option<&Value>) -> Amounts {
    quantities
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .filter_map(|(resource, quantity)| {
            let amount: Quantity = match quantity {
                Value::String(text) => text.parse().ok()?,
                other => other.to_string().parse().ok()?,
            };
            Some((resource.clone(), amount.nanos()))
        })
        .collect()
}

fn add(total: &mut Amounts, more: &Amounts) {
    for (resource, amount) in more {
        *total.entry(resource.clone()).or_default() += amount;
    }
}

fn raise(total: &mut Amounts, least: &Amounts) {
    for (resource, amount) in least {
        let current = total.entry(resource.clone()).or_default();
        *current = (*current).max(*amount);
    }
}
