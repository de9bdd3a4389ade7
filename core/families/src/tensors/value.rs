//! What happens to each value of a tensor on the way to GGUF.
//! Owns the changes; must not know names or shapes.

use serde::Deserialize;

/// What a row says of each value.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ValueRule {
    #[default]
    None,
    AddOne,
    NegativeExp,
    /// Divided by the square root of the model's width.
    OverRootWidth,
    SoftPlus,
    One,
}

impl ValueRule {
    /// What that is in a model of this width.
    ///
    /// # Errors
    /// Those of `width`.
    pub(crate) fn change<E>(self, width: impl Fn() -> Result<u64, E>) -> Result<ValueChange, E> {
        Ok(match self {
            Self::None => ValueChange::None,
            Self::AddOne => ValueChange::AddOne,
            Self::NegativeExp => ValueChange::NegativeExp,
            Self::OverRootWidth => ValueChange::OverRoot(width()?),
            Self::SoftPlus => ValueChange::SoftPlus,
            Self::One => ValueChange::One,
        })
    }
}

/// What happens to each value on the way to GGUF.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ValueChange {
    /// Nothing.
    #[default]
    None,
    /// `1 + w`: norms stored as the difference from one.
    AddOne,
    /// `-exp(w)`: decay rates stored as logarithms.
    NegativeExp,
    /// `w / √n`: norms before logits that are scaled.
    OverRoot(u64),
    /// `ln(1 + exp(w))`: scales stored as what may be below zero.
    SoftPlus,
    /// 1, whatever is stored: weights that the model does without.
    One,
}

impl ValueChange {
    /// Changes `values` in place.
    pub fn apply(self, values: &mut [f32]) {
        match self {
            Self::None => {}
            Self::AddOne => values.iter_mut().for_each(|value| *value += 1.0),
            // Through 64 bits, so that every machine rounds the same.
            Self::NegativeExp => {
                values.iter_mut().for_each(|value| *value = -f64::from(*value).exp() as f32);
            }
            Self::OverRoot(n) => {
                let root = (n as f64).sqrt();
                values.iter_mut().for_each(|value| *value = (f64::from(*value) / root) as f32);
            }
            Self::One => values.fill(1.0),
            Self::SoftPlus => {
                values.iter_mut().for_each(|value| *value = f64::from(*value).exp().ln_1p() as f32);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_changed() {
        let mut values = [0.0, 1.0];
        ValueChange::AddOne.apply(&mut values);
        assert_eq!(values, [1.0, 2.0]);
        ValueChange::NegativeExp.apply(&mut values);
        assert_eq!(values, [-(1f32.exp()), -(2f32.exp())]);
        let mut values = [0.0, -100.0];
        ValueChange::SoftPlus.apply(&mut values);
        assert_eq!(values, [std::f32::consts::LN_2, (-100f64).exp() as f32]);
    }
}
