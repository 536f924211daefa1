//! Paths that describe the server. May hold: version, health and API discovery documents.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::object::set;
use super::resource::ResourceType;
use super::store::State;

/// The document at a path that is not a resource's, if there is one.
pub(super) fn document(state: &State, segments: &[&str]) -> Option<Value> {
    match segments {
        ["version"] => Some(json!({
            "major": "1", "minor": "36", "gitVersion": "v1.36.0-embedded", "gitCommit": "", "gitTreeState": "clean",
            "buildDate": "1970-01-01T00:00:00Z", "goVersion": "", "compiler": "", "platform": "",
        })),
        ["api"] => Some(json!({ "kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": [] })),
        ["api", "v1"] => Some(resources(state, "", "v1")),
        ["apis"] => {
            let groups: Vec<Value> = groups(state)
                .iter()
                .map(|(group, versions)| group_document(group, versions))
                .collect();
            Some(json!({ "kind": "APIGroupList", "apiVersion": "v1", "groups": groups }))
        }
        ["apis", group] => {
            let groups = groups(state);
            let mut document = group_document(group, groups.get(*group)?);
            set(&mut document, &["kind"], Some(json!("APIGroup")));
            set(&mut document, &["apiVersion"], Some(json!("v1")));
            Some(document)
        }
        ["apis", group, version] => groups(state)
            .get(*group)?
            .contains(*version)
            .then(|| resources(state, group, version)),
        _ => None,
    }
}

fn groups(state: &State) -> BTreeMap<String, BTreeSet<String>> {
    let mut groups: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for ty in state.types().filter(|ty| !ty.id.group.is_empty()) {
        let served = ty
            .versions
            .iter()
            .filter(|version| version.served)
            .map(|version| version.name.clone());
        groups.entry(ty.id.group.clone()).or_default().extend(served);
    }
    groups
}

fn group_document(group: &str, versions: &BTreeSet<String>) -> Value {
    let versions: Vec<Value> = versions
        .iter()
        .map(|version| json!({ "groupVersion": format!("{group}/{version}"), "version": version }))
        .collect();
    json!({ "name": group, "preferredVersion": versions.last(), "versions": versions })
}

fn resources(state: &State, group: &str, version: &str) -> Value {
    let served = state
        .types()
        .filter(|ty| ty.id.group == group && ty.version(version).is_some());
    let resources: Vec<Value> = served.flat_map(|ty| rows(ty)).collect();
    let group_version = if group.is_empty() {
        version.to_owned()
    } else {
        format!("{group}/{version}")
    };
    json!({ "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": resources })
}

fn rows(ty: &ResourceType) -> Vec<Value> {
    let row = |subresource: &str, kind: &str, verbs: &[&str]| {
        json!({
            "name": format!("{}{subresource}", ty.id.resource),
            "singularName": if subresource.is_empty() { ty.singular.as_str() } else { "" },
            "namespaced": ty.namespaced,
            "kind": kind,
            "verbs": verbs,
            "shortNames": ty.short_names,
        })
    };
    let all = [
        "create",
        "delete",
        "deletecollection",
        "get",
        "list",
        "patch",
        "update",
        "watch",
    ];
    let mut rows = vec![row("", &ty.kind, &all)];
    if ty.has_status {
        rows.push(row("/status", &ty.kind, &["get", "patch", "update"]));
    }
    if ty.is("", "pods") {
        rows.push(row("/binding", "Binding", &["create"]));
        rows.push(row("/eviction", "Eviction", &["create"]));
    }
    rows
}
