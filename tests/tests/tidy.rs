//! Rules of style that a machine can check, over all files that git tracks.
#![allow(clippy::print_stderr, reason = "a skipped test says so")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

const COLUMNS_MAX: usize = 120;
const RUST_LINES_MAX: usize = 700;

/// Files that may be longer than [`RUST_LINES_MAX`].
const LONG_FILES: [&str; 0] = [];

/// Files that may hold `unsafe`: leaves that the rest builds on, and tests that need the system's help.
const UNSAFE_FILES: [&str; 21] = [
    "bench/src/contract/process.rs",
    "bench/src/peers/rdkafka.rs",
    "cli/src/process.rs",
    "cli/tests/cli/common.rs",
    "engine/src/caller/loan.rs",
    "engine/src/driver/cpu_time.rs",
    "engine/src/driver/ring.rs",
    "engine/src/driver/ring/gather.rs",
    "engine/src/driver/poll.rs",
    "engine/src/memory/block.rs",
    "engine/src/memory/frame.rs",
    "engine/src/memory/shared.rs",
    "fuzz/src/memory.rs",
    "protocol/src/record/codec/inflate.rs",
    "protocol/tests/no_allocation.rs",
    "tests/src/kafka/process.rs",
    "tests/src/seccomp.rs",
    "tests/tests/no_allocation.rs",
    "tuning/src/process.rs",
    "tuning/src/ring.rs",
    "tuning/tests/seccomp.rs",
];

// The needles are put together, so that this file does not hold them.

/// Folders of one machine.
const MACHINE_PATHS: [&str; 3] = [concat!("/", "work"), concat!("/", "root"), concat!("/", "home")];
/// Where packages come from is for each machine's own settings.
const REGISTRY_HOSTS: [&str; 7] = [
    concat!("index.", "crates.io"),
    concat!("static.", "crates.io"),
    concat!("repo1.", "maven.org"),
    concat!("repo.", "maven.apache.org"),
    concat!("py", "pi.org"),
    concat!("registry.", "npmjs.org"),
    concat!("proxy.", "golang.org"),
];
const UNFINISHED: [&str; 3] = [concat!("todo", "!("), concat!("unimplemented", "!("), concat!("dbg", "!(")];
const IGNORED: &str = concat!("#[", "ignore]");
const UNSAFE: [&str; 3] = [concat!("unsafe", " {"), concat!("unsafe", " fn"), concat!("unsafe", " impl")];

#[test]
fn rust_lines_fit_the_width() {
    hold(&rust(), lines_too_wide);
}

#[test]
fn rust_files_are_short_enough_to_hold_one_idea() {
    hold(&rust(), too_many_lines);
}

#[test]
fn rust_files_say_first_what_they_are_for() {
    hold(&rust(), no_first_doc_line);
}

#[test]
fn nothing_is_left_unfinished() {
    hold(&rust(), |file| found(file, |line| UNFINISHED.iter().any(|needle| line.contains(needle))));
}

#[test]
fn ignored_tests_say_why() {
    hold(&rust(), |file| found(file, |line| line.trim() == IGNORED));
}

#[test]
fn unsafe_stays_in_the_leaves() {
    let outside: Vec<_> = rust().into_iter().filter(|file| !UNSAFE_FILES.contains(&&*file.path)).collect();
    hold(&outside, |file| found(file, |line| UNSAFE.iter().any(|needle| code(line).contains(needle))));
}

#[test]
fn no_file_knows_the_folders_of_one_machine() {
    hold(&tracked(|_| true), |file| found(file, names_a_machine_path));
}

#[test]
fn no_file_but_a_lock_file_names_a_registry() {
    let files = tracked(|path| !path.ends_with(".lock"));
    hold(&files, |file| found(file, |line| REGISTRY_HOSTS.iter().any(|host| line.contains(host))));
}

#[test]
fn lines_have_no_trailing_space_and_files_end_with_a_line() {
    // Inputs of fuzz targets are bytes, even where they happen to be text.
    let is_written = |path: &str| {
        path != "LICENSE" && !path.starts_with("fuzz/seeds/") && !path.starts_with("fuzz/regressions/")
    };
    hold(&tracked(is_written), untidy_ends);
}

#[test]
fn links_between_pages_lead_somewhere() {
    hold(&markdown(), |page| broken_links(page, |path| root().join(path).exists()));
}

#[test]
fn files_that_pages_name_exist() {
    hold(&markdown(), |page| missing_files(page, |path| root().join(path).exists()));
}

