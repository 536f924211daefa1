//! Tolerant reading of JSON objects: numbers may be strings, flags may be 0 and 1, dates come in many formats.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp, civil, fmt::rfc2822, tz::TimeZone};
use serde_json::{Map, Value};

/// The fields of a JSON object. Every reader takes several names, and the first that is there and not null counts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fields<'a>(&'a Map<String, Value>);

/// Numbers of `expires` below this are a lifetime in seconds, not a time: it is the year 2001.
const EARLIEST_EPOCH: i64 = 1_000_000_000;

/// Epochs above this are in milliseconds: in seconds it is the year 5138.
const LATEST_EPOCH: i64 = 100_000_000_000;

impl<'a> Fields<'a> {
    /// `None` when the value is not an object.
    pub(crate) fn of(value: &'a Value) -> Option<Self> {
        value.as_object().map(Self)
    }

    pub(crate) fn get(self, names: &[&str]) -> Option<&'a Value> {
        names
            .iter()
            .filter_map(|name| self.0.get(*name))
            .find(|value| !value.is_null())
    }

    /// A text that is not empty; numbers are taken as text.
    pub(crate) fn text(self, names: &[&str]) -> Option<String> {
        names.iter().find_map(|name| self.0.get(*name).and_then(as_text))
    }

    /// As [`text`](Self::text), for names that are data.
    pub(crate) fn text_of(self, names: &[String]) -> Option<String> {
        names.iter().find_map(|name| self.0.get(name).and_then(as_text))
    }

    /// A whole number, also written as text or with zeros after the point.
    pub(crate) fn integer(self, names: &[&str]) -> Option<i64> {
        let text = self.text(names)?;
        let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
        if fraction.bytes().all(|digit| digit == b'0') {
            whole.parse().ok()
        } else {
            None
        }
    }

    /// A number that is not negative, in thousandths, rounded down.
    pub(crate) fn thousandths(self, names: &[&str]) -> Option<i64> {
        let text = self.text(names)?;
        let (whole, fraction) = text.split_once('.').unwrap_or((&text, "0"));
        if !(whole.bytes().chain(fraction.bytes())).all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let fraction: String = fraction.chars().chain("000".chars()).take(3).collect();
        whole
            .parse::<i64>()
            .ok()?
            .checked_mul(1000)?
            .checked_add(fraction.parse().ok()?)
    }

    /// An amount of money that is not negative.
    pub(crate) fn amount(self, names: &[&str]) -> Option<f64> {
        self.text(names)?
            .parse()
            .ok()
            .filter(|amount: &f64| amount.is_finite() && *amount >= 0.0)
    }

    /// A flag: a boolean, 0 or 1, or one of them as text.
    pub(crate) fn flag(self, names: &[&str]) -> Option<bool> {
        match self.get(names)? {
            Value::Bool(flag) => Some(*flag),
            value => match as_text(value)?.to_lowercase().as_str() {
                "1" | "true" | "yes" | "on" => Some(true),
                "0" | "false" | "no" | "off" => Some(false),
                _ => None,
            },
        }
    }

    /// A date in any of the formats that the API uses.
    pub(crate) fn date(self, names: &[&str]) -> Option<Timestamp> {
        self.text(names).and_then(|text| parse_date(&text))
    }

    /// A list of texts: a list of texts, numbers or objects with a name, or one text with commas.
    pub(crate) fn texts(self, names: &[&str]) -> Vec<String> {
        match self.get(names) {
            Some(Value::Array(items)) => items
                .iter()
                .filter_map(|item| as_text(item).or_else(|| Fields::of(item)?.text(&["name", "tag", "value"])))
                .collect(),
            Some(Value::String(text)) => text
                .split(',')
                .map(str::trim)
                .filter(|tag| !tag.is_empty())
                .map(str::to_owned)
                .collect(),
            _ => Vec::new(),
        }
    }

    /// How long after `now` the time of this field is, which may be a date or a number of seconds. `None` when it is
    /// missing, not understood, or not after `now`.
    pub(crate) fn time_left(self, names: &[&str], now: Timestamp) -> Option<Duration> {
        let left = match self.integer(names) {
            Some(seconds) if seconds < EARLIEST_EPOCH => SignedDuration::from_secs(seconds),
            _ => self.date(names)?.duration_since(now),
        };
        Duration::try_from(left).ok().filter(|left| !left.is_zero())
    }
}

