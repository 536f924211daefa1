//! `explain node` as a user runs it on a dump. On an operator that runs it is asked in `explain`.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a helper of a test fails by panicking"
)]

#[path = "explain/dump.rs"]
mod dump;

use std::process::Command;

use autoscaler_core::plan::KeepReason;
use serde_json::{Value, json};

use self::dump::{Dump, NOW};

/// Labels of a node of the NodeGroup `shop/a`.
const OF_GROUP: &str = "autoscaler.vpsie.com/managed: \"true\", autoscaler.vpsie.com/nodegroup: a";

const RUNNING: &str = "phase: Running";

/// A controller, which makes a new pod in the place of one that goes.
const OWNED: &str = "ownerReferences: [{apiVersion: apps/v1, kind: ReplicaSet, name: web, uid: u, controller: true}]";

/// Pods `shop/web` with a controller and `shop/bare` without one, on `n1` of two nodes of a group.
fn dump() -> Dump {
    Dump::of("node")
        .group("a", 5, "medium", "")
        .node("n1", OF_GROUP, "")
        .node("n2", OF_GROUP, "")
        .pod("busy", "3", "nodeName: n2", RUNNING)
        .pod("bare", "500m", "nodeName: n1", RUNNING)
        .with(&format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: web, namespace: shop, {OWNED}}}\nspec: {{nodeName: n1, containers: [{{name: c, resources: {{requests: {{cpu: 1200m}}}}}}]}}\nstatus: {{phase: Running}}"
        ))
}

fn names(explanation: &Value) -> Vec<&str> {
    let nodes = explanation["nodes"].as_array().unwrap().iter();
    nodes.map(|node| node["node"].as_str().unwrap()).collect()
}

#[test]
fn the_object_is_the_documented_one() {
    let mut explanation = dump().json(&["n1", "--ignore-timers"]);
    let rules = explanation["nodes"][0]["rules"].take();
    let expected = json!({
        "apiVersion": "autoscaler.vpsie.com/v1alpha1",
        "kind": "Explanation",
        "now": NOW,
        "nodes": [{
            "node": "n1",
            "nodeGroup": "shop/a",
            "verdict": "Keep",
            "reason": "BlockedByPod",
            "pod": "shop/bare",
            "podReason": "NotReplicated",
            "utilization": {"cpu": 0.425, "memory": 0.0},
            "message": "pod shop/bare has no controller that would replace it",
            "rules": null,
            "pods": [
                {
                    "pod": "shop/bare", "rule": "NotReplicated", "outcome": "Block",
                    "message": "pod shop/bare has no controller that would replace it",
                    "remedy": "annotate the pod cluster-autoscaler.kubernetes.io/safe-to-evict=true, or delete it",
                    "destinations": [{"node": "n2", "fits": true}],
                },
                {
                    "pod": "shop/web", "rule": "Replicated", "outcome": "Move",
                    "message": "pod shop/web has a controller that makes a new one elsewhere",
                    "destinations": [{
                        "node": "n2", "fits": false, "reason": "NodeResourcesFit",
                        "message": "cpu: needs 1200m, 1000m free",
                    }],
                },
            ],
        }],
    });
    assert_eq!(explanation, expected);
    let rules = rules.as_array().unwrap();
    assert_eq!(rules.len(), KeepReason::ALL.len());
    assert_eq!(
        rules[0],
        json!({"rule": "NotAutoscaled", "passed": true, "message": "belongs to NodeGroup shop/a"})
    );
    assert_eq!(
        rules[10],
        json!({
            "rule": "NotUnderutilized", "passed": true,
            "value": "cpu 42.5%, memory 0%", "threshold": "cpu 50%, memory 50%",
            "message": "cpu 42.5% of 4000m requested, threshold 50%; memory 0% of 8Gi requested, threshold 50%; its use is not measured: requests alone count; timers are taken as elapsed",
        })
    );
    let refused = rules.iter().filter(|rule| rule["passed"] == false);
    let refused: Vec<_> = refused.map(|rule| rule["rule"].as_str().unwrap()).collect();
    assert_eq!(refused, ["BlockedByPod", "NoPlaceToMovePods"]);
}

#[test]
fn without_names_every_node_is_explained_and_with_names_these_in_their_order() {
    let dump = dump().node("foreign", "", "");
    assert_eq!(names(&dump.json(&[])), ["foreign", "n1", "n2"]);
    assert_eq!(names(&dump.json(&["n2", "foreign", "n2"])), ["n2", "foreign"]);
    assert_eq!(Dump::of("node").text(&[]), "There is no node.\n");
}

#[test]
fn the_verdict_is_that_of_the_plan() {
    let dump = dump();
    let input = ["-f", "-", "--now", NOW, "--ignore-timers", "-o", "json"];
    let plan = dump.pipe(
        Command::new(env!("CARGO_BIN_EXE_vpsie-autoscaler"))
            .arg("plan")
            .args(input),
    );
    let plan: Value = serde_json::from_slice(&plan.stdout).unwrap();
    let explanation = dump.json(&["--ignore-timers"]);
    for (of_plan, explained) in plan["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .zip(explanation["nodes"].as_array().unwrap())
    {
        for (field, value) in of_plan.as_object().unwrap() {
            assert_eq!(&explained[field], value, "{field}");
        }
    }
}

#[test]
fn the_text_begins_with_the_verdict_and_has_every_rule_and_pod() {
    let text = dump().text(&["n1", "--ignore-timers"]);
    for line in [
        "n1 of shop/a: Keep (BlockedByPod): pod shop/bare has no controller that would replace it\n  2 of ",
        " rules say no\n",
        "\n    ok NotAutoscaled: belongs to NodeGroup shop/a\n",
        "\n    NO BlockedByPod: pod shop/bare has no controller that would replace it\n",
        "\n  2 pods: 1 Block, 1 Move\n    Block (NotReplicated): pod shop/bare",
        "\n      what would change it: annotate the pod cluster-autoscaler.kubernetes.io/safe-to-evict=true",
        "\n      could move to 0 of 1 other node\n        NodeResourcesFit (1 node):\n          n2: cpu: needs 1200m, 1000m free\n",
    ] {
        assert!(text.contains(line), "{line:?} is not in\n{text}");
    }
}

#[test]
fn the_options_of_a_dump_count() {
    let explained = |args: &[&str]| {
        let mut explanation = dump().json(&[&["n2"], args].concat());
        explanation["nodes"][0].take()
    };
    assert_eq!(explained(&[])["reason"], "NotUnderutilized");
    let raised = ["--set", "a.scaleDownPolicy.cpuThreshold=80"];
    assert_eq!(explained(&raised)["reason"], "NotUnneededLongEnough");
    assert_eq!(
        explained(&[&raised[..], &["--ignore-timers"]].concat())["reason"],
        "BlockedByPod"
    );
    assert_eq!(explained(&["--own-node", "n2"])["reason"], "OwnNode");
}

#[test]
fn names_that_are_none_and_unknown_nodes_are_bad_input() {
    assert!(dump().refused(&["n9"]).contains("there is no node n9"));
    assert!(dump().refused(&["n1", "shop/n1"]).contains("expected NAME"));
}
