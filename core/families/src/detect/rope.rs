//! Rotary position encoding: what a configuration or a GGUF says of it, and the factors that stand for a scaling.
//! Owns the formulas; must not know families.

use crate::config::{Config, number_in, wrong};
use crate::family::RopeFactors;
use crate::{Description, Error, Family, Rope, RopeScaling};
use formats::gguf::Metadata;
use serde_json::Value;

/// The base of transformers' configuration classes where neither file nor family states one.
const DEFAULT_THETA: f64 = 10_000.0;
/// Spellings of the base of sliding layers in files of older versions.
const LOCAL_THETAS: [&str; 5] =
    ["local_rope_theta", "rope_local_theta", "rope_theta_local", "swa_rope_theta", "rope_local_base_freq"];

/// The object that holds a checkpoint's RoPE settings, with the name it goes by: `rope_parameters`
/// (its `full_attention` part where it has parts), or the older `rope_scaling`.
pub(crate) fn settings<'a>(config: &Config<'a>) -> Result<Option<(&'static str, &'a Value)>, Error> {
    for field in ["rope_parameters", "rope_scaling"] {
        let Some(value) = config.get(field) else { continue };
        if !value.is_object() {
            return Err(wrong(field, "an object", value));
        }
        return Ok(Some((
            field,
            value.get("full_attention").filter(|part| part.is_object()).unwrap_or(value),
        )));
    }
    Ok(None)
}

/// RoPE of a configuration whose longest context is `max_context` tokens and whose heads are `head_dim` wide.
pub(crate) fn of_config(config: &Config<'_>, max_context: u64, head_dim: u32) -> Result<Rope, Error> {
    let (place, inner) = settings(config)?.unwrap_or(("rope_scaling", &Value::Null));
    let theta = match number_in(place, inner, "rope_theta")? {
        Some(theta) => theta,
        None => config.number("rope_theta")?.unwrap_or(DEFAULT_THETA),
    };
    let local_theta = local_theta(config)?;
    for (field, theta) in [("rope_theta", Some(theta)), ("local rope_theta", local_theta)] {
        if let Some(theta) = theta.filter(|theta| *theta <= 0.0) {
            return Err(wrong(field, "a number above 0", &Value::from(theta)));
        }
    }
    let kind = inner.get("rope_type").or_else(|| inner.get("type")).filter(|kind| !kind.is_null());
    let kind = match kind {
        None => "default",
        Some(kind) => kind.as_str().ok_or_else(|| wrong(&format!("{place}.rope_type"), "a string", kind))?,
    };
    let optional = |field: &str| {
        let value = number_in(place, inner, field)?;
        match value {
            Some(value) if value <= 0.0 => {
                Err(wrong(&format!("{place}.{field}"), "a number above 0", &Value::from(value)))
            }
            value => Ok(value),
        }
    };
    let need =
        |field: &str| optional(field)?.ok_or_else(|| Error::Missing { field: format!("{place}.{field}") });
    // transformers takes the declared context where a stretched encoding does not say what it was trained for.
    let original_context = || {
        let outer = config.number("original_max_position_embeddings")?;
        let own = optional("original_max_position_embeddings")?;
        Ok::<u64, Error>(outer.or(own).map_or(max_context, |tokens| tokens as u64))
    };
    let scaling = match kind {
        // Dimensions that positions share are not scaled: sections say which are whose.
        "default" | "mrope" => RopeScaling::None,
        "linear" => RopeScaling::Linear { factor: need("factor")? },
        "yarn" if optional("mscale")? != optional("mscale_all_dim")? => {
            let expected = "what mscale_all_dim is: the engine scales both alike";
            return Err(wrong(
                &format!("{place}.mscale"),
                expected,
                inner.get("mscale").unwrap_or(&Value::Null),
            ));
        }
        "yarn" => RopeScaling::Yarn { factor: need("factor")?, original_context: original_context()? },
        "llama3" => RopeScaling::Llama3 {
            factor: need("factor")?,
            low_freq_factor: need("low_freq_factor")?,
            high_freq_factor: need("high_freq_factor")?,
            original_context: original_context()?,
        },
        "longrope" | "su" => {
            let n_pairs = rotary_dim(config, head_dim)? / 2;
            let factors = |field: &str| factors(&format!("{place}.{field}"), inner.get(field), n_pairs);
            let (short_factors, long_factors) = (factors("short_factor")?, factors("long_factor")?);
            RopeScaling::Long { original_context: original_context()?, short_factors, long_factors }
        }
        "proportional" => RopeScaling::Proportional { fraction: fraction(config)? },
        other => RopeScaling::Other { kind: other.into() },
    };
    Ok(Rope { theta, local_theta, scaling })
}

