//! What the fuzz targets do with an input: read it, plan, and judge what came out.
//!
//! An input fails by a panic, or by a promise that is not kept: every error has a place in the text; a plan breaks no
//! invariant, is the same when it is made again and when the objects come in another order, reports on every pending
//! pod and on every node once, and can be printed.

#![forbid(unsafe_code)]

pub mod cluster;

use autoscaler_core::{
    build::Input,
    check::check,
    document::PlanDocument,
    explain::{explain_pods, pending_pods},
    manifest::{Objects, ReadErrors, Source, read, read_offerings},
    plan::Plan,
    planner::{self, Options},
    provider::Offering,
    snapshot::Snapshot,
};
use jiff::Timestamp;

use self::cluster::Cluster;

/// The line between a dump and the offerings.
const OFFERINGS_LINE: &str = "\n# offerings\n";

/// The offerings of a text that has none.
const CATALOGUE: &str = r#"{"data": [
    {"id": "small", "name": "Small", "cpu": 1, "ram": 2048, "disk": 20, "hourly_price": 0.01},
    {"id": "large", "name": "Large", "cpu": 8, "ram": 16384, "disk": 160, "hourly_price": 0.07}]}"#;

/// The time that texts are planned for.
const NOW: &str = "2026-01-01T12:00:00Z";

/// Plans for what a text holds. What is wrong in it is left out, so that one error does not hide the rest.
pub fn judge_text(text: &str) {
    let (dump, offerings) = text.split_once(OFFERINGS_LINE).unwrap_or((text, CATALOGUE));
    let objects = read_dump(dump);
    let mut offerings = read_catalogue(offerings);
    if offerings.is_empty() {
        offerings = read_catalogue(CATALOGUE);
    }
    let now = NOW.parse().expect("the time is written as RFC 3339");
    judge(objects, &offerings, now, false);
}

/// Plans for a cluster. `Debug` of a cluster, which cargo-fuzz prints for an input that failed, is a dump for `plan -f`.
pub fn judge_cluster(cluster: &Cluster) {
    let objects = read_dump(&cluster.dump());
    let offerings = read_catalogue(&cluster.offerings());
    judge(objects, &offerings, cluster.now(), cluster.ignores_timers());
}

/// What is decided for a cluster, unjudged.
#[must_use]
pub fn plan_cluster(cluster: &Cluster) -> PlanDocument {
    let objects = read_dump(&cluster.dump());
    let offerings = read_catalogue(&cluster.offerings());
    let options = Options {
        ignore_timers: cluster.ignores_timers(),
    };
    let (snapshot, plan) = decide(&objects, &offerings, &options, cluster.now());
    PlanDocument::new(&snapshot, &plan)
}

fn read_dump(text: &str) -> Objects {
    let mut objects = Objects::default();
    let source = Source {
        name: "dump".to_owned(),
        text,
    };
    if let Err(errors) = read(&source, &mut objects) {
        judge_errors(text, &errors);
    }
    objects
}

fn read_catalogue(text: &str) -> Vec<Offering> {
    let source = Source {
        name: "offerings".to_owned(),
        text,
    };
    read_offerings(&source).unwrap_or_else(|errors| {
        judge_errors(text, &errors);
        Vec::new()
    })
}

/// Every error names a place in the text and says something, in few words.
fn judge_errors(text: &str, errors: &ReadErrors) {
    assert!(!errors.errors.is_empty(), "refused without an error");
    // YAML ends lines as Unicode has it, so this is the most that there can be.
    let lines = 1 + text.chars().filter(|c| c.is_control() || !c.is_ascii()).count();
    for error in &errors.errors {
        let line = usize::try_from(error.line).unwrap_or(usize::MAX);
        assert!(1 <= line && line <= lines + 1, "line {line} of {lines}: {error}");
        assert!(!error.message.is_empty(), "an error without a message: {error:?}");
        assert!(error.to_string().len() < 10_000, "an endless message: {error}");
    }
}

