//! The house rules that a compiler does not check: which module may name which, who names Python, how long a file may be,
//! and that the core builds without Python.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

/// From the bottom to the top, as ARCHITECTURE.md has it: a module may name those below it and those beside it.
const LEVELS: &[&[&str]] = &[
    &["error", "clock"],
    &["domain", "config"],
    &["http"],
    &["providers", "extract"],
    &["host", "store", "journal"],
    &["pipeline"],
    &["python"],
];

/// Names that `lib.rs` re-exports, with the module they belong to.
const RE_EXPORTS: &[(&str, &str)] = &[("Error", "error"), ("ErrorKind", "error"), ("Result", "error")];

const MAX_LINES: usize = 800;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn rust_files(folder: &Path, files: &mut Vec<PathBuf>) {
    let mut entries: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            rust_files(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// Every source file: its path below `src`, its top-level module, its code without comments and string contents.
fn sources() -> Vec<(String, String, String)> {
    let src = root().join("src");
    let mut files = Vec::new();
    rust_files(&src, &mut files);
    files
        .iter()
        .map(|path| {
            let name = path.strip_prefix(&src).unwrap().to_string_lossy().replace('\\', "/");
            let module = name.split('/').next().unwrap().trim_end_matches(".rs").to_owned();
            (name, module, code_of(&std::fs::read_to_string(path).unwrap()))
        })
        .collect()
}

/// The text without comments and without what stands between quotation marks.
fn code_of(text: &str) -> String {
    let mut code = String::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let skipped = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if let Some(hashes) = raw_string(rest) {
            let close = format!("\"{}", "#".repeat(hashes));
            let open = hashes + 2;
            rest[open..].find(&close).map_or(rest.len(), |end| open + end + close.len())
        } else if first == '"' {
            string_end(rest)
        } else if let Some(quote) = ["'\"'", "'\\\"'"].iter().find(|quote| rest.starts_with(**quote)) {
            quote.len()
        } else {
            code.push(first);
            first.len_utf8()
        };
        rest = &rest[skipped..];
    }
    code
}

fn raw_string(rest: &str) -> Option<usize> {
    let after = rest.strip_prefix('r')?;
    let hashes = after.len() - after.trim_start_matches('#').len();
    after[hashes..].starts_with('"').then_some(hashes)
}

fn string_end(rest: &str) -> usize {
    let bytes = rest.as_bytes();
    let mut at = 1;
    while at < bytes.len() && bytes[at] != b'"' {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    (at + 1).min(rest.len())
}

/// The names that follow `crate::` in the code, the ones in braces too (`use crate::{error, domain::Org}`).
fn crate_names(code: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (at, _) in code.match_indices("crate::") {
        if code[..at].ends_with(|last: char| last.is_alphanumeric() || last == '_') {
            continue;
        }
        let path = code[at + "crate::".len()..].trim_start();
        match path.strip_prefix('{') {
            None => {
                names.insert(identifier(path));
            }
            Some(list) => {
                let mut depth = 0_usize;
                let mut start = 0;
                for (offset, character) in list.char_indices() {
                    match character {
                        '{' => depth += 1,
                        '}' if depth > 0 => depth -= 1,
                        ',' | '}' if depth == 0 => {
                            names.insert(identifier(list[start..offset].trim_start()));
                            start = offset + 1;
                            if character == '}' {
                                break;
                            }
                        }
                        _ => {}
                    }
                }
            }
        }
    }
    names.remove("");
    names
}

fn identifier(path: &str) -> String {
    path.chars().take_while(|character| character.is_alphanumeric() || *character == '_').collect()
}

/// Top-level module → the top-level modules it names.
fn edges() -> BTreeMap<String, BTreeSet<String>> {
    let mut edges: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (file, module, code) in sources().iter().filter(|(_, module, _)| module != "lib") {
        let targets = edges.entry(module.clone()).or_default();
        let mut names = crate_names(code);
        names.extend(names_above(code, depth(file)).into_iter().filter(|name| is_module(name)));
        for name in names {
            let target = RE_EXPORTS.iter().find(|(alias, _)| *alias == name).map_or(name, |(_, target)| (*target).to_owned());
            if target != *module {
                targets.insert(target);
            }
        }
    }
    edges
}

/// How many `super::` lead from a file to the root of the crate: `config.rs` one, `http/mod.rs` one, `http/retry.rs` two.
fn depth(file: &str) -> usize {
    file.trim_end_matches("/mod.rs").split('/').count()
}

/// The names behind a chain of at least `depth` times `super::`: the other way to reach the root of the crate.
fn names_above(code: &str, depth: usize) -> BTreeSet<String> {
    let chain = "super::".repeat(depth);
    code.match_indices(&chain).map(|(at, _)| identifier(code[at..].trim_start_matches("super::"))).collect()
}

fn is_module(name: &str) -> bool {
    level(name).is_some() || matches!(name, "simulator" | "insights" | "pyo3")
}

fn level(module: &str) -> Option<usize> {
    LEVELS.iter().position(|level| level.contains(&module))
}

fn allowed(from: &str, to: &str) -> bool {
    match from {
        "simulator" => false,
        "insights" => to == "domain",
        // The bridge starts the simulator in-process.
        "python" if to == "simulator" || to == "insights" => true,
        _ => matches!((level(from), level(to)), (Some(from), Some(to)) if to <= from),
    }
}

#[test]
fn the_reader_sees_what_it_should() {
    let code = code_of(
        "use crate::a; // crate::b\n/* crate::c */ let x = \"crate::d \\\" crate::e\"; r#\"crate::f\"#; '\"'; b'\\\"'; crate::g::h",
    );
    assert_eq!(crate_names(&code), BTreeSet::from(["a".to_owned(), "g".to_owned()]));
    let names = crate_names(
        "use crate::{error::{Error, Result}, domain::Org,\n  clock}; pub(crate) fn f() {} my_crate::x; use $crate :: y;",
    );
    assert_eq!(names, BTreeSet::from(["error".to_owned(), "domain".to_owned(), "clock".to_owned()]));
    assert!(
        allowed("pipeline", "extract")
            && allowed("config", "domain")
            && !allowed("extract", "store")
            && !allowed("domain", "http")
    );
    assert!(!allowed("simulator", "error") && !allowed("insights", "error") && allowed("insights", "domain"));
}

#[test]
fn dependencies_point_one_way() {
    let edges = edges();
    assert!(edges.len() >= 8, "the sources were not read: {edges:?}");
    let wrong: Vec<String> = edges
        .iter()
        .flat_map(|(from, targets)| targets.iter().filter(|to| !allowed(from, to)).map(move |to| format!("{from} → {to}")))
        .collect();
    assert!(wrong.is_empty(), "against ARCHITECTURE.md: {wrong:?}");
}

#[test]
fn no_two_modules_of_a_level_need_each_other() {
    let edges = edges();
    for start in edges.keys() {
        let mut reached = BTreeSet::new();
        let mut open: Vec<&String> = edges[start].iter().collect();
        while let Some(module) = open.pop() {
            assert_ne!(module, start, "{start} needs itself through others: {edges:?}");
            if reached.insert(module) {
                open.extend(edges.get(module).into_iter().flatten());
            }
        }
    }
}

#[test]
fn every_module_has_a_place() {
    for module in edges().keys() {
        assert!(
            level(module).is_some() || matches!(module.as_str(), "simulator" | "insights"),
            "{module} is not in the order of ARCHITECTURE.md"
        );
    }
}

#[test]
fn the_architecture_page_says_the_same_order() {
    let page = std::fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let order: Vec<String> = LEVELS.iter().map(|level| level.join(", ")).collect();
    assert!(page.contains(&order.join(" ← ")), "ARCHITECTURE.md does not show: {}", order.join(" ← "));
}

#[test]
fn only_the_bridge_names_python() {
    for (name, module, code) in sources() {
        let names_python =
            code.split(|character: char| !(character.is_alphanumeric() || character == '_')).any(|word| word.starts_with("pyo3"));
        assert!(!names_python || module == "python", "{name} names pyo3");
    }
}

#[test]
fn files_stay_small_and_say_what_they_are() {
    let src = root().join("src");
    let mut files = Vec::new();
    rust_files(&src, &mut files);
    for path in files {
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.lines().count() <= MAX_LINES, "{} has more than {MAX_LINES} lines", path.display());
        assert!(text.starts_with("//!"), "{} does not begin with what it is", path.display());
    }
}

#[test]
fn a_panic_unwinds() {
    let manifest = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let settings: Vec<&str> =
        manifest.lines().map(str::trim).filter(|line| line.starts_with("panic =") || line.starts_with("panic=")).collect();
    let release = manifest.split("[profile.release]").nth(1).unwrap().split("\n[").next().unwrap();
    assert!(release.contains("panic = \"unwind\""), "abort would take the host interpreter down");
    assert!(settings.iter().all(|line| line.contains("\"unwind\"") || line.contains("\"deny\"")), "{settings:?}");
}

/// Offline, and only with what the build of this test needed: other features may not be downloaded on this machine.
#[test]
fn the_core_needs_no_python() {
    let output = Command::new(env!("CARGO"))
        .current_dir(root())
        .args(["tree", "--offline", "--locked", "--no-default-features", "-e", "normal", "--prefix", "none"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let tree = String::from_utf8(output.stdout).unwrap();
    assert!(tree.lines().any(|line| line.starts_with("reqwest ")), "the tree was not read: {tree}");
    assert!(!tree.lines().any(|line| line.starts_with("pyo3")), "{tree}");
    let manifest = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let features = manifest.split("[features]").nth(1).unwrap().split("\n[").next().unwrap();
    let with_python: Vec<&str> = features.lines().filter(|line| !line.starts_with('#') && line.contains("dep:pyo3")).collect();
    assert!(matches!(with_python.as_slice(), [line] if line.starts_with("python = ")), "{with_python:?}");
}
