//! The operator is ended at every step of a removal, and its successor finds a state that it can lead to an end.
//!
//! May hold: the story of one kill after the other, and what must hold after each of them.

use std::{collections::BTreeSet, os::unix::process::ExitStatusExt, sync::Mutex};

use autoscaler_scaler::{api, failpoint};
use k8s_openapi::api::{
    apps::v1::DaemonSet,
    coordination::v1::Lease,
    core::v1::{Node, Pod},
    policy::v1::PodDisruptionBudget,
};
use kube::{
    Api, ResourceExt,
    api::{Patch, PatchParams},
};
use serde_json::{Value, json};
use vpsie_client::mock::Route;

use crate::{
    operator::{OperatorProcess, Start},
    watcher::{Eviction, Watcher},
    world::{NAMESPACE, World, is_cordoned, is_running},
};

/// The NodeGroup whose one node takes all pods that are driven away.
const REFUGE: &str = "refuge";

/// The signal of a process that aborts.
const SIGABRT: i32 = 6;

/// A world whose operator can be ended at a failpoint.
struct Stage {
    world: World,
    /// The operator's program, or `None` for an operator in this process.
    program: Option<&'static str>,
    process: Option<OperatorProcess>,
}

/// One removal with a kill in it.
#[derive(Debug)]
struct Round {
    point: &'static str,
    /// Name of the NodeGroup, and of the Deployment on its one node.
    name: String,
    /// How many pods are on the node, under a budget that lets one go at a time.
    pods: usize,
    /// Whether an admin objects to the removal after it has begun.
    opposed: bool,
}

/// Ends the operator at each of these failpoints, in a removal of its own; those of [`failpoint::ROLLBACK`] in one that an
/// admin objects to. After each kill a successor leads the removal to its end, and nothing is left that no operation
/// stands behind.
///
/// `program` is the operator of this package; without it the operator runs in this process.
pub async fn killed_at(world: World, program: Option<&'static str>, points: &[&'static str]) {
    // For a look at one that failed, which the message names.
    let chosen = std::env::var("FAILPOINTS").ok();
    let is_chosen = |point: &&&str| {
        chosen
            .as_ref()
            .is_none_or(|chosen| chosen.split(',').any(|one| one == **point))
    };
    let rounds: Vec<Round> = points.iter().filter(is_chosen).enumerate().map(Round::new).collect();
    if rounds.is_empty() {
        return;
    }
    let mut stage = Stage {
        world,
        program,
        process: None,
    };
    stage.set(&rounds).await;
    let bought = stage.world.mock.requests(Route::CreateVm);
    let watcher = Watcher::start(stage.world.client.clone()).await;
    for round in &rounds {
        let nodes = stage.nodes_of(&round.name).await;
        stage.start(Some(round.point));
        stage.begin(round).await;
        stage.until_ended(round).await;
        stage.assert_recorded(round).await;
        stage.start(None);
        stage.until_settled(round).await;
        stage.stop().await;
        let of_round = |eviction: &&Eviction| nodes.contains(&eviction.node) && !eviction.daemon;
        let report = watcher.report().await;
        let evicted = report.evictions.values().filter(of_round).count();
        assert!(
            evicted == round.pods || round.opposed,
            "{evicted} pods were evicted in {round:?}: {report:#?}"
        );
    }
    assert_eq!(
        stage.world.mock.requests(Route::CreateVm),
        bought,
        "no VM was bought again"
    );
    let report = watcher.stop().await;
    report.assert_clean();
    let repeated = report.repeated();
    assert!(repeated.is_empty(), "{repeated:#?}");
}

/// Of two replicas the leader is killed in the middle of a drain. The other waits until the Lease has expired, takes the
/// drain over where it is, and finishes it.
pub async fn another_replica_finishes_a_drain(world: World, program: &'static str) {
    let round = Round::new((0, &"after-evict"));
    let mut stage = Stage {
        world,
        program: Some(program),
        process: None,
    };
    stage.set(std::slice::from_ref(&round)).await;
    let watcher = Watcher::start(stage.world.client.clone()).await;
    let leader = Start {
        failpoint: Some(round.point),
        replica: Some("leader"),
        ..Start::default()
    };
    let follower = Start {
        replica: Some("follower"),
        ..Start::default()
    };
    stage.process = Some(OperatorProcess::start(program, &stage.world, &leader));
    stage.until_leads("leader").await;
    let _follower = OperatorProcess::start(program, &stage.world, &follower);
    stage.begin(&round).await;
    stage.until_ended(&round).await;
    let evicted: Vec<Eviction> = watcher.report().await.evictions.into_values().collect();
    let [half_way] = &evicted[..] else {
        panic!("one of two pods is evicted: {evicted:#?}")
    };
    assert!(stage.is_cordoned(&half_way.node).await, "{half_way:?}");
    stage.until_settled(&round).await;
    stage.until_leads("follower").await;
    let report = watcher.stop().await;
    report.assert_clean();
    let workload = report.evictions.values().filter(|eviction| !eviction.daemon);
    assert_eq!(workload.count(), round.pods, "{report:#?}");
    assert!(report.repeated().is_empty(), "{report:#?}");
}

