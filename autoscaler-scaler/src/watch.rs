//! Watches of the API server, folded into the [`Index`].
//!
//! Every object is decoded behind a guard: one that cannot be read is reported and left out, and the watch goes on.

use std::{collections::BTreeSet, fmt::Debug};

use futures::{StreamExt, future};
use kube::{
    Api, Client, Resource, ResourceExt,
    core::DeserializeGuard,
    runtime::{
        WatchStreamExt,
        watcher::{self, Event},
    },
};
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{
    api::{AutoscalerConfig, NodeGroup, VPSieNode},
    index::{Index, Kept, key_of},
    view::{
        SlimBudget, SlimClaim, SlimCsiNode, SlimDaemonSet, SlimNamespace, SlimNode, SlimPod, SlimPriorityClass,
        SlimStorageClass, SlimVolume,
    },
};

/// What happened on a watch that a person may want to know of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WatchReport {
    /// The watch failed and is tried again.
    Failed {
        /// Kind of the objects.
        kind: &'static str,
        /// What went wrong.
        message: String,
    },
    /// An object could not be read and is left out.
    Unreadable {
        /// Kind of the object.
        kind: &'static str,
        /// Namespace and name.
        object: String,
        /// What is wrong with it.
        message: String,
    },
}

/// The watches, and which of them have delivered their first complete list.
#[derive(Clone, Debug)]
pub struct Watches {
    index: Index,
    synced: watch::Sender<BTreeSet<&'static str>>,
}

/// Kinds that must have been listed before any decision.
const KINDS: [&str; 13] = [
    SlimNode::KIND,
    SlimPod::KIND,
    SlimBudget::KIND,
    SlimDaemonSet::KIND,
    SlimPriorityClass::KIND,
    SlimVolume::KIND,
    SlimClaim::KIND,
    SlimStorageClass::KIND,
    SlimCsiNode::KIND,
    SlimNamespace::KIND,
    NodeGroup::KIND,
    VPSieNode::KIND,
    AutoscalerConfig::KIND,
];

// === impl Watches ===

impl Watches {
    /// Watches that fill an index.
    #[must_use]
    pub fn new(index: Index) -> Self {
        Self {
            index,
            synced: watch::Sender::new(BTreeSet::new()),
        }
    }

    /// Kinds that have not been listed yet.
    #[must_use]
    pub fn missing(&self) -> Vec<&'static str> {
        let synced = self.synced.borrow();
        KINDS.into_iter().filter(|kind| !synced.contains(kind)).collect()
    }

    /// Waits until every kind has been listed once.
    pub async fn synced(&self) {
        let mut synced = self.synced.subscribe();
        // The sender lives in `self`, so the wait ends only when the condition holds.
        drop(
            synced
                .wait_for(|synced| KINDS.iter().all(|kind| synced.contains(kind)))
                .await,
        );
    }

    /// Runs all watches until the token is cancelled.
    pub async fn run(&self, client: &Client, report: &(dyn Fn(WatchReport) + Send + Sync), stop: &CancellationToken) {
        let of_pods = future::join4(
            self.follow::<SlimNode>(client, report),
            self.follow::<SlimPod>(client, report),
            self.follow::<SlimBudget>(client, report),
            self.follow::<SlimDaemonSet>(client, report),
        );
        let of_storage = future::join4(
            self.follow::<SlimVolume>(client, report),
            self.follow::<SlimClaim>(client, report),
            self.follow::<SlimStorageClass>(client, report),
            self.follow::<SlimCsiNode>(client, report),
        );
        let others = future::join5(
            self.follow::<SlimPriorityClass>(client, report),
            self.follow::<SlimNamespace>(client, report),
            self.follow::<NodeGroup>(client, report),
            self.follow::<VPSieNode>(client, report),
            self.follow::<AutoscalerConfig>(client, report),
        );
        tokio::select! {
            () = stop.cancelled() => {}
            _ = future::join3(of_pods, of_storage, others) => {}
        }
    }

    /// Follows a kind: what comes goes into the index at once.
    async fn follow<K>(&self, client: &Client, report: &(dyn Fn(WatchReport) + Send + Sync))
    where
        K: Kept + Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
    {
        let api = Api::<DeserializeGuard<K>>::all(client.clone());
        let mut events = watcher::watcher(api, watcher::Config::default())
            .default_backoff()
            .boxed();
        // What was known when a list began and has not been on it so far.
        let mut unlisted = BTreeSet::new();
        while let Some(event) = events.next().await {
            match event {
                Ok(Event::Init) => unlisted = self.index.keys::<K>(),
                Ok(Event::InitApply(object)) => {
                    self.index.begin_list::<K>();
                    unlisted.remove(&key_of(&object));
                    self.take(object, report);
                }
                Ok(Event::InitDone) => {
                    self.index.end_list::<K>(&std::mem::take(&mut unlisted));
                    self.synced.send_modify(|synced| {
                        synced.insert(K::KIND);
                    });
                }
                Ok(Event::Apply(object)) => self.take(object, report),
                Ok(Event::Delete(object)) => self.index.remove::<K>(&key_of(&object)),
                Err(error) => report(WatchReport::Failed {
                    kind: K::KIND,
                    message: error.to_string(),
                }),
            }
        }
    }

    /// Takes an object in, or leaves it out when it cannot be read.
    fn take<K: Kept>(&self, object: DeserializeGuard<K>, report: &(dyn Fn(WatchReport) + Send + Sync))
    where
        DeserializeGuard<K>: ResourceExt,
    {
        let key = key_of(&object);
        let result = match object.0 {
            Ok(object) => self.index.put(object),
            Err(invalid) => {
                self.index.leave_out::<K>(key.clone(), invalid.error.clone());
                Err(invalid.error)
            }
        };
        if let Err(message) = result {
            report(WatchReport::Unreadable {
                kind: K::KIND,
                object: format!("{}/{}", key.0, key.1),
                message,
            });
        }
    }
}
