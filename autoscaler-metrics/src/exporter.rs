//! The Prometheus exporter: a recorder with the right buckets, and the text that Prometheus scrapes.
//!
//! Installing, upkeep and rendering belong here; what is recorded is in [`record`](crate::record).

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::{
    names::{self, Kind},
    record,
};

/// How often the samples of histograms are folded into their buckets when nobody scrapes.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

/// Renders what was recorded. A clone renders the same.
#[derive(Clone, Debug)]
pub struct Exporter {
    handle: PrometheusHandle,
}

/// A recorder that only sees what is recorded inside of it, for tests.
#[derive(Debug)]
pub struct Local {
    recorder: PrometheusRecorder,
    exporter: Exporter,
}

/// Why there is no exporter.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The process has a recorder already, and can have only one.
    #[error("a metrics recorder is installed already")]
    AlreadyInstalled,
    /// The table of metrics was refused.
    #[error("the metric {metric} cannot be set up")]
    Metric {
        /// Its name.
        metric: &'static str,
        /// What is wrong with it.
        #[source]
        source: BuildError,
    },
}

/// The metrics of one name in the text format.
#[derive(Default)]
struct Family<'a> {
    /// The lines about its meaning and type.
    header: Vec<&'a str>,
    /// One line per value.
    values: Vec<&'a str>,
}

// === impl Exporter ===

impl Exporter {
    /// Installs the recorder of this process and describes every metric to it. From now on everything that
    /// [`record`](crate::record) writes, on any thread, is rendered by this exporter.
    ///
    /// Counters whose labels are known beforehand start at zero, so that a rate sees their first increase.
    ///
    /// # Errors
    /// [`Error::AlreadyInstalled`] when the process has a recorder.
    pub fn install() -> Result<Self, Error> {
        let recorder = recorder()?;
        let handle = recorder.handle();
        metrics::set_global_recorder(recorder).map_err(|_| Error::AlreadyInstalled)?;
        names::describe();
        record::start_at_zero();
        Ok(Self { handle })
    }

    /// A recorder that is not installed, as many as one likes: tests record into their own and do not see each other.
    ///
    /// # Errors
    /// [`Error::Metric`] as [`install`](Self::install).
    pub fn local() -> Result<Local, Error> {
        let recorder = recorder()?;
        let exporter = Self {
            handle: recorder.handle(),
        };
        let local = Local { recorder, exporter };
        local.record(|| {
            names::describe();
            record::start_at_zero();
        });
        Ok(local)
    }

    /// The metrics in the Prometheus text format, version 0.0.4, ordered by name.
    ///
    /// Series of a node group that was [forgotten](record::forget_nodegroup) are left out, of all kinds: gauges,
    /// counters and histograms. They are back, and counters go on from where they were, when the node group is recorded
    /// again. The recorder itself cannot drop a single series, and its idle timeout would also take the
    /// counters of a quiet cluster; so what a forgotten node group has written stays in memory, some kilobytes, until
    /// the process ends.
    #[must_use]
    pub fn render(&self) -> String {
        arrange(&self.handle.render())
    }

    /// Folds the samples of histograms into their buckets every few seconds, until the token is cancelled. Without this
    /// or a scrape they pile up in memory.
    pub async fn run_upkeep(self, token: CancellationToken) {
        let mut ticks = interval(UPKEEP_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let upkeep = async {
            loop {
                ticks.tick().await;
                self.handle.run_upkeep();
            }
        };
        token.run_until_cancelled_owned(upkeep).await;
    }
}

// === impl Local ===

impl Local {
    /// Runs the closure; what it records on this thread goes here.
    pub fn record<T>(&self, closure: impl FnOnce() -> T) -> T {
        metrics::with_local_recorder(&self.recorder, closure)
    }

    /// From now on, and until the guard is dropped, what this thread records goes here. For asynchronous tests on a
    /// current-thread runtime.
    #[must_use = "recording ends when the guard is dropped"]
    pub fn enter(&self) -> metrics::LocalRecorderGuard<'_> {
        metrics::set_default_local_recorder(&self.recorder)
    }

    /// The exporter that renders what was recorded.
    #[must_use]
    pub const fn exporter(&self) -> &Exporter {
        &self.exporter
    }
}

/// The recorder with the buckets of the table. A histogram without buckets would become a summary, which cannot be
/// added up over replicas.
fn recorder() -> Result<PrometheusRecorder, Error> {
    let mut builder = PrometheusBuilder::new();
    for metric in names::ALL {
        if let Kind::Histogram { buckets } = metric.kind {
            builder = builder
                .set_buckets_for_metric(Matcher::Full(metric.name.to_owned()), buckets)
                .map_err(|source| Error::Metric {
                    metric: metric.name,
                    source,
                })?;
        }
    }
    Ok(builder.build_recorder())
}

