//! The pods that ask, by kind: pods of one kind are alike in everything that packing looks at, so that they are counted
//! and not looked at one by one. Requests are rows of numbers here.

use std::{cmp::Reverse, collections::BTreeMap};

use crate::{
    resources::Resources,
    selector::{Labels, NodeSelector},
    snapshot::{ClassId, PodId, Snapshot},
    symbol::Symbol,
    taint::Toleration,
    template::Template,
};

/// A pod by its position among all pods without a node.
pub(super) type Position = u32;

/// Pods that are alike.
#[derive(Clone, Debug)]
pub(super) struct Kind {
    /// One of the classes of the pods; any of them would do.
    pub(super) class: ClassId,
    pub(super) priority: i32,
    /// What they request, by index into [`Kinds::sizes`].
    pub(super) size: usize,
    /// What they ask of a node alone, by index into [`Kinds::looks`].
    pub(super) look: usize,
    /// Whether their place depends on other pods, or other pods' place on them.
    pub(super) tied: bool,
    /// Kinds that the same constraints between pods concern in the same way have the same number.
    pub(super) ties: usize,
    /// Whether no two of them, nor of other kinds with the same number, can share a node.
    pub(super) exclusive: Option<usize>,
    /// Whether all of them must share a node.
    pub(super) together: bool,
    /// The all-or-nothing group.
    pub(super) pod_group: Option<(Symbol, Symbol)>,
    /// The pods that wait, the last one first.
    pub(super) waiting: Vec<Position>,
}

/// The pods that ask for a node.
#[derive(Clone, Debug)]
pub(super) struct Kinds {
    /// In the order in which they are served: priority descending, then larger first.
    pub(super) list: Vec<Kind>,
    pub(super) sizes: Sizes,
    pub(super) looks: Vec<LookOf>,
    /// How many exclusive sets of kinds there are.
    pub(super) exclusives: usize,
    /// How many numbers [`Kind::ties`] has.
    pub(super) ties: usize,
    /// A pod of each class.
    classes: Vec<Position>,
}

/// A pod that asks for a node.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asks {
    pub(super) position: Position,
    pub(super) class: ClassId,
    /// How many of the waiting times that groups ask for have passed for it.
    pub(super) waited: usize,
    pub(super) pod_group: Option<(Symbol, Symbol)>,
}

/// Distinct requests as rows of numbers, one column for each resource that some pod requests.
#[derive(Clone, Debug)]
pub(super) struct Sizes {
    extended: Vec<Symbol>,
    rows: Vec<i64>,
}

/// Pods that may use the same groups and nodes, as far as other pods do not matter.
#[derive(Clone, Copy, Debug)]
pub(super) struct LookOf {
    /// A class of them.
    pub(super) class: ClassId,
    /// How many of the waiting times that groups ask for have passed.
    pub(super) waited: usize,
}

/// Pods of one class, all-or-nothing group and waiting time.
struct Entry {
    class: ClassId,
    waited: usize,
    pod_group: Option<(Symbol, Symbol)>,
    waiting: Vec<Position>,
}

/// What a pod asks of a node alone.
type Look<'s> = (&'s Labels, Option<&'s NodeSelector>, &'s [Toleration], Option<Symbol>);

// === impl Kinds ===

impl Kinds {
    /// Groups the pods that ask.
    #[expect(clippy::indexing_slicing, reason = "ids are those of the snapshot")]
    pub(super) fn new(snapshot: &Snapshot, asking: &[Asks]) -> Self {
        // Classes first: there are far fewer of them than pods.
        const NONE: u32 = u32::MAX;
        let mut plain: Vec<u32> = vec![NONE; snapshot.classes.len()];
        let mut special: BTreeMap<_, usize> = BTreeMap::new();
        let mut entries: Vec<Entry> = Vec::new();
        for asks in asking {
            let Asks {
                position,
                class,
                waited,
                pod_group,
            } = *asks;
            let next = entries.len();
            let slot = if pod_group.is_none() && waited == 0 {
                let slot = &mut plain[class.index()];
                if *slot == NONE {
                    *slot = super::packing::narrow(next);
                }
                *slot as usize
            } else {
                *special.entry((class, waited, pod_group)).or_insert(next)
            };
            if slot == next {
                entries.push(Entry {
                    class,
                    waited,
                    pod_group,
                    waiting: Vec::new(),
                });
            }
            entries[slot].waiting.push(position);
        }
        let mut kinds = Self {
            list: Vec::new(),
            sizes: Sizes::new(snapshot, entries.iter().map(|entry| entry.class)),
            looks: Vec::new(),
            exclusives: 0,
            ties: 1,
            classes: entries
                .iter()
                .filter_map(|entry| entry.waiting.first().copied())
                .collect(),
        };
        kinds.fill(snapshot, entries);
        kinds.order(snapshot);
        kinds
    }

