//! Carrying out: what turns decisions into VMs, Nodes and objects, and back.
//!
//! The actuator makes no choices. A plan becomes intents in the status of VPSieNodes
//! ([`begin_creations`](Actuator::begin_creations), [`begin_removals`](Actuator::begin_removals)), and each
//! [`tick`](Actuator::tick) carries every VPSieNode on as far as it can be carried now, by the state machine of
//! [`autoscaler_core::lifecycle`]. What has to survive a restart is in the objects; what is only remembered here is
//! timing.
//!
//! This file has the public types and the tick. `machine` carries one VPSieNode on, `observe` looks at what the state
//! machine needs to see, `record` reads and writes its status, `vms` judges the provider's list; `create`, `join`,
//! `drain` and `remove` are the effects, `group` keeps NodeGroups, `backoff` what cannot be had for them, `orphans` looks
//! after VMs that belong to no VPSieNode, and `cordons` after cordons that belong to no removal.

mod backoff;
mod candidates;
mod cordons;
mod create;
mod drain;
mod group;
mod join;
mod machine;
mod observe;
mod orphans;
mod record;
mod remove;
mod user_data;
mod vms;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use autoscaler_core::{
    lifecycle::{Deadlines, RemovalKind},
    provider::{CloudProvider, InstanceId, ProviderError, ProviderErrorKind},
};
use futures::{FutureExt as _, StreamExt as _, future::BoxFuture};
use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt as _;
use tokio::{sync::Semaphore, time::Instant};

use crate::{
    api::{GlobalSettings, VPSieNode},
    clients::Clients,
    events::Events,
    index::{Cluster, Index, Key},
};

pub(crate) use self::join::reference as node_reference;
use self::{drain::Attempts, observe::Sight, vms::Vms};

/// VPSieNodes that are carried on at the same time, and creates at the same time when nothing else is set.
const CONCURRENCY: usize = 16;

/// How the actuator works.
#[derive(Clone, Debug)]
pub struct ActuatorSettings {
    /// Identity of this cluster: the tag of its VMs.
    pub cluster: String,
    /// How long things may take in a cluster without an AutoscalerConfig, which has its own `phaseTimeouts`.
    pub deadlines: Deadlines,
    /// Shortest time between two lists of the provider's VMs, however much one is wanted.
    pub list_interval: SignedDuration,
    /// Longest time between two lists: how soon a VM that vanished is noticed.
    pub check_interval: SignedDuration,
    /// Start of the sequence that names and tokens of new VPSieNodes come from. Two actuators of one cluster, also one
    /// after the other, should have different ones; if they do not, the API server notices.
    pub seed: u64,
}

/// Carries decisions out.
pub struct Actuator {
    clients: Clients,
    provider: Arc<dyn CloudProvider>,
    index: Index,
    events: Events,
    settings: ActuatorSettings,
    memory: Mutex<Memory>,
}

/// What one tick did.
#[derive(Debug, Default)]
#[must_use = "the report says when the next tick is due"]
pub struct TickReport {
    /// When to come back at the latest; `None` when nothing is under way.
    pub wake_after: Option<Duration>,
    /// Whether a new decision is due at once, because what an earlier one wanted cannot be had.
    pub replan: bool,
    /// What happened, for metrics.
    pub facts: Vec<Fact>,
    /// What went wrong and is tried again.
    pub problems: Vec<Problem>,
}

/// Something that went wrong with one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Kind, namespace and name, for example `VPSieNode default/web-1a2b3c4d`.
    pub object: String,
    /// What was tried.
    pub operation: &'static str,
    /// What went wrong.
    pub message: String,
}

/// Something that happened, for metrics. Groups are `namespace/name`, nodes are named by their VPSieNode.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[expect(
    missing_docs,
    reason = "fields are named for what they are: the group, the offering, the time it took"
)]
pub enum Fact {
    /// The provider took the order for a VM.
    VmCreated {
        group: String,
        offering: String,
        took: SignedDuration,
    },
    /// The provider refused an order, or its answer is not known; the reason is that of the error's kind.
    VmCreateFailed {
        group: String,
        offering: String,
        reason: &'static str,
    },
    /// A VM runs; the time counts from the create call.
    VmRunning { group: String, took: SignedDuration },
    /// A Node is Ready; the time counts from the create call.
    NodeReady { group: String, took: SignedDuration },
    /// A VPSieNode failed.
    NodeFailed { group: String, reason: String },
    /// The eviction API let a pod go, or it was deleted by force.
    PodEvicted { group: String, node: String, forced: bool },
    /// The eviction API refused.
    EvictionRefused { group: String },
    /// A node is drained; the time counts from the start of its removal.
    Drained {
        group: String,
        node: String,
        kind: RemovalKind,
        took: SignedDuration,
    },
    /// A removal was rolled back.
    RemovalFailed {
        group: String,
        node: String,
        reason: String,
    },
    /// The provider took the order to delete a VM.
    VmDeleteRequested { group: String },
    /// The provider no longer has a VM; the time counts from the order to delete it.
    VmDeleted { group: String, took: SignedDuration },
    /// A VPSieNode is gone.
    NodeRemoved { group: String },
    /// A call to the provider failed; the operation is `list`, `create` or `delete`.
    ProviderFailed {
        operation: &'static str,
        reason: &'static str,
    },
    /// VMs with the tag of this cluster that no VPSieNode stands for, at this list.
    Orphans { count: usize },
    /// An orphan was ordered to be deleted.
    OrphanDeleted,
}

