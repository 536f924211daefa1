//! What is said of nodes, of their pods and of where those could go.

use serde_json::{Value, json};

use super::*;
use crate::scale_down::testing::{Cluster, NOW, ago};

const OPTIONS: Options = Options { ignore_timers: true };

/// The explanation of `n1`, in the form of the document.
fn explained(cluster: &Cluster) -> Value {
    with(cluster, &OPTIONS)
}

fn with(cluster: &Cluster, options: &Options) -> Value {
    let snapshot = cluster.snapshot();
    let nodes = find_nodes(&snapshot, &["n1"]).unwrap();
    let explanation = explain_nodes(&snapshot, &nodes, options, NOW.parse().unwrap());
    let document = document::NodeExplanationDocument::new(&snapshot, &explanation);
    let mut value = serde_json::to_value(document).unwrap();
    value["nodes"][0].take()
}

/// The rules that say no.
fn refusals(node: &Value) -> Vec<&str> {
    let rules = node["rules"].as_array().unwrap().iter();
    rules
        .filter(|rule| rule["passed"] == false)
        .map(|rule| rule["rule"].as_str().unwrap())
        .collect()
}

/// Value, threshold and message of a rule.
fn rule(node: &Value, name: &str) -> String {
    let mut rules = node["rules"].as_array().unwrap().iter();
    let rule = rules.find(|rule| rule["rule"] == name).unwrap();
    let text = |key: &str| rule[key].as_str().unwrap_or("-").to_owned();
    format!("{} | {} | {}", text("value"), text("threshold"), text("message"))
}

/// Outcome and rule of each pod, by name.
fn pods(node: &Value) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let pod = |pod: &Value| {
        let name = text(&pod["pod"]);
        let name = name.trim_start_matches("default/");
        format!("{name}: {} {}", text(&pod["outcome"]), text(&pod["rule"]))
    };
    node["pods"].as_array().unwrap().iter().map(pod).collect()
}

fn destinations(node: &Value, pod: usize) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or("fits").to_owned();
    let answer = |answer: &Value| {
        assert_eq!(answer["fits"] == true, answer["reason"].is_null(), "{answer}");
        format!("{}: {}", text(&answer["node"]), text(&answer["reason"]))
    };
    let answers = node["pods"][pod]["destinations"].as_array().unwrap();
    answers.iter().map(answer).collect()
}

fn annotated(key: &str, value: &str) -> Value {
    json!({"metadata": {"annotations": {key: value}}})
}

fn safe_to_evict(value: &str) -> Value {
    annotated("cluster-autoscaler.kubernetes.io/safe-to-evict", value)
}

#[test]
fn every_rule_is_there_in_the_order_of_a_plan() {
    let node = explained(&Cluster::new().node("n1", json!({})));
    let rules = node["rules"].as_array().unwrap();
    let names: Vec<_> = rules.iter().map(|rule| rule["rule"].as_str().unwrap()).collect();
    let all: Vec<_> = KeepReason::ALL.iter().map(|reason| reason.as_str()).collect();
    assert_eq!(names, all);
    assert_eq!(refusals(&node), [""; 0]);
    assert_eq!(node["verdict"], "Remove");
}

#[test]
fn rules_after_the_first_that_says_no_are_asked_too() {
    let node = annotated("autoscaler.vpsie.com/protected", "true");
    let cluster = Cluster::new()
        .group(
            "workers",
            json!({"spec": {"minNodes": 1, "scaleDownPolicy": {"enabled": false}}}),
        )
        .node("n1", node)
        .anchor("n1");
    let node = explained(&cluster);
    assert_eq!(node["reason"], "ScaleDownDisabledAnnotation");
    assert_eq!(
        refusals(&node),
        [
            "ScaleDownDisabledAnnotation",
            "ScaleDownDisabled",
            "NotUnderutilized",
            "NoPlaceToMovePods",
            "NodeGroupMinSizeReached"
        ]
    );
    assert_eq!(
        rule(&node, "NotUnderutilized"),
        "cpu 75%, memory 0% | cpu 50%, memory 50% | cpu 75% of 4000m requested, threshold 50%"
    );
    assert_eq!(
        rule(&node, "NodeGroupMinSizeReached"),
        "1 | 1 | 1 node of the group is Ready and stays, minNodes is 1"
    );
}

