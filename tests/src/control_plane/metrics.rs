//! A test double of metrics.k8s.io: the API that metrics-server serves, without metrics-server.
//!
//! It is a CustomResourceDefinition with the group, version, kind and path of the real API, so a client cannot tell
//! the difference. The test writes what the nodes use.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;
use kube::Client;
use kube::Error;
use kube::api::ApiResource;
use kube::api::DynamicObject;
use kube::api::ListParams;
use kube::api::Patch;
use kube::api::PatchParams;
use serde_json::json;
use tokio::time::Instant;

/// How long the API server may take to serve the API after its installation.
const SERVED_WITHIN: Duration = Duration::from_secs(60);

/// Pause between two looks at whether it is served.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// Who writes, for server-side apply.
const FIELD_MANAGER: &str = "test-metrics";

/// The API of one control plane.
#[derive(Debug, Clone)]
pub struct NodeMetrics {
    api: Api<DynamicObject>,
}

impl NodeMetrics {
    /// Makes the API server serve `/apis/metrics.k8s.io/v1beta1/nodes`, and waits until it does. A second
    /// installation changes nothing.
    ///
    /// # Errors
    ///
    /// What the API server answers to the installation; and its last answer to a list of the nodes' metrics, when it
    /// does not serve them within a minute.
    pub async fn install(client: &Client) -> Result<Self, Error> {
        let params = PatchParams::apply(FIELD_MANAGER).force();
        Api::<CustomResourceDefinition>::all(client.clone())
            .patch("nodes.metrics.k8s.io", &params, &Patch::Apply(definition()))
            .await?;
        let resource = ApiResource {
            group: "metrics.k8s.io".to_owned(),
            version: "v1beta1".to_owned(),
            api_version: "metrics.k8s.io/v1beta1".to_owned(),
            kind: "NodeMetrics".to_owned(),
            plural: "nodes".to_owned(),
        };
        let api = Api::all_with(client.clone(), &resource);
        let deadline = Instant::now() + SERVED_WITHIN;
        loop {
            match api.list(&ListParams::default()).await {
                Ok(_) => return Ok(Self { api }),
                Err(error) if Instant::now() >= deadline => return Err(error),
                Err(_) => tokio::time::sleep(POLL_INTERVAL).await,
            }
        }
    }

    /// Takes the API away, as when metrics-server is uninstalled.
    ///
    /// # Errors
    ///
    /// What the API server answers.
    pub async fn uninstall(self, client: &Client) -> Result<(), Error> {
        let definitions = Api::<CustomResourceDefinition>::all(client.clone());
        definitions
            .delete("nodes.metrics.k8s.io", &Default::default())
            .await
            .map(drop)
    }

    /// Sets what the node `name` used during the 30 seconds before `timestamp`. Both amounts are Kubernetes quantities, such
    /// as `250m` and `1Gi`.
    ///
    /// # Errors
    ///
    /// What the API server answers.
    pub async fn set(&self, name: &str, timestamp: Timestamp, cpu: &str, memory: &str) -> Result<(), Error> {
        let metrics = json!({
            "apiVersion": "metrics.k8s.io/v1beta1",
            "kind": "NodeMetrics",
            "metadata": {"name": name},
            "timestamp": timestamp,
            "window": "30s",
            "usage": {"cpu": cpu, "memory": memory},
        });
        let params = PatchParams::apply(FIELD_MANAGER).force();
        self.api.patch(name, &params, &Patch::Apply(metrics)).await.map(drop)
    }

    /// Takes the metrics of the node `name` away, as when metrics-server cannot reach it. It may have none.
    ///
    /// # Errors
    ///
    /// What the API server answers, other than that there are none.
    pub async fn remove(&self, name: &str) -> Result<(), Error> {
        match self.api.delete(name, &Default::default()).await {
            Err(Error::Api(status)) if status.is_not_found() => Ok(()),
            result => result.map(drop),
        }
    }
}

fn definition() -> serde_json::Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": "nodes.metrics.k8s.io",
            // The API server refuses groups under k8s.io without a word on their approval.
            "annotations": {"api-approved.kubernetes.io": "unapproved, test double"},
        },
        "spec": {
            "group": "metrics.k8s.io",
            "scope": "Cluster",
            "names": {"plural": "nodes", "kind": "NodeMetrics", "listKind": "NodeMetricsList"},
            "versions": [{
                "name": "v1beta1",
                "served": true,
                "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}},
            }],
        },
    })
}
