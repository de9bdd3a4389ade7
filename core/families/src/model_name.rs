//! `general.*` metadata that is read off a model's directory name, configuration, generation settings and model card.
//! A port of the rules of llama.cpp's `gguf-py/gguf/metadata.py`; knows no architecture.

mod card;
mod id;

use card::Field;
pub use card::ModelCard;
use formats::gguf::{Array, Metadata, Value};
use id::{components, title};

/// What the rules read.
#[derive(Debug, Clone, Copy)]
pub struct Sources<'a> {
    /// Last part of the checkpoint's path.
    pub directory: &'a str,
    /// Parsed `config.json`.
    pub config: &'a serde_json::Value,
    /// Parsed `generation_config.json`, where there is one.
    pub generation: Option<&'a serde_json::Value>,
    /// The model card, empty where there is none; it counts before what the names say.
    pub card: &'a ModelCard,
}

/// Weights of the converted tensors, for the size label.
#[derive(Debug, Clone, Copy, Default)]
pub struct WeightCounts {
    /// All weights.
    pub total: u64,
    /// Weights outside expert stacks.
    pub shared: u64,
    /// Weights of one expert of each stack.
    pub per_expert: u64,
    /// Experts per stack, 0 without any.
    pub n_experts: u64,
}

impl WeightCounts {
    /// Counts of tensors given by GGUF name and extents (contiguous first), generated ones included.
    pub fn of<'t>(tensors: impl IntoIterator<Item = (&'t str, &'t [u64])>) -> Self {
        let mut counts = Self::default();
        let (mut experts, mut stacks) = (0, 0);
        for (name, dims) in tensors {
            let n_weights = dims.iter().fold(1u64, |product, &dim| product.saturating_mul(dim));
            counts.total = counts.total.saturating_add(n_weights);
            match dims.get(2).filter(|_| name.contains("_exps.")) {
                Some(&n_experts) => {
                    counts.per_expert = counts.per_expert.saturating_add(n_weights / n_experts.max(1));
                    experts += n_experts;
                    stacks += 1;
                }
                None => counts.shared = counts.shared.saturating_add(n_weights),
            }
        }
        counts.n_experts = experts.checked_div(stacks).unwrap_or(0);
        counts
    }
}

/// The `general.*` keys behind `general.architecture`, in the converter's order.
///
/// One rule differs from llama.cpp's on purpose: an empty `_name_or_path` names nothing, where theirs writes an empty
/// name.
pub fn general(sources: Sources<'_>, counts: WeightCounts) -> Metadata {
    let card = sources.card;
    let mut metadata = Metadata::new();
    put(&mut metadata, "type", Some("model".into()));
    sampling(sources.generation, &mut metadata);
    let mut naming = Naming::of_card(card);
    let path = sources.config.get("_name_or_path").and_then(serde_json::Value::as_str);
    let path = path.filter(|path| path.matches('/').count() <= 1 && !path.is_empty());
    for id in path.into_iter().chain([sources.directory]) {
        naming.complete(id, counts.total);
    }
    let label = naming.size_label.or_else(|| (counts.total > 0).then(|| size_label(counts)));
    put(&mut metadata, "name", Some(naming.name.unwrap_or_else(|| sources.directory.into())));
    put(&mut metadata, "author", first(card, &["author", "model_author", "model_creator"]));
    put(&mut metadata, "version", naming.version);
    put(&mut metadata, "organization", naming.organization);
    put(&mut metadata, "finetune", naming.finetune);
    put(&mut metadata, "basename", naming.basename);
    put(&mut metadata, "description", first(card, &["description", "model_description"]));
    put(&mut metadata, "size_label", label);
    put(&mut metadata, "license", licence(card));
    put(&mut metadata, "license.name", first(card, &["license_name"]));
    put(&mut metadata, "license.link", first(card, &["license_link"]));
    for (key, fields) in [
        ("source.url", ["url", "model_url"]),
        ("source.doi", ["doi", "model_doi"]),
        ("source.uuid", ["uuid", "model_uuid"]),
        ("source.repo_url", ["repo_url", "model_repo_url"]),
    ] {
        put(&mut metadata, key, first(card, &fields));
    }
    let bases = ["base_model", "base_models", "base_model_sources"];
    origins(&mut metadata, "base_model", card, &bases, counts.total);
    origins(&mut metadata, "dataset", card, &["datasets", "dataset", "dataset_sources"], counts.total);
    for (key, fields) in [("tags", ["tags", "pipeline_tag"]), ("languages", ["languages", "language"])] {
        let fields = fields.iter().filter_map(|field| card.get(field)).flat_map(Field::items);
        let items: Vec<String> = fields.filter_map(Field::text).map(str::to_string).collect();
        if !items.is_empty() {
            metadata.insert(format!("general.{key}"), Value::Array(Array::String(items)));
        }
    }
    metadata
}

fn put(metadata: &mut Metadata, key: &str, value: Option<String>) {
    if let Some(value) = value {
        metadata.insert(format!("general.{key}"), Value::String(value));
    }
}

/// The first of `fields` that has a text.
fn first(card: &ModelCard, fields: &[&str]) -> Option<String> {
    fields.iter().find_map(|field| card.text(field)).map(str::to_string)
}

fn licence(card: &ModelCard) -> Option<String> {
    let items: Vec<&str> = card.get("license")?.items().iter().filter_map(Field::text).collect();
    (!items.is_empty()).then(|| items.join(","))
}

/// What the model is called; each part from the first source that says it.
#[derive(Default)]
struct Naming {
    name: Option<String>,
    organization: Option<String>,
    basename: Option<String>,
    finetune: Option<String>,
    version: Option<String>,
    size_label: Option<String>,
}

