//! What a directory for ONNX Runtime will hold: the graph, what lies beside it, and the texts that others read, with their
//! exact lengths.
//! Knows graphs and places; reads no weight but the factors of rotary frequencies.

use super::graph::{Graph, Part, wrap};
use super::network::{Built, build};
use super::recipe::{Flavour, Precision, Recipe};
use super::statics::{Statics, Table};
use super::stored::Stores;
use super::texts;
use crate::plan::{Job, TensorPlan, plan_file};
use crate::recipe::{FileType, Overrides, parse_type};
use crate::source::{TensorSource, describe};
use crate::{Error, Importance, Moments, Result};
use bundle::MODEL_HEADER;
use formats::gguf::{GgmlType, TensorSpec, Value, Writer};
use formats::onnx::{
    GraphProto, Location, ModelProto, OperatorSetIdProto, StringStringEntryProto, external_tensor,
    write_model,
};
use std::path::PathBuf;
use std::sync::Arc;

/// The folder of the graph, where transformers.js looks.
const FOLDER: &str = "onnx";
/// Versions of ONNX: of the file, and of its operators by flavour.
const FILE_VERSION: i64 = 11;
const OPERATORS: i64 = 21;
const PORTABLE_OPERATORS: i64 = 23;
/// The name of a graph's own key for its longest context.
pub(super) const CONTEXT_KEY: &str = "context_length";

/// A directory to write.
#[derive(Debug, Clone)]
pub struct Plan {
    pub(crate) recipe: Recipe,
    /// Which tensor is of which type, under which metadata.
    pub(crate) job: Job,
    /// What was learned of the model, where the recipe learns.
    pub(crate) statics: Option<Arc<Statics>>,
    pub(super) stores: Stores,
    /// The graph's path and bytes.
    pub(super) graph: (String, Vec<u8>),
    /// The path of what lies beside it.
    pub(super) data: String,
    /// Small files with what they hold.
    pub(super) texts: Vec<(String, Vec<u8>)>,
    /// Files that are copied, with their lengths.
    pub(super) companions: Vec<(String, PathBuf, u64)>,
}

impl Plan {
    /// Exact length of all files together.
    pub fn predicted_bytes(&self) -> u64 {
        let texts = self.texts.iter().map(|(_, text)| text.len() as u64);
        let copied = self.companions.iter().map(|(.., bytes)| *bytes);
        self.graph.1.len() as u64 + self.stores.bytes + texts.chain(copied).sum::<u64>()
    }

    /// What progress calls it.
    pub(crate) fn label(&self) -> &str {
        &self.job.label
    }

    /// Things to know of it.
    pub(crate) fn warnings(&self) -> &[String] {
        &self.job.warnings
    }

    /// Bytes of all that is stored of weights.
    pub fn tensor_bytes(&self) -> u64 {
        self.stores.all.iter().map(|stored| stored.bytes(Part::Values) + stored.bytes(Part::Scales)).sum()
    }
}

/// What is known of the weights.
#[derive(Default, Clone, Copy)]
pub(crate) struct Known<'a> {
    pub(crate) importance: Option<&'a Arc<Importance>>,
    pub(crate) moments: Option<&'a Arc<Moments>>,
    pub(crate) statics: Option<&'a Arc<Statics>>,
    pub(crate) allow_requantize: bool,
}

/// Plans the directory that `recipe` makes of `source`.
///
/// # Errors
/// A model whose graph is not known, quantized input without leave, a file that goes along and cannot be read.
pub(crate) fn plan(source: &dyn TensorSource, recipe: Recipe, known: Known<'_>) -> Result<Plan> {
    let description = describe(source)?;
    let statics = known.statics.filter(|_| recipe.learns()).cloned();
    if recipe.learns() && statics.is_none() {
        return Err(Error::Request {
            wish: recipe.name(),
            expected: "text to learn ranges from".into(),
            got: "none".into(),
        });
    }
    let mut job = typed(source, recipe, known)?;
    let Built { graph, stores, context_tokens } =
        build(source, &description, &job, recipe, statics.as_deref())?;
    let context_key = format!("{}.context_length", description.architecture);
    if context_tokens < description.max_context {
        job.warnings.push(format!("made for contexts of up to {context_tokens} tokens"));
        job.metadata.insert(context_key, Value::U32(u32::try_from(context_tokens).unwrap_or(u32::MAX)));
    }
    let name = recipe.graph_name();
    let data = format!("{name}_data");
    let model = model(graph, &stores, &data, recipe, context_tokens)?;
    let path = format!("{FOLDER}/{name}");
    let mut texts = texts::texts(source, &description, &job, recipe, (&path, context_tokens))?;
    texts.push((MODEL_HEADER.into(), header(&job)?));
    let companions = texts::companions(source)?;
    let data = format!("{FOLDER}/{data}");
    Ok(Plan {
        recipe,
        job,
        statics,
        stores,
        graph: (path, write_model(&model).map_err(wrap)?),
        data,
        texts,
        companions,
    })
}

