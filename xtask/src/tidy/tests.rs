//! The rules on small examples, and on this repository.

use std::collections::BTreeSet;

use super::source::{Function, Source};
use super::{Finding, findings, imports, links, rules};
use crate::process;

fn rules_broken(path: &str, text: &str) -> Vec<(usize, &'static str)> {
    let mut findings = Vec::new();
    rules::check(&Source::new(path, text), &mut findings);
    findings.into_iter().map(|Finding { line, rule, .. }| (line, rule)).collect()
}

fn borders_broken(path: &str, text: &str) -> Vec<usize> {
    let rooms: BTreeSet<String> = ["cache", "hedge"].map(str::to_owned).into();
    let mut findings = Vec::new();
    imports::check(&Source::new(path, text), &rooms, &mut findings);
    findings.into_iter().map(|finding| finding.line).collect()
}

const HEDGE: &str = "crates/engine/src/techniques/hedge/mod.rs";

#[test]
fn this_repository_keeps_its_own_rules() {
    let findings = findings(&process::root()).unwrap();
    let listed: Vec<String> = findings.iter().map(ToString::to_string).collect();
    assert!(listed.is_empty(), "\n{}", listed.join("\n"));
}

#[test]
fn a_file_says_what_it_is_for() {
    assert_eq!(rules_broken("crates/a/src/b.rs", "//! B.\nfn f() {}\n"), []);
    assert_eq!(rules_broken("crates/a/src/b.rs", "// B.\nfn f() {}\n"), [(1, "opening")]);
}

#[test]
fn a_file_is_at_most_600_lines_unless_it_is_a_table() {
    let long = format!("//! Long.\n{}", "const X: u8 = 0;\n".repeat(600));
    assert_eq!(rules_broken("crates/a/src/b.rs", &long), [(601, "file-length")]);
    assert_eq!(rules_broken("crates/a/src/b.rs", &long.replacen("Long.", "tidy: table of X.", 1)), []);
    assert_eq!(rules_broken("docs/long.md", &long), []);
}

#[test]
fn a_function_is_at_most_70_lines() {
    let function =
        |lines: usize| format!("//! F.\npub async fn f() {{\n{}}}\n", "    g();\n".repeat(lines - 2));
    assert_eq!(rules_broken("crates/a/src/b.rs", &function(70)), []);
    assert_eq!(rules_broken("crates/a/src/b.rs", &function(71)), [(2, "function-length")]);
}

#[test]
fn braces_in_literals_and_comments_do_not_end_a_function() {
    let text = "//! F.\nfn f() {\n  let a = \"}\"; // }\n  let b = '}'; let c = r#\"}\"#; /* } /* } */ */\n  let d = '\\'';\n}\nfn g();\n";
    let found = Source::new("crates/a/src/b.rs", text).functions();
    assert_eq!(found, [Function { name: "f".into(), line: 2, lines: 5 }]);
}

#[test]
fn lifetimes_and_raw_names_are_not_literals() {
    let text = "fn f<'a>(x: &'a str, r#type: u8) -> &'a str {\n  x\n}\n";
    assert_eq!(Source::new("a.rs", text).code, text);
}

#[test]
fn names_say_what_is_inside() {
    for name in ["util", "helpers", "manager", "common", "misc"] {
        assert_eq!(rules_broken(&format!("crates/a/src/{name}.rs"), "//! N.\n"), [(1, "name")]);
        assert_eq!(rules_broken(&format!("crates/a/src/{name}/b.rs"), "//! N.\n"), [(1, "name")]);
    }
    assert_eq!(rules_broken("crates/a/src/utilisation.rs", "//! N.\n"), []);
}

#[test]
fn work_left_for_later_is_found_in_code_and_not_in_prose() {
    let text = "//! todo!()\nfn f() {\n    todo!();\n    my_dbg!(1);\n}\n#[ignore = \"slow\"]\nfn g() {}\n";
    assert_eq!(rules_broken("crates/a/src/b.rs", text), [(3, "unfinished"), (6, "unfinished")]);
}

#[test]
fn tests_do_not_sleep_and_services_may() {
    let text = "//! S.\nfn f() { tokio::time::sleep(d); }\n#[cfg(test)]\nmod tests { fn g() { thread::sleep(d); } }\n";
    assert_eq!(rules_broken("crates/a/src/b.rs", text), [(4, "sleep")]);
    assert_eq!(rules_broken("crates/a/tests/b.rs", text), [(2, "sleep"), (4, "sleep")]);
}

#[test]
fn only_the_clock_reads_the_clock() {
    let text = "//! C.\nfn f() { std::time::Instant::now(); }\n";
    assert_eq!(rules_broken("crates/engine/src/server/accept.rs", text), [(2, "clock")]);
    assert_eq!(rules_broken("crates/engine/src/clock.rs", text), []);
    assert_eq!(rules_broken("crates/lab/src/timer.rs", text), []);
}

#[test]
fn places_of_one_machine_are_found_where_a_path_begins() {
    let path = concat!("/ro", "ot/x");
    assert_eq!(rules_broken("docs/a.md", &format!("see {path}\n")), [(1, "elsewhere")]);
    assert_eq!(rules_broken("docs/a.md", &format!("GET shop.example{path}\n")), []);
}

#[test]
fn a_line_ends_where_its_text_ends() {
    assert_eq!(rules_broken("docs/a.md", "one \ntwo\n"), [(1, "trailing-space")]);
}

#[test]
fn the_readme_fits_on_a_screen() {
    assert_eq!(rules_broken("README.md", &"line\n".repeat(60)), []);
    assert_eq!(rules_broken("README.md", &"line\n".repeat(61)), [(61, "readme")]);
}

#[test]
fn a_technique_knows_no_other_and_neither_server_nor_upstream() {
    let text = "use crate::{exchange::Exchange, techniques::{cache::Key, hedge::Policy}};\n\
                use crate::server;\n\
                fn f() { crate::upstream::connect(); super::cache::look_up(); self::policy::due(); }\n\
                use super::hedge::Other;\n";
    assert_eq!(borders_broken(HEDGE, text), [1, 2, 3, 3]);
    assert_eq!(borders_broken("crates/engine/src/pipeline.rs", text), []);
}

#[test]
fn a_technique_knows_its_own_files() {
    let text = "use super::Hedge;\nuse super::super::hedge::policy;\nuse crate::techniques::hedge::*;\nuse http::server;\n";
    assert_eq!(borders_broken("crates/engine/src/techniques/hedge/policy.rs", text), []);
}

#[test]
fn rooms_are_what_stands_below_techniques() {
    let paths = ["mod.rs", "hedge/mod.rs", "hedge/policy.rs", "rate.rs"];
    let paths = paths.map(|path| format!("crates/engine/src/techniques/{path}"));
    assert_eq!(imports::rooms(&paths).into_iter().collect::<Vec<_>>(), ["hedge", "rate"]);
}

#[test]
fn links_lead_somewhere() {
    let text =
        "[a](there.md) [b](gone.md#part) [c](https://a.example/x) [d](#here)\n```\n[e](gone.md)\n```\n";
    let mut findings = Vec::new();
    links::check(&Source::new("docs/a.md", text), &|file| file == "there.md", &mut findings);
    assert_eq!(findings.iter().map(|finding| finding.line).collect::<Vec<_>>(), [1]);
}
