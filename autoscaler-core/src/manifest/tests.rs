//! What is read from text, and what is refused, with which words and where.

use std::collections::BTreeMap;

use super::{meta::IntOrString, *};
use crate::quantity::Quantity;

pub(super) fn source(text: &str) -> Source<'_> {
    Source {
        name: "dump.yaml".to_owned(),
        text,
    }
}

pub(super) fn objects(text: &str) -> Objects {
    let mut objects = Objects::default();
    match read(&source(text), &mut objects) {
        Ok(()) => objects,
        Err(errors) => panic!("{errors}"),
    }
}

/// All errors of a text, one per line.
pub(super) fn errors(text: &str) -> String {
    let mut objects = Objects::default();
    read(&source(text), &mut objects)
        .expect_err("the text is bad")
        .to_string()
}

fn quantity(text: &str) -> Quantity {
    text.parse().unwrap()
}

/// A pod with this under `spec:`, each line indented by two.
fn pod(spec: &str) -> String {
    format!("apiVersion: v1\nkind: Pod\nmetadata:\n  name: web\nspec:\n{spec}")
}

fn node_group(spec: &str) -> String {
    format!(
        "apiVersion: autoscaler.vpsie.com/v1alpha1\nkind: NodeGroup\nmetadata:\n  name: g\n  namespace: ns\nspec:\n{spec}"
    )
}

const POD_JSON: &str = r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a\u0062\ud83d\ude00"},"spec":{"nodeName":"n1","priority":-5}}"#;

#[test]
fn many_documents_with_separators_comments_and_byte_order_mark() {
    let text = "\u{feff}# a dump\n---\n---\napiVersion: v1\nkind: Node\nmetadata: {name: n1}\n---\n# nothing\n---\napiVersion: v1\nkind: Namespace\nmetadata:\n  name: shop\n...\n";
    let objects = objects(text);
    assert_eq!(objects.nodes[0].metadata.name, "n1");
    assert_eq!(objects.namespaces[0].metadata.name, "shop");
    assert_eq!(objects.len(), 2);
    assert_eq!(objects.origins[&("Namespace", "shop".to_owned())].line, 10);
}

#[test]
fn nothing_is_read_from_nothing() {
    for text in [
        "",
        "\n\n",
        "---\n",
        "# only a comment\n",
        "\u{feff}",
        "null",
        "---\n---\n...",
    ] {
        assert_eq!(objects(text), Objects::default(), "{text:?}");
    }
}

#[test]
fn json_values_one_after_another_and_between_separators() {
    let second = POD_JSON.replace("a\\u0062", "c");
    let text = format!(
        "{POD_JSON}{second}\n---\napiVersion: v1\nkind: Node\nmetadata: {{name: n1}}\n---\n{{\"apiVersion\": \"v1\", \"kind\": \"Node\", \"metadata\": {{\"name\": \"n2\"}}}}\n"
    );
    let objects = objects(&text);
    assert_eq!(objects.pods[0].metadata.name, "ab😀");
    assert_eq!(objects.pods[1].metadata.name, "c😀");
    assert_eq!(objects.pods[0].spec.priority, Some(-5));
    assert_eq!(objects.nodes.len(), 2);
    assert_eq!(objects.origins[&("Node", "n2".to_owned())].line, 7);
}

