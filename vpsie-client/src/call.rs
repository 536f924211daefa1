//! One logical call: deadline, circuit breaker, repeats, login, request, meaning of the answer, in this order.
//!
//! The limits that are per request (slots, rate limit, timeout) are inside the repeats, so that repeats cannot pass
//! them by.

use std::{
    hash::{BuildHasher, RandomState},
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Method, header};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::{
    auth::{self, Auth, Token},
    breaker::{Breaker, BreakerState, Change, Verdict},
    config::Config,
    error::{Error, ErrorKind},
    exchange::{Exchange, Outgoing},
    observe::Event,
    reply::{Nature, judge},
};

/// What calls go through.
pub(crate) struct Caller {
    exchange: Exchange,
    pub(crate) auth: Auth,
    breaker: Breaker,
    retry: Retry,
    call_timeout: Duration,
}

/// A call to make.
#[derive(Debug)]
pub(crate) struct Call {
    /// What a person calls it.
    pub(crate) operation: String,
    /// Its name in metrics.
    pub(crate) name: &'static str,
    pub(crate) nature: Nature,
    pub(crate) method: Method,
    /// Path and query below the base URL.
    pub(crate) path: String,
    /// A JSON body.
    pub(crate) body: Option<Value>,
    /// Texts of the body that an answer may echo and no message may hold.
    pub(crate) secrets: Vec<String>,
}

/// When a request may be repeated, and after how long.
#[derive(Debug)]
struct Retry {
    max_retries: u32,
    first_backoff: Duration,
    max_backoff: Duration,
    jitter: AtomicU64,
}

// === impl Caller ===

impl Caller {
    pub(crate) fn new(config: &Config, exchange: Exchange) -> Self {
        Self {
            exchange,
            auth: Auth::new(config),
            breaker: Breaker::new(config.breaker),
            retry: Retry {
                max_retries: config.max_retries,
                first_backoff: config.first_backoff,
                max_backoff: config.max_backoff,
                jitter: AtomicU64::new(config.jitter_seed.unwrap_or_else(|| RandomState::new().hash_one(0))),
            },
            call_timeout: config.call_timeout,
        }
    }

    /// When a call that starts now must be over.
    pub(crate) fn deadline(&self) -> Instant {
        Instant::now() + self.call_timeout
    }

    pub(crate) fn breaker_state(&self) -> BreakerState {
        self.breaker.state()
    }

    /// Makes a call and gives the body of its answer; JSON null stands for an empty one.
    pub(crate) async fn call(&self, call: &Call, deadline: Instant) -> Result<Value, Error> {
        let (permit, change) = self.breaker.admit();
        self.report(change);
        let permit = permit.map_err(|wait| {
            self.exchange.observer.event(&Event::Blocked {
                endpoint: call.name,
                state: self.breaker.state(),
            });
            let message = format!(
                "not tried: the API failed too often, next try in {} s at the earliest",
                wait.as_secs()
            );
            Error::new(ErrorKind::Transient, &call.operation, message).before_sending()
        })?;
        let result = self.repeated(call, deadline).await;
        let verdict = match &result {
            Ok(_) => Verdict::Up,
            Err(error) if error.is_outage() => Verdict::Down,
            Err(error) if error.status().is_some() => Verdict::Up,
            Err(_) => Verdict::Unknown,
        };
        self.report(permit.finish(verdict));
        if let Err(error) = &result {
            self.exchange.observer.event(&Event::Failed {
                endpoint: call.name,
                kind: error.kind().clone(),
            });
        }
        result
    }

    fn report(&self, change: Change) {
        if let Some((from, to)) = change {
            tracing::warn!(
                from = from.label(),
                to = to.label(),
                "the circuit breaker of the VPSie API changed"
            );
            self.exchange.observer.event(&Event::Breaker { from, to });
        }
    }

    async fn repeated(&self, call: &Call, deadline: Instant) -> Result<Value, Error> {
        let mut repeats = 0;
        loop {
            let error = match self.authenticated(call, deadline).await {
                Ok(body) => return Ok(body),
                Err(error) => error,
            };
            let Some(delay) = self.retry.delay(&error, call.nature, repeats) else {
                return Err(error);
            };
            if Instant::now() + delay >= deadline {
                return Err(error);
            }
            tracing::debug!(operation = call.operation, %error, ?delay, "repeating a request to the VPSie API");
            sleep(delay).await;
            repeats += 1;
        }
    }

    /// One request with a token; when the API refuses the token, one more with another token.
    async fn authenticated(&self, call: &Call, deadline: Instant) -> Result<Value, Error> {
        let token = self
            .auth
            .token(&self.exchange, deadline)
            .await
            .map_err(|error| error.with_operation(&call.operation))?;
        let result = self.once(call, &token, deadline).await;
        match result {
            Err(error) if *error.kind() == ErrorKind::Auth && self.auth.can_renew() => {
                let other = self.auth.replace(&token, &self.exchange, deadline).await;
                let other = other.map_err(|error| error.with_operation(&call.operation))?;
                self.once(call, &other, deadline).await
            }
            result => result,
        }
    }