#[test]
fn timers_are_values_with_their_thresholds() {
    let group = json!({"status": {"lastScaleUpTime": ago(300)}});
    let status = json!({"unneededSince": ago(60), "removal": {"phase": "Failed", "failedAt": ago(30)}});
    let cluster = Cluster::new()
        .group("workers", group)
        .node("n1", json!({}))
        .machine("n1", status);
    let node = with(&cluster, &Options { ignore_timers: false });
    assert_eq!(
        refusals(&node),
        ["NotUnneededLongEnough", "InCooldown", "RecentlyFailed"]
    );
    assert_eq!(
        rule(&node, "NotUnneededLongEnough"),
        "1m | 10m | unneeded since 2026-03-02T11:59:00Z; it must have been for longer than 10m"
    );
    assert_eq!(
        rule(&node, "InCooldown"),
        "5m | 10m | the group grew at 2026-03-02T11:55:00Z, the cooldown is 10m"
    );
    assert_eq!(
        rule(&node, "RecentlyFailed"),
        "30s | 3m | its removal failed at 2026-03-02T11:59:30Z, the delay is 3m"
    );
    let node = explained(&cluster);
    assert_eq!(refusals(&node), [""; 0]);
    assert_eq!(rule(&node, "InCooldown"), "- | - | timers are taken as elapsed");
}

#[test]
fn hours_are_compared_in_their_zone() {
    let hours = json!({"metadata": {"annotations": {
        "autoscaler.vpsie.com/scale-down-allowed-hours": "13:00-14:00",
        "autoscaler.vpsie.com/time-zone": "Europe/Berlin",
    }}});
    let node = explained(&Cluster::new().node("n1", hours));
    assert_eq!(
        rule(&node, "OutsideAllowedHours"),
        "13:00 | 13:00-14:00 Europe/Berlin | allowed hours 13:00-14:00 Europe/Berlin"
    );
    assert_eq!(refusals(&node), [""; 0]);
}

#[test]
fn a_node_of_no_group_has_every_rule_too() {
    let foreign = json!({"metadata": {"labels": null}});
    let cluster = Cluster::new()
        .node("n1", foreign)
        .node("n2", json!({}))
        .pod("p", "n1", "1", json!({}));
    let node = explained(&cluster);
    assert_eq!(refusals(&node), ["NotAutoscaled"]);
    assert!(node.get("nodeGroup").is_none());
    assert_eq!(
        rule(&node, "Headroom"),
        "- | - | does not apply: the node belongs to no NodeGroup"
    );
    assert_eq!(pods(&node), ["p: Move Replicated"]);
    assert_eq!(destinations(&node, 0), ["n2: fits"]);
}

#[test]
fn every_pod_has_the_rule_that_decides_and_what_would_change_it() {
    let owner = |kind: &str| {
        json!({"metadata": {"ownerReferences": [
            {"apiVersion": "apps/v1", "kind": kind, "name": "o", "uid": "u", "controller": true},
        ]}})
    };
    let young = json!({"metadata": {"namespace": "kube-system", "creationTimestamp": ago(60)}});
    let dying = json!({"metadata": {"deletionTimestamp": ago(600), "deletionGracePeriodSeconds": 30}});
    let volume = json!({"spec": {"volumes": [{"name": "cache", "emptyDir": {}}]}});
    let cluster = Cluster::new()
        .node("n1", json!({}))
        .pod("a-daemon", "n1", "1m", owner("DaemonSet"))
        .pod("b-mirror", "n1", "1m", annotated("kubernetes.io/config.mirror", "x"))
        .pod("c-dying", "n1", "1m", dying)
        .pod("d-ended", "n1", "1m", json!({"status": {"phase": "Succeeded"}}))
        .pod("e-safe", "n1", "1m", safe_to_evict("true"))
        .pod("f-job", "n1", "1m", safe_to_evict("on-completion"))
        .pod("g-bare", "n1", "1m", json!({"metadata": {"ownerReferences": null}}))
        .pod("h-unsafe", "n1", "1m", safe_to_evict("false"))
        .pod("i-calm", "n1", "1m", annotated("karpenter.sh/do-not-disrupt", "true"))
        .pod("j-local", "n1", "1m", volume)
        .pod("k-web", "n1", "1m", json!({}))
        .pod("l-system", "n1", "1m", young);
    let node = explained(&cluster);
    assert_eq!(
        pods(&node),
        [
            "a-daemon: Ok DaemonSet",
            "b-mirror: Skip Mirror",
            "c-dying: Skip LongTerminating",
            "d-ended: Ok Terminal",
            "e-safe: Move SafeToEvict",
            "f-job: Wait OnCompletion",
            "g-bare: Block NotReplicated",
            "h-unsafe: Block NotSafeToEvictAnnotation",
            "i-calm: Block NotSafeToEvictAnnotation",
            "j-local: Block LocalStorageRequested",
            "k-web: Move Replicated",
            "kube-system/l-system: Block UnmovableKubeSystemPod",
        ]
    );
    assert_eq!(node["pod"], "default/g-bare");
    for (pod, names) in [
        (5, "cluster-autoscaler.kubernetes.io/safe-to-evict=true"),
        (6, "cluster-autoscaler.kubernetes.io/safe-to-evict=true"),
        (7, "cluster-autoscaler.kubernetes.io/safe-to-evict "),
        (8, "karpenter.sh/do-not-disrupt"),
        (9, "cluster-autoscaler.kubernetes.io/safe-to-evict-local-volumes=cache"),
        (11, "PodDisruptionBudget"),
    ] {
        let remedy = node["pods"][pod]["remedy"].as_str().unwrap();
        assert!(remedy.contains(names), "{pod}: {remedy}");
    }
    for pod in [0, 1, 2, 3, 4, 10] {
        assert!(node["pods"][pod].get("remedy").is_none());
    }
    assert_eq!(refusals(&node)[..2], ["BlockedByPod", "BlockedByOnCompletionPod"]);
}

