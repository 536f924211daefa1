//! What an answer means: HTTP status and body are both consulted, and messages come before status codes.
//!
//! The API answers failures in many shapes: `{error: true, code, message}`, `{error: "text"}`, HTTP 200 with
//! `error: true`, and a full account as HTTP 500. Every rule about that is here.

use std::time::Duration;

use http::{HeaderMap, StatusCode, header};
use jiff::{Timestamp, fmt::rfc2822};
use serde_json::Value;

use crate::{
    error::{Error, ErrorKind},
    exchange::Reply,
    limit::Priority,
    wire::Fields,
};

/// What a call is about, as far as its answer and its repetition depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Nature {
    /// Exchanges credentials for a token.
    Login,
    /// Reads a collection.
    List,
    /// Reads one object.
    Get,
    /// Makes an object. The only one that must not be repeated blindly.
    Create,
    /// Deletes one object.
    Delete,
}

/// Messages that say that there is no room, however the status is. Compared in lower case.
const CAPACITY: [&str; 9] = [
    "exceeds the allowed limit",
    "maximum number of",
    "limit reached",
    "sold out",
    "out of stock",
    "out of capacity",
    "no capacity",
    "insufficient capacity",
    "not enough resources",
];

const QUOTA: [&str; 4] = [
    "quota exceeded",
    "exceeds quota",
    "plan does not allow",
    "subscription does not allow",
];

const THROTTLED: [&str; 3] = ["too many requests", "rate limit", "request limit"];

const UNAUTHENTICATED: [&str; 6] = [
    "unauthorized",
    "unauthenticated",
    "invalid token",
    "token expired",
    "token has expired",
    "jwt expired",
];

const NOT_FOUND: [&str; 4] = ["not found", "does not exist", "doesn't exist", "no such"];

/// "Lost in the clouds" is what the API says when a required field is missing.
const INVALID: [&str; 5] = ["lost in the clouds", "invalid", "required", "validation", "missing"];

/// A gateway that does not know the path says "not found" as well, with one of these words.
const WRONG_PATH: [&str; 5] = ["route", "endpoint", "path", "page", "url"];

/// Characters of a message of the API that are kept.
const MESSAGE_LENGTH: usize = 300;

/// Reads an answer: its body when it says success, or the error that it stands for.
pub(crate) fn judge(reply: &Reply, nature: Nature, operation: &str) -> Result<Value, Error> {
    let body: Option<Value> = serde_json::from_slice(&reply.body).ok();
    let refusal = Refusal::read(reply.status, body.as_ref());
    let status = reply.status.as_u16();
    let Some(refusal) = refusal else {
        return match body {
            Some(body) => Ok(body),
            // 204, and creates and deletes that are answered by nothing at all.
            None if reply.body.is_empty() && matches!(nature, Nature::Create | Nature::Delete) => Ok(Value::Null),
            None => Err(
                settle(ErrorKind::Malformed, nature, operation, "the answer is not JSON")
                    .with_status(status, request_id(&reply.headers)),
            ),
        };
    };
    let kind = refusal.kind(nature, || retry_after(&reply.headers, body.as_ref()));
    let mut message = refusal.message.unwrap_or_else(|| snippet(&reply.body, reply.status));
    if reply.status.is_redirection() {
        message = format!("the API redirects elsewhere ({status}), which is not followed; is the base URL right?");
    }
    Err(settle(kind, nature, operation, message).with_status(status, request_id(&reply.headers)))
}

/// An error of this kind, except that a create that was not clearly refused may have been carried out.
fn settle(kind: ErrorKind, nature: Nature, operation: &str, message: impl Into<String>) -> Error {
    let kind = match kind {
        ErrorKind::Transient | ErrorKind::Malformed if nature == Nature::Create => {
            ErrorKind::Timeout { outcome_unknown: true }
        }
        kind => kind,
    };
    Error::new(kind, operation, message)
}

/// What an answer says about a failure.
#[derive(Debug)]
struct Refusal {
    /// The HTTP status, or the `code` of the body when the HTTP status claims success.
    status: Option<u16>,
    message: Option<String>,
    lower: String,
    /// Whether the body is a JSON object, as the API writes it; a gateway in between writes HTML or nothing.
    is_from_api: bool,
}

// === impl Nature ===

impl Nature {
    /// Whether the call may be sent again when it may have been carried out.
    pub(crate) const fn is_idempotent(self) -> bool {
        !matches!(self, Self::Create)
    }

