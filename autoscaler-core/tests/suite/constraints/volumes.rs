//! Volumes: restrictions, attach limits, binding and zones.

use super::{Case, FITS, HOST, ZONE, bought, volume};

#[test]
fn a_missing_claim_keeps_the_pod_from_every_node() {
    let case = Case::new().zones().pod("new", "", "", &volume("nothing"));
    assert_eq!(case.verdicts("new"), ["VolumeRestrictions"; 3]);
    assert_eq!(case.messages("new")[0], "claim default/nothing does not exist");
    let ephemeral = "volumes: [{name: v, ephemeral: {volumeClaimTemplate: {spec: {}}}}]";
    let case = Case::new().zones().pod("new", "", "", ephemeral);
    assert_eq!(case.verdicts("new"), ["VolumeBinding"; 3]);
    assert_eq!(case.messages("new")[0], "claim default/new-v is still to be made");
}

#[test]
fn an_ephemeral_claim_has_to_belong_to_the_pod() {
    let spec = "volumes: [{name: v, ephemeral: {volumeClaimTemplate: {spec: {}}}}]";
    let claim = |owner: &str| {
        Case::new()
            .zones()
            .class("fast", "csi", "WaitForFirstConsumer", "")
            .unbound(
                "new-v",
                "fast",
                &format!("ownerReferences: [{{apiVersion: v1, kind: Pod, name: new, uid: {owner}, controller: true}}]"),
            )
            .pod_with("new", "", "namespace: default, uid: u1", spec)
    };
    assert_eq!(claim("u1").verdicts("new"), [FITS, FITS, FITS]);
    assert_eq!(claim("u2").verdicts("new"), ["VolumeBinding"; 3]);
}

#[test]
fn an_unbound_claim_of_immediate_binding_keeps_the_pod_from_every_node() {
    let case = |mode: &str| {
        Case::new()
            .zones()
            .class("fast", "csi", mode, "")
            .unbound("data", "fast", "")
            .pod("new", "", "", &volume("data"))
    };
    assert_eq!(case("Immediate").verdicts("new"), ["VolumeBinding"; 3]);
    assert_eq!(case("WaitForFirstConsumer").verdicts("new"), [FITS; 3]);
    let prebound = Case::new()
        .zones()
        .class("fast", "csi", "WaitForFirstConsumer", "")
        .object(
            "v1",
            "PersistentVolumeClaim",
            "name: data, namespace: default",
            "spec: {volumeName: pv, storageClassName: fast}",
        )
        .pod("new", "", "", &volume("data"));
    assert_eq!(
        prebound.verdicts("new"),
        ["VolumeBinding"; 3],
        "named but not yet bound"
    );
}

#[test]
fn a_claim_that_names_no_class_is_of_the_newest_default_class() {
    let class = |name: &str, metadata: &str, mode: &str| {
        let metadata = format!("name: {name}, {metadata}");
        let fields = format!("provisioner: csi\nvolumeBindingMode: {mode}");
        ("storage.k8s.io/v1", "StorageClass", metadata, fields)
    };
    let marked = |year: u32, key: &str, value: &str| {
        format!("creationTimestamp: \"{year}-01-01T00:00:00Z\", annotations: {{{key}: \"{value}\"}}")
    };
    let (key, beta) = (
        "storageclass.kubernetes.io/is-default-class",
        "storageclass.beta.kubernetes.io/is-default-class",
    );
    let (waits, at_once) = ("WaitForFirstConsumer", "Immediate");
    let verdicts = |claim: &str, classes: &[(&str, &str, String, String)]| {
        let case = Case::new()
            .zones()
            .object("v1", "PersistentVolumeClaim", "name: data, namespace: default", claim)
            .pod("new", "", "", &volume("data"));
        let add = |case: Case, (api, kind, metadata, fields): &(&str, &str, String, String)| {
            case.object(api, kind, metadata, fields)
        };
        classes.iter().fold(case, add).verdicts("new")
    };
    let none = "spec: {}";
    let old = class("a-old", &marked(2024, beta, "true"), at_once);
    let new = class("b-new", &marked(2025, key, "true"), waits);
    let unmarked = class("c-newest", &marked(2026, key, "false"), at_once);
    assert_eq!(verdicts(none, std::slice::from_ref(&unmarked)), ["VolumeBinding"; 3]);
    assert_eq!(verdicts(none, std::slice::from_ref(&old)), ["VolumeBinding"; 3]);
    assert_eq!(verdicts(none, &[old, new.clone(), unmarked]), [FITS; 3]);
    assert_eq!(
        verdicts("spec: {storageClassName: \"\"}", &[new]),
        ["VolumeBinding"; 3],
        "empty means none"
    );
}

