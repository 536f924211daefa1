//! `/explain/pod` and `/explain/node`: the running operator explains pods and nodes from what it knows at that moment.
//!
//! | parameter | meaning |
//! |---|---|
//! | `name` | a pod as `NAMESPACE/NAME`, or a node; may be repeated; every pending pod, or every node, when there is none |
//! | `output` | `json`, the default, or `text` |
//!
//! The answer is 400 for a request that is not understood, 404 for what is not there, and 503 while nothing has been
//! decided, as on a replica that waits for the lease. The body of these is one sentence.

use std::{
    fmt,
    sync::{Arc, PoisonError, RwLock},
};

use autoscaler_core::planner::Options;
use autoscaler_scaler::{index::Index, run::Clock};
use axum::{
    Router,
    extract::{Query, State},
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::get,
};
use tokio::sync::Semaphore;

use super::Subject;
use crate::args::Output;

/// What the operator explains from. A clone shares its state; a new one knows nothing yet.
#[derive(Clone)]
pub struct Explainer {
    known: Arc<RwLock<Option<Arc<Known>>>>,
    /// Explaining every pending pod, or node, of a large cluster takes a core for a second, which only one request may do at a time.
    turn: Arc<Semaphore>,
}

/// What a decision is made from.
pub struct Known {
    /// The cluster.
    pub index: Index,
    /// The time.
    pub clock: Clock,
}

/// A request that has been understood.
#[derive(Debug, Default, PartialEq, Eq)]
struct Request {
    names: Vec<String>,
    output: Option<Output>,
}

/// Why there is no explanation.
#[derive(Debug, PartialEq, Eq)]
struct Refused(StatusCode, String);

/// The routes of the endpoints.
pub fn router(explainer: Explainer) -> Router {
    let route = |subject: Subject| get(move |explainer, query| answer(subject, explainer, query));
    Router::new()
        .route(Subject::Pods.path(), route(Subject::Pods))
        .route(Subject::Nodes.path(), route(Subject::Nodes))
        .with_state(explainer)
}

async fn answer(
    subject: Subject,
    State(explainer): State<Explainer>,
    Query(query): Query<Vec<(String, String)>>,
) -> Response {
    let answer = async {
        let request = Request::new(subject, query)?;
        let failed = |error: &dyn fmt::Display| Refused(StatusCode::INTERNAL_SERVER_ERROR, error.to_string());
        let known = explainer.known();
        let known = known.ok_or_else(|| {
            let message = "this replica has decided nothing yet; only the one that holds the lease does";
            Refused(StatusCode::SERVICE_UNAVAILABLE, message.to_owned())
        })?;
        let _turn = explainer.turn.acquire().await.map_err(|error| failed(&error))?;
        let work = tokio::task::spawn_blocking(move || explain(subject, &known, &request));
        work.await.map_err(|error| failed(&error))?
    };
    match answer.await {
        Ok((content_type, body)) => ([(CONTENT_TYPE, content_type)], body).into_response(),
        Err(Refused(status, message)) => (status, format!("{message}\n")).into_response(),
    }
}

/// Content type and body.
fn explain(subject: Subject, known: &Known, request: &Request) -> Result<(&'static str, Vec<u8>), Refused> {
    let snapshot = known.index.snapshot();
    let selected = subject
        .select(&snapshot, &request.names)
        .map_err(|message| Refused(StatusCode::NOT_FOUND, message))?;
    let output = request.output.unwrap_or(Output::Json);
    let content_type = match output {
        Output::Json => "application/json",
        Output::Text => "text/plain; charset=utf-8",
    };
    let mut body = Vec::new();
    selected
        .explain(&snapshot, &Options::default(), (known.clock)(), output, &mut body)
        .map_err(|error| Refused(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    Ok((content_type, body))
}

// === impl Explainer ===

impl Default for Explainer {
    fn default() -> Self {
        Self {
            known: Arc::default(),
            turn: Arc::new(Semaphore::new(1)),
        }
    }
}

impl Explainer {
    /// Explains from this from now on.
    pub fn learn(&self, known: Known) {
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(known));
    }

    /// Whether there is anything to explain from.
    #[must_use]
    pub fn knows(&self) -> bool {
        self.known().is_some()
    }

    fn known(&self) -> Option<Arc<Known>> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl fmt::Debug for Explainer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Explainer")
            .field("knows", &self.knows())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Known").finish_non_exhaustive()
    }
}

// === impl Request ===

impl Request {
    fn new(subject: Subject, query: Vec<(String, String)>) -> Result<Self, Refused> {
        let mut request = Self::default();
        for (key, value) in query {
            match (key.as_str(), value.as_str()) {
                ("name", name) => {
                    subject
                        .check_name(name)
                        .map_err(|message| Refused(StatusCode::BAD_REQUEST, message))?;
                    request.names.push(value);
                }
                ("output", "json") => request.output = Some(Output::Json),
                ("output", "text") => request.output = Some(Output::Text),
                _ => {
                    let message = format!("{key:?}={value:?} is not understood: expected name, or output=json or text");
                    return Err(Refused(StatusCode::BAD_REQUEST, message));
                }
            }
        }
        Ok(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(subject: Subject, query: &[(&str, &str)]) -> Result<Request, Refused> {
        let owned = query
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        Request::new(subject, owned.collect())
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        let all = request(Subject::Pods, &[("name", "a/b"), ("output", "text"), ("name", "c/d")]).unwrap();
        assert_eq!(all.names, ["a/b", "c/d"]);
        assert_eq!(all.output, Some(Output::Text));
        for (subject, good, bad) in [(Subject::Pods, "a/b", "a"), (Subject::Nodes, "a", "a/b")] {
            assert_eq!(request(subject, &[]), Ok(Request::default()));
            assert_eq!(request(subject, &[("name", good)]).unwrap().names, [good]);
            for bad in [
                ("name", bad),
                ("name", "a/b/c"),
                ("name", "/"),
                ("name", ""),
                ("output", "yaml"),
                ("pod", good),
            ] {
                assert_eq!(
                    request(subject, &[bad]).unwrap_err().0,
                    StatusCode::BAD_REQUEST,
                    "{bad:?}"
                );
            }
        }
    }
}