#[test]
fn lists_of_any_kind_typed_lists_and_nested_lists() {
    let text = "apiVersion: v1\nitems:\n- apiVersion: v1\n  kind: Pod\n  metadata: {name: a, namespace: x}\n- apiVersion: v1\n  kind: List\n  items:\n  - apiVersion: v1\n    kind: NodeList\n    items:\n    - metadata: {name: n1}\nkind: List\n";
    let read = objects(text);
    assert_eq!(
        (read.pods[0].metadata.full_name(), read.nodes[0].metadata.name.as_str()),
        ("x/a".to_owned(), "n1")
    );

    // The kind stands before or after the items.
    for text in [
        r#"{"kind":"PodList","apiVersion":"v1","metadata":{},"items":[{"metadata":{"name":"a"}},{"metadata":{"name":"b"}}]}"#,
        r#"{"items":[{"metadata":{"name":"a"}},{"metadata":{"name":"b"}}],"kind":"PodList","apiVersion":"v1"}"#,
    ] {
        assert_eq!(objects(text).pods.len(), 2);
    }
    let metrics = "apiVersion: metrics.k8s.io/v1beta1\nkind: PodMetricsList\nitems:\n- metadata: {name: a}\n";
    assert_eq!(
        objects(metrics).skipped,
        BTreeMap::from([("metrics.k8s.io/v1beta1/PodMetrics".to_owned(), 1)])
    );
    for empty in ["items: []", "items: null", "items:", "metadata: {}"] {
        assert!(objects(&format!("apiVersion: v1\nkind: List\n{empty}\n")).is_empty());
        assert!(objects(&format!("{empty}\napiVersion: v1\nkind: PodList\n")).is_empty());
    }
}

#[test]
fn kinds_that_are_not_read_are_counted() {
    let text = "apiVersion: v1\nkind: ConfigMap\n---\napiVersion: v1\nkind: ConfigMap\n---\napiVersion: crd.projectcalico.org/v1\nkind: GlobalNetworkSetList\n---\napiVersion: extensions/v1beta1\nkind: Ingress\n";
    let objects = objects(text);
    assert!(objects.is_empty());
    let expected = [
        ("crd.projectcalico.org/v1/GlobalNetworkSetList", 1),
        ("extensions/v1beta1/Ingress", 1),
        ("v1/ConfigMap", 2),
    ];
    assert_eq!(
        objects.skipped,
        expected.map(|(kind, count)| (kind.to_owned(), count)).into()
    );
}

#[test]
fn kinds_that_nobody_has_are_refused() {
    let of = |api_version: &str, kind: &str| {
        errors(&format!(
            "apiVersion: {api_version}\nkind: {kind}\nmetadata:\n  name: x\n"
        ))
    };
    assert_eq!(
        of("v1", "Pdo"),
        "dump.yaml:2: Pdo x: kind: there is no kind \"Pdo\" in v1; is it Pod?"
    );
    assert_eq!(
        of("autoscaler.vpsie.com/v1alpha1", "NodeGruop"),
        "dump.yaml:2: NodeGruop x: kind: there is no kind \"NodeGruop\" in autoscaler.vpsie.com/v1alpha1; is it NodeGroup?"
    );
    assert!(of("v1", "Deployment").ends_with("there is no kind \"Deployment\" in v1; Deployment is in the group apps"));
    assert!(of("apps/v1", "Pod").ends_with("Pod is in the core group, v1"));
    assert!(
        of("autoscaler.vpsie.com/v1alpha2", "NodeGroup")
            .contains("apiVersion: NodeGroup is read in version autoscaler.vpsie.com/v1alpha1, not")
    );
    assert!(
        of("policy/v1beta1", "PodDisruptionBudget")
            .contains("PodDisruptionBudget is read in version policy/v1, not policy/v1beta1")
    );
    assert!(
        of("autoscaling.vpsie.com/v1alpha1", "NodeGroup").contains("NodeGroup is in API group autoscaler.vpsie.com")
    );
    assert!(of("aps/v1", "Deployment").contains("there is no API group \"aps\""));
    assert!(of("v1/", "Pod").contains("is not GROUP/VERSION"));
    assert!(of("/v1", "Pod").contains("is not GROUP/VERSION"));
    assert!(of("one", "Pod").contains("\"one\" is not a version"));
    assert!(of("v1", "Lits").contains("there is no kind \"Lits\""));
    assert!(of("v1", "PodsList").contains("there is no kind \"PodsList\""));
    assert!(of("v1", "Status").contains("the answer to a request that failed"));
}

