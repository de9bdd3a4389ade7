//! Contexts: decoding, logits, going back, cancelling, threads.

use std::time::Duration;

use llama_pajamas_engine::{CancelToken, ContextSettings, Error, KvType, Logits};

use crate::tiny_model::{HEAD_DIM, N_KV_HEADS, N_LAYERS, N_VOCAB, TinyModel};
use crate::{assert_close, context, decode, reference, settings, tiny, tokens};

#[test]
fn logits_equal_the_reference_for_every_token() {
    let sentence = tokens(40);
    let expected = reference::logits(&TinyModel::new(), &sentence);
    let mut context = context();
    context.decode(&sentence, Logits::All, &CancelToken::new()).unwrap();
    assert_eq!(context.n_past(), 40);
    for (row, expected) in expected.iter().enumerate() {
        assert_close(context.logits(row).unwrap(), expected, 2e-4);
    }
}

#[test]
fn chunks_and_single_tokens_give_what_one_batch_gives() {
    let sentence = tokens(150);
    let whole = decode(&mut *context(), &sentence);
    let mut by_token = context();
    for token in &sentence[..149] {
        by_token.decode(&[*token], Logits::None, &CancelToken::new()).unwrap();
    }
    assert_close(&decode(&mut *by_token, &sentence[149..]), &whole, 1e-4);
    let small = ContextSettings { n_batch: 7, n_ubatch: 3, n_outputs_max: 1, ..settings() };
    let mut by_chunk = tiny().new_context(&small).unwrap();
    assert_close(&decode(&mut *by_chunk, &sentence), &whole, 1e-4);
    // The engine makes a context longer than it was asked for, but not what it takes at a time.
    let short = ContextSettings { n_ctx: 8, n_outputs_max: 1, ..settings() };
    let mut short = tiny().new_context(&short).unwrap();
    assert!(short.n_ctx() > 150);
    assert_close(&decode(&mut *short, &sentence), &whole, 1e-4);
}

#[test]
fn other_caches_and_fused_attention_stay_close() {
    let sentence = tokens(60);
    let exact = decode(&mut *context(), &sentence);
    for flash_attention in [None, Some(true), Some(false)] {
        for kv in [KvType::F16, KvType::F32, KvType::Bf16] {
            let other = ContextSettings { type_k: kv, type_v: kv, flash_attention, ..settings() };
            let mut context = tiny().new_context(&other).unwrap();
            assert_close(&decode(&mut *context, &sentence), &exact, 0.1);
        }
    }
}

#[test]
fn going_back_and_on_again_gives_the_same() {
    let sentence = tokens(30);
    let mut context = context();
    let first = decode(&mut *context, &sentence);
    decode(&mut *context, &tokens(20));
    context.truncate(29).unwrap();
    assert_eq!(context.n_past(), 29);
    assert!(matches!(context.logits(0), Err(Error::NoLogits { row: 0, kept: 0 })));
    assert_close(&decode(&mut *context, &sentence[29..]), &first, 1e-4);
    context.truncate(0).unwrap();
    assert_close(&decode(&mut *context, &sentence), &first, 0.0);
    let outcome = context.truncate(31);
    assert!(matches!(outcome, Err(Error::Truncate { to: 31, n_past: 30, .. })), "{outcome:?}");
}

#[test]
fn what_cannot_be_decoded_is_refused_before_anything_happens() {
    let mut context = context();
    let n_ctx = context.n_ctx();
    assert_eq!(n_ctx, 256);
    let cancel = CancelToken::new();
    let mut check = |tokens: &[i32], want, part: &str| {
        let message = context.decode(tokens, want, &cancel).expect_err(part).to_string();
        assert!(message.contains(part), "{message}");
        assert_eq!(context.n_past(), 0);
    };
    check(&[], Logits::Last, "at least one token");
    check(&[1, 2, -1], Logits::Last, "token 2 is -1");
    check(&[N_VOCAB as i32], Logits::Last, "token 0 is 259, expected 0 .. 259");
    check(&tokens(n_ctx + 1), Logits::Last, "0 held + 257 new tokens, room for 256");
    check(&tokens(65), Logits::All, "logits of 65 tokens asked for");
    context.decode(&tokens(n_ctx), Logits::Last, &cancel).unwrap();
    let outcome = context.decode(&[1], Logits::Last, &cancel);
    assert!(matches!(outcome, Err(Error::ContextFull { n_past: 256, n_tokens: 1, n_ctx: 256 })));
    assert!(context.logits(0).is_ok() && context.logits(1).is_err());
}

#[test]
fn rows_are_kept_as_asked_for() {
    let mut context = context();
    let cancel = CancelToken::new();
    context.decode(&tokens(5), Logits::None, &cancel).unwrap();
    assert!(matches!(context.logits(0), Err(Error::NoLogits { kept: 0, .. })));
    context.decode(&tokens(5), Logits::All, &cancel).unwrap();
    assert!(context.logits(4).is_ok());
    assert!(matches!(context.logits(5), Err(Error::NoLogits { row: 5, kept: 5 })));
}

