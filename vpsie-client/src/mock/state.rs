//! The mock account: VMs, tokens, counters, and what each request does to them. No input or output.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use axum::http::{HeaderMap, Method, header};
use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::{
    config::{CreateReply, HostnameCase, ListCount, LoginEnvelope, MockConfig},
    fault::{Fault, Faults},
    objects::{MockVm, datacenter_to_json, offering_to_json},
};

/// A kind of request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Route {
    /// `POST /auth/from/api`
    Login,
    /// `GET /v2/vms`
    ListVms,
    /// `POST /v2/vms`
    CreateVm,
    /// `GET /v2/vms/{id}`
    GetVm,
    /// `DELETE /v2/vms/{id}`
    DeleteVm,
    /// `GET /v2/offerings`
    ListOfferings,
    /// `GET /v2/datacenters`
    ListDatacenters,
}

/// A request that came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestRecord {
    /// Since the mock was made.
    pub at: Duration,
    /// Kind of request.
    pub route: Route,
    /// HTTP method.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// HTTP status that was answered, or would have been if the answer had not been lost.
    pub status: u16,
}

/// How many tokens were issued.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TokenCounts {
    /// For client id and secret.
    pub logins: u64,
    /// For a refresh token.
    pub refreshes: u64,
    /// Requests for a token that were refused.
    pub refused: u64,
}

/// A request, read to its end.
#[derive(Debug)]
pub(super) struct Incoming {
    pub(super) route: Route,
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) id: Option<String>,
    pub(super) query: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// What to answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: String,
    pub(super) retry_after: Option<u64>,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) config: MockConfig,
    pub(super) faults: Faults,
    pub(super) tokens: Tokens,
    started: Instant,
    vms: BTreeMap<u64, Entry>,
    next_id: u64,
    counts: BTreeMap<Route, u64>,
    log: VecDeque<RequestRecord>,
    window: Option<(Instant, u32)>,
}

#[derive(Debug, Default)]
pub(super) struct Tokens {
    access: BTreeMap<String, Instant>,
    refresh: BTreeMap<String, Instant>,
    issued: u64,
    pub(super) counts: TokenCounts,
}

#[derive(Debug)]
struct Entry {
    vm: MockVm,
    phase: Phase,
    listed_from: Option<Instant>,
}

/// What the passing of time will do to a VM; without an end it stays as it is.
#[derive(Debug)]
enum Phase {
    Provisioning { until: Option<Instant> },
    Steady,
    Deleting { until: Option<Instant> },
}

const LONGEST_LOG: usize = 10_000;

const WINDOW: Duration = Duration::from_secs(60);

/// A refresh token lives this many times as long as its access token.
const REFRESH_LIFE_FACTOR: u32 = 24;

// === impl State ===

impl State {
    pub(super) fn new(config: MockConfig, now: Instant) -> Self {
        Self {
            next_id: config.first_id,
            config,
            faults: Faults::default(),
            tokens: Tokens::default(),
            started: now,
            vms: BTreeMap::new(),
            counts: BTreeMap::new(),
            log: VecDeque::new(),
            window: None,
        }
    }

    /// Carries out a request. The fault that is left for the connection is given back.
    pub(super) fn receive(&mut self, incoming: &Incoming, now: Instant) -> (Answer, Option<Fault>) {
        self.settle(now);
        *self.counts.entry(incoming.route).or_default() += 1;
        let fault = self.faults.next(incoming.route);
        let answer = match &fault {
            Some(Fault::Status {
                status,
                body,
                retry_after,
            }) => Answer {
                status: *status,
                body: body.clone(),
                retry_after: *retry_after,
            },
            Some(Fault::Body(body)) => {
                self.answer(incoming, now);
                Answer {
                    status: 200,
                    body: body.clone(),
                    retry_after: None,
                }
            }
            Some(Fault::EmptyList) => self.list_of(&[], incoming),
            Some(Fault::LoseReply | Fault::Delay(_)) | None => self.answer(incoming, now),
        };
        if self.log.len() >= LONGEST_LOG {
            self.log.pop_front();
        }
        let query = if incoming.query.is_empty() {
            String::new()
        } else {
            format!("?{}", incoming.query)
        };
        self.log.push_back(RequestRecord {
            at: now - self.started,
            route: incoming.route,
            method: incoming.method.to_string(),
            path: format!("{}{query}", incoming.path),
            status: answer.status,
        });
        (answer, fault)
    }

    pub(super) fn vms(&mut self) -> Vec<MockVm> {
        self.settle(Instant::now());
        self.vms.values().map(|entry| entry.vm.clone()).collect()
    }

    /// When the passing of time changes something next.
    pub(super) fn next_transition(&self) -> Option<Instant> {
        self.vms.values().filter_map(|entry| entry.phase.ends()).min()
    }

