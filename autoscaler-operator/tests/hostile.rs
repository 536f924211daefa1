//! Files and arguments that nobody means well with: the program ends with 0 and a plan, or with 2 and a message that
//! says where. It never panics, and no message is endless.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a helper of a test fails by panicking"
)]

use std::{
    fs,
    io::Write,
    path::PathBuf,
    process::{Command, Output, Stdio},
};

use serde_json::Value;

const GROUP: &str = "apiVersion: autoscaler.vpsie.com/v1alpha1\nkind: NodeGroup\nmetadata: {name: g, namespace: default, labels: {autoscaler.vpsie.com/managed: \"true\"}}\nspec: {minNodes: 0, maxNodes: 5, datacenterID: dc-1, offeringIDs: [small]}\n";
const POD: &str = "apiVersion: v1\nkind: Pod\nmetadata: {name: p, namespace: default}\nspec: {containers: [{name: c, resources: {requests: {cpu: 500m}}}]}\nstatus: {phase: Pending, conditions: [{type: PodScheduled, status: \"False\", reason: Unschedulable}]}\n";
const OFFERINGS: &str = r#"{"data": [{"id": "small", "cpu": 2, "ram": 4096, "disk": 80, "hourly_price": 0.03}]}"#;

/// A file of this content, under a name that no other test takes.
fn file(name: &str, content: impl AsRef<[u8]>) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("hostile-{name}"));
    fs::write(&path, content).unwrap();
    path
}

/// `plan` with a dump on standard input.
fn plan(dump: impl AsRef<[u8]>, args: &[&str]) -> Output {
    plan_at("2026-03-02T10:00:00Z", dump, args)
}

fn plan_at(now: &str, dump: impl AsRef<[u8]>, args: &[&str]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_vpsie-autoscaler"))
        .args(["plan", "-o", "json", "-f", "-"])
        .arg(format!("--now={now}"))
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A program that refuses its arguments does not read.
    drop(child.stdin.take().unwrap().write_all(dump.as_ref()));
    child.wait_with_output().unwrap()
}

/// The plan for a dump and the offering `small`.
fn planned(name: &str, dump: impl AsRef<[u8]>, args: &[&str]) -> Value {
    let offerings = file(name, OFFERINGS);
    let output = plan(dump, &[&["--offerings", offerings.to_str().unwrap()], args].concat());
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{name}: {said:.2000}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The message of a program that refuses: short, and nothing is printed beside it.
fn refusal(output: &Output) -> String {
    let said = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said:.2000}");
    assert!(output.stdout.is_empty(), "{said:.2000}");
    assert!(said.len() < 20_000, "{said:.2000}");
    said
}

fn refused(dump: impl AsRef<[u8]>) -> String {
    refusal(&plan(dump, &[]))
}

fn verdict(plan: &Value) -> &str {
    plan["pods"][0]["verdict"].as_str().unwrap()
}

#[test]
fn bytes_that_are_no_text_are_refused() {
    for bytes in [
        &b"\xff\xfea\0p\0i\0"[..],
        b"apiVersion: v1\nkind: \xc3\x28\n",
        b"\xed\xa0\x80",
        b"\x1f\x8b\x08\x00\x00\x00\x00\x00",
        b"\x7fELF\x02\x01\x01\x00\x80\x81",
    ] {
        let message = refused(bytes);
        assert!(
            message.contains("standard input: byte ") && message.contains("is not UTF-8 text"),
            "{message}"
        );
    }
}

#[test]
fn text_that_is_no_object_is_refused_with_its_line() {
    let deep_json = "{\"a\":".repeat(100_000);
    let deep_yaml = "[".repeat(100_000);
    let deep_blocks: String = (0..2000).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect();
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..30 {
        let inner = format!("*a{}, ", level - 1).repeat(9);
        bomb += &format!("a{level}: &a{level} [{inner}]\n");
    }
    let million_lines = "# a comment\n".repeat(1_000_000) + "kind: [";
    for (dump, line) in [
        ("a: b: c", 1),
        ("\0", 1),
        ("{\"apiVersion\": \"v1\", \"kind\": \"Pod\", \"a\": \"\u{1}\"}", 1),
        ("apiVersion: v1\nkind: Pod\nkind: Node\n", 3),
        ("{\"kind\": \"Pod\",\n \"kind\": \"Pod\"}", 2),
        ("apiVersion: v1\nkind: Pod\nmetadata: *nowhere\n", 3),
        ("a: &a {b: *a}", 1),
        ("- 1\n- 2\n", 1),
        ("42", 1),
        ("\"\\ud800\"", 1),
        (&deep_json, 1),
        (&deep_yaml, 1),
        (&deep_blocks, 200),
        (&bomb, 7),
        (&million_lines, 1_000_001),
    ] {
        let message = refused(dump);
        let place = message.strip_prefix("error: standard input:").unwrap_or_default();
        let found: usize = place.split(':').next().unwrap().parse().unwrap_or_default();
        // A parser may notice a little later than a reader would.
        assert!(
            (line..=line + 3).contains(&found),
            "{dump:.80}: line {line} is expected: {message}"
        );
    }
}

