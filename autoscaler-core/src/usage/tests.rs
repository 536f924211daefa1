//! The ring against a plain list that is searched anew for every answer.

use proptest::{
    prelude::*,
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};

use super::*;

/// How many histories are tried.
const CASES: u32 = 4000;

/// 2026-01-01T12:00:00Z
const NOON: i64 = 1_767_268_800;

/// The rules once more, in the simplest way: a list in the order of time.
#[derive(Debug)]
struct Model {
    window: i64,
    capacity: usize,
    end: i64,
    samples: Vec<(i64, i64, i64)>,
}

/// What happens to a window; times are relative to the clock, which each step moves.
#[derive(Clone, Debug)]
enum Step {
    Push {
        clock: i64,
        age: i64,
        milli: i64,
        bytes: i64,
    },
    Advance {
        clock: i64,
    },
}

impl Model {
    fn advance(&mut self, now: i64) {
        if self.window < self.end - now {
            self.samples.clear();
            self.end = now;
        }
        self.end = self.end.max(now);
        let start = (self.end - self.window).max(0);
        self.samples.retain(|(at, ..)| start < *at);
    }

    fn push(&mut self, at: i64, milli: i64, bytes: i64, now: i64) -> Pushed {
        self.advance(now);
        let full = self.samples.len() == self.capacity;
        let is_older_than_all = self.samples.first().is_some_and(|(oldest, ..)| at < *oldest);
        if self.end < at {
            Pushed::Future
        } else if at <= (self.end - self.window).max(0) {
            Pushed::Late
        } else if self.samples.iter().any(|(time, ..)| *time == at) {
            Pushed::Duplicate
        } else if full && is_older_than_all {
            Pushed::Late
        } else {
            if full {
                self.samples.remove(0);
            }
            let mebibytes = (i128::from(bytes.max(0)) + (1 << 20) - 1) / (1 << 20);
            let memory = i64::try_from(mebibytes.min(u32::MAX.into())).unwrap() << 20;
            self.samples.push((at, milli.clamp(0, u32::MAX.into()), memory));
            self.samples.sort_unstable();
            Pushed::Taken
        }
    }

    /// Mean, least and most of both amounts.
    fn judge(&self) -> Option<[(i64, i64); 3]> {
        let count = i128::try_from(self.samples.len()).unwrap();
        let column = |of: fn(&(i64, i64, i64)) -> i64, unit: i128| {
            let values = || self.samples.iter().map(of);
            let sum: i128 = values().map(i128::from).sum();
            // Milli-cores, and kibibytes in bytes.
            let mean = i64::try_from((sum + count * unit - 1) / (count * unit) * unit).unwrap();
            (mean, values().min().unwrap(), values().max().unwrap())
        };
        if self.samples.is_empty() {
            return None;
        }
        let (cpu, memory) = (column(|sample| sample.1, 1), column(|sample| sample.2, 1024));
        Some([(cpu.0, memory.0), (cpu.1, memory.1), (cpu.2, memory.2)])
    }

    fn covered(&self, interval: i64) -> i64 {
        match (self.samples.first(), self.samples.last()) {
            (Some(first), Some(last)) => (last.0 - first.0 + interval).min(self.window),
            _ => 0,
        }
    }
}

fn time(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap()
}

fn usage(milli: i64, bytes: i64) -> Usage {
    Usage {
        cpu: MilliCpu(milli),
        memory: Bytes(bytes),
    }
}

fn shape(window: i64, interval: i64) -> WindowShape {
    WindowShape::new(SignedDuration::from_secs(window), SignedDuration::from_secs(interval)).unwrap()
}

fn step(window: i64, interval: i64) -> impl Strategy<Value = Step> {
    let clock = prop_oneof![
        12 => interval - interval / 4..=interval + interval / 4,
        4 => Just(0_i64),
        2 => 0..=3 * window,
        2 => -window..=0_i64,
        1 => -4 * window..=0_i64,
    ];
    let age = prop_oneof![
        8 => 0..=interval / 2,
        4 => 0..=window + 2,
        1 => -2 * interval..=0_i64,
    ];
    let milli = prop_oneof![8 => 0_i64..200, 1 => any::<i64>()];
    let bytes = prop_oneof![8 => 0_i64..(1 << 26), 1 => any::<i64>()];
    prop_oneof![
        8 => (clock.clone(), age, milli, bytes)
            .prop_map(|(clock, age, milli, bytes)| Step::Push { clock, age, milli, bytes }),
        1 => clock.prop_map(|clock| Step::Advance { clock }),
    ]
}

