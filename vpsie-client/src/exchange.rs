//! One request and its answer: a free slot, a token of the limiter, the transport, a timeout, a size limit.
//!
//! Nothing here knows about logins, repeats or what an answer means.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use tokio::{
    sync::Semaphore,
    time::{Instant, timeout_at},
};
use tower::ServiceExt as _;

use crate::{
    config::{BaseUrl, Config},
    error::{Error, ErrorKind},
    limit::{Limiter, Priority},
    observe::{Attempt, Event, Observer},
    transport::{BoxError, Transport, is_connect_error},
};

/// What every request of a client goes through.
pub(crate) struct Exchange {
    transport: Transport,
    base: BaseUrl,
    limiter: Limiter,
    slots: Semaphore,
    attempt_timeout: Duration,
    max_reply_bytes: usize,
    pub(crate) observer: Observer,
}

/// A request before it is put on the wire.
#[derive(Debug)]
pub(crate) struct Outgoing<'a> {
    /// What a person calls it.
    pub(crate) operation: &'a str,
    /// Its name in metrics.
    pub(crate) name: &'static str,
    pub(crate) method: Method,
    /// Path and query below the base URL.
    pub(crate) path: &'a str,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) priority: Priority,
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Exchange {
    pub(crate) fn new(config: &Config, base: BaseUrl, transport: Transport, observer: Observer) -> Self {
        Self {
            transport,
            base,
            limiter: Limiter::new(config.rate_limit),
            slots: Semaphore::new(config.max_in_flight.min(Semaphore::MAX_PERMITS)),
            attempt_timeout: config.attempt_timeout,
            max_reply_bytes: config.max_reply_bytes,
            observer,
        }
    }

    /// Sends a request and reads its answer, whatever its status is.
    ///
    /// # Errors
    /// `RateLimited`, `Transient`, `Timeout`, `Malformed` (the answer is too long) and `InvalidRequest` (the path is
    /// not one). They say by `is_before_sending` whether the request can have reached the API.
    pub(crate) async fn send(&self, outgoing: &Outgoing<'_>, deadline: Instant) -> Result<Reply, Error> {
        let operation = outgoing.operation;
        let Ok(Ok(_slot)) = timeout_at(deadline, self.slots.acquire()).await else {
            let message = "no answer in time: too many requests are under way";
            return Err(Error::new(ErrorKind::Timeout { outcome_unknown: false }, operation, message).before_sending());
        };
        let waited = self
            .limiter
            .acquire(outgoing.priority, deadline)
            .await
            .map_err(|wait| {
                let kind = ErrorKind::RateLimited {
                    retry_after: Some(wait),
                };
                Error::new(
                    kind,
                    operation,
                    "the client's own rate limit leaves no request before the deadline",
                )
                .before_sending()
            })?;
        let request = self.request(outgoing)?;
        let started = Instant::now();
        let result = timeout_at(
            deadline.min(started + self.attempt_timeout),
            self.round_trip(operation, request),
        )
        .await;
        let took = started.elapsed();
        let result = result.unwrap_or_else(|_| {
            let message = format!("no answer within {took:?}");
            Err(Error::new(
                ErrorKind::Timeout { outcome_unknown: true },
                operation,
                message,
            ))
        });
        let status = result.as_ref().ok().map(|reply| reply.status.as_u16());
        tracing::debug!(operation, method = %outgoing.method, status, ?took, error = result.as_ref().err().map(tracing::field::display), "request to the VPSie API");
        self.observer.event(&Event::Attempt(Attempt {
            endpoint: outgoing.name,
            status,
            took,
            waited,
        }));
        result
    }

    fn request(&self, outgoing: &Outgoing<'_>) -> Result<Request<Full<Bytes>>, Error> {
        let refused = |error: BoxError| {
            Error::new(
                ErrorKind::InvalidRequest,
                outgoing.operation,
                "the request cannot be written",
            )
            .before_sending()
            .with_source(error)
        };
        let uri = self.base.join(outgoing.path).map_err(|error| refused(error.into()))?;
        let mut request = Request::new(Full::new(outgoing.body.clone()));
        *request.method_mut() = outgoing.method.clone();
        *request.uri_mut() = uri;
        outgoing.headers.clone_into(request.headers_mut());
        let headers = request.headers_mut();
        headers.insert(header::ACCEPT, header::HeaderValue::from_static("application/json"));
        headers.insert(
            header::USER_AGENT,
            header::HeaderValue::from_static(concat!("vpsie-client/", env!("CARGO_PKG_VERSION"))),
        );
        Ok(request)
    }

    async fn round_trip(&self, operation: &str, request: Request<Full<Bytes>>) -> Result<Reply, Error> {
        let response = self.transport.clone().oneshot(request).await.map_err(|error| {
            if is_connect_error(error.as_ref()) {
                Error::new(ErrorKind::Transient, operation, "cannot connect to the API")
                    .before_sending()
                    .with_source(error)
            } else {
                interrupted(operation, error)
            }
        })?;
        let (parts, body) = response.into_parts();
        let body = Limited::new(body, self.max_reply_bytes)
            .collect()
            .await
            .map_err(|error| {
                if error.is::<LengthLimitError>() {
                    Error::malformed(
                        operation,
                        format!("the answer is longer than {} bytes", self.max_reply_bytes),
                    )
                    .with_status(parts.status.as_u16(), None)
                } else {
                    interrupted(operation, error)
                }
            })?;
        Ok(Reply {
            status: parts.status,
            headers: parts.headers,
            body: body.to_bytes(),
        })
    }
}

fn interrupted(operation: &str, error: BoxError) -> Error {
    Error::new(
        ErrorKind::Timeout { outcome_unknown: true },
        operation,
        "the connection broke before the answer was complete",
    )
    .with_source(error)
}
