//! The port to the cloud: what the autoscaler asks of a provider, and how a provider may fail.
//!
//! Only the [`CloudProvider`] trait and its data belong here. Implementations live in their own crates
//! (`vpsie-client` has the one for VPSie), and nothing in this crate calls the port: the executor does.

use std::{fmt, time::Duration};

use async_trait::async_trait;
use jiff::Timestamp;

use crate::quantity::{Bytes, HourlyPrice, MilliCpu};

/// The tag of a VM that holds the client token of the create request that asked for it: this prefix and the token.
pub const TOKEN_TAG_PREFIX: &str = "vpsie-autoscaler-token=";

/// The tag of a VM that says which cluster it belongs to: this prefix and the cluster's identity.
pub const CLUSTER_TAG_PREFIX: &str = "vpsie-autoscaler-cluster=";

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(std::sync::Arc<str>);

        impl $name {
            #[doc = concat!("Wraps a text as ", stringify!($name), ".")]
            #[must_use]
            pub fn new(text: impl Into<std::sync::Arc<str>>) -> Self {
                Self(text.into())
            }

            /// The identifier as the provider writes it.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

id!(
    /// Identifies an offering: a size of VM that can be bought.
    OfferingId
);
id!(
    /// Identifies a datacenter.
    DatacenterId
);
id!(
    /// Identifies a VM at the provider.
    InstanceId
);
id!(
    /// Names one intent to create one VM. It is recorded before the create call and travels with the VM as a tag, so
    /// that a create call with an unknown outcome is resolved by listing and never by a second create.
    ClientToken
);

/// A size of VM that can be bought, with its price.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offering {
    /// The provider's identifier, as NodeGroups name it in `spec.offeringIDs`.
    pub id: OfferingId,
    /// A name for people.
    pub name: String,
    /// Virtual cores.
    pub cpu: MilliCpu,
    /// Memory of the VM, before what system and kubelet keep for themselves.
    pub memory: Bytes,
    /// Disk of the VM.
    pub disk: Bytes,
    /// Most pods of a node of this size, where that is known; `None` means the default of the kubelet, 110.
    pub max_pods: Option<u32>,
    /// Price of one VM for one hour.
    pub hourly_price: HourlyPrice,
    /// Whether the provider sells it now.
    pub available: bool,
    /// The only datacenter that sells it; `None` means every datacenter does.
    pub datacenter: Option<DatacenterId>,
}

/// A place where VMs run. Its identifier is the zone of its nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Datacenter {
    /// The provider's identifier.
    pub id: DatacenterId,
    /// A name for people.
    pub name: String,
    /// Whether VMs can be created there now.
    pub active: bool,
}

/// What a VM is doing, as far as the provider says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum InstanceState {
    /// Asked for, not yet running.
    Provisioning,
    /// Running.
    Running,
    /// Powered off.
    Stopped,
    /// Suspended or locked by the provider.
    Suspended,
    /// Being deleted.
    Deleting,
    /// Deleted; some lists show such VMs for a while.
    Deleted,
    /// The provider says it failed to build.
    Failed,
    /// The provider gave no state, or one that is not known here. Nothing may be concluded from it.
    Unknown,
}

/// A VM as the provider describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// The provider's identifier.
    pub id: InstanceId,
    /// Host name: the name under which its kubelet registers. Providers may change its case.
    pub hostname: String,
    /// What it is doing.
    pub state: InstanceState,
    /// Its size, when the provider says.
    pub offering: Option<OfferingId>,
    /// Where it runs, when the provider says.
    pub datacenter: Option<DatacenterId>,
    /// Its addresses, public before private.
    pub addresses: Vec<String>,
    /// Tags, among them the ones that start with [`TOKEN_TAG_PREFIX`] and [`CLUSTER_TAG_PREFIX`].
    pub tags: Vec<String>,
    /// When it was created, when the provider says.
    pub created_at: Option<Timestamp>,
}

/// Every VM of the account, as one complete answer of the provider.
///
/// A provider returns this only when it has read *all* pages of a well-formed answer; whatever is less is an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstanceList {
    /// The VMs that could be read.
    pub instances: Vec<Instance>,
    /// Entries of the answer that could not be read, as text for a log. While there are any, a VM that is not in
    /// `instances` is unknown and not gone.
    pub unreadable: Vec<String>,
}

/// A cloud-init document. It usually holds a join token, so it is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct UserData(String);

/// A request to create one VM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateInstance {
    /// The recorded intent that this request carries out.
    pub token: ClientToken,
    /// Identity of the cluster that the VM belongs to.
    pub cluster: String,
    /// Host name, which becomes the name of the Node.
    pub hostname: String,
    /// Size to buy.
    pub offering: OfferingId,
    /// Where to create it.
    pub datacenter: DatacenterId,
    /// Project that is billed, when the account has several.
    pub project: Option<String>,
    /// Operating system image.
    pub image: Option<String>,
    /// Keys that may log in.
    pub ssh_keys: Vec<String>,
    /// Tags besides those for token and cluster, which the provider adds itself.
    pub tags: Vec<String>,
    /// Free text shown at the provider.
    pub notes: Option<String>,
    /// What the VM runs at first boot in order to join the cluster.
    pub user_data: Option<UserData>,
}

/// What a provider can do beyond the minimum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// Whether VMs come back from a list with the tags that they were created with. Without tags an ambiguous create
    /// is resolved by host name, which is unique as well.
    pub tags: bool,
    /// Whether the caller chooses the VM that a delete removes.
    pub targeted_delete: bool,
}

