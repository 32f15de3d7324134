//! Which file of a crate takes an item from which other, and the circles among them.
//!
//! A file takes an item where it names it, in a `use` or by a path; re-exports are followed to the file that defines it. Tests within
//! a file are left out. A child may know the items of the modules above it, so such an arrow is none here.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use syn::visit::Visit;

/// A module's path within its crate; empty for the crate's root.
type ModulePath = Vec<String>;

/// What one file takes from others: for each file, the names.
type Arrows = BTreeMap<PathBuf, BTreeMap<PathBuf, BTreeSet<String>>>;

/// Re-exports are followed this far: a chain of `pub use` is two or three long.
const REEXPORTS_MAX: usize = 16;

/// Files that take items from each other around a loop, with the arrows that tie them.
#[derive(Debug, PartialEq, Eq)]
pub struct Circle(Vec<String>);

impl Circle {
    /// One line per arrow: which file takes which names from which.
    pub fn lines(&self) -> &[String] {
        &self.0
    }
}

/// All circles of the crate with this root file; paths are relative to `top`.
pub fn circles(top: &Path, root: &Path) -> Vec<Circle> {
    let tree = ModuleTree::read(top, root);
    let arrows = tree.arrows();
    let reaches = |from: &PathBuf| reachable(&arrows, from);
    let reached: BTreeMap<&PathBuf, BTreeSet<PathBuf>> =
        arrows.keys().map(|file| (file, reaches(file))).collect();
    let mut done: BTreeSet<&PathBuf> = BTreeSet::new();
    let mut circles = Vec::new();
    for file in arrows.keys() {
        if !reached[file].contains(file) || !done.insert(file) {
            continue;
        }
        let tied = |other: &&PathBuf| {
            reached[file].contains(*other)
                && reached
                    .get(*other)
                    .is_some_and(|reached| reached.contains(file))
        };
        let members: BTreeSet<&PathBuf> = arrows.keys().filter(tied).collect();
        done.extend(&members);
        circles.push(Circle(described(&arrows, &members)));
    }
    circles
}

fn described(arrows: &Arrows, members: &BTreeSet<&PathBuf>) -> Vec<String> {
    let mut lines = Vec::new();
    for from in members {
        for (to, names) in arrows[*from].iter().filter(|(to, _)| members.contains(to)) {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            lines.push(format!(
                "{} takes {} from {}",
                from.display(),
                names.join(", "),
                to.display()
            ));
        }
    }
    lines
}

fn reachable(arrows: &Arrows, from: &PathBuf) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let mut next = vec![from];
    while let Some(file) = next.pop() {
        for to in arrows.get(file).into_iter().flatten().map(|(to, _)| to) {
            if found.insert(to.clone()) {
                next.push(to);
            }
        }
    }
    found
}

/// A module of a crate, as far as names go.
#[derive(Debug, Default)]
struct Module {
    file: PathBuf,
    /// What it defines itself.
    defined: BTreeSet<String>,
    /// What it brings into scope, and from where.
    imported: BTreeMap<String, Vec<String>>,
    /// Modules that it brings everything of into scope.
    globs: Vec<Vec<String>>,
    /// Paths that its code names.
    named: BTreeSet<Vec<String>>,
}

/// The modules of a crate.
#[derive(Debug, Default)]
struct ModuleTree(BTreeMap<ModulePath, Module>);

impl ModuleTree {
    fn read(top: &Path, root: &Path) -> Self {
        let mut tree = Self::default();
        let folder = root.parent().unwrap().to_owned();
        tree.add_file(top, root, &folder, &Vec::new());
        tree
    }