#[test]
fn the_file_map_names_every_folder_of_code_and_every_file_at_the_top_of_the_engine() {
    let pages = markdown();
    let Some(map) = pages.iter().find(|page| page.path == "docs/architecture.md") else { return };
    let folders: BTreeSet<String> = rust()
        .iter()
        .filter_map(|file| Path::new(&file.path).parent())
        .filter_map(|folder| folder.to_str())
        .filter(|folder| folder.contains("/src/") && !folder.contains("/tests") && !folder.contains("/bin"))
        .map(str::to_owned)
        .collect();
    let is_missing = |folder: &&String| {
        let name = folder.rsplit('/').next().unwrap_or(folder);
        !map.text.contains(&format!("{name}/"))
    };
    let missing: Vec<_> = folders.iter().filter(is_missing).collect();
    assert!(missing.is_empty(), "docs/architecture.md does not name {missing:?}");
    for file in rust() {
        let Some(name) = file.path.strip_prefix("engine/src/").filter(|name| !name.contains('/')) else {
            continue;
        };
        let is_named = name == "lib.rs" || map.text.contains(&format!("  {name} "));
        assert!(is_named, "docs/architecture.md does not name {}", file.path);
    }
}

#[test]
fn decisions_are_numbered_without_gaps_and_titled_so() {
    let pages = tracked(|path| path.starts_with("docs/adr/"));
    for (index, page) in pages.iter().enumerate() {
        let number = format!("{:04}", index + 1);
        let name = page.path.trim_start_matches("docs/adr/");
        assert!(name.starts_with(&format!("{number}-")), "{name} should be decision {number}");
        assert!(page.text.starts_with(&format!("# {number}: ")), "{name} should begin with `# {number}: `");
    }
}

/// A text file in the repository.
struct TrackedFile {
    /// From the repository's root.
    path: String,
    text: String,
}

/// What is wrong with a file: the line from 1, and what.
type Finding = (usize, String);

fn hold(files: &[TrackedFile], rule: impl Fn(&TrackedFile) -> Vec<Finding>) {
    let findings: Vec<String> = files
        .iter()
        .flat_map(|file| rule(file).into_iter().map(|(line, what)| format!("{}:{line}: {what}", file.path)))
        .collect();
    assert!(findings.is_empty(), "\n{}\n", findings.join("\n"));
}

fn rust() -> Vec<TrackedFile> {
    tracked(|path| path.ends_with(".rs"))
}

fn markdown() -> Vec<TrackedFile> {
    tracked(|path| path.ends_with(".md"))
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The text files that git tracks, by path. None outside of a git checkout, which is a failure only where `CI` is set.
fn tracked(is_wanted: impl Fn(&str) -> bool) -> Vec<TrackedFile> {
    let listed = Command::new("git").args(["ls-files", "-z"]).current_dir(root()).output();
    let Some(output) = listed.ok().filter(|output| output.status.success()) else {
        assert!(env::var_os("CI").is_none(), "this is no git checkout, or git is missing");
        eprintln!("skipped: this is no git checkout, or git is missing");
        return Vec::new();
    };
    String::from_utf8(output.stdout)
        .expect("file names are UTF-8")
        .split_terminator('\0')
        .filter(|path| is_wanted(path))
        // One that is removed and not yet committed, or is not text, has no lines.
        .filter_map(|path| {
            let text = fs::read_to_string(root().join(path)).ok()?;
            Some(TrackedFile { path: path.to_owned(), text })
        })
        .collect()
}

fn found(file: &TrackedFile, is_wrong: impl Fn(&str) -> bool) -> Vec<Finding> {
    let lines = file.text.lines().enumerate();
    lines
        .filter(|(_, line)| is_wrong(line))
        .map(|(index, line)| (index + 1, line.trim().to_owned()))
        .collect()
}

/// A message to people may be wider: in one piece it can be searched for.
fn lines_too_wide(file: &TrackedFile) -> Vec<Finding> {
    let is_message = |line: &str| line.trim_start().trim_start_matches("#[error(").starts_with('"');
    found(file, |line| line.chars().count() > COLUMNS_MAX && !is_message(line))
}

fn too_many_lines(file: &TrackedFile) -> Vec<Finding> {
    let lines = file.text.lines().count();
    let is_too_long = lines > RUST_LINES_MAX && !LONG_FILES.contains(&&*file.path);
    is_too_long.then(|| (lines, format!("more than {RUST_LINES_MAX} lines"))).into_iter().collect()
}

fn no_first_doc_line(file: &TrackedFile) -> Vec<Finding> {
    let has_one = file.text.starts_with("//! ");
    (!has_one).then(|| (1, "no `//!` line that says what the file is for".to_owned())).into_iter().collect()
}

/// The line without its comment.
fn code(line: &str) -> &str {
    line.split_once("//").map_or(line, |(code, _)| code)
}

/// Whether an absolute path of a machine begins somewhere in the line. In `tests/work` it does not.
fn names_a_machine_path(line: &str) -> bool {
    MACHINE_PATHS.iter().any(|needle| {
        line.match_indices(needle).any(|(at, _)| {
            let is_part = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '}' | '*');
            let begins = !line[..at].chars().next_back().is_some_and(is_part);
            let ends = !line[at + needle.len()..].chars().next().is_some_and(|c| is_part(c) && c != '.');
            begins && ends
        })
    })
}

