//! What a random cluster is: numbers and indexes only, so that the model, the manifests and a shrunk failure all come
//! from the same few fields. How clusters are drawn is here too.

use proptest::{
    option,
    prelude::{Just, Strategy, any, prop_oneof},
    sample::select,
};

/// A cluster with nodes, groups that may grow, and pending pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cluster {
    pub(crate) offerings: Vec<Offering>,
    pub(crate) groups: Vec<Group>,
    pub(crate) nodes: Vec<Node>,
    /// The group and offering (an index into those of the group) of a VPSieNode without a Node.
    pub(crate) coming: Option<(usize, usize)>,
    /// Kinds of pods: those that are pending, and those that run on nodes.
    pub(crate) classes: Vec<Class>,
    pub(crate) daemon: Option<Class>,
    pub(crate) cluster_max: Option<usize>,
}

/// A size for sale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Offering {
    pub(crate) cores: i64,
    pub(crate) gib: i64,
    /// Thousandths of the currency per hour.
    pub(crate) price: i64,
}

/// A NodeGroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Group {
    pub(crate) zone: usize,
    pub(crate) max: usize,
    pub(crate) pool: Option<usize>,
    pub(crate) tainted: bool,
    /// Which offerings it has, one bit each; none means the first.
    pub(crate) offerings: usize,
    pub(crate) max_pods: Option<i64>,
}

/// A Node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Node {
    /// With a group, zone, pool and taint are those of the group.
    pub(crate) group: Option<usize>,
    pub(crate) offering: usize,
    pub(crate) zone: Option<usize>,
    pub(crate) pool: Option<usize>,
    pub(crate) tainted: bool,
    pub(crate) ready: bool,
    pub(crate) cordoned: bool,
    /// Classes of its pods.
    pub(crate) running: Vec<usize>,
}

/// A kind of pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Class {
    /// Its label `app`.
    pub(crate) app: usize,
    /// Milli-cores.
    pub(crate) cpu: i64,
    /// MiB.
    pub(crate) memory: i64,
    pub(crate) pool: Option<usize>,
    pub(crate) zone: Option<usize>,
    pub(crate) tolerates: bool,
    pub(crate) port: Option<usize>,
    /// Affinity to pods of an app.
    pub(crate) near: Option<(Topology, usize)>,
    /// Anti-affinity to pods of an app.
    pub(crate) apart: Option<(Topology, usize)>,
    /// Topology spread of the pods of its own app.
    pub(crate) spread: Option<Spread>,
    pub(crate) priority: i32,
    /// How many are pending.
    pub(crate) pending: usize,
}

/// A topology key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Topology {
    Host,
    Zone,
}

/// A topology spread constraint that must be met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Spread {
    pub(crate) topology: Topology,
    pub(crate) max_skew: usize,
    pub(crate) min_domains: Option<usize>,
}

/// How clusters are drawn.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) groups: usize,
    pub(crate) nodes: usize,
    pub(crate) classes: usize,
    /// Most pending pods in all.
    pub(crate) pods: usize,
    /// Most nodes of a group.
    pub(crate) max: usize,
    pub(crate) rules: Rules,
}

/// Which constraints between pods are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rules {
    /// None: pods look at nodes only.
    None,
    /// Those that do not depend on the order in which pods are placed: host ports and anti-affinity.
    Unordered,
    /// Affinity too.
    Affinity,
    /// Topology spread too.
    All,
}

// === impl Cluster ===

impl Cluster {
    /// The offerings of a group.
    pub(crate) fn offerings_of(&self, group: usize) -> Vec<usize> {
        let bits = self.groups[group].offerings;
        let named: Vec<usize> = (0..self.offerings.len())
            .filter(|index| bits >> index & 1 == 1)
            .collect();
        if named.is_empty() { vec![0] } else { named }
    }

    /// The offering of a node.
    pub(crate) fn offering_of(&self, node: &Node) -> usize {
        match node.group {
            Some(group) => pick(&self.offerings_of(group), node.offering),
            None => node.offering % self.offerings.len(),
        }
    }

    /// The group and offering of the node to come.
    pub(crate) fn coming(&self) -> Option<(usize, usize)> {
        let (group, offering) = self.coming?;
        Some((group, pick(&self.offerings_of(group), offering)))
    }

    /// Makes indexes and apps valid, and bounds the number of pending pods.
    fn settled(mut self, pods: usize) -> Self {
        let (groups, classes) = (self.groups.len(), self.classes.len());
        for node in &mut self.nodes {
            node.group = node.group.map(|group| group % groups);
            for class in &mut node.running {
                *class %= classes;
            }
        }
        self.coming = self.coming.map(|(group, offering)| (group % groups, offering));
        let apps: Vec<usize> = self.classes.iter().map(|class| class.app).collect();
        for class in &mut self.classes {
            // Affinity to pods that nobody has would be met nowhere.
            let own = class.app;
            class.near = class
                .near
                .map(|(topology, app)| (topology, if apps.contains(&app) { app } else { own }));
        }
        let mut left = pods;
        for class in &mut self.classes {
            class.pending = class.pending.min(left);
            left -= class.pending;
        }
        self
    }
}

fn pick(choices: &[usize], index: usize) -> usize {
    choices[index % choices.len()]
}

// === Strategies ===

