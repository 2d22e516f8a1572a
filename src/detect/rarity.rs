//! The rarest line of a window of lines, by how many windows have one like it, and by level.
//!
//! What comes in: the templates of windows, each with its level. What goes out: how surprising the rarest one is. Windows
//! of so many lines say nothing by their number of lines; what they are made of does. Level is what counts most here: on
//! 2,000 lines of BGL the F1 is 0.72 and 0.79 with it, 0.68 and 0.52 without. What never happens here: a window judged
//! by what was learnt from it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Level;
use super::held;
use super::template::TemplateId;

/// Windows of a group before its windows are judged.
const ENOUGH: f32 = 20.0;
/// Windows after which half is forgotten.
const MOST: f32 = 20_000.0;
/// Templates of a group that are known; when there are more, the rarest are forgotten.
const MAX_TEMPLATES: usize = 8_192;
/// An error counts as so many times rarer, what is below a warning as so many times more frequent.
const LEVEL: f64 = 4.0;
/// What each of the next rarest lines adds to the order of windows.
const NEXT: f64 = 0.1;
/// From nats of a frequency to nats of surprise, which the budget is spent on: when one window in a hundred may be
/// false, the cut lies at a weighted frequency of 0.03: ln(100 x 20 groups) / -ln(0.03).
const SCALE: f64 = 2.167;

/// In how many windows which template was, by group.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Rarity {
    groups: BTreeMap<u32, Known>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Known {
    windows: f32,
    seconds: f64,
    templates: BTreeMap<TemplateId, f32>,
}

/// The rarest line of a window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rarest {
    /// Its template.
    pub template: TemplateId,
    /// In nats, on the scale of the budget. 0 when all lines call themselves harmless: a new `INFO` line wakes nobody.
    pub surprise: f64,
    /// The same with harmless lines, and a little of the next ones: orders windows, and decides nothing.
    pub order: f64,
    /// How long windows take on average.
    pub seconds: f64,
    /// Windows that had it, of how many.
    pub seen: f64,
    /// See `seen`.
    pub of: f64,
}

impl Rarest {
    /// Windows of a group before its windows are judged.
    #[must_use]
    pub fn enough(&self) -> f64 {
        ENOUGH.into()
    }
}

impl Rarity {
    /// The rarest template of a window; `None` while too few windows are known. The worst level of each template counts.
    #[must_use]
    pub fn judge(&self, group: u32, window: &[(TemplateId, Level)]) -> Option<Rarest> {
        let known = self.groups.get(&group).filter(|known| known.windows >= ENOUGH)?;
        let of = f64::from(known.windows);
        let rarest = window.iter().map(|(template, level)| {
            let harmless = matches!(level, Level::Trace | Level::Debug | Level::Info);
            let seen = known.templates.get(template).copied().map_or(0.0, f64::from);
            let weight = match level {
                Level::Error | Level::Critical => 1.0 / LEVEL,
                Level::Warn => 1.0,
                _ => LEVEL,
            };
            let p = (weight * (seen + 0.5) / (of + 1.0)).min(1.0);
            let seconds = known.seconds / of;
            (harmless, Rarest { template: *template, surprise: -SCALE * p.ln(), order: 0.0, seconds, seen, of })
        });
        let mut all: Vec<(bool, Rarest)> = rarest.collect();
        all.sort_by(|(_, one), (_, two)| two.surprise.total_cmp(&one.surprise).then(one.template.cmp(&two.template)));
        let (_, first) = all.first()?;
        let order = first.surprise + NEXT * all.iter().skip(1).take(4).map(|(_, one)| one.surprise).sum::<f64>();
        let told = all.iter().find(|(harmless, _)| !harmless);
        Some(told.map_or(Rarest { surprise: 0.0, order, ..*first }, |(_, one)| Rarest { order, ..*one }))
    }

