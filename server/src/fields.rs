//! Fields that the routes for answers share: how tokens are chosen, how long an answer may be, what it is held to.
//!
//! Owns their names, OpenAI's and llama.cpp's, and their ranges. Must not know routes.

use crate::app::App;
use crate::error::{ApiError, ApiResult};
use crate::models::Loaded;
use llama_pajamas::{
    Applied, Constraint, Dry, GenerateSettings, Mirostat, MirostatVersion, Sampling, Step, Token,
};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Most stop texts, and most bytes of one.
const MAX_STOPS: usize = 16;
const MAX_STOP_BYTES: usize = 256;

/// One text or several.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(crate) enum OneOrMany<T> {
    One(T),
    Many(Vec<T>),
}

impl<T> OneOrMany<T> {
    pub(crate) fn into_vec(self) -> Vec<T> {
        match self {
            Self::One(one) => vec![one],
            Self::Many(many) => many,
        }
    }
}

/// How tokens are chosen and when that ends. What is not said is the runtime's default.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Fields {
    pub(crate) temperature: Option<f32>,
    pub(crate) top_p: Option<f32>,
    pub(crate) top_k: Option<i64>,
    pub(crate) min_p: Option<f32>,
    pub(crate) typical_p: Option<f32>,
    pub(crate) top_n_sigma: Option<f32>,
    pub(crate) xtc_probability: Option<f32>,
    pub(crate) xtc_threshold: Option<f32>,
    pub(crate) dynatemp_range: Option<f32>,
    pub(crate) dynatemp_exponent: Option<f32>,
    pub(crate) repeat_penalty: Option<f32>,
    pub(crate) repeat_last_n: Option<usize>,
    pub(crate) frequency_penalty: Option<f32>,
    pub(crate) presence_penalty: Option<f32>,
    pub(crate) dry_multiplier: Option<f32>,
    pub(crate) dry_base: Option<f32>,
    pub(crate) dry_allowed_length: Option<usize>,
    pub(crate) dry_penalty_last_n: Option<usize>,
    pub(crate) dry_sequence_breakers: Option<Vec<String>>,
    pub(crate) mirostat: Option<u8>,
    pub(crate) mirostat_tau: Option<f32>,
    pub(crate) mirostat_eta: Option<f32>,
    pub(crate) samplers: Option<Vec<String>>,
    pub(crate) logit_bias: Option<BTreeMap<String, f32>>,
    pub(crate) seed: Option<i64>,
    pub(crate) stop: Option<OneOrMany<String>>,
    pub(crate) n: Option<u32>,
    pub(crate) ignore_eos: Option<bool>,
    pub(crate) grammar: Option<String>,
    pub(crate) regex: Option<String>,
    pub(crate) json_schema: Option<Value>,
    pub(crate) response_format: Option<Value>,
    pub(crate) lora: Option<Vec<Scale>>,
}

/// An adapter by its place, as llama.cpp's server has it.
#[derive(Debug, Clone, Copy, Deserialize)]
pub(crate) struct Scale {
    pub(crate) id: usize,
    #[serde(default = "whole")]
    pub(crate) scale: f32,
}

/// There is no adapter at the place that `field` names.
pub(crate) fn no_adapter(field: &str, n_adapters: usize, id: usize) -> ApiError {
    let expected = format!("the place of one of {n_adapters} adapters, from 0 on");
    ApiError::field(format!("{field}.id"), expected, id.to_string())
}

/// The scale that `field` has, if it is a number.
pub(crate) fn finite(field: &str, scale: f32) -> ApiResult<f32> {
    let wrong = || ApiError::field(format!("{field}.scale"), "a finite number", scale.to_string());
    if scale.is_finite() { Ok(scale) } else { Err(wrong()) }
}

fn whole() -> f32 {
    1.0
}

impl Fields {
    /// Answers that are wished for.
    pub(crate) fn choices(&self, app: &App) -> ApiResult<usize> {
        let most = app.settings.max_choices;
        match self.n.unwrap_or(1) {
            n if (1..=most).contains(&n) => Ok(n as usize),
            n => Err(ApiError::field("n", format!("1 to {most}"), n.to_string())),
        }
    }

