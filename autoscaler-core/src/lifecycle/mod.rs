//! The life of one VPSieNode as a state machine: from the intent to buy a VM until VM and Node are gone.
//!
//! [`step`] is a pure function of what is recorded and what is seen. It returns the next record and the actions that
//! lead on from there. The one rule for whoever carries it out:
//!
//! **Persist the record first; carry the actions out only when that succeeded.** So whatever has an effect outside was
//! recorded before it, and a crash at any instruction leaves a record that tells what may have happened. When the
//! record cannot be persisted the actions are dropped, and the next step starts from what is persisted.
//!
//! The reply to [`Action::RequestVm`] comes back as [`Observation::create`] of the next step. When it is lost, the VM is
//! looked up by its token, and only a list that is younger than the request by [`Deadlines::settle`] and does not have
//! the VM allows a second request.
//!
//! A VM counts as gone only when the provider says so, and never while its Node is Ready: a list of another account
//! would show every VM gone.
//!
//! This module holds the types; the way to Ready is in `coming`, the way out in `leaving`.

mod coming;
mod leaving;
#[cfg(test)]
mod tests;

use jiff::{SignedDuration, Timestamp};

pub use crate::{plan::RemovalKind, scale_down::Objection};
use crate::{
    provider::{InstanceId, InstanceState},
    snapshot::MachinePhase,
};

/// With this word begins [`Removal::message`] when a drain took longer than [`Deadlines::drain`].
pub const DRAIN_TIMEOUT: &str = "DrainTimeout";

/// How long a node, or a group, is left alone at the most after removals failed, unless the first delay is longer.
const LONGEST_DELAY: SignedDuration = SignedDuration::from_hours(1);

/// How long a failed removal makes the delay after the next failure longer.
const FAILURES_KEPT: SignedDuration = SignedDuration::from_hours(3);

/// What is persisted of a VPSieNode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Where in its life it is.
    pub phase: MachinePhase,
    /// Since when it is in this phase; the deadline of the phase counts from here.
    pub phase_since: Timestamp,
    /// The provider's id of the VM, once it is known.
    pub instance: Option<InstanceId>,
    /// When a create call was last made, or ended without a clear reply. `None` means that none was ever made.
    pub requested_at: Option<Timestamp>,
    /// Create calls so far.
    pub attempts: u32,
    /// Whether the Node has been seen.
    pub joined: bool,
    /// When the provider no longer had the VM.
    pub vm_gone_at: Option<Timestamp>,
    /// The removal in progress, or the last that failed.
    pub removal: Option<Removal>,
    /// What went wrong, while it matters.
    pub failure: Option<Failure>,
    /// Whether somebody asked for the deletion of the VPSieNode.
    pub deletion_requested: bool,
}

/// The removal of a node, step by step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removal {
    /// The last step that is done or under way.
    pub phase: RemovalPhase,
    /// Whether pods have to move.
    pub kind: RemovalKind,
    /// Why, in one word.
    pub reason: String,
    /// When it was decided.
    pub started_at: Option<Timestamp>,
    /// Whether the cordon of the node is ours. Only then is it undone.
    pub cordoned_by_us: bool,
    /// When it failed.
    pub failed_at: Option<Timestamp>,
    /// Why it failed, in a sentence.
    pub message: String,
    /// How often in a row a removal of this node has failed; see [`delay_after_failures`].
    pub failures: u32,
}

/// A step of a removal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RemovalPhase {
    /// Decided; nothing has been changed yet.
    Planned,
    /// The node is cordoned.
    Cordoned,
    /// Pods are being evicted.
    Draining,
    /// No pod is left that has to move. Volumes are being detached, and at last the pods of DaemonSets go, because a
    /// CSI driver may be among them.
    Drained,
    /// The provider is told to delete the VM: from here there is no way back.
    ProviderDeleting,
    /// The provider no longer has the VM.
    ProviderGone,
    /// The Node is gone.
    NodeDeleted,
    /// Our own changes are being undone.
    RollingBack,
    /// It failed and has been undone.
    Failed,
}

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// One word in CamelCase, for conditions, events and metrics.
    pub reason: String,
    /// A sentence.
    pub message: String,
}

