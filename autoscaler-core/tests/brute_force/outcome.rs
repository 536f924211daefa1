//! What a plan means in the model: who is where, whether that can be carried out, and whether a node is bought for
//! nothing.

use std::collections::BTreeMap;

use crate::{
    manifests::{Decision, class_of},
    model::{Domains, Host, Model},
    runner::Broken,
    search::{Assignment, can_be_bound, optimum},
};

/// The pods of a plan on the nodes of a model.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    /// By node: those of the model, then new ones.
    pub(crate) assignment: Assignment,
    pub(crate) new_hosts: Vec<Host>,
    /// Groups of the new nodes.
    groups: Vec<usize>,
}

/// Pods that have a place, by priority, highest first.
pub(crate) fn placed(model: &Model, decision: &Decision) -> Vec<usize> {
    let mut by_priority: BTreeMap<i32, usize> = model.classes.iter().map(|class| (-class.priority, 0)).collect();
    let new = decision.new_nodes.iter().flat_map(|node| &node.pods);
    for pod in new.chain(decision.existing.keys()) {
        *by_priority.entry(-model.classes[class_of(pod)].priority).or_default() += 1;
    }
    by_priority.into_values().collect()
}

/// The model with only the pods pending that have a place in the plan.
pub(crate) fn with_pods_of(model: &Model, decision: &Decision) -> Model {
    let mut of_plan = model.clone();
    for pod in &decision.left {
        of_plan.classes[class_of(pod)].pending -= 1;
    }
    of_plan
}

/// The model with the pods that fit existing nodes on them, and only the others pending.
pub(crate) fn with_existing_filled(model: &Model, decision: &Decision) -> Model {
    let mut rest = model.clone();
    for (pod, node) in &decision.existing {
        let class = class_of(pod);
        rest.classes[class].pending -= 1;
        if let Some(at) = rest.names.iter().position(|name| name == node) {
            rest.hosts[at].take(class, &model.classes[class]);
        }
    }
    rest
}

/// Everything that is wrong with a plan whatever other plans there are: limits, pods with two places or none, pods that
/// do not fit (invariant 5), nodes that could be left out (invariant 6), pods that are left for pods of lower priority,
/// and what the checker of the core says.
pub(crate) fn judge(model: &Model, decision: &Decision, most_steps: u64) -> Vec<Broken> {
    let mut broken = Vec::new();
    if !decision.violations.is_empty() {
        broken.push(("the checker objects", decision.violations.join("\n")));
    }
    let outcome = match Outcome::new(model, decision) {
        Ok(outcome) => outcome,
        Err(why) => {
            broken.push(("the plan makes no sense", why));
            return broken;
        }
    };
    if outcome.can_be_bound(model, most_steps) == Some(false) {
        broken.push(("pods do not fit", format!("in no order: {:?}", outcome.assignment)));
    }
    for new in 0..outcome.new_hosts.len() {
        if let Some(instead) = outcome.without(model, new, most_steps) {
            broken.push(("a node is needless", format!("without new node {new}: {instead:?}")));
        }
    }
    for pod in &decision.left {
        if let Some(instead) = outcome.without_lower(model, class_of(pod)) {
            broken.push(("a pod is left for one of lower priority", format!("{pod}: {instead}")));
        }
    }
    for (index, host) in outcome.new_hosts.iter().enumerate() {
        let pods = &outcome.assignment[model.hosts.len() + index];
        if pods.iter().all(|pods| *pods == 0) {
            broken.push(("a node is needless", format!("new node {index} is empty: {host:?}")));
        }
    }
    broken
}

// === impl Outcome ===