#[test]
fn claims_that_are_lost_or_going_cannot_be_used() {
    for (metadata, status, message) in [
        ("", "status: {phase: Lost}", "claim default/data has lost its volume"),
        (
            "deletionTimestamp: \"2026-01-01T00:00:00Z\", ",
            "",
            "claim default/data is being deleted",
        ),
    ] {
        let case = Case::new()
            .zones()
            .object(
                "v1",
                "PersistentVolumeClaim",
                &format!("{metadata}name: data, namespace: default"),
                &format!("spec: {{volumeName: pv}}\n{status}"),
            )
            .pod("new", "", "", &volume("data"));
        assert_eq!(case.messages("new"), [message; 3]);
    }
    let gone = "spec: {volumeName: pv}\nstatus: {phase: Bound}";
    let case = Case::new()
        .zones()
        .object("v1", "PersistentVolumeClaim", "name: data, namespace: default", gone)
        .pod("new", "", "", &volume("data"));
    assert_eq!(
        case.messages("new")[0],
        "claim default/data is bound to a volume that does not exist"
    );
}

#[test]
fn the_node_affinity_of_a_bound_volume_chooses_nodes() {
    let only_b = format!(
        "nodeAffinity: {{required: {{nodeSelectorTerms: [{{matchExpressions: [{{key: {ZONE}, operator: In, values: [b]}}]}}]}}}}"
    );
    let case = Case::new()
        .zones()
        .claim("data", "ReadWriteOnce", "", &only_b)
        .pod("new", "", "", &volume("data"));
    assert_eq!(case.verdicts("new"), ["VolumeBinding", FITS, "VolumeBinding"]);
    assert_eq!(
        case.messages("new")[0],
        "volume pv-data cannot be used on this node by its node affinity"
    );
}

#[test]
fn zone_labels_of_a_bound_volume_choose_nodes() {
    let case = |labels: &str| {
        Case::new()
            .zones()
            .place("n", "", "")
            .claim("data", "ReadWriteOnce", labels, "")
            .pod("new", "", "", &volume("data"))
    };
    let zone = "VolumeZone";
    assert_eq!(
        case(&format!("{ZONE}: b")).verdicts("new"),
        [zone, FITS, zone, FITS],
        "a node without zones is in a cluster without"
    );
    assert_eq!(case(&format!("{ZONE}: b__c")).verdicts("new"), [zone, FITS, FITS, FITS]);
    assert_eq!(
        case("failure-domain.beta.kubernetes.io/zone: c").verdicts("new"),
        [zone, zone, FITS, FITS]
    );
    assert_eq!(
        case("topology.kubernetes.io/region: r").verdicts("new"),
        [zone, zone, zone, FITS]
    );
    assert_eq!(
        case(&format!("{ZONE}: b__")).verdicts("new"),
        [FITS; 4],
        "a malformed list is ignored"
    );
    assert_eq!(
        case(&format!("{ZONE}: b")).messages("new")[0],
        "volume pv-data is not in topology.kubernetes.io/zone=a"
    );
}

