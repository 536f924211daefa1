//! The controllers of the cluster. May hold: the loop that runs them, and what they share.
//!
//! All of them are level-based: each compares what is with what should be and writes the difference. After a change
//! they run in turn until nothing changes any more, then sleep until the next change (or a time that one of them named).

mod daemonsets;
mod disruption;
mod garbage;
mod nodes;
mod statefulsets;
mod workloads;

use jiff::Timestamp;
use serde_json::Value;
use tokio::time::sleep;

use super::Cluster;
use super::apply::Writer;
use super::lifecycle::{self, DeleteOptions};
use super::object::{condition_is_true, controller_of, name, uid};
use super::resource::ResourceType;
use super::store::{ObjectKey, State};

/// Rounds after which controllers that keep undoing each other's work are left until the next change.
const MAX_ROUNDS: usize = 1_000;

/// Runs the controllers for ever.
pub(super) async fn run(cluster: Cluster) {
    let (mut changed, _) = cluster.subscribe();
    let mut settled = 0;
    loop {
        changed.mark_unchanged();
        let wake = cluster.write(|state| settle(state, &mut settled));
        let timer = async {
            match wake.and_then(|at| at.duration_since(cluster.now()).try_into().ok()) {
                Some(wait) => sleep(wait).await,
                None if wake.is_some() => {}
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            alive = changed.changed() => if alive.is_err() { return },
            () = timer => settled = 0,
        }
    }
}

/// Runs every controller until nothing changes; returns when to look again without a change.
fn settle(state: &mut State, settled: &mut u64) -> Option<Timestamp> {
    let mut wake = disruption::next_expiry(state);
    for _ in 0..MAX_ROUNDS {
        if *settled == state.revision() {
            return wake;
        }
        let seen = std::mem::replace(settled, state.revision());
        nodes::reconcile(state);
        workloads::reconcile(state);
        statefulsets::reconcile(state);
        daemonsets::reconcile(state);
        disruption::reconcile(state);
        if state.ownership_changed_at() > seen {
            garbage::reconcile(state);
        }
        wake = disruption::next_expiry(state);
    }
    tracing::error!("the controllers of the embedded cluster did not settle");
    wake
}

fn writer(subresource: &'static str) -> Writer {
    Writer {
        manager: "kube-controller-manager".to_owned(),
        subresource,
    }
}

/// Creates an object; a refusal is logged, and tried again after the next change.
fn create(state: &mut State, ty: &ResourceType, namespace: &str, object: Value) -> bool {
    let created = lifecycle::create(state, ty, &ty.storage_version, namespace, object, &writer(""), false);
    if let Err(error) = &created {
        tracing::warn!(%error, "a controller could not create an object");
    }
    created.is_ok()
}

/// Writes an object, or only its status.
fn update(state: &mut State, ty: &ResourceType, object: Value, subresource: &'static str) {
    let key = ObjectKey::of(&object);
    let written = lifecycle::update(
        state,
        ty,
        &ty.storage_version,
        &key,
        object,
        &writer(subresource),
        false,
    );
    if let Err(error) = written {
        tracing::warn!(%error, "a controller could not update an object");
    }
}

fn delete(state: &mut State, ty: &ResourceType, object: &Value, options: &DeleteOptions) {
    if let Err(error) = lifecycle::delete(state, ty, &ObjectKey::of(object), options) {
        tracing::warn!(%error, name = name(object), "a controller could not delete an object");
    }
}

/// Whether `owner` controls `object`.
fn is_controlled_by(object: &Value, owner: &Value) -> bool {
    controller_of(object).is_some_and(|reference| reference.get("uid").and_then(Value::as_str) == Some(uid(owner)))
}

fn is_ready(pod: &Value) -> bool {
    condition_is_true(pod, "Ready")
}
