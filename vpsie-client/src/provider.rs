//! The client as autoscaler-core's [`CloudProvider`]: one VM per node, joined by cloud-init.

use async_trait::async_trait;
use autoscaler_core::{
    provider::{
        CLUSTER_TAG_PREFIX, Capabilities, CloudProvider, CreateInstance, Datacenter, DatacenterId, Instance,
        InstanceId, InstanceList, InstanceState, Offering, OfferingId, ProviderError, ProviderErrorKind,
        TOKEN_TAG_PREFIX,
    },
    quantity::{Bytes, HourlyPrice, MilliCpu},
};
use secrecy::SecretString;

use crate::{
    client::Client,
    error::{Error, ErrorKind},
    model::{self, CreateVm, Vm, VmId, VmStatus},
    page::List,
};

/// Creates and deletes VMs with cloud-init user data.
///
/// Adds the tags for client token and cluster to every VM that it creates.
#[derive(Clone, Debug)]
pub struct VmProvider {
    client: Client,
}

// === impl VmProvider ===

impl VmProvider {
    /// A provider that calls through this client.
    #[must_use]
    pub const fn new(client: Client) -> Self {
        Self { client }
    }

    /// The client, for example to replace its credentials.
    #[must_use]
    pub const fn client(&self) -> &Client {
        &self.client
    }

    /// The VM of a create that was taken without saying which VM it will be.
    async fn find(&self, operation: &str, request: &CreateInstance) -> Result<Instance, ProviderError> {
        let unknown = |message: &str, source: Option<Error>| ProviderError {
            kind: ProviderErrorKind::Timeout { outcome_unknown: true },
            operation: operation.to_owned(),
            message: message.to_owned(),
            source: source.map(|source| Box::new(source) as _),
        };
        let list = self
            .client
            .vms()
            .await
            .map_err(|error| unknown("the VM was ordered, and the list of VMs cannot be read", Some(error)))?;
        let mut instances = list.items.into_iter().map(Instance::from);
        instances
            .find(|instance| instance.token().as_ref() == Some(&request.token))
            .ok_or_else(|| unknown("the VM was ordered, and is not in the list yet", None))
    }
}

#[async_trait]
impl CloudProvider for VmProvider {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            tags: true,
            targeted_delete: true,
        }
    }

    async fn offerings(&self) -> Result<Vec<Offering>, ProviderError> {
        let list = self.client.offerings().await?;
        convert_offerings(&list).map_err(Into::into)
    }

    async fn datacenters(&self) -> Result<Vec<Datacenter>, ProviderError> {
        let list = self.client.datacenters().await?;
        refuse_if_nothing_is_readable("list datacenters", &list)?;
        Ok(list.items.into_iter().map(Datacenter::from).collect())
    }

    async fn instances(&self) -> Result<InstanceList, ProviderError> {
        let list = self.client.vms().await?;
        Ok(InstanceList {
            instances: list.items.into_iter().map(Instance::from).collect(),
            unreadable: list.unreadable,
        })
    }

    async fn instance(&self, id: &InstanceId) -> Result<Option<Instance>, ProviderError> {
        match self.client.vm(&vm_id(id)?).await {
            Ok(vm) => Ok(Some(vm.into())),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    async fn create(&self, request: &CreateInstance) -> Result<Instance, ProviderError> {
        let mut tags = request.tags.clone();
        tags.push(format!("{TOKEN_TAG_PREFIX}{}", request.token));
        tags.push(format!("{CLUSTER_TAG_PREFIX}{}", request.cluster));
        let create = CreateVm {
            hostname: request.hostname.clone(),
            offering_id: request.offering.as_str().to_owned(),
            datacenter_id: request.datacenter.as_str().to_owned(),
            project_id: request.project.clone(),
            os_image_id: request.image.clone(),
            ssh_key_ids: request.ssh_keys.clone(),
            tags,
            notes: request.notes.clone(),
            user_data: request.user_data.as_ref().map(|data| SecretString::from(data.expose())),
        };
        match self.client.create_vm(&create).await? {
            Some(vm) => Ok(vm.into()),
            None => self.find(&format!("create VM {}", request.hostname), request).await,
        }
    }

    async fn delete(&self, id: &InstanceId) -> Result<(), ProviderError> {
        Ok(self.client.delete_vm(&vm_id(id)?).await?)
    }
}

/// Converts offerings, as read by [`read_offerings`](crate::read_offerings) or by a client. An offering without an hourly
/// price has a 730th of the monthly one; without either it is left out, with a warning in the log.
///
/// # Errors
/// `Malformed` when there are entries and not one of them can be used.
pub fn convert_offerings(list: &List<model::Offering>) -> Result<Vec<Offering>, Error> {
    let mut offerings = Vec::new();
    let mut problems = list.unreadable.clone();
    for offering in &list.items {
        match convert_offering(offering) {
            Ok(offering) => offerings.push(offering),
            Err(problem) => {
                tracing::warn!(offering = offering.id, problem, "an offering of VPSie cannot be used");
                problems.push(format!("offering {}: {problem}", offering.id));
            }
        }
    }
    match problems.first() {
        Some(problem) if offerings.is_empty() => Err(Error::malformed(
            "list offerings",
            format!("no offering can be used, for example {problem}"),
        )),
        _ => Ok(offerings),
    }
}

fn convert_offering(offering: &model::Offering) -> Result<Offering, &'static str> {
    let is_missing = |price: &f64| *price <= 0.0;
    let hourly = offering
        .hourly_price
        .filter(|price| !is_missing(price))
        .and_then(HourlyPrice::from_hourly);
    let monthly = offering
        .monthly_price
        .filter(|price| !is_missing(price))
        .and_then(HourlyPrice::from_monthly);
    Ok(Offering {
        id: OfferingId::new(offering.id.as_str()),
        name: offering.name.clone(),
        cpu: MilliCpu(offering.cpu_milli),
        memory: Bytes(
            offering
                .memory_mib
                .checked_mul(Bytes::MIB)
                .ok_or("its ram is too large")?,
        ),
        disk: Bytes(
            offering
                .disk_gib
                .checked_mul(Bytes::GIB)
                .ok_or("its disk is too large")?,
        ),
        max_pods: None,
        hourly_price: hourly.or(monthly).ok_or("it has no price")?,
        available: offering.available,
        datacenter: offering.datacenter_id.as_deref().map(DatacenterId::new),
    })
}

