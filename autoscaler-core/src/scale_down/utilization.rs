//! How much of a node its pods request, as exact fractions.

use std::{cmp::Ordering, fmt};

use jiff::Timestamp;

use crate::{
    drain,
    fit::amount_text,
    plan::Utilization,
    resources::{Resource, Resources},
    snapshot::{NodeId, Snapshot},
};

/// Requests of the counted pods of a node, out of what the node offers to them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Usage {
    pub(super) cpu: Share,
    pub(super) memory: Share,
}

/// An amount out of a total. Nothing out of nothing is zero; anything else out of nothing is more than any share.
#[derive(Clone, Copy, Debug)]
pub(super) struct Share {
    resource: Resource,
    used: i64,
    total: i64,
}

/// A share in percent, rounded up to a tenth, so that what is above a threshold never reads like the threshold.
struct Percent(Share);

// === impl Usage ===

impl Usage {
    /// The usage of a node, or `None` when it offers no CPU or no memory.
    ///
    /// Pods that have ended or hang in termination do not count. DaemonSet and mirror pods leave both sides of the
    /// fraction when the settings say so, as with `--ignore-daemonsets-utilization` of the Cluster Autoscaler.
    pub(super) fn of(snapshot: &Snapshot, node: NodeId, now: Timestamp) -> Option<Self> {
        let settings = &snapshot.settings;
        let mut total = snapshot.node(node).allocatable.clone();
        if total.cpu <= 0 || total.memory <= 0 {
            return None;
        }
        let mut used = Resources::default();
        for pod in snapshot.pods_on(node).iter().map(|pod| snapshot.pod(*pod)) {
            if pod.is_terminal() || drain::is_long_terminating(pod, now) {
                continue;
            }
            let requests = &snapshot.class_of(pod).requests;
            let left_out = (settings.ignore_daemon_sets_utilization && pod.is_daemon())
                || (settings.ignore_mirror_pods_utilization && pod.mirror);
            if left_out {
                total.subtract(requests);
            } else {
                used.add(requests);
            }
        }
        let share = |resource| Share {
            resource,
            used: used.get(resource),
            total: total.get(resource).max(0),
        };
        Some(Self {
            cpu: share(Resource::Cpu),
            memory: share(Resource::Memory),
        })
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

// === impl Share ===

impl Share {
    /// Whether this is at most so many percent. Exact: a node at its threshold is underutilized.
    pub(super) fn is_at_most(&self, percent: u32) -> bool {
        i128::from(self.used) * 100 <= i128::from(self.total) * i128::from(percent)
    }

    /// Exact comparison of two shares, also of different resources.
    pub(super) fn compare(&self, other: &Self) -> Ordering {
        let (ours, theirs) = (self.fraction(), other.fraction());
        (ours.0 * theirs.1).cmp(&(theirs.0 * ours.1))
    }

    /// The share against the threshold in words: `cpu 62% of 3920m requested, threshold 50%`.
    pub(super) fn against(&self, threshold: u32) -> String {
        let Self { resource, total, .. } = *self;
        let name = if resource == Resource::Cpu { "cpu" } else { "memory" };
        format!(
            "{name} {} of {} requested, threshold {threshold}%",
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
    use super::*;

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
            share(2430, 3920).against(50),
            "cpu 62% of 3920m requested, threshold 50%"
        );
        assert_eq!(
            share(50_001, 100_000).against(50),
            "cpu 50.1% of 100000m requested, threshold 50%"
        );
    }
}
