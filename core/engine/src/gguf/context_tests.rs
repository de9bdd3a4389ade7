//! Tests of what only the inside can bring about. Own: aborting in the middle of a computation.
//! May know: contexts' fields. Must not know: other engines; the conformance suite has the rest.

#[path = "../../tests/conformance/tiny_model.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared with the conformance suite")]
mod tiny_model;

use std::ops::ControlFlow;

use super::*;
use crate::LoadSettings;
use crate::gguf::{EngineOptions, GgufEngine};

#[test]
fn the_flag_aborts_inside_a_chunk_and_whole_parts_of_it_are_kept() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = tiny_model::TinyModel::new().write(dir.path());
    let engine = GgufEngine::start(EngineOptions::default()).expect("starts");
    let model = engine
        .load_model(&path, &LoadSettings::default(), &mut |_| ControlFlow::Continue(()))
        .expect("loads");
    let settings = ContextSettings { n_ctx: 256, n_batch: 64, n_ubatch: 8, ..ContextSettings::default() };
    let mut context = model.open_context(&settings).expect("opens");
    let tokens: Vec<Token> = (0..64).collect();
    context.decode(&tokens[..5], Logits::None, &CancelToken::new()).expect("decodes");

    // Past the check at the head of `decode`, so that only llama.cpp can notice.
    let cancel = CancelToken::new();
    cancel.cancel();
    let outcome = context.cancellable(&cancel, |context| context.decode_chunk(&tokens, 1));
    assert!(matches!(outcome, Err(Error::Cancelled)), "{outcome:?}");
    assert_eq!(context.n_past(), 5);
    // The same of a moment that comes while llama.cpp computes.
    context.set_time_limit(Some(Duration::ZERO));
    let outcome = context.cancellable(&CancelToken::new(), |context| context.decode_chunk(&tokens, 1));
    assert!(matches!(outcome, Err(Error::TimeLimit { n_past: 5, limit: Duration::ZERO })), "{outcome:?}");
    assert_eq!(context.n_past(), 5);
    context.set_time_limit(None);
    context.decode(&tokens, Logits::Last, &CancelToken::new()).expect("goes on");
    assert_eq!(context.n_past(), 69);
}
