//! Which resources the server serves. May hold: the description of a resource, the built-in table and the reading of
//! CustomResourceDefinitions.

use std::sync::Arc;

use serde_json::Value;

use super::error::{ApiError, Cause};
use super::object::{items, name, text};

/// Names a resource apart from its version, for example (`apps`, `deployments`).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct GroupResource {
    pub(super) group: String,
    pub(super) resource: String,
}

impl GroupResource {
    pub(super) fn new(group: &str, resource: &str) -> Self {
        Self {
            group: group.to_owned(),
            resource: resource.to_owned(),
        }
    }
}

/// One served version of a resource.
#[derive(Debug, Clone)]
pub(super) struct Version {
    pub(super) name: String,
    pub(super) served: bool,
    /// `openAPIV3Schema` of a custom resource.
    pub(super) schema: Option<Arc<Value>>,
    /// Extra fields that a custom resource can be selected by, as `spec.nodeGroup`.
    pub(super) selectable_fields: Vec<String>,
}

/// A resource, built in or custom.
#[derive(Debug, Clone)]
pub(super) struct ResourceType {
    pub(super) id: GroupResource,
    pub(super) versions: Vec<Version>,
    /// Version in which objects are kept.
    pub(super) storage_version: String,
    pub(super) kind: String,
    pub(super) list_kind: String,
    pub(super) singular: String,
    pub(super) short_names: Vec<String>,
    pub(super) namespaced: bool,
    /// Has a `/status` subresource, so that `status` is written only there.
    pub(super) has_status: bool,
    /// `metadata.generation` counts changes of everything but metadata and status.
    pub(super) has_generation: bool,
    /// A replace without `resourceVersion` is accepted.
    pub(super) unconditional_update: bool,
    /// Defined by a CustomResourceDefinition.
    pub(super) custom: bool,
}

impl ResourceType {
    pub(super) fn version(&self, name: &str) -> Option<&Version> {
        self.versions
            .iter()
            .find(|version| version.name == name && version.served)
    }

    /// `v1` or `apps/v1`.
    pub(super) fn api_version(&self, version: &str) -> String {
        if self.id.group.is_empty() {
            version.to_owned()
        } else {
            format!("{}/{version}", self.id.group)
        }
    }

    pub(super) fn not_found(&self, name: &str) -> ApiError {
        ApiError::not_found(&self.id.group, &self.id.resource, name)
    }

    pub(super) fn conflict(&self, name: &str, why: &str) -> ApiError {
        ApiError::conflict(&self.id.group, &self.id.resource, name, why)
    }

    pub(super) fn forbidden(&self, name: &str, why: &str) -> ApiError {
        ApiError::forbidden(&self.id.group, &self.id.resource, name, why)
    }

    pub(super) fn invalid(&self, name: &str, causes: &[Cause]) -> ApiError {
        ApiError::invalid(&self.id.group, &self.kind, name, causes)
    }

    /// Whether this is the built-in resource of that group and name.
    pub(super) fn is(&self, group: &str, resource: &str) -> bool {
        self.id.group == group && self.id.resource == resource
    }
}

/// (group, version, resource, kind, short names, flags): `n` namespaced, `s` status subresource, `g` generation,
/// `r` a replace needs `resourceVersion`.
type Row = (
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    &'static str,
);

const BUILT_IN: &[Row] = &[
    ("", "v1", "nodes", "Node", "no", "s"),
    ("", "v1", "pods", "Pod", "po", "nsg"),
    ("", "v1", "namespaces", "Namespace", "ns", "s"),
    ("", "v1", "events", "Event", "ev", "n"),
    ("", "v1", "secrets", "Secret", "", "n"),
    ("", "v1", "configmaps", "ConfigMap", "cm", "n"),
    ("", "v1", "services", "Service", "svc", "ns"),
    ("", "v1", "serviceaccounts", "ServiceAccount", "sa", "n"),
    ("", "v1", "persistentvolumes", "PersistentVolume", "pv", "s"),
    ("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim", "pvc", "ns"),
    ("", "v1", "replicationcontrollers", "ReplicationController", "rc", "nsg"),
    ("apps", "v1", "deployments", "Deployment", "deploy", "nsg"),
    ("apps", "v1", "replicasets", "ReplicaSet", "rs", "nsg"),
    ("apps", "v1", "statefulsets", "StatefulSet", "sts", "nsg"),
    ("apps", "v1", "daemonsets", "DaemonSet", "ds", "nsg"),
    ("batch", "v1", "jobs", "Job", "", "nsg"),
    (
        "policy",
        "v1",
        "poddisruptionbudgets",
        "PodDisruptionBudget",
        "pdb",
        "nsg",
    ),
    ("coordination.k8s.io", "v1", "leases", "Lease", "", "nr"),
    ("storage.k8s.io", "v1", "storageclasses", "StorageClass", "sc", ""),
    ("storage.k8s.io", "v1", "csinodes", "CSINode", "", ""),
    ("storage.k8s.io", "v1", "volumeattachments", "VolumeAttachment", "", "s"),
    ("scheduling.k8s.io", "v1", "priorityclasses", "PriorityClass", "pc", "g"),
    (
        "apiextensions.k8s.io",
        "v1",
        "customresourcedefinitions",
        "CustomResourceDefinition",
        "crd",
        "sg",
    ),
];

