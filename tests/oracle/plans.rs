//! Every plan can be carried out: its nodes added, all its pods can be bound one after another, each accepted by
//! kube-scheduler's Filter plugins at that moment.

use std::fs;
use std::path::Path;
use std::time::Instant;

use harness::oracle::plans::Outcome;
use harness::oracle::plans::Problem;
use harness::oracle::plans::carry_out;
use harness::oracle::plans::summary;
use harness::oracle::problems::karpenter;
use harness::oracle::problems::random_problem;
use harness::oracle::process::Left;
use harness::oracle::process::Oracle;
use harness::oracle::shrink::shrink;
use harness::oracle::shrink::yaml;
use serde_json::Value;
use serde_json::json;

use super::variable;

/// The first problem of every run.
const SEED: u64 = 1;

/// How many problems a run plans for.
const PROBLEMS: u64 = 200;

/// The pods of the large problem.
const KARPENTER_PODS: usize = 5000;

#[test]
fn plans_for_random_clusters_can_be_carried_out() {
    let seed = variable("ORACLE_PLAN_SEED").unwrap_or(SEED);
    let count = variable("ORACLE_PLANS").unwrap_or(PROBLEMS);
    let mut oracle = Oracle::start().unwrap();
    let (mut bound, mut created, mut unschedulable) = (0, 0, 0);
    let (mut failed, mut violations) = (Vec::new(), Vec::new());
    for seed in seed..seed + count {
        let problem = random_problem(seed);
        let outcome = problem.outcome().unwrap();
        bound += outcome.binds.len();
        created += outcome.created;
        unschedulable += outcome.unschedulable;
        violations.extend(
            outcome
                .violations
                .iter()
                .map(|violation| format!("{seed}: {violation}")),
        );
        let left = carry_out(&mut oracle, &[outcome]).unwrap().remove(0);
        if !left.is_empty() {
            failed.push((seed, problem, left));
        }
    }
    println!("{count} plans: {created} nodes created, {bound} pods placed, {unschedulable} left without a place");
    assert!(
        count < PROBLEMS || (created > 200 && bound > 2000),
        "the problems ask for too little"
    );
    let Some((seed, problem, left)) = failed.first() else {
        assert!(
            violations.is_empty(),
            "the planner's own check objects, by ORACLE_PLAN_SEED (with ORACLE_PLANS=1): {violations:#?}"
        );
        return;
    };
    let small = shrink(&problem.objects, |objects| {
        fails(&mut oracle, problem, objects, &left[0].plugin)
    });
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("plan-{seed}.yaml"));
    let small = Problem {
        objects: small,
        offerings: problem.offerings.clone(),
    };
    fs::write(&file, yaml(&small.objects)).unwrap();
    let outcome = small.outcome().unwrap();
    let left_of_small = carry_out(&mut oracle, std::slice::from_ref(&outcome)).unwrap();
    let of_seed = |(seed, _, left): &(u64, Problem, Vec<Left>)| format!("    {seed}: {}\n", summary(left));
    let seeds: String = failed.iter().map(of_seed).collect();
    panic!(
        "{} of {count} plans cannot be carried out, by ORACLE_PLAN_SEED (with ORACLE_PLANS=1) and what refuses their pods:\n\
         {seeds}\
         the planner's own check says: {violations:#?}\n\
         the smallest cluster like {seed} is in {} with the offerings {}\n\
         its plan binds {:?} and leaves {left_of_small:#?}",
        failed.len(),
        file.display(),
        json!(small.offerings),
        outcome.binds,
    );
}

#[test]
fn the_plan_for_the_shape_of_karpenter_can_be_carried_out() {
    let pods = variable("ORACLE_KARPENTER_PODS").map_or(KARPENTER_PODS, |pods| usize::try_from(pods).unwrap());
    let mut oracle = Oracle::start().unwrap();
    let started = Instant::now();
    let outcome = karpenter(pods, SEED).outcome().unwrap();
    let planned = started.elapsed();
    assert_eq!(
        (outcome.binds.len(), outcome.unschedulable),
        (pods, 0),
        "every pod gets a place"
    );
    assert!(outcome.violations.is_empty(), "{:#?}", outcome.violations);
    let created = outcome.created;
    let left = carry_out(&mut oracle, std::slice::from_ref(&outcome))
        .unwrap()
        .remove(0);
    println!(
        "{pods} pods on {created} nodes, planned in {planned:?}, bound after {:?}",
        started.elapsed()
    );
    if let Some(first) = left.first() {
        let Outcome { objects, binds, .. } = &outcome;
        let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("karpenter.json");
        fs::write(&file, json!({"objects": objects, "binds": binds}).to_string()).unwrap();
        let (count, plugins) = (left.len(), summary(&left));
        panic!(
            "{count} pods cannot be bound: {plugins}\nthe first is {first:?}\nthe question, as the oracle reads it, is in {}",
            file.display()
        );
    }
}

/// Whether the plan for these objects cannot be carried out because of this plugin.
fn fails(oracle: &mut Oracle, problem: &Problem, objects: &[Value], plugin: &str) -> bool {
    let smaller = Problem {
        objects: objects.to_vec(),
        offerings: problem.offerings.clone(),
    };
    // What cannot be planned for is no smaller form of the same.
    let left = smaller.outcome().and_then(|outcome| carry_out(oracle, &[outcome]));
    left.iter().flatten().flatten().any(|refusal| refusal.plugin == plugin)
}
