//! The variants of a bundle that are directories for MLX.
//! Knows requests, plans and manifests, and the header that tells this runtime the model; must not know grids' arithmetic.

use super::{BuildRequest, VariantReport};
use crate::mlx::{self, Grid, Guide, Plan, PlannedTensor, Recipe};
use crate::source::mlx::MlxSource;
use crate::source::{Float, SourceTensor, TensorSource};
use crate::{Error, Moments, Result, Sensitivity, Watch};
use bundle::{BundleWriter, Format, MODEL_HEADER, MemoryInputs, Needs, Settings, Variant};
use formats::gguf::{GgmlType, TensorSpec, Writer};
use std::collections::HashMap;
use std::sync::Arc;

/// The opened checkpoint and what is to be made of it.
pub(super) struct Directories {
    source: MlxSource,
    recipes: Vec<Recipe>,
    wishes: mlx::Wishes,
    sensitivity: Option<Sensitivity>,
    moments: Option<Arc<Moments>>,
}

impl Directories {
    /// Opens what `request` names, where it asks for any.
    ///
    /// # Errors
    /// What [`MlxSource::open`] refuses, and wishes that do not go with this format.
    pub(super) fn open(
        request: &BuildRequest,
        sensitivity: Option<&Sensitivity>,
        moments: Option<&Arc<Moments>>,
    ) -> Result<Option<Self>> {
        if request.mlx.is_empty() {
            return Ok(None);
        }
        for (wish, is_wished) in [
            ("prune experts", request.prune_experts > 0),
            ("prune layers", !request.prune_layers.is_empty()),
            ("override metadata", !request.metadata.is_empty()),
            ("fold", request.fold),
            ("pad", request.pad),
        ] {
            if is_wished {
                let (expected, got) = ("GGUF as the only format".into(), "MLX as well".into());
                return Err(Error::Request { wish: wish.into(), expected, got });
            }
        }
        let source = MlxSource::open(&request.model, &request.adapters)?;
        Ok(Some(Self {
            source,
            recipes: request.mlx.clone(),
            wishes: request.mlx_wishes,
            sensitivity: sensitivity.cloned(),
            moments: moments.cloned(),
        }))
    }

    /// Things to know of the source.
    pub(super) fn warnings(&self) -> &[String] {
        &self.source.warnings
    }

    /// What will be made.
    ///
    /// # Errors
    /// Sizes that cannot be met, bad weights, cancellation.
    pub(super) fn plans(
        &self,
        model: &dyn TensorSource,
        threads: usize,
        watch: &mut Watch<'_>,
    ) -> Result<Vec<Plan>> {
        let guide = Guide { sensitivity: self.sensitivity.as_ref(), moments: self.moments.as_ref() };
        let mut plans = mlx::plans(&self.source, &self.recipes, self.wishes, guide, threads, watch)?;
        for plan in &mut plans {
            plan.texts.push((MODEL_HEADER.into(), self.header(model, plan)?));
        }
        Ok(plans)
    }

    /// The header that tells this runtime the model and its vocabulary: the tensors of a plain conversion, in GGUF's types of
    /// about as many bits.
    fn header(&self, model: &dyn TensorSource, plan: &Plan) -> Result<Vec<u8>> {
        let mut types = HashMap::new();
        for planned in &plan.tensors {
            let names = &self.source.tensors[planned.index].tensor.gguf_names;
            types.extend(names.iter().map(|name| (name.as_str(), nearest(planned))));
        }
        let spec = |tensor: &SourceTensor| {
            let ty = types.get(tensor.name.as_str()).copied().unwrap_or(GgmlType::F32);
            let divides = tensor.dims.first().is_some_and(|columns| columns.is_multiple_of(ty.block_len()));
            let ty = if divides { ty } else { GgmlType::F16 };
            TensorSpec { name: tensor.name.clone(), dims: tensor.dims.clone(), ty }
        };
        let specs: Vec<TensorSpec> = model.tensors().iter().map(spec).collect();
        let (header, _) = Writer::<Vec<u8>>::layout(model.metadata(), &specs)
            .map_err(|source| Error::Gguf { path: MODEL_HEADER.into(), source })?;
        Ok(header)
    }

