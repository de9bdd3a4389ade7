//! Reading whole texts: vectors of encoders and of pooled decoders, and encoders in front of decoders.
//!
//! Owns: what of a text may be handed to llama.cpp at once, and where it leaves the vectors. May know: contexts. Must
//! not know: what vectors are compared with.

use llama_cpp_sys_2::{
    LLAMA_POOLING_TYPE_NONE, LLAMA_POOLING_TYPE_RANK, llama_get_embeddings_ith, llama_get_embeddings_seq,
    llama_get_memory, llama_pooling_type,
};

use super::context::{ABORTED, GgufContext};
use super::decode::positions;
use super::{log, shim};
use crate::{CancelToken, Context as _, Error, Form, Model as _, Purpose, Token, Vectors};

/// The vectors of a text.
pub(super) fn embed(
    context: &mut GgufContext,
    tokens: &[Token],
    cancel: &CancelToken,
) -> Result<Vectors, Error> {
    if context.settings().purpose == Purpose::Logits {
        return Err(Error::Purpose { asked: "vectors", purpose: "logits" });
    }
    check_text(context, tokens)?;
    // SAFETY: the context is live.
    let keeps = !unsafe { llama_get_memory(context.as_ptr()) }.is_null();
    if context.model().shape().has_encoder || !keeps {
        read(context, tokens, cancel)?;
    } else {
        context.clear();
        let mut ids = tokens.to_vec();
        let (mut positions, mut outputs) = (positions(0, tokens.len()), vec![1; tokens.len()]);
        // SAFETY: the context is live and borrowed mutably; a text has at most `n_ubatch` tokens.
        compute(context, cancel, |context| unsafe {
            shim::decode(context.as_ptr(), &mut ids, &mut positions, &mut outputs)
        })?;
        context.clear();
    }
    vectors(context, tokens.len())
}

/// Lets the encoder in front of a decoder read a text.
pub(super) fn encode(context: &mut GgufContext, tokens: &[Token], cancel: &CancelToken) -> Result<(), Error> {
    if !matches!(context.model().form(), Form::EncoderDecoder { .. }) {
        return Err(Error::Purpose {
            asked: "an encoder's reading",
            purpose: "a decoder or an encoder alone",
        });
    }
    check_text(context, tokens)?;
    context.clear();
    context.has_read = false;
    read(context, tokens, cancel)?;
    context.has_read = true;
    Ok(())
}

/// A text that can be computed at once: llama.cpp stops the process for longer ones.
fn check_text(context: &GgufContext, tokens: &[Token]) -> Result<(), Error> {
    context.check_ids(tokens)?;
    let shape = context.model().shape();
    let mut max = context.n_ctx().min(context.settings().n_ubatch as usize);
    if shape.form == Form::Encoder {
        // Learned positions end there.
        max = max.min(usize::try_from(shape.n_ctx_train).unwrap_or(usize::MAX));
    }
    match tokens.len() {
        n_tokens if n_tokens > max => Err(Error::TextTooLong { n_tokens, max }),
        _ => Ok(()),
    }
}

fn read(context: &mut GgufContext, tokens: &[Token], cancel: &CancelToken) -> Result<(), Error> {
    let mut ids = tokens.to_vec();
    // SAFETY: the context is live and borrowed mutably; a text has at most `n_ubatch` tokens, and only models that have
    // an encoder or keep no sequence are read with.
    compute(context, cancel, |context| unsafe { shim::encode(context.as_ptr(), &mut ids) })
}

fn compute(
    context: &mut GgufContext,
    cancel: &CancelToken,
    call: impl FnOnce(&mut GgufContext) -> (i32, Option<String>),
) -> Result<(), Error> {
    if cancel.is_cancelled() {
        return Err(Error::Cancelled);
    }
    let ((code, exception), reason) = log::capture(|| context.cancellable(cancel, call));
    match code {
        0 => Ok(()),
        ABORTED => Err(context.stopped()),
        code => Err(Error::Decode { n_past: 0, code, reason: exception.unwrap_or(reason) }),
    }
}

/// What the last text left.
fn vectors(context: &GgufContext, n_tokens: usize) -> Result<Vectors, Error> {
    // SAFETY: the context is live.
    let pooling = unsafe { llama_pooling_type(context.as_ptr()) };
    let shape = context.model().shape();
    let width = if pooling == LLAMA_POOLING_TYPE_RANK { shape.n_classes } else { shape.n_embd_out };
    let n_rows = if pooling == LLAMA_POOLING_TYPE_NONE { n_tokens } else { 1 };
    let mut values = Vec::with_capacity(n_rows * width);
    for row in 0..n_rows {
        // SAFETY: the context is live and not shared between threads; both calls wait for pending work.
        let vector = unsafe {
            match pooling {
                LLAMA_POOLING_TYPE_NONE => llama_get_embeddings_ith(
                    context.as_ptr(),
                    i32::try_from(row).expect("below n_ubatch, which is an i32"),
                ),
                _ => llama_get_embeddings_seq(context.as_ptr(), 0),
            }
        };
        if vector.is_null() {
            return Err(Error::NoLogits { row, kept: 0 });
        }
        // SAFETY: llama.cpp keeps `width` numbers there until the context computes again.
        values.extend_from_slice(unsafe { std::slice::from_raw_parts(vector, width) });
    }
    Ok(Vectors { width, values })
}