/// Numbers of YaRN that GGUF has keys for and the engine reads in hardly any architecture, where they are not those it
/// takes.
pub(crate) fn ignored_by_engine(config: &Config<'_>, rope: &Rope) -> Result<Vec<String>, Error> {
    let RopeScaling::Yarn { factor, .. } = rope.scaling else { return Ok(Vec::new()) };
    let Some((place, inner)) = settings(config)? else { return Ok(Vec::new()) };
    let attention = if factor > 1.0 { 0.1 * factor.ln() + 1.0 } else { 1.0 };
    let taken = [("beta_fast", 32.0), ("beta_slow", 1.0), ("attention_factor", attention)];
    let mut ignored = Vec::new();
    for (field, taken) in taken {
        let stated = number_in(place, inner, field)?;
        if let Some(stated) = stated.filter(|stated| (stated - taken).abs() > 1e-6 * taken) {
            ignored.push(format!("the engine takes {taken} for YaRN's `{field}`, the file says {stated}"));
        }
    }
    Ok(ignored)
}

/// How many of a head's `head_dim` dimensions are rotated: `partial_rotary_factor` of them.
pub(crate) fn rotary_dim(config: &Config<'_>, head_dim: u32) -> Result<u32, Error> {
    Ok((f64::from(head_dim) * fraction(config)?) as u32)
}

/// `partial_rotary_factor`, 1 where it is not stated.
fn fraction(config: &Config<'_>) -> Result<f64, Error> {
    let field = "partial_rotary_factor";
    let stated = match config.number(field)? {
        Some(fraction) => Some(fraction),
        None => match settings(config)? {
            Some((place, inner)) => number_in(place, inner, field)?,
            None => None,
        },
    };
    match stated.unwrap_or(1.0) {
        fraction if (0.0..=1.0).contains(&fraction) => Ok(fraction),
        fraction => Err(wrong(field, "a fraction from 0 to 1", &Value::from(fraction))),
    }
}

/// A list of `n` factors above 0.
fn factors(field: &str, value: Option<&Value>, n: u32) -> Result<Vec<f64>, Error> {
    let value = value.ok_or_else(|| Error::Missing { field: field.into() })?;
    let numbers: Option<Vec<f64>> =
        value.as_array().and_then(|items| items.iter().map(Value::as_f64).collect());
    let numbers = numbers.filter(|numbers| numbers.len() == n as usize && numbers.iter().all(|n| *n > 0.0));
    numbers.ok_or_else(|| wrong(field, &format!("{n} numbers above 0"), value))
}

/// Whether the ramp between YaRN's frequencies may begin and end within a dimension.
pub(crate) fn has_fractional_ramp(config: &Config<'_>, rope: &Rope) -> Result<bool, Error> {
    let truncate = settings(config)?.and_then(|(_, settings)| settings.get("truncate"));
    Ok(matches!(rope.scaling, RopeScaling::Yarn { .. }) && truncate == Some(&Value::Bool(false)))
}

/// The base of sliding layers: their part of `rope_parameters`, or a field of its own where there are no parts.
fn local_theta(config: &Config<'_>) -> Result<Option<f64>, Error> {
    let settings = config.get("rope_parameters").or_else(|| config.get("rope_scaling"));
    if let Some(parts) = settings.filter(|s| s.get("full_attention").or(s.get("sliding_attention")).is_some())
    {
        let local = parts.get("sliding_attention").unwrap_or(&Value::Null);
        return number_in("rope_parameters.sliding_attention", local, "rope_theta");
    }
    LOCAL_THETAS.iter().find_map(|field| config.number(field).transpose()).transpose()
}

/// RoPE of a GGUF file's metadata; `stored` says whether the file holds factors of its own.
pub(crate) fn of_gguf(metadata: &Metadata, architecture: &str, stored: bool) -> Rope {
    let key = |name: &str| format!("{architecture}.rope.{name}");
    let factor = metadata
        .f64(&key("scaling.factor"))
        .or_else(|| metadata.f64(&key("scale_linear")))
        .filter(|factor| factor.is_finite() && *factor > 0.0)
        .unwrap_or(1.0);
    let original_context = metadata.u64(&key("scaling.original_context_length")).unwrap_or(0);
    let scaling = match metadata.str(&key("scaling.type")) {
        Some("yarn") => RopeScaling::Yarn { factor, original_context },
        Some("linear") => RopeScaling::Linear { factor },
        Some("none") | None if stored => RopeScaling::Stored,
        Some("none") => RopeScaling::None,
        None if factor != 1.0 => RopeScaling::Linear { factor },
        None => RopeScaling::None,
        Some(kind) => RopeScaling::Other { kind: kind.into() },
    };
    let base = |name: &str| metadata.f64(&key(name)).filter(|theta| theta.is_finite() && *theta > 0.0);
    let theta = base("freq_base").unwrap_or(DEFAULT_THETA);
    Rope { theta, local_theta: base("freq_base_swa"), scaling }
}

