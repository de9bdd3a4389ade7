//! A plan by tensor: which type each becomes, why, and what that is expected to cost. Made to fit a number of bytes, or
//! read from a file that somebody has edited.
//! Knows sources, sensitivities and wishes; must not know how types are searched for (`allocate`) nor rows rounded.

use crate::allocate::{Candidate, allocate};
use crate::plan::plan_types;
use crate::recipe::{Category, Overrides, is_candidate, parse_type};
use crate::sensitivity::{CANDIDATES, Outline, Sensitivity};
use crate::source::TensorSource;
use crate::{ContestRecord, Error, Importance, Result};
use engine::gguf::quantize::requires_imatrix;
use families::{Role, role_of};
use formats::gguf::GgmlType;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

/// Tensors start at multiples of this in a file.
const ALIGNMENT: u64 = 32;

/// How large a file may be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Target {
    /// Bytes of the whole file.
    FileBytes(u64),
    /// Bits of tensors per weight.
    BitsPerWeight(f64),
}

/// Types by tensor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TypePlan {
    /// Most bytes of the file, where it was made to fit some.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget_bytes: Option<u64>,
    /// Divergence (mean KLD in nats) that the model is expected to gain: errors add up, which is low below 3 bits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub predicted_kld: Option<f64>,
    /// The contest that it won, where one was held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contest: Option<ContestRecord>,
    /// In the order of the file; those that are not listed stay as they are.
    pub tensors: Vec<PlannedType>,
}

/// One tensor of a [`TypePlan`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlannedType {
    /// Name.
    pub name: String,
    /// Type, by its name.
    #[serde(rename = "type")]
    pub ty: String,
    /// Bytes in the file.
    #[serde(default)]
    pub bytes: u64,
    /// Share of the product's power that rounding changes, where it was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<f64>,
    /// Divergence that it is expected to add.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kld: Option<f64>,
    /// Why it is that type.
    #[serde(default)]
    pub reason: String,
}

impl TypePlan {
    /// Reads a plan.
    ///
    /// # Errors
    /// A file that cannot be read or is no plan.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read(path).map_err(|source| Error::io(path, source))?;
        serde_json::from_slice(&text).map_err(|source| Error::Json { path: path.into(), source })
    }

    /// The type of `tensor`, where the plan names it.
    ///
    /// # Errors
    /// A name that is no type or cannot be written.
    pub(crate) fn type_of(&self, tensor: &str) -> Result<Option<(GgmlType, &PlannedType)>> {
        let planned = self.tensors.iter().find(|planned| planned.name == tensor);
        planned.map(|planned| Ok((parse_type(&planned.ty)?, planned))).transpose()
    }
}

/// What is known of what flows into the weights.
#[derive(Debug, Clone, Copy)]
pub enum Known<'a> {
    /// Nothing: types that need an importance matrix are not chosen.
    Nothing,
    /// Importance, which the file will tell of: that takes bytes too.
    Importance(&'a Arc<Importance>),
    /// Moments.
    Moments,
}

impl<'a> Known<'a> {
    /// The most that is known.
    pub fn of(importance: Option<&'a Arc<Importance>>, has_moments: bool) -> Self {
        match (importance, has_moments) {
            (Some(importance), _) => Self::Importance(importance),
            (None, true) => Self::Moments,
            (None, false) => Self::Nothing,
        }
    }
}