/// How long things may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadlines {
    /// From the intent to create the VM until it runs.
    pub provision: SignedDuration,
    /// From the running VM until its Node registers.
    pub join: SignedDuration,
    /// From the registered Node until it is Ready.
    pub initialize: SignedDuration,
    /// From the start of the removal until it is rolled back because a pod does not go. Pods that are on their way
    /// out have as long as their own grace period gives them.
    pub drain: SignedDuration,
    /// From the delete call until the provider no longer has the VM. It is never given up, only reported.
    pub delete: SignedDuration,
    /// From the drained node until its VM is deleted even though volumes are still attached to it. After 6 minutes
    /// kube-controller-manager, too, detaches volumes by force from a node that does not answer.
    pub detach: SignedDuration,
    /// How long the Node of a working VPSieNode has to be not Ready before the provider is believed that the VM has
    /// failed.
    pub unready: SignedDuration,
    /// How long a Failed VPSieNode is kept for people to look at.
    pub failed_ttl: SignedDuration,
    /// How long after a create call the provider's list may still lack the VM.
    pub settle: SignedDuration,
}

/// What is seen of VM, Node and pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observation {
    /// The VM.
    pub vm: Vm,
    /// The Node.
    pub node: NodeSeen,
    /// The pods of the Node; of interest while it is drained.
    pub pods: PodsLeft,
    /// Volumes that are attached to the Node; of interest once it is drained. `None` when that is not known.
    pub attachments: Option<u32>,
    /// The reply to the create call that was just made, and to no earlier one.
    pub create: Option<CreateReply>,
    /// Why no create call can be made now, for example for user data that is missing.
    pub create_blocked: Option<String>,
    /// Whether the provider took a delete order for this VM, as far as is remembered. `false` is always safe.
    pub delete_accepted: bool,
    /// What speaks against a removal that the autoscaler decided: something that changed since then.
    pub opposed: Option<Objection>,
    /// A pending pod that needs the node.
    pub needed_by: Option<String>,
    /// Whether the group would have fewer Ready nodes than its minimum without this one.
    pub below_minimum: bool,
    /// Whether the autoscaler itself runs on the node.
    pub own_node: bool,
    /// Whether pods may be deleted past their disruption budgets once the drain deadline has passed. A pod that must
    /// not be evicted for another reason stays.
    pub force_drain: bool,
}

/// What is seen of a VM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Vm {
    /// Nothing is known: there is no list, it failed, it was malformed, or it was empty and nothing confirms that.
    Unknown,
    /// A complete, well-formed list does not have it, nor a VM with its token.
    Absent {
        /// When the list was asked for.
        as_of: Timestamp,
    },
    /// The provider has it.
    Present {
        /// Its id.
        id: InstanceId,
        /// What it is doing.
        state: InstanceState,
    },
}

/// What is seen of a Node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeSeen {
    /// Nothing is known.
    Unknown,
    /// There is none; the API server itself said so.
    Absent,
    /// There is one.
    Present(NodeState),
}

/// The state of a Node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a fact of its own; every combination is possible"
)]
pub struct NodeState {
    /// Whether it is Ready.
    pub ready: bool,
    /// Since when it is not Ready, if it says so.
    pub unready_since: Option<Timestamp>,
    /// Whether it is cordoned, by whomever.
    pub cordoned: bool,
    /// Whether the cordon carries our mark.
    pub cordoned_by_us: bool,
    /// Whether it has the startup taint.
    pub startup_taint: bool,
    /// Whether it has all labels and taints of its group.
    pub prepared: bool,
}

/// The pods of a node that is drained.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodsLeft {
    /// Pods that have to move and are still there, those on their way out too.
    pub workload: u32,
    /// Pods of DaemonSets that have not been asked to go.
    pub daemon: u32,
    /// Why the node must not be drained: a pod that may not be evicted, or that no plan has a place for.
    pub blocked: Option<String>,
    /// What the last refused eviction of a pod that is still to go said, as far as is remembered.
    pub refusal: Option<String>,
}

/// The reply to a create call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CreateReply {
    /// The provider took the order.
    Accepted(InstanceId),
    /// The provider refused: nothing exists.
    Refused,
    /// There is no clear reply: the VM may exist.
    Unanswered,
}

/// The next record, and what to do once it is persisted.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "nothing happens until the record is persisted and the actions are carried out"]
pub struct Step {
    /// The next record.
    pub record: Record,
    /// What to do, in this order, after the record is persisted. Each may be done twice without harm, but for
    /// [`Action::RequestVm`], which is done once.
    pub actions: Vec<Action>,
    /// What people should hear of.
    pub note: Option<Note>,
}