impl Outcome {
    /// # Errors
    ///
    /// In words, what the plan says that cannot be.
    pub(crate) fn new(model: &Model, decision: &Decision) -> Result<Self, String> {
        let mut assignment: Assignment = vec![vec![0; model.classes.len()]; model.hosts.len()];
        let mut pods: Vec<&String> = decision.left.iter().chain(decision.existing.keys()).collect();
        for (pod, node) in &decision.existing {
            let at = model.names.iter().position(|name| name == node);
            assignment[at.ok_or_else(|| format!("{pod} goes to {node}"))?][class_of(pod)] += 1;
        }
        let mut new_hosts = Vec::new();
        let mut room = model.room.clone();
        for node in &decision.new_nodes {
            let template = model
                .templates
                .iter()
                .find(|template| (template.group, template.offering) == (node.group, node.offering))
                .ok_or_else(|| format!("{node:?} is not for sale"))?;
            new_hosts.push(template.host.clone());
            let left = room[node.group].checked_sub(1);
            room[node.group] = left.ok_or_else(|| format!("g{} gets too many nodes", node.group))?;
            let mut of_node = vec![0; model.classes.len()];
            for pod in &node.pods {
                of_node[class_of(pod)] += 1;
            }
            pods.extend(&node.pods);
            assignment.push(of_node);
        }
        if model.cluster_room < new_hosts.len() {
            return Err("the cluster gets too many nodes".to_owned());
        }
        pods.sort();
        let mut all: Vec<String> = Vec::new();
        for (class, of_class) in model.classes.iter().enumerate() {
            all.extend((0..of_class.pending).map(|index| crate::manifests::pod_name(class, index)));
        }
        all.sort();
        if !pods.iter().copied().eq(&all) {
            return Err(format!("verdicts on {pods:?}, pending are {all:?}"));
        }
        Ok(Self {
            assignment,
            new_hosts,
            groups: decision.new_nodes.iter().map(|node| node.group).collect(),
        })
    }

    fn can_be_bound(&self, model: &Model, most_steps: u64) -> Option<bool> {
        can_be_bound(model, &self.new_hosts, &self.assignment, most_steps)
    }

    /// Where all pods could be if this new node were not bought and the pods of the others stayed where they are.
    fn without(&self, model: &Model, new: usize, most_steps: u64) -> Option<Assignment> {
        let mut others = self.clone();
        let dropped = model.hosts.len() + new;
        let pods = others.assignment.remove(dropped);
        others.new_hosts.remove(new);
        others.groups.remove(new);
        let mut rest = Model {
            room: vec![0; model.room.len()],
            ..model.clone()
        };
        rest.hosts.extend(others.new_hosts.iter().cloned());
        for (host, of_host) in rest.hosts.iter_mut().zip(&others.assignment) {
            for (class, count) in of_host.iter().enumerate() {
                for _ in 0..*count {
                    host.take(class, &model.classes[class]);
                }
            }
        }
        for (class, pending) in rest.classes.iter_mut().zip(&pods) {
            class.pending = *pending;
        }
        let best = optimum(&rest, most_steps).filter(|best| best.complete)?;
        // What ran there before, and the pods of DaemonSets, are no part of the plan.
        for (index, (_, pods)) in best.nodes.iter().enumerate() {
            let before = model
                .hosts
                .get(index)
                .or_else(|| others.new_hosts.get(index - model.hosts.len()));
            for (class, count) in pods.iter().enumerate() {
                let at_start = before.map_or(0, |host| usize::from(host.pods[class]));
                others.assignment[index][class] = count - at_start;
            }
        }
        (others.can_be_bound(model, most_steps) == Some(true)).then_some(others.assignment)
    }

    /// Where one more pod of a class could go if no pods of lower priority had got a place. Pods for which the order of
    /// binding matters are not judged.
    fn without_lower(&self, model: &Model, class: usize) -> Option<String> {
        let priority = model.classes[class].priority;
        let stays = |other: &usize| priority <= model.classes[*other].priority;
        if model.depends_on_order(class) || (0..model.classes.len()).all(|other| stays(&other)) {
            return None;
        }
        let (mut room, mut cluster_room) = (model.room.clone(), model.cluster_room);
        let mut hosts = Vec::new();
        for (index, pods) in self.assignment.iter().enumerate() {
            let staying = || (0..pods.len()).filter(|other| stays(other) && 0 < pods[*other]);
            let mut host = match index.checked_sub(model.hosts.len()) {
                None => model.hosts[index].clone(),
                Some(new) if staying().next().is_some() => {
                    room[self.groups[new]] -= 1;
                    cluster_room -= 1;
                    self.new_hosts[new].clone()
                }
                Some(_) => continue,
            };
            for other in staying() {
                for _ in 0..pods[other] {
                    host.take(other, &model.classes[other]);
                }
            }
            hosts.push(host);
        }
        if let Some(at) = (0..hosts.len()).find(|at| model.fits(&hosts, class, *at, Domains::Present)) {
            return Some(format!("it would fit node {at}"));
        }
        model.templates.iter().find_map(|template| {
            hosts.push(template.host.clone());
            let fits = model.fits(&hosts, class, hosts.len() - 1, Domains::Present);
            hosts.pop();
            (fits && 0 < room[template.group].min(cluster_room)).then(|| format!("it would fit a new {template:?}"))
        })
    }
}