    /// Writes the variant of `plan`.
    ///
    /// # Errors
    /// Bad weights, a full disk, cancellation.
    pub(super) fn write(
        &self,
        plan: &Plan,
        request: &BuildRequest,
        writer: &mut BundleWriter,
        watch: &mut Watch<'_>,
    ) -> Result<()> {
        let id = id_of(plan);
        let mut files = Vec::new();
        mlx::write(
            plan,
            &self.source,
            request.threads,
            watch,
            &mut |name| Ok(writer.file(format!("{id}/{name}"))?),
            &mut |file| {
                files.push(file.finish()?);
                Ok(())
            },
        )?;
        let grid = plan.recipe.grid();
        let stated =
            [("mode", grid.mode().into()), ("bits", grid.bits().into()), ("group_size", grid.group().into())];
        let of_recipe = match plan.recipe {
            Recipe::Pure(_) => ("pure", "one grid"),
            Recipe::Mixed(_) | Recipe::Fitted { .. } if self.moments.is_some() => {
                ("mixed", "grids by error, rounded with feedback")
            }
            Recipe::Mixed(_) | Recipe::Fitted { .. } => ("mixed", "grids by error"),
        };
        writer.put_variant(Variant {
            id,
            format: Format::Mlx,
            precision: plan.recipe.name(),
            method: of_recipe.1.into(),
            settings: Settings {
                recipe: Some(of_recipe.0.into()),
                source_precision: plan.tensors.first().map(|tensor| tensor.float.dtype().name().into()),
                other: stated.into_iter().map(|(key, value)| (key.to_string(), value)).collect(),
                ..Settings::default()
            },
            compatible_backends: vec!["metal".into()],
            min_runtime: env!("CARGO_PKG_VERSION").into(),
            files,
            needs: Needs::default(),
            memory: self.memory_inputs(plan),
            quality: None,
            other: Default::default(),
        });
        Ok(())
    }

    fn memory_inputs(&self, plan: &Plan) -> MemoryInputs {
        let description = &self.source.description;
        let active = |tensor: &PlannedTensor| match description.moe {
            Some(moe) if tensor.role.is_routed_expert() => {
                tensor.bytes() / u64::from(moe.n_experts.max(1)) * u64::from(moe.n_active)
            }
            _ => tensor.bytes(),
        };
        MemoryInputs {
            weights_bytes: plan.tensor_bytes(),
            active_weights_bytes: Some(plan.tensors.iter().map(active).sum()),
            largest_tensor_bytes: plan.tensors.iter().map(PlannedTensor::bytes).max(),
            kv_bytes_per_token: families::memory::kv_bytes(description, 1, GgmlType::F16, GgmlType::F16),
            other: Default::default(),
        }
    }
}

/// GGUF's type of about as many bits per weight.
fn nearest(planned: &PlannedTensor) -> GgmlType {
    match planned.grid() {
        None if planned.float == Float::F32 => GgmlType::F32,
        None => GgmlType::F16,
        Some(Grid::Mxfp4) => GgmlType::MXFP4,
        Some(grid) => match grid.bits() {
            2 => GgmlType::Q2_K,
            3 => GgmlType::Q3_K,
            4 => GgmlType::Q4_0,
            5 => GgmlType::Q5_0,
            6 => GgmlType::Q6_K,
            _ => GgmlType::Q8_0,
        },
    }
}

fn id_of(plan: &Plan) -> String {
    format!("mlx/{}", plan.recipe.name())
}

/// What is told of a plan.
pub(super) fn describe(plan: &Plan, threads: usize) -> VariantReport {
    let mut types: Vec<(String, usize, u64)> = Vec::new();
    for tensor in &plan.tensors {
        let name = tensor.grid().map_or_else(|| tensor.float.dtype().name().into(), |grid| grid.name());
        match types.iter_mut().find(|(known, ..)| *known == name) {
            Some(entry) => {
                entry.1 += 1;
                entry.2 += tensor.bytes();
            }
            None => types.push((name, 1, tensor.bytes())),
        }
    }
    types.sort_by_key(|entry| std::cmp::Reverse(entry.2));
    let n_weights: u64 = plan.tensors.iter().map(PlannedTensor::n_weights).sum();
    VariantReport {
        id: id_of(plan),
        file_bytes: plan.predicted_bytes(),
        work_bytes: plan.work_bytes(threads),
        bits_per_weight: plan.tensor_bytes() as f64 * 8.0 / n_weights.max(1) as f64,
        types,
        folded: Vec::new(),
        fallbacks: plan.n_undivided,
        plan: None,
    }
}
