//! What is written is read: GGUF files with values and tensors of every type, whole and split, safetensors files laid
//! out at random, importance matrices. Knows the public API alone.

use formats::gguf::{Array, GgmlType, Header, MAX_ALIGNMENT, Metadata, SplitSet, TensorSpec, Value, Writer};
use formats::imatrix::{self, Entry, Imatrix};
use formats::safetensors;
use llama_pajamas_formats as formats;
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use std::collections::BTreeSet;

fn array() -> impl Strategy<Value = Array> {
    prop_oneof![
        vec(any::<u8>(), 0..9).prop_map(Array::U8),
        vec(any::<i8>(), 0..9).prop_map(Array::I8),
        vec(any::<u16>(), 0..9).prop_map(Array::U16),
        vec(any::<i16>(), 0..9).prop_map(Array::I16),
        vec(any::<u32>(), 0..9).prop_map(Array::U32),
        vec(any::<i32>(), 0..9).prop_map(Array::I32),
        vec(any::<f32>(), 0..9).prop_map(Array::F32),
        vec(any::<bool>(), 0..9).prop_map(Array::Bool),
        vec(".{0,12}", 0..9).prop_map(Array::String),
        vec(any::<u64>(), 0..9).prop_map(Array::U64),
        vec(any::<i64>(), 0..9).prop_map(Array::I64),
        vec(any::<f64>(), 0..9).prop_map(Array::F64),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<u8>().prop_map(Value::U8),
        any::<i8>().prop_map(Value::I8),
        any::<u16>().prop_map(Value::U16),
        any::<i16>().prop_map(Value::I16),
        any::<u32>().prop_map(Value::U32),
        any::<i32>().prop_map(Value::I32),
        any::<f32>().prop_map(Value::F32),
        any::<bool>().prop_map(Value::Bool),
        ".{0,20}".prop_map(Value::String),
        any::<u64>().prop_map(Value::U64),
        any::<i64>().prop_map(Value::I64),
        any::<f64>().prop_map(Value::F64),
        array().prop_map(Value::Array),
    ]
}

/// Entries in any order, with any alignment that is one.
fn metadata() -> impl Strategy<Value = Metadata> {
    let alignment = proptest::option::of(0..=MAX_ALIGNMENT.ilog2());
    (vec(("[a-z][a-z0-9._-]{0,20}", value()), 0..12), alignment, any::<prop::sample::Index>()).prop_map(
        |(mut entries, alignment, place)| {
            if let Some(power) = alignment {
                let entry = ("general.alignment".to_string(), Value::U32(1 << power));
                entries.insert(place.index(entries.len() + 1), entry);
            }
            Metadata::from_iter(entries)
        },
    )
}

/// Tensors of any type and 1 to 4 dimensions, with the parts that hold them.
fn tensors() -> impl Strategy<Value = Vec<(TensorSpec, usize)>> {
    let spec =
        ("[a-z0-9._]{1,63}", 1u64..4, vec(1u64..4, 0..4), prop::sample::select(GgmlType::ALL), 0usize..4);
    vec(spec, 0..8).prop_map(|specs| {
        let mut names = BTreeSet::new();
        let specs = specs.into_iter().filter(|(name, ..)| names.insert(name.clone())).collect::<Vec<_>>();
        let spec = |(name, blocks, rows, ty, part): (String, u64, Vec<u64>, GgmlType, usize)| {
            let dims = [blocks * ty.block_len()].into_iter().chain(rows).take(4).collect();
            (TensorSpec { name, dims, ty }, part)
        };
        specs.into_iter().map(spec).collect()
    })
}

/// Data that tells tensors apart.
fn data(spec: &TensorSpec) -> Vec<u8> {
    let rows: u64 = spec.dims[1..].iter().product();
    let bytes = spec.ty.row_bytes(spec.dims[0]).expect("whole blocks") * rows;
    let seed = spec.name.bytes().fold(7u8, |seed, byte| seed.wrapping_mul(31).wrapping_add(byte));
    (0..bytes).map(|at| seed.wrapping_add(at as u8)).collect()
}

