//! Snapshots: round trip, and what is refused.

use llama_pajamas_engine::{Context, ContextSettings, Error, KvType};

use crate::{assert_close, context, decode, settings, tiny, tokens};

#[test]
fn a_restored_context_goes_on_as_the_first_would_have() {
    let mut first = context();
    decode(&mut *first, &tokens(33));
    let state = first.state().unwrap();
    let expected = decode(&mut *first, &[7]);
    let mut second = context();
    decode(&mut *second, &tokens(5));
    second.restore(&state).unwrap();
    assert_eq!(second.n_past(), 33);
    assert!(second.logits(0).is_err());
    assert_close(&decode(&mut *second, &[7]), &expected, 0.0);
    assert_eq!(first.state().unwrap().len(), second.state().unwrap().len());
}

#[test]
fn an_empty_context_has_a_state_too() {
    let state = context().state().unwrap();
    let mut other = context();
    decode(&mut *other, &tokens(5));
    other.restore(&state).unwrap();
    assert_eq!(other.n_past(), 0);
    decode(&mut *other, &tokens(5));
}

#[test]
fn foreign_and_damaged_states_are_refused() {
    let mut first = context();
    decode(&mut *first, &tokens(33));
    let state = first.state().unwrap();
    let check = |context: &mut dyn Context, state: &[u8], part: &str| {
        let outcome = context.restore(state);
        let Err(Error::State { reason }) = outcome else { panic!("accepted: {part}") };
        assert!(reason.contains(part), "{reason}");
        context.truncate(0).unwrap();
        decode(context, &tokens(5));
    };
    check(&mut *context(), &[], "0 bytes");
    check(&mut *context(), &[0; 100], "not a state");
    check(&mut *context(), &state[..state.len() - 1], "payload of");
    for position in [40, 100, state.len() - 1] {
        let mut damaged = state.clone();
        damaged[position] ^= 1;
        check(&mut *context(), &damaged, "checksum");
    }
    let mut longer = state.clone();
    longer[16..24].copy_from_slice(&1_000_u64.to_le_bytes());
    check(&mut *context(), &longer, "1000 tokens held, room for 256");
    let halves = ContextSettings { type_k: KvType::F16, type_v: KvType::F16, ..settings() };
    check(&mut *tiny().new_context(&halves).unwrap(), &state, "cache type");
}
