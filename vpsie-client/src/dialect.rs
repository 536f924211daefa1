//! What differs between the dialects of the API, as data: paths, headers, encodings and paging.
//!
//! Only tables belong here. Code elsewhere reads them and never asks which API it talks to.

use serde::Deserialize;

/// One dialect of the VPSie API.
///
/// The default is the API of `POST /auth/from/api` and `/v2/vms`. Others are told by data, also from a configuration
/// file; fields that are left out keep their default:
///
/// ```
/// use vpsie_client::{AuthHeader, Dialect};
///
/// let dialect: Dialect = serde_json::from_str(
///     r#"{"authHeader": "vpsieAuth", "endpoints": {"vms": "/vm"}, "paging": {"style": "offset", "offset": "offset", "limit": "limit"}}"#,
/// )?;
/// assert_eq!(dialect.auth_header, AuthHeader::VpsieAuth);
/// assert_eq!(dialect.endpoints.vms, "/vm");
/// assert_eq!(dialect.endpoints.login, "/auth/from/api");
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Dialect {
    /// Paths below the base URL.
    pub endpoints: Endpoints,
    /// How a request carries its token.
    pub auth_header: AuthHeader,
    /// How the body of a login is written.
    pub login_encoding: LoginEncoding,
    /// How a list is asked for in parts.
    pub paging: Paging,
    /// Entries asked for per page.
    pub page_size: u32,
    /// Fields that hold the identifier of an object, the first that is there counts.
    pub id_fields: Vec<String>,
}

/// Paths of the API. Each starts with a slash and is put after the path of the base URL.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Endpoints {
    /// `POST` of client id and secret.
    pub login: String,
    /// `POST` of a refresh token; `None` when the API has no such thing, then every renewal is a login.
    pub refresh: Option<String>,
    /// `GET` and `POST`; one VM is this path, a slash, and its identifier, for `GET` and `DELETE`.
    pub vms: String,
    /// `GET` of the sizes for sale.
    pub offerings: String,
    /// `GET` of the places.
    pub datacenters: String,
}

/// How a request carries its token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum AuthHeader {
    /// `Authorization: Bearer <token>`
    #[default]
    Bearer,
    /// `Vpsie-Auth: <token>`
    VpsieAuth,
    /// Both of them.
    Both,
}

/// How the body of a login is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum LoginEncoding {
    /// `application/x-www-form-urlencoded`
    #[default]
    Form,
    /// `application/json`
    Json,
}

/// How a list is asked for in parts, with the names of the query parameters.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(tag = "style", rename_all = "camelCase")]
pub enum Paging {
    /// No parameters: everything comes in one answer. An answer that says it is only a part is an error.
    None,
    /// Pages, counted from 1.
    Page {
        /// Parameter for the number of the page.
        page: String,
        /// Parameter for the entries per page.
        per_page: String,
    },
    /// Entries to skip.
    Offset {
        /// Parameter for the entries to skip.
        offset: String,
        /// Parameter for the entries per page.
        limit: String,
    },
}

// === impl Dialect ===

impl Default for Dialect {
    fn default() -> Self {
        Self {
            endpoints: Endpoints::default(),
            auth_header: AuthHeader::default(),
            login_encoding: LoginEncoding::default(),
            paging: Paging::default(),
            page_size: 100,
            id_fields: vec!["id".to_owned(), "identifier".to_owned()],
        }
    }
}

// === impl Endpoints ===

impl Default for Endpoints {
    fn default() -> Self {
        Self {
            login: "/auth/from/api".to_owned(),
            refresh: Some("/auth/from/api".to_owned()),
            vms: "/v2/vms".to_owned(),
            offerings: "/v2/offerings".to_owned(),
            datacenters: "/v2/datacenters".to_owned(),
        }
    }
}

// === impl Paging ===

impl Default for Paging {
    fn default() -> Self {
        Self::Page {
            page: "page".to_owned(),
            per_page: "per_page".to_owned(),
        }
    }
}

impl Paging {
    /// The query of a request for the page with this number (from 0), when this many entries are there already.
    pub(crate) fn query(&self, page: u64, received: usize, page_size: u32) -> Option<String> {
        let mut query = form_urlencoded::Serializer::new(String::new());
        match self {
            Self::None => return None,
            Self::Page { page: number, per_page } => query
                .append_pair(number, &page.saturating_add(1).to_string())
                .append_pair(per_page, &page_size.to_string()),
            Self::Offset { offset, limit } => query
                .append_pair(offset, &received.to_string())
                .append_pair(limit, &page_size.to_string()),
        };
        Some(query.finish())
    }
}
