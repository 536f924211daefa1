//! Tells what happens, in words that a person understands, by looking at the cluster and the VPSie account.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use autoscaler_scaler::{api, run::Clock};
use jiff::Timestamp;
use k8s_openapi::api::{
    core::v1::{Node, Pod},
    events::v1::Event,
};
use kube::{Api, Client, ResourceExt};
use tokio::time::Instant;
use vpsie_client::mock::{MockConfig, MockVpsie};

use super::world::{World, list};
use crate::command::{self, Failure};

/// Looks, and tells what changed since the last look.
pub(super) struct Narrator {
    client: Client,
    mock: MockVpsie,
    clock: Clock,
    started: Timestamp,
    started_real: Instant,
    prices: BTreeMap<String, f64>,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    /// VM id to host name and status.
    vms: BTreeMap<String, (String, String)>,
    /// Node to what it is doing.
    nodes: BTreeMap<String, NodeState>,
    /// Pods that wait and pods that run.
    pods: (usize, usize),
    /// Events told.
    events: BTreeMap<String, ()>,
    bought: usize,
    deleted: usize,
    most: usize,
    cost: f64,
    last_look: Option<Timestamp>,
}

/// What happened since the last look. What happened to several of a kind is told in one line.
#[derive(Default)]
struct News {
    lines: Vec<Line>,
}

struct Line {
    kind: &'static str,
    names: Vec<String>,
    what: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum NodeState {
    Starting,
    Ready,
    Cordoned,
}

impl Narrator {
    pub(super) fn new(world: &World) -> Self {
        let prices = MockConfig::default_offerings().into_iter();
        Self {
            client: world.client.clone(),
            mock: world.mock.clone(),
            started: (world.clock)(),
            clock: Arc::clone(&world.clock),
            started_real: Instant::now(),
            prices: prices
                .map(|offering| (offering.id, offering.hourly_price.unwrap_or(0.0)))
                .collect(),
            seen: Mutex::default(),
        }
    }

    pub(super) fn title(&self, text: &str) -> Result<(), Failure> {
        command::print(&format!("\n{text}\n"))
    }

    /// Tells what changed.
    pub(super) async fn look(&self) -> Result<(), Failure> {
        let nodes: Vec<Node> = list(Api::all(self.client.clone()), "").await?;
        let pods: Vec<Pod> = list(Api::namespaced(self.client.clone(), "default"), "").await?;
        let machines: Vec<api::VPSieNode> = list(Api::all(self.client.clone()), "").await?;
        let events: Vec<Event> = list(Api::all(self.client.clone()), "").await?;
        let mut news = News::default();
        {
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            self.look_at_vms(&mut seen, &machines, &mut news);
            look_at_nodes(&mut seen, &nodes, &pods, &mut news);
            look_at_pods(&mut seen, &pods, &mut news);
            look_at_events(&mut seen, &events, &mut news);
        }
        let elapsed = (self.clock)().duration_since(self.started).as_secs();
        let told = |line: String| format!("  {:>3}:{:02}  {line}\n", elapsed / 60, elapsed % 60);
        command::print(&news.lines.iter().map(Line::text).map(told).collect::<String>())
    }

    fn look_at_vms(&self, seen: &mut Seen, machines: &[api::VPSieNode], news: &mut News) {
        let now = (self.clock)();
        let hours = seen
            .last_look
            .map_or(0.0, |last| now.duration_since(last).as_secs_f64() / 3600.0);
        seen.last_look = Some(now);
        let vms = self.mock.vms();
        seen.most = seen.most.max(vms.len());
        let mut current = BTreeMap::new();
        for vm in vms {
            seen.cost += hours * self.prices.get(&vm.offering_id).copied().unwrap_or(0.0);
            let before = seen.vms.get(&vm.id).map(|(_, status)| status.as_str());
            let price = self.prices.get(&vm.offering_id).copied().unwrap_or(0.0);
            match (before, vm.status.as_str()) {
                (None, _) => {
                    seen.bought += 1;
                    let group = machines
                        .iter()
                        .find(|machine| machine.name_any() == vm.hostname.to_ascii_lowercase());
                    let group = group.map_or("?", |machine| machine.spec.node_group_name.as_str());
                    news.add(
                        "VM",
                        &vm.hostname,
                        format!("ordered: {} at {price} per hour, for the group {group}", vm.offering_id),
                    );
                }
                (Some("provisioning"), "running") => {
                    news.add("VM", &vm.hostname, "running, the kubelet starts".to_owned());
                }
                (Some(before), "deleting") if before != "deleting" => {
                    news.add("VM", &vm.hostname, "deleted at VPSie, soon gone".to_owned());
                }
                _ => {}
            }
            current.insert(vm.id, (vm.hostname, vm.status));
        }
        for (id, (hostname, _)) in &seen.vms {
            if !current.contains_key(id) {
                seen.deleted += 1;
                news.add("VM", hostname, "gone, costs no more".to_owned());
            }
        }
        seen.vms = current;
    }