/// Types for the tensors of `source` that fit `target`, by what `sensitivity` says of them. Wishes hold. Types that need
/// an importance matrix are chosen only where it or moments are `known`.
///
/// # Errors
/// A target that the smallest types exceed, or tensors that nothing was measured of.
pub fn plan_for_target(
    source: &dyn TensorSource,
    sensitivity: &Sensitivity,
    target: Target,
    wishes: &Overrides,
    known: Known<'_>,
) -> Result<TypePlan> {
    let outline = Outline::of(source.tensors().iter().map(|tensor| &tensor.name));
    let predicting: BTreeSet<&str> =
        source.tensors().iter().filter_map(|t| predicting_layer(&t.name)).collect();
    let mut rows: Vec<Row> = Vec::new();
    for tensor in source.tensors() {
        let bytes_as = |ty: GgmlType| {
            let bytes = ty.row_bytes(tensor.dims[0]).map(|bytes| bytes * tensor.n_rows());
            bytes.map(|bytes| bytes.next_multiple_of(ALIGNMENT))
        };
        let kappa = sensitivity.kappa(&tensor.name, outline);
        let (mut types, reason) = types_for(&tensor.name, &tensor.dims, tensor.ty, sensitivity, wishes);
        types.retain(|ty| !matches!(known, Known::Nothing) || !requires_imatrix(*ty));
        let predicts = predicting.iter().any(|layer| tensor.name.starts_with(layer));
        if predicts && types.len() > 1 {
            types.retain(|ty| ty.bits_per_weight() >= PREDICTION_BITS);
        }
        let options = types.into_iter().filter_map(|ty| {
            let error = sensitivity.error(&tensor.name, ty);
            let candidate = Candidate { bytes: bytes_as(ty)?, harm: kappa * error.unwrap_or(0.0) };
            Some((ty, error, candidate))
        });
        let options: Vec<_> = options.collect();
        if options.is_empty() {
            let (path, tensor) = (source.path().into(), tensor.name.clone());
            let problem = "its rows divide into no type's blocks that could be chosen".to_string();
            return Err(Error::Tensor { path, tensor, problem });
        }
        rows.push(Row { name: tensor.name.clone(), options, reason });
    }
    let smallest: Vec<usize> = rows.iter().map(Row::smallest).collect();
    let fixed_bytes = {
        let plan = to_plan(&rows, &smallest, None);
        let padded: u64 = rows.iter().zip(&smallest).map(|(row, at)| row.options[*at].2.bytes).sum();
        let importance = match known {
            Known::Importance(importance) => Some(importance),
            Known::Nothing | Known::Moments => None,
        };
        plan_types(source, &plan, importance, None)?.predicted_bytes()?.saturating_sub(padded)
    };
    let n_weights: u64 = source.tensors().iter().map(|tensor| tensor.dims.iter().product::<u64>()).sum();
    let budget_bytes = match target {
        Target::FileBytes(bytes) => bytes,
        Target::BitsPerWeight(bits) => fixed_bytes + (bits * n_weights as f64 / 8.0) as u64,
    };
    let candidates: Vec<Vec<Candidate>> =
        rows.iter().map(|row| row.options.iter().map(|(.., candidate)| *candidate).collect()).collect();
    let left = budget_bytes.saturating_sub(fixed_bytes);
    let chosen = allocate(&candidates, left).ok_or_else(|| Error::Request {
        wish: "target size".into(),
        expected: format!(
            "at least {} bytes, which the smallest types take",
            fixed_bytes + rows.iter().zip(&smallest).map(|(row, at)| row.options[*at].2.bytes).sum::<u64>()
        ),
        got: format!("{budget_bytes} bytes"),
    })?;
    Ok(to_plan(&rows, &chosen, Some(budget_bytes)))
}

struct Row {
    name: String,
    options: Vec<(GgmlType, Option<f64>, Candidate)>,
    reason: &'static str,
}

impl Row {
    fn smallest(&self) -> usize {
        let by_bytes = |at: &usize| self.options[*at].2.bytes;
        (0..self.options.len()).min_by_key(by_bytes).unwrap_or(0)
    }
}

/// Types that a tensor may become, and why there is no more choice.
fn types_for(
    name: &str,
    dims: &[u64],
    from: GgmlType,
    sensitivity: &Sensitivity,
    wishes: &Overrides,
) -> (Vec<GgmlType>, &'static str) {
    if !is_candidate(name, dims) {
        return (vec![from], "never quantized");
    }
    let category = Category::of(name);
    if category == Category::Output && wishes.leave_output_tensor {
        return (vec![from], "left as asked");
    }
    if wishes.keeps(from) {
        return (vec![from], "kept as it was trained");
    }
    let whole = match category {
        Category::TokenEmbedding => wishes.token_embedding,
        Category::Output => wishes.output,
        _ => None,
    };
    let by_name = || wishes.by_name.iter().find(|(pattern, _)| pattern.is_match(name)).map(|(_, ty)| *ty);
    if let Some(ty) = whole.or_else(by_name) {
        return (vec![ty], "as asked");
    }
    let floor = floor_bits(role_of(name));
    let measured = |ty: &GgmlType| sensitivity.error(name, *ty).is_some();
    let types = CANDIDATES.into_iter().filter(|ty| measured(ty) && ty.bits_per_weight() >= floor);
    let mut types: Vec<GgmlType> = types.collect();
    if types.iter().any(|ty| !wishes.avoid.contains(ty)) {
        types.retain(|ty| !wishes.avoid.contains(ty));
    }
    if types.is_empty() { (vec![from], "nothing was measured of it") } else { (types, "by error") }
}

