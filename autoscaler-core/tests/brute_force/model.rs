//! An independent model of a cluster: which pod may be bound to which node at a moment, written from the documentation
//! of Kubernetes and of this autoscaler, with nothing of the planner in it.

use crate::cluster::{Class, Cluster, Topology};

/// CPU in milli-cores, memory in bytes, number of pods.
pub(crate) type Amounts = [i64; 3];

const MIB: i64 = 1 << 20;

/// What does not change while pods are bound.
#[derive(Clone, Debug)]
pub(crate) struct Model {
    /// Those of the cluster, and then that of the DaemonSet.
    pub(crate) classes: Vec<Class>,
    /// The nodes that exist, then the one to come.
    pub(crate) hosts: Vec<Host>,
    pub(crate) names: Vec<String>,
    pub(crate) templates: Vec<Template>,
    /// How many more nodes each group may have.
    pub(crate) room: Vec<usize>,
    /// How many more nodes all groups may have.
    pub(crate) cluster_room: usize,
    /// By class: zones that count as domains because a node for the class could be added there.
    pub(crate) possible: Vec<Vec<usize>>,
}

/// A node with its pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Host {
    pub(crate) zone: Option<usize>,
    pub(crate) pool: Option<usize>,
    pub(crate) tainted: bool,
    /// Ready and not cordoned.
    pub(crate) usable: bool,
    pub(crate) free: Amounts,
    /// How many pods of each class.
    pub(crate) pods: Vec<u8>,
}

/// A node that may be bought.
#[derive(Clone, Debug)]
pub(crate) struct Template {
    pub(crate) group: usize,
    pub(crate) offering: usize,
    pub(crate) price: i64,
    /// The node with the pod of the DaemonSet.
    pub(crate) host: Host,
}

/// Whether zones without a node count as domains of topology spread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Domains {
    /// Those of nodes that are there, as the scheduler sees it.
    Present,
    /// Those of nodes that could be added too, as the planner has to see it.
    Possible,
}

/// What a Node of the cluster offers.
pub(crate) fn node_capacity(cluster: &Cluster, node: usize) -> Amounts {
    let node = &cluster.nodes[node];
    let size = cluster.offerings[cluster.offering_of(node)];
    match node.group {
        Some(group) => estimate(cluster, group, cluster.offering_of(node)),
        None => [size.cores * 1000, size.gib * 1024 * MIB, 110],
    }
}

/// A Node of the cluster without pods.
pub(crate) fn host_of(cluster: &Cluster, index: usize) -> Host {
    let node = &cluster.nodes[index];
    let usable = node.ready && !node.cordoned;
    let free = node_capacity(cluster, index);
    match node.group {
        Some(group) => Host {
            usable,
            ..host_of_group(cluster, group, free)
        },
        None => Host {
            zone: node.zone,
            pool: node.pool,
            tainted: node.tainted,
            usable,
            free,
            pods: no_pods(cluster),
        },
    }
}

fn no_pods(cluster: &Cluster) -> Vec<u8> {
    vec![0; cluster.classes.len() + usize::from(cluster.daemon.is_some())]
}

fn host_of_group(cluster: &Cluster, group: usize, free: Amounts) -> Host {
    let of = &cluster.groups[group];
    Host {
        zone: Some(of.zone),
        pool: of.pool,
        tainted: of.tainted,
        usable: true,
        free,
        pods: no_pods(cluster),
    }
}

/// The size less what is kept from pods: 100m of CPU, 255Mi and 5 % of memory.
fn estimate(cluster: &Cluster, group: usize, offering: usize) -> Amounts {
    let size = cluster.offerings[offering];
    let memory = size.gib * 1024 * MIB;
    [
        size.cores * 1000 - 100,
        memory - 255 * MIB - memory * 5 / 100,
        cluster.groups[group].max_pods.unwrap_or(110),
    ]
}

/// What a new node offers: as much as the newest Ready node of the same group and offering, else of the same offering.
fn capacity(cluster: &Cluster, group: usize, offering: usize) -> Amounts {
    let newest = |any_group: bool| {
        (0..cluster.nodes.len()).rev().find(|index| {
            let node = &cluster.nodes[*index];
            node.ready
                && cluster.offering_of(node) == offering
                && (node.group == Some(group) || any_group && node.group.is_some())
        })
    };
    newest(false).or_else(|| newest(true)).map_or_else(
        || estimate(cluster, group, offering),
        |node| node_capacity(cluster, node),
    )
}

