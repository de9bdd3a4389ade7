//! A model's prediction layers ("multi-token prediction"), in a context of their own beside the one of the other layers: they
//! read every token together with the state that the others had before it, and so expect the one behind.
//!
//! Owns: which tokens they have read, and states at the seams. After Gloeckle and others 2024 and DeepSeek-V3 (2024, section
//! 2.2). May know: the shim. Must not know: who checks what is expected.

use std::ptr::NonNull;

use llama_cpp_sys_2::{
    LLAMA_CONTEXT_TYPE_MTP, llama_context, llama_context_params, llama_free, llama_get_logits_ith,
    llama_get_memory, llama_init_from_model, llama_memory_seq_rm, llama_model,
};

use formats::gguf::Metadata;

use super::decode::{Stretch, positions};
use super::sequences::native;
use super::{log, shim};
use crate::{Error, Token, likeliest};

/// Architectures whose prediction layers llama.cpp computes and that are tested here. What it asserts on is here too: it stops
/// the process where a file lacks it.
const KNOWN: [Known; 2] = [
    Known {
        architecture: "glm4moe",
        tensors: &["ffn_gate_inp", "ffn_down_exps", "ffn_down_shexp"],
        above_zero: &[],
        missing: &[],
    },
    Known {
        architecture: "deepseek2",
        tensors: &[
            "attn_q_a",
            "attn_q_a_norm",
            "attn_q_b",
            "attn_kv_a_mqa",
            "attn_kv_a_norm",
            "attn_k_b",
            "ffn_norm",
            "ffn_gate_inp",
            "ffn_up_exps",
            "ffn_gate_exps",
            "ffn_down_exps",
            "ffn_up_shexp",
            "ffn_gate_shexp",
            "ffn_down_shexp",
        ],
        above_zero: &["attention.key_length_mla", "attention.value_length_mla", "attention.q_lora_rank"],
        missing: &["attention.temperature_scale"],
    },
];

struct Known {
    architecture: &'static str,
    /// What the prediction layer must have, beside what only such layers have.
    tensors: &'static [&'static str],
    /// Keys that must be numbers above 0, and keys that must not be there.
    above_zero: &'static [&'static str],
    missing: &'static [&'static str],
}

/// What only prediction layers have.
const TENSORS: [&str; 3] = ["nextn.eh_proj", "nextn.enorm", "nextn.hnorm"];

/// States of the last tokens that are kept: as many as may be taken back of a guess, and more.
const KEPT: usize = 64;

/// Whether a model can be asked what it expects. `has` tells whether its file has a tensor.
pub(super) fn are_known(metadata: &Metadata, architecture: &str, has: impl Fn(&str) -> bool) -> bool {
    let number = |name: &str| metadata.u64(&format!("{architecture}.{name}")).unwrap_or(0);
    let Some(known) = KNOWN.iter().find(|known| known.architecture == architecture) else { return false };
    let layer = number("block_count").saturating_sub(1);
    let tensor = |part: &&str| has(&format!("blk.{layer}.{part}.weight"));
    number("nextn_predict_layers") == 1
        && layer > 0
        && TENSORS.iter().chain(known.tensors).all(tensor)
        && known.above_zero.iter().all(|key| number(key) > 0)
        && known.missing.iter().all(|key| metadata.get(&format!("{architecture}.{key}")).is_none())
}

/// Prediction layers beside a context.
pub(super) struct Predictions {
    context: NonNull<llama_context>,
    n_vocab: usize,
    /// Numbers of a state.
    width: usize,
    /// By sequence.
    held: Vec<Held>,
}

/// What they have read of a sequence.
#[derive(Clone, Default)]
struct Held {
    /// Positions, from 0 on.
    n_read: usize,
    /// States after the last of them, one after the other, at most [`KEPT`].
    states: Vec<f32>,
}

// SAFETY: as for the context beside it: bound to no thread, used by whoever owns this value.
unsafe impl Send for Predictions {}

