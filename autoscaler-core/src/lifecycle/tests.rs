use proptest::prelude::{Just, Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest};

use super::*;
use crate::plan::KeepReason;

mod removals;
mod story;

const DEADLINES: fn() -> Deadlines = Deadlines::default;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

fn vm(state: InstanceState) -> Vm {
    Vm::Present {
        id: InstanceId::new("vm-1"),
        state,
    }
}

fn present(state: NodeState) -> NodeSeen {
    NodeSeen::Present(state)
}

const WORKING: NodeState = NodeState {
    ready: true,
    unready_since: None,
    cordoned: false,
    cordoned_by_us: false,
    startup_taint: false,
    prepared: true,
};

fn requested(seconds: i64) -> Record {
    Record {
        requested_at: Some(at(seconds)),
        attempts: 1,
        phase: MachinePhase::Provisioning,
        ..Record::new(at(seconds))
    }
}

fn ready() -> Record {
    Record {
        phase: MachinePhase::Ready,
        instance: Some(InstanceId::new("vm-1")),
        requested_at: Some(at(-600)),
        attempts: 1,
        joined: true,
        ..Record::new(at(0))
    }
}

fn in_removal(phase: RemovalPhase) -> Record {
    let removal = Removal {
        phase,
        cordoned_by_us: true,
        ..Removal::planned(RemovalKind::Drain, "NotNeeded".into(), at(0))
    };
    Record {
        phase: MachinePhase::Terminating,
        removal: Some(removal),
        ..ready()
    }
}

fn run(record: &Record, seen: &Observation, second: i64) -> Step {
    step(record, seen, &DEADLINES(), at(second))
}

#[test]
fn the_intent_is_recorded_with_the_request() {
    let seen = Observation {
        node: NodeSeen::Absent,
        ..Observation::default()
    };
    let first = run(&Record::new(at(0)), &seen, 1);
    assert_eq!(first.actions, [Action::RequestVm]);
    assert_eq!(
        (first.record.phase, first.record.requested_at),
        (MachinePhase::Provisioning, Some(at(1)))
    );
    // After a crash nothing is known, and nothing is asked for again.
    let second = run(&first.record, &seen, 2);
    assert_eq!((second.actions, second.record), (vec![Action::ResolveVm], first.record));
}

#[test]
fn a_second_request_needs_a_list_that_is_young_enough() {
    let absent = |second| Observation {
        vm: Vm::Absent { as_of: at(second) },
        ..Observation::default()
    };
    let record = requested(0);
    assert_eq!(run(&record, &absent(29), 29).actions, [Action::ResolveVm]);
    let again = run(&record, &absent(30), 30);
    assert_eq!(again.actions, [Action::RequestVm]);
    assert_eq!((again.record.attempts, again.record.requested_at), (2, Some(at(30))));
    // A call that ended without a reply at 25 s may have arrived as late as that.
    let seen = Observation {
        create: Some(CreateReply::Unanswered),
        ..Observation::default()
    };
    let unanswered = run(&record, &seen, 25).record;
    assert_eq!(run(&unanswered, &absent(54), 54).actions, [Action::ResolveVm]);
    assert_eq!(run(&unanswered, &absent(55), 55).actions, [Action::RequestVm]);
}

#[test]
fn a_vm_with_the_token_is_adopted() {
    let found = run(
        &requested(0),
        &Observation {
            vm: vm(InstanceState::Provisioning),
            ..Observation::default()
        },
        5,
    );
    assert_eq!(
        (found.record.instance, found.actions),
        (Some(InstanceId::new("vm-1")), vec![])
    );
}

#[test]
fn a_refused_create_leaves_nothing() {
    let refused = Observation {
        create: Some(CreateReply::Refused),
        ..Observation::default()
    };
    assert_eq!(run(&requested(0), &refused, 1).actions, [Action::DeleteRecord]);
}

#[test]
fn labels_and_taints_come_before_the_startup_taint_goes() {
    let record = Record {
        phase: MachinePhase::Joining,
        ..ready()
    };
    let see = |node| Observation {
        vm: vm(InstanceState::Running),
        node: present(node),
        ..Observation::default()
    };
    let fresh = NodeState {
        startup_taint: true,
        prepared: false,
        ..WORKING
    };
    assert_eq!(run(&record, &see(fresh), 1).actions, [Action::PrepareNode]);
    let prepared = NodeState {
        prepared: true,
        ..fresh
    };
    assert_eq!(run(&record, &see(prepared), 1).actions, [Action::RemoveStartupTaint]);
    assert_eq!(
        run(
            &record,
            &see(NodeState {
                ready: false,
                ..WORKING
            }),
            1
        )
        .record
        .phase,
        MachinePhase::Joining
    );
    assert_eq!(run(&record, &see(WORKING), 1).record.phase, MachinePhase::Ready);
}

