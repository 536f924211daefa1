//! A cloud in memory, with switches for what goes wrong.

use std::sync::{Mutex, MutexGuard};

use async_trait::async_trait;
use autoscaler_core::provider::{
    CLUSTER_TAG_PREFIX, Capabilities, CloudProvider, CreateInstance, Datacenter, Instance, InstanceId, InstanceList,
    InstanceState, Offering, ProviderError, ProviderErrorKind, TOKEN_TAG_PREFIX,
};

/// What happens to the next create calls, first one first. Without an entry they work.
#[derive(Clone, Debug)]
pub(crate) enum CreateFault {
    /// The VM is made, and the reply is lost.
    LoseReply,
    /// The request is lost.
    LoseRequest,
    /// The provider refuses.
    Refuse(ProviderErrorKind),
}

/// What is wrong with lists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum ListFault {
    #[default]
    None,
    Empty,
    Malformed,
}

#[derive(Debug, Default)]
pub(crate) struct FakeCloud {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) vms: Vec<Instance>,
    pub(crate) create_faults: Vec<CreateFault>,
    pub(crate) list_fault: ListFault,
    /// Create calls that came in.
    pub(crate) creates: Vec<CreateInstance>,
    /// Delete calls that came in.
    pub(crate) deletes: Vec<InstanceId>,
    pub(crate) lists: usize,
    next: u32,
}

impl FakeCloud {
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Sets the state of every VM that is in another one.
    pub(crate) fn turn(&self, from: InstanceState, to: InstanceState) -> Vec<Instance> {
        let mut state = self.lock();
        let turned = state.vms.iter_mut().filter(|vm| vm.state == from);
        turned
            .map(|vm| {
                vm.state = to;
                vm.clone()
            })
            .collect()
    }

    /// Ends every deletion.
    pub(crate) fn finish_deletions(&self) {
        self.lock().vms.retain(|vm| vm.state != InstanceState::Deleting);
    }

    pub(crate) fn add(&self, hostname: &str, tags: &[String]) -> InstanceId {
        let mut state = self.lock();
        state.next += 1;
        let id = InstanceId::new(state.next.to_string());
        state.vms.push(Instance {
            id: id.clone(),
            hostname: hostname.to_owned(),
            state: InstanceState::Provisioning,
            offering: None,
            datacenter: None,
            addresses: vec!["10.0.0.1".to_owned()],
            tags: tags.to_vec(),
            created_at: None,
        });
        id
    }
}

fn error(kind: ProviderErrorKind) -> ProviderError {
    ProviderError {
        kind,
        operation: "call".to_owned(),
        message: "as the test asked".to_owned(),
        source: None,
    }
}

#[async_trait]
impl CloudProvider for FakeCloud {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            tags: true,
            targeted_delete: true,
        }
    }

    async fn offerings(&self) -> Result<Vec<Offering>, ProviderError> {
        Ok(Vec::new())
    }

    async fn datacenters(&self) -> Result<Vec<Datacenter>, ProviderError> {
        Ok(Vec::new())
    }

    async fn instances(&self) -> Result<InstanceList, ProviderError> {
        let mut state = self.lock();
        state.lists += 1;
        let instances = match state.list_fault {
            ListFault::None => state.vms.clone(),
            ListFault::Empty => Vec::new(),
            ListFault::Malformed => return Err(error(ProviderErrorKind::Malformed)),
        };
        Ok(InstanceList {
            instances,
            unreadable: Vec::new(),
        })
    }

    async fn instance(&self, id: &InstanceId) -> Result<Option<Instance>, ProviderError> {
        Ok(self.lock().vms.iter().find(|vm| vm.id == *id).cloned())
    }

    async fn create(&self, request: &CreateInstance) -> Result<Instance, ProviderError> {
        let fault = {
            let mut state = self.lock();
            state.creates.push(request.clone());
            if state.create_faults.is_empty() {
                None
            } else {
                Some(state.create_faults.remove(0))
            }
        };
        match &fault {
            Some(CreateFault::Refuse(kind)) => return Err(error(kind.clone())),
            Some(CreateFault::LoseRequest) => return Err(error(ProviderErrorKind::Timeout { outcome_unknown: true })),
            Some(CreateFault::LoseReply) | None => {}
        }
        let tags = [
            format!("{TOKEN_TAG_PREFIX}{}", request.token),
            format!("{CLUSTER_TAG_PREFIX}{}", request.cluster),
        ];
        let id = self.add(&request.hostname, &tags);
        if fault.is_some() {
            return Err(error(ProviderErrorKind::Timeout { outcome_unknown: true }));
        }
        Ok(self.lock().vms.iter().find(|vm| vm.id == id).cloned().unwrap())
    }

    async fn delete(&self, id: &InstanceId) -> Result<(), ProviderError> {
        let mut state = self.lock();
        state.deletes.push(id.clone());
        let vm = state
            .vms
            .iter_mut()
            .find(|vm| vm.id == *id)
            .ok_or_else(|| error(ProviderErrorKind::NotFound))?;
        vm.state = InstanceState::Deleting;
        Ok(())
    }
}