#[test]
fn what_a_remedy_says_lets_the_pod_go() {
    let bare = json!({"metadata": {"ownerReferences": null, "annotations": {
        "cluster-autoscaler.kubernetes.io/safe-to-evict": "true"
    }}});
    let local = json!({
        "metadata": {"annotations": {"cluster-autoscaler.kubernetes.io/safe-to-evict-local-volumes": "cache"}},
        "spec": {"volumes": [{"name": "cache", "emptyDir": {}}]},
    });
    let cluster = Cluster::new()
        .node("n1", json!({}))
        .pod("bare", "n1", "1m", bare)
        .pod("local", "n1", "1m", local);
    assert_eq!(
        pods(&explained(&cluster)),
        ["bare: Move SafeToEvict", "local: Move Replicated"]
    );
}

#[test]
fn budgets_are_shown_with_their_numbers() {
    let cluster = |allowed| {
        Cluster::new()
            .node("n1", json!({}))
            .pod("web-1", "n1", "1m", json!({}))
            .pod("web-2", "n1", "1m", json!({}))
            .pod("api-1", "n1", "1m", json!({}))
            .budget("web", "web", allowed, json!({}))
    };
    let node = explained(&cluster(0));
    assert_eq!(
        pods(&node),
        [
            "api-1: Move Replicated",
            "web-1: Block NotEnoughPdb",
            "web-2: Block NotEnoughPdb"
        ]
    );
    let budgets = |node: &Value, pod: usize| node["pods"][pod].get("podDisruptionBudgets").cloned();
    assert_eq!(budgets(&node, 0), None);
    let shown = |allowed| {
        json!([{
            "podDisruptionBudget": "default/web", "disruptionsAllowed": allowed, "inProgress": 0,
            "headroom": allowed, "podsOnNode": 2,
        }])
    };
    assert_eq!(budgets(&node, 1), Some(shown(0)));
    assert_eq!(node["pods"][1]["message"], node["message"].as_str().unwrap());
    // A budget that allows one after the other lets both go.
    let node = explained(&cluster(1));
    assert_eq!(pods(&node)[1], "web-1: Move Replicated");
    assert_eq!(budgets(&node, 1), Some(shown(1)));

    let node = explained(&cluster(5).budget("web-too", "web", 5, json!({})));
    assert_eq!(pods(&node)[1], "web-1: Block NotEnoughPdb");
    assert_eq!(budgets(&node, 1).unwrap().as_array().unwrap().len(), 2);
}

