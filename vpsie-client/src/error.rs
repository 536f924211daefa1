//! The one error type of the crate, and the kinds that decide what a caller does next.

use std::time::Duration;

use crate::transport::BoxError;

/// A failed call to the API.
///
/// [`kind`](Self::kind) decides what happens next; the text says what was tried and what the API said. It holds no
/// secret: credentials, tokens and user data that the API echoes are cut out.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct Error(Box<Inner>);

/// How a call failed: the kind decides what happens next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The account or datacenter is full; the number is the limit, when the API names it.
    Capacity {
        /// The limit that was hit.
        limit: Option<u64>,
    },
    /// The plan or subscription does not allow it.
    Quota,
    /// The credentials are wrong or expired. Nothing works until they change.
    Auth,
    /// The credentials are right and do not allow this.
    Forbidden,
    /// The API says in so many words that the VM does not exist.
    NotFound,
    /// The VM is in a state that does not allow this now.
    Conflict,
    /// Too many requests, for the API or for the client's own limiter. The call was not carried out.
    RateLimited {
        /// How long to wait.
        retry_after: Option<Duration>,
    },
    /// The API, or the way to it, failed in a way that passes. A call that is not idempotent was not carried out.
    Transient,
    /// No answer that says whether the call was carried out: it came too late, was lost, or was a server error.
    Timeout {
        /// Whether the call may have changed something. Then its outcome must be looked up before it is made again.
        outcome_unknown: bool,
    },
    /// The API refused the request as such; the same request never succeeds.
    InvalidRequest,
    /// The answer could not be understood. Nothing may be concluded from it.
    Malformed,
}

#[derive(Debug, thiserror::Error)]
#[error("{operation}: {message}")]
struct Inner {
    kind: ErrorKind,
    operation: String,
    message: String,
    status: Option<u16>,
    request_id: Option<String>,
    not_sent: bool,
    #[source]
    source: Option<BoxError>,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, operation: impl Into<String>, message: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            kind,
            operation: operation.into(),
            message: message.into(),
            status: None,
            request_id: None,
            not_sent: false,
            source: None,
        }))
    }

    pub(crate) fn malformed(operation: &str, message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Malformed, operation, message)
    }

    pub(crate) fn with_source(mut self, source: BoxError) -> Self {
        self.0.source = Some(source);
        self
    }

    pub(crate) fn with_status(mut self, status: u16, request_id: Option<String>) -> Self {
        self.0.status = Some(status);
        self.0.request_id = request_id;
        self
    }

    /// Marks a failure before the request could have reached the API.
    pub(crate) fn before_sending(mut self) -> Self {
        self.0.not_sent = true;
        self
    }

    pub(crate) fn with_kind(mut self, kind: ErrorKind) -> Self {
        self.0.kind = kind;
        self
    }

    pub(crate) fn with_message(mut self, message: String) -> Self {
        self.0.message = message;
        self
    }

    pub(crate) fn with_operation(mut self, operation: &str) -> Self {
        self.0.message = format!("{}: {}", self.0.operation, self.0.message);
        operation.clone_into(&mut self.0.operation);
        self
    }

    /// What decides what happens next.
    #[must_use]
    pub fn kind(&self) -> &ErrorKind {
        &self.0.kind
    }

    /// What was tried, for example `create VM web-1a2b3c4d`.
    #[must_use]
    pub fn operation(&self) -> &str {
        &self.0.operation
    }

    /// What the API said, or what went wrong on the way there.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The HTTP status of the answer, when there was one.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        self.0.status
    }

    /// The `X-Request-ID` of the answer, for a support request.
    #[must_use]
    pub fn request_id(&self) -> Option<&str> {
        self.0.request_id.as_deref()
    }

    /// Whether the API says that the VM does not exist. After a delete this is success.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.0.kind == ErrorKind::NotFound
    }

    /// Whether the account, datacenter, plan or subscription is full.
    #[must_use]
    pub fn is_capacity(&self) -> bool {
        matches!(self.0.kind, ErrorKind::Capacity { .. } | ErrorKind::Quota)
    }

    /// Whether the credentials are wrong, expired or not allowed to do this.
    #[must_use]
    pub fn is_auth(&self) -> bool {
        matches!(self.0.kind, ErrorKind::Auth | ErrorKind::Forbidden)
    }

    /// Whether the call may have been carried out although it failed. Look for its effect before making it again.
    #[must_use]
    pub fn is_outcome_unknown(&self) -> bool {
        matches!(self.0.kind, ErrorKind::Timeout { outcome_unknown: true })
    }

    /// Whether the same call may be made again as it is, after a while: the failure passes, and the call was not
    /// carried out. [`is_outcome_unknown`](Self::is_outcome_unknown) excludes this.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self.0.kind {
            ErrorKind::RateLimited { .. } | ErrorKind::Transient => true,
            ErrorKind::Timeout { outcome_unknown } => !outcome_unknown,
            _ => false,
        }
    }

    /// The error below, if there is one.
    #[cfg(feature = "provider")]
    pub(crate) fn into_source(self) -> Option<BoxError> {
        self.0.source
    }

    /// Whether the request cannot have reached the API.
    pub(crate) fn is_before_sending(&self) -> bool {
        self.0.not_sent
    }

    /// Whether this says that the API is down: a server error, a timeout, or no connection. Refusals do not, and
    /// neither does a limit of the client itself.
    pub(crate) fn is_outage(&self) -> bool {
        match self.0.kind {
            ErrorKind::Timeout { .. } => true,
            ErrorKind::Transient => self.0.status.is_none_or(|status| status >= 500),
            _ => false,
        }
    }
}

impl ErrorKind {
    /// A short name for metric labels, for example `rate_limited`.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Capacity { .. } => "capacity",
            Self::Quota => "quota",
            Self::Auth => "unauthorized",
            Self::Forbidden => "forbidden",
            Self::NotFound => "not_found",
            Self::Conflict => "conflict",
            Self::RateLimited { .. } => "rate_limited",
            Self::Transient => "server_error",
            Self::Timeout { .. } => "timeout",
            Self::InvalidRequest => "client_error",
            Self::Malformed => "malformed",
        }
    }
}
