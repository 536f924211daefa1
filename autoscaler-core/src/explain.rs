//! Why a pod fits each node or not, and what would keep it from a new node of each group, in the cluster as it stands.
//!
//! Where a [`plan`](crate::planner::plan) moves and places other pods first, this looks at one pod at a time and moves
//! nothing. The answer for a node is that of kube-scheduler, also for nodes that are not Ready. Only the question belongs
//! here: the rules are in [`fit`](crate::fit) and [`World`], the shape of the output is in [`document`]. Why a node stays
//! or goes is the question of [`node`].

pub mod document;
pub mod node;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use jiff::Timestamp;

use crate::{
    fit::Misfit,
    options::Offers,
    plan::Why,
    planner::Options,
    provider::OfferingId,
    snapshot::{ClassId, GroupId, NodeId, Pod, PodId, Snapshot},
    world::{BinId, World},
};

/// What each of some pods sees.
#[derive(Clone, Debug, PartialEq)]
pub struct Explanation {
    /// The time that back-offs and waiting times are judged for.
    pub now: Timestamp,
    /// The pods, in the order in which they were asked for.
    pub pods: Vec<PodExplanation>,
}

/// What one pod sees.
#[derive(Clone, Debug, PartialEq)]
pub struct PodExplanation {
    /// The pod.
    pub pod: PodId,
    /// Its answers, shared by pods that look the same to the scheduler.
    pub answers: Arc<Answers>,
}

/// The answers for every node and for everything that could be bought.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answers {
    /// Every node, by name.
    pub nodes: Vec<NodeAnswer>,
    /// Every group with each of its offerings, by the name of the group and in the order of its spec.
    pub offers: Vec<OfferAnswer>,
}

/// The answer for one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeAnswer {
    /// The node.
    pub node: NodeId,
    /// Why the scheduler would not put the pod there: the first of its Filter plugins that says no. `None`: it would.
    pub misfit: Option<Misfit>,
}

/// The answer for a new node of one group and offering.
#[derive(Clone, Debug, PartialEq)]
pub struct OfferAnswer {
    /// The group.
    pub group: GroupId,
    /// The offering.
    pub offering: OfferingId,
    /// Why no such node would be bought for the pod, the one decisive reason. `None`: the pod fits one, and one more may
    /// be bought.
    pub refusal: Option<Why>,
}

/// Pods that wait for others to leave a node: preemption keeps room for them.
#[derive(Clone, Debug, Default)]
struct Nominees {
    by_node: BTreeMap<NodeId, Vec<(PodId, ClassId)>>,
}

/// Explains each of these pods as of `now`. The same input always gives the same answers.
///
/// A pod that is bound is judged as if it were pending: what it uses is taken off its node, and the plugin `NodeName`
/// says no everywhere else, also on new nodes. Nodes answer as kube-scheduler does; pods that are nominated to a node
/// keep their room against pods of their own or a lower priority. New nodes are judged as scale-up does, which counts the
/// domains of every node that could be bought for topology spread constraints.
///
/// The cost is that of one check for each class of pods and each node or offering, however many pods share a class. Of
/// the options only [`Options::ignore_timers`] counts, for groups that grow only for pods that have waited.
#[must_use]
pub fn explain_pods(snapshot: &Snapshot, pods: &[PodId], options: &Options, now: Timestamp) -> Explanation {
    let offers = Offers::new(snapshot, now);
    // One pod of each class speaks for all that are neither bound nor nominated; the others speak for themselves.
    let mut speakers = Vec::new();
    let mut by_class: BTreeMap<(ClassId, usize), usize> = BTreeMap::new();
    let mut speaker_of = Vec::with_capacity(pods.len());
    for id in pods {
        let pod = snapshot.pod(*id);
        let since = pod.unschedulable.and_then(|unschedulable| unschedulable.since);
        let waited = offers.waited(since.filter(|_| !options.ignore_timers), now);
        let next = speakers.len();
        let speaker = if pod.bound || pod.has_nomination {
            next
        } else {
            *by_class.entry((pod.class, waited)).or_insert(next)
        };
        if speaker == next {
            speakers.push((*id, waited));
        }
        speaker_of.push(speaker);
    }
    let mut world = World::new(snapshot);
    let of_nodes = node_answers(&mut world, &speakers);
    let of_offers = offer_answers(world, &speakers, &offers);
    let answers: Vec<_> = of_nodes
        .into_iter()
        .zip(of_offers)
        .map(|(nodes, offers)| Arc::new(Answers { nodes, offers }))
        .collect();
    let explanation = |(pod, speaker): (&PodId, usize)| {
        let answers = answers.get(speaker).map(Arc::clone).unwrap_or_default();
        PodExplanation { pod: *pod, answers }
    };
    Explanation {
        now,
        pods: pods.iter().zip(speaker_of).map(explanation).collect(),
    }
}

/// Every pod without `spec.nodeName` that has not ended, by namespace and name.
#[must_use]
pub fn pending_pods(snapshot: &Snapshot) -> Vec<PodId> {
    let pending = |id: &PodId| {
        let pod = snapshot.pod(*id);
        !pod.bound && !pod.is_terminal()
    };
    let mut pods: Vec<_> = snapshot.pod_ids().filter(pending).collect();
    pods.sort_by_cached_key(|id| snapshot.pod_name(*id));
    pods
}

/// The pods with these names (`namespace/name`), in this order, each once.
///
/// # Errors
/// The first name that no pod of the snapshot has.
pub fn find_pods<'n>(snapshot: &Snapshot, names: &[&'n str]) -> Result<Vec<PodId>, &'n str> {
    let mut wanted: BTreeMap<&str, Option<PodId>> = names.iter().map(|name| (*name, None)).collect();
    for id in snapshot.pod_ids() {
        if let Some(found) = wanted.get_mut(snapshot.pod_name(id).as_str()) {
            *found = Some(id);
        }
    }
    let mut seen = BTreeSet::new();
    let distinct = names.iter().filter(|name| seen.insert(**name));
    distinct
        .map(|name| wanted.get(name).copied().flatten().ok_or(*name))
        .collect()
}

