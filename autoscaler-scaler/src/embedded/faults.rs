//! Faults on purpose, and what was asked. May hold: rules that spoil requests of clients, and the request log.
//!
//! Faults concern requests that come through the router; the controllers and the scheduler of the cluster write past it.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::error::ApiError;

/// The newest requests that the log keeps; the counts cover all.
const LOG_LIMIT: usize = 10_000;

/// What a request asks for, in the words of RBAC rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "each is the RBAC verb of its name")]
pub enum Verb {
    Get,
    List,
    Watch,
    Create,
    Update,
    Patch,
    Delete,
    DeleteCollection,
}

/// One request that reached the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestRecord {
    /// What was asked for.
    pub verb: Verb,
    /// API group, empty for `v1`.
    pub group: String,
    /// Resource as RBAC names it, for example `pods` or `pods/eviction`.
    pub resource: String,
    /// Namespace of the request, empty for none or all.
    pub namespace: String,
    /// Name of the object, empty for collections.
    pub name: String,
    /// HTTP status of the answer.
    pub status: u16,
}

/// Handle to spoil requests and to see what was asked. Get it from [`Cluster::faults`](super::Cluster::faults).
#[derive(Default)]
pub struct Faults {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    rules: Vec<Rule>,
    log: VecDeque<RequestRecord>,
    counts: BTreeMap<(Verb, String), u64>,
}

struct Rule {
    verb: Verb,
    resource: String,
    left: u32,
    fault: Fault,
}

/// What happens to a request.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Fault {
    /// Refused without effect.
    Fail(ApiError),
    /// Served, but the reply breaks off.
    LoseReply,
    /// Served after a wait.
    Delay(Duration),
}

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Faults").finish_non_exhaustive()
    }
}

impl Faults {
    /// Refuses the next `times` requests of this verb on this resource (`pods`, `pods/eviction`) with `error`.
    pub fn fail(&self, verb: Verb, resource: &str, times: u32, error: ApiError) {
        self.add(verb, resource, times, Fault::Fail(error));
    }

    /// Serves the next `times` requests of this verb on this resource, but breaks the reply off: the effect took
    /// place and the client cannot know.
    pub fn lose_replies(&self, verb: Verb, resource: &str, times: u32) {
        self.add(verb, resource, times, Fault::LoseReply);
    }

    /// Serves the next `times` requests of this verb on this resource only after `delay` of tokio's time.
    pub fn delay(&self, verb: Verb, resource: &str, times: u32, delay: Duration) {
        self.add(verb, resource, times, Fault::Delay(delay));
    }

    /// Takes back every fault that has not struck yet.
    pub fn clear(&self) {
        self.lock().rules.clear();
    }

    /// How many requests of this verb on this resource came in.
    #[must_use]
    pub fn count(&self, verb: Verb, resource: &str) -> u64 {
        self.lock()
            .counts
            .get(&(verb, resource.to_owned()))
            .copied()
            .unwrap_or_default()
    }

    /// How many requests came in, per verb and resource.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<(Verb, String), u64> {
        self.lock().counts.clone()
    }

    /// The newest requests, oldest first (at most 10 000). A watch is logged when it starts.
    #[must_use]
    pub fn requests(&self) -> Vec<RequestRecord> {
        self.lock().log.iter().cloned().collect()
    }

    /// Forgets the requests so far, counts included.
    pub fn reset_requests(&self) {
        let mut inner = self.lock();
        inner.log.clear();
        inner.counts.clear();
    }

    /// The fault that strikes this request, used up by it. The oldest rule strikes first.
    pub(super) fn strike(&self, verb: Verb, resource: &str) -> Option<Fault> {
        let mut inner = self.lock();
        let rule = inner
            .rules
            .iter_mut()
            .find(|rule| rule.verb == verb && rule.resource == resource)?;
        rule.left = rule.left.saturating_sub(1);
        let fault = rule.fault.clone();
        inner.rules.retain(|rule| rule.left > 0);
        Some(fault)
    }

    pub(super) fn record(&self, request: RequestRecord) {
        let mut inner = self.lock();
        *inner
            .counts
            .entry((request.verb, request.resource.clone()))
            .or_default() += 1;
        if inner.log.len() == LOG_LIMIT {
            inner.log.pop_front();
        }
        inner.log.push_back(request);
    }

    fn add(&self, verb: Verb, resource: &str, times: u32, fault: Fault) {
        if times > 0 {
            self.lock().rules.push(Rule {
                verb,
                resource: resource.to_owned(),
                left: times,
                fault,
            });
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