    /// The first pod of each class.
    pub(super) fn one_of_each_class(&self, pending: &[PodId]) -> Vec<PodId> {
        let mut first = self.classes.clone();
        first.sort_unstable();
        let pods = first
            .into_iter()
            .map(|position| pending.get(position as usize).copied());
        pods.flatten().collect()
    }

    fn fill(&mut self, snapshot: &Snapshot, entries: Vec<Entry>) {
        let mut sizes = BTreeMap::new();
        let mut looks: BTreeMap<(Look<'_>, usize), usize> = BTreeMap::new();
        let mut ties = BTreeMap::new();
        let mut exclusives = BTreeMap::new();
        let mut merged = BTreeMap::new();
        for Entry {
            class: id,
            waited,
            pod_group,
            waiting,
        } in entries
        {
            let class = snapshot.class(id);
            let size = *sizes
                .entry(&class.requests)
                .or_insert_with(|| self.sizes.push(&class.requests));
            let look = (
                &class.node_selector,
                class.node_affinity.as_ref(),
                class.tolerations.as_ref(),
                class.devices,
            );
            let look = *looks.entry((look, waited)).or_insert_with(|| {
                self.looks.push(LookOf { class: id, waited });
                self.looks.len() - 1
            });
            let rules = snapshot.rules.class(id);
            let alone = class.ports.is_empty() && class.volumes.is_none();
            let tied = rules.is_some() || !alone;
            let next = ties.len() + 1;
            let tie = match (rules, alone) {
                (None, true) => 0,
                (rules, true) => *ties.entry((rules, None)).or_insert(next),
                // Ports and volumes differ from class to class.
                (rules, false) => *ties.entry((rules, Some(id))).or_insert(next),
            };
            let exclusion = snapshot.rules.exclusive(id).map(Exclusion::Tally).or_else(|| {
                let port = class.ports.first()?;
                Some(Exclusion::Port(port.port, port.protocol))
            });
            let next = exclusives.len();
            let exclusive = exclusion.map(|exclusion| *exclusives.entry(exclusion).or_insert(next));
            let next = self.list.len();
            if !tied && pod_group.is_none() {
                // Labels and namespace tell such pods apart for nobody.
                let known = *merged.entry((class.priority, size, look)).or_insert(next);
                if let Some(kind) = self.list.get_mut(known) {
                    kind.waiting.extend(waiting);
                    continue;
                }
            }
            self.list.push(Kind {
                class: id,
                priority: class.priority,
                size,
                look,
                tied,
                ties: tie,
                exclusive,
                together: snapshot.rules.shares_host(id),
                pod_group,
                waiting,
            });
        }
        self.exclusives = exclusives.len();
        self.ties = ties.len() + 1;
    }

    fn order(&mut self, snapshot: &Snapshot) {
        for kind in &mut self.list {
            kind.waiting.sort_unstable_by_key(|position| Reverse(*position));
        }
        let shares = Shares::new(snapshot, &self.list);
        // Ids do not decide: they depend on what came first.
        self.list.sort_by_cached_key(|kind| {
            (
                Reverse(kind.priority),
                Reverse(shares.of(snapshot, kind.class)),
                kind.waiting.last().copied(),
            )
        });
    }
}

/// What keeps pods of some kinds from sharing a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Exclusion {
    Tally(u32),
    Port(i32, Symbol),
}