/// Drops the series of forgotten node groups and orders the rest: families by name, and series by their labels where
/// the order of the lines means nothing. (The buckets of a histogram must stay together and ascend.)
fn arrange(text: &str) -> String {
    let forgotten: BTreeSet<_> = text.lines().filter_map(forgotten_group).collect();
    let mut families: BTreeMap<&str, Family<'_>> = BTreeMap::new();
    let mut current = "";
    for line in text.lines().filter(|line| !line.is_empty()) {
        if let Some(comment) = line.strip_prefix("# ") {
            current = comment.split(' ').nth(1).unwrap_or_default();
            families.entry(current).or_default().header.push(line);
        } else if group_labels(line).is_none_or(|labels| !forgotten.contains(labels)) {
            families.entry(current).or_default().values.push(line);
        }
    }

    let mut arranged = String::with_capacity(text.len());
    for family in families.values_mut().filter(|family| !family.values.is_empty()) {
        if !family.header.iter().any(|line| line.ends_with(" histogram")) {
            family.values.sort_unstable();
        }
        for line in family.header.iter().chain(&family.values) {
            arranged.push_str(line);
            arranged.push('\n');
        }
        arranged.push('\n');
    }
    arranged
}

/// The labels of the node group that this line says is forgotten: [`record::forget_nodegroup`] leaves this mark.
fn forgotten_group(line: &str) -> Option<&str> {
    let rest = line.strip_prefix(names::NODEGROUP_MAX_NODES.name)?;
    rest.ends_with(" NaN").then(|| group_labels(rest))?
}

