//! What PodDisruptionBudgets allow: which pods are charged to which budget, how much room is left, and who may take it.
//!
//! The rules are those of the eviction API (`pkg/registry/core/pod/storage/eviction.go`): pods that are Pending, have
//! ended or are being deleted are evicted without asking; a pod under several budgets is refused; an unhealthy pod of a
//! budget with `unhealthyPodEvictionPolicy: AlwaysAllow` needs no room.
//!
//! A node that carries more pods of a budget than the budget has room for is *risky*: its drain has to wait for the
//! budget to recover between evictions. At most one node per budget may be risky, and then it has the budget alone.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::{
    drain,
    selector::Operator,
    snapshot::{Budget, BudgetId, NodeId, Pod, PodClass, PodId, PodPhase, Snapshot},
    symbol::Symbol,
};

/// What every budget has left, and what removals have taken of it.
#[derive(Clone, Debug)]
pub struct Ledger<'s> {
    snapshot: &'s Snapshot,
    /// Budgets that cover the pods of a class, by class.
    by_class: Vec<Vec<BudgetId>>,
    /// By budget.
    accounts: Vec<Account>,
}

/// The pods that the drain of one node would charge to budgets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Charge {
    /// By budget, ordered.
    entries: Vec<ChargeEntry>,
    /// The first pod that several budgets cover, with its place among the pods.
    under_several: Option<(usize, PodId)>,
}

/// Why a budget does not let a node be drained.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The pod that cannot be evicted; the first of those that were charged.
    pub pod: PodId,
    /// The reason in words, with its numbers.
    pub message: String,
}

/// What a budget allows to the drain of a node that one of its pods is on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The budget.
    pub budget: BudgetId,
    /// Evictions that it allows beyond those that removals in progress still have to make.
    pub headroom: u32,
    /// Its pods that removals in progress still have to evict.
    pub in_progress: u32,
    /// Its pods on the node that need its leave to go.
    pub pods: u32,
}

/// Budgets by what pods must have to be covered, so that a class looks at few of them.
struct Selectors {
    /// By namespace, and by a label that the selector asks for.
    by_label: BTreeMap<(Symbol, Symbol, Symbol), Vec<BudgetId>>,
    /// By namespace: those whose selector asks for no label of certain values.
    others: BTreeMap<Symbol, Vec<BudgetId>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct ChargeEntry {
    budget: BudgetId,
    pods: u32,
    /// The first of them, with its place among the pods.
    first: (usize, PodId),
}

#[derive(Clone, Copy, Debug, Default)]
struct Account {
    /// Evictions that the budget allows beyond those that removals in progress still have to make.
    headroom: u32,
    /// Pods that removals in progress still have to evict.
    in_progress: u32,
    /// Pods that this plan moves. More than the headroom when they are those of a risky node, which leaves nothing to
    /// others.
    planned: u32,
}

/// The budgets that cover a pod: of its namespace, with a selector that matches.
pub fn budgets_of(snapshot: &Snapshot, pod: PodId) -> impl Iterator<Item = BudgetId> + '_ {
    let class = snapshot.class_of(snapshot.pod(pod));
    snapshot
        .budget_ids()
        .filter(move |budget| covers(snapshot, snapshot.budget(*budget), class))
}

/// Whether the eviction API asks the budget of this pod at all: it is neither Pending nor ended nor being deleted.
#[must_use]
pub fn is_charged(pod: &Pod) -> bool {
    pod.phase != PodPhase::Pending && !pod.is_terminal() && pod.deletion.is_none()
}

fn covers(snapshot: &Snapshot, budget: &Budget, class: &PodClass) -> bool {
    budget.namespace == class.namespace
        && budget
            .selector
            .as_ref()
            .is_some_and(|selector| selector.matches(&class.labels, &snapshot.symbols))
}

// === impl Selectors ===

