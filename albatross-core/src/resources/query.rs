//! What is in the tree.

use albatross_proto::{Label, Name, Path, Policy};

use super::{Block, Demand, Node, Resources, Usage};

/// The order of what stands under the same path. A path always stands before what is below it, and a
/// unikernel or block device `:a` before the path `a:`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Siblings {
    /// As state files have them.
    Ascending,
    /// As replies have them.
    Descending,
}

impl Resources {
    /// The policy at `path` itself.
    #[must_use]
    pub fn policy(&self, path: &Path) -> Option<&Policy> {
        self.root.find(path)?.policy.as_deref()
    }

    /// What the unikernel of this name takes.
    #[must_use]
    pub fn unikernel(&self, name: &Name) -> Option<&Demand> {
        self.root.find(name.path())?.unikernels.get(name.label()?)
    }

    /// The block device of this name.
    #[must_use]
    pub fn block(&self, name: &Name) -> Option<&Block> {
        self.root.find(name.path())?.blocks.get(name.label()?)
    }

    /// What is in use at `path` and below.
    #[must_use]
    pub fn usage(&self, path: &Path) -> Usage {
        self.root.find(path).map(|node| node.totals.usage()).unwrap_or_default()
    }

    /// The policies at `path` and below, under their full paths.
    #[must_use]
    pub fn policies(&self, path: &Path, order: Siblings) -> Vec<(Path, &Policy)> {
        let mut found = Vec::new();
        if let Some(node) = self.root.find(path) {
            collect_policies(node, order, &mut found);
        }
        found
    }

    /// The unikernels at `path` and below, under their full names.
    #[must_use]
    pub fn unikernels(&self, path: &Path, order: Siblings) -> Vec<(Name, &Demand)> {
        let mut found = Vec::new();
        if let Some(node) = self.root.find(path) {
            collect(node, order, &|node| node.unikernels.iter(), &mut found);
        }
        found
    }

    /// The block devices at `path` and below, under their full names.
    #[must_use]
    pub fn blocks(&self, path: &Path, order: Siblings) -> Vec<(Name, &Block)> {
        let mut found = Vec::new();
        if let Some(node) = self.root.find(path) {
            collect(node, order, &|node| node.blocks.iter(), &mut found);
        }
        found
    }
}

fn collect_policies<'a>(node: &'a Node, order: Siblings, found: &mut Vec<(Path, &'a Policy)>) {
    if let Some(policy) = node.policy.as_deref() {
        found.push((node.path.clone(), policy));
    }
    let below = node.children.values().filter(|child| child.policies > 0);
    let mut walk = |child: &'a Node| collect_policies(child, order, found);
    match order {
        Siblings::Ascending => below.for_each(|child| walk(child)),
        Siblings::Descending => below.rev().for_each(|child| walk(child)),
    }
}

/// What a node holds by label, and the paths under it, in one order.
enum Sibling<'a, T> {
    Item(&'a Label, &'a T),
    Path(&'a str, &'a Node),
}

impl<T> Sibling<'_, T> {
    fn label(&self) -> &str {
        match self {
            Self::Item(label, _) => label.as_str(),
            Self::Path(label, _) => label,
        }
    }
}

fn collect<'a, T: 'a, I: Iterator<Item = (&'a Label, &'a T)>>(
    node: &'a Node,
    order: Siblings,
    items: &impl Fn(&'a Node) -> I,
    found: &mut Vec<(Name, &'a T)>,
) {
    let mut siblings: Vec<Sibling<'a, T>> =
        items(node).map(|(label, item)| Sibling::Item(label, item)).collect();
    siblings.extend(node.children.iter().map(|(label, child)| Sibling::Path(label, child)));
    // The sort is stable: of the same label, items stay before paths.
    match order {
        Siblings::Ascending => siblings.sort_by(|a, b| a.label().cmp(b.label())),
        Siblings::Descending => siblings.sort_by(|a, b| b.label().cmp(a.label())),
    }
    for sibling in siblings {
        match sibling {
            Sibling::Item(label, item) => {
                found.push((Name::new(node.path.clone(), Some(label.clone())), item));
            }
            Sibling::Path(_, child) => collect(child, order, items, found),
        }
    }
}
