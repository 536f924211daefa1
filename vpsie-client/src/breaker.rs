//! The circuit breaker: after enough failures calls fail at once for a while, then a few probes decide.
//!
//! The state machine is pure, time is passed in. What counts as a failure is the caller's business.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// When the circuit breaker opens and closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerConfig {
    /// Calls that are looked back on.
    pub window: usize,
    /// Failures among them that open the breaker. They need not follow each other: an API that fails two calls of
    /// three is down as well.
    pub failures: usize,
    /// How long it stays open.
    pub open_for: Duration,
    /// Calls that are let through afterwards. All must succeed to close it, one failure opens it again.
    pub probes: usize,
}

/// What a circuit breaker is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerState {
    /// Calls go through.
    Closed,
    /// Calls fail at once.
    Open,
    /// A few calls go through as probes.
    HalfOpen,
}

/// How a call went, as far as the breaker cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The API is there: it did the call or refused it.
    Up,
    /// Server error, timeout or no connection.
    Down,
    /// Says nothing about the API, for example when the caller gave up.
    Unknown,
}

/// The breaker for many tasks.
#[derive(Debug)]
pub(crate) struct Breaker(Mutex<Machine>);

/// The right to make one call. Dropping it without [`finish`](Permit::finish) is [`Verdict::Unknown`].
#[derive(Debug)]
pub(crate) struct Permit<'a> {
    breaker: &'a Breaker,
    period: u64,
    finished: bool,
}

/// A change of state, for logs and metrics.
pub(crate) type Change = Option<(BreakerState, BreakerState)>;

#[derive(Debug)]
struct Machine {
    config: BreakerConfig,
    state: State,
    /// Counts changes of state. Verdicts about calls of an earlier period no longer matter.
    period: u64,
}

#[derive(Debug)]
enum State {
    Closed { recent: VecDeque<bool> },
    Open { until: Instant },
    HalfOpen { admitted: usize, succeeded: usize },
}

// === impl BreakerConfig ===

impl Default for BreakerConfig {
    /// Opens for 30 s after 5 failures in 10 calls, then 2 probes.
    fn default() -> Self {
        Self {
            window: 10,
            failures: 5,
            open_for: Duration::from_secs(30),
            probes: 2,
        }
    }
}

// === impl BreakerState ===

impl BreakerState {
    /// The state as metric label: `closed`, `open` or `half-open`.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half-open",
        }
    }
}

// === impl Breaker ===

impl Breaker {
    pub(crate) fn new(config: BreakerConfig) -> Self {
        Self(Mutex::new(Machine::new(config)))
    }

    /// Lets a call through, or says how long the breaker stays as it is (zero while probes are under way).
    pub(crate) fn admit(&self) -> (Result<Permit<'_>, Duration>, Change) {
        let (result, change) = self.with(|machine| machine.admit(Instant::now()));
        (
            result.map(|period| Permit {
                breaker: self,
                period,
                finished: false,
            }),
            change,
        )
    }

    pub(crate) fn state(&self) -> BreakerState {
        self.with(|machine| machine.state.name())
    }

