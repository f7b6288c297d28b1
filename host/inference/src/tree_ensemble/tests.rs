//! Forests of every kind as the built-in engine is given them, against a walk through their trees and against the engine's own
//! operator, and forests that are refused.

use proptest::prelude::*;

use super::*;

mod random;

use random::{FEATURES, Forest};

/// The largest difference relative to one, or to a larger result.
const TOLERANCE: f64 = 1e-5;
/// A difference of two scores above which no rounding changes which is larger.
const CLEAR: f64 = 1e-3;

fn assert_close(results: &[f32], expected: &[f64]) {
    assert_eq!(results.len(), expected.len());
    for (result, expected) in results.iter().zip(expected) {
        let difference = (f64::from(*result) - expected).abs();
        assert!(difference <= TOLERANCE * expected.abs().max(1.0), "{results:?}, not {expected:?}");
    }
}

/// The number of ensembles in place of a node.
fn parts(node: &Node) -> usize {
    let (nodes, _) = replaced(node, 17).unwrap().unwrap();
    nodes.iter().filter(|node| node.op_type == "TreeEnsembleClassifier").count()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_split_forest_computes_the_same(seed: u64, rows in 1_usize..4) {
        let forest = Forest::new(seed);
        let values = forest.values(rows);
        let results = forest.run(&values, true);
        let mut as_is = forest.is_native_to_the_engine().then(|| forest.run(&values, false).scores.into_iter());
        let mut scores = results.scores.iter().copied();
        for (row, values) in values.chunks(FEATURES).enumerate() {
            let (expected, label) = forest.expected(values);
            let scores: Vec<f32> = scores.by_ref().take(expected.len()).collect();
            assert_close(&scores, &expected);
            if let Some(as_is) = &mut as_is {
                let unsplit: Vec<f64> = as_is.by_ref().take(expected.len()).map(f64::from).collect();
                assert_close(&scores, &unsplit);
            }
            if let Some(label) = label {
                assert_eq!(results.labels[row], label);
            }
        }
    }
}

#[test]
fn a_forest_is_split_by_the_number_of_its_votes() {
    assert_eq!([trees_per_part(1, 2), trees_per_part(3, 6)], [1, 3]);
    // 100 trees with 10 votes each: 25 ensembles of four.
    assert_eq!(trees_per_part(100, 1000), 4);
    assert_eq!(trees_per_part(100, 100_000), 1);
}

#[test]
fn leaves_with_the_same_votes_are_one() {
    let mut node = Forest::new(1).node;
    let weights = node.attribute.iter_mut().find(|attribute| attribute.name.ends_with("_weights")).unwrap();
    weights.floats.iter_mut().for_each(|weight| *weight = 0.0);
    let ensemble = Ensemble::parse(&node).unwrap().unwrap();
    assert_eq!(ensemble.votes(), 0);
    assert_eq!(parts(&node), ensemble.trees.len().div_ceil(trees_per_part(ensemble.trees.len(), 0)));
}

#[test]
fn other_nodes_and_what_the_engine_refuses_stay() {
    assert!(replaced(&Node::new("Abs", &["input"], "scores", Vec::new()), 17).unwrap().is_none());
    let unchanged = |change: &dyn Fn(&mut Node)| {
        let mut node = Forest::new(1).node;
        change(&mut node);
        replaced(&node, 17).unwrap().is_none()
    };
    assert!(!unchanged(&|_| {}));
    assert!(unchanged(&|node| node.attribute.push(Attribute::of_text("nodes_values_as_tensor", ""))));
    assert!(unchanged(&|node| list(node, "nodes_values").floats.truncate(1)));
    assert!(unchanged(&|node| list(node, "post_transform").s = b"PROBIT".to_vec()));
}

fn list<'a>(node: &'a mut Node, name: &str) -> &'a mut Attribute {
    node.attribute.iter_mut().find(|attribute| attribute.name == name).unwrap()
}

/// Two leaves, a branch, and what a change makes wrong about them.
fn refusal(change: impl Fn(&mut Node)) -> String {
    let mut node = random::stump();
    assert!(replaced(&node, 17).unwrap().is_some());
    change(&mut node);
    replaced(&node, 17).err().unwrap_or_else(|| "it was split".into())
}

#[test]
fn mistakes_that_the_engine_does_not_notice_are_refused() {
    let hint = "; export the model again";
    let reason = refusal(|node| list(node, "class_ids").ints[0] = 7);
    assert_eq!(
        reason,
        format!("a leaf of its TreeEnsembleClassifier votes for 7, and it has 3 classes or targets{hint}")
    );
    let tree = "tree 0 of its TreeEnsembleClassifier";
    let reason = refusal(|node| list(node, "nodes_truenodeids").ints[0] = 9);
    assert_eq!(reason, format!("{tree} has no node 9, to which its node 0 leads{hint}"));
    let reason = refusal(|node| list(node, "nodes_truenodeids").ints[0] = 0);
    assert_eq!(reason, format!("{tree} leads back to a node that it comes from{hint}"));
    let reason = refusal(|node| list(node, "nodes_modes").strings.fill(b"BRANCH_LT".to_vec()));
    assert_eq!(reason, format!("{tree} has no leaf{hint}"));
}