// === impl Round ===

impl Round {
    fn new((number, point): (usize, &&'static str)) -> Self {
        let opposed = failpoint::ROLLBACK.contains(point);
        // Two pods under one budget take two seconds more: where it does not matter, before and after pods are driven
        // away, there is one.
        let mut drain = failpoint::REMOVAL
            .iter()
            .skip_while(|point| **point != "before-write-Draining")
            .take_while(|point| **point != "before-write-ProviderDeleting");
        Self {
            point,
            name: format!("group-{number}"),
            pods: if opposed || drain.any(|other| other == point) {
                2
            } else {
                1
            },
            opposed,
        }
    }
}

// === impl Stage ===

impl Stage {
    /// A NodeGroup with one node for each round, the pods of the round on it, a pod of a DaemonSet on every node, and one
    /// more node that has room for all pods.
    async fn set(&mut self, rounds: &[Round]) {
        if self.program.is_some() {
            self.world.credentials(&self.world.addresses().1).await;
        }
        for round in rounds {
            self.world.group(&round.name, 1, 1, &["small-2"], quick()).await;
        }
        self.start(None);
        let world = &self.world;
        world.until_size(rounds.len()).await;
        for round in rounds {
            // There is no refuge yet, so that the pods come to the node of the round.
            let place = json!({
                "key": api::labels::NODE_GROUP, "operator": "In", "values": [round.name, REFUGE],
            });
            // An objection takes until the next look at the world, and the drain must last until then.
            let grace = if round.opposed { 30 } else { 1 };
            let more = json!({
                "affinity": { "nodeAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": {
                    "nodeSelectorTerms": [{ "matchExpressions": [place] }],
                }}},
                "terminationGracePeriodSeconds": grace,
            });
            let pods = u32::try_from(round.pods).unwrap();
            world.deploy(&round.name, pods, "20m", more).await;
            world.budget(&round.name, 1).await;
        }
        let all: usize = rounds.iter().map(|round| round.pods).sum();
        world
            .until("all pods run", async || {
                let pods = world.list::<Pod>("").await;
                pods.len() == all && pods.iter().all(is_running)
            })
            .await;
        let daemon = json!({ "containers": [{ "name": "main", "image": "example/agent" }] });
        let daemons = json!({
            "apiVersion": "apps/v1", "kind": "DaemonSet",
            "metadata": { "name": "agent", "namespace": NAMESPACE },
            "spec": {
                "selector": { "matchLabels": { "app": "agent" } },
                "template": { "metadata": { "labels": { "app": "agent" } }, "spec": daemon },
            },
        });
        world.create::<DaemonSet>(daemons).await;
        world.group(REFUGE, 1, 1, &["large-16"], quick()).await;
        world.until_ready(rounds.len() + 1).await;
        world.until_running("agent", rounds.len() + 1).await;
        self.stop().await;
    }

    /// Starts an operator that ends at a failpoint, or at none.
    fn start(&mut self, failpoint: Option<&'static str>) {
        match self.program {
            Some(program) => {
                let start = Start {
                    failpoint,
                    ..Start::default()
                };
                self.process = Some(OperatorProcess::start(program, &self.world, &start));
            }
            None => {
                failpoint::arm(failpoint);
                self.world.start_operator();
            }
        }
    }

    async fn stop(&mut self) {
        match self.process.take() {
            Some(process) => process.kill(),
            None => self.world.stop_operator().await,
        }
    }

    async fn until_ended(&mut self, round: &Round) {
        let what = format!("the operator comes to {}", round.point);
        match &mut self.process {
            Some(process) => {
                let process = Mutex::new(process);
                self.world
                    .until(&what, async || process.lock().unwrap().ended().is_some())
                    .await;
                let status = process.lock().unwrap().wait();
                assert_eq!(status.signal(), Some(SIGABRT), "{what}: it ended with {status}");
                self.process = None;
            }
            None => self.world.until_operator_fails(&what).await,
        }
    }

    /// Waits until the Lease names this replica.
    async fn until_leads(&self, replica: &str) {
        let leases: Api<Lease> = Api::namespaced(self.world.client.clone(), "kube-system");
        self.world
            .until(&format!("{replica} leads"), async || {
                let lease = leases.get_opt("vpsie-autoscaler-leader").await.unwrap();
                let holder = lease.and_then(|lease| lease.spec?.holder_identity);
                // The name of a holder has a part behind it that is new for every process.
                holder.is_some_and(|holder| holder.split_once('_').is_some_and(|(name, _)| name == replica))
            })
            .await;
    }

    async fn is_cordoned(&self, node: &str) -> bool {
        let nodes: Api<Node> = Api::all(self.world.client.clone());
        nodes
            .get_opt(node)
            .await
            .unwrap()
            .is_some_and(|node| is_cordoned(&node))
    }