/// Fewest bits per weight in layers that predict tokens beyond the next: no answer depends on them, so nothing that is
/// measured speaks for them, and nothing is known of what flows into them.
const PREDICTION_BITS: f64 = 4.25;

/// The layer that a tensor shows to be one of those, as names of its tensors begin.
fn predicting_layer(tensor: &str) -> Option<&str> {
    tensor.find(".nextn.").map(|at| &tensor[..=at])
}

/// Fewest bits per weight of a role, whatever the figures say: predictions of large harm are too low.
fn floor_bits(role: Role) -> f64 {
    match role {
        Role::TokenEmbedding | Role::Output => GgmlType::Q2_K.bits_per_weight(),
        Role::LatentDown | Role::LatentUp | Role::SsmIn => GgmlType::Q3_K.bits_per_weight(),
        _ => 0.0,
    }
}

fn to_plan(rows: &[Row], chosen: &[usize], budget_bytes: Option<u64>) -> TypePlan {
    let tensors = rows.iter().zip(chosen).map(|(row, at)| {
        let (ty, error, candidate) = row.options[*at];
        PlannedType {
            name: row.name.clone(),
            ty: ty.name().into(),
            bytes: candidate.bytes,
            error,
            kld: error.map(|_| candidate.harm),
            reason: row.reason.into(),
        }
    });
    let tensors: Vec<PlannedType> = tensors.collect();
    let predicted_kld = Some(tensors.iter().filter_map(|tensor| tensor.kld).sum());
    TypePlan { budget_bytes, predicted_kld, contest: None, tensors }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::open_source;
    use crate::sensitivity::TensorSensitivity;
    use crate::source::SourceTensor;
    use formats::gguf::Metadata;
    use std::path::PathBuf;

    /// A model whose last layer is one that predicts, as its names have it.
    struct Predicting(Box<dyn TensorSource>, Vec<SourceTensor>);

    impl TensorSource for Predicting {
        fn path(&self) -> &Path {
            self.0.path()
        }

        fn metadata(&self) -> &Metadata {
            self.0.metadata()
        }

        fn tensors(&self) -> &[SourceTensor] {
            &self.1
        }

        fn read_rows(&self, index: usize, first_row: u64, out: &mut [f32]) -> Result<()> {
            self.0.read_rows(index, first_row, out)
        }

        fn precision(&self) -> String {
            self.0.precision()
        }
    }

    #[test]
    fn layers_that_predict_keep_four_bits_whatever_is_measured() {
        let model: PathBuf = [env!("CARGO_MANIFEST_DIR"), "../../models/pajama-7m"].iter().collect();
        let model = open_source(&model, &[]).unwrap();
        let mut tensors = model.tensors().to_vec();
        let last = tensors.iter_mut().find(|tensor| tensor.name == "blk.7.attn_output.weight").unwrap();
        last.name = "blk.7.nextn.eh_proj.weight".into();
        let source = Predicting(model, tensors);
        let mut sensitivity = Sensitivity::default();
        for tensor in source.tensors().iter().filter(|tensor| tensor.dims.len() > 1) {
            let fits = |ty: &GgmlType| tensor.dims[0].is_multiple_of(ty.block_len());
            let error = |ty: GgmlType| (ty.name().into(), 4f64.powf(-ty.bits_per_weight()));
            let errors = CANDIDATES.into_iter().filter(fits).map(error).collect();
            let kappa = Some(if tensor.name.starts_with("blk.7.") { 0.0 } else { 1.0 });
            sensitivity.tensors.insert(tensor.name.clone(), TensorSensitivity { kappa, errors });
        }
        let wishes = Overrides::default();
        let target = Target::BitsPerWeight(3.0);
        let plan = plan_for_target(&source, &sensitivity, target, &wishes, Known::Moments).unwrap();
        let bits = |planned: &PlannedType| parse_type(&planned.ty).unwrap().bits_per_weight();
        let (predicting, others): (Vec<_>, Vec<_>) =
            plan.tensors.iter().partition(|planned| planned.name.starts_with("blk.7."));
        assert!(predicting.iter().all(|planned| bits(planned) >= PREDICTION_BITS));
        assert!(predicting.iter().any(|planned| bits(planned) == PREDICTION_BITS));
        assert!(others.iter().any(|planned| bits(planned) < PREDICTION_BITS));
    }
}
