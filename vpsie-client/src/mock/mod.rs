//! A stateful mock of the VPSie API, to test against: in the same process or over HTTP.
//!
//! It keeps VMs, issues tokens that expire, moves VMs from provisioning to running and from deleting to gone on tokio's
//! clock (so that paused time works), limits rates, and fails on request. [`MockVpsie`] is the handle through which a
//! test looks at it and controls it.

mod config;
mod fault;
mod objects;
mod routes;
mod server;
mod state;

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::{
    net::TcpListener,
    sync::Notify,
    time::{Instant, sleep_until},
};

pub use config::{CreateReply, HostnameCase, ListCount, LoginEnvelope, MockConfig};
pub use fault::{Fault, Times};
pub use objects::MockVm;
pub use server::MockServer;
pub use state::{RequestRecord, Route, TokenCounts};

use crate::{client::Client, config::Config, config::Credentials, error::Error};
use state::State;

/// A mock VPSie account with its API. Cheap to clone: clones are handles of the same account.
///
/// ```
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), vpsie_client::Error> {
/// use vpsie_client::{CreateVm, mock::MockVpsie};
///
/// let mock = MockVpsie::default();
/// let client = mock.client()?;
/// client.create_vm(&CreateVm::new("web-1", "small-1", "dc-1")).await?;
/// mock.wait_for(|vms| vms.iter().all(|vm| vm.status == "running")).await;
/// assert_eq!(mock.vms().len(), 1);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct MockVpsie {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Notify,
}

// === impl MockVpsie ===

impl Default for MockVpsie {
    fn default() -> Self {
        Self::new(MockConfig::default())
    }
}

impl MockVpsie {
    /// An empty account.
    #[must_use]
    pub fn new(config: MockConfig) -> Self {
        Self {
            shared: Arc::new(Shared {
                state: Mutex::new(State::new(config, Instant::now())),
                changed: Notify::new(),
            }),
        }
    }

    /// The API as a router, for a server or as the transport of a [`Client`] in the same process.
    pub fn router(&self) -> axum::Router {
        routes::router(self.clone())
    }

    /// Serves the API over HTTP on this address; port 0 takes a free one. It ends when the returned value is dropped.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub async fn serve(&self, address: SocketAddr) -> std::io::Result<MockServer> {
        self.serve_on(TcpListener::bind(address).await?)
    }

    /// Serves the API over HTTP on this listener.
    ///
    /// # Errors
    /// When the listener does not say its address.
    pub fn serve_on(&self, listener: TcpListener) -> std::io::Result<MockServer> {
        MockServer::start(self.router(), listener)
    }

    /// Settings for a client of this account at this base URL.
    #[must_use]
    pub fn client_config(&self, base_url: impl Into<String>) -> Config {
        let state = self.state();
        let credentials = Credentials::login(state.config.client_id.clone(), state.config.client_secret.clone());
        drop(state);
        Config::new(base_url, credentials)
    }

    /// A client that talks to this account in the same process, without sockets.
    ///
    /// # Errors
    /// None with the default settings; the signature is that of [`ClientBuilder::build`](crate::ClientBuilder::build).
    pub fn client(&self) -> Result<Client, Error> {
        Client::builder(self.client_config("http://localhost"))
            .transport(self.router())
            .build()
    }

    /// Changes settings while it runs. VMs that exist keep the delays that they started with.
    pub fn configure(&self, change: impl FnOnce(&mut MockConfig)) {
        change(&mut self.state().config);
        self.shared.changed.notify_waiters();
    }

    /// Makes requests of a route fail. Faults of one route happen in the order in which they were injected.
    pub fn inject(&self, route: Route, fault: Fault, times: Times) {
        self.state().faults.add(route, fault, times);
    }

    /// Forgets all faults that were injected.
    pub fn clear_faults(&self) {
        self.state().faults.clear();
    }

    /// The VMs that exist, those still being created or deleted too, by identifier.
    #[must_use]
    pub fn vms(&self) -> Vec<MockVm> {
        self.state().vms()
    }

    /// Waits until the VMs are as this says. It looks whenever something changes, also by the passing of time.
    pub async fn wait_for(&self, mut is_so: impl FnMut(&[MockVm]) -> bool + Send) {
        loop {
            let changed = self.shared.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let (vms, next) = {
                let mut state = self.state();
                (state.vms(), state.next_transition())
            };
            if is_so(&vms) {
                return;
            }
            match next {
                Some(next) => tokio::select! {
                    () = changed => {}
                    () = sleep_until(next) => {}
                },
                None => changed.await,
            }
        }
    }

    /// Puts a VM there that nobody ordered through the API, and gives its identifier.
    pub fn add_vm(&self, vm: MockVm) -> String {
        self.change(|state| state.add_foreign(vm))
    }

    /// Sets the status of a VM, which then stays until it is set again or the VM is deleted. False when there is no
    /// such VM.
    pub fn set_status(&self, id: &str, status: &str) -> bool {
        self.change(|state| state.set_status(id, status))
    }

    /// Makes a VM vanish at once. False when there is no such VM.
    pub fn remove(&self, id: &str) -> bool {
        self.change(|state| state.remove(id))
    }

    /// Revokes all access tokens, as if they had expired.
    pub fn expire_tokens(&self) {
        self.state().tokens.expire_access();
    }

    /// Revokes all refresh tokens.
    pub fn revoke_refresh_tokens(&self) {
        self.state().tokens.revoke_refresh();
    }

    /// How many tokens were issued, and how.
    #[must_use]
    pub fn token_counts(&self) -> TokenCounts {
        self.state().tokens.counts
    }

    /// How many requests of a route came in, failed ones too.
    #[must_use]
    pub fn requests(&self, route: Route) -> u64 {
        self.state().requests(route)
    }

    /// The requests that came in, oldest first; the last ten thousand.
    #[must_use]
    pub fn log(&self) -> Vec<RequestRecord> {
        self.state().log()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let result = change(&mut self.state());
        self.shared.changed.notify_waiters();
        result
    }
}
