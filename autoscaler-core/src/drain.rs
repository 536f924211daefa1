//! Whether a pod lets its node be drained: one verdict per pod, by the first rule that decides.
//!
//! Rules and names follow the Cluster Autoscaler (`simulator/drainability/rules`), with one difference: an old pod of
//! kube-system is still held by `safe-to-evict=false` and by local storage. PodDisruptionBudgets are not judged here,
//! because what they allow depends on the other pods that move: see [`pdb`].

use jiff::{SignedDuration, Timestamp};

use crate::{
    build::{
        DO_NOT_DISRUPT_ANNOTATION as DO_NOT_DISRUPT, SAFE_LOCAL_VOLUMES_ANNOTATION as SAFE_LOCAL_VOLUMES,
        SAFE_TO_EVICT_ANNOTATION as SAFE_TO_EVICT,
    },
    pdb,
    plan::BlockReason,
    snapshot::{DoNotDisrupt, Pod, PodId, SafeToEvict, Snapshot},
};

/// What a pod may still take beyond its grace period before it counts as stuck in termination.
pub const LONG_TERMINATING_SLACK: SignedDuration = SignedDuration::from_secs(30);

/// How old a pod of kube-system without a PodDisruptionBudget has to be before it may be evicted.
pub const KUBE_SYSTEM_PROTECTION: SignedDuration = SignedDuration::from_hours(1);

/// What a pod means for the drain of its node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drainability {
    /// Nobody evicts it and it needs no place: a mirror pod, or one that hangs in termination.
    Skip,
    /// A pod of a DaemonSet: it is evicted last and needs no place.
    Daemon,
    /// It may be evicted and needs another place.
    Ok,
    /// It has ended, and needs no place.
    OkNoPlace,
    /// It wants to end by itself, and the node waits for that.
    Wait,
    /// It must not be evicted.
    Block(BlockReason),
}

/// The rule that decides what a pod means for the drain of its node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DrainRule {
    /// The kubelet made it from a file; the API server cannot evict it.
    Mirror,
    /// It should have been gone for a while.
    LongTerminating,
    /// It belongs to a DaemonSet.
    DaemonSet,
    /// It has ended.
    Terminal,
    /// It is annotated `cluster-autoscaler.kubernetes.io/safe-to-evict=true`.
    SafeToEvict,
    /// It is annotated `cluster-autoscaler.kubernetes.io/safe-to-evict=on-completion`.
    OnCompletion,
    /// Something about it blocks.
    Blocks(BlockReason),
    /// Nothing of all this: a controller makes a new one elsewhere.
    Replicated,
}

/// What the pod means for the drain of its node at this time.
///
/// [`BlockReason::NotEnoughPdb`] is never the answer: budgets are the business of [`pdb::Ledger`].
#[must_use]
pub fn drainability(snapshot: &Snapshot, pod: PodId, now: Timestamp) -> Drainability {
    deciding_rule(snapshot, pod, now).drainability()
}

/// The first rule that decides what the pod means for the drain of its node at this time.
#[must_use]
pub fn deciding_rule(snapshot: &Snapshot, pod: PodId, now: Timestamp) -> DrainRule {
    let id = pod;
    let pod = snapshot.pod(id);
    if pod.mirror {
        return DrainRule::Mirror;
    }
    if is_long_terminating(pod, now) {
        return DrainRule::LongTerminating;
    }
    if pod.is_daemon() {
        return DrainRule::DaemonSet;
    }
    // `safe-to-evict=true` comes before this rule and would say the same: a pod that has ended may go.
    if pod.is_terminal() {
        return DrainRule::Terminal;
    }
    match pod.safe_to_evict {
        Some(SafeToEvict::Yes) => return DrainRule::SafeToEvict,
        Some(SafeToEvict::OnCompletion) => return DrainRule::OnCompletion,
        Some(SafeToEvict::No) | None => {}
    }
    let reason = if pod.controller.is_none() {
        BlockReason::NotReplicated
    } else if pod.safe_to_evict == Some(SafeToEvict::No) || must_not_be_disrupted(pod, now) {
        BlockReason::NotSafeToEvictAnnotation
    } else if pod.local_storage.is_some() {
        BlockReason::LocalStorageRequested
    } else if is_young_system_pod(snapshot, pod, now) && pdb::budgets_of(snapshot, id).next().is_none() {
        BlockReason::UnmovableKubeSystemPod
    } else {
        return DrainRule::Replicated;
    };
    DrainRule::Blocks(reason)
}