/// How a call failed: the kind decides what happens next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProviderErrorKind {
    /// The account or datacenter is full; the number is the limit, when the provider names it. Back off, try the next
    /// best offering.
    Capacity {
        /// The limit that was hit.
        limit: Option<u64>,
    },
    /// The plan or subscription does not allow it. Back off.
    Quota,
    /// The credentials are wrong or expired. Nothing works until they change.
    Auth,
    /// The credentials are right and do not allow this.
    Forbidden,
    /// The object does not exist. After a delete this is success.
    NotFound,
    /// The object is in a state that does not allow this now.
    Conflict,
    /// Too many requests. The call was not carried out.
    RateLimited {
        /// How long the provider asks to wait.
        retry_after: Option<Duration>,
    },
    /// The provider failed in a way that passes. The call may be made again when it is idempotent.
    Transient,
    /// No complete answer in time.
    Timeout {
        /// Whether the call may have been carried out. Then its outcome must be looked up before it is made again.
        outcome_unknown: bool,
    },
    /// The provider refused the request as such; the same request never succeeds.
    InvalidRequest,
    /// The answer could not be understood. Nothing may be concluded from it.
    Malformed,
}

/// A failed call to the provider.
#[derive(Debug, thiserror::Error)]
#[error("{operation}: {message}")]
pub struct ProviderError {
    /// What decides what happens next.
    pub kind: ProviderErrorKind,
    /// What was tried, for example `create VM web-1a2b3c4d`.
    pub operation: String,
    /// What the provider said, or what went wrong on the way there. Holds no secret.
    pub message: String,
    /// The error below, if there is one.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// A cloud that sells VMs.
///
/// Every method is one logical call: an implementation may retry inside, but only what is safe to repeat, and a
/// [`create`](Self::create) never.
#[async_trait]
pub trait CloudProvider: fmt::Debug + Send + Sync {
    /// What this provider can do.
    fn capabilities(&self) -> Capabilities;

    /// Sizes for sale, with prices.
    ///
    /// # Errors
    /// Any kind but `Capacity`, `Quota` and `Timeout { outcome_unknown: true }`.
    async fn offerings(&self) -> Result<Vec<Offering>, ProviderError>;

    /// Places to create VMs in.
    ///
    /// # Errors
    /// As [`offerings`](Self::offerings).
    async fn datacenters(&self) -> Result<Vec<Datacenter>, ProviderError>;

    /// Every VM of the account, those of others too.
    ///
    /// # Errors
    /// As [`offerings`](Self::offerings). Above all `Malformed`, when the shape of the answer is not that of a list: an
    /// implementation never turns what it cannot read into an empty list.
    async fn instances(&self) -> Result<InstanceList, ProviderError>;

    /// One VM, or `None` when the provider says in so many words that it does not exist.
    ///
    /// # Errors
    /// As [`offerings`](Self::offerings).
    async fn instance(&self, id: &InstanceId) -> Result<Option<Instance>, ProviderError>;

    /// Asks for one VM. It is normal that the VM still is [`InstanceState::Provisioning`] when this returns.
    ///
    /// # Errors
    /// Every kind. After `Timeout { outcome_unknown: true }` the VM may exist: look for the token before trying again.
    async fn create(&self, request: &CreateInstance) -> Result<Instance, ProviderError>;

    /// Asks for the deletion of one VM. Success means that the provider took the order, not that the VM is gone.
    ///
    /// # Errors
    /// Every kind but `Capacity` and `Quota`. `NotFound` when the VM does not exist (any more).
    async fn delete(&self, id: &InstanceId) -> Result<(), ProviderError>;
}

// === impl Instance ===

impl Instance {
    /// The client token of the create request that made this VM, when it carries one.
    #[must_use]
    pub fn token(&self) -> Option<ClientToken> {
        self.tag(TOKEN_TAG_PREFIX).map(ClientToken::new)
    }

    /// The cluster that this VM belongs to, when it carries the tag.
    #[must_use]
    pub fn cluster(&self) -> Option<&str> {
        self.tag(CLUSTER_TAG_PREFIX)
    }

    fn tag(&self, prefix: &str) -> Option<&str> {
        self.tags.iter().find_map(|tag| tag.strip_prefix(prefix))
    }
}

// === impl UserData ===

impl UserData {
    /// Wraps a cloud-init document.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The document, for the body of the create call and for nothing else.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for UserData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UserData({} bytes, hidden)", self.0.len())
    }
}

// === impl ProviderErrorKind ===

impl ProviderErrorKind {
    /// A short name in the style of a Kubernetes condition reason, for events, status and metric labels.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Capacity { .. } => "CapacityLimitReached",
            Self::Quota => "QuotaExceeded",
            Self::Auth => "Unauthenticated",
            Self::Forbidden => "Forbidden",
            Self::NotFound => "NotFound",
            Self::Conflict => "Conflict",
            Self::RateLimited { .. } => "RateLimited",
            Self::Transient => "ProviderUnavailable",
            Self::Timeout { .. } => "Timeout",
            Self::InvalidRequest => "InvalidRequest",
            Self::Malformed => "MalformedAnswer",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_data_is_never_printed() {
        let data = UserData::new("join-token: abcdef");
        assert_eq!(format!("{data:?}"), "UserData(18 bytes, hidden)");
    }

    #[test]
    fn token_and_cluster_come_from_tags() {
        let instance = Instance {
            id: InstanceId::new("1"),
            hostname: "n".into(),
            state: InstanceState::Running,
            offering: None,
            datacenter: None,
            addresses: Vec::new(),
            tags: vec![
                "blue".into(),
                "vpsie-autoscaler-token=t1".into(),
                "vpsie-autoscaler-cluster=c1".into(),
            ],
            created_at: None,
        };
        assert_eq!(instance.token(), Some(ClientToken::new("t1")));
        assert_eq!(instance.cluster(), Some("c1"));
    }
}
