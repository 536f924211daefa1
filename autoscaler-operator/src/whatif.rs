//! `--set`: settings that are changed for one offline decision.

use std::{fmt::Display, str::FromStr};

use autoscaler_core::{
    manifest::{Objects, autoscaler::NodeGroup, meta::IntOrString},
    quantity::Quantity,
    snapshot::{BudgetSize, Snapshot},
};

/// One changed setting.
#[derive(Clone, Debug, PartialEq)]
pub enum Setting {
    /// `budgets.empty=N`: most empty nodes to remove, everywhere.
    EmptyBudget(u32),
    /// `budgets.drain=P%` or `=N`: most nodes to drain, everywhere.
    DrainBudget(BudgetSize),
    /// `NAMESPACE/GROUP.FIELD=VALUE`.
    Group {
        /// Index of the NodeGroup in the input.
        group: usize,
        /// Path of the field below `spec`.
        field: String,
        /// The new value.
        value: String,
        /// The setting as it was given.
        text: String,
    },
}

impl Setting {
    /// Reads `KEY=VALUE`.
    ///
    /// # Errors
    /// A sentence that names the setting, when it has no `=`, names no group of the input, or has a bad budget.
    pub fn parse(text: &str, objects: &Objects) -> Result<Self, String> {
        let fail = |problem: &str| format!("--set {text}: {problem}");
        let (key, value) = text.split_once('=').ok_or_else(|| fail("expected KEY=VALUE"))?;
        match key {
            "budgets.empty" => {
                let number = value.parse().map_err(|_| fail("expected a number of nodes"))?;
                return Ok(Self::EmptyBudget(number));
            }
            "budgets.drain" => {
                let size = BudgetSize::parse(value)
                    .ok_or_else(|| fail("expected a number of nodes or a share such as 20%"))?;
                return Ok(Self::DrainBudget(size));
            }
            _ => {}
        }
        // Names of groups may contain dots, so the longest name that the key starts with is meant.
        let matching = objects.node_groups.iter().enumerate().filter_map(|(index, group)| {
            let field = key
                .strip_prefix(&group.metadata.full_name())
                .or_else(|| key.strip_prefix(&group.metadata.name))?
                .strip_prefix('.')?;
            Some((index, field))
        });
        let matching: Vec<_> = matching.collect();
        let shortest = matching.iter().map(|(_, field)| field.len()).min();
        let mut best = matching.into_iter().filter(|(_, field)| Some(field.len()) == shortest);
        match (best.next(), best.next()) {
            (Some((group, field)), None) => Ok(Self::Group {
                group,
                field: field.to_owned(),
                value: value.to_owned(),
                text: text.to_owned(),
            }),
            (Some(_), Some(_)) => Err(fail(
                "several NodeGroups have this name; write NAMESPACE/NAME.FIELD=VALUE",
            )),
            (None, _) => Err(fail(
                "the key is neither budgets.empty nor budgets.drain nor NAMESPACE/NAME.FIELD of a NodeGroup of the input",
            )),
        }
    }

    /// Changes the objects, before a snapshot is made of them.
    ///
    /// # Errors
    /// A sentence that names the setting, when the field does not exist or the value is not one for it.
    pub fn apply_to_objects(&self, objects: &mut Objects) -> Result<(), String> {
        let Self::Group {
            group,
            field,
            value,
            text,
        } = self
        else {
            return Ok(());
        };
        let Some(group) = objects.node_groups.get_mut(*group) else {
            return Ok(());
        };
        set(group, field, value).map_err(|problem| format!("--set {text}: {problem}"))
    }

    /// Changes the snapshot.
    pub fn apply_to_snapshot(&self, snapshot: &mut Snapshot) {
        match self {
            Self::EmptyBudget(number) => {
                snapshot.settings.empty_budget = *number;
                for group in &mut snapshot.groups {
                    group.scale_down.empty_budget = Some(*number);
                }
            }
            Self::DrainBudget(size) => {
                snapshot.settings.drain_budget = *size;
                for group in &mut snapshot.groups {
                    group.scale_down.drain_budget = Some(*size);
                }
            }
            Self::Group { .. } => {}
        }
    }
}

