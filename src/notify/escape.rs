//! Escapes for text that strangers wrote: log lines, label values, titles made of them. One function for each markup.
//!
//! What comes in: any text. What goes out: text that shows the same to a person and does nothing: it mentions nobody,
//! links nowhere, loads no image, leaves no code block and ends no comment. Every function also cuts to a length.

/// Zero width space: put inside a sequence of characters, it takes away its meaning and cannot be seen.
const BREAK: char = '\u{200b}';

/// What a cut text ends with.
const CUT: char = '…';

/// Inline text for Slack's mrkdwn, and for the Markdown of Mattermost and Rocket.Chat, which show the same text.
/// `&<>` become entities, as Slack asks (docs.slack.dev, "Formatting message text"); the rest is for the other two.
#[must_use]
pub fn mrkdwn(text: &str, max: usize) -> String {
    let mut out = String::new();
    for c in calm(text, max).chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '`' => out.push('\''),
            '@' | '#' | ']' => out.extend([c, BREAK]),
            ':' => out.push(':'),
            '/' if out.ends_with(":/") => out.extend([BREAK, '/']),
            c => out.push(c),
        }
    }
    unlink(&out)
}

/// One line inside a code block of Slack, Mattermost or Rocket.Chat.
#[must_use]
pub fn mrkdwn_code(text: &str, max: usize) -> String {
    let mut out = String::new();
    for c in calm(text, max).chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '`' | '@' => out.extend([c, BREAK]),
            c => out.push(c),
        }
    }
    out
}

/// Inline text for GitHub's Markdown, also inside a cell of a table.
#[must_use]
pub fn markdown(text: &str, max: usize) -> String {
    let mut out = String::new();
    for c in calm(text, max).chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '~' | '!' | '$' => out.extend(['\\', c]),
            '@' | '#' => out.extend([c, BREAK]),
            '/' if out.ends_with(":/") => out.extend([BREAK, '/']),
            '-' if ends_with_gh(&out) => out.extend([BREAK, '-']),
            c => out.push(c),
        }
    }
    unlink(&out)
}

/// A title on GitHub: no markup there, but it is copied into mails and chats.
#[must_use]
pub fn title(text: &str, max: usize) -> String {
    let mut out = String::new();
    for c in calm(text, max).chars() {
        match c {
            '@' | '#' => out.extend([c, BREAK]),
            '`' => out.push('\''),
            c => out.push(c),
        }
    }
    out
}

/// A fenced code block for GitHub, with a fence longer than any in the text. `info` is ours: `text`, `logql`, `sh`.
#[must_use]
pub fn fenced(info: &str, lines: &[String], max: usize) -> String {
    let body: Vec<String> = lines
        .iter()
        .map(|line| calm(line, max).replace("<!--", &format!("<{BREAK}!--")).replace("-->", &format!("--{BREAK}>")))
        .collect();
    let longest = body.iter().map(|line| longest_run(line, '`')).max().unwrap_or(0);
    let fence = "`".repeat(longest.max(2) + 1);
    format!("{fence}{info}\n{}\n{fence}", body.join("\n"))
}

/// Text that is shown as it is (mails, pagers, annotations): no markup there, but readers make links of what looks like one.
#[must_use]
pub fn plain(text: &str, max: usize) -> String {
    unlink(&unscheme(calm(text, max).chars()))
}

/// Text in HTML, as content or in a quoted attribute. Mentions and hashtags are broken for those who make links of them.
#[must_use]
pub fn html(text: &str, max: usize) -> String {
    let mut out = String::new();
    for c in calm(text, max).chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '@' | '#' => out.extend([c, BREAK]),
            '/' if out.ends_with(":/") => out.extend([BREAK, '/']),
            c => out.push(c),
        }
    }
    unlink(&out)
}

/// Inline text for Discord's Markdown.
#[must_use]
pub fn discord(text: &str, max: usize) -> String {
    let mut out = String::new();
    for c in calm(text, max).chars() {
        match c {
            '\\' | '`' | '*' | '_' | '[' | ']' | '(' | ')' | '|' | '~' | '<' | '>' => out.extend(['\\', c]),
            '@' | '#' => out.extend([c, BREAK]),
            '/' if out.ends_with(":/") => out.extend([BREAK, '/']),
            c => out.push(c),
        }
    }
    unlink(&out)
}

