//! Models as files: read with the data that lies beside them, written whole or not at all. Knows paths; no graph.

use crate::Error;
use formats::onnx::{Bytes, Location, ModelProto, load_external, read_model};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

/// Reads a model and the data of its tensors, wherever in its folder that lies.
///
/// # Errors
/// A file that cannot be read, or is no ONNX model; data beside it that is not there or too short.
pub fn read(path: &Path) -> Result<ModelProto, Error> {
    let bytes = std::fs::read(path).map_err(|error| failed(path, error))?;
    let mut model = read_model(bytes)?;
    let folder = path.parent().unwrap_or(Path::new("."));
    load_external(&mut model, |location| part(folder, location).map_err(|error| error.to_string()))?;
    Ok(model)
}

fn part(folder: &Path, location: &Location) -> std::io::Result<Bytes> {
    let mut file = File::open(folder.join(&location.file))?;
    let there = file.metadata()?.len().saturating_sub(location.offset);
    let length = location.length.unwrap_or(there);
    // Nothing is allocated that the file could not fill.
    if length > there {
        let text = format!("expected {length} bytes at {}, got {there}", location.offset);
        return Err(std::io::Error::new(std::io::ErrorKind::UnexpectedEof, text));
    }
    file.seek(SeekFrom::Start(location.offset))?;
    let mut bytes = Vec::with_capacity(length as usize);
    file.take(length).read_to_end(&mut bytes)?;
    Ok(bytes.into())
}

/// Writes beside the place first, and renames what is whole.
///
/// # Errors
/// What the system says.
pub fn write(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let staged = path.with_file_name(format!(".{name}.{}.part", std::process::id()));
    let written = File::create(&staged)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
        .and_then(|()| std::fs::rename(&staged, path));
    written.map_err(|error| {
        // Whether it is still there or never was: the error is about the file itself.
        let _ = std::fs::remove_file(&staged);
        failed(path, error)
    })
}

fn failed(path: &Path, error: std::io::Error) -> Error {
    Error::File { path: path.into(), reason: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use formats::onnx::{DataType, GraphProto, external_tensor, tensor_floats, write_model};

    #[test]
    fn data_beside_a_model_is_found_or_missed() {
        let folder = tempfile::tempdir().unwrap();
        let location = Location { file: "w.bin".into(), offset: 4, length: Some(8) };
        let tensor = external_tensor("w", DataType::Float, &[2], &location).unwrap();
        let graph = GraphProto { initializer: vec![tensor], ..Default::default() };
        let model = ModelProto { graph: Some(graph), ..Default::default() };
        let path = folder.path().join("m.onnx");
        write(&path, &write_model(&model).unwrap()).unwrap();
        let data: Vec<u8> = [9f32, 1.5, -2.0].iter().flat_map(|value| value.to_le_bytes()).collect();
        write(&folder.path().join("w.bin"), &data).unwrap();
        let read_back = read(&path).unwrap();
        assert_eq!(tensor_floats(&read_back.graph.unwrap().initializer[0]).unwrap(), [1.5, -2.0]);
        write(&folder.path().join("w.bin"), &data[..8]).unwrap();
        let error = read(&path).unwrap_err().to_string();
        assert_eq!(error, "tensor `w`: its data in `w.bin`: expected 8 bytes at 4, got 4");
        assert!(read(&folder.path().join("none.onnx")).unwrap_err().to_string().contains("none.onnx"));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2, "nothing half-written stays");
    }
}
