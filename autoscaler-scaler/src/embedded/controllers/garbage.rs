//! Garbage collection. May hold: the end of objects whose owners are gone, the finalizers of foreground and orphaning
//! deletions, and the emptying of namespaces.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Value, json};

use super::{delete, update};
use crate::embedded::lifecycle::{DeleteOptions, FOREGROUND, ORPHAN};
use crate::embedded::object::{is_terminating, items, name, namespace, set, text, uid};
use crate::embedded::resource::{GroupResource, ResourceType};
use crate::embedded::store::State;

pub(super) fn reconcile(state: &mut State) {
    finish_deletions(state);
    collect_dependents(state);
    empty_namespaces(state);
}

/// Deletes every object all of whose owners are gone.
fn collect_dependents(state: &mut State) {
    let living: BTreeSet<String> = state.everything().map(|(_, object)| uid(object).to_owned()).collect();
    let exists = |state: &State, owner: &Value| {
        let group = text(owner, &["apiVersion"])
            .split_once('/')
            .map_or("", |(group, _)| group);
        // Nothing is known about owners of a kind that is not served.
        state.type_of_kind(group, text(owner, &["kind"])).is_none() || living.contains(text(owner, &["uid"]))
    };
    let orphans: Vec<(GroupResource, Arc<Value>)> = state
        .everything()
        .filter(|(_, object)| {
            let owners = items(object, &["metadata", "ownerReferences"]);
            !owners.is_empty() && !is_terminating(object) && !owners.iter().any(|owner| exists(state, owner))
        })
        .map(|(resource, object)| (resource.clone(), Arc::clone(object)))
        .collect();
    for (resource, object) in orphans {
        if let Some(ty) = type_of(state, &resource) {
            delete(state, &ty, &object, &DeleteOptions::default());
        }
    }
}

/// Does what the deletion finalizers of terminating objects wait for.
fn finish_deletions(state: &mut State) {
    let waiting: Vec<(GroupResource, Arc<Value>)> = state
        .everything()
        .filter(|(_, object)| is_terminating(object) && (has(object, FOREGROUND) || has(object, ORPHAN)))
        .map(|(resource, object)| (resource.clone(), Arc::clone(object)))
        .collect();
    for (resource, owner) in waiting {
        let Some(ty) = type_of(state, &resource) else {
            continue;
        };
        let is_dependent = |reference: &Value| text(reference, &["uid"]) == uid(&owner);
        let dependents: Vec<(GroupResource, Arc<Value>)> = state
            .everything()
            .filter(|(_, object)| items(object, &["metadata", "ownerReferences"]).iter().any(is_dependent))
            .map(|(resource, object)| (resource.clone(), Arc::clone(object)))
            .collect();
        if has(&owner, ORPHAN) {
            for (resource, dependent) in &dependents {
                let Some(ty) = type_of(state, resource) else {
                    continue;
                };
                let mut freed = Value::clone(dependent);
                let mut owners = items(dependent, &["metadata", "ownerReferences"]).to_vec();
                owners.retain(|reference| !is_dependent(reference));
                set(
                    &mut freed,
                    &["metadata", "ownerReferences"],
                    (!owners.is_empty()).then_some(Value::Array(owners)),
                );
                update(state, &ty, freed, "");
            }
            remove_finalizer(state, &ty, &owner, ORPHAN);
            continue;
        }
        let foreground = DeleteOptions {
            propagation: Some("Foreground".to_owned()),
            ..DeleteOptions::default()
        };
        for (resource, dependent) in dependents.iter().filter(|(_, dependent)| !is_terminating(dependent)) {
            if let Some(ty) = type_of(state, resource) {
                delete(state, &ty, dependent, &foreground);
            }
        }
        let blocks = |object: &Value| {
            items(object, &["metadata", "ownerReferences"])
                .iter()
                .any(|owner| is_dependent(owner) && owner.get("blockOwnerDeletion") == Some(&json!(true)))
        };
        let blocked = state.everything().any(|(_, object)| blocks(object));
        if !blocked {
            remove_finalizer(state, &ty, &owner, FOREGROUND);
        }
    }
}

/// Deletes what is in a terminating namespace, then lets the namespace go.
fn empty_namespaces(state: &mut State) {
    let Some(ty) = state.resource_type("", "namespaces") else {
        return;
    };
    for terminating in state
        .all("", "namespaces")
        .into_iter()
        .filter(|one| is_terminating(one))
    {
        let content: Vec<(GroupResource, Arc<Value>)> = state
            .everything()
            .filter(|(_, object)| namespace(object) == name(&terminating))
            .map(|(resource, object)| (resource.clone(), Arc::clone(object)))
            .collect();
        for (resource, object) in content.iter().filter(|(_, object)| !is_terminating(object)) {
            if let Some(ty) = type_of(state, resource) {
                delete(state, &ty, object, &DeleteOptions::default());
            }
        }
        let is_empty = !state
            .everything()
            .any(|(_, object)| namespace(object) == name(&terminating));
        if is_empty {
            let mut finalized = Value::clone(&terminating);
            set(&mut finalized, &["spec", "finalizers"], None);
            update(state, &ty, finalized, "");
        }
    }
}

fn type_of(state: &State, resource: &GroupResource) -> Option<Arc<ResourceType>> {
    state.resource_type(&resource.group, &resource.resource)
}

fn has(object: &Value, finalizer: &str) -> bool {
    items(object, &["metadata", "finalizers"])
        .iter()
        .any(|existing| existing == finalizer)
}

fn remove_finalizer(state: &mut State, ty: &ResourceType, object: &Value, finalizer: &str) {
    let mut finalizers = items(object, &["metadata", "finalizers"]).to_vec();
    finalizers.retain(|existing| existing != finalizer);
    let mut new = object.clone();
    set(
        &mut new,
        &["metadata", "finalizers"],
        (!finalizers.is_empty()).then_some(Value::Array(finalizers)),
    );
    update(state, ty, new, "");
}
