//! What objects of every kind share: metadata, label selectors and small values.

use std::{collections::BTreeMap, fmt};

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, de};

use crate::quantity::Quantity;

/// Amounts by resource name, such as `cpu`, `memory`, `ephemeral-storage`, `pods` and extended resources.
pub type ResourceList = BTreeMap<String, Quantity>;

view! {
    /// Metadata of an object (`metav1.ObjectMeta`).
    pub struct ObjectMeta {
        /// Name, unique in its namespace.
        pub name: String,
        /// Namespace; empty for cluster-scoped kinds.
        pub namespace: String,
        /// Identity of this very object: an object deleted and created again has another one.
        pub uid: String,
        /// Version of the object in the API server's store; opaque.
        pub resource_version: String,
        /// Counts changes of the spec.
        pub generation: i64,
        /// Labels.
        pub labels: BTreeMap<String, String>,
        /// Annotations.
        pub annotations: BTreeMap<String, String>,
        /// When the API server stored the object first.
        pub creation_timestamp: Option<Timestamp>,
        /// When the object is to be gone: set once its deletion was asked for.
        pub deletion_timestamp: Option<Timestamp>,
        /// Seconds between the request for deletion and `deletion_timestamp`.
        pub deletion_grace_period_seconds: Option<i64>,
        /// Objects that this one belongs to.
        pub owner_references: Vec<OwnerReference>,
        /// What has to be done before the object may go.
        pub finalizers: Vec<String>,
    }

    /// A reference to an object that the referring one belongs to.
    pub struct OwnerReference {
        /// API group and version of the owner.
        pub api_version: String,
        /// Kind of the owner.
        pub kind: String,
        /// Name of the owner, in the same namespace or cluster-scoped.
        pub name: String,
        /// UID of the owner.
        pub uid: String,
        /// Whether the owner manages the object. At most one owner does.
        pub controller: bool,
    }

    /// A query over labels (`metav1.LabelSelector`): every entry has to match. An empty selector matches everything; an
    /// absent one matches nothing, which is why views hold `Option<LabelSelector>`.
    pub struct LabelSelector {
        /// Labels and the values that they must have.
        pub match_labels: BTreeMap<String, String>,
        /// Further requirements.
        pub match_expressions: Vec<LabelSelectorRequirement>,
    }

    /// One requirement of a [`LabelSelector`] or of a node selector term.
    pub struct LabelSelectorRequirement {
        /// Label, or field in `matchFields`.
        pub key: String,
        /// `In`, `NotIn`, `Exists` or `DoesNotExist`; for nodes also `Gt` and `Lt`.
        pub operator: String,
        /// Values that the operator compares with.
        pub values: Vec<String>,
    }
}

/// A number, or a text such as `25%`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum IntOrString {
    /// An absolute number.
    Int(i32),
    /// A text, a percentage in every use that is read here.
    String(String),
}

// === impl ObjectMeta ===

impl ObjectMeta {
    /// The owner that manages the object, if there is one.
    #[must_use]
    pub fn controller(&self) -> Option<&OwnerReference> {
        self.owner_references.iter().find(|owner| owner.controller)
    }

    /// `namespace/name`, or the name alone when the object has no namespace.
    #[must_use]
    pub fn full_name(&self) -> String {
        if self.namespace.is_empty() {
            self.name.clone()
        } else {
            format!("{}/{}", self.namespace, self.name)
        }
    }
}

// === impl IntOrString ===

impl fmt::Display for IntOrString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Int(number) => number.fmt(f),
            Self::String(text) => text.fmt(f),
        }
    }
}

impl<'de> Deserialize<'de> for IntOrString {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl de::Visitor<'_> for Visitor {
            type Value = IntOrString;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a 32-bit integer or a string")
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<IntOrString, E> {
                let number =
                    i32::try_from(number).map_err(|_| E::invalid_value(de::Unexpected::Signed(number), &self))?;
                Ok(IntOrString::Int(number))
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<IntOrString, E> {
                let number =
                    i32::try_from(number).map_err(|_| E::invalid_value(de::Unexpected::Unsigned(number), &self))?;
                Ok(IntOrString::Int(number))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<IntOrString, E> {
                Ok(IntOrString::String(text.to_owned()))
            }
        }

        deserializer.deserialize_any(Visitor)
    }
}

/// Reads a value, and `null` as the default of its type: the API server's JSON has `null` where Go has an empty value.
pub(super) fn nullable<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: Deserialize<'de> + Default,
    D: Deserializer<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}
