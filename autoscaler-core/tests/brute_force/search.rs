//! Exhaustive search over a [`Model`], by branch and bound: the best that can be done at all, and whether a given
//! assignment can be carried out.
//!
//! Pods whose place depends on the order of binding are tried in every order, each state once. The rest go one class
//! after the other, and of solutions that only differ by the names of equal pods or equal nodes one is tried.

use std::collections::BTreeSet;

use crate::model::{Domains, Host, Model, requests};

/// The best that can be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Optimum {
    /// How many pods are placed, by priority, highest first.
    pub(crate) placed: Vec<usize>,
    /// Whether these are all.
    pub(crate) complete: bool,
    /// The least that new nodes cost for it.
    pub(crate) price: i64,
    /// The template of every node that is new, and how many pods of each class are on it, those that were there included.
    pub(crate) nodes: Vec<(Option<usize>, Vec<usize>)>,
}

/// The most pods, those of high priority first, and the least price for them; `None` when that takes too many steps.
pub(crate) fn optimum(model: &Model, most_steps: u64) -> Option<Optimum> {
    let mut search = Search::new(model, most_steps);
    search.bind_tangled();
    search.best.filter(|_| search.steps < most_steps)
}

/// So many steps at most are made to find an order of binding for one solution.
const LEAF_STEPS: u64 = 20_000;

/// How many pods of each class go to each node: those of the model, then new ones.
pub(crate) type Assignment = Vec<Vec<usize>>;

/// Whether the pods can be bound as assigned, in some order, once all new nodes are there; `None` when that takes too many
/// steps to say.
pub(crate) fn can_be_bound(
    model: &Model,
    new_hosts: &[Host],
    assignment: &Assignment,
    most_steps: u64,
) -> Option<bool> {
    let classes = 0..model.classes.len();
    let mut binding = Binding {
        model,
        tangled: classes.map(|class| model.depends_on_order(class)).collect(),
        hosts: model.hosts.iter().chain(new_hosts).cloned().collect(),
        left: assignment.clone(),
        visited: BTreeSet::new(),
        last: 0,
        steps: 0,
        most_steps,
    };
    let done = binding.bind();
    (done || binding.steps < most_steps).then_some(done)
}

struct Search<'m> {
    model: &'m Model,
    priorities: Vec<i32>,
    hosts: Vec<Host>,
    /// Of every host: what it was made from.
    templates: Vec<Option<usize>>,
    room: Vec<usize>,
    cluster_room: usize,
    price: i64,
    /// Pods that may still be placed.
    remaining: Vec<usize>,
    /// Pods that were given up.
    abandoned: Vec<usize>,
    tangled: Vec<usize>,
    plain: Vec<usize>,
    best: Option<Optimum>,
    visited: BTreeSet<Vec<u8>>,
    steps: u64,
    most_steps: u64,
}

// === impl Search ===

impl<'m> Search<'m> {
    fn new(model: &'m Model, most_steps: u64) -> Self {
        let mut priorities: Vec<i32> = model.classes.iter().map(|class| class.priority).collect();
        priorities.sort_unstable_by(|a, b| b.cmp(a));
        priorities.dedup();
        let remaining: Vec<usize> = model.classes.iter().map(|class| class.pending).collect();
        let (tangled, mut plain): (Vec<usize>, Vec<usize>) = (0..model.classes.len())
            .filter(|class| 0 < remaining[*class])
            .partition(|class| model.depends_on_order(*class));
        plain.sort_by_key(|class| {
            let class = &model.classes[*class];
            let [cpu, memory, _] = requests(class);
            (-class.priority, -(cpu * (4 << 20) + memory), class.app)
        });
        Self {
            model,
            priorities,
            hosts: model.hosts.clone(),
            templates: vec![None; model.hosts.len()],
            room: model.room.clone(),
            cluster_room: model.cluster_room,
            price: 0,
            remaining,
            abandoned: vec![0; model.classes.len()],
            tangled,
            plain,
            best: None,
            visited: BTreeSet::new(),
            steps: 0,
            most_steps,
        }
    }

