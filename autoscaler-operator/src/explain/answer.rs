//! `/explain/pod`: the running operator explains pods from what it knows at that moment.
//!
//! | parameter | meaning |
//! |---|---|
//! | `name` | a pod as `NAMESPACE/NAME`; may be repeated; every pending pod when there is none |
//! | `output` | `json`, the default, or `text` |
//!
//! The answer is 400 for a request that is not understood, 404 for a pod that is not there, and 503 while nothing has
//! been decided, as on a replica that waits for the lease. The body of these is one sentence.

use std::{
    fmt,
    sync::{Arc, PoisonError, RwLock},
};

use autoscaler_core::{
    explain::{self, document::ExplanationDocument},
    planner::Options,
};
use autoscaler_scaler::{index::Index, run::Clock};
use axum::{
    Router,
    extract::{Query, State},
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::get,
};
use tokio::sync::Semaphore;

use super::{check_name, select};
use crate::{
    args::Output,
    command::{Failure, write_document},
};

/// What the operator explains from. A clone shares its state; a new one knows nothing yet.
#[derive(Clone)]
pub struct Explainer {
    known: Arc<RwLock<Option<Arc<Known>>>>,
    /// Explaining every pending pod of a large cluster takes a core for a second, which only one request may do at a time.
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

/// The route of the endpoint.
pub fn router(explainer: Explainer) -> Router {
    Router::new().route("/explain/pod", get(pod)).with_state(explainer)
}

async fn pod(State(explainer): State<Explainer>, Query(query): Query<Vec<(String, String)>>) -> Response {
    let answer = async {
        let request = Request::new(query)?;
        let failed = |error: &dyn fmt::Display| Refused(StatusCode::INTERNAL_SERVER_ERROR, error.to_string());
        let known = explainer.known();
        let known = known.ok_or_else(|| {
            let message = "this replica has decided nothing yet; only the one that holds the lease does";
            Refused(StatusCode::SERVICE_UNAVAILABLE, message.to_owned())
        })?;
        let _turn = explainer.turn.acquire().await.map_err(|error| failed(&error))?;
        let work = tokio::task::spawn_blocking(move || explain(&known, &request));
        work.await.map_err(|error| failed(&error))?
    };
    match answer.await {
        Ok((content_type, body)) => ([(CONTENT_TYPE, content_type)], body).into_response(),
        Err(Refused(status, message)) => (status, format!("{message}\n")).into_response(),
    }
}

/// Content type and body.
fn explain(known: &Known, request: &Request) -> Result<(&'static str, Vec<u8>), Refused> {
    let snapshot = known.index.snapshot();
    let pods = select(&snapshot, &request.names).map_err(|message| Refused(StatusCode::NOT_FOUND, message))?;
    let explanation = explain::explain_pods(&snapshot, &pods, &Options::default(), (known.clock)());
    let document = ExplanationDocument::new(&snapshot, &explanation);
    let output = request.output.unwrap_or(Output::Json);
    let content_type = match output {
        Output::Json => "application/json",
        Output::Text => "text/plain; charset=utf-8",
    };
    let mut body = Vec::new();
    write_document(&mut body, &document, output)
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
    fn new(query: Vec<(String, String)>) -> Result<Self, Refused> {
        let mut request = Self::default();
        for (key, value) in query {
            match (key.as_str(), value.as_str()) {
                ("name", name) => match check_name(name) {
                    Ok(()) => request.names.push(value),
                    Err(Failure::Input(message) | Failure::Failed(message)) => {
                        return Err(Refused(StatusCode::BAD_REQUEST, message));
                    }
                },
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

    fn request(query: &[(&str, &str)]) -> Result<Request, Refused> {
        let owned = query
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        Request::new(owned.collect())
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        let all = request(&[("name", "a/b"), ("output", "text"), ("name", "c/d")]).unwrap();
        assert_eq!(all.names, ["a/b", "c/d"]);
        assert_eq!(all.output, Some(Output::Text));
        assert_eq!(request(&[]), Ok(Request::default()));
        for bad in [
            ("name", "web"),
            ("name", "a/b/c"),
            ("name", "/"),
            ("output", "yaml"),
            ("pod", "a/b"),
        ] {
            assert_eq!(request(&[bad]).unwrap_err().0, StatusCode::BAD_REQUEST, "{bad:?}");
        }
    }
}
