//! The life of a node and of its pods under paused time, against an API server that stores what it is sent.

use std::convert::Infallible;

use axum::Router;
use axum::body::Body;
use axum::body::to_bytes;
use axum::extract::Request;
use axum::extract::State;
use axum::response::IntoResponse;
use axum::response::Response;
use bytes::Bytes;
use futures::StreamExt;
use http::Method;
use http::StatusCode;
use serde_json::Value;
use tokio::sync::broadcast;

use super::*;

/// Objects by path, the requests that were made, and the watch of the pods.
#[derive(Clone)]
struct Server {
    state: Arc<Mutex<Stored>>,
    events: broadcast::Sender<Bytes>,
}

#[derive(Default)]
struct Stored {
    objects: BTreeMap<String, Value>,
    requests: Vec<(Method, String)>,
}

impl Server {
    fn new() -> Self {
        Self {
            state: Arc::default(),
            events: broadcast::Sender::new(64),
        }
    }

    fn client(&self) -> Client {
        Client::new(Router::new().fallback(answer).with_state(self.clone()), "default")
    }

    fn get(&self, path: &str) -> Option<Value> {
        self.state.lock().unwrap().objects.get(path).cloned()
    }

    fn remove(&self, path: &str) {
        self.state.lock().unwrap().objects.remove(path);
    }

    fn count(&self, method: &Method, path: &str) -> usize {
        let state = self.state.lock().unwrap();
        state
            .requests
            .iter()
            .filter(|(made, at)| made == method && at == path)
            .count()
    }

    fn requests(&self) -> usize {
        self.state.lock().unwrap().requests.len()
    }

    /// Stores a pod and tells the watch.
    fn put_pod(&self, pod: &Value) {
        let path = format!(
            "/api/v1/namespaces/default/pods/{}",
            pod["metadata"]["name"].as_str().unwrap()
        );
        self.state.lock().unwrap().objects.insert(path, pod.clone());
        let event = json!({"type": "MODIFIED", "object": pod});
        self.events.send(format!("{event}\n").into()).unwrap();
    }

    fn ready(&self, node: &str) -> Option<String> {
        let node = self.get(&node_path(node))?;
        let conditions = node["status"]["conditions"].as_array()?.clone();
        let ready = conditions.into_iter().find(|condition| condition["type"] == "Ready")?;
        ready["status"].as_str().map(str::to_owned)
    }
}

async fn answer(State(server): State<Server>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path().trim_end_matches("/status").to_owned();
    if path == "/api/v1/pods" {
        if parts.uri.query().unwrap_or_default().contains("watch=true") {
            let events = futures::stream::unfold(server.events.subscribe(), async |mut events| {
                let event = events.recv().await.ok()?;
                Some((Ok::<_, Infallible>(event), events))
            });
            return Body::from_stream(events.boxed()).into_response();
        }
        let list = json!({"kind": "PodList", "apiVersion": "v1", "metadata": {"resourceVersion": "1"}, "items": []});
        return list.to_string().into_response();
    }
    let body = to_bytes(body, usize::MAX).await.unwrap();
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let mut state = server.state.lock().unwrap();
    state.requests.push((parts.method.clone(), path.clone()));
    let name = body["metadata"]["name"].as_str().unwrap_or_default();
    let object = match parts.method {
        Method::POST => {
            let mut object = body.clone();
            object["metadata"]["uid"] = json!(format!("uid-of-{name}"));
            state.objects.insert(format!("{path}/{name}"), object.clone());
            Some(object)
        }
        Method::DELETE => state.objects.remove(&path),
        Method::PATCH => state.objects.get_mut(&path).map(|object| {
            for part in ["spec", "status"] {
                for (field, value) in body[part].as_object().into_iter().flatten() {
                    object[part][field] = value.clone();
                }
            }
            object.clone()
        }),
        _ => state.objects.get(&path).cloned(),
    };
    drop(state);
    match object {
        Some(object) => object.to_string().into_response(),
        None => {
            let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound",
                "message": "not found", "code": 404});
            (StatusCode::NOT_FOUND, status.to_string()).into_response()
        }
    }
}

fn node_path(name: &str) -> String {
    format!("/api/v1/nodes/{name}")
}

fn lease_path(name: &str) -> String {
    format!("/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/{name}")
}

fn spec(name: &str) -> NodeSpec {
    NodeSpec {
        name: name.to_owned(),
        ..NodeSpec::default()
    }
}

fn pod(name: &str, node: &str) -> Value {
    json!({
        "kind": "Pod", "apiVersion": "v1",
        "metadata": {"name": name, "namespace": "default", "uid": format!("uid-of-{name}"), "resourceVersion": "2"},
        "spec": {"nodeName": node, "containers": [{"name": "main"}]},
        "status": {"phase": "Pending"},
    })
}

