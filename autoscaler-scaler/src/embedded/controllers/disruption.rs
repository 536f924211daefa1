//! Disruption budgets. May hold: their status, as kube-controller-manager's disruption controller keeps it.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};

use super::{is_ready, update};
use crate::embedded::object::{
    at, controller_of, integer, is_terminating, labels, name, namespace, set, text, time, uid,
};
use crate::embedded::selectors::LabelSelector;
use crate::embedded::store::{ObjectKey, State};

/// How long an eviction that was granted counts, when the pod is not seen to go.
const DISRUPTION_TIMEOUT: SignedDuration = SignedDuration::from_mins(2);

pub(super) fn reconcile(state: &mut State) {
    for budget in state.all("policy", "poddisruptionbudgets") {
        if !is_terminating(&budget) {
            reconcile_one(state, &budget);
        }
    }
}

/// When the first granted eviction stops to count, if there is one.
pub(super) fn next_expiry(state: &State) -> Option<Timestamp> {
    let granted = |budget: &Arc<Value>| -> Vec<Timestamp> {
        let pods = at(budget, &["status", "disruptedPods"]).and_then(Value::as_object);
        let times = pods.into_iter().flatten();
        times.filter_map(|(_, since)| since.as_str()?.parse().ok()).collect()
    };
    let budgets = state.all("policy", "poddisruptionbudgets");
    let first = budgets.iter().flat_map(granted).min()?;
    first.checked_add(DISRUPTION_TIMEOUT).ok()
}

fn reconcile_one(state: &mut State, budget: &Arc<Value>) {
    let Some(ty) = state.resource_type("policy", "poddisruptionbudgets") else {
        return;
    };
    let selector = at(budget, &["spec", "selector"]).and_then(LabelSelector::from_object);
    let mut pods = state.all("", "pods");
    pods.retain(|pod| {
        namespace(pod) == namespace(budget) && selector.as_ref().is_some_and(|selector| selector.matches(&labels(pod)))
    });

    let (expected, desired) = expectation(state, budget, &pods);
    let disrupted = disrupted_pods(state.now, budget, &pods);
    let healthy = pods
        .iter()
        .filter(|pod| !is_terminating(pod) && !disrupted.contains_key(name(pod)) && is_ready(pod));
    let healthy = i64::try_from(healthy.count()).unwrap_or_default();
    let allowed = if expected > 0 { (healthy - desired).max(0) } else { 0 };

    let mut new = Value::clone(budget);
    let observed = integer(budget, &["metadata", "generation"]).unwrap_or(1);
    for (field, count) in [
        ("observedGeneration", observed),
        ("currentHealthy", healthy),
        ("desiredHealthy", desired),
        ("expectedPods", expected),
        ("disruptionsAllowed", allowed),
    ] {
        set(&mut new, &["status", field], Some(json!(count)));
    }
    set(
        &mut new,
        &["status", "disruptedPods"],
        (!disrupted.is_empty()).then_some(Value::Object(disrupted)),
    );
    set_allowed_condition(&mut new, allowed > 0, observed, state.now);
    update(state, &ty, new, "status");
}

fn set_allowed_condition(budget: &mut Value, allowed: bool, generation: i64, now: Timestamp) {
    let (status, reason) = if allowed {
        ("True", "SufficientPods")
    } else {
        ("False", "InsufficientPods")
    };
    crate::embedded::object::set_condition(budget, "DisruptionAllowed", status, reason, "", now);
    let conditions = budget.pointer_mut("/status/conditions").and_then(Value::as_array_mut);
    for condition in conditions.into_iter().flatten() {
        if text(condition, &["type"]) == "DisruptionAllowed" {
            // metav1.Condition requires the message, even when there is nothing to say.
            set(condition, &["message"], Some(json!("")));
            set(condition, &["observedGeneration"], Some(json!(generation)));
        }
    }
}

/// (expectedPods, desiredHealthy).
fn expectation(state: &State, budget: &Value, pods: &[Arc<Value>]) -> (i64, i64) {
    let count = i64::try_from(pods.len()).unwrap_or_default();
    if let Some(most) = at(budget, &["spec", "maxUnavailable"]) {
        let expected = expected_scale(state, pods);
        return (expected, (expected - scaled(most, expected)).max(0));
    }
    match at(budget, &["spec", "minAvailable"]) {
        Some(Value::Number(least)) => (count, least.as_i64().unwrap_or_default()),
        Some(least) => {
            let expected = expected_scale(state, pods);
            (expected, scaled(least, expected))
        }
        None => (0, 0),
    }
}

/// An integer, or a percentage of `total` rounded up.
fn scaled(value: &Value, total: i64) -> i64 {
    match value.as_str() {
        Some(text) => {
            let percent: i64 = text.trim_end_matches('%').parse().unwrap_or_default();
            let share = percent * total;
            share / 100 + i64::from(share % 100 > 0)
        }
        None => value.as_i64().unwrap_or_default(),
    }
}

/// The sum of the scales of the controllers of these pods; pods without a controller do not count.
fn expected_scale(state: &State, pods: &[Arc<Value>]) -> i64 {
    let mut scales: BTreeMap<String, i64> = BTreeMap::new();
    for pod in pods {
        if let Some((controller, scale)) = controller_of(pod).and_then(|owner| scale_of(state, owner, namespace(pod))) {
            scales.insert(controller, scale);
        }
    }
    scales.values().sum()
}

/// The uid and `spec.replicas` of a pod's controller; for a ReplicaSet of a Deployment, those of the Deployment.
fn scale_of(state: &State, owner: &Value, namespace: &str) -> Option<(String, i64)> {
    let api_version = text(owner, &["apiVersion"]);
    let group = api_version.split_once('/').map_or("", |(group, _)| group);
    let ty = state.type_of_kind(group, text(owner, &["kind"]))?;
    let found = state.get(&ty.id, &ObjectKey::new(namespace, name_of(owner)))?;
    if uid(&found) != text(owner, &["uid"]) {
        return None;
    }
    if ty.is("apps", "replicasets")
        && let Some(above) = controller_of(&found).filter(|above| text(above, &["kind"]) == "Deployment")
    {
        return scale_of(state, above, namespace);
    }
    let replicas = integer(&found, &["spec", "replicas"])?;
    Some((uid(&found).to_owned(), replicas))
}

fn name_of(reference: &Value) -> &str {
    text(reference, &["name"])
}

/// Granted evictions whose pod has not been seen to go yet.
fn disrupted_pods(now: Timestamp, budget: &Value, pods: &[Arc<Value>]) -> Map<String, Value> {
    pods.iter()
        .filter(|pod| !is_terminating(pod))
        .filter_map(|pod| {
            let since = time(budget, &["status", "disruptedPods", name(pod)])?;
            let pending = since.checked_add(DISRUPTION_TIMEOUT).is_ok_and(|end| end > now);
            let recorded = at(budget, &["status", "disruptedPods", name(pod)])?;
            pending.then(|| (name(pod).to_owned(), recorded.clone()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_round_up() {
        for (value, total, expected) in [
            (json!("50%"), 3, 2),
            (json!("0%"), 5, 0),
            (json!("100%"), 7, 7),
            (json!("34%"), 3, 2),
            (json!(2), 9, 2),
        ] {
            assert_eq!(scaled(&value, total), expected, "{value} of {total}");
        }
    }
}
