//! The command line. Every flag can also be set by the environment variable that its help names.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::{Parser, Subcommand, ValueEnum};
use jiff::{SignedDuration, Timestamp};

use crate::telemetry::LogFormat;

/// Node autoscaler for Kubernetes clusters on the VPSie cloud.
#[derive(Debug, Parser)]
#[command(name = "vpsie-autoscaler", version, propagate_version = true)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the operator against a cluster.
    Run(Box<RunArgs>),
    /// Run the whole loop against an embedded Kubernetes API and a mock VPSie API; needs nothing installed.
    Demo(DemoArgs),
    /// Decide about a dump of Kubernetes objects and print the plan.
    Plan(PlanArgs),
    /// Say why something is as it is, rule by rule.
    Explain(ExplainArgs),
    /// Print the CustomResourceDefinitions.
    Crds(CrdsArgs),
}

/// Arguments of `run`.
#[derive(Debug, clap::Args)]
pub struct RunArgs {
    /// Kubeconfig file; without it the pod's service account, else the default kubeconfig is used.
    #[arg(long, env = "KUBECONFIG")]
    pub kubeconfig: Option<PathBuf>,
    /// Plan and report, but never act.
    #[arg(long)]
    pub dry_run: bool,
    /// Address of /metrics, /explain/pod and /explain/node.
    #[arg(long, default_value = "0.0.0.0:8080", value_parser = listen_address)]
    pub metrics_addr: SocketAddr,
    /// Address of /healthz, /readyz and /ping.
    #[arg(long, default_value = "0.0.0.0:8081", value_parser = listen_address)]
    pub health_addr: SocketAddr,
    /// Whether several replicas elect one that acts.
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set)]
    pub leader_election: bool,
    /// Name of the Lease.
    #[arg(long, default_value = "vpsie-autoscaler-leader")]
    pub leader_election_id: String,
    /// Namespace of the Lease.
    #[arg(long, default_value = "kube-system")]
    pub leader_election_namespace: String,
    /// Name of this replica in the Lease; the host name when empty.
    #[arg(long, env = "POD_NAME", default_value = "")]
    pub identity: String,
    /// The Node that this replica runs on; it is never removed.
    #[arg(long, env = "NODE_NAME")]
    pub own_node: Option<String>,
    /// Name of this cluster at the provider: VMs carry it as a tag. Two clusters of one account must have different ones.
    #[arg(long, env = "VPSIE_CLUSTER", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub cluster: String,
    /// Secret with the VPSie credentials: `token`, or `clientId` and `clientSecret`; optionally `url`.
    #[arg(long, default_value = "vpsie-secret")]
    pub vpsie_secret_name: String,
    /// Namespace of that Secret.
    #[arg(long, default_value = "kube-system")]
    pub vpsie_secret_namespace: String,
    /// Base URL of the VPSie API, when the Secret has none.
    #[arg(long, env = "VPSIE_URL", default_value = "https://api.vpsie.com")]
    pub vpsie_url: String,
    /// Speak plain HTTP to a VPSie API that is not on this machine.
    #[arg(long)]
    pub vpsie_allow_plain_http: bool,
    /// Shortest time between two lists of the VMs at VPSie.
    #[arg(long, default_value = "5s", value_parser = duration)]
    pub vpsie_list_interval: Duration,
    /// How often to decide when nothing changes.
    #[arg(long, default_value = "10s", value_parser = duration)]
    pub scan_interval: Duration,
    /// How long the cluster must be quiet before a change is decided upon.
    #[arg(long, default_value = "1s", value_parser = duration)]
    pub batch_idle: Duration,
    /// How long a change waits for quiet at the most.
    #[arg(long, default_value = "10s", value_parser = duration)]
    pub batch_max: Duration,
    /// How often to read what nodes use from metrics.k8s.io.
    #[arg(long, default_value = "60s", value_parser = duration)]
    pub utilization_interval: Duration,
    /// Span of time over which what nodes use must be low; 2 to 255 intervals.
    #[arg(long, default_value = "10m", value_parser = duration)]
    pub utilization_window: Duration,
    /// Which log lines to write: a level, or directives as of tracing.
    #[arg(long, env = "LOG_LEVEL", default_value = "info")]
    pub log_level: String,
    /// Form of the log lines.
    #[arg(long, value_enum, default_value_t = LogFormat::Json)]
    pub log_format: LogFormat,
}

/// Arguments of `demo`.
#[derive(Debug, clap::Args)]
pub struct DemoArgs {
    /// How many times faster than real time the demo's clocks run.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=600))]
    pub time_scale: u32,
    /// Which log lines of the operator to write besides what the demo tells.
    #[arg(long, default_value = "off")]
    pub log_level: String,
}

