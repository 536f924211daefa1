//! One node that is to be drained, with many pods under many PodDisruptionBudgets.

use autoscaler_core::manifest::{
    Objects,
    meta::ObjectMeta,
    workload::{PodDisruptionBudget, PodDisruptionBudgetSpec, PodDisruptionBudgetStatus},
};

use crate::objects::{NAMESPACE, amounts, map, node, running, selector};

/// The node.
pub const NODE: &str = "node";
/// Its pods.
pub const PODS: usize = 110;
/// Their controllers, each of which has a budget.
pub const BUDGETS: usize = 20;

/// A node with 110 pods of 20 controllers. Each budget allows as many evictions as the controller has pods here, except
/// that of the last one, which allows one less.
pub fn objects() -> Objects {
    let mut objects = Objects::default();
    objects
        .nodes
        .push(node(NODE.to_owned(), &[], amounts(64_000, 1 << 38, 110)));
    let mut of_budget = [0; BUDGETS];
    for index in 0..PODS {
        let budget = index % BUDGETS;
        if let Some(count) = of_budget.get_mut(budget) {
            *count += 1;
        }
        let name = format!("app-{budget:02}");
        let mut pod = running(
            format!("{name}-{index:03}"),
            name.clone(),
            NODE.to_owned(),
            100,
            1 << 27,
        );
        pod.metadata.labels = map(&[("app", &name)]);
        objects.pods.push(pod);
    }
    for (budget, pods) in of_budget.into_iter().enumerate() {
        let name = format!("app-{budget:02}");
        objects.pod_disruption_budgets.push(PodDisruptionBudget {
            metadata: ObjectMeta {
                name: name.clone(),
                namespace: NAMESPACE.to_owned(),
                generation: 1,
                ..ObjectMeta::default()
            },
            spec: PodDisruptionBudgetSpec {
                selector: Some(selector(&[("app", &name)])),
                ..PodDisruptionBudgetSpec::default()
            },
            status: Some(PodDisruptionBudgetStatus {
                observed_generation: 1,
                disruptions_allowed: pods - i32::from(budget + 1 == BUDGETS),
                ..PodDisruptionBudgetStatus::default()
            }),
        });
    }
    objects
}