#[test]
fn destinations_are_all_other_nodes_with_what_keeps_the_pod_from_each() {
    let unready = json!({"status": {"conditions": [{"type": "Ready", "status": "False"}]}});
    let cluster = Cluster::new()
        .node("n1", json!({}))
        .pod("big", "n1", "2", json!({}))
        .node("n2", json!({}))
        .anchor("n2")
        .node("n3", json!({}))
        .node("n4", json!({"spec": {"unschedulable": true}}))
        .node("n5", unready)
        .node("n6", json!({"metadata": {"deletionTimestamp": ago(1)}}))
        .node(
            "n7",
            json!({"spec": {"taints": [{"key": "gpu", "effect": "NoSchedule"}]}}),
        );
    let node = explained(&cluster);
    assert_eq!(
        destinations(&node, 0),
        [
            "n2: NodeResourcesFit",
            "n3: fits",
            "n4: NodeUnschedulable",
            "n5: NodeNotReady",
            "n6: CurrentlyBeingDeleted",
            "n7: TaintToleration"
        ]
    );
    assert_eq!(
        node["pods"][0]["destinations"][0]["message"],
        "cpu: needs 2000m, 1000m free"
    );
    // A pod that tolerates the cordon does not go there either.
    let tolerant = json!({"spec": {"tolerations": [{"operator": "Exists"}]}});
    let cluster = cluster.pod("calm", "n1", "1m", tolerant);
    let node = explained(&cluster);
    assert_eq!(destinations(&node, 1)[2], "n4: NodeUnschedulable");
}

#[test]
fn a_pod_is_judged_with_its_own_node_about_to_go() {
    let apart = json!({"spec": {"affinity": {"podAntiAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": [{
            "topologyKey": "zone", "labelSelector": {"matchLabels": {"app": "web"}},
        }],
    }}}});
    let zone = |zone: &str| json!({"metadata": {"labels": {"zone": zone}}});
    let cluster = Cluster::new()
        .node("n1", zone("a"))
        .node("n2", zone("a"))
        .node("n3", zone("b"))
        .pod("web-1", "n1", "1", apart.clone())
        .pod("web-2", "n3", "1", apart);
    // What stands on n1 goes with it, so zone a is free; zone b is not.
    assert_eq!(
        destinations(&explained(&cluster), 0),
        ["n2: fits", "n3: InterPodAffinity"]
    );
}

#[test]
fn room_for_pods_of_removals_in_progress_is_taken() {
    let moves = json!({"removal": {"phase": "Draining", "moves": [{"pod": "default/move", "to": "n2"}]}});
    let cluster = Cluster::new()
        .node("n0", json!({}))
        .machine("n0", moves)
        .pod("move", "n0", "3", json!({}))
        .node("n1", json!({}))
        .machine("n1", json!({}))
        .pod("web", "n1", "2", json!({}))
        .node("n2", json!({}))
        .machine("n2", json!({}));
    let node = explained(&cluster);
    assert_eq!(
        destinations(&node, 0),
        ["n0: CurrentlyBeingDeleted", "n2: NodeResourcesFit"]
    );
    assert!(refusals(&node).contains(&"NoPlaceToMovePods"));
    let snapshot = cluster.snapshot();
    let target = find_nodes(&snapshot, &["n2"]).unwrap();
    let target = explain_nodes(&snapshot, &target, &OPTIONS, NOW.parse().unwrap());
    let rule = target.nodes[0]
        .rules
        .iter()
        .find(|rule| rule.rule == KeepReason::MoveTarget);
    assert_eq!(rule.unwrap().message, "pods of the removal of n0 move to it");
}

#[test]
fn all_room_is_taken_while_nobody_knows_what_it_is_needed_for() {
    // The pod was evicted, and its successor is not there yet.
    let moves = json!({"removal": {
        "phase": "Draining", "kind": "Drain", "startedAt": ago(10), "moves": [{"pod": "default/move", "to": "n2"}],
    }});
    let cluster = Cluster::new()
        .node("n0", json!({}))
        .machine("n0", moves)
        .node("n1", json!({}))
        .machine("n1", json!({}))
        .pod("web", "n1", "1", json!({}))
        .node("n2", json!({}))
        .machine("n2", json!({}));
    let node = explained(&cluster);
    assert_eq!(
        destinations(&node, 0),
        ["n0: CurrentlyBeingDeleted", "n2: NodeResourcesFit"]
    );
    assert_eq!(
        node["pods"][0]["destinations"][1]["message"],
        "its room is kept for pods of a removal in progress that are not there yet"
    );
    assert_eq!(node["reason"], "NoPlaceToMovePods");
}

#[test]
fn one_node_does_not_change_what_the_next_sees() {
    let cluster = Cluster::new()
        .node("n1", json!({}))
        .node("n2", json!({}))
        .pod("a", "n1", "1500m", json!({}))
        .pod("b", "n2", "1500m", json!({}));
    let snapshot = cluster.snapshot();
    let now = NOW.parse().unwrap();
    let explain = |names: &[&str]| {
        let nodes = find_nodes(&snapshot, names).unwrap();
        explain_nodes(&snapshot, &nodes, &OPTIONS, now).nodes
    };
    let both = explain(&["n2", "n1", "n2"]);
    assert_eq!(both.len(), 2, "each once, in the order of the names");
    assert_eq!(both[0], explain(&["n2"])[0]);
    assert_eq!(both[1], explain(&["n1"])[0]);
    assert_eq!(find_nodes(&snapshot, &["n1", "n3"]), Err("n3"));
}