#[test]
fn each_phase_has_its_own_deadline() {
    for (phase, limit, reason) in [
        (MachinePhase::Provisioning, 600, "ProvisioningTimeout"),
        (MachinePhase::Provisioned, 900, "JoiningTimeout"),
        (MachinePhase::Joining, 1200, "InitializingTimeout"),
    ] {
        let record = Record { phase, ..ready() };
        let state = if phase == MachinePhase::Provisioning {
            InstanceState::Provisioning
        } else {
            InstanceState::Running
        };
        let seen = Observation {
            vm: vm(state),
            node: NodeSeen::Absent,
            ..Observation::default()
        };
        assert_eq!(run(&record, &seen, limit).record.phase, phase);
        let late = run(&record, &seen, limit + 1).record;
        assert_eq!((late.phase, late.phase_since), (MachinePhase::Failed, at(limit + 1)));
        assert_eq!(late.failure.unwrap().reason, reason);
    }
}

#[test]
fn a_vanished_vm_or_node_moves_a_ready_one_on() {
    let unready = NodeState {
        ready: false,
        ..WORKING
    };
    let gone = Observation {
        vm: Vm::Absent { as_of: at(9) },
        node: present(unready),
        ..Observation::default()
    };
    let failed = run(&ready(), &gone, 10).record;
    assert_eq!((failed.phase, failed.vm_gone_at), (MachinePhase::Failed, Some(at(10))));
    // The Node contradicts a list without the VM: perhaps the list of another account.
    let contradiction = Observation {
        node: present(WORKING),
        ..gone
    };
    assert_eq!(run(&ready(), &contradiction, 10).record, ready());

    let no_node = Observation {
        vm: vm(InstanceState::Running),
        node: NodeSeen::Absent,
        ..Observation::default()
    };
    let failed = run(&ready(), &no_node, 10);
    assert_eq!(failed.record.failure.as_ref().unwrap().reason, "NodeNotFound");
    let next = run(&failed.record, &no_node, 11);
    assert_eq!(
        next.actions,
        [Action::DeleteVm(InstanceId::new("vm-1")), Action::ResolveVm]
    );
}

#[test]
fn a_failed_one_is_collected_after_its_time_and_when_the_vm_is_gone() {
    let failed = Record {
        phase: MachinePhase::Failed,
        ..ready()
    };
    let unknown = Observation {
        node: NodeSeen::Absent,
        delete_accepted: true,
        ..Observation::default()
    };
    assert_eq!(run(&failed, &unknown, 10_000).actions, [Action::ResolveVm]);
    let gone = Observation {
        vm: Vm::Absent { as_of: at(50) },
        ..unknown
    };
    let seen_gone = run(&failed, &gone, 60).record;
    assert!(!seen_gone.wants_list());
    assert_eq!(
        run(
            &seen_gone,
            &Observation {
                vm: Vm::Unknown,
                ..gone.clone()
            },
            1800
        )
        .actions,
        []
    );
    assert_eq!(
        run(
            &seen_gone,
            &Observation {
                vm: Vm::Unknown,
                ..gone
            },
            1801
        )
        .actions,
        [Action::DeleteRecord]
    );
}

#[test]
fn a_removal_runs_through_its_steps() {
    let mut record = ready();
    record.removal = Some(Removal::planned(RemovalKind::Drain, "NotNeeded".into(), at(0)));
    let mut node = WORKING;
    let mut seen = Observation {
        vm: vm(InstanceState::Running),
        node: present(node),
        ..Observation::default()
    };
    seen.pods.workload = 1;
    let mut took = Vec::new();
    for second in 1..20 {
        let next = run(&record, &seen, second);
        took.extend(next.actions.clone());
        for action in &next.actions {
            match action {
                Action::Cordon => (node.cordoned, node.cordoned_by_us) = (true, true),
                Action::Evict { .. } => seen.pods.workload = 0,
                Action::DeleteVm(_) => (seen.vm, seen.delete_accepted) = (Vm::Absent { as_of: at(second) }, true),
                Action::DeleteNode => {}
                _ => {}
            }
        }
        seen.node = if took.contains(&Action::DeleteNode) {
            NodeSeen::Absent
        } else {
            present(node)
        };
        record = next.record;
        if took.contains(&Action::DeleteRecord) {
            break;
        }
    }
    took.retain(|action| *action != Action::ResolveVm);
    let vm = InstanceId::new("vm-1");
    let evict = Action::Evict { forced: false };
    assert_eq!(
        took,
        [
            Action::Cordon,
            evict,
            Action::DeleteVm(vm),
            Action::DeleteNode,
            Action::DeleteRecord
        ]
    );
}