// === impl Model ===

impl Model {
    pub(crate) fn new(cluster: &Cluster) -> Self {
        let mut classes = cluster.classes.clone();
        classes.extend(cluster.daemon.clone());
        let mut model = Self {
            classes,
            hosts: (0..cluster.nodes.len()).map(|index| host_of(cluster, index)).collect(),
            names: (0..cluster.nodes.len()).map(|index| format!("n{index}")).collect(),
            templates: Vec::new(),
            room: cluster.groups.iter().map(|group| group.max).collect(),
            cluster_room: cluster.cluster_max.unwrap_or(usize::MAX),
            possible: Vec::new(),
        };
        let coming = cluster.coming();
        let owners = cluster
            .nodes
            .iter()
            .filter_map(|node| node.group)
            .chain(coming.map(|(group, _)| group));
        for group in owners {
            model.room[group] = model.room[group].saturating_sub(1);
            model.cluster_room = model.cluster_room.saturating_sub(1);
        }
        for group in 0..cluster.groups.len() {
            for offering in cluster.offerings_of(group) {
                let host = model.new_host(cluster, group, offering);
                let price = cluster.offerings[offering].price;
                model.templates.push(Template {
                    group,
                    offering,
                    price,
                    host,
                });
            }
        }
        if let Some((group, offering)) = coming {
            let host = model.new_host(cluster, group, offering);
            model.hosts.push(host);
            model.names.push("m0".to_owned());
        }
        for (index, node) in cluster.nodes.iter().enumerate() {
            for class in &node.running {
                let pod = &model.classes[*class];
                model.hosts[index].take(*class, pod);
            }
        }
        model.possible = model.classes.iter().map(|class| model.possible_zones(class)).collect();
        model
    }

    /// A new node, with the pod of the DaemonSet if it belongs there and has room.
    fn new_host(&self, cluster: &Cluster, group: usize, offering: usize) -> Host {
        let mut host = host_of_group(cluster, group, capacity(cluster, group, offering));
        if cluster.daemon.is_some() {
            let daemon = self.classes.len() - 1;
            if admits(&self.classes[daemon], &host) && has_room(&self.classes[daemon], &host) {
                host.take(daemon, &self.classes[daemon]);
            }
        }
        host
    }

    fn possible_zones(&self, class: &Class) -> Vec<usize> {
        let usable = self.templates.iter().filter(|template| {
            0 < self.room[template.group].min(self.cluster_room)
                && admits(class, &template.host)
                && has_room(class, &template.host)
        });
        let mut zones: Vec<usize> = usable.filter_map(|template| template.host.zone).collect();
        zones.sort_unstable();
        zones.dedup();
        zones
    }

    /// Whether a pod may be bound to a node at this moment.
    pub(crate) fn fits(&self, hosts: &[Host], class: usize, at: usize, domains: Domains) -> bool {
        let (pod, host) = (&self.classes[class], &hosts[at]);
        host.usable
            && admits(pod, host)
            && has_room(pod, host)
            && self.has_ports(pod, host)
            && !self.is_repelled(hosts, pod, at)
            && self.is_attracted(hosts, pod, at)
            && self.is_spread(hosts, class, at, domains)
    }

    fn has_ports(&self, pod: &Class, host: &Host) -> bool {
        let taken =
            |port| (0..self.classes.len()).any(|other| 0 < host.pods[other] && self.classes[other].port == port);
        pod.port.is_none() || !taken(pod.port)
    }

    /// Anti-affinity, that of the pod and that of the pods which are there.
    fn is_repelled(&self, hosts: &[Host], pod: &Class, at: usize) -> bool {
        let own = pod
            .apart
            .is_some_and(|(topology, app)| in_domain(hosts, at, topology).any(|host| 0 < self.count(host, app)));
        let others = || {
            (0..self.classes.len()).any(|other| {
                self.classes[other].apart.is_some_and(|(topology, app)| {
                    app == pod.app && in_domain(hosts, at, topology).any(|host| 0 < host.pods[other])
                })
            })
        };
        own || others()
    }