    /// Binds any of the pods whose order matters, or goes on to the others.
    fn bind_tangled(&mut self) {
        if !self.may_improve() {
            return;
        }
        if !self.tangled.is_empty() && !self.visited.insert(self.state()) {
            return;
        }
        for class in self.tangled.clone() {
            if self.remaining[class] == 0 {
                continue;
            }
            for at in 0..self.hosts.len() {
                if self.is_first_of_its_kind(at, 0) && self.model.fits(&self.hosts, class, at, Domains::Possible) {
                    self.place(class, at);
                    self.bind_tangled();
                    self.unplace(class, at);
                }
            }
            for template in 0..self.model.templates.len() {
                if self.open(template) {
                    let at = self.hosts.len() - 1;
                    if self.model.fits(&self.hosts, class, at, Domains::Possible) {
                        self.place(class, at);
                        self.bind_tangled();
                        self.unplace(class, at);
                    }
                    self.close();
                }
            }
        }
        let given_up: Vec<(usize, usize)> = self
            .tangled
            .iter()
            .map(|class| (*class, self.remaining[*class]))
            .collect();
        for (class, pods) in &given_up {
            self.remaining[*class] -= pods;
            self.abandoned[*class] += pods;
        }
        self.bind_plain(0, 0, 0);
        for (class, pods) in given_up {
            self.remaining[class] += pods;
            self.abandoned[class] -= pods;
        }
    }

    /// Binds the pods of the other classes. Pods of one class go to nodes in their order, new nodes in the order of
    /// their templates.
    fn bind_plain(&mut self, index: usize, first_host: usize, first_template: usize) {
        if !self.may_improve() {
            return;
        }
        let Some(class) = self.plain.get(index).copied() else {
            if !self.can_be_bound() {
                return;
            }
            let nodes = self.templates.iter().zip(&self.hosts).map(|(template, host)| {
                let pods = host.pods.iter().map(|pods| usize::from(*pods)).collect();
                (*template, pods)
            });
            self.best = Some(Optimum {
                placed: self.placed(),
                complete: self.abandoned.iter().all(|pods| *pods == 0),
                price: self.price,
                nodes: nodes.collect(),
            });
            return;
        };
        if self.remaining[class] == 0 {
            self.bind_plain(index + 1, 0, 0);
            return;
        }
        for at in first_host..self.hosts.len() {
            if self.is_first_of_its_kind(at, first_host) && self.model.fits(&self.hosts, class, at, Domains::Possible) {
                self.place(class, at);
                self.bind_plain(index, at, first_template);
                self.unplace(class, at);
            }
        }
        for template in first_template..self.model.templates.len() {
            if self.open(template) {
                let at = self.hosts.len() - 1;
                if self.model.fits(&self.hosts, class, at, Domains::Possible) {
                    self.place(class, at);
                    self.bind_plain(index, at, template);
                    self.unplace(class, at);
                }
                self.close();
            }
        }
        let pods = std::mem::take(&mut self.remaining[class]);
        self.abandoned[class] += pods;
        self.bind_plain(index + 1, 0, 0);
        self.abandoned[class] -= pods;
        self.remaining[class] = pods;
    }

    fn place(&mut self, class: usize, at: usize) {
        self.hosts[at].take(class, &self.model.classes[class]);
        self.remaining[class] -= 1;
    }

    fn unplace(&mut self, class: usize, at: usize) {
        self.hosts[at].give_back(class, &self.model.classes[class]);
        self.remaining[class] += 1;
    }

    /// Adds a new node, if the limits allow it.
    fn open(&mut self, template: usize) -> bool {
        let of = &self.model.templates[template];
        if self.room[of.group].min(self.cluster_room) == 0 {
            return false;
        }
        self.room[of.group] -= 1;
        self.cluster_room -= 1;
        self.price += of.price;
        self.hosts.push(of.host.clone());
        self.templates.push(Some(template));
        true
    }

