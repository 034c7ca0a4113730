//! All public items of a crate, in the order of their paths, each with its traits and members.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::signature::{Names, list, tagged, text};

/// Derives leave this trait behind, which no program can use.
const UNTOLD_TRAITS: [&str; 1] = ["StructuralPartialEq"];
/// Of the traits that the compiler gives, those that a program asks for.
const TOLD_AUTO_TRAITS: [&str; 2] = ["Send", "Sync"];
/// Modules within modules that are followed.
const MODULE_DEPTH_MAX: usize = 8;

/// What the engine's crate shows.
pub(crate) struct Listing {
    /// The page.
    pub(crate) text: String,
    /// Crates other than ours and the standard library that a signature names.
    pub(crate) foreign_crates: BTreeSet<String>,
    /// Our types in signatures that a program cannot name.
    pub(crate) unnameable: BTreeSet<String>,
}

impl Listing {
    /// Reads rustdoc's descriptions: of the engine's crate, and of those of ours that it shows items of.
    pub(crate) fn of(engine: &Value, others: &[Value]) -> Self {
        let mut pages: Vec<Page<'_>> = std::iter::once(engine).chain(others).map(Page::of).collect();
        let mut items = BTreeMap::new();
        collect(&mut pages, &engine["root"], "millstream", &mut items, 0);
        let blocks: Vec<String> =
            items.iter().map(|(path, (page, id))| pages[*page].item(path, id)).collect();
        let (mut foreign_crates, mut unnameable) = (BTreeSet::new(), BTreeSet::new());
        for page in pages {
            foreign_crates.extend(page.names.foreign_crates.into_inner());
            unnameable.extend(page.names.unnameable.into_inner());
        }
        Self { text: blocks.join("\n"), foreign_crates, unnameable }
    }
}

/// Public paths, each with the page and the id of its item; a re-export counts as the item.
type Items = BTreeMap<String, (usize, String)>;

fn collect(pages: &mut [Page<'_>], module: &Value, path: &str, items: &mut Items, depth: usize) {
    assert!(depth < MODULE_DEPTH_MAX, "{path} is too deep");
    items.insert(path.to_owned(), (0, module.to_string()));
    let index = pages[0].index;
    for id in list(&index[module.to_string()]["inner"]["module"]["items"]) {
        let item = &index[id.to_string()];
        if item["visibility"] != "public" {
            continue;
        }
        let (kind, inner) = tagged(&item["inner"]);
        let (name, id) = match kind {
            "use" => (text(&inner["name"]), &inner["id"]),
            _ => (text(&item["name"]), id),
        };
        let path = format!("{path}::{name}");
        if index[id.to_string()]["inner"].get("module").is_some() {
            collect(pages, id, &path, items, depth + 1);
            continue;
        }
        let found = if index[id.to_string()].is_null() { in_others(pages, id) } else { (0, id.to_string()) };
        for (page, id) in [(0, &id.to_string()), (found.0, &found.1)] {
            if let Ok(id) = id.parse() {
                pages[page].names.public.insert(id, inside(&path).to_owned());
            }
        }
        items.insert(path, found);
    }
}

/// The page and id of what the engine's crate shows of another crate of ours.
fn in_others(pages: &[Page<'_>], id: &Value) -> (usize, String) {
    let definition = pages[0].names.definition(&id.to_string());
    // There the path may leave out private modules.
    let is_it = |page: &Page<'_>, id: &str| match page.names.definition(id).split_last() {
        Some((name, modules)) if page.names.paths[id]["crate_id"] == 0 => {
            !modules.is_empty() && definition.last() == Some(name) && definition.starts_with(modules)
        }
        _ => false,
    };
    for (number, page) in pages.iter().enumerate().skip(1) {
        let mut ids =
            page.index.as_object().into_iter().flatten().map(|(id, _)| id).filter(|id| is_it(page, id));
        if let Some(id) = ids.next() {
            assert!(ids.next().is_none(), "{definition:?} is not the only one of its name");
            return (number, id.clone());
        }
    }
    panic!("{definition:?} is shown and described nowhere")
}

/// A path as it is written within the crate's own signatures.
fn inside(path: &str) -> &str {
    path.strip_prefix("millstream::").unwrap_or(path)
}

/// One crate's description.
struct Page<'a> {
    index: &'a Value,
    names: Names<'a>,
}