impl Selectors {
    fn new(snapshot: &Snapshot) -> Self {
        let mut selectors = Self {
            by_label: BTreeMap::new(),
            others: BTreeMap::new(),
        };
        for id in snapshot.budget_ids() {
            let budget = snapshot.budget(id);
            let Some(selector) = &budget.selector else { continue };
            match selector.0.iter().find(|entry| entry.operator == Operator::In) {
                Some(entry) => {
                    for value in &entry.values {
                        let key = (budget.namespace, entry.key, *value);
                        selectors.by_label.entry(key).or_default().push(id);
                    }
                }
                None => selectors.others.entry(budget.namespace).or_default().push(id),
            }
        }
        selectors
    }

    /// The budgets that cover pods of a class, ordered.
    fn covering(&self, snapshot: &Snapshot, class: &PodClass) -> Vec<BudgetId> {
        let of_labels = class
            .labels
            .iter()
            .filter_map(|(key, value)| self.by_label.get(&(class.namespace, key, value)));
        let candidates = self.others.get(&class.namespace).into_iter().chain(of_labels).flatten();
        let mut covering: Vec<_> = candidates
            .copied()
            .filter(|id| covers(snapshot, snapshot.budget(*id), class))
            .collect();
        covering.sort_unstable();
        // A selector may name a value twice.
        covering.dedup();
        covering
    }
}

// === impl Ledger ===

impl<'s> Ledger<'s> {
    /// The state before anything is planned. `leaving` are the nodes whose removal is in progress: the pods that they
    /// still have to evict are taken off what their budgets allow.
    #[must_use]
    pub fn new(snapshot: &'s Snapshot, leaving: impl Iterator<Item = NodeId>, now: Timestamp) -> Self {
        let selectors = Selectors::new(snapshot);
        let by_class = snapshot
            .classes
            .iter()
            .map(|class| selectors.covering(snapshot, class))
            .collect();
        let accounts = snapshot.budgets.iter().map(|budget| Account {
            headroom: budget.disruptions_allowed,
            ..Account::default()
        });
        let mut ledger = Self {
            snapshot,
            by_class,
            accounts: accounts.collect(),
        };
        for node in leaving {
            for pod in snapshot
                .pods_on(node)
                .iter()
                .copied()
                .filter(|pod| drain::must_move(snapshot, *pod, now))
            {
                ledger.charge_in_progress(pod);
            }
        }
        ledger
    }

