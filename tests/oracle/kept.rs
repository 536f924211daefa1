//! Clusters that planner and scheduler once disagreed about, as small as they get; and the command line, which has to say
//! what the library says.

use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use harness::oracle::cluster::Case;
use harness::oracle::cluster::full_name;
use harness::oracle::plans::Problem;
use harness::oracle::plans::carry_out;
use harness::oracle::problems::sizes;
use harness::oracle::process::Oracle;
use harness::oracle::verdicts::Coverage;
use harness::oracle::verdicts::NOW;
use harness::oracle::verdicts::Place;
use harness::oracle::verdicts::compare;
use harness::oracle::verdicts::compare_with;
use serde_json::Value;
use serde_json::json;

/// How many clusters go through the binary.
const THROUGH_THE_BINARY: u64 = 40;

#[test]
fn kept_clusters_get_the_answer_of_kube_scheduler() {
    let mut oracle = Oracle::start().unwrap();
    let files = dumps("fixtures/oracle");
    assert!(!files.is_empty());
    for (file, objects) in files {
        // What is bound is there for the others to meet.
        let pending = |object: &&Value| object["kind"] == "Pod" && object["spec"]["nodeName"].is_null();
        let pods = objects.iter().filter(pending).map(full_name).collect();
        let case = Case { objects, pods };
        let found = compare(&mut oracle, &[case], &mut Coverage::default()).unwrap();
        assert!(found[0].is_empty(), "{}: {}", file.display(), found[0][0]);
    }
}

#[test]
fn plans_for_kept_clusters_can_be_carried_out() {
    let mut oracle = Oracle::start().unwrap();
    let files = dumps("fixtures/oracle/plans");
    assert!(!files.is_empty());
    for (file, objects) in files {
        let problem = Problem {
            objects,
            offerings: sizes(),
        };
        let left = carry_out(&mut oracle, &[problem.outcome().unwrap()]).unwrap();
        assert!(left[0].is_empty(), "{}: {:#?}", file.display(), left[0]);
    }
}

#[test]
fn the_binary_gives_the_answer_of_kube_scheduler() {
    let mut oracle = Oracle::start().unwrap();
    for seed in 1..=THROUGH_THE_BINARY {
        let case = Case::new(seed);
        let ours = explained(&case, seed);
        let found = compare_with(&mut oracle, &case, &ours).unwrap();
        assert!(found.is_empty(), "case {seed}: {}", found[0]);
    }
}

/// What `explain pod -f FILE -o json` says.
fn explained(case: &Case, seed: u64) -> std::collections::BTreeMap<Place, Option<String>> {
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("explain-{}-{seed}.json", std::process::id()));
    let list = json!({"apiVersion": "v1", "kind": "List", "items": case.objects});
    fs::write(&file, list.to_string()).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_operator"))
        .args(["explain", "pod"])
        .args(&case.pods)
        .args(["-o", "json", "--now", NOW, "-f"])
        .arg(&file)
        .output()
        .unwrap();
    fs::remove_file(&file).unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "case {seed}: {errors}");
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    let mut verdicts = std::collections::BTreeMap::new();
    for pod in document["pods"].as_array().unwrap() {
        for node in pod["nodes"].as_array().unwrap() {
            let text = |value: &Value| value.as_str().unwrap().to_owned();
            let reason = (node["fits"] == false).then(|| text(&node["reason"]));
            verdicts.insert((text(&pod["pod"]), text(&node["node"])), reason);
        }
    }
    verdicts
}

/// The dumps of a folder, by name.
fn dumps(folder: &str) -> Vec<(PathBuf, Vec<Value>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    let read = |file: PathBuf| {
        let text = fs::read_to_string(&file).unwrap();
        let objects = serde_saphyr::from_multiple(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        (file, objects)
    };
    files.into_iter().map(read).collect()
}
