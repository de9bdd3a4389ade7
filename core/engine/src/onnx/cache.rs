//! What a sequence remembers: keys and values of every layer, as they came out of the last run.
//!
//! Owns: [`Cache`]: shortening, writing and reading them. May know: tensors. Must not know: sessions.

use formats::onnx::DataType;
use onnx::Value;

use super::ports::Ports;
use crate::Error;

/// Keys and values, layer by layer.
pub(super) struct Cache {
    pub(super) values: Vec<Value>,
}

fn failed(error: onnx::Error) -> Error {
    Error::Context { reason: error.to_string() }
}

/// What begins a state.
const MARK: [u8; 8] = *b"LPONNX01";

impl Cache {
    /// Of nothing.
    pub(super) fn empty(ports: &Ports) -> Result<Self, Error> {
        let none = |(heads, width): (i64, i64)| {
            Value::of_bytes("cache", ports.float, &[1, heads, 0, width], &[]).map_err(failed)
        };
        let values = ports.layers.iter().flat_map(|shape| [none(*shape), none(*shape)]);
        Ok(Self { values: values.collect::<Result<_, _>>()? })
    }

    /// Tokens that it has rows for.
    pub(super) fn n_held(&self) -> usize {
        self.values.first().and_then(|value| value.shape().get(2).copied()).unwrap_or(0) as usize
    }

    /// The first `n` tokens, each head's rows copied.
    pub(super) fn first(&self, ports: &Ports, n: usize) -> Result<Self, Error> {
        let mut values = Vec::with_capacity(self.values.len());
        for (index, value) in self.values.iter().enumerate() {
            let (heads, width) = ports.layers[index / 2];
            let bytes = rows(value, heads, width, ports.float, n)?;
            let shape = [1, heads, n as i64, width];
            values.push(Value::of_bytes("cache", ports.float, &shape, &bytes).map_err(failed)?);
        }
        Ok(Self { values })
    }

    /// The first `n` tokens as bytes.
    pub(super) fn write(&self, ports: &Ports, n: usize) -> Result<Vec<u8>, Error> {
        let mut state = MARK.to_vec();
        state.extend((n as u64).to_le_bytes());
        for (index, value) in self.values.iter().enumerate() {
            let (heads, width) = ports.layers[index / 2];
            state.extend(rows(value, heads, width, ports.float, n)?);
        }
        Ok(state)
    }

    /// What [`Cache::write`] wrote, and its tokens.
    pub(super) fn read(state: &[u8], ports: &Ports, n_ctx: usize) -> Result<(Self, usize), Error> {
        let refuse = |reason: String| Error::State { reason };
        let rest = state.strip_prefix(&MARK).and_then(|rest| rest.split_first_chunk::<8>());
        let (n, mut rest) = rest.ok_or_else(|| refuse("it is not one of this engine".into()))?;
        let n = u64::from_le_bytes(*n);
        let expected = ports.cache_bytes().checked_mul(n);
        if n > n_ctx as u64 {
            return Err(refuse(format!("it holds {n} tokens, this context at most {n_ctx}")));
        }
        if expected != Some(rest.len() as u64) {
            let got = rest.len();
            return Err(refuse(format!(
                "expected {expected:?} bytes for {n} tokens of this model, got {got}"
            )));
        }
        let mut values = Vec::new();
        for index in 0..ports.layers.len() * 2 {
            let (heads, width) = ports.layers[index / 2];
            let (own, more) = rest.split_at(bytes_of(heads * width, ports.float) * n as usize);
            rest = more;
            let shape = [1, heads, n as i64, width];
            values.push(Value::of_bytes("cache", ports.float, &shape, own).map_err(failed)?);
        }
        Ok((Self { values }, n as usize))
    }
}

fn bytes_of(elements: i64, float: DataType) -> usize {
    elements as usize * if float == DataType::Float16 { 2 } else { 4 }
}

/// The first `n` rows of each head.
fn rows(value: &Value, heads: i64, width: i64, float: DataType, n: usize) -> Result<Vec<u8>, Error> {
    let held = value.shape().get(2).copied().unwrap_or(0) as usize;
    let all = value.to_bytes().map_err(failed)?;
    let row = bytes_of(width, float);
    let mut kept = Vec::with_capacity(heads as usize * n * row);
    for head in 0..heads as usize {
        kept.extend_from_slice(&all[head * held * row..][..n * row]);
    }
    Ok(kept)
}
