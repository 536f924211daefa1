//! The same over loopback sockets, and the binary.

use std::{
    io::{BufRead as _, BufReader, Read as _},
    net::SocketAddr,
    process::{Command, Stdio},
    time::Duration,
};

use futures::future::join_all;
use vpsie_client::{
    Client, Config, Credentials, ErrorKind,
    mock::{Fault, MockServer, MockVpsie, Route, Times},
};

use crate::{mock, web};

async fn serve(mock: &MockVpsie) -> MockServer {
    mock.serve(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap()
}

#[tokio::test]
async fn vms_come_and_go_over_http() {
    let mock = mock(|config| {
        config.provision_delay = Duration::from_millis(5);
        config.delete_delay = Duration::from_millis(5);
        config.max_page_size = 3;
    });
    let server = serve(&mock).await;
    let client = Client::new(mock.client_config(server.base_url())).unwrap();
    let orders: Vec<_> = (0..10).map(|n| web(&format!("web-{n}"))).collect();
    for result in join_all(orders.iter().map(|order| client.create_vm(order))).await {
        result.unwrap();
    }
    mock.wait_for(|vms| vms.len() == 10 && vms.iter().all(|vm| vm.status == "running"))
        .await;
    let vms = client.vms().await.unwrap().items;
    assert_eq!(vms.len(), 10);
    for result in join_all(vms.iter().map(|vm| client.delete_vm(&vm.id))).await {
        result.unwrap();
    }
    mock.wait_for(<[_]>::is_empty).await;
    assert!(client.vms().await.unwrap().items.is_empty());
    assert_eq!(mock.token_counts().logins, 1);
    server.stop().await;
}

#[tokio::test]
async fn a_lost_reply_is_a_broken_connection() {
    let mock = mock(|_| {});
    let server = serve(&mock).await;
    let client = Client::new(mock.client_config(server.base_url())).unwrap();
    mock.inject(Route::CreateVm, Fault::LoseReply, Times::Next(1));
    let error = client.create_vm(&web("web-1")).await.unwrap_err();
    assert!(error.is_outcome_unknown(), "{error}");
    assert_eq!((mock.requests(Route::CreateVm), mock.vms().len()), (1, 1));
    assert_eq!(client.vms().await.unwrap().items[0].hostname, "web-1");
}

#[tokio::test]
async fn a_create_at_a_closed_port_was_not_carried_out() {
    let mock = mock(|_| {});
    let server = serve(&mock).await;
    let mut config = mock.client_config(server.base_url());
    config.max_retries = 1;
    config.first_backoff = Duration::from_millis(1);
    let client = Client::new(config).unwrap();
    client.vms().await.unwrap();
    server.stop().await;
    let error = client.create_vm(&web("web-1")).await.unwrap_err();
    assert_eq!(error.kind(), &ErrorKind::Transient, "{error}");
    assert!(error.is_retryable() && !error.is_outcome_unknown());
}

#[tokio::test]
async fn dropping_the_server_ends_it() {
    let mock = mock(|_| {});
    let server = serve(&mock).await;
    let address = server.address();
    drop(server);
    while tokio::net::TcpStream::connect(address).await.is_ok() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn https_is_spoken_and_plain_text_on_its_port_is_not_taken() {
    let mock = mock(|_| {});
    let server = serve(&mock).await;
    let mut config = mock.client_config(format!("https://{}", server.address()));
    config.max_retries = 0;
    let client = match Client::new(config) {
        Ok(client) => client,
        // A machine without certificates cannot speak https at all, and says so.
        Err(error) => {
            assert!(error.message().contains("certificates"), "{error}");
            return;
        }
    };
    let error = client.vms().await.unwrap_err();
    assert_eq!(error.kind(), &ErrorKind::Transient, "{error}");
    assert_eq!(mock.requests(Route::Login), 0);
}

#[tokio::test]
async fn the_binary_serves_until_it_is_told_to_stop() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_vpsie-mock"))
        .args([
            "--listen",
            "127.0.0.1:0",
            "--provision-delay",
            "0s",
            "--worker-limit",
            "1",
            "--client-secret",
            "other",
            "--token",
            "static-token",
        ])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    let url = line.trim().strip_prefix("vpsie-mock listens on ").unwrap().to_owned();
    let client = Client::new(Config::new(&url, Credentials::login("mock-client", "other"))).unwrap();
    client.create_vm(&web("web-1")).await.unwrap();
    assert_eq!(
        client.create_vm(&web("web-2")).await.unwrap_err().kind(),
        &ErrorKind::Capacity { limit: Some(1) }
    );
    client.set_credentials(Credentials::token("static-token"));
    assert_eq!(client.vms().await.unwrap().items.len(), 1);
    let stopped = Command::new("kill")
        .args(["-TERM", &child.id().to_string()])
        .status()
        .unwrap();
    assert!(stopped.success());
    assert!(child.wait().unwrap().success());
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "");
}

#[test]
fn the_binary_refuses_bad_durations() {
    let output = Command::new(env!("CARGO_BIN_EXE_vpsie-mock"))
        .args(["--provision-delay", "soon"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--provision-delay"));
}
