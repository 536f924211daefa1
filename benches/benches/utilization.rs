//! Windows of measured use, the ring of the core beside a list: the time of a sample and of a mean, and time and heap of an
//! hour of samples of 15,000 nodes. Both must say the same.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use autoscaler_benches::{
    measure::{Measure, table, timed},
    utilization::{List, amounts, sample},
};
use autoscaler_core::usage::{Pushed, Sample, Usage, UsageWindow, UsageWindows, WindowShape};
use criterion::{Criterion, criterion_group, criterion_main};
use jiff::SignedDuration;
use peak_alloc::PeakAlloc;

#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;

/// How many samples or means one run consists of.
const PARTS: usize = 4096;

/// Nodes of the cluster that is sampled for an hour.
const NODES: usize = 15_000;

/// Samples of 60 years.
const YEARS: usize = 60 * 365 * 24 * 60;

/// Samples of an hour.
const HOUR: usize = 60;

/// Either kind of window.
trait Window {
    fn push(&mut self, sample: Sample);
    fn mean(&self) -> Option<Usage>;
}

/// Either kind of the windows of a cluster.
trait Windows {
    fn push(&mut self, node: &str, sample: Sample);
    fn mean(&self, node: &str) -> Option<Usage>;
}

/// A list, and how long its window is.
struct Timed(WindowShape, List);

/// What an hour of a cluster costs.
struct Hour {
    time: Duration,
    /// Bytes of the heap at the end.
    live: usize,
    /// Bytes of the heap that were taken beyond what was there when the windows were full.
    late: usize,
    means: Vec<Option<Usage>>,
}

fn shape(minutes: i64) -> WindowShape {
    WindowShape::new(SignedDuration::from_mins(minutes), SignedDuration::from_mins(1)).expect("a shape that there is")
}

fn push(criterion: &mut Criterion) {
    let mut measure = Measure::new(criterion, "utilization/push");
    one("ring", &mut measure, || UsageWindow::new(shape(10)));
    one("list", &mut measure, || Timed(shape(10), List::default()));
    one("ring of an hour", &mut measure, || UsageWindow::new(shape(60)));
    one("list of an hour", &mut measure, || Timed(shape(60), List::default()));
    measure.finish();
}

/// Pushes on and on into one window, which is full and moves on with each sample.
fn one<W: Window>(name: &str, measure: &mut Measure<'_>, new: impl Fn() -> W) {
    let amounts = amounts(PARTS + 7);
    // A full window, and the number of the next sample.
    let full = || {
        let mut window = new();
        (0..100).for_each(|number| window.push(sample(&amounts, number)));
        (window, 100)
    };
    let (mut window, mut number) = full();
    measure.run(name, |runs, found| {
        let mut took = Duration::ZERO;
        for _ in 0..runs {
            // Windows end in the year 2106.
            if YEARS < number {
                (window, number) = full();
            }
            // Samples are made before, so that the time is that of the window alone.
            let samples: Vec<Sample> = (number..number + PARTS)
                .map(|number| sample(&amounts, number))
                .collect();
            number += PARTS;
            HEAP.reset_peak_usage();
            let before = HEAP.current_usage();
            took += timed(1, || samples.iter().for_each(|sample| window.push(*sample)));
            assert_eq!(HEAP.peak_usage(), before, "bytes were allocated");
        }
        found.parts = Some((PARTS, "sample"));
        found.note = "no byte is allocated".to_owned();
        took
    });
}

fn window_mean(criterion: &mut Criterion) {
    let mut measure = Measure::new(criterion, "utilization/window_mean");
    mean_of("ring", &mut measure, || UsageWindow::new(shape(10)));
    mean_of("list", &mut measure, || Timed(shape(10), List::default()));
    mean_of("ring of an hour", &mut measure, || UsageWindow::new(shape(60)));
    mean_of("list of an hour", &mut measure, || Timed(shape(60), List::default()));
    measure.finish();
}

