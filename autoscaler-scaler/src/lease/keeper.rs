//! Campaigns for a Lease, keeps it, and gives it back. May hold: calls to the API server and waiting; the rule is in
//! `evaluate`.

use std::fmt;
use std::future::Future;
use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, PostParams};
use kube::{Client, Error};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Decision, LeaderToken, Leadership, LeaseCallError, LeaseError, LeaseRecord, LeaseSettings, evaluate};

/// One candidate for a Lease. See the [module](super) for what it guarantees.
#[must_use = "a keeper does nothing until it runs"]
pub struct LeaseKeeper {
    api: Api<Lease>,
    name: String,
    identity: String,
    settings: LeaseSettings,
    jitter: Jitter,
    /// The Lease as last read or written, to be replaced by the next write; none where it must be created.
    stored: Option<Lease>,
    /// The newest record. It outlives its Lease, so that a deleted Lease is still waited for.
    observed: Option<Observed>,
    standing: Standing,
    actors: TaskTracker,
}

struct Observed {
    record: LeaseRecord,
    /// When the answer that first held this record arrived.
    at: Instant,
}

/// What others see of the keeper. They see the end of leadership also when the keeper is dropped.
struct Standing {
    leadership: watch::Sender<Leadership>,
    valid_until: watch::Sender<Option<Instant>>,
    lost: CancellationToken,
}

/// A small random sequence (SplitMix64, by Steele, Lea and Flood), enough to keep replicas out of step.
struct Jitter(u64);

impl LeaseKeeper {
    /// A candidate for the Lease `namespace`/`name`, which it creates if there is none.
    ///
    /// `identity` is for people, and usually the name of the pod. The `holderIdentity` adds a suffix that is new for every
    /// keeper, as client-go does, so that neither a restarted process nor a second replica with the same name takes
    /// another's Lease for its own.
    pub fn new(client: Client, namespace: &str, name: &str, identity: &str, settings: LeaseSettings) -> Self {
        // The keys of a `RandomState` come from the operating system.
        let random = RandomState::new().hash_one(identity);
        Self {
            api: Api::namespaced(client, namespace),
            name: name.to_owned(),
            identity: format!("{identity}_{random:016x}"),
            jitter: Jitter(settings.jitter_seed().unwrap_or(random)),
            settings,
            stored: None,
            observed: None,
            standing: Standing::new(),
            actors: TaskTracker::new(),
        }
    }

    /// The `holderIdentity` of this keeper.
    #[must_use]
    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// Follows what this keeper is. It starts as a follower of nobody.
    #[must_use]
    pub fn leadership(&self) -> watch::Receiver<Leadership> {
        self.standing.leadership.subscribe()
    }

    /// The permission to act while this keeper leads. The Lease is released when all tokens and their clones are dropped.
    #[must_use]
    pub fn token(&self) -> LeaderToken {
        LeaderToken {
            valid_until: self.standing.valid_until.subscribe(),
            lost: self.standing.lost.clone(),
            _acting: self.actors.token(),
        }
    }

    /// Campaigns until the Lease is acquired, then renews it, until `shutdown` is cancelled and every [`LeaderToken`] is
    /// dropped; then releases it. A follower ends at `shutdown` at once.
    ///
    /// While it campaigns, failures of the API server and Leases that cannot be read are logged, and tried again for as
    /// long as it takes. Dropping the future ends leadership at once, without a release.
    ///
    /// # Errors
    ///
    /// [`LeaseError`] when leadership was lost, upon which the process must exit, or when the release failed.
    pub async fn run(mut self, shutdown: CancellationToken) -> Result<(), LeaseError> {
        self.actors.close();
        let Some(confirmed_at) = self.campaign(&shutdown).await else {
            return Ok(());
        };
        tracing::info!(lease = %self.name, identity = %self.identity, "became the leader");
        let outcome = self.lead(confirmed_at, &shutdown).await;
        self.standing.end();
        match outcome {
            Ok(()) => self.release().await,
            Err(error) => {
                let cause: &dyn std::error::Error = &error;
                tracing::error!(lease = %self.name, identity = %self.identity, error = cause, "leadership is lost");
                Err(error)
            }
        }
    }

