//! Structural schemas of custom resources. May hold: pruning, defaulting and validation of a JSON value by an
//! `openAPIV3Schema`.
//!
//! Checked: `type`, `nullable`, `required`, `enum`, `minimum`, `maximum` and their exclusive forms, `multipleOf`,
//! `minLength`, `maxLength`, `pattern`, `minItems`, `maxItems`, `minProperties`, `maxProperties`, `uniqueItems`, keys
//! of `x-kubernetes-list-type`, `allOf`, `anyOf`, `oneOf` and `not`. Not checked: `format` and CEL rules
//! (`x-kubernetes-validations`), which only a real API server evaluates.

use serde_json::{Map, Value, json};

use super::error::Cause;
use super::lists::item_key;
use super::pattern::Pattern;

/// Removes what the schema does not name and nulls that it does not allow, then fills defaults in.
pub(super) fn prune_and_default(object: &mut Value, schema: &Value) {
    let root: Vec<(String, Value)> = ["apiVersion", "kind", "metadata"]
        .into_iter()
        .filter_map(|name| Some((name.to_owned(), object.get_mut(name)?.take())))
        .collect();
    prune(object, schema);
    default(object, schema);
    if let Some(map) = object.as_object_mut() {
        map.extend(root);
    }
}

/// Every way in which the object breaks the schema.
pub(super) fn validate(object: &Value, schema: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    let body: Map<String, Value> = object
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(name, _)| name.as_str() != "metadata")
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    check(&Value::Object(body), schema, "", &mut causes);
    // The server itself guarantees metadata, whatever the schema requires of it.
    causes.retain(|cause| cause.field != "metadata");
    causes
}

fn flag(schema: &Value, name: &str) -> bool {
    schema.get(name).and_then(Value::as_bool).unwrap_or_default()
}

fn field_schema<'a>(schema: &'a Value, name: &str) -> Option<&'a Value> {
    schema
        .get("properties")
        .and_then(|properties| properties.get(name))
        .or_else(|| {
            schema
                .get("additionalProperties")
                .filter(|additional| additional.is_object())
        })
}

