//! Presets: how much loss users accept, and what that means for each role (`data/strategies.toml`).
//! Knows roles and what a model is built from; must not know a family's name or a weight.

use super::category::is_quantizable;
use super::stock::{Choice, fitting};
use super::{Overrides, order};
use families::{Description, FeedForward, Form, Mixer, Reach, Role, role_of};
use formats::gguf::GgmlType;
use serde::Deserialize;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::LazyLock;

static TABLE: LazyLock<Table> = LazyLock::new(|| {
    serde_json::from_str(include_str!(concat!(env!("OUT_DIR"), "/strategies.json")))
        .expect("the built-in table parses: every test of this file reads it")
});

/// How much loss is accepted for a smaller file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Preset {
    /// 1 to 3 %.
    High,
    /// 3 to 5 %: what most want.
    Balanced,
    /// 5 to 10 %: for devices that hold no more.
    Extreme,
}

impl Preset {
    /// All of them, best first.
    pub const ALL: [Self; 3] = [Self::High, Self::Balanced, Self::Extreme];

    /// The word users type.
    pub fn name(self) -> &'static str {
        match self {
            Self::High => "high",
            Self::Balanced => "balanced",
            Self::Extreme => "extreme",
        }
    }
}

/// What decides between strategies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Trait {
    Routed,
    Latent,
    Recurrent,
    Sliding,
    EncoderDecoder,
    Mxfp4,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    steps: Vec<TypeName>,
    groups: BTreeMap<String, Vec<Role>>,
    strategy: Vec<Strategy>,
}

/// What models of a kind are stored as.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Strategy {
    name: String,
    when: Vec<Trait>,
    /// Layers at either end whose matrices get a type one step up.
    edge_layers: u32,
    high: BTreeMap<String, Wish>,
    balanced: BTreeMap<String, Wish>,
    extreme: BTreeMap<String, Wish>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
struct TypeName(GgmlType);

impl TryFrom<String> for TypeName {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        GgmlType::from_name(&name).map(Self).ok_or_else(|| format!("`{name}` is no type"))
    }
}

/// What a group of roles gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
enum Wish {
    /// What it has.
    Kept,
    Type(GgmlType),
}

impl TryFrom<String> for Wish {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text == "kept" { Ok(Self::Kept) } else { TypeName::try_from(text).map(|name| Self::Type(name.0)) }
    }
}

/// One tensor: name, dims, present type.
pub(crate) type Row<'a> = (&'a str, &'a [u64], GgmlType);

/// Types of `tensors`.
pub(crate) fn preset(
    tensors: &[Row<'_>],
    preset: Preset,
    description: &Description,
    wishes: &Overrides,
) -> Vec<Choice> {
    let strategy = Strategy::of(description, tensors);
    let by_role = strategy.by_role(preset);
    let routed: HashSet<i64> =
        tensors.iter().filter(|row| role_of(row.0) == Role::Router).map(|row| order(row.0).0).collect();
    let choose = |row: &Row<'_>| {
        let role = match role_of(row.0) {
            // A feed-forward beside the router of its layer works for every token, as shared experts do.
            Role::FfnGate if routed.contains(&order(row.0).0) => Role::SharedGate,
            Role::FfnUp if routed.contains(&order(row.0).0) => Role::SharedUp,
            Role::FfnDown if routed.contains(&order(row.0).0) => Role::SharedDown,
            role => role,
        };
        strategy.choose(row, role, &by_role, description.n_layers, wishes)
    };
    tensors.iter().map(choose).collect()
}

/// What groups of the encoder before a decoder have in front, in tables and in names of tensors.
const ENCODER_GROUP: &str = "encoder_";
const ENCODER_TENSORS: &str = "enc.";

/// Wishes by role, those of an encoder before a decoder apart.
struct ByRole(HashMap<(bool, Role), Wish>);

impl ByRole {
    fn get(&self, name: &str, role: Role) -> Option<Wish> {
        let of_encoder = name.starts_with(ENCODER_TENSORS).then(|| self.0.get(&(true, role))).flatten();
        let wish = of_encoder.or_else(|| self.0.get(&(false, role)));
        wish.or_else(|| self.0.get(&(false, Role::Other))).copied()
    }
}

