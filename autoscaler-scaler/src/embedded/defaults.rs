//! What the server fills into new built-in objects. May hold: defaulting and the admission plugins that every cluster
//! runs (Priority, DefaultTolerationSeconds, TaintNodesByCondition), and the few validations that clients rely on.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use serde_json::{Map, Value, json};

use super::error::{ApiError, Cause};
use super::object::{at, integer, items, labels, map_mut, name, set, set_condition, text};
use super::resource::ResourceType;
use super::store::State;

/// Taint of a node that is not Ready yet; the server puts it on every new node.
pub(super) const NOT_READY_TAINT: &str = "node.kubernetes.io/not-ready";
/// Taint of a node whose kubelet stopped reporting.
pub(super) const UNREACHABLE_TAINT: &str = "node.kubernetes.io/unreachable";
/// Taint of a cordoned node.
pub(super) const UNSCHEDULABLE_TAINT: &str = "node.kubernetes.io/unschedulable";

/// Completes a new object of a built-in resource.
///
/// # Errors
///
/// 403 for an unknown PriorityClass, 422 for an object that lacks what it cannot do without.
pub(super) fn complete_new(state: &State, ty: &ResourceType, object: &mut Value) -> Result<(), ApiError> {
    let keeps_status = ty.is("", "nodes") || ty.is("storage.k8s.io", "volumeattachments");
    if ty.has_status && !keeps_status {
        set(object, &["status"], None);
    }
    match (ty.id.group.as_str(), ty.id.resource.as_str()) {
        ("", "pods") => complete_pod(state, ty, object)?,
        ("", "nodes") => add_taint(object, NOT_READY_TAINT),
        ("", "namespaces") => {
            let label = json!(name(object));
            set(
                object,
                &["metadata", "labels", "kubernetes.io/metadata.name"],
                Some(label),
            );
            set(object, &["spec", "finalizers"], Some(json!(["kubernetes"])));
            set(object, &["status"], Some(json!({ "phase": "Active" })));
        }
        ("", "persistentvolumes" | "persistentvolumeclaims") => {
            set(object, &["status"], Some(json!({ "phase": "Pending" })));
        }
        ("", "secrets") => encode_secret(object),
        ("events.k8s.io", "events") => check_event(ty, object)?,
        ("apps", "deployments") => {
            or_set(object, &["spec", "replicas"], json!(1));
            or_set(object, &["spec", "revisionHistoryLimit"], json!(10));
            or_set(object, &["spec", "progressDeadlineSeconds"], json!(600));
            or_set(
                object,
                &["spec", "strategy"],
                json!({ "type": "RollingUpdate", "rollingUpdate": { "maxUnavailable": "25%", "maxSurge": "25%" } }),
            );
        }
        ("apps", "replicasets" | "statefulsets") | ("", "replicationcontrollers") => {
            or_set(object, &["spec", "replicas"], json!(1));
        }
        ("batch", "jobs") => {
            or_set(object, &["spec", "parallelism"], json!(1));
            or_set(object, &["spec", "completions"], json!(1));
            or_set(object, &["spec", "backoffLimit"], json!(6));
        }
        ("policy", "poddisruptionbudgets") => set(
            object,
            &["status"],
            Some(json!({ "currentHealthy": 0, "desiredHealthy": 0, "disruptionsAllowed": 0, "expectedPods": 0 })),
        ),
        _ => {}
    }
    check_selector(ty, object)
}

/// Refuses a change of a pod that only deleting and recreating it could make.
///
/// # Errors
///
/// 422 when `spec.nodeName` or a container's resources change.
pub(super) fn check_pod_update(ty: &ResourceType, old: &Value, new: &Value) -> Result<(), ApiError> {
    let fixed = [
        "nodeName",
        "nodeSelector",
        "affinity",
        "priority",
        "priorityClassName",
        "volumes",
        "schedulerName",
    ];
    let resources = |pod: &Value| -> Vec<Value> {
        items(pod, &["spec", "containers"])
            .iter()
            .map(|c| c.get("resources").cloned().unwrap_or_default())
            .collect()
    };
    // Scheduling gates allow the node selector and affinity to be narrowed.
    let gated = !items(old, &["spec", "schedulingGates"]).is_empty();
    let changed = fixed.iter().any(|field| {
        !(gated && matches!(*field, "nodeSelector" | "affinity"))
            && at(old, &["spec", field]) != at(new, &["spec", field])
    });
    if changed || resources(old) != resources(new) {
        let message = "Forbidden: pod updates may not change fields other than `spec.containers[*].image`,\
            `spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing \
            tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";
        return Err(ty.invalid(name(old), &[Cause::new("FieldValueForbidden", "spec", message)]));
    }
    Ok(())
}

fn or_set(object: &mut Value, path: &[&str], value: Value) {
    if at(object, path).is_none() {
        set(object, path, Some(value));
    }
}

