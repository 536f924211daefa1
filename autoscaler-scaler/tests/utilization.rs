//! The sampler against an API that answers whatever a test wants.

#![cfg(feature = "embedded-cluster")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a helper of a test fails by panicking"
)]

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use autoscaler_core::{
    manifest::node::Node,
    quantity::{Bytes, MilliCpu},
    usage::{MeasuredUsage, WindowShape},
};
use autoscaler_scaler::{
    index::Index,
    utilization::{Reading, Sampler, SamplerReport, SamplerSettings},
};
use axum::{Router, body::Body, http::StatusCode, response::Response, routing::get};
use jiff::Timestamp;
use kube::Client;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

const PATH: &str = "/apis/metrics.k8s.io/v1beta1/nodes";

/// 2026-01-01T12:00:00Z
const NOON: i64 = 1_767_268_800;

/// What the API answers.
#[derive(Clone)]
enum Answer {
    Json(StatusCode, Value),
    /// So many bytes.
    Long(usize),
    Never,
}

/// A sampler with everything around it.
struct World {
    index: Index,
    answer: Arc<Mutex<Answer>>,
    requests: Arc<AtomicUsize>,
    seconds: Arc<AtomicI64>,
    sampler: Sampler,
}

impl World {
    fn new() -> Self {
        let answer = Arc::new(Mutex::new(Answer::Json(StatusCode::NOT_FOUND, json!({}))));
        let requests = Arc::new(AtomicUsize::new(0));
        let seconds = Arc::new(AtomicI64::new(NOON));
        let router = Router::new().route(PATH, {
            let (answer, requests) = (Arc::clone(&answer), Arc::clone(&requests));
            get(move || {
                requests.fetch_add(1, Ordering::Relaxed);
                let answer = answer.lock().unwrap().clone();
                async move {
                    match answer {
                        Answer::Json(status, body) => Response::builder()
                            .status(status)
                            .body(Body::from(body.to_string()))
                            .unwrap(),
                        Answer::Long(bytes) => Response::new(Body::from(vec![b' '; bytes])),
                        Answer::Never => std::future::pending().await,
                    }
                }
            })
        });
        let index = Index::default();
        let clock = {
            let seconds = Arc::clone(&seconds);
            Arc::new(move || Timestamp::from_second(seconds.load(Ordering::Relaxed)).unwrap())
        };
        let settings = SamplerSettings {
            shape: WindowShape::DEFAULT,
            pause: Duration::from_secs(60),
            clock,
        };
        let sampler = Sampler::new(Client::new(router, "default"), index.clone(), settings);
        let world = Self {
            index,
            answer,
            requests,
            seconds,
            sampler,
        };
        world.node("a", "uid-a");
        world.node("b", "uid-b");
        world
    }

    fn node(&self, name: &str, uid: &str) {
        let node = json!({
            "metadata": { "name": name, "uid": uid },
            "status": { "allocatable": { "cpu": "4", "memory": "8Gi" } },
        });
        self.index.put_node(serde_json::from_value::<Node>(node).unwrap());
    }

    fn answers(&self, answer: Answer) {
        *self.answer.lock().unwrap() = answer;
    }

    /// From now on these objects are listed.
    fn lists(&self, items: &[Value]) {
        let list = json!({ "kind": "NodeMetricsList", "apiVersion": "metrics.k8s.io/v1beta1", "items": items });
        self.answers(Answer::Json(StatusCode::OK, list));
    }

    fn now(&self) -> i64 {
        self.seconds.load(Ordering::Relaxed)
    }

    fn pass(&self, seconds: i64) {
        self.seconds.fetch_add(seconds, Ordering::Relaxed);
    }

    /// A minute passes, and both nodes are measured.
    async fn minute(&mut self, milli: i64) -> SamplerReport {
        self.pass(60);
        let at = self.now() - 20;
        self.lists(&[metrics("a", at, milli), metrics("b", at, 2 * milli)]);
        self.sampler.read().await
    }

    fn measured(&self) -> Option<Arc<MeasuredUsage>> {
        self.index.snapshot().measured
    }

    /// Mean CPU and whether enough is known.
    fn mean(&self, node: &str) -> (MilliCpu, bool) {
        let usage = self.measured().unwrap().of(node);
        (usage.mean.cpu, usage.coverage.is_enough())
    }
}

fn metrics(node: &str, at: i64, milli: i64) -> Value {
    json!({
        "metadata": { "name": node }, "timestamp": Timestamp::from_second(at).unwrap().to_string(), "window": "20s",
        "usage": { "cpu": format!("{milli}m"), "memory": "1Gi" },
    })
}

fn report(reading: Reading, measured: bool, changed: bool) -> SamplerReport {
    SamplerReport {
        reading,
        measured,
        changed,
    }
}

const fn completed(nodes: usize, left_out: usize) -> Reading {
    Reading::Completed { nodes, left_out }
}

#[tokio::test]
async fn samples_become_means_in_the_snapshot() {
    let mut world = World::new();
    assert_eq!(world.minute(100).await, report(completed(2, 0), true, true));
    for minute in 1..8 {
        assert!(!world.mean("a").1, "{minute} samples");
        assert_eq!(
            world.minute(100 + 10 * minute).await,
            report(completed(2, 0), true, false)
        );
    }
    assert_eq!(
        (world.mean("a"), world.mean("b")),
        ((MilliCpu(135), true), (MilliCpu(270), true))
    );
    let usage = world.measured().unwrap().of("a").mean;
    assert_eq!(usage.memory, Bytes(Bytes::GIB));
}

