//! The life of an object. May hold: create, update and delete with everything that `metadata` promises: names, uids,
//! generations, optimistic concurrency, finalizers, grace periods, ownership of fields.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::apply::{Writer, settle_times, track_update};
use super::defaults::{check_pod_update, complete_new};
use super::error::{ApiError, Cause};
use super::events;
use super::lists::Lists;
use super::object::{
    at, drop_nulls, integer, is_terminal_pod, is_terminating, items, map_mut, name, resource_version, rfc3339, set,
    set_condition, text, uid,
};
use super::resource::{GroupResource, ResourceType, custom};
use super::schema;
use super::store::{ObjectKey, State};

/// Finalizer of a foreground deletion.
pub(super) const FOREGROUND: &str = "foregroundDeletion";
/// Finalizer of a deletion that leaves the dependents alone.
pub(super) const ORPHAN: &str = "orphan";
const CUSTOM_RESOURCE_CLEANUP: &str = "customresourcecleanup.apiextensions.k8s.io";

/// How an object shall be deleted: the parts of `DeleteOptions` that have an effect here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct DeleteOptions {
    pub(super) grace_period_seconds: Option<i64>,
    pub(super) uid: Option<String>,
    pub(super) resource_version: Option<String>,
    /// `Background`, `Foreground` or `Orphan`.
    pub(super) propagation: Option<String>,
}

/// What a delete did.
#[derive(Debug, Clone)]
pub(super) enum Deletion {
    /// The object is gone; its last state.
    Removed(Arc<Value>),
    /// The object stays until its finalizers are removed or its grace period is confirmed.
    Waiting(Arc<Value>),
}

impl DeleteOptions {
    pub(super) fn from_json(options: &Value) -> Self {
        let text_at = |path: &[&str]| {
            Some(text(options, path))
                .filter(|text| !text.is_empty())
                .map(str::to_owned)
        };
        Self {
            grace_period_seconds: integer(options, &["gracePeriodSeconds"]),
            uid: text_at(&["preconditions", "uid"]),
            resource_version: text_at(&["preconditions", "resourceVersion"]),
            propagation: text_at(&["propagationPolicy"]),
        }
    }
}

/// The merge rules of a resource in the version of a request.
pub(super) fn lists_of(ty: &ResourceType, version: &str) -> Lists {
    match ty.version(version).and_then(|version| version.schema.as_ref()) {
        Some(schema) => Lists::Schema(Arc::clone(schema)),
        None => Lists::BuiltIn,
    }
}

/// Creates an object. `owned` says that `managedFields` are already right (server-side apply).
///
/// # Errors
///
/// 400 for a malformed object, 403 or 404 for its namespace, 409 when it exists, 422 when it is invalid.
pub(super) fn create(
    state: &mut State,
    ty: &ResourceType,
    version: &str,
    namespace: &str,
    body: Value,
    writer: &Writer,
    owned: bool,
) -> Result<Arc<Value>, ApiError> {
    let mut object = accept(ty, version, body)?;
    if !resource_version(&object).is_empty() {
        return Err(ApiError::bad_request(
            "resourceVersion should not be set on objects to be created",
        ));
    }
    check_namespace(ty, &mut object, namespace)?;
    if name(&object).is_empty() {
        let prefix = text(&object, &["metadata", "generateName"]).to_owned();
        if !prefix.is_empty() {
            let generated = format!("{prefix}{}", state.name_suffix());
            set(&mut object, &["metadata", "name"], Some(json!(generated)));
        }
    }
    check_name(ty, name(&object))?;
    if ty.namespaced {
        check_namespace_accepts(state, ty, namespace, name(&object))?;
    }
    let key = ObjectKey::of(&object);
    if state.get(&ty.id, &key).is_some() {
        return Err(ApiError::already_exists(&ty.id.group, &ty.id.resource, &key.name));
    }

    if ty.custom {
        if ty.has_status {
            set(&mut object, &["status"], None);
        }
        complete_custom(ty, version, &mut object)?;
    } else {
        complete_new(state, ty, &mut object)?;
    }
    for field in ["deletionTimestamp", "deletionGracePeriodSeconds", "selfLink"] {
        set(&mut object, &["metadata", field], None);
    }
    let (new_uid, now) = (state.new_uid(), state.now);
    set(&mut object, &["metadata", "uid"], Some(json!(new_uid)));
    set(
        &mut object,
        &["metadata", "creationTimestamp"],
        Some(json!(rfc3339(now))),
    );
    set(
        &mut object,
        &["metadata", "generation"],
        ty.has_generation.then(|| json!(1)),
    );
    if !owned {
        track_update(
            None,
            &mut object,
            writer,
            &ty.api_version(version),
            &lists_of(ty, version),
            now,
        );
    }
    stored_form(ty, &mut object);
    if ty.is("apiextensions.k8s.io", "customresourcedefinitions") {
        define(state, &mut object)?;
    }
    Ok(state.put(&ty.id, object))
}

