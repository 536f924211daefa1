//! Leader election over a `coordination.k8s.io/v1` Lease. May hold: the election, and nothing of what a leader does.
//!
//! Of several replicas one acts. [`LeaseKeeper::run`] campaigns for the Lease, renews it, and gives it back at the end;
//! [`evaluate()`] is the rule by which it decides, without I/O.
//!
//! # What is guaranteed
//!
//! At most one [`LeaderToken`] says [`is_leader`](LeaderToken::is_leader) at a time, provided that the monotonic clocks
//! of the replicas run at about the same rate. Wall clocks do not matter. A leader stops at the renew deadline after it
//! sent the last write that the API server acknowledged; others start no earlier than the lease duration after that
//! write. With the defaults there are 5 s between the two, whatever is lost, delayed, or hangs in between. Every write
//! names the `resourceVersion` that it replaces, so of two candidates that are equally fast one gets a conflict.
//!
//! Not guaranteed: an action that is already on its way when leadership ends is not called back (a VPSie API call
//! carries no fencing token), so every action must be safe to repeat. And who deletes the Lease by hand gives up the
//! guarantee against a replica that starts in the seconds until the leader has noticed. Replicas that knew the deleted
//! Lease still wait until it would have expired.
//!
//! # Fail-stop
//!
//! A keeper leads at most once. When leadership is lost, its token is cancelled and `run` returns an error: **the
//! process must exit**, and start anew as a follower. Nothing that was computed as a leader survives.
//!
//! # Shutdown
//!
//! Whatever acts as the leader holds a clone of the [`LeaderToken`] and drops it when its last action has ended. After
//! `shutdown` the keeper goes on renewing until the last clone is gone, and only then releases the Lease; another
//! replica takes over at its next attempt, after 2.4 s at most with the defaults. A clone that is kept for ever keeps
//! the keeper running for ever, so the caller bounds its shutdown as a whole.
//!
//! # The client
//!
//! It should not retry on its own, as [`Clients::evict`](crate::clients::Clients::evict): the keeper repeats what is
//! worth repeating, and bounds each call to half the renew deadline. A client that retries wastes time, and breaks
//! nothing.
//!
//! # Example
//!
//! ```no_run
//! use autoscaler_scaler::lease::{LeaderToken, LeaseError, LeaseKeeper, LeaseSettings};
//! use tokio_util::sync::CancellationToken;
//!
//! async fn act(token: LeaderToken, shutdown: CancellationToken) {
//!     if !token.elected().await {
//!         return;
//!     }
//!     while token.is_leader() && !shutdown.is_cancelled() {
//!         // One action; long ones also watch `token.lost()`.
//! #       tokio::task::yield_now().await;
//!     }
//!     // The token goes out of scope: the keeper may release the Lease.
//! }
//!
//! async fn run(client: kube::Client, shutdown: CancellationToken) -> Result<(), LeaseError> {
//!     let keeper = LeaseKeeper::new(
//!         client,
//!         "kube-system",
//!         "vpsie-autoscaler-leader",
//!         "vpsie-autoscaler-0",
//!         LeaseSettings::default(),
//!     );
//!     tokio::spawn(act(keeper.token(), shutdown.clone()));
//!     // On an error the process exits with a failure.
//!     keeper.run(shutdown).await
//! }
//! ```

mod evaluate;
mod keeper;
mod record;

pub use evaluate::{Decision, LeaseSettings, LeaseSettingsError, evaluate};
pub use keeper::LeaseKeeper;
pub use record::{LeaseRecord, MalformedLease};

use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::task_tracker::TaskTrackerToken;

/// What a keeper is at the moment, for readiness, metrics and logs. Actions are guarded by a [`LeaderToken`] instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Leadership {
    /// Somebody else leads, or nobody, or it is not known.
    Follower {
        /// The holder as last read from the API server.
        holder: Option<String>,
    },
    /// This keeper leads.
    Leader {
        /// The Lease's `acquireTime`.
        since: Timestamp,
    },
}

impl Leadership {
    /// Whether this keeper leads.
    #[must_use]
    pub const fn is_leader(&self) -> bool {
        matches!(self, Self::Leader { .. })
    }
}

/// Why a keeper ended other than by a clean shutdown. In every case its [`LeaderToken`]s are cancelled, and the process
/// should exit.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// The Lease could not be renewed in time. It expires on its own.
    #[error("the lease could not be renewed within {renew_deadline:?}")]
    RenewDeadline {
        /// How long was tried.
        renew_deadline: Duration,
        /// How the last attempt failed. None when there was no answered attempt, for example because the process was
        /// suspended.
        #[source]
        last: Option<LeaseCallError>,
    },
    /// The Lease does not name this keeper any more.
    #[error("the lease is held by {}", holder.as_deref().unwrap_or("nobody"))]
    TakenOver {
        /// Who holds it.
        holder: Option<String>,
    },
    /// The Lease was deleted under its holder, so that others may have acquired a new one.
    #[error("the lease was deleted")]
    Deleted,
    /// The keeper ended as it should, but the Lease could not be given back. It expires on its own.
    #[error("the lease could not be released")]
    NotReleased(#[source] LeaseCallError),
}

/// Why one call to the API server did not do what it was made for. The keeper reports it and tries again.
#[derive(Debug, thiserror::Error)]
pub enum LeaseCallError {
    /// No answer in time. A write may have happened all the same.
    #[error("no answer from the API server within {0:?}")]
    Timeout(Duration),
    /// The Lease was changed, created or deleted since it was read.
    #[error("the lease was changed by somebody else")]
    Conflict,
    /// Any other failure of the call, or an answer that is not a Lease.
    #[error("the API server did not answer as expected")]
    Api(#[source] Box<kube::Error>),
    /// The answer is a Lease that cannot be understood.
    #[error(transparent)]
    Malformed(#[from] MalformedLease),
}

/// The permission to act, for as long as the keeper leads.
///
/// Clones share one leadership. The Lease is not released before the last clone is dropped, so a clone belongs to what
/// acts, and to nothing that lives longer.
#[derive(Debug, Clone)]
pub struct LeaderToken {
    valid_until: watch::Receiver<Option<Instant>>,
    lost: CancellationToken,
    /// Counts this clone as one that may still act.
    _acting: TaskTrackerToken,
}

impl LeaderToken {
    /// Whether acting is allowed at this instant. Ask right before each action.
    ///
    /// This compares the clock with the renew deadline, so that it is right even when the process was suspended and the
    /// keeper has not run since.
    #[must_use]
    pub fn is_leader(&self) -> bool {
        !self.lost.is_cancelled()
            && self
                .valid_until
                .borrow()
                .is_some_and(|deadline| Instant::now() < deadline)
    }

    /// Waits until the keeper leads, which gives `true`, or has ended without having led or since, which gives `false`.
    pub async fn elected(&self) -> bool {
        let mut valid_until = self.valid_until.clone();
        tokio::select! {
            biased;
            () = self.lost.cancelled() => false,
            changed = valid_until.wait_for(Option::is_some) => changed.is_ok(),
        }
    }

    /// Cancelled when leadership is lost, cannot be proven any more, or is given back. Not cancelled yet while the keeper
    /// campaigns. Cancelling it ends nothing but itself.
    #[must_use]
    pub fn lost(&self) -> CancellationToken {
        self.lost.child_token()
    }
}
