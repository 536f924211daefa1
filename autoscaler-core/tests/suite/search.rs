//! Plans that first fit misses: pods that find a place only when others make room on a node of their own.

use autoscaler_core::document::PlanDocument;

use crate::case::{Case, pod};

/// Three pods that want a node with a pod of their app, each a third of a node and a little more, and a small one. Two
/// nodes do: the small one has to be the company of the third, and first fit puts it on the full node.
fn pairs(max: u32, group: &[&str], expander: &str, pod_group: &str) -> Case {
    let config = format!(
        "apiVersion: autoscaler.vpsie.com/v1alpha1\nkind: AutoscalerConfig\nmetadata: {{name: default}}\nspec: {{globalSettings: {{maxClusterWorkers: 0, unschedulablePodGracePeriodSeconds: 0, expander: \"{expander}\"}}}}"
    );
    let near = "affinity: {podAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{labelSelector: {matchLabels: {app: a}}, topologyKey: kubernetes.io/hostname}]}}";
    let named = |name: &str, cpu: &str, affinity: &str| {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: default, labels: {{app: a{pod_group}}}}}\nspec:\n  containers: [{{name: c, resources: {{requests: {{cpu: {cpu}}}}}}}]\n  {affinity}\nstatus:\n  phase: Pending\n  conditions: [{{type: PodScheduled, status: \"False\", reason: Unschedulable}}]"
        )
    };
    let mut case = Case::new().group("g", 0, max, "medium", group).with(&config);
    for index in 0..3 {
        case = case.with(&named(&format!("near-{index}"), "1400m", near));
    }
    case.with(&named("small", "100m", ""))
}

fn nodes(plan: &PlanDocument) -> usize {
    plan.scale_up.iter().map(|up| up.count).sum()
}

fn assert_all_placed(plan: &PlanDocument) {
    for name in ["near-0", "near-1", "near-2", "small"] {
        assert_eq!(pod(plan, name).verdict, "TriggersScaleUp", "{name}: {plan:#?}");
    }
}

#[test]
fn pods_that_first_fit_leaves_get_company_on_another_node() {
    for expander in ["price,least-waste", "least-nodes", "random"] {
        let plan = pairs(5, &[], expander, "").plan();
        assert_all_placed(&plan);
        assert_eq!(nodes(&plan), 2, "{expander}: {plan:#?}");
    }
}

#[test]
fn a_pod_group_is_whole_when_another_order_makes_it_so() {
    let plan = pairs(5, &[], "price", ", autoscaler.vpsie.com/pod-group: batch").plan();
    assert_all_placed(&plan);
    assert_eq!(nodes(&plan), 2, "{plan:#?}");
}

#[test]
fn headroom_stays_beside_nodes_that_a_search_found() {
    let plan = pairs(5, &["headroom: {nodes: 1}"], "price", "").plan();
    assert_all_placed(&plan);
    assert_eq!(nodes(&plan), 3, "{plan:#?}");
}

#[test]
fn a_search_keeps_the_maximum() {
    let plan = pairs(1, &[], "price", "").plan();
    assert_eq!(nodes(&plan), 1, "{plan:#?}");
    let left = ["near-0", "near-1", "near-2", "small"].map(|name| pod(&plan, name));
    let left: Vec<_> = left.iter().filter(|pod| pod.verdict == "Unschedulable").collect();
    assert_eq!(left.len(), 1, "{plan:#?}");
    assert!(!left[0].reasons.is_empty(), "{plan:#?}");
}

#[test]
fn requests_whose_sum_is_no_number_are_searched_too() {
    let huge = "cpu: 100m, memory: \"4000000000000000000\"";
    let plan = Case::new()
        .group("g", 0, 5, "medium", &[])
        .with("apiVersion: v1\nkind: Node\nmetadata: {name: huge, labels: {kubernetes.io/hostname: huge}}\nstatus:\n  allocatable: {cpu: \"64\", memory: \"9000000000000000000\", pods: \"110\"}\n  conditions: [{type: Ready, status: \"True\"}]")
        .pending("huge", 3, huge, &[])
        .plan();
    let placed = plan.pods.iter().filter(|pod| pod.node.as_deref() == Some("huge"));
    assert_eq!(placed.count(), 2, "{plan:#?}");
}
