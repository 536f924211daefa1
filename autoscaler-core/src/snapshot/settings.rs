//! How the cluster and its groups are to be scaled: settings, policies and timeouts.

use jiff::{SignedDuration, Timestamp};

use super::{Machine, MachinePhase};

/// The cluster-wide settings, from the AutoscalerConfig or from defaults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Most managed nodes in all; `None` means no limit.
    pub max_cluster_workers: Option<u32>,
    /// How to choose between options, first criterion first.
    pub expanders: Vec<Expander>,
    /// Whether nodes that are not Ready may be removed.
    pub scale_down_unready_enabled: bool,
    /// How long a node must not have been Ready before it is removed for that.
    pub unready_time: SignedDuration,
    /// How long a node, and its group, is left alone after the first failed removal.
    pub delay_after_failure: SignedDuration,
    /// How old a node must be before it is removed.
    pub min_node_age: SignedDuration,
    /// So many nodes of the cluster may be unready before nothing is removed any more; see also
    /// [`Self::max_unready_percent`].
    pub ok_unready_count: u32,
    /// So large a share of the cluster's nodes may be unready, in percent, before nothing is removed any more. Removals
    /// stop when both are exceeded.
    pub max_unready_percent: u32,
    /// Whether DaemonSet pods leave both sides of the utilization.
    pub ignore_daemon_sets_utilization: bool,
    /// Whether mirror pods leave both sides of the utilization.
    pub ignore_mirror_pods_utilization: bool,
    /// How long a pod must have been unschedulable before nodes are bought for it.
    pub unschedulable_pod_grace: SignedDuration,
    /// Pods below this priority do not ask for nodes.
    pub priority_cutoff: i32,
    /// How long a VPSieNode may take on its way to a Ready node.
    pub phase_timeouts: PhaseTimeouts,
    /// Most empty nodes that are removed at one time.
    pub empty_budget: u32,
    /// Most drains at one time over all groups.
    pub drain_budget: BudgetSize,
    /// Seed of the `random` expander.
    pub seed: u64,
}

/// How long a VPSieNode may stay in a phase on its way to a Ready node, counted from entering the phase. Beyond that it
/// no longer counts as capacity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PhaseTimeouts {
    /// From the intent until the VM runs.
    pub provision: SignedDuration,
    /// From the running VM until its Node registers.
    pub join: SignedDuration,
    /// From the registered Node until it is Ready.
    pub initialize: SignedDuration,
}

/// A criterion for the choice between node groups and offerings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expander {
    /// Least money for what it carries.
    Price,
    /// Least unused capacity.
    LeastWaste,
    /// Highest `spec.priority` of the group.
    Priority,
    /// Fewest nodes.
    LeastNodes,
    /// Most pods.
    MostPods,
    /// Any, by the seed.
    Random,
}

/// Rules for removal of the nodes of one group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScaleDownPolicy {
    /// Whether nodes may be removed at all.
    pub enabled: bool,
    /// A node is underutilized at or below this share of its CPU, in percent.
    pub cpu_threshold_percent: u32,
    /// A node is underutilized at or below this share of its memory, in percent.
    pub memory_threshold_percent: u32,
    /// How long a node must have been unneeded.
    pub stabilization_window: SignedDuration,
    /// How long to wait after the group grew.
    pub cooldown: SignedDuration,
    /// How long a drain may take.
    pub drain_timeout: SignedDuration,
    /// Most drains at one time, in place of 10 percent of the group.
    pub drain_budget: Option<BudgetSize>,
    /// Most empty removals at one time within this group.
    pub empty_budget: Option<u32>,
    /// In place of [`Settings::min_node_age`].
    pub min_node_age: Option<SignedDuration>,
    /// In place of [`Settings::unready_time`].
    pub unready_time: Option<SignedDuration>,
    /// In place of [`Settings::delay_after_failure`].
    pub delay_after_failure: Option<SignedDuration>,
}

