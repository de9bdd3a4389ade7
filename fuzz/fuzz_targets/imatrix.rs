//! Any bytes as an importance matrix, in either form: an error or a table whose importance has one finite number
//! per value, and which survives being written and read again. Knows the public API alone.
#![no_main]

use formats::imatrix;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(matrix) = imatrix::read(bytes) else { return };
    for entry in matrix.entries.values() {
        let importance = entry.importance();
        assert_eq!(importance.len(), entry.sums.len());
        assert!(importance.iter().all(|value| value.is_finite()));
    }
    if let Ok(written) = imatrix::write_gguf(Vec::new(), &matrix) {
        assert_eq!(imatrix::read(&written).expect("what was written can be read"), matrix);
    } else {
        assert!(matrix.entries.values().all(|entry| entry.legacy));
    }
});
