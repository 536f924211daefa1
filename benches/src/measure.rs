//! How benchmarks are timed, and how what they found becomes a table.

use std::{
    fs::OpenOptions,
    hint::black_box,
    io::Write,
    time::{Duration, Instant},
};

use autoscaler_core::check::check;
use criterion::{BenchmarkGroup, Criterion, SamplingMode, measurement::WallTime};

use crate::{
    decide,
    judge::{Decision, Problem},
    snapshot,
};

/// The environment variable that names a file: tables are added to it as they are printed.
const FIGURES: &str = "FIGURES";

/// Samples that are taken of each benchmark, after warming up.
const SAMPLES: usize = 10;

/// Benchmarks with a common name, and the table of those that were run.
pub struct Measure<'c> {
    name: String,
    group: BenchmarkGroup<'c, WallTime>,
    rows: Vec<String>,
}

/// What one benchmark has found so far.
#[derive(Debug, Default)]
pub struct Found {
    /// What was decided, for the table.
    pub note: String,
    /// Of how many equal parts a run consists and what one is called, when the time of one is of interest.
    pub parts: Option<(usize, &'static str)>,
    samples: Vec<Duration>,
}

impl<'c> Measure<'c> {
    /// Benchmarks below this name. Each takes a second or eleven runs, whichever is more.
    pub fn new(criterion: &'c mut Criterion, name: &str) -> Self {
        let mut group = criterion.benchmark_group(name);
        group
            .sample_size(SAMPLES)
            .sampling_mode(SamplingMode::Flat)
            .warm_up_time(Duration::from_millis(300))
            .measurement_time(Duration::from_secs(1));
        Self {
            name: name.to_owned(),
            group,
            rows: Vec::new(),
        }
    }

    /// Runs one benchmark, unless the command line leaves it out. `sample` is called for each sample with the number of
    /// runs to make and what was found so far, and says how long they took.
    pub fn run(&mut self, name: &str, mut sample: impl FnMut(u64, &mut Found) -> Duration) {
        let mut found = Found::default();
        let mut prepared = false;
        self.group.bench_function(name, |bencher| {
            // What is prepared in the first run must not count when the number of runs of a sample is estimated.
            if !prepared {
                sample(1, &mut found);
                prepared = true;
            }
            bencher.iter_custom(|runs| {
                let took = sample(runs, &mut found);
                found.samples.push(took / u32::try_from(runs).unwrap_or(u32::MAX));
                took
            });
        });
        if let Some(median) = found.median() {
            let of_part = found.parts.map_or(String::new(), |(parts, what)| {
                format!("{:.1} ns per {what}; ", median.as_nanos() as f64 / parts as f64)
            });
            let row = format!("| {}/{name} | {median:.2?} | {of_part}{} |", self.name, found.note);
            self.rows.push(row);
        }
    }

    /// Times the plan for a problem, from a snapshot that is there already to the plan with all its reasons.
    ///
    /// # Panics
    /// When the decision is wrong: by [`Problem::judge`], or by what `expect` asserts about this very problem.
    pub fn plan(&mut self, name: &str, problem: impl Fn() -> Problem, expect: impl Fn(&Decision)) {
        let mut prepared = None;
        self.run(name, |runs, found| {
            let snapshot = prepared.get_or_insert_with(|| {
                let problem = problem();
                let snapshot = snapshot(&problem);
                let plan = decide(&snapshot);
                assert_eq!(check(&snapshot, &plan), [], "what the core itself finds wrong");
                let decision = problem.judge(&snapshot, &plan);
                expect(&decision);
                found.note = decision.to_string();
                snapshot
            });
            timed(runs, || decide(snapshot))
        });
    }

    /// Prints the table.
    pub fn finish(self) {
        self.group.finish();
        if !self.rows.is_empty() {
            table(&["benchmark", "time", "result"], &self.rows);
        }
    }
}

impl Found {
    /// Of the samples after those that warm up, the one in the middle.
    pub fn median(&self) -> Option<Duration> {
        let mut samples = self.samples.iter().copied().rev().take(SAMPLES).collect::<Vec<_>>();
        samples.sort_unstable();
        samples.get(samples.len() / 2).copied()
    }
}

/// How long so many runs take, with what it takes to drop their results.
pub fn timed<T>(runs: u64, mut work: impl FnMut() -> T) -> Duration {
    let start = Instant::now();
    for _ in 0..runs {
        black_box(work());
    }
    start.elapsed()
}

/// Prints a table in Markdown, and adds it to the file that the environment variable `FIGURES` names.
///
/// # Panics
/// When the file cannot be written.
pub fn table(columns: &[&str], rows: &[String]) {
    let line = format!("| {} |\n|{}\n", columns.join(" | "), "---|".repeat(columns.len()));
    let text = format!("\n{line}{}\n", rows.join("\n"));
    println!("{text}");
    if let Some(path) = std::env::var_os(FIGURES) {
        let mut file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .expect("the file can be opened");
        file.write_all(text.as_bytes()).expect("the file can be written");
    }
}
