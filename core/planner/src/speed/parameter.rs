//! What is believed of a processor: numbers as natural logarithms, with their covariance.
//! Owns their names; must not know where a belief comes from.

use formats::gguf::GgmlType;
use serde::{Deserialize, Serialize};

/// One of the two things that time is spent on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Writing, a token at a time.
    Decode,
    /// Reading a prompt, many tokens at a time.
    Prefill,
}

impl Phase {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Decode, Self::Prefill];
}

/// A number that the equations of time take.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Parameter {
    /// Writing: GB/s at which Q4_0 weights go by (η · bandwidth). Reading: billions of Q4_0 weights times tokens per
    /// second (F∞).
    Speed,
    /// Milliseconds per layer and token, whatever the layer's size (ℓ).
    Layer,
    /// Milliseconds per layer and token in which matrices go to the processor and back.
    Crossing,
    /// Milliseconds per recurrent layer and token whose recurrence goes to the processor and back.
    Recurrence,
    /// Nanoseconds per number of a recurrent state and token.
    State,
    /// Cost of a weight in a matrix that is too narrow for the fast kernel, as a multiple.
    Narrow,
    /// Tokens of a prompt whose time the fixed cost of reading equals (n½).
    HalfLength,
    /// How much more a weight of this type costs than the table says, as a multiple.
    Type(GgmlType),
    /// How much slower this model is than its work says, as a multiple.
    Model(String),
}

impl From<Parameter> for String {
    fn from(parameter: Parameter) -> Self {
        match parameter {
            Parameter::Speed => "speed".into(),
            Parameter::Layer => "layer".into(),
            Parameter::Crossing => "crossing".into(),
            Parameter::Recurrence => "recurrence".into(),
            Parameter::State => "state".into(),
            Parameter::Narrow => "narrow".into(),
            Parameter::HalfLength => "half_length".into(),
            Parameter::Type(ty) => format!("type:{}", ty.name()),
            Parameter::Model(name) => format!("model:{name}"),
        }
    }
}

impl TryFrom<String> for Parameter {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let unknown = || format!("expected a parameter of the speed model, got {text}");
        Ok(match text.as_str() {
            "speed" => Self::Speed,
            "layer" => Self::Layer,
            "crossing" => Self::Crossing,
            "recurrence" => Self::Recurrence,
            "state" => Self::State,
            "narrow" => Self::Narrow,
            "half_length" => Self::HalfLength,
            other => match other.split_once(':') {
                Some(("type", name)) => GgmlType::from_name(name).map(Self::Type).ok_or_else(unknown)?,
                Some(("model", name)) => Self::Model(name.into()),
                _ => return Err(unknown()),
            },
        })
    }
}

/// Logarithms of numbers that are not known exactly: means and covariance.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Belief {
    names: Vec<Parameter>,
    means: Vec<f64>,
    /// Rows of a symmetric matrix.
    covariance: Vec<Vec<f64>>,
}

impl Belief {
    /// Adds a number that hangs together with no other: its mean and the standard deviation of its logarithm. What is
    /// there already stays.
    pub fn add(&mut self, name: Parameter, value: f64, deviation: f64) {
        if self.names.contains(&name) {
            return;
        }
        for row in &mut self.covariance {
            row.push(0.0);
        }
        let mut row = vec![0.0; self.names.len()];
        row.push(deviation * deviation);
        self.covariance.push(row);
        self.names.push(name);
        self.means.push(value.ln());
    }

    /// The number itself (not its logarithm); `None` where nothing is believed.
    pub fn value(&self, name: &Parameter) -> Option<f64> {
        self.place(name).map(|place| self.means[place].exp())
    }

    /// Standard deviation of the number's logarithm.
    pub fn deviation(&self, name: &Parameter) -> Option<f64> {
        self.place(name).map(|place| self.covariance[place][place].max(0.0).sqrt())
    }

    /// Standard deviation of the logarithm of one number over another.
    pub fn deviation_between(&self, one: &Parameter, other: &Parameter) -> Option<f64> {
        let (one, other) = (self.place(one)?, self.place(other)?);
        let at = |row: usize, column: usize| self.covariance[row][column];
        Some((at(one, one) + at(other, other) - 2.0 * at(one, other)).max(0.0).sqrt())
    }

    /// Every number's name.
    pub fn names(&self) -> &[Parameter] {
        &self.names
    }

    /// The same without the numbers that `keep` refuses.
    pub(crate) fn retain(&self, keep: impl Fn(&Parameter) -> bool) -> Self {
        let places: Vec<usize> = (0..self.names.len()).filter(|place| keep(&self.names[*place])).collect();
        Self {
            names: places.iter().map(|place| self.names[*place].clone()).collect(),
            means: places.iter().map(|place| self.means[*place]).collect(),
            covariance: places
                .iter()
                .map(|row| places.iter().map(|column| self.covariance[*row][*column]).collect())
                .collect(),
        }
    }

    pub(crate) fn means(&self) -> &[f64] {
        &self.means
    }

    pub(crate) fn covariance(&self) -> &[Vec<f64>] {
        &self.covariance
    }

    /// The same numbers with other means and covariance.
    pub(crate) fn moved(&self, means: Vec<f64>, covariance: Vec<Vec<f64>>) -> Self {
        Self { names: self.names.clone(), means, covariance }
    }

    /// The same with one number multiplied by e^`by` and `left` of its deviation.
    pub(crate) fn shifted(&self, name: &Parameter, by: f64, left: f64) -> Self {
        let mut shifted = self.clone();
        if let Some(place) = self.place(name) {
            shifted.means[place] += by;
            for other in 0..self.names.len() {
                shifted.covariance[place][other] *= left;
                shifted.covariance[other][place] *= left;
            }
        }
        shifted
    }

    /// Variance of a quantity whose logarithm changes by `gradient` with the numbers.
    pub(crate) fn variance(&self, gradient: &[f64]) -> f64 {
        let rows = self.covariance.iter().zip(gradient);
        rows.map(|(row, a)| a * row.iter().zip(gradient).map(|(c, b)| c * b).sum::<f64>()).sum()
    }

    /// Whether it is whole: what comes from a file may not be.
    pub fn is_sound(&self) -> bool {
        let n = self.names.len();
        self.means.len() == n
            && self.covariance.len() == n
            && self.covariance.iter().all(|row| row.len() == n && row.iter().all(|number| number.is_finite()))
            && self.means.iter().all(|mean| mean.is_finite())
    }

    fn place(&self, name: &Parameter) -> Option<usize> {
        self.names.iter().position(|other| other == name)
    }
}
