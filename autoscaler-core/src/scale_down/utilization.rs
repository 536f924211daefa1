//! How much of a node its pods request, and how much of it is measured to be used, as exact fractions.

use std::{cmp::Ordering, fmt};

use jiff::Timestamp;

use crate::{
    drain,
    fit::amount_text,
    plan::Utilization,
    resources::{Resource, Resources},
    snapshot::{NodeId, Snapshot},
    usage::Coverage,
};

/// What all nodes of a snapshot are used for.
#[derive(Debug)]
pub(super) struct Usages<'s> {
    snapshot: &'s Snapshot,
    now: Timestamp,
    /// Nodes of which some pod may not count, so that their pods have to be looked at one by one; `None` means all nodes.
    /// The pods of the others are summed up with the snapshot.
    one_by_one: Option<Vec<bool>>,
}

/// Requests of the counted pods of a node, out of what the node offers to them; or what is used of it, out of what it
/// offers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Usage {
    pub(super) cpu: Share,
    pub(super) memory: Share,
}

/// What is measured of a node.
#[derive(Clone, Copy, Debug)]
pub(super) enum Measured {
    /// Its mean use over the window.
    Known(Usage, Coverage),
    /// Too little to judge by.
    TooLittle(Coverage),
}

/// What a share is one of.
#[derive(Clone, Copy, Debug)]
pub(super) enum Basis {
    /// Requests of pods.
    Requested,
    /// What is measured, on average over this window.
    Used(Coverage),
}

/// An amount out of a total. Nothing out of nothing is zero; anything else out of nothing is more than any share.
#[derive(Clone, Copy, Debug)]
pub(super) struct Share {
    resource: Resource,
    used: i64,
    total: i64,
}

/// The two resources that utilization looks at.
#[derive(Clone, Copy, Debug, Default)]
struct Amounts {
    cpu: i64,
    memory: i64,
}

/// A share in percent, rounded up to a tenth, so that what is above a threshold never reads like the threshold.
struct Percent(Share);

// === impl Usages ===

impl<'s> Usages<'s> {
    pub(super) fn new(snapshot: &'s Snapshot, now: Timestamp) -> Self {
        let settings = &snapshot.settings;
        let all = settings.ignore_daemon_sets_utilization || settings.ignore_mirror_pods_utilization;
        let one_by_one = (!all).then(|| {
            let mut nodes = vec![false; snapshot.nodes.len()];
            // Most of the time no pod is being deleted, and that is known without a look at the pods.
            if snapshot.classes.iter().any(|class| class.terminating) {
                let deleted = snapshot.pods.iter().filter(|pod| pod.deletion.is_some());
                for node in deleted.filter_map(|pod| pod.node) {
                    if let Some(node) = nodes.get_mut(node.index()) {
                        *node = true;
                    }
                }
            }
            nodes
        });
        Self {
            snapshot,
            now,
            one_by_one,
        }
    }

    /// The usage of a node, as [`Usage::of`] says.
    pub(super) fn of(&self, node: NodeId) -> Option<Usage> {
        let one_by_one = self.one_by_one.as_ref();
        if one_by_one.is_none_or(|nodes| nodes.get(node.index()).copied().unwrap_or(true)) {
            return Usage::of(self.snapshot, node, self.now);
        }
        let total = Amounts::of(&self.snapshot.node(node).allocatable);
        let used = self.snapshot.start.used(node).map(Amounts::of)?;
        (!total.is_nothing()).then(|| Usage::new(used, total))
    }
}

// === impl Usage ===

impl Usage {
    /// The usage of a node, or `None` when it offers no CPU or no memory.
    ///
    /// Pods that have ended or hang in termination do not count. DaemonSet and mirror pods leave both sides of the
    /// fraction when the settings say so, as with `--ignore-daemonsets-utilization` of the Cluster Autoscaler.
    fn of(snapshot: &Snapshot, node: NodeId, now: Timestamp) -> Option<Self> {
        let settings = &snapshot.settings;
        let mut total = Amounts::of(&snapshot.node(node).allocatable);
        if total.is_nothing() {
            return None;
        }
        let mut used = Amounts::default();
        for pod in snapshot.pods_on(node).iter().map(|pod| snapshot.pod(*pod)) {
            if pod.is_terminal() || drain::is_long_terminating(pod, now) {
                continue;
            }
            let requests = Amounts::of(&snapshot.class_of(pod).requests);
            let left_out = (settings.ignore_daemon_sets_utilization && pod.is_daemon())
                || (settings.ignore_mirror_pods_utilization && pod.mirror);
            if left_out {
                total = total.combine(requests, i64::saturating_sub);
            } else {
                used = used.combine(requests, i64::saturating_add);
            }
        }
        Some(Self::new(used, total))
    }

