//! HTTP. May hold: reading of a request (path, verb, parameters, body), the way to the function that serves it, and the
//! writing of the answer.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Query, Request, State as Shared};
use axum::response::Response;
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, Method, header};
use serde_json::{Value, json};

use super::Cluster;
use super::apply::{Writer, apply};
use super::discovery;
use super::error::ApiError;
use super::eviction::{bind, evict};
use super::faults::{Fault, RequestRecord, Verb};
use super::lifecycle::{self, DeleteOptions, Deletion, lists_of};
use super::object::{at, drop_nulls, integer, items, map_mut, name, resource_version, set, text, uid};
use super::patch;
use super::selectors::{FieldSelector, LabelSelector, Selection};
use super::store::{ObjectKey, State};
use super::view::View;
use super::watch::{self, WatchRequest, gone};

/// Largest accepted body, as in the real server.
const BODY_LIMIT: usize = 3 * 1024 * 1024;
/// How long a watch lasts when the client does not say; the real server picks 30 to 60 minutes.
const DEFAULT_WATCH: Duration = Duration::from_mins(30);

/// The whole API as a router.
pub(super) fn router(cluster: Cluster) -> Router {
    Router::new().fallback(handle).with_state(cluster)
}

type Parameters = BTreeMap<String, String>;

/// A request for a resource, understood as far as its path and verb.
struct Call {
    verb: Verb,
    view: View,
    /// Empty for cluster-scoped resources and for all namespaces.
    namespace: String,
    /// Empty for collections.
    name: String,
    /// Empty for the object itself.
    subresource: String,
    parameters: Parameters,
    manager: String,
    content_type: String,
}

enum Reply {
    Json(u16, Value),
    Stream(Body),
}

async fn handle(Shared(cluster): Shared<Cluster>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let segments: Vec<&str> = parts
        .uri
        .path()
        .split('/')
        .filter(|segment| !segment.is_empty())
        .collect();
    if matches!(segments.as_slice(), ["healthz" | "livez" | "readyz"]) {
        return Response::new(Body::from("ok"));
    }
    if let Some(document) = cluster.read(|state| discovery::document(state, &segments)) {
        return respond(Ok(Reply::Json(200, document)));
    }
    let served = match cluster.read(|state| Call::parse(state, &parts, &segments)) {
        Ok(call) => serve_with_faults(&cluster, &call, body).await,
        Err(error) => Err(error),
    };
    respond(served)
}

/// Serves a call, spoilt by a fault if one is set for it, and logs it.
async fn serve_with_faults(cluster: &Cluster, call: &Call, body: Body) -> Result<Reply, ApiError> {
    let resource = call.resource();
    let fault = cluster.faults().strike(call.verb, &resource);
    if let Some(Fault::Delay(delay)) = &fault {
        tokio::time::sleep(*delay).await;
    }
    let served = match &fault {
        Some(Fault::Fail(error)) => Err(error.clone()),
        Some(Fault::LoseReply | Fault::Delay(_)) | None => match to_bytes(body, BODY_LIMIT).await {
            Ok(body) => call.serve(cluster, &body),
            Err(_) => Err(ApiError::new(
                413,
                "RequestEntityTooLarge",
                "the request body is too large",
            )),
        },
    };
    cluster.faults().record(RequestRecord {
        verb: call.verb,
        group: call.view.ty.id.group.clone(),
        resource,
        namespace: call.namespace.clone(),
        name: call.name.clone(),
        status: match &served {
            Ok(Reply::Json(code, _)) => *code,
            Ok(Reply::Stream(_)) => 200,
            Err(error) => error.code,
        },
    });
    if fault == Some(Fault::LoseReply) {
        let broken = Err::<Bytes, _>(io::Error::new(
            io::ErrorKind::ConnectionReset,
            "the reply was lost on purpose",
        ));
        return Ok(Reply::Stream(Body::from_stream(futures::stream::iter([broken]))));
    }
    served
}