    /// The runtime's settings for an answer of at most `max_tokens` to a prompt of `n_prompt`.
    pub(crate) fn settings(&self, app: &App, model: &Loaded) -> ApiResult<GenerateSettings> {
        let n_vocab = model.model().tokenizer().n_vocab();
        let settings = GenerateSettings {
            sampling: self.sampling(n_vocab)?,
            max_tokens: app.settings.max_tokens,
            stop: self.stops()?,
            ignore_end_of_turn: self.ignore_eos.unwrap_or(false),
            constraint: self.constraint()?,
            adapters: self.adapters(model)?,
            ..GenerateSettings::default()
        };
        settings.check().map_err(ApiError::from)?;
        Ok(settings)
    }

    /// The adapters that are wished for; where nothing is said, those that the server has for all.
    fn adapters(&self, model: &Loaded) -> ApiResult<Vec<Applied>> {
        let all = model.adapters();
        let mut adapters = Vec::new();
        match &self.lora {
            None => adapters = all,
            Some(wished) => {
                for (at, Scale { id, scale }) in wished.iter().enumerate() {
                    let field = format!("lora[{at}]");
                    let adapter = all.get(*id).ok_or_else(|| no_adapter(&field, all.len(), *id))?;
                    adapters.push(Applied { scale: finite(&field, *scale)?, ..adapter.clone() });
                }
            }
        }
        adapters.retain(|applied| applied.scale != 0.0);
        Ok(adapters)
    }

    fn stops(&self) -> ApiResult<Vec<String>> {
        let stops = self.stop.clone().map(OneOrMany::into_vec).unwrap_or_default();
        if stops.len() > MAX_STOPS || stops.iter().any(|stop| stop.len() > MAX_STOP_BYTES) {
            let expected = format!("at most {MAX_STOPS} texts of at most {MAX_STOP_BYTES} bytes");
            return Err(ApiError::field("stop", expected, format!("{} texts", stops.len())));
        }
        Ok(stops)
    }

    fn sampling(&self, n_vocab: usize) -> ApiResult<Sampling> {
        let mut s = Sampling::default();
        let set = |place: &mut f32, value: Option<f32>| *place = value.unwrap_or(*place);
        set(&mut s.temperature, self.temperature);
        set(&mut s.temperature_range, self.dynatemp_range);
        set(&mut s.temperature_exponent, self.dynatemp_exponent);
        set(&mut s.top_p, self.top_p);
        set(&mut s.min_p, self.min_p);
        set(&mut s.typical_p, self.typical_p);
        // llama.cpp's word for off is -1.
        set(&mut s.top_n_sigma, self.top_n_sigma.map(|sigma| sigma.max(0.0)));
        set(&mut s.xtc_probability, self.xtc_probability);
        set(&mut s.xtc_threshold, self.xtc_threshold);
        set(&mut s.repeat_penalty, self.repeat_penalty);
        set(&mut s.frequency_penalty, self.frequency_penalty);
        set(&mut s.presence_penalty, self.presence_penalty);
        s.top_k = self.top_k.map_or(s.top_k, |k| u32::try_from(k.max(0)).unwrap_or(u32::MAX));
        s.penalty_window = self.repeat_last_n.unwrap_or(s.penalty_window);
        s.dry = self.dry();
        s.mirostat = self.mirostat()?;
        if let Some(names) = &self.samplers {
            s.order = names.iter().map(|name| Step::from_name(name)).collect::<Result<_, _>>()?;
        }
        s.seed = self.seed.filter(|seed| *seed >= 0).map(i64::unsigned_abs);
        for (token, bias) in self.logit_bias.iter().flatten() {
            let id =
                token.parse::<Token>().ok().filter(|id| usize::try_from(*id).is_ok_and(|id| id < n_vocab));
            let Some(id) = id else {
                return Err(ApiError::field("logit_bias", format!("ids of tokens below {n_vocab}"), token));
            };
            // OpenAI's -100 excludes a token, whatever its logit is.
            let bias = if *bias <= -100.0 { f32::NEG_INFINITY } else { *bias };
            s.logit_bias.push((id, bias));
        }
        Ok(s)
    }

