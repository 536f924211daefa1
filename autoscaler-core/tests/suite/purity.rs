//! The core depends on no runtime and on no Kubernetes client.

use std::process::Command;

#[test]
fn the_dependency_tree_holds_no_runtime_and_no_client() {
    let output = Command::new(env!("CARGO"))
        .args([
            "tree",
            "-p",
            "autoscaler-core",
            "--edges",
            "normal",
            "--prefix",
            "none",
            "--offline",
        ])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let tree = String::from_utf8(output.stdout).unwrap();
    assert!(tree.contains("jiff"), "the tree was not read: {tree}");
    for line in tree.lines() {
        let name = line.split_whitespace().next().unwrap_or_default();
        let foreign = ["tokio", "kube", "k8s-openapi", "hyper", "rand", "chrono"].contains(&name)
            || name.starts_with("vpsie-")
            || (name.starts_with("autoscaler-") && name != "autoscaler-core");
        assert!(!foreign, "autoscaler-core depends on {line}");
    }
}
