//! The decision of leader election, without I/O. May hold: settings, the decision, and the rule.

use std::time::Duration;

use tokio::time::Instant;

use super::LeaseRecord;

/// Jitter adds at most this part of the retry period: 1/5.
const JITTER_DIVISOR: u32 = 5;

/// The three durations of an election.
///
/// All candidates for one Lease should have the same settings. They need not: what a holder promises is in the record,
/// and the others wait for that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseSettings {
    lease_duration: Duration,
    renew_deadline: Duration,
    retry_period: Duration,
    jitter_seed: Option<u64>,
}

/// Durations with which an election could not work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LeaseSettingsError {
    /// `leaseDurationSeconds` is a positive 32-bit number of whole seconds.
    #[error("the lease duration must be whole seconds from 1 to 2147483647, not {0:?}")]
    LeaseDuration(Duration),
    /// The holder would stop only after others may act.
    #[error("the renew deadline ({renew_deadline:?}) must be shorter than the lease duration ({lease_duration:?})")]
    RenewDeadline {
        /// The renew deadline.
        renew_deadline: Duration,
        /// The lease duration.
        lease_duration: Duration,
    },
    /// The holder could not try to renew even once, or would try without a pause.
    #[error(
        "the retry period ({retry_period:?}) must be at least 1 ms and, with 1/5 of jitter, shorter than the renew deadline ({renew_deadline:?})"
    )]
    RetryPeriod {
        /// The retry period.
        retry_period: Duration,
        /// The renew deadline.
        renew_deadline: Duration,
    },
}

/// What a candidate may do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Decision {
    /// Nobody holds the Lease: write it.
    Acquire,
    /// The candidate holds the Lease, may act, and should write it again.
    Renew,
    /// Somebody else holds the Lease, for this long at least unless it is released.
    Wait(Duration),
    /// The Lease is in the candidate's name, but could not be renewed in time: it must not act, and others cannot yet.
    Lost,
}

impl Default for LeaseSettings {
    /// client-go's defaults: 15 s, 10 s and 2 s.
    fn default() -> Self {
        Self {
            lease_duration: Duration::from_secs(15),
            renew_deadline: Duration::from_secs(10),
            retry_period: Duration::from_secs(2),
            jitter_seed: None,
        }
    }
}

impl LeaseSettings {
    /// Settings with a random jitter.
    ///
    /// # Errors
    ///
    /// [`LeaseSettingsError`] unless `retry_period` x 1.2 < `renew_deadline` < `lease_duration` and `lease_duration` is
    /// whole seconds.
    pub fn new(
        lease_duration: Duration,
        renew_deadline: Duration,
        retry_period: Duration,
    ) -> Result<Self, LeaseSettingsError> {
        let seconds = lease_duration.as_secs();
        if lease_duration.subsec_nanos() != 0 || seconds == 0 || i32::try_from(seconds).is_err() {
            return Err(LeaseSettingsError::LeaseDuration(lease_duration));
        }
        if renew_deadline >= lease_duration {
            return Err(LeaseSettingsError::RenewDeadline {
                renew_deadline,
                lease_duration,
            });
        }
        let longest_pause = retry_period.saturating_add(retry_period / JITTER_DIVISOR);
        if retry_period < Duration::from_millis(1) || longest_pause >= renew_deadline {
            return Err(LeaseSettingsError::RetryPeriod {
                retry_period,
                renew_deadline,
            });
        }
        Ok(Self {
            lease_duration,
            renew_deadline,
            retry_period,
            jitter_seed: None,
        })
    }

    /// Makes the jitter the same in every run.
    #[must_use]
    pub const fn with_jitter_seed(mut self, seed: u64) -> Self {
        self.jitter_seed = Some(seed);
        self
    }

    /// How long others leave the Lease alone after they saw it change.
    #[must_use]
    pub const fn lease_duration(&self) -> Duration {
        self.lease_duration
    }

    /// How long the holder acts after it sent the last write that was acknowledged.
    #[must_use]
    pub const fn renew_deadline(&self) -> Duration {
        self.renew_deadline
    }

    /// Pause between two attempts, before jitter.
    #[must_use]
    pub const fn retry_period(&self) -> Duration {
        self.retry_period
    }

    /// Longest wait for one answer of the API server: half the renew deadline, so that a hanging call leaves time for
    /// another.
    #[must_use]
    pub fn call_timeout(&self) -> Duration {
        self.renew_deadline / 2
    }

    /// Seed of the jitter; none for a random one.
    #[must_use]
    pub const fn jitter_seed(&self) -> Option<u64> {
        self.jitter_seed
    }

    /// The pause before the next attempt: the retry period and up to 1/5 more, as `jitter` says (0 to 65535).
    pub(super) fn pause(&self, jitter: u16) -> Duration {
        let most = self.retry_period / JITTER_DIVISOR;
        self.retry_period + most * u32::from(jitter) / u32::from(u16::MAX)
    }
}

