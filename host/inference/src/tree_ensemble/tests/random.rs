//! Random forests, and a walk through their trees.

use ort::session::Session;
use ort::value::Tensor;
use prost::Message;

use crate::engine;
use crate::onnx_proto::{Attribute, INT64, Node, Opset, TensorType, ValueInfo, ValueType};

/// The features of each forest.
pub(super) const FEATURES: usize = 3;
/// The most branches on a path.
const DEPTH: u32 = 4;
/// The modes of branches.
const MODES: [&str; 6] = ["BRANCH_LEQ", "BRANCH_LT", "BRANCH_GT", "BRANCH_EQ", "BRANCH_NEQ", "BRANCH_GTE"];
/// The number of float32 in `TensorProto.DataType`.
const FLOAT: i32 = 1;

/// `ModelProto`.
#[derive(Message)]
struct Model {
    #[prost(int64, tag = "1")]
    ir_version: i64,
    #[prost(message, optional, tag = "7")]
    graph: Option<Graph>,
    #[prost(message, repeated, tag = "8")]
    opset: Vec<Opset>,
}

/// `GraphProto`.
#[derive(Message)]
struct Graph {
    #[prost(message, repeated, tag = "1")]
    node: Vec<Node>,
    #[prost(string, tag = "2")]
    name: String,
    #[prost(message, repeated, tag = "11")]
    input: Vec<ValueInfo>,
    #[prost(message, repeated, tag = "12")]
    output: Vec<ValueInfo>,
}

/// `TensorShapeProto`.
#[derive(Message)]
struct Shape {
    #[prost(message, repeated, tag = "1")]
    dim: Vec<Dimension>,
}

/// `TensorShapeProto.Dimension`.
#[derive(Message)]
struct Dimension {
    #[prost(int64, optional, tag = "1")]
    value: Option<i64>,
    #[prost(string, optional, tag = "2")]
    name: Option<String>,
}

/// What an engine returns.
pub(super) struct Results {
    pub(super) scores: Vec<f32>,
    pub(super) labels: Vec<f64>,
}

/// A forest, as a node, and random numbers that are its own.
pub(super) struct Forest {
    pub(super) node: Node,
    random: fastrand::Rng,
    is_classifier: bool,
    /// Whether only the first of two classes has votes.
    is_binary: bool,
    outputs: usize,
    opset: i64,
}

/// The lists of a node while its trees grow.
#[derive(Default)]
struct Lists {
    ints: [Vec<i64>; 6],
    values: Vec<f32>,
    modes: Vec<Vec<u8>>,
    votes: [Vec<i64>; 3],
    weights: Vec<f32>,
}

/// The names of the lists of integers.
const INTS: [&str; 6] = [
    "nodes_treeids",
    "nodes_nodeids",
    "nodes_featureids",
    "nodes_truenodeids",
    "nodes_falsenodeids",
    "nodes_missing_value_tracks_true",
];
/// The names of those of votes, without a prefix.
const VOTES: [&str; 3] = ["treeids", "nodeids", "ids"];

impl Lists {
    /// Adds a node and what is below, and returns its number.
    fn grow(&mut self, random: &mut fastrand::Rng, tree: i64, depth: u32, classes: i64) -> i64 {
        let number = self.ints[0].iter().filter(|&&of| of == tree).map(|_| 1_i64).sum();
        let at = self.values.len();
        let is_leaf = depth == 0 || random.u8(0..4) == 0;
        let feature = random.i64(0..i64::try_from(FEATURES).unwrap());
        let nan_is_true = random.bool().into();
        for (list, value) in self.ints.iter_mut().zip([tree, number, feature, 0, 0, nan_is_true]) {
            list.push(value);
        }
        self.values.push((random.f32() * 8.0).round() / 8.0);
        self.modes.push(if is_leaf { "LEAF" } else { MODES[random.usize(0..MODES.len())] }.into());
        if is_leaf {
            for class in 0..classes {
                // Few different weights, so that leaves share votes; some trees have none.
                let weight = f32::from(random.i8(-2..3)) / 3.0;
                if random.bool() {
                    self.vote(tree, number, class, weight);
                }
            }
        } else {
            self.ints[3][at] = self.grow(random, tree, depth - 1, classes);
            self.ints[4][at] = self.grow(random, tree, depth - 1, classes);
        }
        number
    }

    fn vote(&mut self, tree: i64, number: i64, class: i64, weight: f32) {
        for (list, value) in self.votes.iter_mut().zip([tree, number, class]) {
            list.push(value);
        }
        self.weights.push(weight);
    }

    fn attributes(self, prefix: &str) -> Vec<Attribute> {
        let mut attributes: Vec<_> =
            INTS.iter().zip(self.ints).map(|(name, list)| Attribute::ints(name, list)).collect();
        let votes = VOTES.iter().zip(self.votes);
        attributes.extend(votes.map(|(name, list)| Attribute::ints(&format!("{prefix}_{name}"), list)));
        attributes.push(Attribute::floats(&format!("{prefix}_weights"), self.weights));
        attributes.push(Attribute::floats("nodes_values", self.values));
        attributes.push(Attribute::of_texts("nodes_modes", self.modes));
        attributes
    }
}

