//! Vectors and scores against an engine without a model: what is read, its limit, its length.

use crate::stage::{load, reciting};
use llama_pajamas::{CancelToken, EmbedSettings, Error};

#[test]
fn vectors_have_unit_length_unless_they_keep_theirs() {
    let (model, cancel) = (load(&reciting(""), 256), CancelToken::new());
    let settings = EmbedSettings { keep_length: true, ..EmbedSettings::default() };
    let kept = model.embedder(&settings).expect("opens").embed("ab", &cancel).expect("embeds");
    // The beginning of the sequence and two letters.
    assert_eq!((kept.n_tokens, kept.vectors), (3, vec![vec![3.0, f32::from(b'b') + 3.0]]));
    let mut embedder = model.embedder(&EmbedSettings::default()).expect("opens");
    let vector = &embedder.embed("ab", &cancel).expect("embeds").vectors[0];
    assert!((vector.iter().map(|value| value * value).sum::<f32>() - 1.0).abs() < 1e-6);
}

#[test]
fn texts_that_are_too_long_are_refused_or_cut() {
    let (model, cancel) = (load(&reciting(""), 256), CancelToken::new());
    let settings = EmbedSettings { max_tokens: Some(3), ..EmbedSettings::default() };
    let error = model.embedder(&settings).expect("opens").embed("abc", &cancel).expect_err("four tokens");
    assert_eq!(error.to_string(), "text: expected at most 3 tokens, got 4");
    let mut cutting = model.embedder(&EmbedSettings { truncate: true, ..settings }).expect("opens");
    assert_eq!(cutting.embed("abc", &cancel).expect("embeds").n_tokens, 3);
    cancel.cancel();
    assert!(matches!(cutting.embed("abc", &cancel), Err(Error::Cancelled)));
}

#[test]
fn a_pair_is_scored_as_one_text() {
    let (model, cancel) = (load(&reciting(""), 256), CancelToken::new());
    let mut ranker = model.ranker(&EmbedSettings::default()).expect("opens");
    let scores = ranker.scores("ab", "c", &cancel).expect("scores");
    assert_eq!(scores, [4.0, f32::from(b'c') + 3.0]);
}
