//! Types, bounds and functions of rustdoc's JSON, written as Rust.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// Names for the ids of one crate's description, and which names were asked for that should not be seen.
pub(crate) struct Names<'a> {
    /// Every item that rustdoc has a path for, other crates' included.
    pub(crate) paths: &'a Value,
    /// How a program names what it can name, by id.
    pub(crate) public: BTreeMap<u64, String>,
    /// Crates other than ours and the standard library that were named.
    pub(crate) foreign_crates: RefCell<BTreeSet<String>>,
    /// Items of this crate that were named and that no program can name.
    pub(crate) unnameable: RefCell<BTreeSet<String>>,
}

/// The standard library has several of each.
const COMMON_NAMES: [&str; 2] = ["Error", "Result"];

impl<'a> Names<'a> {
    /// No name is public yet.
    pub(crate) fn of(json: &'a Value) -> Self {
        Self {
            paths: &json["paths"],
            public: BTreeMap::new(),
            foreign_crates: RefCell::default(),
            unnameable: RefCell::default(),
        }
    }

    /// Where an item is defined.
    pub(crate) fn definition(&self, id: &str) -> Vec<&'a str> {
        list(&self.paths[id]["path"]).iter().map(text).collect()
    }

    /// Ours by their public path, the standard library's by their last name, others' by their whole path.
    fn name(&self, path: &Value) -> String {
        let id = &path["id"];
        if let Some(public) = id.as_u64().and_then(|id| self.public.get(&id)) {
            return public.clone();
        }
        let segments = self.definition(&id.to_string());
        let (Some(&name), Some(last)) = (segments.first(), segments.last()) else {
            panic!("no path: {path}")
        };
        let whole = segments.join("::");
        if self.paths[id.to_string()]["crate_id"] == 0 {
            self.unnameable.borrow_mut().insert(whole.clone());
        } else if !matches!(name, "std" | "core" | "alloc") {
            self.foreign_crates.borrow_mut().insert(name.to_owned());
        } else if segments[1..] == ["result", "Result"] || !COMMON_NAMES.contains(last) {
            return (*last).to_owned();
        }
        whole
    }

    /// A path with its arguments.
    pub(crate) fn path(&self, path: &Value) -> String {
        self.name(path) + &self.arguments(&path["args"])
    }

    fn arguments(&self, arguments: &Value) -> String {
        if let Some(parenthesized) = arguments.get("parenthesized") {
            let inputs = self.types(&parenthesized["inputs"]);
            return format!("({inputs}){}", self.output(&parenthesized["output"]));
        }
        let Some(brackets) = arguments.get("angle_bracketed") else { return String::new() };
        let mut parts: Vec<String> =
            list(&brackets["args"]).iter().map(|argument| self.argument(argument)).collect();
        parts.extend(list(&brackets["constraints"]).iter().map(|constraint| {
            let bound = &constraint["binding"];
            match bound.get("equality") {
                Some(term) => format!("{} = {}", text(&constraint["name"]), self.term(term)),
                None => format!("{}: {}", text(&constraint["name"]), self.bounds(&bound["constraint"])),
            }
        }));
        if parts.is_empty() { String::new() } else { format!("<{}>", parts.join(", ")) }
    }

    fn argument(&self, argument: &Value) -> String {
        match tagged(argument) {
            ("lifetime", name) => text(name).to_owned(),
            ("type", inner) => self.ty(inner),
            ("const", value) => text(&value["expr"]).to_owned(),
            _ => "_".to_owned(),
        }
    }

    fn term(&self, term: &Value) -> String {
        match tagged(term) {
            ("type", inner) => self.ty(inner),
            (_, value) => text(&value["expr"]).to_owned(),
        }
    }

    /// A type.
    pub(crate) fn ty(&self, ty: &Value) -> String {
        match tagged(ty) {
            ("resolved_path", path) => self.path(path),
            ("generic" | "primitive", name) => text(name).to_owned(),
            ("tuple", types) => format!("({})", self.types(types)),
            ("slice", inner) => format!("[{}]", self.ty(inner)),
            ("array", array) => format!("[{}; {}]", self.ty(&array["type"]), text(&array["len"])),
            ("borrowed_ref", borrowed) => {
                let lifetime =
                    borrowed["lifetime"].as_str().map(|name| format!("{name} ")).unwrap_or_default();
                let mutable = if borrowed["is_mutable"] == true { "mut " } else { "" };
                format!("&{lifetime}{mutable}{}", self.ty(&borrowed["type"]))
            }
            ("raw_pointer", pointer) => format!("*{}", self.ty(&pointer["type"])),
            ("impl_trait", bounds) => format!("impl {}", self.bounds(bounds)),
            ("dyn_trait", dynamic) => {
                let mut parts: Vec<String> =
                    list(&dynamic["traits"]).iter().map(|bound| self.path(&bound["trait"])).collect();
                parts.extend(dynamic["lifetime"].as_str().map(str::to_owned));
                format!("dyn {}", parts.join(" + "))
            }
            ("qualified_path", path) => match path["trait"]["id"].is_u64() {
                true => {
                    let (of, name) = (self.ty(&path["self_type"]), text(&path["name"]));
                    format!("<{of} as {}>::{name}", self.path(&path["trait"]))
                }
                false => format!("{}::{}", self.ty(&path["self_type"]), text(&path["name"])),
            },
            ("function_pointer", pointer) => {
                let inputs = list(&pointer["sig"]["inputs"]).iter().map(|input| self.ty(&input[1]));
                let inputs: Vec<String> = inputs.collect();
                format!("fn({}){}", inputs.join(", "), self.output(&pointer["sig"]["output"]))
            }
            (other, _) => panic!("a type of kind {other}"),
        }
    }

    fn types(&self, types: &Value) -> String {
        list(types).iter().map(|ty| self.ty(ty)).collect::<Vec<_>>().join(", ")
    }

    fn output(&self, output: &Value) -> String {
        if output.is_null() { String::new() } else { format!(" -> {}", self.ty(output)) }
    }

    /// Bounds, with `+` between them.
    pub(crate) fn bounds(&self, bounds: &Value) -> String {
        let bounds = list(bounds).iter().map(|bound| match tagged(bound) {
            ("trait_bound", bound) => {
                let maybe = if bound["modifier"] == "maybe" { "?" } else { "" };
                format!("{maybe}{}", self.path(&bound["trait"]))
            }
            ("outlives", lifetime) => text(lifetime).to_owned(),
            ("use", captured) => {
                let captured = list(captured).iter().map(|name| text(tagged(name).1));
                format!("use<{}>", captured.collect::<Vec<_>>().join(", "))
            }
            (other, _) => panic!("a bound of kind {other}"),
        });
        bounds.collect::<Vec<_>>().join(" + ")
    }

    /// The parameters in brackets, and the `where` clause, of an item.
    pub(crate) fn generics(&self, generics: &Value) -> (String, String) {
        let params = list(&generics["params"]).iter().filter_map(|param| {
            let name = text(&param["name"]);
            match tagged(&param["kind"]) {
                ("lifetime", _) => Some(name.to_owned()),
                ("type", kind) if kind["is_synthetic"] == true => None,
                ("type", kind) => Some(with_bounds(name, &self.bounds(&kind["bounds"]))),
                (_, kind) => Some(format!("const {name}: {}", self.ty(&kind["type"]))),
            }
        });
        let params: Vec<String> = params.collect();
        let predicates =
            list(&generics["where_predicates"]).iter().map(|predicate| match tagged(predicate) {
                ("bound_predicate", bound) => {
                    with_bounds(&self.ty(&bound["type"]), &self.bounds(&bound["bounds"]))
                }
                ("lifetime_predicate", bound) => text(&bound["lifetime"]).to_owned(),
                (_, bound) => self.ty(&bound["lhs"]),
            });
        let predicates: Vec<String> = predicates.collect();
        (
            in_brackets(&params),
            if predicates.is_empty() { String::new() } else { format!(" where {}", predicates.join(", ")) },
        )
    }

    /// A function's head.
    pub(crate) fn function(&self, name: &str, function: &Value) -> String {
        let header = &function["header"];
        let word = |key: &str, word: &'static str| if header[key] == true { word } else { "" };
        let words =
            [word("is_const", "const "), word("is_async", "async "), word("is_unsafe", "unsafe ")].concat();
        let inputs =
            list(&function["sig"]["inputs"]).iter().map(|input| self.input(text(&input[0]), &input[1]));
        let inputs: Vec<String> = inputs.collect();
        let (params, clause) = self.generics(&function["generics"]);
        format!(
            "{words}fn {name}{params}({}){}{clause}",
            inputs.join(", "),
            self.output(&function["sig"]["output"])
        )
    }

    fn input(&self, name: &str, ty: &Value) -> String {
        let ty = self.ty(ty);
        match (name, ty.as_str()) {
            ("self", "Self") => "self".to_owned(),
            ("self", "&Self") => "&self".to_owned(),
            ("self", "&mut Self") => "&mut self".to_owned(),
            _ => format!("{name}: {ty}"),
        }
    }
}

/// The one key of an object with its value; a bare text is a key without one.
pub(crate) fn tagged(value: &Value) -> (&str, &Value) {
    match value {
        Value::Object(map) => {
            map.iter().next().map_or(("", &Value::Null), |(key, value)| (key.as_str(), value))
        }
        Value::String(text) => (text, &Value::Null),
        _ => ("", value),
    }
}

/// The elements of an array, of which an absent one has none.
pub(crate) fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// A text.
pub(crate) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn with_bounds(name: &str, bounds: &str) -> String {
    if bounds.is_empty() { name.to_owned() } else { format!("{name}: {bounds}") }
}

fn in_brackets(parts: &[String]) -> String {
    if parts.is_empty() { String::new() } else { format!("<{}>", parts.join(", ")) }
}
