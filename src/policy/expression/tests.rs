use std::{collections::BTreeMap, sync::Arc};

use proptest::prelude::*;
use serde_json::json;

use super::{Asks, CallFacts, Expression, Facts, Failed, Mistake};
use crate::{
    identity::{Caller, Method},
    policy::Call,
};

const GUARDS: [&str; 2] = ["default", "large"];

fn call() -> CallFacts {
    let serde_json::Value::Object(claims) = json!({
        "role": "nurse", "level": 3, "ratio": 0.5, "admin": true, "groups": ["a", "b"], "org": { "name": "clinic" }, "none": null,
    }) else {
        panic!("an object");
    };
    CallFacts::new(Arc::new(Call {
        route: "/team-a".to_owned(),
        upstream: "azure".to_owned(),
        dialect: "openai_chat",
        model: "gpt-4o".to_owned(),
        others: vec!["mini".to_owned()],
        stream: true,
        headers: BTreeMap::from(
            [("x-team", "support"), ("accept", "*/*")].map(|(name, value)| (name.to_owned(), value.to_owned())),
        ),
        caller: Caller {
            method: Some(Method::Key),
            tenant: Some("support".to_owned()),
            key: Some("ci".to_owned()),
            subject: None,
            claims,
        },
        ..Call::default()
    }))
}

fn ask(source: &str) -> Result<bool, Failed> {
    let call = call();
    let facts = Facts {
        score: Some(0.75),
        threshold: Some(0.5),
        scores: &[("default".into(), 0.75), ("large".into(), 0.25)],
        findings: &["payment_card", "secret.aws"],
        language: "th",
        target: "prompt",
        direction: "request",
        call: &call,
    };
    compile(source).unwrap_or_else(|mistake| panic!("{source}: {mistake}")).holds(&facts)
}

fn compile(source: &str) -> Result<Expression, Mistake> {
    Expression::compile(source, &GUARDS)
}

#[test]
fn good_conditions_have_these_answers() {
    let table: &[(&str, bool)] = &[
        ("true", true),
        ("score > 0.5 && language == \"th\" && identity.tenant != \"red-team\"", true),
        ("score >= threshold", true),
        ("score > 1", false),
        ("1 == 1.0 && 2u > 1", true),
        ("!(score < 0.5) || false", true),
        ("language == 'th' ? score > 0.7 : score > 0.9", true),
        ("(scores.default + scores[\"large\"]) / 2.0 == 0.5", true),
        ("score - threshold * 2.0 < -0.2", true),
        ("-score < 0", true),
        ("scores.large > threshold", false),
        ("\"payment_card\" in findings", true),
        ("\"email\" in findings", false),
        ("size(findings) == 2 && findings.size() > 1", true),
        ("findings.exists(f, f.startsWith(\"secret.\"))", true),
        ("findings.all(f, f.startsWith(\"secret.\"))", false),
        ("findings.exists_one(f, f.endsWith(\"card\"))", true),
        ("findings.filter(f, f.contains(\"secret\")).size() == 1", true),
        ("\"yes\" in findings.map(f, f == \"secret.aws\" ? \"yes\" : \"no\")", true),
        ("findings.map(f, f != \"x\", size(f)) == [12, 10]", true),
        ("findings == [\"payment_card\", \"secret.aws\"]", true),
        ("[\"a\", \"b\"].exists(a, findings.exists(b, a == b))", false),
        ("[].exists(x, true)", false),
        ("size(\"ñandú\") == 5", true),
        ("target in [\"prompt\", \"system\"] && direction == \"request\"", true),
        ("request.model.matches(\"^gpt-[0-9]\") && matches(request.model, 'o$')", true),
        ("request.model.startsWith(\"claude\")", false),
        ("\"mini\" in request.models && request.models.exists(model, model == request.model)", true),
        ("request.models.all(model, model.startsWith(\"gpt-\"))", false),
        ("request.route == \"/team-a\" && request.upstream == \"azure\" && request.dialect == \"openai_chat\"", true),
        ("request[\"stream\"] && request.stream == true", true),
        ("request.headers[\"x-team\"] == \"support\" && request.headers.accept == \"*/*\"", true),
        ("request.headers[\"x-none\"] == \"\"", true),
        ("has(request.headers.accept) && !has(request.headers.none)", true),
        ("\"x-team\" in request.headers && !(\"x-none\" in request.headers)", true),
        ("request.headers.exists(name, name.startsWith(\"x-\") && request.headers[name] == \"support\")", true),
        ("request.headers[language] == \"\" && size(request.headers) == 2", true),
        ("identity.method == \"key\" && identity.key == \"ci\" && identity.subject == \"\"", true),
        ("identity.claims.role == \"nurse\" && identity.claims[\"level\"] > 2 && identity.claims.admin", true),
        ("has(identity.claims.role) && !has(identity.claims.nothing)", true),
        ("has(identity.claims.org) && has(identity.claims.org.name) && identity.claims.org.name == \"clinic\"", true),
        ("\"a\" in identity.claims.groups && identity.claims.groups.exists(g, g == \"b\")", true),
        ("identity.claims.groups[1] == \"b\" && identity.claims.none == null", true),
        ("double(identity.claims.ratio) * 2.0 == 1.0 && string(identity.claims.level) == \"3\"", true),
        ("int(identity.claims.level) == 3 && bool(identity.claims.admin) && double(size(findings)) / 2.0 == 1.0", true),
        // A side that fails does not matter where the other side decides.
        ("identity.claims.nothing == 1 || score > 0.5", true),
        ("identity.claims.nothing == 1 && score < 0.5", false),
        // A macro's variable hides one of the same name.
        ("[\"x\"].exists(score, score == \"x\") && score > 0.5", true),
        ("identity.claims.groups.exists(request, request == \"a\")", true),
    ];
    for (source, answer) in table {
        assert_eq!(ask(source), Ok(*answer), "{source}");
    }
}

