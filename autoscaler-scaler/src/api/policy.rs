//! The policies that a NodeGroup has and that AutoscalerConfig has defaults for.
//!
//! Each type's `Default` is its schema default: the value of an object that does not mention it.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

use super::schema;

/// When the group may grow.
///
/// A group without any policy does not wait. A policy that leaves only the window out waits for 60 seconds: that is how
/// the schema of the Go autoscaler works, whose defaults came with the object that they are in.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(description = "When the group may grow.")]
pub struct ScaleUpPolicy {
    /// Whether the group may grow at all; false also stops filling up to minNodes.
    pub enabled: bool,
    /// Seconds that a pod has to be unschedulable before the group grows for it; 0 in a group without any scaleUpPolicy.
    #[serde(default = "scale_up_window")]
    #[schemars(range(min = 0, max = schema::MAX_SECONDS))]
    pub stabilization_window_seconds: i32,
    /// Percentage of requested CPU above which the group counts as busy. Reported only: pods that do not fit decide.
    #[schemars(range(min = 0, max = 100))]
    pub cpu_threshold: i32,
    /// Percentage of requested memory above which the group counts as busy. Reported only: pods that do not fit decide.
    #[schemars(range(min = 0, max = 100))]
    pub memory_threshold: i32,
}

impl Default for ScaleUpPolicy {
    fn default() -> Self {
        Self {
            enabled: true,
            stabilization_window_seconds: 0,
            cpu_threshold: 80,
            memory_threshold: 80,
        }
    }
}

const fn scale_up_window() -> i32 {
    autoscaler_core::manifest::autoscaler::DEFAULT_SCALE_UP_WINDOW_SECONDS
}

/// When nodes of the group may be removed, and how.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ScaleDownPolicy {
    /// Whether nodes of the group may be removed at all.
    pub enabled: bool,
    /// Seconds that a node has to be unneeded before it is removed.
    #[schemars(range(min = 0, max = schema::MAX_SECONDS))]
    pub stabilization_window_seconds: i32,
    /// Percentage of requested CPU above which a node is needed.
    #[schemars(range(min = 0, max = 100))]
    pub cpu_threshold: i32,
    /// Percentage of requested memory above which a node is needed.
    #[schemars(range(min = 0, max = 100))]
    pub memory_threshold: i32,
    /// Seconds after the last scale-up of the group in which no node of it is removed.
    #[schemars(range(min = 0, max = schema::MAX_SECONDS))]
    pub cooldown_seconds: i32,
    /// Seconds that a drain may take before it is rolled back.
    #[schemars(range(min = 1, max = schema::MAX_SECONDS))]
    pub drain_timeout_seconds: i32,
    /// Whether pods that their disruption budgets protect are deleted when the drain times out. Default: roll back.
    pub force_drain: bool,
    /// Seconds after the creation of a Node in which it is not removed; absent: as in the global settings.
    #[schemars(range(min = 0, max = schema::MAX_SECONDS))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_node_age_seconds: Option<i32>,
    /// Seconds that a node must not have been Ready before it is removed for that; absent: as in the global settings.
    #[schemars(range(min = 0, max = schema::MAX_SECONDS))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unready_time_seconds: Option<i32>,
    /// Seconds that a node and the group are left alone after a failed removal; absent: as in the global settings.
    #[schemars(range(min = 0, max = schema::MAX_SECONDS))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delay_after_failure_seconds: Option<i32>,
    /// How many nodes of the group may be in removal at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budgets: Option<RemovalBudgets>,
}

impl Default for ScaleDownPolicy {
    fn default() -> Self {
        Self {
            enabled: true,
            stabilization_window_seconds: 600,
            cpu_threshold: 50,
            memory_threshold: 50,
            cooldown_seconds: 600,
            drain_timeout_seconds: 900,
            force_drain: false,
            min_node_age_seconds: None,
            unready_time_seconds: None,
            delay_after_failure_seconds: None,
            budgets: None,
        }
    }
}

/// How many nodes may be in removal at once. What is not set keeps the value that holds otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RemovalBudgets {
    /// Nodes without pods that have to move: a number of nodes.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = schema::MAX_NODES))]
    pub empty: Option<i32>,
    /// Nodes with pods that have to move: a number of nodes, or a percentage such as "10%", rounded down but at least 1 unless it is 0%.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::count_or_percent")]
    pub drain: Option<IntOrString>,
}

impl RemovalBudgets {
    /// The limit of [`Self::drain`], if one is set.
    ///
    /// # Errors
    ///
    /// A text that is not a percentage of 0 to 100, or a negative number. The API server stores neither; a file may
    /// hold them.
    pub fn drain_limit(&self) -> Result<Option<BudgetLimit>, BudgetError> {
        let Some(drain) = &self.drain else {
            return Ok(None);
        };
        let limit = match drain {
            IntOrString::Int(count) => u32::try_from(*count).ok().map(BudgetLimit::Count),
            IntOrString::String(text) => text
                .strip_suffix('%')
                .filter(|digits| digits.bytes().all(|b| b.is_ascii_digit()))
                .and_then(|digits| digits.parse().ok())
                .filter(|percent| *percent <= 100)
                .map(BudgetLimit::Percent),
        };
        limit.map(Some).ok_or_else(|| BudgetError { value: drain.clone() })
    }
}

