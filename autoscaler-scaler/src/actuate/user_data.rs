//! What a new VM runs at first boot: the user's cloud-init document with its placeholders filled in, or a built-in one.

use std::{collections::BTreeMap, fmt::Write as _};

use autoscaler_core::provider::UserData;

use crate::api::{self, labels};

/// What placeholders stand for.
#[derive(Clone, Debug)]
pub(super) struct Values {
    /// `{{ hostname }}`
    pub hostname: String,
    /// `{{ node_labels }}`: as `kubelet --node-labels` takes them.
    pub node_labels: String,
    /// `{{ register_taints }}`: as `kubelet --register-with-taints` takes them.
    pub register_taints: String,
    /// `{{ cluster }}`
    pub cluster: String,
}

/// Why a template cannot be filled in.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum TemplateError {
    #[error(
        "the user data has the placeholder {{{{ {0} }}}}; known are hostname, node_labels, register_taints and cluster"
    )]
    Unknown(String),
    #[error("the user data has a placeholder that does not end")]
    Unclosed,
}

/// Fills in the placeholders of a template.
pub(super) fn render(template: &str, values: &Values) -> Result<UserData, TemplateError> {
    let mut text = String::with_capacity(template.len());
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        let (name, after) = after.split_once("}}").ok_or(TemplateError::Unclosed)?;
        text.push_str(before);
        text.push_str(match name.trim() {
            "hostname" => &values.hostname,
            "node_labels" => &values.node_labels,
            "register_taints" => &values.register_taints,
            "cluster" => &values.cluster,
            other => return Err(TemplateError::Unknown(other.to_owned())),
        });
        rest = after;
    }
    text.push_str(rest);
    Ok(UserData::new(text))
}

/// The document of a group that brings none: it only tells the kubelet of an image that joins by itself how to
/// register, so that labels and taints are there from the first moment.
pub(super) fn built_in(values: &Values) -> UserData {
    let Values {
        hostname,
        node_labels,
        register_taints,
        ..
    } = values;
    let mut text = format!("#cloud-config\nhostname: {hostname}\npreserve_hostname: false\nwrite_files:\n");
    let _infallible = write!(
        text,
        "  - path: /etc/default/kubelet\n    owner: root:root\n    permissions: \"0644\"\n    content: |\n      \
         KUBELET_EXTRA_ARGS=\"--node-labels={node_labels} --register-with-taints={register_taints}\"\n"
    );
    UserData::new(text)
}

/// Labels as `kubelet --node-labels` takes them, without those that a kubelet may not give itself: it would refuse to
/// start. They are put on the Node when it joins.
pub(super) fn kubelet_labels(labels: &BTreeMap<String, String>) -> String {
    let allowed = labels.iter().filter(|(key, _)| may_label_itself(key));
    allowed
        .map(|(key, value)| format!("{key}={value}"))
        .collect::<Vec<_>>()
        .join(",")
}

/// The startup taint and the taints of the group, as `kubelet --register-with-taints` takes them.
pub(super) fn kubelet_taints(taints: &[api::Taint]) -> String {
    let startup = format!("{}:NoSchedule", labels::STARTUP_TAINT);
    let of_group = taints.iter().map(|taint| match taint.value.as_deref() {
        None | Some("") => format!("{}:{}", taint.key, taint.effect.as_str()),
        Some(value) => format!("{}={value}:{}", taint.key, taint.effect.as_str()),
    });
    std::iter::once(startup).chain(of_group).collect::<Vec<_>>().join(",")
}

/// The rule of kubelet and of the NodeRestriction admission plugin (`k8s.io/kubelet/pkg/apis/well_known_labels.go`).
fn may_label_itself(key: &str) -> bool {
    const KNOWN: [&str; 8] = [
        "kubernetes.io/hostname",
        "kubernetes.io/os",
        "kubernetes.io/arch",
        "node.kubernetes.io/instance-type",
        "topology.kubernetes.io/zone",
        "topology.kubernetes.io/region",
        "failure-domain.beta.kubernetes.io/zone",
        "failure-domain.beta.kubernetes.io/region",
    ];
    let Some((domain, _)) = key.split_once('/') else {
        return true;
    };
    let under = |parent: &str| domain == parent || domain.strip_suffix(parent).is_some_and(|rest| rest.ends_with('.'));
    let reserved = under("kubernetes.io") || under("k8s.io");
    !reserved || KNOWN.contains(&key) || under("kubelet.kubernetes.io") || under("node.kubernetes.io")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values() -> Values {
        Values {
            hostname: "web-1".into(),
            node_labels: "a=b".into(),
            register_taints: "t:NoSchedule".into(),
            cluster: "c1".into(),
        }
    }

    #[test]
    fn placeholders_are_filled_in() {
        let text = render(
            "h={{hostname}} l={{ node_labels }} t={{ register_taints }} c={{cluster }}!",
            &values(),
        );
        assert_eq!(text.unwrap().expose(), "h=web-1 l=a=b t=t:NoSchedule c=c1!");
    }

    #[test]
    fn an_unknown_placeholder_is_an_error() {
        assert_eq!(
            render("{{ token }}", &values()).unwrap_err(),
            TemplateError::Unknown("token".into())
        );
        assert_eq!(render("{{ hostname", &values()).unwrap_err(), TemplateError::Unclosed);
    }

    #[test]
    fn the_built_in_document_registers_with_labels_and_taints() {
        let text = built_in(&values());
        assert!(
            text.expose()
                .contains("--node-labels=a=b --register-with-taints=t:NoSchedule\"\n")
        );
    }

    #[test]
    fn a_kubelet_is_not_told_labels_that_it_must_not_set() {
        let labels = [
            "team",
            "node-role.kubernetes.io/worker",
            "topology.kubernetes.io/zone",
            "x.k8s.io/y",
            "a.b/c",
        ];
        let labels = labels.map(|key| (key.to_owned(), "1".to_owned())).into();
        assert_eq!(kubelet_labels(&labels), "a.b/c=1,team=1,topology.kubernetes.io/zone=1");
    }
}
