//! A forest as its node describes it.

use std::collections::BTreeMap;

use crate::onnx_proto::Node;

use super::part;

/// The mode of a node that tract takes for a leaf.
const GREATER_OR_EQUAL: &[u8] = b"BRANCH_GTE";
/// Its opposite.
const LESS: &[u8] = b"BRANCH_LT";
/// The mode of a leaf.
pub(super) const LEAF: &[u8] = b"LEAF";

/// A forest whose scores are sums over its trees.
pub(super) struct Ensemble {
    pub(super) kind: Kind,
    pub(super) input: String,
    /// The name of the output with the scores.
    pub(super) scores: String,
    /// The number of classes or targets.
    pub(super) outputs: usize,
    pub(super) base: Option<Vec<f32>>,
    pub(super) transform: Transform,
    pub(super) trees: Vec<Tree>,
}

/// What a forest is for.
pub(super) enum Kind {
    Classifier {
        /// The name of the output with the label; empty if there is none.
        label: String,
        labels: Vec<i64>,
        /// Whether tract returns one minus the score of the first class, and that score.
        is_binary: bool,
    },
    Regressor,
}

/// What is done with the sums.
pub(super) enum Transform {
    None,
    Logistic,
    Softmax,
}

/// The nodes of a tree by their numbers; the first one is the root.
pub(super) type Tree = BTreeMap<i64, TreeNode>;

/// A branch or a leaf.
pub(super) struct TreeNode {
    pub(super) mode: Vec<u8>,
    pub(super) feature: i64,
    pub(super) value: f32,
    /// The numbers of the nodes that follow if the comparison is true and if not.
    pub(super) branches: [i64; 2],
    pub(super) nan_is_true: bool,
    /// What a leaf adds: the class or target, and how much; what is zero is left out.
    pub(super) votes: Vec<(usize, f32)>,
}

/// The trees by their numbers.
type Trees = BTreeMap<i64, Tree>;

impl Ensemble {
    /// None if the node is no forest that can be split.
    pub(super) fn parse(node: &Node) -> Result<Option<Self>, String> {
        let Some(mut ensemble) = Self::settings(node) else { return Ok(None) };
        let Some(mut trees) = branches(node) else { return Ok(None) };
        for (number, tree) in &trees {
            if let Some(reason) = fault(tree) {
                return Err(format!("tree {number} of its {} {reason}; export the model again", node.op_type));
            }
        }
        if add_votes(node, &mut ensemble, &mut trees)?.is_none() {
            return Ok(None);
        }
        ensemble.trees = trees.into_values().collect();
        Ok(Some(ensemble))
    }

    /// The number of classes of the ensembles that it is split into: tract takes one class for a probability.
    pub(super) fn columns(&self) -> usize {
        self.outputs.max(2)
    }

    /// The number of votes in its leaves, if those of a tree with the same ones are one.
    pub(super) fn votes(&self) -> usize {
        self.trees.iter().map(part::votes_of).sum()
    }

    pub(super) fn is_binary(&self) -> bool {
        matches!(self.kind, Kind::Classifier { is_binary: true, .. })
    }

    /// What the node says beside its trees; None if tract does not support it or refuses it.
    fn settings(node: &Node) -> Option<Self> {
        // Values in float64, which tract does not read.
        if node.attribute.iter().any(|attribute| attribute.name.ends_with("_as_tensor")) {
            return None;
        }
        let name = |index: usize| node.output.get(index).cloned().unwrap_or_default();
        let labels = ints(node, "classlabels_int64s");
        let (kind, scores, outputs) = match node.op_type.as_str() {
            "TreeEnsembleClassifier" if labels.len() < 2 => return None,
            "TreeEnsembleClassifier" => {
                (Kind::Classifier { label: name(0), labels: labels.to_vec(), is_binary: false }, name(1), labels.len())
            }
            "TreeEnsembleRegressor" => (
                Kind::Regressor,
                name(0),
                usize::try_from(node.attribute("n_targets").map_or(1, |targets| targets.i)).ok()?,
            ),
            _ => return None,
        };
        let input = node.input.first().cloned().unwrap_or_default();
        let transform = match text_attribute(node, "post_transform", b"NONE") {
            b"NONE" => Transform::None,
            b"LOGISTIC" => Transform::Logistic,
            b"SOFTMAX" if outputs > 1 => Transform::Softmax,
            _ => return None,
        };
        let base = Some(floats(node, "base_values").to_vec()).filter(|base| !base.is_empty());
        let fits = base.as_ref().is_none_or(|base| base.len() == outputs);
        let is_complete = !input.is_empty() && !scores.is_empty() && outputs > 0;
        (fits && is_complete).then_some(Self { kind, input, scores, outputs, base, transform, trees: Vec::new() })
    }
}

fn ints<'a>(node: &'a Node, name: &str) -> &'a [i64] {
    node.attribute(name).map_or(&[], |attribute| &attribute.ints)
}

fn floats<'a>(node: &'a Node, name: &str) -> &'a [f32] {
    node.attribute(name).map_or(&[], |attribute| &attribute.floats)
}

fn text_attribute<'a>(node: &'a Node, name: &str, default: &'a [u8]) -> &'a [u8] {
    node.attribute(name).map_or(default, |attribute| &attribute.s)
}