/// The means of many windows, one after the other, and so that no two are the same.
fn mean_of<W: Window>(name: &str, measure: &mut Measure<'_>, new: impl Fn() -> W) {
    const WINDOWS: usize = 64;
    let amounts = amounts(PARTS + 7);
    let windows: Vec<W> = (0..WINDOWS)
        .map(|index| {
            let mut window = new();
            (0..100 + index).for_each(|number| window.push(sample(&amounts, number)));
            window
        })
        .collect();
    measure.run(name, |runs, found| {
        let sum = || {
            let mut sum = 0_i64;
            for _ in 0..PARTS / WINDOWS {
                for mean in windows.iter().filter_map(Window::mean) {
                    sum += mean.cpu.0 + mean.memory.0;
                }
            }
            sum
        };
        // That of cpu and that of memory.
        found.parts = Some((2 * PARTS, "mean"));
        found.note = format!("{PARTS} of cpu and of memory; all together {}", sum());
        timed(runs, sum)
    });
}

fn one_hour_growth(_: &mut Criterion) {
    let nodes: Vec<String> = (0..NODES).map(|node| format!("workers-{node:08x}")).collect();
    let mut rows = Vec::new();
    for minutes in [10_u8, 60] {
        let ring = hour(&nodes, minutes.into(), UsageWindows::new(shape(minutes.into())));
        let list = hour(&nodes, minutes.into(), (shape(minutes.into()), BTreeMap::new()));
        assert_eq!(ring.means, list.means, "both windows must say the same");
        assert_eq!(ring.late, 0, "bytes were allocated after the windows were full");
        assert!(ring.live * 2 < list.live, "less than half of the memory is saved");
        let row = |name: &str, hour: &Hour| {
            let samples = NODES * HOUR;
            format!(
                "| utilization/1h_growth/{name}, window of {minutes} min | {:.2?} | {:.1} | {} | {} | {} |",
                hour.time,
                hour.time.as_nanos() as f64 / samples as f64,
                hour.live / NODES,
                hour.live / 1024,
                hour.late
            )
        };
        rows.push(row("ring", &ring));
        rows.push(row("list", &list));
    }
    let columns = [
        "benchmark",
        "time",
        "ns per sample",
        "bytes per node",
        "KiB in all",
        "bytes allocated once windows are full",
    ];
    table(&columns, &rows);
}

/// An hour of samples, one per node and minute.
fn hour(nodes: &[String], minutes: usize, mut windows: impl Windows) -> Hour {
    let amounts = amounts(997);
    let before = HEAP.current_usage();
    let mut time = Duration::ZERO;
    let mut late = 0;
    for minute in 0..HOUR {
        HEAP.reset_peak_usage();
        let held = HEAP.current_usage();
        let begun = Instant::now();
        for (index, node) in nodes.iter().enumerate() {
            let at = sample(&amounts, minute).at;
            let usage = amounts[(minute + index) % amounts.len()];
            windows.push(node, Sample { at, usage });
        }
        time += begun.elapsed();
        if minutes < minute {
            late += HEAP.peak_usage() - held;
        }
    }
    Hour {
        time,
        live: HEAP.current_usage() - before,
        late,
        means: nodes.iter().map(|node| windows.mean(node)).collect(),
    }
}

impl Window for UsageWindow {
    fn push(&mut self, sample: Sample) {
        assert_eq!(Self::push(self, sample, sample.at), Pushed::Taken);
    }

    fn mean(&self) -> Option<Usage> {
        Self::mean(self)
    }
}

impl Window for Timed {
    fn push(&mut self, sample: Sample) {
        let Self(shape, list) = self;
        list.push(sample, shape.window(), sample.at);
    }

    fn mean(&self) -> Option<Usage> {
        self.1.mean()
    }
}

impl Windows for UsageWindows {
    fn push(&mut self, node: &str, sample: Sample) {
        assert_eq!(Self::push(self, node, sample, sample.at), Pushed::Taken);
    }

    fn mean(&self, node: &str) -> Option<Usage> {
        self.get(node)?.mean()
    }
}

impl Windows for (WindowShape, BTreeMap<Box<str>, List>) {
    fn push(&mut self, node: &str, sample: Sample) {
        let (shape, lists) = self;
        if let Some(list) = lists.get_mut(node) {
            return list.push(sample, shape.window(), sample.at);
        }
        let mut list = List::default();
        list.push(sample, shape.window(), sample.at);
        lists.insert(node.into(), list);
    }

    fn mean(&self, node: &str) -> Option<Usage> {
        self.1.get(node)?.mean()
    }
}

criterion_group!(benches, push, window_mean, one_hour_growth);
criterion_main!(benches);