    pub(crate) const fn priority(self) -> Priority {
        match self {
            Self::Login | Self::Delete => Priority::High,
            Self::List | Self::Get | Self::Create => Priority::Normal,
        }
    }

    /// Whether a lost answer leaves open what was done.
    pub(crate) const fn has_effect(self) -> bool {
        matches!(self, Self::Create | Self::Delete)
    }

    const fn is_about_one_object(self) -> bool {
        matches!(self, Self::Get | Self::Delete)
    }
}

// === impl Refusal ===

impl Refusal {
    /// `None` when the answer says success.
    fn read(status: StatusCode, body: Option<&Value>) -> Option<Self> {
        let fields = body.and_then(Fields::of);
        let code = fields
            .and_then(|fields| fields.integer(&["code", "statusCode"]))
            .and_then(|code| u16::try_from(code).ok());
        let code = code.filter(|code| (400..600).contains(code));
        let flagged = fields.is_some_and(|fields| {
            fields.get(&["error"]).is_some_and(is_set)
                || fields.flag(&["success"]) == Some(false)
                || (code.is_some() && fields.get(&["data"]).is_none())
        });
        if status.is_success() && !flagged {
            return None;
        }
        let message = fields.and_then(|fields| {
            let nested = fields.get(&["error"]).and_then(Fields::of);
            fields
                .text(&["message"])
                .or_else(|| nested.and_then(|nested| nested.text(&["message"])))
                .or_else(|| fields.get(&["error"]).and_then(Value::as_str).map(str::to_owned))
        });
        let message = message.map(|message| clip(&message));
        Some(Self {
            status: if status.is_success() {
                code
            } else {
                Some(status.as_u16())
            },
            lower: message.as_deref().unwrap_or_default().to_lowercase(),
            message,
            is_from_api: fields.is_some(),
        })
    }

    fn kind(&self, nature: Nature, retry_after: impl FnOnce() -> Option<Duration>) -> ErrorKind {
        if self.status == Some(429) || self.says(&THROTTLED) {
            return ErrorKind::RateLimited {
                retry_after: retry_after(),
            };
        }
        if nature == Nature::Create {
            if let Some(limit) = capacity(&self.lower) {
                return ErrorKind::Capacity { limit };
            }
            if self.says(&QUOTA) {
                return ErrorKind::Quota;
            }
        }
        match self.status {
            Some(401) => ErrorKind::Auth,
            Some(402) if nature == Nature::Create => ErrorKind::Quota,
            Some(402 | 403) => ErrorKind::Forbidden,
            Some(404 | 410) => match nature {
                Nature::Get | Nature::Delete
                    if self.is_from_api && self.message.is_some() && !self.is_about_the_path() =>
                {
                    ErrorKind::NotFound
                }
                // Whoever answered may not be the API at all: nothing is known about the VM.
                Nature::Get | Nature::Delete => ErrorKind::Malformed,
                Nature::Login | Nature::List | Nature::Create => ErrorKind::InvalidRequest,
            },
            Some(408) => ErrorKind::Transient,
            Some(409 | 423) => ErrorKind::Conflict,
            Some(400..500) => ErrorKind::InvalidRequest,
            Some(500..) => ErrorKind::Transient,
            Some(_) => ErrorKind::Malformed,
            None if self.says(&UNAUTHENTICATED) => ErrorKind::Auth,
            None if nature.is_about_one_object() && self.says(&NOT_FOUND) && !self.is_about_the_path() => {
                ErrorKind::NotFound
            }
            None if self.says(&INVALID) => ErrorKind::InvalidRequest,
            None => ErrorKind::Transient,
        }
    }

    fn is_about_the_path(&self) -> bool {
        let words = self
            .lower
            .split_whitespace()
            .map(|word| word.trim_matches(|c: char| !c.is_alphanumeric()));
        words.into_iter().any(|word| WRONG_PATH.contains(&word))
    }

    fn says(&self, phrases: &[&str]) -> bool {
        phrases.iter().any(|phrase| self.lower.contains(phrase))
    }
}

/// Whether a lower-case message says that there is no room, and the limit that it names.
#[expect(
    clippy::option_option,
    reason = "the outer answers whether, the inner with which number"
)]
fn capacity(message: &str) -> Option<Option<u64>> {
    let (_, rest) = CAPACITY.iter().find_map(|phrase| message.split_once(phrase))?;
    let digits = rest.trim_start_matches(|c: char| !c.is_ascii_digit());
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    Some(digits.split_at(end).0.parse().ok())
}

