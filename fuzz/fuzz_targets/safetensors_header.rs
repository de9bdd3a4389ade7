//! Any bytes as a safetensors file: an error or tensors that fill the data section.
//! Knows the public API alone.
#![no_main]

use formats::safetensors::Header;
use libfuzzer_sys::fuzz_target;

fn check(bytes: &[u8]) {
    let Ok(header) = Header::read(bytes, bytes.len() as u64) else { return };
    let json_bytes = u64::from_le_bytes(*bytes.first_chunk().expect("a header was read"));
    let sum: u64 = header.tensors.iter().map(|tensor| tensor.range.end - tensor.range.start).sum();
    assert_eq!(8 + json_bytes + sum, bytes.len() as u64);
}

fuzz_target!(|bytes: &[u8]| {
    check(bytes);
    // The same bytes as JSON alone, with a length that fits and data that the length of the input chooses.
    let mut file = (bytes.len() as u64).to_le_bytes().to_vec();
    file.extend(bytes);
    check(&file);
    file.extend([0; 16]);
    check(&file);
});