    pub(super) fn add_foreign(&mut self, mut vm: MockVm) -> String {
        let id = self.take_id();
        vm.id = id.to_string();
        vm.created_at.get_or_insert_with(Timestamp::now);
        if vm.status.is_empty() {
            "running".clone_into(&mut vm.status);
        }
        let id_text = vm.id.clone();
        self.vms.insert(
            id,
            Entry {
                vm,
                phase: Phase::Steady,
                listed_from: Some(Instant::now()),
            },
        );
        id_text
    }

    pub(super) fn set_status(&mut self, id: &str, status: &str) -> bool {
        self.settle(Instant::now());
        let Some(entry) = id.parse().ok().and_then(|id: u64| self.vms.get_mut(&id)) else {
            return false;
        };
        entry.phase = Phase::Steady;
        status.clone_into(&mut entry.vm.status);
        true
    }

    pub(super) fn remove(&mut self, id: &str) -> bool {
        self.settle(Instant::now());
        id.parse().ok().and_then(|id: u64| self.vms.remove(&id)).is_some()
    }

    pub(super) fn requests(&self, route: Route) -> u64 {
        self.counts.get(&route).copied().unwrap_or_default()
    }

    pub(super) fn log(&self) -> Vec<RequestRecord> {
        self.log.iter().cloned().collect()
    }

    /// Does what the passing of time has done up to now.
    fn settle(&mut self, now: Instant) {
        self.vms
            .retain(|_, entry| !matches!(entry.phase, Phase::Deleting { until: Some(until) } if until <= now));
        for (id, entry) in &mut self.vms {
            if matches!(entry.phase, Phase::Provisioning { until: Some(until) } if until <= now) {
                entry.phase = Phase::Steady;
                "running".clone_into(&mut entry.vm.status);
                // Addresses for documentation and of a private network, from the identifier.
                entry.vm.ip = Some(format!("203.0.113.{}", id % 256));
                entry.vm.private_ip = Some(format!("10.{}.{}.{}", id >> 16 & 255, id >> 8 & 255, id & 255));
            }
        }
    }

    fn answer(&mut self, incoming: &Incoming, now: Instant) -> Answer {
        if let Some(answer) = self.over_rate_limit(now) {
            return answer;
        }
        if incoming.route == Route::Login {
            return self.tokens.issue(&self.config, incoming, now);
        }
        if !self.tokens.is_valid(&self.config, &incoming.headers, now) {
            return refuse(401, "Unauthorized: the token is missing, unknown or expired");
        }
        match incoming.route {
            Route::Login => refuse(500, "unreachable"),
            Route::ListVms => {
                let listed = self
                    .vms
                    .values()
                    .filter(|entry| entry.listed_from.is_some_and(|from| from <= now));
                let vms: Vec<_> = listed.map(|entry| entry.vm.to_json()).collect();
                self.list_of(&vms, incoming)
            }
            Route::ListOfferings => {
                let offerings: Vec<_> = self.config.offerings.iter().map(offering_to_json).collect();
                self.list_of(&offerings, incoming)
            }
            Route::ListDatacenters => {
                let datacenters: Vec<_> = self.config.datacenters.iter().map(datacenter_to_json).collect();
                self.list_of(&datacenters, incoming)
            }
            Route::CreateVm => self.create(&incoming.body, now),
            Route::GetVm => match self.find(incoming) {
                Ok(id) => self
                    .vms
                    .get(&id)
                    .map_or_else(|| not_found(&id.to_string()), |entry| succeed(200, &entry.vm.to_json())),
                Err(answer) => answer,
            },
            Route::DeleteVm => match self.find(incoming) {
                Ok(id) => self.delete(id, now),
                Err(answer) => answer,
            },
        }
    }

    fn over_rate_limit(&mut self, now: Instant) -> Option<Answer> {
        let limit = self.config.rate_limit?;
        let (start, count) = match self.window {
            Some((start, count)) if now < start + WINDOW => (start, count),
            _ => (now, 0),
        };
        self.window = Some((start, count.saturating_add(1)));
        if count < limit {
            return None;
        }
        let left = start + WINDOW - now;
        let seconds = left.as_secs() + u64::from(left.subsec_nanos() > 0);
        let body = json!({"error": true, "code": 429, "message": "Too many requests", "retry_after": seconds});
        Some(Answer {
            status: 429,
            body: body.to_string(),
            retry_after: Some(seconds),
        })
    }

    fn find(&self, incoming: &Incoming) -> Result<u64, Answer> {
        let id = incoming.id.as_deref().unwrap_or_default();
        let known = id.parse().ok().filter(|id| self.vms.contains_key(id));
        known.ok_or_else(|| not_found(id))
    }