/// What is remembered between ticks. Nothing of it has to survive a restart.
#[derive(Debug, Default)]
struct Memory {
    listed_at: Option<Timestamp>,
    list_not_before: Option<Timestamp>,
    create_not_before: Option<Timestamp>,
    /// Uids of VPSieNodes for whose VM the provider took a delete order.
    delete_accepted: BTreeSet<String>,
    attempts: Attempts,
    /// Since when each orphan is known.
    orphans: BTreeMap<InstanceId, Timestamp>,
    /// Names that were made.
    names: u64,
}

/// One tick: what all VPSieNodes share.
struct Tick<'a> {
    sight: Sight<'a>,
    config: GlobalSettings,
    has_config: bool,
    creates: Semaphore,
    start: Timestamp,
    since: Instant,
    result: Mutex<Collected>,
}

/// What comes together during a tick.
#[derive(Debug, Default)]
struct Collected {
    report: TickReport,
    refusals: Vec<backoff::Setback>,
    /// Groups of which a node passed the point of no return.
    shrunk: BTreeSet<Key>,
    /// How many removals of nodes of a group had to be undone.
    failed_removals: BTreeMap<Key, u32>,
}

// === impl ActuatorSettings ===

impl ActuatorSettings {
    /// The settings of a cluster that nothing special is known of.
    #[must_use]
    pub fn new(cluster: impl Into<String>, seed: u64) -> Self {
        Self {
            cluster: cluster.into(),
            deadlines: Deadlines::default(),
            list_interval: SignedDuration::from_secs(5),
            check_interval: SignedDuration::from_secs(60),
            seed,
        }
    }
}

// === impl Actuator ===

impl Actuator {
    /// An actuator for one cluster. The index must be complete before anything is asked of it.
    #[must_use]
    pub fn new(
        clients: Clients,
        provider: Arc<dyn CloudProvider>,
        index: Index,
        events: Events,
        settings: ActuatorSettings,
    ) -> Self {
        Self {
            clients,
            provider,
            index,
            events,
            settings,
            memory: Mutex::default(),
        }
    }

    /// Carries every VPSieNode on as far as possible, keeps the status of NodeGroups, and looks for orphans.
    ///
    /// It never waits for anything slower than one call. Whatever goes wrong with one object is reported and does not
    /// keep the others.
    pub async fn tick(&self, cluster: &Cluster, now: Timestamp) -> TickReport {
        let config = cluster
            .config
            .as_ref()
            .map(|config| config.spec.global_settings.clone());
        let has_config = config.is_some();
        let config = config.unwrap_or_else(GlobalSettings::without_config);
        let creates = match usize::try_from(config.max_concurrent_scale_ups) {
            Ok(limit) if 0 < limit => limit,
            _ => CONCURRENCY,
        };
        let mut collected = Collected::default();
        self.forget_the_gone(cluster);
        self.keep_finalizers(cluster, &mut collected.report).await;
        let vms = self.list_vms(cluster, now, &mut collected.report).await;
        let listed = vms.is_some();
        let tick = Tick {
            sight: Sight::new(cluster, self.index.clone(), vms.unwrap_or_default()),
            config,
            has_config,
            creates: Semaphore::new(creates),
            start: now,
            since: Instant::now(),
            result: Mutex::new(collected),
        };
        // Boxed, so that the compiler can see that the whole is `Send`.
        let mut machines: Vec<BoxFuture<'_, ()>> = Vec::with_capacity(cluster.machines.len());
        for (key, machine) in &cluster.machines {
            machines.push(self.carry_on(&tick, key, VPSieNode::clone(machine)).boxed());
        }
        futures::stream::iter(machines)
            .buffer_unordered(CONCURRENCY.max(creates))
            .collect::<()>()
            .await;
        if listed {
            self.sweep_orphans(&tick).await;
        }
        self.sweep_cordons(&tick).await;
        let collected = std::mem::take(&mut *tick.collected());
        self.finish(&tick, collected).await
    }

