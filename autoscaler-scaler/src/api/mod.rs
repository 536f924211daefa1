//! The custom resources of the autoscaler: [`NodeGroup`], [`VPSieNode`] and [`AutoscalerConfig`].
//!
//! This module holds types, their schema, and small accessors. Group, version, names, fields and defaults are those of
//! the Go autoscaler, so that its objects are read as they are. Three rules hold for every field:
//!
//! - A default is in the schema **and** in serde, and the parent of a defaulted field has a default itself. An object
//!   that leaves `scaleDownPolicy` out has the same policy as one that writes `scaleDownPolicy: {}`.
//! - A boolean is always written, so that `false` survives where the default is `true`.
//! - Integers are signed and bounded in the schema: what the API server stores can always be read.
//!
//! The API server does the validation, by the schema and by CEL rules in it. There is no admission webhook that has to
//! be up for it.
//!
//! ```
//! let crds = autoscaler_scaler::api::crds();
//! assert_eq!(crds.len(), 3);
//! let yaml = autoscaler_scaler::api::crd_yaml(&crds[0])?;
//! assert!(yaml.contains("kind: CustomResourceDefinition"));
//! # Ok::<(), autoscaler_scaler::api::CrdYamlError>(())
//! ```

pub mod conditions;
mod config;
pub mod labels;
mod nodegroup;
mod policy;
mod schema;
mod vpsienode;

pub use config::{
    AutoscalerConfig, AutoscalerConfigSpec, AutoscalerConfigStatus, GlobalSettings, NodeGroupDefaults, OrphanPolicy,
    PhaseTimeouts,
};
pub use nodegroup::{
    Headroom, HeadroomPods, HeadroomResources, NodeGroup, NodeGroupSpec, NodeGroupStatus, NodeInfo, ScaleUpBackoff,
    Taint, TaintEffect, UserDataSecretRef,
};
pub use policy::{
    BudgetError, BudgetLimit, CostOptimization, MultiRegion, RemovalBudgets, ScaleDownPolicy, ScaleUpPolicy, SpotConfig,
};
pub use vpsienode::{
    CreateIntent, Decision, NodeResources, Phase, PodMove, Removal, RemovalKind, RemovalPhase, VPSieNode,
    VPSieNodeSpec, VPSieNodeStatus,
};

use jiff::Timestamp;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::CustomResourceExt as _;
use serde_json::Value;

/// API group of the custom resources.
pub const GROUP: &str = "autoscaler.vpsie.com";
/// The one version, served and stored.
pub const VERSION: &str = "v1alpha1";
/// `apiVersion` of the custom resources.
pub const API_VERSION: &str = "autoscaler.vpsie.com/v1alpha1";
/// Name of the only [`AutoscalerConfig`] of a cluster.
pub const CONFIG_NAME: &str = "default";

/// A CustomResourceDefinition that could not be written as YAML.
#[derive(Debug, thiserror::Error)]
pub enum CrdYamlError {
    /// It has no JSON form.
    #[error("cannot convert the CustomResourceDefinition to JSON")]
    Json(#[source] serde_json::Error),
    /// Its JSON form has no YAML form.
    #[error("cannot write the CustomResourceDefinition as YAML")]
    Yaml(#[source] serde_saphyr::SerializeError),
}

/// The CustomResourceDefinitions of NodeGroup, VPSieNode and AutoscalerConfig, in this order.
#[must_use]
pub fn crds() -> Vec<CustomResourceDefinition> {
    vec![NodeGroup::crd(), VPSieNode::crd(), AutoscalerConfig::crd()]
}

/// A CustomResourceDefinition as one YAML document without a `---` line; the same bytes on each call.
///
/// # Errors
///
/// None for the definitions of [`crds`]; in general, that the value has no JSON or YAML form.
pub fn crd_yaml(crd: &CustomResourceDefinition) -> Result<String, CrdYamlError> {
    let mut value = serde_json::to_value(crd).map_err(CrdYamlError::Json)?;
    whole_numbers(&mut value);
    serde_saphyr::to_string(&value).map_err(CrdYamlError::Yaml)
}

/// Name of the file that holds a CustomResourceDefinition, `GROUP_PLURAL.yaml`, as controller-gen names it.
#[must_use]
pub fn crd_file_name(crd: &CustomResourceDefinition) -> String {
    format!("{}_{}.yaml", crd.spec.group, crd.spec.names.plural)
}

/// A time as Kubernetes stores it, in whole seconds.
///
/// A `Time` with a fraction is written without it, and so would differ from itself after a round trip.
#[must_use]
pub fn time(at: Timestamp) -> Time {
    Time(Timestamp::from_second(at.as_second()).unwrap_or(at))
}

/// Writes `100.0` as `100`: the typed schema keeps bounds as floating-point numbers, people read them as integers.
fn whole_numbers(value: &mut Value) {
    match value {
        Value::Number(number) => {
            // Only the shortest form of a whole number ends in ".0"; anything else is kept as it is.
            let text = number.to_string();
            if let Some(whole) = text.strip_suffix(".0").and_then(|whole| whole.parse::<i64>().ok()) {
                *number = whole.into();
            }
        }
        Value::Array(items) => items.iter_mut().for_each(whole_numbers),
        Value::Object(fields) => fields.values_mut().for_each(whole_numbers),
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}