    /// The snapshot that the budgets are of.
    #[must_use]
    pub const fn snapshot(&self) -> &'s Snapshot {
        self.snapshot
    }

    /// What moving these pods would charge. Where one of several pods has to be named it is the first of them here.
    #[must_use]
    pub fn charge(&self, pods: &[PodId]) -> Charge {
        let mut charge = Charge::default();
        for (place, id) in pods.iter().copied().enumerate() {
            let pod = self.snapshot.pod(id);
            if !is_charged(pod) {
                continue;
            }
            let budgets = self.budgets_of(pod);
            if budgets.len() > 1 && charge.under_several.is_none() {
                charge.under_several = Some((place, id));
            }
            for budget in budgets
                .iter()
                .copied()
                .filter(|budget| self.needs_headroom(*budget, pod))
            {
                match charge.entries.binary_search_by_key(&budget, |entry| entry.budget) {
                    Ok(index) => {
                        if let Some(entry) = charge.entries.get_mut(index) {
                            entry.pods += 1;
                        }
                    }
                    Err(index) => charge.entries.insert(
                        index,
                        ChargeEntry {
                            budget,
                            pods: 1,
                            first: (place, id),
                        },
                    ),
                }
            }
        }
        charge
    }

    /// Whether a node with this charge is risky: it carries more pods of some budget than the budget allowed before
    /// anything was planned, and the budget allowed at least one.
    #[must_use]
    pub fn is_risky(&self, charge: &Charge) -> bool {
        charge.entries.iter().any(|entry| {
            let headroom = self.account(entry.budget).headroom;
            0 < headroom && headroom < entry.pods
        })
    }

    /// Why a node with this charge cannot be drained beside everything that is planned, or `None` when it can.
    #[must_use]
    pub fn refusal(&self, charge: &Charge) -> Option<Refusal> {
        let several = charge.under_several.map(|pod| (pod, None));
        let refused = charge.entries.iter().filter_map(|entry| {
            let problem = self.problem(*entry)?;
            Some((entry.first, Some((entry.budget, problem))))
        });
        let ((_, pod), problem) = several
            .into_iter()
            .chain(refused)
            .min_by_key(|((place, _), _)| *place)?;
        Some(self.refusal_of(pod, problem))
    }

    /// Why a pod cannot be evicted in the drain of a node with this charge, or `None` when it can.
    #[must_use]
    pub fn pod_refusal(&self, charge: &Charge, pod: PodId) -> Option<Refusal> {
        let (id, pod) = (pod, self.snapshot.pod(pod));
        if !is_charged(pod) {
            return None;
        }
        let budgets = self.budgets_of(pod);
        if budgets.len() > 1 {
            return Some(self.refusal_of(id, None));
        }
        let entries = charge.entries.iter().filter(|entry| budgets.contains(&entry.budget));
        let mut asked = entries.filter(|entry| self.needs_headroom(entry.budget, pod));
        let refused = asked.find_map(|entry| Some((entry.budget, self.problem(*entry)?)))?;
        Some(self.refusal_of(id, Some(refused)))
    }

    /// What the budgets that cover a pod allow to the drain of a node with this charge.
    pub fn standings(&self, charge: &Charge, pod: PodId) -> impl Iterator<Item = Standing> {
        let budgets = self.budgets_of(self.snapshot.pod(pod)).iter().copied();
        budgets.map(|budget| {
            let Account {
                headroom, in_progress, ..
            } = self.account(budget);
            let charged = charge.entries.iter().find(|entry| entry.budget == budget);
            Standing {
                budget,
                headroom,
                in_progress,
                pods: charged.map_or(0, |entry| entry.pods),
            }
        })
    }

    /// Takes what moving these pods needs.
    pub fn commit(&mut self, charge: &Charge) {
        for entry in &charge.entries {
            if let Some(account) = self.accounts.get_mut(entry.budget.index()) {
                account.planned = account.planned.saturating_add(entry.pods);
            }
        }
    }

    /// What a budget allows beyond what removals in progress still have to evict, before anything is planned.
    #[must_use]
    pub fn headroom(&self, budget: BudgetId) -> u32 {
        self.account(budget).headroom
    }

    /// What to say of a pod that this budget refuses to let go, or that is under several budgets.
    fn refusal_of(&self, pod: PodId, refused: Option<(BudgetId, String)>) -> Refusal {
        let name = self.snapshot.pod_name(pod);
        let message = match refused {
            None => format!("pod {name} is covered by several PodDisruptionBudgets, which the eviction API refuses"),
            Some((budget, problem)) => {
                format!(
                    "pod {name} is covered by PodDisruptionBudget {}, which {problem}",
                    self.name(budget)
                )
            }
        };
        Refusal { pod, message }
    }

    fn problem(&self, entry: ChargeEntry) -> Option<String> {
        let Account {
            headroom,
            in_progress,
            planned,
        } = self.account(entry.budget);
        let pods = entry.pods;
        let in_use = format!("removals in progress still have to evict {in_progress} of its pods");
        if headroom == 0 {
            let why = if !self.snapshot.budget(entry.budget).is_current {
                ": its status is missing, or older than its spec".to_owned()
            } else if in_progress == 0 {
                String::new()
            } else {
                format!(": {in_use}")
            };
            return Some(format!("allows no eviction now{why}"));
        }
        let is_risky = headroom < pods;
        let user = if is_risky && 0 < in_progress {
            in_use
        } else if 0 < planned && headroom < planned.saturating_add(pods) {
            format!("other removals of this plan take {planned}")
        } else {
            return None;
        };
        Some(format!(
            "allows {headroom} evictions: this node has {pods} of its pods, and {user}"
        ))
    }

    fn charge_in_progress(&mut self, pod: PodId) {
        let pod = self.snapshot.pod(pod);
        if !is_charged(pod) {
            return;
        }
        let budgets = self.by_class.get(pod.class.index()).map_or(&[][..], Vec::as_slice);
        for budget in budgets {
            if needs_headroom(self.snapshot.budget(*budget), pod)
                && let Some(account) = self.accounts.get_mut(budget.index())
            {
                account.headroom = account.headroom.saturating_sub(1);
                account.in_progress = account.in_progress.saturating_add(1);
            }
        }
    }

    fn budgets_of(&self, pod: &Pod) -> &[BudgetId] {
        self.by_class.get(pod.class.index()).map_or(&[], Vec::as_slice)
    }

    fn needs_headroom(&self, budget: BudgetId, pod: &Pod) -> bool {
        needs_headroom(self.snapshot.budget(budget), pod)
    }

    fn account(&self, budget: BudgetId) -> Account {
        self.accounts.get(budget.index()).copied().unwrap_or_default()
    }

    fn name(&self, budget: BudgetId) -> String {
        self.snapshot.budget_name(budget)
    }
}

