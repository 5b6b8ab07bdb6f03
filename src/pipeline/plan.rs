//! The matrix of a batch: every cell has a number, so what is done is one bit per cell and nothing else is kept.

use std::collections::HashMap;
use std::sync::Arc;

use super::spec::RunSpec;
use crate::domain::{Cell, CellKey, Location, Question};
use crate::error::{Error, Result};

/// Questions × models × locations × repeats.
#[derive(Debug)]
pub(super) struct Matrix {
    pub(super) questions: Vec<Arc<Question>>,
    pub(super) models: Vec<Arc<str>>,
    pub(super) locations: Vec<Arc<Location>>,
    pub(super) repeats: u16,
    question_numbers: HashMap<String, usize>,
    model_numbers: HashMap<String, usize>,
    location_numbers: HashMap<String, usize>,
}

impl Matrix {
    /// # Errors
    /// [`crate::ErrorKind::Config`] when a question id, model or location stands twice, or the matrix is empty.
    pub(super) fn new(spec: &RunSpec) -> Result<Self> {
        let questions: Vec<_> = spec.questions.iter().cloned().map(Arc::new).collect();
        let models: Vec<Arc<str>> = spec.models.iter().map(|model| model.model.as_str().into()).collect();
        let anywhere = [Location::default()];
        let locations: &[Location] = if spec.locations.is_empty() { &anywhere } else { &spec.locations };
        let locations: Vec<_> = locations.iter().cloned().map(Arc::new).collect();
        if questions.is_empty() || models.is_empty() || spec.repeats == 0 {
            return Err(Error::config(
                "questions",
                "the plan is empty: it needs at least one question, one model and one repeat",
            ));
        }
        if let Some(question) = questions.iter().find(|question| question.text.trim().is_empty()) {
            return Err(Error::config("questions", format!("question {} is empty", question.id)));
        }
        Ok(Self {
            question_numbers: numbers("question id", questions.iter().map(|question| question.id.clone()))?,
            model_numbers: numbers("model", models.iter().map(ToString::to_string))?,
            location_numbers: numbers("location", locations.iter().map(ToString::to_string))?,
            questions,
            models,
            locations,
            repeats: spec.repeats,
        })
    }

    /// Cells of one pair.
    pub(super) fn cells_per_pair(&self) -> usize {
        self.questions.len() * usize::from(self.repeats)
    }

    /// All cells.
    pub(super) fn len(&self) -> usize {
        self.cells_per_pair() * self.models.len() * self.locations.len()
    }

    /// Number of the cell of a key; `None` when it is not in this plan.
    pub(super) fn number(&self, key: &CellKey) -> Option<usize> {
        let model = self.model_numbers.get(&key.model)?;
        let location = self.location_numbers.get(&key.location)?;
        let question = self.question_numbers.get(&key.question_id)?;
        let repeat = usize::from(key.repeat.checked_sub(1)?);
        (key.repeat <= self.repeats).then_some(())?;
        let pair = model * self.locations.len() + location;
        Some((pair * usize::from(self.repeats) + repeat) * self.questions.len() + question)
    }

    /// The cell of a number.
    pub(super) fn cell(&self, number: usize) -> Option<Cell> {
        let question = self.questions.get(number % self.questions.len())?.clone();
        let rest = number / self.questions.len();
        let repeat = u16::try_from(rest % usize::from(self.repeats)).ok()? + 1;
        let pair = rest / usize::from(self.repeats);
        let model = self.models.get(pair / self.locations.len())?.clone();
        let location = self.locations.get(pair % self.locations.len())?.clone();
        Some(Cell { question, model, location, repeat })
    }

    /// Numbers of the cells of a pair. Equal questions follow each other at a distance: all questions of repeat 1 first.
    pub(super) fn pair(&self, model: usize, location: usize) -> std::ops::Range<usize> {
        let start = (model * self.locations.len() + location) * self.cells_per_pair();
        start..start + self.cells_per_pair()
    }
}

fn numbers(what: &str, names: impl Iterator<Item = String>) -> Result<HashMap<String, usize>> {
    let mut numbers = HashMap::new();
    for (number, name) in names.enumerate() {
        if numbers.insert(name.clone(), number).is_some() {
            return Err(Error::config(what, format!("{what} '{name}' stands twice in the plan")));
        }
    }
    Ok(numbers)
}

/// One bit per cell.
#[derive(Debug, Clone)]
pub(super) struct Bits {
    words: Vec<u64>,
}

impl Bits {
    pub(super) fn new(length: usize) -> Self {
        Self { words: vec![0; length.div_ceil(64)] }
    }

    pub(super) fn set(&mut self, number: usize) {
        if let Some(word) = self.words.get_mut(number / 64) {
            *word |= 1 << (number % 64);
        }
    }

    pub(super) fn clear(&mut self, number: usize) {
        if let Some(word) = self.words.get_mut(number / 64) {
            *word &= !(1 << (number % 64));
        }
    }

    pub(super) fn get(&self, number: usize) -> bool {
        self.words.get(number / 64).is_some_and(|word| word >> (number % 64) & 1 == 1)
    }

    pub(super) fn count(&self, range: std::ops::Range<usize>) -> usize {
        range.filter(|number| self.get(*number)).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_cells_are_inverse() {
        let spec = serde_json::json!({
            "phase": "run", "batch_id": "b", "batch_size": 2, "repeats": 3, "extraction": "local",
            "org": {"id": "o", "name": "O"},
            "models": [{"model": "a", "run_id": "1"}, {"model": "b", "run_id": "2"}],
            "locations": [{"country": "US"}, {"country": "DE", "city": "Berlin"}],
            "questions": [{"id": "q|1", "text": "?"}, {"id": "q2", "text": "?"}],
        });
        let matrix = Matrix::new(&serde_json::from_value(spec).unwrap()).unwrap();
        assert_eq!(matrix.len(), 24);
        for number in 0..24 {
            let key = matrix.cell(number).unwrap().key();
            assert_eq!(matrix.number(&key.to_string().parse().unwrap()), Some(number));
        }
        assert_eq!(matrix.pair(1, 0), 12..18);
    }
}
