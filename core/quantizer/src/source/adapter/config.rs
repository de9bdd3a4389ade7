//! adapter_config.json: the ranks and scales of modules, and what makes an adapter another one than is merged here.
//! Owns its fields; must not know tensors.

use super::super::SourceJson;
use crate::{Error, Result};
use regex::Regex;
use serde_json::Value;
use std::path::Path;

/// Ranks above this are not believed.
const MAX_RANK: u64 = 1 << 20;

/// What an adapter's configuration says of its modules.
#[derive(Debug)]
pub(super) struct Config {
    rank: u64,
    alpha: f64,
    ranks: Vec<(Regex, u64)>,
    alphas: Vec<(Regex, f64)>,
    /// Scales are divided by the rank's root, not by the rank.
    by_root: bool,
    /// Weights are stored with inputs as rows.
    pub(super) fan_in_fan_out: bool,
}

/// Fields that must be left out, null, false or empty, with what they ask for.
const REFUSED: [(&str, &str); 9] = [
    ("use_dora", "DoRA scales columns by their length: merge it with peft and convert the result"),
    ("lora_bias", "biases of adapters are not merged"),
    ("target_parameters", "adapters of single parameters are not merged"),
    ("layer_replication", "layers that stand for several are not written"),
    ("trainable_token_indices", "single tokens' rows are not merged"),
    ("alora_invocation_tokens", "an adapter that works from a token on cannot be merged"),
    ("use_qalora", "pooled inputs cannot be merged"),
    ("arrow_config", "adapters that are chosen by token cannot be merged"),
    ("use_bdlora", "adapters in blocks are not merged"),
];

impl Config {
    pub(super) fn read(path: &Path) -> Result<Self> {
        Self::of(path, &SourceJson::required(path)?)
    }

    fn of(path: &Path, json: &Value) -> Result<Self> {
        let wrong = |field: &str, expected: &str| {
            let got: String = json[field].to_string().chars().take(60).collect();
            Error::checkpoint(path, format!("field `{field}`: expected {expected}, got {got}"))
        };
        if !json.is_object() {
            return Err(Error::checkpoint(path, "expected an object"));
        }
        if json["peft_type"] != "LORA" {
            return Err(wrong("peft_type", "LORA"));
        }
        for (field, why) in REFUSED {
            let is_off = match &json[field] {
                Value::Null | Value::Bool(false) => true,
                Value::Array(items) => items.is_empty(),
                Value::Object(items) => items.is_empty(),
                _ => false,
            };
            if !is_off {
                return Err(wrong(field, &format!("nothing ({why})")));
            }
        }
        // Other ways to begin change the base's weights before training.
        if !matches!(&json["init_lora_weights"], Value::Null | Value::Bool(_))
            && !["gaussian", "eva", "orthogonal"].iter().any(|way| json["init_lora_weights"] == *way)
        {
            let expected = "a way to begin that leaves the base as it is (save the adapter as a plain one)";
            return Err(wrong("init_lora_weights", expected));
        }
        let rank = |value: &Value| value.as_u64().filter(|rank| (1..=MAX_RANK).contains(rank));
        let alpha = |value: &Value| value.as_f64().filter(|alpha| alpha.is_finite());
        let flag = |field: &str| match &json[field] {
            Value::Null => Ok(false),
            value => value.as_bool().ok_or_else(|| wrong(field, "true or false")),
        };
        Ok(Self {
            rank: rank(&json["r"]).ok_or_else(|| wrong("r", &format!("a rank from 1 to {MAX_RANK}")))?,
            alpha: alpha(&json["lora_alpha"]).ok_or_else(|| wrong("lora_alpha", "a number"))?,
            ranks: patterns(&json["rank_pattern"], rank)
                .ok_or_else(|| wrong("rank_pattern", "ranks by pattern"))?,
            alphas: patterns(&json["alpha_pattern"], alpha)
                .ok_or_else(|| wrong("alpha_pattern", "numbers by pattern"))?,
            by_root: flag("use_rslora")?,
            fan_in_fan_out: flag("fan_in_fan_out")?,
        })
    }

    /// The rank of `module`'s adapter.
    pub(super) fn rank_of(&self, module: &str) -> u64 {
        let found = self.ranks.iter().find(|(pattern, _)| pattern.is_match(module));
        found.map_or(self.rank, |(_, rank)| *rank)
    }

    /// What the product of its matrices is multiplied by.
    pub(super) fn scale_of(&self, module: &str) -> f64 {
        let found = self.alphas.iter().find(|(pattern, _)| pattern.is_match(module));
        let (alpha, rank) = (found.map_or(self.alpha, |(_, alpha)| *alpha), self.rank_of(module) as f64);
        alpha / if self.by_root { rank.sqrt() } else { rank }
    }
}

/// Values by pattern in the order of the file: a pattern matches the end of a module's name, from a dot on or whole.
fn patterns<T>(value: &Value, read: impl Fn(&Value) -> Option<T>) -> Option<Vec<(Regex, T)>> {
    let entries = match value {
        Value::Null => return Some(Vec::new()),
        value => value.as_object()?,
    };
    let entry = |(pattern, value): (&String, &Value)| {
        Some((Regex::new(&format!(r"^(.*\.)?({pattern})$")).ok()?, read(value)?))
    };
    entries.iter().map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn plain() -> Value {
        json!({"peft_type": "LORA", "r": 8, "lora_alpha": 16, "use_dora": false, "rank_pattern": {},
            "init_lora_weights": true})
    }

    fn read(json: &Value) -> std::result::Result<Config, String> {
        Config::of(Path::new("a/adapter_config.json"), json).map_err(|error| error.to_string())
    }

    #[test]
    fn patterns_give_modules_their_own_rank_and_scale() {
        let mut json = plain();
        json["rank_pattern"] = json!({"q_proj": 4, r"layers\.1\.mlp\..*": 2});
        json["alpha_pattern"] = json!({"layers.1.mlp.up_proj": 6});
        let config = read(&json).expect("sound");
        assert_eq!(config.rank_of("model.layers.0.self_attn.q_proj"), 4);
        assert_eq!(config.rank_of("model.layers.0.self_attn.eq_proj"), 8);
        assert_eq!(config.scale_of("model.layers.1.mlp.up_proj"), 3.0);
        assert_eq!(config.scale_of("model.layers.0.self_attn.k_proj"), 2.0);
        json["use_rslora"] = json!(true);
        assert_eq!(read(&json).expect("sound").scale_of("q_proj"), 8.0);
    }

    #[test]
    fn other_adapters_are_refused_by_field() {
        for (field, value, says) in [
            ("peft_type", json!("LOHA"), "expected LORA, got \"LOHA\""),
            ("use_dora", json!(true), "DoRA"),
            ("target_parameters", json!(["mlp.experts"]), "single parameters"),
            ("init_lora_weights", json!("pissa"), "leaves the base"),
            ("r", json!(0), "a rank from 1"),
            ("lora_alpha", json!("x"), "a number"),
            ("rank_pattern", json!({"(": 4}), "ranks by pattern"),
            ("alpha_pattern", json!([1]), "numbers by pattern"),
            ("fan_in_fan_out", json!("yes"), "true or false"),
        ] {
            let mut json = plain();
            json[field] = value;
            let error = read(&json).expect_err(field);
            assert!(error.contains(field) && error.contains(says), "{error}");
        }
        assert!(read(&json!([])).is_err());
    }
}