/// Each with the part that is shown to be wrong.
#[test]
fn bad_conditions_are_refused_with_their_place() {
    let table: &[(&str, &str, &str)] = &[
        ("", "", "this is not CEL: mismatched input '<EOF>' expecting expression"),
        ("score >", "", "this is not CEL: mismatched input '<EOF>' expecting expression"),
        ("score >> 1", ">", "this is not CEL: unexpected token"),
        ("score\n  > $", "$", "this is not CEL: unexpected character"),
        ("scor > 0.5", "scor", "there is no variable `scor`; did you mean `score`?"),
        ("true && request.modle == \"x\"", "request.modle", "there is no `request.modle`; did you mean `model`?"),
        ("identity[\"tenent\"] == \"x\"", "identity[\"tenent\"]", "there is no `identity.tenent`; did you mean `tenant`?"),
        ("scores.lrge > 0.5", "scores.lrge", "there is no guard `lrge`; did you mean `large`?"),
        ("scores[language] > 0.5", "language", "`scores` is asked by a name that is written out"),
        ("scores.all(s, true)", "scores", "`scores` is asked by field: `scores.default`, `scores.large`"),
        ("has(scores.large)", "scores.large", "`has` asks for headers and claims; `scores` is always whole"),
        ("score > \"x\"", "score > \"x\"", "`>` cannot compare a `double` with a `string`"),
        ("language == \"é\" || true == 1", "true == 1", "`==` cannot compare a `bool` with a `int`"),
        ("true < false", "true < false", "`<` cannot compare a `bool` with a `bool`"),
        ("findings == [1]", "findings == [1]", "`==` cannot compare a `list(string)` with a `list(int)`"),
        ("score", "score", "a condition is a `bool`, and this is a `double`"),
        ("score && true", "score", "`&&` takes a `bool`, not a `double`"),
        ("!language", "language", "`!` takes a `bool`, not a `string`"),
        ("score ? true : false", "score", "`?` takes a `bool`, not a `double`"),
        ("(true ? 1 : \"a\") == 1", "true ? 1 : \"a\"", "both sides of `:` are of one type, not `int` and `string`"),
        ("score + 1 > 0.5", "1", "`+` takes a `double`, not an `int`: write 1.0, or `double(…)`"),
        ("language + \"x\" == \"thx\"", "language", "`+` takes a `double`, not a `string`"),
        ("identity.claims.level * 2.0 > 1", "identity.claims.level", "`*` takes a `double`, not a `dyn`: write `double(…)`"),
        ("score / threshold > 1", "threshold", "`/` divides by a number that is written out and is not 0"),
        ("score / 0.0 > 1", "0.0", "`/` divides by a number that is written out and is not 0"),
        ("score % 2.0 > 1", "score % 2.0", "there is no `%`; arithmetic is in doubles"),
        ("language.contain(\"t\")", "language.contain(\"t\")", "there is no function `contain`; did you mean `contains`?"),
        (
            "language.startswith(\"t\")",
            "language.startswith(\"t\")",
            "there is no function `startswith`; did you mean `startsWith`?",
        ),
        (
            "language.contains(\"t\", \"h\")",
            "language.contains(\"t\", \"h\")",
            "`contains` takes one string: `language.contains(\"…\")`",
        ),
        ("size(findings, 1) > 0", "size(findings, 1)", "`size` takes one value: `size(…)`"),
        ("score.contains(\"t\")", "score", "`contains` takes a `string`, not a `double`"),
        ("language.matches(\"(\")", "\"(\"", "the pattern does not compile: unclosed group"),
        ("language.matches(target)", "target", "`matches` takes a pattern that is written out, so that it is compiled once"),
        ("size(score) > 0", "score", "a `double` has no size"),
        ("int(language) > 0", "language", "`int` takes `int` or a claim, not a `string`"),
        ("\"card\" in language", "\"card\" in language", "`in` looks into lists and maps; of a string, ask `contains`"),
        ("1 in findings", "1 in findings", "`in` cannot find a `int` in a `list(string)`"),
        ("findings[0] == \"a\"", "findings[0]", "a list may be too short to have that item; ask with `in`, `exists` or `size`"),
        ("language.th == \"a\"", "language.th", "a `string` has no fields"),
        ("[1, \"a\"] == [1]", "\"a\"", "the items of a list are of one type, not `int` and `string`"),
        ("{\"a\": 1}.a == 1", "{\"a\": 1", "a condition has no maps of its own; compare with `==` and `||`"),
        ("language == b\"th\"", "b\"th\"", "a condition has no bytes; write a string"),
        ("request.headers[\"X-Team\"] == \"a\"", "\"X-Team\"", "names of headers are in lower case: `x-team`"),
        ("\"X-Team\" in request.headers", "\"X-Team\"", "names of headers are in lower case: `x-team`"),
        ("request.headers.Accept == \"a\"", "request.headers.Accept", "names of headers are in lower case: `accept`"),
        (
            "request == request",
            "request",
            "`request` is asked by field: `request.dialect`, `request.model`, `request.route`, `request.upstream`, `request.stream`, `request.headers`, `request.models`",
        ),
        ("findings.exists(f, fo == \"a\")", "fo", "there is no variable `fo`; did you mean `f`?"),
        ("findings.exists(f, f)", "f", "`||` takes a `bool`, not a `string`"),
        (
            "findings.exists(f)",
            "findings.exists(f)",
            "`exists` takes a variable and what is asked of it: `findings.exists(name, …)`",
        ),
        ("language.exists(c, true)", "language", "a `string` has no items to go through"),
        (
            "findings.map(f, f).exists(f, true)",
            "findings.map(f, f)",
            "what a macro made cannot be gone through again; put both conditions into one macro",
        ),
    ];
    for (source, part, message) in table {
        let mistake = compile(source).expect_err(source);
        assert_eq!(mistake.message, *message, "{source}");
        assert_eq!(mistake.at.map(|at| &source[at]), Some(*part), "{source}");
    }
}

