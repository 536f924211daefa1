//! Tokens: login, renewal ahead of expiry by one task for all, and what happens when the API refuses one.
//!
//! While a token is valid it is used, whatever becomes of its renewal. When there is none, one task logs in and all
//! others wait for it and share what comes out, also its failure.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, header};
use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout_at};

use crate::{
    config::{Config, Credentials},
    dialect::{AuthHeader, Dialect, LoginEncoding},
    error::{Error, ErrorKind},
    exchange::{Exchange, Outgoing},
    reply::{Nature, judge},
    wire::Fields,
};

/// Life of a token when the API does not say, or says something in the past because clocks differ.
const DEFAULT_LIFE: Duration = Duration::from_secs(3600);

/// How long to leave the API alone after an early renewal failed while the old token is still valid.
const EARLY_RETRY: Duration = Duration::from_secs(30);

/// How long refused credentials are not tried again, so that a wrong secret does not lock the account.
const REFUSED_PAUSE: Duration = Duration::from_secs(10);

/// The longest life that is believed.
const LONGEST_LIFE: Duration = Duration::from_secs(400 * 24 * 3600);

/// Keeps the token of a client.
pub(crate) struct Auth {
    dialect: Dialect,
    margin: Duration,
    state: Mutex<State>,
    /// Held by the one task that renews the token.
    turn: tokio::sync::Mutex<()>,
}

/// A token, ready to be sent.
#[derive(Clone, Debug)]
pub(crate) struct Token {
    headers: HeaderMap,
    secret: SecretString,
    generation: u64,
    /// When to renew it, and when it ends; `None` for one that does not expire.
    life: Option<(Instant, Instant)>,
}

#[derive(Debug)]
struct State {
    credentials: Credentials,
    /// Counts changes of the credentials: what was issued for older ones is not kept.
    epoch: u64,
    /// Counts tokens.
    generation: u64,
    token: Option<Token>,
    refresh: Option<SecretString>,
    /// Counts renewals that are over, and what became of the last one if it failed.
    renewals: u64,
    failure: Option<Failure>,
}

#[derive(Clone, Debug)]
struct Failure {
    kind: ErrorKind,
    message: String,
    status: Option<u16>,
    at: Instant,
}

/// What a login answers.
struct Issued {
    access: SecretString,
    refresh: Option<SecretString>,
    life: Duration,
}

/// What to do about a token now.
enum Lookup {
    Use(Token),
    RenewEarly(Token),
    Renew { renewals: u64 },
}

// === impl Auth ===

