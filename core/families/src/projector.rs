//! Projectors: the vision encoder of a larger model and what leads from it into the decoder, as one file of their own.
//! Owns the tables of `data/projectors`: keys, names and shapes; must not know a decoder's tensors or bytes.

mod encoder;
mod fields;
mod outputs;

pub use encoder::Encoder;

use crate::config::Config;
use crate::detect::check_requirements;
use crate::extent::Extent;
use crate::family::{Checkpoint, Requirement};
use crate::keys::rule::{KeyRule, Model};
use crate::tensors::rule::{Condition, Row, TensorRule, Tower};
use crate::{Description, Error, NativeQuantization, OutputType, tables};
use formats::gguf::{Metadata, Value};
use serde::Deserialize;
use serde_json::Value as Json;
use std::collections::BTreeMap;
use std::sync::LazyLock;

/// `general.architecture` of every projector's file.
pub const ARCHITECTURE: &str = "clip";

static PROJECTORS: LazyLock<Vec<Projector>> = LazyLock::new(|| {
    let parse = |(name, table): &(&str, tables::Table)| match Projector::parse(table.json()) {
        Ok(projector) => projector,
        Err(error) => panic!("built-in projector {name}: {error}"),
    };
    tables::PROJECTORS.iter().map(parse).collect()
});

/// Keys that every projector's file has.
static SHARED: LazyLock<Shared> = LazyLock::new(|| {
    serde_json::from_slice(tables::PROJECTOR.json())
        .expect("the built-in table parses: every test of projectors reads it")
});

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Shared {
    #[serde(rename = "key")]
    keys: Vec<KeyRule>,
}

/// A kind of projector, as its TOML file states it.
#[derive(Debug)]
pub struct Projector {
    table: Table,
    groups: Vec<Group>,
}

/// Tensors that stand once, or once for each of some layers.
#[derive(Debug)]
struct Group {
    layers: Layers,
    rules: Vec<TensorRule>,
}

/// Which layers a group's tensors stand for.
#[derive(Debug)]
enum Layers {
    /// None.
    Outside,
    /// As many as the number of this name says, where these conditions hold.
    Counted { number: String, when: Vec<Condition> },
    /// The n-th of them stands for the n-th layer that this field lists.
    Listed(String),
}

/// A file of `data/projectors`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    projector: Identity,
    #[serde(rename = "checkpoint")]
    checkpoints: Vec<Checkpoint>,
    #[serde(default, rename = "require")]
    requirements: Vec<Requirement>,
    /// Numbers by name; each may use those before it.
    #[serde(rename = "number")]
    numbers: Vec<Number>,
    #[serde(default, rename = "key")]
    keys: Vec<KeyRule>,
    tensors: Tensors,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Identity {
    id: String,
    /// The key behind `clip.` that holds it.
    #[serde(default = "usual_type_key")]
    type_key: String,
    /// What stands before the names of a layer's tensors in the checkpoint.
    layers: String,
    /// Special tokens by the name of the number that their id becomes.
    #[serde(default)]
    tokens: BTreeMap<String, String>,
    /// Parts that the names of some versions have and that of others lack.
    #[serde(default)]
    dropped: Vec<String>,
    /// Parts of the names of stored tensors that are left out.
    #[serde(default)]
    left_out: Vec<String>,
}

fn usual_type_key() -> String {
    "projector_type".into()
}

/// A number that names of extents and keys stand for, where the file does not state it under this name.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Number {
    name: String,
    /// A field without which there is no such number.
    with: Option<String>,
    /// Its value, or with `square_root` a factor.
    of: Extent,
    /// The whole square root of this is the other factor.
    square_root: Option<Extent>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Tensors {
    outside: Vec<Row>,
    layer: Vec<Row>,
    #[serde(default)]
    listed: Vec<Listed>,
    /// Layers of further encoders.
    #[serde(default)]
    encoder: Vec<FurtherEncoder>,
}

/// An encoder beside the one that sees images.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FurtherEncoder {
    /// The name of the number of its layers.
    layers: String,
    /// What stands before the names of a layer's tensors in the checkpoint, and in the file.
    from: String,
    to: String,
    /// Conditions of there being one, with spaces between.
    when: String,
    layer: Vec<Row>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Listed {
    field: String,
    rows: Vec<Row>,
}

/// Where a projector's numbers come from.
#[derive(Clone, Copy)]
pub struct Sources<'a> {
    /// Parsed `config.json`.
    pub config: &'a Json,
    /// What `preprocessor_config.json` and `processor_config.json` say of images.
    pub processor: &'a Json,
    /// The id of a special token by its text.
    pub token: &'a dyn Fn(&str) -> Option<u64>,
}

/// A projector of one model: its kind with the model's numbers.
#[derive(Debug)]
pub struct ModelProjector {
    projector: &'static Projector,
    checkpoint: &'static Checkpoint,
    description: Description,
    /// Fields of `vision_config`, numbers by name, and the other files under `root` and `processor`.
    fields: serde_json::Map<String, Json>,
}