#[test]
fn what_is_not_asked_for_need_not_be_found_out() {
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let asks = |source| compile(source).unwrap().asks().clone();
    assert_eq!(asks("language == \"th\" && identity.claims.admin"), Asks::default());
    assert_eq!(asks("score > 0.5"), Asks { score: true, ..Asks::default() });
    assert_eq!(asks("threshold > 0.5"), Asks { score: true, ..Asks::default() });
    assert_eq!(asks("scores.large > 0.5"), Asks { guards: names(&["large"]), ..Asks::default() });
    assert_eq!(asks("\"email\" in findings"), Asks { findings: true, ..Asks::default() });
    let headers = "request.headers.a == request.headers[\"b\"] && has(request.headers.c) && \"d\" in request.headers";
    assert_eq!(asks(headers), Asks { headers: names(&["a", "b", "c", "d"]), ..Asks::default() });
    for every in ["request.headers[language] == \"\"", "size(request.headers) > 2", "request.headers.all(h, h == \"a\")"] {
        assert_eq!(asks(every), Asks { every_header: true, ..Asks::default() }, "{every}");
    }
    assert_eq!(asks("findings.exists(score, score == \"a\")"), Asks { findings: true, ..Asks::default() });
}

#[test]
fn claims_alone_make_a_condition_fail() {
    for source in [
        "identity.claims.nothing == 1",
        "identity.claims.role",
        "identity.claims.role > 1",
        "identity.claims.role.startsWith(identity.claims.level)",
        "identity.claims.level.matches(\"3\")",
        "int(identity.claims.role) == 3",
        "identity.claims.groups[7] == \"a\"",
        "request.headers[identity.claims.level] == \"a\"",
        "has(identity.claims.nothing.more)",
        "size(identity.claims.level) > 1",
        "identity.claims.level.exists(l, true)",
    ] {
        assert!(ask(source).is_err(), "{source}");
    }
    let told = ask("identity.claims.nothing == 1").unwrap_err().to_string();
    assert_eq!(told, "it asks for a claim that is not there, or is of another type", "and no claim's value");
    assert_eq!(ask("identity.claims.role").unwrap_err(), Failed::NotBool("string".to_owned()));
}

