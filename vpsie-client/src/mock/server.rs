//! The mock behind a TCP listener.

use std::net::SocketAddr;

use tokio::{net::TcpListener, sync::oneshot, task::JoinHandle};

/// A mock that is served over HTTP. Dropping it closes the listener and the idle connections.
#[derive(Debug)]
pub struct MockServer {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl MockServer {
    pub(super) fn start(router: axum::Router, listener: TcpListener) -> std::io::Result<Self> {
        let address = listener.local_addr()?;
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(async move {
            let stopped = async {
                // The sender going away without a word means the same.
                let _: Result<(), _> = stopped.await;
            };
            if let Err(error) = axum::serve(listener, router).with_graceful_shutdown(stopped).await {
                tracing::error!(%error, "the mock VPSie API ended");
            }
        });
        Ok(Self {
            address,
            stop: Some(stop),
            task,
        })
    }

    /// The address that it listens on.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The base URL for a [`Config`](crate::Config).
    #[must_use]
    pub fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Stops taking connections and waits until the requests under way are answered.
    pub async fn stop(mut self) {
        self.stop = None;
        if let Err(error) = (&mut self.task).await {
            tracing::debug!(%error, "the task of the mock VPSie API did not end by itself");
        }
    }
}

impl Drop for MockServer {
    fn drop(&mut self) {
        // Connections notice through the graceful shutdown; the listener goes with the task.
        self.stop = None;
    }
}