    fn new(used: Amounts, total: Amounts) -> Self {
        let share = |resource, used, total: i64| Share {
            resource,
            used,
            total: total.max(0),
        };
        Self {
            cpu: share(Resource::Cpu, used.cpu, total.cpu),
            memory: share(Resource::Memory, used.memory, total.memory),
        }
    }

    /// The larger of both shares: what nodes are ordered by.
    pub(super) fn larger(&self) -> Share {
        if self.cpu.compare(&self.memory).is_lt() {
            self.memory
        } else {
            self.cpu
        }
    }

    /// The shares as numbers to show.
    pub(super) fn display(&self) -> Utilization {
        Utilization {
            cpu: self.cpu.ratio(),
            memory: self.memory.ratio(),
        }
    }
}

// === impl Measured ===

impl Measured {
    /// What is measured of a node, or `None` when requests alone count: nobody measures, or the node is not Ready, so that
    /// its kubelet has nothing to tell. Measured is all that runs on the node, so nothing leaves either side.
    pub(super) fn of(snapshot: &Snapshot, node: NodeId) -> Option<Self> {
        let measured = snapshot.measured.as_deref()?;
        let node = snapshot.node(node);
        if !node.is_ready() {
            return None;
        }
        let usage = measured.of(snapshot.text(node.name));
        if !usage.coverage.is_enough() {
            return Some(Self::TooLittle(usage.coverage));
        }
        let used = Amounts {
            cpu: usage.mean.cpu.0,
            memory: usage.mean.memory.0,
        };
        let shares = Usage::new(used, Amounts::of(&node.allocatable));
        Some(Self::Known(shares, usage.coverage))
    }
}

// === impl Amounts ===

impl Amounts {
    const fn of(resources: &Resources) -> Self {
        Self {
            cpu: resources.cpu,
            memory: resources.memory,
        }
    }

    /// Whether there is no share of it to speak of.
    const fn is_nothing(self) -> bool {
        self.cpu <= 0 || self.memory <= 0
    }

    fn combine(self, other: Self, operation: impl Fn(i64, i64) -> i64) -> Self {
        Self {
            cpu: operation(self.cpu, other.cpu),
            memory: operation(self.memory, other.memory),
        }
    }
}

// === impl Share ===

impl Share {
    /// Whether this is at most so many percent. Exact: a node at its threshold is underutilized.
    pub(super) fn is_at_most(&self, percent: u32) -> bool {
        i128::from(self.used) * 100 <= i128::from(self.total) * i128::from(percent)
    }

    /// Nothing out of nothing, of a node that offers nothing.
    pub(super) const fn nothing() -> Self {
        Self {
            resource: Resource::Cpu,
            used: 0,
            total: 0,
        }
    }

    /// Exact comparison of two shares, also of different resources.
    pub(super) fn compare(&self, other: &Self) -> Ordering {
        let (ours, theirs) = (self.fraction(), other.fraction());
        (ours.0 * theirs.1).cmp(&(theirs.0 * ours.1))
    }

    /// The share in percent, as [`Self::against`] shows it.
    pub(super) const fn percent(self) -> impl fmt::Display {
        Percent(self)
    }

    /// The share against the threshold in words: `cpu 62% of 3920m requested, threshold 50%`.
    pub(super) fn against(&self, threshold: u32, basis: Basis) -> String {
        let Self { resource, total, .. } = *self;
        let name = if resource == Resource::Cpu { "cpu" } else { "memory" };
        format!(
            "{name} {} of {} {basis}, threshold {threshold}%",
            Percent(*self),
            amount_text(resource, total)
        )
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "only shown; decisions compare the exact numbers"
    )]
    fn ratio(&self) -> f64 {
        match (self.used, self.total) {
            (0, _) => 0.0,
            // Pods that count stand on what pods that do not count take altogether.
            (_, 0) => 1.0,
            (used, total) => used as f64 / total as f64,
        }
    }

    fn fraction(&self) -> (i128, i128) {
        match (self.used, self.total) {
            (0, _) => (0, 1),
            (used, total) => (used.into(), total.into()),
        }
    }
}

