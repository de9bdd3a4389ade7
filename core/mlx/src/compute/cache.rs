//! What a sequence remembers: keys and values of every layer, by position. Owns [`Sequence`]; must not know attention.

use super::{Outcome, extent};
use crate::model::{CACHE_STEP, slack};
use crate::{Error, Model};
use families::Reach;
use half::{bf16, f16};
use mlx_rs::ops::indexing::{TryIndexMutOp, TryIndexOp};
use mlx_rs::ops::{concatenate, zeros_dtype};
use mlx_rs::{Array, Dtype};

/// What begins a state.
const MARK: [u8; 8] = *b"LPMLX001";

/// What a model remembers of the tokens that it read.
pub struct Sequence {
    pub(super) layers: Vec<Cache>,
    pub(super) n_past: usize,
}

/// Keys and values of one layer: rows of tokens from `first` on. Rows behind the sequence's end mean nothing.
pub(super) struct Cache {
    window: Option<usize>,
    /// Whether rows before the window stay.
    keeps_all: bool,
    first: usize,
    rows: Option<[Array; 2]>,
}

/// What a layer's attention sees.
pub(super) struct Seen {
    pub(super) keys: Array,
    pub(super) values: Array,
    /// How many there are.
    pub(super) n: usize,
    /// The last tokens that each token sees, where that is not all.
    pub(super) window: Option<usize>,
}

impl Sequence {
    /// Of nothing; with `keeps_all`, windows keep what is before them.
    pub(super) fn new(model: &Model, keeps_all: bool) -> Self {
        let window = |layer: &families::Layer| match layer.attention().map(|attention| attention.reach) {
            Some(Reach::Sliding { window }) => Some(window as usize),
            _ => None,
        };
        let of = |layer| Cache { window: window(layer), keeps_all, first: 0, rows: None };
        Self { layers: model.description.layers.iter().map(of).collect(), n_past: 0 }
    }

    /// Tokens that it holds.
    #[must_use]
    pub fn n_past(&self) -> usize {
        self.n_past
    }

    /// Forgets the tokens from `n_past` on; false, and unchanged, where more are wanted than are held, or a window has moved
    /// on from what these tokens see.
    pub fn truncate(&mut self, n_past: usize) -> bool {
        let reaches = |cache: &Cache| match cache.window {
            Some(window) => cache.first == 0 || n_past >= cache.first + window.saturating_sub(1),
            None => true,
        };
        if n_past > self.n_past || (n_past > 0 && !self.layers.iter().all(reaches)) {
            return false;
        }
        if n_past == 0 {
            self.layers.iter_mut().for_each(|cache| (cache.first, cache.rows) = (0, None));
        }
        self.n_past = n_past;
        true
    }

    /// Every array that it holds.
    pub(super) fn arrays(&self) -> impl Iterator<Item = &Array> {
        self.layers.iter().flat_map(Cache::arrays)
    }

    /// What it holds, to be read by [`crate::Decoder::restore`].
    ///
    /// # Errors
    /// What MLX refuses.
    pub fn state(&self) -> Result<Vec<u8>, Error> {
        let mut state = MARK.to_vec();
        state.extend((self.n_past as u64).to_le_bytes());
        for cache in &self.layers {
            state.extend((cache.first as u64).to_le_bytes());
            for array in cache.arrays() {
                let held = array.try_index((.., .., ..extent(self.n_past - cache.first)?, ..))?;
                write(&held, &mut state)?;
            }
        }
        Ok(state)
    }

    /// Holds what [`Sequence::state`] wrote for a sequence of a model of these floats.
    ///
    /// # Errors
    /// [`Error::State`] for another model's, a damaged one, or one of more than `n_ctx` tokens; it is unchanged then.
    pub(super) fn restore(
        &mut self,
        state: &[u8],
        model: &Model,
        dtype: Dtype,
        n_ctx: usize,
    ) -> Result<(), Error> {
        let refuse = |reason: &str| Error::State { reason: reason.into() };
        let number = |rest: &mut &[u8]| -> Result<usize, Error> {
            let (number, more) =
                rest.split_first_chunk::<8>().ok_or_else(|| refuse("it ends within a number"))?;
            *rest = more;
            usize::try_from(u64::from_le_bytes(*number)).map_err(|_| refuse("a number beyond memory"))
        };
        let mut rest = state.strip_prefix(&MARK).ok_or_else(|| refuse("it is not one of this engine"))?;
        let n_past = number(&mut rest)?;
        if n_past > n_ctx {
            let reason = format!("it holds {n_past} tokens, this context at most {n_ctx}");
            return Err(Error::State { reason });
        }
        let keeps_all = self.layers.iter().any(|cache| cache.keeps_all);
        let mut whole = Self::new(model, keeps_all);
        for (cache, layer) in whole.layers.iter_mut().zip(&model.description.layers) {
            cache.first = number(&mut rest)?;
            let n = n_past.checked_sub(cache.first).ok_or_else(|| refuse("a window beyond its end"))?;
            let attention = layer.attention().expect("every layer has attention: the model was checked");
            let (heads, width) = (attention.n_kv_heads as usize, attention.key_dim as usize);
            let bytes = n.checked_mul(heads * width * dtype_bytes(dtype));
            let bytes = bytes.filter(|bytes| bytes.saturating_mul(2) <= rest.len());
            let bytes = bytes.ok_or_else(|| refuse("it ends within a layer, or is another model's"))?;
            if n == 0 {
                continue;
            }
            let shape = [1, extent(heads)?, extent(n)?, extent(width)?];
            let (keys, more) = rest.split_at(bytes);
            let (values, more) = more.split_at(bytes);
            rest = more;
            cache.rows = Some([read(keys, &shape, dtype)?, read(values, &shape, dtype)?]);
        }
        if !rest.is_empty() {
            return Err(refuse("more than its layers hold: it is another model's"));
        }
        whole.n_past = n_past;
        *self = whole;
        Ok(())
    }
}