/// Whether the pod needs another place when its node goes: it is no mirror pod, belongs to no DaemonSet, has not ended
/// and does not hang in termination. Whether it may be evicted is another question.
#[must_use]
pub fn must_move(snapshot: &Snapshot, pod: PodId, now: Timestamp) -> bool {
    let pod = snapshot.pod(pod);
    !pod.mirror && !pod.is_daemon() && !pod.is_terminal() && !is_long_terminating(pod, now)
}

/// Whether the pod should have been gone for a while: its deletion time, its grace period and
/// [`LONG_TERMINATING_SLACK`] are all past.
#[must_use]
pub fn is_long_terminating(pod: &Pod, now: Timestamp) -> bool {
    pod.deletion
        .as_ref()
        .is_some_and(|deletion| deletion.grace.saturating_add(LONG_TERMINATING_SLACK) < now.duration_since(deletion.at))
}

/// Why the pod blocks, in words.
#[must_use]
pub fn block_message(snapshot: &Snapshot, pod: PodId, reason: BlockReason) -> String {
    let name = snapshot.pod_name(pod);
    let pod = snapshot.pod(pod);
    match reason {
        BlockReason::NotReplicated => format!("pod {name} has no controller that would replace it"),
        BlockReason::NotSafeToEvictAnnotation => {
            match (pod.safe_to_evict, pod.do_not_disrupt.as_deref(), pod.started_at()) {
                (Some(SafeToEvict::No), _, _) => {
                    format!("pod {name} is annotated {SAFE_TO_EVICT}=false")
                }
                (_, Some(DoNotDisrupt::For(duration)), Some(start)) => {
                    format!("pod {name} is annotated {DO_NOT_DISRUPT}={duration:#} and started at {start}")
                }
                (_, Some(DoNotDisrupt::For(duration)), None) => {
                    format!("pod {name} is annotated {DO_NOT_DISRUPT}={duration:#} and has not started")
                }
                (_, _, _) => format!("pod {name} is annotated {DO_NOT_DISRUPT}=true"),
            }
        }
        BlockReason::LocalStorageRequested => {
            let volume = pod.local_storage.map_or("", |volume| snapshot.text(volume));
            format!("pod {name} would lose the data of its volume {volume}")
        }
        BlockReason::UnmovableKubeSystemPod => {
            format!("pod {name} has no PodDisruptionBudget and is younger than {KUBE_SYSTEM_PROTECTION:#}")
        }
        BlockReason::NotEnoughPdb => format!("pod {name} is protected by its PodDisruptionBudget"),
    }
}

/// The annotation `karpenter.sh/do-not-disrupt`. A duration counts from the start of the pod; without a start it has
/// not begun to pass.
fn must_not_be_disrupted(pod: &Pod, now: Timestamp) -> bool {
    match (pod.do_not_disrupt.as_deref(), pod.started_at()) {
        (None, _) => false,
        (Some(DoNotDisrupt::Always), _) | (Some(DoNotDisrupt::For(_)), None) => true,
        (Some(DoNotDisrupt::For(duration)), Some(start)) => now.duration_since(start) < *duration,
    }
}

/// A pod of kube-system that is not known to be older than [`KUBE_SYSTEM_PROTECTION`].
fn is_young_system_pod(snapshot: &Snapshot, pod: &Pod, now: Timestamp) -> bool {
    let old = |created: Timestamp| KUBE_SYSTEM_PROTECTION <= now.duration_since(created);
    pod.namespace == snapshot.well_known.kube_system && !pod.created_at().is_some_and(old)
}

// === impl DrainRule ===

