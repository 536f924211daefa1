//! Both answers side by side: what the planner says about pods and nodes, and what the plugins say.

use std::collections::BTreeMap;
use std::fmt;

use autoscaler_core::build::Input;
use autoscaler_core::explain::explain_pods;
use autoscaler_core::explain::find_pods;
use autoscaler_core::manifest::Objects;
use autoscaler_core::planner::Options;
use autoscaler_core::snapshot::Snapshot;
use serde::Deserialize;
use serde_json::Value;

use super::cluster::Case;
use super::cluster::full_name;
use super::process::Answer;
use super::process::Error;
use super::process::Oracle;
use super::process::Request;

/// The time that everything is judged for. No Filter plugin looks at it.
pub const NOW: &str = "2026-01-01T12:00:00Z";

/// Pod (`namespace/name`) and node.
pub type Place = (String, String);

/// What was said about a pod on each node: the plugin that says no, or `None`.
pub type Verdicts = BTreeMap<Place, Option<String>>;

/// A place about which the answers differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disagreement {
    /// The pod and the node.
    pub place: Place,
    /// What the planner says.
    pub ours: Option<String>,
    /// What the plugins say.
    pub theirs: Option<String>,
    /// What the plugin says in words.
    pub message: String,
}

/// How often each plugin decided, and with which words.
#[derive(Clone, Debug, Default)]
pub struct Coverage {
    fits: usize,
    rejects: BTreeMap<(String, String), usize>,
}

/// The verdicts of the planner, from the objects as a user would give them.
///
/// # Errors
///
/// [`Error::Unreadable`].
///
/// # Panics
///
/// When the objects do not hold the pods: the case is wrong then, and not the answer.
pub fn ours(objects: &[Value], pods: &[String]) -> Result<Verdicts, Error> {
    let manifests = manifests(objects)?;
    let snapshot = Snapshot::build(&Input::new(&manifests, &[]));
    let names: Vec<_> = pods.iter().map(String::as_str).collect();
    let pods = find_pods(&snapshot, &names).expect("every pod of the case is among its objects");
    let explanation = explain_pods(&snapshot, &pods, &Options::default(), NOW.parse().expect("a time"));
    let mut verdicts = Verdicts::new();
    for pod in &explanation.pods {
        for node in &pod.answers.nodes {
            let name = snapshot.text(snapshot.node(node.node).name).to_owned();
            let plugin = node.misfit.as_ref().map(|misfit| misfit.plugin().to_owned());
            verdicts.insert((snapshot.pod_name(pod.pod), name), plugin);
        }
    }
    Ok(verdicts)
}

/// The objects as the planner reads them from the API server. Kinds that no Filter plugin looks at are left out.
fn manifests(objects: &[Value]) -> Result<Objects, Error> {
    let mut manifests = Objects::default();
    for object in objects {
        match object["kind"].as_str().unwrap_or_default() {
            "Node" => manifests.nodes.push(manifest(object)?),
            "Pod" => manifests.pods.push(manifest(object)?),
            "Namespace" => manifests.namespaces.push(manifest(object)?),
            "PersistentVolume" => manifests.persistent_volumes.push(manifest(object)?),
            "PersistentVolumeClaim" => manifests.persistent_volume_claims.push(manifest(object)?),
            "StorageClass" => manifests.storage_classes.push(manifest(object)?),
            "CSINode" => manifests.csi_nodes.push(manifest(object)?),
            _ => {}
        }
    }
    Ok(manifests)
}

fn manifest<'v, T: Deserialize<'v>>(object: &'v Value) -> Result<T, Error> {
    T::deserialize(object).map_err(|source| Error::Unreadable {
        object: full_name(object),
        source,
    })
}

/// Asks about all these cases, and gives the disagreements of each.
///
/// # Errors
///
/// Those of [`Oracle::ask`] and [`ours`].
pub fn compare(oracle: &mut Oracle, cases: &[Case], coverage: &mut Coverage) -> Result<Vec<Vec<Disagreement>>, Error> {
    let requests: Vec<_> = cases
        .iter()
        .map(|Case { objects, pods }| Request::Judge { objects, pods })
        .collect();
    let judge_all = || {
        cases
            .iter()
            .map(|case| ours(&case.objects, &case.pods))
            .collect::<Vec<_>>()
    };
    let (answers, ours) = oracle.ask(&requests, judge_all)?;
    let ours = ours.into_iter().collect::<Result<Vec<_>, _>>()?;
    Ok(answers
        .iter()
        .zip(&ours)
        .map(|(answer, ours)| differences(answer, ours, coverage))
        .collect())
}

