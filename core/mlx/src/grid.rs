//! How a matrix is packed, as a configuration states it for each module.
//! Owns MLX's keys and what they may say; must not know what a module does.

use crate::Error;
use serde_json::{Map, Value};
use std::path::Path;

/// Kinds of grids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Whole numbers with a scale and a bias.
    Affine,
    /// E2M1 with a power of two.
    Mxfp4,
    /// E4M3 with a power of two.
    Mxfp8,
    /// E2M1 with an E4M3 scale.
    Nvfp4,
}

/// Every kind with its name, the bits of a code and the groups that it may have.
const MODES: [(Mode, &str, &[u32], &[u32]); 4] = [
    (Mode::Affine, "affine", &[2, 3, 4, 5, 6, 8], &[32, 64, 128]),
    (Mode::Mxfp4, "mxfp4", &[4], &[32]),
    (Mode::Mxfp8, "mxfp8", &[8], &[32]),
    (Mode::Nvfp4, "nvfp4", &[4], &[16]),
];
/// Fields that state grids, the one that loaders read first.
const FIELDS: [&str; 2] = ["quantization", "quantization_config"];

/// How a matrix is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Grid {
    /// Its kind.
    pub mode: Mode,
    /// Bits of a code.
    pub bits: u32,
    /// Columns that share a scale.
    pub group: u32,
}

impl Grid {
    /// Its kind as MLX calls it.
    #[must_use]
    pub fn mode_name(self) -> &'static str {
        MODES.iter().find(|(mode, ..)| *mode == self.mode).map_or("", |(_, name, ..)| name)
    }

    /// Whether groups have biases beside their scales.
    #[must_use]
    pub fn has_biases(self) -> bool {
        self.mode == Mode::Affine
    }

    /// Columns of a row of `words` packed words, where that is a whole number of groups.
    pub(crate) fn columns(self, words: u64) -> Option<u64> {
        let bits = words.checked_mul(32)?;
        let columns = bits / u64::from(self.bits);
        (bits % u64::from(self.bits) == 0 && columns.is_multiple_of(u64::from(self.group))).then_some(columns)
    }

    /// What an entry says; of what it leaves out, what `usual` says.
    fn read(
        path: &Path,
        field: &str,
        entry: &Map<String, Value>,
        usual: Option<Self>,
    ) -> Result<Self, Error> {
        let number = |name: &str| match entry.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => {
                value.as_u64().and_then(|number| u32::try_from(number).ok()).map(Some).ok_or_else(|| {
                    Error::field(path, &format!("{field}.{name}"), "a whole number", value.to_string())
                })
            }
        };
        let named = match entry.get("mode") {
            None | Some(Value::Null) => usual.map_or("affine", Self::mode_name),
            Some(value) => value.as_str().unwrap_or_default(),
        };
        let Some((mode, name, all_bits, groups)) = MODES.iter().find(|(_, name, ..)| *name == named) else {
            let known: Vec<&str> = MODES.iter().map(|(_, name, ..)| *name).collect();
            return Err(Error::field(path, &format!("{field}.mode"), known.join(", "), named));
        };
        let (group, bits) = (number("group_size")?, number("bits")?);
        // Without numbers an entry has those that are usual, or its kind's own where it has only these.
        let other = usual.filter(|usual| usual.mode == *mode);
        let of =
            |stated: Option<u32>, usual: Option<u32>, known: &[u32], own: u32, name: &str, what: &str| {
                let number = stated.or(usual).unwrap_or(if known.len() == 1 { known[0] } else { own });
                match known.contains(&number) {
                    true => Ok(number),
                    false => {
                        let expected = format!("one of {known:?} for {name}");
                        Err(Error::field(path, &format!("{field}.{what}"), expected, number.to_string()))
                    }
                }
            };
        let bits = of(bits, other.map(|usual| usual.bits), all_bits, 4, name, "bits")?;
        let group = of(group, other.map(|usual| usual.group), groups, 64, name, "group_size")?;
        Ok(Self { mode: *mode, bits, group })
    }
}

/// The grids of a model's modules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Grids {
    usual: Grid,
    field: &'static str,
    entries: Map<String, Value>,
}

impl Grids {
    /// What `config`, which was read from `path`, states; `None` where nothing is quantized.
    pub(crate) fn of(path: &Path, config: &Value) -> Result<Option<Self>, Error> {
        let stated = FIELDS.iter().find_map(|field| Some((*field, config.get(*field)?.as_object()?)));
        // What other programs state of their own formats has other fields.
        let Some((field, entries)) = stated.filter(|(_, entries)| entries.contains_key("bits")) else {
            return Ok(None);
        };
        Ok(Some(Self { usual: Grid::read(path, field, entries, None)?, field, entries: entries.clone() }))
    }

    /// The grid of `module`, whose codes are stored.
    pub(crate) fn of_module(&self, path: &Path, module: &str) -> Result<Grid, Error> {
        match self.entries.get(module) {
            None | Some(Value::Bool(true)) => Ok(self.usual),
            Some(Value::Object(entry)) => {
                Grid::read(path, &format!("{}.{module}", self.field), entry, Some(self.usual))
            }
            Some(other) => {
                let field = format!("{}.{module}", self.field);
                Err(Error::field(path, &field, "a grid, because its codes are stored", other.to_string()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn grids(config: &Value) -> Result<Option<Grids>, Error> {
        Grids::of(Path::new("config.json"), config)
    }

    #[test]
    fn modules_have_their_own_grid_or_the_usual_one() {
        let config = json!({"quantization": {"group_size": 32, "bits": 3, "mode": "affine", "a": {"group_size": 64, "bits": 8},
            "b": {"mode": "mxfp4"}, "c": false}});
        let grids = grids(&config).expect("sound").expect("some");
        let of = |module: &str| grids.of_module(Path::new("config.json"), module);
        let affine = |bits, group| Grid { mode: Mode::Affine, bits, group };
        assert_eq!(of("x").expect("usual"), affine(3, 32));
        assert_eq!(of("a").expect("own"), affine(8, 64));
        assert_eq!(of("b").expect("own"), Grid { mode: Mode::Mxfp4, bits: 4, group: 32 });
        let error = of("c").expect_err("stored though").to_string();
        assert!(error.contains("config.json: ") && error.contains("`quantization.c`"), "{error}");
        assert_eq!(affine(3, 32).columns(6), Some(64));
        assert_eq!((affine(3, 64).columns(5), affine(8, 64).columns(8)), (None, None));
    }

    #[test]
    fn what_is_no_grid_is_refused_by_field() {
        assert!(grids(&json!({})).expect("none").is_none());
        assert!(grids(&json!({"quantization_config": {"quant_method": "fp8"}})).expect("none").is_none());
        for (quantization, field) in [
            (json!({"bits": 7}), "`quantization.bits`: expected one of [2, 3, 4, 5, 6, 8] for affine"),
            (json!({"bits": 4, "group_size": 48}), "`quantization.group_size`"),
            (json!({"bits": 4, "group_size": -1}), "`quantization.group_size`: expected a whole number"),
            (json!({"bits": 4, "mode": "odd"}), "`quantization.mode`: expected affine, mxfp4"),
        ] {
            let error = grids(&json!({"quantization": quantization})).expect_err("refused").to_string();
            assert!(error.contains(field), "{error}");
        }
    }
}
