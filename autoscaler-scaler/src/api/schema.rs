//! Pieces of OpenAPI schema that more than one of our kinds uses: patterns, and the schemas of lists and maps.
//!
//! Every string, list and map is bounded, because the API server refuses validation rules whose worst case it cannot
//! bound. A rule's message begins with the name of its field.

use schemars::{Schema, SchemaGenerator, json_schema};

/// Identifier of the provider. Offerings and datacenters become label values, so this is the pattern of a label value.
pub(super) const ID: &str = "^[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$";
/// Kubernetes version: a semantic version with a leading `v`.
pub(super) const KUBERNETES_VERSION: &str = r"^v(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)(-[0-9A-Za-z-]+(\.[0-9A-Za-z-]+)*)?(\+[0-9A-Za-z-]+(\.[0-9A-Za-z-]+)*)?$";
/// DNS-1123 subdomain: the name of a Kubernetes object.
pub(super) const OBJECT_NAME: &str = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$";
/// Key of a Secret.
pub(super) const SECRET_KEY: &str = "^[-._A-Za-z0-9]+$";
/// Expanders by name, the first one deciding.
pub(super) const EXPANDERS: &str = "^(price|least-waste|priority|least-nodes|most-pods|random)( *, *(price|least-waste|priority|least-nodes|most-pods|random))*$";
/// Largest integer that JSON carries exactly: the upper bound of ids and generations.
pub(super) const MAX_SAFE_INTEGER: i64 = 9_007_199_254_740_991;
/// Upper bound of every duration in seconds: a day.
pub(super) const MAX_SECONDS: i32 = 86_400;
/// Upper bound of the nodes of a group.
pub(super) const MAX_NODES: i32 = 1000;

/// Key of a label or taint: an optional DNS subdomain and `/`, then a name of at most 63 characters.
const QUALIFIED_NAME: &str = r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$";
/// Value of a label or taint; may be empty.
const LABEL_VALUE: &str = "^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$";
/// Kubernetes quantity, not negative.
const QUANTITY: &str = r"^\+?([0-9]+(\.[0-9]*)?|\.[0-9]+)(([KMGTPE]i)|[numkMGTPE]|[eE][-+]?[0-9]{1,3})?$";

/// Node labels of a group: valid label keys and values, none of the names that Kubernetes and we reserve.
pub(super) fn labels(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": 64,
        "additionalProperties": { "type": "string", "maxLength": 63, "pattern": LABEL_VALUE },
        "x-kubernetes-validations": [
            {
                // The prefix alone may be 253 characters long, which the pattern cannot say.
                "rule": format!("self.all(key, key.matches(r'{QUALIFIED_NAME}') && key.size() <= 317 && key.indexOf('/') <= 253)"),
                "message": "labels: each key must be a label key: an optional DNS subdomain and '/', then at most 63 letters, digits, '-', '_' or '.' that begin and end with a letter or digit",
            },
            {
                "rule": "self.all(key, !key.startsWith('kubernetes.io/') && !key.startsWith('k8s.io/') && !key.startsWith('autoscaler.vpsie.com/'))",
                "message": "labels: keys under kubernetes.io/, k8s.io/ and autoscaler.vpsie.com/ are reserved",
            },
        ],
    })
}

/// Node taints of a group: each pair of key and effect once, as on a Node.
pub(super) fn taints(generator: &mut SchemaGenerator) -> Schema {
    let items = generator.subschema_for::<super::Taint>();
    json_schema!({
        "type": "array",
        "maxItems": 64,
        "items": items,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["key", "effect"],
        "x-kubernetes-validations": [
            {
                "rule": "self.all(taint, taint.key.indexOf('/') <= 253)",
                "message": "taints: the part of a key before '/' must be at most 253 characters long",
            },
            {
                "rule": "self.all(taint, !taint.key.startsWith('autoscaler.vpsie.com/'))",
                "message": "taints: keys under autoscaler.vpsie.com/ are reserved",
            },
        ],
    })
}