fn respond(served: Result<Reply, ApiError>) -> Response {
    let (code, retry_after, body) = match served {
        Ok(Reply::Json(code, value)) => (code, None, Body::from(value.to_string())),
        Ok(Reply::Stream(body)) => (200, None, body),
        Err(error) => {
            let retry_after = integer(&error.details, &["retryAfterSeconds"]);
            (error.code, retry_after, Body::from(error.status().to_string()))
        }
    };
    let mut builder = Response::builder()
        .status(code)
        .header(header::CONTENT_TYPE, "application/json");
    if let Some(seconds) = retry_after {
        builder = builder.header(header::RETRY_AFTER, seconds);
    }
    builder
        .body(body)
        .unwrap_or_else(|error| Response::new(Body::from(error.to_string())))
}

impl Call {
    fn parse(state: &State, parts: &Parts, segments: &[&str]) -> Result<Self, ApiError> {
        let (group, version, rest) = match segments {
            ["api", "v1", rest @ ..] => ("", "v1", rest),
            ["apis", group, version, rest @ ..] => (*group, *version, rest),
            _ => return Err(ApiError::no_such_path()),
        };
        let (namespace, rest) = match rest {
            // `namespaces/x` and `namespaces/x/status` are about the namespace itself.
            ["namespaces", _] | ["namespaces", _, "status" | "finalize"] => ("", rest),
            ["namespaces", namespace, rest @ ..] => (*namespace, rest),
            rest => ("", rest),
        };
        let (resource, name, subresource) = match rest {
            [resource] => (*resource, "", ""),
            [resource, name] => (*resource, *name, ""),
            [resource, name, subresource] => (*resource, *name, *subresource),
            _ => return Err(ApiError::no_such_path()),
        };
        let ty = state
            .resource_type(group, resource)
            .ok_or_else(ApiError::no_such_path)?;
        let scoped_right = if name.is_empty() {
            ty.namespaced || namespace.is_empty()
        } else {
            ty.namespaced != namespace.is_empty()
        };
        if ty.version(version).is_none() || !scoped_right {
            return Err(ApiError::no_such_path());
        }
        let known_subresource = match subresource {
            "" => true,
            "status" => ty.has_status,
            "binding" | "eviction" => ty.is("", "pods"),
            _ => false,
        };
        if !known_subresource {
            return Err(ApiError::no_such_path());
        }
        let Query(parameters) = Query::<Parameters>::try_from_uri(&parts.uri)
            .map_err(|error| ApiError::bad_request(format!("malformed query: {error}")))?;
        let is_watch = matches!(parameters.get("watch").map(String::as_str), Some("true" | "1"));
        let verb = match (&parts.method, name.is_empty()) {
            (&Method::GET, true) if is_watch => Verb::Watch,
            (&Method::GET, true) => Verb::List,
            (&Method::GET, false) => Verb::Get,
            (&Method::POST, true) => Verb::Create,
            (&Method::POST, false) if matches!(subresource, "binding" | "eviction") => Verb::Create,
            (&Method::PUT, false) => Verb::Update,
            (&Method::PATCH, false) => Verb::Patch,
            (&Method::DELETE, false) if subresource.is_empty() => Verb::Delete,
            (&Method::DELETE, true) => Verb::DeleteCollection,
            (method, _) => return Err(ApiError::method_not_allowed(method.as_str())),
        };
        if verb == Verb::Create && ty.namespaced && namespace.is_empty() {
            return Err(ApiError::method_not_allowed("POST"));
        }
        let view = View {
            ty,
            version: version.to_owned(),
            metadata_only: header_text(&parts.headers, header::ACCEPT).contains("as=PartialObjectMetadata"),
        };
        let agent = header_text(&parts.headers, header::USER_AGENT);
        let agent = agent
            .split('/')
            .next()
            .filter(|agent| !agent.is_empty())
            .unwrap_or("unknown");
        Ok(Self {
            verb,
            view,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            subresource: subresource.to_owned(),
            manager: parameters
                .get("fieldManager")
                .cloned()
                .unwrap_or_else(|| agent.to_owned()),
            parameters,
            content_type: header_text(&parts.headers, header::CONTENT_TYPE).to_owned(),
        })
    }