impl Family {
    /// Tensors of factors that stand for the model's RoPE scaling, by name, where this family has such.
    pub fn rope_factors(&self, description: &Description) -> Vec<(&'static str, Vec<f32>)> {
        let narrow = |factors: &[f64]| factors.iter().map(|factor| *factor as f32).collect();
        let of = |kind: &RopeFactors| match (kind, &description.rope.scaling) {
            (RopeFactors::Llama3, _) => llama3_factors(&description.rope, description.head_dim)
                .map(|factors| vec![("rope_freqs.weight", factors)]),
            (RopeFactors::Proportional, RopeScaling::Proportional { fraction }) => {
                Some(vec![("rope_freqs.weight", proportional_factors(*fraction, description.head_dim))])
            }
            (RopeFactors::Proportional, _) => None,
            (RopeFactors::Long, RopeScaling::Long { short_factors, long_factors, .. }) => Some(vec![
                ("rope_factors_long.weight", narrow(long_factors)),
                ("rope_factors_short.weight", narrow(short_factors)),
            ]),
            (RopeFactors::Long, _) => None,
        };
        self.table.mechanisms.rope_factors.iter().filter_map(of).flatten().collect()
    }
}

impl Rope {
    /// The factor by which LongRoPE scales queries and keys in a model for `max_context` tokens.
    pub(crate) fn long_attention_factor(&self, max_context: u64) -> Option<f64> {
        let RopeScaling::Long { original_context, .. } = self.scaling else { return None };
        let scale = max_context as f64 / original_context as f64;
        let factor = (1.0 + scale.ln() / (original_context as f64).ln()).sqrt();
        Some(if scale > 1.0 { factor } else { 1.0 })
    }

    /// What to call the scaling where no tensor and no key states it.
    pub(crate) fn unstated(&self, family: &Family) -> Option<&str> {
        let kinds = &family.table.mechanisms.rope_factors;
        match &self.scaling {
            RopeScaling::Llama3 { .. } if !kinds.contains(&RopeFactors::Llama3) => Some("llama3"),
            RopeScaling::Long { .. } if !kinds.contains(&RopeFactors::Long) => Some("longrope"),
            RopeScaling::Proportional { .. } if !kinds.contains(&RopeFactors::Proportional) => {
                Some("proportional")
            }
            RopeScaling::Other { kind } => Some(kind),
            _ => None,
        }
    }
}

/// The factors that stand for Llama-3 scaling, one per pair of a head's `head_dim` dimensions: 1 for short
/// wavelengths, `factor` for long ones, smooth between (transformers' `rope_type: llama3`). In f32 and in the order of
/// operations of llama.cpp's converter, whose quotients by a tensor are products with its reciprocal.
pub(crate) fn llama3_factors(rope: &Rope, head_dim: u32) -> Option<Vec<f32>> {
    let RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_context } = rope.scaling
    else {
        return None;
    };
    let context = original_context as f64;
    let (long, short) = ((context / low_freq_factor) as f32, (context / high_freq_factor) as f32);
    let factors = (0..head_dim).step_by(2).map(|dimension| {
        let exponent = dimension as f32 / head_dim as f32;
        let frequency = 1.0 / (rope.theta as f32).powf(exponent);
        let wavelength = (1.0 / frequency) * std::f32::consts::TAU;
        if wavelength < short {
            1.0
        } else if wavelength > long {
            factor as f32
        } else {
            let turns = (1.0 / wavelength) * context as f32;
            let smooth = (turns - low_freq_factor as f32) / (high_freq_factor - low_freq_factor) as f32;
            1.0 / ((1.0 - smooth) / factor as f32 + smooth)
        }
    });
    Some(factors.collect())
}