/// One line inside a code block of Discord.
#[must_use]
pub fn discord_code(text: &str, max: usize) -> String {
    let mut out = String::new();
    for c in calm(text, max).chars() {
        match c {
            '`' | '@' => out.extend([c, BREAK]),
            c => out.push(c),
        }
    }
    out
}

/// Text for a `TextRun` of an Adaptive Card, which knows no Markdown, but fills in `{{DATE(...)}}` anywhere, and mentions.
#[must_use]
pub fn card(text: &str, max: usize) -> String {
    let mut out = String::new();
    for c in calm(text, max).chars() {
        match c {
            '{' if out.ends_with('{') => out.extend([BREAK, c]),
            'a' | 'A' if out.ends_with('<') => out.extend([BREAK, c]),
            '/' if out.ends_with(":/") => out.extend([BREAK, '/']),
            c => out.push(c),
        }
    }
    unlink(&out)
}

/// Text in the alphabet of short messages (3GPP TS 23.038 §6.2.1, without its escapes, so that a character is a
/// septet), at most `max` long. What is not in it becomes `?`, or the letter that it is most like.
#[must_use]
pub fn gsm7(text: &str, max: usize) -> String {
    const KNOWN: &str = "@£$¥èéùìòÇØøÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./:;<=>?¡ÄÖÑÜ§¿äöñüà";
    let mut out = String::new();
    let mut room = max;
    for c in calm(text, usize::MAX).replace("://", ": //").chars() {
        let c = match c {
            c if c.is_ascii_alphanumeric() || KNOWN.contains(c) => c,
            '[' | '{' => '(',
            ']' | '}' => ')',
            '⏎' | '|' | '·' | '—' | '–' | '~' | '^' => '-',
            '\\' => '/',
            '`' | '‘' | '’' | '‹' | '›' => '\'',
            '“' | '”' => '"',
            _ => '?',
        };
        if room == 0 {
            break;
        }
        out.push(c);
        room -= 1;
    }
    out
}

/// Breaks `://`, so that nobody makes a link of it.
fn unscheme(chars: impl Iterator<Item = char>) -> String {
    let mut out = String::new();
    for c in chars {
        if c == '/' && out.ends_with(":/") {
            out.push(BREAK);
        }
        out.push(c);
    }
    out
}

/// A URL from the settings or made by us, for a link in Slack: `None` when it is not one that a browser opens.
#[must_use]
pub fn url(text: &str) -> Option<String> {
    const LONGEST: usize = 2_000; // browsers and Slack's link parser agree up to here
    let good = text.starts_with("https://") || text.starts_with("http://");
    if !good || text.len() > LONGEST || text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return None;
    }
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '<' => out.push_str("%3C"),
            '>' => out.push_str("%3E"),
            '|' => out.push_str("%7C"),
            '`' => out.push_str("%60"),
            '"' => out.push_str("%22"),
            '\\' => out.push_str("%5C"),
            '{' => out.push_str("%7B"),
            '}' => out.push_str("%7D"),
            c => out.push(c),
        }
    }
    Some(out)
}

/// One visible line of at most `max` characters: line breaks shown as ⏎, colours of terminals gone, other control
/// characters and those that turn the direction of writing or hide text replaced.
#[must_use]
pub fn calm(text: &str, max: usize) -> String {
    let mut out = String::new();
    let mut chars = text.trim_end_matches(['\n', '\r']).chars().peekable();
    let mut room = max;
    while let Some(c) = chars.next() {
        let shown = match c {
            '\u{1b}' if chars.peek() == Some(&'[') => {
                skip_colour(&mut chars);
                continue;
            }
            '\r' if chars.peek() == Some(&'\n') => continue,
            '\n' | '\r' | '\u{2028}' | '\u{2029}' | '\u{85}' => '⏎',
            '\t' => ' ',
            c if c.is_control() || hides(c) => '\u{fffd}',
            c => c,
        };
        if room == 0 {
            out.pop();
            out.push(CUT);
            break;
        }
        out.push(shown);
        room -= 1;
    }
    out
}

