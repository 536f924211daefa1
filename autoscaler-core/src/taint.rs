//! Taints of nodes and the tolerations of pods, with the semantics of `k8s.io/component-helpers/scheduling/corev1`.

use crate::symbol::Symbol;

/// What a taint does to pods that do not tolerate it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Effect {
    /// They are not scheduled here.
    NoSchedule,
    /// They are scheduled here last. Never decides whether a pod fits.
    PreferNoSchedule,
    /// They are not scheduled here, and those that run are evicted.
    NoExecute,
}

/// A taint of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Taint {
    /// Key.
    pub key: Symbol,
    /// Value, empty when there is none.
    pub value: Symbol,
    /// Effect.
    pub effect: Effect,
}

/// A toleration of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
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
    let mut decisive = taints.iter().filter(|taint| taint.effect != Effect::PreferNoSchedule);
    if taints.len().saturating_mul(tolerations.len()) <= FEW_PAIRS {
        return decisive
            .find(|taint| !tolerations.iter().any(|toleration| toleration.tolerates(taint)))
            .copied();
    }
    // No honest node comes here. What tolerates a taint is one of eight tolerations.
    let mut sorted = tolerations.to_vec();
    sorted.sort_unstable();
    let tolerated = |taint: &Taint| {
        [Some(taint.key), None].into_iter().any(|key| {
            [Some(taint.value), None].into_iter().any(|value| {
                [Some(taint.effect), None]
                    .into_iter()
                    .any(|effect| sorted.binary_search(&Toleration { key, value, effect }).is_ok())
            })
        })
    };
    decisive.find(|taint| !tolerated(taint)).copied()
}

/// How many pairs of a taint and a toleration are compared one by one.
const FEW_PAIRS: usize = 4096;

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
    fn many_taints_and_tolerations_match_as_few_do() {
        let mut symbols = Symbols::default();
        let names: Vec<_> = (0..100).map(|n| symbols.intern(&n.to_string())).collect();
        let some = |name: usize| (!name.is_multiple_of(5)).then(|| names[name % names.len()]);
        let effects = [None, Some(Effect::NoSchedule), Some(Effect::NoExecute)];
        for missing in 0..200 {
            let taints: Vec<_> = (0..400)
                .map(|n| Taint {
                    key: names[n % 97],
                    value: names[n % 89],
                    effect: effects[1 + n % 2].unwrap(),
                })
                .collect();
            let tolerations: Vec<_> = (0..400)
                .filter(|n| n % 200 != missing)
                .map(|n| Toleration {
                    key: Some(names[n % 97]),
                    value: some(n).and(Some(names[n % 89])),
                    effect: effects[n % 3].and(Some(taints[n].effect)),
                })
                .collect();
            let expected = taints
                .iter()
                .find(|taint| !tolerations.iter().any(|toleration| toleration.tolerates(taint)));
            assert!(FEW_PAIRS < taints.len() * tolerations.len());
            assert_eq!(first_untolerated(&taints, &tolerations), expected.copied(), "{missing}");
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
