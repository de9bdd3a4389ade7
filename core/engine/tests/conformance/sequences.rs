//! Several sequences at once: each is computed as if it were alone, by the engine and by contexts in their place.

use llama_pajamas_engine::{CancelToken, ContextSettings, Error, Logits, Part, Separate, Sequences, Token};

use crate::{assert_close, context, decode, settings, tiny, tokens};

fn four() -> ContextSettings {
    ContextSettings { n_sequences: 4, ..settings() }
}

/// The engine's own and contexts in their place.
fn both() -> [Box<dyn Sequences>; 2] {
    let model = tiny();
    let contexts = (0..4).map(|_| model.clone().new_context(&settings()).unwrap()).collect();
    [model.new_sequences(&four()).unwrap(), Box::new(Separate::new(contexts))]
}

fn part(sequence: usize, tokens: &[Token]) -> Part<'_> {
    Part { sequence, tokens, want: Logits::Last }
}

#[test]
fn every_sequence_is_computed_as_if_it_were_alone() {
    let texts: Vec<Vec<Token>> = [30, 7, 1, 12].map(|n| tokens(n + 3)[3..].to_vec()).into();
    let alone: Vec<Vec<f32>> = texts.iter().map(|text| decode(&mut *context(), text)).collect();
    for mut sequences in both() {
        // In two steps, of which the second leaves one out, in any order.
        let (first, rest): (Vec<_>, Vec<_>) = texts.iter().map(|text| text.split_at(text.len() - 1)).unzip();
        let begin: Vec<Part<'_>> = [3, 0, 1].map(|i| Part { want: Logits::None, ..part(i, first[i]) }).into();
        sequences.decode(&begin, &CancelToken::new()).unwrap();
        let order = [1, 3, 2, 0];
        sequences.decode(&order.map(|i| part(i, rest[i])), &CancelToken::new()).unwrap();
        for (index, sequence) in order.into_iter().enumerate() {
            assert_eq!(sequences.n_past(sequence), texts[sequence].len());
            assert_close(sequences.logits(index, 0).unwrap(), &alone[sequence], 1e-4);
        }
        assert!(matches!(sequences.logits(0, 1), Err(Error::NoLogits { row: 1, kept: 1 })));
    }
}

#[test]
fn rows_of_several_tokens_are_kept_beside_single_ones() {
    let text = tokens(9);
    let mut alone = context();
    alone.decode(&text, Logits::All, &CancelToken::new()).unwrap();
    for mut sequences in both() {
        let all = Part { want: Logits::All, ..part(2, &text) };
        sequences.decode(&[part(3, &text), all], &CancelToken::new()).unwrap();
        for row in 0..9 {
            assert_close(sequences.logits(1, row).unwrap(), alone.logits(row).unwrap(), 1e-4);
        }
        assert_close(sequences.logits(0, 0).unwrap(), alone.logits(8).unwrap(), 1e-4);
    }
}

#[test]
fn sequences_are_copied_cut_and_restored_by_themselves() {
    let text = tokens(20);
    let whole = decode(&mut *context(), &text);
    for mut sequences in both() {
        let cancel = CancelToken::new();
        sequences.decode(&[part(0, &text[..15]), part(1, &text[..3])], &cancel).unwrap();
        sequences.copy(0, 1).unwrap();
        sequences.decode(&[part(0, &[1, 2, 3])], &cancel).unwrap();
        assert_eq!((sequences.n_past(0), sequences.n_past(1)), (18, 15));
        sequences.truncate(1, 10).unwrap();
        sequences.truncate(0, 15).unwrap();
        let state = sequences.state(0).unwrap();
        sequences.restore(3, &state).unwrap();
        sequences
            .decode(&[part(1, &text[10..]), part(3, &text[15..]), part(0, &text[15..])], &cancel)
            .unwrap();
        for index in 0..3 {
            assert_close(sequences.logits(index, 0).unwrap(), &whole, 1e-4);
        }
        let error = sequences.restore(2, &state[..50]).unwrap_err().to_string();
        assert!(error.contains("payload of"), "{error}");
        assert_eq!(sequences.n_past(2), 0);
        assert!(matches!(sequences.truncate(2, 1), Err(Error::Truncate { to: 1, n_past: 0, .. })));
    }
}

#[test]
fn what_cannot_be_computed_is_refused_before_anything_happens() {
    let mut sequences = tiny().new_sequences(&four()).unwrap();
    assert_eq!((sequences.n_sequences(), sequences.n_ctx()), (4, 256));
    let mut check = |parts: &[Part<'_>], said: &str| {
        let error = sequences.decode(parts, &CancelToken::new()).expect_err(said).to_string();
        assert!(error.contains(said), "{error}");
        assert!((0..4).all(|sequence| sequences.n_past(sequence) == 0));
    };
    check(&[], "nothing to decode");
    check(&[part(4, &[1])], "`sequence` is 4, expected each of 0 .. 4 at most once");
    check(&[part(1, &[1]), part(1, &[2])], "`sequence` is 1");
    check(&[part(1, &[1]), part(2, &[-1])], "token 0 is -1");
    check(
        &[part(1, &tokens(33)), part(2, &tokens(32))],
        "`tokens of all parts` is 65, expected at most n_batch = 64",
    );
    check(&[part(1, &tokens(257))], "0 held + 257 new tokens, room for 256");
    let cancel = CancelToken::new();
    cancel.cancel();
    let outcome = sequences.decode(&[part(0, &tokens(4))], &cancel);
    assert!(matches!(outcome, Err(Error::Cancelled)));
    for (change, said) in [
        (ContextSettings { n_sequences: 0, ..four() }, "`n_sequences` is 0, expected 1 ..= 256"),
        (ContextSettings { n_sequences: 257, ..four() }, "`n_sequences` is 257"),
    ] {
        let Err(error) = tiny().new_sequences(&change) else { panic!("accepted: {said}") };
        assert!(error.to_string().contains(said), "{error}");
    }
    let Err(error) = tiny().new_context(&four()) else { panic!("a context of four") };
    assert!(error.to_string().contains("`n_sequences` is 4"), "{error}");
}
