//! Watches of the API server, folded into the [`Index`].
//!
//! Every object is decoded behind a guard: one that cannot be read is reported and left out, and the watch goes on.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Debug,
    sync::Arc,
};

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
    api,
    index::{Cluster, Index, Key, Versioned, Watched, key_of},
    view::{
        Slim, SlimBudget, SlimClaim, SlimCsiNode, SlimDaemonSet, SlimNamespace, SlimNode, SlimPod, SlimPriorityClass,
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
    "Node",
    "Pod",
    "PodDisruptionBudget",
    "DaemonSet",
    "PriorityClass",
    "PersistentVolume",
    "PersistentVolumeClaim",
    "StorageClass",
    "CSINode",
    "Namespace",
    "NodeGroup",
    "VPSieNode",
    "AutoscalerConfig",
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
        let all = future::join5(
            self.slim::<SlimNode, String>(client, |cluster| &mut cluster.nodes, |key| key.1, report),
            self.slim::<SlimPod, Key>(client, |cluster| &mut cluster.pods, |key| key, report),
            self.slim::<SlimBudget, Key>(client, |cluster| &mut cluster.budgets, |key| key, report),
            self.slim::<SlimDaemonSet, Key>(client, |cluster| &mut cluster.daemon_sets, |key| key, report),
            self.slim::<SlimPriorityClass, Key>(client, |cluster| &mut cluster.priority_classes, |key| key, report),
        );
        let others = future::join5(
            self.slim::<SlimVolume, Key>(client, |cluster| &mut cluster.volumes, |key| key, report),
            self.slim::<SlimClaim, Key>(client, |cluster| &mut cluster.claims, |key| key, report),
            self.ours::<api::NodeGroup, _>(client, |cluster| &mut cluster.groups, report),
            self.ours::<api::VPSieNode, _>(client, |cluster| &mut cluster.machines, report),
            self.ours::<api::AutoscalerConfig, _>(client, |cluster| &mut cluster.configs, report),
        );
        let rest = future::join3(
            self.slim::<SlimStorageClass, Key>(client, |cluster| &mut cluster.storage_classes, |key| key, report),
            self.slim::<SlimCsiNode, Key>(client, |cluster| &mut cluster.csi_nodes, |key| key, report),
            self.slim::<SlimNamespace, Key>(client, |cluster| &mut cluster.namespaces, |key| key, report),
        );
        tokio::select! {
            () = stop.cancelled() => {}
            _ = future::join3(all, others, rest) => {}
        }
    }

    /// Follows a built-in kind.
    async fn slim<K, I>(
        &self,
        client: &Client,
        field: impl Fn(&mut Cluster) -> &mut BTreeMap<I, Arc<K::View>> + Send,
        id: impl Fn(Key) -> I + Send + Sync,
        report: &(dyn Fn(WatchReport) + Send + Sync),
    ) where
        K: Slim + ResourceExt,
        K::View: Versioned,
        I: Ord + Send,
    {
        self.follow::<K, I, K::View>(client, field, id, |object| Some(object.into_view()), report)
            .await;
    }

    /// Follows a kind of ours.
    async fn ours<K, V>(
        &self,
        client: &Client,
        field: impl Fn(&mut Cluster) -> &mut BTreeMap<Key, Arc<Watched<K, V>>> + Send,
        report: &(dyn Fn(WatchReport) + Send + Sync),
    ) where
        K: Resource<DynamicType = ()>
            + ResourceExt
            + Clone
            + Debug
            + DeserializeOwned
            + serde::Serialize
            + Send
            + Sync
            + 'static,
        V: DeserializeOwned + Send + Sync,
        Watched<K, V>: Versioned,
    {
        self.follow::<K, Key, Watched<K, V>>(client, field, |key| key, Watched::new, report)
            .await;
    }

    async fn follow<K, I, V>(
        &self,
        client: &Client,
        field: impl Fn(&mut Cluster) -> &mut BTreeMap<I, Arc<V>> + Send,
        id: impl Fn(Key) -> I + Send + Sync,
        convert: impl Fn(K) -> Option<V> + Send + Sync,
        report: &(dyn Fn(WatchReport) + Send + Sync),
    ) where
        K: Resource<DynamicType = ()> + ResourceExt + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
        I: Ord + Send,
        V: Versioned + Send + Sync,
    {
        let name = K::kind(&()).into_owned();
        let kind = KINDS.into_iter().find(|kind| *kind == name).unwrap_or("other");
        let read = |guard: DeserializeGuard<K>| {
            let key = key_of(&guard);
            match guard.0 {
                Ok(object) => convert(object).map(|value| (id(key), Arc::new(value))),
                Err(invalid) => {
                    let object = format!("{}/{}", key.0, key.1);
                    report(WatchReport::Unreadable {
                        kind,
                        object,
                        message: invalid.error,
                    });
                    None
                }
            }
        };
        let api = Api::<DeserializeGuard<K>>::all(client.clone());
        let mut events = watcher::watcher(api, watcher::Config::default())
            .default_backoff()
            .boxed();
        // What a relist has brought so far. It replaces the index's objects of this kind only when it is complete.
        let mut relist: BTreeMap<I, Arc<V>> = BTreeMap::new();
        let mut newest_at_init = 0;
        while let Some(event) = events.next().await {
            match event {
                Ok(Event::Init) => {
                    relist.clear();
                    self.index.update(|cluster| {
                        newest_at_init = field(cluster).values().map(|value| value.version()).max().unwrap_or(0);
                    });
                }
                Ok(Event::InitApply(object)) => relist.extend(read(object)),
                Ok(Event::InitDone) => {
                    let mut complete = std::mem::take(&mut relist);
                    self.index.update(|cluster| {
                        let known = field(cluster);
                        // Our own writes since the relist began are newer than the list.
                        for (key, value) in std::mem::take(known) {
                            let listed = complete.get(&key).map_or(0, |value| value.version());
                            if newest_at_init < value.version() && listed < value.version() {
                                complete.insert(key, value);
                            }
                        }
                        *known = complete;
                    });
                    self.synced.send_modify(|synced| {
                        synced.insert(kind);
                    });
                }
                Ok(Event::Apply(object)) => {
                    let key = id(key_of(&object));
                    let read = read(object);
                    self.index.update(|cluster| {
                        let known = field(cluster);
                        match read {
                            // The watch may lag behind what our own writes returned.
                            Some((key, value)) => {
                                if known.get(&key).is_none_or(|old| old.version() <= value.version()) {
                                    known.insert(key, value);
                                }
                            }
                            // It was readable before and is not any more: what is known of it is no longer true.
                            None => drop(known.remove(&key)),
                        }
                    });
                }
                Ok(Event::Delete(object)) => {
                    let key = id(key_of(&object));
                    self.index.update(|cluster| drop(field(cluster).remove(&key)));
                }
                Err(error) => report(WatchReport::Failed {
                    kind,
                    message: error.to_string(),
                }),
            }
        }
    }
}