#[test]
fn a_score_that_nobody_has_fails() {
    let call = call();
    let facts = Facts {
        score: None,
        threshold: None,
        scores: &[],
        findings: &[],
        language: "",
        target: "prompt",
        direction: "request",
        call: &call,
    };
    assert!(compile("score > 0.5").unwrap().holds(&facts).is_err());
    assert!(compile("scores.large > 0.5").unwrap().holds(&facts).is_err());
    assert_eq!(compile("findings.exists(f, true) || language != \"\"").unwrap().holds(&facts), Ok(false));
}

#[test]
fn conditions_are_limited() {
    let message = |source: &str| compile(source).expect_err("too much").message;
    assert!(message(&format!("true{}", " ".repeat(super::MAX_SOURCE))).contains("bytes; 4096 are allowed"));
    assert!(message(&format!("{}true{}", "[".repeat(2000), "]".repeat(2000))).contains("recursion limit exceeded: 48"));
    assert!(message(&format!("{}scor{}", "(".repeat(2000), ")".repeat(2000))).contains("no variable `scor`"));
    assert!(message(&format!("score{} > 1.0", " + 1.0".repeat(60))).contains("nests deeper than 48 levels"));
    let nested = "request.headers.all(a, request.headers.all(b, request.headers.all(c, a == b || b == c)))";
    assert!(message(nested).contains("may take more than 4096 steps"));
    assert!(message(&format!("language.matches(\"{}\")", r"(\\pL{1,500}){1,500}")).contains("size limit"));
    let names = (0..500).map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ");
    assert_eq!(ask(&format!("identity.tenant in [{names}]")), Ok(false));
    assert!(message(&format!("findings.exists(f, f in [{names}])")).contains("may take more than 4096 steps"));
}

/// The longest chains that fit, each with a mistake at its end, so that both parsers walk them.
#[test]
fn no_chain_is_long_enough_to_end_the_stack() {
    for (start, link) in [
        ("1", "+1"),
        ("a", ".a"),
        ("1", "<1"),
        ("a", "&&a"),
        ("a", "||a"),
        ("a", "[a]"),
        ("a", "?a:a"),
        ("", "!"),
        ("", "-"),
        ("a", ".a()"),
        ("", "("),
        ("", "["),
        ("", "a("),
        ("", "{a:"),
        ("a", ".map(a,a)"),
    ] {
        let room = super::MAX_SOURCE - 10;
        for source in
            [format!("{start}{}", link.repeat(room / link.len())), format!("{start}{} a", link.repeat(room / link.len()))]
        {
            assert!(compile(&source).is_err(), "{link}");
        }
    }
}