/// Replaces an object, or with `writer.subresource` "status" only its status. `owned` as in [`create`].
///
/// # Errors
///
/// 404 when it does not exist, 409 on a stale `resourceVersion` or another uid, 422 when it is invalid.
pub(super) fn update(
    state: &mut State,
    ty: &ResourceType,
    version: &str,
    key: &ObjectKey,
    body: Value,
    writer: &Writer,
    owned: bool,
) -> Result<Arc<Value>, ApiError> {
    let old = state.get(&ty.id, key).ok_or_else(|| ty.not_found(&key.name))?;
    let mut new = accept(ty, version, body)?;
    check_namespace(ty, &mut new, &key.namespace)?;
    if name(&new) != key.name {
        return Err(ApiError::bad_request(format!(
            "the name of the object ({}) does not match the name on the URL ({})",
            name(&new),
            key.name
        )));
    }
    check_concurrency(ty, &old, &new)?;
    carry_over(ty, &old, &mut new, writer);
    if ty.custom {
        complete_custom(ty, version, &mut new)?;
    } else if ty.is("", "pods") && writer.subresource.is_empty() {
        check_pod_update(ty, &old, &new)?;
    }
    check_finalizers(ty, &old, &new)?;
    if ty.has_generation {
        let generation = integer(&old, &["metadata", "generation"]).unwrap_or(1);
        let generation = if same_intent(&old, &new) {
            generation
        } else {
            generation + 1
        };
        set(&mut new, &["metadata", "generation"], Some(json!(generation)));
    }
    let now = state.now;
    if !owned {
        track_update(
            Some(&old),
            &mut new,
            writer,
            &ty.api_version(version),
            &lists_of(ty, version),
            now,
        );
    }
    settle_times(&old, &mut new);
    stored_form(ty, &mut new);
    if ty.is("apiextensions.k8s.io", "customresourcedefinitions") && !is_terminating(&new) {
        define(state, &mut new)?;
    }

    let waits_for_nothing = is_terminating(&new)
        && items(&new, &["metadata", "finalizers"]).is_empty()
        && integer(&new, &["metadata", "deletionGracePeriodSeconds"]).unwrap_or_default() == 0
        && !is_populated_namespace(ty, &new);
    if waits_for_nothing {
        // Watchers see only the removal, with the object as it was stored last.
        remove(state, ty, key);
        return Ok(Arc::new(new));
    }
    if *old == new {
        return Ok(old);
    }
    Ok(state.put(&ty.id, new))
}

/// Deletes an object, now or as soon as its finalizers and grace period allow.
///
/// # Errors
///
/// 404 when it does not exist, 409 when a precondition does not hold.
pub(super) fn delete(
    state: &mut State,
    ty: &ResourceType,
    key: &ObjectKey,
    options: &DeleteOptions,
) -> Result<Deletion, ApiError> {
    let old = state.get(&ty.id, key).ok_or_else(|| ty.not_found(&key.name))?;
    check_preconditions(ty, &old, options)?;
    if ty.is("apiextensions.k8s.io", "customresourcedefinitions") {
        return Ok(delete_definition(state, ty, key, &old));
    }

    let grace = grace_period(ty, &old, options);
    let mut new = Value::clone(&old);
    match options.propagation.as_deref() {
        Some("Foreground") => add_finalizer(&mut new, FOREGROUND),
        Some("Orphan") => add_finalizer(&mut new, ORPHAN),
        Some(_) | None => {}
    }
    let waits = grace > 0 || !items(&new, &["metadata", "finalizers"]).is_empty() || is_populated_namespace(ty, &new);
    if !waits {
        let last = remove(state, ty, key).ok_or_else(|| ty.not_found(&key.name))?;
        return Ok(Deletion::Removed(last));
    }
    let pending = integer(&old, &["metadata", "deletionGracePeriodSeconds"]);
    let shortens = pending.is_none_or(|pending| grace < pending);
    if !is_terminating(&old) || shortens {
        mark_deleted(state.now, &mut new, grace);
        if ty.is("", "namespaces") {
            set(&mut new, &["status", "phase"], Some(json!("Terminating")));
        }
    }
    if *old == new {
        return Ok(Deletion::Waiting(old));
    }
    Ok(Deletion::Waiting(state.put(&ty.id, new)))
}

