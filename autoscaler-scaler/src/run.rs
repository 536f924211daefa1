//! The loop: watches fill the index, the index gives a snapshot, the planner a plan, and the actuator carries it out.
//!
//! There is one loop and one place where decisions are made. It is woken by changes, in batches, and by a timer, so
//! that a lost event costs seconds and not a decision.

use std::{fmt, sync::Arc, time::Duration};

use autoscaler_core::{
    check::{Violation, check},
    plan::Plan,
    planner::{self, Options},
    provider::CloudProvider,
    snapshot::{Problem, Snapshot},
};
use jiff::Timestamp;
use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::{
    actuate::{Actuator, TickReport},
    clients::Clients,
    events::Events,
    index::{Index, Reading},
    nodes::NodeEvents,
    pods::PodEvents,
    status::Decisions,
};

/// Tells the time. The demo's runs faster, and that of tests stands still.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// Hears of what the loop does.
pub type Observer = Arc<dyn Fn(&Progress<'_>) + Send + Sync>;

/// How the loop runs.
#[derive(Clone)]
pub struct LoopSettings {
    /// Whether to plan and report without acting.
    pub dry_run: bool,
    /// How often to decide when nothing changes.
    pub scan_interval: Duration,
    /// How long the cluster must be quiet before a change is decided upon.
    pub batch_idle: Duration,
    /// How long a change waits for quiet at the most.
    pub batch_max: Duration,
    /// How long a list of offerings is good for.
    pub offerings_interval: Duration,
    /// The time.
    pub clock: Clock,
    /// Hears of what happens.
    pub observer: Observer,
}

/// What the loop did.
#[derive(Debug)]
#[non_exhaustive]
pub enum Progress<'a> {
    /// A decision was made.
    Planned {
        /// What it was made from.
        snapshot: &'a Snapshot,
        /// The decision.
        plan: &'a Plan,
        /// How long snapshot and decision took.
        took: Duration,
    },
    /// A decision breaks an invariant and is not carried out. This is a defect of the planner.
    Rejected {
        /// What it breaks.
        violations: &'a [Violation],
    },
    /// Operations were carried on.
    Acted(&'a TickReport),
    /// Something went wrong that is tried again.
    Problem {
        /// What was tried.
        operation: &'static str,
        /// What went wrong.
        message: String,
    },
}

/// The loop and what it works with.
pub struct Loop {
    index: Index,
    clients: Clients,
    provider: Arc<dyn CloudProvider>,
    actuator: Actuator,
    pod_events: PodEvents,
    node_events: NodeEvents,
    decisions: Decisions,
    settings: LoopSettings,
    offerings_read_at: Option<Instant>,
    /// What was wrong with the objects of the last decision.
    problems: Vec<Problem>,
}

// === impl Loop ===

impl Loop {
    /// A loop over an index that watches keep filling.
    #[must_use]
    pub fn new(
        index: Index,
        clients: Clients,
        provider: Arc<dyn CloudProvider>,
        actuator: Actuator,
        events: Events,
        settings: LoopSettings,
    ) -> Self {
        Self {
            index,
            clients,
            provider,
            actuator,
            pod_events: PodEvents::new(events.clone()),
            node_events: NodeEvents::new(events),
            decisions: Decisions::default(),
            settings,
            offerings_read_at: None,
            problems: Vec::new(),
        }
    }

    /// Runs until the token is cancelled. The step that is under way when that happens is finished first, so that no
    /// reply of the provider is lost; every step is bounded in time, and none is begun after it.
    ///
    /// The index must be complete, and this replica must be the one that acts.
    pub async fn run(mut self, stop: &CancellationToken) {
        let mut changes = self.index.changes();
        while !stop.is_cancelled() {
            changes.mark_unchanged();
            let wake_after = self.turn(stop).await;
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.quiet_after_change(&mut changes) => {}
                () = tokio::time::sleep(wake_after) => {}
            }
        }
    }

    /// Carries on what is under way, decides, and starts what was decided. Returns when to come back at the latest.
    async fn turn(&mut self, stop: &CancellationToken) -> Duration {
        let mut wake_after = self.settings.scan_interval;
        // A capacity error of the provider makes the next best offering the right answer at once. Each round rules out
        // at least one offering, so this ends by itself; the bound is for a provider that refuses everything.
        for _round in 0..16 {
            let report = self.act().await;
            wake_after = wake_after.min(report.wake_after.unwrap_or(wake_after));
            if stop.is_cancelled() || !self.decide().await {
                return wake_after;
            }
            // What was started is recorded: whoever leads next goes on with it.
            if stop.is_cancelled() {
                return wake_after;
            }
            let report = self.act().await;
            wake_after = wake_after.min(report.wake_after.unwrap_or(wake_after));
            if !report.replan || stop.is_cancelled() {
                return wake_after;
            }
        }
        wake_after
    }

    async fn act(&mut self) -> TickReport {
        if self.settings.dry_run {
            return TickReport::default();
        }
        let report = self.actuator.tick(&self.index.cluster(), (self.settings.clock)()).await;
        (self.settings.observer)(&Progress::Acted(&report));
        report
    }

    /// Decides once and starts what was decided. Returns whether anything was started.
    async fn decide(&mut self) -> bool {
        if !self.know_offerings().await {
            // Without a catalogue nothing can be bought; what is under way goes on.
            return false;
        }
        let now = (self.settings.clock)();
        let begun = Instant::now();
        let Some(Reading { cluster, snapshot }) = self.index.reading() else {
            // The end of the list is a change, which leads back here.
            tracing::debug!("a list is half taken in; the decision waits for its end");
            return false;
        };
        let plan = planner::plan(&snapshot, &Options::default(), now);
        let violations = check(&snapshot, &plan);
        (self.settings.observer)(&Progress::Planned {
            snapshot: &snapshot,
            plan: &plan,
            took: begun.elapsed(),
        });
        if !violations.is_empty() {
            for violation in &violations {
                tracing::error!(%violation, "a plan breaks an invariant and is not carried out");
            }
            (self.settings.observer)(&Progress::Rejected {
                violations: &violations,
            });
            return false;
        }
        self.log(&snapshot, &plan);
        if self.settings.dry_run {
            return false;
        }
        self.pod_events.report(&snapshot, &plan, now).await;
        // Pods wait for new nodes, and nobody waits for the rest.
        for (operation, result) in [
            (
                "begin creations",
                self.actuator.begin_creations(&cluster, &snapshot, &plan, now).await,
            ),
            (
                "begin removals",
                self.actuator.begin_removals(&cluster, &snapshot, &plan, now).await,
            ),
            (
                "record what is decided about nodes",
                self.decisions
                    .record(&self.clients.write, &self.index, &cluster, &snapshot, &plan)
                    .await,
            ),
            (
                "mark deletion candidates",
                self.actuator.mark_candidates(&cluster, &snapshot, &plan).await,
            ),
        ] {
            if let Err(error) = result {
                self.problem(operation, error.to_string());
            }
        }
        self.node_events.report(&cluster, &snapshot, &plan, now).await;
        !plan.is_empty()
    }

    /// Writes what is new in a decision to the log.
    fn log(&mut self, snapshot: &Snapshot, plan: &Plan) {
        let dry_run = self.settings.dry_run;
        for creation in &plan.creations {
            let (group, offering) = (snapshot.group_name(creation.group), &creation.offering);
            tracing::info!(dry_run, group, %offering, price = %creation.hourly_price, pods = creation.pods.len(), "a node is to be created");
        }
        for removal in &plan.removals {
            let (node, group) = (
                snapshot.text(snapshot.node(removal.node).name),
                snapshot.group_name(removal.group),
            );
            tracing::info!(
                dry_run,
                node,
                group,
                kind = removal.kind.as_str(),
                pods = removal.moves.len(),
                "a node is to be removed"
            );
        }
        if self.problems != snapshot.problems {
            for problem in &snapshot.problems {
                let Problem { object, field, message } = problem;
                tracing::warn!(object, field, message, "an object is not understood in full");
            }
            self.problems.clone_from(&snapshot.problems);
        }
    }

    /// Whether the index has the catalogue; an old one when a new one cannot be had.
    async fn know_offerings(&mut self) -> bool {
        let interval = self.settings.offerings_interval;
        if self.offerings_read_at.is_none_or(|at| interval <= at.elapsed()) {
            match self.provider.offerings().await {
                Ok(list) => {
                    self.index.set_offerings(list);
                    self.offerings_read_at = Some(Instant::now());
                }
                Err(error) => self.problem("read the offerings", error.to_string()),
            }
        }
        self.offerings_read_at.is_some()
    }

    fn problem(&self, operation: &'static str, message: String) {
        tracing::warn!(operation, message, "an operation failed and is tried again");
        (self.settings.observer)(&Progress::Problem { operation, message });
    }

    /// Waits for a change and then for quiet, but not for ever.
    async fn quiet_after_change(&self, changes: &mut watch::Receiver<u64>) {
        // The sender lives in the index, which lives in `self`: a wait ends by a change only.
        if changes.changed().await.is_err() {
            return;
        }
        let latest = Instant::now() + self.settings.batch_max;
        loop {
            let quiet = tokio::time::sleep_until((Instant::now() + self.settings.batch_idle).min(latest));
            tokio::select! {
                () = quiet => return,
                changed = changes.changed() => if changed.is_err() { return },
            }
        }
    }
}

impl fmt::Debug for Loop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Loop")
            .field("provider", &self.provider)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for LoopSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoopSettings")
            .field("dry_run", &self.dry_run)
            .finish_non_exhaustive()
    }
}
