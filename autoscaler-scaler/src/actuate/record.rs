//! Between the status of a VPSieNode and the record of its life: reading, writing, and the least patch between two.

use autoscaler_core::{
    lifecycle::{self, Failure, NodeSeen, Record, RemovalPhase},
    provider::{Instance, InstanceId},
    snapshot::MachinePhase,
};
use jiff::Timestamp;
use kube::ResourceExt as _;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::api::{
    self, Phase, VPSieNode, VPSieNodeStatus,
    conditions::{self, set_condition, vpsie_node as condition},
};

/// What a status records.
pub(super) fn read(machine: &VPSieNode, now: Timestamp) -> Record {
    let status = machine.status.clone().unwrap_or_default();
    let created = machine.creation_timestamp().map_or(now, |time| time.0);
    let phase_since = status.phase_since.as_ref().map_or(created, |time| time.0);
    let create = status.create.unwrap_or_default();
    let marked = machine.annotations().contains_key(api::labels::CREATION_REQUESTED);
    // A VPSieNode of an earlier version does not record its create call: from Provisioning on there was one.
    let requested_before = marked || status.phase != Phase::Pending;
    let requested_at = create
        .requested_at
        .map(|time| time.0)
        .or(requested_before.then_some(phase_since));
    let failure = status
        .conditions
        .iter()
        .find(|c| c.type_ == condition::ERROR && c.status == "True");
    Record {
        phase: phase(status.phase),
        phase_since,
        instance: machine.instance_id().map(InstanceId::new),
        requested_at,
        attempts: u32::try_from(create.attempts).unwrap_or(0),
        joined: status.joined_at.is_some() || status.node_name.as_deref().is_some_and(|name| !name.is_empty()),
        vm_gone_at: status.deleted_at.map(|time| time.0),
        removal: status.removal.as_ref().and_then(read_removal),
        failure: failure.map(|c| Failure {
            reason: c.reason.clone(),
            message: c.message.clone(),
        }),
        deletion_requested: machine.is_deleting(),
    }
}

/// The status that records a step. `before` is the record that `status` was read as.
pub(super) fn write(
    machine: &VPSieNode,
    before: &Record,
    after: &Record,
    node: Option<(&str, NodeSeen)>,
    instance: Option<&Instance>,
    now: Timestamp,
) -> VPSieNodeStatus {
    let mut status = machine.status.clone().unwrap_or_default();
    let at = |time: Timestamp| Some(api::time(time));
    if after.phase_since != before.phase_since || status.phase_since.is_none() {
        status.phase_since = at(after.phase_since);
    }
    status.phase = api_phase(after.phase);
    if let Some(requested_at) = after.requested_at
        && (after.requested_at != before.requested_at || after.attempts != before.attempts)
    {
        status.create = Some(api::CreateIntent {
            requested_at: at(requested_at),
            attempts: i32::try_from(after.attempts).unwrap_or(i32::MAX),
            offering: Some(machine.spec.instance_type.clone()),
            datacenter: Some(machine.spec.datacenter_id.clone()),
        });
        status.created_at.get_or_insert_with(|| api::time(requested_at));
    }
    let seen_node = match node {
        Some((name, NodeSeen::Present(state))) => {
            status.node_name = Some(name.to_owned());
            Some(state)
        }
        _ => None,
    };
    if let Some(instance) = instance {
        let state = if instance.state == autoscaler_core::provider::InstanceState::Unknown {
            None
        } else {
            Some(instance.state)
        };
        status.vpsie_status = state
            .map(|state| format!("{state:?}").to_lowercase())
            .or(status.vpsie_status);
        if !instance.hostname.is_empty() {
            status.hostname = Some(instance.hostname.clone());
        }
    }
    let entered = |phase| after.phase == phase && before.phase != phase;
    if after.phase >= MachinePhase::Provisioned && after.phase <= MachinePhase::Ready {
        status.provisioned_at.get_or_insert_with(|| api::time(now));
    }
    if after.joined {
        status.joined_at.get_or_insert_with(|| api::time(now));
    }
    if entered(MachinePhase::Ready) {
        status.ready_at.get_or_insert_with(|| api::time(now));
    }
    if entered(MachinePhase::Terminating) || (entered(MachinePhase::Deleting) && status.terminating_at.is_none()) {
        status.terminating_at = at(now);
    }
    if after.vm_gone_at != before.vm_gone_at {
        status.deleted_at = after.vm_gone_at.map(api::time);
    }
    if after.removal != before.removal {
        let moves = status.removal.take().map(|removal| removal.moves).unwrap_or_default();
        status.removal = after.removal.as_ref().map(|removal| write_removal(removal, moves));
    }
    status.last_error = after
        .failure
        .as_ref()
        .map(|failure| format!("{}: {}", failure.reason, failure.message));
    write_conditions(&mut status, after, seen_node, machine.metadata.generation, now);
    status.observed_generation = machine.metadata.generation;
    status
}

