//! The HTTP servers of the operator: health, readiness, metrics and explanations.
//!
//! [`Health`] is what the loops tell about themselves, [`start`] serves it. Only what probes and Prometheus ask belongs
//! here; nothing here asks Kubernetes or the provider, so that a probe costs nothing and an outage elsewhere does not
//! restart the operator. Explanations are made in [`explain`](crate::explain).
//!
//! | path | answers |
//! |---|---|
//! | `/healthz` | 200 while the planning loop makes progress, else 503: liveness |
//! | `/readyz` | 200 while this replica does the work, else 503: readiness |
//! | `/ping` | `pong`: the server answers |
//! | `/metrics` | the Prometheus text format, version 0.0.4 |
//! | `/explain/pod` | where pods fit, and why not elsewhere: see [`answer`] |
//! | `/explain/node` | why nodes stay or go: see [`answer`] |

mod health;

use std::{io, net::SocketAddr, time::Duration};

use autoscaler_metrics::Exporter;
use axum::{Router, extract::State, http::header::CONTENT_TYPE, routing::get};
use tokio::{
    net::TcpListener,
    task::{JoinHandle, JoinSet},
    time::sleep,
};
use tokio_util::sync::CancellationToken;

pub use self::health::Health;
use crate::explain::answer::{self, Explainer};

/// How long a server waits for requests in flight when it is to stop. Probes and scrapes take milliseconds.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// The addresses to serve on. Port 0 stands for any free port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// For `/healthz`, `/readyz` and `/ping`.
    pub health: SocketAddr,
    /// For `/metrics`, `/explain/pod` and `/explain/node`. Equal to `health`: one server answers all paths.
    pub metrics: SocketAddr,
}

/// Servers that listen. They end at once when this is dropped.
#[derive(Debug)]
#[must_use = "the servers end when this is dropped"]
pub struct Servers {
    /// The addresses they listen on, with the ports that they got.
    pub addresses: Addresses,
    tasks: JoinSet<Result<(), Error>>,
}

/// A server that listens.
#[derive(Debug)]
struct Listening {
    purpose: &'static str,
    address: SocketAddr,
    listener: TcpListener,
}

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Another process, or another server of this one, listens there.
    #[error("the address {address} for {purpose} is in use")]
    AddressInUse {
        /// What the server is for.
        purpose: &'static str,
        /// The address.
        address: SocketAddr,
    },
    /// The address cannot be listened on, for another reason.
    #[error("cannot listen on {address} for {purpose}")]
    Listen {
        /// What the server is for.
        purpose: &'static str,
        /// The address.
        address: SocketAddr,
        /// What the operating system says.
        #[source]
        source: io::Error,
    },
    /// A server that was listening ended by itself.
    #[error("the server for {purpose} on {address} failed")]
    Serve {
        /// What the server is for.
        purpose: &'static str,
        /// The address.
        address: SocketAddr,
        /// What happened.
        #[source]
        source: io::Error,
    },
}

/// Starts the servers. They answer when this returns, and stop when the token is cancelled: cancel it last, so that
/// probes and metrics see the rest of a shutdown.
///
/// # Errors
/// [`Error::AddressInUse`] and [`Error::Listen`]. Then nothing is left listening.
pub async fn start(
    addresses: Addresses,
    health: Health,
    exporter: Exporter,
    explainer: Explainer,
    token: &CancellationToken,
) -> Result<Servers, Error> {
    let health_routes = health_router(health);
    let metrics_routes = metrics_router(exporter).merge(answer::router(explainer));
    let mut tasks = JoinSet::new();
    let health;
    let metrics;
    if addresses.health == addresses.metrics {
        let both = listen("health and metrics", addresses.health).await?;
        health = both.address;
        metrics = both.address;
        tasks.spawn(both.run(health_routes.merge(metrics_routes), token.clone()));
    } else {
        // Both addresses are taken before either server runs.
        let health_listener = listen("health", addresses.health).await?;
        let metrics_listener = listen("metrics", addresses.metrics).await?;
        health = health_listener.address;
        metrics = metrics_listener.address;
        tasks.spawn(health_listener.run(health_routes, token.clone()));
        tasks.spawn(metrics_listener.run(metrics_routes, token.clone()));
    }
    Ok(Servers {
        addresses: Addresses { health, metrics },
        tasks,
    })
}

