//! Label and field selectors. May hold: parsing of the query parameters and of `LabelSelector` objects, and matching.

use std::collections::BTreeMap;

use serde_json::Value;

use super::error::ApiError;
use super::object::{items, labels, string_map, text};
use super::resource::{ResourceType, Version};

/// A conjunction of requirements on labels. Empty selects everything.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct LabelSelector {
    requirements: Vec<Requirement>,
}

/// A conjunction of requirements on fields. Empty selects everything.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct FieldSelector {
    terms: Vec<FieldTerm>,
}

#[derive(Debug, Clone, PartialEq)]
struct FieldTerm {
    field: String,
    equal: bool,
    value: String,
}

#[derive(Debug, Clone, PartialEq)]
struct Requirement {
    key: String,
    test: Test,
}

#[derive(Debug, Clone, PartialEq)]
enum Test {
    In(Vec<String>),
    NotIn(Vec<String>),
    Exists,
    DoesNotExist,
    Greater(i64),
    Less(i64),
}

impl LabelSelector {
    /// Parses a `labelSelector` parameter: `a=b,c!=d,e in (f,g),h notin (i),j,!k,l>1`.
    pub(super) fn parse(text: &str) -> Result<Self, ApiError> {
        let bad = || ApiError::bad_request(format!("unable to parse requirement of label selector {text:?}"));
        let requirements = split_outside_parentheses(text)
            .into_iter()
            .filter(|part| !part.is_empty())
            .map(|part| Requirement::parse(part).ok_or_else(bad))
            .collect::<Result<_, _>>()?;
        Ok(Self { requirements })
    }

    /// Reads a `LabelSelector` object. None when an operator is unknown. Missing selects nothing in most places, and
    /// an empty one everything: the caller knows which it has.
    pub(super) fn from_object(selector: &Value) -> Option<Self> {
        let mut requirements: Vec<Requirement> = string_map(selector.get("matchLabels"))
            .into_iter()
            .map(|(key, value)| Requirement {
                key: key.to_owned(),
                test: Test::In(vec![value.to_owned()]),
            })
            .collect();
        for expression in items(selector, &["matchExpressions"]) {
            requirements.push(Requirement::from_expression(expression)?);
        }
        Some(Self { requirements })
    }

    /// Reads `nodeSelectorTerm.matchExpressions`, which also know Gt and Lt.
    pub(super) fn from_expressions(expressions: &[Value]) -> Option<Self> {
        let requirements = expressions
            .iter()
            .map(Requirement::from_expression)
            .collect::<Option<_>>()?;
        Some(Self { requirements })
    }

    pub(super) fn matches(&self, labels: &BTreeMap<&str, &str>) -> bool {
        self.requirements
            .iter()
            .all(|requirement| requirement.matches(labels.get(requirement.key.as_str()).copied()))
    }
}

impl Requirement {
    fn parse(part: &str) -> Option<Self> {
        let requirement = |key: &str, test| {
            let key = key.trim();
            let valid = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
            (!key.is_empty() && key.chars().all(valid)).then(|| Self {
                key: key.to_owned(),
                test,
            })
        };
        let part = part.trim();
        if let Some(key) = part.strip_prefix('!') {
            return requirement(key, Test::DoesNotExist);
        }
        if let Some((head, values)) = part.strip_suffix(')').and_then(|part| part.split_once('(')) {
            let values = values.split(',').map(|value| value.trim().to_owned()).collect();
            let (key, operator) = head.trim().rsplit_once(char::is_whitespace)?;
            return match operator {
                "in" => requirement(key, Test::In(values)),
                "notin" => requirement(key, Test::NotIn(values)),
                _ => None,
            };
        }
        if let Some((key, value)) = part.split_once("!=") {
            return requirement(key, Test::NotIn(vec![value.trim().to_owned()]));
        }
        if let Some((key, value)) = part.split_once("==").or_else(|| part.split_once('=')) {
            return requirement(key, Test::In(vec![value.trim().to_owned()]));
        }
        if let Some((key, value)) = part.split_once('>') {
            return requirement(key, Test::Greater(value.trim().parse().ok()?));
        }
        if let Some((key, value)) = part.split_once('<') {
            return requirement(key, Test::Less(value.trim().parse().ok()?));
        }
        requirement(part, Test::Exists)
    }

    fn from_expression(expression: &Value) -> Option<Self> {
        let values: Vec<String> = items(expression, &["values"])
            .iter()
            .filter_map(|value| value.as_str().map(str::to_owned))
            .collect();
        let number = || values.first().and_then(|value| value.parse().ok());
        let test = match text(expression, &["operator"]) {
            "In" => Test::In(values),
            "NotIn" => Test::NotIn(values),
            "Exists" => Test::Exists,
            "DoesNotExist" => Test::DoesNotExist,
            "Gt" => Test::Greater(number()?),
            "Lt" => Test::Less(number()?),
            _ => return None,
        };
        Some(Self {
            key: text(expression, &["key"]).to_owned(),
            test,
        })
    }