/// For each pod the answers of all nodes, by name.
fn node_answers(world: &mut World<'_>, pods: &[(PodId, usize)]) -> Vec<Vec<NodeAnswer>> {
    let snapshot = world.snapshot();
    let nominees = Nominees::new(snapshot);
    let mut nodes: Vec<_> = snapshot.node_ids().collect();
    nodes.sort_by_key(|node| snapshot.text(snapshot.node(*node).name));
    let answers = pods.iter().map(|(id, _)| {
        let mark = world.mark();
        take_off_node(world, snapshot.pod(*id));
        let answer = |node: &NodeId| NodeAnswer {
            node: *node,
            misfit: node_misfit(world, &nominees, *id, *node),
        };
        let answers = nodes.iter().map(answer).collect();
        world.rollback(mark);
        answers
    });
    answers.collect()
}

/// For each pod the answers of everything that could be bought, by the name of the group. With a pod comes how many of
/// the waiting times that groups ask for have passed for it.
fn offer_answers(mut world: World<'_>, pods: &[(PodId, usize)], offers: &Offers) -> Vec<Vec<OfferAnswer>> {
    let snapshot = world.snapshot();
    let mut offers: Vec<_> = offers.list.iter().collect();
    offers.sort_by_cached_key(|offer| snapshot.group_name(offer.group));
    let open = offers.iter().filter(|offer| offer.refusal.is_none());
    let open: Vec<_> = open.filter_map(|offer| offer.template.as_deref()).collect();
    world.add_possible_domains(&open);
    let mut answers: Vec<_> = pods.iter().map(|_| Vec::with_capacity(offers.len())).collect();
    for offer in offers {
        let mark = world.mark();
        // Adding a node costs as much as asking for many pods.
        let template = offer.template.as_ref().filter(|_| offer.refusal.is_none());
        let new_node = template.map(|template| (world.add(template), template));
        for ((id, waited), answers) in pods.iter().zip(&mut answers) {
            let pod = snapshot.pod(*id);
            let refusal = match (&offer.refusal, new_node) {
                (Some(refusal), _) => Some(Why::Refused(Arc::clone(refusal))),
                _ if *waited < offer.waits => Some(Why::Refused(Offers::too_young(snapshot, offer.group))),
                (None, Some((bin, template))) => {
                    let misfit = if pod.bound {
                        Some(other_node(snapshot, pod))
                    } else {
                        world.misfit(pod.class, bin)
                    };
                    misfit.map(|misfit| Why::NewNode(misfit, Arc::clone(template)))
                }
                // What is not in the catalogue has a refusal.
                (None, None) => None,
            };
            answers.push(OfferAnswer {
                group: offer.group,
                offering: offer.offering.clone(),
                refusal,
            });
        }
        world.rollback(mark);
    }
    answers
}

/// What a pod holds is not there for the question where it could be. A pod that has ended holds nothing.
fn take_off_node(world: &mut World<'_>, pod: &Pod) {
    if let Some(node) = pod.node.filter(|_| !pod.is_terminal()) {
        world.unplace(pod.class, BinId::from(node));
    }
}

/// Why kube-scheduler would not put a pod, which has been taken off its node, on this node.
fn node_misfit(world: &mut World<'_>, nominees: &Nominees, id: PodId, node: NodeId) -> Option<Misfit> {
    let snapshot = world.snapshot();
    let pod = snapshot.pod(id);
    let bin = BinId::from(node);
    if pod.bound && pod.node != Some(node) {
        // `NodeUnschedulable` is the one plugin that is asked before `NodeName`.
        let first = world.misfit(pod.class, bin);
        return first
            .filter(|misfit| *misfit == Misfit::Unschedulable)
            .or_else(|| Some(other_node(snapshot, pod)));
    }
    let priority = snapshot.class_of(pod).priority;
    let keeps_room =
        |(nominee, class): &&(PodId, ClassId)| *nominee != id && priority <= snapshot.class(*class).priority;
    let keeping: Vec<_> = nominees
        .of(node)
        .iter()
        .filter(keeps_room)
        .map(|(_, class)| *class)
        .collect();
    if !keeping.is_empty() {
        let misfit = world.misfit_beside(pod.class, bin, &keeping);
        if misfit.is_some() {
            return misfit;
        }
        // They may also never come, so the node has to do without them too: an affinity to them counts for nothing.
    }
    let misfit = world.misfit(pod.class, bin);
    // Its node has the devices that a bound pod claims.
    misfit.filter(|misfit| !(pod.bound && matches!(misfit, Misfit::Devices { .. })))
}

/// The answer to a bound pod of every place but its node.
fn other_node(snapshot: &Snapshot, pod: &Pod) -> Misfit {
    Misfit::NodeName {
        bound_to: pod.node.map(|node| snapshot.node(node).name),
    }
}

// === impl Nominees ===

impl Nominees {
    fn new(snapshot: &Snapshot) -> Self {
        let mut by_node: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for id in snapshot.pod_ids() {
            let pod = snapshot.pod(id);
            if let Some(node) = pod.nominated
                && !pod.bound
                && !pod.is_terminal()
                && pod.deletion.is_none()
            {
                by_node.entry(node).or_default().push((id, pod.class));
            }
        }
        Self { by_node }
    }

    fn of(&self, node: NodeId) -> &[(PodId, ClassId)] {
        self.by_node.get(&node).map_or(&[], Vec::as_slice)
    }
}
