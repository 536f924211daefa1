//! Makes a case small: everything is left out that the failure does not need.

use serde_json::Value;

/// Fields without which an object is not one that the API server would store.
const KEPT: [&str; 8] = [
    "apiVersion",
    "kind",
    "name",
    "namespace",
    "uid",
    "operator",
    "topologyKey",
    "maxSkew",
];

/// A step into a value.
#[derive(Clone, Debug)]
enum Step {
    Key(String),
    Index(usize),
}

/// The objects with everything left out that can be, while `wanted` holds of what is left. It must hold of all of them.
pub fn shrink(objects: &[Value], mut wanted: impl FnMut(&[Value]) -> bool) -> Vec<Value> {
    let mut best = objects.to_vec();
    loop {
        let before = size(&best);
        drop_objects(&mut best, &mut wanted);
        drop_fields(&mut best, &mut wanted);
        if before <= size(&best) {
            return best;
        }
    }
}

/// The objects as YAML, one document for each, in the form that the kept cases have.
pub fn yaml(objects: &[Value]) -> String {
    let document = |object: &Value| serde_saphyr::to_string(object).unwrap_or_else(|error| format!("# {error}\n"));
    objects.iter().map(document).collect::<Vec<_>>().join("---\n")
}

/// Drops halves of the list first, then smaller and smaller parts.
fn drop_objects(best: &mut Vec<Value>, wanted: &mut impl FnMut(&[Value]) -> bool) {
    let mut part = best.len().div_ceil(2);
    while 0 < part {
        let mut start = 0;
        while start < best.len() {
            let mut smaller = best.clone();
            smaller.drain(start..best.len().min(start + part));
            if wanted(&smaller) {
                *best = smaller;
            } else {
                start += part;
            }
        }
        part /= 2;
    }
}

fn drop_fields(best: &mut Vec<Value>, wanted: &mut impl FnMut(&[Value]) -> bool) {
    for index in 0..best.len() {
        let mut paths = Vec::new();
        collect_paths(&best[index], &mut Vec::new(), &mut paths);
        // Outer ones come first, so that whole branches go at once; of a list the last, so that the others keep their place.
        for path in paths {
            let mut smaller = best.clone();
            if remove(&mut smaller[index], &path) && wanted(&smaller) {
                *best = smaller;
            }
        }
    }
}

fn collect_paths(value: &Value, prefix: &mut Vec<Step>, paths: &mut Vec<Vec<Step>>) {
    let children: Vec<(Step, &Value)> = match value {
        Value::Object(fields) => fields
            .iter()
            .map(|(key, value)| (Step::Key(key.clone()), value))
            .collect(),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .rev()
            .map(|(index, item)| (Step::Index(index), item))
            .collect(),
        _ => Vec::new(),
    };
    for (step, child) in children {
        let kept = matches!(&step, Step::Key(key) if KEPT.contains(&key.as_str()));
        prefix.push(step);
        if !kept {
            paths.push(prefix.clone());
        }
        collect_paths(child, prefix, paths);
        prefix.pop();
    }
}

/// Removes what is at the path, if it is there still.
fn remove(value: &mut Value, path: &[Step]) -> bool {
    match (path, value) {
        ([Step::Key(key)], Value::Object(fields)) => fields.remove(key).is_some(),
        ([Step::Index(index)], Value::Array(items)) if *index < items.len() => {
            items.remove(*index);
            true
        }
        ([Step::Key(key), rest @ ..], Value::Object(fields)) => {
            fields.get_mut(key).is_some_and(|next| remove(next, rest))
        }
        ([Step::Index(index), rest @ ..], Value::Array(items)) => {
            items.get_mut(*index).is_some_and(|next| remove(next, rest))
        }
        _ => false,
    }
}

fn size(objects: &[Value]) -> usize {
    objects.iter().map(|object| object.to_string().len()).sum()
}
