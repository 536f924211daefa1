//! What a client tells about itself while it works, for metrics.

use std::{fmt, sync::Arc, time::Duration};

use crate::{breaker::BreakerState, error::ErrorKind};

/// Something that happened inside a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A request was sent, and answered or not.
    Attempt(Attempt),
    /// A call is over and failed, after its repeats.
    Failed {
        /// The kind of call, for example `create_vm`.
        endpoint: &'static str,
        /// Why.
        kind: ErrorKind,
    },
    /// A call failed at once because the circuit breaker is open, or half-open with enough probes.
    Blocked {
        /// The kind of call.
        endpoint: &'static str,
        /// What the breaker is doing.
        state: BreakerState,
    },
    /// The circuit breaker changed.
    Breaker {
        /// What it was doing.
        from: BreakerState,
        /// What it does now.
        to: BreakerState,
    },
}

/// One request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// The kind of call: `login`, `list_vms`, `get_vm`, `create_vm`, `delete_vm`, `list_offerings`, `list_datacenters`.
    pub endpoint: &'static str,
    /// Status of the answer; `None` when there was none.
    pub status: Option<u16>,
    /// Time from sending to the end of the answer.
    pub took: Duration,
    /// Time that the client's own rate limit held it back before.
    pub waited: Duration,
}

/// A callback for events, or none.
#[derive(Clone, Default)]
pub(crate) struct Observer(pub(crate) Option<Arc<Callback>>);

type Callback = dyn Fn(&Event) + Send + Sync;

impl Observer {
    pub(crate) fn event(&self, event: &Event) {
        if let Some(callback) = &self.0 {
            callback(event);
        }
    }
}

impl fmt::Debug for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() {
            "Observer(set)"
        } else {
            "Observer(none)"
        })
    }
}
