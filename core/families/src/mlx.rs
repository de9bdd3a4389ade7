//! What MLX's models call their tensors, as data (`data/mlx`): which of a checkpoint's tensors are renamed, stacked, split or
//! turned, which matrices have a precision of their own, and which no quantizer touches.
//! Owns the tables and their evaluation; must not know how a matrix is quantized or a file written.

mod names;

use crate::config::Config;
use crate::tensors::mapping::{match_name, place_numbers};
use crate::{Description, Error, Family, Piece, Role, Source, Stored, ValueChange, View, tables};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::LazyLock;

pub use names::GgufName;

static LAYOUTS: LazyLock<Vec<Layout>> = LazyLock::new(|| {
    let parse = |(name, table): &(&str, tables::Table)| match serde_json::from_slice(table.json()) {
        Ok(layout) => layout,
        Err(error) => panic!("built-in layout {name}: {error}"),
    };
    tables::MLX.iter().map(parse).collect()
});

/// How the models of some `model_type`s are laid out, as a file of `data/mlx` states it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Layout {
    model_types: Vec<String>,
    /// Ends of the names of modules that have 8 bits and groups of 64 unless a recipe says otherwise.
    #[serde(default)]
    fixed: Vec<String>,
    /// Ends of the names of modules whose matrices are no linear layer's or embedding's.
    #[serde(default)]
    plain: Vec<String>,
    /// Parts of the names of tensors that stay in the floats that they are stored in.
    #[serde(default)]
    keeps_floats: Vec<String>,
    /// Tensors that are not as they are stored.
    #[serde(default, rename = "tensor")]
    rows: Vec<Row>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    /// Name in the checkpoint, with places for `{layer}` and `{expert}`.
    from: String,
    /// Name in MLX; what has an `{expert}` is stacked.
    to: String,
    /// A field that must be a number above 0, or with `!` none.
    when: Option<String>,
    /// Whether matrices are stored as they multiply from the right.
    #[serde(default)]
    turned: bool,
    /// Which part of the rows (of a matrix; of numbers in one dimension each, the numbers).
    #[serde(default)]
    part: Part,
    /// Whether it is a stack of linear layers.
    #[serde(default)]
    stacked: bool,
    #[serde(default)]
    value: Change,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Part {
    #[default]
    All,
    FirstHalf,
    SecondHalf,
    Even,
    Odd,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Change {
    #[default]
    None,
    AddOne,
}

/// What may become of a tensor's values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A linear layer's, a stack's of them, or an embedding's matrix.
    Matrix {
        /// Whether it has 8 bits and groups of 64 unless a recipe says otherwise.
        is_fixed: bool,
    },
    /// Anything else.
    Plain {
        /// Whether it stays in the floats that it is stored in.
        keeps_floats: bool,
    },
}

/// One tensor of an MLX model.
#[derive(Debug, Clone, PartialEq)]
pub struct MlxTensor {
    /// Its name.
    pub name: String,
    /// Its shape, slowest dimension first.
    pub shape: Vec<u64>,
    /// What may become of it.
    pub kind: Kind,
    /// What happens to each value.
    pub value: ValueChange,
    /// Parts of stored tensors, behind each other.
    pub pieces: Vec<Piece>,
    /// GGUF's names of what it holds; several where MLX has in one matrix what GGUF has in many.
    pub gguf_names: Vec<String>,
    /// What it does.
    pub role: Role,
}

impl MlxTensor {
    /// The module that it belongs to: its name without the last part.
    pub fn module(&self) -> &str {
        self.name.rsplit_once('.').map_or(self.name.as_str(), |(module, _)| module)
    }
}

