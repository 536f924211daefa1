//! Whole lives of a VPSieNode in a world that answers, badly: nothing leaks, and nothing stays cordoned.

use std::cell::Cell;

use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use super::*;

const ROUNDS: usize = 400;

const SECONDS_PER_ROUND: i64 = 20;

/// From this round on budgets let go of their pods, so that every story has an end.
const BUDGETS_RELENT: usize = 200;

/// What the stories were made of, so that a test of nothing is noticed.
#[derive(Default)]
struct Told {
    removed: Cell<u32>,
    rolled_back: Cell<u32>,
    refused: Cell<u32>,
    killed_between: Cell<u32>,
}

/// VM, Node and pods, as they are.
struct World {
    now: i64,
    vm_exists: bool,
    created_at: i64,
    /// When the provider took the order to delete the VM.
    deleted_at: Option<i64>,
    node: Option<NodeState>,
    workload: u32,
    daemon: u32,
    /// What the operator remembers until it is started anew.
    reply: Option<CreateReply>,
    accepted: bool,
    refusal: Option<String>,
    /// Whether anything but a budget ever speaks against a removal.
    quarrels: bool,
}

fn count(cell: &Cell<u32>) {
    cell.set(cell.get() + 1);
}

// === impl World ===

impl World {
    /// Time passes: VMs come and go, and Nodes with them.
    fn pass(&mut self, roll: u8) {
        self.now += SECONDS_PER_ROUND;
        if self.deleted_at.is_some_and(|at| at + 40 <= self.now) {
            self.vm_exists = false;
            self.node = self.node.map(|node| NodeState { ready: false, ..node });
        }
        if self.vm_exists && self.node.is_none() && self.created_at + 120 <= self.now && self.deleted_at.is_none() {
            self.node = Some(NodeState {
                startup_taint: true,
                ready: true,
                ..NodeState::default()
            });
        }
        match self.node {
            // The scheduler binds pods to what is schedulable.
            Some(node) if !node.cordoned && !node.startup_taint && roll % 6 == 1 => {
                (self.workload, self.daemon) = (self.workload.max(2), 1);
            }
            None => (self.workload, self.daemon) = (0, 0),
            Some(_) => {}
        }
        // Somebody uncordons the node, and the mark goes with the cordon.
        if roll == 3 {
            self.node = self.node.map(|node| NodeState {
                cordoned: false,
                cordoned_by_us: false,
                ..node
            });
        }
    }

    fn see(&mut self, round: usize, roll: u8) -> Observation {
        // Lists fail at times, and lack a VM that is younger than 20 s.
        let listed = if roll.is_multiple_of(5) {
            Vm::Unknown
        } else if self.vm_exists && self.created_at + 20 <= self.now {
            let state = if self.deleted_at.is_some() {
                InstanceState::Deleting
            } else {
                InstanceState::Running
            };
            vm(state)
        } else {
            Vm::Absent { as_of: at(self.now) }
        };
        // What speaks against a removal comes rarely, and in half of the stories never.
        let speaks = |which| self.quarrels && roll / 7 == which;
        Observation {
            vm: listed,
            node: self.node.map_or(NodeSeen::Absent, NodeSeen::Present),
            pods: PodsLeft {
                workload: self.workload,
                daemon: self.daemon,
                blocked: (speaks(1) && 0 < self.workload && round < BUDGETS_RELENT).then(|| "a bare pod".to_owned()),
                refusal: self.refusal.clone().filter(|_| 0 < self.workload),
            },
            create: self.reply.take(),
            delete_accepted: self.accepted,
            opposed: speaks(2).then(|| Objection {
                reason: KeepReason::ScaleDownDisabledAnnotation,
                message: "protected".to_owned(),
            }),
            needed_by: speaks(3).then(|| "a/b".to_owned()),
            below_minimum: speaks(4),
            own_node: speaks(5),
            attachments: if speaks(6) { None } else { Some(u32::from(speaks(7))) },
            ..Observation::default()
        }
    }

    /// Carries an action out, or loses it or its reply. Says whether the record is gone.
    fn act(&mut self, action: &Action, round: usize, roll: u8) -> bool {
        match action {
            Action::RequestVm => {
                assert!(!self.vm_exists, "two VMs");
                (self.vm_exists, self.created_at, self.deleted_at) = (true, self.now, None);
                if !roll.is_multiple_of(3) {
                    self.reply = Some(CreateReply::Accepted(InstanceId::new("vm-1")));
                }
            }
            Action::DeleteVm(_) if !roll.is_multiple_of(4) && self.vm_exists => {
                self.deleted_at.get_or_insert(self.now);
                self.accepted = true;
            }
            Action::DeleteVm(_) | Action::ResolveVm => {}
            Action::PrepareNode => self.change_node(|node| node.prepared = true),
            Action::RemoveStartupTaint => self.change_node(|node| node.startup_taint = false),
            Action::Cordon => self.change_node(|node| (node.cordoned, node.cordoned_by_us) = (true, true)),
            Action::Uncordon => self.change_node(|node| {
                if node.cordoned_by_us {
                    (node.cordoned, node.cordoned_by_us) = (false, false);
                }
            }),
            // Budgets refuse for longer than a drain may take.
            Action::Evict { .. } if round < BUDGETS_RELENT && round % 100 < 80 => {
                self.refusal = Some("a budget".to_owned());
            }
            Action::Evict { .. } if 0 < self.workload => {
                self.workload -= 1;
                self.refusal = None;
            }
            Action::Evict { .. } => self.daemon = 0,
            Action::DeleteNode => self.node = None,
            Action::DeleteRecord => {
                assert!(!self.vm_exists, "a VM is left behind");
                return true;
            }
        }
        false
    }

