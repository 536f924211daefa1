//! NodeGroups: finalizer, deletion and status.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use kube::{
    Api, ResourceExt as _,
    api::{DeleteParams, ListParams, Patch, PatchParams, Preconditions},
};
use serde_json::json;

use super::{Actuator, TickReport, backoff, join, record};
use crate::{
    api::{
        self, NodeGroup, NodeGroupStatus, NodeInfo, Phase, VPSieNode,
        conditions::{node_group as condition, reason, set_condition},
        labels,
    },
    events::REPORTER,
    index::{Cluster, Key, key_of},
};

/// The most nodes that a status lists.
const NODES_LIMIT: usize = 2000;

/// Whether a VPSieNode belongs to the group of this key.
pub(super) fn is_member(machine: &VPSieNode, group: &Key) -> bool {
    machine.namespace().as_deref() == Some(&group.0) && machine.spec.node_group_name == group.1
}

// === impl Actuator ===

impl Actuator {
    /// Puts the finalizer on managed groups. Of a group that is being deleted, deletes the VPSieNodes, and takes the
    /// finalizer off when the last one is gone.
    pub(super) async fn keep_finalizers(&self, cluster: &Cluster, report: &mut TickReport) {
        for (key, group) in &cluster.groups {
            let has_finalizer = group
                .finalizers()
                .iter()
                .any(|finalizer| finalizer == labels::NODE_GROUP_FINALIZER);
            let result = if group.is_deleting() && has_finalizer {
                self.wind_down(group, key, report).await
            } else if group.is_managed() && !group.is_deleting() && !has_finalizer {
                let mut finalizers = group.finalizers().to_vec();
                finalizers.push(labels::NODE_GROUP_FINALIZER.to_owned());
                self.write_finalizers(group, &finalizers).await
            } else {
                Ok(())
            };
            if let Err(error) = result {
                report.problem(describe(key), "keep the finalizer", error.to_string());
            }
        }
    }