/// A limit on removals, read from [`RemovalBudgets`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BudgetLimit {
    /// That many nodes.
    Count(u32),
    /// That percentage of the nodes, 0 to 100.
    Percent(u32),
}

/// A budget that is neither a number of nodes nor a percentage.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("budgets.drain: {value:?} is neither a number of nodes nor a percentage from 0% to 100%")]
pub struct BudgetError {
    /// What was found.
    pub value: IntOrString,
}

/// Spot servers. Stored for compatibility; VPSie sells none yet, so nothing reads it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct SpotConfig {
    /// Whether spot servers are used.
    pub enabled: bool,
    /// Largest percentage of the group's nodes that may be spot servers.
    #[schemars(range(min = 0, max = 100))]
    pub max_spot_percentage: i32,
    /// Whether an on-demand server is taken when no spot server is to be had.
    pub fallback_to_on_demand: bool,
    /// Time to drain before the provider takes a spot server back, such as "120s".
    #[schemars(length(min = 1, max = 32))]
    pub interruption_grace_period: String,
    /// Highest rate of interruptions per hour, in percent, at which an offering is still used.
    #[schemars(range(min = 0, max = 100))]
    pub allowed_interruption_rate: i32,
}

impl Default for SpotConfig {
    fn default() -> Self {
        Self {
            enabled: false,
            max_spot_percentage: 80,
            fallback_to_on_demand: true,
            interruption_grace_period: "120s".to_owned(),
            allowed_interruption_rate: 20,
        }
    }
}

/// Spreading of a group over datacenters. Stored for compatibility; use one NodeGroup per datacenter.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct MultiRegion {
    /// Whether the group is spread over datacenters.
    pub enabled: bool,
    /// Datacenters to spread over.
    #[serde(rename = "datacenterIDs", skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::ids")]
    pub datacenter_ids: Vec<String>,
    /// How to spread: "balanced", "weighted" or "primary-backup".
    #[schemars(length(min = 1, max = 63))]
    pub distribution_strategy: String,
    /// Weight of each datacenter for the strategy "weighted".
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::weights")]
    pub weighted_distribution: BTreeMap<String, i32>,
    /// Datacenter to prefer for the strategy "primary-backup".
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub primary_datacenter: Option<String>,
    /// Fewest nodes in each datacenter.
    #[schemars(range(min = 0, max = schema::MAX_NODES))]
    pub min_nodes_per_region: i32,
}

impl Default for MultiRegion {
    fn default() -> Self {
        Self {
            enabled: false,
            datacenter_ids: Vec::new(),
            distribution_strategy: "balanced".to_owned(),
            weighted_distribution: BTreeMap::new(),
            primary_datacenter: None,
            min_nodes_per_region: 1,
        }
    }
}

/// Replacing nodes by cheaper ones. Stored for compatibility; the expander `price` chooses the cheapest offering.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct CostOptimization {
    /// Whether nodes are replaced to save cost.
    pub enabled: bool,
    /// How eagerly: "auto", "manual", "aggressive" or "conservative".
    #[schemars(length(min = 1, max = 63))]
    pub strategy: String,
    /// Shortest time between two replacements, such as "24h".
    #[schemars(length(min = 1, max = 32))]
    pub optimization_interval: String,
    /// Smallest saving per month, in the currency of the account, that is worth a replacement.
    #[schemars(range(min = 0, max = 1_000_000))]
    pub min_monthly_savings: f64,
    /// Largest loss of performance, in percent, that a replacement may bring.
    #[schemars(range(min = 0, max = 100))]
    pub max_performance_impact: i32,
    /// Whether a person has to approve each replacement.
    pub require_approval: bool,
}

impl Default for CostOptimization {
    fn default() -> Self {
        Self {
            enabled: true,
            strategy: "auto".to_owned(),
            optimization_interval: "24h".to_owned(),
            min_monthly_savings: 10.0,
            max_performance_impact: 5,
            require_approval: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drain_limit_reads_counts_and_percentages() {
        let limit = |drain| RemovalBudgets { empty: None, drain }.drain_limit();
        assert_eq!(limit(None), Ok(None));
        assert_eq!(limit(Some(IntOrString::Int(3))), Ok(Some(BudgetLimit::Count(3))));
        assert_eq!(
            limit(Some(IntOrString::String("0%".into()))),
            Ok(Some(BudgetLimit::Percent(0)))
        );
        assert_eq!(
            limit(Some(IntOrString::String("100%".into()))),
            Ok(Some(BudgetLimit::Percent(100)))
        );
        for bad in ["101%", "10", "+5%", "-5%", "%", ""] {
            assert!(limit(Some(IntOrString::String(bad.into()))).is_err(), "{bad:?}");
        }
        assert!(limit(Some(IntOrString::Int(-1))).is_err());
    }
}