fn judge(mut objects: Objects, offerings: &[Offering], now: Timestamp, ignore_timers: bool) {
    let options = Options { ignore_timers };
    let (snapshot, plan) = decide(&objects, offerings, &options, now);
    let violations = check(&snapshot, &plan);
    assert!(violations.is_empty(), "{violations:#?}\n{plan:#?}");

    let document = PlanDocument::new(&snapshot, &plan);
    let text = serde_json::to_string(&document).expect("a plan can be printed");
    assert!(!document.to_string().is_empty());
    judge_reports(&objects, &document);
    judge_explanation(&objects, &snapshot, &options, now);

    let (_, again) = decide(&objects, offerings, &options, now);
    assert_eq!(plan, again, "the same input gave another plan");
    reverse(&mut objects);
    let (snapshot, backwards) = decide(&objects, offerings, &options, now);
    let backwards = serde_json::to_string(&PlanDocument::new(&snapshot, &backwards)).expect("a plan can be printed");
    assert_eq!(text, backwards, "the order of the objects changed the plan");
}

fn decide(objects: &Objects, offerings: &[Offering], options: &Options, now: Timestamp) -> (Snapshot, Plan) {
    let snapshot = Snapshot::build(&Input::new(objects, offerings));
    let plan = planner::plan(&snapshot, options, now);
    (snapshot, plan)
}

/// One report on every pod that has no node and has not ended, and on every node.
fn judge_reports(objects: &Objects, document: &PlanDocument) {
    let pending = objects
        .pods
        .iter()
        .filter(|pod| pod.spec.node_name.is_empty() && !matches!(pod.status.phase.as_str(), "Succeeded" | "Failed"));
    let mut wanted: Vec<_> = pending.map(|pod| pod.metadata.full_name()).collect();
    let mut reported: Vec<_> = document.pods.iter().map(|report| report.pod.clone()).collect();
    wanted.sort();
    reported.sort();
    assert_eq!(wanted, reported, "the pods that are reported on");
    let mut wanted: Vec<_> = objects.nodes.iter().map(|node| node.metadata.name.clone()).collect();
    let mut reported: Vec<_> = document.nodes.iter().map(|report| report.node.clone()).collect();
    wanted.sort();
    reported.sort();
    assert_eq!(wanted, reported, "the nodes that are reported on");
    for report in &document.pods {
        let explained = matches!(report.verdict, "FitsExisting" | "TriggersScaleUp") || !report.reasons.is_empty();
        assert!(
            explained || document_has_no_options(objects),
            "no reason for {report:#?}"
        );
    }
}

/// An answer from every node for every pending pod.
fn judge_explanation(objects: &Objects, snapshot: &Snapshot, options: &Options, now: Timestamp) {
    let pending = pending_pods(snapshot);
    let explanation = explain_pods(snapshot, &pending, options, now);
    assert_eq!(explanation.pods.len(), pending.len());
    for pod in &explanation.pods {
        assert_eq!(pod.answers.nodes.len(), objects.nodes.len(), "{pod:#?}");
    }
}

/// Whether there is neither a node nor a group that could say why it does not take a pod.
fn document_has_no_options(objects: &Objects) -> bool {
    objects.nodes.is_empty()
        && objects
            .node_groups
            .iter()
            .all(|group| group.spec.offering_ids.is_empty())
}

fn reverse(objects: &mut Objects) {
    objects.nodes.reverse();
    objects.pods.reverse();
    objects.namespaces.reverse();
    objects.persistent_volumes.reverse();
    objects.persistent_volume_claims.reverse();
    objects.storage_classes.reverse();
    objects.csi_nodes.reverse();
    objects.pod_disruption_budgets.reverse();
    objects.daemon_sets.reverse();
    objects.priority_classes.reverse();
    objects.node_groups.reverse();
    objects.vpsie_nodes.reverse();
}
