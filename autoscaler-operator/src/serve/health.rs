//! [`Health`]: whether this replica makes progress, and whether it does the work.
//!
//! Only what the operator knows about itself belongs here; the servers are in the module above.

use std::{sync::Arc, time::Duration};

use axum::http::StatusCode;
use tokio::{sync::watch, time::Instant};

/// What the loops of the operator tell about themselves. A clone shares its state.
///
/// A new one is not synced and does not lead; the planning loop is not expected to tick until both are set.
#[derive(Clone, Debug)]
pub struct Health {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    max_age: Duration,
    standby_is_ready: bool,
    state: watch::Sender<Progress>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    synced: bool,
    leader: bool,
    shutting_down: bool,
    /// When this replica began to be expected to plan.
    expected_since: Option<Instant>,
    last_tick: Option<Instant>,
}

/// One check of a probe, in words.
struct Check {
    name: &'static str,
    passed: bool,
    words: String,
}

// === impl Health ===

impl Health {
    /// The health of an operator whose planning loop is stuck when it has not ticked for longer than `max_age`.
    ///
    /// A replica that does not lead is not ready, so that exactly one replica is.
    #[must_use]
    pub fn new(max_age: Duration) -> Self {
        Self::with_standby_ready(max_age, false)
    }

    /// As [`new`](Self::new); with `standby_is_ready` a replica that waits for the lease counts as ready. A Deployment
    /// of several replicas needs it for its roll-out to complete.
    #[must_use]
    pub fn with_standby_ready(max_age: Duration, standby_is_ready: bool) -> Self {
        let state = watch::Sender::new(Progress::default());
        Self {
            inner: Arc::new(Inner {
                max_age,
                standby_is_ready,
                state,
            }),
        }
    }

    /// The planning loop has made a pass, or has waited for work as it should.
    pub fn tick(&self) {
        self.update(|state| state.last_tick = Some(Instant::now()));
    }

    /// Whether the caches hold what the cluster holds.
    pub fn set_synced(&self, synced: bool) {
        self.update(|state| state.synced = synced);
    }

    /// Whether this replica holds the lease. Without leader election a replica leads from the start.
    pub fn set_leader(&self, leader: bool) {
        self.update(|state| state.leader = leader);
    }

    /// The operator is shutting down: it is not ready any more, and stays alive until it is done.
    pub fn set_shutting_down(&self) {
        self.update(|state| state.shutting_down = true);
    }

    /// Whether the process makes progress: the status and body of `/healthz`.
    ///
    /// Before the caches are synced, without the lease and during a shutdown the planning loop is not expected to tick:
    /// a restart would not help.
    #[must_use]
    pub fn live(&self) -> (StatusCode, String) {
        let state = *self.inner.state.borrow();
        let (passed, words) = self.planning_loop(state);
        answer(
            ("alive", "not alive"),
            &[Check {
                name: "planning loop",
                passed,
                words,
            }],
        )
    }

    /// Whether this replica does the work: the status and body of `/readyz`.
    #[must_use]
    pub fn ready(&self) -> (StatusCode, String) {
        let state = *self.inner.state.borrow();
        let caches = if state.synced { "synced" } else { "not synced yet" };
        let leader = match (state.leader, self.inner.standby_is_ready) {
            (true, _) => "this replica holds the lease",
            (false, true) => "this replica is on standby for the lease",
            (false, false) => "this replica does not hold the lease",
        };
        let shutdown = if state.shutting_down { "in progress" } else { "none" };
        let checks = [
            Check {
                name: "caches",
                passed: state.synced,
                words: caches.to_owned(),
            },
            Check {
                name: "leader",
                passed: state.leader || self.inner.standby_is_ready,
                words: leader.to_owned(),
            },
            Check {
                name: "shutdown",
                passed: !state.shutting_down,
                words: shutdown.to_owned(),
            },
        ];
        answer(("ready", "not ready"), &checks)
    }

    fn update(&self, change: impl FnOnce(&mut Progress)) {
        self.inner.state.send_modify(|state| {
            change(state);
            // The limit counts from the moment when there is something to do, not from the start of the process.
            state.expected_since = match (state.synced && state.leader, state.expected_since) {
                (true, since) => since.or_else(|| Some(Instant::now())),
                (false, _) => None,
            };
        });
    }

    fn planning_loop(&self, state: Progress) -> (bool, String) {
        if state.shutting_down {
            return (true, "stopped for the shutdown".to_owned());
        }
        let Some(expected_since) = state.expected_since else {
            let waits_for = if state.synced { "the lease" } else { "the caches" };
            return (true, format!("waits for {waits_for}"));
        };
        let (what, since) = match state.last_tick {
            Some(tick) if tick >= expected_since => ("last tick", tick),
            Some(_) | None => ("no tick yet, expected since", expected_since),
        };
        let age = since.elapsed();
        let (age_seconds, limit) = (age.as_secs(), self.inner.max_age.as_secs());
        (
            age <= self.inner.max_age,
            format!("{what} {age_seconds} s ago, limit {limit} s"),
        )
    }
}

