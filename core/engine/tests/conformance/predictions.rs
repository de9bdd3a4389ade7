//! Prediction layers, with models made so that it is known what they expect.

use super::*;
use llama_pajamas_engine::Part;

fn model(tiny: &TinyModel) -> Arc<dyn Model> {
    let dir = tempfile::tempdir().expect("a temporary directory");
    engine().load(&tiny.write(dir.path()), &LoadSettings::default(), &mut no_progress).expect("loads")
}

fn predicting(prediction_layers: bool) -> ContextSettings {
    let (n_threads, n_threads_batch) = (1, 1);
    ContextSettings {
        n_batch: 16,
        n_ubatch: 8,
        n_outputs_max: 8,
        n_threads,
        n_threads_batch,
        prediction_layers,
        ..settings()
    }
}

fn open(model: &Arc<dyn Model>, prediction_layers: bool) -> Box<dyn Context> {
    Arc::clone(model).new_context(&predicting(prediction_layers)).expect("opens")
}

fn likeliest(logits: &[f32]) -> Token {
    (0..logits.len()).max_by(|a, b| logits[*a].total_cmp(&logits[*b])).unwrap() as Token
}

fn decode(context: &mut dyn Context, tokens: &[Token]) -> Token {
    context.decode(tokens, Logits::Last, &CancelToken::new()).expect("decodes");
    likeliest(context.logits(0).expect("logits"))
}

fn expect(context: &mut dyn Context, next: Token, most: usize) -> Vec<Token> {
    context.predict(next, most, 0.0, &CancelToken::new()).expect("expects")
}

/// What the model says behind a token, whatever stands before it.
fn behind(model: &Arc<dyn Model>, token: Token) -> Token {
    decode(open(model, false).as_mut(), &[token])
}

#[test]
fn what_is_expected_is_what_the_model_says_then() {
    let model = model(&TinyModel::with_predictions(false));
    let mut context = open(&model, true);
    assert!(context.has_predictions());
    assert_eq!(expect(context.as_mut(), 7, 3), [0; 0], "nothing is held");
    let prompt: Vec<Token> = (0..45).collect();
    let mut next = decode(context.as_mut(), &prompt);
    for _ in 0..5 {
        let expected = expect(context.as_mut(), next, 3);
        let tokens: Vec<Token> = std::iter::once(next).chain(expected.iter().copied()).collect();
        context.decode(&tokens, Logits::All, &CancelToken::new()).expect("decodes");
        let says: Vec<Token> =
            (0..tokens.len()).map(|row| likeliest(context.logits(row).expect("logits"))).collect();
        assert_eq!(expected, says[..3]);
        next = says[3];
    }
}

#[test]
fn each_token_goes_with_the_state_before_it() {
    let model = model(&TinyModel::with_predictions(true));
    let mut context = open(&model, true);
    let tokens: Vec<Token> = (30..75).collect();
    decode(context.as_mut(), &tokens);
    let says = |token| behind(&model, token);
    assert_eq!(expect(context.as_mut(), 1, 2), [says(74), says(74)]);
    // What was read for it is forgotten: the same again, and behind others.
    assert_eq!(expect(context.as_mut(), 9, 1), [says(74)]);
    decode(context.as_mut(), &[5]);
    assert_eq!(expect(context.as_mut(), 1, 1), [says(5)]);
    for n_past in [44, 41] {
        context.truncate(n_past).expect("goes back");
        assert_eq!(expect(context.as_mut(), 1, 1), [says(tokens[n_past - 1])], "{n_past}");
    }
    let state = context.state().expect("a state");
    decode(context.as_mut(), &[6, 7]);
    assert_eq!(expect(context.as_mut(), 1, 1), [says(7)]);
    context.restore(&state).expect("restores");
    assert_eq!(expect(context.as_mut(), 1, 1), [0; 0], "they have not read what was restored");
    context.truncate(0).expect("empties");
    decode(context.as_mut(), &[8]);
    assert_eq!(expect(context.as_mut(), 1, 1), [says(8)]);
}

#[test]
fn predictions_change_no_logits_and_are_asked_for() {
    let model = model(&TinyModel::with_predictions(false));
    let (mut with, mut without) = (open(&model, true), open(&model, false));
    assert!(!without.has_predictions());
    assert!(with.memory().context_bytes > without.memory().context_bytes);
    assert_eq!(with.memory().model_bytes, without.memory().model_bytes);
    for tokens in [&[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12][..], &[4], &[5, 6]] {
        decode(with.as_mut(), tokens);
        decode(without.as_mut(), tokens);
        assert_eq!(with.logits(0).expect("logits"), without.logits(0).expect("logits"));
        let next = expect(with.as_mut(), 3, 2);
        assert_eq!(next.len(), 2);
    }
    let doubts = with.predict(3, 2, 1.0, &CancelToken::new()).expect("expects");
    assert_eq!(doubts, [0; 0]);
}

#[test]
fn sequences_are_read_side_by_side() {
    let model = model(&TinyModel::with_predictions(true));
    let settings = ContextSettings { n_sequences: 3, n_batch: 64, ..predicting(true) };
    let mut sequences = Arc::clone(&model).new_sequences(&settings).expect("opens");
    assert!(sequences.has_predictions());
    let says = |token| behind(&model, token);
    let cancel = CancelToken::new();
    let part = |sequence, tokens| Part { sequence, tokens, want: Logits::Last };
    let (long, short): (Vec<Token>, Vec<Token>) = ((20..55).collect(), (100..103).collect());
    sequences.decode(&[part(2, &short), part(0, &long)], &cancel).expect("decodes");
    let expect = |sequences: &mut dyn llama_pajamas_engine::Sequences, sequence| {
        sequences.predict(sequence, 1, 1, 0.0, &cancel).expect("expects")
    };
    assert_eq!(expect(sequences.as_mut(), 0), [says(54)]);
    assert_eq!(expect(sequences.as_mut(), 2), [says(102)]);
    assert_eq!(expect(sequences.as_mut(), 1), [0; 0]);
    sequences.decode(&[part(0, &[7]), part(1, &[8, 9]), part(2, &[10, 11, 12])], &cancel).expect("decodes");
    for (sequence, last) in [(0, 7), (1, 9), (2, 12)] {
        assert_eq!(expect(sequences.as_mut(), sequence), [says(last)], "{sequence}");
    }
    sequences.truncate(2, 4).expect("goes back");
    assert_eq!(expect(sequences.as_mut(), 2), [says(10)]);
    sequences.copy(0, 1).expect("copies");
    sequences.decode(&[part(1, &[77])], &cancel).expect("decodes");
    assert_eq!(expect(sequences.as_mut(), 1), [says(77)]);
    assert_eq!(expect(sequences.as_mut(), 0), [says(7)]);
}
