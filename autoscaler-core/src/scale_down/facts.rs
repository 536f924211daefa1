//! What rules looked at, and how it is put into words. Nothing is judged here.

use std::fmt;

use jiff::{SignedDuration, Timestamp, tz::TimeZone};

use crate::{explain::node::RuleVerdict, hours::AllowedHours, plan::KeepReason};

use super::Kept;

/// What a rule looked at, in words, when somebody wants to read them. A plan does not: only what says no has words there.
#[derive(Debug, Default)]
pub(super) struct Facts {
    wanted: bool,
    value: Option<String>,
    threshold: Option<String>,
    message: String,
}

/// A duration to whole seconds, as people write it: `3m`.
pub(super) struct Span(pub(super) SignedDuration);

/// A time to whole seconds, as status has it. Reasons name times and not how long ago they were, so that a reason that
/// holds for a while stays the same text.
pub(super) struct At(pub(super) Timestamp);

/// Hours in their time zone: `22:00-06:00 UTC`. Nothing of those that never come.
pub(super) fn hours_text(hours: &AllowedHours) -> String {
    let AllowedHours::Daily { start, end, zone } = hours else {
        return String::new();
    };
    format!(
        "{:02}:{:02}-{:02}:{:02} {}",
        start.hour(),
        start.minute(),
        end.hour(),
        end.minute(),
        zone.as_ref().and_then(TimeZone::iana_name).unwrap_or("UTC")
    )
}

// === impl Facts ===

impl Facts {
    pub(super) fn wanted() -> Self {
        Self {
            wanted: true,
            ..Self::default()
        }
    }

    /// What is compared with what.
    pub(super) fn compare(&mut self, value: impl FnOnce() -> String, threshold: impl FnOnce() -> String) {
        if self.wanted {
            self.value = Some(value());
            self.threshold = Some(threshold());
        }
    }

    /// What there is to say if the rule does not say no. The last word counts.
    pub(super) fn say(&mut self, message: impl FnOnce() -> String) {
        if self.wanted {
            self.message = message();
        }
    }

    /// All of it.
    pub(super) fn verdict(self, rule: KeepReason, kept: Option<Kept>) -> RuleVerdict {
        RuleVerdict {
            rule,
            passed: kept.is_none(),
            value: self.value,
            threshold: self.threshold,
            message: kept.map_or(self.message, |kept| kept.message),
        }
    }
}

// === impl Span ===

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#}", SignedDuration::from_secs(self.0.as_secs()))
    }
}

// === impl At ===

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.0}", self.0)
    }
}
