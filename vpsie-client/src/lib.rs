//! Client of the VPSie cloud API.
//!
//! VMs, offerings and datacenters, for programs that run unattended: every failure has a kind that says what to do next,
//! a create is never repeated when it may have been carried out, and what cannot be understood is never taken for an
//! empty list.
//!
//! # Example
//!
//! With the feature `mock-server` the API runs in the same process; against the real one, [`Client::new`] takes
//! `Config::new("https://api.vpsie.com", Credentials::login(id, secret))`.
//!
#![cfg_attr(feature = "mock-server", doc = "```")]
#![cfg_attr(not(feature = "mock-server"), doc = "```text")]
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use vpsie_client::{Client, CreateVm, ErrorKind, mock::MockVpsie};
//!
//! let mock = MockVpsie::default();
//! let server = mock.serve("127.0.0.1:0".parse()?).await?;
//! let client = Client::new(mock.client_config(server.base_url()))?;
//!
//! let offerings = client.offerings().await?.items;
//! let smallest = offerings.iter().min_by_key(|offering| offering.cpu_milli).ok_or("nothing is for sale")?;
//!
//! let mut order = CreateVm::new("web-1", &smallest.id, "dc-1");
//! order.tags.push("order=4711".to_owned());
//! match client.create_vm(&order).await {
//!     Ok(_) => {}
//!     // Never order again blindly: look for the tag first.
//!     Err(error) if error.is_outcome_unknown() => {
//!         let vms = client.vms().await?.items;
//!         assert!(vms.iter().any(|vm| vm.tags.contains(&"order=4711".to_owned())));
//!     }
//!     Err(error) => match error.kind() {
//!         ErrorKind::Capacity { limit } => println!("the account is full, the limit is {limit:?}"),
//!         _ => return Err(error.into()),
//!     },
//! }
//! for vm in client.vms().await?.items {
//!     println!("{} is {:?}", vm.hostname, vm.status);
//!     client.delete_vm(&vm.id).await?;
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # What a call goes through
//!
//! From the outside in: the deadline of the call ([`Config::call_timeout`]); the circuit breaker, which counts server
//! errors, timeouts and failed connections, and neither refusals nor callers that give up; repeats; the token, which one
//! task renews for all; then for each request a free slot, the rate limit with its reserve for deletes and logins, the
//! timeout of one request, and the limit on the size of its answer. Limits per request are inside the repeats, so that
//! repeats keep them too. Time is tokio's, so all of it runs under `tokio::time::pause`.
//!
//! | failure | reads, deletes | create |
//! |---|---|---|
//! | no connection, failed login | repeated | repeated: it was not sent |
//! | 429 | repeated after `Retry-After` | repeated after `Retry-After`: it was not carried out |
//! | 401 | once more with a new token | once more with a new token |
//! | 5xx, no answer, broken connection | repeated | [`Timeout`](ErrorKind::Timeout) with unknown outcome |
//! | answer that is not understood | [`Malformed`](ErrorKind::Malformed) | [`Timeout`](ErrorKind::Timeout) with unknown outcome |
//! | "exceeds the allowed limit", whatever the status | as the status | [`Capacity`](ErrorKind::Capacity) |
//! | other refusals, HTTP 200 with `error: true` | by message and code | by message and code, else unknown outcome |
//!
//! # Dialects
//!
//! Paths, auth header (`Authorization: Bearer` or `Vpsie-Auth`), login encoding (form or JSON) and paging differ between
//! deployments of the API. They are data: [`Dialect`]. The shapes of answers are told apart by looking at them.
//!
//! # Safety of credentials
//!
//! Plain http is refused except to loopback, redirects are not followed, identifiers are checked before they go into a
//! path, and credentials, tokens and user data appear in no `Debug` output and no error text, even if the API echoes
//! them.
//!
//! # Features
//!
//! * `provider` (default): [`VmProvider`] implements `autoscaler_core::provider::CloudProvider`.
//! * `mock-server`: the module `mock`, a stateful mock of the API, and the binary `vpsie-mock` that serves it:
//!   `cargo run -p vpsie-client --features mock-server --bin vpsie-mock -- --listen 127.0.0.1:9090`.

mod auth;
mod breaker;
mod call;
mod client;
mod config;
mod dialect;
mod error;
mod exchange;
mod limit;
#[cfg(feature = "mock-server")]
pub mod mock;
mod model;
mod observe;
mod page;
#[cfg(feature = "provider")]
mod provider;
mod reply;
mod transport;
mod wire;

pub use breaker::{BreakerConfig, BreakerState};
pub use client::{Client, ClientBuilder, read_offerings};
pub use config::{Config, Credentials};
pub use dialect::{AuthHeader, Dialect, Endpoints, LoginEncoding, Paging};
pub use error::{Error, ErrorKind};
pub use limit::RateLimit;
pub use model::{CreateVm, Datacenter, InvalidVmId, Offering, Vm, VmId, VmStatus};
pub use observe::{Attempt, Event};
pub use page::List;
#[cfg(feature = "provider")]
pub use provider::{VmProvider, convert_offerings};
pub use transport::{BoxError, RequestBody};