    /// The resource as RBAC names it.
    fn resource(&self) -> String {
        let resource = &self.view.ty.id.resource;
        if self.subresource.is_empty() {
            resource.clone()
        } else {
            format!("{resource}/{}", self.subresource)
        }
    }

    fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters
            .get(name)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }

    fn is_set(&self, name: &str) -> bool {
        matches!(self.parameter(name), Some("true" | "1"))
    }

    fn key(&self) -> ObjectKey {
        ObjectKey::new(&self.namespace, &self.name)
    }

    fn writer(&self) -> Writer {
        let subresource = if self.subresource == "status" { "status" } else { "" };
        Writer {
            manager: self.manager.clone(),
            subresource,
        }
    }

    fn serve(&self, cluster: &Cluster, body: &Bytes) -> Result<Reply, ApiError> {
        match self.verb {
            Verb::Watch => self.watch(cluster),
            Verb::Get => cluster.read(|state| self.get(state)),
            Verb::List => cluster.read(|state| self.list(state)),
            Verb::Create | Verb::Update | Verb::Patch | Verb::Delete | Verb::DeleteCollection => {
                let body = parse_body(body)?;
                if self.parameter("dryRun") == Some("All") {
                    let mut copy = cluster.read(State::clone);
                    return self.write(&mut copy, body);
                }
                cluster.write(|state| self.write(state, body))
            }
        }
    }

    fn get(&self, state: &State) -> Result<Reply, ApiError> {
        let found = state
            .get(&self.view.ty.id, &self.key())
            .ok_or_else(|| self.view.ty.not_found(&self.name))?;
        Ok(Reply::Json(200, self.view.show(&found)))
    }

    fn list(&self, state: &State) -> Result<Reply, ApiError> {
        let selection = self.selection()?;
        self.check_revision(state)?;
        let found = state.list(&self.view.ty.id).filter(|object| selection.matches(object));
        Ok(Reply::Json(200, self.view.show_list(found, state.revision())))
    }

    fn watch(&self, cluster: &Cluster) -> Result<Reply, ApiError> {
        let seconds = self
            .parameter("timeoutSeconds")
            .and_then(|seconds| seconds.parse().ok());
        let initial_events = self.is_set("sendInitialEvents");
        if initial_events {
            cluster.read(|state| self.check_revision(state))?;
        }
        let request = WatchRequest {
            view: self.view.clone(),
            selection: self.selection()?,
            after: self.revision()?.filter(|revision| *revision > 0),
            bookmarks: self.is_set("allowWatchBookmarks"),
            initial_events,
            timeout: seconds.map_or(DEFAULT_WATCH, Duration::from_secs),
        };
        Ok(Reply::Stream(watch::body(cluster.clone(), request)))
    }

    fn write(&self, state: &mut State, body: Value) -> Result<Reply, ApiError> {
        let ty = &*self.view.ty;
        let key = self.key();
        match (self.verb, self.subresource.as_str()) {
            (Verb::Create, "binding") => {
                bind(state, ty, &key, &body)?;
                Ok(success())
            }
            (Verb::Create, "eviction") => {
                evict(state, ty, &key, &body)?;
                Ok(success())
            }
            (Verb::Create, _) => {
                let created = lifecycle::create(
                    state,
                    ty,
                    &self.view.version,
                    &self.namespace,
                    body,
                    &self.writer(),
                    false,
                )?;
                Ok(Reply::Json(201, self.view.show(&created)))
            }
            (Verb::Update, _) => {
                let updated = lifecycle::update(state, ty, &self.view.version, &key, body, &self.writer(), false)?;
                Ok(Reply::Json(200, self.view.show(&updated)))
            }
            (Verb::Patch, _) => self.patch(state, &key, body),
            (Verb::Delete, _) => {
                let deletion = lifecycle::delete(state, ty, &key, &self.delete_options(&body))?;
                Ok(Reply::Json(200, self.show_deletion(&deletion)))
            }
            (Verb::DeleteCollection, _) => {
                let selection = self.selection()?;
                let found: Vec<Arc<Value>> = state
                    .list(&ty.id)
                    .filter(|object| selection.matches(object))
                    .map(Arc::clone)
                    .collect();
                let options = self.delete_options(&body);
                for object in &found {
                    lifecycle::delete(state, ty, &ObjectKey::of(object), &options)?;
                }
                Ok(Reply::Json(200, self.view.show_list(found.iter(), state.revision())))
            }
            (Verb::Get | Verb::List | Verb::Watch, _) => Err(ApiError::method_not_allowed("GET")),
        }
    }

    fn patch(&self, state: &mut State, key: &ObjectKey, body: Value) -> Result<Reply, ApiError> {
        let ty = &*self.view.ty;
        let content_type = self.content_type.split(';').next().unwrap_or_default().trim();
        if content_type == "application/apply-patch+yaml" {
            return self.apply(state, key, body);
        }
        let live = state.get(&ty.id, key).ok_or_else(|| ty.not_found(&key.name))?;
        let whole = View {
            metadata_only: false,
            ..self.view.clone()
        };
        let mut target = whole.show(&live);
        match content_type {
            "application/merge-patch+json" => patch::merge(&mut target, &body),
            "application/json-patch+json" => patch::json_patch(&mut target, &body)?,
            "application/strategic-merge-patch+json" if !ty.custom => {
                patch::strategic(&mut target, &body);
            }
            other => {
                let mut accepted =
                    "application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml"
                        .to_owned();
                if !ty.custom {
                    accepted.push_str(", application/strategic-merge-patch+json");
                }
                return Err(ApiError::unsupported_media_type(other, &accepted));
            }
        }
        let updated = lifecycle::update(state, ty, &self.view.version, key, target, &self.writer(), false)?;
        Ok(Reply::Json(200, self.view.show(&updated)))
    }

    /// Server-side apply.
    fn apply(&self, state: &mut State, key: &ObjectKey, mut config: Value) -> Result<Reply, ApiError> {
        let ty = &*self.view.ty;
        if self.parameter("fieldManager").is_none() {
            return Err(ApiError::bad_request(
                "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value: is required for apply patch",
            ));
        }
        if map_mut(&mut config, &["metadata"]).is_none() {
            return Err(ApiError::bad_request(
                "the applied configuration is not a JSON object with metadata",
            ));
        }
        if !items(&config, &["metadata", "managedFields"]).is_empty() {
            return Err(ApiError::bad_request("metadata.managedFields must be nil"));
        }
        drop_nulls(&mut config);
        let given_name = name(&config);
        if given_name.is_empty() && state.get(&ty.id, key).is_none() {
            return Err(ApiError::bad_request(format!(
                "the name of the object ({} based on URL) was undeterminable: name must be provided",
                key.name
            )));
        }
        if !given_name.is_empty() && given_name != key.name {
            return Err(ApiError::bad_request(format!(
                "the name of the object ({given_name}) does not match the name on the URL ({})",
                key.name
            )));
        }
        let (given_version, given_uid) = (resource_version(&config).to_owned(), uid(&config).to_owned());
        let writer = self.writer();
        if writer.subresource == "status" {
            config.as_object_mut().into_iter().for_each(|fields| {
                fields.retain(|field, _| matches!(field.as_str(), "apiVersion" | "kind" | "metadata" | "status"));
            });
            for field in ["labels", "annotations", "finalizers", "ownerReferences"] {
                set(&mut config, &["metadata", field], None);
            }
        } else if ty.has_status && at(&config, &["status"]).is_some() {
            set(&mut config, &["status"], None);
        }

        let live = state.get(&ty.id, key);
        let whole = View {
            metadata_only: false,
            ..self.view.clone()
        };
        let shown = live.as_ref().map(|live| whole.show(live));
        let (lists, api_version) = (lists_of(ty, &self.view.version), ty.api_version(&self.view.version));
        if text(&config, &["apiVersion"]) != api_version || text(&config, &["kind"]) != ty.kind {
            return Err(ApiError::bad_request(format!(
                "the applied configuration must be of apiVersion {api_version:?} and kind {:?}",
                ty.kind
            )));
        }
        let mut merged = apply(
            shown.as_ref(),
            &config,
            &writer,
            &api_version,
            self.is_set("force"),
            &lists,
            state.now,
        )?;
        if live.is_none() {
            if !writer.subresource.is_empty() {
                return Err(ty.not_found(&key.name));
            }
            if !given_uid.is_empty() {
                let why = format!(
                    "uid mismatch: the provided object specified uid {given_uid}, and no existing object was found"
                );
                return Err(ty.conflict(&key.name, &why));
            }
            let created = lifecycle::create(state, ty, &self.view.version, &key.namespace, merged, &writer, true)?;
            return Ok(Reply::Json(201, self.view.show(&created)));
        }
        if !given_version.is_empty() {
            set(
                &mut merged,
                &["metadata", "resourceVersion"],
                Some(json!(given_version)),
            );
        }
        let updated = lifecycle::update(state, ty, &self.view.version, key, merged, &writer, true)?;
        Ok(Reply::Json(200, self.view.show(&updated)))
    }

    fn delete_options(&self, body: &Value) -> DeleteOptions {
        let mut options = DeleteOptions::from_json(body);
        if let Some(grace) = self
            .parameter("gracePeriodSeconds")
            .and_then(|seconds| seconds.parse().ok())
        {
            options.grace_period_seconds = Some(grace);
        }
        if let Some(policy) = self.parameter("propagationPolicy") {
            options.propagation = Some(policy.to_owned());
        }
        options
    }

    fn show_deletion(&self, deletion: &Deletion) -> Value {
        let ty = &self.view.ty;
        let returns_object = ty.id.group.is_empty()
            && matches!(
                ty.id.resource.as_str(),
                "pods" | "services" | "persistentvolumes" | "persistentvolumeclaims" | "serviceaccounts"
            );
        match deletion {
            Deletion::Removed(object) if !returns_object => {
                let mut details = json!({ "name": self.name, "kind": ty.id.resource, "uid": uid(object) });
                if !ty.id.group.is_empty() {
                    set(&mut details, &["group"], Some(json!(ty.id.group)));
                }
                json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details })
            }
            Deletion::Removed(object) | Deletion::Waiting(object) => self.view.show(object),
        }
    }

    fn selection(&self) -> Result<Selection, ApiError> {
        let version = self
            .view
            .ty
            .version(&self.view.version)
            .ok_or_else(ApiError::no_such_path)?;
        Ok(Selection {
            namespace: Some(self.namespace.clone()).filter(|namespace| !namespace.is_empty()),
            labels: LabelSelector::parse(self.parameter("labelSelector").unwrap_or_default())?,
            fields: FieldSelector::parse(
                self.parameter("fieldSelector").unwrap_or_default(),
                &self.view.ty,
                version,
            )?,
        })
    }

    fn revision(&self) -> Result<Option<u64>, ApiError> {
        let parse = |text: &str| {
            text.parse()
                .map_err(|_| ApiError::bad_request(format!("resourceVersion: Invalid value: {text:?}")))
        };
        self.parameter("resourceVersion").map(parse).transpose()
    }

    /// Refuses a list from the future, and an exact one from a past that is forgotten.
    fn check_revision(&self, state: &State) -> Result<(), ApiError> {
        let Some(asked) = self.revision()? else {
            return Ok(());
        };
        if asked > state.revision() {
            let message = format!("Too large resource version: {asked}, current: {}", state.revision());
            let details = json!({ "causes": [{ "reason": "ResourceVersionTooLarge", "message": "Too large resource version" }], "retryAfterSeconds": 1 });
            return Err(ApiError::new(504, "Timeout", message).with_details(details));
        }
        if self.parameter("resourceVersionMatch") == Some("Exact") && asked < state.revision() {
            return Err(gone(asked, state));
        }
        Ok(())
    }
}

/// The answer to a subresource that only says that it did what was asked.
fn success() -> Reply {
    let status = json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201 });
    Reply::Json(201, status)
}

fn header_text(headers: &HeaderMap, name: header::HeaderName) -> &str {
    headers
        .get(name)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
}

fn parse_body(body: &Bytes) -> Result<Value, ApiError> {
    if body.is_empty() {
        return Ok(json!({}));
    }
    serde_json::from_slice(body).map_err(|error| ApiError::bad_request(format!("the body is not JSON: {error}")))
}
