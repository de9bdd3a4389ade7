//! Watched contexts: what flows into weights is shown whole, and nothing changes by it.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};

use llama_pajamas_engine::gguf::{EngineOptions, GgufContext, GgufEngine};
use llama_pajamas_engine::{
    CancelToken, Context as _, ContextSettings, LoadSettings, Logits, Product, Watch,
};

use crate::tiny_model::{N_EMBD, N_FF, N_LAYERS, TinyModel};
use crate::{assert_close, context, settings, tokens};

/// Rows by weight.
type Seen = Arc<Mutex<BTreeMap<String, Vec<Vec<f32>>>>>;

struct Keeper {
    seen: Seen,
    wanted: fn(&str) -> bool,
}

impl Watch for Keeper {
    fn wants(&mut self, weight: &str) -> bool {
        (self.wanted)(weight)
    }

    fn saw(&mut self, product: &Product<'_>) {
        assert_eq!((product.n_matrices, product.matrices_per_row()), (1, 1), "{}", product.weight);
        let mut seen = self.seen.lock().unwrap();
        let rows = seen.entry(product.weight.to_owned()).or_default();
        rows.extend(product.iter().map(|(row, matrices)| {
            assert_eq!(matrices, [0]);
            row.to_vec()
        }));
    }
}

fn watched(watch: Box<dyn Watch>, settings: &ContextSettings) -> GgufContext {
    let dir = tempfile::tempdir().unwrap();
    let path = TinyModel::new().write(dir.path());
    let engine = GgufEngine::start(EngineOptions::default()).unwrap();
    let model = engine.load_model(&path, &LoadSettings::default(), &mut |_| ControlFlow::Continue(()));
    model.unwrap().open_watched_context(settings, watch).unwrap()
}

#[test]
fn every_weight_is_seen_with_the_rows_that_it_multiplies() {
    let seen = Seen::default();
    let settings = settings();
    let mut watched = watched(Box::new(Keeper { seen: Arc::clone(&seen), wanted: |_| true }), &settings);
    let mut plain = context();
    let sentence = tokens(40);
    watched.decode(&sentence, Logits::All, &CancelToken::new()).unwrap();
    plain.decode(&sentence, Logits::All, &CancelToken::new()).unwrap();
    let seen = seen.lock().unwrap();
    assert_eq!(seen.len(), N_LAYERS * 7 + 1);
    for (name, rows) in &*seen {
        let width = if name.ends_with("ffn_down.weight") { N_FF } else { N_EMBD };
        assert_eq!((rows.len(), rows[0].len()), (40, width), "{name}");
    }
    let model = TinyModel::new();
    for (token, row) in seen["output.weight"].iter().enumerate() {
        let dot = |weights: &[f32]| weights.iter().zip(row).map(|(w, x)| w * x).sum::<f32>();
        let expected: Vec<f32> = model.weights("output.weight").chunks(N_EMBD).map(dot).collect();
        assert_close(plain.logits(token).unwrap(), &expected, 1e-4);
        assert_close(watched.logits(token).unwrap(), plain.logits(token).unwrap(), 0.0);
    }
}

#[test]
fn what_nobody_wants_is_not_shown() {
    let seen = Seen::default();
    let wanted = |name: &str| name == "blk.1.ffn_down.weight";
    let mut context = watched(Box::new(Keeper { seen: Arc::clone(&seen), wanted }), &settings());
    context.decode(&tokens(20), Logits::All, &CancelToken::new()).unwrap();
    context.decode(&tokens(3), Logits::Last, &CancelToken::new()).unwrap();
    let seen = seen.lock().unwrap();
    assert_eq!(seen.keys().collect::<Vec<_>>(), ["blk.1.ffn_down.weight"]);
    // Of the last layer only tokens whose logits are kept are computed to the end.
    assert_eq!(seen["blk.1.ffn_down.weight"].len(), 21);
}

struct Panics;

impl Watch for Panics {
    fn wants(&mut self, _: &str) -> bool {
        true
    }

    fn saw(&mut self, product: &Product<'_>) {
        panic!("saw {}", product.weight);
    }
}

#[test]
fn a_panic_comes_back_to_the_caller() {
    let mut context = watched(Box::new(Panics), &settings());
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let _ = context.decode(&tokens(5), Logits::Last, &CancelToken::new());
    }));
    let panic = outcome.unwrap_err();
    let text = panic.downcast_ref::<String>().unwrap();
    assert!(text.starts_with("saw blk.0.attn_"), "{text}");
    drop(context);
}