    fn create(&mut self, body: &[u8], now: Instant) -> Answer {
        let request: Value = match serde_json::from_slice(body) {
            Ok(request) => request,
            Err(error) => return refuse(400, &format!("The body is not JSON: {error}")),
        };
        let text = |name: &str| {
            request
                .get(name)
                .and_then(Value::as_str)
                .filter(|text| !text.is_empty())
                .map(str::to_owned)
        };
        let texts = |name: &str| {
            let items = request.get(name).and_then(Value::as_array).into_iter().flatten();
            items
                .filter_map(|item| item.as_str().map(str::to_owned))
                .collect::<Vec<_>>()
        };
        let (Some(hostname), Some(offering_id), Some(datacenter_id)) =
            (text("hostname"), text("offering_id"), text("datacenter_id"))
        else {
            return refuse(400, "hostname, offering_id and datacenter_id are required");
        };
        if let Err(answer) = self.check_place(&offering_id, &datacenter_id) {
            return answer;
        }
        let hostname = self.config.hostname_case.apply(&hostname);
        if self.config.unique_hostnames
            && self
                .vms
                .values()
                .any(|entry| entry.vm.hostname.eq_ignore_ascii_case(&hostname))
        {
            return refuse(409, &format!("The hostname {hostname} is in use"));
        }
        if let Some(limit) = self.config.worker_limit
            && self.vms.len() >= limit
        {
            return refuse(500, &format!("Worker nodes count exceeds the allowed limit {limit}"));
        }
        let id = self.take_id();
        let vm = MockVm {
            id: id.to_string(),
            hostname,
            status: "provisioning".to_owned(),
            offering_id,
            datacenter_id,
            project_id: text("project_id"),
            os_image_id: text("os_image_id"),
            ssh_key_ids: texts("ssh_key_ids"),
            tags: texts("tags"),
            notes: text("notes"),
            ip: None,
            private_ip: None,
            created_at: Some(Timestamp::now()),
            user_data: text("user_data"),
        };
        let answer = match self.config.create_reply {
            CreateReply::Vm => succeed(201, &vm.to_json()),
            CreateReply::True => succeed(200, &json!(true)),
            CreateReply::Empty => Answer {
                status: 202,
                body: String::new(),
                retry_after: None,
            },
        };
        let phase = Phase::Provisioning {
            until: now.checked_add(self.config.provision_delay),
        };
        self.vms.insert(
            id,
            Entry {
                vm,
                phase,
                listed_from: now.checked_add(self.config.list_delay),
            },
        );
        self.settle(now);
        answer
    }

    fn check_place(&self, offering_id: &str, datacenter_id: &str) -> Result<(), Answer> {
        let Some(offering) = self.config.offerings.iter().find(|offering| offering.id == offering_id) else {
            return Err(refuse(400, &format!("There is no offering {offering_id}")));
        };
        let Some(datacenter) = self
            .config
            .datacenters
            .iter()
            .find(|datacenter| datacenter.id == datacenter_id)
        else {
            return Err(refuse(400, &format!("There is no datacenter {datacenter_id}")));
        };
        if !datacenter.active {
            return Err(refuse(400, &format!("The datacenter {datacenter_id} is not active")));
        }
        if !offering.available {
            return Err(refuse(409, &format!("The offering {offering_id} is sold out")));
        }
        if offering
            .datacenter_id
            .as_deref()
            .is_some_and(|only| only != datacenter_id)
        {
            return Err(refuse(
                400,
                &format!("The offering {offering_id} is not sold in the datacenter {datacenter_id}"),
            ));
        }
        Ok(())
    }

    fn delete(&mut self, id: u64, now: Instant) -> Answer {
        let Some(entry) = self.vms.get_mut(&id) else {
            return not_found(&id.to_string());
        };
        // A second order changes nothing about the first.
        if !matches!(entry.phase, Phase::Deleting { .. }) {
            "deleting".clone_into(&mut entry.vm.status);
            entry.phase = Phase::Deleting {
                until: now.checked_add(self.config.delete_delay),
            };
            self.settle(now);
        }
        succeed(200, &json!(true))
    }

    /// One page, as `page` and `per_page` or `offset` and `limit` ask for it.
    fn list_of(&self, entries: &[Value], incoming: &Incoming) -> Answer {
        let asked: BTreeMap<_, _> = form_urlencoded::parse(incoming.query.as_bytes()).into_owned().collect();
        let number = |name: &str| asked.get(name).and_then(|text| text.parse::<usize>().ok());
        let most = self.config.max_page_size.max(1);
        let size = number("per_page")
            .or_else(|| number("limit"))
            .unwrap_or(most)
            .clamp(1, most);
        let skip =
            number("offset").unwrap_or_else(|| number("page").unwrap_or(1).saturating_sub(1).saturating_mul(size));
        let page: Vec<_> = entries.iter().skip(skip).take(size).cloned().collect();
        let total = entries.len();
        let mut body = Map::new();
        body.insert("error".to_owned(), json!(false));
        match self.config.list_count {
            ListCount::Pagination => {
                let pagination = json!({
                    "total": total,
                    "count": page.len(),
                    "per_page": size,
                    "current_page": skip / size + 1,
                    "total_pages": total.div_ceil(size),
                });
                body.insert("pagination".to_owned(), pagination);
            }
            ListCount::Total => {
                body.insert("total".to_owned(), json!(total));
            }
            ListCount::Nothing => {}
        }
        body.insert("data".to_owned(), Value::Array(page));
        Answer {
            status: 200,
            body: Value::Object(body).to_string(),
            retry_after: None,
        }
    }