/// Something to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Make the create call, once, and give its reply to the next step.
    RequestVm,
    /// Look at the provider's list.
    ResolveVm,
    /// Order the deletion of this VM.
    DeleteVm(InstanceId),
    /// Put the labels and taints of the group on the Node.
    PrepareNode,
    /// Take the startup taint off the Node.
    RemoveStartupTaint,
    /// Cordon the Node, with our mark.
    Cordon,
    /// Uncordon the Node, if the cordon carries our mark.
    Uncordon,
    /// Ask pods to go, as many as are due now.
    Evict {
        /// Whether disruption budgets are passed over.
        forced: bool,
    },
    /// Delete the Node.
    DeleteNode,
    /// Delete the VPSieNode and release its finalizer: nothing is left that it stands for.
    DeleteRecord,
}

/// What people should hear of: material for an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Whether it is bad news.
    pub warning: bool,
    /// One word in CamelCase.
    pub reason: &'static str,
    /// A sentence.
    pub message: String,
}

/// The next step in the life of a VPSieNode. Total and deterministic; with the same observation it comes to rest after
/// a few steps: the record no longer changes.
pub fn step(record: &Record, seen: &Observation, deadlines: &Deadlines, now: Timestamp) -> Step {
    let mut step = Step {
        record: record.clone(),
        actions: Vec::new(),
        note: None,
    };
    let vm = known_vm(record, seen, deadlines);
    match &seen.create {
        Some(CreateReply::Refused) => {
            step.actions.push(Action::DeleteRecord);
            return step;
        }
        Some(CreateReply::Accepted(id)) => step.record.instance = Some(id.clone()),
        // The call may still arrive: the list has to be younger than the end of the wait for its reply.
        Some(CreateReply::Unanswered) => step.record.requested_at = Some(now),
        None => {}
    }
    if let Vm::Present { id, .. } = &seen.vm {
        step.record.instance.get_or_insert_with(|| id.clone());
    }
    if let Known::There { .. } = &vm {
        // A list that lacked it was wrong.
        step.record.vm_gone_at = None;
    }
    if let (Known::Gone, None) = (&vm, step.record.vm_gone_at)
        && step.record.instance.is_some()
    {
        step.record.vm_gone_at = Some(now);
    }
    let mut stepping = Stepping {
        step,
        seen,
        vm,
        deadlines,
        now,
    };
    match record.phase {
        MachinePhase::Pending
        | MachinePhase::Provisioning
        | MachinePhase::Provisioned
        | MachinePhase::Joining
        | MachinePhase::Ready => {
            if !stepping.begin_leaving() {
                stepping.come();
            }
        }
        MachinePhase::Terminating => stepping.terminate(),
        MachinePhase::Deleting => stepping.delete(),
        MachinePhase::Failed => stepping.collect(),
    }
    stepping.step
}

/// How long a node, or a group, is left alone after the last of so many failed removals in a row: the first delay, twice
/// as long after each further one, an hour at the most unless the first is longer.
///
/// Each attempt evicts pods that work; a budget that does not recover must not cost them a restart every few minutes.
#[must_use]
pub fn delay_after_failures(first: SignedDuration, failures: u32) -> SignedDuration {
    let doublings = failures.saturating_sub(1);
    let delay = 1_i64
        .checked_shl(doublings.min(62))
        .and_then(|factor| first.as_secs().checked_mul(factor));
    let longest = LONGEST_DELAY.as_secs().max(first.as_secs());
    SignedDuration::from_secs(delay.unwrap_or(longest).min(longest))
}

/// What is known of the VM, once doubts are taken into account.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Known {
    Unknown,
    Gone,
    There { id: InstanceId, state: InstanceState },
}

/// One step in the making.
struct Stepping<'a> {
    step: Step,
    seen: &'a Observation,
    vm: Known,
    deadlines: &'a Deadlines,
    now: Timestamp,
}

impl Stepping<'_> {
    fn enter(&mut self, phase: MachinePhase) {
        self.step.record.phase = phase;
        self.step.record.phase_since = self.now;
    }

    fn act(&mut self, action: Action) {
        self.step.actions.push(action);
    }

    fn fail(&mut self, reason: &'static str, message: String) {
        self.enter(MachinePhase::Failed);
        self.step.record.failure = Some(Failure {
            reason: reason.to_owned(),
            message: message.clone(),
        });
        self.note(true, reason, message);
    }

    /// Records what is wrong and tells it once: again only when the sentence changes.
    fn complain(&mut self, reason: &'static str, message: String) {
        let failure = Failure {
            reason: reason.to_owned(),
            message,
        };
        if self.step.record.failure.as_ref() != Some(&failure) {
            self.note(true, reason, failure.message.clone());
            self.step.record.failure = Some(failure);
        }
    }

    fn note(&mut self, warning: bool, reason: &'static str, message: String) {
        self.step.note = Some(Note {
            warning,
            reason,
            message,
        });
    }

    /// Whether the phase has lasted longer than this.
    fn overdue(&self, limit: SignedDuration) -> bool {
        limit < self.now.duration_since(self.step.record.phase_since)
    }
}

