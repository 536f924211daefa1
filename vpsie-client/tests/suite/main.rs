//! The client against the mock: in the same process under paused time, and over loopback sockets.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking, helpers of tests too"
)]

mod auth;
mod calls;
mod create;
mod lists;
mod provider;
mod sockets;

use vpsie_client::{
    Client, Config, CreateVm, Error, VmId,
    mock::{MockConfig, MockVpsie},
};

/// An account with these settings.
fn mock(change: impl FnOnce(&mut MockConfig)) -> MockVpsie {
    let mut config = MockConfig::default();
    change(&mut config);
    MockVpsie::new(config)
}

/// A client in the same process with these settings.
fn client(mock: &MockVpsie, change: impl FnOnce(&mut Config)) -> Client {
    let mut config = mock.client_config("http://localhost");
    config.jitter_seed = Some(1);
    change(&mut config);
    Client::builder(config).transport(mock.router()).build().unwrap()
}

fn web(name: &str) -> CreateVm {
    CreateVm::new(name, "small-1", "dc-1")
}

fn id(text: &str) -> VmId {
    VmId::parse(text).unwrap()
}

/// The error with everything below it, as a log would print it.
fn full_text(error: &Error) -> String {
    let mut text = format!("{error} {error:?}");
    let mut next = std::error::Error::source(error);
    while let Some(source) = next {
        text.push_str(&format!(" {source} {source:?}"));
        next = source.source();
    }
    text
}
