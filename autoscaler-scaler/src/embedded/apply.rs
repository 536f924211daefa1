//! Field ownership and server-side apply. May hold: `metadata.managedFields`, conflicts, the merge of an applied
//! configuration.
//!
//! Ownership is kept per leaf field. A manager that applies owns the fields of its configuration; one that creates,
//! replaces or patches owns what it changed. A field that an applier no longer names and nobody else owns is removed.

use serde_json::{Value, json};

use super::error::ApiError;
use super::fields::{FieldSet, Leaves, Path, Step, display, leaves, remove_path};
use super::lists::{ListKind, Lists, item_key};
use super::object::{items, rfc3339, set, text};
use jiff::Timestamp;

/// Who writes, and through which door.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Writer {
    /// `fieldManager`, or what the user agent says.
    pub(super) manager: String,
    /// `status`, or empty for the object itself.
    pub(super) subresource: &'static str,
}

/// One entry of `metadata.managedFields`.
#[derive(Debug, Clone, PartialEq)]
struct Entry {
    writer: (String, String),
    is_apply: bool,
    api_version: String,
    time: String,
    fields: FieldSet,
}

/// Records that a writer changed `old` (none: created) to `new` by something else than apply.
pub(super) fn track_update(
    old: Option<&Value>,
    new: &mut Value,
    writer: &Writer,
    api_version: &str,
    lists: &Lists,
    now: Timestamp,
) {
    let mut entries = old.map(read_entries).unwrap_or_default();
    let before = old.map(|old| leaves(old, lists)).unwrap_or_default();
    let after = leaves(new, lists);
    let changed = difference(&after, &before);
    let kept = |path: &Path| after.contains_key(path);
    for entry in &mut entries {
        entry.fields.0.retain(|path| kept(path) && !changed.0.contains(path));
    }
    if !changed.0.is_empty() {
        let mut entry = take_entry(&mut entries, writer, false, api_version, now);
        entry.fields.0.extend(changed.0);
        entries.push(entry);
    }
    write_entries(new, entries);
}

/// The object that results from applying `config` to `live` (none: create), ownership included.
///
/// # Errors
///
/// 409 with one `FieldManagerConflict` cause per field that another manager owns with a different value, unless `force`.
pub(super) fn apply(
    live: Option<&Value>,
    config: &Value,
    writer: &Writer,
    api_version: &str,
    force: bool,
    lists: &Lists,
    now: Timestamp,
) -> Result<Value, ApiError> {
    let wanted = leaves(config, lists);
    let mut entries = live.map(read_entries).unwrap_or_default();
    let current = live.map(|live| leaves(live, lists)).unwrap_or_default();

    let mut conflicts: Vec<(String, Path)> = Vec::new();
    for entry in &mut entries {
        if entry.is_apply && entry.is_of(writer) {
            continue;
        }
        let differs = |path: &Path| wanted.get(path).is_some_and(|value| current.get(path) != Some(value));
        conflicts.extend(
            entry
                .fields
                .0
                .iter()
                .filter(|path| differs(path))
                .map(|path| (entry.writer.0.clone(), path.clone())),
        );
        entry.fields.0.retain(|path| !differs(path));
    }
    if !force && !conflicts.is_empty() {
        return Err(conflict(&conflicts));
    }

    let mut merged = live.cloned().unwrap_or_else(|| json!({}));
    merge(&mut merged, config, lists, &mut Path::new());

    let new_fields = FieldSet(wanted.keys().cloned().collect());
    let mut entry = take_entry(&mut entries, writer, true, api_version, now);
    let given_up: Vec<Path> = entry.fields.0.difference(&new_fields.0).cloned().collect();
    entry.fields = new_fields;
    entries.push(entry);
    // A list item comes before its parts, so that it goes as a whole when nobody else has a part of it.
    for path in &given_up {
        if !is_key_field(path) && !entries.iter().any(|entry| entry.fields.reaches(path)) {
            remove_path(&mut merged, path, lists);
        }
    }
    write_entries(&mut merged, entries);
    Ok(merged)
}

/// Copies the times of entries that did not change from the old object, so that a write that changes nothing is seen
/// as one.
pub(super) fn settle_times(old: &Value, new: &mut Value) {
    let before = read_entries(old);
    let mut entries = read_entries(new);
    for entry in &mut entries {
        let same =
            |old: &&Entry| old.writer == entry.writer && old.is_apply == entry.is_apply && old.fields == entry.fields;
        if let Some(old) = before.iter().find(same) {
            entry.time.clone_from(&old.time);
        }
    }
    write_entries(new, entries);
}

impl Entry {
    fn is_of(&self, writer: &Writer) -> bool {
        self.writer.0 == writer.manager && self.writer.1 == writer.subresource
    }
}