/// Key of a taint.
pub(super) fn taint_key(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "minLength": 1, "maxLength": 317, "pattern": QUALIFIED_NAME })
}

/// Value of a taint.
pub(super) fn taint_value(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "maxLength": 63, "pattern": LABEL_VALUE, "nullable": true })
}

/// Identifiers of the provider, each once.
pub(super) fn ids(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": 64,
        "items": { "type": "string", "minLength": 1, "maxLength": 63, "pattern": ID },
        "x-kubernetes-list-type": "set",
    })
}

/// Identifiers of the provider, each once, at least one.
pub(super) fn required_ids(generator: &mut SchemaGenerator) -> Schema {
    let mut schema = ids(generator);
    schema.insert("minItems".to_owned(), 1.into());
    schema
}

/// Free texts, none empty.
pub(super) fn texts(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": 64,
        "items": { "type": "string", "minLength": 1, "maxLength": 128 },
    })
}

/// Weight by datacenter.
pub(super) fn weights(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": 64,
        "additionalProperties": { "type": "integer", "format": "int32", "minimum": 0, "maximum": 1_000_000 },
    })
}

/// Quantity by resource name, in the field `reserved`.
pub(super) fn reserved(_: &mut SchemaGenerator) -> Schema {
    quantities("reserved")
}

/// Quantity by resource name, at least one, in the field `requests`.
pub(super) fn requests(_: &mut SchemaGenerator) -> Schema {
    let mut schema = quantities("requests");
    schema.insert("minProperties".to_owned(), 1.into());
    schema
}

fn quantities(field: &str) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": 32,
        "additionalProperties": {
            "x-kubernetes-int-or-string": true,
            "anyOf": [{ "type": "integer" }, { "type": "string" }],
            "minimum": 0,
            // A larger number has to be written as text; this is what an IntOrString holds.
            "maximum": i32::MAX,
            "maxLength": 64,
            "pattern": QUANTITY,
        },
        "x-kubernetes-validations": [{
            "rule": "self.all(name, name.size() <= 317 && name.size() > 0)",
            "message": format!("{field}: each resource name must have 1 to 317 characters"),
        }],
    })
}

/// A number of nodes, or a percentage of the nodes of the group.
pub(super) fn count_or_percent(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "x-kubernetes-int-or-string": true,
        "anyOf": [{ "type": "integer" }, { "type": "string" }],
        "minimum": 0,
        "maximum": MAX_NODES,
        "maxLength": 4,
        "pattern": "^(100|[0-9]{1,2})%$",
        "nullable": true,
    })
}

/// Standard conditions, one of each type.
///
/// The defaults let conditions through that the Go autoscaler wrote without a reason, message or time, and make them
/// complete for readers of the standard type. Its `lastUpdateTime` is accepted; we do not write it.
pub(super) fn conditions(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": 32,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
        "items": {
            "type": "object",
            "required": ["type", "status"],
            "properties": {
                "type": {
                    "description": "Type of the condition, in CamelCase.",
                    "type": "string", "minLength": 1, "maxLength": 316,
                },
                "status": {
                    "description": "True, False or Unknown.",
                    "type": "string", "enum": ["True", "False", "Unknown"],
                },
                "observedGeneration": {
                    "description": "Generation of the object that the condition was set for.",
                    "type": "integer", "format": "int64", "minimum": 0, "maximum": MAX_SAFE_INTEGER,
                },
                "lastTransitionTime": {
                    "description": "When the status last changed.",
                    "type": "string", "format": "date-time", "default": "1970-01-01T00:00:00Z",
                },
                "lastUpdateTime": {
                    "description": "Accepted from older autoscalers; not written.",
                    "type": "string", "format": "date-time",
                },
                "reason": {
                    "description": "Why the status is what it is, one word in CamelCase.",
                    "type": "string", "maxLength": 1024, "default": "Unknown",
                },
                "message": {
                    "description": "The same in a sentence.",
                    "type": "string", "maxLength": 32768, "default": "",
                },
            },
        },
    })
}