    fn close(&mut self) {
        self.hosts.pop();
        if let Some(template) = self.templates.pop().flatten() {
            let of = &self.model.templates[template];
            self.room[of.group] += 1;
            self.cluster_room += 1;
            self.price -= of.price;
        }
    }

    /// Whether the pods can be bound when all new nodes are there. Until here these came one by one.
    fn can_be_bound(&mut self) -> bool {
        if self.tangled.is_empty() {
            return true;
        }
        let model = self.model;
        let before = |at: usize| match self.templates[at] {
            Some(template) => &model.templates[template].host,
            None => &model.hosts[at],
        };
        let new_hosts: Vec<Host> = (model.hosts.len()..self.hosts.len())
            .map(|at| before(at).clone())
            .collect();
        let of_host = |(at, host): (usize, &Host)| {
            let pods = host.pods.iter().zip(&before(at).pods);
            pods.map(|(pods, before)| usize::from(pods - before)).collect()
        };
        let assignment: Assignment = self.hosts.iter().enumerate().map(of_host).collect();
        can_be_bound(model, &new_hosts, &assignment, LEAF_STEPS) != Some(false)
    }

    /// Whether no new node before this one looks the same.
    fn is_first_of_its_kind(&self, at: usize, from: usize) -> bool {
        self.templates[at].is_none()
            || (from..at)
                .all(|other| self.templates[other] != self.templates[at] || self.hosts[other] != self.hosts[at])
    }

    /// By priority: pods that are placed.
    fn placed(&self) -> Vec<usize> {
        self.by_priority(|class| self.model.classes[class].pending - self.remaining[class] - self.abandoned[class])
    }

    fn by_priority(&self, pods: impl Fn(usize) -> usize) -> Vec<usize> {
        let count = |priority: &i32| {
            let of_priority =
                (0..self.model.classes.len()).filter(|class| self.model.classes[*class].priority == *priority);
            of_priority.map(&pods).sum()
        };
        self.priorities.iter().map(count).collect()
    }

    /// Whether what is left may lead to something better than the best so far.
    fn may_improve(&mut self) -> bool {
        self.steps += 1;
        if self.most_steps <= self.steps {
            return false;
        }
        let Some(best) = &self.best else {
            return true;
        };
        let hoped = self.by_priority(|class| self.model.classes[class].pending - self.abandoned[class]);
        match hoped.cmp(&best.placed) {
            std::cmp::Ordering::Less => false,
            std::cmp::Ordering::Greater => true,
            std::cmp::Ordering::Equal => self.price + self.least_for_the_rest() < best.price,
        }
    }

    /// The least that is to be paid for what has no room on the nodes so far, as if nodes could be cut into pieces.
    fn least_for_the_rest(&self) -> i64 {
        let mut least = 0;
        for resource in 0..2 {
            let wanted: i64 = (0..self.remaining.len())
                .map(|class| {
                    i64::try_from(self.remaining[class]).unwrap() * requests(&self.model.classes[class])[resource]
                })
                .sum();
            let free: i64 = self
                .hosts
                .iter()
                .filter(|host| host.usable)
                .map(|host| host.free[resource].max(0))
                .sum();
            let missing = wanted - free;
            if 0 < missing {
                let price = |template: &crate::model::Template| {
                    let size = template.host.free[resource];
                    (0 < size).then(|| (template.price * missing + size - 1) / size)
                };
                least = least.max(self.model.templates.iter().filter_map(price).min().unwrap_or(0));
            }
        }
        least
    }

    /// What tells two states apart, whatever the order of the new nodes.
    fn state(&self) -> Vec<u8> {
        let of_host = |at: usize| {
            let template = self.templates[at].map_or(0, |template| u8::try_from(template + 1).unwrap());
            let mut key = vec![template];
            key.extend(&self.hosts[at].pods);
            key
        };
        let mut new: Vec<Vec<u8>> = (self.model.hosts.len()..self.hosts.len()).map(of_host).collect();
        new.sort_unstable();
        (0..self.model.hosts.len()).map(of_host).chain(new).flatten().collect()
    }
}