    /// What is left once every VPSieNode has been carried on.
    async fn finish(&self, tick: &Tick<'_>, collected: Collected) -> TickReport {
        let Collected {
            mut report,
            refusals,
            shrunk,
            failed_removals,
        } = collected;
        let now = tick.now();
        if let Some(snapshot) = tick.sight.judged_by() {
            self.memory().attempts.retain(snapshot);
        }
        report.replan = self.record_setbacks(refusals, now, &mut report).await;
        self.keep_group_status(&shrunk, &failed_removals, now, &mut report)
            .await;
        // The order in which replies came in must not show.
        report
            .problems
            .sort_by(|a, b| (&a.object, a.operation, &a.message).cmp(&(&b.object, b.operation, &b.message)));
        for Problem {
            object,
            operation,
            message,
        } in &report.problems
        {
            tracing::warn!(object, operation, message, "an operation failed and is tried again");
        }
        report
    }

    /// The provider's list, if one is due: at once when a VPSieNode wants it, else from time to time.
    async fn list_vms(&self, cluster: &Cluster, now: Timestamp, report: &mut TickReport) -> Option<Vms> {
        let objects = || cluster.machines.values();
        let wanted = objects().any(|machine| record::read(machine, now).wants_list());
        let interval = if wanted {
            self.settings.list_interval
        } else {
            self.settings.check_interval
        };
        let due = {
            let memory = self.memory();
            let next = memory.listed_at.and_then(|at| at.checked_add(interval).ok());
            next.max(memory.list_not_before).unwrap_or(now)
        };
        if now < due {
            report.come_back(due.duration_since(now));
            return None;
        }
        let expected: Vec<InstanceId> = objects()
            .filter(|machine| machine.status.as_ref().is_none_or(|status| status.deleted_at.is_none()))
            .filter_map(|machine| machine.instance_id().map(InstanceId::new))
            .collect();
        let vms = Vms::read(&*self.provider, &self.settings.cluster, &expected, now).await;
        let mut memory = self.memory();
        memory.listed_at = Some(now);
        report.come_back(interval);
        match vms {
            Ok(vms) => {
                for entry in vms.unreadable() {
                    tracing::warn!(
                        entry,
                        "an entry of the provider's list cannot be read; no VM counts as gone"
                    );
                }
                Some(vms)
            }
            Err(error) => {
                memory.list_not_before = retry_after(&error).and_then(|wait| now.checked_add(wait).ok());
                report.provider_failed("list", "VMs".to_owned(), &error);
                None
            }
        }
    }

    /// Drops what is remembered of objects that are no more.
    fn forget_the_gone(&self, cluster: &Cluster) {
        let mut memory = self.memory();
        if !memory.delete_accepted.is_empty() {
            let alive: BTreeSet<String> = cluster.machines.values().filter_map(|machine| machine.uid()).collect();
            memory.delete_accepted.retain(|uid| alive.contains(uid));
        }
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Actuator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Actuator")
            .field("provider", &self.provider)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

// === impl Tick ===

impl Tick<'_> {
    /// The time, which goes on while a tick waits for replies.
    fn now(&self) -> Timestamp {
        let elapsed = SignedDuration::try_from(self.since.elapsed()).unwrap_or(SignedDuration::ZERO);
        self.start.checked_add(elapsed).unwrap_or(self.start)
    }

    fn collected(&self) -> MutexGuard<'_, Collected> {
        self.result.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fact(&self, fact: Fact) {
        self.collected().report.facts.push(fact);
    }

    fn come_back(&self, wait: SignedDuration) {
        self.collected().report.come_back(wait);
    }

    fn problem(&self, object: String, operation: &'static str, message: String) {
        self.collected().report.problem(object, operation, message);
    }
}

// === impl TickReport ===

impl TickReport {
    fn come_back(&mut self, wait: SignedDuration) {
        let wait = Duration::try_from(wait).unwrap_or(Duration::ZERO);
        self.wake_after = Some(self.wake_after.map_or(wait, |earlier| earlier.min(wait)));
    }

    fn problem(&mut self, object: String, operation: &'static str, message: String) {
        // Whatever it was, it is tried again soon.
        self.come_back(SignedDuration::from_secs(5));
        self.problems.push(Problem {
            object,
            operation,
            message,
        });
    }

    fn provider_failed(&mut self, operation: &'static str, object: String, error: &ProviderError) {
        self.facts.push(Fact::ProviderFailed {
            operation,
            reason: error.kind.reason(),
        });
        self.problem(object, operation, error.to_string());
    }
}

/// How long the provider asks to be left alone.
fn retry_after(error: &ProviderError) -> Option<SignedDuration> {
    match error.kind {
        ProviderErrorKind::RateLimited { retry_after } => Some(
            retry_after
                .and_then(|wait| SignedDuration::try_from(wait).ok())
                .unwrap_or(SignedDuration::from_secs(30)),
        ),
        _ => None,
    }
}

/// Kind, namespace and name of a VPSieNode, for messages.
fn describe(machine: &VPSieNode) -> String {
    format!(
        "VPSieNode {}/{}",
        machine.namespace().unwrap_or_default(),
        machine.name_any()
    )
}
