//! The way out: drain, delete the VM, delete the Node; and the way back when a removal fails before the VM is deleted.

use super::{Action, DRAIN_TIMEOUT, Failure, Known, NodeSeen, Removal, RemovalKind, RemovalPhase, Stepping};
use crate::{provider::InstanceState, snapshot::MachinePhase};

/// The reason of a removal that somebody ordered by deleting the VPSieNode.
const BY_HAND: &str = "Deleted";

impl Stepping<'_> {
    /// Turns to the way out if a removal is recorded or the deletion was asked for. Returns whether it is.
    pub(super) fn begin_leaving(&mut self) -> bool {
        let record = &self.step.record;
        if !record.deletion_requested && !record.is_in_removal() {
            return false;
        }
        let nothing_exists = record.requested_at.is_none() && record.instance.is_none() && !record.joined;
        if nothing_exists && record.phase == MachinePhase::Pending {
            self.act(Action::DeleteRecord);
            return true;
        }
        match self.seen.node {
            // Without an answer there is no telling whether pods are to be drained.
            NodeSeen::Unknown => return true,
            NodeSeen::Absent => self.delete_now(),
            NodeSeen::Present(_) => {
                self.ensure_removal();
                self.enter(MachinePhase::Terminating);
                self.note(false, "NodeTerminating", "the node is being removed".to_owned());
            }
        }
        true
    }

    /// One step of Terminating: cordon, drain, look again, and either pass the point of no return or roll back.
    pub(super) fn terminate(&mut self) {
        self.ensure_removal();
        // What has no VM any more cannot be kept.
        if self.vm == Known::Gone {
            self.delete_now();
            return;
        }
        let by_hand = self.step.record.deletion_requested;
        if by_hand {
            self.take_over();
        }
        let phase = self.removal().phase;
        match phase {
            RemovalPhase::Planned | RemovalPhase::Cordoned | RemovalPhase::Draining | RemovalPhase::Drained => {
                if by_hand || !self.object(phase) {
                    self.drain(phase, by_hand);
                }
            }
            RemovalPhase::RollingBack => self.roll_back_on(),
            RemovalPhase::Failed => self.enter(MachinePhase::Ready),
            RemovalPhase::ProviderDeleting | RemovalPhase::ProviderGone | RemovalPhase::NodeDeleted => {
                self.enter(MachinePhase::Deleting);
            }
        }
    }

    /// One step of Deleting: the VM, then the Node, then the record.
    pub(super) fn delete(&mut self) {
        self.ensure_removal();
        // A VM that is listed again was not gone.
        let listed = matches!(self.vm, Known::There { .. });
        let phase = if listed {
            RemovalPhase::ProviderDeleting
        } else {
            self.removal().phase
        };
        match phase {
            RemovalPhase::ProviderGone => match self.seen.node {
                NodeSeen::Present(_) => self.act(Action::DeleteNode),
                NodeSeen::Absent => self.removal().phase = RemovalPhase::NodeDeleted,
                NodeSeen::Unknown => {}
            },
            RemovalPhase::NodeDeleted => self.act(Action::DeleteRecord),
            _ if self.vm == Known::Gone => {
                let now = self.now;
                self.step.record.vm_gone_at.get_or_insert(now);
                self.step.record.failure = None;
                self.removal().phase = RemovalPhase::ProviderGone;
            }
            _ => {
                self.removal().phase = RemovalPhase::ProviderDeleting;
                self.order_deletion();
                if self.overdue(self.deadlines.delete) {
                    let limit = self.deadlines.delete;
                    self.complain(
                        "VPSDeleteFailed",
                        format!("the provider still has the VM {limit:#} after it was to be deleted"),
                    );
                }
            }
        }
    }

    /// One step of Failed: delete what there may be, and collect the record after its time.
    pub(super) fn collect(&mut self) {
        if self.step.record.deletion_requested || self.step.record.is_in_removal() {
            self.delete_now();
            return;
        }
        if self.vm != Known::Gone {
            self.order_deletion();
            return;
        }
        let now = self.now;
        self.step.record.vm_gone_at.get_or_insert(now);
        match self.seen.node {
            NodeSeen::Present(_) => self.act(Action::DeleteNode),
            NodeSeen::Absent if self.overdue(self.deadlines.failed_ttl) => self.act(Action::DeleteRecord),
            NodeSeen::Absent | NodeSeen::Unknown => {}
        }
    }

    /// Makes a removal that is under way, or being undone, one that was ordered by hand: with a deadline of its own, so
    /// that pods have the whole time that the group gives them.
    fn take_over(&mut self) {
        let removal = self.removal();
        let is_back = removal.phase == RemovalPhase::RollingBack;
        if !is_back && (removal.reason == BY_HAND || RemovalPhase::Drained < removal.phase) {
            return;
        }
        if is_back {
            removal.phase = RemovalPhase::Planned;
        }
        removal.reason = BY_HAND.to_owned();
        removal.failed_at = None;
        removal.message.clear();
        self.step.record.failure = None;
        self.enter(MachinePhase::Terminating);
    }

    /// Rolls the removal back if something speaks against it now. Returns whether it does.
    fn object(&mut self, phase: RemovalPhase) -> bool {
        let undrained = phase < RemovalPhase::Drained;
        let empty = self.removal().kind == RemovalKind::Empty;
        let seen = self.seen;
        // In the order in which the planner judges a node, so that both give the same reason.
        let why = if let Some(objection) = &seen.opposed {
            (objection.reason.as_str(), objection.message.clone())
        } else if seen.own_node {
            ("OwnNode", "the autoscaler runs on the node".to_owned())
        } else if let (true, Some(pod)) = (undrained, &seen.needed_by) {
            ("PendingPods", format!("the pending pod {pod} needs the node"))
        } else if let Some(why) = &seen.pods.blocked {
            ("BlockedByPod", why.clone())
        } else if empty && 0 < seen.pods.workload {
            (
                "NotEmpty",
                "pods that would have to move have come to the node".to_owned(),
            )
        } else if seen.below_minimum {
            (
                "NodeGroupMinSizeReached",
                "the group would have fewer Ready nodes than its minimum".to_owned(),
            )
        } else {
            return false;
        };
        self.roll_back(why.0, &why.1);
        true
    }

    fn drain(&mut self, phase: RemovalPhase, by_hand: bool) {
        let node = match self.seen.node {
            NodeSeen::Unknown => return,
            // Without a Node there is nothing to drain.
            NodeSeen::Absent => {
                self.delete_now();
                return;
            }
            NodeSeen::Present(node) => node,
        };
        if phase == RemovalPhase::Planned {
            if node.cordoned {
                let removal = self.removal();
                removal.cordoned_by_us = node.cordoned_by_us;
                removal.phase = RemovalPhase::Cordoned;
            } else {
                self.act(Action::Cordon);
            }
            return;
        }
        if !node.cordoned {
            if by_hand {
                self.removal().phase = RemovalPhase::Planned;
            } else {
                self.roll_back("Uncordoned", "somebody uncordoned the node");
            }
            return;
        }
        match phase {
            RemovalPhase::Cordoned => self.removal().phase = RemovalPhase::Draining,
            RemovalPhase::Draining => self.evict(by_hand),
            _ => self.pass_point_of_no_return(by_hand),
        }
    }

    fn evict(&mut self, by_hand: bool) {
        let (pods, force) = (&self.seen.pods, self.seen.force_drain);
        let overdue = self.overdue(self.deadlines.drain);
        if pods.workload == 0 && pods.blocked.is_none() {
            self.removal().phase = RemovalPhase::Drained;
            // What follows has a deadline of its own.
            self.step.record.phase_since = self.now;
            return;
        }
        // A pod that is neither held nor refused is on its way out, within its own grace period, or is asked now for the
        // first time because it had to wait for such a one. Undoing the drain would bring none of them back.
        let held = pods.blocked.as_ref().or(pods.refusal.as_ref());
        if let (true, false, Some(why)) = (overdue, force, held) {
            let limit = self.deadlines.drain;
            let message = format!("{} pods are still on the node after {limit:#}; {why}", pods.workload);
            if !by_hand {
                self.roll_back(DRAIN_TIMEOUT, &message);
                return;
            }
            self.complain("DrainFailed", message);
        }
        self.act(Action::Evict {
            forced: overdue && force,
        });
    }

    /// The node is drained. Everything is looked at once more, because what follows cannot be undone.
    fn pass_point_of_no_return(&mut self, by_hand: bool) {
        let pods = &self.seen.pods;
        if 0 < pods.workload || pods.blocked.is_some() {
            self.removal().phase = RemovalPhase::Draining;
        } else if by_hand && self.seen.own_node {
            self.complain(
                "OwnNode",
                "the autoscaler runs on the node; it is deleted once it runs elsewhere".to_owned(),
            );
        } else if self.seen.attachments != Some(0) && !self.overdue(self.deadlines.detach) {
            // A VM that is deleted under its volumes keeps them from being attached elsewhere for minutes, and may lose
            // what was written last.
        } else if 0 < pods.daemon {
            // They are asked to go, and nobody waits for them.
            self.act(Action::Evict { forced: false });
        } else {
            self.delete_now();
            let left = match self.seen.attachments {
                Some(0) => return,
                Some(count) => format!("{count} volumes are still attached"),
                None => "it is not known whether volumes are still attached".to_owned(),
            };
            let limit = self.deadlines.detach;
            self.note(
                true,
                "VolumesAttached",
                format!("{left} {limit:#} after the drain; the VM is deleted all the same"),
            );
        }
    }

    /// Passes the point of no return.
    fn delete_now(&mut self) {
        self.ensure_removal();
        self.removal().phase = RemovalPhase::ProviderDeleting;
        self.step.record.failure = None;
        self.enter(MachinePhase::Deleting);
        self.note(false, "VPSDeleting", "the VM is being deleted".to_owned());
        if self.vm != Known::Gone {
            self.order_deletion();
        }
    }

    fn order_deletion(&mut self) {
        match &self.vm {
            Known::There {
                state: InstanceState::Deleting,
                ..
            } => {}
            Known::There { id, .. } => self.step.actions.push(Action::DeleteVm(id.clone())),
            Known::Gone | Known::Unknown => {
                if let (Some(id), false) = (self.step.record.instance.clone(), self.seen.delete_accepted) {
                    self.act(Action::DeleteVm(id));
                }
            }
        }
        self.act(Action::ResolveVm);
    }

    fn roll_back(&mut self, reason: &'static str, message: &str) {
        let now = self.now;
        let removal = self.removal();
        removal.phase = RemovalPhase::RollingBack;
        removal.failed_at = Some(now);
        removal.failures = removal.failures.saturating_add(1);
        removal.message = format!("{reason}: {message}");
        self.step.record.failure = Some(Failure {
            reason: reason.to_owned(),
            message: message.to_owned(),
        });
        self.step.actions.clear();
        self.note(true, "ScaleDownFailed", format!("{reason}: {message}"));
    }

    fn roll_back_on(&mut self) {
        match self.seen.node {
            NodeSeen::Unknown => {}
            NodeSeen::Present(node) if node.cordoned && node.cordoned_by_us => self.act(Action::Uncordon),
            NodeSeen::Present(_) | NodeSeen::Absent => {
                let removal = self.removal();
                removal.phase = RemovalPhase::Failed;
                removal.cordoned_by_us = false;
                self.step.record.failure = None;
                self.enter(MachinePhase::Ready);
            }
        }
    }

    /// Makes sure that a removal is recorded: a deletion by hand has none, nor has a node of an earlier version.
    fn ensure_removal(&mut self) {
        let failed = self
            .step
            .record
            .removal
            .as_ref()
            .is_none_or(|removal| removal.phase == RemovalPhase::Failed);
        let is_back = self.step.record.phase == MachinePhase::Terminating && !self.step.record.deletion_requested;
        if failed && !(is_back && self.step.record.removal.is_some()) {
            let reason = BY_HAND.to_owned();
            self.step.record.removal = Some(Removal::planned(RemovalKind::Drain, reason, self.now));
        }
    }

    fn removal(&mut self) -> &mut Removal {
        let now = self.now;
        let new = || Removal::planned(RemovalKind::Drain, BY_HAND.to_owned(), now);
        self.step.record.removal.get_or_insert_with(new)
    }
}
