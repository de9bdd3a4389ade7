//! The operators that a graph is made of: one of two sets behind the same questions.
//! Knows which set; the sets know how.

use super::network::Builder;
use super::recipe::{Flavour, Recipe};
use super::rotary::Turning;
use super::{portable, runtime};
use crate::Result;
use families::Attention;

/// A set of operators, with the tables that attention needs.
pub(super) struct Operators {
    flavour: Flavour,
    turning: Turning,
}

impl Operators {
    /// Those that `recipe` asks for.
    pub(super) fn of(recipe: Recipe, turning: Turning) -> Self {
        Self { flavour: recipe.flavour, turning }
    }

    /// What all layers need of the inputs.
    pub(super) fn prepare(&self, builder: &mut Builder<'_>) -> Result<()> {
        match self.flavour {
            Flavour::Runtime => runtime::prepare(builder),
            Flavour::Portable => portable::prepare(builder, &self.turning),
        }
    }

    /// Rows of the embedding `weight`.
    pub(super) fn embed(&self, builder: &mut Builder<'_>, weight: &str, name: &str) -> Result<String> {
        match self.flavour {
            Flavour::Runtime => runtime::embed(builder, weight, name),
            Flavour::Portable => portable::embed(builder, weight, name),
        }
    }

    /// `x` divided by its root mean square, times `weight`.
    pub(super) fn norm(
        &self,
        builder: &mut Builder<'_>,
        weight: &str,
        x: &str,
        name: &str,
    ) -> Result<String> {
        match self.flavour {
            Flavour::Runtime => runtime::norm(builder, weight, x, name),
            Flavour::Portable => portable::norm(builder, weight, x, name),
        }
    }

    /// `x` times the matrix `part`, plus its bias where it has one.
    pub(super) fn linear(
        &self,
        builder: &mut Builder<'_>,
        part: &str,
        x: &str,
        name: &str,
    ) -> Result<String> {
        let bias = format!("{part}.bias");
        let has_bias = builder.find(&bias).is_some();
        let product = if has_bias { format!("{name}/product") } else { name.to_string() };
        let weight = format!("{part}.weight");
        let made = match self.flavour {
            Flavour::Runtime => runtime::product(builder, &weight, x, &product)?,
            Flavour::Portable => portable::product(builder, &weight, x, &product)?,
        };
        if !has_bias {
            return Ok(made);
        }
        let bias = builder.floats(&bias, &[])?;
        Ok(builder.graph.plain("Add", &[&made, &bias], name))
    }

    /// What the queries see: `[batch, sequence, heads · width]`. Queries and keys are not turned yet.
    pub(super) fn attend(
        &self,
        builder: &mut Builder<'_>,
        layer: usize,
        attention: &Attention,
        scale: f32,
        [q, k, v]: [&str; 3],
    ) -> Result<String> {
        let table = self.turning.table(attention.reach);
        match self.flavour {
            Flavour::Runtime => runtime::attend(builder, layer, attention, scale, table, [q, k, v]),
            Flavour::Portable => {
                portable::attend(builder, layer, (attention, self.turning.n_turned), scale, table, [q, k, v])
            }
        }
    }

    /// What the chosen experts of a layer make of `x`.
    pub(super) fn experts(&self, builder: &mut Builder<'_>, layer: usize, x: &str) -> Result<String> {
        match self.flavour {
            Flavour::Runtime => runtime::experts(builder, layer, x),
            Flavour::Portable => Err(builder.unknown("experts", "none in a portable graph")),
        }
    }
}