/// The second API of events; its objects are those of `v1` events in another form.
const EVENTS_API: Row = ("events.k8s.io", "v1", "events", "Event", "ev", "n");

/// Node metrics, served only after metrics were set.
const METRICS_API: Row = ("metrics.k8s.io", "v1beta1", "nodes", "NodeMetrics", "", "");

/// Every resource that a new server serves.
pub(super) fn built_in() -> Vec<ResourceType> {
    BUILT_IN.iter().chain([&EVENTS_API]).map(built_in_type).collect()
}

/// The resource of node metrics.
pub(super) fn node_metrics() -> ResourceType {
    built_in_type(&METRICS_API)
}

/// The resource that a CustomResourceDefinition defines.
pub(super) fn custom(definition: &Value) -> Result<ResourceType, ApiError> {
    let group = text(definition, &["spec", "group"]);
    let plural = text(definition, &["spec", "names", "plural"]);
    let kind = text(definition, &["spec", "names", "kind"]);
    let scope = text(definition, &["spec", "scope"]);
    let given = items(definition, &["spec", "versions"]);
    let storage: Vec<&Value> = given
        .iter()
        .filter(|v| v.get("storage").and_then(Value::as_bool) == Some(true))
        .collect();

    let mut causes = Vec::new();
    let mut require = |ok: bool, field: &str, message: &str| {
        if !ok {
            causes.push(Cause::new("FieldValueInvalid", field, message));
        }
    };
    require(!group.is_empty(), "spec.group", "Required value");
    require(!plural.is_empty(), "spec.names.plural", "Required value");
    require(!kind.is_empty(), "spec.names.kind", "Required value");
    require(
        matches!(scope, "Namespaced" | "Cluster"),
        "spec.scope",
        "must be Namespaced or Cluster",
    );
    require(
        storage.len() == 1,
        "spec.versions",
        "must have exactly one version marked as storage version",
    );
    require(
        name(definition) == format!("{plural}.{group}"),
        "metadata.name",
        "must be spec.names.plural+\".\"+spec.group",
    );
    let storage = match storage.as_slice() {
        [one] if causes.is_empty() => text(one, &["name"]).to_owned(),
        _ => {
            let group = "apiextensions.k8s.io";
            return Err(ApiError::invalid(
                group,
                "CustomResourceDefinition",
                name(definition),
                &causes,
            ));
        }
    };

    let versions = given
        .iter()
        .map(|version| Version {
            name: text(version, &["name"]).to_owned(),
            served: version.get("served").and_then(Value::as_bool).unwrap_or_default(),
            schema: version.pointer("/schema/openAPIV3Schema").cloned().map(Arc::new),
            selectable_fields: items(version, &["selectableFields"])
                .iter()
                .map(|field| text(field, &["jsonPath"]).trim_start_matches('.').to_owned())
                .collect(),
        })
        .collect();
    let has_status = given
        .iter()
        .any(|version| version.pointer("/subresources/status").is_some());
    let or_default = |value: &str, default: String| {
        if value.is_empty() { default } else { value.to_owned() }
    };
    Ok(ResourceType {
        id: GroupResource::new(group, plural),
        versions,
        storage_version: storage,
        kind: kind.to_owned(),
        list_kind: or_default(text(definition, &["spec", "names", "listKind"]), format!("{kind}List")),
        singular: or_default(text(definition, &["spec", "names", "singular"]), kind.to_lowercase()),
        short_names: items(definition, &["spec", "names", "shortNames"])
            .iter()
            .filter_map(|short| short.as_str().map(str::to_owned))
            .collect(),
        namespaced: scope == "Namespaced",
        has_status,
        has_generation: true,
        unconditional_update: false,
        custom: true,
    })
}

fn built_in_type(row: &Row) -> ResourceType {
    let &(group, version, resource, kind, short, flags) = row;
    ResourceType {
        id: GroupResource::new(group, resource),
        versions: vec![Version {
            name: version.to_owned(),
            served: true,
            schema: None,
            selectable_fields: Vec::new(),
        }],
        storage_version: version.to_owned(),
        kind: kind.to_owned(),
        list_kind: format!("{kind}List"),
        singular: kind.to_lowercase(),
        short_names: if short.is_empty() {
            Vec::new()
        } else {
            vec![short.to_owned()]
        },
        namespaced: flags.contains('n'),
        has_status: flags.contains('s'),
        has_generation: flags.contains('g'),
        unconditional_update: !flags.contains('r'),
        custom: false,
    }
}
