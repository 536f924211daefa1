//! The VPSie API as the operator uses it: credentials from a Secret, requests counted.

use std::sync::Arc;

use autoscaler_core::provider::CloudProvider;
use autoscaler_metrics::record::{self, ApiRequest};
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client};
use vpsie_client::{Config, Credentials, Event, VmProvider};

use crate::command::Failure;

/// Where the credentials are, and what the Secret may leave out.
#[derive(Clone, Debug)]
pub struct VpsieAccess {
    /// Namespace of the Secret.
    pub namespace: String,
    /// Name of the Secret.
    pub name: String,
    /// Base URL, when the Secret has no `url`.
    pub default_url: String,
    /// Whether plain HTTP is allowed to hosts other than this machine.
    pub allow_plain_http: bool,
}

/// Reads the Secret and makes a provider of it.
///
/// # Errors
/// When the Secret cannot be read, lacks what it needs, or gives a base URL that the client refuses. No message repeats
/// a value of the Secret.
pub async fn connect(client: &Client, access: &VpsieAccess) -> Result<Arc<dyn CloudProvider>, Failure> {
    let VpsieAccess {
        namespace,
        name,
        default_url,
        allow_plain_http,
    } = access;
    let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let secret = secrets.get(name).await.map_err(|error| {
        Failure::Failed(format!(
            "Secret {namespace}/{name} with the VPSie credentials cannot be read: {error}"
        ))
    })?;
    let value = |key: &str| {
        let bytes = secret.data.as_ref().and_then(|data| data.get(key));
        let text = bytes.map(|bytes| String::from_utf8_lossy(&bytes.0).trim().to_owned());
        text.filter(|text| !text.is_empty())
    };
    let credentials = match (value("token"), value("clientId"), value("clientSecret")) {
        (Some(token), _, _) => Credentials::token(token),
        (None, Some(id), Some(secret)) => Credentials::login(id, secret),
        _ => {
            let message =
                format!("Secret {namespace}/{name} has neither `token` nor both `clientId` and `clientSecret`");
            return Err(Failure::Failed(message));
        }
    };
    let mut config = Config::new(value("url").unwrap_or_else(|| default_url.clone()), credentials);
    config.allow_plain_http = *allow_plain_http;
    let client = vpsie_client::Client::builder(config).on_event(count).build();
    let client = client.map_err(|error| Failure::failed(&error))?;
    Ok(Arc::new(VmProvider::new(client)))
}

/// Counts what the client tells.
fn count(event: &Event) {
    match event {
        Event::Attempt(attempt) => {
            record::provider_healthy(attempt.status.is_some_and(|status| status < 500));
            record::vpsie_api_request(ApiRequest {
                method: attempt.endpoint,
                status: attempt.status,
                error_type: error_type(attempt.status),
                duration: attempt.took,
            });
        }
        Event::Failed { endpoint, kind } => {
            tracing::debug!(endpoint, ?kind, "a call to the VPSie API failed");
        }
        Event::Blocked { endpoint, .. } => tracing::debug!(endpoint, "a call to the VPSie API was held back"),
        Event::Breaker { from, to } => tracing::warn!(?from, ?to, "the circuit breaker of the VPSie API changed"),
    }
}

/// What is wrong with an answer, by its status alone: what the body says is known only when the call is over.
const fn error_type(status: Option<u16>) -> Option<&'static str> {
    match status {
        Some(200..=399) => None,
        Some(401) => Some("Unauthenticated"),
        Some(403) => Some("Forbidden"),
        Some(404) => Some("NotFound"),
        Some(409) => Some("Conflict"),
        Some(429) => Some("RateLimited"),
        Some(500..) => Some("ProviderUnavailable"),
        Some(_) => Some("InvalidRequest"),
        None => Some("Timeout"),
    }
}