#[test]
fn a_volume_in_a_datacenter_pins_the_group() {
    let case = Case::new()
        .datacenter("dc-a", "small")
        .datacenter("dc-b", "large")
        .claim("data", "ReadWriteOnce", &format!("{ZONE}: dc-b"), "")
        .pod("new", "", "", &volume("data"));
    let plan = case.plan();
    assert_eq!(bought(&plan), [("default/dc-b", "large", 1)]);
}

#[test]
fn allowed_topologies_say_where_volumes_can_be_made() {
    let topologies = format!("allowedTopologies: [{{matchLabelExpressions: [{{key: {ZONE}, values: [b, c]}}]}}]");
    let case = Case::new()
        .zones()
        .class("fast", "csi", "WaitForFirstConsumer", &topologies)
        .unbound("data", "fast", "")
        .pod("new", "", "", &volume("data"));
    assert_eq!(case.verdicts("new"), ["VolumeBinding", FITS, FITS]);
}

#[test]
fn a_claim_whose_volume_is_being_made_stays_with_its_node() {
    let case = Case::new()
        .zones()
        .class("fast", "csi", "WaitForFirstConsumer", "")
        .unbound("data", "fast", "annotations: {volume.kubernetes.io/selected-node: b}")
        .pod("new", "", "", &volume("data"));
    assert_eq!(case.verdicts("new"), ["VolumeBinding", FITS, "VolumeBinding"]);
}

#[test]
fn without_a_provisioner_an_existing_volume_has_to_match() {
    let volume_on = |case: Case, name: &str, node: &str, size: &str, more: &str| {
        case.object(
            "v1",
            "PersistentVolume",
            &format!("name: {name}"),
            &format!("spec: {{capacity: {{storage: {size}}}, storageClassName: local, accessModes: [ReadWriteOnce], {more}nodeAffinity: {{required: {{nodeSelectorTerms: [{{matchExpressions: [{{key: {HOST}, operator: In, values: [{node}]}}]}}]}}}}}}\nstatus: {{phase: Available}}"),
        )
    };
    let case = Case::new()
        .zones()
        .class("local", "kubernetes.io/no-provisioner", "WaitForFirstConsumer", "")
        .unbound("data", "local", "");
    let case = volume_on(case, "pv-a", "a", "1Gi", "");
    let case = volume_on(case, "pv-b", "b", "10Gi", "");
    let case = volume_on(case, "pv-c", "c", "10Gi", "claimRef: {namespace: other, name: data}, ").pod(
        "new",
        "",
        "",
        &volume("data"),
    );
    assert_eq!(
        case.verdicts("new"),
        ["VolumeBinding", FITS, "VolumeBinding"],
        "too small, right, taken"
    );
    let two = case.unbound("more", "local", "").pod("both", "", "", "volumes: [{name: v, persistentVolumeClaim: {claimName: data}}, {name: w, persistentVolumeClaim: {claimName: more}}]");
    assert_eq!(
        two.verdicts("both"),
        ["VolumeBinding"; 3],
        "one volume is not enough for two claims"
    );
}

