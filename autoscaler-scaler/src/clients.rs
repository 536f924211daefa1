//! The Kubernetes clients, one for each way a call may fail.

use std::time::Duration;

use kube::{Client, Config};

/// Clients that differ in what they do on their own when a call fails or hangs.
#[derive(Clone)]
pub struct Clients {
    /// For lists and watches: retries what is safe to retry, no read timeout, because a watch is quiet for minutes.
    pub read: Client,
    /// For writes: bounded in time, never repeated by itself. Every write here is part of a step that is tried again.
    pub write: Client,
    /// For evictions and leases: as `write`. A refused eviction (429) is an answer and must reach the caller at once;
    /// kube's default policy would repeat it for minutes.
    pub evict: Client,
}

/// How long a write may take before it counts as failed.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

impl Clients {
    /// Clients for a real API server.
    ///
    /// # Errors
    /// When the configuration cannot be turned into a client, for example for a certificate that cannot be read.
    pub fn new(config: Config) -> Result<Self, kube::Error> {
        let mut bounded = config.clone();
        bounded.default_retry = false;
        bounded.read_timeout = Some(WRITE_TIMEOUT);
        bounded.write_timeout = Some(WRITE_TIMEOUT);
        let write = Client::try_from(bounded)?;
        Ok(Self {
            read: Client::try_from(config)?,
            evict: write.clone(),
            write,
        })
    }

    /// One client for everything, for an API server in the same process, where nothing is retried anyway.
    #[must_use]
    pub fn in_process(client: Client) -> Self {
        Self {
            read: client.clone(),
            write: client.clone(),
            evict: client,
        }
    }
}

impl std::fmt::Debug for Clients {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Clients")
    }
}