    fn change_node(&mut self, change: impl FnOnce(&mut NodeState)) {
        if let Some(node) = &mut self.node {
            change(node);
        }
    }

    /// What is not persisted is forgotten.
    fn restart(&mut self) {
        (self.accepted, self.refusal) = (false, None);
    }
}

/// The life of one VPSieNode: the autoscaler decides on removals, and at last somebody deletes it.
fn tell(dice: &[u8], delete_at: usize, quarrels: bool, told: &Told) {
    let mut record = Record::new(at(0));
    let mut world = World {
        now: 0,
        vm_exists: false,
        created_at: 0,
        deleted_at: None,
        node: None,
        workload: 0,
        daemon: 0,
        reply: None,
        accepted: false,
        refusal: None,
        quarrels,
    };
    for (round, roll) in dice.iter().copied().enumerate() {
        world.pass(roll);
        record.deletion_requested |= delete_at <= round;
        if record.phase == MachinePhase::Ready && !record.is_in_removal() && roll % 8 == 2 {
            let kind = if world.workload == 0 {
                RemovalKind::Empty
            } else {
                RemovalKind::Drain
            };
            let planned = Removal::planned_after(record.removal.as_ref(), kind, "Unneeded".into(), at(world.now));
            record.removal = Some(planned);
        }
        let seen = world.see(round, roll);
        let next = step(&record, &seen, &DEADLINES(), at(world.now));
        if roll.is_multiple_of(7) {
            // Killed before the record was persisted: no action is carried out.
            world.restart();
            continue;
        }
        let phase = |record: &Record| record.removal.as_ref().map(|removal| removal.phase);
        if phase(&record) != phase(&next.record) && phase(&next.record) == Some(RemovalPhase::RollingBack) {
            count(&told.rolled_back);
            if next
                .record
                .removal
                .as_ref()
                .is_some_and(|removal| removal.message.starts_with("DrainTimeout"))
            {
                count(&told.refused);
            }
        }
        let passes = record.phase == MachinePhase::Terminating && next.record.phase == MachinePhase::Deleting;
        assert!(
            !passes || world.workload == 0,
            "a VM is deleted under its pods: {record:?}"
        );
        record = next.record;
        for (number, action) in next.actions.into_iter().enumerate() {
            if (usize::from(roll) + number).is_multiple_of(11) {
                // Killed after the record was persisted, before this action and the rest.
                world.restart();
                count(&told.killed_between);
                break;
            }
            if world.act(&action, round, roll) {
                if record
                    .removal
                    .as_ref()
                    .is_some_and(|removal| removal.reason == "Unneeded")
                {
                    count(&told.removed);
                }
                return;
            }
        }
        // Whenever the operator dies, whoever comes next knows from the record alone that the cordon is to be undone.
        let ours = world.node.is_some_and(|node| node.cordoned_by_us);
        assert!(
            !ours || record.is_in_removal(),
            "nobody would undo the cordon: {record:?}"
        );
        let deleting = world.deleted_at.is_some();
        let given_up = record.phase == MachinePhase::Deleting || record.phase == MachinePhase::Failed;
        assert!(
            !deleting || given_up,
            "a VM is deleted whose record says otherwise: {record:?}"
        );
    }
    panic!("the record is still there: {record:?}");
}

/// Calls get lost, the process dies before or after the record is persisted, lists fail or lag, budgets refuse, removals are
/// opposed and undone. Once the deletion is asked for the record goes, and when it goes there is no VM; there never are
/// two; and a cordon of ours has a removal that undoes it or ends with the node.
#[test]
fn nothing_leaks() {
    let config = Config {
        cases: 512,
        failure_persistence: None,
        ..Config::default()
    };
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[9; 32]);
    let mut runner = TestRunner::new_with_rng(config, rng);
    let told = Told::default();
    let story = (
        proptest::collection::vec(any::<u8>(), ROUNDS),
        0..300_usize,
        any::<bool>(),
    );
    let outcome = runner.run(&story, |(dice, delete_at, quarrels)| {
        tell(&dice, delete_at, quarrels, &told);
        Ok(())
    });
    outcome.unwrap();
    for (what, cell) in [
        ("removals", &told.removed),
        ("removals undone", &told.rolled_back),
        ("drains refused until they were undone", &told.refused),
        ("restarts between record and action", &told.killed_between),
    ] {
        assert!(50 <= cell.get(), "the stories are too dull: {} {what}", cell.get());
    }
}