#[test]
fn objects_without_kind_version_or_name_are_refused() {
    assert_eq!(
        errors("metadata: {name: a}\n"),
        "dump.yaml:1: object a: kind: is missing\ndump.yaml:1: object a: apiVersion: is missing"
    );
    assert_eq!(
        errors("apiVersion: v1\nspec: {}\n"),
        "dump.yaml:1: document 1: kind: is missing"
    );
    assert_eq!(
        errors("kind: Pod\n"),
        "dump.yaml:1: Pod (document 1): apiVersion: is missing"
    );
    assert_eq!(
        errors("apiVersion: v1\nkind: [Pod]\n"),
        "dump.yaml:2: document 1: kind: expected a string, found a list"
    );
    assert_eq!(
        errors("apiVersion: v1\nkind: Pod\n"),
        "dump.yaml:1: Pod (document 1): metadata.name: is missing"
    );
    assert_eq!(
        errors(
            "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Node\n  metadata: {name: n}\n- metadata: {}\n  spec: {}\n"
        ),
        "dump.yaml:7: document 1, item 2: kind: is missing\ndump.yaml:7: document 1, item 2: apiVersion: is missing"
    );
    assert_eq!(
        errors("- a\n- b\n"),
        "dump.yaml:1: document 1: expected an object, found a list"
    );
    assert_eq!(
        errors("---\njust text\n"),
        "dump.yaml:2: document 1: expected an object, found the string \"just text\""
    );
    assert!(
        errors("apiVersion: v1\nkind: Pod\nitems:\n- apiVersion: v1\n  kind: Node\n  metadata: {name: n}\n")
            .contains("an object of kind Pod does not have items")
    );
    assert!(
        errors("apiVersion: v1\nkind: PodList\nitems: 3\n")
            .contains("dump.yaml:3: PodList (document 1): items: expected a list, found the number 3")
    );
}

#[test]
fn the_sentence_of_a_bad_quantity() {
    let text = include_str!("../../../examples/clusters/bad/bad-quantity.yaml");
    let mut into = Objects::default();
    let errors = read(&source(text), &mut into).unwrap_err();
    assert_eq!(errors.errors.len(), 1);
    let error = &errors.errors[0];
    assert_eq!((error.line, error.column), (14, 14));
    assert_eq!(error.field, "spec.containers[0].resources.requests.cpu");
    assert_eq!(error.object, "Pod default/web");
    assert!(errors.to_string().starts_with(
        "dump.yaml:14: Pod default/web: spec.containers[0].resources.requests.cpu: \"10x\" is not a quantity: "
    ));
    assert!(into.is_empty());
}

#[test]
fn bad_syntax_names_its_line() {
    let text = include_str!("../../../examples/clusters/bad/bad.yaml");
    let errors = errors(text);
    assert!(
        errors.starts_with("dump.yaml:") && errors.contains("not valid YAML"),
        "{errors}"
    );
    let of = |text: &str| tests::errors(text);
    assert_eq!(
        of("{\"kind\": \"Pod\",\n \"a\" 1}"),
        "dump.yaml:2: not valid JSON: expected a colon"
    );
    assert_eq!(
        of("{\"kind\": \"Pod\",\n"),
        "dump.yaml:2: not valid JSON: the text ends inside of a value"
    );
    assert!(of("{\"a\": 01}").contains("expected a"));
    assert!(of("{\"a\": \"\u{1}\"}").contains("control character"));
    assert!(of("{\"a\": \"\\x\"}").contains("escape"));
    assert!(of("{\"a\": [1,]}").contains("expected a value"));
    assert_eq!(
        of("a: 1\nb: 2\na: 3\n"),
        "dump.yaml:3: the key \"a\" is here for the second time"
    );
    let many: String = (0..40).map(|n| format!("k{n}: 1\n")).collect();
    assert_eq!(
        of(&format!("{many}k7: 2\n")),
        "dump.yaml:41: the key \"k7\" is here for the second time"
    );
}