impl<'a> Page<'a> {
    fn of(json: &'a Value) -> Self {
        Self { index: &json["index"], names: Names::of(json) }
    }

    /// An item's lines.
    fn item(&self, path: &str, id: &str) -> String {
        let item = &self.index[id];
        let (kind, inner) = tagged(&item["inner"]);
        let (params, clause) = self.names.generics(&inner["generics"]);
        let mut lines = match kind {
            "module" => vec![format!("pub mod {path}")],
            "struct" => self.structure(&format!("{path}{params}{clause}"), inner),
            "enum" => self.enumeration(&format!("{path}{params}{clause}"), inner),
            "trait" => self.definition(&format!("{path}{params}"), inner, &clause),
            "function" => vec![format!("pub {}", self.names.function(path, inner))],
            "constant" => vec![format!("pub const {path}: {}", self.names.ty(&inner["type"]))],
            "static" => vec![format!("pub static {path}: {}", self.names.ty(&inner["type"]))],
            "type_alias" => vec![format!("pub type {path}{params} = {}", self.names.ty(&inner["type"]))],
            "macro" => vec![format!("pub macro {path}")],
            other => panic!("{path} is a {other}"),
        };
        if is_non_exhaustive(item) {
            lines[0].insert_str(0, "#[non_exhaustive] ");
        }
        if !inner["impls"].is_null() {
            lines.extend(self.traits(id, inner));
            lines.extend(self.methods(id, inner));
        }
        lines.join("\n    ") + "\n"
    }

    fn structure(&self, head: &str, inner: &Value) -> Vec<String> {
        let mut lines = vec![format!("pub struct {head}")];
        match tagged(&inner["kind"]) {
            ("tuple", fields) => lines[0] += &self.tuple(fields),
            ("plain", plain) => {
                lines.extend(list(&plain["fields"]).iter().map(|id| format!("pub {}", self.field(id))));
            }
            _ => {}
        }
        lines
    }

    fn enumeration(&self, head: &str, inner: &Value) -> Vec<String> {
        let mut lines = vec![format!("pub enum {head}")];
        lines.extend(list(&inner["variants"]).iter().map(|id| {
            let variant = &self.index[id.to_string()];
            let hidden = if is_non_exhaustive(variant) { "#[non_exhaustive] " } else { "" };
            let name = text(&variant["name"]);
            match tagged(&variant["inner"]["variant"]["kind"]) {
                ("tuple", fields) => format!("{hidden}{name}{}", self.tuple(fields)),
                ("struct", kind) => {
                    let fields: Vec<String> = list(&kind["fields"]).iter().map(|id| self.field(id)).collect();
                    format!("{hidden}{name} {{ {} }}", fields.join(", "))
                }
                _ => format!("{hidden}{name}"),
            }
        }));
        lines
    }

    fn definition(&self, head: &str, inner: &Value, clause: &str) -> Vec<String> {
        let bounds = self.names.bounds(&inner["bounds"]);
        let bounds = if bounds.is_empty() { bounds } else { format!(": {bounds}") };
        let mut lines = vec![format!("pub trait {head}{bounds}{clause}")];
        for id in list(&inner["items"]) {
            let item = &self.index[id.to_string()];
            let name = text(&item["name"]);
            lines.push(match tagged(&item["inner"]) {
                ("function", function) => {
                    let provided = if function["has_body"] == true { " { .. }" } else { "" };
                    self.names.function(name, function) + provided
                }
                ("assoc_type", ty) => {
                    let bounds = self.names.bounds(&ty["bounds"]);
                    if bounds.is_empty() { format!("type {name}") } else { format!("type {name}: {bounds}") }
                }
                (_, constant) => format!("const {name}: {}", self.names.ty(&constant["type"])),
            });
        }
        lines
    }

