//! The operator as a whole: watches, lease, loop and what they tell, until it is told to stop.

use std::{
    hash::{BuildHasher, RandomState},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use autoscaler_core::{provider::CloudProvider, usage::WindowShape};
use autoscaler_metrics::record::{self, NodeMetricsReading};
use autoscaler_scaler::{
    actuate::{Actuator, ActuatorSettings},
    api,
    clients::Clients,
    events::Events,
    index::Index,
    lease::{LeaseKeeper, LeaseSettings},
    run::{Clock, Loop, LoopSettings, Observer, Progress},
    utilization::{Reading, Sampler, SamplerReport, SamplerSettings},
    watch::{WatchReport, Watches},
};
use jiff::SignedDuration;
use kube::{Api, api::ListParams};
use tokio_util::sync::CancellationToken;

use crate::{
    command::Failure,
    explain::answer::{Explainer, Known},
    observe::Recorder,
    serve::Health,
};

/// What an operator needs to know.
#[derive(Clone)]
pub struct Settings {
    /// Name of the cluster at the provider.
    pub cluster: String,
    /// Name of this replica.
    pub identity: String,
    /// The node it runs on.
    pub own_node: Option<String>,
    /// Whether to plan and report without acting.
    pub dry_run: bool,
    /// The Lease to elect a leader by: namespace and name. `None` acts at once.
    pub lease: Option<(String, String)>,
    /// How often to decide when nothing changes.
    pub scan_interval: Duration,
    /// How long the cluster must be quiet before a change is decided upon.
    pub batch_idle: Duration,
    /// How long a change waits for quiet at the most.
    pub batch_max: Duration,
    /// Shortest time between two lists of the provider's VMs.
    pub list_interval: SignedDuration,
    /// The window of measured use that nodes are judged by.
    pub usage_window: WindowShape,
    /// How often `metrics.k8s.io` is read: the interval of that window, unless the clock runs at another speed.
    pub usage_pause: Duration,
    /// The time.
    pub clock: Clock,
    /// Hears of what happens, besides metrics and health.
    pub observer: Option<Observer>,
    /// Explains from what was decided upon last.
    pub explainer: Explainer,
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings")
            .field("cluster", &self.cluster)
            .field("identity", &self.identity)
            .finish_non_exhaustive()
    }
}

/// Runs the operator until the token is cancelled, or until it may not act any more.
///
/// # Errors
/// When the CustomResourceDefinitions are missing, or the Lease is lost. Then the process must exit: a replacement
/// starts from what is persisted.
pub async fn operate(
    clients: Clients,
    provider: Arc<dyn CloudProvider>,
    settings: Settings,
    health: &Health,
    stop: CancellationToken,
) -> Result<(), Failure> {
    require_crds(&clients).await?;
    let index = Index::default();
    let watches = Watches::new(index.clone());
    // The watches go on while the loop finishes its last step.
    let stop_watches = CancellationToken::new();
    // However this ends: nobody would stop them when it is dropped or unwinds.
    let _stop_watches = stop_watches.clone().drop_guard();
    let watching = tokio::spawn({
        let (watches, client, stop) = (watches.clone(), clients.read.clone(), stop_watches.clone());
        async move { watches.run(&client, &report_watch, &stop).await }
    });
    let sampling = tokio::spawn(sample(
        &clients,
        &index,
        &settings,
        watches.clone(),
        stop_watches.clone(),
    ));
    let result = lead(&clients, provider, settings, health, index, &watches, stop).await;
    health.set_shutting_down();
    stop_watches.cancel();
    if let Err(error) = sampling.await {
        tracing::error!(%error, "the sampler of measured use ended badly");
    }
    if let Err(error) = watching.await {
        tracing::error!(%error, "the watches ended badly");
    }
    result
}

/// Samples what nodes use, from when they are known. It does so also while another replica leads: a new leader then has its
/// windows.
fn sample(
    clients: &Clients,
    index: &Index,
    settings: &Settings,
    watches: Watches,
    stop: CancellationToken,
) -> impl Future<Output = ()> + Send + use<> {
    let sampler_settings = SamplerSettings {
        shape: settings.usage_window,
        pause: settings.usage_pause,
        clock: Arc::clone(&settings.clock),
    };
    // The client for writes is the one that is bounded in time and repeats nothing by itself.
    let sampler = Sampler::new(clients.write.clone(), index.clone(), sampler_settings);
    async move {
        tokio::select! {
            () = watches.synced() => {}
            () = stop.cancelled() => return,
        }
        sampler.run(&report_sampler, &stop).await;
    }
}

