//! Subresources of pods that are not plain writes. May hold: eviction under disruption budgets, and binding.

use serde_json::{Value, json};

use super::apply::Writer;
use super::error::ApiError;
use super::lifecycle::{DeleteOptions, check_preconditions, delete, update};
use super::object::{
    at, condition, condition_is_true, integer, is_terminal_pod, is_terminating, items, labels, name, namespace,
    resource_version, rfc3339, set, set_condition, text, uid,
};
use super::resource::ResourceType;
use super::selectors::LabelSelector;
use super::store::{ObjectKey, State};

/// Evicts a pod if its disruption budget allows it, as `pods/{name}/eviction` does.
///
/// # Errors
///
/// 404 without the pod, 409 on a precondition, 429 with the cause `DisruptionBudget` when the budget forbids it, 500 when
/// more than one budget covers the pod.
pub(super) fn evict(state: &mut State, pods: &ResourceType, key: &ObjectKey, body: &Value) -> Result<(), ApiError> {
    let body_name = text(body, &["metadata", "name"]);
    if body_name != key.name {
        return Err(ApiError::bad_request(
            "name in URL does not match name in Eviction object",
        ));
    }
    let options = body
        .get("deleteOptions")
        .map(DeleteOptions::from_json)
        .unwrap_or_default();
    let pod = state.get(&pods.id, key).ok_or_else(|| pods.not_found(&key.name))?;

    // These pods disrupt nothing that still works, so no budget is asked.
    let ignores_budgets =
        is_terminal_pod(&pod) || text(&pod, &["status", "phase"]) == "Pending" || is_terminating(&pod);
    if !ignores_budgets {
        let pod_labels = labels(&pod);
        let covers = |budget: &Value| {
            namespace(budget) == namespace(&pod)
                && at(budget, &["spec", "selector"])
                    .and_then(LabelSelector::from_object)
                    .is_some_and(|selector| selector.matches(&pod_labels))
        };
        let mut budgets = state.all("policy", "poddisruptionbudgets");
        budgets.retain(|budget| covers(budget));
        match budgets.as_slice() {
            [] => {}
            [budget] => {
                check_preconditions(pods, &pod, &options)?;
                charge(state, budget, &pod)?;
            }
            _ => {
                let message =
                    "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.";
                return Err(ApiError::new(500, "", message));
            }
        }
    }
    mark_and_delete(state, pods, key, &pod, options)
}

/// Binds a pod to a node, as `pods/{name}/binding` does.
///
/// # Errors
///
/// 404 without the pod, 409 when it is bound already, terminating or not the pod that is meant.
pub(super) fn bind(state: &mut State, pods: &ResourceType, key: &ObjectKey, body: &Value) -> Result<(), ApiError> {
    let target = text(body, &["target", "name"]);
    if target.is_empty() || !matches!(text(body, &["target", "kind"]), "" | "Node") {
        return Err(ApiError::bad_request(
            "a Binding needs the target of kind Node and its name",
        ));
    }
    let pod = state.get(&pods.id, key).ok_or_else(|| pods.not_found(&key.name))?;
    let same = |wanted: &str, found: &str| wanted.is_empty() || wanted == found;
    if !same(uid(body), uid(&pod)) || !same(resource_version(body), resource_version(&pod)) {
        return Err(binding_conflict(
            &key.name,
            "the Binding is for another state of this pod",
        ));
    }
    if is_terminating(&pod) {
        let why = format!("pod {} is being deleted, cannot be assigned to a host", key.name);
        return Err(binding_conflict(&key.name, &why));
    }
    let bound = text(&pod, &["spec", "nodeName"]);
    if !bound.is_empty() {
        let why = format!("pod {} is already assigned to node {bound:?}", key.name);
        return Err(binding_conflict(&key.name, &why));
    }
    if !items(&pod, &["spec", "schedulingGates"]).is_empty() {
        let why = format!("pod {} has non-empty .spec.schedulingGates", key.name);
        return Err(binding_conflict(&key.name, &why));
    }
    let mut new = Value::clone(&pod);
    set(&mut new, &["spec", "nodeName"], Some(json!(target)));
    set_condition(&mut new, "PodScheduled", "True", "", "", state.now);
    state.put(&pods.id, new);
    Ok(())
}

