//! Snapshots of a context.
//!
//! Owns: their layout: a header of our own before llama.cpp's bytes, so that llama.cpp only ever
//! sees bytes that it wrote itself, for the same model and cache. May know: contexts. Must not know:
//! where snapshots are kept.
//!
//! Layout, little-endian: magic `LPSTATE1`, fingerprint u64, tokens held u64, payload length u64,
//! payload checksum u64, payload.

use super::context::GgufContext;
use super::shim;
use crate::{Context as _, Error, KvType};

const MAGIC: &[u8; 8] = b"LPSTATE1";
const HEADER_BYTES: usize = 40;

/// A snapshot of a sequence that holds `n_past` tokens.
pub(super) fn save(context: &GgufContext, sequence: i32, n_past: usize) -> Result<Vec<u8>, Error> {
    let mut state = Vec::new();
    state.extend_from_slice(MAGIC);
    state.extend_from_slice(&fingerprint(context).to_le_bytes());
    state.extend_from_slice(&(n_past as u64).to_le_bytes());
    if n_past == 0 {
        state.extend_from_slice(&0_u64.to_le_bytes());
        state.extend_from_slice(&checksum(&[]).to_le_bytes());
        return Ok(state);
    }
    // SAFETY: the context is live and not shared between threads.
    let payload =
        unsafe { shim::state(context.as_ptr(), sequence) }.map_err(|reason| Error::State { reason })?;
    state.extend_from_slice(&(payload.len() as u64).to_le_bytes());
    state.extend_from_slice(&checksum(&payload).to_le_bytes());
    state.extend_from_slice(&payload);
    Ok(state)
}

/// Puts a snapshot into a sequence, which `clear` empties beforehand, and after a failure; tells how many tokens it holds.
pub(super) fn restore(
    context: &mut GgufContext,
    sequence: i32,
    state: &[u8],
    clear: fn(&mut GgufContext, i32),
) -> Result<usize, Error> {
    let (n_past, payload) = check(state, fingerprint(context), context.n_ctx())?;
    clear(context, sequence);
    if n_past == 0 {
        return Ok(0);
    }
    // SAFETY: the context is live and borrowed mutably; the checksum shows that the payload is
    // whole and the fingerprint that it fits.
    let outcome = unsafe { shim::set_state(context.as_ptr(), sequence, payload) };
    if let Err(reason) = outcome {
        clear(context, sequence);
        return Err(Error::State { reason });
    }
    Ok(n_past)
}

/// The tokens held and the payload of a snapshot that fits.
fn check(state: &[u8], fingerprint: u64, n_ctx: usize) -> Result<(usize, &[u8]), Error> {
    let refuse = |reason: String| Err(Error::State { reason });
    let Some((header, payload)) = state.split_at_checked(HEADER_BYTES) else {
        return refuse(format!("{} bytes, expected at least {HEADER_BYTES}", state.len()));
    };
    if !header.starts_with(MAGIC) {
        return refuse("not a state: the first bytes are not `LPSTATE1`".to_owned());
    }
    let field = |index: usize| {
        let bytes = header[8 * index..8 * index + 8].try_into().expect("eight bytes of the header");
        u64::from_le_bytes(bytes)
    };
    if field(1) != fingerprint {
        return refuse("of another engine version, model or cache type".to_owned());
    }
    if field(3) != payload.len() as u64 {
        return refuse(format!("payload of {} bytes, expected {}", payload.len(), field(3)));
    }
    if field(4) != checksum(payload) {
        return refuse("damaged: the checksum does not match".to_owned());
    }
    match usize::try_from(field(2)) {
        Ok(n_past) if n_past <= n_ctx => Ok((n_past, payload)),
        _ => refuse(format!("{} tokens held, room for {n_ctx}", field(2))),
    }
}

/// Tells apart what states cannot be carried between.
fn fingerprint(context: &GgufContext) -> u64 {
    let shape = context.model().shape();
    let settings = context.settings();
    let cache = |kv: KvType| kv as u64;
    let mut hash = checksum(shim::version().as_bytes());
    for value in [
        shape.n_vocab as u64,
        shape.n_params,
        shape.weight_bytes,
        u64::from(shape.n_layer.unsigned_abs()),
        u64::from(shape.n_embd.unsigned_abs()),
        cache(settings.type_k),
        cache(settings.type_v),
        u64::from(settings.full_window_cache),
        // Without flash attention the values are stored transposed.
        settings.flash_attention.map_or(2, u64::from),
    ] {
        hash = mix(hash, value);
    }
    hash
}

/// FNV-1a over 64-bit words, for damage and not for malice.
fn checksum(bytes: &[u8]) -> u64 {
    let mut words = bytes.chunks_exact(8);
    let mut hash = mix(0xcbf2_9ce4_8422_2325, bytes.len() as u64);
    for word in &mut words {
        hash = mix(hash, u64::from_le_bytes(word.try_into().expect("eight bytes")));
    }
    words.remainder().iter().fold(hash, |hash, byte| mix(hash, u64::from(*byte)))
}

fn mix(hash: u64, value: u64) -> u64 {
    let hash = (hash ^ value).wrapping_mul(0x0000_0100_0000_01b3);
    hash ^ (hash >> 32)
}