impl Layout {
    /// The layout of models whose configuration is `config`.
    ///
    /// # Errors
    /// A `model_type` that no table has.
    pub fn of(config: &Value) -> Result<&'static Self, Error> {
        let stated = config.get("model_type").and_then(Value::as_str).unwrap_or_default();
        let found = LAYOUTS.iter().find(|layout| layout.model_types.iter().any(|known| known == stated));
        found.ok_or_else(|| {
            let mut known: Vec<&str> =
                LAYOUTS.iter().flat_map(|layout| layout.model_types.iter().map(String::as_str)).collect();
            known.sort_unstable();
            Error::Field {
                field: "model_type".into(),
                expected: format!("one whose layout in MLX is known ({})", known.join(", ")),
                got: format!("`{stated}`"),
            }
        })
    }

    /// Every tensor of the MLX model, in the order of `stored`; a stack where its last expert stands. Tensors that a
    /// decoder of `family` does without are left out.
    ///
    /// # Errors
    /// What [`Family::outputs`] refuses, a stack with a gap, a shape that does not split, or two tensors of one name.
    pub fn tensors(
        &self,
        config: &Value,
        family: &Family,
        description: &Description,
        stored: &[Stored<'_>],
    ) -> Result<Vec<MlxTensor>, Error> {
        // The family checks that all is there, and knows what each tensor does.
        let mut uses: BTreeMap<usize, Vec<(String, Role)>> = BTreeMap::new();
        for output in family.outputs(description, stored)? {
            let Source::Stored(pieces) = output.source else { continue };
            for piece in pieces {
                let of_tensor = uses.entry(piece.tensor).or_default();
                if of_tensor.last().is_none_or(|(name, _)| *name != output.name) {
                    of_tensor.push((output.name.clone(), output.role));
                }
            }
        }
        let config = Config::new(config)?;
        let n_experts = description.moe.map_or(0, |moe| moe.n_experts);
        let mut tensors: Vec<MlxTensor> = Vec::with_capacity(stored.len());
        let mut stacks: BTreeMap<String, Stack> = BTreeMap::new();
        for (index, tensor) in stored.iter().enumerate() {
            let Some(used_as) = uses.get(&index) else { continue };
            if description.tied_embeddings && used_as.iter().all(|(_, role)| *role == Role::Output) {
                continue;
            }
            let rows = self.rows.iter().filter(|row| row.holds(&config));
            let found: Vec<_> =
                rows.filter_map(|row| Some((row, match_name(&row.from, tensor.name)?))).collect();
            if found.is_empty() {
                let made = self.made(tensor.name.into(), tensor.shape.to_vec(), None, used_as);
                tensors.push(made.of(index, View::whole(tensor.shape.iter().product())));
                continue;
            }
            let n_found = found.len();
            for (at, (row, numbers)) in found.into_iter().enumerate() {
                let name = place_numbers(&row.to, &numbers);
                let (shape, view) = row.arrange(tensor)?;
                // As many as in GGUF: one each, in the order of both tables.
                let used_as = if n_found == used_as.len() { &used_as[at..=at] } else { &used_as[..] };
                let Some(expert) = numbers.expert else {
                    tensors.push(self.made(name, shape, Some(row), used_as).of(index, view));
                    continue;
                };
                let stack = stacks.entry(name.clone()).or_insert_with(|| {
                    let shape = [&[u64::from(n_experts)], &shape[..]].concat();
                    let from = tensor.name.replacen(&format!(".{expert}."), ".{expert}.", 1);
                    Stack {
                        tensor: self.made(name, shape, Some(row), used_as),
                        pieces: BTreeMap::new(),
                        from,
                    }
                });
                if stack.tensor.shape[1..] != shape {
                    let (tensor, got) = (tensor.name.into(), tensor.shape.to_vec());
                    return Err(Error::Shape {
                        tensor,
                        expected: format!("{:?}", &stack.tensor.shape[1..]),
                        got,
                    });
                }
                stack.pieces.insert(expert, Piece { tensor: index, view, factors: Vec::new() });
                if stack.pieces.len() == n_experts as usize {
                    let whole = stacks.remove(&place_numbers(&row.to, &numbers)).expect("just looked at");
                    tensors.push(MlxTensor { pieces: whole.pieces.into_values().collect(), ..whole.tensor });
                }
            }
        }
        if let Some(stack) = stacks.into_values().next() {
            let missing = (0..n_experts).find(|expert| !stack.pieces.contains_key(expert)).unwrap_or(0);
            return Err(Error::MissingTensor {
                tensor: stack.from.replace("{expert}", &missing.to_string()),
            });
        }
        Ok(tensors)
    }

    /// A tensor without its values.
    fn made(
        &self,
        name: String,
        shape: Vec<u64>,
        row: Option<&Row>,
        used_as: &[(String, Role)],
    ) -> MlxTensor {
        let module = name.rsplit_once('.').filter(|(_, last)| *last == "weight").map(|(module, _)| module);
        let ends = |ends: &[String]| module.is_some_and(|module| ends.iter().any(|end| is_end(module, end)));
        let is_stack = row.is_some_and(|row| row.stacked || row.from.contains("{expert}"));
        let kind = match shape.len() {
            2 | 3 if module.is_some() && (shape.len() == 2 || is_stack) && !ends(&self.plain) => {
                Kind::Matrix { is_fixed: ends(&self.fixed) }
            }
            _ => Kind::Plain {
                keeps_floats: self.keeps_floats.iter().any(|part| name.contains(part.as_str())),
            },
        };
        MlxTensor {
            shape,
            kind,
            value: match row.map(|row| row.value) {
                Some(Change::AddOne) => ValueChange::AddOne,
                Some(Change::None) | None => ValueChange::None,
            },
            pieces: Vec::new(),
            gguf_names: used_as.iter().map(|(name, _)| name.clone()).collect(),
            role: used_as.first().map_or(Role::Other, |(_, role)| *role),
            name,
        }
    }
}

