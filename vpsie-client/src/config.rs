//! What a client is made from: base URL, credentials, dialect and limits, and the checks on them.

use std::{fmt, net::IpAddr, time::Duration};

use http::Uri;
use secrecy::SecretString;

use crate::{
    breaker::BreakerConfig,
    dialect::Dialect,
    error::{Error, ErrorKind},
    limit::RateLimit,
};

/// Settings of a [`Client`](crate::Client). Start from [`Config::new`] and change fields.
///
/// ```
/// use std::time::Duration;
/// use vpsie_client::{Config, Credentials};
///
/// let mut config = Config::new("https://api.vpsie.com", Credentials::login("id", "secret"));
/// config.call_timeout = Duration::from_secs(30);
/// assert!(!format!("{config:?}").contains("secret\""));
/// ```
#[derive(Clone, Debug)]
pub struct Config {
    /// Where the API is, for example `https://api.vpsie.com`. A path in it goes before every path of the dialect.
    /// Plain http is refused unless the host is loopback.
    pub base_url: String,
    /// Who calls.
    pub credentials: Credentials,
    /// Paths, headers, encodings and paging.
    pub dialect: Dialect,
    /// Allows plain http to hosts other than loopback. Credentials then travel in the clear.
    pub allow_plain_http: bool,
    /// Longest time for a connection to be made.
    pub connect_timeout: Duration,
    /// Longest time for one request, from sending it to the last byte of its answer.
    pub attempt_timeout: Duration,
    /// Longest time for one call with everything in it: waiting, login, repeats, and all pages of a list.
    pub call_timeout: Duration,
    /// Repeats of a request that failed, besides the first try. Only requests that are safe to repeat are.
    pub max_retries: u32,
    /// Wait before the first repeat; it doubles each time. An answer with `Retry-After` overrides it.
    pub first_backoff: Duration,
    /// Longest wait before a repeat, unless `Retry-After` asks for more.
    pub max_backoff: Duration,
    /// Requests per minute.
    pub rate_limit: RateLimit,
    /// Requests under way at the same time.
    pub max_in_flight: usize,
    /// Circuit breaker.
    pub breaker: BreakerConfig,
    /// Longest answer that is read, in bytes.
    pub max_reply_bytes: usize,
    /// How long before its expiry a token is renewed, at most a quarter of its life.
    pub token_margin: Duration,
    /// Seed of the random part of waits between repeats; `None` takes a random one.
    pub jitter_seed: Option<u64>,
}

/// Who calls the API. Never printed.
#[derive(Clone)]
pub enum Credentials {
    /// A token that somebody made in the panel. It is sent as it is and never renewed.
    Token(SecretString),
    /// Client id and secret, which are exchanged for a token that expires.
    Login {
        /// The `clientId`.
        client_id: SecretString,
        /// The `clientSecret`.
        client_secret: SecretString,
    },
}

/// A checked base URL.
#[derive(Clone, Debug)]
pub(crate) struct BaseUrl {
    text: String,
    pub(crate) tls: bool,
}

/// Durations above this are mistakes, and would overflow instants.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

// === impl Config ===

impl Config {
    /// Settings for this base URL and these credentials, everything else as documented for the `Default` of each part:
    /// 10 s to connect, 30 s per request, 60 s per call, 3 repeats from 200 ms to 10 s apart, 16 requests at the same
    /// time, answers up to 10 MiB, tokens renewed 5 min before their expiry.
    #[must_use]
    pub fn new(base_url: impl Into<String>, credentials: Credentials) -> Self {
        Self {
            base_url: base_url.into(),
            credentials,
            dialect: Dialect::default(),
            allow_plain_http: false,
            connect_timeout: Duration::from_secs(10),
            attempt_timeout: Duration::from_secs(30),
            call_timeout: Duration::from_secs(60),
            max_retries: 3,
            first_backoff: Duration::from_millis(200),
            max_backoff: Duration::from_secs(10),
            rate_limit: RateLimit::default(),
            max_in_flight: 16,
            breaker: BreakerConfig::default(),
            max_reply_bytes: 10 << 20,
            token_margin: Duration::from_secs(300),
            jitter_seed: None,
        }
    }

    /// Checks what the types cannot, and gives the base URL.
    pub(crate) fn check(&self) -> Result<BaseUrl, Error> {
        let durations = [
            ("connect_timeout", self.connect_timeout),
            ("attempt_timeout", self.attempt_timeout),
            ("call_timeout", self.call_timeout),
            ("first_backoff", self.first_backoff),
            ("max_backoff", self.max_backoff),
            ("breaker.open_for", self.breaker.open_for),
            ("token_margin", self.token_margin),
        ];
        for (name, duration) in durations {
            if duration > LONGEST {
                return Err(invalid(format!("{name} is longer than a day")));
            }
        }
        if self.max_in_flight == 0 {
            return Err(invalid("max_in_flight is 0: no request could ever be sent"));
        }
        if self.attempt_timeout.is_zero() || self.call_timeout.is_zero() {
            return Err(invalid("a timeout is 0: no request could ever be answered"));
        }
        if self.dialect.page_size == 0 {
            return Err(invalid("dialect.pageSize is 0: no list could ever be read"));
        }
        let endpoints = &self.dialect.endpoints;
        let paths = [
            &endpoints.login,
            &endpoints.vms,
            &endpoints.offerings,
            &endpoints.datacenters,
        ];
        for path in paths.into_iter().chain(&endpoints.refresh) {
            if !path.starts_with('/') {
                return Err(invalid(format!(
                    "the path {path:?} of the dialect does not start with a slash"
                )));
            }
        }
        BaseUrl::parse(&self.base_url, self.allow_plain_http)
    }
}

