//! The token bucket that keeps the client below the API's rate limit, with a part that only deletes may use.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::{Instant, sleep_until, timeout_at};

/// How many requests the client may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// Requests per minute in the long run.
    pub requests_per_minute: u32,
    /// Requests at once after a pause.
    pub burst: u32,
    /// The part of the burst that is kept for deletes and logins, so that reads cannot starve clean-up.
    pub reserved: u32,
}

/// Who is asking for a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Priority {
    Normal,
    /// May use the reserve.
    High,
}

/// A token bucket for many tasks. Waiting tasks of one priority are served in the order in which they came.
#[derive(Debug)]
pub(crate) struct Limiter {
    bucket: Mutex<Bucket>,
    normal: tokio::sync::Mutex<()>,
    high: tokio::sync::Mutex<()>,
}

/// A token bucket as one instant: the time at which it will be full again.
#[derive(Debug)]
struct Bucket {
    interval: Duration,
    burst: Duration,
    burst_without_reserve: Duration,
    full_at: Instant,
}

// === impl RateLimit ===

impl Default for RateLimit {
    /// 100 requests per minute and 100 at once, 10 of them for deletes.
    fn default() -> Self {
        Self {
            requests_per_minute: 100,
            burst: 100,
            reserved: 10,
        }
    }
}

// === impl Limiter ===

impl Limiter {
    pub(crate) fn new(limit: RateLimit) -> Self {
        Self {
            bucket: Mutex::new(Bucket::new(limit, Instant::now())),
            normal: tokio::sync::Mutex::default(),
            high: tokio::sync::Mutex::default(),
        }
    }

    /// Takes a token, waiting until `deadline` for it. Returns how long it waited.
    ///
    /// Fails at once, with the time that it would take, when no token can be there in time.
    pub(crate) async fn acquire(&self, priority: Priority, deadline: Instant) -> Result<Duration, Duration> {
        let started = Instant::now();
        let queue = match priority {
            Priority::Normal => &self.normal,
            Priority::High => &self.high,
        };
        let Ok(_turn) = timeout_at(deadline, queue.lock()).await else {
            return Err(self.wait_for(priority));
        };
        loop {
            let now = Instant::now();
            match self.take(priority, now) {
                Ok(()) => return Ok(now - started),
                Err(wait) if now + wait > deadline => return Err(wait),
                Err(wait) => sleep_until(now + wait).await,
            }
        }
    }

    fn take(&self, priority: Priority, now: Instant) -> Result<(), Duration> {
        self.bucket
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take(priority, now)
    }

    fn wait_for(&self, priority: Priority) -> Duration {
        self.bucket
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .wait(priority, Instant::now())
    }
}

// === impl Bucket ===

impl Bucket {
    fn new(limit: RateLimit, now: Instant) -> Self {
        let interval = Duration::from_secs(60) / limit.requests_per_minute.max(1);
        let burst = limit.burst.max(1);
        Self {
            interval,
            burst: interval * burst,
            // At least one token is for everybody, or reads would never run.
            burst_without_reserve: interval * burst.saturating_sub(limit.reserved).max(1),
            full_at: now,
        }
    }

    fn take(&mut self, priority: Priority, now: Instant) -> Result<(), Duration> {
        let wait = self.wait(priority, now);
        if wait > Duration::ZERO {
            return Err(wait);
        }
        self.full_at = self.full_at.max(now) + self.interval;
        Ok(())
    }

    fn wait(&self, priority: Priority, now: Instant) -> Duration {
        let room = match priority {
            Priority::Normal => self.burst_without_reserve,
            Priority::High => self.burst,
        };
        (self.full_at.max(now) + self.interval - now).saturating_sub(room)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: RateLimit = RateLimit {
        requests_per_minute: 60,
        burst: 5,
        reserved: 2,
    };

    fn taken(bucket: &mut Bucket, priority: Priority, now: Instant) -> usize {
        (0..100).take_while(|_| bucket.take(priority, now).is_ok()).count()
    }

    #[test]
    fn the_reserve_is_left_for_deletes() {
        let now = Instant::now();
        let mut bucket = Bucket::new(LIMIT, now);
        assert_eq!(taken(&mut bucket, Priority::Normal, now), 3);
        assert_eq!(taken(&mut bucket, Priority::High, now), 2);
        let later = now + Duration::from_secs(2);
        assert_eq!(
            taken(&mut bucket, Priority::Normal, later),
            0,
            "the reserve fills up first"
        );
        assert_eq!(taken(&mut bucket, Priority::High, later), 2);
    }

    #[test]
    fn a_pause_fills_the_bucket_up_to_its_burst() {
        let now = Instant::now();
        let mut bucket = Bucket::new(LIMIT, now);
        assert_eq!(taken(&mut bucket, Priority::High, now), 5);
        assert_eq!(taken(&mut bucket, Priority::High, now + Duration::from_secs(3600)), 5);
    }

    #[test]
    fn odd_settings_still_let_requests_through() {
        let now = Instant::now();
        let mut bucket = Bucket::new(
            RateLimit {
                requests_per_minute: 0,
                burst: 0,
                reserved: 9,
            },
            now,
        );
        assert_eq!(taken(&mut bucket, Priority::Normal, now), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_tasks_are_served_in_order_at_the_rate() {
        let limiter = Limiter::new(RateLimit {
            requests_per_minute: 60,
            burst: 1,
            reserved: 0,
        });
        let start = Instant::now();
        let deadline = start + Duration::from_secs(100);
        let order = Mutex::new(Vec::new());
        futures::future::join_all((0_u64..4).map(|n| {
            let (limiter, order) = (&limiter, &order);
            async move {
                limiter.acquire(Priority::Normal, deadline).await.unwrap();
                order.lock().unwrap().push((n, (Instant::now() - start).as_secs()));
            }
        }))
        .await;
        // Timers of tokio have a granularity of one millisecond and never fire early.
        assert_eq!(*order.lock().unwrap(), [(0, 0), (1, 1), (2, 2), (3, 3)]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_that_comes_too_late_is_refused_at_once() {
        let limiter = Limiter::new(RateLimit {
            requests_per_minute: 1,
            burst: 1,
            reserved: 0,
        });
        let start = Instant::now();
        let deadline = start + Duration::from_secs(10);
        assert_eq!(limiter.acquire(Priority::Normal, deadline).await, Ok(Duration::ZERO));
        assert_eq!(
            limiter.acquire(Priority::Normal, deadline).await,
            Err(Duration::from_secs(60))
        );
        assert_eq!(Instant::now(), start);
    }
}