impl Projector {
    fn parse(json: &[u8]) -> Result<Self, String> {
        let table: Table = serde_json::from_slice(json).map_err(|error| error.to_string())?;
        let rules = |rows: &[Row], from: &str, to: &str| {
            let own = rows.iter().flat_map(|row| std::iter::once(row.clone()).chain(row.bounds()));
            own.map(|row| row.rule(from, to, Tower::Outside)).collect::<Result<Vec<_>, _>>()
        };
        let (tensors, before) = (&table.tensors, table.projector.layers.as_str());
        let every = Layers::Counted { number: "layers".into(), when: Vec::new() };
        let mut groups = vec![
            Group { layers: Layers::Outside, rules: rules(&tensors.outside, "", "")? },
            Group { layers: every, rules: rules(&tensors.layer, before, "v.blk.{layer}.")? },
        ];
        for encoder in &tensors.encoder {
            let when = encoder.when.split_whitespace().map(Condition::of).collect();
            let layers = Layers::Counted { number: encoder.layers.clone(), when };
            groups.push(Group { layers, rules: rules(&encoder.layer, &encoder.from, &encoder.to)? });
        }
        for listed in &tensors.listed {
            let layers = Layers::Listed(listed.field.clone());
            groups.push(Group { layers, rules: rules(&listed.rows, "", "")? });
        }
        Ok(Self { table, groups })
    }

    /// Every built-in projector.
    pub fn all() -> &'static [Projector] {
        &PROJECTORS
    }

    /// What `clip.projector_type`, or `clip.vision.projector_type`, says.
    pub fn id(&self) -> &str {
        &self.table.projector.id
    }

    /// The kind of projector that a model of this `config.json` has, where it is known.
    ///
    /// # Errors
    /// A configuration without `model_type`, or with parts that are no objects.
    pub fn of_config(config: &Json) -> Result<Option<&'static Projector>, Error> {
        Ok(found(config)?.map(|(projector, _)| projector))
    }
}

/// The projector of a configuration, and its kind of checkpoint.
fn found(config: &Json) -> Result<Option<(&'static Projector, &'static Checkpoint)>, Error> {
    let root = config.as_object().ok_or_else(|| crate::config::wrong("(root)", "an object", config))?;
    let root = Config::flat(root);
    if root.stated("vision_config").is_none() {
        return Ok(None);
    }
    let model_type =
        root.string("model_type")?.ok_or_else(|| Error::Missing { field: "model_type".into() })?;
    let checkpoints = PROJECTORS.iter().flat_map(|projector| {
        projector.table.checkpoints.iter().map(move |checkpoint| (projector, checkpoint))
    });
    let fits = |checkpoint: &Checkpoint| {
        checkpoint.names().any(|name| name == model_type)
            && checkpoint.when.iter().all(|test| test.holds(&root))
    };
    Ok(checkpoints.into_iter().find(|(_, checkpoint)| fits(checkpoint)))
}

impl ModelProjector {
    /// The projector of a model; `None` where it has none of a known kind.
    ///
    /// # Errors
    /// A field that is missing or says what the engine does not compute, by name.
    pub fn new(sources: Sources<'_>) -> Result<Option<Self>, Error> {
        let Some((projector, checkpoint)) = found(sources.config)? else { return Ok(None) };
        let description = crate::detect_config(sources.config)?;
        let fields = projector.fields(checkpoint, &description, sources)?;
        let own = Self { projector, checkpoint, description, fields };
        check_requirements(&own.config(), &projector.table.requirements)?;
        Ok(Some(own))
    }

    /// Its kind.
    pub fn kind(&self) -> &'static Projector {
        self.projector
    }

    /// The quantization that the checkpoint ships in, where it is not plain floats.
    pub fn native_quantization(&self) -> Option<&NativeQuantization> {
        self.description.native_quantization.as_ref()
    }

    /// The keys of the file, without the `general.*` ones that name the model.
    ///
    /// # Errors
    /// A field that is missing or does not fit its key's type.
    pub fn metadata(&self, output: OutputType) -> Result<Metadata, Error> {
        let config = self.config();
        let model = Model { config: &config, description: &self.description };
        let mut metadata = Metadata::new();
        metadata.insert("general.file_type", Value::U32(output.file_type()));
        let key = format!("{ARCHITECTURE}.{}", self.projector.table.projector.type_key);
        metadata.insert(key, Value::String(self.projector.id().into()));
        for rule in SHARED.keys.iter().chain(&self.projector.table.keys) {
            if let Some(value) = rule.value_where(model, |condition| self.holds(condition))? {
                metadata.insert(rule.key(ARCHITECTURE), value);
            }
        }
        metadata
            .insert("general.quantization_version", Value::U32(crate::keys::metadata::QUANTIZATION_VERSION));
        Ok(metadata)
    }

    fn config(&self) -> Config<'_> {
        Config::flat(&self.fields).with_defaults(self.checkpoint)
    }
}

#[cfg(test)]
mod tests;
