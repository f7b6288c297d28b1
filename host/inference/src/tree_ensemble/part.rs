//! An ensemble of some of a forest's trees, as a node for tract.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::onnx_proto::{Attribute, Node};

use super::ensemble::{Ensemble, LEAF, Tree, TreeNode};

/// The domain of the operator.
const DOMAIN: &str = "ai.onnx.ml";

/// The lists of a node.
#[derive(Default)]
struct Lists {
    tree_ids: Vec<i64>,
    ids: Vec<i64>,
    features: Vec<i64>,
    values: Vec<f32>,
    modes: Vec<Vec<u8>>,
    branches: [Vec<i64>; 2],
    nan_is_true: Vec<i64>,
    vote_trees: Vec<i64>,
    vote_nodes: Vec<i64>,
    classes: Vec<i64>,
    weights: Vec<f32>,
}

/// What a leaf adds, in a form that can be compared.
type Votes = Vec<(usize, u32)>;

/// The node of some trees, with the names of its two outputs.
pub(super) fn node(trees: &[Tree], ensemble: &Ensemble, output: [String; 2]) -> Node {
    let mut lists = Lists::default();
    for (number, tree) in (0..).zip(trees) {
        lists.add(number, tree);
    }
    // Otherwise tract takes the scores of two classes for a probability.
    if lists.classes.iter().all(|&class| class == 0) {
        lists.vote_of_another_class();
    }
    Node {
        input: vec![ensemble.input.clone()],
        output: output.into(),
        op_type: "TreeEnsembleClassifier".into(),
        attribute: lists.attributes(ensemble.columns()),
        domain: DOMAIN.into(),
    }
}

/// The number of votes that a tree has in an ensemble.
pub(super) fn votes_of(tree: &Tree) -> usize {
    let leaves: HashSet<_> = tree.values().filter(|node| node.mode == LEAF).map(votes).collect();
    leaves.iter().map(Vec::len).sum()
}

impl Lists {
    /// Adds a tree, whose nodes get numbers without gaps. Leaves with the same votes become one: the shorter the list of votes, the
    /// faster tract finds one.
    fn add(&mut self, tree_id: i64, tree: &Tree) {
        let (mut numbers, mut leaves, mut kept) = (BTreeMap::new(), HashMap::new(), Vec::new());
        for (&id, node) in tree {
            let next = i64::try_from(kept.len()).unwrap_or(i64::MAX);
            let number = if node.mode == LEAF { *leaves.entry(votes(node)).or_insert(next) } else { next };
            numbers.insert(id, number);
            if number == next {
                kept.push(node);
            }
        }
        let first_vote = self.classes.len();
        for (id, node) in (0..).zip(kept) {
            self.push(tree_id, id, node, &numbers);
        }
        // Tract wants a vote of each tree.
        if first_vote == self.classes.len()
            && let Some(leaf) = tree.iter().find(|(_, node)| node.mode == LEAF).and_then(|(id, _)| numbers.get(id))
        {
            self.vote(tree_id, *leaf, 0, 0.0);
        }
    }

    fn push(&mut self, tree_id: i64, id: i64, node: &TreeNode, numbers: &BTreeMap<i64, i64>) {
        self.tree_ids.push(tree_id);
        self.ids.push(id);
        self.features.push(node.feature);
        self.values.push(node.value);
        self.modes.push(node.mode.clone());
        self.nan_is_true.push(node.nan_is_true.into());
        for (list, branch) in self.branches.iter_mut().zip(&node.branches) {
            list.push(numbers.get(branch).copied().unwrap_or_default());
        }
        for &(class, weight) in &node.votes {
            self.vote(tree_id, id, i64::try_from(class).unwrap_or_default(), weight);
        }
    }

    fn vote(&mut self, tree_id: i64, id: i64, class: i64, weight: f32) {
        self.vote_trees.push(tree_id);
        self.vote_nodes.push(id);
        self.classes.push(class);
        self.weights.push(weight);
    }

    /// Adds nothing to the second class at a leaf that has a vote already.
    fn vote_of_another_class(&mut self) {
        if let (Some(&tree), Some(&leaf)) = (self.vote_trees.last(), self.vote_nodes.last()) {
            self.vote(tree, leaf, 1, 0.0);
        }
    }

    fn attributes(self, columns: usize) -> Vec<Attribute> {
        let labels = (0..).take(columns).collect();
        let [if_true, if_false] = self.branches;
        let lists = [
            ("nodes_treeids", self.tree_ids),
            ("nodes_nodeids", self.ids),
            ("nodes_featureids", self.features),
            ("nodes_truenodeids", if_true),
            ("nodes_falsenodeids", if_false),
            ("nodes_missing_value_tracks_true", self.nan_is_true),
            ("class_treeids", self.vote_trees),
            ("class_nodeids", self.vote_nodes),
            ("class_ids", self.classes),
            ("classlabels_int64s", labels),
        ];
        let mut attributes = vec![
            Attribute::floats("nodes_values", self.values),
            Attribute::of_texts("nodes_modes", self.modes),
            Attribute::floats("class_weights", self.weights),
            Attribute::of_text("post_transform", "NONE"),
        ];
        attributes.extend(lists.map(|(name, list)| Attribute::ints(name, list)));
        attributes
    }
}

fn votes(leaf: &TreeNode) -> Votes {
    leaf.votes.iter().map(|&(class, weight)| (class, weight.to_bits())).collect()
}