/// A condition of one type that is well typed, and that asks for no claim.
fn well_typed() -> impl Strategy<Value = String> {
    let word = prop::sample::select(vec!["th", "", "payment_card", "secret.aws", "x-team", "é\u{0e01}"]);
    let quoted = word.prop_map(|word| format!("{word:?}"));
    let number = prop_oneof![
        prop::sample::select(vec!["score", "threshold", "scores.large", "scores[\"default\"]", "0.5", "-2.25"])
            .prop_map(str::to_owned),
    ]
    .prop_recursive(3, 8, 2, |inner| {
        prop_oneof![
            (inner.clone(), prop::sample::select(vec!["+", "-", "*"]), inner.clone())
                .prop_map(|(a, sign, b)| format!("({a} {sign} {b})")),
            inner.clone().prop_map(|a| format!("({a} / 3.0)")),
            inner.prop_map(|a| format!("double({a})")),
        ]
    });
    let string = prop_oneof![
        quoted.clone(),
        prop::sample::select(vec![
            "language",
            "target",
            "direction",
            "request.model",
            "request.headers.accept",
            "request.headers[\"x-none\"]",
            "request.headers[language]",
            "identity.tenant",
            "identity.subject",
            "string(score)",
            "string(1)",
        ])
        .prop_map(str::to_owned),
    ];
    let list = prop_oneof![
        Just("findings".to_owned()),
        prop::collection::vec(string.clone(), 0..4).prop_map(|items| format!("[{}]", items.join(", "))),
    ];
    let whole = prop_oneof![
        (-3i32..4).prop_map(|number| number.to_string()),
        list.clone().prop_map(|list| format!("size({list})")),
        string.clone().prop_map(|text| format!("{text}.size()")),
        Just("size(request.headers)".to_owned()),
    ];
    let order = prop::sample::select(vec!["==", "!=", "<", "<=", ">", ">="]);
    let any_number = prop_oneof![number, whole];
    let plain = prop_oneof![
        Just("request.stream".to_owned()),
        Just("has(request.headers.accept)".to_owned()),
        (any_number.clone(), order.clone(), any_number).prop_map(|(a, sign, b)| format!("{a} {sign} {b}")),
        (string.clone(), order, string.clone()).prop_map(|(a, sign, b)| format!("{a} {sign} {b}")),
        (string.clone(), prop::sample::select(vec!["contains", "startsWith", "endsWith"]), string.clone())
            .prop_map(|(a, name, b)| format!("{a}.{name}({b})")),
        string.clone().prop_map(|text| format!("{text}.matches(\"^[a-z]+$\")")),
        (string, prop_oneof![list.clone(), Just("request.headers".to_owned())])
            .prop_map(|(text, list)| format!("{text} in {list}")),
    ];
    plain.prop_recursive(4, 24, 3, move |inner| {
        let macros = prop::sample::select(vec!["exists", "all", "exists_one"]);
        prop_oneof![
            (inner.clone(), prop::sample::select(vec!["&&", "||", "==", "!="]), inner.clone())
                .prop_map(|(a, sign, b)| format!("({a}) {sign} ({b})")),
            inner.clone().prop_map(|a| format!("!({a})")),
            (inner.clone(), inner.clone(), inner.clone()).prop_map(|(a, b, c)| format!("(({a}) ? ({b}) : ({c}))")),
            (list.clone(), macros, inner.clone())
                .prop_map(|(list, name, a)| format!("{list}.{name}(v, ({a}) || v == language)")),
            (list.clone(), inner).prop_map(|(list, a)| format!("size({list}.filter(v, {a}).map(v, v)) > 1")),
        ]
    })
}

proptest! {
    #[test]
    fn no_text_makes_compiling_panic(source in "\\PC*") {
        drop(compile(&source));
    }

    #[test]
    fn no_text_like_cel_makes_compiling_panic(source in "([a-z]{1,3}|score|findings|request|[.()\\[\\]{}\"'?:<>=!&|+*/%, -]|in|exists|has|[0-9]|é|\\\\)*") {
        if let Err(Mistake { at: Some(at), .. }) = compile(&source) {
            prop_assert!(source.get(at).is_some());
        }
    }

    #[test]
    fn what_checks_has_an_answer(source in well_typed()) {
        match compile(&source) {
            Ok(_) => prop_assert!(ask(&source).is_ok(), "{source}: {:?}", ask(&source)),
            // The grammar knows no limits, and goes through what macros made.
            Err(mistake) => prop_assert!(
                ["steps", "deeper", "again"].iter().any(|limit| mistake.message.contains(limit)),
                "{source}: {mistake}"
            ),
        }
    }

    #[test]
    fn a_mistake_deep_inside_is_found_in_its_place(source in well_typed()) {
        let prefix = format!("({source}) && ");
        if compile(&source).is_ok() {
            let mistake = compile(&format!("{prefix}scroe > 1")).unwrap_err();
            prop_assert_eq!(mistake.at, Some(prefix.len()..prefix.len() + 5));
        }
    }
}
