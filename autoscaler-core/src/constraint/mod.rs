//! Constraints of pods that depend on other pods or on volumes: host ports, volumes, topology spread and affinity to
//! pods, with the semantics of kube-scheduler's Filter plugins.
//!
//! `Rules` are made once for a snapshot: which numbers there are to keep, and for every class of pods which of them it
//! reads and which it moves. `Counters` are these numbers for one [`World`](crate::world::World). A class that none of
//! this concerns costs one test of a flag. Rules that look at one node alone are in [`fit`].

pub mod affinity;
pub(crate) mod claims;
mod compile;
pub mod ports;
pub(crate) mod read;
pub mod spread;
pub mod volumes;

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    fit::{self, Misfit, NodeView},
    snapshot::{ClassId, PodClass, Snapshot},
    symbol::{Symbol, Symbols},
    taint,
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
    /// How many claims have access mode `ReadWriteOncePod`.
    exclusive_claims: usize,
    pub(crate) zone_keys: ZoneKeys,
}

/// One topology key with the domains of the nodes of the snapshot.
#[derive(Clone, Debug, Default)]
struct Topology {
    key: Symbol,
    /// Whether every node is a domain of its own.
    per_host: bool,
    domains: BTreeMap<Symbol, u32>,
    of_node: Vec<Option<u32>>,
}

/// One spread constraint of the pods of one or more classes.
#[derive(Clone, Debug)]
struct SpreadRule {
    topology: usize,
    /// A class that has it. All that have it look alike to the rules for one node.
    class: ClassId,
    /// Keys that a node must have to be counted: those of all constraints of the pod.
    keys: Box<[Symbol]>,
    honor_affinity: bool,
    honor_taints: bool,
    /// Whether each node of the snapshot is counted.
    nodes: Vec<bool>,
}

/// What one class reads and moves.
#[derive(Clone, Debug, Default)]
struct ClassRules {
    /// Whether any of the fields below says anything.
    concerned: bool,
    /// Tallies that a pod is counted in.
    tallies: Box<[u32]>,
    /// Spread rules that a pod is counted in.
    spreads: Box<[u32]>,
    /// The class's own spread constraints, in the order of the pod.
    spread: Box<[SpreadCheck]>,
    /// Pods that all affinity terms mean, by term.
    affinity: Box<[u32]>,
    /// Whether all affinity terms mean the pod itself, so that it may be the first.
    first_may_come: bool,
    /// Pods that an anti-affinity term means, by term.
    anti_affinity: Box<[u32]>,
    /// Pods that have an anti-affinity term that means this one, by term.
    repelled_by: Box<[u32]>,
}

#[derive(Clone, Copy, Debug)]
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
#[derive(Clone, Debug)]
pub(crate) struct Counters {
    bins: Vec<BinEntry>,
    /// By topology: domains that no node of the snapshot has; `None` for a host of its own.
    more_domains: Vec<Vec<Option<Symbol>>>,
    tallies: Vec<Tally>,
    spreads: Vec<SpreadCounter>,
    /// How many pods use each claim with access mode `ReadWriteOncePod`.
    pub(crate) exclusive: Vec<u32>,
}

#[derive(Clone, Debug)]
struct BinEntry {
    template: Option<Arc<Template>>,
    state: BinState,
    /// By topology; empty for a node of the snapshot, whose domains the rules know.
    domains: Box<[Option<u32>]>,
}

// === impl Rules ===

impl Rules {
    fn class(&self, class: ClassId) -> Option<&ClassRules> {
        self.classes.get(class.index()).filter(|rules| rules.concerned)
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
        let counts = |rule: &SpreadRule| rule.counts(snapshot, view);
        (0..)
            .zip(&self.spreads)
            .filter(|(_, rule)| counts(rule))
            .map(|(index, _)| index)
            .collect()
    }

    /// The spread rules whose pods may use an empty node that looks so.
    pub(crate) fn usable_by(&self, snapshot: &Snapshot, view: &NodeView<'_>) -> Box<[u32]> {
        let usable = |rule: &SpreadRule| {
            let class = snapshot.class(rule.class);
            rule.counts(snapshot, view) && fit::misfit(class, view, &snapshot.well_known, &snapshot.symbols).is_none()
        };
        (0..)
            .zip(&self.spreads)
            .filter(|(_, rule)| usable(rule))
            .map(|(index, _)| index)
            .collect()
    }
}

impl SpreadRule {
    /// Whether the constraint looks at this node.
    fn counts(&self, snapshot: &Snapshot, node: &NodeView<'_>) -> bool {
        let class = snapshot.class(self.class);
        self.keys.iter().all(|key| node.labels.get(*key).is_some())
            && (!self.honor_affinity || selects_node(class, node, &snapshot.symbols))
            && (!self.honor_taints || taint::first_untolerated(node.taints, &class.tolerations).is_none())
    }
}

fn selects_node(class: &PodClass, node: &NodeView<'_>, symbols: &Symbols) -> bool {
    let affinity = class.node_affinity.as_ref();
    node.labels.contains_all(&class.node_selector)
        && affinity.is_none_or(|affinity| affinity.matches(node.name, node.labels, symbols))
}

// === impl Counters ===