fn add_taint(node: &mut Value, key: &str) {
    let taint = json!({ "key": key, "effect": "NoSchedule" });
    let present = |taint: &Value| text(taint, &["key"]) == key && text(taint, &["effect"]) == "NoSchedule";
    if items(node, &["spec", "taints"]).iter().any(present) {
        return;
    }
    let mut taints = items(node, &["spec", "taints"]).to_vec();
    taints.push(taint);
    set(node, &["spec", "taints"], Some(Value::Array(taints)));
}

/// The newer API of events insists on what the older one leaves open. Fields have their `v1` names here.
fn check_event(ty: &ResourceType, event: &Value) -> Result<(), ApiError> {
    let required = [
        ("eventTime", "eventTime"),
        ("reportingComponent", "reportingController"),
        ("reportingInstance", "reportingInstance"),
        ("action", "action"),
        ("reason", "reason"),
    ];
    let missing = |(stored, _): &(&str, &str)| text(event, &[stored]).is_empty();
    let mut causes: Vec<Cause> = required
        .into_iter()
        .filter(missing)
        .map(|(_, field)| Cause::new("FieldValueRequired", field, "Required value"))
        .collect();
    let kind = text(event, &["type"]);
    if !matches!(kind, "Normal" | "Warning") {
        let message = format!("Invalid value: \"\": has invalid value: {kind}");
        causes.push(Cause::new("FieldValueInvalid", "type", message));
    }
    if causes.is_empty() {
        return Ok(());
    }
    Err(ty.invalid(name(event), &causes))
}

fn encode_secret(secret: &mut Value) {
    or_set(secret, &["type"], json!("Opaque"));
    let plain = at(secret, &["stringData"]).cloned();
    set(secret, &["stringData"], None);
    let plain = plain.as_ref().and_then(Value::as_object);
    for (key, value) in plain.into_iter().flatten() {
        let bytes = ByteString(value.as_str().unwrap_or_default().as_bytes().to_vec());
        set(secret, &["data", key], serde_json::to_value(bytes).ok());
    }
}

/// A workload's selector has to select its own pods.
fn check_selector(ty: &ResourceType, object: &Value) -> Result<(), ApiError> {
    if ty.id.group != "apps" {
        return Ok(());
    }
    let wanted = super::object::string_map(at(object, &["spec", "selector", "matchLabels"]));
    let has_selector = at(object, &["spec", "selector"]).is_some();
    let given = super::object::string_map(at(object, &["spec", "template", "metadata", "labels"]));
    if has_selector && wanted.iter().all(|(key, value)| given.get(key) == Some(value)) {
        return Ok(());
    }
    let cause = if has_selector {
        let message = "Invalid value: `selector` does not match template `labels`";
        Cause::new("FieldValueInvalid", "spec.template.metadata.labels", message)
    } else {
        Cause::new("FieldValueRequired", "spec.selector", "Required value")
    };
    Err(ty.invalid(name(object), &[cause]))
}

fn complete_pod(state: &State, ty: &ResourceType, pod: &mut Value) -> Result<(), ApiError> {
    if items(pod, &["spec", "containers"]).is_empty() {
        let cause = Cause::new("FieldValueRequired", "spec.containers", "Required value");
        return Err(ty.invalid(name(pod), &[cause]));
    }
    or_set(pod, &["spec", "restartPolicy"], json!("Always"));
    or_set(pod, &["spec", "terminationGracePeriodSeconds"], json!(30));
    or_set(pod, &["spec", "dnsPolicy"], json!("ClusterFirst"));
    or_set(pod, &["spec", "schedulerName"], json!("default-scheduler"));
    or_set(pod, &["spec", "securityContext"], json!({}));
    or_set(pod, &["spec", "enableServiceLinks"], json!(true));
    or_set(pod, &["spec", "serviceAccountName"], json!("default"));
    for list in ["initContainers", "containers"] {
        if let Some(containers) = pod
            .get_mut("spec")
            .and_then(|spec| spec.get_mut(list))
            .and_then(Value::as_array_mut)
        {
            containers.iter_mut().for_each(complete_container);
        }
    }
    set_priority(state, ty, pod)?;
    for key in [NOT_READY_TAINT, UNREACHABLE_TAINT] {
        add_default_toleration(pod, key);
    }
    merge_label_keys(pod);

    set(
        pod,
        &["status"],
        Some(json!({ "phase": "Pending", "qosClass": qos_class(pod) })),
    );
    if !items(pod, &["spec", "schedulingGates"]).is_empty() {
        let message = "Scheduling is blocked due to non-empty scheduling gates";
        set_condition(pod, "PodScheduled", "False", "SchedulingGated", message, state.now);
    }
    Ok(())
}

fn complete_container(container: &mut Value) {
    or_set(container, &["resources"], json!({}));
    or_set(container, &["imagePullPolicy"], json!("IfNotPresent"));
    or_set(container, &["terminationMessagePath"], json!("/dev/termination-log"));
    or_set(container, &["terminationMessagePolicy"], json!("File"));
    // A limit without a request is also the request.
    let limits = at(container, &["resources", "limits"])
        .and_then(Value::as_object)
        .cloned()
        .unwrap_or_default();
    for (resource, limit) in limits {
        or_set(container, &["resources", "requests", &resource], limit);
    }
    if let Some(ports) = container.get_mut("ports").and_then(Value::as_array_mut) {
        for port in ports {
            or_set(port, &["protocol"], json!("TCP"));
        }
    }
}

