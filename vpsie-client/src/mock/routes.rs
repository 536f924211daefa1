//! The HTTP side of the mock: routes, latency, and faults that concern the connection.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::{Path, RawQuery, State},
    http::{HeaderMap, Method, StatusCode, Uri, header},
    response::Response,
    routing::{MethodRouter, on},
};
use bytes::Bytes;
use http_body::Frame;
use tokio::time::{Instant, sleep};

use super::{
    MockVpsie,
    fault::Fault,
    state::{Answer, Incoming, Route},
};

/// Bodies of requests above this are refused; a cloud-init document is far smaller.
const MOST_REQUEST_BYTES: usize = 4 << 20;

pub(super) fn router(mock: MockVpsie) -> Router {
    Router::new()
        .route(
            "/auth/from/api",
            method(axum::routing::MethodFilter::POST, Route::Login),
        )
        .route(
            "/v2/vms",
            method(axum::routing::MethodFilter::GET, Route::ListVms)
                .merge(method(axum::routing::MethodFilter::POST, Route::CreateVm)),
        )
        .route(
            "/v2/vms/{id}",
            method(axum::routing::MethodFilter::GET, Route::GetVm)
                .merge(method(axum::routing::MethodFilter::DELETE, Route::DeleteVm)),
        )
        .route(
            "/v2/offerings",
            method(axum::routing::MethodFilter::GET, Route::ListOfferings),
        )
        .route(
            "/v2/datacenters",
            method(axum::routing::MethodFilter::GET, Route::ListDatacenters),
        )
        .layer(axum::extract::DefaultBodyLimit::max(MOST_REQUEST_BYTES))
        .with_state(mock)
}

fn method(filter: axum::routing::MethodFilter, route: Route) -> MethodRouter<MockVpsie> {
    on(
        filter,
        move |State(mock): State<MockVpsie>,
              id: Option<Path<String>>,
              RawQuery(query): RawQuery,
              uri: Uri,
              method: Method,
              headers: HeaderMap,
              body: Bytes| async move {
            let incoming = Incoming {
                route,
                method,
                path: uri.path().to_owned(),
                id: id.map(|Path(id)| id),
                query: query.unwrap_or_default(),
                headers,
                body,
            };
            handle(&mock, &incoming).await
        },
    )
}

async fn handle(mock: &MockVpsie, incoming: &Incoming) -> Response {
    let latency = mock.state().config.latency;
    pause(latency).await;
    let (answer, fault) = mock.change(|state| state.receive(incoming, Instant::now()));
    match fault {
        Some(Fault::LoseReply) => return lost(),
        Some(Fault::Delay(delay)) => pause(delay).await,
        _ => {}
    }
    write(answer)
}

async fn pause(duration: Duration) {
    if !duration.is_zero() {
        sleep(duration).await;
    }
}

fn write(answer: Answer) -> Response {
    let mut response = Response::new(Body::from(answer.body));
    *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        header::HeaderValue::from_static("application/json"),
    );
    if let Some(seconds) = answer.retry_after {
        headers.insert(header::RETRY_AFTER, seconds.into());
    }
    response
}

/// An answer that breaks off before its first byte of body.
fn lost() -> Response {
    Response::new(Body::new(Broken))
}

struct Broken;

impl http_body::Body for Broken {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        Poll::Ready(Some(Err(std::io::Error::new(
            std::io::ErrorKind::ConnectionReset,
            "the mock lost the answer",
        ))))
    }
}