#[test]
fn a_drain_that_takes_too_long_is_rolled_back() {
    let node = NodeState {
        cordoned: true,
        cordoned_by_us: true,
        ..WORKING
    };
    let mut seen = Observation {
        vm: vm(InstanceState::Running),
        node: present(node),
        ..Observation::default()
    };
    seen.pods.workload = 1;
    seen.pods.refusal = Some("eviction of pod a/b refused".into());
    let record = in_removal(RemovalPhase::Draining);
    assert_eq!(run(&record, &seen, 900).actions, [Action::Evict { forced: false }]);
    let rolling = run(&record, &seen, 901);
    let removal = rolling.record.removal.clone().unwrap();
    assert_eq!(
        (removal.phase, removal.failed_at),
        (RemovalPhase::RollingBack, Some(at(901)))
    );
    assert_eq!(rolling.note.unwrap().reason, "ScaleDownFailed");
    assert_eq!(run(&rolling.record, &seen, 902).actions, [Action::Uncordon]);
    seen.node = present(WORKING);
    let back = run(&rolling.record, &seen, 903).record;
    assert_eq!(
        (back.phase, back.removal.unwrap().phase),
        (MachinePhase::Ready, RemovalPhase::Failed)
    );

    seen.force_drain = true;
    seen.node = present(node);
    assert_eq!(run(&record, &seen, 901).actions, [Action::Evict { forced: true }]);
}

#[test]
fn a_foreign_cordon_is_left_alone() {
    let node = NodeState {
        cordoned: true,
        ..WORKING
    };
    let mut seen = Observation {
        vm: vm(InstanceState::Running),
        node: present(node),
        ..Observation::default()
    };
    let record = in_removal(RemovalPhase::Planned);
    let cordoned = run(&record, &seen, 1);
    assert!(cordoned.actions.is_empty() && !cordoned.record.removal.as_ref().unwrap().cordoned_by_us);
    seen.pods.blocked = Some("pod a/b".into());
    let rolling = run(&cordoned.record, &seen, 2).record;
    let back = run(&rolling, &seen, 3);
    assert_eq!((back.record.phase, back.actions), (MachinePhase::Ready, vec![]));
}

#[test]
fn what_speaks_against_a_removal_undoes_it_before_the_vm_is_deleted() {
    let node = NodeState {
        cordoned: true,
        cordoned_by_us: true,
        ..WORKING
    };
    let base = Observation {
        vm: vm(InstanceState::Running),
        node: present(node),
        ..Observation::default()
    };
    let pods = |workload| PodsLeft {
        workload,
        ..PodsLeft::default()
    };
    let drained = in_removal(RemovalPhase::Drained);
    let rolls_back = |record: &Record, seen: &Observation| {
        run(record, seen, 5).record.removal.unwrap().phase == RemovalPhase::RollingBack
    };
    assert!(rolls_back(
        &drained,
        &Observation {
            own_node: true,
            ..base.clone()
        }
    ));
    assert!(rolls_back(
        &drained,
        &Observation {
            below_minimum: true,
            ..base.clone()
        }
    ));
    let uncordoned = Observation {
        node: present(WORKING),
        ..base.clone()
    };
    assert!(rolls_back(&drained, &uncordoned));
    let needed = Observation {
        needed_by: Some("a/b".into()),
        pods: pods(1),
        ..base.clone()
    };
    assert!(rolls_back(&in_removal(RemovalPhase::Draining), &needed));
    let again = run(
        &drained,
        &Observation {
            pods: pods(1),
            ..base.clone()
        },
        5,
    )
    .record;
    assert_eq!(again.removal.unwrap().phase, RemovalPhase::Draining);
    let unknown = run(
        &drained,
        &Observation {
            node: NodeSeen::Unknown,
            ..base.clone()
        },
        5,
    );
    assert_eq!((unknown.record, unknown.actions), (drained.clone(), vec![]));
    assert_eq!(run(&drained, &base, 5).record.phase, MachinePhase::Deleting);
}

fn vms() -> impl Strategy<Value = Vm> {
    prop_oneof![
        Just(Vm::Unknown),
        (0..4000_i64).prop_map(|second| Vm::Absent { as_of: at(second) }),
        prop_oneof![
            Just(InstanceState::Provisioning),
            Just(InstanceState::Running),
            Just(InstanceState::Failed),
            Just(InstanceState::Deleting),
            Just(InstanceState::Deleted),
            Just(InstanceState::Unknown),
        ]
        .prop_map(vm),
    ]
}

fn nodes() -> impl Strategy<Value = NodeSeen> {
    prop_oneof![
        Just(NodeSeen::Unknown),
        Just(NodeSeen::Absent),
        (any::<[bool; 5]>(), 0..4000_i64).prop_map(|([ready, cordoned, ours, startup_taint, prepared], since)| {
            NodeSeen::Present(NodeState {
                ready,
                unready_since: (!ready).then(|| at(since)),
                cordoned,
                cordoned_by_us: ours && cordoned,
                startup_taint,
                prepared,
            })
        }),
    ]
}