/// A number of nodes, or a share of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BudgetSize {
    /// So many nodes.
    Count(u32),
    /// So many percent of the nodes, rounded down, at least one unless zero.
    Percent(u32),
}

// === impl Settings ===

impl Default for Settings {
    /// Without an AutoscalerConfig there is no cluster limit and no grace period.
    fn default() -> Self {
        Self {
            max_cluster_workers: None,
            expanders: vec![Expander::Price, Expander::LeastWaste],
            scale_down_unready_enabled: true,
            unready_time: SignedDuration::from_mins(20),
            delay_after_failure: SignedDuration::from_mins(3),
            min_node_age: SignedDuration::ZERO,
            ok_unready_count: 3,
            max_unready_percent: 45,
            ignore_daemon_sets_utilization: false,
            ignore_mirror_pods_utilization: false,
            unschedulable_pod_grace: SignedDuration::ZERO,
            priority_cutoff: -10,
            phase_timeouts: PhaseTimeouts::default(),
            empty_budget: 10,
            drain_budget: BudgetSize::Percent(10),
            seed: 0,
        }
    }
}

impl Default for PhaseTimeouts {
    fn default() -> Self {
        Self {
            provision: SignedDuration::from_mins(10),
            join: SignedDuration::from_mins(15),
            initialize: SignedDuration::from_mins(20),
        }
    }
}

impl Default for ScaleDownPolicy {
    fn default() -> Self {
        Self {
            enabled: true,
            cpu_threshold_percent: 50,
            memory_threshold_percent: 50,
            stabilization_window: SignedDuration::from_secs(600),
            cooldown: SignedDuration::from_secs(600),
            drain_timeout: SignedDuration::from_secs(900),
            drain_budget: None,
            empty_budget: None,
            min_node_age: None,
            unready_time: None,
            delay_after_failure: None,
        }
    }
}

// === impl PhaseTimeouts ===

impl PhaseTimeouts {
    /// Whether a VPSieNode has stayed in its phase for too long to be counted on. One that does not say since when has
    /// not.
    #[must_use]
    pub fn are_over(&self, machine: &Machine, now: Timestamp) -> bool {
        let limit = match (machine.phase, machine.node) {
            (_, Some(_)) => self.initialize,
            (MachinePhase::Pending | MachinePhase::Provisioning, None) => self.provision,
            _ => self.join,
        };
        machine
            .phase_since
            .is_some_and(|since| limit < now.duration_since(since))
    }
}

// === impl BudgetSize ===

impl BudgetSize {
    /// The number of nodes out of a total: a share is rounded down but is at least one, unless it is zero.
    #[must_use]
    pub fn of(self, total: usize) -> usize {
        match self {
            Self::Count(count) => count as usize,
            Self::Percent(0) => 0,
            Self::Percent(percent) => (total.saturating_mul(percent as usize) / 100).max(1),
        }
    }

    /// Reads `3` or `20%`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text.strip_suffix('%') {
            Some(percent) => percent
                .parse()
                .ok()
                .filter(|percent| *percent <= 100)
                .map(Self::Percent),
            None => text.parse().ok().map(Self::Count),
        }
    }
}

// === impl Expander ===

impl Expander {
    /// Reads a comma list such as `price,least-waste`; the error is the word that names no expander.
    ///
    /// # Errors
    /// The first word that is not the name of an expander.
    pub fn parse_chain(text: &str) -> Result<Vec<Self>, String> {
        text.split(',')
            .map(str::trim)
            .filter(|word| !word.is_empty())
            .map(|word| match word {
                "price" => Ok(Self::Price),
                "least-waste" => Ok(Self::LeastWaste),
                "priority" => Ok(Self::Priority),
                "least-nodes" => Ok(Self::LeastNodes),
                "most-pods" => Ok(Self::MostPods),
                "random" => Ok(Self::Random),
                other => Err(other.to_owned()),
            })
            .collect()
    }
}
