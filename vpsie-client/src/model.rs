//! What the API sells and runs, read tolerantly from its JSON.

use std::fmt;

use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value, json};

use crate::wire::Fields;

/// Identifies a VM. Its text is safe in a URL path, so that no identifier can name another endpoint.
///
/// ```
/// use vpsie_client::VmId;
///
/// assert_eq!(VmId::parse("1000")?.as_str(), "1000");
/// assert!(VmId::parse("../datacenters").is_err());
/// # Ok::<(), vpsie_client::InvalidVmId>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VmId(Box<str>);

/// Why a text cannot be the identifier of a VM.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an identifier: 1 to 128 letters, digits, '-', '_' and '.' are, with a letter or digit first")]
pub struct InvalidVmId(String);

/// What a VM is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum VmStatus {
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
    /// It failed to build.
    Failed,
    /// Neither a status nor flags that are known here.
    Unknown,
}

/// A VM as the API describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vm {
    /// Identifier.
    pub id: VmId,
    /// Host name. The API may change its case.
    pub hostname: String,
    /// What it is doing.
    pub status: VmStatus,
    /// Identifier of its offering, when the API says.
    pub offering_id: Option<String>,
    /// Identifier of its datacenter, when the API says.
    pub datacenter_id: Option<String>,
    /// Its addresses, public before private.
    pub addresses: Vec<String>,
    /// Its tags.
    pub tags: Vec<String>,
    /// Notes shown in the panel.
    pub notes: Option<String>,
    /// When it was created, when the API says so in a format that is known here.
    pub created_at: Option<Timestamp>,
}

/// A VM to create.
#[derive(Clone, Debug)]
pub struct CreateVm {
    /// Host name, which is its name in the panel too.
    pub hostname: String,
    /// Identifier of the offering.
    pub offering_id: String,
    /// Identifier of the datacenter.
    pub datacenter_id: String,
    /// Project that is billed, when the account has several.
    pub project_id: Option<String>,
    /// Operating system image.
    pub os_image_id: Option<String>,
    /// Keys that may log in.
    pub ssh_key_ids: Vec<String>,
    /// Tags.
    pub tags: Vec<String>,
    /// Notes shown in the panel.
    pub notes: Option<String>,
    /// Cloud-init document. Never printed.
    pub user_data: Option<SecretString>,
}

/// A size of VM that is for sale.
#[derive(Clone, Debug, PartialEq)]
pub struct Offering {
    /// Identifier.
    pub id: String,
    /// Name for people.
    pub name: String,
    /// Thousandths of a virtual core.
    pub cpu_milli: i64,
    /// Memory in MiB.
    pub memory_mib: i64,
    /// Disk in GiB.
    pub disk_gib: i64,
    /// Price per hour, when the API says.
    pub hourly_price: Option<f64>,
    /// Price per month, when the API says.
    pub monthly_price: Option<f64>,
    /// Whether it is for sale now. The API not saying means yes.
    pub available: bool,
    /// The only datacenter that sells it, when the API names one.
    pub datacenter_id: Option<String>,
    /// Category, when the API says.
    pub category: Option<String>,
}

/// A place where VMs run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Datacenter {
    /// Identifier.
    pub id: String,
    /// Name for people.
    pub name: String,
    /// Whether VMs can be created there now. The API not saying means yes.
    pub active: bool,
}

// === impl VmId ===

impl VmId {
    /// Checks a text.
    ///
    /// # Errors
    /// When it is empty, too long, or holds a character that is special in a URL.
    pub fn parse(text: &str) -> Result<Self, InvalidVmId> {
        let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let starts_well = text.starts_with(|c: char| c.is_ascii_alphanumeric());
        if starts_well && text.len() <= 128 && text.chars().all(is_allowed) {
            Ok(Self(text.into()))
        } else {
            Err(InvalidVmId(text.chars().take(128).collect()))
        }
    }

