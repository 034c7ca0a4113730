//! The pages in `docs/` that tell users what holds: each claim names the test that proves it, and each Rust example is
//! a doc test of the engine's crate.
//!
//! A claim ends with a footnote, and the footnote names tests and the file that they are in:
//! ``[^order]: `a_test`, `another_test` in `tests/tests/some.rs` ``.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Pages that make no claims of their own, or whose claims have a test of their own.
const OTHER_PAGES: [&str; 5] =
    ["README.md", "architecture.md", "configuration.md", "non-goals.md", "performance.md"];

#[test]
fn every_footnote_names_tests_that_are_there() {
    hold(|page| {
        let footnotes = page.footnotes();
        assert!(!footnotes.is_empty(), "{} proves nothing", page.name);
        footnotes.iter().flat_map(|footnote| wrong_proofs(footnote, read)).collect()
    });
}

#[test]
fn every_footnote_is_cited_and_every_citation_has_one() {
    hold(Page::dangling);
}

#[test]
fn every_section_cites_a_proof_or_is_an_example() {
    hold(Page::unproved_sections);
}

#[test]
fn every_rust_example_is_a_doc_test() {
    let library = read("engine/src/lib.rs").unwrap();
    hold(|page| {
        let included = library.contains(&format!("include_str!(\"../../docs/{}\")", page.name));
        let examples = page.text.lines().filter(|line| line.starts_with("```rust")).count();
        let mut wrong = Vec::new();
        if examples > 0 && !included {
            wrong.push("has Rust that no doc test compiles: include it in engine/src/lib.rs".to_owned());
        }
        wrong.extend(page.text.lines().filter(|line| line.starts_with("```rust,ignore")).map(str::to_owned));
        wrong
    });
}

#[test]
fn every_page_is_in_the_index() {
    let index = read("docs/README.md").unwrap();
    hold(|page| {
        let is_there = index.contains(&format!("({})", page.name));
        if is_there { Vec::new() } else { vec!["is not in docs/README.md".to_owned()] }
    });
}

/// A page for users.
struct Page {
    name: String,
    text: String,
}

impl Page {
    /// Lines that define a footnote.
    fn footnotes(&self) -> Vec<&str> {
        self.text.lines().filter(|line| line.starts_with("[^") && line.contains("]: ")).collect()
    }

    fn dangling(&self) -> Vec<String> {
        let defined: BTreeSet<&str> = self.footnotes().into_iter().filter_map(label).collect();
        let body = self.text.lines().filter(|line| !line.starts_with("[^"));
        let cited: BTreeSet<&str> = body
            .flat_map(|line| line.split("[^").skip(1))
            .filter_map(|rest| Some(rest.split_once(']')?.0))
            .collect();
        defined
            .symmetric_difference(&cited)
            .map(|label| format!("[^{label}] is not both cited and defined"))
            .collect()
    }

    fn unproved_sections(&self) -> Vec<String> {
        let body: String = self
            .text
            .lines()
            .filter(|line| !line.starts_with("[^"))
            .map(|line| format!("{line}\n"))
            .collect();
        let sections = body.split("\n## ").skip(1);
        let unproved = sections.filter(|section| !section.contains("[^") && !section.contains("```rust\n"));
        unproved
            .map(|section| format!("section {:?} proves nothing", section.lines().next().unwrap_or_default()))
            .collect()
    }
}

/// What a footnote names that is not there. Names come before the file that they are in.
fn wrong_proofs(footnote: &str, read: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut names: Vec<&str> = Vec::new();
    let quoted = footnote.split('`').skip(1).step_by(2);
    let mut proofs = 0;
    for quoted in quoted {
        if !quoted.ends_with(".rs") {
            names.push(quoted);
            continue;
        }
        let text = read(quoted).unwrap_or_default();
        proofs += names.len();
        wrong.extend(
            names
                .drain(..)
                .filter(|name| !has_test(&text, name))
                .map(|name| format!("{quoted} has no test {name}")),
        );
    }
    wrong.extend(names.iter().map(|name| format!("{name} is said to be in no file")));
    if proofs == 0 {
        wrong.push(format!("no proof: {footnote}"));
    }
    wrong
}

/// Whether a source has a test of this name; of tests that a macro makes, the name in the macro's list counts.
fn has_test(text: &str, name: &str) -> bool {
    let mut lines = text.lines().map(str::trim);
    let is_function =
        |line: &str| line.strip_prefix("fn ").is_some_and(|rest| rest.starts_with(&format!("{name}(")));
    let mut attributed = false;
    lines.any(|line| {
        let found = attributed && is_function(line) || line.trim_end_matches([',', ';']) == name;
        attributed = line == "#[test]" || attributed && line.starts_with("#[");
        found
    })
}

fn label(footnote: &str) -> Option<&str> {
    Some(footnote.strip_prefix("[^")?.split_once(']')?.0)
}

/// Checks every page, and fails with all that is wrong.
fn hold(check: impl Fn(&Page) -> Vec<String>) {
    let mut wrong = Vec::new();
    for entry in fs::read_dir(root().join("docs")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if !name.ends_with(".md") || OTHER_PAGES.contains(&name.as_str()) {
            continue;
        }
        let page = Page { text: fs::read_to_string(&path).unwrap(), name };
        wrong.extend(check(&page).into_iter().map(|problem| format!("docs/{}: {problem}", page.name)));
    }
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

fn read(path: &str) -> Option<String> {
    fs::read_to_string(root().join(path)).ok()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

#[test]
fn a_test_that_is_not_there_is_found() {
    let source =
        "#[test]\nfn one() {}\n#[test]\n#[cfg(unix)]\nfn two() {}\nfn three() {}\nmade! {\n    four,\n}\n";
    let wrong = |footnote: &str| wrong_proofs(footnote, |path| (path == "a.rs").then(|| source.to_owned()));
    assert!(wrong("[^x]: `one`, `two` and `four` in `a.rs`").is_empty());
    assert_eq!(wrong("[^x]: `three` in `a.rs`"), ["a.rs has no test three"]);
    assert_eq!(wrong("[^x]: `one` in `b.rs`"), ["b.rs has no test one"]);
    assert_eq!(wrong("[^x]: `one` in `a.rs`; `two`"), ["two is said to be in no file"]);
    assert_eq!(wrong("[^x]: it is so").len(), 1);
}

#[test]
fn a_section_without_proof_and_a_dangling_footnote_are_found() {
    let text = "# T\n\n## A\n\nSo.[^a]\n\n## B\n\nSo.\n\n## C\n\n```rust\n```\n\n[^b]: `t` in `a.rs`\n";
    let page = Page { name: "p.md".into(), text: text.into() };
    assert_eq!(page.unproved_sections(), ["section \"B\" proves nothing"]);
    assert_eq!(page.dangling().len(), 2);
}
