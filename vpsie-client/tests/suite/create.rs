//! The call that must not be repeated blindly.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::body::Body;
use http::{Request, Response};
use secrecy::SecretString;
use tower::{Service, ServiceExt as _, service_fn};
use vpsie_client::{
    BoxError, Client, ErrorKind, RequestBody,
    mock::{CreateReply, Fault, Route, Times},
};

use crate::{client, full_text, mock, web};

#[tokio::test(start_paused = true)]
async fn the_order_arrives_whole() {
    let mock = mock(|_| {});
    let mut order = web("web-1");
    order.project_id = Some("p".to_owned());
    order.os_image_id = Some("debian-13".to_owned());
    order.ssh_key_ids = vec!["k1".to_owned()];
    order.tags = vec!["blue".to_owned()];
    order.notes = Some("a note".to_owned());
    order.user_data = Some(SecretString::from("#cloud-config\njoin: abcdef"));
    let vm = client(&mock, |_| {}).create_vm(&order).await.unwrap().unwrap();
    assert_eq!(
        (vm.id.as_str(), vm.hostname.as_str(), vm.tags.as_slice()),
        ("1000", "web-1", &["blue".to_owned()][..])
    );
    let stored = &mock.vms()[0];
    assert_eq!(stored.user_data.as_deref(), Some("#cloud-config\njoin: abcdef"));
    assert_eq!(
        (
            stored.project_id.as_deref(),
            stored.os_image_id.as_deref(),
            stored.notes.as_deref()
        ),
        (Some("p"), Some("debian-13"), Some("a note"))
    );
    assert_eq!(stored.ssh_key_ids, ["k1"]);
    assert!(!format!("{order:?} {stored:?}").contains("abcdef"));
}