fn refuse_if_nothing_is_readable<T>(operation: &str, list: &List<T>) -> Result<(), Error> {
    match list.unreadable.first() {
        Some(problem) if list.items.is_empty() => Err(Error::malformed(
            operation,
            format!("no entry can be read, for example {problem}"),
        )),
        _ => Ok(()),
    }
}

fn vm_id(id: &InstanceId) -> Result<VmId, ProviderError> {
    VmId::parse(id.as_str()).map_err(|error| ProviderError {
        kind: ProviderErrorKind::InvalidRequest,
        operation: "name a VM".to_owned(),
        message: error.to_string(),
        source: Some(Box::new(error)),
    })
}

// === conversions ===

impl From<Vm> for Instance {
    fn from(vm: Vm) -> Self {
        Self {
            id: InstanceId::new(vm.id.as_str()),
            hostname: vm.hostname,
            state: vm.status.into(),
            offering: vm.offering_id.map(OfferingId::new),
            datacenter: vm.datacenter_id.map(DatacenterId::new),
            addresses: vm.addresses,
            tags: vm.tags,
            created_at: vm.created_at,
        }
    }
}

impl From<VmStatus> for InstanceState {
    fn from(status: VmStatus) -> Self {
        match status {
            VmStatus::Provisioning => Self::Provisioning,
            VmStatus::Running => Self::Running,
            VmStatus::Stopped => Self::Stopped,
            VmStatus::Suspended => Self::Suspended,
            VmStatus::Deleting => Self::Deleting,
            VmStatus::Deleted => Self::Deleted,
            VmStatus::Failed => Self::Failed,
            VmStatus::Unknown => Self::Unknown,
        }
    }
}

impl From<model::Datacenter> for Datacenter {
    fn from(datacenter: model::Datacenter) -> Self {
        Self {
            id: DatacenterId::new(datacenter.id),
            name: datacenter.name,
            active: datacenter.active,
        }
    }
}

impl From<Error> for ProviderError {
    fn from(error: Error) -> Self {
        let kind = match error.kind() {
            ErrorKind::Capacity { limit } => ProviderErrorKind::Capacity { limit: *limit },
            ErrorKind::Quota => ProviderErrorKind::Quota,
            ErrorKind::Auth => ProviderErrorKind::Auth,
            ErrorKind::Forbidden => ProviderErrorKind::Forbidden,
            ErrorKind::NotFound => ProviderErrorKind::NotFound,
            ErrorKind::Conflict => ProviderErrorKind::Conflict,
            ErrorKind::RateLimited { retry_after } => ProviderErrorKind::RateLimited {
                retry_after: *retry_after,
            },
            ErrorKind::Transient => ProviderErrorKind::Transient,
            ErrorKind::Timeout { outcome_unknown } => ProviderErrorKind::Timeout {
                outcome_unknown: *outcome_unknown,
            },
            ErrorKind::InvalidRequest => ProviderErrorKind::InvalidRequest,
            ErrorKind::Malformed => ProviderErrorKind::Malformed,
        };
        let (operation, message) = (error.operation().to_owned(), error.message().to_owned());
        // The text of the error is in `message` already; what lies below it is what is left to tell.
        Self {
            kind,
            operation,
            message,
            source: error.into_source(),
        }
    }
}