/// Refuses when the object is not the one that the caller means.
///
/// # Errors
///
/// 409 when the uid or the resourceVersion differs.
pub(super) fn check_preconditions(ty: &ResourceType, object: &Value, options: &DeleteOptions) -> Result<(), ApiError> {
    let differs = |wanted: &Option<String>, found: &str| wanted.as_deref().is_some_and(|wanted| wanted != found);
    if differs(&options.uid, uid(object)) {
        let wanted = options.uid.as_deref().unwrap_or_default();
        let why = format!(
            "Precondition failed: UID in precondition: {wanted}, UID in object meta: {}",
            uid(object)
        );
        return Err(ty.conflict(name(object), &why));
    }
    if differs(&options.resource_version, resource_version(object)) {
        let wanted = options.resource_version.as_deref().unwrap_or_default();
        let why = format!(
            "Precondition failed: ResourceVersion in precondition: {wanted}, ResourceVersion in object meta: {}",
            resource_version(object)
        );
        return Err(ty.conflict(name(object), &why));
    }
    Ok(())
}

/// Takes a body in the version of the request and checks what it says it is.
fn accept(ty: &ResourceType, version: &str, mut body: Value) -> Result<Value, ApiError> {
    let api_version = ty.api_version(version);
    if !body.is_object() || map_mut(&mut body, &["metadata"]).is_none() {
        return Err(ApiError::bad_request(
            "the object in the body is not a JSON object with metadata",
        ));
    }
    if text(&body, &["kind"]) != ty.kind || text(&body, &["apiVersion"]) != api_version {
        return Err(ApiError::bad_request(format!(
            "{} in version {:?} cannot be handled as a {}: the body must have apiVersion {api_version:?}",
            text(&body, &["kind"]),
            text(&body, &["apiVersion"]),
            ty.kind,
        )));
    }
    if ty.custom {
        if let Some(metadata) = body.get_mut("metadata") {
            drop_nulls(metadata);
        }
    } else {
        drop_nulls(&mut body);
    }
    Ok(if ty.id.group == "events.k8s.io" {
        events::to_core(body)
    } else {
        body
    })
}

/// Gives the object the version in which it is kept.
fn stored_form(ty: &ResourceType, object: &mut Value) {
    let api_version = if ty.id.group == "events.k8s.io" {
        "v1".to_owned()
    } else {
        ty.api_version(&ty.storage_version)
    };
    set(object, &["apiVersion"], Some(json!(api_version)));
}

fn check_namespace(ty: &ResourceType, object: &mut Value, namespace: &str) -> Result<(), ApiError> {
    let given = text(object, &["metadata", "namespace"]);
    if !ty.namespaced {
        set(object, &["metadata", "namespace"], None);
        return Ok(());
    }
    if given.is_empty() {
        set(object, &["metadata", "namespace"], Some(json!(namespace)));
        return Ok(());
    }
    if given == namespace {
        return Ok(());
    }
    Err(ApiError::bad_request(
        "the namespace of the provided object does not match the namespace sent on the request",
    ))
}

fn check_name(ty: &ResourceType, name: &str) -> Result<(), ApiError> {
    if name.is_empty() {
        let cause = Cause::new(
            "FieldValueRequired",
            "metadata.name",
            "Required value: name or generateName is required",
        );
        return Err(ty.invalid(name, &[cause]));
    }
    let alphanumeric = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let valid = name.len() <= 253
        && name.split('.').all(|label| {
            label.starts_with(alphanumeric)
                && label.ends_with(alphanumeric)
                && label.chars().all(|c| alphanumeric(c) || c == '-')
        });
    if valid {
        return Ok(());
    }
    let message = format!(
        "Invalid value: {name:?}: a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, \
         '-' or '.', and must start and end with an alphanumeric character"
    );
    Err(ty.invalid(name, &[Cause::new("FieldValueInvalid", "metadata.name", message)]))
}

