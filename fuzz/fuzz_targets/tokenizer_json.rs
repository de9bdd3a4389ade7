//! Any bytes as a `tokenizer.json`: an error that points into the document, or a table whose ids are bounded.
//! Knows the public API alone.
#![no_main]

use formats::tokenizer_json::{Error, MAX_TOKEN_ID, Model, parse};
use libfuzzer_sys::fuzz_target;
use std::collections::HashSet;

fuzz_target!(|bytes: &[u8]| {
    let tokenizer = match parse(bytes) {
        Ok(tokenizer) => tokenizer,
        Err(Error::Json { offset, .. } | Error::Field { offset, .. } | Error::TooLong { offset, .. }) => {
            return assert!(offset <= bytes.len());
        }
        Err(_) => return,
    };
    assert!(tokenizer.added_tokens.iter().all(|token| token.id < MAX_TOKEN_ID));
    let vocab = match &tokenizer.model {
        Model::Bpe(model) => &model.vocab,
        Model::WordPiece(model) => &model.vocab,
        Model::WordLevel(model) => &model.vocab,
        Model::Unigram(model) => {
            return assert!(model.unk_id.is_none_or(|id| (id as usize) < model.vocab.len()));
        }
        _ => return,
    };
    let texts: HashSet<&str> = vocab.iter().map(|(text, _)| text.as_str()).collect();
    assert_eq!(texts.len(), vocab.len());
    assert!(vocab.iter().all(|(_, id)| *id < MAX_TOKEN_ID));
    // Parsing is a function of the bytes.
    assert_eq!(parse(bytes).as_ref(), Ok(&tokenizer));
});