    /// Tries to acquire the Lease. Gives the time before the successful write, or none at shutdown.
    async fn campaign(&mut self, shutdown: &CancellationToken) -> Option<Instant> {
        loop {
            let read = tokio::select! {
                biased;
                () = shutdown.cancelled() => return None,
                read = self.read() => read,
            };
            let mut pause = self.pause();
            let attempt = match read {
                Ok(()) => match self.decide_as_follower() {
                    // A write is not given up at shutdown: it may have happened, and would have to be released.
                    Decision::Acquire | Decision::Renew => self.write().await.map(Some),
                    Decision::Wait(remaining) => {
                        pause = pause.min(remaining);
                        Ok(None)
                    }
                    Decision::Lost => Ok(None),
                },
                Err(error) => Err(error),
            };
            match attempt {
                Ok(Some(confirmed_at)) => return Some(confirmed_at),
                Ok(None) => {}
                Err(LeaseCallError::Conflict) => {
                    tracing::debug!(lease = %self.name, "another candidate was faster");
                }
                Err(error) => self.warn(&error, "cannot campaign for the lease"),
            }
            self.standing.follow(self.holder());
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return None,
                () = sleep(pause) => {}
            }
        }
    }

    /// Renews the Lease. `Ok` is the end of all actions after shutdown; the Lease is then still held.
    ///
    /// `confirmed_at` is the time before the last write that was acknowledged: what was proven, and when.
    async fn lead(&mut self, mut confirmed_at: Instant, shutdown: &CancellationToken) -> Result<(), LeaseError> {
        let renew_deadline = self.settings.renew_deadline();
        let actors = self.actors.clone();
        let ended = async {
            shutdown.cancelled().await;
            actors.wait().await;
        };
        tokio::pin!(ended);
        // Renewals are paced from sending to sending, so that slow answers do not eat up the deadline.
        let mut next = confirmed_at + self.pause();
        let mut last = None;
        loop {
            let valid_until = confirmed_at + renew_deadline;
            match self.decide_as_holder(confirmed_at) {
                Decision::Renew if self.stored.is_none() => return Err(LeaseError::Deleted),
                Decision::Renew => self.standing.lead(self.since(), valid_until),
                Decision::Lost => {
                    return Err(LeaseError::RenewDeadline { renew_deadline, last });
                }
                Decision::Acquire | Decision::Wait(_) => {
                    return Err(self.taken_over(renew_deadline, last));
                }
            }
            let turn = async {
                sleep_until(next).await;
                self.renew().await
            };
            // The deadline comes first: an answer that arrives after it proves nothing.
            let renewed = tokio::select! {
                biased;
                () = sleep_until(valid_until) => {
                    return Err(LeaseError::RenewDeadline { renew_deadline, last });
                }
                () = &mut ended => return Ok(()),
                renewed = turn => renewed,
            };
            match renewed {
                Ok(Some(sent_at)) => {
                    confirmed_at = sent_at;
                    next = sent_at + self.pause();
                    last = None;
                }
                Ok(None) => {}
                Err(error) => {
                    self.warn(&error, "cannot renew the lease");
                    next = Instant::now() + self.pause();
                    last = Some(error);
                }
            }
        }
    }

    /// Writes the Lease. On a conflict it is read, and written again if it is still held: a write whose answer was lost,
    /// or a new label, are no reason to stop. `None`: it is not held any more.
    async fn renew(&mut self) -> Result<Option<Instant>, LeaseCallError> {
        match self.write().await {
            Err(LeaseCallError::Conflict) => {}
            written => return written.map(Some),
        }
        self.read().await?;
        if self.stored.is_none() || self.holder().as_ref() != Some(&self.identity) {
            return Ok(None);
        }
        self.write().await.map(Some)
    }

    /// Gives the Lease back.
    async fn release(mut self) -> Result<(), LeaseError> {
        let released = match self.write_released().await {
            // A renewal was on its way when the actions ended.
            Err(LeaseCallError::Conflict) => match self.read().await {
                Ok(()) => self.write_released().await,
                Err(error) => Err(error),
            },
            released => released,
        };
        match released {
            Ok(()) => {
                tracing::info!(lease = %self.name, identity = %self.identity, "released the lease");
                Ok(())
            }
            Err(error) => Err(LeaseError::NotReleased(error)),
        }
    }

    async fn write_released(&mut self) -> Result<(), LeaseCallError> {
        match &self.observed {
            Some(observed) if self.stored.is_some() && observed.record.holder() == Some(self.identity.as_str()) => {
                let record = observed.record.released(Timestamp::now());
                self.put(&record).await
            }
            // Nothing of ours is left to give back.
            _ => Ok(()),
        }
    }

    /// Claims the Lease as last read. Gives the time before the write was sent.
    async fn write(&mut self) -> Result<Instant, LeaseCallError> {
        let previous = match &self.stored {
            Some(_) => self.observed.as_ref().map(|observed| &observed.record),
            None => None,
        };
        let record = LeaseRecord::claimed(previous, &self.identity, &self.settings, Timestamp::now());
        let sent_at = Instant::now();
        self.put(&record).await?;
        Ok(sent_at)
    }

    /// Replaces the Lease if it is still the one that was last read, or creates it if there was none.
    async fn put(&mut self, record: &LeaseRecord) -> Result<(), LeaseCallError> {
        let parameters = PostParams::default();
        let answer = if let Some(stored) = &self.stored {
            // The uid stays in, too: a replace of a Lease can create one, unless it names the uid of one that is gone.
            let mut lease = stored.clone();
            record.write_to(lease.spec.get_or_insert_default());
            self.call(self.api.replace(&self.name, &parameters, &lease)).await
        } else {
            let mut lease = Lease {
                metadata: ObjectMeta {
                    name: Some(self.name.clone()),
                    ..ObjectMeta::default()
                },
                spec: None,
            };
            record.write_to(lease.spec.get_or_insert_default());
            self.call(self.api.create(&parameters, &lease)).await
        };
        match answer {
            Ok(lease) => self.observe(lease),
            // 409 of a create: there is one. 404 of a replace: it is gone. A 404 of a create has no namespace to go to.
            Err(LeaseCallError::Api(error))
                if code(&error) == Some(409) || (code(&error) == Some(404) && self.stored.is_some()) =>
            {
                Err(LeaseCallError::Conflict)
            }
            Err(error) => Err(error),
        }
    }

    async fn read(&mut self) -> Result<(), LeaseCallError> {
        match self.call(self.api.get_opt(&self.name)).await? {
            Some(lease) => self.observe(lease),
            None => {
                self.stored = None;
                Ok(())
            }
        }
    }

    /// Takes a Lease as the newest. Its record is new only where the record itself has changed, not with a new label.
    fn observe(&mut self, lease: Lease) -> Result<(), LeaseCallError> {
        let record = match &lease.spec {
            Some(spec) => LeaseRecord::try_from(spec)?,
            None => LeaseRecord::default(),
        };
        self.stored = Some(lease);
        if self.observed.as_ref().is_none_or(|observed| observed.record != record) {
            self.observed = Some(Observed {
                record,
                at: Instant::now(),
            });
        }
        Ok(())
    }

    async fn call<T>(&self, call: impl Future<Output = Result<T, Error>>) -> Result<T, LeaseCallError> {
        let limit = self.settings.call_timeout();
        match timeout(limit, call).await {
            Ok(answer) => answer.map_err(|error| LeaseCallError::Api(Box::new(error))),
            Err(_) => Err(LeaseCallError::Timeout(limit)),
        }
    }

    fn decide_as_follower(&self) -> Decision {
        match &self.observed {
            Some(observed) => self.decide(observed, observed.at),
            None => Decision::Acquire,
        }
    }

    fn decide_as_holder(&self, confirmed_at: Instant) -> Decision {
        match &self.observed {
            Some(observed) => self.decide(observed, confirmed_at),
            None => Decision::Lost,
        }
    }

    fn decide(&self, observed: &Observed, at: Instant) -> Decision {
        evaluate(
            Some(&observed.record),
            at,
            &self.identity,
            Instant::now(),
            &self.settings,
        )
    }

    fn taken_over(&self, renew_deadline: Duration, last: Option<LeaseCallError>) -> LeaseError {
        let holder = self.holder();
        if holder.as_ref() == Some(&self.identity) {
            // The whole lease duration has passed.
            LeaseError::RenewDeadline { renew_deadline, last }
        } else {
            LeaseError::TakenOver { holder }
        }
    }

    fn holder(&self) -> Option<String> {
        self.stored.as_ref()?;
        self.observed.as_ref()?.record.holder().map(str::to_owned)
    }

    fn since(&self) -> Timestamp {
        self.observed
            .as_ref()
            .and_then(|observed| observed.record.acquire_time)
            .unwrap_or_else(Timestamp::now)
    }

    fn pause(&mut self) -> Duration {
        self.settings.pause(self.jitter.next())
    }

    fn warn(&self, error: &LeaseCallError, message: &str) {
        let error: &dyn std::error::Error = error;
        tracing::warn!(lease = %self.name, identity = %self.identity, error, "{message}");
    }
}

