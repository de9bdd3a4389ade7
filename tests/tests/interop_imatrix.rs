//! Importance matrices that other programs wrote: read whole, plausible in every number.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test that prints its table")]

use formats::imatrix;
use llama_pajamas_tests::shared;

fn check(file: &str, n_entries: usize) {
    let bytes = std::fs::read(shared(&format!("data/imatrix/{file}"))).unwrap();
    let matrix = imatrix::read(&bytes).unwrap();
    assert_eq!(matrix.entries.len(), n_entries, "{file}");
    for (name, entry) in &matrix.entries {
        assert!(name.ends_with(".weight"), "{file}: {name}");
        assert_eq!(entry.sums.len(), entry.n_columns * entry.n_matrices, "{file}: {name}");
        assert!(entry.importance().iter().all(|value| *value >= 0.0), "{file}: {name}");
        assert!(entry.importance().iter().any(|value| *value > 0.0), "{file}: {name}");
    }
    // Cut anywhere inside the entries, the file is refused.
    for cut in [4, bytes.len() / 3, bytes.len() / 2] {
        assert!(imatrix::read(&bytes[..cut]).is_err(), "{file} cut at {cut}");
    }
}

#[test]
fn a_file_that_mistral_rs_wrote() {
    check("Llama-3.2-3B-Instruct.mistralrs.imatrix", 196);
}

#[test]
fn a_file_that_llama_imatrix_wrote() {
    check("Qwen3-4B-Instruct-2507.imatrix_ubergarm.dat", 252);
}