/// Arguments of `plan`.
#[derive(Debug, clap::Args)]
pub struct PlanArgs {
    /// Files of Kubernetes objects, YAML or JSON; `-` is standard input.
    #[arg(short = 'f', long = "filename", required = true, num_args = 1.., value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// How to read them.
    #[command(flatten)]
    pub dump: DumpArgs,
    /// Form of the output.
    #[arg(short = 'o', long, value_enum, default_value_t = Output::Text)]
    pub output: Output,
}

/// Arguments of `explain`.
#[derive(Debug, clap::Args)]
pub struct ExplainArgs {
    /// What to explain.
    #[command(subcommand)]
    pub what: Explain,
}

/// What can be explained.
#[derive(Debug, Subcommand)]
pub enum Explain {
    /// Which nodes and new nodes a pod fits in the cluster as it stands, and why not the others.
    ///
    /// Nodes answer as the Filter plugins of kube-scheduler do. A pod that is bound is judged as if it were pending.
    Pod(ExplainPodArgs),
    /// Why a node stays or goes: every rule in the order of a plan, each of its pods, and where those could go.
    ///
    /// Rules and pods are judged in the cluster as it stands, as if nothing else was planned.
    Node(ExplainNodeArgs),
}

/// Arguments of `explain pod`.
#[derive(Debug, clap::Args)]
pub struct ExplainPodArgs {
    /// The pods, before any other argument; every pending pod when there is none.
    #[arg(value_name = "NAMESPACE/NAME")]
    pub names: Vec<String>,
    /// What to explain from.
    #[command(flatten)]
    pub source: ExplainSource,
}

/// Arguments of `explain node`.
#[derive(Debug, clap::Args)]
pub struct ExplainNodeArgs {
    /// The nodes, before any other argument; every node when there is none.
    #[arg(value_name = "NAME")]
    pub names: Vec<String>,
    /// What to explain from.
    #[command(flatten)]
    pub source: ExplainSource,
}

/// What is explained from, and how the answer is printed.
#[derive(Debug, clap::Args)]
pub struct ExplainSource {
    /// Files of Kubernetes objects, YAML or JSON; `-` is standard input. Without files the running operator is asked.
    #[arg(short = 'f', long = "filename", num_args = 1.., value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// How to read them.
    #[command(flatten)]
    pub dump: DumpArgs,
    /// The operator to ask: the address of its /metrics.
    #[arg(
        long,
        value_name = "URL",
        default_value = "http://127.0.0.1:8080",
        conflicts_with = "files"
    )]
    pub operator: http::Uri,
    /// Form of the output.
    #[arg(short = 'o', long, value_enum, default_value_t = Output::Text)]
    pub output: Output,
}

/// How a dump of Kubernetes objects is read: what all offline commands share. The files themselves are the argument
/// `files` of each command, which some of them can do without.
#[derive(Debug, Default, clap::Args)]
pub struct DumpArgs {
    /// The reply of the VPSie offerings API.
    #[arg(long, value_name = "FILE", requires = "files")]
    pub offerings: Option<PathBuf>,
    /// The time to decide for; the current time when missing.
    #[arg(long, value_name = "RFC3339", requires = "files")]
    pub now: Option<Timestamp>,
    /// Take stabilization windows, cooldowns and delays as elapsed.
    #[arg(long, requires = "files")]
    pub ignore_timers: bool,
    /// Change a setting for this decision: `NAMESPACE/GROUP.FIELD=VALUE`, `budgets.empty=N` or `budgets.drain=P%`.
    #[arg(long = "set", value_name = "KEY=VALUE", requires = "files")]
    pub sets: Vec<String>,
    /// How to choose between node groups and offerings: a comma list of price, least-waste, priority, least-nodes,
    /// most-pods, random.
    #[arg(long, value_name = "LIST", requires = "files")]
    pub expander: Option<String>,
    /// The node that the operator runs on; it is never removed.
    #[arg(long, value_name = "NODE", requires = "files")]
    pub own_node: Option<String>,
}

/// Arguments of `crds`.
#[derive(Debug, clap::Args)]
pub struct CrdsArgs {
    /// Write one file per CustomResourceDefinition into this folder instead of printing them.
    #[arg(long, value_name = "DIR")]
    pub output: Option<PathBuf>,
}

/// Form of printed data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// An address to listen on; `:8080` means every interface, as in Go.
fn listen_address(text: &str) -> Result<SocketAddr, String> {
    let full = if text.starts_with(':') {
        format!("0.0.0.0{text}")
    } else {
        text.to_owned()
    };
    full.parse().map_err(|_| "expected ADDRESS:PORT or :PORT".to_owned())
}

/// A duration such as `10s` or `1m30s`.
fn duration(text: &str) -> Result<Duration, String> {
    let signed: SignedDuration = text.parse().map_err(|error| format!("{error}"))?;
    Duration::try_from(signed).map_err(|_| "a duration cannot be below zero".to_owned())
}
