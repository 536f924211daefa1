//! Required affinity and anti-affinity to pods.

use super::{AFFINITY, Case, FITS, HOST, ZONE, bought, find, near, nodes_of};

#[test]
fn anti_affinity_keeps_away_from_the_domain_of_matching_pods() {
    let case = Case::new().zones().pod("db", "a", "app: db", "").pod(
        "new",
        "",
        "app: web",
        &near("podAntiAffinity", ZONE, "db", ""),
    );
    assert_eq!(case.verdicts("new"), [AFFINITY, FITS, FITS]);
    assert_eq!(
        case.messages("new")[0],
        "the pod anti-affinity matches 1 pod in topology.kubernetes.io/zone=a"
    );
}

#[test]
fn anti_affinity_of_existing_pods_keeps_others_away() {
    let case = Case::new()
        .zones()
        .pod("db", "a", "app: db", &near("podAntiAffinity", ZONE, "web", ""))
        .pod("new", "", "app: web", "");
    assert_eq!(case.verdicts("new"), [AFFINITY, FITS, FITS]);
    assert_eq!(
        case.messages("new")[0],
        "the anti-affinity of 1 pod in topology.kubernetes.io/zone=a matches the pod"
    );
}

#[test]
fn anti_affinity_does_not_matter_where_the_key_is_missing() {
    let case = Case::new().place("n", "", "").pod("db", "n", "app: db", "").pod(
        "new",
        "",
        "",
        &near("podAntiAffinity", ZONE, "db", ""),
    );
    assert_eq!(case.verdicts("new"), [FITS]);
    let existing = Case::new()
        .place("n", "", "")
        .place("a", &format!("{ZONE}: a"), "")
        .pod("db", "n", "", &near("podAntiAffinity", ZONE, "web", ""))
        .pod("new", "", "app: web", "");
    assert_eq!(existing.verdicts("new"), [FITS, FITS]);
}

#[test]
fn affinity_asks_for_the_domain_of_a_matching_pod() {
    let case = Case::new()
        .zones()
        .place("n", "", "")
        .pod("db", "a", "app: db", "")
        .pod("new", "", "", &near("podAffinity", ZONE, "db", ""));
    assert_eq!(case.verdicts("new"), [FITS, AFFINITY, AFFINITY, AFFINITY]);
    let messages = case.messages("new");
    assert_eq!(
        messages[1],
        "no pod in its topology.kubernetes.io/zone matches the pod affinity"
    );
    assert_eq!(
        messages[3],
        "the node lacks the topology label topology.kubernetes.io/zone"
    );
}

#[test]
fn one_pod_must_match_all_affinity_terms() {
    let both = format!(
        "affinity: {{podAffinity: {{requiredDuringSchedulingIgnoredDuringExecution: [{{topologyKey: {ZONE}, labelSelector: {{matchLabels: {{app: db}}}}}}, {{topologyKey: {HOST}, labelSelector: {{matchLabels: {{tier: hot}}}}}}]}}}}"
    );
    let case = Case::new()
        .zones()
        .pod("db", "a", "app: db", "")
        .pod("hot", "a", "tier: hot", "")
        .pod("new", "", "", &both);
    assert_eq!(case.verdicts("new"), [AFFINITY, AFFINITY, AFFINITY]);
    let case = case.pod("both", "b", "app: db, tier: hot", "");
    assert_eq!(case.verdicts("new"), [AFFINITY, FITS, AFFINITY]);
}