    /// Lets the node of a round go, and objects to it once its drain has begun if the round is of that kind.
    async fn begin(&self, round: &Round) {
        let world = &self.world;
        let budgets = || world.list::<PodDisruptionBudget>("");
        world
            .until("every budget is whole", async || {
                let allowed = |budget: &PodDisruptionBudget| budget.status.as_ref()?.disruptions_allowed;
                budgets().await.iter().all(|budget| allowed(budget) == Some(1))
            })
            .await;
        if round.opposed {
            // The budget does not recover before the objection is there.
            world.kubelets.hold_pods();
        }
        world.change_group(&round.name, json!({ "minNodes": 0 })).await;
        if !round.opposed {
            return;
        }
        world
            .until("the node is being drained", async || {
                let machines = self.machines(&round.name).await;
                let removal = machines
                    .iter()
                    .find_map(|machine| machine.status.as_ref()?.removal.as_ref()?.phase);
                removal == Some(api::RemovalPhase::Draining)
            })
            .await;
        let nodes: Api<Node> = Api::all(world.client.clone());
        let objection = Patch::Merge(json!({ "metadata": { "annotations": { (api::labels::PROTECTED): "true" } } }));
        for node in self.nodes_of(&round.name).await {
            nodes.patch(&node, &PatchParams::default(), &objection).await.unwrap();
        }
        world.kubelets.release_pods();
    }

    /// Waits until the removal of a round has ended, and nothing else is left open.
    async fn until_settled(&self, round: &Round) {
        let world = &self.world;
        let what = format!("all is settled after a kill at {}", round.point);
        world
            .until(&what, async || {
                let machines = self.machines(&round.name).await;
                let ended = if round.opposed {
                    let phase = |machine: &api::VPSieNode| machine.status.as_ref()?.removal.as_ref()?.phase;
                    machines.iter().all(|machine| {
                        machine.phase() == api::Phase::Ready && phase(machine) == Some(api::RemovalPhase::Failed)
                    }) && machines.len() == 1
                } else {
                    machines.is_empty() && self.nodes_of(&round.name).await.is_empty()
                };
                let pods = world.pods(&round.name).await;
                ended && pods.len() == round.pods && pods.iter().all(is_running) && self.is_tidy().await
            })
            .await;
    }

    /// Checks that what was done before the kill had been written down: a cordon of ours belongs to a removal, and a VM
    /// that is deleted to one that has passed the point of no return.
    async fn assert_recorded(&self, round: &Round) {
        let removing = |machine: &api::VPSieNode| {
            let phase = machine.status.as_ref()?.removal.as_ref()?.phase;
            phase.filter(|phase| *phase != api::RemovalPhase::Failed)
        };
        let machines = self.world.list::<api::VPSieNode>("").await;
        let vms = self.world.mock.vms();
        for machine in &machines {
            let node = machine.status.as_ref().and_then(|status| status.node_name.clone());
            let runs = vms
                .iter()
                .any(|vm| Some(&vm.hostname) == node.as_ref() && vm.status == "running");
            assert!(
                runs || machine.phase() == api::Phase::Deleting,
                "the VM of {} is being deleted, and that was not written down before {round:?}",
                machine.name_any()
            );
        }
        for node in self.world.list::<Node>("").await {
            let mark = node.annotations().get(api::labels::CORDONED_BY);
            let stands_behind =
                |machine: &api::VPSieNode| machine.metadata.uid.as_ref() == mark && removing(machine).is_some();
            assert!(
                mark.is_none() || machines.iter().any(stands_behind),
                "no removal stands behind the cordon of {} after {round:?}\n{}",
                node.name_any(),
                self.world.picture().await
            );
        }
    }

    /// Whether every VM has a VPSieNode and a Node, no node is cordoned, and no Node has our mark.
    async fn is_tidy(&self) -> bool {
        let world = &self.world;
        let nodes = world.list::<Node>("").await;
        let open = |node: &Node| !is_cordoned(node) && !node.annotations().contains_key(api::labels::CORDONED_BY);
        let names: BTreeSet<String> = nodes.iter().map(ResourceExt::name_any).collect();
        let machines: BTreeSet<String> = world
            .list::<api::VPSieNode>("")
            .await
            .iter()
            .filter_map(|machine| machine.status.as_ref()?.node_name.clone())
            .collect();
        let vms: BTreeSet<String> = world.mock.vms().into_iter().map(|vm| vm.hostname).collect();
        nodes.iter().all(open) && names == machines && names == vms
    }

    async fn machines(&self, group: &str) -> Vec<api::VPSieNode> {
        let mut machines = self.world.list::<api::VPSieNode>("").await;
        machines.retain(|machine| machine.spec.node_group_name == group);
        machines
    }

    async fn nodes_of(&self, group: &str) -> BTreeSet<String> {
        let label = format!("{}={group}", api::labels::NODE_GROUP);
        let nodes = self.world.list::<Node>(&label).await;
        nodes.iter().map(ResourceExt::name_any).collect()
    }
}

/// A node may go as soon as it is not needed.
fn quick() -> Value {
    json!({ "scaleDownPolicy": { "stabilizationWindowSeconds": 0, "cooldownSeconds": 0 } })
}
