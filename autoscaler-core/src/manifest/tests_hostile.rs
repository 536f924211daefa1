//! Texts that nobody would write by hand: they are read or refused, in time, and nothing panics.

use proptest::prelude::*;

use super::{
    tests::{errors, objects, source},
    *,
};

const SAMPLES: [&str; 4] = [
    include_str!("../../../examples/clusters/bad/unknown-kind.yaml"),
    include_str!("../../../examples/clusters/scale-up/offerings.json"),
    include_str!("../../../examples/clusters/mixed/offerings.json"),
    "apiVersion: v1\nitems:\n- &a\n  apiVersion: v1\n  kind: Pod\n  metadata: {name: x, labels: {a: \"b\\u00e9\"}}\n  spec:\n    containers:\n    - resources: {requests: {cpu: 1e3, memory: 0x10}}\n- *a\n- <<: *a\n  metadata: |\n    text\n  kind: >-\n    Pod\nkind: List\n...\n---\n{\"apiVersion\": \"v1\", \"kind\": \"NodeList\", \"items\": [{\"metadata\": {\"name\": \"\\ud83d\\ude00\"}}]}\n",
];

fn try_all(text: &str) {
    let mut into = Objects::default();
    let _: Result<(), ReadErrors> = read(&source(text), &mut into);
    let _: Result<Vec<_>, ReadErrors> = read_offerings(&source(text));
}

#[test]
fn deep_nesting_is_refused() {
    for (open, close) in [("[", "]"), ("{\"a\":", "}"), ("{a: ", "}")] {
        let text = format!("{{\"a\":{}1{}}}", open.repeat(100_000), close.repeat(100_000));
        assert!(errors(&text).starts_with("dump.yaml:1: "), "{open}");
        assert!(
            errors(&format!("a: {}", open.repeat(100_000))).starts_with("dump.yaml:1: "),
            "{open}"
        );
    }
    let block: String = (0..5000).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect();
    assert!(errors(&block).starts_with("dump.yaml:2"));
    assert!(errors(&"- ".repeat(100_000)).starts_with("dump.yaml:1: "));
}

#[test]
fn aliases_cannot_expand_without_limit() {
    let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..30 {
        let before = format!("*a{}, ", level - 1).repeat(9);
        text += &format!("a{level}: &a{level} [{before}*a{}]\n", level - 1);
    }
    assert!(errors(&text).contains("anchors and aliases of the text expand to too much"));
    let long = format!("a: &a {}\nb: [{}]\n", "x".repeat(1_000_000), "*a, ".repeat(1000));
    assert!(errors(&long).contains("anchors and aliases of the text expand to too much"));
}

#[test]
fn hundreds_of_thousands_of_labels_are_read() {
    let labels: String = (0..300_000).map(|n| format!("    k{n}: v\n")).collect();
    let text = format!("apiVersion: v1\nkind: Node\nmetadata:\n  name: n\n  labels:\n{labels}");
    assert_eq!(objects(&text).nodes[0].metadata.labels.len(), 300_000);
}

#[test]
fn long_lines_of_json_keep_their_columns() {
    let pods: Vec<_> = (0..20_000)
        .map(|n| format!(r#"{{"apiVersion":"v1","kind":"Pod","metadata":{{"name":"ä{n}"}}}}"#))
        .collect();
    let text = format!(
        r#"{{"apiVersion":"v1","kind":"List","items":[{},{{"kind":1}}]}}"#,
        pods.join(",")
    );
    let mut into = Objects::default();
    let errors = read(&source(&text), &mut into).unwrap_err();
    assert_eq!(into.pods.len(), 20_000);
    let expected = text.chars().count() - r#"1}]}"#.len() + 1;
    assert_eq!(usize::try_from(errors.errors[0].column).unwrap(), expected);
}

#[test]
fn extreme_numbers_are_quantities_or_errors() {
    let node = |cpu: &str| {
        format!("apiVersion: v1\nkind: Node\nmetadata: {{name: n}}\nstatus: {{capacity: {{cpu: {cpu}}}}}\n")
    };
    for huge in [
        "1e400",
        "99999999999999999999999999",
        "0xFFFFFFFFFFFFFFFF",
        "\"1e999999999999\"",
    ] {
        assert_eq!(
            objects(&node(huge)).nodes[0].status.capacity["cpu"].units(),
            i64::MAX,
            "{huge}"
        );
    }
    for bad in [".inf", ".nan", "0xFFFFFFFFFFFFFFFFFF", "[1]", "true", "-1e400"] {
        assert!(errors(&node(bad)).contains("status.capacity.cpu: "), "{bad}");
    }
    let digits = "9".repeat(1_000_000);
    assert!(
        !errors(&format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: p}}\nspec: {{priority: {digits}}}\n"
        ))
        .is_empty()
    );
    // A message never repeats a long text in full.
    assert!(errors(&format!("apiVersion: v1\nkind: {}\n", "x".repeat(1_000_000))).len() < 1000);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_text_is_read_or_refused(text in "\\PC{0,200}") {
        try_all(&text);
        try_all(&format!("{{\"{text}"));
    }

    #[test]
    fn any_text_of_the_usual_characters_is_read_or_refused(text in "[\\[\\]{}:,&*!|>'\"%@`#?<~ \\n\\t\\r\\\\a-e0-9.+-]{0,200}") {
        try_all(&text);
    }

    #[test]
    fn mutated_dumps_are_read_or_refused(
        sample in 0..SAMPLES.len(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0..20_usize, "[\\[\\]{}:,&*!|>'\"# \\n\\t\\-a0\u{0}\u{feff}é]{0,4}"), 1..6),
    ) {
        let mut text: Vec<char> = SAMPLES[sample].chars().collect();
        for (place, length, insert) in edits {
            let start = place.index(text.len() + 1);
            let end = (start + length).min(text.len());
            text.splice(start..end, insert.chars());
        }
        try_all(&text.into_iter().collect::<String>());
    }

    #[test]
    fn json_and_yaml_give_the_same(labels in prop::collection::btree_map("[a-z\u{e4}\u{1f600}\"\\\\ ]{1,8}", "\\PC{0,20}", 0..6)) {
        let labels = serde_json::to_string(&labels).unwrap();
        let json = format!("{{\"apiVersion\": \"v1\", \"kind\": \"Node\", \"metadata\": {{\"name\": \"n\", \"labels\": {labels}}}}}");
        let yaml = format!("apiVersion: v1\nkind: Node\nmetadata:\n  name: n\n  labels: {labels}\n");
        let (from_json, from_yaml) = (objects(&json), objects(&yaml));
        prop_assert_eq!(&from_json.nodes, &from_yaml.nodes);
        prop_assert_eq!(&from_json.nodes[0].metadata, &serde_json::from_str::<Node>(&json).unwrap().metadata);
    }
}