#[test]
fn the_first_pod_of_a_series_may_come() {
    let own = near("podAffinity", ZONE, "web", "");
    let case = Case::new().zones().place("n", "", "").pod("new", "", "app: web", &own);
    assert_eq!(
        case.verdicts("new"),
        [FITS, FITS, FITS, AFFINITY],
        "also then the node needs the key"
    );
    let foreign = Case::new().zones().pod("new", "", "app: other", &own);
    assert_eq!(
        foreign.verdicts("new"),
        [AFFINITY, AFFINITY, AFFINITY],
        "it has to match its own terms"
    );
    let second = case.clone().pod("w0", "b", "app: web", "");
    assert_eq!(second.verdicts("new"), [AFFINITY, FITS, AFFINITY, AFFINITY]);
    let invisible = case.pod("w0", "n", "app: web", "");
    assert_eq!(
        invisible.verdicts("new"),
        [FITS, FITS, FITS, AFFINITY],
        "a pod on a node without the key is not seen"
    );
}

#[test]
fn b16_terms_mean_the_own_namespace_unless_they_name_others() {
    let namespaces = "---\napiVersion: v1\nkind: Namespace\nmetadata: {name: shop, labels: {team: a}}\n---\napiVersion: v1\nkind: Namespace\nmetadata: {name: bank, labels: {team: b}}";
    for (more, expected) in [
        ("", [FITS, FITS, AFFINITY]),
        ("namespaces: [shop]", [AFFINITY, FITS, FITS]),
        ("namespaces: [shop, default]", [AFFINITY, FITS, AFFINITY]),
        ("namespaceSelector: {}", [AFFINITY, AFFINITY, AFFINITY]),
        ("namespaceSelector: {matchLabels: {team: b}}", [FITS, AFFINITY, FITS]),
        (
            "namespaces: [default], namespaceSelector: {matchLabels: {team: a}}",
            [AFFINITY, FITS, AFFINITY],
        ),
    ] {
        let rule = near("podAntiAffinity", ZONE, "db", more);
        let case = Case::new()
            .zones()
            .with(namespaces)
            .pod_with("s", "a", "namespace: shop, labels: {app: db}", "")
            .pod_with("b", "b", "namespace: bank, labels: {app: db}", "")
            .pod("d", "c", "app: db", "")
            .pod("new", "", "", &rule);
        assert_eq!(case.verdicts("new"), expected, "{more}");
    }
}

#[test]
fn existing_terms_look_at_the_namespace_of_the_new_pod() {
    let namespace = "apiVersion: v1\nkind: Namespace\nmetadata: {name: default, labels: {team: a}}";
    for (more, expected) in [
        ("", AFFINITY),
        ("namespaces: [shop]", FITS),
        ("namespaceSelector: {matchLabels: {team: a}}", AFFINITY),
        ("namespaceSelector: {matchLabels: {team: b}}", FITS),
    ] {
        let rule = near("podAntiAffinity", ZONE, "web", more);
        let case = Case::new()
            .zones()
            .with(namespace)
            .pod("db", "a", "", &rule)
            .pod("new", "", "app: web", "");
        assert_eq!(case.verdicts("new"), [expected, FITS, FITS], "{more}");
    }
}

#[test]
fn b16_a_missing_selector_means_no_pod_and_an_empty_one_every_pod() {
    let none = near("podAntiAffinity", ZONE, "web", "").replace("labelSelector: {matchLabels: {app: web}}, ", "");
    let all = near("podAntiAffinity", ZONE, "web", "").replace("{matchLabels: {app: web}}", "{}");
    let case = |spec: &str| {
        Case::new()
            .zones()
            .pod("w", "a", "app: web", "")
            .pod("new", "", "", spec)
    };
    assert_eq!(case(&none).verdicts("new"), [FITS, FITS, FITS]);
    assert_eq!(case(&all).verdicts("new"), [AFFINITY, FITS, FITS]);
}