const fn needs_headroom(budget: &Budget, pod: &Pod) -> bool {
    pod.ready || !budget.always_allow_unhealthy
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::scale_down::testing::{Cluster, NOW, ago};

    /// Two nodes, `n1` with pods `web-1` to `web-N`, and a busy node with room.
    fn cluster(pods: usize, patch: &Value) -> Cluster {
        let mut cluster = Cluster::new().node("n1", json!({})).node("n9", json!({})).anchor("n9");
        for index in 1..=pods {
            cluster = cluster.pod(&format!("web-{index}"), "n1", "100m", patch.clone());
        }
        cluster
    }

    fn verdict(cluster: &Cluster) -> String {
        cluster.run().verdict("n1")
    }

    const REFUSED: &str = "BlockedByPod default/web-1 NotEnoughPdb";

    #[test]
    fn a_budget_that_allows_nothing_blocks() {
        let none = cluster(1, &json!({})).budget("b", "web", 0, json!({}));
        assert_eq!(verdict(&none), REFUSED);
        assert_eq!(
            none.run().message("n1"),
            "pod default/web-1 is covered by PodDisruptionBudget default/b, which allows no eviction now"
        );
        assert_eq!(
            verdict(&cluster(1, &json!({})).budget("b", "web", 1, json!({}))),
            "Remove"
        );
        assert_eq!(
            verdict(&cluster(1, &json!({})).budget("b", "other", 0, json!({}))),
            "Remove"
        );
    }

    #[test]
    fn a_selector_of_nothing_covers_all_and_none_covers_none() {
        let all = json!({"spec": {"selector": {"matchLabels": null}}});
        assert_eq!(verdict(&cluster(1, &json!({})).budget("b", "web", 0, all)), REFUSED);
        let none = json!({"spec": {"selector": null}});
        assert_eq!(verdict(&cluster(1, &json!({})).budget("b", "web", 0, none)), "Remove");
        let elsewhere = json!({"metadata": {"namespace": "other"}});
        assert_eq!(
            verdict(&cluster(1, &json!({})).budget("b", "web", 0, elsewhere)),
            "Remove"
        );
    }

    #[test]
    fn the_ledger_knows_all_budgets_of_a_pod_whatever_their_selectors_look_like() {
        let selectors = [
            json!({"matchLabels": {"app": "web"}}),
            json!({"matchLabels": {"app": "web", "tier": "front"}}),
            json!({"matchLabels": null, "matchExpressions": [{"key": "app", "operator": "In", "values": ["db", "web", "web"]}]}),
            json!({"matchLabels": null, "matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["db"]}]}),
            json!({"matchLabels": null, "matchExpressions": [{"key": "tier", "operator": "Exists"}]}),
            json!({"matchLabels": {"app": null, "tier": "front"}, "matchExpressions": [{"key": "app", "operator": "DoesNotExist"}]}),
            json!({"matchLabels": null}),
            json!(null),
        ];
        let mut all = Cluster::new().node("n1", json!({}));
        for (index, selector) in selectors.into_iter().enumerate() {
            all = all.budget(&format!("b{index}"), "nobody", 1, json!({"spec": {"selector": null}}));
            all = all.budget(&format!("c{index}"), "web", 1, json!({"spec": {"selector": selector}}));
        }
        for (name, labels) in [
            ("web-1", json!({})),
            ("web-2", json!({"tier": "front"})),
            ("db-1", json!({"tier": "back"})),
            ("other-1", json!({"app": null, "tier": "front"})),
        ] {
            all = all.pod(name, "n1", "1m", json!({"metadata": {"labels": labels}}));
        }
        let snapshot = all.snapshot();
        let ledger = Ledger::new(&snapshot, std::iter::empty(), NOW.parse().unwrap());
        let mut covered = 0;
        for id in snapshot.pod_ids() {
            let one_by_one: Vec<_> = budgets_of(&snapshot, id).collect();
            assert_eq!(
                ledger.budgets_of(snapshot.pod(id)),
                one_by_one,
                "{}",
                snapshot.pod_name(id)
            );
            covered += one_by_one.len();
        }
        assert_eq!(covered, 2 + 1 + 3 + 3 + 3 + 1 + 4, "pods of each selector, in order");
    }

    #[test]
    fn a_missing_or_stale_status_allows_nothing() {
        let missing = json!({"status": null});
        assert_eq!(verdict(&cluster(1, &json!({})).budget("b", "web", 5, missing)), REFUSED);
        let stale = json!({"metadata": {"generation": 2}});
        let stale = cluster(1, &json!({})).budget("b", "web", 5, stale);
        assert_eq!(verdict(&stale), REFUSED);
        assert_eq!(
            stale.run().message("n1"),
            "pod default/web-1 is covered by PodDisruptionBudget default/b, which allows no eviction now: \
             its status is missing, or older than its spec"
        );
    }

    #[test]
    fn safe_to_evict_does_not_excuse_from_the_budget() {
        let safe = json!({"metadata": {"annotations": {"cluster-autoscaler.kubernetes.io/safe-to-evict": "true"}}});
        assert_eq!(verdict(&cluster(1, &safe).budget("b", "web", 0, json!({}))), REFUSED);
    }

    #[test]
    fn pending_ended_and_terminating_pods_are_not_charged() {
        for patch in [
            json!({"status": {"phase": "Pending"}}),
            json!({"status": {"phase": "Failed"}}),
            json!({"metadata": {"deletionTimestamp": ago(1)}}),
        ] {
            assert_eq!(
                verdict(&cluster(1, &patch).budget("b", "web", 0, json!({}))),
                "Remove",
                "{patch}"
            );
        }
    }

    #[test]
    fn an_unhealthy_pod_of_an_always_allow_budget_needs_no_room() {
        let unhealthy = json!({"status": {"conditions": [{"type": "Ready", "status": "False"}]}});
        let always = json!({"spec": {"unhealthyPodEvictionPolicy": "AlwaysAllow"}});
        assert_eq!(
            verdict(&cluster(1, &unhealthy).budget("b", "web", 0, always.clone())),
            "Remove"
        );
        assert_eq!(
            verdict(&cluster(1, &unhealthy).budget("b", "web", 0, json!({}))),
            REFUSED
        );
        assert_eq!(verdict(&cluster(1, &json!({})).budget("b", "web", 0, always)), REFUSED);
    }

    #[test]
    fn a_pod_under_two_budgets_blocks() {
        let two = cluster(1, &json!({}))
            .budget("a", "web", 9, json!({}))
            .budget("b", "web", 9, json!({}));
        assert_eq!(verdict(&two), REFUSED);
        assert!(two.run().message("n1").contains("several PodDisruptionBudgets"));
    }

    #[test]
    fn a_risky_node_may_go_alone() {
        // maxUnavailable 1 and two pods on the node: the drain waits in between.
        let risky = cluster(2, &json!({})).budget("b", "web", 1, json!({}));
        assert_eq!(verdict(&risky), "Remove");
        assert_eq!(
            verdict(&cluster(2, &json!({})).budget("b", "web", 0, json!({}))),
            REFUSED
        );
    }

    /// Three nodes with so many pods of one budget each, that may all be removed otherwise.
    fn nodes_with(pods: [usize; 3], allowed: i32) -> Cluster {
        let mut cluster =
            Cluster::new()
                .settings(json!({"budgets": {"drain": "100%"}}))
                .budget("b", "web", allowed, json!({}));
        for (node, pods) in ["n1", "n2", "n3"].into_iter().zip(pods) {
            cluster = cluster.node(node, json!({}));
            for index in 0..pods {
                cluster = cluster.pod(&format!("web-{node}-{index}"), node, "100m", json!({}));
            }
        }
        cluster.node("n9", json!({})).anchor("n9")
    }

    #[test]
    fn removals_of_a_plan_share_the_headroom() {
        let run = nodes_with([1, 1, 1], 2).run();
        assert_eq!(run.removed(), ["n1", "n2"]);
        assert_eq!(run.verdict("n3"), "BlockedByPod default/web-n3-0 NotEnoughPdb");
        assert_eq!(
            run.message("n3"),
            "pod default/web-n3-0 is covered by PodDisruptionBudget default/b, which allows 2 evictions: \
             this node has 1 of its pods, and other removals of this plan take 2"
        );
    }

    #[test]
    fn a_risky_node_goes_last_and_not_beside_another_of_its_budget() {
        // n1 is risky: the others go first, and then it cannot.
        let run = nodes_with([3, 1, 1], 2).run();
        assert_eq!(run.removed(), ["n2", "n3"]);
        assert_eq!(run.verdict("n1"), "BlockedByPod default/web-n1-0 NotEnoughPdb");
        // All are risky: one goes.
        let run = nodes_with([3, 2, 4], 1).run();
        assert_eq!(run.removed(), ["n2"]);
        assert_eq!(run.verdict("n1"), "BlockedByPod default/web-n1-0 NotEnoughPdb");
        assert!(run.message("n3").contains("other removals of this plan take"));
    }

    #[test]
    fn a_risky_node_goes_last_even_when_it_is_the_least_used() {
        let cluster = nodes_with([2, 0, 0], 1).pod("api", "n2", "1500m", json!({}));
        let run = cluster
            .node("n8", json!({}))
            .pod("stays", "n8", "2001m", json!({}))
            .run();
        assert_eq!(run.removed(), ["n3", "n2", "n1"]);
    }

    #[test]
    fn removals_in_progress_take_headroom() {
        let in_progress = |allowed| nodes_with([2, 1, 2], allowed).machine("n2", json!({"phase": "Terminating"}));
        // One of three is needed by n2; n1 takes the other two.
        assert_eq!(in_progress(3).run().removed(), ["n1"]);
        assert_eq!(in_progress(5).run().removed(), ["n1", "n3"]);
        // With one left n1 would be risky, and a removal in progress uses the budget.
        let run = in_progress(2).run();
        assert!(run.removed().is_empty());
        assert!(
            run.message("n1").contains("removals in progress still have to evict 1"),
            "{}",
            run.message("n1")
        );
        let run = in_progress(1).run();
        assert!(
            run.message("n1")
                .ends_with("removals in progress still have to evict 1 of its pods")
        );
    }

    #[test]
    fn of_several_blockers_the_first_by_kind_and_name_is_named() {
        let naked = json!({"metadata": {"ownerReferences": null}});
        let waits =
            json!({"metadata": {"annotations": {"cluster-autoscaler.kubernetes.io/safe-to-evict": "on-completion"}}});
        let pdb = cluster(2, &json!({})).budget("b", "web", 0, json!({}));
        assert_eq!(verdict(&pdb), REFUSED);
        let wait = pdb.pod("y", "n1", "1m", waits.clone()).pod("x", "n1", "1m", waits);
        assert_eq!(verdict(&wait), "BlockedByOnCompletionPod default/x");
        let table = wait.pod("z-2", "n1", "1m", naked.clone()).pod("z-1", "n1", "1m", naked);
        assert_eq!(verdict(&table), "BlockedByPod default/z-1 NotReplicated");
    }

    #[test]
    fn headroom_is_what_is_allowed_less_what_is_in_progress() {
        let snapshot = nodes_with([2, 1, 2], 3)
            .machine("n1", json!({"phase": "Terminating"}))
            .snapshot();
        let now = NOW.parse().unwrap();
        let leaving = std::iter::once(NodeId(0));
        assert_eq!(Ledger::new(&snapshot, leaving, now).headroom(BudgetId(0)), 1);
        assert_eq!(Ledger::new(&snapshot, std::iter::empty(), now).headroom(BudgetId(0)), 3);
    }
}