    fn add_file(&mut self, top: &Path, file: &Path, folder: &Path, path: &ModulePath) {
        let text = std::fs::read_to_string(top.join(file))
            .unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let parsed =
            syn::parse_file(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        self.add_items(top, file, folder, path, &parsed.items);
    }

    fn add_items(
        &mut self,
        top: &Path,
        file: &Path,
        folder: &Path,
        path: &ModulePath,
        items: &[syn::Item],
    ) {
        let mut module = Module {
            file: file.to_owned(),
            ..Module::default()
        };
        for item in items.iter().filter(|item| !is_for_tests(item)) {
            match item {
                syn::Item::Mod(inner) => {
                    let name = inner.ident.to_string();
                    let below: ModulePath = path.iter().cloned().chain([name.clone()]).collect();
                    if let Some((_, items)) = &inner.content {
                        self.add_items(top, file, &folder.join(&name), &below, items);
                        continue;
                    }
                    let flat = folder.join(format!("{name}.rs"));
                    let nested = folder.join(&name).join("mod.rs");
                    let found = [flat, nested]
                        .into_iter()
                        .find(|path| top.join(path).exists());
                    let found =
                        found.unwrap_or_else(|| panic!("{}: no file of `{name}`", file.display()));
                    self.add_file(top, &found, &folder.join(&name), &below);
                }
                syn::Item::Use(item) => module.add_use(&item.tree, Vec::new()),
                other => {
                    module.defined.extend(name_of(other));
                    module.visit_item(other);
                }
            }
        }
        self.0.insert(path.clone(), module);
    }

    fn arrows(&self) -> Arrows {
        let mut arrows = Arrows::new();
        for (path, module) in &self.0 {
            let taken = module
                .imported
                .values()
                .chain(&module.globs)
                .chain(&module.named);
            let from = arrows.entry(module.file.clone()).or_default();
            for name in taken {
                let Some((holder, item)) = self.resolve(path, name, 0) else {
                    continue;
                };
                let to = &self.0[&holder].file;
                let is_above = self.is_above(path, to);
                if *to != module.file && !is_above {
                    from.entry(to.clone()).or_default().insert(item);
                }
            }
        }
        arrows
    }

    /// Whether a module lies in or below one of this file.
    fn is_above(&self, path: &ModulePath, file: &Path) -> bool {
        let above = (0..=path.len()).filter_map(|length| self.0.get(&path[..length]));
        above.into_iter().any(|module| module.file == file)
    }

    /// The module that defines what a path names in a module, and its name there; none for what is not of this crate.
    fn resolve(
        &self,
        from: &ModulePath,
        name: &[String],
        depth: usize,
    ) -> Option<(ModulePath, String)> {
        if depth > REEXPORTS_MAX {
            return None;
        }
        let (mut at, rest) = self.anchor(from, name, depth)?;
        let mut rest = rest.iter();
        let mut last = at.last().cloned().unwrap_or_default();
        for word in rest.by_ref() {
            let below: ModulePath = at.iter().cloned().chain([word.clone()]).collect();
            if self.0.contains_key(&below) {
                at = below;
                last.clone_from(word);
                continue;
            }
            let module = &self.0[&at];
            if module.defined.contains(word) {
                return Some((at, word.clone()));
            }
            if let Some(target) = module.imported.get(word) {
                let beyond: Vec<String> = target.iter().cloned().chain(rest.cloned()).collect();
                return self.resolve(&at, &beyond, depth + 1);
            }
            let through_glob = |glob: &Vec<String>| {
                let beyond: Vec<String> = glob.iter().cloned().chain([word.clone()]).collect();
                self.resolve(&at, &beyond, depth + 1)
                    .filter(|(holder, _)| self.0[holder].defined.contains(word))
            };
            let found = module.globs.iter().find_map(through_glob);
            return found.or_else(|| Some((at, word.clone())));
        }
        Some((at, last))
    }

    /// Where a path begins: the module that its first words lead to, and the words after them.
    fn anchor<'a>(
        &self,
        from: &ModulePath,
        name: &'a [String],
        depth: usize,
    ) -> Option<(ModulePath, &'a [String])> {
        let mut at = from.clone();
        let mut rest = name;
        match name.first()?.as_str() {
            "crate" => Some((ModulePath::new(), &name[1..])),
            "self" => Some((at, &name[1..])),
            "super" => {
                while rest.first().is_some_and(|word| word == "super") {
                    at.pop()?;
                    rest = &rest[1..];
                }
                Some((at, rest))
            }
            first => {
                let below: ModulePath = at.iter().cloned().chain([first.to_owned()]).collect();
                if self.0.contains_key(&below) {
                    return Some((below, &name[1..]));
                }
                let module = &self.0[&at];
                let target = module
                    .imported
                    .get(first)
                    .filter(|target| *target != name)?;
                if target.len() == 1 && target[0] == first {
                    return None;
                }
                let (holder, item) = self.resolve(from, target, depth + 1)?;
                let inner: ModulePath = holder.iter().cloned().chain([item.clone()]).collect();
                if self.0.contains_key(&holder) && holder.last() == Some(&item) {
                    return Some((holder, &name[1..]));
                }
                self.0.contains_key(&inner).then_some((inner, &name[1..]))
            }
        }
    }
}

impl Module {
    fn add_use(&mut self, tree: &syn::UseTree, mut path: Vec<String>) {
        match tree {
            syn::UseTree::Path(part) => {
                path.push(part.ident.to_string());
                self.add_use(&part.tree, path);
            }
            syn::UseTree::Name(last) => {
                let name = last.ident.to_string();
                if name == "self" {
                    let name = path.last().cloned().unwrap_or_default();
                    self.imported.insert(name, path);
                } else {
                    path.push(name.clone());
                    self.imported.insert(name, path);
                }
            }
            syn::UseTree::Rename(last) => {
                if last.ident != "self" {
                    path.push(last.ident.to_string());
                }
                self.imported.insert(last.rename.to_string(), path);
            }
            syn::UseTree::Glob(_) => self.globs.push(path),
            syn::UseTree::Group(group) => {
                for tree in &group.items {
                    self.add_use(tree, path.clone());
                }
            }
        }
    }
}

impl<'ast> Visit<'ast> for Module {
    fn visit_path(&mut self, path: &'ast syn::Path) {
        if path.segments.len() > 1 {
            let words = path.segments.iter().map(|part| part.ident.to_string());
            self.named.insert(words.collect());
        }
        syn::visit::visit_path(self, path);
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.add_use(&item.tree, Vec::new());
    }
}

fn is_for_tests(item: &syn::Item) -> bool {
    let attributes = match item {
        syn::Item::Mod(item) => &item.attrs,
        syn::Item::Use(item) => &item.attrs,
        syn::Item::Fn(item) => &item.attrs,
        syn::Item::Impl(item) => &item.attrs,
        syn::Item::Struct(item) => &item.attrs,
        syn::Item::Const(item) => &item.attrs,
        _ => return false,
    };
    attributes.iter().any(|attribute| {
        let only_test = |list: &syn::MetaList| list.tokens.to_string() == "test";
        attribute.path().is_ident("cfg") && attribute.meta.require_list().is_ok_and(only_test)
    })
}

fn name_of(item: &syn::Item) -> Option<String> {
    let name = match item {
        syn::Item::Const(item) => &item.ident,
        syn::Item::Enum(item) => &item.ident,
        syn::Item::Fn(item) => &item.sig.ident,
        syn::Item::Static(item) => &item.ident,
        syn::Item::Struct(item) => &item.ident,
        syn::Item::Trait(item) => &item.ident,
        syn::Item::TraitAlias(item) => &item.ident,
        syn::Item::Type(item) => &item.ident,
        syn::Item::Union(item) => &item.ident,
        syn::Item::Macro(item) => item.ident.as_ref()?,
        _ => return None,
    };
    Some(name.to_string())
}