impl Auth {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            dialect: config.dialect.clone(),
            margin: config.token_margin,
            state: Mutex::new(State {
                credentials: config.credentials.clone(),
                epoch: 0,
                generation: 0,
                token: None,
                refresh: None,
                renewals: 0,
                failure: None,
            }),
            turn: tokio::sync::Mutex::default(),
        }
    }

    /// Replaces the credentials. Calls that start from now on use them; tokens of the old ones are forgotten.
    pub(crate) fn set_credentials(&self, credentials: Credentials) {
        let mut state = self.state();
        state.credentials = credentials;
        state.epoch += 1;
        state.token = None;
        state.refresh = None;
        state.failure = None;
    }

    /// A token that is valid as far as is known here.
    pub(crate) async fn token(&self, exchange: &Exchange, deadline: Instant) -> Result<Token, Error> {
        match self.look_up(None)? {
            Lookup::Use(token) => Ok(token),
            Lookup::RenewEarly(token) => {
                // Whoever finds the renewal taken uses the old token instead of waiting.
                let Ok(_turn) = self.turn.try_lock() else {
                    return Ok(token);
                };
                let half = Instant::now() + deadline.saturating_duration_since(Instant::now()) / 2;
                match self.renew(exchange, half).await {
                    Ok(renewed) => Ok(renewed),
                    Err(error) => {
                        tracing::warn!(%error, "cannot renew the VPSie token early; the old one is still valid");
                        Ok(token)
                    }
                }
            }
            Lookup::Renew { renewals } => self.renew_together(exchange, deadline, None, renewals).await,
        }
    }

    /// A token other than `refused`, which the API refused.
    pub(crate) async fn replace(
        &self,
        refused: &Token,
        exchange: &Exchange,
        deadline: Instant,
    ) -> Result<Token, Error> {
        match self.look_up(Some(refused.generation))? {
            Lookup::Use(token) | Lookup::RenewEarly(token) => Ok(token),
            Lookup::Renew { renewals } => {
                self.renew_together(exchange, deadline, Some(refused.generation), renewals)
                    .await
            }
        }
    }

    /// Whether a refused token can be replaced by a login.
    pub(crate) fn can_renew(&self) -> bool {
        matches!(self.state().credentials, Credentials::Login { .. })
    }

    /// Cuts everything secret out of a text.
    pub(crate) fn redact(&self, text: &str) -> String {
        let state = self.state();
        let mut secrets = match &state.credentials {
            Credentials::Token(token) => vec![token.clone()],
            Credentials::Login {
                client_id,
                client_secret,
            } => vec![client_secret.clone(), client_id.clone()],
        };
        secrets.extend(state.token.as_ref().map(|token| token.secret.clone()));
        secrets.extend(state.refresh.clone());
        drop(state);
        secrets
            .iter()
            .fold(text.to_owned(), |text, secret| redact(&text, secret.expose_secret()))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn look_up(&self, refused: Option<u64>) -> Result<Lookup, Error> {
        let now = Instant::now();
        let mut state = self.state();
        if let Credentials::Token(token) = &state.credentials
            && refused.is_none()
            && state.token.is_none()
        {
            let headers = self.headers(token)?;
            let secret = token.clone();
            state.keep(headers, secret, None);
        }
        let paused = state
            .failure
            .as_ref()
            .filter(|failure| failure.at + EARLY_RETRY > now)
            .is_some();
        match &state.token {
            Some(token) if refused != Some(token.generation) => match token.life {
                Some((_, end)) if now >= end => {}
                Some((renew_at, _)) if now >= renew_at && !paused => return Ok(Lookup::RenewEarly(token.clone())),
                _ => return Ok(Lookup::Use(token.clone())),
            },
            _ => {}
        }
        Ok(Lookup::Renew {
            renewals: state.renewals,
        })
    }

    /// Waits for the turn, and renews unless somebody else did meanwhile.
    async fn renew_together(
        &self,
        exchange: &Exchange,
        deadline: Instant,
        refused: Option<u64>,
        renewals: u64,
    ) -> Result<Token, Error> {
        let Ok(_turn) = timeout_at(deadline, self.turn.lock()).await else {
            let kind = ErrorKind::Timeout { outcome_unknown: false };
            return Err(Error::new(kind, LOGIN, "another task's login did not end in time").before_sending());
        };
        if let Lookup::Use(token) | Lookup::RenewEarly(token) = self.look_up(refused)? {
            return Ok(token);
        }
        let shared = {
            let state = self.state();
            let failure = state.failure.as_ref();
            failure
                .filter(|failure| state.renewals != renewals || failure.is_still_refused())
                .map(Failure::to_error)
        };
        match shared {
            Some(error) => Err(error),
            None => self.renew(exchange, deadline).await,
        }
    }

    /// Gets a new token, by refresh token or else by login. Only who has the turn may call this.
    async fn renew(&self, exchange: &Exchange, deadline: Instant) -> Result<Token, Error> {
        let (credentials, refresh, epoch) = {
            let state = self.state();
            (state.credentials.clone(), state.refresh.clone(), state.epoch)
        };
        let issued = self
            .issue(exchange, &credentials, refresh, deadline)
            .await
            .and_then(|issued| {
                let headers = self.headers(&issued.access)?;
                Ok((headers, issued))
            });
        let mut state = self.state();
        state.renewals += 1;
        if state.epoch != epoch {
            drop(state);
            let message = "the credentials changed during the login";
            return Err(Error::new(ErrorKind::Transient, LOGIN, message).before_sending());
        }
        match issued {
            Ok((headers, issued)) => {
                let margin = self.margin.min(issued.life / 4);
                let now = Instant::now();
                state.failure = None;
                state.refresh = issued.refresh;
                Ok(state.keep(
                    headers,
                    issued.access,
                    Some((now + (issued.life - margin), now + issued.life)),
                ))
            }
            Err(error) => {
                state.failure = Some(Failure::of(&error));
                Err(error)
            }
        }
    }

    async fn issue(
        &self,
        exchange: &Exchange,
        credentials: &Credentials,
        refresh: Option<SecretString>,
        deadline: Instant,
    ) -> Result<Issued, Error> {
        let Credentials::Login {
            client_id,
            client_secret,
        } = credentials
        else {
            return Err(Error::new(
                ErrorKind::Auth,
                LOGIN,
                "the token is refused, and there is no client id and secret to get another",
            )
            .before_sending());
        };
        if let (Some(refresh), Some(path)) = (&refresh, &self.dialect.endpoints.refresh) {
            let result = self
                .request(
                    exchange,
                    "renew the token",
                    path,
                    &[("refreshToken", refresh)],
                    deadline,
                )
                .await;
            match result {
                Ok(mut issued) => {
                    issued.refresh = issued.refresh.or_else(|| Some(refresh.clone()));
                    return Ok(issued);
                }
                // No answer: a login would fail in the same way, and cost another timeout.
                Err(error) if error.status().is_none() || matches!(error.kind(), ErrorKind::RateLimited { .. }) => {
                    return Err(error);
                }
                Err(error) => tracing::debug!(%error, "the refresh token is refused, logging in"),
            }
        }
        let fields = [("clientId", client_id), ("clientSecret", client_secret)];
        self.request(exchange, LOGIN, &self.dialect.endpoints.login, &fields, deadline)
            .await
    }

    /// One request for a token. Every failure counts as before the call that needs the token.
    async fn request(
        &self,
        exchange: &Exchange,
        operation: &str,
        path: &str,
        fields: &[(&str, &SecretString)],
        deadline: Instant,
    ) -> Result<Issued, Error> {
        let (content_type, body) = match self.dialect.login_encoding {
            LoginEncoding::Form => {
                let mut form = form_urlencoded::Serializer::new(String::new());
                for (name, value) in fields {
                    form.append_pair(name, value.expose_secret());
                }
                ("application/x-www-form-urlencoded", form.finish())
            }
            LoginEncoding::Json => {
                let object = fields
                    .iter()
                    .map(|(name, value)| ((*name).to_owned(), json!(value.expose_secret())));
                ("application/json", Value::Object(object.collect()).to_string())
            }
        };
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        let outgoing = Outgoing {
            operation,
            name: "login",
            method: Method::POST,
            path,
            headers,
            body: Bytes::from(body),
            priority: Nature::Login.priority(),
        };
        let issued = match exchange.send(&outgoing, deadline).await {
            Ok(reply) => judge(&reply, Nature::Login, operation).and_then(|body| {
                Issued::read(&body).ok_or_else(|| {
                    Error::malformed(operation, "the answer holds no token").with_status(reply.status.as_u16(), None)
                })
            }),
            Err(error) => Err(error),
        };
        issued.map_err(|error| {
            let message = fields.iter().fold(self.redact(error.message()), |text, (_, secret)| {
                redact(&text, secret.expose_secret())
            });
            let kind = match error.kind() {
                ErrorKind::Timeout { .. } => ErrorKind::Timeout { outcome_unknown: false },
                kind => kind.clone(),
            };
            error.with_kind(kind).with_message(message).before_sending()
        })
    }

    fn headers(&self, token: &SecretString) -> Result<HeaderMap, Error> {
        let value = |text: String| {
            let mut value = HeaderValue::try_from(text).map_err(|_| {
                Error::new(
                    ErrorKind::Auth,
                    LOGIN,
                    "the token holds characters that a header cannot",
                )
                .before_sending()
            })?;
            value.set_sensitive(true);
            Ok::<_, Error>(value)
        };
        let token = token.expose_secret();
        let mut headers = HeaderMap::new();
        if matches!(self.dialect.auth_header, AuthHeader::Bearer | AuthHeader::Both) {
            headers.insert(header::AUTHORIZATION, value(format!("Bearer {token}"))?);
        }
        if matches!(self.dialect.auth_header, AuthHeader::VpsieAuth | AuthHeader::Both) {
            headers.insert("vpsie-auth", value(token.to_owned())?);
        }
        Ok(headers)
    }
}

