//! Constraints of pods that depend on other pods or on volumes: host ports, volumes, topology spread and affinity to
//! pods, with the semantics of kube-scheduler's Filter plugins.
//!
//! `Rules` are part of a snapshot: which numbers there are to keep, and for every class of pods which of them it reads and
//! which it moves. They grow class by class (`compile`). `Counters` are these numbers for one [`World`](crate::world::World). A class that none of
//! this concerns costs one test of a flag. Rules that look at one node alone are in [`fit`].

pub mod affinity;
pub(crate) mod claims;
pub(crate) mod compile;
pub mod ports;
pub(crate) mod read;
pub mod spread;
mod start;
pub(crate) mod storage;
pub mod volumes;

use std::{cmp::Reverse, collections::BTreeMap, sync::Arc};

use crate::{
    fit::{self, Misfit, NodeView},
    selector::{Labels, NodeSelector},
    snapshot::{ClassId, Snapshot},
    symbol::{Symbol, Symbols},
    taint::{self, Toleration},
    template::Template,
};

use self::{
    affinity::Tally,
    spread::SpreadCounter,
    volumes::{VolumeNeeds, ZoneKeys},
};

/// What has to be counted, and for whom. Part of a snapshot.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rules {
    /// Topology keys that some constraint names.
    topologies: Vec<Topology>,
    /// The topology of every tally of pods for affinity.
    tallies: Vec<usize>,
    spreads: Vec<SpreadRule>,
    classes: Vec<ClassRules>,
    pub(crate) zone_keys: ZoneKeys,
}

/// One topology key with the domains of the nodes of the snapshot.
#[derive(Clone, Debug, Default)]
struct Topology {
    key: Symbol,
    /// The place of the key among all of them, by name.
    rank: usize,
    /// Whether every node is a domain of its own.
    per_host: bool,
    domains: BTreeMap<Symbol, u32>,
    of_node: Vec<Option<u32>>,
}

/// One spread constraint of the pods of one or more classes.
#[derive(Clone, Debug)]
struct SpreadRule {
    topology: usize,
    /// Keys that a node must have to be counted: those of all constraints of the pod.
    keys: Box<[Symbol]>,
    /// Node selector and required node affinity, when nodes that they exclude are left out.
    affinity: Option<(Labels, Option<NodeSelector>)>,
    /// Tolerations, when nodes with taints that they do not tolerate are left out.
    tolerations: Option<Box<[Toleration]>>,
    /// Whether nodes that are about to go are counted, which have the taint of a cordon.
    sees_ghosts: bool,
    /// Whether each node of the snapshot is counted.
    nodes: Vec<bool>,
}

/// What one class reads and moves.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ClassRules {
    /// Whether any of the fields below says anything.
    concerned: bool,
    /// Tallies that a pod is counted in.
    tallies: Vec<u32>,
    /// Spread rules that a pod is counted in.
    spreads: Vec<u32>,
    /// The class's own spread constraints, in the order of the pod.
    spread: Box<[SpreadCheck]>,
    /// Pods that all affinity terms mean, by term.
    affinity: Box<[u32]>,
    /// Whether all affinity terms mean the pod itself, so that it may be the first.
    first_may_come: bool,
    /// Pods that an anti-affinity term means, by term.
    anti_affinity: Box<[u32]>,
    /// Pods that have an anti-affinity term that means this one, by term, in no order that means anything.
    repelled_by: Vec<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct SpreadCheck {
    rule: u32,
    max_skew: i32,
    min_domains: i32,
    /// 1 when the constraint counts the pod itself.
    own: u32,
}

/// Whether a node is still one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum BinState {
    /// It takes pods.
    #[default]
    Open,
    /// It is about to go and takes no pods, but is still there to see.
    Ghost,
    /// It is not there.
    Gone,
}

