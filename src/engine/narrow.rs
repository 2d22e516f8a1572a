//! The query of a watch narrowed to one group, as a person would write it.
//!
//! What comes in: LogQL from the settings, and the group's labels. What goes out: LogQL that finds the group's lines, without
//! matchers that say nothing beside the group's own. What never happens here: a change behind the selector.

use crate::labels::{Labels, quote};

/// Labels whose values are names of pods, and those of groups the names of workloads ([`workload`]).
const PODS: [&str; 2] = ["pod", "pod_name"];

/// The query with the group's labels as matchers of its selector.
pub(super) fn narrow(query: &str, group: &Labels) -> String {
    let Some((matchers, rest)) = selector(query) else { return query.to_owned() };
    let kept: Vec<Matcher<'_>> = matchers.into_iter().filter(|matcher| !matcher.is_empty_beside(group)).collect();
    let named = |name: &str| kept.iter().any(|matcher| matcher.name == name && matcher.op == "=");
    let own = group.iter().filter(|(name, _)| !named(name)).map(|(name, value)| matcher(name, value));
    let all: Vec<String> = own.chain(kept.iter().map(|matcher| matcher.text.to_owned())).collect();
    format!("{{{}}}{rest}", all.join(", "))
}

/// A pod's group has the name of its workload: its pods have a hash and a random part behind it.
fn matcher(name: &str, value: &str) -> String {
    if PODS.contains(&name) {
        return format!("{name}=~{}", quote(&format!("{}(-[a-z0-9]{{6,10}}-[a-z0-9]{{5}})?", escaped(value))));
    }
    format!("{name}={}", quote(value))
}

/// A value as a regular expression that matches it alone.
fn escaped(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for c in value.chars() {
        if !(c.is_alphanumeric() || matches!(c, '_' | '-')) && c.is_ascii() {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

/// One condition of a selector.
struct Matcher<'a> {
    text: &'a str,
    name: &'a str,
    op: &'a str,
    value: &'a str,
}

impl<'a> Matcher<'a> {
    fn read(text: &'a str) -> Option<Self> {
        let text = text.trim();
        let end = text.find(['=', '!'])?;
        let (name, rest) = text.split_at_checked(end)?;
        let length = if rest.starts_with("=~") || rest.starts_with('!') { 2 } else { 1 };
        let (op, value) = rest.split_at_checked(length)?;
        Some(Self { text, name: name.trim(), op, value: value.trim() })
    }

    /// Whether it says nothing beside the group's own value: that there is one, or that it is not another.
    fn is_empty_beside(&self, group: &Labels) -> bool {
        let Some(own) = group.get(self.name) else { return false };
        match self.op {
            "=~" => matches!(self.value, "\".+\"" | "`.+`" | "\".*\"" | "`.*`"),
            "!=" => self.value.starts_with('"') && self.value != quote(own),
            _ => false,
        }
    }
}

/// The matchers of the selector that a query begins with, and what stands behind it; `None` when it begins otherwise.
fn selector(query: &str) -> Option<(Vec<Matcher<'_>>, &str)> {
    let body = query.trim_start().strip_prefix('{')?;
    let (mut quoted, mut escaped, mut start) = (None, false, 0);
    let mut matchers = Vec::new();
    for (at, c) in body.char_indices() {
        match (quoted, c) {
            (Some('"'), '\\') if !escaped => {
                escaped = true;
                continue;
            }
            (Some(mark), c) if c == mark && !escaped => quoted = None,
            (None, '"' | '`') => quoted = Some(c),
            (None, ',' | '}') => {
                let text = body.get(start..at)?;
                if !text.trim().is_empty() {
                    matchers.push(Matcher::read(text)?);
                }
                start = at + 1;
                if c == '}' {
                    return Some((matchers, body.get(start..)?));
                }
            }
            _ => {}
        }
        escaped = false;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_query_is_narrowed_to_the_group() {
        let group: Labels = [("service_name", "ca\"rt")].into_iter().collect();
        for (query, narrowed) in [
            (r#"{env="prod"} != "x""#, r#"{service_name="ca\"rt", env="prod"} != "x""#),
            (r#"{service_name=~".+"}"#, r#"{service_name="ca\"rt"}"#),
            (r#"{service_name=~".+", env="x"} |= "a""#, r#"{service_name="ca\"rt", env="x"} |= "a""#),
            (r#"{service_name=~".+",service_name!="unknown_service"}"#, r#"{service_name="ca\"rt"}"#),
            (r#"{job!="a",service_name!="unknown_service"}"#, r#"{service_name="ca\"rt", job!="a"}"#),
            (r#"{service_name!="ca\"rt"}"#, r#"{service_name="ca\"rt", service_name!="ca\"rt"}"#),
            (r#"{a="x}, y", b=~`.+`}"#, r#"{service_name="ca\"rt", a="x}, y", b=~`.+`}"#),
            ("{}", r#"{service_name="ca\"rt"}"#),
            (r#"{service_name="cart"}"#, r#"{service_name="cart"}"#),
            (r#"sum(rate({a="b"}[1m]))"#, r#"sum(rate({a="b"}[1m]))"#),
            (r#"{a="b"#, r#"{a="b"#),
        ] {
            assert_eq!(narrow(query, &group), narrowed);
        }
    }

    #[test]
    fn pods_of_a_workload_are_found() {
        let group: Labels = [("pod", "cart.v2")].into_iter().collect();
        let narrowed = r#"{pod=~"cart\\.v2(-[a-z0-9]{6,10}-[a-z0-9]{5})?", env="x"}"#;
        assert_eq!(narrow(r#"{pod=~".+", env="x"}"#, &group), narrowed);
    }
}
