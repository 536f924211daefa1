//! Watches. May hold: the stream of events of one watch request, from the history of the store.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures::stream;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::Cluster;
use super::error::ApiError;
use super::object::{resource_version, set};
use super::selectors::Selection;
use super::store::{Change, State};
use super::view::View;

/// Time between bookmarks, as in the real server.
const BOOKMARK_INTERVAL: Duration = Duration::from_mins(1);

/// How a client asked to watch.
#[derive(Debug, Clone)]
pub(super) struct WatchRequest {
    pub(super) view: View,
    pub(super) selection: Selection,
    /// Revision to start after; none to begin with the objects that exist.
    pub(super) after: Option<u64>,
    pub(super) bookmarks: bool,
    /// End the initial objects with a bookmark that says so.
    pub(super) initial_events: bool,
    pub(super) timeout: Duration,
}

struct Stream {
    cluster: Cluster,
    request: WatchRequest,
    position: u64,
    ready: VecDeque<Bytes>,
    changed: watch::Receiver<u64>,
    closed: watch::Receiver<u64>,
    deadline: Instant,
    next_bookmark: Instant,
    finished: bool,
}

/// The body of the answer to a watch request.
pub(super) fn body(cluster: Cluster, request: WatchRequest) -> Body {
    let (changed, closed) = cluster.subscribe();
    let now = Instant::now();
    let mut watch = Stream {
        position: 0,
        ready: VecDeque::new(),
        changed,
        closed,
        deadline: now + request.timeout,
        next_bookmark: now + BOOKMARK_INTERVAL,
        finished: false,
        cluster,
        request,
    };
    watch.start();
    Body::from_stream(stream::unfold(watch, |mut watch| async move {
        let line = watch.next().await?;
        Some((Ok::<_, Infallible>(line), watch))
    }))
}

impl Stream {
    /// Queues the objects that exist, if the client has not seen them.
    fn start(&mut self) {
        let cluster = self.cluster.clone();
        cluster.read(|state| {
            self.position = self.request.after.unwrap_or_else(|| state.revision());
            if self.request.after.is_some() && !self.request.initial_events {
                return;
            }
            self.position = state.revision();
            let existing = state
                .list(&self.request.view.ty.id)
                .filter(|object| self.request.selection.matches(object));
            let lines: VecDeque<Bytes> = existing.map(|object| self.line("ADDED", object)).collect();
            self.ready = lines;
            if self.request.initial_events {
                self.ready.push_back(self.bookmark(true));
            }
        });
    }

    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(line) = self.ready.pop_front() {
                return Some(line);
            }
            if self.finished {
                return None;
            }
            self.changed.mark_unchanged();
            self.collect();
            if !self.ready.is_empty() {
                continue;
            }
            tokio::select! {
                biased;
                // Either sender lives as long as the cluster, which this stream holds.
                _ = self.closed.changed() => self.finished = true,
                _ = self.changed.changed() => {}
                () = sleep_until(self.deadline) => {
                    self.finished = true;
                    if self.request.bookmarks {
                        let bookmark = self.bookmark(false);
                        self.ready.push_back(bookmark);
                    }
                }
                () = sleep_until(self.next_bookmark), if self.request.bookmarks => {
                    self.next_bookmark += BOOKMARK_INTERVAL;
                    let bookmark = self.bookmark(false);
                    self.ready.push_back(bookmark);
                }
            }
        }
    }

    /// Queues what happened since the position of this watch.
    fn collect(&mut self) {
        let cluster = self.cluster.clone();
        cluster.read(|state| {
            if self.position < state.compacted() {
                self.finished = true;
                let gone = gone(self.position, state);
                self.ready
                    .push_back(encode(&json!({ "type": "ERROR", "object": gone.status() })));
                return;
            }
            let lines: Vec<Bytes> = state
                .changes_after(&self.request.view.ty.id, self.position)
                .filter_map(|change| self.translate(change))
                .collect();
            self.ready.extend(lines);
            // A watch may ask for a revision that is still to come.
            self.position = self.position.max(state.revision());
        });
    }

    /// A change as this selection sees it: an object that moves in was added, one that moves out was deleted.
    fn translate(&self, change: &Change) -> Option<Bytes> {
        let selected = |object: &Option<Arc<Value>>| {
            object
                .as_ref()
                .filter(|object| self.request.selection.matches(object))
                .cloned()
        };
        match (selected(&change.before), selected(&change.after)) {
            (None, None) => None,
            (None, Some(after)) => Some(self.line("ADDED", &after)),
            (Some(_), Some(after)) => Some(self.line("MODIFIED", &after)),
            (Some(before), None) => match &change.removed {
                Some(last) => Some(self.line("DELETED", last)),
                None => {
                    let mut last = Value::clone(&before);
                    set(
                        &mut last,
                        &["metadata", "resourceVersion"],
                        Some(json!(change.revision.to_string())),
                    );
                    Some(self.line("DELETED", &last))
                }
            },
        }
    }

    fn line(&self, kind: &str, object: &Value) -> Bytes {
        debug_assert!(
            !resource_version(object).is_empty(),
            "a stored object has a resourceVersion"
        );
        encode(&json!({ "type": kind, "object": self.request.view.show(object) }))
    }

    fn bookmark(&self, end_of_initial_events: bool) -> Bytes {
        let view = &self.request.view;
        let mut metadata = json!({ "resourceVersion": self.position.to_string(), "creationTimestamp": null });
        if end_of_initial_events {
            set(
                &mut metadata,
                &["annotations"],
                Some(json!({ "k8s.io/initial-events-end": "true" })),
            );
        }
        let object = json!({ "kind": view.kind(), "apiVersion": view.api_version(), "metadata": metadata });
        encode(&json!({ "type": "BOOKMARK", "object": object }))
    }
}

/// The answer to a revision that the history no longer covers.
pub(super) fn gone(asked: u64, state: &State) -> ApiError {
    let message = format!("too old resource version: {asked} ({})", state.compacted());
    ApiError::new(410, "Expired", message)
}

fn encode(event: &Value) -> Bytes {
    let mut line = event.to_string();
    line.push('\n');
    Bytes::from(line)
}