struct Binding<'m> {
    model: &'m Model,
    tangled: Vec<bool>,
    hosts: Vec<Host>,
    left: Assignment,
    visited: BTreeSet<Vec<usize>>,
    /// The node that got a pod last. The next one is tried first, as pods that are spread fit best in turns.
    last: usize,
    steps: u64,
    most_steps: u64,
}

// === impl Binding ===

impl Binding<'_> {
    fn bind(&mut self) -> bool {
        if self.left.iter().flatten().all(|pods| *pods == 0) {
            return true;
        }
        self.steps += 1;
        if self.most_steps <= self.steps || !self.visited.insert(self.left.concat()) {
            return false;
        }
        // A pod at which nobody looks never is in the way of another one by being early.
        for (target, class) in self.waiting(false) {
            if self.model.fits(&self.hosts, class, target, Domains::Present) {
                return self.step(target, class);
            }
        }
        let mut tangled = self.waiting(true).into_iter();
        tangled.any(|(target, class)| self.step(target, class))
    }

    /// Nodes and classes of pods that are left, beginning behind the last node.
    fn waiting(&self, tangled: bool) -> Vec<(usize, usize)> {
        let nodes = self.left.len();
        let turns = (1..=nodes).map(|turn| (self.last + turn) % nodes);
        let of_target = |target| (0..self.tangled.len()).map(move |class| (target, class));
        let waits =
            |(target, class): &(usize, usize)| 0 < self.left[*target][*class] && self.tangled[*class] == tangled;
        turns.flat_map(of_target).filter(waits).collect()
    }

    /// Binds one pod and then the others.
    fn step(&mut self, at: usize, class: usize) -> bool {
        if !self.model.fits(&self.hosts, class, at, Domains::Present) {
            return false;
        }
        let last = std::mem::replace(&mut self.last, at);
        self.hosts[at].take(class, &self.model.classes[class]);
        self.left[at][class] -= 1;
        let done = self.bind();
        self.left[at][class] += 1;
        self.hosts[at].give_back(class, &self.model.classes[class]);
        self.last = last;
        done
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cluster::{Rules, Shape},
        runner,
    };

    /// Every sequence of every choice, with nothing left out: pods by priority and the negative price, the higher the better.
    fn all_choices(search: &mut Search<'_>) -> (Vec<usize>, i64) {
        let nothing = vec![0; search.priorities.len()];
        let mut best = if search.can_be_bound() {
            (search.placed(), -search.price)
        } else {
            (nothing, i64::MIN)
        };
        for class in 0..search.remaining.len() {
            if search.remaining[class] == 0 {
                continue;
            }
            for at in 0..search.hosts.len() + search.model.templates.len() {
                let new = at.checked_sub(search.hosts.len());
                if new.is_some_and(|template| !search.open(template)) {
                    continue;
                }
                let at = if new.is_some() { search.hosts.len() - 1 } else { at };
                if search.model.fits(&search.hosts, class, at, Domains::Possible) {
                    search.place(class, at);
                    best = best.max(all_choices(search));
                    search.unplace(class, at);
                }
                if new.is_some() {
                    search.close();
                }
            }
        }
        best
    }

    #[test]
    fn the_search_leaves_out_nothing_that_is_better() {
        let shape = Shape {
            groups: 2,
            nodes: 2,
            classes: 3,
            pods: 3,
            max: 2,
            rules: Rules::All,
        };
        let mut dull = 0;
        for case in 0..300 {
            let model = Model::new(&runner::draw(shape, case));
            let best = optimum(&model, u64::MAX).unwrap();
            let mut search = Search::new(&model, u64::MAX);
            let naive = all_choices(&mut search);
            assert_eq!((best.placed, -best.price), naive, "case {case}: {model:#?}");
            dull += u64::from(best.price == 0);
        }
        assert!(dull < 200, "{dull} cases need no new node");
    }
}
