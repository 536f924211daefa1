//! What went wrong with scale-down of the Go autoscaler in real clusters, by the commit that mended it.

use super::{MEMBER, Member, cluster, pod_on, removed_names, verdict};
use crate::case::Case;

/// The VPSieNode of a node whose removal has come so far.
fn leaving(phase: &str) -> String {
    let removal = match phase {
        "Terminating" => "Draining",
        _ => "ProviderDeleting",
    };
    format!("phase: {phase}, removal: {{phase: {removal}, kind: Drain, startedAt: \"2026-01-01T11:59:00Z\"}}")
}

/// So many idle nodes, of which the first ones leave, in a group with this minimum and this budget of empty removals.
fn shrinking(nodes: u32, leaving: &[&str], min: u32, budget: u32) -> Case {
    let policy = format!(
        "scaleDownPolicy: {{stabilizationWindowSeconds: 0, cooldownSeconds: 0, budgets: {{empty: {budget}, drain: {budget}}}}}"
    );
    let case = Case::new().group("a", min, 99, "medium", &[&policy]);
    (0..nodes).fold(case, |case, index| {
        let status = leaving.get(index as usize).copied().unwrap_or(MEMBER.status);
        Member { status, ..MEMBER }.add(case, index)
    })
}

#[test]
fn incident_9242447_nodes_that_are_being_deleted_count_in_the_budget() {
    // Without the limit the whole group was deleted, a few nodes in each pass.
    assert_eq!(removed_names(&shrinking(6, &[], 0, 2).plan()), ["n0", "n1"]);
    for phase in ["Terminating", "Deleting"] {
        let status = leaving(phase);
        let one = shrinking(6, &[&status], 0, 2).plan();
        assert_eq!(removed_names(&one), ["n1"], "{phase}");
        let two = shrinking(6, &[&status, &status], 0, 2).plan();
        assert_eq!(removed_names(&two), Vec::<&str>::new(), "{phase}");
        assert_eq!(verdict(&two, "n2"), "DisruptionBudgetReached", "{phase}");
        // Those that still hold a pod are drains.
        let drains = pod_on(shrinking(6, &[&status, &status], 0, 2), "web", "n0", "100m", "");
        let drains = pod_on(drains, "web-2", "n1", "100m", "");
        let drains = pod_on(drains, "web-3", "n2", "100m", "").plan();
        assert_eq!(verdict(&drains, "n2"), "DisruptionBudgetReached", "{phase}");
        assert_eq!(removed_names(&drains), ["n3", "n4"], "{phase}");
    }
}

#[test]
fn incident_dc0700f_a_node_that_is_being_deleted_is_none_of_the_minimum() {
    // Two nodes and a minimum of one: the second went while the first was on its way out, and none was left.
    assert_eq!(removed_names(&shrinking(2, &[], 1, 10).plan()), ["n0"]);
    for phase in ["Terminating", "Deleting"] {
        let plan = shrinking(2, &[&leaving(phase)], 1, 10).plan();
        assert_eq!(verdict(&plan, "n0"), "CurrentlyBeingDeleted", "{phase}");
        assert_eq!(verdict(&plan, "n1"), "NodeGroupMinSizeReached", "{phase}");
    }
}

#[test]
fn incident_fd80ba7_daemon_sets_with_an_empty_dir_do_not_block() {
    for namespace in ["kube-system", "monitoring"] {
        let agent = format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: agent, namespace: {namespace}, ownerReferences: [{{apiVersion: apps/v1, kind: DaemonSet, name: agent, uid: u, controller: true}}]}}\nspec: {{nodeName: n0, containers: [{{name: c}}], volumes: [{{name: v, emptyDir: {{}}}}, {{name: h, hostPath: {{path: /var/log}}}}]}}\nstatus: {{phase: Running}}"
        );
        let plan = cluster(1).with(&agent).plan();
        assert_eq!(verdict(&plan, "n0"), "Remove", "{namespace}");
        assert_eq!(plan.scale_down[0].kind, "Empty");
    }
}

#[test]
fn incident_b1fd0f6_a_vpsienode_of_another_name_is_found_by_the_node_it_names() {
    // The node was drained, the VPSieNode was not found, and the VM lived on.
    let node = "apiVersion: v1\nkind: Node\nmetadata: {name: worker-7, labels: {autoscaler.vpsie.com/managed: \"true\", autoscaler.vpsie.com/nodegroup: a}}\nstatus: {allocatable: {cpu: \"4\", memory: 8Gi, pods: \"110\"}, conditions: [{type: Ready, status: \"True\"}]}";
    let machine = |of_status: &str, of_spec: &str| {
        cluster(0).with(node).with(&format!(
            "apiVersion: autoscaler.vpsie.com/v1alpha1\nkind: VPSieNode\nmetadata: {{name: a-3f90b6d2, namespace: default}}\nspec: {{nodeGroupName: a, instanceType: medium, datacenterID: dc-1, {of_spec}}}\nstatus: {{phase: Ready, unneededSince: \"2026-01-01T00:00:00Z\", {of_status}}}"
        ))
    };
    for case in [machine("nodeName: worker-7", ""), machine("", "nodeName: worker-7")] {
        let snapshot = case.snapshot();
        let node = &snapshot.nodes[0];
        let machine = snapshot.machine(node.machine.unwrap());
        assert_eq!(snapshot.text(machine.name), "a-3f90b6d2");
        assert_eq!(verdict(&case.plan(), "worker-7"), "Remove");
    }
    // It is no other node's: that one would be removed at the cost of this.
    let other = cluster(1).with(node).plan();
    assert_eq!(verdict(&other, "worker-7"), "NotAutoscaled");
}
