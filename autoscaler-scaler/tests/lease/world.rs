//! Processes that compete for a Lease, and the record of who acted.

use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use autoscaler_scaler::lease::{LeaderToken, Leadership, LeaseError, LeaseKeeper, LeaseSettings};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::api::{LeaseApi, Link, NAME};

/// How often an actor acts. Intervals are exact up to this.
pub(super) const TICK: Duration = Duration::from_millis(20);
/// Lease duration less renew deadline.
pub(super) const MARGIN: Duration = Duration::from_secs(5);

/// Who acted, and from when to when. Acting while somebody else has begun fails the test.
#[derive(Default)]
pub(super) struct Stage {
    tenures: Mutex<Vec<(String, Instant, Instant)>>,
}

impl Stage {
    pub(super) fn act(&self, identity: &str) {
        let now = Instant::now();
        let mut tenures = self.tenures.lock().unwrap();
        match tenures.iter().position(|(known, ..)| known == identity) {
            Some(index) => {
                assert_eq!(
                    index + 1,
                    tenures.len(),
                    "{identity} acts after another began: {tenures:?}"
                );
                tenures[index].2 = now;
            }
            None => tenures.push((identity.to_owned(), now, now)),
        }
    }

    pub(super) fn last(&self) -> Option<(String, Instant, Instant)> {
        self.tenures.lock().unwrap().last().cloned()
    }

    pub(super) fn count(&self) -> usize {
        self.tenures.lock().unwrap().len()
    }

    /// Time from the last act of the leader before to the first act of the newest.
    pub(super) fn gap(&self) -> Duration {
        let tenures = self.tenures.lock().unwrap();
        let [.., before, newest] = tenures.as_slice() else {
            panic!("no hand-over in {tenures:?}")
        };
        newest.1 - before.2
    }

    /// Waits until somebody else than in the tenures so far acts.
    pub(super) async fn hand_over(&self, limit: Duration) {
        let before = self.count();
        let changed = until(limit, || self.count() > before).await;
        assert!(changed, "nobody took over within {limit:?}");
    }
}

/// Waits for a condition, in virtual time.
pub(super) async fn until(limit: Duration, condition: impl Fn() -> bool + Sync) -> bool {
    timeout(limit, async {
        while !condition() {
            sleep(TICK).await;
        }
    })
    .await
    .is_ok()
}

/// A process: a keeper, and an actor that acts in each tick while it may.
pub(super) struct Replica {
    pub(super) identity: String,
    pub(super) link: watch::Sender<Link>,
    pub(super) suspended: watch::Sender<bool>,
    pub(super) leadership: watch::Receiver<Leadership>,
    pub(super) lost: CancellationToken,
    pub(super) shutdown: CancellationToken,
    pub(super) keeper: JoinHandle<Result<(), LeaseError>>,
    pub(super) actor: JoinHandle<()>,
}

pub(super) struct World {
    pub(super) api: Arc<LeaseApi>,
    pub(super) stage: Arc<Stage>,
}

impl World {
    pub(super) fn new() -> Self {
        Self {
            api: Arc::default(),
            stage: Arc::default(),
        }
    }

    pub(super) fn start(&self, name: &str, seed: u64) -> Replica {
        self.start_with(name, seed, Link::Up, Duration::ZERO)
    }

    /// A replica whose actor goes on for the time `finish` after shutdown.
    pub(super) fn start_with(&self, name: &str, seed: u64, link: Link, finish: Duration) -> Replica {
        let (link, link_state) = watch::channel(link);
        let (suspended, _) = watch::channel(false);
        let client = self.api.client(link_state, link.clone());
        let settings = LeaseSettings::default().with_jitter_seed(seed);
        let keeper = LeaseKeeper::new(client, "kube-system", NAME, name, settings);
        let identity = keeper.identity().to_owned();
        let leadership = keeper.leadership();
        let shutdown = CancellationToken::new();
        let token = keeper.token();
        let lost = token.lost();
        let actor = act(
            token,
            Arc::clone(&self.stage),
            identity.clone(),
            shutdown.clone(),
            finish,
        );
        Replica {
            actor: tokio::spawn(actor),
            keeper: tokio::spawn(suspendable(suspended.subscribe(), keeper.run(shutdown.clone()))),
            identity,
            link,
            suspended,
            leadership,
            lost,
            shutdown,
        }
    }

    /// Three replicas, the leader first.
    pub(super) async fn three(&self, seed: u64) -> [Replica; 3] {
        let mut replicas = ["a", "b", "c"].map(|name| self.start(name, seed));
        self.stage.hand_over(Duration::from_secs(5)).await;
        let (leader, ..) = self.stage.last().unwrap();
        replicas.sort_by_key(|replica| replica.identity != leader);
        replicas
    }
}

async fn act(token: LeaderToken, stage: Arc<Stage>, identity: String, shutdown: CancellationToken, finish: Duration) {
    tokio::select! {
        elected = token.elected() => if !elected { return },
        () = shutdown.cancelled() => return,
    }
    let lost = token.lost();
    let finished = async {
        shutdown.cancelled().await;
        sleep(finish).await;
    };
    tokio::pin!(finished);
    loop {
        if token.is_leader() {
            stage.act(&identity);
        }
        tokio::select! {
            biased;
            () = lost.cancelled() => return,
            () = &mut finished => return,
            () = sleep(TICK) => {}
        }
    }
}

/// Runs a future that stands still while it is suspended, as a process that gets no CPU.
async fn suspendable<F: Future>(mut suspended: watch::Receiver<bool>, future: F) -> F::Output {
    tokio::pin!(future);
    loop {
        suspended.wait_for(|suspended| !suspended).await.unwrap();
        tokio::select! {
            biased;
            _ = suspended.wait_for(|suspended| *suspended) => {}
            output = &mut future => return output,
        }
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Replica {
    pub(super) fn set(&self, link: Link) {
        self.link.send_replace(link);
    }

    pub(super) fn leads(&self) -> bool {
        self.leadership.borrow().is_leader()
    }

    /// Ends it as SIGKILL does.
    pub(super) fn kill(&self) {
        self.keeper.abort();
        self.actor.abort();
    }

    /// Waits for the keeper's end.
    pub(super) async fn ended(&mut self, limit: Duration) -> Result<(), LeaseError> {
        timeout(limit, &mut self.keeper)
            .await
            .expect("the keeper ends")
            .unwrap()
    }
}

pub(super) const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}