fn prune(value: &mut Value, schema: &Value) {
    match value {
        Value::Object(map) => {
            let keep_unknown =
                flag(schema, "x-kubernetes-preserve-unknown-fields") || flag(schema, "additionalProperties");
            let embedded = flag(schema, "x-kubernetes-embedded-resource");
            map.retain(|name, field| match field_schema(schema, name) {
                Some(field_schema) if field.is_null() => flag(field_schema, "nullable"),
                Some(field_schema) => {
                    prune(field, field_schema);
                    true
                }
                None => keep_unknown || (embedded && matches!(name.as_str(), "apiVersion" | "kind" | "metadata")),
            });
        }
        Value::Array(items) => {
            if let Some(schema) = schema.get("items") {
                items.iter_mut().for_each(|item| prune(item, schema));
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn default(value: &mut Value, schema: &Value) {
    match value {
        Value::Object(map) => {
            for (name, field_schema) in schema
                .get("properties")
                .and_then(Value::as_object)
                .into_iter()
                .flatten()
            {
                if let (None, Some(default)) = (map.get(name), field_schema.get("default")) {
                    map.insert(name.clone(), default.clone());
                }
            }
            for (name, field) in map.iter_mut() {
                if let Some(field_schema) = field_schema(schema, name) {
                    default(field, field_schema);
                }
            }
        }
        Value::Array(items) => {
            if let Some(schema) = schema.get("items") {
                items.iter_mut().for_each(|item| default(item, schema));
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn invalid(path: &str, value: &Value, message: &str) -> Cause {
    Cause::new(
        "FieldValueInvalid",
        path,
        format!("Invalid value: {value}: {path} in body {message}"),
    )
}

fn check(value: &Value, schema: &Value, path: &str, causes: &mut Vec<Cause>) {
    if value.is_null() && flag(schema, "nullable") {
        return;
    }
    if !has_type(value, schema) {
        let wanted = schema
            .get("type")
            .and_then(Value::as_str)
            .unwrap_or("integer or string");
        let given = type_name(value);
        let message = format!("Invalid value: {given:?}: {path} in body must be of type {wanted}: {given:?}");
        causes.push(Cause::new("FieldValueTypeInvalid", path, message));
        return;
    }
    if let Some(allowed) = schema.get("enum").and_then(Value::as_array)
        && !allowed.contains(value)
    {
        let allowed: Vec<String> = allowed.iter().map(Value::to_string).collect();
        let message = format!("Unsupported value: {value}: supported values: {}", allowed.join(", "));
        causes.push(Cause::new("FieldValueNotSupported", path, message));
    }
    match value {
        Value::Number(_) => check_number(value, schema, path, causes),
        Value::String(text) => check_text(text, value, schema, path, causes),
        Value::Array(items) => check_items(items, schema, path, causes),
        Value::Object(map) => check_fields(map, schema, path, causes),
        Value::Null | Value::Bool(_) => {}
    }
    check_junctors(value, schema, path, causes);
}

fn has_type(value: &Value, schema: &Value) -> bool {
    if flag(schema, "x-kubernetes-int-or-string") {
        return value.is_string() || value.is_i64() || value.is_u64();
    }
    match schema.get("type").and_then(Value::as_str) {
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("string") => value.is_string(),
        Some("boolean") => value.is_boolean(),
        Some("number") => value.is_number(),
        Some("integer") => {
            value.is_i64() || value.is_u64() || value.as_f64().is_some_and(|n| n.fract().abs() < f64::EPSILON)
        }
        Some(_) | None => true,
    }
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn check_number(value: &Value, schema: &Value, path: &str, causes: &mut Vec<Cause>) {
    let bound = |name: &str| schema.get(name).and_then(Value::as_f64);
    let Some(number) = value.as_f64() else { return };
    if let Some(minimum) = bound("minimum") {
        let exclusive = flag(schema, "exclusiveMinimum");
        if number < minimum || (exclusive && number <= minimum) {
            let or_equal = if exclusive { "" } else { " or equal to" };
            causes.push(invalid(
                path,
                value,
                &format!("should be greater than{or_equal} {minimum}"),
            ));
        }
    }
    if let Some(maximum) = bound("maximum") {
        let exclusive = flag(schema, "exclusiveMaximum");
        if number > maximum || (exclusive && number >= maximum) {
            let or_equal = if exclusive { "" } else { " or equal to" };
            causes.push(invalid(
                path,
                value,
                &format!("should be less than{or_equal} {maximum}"),
            ));
        }
    }
    if let Some(step) = bound("multipleOf").filter(|step| *step > 0.0)
        && (number / step).fract().abs() > f64::EPSILON
    {
        causes.push(invalid(path, value, &format!("should be a multiple of {step}")));
    }
}

fn check_text(text: &str, value: &Value, schema: &Value, path: &str, causes: &mut Vec<Cause>) {
    let length = u64::try_from(text.chars().count()).unwrap_or(u64::MAX);
    let bound = |name: &str| schema.get(name).and_then(Value::as_u64);
    if let Some(minimum) = bound("minLength").filter(|minimum| length < *minimum) {
        causes.push(invalid(
            path,
            value,
            &format!("should be at least {minimum} chars long"),
        ));
    }
    if let Some(maximum) = bound("maxLength").filter(|maximum| length > *maximum) {
        let message = format!("Too long: may not be more than {maximum} bytes");
        causes.push(Cause::new("FieldValueTooLong", path, message));
    }
    if let Some(pattern) = schema.get("pattern").and_then(Value::as_str) {
        match Pattern::parse(pattern) {
            Some(parsed) if !parsed.is_match(text) => {
                causes.push(invalid(path, value, &format!("should match '{pattern}'")));
            }
            Some(_) => {}
            None => tracing::warn!(pattern, path, "the embedded cluster cannot check this pattern"),
        }
    }
}

fn check_items(items: &[Value], schema: &Value, path: &str, causes: &mut Vec<Cause>) {
    let length = u64::try_from(items.len()).unwrap_or(u64::MAX);
    let bound = |name: &str| schema.get(name).and_then(Value::as_u64);
    if let Some(minimum) = bound("minItems").filter(|minimum| length < *minimum) {
        causes.push(invalid(
            path,
            &json!(length),
            &format!("should have at least {minimum} items"),
        ));
    }
    if let Some(maximum) = bound("maxItems").filter(|maximum| length > *maximum) {
        let message = format!("Too many: {length}: must have at most {maximum} items");
        causes.push(Cause::new("FieldValueTooMany", path, message));
    }
    let keys: Option<Vec<String>> = match schema.get("x-kubernetes-list-type").and_then(Value::as_str) {
        Some("map") => schema
            .get("x-kubernetes-list-map-keys")
            .and_then(Value::as_array)
            .map(|keys| keys.iter().filter_map(|key| key.as_str().map(str::to_owned)).collect()),
        Some("set") => Some(Vec::new()),
        Some(_) | None => flag(schema, "uniqueItems").then(Vec::new),
    };
    let mut seen: Vec<String> = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let path = format!("{path}[{index}]");
        if let Some(keys) = &keys {
            let id = if keys.is_empty() {
                item.to_string()
            } else {
                item_key(item, keys)
            };
            if seen.contains(&id) {
                causes.push(Cause::new(
                    "FieldValueDuplicate",
                    path.clone(),
                    format!("Duplicate value: {id}"),
                ));
            }
            seen.push(id);
        }
        if let Some(schema) = schema.get("items") {
            check(item, schema, &path, causes);
        }
    }
}

fn check_fields(map: &Map<String, Value>, schema: &Value, path: &str, causes: &mut Vec<Cause>) {
    let below = |name: &str| {
        if path.is_empty() {
            name.to_owned()
        } else {
            format!("{path}.{name}")
        }
    };
    for name in schema
        .get("required")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
    {
        if !map.contains_key(name) {
            causes.push(Cause::new("FieldValueRequired", below(name), "Required value"));
        }
    }
    let count = u64::try_from(map.len()).unwrap_or(u64::MAX);
    let bound = |name: &str| schema.get(name).and_then(Value::as_u64);
    if let Some(minimum) = bound("minProperties").filter(|minimum| count < *minimum) {
        causes.push(invalid(
            path,
            &json!(count),
            &format!("should have at least {minimum} properties"),
        ));
    }
    if let Some(maximum) = bound("maxProperties").filter(|maximum| count > *maximum) {
        let message = format!("Too many: {count}: must have at most {maximum} items");
        causes.push(Cause::new("FieldValueTooMany", path, message));
    }
    for (name, value) in map {
        if let Some(schema) = field_schema(schema, name) {
            check(value, schema, &below(name), causes);
        }
    }
}

fn check_junctors(value: &Value, schema: &Value, path: &str, causes: &mut Vec<Cause>) {
    let branches = |name: &str| {
        schema
            .get(name)
            .and_then(Value::as_array)
            .map(Vec::as_slice)
            .unwrap_or_default()
    };
    let holds = |schema: &Value| {
        let mut found = Vec::new();
        check(value, schema, path, &mut found);
        found.is_empty()
    };
    for branch in branches("allOf") {
        check(value, branch, path, causes);
    }
    let any = branches("anyOf");
    if !any.is_empty() && !any.iter().any(holds) {
        causes.push(invalid(path, value, "must validate at least one schema (anyOf)"));
    }
    let one = branches("oneOf");
    if !one.is_empty() && one.iter().filter(|branch| holds(branch)).count() != 1 {
        causes.push(invalid(path, value, "must validate one and only one schema (oneOf)"));
    }
    if schema.get("not").is_some_and(holds) {
        causes.push(invalid(path, value, "must not validate the schema (not)"));
    }
}