/// What a request weighs: its share of the whole demand, so that CPU and memory count alike whatever their units.
struct Shares {
    cpu: i128,
    memory: i128,
    pods: i128,
}

impl Shares {
    const WHOLE: i128 = 1_000_000_000_000;

    fn new(snapshot: &Snapshot, kinds: &[Kind]) -> Self {
        let mut shares = Self {
            cpu: 0,
            memory: 0,
            pods: 0,
        };
        for kind in kinds {
            let requests = &snapshot.class(kind.class).requests;
            let count = i128::try_from(kind.waiting.len()).unwrap_or(i128::MAX);
            shares.cpu = shares
                .cpu
                .saturating_add(i128::from(requests.cpu).saturating_mul(count));
            shares.memory = shares
                .memory
                .saturating_add(i128::from(requests.memory).saturating_mul(count));
            shares.pods = shares.pods.saturating_add(count);
        }
        Self {
            cpu: shares.cpu.max(1),
            memory: shares.memory.max(1),
            pods: shares.pods.max(1),
        }
    }

    fn of(&self, snapshot: &Snapshot, class: ClassId) -> i128 {
        let requests = &snapshot.class(class).requests;
        // The pod slot weighs little, so that it only counts for pods that request nothing else.
        i128::from(requests.cpu).saturating_mul(Self::WHOLE) / self.cpu
            + i128::from(requests.memory).saturating_mul(Self::WHOLE) / self.memory
            + Self::WHOLE / 1000 / self.pods
    }
}

// === impl Sizes ===

impl Sizes {
    fn new(snapshot: &Snapshot, classes: impl Iterator<Item = ClassId>) -> Self {
        let mut extended: Vec<Symbol> = classes
            .flat_map(|class| snapshot.class(class).requests.extended_entries())
            .map(|entry| entry.0)
            .collect();
        extended.sort_unstable();
        extended.dedup();
        Self {
            extended,
            rows: Vec::new(),
        }
    }

    /// How many resources there are.
    pub(super) const fn width(&self) -> usize {
        4 + self.extended.len()
    }

    /// How many sizes there are.
    pub(super) fn len(&self) -> usize {
        self.rows.len() / self.width()
    }

    /// What a pod of this size requests.
    pub(super) fn of(&self, size: usize) -> &[i64] {
        self.rows
            .get(size * self.width()..(size + 1) * self.width())
            .unwrap_or(&[])
    }

    /// Amounts in the order of the columns.
    pub(super) fn columns<'a>(&'a self, resources: &'a Resources) -> impl Iterator<Item = i64> + 'a {
        let fixed = [
            resources.cpu,
            resources.memory,
            resources.pods,
            resources.ephemeral_storage,
        ];
        fixed
            .into_iter()
            .chain(self.extended.iter().map(|symbol| resources.extended(*symbol)))
    }

    /// What a new node has free, the pods of its DaemonSets counted.
    pub(super) fn free_of(&self, template: &Template) -> Vec<i64> {
        let all = self.columns(&template.allocatable);
        let free = all.zip(self.columns(&template.daemons));
        free.map(|(all, daemons)| all.saturating_sub(daemons)).collect()
    }

    fn push(&mut self, requests: &Resources) -> usize {
        let row: Vec<i64> = self.columns(requests).collect();
        self.rows.extend(row);
        self.len() - 1
    }
}

/// Whether a request fits into what is free. What is not requested does not matter, even on an overcommitted node.
pub(super) fn fits(request: &[i64], free: &[i64]) -> bool {
    request
        .iter()
        .zip(free)
        .all(|(request, free)| *request == 0 || request <= free)
}

/// How often a request fits into what is free.
pub(super) fn times(request: &[i64], free: &[i64]) -> usize {
    let times = request
        .iter()
        .zip(free)
        .filter(|(request, _)| 0 < **request)
        .map(|(request, free)| usize::try_from(free / request).unwrap_or(0))
        .min();
    times.unwrap_or(usize::MAX)
}
