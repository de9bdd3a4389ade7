//! Any bytes as a GGUF file: an error or a table whose tensors lie inside the file, and which survives
//! being written and read again. Knows the public API alone.
#![no_main]

use formats::gguf::{Header, SplitSet, TensorSpec, Writer};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(header) = Header::read(bytes, bytes.len() as u64) else { return };
    let data_bytes = (bytes.len() as u64).saturating_sub(header.data_offset);
    for tensor in &header.tensors {
        assert!(tensor.offset + tensor.bytes <= data_bytes);
        assert!(tensor.offset.is_multiple_of(header.alignment));
    }
    let specs: Vec<_> = header
        .tensors
        .iter()
        .map(|tensor| TensorSpec { name: tensor.name.clone(), dims: tensor.dims.clone(), ty: tensor.ty })
        .collect();
    let mut writer = Writer::new(Vec::new(), &header.metadata, &specs).expect("what was read can be written");
    for tensor in &header.tensors {
        let start = (header.data_offset + tensor.offset) as usize;
        writer.write(&bytes[start..start + tensor.bytes as usize]).expect("the length fits the table");
    }
    let written = writer.finish().expect("every tensor was written");
    let predicted = Writer::<Vec<u8>>::predicted_bytes(&header.metadata, &specs).expect("as it was written");
    assert_eq!(written.len() as u64, predicted);
    let again = Header::read(written.as_slice(), predicted).expect("what was written can be read");
    // NaN is unlike itself: compare the text.
    let text = |header: &Header| header.metadata.iter().map(|entry| format!("{entry:?}")).collect::<Vec<_>>();
    assert_eq!(text(&again), text(&header));
    assert_eq!(again.tensors.len(), header.tensors.len());
    let _ = SplitSet::new(vec![header, again]);
});
