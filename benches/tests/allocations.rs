//! A window of measured use allocates when it is made, and never again.
//!
//! The allocator counts for the whole process, so this is a program of its own with one thread.

use autoscaler_benches::utilization::{amounts, sample};
use autoscaler_core::usage::{Pushed, Sample, UsageWindow, UsageWindows, WindowShape};
use jiff::{SignedDuration, Timestamp};
use peak_alloc::PeakAlloc;

#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;

/// Bytes that were allocated meanwhile at the most at one time: zero only if there was not a single allocation.
fn allocated(work: impl FnOnce()) -> usize {
    HEAP.reset_peak_usage();
    let before = HEAP.current_usage();
    work();
    HEAP.peak_usage() - before
}

fn main() {
    assert!(0 < allocated(|| drop(vec![1_u8; 100])), "the allocator is not counted");
    let shape = WindowShape::DEFAULT;
    let amounts = amounts(997);

    let mut window = None;
    let made = allocated(|| window = Some(UsageWindow::new(shape)));
    let mut window = window.expect("it was made");
    assert_eq!(made + size_of::<UsageWindow>(), shape.bytes_per_window());
    println!(
        "a window of {} samples takes {} bytes",
        shape.samples(),
        shape.bytes_per_window()
    );

    let minute = |number: i64| sample(&amounts, 0).at + SignedDuration::from_mins(number);
    let mut taken = [0_u32; 2];
    let bytes = allocated(|| {
        let mut push = |at: Timestamp, now: Timestamp, index: usize| {
            let usage = amounts[index % amounts.len()];
            taken[usize::from(window.push(Sample { at, usage }, now) == Pushed::Taken)] += 1;
            assert_eq!(window.samples().count(), window.len());
            assert_eq!(
                [window.mean(), window.min(), window.max()].contains(&None),
                window.is_empty()
            );
            assert_eq!(usize::from(window.coverage().samples), window.len());
        };
        for (index, number) in (0..100_000_i64).enumerate() {
            let now = minute(number);
            match number % 1000 {
                // Late, twice, out of order, from the future; a gap; a clock that is set back.
                10 => push(minute(number - 20), now, index),
                20 => push(minute(number - 1), now, index),
                30 => push(now - SignedDuration::from_secs(150), now, index),
                40 => push(minute(number + 5), now, index),
                50 => push(minute(number + 500), minute(number + 500), index),
                60 => push(minute(number - 400), minute(number - 400), index),
                _ => push(now, now, index),
            }
        }
    });
    assert_eq!(bytes, 0, "bytes were allocated by pushes");
    assert!(taken.iter().all(|count| 100 < *count), "not taken, taken: {taken:?}");

    let mut windows = UsageWindows::new(shape);
    let nodes: Vec<String> = (0..100).map(|node| format!("node-{node}")).collect();
    let mut round = |number: i64| {
        for (index, node) in nodes.iter().enumerate() {
            let at = minute(number);
            let usage = amounts[index];
            assert_eq!(windows.push(node, Sample { at, usage }, at), Pushed::Taken);
        }
        windows.advance(minute(number));
        windows.retain(|_| true);
    };
    assert!(0 < allocated(|| round(0)), "windows are made");
    assert_eq!(
        allocated(|| (1..1000).for_each(&mut round)),
        0,
        "bytes were allocated by later samples"
    );
    println!("200,000 samples allocated nothing");
}