impl Predictions {
    /// Beside `context`, of whose model they are; `parameters` are those that it was opened with.
    ///
    /// # Safety
    /// `model` is live, outlives the result and has prediction layers that are known ([`are_known`]); `context` is a live
    /// context of it. What `parameters` point to outlives the result.
    pub(super) unsafe fn open(
        model: *mut llama_model,
        context: *mut llama_context,
        parameters: llama_context_params,
        (n_vocab, width): (usize, usize),
    ) -> Result<Self, Error> {
        let held = vec![Held::default(); parameters.n_seq_max as usize];
        let parameters = llama_context_params {
            ctx_type: LLAMA_CONTEXT_TYPE_MTP,
            // One at a time, and room for one of each as llama.cpp reserves it.
            n_outputs_max: parameters.n_seq_max,
            n_outputs_max_per_seq: 1,
            cb_eval: None,
            cb_eval_user_data: std::ptr::null_mut(),
            ..parameters
        };
        // SAFETY: by this function's contract.
        let (own, reason) = log::capture(|| unsafe { llama_init_from_model(model, parameters) });
        let own = NonNull::new(own).ok_or(Error::Context { reason })?;
        // SAFETY: both are live.
        unsafe {
            shim::keep_states(context, true);
            shim::keep_states(own.as_ptr(), false);
        }
        Ok(Self { context: own, n_vocab, width, held })
    }

    pub(super) fn as_ptr(&self) -> *mut llama_context {
        self.context.as_ptr()
    }