/// Decides what `identity` may do at `now`.
///
/// This is client-go's rule. A record is in force for its lease duration from the moment when **the candidate saw it
/// change**; the times in the record are never compared with a local clock, so that no two wall clocks have to agree.
/// Where the record has no duration, the candidate's own is taken.
///
/// `observed` is the newest record that the candidate has read, `None` when there is no Lease. `observed_at` is:
///
/// - for another's record: when the answer that first held it arrived, hence after it was written;
/// - for the candidate's own: when the last write that was acknowledged was sent, hence before it was written.
///
/// So the holder stops at the renew deadline after the write was sent, others start at the earliest at the lease duration
/// after it was written, and between the two lies at least the difference of these durations.
pub fn evaluate(
    observed: Option<&LeaseRecord>,
    observed_at: Instant,
    identity: &str,
    now: Instant,
    settings: &LeaseSettings,
) -> Decision {
    let Some(record) = observed else {
        return Decision::Acquire;
    };
    let Some(holder) = record.holder() else {
        return Decision::Acquire;
    };
    let age = now.saturating_duration_since(observed_at);
    let own = holder == identity;
    if own && age < settings.renew_deadline {
        return Decision::Renew;
    }
    let duration = record.lease_duration.unwrap_or(settings.lease_duration);
    match duration.checked_sub(age) {
        None | Some(Duration::ZERO) => Decision::Acquire,
        Some(_) if own => Decision::Lost,
        Some(remaining) => Decision::Wait(remaining),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn held_by(holder: &str) -> LeaseRecord {
        LeaseRecord {
            holder_identity: Some(holder.to_owned()),
            lease_duration: Some(seconds(15)),
            ..LeaseRecord::default()
        }
    }

    fn decide(record: Option<&LeaseRecord>, age: Duration) -> Decision {
        let seen = Instant::now();
        evaluate(record, seen, "me", seen + age, &LeaseSettings::default())
    }

    #[test]
    fn a_free_lease_is_acquired() {
        assert_eq!(decide(None, Duration::ZERO), Decision::Acquire);
        assert_eq!(decide(Some(&LeaseRecord::default()), Duration::ZERO), Decision::Acquire);
        assert_eq!(decide(Some(&held_by("")), Duration::ZERO), Decision::Acquire);
    }

    #[test]
    fn anothers_lease_is_waited_for() {
        let record = held_by("other");
        let last = seconds(15) - Duration::from_nanos(1);
        assert_eq!(decide(Some(&record), Duration::ZERO), Decision::Wait(seconds(15)));
        assert_eq!(decide(Some(&record), last), Decision::Wait(Duration::from_nanos(1)));
        assert_eq!(decide(Some(&record), seconds(15)), Decision::Acquire);
        assert_eq!(decide(Some(&record), seconds(4000)), Decision::Acquire);
    }

    #[test]
    fn the_duration_of_the_record_counts() {
        let long = LeaseRecord {
            lease_duration: Some(seconds(60)),
            ..held_by("other")
        };
        assert_eq!(decide(Some(&long), seconds(15)), Decision::Wait(seconds(45)));
        let absent = LeaseRecord {
            lease_duration: None,
            ..held_by("other")
        };
        assert_eq!(decide(Some(&absent), seconds(5)), Decision::Wait(seconds(10)));
        let endless = LeaseRecord {
            lease_duration: Some(Duration::MAX),
            ..held_by("other")
        };
        assert!(matches!(decide(Some(&endless), seconds(5)), Decision::Wait(_)));
    }

    #[test]
    fn the_own_lease_is_lost_before_others_may_take_it() {
        let record = held_by("me");
        assert_eq!(decide(Some(&record), Duration::ZERO), Decision::Renew);
        assert_eq!(
            decide(Some(&record), seconds(10) - Duration::from_nanos(1)),
            Decision::Renew
        );
        assert_eq!(decide(Some(&record), seconds(10)), Decision::Lost);
        assert_eq!(decide(Some(&record), seconds(14)), Decision::Lost);
        assert_eq!(decide(Some(&record), seconds(15)), Decision::Acquire);
    }

    #[test]
    fn a_record_from_the_future_is_fresh() {
        let now = Instant::now();
        let decision = evaluate(
            Some(&held_by("other")),
            now + seconds(5),
            "me",
            now,
            &LeaseSettings::default(),
        );
        assert_eq!(decision, Decision::Wait(seconds(15)));
    }

    #[test]
    fn the_pause_stays_within_its_jitter() {
        let settings = LeaseSettings::default();
        assert_eq!(settings.pause(0), seconds(2));
        assert_eq!(settings.pause(u16::MAX), Duration::from_millis(2400));
    }

    #[test]
    fn settings_that_cannot_work_are_refused() {
        assert!(LeaseSettings::new(seconds(15), seconds(10), seconds(2)).is_ok());
        for (lease, renew, retry) in [
            (seconds(0), seconds(0), seconds(0)),
            (Duration::from_millis(1500), seconds(1), seconds(0)),
            (seconds(1 << 31), seconds(10), seconds(2)),
            (seconds(10), seconds(10), seconds(2)),
            (seconds(15), seconds(10), seconds(0)),
            (seconds(15), seconds(10), Duration::from_millis(8334)),
            (seconds(15), seconds(10), Duration::MAX),
        ] {
            let result = LeaseSettings::new(lease, renew, retry);
            assert!(result.is_err(), "{lease:?} {renew:?} {retry:?}");
        }
    }
}
