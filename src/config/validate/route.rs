//! What types cannot say about routes, intervals, silences, inhibition and the storm.
//!
//! What comes in: settings of the right types. What goes out: findings with their key path. Silence files are read here, so
//! that a mistake in one is told with all others.

use std::collections::BTreeMap;

use super::super::mistake::Path;
use super::Look;
use crate::notify::config::NotifyConfig;
use crate::notify::route::{Router, Rules};
use crate::notify::silence::{Silences, file};

impl Look {
    pub(super) fn routing(&mut self, notify: &NotifyConfig) {
        // The remediation log is no receiver here: it is told everything.
        let receivers = notify.receiver_names();
        let rules = Rules { route: &notify.route, time_intervals: &notify.time_intervals, receivers: &receivers };
        for wrong in Router::new(&rules).err().unwrap_or_default() {
            self.say(Path::of("notify").below(&wrong.key), wrong.text);
        }
        for (index, rule) in notify.inhibit_rules.iter().enumerate() {
            if let Some((key, text)) = rule.mistake() {
                self.say(Path::of("notify.inhibit_rules").index(index).key(key), text);
            }
        }
        self.silence_files(notify);
        self.at_least_one(Path::of("notify.storm.incidents"), notify.storm.incidents);
        self.positive(Path::of("notify.storm.within"), notify.storm.within);
    }

    fn silence_files(&mut self, notify: &NotifyConfig) {
        let (mut all, mut places) = (Silences::new(), BTreeMap::new());
        for (index, path) in notify.silence_files.iter().enumerate() {
            let key = Path::of("notify.silence_files").index(index);
            match file::load(path) {
                Err(error) => self.say(key, error.to_string()),
                Ok(silences) => {
                    for silence in silences {
                        let id = silence.id.clone();
                        if let Some(before) = places.insert(id.clone(), path.clone()) {
                            let text = format!("the silence `{id}` stands in {} already", before.display());
                            self.say(key.clone(), text);
                        } else if let Err(error) = all.set(silence) {
                            self.say(key, error.to_string());
                            break;
                        }
                    }
                }
            }
        }
    }
}