const LOGIN: &str = "log in";

// === impl Token ===

impl Token {
    pub(crate) fn headers(&self) -> HeaderMap {
        self.headers.clone()
    }
}

// === impl State ===

impl State {
    fn keep(&mut self, headers: HeaderMap, secret: SecretString, life: Option<(Instant, Instant)>) -> Token {
        self.generation += 1;
        let token = Token {
            headers,
            secret,
            generation: self.generation,
            life,
        };
        self.token = Some(token.clone());
        token
    }
}

// === impl Failure ===

impl Failure {
    fn of(error: &Error) -> Self {
        Self {
            kind: error.kind().clone(),
            message: error.message().to_owned(),
            status: error.status(),
            at: Instant::now(),
        }
    }

    /// Whether the credentials were refused so recently that trying again only harms.
    fn is_still_refused(&self) -> bool {
        matches!(self.kind, ErrorKind::Auth | ErrorKind::Forbidden) && self.at.elapsed() < REFUSED_PAUSE
    }

    fn to_error(&self) -> Error {
        let error = Error::new(self.kind.clone(), LOGIN, self.message.clone()).before_sending();
        match self.status {
            Some(status) => error.with_status(status, None),
            None => error,
        }
    }
}

// === impl Issued ===

impl Issued {
    /// Reads `{accessToken: {token, expires}, refreshToken: {..}}` and `{token: {access: {..}, refresh: {..}}}`, also
    /// within `data`.
    fn read(body: &Value) -> Option<Self> {
        let fields = Fields::of(body)?;
        let fields = fields.get(&["data"]).and_then(Fields::of).unwrap_or(fields);
        let (access, refresh) = match fields.get(&["token"]).and_then(Fields::of) {
            Some(pair) => (pair.get(&["access"])?, pair.get(&["refresh"])),
            None => (fields.get(&["accessToken"])?, fields.get(&["refreshToken"])),
        };
        let access = Fields::of(access)?;
        let life = access.time_left(&["expires"], Timestamp::now());
        Some(Self {
            access: access.text(&["token"])?.into(),
            refresh: refresh
                .and_then(Fields::of)
                .and_then(|refresh| refresh.text(&["token"]))
                .map(SecretString::from),
            life: life.unwrap_or(DEFAULT_LIFE).min(LONGEST_LIFE),
        })
    }
}