/// The removal of a status, planned with these moves.
pub(super) fn write_removal(removal: &lifecycle::Removal, moves: Vec<api::PodMove>) -> api::Removal {
    api::Removal {
        phase: Some(api_removal_phase(removal.phase)),
        kind: Some(match removal.kind {
            lifecycle::RemovalKind::Empty => api::RemovalKind::Empty,
            lifecycle::RemovalKind::Drain => api::RemovalKind::Drain,
        }),
        reason: Some(removal.reason.clone()),
        started_at: removal.started_at.map(api::time),
        cordoned_by_us: Some(removal.cordoned_by_us),
        failed_at: removal.failed_at.map(api::time),
        failures: Some(removal.failures)
            .filter(|failures| 0 < *failures)
            .map(|failures| i32::try_from(failures).unwrap_or(i32::MAX)),
        message: Some(removal.message.clone()).filter(|message| !message.is_empty()),
        moves,
    }
}

/// The least merge patch that turns one object into another, or `None` when they are equal.
pub(super) fn difference<T: Serialize>(old: Option<&T>, new: &T) -> Result<Option<Value>, serde_json::Error> {
    let old = old.map_or_else(|| Ok(Value::Null), serde_json::to_value)?;
    Ok(merge_patch(&old, &serde_json::to_value(new)?))
}

fn merge_patch(old: &Value, new: &Value) -> Option<Value> {
    if old == new {
        return None;
    }
    let Value::Object(new) = new else {
        return Some(new.clone());
    };
    let empty = Map::new();
    let old = old.as_object().unwrap_or(&empty);
    let changed = new.iter().filter_map(|(key, value)| {
        let patch = merge_patch(old.get(key).unwrap_or(&Value::Null), value)?;
        Some((key.clone(), patch))
    });
    let removed = old
        .keys()
        .filter(|key| !new.contains_key(*key))
        .map(|key| (key.clone(), Value::Null));
    Some(Value::Object(changed.chain(removed).collect()))
}

fn write_conditions(
    status: &mut VPSieNodeStatus,
    record: &Record,
    node: Option<lifecycle::NodeState>,
    generation: Option<i64>,
    now: Timestamp,
) {
    use conditions::reason;
    let phase = record.phase;
    let (running, why) = match phase {
        MachinePhase::Pending | MachinePhase::Provisioning => (false, reason::PROVISIONING),
        _ if record.vm_gone_at.is_some() => (false, reason::DELETING),
        MachinePhase::Deleting => (false, reason::DELETING),
        MachinePhase::Failed => (false, reason::FAILED),
        _ => (true, reason::PROVISIONED),
    };
    let joined = match node {
        Some(_) => (true, reason::JOINED),
        None if record.joined => (false, reason::NODE_NOT_FOUND),
        None => (false, reason::JOINING),
    };
    let ready = match (node, phase) {
        (_, MachinePhase::Terminating) => (false, reason::TERMINATING),
        (Some(node), MachinePhase::Ready) if node.ready => (true, reason::READY),
        _ => (false, reason::NOT_READY),
    };
    let error = record.failure.as_ref();
    let (error_reason, message) = error.map_or((reason::RECONCILING, ""), |failure| {
        (failure.reason.as_str(), failure.message.as_str())
    });
    let list = &mut status.conditions;
    set_condition(list, condition::VPS_READY, running, why, "", generation, now);
    set_condition(list, condition::NODE_JOINED, joined.0, joined.1, "", generation, now);
    set_condition(list, condition::NODE_READY, ready.0, ready.1, "", generation, now);
    set_condition(
        list,
        condition::ERROR,
        error.is_some(),
        error_reason,
        message,
        generation,
        now,
    );
}

fn read_removal(removal: &api::Removal) -> Option<lifecycle::Removal> {
    // A record of the failure alone has no phase.
    let phase = removal
        .phase
        .map(core_removal_phase)
        .or(removal.failed_at.as_ref().map(|_| RemovalPhase::Failed))?;
    Some(lifecycle::Removal {
        phase,
        kind: match removal.kind {
            Some(api::RemovalKind::Empty) => lifecycle::RemovalKind::Empty,
            Some(api::RemovalKind::Drain) | None => lifecycle::RemovalKind::Drain,
        },
        reason: removal.reason.clone().unwrap_or_default(),
        started_at: removal.started_at.as_ref().map(|time| time.0),
        cordoned_by_us: removal.cordoned_by_us.unwrap_or(false),
        failed_at: removal.failed_at.as_ref().map(|time| time.0),
        failures: removal
            .failures
            .and_then(|failures| u32::try_from(failures).ok())
            .unwrap_or(0),
        message: removal.message.clone().unwrap_or_default(),
    })
}

