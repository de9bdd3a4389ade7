//! Any bytes as a store of reference logits or as a partial importance matrix: an error, or windows whose numbers are
//! finite and whose ids are of the vocabulary. Knows the public API alone.
#![no_main]

use evaluator::importance::Partial;
use evaluator::reference::Reader;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = Partial::read(bytes);
    let Ok(mut reader) = Reader::open(bytes) else { return };
    let n_vocab = reader.header().n_vocab;
    while let Ok(Some(window)) = reader.window() {
        assert!(window.tokens.iter().all(|token| usize::try_from(*token).is_ok_and(|id| id < n_vocab)));
        for record in &window.records {
            let kept = record.top.iter().chain(&record.tail);
            assert!(
                kept.clone()
                    .all(|(id, log_probability)| (*id as usize) < n_vocab && !log_probability.is_nan())
            );
        }
    }
});
