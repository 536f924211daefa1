//! Reading and writing Kubernetes objects kept as JSON. May hold: small accessors that know `metadata` and conditions.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

/// The value at a path of field names, if every step exists.
pub(super) fn at<'a>(object: &'a Value, path: &[&str]) -> Option<&'a Value> {
    path.iter().try_fold(object, |value, name| value.get(name))
}

/// The text at a path; empty when it is missing or not text.
pub(super) fn text<'a>(object: &'a Value, path: &[&str]) -> &'a str {
    at(object, path).and_then(Value::as_str).unwrap_or_default()
}

/// The integer at a path, if there is one.
pub(super) fn integer(object: &Value, path: &[&str]) -> Option<i64> {
    at(object, path).and_then(Value::as_i64)
}

/// The items at a path; none when it is missing or not a list.
pub(super) fn items<'a>(object: &'a Value, path: &[&str]) -> &'a [Value] {
    at(object, path)
        .and_then(Value::as_array)
        .map(Vec::as_slice)
        .unwrap_or_default()
}

/// The map at a path, made (along with its parents) when missing. None only where something else than a map is there.
pub(super) fn map_mut<'a>(object: &'a mut Value, path: &[&str]) -> Option<&'a mut Map<String, Value>> {
    let mut current = object.as_object_mut()?;
    for name in path {
        let next = current.entry((*name).to_owned()).or_insert_with(|| json!({}));
        if next.is_null() {
            *next = json!({});
        }
        current = next.as_object_mut()?;
    }
    Some(current)
}

/// Puts a value at a path; `None` removes what is there.
pub(super) fn set(object: &mut Value, path: &[&str], value: Option<Value>) {
    let Some((last, parents)) = path.split_last() else {
        return;
    };
    if value.is_none() && at(object, path).is_none() {
        return;
    }
    let Some(parent) = map_mut(object, parents) else {
        return;
    };
    match value {
        Some(value) => parent.insert((*last).to_owned(), value),
        None => parent.remove(*last),
    };
}

pub(super) fn name(object: &Value) -> &str {
    text(object, &["metadata", "name"])
}

pub(super) fn namespace(object: &Value) -> &str {
    text(object, &["metadata", "namespace"])
}

pub(super) fn uid(object: &Value) -> &str {
    text(object, &["metadata", "uid"])
}

pub(super) fn resource_version(object: &Value) -> &str {
    text(object, &["metadata", "resourceVersion"])
}

/// Whether the object waits for its finalizers or its grace period.
pub(super) fn is_terminating(object: &Value) -> bool {
    at(object, &["metadata", "deletionTimestamp"]).is_some_and(|at| !at.is_null())
}

/// Labels as plain text pairs.
pub(super) fn labels(object: &Value) -> BTreeMap<&str, &str> {
    string_map(at(object, &["metadata", "labels"]))
}

/// A JSON map as text pairs, leaving out what is not text.
pub(super) fn string_map(value: Option<&Value>) -> BTreeMap<&str, &str> {
    value
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .filter_map(|(key, value)| Some((key.as_str(), value.as_str()?)))
        .collect()
}

/// The owner reference with `controller: true`.
pub(super) fn controller_of(object: &Value) -> Option<&Value> {
    items(object, &["metadata", "ownerReferences"])
        .iter()
        .find(|owner| owner.get("controller").and_then(Value::as_bool) == Some(true))
}

/// A controlling owner reference to `owner`.
pub(super) fn controller_reference(owner: &Value, api_version: &str, kind: &str) -> Value {
    json!({
        "apiVersion": api_version, "kind": kind, "name": name(owner), "uid": uid(owner),
        "controller": true, "blockOwnerDeletion": true,
    })
}

/// The condition of this type.
pub(super) fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    items(object, &["status", "conditions"])
        .iter()
        .find(|condition| text(condition, &["type"]) == kind)
}

/// Whether the condition of this type has status `True`.
pub(super) fn condition_is_true(object: &Value, kind: &str) -> bool {
    condition(object, kind).is_some_and(|condition| text(condition, &["status"]) == "True")
}

/// Writes a condition; `lastTransitionTime` moves only when the status changes. Returns whether anything changed.
pub(super) fn set_condition(
    object: &mut Value,
    kind: &str,
    status: &str,
    reason: &str,
    message: &str,
    now: Timestamp,
) -> bool {
    let old = condition(object, kind).cloned();
    let same_status = old.as_ref().is_some_and(|old| text(old, &["status"]) == status);
    let mut new = old.clone().unwrap_or_else(|| json!({ "type": kind }));
    set(&mut new, &["status"], Some(json!(status)));
    set(&mut new, &["reason"], (!reason.is_empty()).then(|| json!(reason)));
    set(&mut new, &["message"], (!message.is_empty()).then(|| json!(message)));
    if !same_status {
        set(&mut new, &["lastTransitionTime"], Some(json!(rfc3339(now))));
    }
    if old.as_ref() == Some(&new) {
        return false;
    }
    let Some(status) = map_mut(object, &["status"]) else {
        return false;
    };
    let conditions = status.entry("conditions".to_owned()).or_insert_with(|| json!([]));
    if !conditions.is_array() {
        *conditions = json!([]);
    }
    if let Some(conditions) = conditions.as_array_mut() {
        match conditions
            .iter_mut()
            .find(|condition| text(condition, &["type"]) == kind)
        {
            Some(condition) => *condition = new,
            None => conditions.push(new),
        }
    }
    true
}

/// Whether the pod is Succeeded or Failed.
pub(super) fn is_terminal_pod(pod: &Value) -> bool {
    matches!(text(pod, &["status", "phase"]), "Succeeded" | "Failed")
}

/// A time as `metav1.Time` writes it: UTC, whole seconds.
pub(super) fn rfc3339(time: Timestamp) -> String {
    Timestamp::from_second(time.as_second()).unwrap_or(time).to_string()
}

/// The time at a path, if it is there and well formed.
pub(super) fn time(object: &Value, path: &[&str]) -> Option<Timestamp> {
    text(object, path).parse().ok()
}

/// Removes every null field of maps, as decoding into Go types does.
pub(super) fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, field| !field.is_null());
            map.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
