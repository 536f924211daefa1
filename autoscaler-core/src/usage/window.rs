//! The window of one node: a ring of samples in the order of time, with sums and extremes that follow it.
//!
//! Only the ring is here. What a sample is and when a window is known well enough to judge by is in [`usage`](super).
//!
//! Sums change with each sample that comes or goes. Minimum and maximum are kept in two parts, as in a queue that is made of
//! two stacks: each of the samples from the oldest up to a border knows where the extremes from itself up to that border
//! are, and of all samples behind the border one range is kept, which a new sample can only widen. When the last sample
//! before the border has gone, the border moves behind the newest one, and one pass over the samples finds where their
//! extremes are. As many samples have to go until that happens again, so each sample costs a constant on average.

use jiff::Timestamp;

use super::{Coverage, Pushed, Sample, Usage, WindowShape};
use crate::quantity::{Bytes, MilliCpu};

/// What one sample takes in memory.
pub(super) const BYTES_PER_SAMPLE: usize = size_of::<Entry>();

/// The latest samples of one node, over a span of time. See [`usage`](super).
///
/// Nothing is allocated but when a window is made or cloned. It takes 72 bytes and 14 for each sample that it is made for,
/// so 212 with the default shape.
#[derive(Clone, Debug)]
pub struct UsageWindow {
    /// The ring.
    entries: Box<[Entry]>,
    cpu_sum: u64,
    memory_sum: u64,
    /// The end of the window, in seconds of Unix time until the year 2106.
    end: u32,
    /// When the oldest sample was taken, and the newest.
    oldest: u32,
    newest: u32,
    interval: u16,
    window: u16,
    /// Position of the oldest sample.
    head: u8,
    len: u8,
    /// The most samples that it holds: the length of the ring.
    capacity: u8,
    /// How many samples, from the oldest on, are before the border.
    settled: u8,
    /// The range of the samples behind the border.
    rest: Range,
}

/// The samples of a window, oldest first.
#[derive(Clone, Debug)]
pub struct Samples<'w> {
    window: &'w UsageWindow,
    index: u8,
    at: u32,
}

/// A sample in the ring. Packed: two bytes of padding would be a seventh more memory for all nodes.
#[derive(Clone, Copy, Debug, Default)]
#[repr(Rust, packed(2))]
struct Entry {
    /// Seconds since the sample before this one. Of the oldest it means nothing.
    after: u16,
    /// Milli-cores.
    cpu: u32,
    /// Mebibytes.
    memory: u32,
    /// Extremes from here up to the border. Of samples behind it they mean nothing.
    extremes: Extremes,
}

/// Where the extremes of the samples are that a pass has seen.
#[derive(Clone, Copy, Debug)]
struct Running {
    min_cpu: Place,
    max_cpu: Place,
    min_memory: Place,
    max_memory: Place,
}

/// The least and the most of some samples.
#[derive(Clone, Copy, Debug)]
struct Range {
    min_cpu: u32,
    max_cpu: u32,
    min_memory: u32,
    max_memory: u32,
}

/// An amount and its position as one number, the amount in the upper bits: which of two is less takes no branch, which could
/// not be foreseen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place(u64);

/// A number to divide by. A division by a number that is not known beforehand takes several times as long as the product with
/// its inverse.
#[derive(Clone, Copy, Debug)]
struct Divisor {
    number: u64,
    inverse: u64,
}

/// `2^63 / n`, rounded to the next larger whole number; of zero, zero.
static INVERSES: [u64; 256] = {
    let mut inverses = [0; 256];
    let [_, rest @ ..] = &mut inverses;
    let mut rest: &mut [u64] = rest;
    let mut number = 1;
    while let [inverse, after @ ..] = rest {
        *inverse = (1 << 63) / number + 1;
        number += 1;
        rest = after;
    }
    inverses
};

/// Positions in the ring.
#[derive(Clone, Copy, Debug, Default)]
struct Extremes {
    min_cpu: u8,
    max_cpu: u8,
    min_memory: u8,
    max_memory: u8,
}

// === impl UsageWindow ===

impl UsageWindow {
    /// An empty window.
    #[must_use]
    pub fn new(shape: WindowShape) -> Self {
        Self {
            entries: vec![Entry::default(); usize::from(shape.samples)].into_boxed_slice(),
            cpu_sum: 0,
            memory_sum: 0,
            end: 0,
            oldest: 0,
            newest: 0,
            interval: shape.interval_seconds,
            window: shape.window_seconds,
            head: 0,
            len: 0,
            capacity: shape.samples,
            settled: 0,
            rest: Range::NOTHING,
        }
    }

