//! Telling news about many objects in events, without telling too much: one decision writes only so many events, nothing
//! waits for them for long, and what was told last about each object is remembered.
//!
//! What is news, and when the same is told again, is decided by those who tell: [`pods`](crate::pods) and
//! [`nodes`](crate::nodes).

use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash, Hasher as _},
    time::Duration,
};

use autoscaler_core::snapshot::Uid;
use futures::StreamExt as _;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;

use crate::events::Events;

/// Events that are written with one decision at the most.
const EVENTS_PER_DECISION: usize = 50;

/// Events that are written at the same time.
const CONCURRENCY: usize = 8;

/// How long all events of a decision may take together. Nothing waits for events longer than that.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Writes events and remembers what was told.
#[derive(Debug)]
pub(crate) struct Teller {
    events: Events,
    /// What was done, or tried, when the news came up.
    action: &'static str,
    /// By uid of the object.
    told: BTreeMap<Uid, Told>,
}

/// What was told last about an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) reason: &'static str,
    /// Hash of what was said, as far as a difference is news.
    pub(crate) said: u64,
    pub(crate) at: Timestamp,
}

/// An event to be written.
#[derive(Debug)]
pub(crate) struct News {
    pub(crate) uid: Uid,
    pub(crate) regarding: ObjectReference,
    pub(crate) told: Told,
    pub(crate) note: String,
}

// === impl Teller ===

impl Teller {
    /// One that has told nothing yet.
    pub(crate) const fn new(events: Events, action: &'static str) -> Self {
        Self {
            events,
            action,
            told: BTreeMap::new(),
        }
    }

    /// What was told last about an object.
    pub(crate) fn last(&self, uid: &Uid) -> Option<Told> {
        self.told.get(uid).copied()
    }

    /// Remembers only what was told about these objects, which leaves out those that are gone.
    pub(crate) fn retain(&mut self, objects: impl IntoIterator<Item = Uid>) {
        let told = objects.into_iter().filter_map(|uid| {
            let told = self.told.remove(&uid)?;
            Some((uid, told))
        });
        self.told = told.collect();
    }

    /// Writes as many of these events as one decision may, several at a time, and returns the others and those that there
    /// was no time for.
    pub(crate) async fn tell(&mut self, mut news: Vec<News>) -> Vec<News> {
        let later = news.split_off(news.len().min(EVENTS_PER_DECISION));
        let mut open: Vec<Option<News>> = news.into_iter().map(Some).collect();
        let (events, action) = (&self.events, self.action);
        let writes = open.iter().enumerate().filter_map(|(index, news)| {
            let news = news.as_ref()?;
            let (regarding, reason, note) = (news.regarding.clone(), news.told.reason, news.note.clone());
            Some(async move {
                events.normal_anew(&regarding, action, reason, note).await;
                index
            })
        });
        let mut written = Vec::new();
        let mut writes = futures::stream::iter(writes.collect::<Vec<_>>()).buffer_unordered(CONCURRENCY);
        let deadline = tokio::time::Instant::now() + TIMEOUT;
        while let Ok(Some(index)) = tokio::time::timeout_at(deadline, writes.next()).await {
            written.push(index);
        }
        drop(writes);
        for index in written {
            if let Some(News { uid, told, .. }) = open.get_mut(index).and_then(Option::take) {
                self.told.insert(uid, told);
            }
        }
        open.into_iter().flatten().chain(later).collect()
    }
}

/// A number for what is said, equal for what is the same.
pub(crate) fn hash(said: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    said.hash(&mut hasher);
    hasher.finish()
}