#[tokio::test]
async fn without_the_api_requests_alone_count_and_that_is_said_once() {
    let mut world = World::new();
    assert_eq!(world.sampler.read().await, report(Reading::Missing, false, true));
    assert_eq!(world.sampler.read().await, report(Reading::Missing, false, false));
    assert_eq!(world.measured(), None);
    for _ in 0..10 {
        world.minute(100).await;
    }
    assert!(world.mean("a").1);
    // It is uninstalled. What comes later must fill a window of its own.
    world.answers(Answer::Json(StatusCode::NOT_FOUND, json!({ "kind": "Status" })));
    assert_eq!(world.sampler.read().await, report(Reading::Missing, false, true));
    assert_eq!(world.measured(), None);
    assert_eq!(world.minute(100).await, report(completed(2, 0), true, true));
    assert!(!world.mean("a").1);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_lost_changes_nothing_and_an_outage_leaves_requests_alone() {
    let unavailable = json!({ "kind": "Status", "message": "the server is currently unable to handle the request" });
    for (answer, text) in [
        (
            Answer::Json(StatusCode::SERVICE_UNAVAILABLE, unavailable),
            "503 Service Unavailable: the server is currently unable",
        ),
        (Answer::Json(StatusCode::FORBIDDEN, json!([])), "403 Forbidden"),
        (
            Answer::Json(StatusCode::OK, json!({ "items": 7 })),
            "no list of NodeMetrics",
        ),
        (Answer::Json(StatusCode::OK, json!("OK")), "no list of NodeMetrics"),
        (Answer::Long((32 << 20) + 1), "length limit exceeded"),
        (Answer::Never, "no answer within 15 s"),
    ] {
        let mut world = World::new();
        for _ in 0..10 {
            world.minute(100).await;
        }
        world.answers(answer.clone());
        let mut said = Vec::new();
        for _ in 0..5 {
            world.pass(60);
            let SamplerReport {
                reading,
                measured,
                changed,
            } = world.sampler.read().await;
            let Reading::Failed { message } = reading else {
                panic!("{text}: {reading:?}");
            };
            assert!(message.contains(text), "{message} lacks {text}");
            assert_eq!(world.measured().is_some(), measured);
            said.push((measured, changed));
        }
        let wanted = [
            (true, false),
            (true, false),
            (true, false),
            (false, true),
            (false, false),
        ];
        assert_eq!(said, wanted, "{text}");
        // It comes back, and what is known from before still is in the window: seven minutes of ten are missing.
        assert_eq!(world.minute(100).await, report(completed(2, 0), true, true));
        assert!(!world.mean("a").1);
    }
}

#[tokio::test]
async fn what_cannot_be_used_is_left_out_and_the_rest_is_taken() {
    let mut world = World::new();
    let at = world.now();
    let with = |patch: fn(&mut Value)| {
        let mut metrics = metrics("a", at, 100);
        patch(&mut metrics);
        metrics
    };
    let unusable = vec![
        json!(7),
        json!(null),
        with(|metrics| metrics["timestamp"] = json!("yesterday")),
        with(|metrics| metrics["timestamp"] = json!(null)),
        with(|metrics| metrics["usage"] = json!({ "cpu": "1" })),
        with(|metrics| metrics["usage"]["cpu"] = json!("much")),
        with(|metrics| metrics["usage"]["memory"] = json!("-1Gi")),
        with(|metrics| metrics["usage"] = json!([])),
        metrics("a", at + 61, 100),
    ];
    let mut items = unusable.clone();
    items.push(metrics("unknown", at, 100));
    items.push(metrics("b", at, 300));
    world.lists(&items);
    assert_eq!(world.sampler.read().await.reading, completed(1, unusable.len()));
    let measured = world.measured().unwrap();
    assert_eq!(
        (measured.of("a").coverage.samples, measured.of("b").coverage.samples),
        (0, 1)
    );
}

#[tokio::test]
async fn incident_6f30490_an_old_measurement_that_is_read_again_is_no_sample() {
    let mut world = World::new();
    let at = world.now();
    for _ in 0..9 {
        // The clock of the node is a little ahead at first.
        world.lists(&[metrics("a", at + 30, 100)]);
        world.sampler.read().await;
        world.pass(60);
    }
    assert!(world.measured().unwrap().of("a").coverage.samples <= 2);
}

#[tokio::test]
async fn incident_2cb8f18_a_node_that_comes_back_under_its_name_is_another_one() {
    let mut world = World::new();
    for _ in 0..10 {
        world.minute(100).await;
    }
    assert!(world.mean("a").1);
    world.node("a", "uid-of-another");
    world.minute(200).await;
    assert_eq!(world.mean("a"), (MilliCpu(200), false));
    assert!(world.mean("b").1);
}

#[tokio::test(start_paused = true)]
async fn incident_b801259_it_reads_once_per_pause_until_it_is_stopped() {
    let world = World::new();
    let stop = CancellationToken::new();
    let reports = Arc::new(AtomicUsize::new(0));
    let running = tokio::spawn({
        let (sampler, stop, reports) = (world.sampler, stop.clone(), Arc::clone(&reports));
        async move {
            let report = |_| {
                reports.fetch_add(1, Ordering::Relaxed);
            };
            sampler.run(&report, &stop).await;
        }
    });
    tokio::time::sleep(Duration::from_secs(601)).await;
    assert_eq!(world.requests.load(Ordering::Relaxed), 11);
    assert_eq!(reports.load(Ordering::Relaxed), 11);
    // Stopped in the middle of a call, it ends at once.
    *world.answer.lock().unwrap() = Answer::Never;
    tokio::time::sleep(Duration::from_secs(60)).await;
    stop.cancel();
    tokio::time::timeout(Duration::from_secs(1), running)
        .await
        .unwrap()
        .unwrap();
}
