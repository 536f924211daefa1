//! Leader election: never two leaders, and never without one for long.
//!
//! `evaluate` is tried alone on random schedules; keepers are tried against a Lease API in the same process, in paused
//! time, with links that lose, hold up and refuse what goes over them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a helper of a test may panic as the test may"
)]

use std::collections::BTreeMap;
use std::time::Duration;

use autoscaler_scaler::lease::{Decision, LeaseRecord, LeaseSettings, evaluate};
use jiff::Timestamp;
use tokio::time::Instant;

/// Numbers from a seed (a linear congruential generator with Knuth's constants; the high bits are used).
struct Dice(u64);

impl Dice {
    fn new(seed: u64) -> Self {
        let mut dice = Self(seed);
        dice.below(2);
        dice
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }

    fn one_in(&mut self, odds: u64) -> bool {
        self.below(odds) == 0
    }
}

/// Several candidates and a stored record. Messages take their time, get lost, and arrive after their sender gave up.
struct Schedule {
    dice: Dice,
    start: Instant,
    /// Milliseconds since the start.
    now: u64,
    stored: Option<LeaseRecord>,
    version: u64,
    candidates: Vec<Candidate>,
    /// What happens when, with a number that tells events of one moment apart.
    events: BTreeMap<(u64, u64), Event>,
    numbered: u64,
    settings: LeaseSettings,
    tenures: u64,
}

struct Candidate {
    identity: String,
    starts: u64,
    /// The record as last read, its version, and when it was first seen.
    observed: Option<(Option<LeaseRecord>, u64, u64)>,
    /// When the last acknowledged write was sent, of a leader.
    confirmed_at: Option<u64>,
    /// Number of the call under way. An answer to another comes too late.
    call: Option<u64>,
}

enum Event {
    Turn(usize),
    Give(usize, u64),
    ReadArrives {
        from: usize,
        call: u64,
    },
    ReadAnswered {
        from: usize,
        call: u64,
        record: Option<LeaseRecord>,
        version: u64,
    },
    WriteArrives {
        from: usize,
        call: u64,
        sent_at: u64,
        base: u64,
        record: LeaseRecord,
        reply: bool,
    },
    WriteAnswered {
        from: usize,
        call: u64,
        sent_at: u64,
        record: LeaseRecord,
        version: Option<u64>,
    },
}

impl Schedule {
    fn new(seed: u64) -> Self {
        let mut schedule = Self {
            dice: Dice::new(seed),
            start: Instant::now(),
            now: 0,
            stored: None,
            version: 0,
            candidates: Vec::new(),
            events: BTreeMap::new(),
            numbered: 0,
            settings: LeaseSettings::default(),
            tenures: 0,
        };
        for index in 0..4 {
            schedule.candidates.push(Candidate::new(index, 0));
            schedule.after(0, 2_000, Event::Turn(index));
        }
        schedule
    }

    /// Plans an event for a moment between `least` and `least + spread` milliseconds from now.
    fn after(&mut self, least: u64, spread: u64, event: Event) {
        let at = self.now + least + self.dice.below(spread.max(1));
        self.numbered += 1;
        self.events.insert((at, self.numbered), event);
    }

    fn instant(&self, millis: u64) -> Instant {
        self.start + Duration::from_millis(millis)
    }

    /// What `evaluate` says to a candidate about the record that it has read.
    fn decide(&self, index: usize) -> Decision {
        let candidate = &self.candidates[index];
        let Some((record, _, seen_at)) = &candidate.observed else {
            return Decision::Wait(Duration::ZERO);
        };
        evaluate(
            record.as_ref(),
            self.instant(candidate.confirmed_at.unwrap_or(*seen_at)),
            &candidate.identity,
            self.instant(self.now),
            &self.settings,
        )
    }

    fn leads(&self, index: usize) -> bool {
        self.candidates[index].confirmed_at.is_some() && self.decide(index) == Decision::Renew
    }