fn as_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// RFC 3339, the same without a zone or with a blank (taken as UTC), RFC 2822, or seconds or milliseconds since 1970.
fn parse_date(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    if let Ok(number) = text.parse::<i64>() {
        return if number > LATEST_EPOCH {
            Timestamp::from_millisecond(number).ok()
        } else {
            Timestamp::from_second(number).ok()
        };
    }
    text.parse()
        .ok()
        .or_else(|| {
            text.parse::<civil::DateTime>()
                .ok()?
                .to_zoned(TimeZone::UTC)
                .ok()
                .map(|date| date.timestamp())
        })
        .or_else(|| rfc2822::DateTimeParser::new().parse_timestamp(text).ok())
        // The zero date of SQL and of Go are before 1970; no VM is.
        .filter(|date| *date > Timestamp::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn dates_come_in_many_formats() {
        for text in [
            json!("2024-01-02T03:04:05Z"),
            json!("2024-01-02T05:04:05+02:00"),
            json!("2024-01-02 03:04:05"),
            json!("2024-01-02T03:04:05.000000"),
            json!("Tue, 02 Jan 2024 03:04:05 GMT"),
            json!(1_704_164_645),
            json!("1704164645"),
            json!(1_704_164_645_000_i64),
        ] {
            let object = json!({"at": text});
            let date = Fields::of(&object).unwrap().date(&["at"]);
            assert_eq!(date, Some("2024-01-02T03:04:05Z".parse().unwrap()), "{text}");
        }
        for text in [
            json!("yesterday"),
            json!(null),
            json!(true),
            json!("0000-00-00 00:00:00"),
            json!("0001-01-01T00:00:00Z"),
        ] {
            let object = json!({"at": text});
            assert_eq!(Fields::of(&object).unwrap().date(&["at"]), None, "{text}");
        }
    }

    #[test]
    fn numbers_may_be_strings_and_flags_numbers() {
        let object = json!({"a": "4", "b": 4, "c": 4.0, "d": "1", "e": 0, "f": true, "g": "4.5", "h": null, "i": [], "j": "0.25"});
        let fields = Fields::of(&object).unwrap();
        for name in ["a", "b", "c"] {
            assert_eq!(fields.integer(&[name]), Some(4), "{name}");
        }
        assert_eq!(
            (fields.integer(&["g"]), fields.integer(&["h"]), fields.integer(&["i"])),
            (None, None, None)
        );
        assert_eq!(
            (
                fields.thousandths(&["g"]),
                fields.thousandths(&["a"]),
                fields.thousandths(&["j"])
            ),
            (Some(4500), Some(4000), Some(250))
        );
        assert_eq!(
            (
                fields.flag(&["d"]),
                fields.flag(&["e"]),
                fields.flag(&["f"]),
                fields.flag(&["h"])
            ),
            (Some(true), Some(false), Some(true), None)
        );
        assert_eq!(fields.text(&["h", "b"]), Some("4".to_owned()));
    }

    #[test]
    fn tags_come_in_three_shapes() {
        for tags in [json!(["a", "b"]), json!("a, b,"), json!([{"name": "a"}, {"tag": "b"}])] {
            let object = json!({"tags": tags});
            assert_eq!(Fields::of(&object).unwrap().texts(&["tags"]), ["a", "b"], "{tags}");
        }
        let object = json!({"tags": null});
        assert!(Fields::of(&object).unwrap().texts(&["tags"]).is_empty());
    }

    #[test]
    fn expiry_is_a_date_or_a_lifetime() {
        let now: Timestamp = "2024-01-02T03:04:05Z".parse().unwrap();
        for (expires, expected) in [
            (json!("2024-01-02T04:04:05Z"), Some(3600)),
            (json!(3600), Some(3600)),
            (json!("3600"), Some(3600)),
            (json!(1_704_164_645 + 60), Some(60)),
            (json!("soon"), None),
            (json!("2024-01-02T03:04:05Z"), None),
            (json!(-5), None),
        ] {
            let object = json!({"expires": expires});
            let left = Fields::of(&object).unwrap().time_left(&["expires"], now);
            assert_eq!(left, expected.map(Duration::from_secs), "{expires}");
        }
    }
}