/// The numbers for one world.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counters {
    bins: Vec<BinEntry>,
    /// By topology: domains that no node of the snapshot has; `None` for a host of its own.
    more_domains: Vec<Vec<Option<Symbol>>>,
    /// Shared between worlds until one of them counts something else.
    tallies: Vec<Arc<Tally>>,
    /// Shared likewise.
    spreads: Vec<Arc<SpreadCounter>>,
    /// Domains that count although no node need be in them yet.
    possible: Possible,
    /// How many pods use each claim with access mode `ReadWriteOncePod`.
    pub(crate) exclusive: Vec<u32>,
}

/// Domains in which a node could be added, for each spread constraint of the pods that could use the node.
#[derive(Clone, Debug, Default)]
pub(crate) struct Possible {
    /// By class: the place of the constraint in the pod, and the domain.
    of_class: Vec<Vec<(u32, u32)>>,
    /// In the order in which they were added.
    classes: Vec<ClassId>,
}

#[derive(Clone, Debug, Default)]
struct BinEntry {
    template: Option<Arc<Template>>,
    state: BinState,
    /// By topology; empty for a node of the snapshot, whose domains the rules know.
    domains: Box<[Option<u32>]>,
}

/// Pods that are not on a node yet, and for which room is kept on it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Beside<'a>(pub(crate) &'a [ClassId]);

// === impl Rules ===

impl Rules {
    /// What a class reads and moves, if anything. Classes with equal answers are alike to all that is counted here.
    pub(crate) fn class(&self, class: ClassId) -> Option<&ClassRules> {
        self.classes.get(class.index()).filter(|rules| rules.concerned)
    }

    /// The tally by which pods of this class keep each other from sharing a node, if there is one.
    pub(crate) fn exclusive(&self, class: ClassId) -> Option<u32> {
        let rules = self.class(class)?;
        let per_host = |tally: u32| {
            let topology = self.tallies.get(tally as usize);
            topology.is_some_and(|topology| self.topologies.get(*topology).is_some_and(|key| key.per_host))
        };
        let mut own = rules.anti_affinity.iter().copied();
        own.find(|tally| rules.tallies.contains(tally) && per_host(*tally))
    }

    /// Whether pods of this class have an affinity to their own kind by host, so that all of them must share one.
    pub(crate) fn shares_host(&self, class: ClassId) -> bool {
        let per_host = |tally: &u32| {
            let topology = self.tallies.get(*tally as usize);
            topology.is_some_and(|topology| self.topologies.get(*topology).is_some_and(|key| key.per_host))
        };
        self.class(class)
            .is_some_and(|rules| rules.first_may_come && rules.affinity.iter().any(per_host))
    }

    /// Whether a pod of this class is to be spread over domains that are not hosts.
    pub(crate) fn spreads_over_domains(&self, class: ClassId) -> bool {
        self.class(class).is_some_and(|rules| {
            rules.spread.iter().any(|check| {
                let topology = self.spreads.get(check.rule as usize).map(|rule| rule.topology);
                let per_host = |topology: usize| self.topologies.get(topology).is_some_and(|key| key.per_host);
                topology.is_some_and(|topology| !per_host(topology))
            })
        })
    }

    /// Whether a pod of this class is to be spread, or `None` when no spread constraint counts it either.
    pub(crate) fn spread_of(&self, class: ClassId) -> Option<bool> {
        let rules = self.class(class)?;
        let is_spread = !rules.spread.is_empty();
        (is_spread || !rules.spreads.is_empty()).then_some(is_spread)
    }

    /// Whether anything here concerns pods of this class beyond their ports and volumes.
    pub(crate) fn concern(&self, class: ClassId) -> bool {
        self.class(class).is_some()
    }

    /// Whether a node that has no room for a pod of this class can get room by a pod that is placed elsewhere.
    pub(crate) fn may_regain_room(&self, class: ClassId) -> bool {
        self.class(class)
            .is_some_and(|rules| !rules.spread.is_empty() || !rules.affinity.is_empty())
    }

    /// The spread rules that count a node that looks so.
    pub(crate) fn counting(&self, snapshot: &Snapshot, view: &NodeView<'_>) -> Box<[u32]> {
        let counts = |rule: &SpreadRule| rule.counts(&snapshot.symbols, view);
        (0..)
            .zip(&self.spreads)
            .filter(|(_, rule)| counts(rule))
            .map(|(index, _)| index)
            .collect()
    }
}