/// Draws the conclusion about the VM that the observation allows.
fn known_vm(record: &Record, seen: &Observation, deadlines: &Deadlines) -> Known {
    let node_lives = matches!(seen.node, NodeSeen::Present(node) if node.ready);
    let other = |id: &InstanceId| record.instance.as_ref().is_some_and(|recorded| recorded != id);
    let gone = match &seen.vm {
        // Another VM than the recorded one, for example one that a person made under the old name: it says nothing
        // about ours, and is not ours to delete.
        Vm::Present { id, .. } if other(id) => false,
        Vm::Present { id, state } if *state != InstanceState::Deleted => {
            return Known::There {
                id: id.clone(),
                state: *state,
            };
        }
        // The provider says in so many words that this very VM is deleted.
        Vm::Present { .. } => true,
        Vm::Absent { as_of } => record
            .requested_at
            .is_none_or(|at| deadlines.settle <= as_of.duration_since(at)),
        Vm::Unknown => false,
    };
    let never_asked_for = record.requested_at.is_none() && record.instance.is_none();
    // A Node that still reports to be Ready runs on something, unless it was told to stop a moment ago.
    let contradicted = node_lives && !seen.delete_accepted;
    if record.vm_gone_at.is_some() || ((gone || never_asked_for) && !contradicted) {
        Known::Gone
    } else {
        Known::Unknown
    }
}

// === impl Record ===

impl Record {
    /// A record of nothing but an intent.
    #[must_use]
    pub const fn new(now: Timestamp) -> Self {
        Self {
            phase: MachinePhase::Pending,
            phase_since: now,
            instance: None,
            requested_at: None,
            attempts: 0,
            joined: false,
            vm_gone_at: None,
            removal: None,
            failure: None,
            deletion_requested: false,
        }
    }

    /// Whether a removal is under way.
    #[must_use]
    pub fn is_in_removal(&self) -> bool {
        self.removal
            .as_ref()
            .is_some_and(|removal| removal.phase != RemovalPhase::Failed)
    }

    /// Whether the next step is better with a list of the provider's VMs that was made just now.
    #[must_use]
    pub const fn wants_list(&self) -> bool {
        match self.phase {
            MachinePhase::Provisioning => true,
            MachinePhase::Deleting | MachinePhase::Failed => self.vm_gone_at.is_none(),
            MachinePhase::Pending
            | MachinePhase::Provisioned
            | MachinePhase::Joining
            | MachinePhase::Ready
            | MachinePhase::Terminating => false,
        }
    }
}

// === impl Removal ===

impl Removal {
    /// A removal that was just decided.
    #[must_use]
    pub const fn planned(kind: RemovalKind, reason: String, now: Timestamp) -> Self {
        Self {
            phase: RemovalPhase::Planned,
            kind,
            reason,
            started_at: Some(now),
            cordoned_by_us: false,
            failed_at: None,
            message: String::new(),
            failures: 0,
        }
    }

    /// A removal that was just decided, of a node of which another one may have failed before. Failures are forgotten
    /// three hours after the last one.
    #[must_use]
    pub fn planned_after(earlier: Option<&Self>, kind: RemovalKind, reason: String, now: Timestamp) -> Self {
        let recent = |failed_at: Timestamp| now.duration_since(failed_at) < FAILURES_KEPT;
        let earlier = earlier.filter(|earlier| earlier.failed_at.is_some_and(recent));
        Self {
            failures: earlier.map_or(0, |earlier| earlier.failures),
            ..Self::planned(kind, reason, now)
        }
    }
}

// === impl Observation ===

impl Default for Observation {
    /// Nothing is known.
    fn default() -> Self {
        Self {
            vm: Vm::Unknown,
            node: NodeSeen::Unknown,
            pods: PodsLeft::default(),
            attachments: Some(0),
            create: None,
            create_blocked: None,
            delete_accepted: false,
            opposed: None,
            needed_by: None,
            below_minimum: false,
            own_node: false,
            force_drain: false,
        }
    }
}

// === impl Deadlines ===

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            provision: SignedDuration::from_mins(10),
            join: SignedDuration::from_mins(15),
            initialize: SignedDuration::from_mins(20),
            drain: SignedDuration::from_mins(15),
            delete: SignedDuration::from_mins(10),
            detach: SignedDuration::from_mins(6),
            unready: SignedDuration::from_mins(20),
            failed_ttl: SignedDuration::from_mins(30),
            settle: SignedDuration::from_secs(30),
        }
    }
}
