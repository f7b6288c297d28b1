//! Rewrites forests for tract. Its operator finds the votes of a leaf by walking the list of all votes from the start, so that a
//! forest of a hundred trees takes a millisecond. In place of a large ensemble it is given several small ones, in which leaves with
//! the same votes are one, and the sum of their scores. It lacks an operator for regression, which becomes one for classification
//! without labels, and takes branches on `>=` for leaves, which become branches on `<`.

use crate::onnx_proto::{Attribute, Constant, Node};

mod ensemble;
mod part;

use ensemble::{Ensemble, Kind, Transform};

/// Steps in the list of votes that take as long as one more ensemble: 4 ns and 0.4 µs.
const STEPS_PER_PART: usize = 100;
/// The first version of the standard operators in which ReduceSum takes its axes as an input.
const AXES_ARE_AN_INPUT: i64 = 13;

/// What a node is replaced by: nodes, and the constants that they take.
pub(crate) type Replacement = (Vec<Node>, Vec<Constant>);

/// Splits a node with a forest. None for other nodes, and for forests that tract refuses by itself or that are not supported here; the
/// error is about what tract would not notice. `opset` is the model's version of the standard operators.
pub(crate) fn replaced(node: &Node, opset: i64) -> Result<Option<Replacement>, String> {
    let Some(ensemble) = Ensemble::parse(node)? else { return Ok(None) };
    let mut graph =
        Graph { scores: &ensemble.scores, current: String::new(), nodes: Vec::new(), constants: Vec::new(), opset };
    graph.sum_of_parts(&ensemble);
    graph.transform(&ensemble);
    let transformed = graph.current.clone();
    graph.complement(&ensemble);
    let current = graph.current.clone();
    graph.nodes.push(Node::new("Identity", &[&current], &ensemble.scores, Vec::new()));
    graph.label(&ensemble, &transformed);
    Ok(Some((graph.nodes, graph.constants)))
}

/// The number of trees of an ensemble at which the time for walking lists and that for one more ensemble are the least together: `n`
/// trees with `v` votes each, in ensembles of `k`, take `n / k` ensembles and `n * k * v / 2` steps.
fn trees_per_part(trees: usize, votes: usize) -> usize {
    let votes_of_tree = votes.div_ceil(trees.max(1)).max(1);
    let most = (2 * STEPS_PER_PART / votes_of_tree).isqrt().clamp(1, trees.max(1));
    // The same number in each, as far as possible.
    trees.div_ceil(trees.div_ceil(most).max(1)).max(1)
}

/// The nodes so far, whose names begin with that of the scores, and the output of the last one.
struct Graph<'a> {
    scores: &'a str,
    current: String,
    nodes: Vec<Node>,
    constants: Vec<Constant>,
    opset: i64,
}

impl Graph<'_> {
    fn name(&self, of: &str) -> String {
        format!("{}/{of}", self.scores)
    }

    /// Adds a node and takes its output for the current one.
    fn node(&mut self, op_type: &str, input: &[&str], attribute: Vec<Attribute>) {
        let name = self.name(&format!("{}{}", op_type.to_lowercase(), self.nodes.len()));
        self.nodes.push(Node::new(op_type, input, &name, attribute));
        self.current = name;
    }

    fn constant(&mut self, of: &str, constant: impl FnOnce(&str) -> Constant) -> String {
        let name = self.name(of);
        self.constants.push(constant(&name));
        name
    }

    fn sum_of_parts(&mut self, ensemble: &Ensemble) {
        let per_part = trees_per_part(ensemble.trees.len(), ensemble.votes());
        let mut outputs = Vec::new();
        for (index, trees) in ensemble.trees.chunks(per_part).enumerate() {
            let (labels, scores) = (self.name(&format!("labels{index}")), self.name(&format!("part{index}")));
            self.nodes.push(part::node(trees, ensemble, [labels, scores.clone()]));
            outputs.push(scores);
        }
        let outputs: Vec<_> = outputs.iter().map(String::as_str).collect();
        self.node("Concat", &outputs, vec![Attribute::int("axis", 1)]);
        // The second column of a part with one sum is zero.
        let is_single = ensemble.outputs == 1;
        if !is_single {
            let shape = [0, outputs.len(), ensemble.outputs].map(|axis| i64::try_from(axis).unwrap_or(i64::MAX));
            let shape = self.constant("shape", |name| Constant::integers(name, shape.to_vec()));
            self.node("Reshape", &[&self.current.clone(), &shape], Vec::new());
        }
        self.reduce_sum(is_single);
    }

    /// Adds up the values along the second axis, which stays as one of length one or is removed.
    fn reduce_sum(&mut self, stays: bool) {
        let keep = Attribute::int("keepdims", stays.into());
        let current = self.current.clone();
        if self.opset < AXES_ARE_AN_INPUT {
            self.node("ReduceSum", &[&current], vec![keep, Attribute::ints("axes", vec![1])]);
        } else {
            let axes = self.constant("axes", |name| Constant::integers(name, vec![1]));
            self.node("ReduceSum", &[&current, &axes], vec![keep]);
        }
    }

    fn transform(&mut self, ensemble: &Ensemble) {
        if let Some(base) = &ensemble.base {
            let base = self.constant("base", |name| Constant::row(name, base.clone()));
            self.node("Add", &[&self.current.clone(), &base], Vec::new());
        }
        let current = self.current.clone();
        match ensemble.transform {
            Transform::None => {}
            Transform::Logistic => self.node("Sigmoid", &[&current], Vec::new()),
            Transform::Softmax => self.node("Softmax", &[&current], vec![Attribute::int("axis", 1)]),
        }
    }

    /// A forest with votes for the first of two classes returns one minus its score, and its score, as tract does.
    fn complement(&mut self, ensemble: &Ensemble) {
        if !ensemble.is_binary() {
            return;
        }
        let first = self.constant("first", |name| Constant::integers(name, vec![0]));
        let axis = || vec![Attribute::int("axis", 1)];
        self.node("Gather", &[&self.current.clone(), &first], axis());
        let score = self.current.clone();
        let one = self.constant("one", |name| Constant::row(name, vec![1.0]));
        self.node("Sub", &[&one, &score], Vec::new());
        self.node("Concat", &[&self.current.clone(), &score], axis());
    }

    /// The label of the largest score.
    fn label(&mut self, ensemble: &Ensemble, transformed: &str) {
        let Kind::Classifier { label, labels, .. } = &ensemble.kind else { return };
        if label.is_empty() || labels.is_empty() {
            return;
        }
        self.node("ArgMax", &[transformed], vec![Attribute::int("axis", 1), Attribute::int("keepdims", 0)]);
        let labels = self.constant("classes", |name| Constant::integers(name, labels.clone()));
        self.nodes.push(Node::new("Gather", &[&labels, &self.current], label, vec![Attribute::int("axis", 0)]));
    }
}

#[cfg(test)]
mod tests;
