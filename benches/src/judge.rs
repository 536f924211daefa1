//! Whether a decision is right and how good it is, counted from the objects alone: nothing here asks the core what fits
//! or what is placed where, other than what the plan itself says.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use autoscaler_core::{
    manifest::{
        Objects,
        node::Node,
        pod::{Pod, PodAffinity},
    },
    plan::{Plan, PodVerdict},
    provider::Offering,
    snapshot::Snapshot,
};

use crate::{
    bound::{Needs, Size, lower_bound},
    objects::{HOSTNAME, ZONE},
};

/// What is to be decided: objects, offerings, and what a node of each offering has for pods.
#[derive(Clone, Debug)]
pub struct Problem {
    /// The cluster.
    pub objects: Objects,
    /// What the provider sells.
    pub offerings: Vec<Offering>,
    /// What is left for pods on a node, by offering.
    pub sizes: BTreeMap<String, Size>,
}

/// What was decided, beside what is known to be possible.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// Nodes to create.
    pub nodes: usize,
    /// Nodes to remove.
    pub removed: usize,
    /// Their price per hour.
    pub price: f64,
    /// No packing of all pending pods onto new nodes is cheaper than this.
    pub lower_bound: f64,
    /// Pending pods that are on a new node.
    pub placed: usize,
    /// Pending pods that are on a node that exists already.
    pub on_existing: usize,
    /// Pending pods without a place.
    pub left: usize,
}

/// A node with its pods.
struct Host<'a> {
    name: String,
    zone: &'a str,
    size: Size,
    used: Needs,
    labels: BTreeMap<(&'a str, &'a str), usize>,
    /// The pods that the plan puts here.
    new: Vec<&'a Pod>,
}

impl Problem {
    /// Counts what was decided.
    ///
    /// # Panics
    /// When the plan is wrong: a pod is on two nodes or reported otherwise than it is placed, a node that gets pods holds
    /// more than it has or is of an offering that is not for sale, or pods share a host or are in zones that their
    /// affinity forbids.
    pub fn judge(&self, snapshot: &Snapshot, plan: &Plan) -> Decision {
        let pods: BTreeMap<String, &Pod> = self.pending().map(|pod| (pod.metadata.full_name(), pod)).collect();
        let pod = |name: &str| {
            *pods
                .get(name)
                .unwrap_or_else(|| panic!("{name} is placed and was not pending"))
        };
        let mut existing = self.existing();
        let mut new: Vec<Host<'_>> = Vec::with_capacity(plan.creations.len());
        let mut decision = Decision {
            nodes: plan.creations.len(),
            removed: plan.removals.len(),
            price: 0.0,
            lower_bound: lower_bound(&self.sizes.values().copied().collect::<Vec<_>>(), &self.needs()),
            placed: 0,
            on_existing: 0,
            left: 0,
        };
        let mut place = BTreeMap::new();
        let mut price = 0;
        for (index, creation) in plan.creations.iter().enumerate() {
            let offering = creation.offering.as_str();
            let size = *self
                .sizes
                .get(offering)
                .unwrap_or_else(|| panic!("{offering} is not for sale"));
            price += size.price;
            let mut host = Host::new(
                format!("new node {index}, a {offering}"),
                size,
                creation.datacenter.as_str(),
            );
            for name in creation.pods.iter().map(|pod| snapshot.pod_name(*pod)) {
                host.add(pod(&name));
                host.new.push(pod(&name));
                let before = place.insert(name.clone(), index);
                assert_eq!(before, None, "{name} is on new node {index} and on another one");
            }
            new.push(host);
        }
        decision.price = price as f64 / 1e9;

        for report in &plan.pods {
            let name = snapshot.pod_name(report.pod);
            let mut reported = None;
            match report.verdict {
                PodVerdict::TriggersScaleUp(index) => {
                    decision.placed += 1;
                    reported = Some(index);
                }
                PodVerdict::FitsExisting(destination) => {
                    decision.on_existing += 1;
                    let node = destination.name(snapshot);
                    let host = existing
                        .get_mut(node)
                        .unwrap_or_else(|| panic!("{name} is put on unknown node {node}"));
                    host.add(pod(&name));
                    host.new.push(pod(&name));
                }
                _ => decision.left += 1,
            }
            let placed = place.get(&name).copied();
            assert_eq!(
                reported, placed,
                "{name} is reported on another new node than it is placed on"
            );
        }
        let reported = decision.placed + decision.on_existing + decision.left;
        assert_eq!(
            (plan.pods.len(), reported),
            (pods.len(), pods.len()),
            "every pending pod has one report"
        );
        assert_eq!(decision.placed, place.len(), "every pod of a new node has a report");

        let mut zones: BTreeMap<(&str, &str), BTreeSet<&str>> = BTreeMap::new();
        for host in new.iter().chain(existing.values()) {
            host.assert_holds();
            for label in host.new.iter().flat_map(|pod| attracting(pod)) {
                zones.entry(label).or_default().insert(host.zone);
            }
        }
        for ((key, value), zones) in zones {
            assert_eq!(
                zones.len(),
                1,
                "pods with affinity to {key}={value} are in the zones {zones:?}"
            );
        }
        decision
    }

