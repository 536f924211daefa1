//! Sets of field paths and their `FieldsV1` form. May hold: what `metadata.managedFields` needs, and no policy.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::lists::{ListKind, Lists, item_key};

/// One step from a value to a part of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Step {
    /// A field of a map.
    Field(String),
    /// The item of a list whose key fields are these (canonical JSON).
    Key(String),
    /// The item of a set (JSON of the value).
    Value(String),
}

pub(super) type Path = Vec<Step>;

/// The leaf fields that a manager owns.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct FieldSet(pub(super) BTreeSet<Path>);

/// What is at a leaf path: a value, or only that an item is a member of its list.
pub(super) type Leaves<'a> = BTreeMap<Path, Option<&'a Value>>;

/// The leaf paths of an object that can be owned. The fields that the server keeps itself are left out.
pub(super) fn leaves<'a>(object: &'a Value, lists: &Lists) -> Leaves<'a> {
    let mut found = Leaves::new();
    collect(object, lists, &mut Path::new(), &mut found);
    found.retain(|path, _| !is_server_field(path));
    found
}

fn is_server_field(path: &[Step]) -> bool {
    match path {
        [Step::Field(root)] => matches!(root.as_str(), "apiVersion" | "kind" | "metadata"),
        [Step::Field(root), Step::Field(field), ..] if root == "metadata" => !matches!(
            field.as_str(),
            "labels" | "annotations" | "finalizers" | "ownerReferences"
        ),
        _ => false,
    }
}

fn collect<'a>(value: &'a Value, lists: &Lists, path: &mut Path, found: &mut Leaves<'a>) {
    match value {
        Value::Object(map) if !map.is_empty() && !lists.atomic_map(path) => {
            for (name, field) in map {
                path.push(Step::Field(name.clone()));
                collect(field, lists, path, found);
                path.pop();
            }
        }
        Value::Array(items) => match lists.list(path) {
            ListKind::Atomic => {
                found.insert(path.clone(), Some(value));
            }
            ListKind::Set => {
                for item in items {
                    path.push(Step::Value(item.to_string()));
                    found.insert(path.clone(), None);
                    path.pop();
                }
            }
            ListKind::Map(keys) => {
                for item in items {
                    path.push(Step::Key(item_key(item, &keys)));
                    found.insert(path.clone(), None);
                    collect(item, lists, path, found);
                    path.pop();
                }
            }
        },
        _ => {
            found.insert(path.clone(), Some(value));
        }
    }
}

/// Removes what a path names, if it is there. Maps and lists that become empty by it go too.
pub(super) fn remove_path(value: &mut Value, path: &[Step], lists: &Lists) {
    remove_below(value, path, lists, &mut Path::new());
}

fn remove_below(value: &mut Value, path: &[Step], lists: &Lists, walked: &mut Path) {
    let Some((step, rest)) = path.split_first() else {
        return;
    };
    match (step, value) {
        (Step::Field(name), Value::Object(map)) => {
            if rest.is_empty() {
                map.remove(name);
            } else if let Some(field) = map.get_mut(name) {
                walked.push(step.clone());
                remove_below(field, rest, lists, walked);
                walked.pop();
                let is_empty =
                    field.as_object().is_some_and(Map::is_empty) || field.as_array().is_some_and(Vec::is_empty);
                if is_empty {
                    map.remove(name);
                }
            }
        }
        (Step::Value(wanted), Value::Array(items)) => {
            items.retain(|item| {
                let value = item.to_string();
                &value != wanted
            });
        }
        (Step::Key(wanted), Value::Array(items)) => {
            let ListKind::Map(keys) = lists.list(walked) else {
                return;
            };
            let Some(index) = items.iter().position(|item| item_key(item, &keys) == *wanted) else {
                return;
            };
            if rest.is_empty() {
                items.remove(index);
            } else if let Some(item) = items.get_mut(index) {
                walked.push(step.clone());
                remove_below(item, rest, lists, walked);
                walked.pop();
            }
        }
        _ => {}
    }
}

/// A path as messages print it: `.spec.template` or `.status.conditions[type="Ready"].status`.
pub(super) fn display(path: &[Step]) -> String {
    let mut text = String::new();
    for step in path {
        match step {
            Step::Field(name) => {
                text.push('.');
                text.push_str(name);
            }
            Step::Value(value) => text.push_str(&format!("[={value}]")),
            Step::Key(key) => {
                let fields: Map<String, Value> = serde_json::from_str(key).unwrap_or_default();
                let fields: Vec<String> = fields.iter().map(|(name, value)| format!("{name}={value}")).collect();
                text.push_str(&format!("[{}]", fields.join(",")));
            }
        }
    }
    text
}

impl FieldSet {
    /// The set in `FieldsV1` form.
    pub(super) fn encode(&self) -> Value {
        let mut root = Map::new();
        for path in &self.0 {
            let mut node = &mut root;
            for step in path {
                let name = match step {
                    Step::Field(name) => format!("f:{name}"),
                    Step::Key(key) => format!("k:{key}"),
                    Step::Value(value) => format!("v:{value}"),
                };
                let child = node.entry(name).or_insert_with(|| json!({}));
                let Some(map) = child.as_object_mut() else {
                    return json!({});
                };
                node = map;
            }
            // Shorter paths come first, so a node that is a member itself and has parts is marked on its way here.
            if matches!(path.last(), Some(Step::Key(_))) {
                node.insert(".".to_owned(), json!({}));
            }
        }
        Value::Object(root)
    }

    /// Reads the `FieldsV1` form.
    pub(super) fn decode(fields: &Value) -> Self {
        let mut set = Self::default();
        set.decode_below(fields, &mut Path::new());
        set
    }

    fn decode_below(&mut self, node: &Value, path: &mut Path) {
        let Some(map) = node.as_object() else { return };
        if map.is_empty() && !path.is_empty() {
            self.0.insert(path.clone());
        }
        for (name, child) in map {
            let step = match name.split_once(':') {
                Some(("f", name)) => Step::Field(name.to_owned()),
                Some(("k", key)) => Step::Key(key.to_owned()),
                Some(("v", value)) => Step::Value(value.to_owned()),
                _ => {
                    if name == "." {
                        self.0.insert(path.clone());
                    }
                    continue;
                }
            };
            path.push(step);
            self.decode_below(child, path);
            path.pop();
        }
    }

    /// Whether a path of the set is this one or below it.
    pub(super) fn reaches(&self, path: &[Step]) -> bool {
        self.0
            .range(path.to_vec()..)
            .next()
            .is_some_and(|first| first.starts_with(path))
    }
}
