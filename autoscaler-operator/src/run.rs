//! `run`: the operator against a real cluster.

use std::{sync::Arc, time::Duration};

use autoscaler_core::usage::WindowShape;
use autoscaler_metrics::Exporter;
use autoscaler_scaler::clients::Clients;
use jiff::{SignedDuration, Timestamp};
use kube::{
    Config,
    config::{KubeConfigOptions, Kubeconfig},
};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::{
    args::RunArgs,
    command::Failure,
    explain::answer::Explainer,
    operate::{Settings, operate},
    serve::{self, Addresses, Health},
    telemetry,
    vpsie::{self, VpsieAccess},
};

/// How long without a turn of the loop until it counts as stuck. One turn may carry several slow calls to the provider.
const MAX_LOOP_AGE: Duration = Duration::from_secs(600);

/// Runs until SIGTERM or SIGINT; a second signal ends the process at once.
///
/// # Errors
/// When the operator cannot start, or may not act any more.
pub async fn run(args: RunArgs) -> Result<(), Failure> {
    telemetry::init(args.log_format, &args.log_level).map_err(Failure::input)?;
    let usage_window = usage_window(&args)?;
    let exporter = Exporter::install().map_err(|error| Failure::failed(&error))?;
    autoscaler_metrics::record::build_info(env!("CARGO_PKG_VERSION"));
    let clients = Clients::new(config(&args).await?).map_err(|error| Failure::failed(&error))?;
    let health = Health::new(MAX_LOOP_AGE);
    let stop = stop_on_signals()?;
    // Servers stop last, so that probes and metrics see the rest of a shutdown.
    let stop_servers = CancellationToken::new();
    let addresses = Addresses {
        health: args.health_addr,
        metrics: args.metrics_addr,
    };
    let explainer = Explainer::default();
    let servers = serve::start(
        addresses,
        health.clone(),
        exporter.clone(),
        explainer.clone(),
        &stop_servers,
    );
    let servers = servers.await.map_err(|error| Failure::failed(&error))?;
    tracing::info!(health = %servers.addresses.health, metrics = %servers.addresses.metrics, "listening");
    let upkeep = tokio::spawn(exporter.run_upkeep(stop_servers.clone()));
    let access = VpsieAccess {
        namespace: args.vpsie_secret_namespace,
        name: args.vpsie_secret_name,
        default_url: args.vpsie_url,
        allow_plain_http: args.vpsie_allow_plain_http,
    };
    let provider = vpsie::connect(&clients.read, &access).await?;
    let settings = Settings {
        cluster: args.cluster,
        identity: identity(args.identity),
        own_node: args.own_node,
        dry_run: args.dry_run,
        lease: args
            .leader_election
            .then_some((args.leader_election_namespace, args.leader_election_id)),
        scan_interval: args.scan_interval,
        batch_idle: args.batch_idle,
        batch_max: args.batch_max,
        list_interval: SignedDuration::try_from(args.vpsie_list_interval).map_err(|error| Failure::failed(&error))?,
        usage_window,
        usage_pause: args.utilization_interval,
        clock: Arc::new(Timestamp::now),
        observer: None,
        explainer,
    };
    let result = operate(clients, provider, settings, &health, stop).await;
    stop_servers.cancel();
    servers.stopped().await.map_err(|error| Failure::failed(&error))?;
    upkeep.await.map_err(|error| Failure::failed(&error))?;
    result
}

fn usage_window(args: &RunArgs) -> Result<WindowShape, Failure> {
    let signed = |duration: Duration| SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX);
    WindowShape::new(signed(args.utilization_window), signed(args.utilization_interval))
        .map_err(|error| Failure::Input(format!("--utilization-window, --utilization-interval: {error}")))
}

async fn config(args: &RunArgs) -> Result<Config, Failure> {
    let Some(path) = &args.kubeconfig else {
        return Config::infer().await.map_err(|error| Failure::failed(&error));
    };
    let failed = |error: kube::config::KubeconfigError| Failure::Input(format!("{}: {error}", path.display()));
    let kubeconfig = Kubeconfig::read_from(path).map_err(failed)?;
    Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
        .await
        .map_err(failed)
}

/// The given name, else that of the host, which in a cluster is the name of the pod.
fn identity(given: String) -> String {
    if !given.is_empty() {
        return given;
    }
    let host = std::fs::read_to_string("/etc/hostname").unwrap_or_default();
    let host = host.trim();
    if host.is_empty() {
        "vpsie-autoscaler".to_owned()
    } else {
        host.to_owned()
    }
}

/// A token that the first SIGTERM or SIGINT cancels. The second ends the process.
fn stop_on_signals() -> Result<CancellationToken, Failure> {
    let failed = |error: std::io::Error| Failure::Failed(format!("signals cannot be handled: {error}"));
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let token = CancellationToken::new();
    let cancelled = token.clone();
    tokio::spawn(async move {
        let mut signals = 0;
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            signals += 1;
            if 1 < signals {
                std::process::abort();
            }
            tracing::info!("stopping: the step under way is finished first; a second signal ends the process at once");
            cancelled.cancel();
        }
    });
    Ok(token)
}