    fn matches(&self, value: Option<&str>) -> bool {
        let number = || value.and_then(|value| value.parse::<i64>().ok());
        match &self.test {
            Test::In(values) => value.is_some_and(|value| values.iter().any(|one| one == value)),
            Test::NotIn(values) => value.is_none_or(|value| values.iter().all(|one| one != value)),
            Test::Exists => value.is_some(),
            Test::DoesNotExist => value.is_none(),
            Test::Greater(bound) => number().is_some_and(|number| number > *bound),
            Test::Less(bound) => number().is_some_and(|number| number < *bound),
        }
    }
}

impl FieldSelector {
    /// Parses a `fieldSelector` parameter and refuses fields that the resource cannot be selected by.
    pub(super) fn parse(selector: &str, ty: &ResourceType, version: &Version) -> Result<Self, ApiError> {
        let mut terms = Vec::new();
        for part in selector.split(',').filter(|part| !part.is_empty()) {
            let (field, equal, value) = if let Some((field, value)) = part.split_once("!=") {
                (field, false, value)
            } else if let Some((field, value)) = part.split_once("==").or_else(|| part.split_once('=')) {
                (field, true, value)
            } else {
                return Err(ApiError::bad_request(format!(
                    "invalid selector: '{selector}'; can't understand '{part}'"
                )));
            };
            let known = matches!(field, "metadata.name" | "metadata.namespace")
                || built_in_fields(ty).contains(&field)
                || version.selectable_fields.iter().any(|selectable| selectable == field);
            if !known {
                return Err(ApiError::bad_request(format!("field label not supported: {field}")));
            }
            terms.push(FieldTerm {
                field: field.to_owned(),
                equal,
                value: value.to_owned(),
            });
        }
        Ok(Self { terms })
    }

    pub(super) fn matches(&self, object: &Value) -> bool {
        self.terms
            .iter()
            .all(|term| (field_value(object, &term.field) == term.value) == term.equal)
    }
}

/// What a list, watch or collection delete is about.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Selection {
    /// Only this namespace.
    pub(super) namespace: Option<String>,
    pub(super) labels: LabelSelector,
    pub(super) fields: FieldSelector,
}

impl Selection {
    pub(super) fn matches(&self, object: &Value) -> bool {
        self.namespace
            .as_deref()
            .is_none_or(|namespace| text(object, &["metadata", "namespace"]) == namespace)
            && self.labels.matches(&labels(object))
            && self.fields.matches(object)
    }
}

/// Fields that a built-in resource can be selected by, beyond name and namespace.
fn built_in_fields(ty: &ResourceType) -> &'static [&'static str] {
    match (ty.id.group.as_str(), ty.id.resource.as_str()) {
        ("", "pods") => &[
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.nominatedNodeName",
        ],
        ("", "nodes") => &["spec.unschedulable"],
        ("" | "events.k8s.io", "events") => &[
            "involvedObject.kind",
            "involvedObject.namespace",
            "involvedObject.name",
            "involvedObject.uid",
            "involvedObject.apiVersion",
            "involvedObject.fieldPath",
            "regarding.kind",
            "regarding.namespace",
            "regarding.name",
            "regarding.uid",
            "reason",
            "reportingComponent",
            "reportingController",
            "type",
        ],
        ("", "secrets") => &["type"],
        ("", "namespaces") => &["status.phase"],
        ("apps", "replicasets") | ("", "replicationcontrollers") => &["status.replicas"],
        ("batch", "jobs") => &["status.successful"],
        _ => &[],
    }
}

/// The field as text; missing is empty, as for a zero value in Go. Events are kept in their `v1` form.
fn field_value(object: &Value, field: &str) -> String {
    let field = match field.strip_prefix("regarding.") {
        Some(rest) => format!("involvedObject.{rest}"),
        None if field == "reportingController" => "reportingComponent".to_owned(),
        None => field.to_owned(),
    };
    let value = field.split('.').try_fold(object, |value, name| value.get(name));
    match value {
        Some(Value::String(text)) => text.clone(),
        Some(value @ (Value::Bool(_) | Value::Number(_))) => value.to_string(),
        None if matches!(field.as_str(), "spec.unschedulable" | "spec.hostNetwork") => "false".to_owned(),
        Some(_) | None => String::new(),
    }
}

/// Splits at commas that are not between parentheses.
fn split_outside_parentheses(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut depth, mut start) = (0_usize, 0_usize);
    for (index, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                parts.push(text.get(start..index).unwrap_or_default());
                start = index + 1;
            }
            _ => {}
        }
    }
    parts.push(text.get(start..).unwrap_or_default());
    parts
}
