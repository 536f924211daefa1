#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing, clippy::disallowed_methods, reason = "temporary")]
use autoscaler_core::{build::Input, manifest::{Objects, Source, read}, snapshot::Snapshot, world::World};
use serde_json::{Map, Value, json};
fn main() {
    let args: Vec<String> = std::env::args().collect();
    let cases: Vec<Map<String, Value>> = serde_json::from_str(&std::fs::read_to_string(&args[1]).unwrap()).unwrap();
    let expected: Vec<Map<String, Value>> = serde_json::from_str(&std::fs::read_to_string(&args[2]).unwrap()).unwrap();
    let (mut total, mut wrong) = (0, 0);
    let mut by_plugin: std::collections::BTreeMap<String, usize> = Default::default();
    for (index, (case, expected)) in cases.iter().zip(&expected).enumerate() {
        let items: Vec<Value> = case.values().flat_map(|list| list.as_array().unwrap().clone()).collect();
        let text = json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string();
        let mut objects = Objects::default();
        read(&Source { name: "x.json".into(), text: &text }, &mut objects).unwrap();
        let snapshot = Snapshot::build(&Input::new(&objects, &[]));
        let world = World::new(&snapshot);
        for id in snapshot.pod_ids().filter(|id| !snapshot.pod(*id).bound) {
            let name = snapshot.pod_name(id);
            for node in snapshot.node_ids() {
                let misfit = world.misfit(snapshot.pod(id).class, node.into());
                let ours = misfit.as_ref().map_or("", |misfit| misfit.plugin());
                let theirs = expected[&name][snapshot.text(snapshot.node(node).name)].as_str().unwrap();
                total += 1;
                *by_plugin.entry(theirs.chars().take(40).collect()).or_default() += 1;
                if ours != theirs {
                    wrong += 1;
                    if wrong <= 12 {
                        let text = misfit.as_ref().map(|m| m.text(&snapshot.symbols).to_string());
                        println!("case {index} {name} {}: ours {ours:?} {text:?}, theirs {theirs:?}", snapshot.text(snapshot.node(node).name));
                    }
                }
            }
        }
    }
    println!("{wrong} of {total} differ; {by_plugin:?}");
}
