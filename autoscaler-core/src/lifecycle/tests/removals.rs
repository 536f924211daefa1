//! What ends a removal, what does not, and what is never deleted.

use super::*;

const CORDONED: NodeState = NodeState {
    cordoned: true,
    cordoned_by_us: true,
    ..WORKING
};

fn draining(workload: u32) -> Observation {
    Observation {
        vm: vm(InstanceState::Running),
        node: present(CORDONED),
        pods: PodsLeft {
            workload,
            ..PodsLeft::default()
        },
        ..Observation::default()
    }
}

fn removal_of(record: &Record) -> &Removal {
    record.removal.as_ref().unwrap()
}

#[test]
fn an_objection_undoes_every_phase_before_the_point_of_no_return() {
    let objection = Objection {
        reason: KeepReason::ScaleDownDisabledAnnotation,
        message: "autoscaler.vpsie.com/protected=true is set on the node".to_owned(),
    };
    for phase in [
        RemovalPhase::Planned,
        RemovalPhase::Cordoned,
        RemovalPhase::Draining,
        RemovalPhase::Drained,
    ] {
        let seen = Observation {
            opposed: Some(objection.clone()),
            ..draining(0)
        };
        let record = in_removal(phase);
        let rolling = run(&record, &seen, 5);
        assert_eq!(
            removal_of(&rolling.record).phase,
            RemovalPhase::RollingBack,
            "{phase:?}"
        );
        assert_eq!(rolling.actions, [], "{phase:?}");
        let message = "ScaleDownDisabledAnnotation: autoscaler.vpsie.com/protected=true is set on the node";
        assert_eq!(removal_of(&rolling.record).message, message);
        assert_eq!(rolling.note.unwrap().message, message);
        assert_eq!(run(&rolling.record, &seen, 6).actions, [Action::Uncordon]);

        // Whoever deletes the VPSieNode has decided for himself.
        let by_hand = Record {
            deletion_requested: true,
            ..record
        };
        assert!(removal_of(&run(&by_hand, &seen, 5).record).phase <= RemovalPhase::ProviderDeleting);
    }
}

#[test]
fn b8_the_drain_deadline_waits_for_pods_that_terminate_within_their_own_grace() {
    // Drain deadline 900 s; a pod with an hour of grace was evicted and is neither held nor refused.
    let record = in_removal(RemovalPhase::Draining);
    for second in [901, 3600] {
        let step = run(&record, &draining(1), second);
        assert_eq!(removal_of(&step.record).phase, RemovalPhase::Draining, "{second}");
        assert_eq!(step.actions, [Action::Evict { forced: false }]);
    }
    assert_eq!(
        removal_of(&run(&record, &draining(0), 3601).record).phase,
        RemovalPhase::Drained
    );
    // One that a budget refuses is another matter.
    let mut refused = draining(2);
    refused.pods.refusal = Some("eviction of pod a/b refused: budget".to_owned());
    let rolling = run(&record, &refused, 901);
    assert_eq!(
        removal_of(&rolling.record).message,
        "DrainTimeout: 2 pods are still on the node after 15m; eviction of pod a/b refused: budget"
    );
}

#[test]
fn failures_in_a_row_are_counted_and_forgotten_after_three_hours() {
    let seen = Observation {
        below_minimum: true,
        ..draining(0)
    };
    let mut record = in_removal(RemovalPhase::Draining);
    for failures in 1..4 {
        record = run(&record, &seen, 5).record;
        assert_eq!(removal_of(&record).failures, failures);
        let again = |second| {
            Removal::planned_after(
                record.removal.as_ref(),
                RemovalKind::Empty,
                "Unneeded".into(),
                at(second),
            )
            .failures
        };
        assert_eq!((again(5 + 10_799), again(5 + 10_800)), (failures, 0));
        let removal = Removal {
            cordoned_by_us: true,
            ..Removal::planned_after(record.removal.as_ref(), RemovalKind::Drain, "Unneeded".into(), at(6))
        };
        record.removal = Some(removal);
    }
    let minutes = |first, failures| delay_after_failures(SignedDuration::from_mins(first), failures).as_mins();
    let after_three: Vec<i64> = (0..9).map(|failures| minutes(3, failures)).collect();
    assert_eq!(after_three, [3, 3, 6, 12, 24, 48, 60, 60, 60]);
    assert_eq!(
        (minutes(3, u32::MAX), minutes(90, u32::MAX), minutes(0, 7)),
        (60, 90, 0)
    );
}