/// `namespace="...",nodegroup="..."` of a series that belongs to a node group. Object names hold no quotes.
fn group_labels(line: &str) -> Option<&str> {
    let (_, labels) = line.split_once('{')?;
    let after_namespace = labels.strip_prefix("namespace=\"")?;
    let (_, after_namespace) = after_namespace.split_once("\",nodegroup=\"")?;
    let (_, rest) = after_namespace.split_once('"')?;
    labels.get(..labels.len() - rest.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{DrainResult, NodeGroup, NodeGroupSize, RemovalKind};

    const WORKERS: NodeGroup<'_> = NodeGroup::new("kube-system", "workers");
    const SIZE: NodeGroupSize = NodeGroupSize {
        desired: 3,
        current: 2,
        ready: 1,
        min: 0,
        max: 5,
    };

    #[test]
    fn text_has_help_type_and_values_and_is_the_same_every_time() {
        let local = Exporter::local().unwrap();
        local.record(|| {
            record::nodegroup(WORKERS, SIZE);
            record::nodegroup(NodeGroup::new("kube-system", "batch"), SIZE);
            record::pending_pods(7);
        });
        let text = local.exporter().render();
        let gauge = "# HELP vpsie_autoscaler_nodegroup_desired_nodes Nodes that the node group is to have: existing and \
                     coming, less those being removed.\n\
                     # TYPE vpsie_autoscaler_nodegroup_desired_nodes gauge\n\
                     vpsie_autoscaler_nodegroup_desired_nodes{namespace=\"kube-system\",nodegroup=\"batch\"} 3\n\
                     vpsie_autoscaler_nodegroup_desired_nodes{namespace=\"kube-system\",nodegroup=\"workers\"} 3\n\n";
        assert!(text.contains(gauge), "{text}");
        assert!(text.contains("\nvpsie_autoscaler_pending_pods_current 7\n"), "{text}");
        assert_eq!(text, local.exporter().render());
    }

    #[test]
    fn counters_start_at_zero() {
        let local = Exporter::local().unwrap();
        let text = local.exporter().render();
        for line in [
            "vpsie_autoscaler_planning_loops_total{result=\"Completed\"} 0",
            "vpsie_autoscaler_pod_evictions_total{result=\"Blocked\"} 0",
            "vpsie_autoscaler_leader 0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is missing in {text}");
        }
    }

    #[test]
    fn histograms_have_the_buckets_of_the_table() {
        let local = Exporter::local().unwrap();
        local.record(|| {
            record::node_drain(WORKERS, DrainResult::Timeout, Duration::from_secs(1_700), 12);
            record::node_drain(WORKERS, DrainResult::Timeout, Duration::from_secs(3), 12);
        });
        let text = local.exporter().render();
        let series = |suffix: &str, le: &str, value: &str| {
            format!(
                "vpsie_autoscaler_node_drain_duration_seconds{suffix}{{namespace=\"kube-system\",nodegroup=\"workers\",\
                 result=\"timeout\"{le}}} {value}"
            )
        };
        for line in [
            series("_bucket", ",le=\"2\"", "0"),
            series("_bucket", ",le=\"4\"", "1"),
            series("_bucket", ",le=\"1024\"", "1"),
            series("_bucket", ",le=\"2048\"", "2"),
            series("_bucket", ",le=\"+Inf\"", "2"),
            series("_sum", "", "1703"),
            series("_count", "", "2"),
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is missing in {text}");
        }
        assert!(!text.contains("quantile="), "a histogram became a summary: {text}");
    }

    #[test]
    fn buckets_of_one_series_stay_in_order() {
        let local = Exporter::local().unwrap();
        local.record(|| record::plan_duration(Duration::from_millis(3)));
        let text = local.exporter().render();
        let counts: Vec<u64> = text
            .lines()
            .filter(|line| line.starts_with("vpsie_autoscaler_plan_duration_seconds_bucket"))
            .map(|line| line.rsplit(' ').next().unwrap().parse().unwrap())
            .collect();
        assert!(counts.is_sorted() && counts.len() > 10, "{counts:?}");
    }

    #[test]
    fn series_of_a_forgotten_group_disappear_and_come_back() {
        let local = Exporter::local().unwrap();
        let (kept, gone) = (NodeGroup::new("kube-system", "workers-2"), WORKERS);
        local.record(|| {
            for group in [kept, gone] {
                record::nodegroup(group, SIZE);
                record::vpsienodes(group, [("Ready", 2)]);
                record::scale_up(group, 1);
                record::scale_down(group, RemovalKind::Drain, 1);
                record::node_drain(group, DrainResult::Success, Duration::from_secs(9), 4);
            }
        });
        assert!(local.exporter().render().contains("nodegroup=\"workers\""));

        local.record(|| {
            record::forget_nodegroup(gone);
            // A step that ends after the group is gone does not bring it back.
            record::scale_down(gone, RemovalKind::Drain, 1);
        });
        let text = local.exporter().render();
        assert!(!text.contains("nodegroup=\"workers\""), "{text}");
        assert!(!text.contains("NaN"), "{text}");
        assert!(
            text.contains("vpsie_autoscaler_nodegroup_max_nodes{namespace=\"kube-system\",nodegroup=\"workers-2\"} 5")
        );
        assert!(text.contains(
            "vpsie_autoscaler_node_drain_pods_evicted_count{namespace=\"kube-system\",nodegroup=\"workers-2\"} 1"
        ));

        local.record(|| record::nodegroup(gone, SIZE));
        let text = local.exporter().render();
        assert!(
            text.contains(
                "vpsie_autoscaler_scale_down_total{namespace=\"kube-system\",nodegroup=\"workers\",kind=\"Drain\"} 2"
            ),
            "{text}"
        );
    }

    #[test]
    fn a_family_without_series_is_left_out() {
        let local = Exporter::local().unwrap();
        local.record(|| {
            record::nodegroup(WORKERS, SIZE);
            record::forget_nodegroup(WORKERS);
        });
        assert!(!local.exporter().render().contains("nodegroup_max_nodes"));
    }

    #[test]
    fn a_process_has_one_recorder() {
        let exporter = Exporter::install().unwrap();
        assert!(matches!(Exporter::install(), Err(Error::AlreadyInstalled)));
        // From any thread.
        std::thread::spawn(|| record::build_info("1.2.3")).join().unwrap();
        assert!(
            exporter
                .render()
                .contains("vpsie_autoscaler_build_info{version=\"1.2.3\"} 1\n")
        );
    }

    #[tokio::test(start_paused = true)]
    async fn upkeep_loses_nothing_and_ends_with_its_token() {
        let local = Exporter::local().unwrap();
        let token = CancellationToken::new();
        let upkeep = tokio::spawn(local.exporter().clone().run_upkeep(token.clone()));
        for _ in 0..10 {
            local.record(|| record::plan_duration(Duration::from_millis(3)));
            tokio::time::advance(UPKEEP_INTERVAL).await;
            tokio::task::yield_now().await;
        }
        assert!(
            local
                .exporter()
                .render()
                .contains("vpsie_autoscaler_plan_duration_seconds_count 10\n")
        );
        assert!(!upkeep.is_finished());
        token.cancel();
        upkeep.await.unwrap();
    }
}