impl DrainRule {
    /// The rule as documents spell it; of one that blocks, the reason.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Mirror => "Mirror",
            Self::LongTerminating => "LongTerminating",
            Self::DaemonSet => "DaemonSet",
            Self::Terminal => "Terminal",
            Self::SafeToEvict => "SafeToEvict",
            Self::OnCompletion => "OnCompletion",
            Self::Blocks(reason) => reason.as_str(),
            Self::Replicated => "Replicated",
        }
    }

    /// What the rule decides.
    #[must_use]
    pub const fn drainability(self) -> Drainability {
        match self {
            Self::Mirror | Self::LongTerminating => Drainability::Skip,
            Self::DaemonSet => Drainability::Daemon,
            Self::Terminal => Drainability::OkNoPlace,
            Self::SafeToEvict | Self::Replicated => Drainability::Ok,
            Self::OnCompletion => Drainability::Wait,
            Self::Blocks(reason) => Drainability::Block(reason),
        }
    }

    /// What the rule decides about a pod, in words.
    #[must_use]
    pub fn message(self, snapshot: &Snapshot, pod: PodId) -> String {
        let name = snapshot.pod_name(pod);
        match self {
            Self::Mirror => format!("pod {name} is a mirror pod, which goes with its node"),
            Self::LongTerminating => format!("pod {name} hangs in termination and is not waited for"),
            Self::DaemonSet => format!("pod {name} belongs to a DaemonSet, is evicted last and needs no other place"),
            Self::Terminal => format!("pod {name} has ended and needs no other place"),
            Self::SafeToEvict => format!("pod {name} is annotated {SAFE_TO_EVICT}=true"),
            Self::OnCompletion => {
                format!("pod {name} is annotated {SAFE_TO_EVICT}=on-completion: the node waits for its end")
            }
            Self::Blocks(reason) => block_message(snapshot, pod, reason),
            Self::Replicated => format!("pod {name} has a controller that makes a new one elsewhere"),
        }
    }

    /// What would let a pod go that is not let go by this rule, in words.
    #[must_use]
    pub fn remedy(self, snapshot: &Snapshot, pod: PodId) -> Option<String> {
        let pod = snapshot.pod(pod);
        let reason = match self {
            Self::Blocks(reason) => reason,
            Self::OnCompletion => return Some(format!("wait for its end, or annotate the pod {SAFE_TO_EVICT}=true")),
            _ => return None,
        };
        let remedy = match reason {
            BlockReason::NotReplicated => format!("annotate the pod {SAFE_TO_EVICT}=true, or delete it"),
            BlockReason::NotSafeToEvictAnnotation if pod.safe_to_evict == Some(SafeToEvict::No) => {
                format!("remove the annotation {SAFE_TO_EVICT} from the pod, or set it to true")
            }
            BlockReason::NotSafeToEvictAnnotation => {
                format!("remove the annotation {DO_NOT_DISRUPT} from the pod, or annotate it {SAFE_TO_EVICT}=true")
            }
            BlockReason::LocalStorageRequested => {
                let volume = pod.local_storage.map_or("", |volume| snapshot.text(volume));
                format!(
                    "annotate the pod {SAFE_LOCAL_VOLUMES}={volume} if that is an emptyDir or a hostPath, or {SAFE_TO_EVICT}=true"
                )
            }
            BlockReason::UnmovableKubeSystemPod => format!(
                "give the pod a PodDisruptionBudget, annotate it {SAFE_TO_EVICT}=true, or wait until it is {KUBE_SYSTEM_PROTECTION:#} old"
            ),
            BlockReason::NotEnoughPdb => {
                "have no more than one PodDisruptionBudget over the pod, and let it allow a disruption: more Ready replicas, or another limit".to_owned()
            }
        };
        Some(remedy)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::scale_down::testing::{Cluster, NOW, ago};

    const OK: Drainability = Drainability::Ok;

    fn judge(patch: Value) -> (Drainability, bool) {
        let snapshot = Cluster::new()
            .node("n1", json!({}))
            .pod("p", "n1", "1", patch)
            .snapshot();
        let now = NOW.parse().unwrap();
        (
            drainability(&snapshot, PodId(0), now),
            must_move(&snapshot, PodId(0), now),
        )
    }

    fn block(reason: BlockReason) -> Drainability {
        Drainability::Block(reason)
    }

    fn annotated(key: &str, value: &str) -> Value {
        json!({"metadata": {"annotations": {key: value}}})
    }

    /// Both patches, the second over the first.
    fn both(mut first: Value, second: &Value) -> Value {
        for (field, values) in second.as_object().unwrap() {
            for (key, value) in values.as_object().unwrap() {
                first[field][key] = value.clone();
            }
        }
        first
    }

    fn safe_to_evict(value: &str) -> Value {
        annotated("cluster-autoscaler.kubernetes.io/safe-to-evict", value)
    }

    fn naked() -> Value {
        json!({"metadata": {"ownerReferences": null}})
    }

    fn dying(seconds: i64) -> Value {
        json!({"metadata": {"deletionTimestamp": ago(seconds)}, "spec": {"terminationGracePeriodSeconds": 60}})
    }

    fn daemon() -> Value {
        json!({"metadata": {"ownerReferences": [
            {"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "ds", "uid": "u", "controller": true},
        ]}})
    }

    fn volume(volume: &Value) -> Value {
        json!({"spec": {"volumes": [volume]}})
    }

    #[test]
    fn a_replicated_pod_moves() {
        assert_eq!(judge(json!({})), (OK, true));
    }

    #[test]
    fn a_mirror_pod_is_skipped() {
        let mirror = annotated("kubernetes.io/config.mirror", "x");
        assert_eq!(judge(both(mirror, &naked())), (Drainability::Skip, false));
        let owned = |kind: &str| {
            json!({"metadata": {"ownerReferences": [
                {"apiVersion": "v1", "kind": kind, "name": "n1", "uid": "u", "controller": true},
            ]}})
        };
        assert_eq!(judge(owned("Node")), (Drainability::Skip, false));
        assert_eq!(judge(owned("ReplicationController")), (OK, true));
    }

    #[test]
    fn a_pod_that_hangs_in_termination_is_skipped() {
        assert_eq!(
            judge(both(dying(91), &json!({"metadata": {"ownerReferences": []}}))),
            (Drainability::Skip, false)
        );
        assert_eq!(judge(dying(90)), (OK, true));
    }

    #[test]
    fn a_pod_of_a_daemon_set_needs_no_place() {
        assert_eq!(
            judge(both(
                daemon(),
                &volume(&json!({"name": "v", "hostPath": {"path": "/"}}))
            )),
            (Drainability::Daemon, false)
        );
        assert_eq!(judge(both(dying(91), &daemon())), (Drainability::Skip, false));
    }

    #[test]
    fn a_pod_may_be_declared_one_of_a_daemon_set() {
        let declared = annotated("cluster-autoscaler.kubernetes.io/daemonset-pod", "true");
        assert_eq!(judge(declared.clone()), (Drainability::Daemon, false));
        assert_eq!(judge(both(declared, &naked())), (Drainability::Daemon, false));
        let denied = annotated("cluster-autoscaler.kubernetes.io/daemonset-pod", "false");
        assert_eq!(judge(both(denied, &naked())).0, block(BlockReason::NotReplicated));
    }

    #[test]
    fn safe_to_evict_comes_before_everything_that_blocks() {
        let patch = both(
            safe_to_evict("true"),
            &json!({"metadata": {"ownerReferences": [], "namespace": "kube-system"}}),
        );
        let patch = both(patch, &volume(&json!({"name": "v", "emptyDir": {}})));
        assert_eq!(judge(patch), (OK, true));
    }

    #[test]
    fn a_pod_that_ended_needs_no_place() {
        for phase in ["Succeeded", "Failed"] {
            let ended = json!({"status": {"phase": phase}});
            assert_eq!(judge(both(ended.clone(), &naked())), (Drainability::OkNoPlace, false));
            assert_eq!(
                judge(both(ended.clone(), &safe_to_evict("on-completion"))),
                (Drainability::OkNoPlace, false)
            );
            assert_eq!(
                judge(both(ended, &safe_to_evict("true"))),
                (Drainability::OkNoPlace, false)
            );
        }
    }

    #[test]
    fn a_pod_may_ask_to_end_by_itself() {
        let patch = both(
            safe_to_evict("on-completion"),
            &json!({"metadata": {"ownerReferences": []}}),
        );
        assert_eq!(judge(patch), (Drainability::Wait, true));
    }

    #[test]
    fn a_pod_without_controller_blocks() {
        assert_eq!(judge(naked()), (block(BlockReason::NotReplicated), true));
        let owner = json!({"apiVersion": "v1", "kind": "X", "name": "x", "uid": "u", "controller": false});
        let owned = json!({"metadata": {"ownerReferences": [owner]}});
        assert_eq!(
            judge(both(safe_to_evict("false"), &naked())).0,
            block(BlockReason::NotReplicated)
        );
        assert_eq!(judge(owned).0, block(BlockReason::NotReplicated));
    }

    #[test]
    fn annotations_block() {
        let refused = block(BlockReason::NotSafeToEvictAnnotation);
        let do_not_disrupt = |value: &str| annotated("karpenter.sh/do-not-disrupt", value);
        assert_eq!(judge(safe_to_evict("false")).0, refused);
        assert_eq!(judge(safe_to_evict("no")).0, OK);
        assert_eq!(judge(do_not_disrupt("true")).0, refused);
        assert_eq!(judge(do_not_disrupt("false")).0, OK);
        let started = |seconds| json!({"status": {"startTime": ago(seconds)}});
        assert_eq!(judge(both(do_not_disrupt("1h30m"), &started(5399))).0, refused);
        assert_eq!(judge(both(do_not_disrupt("1h30m"), &started(5400))).0, OK);
        assert_eq!(
            judge(both(do_not_disrupt("1s"), &json!({"status": {"startTime": null}}))).0,
            refused
        );
        for nothing in ["90 minutes", "0s", "-5m"] {
            assert_eq!(judge(both(do_not_disrupt(nothing), &started(1))).0, OK, "{nothing}");
            let not_started = json!({"status": {"startTime": null}});
            assert_eq!(judge(both(do_not_disrupt(nothing), &not_started)).0, OK, "{nothing}");
        }
    }

    #[test]
    fn b1_local_storage_blocks() {
        let local = block(BlockReason::LocalStorageRequested);
        let empty_dir = volume(&json!({"name": "v", "emptyDir": {}}));
        assert_eq!(judge(empty_dir.clone()).0, local);
        assert_eq!(judge(volume(&json!({"name": "v", "hostPath": {"path": "/"}}))).0, local);
        assert_eq!(
            judge(volume(&json!({"name": "v", "emptyDir": {"medium": "Memory"}}))).0,
            OK
        );
        let listed = annotated("cluster-autoscaler.kubernetes.io/safe-to-evict-local-volumes", "u,v");
        assert_eq!(judge(both(empty_dir.clone(), &listed)).0, OK);
        assert_eq!(
            judge(both(empty_dir, &safe_to_evict("false"))).0,
            block(BlockReason::NotSafeToEvictAnnotation)
        );
    }

    #[test]
    fn a_persistent_volume_on_the_node_blocks() {
        let cluster = |source: Value| {
            let volume =
                json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "pv"}, "spec": source});
            let claim = json!({
                "apiVersion": "v1", "kind": "PersistentVolumeClaim",
                "metadata": {"name": "data", "namespace": "default"}, "spec": {"volumeName": "pv"},
            });
            let pod = json!({"spec": {"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}]}});
            let cluster = Cluster::new()
                .object(volume)
                .object(claim)
                .node("n1", json!({}))
                .pod("p", "n1", "1", pod);
            drainability(&cluster.snapshot(), PodId(0), NOW.parse().unwrap())
        };
        assert_eq!(
            cluster(json!({"local": {"path": "/x"}})),
            block(BlockReason::LocalStorageRequested)
        );
        assert_eq!(
            cluster(json!({"hostPath": {"path": "/x"}})),
            block(BlockReason::LocalStorageRequested)
        );
        assert_eq!(cluster(json!({"csi": {"driver": "d", "volumeHandle": "h"}})), OK);
    }

    #[test]
    fn a_young_system_pod_without_budget_blocks() {
        let system = |created: Value| json!({"metadata": {"namespace": "kube-system", "creationTimestamp": created}});
        let young = block(BlockReason::UnmovableKubeSystemPod);
        assert_eq!(judge(system(json!(ago(3599)))).0, young);
        assert_eq!(judge(system(json!(null))).0, young);
        assert_eq!(judge(system(json!(ago(3600)))).0, OK);
        // Unlike in the Cluster Autoscaler, age excuses nothing else.
        let old = system(json!(ago(7200)));
        let scratch = volume(&json!({"name": "v", "emptyDir": {}}));
        assert_eq!(judge(both(old, &scratch)).0, block(BlockReason::LocalStorageRequested));

        let cluster = |namespace: &str| {
            let cluster = Cluster::new()
                .node("n1", json!({}))
                .pod("p", "n1", "1", system(json!(ago(60))));
            let cluster = cluster.budget("b", "p", 0, json!({"metadata": {"namespace": namespace}}));
            drainability(&cluster.snapshot(), PodId(0), NOW.parse().unwrap())
        };
        assert_eq!(cluster("kube-system"), OK);
        assert_eq!(cluster("default"), young);
    }

    #[test]
    fn the_message_names_the_pod_and_what_it_says() {
        let patch = both(
            annotated("karpenter.sh/do-not-disrupt", "1h"),
            &volume(&json!({"name": "cache", "emptyDir": {}})),
        );
        let snapshot = Cluster::new()
            .node("n1", json!({}))
            .pod("p", "n1", "1", patch)
            .snapshot();
        let message = |reason| block_message(&snapshot, PodId(0), reason);
        assert_eq!(
            message(BlockReason::NotSafeToEvictAnnotation),
            "pod default/p is annotated karpenter.sh/do-not-disrupt=1h and started at 2026-03-01T12:00:00Z"
        );
        assert_eq!(
            message(BlockReason::LocalStorageRequested),
            "pod default/p would lose the data of its volume cache"
        );
    }
}
