//! The import table of docs/architecture.md, compared with the code and proven acyclic.

#![expect(clippy::expect_used, reason = "helpers of a test: a missing file is its failure")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

type Table = BTreeMap<String, BTreeSet<String>>;

fn documented() -> Table {
    let text = fs::read_to_string("docs/architecture.md").expect("docs/architecture.md");
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` | "));
    rows.map(|(module, imports)| {
        let imports = imports.trim_end_matches(" |").split(", ").filter(|name| *name != "-");
        (module.to_owned(), imports.map(str::to_owned).collect())
    })
    .collect()
}

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder of src") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(path);
        }
    }
}

/// The top-level modules that a file's code names as `crate::module`, comments left out.
fn imports(text: &str) -> BTreeSet<String> {
    let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    let named = code.flat_map(|line| line.split("crate::").skip(1).map(str::to_owned).collect::<Vec<_>>());
    let word =
        |rest: String| rest.chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect::<String>();
    named.map(word).filter(|module| !module.is_empty()).collect()
}

fn actual() -> (Table, usize) {
    let mut files = Vec::new();
    rust_files(Path::new("src"), &mut files);
    let mut table = Table::new();
    for file in &files {
        let inside = file.strip_prefix("src").expect("below src").with_extension("");
        let module = inside.components().next().expect("a name").as_os_str().to_string_lossy().into_owned();
        if matches!(module.as_str(), "lib" | "main") {
            continue;
        }
        let mut imported = imports(&fs::read_to_string(file).expect("a source file"));
        imported.remove(&module);
        table.entry(module).or_default().extend(imported);
    }
    (table, files.len())
}

#[test]
fn every_module_imports_only_what_its_row_names() {
    let (documented, (actual, files)) = (documented(), actual());
    assert!(files > 40, "only {files} files were read");
    for (module, imported) in &actual {
        let allowed = documented.get(module).unwrap_or_else(|| panic!("{module} has no row in the table"));
        if allowed.contains("everything") {
            continue;
        }
        let foreign: Vec<_> = imported.difference(allowed).collect();
        assert!(foreign.is_empty(), "{module} imports {foreign:?}, which its row does not name");
    }
    for module in documented.keys() {
        assert!(actual.contains_key(module), "{module} has a row and no code");
    }
}

#[test]
fn the_table_has_no_cycle() {
    let mut left = documented();
    left.retain(|_, imports| !imports.contains("everything"));
    assert!(left.len() > 15, "only {} rows were read", left.len());
    while !left.is_empty() {
        let names: BTreeSet<String> = left.keys().cloned().collect();
        let before = left.len();
        left.retain(|_, imports| !imports.is_disjoint(&names));
        assert!(left.len() < before, "a cycle among {names:?}");
    }
}