const PHASES: [(Phase, MachinePhase); 8] = [
    (Phase::Pending, MachinePhase::Pending),
    (Phase::Provisioning, MachinePhase::Provisioning),
    (Phase::Provisioned, MachinePhase::Provisioned),
    (Phase::Joining, MachinePhase::Joining),
    (Phase::Ready, MachinePhase::Ready),
    (Phase::Terminating, MachinePhase::Terminating),
    (Phase::Deleting, MachinePhase::Deleting),
    (Phase::Failed, MachinePhase::Failed),
];

fn phase(phase: Phase) -> MachinePhase {
    PHASES
        .iter()
        .find(|(api, _)| *api == phase)
        .map_or(MachinePhase::Pending, |(_, core)| *core)
}

fn api_phase(phase: MachinePhase) -> Phase {
    PHASES
        .iter()
        .find(|(_, core)| *core == phase)
        .map_or(Phase::Pending, |(api, _)| *api)
}

const REMOVAL_PHASES: [(api::RemovalPhase, RemovalPhase); 9] = [
    (api::RemovalPhase::Planned, RemovalPhase::Planned),
    (api::RemovalPhase::Cordoned, RemovalPhase::Cordoned),
    (api::RemovalPhase::Draining, RemovalPhase::Draining),
    (api::RemovalPhase::Drained, RemovalPhase::Drained),
    (api::RemovalPhase::ProviderDeleting, RemovalPhase::ProviderDeleting),
    (api::RemovalPhase::ProviderGone, RemovalPhase::ProviderGone),
    (api::RemovalPhase::NodeDeleted, RemovalPhase::NodeDeleted),
    (api::RemovalPhase::RollingBack, RemovalPhase::RollingBack),
    (api::RemovalPhase::Failed, RemovalPhase::Failed),
];

fn core_removal_phase(phase: api::RemovalPhase) -> RemovalPhase {
    REMOVAL_PHASES
        .iter()
        .find(|(api, _)| *api == phase)
        .map_or(RemovalPhase::Planned, |(_, core)| *core)
}

fn api_removal_phase(phase: RemovalPhase) -> api::RemovalPhase {
    REMOVAL_PHASES
        .iter()
        .find(|(_, core)| *core == phase)
        .map_or(api::RemovalPhase::Planned, |(api, _)| *api)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn now() -> Timestamp {
        "2026-01-01T00:00:00Z".parse().unwrap()
    }

    #[test]
    fn a_patch_holds_what_differs() {
        let patch = |old: Value, new: Value| merge_patch(&old, &new);
        assert_eq!(patch(json!({"a": 1}), json!({"a": 1})), None);
        assert_eq!(
            patch(
                json!({"a": {"b": 1, "c": 2}, "l": [1]}),
                json!({"a": {"b": 1, "d": 3}, "l": [2]})
            ),
            Some(json!({"a": {"c": null, "d": 3}, "l": [2]}))
        );
    }

    #[test]
    fn a_record_survives_the_status() {
        let mut machine = VPSieNode::new("n", api::VPSieNodeSpec::default());
        let before = read(&machine, now());
        let mut after = Record {
            phase: MachinePhase::Terminating,
            phase_since: now(),
            requested_at: Some(now()),
            attempts: 2,
            joined: true,
            failure: Some(Failure {
                reason: "DrainFailed".into(),
                message: "slow".into(),
            }),
            removal: Some(lifecycle::Removal {
                cordoned_by_us: true,
                failures: 3,
                ..lifecycle::Removal::planned(lifecycle::RemovalKind::Empty, "NotNeeded".into(), now())
            }),
            ..before.clone()
        };
        machine.status = Some(write(&machine, &before, &after, None, None, now()));
        assert_eq!(read(&machine, now()), after);

        // Nothing differs when nothing happened.
        let again = write(&machine, &after, &after, None, None, now());
        assert_eq!(difference(machine.status.as_ref(), &again).unwrap(), None);

        // A deadline may begin anew without a change of phase.
        let recorded = after.clone();
        after.phase_since = now() + jiff::SignedDuration::from_mins(1);
        machine.status = Some(write(&machine, &recorded, &after, None, None, now()));
        assert_eq!(read(&machine, now()), after);

        let recorded = after.clone();
        after.failure = None;
        after.vm_gone_at = Some(now());
        machine.status = Some(write(&machine, &recorded, &after, None, None, now()));
        assert_eq!(read(&machine, now()), after);
    }
}