/// Highest minimum of a NodeGroup, as in its CustomResourceDefinition.
const MOST_MIN_NODES: i32 = 1000;

/// Whether the NodeGroups still make sense after all settings.
///
/// # Errors
/// A sentence about the first NodeGroup whose minimum is above its maximum, or above what a NodeGroup may have.
pub fn check_groups(objects: &Objects) -> Result<(), String> {
    for group in &objects.node_groups {
        let (min, max) = (group.spec.min_nodes, group.spec.max_nodes);
        if max < min {
            return Err(format!(
                "--set: NodeGroup {}: minNodes {min} is above maxNodes {max}",
                group.metadata.full_name()
            ));
        }
        if MOST_MIN_NODES < min {
            return Err(format!(
                "--set: NodeGroup {}: minNodes {min} is above {MOST_MIN_NODES}",
                group.metadata.full_name()
            ));
        }
    }
    Ok(())
}

/// Sets one field of a NodeGroup.
fn set(group: &mut NodeGroup, field: &str, value: &str) -> Result<(), String> {
    let spec = &mut group.spec;
    if let Some(resource) = field.strip_prefix("reserved.") {
        let quantity: Quantity = value.parse().map_err(|error| format!("{error}"))?;
        if quantity.is_negative() {
            return Err("a reserve cannot be below zero".to_owned());
        }
        spec.reserved.insert(resource.to_owned(), quantity);
        return Ok(());
    }
    let (up, down) = (&mut spec.scale_up_policy, &mut spec.scale_down_policy);
    match field {
        "minNodes" => spec.min_nodes = natural(value)?,
        "maxNodes" => spec.max_nodes = natural(value)?,
        "priority" => spec.priority = parse(value, "a 32-bit number")?,
        "datacenterID" => value.clone_into(&mut spec.datacenter_id),
        "offeringIDs" => spec.offering_ids = value.split(',').map(|id| id.trim().to_owned()).collect(),
        "preferredInstanceType" => value.clone_into(&mut spec.preferred_instance_type),
        "scaleUpPolicy.enabled" => up.enabled = parse(value, "true or false")?,
        "scaleUpPolicy.stabilizationWindowSeconds" => up.stabilization_window_seconds = natural(value)?,
        "scaleDownPolicy.enabled" => down.enabled = parse(value, "true or false")?,
        "scaleDownPolicy.cpuThreshold" => down.cpu_threshold = natural(value)?,
        "scaleDownPolicy.memoryThreshold" => down.memory_threshold = natural(value)?,
        "scaleDownPolicy.stabilizationWindowSeconds" => down.stabilization_window_seconds = natural(value)?,
        "scaleDownPolicy.cooldownSeconds" => down.cooldown_seconds = natural(value)?,
        "scaleDownPolicy.drainTimeoutSeconds" => down.drain_timeout_seconds = natural(value)?,
        "scaleDownPolicy.minNodeAgeSeconds" => down.min_node_age_seconds = Some(natural(value)?),
        "scaleDownPolicy.unreadyTimeSeconds" => down.unready_time_seconds = Some(natural(value)?),
        "scaleDownPolicy.delayAfterFailureSeconds" => down.delay_after_failure_seconds = Some(natural(value)?),
        "scaleDownPolicy.budgets.empty" => down.budgets.empty = Some(natural(value)?),
        "scaleDownPolicy.budgets.drain" => {
            if BudgetSize::parse(value).is_none() {
                return Err("expected a number of nodes or a share such as 20%".to_owned());
            }
            down.budgets.drain = Some(IntOrString::String(value.to_owned()));
        }
        _ => return Err(format!("a NodeGroup has no field {field:?} that can be set here")),
    }
    Ok(())
}

fn natural(value: &str) -> Result<i32, String> {
    let number: i32 = parse(value, "a number")?;
    if number < 0 {
        Err("it cannot be below zero".to_owned())
    } else {
        Ok(number)
    }
}

fn parse<T: FromStr<Err: Display>>(value: &str, expected: &str) -> Result<T, String> {
    value
        .parse()
        .map_err(|error| format!("{value:?} is not {expected}: {error}"))
}
