//! Model files that are headers alone: shapes and types of a real one, data that were never written.
//! Owns the files; must not know engines.

#![allow(dead_code, unreachable_pub, reason = "shared by several suites")]

pub mod compare;

use families::{Description, Family, OutputType, TensorShape};
use formats::gguf::{GgmlType, Header, Metadata, TensorSpec, Value, Writer};
use std::path::{Path, PathBuf};

/// A file without data, and what it holds.
pub struct Outline {
    pub path: PathBuf,
    pub description: Description,
    pub tensors: Vec<TensorSpec>,
    pub bytes: u64,
}

impl Outline {
    /// Writes the outline of a checkpoint's configuration into `folder`, each tensor in the type that `type_of` gives it.
    pub fn write(
        folder: &Path,
        name: &str,
        config: &serde_json::Value,
        type_of: impl Fn(&TensorShape) -> GgmlType,
    ) -> Result<Self, String> {
        let description = families::detect_config(config).map_err(|error| error.to_string())?;
        let family = Family::for_architecture(&description.architecture).ok_or("no such architecture")?;
        let shapes = description.tensor_shapes();
        let spec = |shape: &TensorShape| TensorSpec {
            name: shape.name.clone(),
            dims: shape.dims.clone(),
            ty: type_of(shape),
        };
        let tensors: Vec<TensorSpec> = shapes.iter().map(spec).collect();
        let mut metadata = Metadata::new();
        metadata.insert("general.architecture", Value::String(description.architecture.clone()));
        let own = family.metadata(config, OutputType::F32).map_err(|error| error.to_string())?;
        for (key, value) in own.iter() {
            metadata.insert(key, value.clone());
        }
        let path = folder.join(format!("{name}.gguf"));
        let bytes =
            Writer::<Vec<u8>>::predicted_bytes(&metadata, &tensors).map_err(|error| error.to_string())?;
        let file = std::fs::File::create(&path).map_err(|error| error.to_string())?;
        Writer::new(&file, &metadata, &tensors).map_err(|error| error.to_string())?;
        file.set_len(bytes).map_err(|error| error.to_string())?;
        let reader = std::io::BufReader::new(std::fs::File::open(&path).map_err(|error| error.to_string())?);
        let header = Header::read(reader, bytes).map_err(|error| error.to_string())?;
        let description = families::detect_gguf(&header).map_err(|error| error.to_string())?;
        Ok(Self { path, description, tensors, bytes })
    }
}

/// The committed configurations of tiny models, one per family, by name.
pub fn samples() -> Vec<(String, serde_json::Value)> {
    let folder = llama_pajamas_tests::committed("core/families/samples");
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let read = |path: &PathBuf| {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let mut config: serde_json::Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        // Pictures are added behind the first three layers, of which the last must not be one.
        if config["model_type"].as_str().is_some_and(|model_type| model_type.starts_with("qwen3_vl")) {
            config["text_config"]["num_hidden_layers"] = 5.into();
        }
        (name, config)
    };
    paths.iter().filter(|path| path.extension().is_some_and(|kind| kind == "json")).map(read).collect()
}

/// Matrices in `ty` where their rows divide into its blocks, else in halves; all that stays in floats in 32 bits.
pub fn in_type(ty: GgmlType) -> impl Fn(&TensorShape) -> GgmlType {
    move |shape| {
        let plain = OutputType::F16.of_tensor(&shape.name, shape.dims.len());
        let divides = shape.dims[0].is_multiple_of(ty.block_len());
        if plain == GgmlType::F32 || !divides { plain } else { ty }
    }
}