    /// What was done in all.
    pub(super) fn summary(&self) -> String {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let simulated = (self.clock)().duration_since(self.started).as_secs();
        let real = self.started_real.elapsed().as_secs_f64();
        format!(
            "\nSummary\n  nodes added     {}\n  nodes removed   {}\n  most at a time  {}\n  VMs left        {}\n  simulated time  {} min {} s\n  real time       {real:.1} s\n  cost            {:.4} (at the prices of the catalogue)\n",
            seen.bought,
            seen.deleted,
            seen.most,
            seen.vms.len(),
            simulated / 60,
            simulated % 60,
            seen.cost
        )
    }
}

// === impl News ===

impl News {
    /// Something that happened to one of a kind.
    fn add(&mut self, kind: &'static str, name: &str, what: String) {
        match self
            .lines
            .iter_mut()
            .find(|line| line.kind == kind && line.what == what)
        {
            Some(line) => line.names.push(name.to_owned()),
            None => self.lines.push(Line {
                kind,
                names: vec![name.to_owned()],
                what,
            }),
        }
    }

    /// A line of its own.
    fn say(&mut self, what: String) {
        self.lines.push(Line {
            kind: "",
            names: Vec::new(),
            what,
        });
    }
}

// === impl Line ===

impl Line {
    fn text(&self) -> String {
        let Self { kind, names, what } = self;
        match names.as_slice() {
            [] => what.clone(),
            [name] => format!("{kind} {name}: {what}"),
            _ => format!("{} {kind}s: {what} ({})", names.len(), names.join(", ")),
        }
    }
}

fn look_at_nodes(seen: &mut Seen, nodes: &[Node], pods: &[Pod], news: &mut News) {
    let mut current = BTreeMap::new();
    for node in nodes {
        let name = node.name_any();
        let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
        let ready = conditions.is_some_and(|conditions| {
            conditions
                .iter()
                .any(|condition| condition.type_ == "Ready" && condition.status == "True")
        });
        let spec = node.spec.as_ref();
        let cordoned = spec.and_then(|spec| spec.unschedulable).unwrap_or(false);
        let starting = spec
            .and_then(|spec| spec.taints.as_ref())
            .is_some_and(|taints| taints.iter().any(|taint| taint.key == api::labels::STARTUP_TAINT));
        let state = match (ready && !starting, cordoned) {
            (_, true) => NodeState::Cordoned,
            (true, false) => NodeState::Ready,
            (false, false) => NodeState::Starting,
        };
        let before = seen.nodes.get(&name).copied();
        if before != Some(state) {
            match (before, state) {
                (_, NodeState::Ready) if before == Some(NodeState::Cordoned) => {
                    news.add("node", &name, "kept after all, the cordon is lifted".to_owned());
                }
                (_, NodeState::Ready) => {
                    news.add(
                        "node",
                        &name,
                        "ready, with the labels and taints of the group".to_owned(),
                    );
                }
                (_, NodeState::Cordoned) => {
                    let on_it =
                        |pod: &&Pod| pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()) == Some(&name);
                    let left = pods.iter().filter(on_it).count();
                    let pods = match left {
                        0 => "no pod has to move".to_owned(),
                        1 => "1 pod has to move".to_owned(),
                        _ => format!("{left} pods have to move"),
                    };
                    news.add("node", &name, format!("no longer needed, cordoned: {pods}"));
                }
                (_, NodeState::Starting) => news.add("node", &name, "joined, starting".to_owned()),
            }
        }
        current.insert(name, state);
    }
    for name in seen.nodes.keys() {
        if !current.contains_key(name) {
            news.add("node", name, "removed from the cluster".to_owned());
        }
    }
    seen.nodes = current;
}

fn look_at_pods(seen: &mut Seen, pods: &[Pod], news: &mut News) {
    let phase = |pod: &Pod| {
        pod.status
            .as_ref()
            .and_then(|status| status.phase.clone())
            .unwrap_or_default()
    };
    let living = || pods.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none());
    let running = living().filter(|pod| phase(pod) == "Running").count();
    let waiting = living().filter(|pod| phase(pod) != "Running").count();
    if seen.pods != (waiting, running) {
        news.say(format!("pods: {running} running, {waiting} waiting"));
    }
    seen.pods = (waiting, running);
}

/// What the autoscaler says on pods; the rest of its events repeat what is told above.
fn look_at_events(seen: &mut Seen, events: &[Event], news: &mut News) {
    for event in events {
        let reason = event.reason.as_deref().unwrap_or_default();
        if reason != "NotTriggerScaleUp" || seen.events.insert(event.name_any(), ()).is_some() {
            continue;
        }
        let pod = event
            .regarding
            .as_ref()
            .and_then(|object| object.name.clone())
            .unwrap_or_default();
        news.say(format!("to pod {pod}: {}", event.note.as_deref().unwrap_or_default()));
    }
}
