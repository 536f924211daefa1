//! VMs that carry the tag of this cluster and that no VPSieNode stands for.

use std::collections::BTreeSet;

use autoscaler_core::provider::{Instance, InstanceId, InstanceState, ProviderErrorKind};
use jiff::SignedDuration;
use kube::{Api, api::ListParams};

use super::{
    Actuator, Fact, Tick,
    vms::{self, Identity},
};
use crate::api::{OrphanPolicy, VPSieNode};

/// What VPSieNodes stand for.
#[derive(Debug, Default)]
struct Claims {
    ids: BTreeSet<InstanceId>,
    /// Tokens of VPSieNodes whose VM has no known id yet.
    tokens: BTreeSet<String>,
}

// === impl Actuator ===

impl Actuator {
    /// Reports orphans; deletes those that are older than the grace period if the policy says so.
    pub(super) async fn sweep_orphans(&self, tick: &Tick<'_>) {
        let index = self.index.cluster();
        let claims = Claims::of(index.machines.values().map(|machine| &**machine));
        let now = tick.now();
        let orphans: Vec<&Instance> = tick.sight.vms.of_cluster().filter(|vm| !claims.cover(vm)).collect();
        let old = {
            let mut memory = self.memory();
            let ids: BTreeSet<&InstanceId> = orphans.iter().map(|vm| &vm.id).collect();
            memory.orphans.retain(|id, _| ids.contains(id));
            let grace = SignedDuration::from_secs(i64::from(tick.config.orphan_grace_period_seconds));
            let mut old = Vec::new();
            for vm in &orphans {
                let since = *memory.orphans.entry(vm.id.clone()).or_insert_with(|| {
                    tracing::warn!(vm = %vm.id, hostname = vm.hostname, "no VPSieNode stands for a VM of this cluster");
                    now
                });
                if grace <= now.duration_since(since) {
                    old.push((*vm).clone());
                }
            }
            old
        };
        tick.fact(Fact::Orphans { count: orphans.len() });
        if tick.config.orphan_policy == OrphanPolicy::Delete && !old.is_empty() {
            self.delete_orphans(tick, &old).await;
        }
    }

    async fn delete_orphans(&self, tick: &Tick<'_>, orphans: &[Instance]) {
        // What the index does not know the API server may.
        let machines: Api<VPSieNode> = Api::all(self.clients.write.clone());
        let claims = match machines.list(&ListParams::default()).await {
            Ok(list) => Claims::of(list.items.iter()),
            Err(error) => {
                tick.problem("VPSieNodes".to_owned(), "list", error.to_string());
                return;
            }
        };
        for vm in orphans.iter().filter(|vm| !claims.cover(vm)) {
            match vms::bounded("delete VM", self.provider.delete(&vm.id)).await {
                Ok(()) => tick.fact(Fact::OrphanDeleted),
                Err(error) if error.kind == ProviderErrorKind::NotFound => {}
                Err(error) => tick
                    .collected()
                    .report
                    .provider_failed("delete", format!("VM {}", vm.id), &error),
            }
        }
    }
}

// === impl Claims ===

impl Claims {
    fn of<'a>(machines: impl Iterator<Item = &'a VPSieNode>) -> Self {
        let mut claims = Self::default();
        for machine in machines {
            let identity = Identity::of(machine);
            match identity.id {
                Some(id) => drop(claims.ids.insert(id)),
                None => drop(claims.tokens.insert(identity.token)),
            }
        }
        claims
    }

    fn cover(&self, vm: &Instance) -> bool {
        let leaving = matches!(vm.state, InstanceState::Deleting | InstanceState::Deleted);
        let by_token = || vm.token().is_some_and(|token| self.tokens.contains(token.as_str()));
        leaving || self.ids.contains(&vm.id) || by_token()
    }
}
