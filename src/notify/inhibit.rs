//! Inhibition: while one incident fires, others that follow from it are not told.
//!
//! What comes in: the settings `notify.inhibit_rules`, in Alertmanager's form, and labels. What goes out: which rule holds an
//! incident back, and which incident is why. Pure.

use serde::{Deserialize, Serialize};

use crate::labels::{Labels, Matchers};

/// `notify.inhibit_rules[]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct InhibitRule {
    /// What people call it.
    pub name: Option<String>,
    /// Incidents that hold back.
    pub source_matchers: Matchers,
    /// Incidents that are held back.
    pub target_matchers: Matchers,
    /// Labels in which the two must be equal; absent and empty are the same.
    pub equal: Vec<String>,
}

/// Why an incident is held back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inhibited {
    /// Index of the rule.
    pub rule: usize,
    /// Index of the incident among those that fire.
    pub source: usize,
}

/// The first rule that holds `target` back, with the first of the `firing` incidents for which it does. What matches both
/// sides of a rule is not held back by what matches both, so nothing holds itself back (Alertmanager's rule).
#[must_use]
pub fn inhibited<'a>(
    rules: &[InhibitRule],
    target: &Labels,
    firing: impl Iterator<Item = &'a Labels> + Clone,
) -> Option<Inhibited> {
    rules.iter().enumerate().find_map(|(index, rule)| {
        if !rule.target_matchers.matches(target) {
            return None;
        }
        let two_sided = rule.source_matchers.matches(target);
        let holds = |source: &Labels| {
            rule.source_matchers.matches(source)
                && !(two_sided && rule.target_matchers.matches(source))
                && rule.equal.iter().all(|name| value(source, name) == value(target, name))
        };
        firing.clone().position(holds).map(|source| Inhibited { rule: index, source })
    })
}

fn value<'a>(labels: &'a Labels, name: &str) -> &'a str {
    labels.get(name).unwrap_or_default()
}

impl InhibitRule {
    /// What is wrong with it: the key, and what must be.
    pub(crate) fn mistake(&self) -> Option<(&'static str, &'static str)> {
        if self.source_matchers.is_empty() {
            return Some(("source_matchers", "must say which incidents hold others back"));
        }
        if self.target_matchers.is_empty() {
            return Some(("target_matchers", "must say which incidents are held back"));
        }
        self.equal.iter().any(String::is_empty).then_some(("equal", "must be names of labels"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::labels::matcher::parse;

    fn rule(source: &str, target: &str, equal: &[&str]) -> InhibitRule {
        InhibitRule {
            name: None,
            source_matchers: parse(source).unwrap(),
            target_matchers: parse(target).unwrap(),
            equal: equal.iter().map(|&name| name.to_owned()).collect(),
        }
    }

    fn labels(text: &str) -> Labels {
        parse(text).unwrap().iter().map(|matcher| (matcher.name(), matcher.value())).collect()
    }

    /// Index of the incident that holds the target back.
    fn check(rule: InhibitRule, target: &str, firing: &[&str]) -> Option<usize> {
        let firing: Vec<Labels> = firing.iter().map(|text| labels(text)).collect();
        inhibited(&[rule], &labels(target), firing.iter()).map(|found| found.source)
    }

    #[test]
    fn what_follows_is_held_back() {
        let down = || rule("service=database", "severity=~\"info|warning\"", &["cluster"]);
        for (target, firing, held) in [
            (
                "service=cart,severity=warning,cluster=eu",
                vec!["service=database,severity=critical,cluster=eu"],
                Some(0),
            ),
            ("service=cart,severity=warning,cluster=eu", vec!["service=database,severity=critical,cluster=us"], None),
            ("service=cart,severity=critical,cluster=eu", vec!["service=database,severity=critical,cluster=eu"], None),
            ("service=cart,severity=warning,cluster=eu", vec![], None),
            // Absent on both sides is equal.
            ("service=cart,severity=warning", vec!["service=search", "service=database,severity=critical"], Some(1)),
            // Itself, and another one that matches both sides.
            ("service=database,severity=warning", vec!["service=database,severity=warning"], None),
            ("service=database,severity=warning,pod=a", vec!["service=database,severity=info,pod=b"], None),
            // One that matches the source's side alone does.
            ("service=database,severity=warning", vec!["service=database,severity=critical"], Some(0)),
        ] {
            assert_eq!(check(down(), target, &firing), held, "{target} {firing:?}");
        }
    }

    #[test]
    fn the_first_rule_counts() {
        let rules = [rule("a=1", "b=1", &[]), rule("a=2", "b=2", &[]), rule("a=3", "b=2", &[])];
        let firing = [labels("a=3"), labels("a=2")];
        let found = inhibited(&rules, &labels("b=2"), firing.iter());
        assert_eq!(found, Some(Inhibited { rule: 1, source: 1 }));
    }

    #[test]
    fn mistakes_name_their_key() {
        assert_eq!(rule("", "a=b", &[]).mistake().unwrap().0, "source_matchers");
        assert_eq!(rule("a=b", "", &[]).mistake().unwrap().0, "target_matchers");
        assert_eq!(rule("a=b", "a=b", &[""]).mistake().unwrap().0, "equal");
        assert_eq!(rule("a=b", "a=b", &["c"]).mistake(), None);
    }

    proptest! {
        #[test]
        fn nothing_holds_itself_back(
            source in "[ab]=~\"[12]\\|?[12]?\"", target in "[ab]!?=[12]", own in "a=[12],b=[12]",
        ) {
            let (rules, own) = ([rule(&source, &target, &["a"])], labels(&own));
            prop_assert_eq!(inhibited(&rules, &own, std::iter::once(&own)), None);
        }
    }
}