    /// The nodes that exist, with the pods that are bound to them.
    fn existing(&self) -> BTreeMap<&str, Host<'_>> {
        let host = |node: &'_ Node| {
            let offered = |name: &str| node.status.allocatable.get(name).copied();
            Size {
                cpu: offered("cpu").map_or(0, |quantity| quantity.milli()),
                memory: offered("memory").map_or(0, |quantity| quantity.units()),
                pods: offered("pods").map_or(0, |quantity| quantity.units()),
                price: 0,
            }
        };
        let mut hosts: BTreeMap<_, _> = BTreeMap::new();
        for node in &self.objects.nodes {
            let zone = node.metadata.labels.get(ZONE).map_or("", String::as_str);
            hosts.insert(
                node.metadata.name.as_str(),
                Host::new(node.metadata.name.clone(), host(node), zone),
            );
        }
        for pod in &self.objects.pods {
            if let Some(host) = hosts.get_mut(pod.spec.node_name.as_str()) {
                host.add(pod);
            }
        }
        hosts
    }

    /// What the pending pods need at least.
    pub fn needs(&self) -> Needs {
        let mut needs = Needs::default();
        let mut exclusive: BTreeMap<(&str, &str), i64> = BTreeMap::new();
        for pod in self.pending() {
            needs.add(pod);
            // Pods of which each excludes its own label need a node each.
            for (key, value) in excluding(pod) {
                if pod.metadata.labels.get(key).is_some_and(|own| own == value) {
                    *exclusive.entry((key, value)).or_default() += 1;
                }
            }
        }
        needs.hosts = exclusive.into_values().max().unwrap_or(0);
        needs
    }

    fn pending(&self) -> impl Iterator<Item = &Pod> {
        self.objects.pods.iter().filter(|pod| pod.spec.node_name.is_empty())
    }
}

impl<'a> Host<'a> {
    fn new(name: String, size: Size, zone: &'a str) -> Self {
        Self {
            name,
            zone,
            size,
            used: Needs::default(),
            labels: BTreeMap::new(),
            new: Vec::new(),
        }
    }

    fn add(&mut self, pod: &'a Pod) {
        self.used.add(pod);
        for (key, value) in &pod.metadata.labels {
            *self.labels.entry((key, value)).or_default() += 1;
        }
    }

    /// A node that gets no pods may be overcommitted: that is nothing that was decided now.
    fn assert_holds(&self) {
        if self.new.is_empty() {
            return;
        }
        let Self { name, size, used, .. } = self;
        let fits = used.cpu <= size.cpu && used.memory <= size.memory && used.pods <= size.pods;
        assert!(fits, "{name} has {size:?} for {used:?}");
        for pod in &self.new {
            for (key, value) in excluding(pod) {
                let own = usize::from(pod.metadata.labels.get(key).is_some_and(|own| own == value));
                let matching = self.labels.get(&(key, value)).copied().unwrap_or(0);
                assert!(
                    matching <= own,
                    "{} shares {name} with pods that it excludes",
                    pod.metadata.name
                );
            }
        }
    }
}

impl Needs {
    fn add(&mut self, pod: &Pod) {
        for container in &pod.spec.containers {
            let request = |name: &str| container.resources.requests.get(name).copied();
            self.cpu += request("cpu").map_or(0, |quantity| quantity.milli());
            self.memory += request("memory").map_or(0, |quantity| quantity.units());
        }
        self.pods += 1;
    }
}

/// The labels that must be on no other pod of the host.
fn excluding(pod: &Pod) -> impl Iterator<Item = (&str, &str)> {
    let away = pod
        .spec
        .affinity
        .as_ref()
        .and_then(|affinity| affinity.pod_anti_affinity.as_ref());
    terms(away, HOSTNAME)
}