    async fn wind_down(&self, group: &NodeGroup, key: &Key, report: &mut TickReport) -> Result<(), kube::Error> {
        // The API server is asked: a VPSieNode that the index does not have yet must not be left behind.
        let machines: Api<VPSieNode> = Api::namespaced(self.clients.write.clone(), &key.0);
        let members = machines.list(&ListParams::default()).await?;
        let members: Vec<_> = members
            .items
            .into_iter()
            .filter(|machine| is_member(machine, key))
            .collect();
        if members.is_empty() {
            let mut finalizers = group.finalizers().to_vec();
            finalizers.retain(|finalizer| finalizer != labels::NODE_GROUP_FINALIZER);
            return self.write_finalizers(group, &finalizers).await;
        }
        report.come_back(SignedDuration::from_secs(5));
        for machine in members.into_iter().filter(|machine| !machine.is_deleting()) {
            let preconditions = Preconditions {
                uid: machine.uid(),
                resource_version: None,
            };
            let params = DeleteParams::default().preconditions(preconditions);
            match machines.delete(&machine.name_any(), &params).await {
                Ok(deleted) => match deleted.left() {
                    Some(deleting) => self.index.put_machine(deleting),
                    None => self.index.remove_machine(&key_of(&machine)),
                },
                Err(kube::Error::Api(status)) if status.code == 404 => self.index.remove_machine(&key_of(&machine)),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn write_finalizers(&self, group: &NodeGroup, finalizers: &[String]) -> Result<(), kube::Error> {
        let groups: Api<NodeGroup> =
            Api::namespaced(self.clients.write.clone(), &group.namespace().unwrap_or_default());
        let metadata = json!({ "resourceVersion": group.resource_version(), "finalizers": finalizers });
        let params = PatchParams {
            field_manager: Some(REPORTER.to_owned()),
            ..PatchParams::default()
        };
        match groups
            .patch(
                &group.name_any(),
                &params,
                &Patch::Merge(&json!({ "metadata": metadata })),
            )
            .await
        {
            Ok(group) => self.index.put_group(group),
            // Gone, or changed: the watch brings what it is now.
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Writes the status of every managed group that differs.
    pub(super) async fn keep_group_status(
        &self,
        shrunk: &BTreeSet<Key>,
        failed_removals: &BTreeMap<Key, u32>,
        now: Timestamp,
        report: &mut TickReport,
    ) {
        let cluster = self.index.cluster();
        for (key, group) in cluster.groups.iter().filter(|(_, group)| group.is_managed()) {
            let members: Vec<&VPSieNode> = cluster
                .machines
                .values()
                .map(|machine| &**machine)
                .filter(|machine| is_member(machine, key))
                .collect();
            let result = self
                .write_group_status(group, |status| {
                    if shrunk.contains(key) {
                        status.scale_down_failures = None;
                        status.last_scale_down_time = Some(api::time(now));
                        status.last_scale_time = Some(api::time(now));
                    }
                    if let Some(failed) = failed_removals.get(key) {
                        let failed = i32::try_from(*failed).unwrap_or(i32::MAX);
                        status.last_scale_down_failure_time = Some(api::time(now));
                        status.scale_down_failures =
                            Some(status.scale_down_failures.unwrap_or(0).saturating_add(failed));
                    }
                    note_growth(status, &members);
                    describe_group(status, group, &members, &cluster, now);
                })
                .await;
            if let Err(error) = result {
                report.problem(describe(key), "write the status", error.to_string());
            }
        }
    }

    /// Changes the status of a group. Nothing is written when nothing differs. Only the autoscaler writes it, so that
    /// the fields of the patch need no precondition.
    pub(super) async fn write_group_status(
        &self,
        group: &NodeGroup,
        change: impl FnOnce(&mut NodeGroupStatus) + Send,
    ) -> Result<(), kube::Error> {
        let mut status = group.status.clone().unwrap_or_default();
        change(&mut status);
        let Some(patch) = record::difference(group.status.as_ref(), &status).map_err(kube::Error::SerdeError)? else {
            return Ok(());
        };
        let groups: Api<NodeGroup> =
            Api::namespaced(self.clients.write.clone(), &group.namespace().unwrap_or_default());
        let params = PatchParams {
            field_manager: Some(REPORTER.to_owned()),
            ..PatchParams::default()
        };
        let patch = Patch::Merge(json!({ "status": patch }));
        match groups.patch_status(&group.name_any(), &params, &patch).await {
            Ok(group) => self.index.put_group(group),
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

/// A scale-up is noted after its VPSieNodes are written. An operator that ended in between left it to its successor, who
/// knows it by their age.
fn note_growth(status: &mut NodeGroupStatus, members: &[&VPSieNode]) {
    let youngest = members.iter().filter_map(|machine| machine.creation_timestamp()).max();
    if let Some(youngest) = youngest.filter(|youngest| status.last_scale_up_time.as_ref() < Some(youngest)) {
        status.last_scale_time = status.last_scale_time.take().max(Some(youngest.clone()));
        status.last_scale_up_time = Some(youngest);
    }
}

fn describe_group(
    status: &mut NodeGroupStatus,
    group: &NodeGroup,
    members: &[&VPSieNode],
    cluster: &Cluster,
    now: Timestamp,
) {
    let count = |wanted: &dyn Fn(&VPSieNode) -> bool| {
        i32::try_from(members.iter().filter(|machine| wanted(machine)).count()).unwrap_or(i32::MAX)
    };
    let leaving =
        |machine: &VPSieNode| machine.is_deleting() || matches!(machine.phase(), Phase::Terminating | Phase::Deleting);
    let failed = |machine: &VPSieNode| machine.phase() == Phase::Failed;
    let is_ready = |machine: &VPSieNode| {
        let node = machine.node_name().and_then(|name| cluster.nodes.get(name));
        machine.phase() == Phase::Ready && !leaving(machine) && node.is_some_and(|node| join::is_ready(node))
    };
    let current = count(&|machine| !leaving(machine) && !failed(machine));
    let coming = count(&|machine| !leaving(machine) && !failed(machine) && machine.phase() != Phase::Ready);
    let going = count(&leaving);
    let broken = count(&failed);
    status.current_nodes = current;
    status.desired_nodes = current;
    status.ready_nodes = count(&is_ready);
    let node_info = |machine: &&VPSieNode| {
        let of_status = machine.status.as_ref();
        NodeInfo {
            node_name: of_status
                .and_then(|status| status.node_name.clone())
                .unwrap_or_default(),
            vps_id: machine.spec.vpsie_instance_id,
            instance_type: machine.spec.instance_type.clone(),
            status: machine.phase().as_str().to_owned(),
            created_at: of_status.and_then(|status| status.created_at.clone()),
            ready_at: of_status.and_then(|status| status.ready_at.clone()),
            ip_address: machine.spec.ip_address.clone(),
        }
    };
    status.nodes = members.iter().take(NODES_LIMIT).map(node_info).collect();
    status.observed_generation = group.metadata.generation;

    let (scaling, why) = match (coming, going) {
        (0, 0) => (false, reason::SCALING_COMPLETE),
        (0, _) => (true, reason::SCALING_DOWN),
        _ => (true, reason::SCALING_UP),
    };
    backoff::forget_old(&mut status.scale_up_backoffs, now);
    let in_backoff = status
        .scale_up_backoffs
        .iter()
        .find(|b| b.until.as_ref().is_some_and(|until| now < until.0));
    let (error, error_reason, message) = match in_backoff {
        Some(backoff) => {
            let why = backoff
                .reason
                .clone()
                .unwrap_or_else(|| reason::VPSIE_API_ERROR.to_owned());
            let until = backoff.until.as_ref().map(|time| time.0);
            let message = backoff.message.as_deref().unwrap_or_default();
            (true, why, backoff::sentence(&backoff.offering, until, message))
        }
        None if 0 < broken => (
            true,
            reason::NODE_PROVISIONING_FAILED.to_owned(),
            format!("{broken} VPSieNodes have failed"),
        ),
        None => (false, reason::RECONCILING.to_owned(), String::new()),
    };
    let ready = !group.is_deleting() && status.ready_nodes == current;
    let ready_reason = if ready {
        reason::SCALING_COMPLETE
    } else {
        reason::RECONCILING
    };
    let generation = group.metadata.generation;
    let at_min = (current <= group.spec.min_nodes, reason::AT_MINIMUM_CAPACITY);
    let at_max = (group.spec.max_nodes <= current, reason::AT_MAXIMUM_CAPACITY);
    let list = &mut status.conditions;
    set_condition(list, condition::READY, ready, ready_reason, "", generation, now);
    set_condition(list, condition::SCALING, scaling, why, "", generation, now);
    set_condition(list, condition::ERROR, error, &error_reason, &message, generation, now);
    for (type_, (holds, yes)) in [
        (condition::AT_MIN_CAPACITY, at_min),
        (condition::AT_MAX_CAPACITY, at_max),
    ] {
        set_condition(
            list,
            type_,
            holds,
            if holds { yes } else { reason::RECONCILING },
            "",
            generation,
            now,
        );
    }
}

pub(super) fn describe(key: &Key) -> String {
    format!("NodeGroup {}/{}", key.0, key.1)
}