impl SpreadRule {
    /// Whether the constraint looks at this node.
    fn counts(&self, symbols: &Symbols, node: &NodeView<'_>) -> bool {
        let selects = |(selector, affinity): &(Labels, Option<NodeSelector>)| {
            let matches = |affinity: &NodeSelector| affinity.matches(node.name, node.labels, symbols);
            node.labels.contains_all(selector) && affinity.as_ref().is_none_or(matches)
        };
        let tolerates = |tolerations: &[Toleration]| taint::first_untolerated(node.taints, tolerations).is_none();
        self.keys.iter().all(|key| node.labels.get(*key).is_some())
            && self.affinity.as_ref().is_none_or(selects)
            && self.tolerations.as_deref().is_none_or(tolerates)
    }
}

// === impl Counters ===

impl Counters {
    /// Adds a node that does not exist. With `host`, it is that node for rules that tell hosts apart.
    pub(crate) fn add_bin(&mut self, rules: &Rules, template: &Arc<Template>, host: Option<usize>) {
        let domains = (0..rules.topologies.len()).map(|index| self.domain_of_new(rules, index, template, host));
        let domains = domains.collect();
        self.bins.push(BinEntry {
            template: Some(Arc::clone(template)),
            state: BinState::Open,
            domains,
        });
        self.count_node(rules, self.bins.len() - 1, true);
    }

    /// Takes the node away that was added last.
    pub(crate) fn pop_bin(&mut self, rules: &Rules) {
        let Some(last) = self.bins.len().checked_sub(1) else {
            return;
        };
        self.count_node(rules, last, false);
        let Some(bin) = self.bins.pop() else { return };
        for ((topology, more), domain) in rules.topologies.iter().zip(&mut self.more_domains).zip(bin.domains) {
            let newest = topology.domains.len() + more.len();
            let own = more.last() == Some(&None) && domain.is_some_and(|domain| domain as usize + 1 == newest);
            if topology.per_host && own {
                more.pop();
            }
        }
    }

    pub(crate) fn state(&self, bin: usize) -> BinState {
        self.bins.get(bin).map_or(BinState::Gone, |bin| bin.state)
    }

    /// Changes what a node is, and gives what it was.
    pub(crate) fn set_state(&mut self, rules: &Rules, bin: usize, state: BinState) -> BinState {
        let before = self.state(bin);
        self.count_node(rules, bin, false);
        if let Some(bin) = self.bins.get_mut(bin) {
            bin.state = state;
        }
        self.count_node(rules, bin, true);
        before
    }

    /// Counts a pod on a node.
    pub(crate) fn add_pod(&mut self, rules: &Rules, class: ClassId, bin: usize) {
        self.count_pod(rules, class, bin, Tally::add, SpreadCounter::add_pod);
    }

    /// No longer counts a pod on a node.
    pub(crate) fn subtract_pod(&mut self, rules: &Rules, class: ClassId, bin: usize) {
        self.count_pod(rules, class, bin, Tally::subtract, SpreadCounter::subtract_pod);
    }

    /// Counts the use of claims that only one pod may use, or no longer.
    pub(crate) fn count_exclusive(&mut self, needs: &VolumeNeeds, add: bool) {
        for claim in &needs.exclusive {
            if let Some(pods) = self.exclusive.get_mut(claim.index as usize) {
                *pods = if add {
                    pods.saturating_add(1)
                } else {
                    pods.saturating_sub(1)
                };
            }
        }
    }

