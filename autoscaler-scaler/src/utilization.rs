//! What nodes really use, read from `metrics.k8s.io` (metrics-server, or whoever serves it) into the index.
//!
//! A [`Sampler`] lists the NodeMetrics at an interval and keeps a window of samples per node. What the windows say goes into
//! the [`Index`], beside the requests of pods: see [`autoscaler_core::usage`]. Nothing waits for it. Where the API is
//! missing or fails, requests alone count, and a [`SamplerReport`] says so.
//!
//! Samples are in memory only. A replica that has just been started must see a window before it judges by it, and until then
//! nodes stay; so does a node that has just joined. Every replica samples, so that a new leader has its windows.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use autoscaler_core::{
    manifest::node::{Node, NodeMetrics},
    quantity::{Bytes, MilliCpu},
    usage::{MeasuredUsage, Sample, Usage, UsageWindows, WindowShape},
};
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Limited};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use kube::{Client, client::Body};
use serde::{Deserialize, de::IgnoredAny};
use tokio_util::sync::CancellationToken;

use crate::{index::Index, run::Clock};

/// The list of all NodeMetrics. The API knows no pages.
const PATH: &str = "/apis/metrics.k8s.io/v1beta1/nodes";

/// How long a list may take.
const READ_TIMEOUT: Duration = Duration::from_secs(15);

/// A longer reply is not read to its end. 15,000 nodes take some 8 MB.
const MAX_REPLY_BYTES: usize = 32 << 20;

/// For so many intervals after the last good reading the windows still count, so that one reply that is lost does not make
/// busy nodes look idle. Their coverage falls meanwhile.
const PATIENCE_IN_INTERVALS: i32 = 3;

/// How nodes are sampled.
#[derive(Clone)]
pub struct SamplerSettings {
    /// The window that nodes are judged by, and how often a sample is expected.
    pub shape: WindowShape,
    /// Time between two readings on the clock of the runtime. It is the interval of the shape, but where [`clock`](Self::clock)
    /// runs at another speed.
    pub pause: Duration,
    /// The time.
    pub clock: Clock,
}

/// Reads what nodes use, and keeps windows of it.
pub struct Sampler {
    client: Client,
    index: Index,
    settings: SamplerSettings,
    /// By UID of the Node.
    windows: UsageWindows,
    /// When the API answered last.
    served_at: Option<Timestamp>,
    /// What the last report said.
    said: Option<(bool, Kind)>,
}

/// What became of one reading.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SamplerReport {
    /// The reading.
    pub reading: Reading,
    /// Whether what is measured counts now. If not, requests alone do.
    pub measured: bool,
    /// Whether that, or why it is so, differs from the report before.
    pub changed: bool,
}

/// A reading of `metrics.k8s.io`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reading {
    /// The API answered.
    Completed {
        /// Nodes that a sample was taken of.
        nodes: usize,
        /// NodeMetrics that cannot be used: malformed, without a time or an amount, or from a clock that is wrong.
        left_out: usize,
    },
    /// The API is not served.
    Missing,
    /// There was no answer, or none that can be used.
    Failed {
        /// What went wrong.
        message: String,
    },
}

/// A [`Reading`] without its numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Completed,
    Missing,
    Failed,
}

#[derive(Deserialize)]
struct NodeMetricsList {
    items: Vec<Item>,
}

/// One object that cannot be read does not take the others with it.
#[derive(Deserialize)]
#[serde(untagged)]
enum Item {
    Read(Box<NodeMetrics>),
    Malformed(IgnoredAny),
}

/// Why there is no list.
enum NoList {
    Missing,
    Failed(String),
}

// === impl Sampler ===

impl Sampler {
    /// A sampler that has read nothing. The client must not repeat calls by itself: the next reading is the next attempt.
    #[must_use]
    pub fn new(client: Client, index: Index, settings: SamplerSettings) -> Self {
        Self {
            client,
            index,
            windows: UsageWindows::new(settings.shape),
            settings,
            served_at: None,
            said: None,
        }
    }

