//! Failures on request.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use serde_json::json;

use super::state::Route;

/// How a request fails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is not carried out, and answered by this.
    Status {
        /// HTTP status.
        status: u16,
        /// Body, as it is.
        body: String,
        /// The `Retry-After` header, in seconds.
        retry_after: Option<u64>,
    },
    /// It is carried out, and its answer is replaced by this body with status 200.
    Body(String),
    /// It is carried out, and the connection breaks before the answer is there.
    LoseReply,
    /// It is carried out, and the answer comes after this time.
    Delay(Duration),
    /// A list is answered by an empty list, as well formed as can be.
    EmptyList,
}

/// How often a fault happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Times {
    /// For so many requests.
    Next(usize),
    /// Until [`clear_faults`](super::MockVpsie::clear_faults).
    Always,
}

/// The faults of all routes.
#[derive(Debug, Default)]
pub(super) struct Faults(BTreeMap<Route, VecDeque<(Fault, Times)>>);

// === impl Fault ===

impl Fault {
    /// A status with the usual envelope `{error: true, code, message}`.
    #[must_use]
    pub fn error(status: u16, message: &str) -> Self {
        let body = json!({"error": true, "code": status, "message": message}).to_string();
        Self::Status {
            status,
            body,
            retry_after: None,
        }
    }

    /// 429 with `Retry-After` in seconds.
    #[must_use]
    pub fn rate_limited(retry_after: u64) -> Self {
        let body = json!({"error": true, "code": 429, "message": "Too many requests"}).to_string();
        Self::Status {
            status: 429,
            body,
            retry_after: Some(retry_after),
        }
    }

    /// HTTP status 200 with `{error: true, message}` and no code; the request is not carried out.
    #[must_use]
    pub fn error_with_status_200(message: &str) -> Self {
        let body = json!({"error": true, "message": message}).to_string();
        Self::Status {
            status: 200,
            body,
            retry_after: None,
        }
    }
}

// === impl Faults ===

impl Faults {
    pub(super) fn add(&mut self, route: Route, fault: Fault, times: Times) {
        if times != Times::Next(0) {
            self.0.entry(route).or_default().push_back((fault, times));
        }
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// The fault of the request that just came in.
    pub(super) fn next(&mut self, route: Route) -> Option<Fault> {
        let queue = self.0.get_mut(&route)?;
        let (fault, times) = queue.front_mut()?;
        let fault = fault.clone();
        match times {
            Times::Always => {}
            Times::Next(left) if *left > 1 => *left -= 1,
            Times::Next(_) => {
                queue.pop_front();
            }
        }
        Some(fault)
    }
}
