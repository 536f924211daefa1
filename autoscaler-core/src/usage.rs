//! What nodes really use: samples over a window of time, and what they say of each node.
//!
//! Whoever can measure puts samples into [`UsageWindows`], one window per node. A window has a fixed size, gives mean,
//! minimum, maximum and coverage in constant time, and allocates nothing after it was made. What all windows say at one
//! moment is a [`MeasuredUsage`], which a [`Snapshot`](crate::snapshot::Snapshot) may carry: scale-down then asks of a node
//! that not only its requests but also its measured use is low.
//!
//! A window slides by time. It covers what lies at most [`WindowShape::window`] before its end, and its end is the latest
//! time that it was told. Its memory is limited by count: [`WindowShape::samples`], which is as many as come in when one
//! comes per interval. If they come more often, the oldest go before their time, and [`Coverage`] says that less is covered.
//!
//! ```
//! use autoscaler_core::{
//!     quantity::{Bytes, MilliCpu},
//!     usage::{Pushed, Sample, Usage, UsageWindow, WindowShape},
//! };
//! use jiff::{SignedDuration, Timestamp};
//!
//! let shape = WindowShape::new(SignedDuration::from_mins(10), SignedDuration::from_mins(1))?;
//! let mut window = UsageWindow::new(shape);
//! let start: Timestamp = "2026-01-01T12:00:00Z".parse()?;
//! for minute in 0..10 {
//!     let at = start + SignedDuration::from_mins(minute);
//!     let usage = Usage { cpu: MilliCpu(100 * minute), memory: Bytes(Bytes::GIB) };
//!     assert_eq!(window.push(Sample { at, usage }, at), Pushed::Taken);
//! }
//! assert_eq!(window.mean().map(|mean| mean.cpu), Some(MilliCpu(450)));
//! assert_eq!(window.max().map(|max| max.cpu), Some(MilliCpu(900)));
//! assert!(window.coverage().is_enough());
//!
//! // Five minutes without a sample: the window goes on, and what it knows no longer is enough.
//! window.advance(start + SignedDuration::from_mins(14));
//! assert_eq!(window.min().map(|min| min.cpu), Some(MilliCpu(500)));
//! assert!(!window.coverage().is_enough());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Amounts, shapes and what many nodes have are here; the window of one node is in `window`.

mod window;

#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, fmt};

use jiff::{SignedDuration, Timestamp};

pub use self::window::{Samples, UsageWindow};
use crate::quantity::{Bytes, MilliCpu};

/// Percent of the expected samples, and of the window, that are enough to judge by.
pub const ENOUGH_PERCENT: u32 = 80;

/// What is used of a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Of its CPU, in thousandths of a core.
    pub cpu: MilliCpu,
    /// Of its memory, in bytes.
    pub memory: Bytes,
}

/// What was used at some time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// When it was measured. Windows know it to the second.
    pub at: Timestamp,
    /// What was measured. Windows know memory to the mebibyte, rounded up; amounts below zero count as zero, and those
    /// beyond 2^32 - 1 milli-cores or mebibytes (4 million cores, 4 PiB) as this much.
    pub usage: Usage,
}

/// How long a window is, and how many samples it is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowShape {
    interval_seconds: u16,
    /// A multiple of the interval.
    window_seconds: u16,
    samples: u8,
}

/// Why there is no window of a shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a window of {} cannot be made of samples every {}: it must hold 2 to 255 of them, and the interval must be 1 s at the \
     least and the window 18 h at the most",
    Seconds(.window.as_secs()),
    Seconds(.interval.as_secs())
)]
pub struct WindowShapeError {
    window: SignedDuration,
    interval: SignedDuration,
}

/// What became of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a sample that is not taken does not count"]
pub enum Pushed {
    /// It counts.
    Taken,
    /// There is a sample of the same second, which stays: the first reading of a measurement counts.
    Duplicate,
    /// It is from before the window, or older than every one of a full window.
    Late,
    /// It is from after the end of the window, and so from a clock that is wrong.
    Future,
}

/// How much of a window is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Coverage {
    /// How many samples there are.
    pub samples: u8,
    /// How many there should be.
    pub expected: u8,
    /// How much time they stand for, in seconds: from the oldest to the newest, and one interval.
    pub covered_seconds: u32,
    /// How long the window is, in seconds.
    pub window_seconds: u32,
}

/// The windows of many nodes, all of one shape. Nodes are told apart by a text of the caller's choice, such as the UID, by
/// which a node that was made anew under its old name is another one.
#[derive(Clone, Debug)]
pub struct UsageWindows {
    shape: WindowShape,
    /// Boxed, because a tree has room for almost twice as many values as it holds.
    windows: BTreeMap<Box<str>, Box<UsageWindow>>,
}

/// What was measured of the nodes of a cluster, as of one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MeasuredUsage {
    shape: WindowShape,
    nodes: BTreeMap<Box<str>, NodeUsage>,
}

/// What was measured of one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeUsage {
    /// The mean over the window; zero when nothing is known.
    pub mean: Usage,
    /// How much of the window is known.
    pub coverage: Coverage,
}

/// A number of seconds, as people write it.
struct Seconds(i64);

// === impl WindowShape ===

impl WindowShape {
    /// Ten minutes, a sample each minute: what the Go autoscaler looks at.
    pub const DEFAULT: Self = Self {
        interval_seconds: 60,
        window_seconds: 600,
        samples: 10,
    };