#[test]
fn a_deletion_by_hand_has_a_deadline_of_its_own() {
    let mut seen = draining(1);
    seen.pods.refusal = Some("eviction of pod a/b refused".to_owned());
    seen.force_drain = true;
    // The autoscaler's own removal is nearly out of time, or is being undone, when somebody deletes the VPSieNode.
    for phase in [RemovalPhase::Draining, RemovalPhase::RollingBack] {
        let mut record = Record {
            deletion_requested: true,
            ..in_removal(phase)
        };
        for second in [890, 891, 892, 1000, 1790] {
            let step = run(&record, &seen, second);
            assert!(
                !step.actions.contains(&Action::Evict { forced: true }),
                "{phase:?} {second}"
            );
            record = step.record;
        }
        assert_eq!(record.phase_since, at(890));
        assert_eq!(removal_of(&record).reason, "Deleted");
        assert_eq!(run(&record, &seen, 1791).actions, [Action::Evict { forced: true }]);
    }
}

#[test]
fn a_ready_one_is_not_given_up_for_a_reading_of_failed() {
    let unready = |since| {
        present(NodeState {
            ready: false,
            unready_since: Some(at(since)),
            ..WORKING
        })
    };
    let see = |state, node| Observation {
        vm: vm(state),
        node,
        ..Observation::default()
    };
    let phase = |seen: &Observation, second| run(&ready(), seen, second).record.phase;
    // The kubelet restarts while the provider says "error" for once.
    let failed = see(InstanceState::Failed, unready(1000));
    assert_eq!(phase(&failed, 1001), MachinePhase::Ready);
    assert_eq!(phase(&failed, 1000 + 1199), MachinePhase::Ready);
    assert_eq!(phase(&failed, 1000 + 1200), MachinePhase::Failed);
    for state in [InstanceState::Failed, InstanceState::Deleting] {
        let unknown = see(state, NodeSeen::Unknown);
        assert_eq!(phase(&unknown, 5000), MachinePhase::Ready, "{state:?}");
    }
    // What is being deleted at the provider does not come back.
    assert_eq!(
        phase(&see(InstanceState::Deleting, unready(1000)), 1001),
        MachinePhase::Failed
    );
}

#[test]
fn another_vm_than_the_recorded_one_is_never_deleted() {
    let foreign = Vm::Present {
        id: InstanceId::new("vm-2"),
        state: InstanceState::Running,
    };
    let failed = Record {
        phase: MachinePhase::Failed,
        ..ready()
    };
    let deleting = Record {
        phase: MachinePhase::Deleting,
        ..in_removal(RemovalPhase::ProviderDeleting)
    };
    for record in [failed, deleting, in_removal(RemovalPhase::Drained)] {
        for delete_accepted in [true, false] {
            let seen = Observation {
                vm: foreign.clone(),
                delete_accepted,
                ..draining(0)
            };
            for action in run(&record, &seen, 5).actions {
                assert_ne!(action, Action::DeleteVm(InstanceId::new("vm-2")), "{record:?}");
            }
        }
    }
}