#[test]
fn a_claim_may_say_which_volumes_it_takes() {
    let free = |case: Case, name: &str, labels: &str, more: &str| {
        case.object(
            "v1",
            "PersistentVolume",
            &format!("name: {name}, labels: {{{labels}}}"),
            &format!("spec: {{capacity: {{storage: 5Gi}}, storageClassName: local, accessModes: [ReadWriteOnce], {more}nodeAffinity: {{required: {{nodeSelectorTerms: [{{matchExpressions: [{{key: {HOST}, operator: In, values: [{name}]}}]}}]}}}}}}\nstatus: {{phase: Available}}"),
        )
    };
    let wanting = |more: &str| {
        let case = Case::new()
            .zones()
            .class("local", "kubernetes.io/no-provisioner", "WaitForFirstConsumer", "")
            .object(
                "v1",
                "PersistentVolumeClaim",
                "name: data, namespace: default",
                &format!("spec: {{storageClassName: local, accessModes: [ReadWriteOnce], resources: {{requests: {{storage: 1Gi}}}}, {more}}}"),
            )
            .unbound("any", "local", "")
            .pod("new", "", "", &volume("data"))
            .pod("other", "", "", &volume("any"));
        let case = free(case, "a", "", "");
        let case = free(case, "b", "tier: gold, disk: ssd", "");
        free(case, "c", "tier: gold", "volumeAttributesClassName: fast, ")
    };
    const NONE: &str = "VolumeBinding";
    for (more, expected) in [
        ("", [FITS, FITS, NONE]),
        ("selector: {}", [FITS, FITS, NONE]),
        ("selector: {matchLabels: {tier: gold}}", [NONE, FITS, NONE]),
        (
            "selector: {matchExpressions: [{key: tier, operator: DoesNotExist}]}",
            [FITS, NONE, NONE],
        ),
        ("selector: {matchLabels: {tier: silver}}", [NONE, NONE, NONE]),
        ("volumeAttributesClassName: fast", [NONE, NONE, FITS]),
        (
            "volumeAttributesClassName: fast, selector: {matchLabels: {disk: ssd}}",
            [NONE, NONE, NONE],
        ),
    ] {
        let case = wanting(more);
        assert_eq!(case.verdicts("new"), expected, "{more}");
        assert_eq!(case.verdicts("other"), [FITS, FITS, NONE], "{more}");
    }
}

#[test]
fn a_claim_for_one_pod_is_used_by_one_pod_of_the_cluster() {
    let case = Case::new()
        .zones()
        .claim("data", "ReadWriteOncePod", "", "")
        .pod("new", "", "", &volume("data"));
    assert_eq!(case.verdicts("new"), [FITS; 3]);
    let used = case.pod("old", "c", "", &volume("data"));
    assert_eq!(used.verdicts("new"), ["VolumeRestrictions"; 3]);
    assert_eq!(
        used.messages("new")[0],
        "claim default/data is ReadWriteOncePod and in use by another pod"
    );
    let shared = Case::new()
        .zones()
        .claim("data", "ReadWriteOnce", "", "")
        .pod("old", "c", "", &volume("data"))
        .pod("new", "", "", &volume("data"));
    assert_eq!(shared.verdicts("new"), [FITS; 3]);
}

#[test]
fn disks_named_in_pods_conflict_on_one_node() {
    for (old, new, expected) in [
        (
            "gcePersistentDisk: {pdName: d}",
            "gcePersistentDisk: {pdName: d, readOnly: true}",
            true,
        ),
        (
            "gcePersistentDisk: {pdName: d, readOnly: true}",
            "gcePersistentDisk: {pdName: d, readOnly: true}",
            false,
        ),
        (
            "gcePersistentDisk: {pdName: d}",
            "gcePersistentDisk: {pdName: e}",
            false,
        ),
        (
            "awsElasticBlockStore: {volumeID: d, readOnly: true}",
            "awsElasticBlockStore: {volumeID: d, readOnly: true}",
            true,
        ),
        ("iscsi: {iqn: d}", "iscsi: {iqn: d}", true),
        (
            "iscsi: {iqn: d, readOnly: true}",
            "iscsi: {iqn: d, readOnly: true}",
            false,
        ),
        (
            "rbd: {monitors: [m1, m2], image: i}",
            "rbd: {monitors: [m2], image: i, pool: rbd}",
            true,
        ),
        (
            "rbd: {monitors: [m1], image: i}",
            "rbd: {monitors: [m2], image: i}",
            false,
        ),
        (
            "rbd: {monitors: [m1], image: i}",
            "rbd: {monitors: [m1], image: i, pool: other}",
            false,
        ),
        (
            "gcePersistentDisk: {pdName: d}",
            "awsElasticBlockStore: {volumeID: d}",
            false,
        ),
    ] {
        let disk = |source: &str| format!("volumes: [{{name: v, {source}}}]");
        let case = Case::new()
            .zones()
            .pod("old", "a", "", &disk(old))
            .pod("new", "", "", &disk(new));
        assert_eq!(
            case.verdicts("new")[0],
            if expected { "VolumeRestrictions" } else { FITS },
            "{old} {new}"
        );
        assert_eq!(case.verdicts("new")[1], FITS);
    }
}