    async fn once(&self, call: &Call, token: &Token, deadline: Instant) -> Result<Value, Error> {
        let mut headers = token.headers();
        let body = match &call.body {
            Some(body) => {
                headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
                Bytes::from(body.to_string())
            }
            None => Bytes::new(),
        };
        let outgoing = Outgoing {
            operation: &call.operation,
            name: call.name,
            method: call.method.clone(),
            path: &call.path,
            headers,
            body,
            priority: call.nature.priority(),
        };
        let result = match self.exchange.send(&outgoing, deadline).await {
            Ok(reply) => judge(&reply, call.nature, &call.operation),
            Err(error) => Err(error),
        };
        result.map_err(|error| self.finish_error(call, error))
    }

    /// Takes secrets out, and what does not apply to a call without effect.
    fn finish_error(&self, call: &Call, error: Error) -> Error {
        let message = call
            .secrets
            .iter()
            .fold(self.auth.redact(error.message()), |text, secret| {
                auth::redact(&text, secret)
            });
        let kind = match error.kind() {
            ErrorKind::Timeout { outcome_unknown: true } if !call.nature.has_effect() => {
                ErrorKind::Timeout { outcome_unknown: false }
            }
            // The answer to a create was too long to read, but there was one.
            ErrorKind::Malformed if call.nature == Nature::Create => ErrorKind::Timeout { outcome_unknown: true },
            kind => kind.clone(),
        };
        error.with_kind(kind).with_message(message)
    }
}

// === impl Retry ===

impl Retry {
    /// How long to wait before repeating a request that failed like this, or `None` when it must not be repeated.
    fn delay(&self, error: &Error, nature: Nature, repeats: u32) -> Option<Duration> {
        if repeats >= self.max_retries {
            return None;
        }
        let backoff = self
            .first_backoff
            .saturating_mul(1 << repeats.min(20))
            .min(self.max_backoff);
        match error.kind() {
            // The call was not carried out, so that even a create may be repeated.
            ErrorKind::RateLimited { retry_after } => {
                Some(retry_after.unwrap_or(Duration::ZERO).max(self.jittered(backoff)))
            }
            ErrorKind::Transient | ErrorKind::Timeout { .. } if error.is_before_sending() || nature.is_idempotent() => {
                Some(self.jittered(backoff))
            }
            _ => None,
        }
    }

    /// Between 80 and 100 percent of a duration.
    fn jittered(&self, duration: Duration) -> Duration {
        duration / 100 * (80 + self.random_percent() % 21)
    }

    /// SplitMix64: more than good enough to keep clients from marching in step.
    fn random_percent(&self) -> u32 {
        let state = self.jitter.fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::Relaxed);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        u32::try_from((mixed ^ (mixed >> 31)) % 100).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn retry() -> Retry {
        Retry {
            max_retries: 3,
            first_backoff: Duration::from_millis(200),
            max_backoff: Duration::from_secs(1),
            jitter: AtomicU64::new(1),
        }
    }

    fn error(kind: ErrorKind) -> Error {
        Error::new(kind, "test", "test")
    }

    #[test]
    fn waits_grow_up_to_the_bound() {
        let retry = retry();
        let waits: Vec<_> = (0..4)
            .map(|n| retry.delay(&error(ErrorKind::Transient), Nature::List, n))
            .collect();
        for (wait, bound) in waits.iter().zip([200, 400, 800]) {
            let bound = Duration::from_millis(bound);
            assert!(
                wait.is_some_and(|wait| wait <= bound && wait >= bound * 4 / 5),
                "{waits:?}"
            );
        }
        assert_eq!(waits[3], None);
    }

    #[test]
    fn a_create_is_repeated_only_when_it_was_not_carried_out() {
        let retry = retry();
        let unknown = ErrorKind::Timeout { outcome_unknown: true };
        let create = |error: Error| retry.delay(&error, Nature::Create, 0).is_some();
        assert!(!create(error(unknown.clone())));
        assert!(!create(error(ErrorKind::Transient)));
        assert!(create(error(ErrorKind::Transient).before_sending()));
        assert!(create(error(ErrorKind::RateLimited { retry_after: None })));
        assert!(retry.delay(&error(unknown), Nature::Delete, 0).is_some());
    }

    #[test]
    fn refusals_are_not_repeated() {
        for kind in [
            ErrorKind::Capacity { limit: None },
            ErrorKind::Quota,
            ErrorKind::Auth,
            ErrorKind::Forbidden,
            ErrorKind::NotFound,
            ErrorKind::Conflict,
            ErrorKind::InvalidRequest,
            ErrorKind::Malformed,
        ] {
            assert_eq!(retry().delay(&error(kind), Nature::List, 0), None);
        }
    }

    #[test]
    fn the_wait_that_the_api_asks_for_is_kept() {
        let limited = error(ErrorKind::RateLimited {
            retry_after: Some(Duration::from_secs(60)),
        });
        assert_eq!(retry().delay(&limited, Nature::List, 0), Some(Duration::from_secs(60)));
    }
}
