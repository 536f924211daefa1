//! The way from the intent to a Ready node, and what happens when VM or Node of a Ready one vanish.

use super::{Action, Known, NodeSeen, NodeState, Stepping};
use crate::{provider::InstanceState, snapshot::MachinePhase};

impl Stepping<'_> {
    /// One step of a VPSieNode that is to be, or is, a working node.
    pub(super) fn come(&mut self) {
        if let NodeSeen::Present(_) = self.seen.node {
            self.step.record.joined = true;
        }
        match self.step.record.phase {
            MachinePhase::Pending => self.pending(),
            MachinePhase::Provisioning => self.provisioning(),
            MachinePhase::Provisioned => self.provisioned(),
            MachinePhase::Joining => self.joining(),
            _ => self.ready(),
        }
    }

    fn pending(&mut self) {
        // Somebody else's create call, or one that an earlier version made: look for the VM instead of making another.
        if self.step.record.requested_at.is_some() || self.step.record.instance.is_some() {
            self.enter(MachinePhase::Provisioning);
            return;
        }
        if let Some(why) = self.seen.create_blocked.clone() {
            if self.overdue(self.deadlines.provision) {
                self.fail("ProvisioningTimeout", format!("the VM could not be asked for: {why}"));
            } else {
                self.complain("ProvisioningBlocked", why);
            }
            return;
        }
        self.enter(MachinePhase::Provisioning);
        self.step.record.failure = None;
        self.request();
    }

    fn provisioning(&mut self) {
        match &self.vm {
            Known::There {
                state: InstanceState::Running,
                ..
            } => {
                self.enter(MachinePhase::Provisioned);
                self.note(false, "NodeProvisioned", "the VM runs".to_owned());
                return;
            }
            Known::There { state, .. } if is_broken(*state) => {
                self.fail(
                    "ProvisioningFailed",
                    format!("the provider reports the VM as {state:?}"),
                );
                return;
            }
            Known::There { .. } => {}
            Known::Gone if self.step.record.instance.is_some() => {
                self.fail("VMNotFound", "the provider no longer has the VM".to_owned());
                return;
            }
            Known::Gone if self.seen.create.is_none() && !self.overdue(self.deadlines.provision) => {
                // The list is complete and young enough: the last call had no effect.
                match self.seen.create_blocked.clone() {
                    Some(why) => self.complain("ProvisioningBlocked", why),
                    None => self.request(),
                }
                return;
            }
            Known::Gone => {}
            Known::Unknown => self.act(Action::ResolveVm),
        }
        // A Node reports: the VM runs, whatever the provider calls it.
        if self.step.record.instance.is_some() && matches!(self.seen.node, NodeSeen::Present(_)) {
            self.step.actions.clear();
            self.enter(MachinePhase::Provisioned);
        } else if self.overdue(self.deadlines.provision) {
            self.step.actions.clear();
            let limit = self.deadlines.provision;
            self.fail("ProvisioningTimeout", format!("the VM did not run within {limit:#}"));
        }
    }

    fn provisioned(&mut self) {
        if self.fails_without_vm() {
            return;
        }
        if let NodeSeen::Present(_) = self.seen.node {
            self.enter(MachinePhase::Joining);
        } else if self.overdue(self.deadlines.join) {
            let limit = self.deadlines.join;
            self.fail(
                "JoiningTimeout",
                format!("no Node registered within {limit:#} of the VM running"),
            );
        }
    }

    fn joining(&mut self) {
        if self.fails_without_vm() {
            return;
        }
        let complete = match self.seen.node {
            NodeSeen::Present(node) => !self.prepare(node) && node.ready,
            NodeSeen::Absent | NodeSeen::Unknown => false,
        };
        if complete {
            self.step.record.failure = None;
            self.enter(MachinePhase::Ready);
            self.note(
                false,
                "NodeReady",
                "the Node is Ready and has the labels and taints of its group".to_owned(),
            );
        } else if self.overdue(self.deadlines.initialize) {
            self.step.actions.clear();
            let limit = self.deadlines.initialize;
            self.fail(
                "InitializingTimeout",
                format!("the Node was not Ready within {limit:#} of registering"),
            );
        }
    }

    fn ready(&mut self) {
        if self.fails_without_vm() {
            return;
        }
        match self.seen.node {
            NodeSeen::Absent => self.fail("NodeNotFound", "the Node is gone".to_owned()),
            // A kubelet that registers its Node again brings the startup taint back, and no labels but its own.
            NodeSeen::Present(node) if node.startup_taint => {
                self.prepare(node);
            }
            NodeSeen::Present(_) | NodeSeen::Unknown => {}
        }
    }

    /// Puts labels and taints on the Node, and after them takes the startup taint off. Returns whether anything is
    /// left to do.
    fn prepare(&mut self, node: NodeState) -> bool {
        if !node.prepared {
            self.act(Action::PrepareNode);
        } else if node.startup_taint {
            self.act(Action::RemoveStartupTaint);
        }
        !node.prepared || node.startup_taint
    }

    fn fails_without_vm(&mut self) -> bool {
        match &self.vm {
            Known::Gone => self.fail("VMNotFound", "the provider no longer has the VM".to_owned()),
            Known::There { state, .. } if is_broken(*state) && self.node_confirms(*state) => {
                self.fail("VMFailed", format!("the provider reports the VM as {state:?}"));
            }
            Known::There { .. } | Known::Unknown => return false,
        }
        true
    }

    /// Whether the Node bears out that its VM is broken. While it is Ready the provider's word is no reason to give it
    /// up; and one that worked is not given up for a word about a failure before it has been silent for a while, because
    /// its pods are not drained then.
    fn node_confirms(&self, state: InstanceState) -> bool {
        let worked = self.step.record.phase == MachinePhase::Ready;
        match self.seen.node {
            NodeSeen::Present(node) if node.ready => false,
            NodeSeen::Present(node) if worked && state == InstanceState::Failed => node
                .unready_since
                .is_some_and(|since| self.deadlines.unready <= self.now.duration_since(since)),
            NodeSeen::Unknown => !worked,
            NodeSeen::Present(_) | NodeSeen::Absent => true,
        }
    }

    /// Records a create call and orders it.
    fn request(&mut self) {
        self.step.record.requested_at = Some(self.now);
        self.step.record.attempts = self.step.record.attempts.saturating_add(1);
        self.act(Action::RequestVm);
    }
}

/// A state from which a VM does not come back.
const fn is_broken(state: InstanceState) -> bool {
    matches!(
        state,
        InstanceState::Failed | InstanceState::Deleting | InstanceState::Deleted
    )
}