fn attached(count: usize, limit: usize) -> Case {
    let case = Case::new().zones();
    let case = ["a", "b"].iter().fold(case, |case, node| {
        case.object("storage.k8s.io/v1", "CSINode", &format!("name: {node}"), &format!("spec: {{drivers: [{{name: csi, nodeID: x, allocatable: {{count: {limit}}}}}, {{name: other, nodeID: x}}]}}"))
    });
    (0..count).fold(case, |case, index| {
        let name = format!("d{index}");
        case.claim(
            &name,
            "ReadWriteOnce",
            "",
            &format!("csi: {{driver: csi, volumeHandle: h{index}}}"),
        )
        .pod(&format!("old-{index}"), "a", "", &volume(&name))
    })
}

#[test]
fn a_node_attaches_so_many_volumes_of_a_driver() {
    let case = attached(2, 2)
        .claim("data", "ReadWriteOnce", "", "csi: {driver: csi, volumeHandle: new}")
        .pod("new", "", "", &volume("data"));
    assert_eq!(case.verdicts("new"), ["NodeVolumeLimits", FITS, FITS]);
    assert_eq!(case.messages("new")[0], "csi: attaches 1 more volume to 2, limit 2");
    let other = attached(2, 2)
        .claim("data", "ReadWriteOnce", "", "csi: {driver: other, volumeHandle: new}")
        .pod("new", "", "", &volume("data"));
    assert_eq!(other.verdicts("new"), [FITS; 3]);
}

#[test]
fn a_volume_that_is_attached_already_counts_once() {
    let case = attached(2, 2).pod("new", "", "", &volume("d1"));
    assert_eq!(case.verdicts("new"), [FITS; 3]);
    let twice = attached(2, 3)
        .pod("again", "a", "", &volume("d1"))
        .claim("data", "ReadWriteOnce", "", "csi: {driver: csi, volumeHandle: new}")
        .pod("new", "", "", &volume("data"));
    assert_eq!(twice.verdicts("new"), [FITS; 3]);
}

#[test]
fn a_volume_that_is_still_to_be_made_counts_too() {
    let case = attached(2, 2)
        .class("fast", "csi", "WaitForFirstConsumer", "")
        .unbound("data", "fast", "")
        .pod("new", "", "", &volume("data"));
    assert_eq!(case.verdicts("new"), ["NodeVolumeLimits", FITS, FITS]);
}

#[test]
fn a_new_node_attaches_as_many_volumes_as_one_like_it() {
    let node = "apiVersion: v1\nkind: Node\nmetadata: {name: old, labels: {autoscaler.vpsie.com/managed: \"true\", autoscaler.vpsie.com/nodegroup: a, autoscaler.vpsie.com/offering: large}}\nspec: {unschedulable: true}\nstatus: {allocatable: {cpu: \"16\", memory: 30Gi, pods: \"110\"}, conditions: [{type: Ready, status: \"True\"}]}";
    let case = Case::new()
        .group("a", 0, 9, "large", &[])
        .with(node)
        .object(
            "storage.k8s.io/v1",
            "CSINode",
            "name: old",
            "spec: {drivers: [{name: csi, nodeID: x, allocatable: {count: 2}}]}",
        )
        .class("fast", "csi", "WaitForFirstConsumer", "");
    let case = (0..5).fold(case, |case, index| {
        let name = format!("d{index}");
        case.unbound(&name, "fast", "")
            .pod(&format!("p{index}"), "", "", &volume(&name))
    });
    assert_eq!(bought(&case.plan()), [("default/a", "large", 3)]);
}