/// Serves the routes on the address until the token is cancelled. It listens when this returns: with the address that it
/// got, and the task that ends with the server. `purpose` names the server in errors and logs.
///
/// # Errors
/// [`Error::AddressInUse`] and [`Error::Listen`]; the task may end with [`Error::Serve`].
pub async fn serve(
    purpose: &'static str,
    address: SocketAddr,
    routes: Router,
    token: CancellationToken,
) -> Result<(SocketAddr, JoinHandle<Result<(), Error>>), Error> {
    let listening = listen(purpose, address).await?;
    Ok((listening.address, tokio::spawn(listening.run(routes, token))))
}

/// `/healthz`, `/readyz` and `/ping`.
pub fn health_router(health: Health) -> Router {
    Router::new()
        .route("/healthz", get(async |State(health): State<Health>| health.live()))
        .route("/readyz", get(async |State(health): State<Health>| health.ready()))
        .route("/ping", get(async || "pong"))
        .with_state(health)
}

/// `/metrics`.
pub fn metrics_router(exporter: Exporter) -> Router {
    const TEXT_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";
    let metrics = async |State(exporter): State<Exporter>| ([(CONTENT_TYPE, TEXT_FORMAT)], exporter.render());
    Router::new().route("/metrics", get(metrics)).with_state(exporter)
}

// === impl Servers ===

impl Servers {
    /// Waits until all servers have stopped because their token was cancelled, or one has failed.
    ///
    /// # Errors
    /// [`Error::Serve`].
    pub async fn stopped(mut self) -> Result<(), Error> {
        let address = self.addresses.health;
        while let Some(ended) = self.tasks.join_next().await {
            ended.map_err(|error| Error::Serve {
                purpose: "health or metrics",
                address,
                source: error.into(),
            })??;
        }
        Ok(())
    }
}

// === impl Listening ===

impl Listening {
    async fn run(self, routes: Router, token: CancellationToken) -> Result<(), Error> {
        let Self {
            purpose,
            address,
            listener,
        } = self;
        tracing::info!(%address, purpose, "listening");
        let server = axum::serve(listener, routes).with_graceful_shutdown(token.clone().cancelled_owned());
        let deadline = async {
            token.cancelled().await;
            sleep(DRAIN_TIMEOUT).await;
        };
        tokio::select! {
            ended = server.into_future() => ended.map_err(|source| Error::Serve { purpose, address, source }),
            () = deadline => {
                tracing::warn!(%address, purpose, "requests were still open at the end of the shutdown");
                Ok(())
            }
        }
    }
}

async fn listen(purpose: &'static str, address: SocketAddr) -> Result<Listening, Error> {
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::AddrInUse => Error::AddressInUse { purpose, address },
        _ => Error::Listen {
            purpose,
            address,
            source,
        },
    };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok(Listening {
        purpose,
        address,
        listener,
    })
}

