//! A cluster that the command is run on.

use std::{
    io::Write,
    process::{Command, Output, Stdio},
};

use serde_json::Value;

/// The time of every test.
pub(crate) const NOW: &str = "2026-01-01T12:00:00Z";

/// Offerings of 1 and 4 cores, and one that is not for sale.
const OFFERINGS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/explain/offerings.json");

/// A cluster on standard input.
pub(crate) struct Dump {
    what: &'static str,
    yaml: String,
}

impl Dump {
    /// An empty one, for `explain pod` or `explain node`.
    pub(crate) fn of(what: &'static str) -> Self {
        Self {
            what,
            yaml: String::new(),
        }
    }

    pub(crate) fn with(mut self, document: &str) -> Self {
        self.yaml.push_str("---\n");
        self.yaml.push_str(document);
        self.yaml.push('\n');
        self
    }

    /// A Ready node with 4 cores; `spec` and `labels` are YAML in braces.
    pub(crate) fn node(self, name: &str, labels: &str, spec: &str) -> Self {
        self.with(&format!(
            "apiVersion: v1\nkind: Node\nmetadata: {{name: {name}, labels: {{kubernetes.io/hostname: {name}, {labels}}}}}\nspec: {{{spec}}}\nstatus:\n  allocatable: {{cpu: \"4\", memory: 8Gi, pods: \"110\"}}\n  conditions: [{{type: Ready, status: \"True\"}}]"
        ))
    }

    /// A pod `shop/NAME` that requests CPU; `spec` is the rest of its spec, `status` its status, YAML in braces.
    pub(crate) fn pod(self, name: &str, cpu: &str, spec: &str, status: &str) -> Self {
        self.with(&format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: shop, labels: {{app: {name}}}}}\nspec: {{containers: [{{name: c, resources: {{requests: {{cpu: {cpu}}}}}}}], {spec}}}\nstatus: {{{status}}}"
        ))
    }

    /// A managed NodeGroup `shop/NAME` of one offering.
    pub(crate) fn group(self, name: &str, max: u32, offerings: &str, spec: &str) -> Self {
        self.with(&format!(
            "apiVersion: autoscaler.vpsie.com/v1alpha1\nkind: NodeGroup\nmetadata: {{name: {name}, namespace: shop, labels: {{autoscaler.vpsie.com/managed: \"true\"}}}}\nspec: {{minNodes: 0, maxNodes: {max}, datacenterID: dc-{name}, offeringIDs: [{offerings}], {spec}}}"
        ))
    }

    pub(crate) fn run(&self, args: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vpsie-autoscaler"));
        command
            .args(["explain", self.what])
            .args(args)
            .args(["-f", "-", "--now", NOW, "--offerings", OFFERINGS]);
        self.pipe(&mut command)
    }

    /// Runs a command that reads this from its standard input.
    pub(crate) fn pipe(&self, command: &mut Command) -> Output {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(self.yaml.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    }

    pub(crate) fn json(&self, args: &[&str]) -> Value {
        let output = self.run(&[args, &["-o", "json"]].concat());
        assert_eq!(
            output.status.code(),
            Some(0),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        serde_json::from_slice(&output.stdout).unwrap()
    }

    pub(crate) fn text(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// The message of a command that refuses its input.
    pub(crate) fn refused(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert!(output.stdout.is_empty());
        String::from_utf8(output.stderr).unwrap()
    }
}
