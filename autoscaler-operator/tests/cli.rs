//! The commands as a user runs them: the binary, its output and its exit status.

#![allow(clippy::unwrap_used, reason = "a helper of a test fails by panicking")]

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use serde_json::Value;

fn binary() -> Command {
    Command::new(env!("CARGO_BIN_EXE_vpsie-autoscaler"))
}

fn samples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/clusters")
}

/// `plan` on sample files, for the time that the samples are made for.
fn plan(files: &[&str], offerings: &str, more: &[&str]) -> Output {
    let mut command = binary();
    command.arg("plan").args(["--now", "2026-03-02T10:00:00Z"]);
    for file in files {
        command.arg("-f").arg(samples().join(file));
    }
    command
        .arg("--offerings")
        .arg(samples().join(offerings))
        .args(more)
        .output()
        .unwrap()
}

fn json(output: &Output) -> Value {
    assert_eq!(
        output.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The message on standard error of a command that refuses its input.
fn refused(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(output.stdout.is_empty());
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn plan_prints_the_documented_object() {
    let plan = json(&plan(
        &["scale-up/cluster.yaml"],
        "scale-up/offerings.json",
        &["-o", "json"],
    ));
    assert_eq!(plan["apiVersion"], "autoscaler.vpsie.com/v1alpha1");
    assert_eq!(plan["kind"], "Plan");
    assert_eq!(plan["now"], "2026-03-02T10:00:00Z");
    let up = plan["scaleUp"].as_array().unwrap();
    let bought: Vec<_> = up
        .iter()
        .map(|up| {
            (
                up["nodeGroup"].as_str().unwrap(),
                up["offering"].as_str().unwrap(),
                up["count"].as_u64().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        bought,
        [
            ("kube-system/batch", "large-8", 1),
            ("kube-system/general", "medium-4", 2)
        ]
    );
    assert_eq!(up[1]["datacenter"], "ams-1");
    assert_eq!(up[1]["hourlyPrice"], 0.0657);
    assert_eq!(up[1]["nodes"].as_array().unwrap().len(), 2);
    let giant = plan["pods"]
        .as_array()
        .unwrap()
        .iter()
        .find(|pod| pod["pod"] == "shop/warehouse-0")
        .unwrap();
    assert_eq!(giant["verdict"], "Unschedulable");
    assert!(
        giant["reasons"]
            .as_array()
            .unwrap()
            .iter()
            .any(|reason| reason["reason"] == "InsufficientCpu")
    );
    let node = plan["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .find(|node| node["node"] == "general-5d1c9a07")
        .unwrap();
    assert_eq!(
        (node["verdict"].as_str(), node["reason"].as_str()),
        (Some("Keep"), Some("NotUnderutilized"))
    );
    assert!(node["utilization"]["cpu"].as_f64().unwrap() > 0.8);
}

#[test]
fn b1_a_node_with_local_storage_stays_and_the_idle_one_goes() {
    let plan = json(&plan(
        &["scale-down/cluster.yaml"],
        "scale-down/offerings.json",
        &["-o", "json"],
    ));
    let down = plan["scaleDown"].as_array().unwrap();
    let removed: Vec<_> = down
        .iter()
        .map(|down| (down["node"].as_str().unwrap(), down["kind"].as_str().unwrap()))
        .collect();
    assert_eq!(removed, [("general-3f90b6d2", "Empty"), ("general-c61d04fa", "Drain")]);
    assert_eq!(down[1]["moves"][0]["to"], "general-0a4c77e1");
    let kept = plan["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .find(|node| node["node"] == "general-7be21c58")
        .unwrap();
    assert_eq!(kept["reason"], "BlockedByPod");
    assert_eq!(kept["podReason"], "LocalStorageRequested");
    assert_eq!(kept["pod"], "shop/cache-7f8d5b6c94-69be8");
}

#[test]
fn several_files_in_json_and_yaml_are_one_cluster_and_skipped_kinds_are_counted() {
    let output = plan(
        &["mixed/nodes.json", "mixed/workloads.yaml"],
        "mixed/offerings.json",
        &["-o", "json"],
    );
    let plan = json(&output);
    assert_eq!(plan["nodes"].as_array().unwrap().len(), 6);
    assert!(String::from_utf8_lossy(&output.stderr).contains("not read"));
}

#[test]
fn what_if_settings_change_the_plan_and_wrong_ones_are_refused() {
    let files = &["scale-up/cluster.yaml"];
    let offerings = "scale-up/offerings.json";
    let limited = json(&plan(
        files,
        offerings,
        &["-o", "json", "--set", "kube-system/general.offeringIDs=small-2"],
    ));
    assert_eq!(limited["scaleUp"][1]["offering"], "small-2");
    let no_drain = json(&plan(
        &["scale-down/cluster.yaml"],
        "scale-down/offerings.json",
        &["-o", "json", "--set", "budgets.drain=0"],
    ));
    assert_eq!(no_drain["scaleDown"].as_array().unwrap().len(), 1);
    for (setting, problem) in [
        ("kube-system/nothing.maxNodes=3", "NodeGroup of the input"),
        ("kube-system/general.maxNode=3", "no field"),
        ("kube-system/general.maxNodes=many", "not a number"),
        ("kube-system/general.minNodes=99", "above maxNodes"),
        ("budgets.drain=200%", "share such as 20%"),
        ("nonsense", "KEY=VALUE"),
    ] {
        let message = refused(&plan(files, offerings, &["--set", setting]));
        assert!(message.contains(problem), "{setting}: {message}");
    }
    assert!(refused(&plan(files, offerings, &["--expander", "cheapest"])).contains("\"cheapest\" names no expander"));
    assert!(refused(&plan(files, offerings, &["--own-node", "nobody"])).contains("no Node"));
}

#[test]
fn bad_input_is_refused_with_file_line_object_and_field() {
    for (file, parts) in [
        ("bad/bad.yaml", &["bad.yaml:10: ", "not valid YAML"][..]),
        (
            "bad/unknown-kind.yaml",
            &["unknown-kind.yaml:7: ", "Pdo default/web", "kind"],
        ),
        (
            "bad/bad-quantity.yaml",
            &[
                "bad-quantity.yaml:14: ",
                "Pod default/web",
                "spec.containers[0].resources.requests.cpu",
                "10x",
            ],
        ),
        ("bad/missing.yaml", &["missing.yaml", "cannot be read"]),
    ] {
        let message = refused(&plan(&[file], "scale-up/offerings.json", &[]));
        for part in parts {
            assert!(message.contains(part), "{file}: {message} lacks {part:?}");
        }
    }
    assert!(refused(&plan(&["scale-up/cluster.yaml"], "bad/missing.json", &[])).contains("missing.json"));
}

#[test]
fn standard_input_is_read_and_bad_usage_is_refused() {
    let mut child = binary()
        .args(["plan", "-f", "-", "-o", "json"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(b"apiVersion: v1\nkind: Node\nmetadata: {name: n1}\n")
        .unwrap();
    let plan = json(&child.wait_with_output().unwrap());
    assert_eq!(plan["nodes"][0]["node"], "n1");
    for args in [
        &["plan"][..],
        &["plan", "-f"],
        &["nonsense"],
        &["plan", "-f", "x", "--now", "today"],
    ] {
        let output = binary().args(args).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?}");
    }
}

#[test]
fn crds_prints_what_is_committed() {
    let output = binary().arg("crds").output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    let printed = String::from_utf8(output.stdout).unwrap();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/crds");
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        assert!(
            printed.contains(&std::fs::read_to_string(&path).unwrap()),
            "{} is not what `crds` prints",
            path.display()
        );
    }
}

#[test]
fn every_command_has_help() {
    for command in ["run", "demo", "plan", "explain", "crds"] {
        let output = binary().args([command, "--help"]).output().unwrap();
        assert_eq!(output.status.code(), Some(0));
        assert!(String::from_utf8_lossy(&output.stdout).contains("Usage:"), "{command}");
    }
}
