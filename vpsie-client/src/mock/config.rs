//! The knobs of the mock, and its default catalogue.

use std::time::Duration;

use crate::model::{Datacenter, Offering};

/// How a mock account behaves.
#[derive(Clone, Debug)]
pub struct MockConfig {
    /// The `clientId` that may log in.
    pub client_id: String,
    /// The `clientSecret` that may log in.
    pub client_secret: String,
    /// Tokens that are valid without login, for ever.
    pub static_tokens: Vec<String>,
    /// Shape of the answer to a login.
    pub login_envelope: LoginEnvelope,
    /// Life of an access token.
    pub token_life: Duration,
    /// Whether a login gives a refresh token. Each is good for one renewal.
    pub refresh_tokens: bool,
    /// Time from the create call to running; [`Duration::MAX`] means never.
    pub provision_delay: Duration,
    /// Time from the delete call to gone; [`Duration::MAX`] means never.
    pub delete_delay: Duration,
    /// Time until a new VM shows up in lists; it can be got by its identifier at once.
    pub list_delay: Duration,
    /// Time that passes before each request is looked at.
    pub latency: Duration,
    /// Requests per minute, counted in fixed windows; more are answered by 429.
    pub rate_limit: Option<u32>,
    /// VMs that may exist at the same time; a create beyond is answered by 500 and the message of the real API.
    pub worker_limit: Option<usize>,
    /// Whether a host name may exist only once, whatever its case.
    pub unique_hostnames: bool,
    /// What the API does to host names.
    pub hostname_case: HostnameCase,
    /// What a create answers.
    pub create_reply: CreateReply,
    /// Most entries of one page, whatever is asked for.
    pub max_page_size: usize,
    /// What a list says about its length.
    pub list_count: ListCount,
    /// Identifier of the first VM; the next ones count up.
    pub first_id: u64,
    /// Sizes for sale.
    pub offerings: Vec<Offering>,
    /// Places.
    pub datacenters: Vec<Datacenter>,
}

/// Shape of the answer to a login.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LoginEnvelope {
    /// `{accessToken: {token, expires}, refreshToken: {token, expires}}`
    #[default]
    AccessToken,
    /// `{token: {access: {token, expires}, refresh: {token, expires}}}`
    TokenAccess,
}

/// What the API does to host names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HostnameCase {
    /// Keeps them.
    #[default]
    Keep,
    /// Makes them lower case.
    Lower,
    /// Makes them upper case.
    Upper,
}

/// What a create answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CreateReply {
    /// The VM.
    #[default]
    Vm,
    /// `{error: false, data: true}`: the order is taken, and nothing says which VM it will be.
    True,
    /// No body at all.
    Empty,
}

/// What a list says about its length.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ListCount {
    /// `pagination: {total, count, per_page, current_page, total_pages}`
    #[default]
    Pagination,
    /// `total` beside `data`.
    Total,
    /// Nothing.
    Nothing,
}

// === impl MockConfig ===

impl Default for MockConfig {
    /// Credentials `mock-client` and `mock-secret`, tokens for an hour, VMs run after one second and are gone one second
    /// after their deletion, no limits, and the catalogue of [`MockConfig::default_offerings`].
    fn default() -> Self {
        Self {
            client_id: "mock-client".to_owned(),
            client_secret: "mock-secret".to_owned(),
            static_tokens: Vec::new(),
            login_envelope: LoginEnvelope::default(),
            token_life: Duration::from_secs(3600),
            refresh_tokens: true,
            provision_delay: Duration::from_secs(1),
            delete_delay: Duration::from_secs(1),
            list_delay: Duration::ZERO,
            latency: Duration::ZERO,
            rate_limit: None,
            worker_limit: None,
            unique_hostnames: false,
            hostname_case: HostnameCase::default(),
            create_reply: CreateReply::default(),
            max_page_size: 100,
            list_count: ListCount::default(),
            first_id: 1000,
            offerings: Self::default_offerings(),
            datacenters: Self::default_datacenters(),
        }
    }
}

impl MockConfig {
    /// Six sizes from 1 core and 1 GiB to 16 cores and 64 GiB, sold in every datacenter.
    #[must_use]
    pub fn default_offerings() -> Vec<Offering> {
        let sizes = [
            ("small-1", "Small 1", 1, 1, 25, 0.0075, 5.0, "A"),
            ("small-2", "Small 2", 2, 4, 80, 0.03, 20.0, "A"),
            ("medium-4", "Medium 4", 4, 8, 160, 0.06, 40.0, "A"),
            ("medium-8", "Medium 8", 8, 16, 320, 0.12, 80.0, "G"),
            ("large-8", "Large 8", 8, 32, 320, 0.18, 120.0, "M"),
            ("large-16", "Large 16", 16, 64, 640, 0.36, 240.0, "G"),
        ];
        sizes
            .into_iter()
            .map(
                |(id, name, cpu, memory_gib, disk_gib, hourly, monthly, category)| Offering {
                    id: id.to_owned(),
                    name: name.to_owned(),
                    cpu_milli: cpu * 1000,
                    memory_mib: memory_gib * 1024,
                    disk_gib,
                    hourly_price: Some(hourly),
                    monthly_price: Some(monthly),
                    available: true,
                    datacenter_id: None,
                    category: Some(category.to_owned()),
                },
            )
            .collect()
    }

    /// `dc-1` and `dc-2`, which are active, and `dc-3`, which is not.
    #[must_use]
    pub fn default_datacenters() -> Vec<Datacenter> {
        let places = [
            ("dc-1", "Helsinki", true),
            ("dc-2", "New York", true),
            ("dc-3", "Singapore", false),
        ];
        places
            .into_iter()
            .map(|(id, name, active)| Datacenter {
                id: id.to_owned(),
                name: name.to_owned(),
                active,
            })
            .collect()
    }
}
