//! Metadata keys of our own: what a tokenizer.json states and the keys of the format cannot. A file has each only where
//! the format's keys would lead to other ids or another text; who does not know them passes them over.

/// The tokens that are matched before the model runs, a JSON array of objects with `id`, `content` and those of the
/// flags `single_word`, `lstrip`, `rstrip`, `normalized` and `special` that are set (`string`). Implied otherwise:
/// tokens of type 2, 3 and 4, the first two special.
pub const ADDED_TOKENS: &str = "llama_pajamas.tokenizer.added_tokens";
/// The normalizer as tokenizer.json spells it, a character map left empty (`string`).
pub const NORMALIZER: &str = "llama_pajamas.tokenizer.normalizer";
/// The pre-tokenizer as tokenizer.json spells it (`string`).
pub const PRE_TOKENIZER: &str = "llama_pajamas.tokenizer.pre_tokenizer";
/// Rules of the model, a JSON object with the fields of [`ModelRules`](super::ModelRules) (`string`).
pub const MODEL: &str = "llama_pajamas.tokenizer.model";
/// Scores of the model's tokens, where 32 bits do not hold them (`f64[]`).
pub const SCORES: &str = "llama_pajamas.tokenizer.scores";
/// Ids that are put before a text (`i32[]`).
pub const PREFIX: &str = "llama_pajamas.tokenizer.prefix";
/// Ids that are put behind a text (`i32[]`).
pub const SUFFIX: &str = "llama_pajamas.tokenizer.suffix";
/// What becomes of a space at the start of decoded text: a name of [`LeadingSpace`](super::LeadingSpace) (`string`).
pub const LEADING_SPACE: &str = "llama_pajamas.tokenizer.leading_space";
