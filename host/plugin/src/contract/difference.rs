//! Describes how a component's function differs from the host's, type by type.

use std::collections::HashSet;
use std::sync::Arc;

use super::shape::{Function, Member, Shape, WitType, printable};

/// Number of members that one clause names.
const NAMED: usize = 5;

/// Compares functions; each pair of types is described once, with the first function that uses it.
#[derive(Default)]
pub(super) struct Differences {
    compared: HashSet<(*const WitType, *const WitType)>,
    /// The same type may occur twice: as the imported one and as the one that is exported again.
    reported: HashSet<String>,
}

impl Differences {
    /// Clauses that follow the function's name: "whose `frame` has an extra field (`quality`: u8)".
    pub(super) fn of(&mut self, theirs: &Function, ours: &Function) -> Vec<String> {
        let mut clauses = Vec::new();
        let mut pending = Vec::new();
        if theirs.is_async != ours.is_async {
            clauses.push(format!("which is {}async", if theirs.is_async { "" } else { "not " }));
        }
        let predicates = compare("parameter", &theirs.parameters, &ours.parameters, &mut pending);
        if !predicates.is_empty() {
            clauses.push(format!("which {}", predicates.join(" and ")));
        }
        match (&theirs.result, &ours.result) {
            (None, None) => {}
            (Some(theirs), None) => clauses.push(format!("which returns {} instead of nothing", theirs.notation())),
            (None, Some(ours)) => clauses.push(format!("which returns nothing instead of {}", ours.notation())),
            (Some(theirs), Some(ours)) => {
                if !is_alike(theirs, ours, &mut pending) {
                    clauses.push(format!("which returns {} instead of {}", theirs.notation(), ours.notation()));
                }
            }
        }
        while let Some((theirs, ours)) = pending.pop() {
            if self.compared.insert((Arc::as_ptr(&theirs), Arc::as_ptr(&ours))) {
                let predicates = compare_types(&theirs, &ours, &mut pending);
                if !predicates.is_empty() {
                    let clause = format!("whose `{}` {}", theirs.notation(), predicates.join(" and "));
                    if self.reported.insert(clause.clone()) {
                        clauses.push(clause);
                    }
                }
            }
        }
        clauses
    }
}

/// Pairs of types with members, found within other types and compared on their own.
type TypePairs = Vec<(Arc<WitType>, Arc<WitType>)>;

/// Whether two types have the same structure, down to those with members. Visits no more than the host's type has.
fn is_alike(theirs: &Arc<WitType>, ours: &Arc<WitType>, pending: &mut TypePairs) -> bool {
    match (&theirs.shape, &ours.shape) {
        (Shape::Primitive(theirs), Shape::Primitive(ours)) => theirs == ours,
        (Shape::Members(..), Shape::Members(..)) => {
            pending.push((Arc::clone(theirs), Arc::clone(ours)));
            true
        }
        (Shape::Built(word, theirs, length), Shape::Built(our_word, ours, our_length)) => {
            let is_same = word == our_word && length == our_length && theirs.len() == ours.len();
            is_same && theirs.iter().zip(ours).all(|pair| is_alike_if_any(pair, pending))
        }
        (Shape::Handle(theirs, resource), Shape::Handle(ours, our_resource)) => {
            theirs == ours && resource == our_resource
        }
        _ => false,
    }
}

fn is_alike_if_any(pair: (&Option<Arc<WitType>>, &Option<Arc<WitType>>), pending: &mut TypePairs) -> bool {
    match pair {
        (None, None) => true,
        (Some(theirs), Some(ours)) => is_alike(theirs, ours, pending),
        _ => false,
    }
}

/// How two types with members differ: "has an extra field (`quality`: u8)".
fn compare_types(theirs: &WitType, ours: &WitType, pending: &mut TypePairs) -> Vec<String> {
    let (Shape::Members(word, theirs), Shape::Members(our_word, ours)) = (&theirs.shape, &ours.shape) else {
        return Vec::new();
    };
    if word != our_word {
        return vec![format!("is {} instead of {}", article(word), article(our_word))];
    }
    let noun = match *word {
        "record" => "field",
        "flags" => "flag",
        _ => "case",
    };
    compare(noun, theirs, ours, pending)
}

fn compare(noun: &str, theirs: &[Member], ours: &[Member], pending: &mut TypePairs) -> Vec<String> {
    let mut predicates = Vec::new();
    let extra: Vec<&Member> = theirs.iter().filter(|member| find(ours, member).is_none()).collect();
    let missing: Vec<&Member> = ours.iter().filter(|member| find(theirs, member).is_none()).collect();
    predicates.extend(extra_members(noun, &extra));
    predicates.extend(missing_members(noun, &missing));
    let is_moved = theirs.iter().zip(ours).any(|(theirs, ours)| theirs.name != ours.name);
    if predicates.is_empty() && is_moved {
        predicates.push(format!("has its {noun}s in a different order ({} instead of {})", names(theirs), names(ours)));
    }
    for member in theirs {
        if let Some(ours) = find(ours, member) {
            predicates.extend(payload(noun, member, ours, pending));
        }
    }
    predicates
}

fn find<'m>(members: &'m [Member], wanted: &Member) -> Option<&'m Member> {
    members.iter().find(|member| member.name == wanted.name)
}

fn extra_members(noun: &str, members: &[&Member]) -> Option<String> {
    match members.len() {
        0 => None,
        1 => Some(format!("has an extra {noun} ({})", definitions(members))),
        number => Some(format!("has {number} extra {noun}s ({})", definitions(members))),
    }
}

fn missing_members(noun: &str, members: &[&Member]) -> Option<String> {
    match members.len() {
        0 => None,
        1 => Some(format!("lacks a {noun} ({})", definitions(members))),
        number => Some(format!("lacks {number} {noun}s ({})", definitions(members))),
    }
}

fn definitions(members: &[&Member]) -> String {
    let written: Vec<String> = members.iter().take(NAMED).map(|member| definition(member)).collect();
    format!("{}{}", written.join(", "), if members.len() > NAMED { ", …" } else { "" })
}

/// `` `quality`: u8 ``
fn definition(member: &Member) -> String {
    match &member.payload {
        Some(payload) => format!("`{}`: {}", printable(&member.name), payload.notation()),
        None => format!("`{}`", printable(&member.name)),
    }
}

fn names(members: &[Member]) -> String {
    let names: Vec<String> = members.iter().map(|member| format!("`{}`", printable(&member.name))).collect();
    names.join(", ")
}

fn payload(noun: &str, theirs: &Member, ours: &Member, pending: &mut TypePairs) -> Option<String> {
    let name = printable(&theirs.name);
    match (&theirs.payload, &ours.payload) {
        (None, None) => None,
        (Some(theirs), None) => Some(format!("has the {noun} `{name}` with {} instead of nothing", theirs.notation())),
        (None, Some(ours)) => Some(format!("has the {noun} `{name}` with nothing instead of {}", ours.notation())),
        (Some(theirs), Some(ours)) => (!is_alike(theirs, ours, pending))
            .then(|| format!("has the {noun} `{name}` as {} instead of {}", theirs.notation(), ours.notation())),
    }
}

fn article(word: &str) -> String {
    match word {
        "enum" => "an enum".into(),
        "flags" => "flags".into(),
        word => format!("a {word}"),
    }
}