    /// Counts the domains that nodes like these would be in, for the spread constraints of every class whose pods could
    /// use one of them. A host of its own is left out. Says how many were added.
    pub(crate) fn add_possible_domains(&mut self, snapshot: &Snapshot, templates: &[&Template]) -> usize {
        let rules = &snapshot.rules;
        // Templates in the same domains differ in size alone in most cases: the first that a pod can use decides.
        let mut alike: BTreeMap<Vec<Option<u32>>, Vec<&Template>> = BTreeMap::new();
        for template in templates {
            let domains = (0..rules.topologies.len()).map(|index| {
                let shared = rules.topologies.get(index).is_some_and(|key| !key.per_host);
                shared
                    .then(|| self.domain_of_new(rules, index, template, None))
                    .flatten()
            });
            alike.entry(domains.collect()).or_default().push(template);
        }
        let before = self.possible.classes.len();
        for (id, class) in (0..).map(ClassId).zip(&rules.classes) {
            for (check, rule) in (0..).zip(&class.spread) {
                let Some(rule) = rules.spreads.get(rule.rule as usize) else {
                    continue;
                };
                for (domains, templates) in &alike {
                    let Some(domain) = domains.get(rule.topology).copied().flatten() else {
                        continue;
                    };
                    let mut usable = templates
                        .iter()
                        .map(|template| template.view(&template.daemons))
                        .filter(|view| {
                            let class = snapshot.class(id);
                            rule.counts(&snapshot.symbols, view)
                                && fit::misfit(class, view, &snapshot.well_known, &snapshot.symbols).is_none()
                        });
                    if !self.possible.has(id, check, domain) && usable.next().is_some() {
                        self.possible.add(id, check, domain);
                    }
                }
            }
        }
        self.possible.classes.len() - before
    }

    /// Takes back the domains that were added last.
    pub(crate) fn remove_possible_domains(&mut self, count: usize) {
        for _ in 0..count.min(self.possible.classes.len()) {
            self.possible.remove_last();
        }
    }

    /// Takes all of them out, for [`Self::restore_possible_domains`].
    pub(crate) fn take_possible_domains(&mut self) -> Possible {
        std::mem::take(&mut self.possible)
    }

    pub(crate) fn restore_possible_domains(&mut self, possible: Possible) {
        self.possible = possible;
    }

    /// Why `PodTopologySpread` or `InterPodAffinity` keeps a pod of this class from a node, beside pods for which room is
    /// kept on this node, which no other node hears of.
    pub(crate) fn misfit(
        &self,
        rules: &Rules,
        class: ClassId,
        bin: usize,
        view: &NodeView<'_>,
        beside: Beside<'_>,
    ) -> Option<Misfit> {
        let id = class;
        let class = rules.class(id)?;
        self.spread_misfit(rules, id, class, bin, view, beside)
            .or_else(|| self.affinity_misfit(rules, class, bin, beside))
            .or_else(|| self.repulsion(rules, &class.anti_affinity, bin, view, beside))
            .or_else(|| self.existing_repulsion(rules, &class.repelled_by, bin, view, beside))
    }

    /// Whether a pod of this class counts the same on both nodes, for everything that does not tell hosts apart.
    pub(crate) fn counts_the_same(&self, rules: &Rules, class: ClassId, one: usize, other: usize) -> bool {
        let Some(class) = rules.class(class) else { return true };
        let of_tallies = class
            .tallies
            .iter()
            .chain(&class.affinity)
            .chain(&class.anti_affinity)
            .chain(&class.repelled_by);
        let of_tallies = of_tallies.filter_map(|tally| rules.tallies.get(*tally as usize).copied());
        let spreads = class
            .spreads
            .iter()
            .copied()
            .chain(class.spread.iter().map(|check| check.rule));
        let of_spreads = spreads
            .filter_map(|rule| rules.spreads.get(rule as usize))
            .map(|rule| rule.topology);
        of_tallies.chain(of_spreads).all(|topology| {
            rules.topologies.get(topology).is_some_and(|key| key.per_host)
                || self.domain(rules, topology, one) == self.domain(rules, topology, other)
        })
    }

    /// A spread rule of this class, one over more than hosts if there is one, and the domain of a node for it.
    pub(crate) fn spread_domain(&self, rules: &Rules, class: ClassId, bin: usize) -> Option<(u32, u32)> {
        let checks = &rules.class(class)?.spread;
        let per_host = |check: &&SpreadCheck| {
            let topology = rules.spreads.get(check.rule as usize).map(|rule| rule.topology);
            topology.is_some_and(|topology| rules.topologies.get(topology).is_some_and(|key| key.per_host))
        };
        let rule = checks.iter().find(|check| !per_host(check)).or(checks.first())?.rule;
        let topology = rules.spreads.get(rule as usize)?.topology;
        Some((rule, self.domain(rules, topology, bin)?))
    }

