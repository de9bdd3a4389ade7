//! Plans a file: which tensor becomes which type, under which metadata, and how long the file gets.
//! Knows recipes and a source's tables; reads no weight.

use crate::recipe::{FileType, Overrides, Recipe, Row, Shape, order, preset, requires_imatrix, stock};
use crate::source::{QUANTIZATION_VERSION, SourceTensor, TensorSource, describe};
use crate::{Error, Importance, Moments, Result, TypePlan};
use formats::gguf::{GgmlType, Metadata, TensorSpec, Value, Writer};
use std::sync::Arc;

/// One tensor's part of a plan.
#[derive(Debug, Clone, PartialEq)]
pub struct TensorPlan {
    /// Its index in the source.
    pub index: usize,
    /// Name.
    pub name: String,
    /// Extents, contiguous dimension first.
    pub dims: Vec<u64>,
    /// Type in the source.
    pub from: GgmlType,
    /// Type in the output.
    pub to: GgmlType,
    /// The rule that chose it.
    pub reason: &'static str,
    /// The type that the rule wished for, where the rows do not divide into its blocks.
    pub instead_of: Option<GgmlType>,
}

impl TensorPlan {
    /// Weights in it.
    pub fn n_weights(&self) -> u64 {
        self.dims.iter().product()
    }

    /// Bytes of one row in the output.
    pub fn row_bytes(&self) -> u64 {
        self.to.row_bytes(self.dims[0]).expect("a plan holds only types whose blocks divide the row")
    }

    /// Bytes it takes in the output.
    pub fn bytes(&self) -> u64 {
        self.row_bytes() * self.n_rows()
    }

    /// Rows over all dimensions but the first.
    pub(crate) fn n_rows(&self) -> u64 {
        self.dims[1..].iter().product()
    }

    /// Rows of one matrix of a stack.
    pub(crate) fn rows_per_matrix(&self) -> u64 {
        self.dims.get(1).copied().unwrap_or(1)
    }
}

/// A file to write: metadata, tensors in order with their types, importance where there is some.
#[derive(Debug, Clone)]
pub struct Job {
    /// What progress calls it.
    pub label: String,
    /// Metadata of the file.
    pub metadata: Metadata,
    /// Tensors in the order of the file.
    pub tensors: Vec<TensorPlan>,
    /// Importance of the weights.
    pub importance: Option<Arc<Importance>>,
    /// What flows into them: where it is known, rows are rounded with error feedback.
    pub moments: Option<Arc<Moments>>,
    /// Things to know before starting.
    pub warnings: Vec<String>,
}

impl Job {
    /// The tables of the output.
    pub fn specs(&self) -> Vec<TensorSpec> {
        let spec =
            |plan: &TensorPlan| TensorSpec { name: plan.name.clone(), dims: plan.dims.clone(), ty: plan.to };
        self.tensors.iter().map(spec).collect()
    }

    /// Exact length of the file, before any work.
    ///
    /// # Errors
    /// Names or shapes that GGUF does not allow.
    pub fn predicted_bytes(&self) -> Result<u64> {
        Writer::<Vec<u8>>::predicted_bytes(&self.metadata, &self.specs())
            .map_err(|source| Error::Gguf { path: self.label.clone().into(), source })
    }
}

/// Plans `source` by `recipe`, in llama.cpp's order of tensors and with its metadata.
///
/// # Errors
/// Quantized input without leave, a type that needs an importance matrix, one that does not fit.
pub fn plan_file(
    source: &dyn TensorSource,
    recipe: impl Into<Recipe>,
    wishes: &Overrides,
    importance: Option<&Arc<Importance>>,
    allow_requantize: bool,
) -> Result<Job> {
    let recipe = recipe.into();
    // A matrix without entries counts as none, as llama-quantize has it.
    let importance = importance.filter(|importance| !importance.is_empty());
    let mut tensors: Vec<(usize, &SourceTensor)> = source.tensors().iter().enumerate().collect();
    tensors.sort_by(|(_, a), (_, b)| order(&a.name).cmp(&order(&b.name)));
    let rows: Vec<Row<'_>> = tensors.iter().map(|(_, t)| (t.name.as_str(), &t.dims[..], t.ty)).collect();
    let choices = match recipe {
        Recipe::Stock(file_type) => {
            stock(&rows, file_type, Shape::of(source.metadata(), importance.is_some()), wishes)
        }
        Recipe::Preset(wanted) => preset(&rows, wanted, &describe(source)?, wishes),
    };
    let mut plan = Vec::new();
    let mut unknown = Vec::new();
    for ((index, tensor), choice) in tensors.into_iter().zip(choices) {
        if choice.ty != tensor.ty {
            if tensor.ty.is_quantized() && !allow_requantize {
                let (path, tensor, ty) = (source.path().into(), tensor.name.clone(), tensor.ty.to_string());
                return Err(Error::Quantized { path, tensor, ty });
            }
            if !is_important(tensor, choice.ty, recipe, importance)? {
                unknown.push(tensor.name.as_str());
            }
        }
        plan.push(TensorPlan {
            index,
            name: tensor.name.clone(),
            dims: tensor.dims.clone(),
            from: tensor.ty,
            to: choice.ty,
            reason: choice.reason,
            instead_of: choice.instead_of,
        });
    }
    Ok(Job {
        label: recipe.name().into(),
        metadata: quantized_metadata(source.metadata(), stated_type(recipe, &plan), wishes, importance),
        tensors: plan,
        importance: importance.cloned(),
        moments: None,
        warnings: source.warnings().iter().cloned().chain(warning_of(&unknown)).collect(),
    })
}