#[test]
fn values_of_a_wrong_type_say_what_they_should_be() {
    let of = |metadata: &str| {
        errors(&format!(
            "apiVersion: v1\nkind: Node\nmetadata:\n  name: n\n  {metadata}\n"
        ))
    };
    assert_eq!(
        of("labels: {a.b/c: true}"),
        "dump.yaml:5: Node n: metadata.labels[\"a.b/c\"]: expected a string, found the boolean true: put it in quotes"
    );
    for (value, found) in [
        ("1", "the number 1"),
        ("0x1F", "the number 0x1F"),
        ("1e3", "the number 1e3"),
        ("no", "the boolean no"),
        (".5", "the number .5"),
        ("007", "the number 007"),
    ] {
        assert!(
            of(&format!("annotations: {{k: {value}}}")).contains(&format!(
                "metadata.annotations.k: expected a string, found {found}: put"
            )),
            "{value}"
        );
    }
    assert!(of("labels: [a]").contains("metadata.labels: expected a mapping, found a list"));
    assert!(of("generation: one").contains("metadata.generation: expected an integer, found the string \"one\""));
    assert!(of("creationTimestamp: yesterday").contains("metadata.creationTimestamp: "));
    assert!(
        errors(&pod("  priority: 99999999999\n")).contains("spec.priority: expected i32, found integer `99999999999`")
    );
    assert!(errors(&pod("  hostNetwork: maybe\n")).contains(
        "dump.yaml:6: Pod default/web: spec.hostNetwork: expected true or false, found the string \"maybe\""
    ));
    assert!(
        errors(&pod(
            "  containers:\n  - name: a\n    resources: {requests: {nvidia.com/gpu: one}}\n"
        ))
        .contains("spec.containers[0].resources.requests[\"nvidia.com/gpu\"]: \"one\" is not a quantity")
    );
}

#[test]
fn words_that_only_look_like_other_types_are_strings() {
    let text = "apiVersion: v1\nkind: Node\nmetadata:\n  name: n\n  labels: {a: 1.2.3, b: y, c: 2024-01-01, d: 1a, e: --, f: \"true\", g: '1', h: !!str 5, i: v1, j: nope, k: }\nspec: {unschedulable: yes}\n";
    let node = &objects(text).nodes[0];
    let labels: Vec<_> = node.metadata.labels.values().map(String::as_str).collect();
    assert_eq!(
        labels,
        [
            "1.2.3",
            "y",
            "2024-01-01",
            "1a",
            "--",
            "true",
            "1",
            "5",
            "v1",
            "nope",
            ""
        ]
    );
    assert!(node.spec.unschedulable);
}

#[test]
fn nulls_are_absent_and_unknown_fields_are_ignored() {
    let text = pod(
        "  nodeName: null\n  containers: null\n  nodeSelector: ~\n  affinity:\n  hostNetwork: null\n  somethingNew: {a: [1, {b: c}]}\nstatus: null\n",
    );
    let read = objects(&text);
    let pod = &read.pods[0];
    assert_eq!(pod.spec, pod::PodSpec::default());
    assert_eq!(pod.metadata.namespace, "default");
    // A quantity that is null is zero, as in Kubernetes.
    let read = objects(&self::pod("  overhead: {cpu: null, memory: ~}\n"));
    let overhead: Vec<_> = read.pods[0]
        .spec
        .overhead
        .values()
        .map(|amount| amount.milli())
        .collect();
    assert_eq!(overhead, [0, 0]);
    let json = r#"{"metadata":{"name":"a","labels":null,"creationTimestamp":null,"ownerReferences":[{"controller":null,"kind":"X"}]},"spec":{"volumes":null,"tolerations":[{"key":null}]},"status":{"conditions":[{"lastProbeTime":null,"type":"Ready"}]}}"#;
    let pod: Pod = serde_json::from_str(json).unwrap();
    assert_eq!(pod.status.conditions[0].type_, "Ready");
}