/// The labels of which a pod must be in the zone.
fn attracting(pod: &Pod) -> impl Iterator<Item = (&str, &str)> {
    let near = pod
        .spec
        .affinity
        .as_ref()
        .and_then(|affinity| affinity.pod_affinity.as_ref());
    terms(near, ZONE)
}

/// The generators write selectors of one label.
fn terms<'a>(affinity: Option<&'a PodAffinity>, topology_key: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
    let terms = affinity.map_or(&[][..], |affinity| {
        &affinity.required_during_scheduling_ignored_during_execution
    });
    terms
        .iter()
        .filter(move |term| term.topology_key == topology_key)
        .filter_map(|term| term.label_selector.as_ref())
        .flat_map(|selector| {
            selector
                .match_labels
                .iter()
                .map(|(key, value)| (key.as_str(), value.as_str()))
        })
}

impl Decision {
    /// The price over the lower bound: 1 is the best that can be.
    pub fn ratio(&self) -> f64 {
        self.price / self.lower_bound
    }
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            nodes,
            removed,
            price,
            placed,
            on_existing,
            left,
            ..
        } = self;
        write!(f, "{nodes} nodes at {price:.2} per hour")?;
        // What exists already costs nothing, so the bound says nothing when some pods are put there.
        if *on_existing == 0 && 0 < *placed {
            write!(f, " (lower bound {:.2}, ratio {:.3})", self.lower_bound, self.ratio())?;
        }
        write!(
            f,
            ", {placed} pods placed on them, {on_existing} on existing nodes, {left} left, {removed} nodes removed"
        )
    }
}

#[cfg(test)]
mod tests {
    use autoscaler_core::provider::{DatacenterId, OfferingId};

    use super::*;
    use crate::{decide, karpenter, snapshot};

    /// Judges the plan for 50 pods of Karpenter's mix after it has been tampered with.
    fn judge(tamper: impl Fn(&Snapshot, &mut Plan)) -> Decision {
        let problem = karpenter::problem(50);
        let snapshot = snapshot(&problem);
        let mut plan = decide(&snapshot);
        tamper(&snapshot, &mut plan);
        problem.judge(&snapshot, &plan)
    }

    #[test]
    fn a_plan_is_counted() {
        let decision = judge(|_, _| {});
        assert_eq!((decision.placed, decision.on_existing, decision.left), (50, 0, 0));
        assert!((1.0..2.0).contains(&decision.ratio()), "{decision}");
    }

    #[test]
    #[should_panic(expected = "is reported on another new node than it is placed on")]
    fn a_pod_that_is_nowhere_is_found() {
        judge(|_, plan| plan.creations[0].pods.truncate(0));
    }

    #[test]
    #[should_panic(expected = "and on another one")]
    fn a_pod_that_is_on_two_nodes_is_found() {
        judge(|_, plan| {
            let pod = plan.creations[0].pods[0];
            plan.creations[1].pods.push(pod);
        });
    }

    #[test]
    #[should_panic(expected = "has Size")]
    fn a_node_that_holds_too_much_is_found() {
        judge(|_, plan| {
            let smallest = OfferingId::new("fake-it-000");
            for creation in &mut plan.creations {
                creation.offering = smallest.clone();
            }
        });
    }

    #[test]
    #[should_panic(expected = "with pods that it excludes")]
    fn pods_that_must_not_share_a_host_are_found() {
        judge(|snapshot, plan| {
            let exclusive = |pod: &_| snapshot.pod_name(*pod).contains("host-exclusive");
            let hosts = (0..plan.creations.len()).filter(|index| plan.creations[*index].pods.iter().any(exclusive));
            let hosts: Vec<_> = hosts.collect();
            let (from, to) = (hosts[0], hosts[1]);
            let moved = std::mem::take(&mut plan.creations[from].pods);
            for report in &mut plan.pods {
                if moved.contains(&report.pod) {
                    report.verdict = PodVerdict::TriggersScaleUp(to);
                }
            }
            plan.creations[to].pods.extend(moved);
            plan.creations[to].offering = OfferingId::new("fake-it-399");
        });
    }

    #[test]
    #[should_panic(expected = "are in the zones")]
    fn pods_that_attract_each_other_in_several_zones_are_found() {
        judge(|snapshot, plan| {
            let attracted = |pod: &_| snapshot.pod_name(*pod).contains("zone-affinity");
            let zones = ["zone-1", "zone-2"].into_iter().cycle();
            let hosts = plan
                .creations
                .iter_mut()
                .filter(|creation| creation.pods.iter().any(attracted));
            for (host, zone) in hosts.zip(zones) {
                host.datacenter = DatacenterId::new(zone);
            }
        });
    }
}
