//! What a projector is stored as: its own precision beside the model's, and the file's plan.
//! Knows sources, plans and the bundle's writer; must not know a projector's kind or a weight.

use crate::convert::conversion_job;
use crate::execute::write_file;
use crate::plan::Job;
use crate::recipe::{FileType, Preset, Recipe};
use crate::source::{Checkpoint, TensorSource};
use crate::{Error, Result, Watch};
use bundle::{BundleWriter, FileEntry, FileRole};
use families::OutputType;
use formats::gguf::{GgmlType, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// What the matrices of a projector are stored as. Embeddings of patches and positions, norms and biases are floats in
/// all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ProjectorPrecision {
    /// 32-bit floats.
    F32,
    /// 16-bit floats with 8 bits of exponent.
    Bf16,
    /// 16-bit floats.
    F16,
    /// Blocks of 8 bits.
    Q8_0,
}

impl ProjectorPrecision {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::F32, Self::Bf16, Self::F16, Self::Q8_0];

    /// The precision spelled `name`, in any case.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|precision| precision.name().eq_ignore_ascii_case(name))
    }

    /// The name users type.
    pub fn name(self) -> &'static str {
        self.file_type().name()
    }

    /// What goes with a model of this recipe where nobody asks for another.
    pub fn beside(recipe: Recipe) -> Self {
        match recipe {
            Recipe::Stock(FileType::F32) => Self::F32,
            Recipe::Stock(FileType::BF16) => Self::Bf16,
            Recipe::Preset(Preset::High) | Recipe::Stock(_) => Self::F16,
            Recipe::Preset(Preset::Balanced | Preset::Extreme) => Self::Q8_0,
        }
    }

    fn file_type(self) -> FileType {
        match self {
            Self::F32 => FileType::F32,
            Self::Bf16 => FileType::BF16,
            Self::F16 => FileType::F16,
            Self::Q8_0 => FileType::Q8_0,
        }
    }
}

/// Plans the file of the projector in `source`.
pub fn projector_job(source: &dyn TensorSource, precision: ProjectorPrecision) -> Job {
    let label = |mut job: Job| {
        job.label = format!("projector {}", precision.name());
        job
    };
    let output = match precision {
        ProjectorPrecision::F32 => OutputType::F32,
        ProjectorPrecision::Bf16 => OutputType::Bf16,
        ProjectorPrecision::F16 | ProjectorPrecision::Q8_0 => OutputType::F16,
    };
    let mut job = conversion_job(source, output);
    if precision != ProjectorPrecision::Q8_0 {
        return label(job);
    }
    for plan in &mut job.tensors {
        // What follows the file's type in floats may become blocks; the engine needs the others as they are.
        if source.float_type(plan.index, OutputType::Bf16) != GgmlType::BF16 || plan.to != GgmlType::F16 {
            continue;
        }
        match GgmlType::Q8_0.row_bytes(plan.dims[0]) {
            Some(_) => (plan.to, plan.reason) = (GgmlType::Q8_0, "matrix of a projector"),
            None => plan.instead_of = Some(GgmlType::Q8_0),
        }
    }
    job.metadata.insert("general.file_type", Value::U32(precision.file_type().id()));
    label(job)
}

/// Whether a bundle gets the projectors of its model.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ProjectorWish {
    /// Where the model has one, in what goes with each variant ([`ProjectorPrecision::beside`]).
    #[default]
    ByVariant,
    /// In this precision with every variant.
    One(ProjectorPrecision),
    /// None.
    None,
}

/// A projector's file.
#[derive(Debug, Clone, serde::Serialize)]
pub struct ProjectorReport {
    /// What its matrices are stored as.
    pub precision: &'static str,
    /// Exact file size.
    pub file_bytes: u64,
}

/// The projectors of one build; each is written once and shared by the variants that it goes with.
pub(crate) struct Projectors {
    source: Option<Checkpoint>,
    wish: ProjectorWish,
    written: BTreeMap<ProjectorPrecision, FileEntry>,
}

impl Projectors {
    /// Opens the projector of `model`.
    ///
    /// # Errors
    /// A broken one, or none where one precision is asked for.
    pub(crate) fn open(model: &Path, wish: ProjectorWish) -> Result<Self> {
        let source = match wish {
            ProjectorWish::None => None,
            _ if !model.is_dir() => None,
            ProjectorWish::ByVariant | ProjectorWish::One(_) => Checkpoint::open_projector(model)?,
        };
        match (wish, source) {
            (ProjectorWish::One(precision), None) => Err(Error::Request {
                wish: "mmproj".into(),
                expected: "a checkpoint with a projector of a known kind".into(),
                got: format!("{} for {}", precision.name(), model.display()),
            }),
            (wish, source) => Ok(Self { source, wish, written: BTreeMap::new() }),
        }
    }

    fn precision(&self, recipe: Recipe) -> Option<ProjectorPrecision> {
        match self.wish {
            ProjectorWish::None => None,
            ProjectorWish::One(precision) => Some(precision),
            ProjectorWish::ByVariant => Some(ProjectorPrecision::beside(recipe)),
        }
    }

    /// What the files for `recipes` will be.
    ///
    /// # Errors
    /// Names or shapes that GGUF does not allow.
    pub(crate) fn report(&self, recipes: &[Recipe]) -> Result<Vec<ProjectorReport>> {
        let Some(source) = &self.source else { return Ok(Vec::new()) };
        let precisions: BTreeSet<_> = recipes.iter().filter_map(|recipe| self.precision(*recipe)).collect();
        let report = |precision: ProjectorPrecision| {
            let file_bytes = projector_job(source, precision).predicted_bytes()?;
            Ok(ProjectorReport { precision: precision.name(), file_bytes })
        };
        precisions.into_iter().map(report).collect()
    }

    /// The entry of the file that goes with a variant of `recipe`, written where it is not yet.
    ///
    /// # Errors
    /// As [`write_file`], and what the bundle's writer reports.
    pub(crate) fn entry(
        &mut self,
        recipe: Recipe,
        writer: &BundleWriter,
        threads: usize,
        watch: &mut Watch<'_>,
    ) -> Result<Option<FileEntry>> {
        let (Some(source), Some(precision)) = (&self.source, self.precision(recipe)) else { return Ok(None) };
        if let Some(entry) = self.written.get(&precision) {
            return Ok(Some(entry.clone()));
        }
        let mut file = writer.file(format!("gguf/mmproj/{}.gguf", precision.name()))?;
        write_file(&projector_job(source, precision), source, &mut file, threads, watch)?;
        let entry = FileEntry { role: FileRole::Projector, ..file.finish()? };
        self.written.insert(precision, entry.clone());
        Ok(Some(entry))
    }
}