fn observations() -> impl Strategy<Value = Observation> {
    let pods = (0..3_u32, 0..2_u32, any::<[bool; 2]>()).prop_map(|(workload, daemon, [blocked, refused])| PodsLeft {
        workload,
        daemon,
        blocked: (blocked && 0 < workload).then(|| "a pod".to_owned()),
        refusal: (refused && 0 < workload).then(|| "a budget".to_owned()),
    });
    (vms(), nodes(), pods, any::<[bool; 7]>()).prop_map(|(vm, node, pods, flags)| Observation {
        vm,
        node,
        pods,
        create: None,
        create_blocked: flags[0].then(|| "no user data".to_owned()),
        delete_accepted: flags[1],
        needed_by: flags[2].then(|| "a/b".to_owned()),
        below_minimum: flags[3],
        own_node: flags[4],
        force_drain: flags[5],
        attachments: if flags[0] { None } else { Some(u32::from(flags[1])) },
        opposed: flags[6].then(|| Objection {
            reason: KeepReason::ScaleDownDisabledAnnotation,
            message: "protected".to_owned(),
        }),
    })
}

/// What happens around the record between two steps.
#[derive(Clone, Debug)]
enum Around {
    Nothing,
    Removal,
    Deletion,
    Unanswered,
    Accepted,
}

fn around() -> impl Strategy<Value = Around> {
    prop_oneof![
        20 => Just(Around::Nothing),
        1 => Just(Around::Removal),
        1 => Just(Around::Deletion),
        3 => Just(Around::Unanswered),
        2 => Just(Around::Accepted),
    ]
}

proptest! {
    #[test]
    fn any_sequence_of_observations_is_safe(
        story in proptest::collection::vec((observations(), around(), 1..400_i64), 1..40),
    ) {
        let deadlines = DEADLINES();
        let mut record = Record::new(at(0));
        let (mut now, mut may_request, mut requests_open) = (0, true, false);
        for (mut seen, around, wait) in story {
            now += wait;
            match around {
                Around::Removal if record.phase == MachinePhase::Ready => {
                    record.removal = Some(Removal::planned(RemovalKind::Drain, "NotNeeded".into(), at(now)));
                }
                Around::Deletion => record.deletion_requested = true,
                Around::Unanswered if requests_open => seen.create = Some(CreateReply::Unanswered),
                Around::Accepted if requests_open => seen.create = Some(CreateReply::Accepted(InstanceId::new("vm-1"))),
                _ => {}
            }
            if let Vm::Absent { as_of } = &mut seen.vm {
                *as_of = (*as_of).min(at(now));
            }
            let next = step(&record, &seen, &deadlines, at(now));

            if let (Vm::Absent { as_of }, Some(asked)) = (&seen.vm, record.requested_at) {
                may_request |= asked + deadlines.settle <= *as_of;
            }
            requests_open = next.actions.contains(&Action::RequestVm);
            if requests_open {
                prop_assert!(may_request, "a second create call without a list in between");
                prop_assert_eq!(next.record.requested_at, Some(at(now)), "the intent is in the record");
                may_request = false;
            }
            let asked_for = record.deletion_requested || record.is_in_removal() || next.record.is_in_removal();
            let deletes = next.actions.iter().any(|action| matches!(action, Action::DeleteVm(_)));
            prop_assert!(!deletes || asked_for || record.phase == MachinePhase::Failed);
            if next.record.vm_gone_at.is_some() && record.vm_gone_at.is_none() {
                let never = record.requested_at.is_none() && record.instance.is_none();
                let listed = matches!(seen.vm, Vm::Absent { .. } | Vm::Present { state: InstanceState::Deleted, .. });
                prop_assert!(never || listed);
            }
            if next.actions.contains(&Action::DeleteRecord) {
                let never = next.record.requested_at.is_none() && next.record.instance.is_none();
                prop_assert!(never || next.record.vm_gone_at.is_some());
                break;
            }
            if next.actions.contains(&Action::Uncordon) {
                let ours = matches!(seen.node, NodeSeen::Present(node) if node.cordoned_by_us);
                prop_assert!(ours);
            }
            record = next.record;

            // With the same observation it comes to rest.
            seen.create = None;
            let mut resting = record.clone();
            let mut steps = 0;
            loop {
                let again = step(&resting, &seen, &deadlines, at(now));
                if again.record == resting {
                    break;
                }
                resting = again.record;
                steps += 1;
                prop_assert!(steps < 12, "does not come to rest: {resting:?}");
            }
        }
    }
}