impl Cache {
    fn arrays(&self) -> impl Iterator<Item = &Array> {
        self.rows.iter().flatten()
    }

    /// Puts keys and values of `n` tokens at position `past` and shows what these tokens see.
    pub(super) fn append(&mut self, keys: &Array, values: &Array, past: usize) -> Outcome<Seen> {
        let n = keys.dim(2) as usize;
        self.move_on(past, n)?;
        let (from, end) = (past - self.first, past - self.first + n);
        let start = self.window.map_or(0, |window| (from + 1).saturating_sub(window));
        // Whatever fails, what was held before stays; once it is replaced MLX writes in its place.
        let rows = match self.rows.clone() {
            Some(rows) => rows,
            None => [empty(keys, 0)?, empty(values, 0)?],
        };
        let mut seen = Vec::with_capacity(2);
        let mut kept = Vec::with_capacity(2);
        for (mut held, new) in rows.into_iter().zip([keys, values]) {
            let capacity = held.dim(2) as usize;
            if capacity < end {
                let more = (end - from.min(capacity)).next_multiple_of(CACHE_STEP as usize);
                let whole = held.try_index((.., .., ..extent(from.min(capacity))?, ..))?;
                held = concatenate(&[whole, empty(new, more)?], 2)?;
            }
            held.try_index_mut((.., .., extent(from)?..extent(end)?, ..), new)?;
            seen.push(held.try_index((.., .., extent(start)?..extent(end)?, ..))?);
            kept.push(held);
        }
        let (Ok([keys, values]), Ok(kept)) = (<[Array; 2]>::try_from(seen), <[Array; 2]>::try_from(kept))
        else {
            unreachable!("two went in")
        };
        self.rows = Some(kept);
        let window = self.window.filter(|window| end - start > *window);
        Ok(Seen { keys, values, n: end - start, window })
    }

    /// Lets a window's rows begin later, once there are more than it and its slack.
    fn move_on(&mut self, past: usize, n: usize) -> Outcome<()> {
        let Some(window) = self.window.filter(|_| !self.keeps_all) else { return Ok(()) };
        let most = window + slack(n as u64) as usize;
        if past + n - self.first <= most {
            return Ok(());
        }
        let first = past.saturating_sub(window.saturating_sub(1)).max(self.first);
        if let Some(rows) = &self.rows {
            let [begin, end] = [extent(first - self.first)?, extent(past - self.first)?];
            let [keys, values] = rows.each_ref().map(|held| held.try_index((.., .., begin..end, ..)));
            self.rows = Some([keys?, values?]);
        }
        self.first = first;
        Ok(())
    }
}

/// `n` rows of nothing beside `like`.
fn empty(like: &Array, n: usize) -> Outcome<Array> {
    zeros_dtype(&[like.dim(0), like.dim(1), extent(n)?, like.dim(3)], like.dtype())
}

fn dtype_bytes(dtype: Dtype) -> usize {
    if dtype == Dtype::Float32 { 4 } else { 2 }
}

/// Appends the numbers of `array`.
fn write(array: &Array, state: &mut Vec<u8>) -> Result<(), Error> {
    let array = array.contiguous()?;
    let failed = |error: mlx_rs::error::AsSliceError| Error::Compute { reason: error.to_string() };
    match array.dtype() {
        _ if array.size() == 0 => {}
        Dtype::Float32 => {
            let numbers = array.try_as_slice::<f32>().map_err(failed)?;
            state.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
        }
        Dtype::Float16 => {
            let numbers = array.try_as_slice::<f16>().map_err(failed)?;
            state.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
        }
        _ => {
            let numbers = array.try_as_slice::<bf16>().map_err(failed)?;
            state.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
        }
    }
    Ok(())
}

/// An array of these bytes, as many as its shape asks for.
fn read(bytes: &[u8], shape: &[i32], dtype: Dtype) -> Outcome<Array> {
    Ok(match dtype {
        Dtype::Float32 => {
            let numbers: Vec<f32> =
                bytes.as_chunks().0.iter().map(|four| f32::from_le_bytes(*four)).collect();
            Array::from_slice(&numbers, shape)
        }
        Dtype::Float16 => {
            let numbers: Vec<f16> = bytes.as_chunks().0.iter().map(|two| f16::from_le_bytes(*two)).collect();
            Array::from_slice(&numbers, shape)
        }
        _ => {
            let numbers: Vec<bf16> =
                bytes.as_chunks().0.iter().map(|two| bf16::from_le_bytes(*two)).collect();
            Array::from_slice(&numbers, shape)
        }
    })
}