/// What `general.file_type` says: the recipe's own, or the plainest that most bytes are of.
fn stated_type(recipe: Recipe, plan: &[TensorPlan]) -> FileType {
    match recipe {
        Recipe::Stock(file_type) => file_type,
        Recipe::Preset(_) => plainest(plan),
    }
}

/// The plainest file type of the tensor type that most bytes are of.
fn plainest(plan: &[TensorPlan]) -> FileType {
    let bytes_of = |file_type: FileType| -> u64 {
        let of_type = plan.iter().filter(|plan| plan.to == file_type.default_type());
        of_type.map(TensorPlan::bytes).sum()
    };
    let most = FileType::ALL.iter().rev().copied().max_by_key(|file_type| bytes_of(*file_type));
    most.unwrap_or(FileType::F16)
}

/// Plans `source` by the types of `types`; what flows into the weights is known from `moments`, or their importance
/// alone from `importance`.
///
/// # Errors
/// A tensor of the plan that is not there, a type that its rows do not divide into.
pub fn plan_types(
    source: &dyn TensorSource,
    types: &TypePlan,
    importance: Option<&Arc<Importance>>,
    moments: Option<&Arc<Moments>>,
) -> Result<Job> {
    let mut tensors: Vec<(usize, &SourceTensor)> = source.tensors().iter().enumerate().collect();
    tensors.sort_by(|(_, a), (_, b)| order(&a.name).cmp(&order(&b.name)));
    let refuse = |tensor: &str, problem: String| Error::Tensor {
        path: source.path().into(),
        tensor: tensor.into(),
        problem,
    };
    let is_there = |name: &str| tensors.iter().any(|(_, tensor)| tensor.name == name);
    if let Some(absent) = types.tensors.iter().find(|planned| !is_there(&planned.name)) {
        return Err(refuse(&absent.name, "is in the plan and not in the model".into()));
    }
    let mut plan = Vec::new();
    for (index, tensor) in &tensors {
        let planned = types.type_of(&tensor.name)?;
        let to = planned.map_or(tensor.ty, |(ty, _)| ty);
        if to.row_bytes(tensor.dims[0]).is_none() {
            let (columns, block) = (tensor.dims[0], to.block_len());
            return Err(refuse(
                &tensor.name,
                format!("as {to}: expected rows of a multiple of {block} weights, got {columns}"),
            ));
        }
        plan.push(TensorPlan {
            index: *index,
            name: tensor.name.clone(),
            dims: tensor.dims.clone(),
            from: tensor.ty,
            to,
            reason: if planned.is_some() { "by plan" } else { "not in the plan" },
            instead_of: None,
        });
    }
    let wishes = Overrides::default();
    Ok(Job {
        label: "plan".into(),
        metadata: quantized_metadata(source.metadata(), plainest(&plan), &wishes, importance),
        tensors: plan,
        importance: importance.cloned(),
        moments: moments.cloned(),
        warnings: source.warnings().to_vec(),
    })
}

/// Whether the tensor's importance is known, or nobody asks for it.
fn is_important(
    tensor: &SourceTensor,
    to: GgmlType,
    recipe: Recipe,
    importance: Option<&Arc<Importance>>,
) -> Result<bool> {
    let refuse = |problem: String| {
        Err(Error::Importance { tensor: tensor.name.clone(), ty: to.name().into(), problem })
    };
    let (columns, matrices) = (tensor.dims[0], tensor.dims.get(2).copied().unwrap_or(1));
    let found = importance.and_then(|importance| importance.n_values(&tensor.name));
    let embedding = tensor.name == "token_embd.weight" || tensor.name == "per_layer_token_embd.weight";
    match found {
        Some(found) if found == columns * matrices => Ok(true),
        Some(found) if !embedding => refuse(format!(
            "importance matrix: expected {columns} columns × {matrices} matrices, got {found} values"
        )),
        _ if requires_imatrix(&tensor.name, to, recipe) => {
            let lack = match importance {
                Some(_) => "the importance matrix says nothing of it",
                None => "needs an importance matrix",
            };
            refuse(format!("{lack}: without one the result is garbage; types of 3 bits and more need none"))
        }
        _ => Ok(importance.is_none() || embedding || !to.is_quantized()),
    }
}

fn warning_of(unknown: &[&str]) -> Option<String> {
    let first = unknown.first()?;
    let more = match unknown.len() - 1 {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    Some(format!("the importance matrix says nothing of {first}{more}: quantized without"))
}

fn quantized_metadata(
    source: &Metadata,
    file_type: FileType,
    wishes: &Overrides,
    importance: Option<&Arc<Importance>>,
) -> Metadata {
    let stated = source.u64("general.file_type").and_then(|id| u32::try_from(id).ok());
    let id = stated.filter(|_| wishes.copy).unwrap_or(file_type.id());
    let mut metadata = source.clone();
    for key in ["split.no", "split.count", "split.tensors.count"] {
        metadata.remove(key);
    }
    // A key that is set moves to the end.
    for (key, value) in [("general.quantization_version", QUANTIZATION_VERSION), ("general.file_type", id)] {
        metadata.remove(key);
        metadata.insert(key, Value::U32(value));
    }
    if let Some(importance) = importance {
        importance.describe_in(&mut metadata);
    }
    metadata
}
