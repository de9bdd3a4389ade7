//! Recipes: which type each tensor gets. Owns the table of file types and the wishes that override a recipe.
//! A recipe is a pure function of names, shapes and metadata; it never sees a weight.

mod category;
mod exceptions;
mod file_type;
mod preset;
mod shape;
mod stock;

pub(crate) use category::{Category, order};
pub use file_type::FileType;
pub use preset::Preset;
pub(crate) use preset::{Row, Strategy, is_candidate, preset};
pub(crate) use shape::Shape;
pub(crate) use stock::{requires_imatrix, stock};

use crate::{Error, Result};
use formats::gguf::GgmlType;
use regex::Regex;

/// How types are chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Recipe {
    /// llama.cpp's own recipe of this name.
    Stock(FileType),
    /// By role and loss.
    Preset(Preset),
}

impl Recipe {
    /// The recipe that `name` means, in any case: a preset's or a file type's.
    pub fn from_name(name: &str) -> Option<Self> {
        let preset = Preset::ALL.into_iter().find(|preset| preset.name().eq_ignore_ascii_case(name));
        preset.map(Self::Preset).or_else(|| FileType::from_name(name).map(Self::Stock))
    }

    /// The name users type.
    pub fn name(self) -> &'static str {
        match self {
            Self::Stock(file_type) => file_type.name(),
            Self::Preset(preset) => preset.name(),
        }
    }

    /// Every name, presets first.
    pub fn names() -> impl Iterator<Item = &'static str> {
        Preset::ALL.iter().map(|preset| preset.name()).chain(FileType::ALL.iter().map(|ty| ty.name()))
    }
}

impl From<FileType> for Recipe {
    fn from(file_type: FileType) -> Self {
        Self::Stock(file_type)
    }
}

impl From<Preset> for Recipe {
    fn from(preset: Preset) -> Self {
        Self::Preset(preset)
    }
}

/// Wishes that override the recipe, as llama-quantize knows them.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    /// Leave every tensor as it is (`COPY`): only the order and the metadata are llama-quantize's.
    pub copy: bool,
    /// One type for every quantized tensor.
    pub pure: bool,
    /// Leave tensors that are stored in MXFP4 as they are: they were trained so.
    pub keep_mxfp4: bool,
    /// Leave `output.weight` as it is.
    pub leave_output_tensor: bool,
    /// Type of the token embedding.
    pub token_embedding: Option<GgmlType>,
    /// Type of the output.
    pub output: Option<GgmlType>,
    /// Types that are not chosen to fit a size, where a tensor has others.
    pub avoid: Vec<GgmlType>,
    /// Types by name, first match wins. They do not apply to file types without blocks.
    pub by_name: Vec<(Regex, GgmlType)>,
}

impl Overrides {
    /// Whether a tensor of type `from` stays as it is.
    pub(crate) fn keeps(&self, from: GgmlType) -> bool {
        self.keep_mxfp4 && from == GgmlType::MXFP4
    }

    /// Adds a `REGEX=TYPE` wish. The regex may match anywhere in the name. Its escapes (`\\D`) make putting it into
    /// lower case, as llama-quantize does, a change of meaning: it is taken as it is.
    ///
    /// # Errors
    /// A missing `=`, a regex that does not parse, a type that cannot be written.
    pub fn add_by_name(&mut self, wish: &str) -> Result<()> {
        let refuse = |expected: &str| Error::Request {
            wish: "tensor type".into(),
            expected: expected.into(),
            got: wish.into(),
        };
        let (pattern, ty) = wish.rsplit_once('=').ok_or_else(|| refuse("REGEX=TYPE"))?;
        let pattern = Regex::new(pattern).map_err(|error| refuse(&format!("a regex: {error}")))?;
        self.by_name.push((pattern, parse_type(ty)?));
        Ok(())
    }
}

/// A tensor type by name that the quantizer can write.
///
/// # Errors
/// An unknown name, or a type without a quantizer.
pub fn parse_type(name: &str) -> Result<GgmlType> {
    GgmlType::from_name(name).filter(|ty| engine::gguf::quantize::can_quantize(*ty)).ok_or_else(|| {
        Error::Request {
            wish: "tensor type".into(),
            expected: "a ggml type like Q4_K, IQ4_XS or F16".into(),
            got: name.into(),
        }
    })
}
