//! Events: what the autoscaler tells people on the objects that they look at.
//!
//! Only the writer belongs here; what is worth an event is decided where it happens. A lost event changes nothing: it
//! is logged and the operation goes on.

use std::{fmt, time::Duration};

use k8s_openapi::api::core::v1::ObjectReference;
use kube::{
    Client,
    runtime::events::{Event, EventType, Recorder, Reporter},
};

/// The longest note that the API server takes, in bytes.
pub(crate) const NOTE_LIMIT: usize = 1024;

/// How long one event may take. Nothing waits for events longer than that.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Name under which the autoscaler reports events and owns fields.
pub const REPORTER: &str = "vpsie-autoscaler";

/// Writes events. Clones share the memory by which repeated events become a series.
#[derive(Clone)]
pub struct Events {
    client: Client,
    reporter: Reporter,
    recorder: Recorder,
}

// === impl Events ===

impl Events {
    /// A writer for events of this replica, for example of the pod `instance`.
    #[must_use]
    pub fn new(client: Client, instance: impl Into<String>) -> Self {
        let reporter = Reporter {
            controller: REPORTER.to_owned(),
            instance: Some(instance.into()),
        };
        Self {
            recorder: Recorder::new(client.clone(), reporter.clone()),
            client,
            reporter,
        }
    }

    /// Tells good or neutral news: `action` is what was done, `reason` the same in one word of CamelCase.
    pub async fn normal(
        &self,
        regarding: &ObjectReference,
        action: &str,
        reason: &str,
        note: impl Into<String> + Send,
    ) {
        self.publish(
            &self.recorder,
            EventType::Normal,
            regarding,
            action,
            reason,
            note.into(),
        )
        .await;
    }

    /// Tells good or neutral news in an event of its own. Within some minutes, [`Self::normal`] only counts further events
    /// of the same reason and keeps the note of the first; here the note is what is new.
    pub async fn normal_anew(
        &self,
        regarding: &ObjectReference,
        action: &str,
        reason: &str,
        note: impl Into<String> + Send,
    ) {
        self.publish(
            &self.forgetful(),
            EventType::Normal,
            regarding,
            action,
            reason,
            note.into(),
        )
        .await;
    }

    /// Tells bad news in an event of its own, as [`Self::normal_anew`] does.
    pub async fn warning_anew(
        &self,
        regarding: &ObjectReference,
        action: &str,
        reason: &str,
        note: impl Into<String> + Send,
    ) {
        self.publish(
            &self.forgetful(),
            EventType::Warning,
            regarding,
            action,
            reason,
            note.into(),
        )
        .await;
    }

    /// A recorder that makes no series, because it remembers no event.
    fn forgetful(&self) -> Recorder {
        Recorder::new(self.client.clone(), self.reporter.clone())
    }

    /// Tells bad news.
    pub async fn warning(
        &self,
        regarding: &ObjectReference,
        action: &str,
        reason: &str,
        note: impl Into<String> + Send,
    ) {
        self.publish(
            &self.recorder,
            EventType::Warning,
            regarding,
            action,
            reason,
            note.into(),
        )
        .await;
    }

    async fn publish(
        &self,
        recorder: &Recorder,
        type_: EventType,
        regarding: &ObjectReference,
        action: &str,
        reason: &str,
        note: String,
    ) {
        let note = shortened(note);
        let event = Event {
            type_,
            reason: reason.to_owned(),
            note: Some(note),
            action: action.to_owned(),
            secondary: None,
        };
        let outcome = tokio::time::timeout(TIMEOUT, recorder.publish(&event, regarding)).await;
        let name = regarding.name.as_deref().unwrap_or_default();
        match outcome {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, object = name, reason, "an event could not be written"),
            Err(_) => tracing::warn!(object = name, reason, "an event could not be written in time"),
        }
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Events")
    }
}

/// The note, cut to what the API server takes.
fn shortened(mut note: String) -> String {
    if NOTE_LIMIT < note.len() {
        let end = (0..=NOTE_LIMIT - '…'.len_utf8())
            .rev()
            .find(|end| note.is_char_boundary(*end))
            .unwrap_or(0);
        note.truncate(end);
        note.push('…');
    }
    note
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_note_is_cut_between_characters() {
        let note = shortened("ä".repeat(1000));
        assert!(note.len() <= NOTE_LIMIT && note.ends_with("ä…"));
        assert_eq!(shortened("short".to_owned()), "short");
    }
}