/// Takes out the entry of this writer and kind of write, or makes it; the caller puts it back.
fn take_entry(entries: &mut Vec<Entry>, writer: &Writer, is_apply: bool, api_version: &str, now: Timestamp) -> Entry {
    let index = entries
        .iter()
        .position(|entry| entry.is_apply == is_apply && entry.is_of(writer));
    let fields = index.map(|index| entries.remove(index).fields).unwrap_or_default();
    Entry {
        writer: (writer.manager.clone(), writer.subresource.to_owned()),
        is_apply,
        api_version: api_version.to_owned(),
        time: rfc3339(now),
        fields,
    }
}

/// Whether the path is a field that tells a list item from others: it stays as long as the item does.
fn is_key_field(path: &[Step]) -> bool {
    let [.., Step::Key(key), Step::Field(name)] = path else {
        return false;
    };
    serde_json::from_str::<Value>(key).is_ok_and(|key| key.get(name).is_some())
}

fn difference(after: &Leaves<'_>, before: &Leaves<'_>) -> FieldSet {
    let changed = after.iter().filter(|(path, value)| before.get(*path) != Some(value));
    FieldSet(changed.map(|(path, _)| path.clone()).collect())
}

fn merge(live: &mut Value, config: &Value, lists: &Lists, path: &mut Path) {
    match (live, config) {
        (Value::Object(live), Value::Object(config)) if !lists.atomic_map(path) => {
            for (name, value) in config {
                path.push(Step::Field(name.clone()));
                match live.get_mut(name) {
                    Some(current) => merge(current, value, lists, path),
                    None => {
                        live.insert(name.clone(), value.clone());
                    }
                }
                path.pop();
            }
        }
        (Value::Array(live), Value::Array(config)) => match lists.list(path) {
            ListKind::Atomic => live.clone_from(config),
            ListKind::Set => {
                let new: Vec<Value> = config.iter().filter(|item| !live.contains(item)).cloned().collect();
                live.extend(new);
            }
            ListKind::Map(keys) => {
                for item in config {
                    let key = item_key(item, &keys);
                    match live.iter_mut().find(|current| item_key(current, &keys) == key) {
                        Some(current) => {
                            path.push(Step::Key(key));
                            merge(current, item, lists, path);
                            path.pop();
                        }
                        None => live.push(item.clone()),
                    }
                }
            }
        },
        (live, config) => live.clone_from(config),
    }
}

fn conflict(conflicts: &[(String, Path)]) -> ApiError {
    let causes: Vec<Value> = conflicts
        .iter()
        .map(|(manager, path)| {
            json!({
                "reason": "FieldManagerConflict",
                "message": format!("conflict with {manager:?}"),
                "field": display(path),
            })
        })
        .collect();
    let message = match conflicts {
        [(manager, path)] => {
            format!(
                "Apply failed with 1 conflict: conflict with {manager:?}: {}",
                display(path)
            )
        }
        many => {
            let lines: Vec<String> = many
                .iter()
                .map(|(manager, path)| format!("conflict with {manager:?}: {}", display(path)))
                .collect();
            format!("Apply failed with {} conflicts: {}", many.len(), lines.join("\n- "))
        }
    };
    ApiError::new(409, "Conflict", message).with_details(json!({ "causes": causes }))
}

fn read_entries(object: &Value) -> Vec<Entry> {
    items(object, &["metadata", "managedFields"])
        .iter()
        .map(|entry| Entry {
            writer: (
                text(entry, &["manager"]).to_owned(),
                text(entry, &["subresource"]).to_owned(),
            ),
            is_apply: text(entry, &["operation"]) == "Apply",
            api_version: text(entry, &["apiVersion"]).to_owned(),
            time: text(entry, &["time"]).to_owned(),
            fields: entry.get("fieldsV1").map(FieldSet::decode).unwrap_or_default(),
        })
        .collect()
}

fn write_entries(object: &mut Value, mut entries: Vec<Entry>) {
    entries.retain(|entry| !entry.fields.0.is_empty());
    entries.sort_by(|a, b| (!a.is_apply, &a.writer).cmp(&(!b.is_apply, &b.writer)));
    let entries: Vec<Value> = entries
        .iter()
        .map(|entry| {
            let mut json = json!({
                "manager": entry.writer.0,
                "operation": if entry.is_apply { "Apply" } else { "Update" },
                "apiVersion": entry.api_version,
                "time": entry.time,
                "fieldsType": "FieldsV1",
                "fieldsV1": entry.fields.encode(),
            });
            if !entry.writer.1.is_empty() {
                set(&mut json, &["subresource"], Some(json!(entry.writer.1)));
            }
            json
        })
        .collect();
    set(
        object,
        &["metadata", "managedFields"],
        (!entries.is_empty()).then_some(Value::Array(entries)),
    );
}