#[tokio::test(start_paused = true)]
async fn a_lost_reply_has_an_unknown_outcome_and_is_not_repeated() {
    for fault in [
        Fault::LoseReply,
        Fault::Delay(Duration::from_secs(3600)),
        Fault::Body("not json".to_owned()),
        Fault::Body("x".repeat(11 << 20)),
    ] {
        let mock = mock(|_| {});
        let client = client(&mock, |_| {});
        mock.inject(Route::CreateVm, fault, Times::Next(1));
        let error = client.create_vm(&web("web-1")).await.unwrap_err();
        assert_eq!(error.kind(), &ErrorKind::Timeout { outcome_unknown: true }, "{error}");
        assert!(error.is_outcome_unknown() && !error.is_retryable());
        assert_eq!((mock.requests(Route::CreateVm), mock.vms().len()), (1, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_error_has_an_unknown_outcome_and_is_not_repeated() {
    let mock = mock(|_| {});
    let client = client(&mock, |_| {});
    for status in [500, 502, 503, 504] {
        mock.inject(Route::CreateVm, Fault::error(status, "Internal error"), Times::Next(1));
        let error = client.create_vm(&web("web-1")).await.unwrap_err();
        assert!(error.is_outcome_unknown(), "{error}");
    }
    assert_eq!(mock.requests(Route::CreateVm), 4);
}

#[tokio::test(start_paused = true)]
async fn a_full_account_arrives_as_status_500_and_is_capacity() {
    let mock = mock(|config| config.worker_limit = Some(5));
    let client = client(&mock, |_| {});
    for n in 0..5 {
        client.create_vm(&web(&format!("web-{n}"))).await.unwrap();
    }
    let error = client.create_vm(&web("web-5")).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.status()),
        (&ErrorKind::Capacity { limit: Some(5) }, Some(500))
    );
    assert!(error.is_capacity());
    assert_eq!(
        error.to_string(),
        "create VM web-5: Worker nodes count exceeds the allowed limit 5"
    );
    assert_eq!(mock.requests(Route::CreateVm), 6, "it is not repeated");
}

#[tokio::test(start_paused = true)]
async fn a_sold_out_offering_is_capacity_and_other_refusals_are_not() {
    let mock = mock(|config| {
        config.offerings[0].available = false;
        config.unique_hostnames = true;
    });
    let client = client(&mock, |_| {});
    let mut order = web("web-1");
    assert_eq!(
        client.create_vm(&order).await.unwrap_err().kind(),
        &ErrorKind::Capacity { limit: None }
    );
    "small-2".clone_into(&mut order.offering_id);
    client.create_vm(&order).await.unwrap();
    "WEB-1".clone_into(&mut order.hostname);
    assert_eq!(client.create_vm(&order).await.unwrap_err().kind(), &ErrorKind::Conflict);
    "other".clone_into(&mut order.hostname);
    "dc-3".clone_into(&mut order.datacenter_id);
    assert_eq!(
        client.create_vm(&order).await.unwrap_err().kind(),
        &ErrorKind::InvalidRequest
    );
}

#[tokio::test(start_paused = true)]
async fn a_429_was_not_carried_out_and_is_repeated() {
    let mock = mock(|_| {});
    let client = client(&mock, |_| {});
    mock.inject(Route::CreateVm, Fault::rate_limited(5), Times::Next(2));
    client.create_vm(&web("web-1")).await.unwrap();
    assert_eq!((mock.requests(Route::CreateVm), mock.vms().len()), (3, 1));
}

#[tokio::test(start_paused = true)]
async fn a_401_was_not_carried_out_and_is_repeated() {
    let mock = mock(|_| {});
    let client = client(&mock, |_| {});
    client.vms().await.unwrap();
    mock.expire_tokens();
    client.create_vm(&web("web-1")).await.unwrap();
    assert_eq!(mock.vms().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_login_that_fails_leaves_a_create_undone_and_repeatable() {
    let mock = mock(|_| {});
    let client = client(&mock, |_| {});
    mock.inject(Route::Login, Fault::LoseReply, Times::Next(2));
    client.create_vm(&web("web-1")).await.unwrap();
    assert_eq!(mock.vms().len(), 1);
    mock.inject(Route::Login, Fault::error(500, "down"), Times::Always);
    mock.expire_tokens();
    let error = client.create_vm(&web("web-2")).await.unwrap_err();
    assert_eq!(error.kind(), &ErrorKind::Transient, "the create was never sent");
    assert!(error.is_retryable());
    assert_eq!(mock.vms().len(), 1);
}

/// The router of the mock behind a wire that fails a number of times for a path before it works.
fn flaky<S>(
    service: S,
    path: &'static str,
    failures: usize,
    kind: std::io::ErrorKind,
) -> impl Service<Request<RequestBody>, Response = Response<Body>, Error = BoxError, Future: Send> + Clone + Send + Sync
where
    S: Service<Request<RequestBody>, Response = Response<Body>, Error = std::convert::Infallible, Future: Send>
        + Clone
        + Send
        + Sync
        + 'static,
{
    let left = Arc::new(AtomicUsize::new(failures));
    service_fn(move |request: Request<RequestBody>| {
        let (left, service) = (Arc::clone(&left), service.clone());
        async move {
            let fails = request.uri().path() == path
                && left
                    .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1))
                    .is_ok();
            if fails {
                return Err(std::io::Error::from(kind).into());
            }
            Ok(service.oneshot(request).await?)
        }
    })
}

#[tokio::test(start_paused = true)]
async fn a_refused_connection_was_not_sent_and_is_repeated() {
    let mock = mock(|_| {});
    let wire = flaky(mock.router(), "/v2/vms", 2, std::io::ErrorKind::ConnectionRefused);
    let client = Client::builder(mock.client_config("http://localhost"))
        .transport(wire)
        .build()
        .unwrap();
    client.create_vm(&web("web-1")).await.unwrap();
    assert_eq!(mock.vms().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_broken_connection_may_have_sent_it_and_is_not_repeated() {
    let mock = mock(|_| {});
    let wire = flaky(mock.router(), "/v2/vms", 1, std::io::ErrorKind::ConnectionReset);
    let client = Client::builder(mock.client_config("http://localhost"))
        .transport(wire)
        .build()
        .unwrap();
    assert!(client.create_vm(&web("web-1")).await.unwrap_err().is_outcome_unknown());
    assert_eq!(mock.requests(Route::CreateVm), 0);
}

#[tokio::test(start_paused = true)]
async fn an_order_may_be_taken_without_saying_which_vm_it_is() {
    for reply in [CreateReply::True, CreateReply::Empty] {
        let mock = mock(|config| config.create_reply = reply);
        assert_eq!(client(&mock, |_| {}).create_vm(&web("web-1")).await.unwrap(), None);
        assert_eq!(mock.vms().len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn user_data_that_the_api_echoes_is_cut_out() {
    let mock = mock(|_| {});
    let mut order = web("web-1");
    order.user_data = Some(SecretString::from("#cloud-config\n  join-token: abcdef.0123456789\n"));
    mock.inject(
        Route::CreateVm,
        Fault::error(400, "bad user_data: join-token: abcdef.0123456789 is not allowed"),
        Times::Next(1),
    );
    let error = client(&mock, |_| {}).create_vm(&order).await.unwrap_err();
    assert_eq!(error.kind(), &ErrorKind::InvalidRequest);
    assert!(!full_text(&error).contains("abcdef.0123456789"), "{error}");
}