fn check_namespace_accepts(state: &State, ty: &ResourceType, namespace: &str, name: &str) -> Result<(), ApiError> {
    let found = state.get(&GroupResource::new("", "namespaces"), &ObjectKey::new("", namespace));
    let found = found.ok_or_else(|| ApiError::not_found("", "namespaces", namespace))?;
    if is_terminating(&found) {
        let why = format!("unable to create new content in namespace {namespace} because it is being terminated");
        return Err(ty.forbidden(name, &why));
    }
    Ok(())
}

fn check_concurrency(ty: &ResourceType, old: &Value, new: &Value) -> Result<(), ApiError> {
    let given = resource_version(new);
    if given.is_empty() && !ty.unconditional_update {
        let message = "Invalid value: 0: must be specified for an update";
        let cause = Cause::new("FieldValueInvalid", "metadata.resourceVersion", message);
        return Err(ty.invalid(name(old), &[cause]));
    }
    if !uid(new).is_empty() && uid(new) != uid(old) {
        let why = format!(
            "Precondition failed: UID in precondition: {}, UID in object meta: {}",
            uid(new),
            uid(old)
        );
        return Err(ty.conflict(name(old), &why));
    }
    if !given.is_empty() && given != resource_version(old) {
        let why = "the object has been modified; please apply your changes to the latest version and try again";
        return Err(ty.conflict(name(old), why));
    }
    Ok(())
}

/// Copies from the old object what this request may not change.
fn carry_over(ty: &ResourceType, old: &Value, new: &mut Value, writer: &Writer) {
    let copy = |new: &mut Value, path: &[&str]| set(new, path, at(old, path).cloned());
    if writer.subresource == "status" {
        let mut kept = old.clone();
        copy_field(new, &mut kept, &["status"]);
        copy_field(new, &mut kept, &["metadata", "managedFields"]);
        if !ty.custom {
            copy_field(new, &mut kept, &["metadata", "labels"]);
            copy_field(new, &mut kept, &["metadata", "annotations"]);
        }
        *new = kept;
    } else if ty.has_status {
        copy(new, &["status"]);
    }
    for field in [
        "uid",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "generation",
        "generateName",
        "resourceVersion",
        "selfLink",
    ] {
        copy(new, &["metadata", field]);
    }
}

fn copy_field(from: &Value, to: &mut Value, path: &[&str]) {
    set(to, path, at(from, path).cloned());
}

/// Prunes, defaults and validates a custom resource.
fn complete_custom(ty: &ResourceType, version: &str, object: &mut Value) -> Result<(), ApiError> {
    let Some(schema) = ty.version(version).and_then(|version| version.schema.as_ref()) else {
        return Ok(());
    };
    schema::prune_and_default(object, schema);
    let causes = schema::validate(object, schema);
    if causes.is_empty() {
        Ok(())
    } else {
        Err(ty.invalid(name(object), &causes))
    }
}

fn check_finalizers(ty: &ResourceType, old: &Value, new: &Value) -> Result<(), ApiError> {
    let (before, after) = (
        items(old, &["metadata", "finalizers"]),
        items(new, &["metadata", "finalizers"]),
    );
    let added: Vec<&Value> = after.iter().filter(|finalizer| !before.contains(finalizer)).collect();
    if !is_terminating(old) || added.is_empty() {
        return Ok(());
    }
    let message = format!(
        "Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers {added:?}"
    );
    Err(ty.invalid(
        name(old),
        &[Cause::new("FieldValueForbidden", "metadata.finalizers", message)],
    ))
}

/// Whether two states differ at most in metadata and status.
fn same_intent(old: &Value, new: &Value) -> bool {
    let intent = |object: &Value| -> Vec<(String, Value)> {
        let skip = ["metadata", "status", "apiVersion", "kind"];
        let fields = object.as_object().into_iter().flatten();
        fields
            .filter(|(name, _)| !skip.contains(&name.as_str()))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect()
    };
    intent(old) == intent(new)
}

/// Seconds that the object may take to go. Only pods on a node have any.
fn grace_period(ty: &ResourceType, object: &Value, options: &DeleteOptions) -> i64 {
    let runs = ty.is("", "pods") && !text(object, &["spec", "nodeName"]).is_empty() && !is_terminal_pod(object);
    if !runs {
        return 0;
    }
    let own = integer(object, &["spec", "terminationGracePeriodSeconds"]).unwrap_or(30);
    // Deleting again without a period does not prolong what is left.
    let pending = integer(object, &["metadata", "deletionGracePeriodSeconds"]);
    let wanted = options
        .grace_period_seconds
        .unwrap_or_else(|| pending.unwrap_or(own))
        .max(0);
    pending.map_or(wanted, |pending| pending.min(wanted))
}