#[test]
fn what_a_pod_holds() {
    let text = pod(concat!(
        "  tolerations: [{operator: Exists}, {key: a, value: b, effect: NoExecute, tolerationSeconds: 30}]\n",
        "  affinity:\n",
        "    nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: cpus, operator: Gt, values: ['4']}], matchFields: [{key: metadata.name, operator: In, values: [n1]}]}]}}\n",
        "    podAntiAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{topologyKey: zone, labelSelector: {matchLabels: {a: b}}, namespaceSelector: {}, matchLabelKeys: [h]}]}\n",
        "  topologySpreadConstraints: [{maxSkew: 2, topologyKey: zone, whenUnsatisfiable: DoNotSchedule, minDomains: 3}]\n",
        "  containers: [{name: a, resources: {requests: {cpu: 0.5, memory: 1e3, 'x.y/z': 2}}, ports: [{hostPort: 80, hostIP: 10.0.0.1}]}]\n",
        "  initContainers: [{name: b, restartPolicy: Always}]\n",
        "  volumes: [{name: v, emptyDir: {}}, {name: w, hostPath: {path: /a}}, {name: x, persistentVolumeClaim: {claimName: c}}, {name: y, ephemeral: {volumeClaimTemplate: {spec: {storageClassName: fast}}}}, {name: z, awsElasticBlockStore: {volumeID: e}}]\n",
        "  schedulingGates: [{name: g}]\n",
        "status: {phase: Pending, nominatedNodeName: n2, conditions: [{type: PodScheduled, status: 'False', reason: Unschedulable}], containerStatuses: [{name: a, allocatedResources: {cpu: 250m}}]}\n",
    ));
    let read = objects(&text);
    let pod = &read.pods[0];
    let requests = &pod.spec.containers[0].resources.requests;
    assert_eq!(requests["cpu"], quantity("500m"));
    assert_eq!(requests["memory"], quantity("1000"));
    assert_eq!(requests["x.y/z"], quantity("2"));
    assert_eq!(pod.spec.containers[0].ports[0].host_ip, "10.0.0.1");
    assert_eq!(pod.spec.init_containers[0].restart_policy, "Always");
    assert_eq!(pod.spec.tolerations[1].toleration_seconds, Some(30));
    let affinity = pod.spec.affinity.as_ref().unwrap();
    let terms = &affinity
        .node_affinity
        .as_ref()
        .unwrap()
        .required_during_scheduling_ignored_during_execution
        .as_ref()
        .unwrap()
        .node_selector_terms;
    assert_eq!(
        (
            terms[0].match_expressions[0].operator.as_str(),
            terms[0].match_fields[0].values[0].as_str()
        ),
        ("Gt", "n1")
    );
    let anti = &affinity
        .pod_anti_affinity
        .as_ref()
        .unwrap()
        .required_during_scheduling_ignored_during_execution[0];
    assert_eq!(anti.namespace_selector, Some(meta::LabelSelector::default()));
    assert_eq!(pod.spec.topology_spread_constraints[0].min_domains, Some(3));
    assert!(pod.spec.volumes[0].empty_dir.is_some() && pod.spec.volumes[1].host_path.is_some());
    assert_eq!(
        pod.spec.volumes[4].aws_elastic_block_store.as_ref().unwrap().volume_id,
        "e"
    );
    assert_eq!(
        pod.status.container_statuses[0].allocated_resources["cpu"],
        quantity("250m")
    );
    assert_eq!(pod.spec.scheduling_gates.len(), 1);
}