impl MlxTensor {
    fn of(self, tensor: usize, view: View) -> Self {
        Self { pieces: vec![Piece { tensor, view, factors: Vec::new() }], ..self }
    }
}

/// Whether `module` is `end` or ends in it behind a dot.
fn is_end(module: &str, end: &str) -> bool {
    module.strip_suffix(end).is_some_and(|before| before.is_empty() || before.ends_with('.'))
}

/// Experts on their way to one tensor.
struct Stack {
    tensor: MlxTensor,
    pieces: BTreeMap<u32, Piece>,
    from: String,
}

impl Row {
    fn holds(&self, config: &Config<'_>) -> bool {
        let positive = |field: &str| config.get(field).and_then(Value::as_u64).is_some_and(|n| n > 0);
        match self.when.as_deref() {
            None => true,
            Some(field) => match field.strip_prefix('!') {
                None => positive(field),
                Some(field) => !positive(field),
            },
        }
    }

    /// The shape of what it makes of `tensor`, slowest dimension first, and the view that shows it.
    fn arrange(&self, tensor: &Stored<'_>) -> Result<(Vec<u64>, View), Error> {
        let wrong = |expected: &str| Error::Shape {
            tensor: tensor.name.into(),
            expected: expected.into(),
            got: tensor.shape.to_vec(),
        };
        let mut stride = 1u64;
        let mut axes: Vec<(u64, u64)> = Vec::new();
        for &extent in tensor.shape.iter().rev() {
            axes.insert(0, (extent, stride));
            stride = stride.checked_mul(extent).ok_or_else(|| wrong("fewer than 2^64 elements"))?;
        }
        let n = axes.len();
        if self.turned {
            if n < 2 {
                return Err(wrong("matrices"));
            }
            axes.swap(n - 2, n - 1);
        }
        let mut offset = 0;
        if self.part != Part::All {
            // Rows of matrices; of numbers for each row, the numbers.
            let is_matrix = self.to.ends_with(".weight");
            let at = n.checked_sub(if is_matrix { 2 } else { 1 }).ok_or_else(|| wrong("rows"))?;
            let (extent, stride) = axes[at];
            if extent % 2 != 0 {
                return Err(wrong("an even number of rows"));
            }
            let (step, first) = match self.part {
                Part::All | Part::FirstHalf => (1, 0),
                Part::SecondHalf => (1, extent / 2),
                Part::Even => (2, 0),
                Part::Odd => (2, 1),
            };
            axes[at] = (extent / 2, stride * step);
            offset = first * stride;
        }
        Ok((axes.iter().map(|(extent, _)| *extent).collect(), View::new(offset, axes)))
    }
}

#[cfg(test)]
mod tests;
