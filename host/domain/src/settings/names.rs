//! Hints for misspelt names.

/// The hint for an unknown name, with the most similar known one.
pub fn unknown_name_hint<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> String {
    match most_similar(name, known) {
        Some(nearest) => format!("is unknown; did you mean `{nearest}`?"),
        None => "is unknown; remove it".into(),
    }
}

/// The most similar known name, if one is similar enough.
pub fn most_similar<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    /// Jaro-Winkler similarity from which a name is suggested.
    const MIN_SIMILARITY: f64 = 0.8;
    let scored = known.map(|known| (known, strsim::jaro_winkler(name, known)));
    let best = scored.max_by(|(_, a), (_, b)| a.total_cmp(b))?;
    (best.1 >= MIN_SIMILARITY).then_some(best.0)
}