    fn with<T>(&self, run: impl FnOnce(&mut Machine) -> T) -> T {
        run(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

// === impl Permit ===

impl Permit<'_> {
    pub(crate) fn finish(mut self, verdict: Verdict) -> Change {
        self.finished = true;
        self.breaker
            .with(|machine| machine.record(self.period, verdict, Instant::now()))
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        if !self.finished {
            self.breaker
                .with(|machine| machine.record(self.period, Verdict::Unknown, Instant::now()));
        }
    }
}

// === impl Machine ===

impl Machine {
    fn new(config: BreakerConfig) -> Self {
        Self {
            config,
            state: State::Closed {
                recent: VecDeque::new(),
            },
            period: 0,
        }
    }

    fn admit(&mut self, now: Instant) -> (Result<u64, Duration>, Change) {
        let mut change = None;
        if let State::Open { until } = self.state {
            if now < until {
                return (Err(until - now), None);
            }
            change = self.enter(State::HalfOpen {
                admitted: 0,
                succeeded: 0,
            });
        }
        if let State::HalfOpen { admitted, .. } = &mut self.state {
            if *admitted >= self.config.probes.max(1) {
                return (Err(Duration::ZERO), change);
            }
            *admitted += 1;
        }
        (Ok(self.period), change)
    }

    fn record(&mut self, period: u64, verdict: Verdict, now: Instant) -> Change {
        if period != self.period {
            return None;
        }
        let open = State::Open {
            until: now + self.config.open_for,
        };
        match (&mut self.state, verdict) {
            (State::Closed { .. } | State::Open { .. }, Verdict::Unknown) | (State::Open { .. }, _) => None,
            (State::Closed { recent }, verdict) => {
                recent.push_back(verdict == Verdict::Down);
                if recent.len() > self.config.window.max(1) {
                    recent.pop_front();
                }
                let failures = recent.iter().filter(|failed| **failed).count();
                if failures >= self.config.failures.max(1) {
                    self.enter(open)
                } else {
                    None
                }
            }
            (State::HalfOpen { admitted, .. }, Verdict::Unknown) => {
                *admitted = admitted.saturating_sub(1);
                None
            }
            (State::HalfOpen { .. }, Verdict::Down) => self.enter(open),
            (State::HalfOpen { succeeded, .. }, Verdict::Up) => {
                *succeeded += 1;
                if *succeeded >= self.config.probes.max(1) {
                    self.enter(State::Closed {
                        recent: VecDeque::new(),
                    })
                } else {
                    None
                }
            }
        }
    }

    fn enter(&mut self, state: State) -> Change {
        let change = (self.state.name(), state.name());
        self.state = state;
        self.period += 1;
        Some(change)
    }
}

// === impl State ===

impl State {
    const fn name(&self) -> BreakerState {
        match self {
            Self::Closed { .. } => BreakerState::Closed,
            Self::Open { .. } => BreakerState::Open,
            Self::HalfOpen { .. } => BreakerState::HalfOpen,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: BreakerConfig = BreakerConfig {
        window: 5,
        failures: 3,
        open_for: Duration::from_secs(30),
        probes: 2,
    };

    fn run(machine: &mut Machine, verdict: Verdict, now: Instant) {
        let period = machine.admit(now).0.unwrap();
        machine.record(period, verdict, now);
    }

    fn opened(now: Instant) -> Machine {
        let mut machine = Machine::new(CONFIG);
        for _ in 0..3 {
            run(&mut machine, Verdict::Down, now);
        }
        assert_eq!(machine.state.name(), BreakerState::Open);
        machine
    }

    #[test]
    fn failures_between_successes_open_it_too() {
        let now = Instant::now();
        let mut machine = Machine::new(CONFIG);
        for verdict in [Verdict::Down, Verdict::Up, Verdict::Down, Verdict::Up] {
            run(&mut machine, verdict, now);
        }
        assert_eq!(machine.state.name(), BreakerState::Closed);
        run(&mut machine, Verdict::Down, now);
        assert_eq!(machine.admit(now).0, Err(Duration::from_secs(30)));
    }

    #[test]
    fn old_failures_and_calls_that_were_given_up_do_not_count() {
        let now = Instant::now();
        let mut machine = Machine::new(CONFIG);
        let mut verdicts = vec![Verdict::Down, Verdict::Down];
        verdicts.extend([Verdict::Unknown; 10]);
        verdicts.extend([Verdict::Up; 5]);
        verdicts.extend([Verdict::Down, Verdict::Down]);
        for verdict in verdicts {
            run(&mut machine, verdict, now);
        }
        assert_eq!(machine.state.name(), BreakerState::Closed);
    }

    #[test]
    fn half_open_admits_exactly_the_probes() {
        let now = Instant::now();
        let mut machine = opened(now);
        let later = now + Duration::from_secs(30);
        let (first, change) = machine.admit(later);
        assert_eq!(change, Some((BreakerState::Open, BreakerState::HalfOpen)));
        let second = machine.admit(later).0;
        assert_eq!(machine.admit(later).0, Err(Duration::ZERO));
        machine.record(first.unwrap(), Verdict::Up, later);
        assert_eq!(
            machine.admit(later).0,
            Err(Duration::ZERO),
            "a probe that is over gives no room for another"
        );
        let change = machine.record(second.unwrap(), Verdict::Up, later);
        assert_eq!(change, Some((BreakerState::HalfOpen, BreakerState::Closed)));
        assert!(machine.admit(later).0.is_ok());
    }

    #[test]
    fn a_failed_probe_opens_it_again_and_late_verdicts_are_ignored() {
        let now = Instant::now();
        let mut machine = opened(now);
        let later = now + Duration::from_secs(31);
        let first = machine.admit(later).0.unwrap();
        let second = machine.admit(later).0.unwrap();
        machine.record(first, Verdict::Down, later);
        assert_eq!(machine.record(second, Verdict::Up, later), None);
        assert_eq!(machine.admit(later).0, Err(Duration::from_secs(30)));
    }

    #[test]
    fn a_probe_that_was_given_up_makes_room_for_another() {
        let now = Instant::now();
        let mut machine = opened(now);
        let later = now + Duration::from_secs(30);
        let first = machine.admit(later).0.unwrap();
        machine.admit(later).0.unwrap();
        machine.record(first, Verdict::Unknown, later);
        assert!(machine.admit(later).0.is_ok());
        assert!(machine.admit(later).0.is_err());
    }

    #[test]
    fn dropping_a_permit_gives_the_probe_back() {
        let breaker = Breaker::new(BreakerConfig {
            window: 1,
            failures: 1,
            open_for: Duration::ZERO,
            probes: 1,
        });
        breaker.admit().0.unwrap().finish(Verdict::Down);
        drop(breaker.admit().0.unwrap());
        assert!(breaker.admit().0.is_ok());
        assert_eq!(breaker.state(), BreakerState::HalfOpen);
    }
}