fn history() -> impl Strategy<Value = (i64, i64, Vec<Step>)> {
    let shape = prop_oneof![
        (2..=12_i64, 1..=90_i64),
        (2..=255_i64, 1..=5_i64),
        Just((255, 257)),
        Just((10, 60))
    ];
    shape.prop_flat_map(|(samples, interval)| {
        let window = samples * interval;
        proptest::collection::vec(step(window, interval), 1..120).prop_map(move |steps| (window, interval, steps))
    })
}

#[test]
fn a_window_says_what_a_plain_list_says() {
    let seed = [7; 32];
    let mut runner = TestRunner::new_with_rng(
        Config {
            cases: CASES,
            failure_persistence: None,
            ..Config::default()
        },
        TestRng::from_seed(RngAlgorithm::ChaCha, &seed),
    );
    let pushed = std::cell::RefCell::new([0_u32; 4]);
    let result = runner.run(&history(), |(window, interval, steps)| {
        let mut ring = UsageWindow::new(shape(window, interval));
        let mut model = Model {
            window,
            capacity: usize::try_from(window / interval).unwrap(),
            end: 0,
            samples: Vec::new(),
        };
        let mut now = NOON;
        for step in &steps {
            match *step {
                Step::Push {
                    clock,
                    age,
                    milli,
                    bytes,
                } => {
                    now += clock;
                    let sample = Sample {
                        at: time(now - age),
                        usage: usage(milli, bytes),
                    };
                    let expected = model.push(now - age, milli, bytes, now);
                    prop_assert_eq!(ring.push(sample, time(now)), expected);
                    pushed.borrow_mut()[expected as usize] += 1;
                }
                Step::Advance { clock } => {
                    now += clock;
                    model.advance(now);
                    ring.advance(time(now));
                }
            }
            let samples: Vec<_> = ring.samples().collect();
            let expected = model.samples.iter();
            let expected: Vec<_> = expected
                .map(|(at, milli, bytes)| Sample {
                    at: time(*at),
                    usage: usage(*milli, *bytes),
                })
                .collect();
            prop_assert_eq!(samples, expected);
            prop_assert_eq!(
                (ring.len(), ring.is_empty()),
                (model.samples.len(), model.samples.is_empty())
            );
            let judged = model.judge().map(|all| all.map(|(milli, bytes)| usage(milli, bytes)));
            let own = ring.mean().map(|mean| [mean, ring.min().unwrap(), ring.max().unwrap()]);
            prop_assert_eq!(own, judged);
            let coverage = ring.coverage();
            prop_assert_eq!(i64::from(coverage.covered_seconds), model.covered(interval));
            prop_assert_eq!(usize::from(coverage.samples), model.samples.len());
            prop_assert_eq!(i64::from(coverage.window_seconds), window);
        }
        Ok(())
    });
    if let Err(error) = result {
        panic!("seed {seed:?}: {error}");
    }
    let pushed = pushed.into_inner();
    assert!(
        pushed.iter().all(|count| 1000 < *count),
        "taken, duplicate, late, future: {pushed:?}"
    );
}

#[test]
fn a_window_holds_what_it_is_said_to_hold() {
    assert_eq!(WindowShape::DEFAULT, shape(600, 60));
    assert_eq!(WindowShape::DEFAULT.samples(), 10);
    assert_eq!(WindowShape::DEFAULT.bytes_per_window(), 72 + 10 * 14);
    assert_eq!(shape(3600, 60).bytes_per_window(), 72 + 60 * 14);
    // No multiple of the interval: longer rather than shorter.
    assert_eq!(shape(610, 60).window(), SignedDuration::from_secs(660));
    assert_eq!(shape(610, 60).samples(), 11);
}

#[test]
fn there_are_no_windows_that_say_nothing_or_do_not_fit() {
    let seconds = SignedDuration::from_secs;
    for (window, interval) in [
        (600, 0),
        (600, -60),
        (-600, 60),
        (60, 60),
        (0, 60),
        (256, 1),
        (65_536, 600),
        // Rounded up to a multiple it is too long.
        (65_535, 300),
        (600, 86_400),
    ] {
        let error = WindowShape::new(seconds(window), seconds(interval)).unwrap_err();
        assert!(error.to_string().contains("2 to 255"), "{window} {interval}: {error}");
    }
    assert!(WindowShape::new(SignedDuration::from_millis(2000), SignedDuration::from_millis(999)).is_err());
    let longest = shape(65_535, 257);
    assert_eq!((longest.samples(), longest.window()), (255, seconds(65_535)));
}

