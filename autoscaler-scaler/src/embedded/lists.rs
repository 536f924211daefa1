//! How lists and maps merge. May hold: the table for built-in resources, as in the Go types' `listType`, `mapType` and
//! `patchMergeKey` markers, and the reading of a custom resource's schema.
//!
//! Lists that merge by key: `status.conditions` (type), `ownerReferences` (uid), containers, volumes,
//! `imagePullSecrets`, `schedulingGates`, `env`, CSI `drivers` (name), `volumeMounts`, `volumeDevices`, `ports`,
//! `topologySpreadConstraints`, `hostAliases`, `podIPs`, `addresses`. Sets: `finalizers`, `podCIDRs`. Every other list,
//! `spec.taints` and `spec.tolerations` among them, is replaced as a whole, as the real server does.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::fields::Step;

/// How two versions of a list are merged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ListKind {
    /// Replaced as a whole.
    Atomic,
    /// A set of plain values.
    Set,
    /// Items are told apart by these fields; strategic merge uses the first of them.
    Map(Vec<String>),
}

/// The merge rules of one resource.
#[derive(Debug, Clone)]
pub(super) enum Lists {
    BuiltIn,
    Schema(Arc<Value>),
}

impl Lists {
    /// How the list at this path merges.
    pub(super) fn list(&self, path: &[Step]) -> ListKind {
        match (self, path.first()) {
            (Self::BuiltIn, _) => built_in_list(path),
            (Self::Schema(_), Some(Step::Field(root))) if root == "metadata" => built_in_list(path),
            (Self::Schema(schema), _) => schema_at(schema, path).map_or(ListKind::Atomic, schema_list),
        }
    }

    /// Whether the map at this path is replaced as a whole.
    pub(super) fn atomic_map(&self, path: &[Step]) -> bool {
        match self {
            Self::BuiltIn => match path.last() {
                Some(Step::Field(name)) => ATOMIC_MAPS.contains(&name.as_str()),
                _ => false,
            },
            Self::Schema(schema) => schema_at(schema, path)
                .is_some_and(|schema| schema.get("x-kubernetes-map-type").and_then(Value::as_str) == Some("atomic")),
        }
    }
}

/// What tells one item of a `ListKind::Map` list from the others, as canonical JSON.
pub(super) fn item_key(item: &Value, keys: &[String]) -> String {
    let key: Map<String, Value> = keys
        .iter()
        .filter_map(|key| {
            let default = || (key == "protocol").then(|| json!("TCP"));
            Some((key.clone(), item.get(key).cloned().or_else(default)?))
        })
        .collect();
    Value::Object(key).to_string()
}

/// Maps of built-in types that are `mapType=atomic`.
const ATOMIC_MAPS: &[&str] = &[
    "nodeSelector",
    "selector",
    "labelSelector",
    "namespaceSelector",
    "podSelector",
    "involvedObject",
    "regarding",
    "related",
    "claimRef",
    "configMapKeyRef",
    "secretKeyRef",
    "fieldRef",
    "resourceFieldRef",
];

fn built_in_list(path: &[Step]) -> ListKind {
    let field = |back: usize| match path.len().checked_sub(back + 1).and_then(|index| path.get(index)) {
        Some(Step::Field(name)) => name.as_str(),
        _ => "",
    };
    let keys: &[&str] = match (field(1), field(0)) {
        ("metadata", "finalizers") | (_, "podCIDRs") => return ListKind::Set,
        ("metadata", "ownerReferences") => &["uid"],
        (_, "conditions" | "addresses") => &["type"],
        ("spec", "ports") => &["port", "protocol"],
        (_, "ports") => &["containerPort", "protocol"],
        (_, "containers" | "initContainers" | "ephemeralContainers" | "volumes" | "env") => &["name"],
        (_, "imagePullSecrets" | "schedulingGates" | "resourceClaims" | "drivers") => &["name"],
        ("", "secrets") => &["name"],
        (_, "volumeMounts") => &["mountPath"],
        (_, "volumeDevices") => &["devicePath"],
        (_, "topologySpreadConstraints") => &["topologyKey", "whenUnsatisfiable"],
        (_, "hostAliases" | "podIPs") => &["ip"],
        _ => return ListKind::Atomic,
    };
    ListKind::Map(keys.iter().map(|key| (*key).to_owned()).collect())
}

fn schema_list(schema: &Value) -> ListKind {
    match schema.get("x-kubernetes-list-type").and_then(Value::as_str) {
        Some("set") => ListKind::Set,
        Some("map") => ListKind::Map(
            schema
                .get("x-kubernetes-list-map-keys")
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
                .filter_map(|key| key.as_str().map(str::to_owned))
                .collect(),
        ),
        Some(_) | None => ListKind::Atomic,
    }
}

fn schema_at<'a>(schema: &'a Value, path: &[Step]) -> Option<&'a Value> {
    path.iter().try_fold(schema, |schema, step| match step {
        Step::Field(name) => schema
            .get("properties")
            .and_then(|properties| properties.get(name))
            .or_else(|| {
                schema
                    .get("additionalProperties")
                    .filter(|additional| additional.is_object())
            }),
        Step::Key(_) | Step::Value(_) => schema.get("items"),
    })
}