    /// The identifier as the API writes it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for VmId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

// === impl VmStatus ===

impl VmStatus {
    fn read(fields: Fields<'_>) -> Self {
        let is_set = |name| fields.flag(&[name]) == Some(true);
        if is_set("is_deleted") || is_set("is_terminated") {
            return Self::Deleted;
        }
        if let Some(status) = fields.text(&["status"]).as_deref().and_then(Self::from_text) {
            return status;
        }
        if is_set("is_suspended") || is_set("is_locked") {
            return Self::Suspended;
        }
        match (fields.flag(&["power"]), fields.flag(&["is_active"])) {
            (Some(true), Some(true)) => Self::Running,
            (Some(_), Some(_)) => Self::Stopped,
            _ => Self::Unknown,
        }
    }

    fn from_text(text: &str) -> Option<Self> {
        Some(match text.trim().to_ascii_lowercase().as_str() {
            "provisioning" | "pending" | "queued" | "creating" | "building" | "installing" | "starting" | "new" => {
                Self::Provisioning
            }
            "running" | "active" | "ready" | "started" | "online" | "on" => Self::Running,
            "stopped" | "stopping" | "inactive" | "off" | "offline" | "halted" | "shutoff" | "poweroff" => {
                Self::Stopped
            }
            "suspended" | "paused" | "locked" => Self::Suspended,
            "deleting" | "terminating" | "destroying" => Self::Deleting,
            "deleted" | "terminated" | "destroyed" => Self::Deleted,
            "failed" | "error" => Self::Failed,
            _ => return None,
        })
    }
}

// === impl Vm ===

impl Vm {
    pub(crate) fn read(fields: Fields<'_>, id_fields: &[String]) -> Result<Self, String> {
        let id = fields.text_of(id_fields).ok_or("it has no identifier")?;
        let id = VmId::parse(&id).map_err(|error| error.to_string())?;
        Ok(Self {
            hostname: fields.text(&["hostname", "name"]).ok_or("it has no hostname")?,
            status: VmStatus::read(fields),
            offering_id: fields.text(&["offering_id", "offeringId", "resourceIdentifier", "boxsize_id"]),
            datacenter_id: fields.text(&["datacenter_id", "datacenterId", "dcIdentifier"]),
            addresses: [
                "ip",
                "ip_address",
                "publicIp",
                "default_ip",
                "ipv6",
                "default_ipv6",
                "private_ip",
            ]
            .iter()
            .filter_map(|name| fields.text(&[name]))
            .fold(Vec::new(), |mut all, address| {
                if !all.contains(&address) {
                    all.push(address);
                }
                all
            }),
            tags: fields.texts(&["tags", "vmTags"]),
            notes: fields.text(&["notes"]),
            created_at: fields.date(&["created_at", "createdAt", "created_on"]),
            id,
        })
    }

    /// Reads `{data: {...}}`, `{data: {vmData: {...}}}` and a bare object. `None` when there is no object at all.
    pub(crate) fn read_answer(body: &Value, id_fields: &[String]) -> Option<Result<Self, String>> {
        let mut fields = Fields::of(body)?;
        if let Some(data) = fields.get(&["data", "vm"]) {
            fields = Fields::of(data)?;
        }
        if let Some(data) = fields.get(&["vmData"]) {
            fields = Fields::of(data)?;
        }
        // `{error: false, message: "queued"}` is an object, and no VM.
        fields.text_of(id_fields)?;
        Some(Self::read(fields, id_fields))
    }
}

// === impl CreateVm ===

impl CreateVm {
    /// A VM with nothing but what is required.
    #[must_use]
    pub fn new(hostname: impl Into<String>, offering_id: impl Into<String>, datacenter_id: impl Into<String>) -> Self {
        Self {
            hostname: hostname.into(),
            offering_id: offering_id.into(),
            datacenter_id: datacenter_id.into(),
            project_id: None,
            os_image_id: None,
            ssh_key_ids: Vec::new(),
            tags: Vec::new(),
            notes: None,
            user_data: None,
        }
    }