/// Whether the `error` of an envelope says that there is one: it may be a boolean, a number, a text or an object.
fn is_set(error: &Value) -> bool {
    match error {
        Value::Null => false,
        Value::Bool(set) => *set,
        Value::Number(number) => number.as_i64() != Some(0),
        Value::String(text) => !matches!(
            text.trim().to_lowercase().as_str(),
            "" | "0" | "false" | "none" | "null"
        ),
        Value::Array(errors) => !errors.is_empty(),
        Value::Object(error) => !error.is_empty(),
    }
}

/// How long to wait: the `Retry-After` header in seconds or as a date, else `retry_after` in the body.
fn retry_after(headers: &HeaderMap, body: Option<&Value>) -> Option<Duration> {
    let header = headers
        .get(header::RETRY_AFTER)
        .and_then(|value| value.to_str().ok())
        .map(str::trim);
    let from_header = header.and_then(|text| {
        if let Ok(seconds) = text.parse() {
            return Some(Duration::from_secs(seconds));
        }
        let date = rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
        Some(Duration::try_from(date.duration_since(Timestamp::now())).unwrap_or_default())
    });
    from_header.or_else(|| {
        let seconds = body.and_then(Fields::of)?.integer(&["retry_after", "retryAfter"])?;
        u64::try_from(seconds).ok().map(Duration::from_secs)
    })
}

fn request_id(headers: &HeaderMap) -> Option<String> {
    headers
        .get("x-request-id")
        .and_then(|value| value.to_str().ok())
        .map(clip)
}

fn snippet(body: &[u8], status: StatusCode) -> String {
    let text = clip(&String::from_utf8_lossy(
        body.get(..body.len().min(4 * MESSAGE_LENGTH)).unwrap_or_default(),
    ));
    if text.is_empty() {
        format!("HTTP status {status}")
    } else {
        format!("HTTP status {status}: {text}")
    }
}

