//! Merge patch (RFC 7386), JSON patch (RFC 6902) and strategic merge patch. May hold: pure functions on JSON.
//!
//! Strategic merge knows the lists of [`super::lists`] and the directives `$patch: delete|replace|merge`,
//! `$deleteFromPrimitiveList/...` and `$retainKeys`; `$setElementOrder/...` is accepted and does not reorder.

use serde_json::{Map, Value, json};

use super::error::ApiError;
use super::fields::{Path, Step};
use super::lists::{ListKind, Lists};

/// Applies a merge patch.
pub(super) fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        target.clone_from(patch);
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    let Some(target) = target.as_object_mut() else {
        return;
    };
    for (name, value) in patch {
        if value.is_null() {
            target.remove(name);
        } else {
            merge(target.entry(name.clone()).or_insert(Value::Null), value);
        }
    }
}

/// Applies a JSON patch. All or nothing: on an error the caller throws the target away.
///
/// # Errors
///
/// 400 for a malformed patch, 422 when a path is missing or a `test` fails, as the real server answers.
pub(super) fn json_patch(target: &mut Value, patch: &Value) -> Result<(), ApiError> {
    let operations = patch
        .as_array()
        .ok_or_else(|| ApiError::bad_request("a JSON patch is a list of operations"))?;
    for operation in operations {
        one_operation(target, operation)?;
    }
    Ok(())
}

fn one_operation(target: &mut Value, operation: &Value) -> Result<(), ApiError> {
    let field = |name: &str| operation.get(name).and_then(Value::as_str);
    let required = |name: &str| {
        field(name).ok_or_else(|| ApiError::bad_request(format!("JSON patch operation lacks {name:?}: {operation}")))
    };
    let value = || {
        operation
            .get("value")
            .cloned()
            .ok_or_else(|| ApiError::bad_request(format!("JSON patch operation lacks \"value\": {operation}")))
    };
    let missing = |path: &str| unprocessable(&format!("the JSON patch path {path:?} does not exist"));
    let path = required("path")?;
    match required("op")? {
        "add" => add(target, path, value()?),
        "remove" => take(target, path).map(drop),
        "replace" => {
            *target.pointer_mut(path).ok_or_else(|| missing(path))? = value()?;
            Ok(())
        }
        "move" => {
            let moved = take(target, required("from")?)?;
            add(target, path, moved)
        }
        "copy" => {
            let from = required("from")?;
            let copied = target.pointer(from).cloned().ok_or_else(|| missing(from))?;
            add(target, path, copied)
        }
        "test" => {
            if target.pointer(path) == Some(&value()?) {
                Ok(())
            } else {
                Err(unprocessable(&format!("testing value {path} failed")))
            }
        }
        other => Err(ApiError::bad_request(format!("unknown JSON patch operation {other:?}"))),
    }
}

fn add(target: &mut Value, path: &str, value: Value) -> Result<(), ApiError> {
    if path.is_empty() {
        *target = value;
        return Ok(());
    }
    let missing = || unprocessable(&format!("the parent of the JSON patch path {path:?} does not exist"));
    let (parent, last) = path.rsplit_once('/').ok_or_else(missing)?;
    match target.pointer_mut(parent).ok_or_else(missing)? {
        Value::Object(map) => {
            map.insert(unescape(last), value);
            Ok(())
        }
        Value::Array(items) if last == "-" => {
            items.push(value);
            Ok(())
        }
        Value::Array(items) => match last.parse::<usize>() {
            Ok(index) if index <= items.len() => {
                items.insert(index, value);
                Ok(())
            }
            Ok(_) | Err(_) => Err(missing()),
        },
        _ => Err(missing()),
    }
}

fn take(target: &mut Value, path: &str) -> Result<Value, ApiError> {
    let missing = || unprocessable(&format!("the JSON patch path {path:?} does not exist"));
    let (parent, last) = path.rsplit_once('/').ok_or_else(missing)?;
    match target.pointer_mut(parent).ok_or_else(missing)? {
        Value::Object(map) => map.remove(&unescape(last)).ok_or_else(missing),
        Value::Array(items) => match last.parse::<usize>() {
            Ok(index) if index < items.len() => Ok(items.remove(index)),
            Ok(_) | Err(_) => Err(missing()),
        },
        _ => Err(missing()),
    }
}