    /// Moves the end of the window to `now`, as [`Self::advance`], then takes in a sample. Says what became of the sample; one
    /// that is not taken leaves the others as they are.
    ///
    /// A sample may be out of order, as long as it is in the window. A full window gives up its oldest sample for it.
    pub fn push(&mut self, sample: Sample, now: Timestamp) -> Pushed {
        let start = self.advance_to(seconds(now));
        let at = seconds(sample.at);
        let (cpu, memory) = (milli_cores(sample.usage.cpu), mebibytes(sample.usage.memory));
        // Nearly every sample is newer than all others and in the window.
        if self.newest < at && start < at && at <= self.end {
            self.append(at, cpu, memory);
            return Pushed::Taken;
        }
        self.push_other(start, at, cpu, memory)
    }

    /// Moves the end of the window to `now`; samples that are no longer in it are forgotten.
    ///
    /// The end does not move back. Only when `now` is before it by more than the whole window, so that it was a clock far
    /// ahead that had moved it, the window begins anew.
    pub fn advance(&mut self, now: Timestamp) {
        self.advance_to(seconds(now));
    }

    /// The mean of all samples, rounded up: to the milli-core, and to the kibibyte.
    #[must_use]
    pub fn mean(&self) -> Option<Usage> {
        if self.len == 0 {
            return None;
        }
        // Sums are below 2^40: at most 255 samples of 32 bits. A mebibyte has 2^10 kibibytes.
        let divide = Divisor::of(self.len);
        let kibibytes = divide.rounded_up(self.memory_sum << 10);
        Some(Usage {
            cpu: MilliCpu(divide.rounded_up(self.cpu_sum).cast_signed()),
            memory: Bytes((kibibytes << 10).cast_signed()),
        })
    }

    /// The least CPU and the least memory, which need not be of the same sample.
    #[must_use]
    pub fn min(&self) -> Option<Usage> {
        self.range().map(|range| usage(range.min_cpu, range.min_memory))
    }

    /// The most CPU and the most memory, which need not be of the same sample.
    #[must_use]
    pub fn max(&self) -> Option<Usage> {
        self.range().map(|range| usage(range.max_cpu, range.max_memory))
    }

    /// How much of the window is known.
    #[must_use]
    pub fn coverage(&self) -> Coverage {
        let covered_seconds = if self.len == 0 {
            0
        } else {
            (self.newest - self.oldest + u32::from(self.interval)).min(self.window.into())
        };
        Coverage {
            samples: self.len,
            expected: self.capacity,
            covered_seconds,
            window_seconds: self.window.into(),
        }
    }