fn mark_deleted(now: Timestamp, object: &mut Value, grace: i64) {
    let at = now.checked_add(SignedDuration::from_secs(grace)).unwrap_or(now);
    if let Some(generation) = integer(object, &["metadata", "generation"])
        && !is_terminating(object)
    {
        set(object, &["metadata", "generation"], Some(json!(generation + 1)));
    }
    set(object, &["metadata", "deletionTimestamp"], Some(json!(rfc3339(at))));
    set(object, &["metadata", "deletionGracePeriodSeconds"], Some(json!(grace)));
}

fn add_finalizer(object: &mut Value, finalizer: &str) {
    let mut finalizers = items(object, &["metadata", "finalizers"]).to_vec();
    if !finalizers.iter().any(|existing| existing == finalizer) {
        finalizers.push(json!(finalizer));
        set(object, &["metadata", "finalizers"], Some(Value::Array(finalizers)));
    }
}

/// A namespace that its controller has not emptied yet.
fn is_populated_namespace(ty: &ResourceType, object: &Value) -> bool {
    ty.is("", "namespaces") && !items(object, &["spec", "finalizers"]).is_empty()
}

/// Removes an object, and with the last instance of a resource its definition when that waits for it.
fn remove(state: &mut State, ty: &ResourceType, key: &ObjectKey) -> Option<Arc<Value>> {
    let last = state.remove(&ty.id, key)?;
    if ty.custom && state.list(&ty.id).next().is_none() {
        let definitions = GroupResource::new("apiextensions.k8s.io", "customresourcedefinitions");
        let definition = ObjectKey::new("", &format!("{}.{}", ty.id.resource, ty.id.group));
        if state
            .get(&definitions, &definition)
            .is_some_and(|definition| is_terminating(&definition))
        {
            state.stop_serving(&ty.id);
            state.remove(&definitions, &definition);
        }
    }
    Some(last)
}

/// Serves the resource of a definition and says so in its status.
fn define(state: &mut State, definition: &mut Value) -> Result<(), ApiError> {
    let ty = custom(definition)?;
    let now = state.now;
    let mut names = at(definition, &["spec", "names"]).cloned().unwrap_or_default();
    set(&mut names, &["listKind"], Some(json!(ty.list_kind)));
    set(&mut names, &["singular"], Some(json!(ty.singular)));
    set(definition, &["spec", "names"], Some(names.clone()));
    set(definition, &["status", "acceptedNames"], Some(names));
    set(
        definition,
        &["status", "storedVersions"],
        Some(json!([ty.storage_version])),
    );
    set_condition(
        definition,
        "NamesAccepted",
        "True",
        "NoConflicts",
        "no conflicts found",
        now,
    );
    set_condition(
        definition,
        "Established",
        "True",
        "InitialNamesAccepted",
        "the initial names have been accepted",
        now,
    );
    add_finalizer(definition, CUSTOM_RESOURCE_CLEANUP);
    state.serve(ty);
    Ok(())
}

/// Deletes every instance, then the definition once they are gone.
fn delete_definition(state: &mut State, ty: &ResourceType, key: &ObjectKey, old: &Value) -> Deletion {
    let mut new = old.clone();
    if !is_terminating(old) {
        mark_deleted(state.now, &mut new, 0);
    }
    let waiting = state.put(&ty.id, new);
    let group = text(old, &["spec", "group"]);
    let plural = text(old, &["spec", "names", "plural"]);
    if let Some(defined) = state.resource_type(group, plural) {
        for instance in state.all(group, plural) {
            // An instance that was listed a line above exists, so that nothing can refuse its deletion.
            if let Err(error) = delete(state, &defined, &ObjectKey::of(&instance), &DeleteOptions::default()) {
                tracing::error!(%error, "a custom resource of a deleted definition stays");
            }
        }
        if state.list(&defined.id).next().is_none() {
            state.stop_serving(&defined.id);
            state.remove(&ty.id, key);
        }
    }
    Deletion::Waiting(waiting)
}