    fn step(&mut self) {
        let ((at, _), event) = self.events.pop_first().unwrap();
        self.now = at;
        match event {
            Event::Turn(index) => self.turn(index),
            Event::Give(index, call) => {
                if self.candidates[index].call == Some(call) {
                    self.candidates[index].call = None;
                }
            }
            Event::ReadArrives { from, call } => {
                let (record, version) = (self.stored.clone(), self.version);
                let slow = if self.dice.one_in(10) { 20_000 } else { 200 };
                self.after(
                    0,
                    slow,
                    Event::ReadAnswered {
                        from,
                        call,
                        record,
                        version,
                    },
                );
            }
            Event::ReadAnswered {
                from,
                call,
                record,
                version,
            } => {
                let candidate = &mut self.candidates[from];
                if candidate.call == Some(call) {
                    candidate.call = None;
                    let seen_at = match &candidate.observed {
                        Some((known, _, seen_at)) if *known == record => *seen_at,
                        _ => at,
                    };
                    candidate.observed = Some((record, version, seen_at));
                }
            }
            Event::WriteArrives {
                from,
                call,
                sent_at,
                base,
                record,
                reply,
            } => {
                let written = (base == self.version).then(|| {
                    self.version += 1;
                    self.stored = Some(record.clone());
                    self.version
                });
                let slow = if self.dice.one_in(10) { 20_000 } else { 200 };
                if reply {
                    let version = written;
                    self.after(
                        0,
                        slow,
                        Event::WriteAnswered {
                            from,
                            call,
                            sent_at,
                            record,
                            version,
                        },
                    );
                }
            }
            Event::WriteAnswered {
                from,
                call,
                sent_at,
                record,
                version,
            } => {
                let candidate = &mut self.candidates[from];
                if candidate.call == Some(call) {
                    candidate.call = None;
                    if let Some(version) = version {
                        self.tenures += u64::from(candidate.confirmed_at.is_none());
                        candidate.confirmed_at = Some(sent_at);
                        candidate.observed = Some((Some(record), version, at));
                    }
                }
            }
        }
    }

    /// One candidate reads or writes; a leader that lost its lease starts anew, and so does one in a hundred at random.
    fn turn(&mut self, index: usize) {
        self.after(100, 3_000, Event::Turn(index));
        let leader = self.candidates[index].confirmed_at.is_some();
        if (leader && !self.leads(index)) || self.dice.one_in(100) {
            let starts = self.candidates[index].starts + 1;
            self.candidates[index] = Candidate::new(index, starts);
            return;
        }
        if self.candidates[index].call.is_some() {
            return;
        }
        let writes = matches!(self.decide(index), Decision::Acquire | Decision::Renew) && self.dice.one_in(2);
        self.numbered += 1;
        let call = self.numbered;
        self.candidates[index].call = Some(call);
        self.after(5_000, 1, Event::Give(index, call));
        let lost = self.dice.one_in(8);
        let slow = if self.dice.one_in(10) { 20_000 } else { 200 };
        if !writes {
            if !lost {
                self.after(0, slow, Event::ReadArrives { from: index, call });
            }
            return;
        }
        let candidate = &self.candidates[index];
        let (previous, base, _) = candidate.observed.clone().unwrap();
        // Every replica has its own idea of the time.
        let clock = i64::try_from(index).unwrap() * 1_000_000 + i64::try_from(self.now).unwrap();
        let record = LeaseRecord::claimed(
            previous.as_ref(),
            &candidate.identity,
            &self.settings,
            Timestamp::from_millisecond(clock).unwrap(),
        );
        if !lost {
            let sent_at = self.now;
            let reply = !self.dice.one_in(8);
            self.after(
                0,
                slow,
                Event::WriteArrives {
                    from: index,
                    call,
                    sent_at,
                    base,
                    record,
                    reply,
                },
            );
        }
    }
}

impl Candidate {
    fn new(index: usize, starts: u64) -> Self {
        Self {
            identity: format!("candidate-{index}.{starts}"),
            starts,
            observed: None,
            confirmed_at: None,
            call: None,
        }
    }
}

#[test]
fn random_schedules_never_have_two_leaders() {
    let mut tenures = 0;
    for seed in 0..400 {
        let mut schedule = Schedule::new(seed);
        let mut led = false;
        // Leadership begins with an event, so it is enough to look after each.
        while schedule.now < 600_000 {
            schedule.step();
            let leaders: Vec<usize> = (0..4).filter(|&index| schedule.leads(index)).collect();
            let now = schedule.now;
            assert!(leaders.len() <= 1, "seed {seed}: leaders {leaders:?} at {now} ms");
            led |= !leaders.is_empty();
        }
        assert!(led, "seed {seed}: nobody ever led");
        tenures += schedule.tenures;
    }
    // The schedules do what they are for: leadership changes often.
    assert!(tenures > 400 * 5, "only {tenures} tenures");
}

// The API below is an axum router, and axum comes with this feature.
#[cfg(feature = "embedded-cluster")]
#[path = "lease/api.rs"]
mod api;
#[cfg(feature = "embedded-cluster")]
#[path = "lease/keepers.rs"]
mod keepers;
#[cfg(feature = "embedded-cluster")]
#[path = "lease/world.rs"]
mod world;