    /// The samples, oldest first.
    #[must_use]
    pub const fn samples(&self) -> Samples<'_> {
        Samples {
            window: self,
            index: 0,
            at: self.oldest,
        }
    }

    /// How many samples there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len.into()
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Moves the end of the window, and gives what is its beginning then, which is no longer in it.
    #[inline]
    fn advance_to(&mut self, now: u32) -> u32 {
        let window = u32::from(self.window);
        if now < self.end {
            if window < self.end - now {
                self.clear();
                self.end = now;
            }
            return self.end.saturating_sub(window);
        }
        self.end = now;
        let start = now.saturating_sub(window);
        while self.oldest <= start && self.len != 0 {
            self.drop_oldest();
        }
        start
    }

    #[cold]
    fn clear(&mut self) {
        self.len = 0;
        self.settled = 0;
        self.rest = Range::NOTHING;
        self.cpu_sum = 0;
        self.memory_sum = 0;
    }

    /// Adds a sample that is newer than all others.
    #[inline]
    fn append(&mut self, at: u32, cpu: u32, memory: u32) {
        if self.len == self.capacity {
            self.drop_oldest();
        }
        let after = if self.len == 0 {
            self.oldest = at;
            0
        } else {
            delta(self.newest, at)
        };
        self.rest = self.rest.with(cpu, memory);
        let position = self.position(self.len);
        if let Some(entry) = self.entries.get_mut(position) {
            entry.after = after;
            entry.cpu = cpu;
            entry.memory = memory;
        }
        self.cpu_sum += u64::from(cpu);
        self.memory_sum += u64::from(memory);
        self.len += 1;
        self.newest = at;
    }

    /// Takes in a sample that is out of order, or says why it is not taken.
    #[inline(never)]
    fn push_other(&mut self, start: u32, at: u32, cpu: u32, memory: u32) -> Pushed {
        if self.end < at {
            Pushed::Future
        } else if at <= start {
            Pushed::Late
        } else if self.len == 0 {
            self.append(at, cpu, memory);
            Pushed::Taken
        } else {
            self.insert(at, cpu, memory)
        }
    }

    /// Puts a sample between others, in time that depends on how many there are.
    fn insert(&mut self, at: u32, cpu: u32, memory: u32) -> Pushed {
        // How many are older, and when the one after them was taken.
        let mut older = self.len;
        let mut next = self.newest;
        while older != 0 {
            let time = next;
            if time == at {
                return Pushed::Duplicate;
            }
            if time < at {
                break;
            }
            older -= 1;
            // Of the oldest this is no time; nobody looks at it.
            next = time.saturating_sub(self.entry(older).after.into());
        }
        if self.len == self.capacity {
            if older == 0 {
                return Pushed::Late;
            }
            self.drop_oldest();
            older -= 1;
        }
        // A ring of at least two, from which one has gone if it was full: there is room for one more.
        for index in (older..self.len).rev() {
            let entry = self.entry(index);
            self.set(self.position(index + 1), entry);
        }
        self.len += 1;
        let before = if older == 0 { at } else { next };
        self.set(
            self.position(older),
            Entry {
                after: delta(before, at),
                cpu,
                memory,
                extremes: Extremes::default(),
            },
        );
        let following = self.position(older + 1);
        let was = self.entry(older + 1);
        let at_following = if older == 0 {
            self.oldest
        } else {
            before + u32::from(was.after)
        };
        self.set(
            following,
            Entry {
                after: delta(at, at_following),
                ..was
            },
        );
        if older == 0 {
            self.oldest = at;
        }
        self.cpu_sum += u64::from(cpu);
        self.memory_sum += u64::from(memory);
        self.settle();
        Pushed::Taken
    }

    #[inline]
    fn drop_oldest(&mut self) {
        let gone = at(&self.entries, self.head.into());
        self.cpu_sum -= u64::from(gone.cpu);
        self.memory_sum -= u64::from(gone.memory);
        self.head += 1;
        if self.head == self.capacity {
            self.head = 0;
        }
        self.len -= 1;
        self.oldest = self
            .oldest
            .wrapping_add(at(&self.entries, self.head.into()).after.into());
        if self.settled <= 1 {
            self.settle();
        } else {
            self.settled -= 1;
        }
    }

    /// Moves the border behind the newest sample.
    #[inline(never)]
    fn settle(&mut self) {
        // The samples lie in one piece of the ring, or in two of which the later one is at its beginning.
        let (head, len) = (usize::from(self.head), usize::from(self.len));
        let (later, earlier) = self.entries.split_at_mut(head.min(self.entries.len()));
        let count = len.min(earlier.len());
        let earlier = earlier.get_mut(..count).unwrap_or_default();
        let later = later.get_mut(..len - count).unwrap_or_default();
        let mut running = Running::default();
        for (position, entry) in later.iter_mut().enumerate().rev() {
            running.add(entry, position);
        }
        for (index, entry) in earlier.iter_mut().enumerate().rev() {
            running.add(entry, head + index);
        }
        self.settled = self.len;
        self.rest = Range::NOTHING;
    }

    /// The range of all samples.
    fn range(&self) -> Option<Range> {
        if self.len == 0 {
            return None;
        }
        if self.settled == 0 {
            return Some(self.rest);
        }
        let Extremes {
            min_cpu,
            max_cpu,
            min_memory,
            max_memory,
        } = self.entry(0).extremes;
        let at = |position: u8| at(&self.entries, position.into());
        Some(
            self.rest
                .with(at(min_cpu).cpu, at(min_memory).memory)
                .with(at(max_cpu).cpu, at(max_memory).memory),
        )
    }

    /// The position in the ring of the sample with so many older ones.
    #[inline]
    fn position(&self, index: u8) -> usize {
        let (position, capacity) = (usize::from(self.head) + usize::from(index), usize::from(self.capacity));
        if position < capacity {
            position
        } else {
            position - capacity
        }
    }

    #[inline]
    fn entry(&self, index: u8) -> Entry {
        at(&self.entries, self.position(index))
    }

    #[inline]
    fn set(&mut self, position: usize, entry: Entry) {
        if let Some(slot) = self.entries.get_mut(position) {
            *slot = entry;
        }
    }
}

// === impl Samples ===