fn untidy_ends(file: &TrackedFile) -> Vec<Finding> {
    let mut findings = found(file, |line| line.ends_with([' ', '\t']));
    if !file.text.is_empty() && (!file.text.ends_with('\n') || file.text.ends_with("\n\n")) {
        findings.push((file.text.lines().count(), "the file should end with one line end".to_owned()));
    }
    findings
}

/// Links of the form `](target)` that lead to no file. Those to other hosts and within the page are not followed.
fn broken_links(page: &TrackedFile, exists: impl Fn(&Path) -> bool) -> Vec<Finding> {
    let folder = Path::new(&page.path).parent().unwrap_or(Path::new(""));
    let mut findings = Vec::new();
    for (index, line) in page.text.lines().enumerate() {
        for rest in line.split("](").skip(1) {
            let Some((target, _)) = rest.split_once(')') else { continue };
            let file = target.split('#').next().unwrap_or_default();
            let is_elsewhere = file.is_empty() || file.contains("://") || file.starts_with("mailto:");
            if !is_elsewhere && !exists(&folder.join(file)) {
                findings.push((index + 1, format!("{target} leads nowhere")));
            }
        }
    }
    findings
}

/// Paths in backticks, from the repository's root, that are not there.
fn missing_files(page: &TrackedFile, exists: impl Fn(&Path) -> bool) -> Vec<Finding> {
    const FOLDERS: [&str; 8] =
        ["bench/", "cli/", "docs/", "engine/", "protocol/", "tests/", "tuning/", ".ci/"];
    let mut findings = Vec::new();
    for (index, line) in page.text.lines().enumerate() {
        for quoted in line.split('`').skip(1).step_by(2) {
            let is_path = FOLDERS.iter().any(|folder| quoted.starts_with(folder))
                && !quoted.contains(['*', '{', ' ', '…']);
            if is_path && !exists(Path::new(quoted)) {
                findings.push((index + 1, format!("{quoted} is not there")));
            }
        }
    }
    findings
}

mod rules {
    //! Each rule finds what it is there for.

    use super::*;

    fn file(path: &str, text: &str) -> TrackedFile {
        TrackedFile { path: path.to_owned(), text: text.to_owned() }
    }

    #[test]
    fn a_line_is_measured_in_characters() {
        assert!(lines_too_wide(&file("a.rs", &"─".repeat(120))).is_empty());
        assert_eq!(lines_too_wide(&file("a.rs", &format!("\n{}", "x".repeat(121))))[0].0, 2);
        assert!(lines_too_wide(&file("a.rs", &format!("    \"{}\",", "x".repeat(121)))).is_empty());
    }

    #[test]
    fn a_long_file_and_one_without_doc_line_are_found() {
        assert_eq!(too_many_lines(&file("a.rs", &"\n".repeat(701))).len(), 1);
        assert!(too_many_lines(&file("a.rs", &"\n".repeat(700))).is_empty());
        assert_eq!(no_first_doc_line(&file("a.rs", "use std::fs;\n")).len(), 1);
        assert!(no_first_doc_line(&file("a.rs", "//! Files.\n")).is_empty());
    }

    #[test]
    fn absolute_paths_are_told_from_parts_of_others() {
        for needle in MACHINE_PATHS {
            assert!(names_a_machine_path(&format!("see {needle}/x")));
            assert!(names_a_machine_path(&format!("({needle})")));
            assert!(!names_a_machine_path(&format!("tests{needle}/x")));
            assert!(!names_a_machine_path(&format!("{needle}er/x")));
        }
    }

    #[test]
    fn spaces_and_line_ends_are_looked_at() {
        assert!(untidy_ends(&file("a.md", "a\n\nb\n")).is_empty());
        for text in ["a \n", "a\t\nb\n", "a", "a\n\n"] {
            assert_eq!(untidy_ends(&file("a.md", text)).len(), 1, "{text:?}");
        }
    }

    #[test]
    fn a_link_is_followed_from_its_page() {
        let exists = |path: &Path| path == Path::new("docs/adr/../b.md");
        let page = |link: &str| file("docs/adr/a.md", &format!("see [it]({link}) and `x`\n"));
        assert!(broken_links(&page("../b.md#part"), exists).is_empty());
        assert!(broken_links(&page("https://example.org/c.md"), exists).is_empty());
        assert!(broken_links(&page("#part"), exists).is_empty());
        assert_eq!(broken_links(&page("../c.md"), exists).len(), 1);
    }

    #[test]
    fn a_path_in_backticks_is_looked_up_from_the_root() {
        let exists = |path: &Path| path == Path::new("engine/src/lib.rs");
        let page = |path: &str| file("docs/a.md", &format!("in `x` and `{path}`\n"));
        assert!(missing_files(&page("engine/src/lib.rs"), exists).is_empty());
        assert!(missing_files(&page("engine/src/{a,b}.rs"), exists).is_empty());
        assert_eq!(missing_files(&page("engine/src/gone.rs"), exists).len(), 1);
    }
}
