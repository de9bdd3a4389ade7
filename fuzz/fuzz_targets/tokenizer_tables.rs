//! Any tables as a GGUF file's tokenizer: an error, or a tokenizer whose ids are those of its tokens, for any text.
//! Parts lie between NULs, lines within them are entries. Knows the public API alone.
#![no_main]

use formats::gguf::{Array, Metadata, Value};
use libfuzzer_sys::fuzz_target;
use llama_pajamas::Tokenizer;
use llama_pajamas::tokenizer::TextStream;
use std::sync::Arc;

fuzz_target!(|bytes: &[u8]| {
    let mut parts = bytes.splitn(7, |byte| *byte == 0);
    let mut part = || parts.next().unwrap_or_default();
    let lines =
        |part: &[u8]| String::from_utf8_lossy(part).split('\n').map(str::to_string).collect::<Vec<_>>();
    // Kind of tokenizer, pre-tokenizer, and anything at all for no space in front.
    let mut head = lines(part()).into_iter();
    let [kind, pre, space] = [(); 3].map(|()| head.next().unwrap_or_default());
    let tokens = lines(part());
    let kinds = part().iter().map(|byte| i32::from(*byte) - i32::from(b'0')).collect();
    let scores = lines(part()).into_iter().map(|text| text.parse().unwrap_or(-1.0));
    let scores = scores.chain(std::iter::repeat(-2.0)).take(tokens.len()).collect();
    let (merges, text) = (lines(part()), String::from_utf8_lossy(part()).into_owned());
    let map = part();
    let mut metadata = Metadata::new();
    let ids = [("bos", 1), ("eos", 2), ("unknown", 0)];
    for (key, id) in ids {
        metadata.insert(format!("tokenizer.ggml.{key}_token_id"), Value::U32(id));
    }
    metadata.insert("tokenizer.ggml.model", Value::String(kind));
    metadata.insert("tokenizer.ggml.pre", Value::String(pre));
    metadata.insert("tokenizer.ggml.add_space_prefix", Value::Bool(space.is_empty()));
    metadata.insert("tokenizer.ggml.scores", Value::Array(Array::F32(scores)));
    metadata.insert("tokenizer.ggml.token_type", Value::Array(Array::I32(kinds)));
    if merges != [""] {
        metadata.insert("tokenizer.ggml.merges", Value::Array(Array::String(merges)));
    }
    if !map.is_empty() {
        metadata.insert("tokenizer.ggml.precompiled_charsmap", Value::Array(Array::U8(map.to_vec())));
    }
    let n_tokens = tokens.len();
    metadata.insert("tokenizer.ggml.tokens", Value::Array(Array::String(tokens)));
    let Ok(tokenizer) = Tokenizer::from_metadata(&metadata) else { return };
    assert_eq!(tokenizer.n_vocab(), n_tokens);
    let Ok(ids) = tokenizer.encode(&text, true) else { return };
    assert!(ids.iter().all(|id| usize::try_from(*id).is_ok_and(|id| id < n_tokens)), "{ids:?}");
    let _ = tokenizer.decode(&ids);
    let mut stream = TextStream::new(Arc::new(tokenizer));
    ids.iter().for_each(|id| drop(stream.push(*id)));
    let _ = stream.finish();
});