#[test]
fn volumes_are_detached_before_daemons_go_and_the_vm_is_deleted() {
    let see = |attachments| {
        let mut seen = draining(0);
        seen.pods.daemon = 1;
        seen.attachments = attachments;
        seen
    };
    // The drain took as long as it may; detaching has its own time.
    let drained = run(&in_removal(RemovalPhase::Draining), &see(Some(2)), 899);
    assert_eq!(removal_of(&drained.record).phase, RemovalPhase::Drained);
    assert_eq!(drained.actions, []);
    let record = drained.record;
    for attachments in [Some(2), None] {
        let waiting = run(&record, &see(attachments), 899 + 360);
        assert_eq!((&waiting.record, waiting.actions), (&record, vec![]));
    }
    assert_eq!(
        run(&record, &see(Some(0)), 900).actions,
        [Action::Evict { forced: false }]
    );
    let without_daemons = |attachments, second| {
        let mut seen = see(attachments);
        seen.pods.daemon = 0;
        run(&record, &seen, second)
    };
    let clean = without_daemons(Some(0), 900);
    assert_eq!(
        (clean.record.phase, clean.note.unwrap().warning),
        (MachinePhase::Deleting, false)
    );
    // Nothing is rolled back: the pods are gone, and the node is of no use to them any more.
    for attachments in [Some(2), None] {
        let late = without_daemons(attachments, 899 + 361);
        assert_eq!(late.record.phase, MachinePhase::Deleting);
        assert_eq!(late.note.unwrap().reason, "VolumesAttached");
    }
}

#[test]
fn a_deletion_by_hand_waits_for_the_drain() {
    let node = NodeState {
        cordoned: true,
        cordoned_by_us: true,
        ..WORKING
    };
    let pods = PodsLeft {
        workload: 1,
        blocked: Some("pod a/b has no controller".into()),
        ..PodsLeft::default()
    };
    let seen = Observation {
        vm: vm(InstanceState::Running),
        node: present(node),
        pods,
        ..Observation::default()
    };
    let record = Record {
        deletion_requested: true,
        ..in_removal(RemovalPhase::Draining)
    };
    let record = run(&record, &seen, 100).record;
    let late = run(&record, &seen, 2000);
    assert_eq!(late.actions, [Action::Evict { forced: false }]);
    assert_eq!(late.note.as_ref().unwrap().reason, "DrainFailed");
    assert_eq!(
        run(&late.record, &seen, 2010).note,
        None,
        "what has been said is not said again"
    );
    let nothing = Record {
        deletion_requested: true,
        ..Record::new(at(0))
    };
    assert_eq!(
        run(&nothing, &Observation::default(), 1).actions,
        [Action::DeleteRecord]
    );
}

/// The time of the deletion was written when it was ordered, and taken for its end: VMs that nobody deleted were paid for.
#[test]
fn incident_8854104_a_vm_that_is_to_be_deleted_is_there_until_the_provider_says_otherwise() {
    let ordered = run(&in_removal(RemovalPhase::Drained), &draining(0), 5);
    let delete = Action::DeleteVm(InstanceId::new("vm-1"));
    assert_eq!(
        (ordered.record.phase, ordered.record.vm_gone_at),
        (MachinePhase::Deleting, None)
    );
    assert!(ordered.actions.contains(&delete));
    let accepted = |vm, delete_accepted| Observation {
        vm,
        delete_accepted,
        ..draining(0)
    };
    // The order was lost, the list failed, or the VM is still there: it is ordered again, and nothing else is deleted.
    for seen in [
        accepted(Vm::Unknown, false),
        accepted(vm(InstanceState::Running), false),
        accepted(vm(InstanceState::Running), true),
    ] {
        let next = run(&ordered.record, &seen, 5000);
        assert_eq!(
            (next.record.phase, next.record.vm_gone_at),
            (MachinePhase::Deleting, None)
        );
        assert_eq!(next.actions, [delete.clone(), Action::ResolveVm], "{seen:?}");
    }
    for seen in [accepted(Vm::Unknown, true), accepted(vm(InstanceState::Deleting), true)] {
        let next = run(&ordered.record, &seen, 5000);
        assert_eq!((next.record.vm_gone_at, next.actions), (None, vec![Action::ResolveVm]));
    }
    let gone = run(&ordered.record, &accepted(Vm::Absent { as_of: at(60) }, true), 61);
    assert_eq!(gone.record.vm_gone_at, Some(at(61)));
}