/// A branch with two leaves, for three classes.
pub(super) fn stump() -> Node {
    let mut lists = Lists::default();
    for (id, [if_true, if_false], mode) in [(0, [1, 2], "BRANCH_LT"), (1, [0, 0], "LEAF"), (2, [0, 0], "LEAF")] {
        for (list, value) in lists.ints.iter_mut().zip([0, id, 0, if_true, if_false, 0]) {
            list.push(value);
        }
        lists.values.push(0.5);
        lists.modes.push(mode.into());
    }
    lists.vote(0, 1, 0, 1.0);
    lists.vote(0, 2, 2, 2.0);
    let mut attributes = lists.attributes("class");
    attributes.push(Attribute::ints("classlabels_int64s", vec![0, 1, 2]));
    node(true, attributes)
}

fn node(is_classifier: bool, attribute: Vec<Attribute>) -> Node {
    let (op_type, output) = match is_classifier {
        true => ("TreeEnsembleClassifier", vec!["label".into(), "scores".into()]),
        false => ("TreeEnsembleRegressor", vec!["scores".into()]),
    };
    let domain = "ai.onnx.ml".into();
    Node { input: vec!["input".into()], output, op_type: op_type.into(), attribute, domain }
}

impl Forest {
    pub(super) fn new(seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let is_classifier = random.bool();
        let outputs = if is_classifier { random.i64(2..5) } else { random.i64(1..4) };
        let is_binary = is_classifier && outputs == 2 && random.bool();
        let mut lists = Lists::default();
        for tree in 0..random.i64(1..60) {
            lists.grow(&mut random, tree, DEPTH, if is_binary { 1 } else { outputs });
            // The engine's own operator wants a vote of each tree.
            let leaf = (0..lists.modes.len()).rev().find(|&at| lists.modes[at] == b"LEAF").unwrap();
            lists.vote(tree, lists.ints[1][leaf], 0, 0.25);
        }
        if is_classifier && outputs == 2 && !is_binary {
            let leaf = (0..lists.modes.len()).rev().find(|&at| lists.modes[at] == b"LEAF").unwrap();
            lists.vote(lists.ints[0][leaf], lists.ints[1][leaf], 1, 0.5);
        }
        let mut attributes = lists.attributes(if is_classifier { "class" } else { "target" });
        if is_classifier {
            attributes.push(Attribute::ints("classlabels_int64s", (0..outputs).map(|label| label * 10).collect()));
        } else {
            attributes.push(Attribute::int("n_targets", outputs));
            attributes.push(Attribute::of_text("aggregate_function", if random.bool() { "SUM" } else { "AVERAGE" }));
        }
        if random.bool() {
            attributes.push(Attribute::floats("base_values", (0..outputs).map(|_| random.f32()).collect()));
        }
        let transforms = if outputs > 1 { &["NONE", "LOGISTIC", "SOFTMAX"][..] } else { &["NONE", "LOGISTIC"] };
        attributes.push(Attribute::of_text("post_transform", transforms[random.usize(0..transforms.len())]));
        let opset = if random.bool() { 11 } else { 17 };
        let node = node(is_classifier, attributes);
        Self { node, random, is_classifier, is_binary, outputs: usize::try_from(outputs).unwrap(), opset }
    }

    /// Random rows of features; some are on a border, some are not a number.
    pub(super) fn values(&self, rows: usize) -> Vec<f32> {
        let mut random = self.random.clone();
        let mut value = || match random.u8(0..8) {
            0 => f32::NAN,
            1..4 => (random.f32() * 8.0).round() / 8.0,
            _ => random.f32() * 1.5 - 0.25,
        };
        (0..rows * FEATURES).map(|_| value()).collect()
    }

    /// Whether the engine has an operator for it that works.
    pub(super) fn is_native_to_the_engine(&self) -> bool {
        self.is_classifier && self.texts("nodes_modes").iter().all(|mode| mode != b"BRANCH_GTE")
    }

    fn ints(&self, name: &str) -> &[i64] {
        self.node.attribute(name).map_or(&[], |attribute| &attribute.ints)
    }

    fn floats(&self, name: &str) -> &[f32] {
        self.node.attribute(name).map_or(&[], |attribute| &attribute.floats)
    }

    fn texts(&self, name: &str) -> &[Vec<u8>] {
        self.node.attribute(name).map_or(&[], |attribute| &attribute.strings)
    }

    fn text(&self, name: &str) -> &[u8] {
        self.node.attribute(name).map_or(&[], |attribute| &attribute.s)
    }

