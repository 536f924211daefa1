//! The operator is ended in the middle of removals by failpoints, which only exist in builds for tests.

use std::{
    env,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use autoscaler_scaler::failpoint;
use harness::{scenarios, world::World};
use serde_json::Value;

const PROGRAM: &str = env!("CARGO_BIN_EXE_operator");

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_every_step_of_a_removal() {
    scenarios::killed_at(World::real().await, Some(PROGRAM), failpoint::REMOVAL).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_every_step_of_the_way_back() {
    scenarios::killed_at(World::real().await, Some(PROGRAM), failpoint::ROLLBACK).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_replica_finishes_a_drain() {
    scenarios::another_replica_finishes_a_drain(World::real().await, PROGRAM).await;
}

#[test]
fn what_is_shipped_has_no_failpoints() {
    let texts = [failpoint::VARIABLE, "write-Cordoned", "release-record"];
    let (for_tests, shipped) = (Path::new(PROGRAM), build_shipped());
    for text in texts {
        assert!(
            contains(for_tests, text),
            "{text} is looked for in vain where it must be"
        );
        assert!(
            !contains(&shipped, text),
            "the operator that is shipped has the text {text}"
        );
    }
}

/// The operator as `cargo build` makes it without further features.
fn build_shipped() -> PathBuf {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut cargo = Command::new(env!("CARGO"));
    // What cargo tells this test is not for the build: scripts of dependencies would run again because of it.
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") || text == "CARGO_CRATE_NAME" {
            cargo.env_remove(name);
        }
    }
    let built = cargo
        .args(["build", "--quiet", "--package", "autoscaler-operator"])
        .args(["--bin", "vpsie-autoscaler", "--message-format", "json"])
        .current_dir(workspace)
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    assert!(built.status.success(), "{}", built.status);
    let messages = String::from_utf8(built.stdout).unwrap();
    let messages = messages
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    let executable = messages
        .filter_map(|message| Some(message["executable"].as_str()?.to_owned()))
        .next_back();
    executable.expect("cargo names what it built").into()
}

/// Left to grep, because a build for tests takes a minute for the hundreds of megabytes of its own kind.
fn contains(program: &Path, text: &str) -> bool {
    let grep = Command::new("grep")
        .args(["--quiet", "--text", "--fixed-strings", "--", text])
        .arg(program)
        .status()
        .unwrap();
    match grep.code() {
        Some(0) => true,
        Some(1) => false,
        _ => panic!("grep ended with {grep}"),
    }
}
