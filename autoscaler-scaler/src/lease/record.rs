//! What a Lease says, apart from its metadata. May hold: the record, its form in the API, and how a claim or a release
//! changes it.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::coordination::v1::LeaseSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;

use super::LeaseSettings;

/// How long a released Lease is in force: the shortest that the API accepts. Nobody waits for it, since it has no holder.
const RELEASED_DURATION: Duration = Duration::from_secs(1);

/// The election part of a Lease's `spec`. Every field may be absent, as in the API.
///
/// Candidates compare whole records: one that differs from the last is a sign of life of the holder.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LeaseRecord {
    /// Who holds the Lease. Absent or empty: nobody.
    pub holder_identity: Option<String>,
    /// How long others must leave an unchanged record alone, in whole seconds.
    pub lease_duration: Option<Duration>,
    /// When the holder acquired the Lease, by its own wall clock.
    pub acquire_time: Option<Timestamp>,
    /// When the holder last renewed the Lease, by its own wall clock.
    pub renew_time: Option<Timestamp>,
    /// How often the Lease has gone from one holder to another.
    pub lease_transitions: u32,
}

/// A Lease that an API server would not have stored: a number of its `spec` is out of range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{field} of the Lease is {value}, which is out of range")]
pub struct MalformedLease {
    /// Path of the field.
    pub field: &'static str,
    /// What it holds.
    pub value: i32,
}

impl LeaseRecord {
    /// The holder, if there is one.
    #[must_use]
    pub fn holder(&self) -> Option<&str> {
        self.holder_identity.as_deref().filter(|holder| !holder.is_empty())
    }

    /// The record that acquires or renews the Lease for `identity` at the wall clock time `now`.
    ///
    /// A renewal keeps `acquireTime`; a new holder sets it and counts one transition. The first holder of a new Lease
    /// counts none.
    ///
    /// `renewTime` always grows, even where the wall clock was set back or has not moved: a renewal that left the record
    /// as it was would not be seen by the others.
    #[must_use]
    pub fn claimed(previous: Option<&Self>, identity: &str, settings: &LeaseSettings, now: Timestamp) -> Self {
        let now = later_than(previous, now);
        let kept = previous.filter(|record| record.holder() == Some(identity));
        Self {
            holder_identity: Some(identity.to_owned()),
            lease_duration: Some(settings.lease_duration()),
            acquire_time: kept.and_then(|record| record.acquire_time).or(Some(now)),
            renew_time: Some(now),
            lease_transitions: match (previous, kept) {
                (None, _) => 0,
                (Some(record), Some(_)) => record.lease_transitions,
                (Some(record), None) => record.lease_transitions.saturating_add(1),
            },
        }
    }

    /// The record that gives the Lease back at the wall clock time `now`. Like client-go's, it has no holder and a
    /// duration of one second.
    #[must_use]
    pub fn released(&self, now: Timestamp) -> Self {
        let now = later_than(Some(self), now);
        Self {
            holder_identity: None,
            lease_duration: Some(RELEASED_DURATION),
            acquire_time: Some(now),
            renew_time: Some(now),
            lease_transitions: self.lease_transitions,
        }
    }

    /// Writes the record into a `spec`, and leaves the fields alone that it does not know.
    pub(super) fn write_to(&self, spec: &mut LeaseSpec) {
        spec.holder_identity.clone_from(&self.holder_identity);
        spec.lease_duration_seconds = self
            .lease_duration
            .map(|duration| i32::try_from(duration.as_secs()).unwrap_or(i32::MAX));
        spec.acquire_time = self.acquire_time.map(MicroTime);
        spec.renew_time = self.renew_time.map(MicroTime);
        spec.lease_transitions = Some(i32::try_from(self.lease_transitions).unwrap_or(i32::MAX));
    }
}

impl TryFrom<&LeaseSpec> for LeaseRecord {
    type Error = MalformedLease;

    fn try_from(spec: &LeaseSpec) -> Result<Self, MalformedLease> {
        let lease_duration = match spec.lease_duration_seconds {
            None => None,
            Some(seconds) => match u64::try_from(seconds) {
                Ok(positive @ 1..) => Some(Duration::from_secs(positive)),
                _ => {
                    return Err(MalformedLease {
                        field: "spec.leaseDurationSeconds",
                        value: seconds,
                    });
                }
            },
        };
        let transitions = spec.lease_transitions.unwrap_or_default();
        let lease_transitions = u32::try_from(transitions).map_err(|_| MalformedLease {
            field: "spec.leaseTransitions",
            value: transitions,
        })?;
        Ok(Self {
            holder_identity: spec.holder_identity.clone(),
            lease_duration,
            acquire_time: spec.acquire_time.as_ref().map(|time| time.0),
            renew_time: spec.renew_time.as_ref().map(|time| time.0),
            lease_transitions,
        })
    }
}

