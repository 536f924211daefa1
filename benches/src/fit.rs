//! Clusters of which it is known by their numbers which nodes fit which pods.

use autoscaler_core::manifest::{Objects, node::Node, pod::Pod};

use crate::{
    judge::Problem,
    objects::{HOSTNAME, ZONE, amounts, away, map, near, node, pending, running, spread},
};

/// Pods that wait, each of a class of its own.
pub const CLASSES: usize = 20;

/// Which rules the pods that wait have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Requests alone.
    Resources,
    /// Affinity to pods of the zone, anti-affinity to pods of the host, and pods of the host with anti-affinity to them.
    Affinity,
    /// Spread over zones and over hosts.
    Spread,
    /// All of these, with a node selector.
    All,
}

const APPS: usize = 10;
const ZONES: usize = 3;

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Resources, Self::Affinity, Self::Spread, Self::All];

    /// The name of its benchmark.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Resources => "resources",
            Self::Affinity => "affinity",
            Self::Spread => "spread",
            Self::All => "all",
        }
    }

    /// How many pairs of a class and a node fit in the cluster of [`problem`].
    pub fn fitting(self, nodes: usize) -> usize {
        let fits = |class: usize| {
            let app = class % APPS;
            let mut in_zone = [0; ZONES];
            for node in (0..nodes).filter(|node| node % APPS == app) {
                in_zone[node % ZONES] += 1;
            }
            let fewest = in_zone.iter().min().copied().unwrap_or(0);
            move |node: &usize| {
                let resources = load(*node) + request(class) <= 3900;
                let affinity = node % APPS != app && !guards(*node);
                let spread = node % APPS != app && in_zone[node % ZONES] == fewest;
                match self {
                    Self::Resources => resources,
                    Self::Affinity => affinity,
                    Self::Spread => spread,
                    Self::All => resources && affinity && spread,
                }
            }
        };
        (0..CLASSES).map(|class| (0..nodes).filter(fits(class)).count()).sum()
    }
}

/// Node `n` is in zone `n % 3` and has a pod of app `n % 10`, one that fills it to one of 39 levels, and, each seventh, one
/// that keeps pods away that wait.
pub fn problem(kind: Kind, nodes: usize) -> Problem {
    let mut objects = Objects::default();
    for index in 0..nodes {
        objects.nodes.push(node_of(index));
        objects.pods.extend(pods_of(index));
    }
    objects.pods.extend((0..CLASSES).map(|class| waiting(kind, class)));
    Problem {
        objects,
        offerings: Vec::new(),
        sizes: [].into(),
    }
}

fn node_of(index: usize) -> Node {
    let labels = [(ZONE, ["a", "b", "c"][index % ZONES]), ("kubernetes.io/os", "linux")];
    node(format!("node-{index}"), &labels, amounts(3900, 1 << 34, 110))
}

fn pods_of(index: usize) -> Vec<Pod> {
    let host = || format!("node-{index}");
    let app = app_name(index % APPS);
    let mut of_app = running(format!("{app}-{index}"), app.clone(), host(), 0, 1 << 20);
    of_app.metadata.labels = map(&[("app", &app)]);
    let filler = running(
        format!("filler-{index}"),
        "filler".to_owned(),
        host(),
        load(index),
        1 << 20,
    );
    let mut pods = vec![of_app, filler];
    if guards(index) {
        let mut guard = running(format!("guard-{index}"), "guard".to_owned(), host(), 0, 1 << 20);
        guard.spec.affinity = Some(away(HOSTNAME, &[("kept", "away")]));
        pods.push(guard);
    }
    pods
}

fn waiting(kind: Kind, class: usize) -> Pod {
    let app = app_name(class % APPS);
    let all = kind == Kind::All;
    let cpu = if all || kind == Kind::Resources {
        request(class)
    } else {
        0
    };
    // The memory makes a class of its own of each.
    let mut pod = pending(format!("waiting-{class}"), cpu, (1 + class as i64) << 20);
    if all || kind == Kind::Affinity {
        pod.metadata.labels.insert("kept".to_owned(), "away".to_owned());
        let mut affinity = near(ZONE, &[("app", &app_name((class + 1) % APPS))]);
        affinity.pod_anti_affinity = away(HOSTNAME, &[("app", &app)]).pod_anti_affinity;
        pod.spec.affinity = Some(affinity);
    }
    if all || kind == Kind::Spread {
        pod.metadata.labels.insert("app".to_owned(), app.clone());
        let rules = [ZONE, HOSTNAME].map(|key| spread(key, &[("app", &app)]));
        pod.spec.topology_spread_constraints.extend(rules);
    }
    if all {
        pod.spec.node_selector = map(&[("kubernetes.io/os", "linux")]);
    }
    pod
}

const fn load(node: usize) -> i64 {
    100 * (node % 39) as i64
}

const fn request(class: usize) -> i64 {
    100 + 190 * class as i64
}

const fn guards(node: usize) -> bool {
    node.is_multiple_of(7)
}

fn app_name(index: usize) -> String {
    format!("app-{index}")
}