impl Iterator for Samples<'_> {
    type Item = Sample;

    fn next(&mut self) -> Option<Sample> {
        if self.index == self.window.len {
            return None;
        }
        let entry = self.window.entry(self.index);
        if self.index != 0 {
            self.at += u32::from(entry.after);
        }
        self.index += 1;
        Some(Sample {
            // Any 32 bits of seconds are a time.
            at: Timestamp::from_second(self.at.into()).unwrap_or(Timestamp::UNIX_EPOCH),
            usage: usage(entry.cpu, entry.memory),
        })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = usize::from(self.window.len - self.index);
        (left, Some(left))
    }
}

impl ExactSizeIterator for Samples<'_> {}

// === impl Running ===

impl Running {
    /// Takes in the sample before those that are in, and leaves with it the extremes from it on.
    fn add(&mut self, entry: &mut Entry, position: usize) {
        let Entry { cpu, memory, .. } = *entry;
        let (cpu, memory) = (Place::new(cpu, position), Place::new(memory, position));
        self.min_cpu = self.min_cpu.min(cpu);
        self.max_cpu = self.max_cpu.max(cpu);
        self.min_memory = self.min_memory.min(memory);
        self.max_memory = self.max_memory.max(memory);
        entry.extremes = Extremes {
            min_cpu: self.min_cpu.position(),
            max_cpu: self.max_cpu.position(),
            min_memory: self.min_memory.position(),
            max_memory: self.max_memory.position(),
        };
    }
}

impl Default for Running {
    /// No sample yet: anything is less than the minimum, and more than the maximum.
    fn default() -> Self {
        Self {
            min_cpu: Place(u64::MAX),
            max_cpu: Place(0),
            min_memory: Place(u64::MAX),
            max_memory: Place(0),
        }
    }
}

// === impl Place ===

impl Place {
    fn new(amount: u32, position: usize) -> Self {
        Self(u64::from(amount) << 8 | position as u64)
    }

    const fn position(self) -> u8 {
        let [position, ..] = self.0.to_le_bytes();
        position
    }
}

// === impl Divisor ===

impl Divisor {
    /// A divisor of 1 to 255.
    fn of(number: u8) -> Self {
        let inverse = INVERSES.get(usize::from(number)).copied().unwrap_or_default();
        Self {
            number: number.into(),
            inverse,
        }
    }

    /// A sum below 2^51 divided, rounded up.
    ///
    /// The inverse is `(2^63 + e) / n` with `0 < e <= n`, so the product is too large by `sum * e / (n * 2^63)`. That is less
    /// than `1 / n` and does not reach the next whole number.
    fn rounded_up(&self, sum: u64) -> u64 {
        let sum = sum + self.number - 1;
        let product = u128::from(sum) * u128::from(self.inverse);
        u64::try_from(product >> 63).unwrap_or(u64::MAX)
    }
}

// === impl Range ===

impl Range {
    /// Of no sample: anything is less than the minimum, and more than the maximum.
    const NOTHING: Self = Self {
        min_cpu: u32::MAX,
        max_cpu: 0,
        min_memory: u32::MAX,
        max_memory: 0,
    };

    fn with(self, cpu: u32, memory: u32) -> Self {
        Self {
            min_cpu: self.min_cpu.min(cpu),
            max_cpu: self.max_cpu.max(cpu),
            min_memory: self.min_memory.min(memory),
            max_memory: self.max_memory.max(memory),
        }
    }
}

/// The entry at a position, which always is one of the ring.
fn at(entries: &[Entry], position: usize) -> Entry {
    entries.get(position).copied().unwrap_or_default()
}

/// Seconds of Unix time. Times before 1970 are 1970, and those after February 2106 are that.
fn seconds(time: Timestamp) -> u32 {
    clamped(time.as_second())
}

/// Seconds between two samples of one window, which is at most 65,535 s long.
fn delta(from: u32, to: u32) -> u16 {
    u16::try_from(to.saturating_sub(from)).unwrap_or(u16::MAX)
}

fn milli_cores(cpu: MilliCpu) -> u32 {
    clamped(cpu.0)
}

fn mebibytes(memory: Bytes) -> u32 {
    clamped(memory.0.max(0).unsigned_abs().div_ceil(1 << 20).cast_signed())
}

fn clamped(number: i64) -> u32 {
    u32::try_from(number).unwrap_or_else(|_| limit(number))
}

#[cold]
const fn limit(number: i64) -> u32 {
    if number < 0 { 0 } else { u32::MAX }
}

fn usage(cpu: u32, memory: u32) -> Usage {
    Usage {
        cpu: MilliCpu(cpu.into()),
        memory: Bytes(i64::from(memory) << 20),
    }
}