/// Lets `seconds` pass, in which every task runs as often as it is due.
async fn pass(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

#[tokio::test(start_paused = true)]
async fn a_node_becomes_ready_after_its_delay_and_renews_its_lease_every_ten_seconds() {
    let server = Server::new();
    let wall_clock = Some("2026-01-01T00:00:00Z".parse().unwrap());
    let options = KubeletOptions {
        ready_delay: Duration::from_secs(30),
        wall_clock,
        ..KubeletOptions::default()
    };
    let kubelets = Kubelets::new(server.client(), options);
    kubelets.join(spec("n1")).await.unwrap();
    assert_eq!(server.ready("n1").as_deref(), Some("False"));
    pass(29).await;
    assert_eq!(server.ready("n1").as_deref(), Some("False"));
    pass(2).await;
    assert_eq!(server.ready("n1").as_deref(), Some("True"));

    let before = server.requests();
    let renewals = server.count(&Method::PATCH, &lease_path("n1"));
    let reports = server.count(&Method::PATCH, &node_path("n1"));
    pass(3600).await;
    assert_eq!(server.count(&Method::PATCH, &lease_path("n1")) - renewals, 360);
    assert_eq!(server.count(&Method::PATCH, &node_path("n1")) - reports, 12);
    // A look at the Node, a renewal, and a report every five minutes: nothing spins.
    assert_eq!(server.requests() - before, 360 + 360 + 12);
    let lease = server.get(&lease_path("n1")).unwrap();
    assert!(
        lease["spec"]["renewTime"]
            .as_str()
            .unwrap()
            .starts_with("2026-01-01T01:00:3"),
        "{lease}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_failed_node_is_silent_until_it_recovers_and_one_that_left_for_ever() {
    let server = Server::new();
    let kubelets = Kubelets::new(server.client(), KubeletOptions::default());
    kubelets.join(spec("n1")).await.unwrap();
    assert!(matches!(kubelets.join(spec("n1")).await, Err(KubeletError::AlreadyJoined(name)) if name == "n1"));
    pass(1).await;
    assert_eq!(server.ready("n1").as_deref(), Some("True"));

    kubelets.fail("n1").await.unwrap();
    assert_eq!(server.ready("n1").as_deref(), Some("False"));
    let silent = server.requests();
    pass(600).await;
    assert_eq!(server.requests(), silent);

    kubelets.recover("n1").unwrap();
    pass(1).await;
    assert_eq!(server.ready("n1").as_deref(), Some("True"));

    kubelets.leave("n1").await;
    assert!(matches!(kubelets.recover("n1"), Err(KubeletError::NotJoined(_))));
    let silent = server.requests();
    pass(600).await;
    assert_eq!(server.requests(), silent);
    assert!(server.get(&node_path("n1")).is_some());
}

#[tokio::test(start_paused = true)]
async fn dropping_the_kubelets_ends_their_work() {
    let server = Server::new();
    let kubelets = Kubelets::new(server.client(), KubeletOptions::default());
    kubelets.join(spec("n1")).await.unwrap();
    pass(1).await;
    drop(kubelets);
    pass(1).await;
    let silent = server.requests();
    pass(600).await;
    assert_eq!(server.requests(), silent);
    assert_eq!(server.events.receiver_count(), 0, "the watch of the pods is closed");
}

#[tokio::test(start_paused = true)]
async fn a_deleted_node_comes_back_only_where_the_options_say_so() {
    for reregister in [false, true] {
        let server = Server::new();
        let kubelets = Kubelets::new(
            server.client(),
            KubeletOptions {
                reregister,
                ..KubeletOptions::default()
            },
        );
        kubelets.join(spec("n1")).await.unwrap();
        pass(1).await;
        server.remove(&node_path("n1"));
        pass(10).await;
        assert_eq!(server.ready("n1").as_deref(), reregister.then_some("True"));
    }
}

#[tokio::test(start_paused = true)]
async fn pods_run_on_nodes_that_joined_and_end_after_their_grace_period() {
    let server = Server::new();
    let options = KubeletOptions {
        max_grace: Duration::from_secs(60),
        ..KubeletOptions::default()
    };
    let kubelets = Kubelets::new(server.client(), options);
    kubelets.join(spec("n1")).await.unwrap();
    pass(1).await;
    let path = |name: &str| format!("/api/v1/namespaces/default/pods/{name}");
    let phase = |name: &str| server.get(&path(name)).map(|pod| pod["status"]["phase"].clone());

    server.put_pod(&pod("here", "n1"));
    server.put_pod(&pod("elsewhere", "n2"));
    pass(1).await;
    assert_eq!(phase("here"), Some(json!("Running")));
    assert_eq!(phase("elsewhere"), Some(json!("Pending")));
    kubelets.join(spec("n2")).await.unwrap();
    pass(1).await;
    assert_eq!(phase("elsewhere"), Some(json!("Running")));

    // The shorter of the pod's grace period and the limit of the options counts.
    for (name, grace, ends_after) in [("here", 30, 30), ("elsewhere", 3600, 60)] {
        let mut pod = server.get(&path(name)).unwrap();
        pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        pod["metadata"]["deletionGracePeriodSeconds"] = json!(grace);
        server.put_pod(&pod);
        pass(ends_after - 1).await;
        assert!(phase(name).is_some(), "{name}");
        pass(2).await;
        assert!(phase(name).is_none(), "{name}");
        assert_eq!(server.count(&Method::DELETE, &path(name)), 1);
    }
}

/// kube-controller-manager makes pods not Ready when it has not seen yet that their node is.
#[tokio::test(start_paused = true)]
async fn a_running_pod_that_is_made_not_ready_is_reported_again() {
    let server = Server::new();
    let kubelets = Kubelets::new(server.client(), KubeletOptions::default());
    kubelets.join(spec("n1")).await.unwrap();
    server.put_pod(&pod("p", "n1"));
    pass(1).await;
    let path = "/api/v1/namespaces/default/pods/p";
    let status = || server.get(path).unwrap()["status"].clone();
    let ready = || {
        let conditions = status()["conditions"].as_array().unwrap().clone();
        conditions
            .into_iter()
            .find(|condition| condition["type"] == "Ready")
            .unwrap()["status"]
            .clone()
    };
    let address = status()["podIP"].clone();
    for _ in 0..2 {
        assert_eq!(ready(), "True");
        let mut wronged = server.get(path).unwrap();
        for condition in wronged["status"]["conditions"].as_array_mut().unwrap() {
            condition["status"] = json!("False");
        }
        server.put_pod(&wronged);
        assert_eq!(ready(), "False");
        pass(1).await;
    }
    assert_eq!((ready(), &status()["podIP"]), (json!("True"), &address));
}

#[tokio::test(start_paused = true)]
async fn pods_that_are_held_run_once_they_are_released() {
    let server = Server::new();
    let kubelets = Kubelets::new(server.client(), KubeletOptions::default());
    kubelets.join(spec("n1")).await.unwrap();
    let phase =
        |name: &str| server.get(&format!("/api/v1/namespaces/default/pods/{name}")).unwrap()["status"]["phase"].clone();
    server.put_pod(&pod("early", "n1"));
    pass(1).await;
    kubelets.hold_pods();
    server.put_pod(&pod("late", "n1"));
    pass(600).await;
    assert_eq!((phase("early"), phase("late")), (json!("Running"), json!("Pending")));
    kubelets.release_pods();
    pass(1).await;
    assert_eq!(phase("late"), json!("Running"));
}

#[tokio::test(start_paused = true)]
async fn a_pod_of_a_node_that_fails_during_its_grace_period_stays() {
    let server = Server::new();
    let kubelets = Kubelets::new(server.client(), KubeletOptions::default());
    kubelets.join(spec("n1")).await.unwrap();
    pass(1).await;
    let mut leaving = pod("p", "n1");
    leaving["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    leaving["metadata"]["deletionGracePeriodSeconds"] = json!(30);
    server.put_pod(&leaving);
    pass(10).await;
    kubelets.fail("n1").await.unwrap();
    pass(600).await;
    let path = "/api/v1/namespaces/default/pods/p";
    assert!(server.get(path).is_some());
    kubelets.recover("n1").unwrap();
    pass(31).await;
    assert!(server.get(path).is_none());
}

#[tokio::test(start_paused = true)]
async fn the_in_memory_cluster_takes_all_that_kubelets_write() {
    let cluster = crate::embedded::Cluster::new();
    let _controllers = cluster.start_controllers();
    let options = KubeletOptions {
        wall_clock: Some(cluster.now()),
        ..KubeletOptions::default()
    };
    let kubelets = Kubelets::new(cluster.client(), options);
    kubelets.join(spec("n1")).await.unwrap();
    let pods: Api<k8s_openapi::api::core::v1::Pod> = Api::namespaced(cluster.client(), "default");
    let bound: k8s_openapi::api::core::v1::Pod = serde_json::from_value(json!({
        "metadata": {"name": "p"},
        "spec": {"nodeName": "n1", "containers": [{"name": "main", "image": "app"}]},
    }))
    .unwrap();
    pods.create(&PostParams::default(), &bound).await.unwrap();
    pass(60).await;

    let nodes: Api<Node> = Api::all(cluster.client());
    let node = nodes.get("n1").await.unwrap();
    let (status, _) = objects::reported(&node).unwrap();
    assert_eq!(status, "True");
    assert!(node.spec.unwrap().taints.unwrap_or_default().is_empty());
    let leases: Api<Lease> = Api::namespaced(cluster.client(), LEASE_NAMESPACE);
    let renewed = leases.get("n1").await.unwrap().spec.unwrap().renew_time.unwrap().0;
    assert!(cluster.now().duration_since(renewed) <= SignedDuration::from_secs(10));
    let running = pods.get("p").await.unwrap().status.unwrap();
    assert_eq!(running.phase.as_deref(), Some("Running"));

    pods.delete("p", &Default::default()).await.unwrap();
    pass(29).await;
    assert!(pods.get_opt("p").await.unwrap().is_some());
    pass(2).await;
    assert!(pods.get_opt("p").await.unwrap().is_none());
}
