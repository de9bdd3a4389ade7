//! Error curves: what rounding changes, by tensor and type, on sampled rows.
//! Knows sources, moments and rounding; must not know how much the model suffers.

use super::{CANDIDATES, Sensitivity, TensorSensitivity, sampled_weights};
use crate::moments::Moments;
use crate::pipeline::{self, Step};
use crate::progress::Meter;
use crate::recipe::is_candidate;
use crate::rounding::{MatrixInput, round_matrix_rows};
use crate::source::TensorSource;
use crate::{Error, Result, Watch};
use engine::gguf::quantize::{dequantize_rows, quantize_rows};
use formats::gguf::GgmlType;

/// One matrix of a tensor.
#[derive(Clone, Copy)]
struct Item {
    tensor: usize,
    matrix: u64,
}

/// Measures the errors of every tensor of `source` that can be quantized, under every type that it can become. With
/// `feedback` off, those of the search alone.
///
/// # Errors
/// Weights that are not finite, or [`Error::Cancelled`].
pub fn measure_errors(
    source: &dyn TensorSource,
    model: &str,
    moments: &Moments,
    feedback: bool,
    threads: usize,
    watch: &mut Watch<'_>,
) -> Result<Sensitivity> {
    let mut items = Vec::new();
    for (index, tensor) in source.tensors().iter().enumerate() {
        if is_candidate(&tensor.name, &tensor.dims) {
            let n_matrices = tensor.n_rows() / tensor.rows_per_matrix().max(1);
            items.extend((0..n_matrices).map(|matrix| Item { tensor: index, matrix }));
        }
    }
    let mut meter = Meter::new(watch, "error curves", items.len() as u64);
    let mut sensitivity = Sensitivity { model: model.into(), feedback, ..Sensitivity::default() };
    let mut sums = vec![[0f64; CANDIDATES.len() + 1]; source.tensors().len()];
    let n_workers = crate::execute::n_workers(threads);
    pipeline::run(
        Step { n_items: items.len(), n_workers, n_ahead: 4 * n_workers },
        |at, (): &mut (), out| measure(source, moments, feedback, items[at], out),
        |at, figures| {
            let sums = &mut sums[items[at].tensor];
            for (sum, bytes) in sums.iter_mut().zip(figures.as_chunks::<8>().0) {
                *sum += f64::from_le_bytes(*bytes);
            }
            meter.add(1)
        },
    )?;
    for (tensor, sums) in source.tensors().iter().zip(&sums) {
        let power = sums[CANDIDATES.len()];
        if power <= 0.0 {
            continue;
        }
        let measured = CANDIDATES.iter().zip(sums).filter(|(ty, _)| fits(**ty, tensor.dims[0]));
        let errors = measured.map(|(ty, sum)| (ty.name().to_string(), sum / power)).collect();
        sensitivity.tensors.insert(tensor.name.clone(), TensorSensitivity { kappa: None, errors });
    }
    Ok(sensitivity)
}

/// Whether rows of `columns` weights divide into blocks of `ty`, and `ty` is worth it there: plain types have no place
/// where K types have one.
fn fits(ty: GgmlType, columns: u64) -> bool {
    use GgmlType as T;
    let plain = matches!(ty, T::Q4_0 | T::Q4_1 | T::Q5_0 | T::Q5_1 | T::IQ4_NL);
    columns.is_multiple_of(ty.block_len()) && !(plain && columns.is_multiple_of(256))
}

/// Sums of errors by candidate, and of the product's power last, over the sampled rows of one matrix.
fn measure(
    source: &dyn TensorSource,
    moments: &Moments,
    feedback: bool,
    item: Item,
    out: &mut Vec<u8>,
) -> Result<()> {
    let tensor = &source.tensors()[item.tensor];
    let n_columns = tensor.dims[0] as usize;
    let weights = sampled_weights(source, item.tensor, item.matrix)?;
    let input = MatrixInput::of(moments, &tensor.name, item.matrix as usize, n_columns);
    let engine = |source| Error::Engine { tensor: tensor.name.clone(), source };
    let square = |values: &[f32]| -> f64 {
        let squares = weights.iter().zip(values).map(|(w, v)| f64::from(w - v).powi(2));
        squares.sum()
    };
    // A matrix counts as often as it is used.
    let error = |values: &[f32]| match &input {
        Some(input) => input.n_tokens * input.error(&weights, values, n_columns),
        None => square(values),
    };
    let mut values = vec![0f32; weights.len()];
    let mut figures = [0f64; CANDIDATES.len() + 1];
    figures[CANDIDATES.len()] = error(&values);
    for (figure, ty) in figures.iter_mut().zip(CANDIDATES) {
        if !fits(ty, tensor.dims[0]) {
            continue;
        }
        let row_bytes = ty.row_bytes(tensor.dims[0]).expect("it divides");
        let mut bytes = vec![0; row_bytes as usize * (weights.len() / n_columns)];
        match &input {
            Some(input) => round_matrix_rows(ty, &weights, n_columns, input, feedback, &mut bytes),
            None => {
                let even = vec![1f32; n_columns];
                quantize_rows(ty, &weights, &mut bytes, n_columns, Some(&even)).map(|_| ())
            }
        }
        .map_err(engine)?;
        dequantize_rows(ty, &bytes, &mut values).map_err(engine)?;
        *figure = error(&values);
    }
    out.clear();
    out.extend(figures.iter().flat_map(|figure| figure.to_le_bytes()));
    Ok(())
}