fn unescape(token: &str) -> String {
    token.replace("~1", "/").replace("~0", "~")
}

fn unprocessable(message: &str) -> ApiError {
    ApiError::new(
        422,
        "Invalid",
        format!("the server rejected our request due to an error in our request: {message}"),
    )
}

/// Applies a strategic merge patch to a built-in object.
pub(super) fn strategic(target: &mut Value, patch: &Value) {
    strategic_at(target, patch, &mut Path::new());
}

fn strategic_at(target: &mut Value, patch: &Value, path: &mut Path) {
    let Value::Object(patch) = patch else {
        target.clone_from(patch);
        return;
    };
    match patch.get("$patch").and_then(Value::as_str) {
        Some("replace") => {
            let replacement = patch.iter().filter(|(name, _)| !name.starts_with('$'));
            *target = Value::Object(replacement.map(|(name, value)| (name.clone(), value.clone())).collect());
            return;
        }
        Some("delete") => {
            *target = json!({});
            return;
        }
        Some(_) | None => {}
    }
    if !target.is_object() {
        *target = json!({});
    }
    let Some(target) = target.as_object_mut() else {
        return;
    };
    if let Some(kept) = patch.get("$retainKeys").and_then(Value::as_array) {
        target.retain(|name, _| kept.iter().any(|kept| kept.as_str() == Some(name)));
    }
    for (name, value) in patch {
        if let Some(list) = name.strip_prefix("$deleteFromPrimitiveList/") {
            let unwanted = value.as_array().map(Vec::as_slice).unwrap_or_default();
            if let Some(items) = target.get_mut(list).and_then(Value::as_array_mut) {
                items.retain(|item| !unwanted.contains(item));
            }
        } else if !name.starts_with('$') {
            path.push(Step::Field(name.clone()));
            strategic_field(target, name, value, path);
            path.pop();
        }
    }
}

fn strategic_field(target: &mut Map<String, Value>, name: &str, value: &Value, path: &mut Path) {
    match value {
        Value::Null => {
            target.remove(name);
        }
        Value::Object(_) => strategic_at(target.entry(name.to_owned()).or_insert(Value::Null), value, path),
        Value::Array(items) => {
            let kind = Lists::BuiltIn.list(path);
            let current = target.entry(name.to_owned()).or_insert_with(|| json!([]));
            match (current, kind) {
                (Value::Array(current), ListKind::Map(keys)) => {
                    merge_items(current, items, keys.first(), path);
                }
                (Value::Array(current), ListKind::Set) => {
                    let new: Vec<Value> = items.iter().filter(|item| !current.contains(item)).cloned().collect();
                    current.extend(new);
                }
                (current, _) => current.clone_from(value),
            }
        }
        Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            target.insert(name.to_owned(), value.clone());
        }
    }
}

/// Merges list items by their first key field.
fn merge_items(current: &mut Vec<Value>, items: &[Value], key: Option<&String>, path: &mut Path) {
    let Some(key) = key else { return };
    let directive = |item: &Value| item.get("$patch").and_then(Value::as_str).map(str::to_owned);
    if items.iter().any(|item| directive(item).as_deref() == Some("replace")) {
        *current = items.iter().filter(|item| directive(item).is_none()).cloned().collect();
        return;
    }
    for item in items {
        let id = item.get(key);
        if directive(item).as_deref() == Some("delete") {
            current.retain(|existing| existing.get(key) != id);
            continue;
        }
        match current.iter_mut().find(|existing| existing.get(key) == id) {
            Some(existing) => {
                path.push(Step::Key(String::new()));
                strategic_at(existing, item, path);
                path.pop();
            }
            None => current.push(item.clone()),
        }
    }
}