#[test]
fn label_keys_of_affinity_are_merged_as_the_api_server_does() {
    let labels = "app: web, rev: two";
    let matching = near("podAntiAffinity", ZONE, "web", "matchLabelKeys: [rev]");
    let mismatching = near("podAntiAffinity", ZONE, "web", "mismatchLabelKeys: [rev]");
    let stored = matching.replace(
        "matchLabels: {app: web}",
        "matchLabels: {app: web}, matchExpressions: [{key: rev, operator: In, values: [two]}]",
    );
    let case = |spec: &str| {
        Case::new()
            .zones()
            .pod("one", "a", "app: web, rev: one", "")
            .pod("two", "b", labels, "")
            .pod("new", "", labels, spec)
    };
    assert_eq!(case(&matching).verdicts("new"), [FITS, AFFINITY, FITS]);
    assert_eq!(case(&mismatching).verdicts("new"), [AFFINITY, FITS, FITS]);
    let snapshot = case(&matching).pod("stored", "", labels, &stored).snapshot();
    assert_eq!(find(&snapshot, "new").class, find(&snapshot, "stored").class);
}

#[test]
fn pods_that_ended_or_are_not_on_a_known_node_do_not_count_and_those_being_deleted_do() {
    let rule = near("podAntiAffinity", ZONE, "db", "");
    let case = Case::new()
        .zones()
        .with("apiVersion: v1\nkind: Pod\nmetadata: {name: done, namespace: default, labels: {app: db}}\nspec: {nodeName: a, containers: [{name: c}]}\nstatus: {phase: Failed}")
        .pod("lost", "gone", "app: db", "")
        .pod_with("going", "b", "namespace: default, labels: {app: db}, deletionTimestamp: \"2026-01-01T00:00:00Z\"", "")
        .pod("waiting", "", "app: db", "")
        .pod("new", "", "", &rule);
    assert_eq!(case.verdicts("new"), [FITS, AFFINITY, FITS]);
}

#[test]
fn preferred_affinity_never_blocks() {
    let soft = format!(
        "affinity: {{podAntiAffinity: {{preferredDuringSchedulingIgnoredDuringExecution: [{{weight: 1, podAffinityTerm: {{topologyKey: {ZONE}, labelSelector: {{}}}}}}]}}}}"
    );
    let case = Case::new().zones().pod("db", "a", "", "").pod("new", "", "", &soft);
    assert_eq!(case.verdicts("new"), [FITS, FITS, FITS]);
}

#[test]
fn five_replicas_with_anti_affinity_over_hosts_get_five_nodes() {
    let rule = near("podAntiAffinity", HOST, "web", "");
    let case = (0..5).fold(Case::new().group("a", 0, 9, "medium", &[]), |case, index| {
        case.pod(&format!("w{index}"), "", "app: web", &rule)
    });
    assert_eq!(bought(&case.plan()), [("default/a", "medium", 5)]);
}

#[test]
fn a_pod_waits_for_the_one_it_has_affinity_to_and_joins_it() {
    let rule = format!(
        "{}, containers: [{{name: c, resources: {{requests: {{cpu: 500m}}}}}}]",
        near("podAffinity", HOST, "db", "")
    );
    let plan = Case::new()
        .group("a", 0, 9, "small", &[])
        .pod("big", "", "", &rule)
        .pod("db", "", "app: db", "")
        .plan();
    assert_eq!(nodes_of(&plan), [("default/a".to_owned(), 2)]);
}

#[test]
fn anti_affinity_over_datacenters_takes_one_group_each_and_then_says_why() {
    let rule = near("podAntiAffinity", ZONE, "web", "");
    let case = Case::new().datacenter("dc-a", "medium").datacenter("dc-b", "medium");
    let case = (0..3).fold(case, |case, index| {
        case.pod(&format!("w{index}"), "", "app: web", &rule)
    });
    let plan = case.plan();
    assert_eq!(
        nodes_of(&plan),
        [("default/dc-a".to_owned(), 1), ("default/dc-b".to_owned(), 1)]
    );
    let left = plan.pods.iter().find(|pod| pod.verdict == "Unschedulable").unwrap();
    assert_eq!(
        left.reasons
            .iter()
            .map(|reason| reason.reason.as_str())
            .collect::<Vec<_>>(),
        [AFFINITY, AFFINITY]
    );
}
