//! The rules of a manifest that its types cannot say.
//!
//! Owns uniqueness, references, ranges and versions. Must not open files.

use std::collections::{BTreeMap, HashMap};

use super::problem::{ManifestError, Problem};
use super::{FileEntry, FileRole, MANIFEST_FILE, Manifest, Quality, SCHEMA_VERSION, Variant};
use crate::path;

/// Names that `required_features` may contain.
pub const KNOWN_FEATURES: &[&str] = &[];

/// First components that the bundle uses itself.
const RESERVED: &[&str] = &[MANIFEST_FILE, "manifest.sig", ".staging", ".partial", ".use"];

impl Manifest {
    /// Checks every rule.
    ///
    /// # Errors
    /// The first field at fault with its problem.
    pub fn check(&self) -> Result<(), ManifestError> {
        if self.schema_version != SCHEMA_VERSION {
            let got = u64::from(self.schema_version);
            return fail("schema_version", Problem::SchemaVersion { got, supported: SCHEMA_VERSION });
        }
        required_features(&self.required_features)?;
        if self.model.id.trim().is_empty() {
            return fail("model.id", Problem::Empty);
        }
        let mut ids = HashMap::new();
        let mut paths = Paths::default();
        for (i, variant) in self.variants.iter().enumerate() {
            let field = format!("variants[{i}]");
            if ids.insert(variant.id.to_ascii_lowercase(), i).is_some() {
                return fail(format!("{field}.id"), Problem::DuplicateVariant { id: variant.id.clone() });
            }
            check_variant(variant, &field)?;
            for (j, file) in variant.files.iter().enumerate() {
                paths.add(file, format!("{field}.files[{j}].path"))?;
            }
        }
        for (i, variant) in self.variants.iter().enumerate() {
            for (j, id) in variant.needs.variants.iter().enumerate() {
                if self.variant(id).is_none() {
                    let field = format!("variants[{i}].needs.variants[{j}]");
                    return fail(field, Problem::UnknownVariant { id: id.clone() });
                }
            }
        }
        Ok(())
    }
}

/// Refuses names outside [`KNOWN_FEATURES`], all of them in one error.
pub(super) fn required_features(names: &[String]) -> Result<(), ManifestError> {
    let unknown: Vec<String> =
        names.iter().filter(|name| !KNOWN_FEATURES.contains(&name.as_str())).cloned().collect();
    if unknown.is_empty() {
        return Ok(());
    }
    fail("required_features", Problem::UnknownFeatures { names: unknown })
}

fn check_variant(variant: &Variant, field: &str) -> Result<(), ManifestError> {
    if let Err(problem) = path::check(&variant.id) {
        let problem = Problem::Path { path: variant.id.chars().take(200).collect(), problem };
        return fail(format!("{field}.id"), problem);
    }
    if variant.precision.is_empty() {
        return fail(format!("{field}.precision"), Problem::Empty);
    }
    if variant.files.is_empty() {
        return fail(format!("{field}.files"), Problem::Empty);
    }
    if variant.files[0].role != FileRole::Model {
        let problem = Problem::OutOfRange { expected: "the model", got: "another file of it".into() };
        return fail(format!("{field}.files[0].role"), problem);
    }
    if !variant.min_runtime.is_empty()
        && let Err(error) = semver::Version::parse(&variant.min_runtime)
    {
        let problem = Problem::Version { text: variant.min_runtime.clone(), reason: error.to_string() };
        return fail(format!("{field}.min_runtime"), problem);
    }
    match &variant.quality {
        Some(quality) => check_quality(quality, &format!("{field}.quality")),
        None => Ok(()),
    }
}

fn check_quality(quality: &Quality, field: &str) -> Result<(), ManifestError> {
    let in_range = |name: &str, value: Option<f64>, low: f64, high: f64, expected: &'static str| match value {
        Some(value) if !(value.is_finite() && (low..=high).contains(&value)) => {
            fail(format!("{field}.{name}"), Problem::OutOfRange { expected, got: value.to_string() })
        }
        _ => Ok(()),
    };
    let ordered = |name: String, interval: Option<[f64; 2]>| match interval {
        Some([low, high]) if !(low.is_finite() && high.is_finite() && low <= high) => {
            let problem = Problem::OutOfRange { expected: "low <= high", got: format!("{low}, {high}") };
            fail(format!("{field}.{name}"), problem)
        }
        _ => Ok(()),
    };
    // Rounding makes a divergence of equal distributions come out a little below zero.
    in_range("kld_mean", quality.kld_mean, -1e-3, f64::MAX, "a divergence, zero or more")?;
    in_range("ppl", quality.ppl, 1.0, f64::MAX, "a perplexity, 1 or more")?;
    in_range("ppl_baseline", quality.ppl_baseline, 1.0, f64::MAX, "a perplexity, 1 or more")?;
    in_range("top1_agreement", quality.top1_agreement, 0.0, 1.0, "a share from 0 to 1")?;
    ordered("kld_interval".to_owned(), quality.kld_interval)?;
    for (name, task) in &quality.tasks {
        in_range(&format!("tasks.{name}.score"), Some(task.score), 0.0, 1.0, "a score from 0 to 1")?;
        ordered(format!("tasks.{name}.interval"), task.interval)?;
    }
    Ok(())
}

/// All file paths so far, to find those that mean the same file. Two variants may share a file when size and digest
/// agree.
#[derive(Default)]
struct Paths<'a> {
    /// Folded path → entry and field.
    files: BTreeMap<String, (&'a FileEntry, String)>,
    /// Folded directory → a file below it, and its field.
    directories: BTreeMap<String, (&'a FileEntry, String)>,
}

impl<'a> Paths<'a> {
    fn add(&mut self, entry: &'a FileEntry, field: String) -> Result<(), ManifestError> {
        let folded = entry.path.folded();
        let top = folded.split('/').next().unwrap_or_default();
        if RESERVED.contains(&top) {
            return fail(field, Problem::ReservedPath { path: entry.path.to_string() });
        }
        if let Some((first, first_field)) = self.files.get_mut(&folded) {
            let shared = first.path == entry.path
                && first.bytes == entry.bytes
                && first.sha256 == entry.sha256
                && variant_of(first_field) != variant_of(&field);
            if !shared {
                let problem = collision(entry, first, first_field);
                return fail(field, problem);
            }
            // A second entry in this same variant is a duplicate.
            *first_field = field;
            return Ok(());
        }
        if let Some((first, first_field)) = self.directories.get(&folded) {
            return fail(field, collision(entry, first, first_field));
        }
        for (slash, _) in folded.match_indices('/') {
            let directory = &folded[..slash];
            if let Some((first, first_field)) = self.files.get(directory) {
                return fail(field, collision(entry, first, first_field));
            }
            self.directories.entry(directory.to_owned()).or_insert_with(|| (entry, field.clone()));
        }
        self.files.insert(folded, (entry, field));
        Ok(())
    }
}

/// `variants[3]` of `variants[3].files[0].path`.
fn variant_of(field: &str) -> &str {
    field.split('.').next().unwrap_or_default()
}

fn collision(entry: &FileEntry, first: &FileEntry, first_field: &str) -> Problem {
    Problem::PathCollision {
        path: entry.path.to_string(),
        first: first.path.to_string(),
        first_field: first_field.to_owned(),
    }
}

fn fail(field: impl Into<String>, problem: Problem) -> Result<(), ManifestError> {
    Err(ManifestError { field: field.into(), problem })
}