    fn dry(&self) -> Dry {
        let mut dry = Dry::default();
        dry.multiplier = self.dry_multiplier.unwrap_or(dry.multiplier);
        dry.base = self.dry_base.unwrap_or(dry.base);
        dry.allowed_length = self.dry_allowed_length.unwrap_or(dry.allowed_length);
        dry.window = self.dry_penalty_last_n.unwrap_or(dry.window);
        dry.breakers = self.dry_sequence_breakers.clone().unwrap_or(dry.breakers);
        dry
    }

    fn mirostat(&self) -> ApiResult<Option<Mirostat>> {
        let version = match self.mirostat {
            None | Some(0) => return Ok(None),
            Some(1) => MirostatVersion::One,
            Some(2) => MirostatVersion::Two,
            Some(other) => return Err(ApiError::field("mirostat", "0, 1 or 2", other.to_string())),
        };
        let default = Mirostat::default();
        Ok(Some(Mirostat {
            version,
            target_bits: self.mirostat_tau.unwrap_or(default.target_bits),
            learning_rate: self.mirostat_eta.unwrap_or(default.learning_rate),
        }))
    }

    /// What the answer is held to; at most one of the fields may say so.
    fn constraint(&self) -> ApiResult<Option<Constraint>> {
        let mut all: Vec<Constraint> = Vec::new();
        all.extend(self.grammar.clone().map(Constraint::Lark));
        all.extend(self.regex.clone().map(Constraint::Regex));
        all.extend(self.json_schema.clone().map(Constraint::JsonSchema));
        all.extend(self.response_format.as_ref().map(of_format).transpose()?.flatten());
        match all.len() {
            0 | 1 => Ok(all.pop()),
            n => Err(ApiError::field(
                "response_format",
                "one of response_format, json_schema, regex and grammar",
                n.to_string(),
            )),
        }
    }
}

/// What OpenAI's `response_format` (or `text.format`) asks for.
pub(crate) fn of_format(format: &Value) -> ApiResult<Option<Constraint>> {
    match format["type"].as_str() {
        _ if format.is_null() => Ok(None),
        Some("text") => Ok(None),
        Some("json_object") => Ok(Some(Constraint::JsonSchema(json!({ "type": "object" })))),
        Some("json_schema") => {
            let schema = format.pointer("/json_schema/schema").or_else(|| format.get("schema"));
            match schema.filter(|schema| schema.is_object()) {
                Some(schema) => Ok(Some(Constraint::JsonSchema(schema.clone()))),
                None => Err(ApiError::field("response_format.json_schema.schema", "a JSON schema", "none")),
            }
        }
        other => {
            let got = other.unwrap_or("none");
            Err(ApiError::field("response_format.type", "text, json_object or json_schema", got))
        }
    }
}

/// Tokens that an answer may have: what was asked for, what the server allows, what the context has room for.
pub(crate) fn max_tokens(
    app: &App,
    model: &Loaded,
    n_prompt: usize,
    asked: Option<i64>,
    field: &str,
) -> ApiResult<u32> {
    let n_ctx = model.pool()?.n_ctx();
    // One token more than is held can be chosen.
    let room = u32::try_from((n_ctx + 1).saturating_sub(n_prompt)).unwrap_or(u32::MAX);
    let most = app.settings.max_tokens.min(room);
    match asked {
        None | Some(-1) => Ok(most),
        Some(n) => match u32::try_from(n) {
            Ok(n) => Ok(n.min(most)),
            Err(_) => Err(ApiError::field(field, "a number from 0 on", n.to_string())),
        },
    }
}

/// What OpenAI's routes take as their text: one or several, written or as tokens.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(crate) enum TextsOrTokens {
    Text(String),
    Texts(Vec<String>),
    Tokens(Vec<Token>),
    Several(Vec<Vec<Token>>),
}
