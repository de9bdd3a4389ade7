//! Without the feature `constrain` no answer is held to a form: whoever asks is told.

use super::{Constraint, Held};
use crate::{Error, Result, Tokenizer};

pub(crate) fn hold(_constraint: &Constraint, _tokenizer: &Tokenizer) -> Result<Box<dyn Held>> {
    Err(Error::Unsupported { what: "an answer of a given form", feature: "constrain" })
}