/// One line of bounded length without control characters, fit for a log.
pub(crate) fn clip(text: &str) -> String {
    let line = text
        .split(|c: char| c.is_whitespace() || c.is_control())
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join(" ");
    match line.char_indices().nth(MESSAGE_LENGTH) {
        Some((end, _)) => format!("{}…", line.split_at(end).0),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn kind(status: u16, body: &str, nature: Nature) -> Option<ErrorKind> {
        let reply = Reply {
            status: StatusCode::from_u16(status).unwrap(),
            headers: HeaderMap::new(),
            body: body.to_owned().into(),
        };
        judge(&reply, nature, "test").err().map(|error| error.kind().clone())
    }

    #[test]
    fn messages_come_before_status_codes() {
        for (status, message, expected) in [
            (
                500,
                "Worker nodes count exceeds the allowed limit 5",
                ErrorKind::Capacity { limit: Some(5) },
            ),
            (
                200,
                "Worker nodes count EXCEEDS the allowed limit 5",
                ErrorKind::Capacity { limit: Some(5) },
            ),
            (
                400,
                "You have the maximum number of servers (20).",
                ErrorKind::Capacity { limit: Some(20) },
            ),
            (422, "Limit reached", ErrorKind::Capacity { limit: None }),
            (403, "Quota exceeded", ErrorKind::Quota),
            (500, "Your plan does not allow this", ErrorKind::Quota),
            (
                403,
                "API rate limit reached",
                ErrorKind::RateLimited { retry_after: None },
            ),
        ] {
            let body = json!({"error": true, "message": message}).to_string();
            assert_eq!(
                kind(status, &body, Nature::Create),
                Some(expected),
                "{status} {message}"
            );
        }
    }

    #[test]
    fn only_a_create_can_meet_a_capacity_limit() {
        let body = json!({"error": true, "message": "limit reached"}).to_string();
        assert_eq!(kind(500, &body, Nature::Delete), Some(ErrorKind::Transient));
        assert_eq!(kind(500, &body, Nature::List), Some(ErrorKind::Transient));
    }

    #[test]
    fn every_shape_of_the_error_flag_is_seen_with_status_200() {
        for error in [
            json!(true),
            json!("boom"),
            json!(1),
            json!("true"),
            json!({"message": "boom"}),
            json!(["boom"]),
        ] {
            let body = json!({"error": error, "data": []}).to_string();
            assert_eq!(kind(200, &body, Nature::List), Some(ErrorKind::Transient), "{error}");
        }
        assert_eq!(
            kind(200, r#"{"success": false}"#, Nature::List),
            Some(ErrorKind::Transient)
        );
        assert_eq!(
            kind(200, r#"{"code": 403, "message": "no"}"#, Nature::List),
            Some(ErrorKind::Forbidden)
        );
        for error in [
            json!(false),
            json!(null),
            json!(""),
            json!(0),
            json!("false"),
            json!([]),
        ] {
            let body = json!({"error": error, "data": []}).to_string();
            assert_eq!(kind(200, &body, Nature::List), None, "{error}");
        }
    }

    #[test]
    fn the_code_of_the_body_counts_when_http_claims_success() {
        for (code, expected) in [
            (json!(401), ErrorKind::Auth),
            (json!("404"), ErrorKind::NotFound),
            (json!(409), ErrorKind::Conflict),
            (json!(503), ErrorKind::Transient),
            (json!(200), ErrorKind::Transient),
        ] {
            let body = json!({"error": true, "code": code, "message": "no"}).to_string();
            assert_eq!(kind(200, &body, Nature::Get), Some(expected), "{code}");
        }
    }

    #[test]
    fn a_vm_is_not_found_only_when_the_api_says_so() {
        let api = json!({"error": true, "message": "VM 7 not found"}).to_string();
        assert_eq!(kind(404, &api, Nature::Get), Some(ErrorKind::NotFound));
        assert_eq!(kind(200, &api, Nature::Delete), Some(ErrorKind::NotFound));
        assert_eq!(kind(404, &api, Nature::List), Some(ErrorKind::InvalidRequest));
        let odd_name = json!({"error": true, "message": "VM router-page-1 not found"}).to_string();
        assert_eq!(kind(404, &odd_name, Nature::Get), Some(ErrorKind::NotFound));
        for body in [
            "",
            "<html>404</html>",
            "404 page not found",
            r#"{"message": "no Route matched"}"#,
            "{}",
            "[]",
        ] {
            assert_eq!(kind(404, body, Nature::Delete), Some(ErrorKind::Malformed), "{body}");
        }
    }

    #[test]
    fn a_create_without_a_clear_refusal_has_an_unknown_outcome() {
        let unknown = Some(ErrorKind::Timeout { outcome_unknown: true });
        for (status, body) in [
            (500, r#"{"error": true, "message": "Internal error"}"#),
            (502, "<html>Bad Gateway</html>"),
            (504, ""),
            (200, r#"{"error": true, "message": "something went wrong"}"#),
            (200, "not json"),
            (302, ""),
        ] {
            assert_eq!(kind(status, body, Nature::Create), unknown, "{status} {body}");
        }
        for status in [400, 401, 402, 403, 404, 409, 422, 429] {
            assert_ne!(kind(status, "", Nature::Create), unknown, "{status}");
        }
        assert_eq!(
            kind(
                200,
                r#"{"error": true, "message": "Lost in the clouds"}"#,
                Nature::Create
            ),
            Some(ErrorKind::InvalidRequest)
        );
    }

    #[test]
    fn empty_answers_are_success_for_creates_and_deletes_only() {
        assert_eq!(kind(204, "", Nature::Delete), None);
        assert_eq!(kind(202, "", Nature::Create), None);
        assert_eq!(kind(200, "", Nature::List), Some(ErrorKind::Malformed));
        assert_eq!(kind(200, "", Nature::Get), Some(ErrorKind::Malformed));
    }

    #[test]
    fn waits_come_from_header_or_body() {
        let mut headers = HeaderMap::new();
        let body = json!({"retry_after": 60});
        assert_eq!(retry_after(&headers, Some(&body)), Some(Duration::from_secs(60)));
        headers.insert(header::RETRY_AFTER, "7".parse().unwrap());
        assert_eq!(retry_after(&headers, Some(&body)), Some(Duration::from_secs(7)));
        headers.insert(header::RETRY_AFTER, "Wed, 21 Oct 2015 07:28:00 GMT".parse().unwrap());
        assert_eq!(retry_after(&headers, None), Some(Duration::ZERO));
        headers.insert(header::RETRY_AFTER, "Wed, 21 Oct 2099 07:28:00 GMT".parse().unwrap());
        assert!(retry_after(&headers, None).unwrap() > Duration::from_secs(86_400));
        headers.insert(header::RETRY_AFTER, "soon".parse().unwrap());
        assert_eq!(retry_after(&headers, None), None);
    }

    #[test]
    fn messages_are_one_bounded_line() {
        let text = clip(&format!("a\n\tb\u{7} {}", "é".repeat(1000)));
        assert!(text.starts_with("a b é"), "{text}");
        assert_eq!(text.chars().count(), MESSAGE_LENGTH + 1);
    }
}