#[test]
fn values_of_another_type_are_refused_with_object_and_field() {
    for (old, new, place) in [
        ("name: p,", "name: 5,", "8: Pod (document 2): metadata.name: "),
        ("name: p,", "name: [p],", "8: Pod (document 2): metadata.name: "),
        ("name: p,", "name: ~,", "8: Pod (document 2): metadata.name: "),
        (
            "500m",
            ".nan",
            "9: Pod default/p: spec.containers[0].resources.requests.cpu: ",
        ),
        (
            "500m",
            "-1",
            "9: Pod default/p: spec.containers[0].resources.requests.cpu: ",
        ),
        (
            "maxNodes: 5",
            "maxNodes: \"5\"",
            "4: NodeGroup default/g: spec.maxNodes: ",
        ),
        (
            "maxNodes: 5",
            "maxNodes: 5e0",
            "4: NodeGroup default/g: spec.maxNodes: ",
        ),
        ("minNodes: 0", "minNodes: 9", "4: NodeGroup default/g: spec.minNodes: "),
        ("minNodes: 0", "minNodes: -1", "4: NodeGroup default/g: spec.minNodes: "),
        (
            "offeringIDs: [small]",
            "offeringIDs: small",
            "4: NodeGroup default/g: spec.offeringIDs: ",
        ),
        (
            "offeringIDs: [small]",
            "offeringIDs: [5]",
            "4: NodeGroup default/g: spec.offeringIDs[0]: ",
        ),
        (
            "\"true\"",
            "true",
            "3: NodeGroup default/g: metadata.labels[\"autoscaler.vpsie.com/managed\"]: ",
        ),
        ("phase: Pending", "phase: {}", "10: Pod default/p: status.phase: "),
        ("kind: Pod", "kind: Pot", "7: Pot default/p: kind: "),
    ] {
        let dump = format!("{GROUP}---\n{POD}").replace(old, new);
        assert!(dump.contains(new));
        let message = refused(&dump);
        let expected = format!("error: standard input:{place}");
        assert!(message.starts_with(&expected), "{new}: {expected}: {message}");
    }
}

#[test]
fn line_ends_and_marks_of_other_systems_mean_nothing() {
    let dump = format!("{GROUP}---\n{POD}");
    for (name, text) in [
        ("unix", dump.clone()),
        ("dos", dump.replace('\n', "\r\n")),
        ("old-mac", dump.replace('\n', "\r")),
        ("bom", format!("\u{feff}{dump}")),
        ("dos-bom", format!("\u{feff}{}", dump.replace('\n', "\r\n"))),
        ("trailing", format!("{dump}...\n---\n---\n# nothing\n")),
    ] {
        assert_eq!(verdict(&planned(name, &text, &[])), "TriggersScaleUp", "{name}");
    }
}

#[test]
fn large_dumps_are_planned() {
    let labels: String = (0..100_000).map(|number| format!("k{number}: v, ")).collect();
    let annotations: String = (0..100_000).map(|number| format!("k{number}: v, ")).collect();
    let lines = "# a comment\n".repeat(1_000_000);
    let pod = POD.replace(
        "namespace: default}",
        &format!("namespace: default, labels: {{{labels}}}, annotations: {{{annotations}}}}}"),
    );
    let plan = planned("large", format!("{lines}{GROUP}---\n{pod}"), &[]);
    assert_eq!(verdict(&plan), "TriggersScaleUp");
}

#[test]
fn documents_of_many_megabytes_are_read_or_refused() {
    const SIZE: usize = 100_000_000;
    // What a parser looks at one by one takes longer in a build without optimization.
    const TOKENS: usize = 4_000_000;
    let pod = POD.replace(
        "name: p,",
        &format!("annotations: {{a: \"{}\"}}, name: p,", "x".repeat(SIZE)),
    );
    assert_eq!(
        verdict(&planned("one-value", format!("{GROUP}---\n{pod}"), &[])),
        "TriggersScaleUp"
    );
    let separators = "---\n".repeat(TOKENS);
    let plan = planned("separators", format!("{separators}{GROUP}---\n{POD}"), &[]);
    assert_eq!(verdict(&plan), "TriggersScaleUp");
    for (dump, problem) in [
        ("[".repeat(SIZE), "recursion limit"),
        (
            POD.replace("500m", &format!("\"{}x\"", "9".repeat(TOKENS))),
            "spec.containers[0].resources.requests.cpu: ",
        ),
        (
            POD.replace("kind: Pod", &format!("kind: {}", "x".repeat(SIZE))),
            "kind: ",
        ),
    ] {
        let message = refused(&dump);
        assert!(message.contains(problem), "{message:.2000}");
    }
}

