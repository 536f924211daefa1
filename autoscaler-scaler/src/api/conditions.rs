//! Condition types, condition reasons, and the one function that changes a list of conditions.
//!
//! Conditions are the standard `metav1.Condition`. The names are those of the Go autoscaler, so that scripts and
//! `kubectl wait` keep working.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::time;

/// Condition types of a NodeGroup.
pub mod node_group {
    /// The group is reconciled and its spec is valid.
    pub const READY: &str = "Ready";
    /// Nodes are being added or removed.
    pub const SCALING: &str = "Scaling";
    /// The last operation failed; the reason says at what.
    pub const ERROR: &str = "Error";
    /// The group is at minNodes.
    pub const AT_MIN_CAPACITY: &str = "AtMinCapacity";
    /// The group is at maxNodes.
    pub const AT_MAX_CAPACITY: &str = "AtMaxCapacity";
}

/// Condition types of a VPSieNode.
pub mod vpsie_node {
    /// The server runs at the provider.
    pub const VPS_READY: &str = "VPSReady";
    /// The server has registered as a Node.
    pub const NODE_JOINED: &str = "NodeJoined";
    /// The Node is Ready and carries the labels and taints of its group.
    pub const NODE_READY: &str = "NodeReady";
    /// The last operation failed; the reason says at what.
    pub const ERROR: &str = "Error";
}

/// Reasons of the conditions of either kind.
pub mod reason {
    /// Work is going on.
    pub const RECONCILING: &str = "Reconciling";
    /// The spec is not valid.
    pub const VALIDATION_FAILED: &str = "ValidationFailed";
    /// Nodes are being added.
    pub const SCALING_UP: &str = "ScalingUp";
    /// Nodes are being removed.
    pub const SCALING_DOWN: &str = "ScalingDown";
    /// The group has the nodes it wants.
    pub const SCALING_COMPLETE: &str = "ScalingComplete";
    /// The group is at minNodes.
    pub const AT_MINIMUM_CAPACITY: &str = "AtMinimumCapacity";
    /// The group is at maxNodes.
    pub const AT_MAXIMUM_CAPACITY: &str = "AtMaximumCapacity";
    /// The VPSie API failed or refused.
    pub const VPSIE_API_ERROR: &str = "VPSieAPIError";
    /// The Kubernetes API failed or refused.
    pub const KUBERNETES_API_ERROR: &str = "KubernetesAPIError";
    /// A node of the group could not be provisioned.
    pub const NODE_PROVISIONING_FAILED: &str = "NodeProvisioningFailed";
    /// A node of the group could not be removed.
    pub const SCALE_DOWN_FAILED: &str = "ScaleDownFailed";
    /// The provider allows no more nodes in this cluster.
    pub const CLUSTER_CAPACITY_LIMIT_REACHED: &str = "ClusterCapacityLimitReached";
    /// The server is being created.
    pub const PROVISIONING: &str = "Provisioning";
    /// The server runs.
    pub const PROVISIONED: &str = "Provisioned";
    /// The server runs and its Node is awaited.
    pub const JOINING: &str = "Joining";
    /// The Node has registered.
    pub const JOINED: &str = "Joined";
    /// The Node is Ready.
    pub const READY: &str = "Ready";
    /// The Node is not Ready.
    pub const NOT_READY: &str = "NotReady";
    /// The Node is being drained.
    pub const TERMINATING: &str = "Terminating";
    /// The server is being deleted.
    pub const DELETING: &str = "Deleting";
    /// The node failed and is to be replaced.
    pub const FAILED: &str = "Failed";
    /// The server did not run before its deadline.
    pub const PROVISIONING_TIMEOUT: &str = "ProvisioningTimeout";
    /// The provider has no capacity, or allows us no more of it.
    pub const CAPACITY_LIMIT_REACHED: &str = "CapacityLimitReached";
    /// The Node did not register before its deadline.
    pub const JOINING_TIMEOUT: &str = "JoiningTimeout";
    /// The Node was there and is gone.
    pub const NODE_NOT_FOUND: &str = "NodeNotFound";
    /// The drain did not finish before its deadline.
    pub const DRAIN_FAILED: &str = "DrainFailed";
    /// The Node object could not be deleted.
    pub const NODE_DELETE_FAILED: &str = "NodeDeleteFailed";
    /// The server could not be deleted.
    pub const VPS_DELETE_FAILED: &str = "VPSDeleteFailed";
    /// A failed node was kept for its time and is collected.
    pub const TTL_EXPIRED: &str = "TTLExpired";
}

/// Sets the condition `type_` and returns whether the list changed.
///
/// `lastTransitionTime` moves only when `status` changes, and nothing is written when status, reason, message and
/// generation are what they were: a condition that is set again on each pass must not make its object change.
pub fn set_condition(
    conditions: &mut Vec<Condition>,
    type_: &str,
    status: bool,
    reason: &str,
    message: &str,
    observed_generation: Option<i64>,
    now: Timestamp,
) -> bool {
    let status = if status { "True" } else { "False" };
    let mut wanted = Condition {
        last_transition_time: time(now),
        message: message.to_owned(),
        observed_generation,
        reason: reason.to_owned(),
        status: status.to_owned(),
        type_: type_.to_owned(),
    };
    let Some(current) = conditions.iter_mut().find(|c| c.type_ == type_) else {
        conditions.push(wanted);
        return true;
    };
    if current.status == wanted.status {
        wanted.last_transition_time = current.last_transition_time.clone();
    }
    if *current == wanted {
        return false;
    }
    *current = wanted;
    true
}

/// Whether the condition `type_` is there and `True`.
#[must_use]
pub fn is_true(conditions: &[Condition], type_: &str) -> bool {
    conditions.iter().any(|c| c.type_ == type_ && c.status == "True")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn transition_time_moves_with_the_status_only() {
        let mut list = Vec::new();
        assert!(set_condition(&mut list, "Ready", true, "Ready", "", None, at(10)));
        assert!(!set_condition(&mut list, "Ready", true, "Ready", "", None, at(20)));
        assert!(set_condition(
            &mut list,
            "Ready",
            true,
            "Ready",
            "two nodes",
            None,
            at(30)
        ));
        assert_eq!(list[0].last_transition_time, time(at(10)));
        assert!(set_condition(&mut list, "Ready", false, "Failed", "", None, at(40)));
        assert_eq!(list[0].last_transition_time, time(at(40)));
        assert_eq!(list.len(), 1);
        assert!(!is_true(&list, "Ready"));
    }
}
