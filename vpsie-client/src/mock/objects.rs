//! The objects of the mock account, and how the API writes them.

use std::fmt;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::model::{Datacenter, Offering};

/// A VM of the mock account.
#[derive(Clone, Default)]
pub struct MockVm {
    /// Identifier, a number as text. Empty when adding a VM: the mock gives it one.
    pub id: String,
    /// Host name, in the case that the API shows.
    pub hostname: String,
    /// Status as the API writes it: `provisioning`, `running`, `deleting`, or what was set.
    pub status: String,
    /// Offering that it was ordered with.
    pub offering_id: String,
    /// Datacenter that it was ordered in.
    pub datacenter_id: String,
    /// Project that it was ordered for.
    pub project_id: Option<String>,
    /// Image that it was ordered with.
    pub os_image_id: Option<String>,
    /// Keys that it was ordered with.
    pub ssh_key_ids: Vec<String>,
    /// Tags.
    pub tags: Vec<String>,
    /// Notes.
    pub notes: Option<String>,
    /// Public address; none while it is provisioning.
    pub ip: Option<String>,
    /// Private address; none while it is provisioning.
    pub private_ip: Option<String>,
    /// When it was created, by the wall clock. Set when a VM is added.
    pub created_at: Option<Timestamp>,
    /// The cloud-init document that it was ordered with. Not printed, and not part of any answer.
    pub user_data: Option<String>,
}

// === impl MockVm ===

impl MockVm {
    /// A running VM, to be added with [`MockVpsie::add_vm`](super::MockVpsie::add_vm).
    #[must_use]
    pub fn foreign(hostname: impl Into<String>) -> Self {
        Self {
            hostname: hostname.into(),
            status: "running".to_owned(),
            offering_id: "small-1".to_owned(),
            datacenter_id: "dc-1".to_owned(),
            ..Self::default()
        }
    }

    pub(super) fn to_json(&self) -> Value {
        json!({
            // A number, as the real API has it; clients take it as text.
            "id": self.id.parse::<u64>().unwrap_or_default(),
            "name": self.hostname,
            "hostname": self.hostname,
            "status": self.status,
            "offering_id": self.offering_id,
            "datacenter_id": self.datacenter_id,
            "project_id": self.project_id,
            "os_image_id": self.os_image_id,
            "ssh_key_ids": self.ssh_key_ids,
            "tags": self.tags,
            "notes": self.notes,
            "ip": self.ip,
            "private_ip": self.private_ip,
            "created_at": self.created_at.map(|at| at.to_string()),
        })
    }
}

impl fmt::Debug for MockVm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MockVm")
            .field("id", &self.id)
            .field("hostname", &self.hostname)
            .field("status", &self.status)
            .field("offering_id", &self.offering_id)
            .field("datacenter_id", &self.datacenter_id)
            .field("tags", &self.tags)
            .finish_non_exhaustive()
    }
}

pub(super) fn offering_to_json(offering: &Offering) -> Value {
    let cpu = if offering.cpu_milli % 1000 == 0 {
        json!(offering.cpu_milli / 1000)
    } else {
        json!(format!(
            "{}.{:03}",
            offering.cpu_milli / 1000,
            offering.cpu_milli % 1000
        ))
    };
    json!({
        "id": offering.id,
        "name": offering.name,
        "cpu": cpu,
        "ram": offering.memory_mib,
        "disk": offering.disk_gib,
        "bandwidth": 1000,
        "price": offering.monthly_price,
        "hourly_price": offering.hourly_price,
        "available": offering.available,
        "datacenter_id": offering.datacenter_id,
        "category": offering.category,
    })
}

pub(super) fn datacenter_to_json(datacenter: &Datacenter) -> Value {
    json!({"id": datacenter.id, "name": datacenter.name, "is_active": u8::from(datacenter.active)})
}