    /// Whether a pod of this class would go to a domain with the fewest pods, for every spread rule that counts it.
    pub(crate) fn is_even(&self, rules: &Rules, class: ClassId, bin: usize) -> bool {
        let Some(class) = rules.class(class) else { return true };
        class.spreads.iter().all(|index| {
            let is_least = |rule: &SpreadRule| {
                let domain = self.domain(rules, rule.topology, bin);
                let counter = self.spreads.get(*index as usize);
                counter.zip(domain).is_none_or(|(counter, domain)| {
                    counter.pods(domain) <= counter.minimum(0, std::iter::empty(), (domain, 0))
                })
            };
            let rule = rules.spreads.get(*index as usize);
            rule.is_none_or(|rule| !self.is_counted(rule, *index, bin) || is_least(rule))
        })
    }

    /// Whether `InterPodAffinity` looks at where pods are for this class: it has a term, or a term of a pod that is there
    /// means it.
    pub(crate) fn looks_at_pods(&self, rules: &Rules, class: ClassId) -> bool {
        let is_there = |tally: &u32| self.tallies.get(*tally as usize).is_some_and(|tally| 0 < tally.total());
        rules.class(class).is_some_and(|class| {
            !class.affinity.is_empty() || !class.anti_affinity.is_empty() || class.repelled_by.iter().any(is_there)
        })
    }

    fn spread_misfit(
        &self,
        rules: &Rules,
        id: ClassId,
        class: &ClassRules,
        bin: usize,
        view: &NodeView<'_>,
        beside: Beside<'_>,
    ) -> Option<Misfit> {
        let possible = self.possible.of(id);
        (0..).zip(&class.spread).find_map(|(index, check)| {
            let topology = rules.spreads.get(check.rule as usize)?.topology;
            let key = rules.topologies.get(topology)?.key;
            let Some(domain) = self.domain(rules, topology, bin) else {
                return Some(Misfit::SpreadKeyMissing { key });
            };
            let counter = self.spreads.get(check.rule as usize)?;
            let possible = possible.iter().filter(|of| of.0 == index).map(|of| of.1);
            let kept = beside.spread(rules, check.rule, |rule| self.is_counted(rule, check.rule, bin));
            let pods = counter.pods(domain).saturating_add(kept);
            let minimum = counter.minimum(check.min_domains, possible, (domain, kept));
            let skew = i64::from(pods) + i64::from(check.own) - i64::from(minimum);
            (i64::from(check.max_skew) < skew).then(|| Misfit::Spread {
                key,
                domain: view.labels.get(key).unwrap_or_default(),
                max_skew: check.max_skew,
                skew,
                pods,
                minimum,
            })
        })
    }

    fn affinity_misfit(&self, rules: &Rules, class: &ClassRules, bin: usize, beside: Beside<'_>) -> Option<Misfit> {
        let mut unmet = None;
        let mut first = class.first_may_come;
        for index in class.affinity.iter().copied() {
            let (Some(tally), Some(topology)) = (self.tallies.get(index as usize), rules.tallies.get(index as usize))
            else {
                continue;
            };
            let key = rules
                .topologies
                .get(*topology)
                .map(|topology| topology.key)
                .unwrap_or_default();
            let Some(domain) = self.domain(rules, *topology, bin) else {
                return Some(Misfit::PodAffinityKeyMissing { key });
            };
            let kept = beside.tally(rules, index);
            if tally.count(domain) == 0 && kept == 0 && unmet.is_none() {
                unmet = Some(Misfit::PodAffinity { key });
            }
            first &= tally.total() == 0 && kept == 0;
        }
        unmet.filter(|_| !first)
    }