#[test]
fn settings_out_of_range_are_refused_by_name() {
    let model = tiny();
    let check = |change: fn(&mut ContextSettings), part: &str| {
        let mut settings = settings();
        change(&mut settings);
        let Err(error) = model.clone().new_context(&settings) else { panic!("accepted: {part}") };
        assert!(error.to_string().contains(part), "{error}");
    };
    check(|s| s.n_ctx = 0, "`n_ctx` is 0");
    check(|s| s.n_ctx = u32::MAX, "`n_ctx` is 4294967295");
    check(|s| s.n_batch = 0, "`n_batch` is 0");
    check(|s| s.n_ubatch = 65, "`n_ubatch` is 65, expected 1 ..= 64");
    check(|s| s.n_outputs_max = 65, "`n_outputs_max` is 65");
    check(|s| s.n_threads = 0, "`n_threads` is 0");
    check(|s| s.n_threads_batch = 513, "`n_threads_batch` is 513");
    check(|s| s.poll_percent = 101, "`poll_percent` is 101");
    check(|s| s.type_v = KvType::Q8_0, "`type_v` is Q8_0");
    check(|s| s.type_k = KvType::Q4_0, "`type_k` is Q4_0");
    // Heads of 16 do not divide into blocks of 32: llama.cpp says so itself.
    let blocks = |s: &mut ContextSettings| (s.type_k, s.flash_attention) = (KvType::Q8_0, Some(true));
    check(blocks, "block size 32 does not divide");
}

#[test]
fn a_raised_flag_stops_at_once_and_the_context_goes_on() {
    let mut context = context();
    let first = decode(&mut *context, &tokens(10));
    let cancel = CancelToken::new();
    cancel.cancel();
    let outcome = context.decode(&tokens(100), Logits::Last, &cancel);
    assert!(matches!(outcome, Err(Error::Cancelled)), "{outcome:?}");
    assert_eq!(context.n_past(), 10);
    assert!(context.logits(0).is_err());
    cancel.reset();
    context.truncate(9).unwrap();
    context.decode(&tokens(10)[9..], Logits::Last, &cancel).unwrap();
    assert_close(context.logits(0).unwrap(), &first, 1e-4);
}

#[test]
fn raising_the_flag_from_another_thread_ends_a_long_decode() {
    let mut context = context();
    let cancel = CancelToken::new();
    let from_outside = cancel.clone();
    let outcome = std::thread::scope(|scope| {
        scope.spawn(move || {
            std::thread::sleep(std::time::Duration::from_millis(20));
            from_outside.cancel();
        });
        loop {
            context.truncate(0).unwrap();
            if let Err(error) = context.decode(&tokens(256), Logits::Last, &cancel) {
                break error;
            }
        }
    });
    assert!(matches!(outcome, Error::Cancelled), "{outcome:?}");
    assert!(context.n_past() < 256);
    cancel.reset();
    let held = context.n_past();
    context.decode(&tokens(256)[held..], Logits::Last, &cancel).unwrap();
    let expected = decode(&mut *crate::context(), &tokens(256));
    assert_close(context.logits(0).unwrap(), &expected, 1e-4);
}

#[test]
fn thread_counts_change_speed_and_not_results() {
    let sentence = tokens(50);
    let mut context = context();
    let two = decode(&mut *context, &sentence);
    for (decode_threads, batch_threads) in [(1, 1), (2, 1), (0, 99)] {
        context.set_threads(decode_threads, batch_threads);
        context.truncate(0).unwrap();
        assert_close(&decode(&mut *context, &sentence), &two, 1e-5);
    }
}

#[test]
fn thread_counts_change_no_bit() {
    for flash_attention in [Some(true), Some(false)] {
        let settings = ContextSettings {
            n_threads: 3,
            n_threads_batch: 3,
            n_outputs_max: 1,
            flash_attention,
            ..settings()
        };
        let mut context = tiny().new_context(&settings).unwrap();
        let mut logits = |threads| {
            context.set_threads(threads, threads);
            context.truncate(0).unwrap();
            decode(&mut *context, &tokens(40));
            decode(&mut *context, &[7])
        };
        let one = logits(1);
        assert!([2, 3, 1].iter().all(|threads| logits(*threads) == one), "{flash_attention:?}");
    }
}

#[test]
fn what_takes_too_long_is_broken_off_and_the_context_goes_on() {
    let mut context = context();
    let cancel = CancelToken::new();
    decode(&mut *context, &tokens(10));
    context.set_time_limit(Some(Duration::ZERO));
    let outcome = context.decode(&tokens(20), Logits::Last, &cancel);
    assert!(matches!(outcome, Err(Error::TimeLimit { n_past: 10, .. })), "{outcome:?}");
    assert!(context.logits(0).is_err() && context.n_past() == 10 && context.keeps_after_breaking_off());
    context.set_time_limit(Some(Duration::from_secs(3600)));
    let after = decode(&mut *context, &[3]);
    context.set_time_limit(None);
    context.truncate(10).unwrap();
    assert_eq!(decode(&mut *context, &[3]), after);
}

#[test]
fn contexts_keep_their_model_and_move_between_threads() {
    let model = tiny();
    let expected = decode(&mut *context(), &tokens(20));
    let open = || model.clone().new_context(&ContextSettings { n_threads_batch: 1, ..settings() }).unwrap();
    let contexts = [open(), open()];
    drop(model);
    let workers = contexts.map(|mut context| std::thread::spawn(move || decode(&mut *context, &tokens(20))));
    for worker in workers {
        assert_close(&worker.join().unwrap(), &expected, 1e-5);
    }
}

#[test]
fn memory_is_told_to_the_byte() {
    let context = context();
    let memory = context.memory();
    let cache = context.n_ctx() * N_LAYERS * 2 * N_KV_HEADS * HEAD_DIM * 4;
    assert_eq!(memory.context_bytes, cache as u64);
    assert_eq!(memory.model_bytes, memory.buffers.iter().map(|buffer| buffer.model_bytes).sum::<u64>());
    assert!(memory.compute_bytes > 0 && memory.buffers.iter().all(|buffer| buffer.is_host));
}