/// Which tensor gets which type.
fn typed(source: &dyn TensorSource, recipe: Recipe, known: Known<'_>) -> Result<Job> {
    let coded = recipe.file_type().default_type();
    // A row of the embedding is taken before it is scaled, which there are no 4-bit operators of ONNX's own for.
    let rows = (recipe.flavour == Flavour::Portable && recipe.precision == Precision::Int4)
        .then_some(GgmlType::Q8_0);
    let whole = recipe.learns().then(|| parse_type(&Table::built_in().whole)).transpose()?;
    let rows = rows.or(whole);
    let wishes = Overrides { pure: true, token_embedding: rows, output: whole, ..Overrides::default() };
    let job = plan_file(source, recipe.file_type(), &wishes, known.importance, known.allow_requantize)?;
    let as_float = |plan: TensorPlan| {
        let keeps = plan.to == coded || Some(plan.to) == rows || plan.to == GgmlType::F32;
        let to = if keeps { plan.to } else { GgmlType::F32 };
        TensorPlan { to, ..plan }
    };
    let tensors = job.tensors.into_iter().map(as_float).collect();
    let moments = known.moments.filter(|_| recipe.file_type() != FileType::F32 && !recipe.learns()).cloned();
    Ok(Job { label: format!("onnx {}", recipe.name()), tensors, moments, ..job })
}

/// The header that tells the model.
fn header(job: &Job) -> Result<Vec<u8>> {
    let specs: Vec<TensorSpec> = job.specs();
    let (header, _) = Writer::<Vec<u8>>::layout(&job.metadata, &specs)
        .map_err(|source| Error::Gguf { path: MODEL_HEADER.into(), source })?;
    Ok(header)
}

/// The graph as a file, with places in `data` for its weights.
fn model(
    graph: Graph,
    stores: &Stores,
    data: &str,
    recipe: Recipe,
    context_tokens: u64,
) -> Result<ModelProto> {
    let mut initializer = graph.constants;
    for weight in &graph.weights {
        let stored = &stores.all[weight.stored];
        let location = Location {
            file: data.into(),
            offset: stored.offset(weight.part),
            length: Some(stored.bytes(weight.part)),
        };
        let dims: Vec<i64> = weight.dims.iter().map(|extent| *extent as i64).collect();
        initializer.push(external_tensor(&*weight.name, weight.ty, &dims, &location).map_err(wrap)?);
    }
    let set =
        |domain: &str, version| OperatorSetIdProto { domain: Some(domain.into()), version: Some(version) };
    let opset_import = match recipe.flavour {
        Flavour::Runtime => vec![set("", OPERATORS), set(super::graph::RUNTIME, 1)],
        Flavour::Portable => vec![set("", PORTABLE_OPERATORS)],
    };
    let context =
        StringStringEntryProto { key: Some(CONTEXT_KEY.into()), value: Some(context_tokens.to_string()) };
    Ok(ModelProto {
        ir_version: Some(FILE_VERSION),
        producer_name: Some("llama-pajamas".into()),
        producer_version: Some(env!("CARGO_PKG_VERSION").into()),
        opset_import,
        metadata_props: vec![context],
        graph: Some(GraphProto {
            name: Some("decoder".into()),
            node: graph.nodes,
            initializer,
            input: graph.inputs,
            output: graph.outputs,
            ..GraphProto::default()
        }),
        ..ModelProto::default()
    })
}
