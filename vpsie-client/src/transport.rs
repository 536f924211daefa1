//! How requests reach the API: any tower service of HTTP requests, by default hyper with rustls.

use std::{error::Error as StdError, io, time::Duration};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::{
    client::legacy::{self, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use tower::{Service, ServiceExt as _, util::BoxCloneSyncService};

/// Any error.
pub type BoxError = Box<dyn StdError + Send + Sync>;

/// The body of a request.
pub type RequestBody = Full<Bytes>;

/// A transport with its types erased. It never follows redirects.
pub(crate) type Transport =
    BoxCloneSyncService<Request<RequestBody>, Response<UnsyncBoxBody<Bytes, BodyError>>, BoxError>;

/// Why an answer broke off. A type of its own, because the compiler cannot see that a boxed error in the place of a
/// body's error type is `Send` in every async function.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub(crate) struct BodyError(BoxError);

/// Erases the types of a service.
pub(crate) fn erase<S, B>(service: S) -> Transport
where
    S: Service<Request<RequestBody>, Response = Response<B>> + Clone + Send + Sync + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    BoxCloneSyncService::new(
        service
            .map_response(|response: Response<B>| {
                response.map(|body| body.map_err(|error| BodyError(error.into())).boxed_unsync())
            })
            .map_err(Into::into),
    )
}

/// Hyper over TCP, with rustls (ring) and the certificates of the system. Connections are kept and used again.
///
/// `tls` is false when the base URL is plain http: then no certificates are loaded.
pub(crate) fn hyper(tls: bool, connect_timeout: Duration) -> Result<Transport, BoxError> {
    let mut tcp = HttpConnector::new();
    tcp.set_connect_timeout(Some(connect_timeout));
    tcp.set_nodelay(true);
    tcp.enforce_http(false);
    let mut pool = legacy::Client::builder(TokioExecutor::new());
    pool.pool_idle_timeout(Duration::from_secs(90))
        .pool_max_idle_per_host(10)
        .pool_timer(TokioTimer::new());
    if !tls {
        return Ok(erase(pool.build(tcp)));
    }
    let connector = HttpsConnectorBuilder::new()
        .with_provider_and_native_roots(rustls::crypto::ring::default_provider())?
        .https_only()
        .enable_http1()
        .wrap_connector(tcp);
    Ok(erase(pool.build(connector)))
}

/// Whether this error says that no connection was made, so that the request cannot have reached the API.
pub(crate) fn is_connect_error(error: &(dyn StdError + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if error
            .downcast_ref::<legacy::Error>()
            .is_some_and(legacy::Error::is_connect)
        {
            return true;
        }
        if error
            .downcast_ref::<io::Error>()
            .is_some_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
        {
            return true;
        }
        next = error.source();
    }
    false
}