/// One line for all, and one for each.
fn answer((good, bad): (&str, &str), checks: &[Check]) -> (StatusCode, String) {
    let passed = checks.iter().all(|check| check.passed);
    let (status, summary) = if passed {
        (StatusCode::OK, good)
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, bad)
    };
    let mut body = format!("{summary}\n");
    for Check { name, passed, words } in checks {
        let verdict = if *passed { "ok" } else { "failed" };
        body.push_str(&format!("{name}: {words}: {verdict}\n"));
    }
    (status, body)
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(60);

    fn working() -> Health {
        let health = Health::new(LIMIT);
        health.set_synced(true);
        health.set_leader(true);
        health
    }

    #[tokio::test(start_paused = true)]
    async fn a_loop_that_ticks_is_alive_and_one_that_does_not_is_not() {
        let health = working();
        health.tick();
        advance(Duration::from_secs(3)).await;
        let alive = "alive\nplanning loop: last tick 3 s ago, limit 60 s: ok\n";
        assert_eq!(health.live(), (StatusCode::OK, alive.to_owned()));

        advance(Duration::from_secs(57)).await;
        assert_eq!(health.live().0, StatusCode::OK, "60 s are within the limit");
        advance(Duration::from_secs(1)).await;
        let stuck = "not alive\nplanning loop: last tick 61 s ago, limit 60 s: failed\n";
        assert_eq!(health.live(), (StatusCode::SERVICE_UNAVAILABLE, stuck.to_owned()));

        health.tick();
        assert_eq!(health.live().0, StatusCode::OK);
    }

    #[tokio::test(start_paused = true)]
    async fn the_loop_is_expected_to_tick_once_it_has_caches_and_lease() {
        let health = Health::new(LIMIT);
        advance(LIMIT * 2).await;
        assert_eq!(
            health.live(),
            (
                StatusCode::OK,
                "alive\nplanning loop: waits for the caches: ok\n".to_owned()
            )
        );
        health.set_synced(true);
        advance(LIMIT * 2).await;
        assert_eq!(
            health.live(),
            (
                StatusCode::OK,
                "alive\nplanning loop: waits for the lease: ok\n".to_owned()
            )
        );
        health.set_leader(true);
        advance(LIMIT).await;
        assert_eq!(health.live().0, StatusCode::OK);
        advance(Duration::from_secs(1)).await;
        let stuck = "not alive\nplanning loop: no tick yet, expected since 61 s ago, limit 60 s: failed\n";
        assert_eq!(health.live(), (StatusCode::SERVICE_UNAVAILABLE, stuck.to_owned()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_term_of_leadership_does_not_count_the_time_before_it() {
        let health = working();
        health.tick();
        health.set_leader(false);
        advance(LIMIT * 3).await;
        health.set_leader(true);
        assert_eq!(health.live().0, StatusCode::OK);
        // Saying the same again does not start the clock anew.
        advance(LIMIT).await;
        health.set_leader(true);
        advance(Duration::from_secs(1)).await;
        assert_eq!(health.live().0, StatusCode::SERVICE_UNAVAILABLE);
    }

    #[tokio::test(start_paused = true)]
    async fn a_shutdown_is_alive_and_not_ready() {
        let health = working();
        health.set_shutting_down();
        advance(LIMIT * 2).await;
        let alive = "alive\nplanning loop: stopped for the shutdown: ok\n";
        assert_eq!(health.live(), (StatusCode::OK, alive.to_owned()));
        let (status, body) = health.ready();
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(body.contains("shutdown: in progress: failed\n"), "{body}");
    }

    #[test]
    fn readiness_needs_caches_and_lease() {
        let health = Health::new(LIMIT);
        let body = "not ready\ncaches: not synced yet: failed\nleader: this replica does not hold the lease: failed\n\
                    shutdown: none: ok\n";
        assert_eq!(health.ready(), (StatusCode::SERVICE_UNAVAILABLE, body.to_owned()));
        health.set_synced(true);
        assert_eq!(health.ready().0, StatusCode::SERVICE_UNAVAILABLE);
        health.set_leader(true);
        let body = "ready\ncaches: synced: ok\nleader: this replica holds the lease: ok\nshutdown: none: ok\n";
        assert_eq!(health.ready(), (StatusCode::OK, body.to_owned()));
        health.set_leader(false);
        assert_eq!(health.ready().0, StatusCode::SERVICE_UNAVAILABLE);
    }

    #[test]
    fn a_standby_is_ready_when_told_so() {
        let health = Health::with_standby_ready(LIMIT, true);
        assert_eq!(
            health.ready().0,
            StatusCode::SERVICE_UNAVAILABLE,
            "the caches are missing"
        );
        health.set_synced(true);
        let (status, body) = health.ready();
        assert_eq!(status, StatusCode::OK);
        assert!(
            body.contains("leader: this replica is on standby for the lease: ok\n"),
            "{body}"
        );
    }
}
