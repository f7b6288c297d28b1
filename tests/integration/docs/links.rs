//! Links lead somewhere, and the README stays short.

use std::path::{Component, Path, PathBuf};

use crate::docs::page::{Page, page, pages};
use crate::support::root;

/// Bytes of the README: what a newcomer reads in one sitting.
const README_BYTES: usize = 8192;

#[test]
fn the_readme_is_short() {
    let bytes = page("README.md").text.len();
    assert!(bytes <= README_BYTES, "README.md has {bytes} bytes, {README_BYTES} are wanted at most");
}

#[test]
fn every_link_leads_somewhere() {
    for Page { name, .. } in pages() {
        let page = page(&name);
        for (line, target) in page.links() {
            if target.contains("://") {
                continue;
            }
            let (path, anchor) = target.split_once('#').unwrap_or((&target, ""));
            let linked = if path.is_empty() { PathBuf::from(&name) } else { resolved(&name, path) };
            assert!(root().join(&linked).exists(), "{name}:{line}: {target} does not exist");
            if !anchor.is_empty() {
                let anchors = self::page(linked.to_str().unwrap()).anchors();
                assert!(anchors.iter().any(|known| known == anchor), "{name}:{line}: {target}: no such heading");
            }
        }
    }
}

/// A link's path as counted from the root of the checkout.
fn resolved(page: &str, link: &str) -> PathBuf {
    let mut path = Path::new(page).parent().unwrap().to_path_buf();
    for component in Path::new(link).components() {
        match component {
            Component::ParentDir => assert!(path.pop(), "{page}: {link} leads out of the checkout"),
            other => path.push(other),
        }
    }
    path
}

#[test]
fn the_index_has_every_page() {
    let index = page("docs/README.md");
    let linked: Vec<_> = index.links().into_iter().map(|(_, target)| resolved("docs/README.md", &target)).collect();
    for Page { name, .. } in pages().iter().filter(|page| page.name != "docs/README.md") {
        assert!(linked.iter().any(|target| target == Path::new(name)), "docs/README.md does not link {name}");
    }
}
