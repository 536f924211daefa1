//! Login, renewal, refused tokens, and new credentials.

use std::time::Duration;

use futures::future::join_all;
use tokio::time::{Instant, advance};
use vpsie_client::{
    AuthHeader, Credentials, ErrorKind, LoginEncoding,
    mock::{Fault, LoginEnvelope, Route, Times},
};

use crate::{client, full_text, mock};

#[tokio::test(start_paused = true)]
async fn every_dialect_of_login_works() {
    for envelope in [LoginEnvelope::AccessToken, LoginEnvelope::TokenAccess] {
        for encoding in [LoginEncoding::Form, LoginEncoding::Json] {
            for header in [AuthHeader::Bearer, AuthHeader::VpsieAuth, AuthHeader::Both] {
                let mock = mock(|config| {
                    config.login_envelope = envelope;
                    // Characters that break a form that is put together by hand.
                    "a&b=c+d e%41ü".clone_into(&mut config.client_secret);
                });
                let client = client(&mock, |config| {
                    config.dialect.login_encoding = encoding;
                    config.dialect.auth_header = header;
                });
                client.datacenters().await.unwrap();
                assert_eq!(mock.token_counts().logins, 1);
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn fifty_callers_share_one_login() {
    let mock = mock(|config| config.latency = Duration::from_millis(50));
    let client = client(&mock, |_| {});
    for result in join_all((0..50).map(|_| client.vms())).await {
        result.unwrap();
    }
    assert_eq!(mock.token_counts().logins, 1);
    assert_eq!(mock.requests(Route::Login), 1);
}

#[tokio::test(start_paused = true)]
async fn fifty_callers_share_one_failed_login() {
    let mock = mock(|config| config.latency = Duration::from_millis(50));
    let client = client(&mock, |config| {
        config.credentials = Credentials::login("mock-client", "wrong-secret");
    });
    for result in join_all((0..50).map(|_| client.vms())).await {
        let error = result.unwrap_err();
        assert_eq!(error.kind(), &ErrorKind::Auth);
        assert!(error.is_auth());
    }
    assert_eq!(mock.requests(Route::Login), 1);
}

#[tokio::test(start_paused = true)]
async fn fifty_callers_share_one_login_that_meets_a_server_error() {
    let mock = mock(|config| config.latency = Duration::from_millis(50));
    let client = client(&mock, |config| config.max_retries = 0);
    mock.inject(Route::Login, Fault::error(500, "down"), Times::Next(1));
    for result in join_all((0..50).map(|_| client.vms())).await {
        assert_eq!(result.unwrap_err().kind(), &ErrorKind::Transient);
    }
    assert_eq!(mock.requests(Route::Login), 1);
}

#[tokio::test(start_paused = true)]
async fn wrong_credentials_are_not_tried_again_at_once_but_new_ones_are() {
    let mock = mock(|_| {});
    let client = client(&mock, |config| {
        config.credentials = Credentials::login("mock-client", "wrong-secret");
    });
    client.vms().await.unwrap_err();
    client.vms().await.unwrap_err();
    assert_eq!(mock.requests(Route::Login), 1);
    advance(Duration::from_secs(11)).await;
    client.vms().await.unwrap_err();
    assert_eq!(mock.requests(Route::Login), 2);
    client.set_credentials(Credentials::login("mock-client", "mock-secret"));
    client.vms().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_token_is_renewed_ahead_of_its_expiry_by_its_refresh_token() {
    let mock = mock(|_| {});
    let client = client(&mock, |_| {});
    client.vms().await.unwrap();
    advance(Duration::from_secs(54 * 60)).await;
    client.vms().await.unwrap();
    assert_eq!((mock.token_counts().logins, mock.token_counts().refreshes), (1, 0));
    advance(Duration::from_secs(2 * 60)).await;
    client.vms().await.unwrap();
    assert_eq!((mock.token_counts().logins, mock.token_counts().refreshes), (1, 1));
    assert!(mock.log().iter().all(|request| request.status == 200));
}

#[tokio::test(start_paused = true)]
async fn a_refused_refresh_token_leads_to_a_login() {
    let mock = mock(|_| {});
    let client = client(&mock, |_| {});
    client.vms().await.unwrap();
    mock.revoke_refresh_tokens();
    advance(Duration::from_secs(2 * 3600)).await;
    client.vms().await.unwrap();
    assert_eq!((mock.token_counts().logins, mock.token_counts().refused), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn the_old_token_is_used_while_valid_when_an_early_renewal_fails() {
    let mock = mock(|_| {});
    let client = client(&mock, |_| {});
    client.vms().await.unwrap();
    mock.inject(Route::Login, Fault::error(500, "down"), Times::Always);
    advance(Duration::from_secs(56 * 60)).await;
    let before = mock.requests(Route::Login);
    for _ in 0..10 {
        client.vms().await.unwrap();
    }
    // A refused renewal is followed by one login, and then there is a pause.
    assert_eq!(mock.requests(Route::Login) - before, 2);
    // Once it is over there is nothing to fall back on.
    advance(Duration::from_secs(5 * 60)).await;
    let error = client.vms().await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Transient), "{error}");
    mock.clear_faults();
    client.vms().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn callers_do_not_wait_for_an_early_renewal() {
    let mock = mock(|_| {});
    let client = client(&mock, |_| {});
    client.vms().await.unwrap();
    mock.inject(Route::Login, Fault::Delay(Duration::from_secs(20)), Times::Next(1));
    advance(Duration::from_secs(56 * 60)).await;
    let start = Instant::now();
    let times = join_all((0..10).map(|_| async {
        client.vms().await.unwrap();
        start.elapsed().as_secs()
    }))
    .await;
    assert_eq!(times.iter().filter(|seconds| **seconds == 0).count(), 9, "{times:?}");
    assert_eq!(mock.token_counts().refreshes, 1);
}

#[tokio::test(start_paused = true)]
async fn a_401_leads_to_one_renewal_and_one_repeat() {
    let mock = mock(|_| {});
    let client = client(&mock, |_| {});
    client.vms().await.unwrap();
    mock.expire_tokens();
    client.vms().await.unwrap();
    assert_eq!((mock.token_counts().logins, mock.token_counts().refreshes), (1, 1));
    mock.inject(Route::ListVms, Fault::error(401, "Unauthorized"), Times::Always);
    let before = (mock.requests(Route::ListVms), mock.requests(Route::Login));
    let error = client.vms().await.unwrap_err();
    assert_eq!((error.kind(), error.status()), (&ErrorKind::Auth, Some(401)));
    assert_eq!(
        (mock.requests(Route::ListVms), mock.requests(Route::Login)),
        (before.0 + 2, before.1 + 1)
    );
}

#[tokio::test(start_paused = true)]
async fn many_401s_share_one_renewal() {
    let mock = mock(|config| config.latency = Duration::from_millis(50));
    let client = client(&mock, |_| {});
    client.vms().await.unwrap();
    mock.expire_tokens();
    for result in join_all((0..50).map(|_| client.datacenters())).await {
        result.unwrap();
    }
    assert_eq!((mock.token_counts().logins, mock.token_counts().refreshes), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_token_refused_with_status_200_is_renewed_too() {
    let mock = mock(|_| {});
    let client = client(&mock, |_| {});
    mock.inject(
        Route::ListVms,
        Fault::error_with_status_200("Invalid token"),
        Times::Next(1),
    );
    client.vms().await.unwrap();
    assert_eq!(mock.requests(Route::ListVms), 2);
}

#[tokio::test(start_paused = true)]
async fn a_static_token_is_sent_as_it_is_and_never_renewed() {
    let mock = mock(|config| config.static_tokens = vec!["panel-token".to_owned()]);
    let good = client(&mock, |config| {
        config.credentials = Credentials::token("panel-token");
        config.dialect.auth_header = AuthHeader::VpsieAuth;
    });
    good.vms().await.unwrap();
    let bad = client(&mock, |config| config.credentials = Credentials::token("other-token"));
    assert_eq!(bad.vms().await.unwrap_err().kind(), &ErrorKind::Auth);
    assert_eq!(mock.requests(Route::Login), 0);
    assert_eq!(
        mock.requests(Route::ListVms),
        2,
        "a refused static token is not tried twice"
    );
}

#[tokio::test(start_paused = true)]
async fn new_credentials_take_effect_at_once() {
    let mock = mock(|config| config.static_tokens = vec!["panel-token".to_owned()]);
    let client = client(&mock, |_| {});
    client.vms().await.unwrap();
    mock.expire_tokens();
    mock.configure(|config| "rotated-secret".clone_into(&mut config.client_secret));
    mock.revoke_refresh_tokens();
    assert_eq!(client.vms().await.unwrap_err().kind(), &ErrorKind::Auth);
    client.set_credentials(Credentials::login("mock-client", "rotated-secret"));
    client.vms().await.unwrap();
    client.set_credentials(Credentials::token("panel-token"));
    client.vms().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn credentials_that_change_during_a_login_win() {
    let mock = mock(|_| {});
    let client = client(&mock, |config| {
        config.credentials = Credentials::login("mock-client", "old-secret");
    });
    mock.inject(Route::Login, Fault::Delay(Duration::from_secs(5)), Times::Next(1));
    let calling = tokio::spawn({
        let client = client.clone();
        async move { client.vms().await }
    });
    while mock.requests(Route::Login) == 0 {
        tokio::task::yield_now().await;
    }
    client.set_credentials(Credentials::login("mock-client", "mock-secret"));
    calling.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_login_that_gives_no_token_is_malformed() {
    let mock = mock(|_| {});
    mock.inject(
        Route::Login,
        Fault::Body(r#"{"error": false, "ok": true}"#.to_owned()),
        Times::Next(1),
    );
    let error = client(&mock, |_| {}).vms().await.unwrap_err();
    assert_eq!(error.kind(), &ErrorKind::Malformed);
}

#[tokio::test(start_paused = true)]
async fn secrets_that_the_api_echoes_are_cut_out() {
    let mock = mock(|_| {});
    mock.inject(
        Route::Login,
        Fault::error(401, "clientSecret mock-secret of mock-client is wrong"),
        Times::Next(1),
    );
    let client = client(&mock, |_| {});
    let error = client.vms().await.unwrap_err();
    let text = full_text(&error);
    assert!(text.contains("[REDACTED]") && !text.contains("mock-secret"), "{text}");
    client.set_credentials(Credentials::login("mock-client", "mock-secret"));
    mock.inject(
        Route::ListVms,
        Fault::error(400, "bad token mock-access-1"),
        Times::Next(1),
    );
    let text = full_text(&client.vms().await.unwrap_err());
    assert!(text.contains("[REDACTED]") && !text.contains("mock-access-1"), "{text}");
    assert!(!format!("{client:?}").contains("mock-access-1"));
}
