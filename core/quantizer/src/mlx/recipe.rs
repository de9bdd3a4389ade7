//! Recipes: the grid that every matrix gets (`4bit`, `mxfp4`), or grids chosen matrix by matrix within the same bytes
//! (`4bit-mixed`).
//! Owns their names; must not know tensors.

use super::grid::Grid;
use crate::build::decimal;

/// How grids are chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Recipe {
    /// One grid for all matrices, but for those that a layout gives 8 bits.
    Pure(Grid),
    /// As many bytes as [`Recipe::Pure`] would take, spent where they matter.
    Mixed(Grid),
    /// At most so many bytes of weights' files, spent where they matter.
    Fitted {
        /// Bytes.
        bytes: u64,
    },
}

/// Wishes beside a recipe.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Wishes {
    /// Bits of the token embedding and the output: 2, 3, 4, 5, 6 or 8, in groups of the recipe's, or 64 where its grid is not affine.
    pub embedding_bits: Option<u32>,
}

impl Recipe {
    /// The same with groups of so many weights; `None` for grids and sizes that have groups of their own, and for groups that
    /// there are not.
    pub fn with_group(self, group: u32) -> Option<Self> {
        let regrouped = |grid: Grid| Grid::new(grid.mode(), grid.bits(), group);
        match self {
            Self::Pure(grid) => regrouped(grid).map(Self::Pure),
            Self::Mixed(grid) => regrouped(grid).map(Self::Mixed),
            Self::Fitted { .. } => None,
        }
    }

    /// The recipe that `name` means, in any case: `4bit`, `4bit-g32`, `mxfp4`, `mxfp8`, `nvfp4`, also with `-pure` or, of
    /// affine grids, `-mixed` behind it; `high`, `balanced` and `extreme` mean 6, 4 and 3 bits, mixed.
    pub fn from_name(name: &str) -> Option<Self> {
        let name = name.to_ascii_lowercase();
        let mixed = |bits| Some(Self::Mixed(Grid::Affine { bits, group: 64 }));
        match name.as_str() {
            "high" => return mixed(6),
            "balanced" => return mixed(4),
            "extreme" => return mixed(3),
            _ => {}
        }
        let grid = |text: &str| Grid::all().find(|grid| grid.name() == text || grid.name() + "-g64" == text);
        if let Some(stem) = name.strip_suffix("-mixed") {
            return grid(stem).filter(|grid| grid.has_biases()).map(Self::Mixed);
        }
        grid(name.strip_suffix("-pure").unwrap_or(&name)).map(Self::Pure)
    }

    /// The name that users type.
    pub fn name(self) -> String {
        match self {
            Self::Pure(grid) => grid.name(),
            Self::Mixed(grid) => format!("{}-mixed", grid.name()),
            Self::Fitted { bytes } => format!("auto-{}", decimal(bytes)),
        }
    }

    /// The grid, or the one whose bytes are spent; the usual one where a size is fitted.
    pub fn grid(self) -> Grid {
        match self {
            Self::Pure(grid) | Self::Mixed(grid) => grid,
            Self::Fitted { .. } => Grid::Affine { bits: 4, group: 64 },
        }
    }

    /// What names look like, for messages.
    pub fn names() -> &'static str {
        "2bit, 3bit, 4bit, 5bit, 6bit or 8bit (-g32, -g128 for other groups; -mixed behind it), mxfp4, mxfp8, nvfp4"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_changed_where_grids_have_a_choice() {
        let of = |name: &str, group| Recipe::from_name(name).unwrap().with_group(group).map(Recipe::name);
        assert_eq!(of("4bit", 32).as_deref(), Some("4bit-g32"));
        assert_eq!(of("3bit-g32-mixed", 64).as_deref(), Some("3bit-mixed"));
        assert_eq!(of("mxfp4", 32).as_deref(), Some("mxfp4"));
        assert_eq!(of("mxfp4", 64), None);
        assert_eq!(of("4bit", 48), None);
        assert_eq!(Recipe::Fitted { bytes: 1 }.with_group(64), None);
    }

    #[test]
    fn names_lead_to_recipes_and_back() {
        for grid in Grid::all() {
            let pure = Recipe::Pure(grid);
            assert_eq!(Recipe::from_name(&pure.name()), Some(pure));
            let mixed = Recipe::Mixed(grid);
            assert_eq!(Recipe::from_name(&mixed.name()), grid.has_biases().then_some(mixed));
        }
        let four = Grid::Affine { bits: 4, group: 64 };
        for (name, recipe) in [
            ("4BIT-pure", Some(Recipe::Pure(four))),
            ("4bit-g64-mixed", Some(Recipe::Mixed(four))),
            ("balanced", Some(Recipe::Mixed(four))),
            ("MXFP4", Some(Recipe::Pure(Grid::Mxfp4))),
            ("7bit", None),
            ("4bit-g16", None),
            ("Q4_K_M", None),
        ] {
            assert_eq!(Recipe::from_name(name), recipe, "{name}");
        }
    }
}