/// Cuts a secret out of a text. Secrets too short to be one are left alone, or every letter would go.
pub(crate) fn redact(text: &str, secret: &str) -> String {
    if secret.len() < 4 {
        text.to_owned()
    } else {
        text.replace(secret, "[REDACTED]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_envelopes_are_read() {
        for body in [
            json!({"error": false, "accessToken": {"token": "a", "expires": 7200}, "refreshToken": {"token": "r", "expires": 9000}}),
            json!({"error": false, "token": {"access": {"token": "a", "expires": 7200}, "refresh": {"token": "r"}}}),
            json!({"data": {"accessToken": {"token": "a", "expires": "7200"}, "refreshToken": {"token": "r"}}}),
        ] {
            let issued = Issued::read(&body).unwrap();
            assert_eq!(issued.access.expose_secret(), "a");
            assert_eq!(issued.refresh.unwrap().expose_secret(), "r");
            assert_eq!(issued.life, Duration::from_secs(7200));
        }
        for body in [
            json!({}),
            json!({"token": "a"}),
            json!({"accessToken": {"token": ""}}),
            json!([]),
            json!(null),
        ] {
            assert!(Issued::read(&body).is_none(), "{body}");
        }
    }

    #[test]
    fn an_expiry_that_is_missing_or_past_gives_an_hour() {
        for expires in [
            json!(null),
            json!("never"),
            json!("2001-01-01T00:00:00Z"),
            json!(-5),
            json!(0),
        ] {
            let body = json!({"accessToken": {"token": "a", "expires": expires}});
            assert_eq!(Issued::read(&body).unwrap().life, DEFAULT_LIFE, "{expires}");
        }
    }
}