#[test]
fn what_is_wrong_in_one_object_does_not_hide_what_is_wrong_in_another() {
    let node = "apiVersion: v1\nkind: Node\nmetadata: {name: n}\nspec: {taints: [{key: \"\", effect: NoSchedule}]}\n";
    let port = POD.replace("{name: c,", "{name: c, ports: [{hostPort: 70000}],");
    let message = refused(format!(
        "{GROUP}---\n{node}---\n{}---\n{port}",
        POD.replace("500m", "NaN")
    ));
    for problem in [
        "standard input:9: Node n: spec.taints[0].key: ",
        "standard input:14: Pod default/p: spec.containers[0].resources.requests.cpu: ",
        "standard input:20: Pod default/p: spec.containers[0].ports[0].hostPort: ",
    ] {
        assert!(message.contains(problem), "{problem}: {message}");
    }
}

#[test]
fn a_pod_that_fits_nowhere_is_a_plan_and_no_failure() {
    for cpu in ["9223372036854775807", "1e400", "9E", "4100m"] {
        let dump = format!("{GROUP}---\n{}", POD.replace("500m", &format!("\"{cpu}\"")));
        let plan = planned("nowhere", &dump, &[]);
        assert_eq!(verdict(&plan), "Unschedulable", "{cpu}");
        assert_eq!(plan["pods"][0]["reasons"][0]["reason"], "InsufficientCpu", "{cpu}");
    }
}

#[test]
fn offerings_that_are_none_are_refused() {
    let dump = format!("{GROUP}---\n{POD}");
    for (index, reply) in [
        "",
        "null",
        "{}",
        "[1]",
        r#"{"data": {}}"#,
        r#"{"error": true, "message": "no"}"#,
        r#"{"data": [{"id": "a", "cpu": 1, "ram": 1, "hourly_price": "NaN"}]}"#,
        r#"{"data": [{"id": "a", "cpu": -1, "ram": 1, "hourly_price": 1}]}"#,
        r#"{"data": [{"id": "a", "cpu": 0, "ram": 1, "hourly_price": 1}]}"#,
        r#"{"data": [{"id": "", "cpu": 1, "ram": 1, "hourly_price": 1}]}"#,
        r#"{"data": [{"id": "a", "cpu": 1, "ram": 1, "price": 1}, {"id": "a", "cpu": 1, "ram": 1, "price": 1}]}"#,
        r#"{"data": []} {"data": []}"#,
        "<html>502 Bad Gateway</html>",
    ]
    .into_iter()
    .enumerate()
    {
        let path = file(&format!("offerings-{index}"), reply);
        let message = refusal(&plan(&dump, &["--offerings", path.to_str().unwrap()]));
        assert!(
            message.starts_with(&format!("error: {}:1: ", path.display())),
            "{reply}: {message}"
        );
    }
}

#[test]
fn settings_out_of_range_are_refused() {
    let dump = format!("{GROUP}---\n{POD}");
    for setting in [
        "default/g.minNodes=99999999999",
        "default/g.minNodes=2147483647",
        "default/g.minNodes=-1",
        "default/g.minNodes=NaN",
        "default/g.minNodes=",
        "default/g.maxNodes=1e3",
        "default/g.reserved.cpu=-1",
        "default/g.reserved.cpu=NaN",
        "default/g.scaleDownPolicy.budgets.drain=101%",
        "default/g.nothing=1",
        "default/h.minNodes=1",
        "budgets.empty=-1",
        "budgets.empty=4294967296",
        "budgets.drain=-1%",
        "budgets.drain=4294967296%",
        "budgets.drain=%",
        "=",
        "",
    ] {
        let message = refusal(&plan(&dump, &["--set", setting]));
        assert!(message.starts_with("error: --set"), "{setting}: {message}");
    }
    // The maximum is so high that the minimum is what is wrong.
    let message = refusal(&plan(
        &dump,
        &[
            "--set",
            "default/g.maxNodes=2147483647",
            "--set",
            "default/g.minNodes=2147483647",
        ],
    ));
    assert!(
        message.contains("default/g") && message.contains("minNodes 2147483647"),
        "{message}"
    );
    refusal(&plan_at("10000-01-01T00:00:00Z", &dump, &[]));
    for args in [["--expander", "cheapest"], ["--expander", ","], ["--own-node", "x"]] {
        refusal(&plan(&dump, &args));
    }
}

#[test]
fn the_ends_of_time_can_be_planned_for() {
    for now in ["-009999-01-02T01:59:59Z", "9999-12-30T22:00:00Z"] {
        let dump = format!("{GROUP}---\n{POD}").replace(
            "reason: Unschedulable",
            "reason: Unschedulable, lastTransitionTime: \"2026-01-01T00:00:00Z\"",
        );
        let offerings = file("time", OFFERINGS);
        let output = plan_at(now, &dump, &["--offerings", offerings.to_str().unwrap()]);
        assert_eq!(
            output.status.code(),
            Some(0),
            "{now}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

#[test]
fn what_cannot_be_read_is_refused_with_its_name() {
    let folder = env!("CARGO_TARGET_TMPDIR");
    for path in ["no such file.yaml", folder] {
        let message = refusal(&plan("", &["-f", path]));
        assert!(message.contains(path), "{message}");
    }
}