/// The factors that leave all but the first `fraction` of the pairs of `head_dim` dimensions as they are: their frequencies
/// are divided by a number beyond any position (llama.cpp's converter, class Gemma4Model).
fn proportional_factors(fraction: f64, head_dim: u32) -> Vec<f32> {
    let n_rotated = (f64::from(head_dim) * fraction / 2.0) as u32;
    (0..head_dim / 2).map(|pair| if pair < n_rotated { 1.0 } else { 1e30 }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(config: Value) -> Result<Rope, Error> {
        of_config(&Config::new(&config).expect("an object"), 4096, 8)
    }

    #[test]
    fn both_spellings_mean_the_same() {
        let old = json!({"rope_theta": 5e5, "rope_scaling": {"type": "linear", "factor": 8}});
        let new = json!({"rope_parameters": {"rope_theta": 5e5, "rope_type": "linear", "factor": 8.0}});
        let expected = Rope { theta: 5e5, local_theta: None, scaling: RopeScaling::Linear { factor: 8.0 } };
        assert_eq!(read(old), Ok(expected.clone()));
        assert_eq!(read(new), Ok(expected));
        assert_eq!(
            read(json!({})),
            Ok(Rope { theta: 10_000.0, local_theta: None, scaling: RopeScaling::None })
        );
    }

    #[test]
    fn an_unstated_original_context_is_the_declared_one() {
        let rope = read(json!({"rope_scaling": {"type": "yarn", "factor": 4}})).expect("valid");
        assert_eq!(rope.scaling, RopeScaling::Yarn { factor: 4.0, original_context: 4096 });
    }

    #[test]
    fn what_the_engine_ignores_of_yarn_is_told() {
        let config = json!({"rope_scaling": {"type": "yarn", "factor": 4.0, "beta_fast": 16, "beta_slow": 1,
            "attention_factor": 1.138_629_436_111_989}});
        let rope = read(config.clone()).expect("valid");
        let ignored = ignored_by_engine(&Config::new(&config).expect("an object"), &rope).expect("numbers");
        assert!(ignored.len() == 1 && ignored[0].contains("`beta_fast`"), "{ignored:?}");
    }

    #[test]
    fn errors_name_the_inner_field() {
        for (config, field) in [
            (json!({"rope_scaling": {"type": "yarn"}}), "rope_scaling.factor"),
            (json!({"rope_scaling": {"type": "linear", "factor": "x"}}), "rope_scaling.factor"),
            (json!({"rope_scaling": {"type": "linear", "factor": 0}}), "rope_scaling.factor"),
            (json!({"rope_parameters": {"rope_type": 3}}), "rope_parameters.rope_type"),
            (json!({"rope_scaling": 7}), "rope_scaling"),
            (json!({"rope_theta": -1}), "rope_theta"),
        ] {
            let error = read(config).expect_err(field).to_string();
            assert!(error.contains(&format!("`{field}`")), "{error}");
        }
    }

    #[test]
    fn unknown_kinds_keep_their_name() {
        let rope = read(json!({"rope_scaling": {"type": "dynamic", "factor": 2}})).expect("valid");
        assert_eq!(rope.scaling, RopeScaling::Other { kind: "dynamic".into() });
    }

    #[test]
    fn long_factors_are_as_many_as_rotated_pairs() {
        let config = |n: usize| {
            let factors = vec![1.5; n];
            json!({"partial_rotary_factor": 0.5, "original_max_position_embeddings": 1024, "rope_scaling": {
                "type": "longrope", "short_factor": [1.0, 2], "long_factor": factors}})
        };
        let rope = read(config(2)).expect("two pairs of four rotated dimensions");
        let (short_factors, long_factors) = (vec![1.0, 2.0], vec![1.5, 1.5]);
        assert_eq!(rope.scaling, RopeScaling::Long { original_context: 1024, short_factors, long_factors });
        let attention = rope.long_attention_factor(4096).expect("LongRoPE");
        assert!((attention - 1.2f64.sqrt()).abs() < 1e-12, "{attention}");
        assert_eq!(rope.long_attention_factor(512), Some(1.0));
        let error = read(config(3)).expect_err("one too many").to_string();
        assert!(error.contains("`rope_scaling.long_factor`") && error.contains("2 numbers"), "{error}");
    }

    #[test]
    fn llama3_factors_run_from_one_to_the_factor() {
        let scaling = RopeScaling::Llama3 {
            factor: 8.0,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_context: 8192,
        };
        let factors = llama3_factors(&Rope { theta: 5e5, local_theta: None, scaling }, 128).expect("llama3");
        assert_eq!(factors.len(), 64);
        assert_eq!((factors[0], factors[63]), (1.0, 8.0));
        assert!(factors.is_sorted());
        assert!(factors.iter().any(|factor| (1.5..7.5).contains(factor)), "{factors:?}");
        assert!(
            llama3_factors(&Rope { theta: 5e5, local_theta: None, scaling: RopeScaling::None }, 128)
                .is_none()
        );
    }
}