impl Counters {
    /// The nodes of the snapshot without any pods.
    pub(crate) fn new(snapshot: &Snapshot) -> Self {
        let rules = &snapshot.rules;
        let bin = BinEntry {
            template: None,
            state: BinState::Open,
            domains: Box::default(),
        };
        let mut counters = Self {
            bins: vec![bin; snapshot.nodes.len()],
            more_domains: vec![Vec::new(); rules.topologies.len()],
            tallies: vec![Tally::default(); rules.tallies.len()],
            spreads: vec![SpreadCounter::default(); rules.spreads.len()],
            exclusive: vec![0; rules.exclusive_claims],
        };
        for (counter, rule) in counters.spreads.iter_mut().zip(&rules.spreads) {
            let Some(topology) = rules.topologies.get(rule.topology) else {
                continue;
            };
            for (domain, counts) in topology.of_node.iter().zip(&rule.nodes) {
                if let (Some(domain), true) = (domain, counts) {
                    counter.add_node(*domain);
                }
            }
        }
        counters
    }

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

    /// The domains that a node like this would be in, for each spread rule whose pods may use it: rule and domain.
    /// A host of its own is left out.
    pub(crate) fn possible_domains(&mut self, rules: &Rules, template: &Template) -> Vec<(u32, u32)> {
        let mut domains = Vec::new();
        for rule in template.usable_by.iter().copied() {
            let topology = rules.spreads.get(rule as usize).map(|rule| rule.topology);
            if let Some(topology) =
                topology.filter(|index| rules.topologies.get(*index).is_some_and(|key| !key.per_host))
                && let Some(domain) = self.domain_of_new(rules, topology, template, None)
            {
                domains.push((rule, domain));
            }
        }
        domains
    }

    /// Counts a domain as one that has a node.
    pub(crate) fn add_domain(&mut self, rule: u32, domain: u32) {
        if let Some(counter) = self.spreads.get_mut(rule as usize) {
            counter.add_node(domain);
        }
    }

    /// Takes [`Self::add_domain`] back.
    pub(crate) fn subtract_domain(&mut self, rule: u32, domain: u32) {
        if let Some(counter) = self.spreads.get_mut(rule as usize) {
            counter.subtract_node(domain);
        }
    }

    /// Why `PodTopologySpread` or `InterPodAffinity` keeps a pod of this class from a node.
    pub(crate) fn misfit(&self, rules: &Rules, class: ClassId, bin: usize, view: &NodeView<'_>) -> Option<Misfit> {
        let class = rules.class(class)?;
        self.spread_misfit(rules, class, bin, view)
            .or_else(|| self.affinity_misfit(rules, class, bin))
            .or_else(|| self.repulsion(rules, &class.anti_affinity, bin, view, true))
            .or_else(|| self.repulsion(rules, &class.repelled_by, bin, view, false))
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

    fn spread_misfit(&self, rules: &Rules, class: &ClassRules, bin: usize, view: &NodeView<'_>) -> Option<Misfit> {
        class.spread.iter().find_map(|check| {
            let topology = rules.spreads.get(check.rule as usize)?.topology;
            let key = rules.topologies.get(topology)?.key;
            let Some(domain) = self.domain(rules, topology, bin) else {
                return Some(Misfit::SpreadKeyMissing { key });
            };
            let counter = self.spreads.get(check.rule as usize)?;
            let (pods, minimum) = (counter.pods(domain), counter.minimum(check.min_domains));
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

    fn affinity_misfit(&self, rules: &Rules, class: &ClassRules, bin: usize) -> Option<Misfit> {
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
            if tally.count(domain) == 0 && unmet.is_none() {
                unmet = Some(Misfit::PodAffinity { key });
            }
            first &= tally.total() == 0;
        }
        unmet.filter(|_| !first)
    }

    fn repulsion(&self, rules: &Rules, tallies: &[u32], bin: usize, view: &NodeView<'_>, own: bool) -> Option<Misfit> {
        tallies.iter().find_map(|index| {
            let topology = *rules.tallies.get(*index as usize)?;
            let domain = self.domain(rules, topology, bin)?;
            let pods = self.tallies.get(*index as usize)?.count(domain);
            let key = rules.topologies.get(topology)?.key;
            let domain = view.labels.get(key).unwrap_or_default();
            (0 < pods).then_some(if own {
                Misfit::PodAntiAffinity { key, domain, pods }
            } else {
                Misfit::ExistingAntiAffinity { key, domain, pods }
            })
        })
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
    fn count_node(&mut self, rules: &Rules, bin: usize, add: bool) {
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
            (Some(counter), Some(domain)) if add => counter.add_node(domain),
            (Some(counter), Some(domain)) => counter.subtract_node(domain),
            _ => {}
        }
    }

    fn is_counted(&self, rule: &SpreadRule, index: u32, bin: usize) -> bool {
        let Some(entry) = self.bins.get(bin) else { return false };
        let seen = match entry.state {
            BinState::Open => true,
            // The taint of a node that is about to go is tolerated by nobody.
            BinState::Ghost => !rule.honor_taints,
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
                change_tally(tally, domain);
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
                change_spread(counter, domain);
            }
        }
    }
}

impl PartialEq for Counters {
    /// Whether both have the same numbers.
    fn eq(&self, other: &Self) -> bool {
        self.tallies == other.tallies && self.spreads == other.spreads && self.exclusive == other.exclusive
    }
}