    /// The first of the pod's own anti-affinity terms that keeps it away.
    fn repulsion(
        &self,
        rules: &Rules,
        tallies: &[u32],
        bin: usize,
        view: &NodeView<'_>,
        beside: Beside<'_>,
    ) -> Option<Misfit> {
        let mut tallies = tallies.iter();
        let (topology, pods) = tallies.find_map(|tally| self.repelling(rules, *tally, bin, beside))?;
        let key = topology.key;
        let domain = view.labels.get(key).unwrap_or_default();
        Some(Misfit::PodAntiAffinity { key, domain, pods })
    }

    /// The terms of existing pods have no order of their own: of several that keep the pod away the one counts whose
    /// topology key is the first by name, then the one of the most pods.
    fn existing_repulsion(
        &self,
        rules: &Rules,
        tallies: &[u32],
        bin: usize,
        view: &NodeView<'_>,
        beside: Beside<'_>,
    ) -> Option<Misfit> {
        let tallies = tallies.iter();
        let repelling = tallies.filter_map(|tally| self.repelling(rules, *tally, bin, beside));
        let (topology, pods) = repelling.min_by_key(|(topology, pods)| (topology.rank, Reverse(*pods)))?;
        let key = topology.key;
        let domain = view.labels.get(key).unwrap_or_default();
        Some(Misfit::ExistingAntiAffinity { key, domain, pods })
    }

    /// The topology of a tally with the pods that it counts in the domain of a node, when there are any.
    fn repelling<'r>(
        &self,
        rules: &'r Rules,
        tally: u32,
        bin: usize,
        beside: Beside<'_>,
    ) -> Option<(&'r Topology, u32)> {
        let topology = *rules.tallies.get(tally as usize)?;
        let domain = self.domain(rules, topology, bin)?;
        let pods = self.tallies.get(tally as usize)?.count(domain);
        let pods = pods.saturating_add(beside.tally(rules, tally));
        let topology = rules.topologies.get(topology)?;
        (0 < pods).then_some((topology, pods))
    }

    fn domain(&self, rules: &Rules, topology: usize, bin: usize) -> Option<u32> {
        let entry = self.bins.get(bin)?;
        match entry.template {
            Some(_) => entry.domains.get(topology).copied()?,
            None => rules.topologies.get(topology)?.of_node.get(bin).copied()?,
        }
    }

    fn domain_of_new(&mut self, rules: &Rules, index: usize, template: &Template, host: Option<usize>) -> Option<u32> {
        let topology = rules.topologies.get(index)?;
        if let Some(known) = host
            .filter(|_| topology.per_host)
            .and_then(|host| topology.of_node.get(host).copied()?)
        {
            return Some(known);
        }
        let value = template.labels.get(topology.key)?;
        if let (Some(known), false) = (topology.domains.get(&value), topology.per_host) {
            return Some(*known);
        }
        let more = self.more_domains.get_mut(index)?;
        let value = (!topology.per_host).then_some(value);
        let position = more
            .iter()
            .position(|known| value.is_some() && *known == value)
            .unwrap_or_else(|| {
                more.push(value);
                more.len() - 1
            });
        u32::try_from(topology.domains.len() + position).ok()
    }

    /// Counts a node, or no longer, for the spread rules that look at it as it is now.
    pub(crate) fn count_node(&mut self, rules: &Rules, bin: usize, add: bool) {
        let template = self.bins.get(bin).and_then(|entry| entry.template.clone());
        match template {
            Some(template) => {
                for rule in template.counted_by.iter().copied() {
                    self.count_node_for(rules, rule, bin, add);
                }
            }
            None => {
                for (rule, _) in (0..).zip(&rules.spreads) {
                    self.count_node_for(rules, rule, bin, add);
                }
            }
        }
    }

    fn count_node_for(&mut self, rules: &Rules, index: u32, bin: usize, add: bool) {
        let Some(rule) = rules
            .spreads
            .get(index as usize)
            .filter(|rule| self.is_counted(rule, index, bin))
        else {
            return;
        };
        let domain = self.domain(rules, rule.topology, bin);
        match (self.spreads.get_mut(index as usize), domain) {
            (Some(counter), Some(domain)) if add => Arc::make_mut(counter).add_node(domain),
            (Some(counter), Some(domain)) => Arc::make_mut(counter).subtract_node(domain),
            _ => {}
        }
    }

    fn is_counted(&self, rule: &SpreadRule, index: u32, bin: usize) -> bool {
        let Some(entry) = self.bins.get(bin) else { return false };
        let seen = match entry.state {
            BinState::Open => true,
            BinState::Ghost => rule.sees_ghosts,
            BinState::Gone => false,
        };
        seen && match &entry.template {
            Some(template) => template.counted_by.binary_search(&index).is_ok(),
            None => rule.nodes.get(bin).copied().unwrap_or(false),
        }
    }

    fn count_pod(
        &mut self,
        rules: &Rules,
        class: ClassId,
        bin: usize,
        change_tally: impl Fn(&mut Tally, u32),
        change_spread: impl Fn(&mut SpreadCounter, u32),
    ) {
        let Some(class) = rules.class(class) else { return };
        for index in class.tallies.iter().copied() {
            let Some(topology) = rules.tallies.get(index as usize) else {
                continue;
            };
            let domain = self.domain(rules, *topology, bin);
            if let (Some(tally), Some(domain)) = (self.tallies.get_mut(index as usize), domain) {
                change_tally(Arc::make_mut(tally), domain);
            }
        }
        for index in class.spreads.iter().copied() {
            let Some(rule) = rules.spreads.get(index as usize) else {
                continue;
            };
            if !self.is_counted(rule, index, bin) {
                continue;
            }
            let domain = self.domain(rules, rule.topology, bin);
            if let (Some(counter), Some(domain)) = (self.spreads.get_mut(index as usize), domain) {
                change_spread(Arc::make_mut(counter), domain);
            }
        }
    }
}