// === impl Credentials ===

impl Credentials {
    /// A token from the panel.
    #[must_use]
    pub fn token(token: impl Into<String>) -> Self {
        Self::Token(SecretString::from(token.into()))
    }

    /// Client id and secret.
    #[must_use]
    pub fn login(client_id: impl Into<String>, client_secret: impl Into<String>) -> Self {
        Self::Login {
            client_id: SecretString::from(client_id.into()),
            client_secret: SecretString::from(client_secret.into()),
        }
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Token(_) => "Token([REDACTED])",
            Self::Login { .. } => "Login([REDACTED])",
        })
    }
}

// === impl BaseUrl ===

impl BaseUrl {
    fn parse(text: &str, allow_plain_http: bool) -> Result<Self, Error> {
        // The text may hold a password, so a message never repeats it.
        let uri: Uri = text
            .trim_end_matches('/')
            .parse()
            .map_err(|error: http::uri::InvalidUri| {
                invalid("the base URL is not a URL").with_source(Box::new(error))
            })?;
        let Some(authority) = uri.authority() else {
            return Err(invalid("the base URL has no host"));
        };
        if authority.as_str().contains('@') {
            return Err(invalid(
                "the base URL holds a user name; credentials belong in the credentials",
            ));
        }
        if uri.query().is_some() {
            return Err(invalid("the base URL holds a query"));
        }
        let tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") if allow_plain_http || is_loopback(authority.host()) => false,
            Some("http") => {
                return Err(invalid(format!(
                    "the base URL is plain http to {}, which would send credentials in the clear; use https or allow it explicitly",
                    authority.host()
                )));
            }
            _ => return Err(invalid("the base URL starts with neither https nor http")),
        };
        let path = uri.path().trim_end_matches('/');
        let scheme = if tls { "https" } else { "http" };
        Ok(Self {
            text: format!("{scheme}://{authority}{path}"),
            tls,
        })
    }

    /// The URL of a path of the dialect.
    pub(crate) fn join(&self, path: &str) -> Result<Uri, http::uri::InvalidUri> {
        format!("{}{path}", self.text).parse()
    }
}

fn is_loopback(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidRequest, "configure the VPSie client", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base(text: &str) -> Result<String, String> {
        BaseUrl::parse(text, false)
            .map(|base| base.text)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn base_urls_are_https_or_loopback() {
        for (text, expected) in [
            ("https://api.vpsie.com", "https://api.vpsie.com"),
            ("https://api.vpsie.com/apps///", "https://api.vpsie.com/apps"),
            ("http://127.0.0.1:9090/", "http://127.0.0.1:9090"),
            ("http://[::1]:9090", "http://[::1]:9090"),
            ("http://localhost", "http://localhost"),
        ] {
            assert_eq!(base(text).unwrap(), expected);
        }
        for text in [
            "http://api.vpsie.com",
            "http://localhost.example.com",
            "http://127.0.0.1.example.com",
            "ftp://127.0.0.1",
            "/v2",
            "",
            "api.vpsie.com",
            "https://user:hunter2@api.vpsie.com",
            "https://api.vpsie.com/?key=hunter2",
        ] {
            let message = base(text).unwrap_err();
            assert!(!message.contains("hunter2"), "{message}");
        }
        assert!(BaseUrl::parse("http://10.0.0.1", true).is_ok());
    }

    #[test]
    fn credentials_are_never_printed() {
        let config = Config::new("https://api.vpsie.com", Credentials::login("hunter1", "hunter2"));
        let text = format!("{config:?} {:?}", Credentials::token("hunter3"));
        assert!(!text.contains("hunter"), "{text}");
    }

    #[test]
    fn impossible_settings_are_refused() {
        let good = Config::new("https://api.vpsie.com", Credentials::token("t"));
        let changes: [fn(&mut Config); 5] = [
            |config| config.max_in_flight = 0,
            |config| config.call_timeout = Duration::MAX,
            |config| config.attempt_timeout = Duration::ZERO,
            |config| config.dialect.page_size = 0,
            |config| config.dialect.endpoints.vms = "v2/vms".to_owned(),
        ];
        assert!(good.check().is_ok());
        for change in changes {
            let mut config = good.clone();
            change(&mut config);
            assert_eq!(config.check().unwrap_err().kind(), &ErrorKind::InvalidRequest);
        }
    }
}
