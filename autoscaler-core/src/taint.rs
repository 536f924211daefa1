//! Taints of nodes and the tolerations of pods, with the semantics of `k8s.io/component-helpers/scheduling/corev1`.

use crate::symbol::Symbol;

/// What a taint does to pods that do not tolerate it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effect {
    /// They are not scheduled here.
    NoSchedule,
    /// They are scheduled here last. Never decides whether a pod fits.
    PreferNoSchedule,
    /// They are not scheduled here, and those that run are evicted.
    NoExecute,
}

/// A taint of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Taint {
    /// Key.
    pub key: Symbol,
    /// Value, empty when there is none.
    pub value: Symbol,
    /// Effect.
    pub effect: Effect,
}

/// A toleration of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Toleration {
    /// Key of the taints that are tolerated; `None` (with `value` `None`) tolerates every key.
    pub key: Option<Symbol>,
    /// Value that must be equal (operator `Equal`), or `None` for any (operator `Exists`).
    pub value: Option<Symbol>,
    /// Effect of the taints that are tolerated, or `None` for every effect.
    pub effect: Option<Effect>,
}

impl Effect {
    /// The effect as Kubernetes writes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoSchedule => "NoSchedule",
            Self::PreferNoSchedule => "PreferNoSchedule",
            Self::NoExecute => "NoExecute",
        }
    }

    /// The effect that Kubernetes writes so.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::NoSchedule, Self::PreferNoSchedule, Self::NoExecute]
            .into_iter()
            .find(|effect| effect.as_str() == text)
    }
}

impl Toleration {
    /// Whether this tolerates the taint.
    #[must_use]
    pub fn tolerates(&self, taint: &Taint) -> bool {
        self.effect.is_none_or(|effect| effect == taint.effect)
            && self.key.is_none_or(|key| key == taint.key)
            && self.value.is_none_or(|value| value == taint.value)
    }
}

/// The first taint that keeps a pod with these tolerations away, if any does.
#[must_use]
pub fn first_untolerated(taints: &[Taint], tolerations: &[Toleration]) -> Option<Taint> {
    taints
        .iter()
        .filter(|taint| taint.effect != Effect::PreferNoSchedule)
        .find(|taint| !tolerations.iter().any(|toleration| toleration.tolerates(taint)))
        .copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::symbol::Symbols;

    #[test]
    fn tolerations_match_key_value_and_effect() {
        let mut symbols = Symbols::default();
        let (dedicated, gpu, web) = (
            symbols.intern("dedicated"),
            symbols.intern("gpu"),
            symbols.intern("web"),
        );
        let taint = Taint {
            key: dedicated,
            value: gpu,
            effect: Effect::NoSchedule,
        };
        for (key, value, effect, expected) in [
            (Some(dedicated), Some(gpu), Some(Effect::NoSchedule), true),
            (Some(dedicated), Some(gpu), None, true),
            (Some(dedicated), Some(web), None, false),
            (Some(dedicated), None, None, true),
            (Some(web), None, None, false),
            (None, None, None, true),
            (None, None, Some(Effect::NoExecute), false),
        ] {
            let toleration = Toleration { key, value, effect };
            assert_eq!(toleration.tolerates(&taint), expected, "{toleration:?}");
        }
    }

    #[test]
    fn a_preference_never_keeps_a_pod_away() {
        let taint = Taint {
            key: Symbol::EMPTY,
            value: Symbol::EMPTY,
            effect: Effect::PreferNoSchedule,
        };
        assert_eq!(first_untolerated(&[taint], &[]), None);
    }
}