    /// The leaf at which a tree ends.
    fn leaf(&self, tree: i64, values: &[f32]) -> i64 {
        let [trees, ids, features, if_true, if_false, nan] = INTS.map(|name| self.ints(name));
        let mut number = 0;
        loop {
            let at = (0..ids.len()).find(|&at| (trees[at], ids[at]) == (tree, number)).unwrap();
            let (value, border) = (values[usize::try_from(features[at]).unwrap()], self.floats("nodes_values")[at]);
            let is_true = match std::str::from_utf8(&self.texts("nodes_modes")[at]).unwrap() {
                "LEAF" => return number,
                _ if value.is_nan() => nan[at] == 1,
                "BRANCH_LEQ" => value <= border,
                "BRANCH_LT" => value < border,
                "BRANCH_GTE" => value >= border,
                "BRANCH_GT" => value > border,
                "BRANCH_EQ" => value == border,
                _ => value != border,
            };
            number = if is_true { if_true[at] } else { if_false[at] };
        }
    }

    /// The scores of a row, and its label if no rounding can change it.
    pub(super) fn expected(&self, values: &[f32]) -> (Vec<f64>, Option<f64>) {
        let prefix = if self.is_classifier { "class" } else { "target" };
        let [trees, leaves, classes] = VOTES.map(|name| self.ints(&format!("{prefix}_{name}")));
        let count = self.ints("nodes_treeids").iter().max().unwrap() + 1;
        let ends: Vec<i64> = (0..count).map(|tree| self.leaf(tree, values)).collect();
        let share =
            if self.text("aggregate_function") == b"AVERAGE" { f64::from(i32::try_from(count).unwrap()) } else { 1.0 };
        let mut sums = vec![0.0; self.outputs];
        for (at, weight) in self.floats(&format!("{prefix}_weights")).iter().enumerate() {
            if ends[usize::try_from(trees[at]).unwrap()] == leaves[at] {
                sums[usize::try_from(classes[at]).unwrap()] += f64::from(*weight) / share;
            }
        }
        sums.iter_mut().zip(self.floats("base_values")).for_each(|(sum, base)| *sum += f64::from(*base));
        match self.text("post_transform") {
            b"LOGISTIC" => sums.iter_mut().for_each(|sum| *sum = 1.0 / (1.0 + (-*sum).exp())),
            b"SOFTMAX" => {
                let total: f64 = sums.iter().map(|sum| sum.exp()).sum();
                sums.iter_mut().for_each(|sum| *sum = sum.exp() / total);
            }
            _ => {}
        }
        let mut order: Vec<usize> = (0..sums.len()).collect();
        order.sort_by(|&one, &other| sums[other].total_cmp(&sums[one]));
        let is_clear = self.is_classifier && sums[order[0]] - sums[order[1]] > super::CLEAR;
        let label = is_clear.then(|| f64::from(u32::try_from(order[0]).unwrap()) * 10.0);
        (if self.is_binary { vec![1.0 - sums[0], sums[0]] } else { sums }, label)
    }

    fn model(&self, with_label: bool) -> Vec<u8> {
        let tensor = |name: &str, elem_type, columns: Option<usize>| {
            let batch = Dimension { value: None, name: Some("batch".into()) };
            let columns = columns.map(|columns| Dimension { value: i64::try_from(columns).ok(), name: None });
            let shape = Shape { dim: std::iter::once(batch).chain(columns).collect() }.encode_to_vec();
            let ty = ValueType { tensor: Some(TensorType { elem_type, shape: Some(shape) }) };
            ValueInfo { name: name.into(), ty: Some(ty) }
        };
        let mut output = vec![tensor("scores", FLOAT, Some(self.outputs))];
        if with_label {
            output.push(tensor("label", INT64, None));
        }
        let input = vec![tensor("input", FLOAT, Some(FEATURES))];
        let graph = Graph { node: vec![self.node.clone()], name: "forest".into(), input, output };
        let opset = |domain: &str, version| Opset { domain: domain.into(), version };
        let opset = vec![opset("", self.opset), opset("ai.onnx.ml", 1)];
        Model { ir_version: 8, graph: Some(graph), opset }.encode_to_vec()
    }

    /// Runs it as the gateway does, or as it is, without its label.
    pub(super) fn run(&self, values: &[f32], split: bool) -> Results {
        let bytes = self.model(split && self.is_classifier);
        let mut session = if split { engine::session(&bytes) } else { engine::session_as_is(&bytes) }.unwrap();
        Self::results(&mut session, values)
    }

    fn results(session: &mut Session, values: &[f32]) -> Results {
        let input = Tensor::from_array(([values.len() / FEATURES, FEATURES], values.to_vec())).unwrap();
        let outputs = session.run(ort::inputs!["input" => input]).unwrap();
        let scores = outputs["scores"].try_extract_tensor::<f32>().unwrap().1.to_vec();
        let labels = outputs.iter().find(|(name, _)| name.starts_with("label"));
        let labels = labels.map(|(_, labels)| labels.try_extract_tensor::<f64>().unwrap().1.to_vec());
        Results { scores, labels: labels.unwrap_or_default() }
    }
}