/// The Priority admission plugin.
fn set_priority(state: &State, ty: &ResourceType, pod: &mut Value) -> Result<(), ApiError> {
    let classes = state.all("scheduling.k8s.io", "priorityclasses");
    let named = text(pod, &["spec", "priorityClassName"]).to_owned();
    let class = if named.is_empty() {
        let is_default = |class: &Value| class.get("globalDefault").and_then(Value::as_bool) == Some(true);
        classes.iter().find(|class| is_default(class))
    } else {
        let found = classes.iter().find(|class| name(class) == named);
        if found.is_none() {
            let why = format!("no PriorityClass with name {named} was found");
            return Err(ty.forbidden(name(pod), &why));
        }
        found
    };
    let value = class.and_then(|class| integer(class, &["value"])).unwrap_or_default();
    set(pod, &["spec", "priority"], Some(json!(value)));
    let policy = class.map_or("", |class| text(class, &["preemptionPolicy"]));
    let policy = if policy.is_empty() {
        "PreemptLowerPriority"
    } else {
        policy
    };
    or_set(pod, &["spec", "preemptionPolicy"], json!(policy));
    if let Some(class) = class {
        set(pod, &["spec", "priorityClassName"], Some(json!(name(class))));
    }
    Ok(())
}

/// The DefaultTolerationSeconds admission plugin.
fn add_default_toleration(pod: &mut Value, key: &str) {
    let mut tolerations = items(pod, &["spec", "tolerations"]).to_vec();
    let covers = |toleration: &Value| {
        matches!(text(toleration, &["key"]), own if own == key || own.is_empty())
            && matches!(text(toleration, &["effect"]), "NoExecute" | "")
    };
    if !tolerations.iter().any(covers) {
        let toleration = json!({ "key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300 });
        tolerations.push(toleration);
        set(pod, &["spec", "tolerations"], Some(Value::Array(tolerations)));
    }
}

/// Merges `matchLabelKeys` and `mismatchLabelKeys` into the label selectors beside them, as the server stores them.
fn merge_label_keys(pod: &mut Value) {
    let pod_labels: BTreeMap<String, String> = labels(pod)
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect();
    let merge = |holder: &mut Value| {
        if holder.get("labelSelector").is_none() {
            return;
        }
        let mut expressions = items(holder, &["labelSelector", "matchExpressions"]).to_vec();
        for (field, operator) in [("matchLabelKeys", "In"), ("mismatchLabelKeys", "NotIn")] {
            for key in items(holder, &[field]).iter().filter_map(Value::as_str) {
                if let Some(value) = pod_labels.get(key) {
                    expressions.push(json!({ "key": key, "operator": operator, "values": [value] }));
                }
            }
        }
        if !expressions.is_empty() {
            set(
                holder,
                &["labelSelector", "matchExpressions"],
                Some(Value::Array(expressions)),
            );
        }
    };
    let Some(spec) = map_mut(pod, &["spec"]) else {
        return;
    };
    for_each_item(spec.get_mut("topologySpreadConstraints"), merge);
    for kind in ["podAffinity", "podAntiAffinity"] {
        let Some(affinity) = spec.get_mut("affinity").and_then(|affinity| affinity.get_mut(kind)) else {
            continue;
        };
        for_each_item(
            affinity.get_mut("requiredDuringSchedulingIgnoredDuringExecution"),
            merge,
        );
        for_each_item(
            affinity.get_mut("preferredDuringSchedulingIgnoredDuringExecution"),
            |term| {
                if let Some(term) = term.get_mut("podAffinityTerm") {
                    merge(term);
                }
            },
        );
    }
}

fn for_each_item(list: Option<&mut Value>, act: impl FnMut(&mut Value)) {
    list.and_then(Value::as_array_mut).into_iter().flatten().for_each(act);
}

fn qos_class(pod: &Value) -> &'static str {
    let empty = Map::new();
    let amounts = |container: &Value, kind: &str| {
        at(container, &["resources", kind])
            .and_then(Value::as_object)
            .unwrap_or(&empty)
            .clone()
    };
    let containers: Vec<&Value> = items(pod, &["spec", "initContainers"])
        .iter()
        .chain(items(pod, &["spec", "containers"]))
        .collect();
    if containers
        .iter()
        .all(|c| amounts(c, "requests").is_empty() && amounts(c, "limits").is_empty())
    {
        return "BestEffort";
    }
    let guaranteed = |container: &&Value| {
        let (requests, limits) = (amounts(container, "requests"), amounts(container, "limits"));
        ["cpu", "memory"]
            .iter()
            .all(|kind| limits.get(*kind).is_some() && limits.get(*kind) == requests.get(*kind))
    };
    if containers.iter().all(guaranteed) {
        "Guaranteed"
    } else {
        "Burstable"
    }
}
