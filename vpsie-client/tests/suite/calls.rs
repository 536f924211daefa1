//! Repeats, deadlines, rate limits, the circuit breaker, and odd answers.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::future::join_all;
use tokio::time::{Instant, advance};
use vpsie_client::{
    BreakerConfig, BreakerState, Client, ErrorKind, Event, RateLimit,
    mock::{Fault, Route, Times},
};

use crate::{client, id, mock, web};

#[tokio::test(start_paused = true)]
async fn reads_are_repeated_and_bounded_by_count() {
    let mock = mock(|_| {});
    let client = client(&mock, |_| {});
    mock.inject(Route::ListVms, Fault::error(503, "down"), Times::Next(2));
    client.vms().await.unwrap();
    assert_eq!(mock.requests(Route::ListVms), 3);
    mock.inject(Route::ListVms, Fault::error(500, "Internal error"), Times::Always);
    let error = client.vms().await.unwrap_err();
    assert_eq!((error.kind(), error.status()), (&ErrorKind::Transient, Some(500)));
    assert!(error.is_retryable());
    assert_eq!(mock.requests(Route::ListVms), 3 + 4);
}

#[tokio::test(start_paused = true)]
async fn lost_replies_of_reads_and_deletes_are_repeated() {
    let mock = mock(|_| {});
    let client = client(&mock, |_| {});
    client.create_vm(&web("a")).await.unwrap();
    mock.inject(Route::GetVm, Fault::LoseReply, Times::Next(1));
    client.vm(&id("1000")).await.unwrap();
    mock.inject(Route::DeleteVm, Fault::LoseReply, Times::Next(1));
    client.delete_vm(&id("1000")).await.unwrap();
    assert_eq!((mock.requests(Route::GetVm), mock.requests(Route::DeleteVm)), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn retry_after_is_honoured_within_the_deadline() {
    let mock = mock(|_| {});
    let client = client(&mock, |_| {});
    mock.inject(Route::ListVms, Fault::rate_limited(20), Times::Next(1));
    let start = Instant::now();
    client.vms().await.unwrap();
    assert_eq!(start.elapsed().as_secs(), 20);
    mock.inject(Route::ListVms, Fault::rate_limited(120), Times::Next(1));
    let start = Instant::now();
    let error = client.vms().await.unwrap_err();
    assert_eq!(
        error.kind(),
        &ErrorKind::RateLimited {
            retry_after: Some(Duration::from_secs(120))
        }
    );
    assert_eq!(start.elapsed(), Duration::ZERO, "a wait past the deadline is not begun");
}

#[tokio::test(start_paused = true)]
async fn the_rate_limit_of_the_mock_answers_429_and_says_when_to_come_back() {
    let mock = mock(|config| config.rate_limit = Some(5));
    let client = client(&mock, |config| config.call_timeout = Duration::from_secs(90));
    let start = Instant::now();
    for _ in 0..8 {
        client.vms().await.unwrap();
    }
    assert_eq!(start.elapsed().as_secs(), 60);
    assert_eq!(mock.log().iter().filter(|request| request.status == 429).count(), 1);
}

#[tokio::test(start_paused = true)]
async fn every_attempt_has_a_timeout_and_every_call_a_deadline() {
    let mock = mock(|_| {});
    let client = client(&mock, |config| {
        config.attempt_timeout = Duration::from_secs(10);
        config.call_timeout = Duration::from_secs(25);
    });
    client.vms().await.unwrap();
    mock.inject(Route::ListVms, Fault::Delay(Duration::from_secs(3600)), Times::Always);
    let start = Instant::now();
    let error = client.vms().await.unwrap_err();
    assert_eq!(error.kind(), &ErrorKind::Timeout { outcome_unknown: false });
    assert!(error.is_retryable() && !error.is_outcome_unknown());
    assert_eq!(start.elapsed().as_secs(), 25);
    assert_eq!(mock.requests(Route::ListVms), 1 + 3);
}

#[tokio::test(start_paused = true)]
async fn a_delete_without_answer_has_an_unknown_outcome() {
    let mock = mock(|_| {});
    let client = client(&mock, |_| {});
    client.create_vm(&web("a")).await.unwrap();
    mock.inject(Route::DeleteVm, Fault::Delay(Duration::from_secs(3600)), Times::Always);
    let error = client.delete_vm(&id("1000")).await.unwrap_err();
    assert!(error.is_outcome_unknown());
    assert_eq!(mock.vms().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_clients_own_limit_holds_repeats_too_and_keeps_a_reserve_for_deletes() {
    let mock = mock(|config| config.provision_delay = Duration::ZERO);
    let client = client(&mock, |config| {
        config.rate_limit = RateLimit {
            requests_per_minute: 60,
            burst: 4,
            reserved: 2,
        };
        config.first_backoff = Duration::ZERO;
    });
    let vm = client.create_vm(&web("a")).await.unwrap().unwrap();
    mock.inject(Route::ListVms, Fault::error(500, "down"), Times::Next(3));
    let start = Instant::now();
    client.vms().await.unwrap();
    // Login and create used two; the four attempts of the list have to wait for one token each but the first.
    assert!(start.elapsed() >= Duration::from_secs(3), "{:?}", start.elapsed());
    let start = Instant::now();
    let (list, delete) = tokio::join!(
        async {
            client.vms().await.unwrap();
            start.elapsed()
        },
        async {
            client.delete_vm(&vm.id).await.unwrap();
            start.elapsed()
        }
    );
    assert!(
        delete.is_zero() && list >= Duration::from_secs(1),
        "list {list:?}, delete {delete:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn the_breaker_opens_on_server_errors_and_timeouts_and_closes_after_its_probes() {
    let mock = mock(|_| {});
    let events = Arc::new(Mutex::new(Vec::new()));
    let mut config = mock.client_config("http://localhost");
    config.max_retries = 0;
    config.breaker = BreakerConfig {
        window: 6,
        failures: 3,
        open_for: Duration::from_secs(30),
        probes: 2,
    };
    let client = Client::builder(config)
        .transport(mock.router())
        .on_event({
            let events = Arc::clone(&events);
            move |event| events.lock().unwrap().push(event.clone())
        })
        .build()
        .unwrap();
    client.vms().await.unwrap();
    mock.inject(Route::ListVms, Fault::error(500, "down"), Times::Next(2));
    mock.inject(Route::ListVms, Fault::Delay(Duration::from_secs(3600)), Times::Next(1));
    for _ in 0..3 {
        client.vms().await.unwrap_err();
    }
    assert_eq!(client.breaker_state(), BreakerState::Open);
    let before = mock.requests(Route::ListVms);
    let error = client.vms().await.unwrap_err();
    assert_eq!(error.kind(), &ErrorKind::Transient);
    assert_eq!(mock.requests(Route::ListVms), before, "an open breaker sends nothing");

    advance(Duration::from_secs(30)).await;
    mock.configure(|config| config.latency = Duration::from_secs(1));
    let results = join_all((0..10).map(|_| client.vms())).await;
    assert_eq!(
        results.iter().filter(|result| result.is_ok()).count(),
        2,
        "exactly the probes go through"
    );
    assert_eq!(mock.requests(Route::ListVms), before + 2);
    assert_eq!(client.breaker_state(), BreakerState::Closed);
    client.vms().await.unwrap();

    let changes: Vec<_> = events
        .lock()
        .unwrap()
        .iter()
        .filter_map(|event| match event {
            Event::Breaker { from, to } => Some((from.label(), to.label())),
            _ => None,
        })
        .collect();
    assert_eq!(
        changes,
        [("closed", "open"), ("open", "half-open"), ("half-open", "closed")]
    );
    let events = events.lock().unwrap();
    let failed = events
        .iter()
        .filter(|event| {
            matches!(
                event,
                Event::Failed {
                    endpoint: "list_vms",
                    ..
                }
            )
        })
        .count();
    let blocked = events
        .iter()
        .filter(|event| matches!(event, Event::Blocked { .. }))
        .count();
    let attempts = events
        .iter()
        .filter(|event| matches!(event, Event::Attempt(attempt) if attempt.endpoint == "list_vms"))
        .count();
    assert_eq!((failed, blocked, attempts), (3, 9, 7));
}

#[tokio::test(start_paused = true)]
async fn refusals_and_callers_that_give_up_do_not_open_the_breaker() {
    let mock = mock(|config| config.worker_limit = Some(0));
    let client = client(&mock, |config| {
        config.max_retries = 0;
        config.breaker = BreakerConfig {
            window: 1,
            failures: 1,
            open_for: Duration::from_secs(30),
            probes: 1,
        };
    });
    client.create_vm(&web("a")).await.unwrap_err();
    client.vm(&id("7")).await.unwrap_err();
    mock.inject(Route::ListVms, Fault::error(429, "slow down"), Times::Next(1));
    client.vms().await.unwrap_err();
    mock.inject(Route::ListVms, Fault::Delay(Duration::from_secs(20)), Times::Next(1));
    tokio::time::timeout(Duration::from_secs(1), client.vms())
        .await
        .unwrap_err();
    assert_eq!(client.breaker_state(), BreakerState::Closed);
}

#[tokio::test(start_paused = true)]
async fn redirects_are_not_followed() {
    let mock = mock(|_| {});
    let client = client(&mock, |_| {});
    mock.inject(
        Route::ListVms,
        Fault::Status {
            status: 302,
            body: String::new(),
            retry_after: None,
        },
        Times::Next(1),
    );
    let error = client.vms().await.unwrap_err();
    assert_eq!((error.kind(), error.status()), (&ErrorKind::Malformed, Some(302)));
    assert_eq!(mock.requests(Route::ListVms), 1);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_too_long_is_not_read() {
    let mock = mock(|_| {});
    let client = client(&mock, |config| config.max_reply_bytes = 10_000);
    mock.inject(
        Route::ListVms,
        Fault::Body(format!("[{}]", " ".repeat(10_000))),
        Times::Next(1),
    );
    let error = client.vms().await.unwrap_err();
    assert_eq!(error.kind(), &ErrorKind::Malformed);
    assert!(error.message().contains("10000 bytes"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn requests_under_way_are_bounded() {
    let mock = mock(|config| config.latency = Duration::from_secs(1));
    let client = client(&mock, |config| config.max_in_flight = 5);
    client.datacenters().await.unwrap();
    let start = Instant::now();
    for result in join_all((0..20).map(|_| client.vms())).await {
        result.unwrap();
    }
    assert_eq!(start.elapsed().as_secs(), 4);
}
