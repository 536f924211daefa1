//! A Lease API in the same process, and links to it that lose, hold up and refuse requests.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use http::{Method, StatusCode, Uri};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::sleep;

const COLLECTION: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases";
pub(super) const NAME: &str = "vpsie-autoscaler-leader";
/// What lies between one client and the API server.
#[derive(Debug, Clone, Copy)]
pub(super) enum Link {
    Up,
    /// Every request is refused.
    Down,
    /// Reads work, writes are refused.
    ReadOnly,
    /// Nothing is answered, and nothing arrives.
    Silent,
    /// Writes happen, and their answers are lost.
    RepliesLost,
    /// The next answer to a write is lost.
    NextReplyLost,
    /// Requests and answers take this long. A request arrives although its client has given up.
    Slow(Duration, Duration),
}

/// One Lease with the optimistic concurrency of the Kubernetes API.
#[derive(Default)]
pub(super) struct LeaseApi {
    store: Mutex<Store>,
}

#[derive(Default)]
struct Store {
    lease: Option<Value>,
    version: u64,
    uids: u64,
    requests: u64,
}

impl LeaseApi {
    pub(super) fn client(self: &Arc<Self>, link: watch::Receiver<Link>, lose: watch::Sender<Link>) -> kube::Client {
        let api = Arc::clone(self);
        let handler = move |method: Method, uri: Uri, body: Bytes| {
            let (api, link, lose) = (Arc::clone(&api), link.clone(), lose.clone());
            async move { api.through(&link, &lose, method, uri, body).await }
        };
        kube::Client::new(Router::new().fallback(handler), "default")
    }

    async fn through(
        self: Arc<Self>,
        link: &watch::Receiver<Link>,
        ends: &watch::Sender<Link>,
        method: Method,
        uri: Uri,
        body: Bytes,
    ) -> (StatusCode, axum::Json<Value>) {
        self.store.lock().unwrap().requests += 1;
        let write = method != Method::GET;
        let state = *link.borrow();
        match state {
            Link::Up => self.answer(&method, &uri, &body),
            Link::Down => failure(503, "ServiceUnavailable"),
            Link::ReadOnly if write => failure(500, "InternalError"),
            Link::ReadOnly => self.answer(&method, &uri, &body),
            Link::Silent => std::future::pending().await,
            Link::RepliesLost | Link::NextReplyLost if write => {
                let _ = self.answer(&method, &uri, &body);
                if matches!(state, Link::NextReplyLost) {
                    ends.send_replace(Link::Up);
                }
                std::future::pending().await
            }
            Link::RepliesLost | Link::NextReplyLost => self.answer(&method, &uri, &body),
            Link::Slow(there, back) => {
                let on_its_way = tokio::spawn(async move {
                    sleep(there).await;
                    self.answer(&method, &uri, &body)
                });
                let answer = on_its_way.await.unwrap();
                sleep(back).await;
                answer
            }
        }
    }

    fn answer(&self, method: &Method, uri: &Uri, body: &[u8]) -> (StatusCode, axum::Json<Value>) {
        let mut store = self.store.lock().unwrap();
        let named = uri.path().strip_prefix(COLLECTION).unwrap() == format!("/{NAME}");
        let stored = store.lease.clone();
        match (method.as_str(), named, stored) {
            ("GET", true, Some(lease)) => (StatusCode::OK, axum::Json(lease)),
            ("GET", true, None) => failure(404, "NotFound"),
            ("POST", false, Some(_)) => failure(409, "AlreadyExists"),
            ("POST", false, None) => {
                store.uids += 1;
                let uid = format!("uid-{}", store.uids);
                let mut lease: Value = serde_json::from_slice(body).unwrap();
                lease["metadata"]["namespace"] = json!("kube-system");
                lease["metadata"]["uid"] = json!(uid);
                (StatusCode::CREATED, axum::Json(store.put(lease)))
            }
            // A replace that names the uid of a Lease that is gone is a conflict, as in kube-apiserver.
            ("PUT", true, None) => failure(409, "Conflict"),
            ("PUT", true, Some(current)) => {
                let lease: Value = serde_json::from_slice(body).unwrap();
                let same = |field: &str| lease["metadata"][field] == current["metadata"][field];
                if same("resourceVersion") && same("uid") {
                    (StatusCode::OK, axum::Json(store.put(lease)))
                } else {
                    failure(409, "Conflict")
                }
            }
            other => panic!("unexpected request {other:?}"),
        }
    }

    /// Changes the Lease past the API, as somebody with kubectl does.
    pub(super) fn edit(&self, edit: impl FnOnce(&mut Value)) {
        let mut store = self.store.lock().unwrap();
        let mut lease = store.lease.clone().unwrap();
        edit(&mut lease);
        store.put(lease);
    }

    /// Stores a Lease past the API.
    pub(super) fn put(&self, lease: Value) {
        self.store.lock().unwrap().put(lease);
    }

    pub(super) fn delete(&self) {
        self.store.lock().unwrap().lease = None;
    }

    pub(super) fn spec(&self) -> Value {
        self.store.lock().unwrap().lease.as_ref().unwrap()["spec"].clone()
    }

    pub(super) fn requests(&self) -> u64 {
        self.store.lock().unwrap().requests
    }
}

impl Store {
    fn put(&mut self, mut lease: Value) -> Value {
        for field in ["acquireTime", "renewTime"] {
            if let Some(time) = lease["spec"][field].as_str() {
                // MicroTime, as the API server reads it: 2026-01-02T03:04:05.000006Z.
                assert!(time.len() == 27 || time.starts_with("bad"), "{time}");
            }
        }
        self.version += 1;
        lease["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.lease = Some(lease.clone());
        lease
    }
}

fn failure(code: u16, reason: &str) -> (StatusCode, axum::Json<Value>) {
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure",
        "reason": reason, "message": reason, "code": code,
    });
    (StatusCode::from_u16(code).unwrap(), axum::Json(status))
}