    fn field(&self, id: &Value) -> String {
        let field = &self.index[id.to_string()];
        format!("{}: {}", text(&field["name"]), self.names.ty(&field["inner"]["struct_field"]))
    }

    /// A private field of a tuple has no id.
    fn tuple(&self, fields: &Value) -> String {
        let field = |id: &Value| match id {
            Value::Null => "_".to_owned(),
            id => self.names.ty(&self.index[id.to_string()]["inner"]["struct_field"]),
        };
        format!("({})", list(fields).iter().map(field).collect::<Vec<_>>().join(", "))
    }

    /// One line with all traits that a type implements by itself.
    fn traits(&self, id: &str, inner: &Value) -> Option<String> {
        let mut traits = BTreeSet::new();
        for (implementation, items) in self.implementations(id, inner) {
            let name = text(&implementation["trait"]["path"]).rsplit("::").next().unwrap_or_default();
            let is_auto = implementation["is_synthetic"] == true;
            let untold = !implementation["blanket_impl"].is_null()
                || UNTOLD_TRAITS.contains(&name)
                || is_auto && !TOLD_AUTO_TRAITS.contains(&name);
            if implementation["trait"].is_null() || untold {
                continue;
            }
            let not = if implementation["is_negative"] == true { "!" } else { "" };
            let types: Vec<String> = items.iter().filter_map(|item| self.associated_type(item)).collect();
            let types = if types.is_empty() { String::new() } else { format!(" {{ {} }}", types.join(", ")) };
            let clause =
                if is_auto { String::new() } else { self.names.generics(&implementation["generics"]).1 };
            traits.insert(format!("{not}{}{types}{clause}", self.names.path(&implementation["trait"])));
        }
        (!traits.is_empty()).then(|| format!("impl {}", traits.into_iter().collect::<Vec<_>>().join(", ")))
    }

    fn associated_type(&self, item: &Value) -> Option<String> {
        let ty = item["inner"].get("assoc_type")?;
        Some(format!("{} = {}", text(&item["name"]), self.names.ty(&ty["type"])))
    }

    /// Functions and constants of the type's own, in the order of their names.
    fn methods(&self, id: &str, inner: &Value) -> Vec<String> {
        let mut methods = BTreeMap::new();
        for (implementation, items) in self.implementations(id, inner) {
            if !implementation["trait"].is_null() {
                continue;
            }
            for item in items.into_iter().filter(|item| item["visibility"] == "public") {
                let name = text(&item["name"]);
                let said = match tagged(&item["inner"]) {
                    ("function", function) => self.names.function(name, function),
                    (_, constant) => format!("const {name}: {}", self.names.ty(&constant["type"])),
                };
                methods.insert((name, said.clone()), format!("pub {said}"));
            }
        }
        methods.into_values().collect()
    }

    /// Rustdoc also lists, with a type, implementations for other types that name it.
    fn implementations<'b>(&'b self, id: &str, inner: &'b Value) -> Vec<(&'b Value, Vec<&'b Value>)> {
        let all = list(&inner["impls"]).iter().map(|id| &self.index[id.to_string()]["inner"]["impl"]);
        let id: Option<u64> = id.parse().ok();
        let own = all.filter(|found| found["for"]["resolved_path"]["id"].as_u64() == id);
        own.map(|found| {
            let items = list(&found["items"]).iter().map(|id| &self.index[id.to_string()]);
            (found, items.collect())
        })
        .collect()
    }
}

fn is_non_exhaustive(item: &Value) -> bool {
    list(&item["attrs"]).iter().any(|attribute| attribute == "non_exhaustive")
}