    /// A window that is made for a sample per interval. Both are taken in whole seconds; a window that is no multiple of the
    /// interval is made longer.
    ///
    /// # Errors
    /// When the interval is shorter than a second, or the window holds fewer than 2 samples (a single one says nothing about
    /// a span of time), more than 255 of them, or is longer than 65,535 s.
    pub fn new(window: SignedDuration, interval: SignedDuration) -> Result<Self, WindowShapeError> {
        let error = WindowShapeError { window, interval };
        let interval_seconds = u16::try_from(interval.as_secs()).map_err(|_| error)?;
        let window_seconds = u16::try_from(window.as_secs()).map_err(|_| error)?;
        if interval_seconds == 0 {
            return Err(error);
        }
        let samples = u8::try_from(window_seconds.div_ceil(interval_seconds)).map_err(|_| error)?;
        let window_seconds = interval_seconds.checked_mul(samples.into()).ok_or(error)?;
        if samples < 2 {
            return Err(error);
        }
        Ok(Self {
            interval_seconds,
            window_seconds,
            samples,
        })
    }

    /// How long the window is.
    #[must_use]
    pub fn window(self) -> SignedDuration {
        SignedDuration::from_secs(self.window_seconds.into())
    }

    /// How often a sample should come.
    #[must_use]
    pub fn interval(self) -> SignedDuration {
        SignedDuration::from_secs(self.interval_seconds.into())
    }

    /// How many samples there should be in the window, which is also the most that it holds.
    #[must_use]
    pub const fn samples(self) -> u8 {
        self.samples
    }

    /// What a window of this shape takes in memory, in bytes, on the heap and off it.
    #[must_use]
    pub fn bytes_per_window(self) -> usize {
        size_of::<UsageWindow>() + usize::from(self.samples) * window::BYTES_PER_SAMPLE
    }
}

impl Default for WindowShape {
    fn default() -> Self {
        Self::DEFAULT
    }
}

// === impl Coverage ===

impl Coverage {
    /// Whether a node may be judged by it: at least [`ENOUGH_PERCENT`] of the expected samples are there, and they span at
    /// least as much of the window. A few samples that came together do not, nor does a window of which the end is missing.
    #[must_use]
    pub fn is_enough(&self) -> bool {
        let is_enough = |part: u32, whole: u32| whole * ENOUGH_PERCENT <= part * 100;
        is_enough(self.samples.into(), self.expected.into()) && is_enough(self.covered_seconds, self.window_seconds)
    }
}

impl fmt::Display for Coverage {
    /// Prints the numbers: `4 of 10 samples, 4m of 10m`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} of {} samples, {} of {}",
            self.samples,
            self.expected,
            Seconds(self.covered_seconds.into()),
            Seconds(self.window_seconds.into())
        )
    }
}

// === impl UsageWindows ===

impl UsageWindows {
    /// No nodes yet.
    #[must_use]
    pub const fn new(shape: WindowShape) -> Self {
        Self {
            shape,
            windows: BTreeMap::new(),
        }
    }

    /// The shape of every window.
    #[must_use]
    pub const fn shape(&self) -> WindowShape {
        self.shape
    }

    /// Takes in a sample of a node, as [`UsageWindow::push`]. The first one of a node makes its window.
    pub fn push(&mut self, node: &str, sample: Sample, now: Timestamp) -> Pushed {
        if let Some(window) = self.windows.get_mut(node) {
            return window.push(sample, now);
        }
        let mut window = UsageWindow::new(self.shape);
        let pushed = window.push(sample, now);
        self.windows.insert(node.into(), Box::new(window));
        pushed
    }

    /// Moves the end of every window, also of nodes that no sample came of.
    pub fn advance(&mut self, now: Timestamp) {
        for window in self.windows.values_mut() {
            window.advance(now);
        }
    }

    /// Forgets the nodes that `is_there` denies.
    pub fn retain(&mut self, mut is_there: impl FnMut(&str) -> bool) {
        self.windows.retain(|node, _| is_there(node));
    }

    /// Forgets what was sampled of all nodes.
    pub fn clear(&mut self) {
        self.windows.clear();
    }

    /// The window of a node, when some sample of it came.
    #[must_use]
    pub fn get(&self, node: &str) -> Option<&UsageWindow> {
        self.windows.get(node).map(Box::as_ref)
    }

    /// How many nodes have a window.
    #[must_use]
    pub fn len(&self) -> usize {
        self.windows.len()
    }

    /// Whether no node has one.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.windows.is_empty()
    }
}

// === impl MeasuredUsage ===

impl MeasuredUsage {
    /// Nothing is known of any node, over windows of this shape.
    #[must_use]
    pub const fn new(shape: WindowShape) -> Self {
        Self {
            shape,
            nodes: BTreeMap::new(),
        }
    }

    /// Sets what is known of the node of this name.
    pub fn set(&mut self, node: &str, window: &UsageWindow) {
        let usage = NodeUsage {
            mean: window.mean().unwrap_or_default(),
            coverage: window.coverage(),
        };
        self.nodes.insert(node.into(), usage);
    }

    /// What is known of the node of this name, which may be that nothing is.
    #[must_use]
    pub fn of(&self, node: &str) -> NodeUsage {
        self.nodes.get(node).copied().unwrap_or(NodeUsage {
            mean: Usage::default(),
            coverage: Coverage {
                samples: 0,
                expected: self.shape.samples,
                covered_seconds: 0,
                window_seconds: self.shape.window_seconds.into(),
            },
        })
    }

    /// The shape of the windows.
    #[must_use]
    pub const fn shape(&self) -> WindowShape {
        self.shape
    }

    /// How many nodes something is known of.
    #[must_use]
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether nothing is known of any node.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }
}

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#}", SignedDuration::from_secs(self.0))
    }
}