#[test]
fn destinations_are_listed_for_as_many_pods_as_there_is_room_for() {
    let mut cluster = Cluster::new().node("n1", json!({}));
    for index in 2..5 {
        cluster = cluster.node(&format!("n{index}"), json!({}));
    }
    let cluster = cluster
        .pod("a", "n1", "1m", json!({}))
        .pod("b", "n1", "1m", json!({}))
        .pod("c", "n1", "1m", json!({}));
    let snapshot = cluster.snapshot();
    let now = NOW.parse().unwrap();
    let (mut planned, mut world) = (World::new(&snapshot), World::new(&snapshot));
    let up = scale_up::plan_creations(&mut planned, &OPTIONS, now);
    let mut alone = Alone::new(&mut world, &Demand::from(&up), &OPTIONS, now, 7);
    let Judgement { pods, .. } = alone.judge(NodeId(0));
    let lists: Vec<_> = pods
        .iter()
        .map(|pod| (pod.destinations.len(), pod.destinations_left_out))
        .collect();
    assert_eq!(lists, [(3, 0), (3, 0), (0, 3)]);
}

#[test]
fn pods_go_where_a_plan_puts_them() {
    // The plan fills n9, which stays anyway, and no node that has to stay empty.
    let spare = json!({"metadata": {"labels": {"autoscaler.vpsie.com/nodegroup": "spare"}}});
    let cluster = Cluster::new()
        .group("spare", json!({"spec": {"minNodes": 1, "headroom": {"nodes": 1}}}))
        .node("n0", spare)
        .node("n1", json!({}))
        .pod("web-1", "n1", "100m", json!({}))
        .node("n9", json!({}))
        .anchor("n9");
    let node = explained(&cluster);
    assert_eq!(node["verdict"], "Remove", "{node}");
    assert_eq!(refusals(&node), [""; 0]);
}

#[test]
fn the_text_says_the_same_with_reasons_together() {
    let bare = json!({"metadata": {"ownerReferences": null}});
    let cluster = Cluster::new()
        .node("n1", json!({}))
        .node("n2", json!({}))
        .anchor("n2")
        .node("n3", json!({"spec": {"unschedulable": true}}))
        .node("n4", json!({}))
        .pod("bare", "n1", "2", bare)
        .pod("web-1", "n1", "1m", json!({}))
        .budget("web", "web", 1, json!({}));
    let snapshot = cluster.snapshot();
    let nodes = find_nodes(&snapshot, &["n1"]).unwrap();
    let explanation = explain_nodes(&snapshot, &nodes, &OPTIONS, NOW.parse().unwrap());
    let text = document::NodeExplanationDocument::new(&snapshot, &explanation).to_string();
    let begin = "n1 of default/workers: Keep (NotUnderutilized): cpu 50.1% of 4000m requested, threshold 50%\n";
    assert!(text.starts_with(begin), "{text}");
    let rules = KeepReason::ALL.len();
    let rules = format!("\n  2 of {rules} rules say no\n    ok NotAutoscaled: belongs to NodeGroup default/workers\n");
    assert!(text.contains(&rules), "{text}");
    assert!(text.contains("\n    NO NotUnderutilized: cpu 50.1% of 4000m requested, threshold 50%\n"));
    let end = "  2 pods: 1 Block, 1 Move
    Block (NotReplicated): pod default/bare has no controller that would replace it
      what would change it: annotate the pod cluster-autoscaler.kubernetes.io/safe-to-evict=true, or delete it
      could move to 1 of 3 other nodes
        n4
        NodeResourcesFit (1 node):
          n2: cpu: needs 2000m, 1000m free
        NodeUnschedulable (1 node):
          n3: the node is cordoned
    Move (Replicated): pod default/web-1 has a controller that makes a new one elsewhere
      PodDisruptionBudget default/web: allows 1 disruption, removals in progress need 0, and 1 of its pods is on this node
      could move to 2 of 3 other nodes
        n2, n4
        NodeUnschedulable (1 node):
          n3: the node is cordoned
";
    assert!(text.ends_with(end), "{text}");
}