impl fmt::Display for Basis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Requested => f.write_str("requested"),
            Self::Used(coverage) => write!(f, "used on average ({coverage})"),
        }
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (used, total) = self.0.fraction();
        if total == 0 {
            return f.write_str("more than 100%");
        }
        let tenths = (used * 1000 + total - 1) / total;
        match tenths % 10 {
            0 => write!(f, "{}%", tenths / 10),
            tenth => write!(f, "{}.{tenth}%", tenths / 10),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::scale_down::testing::{Cluster, NOW, ago};

    #[test]
    fn what_the_snapshot_sums_up_is_what_the_pods_say_one_by_one() {
        let ended = json!({"status": {"phase": "Succeeded"}});
        let going = |at: i64| json!({"metadata": {"deletionTimestamp": ago(at), "deletionGracePeriodSeconds": 30}});
        let owned = json!({"metadata": {"ownerReferences": [{"kind": "DaemonSet", "name": "d", "controller": true}]}});
        let nothing = json!({"status": {"allocatable": {"cpu": "0"}}});
        let mut cluster = Cluster::new().node("n0", nothing).pod("p0", "n0", "1", json!({}));
        for (node, patch) in [
            ("n1", &json!({})),
            ("n2", &ended),
            ("n3", &owned),
            ("n4", &going(0)),
            ("n5", &going(3600)),
        ] {
            cluster = cluster
                .node(node, json!({}))
                .pod(&format!("a-{node}"), node, "300m", json!({}));
            cluster = cluster.pod(&format!("b-{node}"), node, "500m", patch.clone());
        }
        let mut snapshot = cluster.snapshot();
        let now = NOW.parse().unwrap();
        let text = |usage: Option<Usage>| usage.map(|usage| usage.cpu.against(0, Basis::Requested));
        for (ignored, shares) in [(false, [800, 300, 800, 800, 300]), (true, [800, 300, 300, 800, 300])] {
            snapshot.settings.ignore_daemon_sets_utilization = ignored;
            let usages = Usages::new(&snapshot, now);
            for node in snapshot.node_ids() {
                assert_eq!(text(usages.of(node)), text(Usage::of(&snapshot, node, now)), "{node:?}");
            }
            let used = |node: NodeId| usages.of(node).map(|usage| usage.cpu.used);
            let used: Vec<_> = snapshot.node_ids().map(used).collect();
            let expected: Vec<_> = std::iter::once(None).chain(shares.map(Some)).collect();
            assert_eq!(used, expected);
        }
    }

    fn share(used: i64, total: i64) -> Share {
        Share {
            resource: Resource::Cpu,
            used,
            total,
        }
    }

    #[test]
    fn thresholds_are_exact() {
        assert!(share(500, 1000).is_at_most(50));
        assert!(!share(501, 1000).is_at_most(50));
        // In floating point 0.07 * 100 is more than 7.
        assert!(share(7, 100).is_at_most(7));
        assert!(share(i64::MAX, i64::MAX).is_at_most(100));
        assert!(share(0, 0).is_at_most(0));
        assert!(!share(1, 0).is_at_most(100));
    }

    #[test]
    fn shares_compare_across_totals() {
        assert_eq!(share(1, 3).compare(&share(333, 1000)), Ordering::Greater);
        assert_eq!(share(1, 2).compare(&share(i64::MAX / 2, i64::MAX - 1)), Ordering::Equal);
        assert_eq!(share(0, 0).compare(&share(0, 7)), Ordering::Equal);
        assert_eq!(share(1, 0).compare(&share(100, 1)), Ordering::Greater);
    }

    #[test]
    fn what_is_above_the_threshold_never_reads_like_the_threshold() {
        assert_eq!(
            share(2430, 3920).against(50, Basis::Requested),
            "cpu 62% of 3920m requested, threshold 50%"
        );
        assert_eq!(
            share(50_001, 100_000).against(50, Basis::Requested),
            "cpu 50.1% of 100000m requested, threshold 50%"
        );
    }
}