#[test]
fn policies_have_their_defaults_and_keep_an_explicit_false() {
    let base = "  minNodes: 0\n  maxNodes: 5\n  datacenterID: dc\n  offeringIDs: [small-2]\n";
    let group = |rest: &str| {
        objects(&node_group(&format!("{base}{rest}")))
            .node_groups
            .remove(0)
            .spec
    };
    let absent = group("");
    assert_eq!(absent, group("  scaleDownPolicy: {enabled: null, budgets: {}}\n"));
    // Only the window of the scale-up comes with its policy.
    let window = |rest: &str| group(rest).scale_up_policy.stabilization_window_seconds;
    assert_eq!((window(""), window("  scaleUpPolicy: {}\n")), (0, 60));
    assert_eq!(window("  scaleUpPolicy: null\n"), 0);
    assert_eq!(window("  scaleUpPolicy: {stabilizationWindowSeconds: 5}\n"), 5);
    assert!(absent.scale_up_policy.enabled && absent.scale_down_policy.enabled);
    let down = &absent.scale_down_policy;
    assert_eq!(
        (
            down.cpu_threshold,
            down.stabilization_window_seconds,
            down.cooldown_seconds,
            down.drain_timeout_seconds
        ),
        (50, 600, 600, 900)
    );
    assert_eq!(
        (
            absent.priority,
            absent.datacenter_id.as_str(),
            absent.offering_ids[0].as_str()
        ),
        (0, "dc", "small-2")
    );
    let set = group(
        "  scaleDownPolicy: {enabled: false, cpuThreshold: 0, budgets: {empty: 3, drain: 25%}}\n  scaleUpPolicy: {enabled: false}\n",
    );
    assert!(!set.scale_down_policy.enabled && !set.scale_up_policy.enabled);
    assert_eq!(
        (
            set.scale_down_policy.cpu_threshold,
            set.scale_down_policy.memory_threshold
        ),
        (0, 50)
    );
    assert_eq!(
        set.scale_down_policy.budgets.drain,
        Some(IntOrString::String("25%".to_owned()))
    );
    let config =
        objects("apiVersion: autoscaler.vpsie.com/v1alpha1\nkind: AutoscalerConfig\nmetadata: {name: default}\n")
            .autoscaler_configs
            .remove(0);
    let settings = &config.spec.global_settings;
    assert_eq!(
        (
            settings.max_cluster_workers,
            settings.expander.as_str(),
            settings.scale_down_unready_enabled
        ),
        (10, "price,least-waste", true)
    );
    let written = "apiVersion: autoscaler.vpsie.com/v1alpha1\nkind: AutoscalerConfig\nmetadata: {name: default}\nspec: {globalSettings: {ignoreDaemonSetsUtilization: true, scaleDownUnreadyEnabled: false}}\n";
    let settings = objects(written).autoscaler_configs.remove(0).spec.global_settings;
    assert!(settings.ignore_daemon_sets_utilization && !settings.scale_down_unready_enabled);
}

#[test]
fn node_groups_that_the_api_server_would_refuse() {
    let base = "  minNodes: 1\n  maxNodes: 5\n  datacenterID: dc\n  offeringIDs: [small-2]\n";
    let of = |from: &str, to: &str| errors(&node_group(&base.replace(from, to)));
    assert_eq!(
        of("minNodes: 1", "minNodes: 6"),
        "dump.yaml:7: NodeGroup ns/g: spec.minNodes: 6 is above maxNodes, which is 5"
    );
    assert!(of("minNodes: 1", "minNodes: -1").contains("spec.minNodes: -1 is below 0"));
    assert!(of("  maxNodes: 5\n", "").contains("NodeGroup ns/g: spec.maxNodes: is missing"));
    assert!(of("[small-2]", "[]").contains("spec.offeringIDs: has to name at least one offering"));
    assert!(of("[small-2]", "[a, '']").contains("spec.offeringIDs[1]: is empty"));
    assert!(
        of("dc\n", "dc\n  taints: [{key: a, effect: NoSchedul}]\n")
            .contains("spec.taints[0].effect: \"NoSchedul\" is none of NoSchedule, PreferNoSchedule, NoExecute")
    );
    assert!(of("dc\n", "dc\n  reserved: {cpu: -1}\n").contains("spec.reserved.cpu: -1 is negative"));
    assert!(of("dc\n", "dc\n  scaleDownPolicy: {cpuThreshold: 101, budgets: {drain: 10 percent}}\n").contains("spec.scaleDownPolicy.cpuThreshold: 101 is not a percentage from 0 to 100\ndump.yaml:10: NodeGroup ns/g: spec.scaleDownPolicy.budgets.drain: \"10 percent\" is neither"));
}

