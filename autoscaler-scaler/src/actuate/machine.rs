//! One VPSieNode: observe, step, persist, act, until nothing more can be done now.

use autoscaler_core::{
    lifecycle::{self, Action, CreateReply, Record, RemovalKind, RemovalPhase, Step},
    provider::{CreateInstance, InstanceId, ProviderErrorKind},
    snapshot::MachinePhase,
};
use jiff::SignedDuration;
use kube::{
    Api, Resource as _, ResourceExt as _,
    api::{Patch, PatchParams},
};
use serde_json::{Value, json};

use super::{
    Actuator, Fact, Tick,
    backoff::Setback,
    describe, drain,
    drain::Evicted,
    join,
    observe::{NodeSource, Seen, began, deadlines},
    record, remove, retry_after, vms,
};
use crate::{api::VPSieNode, events::REPORTER, failpoint::failpoint, index::Key};

/// More steps than a life has. Reaching it means that two steps undo each other, which is a defect.
const STEP_LIMIT: usize = 40;

/// When to look again at something that somebody else is busy with.
const SOON: SignedDuration = SignedDuration::from_secs(5);

/// Why a VPSieNode cannot be carried on now.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error(transparent)]
    Kube(#[from] kube::Error),
    #[error("the status cannot be written as JSON")]
    Json(#[from] serde_json::Error),
}

/// What an action leads to.
enum Done {
    /// Something changed: step again.
    Again,
    /// Somebody else has to do something first.
    Wait(SignedDuration),
    /// The VPSieNode is gone.
    Gone,
}

/// One VPSieNode on its way through a tick.
struct Course {
    object: VPSieNode,
    source: NodeSource,
    reply: Option<CreateReply>,
    request: Option<CreateInstance>,
}

impl Actuator {
    /// Carries one VPSieNode on as far as possible. What goes wrong is reported, and tried again with the next tick.
    pub(super) async fn carry_on(&self, tick: &Tick<'_>, key: &Key, object: VPSieNode) {
        let name = describe(&object);
        let mut course = Course {
            object,
            source: NodeSource::default(),
            reply: None,
            request: None,
        };
        match self.steps(tick, &mut course).await {
            Ok(()) => {}
            // Somebody else was faster; their version is what the next tick starts from.
            Err(Error::Kube(kube::Error::Api(status))) if status.code == 409 => {
                tracing::debug!(object = name, "a VPSieNode has changed and is looked at again");
                self.reload(tick, key).await;
                tick.come_back(SignedDuration::from_secs(1));
            }
            Err(Error::Kube(kube::Error::Api(status))) if status.code == 404 => {
                self.reload(tick, key).await;
                tick.come_back(SignedDuration::from_secs(1));
            }
            Err(error) => tick.problem(name, "carry on", error.to_string()),
        }
    }

    async fn steps(&self, tick: &Tick<'_>, course: &mut Course) -> Result<(), Error> {
        for _ in 0..STEP_LIMIT {
            let before = record::read(&course.object, tick.now());
            let blocked = self.prepare_request(tick, course, &before).await;
            let mut seen = self
                .observe(tick, &course.object, &before, &course.source, course.reply.take())
                .await;
            seen.observation.create_blocked = blocked;
            let group = tick.sight.group(&course.object);
            let limits = deadlines(self, tick, group);
            let step = lifecycle::step(&before, &seen.observation, &limits, tick.now());
            failpoint!(before crate::failpoint::write(&before, &step.record));
            self.persist(tick, course, &before, &step, &seen).await?;
            failpoint!(after crate::failpoint::write(&before, &step.record));
            self.tell(tick, &course.object, &before, &step, &seen).await;

            let (mut again, mut waits) = (step.record != before, false);
            for action in step.actions {
                match self.act(tick, course, &seen, action).await? {
                    Done::Again => again = true,
                    Done::Wait(wait) => {
                        waits = true;
                        tick.come_back(wait);
                    }
                    Done::Gone => return Ok(()),
                }
            }
            if waits || !again {
                return Ok(());
            }
        }
        tick.problem(
            describe(&course.object),
            "carry on",
            "its steps do not come to an end".to_owned(),
        );
        Ok(())
    }

    /// Makes the create request ready where one may be due. Returns why there can be none.
    async fn prepare_request(&self, tick: &Tick<'_>, course: &mut Course, record: &Record) -> Option<String> {
        let may_be_due = matches!(record.phase, MachinePhase::Pending | MachinePhase::Provisioning)
            && record.instance.is_none()
            && course.reply.is_none()
            && !record.deletion_requested;
        if !may_be_due {
            return None;
        }
        let not_before = self.memory().create_not_before;
        if let Some(not_before) = not_before.filter(|at| tick.now() < *at) {
            tick.come_back(not_before.duration_since(tick.now()));
            return Some("the provider asks for fewer requests".to_owned());
        }
        match self.create_request(tick, &course.object).await {
            Ok(request) => {
                course.request = Some(request);
                None
            }
            Err(error) => {
                tick.problem(
                    describe(&course.object),
                    "prepare the create request",
                    error.to_string(),
                );
                Some(error.to_string())
            }
        }
    }

    /// Writes what a step changed. Nothing is written when nothing differs.
    async fn persist(
        &self,
        tick: &Tick<'_>,
        course: &mut Course,
        before: &Record,
        step: &Step,
        seen: &Seen,
    ) -> Result<(), Error> {
        let object = &course.object;
        let machines: Api<VPSieNode> =
            Api::namespaced(self.clients.write.clone(), &object.namespace().unwrap_or_default());
        let params = PatchParams {
            field_manager: Some(REPORTER.to_owned()),
            ..PatchParams::default()
        };
        if let Some(id) = step
            .record
            .instance
            .as_ref()
            .filter(|_| step.record.instance != before.instance)
        {
            let spec = instance_patch(id);
            let patch = json!({ "metadata": { "resourceVersion": object.resource_version() }, "spec": spec });
            course.object = machines
                .patch(&object.name_any(), &params, &Patch::Merge(&patch))
                .await?;
            self.index.put_machine(course.object.clone());
        }
        let object = &course.object;
        let node = seen
            .node
            .as_ref()
            .map(|node| (node.metadata.name.as_str(), seen.observation.node));
        let status = record::write(object, before, &step.record, node, seen.instance.as_ref(), tick.now());
        if let Some(patch) = record::difference(object.status.as_ref(), &status)? {
            let patch = json!({ "metadata": { "resourceVersion": object.resource_version() }, "status": patch });
            course.object = machines
                .patch_status(&object.name_any(), &params, &Patch::Merge(&patch))
                .await?;
            self.index.put_machine(course.object.clone());
        }
        Ok(())
    }

    async fn act(&self, tick: &Tick<'_>, course: &mut Course, seen: &Seen, action: Action) -> Result<Done, Error> {
        let client = &self.clients.write;
        let node_name = seen
            .node
            .as_ref()
            .map(|node| node.metadata.name.clone())
            .unwrap_or_default();
        let machine = &course.object;
        let node = match action {
            Action::RequestVm => {
                course.reply = Some(self.request_vm(tick, machine, course.request.take()).await);
                return Ok(Done::Again);
            }
            Action::ResolveVm => return Ok(Done::Wait(self.settings.list_interval)),
            Action::DeleteVm(id) => {
                failpoint!(before "delete-vm");
                self.delete_vm(tick, machine, &id).await;
                failpoint!(after "delete-vm");
                return Ok(Done::Wait(SOON));
            }
            Action::Evict { forced } => return Ok(self.evict(tick, machine, seen, forced).await),
            Action::DeleteNode => {
                if let Some(node) = &seen.node {
                    failpoint!(before "delete-node");
                    join::delete(client, node).await?;
                    failpoint!(after "delete-node");
                }
                course.source = NodeSource::Server;
                // A finalizer may hold it: then it is still there, and asking at once changes nothing.
                return Ok(
                    if seen
                        .node
                        .as_ref()
                        .is_some_and(|node| node.metadata.deletion_timestamp.is_some())
                    {
                        Done::Wait(SOON)
                    } else {
                        Done::Again
                    },
                );
            }
            Action::DeleteRecord => {
                failpoint!(before "delete-record");
                remove::delete_record(client, &self.index, machine).await?;
                failpoint!(after "delete-record");
                tick.fact(Fact::NodeRemoved {
                    group: machine.node_group_key(),
                });
                return Ok(Done::Gone);
            }
            Action::PrepareNode => {
                let id = machine.instance_id();
                join::prepare(client, &node_name, &seen.dress, id.as_deref()).await?
            }
            Action::RemoveStartupTaint => join::remove_startup_taint(client, &node_name, &seen.dress).await?,
            Action::Cordon => {
                failpoint!(before "cordon");
                let node = join::cordon(client, &node_name, &join::mark(machine), tick.now()).await?;
                failpoint!(after "cordon");
                node
            }
            Action::Uncordon => {
                failpoint!(before "uncordon");
                let node = join::uncordon(client, &node_name, machine).await?;
                failpoint!(after "uncordon");
                node
            }
        };
        self.index.put_node(node.clone());
        course.source = NodeSource::Written(Box::new(node));
        Ok(Done::Again)
    }

    async fn request_vm(&self, tick: &Tick<'_>, machine: &VPSieNode, request: Option<CreateInstance>) -> CreateReply {
        // The state machine asks for a call only when one was made ready.
        let Some(request) = request else {
            return CreateReply::Unanswered;
        };
        let Ok(_permit) = tick.creates.acquire().await else {
            return CreateReply::Unanswered;
        };
        let (group, offering) = (machine.node_group_key(), machine.spec.instance_type.clone());
        let started = tick.now();
        match vms::bounded("create VM", self.provider.create(&request)).await {
            Ok(instance) => {
                let took = tick.now().duration_since(started);
                tick.fact(Fact::VmCreated { group, offering, took });
                CreateReply::Accepted(instance.id)
            }
            Err(error) => {
                let reason = error.kind.reason();
                tick.fact(Fact::VmCreateFailed {
                    group,
                    offering: offering.clone(),
                    reason,
                });
                let mut collected = tick.collected();
                collected.report.provider_failed("create", describe(machine), &error);
                let refused = matches!(
                    error.kind,
                    ProviderErrorKind::Capacity { .. } | ProviderErrorKind::Quota | ProviderErrorKind::InvalidRequest
                );
                if refused {
                    let key = (
                        machine.namespace().unwrap_or_default(),
                        machine.spec.node_group_name.clone(),
                    );
                    collected.refusals.push(Setback {
                        group: key,
                        offering,
                        reason: reason.to_owned(),
                        message: error.message,
                        at: tick.now(),
                    });
                    return CreateReply::Refused;
                }
                drop(collected);
                if let Some(wait) = retry_after(&error) {
                    self.memory().create_not_before = tick.now().checked_add(wait).ok();
                }
                CreateReply::Unanswered
            }
        }
    }

    async fn delete_vm(&self, tick: &Tick<'_>, machine: &VPSieNode, id: &InstanceId) {
        match vms::bounded("delete VM", self.provider.delete(id)).await {
            Ok(()) => {
                tick.fact(Fact::VmDeleteRequested {
                    group: machine.node_group_key(),
                });
                self.memory().delete_accepted.extend(machine.uid());
            }
            // It is for the list to say that the VM is gone.
            Err(error) if error.kind == ProviderErrorKind::NotFound => {}
            Err(error) => tick
                .collected()
                .report
                .provider_failed("delete", describe(machine), &error),
        }
    }

    /// Asks the pods that are due to go.
    async fn evict(&self, tick: &Tick<'_>, machine: &VPSieNode, seen: &Seen, forced: bool) -> Done {
        let group = machine.node_group_key();
        let now = tick.now();
        let mut next = seen.load.next.map(|at| at.duration_since(now));
        for victim in &seen.load.due {
            failpoint!(before if victim.daemon { "evict-daemon" } else { "evict" });
            let evicted = if forced && !victim.daemon {
                drain::delete_past_budget(&self.clients.evict, victim).await
            } else {
                drain::evict(&self.clients.evict, victim).await
            };
            failpoint!(after(evicted == Evicted::Yes).then_some(if victim.daemon { "evict-daemon" } else { "evict" }));
            let (namespace, name) = &victim.key;
            match &evicted {
                Evicted::Yes => tick.fact(Fact::PodEvicted {
                    group: group.clone(),
                    node: machine.name_any(),
                    forced,
                }),
                Evicted::Refused(why) => {
                    tracing::info!(pod = format!("{namespace}/{name}"), why, "an eviction was refused");
                    tick.fact(Fact::EvictionRefused { group: group.clone() });
                }
                Evicted::Changed => {}
                Evicted::Failed(why) => {
                    tick.problem(describe(machine), "evict", format!("pod {namespace}/{name}: {why}"));
                }
            }
            let retry = self.memory().attempts.remember(victim, &evicted, tick.now());
            next = [next, retry.map(|at| at.duration_since(tick.now()))]
                .into_iter()
                .flatten()
                .min();
        }
        // DaemonSet pods are asked once, and nobody waits for them.
        let only_daemons = !seen.load.due.is_empty() && seen.load.due.iter().all(|victim| victim.daemon);
        if only_daemons {
            Done::Again
        } else {
            Done::Wait(next.unwrap_or(SOON).min(SOON))
        }
    }

    /// Events and facts about what a step changed.
    async fn tell(&self, tick: &Tick<'_>, machine: &VPSieNode, before: &Record, step: &Step, seen: &Seen) {
        let after = &step.record;
        let group = machine.node_group_key();
        let now = tick.now();
        let entered = |phase| after.phase == phase && before.phase != phase;
        let took = || now.duration_since(began(machine, now));
        if entered(MachinePhase::Provisioned) {
            tick.fact(Fact::VmRunning {
                group: group.clone(),
                took: took(),
            });
        }
        if entered(MachinePhase::Ready) && before.phase == MachinePhase::Joining {
            tick.fact(Fact::NodeReady {
                group: group.clone(),
                took: took(),
            });
        }
        if entered(MachinePhase::Failed) {
            let reason = after
                .failure
                .as_ref()
                .map(|failure| failure.reason.clone())
                .unwrap_or_default();
            tick.fact(Fact::NodeFailed {
                group: group.clone(),
                reason,
            });
        }
        let removal = |record: &Record| record.removal.as_ref().map(|removal| removal.phase);
        let reached = |phase| removal(after) == Some(phase) && removal(before) != Some(phase);
        let since_start = || {
            let started = after.removal.as_ref().and_then(|removal| removal.started_at);
            now.duration_since(started.unwrap_or(now))
        };
        if reached(RemovalPhase::Drained) {
            tick.fact(Fact::Drained {
                group: group.clone(),
                node: machine.name_any(),
                kind: after
                    .removal
                    .as_ref()
                    .map_or(RemovalKind::Drain, |removal| removal.kind),
                took: since_start(),
            });
        }
        let key = || {
            (
                machine.namespace().unwrap_or_default(),
                machine.spec.node_group_name.clone(),
            )
        };
        if reached(RemovalPhase::RollingBack) {
            *tick.collected().failed_removals.entry(key()).or_default() += 1;
            let reason = after
                .failure
                .as_ref()
                .map(|failure| failure.reason.clone())
                .unwrap_or_default();
            tick.fact(Fact::RemovalFailed {
                group: group.clone(),
                node: machine.name_any(),
                reason,
            });
        }
        if entered(MachinePhase::Deleting) && before.phase == MachinePhase::Terminating {
            tick.collected().shrunk.insert(key());
        }
        if after.vm_gone_at.is_some() && before.vm_gone_at.is_none() {
            tick.fact(Fact::VmDeleted {
                group,
                took: now.duration_since(before.phase_since),
            });
        }
        let Some(note) = &step.note else { return };
        let mut regarding = vec![machine.object_ref(&())];
        if let (Some(node), RemovalPhase::RollingBack) = (&seen.node, removal(after).unwrap_or(RemovalPhase::Planned)) {
            regarding.push(join::reference(node));
        }
        for object in &regarding {
            if note.warning {
                self.events
                    .warning(object, "Reconcile", note.reason, note.message.clone())
                    .await;
            } else {
                self.events
                    .normal(object, "Reconcile", note.reason, note.message.clone())
                    .await;
            }
        }
    }

    /// Replaces what the index has of a VPSieNode by what the API server has.
    pub(super) async fn reload(&self, tick: &Tick<'_>, key: &Key) {
        let machines: Api<VPSieNode> = Api::namespaced(self.clients.write.clone(), &key.0);
        match machines.get_opt(&key.1).await {
            Ok(Some(object)) => self.index.put_machine(object),
            Ok(None) => self.index.remove_machine(key),
            Err(error) => tick.problem(format!("VPSieNode {}/{}", key.0, key.1), "get", error.to_string()),
        }
    }
}

/// The fields of the spec that hold the provider's id: as a number where it is one, as the Go autoscaler has it.
fn instance_patch(id: &InstanceId) -> Value {
    match id.as_str().parse::<i64>() {
        Ok(number) if 0 < number => json!({ "vpsieInstanceID": number }),
        _ => json!({ "vpsieInstance": id.as_str() }),
    }
}
