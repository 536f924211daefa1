//! Windows of measured use: the samples that the benchmarks push, and the list that the ring is compared with.

use autoscaler_core::{
    quantity::{Bytes, MilliCpu},
    usage::{Sample, Usage},
};
use jiff::{SignedDuration, Timestamp};

use crate::random::Random;

/// A window as one writes it without giving it much thought: a list of samples of which the old ones are cut off, and whose
/// mean is a sum over all of them. It takes samples as they come and knows nothing of late or doubled ones.
#[derive(Clone, Debug, Default)]
pub struct List {
    samples: Vec<Sample>,
}

impl List {
    /// Adds a sample and cuts off what is older than the window.
    pub fn push(&mut self, sample: Sample, window: SignedDuration, now: Timestamp) {
        self.samples.push(sample);
        let start = now - window;
        let old = self.samples.iter().take_while(|sample| sample.at <= start).count();
        self.samples.drain(..old);
    }

    /// The mean, rounded up: to the milli-core, and to the kibibyte.
    pub fn mean(&self) -> Option<Usage> {
        let count = i64::try_from(self.samples.len()).ok().filter(|count| 0 < *count)?;
        let (mut cpu, mut memory) = (0, 0);
        for sample in &self.samples {
            cpu += sample.usage.cpu.0;
            memory += sample.usage.memory.0;
        }
        Some(Usage {
            cpu: MilliCpu((cpu + count - 1) / count),
            memory: Bytes((memory + 1024 * count - 1) / (1024 * count) * 1024),
        })
    }
}

/// The first sample is of this time.
pub fn start() -> Timestamp {
    crate::NOW.parse().expect("a time that is written here")
}

/// So many different amounts, always the same ones. Memory is in whole mebibytes, which both kinds of windows keep exactly.
pub fn amounts(count: usize) -> Vec<Usage> {
    let mut random = Random::new(5);
    let mut below = |end: usize| i64::try_from(random.below(end)).unwrap_or(i64::MAX);
    (0..count)
        .map(|_| Usage {
            cpu: MilliCpu(below(16_000)),
            memory: Bytes(below(65_536) << 20),
        })
        .collect()
}

/// The sample of a number: one minute after the other.
pub fn sample(amounts: &[Usage], number: usize) -> Sample {
    let minutes = i64::try_from(number).unwrap_or(i64::MAX);
    Sample {
        at: start() + SignedDuration::from_mins(minutes),
        usage: amounts[number % amounts.len()],
    }
}
