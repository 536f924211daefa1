//! Events have two APIs over the same objects. May hold: the conversion between `v1` (stored) and `events.k8s.io/v1`.

use serde_json::Value;

/// Field names in `v1` and in `events.k8s.io/v1`. Every other field has one name.
const RENAMED: &[(&str, &str)] = &[
    ("message", "note"),
    ("involvedObject", "regarding"),
    ("reportingComponent", "reportingController"),
    ("count", "deprecatedCount"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("source", "deprecatedSource"),
];

/// `events.k8s.io/v1` to the stored form.
pub(super) fn to_core(mut event: Value) -> Value {
    rename(&mut event, |(core, new)| (new, core));
    event
}

/// The stored form to `events.k8s.io/v1`.
pub(super) fn from_core(mut event: Value) -> Value {
    rename(&mut event, |(core, new)| (core, new));
    event
}

fn rename(event: &mut Value, direction: impl Fn((&'static str, &'static str)) -> (&'static str, &'static str)) {
    let Some(fields) = event.as_object_mut() else {
        return;
    };
    for &pair in RENAMED {
        let (from, to) = direction(pair);
        if let Some(value) = fields.remove(from) {
            fields.insert(to.to_owned(), value);
        }
    }
}
