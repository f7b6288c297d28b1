//! The values of a source at one time, and how what must outlive a call is stored.

use std::collections::BTreeMap;
use std::time::Duration;

use bessai_plugin::Timestamp;

/// One value per column of a source; NaN if there is none.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Sample {
    pub(crate) at: Timestamp,
    pub(crate) values: Vec<f64>,
    /// Values that are text, by column; nearly always empty.
    pub(crate) texts: BTreeMap<usize, String>,
}

/// The seconds from one time to a later one; 0 if it is not later.
pub(crate) fn seconds_between(earlier: Timestamp, later: Timestamp) -> f64 {
    Duration::from_nanos(later.saturating_sub(earlier)).as_secs_f64()
}

/// Writes words of eight bytes, and texts.
#[derive(Default)]
pub(crate) struct StateWriter(pub(crate) Vec<u8>);

impl StateWriter {
    pub(crate) fn word(&mut self, word: u64) {
        self.0.extend_from_slice(&word.to_le_bytes());
    }

    pub(crate) fn number(&mut self, number: f64) {
        self.word(number.to_bits());
    }

    /// 0 stands for none, which no time of an event is.
    pub(crate) fn time(&mut self, at: Option<Timestamp>) {
        self.word(at.unwrap_or(0));
    }

    pub(crate) fn numbers(&mut self, numbers: &[f64]) {
        numbers.iter().for_each(|&number| self.number(number));
    }

    pub(crate) fn texts(&mut self, texts: &BTreeMap<usize, String>) {
        self.length(texts.len());
        for (&column, text) in texts {
            self.length(column);
            self.length(text.len());
            self.0.extend_from_slice(text.as_bytes());
        }
    }

    pub(crate) fn sample(&mut self, sample: Option<&Sample>) {
        self.time(sample.map(|sample| sample.at));
        if let Some(sample) = sample {
            self.numbers(&sample.values);
            self.texts(&sample.texts);
        }
    }

    fn length(&mut self, length: usize) {
        self.word(u64::try_from(length).unwrap_or(u64::MAX));
    }
}

/// Reads what [`StateWriter`] wrote; none if there is less.
pub(crate) struct StateReader<'a>(pub(crate) &'a [u8]);

impl StateReader<'_> {
    pub(crate) fn word(&mut self) -> Option<u64> {
        let (word, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u64::from_le_bytes(*word))
    }

    pub(crate) fn number(&mut self) -> Option<f64> {
        self.word().map(f64::from_bits)
    }

    pub(crate) fn time(&mut self) -> Option<Option<Timestamp>> {
        self.word().map(|at| (at > 0).then_some(at))
    }

    pub(crate) fn numbers(&mut self, count: usize) -> Option<Vec<f64>> {
        (0..count).map(|_| self.number()).collect()
    }

    pub(crate) fn texts(&mut self) -> Option<BTreeMap<usize, String>> {
        let count = self.word()?;
        (0..count).map(|_| Some((self.length()?, self.text()?))).collect()
    }

    pub(crate) fn sample(&mut self, columns: usize) -> Option<Option<Sample>> {
        let Some(at) = self.time()? else { return Some(None) };
        Some(Some(Sample { at, values: self.numbers(columns)?, texts: self.texts()? }))
    }

    fn text(&mut self) -> Option<String> {
        let length = self.length()?;
        let (text, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        String::from_utf8(text.to_vec()).ok()
    }

    fn length(&mut self) -> Option<usize> {
        usize::try_from(self.word()?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let sample = Sample { at: 7, values: vec![1.5, -2.0], texts: BTreeMap::from([(1, "é".into())]) };
        let mut writer = StateWriter::default();
        writer.sample(Some(&sample));
        writer.sample(None);
        let mut reader = StateReader(&writer.0);
        assert_eq!((reader.sample(2), reader.sample(2), reader.word()), (Some(Some(sample)), Some(None), None));
        for length in 0..writer.0.len() - 8 {
            assert_eq!(StateReader(&writer.0[..length]).sample(2), None, "{length}");
        }
    }
}