/// The nodes of all trees, without votes. None if a list is shorter than another, which tract reports.
fn branches(node: &Node) -> Option<Trees> {
    let [ids, tree_ids, features] = ["nodes_nodeids", "nodes_treeids", "nodes_featureids"].map(|name| ints(node, name));
    let [if_true, if_false] = ["nodes_truenodeids", "nodes_falsenodeids"].map(|name| ints(node, name));
    let values = floats(node, "nodes_values");
    let modes = node.attribute("nodes_modes").map_or(&[][..], |attribute| &attribute.strings);
    let nan = ints(node, "nodes_missing_value_tracks_true");
    let lengths = [tree_ids.len(), features.len(), if_true.len(), if_false.len(), values.len(), modes.len()];
    if ids.is_empty() || lengths.iter().any(|&length| length != ids.len()) || ![0, ids.len()].contains(&nan.len()) {
        return None;
    }
    let mut nan = nan.iter().map(|&is_true| is_true != 0).chain(std::iter::repeat(false));
    let mut trees = Trees::new();
    let places = tree_ids.iter().zip(ids);
    let comparisons = features.iter().zip(values).zip(modes);
    for (((tree, id), ((&feature, &value), mode)), branches) in
        places.zip(comparisons).zip(if_true.iter().zip(if_false))
    {
        let (mut branches, mut nan_is_true) = ([*branches.0, *branches.1], nan.next()?);
        let mut mode = mode.as_slice();
        if mode == GREATER_OR_EQUAL {
            (mode, nan_is_true) = (LESS, !nan_is_true);
            branches.reverse();
        }
        let new = TreeNode { mode: mode.to_vec(), feature, value, branches, nan_is_true, votes: Vec::new() };
        if trees.entry(*tree).or_default().insert(*id, new).is_some() {
            return None;
        }
    }
    Some(trees)
}

/// What is wrong with a tree: a branch leads nowhere, or back.
fn fault(tree: &Tree) -> Option<String> {
    if !tree.values().any(|node| node.mode == LEAF) {
        return Some("has no leaf".into());
    }
    for (number, node) in tree.iter().filter(|(_, node)| node.mode != LEAF) {
        if let Some(missing) = node.branches.iter().find(|branch| !tree.contains_key(branch)) {
            return Some(format!("has no node {missing}, to which its node {number} leads"));
        }
    }
    returns(tree).then(|| "leads back to a node that it comes from".into())
}

/// Whether a path from the root comes to a node twice, so that it would never end.
fn returns(tree: &Tree) -> bool {
    let mut is_left = BTreeMap::new();
    let mut path: Vec<_> = tree.keys().next().map(|&root| (root, 0)).into_iter().collect();
    while let Some((number, branch)) = path.pop() {
        if branch == 0 {
            match is_left.insert(number, false) {
                Some(true) => {
                    is_left.insert(number, true);
                    continue;
                }
                Some(false) => return true,
                None => {}
            }
        }
        let node = tree.get(&number).filter(|node| node.mode != LEAF);
        match node.and_then(|node| node.branches.get(branch)) {
            Some(&next) => path.extend([(number, branch + 1), (next, 0)]),
            None => {
                is_left.insert(number, true);
            }
        }
    }
    false
}

/// Gives the leaves their votes. None if the lists differ in length, which tract reports.
fn add_votes(node: &Node, ensemble: &mut Ensemble, trees: &mut Trees) -> Result<Option<()>, String> {
    let prefix = if matches!(ensemble.kind, Kind::Regressor) { "target" } else { "class" };
    let [ids, tree_ids, classes] = ["nodeids", "treeids", "ids"].map(|list| ints(node, &format!("{prefix}_{list}")));
    let weights = floats(node, &format!("{prefix}_weights"));
    if ids.is_empty() || [tree_ids.len(), classes.len(), weights.len()].iter().any(|&length| length != ids.len()) {
        return Ok(None);
    }
    if let Kind::Classifier { is_binary, .. } = &mut ensemble.kind {
        *is_binary = ensemble.outputs < 3 && classes.iter().all(|&class| class == 0);
    }
    let share = match (&ensemble.kind, text_attribute(node, "aggregate_function", b"SUM")) {
        (Kind::Classifier { .. }, _) | (_, b"SUM") => 1.0,
        (Kind::Regressor, b"AVERAGE") => as_float(trees.len()),
        _ => return Ok(None),
    };
    for ((tree, id), (&class, &weight)) in tree_ids.iter().zip(ids).zip(classes.iter().zip(weights)) {
        let known = usize::try_from(class).ok().filter(|&class| class < ensemble.outputs);
        let class = known.ok_or_else(|| {
            let (op, count) = (&node.op_type, ensemble.outputs);
            format!(
                "a leaf of its {op} votes for {class}, and it has {count} classes or targets; export the model again"
            )
        })?;
        // A vote at a branch counts nowhere.
        let leaf = trees.get_mut(tree).and_then(|tree| tree.get_mut(id)).filter(|node| node.mode == LEAF);
        if let Some(leaf) = leaf.filter(|_| weight != 0.0) {
            leaf.votes.push((class, weight / share));
        }
    }
    Ok(Some(()))
}

#[allow(clippy::cast_precision_loss, reason = "nobody has 2^24 trees")]
fn as_float(trees: usize) -> f32 {
    trees as f32
}