#[cfg(test)]
mod tests {
    use std::{
        future::pending,
        net::{IpAddr, Ipv4Addr},
        sync::Arc,
    };

    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpStream,
        sync::Notify,
        time::{Instant, timeout},
    };

    use super::*;

    const LIMIT: Duration = Duration::from_secs(60);
    const ANY_PORT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

    fn working() -> Health {
        let health = Health::new(LIMIT);
        health.set_synced(true);
        health.set_leader(true);
        health
    }

    /// Status and body, over a real connection.
    async fn ask(address: SocketAddr, path: &str) -> (u16, String) {
        let (head, body) = exchange(address, path).await;
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, body)
    }

    async fn exchange(address: SocketAddr, path: &str) -> (String, String) {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.to_owned(), body.to_owned())
    }

    #[tokio::test]
    async fn two_addresses_are_two_servers() {
        let exporter = Exporter::local().unwrap().exporter().clone();
        let token = CancellationToken::new();
        let health = working();
        // 127.0.0.1:0 twice would be one address.
        let wanted = Addresses {
            health: ANY_PORT,
            metrics: SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0),
        };
        let servers = start(wanted, health.clone(), exporter, Explainer::default(), &token)
            .await
            .unwrap();
        let probes = servers.addresses.health;
        let metrics = SocketAddr::new(probes.ip(), servers.addresses.metrics.port());
        assert_ne!(probes, metrics);

        let (status, body) = ask(probes, "/healthz").await;
        assert_eq!(status, 200);
        assert!(body.starts_with("alive\nplanning loop: "), "{body}");
        assert_eq!(ask(probes, "/readyz").await.0, 200);
        assert_eq!(ask(probes, "/ping").await, (200, "pong".to_owned()));
        assert_eq!(ask(probes, "/metrics").await.0, 404);
        assert_eq!(ask(metrics, "/metrics").await.0, 200);
        assert_eq!(ask(metrics, "/healthz").await.0, 404);

        health.set_leader(false);
        assert_eq!(ask(probes, "/readyz").await.0, 503);
        assert_eq!(ask(probes, "/healthz").await.0, 200);

        token.cancel();
        timeout(LIMIT, servers.stopped()).await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn one_address_is_one_server() {
        let exporter = Exporter::local().unwrap().exporter().clone();
        let token = CancellationToken::new();
        let wanted = Addresses {
            health: ANY_PORT,
            metrics: ANY_PORT,
        };
        let servers = start(wanted, working(), exporter, Explainer::default(), &token)
            .await
            .unwrap();
        assert_eq!(servers.addresses.health, servers.addresses.metrics);
        assert_eq!(ask(servers.addresses.health, "/ping").await.0, 200);
        assert_eq!(ask(servers.addresses.health, "/metrics").await.0, 200);
        token.cancel();
        timeout(LIMIT, servers.stopped()).await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn metrics_are_the_text_format_and_move() {
        let local = Exporter::local().unwrap();
        let token = CancellationToken::new();
        let routes = metrics_router(local.exporter().clone());
        let (address, task) = serve("metrics", ANY_PORT, routes, token.clone()).await.unwrap();

        let (head, body) = exchange(address, "/metrics").await;
        assert!(head.contains("content-type: text/plain; version=0.0.4"), "{head}");
        assert!(body.contains("\nvpsie_autoscaler_leader 0\n"), "{body}");
        local.record(|| autoscaler_metrics::record::leader(true));
        let (_, body) = exchange(address, "/metrics").await;
        assert!(body.contains("\nvpsie_autoscaler_leader 1\n"), "{body}");

        token.cancel();
        timeout(LIMIT, task).await.unwrap().unwrap().unwrap();
    }

    #[tokio::test]
    async fn an_address_in_use_is_named() {
        let taken = TcpListener::bind(ANY_PORT).await.unwrap();
        let address = taken.local_addr().unwrap();
        let exporter = Exporter::local().unwrap().exporter().clone();
        let wanted = Addresses {
            health: ANY_PORT,
            metrics: address,
        };
        let error = start(
            wanted,
            working(),
            exporter,
            Explainer::default(),
            &CancellationToken::new(),
        )
        .await
        .unwrap_err();
        assert!(matches!(error, Error::AddressInUse { .. }));
        assert_eq!(
            error.to_string(),
            format!("the address {address} for metrics is in use")
        );
    }

    #[tokio::test]
    async fn an_address_of_another_machine_is_refused() {
        // 192.0.2.0/24 is for documentation, so no machine has it.
        let address = "192.0.2.1:8081".parse().unwrap();
        let error = serve("health", address, Router::new(), CancellationToken::new())
            .await
            .unwrap_err();
        assert!(matches!(error, Error::Listen { .. }), "{error:?}");
        assert_eq!(error.to_string(), "cannot listen on 192.0.2.1:8081 for health");
    }

    #[tokio::test]
    async fn a_client_that_never_finishes_does_not_hold_up_the_shutdown() {
        let token = CancellationToken::new();
        let asked = Arc::new(Notify::new());
        let handler = {
            let asked = Arc::clone(&asked);
            move || async move {
                asked.notify_one();
                pending::<()>().await;
            }
        };
        let slow = Router::new().route("/", get(handler));
        let (address, task) = serve("test", ANY_PORT, slow, token.clone()).await.unwrap();
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        asked.notified().await;
        // From here on the clock jumps whenever nothing else is left to do.
        tokio::time::pause();
        let cancelled = Instant::now();
        token.cancel();
        timeout(LIMIT, task).await.unwrap().unwrap().unwrap();
        assert!(cancelled.elapsed() >= DRAIN_TIMEOUT);
    }
}