impl Strategy {
    /// The strategy for a model of these tensors.
    pub(crate) fn of(description: &Description, tensors: &[Row<'_>]) -> &'static Self {
        let is = |wanted: &Trait| match wanted {
            Trait::Routed => description.layers.iter().any(|layer| layer.feed_forward == FeedForward::Routed),
            Trait::Latent => description.layers.iter().any(|layer| matches!(layer.mixer, Mixer::Latent(_))),
            Trait::Recurrent => description.layers.iter().any(|layer| layer.recurrent().is_some()),
            Trait::Sliding => description
                .layers
                .iter()
                .any(|layer| layer.attention().is_some_and(|attention| attention.reach != Reach::Full)),
            Trait::EncoderDecoder => description.form == Form::EncoderDecoder,
            Trait::Mxfp4 => tensors.iter().any(|(_, _, ty)| *ty == GgmlType::MXFP4),
        };
        let found = TABLE.strategy.iter().find(|strategy| strategy.when.iter().all(is));
        found.expect("the last strategy asks for nothing: a test holds it to that")
    }

    /// What it is called.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    fn by_role(&self, preset: Preset) -> ByRole {
        let groups = self.wishes(preset).iter().filter_map(|(group, wish)| {
            let (of_encoder, group) = match group.strip_prefix(ENCODER_GROUP) {
                Some(group) => (true, group),
                None => (false, group.as_str()),
            };
            Some(TABLE.groups.get(group)?.iter().map(move |role| ((of_encoder, *role), *wish)))
        });
        ByRole(groups.flatten().collect())
    }

    fn wishes(&self, preset: Preset) -> &BTreeMap<String, Wish> {
        match preset {
            Preset::High => &self.high,
            Preset::Balanced => &self.balanced,
            Preset::Extreme => &self.extreme,
        }
    }

    fn choose(
        &'static self,
        (name, dims, from): &Row<'_>,
        role: Role,
        by_role: &ByRole,
        n_layers: u32,
        wishes: &Overrides,
    ) -> Choice {
        let plain = |ty, reason| Choice { ty, reason, instead_of: None };
        if !is_quantizable(name, dims, &[]) || is_kept(role) {
            return plain(*from, "never quantized");
        }
        if role == Role::Output && wishes.leave_output_tensor {
            return plain(*from, "left as asked");
        }
        if wishes.keeps(*from) {
            return plain(*from, "kept as it was trained");
        }
        let asked = match role {
            Role::TokenEmbedding => wishes.token_embedding,
            Role::Output => wishes.output,
            _ => None,
        };
        let by_name = || wishes.by_name.iter().find(|(pattern, _)| pattern.is_match(name)).map(|(_, ty)| *ty);
        if let Some(ty) = asked.or_else(by_name) {
            return fitting(ty, dims[0], "as asked");
        }
        match by_role.get(name, role) {
            None | Some(Wish::Kept) => plain(*from, &self.name),
            Some(Wish::Type(ty)) => {
                let (layer, _) = order(name);
                let edge = i64::from(self.edge_layers);
                let at_edge = layer >= 0 && (layer < edge || layer >= i64::from(n_layers) - edge);
                fitting(if at_edge { one_step_up(ty) } else { ty }, dims[0], &self.name)
            }
        }
    }
}

/// Whether tensors of this role stay as they are in every preset.
fn is_kept(role: Role) -> bool {
    use Role::*;
    matches!(
        role,
        Router
            | Norm
            | Bias
            | Scale
            | AttentionSinks
            | SsmState
            | Convolution
            | RopeFactors
            | PositionEmbedding
            | RelativeBias
    )
}

/// Whether a tensor of this name and shape may be quantized to fit a budget.
pub(crate) fn is_candidate(name: &str, dims: &[u64]) -> bool {
    is_quantizable(name, dims, &[]) && !is_kept(role_of(name))
}

fn one_step_up(ty: GgmlType) -> GgmlType {
    let at = TABLE.steps.iter().position(|step| step.0 == ty);
    at.and_then(|at| TABLE.steps.get(at + 1)).map_or(ty, |step| step.0)
}

#[cfg(test)]
mod tests;