/// Waits for the lease, runs the loop, and gives the lease back.
async fn lead(
    clients: &Clients,
    provider: Arc<dyn CloudProvider>,
    settings: Settings,
    health: &Health,
    index: Index,
    watches: &Watches,
    stop: CancellationToken,
) -> Result<(), Failure> {
    let Some((namespace, name)) = settings.lease.clone() else {
        record::leader(true);
        health.set_leader(true);
        run_loop(clients, provider, settings, health, index, watches, &stop).await;
        return Ok(());
    };
    let keeper = LeaseKeeper::new(
        clients.evict.clone(),
        &namespace,
        &name,
        &settings.identity,
        LeaseSettings::default(),
    );
    let token = keeper.token();
    let shutdown = stop.clone();
    let keeping = tokio::spawn(keeper.run(shutdown));
    let elected = tokio::select! {
        elected = token.elected() => elected,
        () = stop.cancelled() => false,
    };
    if elected {
        tracing::info!(identity = settings.identity, "this replica leads");
        record::leader(true);
        health.set_leader(true);
        // When leadership is lost the loop is dropped in the middle of whatever it does, as by a crash: whatever it does
        // can be taken up by the next leader. When it is told to stop it finishes its step first.
        let lost = token.lost();
        tokio::select! {
            () = run_loop(clients, provider, settings, health, index, watches, &stop) => {}
            () = lost.cancelled() => tracing::error!("the lease is lost; nothing more is done"),
        }
        record::leader(false);
        health.set_leader(false);
    }
    drop(token);
    match keeping.await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(Failure::failed(&error)),
        Err(error) => Err(Failure::failed(&error)),
    }
}

async fn run_loop(
    clients: &Clients,
    provider: Arc<dyn CloudProvider>,
    settings: Settings,
    health: &Health,
    index: Index,
    watches: &Watches,
    stop: &CancellationToken,
) {
    tokio::select! {
        () = watches.synced() => health.set_synced(true),
        () = stop.cancelled() => return,
    }
    index.set_own_node(settings.own_node);
    let events = Events::new(clients.write.clone(), &settings.identity);
    let recorder = Mutex::new(Recorder::default());
    let observer: Observer = {
        let (health, also) = (health.clone(), settings.observer);
        let learn = teacher(settings.explainer, &index, &settings.clock);
        Arc::new(move |progress| {
            health.tick();
            learn(progress);
            recorder.lock().unwrap_or_else(PoisonError::into_inner).record(progress);
            if let Some(also) = &also {
                also(progress);
            }
        })
    };
    // The keys of a `RandomState` come from the operating system.
    let seed = RandomState::new().hash_one(&settings.identity);
    let actuator = Actuator::new(
        clients.clone(),
        Arc::clone(&provider),
        index.clone(),
        events.clone(),
        ActuatorSettings {
            list_interval: settings.list_interval,
            ..ActuatorSettings::new(settings.cluster, seed)
        },
    );
    let loop_settings = LoopSettings {
        dry_run: settings.dry_run,
        scan_interval: settings.scan_interval,
        batch_idle: settings.batch_idle,
        batch_max: settings.batch_max,
        offerings_interval: Duration::from_secs(300),
        clock: settings.clock,
        observer,
    };
    let planning = Loop::new(index, clients.clone(), provider, actuator, events, loop_settings);
    // What a pass holds across its awaits is large, and not every future around it need carry it.
    Box::pin(planning.run(stop)).await;
}

/// Tells the explainer, with the first decision, what decisions are made from.
fn teacher(explainer: Explainer, index: &Index, clock: &Clock) -> impl Fn(&Progress<'_>) + Send + Sync + use<> {
    let (index, clock) = (index.clone(), Arc::clone(clock));
    move |progress| {
        if matches!(progress, Progress::Planned { .. }) && !explainer.knows() {
            explainer.learn(Known {
                index: index.clone(),
                clock: Arc::clone(&clock),
            });
        }
    }
}

/// Says at once what is missing, instead of a watch that fails for ever.
async fn require_crds(clients: &Clients) -> Result<(), Failure> {
    let groups: Api<api::NodeGroup> = Api::all(clients.read.clone());
    match groups.list(&ListParams::default().limit(1)).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 404 => Err(Failure::Failed(
            "the CustomResourceDefinitions are not installed; `vpsie-autoscaler crds | kubectl apply -f -` installs them".to_owned(),
        )),
        Err(error) => Err(Failure::Failed(format!("NodeGroups cannot be listed: {error}"))),
    }
}

fn report_sampler(report: SamplerReport) {
    let SamplerReport {
        reading,
        measured,
        changed,
    } = report;
    let result = match &reading {
        Reading::Completed { .. } => NodeMetricsReading::Completed,
        Reading::Missing => NodeMetricsReading::Missing,
        Reading::Failed { .. } => NodeMetricsReading::Failed,
    };
    record::node_metrics_reading(result, measured);
    match reading {
        Reading::Completed { nodes, left_out } if changed => tracing::info!(
            nodes,
            left_out,
            "metrics.k8s.io is served: a node is removed only when what is measured on it is low too"
        ),
        Reading::Completed { nodes, left_out } => tracing::debug!(nodes, left_out, "metrics.k8s.io was read"),
        Reading::Missing if changed => {
            tracing::info!("metrics.k8s.io is not served: utilization is that of requests alone");
        }
        Reading::Failed { message } if changed && !measured => {
            tracing::warn!(
                message,
                "metrics.k8s.io cannot be read: utilization is that of requests alone"
            );
        }
        Reading::Failed { message } => tracing::debug!(message, "metrics.k8s.io cannot be read and is tried again"),
        Reading::Missing => {}
    }
}

fn report_watch(report: WatchReport) {
    match report {
        WatchReport::Failed { kind, message } => {
            tracing::warn!(kind, message, "a watch failed and is tried again");
            record::watch_error(kind);
        }
        WatchReport::Unreadable { kind, object, message } => {
            tracing::error!(
                kind,
                object,
                message,
                "an object cannot be read and is left out of every decision"
            );
            record::invalid_object(kind);
        }
    }
}