    /// Affinity: to a pod of the domain, or to nobody yet when the pod means itself.
    fn is_attracted(&self, hosts: &[Host], pod: &Class, at: usize) -> bool {
        let Some((topology, app)) = pod.near else { return true };
        if domain(hosts, at, topology).is_none() {
            return false;
        }
        let first = || {
            let with_key = (0..hosts.len()).filter(|index| domain(hosts, *index, topology).is_some());
            app == pod.app && with_key.map(|index| self.count(&hosts[index], app)).sum::<usize>() == 0
        };
        in_domain(hosts, at, topology).any(|host| 0 < self.count(host, app)) || first()
    }

    fn is_spread(&self, hosts: &[Host], class: usize, at: usize, domains: Domains) -> bool {
        let pod = &self.classes[class];
        let Some(spread) = pod.spread else { return true };
        let Some(own) = domain(hosts, at, spread.topology) else {
            return false;
        };
        let mut counts: Vec<(usize, usize)> = Vec::new();
        let mut add = |domain: usize, pods: usize| match counts.iter_mut().find(|(known, _)| *known == domain) {
            Some((_, count)) => *count += pods,
            None => counts.push((domain, pods)),
        };
        for (index, host) in hosts.iter().enumerate().filter(|(_, host)| is_selected(pod, host)) {
            if let Some(domain) = domain(hosts, index, spread.topology) {
                add(domain, self.count(host, pod.app));
            }
        }
        if spread.topology == Topology::Zone && domains == Domains::Possible {
            for zone in &self.possible[class] {
                add(*zone, 0);
            }
        }
        let least = counts.iter().map(|(_, pods)| *pods).min().unwrap_or(0);
        let least = if counts.len() < spread.min_domains.unwrap_or(1) {
            0
        } else {
            least
        };
        let here = counts
            .iter()
            .find(|(domain, _)| *domain == own)
            .map_or(0, |(_, pods)| *pods);
        here < spread.max_skew + least
    }

    /// Pods of an app on a node.
    fn count(&self, host: &Host, app: usize) -> usize {
        let of_app = (0..self.classes.len()).filter(|class| self.classes[*class].app == app);
        of_app.map(|class| usize::from(host.pods[class])).sum()
    }

    /// Whether the order in which pods are bound matters for those of this class: they look where others are, or others
    /// look where they are.
    pub(crate) fn depends_on_order(&self, class: usize) -> bool {
        let pod = &self.classes[class];
        let looks = |other: &Class| {
            other.near.is_some_and(|(_, app)| app == pod.app) || other.spread.is_some() && other.app == pod.app
        };
        pod.near.is_some() || pod.spread.is_some() || self.classes.iter().any(looks)
    }
}

/// Node selector and taints.
fn admits(pod: &Class, host: &Host) -> bool {
    is_selected(pod, host) && (!host.tainted || pod.tolerates)
}

fn is_selected(pod: &Class, host: &Host) -> bool {
    (pod.pool.is_none() || pod.pool == host.pool) && (pod.zone.is_none() || pod.zone == host.zone)
}

/// What is not requested does not have to be free.
fn has_room(pod: &Class, host: &Host) -> bool {
    requests(pod)
        .iter()
        .zip(&host.free)
        .all(|(request, free)| *request == 0 || request <= free)
}

pub(crate) const fn requests(pod: &Class) -> Amounts {
    [pod.cpu, pod.memory * MIB, 1]
}

fn domain(hosts: &[Host], at: usize, topology: Topology) -> Option<usize> {
    match topology {
        Topology::Host => Some(at),
        Topology::Zone => hosts[at].zone,
    }
}

/// The nodes of the domain that a node is in; none when it is in no domain.
fn in_domain(hosts: &[Host], at: usize, topology: Topology) -> impl Iterator<Item = &Host> {
    let own = domain(hosts, at, topology);
    let same = move |index: &usize| own.is_some() && domain(hosts, *index, topology) == own;
    (0..hosts.len()).filter(same).map(|index| &hosts[index])
}

// === impl Host ===

impl Host {
    pub(crate) fn take(&mut self, class: usize, pod: &Class) {
        self.pods[class] += 1;
        for (free, request) in self.free.iter_mut().zip(requests(pod)) {
            *free -= request;
        }
    }

    pub(crate) fn give_back(&mut self, class: usize, pod: &Class) {
        self.pods[class] -= 1;
        for (free, request) in self.free.iter_mut().zip(requests(pod)) {
            *free += request;
        }
    }
}