#[test]
fn times_of_an_autoscaler_config_below_zero_are_bad_input() {
    let of = |settings: &str| {
        errors(&format!(
            "apiVersion: autoscaler.vpsie.com/v1alpha1\nkind: AutoscalerConfig\nmetadata: {{name: default}}\nspec:\n  globalSettings: {{{settings}}}\n"
        ))
    };
    assert_eq!(
        of("unschedulablePodGracePeriodSeconds: -1"),
        "dump.yaml:5: AutoscalerConfig default: spec.globalSettings.unschedulablePodGracePeriodSeconds: -1 is below 0"
    );
    for phase in ["provisionSeconds", "joinSeconds", "initializeSeconds"] {
        let found = of(&format!("phaseTimeouts: {{{phase}: -1}}"));
        assert!(
            found.ends_with(&format!("spec.globalSettings.phaseTimeouts.{phase}: -1 is below 0")),
            "{found}"
        );
    }
}

#[test]
fn pods_that_the_api_server_would_refuse() {
    let of = |spec: &str| errors(&pod(&format!("{spec}\n")));
    let selector = |requirement: &str| {
        of(&format!(
            "  affinity: {{nodeAffinity: {{requiredDuringSchedulingIgnoredDuringExecution: {{nodeSelectorTerms: [{{matchExpressions: [{requirement}]}}]}}}}}}"
        ))
    };
    let path = "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchExpressions[0]";
    assert!(selector("{key: a, operator: Is, values: [b]}").contains(&format!(
        "{path}.operator: \"Is\" is none of In, NotIn, Exists, DoesNotExist, Gt, Lt"
    )));
    assert!(
        selector("{key: a, operator: Gt, values: ['1', '2']}")
            .contains(&format!("{path}.values: has to be exactly one integer"))
    );
    assert!(selector("{key: a, operator: Lt, values: ['1.5']}").contains("\"1.5\" is not an integer"));
    assert!(selector("{key: a, operator: In}").contains("has to have a value"));
    assert!(selector("{key: a, operator: Exists, values: [b]}").contains("has to be empty"));
    assert!(
        of("  tolerations: [{key: a, operator: Equals}]")
            .contains("spec.tolerations[0].operator: \"Equals\" is none of Equal, Exists, Gt, Lt")
    );
    assert!(of("  tolerations: [{key: a, effect: Never}]").contains("spec.tolerations[0].effect: \"Never\""));
    assert!(of("  tolerations: [{value: a}]").contains("has to be Exists when there is no key"));
    assert!(
        of("  containers: [{resources: {requests: {cpu: -1}}}]")
            .contains("spec.containers[0].resources.requests.cpu: -1 is negative")
    );
    assert!(
        of("  topologySpreadConstraints: [{maxSkew: 0, topologyKey: z, whenUnsatisfiable: DoNotSchedule}]")
            .contains("maxSkew: 0 is below 1")
    );
    assert!(of("  affinity: {podAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{labelSelector: {matchExpressions: [{key: a, operator: Gt, values: ['1']}]}}]}}").contains("topologyKey: is missing\n"));
    let node =
        "apiVersion: v1\nkind: Node\nmetadata: {name: n}\nstatus:\n  allocatable:\n    cpu: \"4\"\n    memory: -1Gi\n";
    assert_eq!(
        errors(node),
        "dump.yaml:7: Node n: status.allocatable.memory: -1073741824 is negative"
    );
    let budget = "apiVersion: policy/v1\nkind: PodDisruptionBudget\nmetadata: {name: b}\nspec: {minAvailable: 1, maxUnavailable: half}\n";
    assert!(errors(budget).contains("spec.maxUnavailable: \"half\" is neither"));
    assert!(errors(budget).contains("spec.maxUnavailable: cannot be beside minAvailable"));
}

