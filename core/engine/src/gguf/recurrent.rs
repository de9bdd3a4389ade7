//! What recurrent layers hold.
//!
//! Owns: reading it from the part of llama.cpp's snapshots that holds recurrent layers alone. May know: contexts. Must not know:
//! what is made of it.
//!
//! Layout, little-endian: magic u32, sequence i32, cells u32 (one), position i32, further sequences u32 (none), transposed u32 (0),
//! layers u32; then for every recurrent layer type i32, row bytes u64, a row of the convolution; then likewise of the state.

use llama_cpp_sys_2::{
    GGML_TYPE_F32, llama_model_is_hybrid, llama_model_is_recurrent, llama_state_seq_get_data_ext,
    llama_state_seq_get_size_ext,
};

use super::context::GgufContext;
use crate::{Error, RecurrentLayer};

/// llama.cpp's flag for snapshots without what attention keeps.
const PARTIAL_ONLY: u32 = 1;
const HEADER_BYTES: usize = 28;

/// The layers of sequence 0; `None` where the model has no recurrent ones.
pub(super) fn read(context: &GgufContext) -> Result<Option<Vec<RecurrentLayer>>, Error> {
    let model = context.model().as_ptr();
    // SAFETY: the model is alive as long as its context.
    let has_state = unsafe { llama_model_is_recurrent(model) || llama_model_is_hybrid(model) };
    if !has_state {
        return Ok(None);
    }
    // SAFETY: the context is live and not shared between threads; llama.cpp catches its own exceptions here and returns 0.
    let n_bytes = unsafe { llama_state_seq_get_size_ext(context.as_ptr(), 0, PARTIAL_ONLY) };
    let mut bytes = vec![0_u8; n_bytes];
    // SAFETY: as above; the buffer is as long as told.
    let written = unsafe {
        llama_state_seq_get_data_ext(context.as_ptr(), bytes.as_mut_ptr(), n_bytes, 0, PARTIAL_ONLY)
    };
    bytes.truncate(written);
    let layers = layers(&bytes).ok_or_else(|| Error::State {
        reason: format!("the recurrent part, {written} bytes, is not laid out as expected"),
    })?;
    Ok(Some(layers))
}

/// The layers of a snapshot of one cell; `None` for any other layout.
fn layers(bytes: &[u8]) -> Option<Vec<RecurrentLayer>> {
    let (header, mut rest) = bytes.split_at_checked(HEADER_BYTES)?;
    let word = |index: usize| header[4 * index..][..4].try_into().map(u32::from_le_bytes).ok();
    let [n_cells, n_sequences, is_transposed] = [word(2)?, word(4)?, word(5)?];
    if (n_cells, n_sequences, is_transposed) != (1, 0, 0) {
        return None;
    }
    let mut rows = Vec::new();
    while !rest.is_empty() {
        let (head, behind) = rest.split_at_checked(12)?;
        let ty = u32::from_le_bytes(head[..4].try_into().ok()?);
        let n_bytes = usize::try_from(u64::from_le_bytes(head[4..].try_into().ok()?)).ok()?;
        let (row, behind) = behind.split_at_checked(n_bytes)?;
        let (numbers, left) = row.as_chunks::<4>();
        if i64::from(ty) != i64::from(GGML_TYPE_F32) || !left.is_empty() {
            return None;
        }
        rows.push(numbers.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect::<Vec<f32>>());
        rest = behind;
    }
    if rows.is_empty() || rows.len() % 2 != 0 {
        return None;
    }
    let states = rows.split_off(rows.len() / 2);
    let layer = |(convolution, state)| RecurrentLayer { convolution, state };
    Some(rows.into_iter().zip(states).map(layer).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(rows: &[&[f32]]) -> Vec<u8> {
        let header = [0xaf14_3cd8_u32, 0, 1, 9, 0, 0, 2];
        let mut bytes: Vec<u8> = header.iter().flat_map(|word| word.to_le_bytes()).collect();
        for row in rows {
            bytes.extend((i64::from(GGML_TYPE_F32) as u32).to_le_bytes());
            bytes.extend((4 * row.len() as u64).to_le_bytes());
            bytes.extend(row.iter().flat_map(|number| number.to_le_bytes()));
        }
        bytes
    }

    #[test]
    fn convolutions_come_first_and_states_behind() {
        let bytes = snapshot(&[&[1.0], &[2.0], &[3.0, 4.0], &[5.0, 6.0]]);
        let found = layers(&bytes).expect("the layout");
        let layer = |convolution: &[f32], state: &[f32]| RecurrentLayer {
            convolution: convolution.to_vec(),
            state: state.to_vec(),
        };
        assert_eq!(found, [layer(&[1.0], &[3.0, 4.0]), layer(&[2.0], &[5.0, 6.0])]);
        assert_eq!(layers(&bytes[..bytes.len() - 1]), None);
        assert_eq!(layers(&snapshot(&[&[1.0]])), None);
        assert_eq!(layers(&bytes[..20]), None);
        let mut other = bytes;
        other[28] = 1;
        assert_eq!(layers(&other), None, "halves");
    }
}
