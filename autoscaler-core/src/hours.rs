//! Allowed hours for the removal of nodes: `HH:MM-HH:MM` in a time zone.

use jiff::{
    Timestamp,
    civil::Time,
    tz::{TimeZone, TimeZoneDatabase},
};

/// When nodes may be removed, as an annotation says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AllowedHours {
    /// Daily between two times: the start is inside, the end is not. A start after the end spans midnight; equal times
    /// mean the whole day.
    Daily {
        /// First minute.
        start: Time,
        /// First minute after.
        end: Time,
        /// The zone that the times are in, if the annotations name one.
        zone: Option<TimeZone>,
    },
    /// The annotation could not be understood, so removal is never allowed; the text says why.
    Never(String),
}

impl AllowedHours {
    /// Reads the annotations `autoscaler.vpsie.com/scale-down-allowed-hours` and `autoscaler.vpsie.com/time-zone`.
    ///
    /// What cannot be understood becomes [`AllowedHours::Never`]: a wish for fewer removals must not turn into more.
    #[must_use]
    pub fn parse(hours: &str, zone: Option<&str>) -> Self {
        let zone = match zone.map(parse_zone).transpose() {
            Ok(zone) => zone,
            Err(why) => return Self::Never(why),
        };
        let times = hours
            .trim()
            .split_once('-')
            .and_then(|(start, end)| Some((clock(start)?, clock(end)?)));
        match times {
            Some((start, end)) => Self::Daily { start, end, zone },
            None => Self::Never(format!(
                "{hours:?} is not of the form HH:MM-HH:MM with times from 00:00 to 23:59"
            )),
        }
    }

    /// These hours in a default zone, if they name none themselves. A default that is not known means never: whoever wrote
    /// it did not mean UTC.
    #[must_use]
    pub fn in_zone(&self, default: Option<&Result<TimeZone, String>>) -> Self {
        match (self, default) {
            (Self::Daily { zone: None, .. }, Some(Err(why))) => Self::Never(why.clone()),
            (Self::Daily { start, end, zone: None }, Some(Ok(zone))) => Self::Daily {
                start: *start,
                end: *end,
                zone: Some(zone.clone()),
            },
            (hours, _) => hours.clone(),
        }
    }

    /// Whether removal is allowed at this time. Hours without a zone are in UTC.
    #[must_use]
    pub fn contains(&self, now: Timestamp) -> bool {
        match self {
            Self::Never(_) => false,
            Self::Daily { start, end, zone } => {
                let time = now.to_zoned(zone.clone().unwrap_or(TimeZone::UTC)).time();
                match start.cmp(end) {
                    std::cmp::Ordering::Less => *start <= time && time < *end,
                    std::cmp::Ordering::Equal => true,
                    std::cmp::Ordering::Greater => *start <= time || time < *end,
                }
            }
        }
    }
}

/// The time zone of this IANA name.
///
/// # Errors
/// Why there is none, in words.
pub fn parse_zone(name: &str) -> Result<TimeZone, String> {
    // The database that is compiled in: the answer must not depend on the files of the machine.
    TimeZoneDatabase::bundled()
        .get(name)
        .map_err(|_| format!("time zone {name:?} is not known"))
}

/// Reads `HH:MM`, two digits each.
fn clock(text: &str) -> Option<Time> {
    let (hour, minute) = text.trim().split_once(':')?;
    let number = |text: &str| {
        let two_digits = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        two_digits.then(|| text.parse::<i8>().ok()).flatten()
    };
    Time::new(number(hour)?, number(minute)?, 0, 0).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn start_is_inside_and_end_is_not() {
        let hours = AllowedHours::parse("09:00-17:30", None);
        assert!(hours.contains(at("2026-01-01T09:00:00Z")));
        assert!(hours.contains(at("2026-01-01T17:29:59Z")));
        assert!(!hours.contains(at("2026-01-01T17:30:00Z")));
        assert!(!hours.contains(at("2026-01-01T08:59:59Z")));
    }

    #[test]
    fn hours_may_span_midnight_and_equal_times_mean_all_day() {
        let night = AllowedHours::parse("22:00-06:00", None);
        assert!(night.contains(at("2026-01-01T23:00:00Z")));
        assert!(night.contains(at("2026-01-01T05:59:00Z")));
        assert!(!night.contains(at("2026-01-01T06:00:00Z")));
        assert!(AllowedHours::parse("08:00-08:00", None).contains(at("2026-01-01T03:00:00Z")));
    }

    #[test]
    fn a_named_zone_moves_the_hours() {
        let berlin = AllowedHours::parse("09:00-10:00", Some("Europe/Berlin"));
        assert!(berlin.contains(at("2026-07-01T07:30:00Z")));
        assert!(!berlin.contains(at("2026-07-01T09:30:00Z")));
    }

    #[test]
    fn hours_without_a_zone_take_the_default_and_an_unknown_default_means_never() {
        let at_nine = AllowedHours::parse("09:00-10:00", None);
        let berlin = parse_zone("Europe/Berlin");
        assert!(at_nine.in_zone(Some(&berlin)).contains(at("2026-07-01T07:30:00Z")));
        assert!(at_nine.in_zone(None).contains(at("2026-07-01T09:30:00Z")));
        let utc = AllowedHours::parse("09:00-10:00", Some("UTC"));
        assert!(utc.in_zone(Some(&berlin)).contains(at("2026-07-01T09:30:00Z")));
        let mars = parse_zone("Mars/Olympus");
        assert_eq!(
            at_nine.in_zone(Some(&mars)),
            AllowedHours::Never("time zone \"Mars/Olympus\" is not known".to_owned())
        );
        assert_eq!(utc.in_zone(Some(&mars)), utc);
    }

    #[test]
    fn b51_what_cannot_be_understood_is_never_allowed() {
        for (hours, zone) in [
            ("", None),
            ("9-17", None),
            ("9:00-17:00", None),
            ("24:00-06:00", None),
            ("09:60-17:00", None),
            ("09:00", None),
            ("09:00-17:00", Some("Mars/Olympus")),
            ("09:00-17:00", Some("")),
        ] {
            let parsed = AllowedHours::parse(hours, zone);
            assert!(
                matches!(parsed, AllowedHours::Never(_)),
                "{hours:?} {zone:?}: {parsed:?}"
            );
        }
    }
}