    /// Reads again and again until the token is cancelled. The index should be complete: of Nodes that it does not know no
    /// sample is taken.
    pub async fn run(mut self, report: &(dyn Fn(SamplerReport) + Send + Sync), stop: &CancellationToken) {
        let mut ticks = tokio::time::interval(self.settings.pause);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let rounds = async {
            loop {
                ticks.tick().await;
                report(self.read().await);
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = rounds => {}
        }
    }

    /// Reads once.
    pub async fn read(&mut self) -> SamplerReport {
        let listed = match tokio::time::timeout(READ_TIMEOUT, list(&self.client)).await {
            Ok(listed) => listed,
            Err(_) => Err(NoList::Failed(format!("no answer within {} s", READ_TIMEOUT.as_secs()))),
        };
        let now = (self.settings.clock)();
        let nodes = self.index.cluster().nodes;
        let reading = match listed {
            Ok(items) => {
                self.served_at = Some(now);
                self.take(items, &nodes, now)
            }
            Err(NoList::Missing) => {
                self.served_at = None;
                self.windows.clear();
                Reading::Missing
            }
            Err(NoList::Failed(message)) => Reading::Failed { message },
        };
        self.windows.advance(now);
        self.forget_gone(&nodes);
        let measured = self.counts(now);
        let usage = measured.then(|| Arc::new(self.measured(&nodes)));
        self.index.set_measured_usage(usage);
        self.report(reading, measured)
    }

    /// Takes in the samples of nodes that there are.
    fn take(&mut self, items: Vec<Item>, nodes: &BTreeMap<String, Arc<Node>>, now: Timestamp) -> Reading {
        let (mut taken, mut left_out) = (0, 0);
        for item in items {
            let Item::Read(metrics) = item else {
                left_out += 1;
                continue;
            };
            let Some(node) = nodes.get(&metrics.metadata.name) else {
                continue;
            };
            let latest = now + self.settings.shape.interval();
            let sample = sample(&metrics).filter(|sample| sample.at <= latest);
            let Some(mut sample) = sample else {
                left_out += 1;
                continue;
            };
            // Clocks of machines are never quite the same.
            sample.at = sample.at.min(now);
            // A measurement that is read twice, or that is old, is no sample, and the coverage shows it.
            let pushed = self.windows.push(key(node), sample, now);
            tracing::trace!(node = metrics.metadata.name, ?pushed, "a sample");
            taken += 1;
        }
        Reading::Completed { nodes: taken, left_out }
    }

    fn forget_gone(&mut self, nodes: &BTreeMap<String, Arc<Node>>) {
        let there: std::collections::BTreeSet<&str> = nodes.values().map(|node| key(node)).collect();
        self.windows.retain(|node| there.contains(node));
    }

    /// Whether the windows count: the API is served, and did answer not long ago.
    fn counts(&self, now: Timestamp) -> bool {
        let patience = self.settings.shape.interval() * PATIENCE_IN_INTERVALS;
        self.served_at.is_some_and(|at| now.duration_since(at) <= patience)
    }

    fn measured(&self, nodes: &BTreeMap<String, Arc<Node>>) -> MeasuredUsage {
        let mut measured = MeasuredUsage::new(self.settings.shape);
        for (name, node) in nodes {
            if let Some(window) = self.windows.get(key(node)) {
                measured.set(name, window);
            }
        }
        measured
    }

    fn report(&mut self, reading: Reading, measured: bool) -> SamplerReport {
        // While the windows count, a reply that is lost is no news yet.
        let kind = if measured { Kind::Completed } else { reading.kind() };
        let changed = self.said.replace((measured, kind)) != Some((measured, kind));
        SamplerReport {
            reading,
            measured,
            changed,
        }
    }
}

impl std::fmt::Debug for Sampler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sampler")
            .field("windows", &self.windows.len())
            .field("served_at", &self.served_at)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for SamplerSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SamplerSettings")
            .field("shape", &self.shape)
            .field("pause", &self.pause)
            .finish_non_exhaustive()
    }
}

// === impl Reading ===

impl Reading {
    const fn kind(&self) -> Kind {
        match self {
            Self::Completed { .. } => Kind::Completed,
            Self::Missing => Kind::Missing,
            Self::Failed { .. } => Kind::Failed,
        }
    }
}

/// Lists the NodeMetrics.
async fn list(client: &Client) -> Result<Vec<Item>, NoList> {
    let failed = |error: &dyn std::fmt::Display| NoList::Failed(error.to_string());
    let request = Request::get(PATH).header("accept", "application/json");
    let request = request.body(Body::empty()).map_err(|error| failed(&error))?;
    let response = client.send(request).await.map_err(|error| failed(&error))?;
    let status = response.status();
    let body = Limited::new(response.into_body(), MAX_REPLY_BYTES).collect().await;
    let body = body.map_err(|error| failed(&error))?.to_bytes();
    match status {
        StatusCode::NOT_FOUND => Err(NoList::Missing),
        status if status.is_success() => {
            let list = serde_json::from_slice::<NodeMetricsList>(&body);
            list.map(|list| list.items)
                .map_err(|error| NoList::Failed(format!("the reply is no list of NodeMetrics: {error}")))
        }
        status => {
            // A proxy in between answers with anything.
            let said = serde_json::from_slice::<Status>(&body).ok();
            let said = said.and_then(|status| status.message).unwrap_or_default();
            let said: String = said.chars().take(200).collect();
            Err(NoList::Failed(format!("{status}: {said}")))
        }
    }
}

/// The sample in an object, when it has a time and both amounts.
fn sample(metrics: &NodeMetrics) -> Option<Sample> {
    let amount = |name: &str| metrics.usage.get(name).filter(|amount| !amount.is_negative());
    Some(Sample {
        at: metrics.timestamp?,
        usage: Usage {
            cpu: MilliCpu(amount("cpu")?.milli()),
            memory: Bytes(amount("memory")?.units()),
        },
    })
}

/// What tells a node from another one that had its name before.
fn key(node: &Node) -> &str {
    let metadata = &node.metadata;
    if metadata.uid.is_empty() {
        &metadata.name
    } else {
        &metadata.uid
    }
}