impl fmt::Debug for LeaseKeeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LeaseKeeper")
            .field("name", &self.name)
            .field("identity", &self.identity)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

impl Standing {
    fn new() -> Self {
        Self {
            leadership: watch::Sender::new(Leadership::Follower { holder: None }),
            valid_until: watch::Sender::new(None),
            lost: CancellationToken::new(),
        }
    }

    fn follow(&self, holder: Option<String>) {
        self.publish(Leadership::Follower { holder });
    }

    fn lead(&self, since: Timestamp, valid_until: Instant) {
        self.valid_until.send_replace(Some(valid_until));
        self.publish(Leadership::Leader { since });
    }

    /// Permissions first: nobody may see a follower that still acts.
    fn end(&self) {
        self.lost.cancel();
        self.valid_until.send_replace(None);
        if self.leadership.borrow().is_leader() {
            self.follow(None);
        }
    }

    fn publish(&self, leadership: Leadership) {
        self.leadership.send_if_modified(|current| {
            let changed = *current != leadership;
            if changed {
                *current = leadership;
            }
            changed
        });
    }
}

impl Drop for Standing {
    fn drop(&mut self) {
        self.end();
    }
}

impl Jitter {
    fn next(&mut self) -> u16 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        let [high, low, ..] = mixed.to_be_bytes();
        u16::from_be_bytes([high, low])
    }
}

/// The HTTP status of an answer that is an error.
fn code(error: &Error) -> Option<u16> {
    match error {
        Error::Api(status) => Some(status.code),
        _ => None,
    }
}