/// `now`, or one microsecond after the record's `renewTime`, whichever is later. The API keeps microseconds.
fn later_than(previous: Option<&LeaseRecord>, now: Timestamp) -> Timestamp {
    previous
        .and_then(|record| record.renew_time)
        .and_then(|renewed| renewed.checked_add(SignedDuration::from_micros(1)).ok())
        .map_or(now, |earliest| earliest.max(now))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn settings() -> LeaseSettings {
        LeaseSettings::default()
    }

    #[test]
    fn first_claim_counts_no_transition() {
        let record = LeaseRecord::claimed(None, "a", &settings(), at(100));
        assert_eq!(record.holder(), Some("a"));
        assert_eq!(record.lease_duration, Some(Duration::from_secs(15)));
        assert_eq!(record.acquire_time, Some(at(100)));
        assert_eq!(record.renew_time, Some(at(100)));
        assert_eq!(record.lease_transitions, 0);
    }

    #[test]
    fn renewal_keeps_acquire_time_and_transitions() {
        let first = LeaseRecord {
            lease_transitions: 4,
            ..LeaseRecord::claimed(None, "a", &settings(), at(100))
        };
        let renewed = LeaseRecord::claimed(Some(&first), "a", &settings(), at(102));
        assert_eq!(renewed.acquire_time, Some(at(100)));
        assert_eq!(renewed.renew_time, Some(at(102)));
        assert_eq!(renewed.lease_transitions, 4);
    }

    #[test]
    fn take_over_counts_a_transition() {
        let first = LeaseRecord::claimed(None, "a", &settings(), at(100));
        let taken = LeaseRecord::claimed(Some(&first), "b", &settings(), at(120));
        assert_eq!(taken.acquire_time, Some(at(120)));
        assert_eq!(taken.lease_transitions, 1);
        let released = taken.released(at(121));
        assert_eq!(released.lease_transitions, 1);
        let again = LeaseRecord::claimed(Some(&released), "b", &settings(), at(122));
        assert_eq!(again.acquire_time, Some(at(122)));
        assert_eq!(again.lease_transitions, 2);
    }

    #[test]
    fn released_record_has_no_holder() {
        let record = LeaseRecord::claimed(None, "a", &settings(), at(100)).released(at(101));
        assert_eq!(record.holder_identity, None);
        assert_eq!(record.lease_duration, Some(Duration::from_secs(1)));
    }

    #[test]
    fn renew_time_grows_when_the_clock_does_not() {
        let first = LeaseRecord::claimed(None, "a", &settings(), at(100));
        for clock in [100, 40] {
            let renewed = LeaseRecord::claimed(Some(&first), "a", &settings(), at(clock));
            assert_ne!(renewed, first);
            assert_eq!(renewed.renew_time, Some(at(100) + SignedDuration::from_micros(1)));
        }
    }

    #[test]
    fn wire_form_is_that_of_the_api() {
        let mut spec = LeaseSpec {
            strategy: Some("OldestEmulationVersion".to_owned()),
            ..LeaseSpec::default()
        };
        LeaseRecord::claimed(None, "a", &settings(), at(0)).write_to(&mut spec);
        assert_eq!(
            serde_json::to_value(&spec).unwrap(),
            serde_json::json!({
                "holderIdentity": "a",
                "leaseDurationSeconds": 15,
                "leaseTransitions": 0,
                "acquireTime": "1970-01-01T00:00:00.000000Z",
                "renewTime": "1970-01-01T00:00:00.000000Z",
                "strategy": "OldestEmulationVersion",
            })
        );
        let back = LeaseRecord::try_from(&spec).unwrap();
        assert_eq!(back, LeaseRecord::claimed(None, "a", &settings(), at(0)));
    }

    #[test]
    fn absent_fields_are_tolerated_and_bad_numbers_are_not() {
        let empty = LeaseRecord::try_from(&LeaseSpec::default()).unwrap();
        assert_eq!(empty, LeaseRecord::default());
        assert_eq!(empty.holder(), None);

        for (duration, transitions, field) in [
            (Some(0), None, "spec.leaseDurationSeconds"),
            (Some(-1), None, "spec.leaseDurationSeconds"),
            (Some(15), Some(-1), "spec.leaseTransitions"),
        ] {
            let spec = LeaseSpec {
                lease_duration_seconds: duration,
                lease_transitions: transitions,
                ..LeaseSpec::default()
            };
            assert_eq!(LeaseRecord::try_from(&spec).unwrap_err().field, field);
        }
    }
}