fn binding_conflict(name: &str, why: &str) -> ApiError {
    ApiError::conflict("", "pods/binding", name, why)
}

/// Takes one disruption off a budget, or refuses.
fn charge(state: &mut State, budget: &Value, pod: &Value) -> Result<(), ApiError> {
    let status = |field: &str| integer(budget, &["status", field]).unwrap_or_default();
    if !condition_is_true(pod, "Ready") {
        let always = text(budget, &["spec", "unhealthyPodEvictionPolicy"]) == "AlwaysAllow";
        let healthy = status("currentHealthy") >= status("desiredHealthy") && status("desiredHealthy") > 0;
        if always || healthy {
            return Ok(());
        }
    }
    let generation = integer(budget, &["metadata", "generation"]).unwrap_or_default();
    if status("observedGeneration") < generation {
        let message = format!(
            "The disruption budget {} is still being processed by the server.",
            name(budget)
        );
        return Err(too_many_requests(10, &message));
    }
    let allowed = status("disruptionsAllowed");
    if allowed < 0 {
        let why = "pdb disruptions allowed is negative";
        return Err(ApiError::forbidden("policy", "poddisruptionbudget", name(budget), why));
    }
    if allowed == 0 {
        return Err(too_many_requests(
            0,
            &refusal(budget, status("currentHealthy"), status("desiredHealthy")),
        ));
    }
    let budgets = state
        .resource_type("policy", "poddisruptionbudgets")
        .ok_or_else(|| ApiError::internal("disruption budgets are not served"))?;
    let now = state.now;
    let mut new = budget.clone();
    set(&mut new, &["status", "disruptionsAllowed"], Some(json!(allowed - 1)));
    set(
        &mut new,
        &["status", "disruptedPods", name(pod)],
        Some(json!(rfc3339(now))),
    );
    if allowed == 1 {
        set_condition(&mut new, "DisruptionAllowed", "False", "InsufficientPods", "", now);
    }
    let writer = Writer {
        manager: "kube-apiserver".to_owned(),
        subresource: "status",
    };
    update(state, &budgets, "v1", &ObjectKey::of(budget), new, &writer, false)?;
    Ok(())
}

fn refusal(budget: &Value, current: i64, desired: i64) -> String {
    let name = name(budget);
    let blocked = condition(budget, "DisruptionAllowed")
        .filter(|condition| text(condition, &["status"]) == "False" && !text(condition, &["message"]).is_empty());
    let said = |field: &str| blocked.map_or("", |condition| text(condition, &[field]));
    if said("reason") == "SyncFailed" {
        let why = said("message");
        return format!(
            "The disruption budget {name} does not allow evicting pods currently because it failed sync: {why}"
        );
    }
    if current <= desired {
        return format!("The disruption budget {name} needs {desired} healthy pods and has {current} currently");
    }
    if blocked.is_some() {
        let (reason, why) = (said("reason"), said("message"));
        return format!("The disruption budget {name} does not allow evicting pods currently ({reason}): {why}");
    }
    format!("The disruption budget {name} does not allow evicting pods currently")
}

fn too_many_requests(retry_after_seconds: u32, cause: &str) -> ApiError {
    let mut details = json!({ "causes": [{ "reason": "DisruptionBudget", "message": cause }] });
    if retry_after_seconds > 0 {
        set(&mut details, &["retryAfterSeconds"], Some(json!(retry_after_seconds)));
    }
    let message = "Cannot evict pod as it would violate the pod's disruption budget.";
    ApiError::new(429, "TooManyRequests", message).with_details(details)
}

/// Marks the pod as disrupted by an eviction and deletes it.
fn mark_and_delete(
    state: &mut State,
    pods: &ResourceType,
    key: &ObjectKey,
    pod: &Value,
    mut options: DeleteOptions,
) -> Result<(), ApiError> {
    check_preconditions(pods, pod, &options)?;
    let now = state.now;
    let mut marked = pod.clone();
    if set_condition(
        &mut marked,
        "DisruptionTarget",
        "True",
        "EvictionByEvictionAPI",
        "Eviction API: evicting",
        now,
    ) {
        state.put(&pods.id, marked);
    }
    // The mark moved the resourceVersion on.
    options.resource_version = None;
    delete(state, pods, key, &options)?;
    Ok(())
}