    const fn take_id(&mut self) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        id
    }
}

// === impl Phase ===

impl Phase {
    const fn ends(&self) -> Option<Instant> {
        match self {
            Self::Provisioning { until } | Self::Deleting { until } => *until,
            Self::Steady => None,
        }
    }
}

// === impl Tokens ===

impl Tokens {
    pub(super) fn expire_access(&mut self) {
        self.access.clear();
    }

    pub(super) fn revoke_refresh(&mut self) {
        self.refresh.clear();
    }

    fn is_valid(&self, config: &MockConfig, headers: &HeaderMap, now: Instant) -> bool {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let bearer = text(header::AUTHORIZATION.as_str()).and_then(|value| value.strip_prefix("Bearer "));
        bearer.or_else(|| text("vpsie-auth")).is_some_and(|token| {
            config.static_tokens.iter().any(|known| known == token)
                || self.access.get(token).is_some_and(|end| now < *end)
        })
    }

    fn issue(&mut self, config: &MockConfig, incoming: &Incoming, now: Instant) -> Answer {
        let fields = login_fields(incoming);
        let is = |name: &str, expected: &str| fields.get(name).is_some_and(|value| value == expected);
        if let Some(refresh) = fields.get("refreshToken") {
            if self.refresh.remove(refresh).is_none_or(|end| end <= now) {
                self.counts.refused += 1;
                return refuse(401, "The refresh token is unknown or expired");
            }
            self.counts.refreshes += 1;
        } else if is("clientId", &config.client_id) && is("clientSecret", &config.client_secret) {
            self.counts.logins += 1;
        } else {
            self.counts.refused += 1;
            return refuse(401, "The client id or secret is wrong");
        }
        self.issued += 1;
        let end_of = |life: Duration| {
            Timestamp::now().saturating_add(SignedDuration::try_from(life).unwrap_or(SignedDuration::MAX))
        };
        let token_of = |kind: &str, life: Duration| {
            let token = format!("mock-{kind}-{}", self.issued);
            let json =
                json!({"token": token, "expires": end_of(life).map_or(Value::Null, |end| json!(end.to_string()))});
            (token, json)
        };
        self.access.retain(|_, end| *end > now);
        self.refresh.retain(|_, end| *end > now);
        let (token, access) = token_of("access", config.token_life);
        self.access.insert(token, now + config.token_life);
        let mut refresh = Value::Null;
        if config.refresh_tokens {
            let life = config.token_life * REFRESH_LIFE_FACTOR;
            let (token, json) = token_of("refresh", life);
            self.refresh.insert(token, now + life);
            refresh = json;
        }
        let body = match config.login_envelope {
            LoginEnvelope::AccessToken => json!({"error": false, "accessToken": access, "refreshToken": refresh}),
            LoginEnvelope::TokenAccess => json!({"error": false, "token": {"access": access, "refresh": refresh}}),
        };
        Answer {
            status: 200,
            body: body.to_string(),
            retry_after: None,
        }
    }
}

/// The fields of a login, which may be a form or JSON.
fn login_fields(incoming: &Incoming) -> BTreeMap<String, String> {
    let content_type = incoming
        .headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    if content_type.starts_with("application/json") {
        serde_json::from_slice(&incoming.body).unwrap_or_default()
    } else {
        form_urlencoded::parse(&incoming.body).into_owned().collect()
    }
}

// === impl HostnameCase ===

impl HostnameCase {
    fn apply(self, hostname: &str) -> String {
        match self {
            Self::Keep => hostname.to_owned(),
            Self::Lower => hostname.to_lowercase(),
            Self::Upper => hostname.to_uppercase(),
        }
    }
}

fn succeed(status: u16, data: &Value) -> Answer {
    Answer {
        status,
        body: json!({"error": false, "data": data}).to_string(),
        retry_after: None,
    }
}

fn refuse(status: u16, message: &str) -> Answer {
    let body = json!({"error": true, "code": status, "message": message});
    Answer {
        status,
        body: body.to_string(),
        retry_after: None,
    }
}

fn not_found(id: &str) -> Answer {
    refuse(404, &format!("VM {id} not found"))
}