impl Naming {
    fn of_card(card: &ModelCard) -> Self {
        Self {
            name: first(card, &["name", "model_name"]),
            organization: first(card, &["organization", "model_organization"]),
            basename: first(card, &["basename", "model_basename", "model_type"]),
            finetune: first(card, &["finetune", "model_finetune"]),
            version: first(card, &["version", "model_version"]),
            size_label: first(card, &["size_label", "model_size_label"]),
        }
    }

    fn complete(&mut self, id: &str, total: u64) {
        let found = components(id, total);
        let fill = |part: &mut Option<String>, found: Option<String>| *part = part.take().or(found);
        fill(&mut self.name, found.name.as_deref().map(title));
        fill(&mut self.organization, found.organization.as_deref().map(title));
        fill(&mut self.basename, found.basename);
        fill(&mut self.finetune, found.finetune);
        fill(&mut self.version, found.version);
        fill(&mut self.size_label, found.size_label);
    }
}

/// Models or data sets that this one comes from: a count, then each one's keys.
fn origins(metadata: &mut Metadata, kind: &str, card: &ModelCard, fields: &[&str], total: u64) {
    const KEYS: [&str; 9] =
        ["name", "author", "version", "organization", "description", "url", "doi", "uuid", "repo_url"];
    let Some(field) = fields.iter().find_map(|field| card.get(field)) else { return };
    // A mapping in place of a list is no list of origins.
    let items = if matches!(field, Field::Map(_)) { &[] } else { field.items() };
    metadata.insert(format!("general.{kind}.count"), Value::U32(items.len() as u32));
    for (index, item) in items.iter().enumerate() {
        let of_id = item.text().map(|id| origin_of_id(id, total));
        for key in KEYS {
            let value = match &of_id {
                Some(keys) => keys.iter().find(|(name, _)| *name == key).map(|(_, value)| value.clone()),
                None => item.get(key).and_then(Field::text).map(str::to_string),
            };
            put(metadata, &format!("{kind}.{index}.{key}"), value);
        }
    }
}

/// Keys of an origin that is given by hub id or address.
fn origin_of_id(id: &str, total: u64) -> Vec<(&'static str, String)> {
    const HUB: &str = "huggingface.co/";
    let mut keys = Vec::new();
    let is_address = ["http://", "https://", "ssh://"].iter().any(|scheme| id.starts_with(scheme));
    let hub_id = match is_address {
        false => Some(id),
        true => {
            keys.push(("repo_url", id.to_string()));
            let web = id.strip_prefix("https://").or_else(|| id.strip_prefix("http://"));
            let path = web.and_then(|rest| rest.strip_prefix(HUB));
            path.filter(|path| matches!(path.split_once('/'), Some((a, b)) if !a.is_empty() && !b.is_empty() && !b.contains('/')))
        }
    };
    let Some(hub_id) = hub_id else { return keys };
    let parts = components(hub_id, total);
    if let (false, Some(organization), Some(name)) = (is_address, &parts.organization, &parts.name) {
        keys.push(("repo_url", format!("https://{HUB}{organization}/{name}")));
    }
    keys.extend(parts.name.map(|name| ("name", title(&name))));
    keys.extend(parts.organization.map(|organization| ("organization", title(&organization))));
    keys.extend(parts.version.map(|version| ("version", version)));
    keys
}

/// Recommended sampling settings of `generation_config.json`.
fn sampling(generation: Option<&serde_json::Value>, metadata: &mut Metadata) {
    let number = |field: &str| generation?.get(field).filter(|value| value.is_number());
    let float = |field: &str| number(field)?.as_f64().map(|v| Value::F32(v as f32));
    let whole = |field: &str| number(field)?.as_i64().and_then(|v| i32::try_from(v).ok()).map(Value::I32);
    let text = |field: &str| generation?.get(field)?.as_str().map(|text| Value::String(text.into()));
    let entries = [
        ("sequence", text("sequence")),
        ("top_k", whole("top_k")),
        ("top_p", float("top_p")),
        ("min_p", float("min_p")),
        ("xtc_probability", float("xtc_probability")),
        ("xtc_threshold", float("xtc_threshold")),
        ("temp", float("temperature")),
        ("penalty_last_n", whole("penalty_last_n")),
        ("penalty_repeat", float("penalty_repeat").or_else(|| float("repetition_penalty"))),
        ("mirostat", whole("mirostat")),
        ("mirostat_tau", float("mirostat_tau")),
        ("mirostat_eta", float("mirostat_eta")),
    ];
    for (key, value) in entries {
        if let Some(value) = value {
            metadata.insert(format!("general.sampling.{key}"), value);
        }
    }
}

/// `8x7B`, `656K`, `7.3M`: weights rounded to two digits.
fn size_label(counts: WeightCounts) -> String {
    if counts.n_experts > 0 {
        return format!("{}x{}", counts.n_experts, rounded(counts.shared + counts.per_expert));
    }
    rounded(counts.total)
}

fn rounded(count: u64) -> String {
    let count = count as f64;
    let (scaled, unit) = match count {
        c if c > 1e12 => (c * 1e-12, "T"),
        c if c > 1e9 => (c * 1e-9, "B"),
        c if c > 1e6 => (c * 1e-6, "M"),
        c => (c * 1e-3, "K"),
    };
    let digits = (scaled.round_ties_even() as u64).to_string().trim_start_matches('0').len();
    format!("{scaled:.*}{unit}", 2usize.saturating_sub(digits))
}

#[cfg(test)]
mod tests;
