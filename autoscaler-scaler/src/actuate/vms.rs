//! What the provider's list says about each VPSieNode, and how far it can be trusted.

use std::{collections::BTreeMap, time::Duration};

use autoscaler_core::{
    lifecycle::Vm,
    provider::{Capabilities, CloudProvider, Instance, InstanceId, InstanceList, ProviderError, ProviderErrorKind},
};
use jiff::Timestamp;

use crate::api::{VPSieNode, labels};
use kube::ResourceExt as _;

/// How long a call to the provider may take before nobody waits for it any longer.
const CALL_LIMIT: Duration = Duration::from_secs(90);

/// One list of the provider, or the lack of one.
#[derive(Debug, Default)]
pub(super) struct Vms {
    list: Option<Listed>,
}

#[derive(Debug)]
struct Listed {
    as_of: Timestamp,
    list: InstanceList,
    by_id: BTreeMap<InstanceId, usize>,
    by_token: BTreeMap<String, usize>,
    /// By host name in lower case: providers may change the case.
    by_hostname: BTreeMap<String, usize>,
    capabilities: Capabilities,
    cluster: String,
}

/// What a VPSieNode says about its VM.
#[derive(Clone, Debug)]
pub(super) struct Identity {
    /// The provider's id, once it is known.
    pub id: Option<InstanceId>,
    /// The token that the VM was tagged with.
    pub token: String,
    /// The name that the VM was given.
    pub hostname: String,
    /// Whether the VM was made without a token, by an earlier version.
    pub untagged: bool,
}

/// Runs a call to the provider for as long as anybody waits. A call that is given up may still be carried out.
pub(super) async fn bounded<T>(
    operation: &str,
    call: impl Future<Output = Result<T, ProviderError>> + Send,
) -> Result<T, ProviderError> {
    tokio::time::timeout(CALL_LIMIT, call).await.unwrap_or_else(|_| {
        Err(ProviderError {
            kind: ProviderErrorKind::Timeout { outcome_unknown: true },
            operation: operation.to_owned(),
            message: format!("no answer within {} s", CALL_LIMIT.as_secs()),
            source: None,
        })
    })
}

// === impl Vms ===

impl Vms {
    /// Asks for the list. An empty one is believed only when the provider also says of each VM that should be there
    /// that it does not exist.
    pub(super) async fn read(
        provider: &dyn CloudProvider,
        cluster: &str,
        expected: &[InstanceId],
        now: Timestamp,
    ) -> Result<Self, ProviderError> {
        let list = bounded("list VMs", provider.instances()).await?;
        if list.instances.is_empty() && list.unreadable.is_empty() {
            for id in expected {
                if bounded("get VM", provider.instance(id)).await?.is_some() {
                    return Err(ProviderError {
                        kind: ProviderErrorKind::Malformed,
                        operation: "list VMs".to_owned(),
                        message: format!("the list is empty, but VM {id} exists; nothing is concluded from it"),
                        source: None,
                    });
                }
            }
        }
        let mut listed = Listed {
            as_of: now,
            list,
            by_id: BTreeMap::new(),
            by_token: BTreeMap::new(),
            by_hostname: BTreeMap::new(),
            capabilities: provider.capabilities(),
            cluster: cluster.to_owned(),
        };
        for (index, instance) in listed.list.instances.iter().enumerate() {
            listed.by_id.insert(instance.id.clone(), index);
            if let Some(token) = instance.token() {
                // The first one counts; another one with the same token is an orphan.
                listed.by_token.entry(token.as_str().to_owned()).or_insert(index);
            }
            listed
                .by_hostname
                .entry(instance.hostname.to_ascii_lowercase())
                .or_insert(index);
        }
        Ok(Self { list: Some(listed) })
    }

    /// What is seen of a VPSieNode's VM.
    pub(super) fn see(&self, machine: &Identity) -> Vm {
        let Some(listed) = &self.list else { return Vm::Unknown };
        match self.find(machine) {
            // A VM of another cluster under an id or name of ours: nothing that can be acted upon.
            Some(instance) if instance.cluster().is_some_and(|cluster| cluster != listed.cluster) => Vm::Unknown,
            Some(instance) => Vm::Present {
                id: instance.id.clone(),
                state: instance.state,
            },
            None if listed.list.unreadable.is_empty() => Vm::Absent { as_of: listed.as_of },
            None => Vm::Unknown,
        }
    }

    /// The VM of a VPSieNode as the list has it.
    pub(super) fn find(&self, machine: &Identity) -> Option<&Instance> {
        let listed = self.list.as_ref()?;
        let at = |index: &usize| listed.list.instances.get(*index);
        let by_id = machine.id.as_ref().and_then(|id| listed.by_id.get(id)).and_then(at);
        let by_token = || listed.by_token.get(&machine.token).and_then(at);
        let by_hostname = || {
            let unique = !listed.capabilities.tags || machine.untagged;
            let found = listed
                .by_hostname
                .get(&machine.hostname.to_ascii_lowercase())
                .and_then(at);
            found.filter(|instance| unique && instance.token().is_none())
        };
        // Once the id is known no other VM is ours, whatever it is called: a person may have made it anew.
        if machine.id.is_some() {
            return by_id;
        }
        by_token().or_else(by_hostname)
    }

    /// The VMs that carry the tag of this cluster.
    pub(super) fn of_cluster(&self) -> impl Iterator<Item = &Instance> {
        self.list.iter().flat_map(|listed| {
            let ours = |instance: &&Instance| instance.cluster() == Some(listed.cluster.as_str());
            listed.list.instances.iter().filter(ours)
        })
    }

    /// Entries of the list that could not be read.
    pub(super) fn unreadable(&self) -> &[String] {
        self.list.as_ref().map_or(&[], |listed| &listed.list.unreadable)
    }
}

// === impl Identity ===

impl Identity {
    /// What a VPSieNode says about its VM.
    pub(super) fn of(machine: &VPSieNode) -> Self {
        let token = machine.spec.client_token.clone();
        Self {
            id: machine.instance_id().map(InstanceId::new),
            // A VPSieNode that somebody else made has no token; its uid serves as one.
            untagged: token.is_none() && machine.annotations().contains_key(labels::CREATION_REQUESTED),
            token: token.or_else(|| machine.uid()).unwrap_or_default(),
            hostname: hostname(machine),
        }
    }
}

/// The host name that the VM of a VPSieNode was, or is to be, created with.
pub(super) fn hostname(machine: &VPSieNode) -> String {
    let wanted = machine.spec.node_name.clone().filter(|name| !name.is_empty());
    wanted.unwrap_or_else(|| machine.name_any()).to_ascii_lowercase()
}