/// One sample, or a few that came together, are no ten minutes.
#[test]
fn b9_a_few_samples_do_not_make_a_window() {
    let mut window = UsageWindow::new(WindowShape::DEFAULT);
    assert_eq!(window.mean(), None);
    assert!(!window.coverage().is_enough());
    let sample = |at| Sample {
        at: time(at),
        usage: usage(100, 1 << 20),
    };
    assert_eq!(window.push(sample(NOON), time(NOON)), Pushed::Taken);
    assert!(!window.coverage().is_enough());
    assert_eq!(window.coverage().to_string(), "1 of 10 samples, 1m of 10m");
    // Ten within nine seconds.
    for second in 1..10 {
        assert_eq!(window.push(sample(NOON + second), time(NOON + second)), Pushed::Taken);
    }
    assert_eq!(window.coverage().to_string(), "10 of 10 samples, 1m 9s of 10m");
    assert!(!window.coverage().is_enough());
}

#[test]
fn four_fifths_of_the_samples_over_four_fifths_of_the_window_are_enough() {
    let fill = |minutes: &[i64], now: i64| {
        let mut window = UsageWindow::new(WindowShape::DEFAULT);
        for minute in minutes {
            let at = time(NOON + 60 * minute);
            let sample = Sample { at, usage: usage(0, 0) };
            assert_eq!(window.push(sample, at), Pushed::Taken);
        }
        window.advance(time(NOON + 60 * now));
        window.coverage().is_enough()
    };
    assert!(fill(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9], 9));
    assert!(fill(&[0, 1, 2, 3, 4, 5, 6, 7], 7), "eight of ten");
    assert!(!fill(&[0, 1, 2, 3, 4, 5, 6], 6), "seven of ten");
    assert!(fill(&[0, 2, 3, 4, 6, 7, 8, 9], 9), "two are missing in between");
    assert!(
        !fill(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9], 12),
        "the last three minutes are missing"
    );
}

#[test]
fn many_nodes_have_windows_of_their_own_until_they_are_gone() {
    let mut windows = UsageWindows::new(shape(120, 60));
    let push = |windows: &mut UsageWindows, node: &str, at: i64, milli: i64| {
        let sample = Sample {
            at: time(at),
            usage: usage(milli, 0),
        };
        assert_eq!(windows.push(node, sample, time(at)), Pushed::Taken);
    };
    push(&mut windows, "a", NOON, 100);
    push(&mut windows, "b", NOON, 200);
    push(&mut windows, "a", NOON + 60, 300);
    let mut measured = MeasuredUsage::new(windows.shape());
    measured.set("a", windows.get("a").unwrap());
    assert_eq!(measured.of("a").mean.cpu, MilliCpu(200));
    assert!(measured.of("a").coverage.is_enough());
    // Of a node that nothing is known of, that much is known.
    assert_eq!(measured.of("b").coverage.to_string(), "0 of 2 samples, 0s of 2m");
    assert_eq!((measured.len(), measured.is_empty()), (1, false));

    windows.advance(time(NOON + 121));
    let len = |windows: &UsageWindows, node: &str| windows.get(node).map(UsageWindow::len);
    assert_eq!((len(&windows, "a"), len(&windows, "b")), (Some(1), Some(0)));
    windows.retain(|node| node == "b");
    assert_eq!((len(&windows, "a"), windows.len()), (None, 1));
    // It comes back as a new one.
    push(&mut windows, "a", NOON + 122, 7);
    assert_eq!(len(&windows, "a"), Some(1));
    windows.clear();
    assert!(windows.is_empty());
}

#[test]
fn times_beyond_the_ring_are_its_limits() {
    let mut window = UsageWindow::new(shape(10, 5));
    let sample = |at| Sample { at, usage: usage(1, 1) };
    assert_eq!(window.push(sample(Timestamp::MIN), Timestamp::MIN), Pushed::Late);
    assert_eq!(window.push(sample(time(3)), time(3)), Pushed::Taken);
    assert_eq!(window.push(sample(time(1)), time(3)), Pushed::Taken);
    assert_eq!(
        window.samples().map(|sample| sample.at.as_second()).collect::<Vec<_>>(),
        [1, 3]
    );
    assert_eq!(window.push(sample(Timestamp::MAX), Timestamp::MAX), Pushed::Taken);
    assert_eq!(window.len(), 1);
    // The clock is set right: what it had said counts no more.
    assert_eq!(window.push(sample(time(NOON)), time(NOON)), Pushed::Taken);
    assert_eq!(
        window.samples().map(|sample| sample.at.as_second()).collect::<Vec<_>>(),
        [NOON]
    );
}