#[test]
fn an_object_is_read_once() {
    let node = "apiVersion: v1\nkind: Node\nmetadata:\n  name: n1\n";
    assert_eq!(
        errors(&format!("{node}---\n{node}")),
        "dump.yaml:6: Node n1: it was read before, at dump.yaml:1"
    );
    let mut into = Objects::default();
    read(
        &Source {
            name: "a.yaml".to_owned(),
            text: node,
        },
        &mut into,
    )
    .unwrap();
    let errors = read(
        &Source {
            name: "b.yaml".to_owned(),
            text: node,
        },
        &mut into,
    )
    .unwrap_err();
    assert_eq!(errors.to_string(), "b.yaml:1: Node n1: it was read before, at a.yaml:1");
    assert_eq!(into.nodes.len(), 1);
    let pods = "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\n---\napiVersion: v1\nkind: Pod\nmetadata: {name: p, namespace: other}\n";
    assert_eq!(objects(pods).pods.len(), 2);
}

#[test]
fn good_objects_around_bad_ones_are_read_and_errors_are_limited() {
    let bad = "apiVersion: v1\nkind: Nod\n---\n".repeat(30);
    let mut into = Objects::default();
    let errors = read(
        &source(&format!("{bad}apiVersion: v1\nkind: Node\nmetadata: {{name: n}}\n")),
        &mut into,
    )
    .unwrap_err();
    assert_eq!((errors.errors.len(), errors.more, into.nodes.len()), (20, 10, 1));
    assert!(errors.to_string().ends_with("\n... and 10 more"));
}

#[test]
fn anchors_aliases_and_merge_keys() {
    let text = "apiVersion: v1\nkind: Node\nmetadata:\n  name: n\n  labels: &l {a: x, b: y}\n  annotations:\n    <<: *l\n    b: z\n";
    let node = &objects(text).nodes[0];
    assert_eq!(node.metadata.labels["b"], "y");
    assert_eq!(
        (
            node.metadata.annotations["a"].as_str(),
            node.metadata.annotations["b"].as_str()
        ),
        ("x", "z")
    );
    assert!(errors("a: *nothing\n").contains("not valid YAML"));
    assert!(errors("a: &a [*a]\n").contains("alias inside of what it stands for"));
}

#[test]
fn the_sample_clusters_are_read() {
    for (name, texts, nodes, groups) in [
        (
            "scale-up",
            vec![include_str!("../../../examples/clusters/scale-up/cluster.yaml")],
            3,
            2,
        ),
        (
            "scale-down",
            vec![include_str!("../../../examples/clusters/scale-down/cluster.yaml")],
            5,
            1,
        ),
        (
            "mixed",
            vec![
                include_str!("../../../examples/clusters/mixed/nodes.json"),
                include_str!("../../../examples/clusters/mixed/workloads.yaml"),
            ],
            6,
            3,
        ),
    ] {
        let mut into = Objects::default();
        for text in texts {
            read(
                &Source {
                    name: name.to_owned(),
                    text,
                },
                &mut into,
            )
            .unwrap();
        }
        assert_eq!((into.nodes.len(), into.node_groups.len()), (nodes, groups), "{name}");
        assert!(into.pods.len() > 10 && into.daemon_sets.len() == 2);
    }
    let unknown = errors(include_str!("../../../examples/clusters/bad/unknown-kind.yaml"));
    assert_eq!(
        unknown,
        "dump.yaml:7: Pdo default/web: kind: there is no kind \"Pdo\" in v1; is it Pod?"
    );
}