    /// Reads what `context` has just decoded as one batch; of a sequence that it does not follow in, nothing. Where it fails or is
    /// broken off it stays behind, and expects nothing.
    ///
    /// # Safety
    /// `context` is the live context that these were opened beside, and the stretches are of its last batch.
    pub(super) unsafe fn read(&mut self, context: *mut llama_context, stretches: &[Stretch<'_>]) {
        let (mut tokens, mut places, mut sequences) = (Vec::new(), Vec::new(), Vec::new());
        let (mut before, mut read) = (Vec::new(), Vec::new());
        for stretch in stretches.iter().filter(|s| s.position == self.held[s.sequence].n_read) {
            let n = stretch.tokens.len();
            // SAFETY: by this function's contract: the batch had these rows, and the context keeps the states of all.
            let kept = |index| unsafe { shim::kept_state(context, index, self.width) };
            let rows = (stretch.row..stretch.row + n).map(kept).collect::<Option<Vec<_>>>();
            let Some(states) = rows.map(|rows| rows.concat()) else { continue };
            tokens.extend_from_slice(stretch.tokens);
            places.extend(positions(stretch.position, n));
            sequences.resize(tokens.len(), native(stretch.sequence));
            // Each goes with the state before it.
            before.extend(self.state_at(stretch.sequence, stretch.position));
            before.extend_from_slice(&states[..states.len() - self.width]);
            read.push((stretch, states));
        }
        if tokens.is_empty() {
            return;
        }
        // SAFETY: the context is live, borrowed mutably, and takes as many tokens at a time as the one beside it.
        let (code, _) =
            unsafe { shim::decode_after(self.as_ptr(), &tokens, &places, &sequences, &before, false) };
        for (stretch, states) in read {
            if code != 0 {
                self.take_back(stretch.sequence, stretch.position);
                continue;
            }
            let held = &mut self.held[stretch.sequence];
            held.states.extend(states);
            let n_old = held.states.len().saturating_sub(KEPT * self.width);
            held.states.drain(..n_old);
            held.n_read = stretch.position + stretch.tokens.len();
        }
    }

    /// The state before the token at `position`; zeros where it is not kept, as before the first.
    fn state_at(&self, sequence: usize, position: usize) -> Vec<f32> {
        let Held { n_read, states } = &self.held[sequence];
        let n_kept = states.len() / self.width;
        let back = n_read.checked_sub(position).filter(|back| *back < n_kept);
        match back {
            Some(back) => states[(n_kept - 1 - back) * self.width..][..self.width].to_vec(),
            None => vec![0.0; self.width],
        }
    }

    /// Forgets what lies from `position` of a sequence on.
    pub(super) fn truncate(&mut self, sequence: usize, position: usize) {
        let width = self.width;
        let held = &mut self.held[sequence];
        if position < held.n_read {
            let n_kept = held.states.len() / width;
            held.states.truncate(n_kept.saturating_sub(held.n_read - position) * width);
            held.n_read = position;
            self.take_back(sequence, position);
        }
    }

    /// Lets `to` hold what `from` holds.
    pub(super) fn copy(&mut self, from: usize, to: usize) {
        self.truncate(to, 0);
        // SAFETY: the context is live, borrowed mutably, and has both sequences.
        if unsafe { shim::copy_sequence(self.as_ptr(), native(from), native(to)) }.is_ok() {
            self.held[to] = self.held[from].clone();
        }
    }

    fn take_back(&mut self, sequence: usize, position: usize) {
        let position = i32::try_from(position).expect("below n_ctx, which is an i32");
        // SAFETY: the context is live, borrowed mutably, and has the sequence.
        unsafe { llama_memory_seq_rm(llama_get_memory(self.as_ptr()), native(sequence), position, -1) };
    }

    /// What is expected behind the `n_past` positions that a sequence holds and `next`, as [`crate::Context::predict`] says.
    pub(super) fn expect(
        &mut self,
        (sequence, n_past): (usize, usize),
        next: Token,
        most: usize,
        least_probability: f32,
    ) -> Result<Vec<Token>, i32> {
        if self.held[sequence].n_read != n_past || n_past == 0 {
            return Ok(Vec::new());
        }
        let (mut token, mut state, mut expected) = (next, self.state_at(sequence, n_past), Vec::new());
        let mut outcome = Ok(());
        while expected.len() < most {
            let places = positions(n_past + expected.len(), 1);
            let id = [native(sequence)];
            // SAFETY: the context is live and borrowed mutably.
            let (code, _) =
                unsafe { shim::decode_after(self.as_ptr(), &[token], &places, &id, &state, true) };
            if code != 0 {
                outcome = Err(code);
                break;
            }
            // SAFETY: as above; the batch had one token, with logits.
            let (logits, own) = unsafe {
                let row = llama_get_logits_ith(self.as_ptr(), 0);
                let row = NonNull::new(row).map(|row| std::slice::from_raw_parts(row.as_ptr(), self.n_vocab));
                (row, shim::kept_state(self.as_ptr(), 0, self.width))
            };
            let (Some(likely), Some(own)) = (logits.and_then(|row| likeliest(row, least_probability)), own)
            else {
                break;
            };
            state.copy_from_slice(own);
            token = likely;
            expected.push(likely);
        }
        // What was read for it is not held.
        self.take_back(sequence, n_past);
        outcome.map(|()| expected)
    }
}

impl Drop for Predictions {
    fn drop(&mut self) {
        // SAFETY: nothing else holds the context.
        unsafe { llama_free(self.context.as_ptr()) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use formats::gguf::Value;

    #[test]
    fn models_that_cannot_be_asked_are_known() {
        for known in &KNOWN {
            let parts = TENSORS.iter().chain(known.tensors);
            let whole: Vec<String> = parts.map(|part| format!("blk.4.{part}.weight")).collect();
            let mut metadata = Metadata::new();
            let key = |name: &str| format!("{}.{name}", known.architecture);
            for (name, number) in [("block_count", 5), ("nextn_predict_layers", 1)] {
                metadata.insert(key(name), Value::U32(number));
            }
            known.above_zero.iter().for_each(|name| drop(metadata.insert(key(name), Value::U32(7))));
            let is_known = |metadata: &Metadata, tensors: &[String]| {
                are_known(metadata, known.architecture, |name| tensors.iter().any(|tensor| tensor == name))
            };
            assert!(is_known(&metadata, &whole));
            assert!(
                (0..whole.len()).all(|at| !is_known(&metadata, &[&whole[..at], &whole[at + 1..]].concat()))
            );
            assert!(!are_known(&metadata, "llama", |_| true));
            let alone: Vec<String> = whole.iter().map(|name| name.replace("blk.4.", "blk.0.")).collect();
            let mut single = metadata.clone();
            single.insert(key("block_count"), Value::U32(1));
            assert!(!is_known(&single, &alone), "no layers in front of it");
            let changed = known.above_zero.iter().chain(known.missing).chain(&["nextn_predict_layers"]);
            for (name, number) in changed.map(|name| (*name, u32::from(known.missing.contains(name)))) {
                let mut changed = metadata.clone();
                changed.insert(key(name), Value::U32(number));
                assert!(!is_known(&changed, &whole), "{name}");
            }
        }
    }
}
