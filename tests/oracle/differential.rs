//! Random clusters, each pending pod against each node: the same verdict, and the same plugin that says no.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use harness::oracle::cluster::Case;
use harness::oracle::process::Oracle;
use harness::oracle::shrink::yaml;
use harness::oracle::verdicts::Coverage;
use harness::oracle::verdicts::Disagreement;
use harness::oracle::verdicts::compare;
use harness::oracle::verdicts::shrink;

use super::variable;

/// The first case of every run. Case `n` of a run has the seed of the run plus `n`.
const SEED: u64 = 1;

/// How many verdicts a run compares.
const VERDICTS: usize = 100_000;

/// How many cases are asked about at once.
const AT_ONCE: usize = 50;

/// Every predicate: the plugin, and the last words of what it says where a plugin has several.
const PREDICATES: [(&str, &str); 16] = [
    ("NodeUnschedulable", ""),
    ("NodeName", ""),
    ("TaintToleration", ""),
    ("NodeAffinity", ""),
    ("NodePorts", ""),
    ("NodeResourcesFit", ""),
    ("VolumeRestrictions", "no available disk"),
    ("VolumeRestrictions", "already in-use by another pod"),
    ("NodeVolumeLimits", ""),
    ("VolumeBinding", ""),
    ("VolumeZone", ""),
    ("PodTopologySpread", "didn't match pod topology spread constraints"),
    ("PodTopologySpread", "(missing required label)"),
    ("InterPodAffinity", "didn't match pod affinity rules"),
    ("InterPodAffinity", "didn't match pod anti-affinity rules"),
    ("InterPodAffinity", "didn't satisfy existing pods anti-affinity rules"),
];

#[test]
fn random_clusters_get_the_answer_of_kube_scheduler() {
    let seed = variable("ORACLE_SEED").unwrap_or(SEED);
    let wanted = variable("ORACLE_VERDICTS").map_or(VERDICTS, |count| usize::try_from(count).unwrap());
    let mut oracle = Oracle::start().unwrap();
    let mut coverage = Coverage::default();
    let mut next = seed;
    // One of each kind: which of our answers stands against which of theirs.
    let mut kinds = BTreeMap::new();
    while coverage.verdicts() < wanted {
        let seeds: Vec<u64> = (next..).take(AT_ONCE).collect();
        next += AT_ONCE as u64;
        let cases: Vec<_> = seeds.iter().map(|seed| Case::new(*seed)).collect();
        let found = match compare(&mut oracle, &cases, &mut coverage) {
            Ok(found) => found,
            Err(error) => panic!("cases from ORACLE_SEED={}: {error}", seeds[0]),
        };
        for (seed, found) in seeds.iter().zip(found) {
            for found in found {
                let kind = (found.ours.clone(), found.theirs.clone());
                kinds.entry(kind).or_insert_with(|| (Vec::new(), found)).0.push(*seed);
            }
        }
    }
    if !kinds.is_empty() {
        report(&mut oracle, kinds.into_values().collect());
    }
    println!("{coverage}");
    if wanted < VERDICTS {
        return;
    }
    for (plugin, words) in PREDICATES {
        let decisive = coverage.of(plugin, words);
        assert!(
            coverage.rejected() <= 50 * decisive,
            "{plugin} {words} is decisive in less than 2 % of the rejects: {decisive} of {}",
            coverage.rejected()
        );
    }
}

/// Fails with the smallest cluster for each kind of disagreement: the seeds where it showed, and the first of them.
fn report(oracle: &mut Oracle, kinds: Vec<(Vec<u64>, Disagreement)>) -> ! {
    let mut message = String::new();
    for (seeds, first) in kinds {
        let seed = seeds[0];
        let small = shrink(oracle, &Case::new(seed).objects, &first);
        let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("disagreement-{seed}-{}.yaml", first.place.1));
        fs::write(&file, yaml(&small)).unwrap();
        let times = seeds.len();
        message += &format!(
            "{first}\n    {times} times; the smallest such cluster is in {}, the whole one is ORACLE_SEED={seed} with \
             ORACLE_VERDICTS=1\n",
            file.display()
        );
    }
    panic!("{message}");
}
