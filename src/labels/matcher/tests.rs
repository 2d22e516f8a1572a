use proptest::prelude::*;

use super::*;

fn one(text: &str) -> Matcher {
    let matchers = parse(text).unwrap();
    assert_eq!(matchers.len(), 1, "{text}");
    matchers.0.into_iter().next().unwrap()
}

#[test]
fn what_is_read_is_what_was_written() {
    for (text, shown) in [
        ("", "{}"),
        ("{}", "{}"),
        (" { } ", "{}"),
        ("foo=bar", r#"{foo="bar"}"#),
        (r#"foo="bar""#, r#"{foo="bar"}"#),
        (r#"{foo="bar", baz=~"x|y"}"#, r#"{foo="bar", baz=~"x|y"}"#),
        (r#"{foo!="bar",}"#, r#"{foo!="bar"}"#),
        (r#"foo !~ "a.*" ,bar="""#, r#"{foo!~"a.*", bar=""}"#),
        (r#""ein Näme"="böse🙂""#, r#"{"ein Näme"="böse🙂"}"#),
        ("näme=böse🙂", r#"{näme="böse🙂"}"#),
        (r#"foo=~"\d+\.\\d""#, r#"{foo=~"\\d+\\.\\d"}"#),
        (r#"foo="a\"b\\c\nd""#, r#"{foo="a\"b\\c\nd"}"#),
        ("service.name=cart", r#"{service.name="cart"}"#),
    ] {
        assert_eq!(parse(text).unwrap().to_string(), shown, "{text}");
    }
    assert_eq!(one(r#"foo=~"\d""#).value(), r"\d");
}

#[test]
fn what_is_wrong_has_its_place() {
    for (text, told) in [
        ("foo", "column 4: expected `=`, `!=`, `=~` or `!~`, found nothing"),
        ("foo!bar", "column 4: expected `=`, `!=`, `=~` or `!~`, found `!`"),
        ("foo=", "column 5: expected a value, found nothing"),
        ("=bar", "column 1: expected the name of a label, found `=`"),
        (r#"""="x""#, "column 1: the name of a label is empty"),
        (r#"foo="bar"#, "column 5: the quote is not closed"),
        (r#"foo="bar\"#, "column 5: the quote is not closed"),
        ("{foo=bar", "column 9: expected a comma or `}`, found nothing"),
        ("foo=bar}", "column 8: expected a comma or the end, found `}`"),
        ("{foo=bar} x", "column 11: expected the end after `}`, found `x`"),
        ("ä=b c=d", "column 5: expected a comma or the end, found `c`"),
        ("foo='bar'", "column 5: expected a value, found `'`"),
        (",foo=bar", "column 1: expected the name of a label, found `,`"),
        ("foo=bar,,", "column 9: expected the name of a label, found `,`"),
        (r#"foo=~"(""#, "column 6: no regular expression: unclosed group"),
        (r#"foo=~"a)|(?:b""#, "column 6: no regular expression: unopened group"),
        (r#"foo=~"(a{1000}){1000}""#, "column 6: the regular expression is too large; make it simpler"),
    ] {
        assert_eq!(parse(text).unwrap_err().to_string(), told, "{text}");
    }
    assert!(parse(&"a".repeat(MAX_TEXT + 1)).is_err());
    assert!(parse(&"a=b,".repeat(MAX_MATCHERS + 1)).is_err());
    assert!(parse(&format!("a=~\"{}\"", "(".repeat(5000))).is_err());
}

#[test]
fn values_are_compared_whole() {
    // Alertmanager's own table (pkg/labels/matcher_test.go), and what an absent label is.
    for (text, value, holds) in [
        ("l=bar", "bar", true),
        ("l=bar", "foo-bar", false),
        ("l!=bar", "bar", false),
        ("l!=bar", "foo-bar", true),
        ("l=~bar", "bar", true),
        ("l=~bar", "foo-bar", false),
        (r#"l=~".*bar""#, "foo-bar", true),
        ("l!~bar", "bar", false),
        ("l!~bar", "foo-bar", true),
        (r#"l!~".*bar""#, "foo-bar", false),
        (r#"l=~"foo.bar""#, "foo-bar", true),
        (r#"l=~"foo\.bar""#, "foo-bar", false),
        (r#"l=~"foo.bar""#, "foo\nbar", false),
        (r#"l=~"(?s)foo.bar""#, "foo\nbar", true),
        (r#"l=~"a|b""#, "b", true),
        (r#"l=~"a|b""#, "ab", false),
        (r#"l=~"a|""#, "", true),
        (r#"l=~"""#, "", true),
        (r#"l=~"""#, "x", false),
        (r#"l=~"(?i)cart""#, "CART", true),
        (r#"l=~"a$""#, "a\n", false),
    ] {
        assert_eq!(one(text).holds(value), holds, "{text} of {value:?}");
    }
}

#[test]
fn all_must_hold_and_absent_labels_are_empty() {
    let labels: Labels = [("team", "shop"), ("severity", "critical")].into_iter().collect();
    for (text, matches) in [
        ("", true),
        ("team=shop", true),
        ("team=shop,severity=warning", false),
        ("team=shop,env=\"\"", true),
        ("env=prod", false),
        ("env!=prod", true),
        ("env=~\".+\"", false),
        ("env!~\".+\"", true),
    ] {
        assert_eq!(parse(text).unwrap().matches(&labels), matches, "{text}");
    }
}

#[test]
fn settings_hold_lists_of_texts() {
    let read = |json: &str| serde_json::from_str::<Matchers>(json).map_err(|error| error.to_string());
    let both = parse("a=b,c=d").unwrap();
    assert_eq!(read(r#"["a=b", "c=d"]"#).unwrap(), both);
    assert_eq!(read(r#"["a=b,c=d"]"#).unwrap(), both);
    assert_eq!(read(r#""{a=b,c=d}""#).unwrap(), both);
    assert_eq!(read("null").unwrap(), Matchers::default());
    assert_eq!(serde_json::to_string(&both).unwrap(), r#"["a=\"b\"","c=\"d\""]"#);
    assert!(read(r#"["a"]"#).unwrap_err().starts_with("column 2: expected"));
}

fn matcher() -> impl Strategy<Value = Matcher> {
    let op = prop::sample::select(vec![Op::Equal, Op::NotEqual, Op::Match, Op::NotMatch]);
    let text = prop_oneof!["\\PC{1,8}", "[a-z\"\\\\ \n|.,{}=~!'`()*]{1,8}", Just("\\d+|x".to_owned())];
    let value = prop_oneof![text.clone(), Just(String::new())];
    (text, op, value).prop_filter_map("an expression", |(name, op, value)| Matcher::new(name, op, value).ok())
}

proptest! {
    #[test]
    fn what_is_shown_reads_back(matchers in prop::collection::vec(matcher(), 0..4)) {
        let matchers: Matchers = matchers.into_iter().collect();
        prop_assert_eq!(parse(&matchers.to_string()).unwrap(), matchers);
    }

    #[test]
    fn any_text_gives_an_answer(text in prop_oneof!["\\PC{0,60}", "[a-c=~!{}\",\\\\() |*+\n]{0,60}"]) {
        if let Ok(matchers) = parse(&text) {
            prop_assert_eq!(parse(&matchers.to_string()).unwrap(), matchers);
        }
    }

    #[test]
    fn what_is_no_automaton_holds_what_its_expression_holds(
        pattern in "[abä |#&~-]{0,8}|(\\.[*+])?[abä ~#-]{0,2}(\\.[*+])?", value in "[abä |\n~#-]{0,5}",
    ) {
        let quick = test(&pattern).unwrap();
        let holds = match &quick {
            Test::OneOf(words) => words.contains(&value),
            Test::Around(around) => around.holds(&value),
            Test::Same | Test::Regex(_) => return Err(TestCaseError::fail("an automaton")),
        };
        prop_assert_eq!(holds, compile(&format!("^(?:{pattern})$")).unwrap().is_match(&value));
    }
}
