//! Creating: the intent as a VPSieNode object, and the request to the provider that carries it out.

use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash as _, Hasher as _},
};

use autoscaler_core::{
    plan::{Creation, Plan},
    provider::{ClientToken, CreateInstance, DatacenterId, OfferingId},
    snapshot::Snapshot,
};
use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::Secret,
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference},
};
use kube::{Api, Resource as _, ResourceExt as _, api::PostParams};

use super::{
    Actuator, Tick, group,
    join::Dress,
    user_data::{self, TemplateError, Values},
    vms::{Identity, hostname},
};
use crate::{
    api::{self, NodeGroup, VPSieNode, VPSieNodeSpec, labels},
    events::REPORTER,
    index::{Cluster, Key},
};

/// The longest host name; a dash and eight characters of it make the name unique.
const HOSTNAME_LIMIT: usize = 63;

/// Names to try when one is taken.
const NAME_ATTEMPTS: usize = 5;

/// Why no create request can be made.
#[derive(Debug, thiserror::Error)]
pub(super) enum RequestError {
    #[error("the NodeGroup {0} does not exist")]
    NoGroup(String),
    #[error("the Secret {0} with the user data cannot be read: {1}")]
    Secret(String, #[source] kube::Error),
    #[error("the Secret {0} has no key {1}")]
    NoKey(String, String),
    #[error("the user data in the Secret {0} is not text")]
    NotText(String),
    #[error(transparent)]
    Template(#[from] TemplateError),
}

// === impl Actuator ===

impl Actuator {
    /// Writes the intent of each creation: one VPSieNode object, with a name and a client token of its own. The VMs
    /// themselves are asked for by the next [`tick`](Self::tick). Then the time of the scale-up is recorded in the
    /// status of each NodeGroup.
    ///
    /// # Errors
    /// The first failed write; the others are still made. What could not be written is decided anew.
    pub async fn begin_creations(
        &self,
        cluster: &Cluster,
        snapshot: &Snapshot,
        plan: &Plan,
        now: Timestamp,
    ) -> Result<(), kube::Error> {
        let mut first_error = None;
        let mut grown: BTreeMap<Key, usize> = BTreeMap::new();
        for creation in &plan.creations {
            let group = snapshot.group(creation.group);
            let key = (
                snapshot.text(group.namespace).to_owned(),
                snapshot.text(group.name).to_owned(),
            );
            let Some(group) = cluster.groups.get(&key) else {
                continue;
            };
            match self.create_intent(group, creation, now).await {
                Ok(machine) => {
                    self.index.put_machine(machine);
                    *grown.entry(key).or_default() += 1;
                }
                Err(error) => first_error = first_error.or(Some(error)),
            }
        }
        for (key, count) in grown {
            let Some(group) = cluster.groups.get(&key) else {
                continue;
            };
            let result = self
                .write_group_status(group, |status| {
                    status.last_scale_up_time = Some(api::time(now));
                    status.last_scale_time = Some(api::time(now));
                })
                .await;
            if let Err(error) = result {
                first_error = first_error.or(Some(error));
            }
            let before = cluster
                .machines
                .values()
                .filter(|machine| group::is_member(machine, &key))
                .count();
            let note = format!("{before} -> {} nodes (max {})", before + count, group.spec.max_nodes);
            self.events
                .normal(&group.object_ref(&()), "ScaleUp", "ScaledUpGroup", note)
                .await;
        }
        first_error.map_or(Ok(()), Err)
    }

    async fn create_intent(
        &self,
        group: &NodeGroup,
        creation: &Creation,
        now: Timestamp,
    ) -> Result<VPSieNode, kube::Error> {
        let machines: Api<VPSieNode> =
            Api::namespaced(self.clients.write.clone(), &group.namespace().unwrap_or_default());
        let params = PostParams {
            field_manager: Some(REPORTER.to_owned()),
            ..PostParams::default()
        };
        let mut attempt = 1;
        loop {
            let object = intent(group, creation, self.random(now), self.random(now));
            match machines.create(&params, &object).await {
                Err(kube::Error::Api(status)) if status.reason == "AlreadyExists" && attempt < NAME_ATTEMPTS => {
                    attempt += 1;
                }
                result => return result,
            }
        }
    }

    /// The next number of a sequence that looks random and that the seed decides.
    fn random(&self, now: Timestamp) -> u64 {
        let mut memory = self.memory();
        memory.names = memory.names.wrapping_add(1);
        let mut hasher = DefaultHasher::new();
        (self.settings.seed, now.as_nanosecond(), memory.names).hash(&mut hasher);
        hasher.finish()
    }

    /// The request that carries out the intent of a VPSieNode.
    pub(super) async fn create_request(
        &self,
        tick: &Tick<'_>,
        machine: &VPSieNode,
    ) -> Result<CreateInstance, RequestError> {
        let group = tick
            .sight
            .group(machine)
            .ok_or_else(|| RequestError::NoGroup(machine.node_group_key()))?;
        let spec = &group.spec;
        let dress = Dress::of(machine, Some(group));
        let values = Values {
            hostname: hostname(machine),
            node_labels: user_data::kubelet_labels(&dress.all_labels()),
            register_taints: user_data::kubelet_taints(&spec.taints),
            cluster: self.settings.cluster.clone(),
        };
        let user_data = match &spec.user_data_secret_ref {
            Some(reference) => user_data::render(&self.template(reference, group).await?, &values)?,
            None => user_data::built_in(&values),
        };
        Ok(CreateInstance {
            token: ClientToken::new(Identity::of(machine).token),
            cluster: self.settings.cluster.clone(),
            hostname: values.hostname,
            offering: OfferingId::new(machine.spec.instance_type.as_str()),
            datacenter: DatacenterId::new(machine.spec.datacenter_id.as_str()),
            project: Some(machine.spec.project.clone()).filter(|project| !project.is_empty()),
            image: machine.spec.os_image_id.clone(),
            ssh_keys: machine.spec.ssh_key_ids.clone(),
            tags: spec.tags.clone(),
            notes: spec.notes.clone(),
            user_data: Some(user_data),
        })
    }

    async fn template(&self, reference: &api::UserDataSecretRef, group: &NodeGroup) -> Result<String, RequestError> {
        let namespace = reference
            .namespace
            .clone()
            .or_else(|| group.namespace())
            .unwrap_or_default();
        let name = format!("{namespace}/{}", reference.name);
        let secrets: Api<Secret> = Api::namespaced(self.clients.write.clone(), &namespace);
        let secret = secrets
            .get(&reference.name)
            .await
            .map_err(|error| RequestError::Secret(name.clone(), error))?;
        let value = secret.data.and_then(|mut data| data.remove(&reference.key));
        let Some(value) = value else {
            return Err(RequestError::NoKey(name, reference.key.clone()));
        };
        String::from_utf8(value.0).map_err(|_| RequestError::NotText(name))
    }
}

/// The VPSieNode that records the intent to create one node.
fn intent(group: &NodeGroup, creation: &Creation, name: u64, token: u64) -> VPSieNode {
    let spec = &group.spec;
    let short = u32::try_from(name >> 32).unwrap_or_default();
    let name = machine_name(&group.name_any(), short);
    let mut machine = VPSieNode::new(
        &name,
        VPSieNodeSpec {
            vpsie_instance_id: 0,
            instance_type: creation.offering.as_str().to_owned(),
            node_group_name: group.name_any(),
            datacenter_id: creation.datacenter.as_str().to_owned(),
            resource_identifier: spec.resource_identifier.clone(),
            project: spec.project.clone(),
            kubernetes_version: spec.kubernetes_version.clone(),
            os_image_id: spec.os_image_id.clone(),
            ssh_key_ids: spec.ssh_key_ids.clone(),
            node_name: Some(name.clone()),
            vpsie_group_id: group.status.as_ref().and_then(|status| status.vpsie_group_id),
            client_token: Some(format!("{name}-{token:016x}")),
            ..VPSieNodeSpec::default()
        },
    );
    let labels = [
        (labels::MANAGED, labels::MANAGED_TRUE),
        (labels::NODE_GROUP, &group.name_any()),
        (labels::DATACENTER, creation.datacenter.as_str()),
        (labels::OFFERING, creation.offering.as_str()),
    ];
    // A label value has at most 63 characters, the name of a group may have more.
    let labels = labels.into_iter().filter(|(_, value)| value.len() <= 63);
    machine.metadata = ObjectMeta {
        namespace: group.namespace(),
        labels: Some(labels.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()),
        finalizers: Some(vec![labels::VPSIE_NODE_FINALIZER.to_owned()]),
        owner_references: Some(vec![OwnerReference {
            api_version: api::API_VERSION.to_owned(),
            kind: "NodeGroup".to_owned(),
            name: group.name_any(),
            uid: group.uid().unwrap_or_default(),
            controller: Some(true),
            block_owner_deletion: Some(true),
        }]),
        ..machine.metadata
    };
    machine
}

/// `GROUP-xxxxxxxx`, valid as a host name.
fn machine_name(group: &str, suffix: u32) -> String {
    let mut stem: String = group.chars().map(|c| if c == '.' { '-' } else { c }).collect();
    stem.truncate(HOSTNAME_LIMIT - 9);
    format!("{}-{suffix:08x}", stem.trim_end_matches('-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_host_names() {
        assert_eq!(machine_name("web", 0x00ab_cdef), "web-00abcdef");
        assert_eq!(machine_name("team.web", 1), "team-web-00000001");
        let long = machine_name(&format!("{}.b", "a".repeat(53)), 1);
        assert_eq!(long, format!("{}-00000001", "a".repeat(53)));
        assert!(machine_name(&"g".repeat(200), 1).len() == HOSTNAME_LIMIT);
    }
}