    pub(crate) fn to_json(&self) -> Value {
        let mut body = Map::new();
        body.insert("name".to_owned(), json!(self.hostname));
        body.insert("hostname".to_owned(), json!(self.hostname));
        body.insert("offering_id".to_owned(), json!(self.offering_id));
        body.insert("datacenter_id".to_owned(), json!(self.datacenter_id));
        body.insert("ssh_key_ids".to_owned(), json!(self.ssh_key_ids));
        body.insert("tags".to_owned(), json!(self.tags));
        let user_data = self.user_data.as_ref().map(|data| data.expose_secret().to_owned());
        let optional = [
            ("project_id", &self.project_id),
            ("os_image_id", &self.os_image_id),
            ("notes", &self.notes),
            ("user_data", &user_data),
        ];
        for (name, value) in optional {
            if let Some(value) = value {
                body.insert(name.to_owned(), json!(value));
            }
        }
        Value::Object(body)
    }

    /// The lines of the user data that are long enough to be worth hiding.
    pub(crate) fn secrets(&self) -> Vec<String> {
        let lines = self.user_data.iter().flat_map(|data| data.expose_secret().lines());
        lines
            .map(str::trim)
            .filter(|line| line.len() >= 12)
            .map(str::to_owned)
            .collect()
    }
}

// === impl Offering ===

impl Offering {
    /// Reads `{id, name, cpu, ram (MiB), disk (GiB), price (monthly), hourly_price, available, datacenter_id, category}`
    /// and the names that other endpoints have for the same.
    pub(crate) fn read(fields: Fields<'_>, id_fields: &[String]) -> Result<Self, String> {
        let id = fields.text_of(id_fields).ok_or("it has no identifier")?;
        let positive = |name: &str, amount: Option<i64>| {
            amount
                .filter(|amount| *amount > 0)
                .ok_or_else(|| format!("its {name} is not a number above zero"))
        };
        Ok(Self {
            name: fields.text(&["name", "nickname"]).unwrap_or_else(|| id.clone()),
            cpu_milli: positive("cpu", fields.thousandths(&["cpu"]))?,
            memory_mib: positive("ram", fields.integer(&["ram"]))?,
            disk_gib: positive("disk", fields.integer(&["disk", "ssd"]))?,
            hourly_price: fields.amount(&["hourly_price", "hourlyPrice"]),
            monthly_price: fields.amount(&["price", "monthly_price"]),
            available: fields.flag(&["available", "is_active"]).unwrap_or(true),
            datacenter_id: fields.text(&["datacenter_id", "datacenterId", "dcIdentifier"]),
            category: fields.text(&["category"]),
            id,
        })
    }
}

// === impl Datacenter ===

impl Datacenter {
    pub(crate) fn read(fields: Fields<'_>, id_fields: &[String]) -> Result<Self, String> {
        let id = fields.text_of(id_fields).ok_or("it has no identifier")?;
        Ok(Self {
            name: fields.text(&["name", "dc_name"]).unwrap_or_else(|| id.clone()),
            active: fields.flag(&["active", "is_active", "available"]).unwrap_or(true)
                && fields.flag(&["is_deleted"]) != Some(true),
            id,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids() -> Vec<String> {
        vec!["id".to_owned(), "identifier".to_owned()]
    }

    fn vm(value: &Value) -> Result<Vm, String> {
        Vm::read(Fields::of(value).unwrap(), &ids())
    }

    #[test]
    fn identifiers_cannot_leave_their_place_in_the_path() {
        for text in [
            "",
            ".",
            "..",
            "../x",
            "a/b",
            "a?b",
            "a#b",
            "a%2f",
            "a b",
            "é",
            "-x",
            &"a".repeat(129),
        ] {
            assert!(VmId::parse(text).is_err(), "{text}");
        }
        for text in ["1000", "3fa85f64-5717-4562-b3fc-2c963f66afa6", "vm_1.x"] {
            assert!(VmId::parse(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn states_come_from_text_or_from_flags() {
        for (value, expected) in [
            (json!({"status": "Running"}), VmStatus::Running),
            (json!({"status": "ready"}), VmStatus::Running),
            (json!({"status": "provisioning"}), VmStatus::Provisioning),
            (json!({"status": "deleting"}), VmStatus::Deleting),
            (json!({"status": "running", "is_deleted": 1}), VmStatus::Deleted),
            (json!({"status": "", "power": 1, "is_active": 1}), VmStatus::Running),
            (
                json!({"power": "1", "is_active": "1", "is_suspended": 0}),
                VmStatus::Running,
            ),
            (json!({"power": 0, "is_active": 1}), VmStatus::Stopped),
            (json!({"power": 1, "is_active": 1, "is_locked": 1}), VmStatus::Suspended),
            (
                json!({"power": 1, "is_active": 1, "is_terminated": true}),
                VmStatus::Deleted,
            ),
            (json!({"power": 1}), VmStatus::Unknown),
            (json!({"status": "levitating"}), VmStatus::Unknown),
            (json!({}), VmStatus::Unknown),
        ] {
            assert_eq!(VmStatus::read(Fields::of(&value).unwrap()), expected, "{value}");
        }
    }

    #[test]
    fn nulls_and_a_bad_date_do_not_fail_a_vm() {
        let value = json!({
            "id": 1000, "hostname": "Web-1", "status": "running", "offering_id": 7, "datacenter_id": null, "ip": null,
            "private_ip": "10.0.0.5", "publicIp": null, "notes": null, "tags": null, "created_at": "the day before", "dropped_on": null
        });
        let vm = vm(&value).unwrap();
        assert_eq!(vm.id.as_str(), "1000");
        assert_eq!(vm.offering_id.as_deref(), Some("7"));
        assert_eq!((vm.datacenter_id, vm.notes, vm.created_at), (None, None, None));
        assert_eq!(vm.addresses, ["10.0.0.5"]);
    }

    #[test]
    fn a_vm_without_identifier_or_name_is_unreadable() {
        assert!(vm(&json!({"hostname": "a"})).is_err());
        assert!(vm(&json!({"id": 1})).is_err());
        assert!(vm(&json!({"id": "../1", "hostname": "a"})).is_err());
    }

    #[test]
    fn one_vm_comes_in_three_envelopes_or_not_at_all() {
        let inner = json!({"id": 1, "hostname": "a", "status": "running"});
        for body in [
            inner.clone(),
            json!({"error": false, "data": inner}),
            json!({"data": {"vmData": inner, "vmTags": []}}),
        ] {
            assert_eq!(
                Vm::read_answer(&body, &ids()).unwrap().unwrap().status,
                VmStatus::Running,
                "{body}"
            );
        }
        for body in [
            json!({"error": false, "data": true}),
            json!({"error": false}),
            json!(null),
            json!({"data": []}),
            json!({"data": {}}),
        ] {
            assert!(Vm::read_answer(&body, &ids()).is_none(), "{body}");
        }
    }

    #[test]
    fn offerings_are_read_with_either_set_of_names() {
        let go = json!({"id": "small-1", "name": "Small", "cpu": 1, "ram": 2048, "disk": 40, "bandwidth": 1, "price": 10, "hourly_price": "0.015", "available": true, "datacenter_id": null, "category": "A"});
        let offering = Offering::read(Fields::of(&go).unwrap(), &ids()).unwrap();
        assert_eq!(
            (offering.cpu_milli, offering.memory_mib, offering.disk_gib),
            (1000, 2048, 40)
        );
        assert_eq!(
            (offering.hourly_price, offering.monthly_price),
            (Some(0.015), Some(10.0))
        );
        let other =
            json!({"identifier": "u-1", "nickname": "S", "cpu": "2", "ram": "4096", "ssd": "80", "price": "20"});
        let offering = Offering::read(Fields::of(&other).unwrap(), &ids()).unwrap();
        assert_eq!(
            (offering.id.as_str(), offering.cpu_milli, offering.hourly_price),
            ("u-1", 2000, None)
        );
        for bad in [
            json!({"id": 1, "cpu": 0, "ram": 1, "disk": 1}),
            json!({"id": 1, "cpu": 1, "disk": 1}),
            json!({"cpu": 1, "ram": 1, "disk": 1}),
        ] {
            assert!(Offering::read(Fields::of(&bad).unwrap(), &ids()).is_err(), "{bad}");
        }
    }
}