impl Beside<'_> {
    /// How many of them a tally counts.
    fn tally(self, rules: &Rules, tally: u32) -> u32 {
        self.count(rules, |class| class.tallies.contains(&tally))
    }

    /// How many of them a spread rule counts, if it looks at their node.
    fn spread(self, rules: &Rules, index: u32, looks: impl FnOnce(&SpreadRule) -> bool) -> u32 {
        let count = self.count(rules, |class| class.spreads.contains(&index));
        let rule = rules.spreads.get(index as usize);
        if count != 0 && rule.is_some_and(looks) {
            count
        } else {
            0
        }
    }

    fn count(self, rules: &Rules, is_counted: impl Fn(&ClassRules) -> bool) -> u32 {
        let classes = self.0.iter().filter_map(|class| rules.class(*class));
        let count = classes.filter(|class| is_counted(class)).count();
        u32::try_from(count).unwrap_or(u32::MAX)
    }
}

impl Possible {
    fn of(&self, class: ClassId) -> &[(u32, u32)] {
        self.of_class.get(class.index()).map_or(&[], Vec::as_slice)
    }

    fn has(&self, class: ClassId, check: u32, domain: u32) -> bool {
        self.of(class).contains(&(check, domain))
    }

    fn add(&mut self, class: ClassId, check: u32, domain: u32) {
        if self.of_class.len() <= class.index() {
            self.of_class.resize(class.index() + 1, Vec::new());
        }
        if let Some(of_class) = self.of_class.get_mut(class.index()) {
            of_class.push((check, domain));
            self.classes.push(class);
        }
    }

    fn remove_last(&mut self) {
        if let Some(of_class) = self
            .classes
            .pop()
            .and_then(|class| self.of_class.get_mut(class.index()))
        {
            of_class.pop();
        }
    }
}

impl PartialEq for Possible {
    /// Whether the same domains are possible, in whatever order they became so.
    fn eq(&self, other: &Self) -> bool {
        let mut classes: Vec<_> = self.classes.iter().chain(&other.classes).collect();
        classes.sort_unstable();
        classes.dedup();
        classes.into_iter().all(|class| self.of(*class) == other.of(*class))
    }
}

impl PartialEq for Counters {
    /// Whether both have the same numbers.
    fn eq(&self, other: &Self) -> bool {
        self.tallies == other.tallies
            && self.spreads == other.spreads
            && self.possible == other.possible
            && self.exclusive == other.exclusive
    }
}