/// The file, written in chunks of `chunk` bytes.
fn write(metadata: &Metadata, specs: &[TensorSpec], chunk: usize) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new(), metadata, specs).expect("good tables");
    for spec in specs {
        data(spec).chunks(chunk).for_each(|chunk| writer.write(chunk).expect("the data fits"));
    }
    writer.finish().expect("all data came")
}

fn slice<'b>(bytes: &'b [u8], header: &Header, name: &str) -> &'b [u8] {
    let tensor = header.tensor(name).expect("the tensor is in this part");
    let start = (header.data_offset + tensor.offset) as usize;
    &bytes[start..start + tensor.bytes as usize]
}

/// NaN is unlike itself: compare what is written.
fn text(metadata: &Metadata) -> String {
    format!("{:?}", metadata.iter().collect::<Vec<_>>())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn any_gguf_comes_back(metadata in metadata(), tensors in tensors(), chunk in 1usize..5000) {
        let specs: Vec<TensorSpec> = tensors.into_iter().map(|(spec, _)| spec).collect();
        let bytes = write(&metadata, &specs, chunk);
        prop_assert_eq!(Writer::<Vec<u8>>::predicted_bytes(&metadata, &specs).unwrap(), bytes.len() as u64);
        let header = Header::read(bytes.as_slice(), bytes.len() as u64).unwrap();
        prop_assert_eq!(text(&header.metadata), text(&metadata));
        prop_assert_eq!(header.alignment, metadata.u64("general.alignment").unwrap_or(32));
        prop_assert!(header.data_offset.is_multiple_of(header.alignment));
        let table: Vec<_> = header.tensors.iter().map(|t| (&t.name, &t.dims, t.ty)).collect();
        prop_assert_eq!(table, specs.iter().map(|s| (&s.name, &s.dims, s.ty)).collect::<Vec<_>>());
        for spec in &specs {
            prop_assert!(slice(&bytes, &header, &spec.name) == data(spec), "{}", spec.name);
        }
    }

    #[test]
    fn any_split_comes_back(metadata in metadata(), tensors in tensors(), n_parts in 1u16..5) {
        let part_of = |part: usize| part % usize::from(n_parts);
        let parts: Vec<(Vec<u8>, Header)> = (0..n_parts).map(|number| {
            let own = tensors.iter().filter(|(_, part)| part_of(*part) == usize::from(number));
            let specs: Vec<TensorSpec> = own.map(|(spec, _)| spec.clone()).collect();
            let mut metadata = if number == 0 { metadata.clone() } else { Metadata::new() };
            metadata.insert("split.no", Value::U16(number));
            metadata.insert("split.count", Value::U16(n_parts));
            metadata.insert("split.tensors.count", Value::I32(tensors.len() as i32));
            let bytes = write(&metadata, &specs, 1 << 20);
            let header = Header::read(bytes.as_slice(), bytes.len() as u64).unwrap();
            (bytes, header)
        }).collect();
        let headers: Vec<Header> = parts.iter().map(|(_, header)| header.clone()).collect();
        let set = SplitSet::new(headers.clone()).unwrap();
        prop_assert_eq!(set.tensors().count(), tensors.len());
        for (spec, part) in &tensors {
            let place = set.tensor(&spec.name).unwrap();
            prop_assert_eq!((place.part, &place.info.dims), (part_of(*part), &spec.dims));
            let (bytes, header) = &parts[place.part];
            prop_assert!(slice(bytes, header, &spec.name) == data(spec), "{}", spec.name);
        }
        if n_parts > 1 {
            prop_assert!(SplitSet::new(headers[1..].to_vec()).is_err());
            prop_assert!(SplitSet::new(headers.into_iter().rev().collect()).is_err());
        }
    }

    #[test]
    fn a_changed_gguf_is_answered(
        metadata in metadata(), tensors in tensors(), at in any::<prop::sample::Index>(), byte in any::<u8>(),
        cut in any::<prop::sample::Index>(),
    ) {
        let specs: Vec<TensorSpec> = tensors.into_iter().map(|(spec, _)| spec).collect();
        let mut bytes = write(&metadata, &specs, 1 << 20);
        let header_bytes = Header::read(bytes.as_slice(), bytes.len() as u64).unwrap().data_offset as usize;
        let short = cut.index(header_bytes);
        let refused = Header::read(&bytes[..short], short as u64).is_err();
        // Without tensors, only padding may be missing.
        prop_assert!(refused || specs.is_empty());
        bytes[at.index(header_bytes)] = byte;
        if let Ok(header) = Header::read(bytes.as_slice(), bytes.len() as u64) {
            let data_bytes = bytes.len() as u64 - header.data_offset.min(bytes.len() as u64);
            prop_assert!(header.tensors.iter().all(|tensor| tensor.offset + tensor.bytes <= data_bytes));
        }
    }

    #[test]
    fn any_safetensors_layout_is_read(
        tensors in btree_map("[a-z0-9._]{1,40}", (0usize..5, vec(0u64..5, 0..5)), 0..10), spaces in 0usize..9,
    ) {
        let dtypes = [("F32", 4), ("BF16", 2), ("F16", 2), ("U8", 1), ("I64", 8)];
        let (mut json, mut at) = (serde_json::Map::new(), 0u64);
        for (name, (dtype, shape)) in &tensors {
            let (dtype, width) = dtypes[*dtype];
            let end = at + width * shape.iter().product::<u64>();
            let entry = serde_json::json!({"dtype": dtype, "shape": shape, "data_offsets": [at, end]});
            json.insert(name.clone(), entry);
            at = end;
        }
        let text = serde_json::to_string(&json).unwrap() + &" ".repeat(spaces);
        let mut bytes = (text.len() as u64).to_le_bytes().to_vec();
        bytes.extend(text.bytes());
        bytes.resize(bytes.len() + at as usize, 1);
        let header = safetensors::Header::read(bytes.as_slice(), bytes.len() as u64).unwrap();
        prop_assert_eq!(header.tensors.len(), tensors.len());
        for tensor in &header.tensors {
            let (dtype, shape) = &tensors[&tensor.name];
            prop_assert_eq!((tensor.dtype.name(), &tensor.shape), (dtypes[*dtype].0, shape));
            let offsets = &json[&tensor.name]["data_offsets"];
            let own = serde_json::json!([tensor.range.start, tensor.range.end]);
            let base = if offsets[0] == own[0] { 0 } else { 8 + text.len() as u64 };
            prop_assert_eq!(tensor.range.start - base, offsets[0].as_u64().unwrap());
            prop_assert_eq!(tensor.range.end - base, offsets[1].as_u64().unwrap());
        }
        // A byte more or less is refused.
        bytes.push(0);
        prop_assert!(safetensors::Header::read(bytes.as_slice(), bytes.len() as u64).is_err());
        bytes.truncate(bytes.len() - 2);
        prop_assert!(safetensors::Header::read(bytes.as_slice(), bytes.len() as u64).is_err());
    }

    #[test]
    fn any_importance_matrix_comes_back(
        entries in btree_map("[a-z0-9._]{1,40}\\.weight", (1usize..9, 1usize..5, 0u32..1000), 1..6),
        datasets in vec("[a-z]{1,9}", 0..3), chunks in 0u32..1000, size in 1u32..5000,
    ) {
        let entry = |(name, (n_columns, n_matrices, seed)): (String, (usize, usize, u32))| {
            let number = |at: usize| seed as f32 + at as f32 / 7.0;
            let entry = Entry {
                n_columns,
                n_matrices,
                sums: (0..n_columns * n_matrices).map(number).collect(),
                counts: (0..n_matrices).map(|at| (seed + at as u32) as f32).collect(),
                legacy: false,
            };
            (name, entry)
        };
        let entries = entries.into_iter().map(entry).collect();
        let matrix = Imatrix { entries, datasets, chunk_count: chunks, chunk_size: size };
        let bytes = imatrix::write_gguf(Vec::new(), &matrix).unwrap();
        prop_assert_eq!(imatrix::read(&bytes).unwrap(), matrix);
    }
}
