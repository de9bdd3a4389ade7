//! Any bytes as the tokenizer files of a checkpoint, parts between runs of `\n~\n`: an error with a file, or metadata
//! whose tables have one entry per token. Knows the public API alone.
#![no_main]

use families::Family;
use libfuzzer_sys::fuzz_target;

/// The files; the first two are each other's alternative.
const FILES: [&str; 6] = [
    "tokenizer.model",
    "tokenizer.json",
    "tokenizer_config.json",
    "added_tokens.json",
    "merges.txt",
    "chat_template.jinja",
];

fuzz_target!(|bytes: &[u8]| {
    let place = tempfile::tempdir().expect("a place for temporary files");
    let mut rest = bytes;
    for file in FILES {
        let end = rest.windows(3).position(|mark| mark == b"\n~\n").unwrap_or(rest.len());
        if end > 0 {
            std::fs::write(place.path().join(file), &rest[..end]).expect("room");
        }
        rest = rest.get(end + 3..).unwrap_or_default();
    }
    let config = serde_json::json!({"model_type": "llama", "vocab_size": 300, "bos_token_id": 1});
    let family = Family::for_architecture("llama").expect("a family of the first three");
    match quantizer::tokenizer::convert(place.path(), &config, family) {
        Ok(metadata) => {
            let n_tokens = metadata.strings("tokenizer.ggml.tokens").expect("always written").len();
            let kinds = metadata.i32s("tokenizer.ggml.token_type").expect("always written").len();
            assert_eq!(kinds, n_tokens);
            assert!(metadata.f32s("tokenizer.ggml.scores").is_none_or(|scores| scores.len() == n_tokens));
        }
        Err(error) => assert!(error.to_string().contains(&*place.path().to_string_lossy()), "{error}"),
    }
});