/// Skips the rest of `ESC [ parameters final` (ECMA-48 §5.4) and nothing that is not part of it.
fn skip_colour(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) {
    chars.next();
    while chars.next_if(|c| ('\u{20}'..='\u{3f}').contains(c)).is_some() {}
    chars.next_if(|c| ('\u{40}'..='\u{7e}').contains(c));
}

/// Characters that change how others look (UAX 9 direction marks) or are not seen at all (tags, zero width).
fn hides(c: char) -> bool {
    matches!(c, '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}'
        | '\u{61c}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}')
}

fn unlink(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = find_www(rest) {
        out.push_str(&rest[..at + 3]);
        out.push(BREAK);
        rest = &rest[at + 3..];
    }
    out.push_str(rest);
    out
}

fn find_www(text: &str) -> Option<usize> {
    text.as_bytes().windows(4).position(|four| four.eq_ignore_ascii_case(b"www."))
}

/// `GH-1` is a reference on GitHub, in any case.
fn ends_with_gh(text: &str) -> bool {
    text.len() >= 2 && text.as_bytes()[text.len() - 2..].eq_ignore_ascii_case(b"gh")
}

fn longest_run(text: &str, of: char) -> usize {
    let (mut longest, mut run) = (0, 0);
    for c in text.chars() {
        run = if c == of { run + 1 } else { 0 };
        longest = longest.max(run);
    }
    longest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::fixture::hostile_text as hostile;
    use proptest::prelude::*;

    #[test]
    fn nobody_is_mentioned_and_nothing_is_linked() {
        let shown = |text: &str| text.replace(BREAK, "·");
        for (text, slack, github) in [
            ("<!channel> & @here", "&lt;!channel&gt; &amp; @·here", "&lt;\\!channel&gt; &amp; @·here"),
            (
                "<@U123> <https://e.vil|click>",
                "&lt;@·U123&gt; &lt;https:/·/e.vil|click&gt;",
                "&lt;@·U123&gt; &lt;https:/·/e.vil\\|click&gt;",
            ),
            ("![x](http://e.vil/a.png)", "![x]·(http:/·/e.vil/a.png)", "\\!\\[x\\](http:/·/e.vil/a.png)"),
            ("fixes #12, GH-7, Www.evil.com", "fixes #·12, GH-7, Www·.evil.com", "fixes #·12, GH·-7, Www·.evil.com"),
            ("`rm` --> </details>", "'rm' --&gt; &lt;/details&gt;", "\\`rm\\` --&gt; &lt;/details&gt;"),
        ] {
            assert_eq!(shown(&mrkdwn(text, 100)), slack);
            assert_eq!(shown(&markdown(text, 100)), github);
        }
        assert_eq!(shown(&mrkdwn_code("``` <!here> @all", 99)), "`·`·`· &lt;!here&gt; @·all");
        assert_eq!(shown(&title("@team #1 `x`", 99)), "@·team #·1 'x'");
    }

    #[test]
    fn a_line_stays_one_calm_line() {
        assert_eq!(calm("a\r\nb\tc\u{1b}[31mred\u{1b}[0m\u{202e}x\n", 99), "a⏎b cred\u{fffd}x");
        assert_eq!(calm("\u{1b}[1;é\u{1b}[", 99), "é");
        assert_eq!(calm("abcdef", 3), "ab…");
        assert_eq!(calm("abc", 3), "abc");
    }

    #[test]
    fn a_fence_is_longer_than_what_it_holds() {
        let block = fenced("text", &["a ```` b".to_owned(), "<!-- sigyn:key=x -->".to_owned()], 99);
        assert!(block.starts_with("`````text\n") && block.ends_with("\n`````"), "{block}");
        assert!(!block.contains("<!--") && !block.contains("-->"));
    }

    #[test]
    fn only_what_a_browser_opens_is_a_link() {
        assert_eq!(url("https://a.b/c|d>e").as_deref(), Some("https://a.b/c%7Cd%3Ee"));
        for bad in ["javascript:alert(1)", "ftp://a", "https://a b", "", &format!("https://{}", "a".repeat(3000))] {
            assert_eq!(url(bad), None, "{bad}");
        }
    }

    #[test]
    fn every_markup_has_its_own_dangers() {
        let text = "<b>&\"'</b> @all #1 http://e.vil www.evil.com [x](http://y) *b* {{DATE(1)}} `c`";
        let shown = |text: String| text.replace(BREAK, "·");
        let all = [plain, html, discord, discord_code, card, gsm7].map(|escape| shown(escape(text, 200)));
        insta::assert_snapshot!(all.join("\n"), @r#"
        <b>&"'</b> @all #1 http:/·/e.vil www·.evil.com [x](http:/·/y) *b* {{DATE(1)}} `c`
        &lt;b&gt;&amp;&quot;&#39;&lt;/b&gt; @·all #·1 http:/·/e.vil www·.evil.com [x](http:/·/y) *b* {{DATE(1)}} `c`
        \<b\>&"'\</b\> @·all #·1 http:/·/e.vil www·.evil.com \[x\]\(http:/·/y\) \*b\* {{DATE\(1\)}} \`c\`
        <b>&"'</b> @·all #1 http://e.vil www.evil.com [x](http://y) *b* {{DATE(1)}} `·c`·
        <b>&"'</b> @all #1 http:/·/e.vil www·.evil.com [x](http:/·/y) *b* {·{DATE(1)}} `c`
        <b>&"'</b> @all #1 http: //e.vil www.evil.com (x)(http: //y) *b* ((DATE(1))) 'c'
        "#);
        assert_eq!(gsm7("ok ⏎ 🔴 é ł {a|b} \\ €", 99), "ok - ? é ? (a-b) / ?");
        assert_eq!(gsm7("0123456789", 4), "0123");
    }

    fn mentions(text: &str) -> bool {
        text.as_bytes().windows(2).any(|two| two[0] == b'@' && two[1].is_ascii_graphic())
    }

    proptest! {
        #[test]
        fn slack_sees_only_text(text in hostile(), max in 1usize..400) {
            let inline = mrkdwn(&text, max);
            prop_assert!(!inline.contains(['<', '>', '\n', '`']) && !inline.contains("://") && !inline.contains("]("));
            let code = mrkdwn_code(&text, max);
            prop_assert!(!code.contains(['<', '>', '\n']) && !code.contains("``"));
            prop_assert!(!mentions(&inline) && !mentions(&code));
        }

        #[test]
        fn github_sees_only_text(text in hostile(), max in 1usize..400) {
            let inline = markdown(&text, max);
            prop_assert!(!inline.contains(['<', '>', '\n']) && !inline.contains("://") && !mentions(&inline));
            let lower = inline.to_lowercase();
            prop_assert!(!lower.contains("gh-") && !lower.contains("www.") && !lower.contains("#1"));
            let mut odd = false;
            for c in inline.chars() {
                prop_assert!(odd || !matches!(c, '`' | '|' | '[' | ']' | '*'), "{inline}");
                odd = c == '\\' && !odd;
            }
            let block = fenced("text", std::slice::from_ref(&text), max);
            let fence: String = block.chars().take_while(|c| *c == '`').collect();
            let inside: Vec<&str> = block.lines().collect();
            prop_assert!(inside[1..inside.len() - 1].iter().all(|line| !line.contains(&fence)));
            prop_assert!(!block.contains("-->") && !block.contains("<!--"));
        }

        #[test]
        fn the_others_see_only_text(text in hostile(), max in 1usize..400) {
            for escape in [plain, html, discord, card] {
                let inline = escape(&text, max);
                prop_assert!(!inline.contains("://") && !inline.contains('\n'), "{inline}");
                prop_assert!(!inline.to_lowercase().contains("www."), "{inline}");
            }
            prop_assert!(!html(&text, max).contains(['<', '>', '"', '\'']));
            prop_assert!(!mentions(&html(&text, max)) && !mentions(&discord(&text, max)));
            prop_assert!(!discord_code(&text, max).contains("``"));
            prop_assert!(!card(&text, max).contains("{{"));
            let short = gsm7(&text, max);
            let known = short.chars().count() <= max && !short.contains(['\n', '[', '{', '\u{200b}']);
            prop_assert!(known);
        }

        #[test]
        fn never_longer_than_asked(text in any::<String>(), max in 1usize..50) {
            prop_assert!(calm(&text, max).chars().count() <= max);
        }
    }
}