/// Clusters of this shape.
pub(crate) fn clusters(shape: Shape) -> impl Strategy<Value = Cluster> {
    use proptest::collection::vec;
    let coming = option::weighted(0.1, (0..shape.groups, 0..3_usize));
    let cluster_max = option::weighted(0.15, 2..=shape.max + shape.nodes);
    let with_priorities = proptest::bool::weighted(0.3);
    (
        vec(offering(), 2..=3),
        vec(group(shape.max), 1..=shape.groups),
        vec(node(shape), 0..=shape.nodes),
        coming,
        vec(class(shape), 1..=shape.classes),
        option::weighted(0.25, daemon()),
        cluster_max,
        with_priorities,
    )
        .prop_map(
            move |(offerings, groups, nodes, coming, mut classes, daemon, cluster_max, with_priorities)| {
                if !with_priorities {
                    for class in &mut classes {
                        class.priority = 0;
                    }
                }
                let cluster = Cluster {
                    offerings,
                    groups,
                    nodes,
                    coming,
                    classes,
                    daemon,
                    cluster_max,
                };
                cluster.settled(shape.pods)
            },
        )
}

fn offering() -> impl Strategy<Value = Offering> {
    (
        select(vec![1_i64, 2, 2, 4, 4, 8]),
        select(vec![1_i64, 2, 2, 4]),
        70..=140_i64,
    )
        .prop_map(|(cores, ratio, percent)| {
            let gib = cores * ratio;
            let price = (cores * 8 + gib * 2) * percent / 100;
            Offering { cores, gib, price }
        })
}

fn group(max: usize) -> impl Strategy<Value = Group> {
    let max = prop_oneof![1 => 0..=2_usize, 6 => Just(max)];
    let pool = option::weighted(0.3, 0..2_usize);
    let max_pods = option::weighted(0.1, 2..6_i64);
    (
        0..2_usize,
        max,
        pool,
        proptest::bool::weighted(0.15),
        1..8_usize,
        max_pods,
    )
        .prop_map(|(zone, max, pool, tainted, offerings, max_pods)| Group {
            zone,
            max,
            pool,
            tainted,
            offerings,
            max_pods,
        })
}

fn node(shape: Shape) -> impl Strategy<Value = Node> {
    (
        option::weighted(0.7, 0..shape.groups),
        0..3_usize,
        option::weighted(0.9, 0..3_usize),
        option::weighted(0.3, 0..2_usize),
        proptest::bool::weighted(0.1),
        proptest::bool::weighted(0.9),
        proptest::bool::weighted(0.1),
        proptest::collection::vec(0..shape.classes, 0..4),
    )
        .prop_map(
            |(group, offering, zone, pool, tainted, ready, cordoned, running)| Node {
                group,
                offering,
                zone,
                pool,
                tainted,
                ready,
                cordoned,
                running,
            },
        )
}

fn class(shape: Shape) -> impl Strategy<Value = Class> {
    let rules = shape.rules;
    let requests = (
        prop_oneof![8 => (1..=18_i64).prop_map(|n| n * 100), 1 => (20..=50_i64).prop_map(|n| n * 100), 1 => Just(0)],
        prop_oneof![8 => (1..=14_i64).prop_map(|n| n * 128), 1 => (14..=50_i64).prop_map(|n| n * 128), 1 => Just(0)],
    );
    let of_nodes = (
        option::weighted(0.08, 0..2_usize),
        option::weighted(0.06, 0..2_usize),
        proptest::bool::weighted(0.4),
        option::weighted(0.15, 0..2_usize),
    );
    let topology = || any::<bool>().prop_map(|host| if host { Topology::Host } else { Topology::Zone });
    let spread =
        (topology(), 1..=2_usize, option::weighted(0.2, 2..=3_usize)).prop_map(|(topology, max_skew, min_domains)| {
            Spread {
                topology,
                max_skew,
                // The number of hosts that will be there is nobody's promise.
                min_domains: min_domains.filter(|_| topology == Topology::Zone),
            }
        });
    let of_pods = (
        option::weighted(0.15, (topology(), 0..3_usize)),
        option::weighted(0.15, (topology(), 0..3_usize)),
        option::weighted(0.25, spread),
    );
    let priority = select(vec![0, 10]);
    (0..3_usize, requests, of_nodes, of_pods, priority, 1..=4_usize).prop_map(
        move |(app, (cpu, memory), (pool, zone, tolerates, port), (near, apart, spread), priority, pending)| Class {
            app,
            cpu,
            memory,
            pool,
            zone,
            tolerates,
            port: port.filter(|_| Rules::Unordered <= rules),
            near: near.filter(|_| Rules::Affinity <= rules),
            apart: apart.filter(|_| Rules::Unordered <= rules),
            spread: spread.filter(|_| Rules::All <= rules),
            priority,
            pending: if shape.pods <= 10 {
                pending
            } else {
                pending * shape.pods / 10
            },
        },
    )
}

/// A DaemonSet. Its app is that of nobody else.
fn daemon() -> impl Strategy<Value = Class> {
    let pool = option::weighted(0.2, 0..2_usize);
    let port = option::weighted(0.2, 0..2_usize);
    (1..=5_i64, 1..=4_i64, pool, any::<bool>(), port).prop_map(|(cpu, memory, pool, tolerates, port)| Class {
        app: 9,
        cpu: cpu * 100,
        memory: memory * 64,
        pool,
        tolerates,
        port,
        ..Class::default()
    })
}