/// The disagreements with verdicts that were found in another way than by [`ours`].
///
/// # Errors
///
/// Those of [`Oracle::ask`].
pub fn compare_with(oracle: &mut Oracle, case: &Case, ours: &Verdicts) -> Result<Vec<Disagreement>, Error> {
    let Case { objects, pods } = case;
    let (answers, ()) = oracle.ask(&[Request::Judge { objects, pods }], || ())?;
    let coverage = &mut Coverage::default();
    Ok(answers
        .iter()
        .flat_map(|answer| differences(answer, ours, coverage))
        .collect())
}

/// The objects that this disagreement needs.
pub fn shrink(oracle: &mut Oracle, objects: &[Value], wanted: &Disagreement) -> Vec<Value> {
    let (pod, node) = &wanted.place;
    super::shrink::shrink(objects, |objects| {
        let has = |kind: &str, name: &str| {
            objects
                .iter()
                .any(|object| object["kind"] == kind && full_name(object) == name)
        };
        if !has("Pod", pod) || !has("Node", node) {
            return false;
        }
        let case = Case {
            objects: objects.to_vec(),
            pods: vec![pod.clone()],
        };
        // What the oracle refuses to answer is no smaller form of the same.
        let found = compare(oracle, &[case], &mut Coverage::default()).unwrap_or_default();
        let same = |found: &Disagreement| {
            (&found.place, &found.ours, &found.theirs) == (&wanted.place, &wanted.ours, &wanted.theirs)
        };
        found.iter().flatten().any(same)
    })
}

fn differences(answer: &Answer, ours: &Verdicts, coverage: &mut Coverage) -> Vec<Disagreement> {
    let mut differences = Vec::new();
    let mut judged = 0;
    for pod in &answer.pods {
        for node in &pod.nodes {
            coverage.count(&node.plugin, &node.message);
            judged += 1;
            let place = (pod.pod.clone(), node.node.clone());
            let theirs = (!node.fits).then(|| node.plugin.clone());
            // A place that the planner says nothing about is one, too.
            let said = ours.get(&place).cloned();
            if said.as_ref() != Some(&theirs) {
                differences.push(Disagreement {
                    place,
                    ours: said.unwrap_or_else(|| Some("nothing at all".to_owned())),
                    theirs,
                    message: node.message.clone(),
                });
            }
        }
    }
    assert_eq!(judged, ours.len(), "both answer for the same places");
    differences
}

impl Coverage {
    /// How many verdicts there were.
    pub fn verdicts(&self) -> usize {
        self.fits + self.rejected()
    }

    /// How many of them said no.
    pub fn rejected(&self) -> usize {
        self.rejects.values().sum()
    }

    /// How many of them came from this plugin, with these last words in what it says.
    pub fn of(&self, plugin: &str, words: &str) -> usize {
        let matching = self
            .rejects
            .iter()
            .filter(|((of, message), _)| of == plugin && message.ends_with(words));
        matching.map(|(_, count)| count).sum()
    }

    /// Takes in what was counted elsewhere.
    pub fn add(&mut self, other: &Self) {
        self.fits += other.fits;
        for (key, count) in &other.rejects {
            *self.rejects.entry(key.clone()).or_default() += count;
        }
    }

    fn count(&mut self, plugin: &str, message: &str) {
        if plugin.is_empty() {
            self.fits += 1;
            return;
        }
        // Names of claims and taints would make a row of each, and so would every set of resources.
        let words = message
            .split(['"', '{', ',', '/'])
            .next()
            .unwrap_or_default()
            .trim_end()
            .to_owned();
        *self.rejects.entry((plugin.to_owned(), words)).or_default() += 1;
    }
}

impl fmt::Display for Coverage {
    /// A table of plugins with their words, and the share of each in all that was refused.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rejected = self.rejected();
        writeln!(f, "{} verdicts: {} fit, {rejected} do not", self.verdicts(), self.fits)?;
        let share = |count: usize| 100.0 * count as f64 / rejected.max(1) as f64;
        let mut plugin = "";
        for ((of, words), count) in &self.rejects {
            if of != plugin {
                plugin = of;
                let all = self.of(plugin, "");
                writeln!(f, "{:6.2} % {all:8}  {plugin}", share(all))?;
            }
            writeln!(f, "{:6.2} % {count:8}    {words}", share(*count))?;
        }
        Ok(())
    }
}

impl fmt::Display for Disagreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (pod, node) = &self.place;
        let verdict = |verdict: &Option<String>| verdict.clone().unwrap_or_else(|| "fits".to_owned());
        write!(
            f,
            "{pod} on {node}: the planner says {}, kube-scheduler says {} ({})",
            verdict(&self.ours),
            verdict(&self.theirs),
            self.message
        )
    }
}
