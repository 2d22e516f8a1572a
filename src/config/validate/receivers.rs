//! What is wrong with receivers: names, kinds, secrets, templates. What a kind knows of its own settings stands beside it.

use std::collections::BTreeSet;

use super::{Look, MAX_NAME};
use crate::config::mistake::Path;
use crate::notify::config::NotifyConfig;
use crate::notify::receiver::config::{Facts, KINDS, ReceiverConfig};

/// Names that the outbox has for others.
const RESERVED: [&str; 2] = ["remediation_log", "print"];

impl Look {
    pub(super) fn receivers(&mut self, notify: &NotifyConfig) {
        let at = Path::of("notify");
        if notify.slack.is_set() {
            self.facts(&at.key("slack"), &notify.slack.facts());
        }
        self.github(&notify.github, &at.key("github"));
        let mut names = BTreeSet::new();
        names.extend(notify.slack.is_set().then(|| "slack".to_owned()));
        names.extend(notify.github.repo.as_ref().map(|_| "github".to_owned()));
        for (index, entry) in notify.receivers.iter().enumerate() {
            let at = at.key("receivers").index(index);
            self.name(&at, &entry.name, &mut names);
            self.receiver(&at, entry);
        }
    }

    fn name(&mut self, at: &Path, name: &str, names: &mut BTreeSet<String>) {
        let word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let at = at.key("name");
        if name.is_empty() {
            self.say(at, "a receiver needs a name, by which routes and metrics know it");
        } else if name.len() > MAX_NAME || !name.chars().all(word) {
            self.say(at, format!("must be at most {MAX_NAME} letters, digits, dots, - or _"));
        } else if RESERVED.contains(&name) {
            self.say(at, format!("`{name}` is a name of sigyn's own; choose another"));
        } else if !names.insert(name.to_owned()) {
            self.say(at, format!("`{name}` is the name of another receiver; names must be unique (notify.slack is `slack`, notify.github is `github`)"));
        }
    }

    fn receiver(&mut self, at: &Path, entry: &ReceiverConfig) {
        let kinds = entry.kinds();
        let [(kind, facts)] = kinds.as_slice() else {
            let names: Vec<&str> = kinds.iter().map(|(kind, _)| *kind).collect();
            let text = match names.as_slice() {
                [] => format!("names no kind; give it one of {KINDS} (without keys of its own: `stdout: {{}}`)"),
                names => format!("names {} kinds: {}; make an entry of each", names.len(), names.join(", ")),
            };
            return self.say(at.clone(), text);
        };
        match &entry.github {
            Some(github) => {
                self.github(github, &at.key("github"));
                if github.repo.is_none() {
                    self.say(at.key("github").key("repo"), "needs the repository as owner/name");
                }
            }
            None => self.facts(&at.key(kind), facts),
        }
        for (key, text) in entry.template().wrong() {
            self.say(at.key(key), text);
        }
        for (key, template) in [("title", &entry.title), ("text", &entry.text)] {
            if template.is_some() && !facts.templates {
                self.say(at.key(key), format!("`{kind}` has a form of its own; leave the template out"));
            }
        }
    }

    /// What a kind knows to be wrong, and its secrets and files.
    fn facts(&mut self, at: &Path, facts: &Facts<'_>) {
        let below = |keys: &str| keys.split('.').fold(at.clone(), |path, key| path.key(key));
        for held in &facts.secrets {
            let (section, key) =
                held.key.rsplit_once('.').map_or((at.clone(), held.key.as_str()), |(way, key)| (below(way), key));
            self.secret(&section, key, held.value, held.file);
        }
        for (key, file) in &facts.files {
            self.readable(below(key), Some(file));
        }
        for (key, text) in &facts.wrong {
            self.say(below(key), text.clone());
        }
    }
}
