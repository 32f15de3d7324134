//! Which public items say nothing of themselves.
//!
//! Fields and variants may leave it to their name. Everything else that is public has a doc: `rustc` can ask for all or for
//! nothing, so this asks.

use std::path::{Path, PathBuf};

/// Every public item of a file without a doc, as `path: item`; items for tests are left out.
pub fn undocumented(path: &Path, text: &str) -> Vec<String> {
    let parsed =
        syn::parse_file(text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut found = Undocumented {
        path: path.to_owned(),
        items: Vec::new(),
    };
    found.items(&parsed.items);
    found.items
}

struct Undocumented {
    path: PathBuf,
    items: Vec<String>,
}

impl Undocumented {
    fn items(&mut self, items: &[syn::Item]) {
        for item in items {
            match item {
                syn::Item::Const(item) => self.look(&item.vis, &item.attrs, &item.ident),
                syn::Item::Enum(item) => self.look(&item.vis, &item.attrs, &item.ident),
                syn::Item::Fn(item) => self.look(&item.vis, &item.attrs, &item.sig.ident),
                syn::Item::Static(item) => self.look(&item.vis, &item.attrs, &item.ident),
                syn::Item::Struct(item) => self.look(&item.vis, &item.attrs, &item.ident),
                syn::Item::Type(item) => self.look(&item.vis, &item.attrs, &item.ident),
                syn::Item::Trait(item) => self.look_at_trait(item),
                syn::Item::Impl(item) if item.trait_.is_none() => self.look_at_methods(item),
                syn::Item::Mod(item) if !is_for_tests(&item.attrs) && !is_let_off(&item.attrs) => {
                    let is_public = matches!(item.vis, syn::Visibility::Public(_));
                    if let (true, Some((_, items))) = (is_public, &item.content) {
                        self.look(&item.vis, &item.attrs, &item.ident);
                        self.items(items);
                    }
                }
                _ => {}
            }
        }
    }

    fn look(
        &mut self,
        visibility: &syn::Visibility,
        attributes: &[syn::Attribute],
        name: &syn::Ident,
    ) {
        let is_public = matches!(visibility, syn::Visibility::Public(_));
        if is_public && !is_for_tests(attributes) && !says_something(attributes) {
            self.items.push(format!("{}: {name}", self.path.display()));
        }
    }

    fn look_at_trait(&mut self, item: &syn::ItemTrait) {
        self.look(&item.vis, &item.attrs, &item.ident);
        for inner in &item.items {
            if let syn::TraitItem::Fn(method) = inner {
                self.look(&item.vis, &method.attrs, &method.sig.ident);
            }
        }
    }

    fn look_at_methods(&mut self, item: &syn::ItemImpl) {
        if is_for_tests(&item.attrs) {
            return;
        }
        for inner in &item.items {
            match inner {
                syn::ImplItem::Fn(method) => {
                    self.look(&method.vis, &method.attrs, &method.sig.ident);
                }
                syn::ImplItem::Const(inner) => self.look(&inner.vis, &inner.attrs, &inner.ident),
                _ => {}
            }
        }
    }
}

/// Tables of constants named as their source names them need no doc each.
fn is_let_off(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let words = |list: &syn::MetaList| list.tokens.to_string();
        attribute.path().is_ident("allow")
            && attribute
                .meta
                .require_list()
                .is_ok_and(|list| words(list).contains("missing_docs"))
    })
}

fn says_something(attributes: &[syn::Attribute]) -> bool {
    let is_doc = |attribute: &syn::Attribute| attribute.path().is_ident("doc");
    attributes.iter().any(is_doc)
}

fn is_for_tests(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let only_test = |list: &syn::MetaList| list.tokens.to_string() == "test";
        attribute.path().is_ident("cfg") && attribute.meta.require_list().is_ok_and(only_test)
    })
}