    /// Counts a window of a group that took so many seconds.
    pub fn learn(&mut self, group: u32, window: &[(TemplateId, Level)], seconds: f64) {
        let known = self.groups.entry(group).or_default();
        known.windows += 1.0;
        known.seconds += seconds.max(0.0);
        for (template, _) in window {
            *known.templates.entry(*template).or_default() += 1.0;
        }
        if known.windows > MOST {
            known.windows /= 2.0;
            known.seconds /= 2.0;
            known.templates.values_mut().for_each(|count| *count /= 2.0);
            known.templates.retain(|_, count| *count > 0.1);
        }
        if known.templates.len() > MAX_TEMPLATES {
            let mut counts: Vec<f32> = known.templates.values().copied().collect();
            counts.sort_unstable_by(f32::total_cmp);
            let least = counts.get(counts.len() / 2).copied().unwrap_or_default();
            known.templates.retain(|_, count| *count > least);
        }
    }

    /// Forgets a group, whose number another may get.
    pub fn forget(&mut self, group: u32) {
        self.groups.remove(&group);
    }

    /// Bytes that it holds.
    #[must_use]
    pub fn held(&self) -> usize {
        let one = |known: &Known| held::tree::<TemplateId, f32>(known.templates.len());
        held::tree::<u32, Known>(self.groups.len()) + self.groups.values().map(one).sum::<usize>()
    }

    /// A template has become a part of another.
    pub fn merge(&mut self, from: TemplateId, into: TemplateId) {
        for known in self.groups.values_mut() {
            if let Some(count) = known.templates.remove(&from) {
                let sum = known.templates.entry(into).or_default();
                *sum = (*sum + count).min(known.windows);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const USUAL: (TemplateId, Level) = (TemplateId(1), Level::Info);

    fn known(windows: usize, second: usize) -> Rarity {
        let mut rarity = Rarity::default();
        for n in 0..windows {
            let window = [USUAL, (TemplateId(2), Level::Info)];
            rarity.learn(7, &window[..if n < second { 2 } else { 1 }], 20.0);
        }
        rarity
    }

    #[test]
    fn the_rarest_line_counts_by_its_level() {
        // One window in a hundred may be false: at 0.03.
        let needed = 2_000f64.ln();
        for (second, level, told) in [
            (10, Level::Error, true),
            (15, Level::Error, false),
            (2, Level::Warn, true),
            (3, Level::Warn, false),
            (0, Level::Unknown, true),
            (1, Level::Unknown, false),
            (0, Level::Info, false),
        ] {
            let found = known(100, second).judge(7, &[USUAL, (TemplateId(2), level)]).unwrap();
            assert_eq!(found.surprise >= needed, told, "{second} of 100, {level:?}: {found:?}");
            assert!(found.order > 0.0);
            assert_eq!((found.template, found.seen, found.of), (TemplateId(2), second as f64, 100.0));
        }
        assert_eq!(known(100, 0).judge(7, &[USUAL]).unwrap().surprise, 0.0);
    }

    #[test]
    fn nothing_is_said_of_what_is_not_known() {
        assert_eq!(known(19, 0).judge(7, &[USUAL]), None);
        assert_eq!(known(100, 0).judge(8, &[USUAL]), None);
        assert_eq!(known(100, 0).judge(7, &[]), None);
    }

    #[test]
    fn merges_and_bounds() {
        let mut one = known(100, 60);
        one.merge(TemplateId(2), TemplateId(1));
        assert_eq!(one.groups[&7].templates, [(TemplateId(1), 100.0)].into());
        for n in 0..60_000 {
            one.learn(7, &[USUAL, (TemplateId(n), Level::Info)], 1.0);
            assert!(one.groups[&7].templates.len() <= MAX_TEMPLATES);
        }
        assert!(one.groups[&7].windows <= MOST && one.groups[&7].templates.contains_key(&TemplateId(1)));
    }

    #[test]
    fn a_restart_changes_nothing() {
        let live = known(100, 3);
        let back: Rarity = serde_json::from_str(&serde_json::to_string(&live).unwrap()).unwrap();
        let window = [USUAL, (TemplateId(2), Level::Error)];
        assert_eq!(back.judge(7, &window), live.judge(7, &window));
    }
}
