//! Vectors: of whole texts, pooled or one per token, from contexts that were opened for them.

use llama_pajamas_engine::{CancelToken, Context, ContextSettings, Error, Form, Logits, Pooling, Purpose};

use crate::tiny_model::N_EMBD;
use crate::{assert_close, context, settings, tiny, tokens};

fn reader(pooling: Option<Pooling>) -> Box<dyn Context> {
    let settings = ContextSettings { purpose: Purpose::Vectors(pooling), n_ubatch: 64, ..settings() };
    tiny().new_context(&settings).unwrap()
}

fn read(pooling: Option<Pooling>, count: usize) -> Vec<Vec<f32>> {
    let vectors = reader(pooling).embed(&tokens(count), &CancelToken::new()).unwrap();
    assert_eq!(vectors.width, N_EMBD);
    vectors.rows().map(<[f32]>::to_vec).collect()
}

#[test]
fn every_pooling_follows_from_the_vectors_of_the_tokens() {
    let rows = read(Some(Pooling::None), 20);
    assert_eq!(rows.len(), 20);
    let mean: Vec<f32> =
        (0..N_EMBD).map(|at| rows.iter().map(|row| row[at]).sum::<f32>() / rows.len() as f32).collect();
    for (pooling, expected) in
        [(Some(Pooling::Last), &rows[19]), (Some(Pooling::Cls), &rows[0]), (Some(Pooling::Mean), &mean)]
    {
        let pooled = read(pooling, 20);
        assert_eq!(pooled.len(), 1);
        assert_close(&pooled[0], expected, 1e-4);
    }
    // The file says nothing of pooling.
    assert_eq!(read(None, 20).len(), 20);
}

#[test]
fn a_text_leaves_nothing_to_the_next() {
    let mut reader = reader(Some(Pooling::Last));
    let cancel = CancelToken::new();
    reader.embed(&tokens(50), &cancel).unwrap();
    let second = reader.embed(&tokens(20), &cancel).unwrap();
    assert_close(&second.values, &read(Some(Pooling::Last), 20)[0], 1e-5);
    assert_eq!(reader.n_past(), 0);
}

#[test]
fn what_a_context_is_not_for_is_refused() {
    let cancel = CancelToken::new();
    assert!(matches!(context().embed(&tokens(3), &cancel), Err(Error::Purpose { .. })));
    assert!(matches!(context().encode(&tokens(3), &cancel), Err(Error::Purpose { .. })));
    assert_eq!(tiny().form(), Form::Decoder);
    let mut reader = reader(None);
    assert!(matches!(reader.decode(&tokens(3), Logits::Last, &cancel), Err(Error::Purpose { .. })));
    assert!(matches!(reader.embed(&[], &cancel), Err(Error::EmptyBatch)));
    assert!(matches!(reader.embed(&[-1], &cancel), Err(Error::TokenOutOfRange { index: 0, .. })));
    let error = reader.embed(&tokens(65), &cancel);
    assert!(matches!(error, Err(Error::TextTooLong { n_tokens: 65, max: 64 })));
    cancel.cancel();
    assert!(matches!(reader.embed(&tokens(3), &cancel), Err(Error::Cancelled)));
}
