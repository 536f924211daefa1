//! What may come to speak against a removal while it is under way, because somebody changed the cluster since it was
//! decided: the rules of `eligibility` that do not depend on the load of the node or on time.

use crate::{
    plan::KeepReason,
    snapshot::{NodeId, Snapshot},
};

use super::{
    Kept,
    eligibility::{Rules, sickness},
};

/// Why a removal that is under way is not carried on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Objection {
    /// The rule.
    pub reason: KeepReason,
    /// The same in a sentence.
    pub message: String,
}

/// What speaks against carrying on the removal of a node, by the first rule that does, in the order of the planner:
/// its group is not managed any more, it has become a control-plane node, this autoscaler runs on it, somebody has put
/// an opt-out on it or turned scale-down off for its group.
///
/// As long as the node is `undrained` it could stay in use, and two more rules apply: too many nodes of the cluster are
/// not Ready, and a node of its group is being created. The second one is not held against a node that is not Ready
/// itself, because the group may be growing to replace it.
///
/// Allowed hours are for beginning a removal: one that has begun in time may finish. Timers have run out once and are
/// not asked again, and what pods and the minimum of the group say is judged by whoever carries the removal out.
#[must_use]
pub fn standing_objection(snapshot: &Snapshot, node: NodeId, undrained: bool) -> Option<Objection> {
    let node = snapshot.node(node);
    let Some(group) = node.group else {
        let message = "belongs to no NodeGroup";
        return Some(Kept::new(KeepReason::NotAutoscaled, message).into());
    };
    let growing = || {
        let comes = snapshot
            .machines
            .iter()
            .any(|machine| machine.is_coming() && machine.group == Some(group));
        (comes && node.is_ready()).then(|| {
            let message = format!("a node of {} is being created", snapshot.group_name(group));
            Kept::new(KeepReason::ScaleUpInProgress, message)
        })
    };
    Rules::unmanaged(snapshot, group)
        .or_else(|| Rules::of_control_plane(node))
        .or_else(|| Rules::runs_this(node))
        .or_else(|| Rules::opted_out(snapshot, node))
        .or_else(|| Rules::disabled(snapshot.group(group)))
        .or_else(|| {
            if undrained {
                sickness(snapshot).or_else(growing)
            } else {
                None
            }
        })
        .map(Objection::from)
}

impl From<Kept> for Objection {
    fn from(kept: Kept) -> Self {
        Self {
            reason: kept.reason,
            message: kept.message,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::scale_down::testing::Cluster;

    fn objection(cluster: &Cluster, undrained: bool) -> Option<&'static str> {
        let snapshot = cluster.snapshot();
        standing_objection(&snapshot, NodeId(0), undrained).map(|objection| objection.reason.as_str())
    }

    fn annotated(key: &str, value: &str) -> Value {
        json!({"metadata": {"annotations": {key: value}}})
    }

    #[test]
    fn a_removal_that_was_decided_rightly_goes_on() {
        for undrained in [true, false] {
            assert_eq!(objection(&Cluster::new().node("n1", json!({})), undrained), None);
        }
    }

    #[test]
    fn what_an_admin_changes_is_seen_until_the_end() {
        let not_managed = json!({"metadata": {"labels": {"autoscaler.vpsie.com/managed": "false"}}});
        let control_plane = json!({"metadata": {"labels": {"node-role.kubernetes.io/control-plane": ""}}});
        let disabled = json!({"spec": {"scaleDownPolicy": {"enabled": false}}});
        for undrained in [true, false] {
            for (node, reason) in [
                (control_plane.clone(), "ControlPlane"),
                (
                    annotated("autoscaler.vpsie.com/protected", "true"),
                    "ScaleDownDisabledAnnotation",
                ),
                (
                    annotated("cluster-autoscaler.kubernetes.io/scale-down-disabled", "true"),
                    "ScaleDownDisabledAnnotation",
                ),
                (
                    annotated("karpenter.sh/do-not-disrupt", "true"),
                    "ScaleDownDisabledAnnotation",
                ),
            ] {
                assert_eq!(objection(&Cluster::new().node("n1", node), undrained), Some(reason));
            }
            for (group, reason) in [
                (disabled.clone(), "ScaleDownDisabled"),
                (not_managed.clone(), "NotAutoscaled"),
            ] {
                let cluster = Cluster::new().group("workers", group).node("n1", json!({}));
                assert_eq!(objection(&cluster, undrained), Some(reason));
            }
        }
    }

    #[test]
    fn a_sick_cluster_and_a_growing_group_keep_what_is_not_drained_yet() {
        let not_ready = json!({"status": {"conditions": [{"type": "Ready", "status": "False"}]}});
        let sick = || {
            let names = ["n2", "n3", "n4", "n5"];
            names
                .into_iter()
                .fold(Cluster::new().node("n1", json!({})), |cluster, name| {
                    cluster.node(name, not_ready.clone())
                })
        };
        assert_eq!(objection(&sick(), true), Some("ClusterUnhealthy"));
        assert_eq!(objection(&sick(), false), None);

        let growing = |node: &Value| {
            let coming = json!({"phase": "Provisioning", "nodeName": null});
            Cluster::new().node("n1", node.clone()).machine("n2", coming)
        };
        assert_eq!(objection(&growing(&json!({})), true), Some("ScaleUpInProgress"));
        assert_eq!(objection(&growing(&json!({})), false), None);
        // The group may be growing because this node is dead.
        assert_eq!(objection(&growing(&not_ready), true), None);
    }
}
